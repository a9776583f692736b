package merge

import (
	"lte/compute"
	"lte/lora"
)

// origin is what a layer's W and b are formed from: W⁰ (out, in), in the node's memory if W is, and b⁰ (out) where heads have biases.
type origin struct {
	w compute.Weights
	b []float32
}

// keepOrigins copies W⁰ and b⁰ of the layers that carry heads; W⁰ goes to memory, in W's format.
func (m *Merger) keepOrigins(memory []byte) error {
	for _, slot := range m.Layout.Layers {
		w := slot.Layer.W
		o := origin{w: compute.NewWeights(w.Format(), w.Rows, w.Cols, memory[:w.Size()])}
		if slot.End > slot.BiasA {
			o.b = make([]float32, len(slot.Layer.B))
		}
		memory, m.origins = memory[w.Size():], append(m.origins, o)
	}
	m.OriginFromWeights()
	return m.nodes.NodeBarrier()
}

// besideW cuts memory into a value for each of every layer's W that carries heads, (out, in).
func besideW(layout *lora.Layout, memory []float32) (all [][]float32) {
	for _, slot := range layout.Layers {
		n := slot.Layer.W.Rows * slot.Layer.W.Cols
		all, memory = append(all, memory[:n]), memory[n:]
	}
	return all
}
