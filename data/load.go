package data

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"lte/data/picture"
	"lte/data/source"
)

// MaxDecoded is the limit in bytes of a set's decoded images in memory.
const MaxDecoded = 2 << 30

// probes is the number of images whose sizes are compared before all are decoded.
const probes = 32

// load makes the set's images of a source's; with unread, images are only decoded on demand.
func (s *Set) load(from *source.Set, unread bool) error {
	train, test := from.Train, from.Test
	if train.Pixels != nil {
		s.Shape = Shape{from.Channels, from.Height, from.Width}
		s.Train, s.Test = &memory{s.Shape, train.Labels, train.Pixels}, &memory{s.Shape, test.Labels, test.Pixels}
		return nil
	}
	s.Channels, s.Train, s.Test = 3, &files{split: train}, &files{split: test}
	if unread {
		return nil
	}
	all := slices.Concat(train.Files, test.Files)
	height, width, err := probe(all)
	s.Height, s.Width = height, width
	if err == nil && int64(len(all)) <= MaxDecoded/int64(3*height*width) {
		a, b := newMemory(len(train.Labels), 3, height, width), newMemory(len(test.Labels), 3, height, width)
		copy(a.labels, train.Labels)
		copy(b.labels, test.Labels)
		err = decodeAll(all, height, width, func(i int) []uint8 {
			if i < a.Len() {
				return a.image(i)
			}
			return b.image(i - a.Len())
		})
		if err == nil {
			s.Train, s.Test = a, b
		}
	}
	if errors.As(err, new(*differs)) {
		s.sizes, err = err, nil // no error where all are resized
	}
	return err
}

// differs is the error of images of different sizes.
type differs struct {
	file                             source.File
	height, width, asHeight, asWidth int
	as                               source.File
}

func (d *differs) Error() string {
	return fmt.Sprintf("%s: an image of %d×%d pixels, expected %d×%d like %s: set data.size, to which all are resized",
		d.file, d.width, d.height, d.asWidth, d.asHeight, d.as)
}

// probe returns the size of the first image; its error is a differs if one of some others has another size.
func probe(files []source.File) (height, width int, err error) {
	var encoded []byte
	n := min(probes, len(files))
	for k := range n {
		file, h, w := files[k*len(files)/n], 0, 0
		if encoded, h, w, err = readSized(file, encoded); err != nil {
			return 0, 0, err
		}
		if k == 0 {
			height, width = h, w
		}
		if h != height || w != width {
			return height, width, &differs{file, h, w, height, width, files[0]}
		}
	}
	return height, width, nil
}

// readSized reads an encoded image into buffer, and its size from its header.
func readSized(file source.File, buffer []byte) (encoded []byte, height, width int, err error) {
	if encoded, err = file.Read(buffer); err == nil {
		height, width, err = picture.Size(encoded)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return encoded, height, width, err
}

// decodeAll decodes every file, on all cores, into dst(i), (3, height, width). Of several errors it returns that of the first file.
func decodeAll(files []source.File, height, width int, dst func(i int) []uint8) error {
	_, err := each(len(files), perCore(func() func(i int) error {
		var encoded []byte
		var p Picture
		return func(i int) error {
			var h, w int
			var err error
			if encoded, h, w, err = readSized(files[i], encoded); err != nil {
				return err
			}
			if h != height || w != width { // an image of another size may be too large to decode
				return &differs{files[i], h, w, height, width, files[0]}
			}
			if err := picture.Decode(&p, encoded); err != nil {
				return fmt.Errorf("%s: %w", files[i], err)
			}
			copy(dst(i), p.Pix)
			return nil
		}
	}))
	return err
}

// perCore returns a worker for each core.
func perCore(worker func() func(i int) error) (all []func(i int) error) {
	for range runtime.GOMAXPROCS(0) {
		all = append(all, worker())
	}
	return all
}

var errGoexit = errors.New("its goroutine ended unexpectedly (runtime.Goexit in an Images?)")

// each calls the workers, each on its goroutine, for 0..n-1 until one fails. Of several errors it returns the one of the smallest number.
func each(n int, workers []func(i int) error) (failed int, err error) {
	if len(workers) > 1 {
		return eachParallel(n, workers)
	}
	for i := range n { // allocates nothing
		if err := caught(workers[0], i); err != nil {
			return i, err
		}
	}
	return n, nil
}

func eachParallel(n int, workers []func(i int) error) (failed int, err error) {
	var next atomic.Int64
	var mutex sync.Mutex
	failed = n
	fail := func(i int, cause error) {
		mutex.Lock()
		defer mutex.Unlock()
		if i < failed {
			failed, err = i, cause
			next.Store(int64(n)) // numbers are handed out in order: smaller ones are all taken, and will be finished
		}
	}
	var running sync.WaitGroup
	for _, f := range workers[:min(len(workers), n)] {
		running.Go(func() {
			var i int
			defer func() { fail(i, errGoexit) }() // no effect after the last number
			for i = int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := caught(f, i); err != nil {
					fail(i, err)
				}
			}
		})
	}
	running.Wait()
	return failed, err
}
