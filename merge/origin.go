package merge

import (
	"lte/collective"
	"lte/lora"
)

// origin is what a layer's W and b are formed from: W⁰ (out, in), in the node's memory if W is, and b⁰ (out) where heads have biases.
type origin struct{ w, b []float32 }

// keepOrigins copies W⁰ and b⁰ of the layers that carry heads to memory.
func (m *Merger) keepOrigins(memory []float32) error {
	for i, w := range besideW(m.Layout, memory) {
		layer := m.Layout.Layers[i].Layer
		from, to := collective.Part(m.nodes, len(w))
		copy(w[from:to], layer.W.Data[from:to])
		o := origin{w: w}
		if m.Layout.Layers[i].End > m.Layout.Layers[i].BiasA {
			o.b = append([]float32(nil), layer.B...)
		}
		m.origins = append(m.origins, o)
	}
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
