// Package data turns a data set on disk into batches of normalised images.
//
//	Open      a Source: image folders, CIFAR, WebDataset, ... (package source lists them) -> a Set with its two splits
//	Sampler   the endless sequence of training images
//	Augment   random augmentation of one image: crops, RandAugment, colour jitter, an affine map, flip, erasing
//	Feed      this rank's training batches, prepared ahead of the step
//	Mix       mixup and CutMix of a head's mini-batch
//	EachBatch this rank's share of a split, for evaluation
//
// Everything random depends on (seed, epoch, image) or on (seed, epoch) alone, through package random. A run may thus stop and resume at
// any step, and the global batch does not depend on the number of ranks. The package knows neither MPI nor models: ranks are integers,
// batches are slices.
package data

import (
	"cmp"
	"fmt"

	"lte/data/picture"
)

// Picture is a decoded image of any size.
type Picture = picture.Picture

// Images is an indexed, labelled collection. It is safe for concurrent use: the feed reads ahead while an evaluation reads the same
// images.
type Images interface {
	// Len returns the number of images.
	Len() int
	// Label returns the class of image i, in 0..Classes-1 of its Set.
	Label(i int) int
	// Picture decodes image i into dst, by dst.Reset or dst.Lend: the caller only reads dst. The error names the image's file and the
	// position in it.
	Picture(dst *Picture, i int) error
}

// Shape is the shape of an image.
type Shape struct{ Channels, Height, Width int }

// pixels returns the number of values of an image.
func (s Shape) pixels() int { return s.Channels * s.Height * s.Width }

// Set is a data set with its two splits.
type Set struct {
	Kind, Name  string
	Classes     int
	ClassNames  []string  // (classes); nil: unnamed
	Shape                 // of the model's input
	White       int       // the byte value of a Picture that represents 1, in 1..255; 0: 255
	Mean, Std   []float32 // (channels), by which pixels in 0..1 are normalised; Std is never 0
	Fit         Fit       // for pictures of other sizes
	Workers     int       // goroutines that prepare images at once; 0: one
	Train, Test Images

	sizes error // set where images differ in size: Height and Width are then those of the first one
}

// WhiteLevel is the byte value that represents 1: White, or 255 where it is 0.
func (s *Set) WhiteLevel() int { return cmp.Or(s.White, 255) }

// levels returns the value in 0..1 of each byte where white represents 1.
func levels(white int) *[256]float32 {
	var value [256]float32
	for v := range value {
		value[v] = float32(v) / float32(white)
	}
	return &value
}

// inRange returns an error that names a key of section data unless its value is in least..most; the negated comparison catches NaN.
func inRange(key string, value, least, most float64) error {
	if !(value >= least && value <= most) {
		return fmt.Errorf("data.%s %v: expected %v..%v; correct data.%s", key, value, least, most, key)
	}
	return nil
}
