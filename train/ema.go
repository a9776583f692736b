package train

import (
	"math"

	"lte/model"
)

// average is an exponential moving average of the merged weights, E ← d·E + (1 − d)·W a step, which W takes k of at a
// merge.
type average struct {
	decay  float64   // d
	values []float32 // E, as model.Flat
}

func newAverage(decay float64, m *model.Model) *average {
	return &average{decay: decay, values: append([]float32(nil), m.Flat()...)}
}

// add takes in the weights of a merge after k steps.
func (a *average) add(weights []float32, k int) {
	keep := float32(math.Pow(a.decay, float64(k)))
	for i, w := range weights {
		a.values[i] = keep*a.values[i] + (1-keep)*w
	}
}

// swap exchanges the average and the weights.
func (a *average) swap(weights []float32) {
	for i, w := range weights {
		weights[i], a.values[i] = a.values[i], w
	}
}
