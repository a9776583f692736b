package model

import (
	"lte/compute"
	"lte/lora"
	"lte/nn"
)

// Counts of memory and work for an Outline as for a model that was made: what a run will need can be told without it. They are
// floats, which hold the product of any sizes that a configuration allows, and are exact up to 2^53.

// area is the number of a matrix's values.
func area(rows, columns int) float64 { return float64(rows) * float64(columns) }

// Sizes are the number of all parameters' values, and of those that can train.
func (m *Model) Sizes() (all, trainable int) { return m.total, m.trainable }

// WeightBytes is what the parameters take, and where products read another precision the copy in it.
func (m *Model) WeightBytes(d compute.DType) float64 {
	f := nn.NewFootprint(d)
	for _, p := range m.parameters {
		f.Bytes += p.Value.Format().Bytes(p.Value.Rows, p.Value.Cols)
	}
	for _, l := range m.layers {
		if l.W.Format().Converts(d) {
			f.Operands(area(l.W.Rows, l.W.Cols))
		}
	}
	return f.Bytes
}

// PassBytes is what passes of up to that many images take: Reserve's buffers.
func (m *Model) PassBytes(d compute.DType, images int) float64 {
	f := nn.NewFootprint(d)
	m.network.count(f, float64(images))
	return f.Bytes
}

// Products are the products of the linear layers in a forward and backward pass over so many images, input to output: with a head
// of that layout, or, without one, of a model that trains as a whole. What a head's factors add is not among them.
func (m *Model) Products(l *lora.Layout, images int) (all []nn.Product) {
	for i, layer := range m.layers {
		weight, _ := layer.Trains()
		all = append(all, layer.Products(images, i > 0, l == nil || weight)...) // the images need no gradient
	}
	return all
}

// FLOPs is those of a training step for an image, 2·m·n·k a product and nothing else: of a head of that layout, with the
// layers that train beside it; or, without a layout, of a model that trains as a whole.
func (m *Model) FLOPs(l *lora.Layout) float64 {
	total := m.network.attentionFLOPs()
	for _, p := range m.Products(l, 1) {
		total += p.FLOPs()
	}
	if l == nil {
		return total
	}
	for _, p := range l.Layers {
		total += l.FLOPs(p, p.Layer != m.layers[0])
	}
	return total
}
