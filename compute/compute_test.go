package compute

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/blas"
)

// backends is every back end and instruction set that this machine runs: one table of cases holds them all.
func backends(t *testing.T) map[string]Backend {
	all := everyISA(1, Float32)
	if all == nil {
		all = map[string]Backend{}
	}
	var err error
	if all["gonum"], err = newGonum(1, Float32); err != nil {
		t.Fatal(err)
	}
	for name, b := range everyISA(2, Float32) {
		all[name+"/2 threads"] = b
	}
	return all
}

func randoms(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// near fails unless |got − want| ≤ tol·(1 + |want|) everywhere.
func wide64(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func near(t *testing.T, what string, got []float32, want []float64, tol float64) {
	t.Helper()
	for i := range want {
		if !(math.Abs(float64(got[i])-want[i]) <= tol*(1+math.Abs(want[i]))) {
			t.Fatalf("%s[%d] = %v, want %v (tolerance %g)", what, i, got[i], want[i], tol)
		}
	}
}

// The twins are written from the equations at Backend, in float64 and without any of the kernels' helpers.

// productTwin is alpha·op(x)·op(y) + beta·c, and the largest Σ|x·y| of an element, at least 1, which rounding is relative
// to.
func productTwin(tA, tB blas.Transpose, alpha float64, x, y []float32, beta float64, c []float32, m, n, k int) (want []float64, size float64) {
	want, size = make([]float64, m*n), 1
	for i := range m {
		for j := range n {
			sum, abs := 0.0, 0.0
			for l := range k {
				xi, yi := i*k+l, l*n+j
				if tA == blas.Trans {
					xi = l*m + i
				}
				if tB == blas.Trans {
					yi = j*k + l
				}
				sum += float64(x[xi]) * float64(y[yi])
				abs += math.Abs(float64(x[xi]) * float64(y[yi]))
			}
			want[i*n+j], size = alpha*sum+beta*float64(c[i*n+j]), max(size, abs)
		}
	}
	return want, size
}

func TestGemm(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for name, b := range backends(t) {
		for _, s := range [][3]int{{1, 1, 1}, {3, 5, 2}, {17, 33, 9}, {64, 48, 100}, {130, 65, 300}} {
			m, n, k := s[0], s[1], s[2]
			for _, tA := range []blas.Transpose{blas.NoTrans, blas.Trans} {
				for _, tB := range []blas.Transpose{blas.NoTrans, blas.Trans} {
					for _, beta := range []float32{0, 1} {
						x, y, c := randoms(r, m*k), randoms(r, k*n), randoms(r, m*n)
						want, size := productTwin(tA, tB, 0.7, x, y, float64(beta), c, m, n, k)
						if beta == 0 {
							c[0] = float32(math.NaN()) // not to be read
						}
						a, bm := Matrix(m, k, x), Matrix(k, n, y)
						if tA == blas.Trans {
							a = Matrix(k, m, x)
						}
						if tB == blas.Trans {
							bm = Matrix(n, k, y)
						}
						b.Gemm(tA, tB, 0.7, F32(a), F32(bm), beta, F32(Matrix(m, n, c)))
						near(t, fmt.Sprintf("%s %v %c%c beta %v", name, s, tA, tB, beta), c, want, size*0x1p-22)
					}
				}
			}
		}
	}
}

// dst may be c's memory, or another's.
func TestAddProduct(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	for name, b := range backends(t) {
		for _, s := range [][3]int{{1, 1, 1}, {3, 5, 2}, {11, 33, 9}, {64, 300, 40}, {25, 257, 130}} {
			m, n, k := s[0], s[1], s[2]
			x, y, c := Matrix(m, k, randoms(r, m*k)), Matrix(k, n, randoms(r, k*n)), Matrix(m, n, randoms(r, m*n))
			want, size := make([]float64, m*n), 1.0
			for i := range want {
				sum, abs := float64(c.Data[i]), math.Abs(float64(c.Data[i]))
				for l := range k {
					p := 0.7 * float64(x.Data[i/n*k+l]) * float64(y.Data[l*n+i%n])
					sum, abs = sum+p, abs+math.Abs(p)
				}
				want[i], size = sum, max(size, abs)
			}
			dst := NewMatrix(m, n)
			b.AddProduct(F32(dst), c, 0.7, x, y)
			near(t, fmt.Sprint(name, s), dst.Data, want, size*0x1p-22)
			b.AddProduct(F32(c), c, 0.7, x, y)
			near(t, fmt.Sprint(name, s, " in place"), c.Data, want, size*0x1p-22)
		}
	}
}

// Linear is x·wᵀ + bias, beside what y holds or instead of it; y's rows may lie apart.
func TestAffine(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for name, b := range backends(t) {
		for _, s := range [][3]int{{1, 1, 1}, {3, 5, 2}, {17, 33, 9}, {40, 64, 70}, {40, 64, 96}, {455, 96, 32}} {
			m, n, k := s[0], s[1], s[2]
			for _, beta := range []float32{0, 1} {
				x, w, bias, y := randoms(r, m*k), randoms(r, n*k), randoms(r, n), randoms(r, 2*m*n)
				want, size := make([]float64, 2*m*n), 1.0
				for i := range want {
					want[i] = float64(y[i])
					if i/n%2 == 1 {
						continue
					}
					sum := float64(beta)*want[i] + float64(bias[i%n])
					abs := math.Abs(sum)
					for l := range k {
						p := float64(x[i/n/2*k+l]) * float64(w[i%n*k+l])
						sum, abs = sum+p, abs+math.Abs(p)
					}
					want[i], size = sum, max(size, abs)
				}
				b.Linear(F32(Every(Matrix(2*m, n, y), 2)), F32(Matrix(m, k, x)), F32(Matrix(n, k, w)), bias, beta)
				near(t, fmt.Sprint(name, s, beta), y, want, size*0x1p-22)
			}
		}
	}
}

// LinearBackwardInput is dy·w; its rows, and dy's, may lie apart.
func TestAffineInput(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for name, b := range backends(t) {
		for _, s := range [][3]int{{1, 1, 1}, {17, 33, 9}, {40, 64, 96}, {455, 96, 32}} {
			m, n, k := s[0], s[1], s[2]
			dy, w, dx := randoms(r, 2*m*k), randoms(r, k*n), randoms(r, 2*m*n)
			before := slices.Clone(dx)
			b.LinearBackwardInput(F32(Every(Matrix(2*m, n, dx), 2)), F32(Every(Matrix(2*m, k, dy), 2)), F32(Matrix(k, n, w)))
			x := make([]float32, 0, m*k)
			for i := range m {
				x = append(x, dy[2*i*k:][:k]...)
			}
			want, size := productTwin(blas.NoTrans, blas.NoTrans, 1, x, w, 0, make([]float32, m*n), m, n, k)
			for i := range m {
				what := fmt.Sprint(name, s, " row ", i)
				near(t, what, dx[2*i*n:][:n], want[i*n:][:n], size*0x1p-22)
				if between := dx[(2*i+1)*n:][:n]; !slices.Equal(between, before[(2*i+1)*n:][:n]) {
					t.Fatalf("%s: what lies behind it is written to", what)
				}
			}
		}
	}
}

func TestElementwise(t *testing.T) {
	for name, b := range backends(t) {
		for _, n := range []int{1, 15, 16, 17, 4096, 10001} {
			x, dy := make([]float32, n), randoms(rand.New(rand.NewPCG(2, 2)), n)
			for i := range x {
				x[i] = 12 * (float32(i)/float32(n) - 0.5) // −6 to 6
			}
			y, want := make([]float32, n), make([]float64, n)
			dydx := slices.Clone(x)
			b.GELU(F32(Matrix(1, n, y)), F32(Matrix(1, n, dydx)), F32(Matrix(1, n, dydx)))
			for i, v := range x {
				want[i] = float64(v) * 0.5 * math.Erfc(-float64(v)/math.Sqrt2)
			}
			near(t, name+" GELU", y, want, 1e-6) // 1 + erf cancels: an error of a few ulp of 1, times |x| ≤ 6

			b.Multiply(F32(Matrix(1, n, y)), F32(Matrix(1, n, dy)), F32(Matrix(1, n, dydx)))
			for i, v := range x {
				z := float64(v)
				want[i] = float64(dy[i]) * (0.5*math.Erfc(-z/math.Sqrt2) + z*math.Exp(-z*z/2)/math.Sqrt(2*math.Pi))
			}
			near(t, name+" GELU's derivative", y, want, 2e-6)

			b.Add(y, x)
			sum := 0.0
			for i := range want {
				want[i] += float64(x[i])
				sum += float64(y[i]) * float64(y[i])
			}
			near(t, name+" Add", y, want, 2e-6)
			if got := b.SumSquares(y); math.Abs(got-sum) > 1e-12*sum {
				t.Fatalf("%s SumSquares = %v, want %v", name, got, sum)
			}
		}
	}
}

// Moments and parameters of many steps, against the equations in float64. Fails if 1 − β is formed in float32: v is then off by 1e-5
// at β₂ = 0.999 and by 1e-3 at 0.99999; or if β itself is rounded to it, which shows once a moment has settled.
func TestOptimizersAsInFloat64(t *testing.T) {
	const n, steps = 37, 3000
	r := rand.New(rand.NewPCG(4, 4))
	start, grads := randoms(r, n), randoms(r, n*steps)
	for name, b := range backends(t) {
		for _, beta := range []float64{0, 0.95, 0.999, 0.99999} {
			s := AdamWStep{LR: 1e-4, Beta1: min(beta, 0.999), Beta2: beta, Eps: 1e-3, Decay: 0.1, Clip: 0.5}
			p, m, v := slices.Clone(start), make([]float32, n), make([]float32, n)
			p64, m64, v64 := wide64(start), make([]float64, n), make([]float64, n)
			d := SGDStep{LR: 1e-4, Momentum: min(beta, 0.999), Decay: 1e-3, Clip: 0.5}
			q, buf := slices.Clone(start), make([]float32, n)
			q64, buf64 := wide64(start), make([]float64, n)
			for s.T = 1; s.T <= steps; s.T++ {
				grad := grads[(s.T-1)*n : s.T*n]
				b.AdamW(p, m, v, grad, s)
				b.SGD(q, buf, grad, d)
				c1, c2 := 1-math.Pow(s.Beta1, float64(s.T)), 1-math.Pow(s.Beta2, float64(s.T))
				for i, g := range wide64(grad) {
					g *= s.Clip
					m64[i] = s.Beta1*m64[i] + (1-s.Beta1)*g
					v64[i] = s.Beta2*v64[i] + (1-s.Beta2)*g*g
					p64[i] -= s.LR*s.Decay*p64[i] + s.LR/c1*m64[i]/(math.Sqrt(v64[i]/c2)+s.Eps)
					buf64[i] = d.Momentum*buf64[i] + g + d.Decay*q64[i]
					q64[i] -= d.LR * buf64[i]
				}
			}
			for _, c := range []struct {
				what string
				got  []float32
				want []float64
				tol  float64 // of the largest value
			}{{"m", m, m64, 3e-6}, {"v", v, v64, 3e-6}, {"AdamW's p", p, p64, 5e-6}, {"SGD's buffer", buf, buf64, 3e-6}, {"SGD's p", q, q64, 5e-6}} {
				size, worst := 0.0, 0.0
				for i, w := range c.want {
					size, worst = max(size, math.Abs(w)), max(worst, math.Abs(float64(c.got[i])-w))
				}
				if !(worst <= c.tol*size) {
					t.Errorf("%s, β = %v: %s is off by %.2g of its largest value, more than %g", name, beta, c.what, worst/size, c.tol)
				}
			}
		}
	}
}

// A NaN must come out of every kernel that a loss passes: the program stops on a non-finite loss, and can only if it
// sees one. Fails when a kernel is compiled with finite-math-only.
func TestNaNGoesThrough(t *testing.T) {
	nan := float32(math.NaN())
	s := AttentionShape{Batch: 1, Tokens: 3, Queries: 3, Heads: 1, Dim: 4}
	for name, b := range backends(t) {
		y, rstd := make([]float32, 40), make([]float32, 1)
		x := make([]float32, 40)
		x[3] = nan
		b.GELU(F32(Matrix(1, 40, y)), F32(NewMatrix(1, 40)), F32(Matrix(1, 40, x)))
		if y[3] == y[3] {
			t.Errorf("%s: GELU hides a NaN", name)
		}
		b.LayerNorm(F32(Matrix(1, 40, y)), Matrix(1, 40, y), rstd, Matrix(1, 40, x), nil, nil, 1e-6)
		if y[3] == y[3] {
			t.Errorf("%s: LayerNorm hides a NaN", name)
		}
		out, probs, qkv := make([]float32, 12), make([]float32, s.Probs()), make([]float32, 36)
		qkv[0] = nan
		b.Attention(F32(Matrix(1, len(out), out)), probs, F32(Matrix(1, len(qkv), qkv)), s)
		if out[0] == out[0] {
			t.Errorf("%s: Attention hides a NaN", name)
		}
	}
}

func TestRows(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for name, b := range backends(t) {
		for _, s := range [][2]int{{1, 1}, {3, 17}, {50, 64}, {7, 384}, {40, 130}} {
			rows, cols := s[0], s[1]
			x, sums := randoms(r, rows*cols), randoms(r, cols)
			want, wantSums := make([]float64, rows*cols), make([]float64, cols)
			for j := range cols {
				wantSums[j] = float64(sums[j])
				for i := range rows {
					wantSums[j] += float64(x[i*cols+j])
				}
			}
			b.SumRows(sums, F32(Matrix(rows, cols, x)))
			across := NewMatrix(cols, rows)
			b.Transpose(F32(across), Matrix(rows, cols, x))
			for i, v := range x {
				if across.Data[i%cols*rows+i/cols] != v {
					t.Fatalf("%s Transpose %d×%d: number %d is elsewhere", name, rows, cols, i)
				}
			}
			near(t, name+" SumRows", sums, wantSums, 1e-5)

			// x and dx lie two rows apart, as the class tokens of a batch do.
			wide, dx := make([]float32, 2*rows*cols), randoms(r, 2*rows*cols)
			for i := range rows {
				copy(wide[2*i*cols:], x[i*cols:(i+1)*cols])
			}
			for _, affine := range []bool{false, true} {
				gamma, beta := randoms(r, cols), randoms(r, cols)
				if !affine {
					gamma, beta = nil, nil
				}
				xhat, y, rstd := make([]float32, rows*cols), make([]float32, rows*cols), make([]float32, rows)
				out, h := F32(Matrix(rows, cols, y)), Matrix(rows, cols, xhat)
				b.LayerNorm(out, h, rstd, Every(Matrix(2*rows, cols, wide), 2), gamma, beta, 1e-6)
				dy, before := randoms(r, rows*cols), slices.Clone(dx)
				wantDx, wantY := make([]float64, 2*rows*cols), make([]float64, rows*cols)
				dgamma, dbeta := randoms(r, cols), randoms(r, cols)
				wantGamma, wantBeta := make([]float64, cols), make([]float64, cols)
				for j := range cols {
					wantGamma[j], wantBeta[j] = float64(dgamma[j]), float64(dbeta[j])
				}
				for i := range wantDx {
					wantDx[i] = float64(dx[i])
				}
				for i := range rows {
					twin, r64 := normalizeTwin(x[i*cols : (i+1)*cols])
					copy(want[i*cols:], twin)
					mean, dot := 0.0, 0.0
					g := make([]float64, cols)
					for j := range cols {
						at := i*cols + j
						g[j], wantY[at] = float64(dy[at]), twin[j]
						wantGamma[j] += g[j] * twin[j]
						wantBeta[j] += g[j]
						if affine {
							g[j] *= float64(gamma[j])
							wantY[at] = twin[j]*float64(gamma[j]) + float64(beta[j])
						}
						mean += g[j] / float64(cols)
						dot += g[j] * twin[j] / float64(cols)
					}
					for j := range cols {
						wantDx[2*i*cols+j] += r64 * (g[j] - mean - twin[j]*dot)
					}
				}
				near(t, name+" LayerNorm x̂", xhat, want, 1e-5)
				near(t, name+" LayerNorm y", y, wantY, 1e-5)
				b.LayerNormBackwardParams(dgamma, dbeta, F32(Matrix(rows, cols, dy)), h)
				near(t, name+" LayerNormBackwardParams γ", dgamma, wantGamma, 2e-5)
				near(t, name+" LayerNormBackwardParams β", dbeta, wantBeta, 2e-5)
				if cols > 1 { // of one column, rstd is 1/√eps and multiplies rounding by a thousand
					b.LayerNormBackward(Every(Matrix(2*rows, cols, dx), 2), F32(Matrix(rows, cols, dy)), h, rstd, gamma)
					near(t, name+" LayerNormBackward", dx, wantDx, 4e-5)
					for i := range rows {
						if !slices.Equal(dx[(2*i+1)*cols:(2*i+2)*cols], before[(2*i+1)*cols:(2*i+2)*cols]) {
							t.Fatalf("%s LayerNormBackward wrote between the rows", name)
						}
					}
				}
			}
		}
	}
}

func normalizeTwin(x []float32) (xhat []float64, rstd float64) {
	mean, variance := 0.0, 0.0
	for _, v := range x {
		mean += float64(v) / float64(len(x))
	}
	for _, v := range x {
		variance += (float64(v) - mean) * (float64(v) - mean) / float64(len(x))
	}
	rstd = 1 / math.Sqrt(variance+1e-6)
	for _, v := range x {
		xhat = append(xhat, (float64(v)-mean)*rstd)
	}
	return xhat, rstd
}

// A kernel's bits do not depend on the number of threads (threads share out rows, never a sum).
func TestThreadsKeepBits(t *testing.T) {
	one, two := everyISA(1, Float32), everyISA(3, Float32)
	r := rand.New(rand.NewPCG(5, 5))
	const rows, cols = 300, 70
	x, dy := Matrix(rows, cols, randoms(r, rows*cols)), Matrix(rows, cols, randoms(r, rows*cols))
	s := AttentionShape{Batch: 10, Tokens: 30, Queries: 30, Heads: 2, Dim: 10}
	qkv, dout := randoms(r, 3*10*30*20), randoms(r, 10*30*20)
	long := randoms(r, rows*1030)
	run := func(b Backend) (all []float32) {
		y, rstd, sums := NewMatrix(rows, cols), make([]float32, rows), make([]float32, cols)
		d := slices.Clone(x.Data)
		b.GELU(F32(y), F32(Matrix(rows, cols, d)), F32(Matrix(rows, cols, d)))
		b.Multiply(F32(y), F32(y), F32(Matrix(rows, cols, d)))
		all = append(all, y.Data...)
		all = append(all, float32(b.SumSquares(y.Data)))
		b.LayerNorm(F32(y), y, rstd, x, nil, nil, 1e-6)
		b.SumRows(sums, F32(y))
		b.LayerNormBackwardParams(sums, sums[:cols:cols], F32(dy), y)
		b.LayerNormBackward(y, F32(dy), x, rstd, nil)
		all = append(append(append(all, y.Data...), rstd...), sums...)
		out, probs, dqkv := make([]float32, len(dout)), make([]float32, s.Probs()), make([]float32, len(qkv))
		b.Attention(F32(Matrix(1, len(out), out)), probs, F32(Matrix(1, len(qkv), qkv)), s)
		b.AttentionBackward(F32(Matrix(1, len(dqkv), dqkv)), F32(Matrix(1, len(dout), dout)), probs, F32(Matrix(1, len(qkv), qkv)), s)
		all = append(append(all, out...), dqkv...)
		// The merge of ranks with unequal threads: an inner side at which a product's bits do depend on them.
		w := NewMatrix(rows, 100)
		b.AddProduct(F32(w), w, 0.5, Matrix(rows, 1030, long[:rows*1030]), Matrix(1030, 100, long[:1030*100]))
		return append(all, w.Data...)
	}
	for name := range one {
		a, b := run(one[name]), run(two[name])
		for i := range a {
			if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
				t.Fatalf("%s: number %d is %v with one thread and %v with three", name, i, a[i], b[i])
			}
		}
	}
}

// Misuse panics with this package's constant, and names it.
func TestMisusePanics(t *testing.T) {
	for what, f := range map[string]func(b Backend){
		errLength: func(b Backend) { b.Add(make([]float32, 2), make([]float32, 3)) },
		errShape: func(b Backend) {
			b.Gemm(blas.NoTrans, blas.NoTrans, 1, NewOperand(Float32, 2, 3), NewOperand(Float32, 2, 3), 0, NewOperand(Float32, 2, 3))
		},
		errStride: func(b Backend) {
			b.SumRows(make([]float32, 2), Operand{Rows: 2, Cols: 2, Stride: 3, F32: make([]float32, 4)})
		},
	} {
		for name, b := range backends(t) {
			func() {
				defer func() {
					if got := recover(); got != what {
						t.Errorf("%s: recovered %v, want %q", name, got, what)
					}
				}()
				f(b)
			}()
		}
	}
}
