// Package data turns a data set's place into batches of normalised images.
//
//	Open      a Source: an image folder, an archive of one, the embedded digits -> a Set with its two splits
//	Sampler   which image stands at which position of the endless training sequence
//	Augment   random augmentation of one image: an affine map, crop, flip
//	Feed      this rank's training batches, prepared ahead of the step
//	Mix       mixup and CutMix of a head's mini-batch
//	EachBatch this rank's share of a split, for evaluation
//
// Everything random depends on (seed, epoch, image) or on (seed, epoch) alone, through package random. A run may thus
// stop and resume at any step, and what the ranks see together doesn't depend on how many they are. The package knows
// no MPI and no network: ranks come as numbers, batches leave as slices.
package data

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
