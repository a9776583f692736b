package data

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"lte/random"
)

// ring is the number of batches a feed keeps: one with the caller, one ready, one being filled.
const ring = 3

// FeedOptions says which batches a Feed prepares.
//
// A rank that carries several heads takes them all from one feed. With N = H·Size heads of b images each, H a rank,
// Batch is H·b: the batch is then the mini-batches of heads Rank·H ... Rank·H+H-1, one after the other, and what a
// head sees doesn't depend on how many ranks carry the N heads. Where all heads see the same images (data.share =
// "same"), every rank asks for Rank 0 of Size 1 and Batch b, and gives that batch to each of its heads.
type FeedOptions struct {
	Seed       uint64
	Batch      int // images a rank and step
	Rank, Size int // whose batches
	Start      int // the first step
	Augment    Augment
}

// Feed prepares one rank's training batches ahead of the step, step after step without end. The images of step t
// are those of Sampler.Batch; each is augmented by the stream (seed, "augment", epoch, image), then normalised. The
// batches depend on the options alone: a feed with Start t goes on exactly where another one stood before step t.
//
// Next and Close belong to one goroutine; Wait may be called from any.
type Feed struct {
	free    chan *Batch   // cap ring: returning a batch never blocks
	ready   chan prepared // closed when the worker has ended
	quit    chan struct{}
	current *Batch // with the caller
	err     error  // what every further Next returns
	waited  atomic.Int64
}

type prepared struct {
	batch *Batch
	err   error
}

var errClosed = errors.New("data: Next of a closed feed")

// NewFeed starts preparing batches of set's training images. Close ends it.
func NewFeed(set *Set, opts FeedOptions) *Feed {
	set.check()
	if opts.Batch <= 0 || opts.Rank < 0 || opts.Rank >= opts.Size || opts.Start < 0 {
		panic("data: feed options out of range")
	}
	opts.Augment.Affine.valid()
	if opts.Augment.Check(set.Height, set.Width) != nil {
		panic("data: crop out of range")
	}
	f := &Feed{free: make(chan *Batch, ring), ready: make(chan prepared, ring), quit: make(chan struct{})}
	for range ring {
		f.free <- newBatch(set, opts.Batch)
	}
	source := rand.NewChaCha8([32]byte{})
	w := &worker{
		set: set, opts: opts, sampler: NewSampler(set.Train.Len(), opts.Seed),
		draws: make([]Draw, opts.Batch), plain: make([]float32, set.pixels()), room: make([]float32, set.pixels()), value: set.values(), source: source, rng: rand.New(source),
	}
	go f.work(w)
	return f
}

// work prepares batches until an error or Close.
func (f *Feed) work(w *worker) {
	defer close(f.ready) // whatever ends the worker, Next doesn't wait for it
	for step := w.opts.Start; ; step++ {
		var b *Batch
		select {
		case b = <-f.free:
		case <-f.quit:
			return
		}
		w.step, w.into = step, b
		err := caught(w.fill)
		if err != nil {
			err = fmt.Errorf("data: preparing image %d of %q for step %d: %w", w.image, w.set.Name, step, err)
		}
		f.ready <- prepared{b, err} // cap ring: never blocks
		if err != nil {
			return
		}
	}
}

// Next returns the batch of the next step, valid until the next call of Next or Close. If it could not be prepared,
// the error says of which image and why, and every later call returns it again.
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
		p.err = errors.New("data: the feed's worker ended without a word (runtime.Goexit in an Images?)")
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

// Close ends the feed and returns when its goroutine has; it may be called again.
func (f *Feed) Close() {
	if f.err == errClosed {
		return
	}
	f.err = errClosed
	close(f.quit)
	for range f.ready { // until the worker closes it
	}
}

// worker is what the feed's goroutine owns.
type worker struct {
	set     *Set
	opts    FeedOptions
	sampler *Sampler
	draws   []Draw        // (batch)
	plain   []float32     // (channels, height, width), an image before augmentation
	room    []float32     // (channels, height, width), and within it
	picture Picture       // as it was decoded
	value   *[256]float32 // of its bytes
	source  *rand.ChaCha8 // seeded again for every image
	rng     *rand.Rand    // over source

	step  int
	into  *Batch
	image int // the one at hand, for the error
}

// fill prepares the batch of w.step in w.into.
func (w *worker) fill() (err error) {
	set, n := w.set, w.set.pixels()
	w.sampler.Batch(w.draws, w.step, w.opts.Rank, w.opts.Size)
	for j, d := range w.draws {
		w.image = d.Image
		x := w.into.Images[j*n : (j+1)*n]
		if a := w.opts.Augment; a != (Augment{}) {
			if err = set.read(w.plain, set.Train, d.Image, &w.picture, w.value); err != nil {
				return err
			}
			w.source.Seed(random.Key(w.opts.Seed, "augment", uint64(d.Epoch), uint64(d.Image)))
			a.Apply(x, w.plain, w.room, set.Channels, set.Height, set.Width, w.rng)
		} else if err = set.read(x, set.Train, d.Image, &w.picture, w.value); err != nil {
			return err
		}
		set.normalise(x)
		if w.into.Labels[j], err = set.label(set.Train, d.Image); err != nil {
			return err
		}
	}
	w.into.unmix()
	return nil
}
