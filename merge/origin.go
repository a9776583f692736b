package merge

import (
	"lte/collective"
	"lte/compute"
	"lte/lora"
)

// newOrigins allocates W⁰, in W's format and in the node's memory if W is, and b⁰ of the layers that carry heads.
func newOrigins(a collective.Allocator, l *lora.Layout) (all []lora.Origin, err error) {
	bytes := 0
	for _, slot := range l.Layers {
		bytes += slot.Layer.W.Size()
	}
	memory, err := a.Shared(bytes)
	for _, slot := range l.Layers {
		w := slot.Layer.W
		o := lora.Origin{W: compute.NewWeights(w.Format(), w.Rows, w.Cols, compute.Slice(memory, 0, w.Size()))}
		if slot.End > slot.BiasA {
			o.B = a.Floats(w.Rows)
		}
		memory, all = compute.Slice(memory, w.Size(), len(memory)), append(all, o)
	}
	return all, err
}
