package train

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"lte/collective"
	"lte/config"
	"lte/data"
	"lte/lora"
	"lte/merge"
	"lte/random"
)

// started makes a trainer with the feed of a run.
func started(t *testing.T, c config.Config, g collective.Group, set *data.Set) *Trainer {
	t.Helper()
	tr := newTrainer(t, c, g, set)
	f := tr.newFeed()
	t.Cleanup(f.Close)
	tr.feed = f
	return tr
}

// advance trains k steps and merges, as a run does.
func advance(t *testing.T, tr *Trainer, k int) {
	t.Helper()
	status, err := tr.localSteps(k)
	must(t, err)
	_, err = tr.Merge(k, status)
	must(t, err)
}

// gentle makes the run a smooth function of its weights: AdamW divides by gradients that may be nothing but rounding.
func gentle(c *config.Config) {
	c.Optimizer = config.Optimizer{Name: "sgd", LR: 0.1, Eps: 1e-8, Momentum: 0.9, WeightDecay: 0.01, ClipNorm: 1}
}

// linear is a copy of all linear layers' W, in order.
func linear(tr *Trainer) (out []float32) {
	for _, l := range tr.model.Layers() {
		out = append(out, l.W.Float32()...)
	}
	return out
}

// biases is a copy of all linear layers' b, in order.
func biases(tr *Trainer) (out []float32) {
	for _, l := range tr.model.Layers() {
		out = append(out, l.B...)
	}
	return out
}

// distant fails if two vectors are alike: a test of what makes them differ would say nothing.
func distant[G, W float32 | float64](t *testing.T, what string, got []G, want []W) {
	t.Helper()
	if far(got, want, 1e-3) == nil {
		t.Fatalf("%s: hardly anything differs", what)
	}
}

// bits fails unless two vectors are equal.
func bits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s%v", what, far(got, want, 0))
	}
}

// addUpdates adds share·s·Σ_k (B_k A_k − B'_k A'_k) of all layers to w, and of their biases to b; without B'A' where
// heads are reset. It is merge's arithmetic in float64 and one number after another.
func addUpdates(tr *Trainer, share float64, w, b []float64) {
	atW, atB := 0, 0
	for _, l := range tr.model.Layers() {
		m, n := l.W.Rows, l.W.Cols
		for _, worker := range tr.workers {
			a := worker.heads[0].Adapter(l)
			if a == nil {
				continue
			}
			r := a.A.Rows
			s := share * tr.config.LoRA.Alpha / float64(tr.config.LoRA.Rank)
			add := func(f lora.Factors, s float64) {
				for i := range m {
					for k := range r {
						x := s * float64(f.B.Data[i*r+k])
						for j := range n {
							w[atW+i*n+j] += x * float64(f.A.Data[k*n+j])
						}
						if f.BiasA != nil {
							b[atB+i] += x * float64(f.BiasA[k])
						}
					}
					if f.BiasB != nil {
						b[atB+i] += s * float64(f.BiasB[i])
					}
				}
			}
			add(a.Factors, s)
			if tr.config.Merge.Reset == "none" {
				add(a.Merged, -s)
			}
		}
		atW, atB = atW+m*n, atB+m
	}
}

func widened(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// After a merge W is what algorithm.md says, and the factors are: kept as A', B' (none); A with B = 0 (b); another A,
// of the stream of (seed, head, merge), with B = 0 (ab). Every head then computes what W computes. With biases in the
// factors, b likewise.
//
// Fails if a reset moves W, leaves B or b_B, keeps A in ab or draws it in b, draws it of another stream, or forgets A'B'
// .
func TestResets(t *testing.T) {
	for _, reset := range []string{"none", "b", "ab"} {
		for _, bias := range []bool{false, true} {
			for _, combine := range []string{"mean", "sum"} {
				t.Run(fmt.Sprintf("%s/%s/bias=%v", reset, combine, bias), func(t *testing.T) {
					const n = 3
					c := tinyConfig("lte")
					c.LoRA.Heads, c.LoRA.Bias, c.Merge.Reset, c.Merge.Combine = n, bias, reset, combine
					tr := started(t, c, collective.Alone{}, tinySet(60))
					share := map[string]float64{"mean": 1.0 / n, "sum": 1}[combine]
					layout := tr.algorithm.(*lte).layout
					for merge := 1; merge <= 3; merge++ {
						status, err := tr.localSteps(3)
						must(t, err)
						beforeW := linear(tr)
						wantW, wantB := widened(beforeW), widened(biases(tr))
						addUpdates(tr, share, wantW, wantB)
						var before [][]float32
						for _, w := range tr.workers {
							before = append(before, slices.Clone(w.heads[0].Value))
						}
						_, err = tr.Merge(3, status)
						must(t, err)
						near(t, "W", linear(tr), wantW, 2e-6)
						near(t, "b", biases(tr), wantB, 2e-6)
						distant(t, "W", linear(tr), beforeW)
						tr.model.UseMerged()
						merged := logits(tr, 8)
						for k, w := range tr.workers {
							h := w.heads[0]
							want := before[k]
							switch reset {
							case "ab":
								want = slices.Clone(layout.NewHead(make([]float32, layout.Length), random.Stream(c.Seed, "reset", uint64(k), uint64(merge))).Value)
							case "b":
								for _, p := range layout.Layers {
									f := p.Factors(want)
									clear(f.B.Data)
									clear(f.BiasB)
								}
							}
							bits(t, "factors", h.Value, want)
							bits(t, "A', B'", h.Merged, want)
							tr.model.UseLocal(h)
							near(t, "a head's logits", logits(tr, 8), merged, 1e-5)
						}
					}
				})
			}
		}
	}
}

// Until the first merge the ways to reset are one, and so is W after it.
//
// Fails if what a reset does reaches W.
func TestResetLeavesW(t *testing.T) {
	var want []float32
	for _, reset := range []string{"none", "b", "ab"} {
		c := tinyConfig("lte")
		c.Merge.Reset = reset
		tr := started(t, c, collective.Alone{}, tinySet(60))
		advance(t, tr, 3)
		if want == nil {
			want = linear(tr)
		}
		bits(t, "W", linear(tr), want)
	}
}

// moments are the values that the optimizers of a worker keep: of the head (or all weights), and of replicas.
func moments(w *worker, group int) []float32 { return slices.Concat(momentsOf(w.groups[group])...) }

// momentsOf are those of a parameter group, each as long as its parameters.
func momentsOf(p *paramGroup) [][]float32 {
	switch o := p.optimizer.(type) {
	case *adamW:
		return [][]float32{o.m, o.v}
	case *sgd:
		return [][]float32{o.buffer}
	}
	panic("an optimizer without moments")
}

// A merge clears the moments of every head (of all weights in localsgd) or keeps them, never those of replicas; how
// many were not 0 stands in records and in the summary.
//
// Fails if clear leaves a moment or AdamW's t, counts moments that were 0 (the first step's of A are), touches
// replicas, or if keep clears.
func TestMomentsAtMerge(t *testing.T) {
	for _, method := range []string{"lte", "sequential", "localsgd", "diloco"} {
		for _, optimizer := range []string{"adamw", "sgd"} {
			for _, how := range []string{"keep", "clear"} {
				t.Run(method+"/"+optimizer+"/"+how, func(t *testing.T) {
					c := tinyConfig(method)
					c.Optimizer.Name, c.Optimizer.WeightDecay, c.Merge.Moments = optimizer, 0, how
					c.Run.LogEvery, c.Merge.Every = 1, 1
					c.Train.Steps = 3
					if method == "lte" {
						c.LoRA.Heads = 2
					}
					if c.Spec().HasHeads() {
						c.Replicas.Train = []string{"class_token", "*.bias"}
					}
					tr := started(t, c, collective.Alone{}, tinySet(60))
					var counts []int
					cleared := 0
					for range 3 {
						status, err := tr.localSteps(1)
						must(t, err)
						var before [][2][]float32
						for _, w := range tr.workers {
							b := [2][]float32{moments(w, 0)}
							if len(w.groups) > 1 {
								b[1] = moments(w, 1)
							}
							before = append(before, b)
							for _, x := range b[0] {
								if x != 0 && how == "clear" {
									cleared++
								}
							}
						}
						counts = append(counts, cleared)
						_, err = tr.Merge(1, status)
						must(t, err)
						for k, w := range tr.workers {
							want := before[k][0]
							if how == "clear" {
								want = make([]float32, len(want))
							}
							bits(t, "moments", moments(w, 0), want)
							if len(w.groups) > 1 {
								bits(t, "replicas' moments", moments(w, 1), before[k][1])
								distant(t, "replicas' moments", before[k][1], make([]float32, len(before[k][1])))
							}
						}
					}
					if how == "clear" {
						if counts[0] == 0 || c.Spec().HasHeads() && counts[0] == len(tr.workers)*len(moments(tr.workers[0], 0)) {
							t.Fatalf("%d moments not 0 after a step: the count would say nothing", counts[0])
						}
						asNew(t, tr)
					}
					run, obs := newTrainer(t, c, collective.Alone{}, tinySet(60)), &observed{}
					s, err := run.Run(obs)
					must(t, err)
					for i, r := range obs.records {
						if r.MomentsCleared != counts[i] {
							t.Errorf("record %d: %d moments cleared, want %v", i, r.MomentsCleared, counts)
						}
					}
					if s.MomentsCleared != cleared || len(obs.records) != 3 {
						t.Errorf("summary: %d moments cleared after %d records, want %v", s.MomentsCleared, len(obs.records), counts)
					}
				})
			}
		}
	}
}

// asNew fails unless the first worker's optimizer moves its parameters as a new one does.
func asNew(t *testing.T, tr *Trainer) {
	t.Helper()
	w := tr.workers[0]
	p := w.groups[0]
	for i := range p.grad {
		p.grad[i] = float32(i%7) - 3
	}
	q := parameters{value: slices.Clone(p.value), grad: p.grad, spans: p.spans}
	newOptimizer(tr.config.Optimizer, tr.backend, tr.model.Allocator(), q).step(0.01, 1)
	p.step(0.01, 1)
	bits(t, "the next step", p.value, q.value)
}

// The trainer's A is of the kind configured: AAᵀ = (n/r)·I, or uniform within 1/√n.
//
// Fails if lora.init does not reach the heads, those of a reset included.
func TestFactorsAreInitializedAsConfigured(t *testing.T) {
	for _, init := range []string{"orthogonal", "kaiming"} {
		c := tinyConfig("lte")
		c.LoRA.Init, c.LoRA.Heads, c.Merge.Reset, c.Merge.Every = init, 2, "ab", 1
		tr := started(t, c, collective.Alone{}, tinySet(30))
		for range 2 { // as drawn, and as drawn anew
			for _, w := range tr.workers {
				for _, l := range tr.model.Layers() {
					a := w.heads[0].Adapter(l).A
					r, n := a.Rows, a.Cols
					off, largest := 0.0, 0.0
					for i := range r {
						for j := range i + 1 {
							dot := 0.0
							for k := range n {
								dot += float64(a.Data[i*n+k]) * float64(a.Data[j*n+k])
							}
							if i == j {
								dot -= float64(n) / float64(r)
							}
							off = max(off, math.Abs(dot))
						}
					}
					for _, x := range a.Data {
						largest = max(largest, math.Abs(float64(x)))
					}
					bound := 1 / math.Sqrt(float64(n))
					if orthogonal := off < 1e-5; orthogonal != (init == "orthogonal") {
						t.Errorf("%s, %s: AAᵀ is %g from (n/r)·I", init, l.Name, off)
					}
					if uniform := largest <= bound; uniform != (init == "kaiming") || largest < bound/2 {
						t.Errorf("%s, %s: |A| up to %g, √(1/n) = %g", init, l.Name, largest, bound)
					}
				}
			}
			advance(t, tr, 1)
		}
	}
}

// Biases of the factors train: b_B from the first step on, b_A from the second, as B is 0 at the first. Neither decays.
//
// Fails if either stands still, if weight decay reaches it, or if evaluation reads another b than the merge made.
func TestLoRABias(t *testing.T) {
	c, set := tinyConfig("lte"), tinySet(60)
	c.LoRA.Bias = true
	tr := started(t, c, collective.Alone{}, set)
	for step := 1; step <= 2; step++ {
		_, err := tr.localSteps(1)
		must(t, err)
		for _, l := range tr.model.Layers() {
			a := head(tr).Adapter(l)
			if still := slices.Max(a.BiasA) == 0 && slices.Min(a.BiasA) == 0; still != (step == 1) {
				t.Errorf("%s: b_A = %v after step %d", l.Name, a.BiasA, step)
			}
			trained := a.BiasB
			if match("*.in_proj", l.Name) { // softmax does not see the keys' bias: its gradient is rounding, or 0
				third := len(trained) / 3
				trained = slices.Concat(trained[:third], trained[2*third:])
			}
			if slices.Contains(trained, 0) && step == 1 {
				t.Errorf("%s: b_B = %v after step 1", l.Name, trained)
			}
		}
	}
	before := biases(tr)
	_, err := tr.Merge(2, merge.Status{})
	must(t, err)
	distant(t, "b", biases(tr), before)
	plain := newTrainer(t, tinyConfig("full"), collective.Alone{}, set)
	copy(plain.model.Flat(), tr.model.Flat())
	want, _, err := plain.evaluate()
	must(t, err)
	got, _, err := tr.evaluate()
	must(t, err)
	near(t, "test loss", []float64{got}, []float64{want}, 1e-6)

	w := tr.workers[0]
	h, layout := w.heads[0], tr.algorithm.(*lte).layout
	tr.config.Optimizer.WeightDecay = 0.5
	was := slices.Clone(h.Value)
	p := parameters{value: h.Value, grad: make([]float32, len(h.Value)), spans: w.groups[0].spans}
	newOptimizer(tr.config.Optimizer, tr.backend, tr.model.Allocator(), p).step(0.1, 1)
	for _, l := range layout.Layers {
		f, g := l.Factors(h.Value), l.Factors(was)
		bits(t, "b_A after decay", f.BiasA, g.BiasA)
		bits(t, "b_B after decay", f.BiasB, g.BiasB)
		near(t, "20 A after decay", scaled(f.A.Data, 20), scaled(g.A.Data, 19), 1e-5)
	}
}

func scaled(x []float32, by float32) []float32 {
	y := slices.Clone(x)
	for i := range y {
		y[i] *= by
	}
	return y
}

// Every key of augmentation where it belongs, and data.augment over all of them. Seen to fail with two keys that change places, and
// with one that is read nowhere.
func TestAugmentationFollowsItsKeys(t *testing.T) {
	c, err := config.Load("", []string{"data.size=8", "data.resized_crop_area=0.1", "data.resized_crop_aspect=2", "data.rotate=3", "data.shift=4",
		"data.scale=0.5", "data.shear=6", "data.flip=true", "data.crop=7", "data.randaugment=2", "data.randaugment_magnitude=10", "data.brightness=0.1",
		"data.contrast=0.2", "data.saturation=0.3", "data.random_erasing=0.4"})
	must(t, err)
	want := data.Augment{ResizedCrop: data.ResizedCrop{Area: 0.1, Aspect: 2}, Affine: data.Affine{Rotate: 3, Shift: 4, Scale: 0.5, Shear: 6}, Flip: true,
		Crop: 7, RandAugment: data.RandAugment{Operations: 2, Magnitude: 10},
		Colour: data.ColourJitter{Brightness: 0.1, Contrast: 0.2, Saturation: 0.3}, Erasing: 0.4}
	if got := Augment(c.Data); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	c.Data.Augment = false
	if got := Augment(c.Data); got != (data.Augment{}) {
		t.Errorf("switched off: %+v", got)
	}
}

// late is a feed whose n-th Next waits n seconds.
type late struct {
	feed
	nexts int
}

func (l *late) Next() (*data.Batch, error) { l.nexts++; return l.feed.Next() }
func (l *late) Wait() time.Duration        { return time.Duration(l.nexts*(l.nexts+1)/2) * time.Second }

// A record has what all steps before it have waited for data, and the summary what all did. Seen to fail with the last step's wait
// alone, and with what the feed had waited before the run.
func TestDataWaitIsCounted(t *testing.T) {
	c := tinyConfig("full")
	c.Train.Steps, c.Run.LogEvery = 4, 2
	var told observed
	tr := started(t, c, collective.Alone{}, tinySet(60))
	tr.feed, tr.observer = &late{feed: tr.feed, nexts: 10}, &told
	s, err := tr.run()
	must(t, err)
	if r := told.records; len(r) != 2 || r[0].DataWait != 11+12 || r[1].DataWait != 11+12+13+14 || s.DataWait != 50 {
		t.Errorf("waited %v s at the records, %v in all", r, s.DataWait)
	}
}

// A moving average of a W that stays tends to it, at the rate 1 − d. Fails if 1 − d is formed in float32, which loses its digits where d
// is near 1, or if the average settles elsewhere than at W.
func TestMovingAverageTendsToTheWeights(t *testing.T) {
	for _, d := range []float64{0.999, 0.99999} {
		tr := newTrainer(t, func() config.Config { c := tinyConfig("lte"); c.EMA.Decay = d; return c }(), collective.Alone{}, tinySet(8))
		a, w := tr.average, make([]float32, len(tr.average.values))
		for i := range w {
			a.values[i], w[i] = 0, 1+float32(i)/float32(len(w))
		}
		want := widened(a.values)
		for range 2000 {
			must(t, a.add(w, 1))
			for i := range want {
				want[i] = d*want[i] + (1-d)*float64(w[i])
			}
		}
		near(t, fmt.Sprint("d = ", d), a.values, want, 2e-6)
	}
}
