package data

import (
	"cmp"
	"math/rand/v2"

	"lte/data/transform"
)

// ColourJitter changes brightness, contrast and saturation by random factors in random order, as torchvision's ColorJitter does. Each
// field is the x of a factor uniform in max(0, 1-x)..1+x; 0: none.
type ColourJitter struct{ Brightness, Contrast, Saturation float64 }

// Check returns an error that names the configuration key unless j is in range.
func (j ColourJitter) Check() error {
	return cmp.Or(inRange("brightness", j.Brightness, 0, 100), inRange("contrast", j.Contrast, 0, 100), inRange("saturation", j.Saturation, 0, 100))
}

// orders are the permutations of three operations.
var orders = [...][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}

// apply always draws four values from rng: the order and three factors.
func (j ColourJitter) apply(p *transformed, rng *rand.Rand) {
	order := orders[rng.IntN(len(orders))]
	steps := [3]struct {
		by, factor float64
		f          func(dst, src *Picture, factor float64)
	}{{j.Brightness, 1, transform.Brightness}, {j.Contrast, 1, transform.Contrast}, {j.Saturation, 1, transform.Saturation}}
	for i := range steps {
		least, most := max(0, 1-steps[i].by), 1+steps[i].by
		steps[i].factor = least + (most-least)*rng.Float64()
	}
	for _, i := range order {
		if s := &steps[i]; s.by > 0 {
			p.apply(func(dst, src *Picture) { s.f(dst, src, s.factor) })
		}
	}
}
