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
	thin      []float32       // (rows, r): xAᵀ, then dy·B
	thinRound compute.Operand // the same, as products read it
	g         []float32       // (out, in): G, where an adapter is dense
	gRound    compute.Operand
}

// reserve makes the scratch large enough for a pass of that many rows.
func (w *lowRankWork) reserve(a *Adapter, rows int, d compute.DType) {
	grow := func(f []float32, rounded compute.Operand, n int) ([]float32, compute.Operand) {
		if n <= len(f) {
			return f, rounded
		}
		if d != compute.Float32 {
			rounded = compute.NewOperand(d, 1, n)
		}
		return make([]float32, n), rounded
	}
	if a.dense {
		w.g, w.gRound = grow(w.g, w.gRound, a.B.Rows*a.A.Cols)
	} else {
		w.thin, w.thinRound = grow(w.thin, w.thinRound, rows*a.A.Rows)
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
	be, w := a.backend, a.work
	if a.dense {
		g := compute.Matrix(a.B.Rows, a.A.Cols, w.g[:a.B.Rows*a.A.Cols])
		be.Gemm(blas.Trans, blas.NoTrans, 1, dy, x, 0, compute.F32(g))
		rounded := compute.AsOperand(be, w.gRound.Shape(g.Rows, g.Cols), g)
		be.Gemm(blas.NoTrans, blas.NoTrans, a.scale, rounded, a.at, beta, compute.F32(a.GradB))
		be.Gemm(blas.Trans, blas.NoTrans, a.scale, a.b, rounded, beta, compute.F32(a.GradA))
		return
	}
	thin := compute.Matrix(x.Rows, a.A.Rows, w.thin[:x.Rows*a.A.Rows])
	be.Gemm(blas.NoTrans, blas.NoTrans, 1, x, a.at, 0, compute.F32(thin))
	be.Gemm(blas.Trans, blas.NoTrans, a.scale, dy, a.round(thin), beta, compute.F32(a.GradB))
	be.Gemm(blas.NoTrans, blas.NoTrans, 1, dy, a.b, 0, compute.F32(thin))
	be.Gemm(blas.Trans, blas.NoTrans, a.scale, a.round(thin), x, beta, compute.F32(a.GradA))
}

func (a *Adapter) round(thin blas32.General) compute.Operand {
	return compute.AsOperand(a.backend, a.work.thinRound.Shape(thin.Rows, thin.Cols), thin)
}
