//go:build mpirun

package train

import (
	"slices"
	"testing"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/model"
)

// goldenRun is testdata/lte.json: LTE by algorithm.md's equations on one linear layer, in float64 with torch's
// gradients and AdamW (tools/vectors.py).
type goldenRun struct {
	Out, In, Rank, Heads, Batch, Steps int
	Alpha, Scale                       float64
	MergeEvery                         int `json:"merge_every"`
	Optimizer                          struct {
		LR, Beta1, Beta2, Eps float64
		WeightDecay           float64 `json:"weight_decay"`
	}
	W0     [][]float32
	Bias   []float32
	A0     [][][]float32
	Inputs [][][][]float32 // [step][head][image][in]
	Labels [][][]int
	Losses [][]float64
	Merges []struct {
		Step int
		A, B [][][]float64 // [head]
		W    [][]float64
	}
}

// golden trains the same on g, of as many ranks as heads. The layer is the classifier of a ViT, whose passes are called
// without the network before it; method, exchange and optimizer are those of a run.
//
// Fails if the factors or the merge are anything but the equations: shown by s without 1/N, by A' not kept, by ∂L/∂A of
// B' instead of B. AdamW hides a factor of a gradient.
func golden(t *testing.T, g collective.Group) {
	run := new(goldenRun)
	readJSON(t, "testdata/lte.json", run)
	if g.Size() != run.Heads || len(run.Merges) != 3 {
		t.Fatalf("%d ranks for %d heads, %d merges", g.Size(), run.Heads, len(run.Merges))
	}
	c := tinyConfig("lte")
	c.Model.Width, c.Model.Heads = run.In, 1
	c.LTE = config.LTE{Rank: run.Rank, Alpha: run.Alpha, Init: "orthogonal", MergeEvery: run.MergeEvery}
	c.Train.Batch, c.Train.EvalBatch = run.Batch, run.Batch
	o := run.Optimizer
	c.Optimizer = config.Optimizer{Name: "adamw", LR: o.LR, Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps, WeightDecay: o.WeightDecay}
	set := &data.Set{Name: "golden", Classes: run.Out, Channels: 1, Height: 4, Width: 4}
	be := backend(t, "auto", 1)
	tr, err := New(c, g, set, be)
	must(t, err)
	m := tr.method.(*lte)
	layers := tr.model.Layers()
	last := len(layers) - 1
	l, rank := layers[last], g.Rank()
	copy(l.W.Data, slices.Concat(run.W0...))
	copy(m.w0[last], l.W.Data)
	copy(l.B, run.Bias)
	a := l.Adapter()
	copy(a.A.Data, slices.Concat(run.A0[rank]...))
	copy(a.MergedA.Data, a.A.Data)
	tr.model.Rebase()
	near(t, "s", []float32{m.head.Scale}, []float64{run.Scale}, 0)

	for step := range run.Steps {
		tr.model.ZeroGrad()
		tr.model.UseLocal()
		x := compute.Matrix(run.Batch, run.In, slices.Concat(run.Inputs[step][rank]...))
		y := compute.Matrix(run.Batch, run.Out, make([]float32, run.Batch*run.Out))
		l.Forward(compute.F32(y), compute.F32(x), 0)
		loss, _ := model.CrossEntropy(y.Data, y.Data, run.Labels[step][rank], 0)
		l.Backward(compute.NewOperand(compute.Float32, run.Batch, run.In), compute.F32(y), compute.F32(x))
		loss, err := m.exchange(loss / float64(run.Batch))
		must(t, err)
		near(t, "loss", []float64{loss}, []float64{run.Losses[step][rank]}, 2e-6)
		tr.opt.step(o.LR, 1)
		if (step+1)%run.MergeEvery != 0 {
			continue
		}
		merge := run.Merges[step/run.MergeEvery]
		want := 0.0 // mean over all heads of the last step's loss
		for _, other := range run.Losses[step] {
			want += other / float64(run.Heads)
		}
		mean, err := m.merge(step+1, collective.Status{Loss: loss})
		must(t, err)
		near(t, "mean loss", []float64{mean}, []float64{want}, 2e-6)
		near(t, "A", a.A.Data, slices.Concat(merge.A[rank]...), 1e-5)
		near(t, "B", a.B.Data, slices.Concat(merge.B[rank]...), 1e-5)
		near(t, "A'", a.MergedA.Data, slices.Concat(merge.A[rank]...), 1e-5)
		near(t, "B'", a.MergedB.Data, slices.Concat(merge.B[rank]...), 1e-5)
		near(t, "W", l.W.Data, slices.Concat(merge.W...), 1e-5)
	}
}
