// Package nntest holds what the tests of layers, adapters, models and training share: back ends, and float64 comparisons.
package nntest

import (
	"math"
	"math/rand/v2"
	"testing"

	"lte/compute"
)

// Backends runs f on every back end of this build; "onednn" is skipped, and seen to be, where it was not built.
func Backends(t *testing.T, f func(t *testing.T, b compute.Backend)) {
	for _, name := range []string{"onednn", "gonum"} {
		t.Run(name, func(t *testing.T) {
			b, err := compute.New(name, 1, compute.Float32)
			if err != nil {
				t.Skip(err)
			}
			f(t, b)
		})
	}
}

// Source returns a random source of that seed.
func Source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// Near fails unless got differs from want by at most tol of want's largest value: everywhere, and NaN nowhere. It
// returns that difference.
func Near[T float32 | float64](t *testing.T, what string, got []T, want []float64, tol float64) float64 {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	size, worst, at := 0.0, 0.0, 0
	for _, w := range want {
		size = max(size, math.Abs(w))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= worst) {
			worst, at = d, i
		}
	}
	if !(worst <= tol*size) {
		t.Errorf("%s[%d] = %v, want %v: off by %.2g of the largest value, more than %g", what, at, got[at], want[at],
			worst/size, tol)
	}
	if size == 0 {
		return 0
	}
	return worst / size
}

// Wide returns x in float64.
func Wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// Entropy is −Σ_c q_c·log p_c of one row of logits, with log p_c = −log Σ_j exp(z_j − z_c).
func Entropy(z []float64, label int, smoothing float64) float64 {
	loss := 0.0
	for c := range z {
		sum, q := 0.0, smoothing/float64(len(z))
		for j := range z {
			sum += math.Exp(z[j] - z[c])
		}
		if c == label {
			q += 1 - smoothing
		}
		loss += q * math.Log(sum)
	}
	return loss
}

// Differences are the central difference quotients of f by every element of x.
func Differences(x []float64, h float64, f func() float64) []float64 {
	d := make([]float64, len(x))
	for i, was := range x {
		x[i] = was + h
		up := f()
		x[i] = was - h
		d[i] = (up - f()) / (2 * h)
		x[i] = was
	}
	return d
}
