package source

import (
	"fmt"
	"path"
	"strings"
)

// CIFAR-10 and CIFAR-100, binary version (https://www.cs.toronto.edu/~kriz/cifar.html): records of one label (CIFAR-10) or
// of a coarse and a fine one (CIFAR-100), a byte each, and the red, green and blue plane of 32×32.
var (
	cifar10  = pixels{3, 32, 32, 10}
	cifar100 = pixels{3, 32, 32, 100}
)

// cifarBatch matches the training files of CIFAR-10.
func cifarBatch(name string) bool {
	ok, _ := path.Match("data_batch_*.bin", name) // the pattern is sound
	return ok
}

func isCIFAR10(_ place, _ string, entries []entry) bool {
	for _, e := range entries {
		if cifarBatch(e.name) && !e.dir {
			return true
		}
	}
	return has(entries, "test_batch.bin")
}

func readCIFAR10(p place, dir string, _ Options) (*Set, error) {
	s := &Set{Kind: "cifar10", Channels: 3, Height: 32, Width: 32, White: 255}
	entries, err := p.list(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if cifarBatch(e.name) {
			if err := s.Train.addCIFAR(p, path.Join(dir, e.name), cifar10, 1); err != nil {
				return nil, err
			}
		}
	}
	if s.Train.Labels == nil {
		return nil, fmt.Errorf("%s: no data_batch_*.bin, expected the training images of CIFAR-10 there: copy or download the set again", p.where(dir))
	}
	if err := s.Test.addCIFAR(p, path.Join(dir, "test_batch.bin"), cifar10, 1); err != nil {
		return nil, err
	}
	s.Classes, err = namesOf(p, path.Join(dir, "batches.meta.txt"), 10)
	return s, err
}

func isCIFAR100(_ place, _ string, entries []entry) bool {
	return has(entries, "train.bin") || has(entries, "fine_label_names.txt")
}

// readCIFAR100 takes the fine labels.
func readCIFAR100(p place, dir string, _ Options) (*Set, error) {
	s := &Set{Kind: "cifar100", Channels: 3, Height: 32, Width: 32, White: 255}
	if err := s.Train.addCIFAR(p, path.Join(dir, "train.bin"), cifar100, 2); err != nil {
		return nil, err
	}
	err := s.Test.addCIFAR(p, path.Join(dir, "test.bin"), cifar100, 2)
	if err != nil {
		return nil, err
	}
	s.Classes, err = namesOf(p, path.Join(dir, "fine_label_names.txt"), 100)
	return s, err
}

// addCIFAR appends the records of one file, each of that many labels, the last of which counts.
func (s *Split) addCIFAR(p place, name string, x pixels, labels int) error {
	content, err := readFile(p, name)
	if err != nil {
		return err
	}
	record := labels + x.image()
	if rest := len(content) % record; rest != 0 || len(content) == 0 {
		return fmt.Errorf("%s: %d bytes, expected a multiple of %d (label and image): the record at byte %d is not whole: copy or download it again",
			p.where(name), len(content), record, len(content)-rest)
	}
	for at := 0; at < len(content); at += record {
		if err := x.label(&s.Labels, content[at+labels-1], 0, p.where(name), at+labels-1); err != nil {
			return err
		}
		s.Pixels = append(s.Pixels, content[at+labels:at+record]...)
	}
	return nil
}

// isSTL10: Coates, Lee and Ng (https://cs.stanford.edu/~acoates/stl10/), binary version.
func isSTL10(_ place, _ string, entries []entry) bool {
	for _, e := range entries {
		if strings.HasSuffix(e.name, "_X.bin") && !e.dir {
			return true
		}
	}
	return false
}

// readSTL10 reads 5,000 and 8,000 images of 96×96 in ten classes.
func readSTL10(p place, dir string, _ Options) (*Set, error) {
	x := pixels{3, 96, 96, 10}
	s := &Set{Kind: "stl10", Channels: x.channels, Height: x.height, Width: x.width, White: 255}
	err := s.Train.readSTL10(p, path.Join(dir, "train"), x)
	if err == nil {
		err = s.Test.readSTL10(p, path.Join(dir, "test"), x)
	}
	if err == nil {
		s.Classes, err = namesOf(p, path.Join(dir, "class_names.txt"), x.classes)
	}
	return s, err
}

// readSTL10 reads the two files of a split: labels from 1, and images whose planes run column by column.
func (s *Split) readSTL10(p place, split string, x pixels) error {
	labels, err := readFile(p, split+"_y.bin")
	if err != nil {
		return err
	}
	content, err := readFile(p, split+"_X.bin")
	if err != nil {
		return err
	}
	if len(content)%x.image() != 0 || len(content)/x.image() != len(labels) || len(labels) == 0 {
		return fmt.Errorf("%s: %d bytes, expected %d, an image of 3×96×96 for each of the %d labels of %s: copy or download them again",
			p.where(split+"_X.bin"), len(content), len(labels)*x.image(), len(labels), p.where(split+"_y.bin"))
	}
	for i, v := range labels {
		if err := x.label(&s.Labels, v, 1, p.where(split+"_y.bin"), i); err != nil {
			return err
		}
	}
	transpose(content, x.height, x.width)
	s.Pixels = content
	return nil
}

// transpose turns planes that run column by column, (width, height) each, into planes that run row by row, in place.
func transpose(planes []uint8, height, width int) {
	area := height * width
	room := make([]uint8, area)
	for from := 0; from < len(planes); from += area {
		plane := planes[from : from+area]
		copy(room, plane)
		for y := range height {
			for x := range width {
				plane[y*width+x] = room[x*height+y]
			}
		}
	}
}
