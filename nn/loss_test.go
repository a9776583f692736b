package nn

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"lte/nn/nntest"
)

// Fails when the loss is not −Σ q·log softmax (of a mean where it should be a sum, say) of one label or of two, overflows
// at large logits, or when its gradient is not the derivative of the sum over the mini-batch's images, or the right ones
// are counted wrong. Loss: float64 throughout, so it strays by a few of its roundings, 1e-13 of it. Gradient: float32
// rounds numbers below 1 by 6e-8, and the quotient errs by 2e-16·160/1e-5 = 3e-9 where logits are ±80.
func TestCrossEntropy(t *testing.T) {
	const classes = 5
	for _, size := range []float64{1, 10, 80} {
		for _, smoothing := range []float64{0, 0.1, 1} {
			for _, batch := range []int{1, 4} {
				for _, mixed := range []bool{false, true} {
					name := fmt.Sprintf("logits to ±%v, smoothing %v, batch %d, mixed %v", size, smoothing, batch, mixed)
					t.Run(name, func(t *testing.T) {
						logits, rng := make([]float32, batch*classes), nntest.Source(uint64(batch))
						Uniform(logits, size, rng)
						logits[0], logits[1] = float32(size), float32(-size)
						targets := Targets{Smoothing: smoothing}
						for i := range batch {
							targets.Labels = append(targets.Labels, rng.IntN(classes))
							if mixed {
								targets.Others = append(targets.Others, (targets.Labels[i]+i)%classes) // the first: twice the same
								targets.Lambda = append(targets.Lambda, rng.Float32())
							}
						}
						checkCrossEntropy(t, logits, targets, batch)
						checkCrossEntropy(t, logits, targets, 3*batch) // of a mini-batch in three passes
					})
				}
			}
		}
	}
}

func checkCrossEntropy(t *testing.T, logits []float32, targets Targets, images int) {
	t.Helper()
	z, classes := nntest.Wide(logits), len(logits)/len(targets.Labels)
	sum := func() (loss float64) {
		for i, label := range targets.Labels {
			lambda, other := 1.0, label
			if targets.Others != nil {
				lambda, other = float64(targets.Lambda[i]), targets.Others[i]
			}
			row := z[i*classes:][:classes]
			loss += lambda*nntest.Entropy(row, label, targets.Smoothing) + (1-lambda)*nntest.Entropy(row, other, targets.Smoothing)
		}
		return loss
	}
	rightOnes := 0
	for i, label := range targets.Labels {
		if row := logits[i*classes:][:classes]; row[label] == slices.Max(row) {
			rightOnes++
		}
	}
	dlogits := make([]float32, len(logits))
	for i := range dlogits {
		dlogits[i] = 9 // to be overwritten
	}
	loss, right := CrossEntropy(dlogits, logits, targets, images)
	nntest.Near(t, "loss", []float64{loss}, []float64{sum()}, 1e-13)
	if right != rightOnes {
		t.Errorf("%d right, want %d", right, rightOnes)
	}
	want := nntest.Differences(z, 1e-5, func() float64 { return sum() / float64(images) })
	for i := range want {
		if !(math.Abs(float64(dlogits[i])-want[i]) <= 7e-8) {
			t.Errorf("gradient[%d] = %v, want %v", i, dlogits[i], want[i])
		}
	}
	if again, _ := CrossEntropy(nil, logits, targets, images); again != loss {
		t.Errorf("without a gradient the loss is %v, with it %v", again, loss)
	}
}

// Fails when images that are not mixed among mixed ones (λ = 1, or both labels one and λ = 0) are not to the bit what
// they are without second labels, and when targets that do not belong together pass.
func TestCrossEntropyOfOneLabel(t *testing.T) {
	logits := make([]float32, 4*5)
	Normal(logits, 3, nntest.Source(1))
	labels := []int{4, 0, 2, 1}
	run := func(t Targets) (float64, []float32) {
		t.Labels, t.Smoothing = labels, 0.1
		dlogits := make([]float32, len(logits))
		loss, _ := CrossEntropy(dlogits, logits, t, 4)
		return loss, dlogits
	}
	loss, dlogits := run(Targets{})
	for _, mixed := range []Targets{{Others: []int{3, 2, 1, 0}, Lambda: []float32{1, 1, 1, 1}},
		{Others: labels, Lambda: []float32{0, 1, 0, 1}}} {
		if gotLoss, got := run(mixed); gotLoss != loss || !slices.Equal(got, dlogits) {
			t.Errorf("loss %v and gradient %v, want %v and %v", gotLoss, got, loss, dlogits)
		}
	}
	for _, wrong := range []Targets{{Others: []int{1}, Lambda: []float32{1, 1, 1, 1}}, {Others: labels}} {
		func() {
			defer func() {
				if got := recover(); got != "nn: targets of unequal length" {
					t.Errorf("panic %v", got)
				}
			}()
			run(wrong)
		}()
	}
}

// Fails when the count of right ones is not that of labels with the largest logit, or an empty batch is not 0.
func TestCrossEntropyRight(t *testing.T) {
	logits := []float32{1, 3, 2, -1, -5, -2, 0, 0, 7}
	for _, test := range []struct {
		labels []int
		right  int
	}{{[]int{1, 0, 2}, 3}, {[]int{1, 1, 2}, 2}, {[]int{0, 2, 1}, 0}, {[]int{2, 0, 0}, 1}} {
		if _, right := CrossEntropy(nil, logits, Targets{Labels: test.labels}, 3); right != test.right {
			t.Errorf("labels %v: %d right, want %d", test.labels, right, test.right)
		}
	}
	if loss, right := CrossEntropy(nil, nil, Targets{Smoothing: 0.1}, 0); loss != 0 || right != 0 {
		t.Errorf("no image: loss %v, %d right", loss, right)
	}
}

// Fails when the exponentials are not taken relative to the largest logit: e¹⁰⁰⁰ is infinite, the loss is not.
func TestCrossEntropyOfHugeLogits(t *testing.T) {
	dlogits := make([]float32, 4)
	loss, right := CrossEntropy(dlogits, []float32{1000, -1000, -5000, -4000}, Targets{Labels: []int{1, 1}}, 2)
	if want := []float32{0.5, -0.5, 0, 0}; loss != 2000 || right != 1 || !slices.Equal(dlogits, want) {
		t.Errorf("loss %v, %d right, gradient %v; want 2000, 1, %v", loss, right, dlogits, want)
	}
}
