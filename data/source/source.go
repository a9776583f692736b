// Package source reads image sets in their original formats: the classes and images of a set, and the bytes of each image, encoded or as
// raw pixels. Images are decoded elsewhere; the only randomness is a split by a seed.
//
//	fileSystem  a folder, or a tar or zip archive, read without extracting it
//	layout      the arrangement of a set's files: CIFAR, IDX, STL-10, class folders, WebDataset
//	Open        detects both and lists the images
//
// Sources: the sets' own pages, named at each reader.
package source

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lte/data/limit"
	"lte/random"
)

// Options describe a set and how it is read.
type Options struct {
	Path string // a folder, an archive, a file of the set, or a brace pattern of shards; empty: the embedded digits
	Kind string // one of Kinds; empty or "auto": detected

	// ClassList is a file that lists the class folders to read, one per line; empty: all.
	ClassList string
	// TestFraction, in (0, 1), is the share of each class that becomes test images in a set without a split; 0: 0.2.
	TestFraction float64
	// Seed determines that split and nothing else.
	Seed uint64
}

// OptionError is an error of the options: one out of range, or one that contradicts another or the set. Any other error is about the files.
type OptionError struct{ Problem string } // what is wrong, what was expected, what to do

func (e *OptionError) Error() string { return e.Problem }

// Set is a set in its original format.
type Set struct {
	Kind, Name  string
	Classes     []string // their names, by label
	Train, Test Split    // both with images

	// Of a set of raw pixels; otherwise 0.
	Channels, Height, Width int
	White                   int // the value of a white pixel; black is 0
}

// Split is the images of one split, in an order that depends on the set alone.
type Split struct {
	Labels []int32 // (images), in 0..len(Classes)-1
	Pixels []uint8 // (images, channels, height, width); nil if images are encoded
	Files  []File  // (images); nil if they are raw pixels
}

// File is an encoded image in its file system.
type File struct {
	in   fileSystem
	name string
}

// Read returns the encoded image, in dst's memory if it suffices. It is safe for concurrent use. Errors do not contain the file's name.
func (f File) Read(dst []byte) ([]byte, error) { return f.in.read(dst[:0], f.name, limit.ImageBytes) }

// String describes the file for errors, with the offset in its archive.
func (f File) String() string { return f.in.where(f.name) }

// Kinds returns the values of Options.Kind.
func Kinds() []string {
	kinds := []string{"auto", "digits"}
	for _, l := range layouts() {
		kinds = append(kinds, l.kind)
	}
	return kinds
}

// Open lists the images of a set. Sets of raw pixels, and compressed archives, are read into memory; all others are read on demand.
// Errors say which file and where in it, what is wrong, what was expected and what to do.
func Open(o Options) (*Set, error) {
	o.Kind, o.TestFraction = cmp.Or(o.Kind, "auto"), cmp.Or(o.TestFraction, 0.2)
	if !(o.TestFraction > 0 && o.TestFraction < 1) {
		return nil, &OptionError{Problem: fmt.Sprintf("data.test_fraction is %v, expected a number between 0 and 1", o.TestFraction)}
	}
	set, err := open(o)
	if err != nil {
		return nil, err
	}
	if o.ClassList != "" && set.Kind != "folder" {
		return nil, &OptionError{Problem: fmt.Sprintf("data.classes names class folders, but the set (%s) has none: leave data.classes empty, or correct data.path", set.Kind)}
	}
	if err := set.check(); err != nil {
		return nil, err
	}
	if set.Test.Labels == nil {
		if err := set.divide(o); err != nil {
			return nil, err
		}
	}
	if len(set.Test.Labels) == 0 || len(set.Train.Labels) == 0 {
		return nil, fmt.Errorf("%d training and %d test images, expected at least one of both: add images, or change data.test_fraction",
			len(set.Train.Labels), len(set.Test.Labels))
	}
	return set, nil
}

func open(o Options) (*Set, error) {
	if o.Path == "" {
		if o.Kind != "auto" && o.Kind != "digits" {
			return nil, &OptionError{Problem: fmt.Sprintf("data.kind is %s, but data.path is empty: say where the images are, or set data.kind to digits", o.Kind)}
		}
		return readDigits(digitsFile)
	}
	if o.Kind == "digits" {
		return nil, &OptionError{Problem: "data.kind is digits, which are part of the program, but data.path is set: leave data.path empty, or set data.kind to auto"}
	}
	if _, err := os.Stat(o.Path); errors.Is(err, os.ErrNotExist) && strings.Contains(o.Path, "{") {
		if o.Kind != "auto" && o.Kind != "webdataset" {
			return nil, &OptionError{Problem: fmt.Sprintf("a brace pattern names shards of a WebDataset, but data.kind is %s: set data.kind to webdataset or auto", o.Kind)}
		}
		return readBraces(o.Path)
	}
	p, err := openFileSystem(o.Path)
	if err != nil {
		return nil, err
	}
	set, err := readFileSystem(p, o)
	if err != nil {
		return nil, err
	}
	if set.Name == "" {
		set.Name = setName(o.Path)
	}
	return set, nil
}

// check compares the test with the training images: a class that only the test images have cannot be learned.
func (s *Set) check() error {
	if len(s.Train.Labels) == 0 {
		return errors.New("no training images, expected at least one: correct data.path")
	}
	training := s.Train.count(len(s.Classes))
	for i, file := range s.Test.Files { // labels of raw pixels were checked when they were read
		if l := s.Test.Labels[i]; training[l] == 0 {
			return fmt.Errorf("%s: of class %s, which no training image has, expected the classes of the training images: correct its label, or add such images",
				file, s.Classes[l])
		}
	}
	return nil
}

// divide makes a fraction of the training images of every class test images. Every class must keep at least one training image.
func (s *Set) divide(o Options) error {
	counts := s.Train.count(len(s.Classes))
	if c := slices.Index(counts, 1); c >= 0 {
		return fmt.Errorf("class %q has one image, expected at least two of each class, as the set has no split into training and test images: add images, or remove the class",
			s.Classes[c])
	}
	all := s.Train
	train, test := Stratify(all.Labels, len(s.Classes), int((1-o.TestFraction)*float64(len(all.Labels))), random.Stream(o.Seed, "split"))
	s.Train, s.Test = all.take(train), all.take(test)
	for c, n := range s.Train.count(len(s.Classes)) {
		if n == 0 && counts[c] > 0 {
			return &OptionError{Problem: fmt.Sprintf("data.test_fraction is %v, which leaves none of the %d images of class %q for training: lower it, or add images",
				o.TestFraction, counts[c], s.Classes[c])}
		}
	}
	return nil
}

// count returns the number of images of each class.
func (s Split) count(classes int) []int {
	counts := make([]int, classes)
	for _, l := range s.Labels {
		counts[l]++
	}
	return counts
}

// setName returns the base name of a path, without the extensions of archives.
func setName(name string) string {
	if absolute, err := filepath.Abs(name); err == nil {
		name = absolute // "." has a name too
	}
	info, err := os.Stat(name)
	folder := err == nil && info.IsDir()
	name = filepath.Base(name)
	for !folder {
		ext := filepath.Ext(name)
		if ext == name || !slices.Contains([]string{".tar", ".zst", ".zstd", ".gz", ".tgz", ".tzst", ".zip", ".bin"}, strings.ToLower(ext)) {
			break
		}
		name = strings.TrimSuffix(name, ext)
	}
	if name == string(filepath.Separator) {
		return "root"
	}
	return name
}
