package data

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Ahead is the number of batches a feed keeps: one with the caller, one ready, one being filled.
const Ahead = 3

// FeedOptions says which batches a Feed prepares.
//
// A rank that carries several heads takes them all from one feed. With N = H·Size heads of b images each, H a rank,
// Batch is H·b: the batch is then the mini-batches of heads Rank·H ... Rank·H+H-1, one after the other, and what a
// head sees doesn't depend on how many ranks carry the N heads. Where all heads see the same images (data.share =
// "same"), every rank asks for Rank 0 of Size 1 and Batch b, and gives that batch to each of its heads. Where each head has a
// shard of the set (data.share = "shard"), Shards is N.
type FeedOptions struct {
	Seed       uint64
	Batch      int // images a rank and step
	Rank, Size int // whose batches
	Shards     int // 0: all deal from the whole set
	Start      int // the first step
	Shift      int // images by which the whole set's sequence is ahead of step times images a step, where these were others before
	Augment    Augment
}

// Feed prepares one rank's batches ahead of the step, the images of a batch on as many goroutines as the set says. It
// keeps three batches: what is prepared before it is wanted is never more than that. The batches depend on the options
// alone, not on which goroutine prepared what.
//
// Next and Close belong to one goroutine; Wait may be called from any.
type Feed struct {
	set     *Set
	stages  []*stage
	jobs    chan *job     // taken by every stage's goroutine, where there are several
	free    chan *Batch   // cap Ahead: returning a batch never blocks
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

// NewFeed starts preparing batches of set's training images, step after step without end. The images of step t are those
// of Sampler.Batch, or of the shards' samplers; a feed with Start t goes on exactly where another one stood before step t. Close ends it.
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

// sample returns what says which of n images are this rank's at a step.
func (o FeedOptions) sample(n int) func(dst []Draw, step int) {
	if o.Shards == 0 {
		s := NewSampler(n, o.Seed)
		s.Shift = o.Shift
		return func(dst []Draw, step int) { s.Batch(dst, step, o.Rank, o.Size) }
	}
	heads := o.Shards / o.Size
	if o.Batch%heads != 0 {
		panic("data: a batch that the rank's heads cannot share out")
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

// startFeed prepares the batches that deal deals, in the room for one that it is given, until it deals none. The text it
// returns says in errors what the batch is for.
func startFeed(set *Set, images Images, augment Augment, seed uint64, batch int, deal func([]Draw) ([]Draw, string)) *Feed {
	f := &Feed{set: set, free: make(chan *Batch, Ahead), ready: make(chan prepared, Ahead), quit: make(chan struct{})}
	for range Ahead {
		f.free <- newBatch(set, batch)
	}
	for range max(1, min(set.Workers, batch)) {
		f.stages = append(f.stages, newStage(set, images, augment, seed))
	}
	if len(f.stages) > 1 {
		f.jobs = make(chan *job, len(f.stages))
		for _, s := range f.stages {
			go s.work(f.jobs)
		}
	}
	go f.work(make([]Draw, batch), deal)
	return f
}

// work prepares batches until the last one, an error or Close.
func (f *Feed) work(room []Draw, deal func([]Draw) ([]Draw, string)) {
	defer close(f.ready) // whatever ends the worker, Next doesn't wait for it
	if f.jobs != nil {
		defer close(f.jobs)
	}
	j := &job{}
	for {
		var b *Batch
		select {
		case b = <-f.free:
		case <-f.quit:
			return
		}
		draws, purpose := deal(room)
		if len(draws) == 0 {
			f.ready <- prepared{nil, io.EOF}
			return
		}
		b.cut(len(draws), f.set.pixels())
		j.begin(b, draws)
		err := f.fill(j)
		b.unmix()
		if err != nil {
			err = fmt.Errorf("data: preparing image %d of %q %s: %w", draws[j.failed].Image, f.set.Name, purpose, err)
		}
		f.ready <- prepared{b, err} // cap Ahead: never blocks
		if err != nil {
			return
		}
	}
}

// fill has every stage work on a job, and returns the error of the first image that has one.
func (f *Feed) fill(j *job) error {
	if f.jobs == nil {
		f.stages[0].do(j)
		return j.err
	}
	j.working.Add(len(f.stages))
	for range f.stages {
		f.jobs <- j
	}
	j.working.Wait()
	return j.err
}

// Next returns the next batch, valid until the next call of Next or Close, or io.EOF behind the last one. If it could
// not be prepared, the error says of which image and why, and every later call returns it again.
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

// job is a batch that is being filled.
type job struct {
	into    *Batch
	draws   []Draw // (len(into.Labels))
	working sync.WaitGroup

	next   atomic.Int64 // of draws
	mutex  sync.Mutex
	failed int   // the first of draws that could not be prepared; len(draws): none
	err    error // of it
}

func (j *job) begin(into *Batch, draws []Draw) {
	j.into, j.draws, j.failed, j.err = into, draws, len(draws), nil
	j.next.Store(0)
}

// fail keeps the error of image i unless there is one of an earlier image, whichever stage came upon one first: images
// are handed out in order, so those before one that fails are all taken, and are finished.
func (j *job) fail(i int, err error) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if i < j.failed {
		j.failed, j.err = i, err
	}
	j.next.Store(int64(len(j.draws)))
}

// work does jobs until there are no more.
func (s *stage) work(jobs <-chan *job) {
	for j := range jobs {
		func() {
			defer j.working.Done()
			s.do(j)
		}()
	}
}

// do prepares images of a job until none is left.
func (s *stage) do(j *job) {
	n, at := s.set.pixels(), -1 // the image at hand
	defer func() {
		if at >= 0 {
			j.fail(at, errors.New("its goroutine ended without a word (runtime.Goexit in an Images?)"))
		}
	}()
	for {
		i := int(j.next.Add(1)) - 1
		if i >= len(j.draws) {
			return
		}
		at = i
		err := caught(func() (err error) {
			j.into.Labels[i], err = s.prepare(j.into.Images[i*n:(i+1)*n], j.draws[i])
			return err
		})
		if at = -1; err != nil {
			j.fail(i, err)
		}
	}
}
