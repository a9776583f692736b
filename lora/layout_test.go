package lora

import (
	"fmt"
	"testing"

	"lte/compute"
	"lte/nn/nntest"
)

// Fails when AAᵀ = (n/r)·I (r ≤ n) or AᵀA = (n/r)·I (r > n) does not hold, and when R's signs are not taken out of Q:
// Householder's Q then has one sign in its corner, so that A is not uniform among such matrices. 64 fair coins fall
// on one side 12 to 52 times but for a probability of 1e-6.
func TestOrthogonal(t *testing.T) {
	for _, s := range [][2]int{{1, 1}, {1, 7}, {4, 4}, {3, 48}, {16, 40}, {9, 4}} {
		r, n := s[0], s[1]
		positive := 0
		for seed := range uint64(64) {
			a := compute.Heap(compute.Float32).Matrix(r, n)
			initA(a, "orthogonal", nntest.Source(seed))
			side, other := r, n
			at := func(i, k int) float64 { return float64(a.Data[i*n+k]) }
			if r > n {
				side, other = n, r
				at = func(i, k int) float64 { return float64(a.Data[k*n+i]) }
			}
			var got, want []float64
			for i := range side {
				for j := range side {
					sum, eye := 0.0, 0.0
					for k := range other {
						sum += at(i, k) * at(j, k)
					}
					if i == j {
						eye = float64(n) / float64(r)
					}
					got, want = append(got, sum), append(want, eye)
				}
			}
			nntest.Near(t, fmt.Sprintf("product of A (%d×%d)", r, n), got, want, 1e-6)
			if a.Data[0] > 0 {
				positive++
			}
		}
		if positive < 12 || positive > 52 {
			t.Errorf("A (%d×%d) begins with a positive number %d times of 64", r, n, positive)
		}
	}
}
