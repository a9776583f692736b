package nn

import (
	"lte/compute"

	"gonum.org/v1/gonum/blas/blas32"
)

// Residual is where a branch joins the residual stream: x += keep·(mask∘branch), with dropout's mask, and keep an
// image's 0 or 1/(1 − p) of stochastic depth.
type Residual struct {
	drop  *Dropout
	path  float64 // p
	odds  odds    // of keep
	keep  compute.Operand
	mask  compute.Operand // (images·rows, width)
	width int
}

// NewResidual returns where a branch of that width joins, in a block of depth of them: p grows linearly from 0 at the first block to the
// configured rate at the last (Huang et al., section 3; timm's VisionTransformer. timm's MlpMixer gives all blocks one rate).
func NewResidual(drop *Dropout, block, depth, width int) Residual {
	p := drop.path * float64(block) / float64(max(1, depth-1))
	return Residual{drop: drop, path: p, odds: newOdds(p, compute.Float32), width: width}
}

// Allocate makes the masks of up to batch images of so many rows.
func (r *Residual) Allocate(alloc compute.Allocator, batch, rows int) {
	r.mask = r.drop.NewMask(alloc, batch*rows, r.width)
	if r.path > 0 {
		r.keep = compute.F32(alloc.Matrix(batch, 1))
	}
}

// noisy says whether the pass drops anything here.
func (r *Residual) noisy() bool {
	return len(r.drop.noise) > 0 && (r.drop.rate > 0 || r.path > 0)
}

// Forward computes x += layer(in) for n images, with what is dropped of it.
func (r *Residual) Forward(x blas32.General, layer *Linear, in compute.Operand, n int) {
	if !r.noisy() {
		layer.Forward(compute.F32(x), in, 1)
		return
	}
	branch := compute.First(r.drop.branch, x.Rows)
	layer.Forward(compute.F32(branch), in, 0)
	r.join(x, branch, n)
}

// Add computes x += branch, dense, with what is dropped of it; it may change branch.
func (r *Residual) Add(x, branch blas32.General, n int) {
	if !r.noisy() {
		r.drop.backend.Add(x.Data, branch.Data)
		return
	}
	r.join(x, branch, n)
}

// join computes x += keep·(mask∘branch), and changes branch. A pass's draws are in this order: mask, keep.
func (r *Residual) join(x, branch blas32.General, n int) {
	if r.drop.Drops() {
		r.drop.Apply(branch, r.mask.First(x.Rows))
	}
	if r.path > 0 {
		r.drop.draw(r.keep.First(n), r.odds)
	}
	for i := range x.Rows {
		blas32.Axpy(r.factor(i, x.Rows/n), row(branch, i), row(x, i))
	}
}

// Gradient returns that of the branch from dx, the gradient of the stream: keep·(mask∘dx).
func (r *Residual) Gradient(dx blas32.General, n int) blas32.General {
	if !r.noisy() {
		return dx
	}
	branch := compute.First(r.drop.branch, dx.Rows)
	for i := range dx.Rows {
		to := row(branch, i)
		copy(to.Data, row(dx, i).Data)
		blas32.Scal(r.factor(i, dx.Rows/n), to)
	}
	if r.drop.Drops() {
		r.drop.backend.Multiply(compute.F32(branch), compute.F32(branch), r.mask.First(dx.Rows))
	}
	return branch
}

// factor is keep of the image of row i.
func (r *Residual) factor(i, rows int) float32 {
	if r.path == 0 {
		return 1
	}
	return r.keep.F32[i/rows]
}

func row(x blas32.General, i int) blas32.Vector {
	return blas32.Vector{N: x.Cols, Inc: 1, Data: x.Data[i*x.Stride:][:x.Cols]}
}
