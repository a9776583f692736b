package merge

import (
	"lte/collective"
	"lte/lora"
)

// origin is what a layer's W and b are formed from: W⁰ (out, in), in the node's memory if W is, and b⁰ (out) where heads have biases.
type origin struct{ w, b []float32 }

// newOrigins copies W⁰ and b⁰ of the layers that carry heads.
func newOrigins(layout *lora.Layout, nodes collective.Group) (all []origin, err error) {
	memory, err := besideW(layout, nodes)
	if err != nil {
		return nil, errNodeMemory("W⁰", err)
	}
	for i, slot := range layout.Layers {
		o := origin{w: memory[i]}
		from, to := collective.Part(nodes, len(o.w))
		copy(o.w[from:to], slot.Layer.W.Data[from:to])
		if slot.End > slot.BiasA {
			o.b = append([]float32(nil), slot.Layer.B...)
		}
		all = append(all, o)
	}
	return all, nodes.NodeBarrier()
}

// besideW allocates a value, 0 at first, for each of every layer's W that carries heads, (out, in); in the node's memory.
func besideW(layout *lora.Layout, nodes collective.Group) (all [][]float32, err error) {
	total := 0
	for _, slot := range layout.Layers {
		total += len(slot.Layer.W.Data)
	}
	memory, err := collective.Memory(nodes, total)
	if err != nil {
		return nil, err
	}
	for _, slot := range layout.Layers {
		n := len(slot.Layer.W.Data)
		all, memory = append(all, memory[:n]), memory[n:]
	}
	return all, nil
}
