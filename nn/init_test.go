package nn

import (
	"math"
	"testing"

	"lte/nn/nntest"
)

// Fails when the cut at ±2 is missing, or clamps where it should draw again: a standard normal cut there has the
// deviation 0.8796 (1 − 4φ(2)/(2Φ(2) − 1)), a clamped one 0.96.
func TestTruncatedNormal(t *testing.T) {
	x := make([]float32, 100_000)
	TruncatedNormal(x, 1, 2, nntest.Source(1))
	squares := 0.0
	for _, v := range nntest.Wide(x) {
		if math.Abs(v) > 2 {
			t.Fatalf("%v lies beyond the cut", v)
		}
		squares += v * v
	}
	if got := math.Sqrt(squares / float64(len(x))); math.Abs(got-0.8796) > 0.008 { // five standard errors
		t.Errorf("deviation %v, want 0.8796", got)
	}
}
