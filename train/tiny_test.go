package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/lora"
	"lte/record"
)

// pictures are synthetic images in memory.
type pictures struct {
	pixels [][]uint8
	labels []int
}

func (p *pictures) Len() int        { return len(p.labels) }
func (p *pictures) Label(i int) int { return p.labels[i] }
func (p *pictures) Picture(dst *data.Picture, i int) error {
	dst.Lend(1, 4, 4, p.pixels[i])
	return nil
}

// tinySet is a set of noisy 4×4 images of 5 classes, one channel: that many to train on, and 21 to test, which is no
// multiple of anything.
func tinySet(train int) *data.Set {
	rng := rand.New(rand.NewPCG(1, 2))
	const classes, pixels = 5, 16
	var means [classes][pixels]float64
	for c := range means {
		for i := range means[c] {
			means[c][i] = rng.Float64()
		}
	}
	draw := func(n int) *pictures {
		p := &pictures{}
		for range n {
			label, x := rng.IntN(classes), make([]uint8, pixels)
			for i := range x {
				x[i] = uint8(255 * (0.6*means[label][i] + 0.4*rng.Float64()))
			}
			p.pixels, p.labels = append(p.pixels, x), append(p.labels, label)
		}
		return p
	}
	return &data.Set{Name: "tiny", Classes: classes, Shape: data.Shape{Channels: 1, Height: 4, Width: 4},
		Mean: []float32{0.5}, Std: []float32{0.25}, Train: draw(train), Test: draw(21)}
}

// tinyConfig trains a ViT of one block on it. Every section is set: the tests rely on no default.
func tinyConfig(method string) config.Config {
	c := config.Default()
	c.Method, c.Seed = method, 5
	c.Run = config.Run{LogEvery: 3}
	c.Data = config.Data{Share: "split", Kind: "auto", TestPart: 0.2, Resize: "bicubic", Keep: 1, Norm: "auto", RRC: "off", Area: 1, Aspect: 1, MixProb: 1}
	c.Model = config.Model{Kind: "vit", TokenMLP: 6, Patch: 2, Depth: 1, Width: 8, MLP: 12, Heads: 2, Positions: "learned"}
	c.LoRA = config.LoRA{Rank: 2, Alpha: 4, Init: "orthogonal", Basis: "own", TrainA: true}
	c.Merge = config.Merge{Every: 3, Reset: "auto", Moments: "auto", Combine: "mean", Decay: "factors"}
	c.Exchange = config.Exchange{Wire: "fp32", Transport: "factors", ShareMemory: true}
	c.Replicas = config.Replicas{Sync: "auto"}
	c.Outer = config.Outer{LR: 0.7, Momentum: 0.9}
	c.EMA = config.EMA{}
	c.Measure.Every = 0
	c.Train = config.Train{Steps: 9, Batch: 4, Accumulate: 1, EvalBatch: 8, LabelSmoothing: 0.1}
	c.Optimizer = config.Optimizer{Name: "adamw", LR: 0.01, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, Momentum: 0.9, Muon: 0.95,
		WeightDecay: 0.01, ClipNorm: 1}
	c.Schedule = config.Schedule{Kind: "cosine", Warmup: 2, MinLR: 0.001}
	c.Compute = config.Compute{Backend: "auto", DType: "f32", Threads: 1}
	c.Checkpoint = config.Checkpoint{Keep: 9, OnError: "stop", Grace: 1}
	return c
}

func backend(t *testing.T, name string, threads int) compute.Backend {
	t.Helper()
	b, err := compute.New(name, threads, compute.Float32)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// backends are those of this build: the fastest and gonum.
func backends() []string { return slices.Compact([]string{compute.Auto, "gonum"}) }

// newTrainer makes a trainer on one thread, with lively weights: torchvision's initial classifier is 0, which passes no
// gradient on.
func newTrainer(t *testing.T, c config.Config, g collective.Group, set *data.Set) *Trainer {
	t.Helper()
	return newTrainerOn(t, c, g, set, backend(t, "auto", 1))
}

func newTrainerOn(t *testing.T, c config.Config, g collective.Group, set *data.Set, be compute.Backend) *Trainer {
	t.Helper()
	must(t, c.Check())
	must(t, c.Resolve(g.Size()))
	tr, err := New(c, g, set, be)
	must(t, err)
	must(t, g.Barrier()) // all have taken what they want of W, which a node has in common
	rng := rand.New(rand.NewPCG(3, 4))
	for _, p := range tr.model.Parameters() {
		sigma := 0.1
		if p.Decay {
			sigma = math.Sqrt(float64(p.Shape[0]) / float64(p.Len()))
		}
		if p.Value.Float32()[0] == 1 { // a LayerNorm's scale
			continue
		}
		for i := range p.Value.Float32() {
			p.Value.Float32()[i] = float32(sigma * rng.NormFloat64())
		}
	}
	restart(tr)
	return tr
}

// restart makes the model's weights those that the run begins with.
func restart(tr *Trainer) {
	for _, w := range tr.workers {
		for _, h := range w.heads {
			h.Rebase()
		}
		w.replicas.store()
	}
	if m, ok := tr.algorithm.(*averaged); ok {
		copy(m.merged, tr.model.Flat())
	}
	if m, ok := tr.algorithm.(*lte); ok {
		if m.merger.FormsWeights() {
			m.merger.OriginFromWeights()
		}
		if m.replicas != nil {
			copy(m.replicas.merged.value, m.heads.workers[0].replicas.value)
		}
	}
	if tr.average != nil {
		copy(tr.average.values, tr.model.Flat())
	}
}

// head is the first head of this rank.
func head(tr *Trainer) *lora.Head { return tr.workers[0].heads[0] }

// beginning is W⁰ of all linear layers, in order.
func beginning(tr *Trainer) (out []float32) {
	for _, slot := range tr.algorithm.(*lte).layout.Layers {
		out = append(out, memoryOf(tr, "origin."+slot.Layer.Name+".weight")...)
	}
	return out
}

// batches is a feed of its own: what it returns depends on the step alone, not on the rank.
type batches func(step int) *data.Batch

type fed struct {
	batches batches
	step    int
}

func (f *fed) Next() (*data.Batch, error) {
	f.step++
	return f.batches(f.step - 1), nil
}

func (f *fed) Wait() time.Duration { return 0 }

// common deals the set's images out in order, the same ones on every rank.
func common(set *data.Set, n int) *fed {
	return &fed{batches: func(step int) *data.Batch {
		b := &data.Batch{}
		for j := range n {
			i := (step*n + j) % set.Train.Len()
			var p data.Picture
			if err := set.Train.Picture(&p, i); err != nil {
				panic(err)
			}
			x := make([]float32, len(p.Pix))
			for j, v := range p.Pix {
				x[j] = (float32(v)/255 - set.Mean[0]) / set.Std[0]
			}
			b.Images, b.Labels = append(b.Images, x...), append(b.Labels, set.Train.Label(i))
		}
		return b
	}}
}

// interval trains k steps and merges.
func (t *Trainer) interval(k int) (float64, error) {
	status, err := t.localSteps(k)
	if err != nil {
		return 0, err
	}
	e, err := t.algorithm.merge(t.step, k, status)
	return e.loss, err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logits of the first n test images, by the weights in use.
func logits(tr *Trainer, n int) []float32 {
	var out []float32
	err := data.EachBatch(tr.set, tr.set.Test, n, 0, 1, func(b *data.Batch) error {
		if out == nil {
			out = slices.Clone(tr.model.Forward(b.Images).Data)
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	return out
}

// near fails unless got differs from want by at most tol of want's largest value everywhere.
func near[G, W float32 | float64](t *testing.T, what string, got []G, want []W, tol float64) {
	t.Helper()
	if err := far(got, want, tol); err != nil {
		t.Fatalf("%s%v", what, err)
	}
}

func far[G, W float32 | float64](got []G, want []W, tol float64) error {
	if len(got) != len(want) {
		return fmt.Errorf(": %d numbers, want %d", len(got), len(want))
	}
	size, worst, at := 0.0, 0.0, 0
	for i, w := range want {
		size = max(size, math.Abs(float64(w)))
		if d := math.Abs(float64(got[i]) - float64(w)); !(d <= worst) {
			worst, at = d, i
		}
	}
	if !(worst <= tol*size) {
		return fmt.Errorf("[%d] = %v, want %v: off by %.2g of the largest, %.3g, more than %g", at, got[at], want[at],
			worst/size, size, tol)
	}
	return nil
}

// observed keeps what an Observer is told.
type observed struct {
	steps   []int
	losses  []float64
	records []record.Record
	fail    error // of Record
	noted   []string
	warned  []string
}

func (o *observed) Progress(step int, loss float64) {
	o.steps, o.losses = append(o.steps, step), append(o.losses, loss)
}

func (o *observed) Record(r record.Record) error {
	o.records = append(o.records, r)
	return o.fail
}

func (o *observed) Note(text string) { o.noted = append(o.noted, text) }
func (o *observed) Warn(text string) { o.warned = append(o.warned, text) }

// scale is s of the first layer.
func scale(tr *Trainer) float32 { return tr.algorithm.(*lte).layout.Layers[0].Scale }

// memoryOf is the memory that the run's state names so; estimates of heads are named too.
func memoryOf(tr *Trainer, name string) []float32 {
	s := &state{measured: true}
	tr.algorithm.state(s)
	for _, tensor := range append(s.Shared, s.Own...) {
		if tensor.Name == name {
			return collective.Floats(tensor.Bytes)
		}
	}
	panic("no state is called " + name)
}
