package model

import (
	"math"
	"slices"
	"testing"

	"lte/compute"
	"lte/lora"
	"lte/nn"
	"lte/nn/nntest"
)

// Law 6 for one rank. Fails when W_k is not W + s(BA − B'A'), when UseLocal keeps weights formed of older factors, when
// evaluation reads anything but W, and when a merge changes the head's function: after W ← W + s(BA − B'A') and
// A', B' ← A, B the two must be one function, which is also the head's before the merge.
func TestMergeKeepsFunction(t *testing.T) {
	models(t, func(t *testing.T, c Config, b compute.Backend) {
		v := lively(t, c, b)
		before := lively(t, c, b) // W alone
		merged := lively(t, c, b) // W + s(BA − B'A') as plain weights
		images, _ := batchOf(c, 2, 5)
		h := livelyHeadOf(t, v, lora.Config{})
		v.UseLocal(h) // of factors that then change
		for i := range h.Value {
			h.Value[i] *= -1.5
		}
		copy(h.Value[3:], h.Merged[:40])
		for i, l := range v.Layers() {
			a, n := h.Adapter(l), l.W.Cols
			for j := range l.W.Float32() {
				row, column, sum := j/n, j%n, 0.0
				for k := range a.A.Rows {
					sum += float64(a.B.Data[row*a.A.Rows+k])*float64(a.A.Data[k*n+column]) -
						float64(a.Merged.B.Data[row*a.A.Rows+k])*float64(a.Merged.A.Data[k*n+column])
				}
				merged.Layers()[i].W.Float32()[j] = float32(float64(l.W.Float32()[j]) + 1.5*sum)
			}
		}
		want := nntest.Wide(merged.Forward(images).Data)
		nntest.Near(t, "merged weights, before the merge", func() []float32 { v.UseMerged(); return v.Forward(images).Data }(),
			nntest.Wide(before.Forward(images).Data), 0)
		v.UseLocal(h)
		nntest.Near(t, "local weights, before the merge", v.Forward(images).Data, want, 1e-5)

		w := v.Flat()
		all := merged.Flat()
		copy(w, all)
		copy(h.Merged, h.Value)
		h.Rebase()
		v.UseLocal(h)
		nntest.Near(t, "local weights, after the merge", v.Forward(images).Data, want, 1e-5)
		v.UseMerged()
		nntest.Near(t, "merged weights, after the merge", v.Forward(images).Data, want, 0)
		if d := difference(want, nntest.Wide(before.Forward(images).Data)); d < 0.1 {
			t.Errorf("the merge changes the logits by %v: too little to show anything", d)
		}
	})
}

func difference(x, y []float64) (most float64) {
	for i := range x {
		most = max(most, math.Abs(x[i]-y[i]))
	}
	return most
}

// Fails when an image's logits depend on its batch: attention or token mixing across images, or a wrong row of a buffer. Products of
// other shapes may sum in another order: the golden tests' tolerance.
func TestImagesAreIndependent(t *testing.T) {
	models(t, func(t *testing.T, c Config, b compute.Backend) {
		c.Batch = 5
		v := lively(t, c, b)
		h := livelyHead(t, v)
		v.UseLocal(h)
		images, _ := batchOf(c, 5, 5)
		together, size := nntest.Wide(v.Forward(images).Data), len(images)/5
		for i := range 5 {
			alone := v.Forward(images[i*size : (i+1)*size])
			nntest.Near(t, "one image's logits", alone.Data, together[i*c.Classes:(i+1)*c.Classes], forwardTolerance)
		}
	})
}

// Fails when a pass reads what a larger one before it left in a buffer, or when a gradient is set where it should be
// added to: a second, smaller batch, from gradients of 0, must give what a new model gives, and once more the double.
func TestSmallerBatchAfterLarger(t *testing.T) {
	models(t, func(t *testing.T, c Config, b compute.Backend) {
		c.Batch = 4
		type run struct {
			v     *Model
			h     *lora.Head
			grads []float32
		}
		start := func() run {
			v := lively(t, c, b)
			r := run{v, livelyHead(t, v), trainAll(v)}
			v.UseLocal(r.h)
			return r
		}
		used, fresh := start(), start()
		large, largeLabels := batchOf(c, 4, 5)
		small, smallLabels := batchOf(c, 3, 6)
		step(used.v, large, largeLabels, 0.1)
		used.v.ZeroGrad()
		got, _ := step(used.v, small, smallLabels, 0.1)
		want, _ := step(fresh.v, small, smallLabels, 0.1)
		nntest.Near(t, "logits", got, nntest.Wide(want), forwardTolerance)
		nntest.Near(t, "gradient of the weights", used.grads, nntest.Wide(fresh.grads), gradientTolerance)
		nntest.Near(t, "gradient of the head", used.h.Grad, nntest.Wide(fresh.h.Grad), gradientTolerance)

		step(used.v, small, smallLabels, 0.1)
		for _, g := range [][]float32{fresh.grads, fresh.h.Grad} {
			for i := range g {
				g[i] *= 2
			}
		}
		nntest.Near(t, "twice the gradient of the weights", used.grads, nntest.Wide(fresh.grads), gradientTolerance)
		nntest.Near(t, "twice the gradient of the head", used.h.Grad, nntest.Wide(fresh.h.Grad), gradientTolerance)
	})
}

// Fails when Flat leaves out a parameter that trains or holds one that does not, and when a gradient does not lie where
// its parameter does: an optimizer runs over both slices as they lie.
func TestFlat(t *testing.T) {
	b, err := compute.New("gonum", 1, compute.Float32)
	if err != nil {
		t.Fatal(err)
	}
	fixed := tiny()
	fixed.Positions = "sincos"
	for _, c := range []Config{tiny(), fixed, tinyMixer()} {
		for _, affine := range []bool{false, true} {
			c.NormAffine = affine
			v := newModel(t, c, b)
			weights, grads := v.Flat(), trainAll(v)
			for i := range grads {
				weights[i], grads[i] = float32(i), float32(i)
			}
			var trained []float32
			for _, p := range v.Parameters() {
				if trains(c, p.Name) {
					trained = append(trained, p.Value.Float32()...)
					if !slices.Equal(p.Grad, p.Value.Float32()) {
						t.Errorf("%s's gradient does not lie where its value does", p.Name)
					}
				}
			}
			slices.Sort(trained)
			if !slices.Equal(trained, weights) {
				t.Errorf("%s %s, affine %v: Flat is not the parameters that train", c.Kind, c.Positions, affine)
			}
		}
	}
}

// Fails when a step leaves garbage: a slice, a map or a closure in the passes, which run some 10⁵ times in a run.
func TestStepAllocatesNothing(t *testing.T) {
	models(t, func(t *testing.T, c Config, b compute.Backend) {
		images, labels := batchOf(c, 2, 5)
		for _, rate := range []float64{0, 0.5} {
			c.Dropout, c.DropPath = rate, rate
			v, noise := lively(t, c, b), noisesOf(2)
			h := livelyHead(t, v)
			trainAll(v)
			dlogits := compute.Heap(compute.Float32).Matrix(2, c.Classes)
			allocations := testing.AllocsPerRun(20, func() {
				v.UseLocal(h)
				logits := v.ForwardTraining(images, noise...)
				nn.CrossEntropy(dlogits.Data, logits.Data, nn.Targets{Labels: labels, Smoothing: 0.1}, len(labels))
				v.Backward(dlogits)
				v.UseMerged()
			})
			if allocations != 0 {
				t.Errorf("%v allocations a step of dropout %v", allocations, rate)
			}
		}
	})
}

// Fails when Backward computes what nothing asked for: a model none of which trains has no gradients to write to, and
// one without a head no factors.
func TestNothingTrains(t *testing.T) {
	models(t, func(t *testing.T, c Config, b compute.Backend) {
		v := lively(t, c, b)
		weights := v.Flat()
		before := slices.Clone(weights)
		images, labels := batchOf(c, 2, 5)
		step(v, images, labels, 0.1)
		for _, l := range v.Layers() {
			if l.Adapters() != nil || l.GradW.Data != nil {
				t.Errorf("%s has an adapter or a gradient", l.Name)
			}
		}
		if !slices.Equal(weights, before) {
			t.Error("passes change weights")
		}
	})
}
