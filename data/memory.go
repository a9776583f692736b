package data

import (
	"sync"

	"lte/data/picture"
)

// memory is a collection of decoded images, one byte per value: 184 MB for the 60,000 images of CIFAR-10. It is read-only once filled.
type memory struct {
	labels                  []int32 // (images)
	pixels                  []uint8 // (images, channels, height, width)
	channels, height, width int
}

// newMemory allocates n images.
func newMemory(n, channels, height, width int) *memory {
	return &memory{labels: make([]int32, n), pixels: make([]uint8, n*channels*height*width), channels: channels, height: height, width: width}
}

func (m *memory) Len() int        { return len(m.labels) }
func (m *memory) Label(i int) int { return int(m.labels[i]) }

// image returns the bytes of image i, (channels, height, width).
func (m *memory) image(i int) []uint8 {
	n := m.channels * m.height * m.width
	return m.pixels[i*n : (i+1)*n]
}

func (m *memory) Picture(dst *Picture, i int) error {
	dst.Lend(m.channels, m.height, m.width, m.image(i))
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
	if _, inMemory := s.Train.(*memory); !inMemory {
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
