package source

import (
	"fmt"
	"path"
)

// CIFAR-10 and CIFAR-100, binary version (https://www.cs.toronto.edu/~kriz/cifar.html): records of one label (CIFAR-10) or
// of a coarse and a fine one (CIFAR-100), a byte each, and the red, green and blue plane of 32×32.
var (
	cifar10  = pixels{3, 32, 32, 10, nil}
	cifar100 = pixels{3, 32, 32, 100, nil}
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
	if err := s.Test.addCIFAR(p, path.Join(dir, "test_batch.bin"), cifar10.after(s.Train), 1); err != nil {
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
	err := s.Test.addCIFAR(p, path.Join(dir, "test.bin"), cifar100.after(s.Train), 2)
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
