package data

import (
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
)

// Batch is a mini-batch of labelled, normalised images.
type Batch struct {
	Images []float32 // (len(Labels), channels, height, width), (x-mean)/std of each channel
	Labels []int     // (len(Labels)), in 0..Classes-1

	// Set in a mixed batch (see Mix), otherwise nil: image i's target is Lambda[i] of Labels[i] and 1-Lambda[i] of Others[i].
	Others []int     // (len(Labels))
	Lambda []float32 // (len(Labels)), in 0..1
}

func newBatch(set *Set, n int) *Batch {
	return &Batch{Images: make([]float32, n*set.pixels()), Labels: make([]int, n)}
}

// resize makes it a batch of n images, in the memory that it has.
func (b *Batch) resize(n, pixels int) {
	b.Images, b.Labels = b.Images[:n*pixels], b.Labels[:n]
	if b.Others != nil {
		b.Others, b.Lambda = b.Others[:n], b.Lambda[:n]
	}
}

// Mix mixes images from..to-1 of a batch of set's images, the mini-batch of one head. The other images and their targets are unchanged.
// For reproducible and resumable runs rng is a stream of (seed, step, head). It allocates when the batch is mixed for the first time; a
// Feed reuses the memory.
func (b *Batch) Mix(m Mix, set *Set, from, to int, rng *rand.Rand) {
	n := len(b.Labels)
	if from < 0 || from > to || to > n {
		panic("data: mini-batch to mix out of range")
	}
	if b.Others == nil {
		b.Others, b.Lambda = make([]int, n), make([]float32, n)
		b.unmix()
	}
	images := b.Images[from*set.pixels() : to*set.pixels()]
	lambda := m.Apply(images, b.Others[from:to], b.Labels[from:to], set.Channels, set.Height, set.Width, rng)
	for i := from; i < to; i++ {
		b.Lambda[i] = lambda
	}
}

// unmix sets the targets of unmixed images.
func (b *Batch) unmix() {
	copy(b.Others, b.Labels)
	for i := range b.Lambda {
		b.Lambda[i] = 1
	}
}

// check panics unless the set is complete.
func (s *Set) check() {
	if s.Classes <= 0 || s.Channels <= 0 || s.Height <= 0 || s.Width <= 0 ||
		len(s.Mean) != s.Channels || len(s.Std) != s.Channels {
		panic("data: a Set without shape, mean or deviation")
	}
}

// normalise replaces each x of one image, (channels, height, width), by (x-mean)/std of its channel.
func (s *Set) normalise(x []float32) {
	area := s.Height * s.Width
	for c := range s.Channels {
		mean, std := s.Mean[c], s.Std[c]
		plane := x[c*area : (c+1)*area]
		for i, v := range plane {
			plane[i] = (v - mean) / std
		}
	}
}

// label returns the label of image i, which must be one of the set's classes: the loss indexes by it.
func (s *Set) label(images Images, i int) (int, error) {
	l := images.Label(i)
	if l < 0 || l >= s.Classes {
		return 0, fmt.Errorf("its label is %d, expected 0..%d; correct the data set or its number of classes",
			l, s.Classes-1)
	}
	return l, nil
}

// caught returns the error of f(i), or its panic as an error with the stack.
func caught(f func(i int) error, i int) (err error) {
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case error:
			err = fmt.Errorf("%w\n%s", cause, debug.Stack())
		default:
			err = fmt.Errorf("%v\n%s", cause, debug.Stack())
		}
	}()
	return f(i)
}

// EachBatch calls f with this rank's share of images, in order and without augmentation: images rank, rank+size, rank+2·size, ... in
// batches of batch images, the last of which may be smaller. Over all ranks every image occurs once; a rank beyond the number of images
// gets no call. Batches are prepared ahead as by a Feed. A Batch is valid until f returns. An unreadable image or an error of f ends the
// iteration.
func EachBatch(set *Set, images Images, batch, rank, size int, f func(*Batch) error) error {
	set.check()
	if batch <= 0 || rank < 0 || rank >= size {
		panic("data: batch or rank out of range")
	}
	next := rank
	share := max(0, (images.Len()-rank+size-1)/size)
	feed := startFeed(set, images, Augment{}, 0, max(1, min(batch, share)), func(draws []Draw) ([]Draw, string) {
		n := 0
		for ; n < len(draws) && next < images.Len(); n++ {
			draws[n], next = Draw{Image: next}, next+size
		}
		return draws[:n], "for evaluation"
	})
	defer feed.Close()
	for {
		b, err := feed.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(b); err != nil {
			return err
		}
	}
}
