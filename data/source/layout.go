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

// layout is how files make up a set.
type layout struct {
	kind string
	// is says whether a folder of p, which holds entries, is one of the layout's.
	is func(p place, dir string, entries []entry) bool
	// read lists the set in that folder.
	read func(p place, dir string, o Options) (*Set, error)
}

// layouts in the order in which they are tried.
var layouts []layout

func init() { // the readers' errors name the kinds
	layouts = []layout{
		{"cifar10", isCIFAR10, readCIFAR10},
		{"cifar100", isCIFAR100, readCIFAR100},
		{"stl10", isSTL10, readSTL10},
		{"idx", isIDX, readIDX},
		{"webdataset", isWebDataset, readWebDataset},
		{"folder", isSplitFolder, readSplitFolder},
	}
}

// deepest is how many folders above a set's own are looked through: torchvision keeps MNIST in MNIST/raw.
const deepest = 2

// readPlace finds a set's folder and layout, and lists it.
func readPlace(p place, o Options) (*Set, error) {
	type hit struct {
		layout
		dir string
	}
	var found []string       // what lies at the root, for the error that misses a set
	led := map[folder]bool{} // folders that links lead to: each is looked into once
	for level, depth := []string{"."}, 0; depth <= deepest && len(level) > 0; depth++ {
		var hits []hit
		var below []string
		for _, dir := range level {
			entries, err := p.list(dir)
			if err != nil {
				return nil, err
			}
			if s, ok := p.(single); ok {
				entries = []entry{{name: s.file}} // the set that this file belongs to, no other
			}
			for _, l := range layouts {
				if (o.Kind == "auto" || o.Kind == l.kind) && l.is(p, dir, entries) {
					hits = append(hits, hit{l, dir})
					break
				}
			}
			for _, e := range entries {
				if depth == 0 {
					found = append(found, e.name)
				}
				if e.leads != nil && led[*e.leads] {
					continue
				}
				if e.leads != nil {
					led[*e.leads] = true
				}
				if e.dir {
					below = append(below, path.Join(dir, e.name))
				}
			}
		}
		if len(hits) > 1 {
			return nil, fmt.Errorf("a set (%s) lies in %s and another (%s) in %s, expected one: set data.path to the one that is meant, or remove the other",
				hits[0].kind, hits[0].dir, hits[1].kind, hits[1].dir)
		}
		if len(hits) == 1 {
			return hits[0].read(p, hits[0].dir, o)
		}
		level = below
	}
	if s, ok := p.(single); ok {
		return nil, fmt.Errorf("a file that begins with %q, expected an image set (%s; folders and tar, tar.zst, tar.gz and zip archives of them): correct data.path",
			s.head, kindList())
	}
	if o.Kind != "auto" && o.Kind != "folder" {
		return nil, &OptionError{Problem: fmt.Sprintf("no set of data.kind %s found (but: %s): correct data.path, or set data.kind to auto", o.Kind, shorten(found))}
	}
	return readWholeFolder(p, o, found)
}

func kindList() string { return strings.Join(Kinds()[1:], ", ") }

// pixels reads sets that come as plain pixels: what is common to CIFAR, IDX and STL-10.
type pixels struct {
	channels, height, width int
	classes                 int
	learned                 []bool // (classes), of test images: those that the training images have
}

func (x pixels) image() int { return x.channels * x.height * x.width }

// after is x of test images beside those training images.
func (x pixels) after(train Split) pixels {
	x.learned = train.learned(x.classes)
	return x
}

// label checks one label. Names and offset are for the error; first is the label that the file has for class 0.
func (x pixels) label(dst *[]int32, v byte, first int, where string, offset int) error {
	l := int(v) - first
	if l < 0 || l >= x.classes {
		return fmt.Errorf("%s: at byte %d label %d, expected %d..%d: copy or download it again", where, offset, v, first, first+x.classes-1)
	}
	if x.learned != nil && !x.learned[l] {
		return fmt.Errorf("%s: at byte %d label %d, which no training image has, expected the classes of the training images: correct it, or add such images", where, offset, v)
	}
	*dst = append(*dst, int32(l))
	return nil
}

// readFile reads a file of a set whole, and unpacks it where it is packed.
func readFile(p place, name string) ([]byte, error) {
	content, err := p.read(nil, name, limit.PixelFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file, expected it beside the set's other files: copy or download the set again", p.where(name))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.where(name), err)
	}
	return content, nil
}

// namesOf returns the names of n classes, from a file with one a line where the set has it, else numbers.
func namesOf(p place, file string, n int) ([]string, error) {
	names, err := readLines(p, file)
	if err != nil {
		return nil, err
	}
	if names == nil {
		return numbers(n), nil
	}
	if len(names) != n {
		return nil, fmt.Errorf("%s: names of %d classes, expected %d, one a line: copy or download it again", p.where(file), len(names), n)
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

// has says whether a file of that name is among entries.
func has(entries []entry, name string) bool {
	return slices.ContainsFunc(entries, func(e entry) bool { return e.name == name && !e.dir })
}
