package model

import (
	"lte/lora"
	"lte/nn"
)

// Sizes are the number of all parameters' values, and of those that can train.
func (m *Model) Sizes() (all, trainable int) {
	for _, p := range m.parameters {
		all += p.Len()
		if !p.fixed {
			trainable += p.Len()
		}
	}
	return all, trainable
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
