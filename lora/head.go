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
	d := l.backend.DType()
	h := &Head{Value: value, Grad: make([]float32, l.Length), Merged: make([]float32, l.Length), Layout: l,
		adapters: map[*nn.Linear]*Adapter{}}
	clear(value)
	for _, p := range l.Layers {
		layer := p.Layer
		out, in := layer.W.Rows, layer.W.Cols
		a := &Adapter{Factors: p.Factors(h.Value), Grad: p.Factors(h.Grad), Merged: p.Factors(h.Merged), Scale: p.Scale, layer: layer,
			kind: l.config.Base, work: l.work, backend: compute.CountAs(l.backend, compute.LoRA)}
		a.stackA, a.stackB = a.A, a.B
		switch a.kind {
		case CachedBase:
			a.base = compute.NewMatrix(out, in)
		case RecomputedBase:
			a.stackA, a.stackB = compute.NewMatrix(2*p.Rank, in), compute.NewMatrix(out, 2*p.Rank)
		}
		if l.config.Bias {
			a.baseB, a.bias = make([]float32, out), make([]float32, out)
		}
		wide := a.stackA.Rows
		a.at = compute.NewOperand(d, in, wide)
		if d != compute.Float32 {
			a.bRound = compute.NewOperand(d, out, wide)
		}
		a.SetStrategy(l.strategy(p))
		h.adapters[layer] = a
	}
	l.DrawA(h.Value, rngs...)
	copy(h.Merged, h.Value)
	h.Rebase()
	return h
}

// Rebase forms what the effective weights add to. It is called after a change of W, b, A' or B'.
func (h *Head) Rebase() {
	for _, a := range h.adapters {
		a.rebase()
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
		if a.bias != nil {
			if a.kind == CachedBase {
				copy(l.B, a.baseB)
			}
			a.AddBias(l.B, a.Scale)
		}
	}
}

// Adapter returns the layer's part of the head, or nil.
func (h *Head) Adapter(l *nn.Linear) *Adapter { return h.adapters[l] }

// Factored says whether passes go through the factors in all layers: then several heads can share the products with W.
func (h *Head) Factored() bool {
	for _, a := range h.adapters {
		if !a.factored {
			return false
		}
	}
	return true
}
