package data

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"lte/data/picture"
	"lte/data/source"
)

// MostDecoded is how many bytes of decoded images a set holds in memory at most.
const MostDecoded = 2 << 30

// probes is how many images say whether all are of one size, before all of them are decoded.
const probes = 32

// load makes the set's images of a source's: unread, all are decoded only when they are asked for.
func (s *Set) load(from *source.Set, unread bool) error {
	train, test := from.Train, from.Test
	if train.Pixels != nil {
		s.Channels, s.Height, s.Width = from.Channels, from.Height, from.Width
		s.Train = &memory{train.Labels, train.Pixels, s.Channels, s.Height, s.Width}
		s.Test = &memory{test.Labels, test.Pixels, s.Channels, s.Height, s.Width}
		return nil
	}
	s.Channels, s.Train, s.Test = 3, &files{split: train}, &files{split: test}
	if unread {
		return nil
	}
	all := append(append([]source.File(nil), train.Files...), test.Files...)
	height, width, err := probe(all)
	s.Height, s.Width = height, width
	if err == nil && int64(len(all)) <= MostDecoded/int64(3*height*width) {
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
		s.sizes, err = err, nil // no harm where all are brought to one
	}
	return err
}

// differs says that a set's images are not all of one size.
type differs struct {
	file                             source.File
	height, width, asHeight, asWidth int
	as                               source.File
}

func (d *differs) Error() string {
	return fmt.Sprintf("%s: an image of %d×%d pixels, expected %d×%d like %s: set data.size, to which all are brought",
		d.file, d.width, d.height, d.asWidth, d.asHeight, d.as)
}

// probe returns the size of the first image; a differs says that one of some others has not that size.
func probe(files []source.File) (height, width int, err error) {
	var encoded []byte
	for k := range min(probes, len(files)) {
		i := k * len(files) / min(probes, len(files))
		encoded, err = files[i].Read(encoded)
		var h, w int
		if err == nil {
			h, w, err = picture.Size(encoded)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", files[i], err)
		}
		if k == 0 {
			height, width = h, w
		}
		if h != height || w != width {
			return height, width, &differs{files[i], h, w, height, width, files[0]}
		}
	}
	return height, width, nil
}

// decodeAll decodes every file, on all cores, into what dst returns for its index: (3, height, width). Of several
// errors it returns that of the first file, whichever core came upon one first.
func decodeAll(files []source.File, height, width int, dst func(i int) []uint8) error {
	return each(len(files), func() func(i int) error {
		var encoded []byte
		var room Picture
		return func(i int) (err error) {
			encoded, err = files[i].Read(encoded)
			var h, w int
			if err == nil {
				h, w, err = picture.Size(encoded) // first: an image of another size may be too large to decode
			}
			if err == nil && (h != height || w != width) {
				return &differs{files[i], h, w, height, width, files[0]}
			}
			if err == nil {
				err = picture.Decode(&room, encoded)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", files[i], err)
			}
			copy(dst(i), room.Pix)
			return nil
		}
	})
}

// each calls f, one of them for each core, for 0..n-1. Of several errors it returns that of the lowest number.
func each(n int, worker func() func(i int) error) error {
	var next atomic.Int64
	var mutex sync.Mutex
	failed, failure := n, error(nil)
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n) {
		workers.Go(func() {
			f := worker()
			for {
				// Numbers are handed out in order, so those before one that fails are all taken, and are finished.
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := caught(func() error { return f(i) }); err != nil {
					mutex.Lock()
					if i < failed {
						failed, failure = i, err
					}
					mutex.Unlock()
					next.Store(int64(n))
				}
			}
		})
	}
	workers.Wait()
	return failure
}
