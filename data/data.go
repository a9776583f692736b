// Package data turns a data set's name into batches of normalised images.
//
//	Open      a name -> a Set with its two splits
//	Sampler   which image stands at which position of the endless training sequence
//	Affine    random augmentation of one image
//	Feed      this rank's training batches, prepared ahead of the step
//	EachBatch this rank's share of a split, for evaluation
//
// Everything random depends on (seed, epoch, image) or on (seed, epoch) alone, through package random. A run may thus
// stop and resume at any step, and what the ranks see together doesn't depend on how many they are. The package knows
// no MPI and no network: ranks come as numbers, batches leave as slices.
package data

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Images is an indexed, labelled collection. It is safe for concurrent use: the feed reads ahead while an evaluation
// reads the same images.
type Images interface {
	// Len returns the number of images.
	Len() int
	// Label returns the class of image i, in 0..Classes-1 of its Set.
	Label(i int) int
	// Pixels writes image i into dst, (channels, height, width), in 0..1. An image that cannot be read is reported by
	// a panic with an error that names it; Feed and EachBatch hand that error to their caller.
	Pixels(dst []float32, i int)
}

// Set is a data set with its two splits.
type Set struct {
	Name                             string
	Classes, Channels, Height, Width int
	Mean, Std                        []float32 // (channels), of the training split's pixels in 0..1; Std is never 0
	Train, Test                      Images
}

// pixels returns the number of values of one image.
func (s *Set) pixels() int { return s.Channels * s.Height * s.Width }

// openers holds every data set that Open knows by name.
var openers = map[string]func(seed uint64) (*Set, error){
	"digits": openDigits,
}

// Names returns the names that Open knows, sorted.
func Names() []string {
	var names []string
	for name := range openers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Open returns the named data set. The seed decides the split, where a data set comes without one, and nothing else:
// a caller passes the same seed whatever the run's own is, so that the test images of two runs agree.
func Open(name string, seed uint64) (*Set, error) {
	open, ok := openers[name]
	if !ok {
		return nil, fmt.Errorf("data: unknown data set %q: expected one of %s; correct the name in the configuration",
			name, strings.Join(Names(), ", "))
	}
	set, err := open(seed)
	if err != nil {
		return nil, fmt.Errorf("data: opening %q: %w", name, err)
	}
	return set, nil
}

// measure returns mean and standard deviation of each channel over all pixels of images.
func measure(images Images, channels, area int) (mean, std []float32) {
	sum := make([]float64, channels)
	squares := make([]float64, channels)
	x := make([]float32, channels*area) // (channels, area)
	for i := range images.Len() {
		images.Pixels(x, i)
		for c := range channels {
			for _, v := range x[c*area : (c+1)*area] {
				sum[c] += float64(v)
				squares[c] += float64(v) * float64(v)
			}
		}
	}
	mean = make([]float32, channels)
	std = make([]float32, channels)
	n := float64(images.Len() * area)
	for c := range channels {
		m := sum[c] / n
		mean[c] = float32(m)
		std[c] = float32(math.Sqrt(max(0, squares[c]/n-m*m)))
		if std[c] == 0 {
			std[c] = 1 // a constant channel has nothing to scale, and a division by 0 would spread NaN
		}
	}
	return mean, std
}
