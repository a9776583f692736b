package train

import (
	"fmt"

	"lte/collective"
	"lte/lora"
)

// momentum is Nesterov's, of what merges move W by. Where a merge without it would add Δ to W,
//
//	v ← μ·v + Δ;  W ← W + Δ + μ·v
//
// which is DiLoCo's outer step (Douillard et al., arXiv 2311.08105) with a learning rate of 1. What W is formed of, W⁰, moves with it
// by μ·v: W remains W⁰ and the heads' updates. Heads train on alone for longer and yet move together as far, with a smaller
// learning rate. The zero momentum does nothing.
type momentum struct {
	mu       float64
	velocity [][]float32 // v of each layer (out, in), the sharers'
	before   []float32   // W's rows before the merge
}

func newMomentum(mu float64, layout *lora.Layout, sharers collective.Group) (m momentum, err error) {
	if mu == 0 {
		return m, nil
	}
	m.mu = mu
	if m.velocity, err = besideW(layout, sharers); err != nil {
		return m, fmt.Errorf("room for the momentum of merges: %w", err)
	}
	return m, nil
}

// begin keeps rows of W that a merge is about to move.
func (m *momentum) begin(w []float32) {
	if m.mu != 0 {
		m.before = append(m.before[:0], w...)
	}
}

// end moves those rows of a layer's W on, which begin at that number of it; what they are formed of too, unless it is W.
func (m *momentum) end(layer, at int, w, from []float32) {
	if m.mu == 0 {
		return
	}
	formed := len(w) > 0 && &from[0] != &w[0]
	for i, v := range m.velocity[layer][at : at+len(w)] {
		v = float32(m.mu*float64(v) + float64(w[i]-m.before[i]))
		m.velocity[layer][at+i] = v
		further := float32(m.mu * float64(v))
		w[i] += further
		if formed {
			from[i] += further
		}
	}
}
