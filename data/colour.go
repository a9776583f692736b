package data

import (
	"fmt"
	"math/rand/v2"

	"lte/data/transform"
)

// ColourJitter changes brightness, contrast and saturation by random factors in random order, as torchvision's ColorJitter does. Each
// field is the x of a factor uniform in max(0, 1-x)..1+x; 0: none.
type ColourJitter struct{ Brightness, Contrast, Saturation float64 }

// Check returns an error that names the configuration key unless j is in range; the negated comparison catches NaN.
func (j ColourJitter) Check() error {
	for _, k := range []struct {
		key string
		is  float64
	}{{"brightness", j.Brightness}, {"contrast", j.Contrast}, {"saturation", j.Saturation}} {
		if !(k.is >= 0 && k.is <= 100) {
			return fmt.Errorf("data.%s %v: expected 0..100; correct data.%s", k.key, k.is, k.key)
		}
	}
	return nil
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
