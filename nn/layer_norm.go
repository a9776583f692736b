package nn

import (
	"lte/compute"

	"gonum.org/v1/gonum/blas/blas32"
)

// LayerNormEps is LayerNorm's eps, as in torchvision's VisionTransformer.
const LayerNormEps = 1e-6

// LayerNorm is y = x̂·γ + β with x̂ = (x − mean)/√(var + eps) over every row. Without affine parameters y is x̂ itself.
type LayerNorm struct {
	Gamma, Beta         []float32 // (width); ones and zeros where there are no affine parameters
	gradGamma, gradBeta []float32 // nil unless they train
	affine              bool
	xhat                blas32.General  // (rows, width), kept for the backward pass
	y                   compute.Operand // (rows, width); x̂'s memory where it is x̂ in float32
	rstd                []float32       // (rows)
	backend             compute.Backend
}

// NewLayerNorm returns a LayerNorm without memory: Gamma and Beta are to be set.
func NewLayerNorm(affine bool, backend compute.Backend) *LayerNorm {
	return &LayerNorm{affine: affine, backend: backend}
}

// Allocate makes the buffers that a pass keeps; y is an operand.
func (n *LayerNorm) Allocate(alloc compute.Allocator, rows, width int) {
	n.AllocateInto(alloc, blas32.General{}, rows, width)
	if n.affine || alloc.Rounds() {
		n.y = alloc.Operand(rows, width)
	}
}

// AllocateInto is Allocate for a LayerNorm whose y no product reads: it is float32, and where it is not x̂ itself it is
// scratch, which the next LayerNorm may overwrite.
func (n *LayerNorm) AllocateInto(alloc compute.Allocator, scratch blas32.General, rows, width int) {
	n.xhat, n.rstd = alloc.Matrix(rows, width), alloc.Floats(rows)
	n.y = compute.F32(n.xhat)
	if n.affine {
		n.y = compute.F32(scratch)
	}
}

// scaleAndShift returns γ and β, nil without affine parameters.
func (n *LayerNorm) scaleAndShift() (gamma, beta []float32) {
	if !n.affine {
		return nil, nil
	}
	return n.Gamma, n.Beta
}

// SetGrad sets the gradients to add to, both or, where neither γ nor β trains, none.
func (n *LayerNorm) SetGrad(gamma, beta []float32) { n.gradGamma, n.gradBeta = gamma, beta }

// Forward returns y for x (rows, width).
func (n *LayerNorm) Forward(x blas32.General) compute.Operand {
	gamma, beta := n.scaleAndShift()
	y := n.Output(x.Rows)
	n.backend.LayerNorm(y, compute.First(n.xhat, x.Rows), n.rstd[:x.Rows], x, gamma, beta, LayerNormEps)
	return y
}

// Output is what Forward returned, for that many rows.
func (n *LayerNorm) Output(rows int) compute.Operand { return n.y.First(rows) }

// Backward adds the gradient of x to dx: of y = x̂γ + β, ∂L/∂x̂ = dy·γ, ∂L/∂γ = Σ dy·x̂ and ∂L/∂β = Σ dy.
func (n *LayerNorm) Backward(dx blas32.General, dy compute.Operand) {
	xhat := compute.First(n.xhat, dy.Rows)
	if n.gradGamma != nil {
		n.backend.LayerNormBackwardParams(n.gradGamma, n.gradBeta, dy, xhat)
	}
	gamma, _ := n.scaleAndShift()
	n.backend.LayerNormBackward(dx, dy, xhat, n.rstd[:dy.Rows], gamma)
}
