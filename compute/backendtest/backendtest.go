// Package backendtest is the test suite that every back end of compute passes, in the way of gonum's testblas. Kernels are compared with
// float64 twins, which are written from the equations at compute's interfaces without the kernels' helpers.
//
// It runs in the back end's precision: inputs are first rounded to it, so that the twins see the same values, and an output in bfloat16
// may differ from its twin by that rounding.
package backendtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lte/compute"

	"gonum.org/v1/gonum/blas/blas32"
)

// Run checks every kernel of b: results, strides, memory that arguments share, empty matrices, NaN, and the panics of misuse.
func Run(t *testing.T, b compute.Backend) {
	Products(t, b)
	Kernels(t, b)
}

// run runs laws as subtests by their names, in the order given.
func run(t *testing.T, b compute.Backend, laws []law) {
	for _, l := range laws {
		t.Run(l.name, func(t *testing.T) { l.check(suite{t, b, rand.New(rand.NewPCG(1, 1))}) })
	}
}

type law struct {
	name  string
	check func(suite)
}

type suite struct {
	*testing.T
	b   compute.Backend
	rng *rand.Rand
}

// bf16 is the largest relative error of rounding to bfloat16, which has 8 significant bits.
const bf16 = 0x1p-8

// randoms returns n standard normal values that the back end's operands can hold.
func (s suite) randoms(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = s.held(float32(s.rng.NormFloat64()))
	}
	return x
}

// held is x as an operand holds it.
func (s suite) held(x float32) float32 {
	if s.b.DType() == compute.BFloat16 {
		return nearest(x)
	}
	return x
}

// operand returns x (rows, cols) in the back end's precision.
func (s suite) operand(rows, cols int, x []float32) compute.Operand {
	return operand(s.b, rows, cols, x)
}

func operand(b compute.Backend, rows, cols int, x []float32) compute.Operand {
	o := compute.NewOperand(b.DType(), rows, cols)
	b.Round(o, compute.Matrix(rows, cols, x))
	return o
}

// unset returns an operand of NaN: a kernel that reads it, or leaves some of it as it was, shows it.
func unset(d compute.DType, rows, cols int) compute.Operand {
	o := compute.NewOperand(d, rows, cols)
	for i := range rows * cols {
		put(o, i, float32(math.NaN()))
	}
	return o
}

// strided returns x (rows, cols) in that precision with a stride of twice as many columns. The memory between rows is NaN: a kernel that
// reads it shows it.
func (s suite) strided(d compute.DType, rows, cols int, x []float32) compute.Operand {
	o := compute.NewOperand(d, 2*rows, cols)
	for i := range rows {
		for j := range cols {
			put(o, 2*i*cols+j, x[i*cols+j])
			put(o, (2*i+1)*cols+j, float32(math.NaN()))
		}
	}
	return o.Every(2)
}

// put sets element i of o's memory to x, which o can hold.
func put(o compute.Operand, i int, x float32) {
	if o.BF16 != nil {
		o.BF16[i] = uint16(math.Float32bits(x) >> 16)
	} else {
		o.F32[i] = x
	}
}

// values returns the elements of o, row after row.
func values(o compute.Operand) []float32 {
	x := make([]float32, 0, o.Rows*o.Cols)
	for i := range o.Rows {
		for j := range o.Cols {
			at := i*o.Stride + j
			if o.BF16 != nil {
				x = append(x, math.Float32frombits(uint32(o.BF16[at])<<16))
			} else {
				x = append(x, o.F32[at])
			}
		}
	}
	return x
}

// near fails unless |got − want| ≤ tol·(1 + |want|) everywhere, besides rounding where got is in bfloat16.
func (s suite) near(what string, got compute.Operand, want []float64, tol float64) {
	s.Helper()
	x, rounding := values(got), 0.0
	if got.BF16 != nil {
		rounding = bf16
	}
	if len(x) != len(want) {
		s.Fatalf("%s: %d elements, want %d", what, len(x), len(want))
	}
	for i, w := range want {
		if !(math.Abs(float64(x[i])-w) <= tol*(1+math.Abs(w))*(1+rounding)+rounding*math.Abs(w)) {
			s.Fatalf("%s[%d] = %v, want %v (tolerance %g)", what, i, x[i], w, tol)
		}
	}
}

// nearVector is near for a vector.
func (s suite) nearVector(what string, got []float32, want []float64, tol float64) {
	s.Helper()
	s.near(what, vector(got), want, tol)
}

// untouched fails unless the memory between the rows of what strided returned is still NaN.
func (s suite) untouched(what string, o compute.Operand) {
	s.Helper()
	o.Cols, o.Rows = o.Stride, max(0, o.Rows-1) // behind the last row there is no memory
	for i, v := range values(o) {
		if j := i % o.Cols; j >= o.Cols/2 && v == v {
			s.Fatalf("%s: writes between rows", what)
		}
	}
}

func vector(x []float32) compute.Operand { return compute.F32(compute.Matrix(1, len(x), x)) }

func matrix(rows, cols int, x []float32) blas32.General { return compute.Matrix(rows, cols, x) }

func float64s(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// nearest is x rounded to bfloat16, ties to even, in float64 arithmetic.
func nearest(x float32) float32 {
	if x == 0 || math.IsInf(float64(x), 0) || x != x {
		return x
	}
	_, e := math.Frexp(float64(x))
	unit := math.Ldexp(1, max(e, -125)-8)
	return float32(math.RoundToEven(float64(x)/unit) * unit)
}

// precisions are those of an output: float32, and the back end's.
func (s suite) precisions() []compute.DType {
	return slices.Compact([]compute.DType{compute.Float32, s.b.DType()})
}

// sprint joins words with spaces.
func sprint(words ...any) string { s := fmt.Sprintln(words...); return s[:len(s)-1] }
