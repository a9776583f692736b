package data

import (
	"fmt"

	"lte/data/source"
	"lte/random"
)

// part is some images of a collection.
type part struct {
	all   Images
	index []int // of each image in the collection
}

func (p *part) Len() int                          { return len(p.index) }
func (p *part) Label(i int) int                   { return p.all.Label(p.index[i]) }
func (p *part) Picture(dst *Picture, i int) error { return p.all.Picture(dst, p.index[i]) }

// holdOut makes a fraction of the training images of every class the images of evaluations, in place of the test images.
func (s *Set) holdOut(fraction float64, seed uint64) error {
	if !(fraction >= 0 && fraction < 1) {
		return &OptionError{Problem: fmt.Sprintf("data.validation_fraction is %v, expected 0, or a number between 0 and 1", fraction)}
	}
	if fraction == 0 {
		return nil
	}
	labels := make([]int32, s.Train.Len())
	for i := range labels {
		labels[i] = int32(s.Train.Label(i))
	}
	training, validation := source.Stratify(labels, s.Classes, int((1-fraction)*float64(len(labels))), random.Stream(seed, "validation"))
	if len(training) == 0 || len(validation) == 0 {
		return &OptionError{Problem: fmt.Sprintf("data.validation_fraction is %v, which leaves %d training and %d validation images of %d, expected at least one of both: correct it, or add images",
			fraction, len(training), len(validation), len(labels))}
	}
	s.Train, s.Test = &part{s.Train, training}, &part{s.Train, validation}
	return nil
}
