package picture

import "math"

// Counts is the frequency of each byte value in each channel of pictures.
type Counts [][256]int64 // (channels)

// Add counts the bytes of p, which has the same number of channels.
func (n Counts) Add(p *Picture) {
	for c := range n {
		count := &n[c]
		for _, v := range p.Plane(c) {
			count[v]++
		}
	}
}

// Measures returns the mean and standard deviation of each channel, (channels), where the byte white represents 1. The deviation of a
// constant channel is set to 1, to avoid a division by 0.
func (n Counts) Measures(white int) (mean, std []float32) {
	for c := range n {
		var total, sum, squares float64
		for v, count := range n[c] {
			x := float64(float32(v) / float32(white))
			total += float64(count)
			sum += float64(count) * x
			squares += float64(count) * x * x
		}
		average := sum / total
		deviation := float32(math.Sqrt(max(0, squares/total-average*average)))
		if deviation == 0 {
			deviation = 1
		}
		mean, std = append(mean, float32(average)), append(std, deviation)
	}
	return mean, std
}
