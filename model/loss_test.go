package model

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// Fails when the loss is not −Σ q·log softmax (of a mean where it should be a sum, say), overflows at large logits, or
// when its gradient is not the mean's derivative, or the right ones are counted wrong. Loss: float64 throughout, so it
// strays by a few of its roundings, 1e-13 of it. Gradient: float32 rounds numbers below 1 by 6e-8, and the quotient
// errs by 2e-16·160/1e-5 = 3e-9 where logits are ±80.
func TestCrossEntropy(t *testing.T) {
	for _, size := range []float64{1, 10, 80} {
		for _, smoothing := range []float64{0, 0.1, 1} {
			for _, batch := range []int{1, 4} {
				t.Run(fmt.Sprintf("logits to ±%v, smoothing %v, batch %d", size, smoothing, batch), func(t *testing.T) {
					const classes = 5
					logits, rng := make([]float32, batch*classes), source(uint64(batch))
					uniform(logits, size, rng)
					logits[0], logits[1] = float32(size), float32(-size)
					var labels []int
					for range batch {
						labels = append(labels, rng.IntN(classes))
					}
					z := wide(logits)
					sum := func() (loss float64) {
						for i, label := range labels {
							loss += entropy(z[i*classes:][:classes], label, smoothing)
						}
						return loss
					}
					rightOnes := 0
					for i, label := range labels {
						if row := logits[i*classes:][:classes]; row[label] == slices.Max(row) {
							rightOnes++
						}
					}
					dlogits := make([]float32, len(logits))
					for i := range dlogits {
						dlogits[i] = 9 // to be overwritten
					}
					loss, right := CrossEntropy(dlogits, logits, labels, smoothing)
					near(t, "loss", []float64{loss}, []float64{sum()}, 1e-13)
					if right != rightOnes {
						t.Errorf("%d right, want %d", right, rightOnes)
					}
					want := differences(z, 1e-5, func() float64 { return sum() / float64(batch) })
					for i := range want {
						if !(math.Abs(float64(dlogits[i])-want[i]) <= 7e-8) {
							t.Errorf("gradient[%d] = %v, want %v", i, dlogits[i], want[i])
						}
					}
					if again, _ := CrossEntropy(nil, logits, labels, smoothing); again != loss {
						t.Errorf("without a gradient the loss is %v, with it %v", again, loss)
					}
				})
			}
		}
	}
}

// Fails when the count of right ones is not that of labels with the largest logit, or an empty batch is not 0.
func TestCrossEntropyRight(t *testing.T) {
	logits := []float32{1, 3, 2, -1, -5, -2, 0, 0, 7}
	for _, test := range []struct {
		labels []int
		right  int
	}{{[]int{1, 0, 2}, 3}, {[]int{1, 1, 2}, 2}, {[]int{0, 2, 1}, 0}, {[]int{2, 0, 0}, 1}} {
		if _, right := CrossEntropy(nil, logits, test.labels, 0); right != test.right {
			t.Errorf("labels %v: %d right, want %d", test.labels, right, test.right)
		}
	}
	if loss, right := CrossEntropy(nil, nil, nil, 0.1); loss != 0 || right != 0 {
		t.Errorf("no image: loss %v, %d right", loss, right)
	}
}

// Fails when the exponentials are not taken relative to the largest logit: e¹⁰⁰⁰ is infinite, the loss is not.
func TestCrossEntropyOfHugeLogits(t *testing.T) {
	dlogits := make([]float32, 4)
	loss, right := CrossEntropy(dlogits, []float32{1000, -1000, -5000, -4000}, []int{1, 1}, 0)
	if want := []float32{0.5, -0.5, 0, 0}; loss != 2000 || right != 1 || !slices.Equal(dlogits, want) {
		t.Errorf("loss %v, %d right, gradient %v; want 2000, 1, %v", loss, right, dlogits, want)
	}
}
