package model

import (
	"lte/compute"

	"gonum.org/v1/gonum/blas/blas32"
)

// eps is the LayerNorm's, as in torchvision's VisionTransformer.
const eps = 1e-6

// norm is a LayerNorm, y = x̂·γ + β with x̂ = (x − mean)/√(var + eps) over every row. Without affine parameters y is
// x̂ itself.
type norm struct {
	index               int       // of gamma among the model's parameters; beta follows it
	gamma, beta         []float32 // (width); ones and zeros where the norm has no affine parameters
	gradGamma, gradBeta []float32 // nil unless they train
	affine              bool
	xhat                blas32.General  // (rows, width), kept for the backward pass
	y                   compute.Operand // (rows, width); x̂'s memory where it is x̂ in float32
	rstd                []float32       // (rows)
	backend             compute.Backend
}

// allocate makes room for what a pass keeps; y is an operand.
func (n *norm) allocate(rows, width int) {
	n.xhat, n.rstd = compute.NewMatrix(rows, width), make([]float32, rows)
	n.y = compute.F32(n.xhat)
	if d := n.backend.DType(); n.affine || d != compute.Float32 {
		n.y = compute.NewOperand(d, rows, width)
	}
}

// allocateInto is allocate for a norm whose y is not what products read: it is float32, and where it is not x̂ itself it
// is scratch, which the next may write over.
func (n *norm) allocateInto(scratch blas32.General, rows, width int) {
	n.xhat, n.rstd = compute.NewMatrix(rows, width), make([]float32, rows)
	n.y = compute.F32(n.xhat)
	if n.affine {
		n.y = compute.F32(scratch)
	}
}

// scaleAndShift returns γ and β, nil without affine parameters.
func (n *norm) scaleAndShift() (gamma, beta []float32) {
	if !n.affine {
		return nil, nil
	}
	return n.gamma, n.beta
}

// train is given the gradients to add to, nil where γ or β does not train. The kernel adds up both or none.
func (n *norm) train(gamma, beta []float32) {
	if gamma == nil && beta != nil {
		gamma = make([]float32, len(beta))
	}
	if beta == nil && gamma != nil {
		beta = make([]float32, len(gamma))
	}
	n.gradGamma, n.gradBeta = gamma, beta
}

// forward returns y for x (rows, width).
func (n *norm) forward(x blas32.General) compute.Operand {
	gamma, beta := n.scaleAndShift()
	y := n.output(x.Rows)
	n.backend.LayerNorm(y, compute.First(n.xhat, x.Rows), n.rstd[:x.Rows], x, gamma, beta, eps)
	return y
}

// output is what forward returned, for that many rows.
func (n *norm) output(rows int) compute.Operand { return n.y.First(rows) }

// backward adds the gradient of x to dx: of y = x̂γ + β, ∂L/∂x̂ = dy·γ, ∂L/∂γ = Σ dy·x̂ and ∂L/∂β = Σ dy.
func (n *norm) backward(dx blas32.General, dy compute.Operand) {
	xhat := compute.First(n.xhat, dy.Rows)
	if n.gradGamma != nil {
		n.backend.LayerNormBackwardParams(n.gradGamma, n.gradBeta, dy, xhat)
	}
	gamma, _ := n.scaleAndShift()
	n.backend.LayerNormBackward(dx, dy, xhat, n.rstd[:dy.Rows], gamma)
}
