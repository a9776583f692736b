package merge

import (
	"lte/collective"
	"lte/compute"

	"gonum.org/v1/gonum/blas"
)

// apply forms this rank's rows of every layer's W, and the biases.
func (m *Merger) apply(p *pending) {
	rest := 1.0
	if m.Decay != nil {
		rest = m.Decay(p.Step, p.Steps)
	}
	for i, slot := range m.Layout.Layers {
		in := slot.Layer.W.Cols
		first, end := collective.Part(m.nodes, slot.Layer.W.Rows)
		w := slot.Layer.W.Read(first, end, &m.scratch[0])
		from := w
		if m.origins != nil {
			from = m.origins[i].W.Read(first, end, &m.scratch[1])
		}
		m.momentum.begin(w.Data)
		decay(from.Data, w.Data, rest)
		if m.Shared {
			f, r := slot.Factors(m.mean.Value()), slot.Rank
			m.Backend.AddProduct(compute.F32(w), from, slot.Scale, compute.Matrix(end-first, r, f.B.Data[first*r:end*r]), f.A)
		} else if sum := m.update.Sum(i); sum != nil {
			add(w.Data, from.Data, sum[first*in:end*in])
		} else {
			a, b := m.update.Stacks(i, first, end) // (N·r, in), (rows, N·r)
			inner := m.All * slot.Rank
			m.Backend.AddProduct(compute.F32(w), from, slot.Scale*m.Share, compute.Matrix(end-first, inner, b), compute.Matrix(inner, in, a))
		}
		m.momentum.end(i, first*in, w.Data, from.Data)
		slot.Layer.W.Write(first, w)
		if m.origins != nil {
			m.origins[i].W.Write(first, from)
		}
	}
	m.applyBiases()
}

// applyBiases forms b from the gathered biases of the heads; one rank of each node does it.
func (m *Merger) applyBiases() {
	if m.nodes.NodeRank() > 0 {
		return
	}
	for i, slot := range m.Layout.Layers {
		if slot.End == slot.BiasA {
			continue
		}
		if m.origins != nil {
			copy(slot.Layer.B, m.origins[i].B)
		}
		if m.Shared {
			slot.Factors(m.mean.Value()).AddBias(slot.Layer.B, slot.Scale)
			continue
		}
		for k := range m.All {
			slot.Factors(m.update.Estimate(k)).AddBias(slot.Layer.B, slot.Scale*m.Share)
		}
	}
}

// multiply forms what some heads add to W: (s/N)·BA, stacked.
func (m *Merger) multiply(dst []float32, layer, rows, columns, inner int, b, a []float32) {
	scale := m.Layout.Layers[layer].Scale * m.Share
	m.Backend.Gemm(blas.NoTrans, blas.NoTrans, scale, compute.F32(compute.Matrix(rows, inner, b)),
		compute.F32(compute.Matrix(inner, columns, a)), 0, compute.F32(compute.Matrix(rows, columns, dst)))
}

// decay takes (1 − rest)·W from what the next W is formed of, W⁰ or W itself: W ← rest·W + … either way.
func decay(from, w []float32, rest float64) {
	if rest == 1 {
		return
	}
	part := float32(1 - rest)
	for i, x := range w {
		from[i] -= part * x
	}
}

func subtract(dst, x []float32) {
	for i, v := range x {
		dst[i] -= v
	}
}

func add(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = v + y[i]
	}
}
