package bench

import (
	"math"
	"testing"
	"time"

	"lte/collective"
	"lte/config"
)

func tiny(method string) Options {
	c := config.Default()
	c.Method = method
	c.Model = config.Model{Kind: "vit", Patch: 4, Depth: 3, Width: 16, MLP: 48, Heads: 2, Positions: "sincos"}
	c.LoRA.Rank, c.Train.Batch, c.Train.EvalBatch = 4, 8, 1
	if err := c.Resolve(1); err != nil {
		panic(err)
	}
	return Options{Config: c, Image: 16, Classes: 10, Threads: 1, Warmup: 2, Rounds: 4}
}

// formula is FLOPs an image by the docstring of Step.
func formula(o Options) float64 {
	m, batch, r := o.Config.Model, float64(o.Config.Train.Batch), float64(o.Config.LoRA.Rank)
	patches := float64(o.Image/m.Patch) * float64(o.Image/m.Patch)
	tokens, w, mlp := patches+1, float64(m.Width), float64(m.MLP)
	total := 0.0
	layer := func(rows, out, in float64, inputGradient bool) {
		total += 2 * rows * out * in
		if inputGradient {
			total += 2 * rows * out * in
		}
		if o.Config.Method == "full" {
			total += 2 * rows * out * in
			return
		}
		r := min(r, out, in)
		gradients := min(4*rows*r*(out+in), 2*rows*out*in+4*out*in*r/batch)
		thin := 4 * rows * r * (out + in) // without the product by A that the embedding's gradient has no use for
		if !inputGradient {
			thin -= 2 * rows * r * in
		}
		if 6*rows*r*(out+in) < 2*out*in*r/batch+gradients {
			total += thin + 2*rows*r*(out+in)
		} else {
			total += 2*out*in*r/batch + gradients
		}
	}
	layer(patches, w, 3*float64(m.Patch*m.Patch), false)
	for i := range m.Depth {
		queries, behind := tokens, tokens
		if i == m.Depth-1 {
			queries, behind = 1, 1
		}
		layer(tokens, 3*w, w, true)
		layer(behind, w, w, true)
		layer(behind, mlp, w, true)
		layer(behind, w, mlp, true)
		total += 12 * queries * tokens * w
	}
	layer(1, float64(o.Classes), w, true)
	return total
}

// Fails when the formula that the docstring gives is not what a step does, when a step allocates, or when the kinds of
// work do not add up to the step.
func TestStep(t *testing.T) {
	for _, method := range []string{"lte", "full"} {
		o := tiny(method)
		s, err := RunStep(o, collective.Alone{})
		if err != nil {
			t.Fatal(err)
		}
		if want := formula(o); math.Abs(s.FLOPsPerImage-want) > 1e-9*want {
			t.Errorf("%s: %v FLOPs an image counted, %v by the formula", method, s.FLOPsPerImage, want)
		}
		if s.Allocations != 0 {
			t.Errorf("%s: %v allocations a step", method, s.Allocations)
		}
		sum := 0.0
		for kind, ms := range s.MS {
			if ms < 0 || (ms == 0) != (kind == "lora" && method == "full") {
				t.Errorf("%s: %v ms of %s", method, ms, kind)
			}
			sum += ms
		}
		if len(s.MS) != 7 || sum < s.StepMS/10 || s.ImagesPerSecond <= 0 || s.Share <= 0 || s.PeakBytes <= 0 {
			t.Errorf("%s: %+v", method, s)
		}
	}
}

// Fails when the operations of warm-up are counted, or the time of all intervals is taken for one's.
func TestIntervalRate(t *testing.T) {
	o := tiny("lte")
	s, err := RunStep(o, collective.Alone{})
	if err != nil {
		t.Fatal(err)
	}
	o.Warmup = 40
	for _, k := range []int{1, 100} {
		for _, long := range []time.Duration{0, 100 * time.Millisecond} {
			rate, err := IntervalRate(o, collective.Alone{}, k, long)
			if ratio := rate / 1e9 / s.GFLOPS; err != nil || ratio < 0.2 || ratio > 5 {
				t.Errorf("k = %d, %v: %v of a step's rate, %v", k, long, ratio, err)
			}
		}
	}
}

// Fails when a product of the model is missing from the roofline, or stands there with other sizes.
func TestGemm(t *testing.T) {
	o := tiny("full")
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
	// By the formula, less what the roofline leaves out: attention, classifier, and the last block behind its attention.
	m, batch := o.Config.Model, float64(o.Config.Train.Batch)
	w, mlp, tokens := float64(m.Width), float64(m.MLP), 17.0
	behind := 6 * (w*w + 2*w*mlp)
	attention := 12 * w * tokens * (float64(m.Depth-1)*tokens + 1)
	want := batch * (formula(o) - behind - attention - 6*10*w)
	if math.Abs(flops-want) > 1e-9*want {
		t.Errorf("%v FLOPs in the table, want %v", flops, want)
	}
	if total.GFLOPS <= 0 || total.Model != "vit-16x3/4" {
		t.Errorf("%+v", total)
	}
}

// Alone nobody is waited for: a round is its work. Fails when work is not done, or not counted as the ideal.
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

// Fails when a merge is counted with other bytes than the factors'.
func TestMerge(t *testing.T) {
	m, err := RunMerge(tiny("lte"), collective.Alone{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Ranks != 1 || m.BytesSent != 0 || m.DenseBytes != 0 || m.FactorsBytes <= 0 || m.MS <= 0 {
		t.Errorf("%+v", m)
	}
}
