package backendtest

import (
	"math"
	"testing"

	"lte/compute"

	"gonum.org/v1/gonum/blas"
)

// Products checks b's matrix products. Those of a bfloat16 back end need a CPU that multiplies bfloat16.
func Products(t *testing.T, b compute.Backend) {
	run(t, b, []law{{"Gemm", gemm}, {"strides", strides}, {"empty", empty}, {"Linear", linear},
		{"LinearBackwardInput", linearBackwardInput}, {"AddProduct", addProduct}})
}

// tolerance of a product in float32, relative to the size that product returns.
const tolerance = 0x1p-22

// product is the twin, base + alpha·op(x)·op(y) for (m, k)·(k, n), and the largest Σ|alpha·x·y| of an element, at least 1, which
// rounding is relative to.
func product(tA, tB blas.Transpose, alpha float64, x, y []float32, base []float64, m, n, k int) (want []float64, size float64) {
	x64, y64 := float64s(x), float64s(y)
	rx, cx, ry, cy := k, 1, n, 1 // strides of op(x) and op(y)
	if tA == blas.Trans {
		rx, cx = 1, m
	}
	if tB == blas.Trans {
		ry, cy = 1, k
	}
	want, size = make([]float64, m*n), 1
	for i := range m {
		for j := range n {
			sum, abs := 0.0, 0.0
			for l := range k {
				p := x64[i*rx+l*cx] * y64[l*ry+j*cy]
				sum += p
				abs += math.Abs(p)
			}
			want[i*n+j], size = alpha*sum, max(size, alpha*abs)
			if base != nil {
				want[i*n+j] += base[i*n+j]
			}
		}
	}
	return want, size
}

// sides are those of op's argument of that shape.
func sides(op blas.Transpose, rows, cols int) (int, int) {
	if op == blas.Trans {
		return cols, rows
	}
	return rows, cols
}

// transposes are all pairs of op.
var transposes = [][2]blas.Transpose{{blas.NoTrans, blas.NoTrans}, {blas.NoTrans, blas.Trans}, {blas.Trans, blas.NoTrans}, {blas.Trans, blas.Trans}}

func gemm(s suite) {
	for _, dims := range [][3]int{{1, 1, 1}, {3, 5, 2}, {17, 33, 9}, {64, 48, 100}, {130, 65, 300}, {300, 40, 130}, {390, 400, 384}} {
		m, n, k := dims[0], dims[1], dims[2]
		for _, op := range transposes {
			for _, beta := range []float32{0, 1} {
				for _, d := range s.precisions() {
					if m*n*k > 1e7 && (beta == 0 || s.b.DType() == compute.Float32 && op != transposes[1]) {
						continue // the twin is slow
					}
					alpha, x, y, c := float32(0.7), s.randoms(m*k), s.randoms(k*n), s.randoms(m*n)
					base := float64s(c)
					if beta == 0 {
						base, c[0] = nil, float32(math.NaN()) // not read
					}
					want, size := product(op[0], op[1], float64(alpha), x, y, base, m, n, k)
					dst := compute.NewOperand(d, m, n)
					s.b.Round(dst, matrix(m, n, c))
					rows, cols := sides(op[0], m, k)
					a := s.operand(rows, cols, x)
					rows, cols = sides(op[1], k, n)
					s.b.Gemm(op[0], op[1], alpha, a, s.operand(rows, cols, y), beta, dst)
					s.near(sprint(dims, string(op[0]), string(op[1]), "beta", beta, d), dst, want, size*tolerance)
				}
			}
		}
	}
}

// Operands may be columns of wider matrices, or every other row.
func strides(s suite) {
	for _, dims := range [][3]int{{17, 33, 9}, {130, 65, 70}, {300, 40, 33}} {
		m, n, k := dims[0], dims[1], dims[2]
		for _, op := range transposes {
			for _, beta := range []float32{0, 1} {
				x, y, c := s.randoms(m*k), s.randoms(k*n), s.randoms(m*n)
				var base []float64
				if beta == 1 {
					base = float64s(c)
				}
				want, size := product(op[0], op[1], 1, x, y, base, m, n, k)
				dst := s.strided(compute.Float32, m, n, c)
				rows, cols := sides(op[0], m, k)
				a := s.strided(s.b.DType(), rows, cols, x)
				rows, cols = sides(op[1], k, n)
				s.b.Gemm(op[0], op[1], 1, a, s.strided(s.b.DType(), rows, cols, y), beta, dst)
				what := sprint(dims, string(op[0]), string(op[1]), "beta", beta)
				s.near(what, dst, want, size*tolerance)
				s.untouched(what, dst)
			}
		}
	}
}

// A product without rows or columns does nothing.
func empty(s suite) {
	for _, dims := range [][3]int{{0, 5, 3}, {5, 0, 3}} {
		m, n, k := dims[0], dims[1], dims[2]
		s.b.Gemm(blas.NoTrans, blas.NoTrans, 1, compute.NewOperand(s.b.DType(), m, k), compute.NewOperand(s.b.DType(), k, n), 0,
			compute.NewOperand(compute.Float32, m, n))
	}
	d := s.b.DType()
	s.b.Linear(compute.NewOperand(d, 0, 4), compute.NewOperand(d, 0, 3), compute.NewOperand(d, 4, 3), make([]float32, 4), 0)
	s.b.LinearBackwardInput(compute.NewOperand(d, 0, 3), compute.NewOperand(d, 0, 4), compute.NewOperand(d, 4, 3))
	s.b.AddProduct(compute.NewOperand(d, 0, 4), matrix(0, 4, nil), 1, matrix(0, 2, nil), matrix(2, 4, make([]float32, 8)))
}

// dst may be c's memory.
func addProduct(s suite) {
	for _, dims := range [][3]int{{1, 1, 1}, {3, 5, 2}, {11, 33, 9}, {64, 300, 40}, {25, 257, 130}} {
		m, n, k := dims[0], dims[1], dims[2]
		x, y, c := s.randoms(m*k), s.randoms(k*n), s.randoms(m*n)
		want, size := product(blas.NoTrans, blas.NoTrans, 0.7, x, y, float64s(c), m, n, k)
		for _, d := range s.precisions() {
			dst := unset(d, m, n)
			s.b.AddProduct(dst, matrix(m, n, c), 0.7, matrix(m, k, x), matrix(k, n, y))
			s.near(sprint(dims, d), dst, want, size*tolerance)
		}
		s.b.AddProduct(compute.F32(matrix(m, n, c)), matrix(m, n, c), 0.7, matrix(m, k, x), matrix(k, n, y))
		s.nearVector(sprint(dims, "in place"), c, want, size*tolerance)
	}
}

func linear(s suite) {
	for _, dims := range [][3]int{{1, 1, 1}, {3, 5, 2}, {17, 33, 9}, {40, 64, 70}, {40, 64, 96}, {455, 96, 32}} {
		m, n, k := dims[0], dims[1], dims[2]
		for _, beta := range []float32{0, 1} {
			x, w, bias, y := s.randoms(m*k), s.randoms(n*k), s.randoms(n), s.randoms(m*n)
			base := make([]float64, m*n)
			for i, v := range y {
				base[i] = float64(beta)*float64(v) + float64(bias[i%n])
			}
			want, size := product(blas.NoTrans, blas.Trans, 1, x, w, base, m, n, k)
			for _, d := range s.precisions() {
				dense := compute.NewOperand(d, m, n)
				s.b.Round(dense, matrix(m, n, y))
				for what, dst := range map[string]compute.Operand{"dense": dense, "every other row": s.strided(d, m, n, y)} {
					what = sprint(dims, "beta", beta, d, what)
					s.b.Linear(dst, s.operand(m, k, x), s.operand(n, k, w), bias, beta)
					s.near(what, dst, want, size*tolerance)
					if dst.Stride > n {
						s.untouched(what, dst)
					}
				}
			}
		}
	}
}

func linearBackwardInput(s suite) {
	for _, dims := range [][3]int{{1, 1, 1}, {17, 33, 9}, {40, 64, 96}, {455, 96, 32}} {
		m, n, k := dims[0], dims[1], dims[2]
		dy, w := s.randoms(m*k), s.randoms(k*n)
		want, size := product(blas.NoTrans, blas.NoTrans, 1, dy, w, nil, m, n, k)
		for _, d := range s.precisions() {
			dense := unset(d, m, n)
			s.b.LinearBackwardInput(dense, s.operand(m, k, dy), s.operand(k, n, w))
			s.near(sprint(dims, d), dense, want, size*tolerance)
			dst := s.strided(d, m, n, values(unset(compute.Float32, m, n)))
			what := sprint(dims, d, "every other row")
			s.b.LinearBackwardInput(dst, s.strided(s.b.DType(), m, k, dy), s.operand(k, n, w))
			s.near(what, dst, want, size*tolerance)
			s.untouched(what, dst)
		}
	}
}
