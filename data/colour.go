package data

import (
	"fmt"
	"math/rand/v2"

	"lte/data/transform"
)

// ColourJitter changes brightness, contrast and saturation by random factors and in random order, as torchvision's ColorJitter
// does. Each field is x of a factor that is uniform in max(0, 1-x)..1+x; 0: none.
type ColourJitter struct{ Brightness, Contrast, Saturation float64 }

// Check returns an error that names the configuration's key unless j can be drawn; the negated comparison catches NaN.
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

// orders are those of three.
var orders = [...][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}

// apply always takes four numbers from rng: the order and three factors.
func (j ColourJitter) apply(on *easel, rng *rand.Rand) {
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
			on.paint(func(dst, src *Picture) { s.f(dst, src, s.factor) })
		}
	}
}
