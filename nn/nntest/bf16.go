package nntest

import (
	"math"
	"testing"

	"lte/compute"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// SoftBF16 is a back end of bf16 in software, for CPUs that have none: every kernel reads its operands as float32, and rounds
// what it wrote.
type SoftBF16 struct{ compute.Backend }

// BF16Backends returns SoftBF16 and the back ends of bf16 that this CPU has.
func BF16Backends(t *testing.T) map[string]compute.Backend {
	t.Helper()
	soft, err := compute.New("gonum", 1, compute.Float32)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]compute.Backend{"soft": SoftBF16{soft}}
	if b, err := compute.New("onednn", 1, compute.BFloat16); err == nil {
		all["onednn"] = b
	} else {
		t.Log(err)
	}
	return all
}

func widened(x uint16) float32 { return math.Float32frombits(uint32(x) << 16) }

// rounded is to nearest even.
func rounded(x float32) uint16 {
	bits := math.Float32bits(x)
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

// Widen returns o in float32.
func Widen(o compute.Operand) compute.Operand {
	if o.BF16 != nil {
		o.F32 = make([]float32, len(o.BF16))
		for i, x := range o.BF16 {
			o.F32[i] = widened(x)
		}
		o.BF16 = nil
	}
	return o
}

// write gives f a float32 operand to write, and rounds it into dst.
func write(dst compute.Operand, f func(compute.Operand)) {
	x := Widen(dst)
	f(x)
	for i := range dst.BF16 {
		dst.BF16[i] = rounded(x.F32[i])
	}
}

func (h SoftBF16) DType() compute.DType { return compute.BFloat16 }

func (h SoftBF16) Gemm(tA, tB blas.Transpose, alpha float32, a, b compute.Operand, beta float32, c compute.Operand) {
	write(c, func(c compute.Operand) { h.Backend.Gemm(tA, tB, alpha, Widen(a), Widen(b), beta, c) })
}

func (h SoftBF16) Linear(y, x, w compute.Operand, bias []float32, beta float32) {
	write(y, func(y compute.Operand) { h.Backend.Linear(y, Widen(x), Widen(w), bias, beta) })
}

func (h SoftBF16) LinearBackwardInput(dx, dy, w compute.Operand) {
	write(dx, func(dx compute.Operand) { h.Backend.LinearBackwardInput(dx, Widen(dy), Widen(w)) })
}

func (h SoftBF16) AddProduct(dst compute.Operand, c blas32.General, alpha float32, a, b blas32.General) {
	write(dst, func(dst compute.Operand) { h.Backend.AddProduct(dst, c, alpha, a, b) })
}

func (h SoftBF16) Round(dst compute.Operand, x blas32.General) {
	write(dst, func(dst compute.Operand) {
		for i := range x.Rows {
			copy(dst.F32[i*dst.Stride:][:x.Cols], x.Data[i*x.Stride:])
		}
	})
}

func (h SoftBF16) Transpose(dst compute.Operand, x blas32.General) {
	write(dst, func(dst compute.Operand) { h.Backend.Transpose(dst, x) })
}

func (h SoftBF16) SumRows(dst []float32, x compute.Operand) { h.Backend.SumRows(dst, Widen(x)) }

func (h SoftBF16) GELU(y, dydx, x compute.Operand) {
	x = Widen(x)
	write(y, func(y compute.Operand) { write(dydx, func(dydx compute.Operand) { h.Backend.GELU(y, dydx, x) }) })
}

func (h SoftBF16) Multiply(dst, x, y compute.Operand) {
	write(dst, func(dst compute.Operand) { h.Backend.Multiply(dst, Widen(x), Widen(y)) })
}

func (h SoftBF16) LayerNorm(y compute.Operand, xhat blas32.General, rstd []float32, x blas32.General, gamma, beta []float32, eps float32) {
	write(y, func(y compute.Operand) { h.Backend.LayerNorm(y, xhat, rstd, x, gamma, beta, eps) })
}

func (h SoftBF16) LayerNormBackward(dx blas32.General, dy compute.Operand, xhat blas32.General, rstd, gamma []float32) {
	h.Backend.LayerNormBackward(dx, Widen(dy), xhat, rstd, gamma)
}

func (h SoftBF16) LayerNormBackwardParams(dgamma, dbeta []float32, dy compute.Operand, xhat blas32.General) {
	h.Backend.LayerNormBackwardParams(dgamma, dbeta, Widen(dy), xhat)
}

func (h SoftBF16) Attention(out compute.Operand, probs []float32, qkv compute.Operand, shape compute.AttentionShape) {
	write(out, func(out compute.Operand) { h.Backend.Attention(out, probs, Widen(qkv), shape) })
}

func (h SoftBF16) AttentionBackward(dqkv, dout compute.Operand, probs []float32, qkv compute.Operand, shape compute.AttentionShape) {
	write(dqkv, func(dqkv compute.Operand) { h.Backend.AttentionBackward(dqkv, Widen(dout), probs, Widen(qkv), shape) })
}

func (h SoftBF16) Patches(dst compute.Operand, images []float32, shape compute.ImageShape) {
	write(dst, func(dst compute.Operand) { h.Backend.Patches(dst, images, shape) })
}
