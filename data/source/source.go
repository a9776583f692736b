// Package source reads image sets as they are distributed: which classes and images a set has, and the bytes of each,
// still encoded or as plain pixels. Images are decoded elsewhere, and nothing here is random but a split by a seed.
//
//	place     where files lie: a folder, a tar or zip archive, read without unpacking
//	layout    how the files make up a set: CIFAR, IDX, STL-10, class folders, WebDataset
//	Open      finds place and layout by looking, and lists the images
//
// Sources: the sets' own pages, named at each reader.
package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lte/data/limit"
	"lte/random"
)

// Options says where a set lies and how it is read.
type Options struct {
	Path string // a folder, an archive, a file of the set, or a brace pattern of shards; empty: the embedded digits
	Kind string // one of Kinds; empty or "auto": found by looking

	// ClassList is a file that names the class folders to read, one a line; empty: all.
	ClassList string
	// TestFraction, in (0, 1), of each class is set aside for the test where a set comes without a split; 0: 0.2.
	TestFraction float64
	// Seed decides that split and nothing else.
	Seed uint64
}

// OptionError is an error of the options: one that is out of range, or two that contradict each other or the set that is there.
// What is wrong with files is any other error.
type OptionError struct{ Problem string } // what is wrong, what was expected, what to do

func (e *OptionError) Error() string { return e.Problem }

// Set is a set as it is distributed.
type Set struct {
	Kind, Name  string
	Classes     []string // their names, by label
	Train, Test Split    // both with images

	// Of a set that comes as pixels; else 0.
	Channels, Height, Width int
	White                   int // the value of a white pixel; black is 0
}

// Split is the images of one split, in an order that depends on the set alone.
type Split struct {
	Labels []int32 // (images), in 0..len(Classes)-1
	Pixels []uint8 // (images, channels, height, width); nil where images are encoded
	Files  []File  // (images); nil where they come as pixels
}

// File is an encoded image where it lies.
type File struct {
	in   place
	name string
}

// Read returns the encoded image, in dst's room where that is enough. It is safe for concurrent use. Errors don't say
// the file's name.
func (f File) Read(dst []byte) ([]byte, error) { return f.in.read(dst[:0], f.name, limit.ImageBytes) }

// String names the file for errors, with the offset in its archive.
func (f File) String() string { return f.in.where(f.name) }

// Kinds returns the kinds of sets that Open knows.
func Kinds() []string {
	kinds := []string{"auto", "digits"}
	for _, l := range layouts {
		kinds = append(kinds, l.kind)
	}
	return kinds
}

// Open lists the images of a set. Sets of plain pixels, and compressed archives, are in memory when it returns; all else
// is read as it is asked for. Errors say which file and where in it, what is wrong, what was expected and what to do.
func Open(o Options) (*Set, error) {
	switch {
	case o.Kind == "":
		o.Kind = "auto"
	case !slices.Contains(Kinds(), o.Kind):
		return nil, &OptionError{Problem: fmt.Sprintf("unknown data.kind %q: expected one of %s", o.Kind, strings.Join(Kinds(), ", "))}
	}
	if o.TestFraction == 0 {
		o.TestFraction = 0.2
	}
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
		return nil, fmt.Errorf("%d images to learn from and %d to test on, expected one at least of both: add images, or change data.test_fraction",
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
		return nil, &OptionError{Problem: "data.kind is digits, which are in the program itself, but data.path is set: leave data.path empty, or set data.kind to auto"}
	}
	if _, err := os.Stat(o.Path); errors.Is(err, os.ErrNotExist) && strings.Contains(o.Path, "{") {
		if o.Kind != "auto" && o.Kind != "webdataset" {
			return nil, &OptionError{Problem: fmt.Sprintf("a brace pattern names shards of a WebDataset, but data.kind is %s: set data.kind to webdataset or auto", o.Kind)}
		}
		return readBraces(o.Path)
	}
	p, err := openPlace(o.Path)
	if err != nil {
		return nil, err
	}
	set, err := readPlace(p, o)
	if err != nil {
		return nil, err
	}
	if set.Name == "" {
		set.Name = setName(o.Path)
	}
	return set, nil
}

// check holds a set's test against its training images: a class that only the test has cannot be learned.
func (s *Set) check() error {
	if len(s.Train.Labels) == 0 {
		return errors.New("no images to learn from, expected one at least: correct data.path")
	}
	learned := s.Train.learned(len(s.Classes))
	for i, file := range s.Test.Files { // who reads pixels has checked their labels
		if l := s.Test.Labels[i]; !learned[l] {
			return fmt.Errorf("%s: of class %s, which no training image has, expected the classes of the training images: correct its label, or add such images",
				file, s.Classes[l])
		}
	}
	return nil
}

// divide sets a part of the training images aside for the test. Of every class some are left to learn from: one image of a class
// cannot be learned from and tested on.
func (s *Set) divide(o Options) error {
	counts := s.Train.count(len(s.Classes))
	if c := slices.Index(counts, 1); c >= 0 {
		return fmt.Errorf("class %q has one image, expected two at least of each class, as the set comes without a split into training and test images: add images, or remove the class",
			s.Classes[c])
	}
	s.Train, s.Test = s.Train.divide(len(s.Classes), o.TestFraction, random.Stream(o.Seed, "split"))
	for c, n := range s.Train.count(len(s.Classes)) {
		if n == 0 && counts[c] > 0 {
			return &OptionError{Problem: fmt.Sprintf("data.test_fraction is %v, which leaves none of the %d images of class %q to learn from: lower it, or add images",
				o.TestFraction, counts[c], s.Classes[c])}
		}
	}
	return nil
}

// learned says of each class whether the split has images of it.
func (s Split) learned(classes int) []bool {
	learned := make([]bool, classes)
	for c, n := range s.count(classes) {
		learned[c] = n > 0
	}
	return learned
}

// count returns how many images of each class the split has.
func (s Split) count(classes int) []int {
	counts := make([]int, classes)
	for _, l := range s.Labels {
		counts[l]++
	}
	return counts
}

// setName returns the base name of a path, without the extensions of archives.
func setName(name string) string {
	if whole, err := filepath.Abs(name); err == nil {
		name = whole // "." has a name too
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
