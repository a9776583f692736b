package nn

import (
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack/lapack64"
)

// Uniform draws x from U(±bound).
func Uniform(x []float32, bound float64, rng *rand.Rand) {
	for i := range x {
		x[i] = float32((2*rng.Float64() - 1) * bound)
	}
}

// XavierUniform draws W from U(±√(6/(in + out))).
func XavierUniform(l *Linear, rng *rand.Rand) {
	l.W.Update(func(x []float32) { Uniform(x, math.Sqrt(6/float64(l.W.Rows+l.W.Cols)), rng) })
}

// Normal draws x from N(0, σ²).
func Normal(x []float32, sigma float64, rng *rand.Rand) {
	for i := range x {
		x[i] = float32(rng.NormFloat64() * sigma)
	}
}

// TruncatedNormal draws x from N(0, σ²), values beyond ±cut again.
func TruncatedNormal(x []float32, sigma, cut float64, rng *rand.Rand) {
	for i := range x {
		z := math.Inf(1)
		for math.Abs(z) > cut {
			z = rng.NormFloat64() * sigma
		}
		x[i] = float32(z)
	}
}

// Orthogonal fills a with a random semi-orthogonal matrix times gain: the Q of a tall normal matrix, its signs fixed
// by R's diagonal so that the distribution is Haar's (Mezzadri 2007), transposed where a is wide.
func Orthogonal(a blas32.General, gain float64, rng *rand.Rand) {
	rows, cols := max(a.Rows, a.Cols), min(a.Rows, a.Cols)
	q := blas64.General{Rows: rows, Cols: cols, Stride: cols, Data: make([]float64, rows*cols)}
	for i := range q.Data {
		q.Data[i] = rng.NormFloat64()
	}
	tau := make([]float64, cols)
	work := make([]float64, 1)
	lapack64.Geqrf(q, tau, work, -1)
	work = make([]float64, int(work[0]))
	lapack64.Geqrf(q, tau, work, len(work))
	sign := make([]float64, cols)
	for j := range sign {
		sign[j] = math.Copysign(gain, q.Data[j*cols+j])
	}
	lapack64.Orgqr(q, tau, work, len(work))
	for i := range a.Rows {
		for j := range a.Cols {
			row, col := i, j // of Q
			if a.Rows < a.Cols {
				row, col = j, i
			}
			a.Data[i*a.Cols+j] = float32(sign[col] * q.Data[row*cols+col])
		}
	}
}
