package model

import (
	"testing"

	"lte/compute"
)

// A pass in bf16 is the pass in float32 but for rounding: 2⁻⁹ of every operand. This model rounds some twenty of them one
// after another on the way to the logits and as many back; 2⁻⁵ of the largest value is sixteen roundings that all agree,
// 2⁻⁴ twice as many. Fails when a buffer of bf16 is stale,
// misplaced or of another layer, in the effective weights, the merged ones, or either way of a factor's gradient.
func TestBF16(t *testing.T) {
	const forward, backward = 0x1p-5, 0x1p-4
	half, err := compute.New("onednn", 1, compute.BFloat16)
	if err != nil {
		t.Skip(err)
	}
	single, err := compute.New("onednn", 1, compute.Float32)
	if err != nil {
		t.Fatal(err)
	}
	for _, batch := range []int{2, 40} { // thin factor gradients, and dense ones
		c := tiny()
		c.Batch = batch
		images, labels := batchOf(c, batch, 5)
		type pass struct{ logits, merged, weights, factors []float32 }
		run := func(b compute.Backend) pass {
			v := lively(t, c, b)
			h := livelyHead(t, v)
			v.TrainWeights()
			for range 2 { // the second of other factors
				for i := range h.Value {
					h.Value[i] *= -0.8
				}
				v.ZeroGrad()
				v.UseLocal()
				step(v, images, labels, 0.1)
			}
			p := pass{}
			p.logits = append(p.logits, v.logits.Data...)
			_, grads := v.Flat()
			p.weights, p.factors = grads, h.Grad
			v.UseMerged()
			p.merged = append(p.merged, v.Forward(images).Data...)
			return p
		}
		got, want := run(half), run(single)
		for _, x := range []struct {
			what      string
			got, want []float32
			tolerance float64
		}{{"logits", got.logits, want.logits, forward}, {"merged logits", got.merged, want.merged, forward},
			{"gradient of the weights", got.weights, want.weights, backward},
			{"gradient of the factors", got.factors, want.factors, backward}} {
			off := near(t, x.what, x.got, wide(x.want), x.tolerance)
			t.Logf("batch %d, %s: off by %.1e", batch, x.what, off)
			if off == 0 {
				t.Errorf("%s: nothing was rounded", x.what)
			}
		}
	}
}

// Both ways to a factor's gradient are the golden numbers' (the thin one) and each other's. Fails when the dense way
// leaves out s, or transposes a factor.
func TestDenseFactorGradients(t *testing.T) {
	backends(t, func(t *testing.T, b compute.Backend) {
		c := tiny()
		c.Batch = 40
		images, labels := batchOf(c, 40, 5)
		run := func(dense bool) []float32 {
			v := lively(t, c, b)
			h := livelyHead(t, v)
			for _, l := range v.Layers() {
				l.adapter.dense = dense
				l.adapter.work.reserve(l.adapter, l.maxRows(v))
			}
			v.UseLocal()
			step(v, images, labels, 0.1)
			v.ZeroGrad()
			step(v, images, labels, 0.1)
			step(v, images, labels, 0.1) // added to the second, not to the first
			return h.Grad
		}
		near(t, "dense", run(true), wide(run(false)), gradientTolerance)
	})
}
