package merge

import (
	"lte/collective"
	"lte/compute"
	"lte/lora"
)

// origin is what a layer's W and b are formed from: W⁰ (out, in), in the node's memory if W is, and b⁰ (out) where heads have biases.
type origin struct {
	w compute.Weights
	b []float32
}

// newOrigins allocates W⁰ and b⁰ of the layers that carry heads, W⁰ in W's format.
func newOrigins(layout *lora.Layout, nodes collective.Group) (all []origin, err error) {
	weights, err := besideW(layout, nodes, compute.Weights.Format)
	if err != nil {
		return nil, errNodeMemory("W⁰", err)
	}
	for i, slot := range layout.Layers {
		o := origin{w: weights[i]}
		if slot.End > slot.BiasA {
			o.b = make([]float32, len(slot.Layer.B))
		}
		all = append(all, o)
	}
	return all, nil
}

// besideW allocates a value, 0 at first, for each of every layer's W that carries heads, (out, in), in the format that is returned for W;
// in the node's memory.
func besideW(layout *lora.Layout, nodes collective.Group, format func(w compute.Weights) compute.Format) (all []compute.Weights, err error) {
	total := 0
	for _, slot := range layout.Layers {
		w := slot.Layer.W
		all = append(all, compute.NewWeights(format(w), w.Rows, w.Cols, nil))
		total += all[len(all)-1].Size()
	}
	memory, err := collective.ByteMemory(nodes, total)
	if err != nil {
		return nil, err
	}
	for i, w := range all {
		n := w.Size()
		all[i], memory = compute.NewWeights(w.Format(), w.Rows, w.Cols, memory[:n]), memory[n:]
	}
	return all, nil
}
