package merge

import (
	"lte/collective"
	"lte/compute"
	"lte/lora"
)

// momentum adds Nesterov momentum to merges. Where a merge without it would add Δ to W,
//
//	v ← μ·v + Δ;  W ← W + Δ + μ·v
//
// which is DiLoCo's outer step (Douillard et al., arXiv 2311.08105) with a learning rate of 1. W⁰, from which W is formed, moves by μ·v
// too, so that W remains W⁰ and the heads' updates. Heads can then train alone for longer, with a smaller learning rate, and still move
// as far together. The zero momentum does nothing.
type momentum struct {
	mu       float64
	velocity [][]float32 // v of each layer (out, in), in the node's memory if W is
	before   []float32   // W's rows before the merge
}

// newMomentum allocates the velocity beside W, and scratch for the rows of W that each of sharers ranks of a node moves.
func newMomentum(mu float64, beside, scratch collective.Allocator, l *lora.Layout, sharers int) (m momentum, err error) {
	values, largest := 0, 0
	for _, slot := range l.Layers {
		w := slot.Layer.W
		values, largest = values+w.Len(), max(largest, (w.Rows+sharers-1)/sharers*w.Cols)
	}
	memory, err := beside.Shared(4, values)
	rest := collective.Floats(memory)
	for _, slot := range l.Layers {
		n := slot.Layer.W.Len()
		m.velocity, rest = append(m.velocity, compute.Slice(rest, 0, n)), compute.Slice(rest, n, len(rest))
	}
	m.mu, m.before = mu, scratch.Floats(largest)
	return m, err
}

// begin keeps rows of W that a merge is about to move.
func (m *momentum) begin(w []float32) {
	if m.mu != 0 {
		m.before = append(m.before[:0], w...)
	}
}

// end adds the momentum to those rows of a layer, which begin at element at, and to the rows of W⁰, from, unless these are W's.
func (m *momentum) end(layer, at int, w, from []float32) {
	if m.mu == 0 {
		return
	}
	separate := len(w) > 0 && &from[0] != &w[0]
	velocity := m.velocity[layer][at : at+len(w)]
	for i := range w {
		further := nesterov(m.mu, &velocity[i], w[i]-m.before[i])
		w[i] += further
		if separate {
			from[i] += further
		}
	}
}

// nesterov makes v the next velocity after a move of Δ, μv + Δ, and returns how much further to go: μ times it.
func nesterov(mu float64, v *float32, delta float32) (further float32) {
	*v = float32(mu*float64(*v) + float64(delta))
	return float32(mu * float64(*v))
}
