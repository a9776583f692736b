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
	values   []float32        // E, as model.Flat; in the node's memory if W is
	nodes    collective.Group // of W
	from, to int              // this rank's part of it
	pending  bool             // an exchange is pending when merged weights are added
}

func newAverage(decay float64, m *model.Model, nodes collective.Group) (*average, error) {
	_, n := m.Sizes()
	alloc := collective.AllocatorOf(nodes)
	values, err := alloc.Shared(4, n)
	if err != nil {
		return nil, fmt.Errorf("memory for the average of W: %w", err)
	}
	a := &average{decay: decay, values: collective.Floats(values), nodes: nodes}
	if alloc.Counts() {
		return a, nil
	}
	a.from, a.to = collective.Part(nodes, n)
	copy(a.values[a.from:a.to], m.Flat()[a.from:a.to])
	return a, nodes.NodeBarrier()
}

// add adds the weights of a merge after k steps. While an exchange is pending ranks cannot call collectives: the others' parts are
// complete after the next barrier.
func (a *average) add(weights []float32, k int) error {
	rest := float32(1 - math.Pow(a.decay, float64(k)))
	for i := a.from; i < a.to; i++ {
		a.values[i] += rest * (weights[i] - a.values[i]) // stays at W if W does not move, however rest is rounded
	}
	if a.pending {
		return nil
	}
	return a.nodes.NodeBarrier()
}

// swap exchanges the average and the weights, on all ranks.
func (a *average) swap(weights []float32) error {
	if err := a.nodes.NodeBarrier(); err != nil { // all have read the weights
		return err
	}
	for i := a.from; i < a.to; i++ {
		weights[i], a.values[i] = a.values[i], weights[i]
	}
	return a.nodes.NodeBarrier()
}
