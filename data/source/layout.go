package source

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"lte/data/limit"
)

// layout is an arrangement of the files of a set.
type layout struct {
	kind string
	// is reports whether a folder of p, which holds entries, has this layout.
	is func(p fileSystem, dir string, entries []entry) bool
	// read lists the set in that folder.
	read func(p fileSystem, dir string, o Options) (*Set, error)
}

// layouts returns all layouts in the order in which they are tried.
func layouts() []layout {
	return []layout{
		{"cifar10", isCIFAR10, readCIFAR10},
		{"cifar100", isCIFAR100, readCIFAR100},
		{"stl10", isSTL10, readSTL10},
		{"idx", isIDX, readIDX},
		{"webdataset", isWebDataset, readWebDataset},
		{"folder", isSplitFolder, readSplitFolder},
	}
}

// maxDepth is the number of folders above a set's that are searched: torchvision stores MNIST in MNIST/raw.
const maxDepth = 2

// readFileSystem finds a set's folder and layout, and lists it.
func readFileSystem(p fileSystem, o Options) (*Set, error) {
	type match struct {
		layout
		dir string
	}
	var found []string          // entries of the root, for the error if there is no set
	linked := map[folder]bool{} // targets of links: each is searched once
	for level, depth := []string{"."}, 0; depth <= maxDepth && len(level) > 0; depth++ {
		var matches []match
		var below []string
		for _, dir := range level {
			entries, err := p.list(dir)
			if err != nil {
				return nil, err
			}
			if s, ok := p.(singleFile); ok {
				entries = []entry{{name: s.file}} // the set of this file only
			}
			for _, l := range layouts() {
				if (o.Kind == "auto" || o.Kind == l.kind) && l.is(p, dir, entries) {
					matches = append(matches, match{l, dir})
					break
				}
			}
			for _, e := range entries {
				if depth == 0 {
					found = append(found, e.name)
				}
				if e.target != nil {
					if linked[*e.target] {
						continue
					}
					linked[*e.target] = true
				}
				if e.dir {
					below = append(below, path.Join(dir, e.name))
				}
			}
		}
		if len(matches) > 1 {
			return nil, fmt.Errorf("there is a set (%s) in %s and another (%s) in %s, expected one: set data.path to one of them, or remove the other",
				matches[0].kind, matches[0].dir, matches[1].kind, matches[1].dir)
		}
		if len(matches) == 1 {
			return matches[0].read(p, matches[0].dir, o)
		}
		level = below
	}
	if s, ok := p.(singleFile); ok {
		return nil, fmt.Errorf("a file that begins with %q, expected an image set (%s; folders and tar, tar.zst, tar.gz and zip archives of them): correct data.path",
			s.head, kindList())
	}
	if o.Kind != "auto" && o.Kind != "folder" {
		return nil, &OptionError{Problem: fmt.Sprintf("no set of data.kind %s found (but: %s): correct data.path, or set data.kind to auto", o.Kind, shorten(found))}
	}
	return readUnsplitFolder(p, o, found)
}

func kindList() string { return strings.Join(Kinds()[1:], ", ") }

// pixels describes sets of raw pixels: CIFAR, IDX and STL-10.
type pixels struct {
	channels, height, width int
	classes                 int
	training                []int // (classes), for test images: the number of training images
}

func (x pixels) image() int { return x.channels * x.height * x.width }

// after is x for the test images of a set with those training images.
func (x pixels) after(train Split) pixels {
	x.training = train.count(x.classes)
	return x
}

// label checks and appends one label. where and offset are for the error; first is the label of class 0 in the file.
func (x pixels) label(dst *[]int32, v byte, first int, where string, offset int) error {
	l := int(v) - first
	if l < 0 || l >= x.classes {
		return fmt.Errorf("%s: at byte %d label %d, expected %d..%d: copy or download it again", where, offset, v, first, first+x.classes-1)
	}
	if x.training != nil && x.training[l] == 0 {
		return fmt.Errorf("%s: at byte %d label %d, which no training image has, expected the classes of the training images: correct it, or add such images", where, offset, v)
	}
	*dst = append(*dst, int32(l))
	return nil
}

// readFile reads a complete file of a set.
func readFile(p fileSystem, name string) ([]byte, error) {
	content, err := p.read(nil, name, limit.PixelFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file, expected it next to the set's other files: copy or download the set again", p.where(name))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.where(name), err)
	}
	return content, nil
}

// namesOf returns the names of n classes, from a file with one per line if it exists, otherwise numbers.
func namesOf(p fileSystem, file string, n int) ([]string, error) {
	names, err := readLines(p, file)
	if err != nil {
		return nil, err
	}
	if names == nil {
		return numbers(n), nil
	}
	if len(names) != n {
		return nil, fmt.Errorf("%s: names of %d classes, expected %d, one per line: copy or download it again", p.where(file), len(names), n)
	}
	return names, nil
}

func numbers(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	return names
}

// has reports whether entries contain a file of that name.
func has(entries []entry, name string) bool {
	return slices.ContainsFunc(entries, func(e entry) bool { return e.name == name && !e.dir })
}
