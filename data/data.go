// Package data turns a data set's place into batches of normalised images.
//
//	Open      a Source: image folders, CIFAR, WebDataset, ... (package source lists them) -> a Set with its two splits
//	Sampler   which image stands at which position of the endless training sequence
//	Augment   random augmentation of one image: crops, RandAugment, colour jitter, an affine map, flip, erasing
//	Feed      this rank's training batches, prepared ahead of the step
//	Mix       mixup and CutMix of a head's mini-batch
//	EachBatch this rank's share of a split, for evaluation
//
// Everything random depends on (seed, epoch, image) or on (seed, epoch) alone, through package random. A run may thus
// stop and resume at any step, and what the ranks see together doesn't depend on how many they are. The package knows
// no MPI and no network: ranks come as numbers, batches leave as slices.
package data

import "cmp"

// Images is an indexed, labelled collection. It is safe for concurrent use: the feed reads ahead while an evaluation
// reads the same images.
type Images interface {
	// Len returns the number of images.
	Len() int
	// Label returns the class of image i, in 0..Classes-1 of its Set.
	Label(i int) int
	// Picture decodes image i into dst, by dst.Reset or dst.Lend: who calls it reads dst and does not write to it. The
	// error names the image's file, and the place in it.
	Picture(dst *Picture, i int) error
}

// Set is a data set with its two splits.
type Set struct {
	Kind, Name              string
	Classes                 int
	ClassNames              []string  // (classes); nil: they have none
	Channels, Height, Width int       // of what the model is fed
	White                   int       // the byte of a Picture that stands for 1, in 1..255; 0: 255
	Mean, Std               []float32 // (channels), by which pixels in 0..1 are normalised; Std is never 0
	Fit                     Fit       // of pictures of other sizes
	Workers                 int       // goroutines that prepare images at once; 0: one
	Train, Test             Images

	sizes error // that images differ in size, where they do: Height and Width are then no image's but the first one's
}

// pixels returns the number of values of one image.
func (s *Set) pixels() int { return s.Channels * s.Height * s.Width }

// Lightest is the byte that stands for 1: White, where that is said.
func (s *Set) Lightest() int { return cmp.Or(s.White, 255) }

// levels returns what each byte of a Picture stands for where white stands for 1.
func levels(white int) *[256]float32 {
	var value [256]float32
	for v := range value {
		value[v] = float32(v) / float32(white)
	}
	return &value
}
