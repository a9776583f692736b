package model

import (
	"lte/compute"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Linear is y = xWᵀ + b, W (out, in) and b (out). It can carry an adapter, the layer's part of a LoRA head; its
// passes then read the head's effective weight instead of W.
type Linear struct {
	Name string         // torchvision's name of the weight, without ".weight"
	W    blas32.General // (out, in)
	B    []float32      // (out)

	// Gradients of W and b; empty unless the model trains its weights.
	GradW blas32.General
	GradB []float32

	index   int      // of W among the model's parameters; b follows it
	adapter *Adapter // nil: none
	merged  bool     // passes read W although there is an adapter
	backend compute.Backend
}

// Adapter is one layer's share of a head: the factors A (r, in) and B (out, r), their gradients, and A', B', the
// factors as they stood at the last merge. Its matrices are views of the head's flat slices.
type Adapter struct {
	A, B             blas32.General
	GradA, GradB     blas32.General
	MergedA, MergedB blas32.General

	scale     float32        // s = α/r
	effective blas32.General // W_k (out, in)
	xa, dyb   []float32      // scratch (rows, r): xAᵀ and ∂L/∂y·B
}

// weight is what a pass multiplies by.
func (l *Linear) weight() blas32.General {
	if l.adapter != nil && !l.merged {
		return l.adapter.effective
	}
	return l.W
}

// Adapter returns the layer's share of the head that it carries, or nil.
func (l *Linear) Adapter() *Adapter { return l.adapter }

// formEffective computes W_k = W − s·B'A' + s·BA (algorithm.md; the paper's section 3.2).
func (l *Linear) formEffective() {
	a := l.adapter
	copy(a.effective.Data, l.W.Data)
	l.backend.Gemm(blas.NoTrans, blas.NoTrans, -a.scale, a.MergedB, a.MergedA, 1, a.effective)
	l.backend.Gemm(blas.NoTrans, blas.NoTrans, a.scale, a.B, a.A, 1, a.effective)
}

// Forward computes y = xWᵀ + b for x (rows, in) and y (rows, out).
func (l *Linear) Forward(y, x blas32.General) {
	l.backend.Gemm(blas.NoTrans, blas.Trans, 1, x, l.weight(), 0, y)
	l.backend.AddRows(y, l.B)
}

// Backward computes dx = dy·W, unless dx has no data, and adds the gradients of what trains. Of y = xWᵀ + b with
// G = dyᵀx: ∂L/∂W = G and ∂L/∂b = Σ dy; and with W_k = … + s·BA: ∂L/∂B = s·G·Aᵀ = s·dyᵀ(xAᵀ) and
// ∂L/∂A = s·Bᵀ·G = s·(dy·B)ᵀx, both without forming G.
func (l *Linear) Backward(dx, dy, x blas32.General) {
	be := l.backend
	if dx.Data != nil {
		be.Gemm(blas.NoTrans, blas.NoTrans, 1, dy, l.weight(), 0, dx)
	}
	if l.GradW.Data != nil {
		be.Gemm(blas.Trans, blas.NoTrans, 1, dy, x, 1, l.GradW)
		be.SumRows(l.GradB, dy)
	}
	if a := l.adapter; a != nil {
		r := a.A.Rows
		xa, dyb := compute.Matrix(x.Rows, r, a.xa[:x.Rows*r]), compute.Matrix(x.Rows, r, a.dyb[:x.Rows*r])
		be.Gemm(blas.NoTrans, blas.Trans, 1, x, a.A, 0, xa)
		be.Gemm(blas.Trans, blas.NoTrans, a.scale, dy, xa, 1, a.GradB)
		be.Gemm(blas.NoTrans, blas.NoTrans, 1, dy, a.B, 0, dyb)
		be.Gemm(blas.Trans, blas.NoTrans, a.scale, dyb, x, 1, a.GradA)
	}
}
