package train

import (
	"fmt"
	"math"

	"lte/collective"
	"lte/model"
)

// average is an exponential moving average of the merged weights, E ← d·E + (1 − d)·W a step, which W takes k of at a
// merge.
type average struct {
	decay    float64          // d
	values   []float32        // E, as model.Flat; as W it is the sharers'
	sharers  collective.Group // of W
	from, to int              // this rank's part of it
	overlap  bool             // factors are under way when weights are taken in
}

func newAverage(decay float64, m *model.Model, sharers collective.Group) (*average, error) {
	values, err := inCommon(sharers, m.Flat())
	if err != nil {
		return nil, fmt.Errorf("room for the average of W: %w", err)
	}
	a := &average{decay: decay, values: values, sharers: sharers}
	a.from, a.to = collective.Part(sharers, len(values))
	return a, nil
}

// add takes in the weights of a merge after k steps. Where factors are under way ranks cannot talk: the others' parts are there
// after the next barrier.
func (a *average) add(weights []float32, k int) error {
	rest := float32(1 - math.Pow(a.decay, float64(k)))
	for i := a.from; i < a.to; i++ {
		a.values[i] += rest * (weights[i] - a.values[i]) // stays at W where W stays, whatever rest is rounded to
	}
	if a.overlap {
		return nil
	}
	return a.sharers.NodeBarrier()
}

// swap exchanges the average and the weights, on all sharers.
func (a *average) swap(weights []float32) error {
	if err := a.sharers.NodeBarrier(); err != nil { // all have read the weights
		return err
	}
	for i := a.from; i < a.to; i++ {
		weights[i], a.values[i] = a.values[i], weights[i]
	}
	return a.sharers.NodeBarrier()
}
