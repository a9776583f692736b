package source

import (
	"fmt"
	"path"
	"slices"
)

// CIFAR-10 and CIFAR-100, binary version (https://www.cs.toronto.edu/~kriz/cifar.html): records of one label (CIFAR-10) or
// of a coarse and a fine one (CIFAR-100), one byte each, and the red, green and blue planes of 32×32.

// cifarBatch matches the training files of CIFAR-10.
func cifarBatch(e entry) bool {
	ok, _ := path.Match("data_batch_*.bin", e.name) // the pattern is valid
	return ok && !e.dir
}

func isCIFAR10(_ fileSystem, _ string, entries []entry) bool {
	return slices.ContainsFunc(entries, cifarBatch) || has(entries, "test_batch.bin")
}

func readCIFAR10(p fileSystem, dir string, _ Options) (*Set, error) {
	entries, err := p.list(dir)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e entry) bool { return !cifarBatch(e) })
	if len(entries) == 0 {
		return nil, fmt.Errorf("%s: no data_batch_*.bin, expected the training images of CIFAR-10 there: copy or download the set again", p.where(dir))
	}
	return readCIFAR(p, dir, "cifar10", 10, 1, entryNames(entries), "test_batch.bin", "batches.meta.txt")
}

func isCIFAR100(_ fileSystem, _ string, entries []entry) bool {
	return has(entries, "train.bin") || has(entries, "fine_label_names.txt")
}

// readCIFAR100 uses the fine labels.
func readCIFAR100(p fileSystem, dir string, _ Options) (*Set, error) {
	return readCIFAR(p, dir, "cifar100", 100, 2, []string{"train.bin"}, "test.bin", "fine_label_names.txt")
}

// readCIFAR reads files of records of that many labels and an image.
func readCIFAR(p fileSystem, dir, kind string, classes, labels int, train []string, test, names string) (*Set, error) {
	x := pixels{3, 32, 32, classes, nil}
	s := &Set{Kind: kind, Channels: x.channels, Height: x.height, Width: x.width, White: 255}
	for _, name := range train {
		if err := s.Train.addCIFAR(p, path.Join(dir, name), x, labels); err != nil {
			return nil, err
		}
	}
	err := s.Test.addCIFAR(p, path.Join(dir, test), x.after(s.Train), labels)
	if err != nil {
		return nil, err
	}
	s.Classes, err = namesOf(p, path.Join(dir, names), classes)
	return s, err
}

// addCIFAR appends the records of one file, the last of whose labels is used.
func (s *Split) addCIFAR(p fileSystem, name string, x pixels, labels int) error {
	content, err := readFile(p, name)
	if err != nil {
		return err
	}
	record := labels + x.image()
	if rest := len(content) % record; rest != 0 || len(content) == 0 {
		return fmt.Errorf("%s: %d bytes, expected a multiple of %d (label and image): the record at byte %d is incomplete: copy or download it again",
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
