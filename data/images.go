package data

import (
	"fmt"
	"sync"

	"lte/data/picture"
	"lte/data/source"
)

// files is a collection of images that are decoded on demand.
type files struct {
	split   source.Split
	encoded sync.Pool // of *[]byte
}

func (f *files) Len() int        { return len(f.split.Labels) }
func (f *files) Label(i int) int { return int(f.split.Labels[i]) }

func (f *files) Picture(dst *Picture, i int) error {
	buffer, ok := f.encoded.Get().(*[]byte)
	if !ok {
		buffer = new([]byte)
	}
	defer f.encoded.Put(buffer)
	encoded, err := f.split.Files[i].Read(*buffer)
	if err == nil {
		*buffer = encoded
		err = picture.Decode(dst, encoded)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.split.Files[i], err)
	}
	return nil
}

// memory is a collection of decoded images, one byte per value: 184 MB for the 60,000 images of CIFAR-10. It is read-only once filled.
type memory struct {
	Shape
	labels []int32 // (images)
	bytes  []uint8 // (images, channels, height, width)
}

// newMemory allocates n images.
func newMemory(n, channels, height, width int) *memory {
	return &memory{Shape{channels, height, width}, make([]int32, n), make([]uint8, n*channels*height*width)}
}

func (m *memory) Len() int        { return len(m.labels) }
func (m *memory) Label(i int) int { return int(m.labels[i]) }

// image returns the bytes of image i, (channels, height, width).
func (m *memory) image(i int) []uint8 {
	n := m.pixels()
	return m.bytes[i*n : (i+1)*n]
}

func (m *memory) Picture(dst *Picture, i int) error {
	dst.Lend(m.Channels, m.Height, m.Width, m.image(i))
	return nil
}

// samples is the number of evenly spaced images from which mean and deviation of a set not in memory are estimated, to about 0.01.
const samples = 1000

// measure sets mean and standard deviation of each channel, over all pixels of the training images, or of samples of them.
func (s *Set) measure() error {
	if s.Mean != nil {
		return nil
	}
	n := s.Train.Len()
	all := s.Train
	if p, ok := all.(*part); ok {
		all = p.all
	}
	if _, inMemory := all.(*memory); !inMemory {
		n = min(n, samples)
	}
	var mutex sync.Mutex
	counts := make(picture.Counts, s.Channels)
	_, err := each(n, perCore(func() func(i int) error {
		var p Picture
		own := make(picture.Counts, s.Channels)
		return func(i int) error {
			if err := s.Train.Picture(&p, i*s.Train.Len()/n); err != nil {
				return err
			}
			clear(own)
			own.Add(&p)
			mutex.Lock()
			defer mutex.Unlock()
			for c := range own {
				for v, count := range own[c] {
					counts[c][v] += count
				}
			}
			return nil
		}
	}))
	if err != nil {
		return err
	}
	s.Mean, s.Std = counts.Measures(s.WhiteLevel())
	return nil
}
