package lora

import (
	"math/rand/v2"

	"lte/compute"
	"lte/nn"
)

// Head is a LoRA head of the whole model: the factors of all its layers in one flat slice, as Layout says. The
// optimizer updates that slice, and a merge sends it.
type Head struct {
	Value  []float32 // A₁, B₁, A₂, B₂, …
	Grad   []float32
	Merged []float32 // A', B': Value at the last merge; B' = 0 before the first

	Layout   *Layout
	adapters map[*nn.Linear]*Adapter
}

// NewHead makes a head with B = 0 and A drawn from rngs, layer after layer, one for each head of a stack. Its factors
// are value's memory, of the layout's length.
func (l *Layout) NewHead(value []float32, rngs ...*rand.Rand) *Head {
	h := l.AllocateHead(value)
	clear(value)
	l.DrawA(value, rngs...)
	copy(h.Merged, value)
	h.Rebase()
	return h
}

// AllocateHead makes a head of those factors, nil of what is only counted, before it has a base.
func (l *Layout) AllocateHead(value []float32) *Head {
	alloc := l.alloc.For(compute.TrainingMemory)
	h := &Head{Value: value, Grad: alloc.Floats(l.Length), Merged: alloc.Floats(l.Length), Layout: l, adapters: map[*nn.Linear]*Adapter{}}
	for _, p := range l.Layers {
		layer := p.Layer
		out, in := layer.W.Rows, layer.W.Cols
		a := &Adapter{Factors: p.Factors(h.Value), Grad: p.Factors(h.Grad), Merged: p.Factors(h.Merged), Scale: p.Scale, layer: layer,
			layout: l, backend: compute.CountAs(l.backend, compute.LoRA)}
		a.stackA, a.stackB = a.A, a.B
		switch l.config.Base {
		case CachedBase:
			a.base.weight = alloc.Matrix(out, in)
		case RecomputedBase:
			a.stackA, a.stackB = alloc.Matrix(2*p.Rank, in), alloc.Matrix(out, 2*p.Rank)
		}
		if l.config.Bias {
			a.base.bias, a.bias = alloc.Floats(out), alloc.Floats(out)
		}
		wide := a.stackA.Rows
		a.at = alloc.Operand(in, wide)
		if alloc.Rounds() {
			a.rounded = alloc.Operand(out, wide)
		}
		a.SetStrategy(l.strategy(p))
		h.adapters[layer] = a
	}
	return h
}

// Rebase forms what the effective weights add to. It is called after a change of W, b, A' or B'.
func (h *Head) Rebase() {
	if h.Layout.config.Base != CachedBase {
		return
	}
	for _, a := range h.adapters {
		a.layer.W.AddProduct(a.backend, compute.F32(a.base.weight), -a.Scale, a.Merged.B, a.Merged.A)
		if a.bias != nil {
			copy(a.base.bias, a.layer.B)
			a.Merged.AddBias(a.base.bias, -a.Scale)
		}
	}
}

// Fold sets W to the effective weight, of CachedBase or MainWeightBase: W = W⁰ + s·BA, where W⁰ is its base, and b likewise.
func (h *Head) Fold() {
	var scratch []float32
	for _, a := range h.adapters {
		l := a.layer
		rows := l.W.Read(0, l.W.Rows, &scratch)
		a.from().AddProduct(a.backend, compute.F32(rows), a.Scale, a.B, a.A)
		l.W.Write(0, rows)
		a.formBias(l.B)
	}
}

// Adapter returns the layer's part of the head, or nil.
func (h *Head) Adapter(l *nn.Linear) *Adapter { return h.adapters[l] }

// Factored says whether passes go through the factors in all layers: then several heads can share the products with W.
func (h *Head) Factored() bool {
	for _, a := range h.adapters {
		if !a.strategy.Factored {
			return false
		}
	}
	return true
}
