package data

import (
	"sync"

	"lte/data/picture"
)

// memory is a collection in memory, a byte a value: 184 MB for the 60,000 images of CIFAR-10. It is never written
// after it was filled.
type memory struct {
	labels                  []int32 // (images)
	pixels                  []uint8 // (images, channels, height, width)
	channels, height, width int
}

// newMemory makes room for n images.
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

// samples is how many images say what mean and deviation are of a set that is not held in memory, evenly spaced: they are
// right to 0.01.
const samples = 1000

// measure sets mean and standard deviation of each channel, over all pixels of the training images, or of samples.
func (s *Set) measure() error {
	if s.Mean != nil {
		return nil
	}
	n := s.Train.Len()
	if _, held := s.Train.(*memory); !held {
		n = min(n, samples)
	}
	var mutex sync.Mutex
	counts := make(picture.Counts, s.Channels)
	err := each(n, func() func(i int) error {
		var p Picture
		mine := make(picture.Counts, s.Channels)
		return func(i int) error {
			if err := s.Train.Picture(&p, i*s.Train.Len()/n); err != nil {
				return err
			}
			clear(mine)
			mine.Add(&p)
			mutex.Lock()
			defer mutex.Unlock()
			for c := range mine {
				for v, count := range mine[c] {
					counts[c][v] += count
				}
			}
			return nil
		}
	})
	if err != nil {
		return err
	}
	s.Mean, s.Std = counts.Measures(s.Lightest())
	return nil
}
