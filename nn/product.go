package nn

import "gonum.org/v1/gonum/blas"

// Pass is what a product of a linear layer is for. Of y = xWᵀ, x (rows, in) and W (out, in):
//
//	forward          y = xWᵀ            (rows, out), inner side in
//	input gradient   ∂L/∂x = (∂L/∂y)W   (rows, in), inner side out
//	weight gradient  ∂L/∂W = (∂L/∂y)ᵀx  (out, in), inner side rows
type Pass string

// The passes.
const (
	Forward        Pass = "forward"
	InputGradient  Pass = "input gradient"
	WeightGradient Pass = "weight gradient"
)

// Product is a matrix product of a linear layer: c (M, N) = op(a)·op(b), K the inner side.
type Product struct {
	Layer          *Linear
	Pass           Pass
	M, N, K        int
	TransA, TransB blas.Transpose // whether a and b are stored transposed
}

// FLOPs is 2·m·n·k.
func (p Product) FLOPs() float64 { return 2 * float64(p.M) * float64(p.N) * float64(p.K) }

// Products are those of a forward and backward pass over so many images: without the input's gradient or the weight's where these are
// not wanted. What adapters add is not among them.
func (l *Linear) Products(images int, input, weight bool) []Product {
	rows, out, in := images*l.RowsPerImage, l.W.Rows, l.W.Cols
	all := []Product{{l, Forward, rows, out, in, blas.NoTrans, blas.Trans}}
	if input {
		all = append(all, Product{l, InputGradient, rows, in, out, blas.NoTrans, blas.NoTrans})
	}
	if weight {
		all = append(all, Product{l, WeightGradient, out, in, rows, blas.Trans, blas.NoTrans})
	}
	return all
}
