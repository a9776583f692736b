package data

import "math/rand/v2"

// Erasing is the probability of random erasing of an image (Zhong, Zheng, Kang, Li and Yang, "Random Erasing Data Augmentation", arXiv
// 1708.04896).
type Erasing float64

// The erased rectangle's share of the image's area, and its largest aspect ratio, as in timm and, but for the third decimal, torchvision.
const (
	minErased    = 0.02
	maxErased    = 1.0 / 3
	erasedAspect = 1 / 0.3
)

// Check returns an error that names the configuration's key unless e is in range.
func (e Erasing) Check() error { return inRange("random_erasing", float64(e), 0, 1) }

// apply sets a rectangle of a normalised image, (channels, height, width), to 0, the mean of its channel in the set. If ten draws do not
// fit into the image, it is unchanged.
func (e Erasing) apply(x []float32, channels, height, width int, rng *rand.Rand) {
	if rng.Float64() >= float64(e) {
		return
	}
	b, ok := drawCrop(height, width, minErased, maxErased, erasedAspect, rng)
	if !ok {
		return
	}
	for c := range channels {
		for y := b.Top; y < b.Top+b.Height; y++ {
			row := (c*height + y) * width
			clear(x[row+b.Left : row+b.Left+b.Width])
		}
	}
}
