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

// keepOrigins copies W⁰ and b⁰ of the layers that carry heads, W⁰ to memory and in W's format.
func (m *Merger) keepOrigins(memory []byte) error {
	for i, w := range besideW(m.Layout, memory, compute.Weights.Format) {
		o := origin{w: w}
		if slot := m.Layout.Layers[i]; slot.End > slot.BiasA {
			o.b = make([]float32, len(slot.Layer.B))
		}
		m.origins = append(m.origins, o)
	}
	m.OriginFromWeights()
	return m.nodes.NodeBarrier()
}

// besideW cuts memory into a matrix for each of every layer's W that carries heads, (out, in), in the format that is returned for W.
func besideW(layout *lora.Layout, memory []byte, format func(w compute.Weights) compute.Format) (all []compute.Weights) {
	for _, slot := range layout.Layers {
		w := slot.Layer.W
		n := int(format(w).Bytes(w.Rows, w.Cols))
		all, memory = append(all, compute.NewWeights(format(w), w.Rows, w.Cols, memory[:n])), memory[n:]
	}
	return all
}

// inFP32 is the format of what is not stored as W is.
func inFP32(compute.Weights) compute.Format { return compute.FP32 }
