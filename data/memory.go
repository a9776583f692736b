package data

import "math"

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

// measure returns mean and standard deviation of each channel over all pixels of the images that index names, from
// the counts of their 256 values; value is what each stands for.
func (m *memory) measure(index []int, value *[256]float32) (mean, std []float32) {
	area := m.height * m.width
	counts := make([][256]int64, m.channels)
	for _, i := range index {
		x := m.image(i)
		for c := range counts {
			count := &counts[c]
			for _, v := range x[c*area : (c+1)*area] {
				count[v]++
			}
		}
	}
	n := float64(len(index) * area)
	for c := range counts {
		var sum, squares float64
		for v, count := range counts[c] {
			x := float64(value[v])
			sum += float64(count) * x
			squares += float64(count) * x * x
		}
		average := sum / n
		deviation := float32(math.Sqrt(max(0, squares/n-average*average)))
		if deviation == 0 {
			deviation = 1 // a constant channel has nothing to scale, and a division by 0 would spread NaN
		}
		mean = append(mean, float32(average))
		std = append(std, deviation)
	}
	return mean, std
}
