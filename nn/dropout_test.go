package nn

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lte/compute"
	"lte/nn/nntest"
)

// Fails when a mask's rate or mean strays, in either precision, by more than five standard errors; when it holds anything
// but 0 and one scale; or when neighbouring numbers, of one word or of two, fall together.
func TestMasks(t *testing.T) {
	const n = 400_000
	for _, d := range []compute.DType{compute.Float32, compute.BFloat16} {
		for _, rate := range []float64{0.001, 0.1, 0.3, 0.5, 0.9} {
			mask := compute.NewOperand(d, n/4, 4)
			NewNoise(rand.NewPCG(40, 1)).fill(mask, newOdds(rate, d))
			x := nntest.Widen(mask).F32
			scale, dropped, sum, pairs := slices.Max(x), 0.0, 0.0, 0.0
			for i, v := range x {
				if v != 0 && v != scale {
					t.Fatalf("%s, rate %v: %v and %v in one mask", d, rate, v, scale)
				}
				sum += float64(v)
				if v == 0 {
					dropped++
					if i > 0 && x[i-1] == 0 {
						pairs++
					}
				}
			}
			off := 5 * math.Sqrt(rate*(1-rate)/n)
			precision := 0x1p-16
			if d == compute.BFloat16 {
				precision = 0x1p-8 // of 1 − rate, by the scale's rounding
			}
			if got := dropped / n; !(math.Abs(got-rate) <= off+precision*(1-rate)) {
				t.Errorf("%s: rate %v, want %v ± %v", d, got, rate, off)
			}
			// 1's share of the deviation is that of the number kept, times the scale.
			if mean := sum / n; !(math.Abs(mean-1) <= off/(1-rate)+0x1p-16*float64(scale)) {
				t.Errorf("%s, rate %v: mean %v, want 1 ± %v", d, rate, mean, off/(1-rate))
			}
			p := dropped / n
			if got, by := pairs/n, 5*math.Sqrt(p*p*(1+2*p)/n); !(math.Abs(got-p*p) <= by) {
				t.Errorf("%s, rate %v: pairs %v, want %v ± %v", d, rate, got, p*p, by)
			}
		}
	}
}

// Fails when dropout without rates has memory for masks.
func TestNoRatesAllocateNothing(t *testing.T) {
	nntest.Backends(t, func(t *testing.T, b compute.Backend) {
		d := NewDropout(0, 0, b)
		alloc := compute.Heap(b.DType())
		d.Allocate(alloc, 2, 2, 2)
		if d.branch.Data != nil || d.mask.Cols > 0 || d.NewMask(alloc, 2, 2).Cols > 0 {
			t.Error("there is memory for masks")
		}
	})
}
