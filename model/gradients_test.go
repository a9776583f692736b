package model

import (
	"slices"
	"testing"

	"lte/compute"
	"lte/nn"
	"lte/nn/nntest"
)

// The gradient of a layer at W is that of training all weights, and what trains continues as if nothing had happened: a
// head in use, its gradients, and those of a replica.
func TestGradients(t *testing.T) {
	c := tiny()
	c.Batch = 4
	images, labels := batchOf(c, 4, 5)
	nntest.Backends(t, func(t *testing.T, b compute.Backend) {
		whole := lively(t, c, b)
		trainAll(whole)
		step(whole, images, labels, 0.1)

		v := lively(t, c, b)
		h := livelyHead(t, v)
		_, replicas := v.Train(func(name string) bool { return name == "class_token" })
		local := func() []float32 {
			v.UseLocal(h)
			v.ZeroGrad()
			logits, _ := step(v, images, labels, 0.1)
			return slices.Concat(logits, h.Grad, replicas)
		}
		before := local()
		headGrad, replicaGrad := slices.Clone(h.Grad), slices.Clone(replicas)
		layers := []*nn.Linear{v.layers[0], v.layers[3]}
		got := v.Gradients(layers, func() {
			step(v, images, labels, 0.1)
		})
		for i, l := range []*nn.Linear{whole.layers[0], whole.layers[3]} {
			nntest.Near(t, l.Name, got[i].Data, nntest.Wide(l.GradW.Data), gradientTolerance)
		}
		if !slices.Equal(h.Grad, headGrad) || !slices.Equal(replicas, replicaGrad) {
			t.Error("gradients of what trains have changed")
		}
		if layers[0].GradW.Data != nil {
			t.Error("a layer that does not train has kept a gradient")
		}
		if after := local(); !slices.Equal(before, after) {
			t.Error("the next pass is another one")
		}
	})
}
