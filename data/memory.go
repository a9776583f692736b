package data

import "lte/data/picture"

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

// measure returns mean and standard deviation of each channel over all pixels of the images that index names.
func (m *memory) measure(index []int, white int) (mean, std []float32) {
	counts := make(picture.Counts, m.channels)
	var p Picture
	for _, i := range index {
		_ = m.Picture(&p, i) // never an error
		counts.Add(&p)
	}
	return counts.Measures(white)
}
