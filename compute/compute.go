// Package compute does the arithmetic of a network: matrix products on gonum's blas32 types, and the element-wise, row
// and attention kernels of a transformer, forward and backward, behind small interfaces with several back ends.
//
// A back end knows nothing of layers, parameters or training. Matrices are row-major; a function's destination comes
// first (Gemm keeps the order of BLAS). Shapes that do not fit panic.
//
// Back ends: "onednn" (built with cgo: oneDNN's products, and C kernels compiled for AVX-512, AVX2 and the baseline,
// chosen for the CPU at run time) and "gonum" (pure Go, in every build). Package backendtest holds the tests that every back end passes.
//
// Every kernel but Gemm, Linear and LinearBackwardInput gives the same bits for any number of threads: threads divide rows or columns
// among them, never a sum. AddProduct relies on it: ranks that merge may have different numbers of threads.
//
// # A back end with memory of its own
//
// All memory is the host's today, and a call returns when its result is there. A GPU would add three things, all of them here:
//
//   - Allocation. Allocator and Weights allocate; an Operand or a Weights then holds a device pointer in place of a slice. The views (First, Range, Columns, Every, Shape) only move offsets.
//   - Copies. Upload(dst Operand, src []float32) and Download(dst []float32, src Operand) where the host reads or writes values: images
//     and labels before a pass, the loss after it, heads' factors before and after an exchange, and Weights' Rows, SetRows,
//     CopyTo, CopyFrom and Bytes, through which checkpoints, digests and merges see the main weights.
//   - Synchronization. Kernels are queued on one stream per back end, in the order of the calls. Download waits for it; a method
//     Synchronize does too, for Meter's clock and for a rank that publishes memory which others read.
//
// Outside this package that changes where the host indexes an Operand's slice: the loss, the biases of heads, the noise of dropout and the
// optimizer's parameter groups.
package compute

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Backend is the arithmetic that a network needs. A Backend is for one goroutine at a time.
//
// Activations that a pass keeps and the inputs of products are Operands, in the precision of the back end; everything else, sums
// included, is float32. A kernel that writes an operand rounds as it writes.
type Backend interface {
	// Name is the name under which New makes it.
	Name() string
	// DType is the precision of the operands.
	DType() DType

	ProductKernels
	ConversionKernels
	ElementwiseKernels
	LayerNormKernels
	AttentionKernels
	OptimizerKernels
}

// ProductKernels are the matrix products.
type ProductKernels interface {
	// Gemm computes c = alpha·op(a)·op(b) + beta·c, for beta 0 (c is not read) or 1. The inner dimension is at least 1.
	Gemm(tA, tB blas.Transpose, alpha float32, a, b Operand, beta float32, c Operand)
	// Linear computes y = x·wᵀ + bias + beta·y, bias added to every row, for beta 0 or 1.
	Linear(y, x, w Operand, bias []float32, beta float32)
	// LinearBackwardInput computes the gradient of Linear's x: dx = dy·w.
	LinearBackwardInput(dx, dy, w Operand)
	// AddProduct computes dst = c + alpha·a·b, for an inner dimension that is short compared with the others. All are dense. dst may
	// be c's memory.
	AddProduct(dst Operand, c blas32.General, alpha float32, a, b blas32.General)
}

// ConversionKernels copy float32 values into an operand, in its precision, rounded to nearest even.
type ConversionKernels interface {
	// Round copies x into dst. A bf16 dst is dense.
	Round(dst Operand, x blas32.General)
	// Transpose copies xᵀ into dst. Both are dense.
	Transpose(dst Operand, x blas32.General)
	// Patches cuts images (images, channels, height, width) into rows (images·patches, channels·patch·patch), each in a
	// convolution's column order: channel, row, column.
	Patches(dst Operand, images []float32, shape ImageShape)
}

// ElementwiseKernels are sums and functions of single elements. The operands of a call are dense and of one precision.
type ElementwiseKernels interface {
	// Add computes dst += x.
	Add(dst, x []float32)
	// SumRows adds up rows: dst[j] += Σ_i x[i,j]. x need not be dense.
	SumRows(dst []float32, x Operand)
	// SumSquares returns Σ x², summed in float64 in an order that depends on the length alone.
	SumSquares(x []float32) float64

	// GELU computes y = x·Φ(x), Φ by the error function (Hendrycks and Gimpel, arXiv 1606.08415), and its derivative
	// dydx = Φ(x) + x·φ(x), which may be x's memory: the backward pass is then Multiply.
	GELU(y, dydx, x Operand)
	// Multiply computes dst = x∘y, element by element. dst may be x's memory.
	Multiply(dst, x, y Operand)
}

// LayerNormKernels are layer normalization over every row. y, dy and x̂ are dense.
type LayerNormKernels interface {
	// LayerNorm computes x̂ = (x − mean)·rstd, with rstd = 1/√(var + eps), one for each row, and y = x̂·gamma + beta; y = x̂ where
	// gamma is nil, and may then be x̂'s memory.
	LayerNorm(y Operand, xhat blas32.General, rstd []float32, x blas32.General, gamma, beta []float32, eps float32)
	// LayerNormBackward adds the gradient of LayerNorm's input, with g = dy·gamma (dy where gamma is nil):
	// dx += rstd·(g − mean(g) − x̂·mean(g·x̂)).
	LayerNormBackward(dx blas32.General, dy Operand, xhat blas32.General, rstd, gamma []float32)
	// LayerNormBackwardParams adds the gradients of gamma and beta: dgamma += Σ_i dy·x̂, dbeta += Σ_i dy.
	LayerNormBackwardParams(dgamma, dbeta []float32, dy Operand, xhat blas32.General)
}

// AttentionKernels are scaled dot-product self-attention. All operands are dense.
type AttentionKernels interface {
	// Attention computes softmax(Q Kᵀ/√d) V for every image and attention head.
	Attention(out Operand, probs []float32, qkv Operand, shape AttentionShape)
	// AttentionBackward computes the gradient of qkv from dout, the gradient of out.
	AttentionBackward(dqkv, dout Operand, probs []float32, qkv Operand, shape AttentionShape)
}

// OptimizerKernels update parameters p and moments in place. The gradient is g times the step's clip.
type OptimizerKernels interface {
	// AdamW makes one step of AdamW (Loshchilov and Hutter, arXiv 1711.05101) as PyTorch computes it:
	//
	//	m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;  p ← p − ηλp − η/(1−β₁ᵗ) · m/(√(v/(1−β₂ᵗ)) + ε)
	AdamW(p, m, v, g []float32, s AdamWStep)
	// SGD makes one step as PyTorch computes it: buf ← μ·buf + g + λp;  p ← p − η·buf.
	SGD(p, buf, g []float32, s SGDStep)
	// Nesterov updates a momentum and makes the gradient Nesterov's: m ← μm + clip·g;  g ← clip·g + μm.
	Nesterov(m, g []float32, mu, clip float64)
}

// New returns the back end of that name ("auto": the fastest in this build) for that many threads, at least 1, and that
// precision. A back end that is not in this build, or a precision that it or this CPU does not support, is an error.
func New(name string, threads int, d DType) (Backend, error) {
	if name == "auto" {
		name = Auto
	}
	maker, ok := makers[name]
	if !ok {
		names := slices.Sorted(maps.Keys(makers))
		return nil, fmt.Errorf("compute.backend = %q is not in this build, which has %s: build with cgo and oneDNN (make build) or choose another",
			name, strings.Join(names, ", "))
	}
	return maker(max(1, threads), d)
}

type maker func(threads int, d DType) (Backend, error)
