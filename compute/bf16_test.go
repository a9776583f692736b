package compute

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/blas"
)

// halves is every instruction set's back end in bf16. The kernels run anywhere; products need the CPU for it.
func halves(t *testing.T) map[string]Backend {
	all := everyISA(1, BFloat16)
	if len(all) == 0 {
		t.Skip("no back end with bf16 in this build")
	}
	for name, b := range everyISA(3, BFloat16) {
		all[name+"/3 threads"] = b
	}
	return all
}

// nearest is x in bfloat16, to nearest even, by counting in float64: 8 bits of mantissa.
func nearest(x float32) float32 {
	if x == 0 || math.IsInf(float64(x), 0) || x != x {
		return x
	}
	_, e := math.Frexp(float64(x))
	unit := math.Ldexp(1, max(e, -125)-8)
	return float32(math.RoundToEven(float64(x)/unit) * unit)
}

func widened(o Operand) []float32 {
	x := make([]float32, len(o.BF16))
	for i, h := range o.BF16 {
		x[i] = math.Float32frombits(uint32(h) << 16)
	}
	return x
}

func halfOf(b Backend, rows, cols int, x []float32) Operand {
	o := NewOperand(BFloat16, rows, cols)
	b.Round(o, Matrix(rows, cols, x))
	return o
}

// Fails when rounding truncates, breaks a tie upwards, or turns a NaN into a number or an infinity into a NaN.
func TestRound(t *testing.T) {
	x := []float32{0, 1, -1, 1.00390625, 1.01171875, -1.00390625, 3.4e38, float32(math.Inf(1)), float32(math.Inf(-1)), 1e-40, 3}
	r := rand.New(rand.NewPCG(8, 8))
	for range 10000 {
		x = append(x, float32(r.NormFloat64()*math.Exp(20*r.NormFloat64())))
	}
	for name, b := range halves(t) {
		got := widened(halfOf(b, 1, len(x), x))
		for i, v := range x {
			if want := nearest(v); got[i] != want {
				t.Fatalf("%s: %v is rounded to %v, want %v", name, v, got[i], want)
			}
		}
		for _, bits := range []uint32{0x7fffffff, 0xffffffff, 0x7f800001, 0x7fc00000} { // an addition carries the first two past NaN
			if v := widened(halfOf(b, 1, 1, []float32{math.Float32frombits(bits)}))[0]; v == v {
				t.Errorf("%s: NaN %#x becomes %v", name, bits, v)
			}
		}
	}
}

// A kernel that writes bf16 writes what it writes in float32, rounded; and reads bf16 as the numbers it stands for.
// Fails when an element is rounded twice, or stands elsewhere.
func TestKernelsRoundWhatTheyWrite(t *testing.T) {
	const rows, cols = 37, 83
	r := rand.New(rand.NewPCG(9, 9))
	x, y, gamma, beta := randoms(r, rows*cols), randoms(r, rows*cols), randoms(r, cols), randoms(r, cols)
	singles := everyISA(1, Float32)
	for name, half := range halves(t) {
		single := singles[strings.TrimSuffix(name, "/3 threads")]
		for i := range y {
			y[i] = nearest(y[i]) // numbers that both precisions hold
		}
		check := func(what string, run func(b Backend, dst, y Operand)) {
			t.Helper()
			f, h := NewOperand(Float32, rows, cols), NewOperand(BFloat16, rows, cols)
			run(single, f, F32(Matrix(rows, cols, y)))
			run(half, h, halfOf(half, rows, cols, y))
			for i, v := range widened(h) {
				if want := nearest(f.F32[i]); v != want {
					t.Fatalf("%s %s: number %d is %v, want %v", name, what, i, v, want)
				}
			}
		}
		check("GELU", func(b Backend, dst, y Operand) { b.GELU(dst, NewOperand(b.DType(), rows, cols), y) })
		check("GELU's derivative", func(b Backend, dst, y Operand) {
			copy(dst.F32, y.F32)
			copy(dst.BF16, y.BF16)
			b.GELU(NewOperand(b.DType(), rows, cols), dst, dst) // in place
		})
		check("Multiply", func(b Backend, dst, y Operand) { b.Multiply(dst, y, y) })
		check("LayerNorm", func(b Backend, dst, _ Operand) {
			b.LayerNorm(dst, NewMatrix(rows, cols), make([]float32, rows), Matrix(rows, cols, x), gamma, beta, 1e-6)
		})
		check("Transpose", func(b Backend, dst, _ Operand) {
			b.Transpose(Operand{Rows: cols, Cols: rows, Stride: rows, F32: dst.F32, BF16: dst.BF16}, Matrix(rows, cols, x))
		})
		check("AddProduct", func(b Backend, dst, _ Operand) {
			b.AddProduct(dst, Matrix(rows, cols, x), 0.5, Matrix(rows, 7, x[:7*rows]), Matrix(7, cols, x[:7*cols]))
		})
		check("Patches", func(b Backend, dst, _ Operand) {
			b.Patches(Operand{Rows: 1, Cols: 15 * 15, Stride: 15 * 15, F32: first(dst.F32, 225), BF16: first(dst.BF16, 225)}, x[:225],
				ImageShape{Images: 1, Channels: 1, Height: 15, Width: 15, Patch: 15})
		})
		sums, want := make([]float32, cols), make([]float32, cols)
		half.SumRows(sums, halfOf(half, rows, cols, y))
		single.SumRows(want, F32(Matrix(rows, cols, y)))
		if !slices.Equal(sums, want) {
			t.Errorf("%s SumRows: %v, want %v", name, sums, want)
		}

		// What reads dy in bf16 and writes float32 gives the float32 of the same numbers.
		backward := func(b Backend, dy Operand) []float32 {
			dx, h, dg, db := Matrix(rows, cols, slices.Clone(x)), Matrix(rows, cols, x), make([]float32, cols), make([]float32, cols)
			b.LayerNormBackward(dx, dy, h, x[:rows], gamma)
			b.LayerNormBackwardParams(dg, db, dy, h)
			return slices.Concat(dx.Data, dg, db)
		}
		if !slices.Equal(backward(half, halfOf(half, rows, cols, y)), backward(single, F32(Matrix(rows, cols, y)))) {
			t.Errorf("%s: LayerNorm's backward pass reads dy as other numbers", name)
		}

		s := AttentionShape{Batch: 2, Tokens: 19, Queries: 19, Heads: 2, Dim: 20}
		n := s.Len()
		qkv, dout := randoms(r, 3*n), randoms(r, n)
		for _, x := range [][]float32{qkv, dout} {
			for i := range x {
				x[i] = nearest(x[i])
			}
		}
		run := func(b Backend, qkv, dout Operand) (out, dqkv Operand) {
			out, dqkv = NewOperand(b.DType(), 1, n), NewOperand(b.DType(), 1, 3*n)
			probs := make([]float32, s.Probs())
			b.Attention(out, probs, qkv, s)
			b.AttentionBackward(dqkv, dout, probs, qkv, s)
			return out, dqkv
		}
		out, dqkv := run(single, F32(Matrix(1, 3*n, qkv)), F32(Matrix(1, n, dout)))
		outHalf, dqkvHalf := run(half, halfOf(half, 1, 3*n, qkv), halfOf(half, 1, n, dout))
		for i, v := range slices.Concat(widened(outHalf), widened(dqkvHalf)) {
			if want := nearest(slices.Concat(out.F32, dqkv.F32)[i]); v != want {
				t.Fatalf("%s attention: number %d is %v, want %v", name, i, v, want)
			}
		}
	}
}

func first[T any](x []T, n int) []T { return x[:min(n, len(x))] }

// A bf16 product is the exact product of what its operands hold, added up in float32.
func TestGemmBF16(t *testing.T) {
	b, err := New("onednn", 1, BFloat16)
	if err != nil {
		t.Skip(err)
	}
	r := rand.New(rand.NewPCG(10, 10))
	for _, s := range [][3]int{{1, 1, 1}, {3, 5, 2}, {17, 33, 9}, {64, 48, 100}, {130, 65, 300}, {390, 400, 384}} {
		m, n, k := s[0], s[1], s[2]
		for _, tA := range []blas.Transpose{blas.NoTrans, blas.Trans} {
			for _, tB := range []blas.Transpose{blas.NoTrans, blas.Trans} {
				x, y, c := halfOf(b, 1, m*k, randoms(r, m*k)), halfOf(b, 1, k*n, randoms(r, k*n)), randoms(r, m*n)
				x, y = x.Shape(m, k), y.Shape(k, n)
				if tA == blas.Trans {
					x = x.Shape(k, m)
				}
				if tB == blas.Trans {
					y = y.Shape(n, k)
				}
				want, size := productTwin(tA, tB, 0.5, widened(x), widened(y), 1, c, m, n, k)
				b.Gemm(tA, tB, 0.5, x, y, 1, F32(Matrix(m, n, c)))
				near(t, fmt.Sprintf("%v %c%c", s, tA, tB), c, want, size*0x1p-22)
			}
		}
	}
}

// A back end or a CPU without bf16 says so; it does not compute in float32 instead.
func TestBF16IsRefused(t *testing.T) {
	_, err := New("gonum", 1, BFloat16)
	if err == nil || !strings.Contains(err.Error(), "AVX512_BF16") || !strings.Contains(err.Error(), "gonum has f32 alone") {
		t.Errorf("gonum in bf16: %v", err)
	}
	if _, built := makers["onednn"]; !built {
		return
	}
	defer func(has func() bool) { hasBFloat16 = has }(hasBFloat16)
	hasBFloat16 = func() bool { return false }
	_, err = New("onednn", 1, BFloat16)
	if err == nil || !strings.Contains(err.Error(), Features()) || !strings.Contains(err.Error(), `use compute.dtype = "f32"`) {
		t.Errorf("a CPU without bf16: %v", err)
	}
}
