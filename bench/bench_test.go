package bench

import (
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"lte/collective"
	"lte/collective/grouptest"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/family"
	"lte/nn"
	"lte/train"
)

func tiny(method string) Options {
	return options(method, config.Model{Kind: "vit", Patch: 4, Depth: 3, Width: 16, MLP: 48, Heads: 2, Positions: "sincos"})
}

func tinyMixer(method string) Options {
	return options(method, config.Model{Kind: "mixer", Patch: 4, Depth: 2, Width: 24, MLP: 48, TokenMLP: 12})
}

// paper is the paper's recipe: heads with a basis of their own, and AdamW.
func paper() config.Config {
	c, err := config.LoadRecipe("paper", "", nil)
	if err != nil {
		panic(err)
	}
	return c
}

func options(method string, m config.Model) Options {
	c := paper()
	c.Method, c.Model = method, m
	c.LoRA.Rank, c.Train.Batch, c.Train.EvalBatch = 4, 8, 1
	if err := c.Resolve(1); err != nil {
		panic(err)
	}
	return Options{Config: c, Image: 16, Classes: 10, Threads: 1, Warmup: 2, Rounds: 4}
}

// flops are FLOPs per image.
type flops struct{ linear, lora, attention float64 }

func (f flops) all() float64 { return f.linear + f.lora + f.attention }

// formula is the FLOPs per image by the doc comment of Step.
func formula(o Options) (total flops) {
	m, batch, r := o.Config.Model, float64(o.Config.Train.Batch), float64(o.Config.LoRA.Rank)
	patches := float64(o.Image/m.Patch) * float64(o.Image/m.Patch)
	tokens, w, mlp, tokenMLP := patches+1, float64(m.Width), float64(m.MLP), float64(m.TokenMLP)
	layer := func(rows, out, in float64, inputGradient bool) {
		total.linear += 2 * rows * out * in
		if inputGradient {
			total.linear += 2 * rows * out * in
		}
		if o.Config.Method == "full" {
			total.linear += 2 * rows * out * in
			return
		}
		r := min(r, out, in)
		gradients := min(4*rows*r*(out+in), 2*rows*out*in+4*out*in*r/batch)
		thin := 4 * rows * r * (out + in) // without the product by A that the embedding's gradient has no use for
		if !inputGradient {
			thin -= 2 * rows * r * in
		}
		if 6*rows*r*(out+in) < 2*out*in*r/batch+gradients {
			total.lora += thin + 2*rows*r*(out+in)
		} else {
			total.lora += 2*out*in*r/batch + gradients
		}
	}
	layer(patches, w, 3*float64(m.Patch*m.Patch), false)
	for i := range m.Depth {
		if m.Kind == "mixer" {
			layer(w, tokenMLP, patches, true)
			layer(w, patches, tokenMLP, true)
			layer(patches, mlp, w, true)
			layer(patches, w, mlp, true)
			continue
		}
		queries, behind := tokens, tokens
		if i == m.Depth-1 {
			queries, behind = 1, 1
		}
		layer(tokens, 3*w, w, true)
		layer(behind, w, w, true)
		layer(behind, mlp, w, true)
		layer(behind, w, mlp, true)
		total.attention += 12 * queries * tokens * w
	}
	layer(1, float64(o.Classes), w, true)
	return total
}

// Fails if the formula in the doc comment is not what a step does, a step allocates, or the kinds of work do not add up to the step.
func TestStep(t *testing.T) {
	for _, o := range []Options{tiny("lte"), tiny("full"), tinyMixer("lte"), tinyMixer("full")} {
		method, kind := o.Config.Method, o.Config.Model.Kind
		s, err := RunStep(o, collective.Alone{})
		if err != nil {
			t.Fatal(err)
		}
		if want := formula(o).all(); math.Abs(s.FLOPsPerImage-want) > 1e-9*want {
			t.Errorf("%s, %s: %v FLOPs per image counted, %v by the formula", kind, method, s.FLOPsPerImage, want)
		}
		if s.Allocations != 0 {
			t.Errorf("%s, %s: %v allocations a step", kind, method, s.Allocations)
		}
		sum := 0.0
		for work, ms := range s.MS {
			if ms < 0 || (ms == 0) != (work == "lora" && method == "full" || work == "attention" && kind == "mixer") {
				t.Errorf("%s, %s: %v ms of %s", kind, method, ms, work)
			}
			sum += ms
		}
		if len(s.MS) != 7 || sum < s.StepMS/10 || s.ImagesPerSecond <= 0 || s.Share <= 0 || s.PeakBytes <= 0 {
			t.Errorf("%s, %s: %+v", kind, method, s)
		}
	}
}

// clocked is a group whose ranks have clocks of their own, which show the time of the latest rank and a millisecond after each barrier.
type clocked struct {
	collective.Group
	now time.Duration
}

func (c *clocked) Barrier() error {
	all := make([]uint64, c.Size())
	err := collective.Allgather(c, all, []uint64{uint64(c.now)})
	c.now = time.Duration(slices.Max(all)) + time.Millisecond
	return err
}

// Ranks compute 10⁶ FLOPs a step, in 2 ms and in 2 ms times a factor. Fails if the FLOPs of the warm-up are counted, the time of all
// intervals is taken for that of one, that of the barrier is not left out, or ranks do not wait for the slowest.
func TestIntervalRate(t *testing.T) {
	for _, c := range []struct {
		k     int
		long  time.Duration
		slow  int // how many times slower the last rank is
		steps int // taken, of them 1 + 40 before the measurement
	}{
		{1, 0, 1, 41 + 3},
		{100, 0, 1, 41 + 3},
		{1, 100 * time.Millisecond, 1, 41 + 33}, // a step with its barrier takes 3 ms
		{100, 100 * time.Millisecond, 1, 41 + 33},
		{3, 0, 16, 41 + 3},
	} {
		grouptest.Run(t, 2, func(g *grouptest.Rank) error {
			group, steps := &clocked{Group: g}, 0
			duration := 2 * time.Millisecond
			if g.Rank() == 1 {
				duration *= time.Duration(c.slow)
			}
			rate, err := intervals{
				Group: group,
				clock: func() time.Duration { return group.now },
				step:  func() error { steps++; group.now += duration; return nil },
				flops: func() float64 { return 1e6 * float64(steps) },
			}.rate(40, c.k, c.long)
			if want := 1e6 / (2e-3 * float64(c.slow)); math.Abs(rate-want) > 1e-9*want {
				t.Errorf("k = %d, %v, %d times slower: %v FLOP/s, want %v", c.k, c.long, c.slow, rate, want)
			}
			if steps != c.steps {
				t.Errorf("k = %d, %v: %d steps, want %d", c.k, c.long, steps, c.steps)
			}
			return err
		})
	}
}

// Fails if a step's FLOPs are not those of RunStep, or the clock does not run: within a factor of 1,000, whatever else the machine does.
func TestIntervalRateOfSteps(t *testing.T) {
	o := tiny("lte")
	s, err := RunStep(o, collective.Alone{})
	if err != nil {
		t.Fatal(err)
	}
	rate, err := IntervalRate(o, collective.Alone{}, 2, 0)
	if ratio := rate / 1e9 / s.GFLOPS; err != nil || ratio < 1e-3 || ratio > 1e3 {
		t.Errorf("%v of a step's rate, %v", ratio, err)
	}
}

// Fails if a product of the model is missing from the roofline, or has another size there.
func TestGemm(t *testing.T) {
	for name, o := range map[string]Options{"vit-16x3/4": tiny("full"), "mixer-24x2/4": tinyMixer("full")} {
		rows, total, err := RunGemm(o)
		if err != nil {
			t.Fatal(err)
		}
		flops := 0.0
		for _, r := range rows {
			flops += 2 * float64(r.Count) * float64(r.M) * float64(r.N) * float64(r.K)
			if r.GFLOPS <= 0 {
				t.Errorf("%+v", r)
			}
		}
		want := float64(o.Config.Train.Batch) * formula(o).linear
		if math.Abs(flops-want) > 1e-9*want {
			t.Errorf("%s: %v FLOPs in the table, want %v", name, flops, want)
		}
		if total.GFLOPS <= 0 || total.Model != name {
			t.Errorf("%+v", total)
		}
	}
}

// listed is the FLOPs of a step's products.
func listed(t *testing.T, o Options) (sum float64) {
	t.Helper()
	all, err := o.products()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		sum += float64(p.count) * p.FLOPs()
	}
	return sum
}

// Fails if the products of a preset are not those of the formula, or not what the model counts besides attention and heads.
func TestProductsOfEveryPreset(t *testing.T) {
	for _, preset := range family.Presets() {
		name := preset.Name
		for _, method := range []string{"lte", "full"} {
			m, ok := config.Preset(name)
			if !ok {
				t.Fatalf("%s is no preset", name)
			}
			m.Positions = "sincos"
			o := options(method, m)
			o.Image, o.Classes, o.Config.LoRA.Rank, o.Config.Train.Batch = 224, 1000, 64, 32
			images, parts := float64(o.Config.Train.Batch), formula(o)
			if got, want := listed(t, o), images*parts.linear; math.Abs(got-want) > 1e-9*want {
				t.Errorf("%s, %s: %v FLOPs of products, want %v", name, method, got, want)
			}
			set := &data.Set{Shape: data.Shape{Channels: channels, Height: o.Image, Width: o.Image}, Classes: o.Classes}
			outline, err := train.NewOutline(o.Config, 1, set)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := listed(t, o)+images*(parts.lora+parts.attention), images*outline.Model.FLOPs(outline.Layout); math.Abs(got-want) > 1e-9*want {
				t.Errorf("%s, %s: %v FLOPs a step with attention and head, the model counts %v", name, method, got, want)
			}
		}
	}
}

// recorder is a back end that records the products that only layers compute.
type recorder struct {
	compute.Backend
	made map[made]int
}

type made struct {
	pass    nn.Pass
	m, n, k int
}

func (r recorder) Linear(y, x, w compute.Operand, bias []float32, beta float32) {
	r.made[made{nn.Forward, y.Rows, y.Cols, x.Cols}]++
	r.Backend.Linear(y, x, w, bias, beta)
}

func (r recorder) LinearBackwardInput(dx, dy, w compute.Operand) {
	r.made[made{nn.InputGradient, dx.Rows, dx.Cols, dy.Cols}]++
	r.Backend.LinearBackwardInput(dx, dy, w)
}

// Fails if the products of a step are listed with other shapes, or in another number, than a step computes: in several passes, with
// several heads, each in passes of its own or all in one, or with layers that train besides the heads.
func TestProductsAreThoseOfAStep(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"one head":    func(*Options) {},
		"full":        func(o *Options) { o.Config.Method = "full" },
		"accumulated": func(o *Options) { o.Config.Train.Accumulate = 4 },
		"four heads":  func(o *Options) { o.Config.LoRA.Heads, o.Config.LoRA.Rank = 4, 8 },
		"in one pass": func(o *Options) { o.Config.LoRA.Heads, o.Config.LoRA.Rank, o.Config.Train.Batch, o.Image = 2, 1, 2, 4 },
		"same images": func(o *Options) { o.Config.LoRA.Heads, o.Config.Data.Share = 2, "same" },
		"a stack":     func(o *Options) { o.Config.Method, o.Config.LoRA.Heads = "mhlora", 2 },
		"a replica":   func(o *Options) { o.Config.Replicas.Train = []string{"*head*"} },
	} {
		for _, o := range []Options{tiny("lte"), tinyMixer("lte")} {
			m := o.Config.Model
			o.Config = paper()
			o.Config.Model, o.Config.LoRA.Rank, o.Config.Train.Batch, o.Config.Train.EvalBatch = m, 4, 8, 1
			change(&o)
			if err := o.Config.Resolve(1); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			be, err := o.backend()
			if err != nil {
				t.Fatal(err)
			}
			set, err := o.set()
			if err != nil {
				t.Fatal(err)
			}
			recorder := recorder{be, map[made]int{}}
			meter := compute.NewMeter(recorder)
			trainer, err := train.New(o.Config, collective.Alone{}, set, meter)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			batch, err := o.batch(set)
			if err != nil {
				t.Fatal(err)
			}
			if err := step(trainer, batch); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			all, err := o.products()
			if err != nil {
				t.Fatal(err)
			}
			want := map[made]int{}
			for _, p := range all {
				if p.Pass != nn.WeightGradient {
					want[made{p.Pass, p.M, p.N, p.K}] += p.count
				}
			}
			if !maps.Equal(recorder.made, want) {
				t.Errorf("%s, %s: a step makes\n%v, listed are\n%v", m.Kind, name, recorder.made, want)
			}
			if got, want := listed(t, o), meter.Tallies[compute.Product].FLOPs; math.Abs(got-want) > 1e-9*want {
				t.Errorf("%s, %s: %v FLOPs of products listed, a step makes %v", m.Kind, name, got, want)
			}
		}
	}
}

// Layers that differ only in their block are one line of the table; the last block's, of class tokens only, is another.
func TestProductsOfLikeLayersAreOne(t *testing.T) {
	all, err := tiny("lte").products()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, p := range all {
		if p.Pass == nn.Forward {
			got[p.layer] += p.count
		}
	}
	want := map[string]int{"conv_proj": 1, "heads.head": 1}
	for _, layer := range []string{"self_attention.out_proj", "mlp.0", "mlp.3"} {
		want["encoder.layers.encoder_layer_*."+layer], want["encoder.layers.encoder_layer_2."+layer] = 2, 1
	}
	want["encoder.layers.encoder_layer_*.self_attention.in_proj"] = 3
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A single rank waits for no other: a round takes as long as its work. Fails if work is not done, or not counted as the ideal.
func TestWait(t *testing.T) {
	const work = 20 * time.Millisecond
	w, err := RunWait(collective.Alone{}, 1, work, 400, 5)
	if err != nil {
		t.Fatal(err)
	}
	if w.IdealMS < 10 || w.IdealMS > 30 || w.RoundMS < 0.99*w.IdealMS || w.Waste < 0.99 {
		t.Errorf("%+v", w)
	}
}

// Fails if the bytes of a merge are not those of the factors.
func TestMerge(t *testing.T) {
	m, err := RunMerge(tiny("lte"), collective.Alone{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Ranks != 1 || m.BytesSent != 0 || m.DenseBytes != 0 || m.FactorsBytes <= 0 || m.MS <= 0 {
		t.Errorf("%+v", m)
	}
}
