package data

import "math"

// memory is a collection in memory, a byte a value: 184 MB for the 60,000 images of CIFAR-10. It is never written
// after it was filled.
type memory struct {
	labels   []int32      // (images)
	pixels   []uint8      // (images, channels, height, width)
	value    [256]float32 // of a byte, in 0..1
	channels int
	area     int // height·width
}

// newMemory makes room for n images whose bytes run from 0, black, to white.
func newMemory(n, channels, area, white int) *memory {
	m := &memory{labels: make([]int32, n), pixels: make([]uint8, n*channels*area), channels: channels, area: area}
	for v := range m.value {
		m.value[v] = float32(v) / float32(white)
	}
	return m
}

func (m *memory) Len() int        { return len(m.labels) }
func (m *memory) Label(i int) int { return int(m.labels[i]) }

// image returns the bytes of image i, (channels, height, width).
func (m *memory) image(i int) []uint8 {
	n := m.channels * m.area
	return m.pixels[i*n : (i+1)*n]
}

func (m *memory) Pixels(dst []float32, i int) {
	x := m.image(i)
	if len(dst) != len(x) {
		panic("data: pixels of the wrong length")
	}
	for j, v := range x {
		dst[j] = m.value[v]
	}
}

// measure returns mean and standard deviation of each channel over all pixels of the images that index names, from
// the counts of their 256 values.
func (m *memory) measure(index []int) (mean, std []float32) {
	counts := make([][256]int64, m.channels)
	for _, i := range index {
		x := m.image(i)
		for c := range counts {
			count := &counts[c]
			for _, v := range x[c*m.area : (c+1)*m.area] {
				count[v]++
			}
		}
	}
	n := float64(len(index) * m.area)
	for c := range counts {
		var sum, squares float64
		for v, count := range counts[c] {
			x := float64(m.value[v])
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
