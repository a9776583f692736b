package backendtest

import (
	"math"
	"slices"
	"testing"

	"lte/compute"

	"gonum.org/v1/gonum/blas"
)

// Kernels checks all of b but its products.
func Kernels(t *testing.T, b compute.Backend) {
	run(t, b, []law{{"GELU", gelu}, {"Multiply", multiply}, {"Add", add}, {"SumSquares", sumSquares}, {"SumRows", sumRows},
		{"Round", round}, {"Transpose", transpose}, {"Patches", patches}, {"LayerNorm", layerNorm}, {"Attention", attention},
		{"optimizers", optimizers}, {"NaN", nan}, {"misuse panics", misuse}})
}

// lengths are those of element-wise calls: none, around the width of vector registers and of a thread's block, and several blocks.
var lengths = []int{0, 1, 15, 16, 17, 4096, 10001}

// y and the derivative are compared with Φ by erfc. The derivative may take x's memory.
func gelu(s suite) {
	for _, n := range lengths {
		x := make([]float32, n)
		y64, dydx64 := make([]float64, n), make([]float64, n)
		for i := range x {
			x[i] = s.held(12 * (float32(i)/float32(n) - 0.5)) // −6 to 6
			z := float64(x[i])
			phi := 0.5 * math.Erfc(-z/math.Sqrt2)
			y64[i], dydx64[i] = z*phi, phi+z*math.Exp(-z*z/2)/math.Sqrt(2*math.Pi)
		}
		y, dydx, in := unset(s.b.DType(), 1, n), unset(s.b.DType(), 1, n), s.operand(1, n, x)
		s.b.GELU(y, dydx, in)
		s.near("y", y, y64, 1e-6) // 1 + erf cancels: an error of a few ulp of 1, times |x| ≤ 6
		s.near("derivative", dydx, dydx64, 2e-6)
		s.b.GELU(y, in, in)
		s.near("y in place", y, y64, 1e-6)
		s.near("derivative in place", in, dydx64, 2e-6)

		dy := s.randoms(n)
		for i, g := range dy {
			dydx64[i] *= float64(g)
		}
		s.b.Multiply(y, s.operand(1, n, dy), in)
		tol := 2e-6
		if y.BF16 != nil {
			tol += bf16 // of the derivative
		}
		s.near("backward", y, dydx64, tol)
	}
}

func multiply(s suite) {
	for _, n := range lengths {
		x, y, want := s.randoms(n), s.randoms(n), make([]float64, n)
		for i := range want {
			want[i] = float64(x[i]) * float64(y[i])
		}
		a, b, dst := s.operand(1, n, x), s.operand(1, n, y), unset(s.b.DType(), 1, n)
		s.b.Multiply(dst, a, b)
		s.near("x∘y", dst, want, 1e-7)
		s.b.Multiply(a, a, b)
		s.near("in place", a, want, 1e-7)
	}
}

func add(s suite) {
	for _, n := range lengths {
		dst, x, want := s.randoms(n), s.randoms(n), make([]float64, n)
		for i := range want {
			want[i] = float64(dst[i]) + float64(x[i])
		}
		s.b.Add(dst, x)
		s.nearVector("dst + x", dst, want, 1e-7)
	}
}

func sumSquares(s suite) {
	for _, n := range append([]int{200_001}, lengths...) {
		x, want := s.randoms(n), 0.0
		for _, v := range float64s(x) {
			want += v * v
		}
		if got := s.b.SumSquares(x); math.Abs(got-want) > 1e-12*want {
			s.Fatalf("of %d: %v, want %v", n, got, want)
		}
	}
}

// shapes are those of the calls on rows.
var shapes = [][2]int{{0, 5}, {1, 1}, {3, 17}, {50, 64}, {7, 384}, {40, 130}}

func sumRows(s suite) {
	for _, shape := range shapes {
		rows, cols := shape[0], shape[1]
		x, start := s.randoms(rows*cols), s.randoms(cols)
		want := float64s(start)
		for i, v := range x {
			want[i%cols] += float64(v)
		}
		for what, o := range map[string]compute.Operand{"dense": s.operand(rows, cols, x),
			"every other row": s.strided(s.b.DType(), rows, cols, x)} {
			sums := slices.Clone(start)
			s.b.SumRows(sums, o)
			s.nearVector(sprint(shape, what), sums, want, 1e-5)
		}
	}
}

// Fails if rounding truncates, rounds a tie up, or turns a NaN into a number or an infinity into a NaN.
func round(s suite) {
	x := []float32{0, 1, -1, 1.00390625, 1.01171875, -1.00390625, 3.4e38, float32(math.Inf(1)), float32(math.Inf(-1)), 1e-40, 3}
	for range 10000 {
		x = append(x, float32(s.rng.NormFloat64()*math.Exp(20*s.rng.NormFloat64())))
	}
	for i, v := range values(s.operand(1, len(x), x)) {
		if want := s.held(x[i]); v != want {
			s.Fatalf("%v is rounded to %v, want %v", x[i], v, want)
		}
	}
	for _, bits := range []uint32{0x7fffffff, 0xffffffff, 0x7f800001, 0x7fc00000} { // an addition carries the first two past NaN
		if v := values(s.operand(1, 1, []float32{math.Float32frombits(bits)}))[0]; v == v {
			s.Errorf("NaN %#x becomes %v", bits, v)
		}
	}
	for _, shape := range shapes {
		rows, cols := shape[0], shape[1]
		x, dst := s.randoms(rows*cols), unset(s.b.DType(), rows, cols)
		s.b.Round(dst, compute.Every(matrix(2*rows, cols, spread(x, cols)), 2))
		if !slices.Equal(values(dst), x) {
			s.Errorf("%v: every other row: not a copy", shape)
		}
	}
}

// spread returns the rows of x with a row of NaN behind each.
func spread(x []float32, cols int) (all []float32) {
	for i, v := range x {
		all = append(all, v)
		if (i+1)%cols == 0 {
			all = append(all, slices.Repeat([]float32{float32(math.NaN())}, cols)...)
		}
	}
	return all
}

func transpose(s suite) {
	for _, shape := range shapes {
		rows, cols := shape[0], shape[1]
		x, dst := s.randoms(rows*cols), unset(s.b.DType(), cols, rows)
		s.b.Transpose(dst, matrix(rows, cols, x))
		across := values(dst)
		for i, v := range x {
			if across[i%cols*rows+i/cols] != v {
				s.Fatalf("%v: element %d is not in its place", shape, i)
			}
		}
	}
}

func patches(s suite) {
	for _, shape := range []compute.ImageShape{{Images: 1, Channels: 1, Height: 1, Width: 1, Patch: 1},
		{Images: 2, Channels: 3, Height: 8, Width: 12, Patch: 4}, {Images: 3, Channels: 1, Height: 15, Width: 30, Patch: 15}} {
		side := shape.Patch
		across, size := shape.Width/side, shape.Channels*side*side
		x := s.randoms(shape.Images * shape.Channels * shape.Height * shape.Width)
		dst := unset(s.b.DType(), shape.Images*shape.Patches(), size)
		s.b.Patches(dst, x, shape)
		for i, v := range values(dst) {
			patch, at := i/size, i%size
			image, patch := patch/shape.Patches(), patch%shape.Patches()
			channel, y, x0 := at/(side*side), at/side%side, at%side
			y, x0 = y+patch/across*side, x0+patch%across*side
			if want := x[((image*shape.Channels+channel)*shape.Height+y)*shape.Width+x0]; v != want {
				s.Fatalf("%+v: element %d is %v, want %v", shape, i, v, want)
			}
		}
	}
}

// x and dx have every other row, as the class tokens of a batch have; y may be x̂'s memory without gamma.
func layerNorm(s suite) {
	const eps = 1e-6
	for _, shape := range shapes {
		rows, cols := shape[0], shape[1]
		x := s.randoms(rows * cols)
		for _, affine := range []bool{false, true} {
			gamma, beta := s.randoms(cols), s.randoms(cols)
			if !affine {
				gamma, beta = nil, nil
			}
			dy, dgamma, dbeta := s.randoms(rows*cols), s.randoms(cols), s.randoms(cols)
			wantX, wantY, wantDx := make([]float64, rows*cols), make([]float64, rows*cols), make([]float64, rows*cols)
			wantGamma, wantBeta, before := float64s(dgamma), float64s(dbeta), s.randoms(rows*cols)
			for i := range rows {
				xhat, r := normalized(x[i*cols:][:cols], eps)
				copy(wantX[i*cols:], xhat)
				g, mean, dot := make([]float64, cols), 0.0, 0.0
				for j := range cols {
					at := i*cols + j
					g[j], wantY[at] = float64(dy[at]), xhat[j]
					wantGamma[j] += g[j] * xhat[j]
					wantBeta[j] += g[j]
					if affine {
						g[j] *= float64(gamma[j])
						wantY[at] = xhat[j]*float64(gamma[j]) + float64(beta[j])
					}
					mean += g[j] / float64(cols)
					dot += g[j] * xhat[j] / float64(cols)
				}
				for j := range cols {
					wantDx[i*cols+j] = float64(before[i*cols+j]) + r*(g[j]-mean-xhat[j]*dot)
				}
			}
			xhat, y, rstd := matrixOf(unset(compute.Float32, rows, cols)), unset(s.b.DType(), rows, cols), unset(compute.Float32, 1, rows).F32
			in := compute.Every(matrix(2*rows, cols, spread(x, cols)), 2)
			s.b.LayerNorm(y, xhat, rstd, in, gamma, beta, eps)
			s.nearVector(sprint(shape, "x̂"), xhat.Data, wantX, 1e-5)
			s.near(sprint(shape, "y"), y, wantY, 1e-5)
			if !affine {
				s.b.LayerNorm(compute.F32(xhat), xhat, rstd, in, nil, nil, eps)
				s.nearVector(sprint(shape, "y in place of x̂"), xhat.Data, wantX, 1e-5)
			}
			s.b.LayerNormBackwardParams(dgamma, dbeta, s.operand(rows, cols, dy), xhat)
			s.nearVector(sprint(shape, "dgamma"), dgamma, wantGamma, 2e-5)
			s.nearVector(sprint(shape, "dbeta"), dbeta, wantBeta, 2e-5)
			if cols > 1 { // of one column, rstd is 1/√eps and multiplies rounding by a thousand
				dx := s.strided(compute.Float32, rows, cols, before)
				s.b.LayerNormBackward(matrixOf(dx), s.operand(rows, cols, dy), xhat, rstd, gamma)
				s.near(sprint(shape, "dx"), dx, wantDx, 4e-5)
				s.untouched(sprint(shape, "dx"), dx)
			}
		}
	}
}

// normalized is the twin of LayerNorm for one row.
func normalized(x []float32, eps float64) (xhat []float64, rstd float64) {
	mean, variance := 0.0, 0.0
	for _, v := range x {
		mean += float64(v) / float64(len(x))
	}
	for _, v := range x {
		variance += (float64(v) - mean) * (float64(v) - mean) / float64(len(x))
	}
	rstd = 1 / math.Sqrt(variance+eps)
	for _, v := range x {
		xhat = append(xhat, (float64(v)-mean)*rstd)
	}
	return xhat, rstd
}

// Moments and parameters of many steps. Fails if 1 − β is computed in float32: v is then off by 1e-5 at β₂ = 0.999 and by 1e-3 at
// 0.99999; or if β itself is rounded to it, which shows once a moment has settled.
func optimizers(s suite) {
	const n, steps = 37, 3000
	start, grads := s.randoms(n), s.randoms(n*steps)
	for _, beta := range []float64{0, 0.95, 0.999, 0.99999} {
		a := compute.AdamWStep{LR: 1e-4, Beta1: min(beta, 0.999), Beta2: beta, Eps: 1e-3, Decay: 0.1, Clip: 0.5}
		p, m, v := slices.Clone(start), make([]float32, n), make([]float32, n)
		p64, m64, v64 := float64s(start), make([]float64, n), make([]float64, n)
		d := compute.SGDStep{LR: 1e-4, Momentum: min(beta, 0.999), Decay: 1e-3, Clip: 0.5}
		q, buf := slices.Clone(start), make([]float32, n)
		q64, buf64 := float64s(start), make([]float64, n)
		mom, mom64, next := make([]float32, n), make([]float64, n), make([]float64, n)
		var looking []float32
		for a.T = 1; a.T <= steps; a.T++ {
			grad := grads[(a.T-1)*n : a.T*n]
			s.b.AdamW(p, m, v, grad, a)
			s.b.SGD(q, buf, grad, d)
			looking = slices.Clone(grad)
			s.b.Nesterov(mom, looking, d.Momentum, d.Clip)
			c1, c2 := 1-math.Pow(a.Beta1, float64(a.T)), 1-math.Pow(a.Beta2, float64(a.T))
			for i, g := range float64s(grad) {
				g *= a.Clip
				m64[i] = a.Beta1*m64[i] + (1-a.Beta1)*g
				v64[i] = a.Beta2*v64[i] + (1-a.Beta2)*g*g
				p64[i] -= a.LR*a.Decay*p64[i] + a.LR/c1*m64[i]/(math.Sqrt(v64[i]/c2)+a.Eps)
				buf64[i] = d.Momentum*buf64[i] + g + d.Decay*q64[i]
				q64[i] -= d.LR * buf64[i]
				mom64[i] = d.Momentum*mom64[i] + g
				next[i] = g + d.Momentum*mom64[i]
			}
		}
		for _, c := range []struct {
			what string
			got  []float32
			want []float64
			tol  float64 // of the largest value
		}{{"AdamW's m", m, m64, 3e-6}, {"AdamW's v", v, v64, 3e-6}, {"AdamW's p", p, p64, 5e-6},
			{"SGD's buffer", buf, buf64, 3e-6}, {"SGD's p", q, q64, 5e-6},
			{"Nesterov's momentum", mom, mom64, 3e-5}, {"Nesterov's gradient", looking, next, 3e-5}} {
			size, worst := 0.0, 0.0
			for i, w := range c.want {
				size, worst = max(size, math.Abs(w)), max(worst, math.Abs(float64(c.got[i])-w))
			}
			if !(worst <= c.tol*size) {
				s.Errorf("β = %v: %s is off by %.2g of its largest value, more than %g", beta, c.what, worst/size, c.tol)
			}
		}
	}
	s.b.AdamW(nil, nil, nil, nil, compute.AdamWStep{T: 1})
	s.b.SGD(nil, nil, nil, compute.SGDStep{})
	s.b.Nesterov(nil, nil, 0.9, 1)
}

// Every kernel between the input and the loss propagates NaN: the program stops on a non-finite loss, and can only if it sees one. Fails
// if a kernel is compiled with finite-math-only.
func nan(s suite) {
	x := make([]float32, 40)
	x[3] = float32(math.NaN())
	y, dydx := compute.NewOperand(s.b.DType(), 1, 40), compute.NewOperand(s.b.DType(), 1, 40)
	seen := func(kernel string, o compute.Operand, at int) {
		s.Helper()
		if v := values(o)[at]; v == v {
			s.Errorf("%s hides a NaN", kernel)
		}
	}
	s.b.GELU(y, dydx, s.operand(1, 40, x))
	seen("GELU", y, 3)
	s.b.LayerNorm(y, matrix(1, 40, make([]float32, 40)), make([]float32, 1), matrix(1, 40, x), nil, nil, 1e-6)
	seen("LayerNorm", y, 3)
	shape := compute.AttentionShape{Batch: 1, Tokens: 3, Queries: 3, Heads: 1, Dim: 4}
	out := compute.NewOperand(s.b.DType(), 1, shape.Len())
	qkv := make([]float32, 3*shape.Len())
	qkv[0] = x[3]
	s.b.Attention(out, make([]float32, shape.Probs()), s.operand(1, len(qkv), qkv), shape)
	seen("Attention", out, 0)
}

// Misuse panics with a constant that names the package.
func misuse(s suite) {
	d := s.b.DType()
	wide := compute.NewOperand(d, 2, 2)
	wide.Stride = 3
	for want, call := range map[string]func(){
		"compute: slices of unequal length": func() { s.b.Add(make([]float32, 2), make([]float32, 3)) },
		"compute: matrix shapes do not fit": func() {
			s.b.Gemm(blas.NoTrans, blas.NoTrans, 1, compute.NewOperand(d, 2, 3), compute.NewOperand(d, 2, 3), 0,
				compute.NewOperand(compute.Float32, 2, 3))
		},
		"compute: matrix is not of its stride": func() { s.b.SumRows(make([]float32, 2), wide) },
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					s.Errorf("recovered %v, want %q", got, want)
				}
			}()
			call()
		}()
	}
}
