package model

import (
	"lte/compute"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Adapter is one layer's share of a head: the factors A (r, in) and B (out, r), their gradients, and A', B', the
// factors as they stood at the last merge. Its matrices are views of the head's flat slices.
type Adapter struct {
	A, B             blas32.General
	GradA, GradB     blas32.General
	MergedA, MergedB blas32.General

	scale   float32         // s = α/r
	base    blas32.General  // (out, in): W − s·B'A', which stands still between merges
	at, b   compute.Operand // Aᵀ (in, r), B (out, r), as products read them
	bRound  compute.Operand // b's memory where they do not read float32
	dense   bool            // G is formed: fewer operations than the thin products
	work    *lowRankWork
	backend compute.Backend
}

// lowRankWork is scratch that all adapters share.
type lowRankWork struct {
	thin compute.Operand // (rows, r): xAᵀ, then dy·B
	g    compute.Operand // (out, in): G, where an adapter is dense
}

// reserve makes the scratch large enough for a pass of that many rows.
func (w *lowRankWork) reserve(a *Adapter, rows int) {
	o, n := &w.thin, rows*a.A.Rows
	if a.dense {
		o, n = &w.g, a.B.Rows*a.A.Cols
	}
	if n > o.Cols {
		*o = compute.NewOperand(a.backend.DType(), 1, n)
	}
}

// rebase forms what W_k adds to: W − s·B'A'.
func (a *Adapter) rebase(w blas32.General) {
	a.backend.AddProduct(compute.F32(a.base), w, -a.scale, a.MergedB, a.MergedA)
}

// formEffective computes W_k = (W − s·B'A') + s·BA (algorithm.md; the paper's section 3.2).
func (a *Adapter) formEffective(dst compute.Operand) {
	a.backend.Transpose(a.at, a.A) // faster to multiply by than A
	a.b = compute.AsOperand(a.backend, a.bRound, a.B)
	a.backend.AddProduct(dst, a.base, a.scale, a.B, a.A)
}

// backward adds the factors' gradients. With W_k = … + s·BA and G = dyᵀx: ∂L/∂B = s·G·Aᵀ = s·dyᵀ(xAᵀ) and
// ∂L/∂A = s·Bᵀ·G = s·(dy·B)ᵀx. The thin products cost 4·rows·r·(out+in) operations, G and its own
// 2·rows·out·in + 4·r·out·in.
func (a *Adapter) backward(dy, x compute.Operand, beta float32) {
	be := a.backend
	if a.dense {
		g := a.work.g.Shape(a.B.Rows, a.A.Cols)
		be.Gemm(blas.Trans, blas.NoTrans, 1, dy, x, 0, g)
		be.Gemm(blas.NoTrans, blas.NoTrans, a.scale, g, a.at, beta, compute.F32(a.GradB))
		be.Gemm(blas.Trans, blas.NoTrans, a.scale, a.b, g, beta, compute.F32(a.GradA))
		return
	}
	thin := a.work.thin.Shape(x.Rows, a.A.Rows)
	be.Gemm(blas.NoTrans, blas.NoTrans, 1, x, a.at, 0, thin)
	be.Gemm(blas.Trans, blas.NoTrans, a.scale, dy, thin, beta, compute.F32(a.GradB))
	be.Gemm(blas.NoTrans, blas.NoTrans, 1, dy, a.b, 0, thin)
	be.Gemm(blas.Trans, blas.NoTrans, a.scale, thin, x, beta, compute.F32(a.GradA))
}
