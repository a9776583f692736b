package data

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// Ahead is the number of batches of a feed: one with the caller, one ready, one being filled.
const Ahead = 3

// FeedOptions describes the batches of a Feed.
//
// A rank with several heads gets all their mini-batches from one feed. With N = H·Size heads of b images each, H per rank, Batch is H·b: the
// batch holds the mini-batches of heads Rank·H ... Rank·H+H-1, one after the other, and a head's images do not depend on the number of
// ranks. Where all heads see the same images (data.share = "same"), every rank asks for Rank 0 of Size 1 and Batch b, and gives that batch to
// each of its heads. Where each head has a shard of the set (data.share = "shard"), Shards is N.
type FeedOptions struct {
	Seed       uint64
	Batch      int // images per rank and step
	Rank, Size int
	Shards     int // 0: all draw from the complete set
	Start      int // the first step
	Shift      int // images by which the sequence is ahead of step times images per step, after a resume with another batch size
	Augment    Augment
}

// Feed prepares one rank's batches ahead of the step, the images of a batch on as many goroutines as the set says. It keeps three batches:
// no more than that is prepared in advance. The batches depend on the options alone, not on the goroutine that prepared them.
//
// Next and Close belong to one goroutine; Wait may be called from any.
type Feed struct {
	set     *Set
	workers []func(i int) error // each prepares image i of draws in batch
	batch   *Batch              // being filled
	draws   []Draw              // (len(batch.Labels))
	free    chan *Batch         // capacity Ahead: returning a batch never blocks
	ready   chan prepared       // closed when the feed's goroutine has ended
	quit    chan struct{}
	current *Batch // with the caller
	err     error  // returned by every further Next
	waited  atomic.Int64
}

type prepared struct {
	batch *Batch
	err   error
}

var errClosed = errors.New("data: Next of a closed feed")

// NewFeed starts preparing batches of set's training images, step after step without end. The images of step t are those of
// Sampler.Batch, or of the shards' samplers; a feed with Start t continues exactly where another one was before step t. Close ends it.
func NewFeed(set *Set, opts FeedOptions) *Feed {
	set.check()
	if opts.Batch <= 0 || opts.Rank < 0 || opts.Rank >= opts.Size || opts.Start < 0 || opts.Shards%opts.Size != 0 {
		panic("data: feed options out of range")
	}
	opts.Augment.Affine.valid()
	if opts.Augment.Check(set.Channels, set.Height, set.Width) != nil {
		panic("data: augmentation out of range")
	}
	batch, step := opts.sample(set.Train.Len()), opts.Start
	return startFeed(set, set.Train, opts.Augment, opts.Seed, opts.Batch, func(draws []Draw) ([]Draw, string) {
		batch(draws, step)
		step++
		return draws, fmt.Sprintf("for step %d", step-1)
	})
}

// sample returns a function that draws this rank's images, of n, for a step.
func (o FeedOptions) sample(n int) func(dst []Draw, step int) {
	if o.Shards == 0 {
		s := NewSampler(n, o.Seed)
		s.Shift = o.Shift
		return func(dst []Draw, step int) { s.Batch(dst, step, o.Rank, o.Size) }
	}
	heads := o.Shards / o.Size
	if o.Batch%heads != 0 {
		panic("data: a batch that is not a multiple of the rank's heads")
	}
	var own []*Sampler
	for i := range heads {
		own = append(own, NewShard(n, o.Seed, o.Rank*heads+i, o.Shards))
	}
	return func(dst []Draw, step int) {
		b := len(dst) / heads
		for i, s := range own {
			s.Batch(dst[i*b:(i+1)*b], step, 0, 1)
		}
	}
}

// startFeed prepares the batches that draw returns, in a slice for one that it is given, until draw returns none. The text that it returns
// describes the batch in errors.
func startFeed(set *Set, images Images, augment Augment, seed uint64, batch int, draw func([]Draw) ([]Draw, string)) *Feed {
	f := &Feed{set: set, free: make(chan *Batch, Ahead), ready: make(chan prepared, Ahead), quit: make(chan struct{})}
	for range Ahead {
		f.free <- newBatch(set, batch)
	}
	n := set.pixels()
	for range max(1, min(set.Workers, batch)) {
		p := newPreprocessor(set, images, augment, seed)
		f.workers = append(f.workers, func(i int) (err error) {
			f.batch.Labels[i], err = p.prepare(f.batch.Images[i*n:(i+1)*n], f.draws[i])
			return err
		})
	}
	go f.run(make([]Draw, batch), draw)
	return f
}

// run prepares batches until the last one, an error or Close.
func (f *Feed) run(draws []Draw, draw func([]Draw) ([]Draw, string)) {
	defer close(f.ready) // however this goroutine ends, Next does not wait for it
	for {
		select {
		case f.batch = <-f.free:
		case <-f.quit:
			return
		}
		var purpose string
		if f.draws, purpose = draw(draws); len(f.draws) == 0 {
			f.ready <- prepared{nil, io.EOF}
			return
		}
		f.batch.resize(len(f.draws), f.set.pixels())
		failed, err := each(len(f.draws), f.workers)
		f.batch.unmix()
		if err != nil {
			err = fmt.Errorf("data: preparing image %d of %q %s: %w", f.draws[failed].Image, f.set.Name, purpose, err)
		}
		f.ready <- prepared{f.batch, err} // capacity Ahead: never blocks
		if err != nil {
			return
		}
	}
}

// Next returns the next batch, valid until the next call of Next or Close, or io.EOF after the last one. If it could not be prepared, the
// error names the image and the cause, and every later call returns it again.
func (f *Feed) Next() (*Batch, error) {
	if f.err != nil {
		return nil, f.err
	}
	if f.current != nil {
		f.free <- f.current
		f.current = nil
	}
	var p prepared
	var ok bool
	select {
	case p, ok = <-f.ready:
	default:
		began := time.Now()
		p, ok = <-f.ready
		f.waited.Add(int64(time.Since(began)))
	}
	if !ok {
		p.err = errors.New("data: the feed's goroutine ended unexpectedly (runtime.Goexit in an Images?)")
	}
	if p.err != nil {
		f.err = p.err
		return nil, f.err
	}
	f.current = p.batch
	return p.batch, nil
}

// Wait returns the total time that Next has waited for a batch.
func (f *Feed) Wait() time.Duration { return time.Duration(f.waited.Load()) }

// Close ends the feed and returns when its goroutine has ended; it may be called again.
func (f *Feed) Close() {
	if f.err == errClosed {
		return
	}
	f.err = errClosed
	close(f.quit)
	for range f.ready { // until it is closed
	}
}
