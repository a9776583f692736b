package model

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"lte/compute"
	"lte/nn"
	"lte/nn/nntest"
)

// A pass in bf16 is the pass in float32 but for rounding: 2⁻⁹ of every operand. This model rounds some twenty of them one
// after another on the way to the logits and as many back; 2⁻⁵ of the largest value is sixteen roundings that all agree,
// 2⁻⁴ twice as many. Fails when a buffer of bf16 is stale, misplaced or of another layer, in the effective weights, the
// merged ones, either way of a factor's gradient, or a mask.
func TestBF16(t *testing.T) {
	const forward, backward = 0x1p-5, 0x1p-4
	single, err := compute.New("gonum", 1, compute.Float32)
	if err != nil {
		t.Fatal(err)
	}
	dropping := func(c Config) Config { // at a rate whose scale bf16 has, so that the masks are the same
		c.Dropout, c.DropPath = 0.5, 0.5
		return c
	}
	for name, b := range nntest.BF16Backends(t) {
		for _, size := range []struct {
			Config
			batch int
		}{{tiny(), 2}, {tiny(), 40}, {tinyMixer(), 2}, {tinyMixer(), 40}, // thin factor gradients, and dense ones
			{dropping(tiny()), 40}, {dropping(tinyMixer()), 40}} {
			c, batch := size.Config, size.batch
			c.Batch = batch
			t.Run(fmt.Sprintf("%s, %s, batch %d, dropout %v", name, c.Kind, batch, c.Dropout), func(t *testing.T) {
				got, want := passesOf(t, c, b), passesOf(t, c, single)
				for _, x := range []struct {
					what      string
					got, want []float32
					tolerance float64
				}{{"logits", got.logits, want.logits, forward}, {"merged logits", got.merged, want.merged, forward},
					{"gradient of the weights", got.weights, want.weights, backward},
					{"gradient of the factors", got.factors, want.factors, backward}} {
					off := nntest.Near(t, x.what, x.got, nntest.Wide(x.want), x.tolerance)
					t.Logf("%s: off by %.1e", x.what, off)
					if off == 0 {
						t.Errorf("%s: nothing was rounded", x.what)
					}
				}
			})
		}
	}
}

type passes struct{ logits, merged, weights, factors []float32 }

// passesOf makes two training passes, the second of other factors, and one of the merged weights.
func passesOf(t *testing.T, c Config, b compute.Backend) passes {
	v := lively(t, c, b)
	images, labels := batchOf(c, c.Batch, 5)
	h, noise := livelyHead(t, v), nn.NewNoise(rand.NewPCG(6, 0))
	p := passes{weights: trainAll(v), factors: h.Grad}
	for range 2 {
		for i := range h.Value {
			h.Value[i] *= -0.8
		}
		v.ZeroGrad()
		v.UseLocal(h)
		p.logits, _ = step(v, images, labels, 0.1, noise)
	}
	v.UseMerged()
	p.merged = append(p.merged, v.Forward(images).Data...)
	return p
}
