package data

import (
	"fmt"
	"math/rand/v2"
)

// Erasing is the share of the images that lose a piece: random erasing (Zhong, Zheng, Kang, Li and Yang, "Random Erasing Data
// Augmentation", arXiv 1708.04896).
type Erasing float64

// What an erased piece is, by timm and, but for the third decimal, torchvision: a share of the image's area, and how many times
// as wide as high, or as high as wide.
const (
	leastErased  = 0.02
	mostErased   = 1.0 / 3
	erasedAspect = 1 / 0.3
)

// Check returns an error that names the configuration's key unless e is a share; the negated comparison catches NaN.
func (e Erasing) Check() error {
	if !(e >= 0 && e <= 1) {
		return fmt.Errorf("data.random_erasing %v: expected 0..1; correct data.random_erasing", float64(e))
	}
	return nil
}

// apply makes a piece of a normalised image, (channels, height, width), 0: the mean of its channel in the set. Where ten draws do
// not fit into the image, it stays whole.
func (e Erasing) apply(x []float32, channels, height, width int, rng *rand.Rand) {
	if rng.Float64() >= float64(e) {
		return
	}
	b, ok := drawPiece(height, width, leastErased, mostErased, erasedAspect, rng)
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
