// Package compute does the arithmetic of a network: matrix products on gonum's blas32 types, and the element-wise, row
// and attention kernels of a transformer, forward and backward, behind one interface with several back ends.
//
// A back end knows nothing of layers, parameters or training. Matrices are row-major float32 with Stride == Cols;
// a function's destination comes first (Gemm keeps the order of BLAS). Shapes that do not fit panic.
//
// Back ends: "onednn" (built with cgo: oneDNN's products, and C kernels compiled for AVX-512, AVX2 and the baseline,
// chosen for the CPU at run time) and "gonum" (pure Go, always there).
//
// Whatever the number of threads, every kernel but Gemm gives the same bits: threads share out rows, never a sum.
package compute

import (
	"fmt"
	"sort"
	"strings"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Backend is the arithmetic that a network needs. A Backend is for one goroutine at a time.
type Backend interface {
	// Name is the name under which New makes it.
	Name() string

	// Gemm computes c = alpha·op(a)·op(b) + beta·c; with beta 0, c is not read.
	Gemm(tA, tB blas.Transpose, alpha float32, a, b blas32.General, beta float32, c blas32.General)

	// AddRows adds bias to every row: dst[i,j] += bias[j].
	AddRows(dst blas32.General, bias []float32)
	// SumRows adds up rows: dst[j] += Σ_i x[i,j].
	SumRows(dst []float32, x blas32.General)
	// Add computes dst += x.
	Add(dst, x []float32)
	// Scale computes dst *= alpha.
	Scale(dst []float32, alpha float32)
	// SumSquares returns Σ x², summed in float64 in one order.
	SumSquares(x []float32) float64

	// GELU computes dst = x·Φ(x), Φ by the error function (Hendrycks and Gimpel, arXiv 1606.08415).
	GELU(dst, x []float32)
	// GELUBackward computes dx = dy·(Φ(x) + x·φ(x)). dx may be dy.
	GELUBackward(dx, dy, x []float32)

	// Normalize computes xhat = (x − mean)·rstd over every row, with rstd = 1/√(var + eps); rstd has a number a row.
	Normalize(xhat blas32.General, rstd []float32, x blas32.General, eps float32)
	// NormalizeBackward adds the gradient of Normalize's input:
	// dx += rstd·(dy − mean(dy) − xhat·mean(dy·xhat)).
	NormalizeBackward(dx, dy, xhat blas32.General, rstd []float32)

	// Attention computes softmax(Q Kᵀ/√d) V for every image and attention head.
	Attention(out, probs []float32, qkv []float32, shape AttentionShape)
	// AttentionBackward computes the gradient of qkv from dout, the gradient of out.
	AttentionBackward(dqkv, dout, probs, qkv []float32, shape AttentionShape)

	// AdamW makes one step of AdamW (Loshchilov and Hutter, arXiv 1711.05101) as PyTorch computes it:
	// p −= lr·decay·p; m = β1·m + (1−β1)·g; v = β2·v + (1−β2)·g²; p −= lr/c1 · m/(√v/√c2 + eps), c = 1 − βᵗ.
	AdamW(p, m, v, g []float32, s AdamWStep)
	// SGD makes one step as PyTorch computes it: g' = g + decay·p; buf = momentum·buf + g'; p −= lr·buf.
	SGD(p, buf, g []float32, lr, momentum, decay float32)
}

// AttentionShape is the shape of self-attention: qkv is (Batch, Tokens, 3, Heads, Dim), out is (Batch, Tokens, Heads,
// Dim) and probs is (Batch, Heads, Tokens, ProbStride): its rows are padded.
type AttentionShape struct{ Batch, Tokens, Heads, Dim int }

// ProbStride is the length of a padded row of attention probabilities: Tokens, rounded up to 16.
func (s AttentionShape) ProbStride() int { return (s.Tokens + 15) &^ 15 }

// Probs is the length of the attention probabilities' slice.
func (s AttentionShape) Probs() int { return s.Batch * s.Heads * s.Tokens * s.ProbStride() }

func (s AttentionShape) check(out, probs, qkv []float32) {
	if n := s.Batch * s.Tokens * s.Heads * s.Dim; len(out) != n || len(qkv) != 3*n || len(probs) != s.Probs() {
		panic(errLength)
	}
}

// AdamWStep holds the numbers of one AdamW step; C1 and C2 are the bias corrections 1 − βᵗ.
type AdamWStep struct{ LR, Beta1, Beta2, Eps, Decay, C1, C2 float32 }

// Constants of tier 1: misuse inside the program.
const (
	errLength = "compute: slices of unequal length"
	errShape  = "compute: matrix shapes do not fit"
	errStride = "compute: matrix is not contiguous"
)

// makers holds the back ends that were built in.
var makers = map[string]func(threads int) Backend{"gonum": newGonum}

// Auto is the name of the fastest back end that was built in.
var Auto = "gonum"

// New returns the back end of that name ("auto": the fastest built in) for that many threads, at least 1. A back end
// that was not built in is an error.
func New(name string, threads int) (Backend, error) {
	if name == "auto" {
		name = Auto
	}
	maker, ok := makers[name]
	if !ok {
		names := make([]string, 0, len(makers))
		for n := range makers {
			names = append(names, n)
		}
		sort.Strings(names)
		return nil, fmt.Errorf("compute.backend = %q is not in this build, which has %s: build with cgo and oneDNN (make build) or choose another",
			name, strings.Join(names, ", "))
	}
	return maker(max(1, threads)), nil
}

// Matrix returns data as a rows×cols matrix.
func Matrix(rows, cols int, data []float32) blas32.General {
	if len(data) != rows*cols {
		panic(errLength)
	}
	return blas32.General{Rows: rows, Cols: cols, Stride: max(1, cols), Data: data}
}

// NewMatrix returns a rows×cols matrix of zeros.
func NewMatrix(rows, cols int) blas32.General { return Matrix(rows, cols, make([]float32, rows*cols)) }

// checkGemm panics unless op(a)·op(b) fits c; it returns the product's sizes.
func checkGemm(tA, tB blas.Transpose, a, b, c blas32.General) (m, n, k int) {
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
	return m, n, k
}

func checkRows(x blas32.General, rows []float32, n int) {
	if len(rows) != n {
		panic(errLength)
	}
	checkDense(x)
}

func checkDense(x blas32.General) {
	if x.Stride != max(1, x.Cols) || len(x.Data) != x.Rows*x.Cols {
		panic(errStride)
	}
}

func checkEqual(n int, xs ...[]float32) {
	for _, x := range xs {
		if len(x) != n {
			panic(errLength)
		}
	}
}
