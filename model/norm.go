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
	xhat, y             blas32.General // (rows, width), kept for the backward pass; one matrix without affine
	rstd                []float32      // (rows)
	dxhat               blas32.General // scratch, affine alone
	backend             compute.Backend
}

func (n *norm) allocate(rows, width int) {
	n.xhat, n.rstd = compute.NewMatrix(rows, width), make([]float32, rows)
	n.y = n.xhat
	if n.affine {
		n.y, n.dxhat = compute.NewMatrix(rows, width), compute.NewMatrix(rows, width)
	}
}

// forward returns y for x (rows, width).
func (n *norm) forward(x blas32.General) blas32.General {
	xhat := first(n.xhat, x.Rows)
	n.backend.Normalize(xhat, n.rstd[:x.Rows], x, eps)
	if !n.affine {
		return xhat
	}
	y := first(n.y, x.Rows)
	for i := range x.Rows {
		at := i * x.Cols
		for j, g := range n.gamma {
			y.Data[at+j] = xhat.Data[at+j]*g + n.beta[j]
		}
	}
	return y
}

// output is what forward returned, for that many rows.
func (n *norm) output(rows int) blas32.General { return first(n.y, rows) }

// backward adds the gradient of x to dx: of y = x̂γ + β, ∂L/∂x̂ = dy·γ, ∂L/∂γ = Σ dy·x̂ and ∂L/∂β = Σ dy.
func (n *norm) backward(dx, dy blas32.General) {
	xhat := first(n.xhat, dy.Rows)
	dxhat := dy
	if n.affine {
		dxhat = first(n.dxhat, dy.Rows)
		for i := range dy.Rows {
			at := i * dy.Cols
			for j, g := range n.gamma {
				dxhat.Data[at+j] = dy.Data[at+j] * g
				if n.gradGamma != nil {
					n.gradGamma[j] += dy.Data[at+j] * xhat.Data[at+j]
					n.gradBeta[j] += dy.Data[at+j]
				}
			}
		}
	}
	n.backend.NormalizeBackward(dx, dxhat, xhat, n.rstd[:dy.Rows])
}

// first returns the first rows of m.
func first(m blas32.General, rows int) blas32.General {
	return compute.Matrix(rows, m.Cols, m.Data[:rows*m.Cols])
}
