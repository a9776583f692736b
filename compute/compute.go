// Package compute does the arithmetic of a network: matrix products on gonum's blas32 types, and the element-wise, row
// and attention kernels of a transformer, forward and backward, behind one interface with several back ends.
//
// A back end knows nothing of layers, parameters or training. Matrices are row-major; a function's destination comes
// first (Gemm keeps the order of BLAS). Shapes that do not fit panic.
//
// Back ends: "onednn" (built with cgo: oneDNN's products, and C kernels compiled for AVX-512, AVX2 and the baseline,
// chosen for the CPU at run time) and "gonum" (pure Go, always there).
//
// Whatever the number of threads, every kernel but Gemm, Linear and LinearBackwardInput gives the same bits: threads share out rows, never a
// sum. AddProduct is what ranks merge by: theirs may differ.
package compute

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Backend is the arithmetic that a network needs. A Backend is for one goroutine at a time.
//
// What a pass keeps, and what products read, is an Operand, in the precision of the back end; all else is float32, and so
// is every sum. A kernel that makes an operand rounds as it writes.
type Backend interface {
	// Name is the name under which New makes it.
	Name() string
	// DType is the precision of the operands.
	DType() DType

	// Gemm computes c = alpha·op(a)·op(b) + beta·c, for beta 0 (c is not read) or 1.
	Gemm(tA, tB blas.Transpose, alpha float32, a, b Operand, beta float32, c Operand)
	// Linear computes y = x·wᵀ + bias + beta·y, bias added to every row, for beta 0 or 1.
	Linear(y, x, w Operand, bias []float32, beta float32)
	// LinearBackwardInput computes the gradient of Linear's x: dx = dy·w.
	LinearBackwardInput(dx, dy, w Operand)
	// AddProduct computes dst = c + alpha·a·b, for an inner side that is short beside the others. c may be dst's memory.
	AddProduct(dst Operand, c blas32.General, alpha float32, a, b blas32.General)
	// Round copies x into dst, in dst's precision, to nearest even.
	Round(dst Operand, x blas32.General)
	// Transpose copies xᵀ into dst, in dst's precision.
	Transpose(dst Operand, x blas32.General)

	// SumRows adds up rows: dst[j] += Σ_i x[i,j].
	SumRows(dst []float32, x Operand)
	// Add computes dst += x.
	Add(dst, x []float32)
	// SumSquares returns Σ x², summed in float64 in an order that depends on the length alone.
	SumSquares(x []float32) float64

	// GELU computes y = x·Φ(x), Φ by the error function (Hendrycks and Gimpel, arXiv 1606.08415), and its derivative
	// dydx = Φ(x) + x·φ(x), which may be x's memory: the backward pass is then Multiply. All are of one precision.
	GELU(y, dydx, x Operand)
	// Multiply computes dst = x∘y, element by element, of one precision. dst may be x's memory.
	Multiply(dst, x, y Operand)

	// LayerNorm computes x̂ = (x − mean)·rstd over every row, with rstd = 1/√(var + eps), and y = x̂·gamma + beta; y =
	// x̂ where gamma is nil, and may then be x̂'s memory. rstd has a number a row.
	LayerNorm(y Operand, xhat blas32.General, rstd []float32, x blas32.General, gamma, beta []float32, eps float32)
	// LayerNormBackward adds the gradient of LayerNorm's input, with g = dy·gamma (dy where gamma is nil):
	// dx += rstd·(g − mean(g) − x̂·mean(g·x̂)).
	LayerNormBackward(dx blas32.General, dy Operand, xhat blas32.General, rstd, gamma []float32)
	// LayerNormBackwardParams adds the gradients of gamma and beta: dgamma += Σ_i dy·x̂, dbeta += Σ_i dy.
	LayerNormBackwardParams(dgamma, dbeta []float32, dy Operand, xhat blas32.General)

	// Attention computes softmax(Q Kᵀ/√d) V for every image and attention head.
	Attention(out Operand, probs []float32, qkv Operand, shape AttentionShape)
	// AttentionBackward computes the gradient of qkv from dout, the gradient of out.
	AttentionBackward(dqkv, dout Operand, probs []float32, qkv Operand, shape AttentionShape)

	// Patches cuts images (images, channels, height, width) into rows (images·patches, channels·patch·patch), each in a
	// convolution's column order: channel, row, column.
	Patches(dst Operand, images []float32, shape ImageShape)

	// AdamW makes one step of AdamW (Loshchilov and Hutter, arXiv 1711.05101) as PyTorch computes it:
	//
	//	m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;  p ← p − ηλp − η/(1−β₁ᵗ) · m/(√(v/(1−β₂ᵗ)) + ε)
	//
	// Here and in SGD, g is the gradient times clip.
	AdamW(p, m, v, g []float32, s AdamWStep)
	// SGD makes one step as PyTorch computes it: buf ← μ·buf + g + λp;  p ← p − η·buf.
	SGD(p, buf, g []float32, s SGDStep)
}

// AttentionShape is the shape of self-attention: qkv is (Batch, Tokens, 3, Heads, Dim), out is (Batch, Tokens, Heads,
// Dim) and probs is (Batch, Heads, Tokens, ProbStride): its rows are padded. The first Queries tokens of an image ask;
// out's rows of the others are neither written nor, their gradients, read.
type AttentionShape struct{ Batch, Tokens, Queries, Heads, Dim int }

// ProbStride is the length of a padded row of attention probabilities: Tokens, rounded up to 16.
func (s AttentionShape) ProbStride() int { return (s.Tokens + 15) &^ 15 }

// Probs is the length of the attention probabilities' slice.
func (s AttentionShape) Probs() int { return s.Batch * s.Heads * s.Tokens * s.ProbStride() }

// Len is the length of out; qkv is three times as long.
func (s AttentionShape) Len() int { return s.Batch * s.Tokens * s.Heads * s.Dim }

func (s AttentionShape) check(out Operand, probs []float32, qkv Operand) {
	out.checkDense(s.Len())
	qkv.checkDense(3 * s.Len())
	checkEqual(s.Probs(), probs)
	checkDType(out, qkv)
}

func (s AttentionShape) checkBackward(dqkv, dout Operand, probs []float32, qkv Operand) {
	s.check(dout, probs, qkv)
	dqkv.checkDense(3 * s.Len())
	checkDType(dqkv, qkv)
}

// ImageShape is the shape of images (Images, Channels, Height, Width) and of the square patches that they are cut into;
// Patch divides both sides.
type ImageShape struct{ Images, Channels, Height, Width, Patch int }

// Patches is how many patches an image has.
func (s ImageShape) Patches() int { return (s.Height / s.Patch) * (s.Width / s.Patch) }

func (s ImageShape) check(dst Operand, images []float32) {
	if dst.Rows != s.Images*s.Patches() || dst.Cols != s.Channels*s.Patch*s.Patch ||
		len(images) != s.Images*s.Channels*s.Height*s.Width {
		panic(errShape)
	}
}

// AdamWStep holds the hyperparameters of step T, counting from 1, of AdamW. Clip is what the gradient is multiplied by.
type AdamWStep struct {
	LR, Beta1, Beta2, Eps, Decay, Clip float64 // η, β₁, β₂, ε, λ
	T                                  int     // t
}

// adamWScalars are what a step multiplies by, formed in float64: 1 − β of a β near 1 would keep few digits in float32.
// The kernels compute βm + (1−β)g as m + (1−β)(g − m), which tends to g whatever 1 − β is rounded to.
type adamWScalars struct {
	rest1, rest2 float32 // 1 − β₁, 1 − β₂
	rate         float32 // η/(1 − β₁ᵗ)
	root         float32 // 1/√(1 − β₂ᵗ)
	eps          float32 // ε
	decay        float32 // ηλ
	clip         float32
}

func (s AdamWStep) scalars() adamWScalars {
	t := float64(s.T)
	return adamWScalars{rest1: float32(1 - s.Beta1), rest2: float32(1 - s.Beta2), rate: float32(s.LR / (1 - math.Pow(s.Beta1, t))),
		root: float32(1 / math.Sqrt(1-math.Pow(s.Beta2, t))), eps: float32(s.Eps), decay: float32(s.LR * s.Decay), clip: float32(s.Clip)}
}

// SGDStep holds the hyperparameters of a step of SGD. Clip is what the gradient is multiplied by.
type SGDStep struct{ LR, Momentum, Decay, Clip float64 } // η, μ, λ

// sgdScalars are what a step multiplies by; rest is 1 − μ, and μ·buf + g is buf + (g − (1−μ)·buf), as in adamWScalars.
type sgdScalars struct{ rest, lr, decay, clip float32 }

func (s SGDStep) scalars() sgdScalars {
	return sgdScalars{rest: float32(1 - s.Momentum), lr: float32(s.LR), decay: float32(s.Decay), clip: float32(s.Clip)}
}

// Constants of tier 1: misuse inside the program.
const (
	errLength = "compute: slices of unequal length"
	errShape  = "compute: matrix shapes do not fit"
	errStride = "compute: matrix is not of its stride"
	errDType  = "compute: operands of this precision are not for this back end"
)

// makers holds the back ends that were built in.
var makers = map[string]func(threads int, d DType) (Backend, error){"gonum": newGonum}

// Auto is the name of the fastest back end that was built in.
var Auto = "gonum"

// New returns the back end of that name ("auto": the fastest built in) for that many threads, at least 1, and that
// precision. A back end that was not built in, or a precision that it or this CPU has not, is an error.
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

// checkGemm panics unless op(a)·op(b) fits c; it returns the product's sizes.
func checkGemm(tA, tB blas.Transpose, a, b, c Operand) (m, n, k int) {
	m, k = a.Rows, a.Cols
	if tA == blas.Trans {
		m, k = k, m
	}
	kb, n := b.Rows, b.Cols
	if tB == blas.Trans {
		kb, n = n, kb
	}
	if k != kb || c.Rows != m || c.Cols != n {
		panic(errShape)
	}
	checkDType(a, b)
	a.check()
	b.check()
	c.check()
	return m, n, k
}

func checkDType(a, b Operand) {
	if (a.BF16 == nil) != (b.BF16 == nil) {
		panic(errDType)
	}
}

// checkAlike panics unless all are dense, of one shape and precision.
func checkAlike(x, y, z Operand) {
	for _, o := range [...]Operand{x, y, z} {
		o.checkDense(x.Rows * x.Cols)
		checkDType(o, x)
	}
}

// check panics unless the operand's slice is long enough.
func (o Operand) check() {
	if o.Stride < max(1, o.Cols) || max(len(o.F32), len(o.BF16)) < (o.Rows-1)*o.Stride+o.Cols {
		panic(errStride)
	}
}

func (o Operand) checkDense(n int) {
	if o.Stride != max(1, o.Cols) || max(len(o.F32), len(o.BF16)) != o.Rows*o.Cols || o.Rows*o.Cols != n {
		panic(errStride)
	}
}

// checkRows panics unless x has n rows or columns' worth of numbers beside it.
func checkRows(x Operand, beside []float32, n int) {
	if len(beside) != n {
		panic(errLength)
	}
	x.check()
}

func checkSame(x, y blas32.General) {
	if x.Rows != y.Rows || x.Cols != y.Cols {
		panic(errShape)
	}
}

func checkEqual(n int, xs ...[]float32) {
	for _, x := range xs {
		if len(x) != n {
			panic(errLength)
		}
	}
}
