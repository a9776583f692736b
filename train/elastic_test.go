package train

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"lte/checkpoint"
	"lte/collective"
	"lte/config"
	"lte/data"
	"lte/merge"
)

// elasticRuns are runs of four heads that keep what an elastic resume must see to.
var elasticRuns = []struct {
	name string
	same bool // bits, on any number of ranks
	set  func(c *config.Config)
}{
	{"none", false, func(c *config.Config) {}},
	{"none, sum, measured", false, func(c *config.Config) {
		c.Merge.Combine, c.LoRA.Alpha, c.Measure = "sum", 1, config.Measure{Every: 3, Images: 8, Layers: []string{"*.mlp.0"}}
	}},
	{"b", true, func(c *config.Config) { c.Merge.Reset = "b" }},
	{"ab", true, func(c *config.Config) { c.Merge.Reset, c.Merge.Moments = "ab", "clear" }},
	{"replicas", false, func(c *config.Config) { everyKind(c); c.LoRA.Layers = nil }},
	{"biases, decay of weights, an average", false, func(c *config.Config) { c.LoRA.Bias, c.Merge.Decay, c.EMA.Decay = true, "weights", 0.9 }},
	{"overlap", false, func(c *config.Config) { c.Exchange.Overlap = true }},
	{"overlap in int8", false, func(c *config.Config) { c.Exchange.Overlap, c.Exchange.Wire = true, "int8" }},
	{"shared basis", false, func(c *config.Config) {
		c.LoRA.Basis, c.LoRA.TrainA, c.LoRA.Alpha, c.Merge.Momentum = "shared", false, 1, 0.5
	}},
	{"shared basis that trains, overlap", false, func(c *config.Config) {
		c.LoRA.Basis, c.LoRA.Alpha, c.Exchange.Overlap = "shared", 1, true
	}},
	{"bf16", false, func(c *config.Config) { c.Exchange.Wire = "bf16" }},
	{"int8, b", true, func(c *config.Config) { c.Exchange.Wire, c.Merge.Reset = "int8", "b" }},
	{"int8, ab", true, func(c *config.Config) { c.Exchange.Wire, c.Merge.Reset = "int8", "ab" }},
	{"rows", false, func(c *config.Config) { c.Exchange.Transport = "rows" }},
	{"dense, b", false, func(c *config.Config) { c.Exchange.Transport, c.Merge.Reset = "dense", "b" }},
}

// elasticConfig is a run of four heads with noise and mixed images, smooth where rounding differs.
func elasticConfig(same bool, set func(c *config.Config)) config.Config {
	c := tinyConfig("lte")
	c.LoRA.Heads, c.Train.Steps = 4, 14
	c.Model.Dropout, c.Data.Mixup = 0.1, 0.8
	if !same {
		gentle(&c)
	}
	set(&c)
	return c
}

// until trains a run to that step, or the merge behind it, and leaves a checkpoint.
func until(t *testing.T, c config.Config, g collective.Group, dir string, stop int) (*Trainer, Saved) {
	t.Helper()
	tr := newTrainer(t, c, g, tinySet(30))
	keep(tr, checkpoint.Open(dir, 9, false), stop)
	if _, err := tr.Run(nil); !errors.As(err, new(*InterruptedError)) {
		t.Fatalf("%v, want an interruption", err)
	}
	return tr, newest(t, dir, g)
}

// newest is the newest checkpoint of a run directory.
func newest(t *testing.T, dir string, g collective.Group) Saved {
	t.Helper()
	store := checkpoint.Open(dir, 9, false)
	return readBack(t, store, stopped(t, store, g), g)
}

// Heads are added and retired, in the middle of an interval and at a merge: W stays, exactly, and where it is formed of W⁰ and the
// heads' last merged factors that gives W again; heads that continue compute with what they did; the run continues, with a smaller loss.
//
// Fails with a W⁰ from which the heads that continue are not taken, or all that were, or with the share of the former number, or
// b⁰ likewise; by heads that are added as others hold none, with the A of another merge, or with replicas of their own; and by
// counts and places in the sequence of images that forget how many were seen.
func TestHeadsAreAddedAndRetired(t *testing.T) {
	for i, run := range elasticRuns {
		for _, heads := range []int{6, 2} {
			for _, stop := range []int{2, 7} {
				what := fmt.Sprintf("%s, %d heads after %d steps: ", run.name, heads, stop)
				c := elasticConfig(false, run.set)
				was, from := until(t, c, collective.Alone{}, filepath.Join(t.TempDir(), fmt.Sprint(i)), stop)
				c = was.config
				c.LoRA.Heads, c.Train.Steps, c.Run.LogEvery, c.Run.EvalEvery = heads, 50, 10, 10
				said, err := from.Elastic(c, 1)
				if err != nil || len(said) != 1 {
					t.Fatalf("%s%v %v", what, said, err)
				}
				tr, err := Resume(c, collective.Alone{}, was.set, was.backend, from)
				must(t, err)
				before := slices.Clone(was.model.Flat())
				near(t, what+"W", tr.model.Flat(), before, 0)
				for k, w := range tr.workers {
					if k < 4 {
						near(t, what+"a head that continues", w.heads[0].Value, was.workers[k].heads[0].Value, 0)
						continue
					}
					begins(t, what, tr.algorithm.(*lte), w)
				}
				if l := tr.algorithm.(*lte); l.merger.FormsWeights() {
					formed := formedOf(tr, l)
					var w []float32
					for _, p := range l.layout.Layers {
						w = append(append(w, p.Layer.W.Float32()...), p.Layer.B...)
					}
					near(t, what+"W, formed anew", formed, w, 1e-6)
				}
				if got, want := tr.images(), was.images(); got != want {
					t.Fatalf("%s%d images are seen, want %d", what, got, want)
				}
				f := tr.newFeed()
				b, err := f.Next()
				must(t, err)
				sampler := data.NewSampler(tr.set.Train.Len(), c.Seed)
				for j, label := range b.Labels {
					if _, image := sampler.At(int64(was.images() + j)); label != tr.set.Train.Label(image) {
						t.Fatalf("%simage %d of the next step is not the next one of the sequence", what, j)
					}
				}
				f.Close()
				o := &observed{}
				if _, err := tr.Run(o); err != nil {
					t.Fatal(what, err)
				}
				var losses []float64
				for _, r := range o.records {
					if r.TestLoss != nil {
						losses = append(losses, *r.TestLoss)
					}
				}
				if n := len(losses); n < 4 || !(losses[n-1] < losses[0]) {
					t.Errorf("%stest losses %v", what, losses)
				}
			}
		}
	}
}

// begins fails unless a head is one that begins after as many merges, to all.
func begins(t *testing.T, what string, l *lte, w *worker) {
	t.Helper()
	what += fmt.Sprintf("head %d: ", w.number)
	want := make([]float32, l.layout.Length)
	l.layout.DrawA(want, l.streams("head", w.number, 1)...)
	if l.merger.Merges() > 0 && l.config.Merge.Reset == "ab" {
		l.initial(want, w.number, l.merger.Merges())
	}
	if l.config.SharesBasis() { // as all heads begin
		for _, p := range l.layout.Layers {
			f, mean := p.Factors(want), l.merger.HeadFactors(p)[0]
			copy(f.A.Data, mean.A.Data)
			copy(f.B.Data, mean.B.Data)
		}
		near(t, what+"factors", w.heads[0].Value, want, 0)
		return
	}
	near(t, what+"factors", w.heads[0].Value, want, 0)
	near(t, what+"merged", w.heads[0].Merged, want, 0)
	if merge.Wire(l.config.Exchange.Wire) != merge.FP32 {
		near(t, what+"held by all", l.merger.Exchange().Estimate(w.number), want, 0)
		near(t, what+"sent", l.merger.Exchange().LocalEstimate(w.number), want, 0)
	}
	if w.replicas != nil {
		near(t, what+"replicas", w.replicas.value, l.replicas.merged.value, 0)
	}
}

// formedOf is W⁰ + share·s·Σ B'A' of all heads of a rank that has them all, and b likewise, layer after layer.
func formedOf(tr *Trainer, l *lte) (all []float32) {
	for _, p := range l.layout.Layers {
		w := slices.Clone(memoryOf(tr, "origin."+p.Layer.Name+".weight"))
		b := slices.Clone(p.Layer.B)
		if p.End > p.BiasA {
			b = slices.Clone(memoryOf(tr, "origin."+p.Layer.Name+".bias"))
		}
		for _, worker := range l.heads.workers {
			f := p.Factors(worker.heads[0].Merged)
			in := p.Layer.W.Cols
			for row := range p.Layer.W.Rows {
				for j := range in {
					sum := 0.0
					for r := range p.Rank {
						sum += float64(f.B.Data[row*p.Rank+r]) * float64(f.A.Data[r*in+j])
					}
					w[row*in+j] += float32(float64(p.Scale*l.merger.Share) * sum)
				}
			}
			f.AddBias(b, p.Scale*l.merger.Share)
		}
		all = append(append(all, w...), b...)
	}
	return all
}

// What an elastic resume cannot do it refuses, by key.
func TestElasticResumeRefusesWhatCannotBe(t *testing.T) {
	heads := func(n int) func(c *config.Config) { return func(c *config.Config) { c.LoRA.Heads = n } }
	for _, c := range []struct {
		method, key string
		set         func(c *config.Config)
		ranks       int
		change      func(c *config.Config)
	}{
		{"mhlora", "lora.heads", heads(3), 1, heads(2)},
		{"lte", "lora.heads", heads(4), 1, func(c *config.Config) { c.LoRA.Heads, c.Data.Share = 2, "shard" }},
		{"full", "data.share", func(c *config.Config) { c.Data.Share = "shard" }, 2, nil},
		{"localsgd", "method", nil, 2, nil},
		{"diloco", "method", nil, 2, nil},
		{"full", "train.batch", nil, 2, nil},
		{"full", "train.batch", nil, 1, func(c *config.Config) { c.Train.Batch = 2 }},
		{"lora", "train.batch", nil, 2, nil},
		{"sequential", "train.batch", nil, 4, func(c *config.Config) { c.Train.Batch = 2 }},
		{"lte", "train.batch", heads(4), 2, func(c *config.Config) { c.Train.Batch = 2 }},
		{"lte", "exchange.wire", func(c *config.Config) { c.LoRA.Heads, c.Exchange.Wire, c.Exchange.Transport = 4, "int8", "rows" }, 2, nil},
		{"lte", "exchange.wire", func(c *config.Config) { c.LoRA.Heads, c.Exchange.Wire, c.Exchange.Transport = 4, "bf16", "dense" }, 1, heads(2)},
	} {
		b := tinyConfig(c.method)
		if c.set != nil {
			c.set(&b)
		}
		tr, from := until(t, b, collective.Alone{}, t.TempDir(), 4)
		if b = tr.config; c.change != nil {
			c.change(&b)
		}
		var e *config.Error
		if _, err := from.Elastic(b, c.ranks); !errors.As(err, &e) || !slices.Equal(e.Keys, []string{c.key}) {
			t.Errorf("%s, %d ranks: %v, want an error of %s", c.method, c.ranks, err, c.key)
		}
		if said, err := from.Elastic(tr.config, 1); said != nil || err != nil {
			t.Errorf("%s, nothing changed: %v %v", c.method, said, err)
		}
	}
}
