package merge

import "lte/compute"

// momentum adds Nesterov momentum to merges. Where a merge without it would add Δ to W,
//
//	v ← μ·v + Δ;  W ← W + Δ + μ·v
//
// which is DiLoCo's outer step (Douillard et al., arXiv 2311.08105) with a learning rate of 1. W⁰, from which W is formed, moves by μ·v
// too, so that W remains W⁰ and the heads' updates. Heads can then train alone for longer, with a smaller learning rate, and still move
// as far together. The zero momentum does nothing.
type momentum struct {
	mu       float64
	velocity []compute.Weights // v of each layer (out, in) in FP32, in the node's memory if W is
	before   []float32         // W's rows before the merge
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
	velocity := m.velocity[layer].Float32()[at:]
	for i := range w {
		v := float32(m.mu*float64(velocity[i]) + float64(w[i]-m.before[i]))
		velocity[i] = v
		further := float32(m.mu * float64(v))
		w[i] += further
		if separate {
			from[i] += further
		}
	}
}
