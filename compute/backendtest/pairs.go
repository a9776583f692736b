package backendtest

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lte/compute"
)

// SameBits checks that two back ends, of different numbers of threads, give the same bits in every kernel that promises it: threads
// divide rows, never a sum.
func SameBits(t *testing.T, one, several compute.Backend) {
	const rows, cols, inner, wide = 300, 70, 1030, 100
	s := suite{t, one, rand.New(rand.NewPCG(5, 5))}
	x, dy := s.randoms(rows*cols), s.randoms(rows*cols)
	shape := compute.AttentionShape{Batch: 10, Tokens: 30, Queries: 30, Heads: 2, Dim: 10}
	qkv, dout := s.randoms(3*shape.Len()), s.randoms(shape.Len())
	long := s.randoms(rows * inner)
	a, b := outputs(one), outputs(several)
	for _, o := range []*output{a, b} {
		be, d := o.b, o.b.DType()
		in := func(x []float32) compute.Operand { return operand(be, rows, cols, x) }
		y, dydx := compute.NewOperand(d, rows, cols), in(x)
		be.GELU(y, dydx, dydx)
		o.add("GELU", y, dydx)
		be.Multiply(y, y, dydx)
		o.add("Multiply", y)
		o.add("SumSquares", vector([]float32{float32(be.SumSquares(x)), float32(be.SumSquares(long))}))
		sums, xhat, rstd := make([]float32, cols), compute.Heap(compute.Float32).Matrix(rows, cols), make([]float32, rows)
		be.LayerNorm(y, xhat, rstd, matrix(rows, cols, x), x[:cols], dy[:cols], 1e-6)
		o.add("LayerNorm", y, compute.F32(xhat), vector(rstd))
		be.LayerNorm(compute.F32(xhat), xhat, rstd, matrix(rows, cols, x), nil, nil, 1e-6)
		o.add("LayerNorm in place", compute.F32(xhat), vector(rstd))
		be.SumRows(sums, y)
		o.add("SumRows", vector(slices.Clone(sums)))
		be.LayerNormBackwardParams(sums, sums[:cols:cols], in(dy), xhat)
		o.add("LayerNormBackwardParams", vector(sums))
		dx := slices.Clone(x)
		be.LayerNormBackward(matrix(rows, cols, dx), in(dy), xhat, rstd, nil)
		o.add("LayerNormBackward", vector(dx))
		out, probs, dqkv := compute.NewOperand(d, 1, len(dout)), make([]float32, shape.Probs()), compute.NewOperand(d, 1, len(qkv))
		q := operand(be, 1, len(qkv), qkv)
		be.Attention(out, probs, q, shape)
		be.AttentionBackward(dqkv, operand(be, 1, len(dout), dout), probs, q, shape)
		o.add("Attention", out, vector(probs), dqkv)
		p, m, v := slices.Clone(x), slices.Clone(dy), make([]float32, len(x))
		be.AdamW(p, m, v, dy, compute.AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Decay: 0.1, Clip: 0.5, T: 3})
		be.SGD(p, m, x, compute.SGDStep{LR: 1e-3, Momentum: 0.9, Decay: 0.1, Clip: 0.5})
		be.Add(p, v)
		g := slices.Clone(dy)
		be.Nesterov(v, g, 0.95, 0.5)
		o.add("optimizers", vector(p), vector(m), vector(v), vector(g))
		// Ranks with different numbers of threads merge: an inner dimension at which a product's bits do depend on them.
		w := compute.Heap(compute.Float32).Matrix(rows, wide)
		be.AddProduct(compute.F32(w), w, 0.5, matrix(rows, inner, long), matrix(inner, wide, long[:inner*wide]))
		o.add("AddProduct", compute.F32(w))
	}
	for i, name := range a.names {
		for j, v := range a.values[i] {
			if w := b.values[i][j]; math.Float32bits(v) != math.Float32bits(w) {
				t.Errorf("%s: element %d is %v with one number of threads and %v with another", name, j, v, w)
				break
			}
		}
	}
}

// output collects what a back end computes, by kernel.
type output struct {
	b      compute.Backend
	names  []string
	values [][]float32
}

func outputs(b compute.Backend) *output { return &output{b: b} }

func (o *output) add(name string, all ...compute.Operand) {
	var x []float32
	for _, part := range all {
		x = append(x, values(part)...)
	}
	o.names, o.values = append(o.names, name), append(o.values, x)
}

// Rounded checks that a kernel that writes bfloat16 writes the float32 back end's values, rounded once, and that one that reads bfloat16
// reads the values that it stands for. Both back ends have the same kernels.
func Rounded(t *testing.T, half, single compute.Backend) {
	const rows, cols = 37, 83
	s := suite{t, half, rand.New(rand.NewPCG(9, 9))}
	x, y := s.randoms(rows*cols), s.randoms(rows*cols)
	for i := range x {
		x[i] = float32(s.rng.NormFloat64()) // these are not rounded: kernels read them in float32
	}
	gamma, beta := x[:cols], x[cols:2*cols]
	shape := compute.AttentionShape{Batch: 2, Tokens: 19, Queries: 19, Heads: 2, Dim: 20}
	qkv, dout := s.randoms(3*shape.Len()), s.randoms(shape.Len())
	a, b := outputs(half), outputs(single)
	for _, o := range []*output{a, b} {
		be, d := o.b, o.b.DType()
		in := func() compute.Operand { return operand(be, rows, cols, y) }
		out, dydx := compute.NewOperand(d, rows, cols), compute.NewOperand(d, rows, cols)
		be.GELU(out, dydx, in())
		o.add("GELU", out, dydx)
		inPlace := in()
		be.GELU(out, inPlace, inPlace)
		o.add("GELU in place", out, inPlace)
		be.Multiply(out, in(), in())
		o.add("Multiply", out)
		be.LayerNorm(out, compute.Heap(compute.Float32).Matrix(rows, cols), make([]float32, rows), matrix(rows, cols, x), gamma, beta, 1e-6)
		o.add("LayerNorm", out)
		across := compute.NewOperand(d, cols, rows)
		be.Transpose(across, matrix(rows, cols, x))
		o.add("Transpose", across)
		be.AddProduct(out, matrix(rows, cols, x), 0.5, matrix(rows, 7, x[:7*rows]), matrix(7, cols, x[:7*cols]))
		o.add("AddProduct", out)
		patch := compute.NewOperand(d, 1, 225)
		be.Patches(patch, x[:225], compute.ImageShape{Images: 1, Channels: 1, Height: 15, Width: 15, Patch: 15})
		o.add("Patches", patch)
		att, probs, dqkv := compute.NewOperand(d, 1, len(dout)), make([]float32, shape.Probs()), compute.NewOperand(d, 1, len(qkv))
		q := operand(be, 1, len(qkv), qkv)
		be.Attention(att, probs, q, shape)
		be.AttentionBackward(dqkv, operand(be, 1, len(dout), dout), probs, q, shape)
		o.add("Attention", att, dqkv)

		// These read operands and write float32.
		sums, dgamma, dbeta, dx := make([]float32, cols), make([]float32, cols), make([]float32, cols), slices.Clone(x)
		be.SumRows(sums, in())
		be.LayerNormBackward(matrix(rows, cols, dx), in(), matrix(rows, cols, x), x[:rows], gamma)
		be.LayerNormBackwardParams(dgamma, dbeta, in(), matrix(rows, cols, x))
		o.add("SumRows", vector(sums))
		o.add("LayerNormBackward", vector(dx))
		o.add("LayerNormBackwardParams", vector(dgamma), vector(dbeta))
	}
	for i, name := range a.names {
		writesFloat32 := slices.Contains([]string{"SumRows", "LayerNormBackward", "LayerNormBackwardParams"}, name)
		for j, got := range a.values[i] {
			want := b.values[i][j]
			if !writesFloat32 {
				want = nearest(want)
			}
			if got != want {
				t.Errorf("%s: element %d is %v, want %v", name, j, got, want)
				break
			}
		}
	}
}
