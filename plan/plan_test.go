package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"lte/collective/grouptest"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/merge"
	"lte/record"
	"lte/train"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openDigits reads the digits once.
var openDigits = sync.OnceValues(func() (*data.Set, error) { return data.Open(data.Source{Kind: "digits"}, 0) })

// digits is a set of its own, of shared images.
func digits(t *testing.T) *data.Set {
	t.Helper()
	set, err := openDigits()
	must(t, err)
	own := *set
	return &own
}

// few is the first images of a set: what is measured does not depend on how many are evaluated.
type few struct{ data.Images }

func (few) Len() int { return 8 }

// paper is the paper's recipe: heads with a basis of their own, and AdamW.
func paper() config.Config {
	c, err := config.LoadRecipe("paper", "", nil)
	if err != nil {
		panic(err)
	}
	return c
}

// small is a run of two intervals on the digits.
func small(method string) config.Config {
	c := paper()
	c.Method = method
	c.Model = config.Model{Kind: "vit", Patch: 4, Depth: 2, Width: 24, MLP: 40, TokenMLP: 12, Heads: 2, Positions: "learned"}
	c.LoRA.Rank, c.Merge.Every, c.Train.Steps, c.Train.Batch = 3, 3, 6, 4
	c.Run.LogEvery, c.Run.EvalEvery, c.Schedule.Warmup, c.Measure.Images = 3, 0, 1, 8
	c.Compute.Backend = "gonum"
	return c
}

// office is four ranks on two nodes joined by 1 Gbit/s.
func office(t *testing.T, c config.Config) Options {
	return Options{Config: c, Set: digits(t),
		Cluster: Cluster{Ranks: 4, PerNode: 2, Between: Link{1e-4, 125e6}, Within: Link{1e-5, 5e9}, Library: MPICH},
		Speed:   Speed{Heads: 1e11, Weights: 1e11, Memory: 1e10}}
}

func predict(t *testing.T, o Options, method string) Prediction {
	t.Helper()
	p, err := Predict(o, method)
	must(t, err)
	return p
}

// changes are runs that send or hold something of their own.
var changes = map[string]func(c *config.Config){
	"plain":    func(c *config.Config) {},
	"heads":    func(c *config.Config) { c.LoRA.Heads = 12 },
	"biases":   func(c *config.Config) { c.LoRA.Bias = true },
	"replicas": func(c *config.Config) { c.Replicas.Train = []string{"class_token", "*.mlp.0.*"} },
	"rules": func(c *config.Config) {
		c.LoRA.Layers = []config.LayerRule{{Match: "*.mlp.*", Rank: 2}, {Match: "heads.*", Skip: true}}
	},
	"momentum":   func(c *config.Config) { c.Merge.Momentum = 0.5 },
	"resets":     func(c *config.Config) { c.Merge.Reset = "ab" },
	"average":    func(c *config.Config) { c.EMA.Decay = 0.9 },
	"sgd":        func(c *config.Config) { c.Optimizer.Name = "sgd" },
	"same":       func(c *config.Config) { c.Data.Share = "same"; c.LoRA.Heads = 12 },
	"accumulate": func(c *config.Config) { c.Train.Accumulate = 2 },
	"mixer":      func(c *config.Config) { c.Model.Kind = "mixer" },
	"dense":      func(c *config.Config) { c.Exchange.Transport = "dense" },
	"rows":       func(c *config.Config) { c.Exchange.Transport = "rows" },
	"int8 rows":  func(c *config.Config) { c.Exchange.Transport, c.Exchange.Wire = "rows", "int8" },
	"int4":       func(c *config.Config) { c.Exchange.Wire = "int4" },
	"shared basis": func(c *config.Config) {
		c.LoRA.Basis, c.LoRA.TrainA, c.Exchange.Wire, c.Merge.Momentum = "shared", false, "int2", 0.5
	},
	"shared basis that trains": func(c *config.Config) { c.LoRA.Basis, c.LoRA.Heads = "shared", 12 },
	"Muon":                     func(c *config.Config) { c.Optimizer.Name = "muon" },
}

// eachRun calls f with the configuration of every method under every change that it can have.
func eachRun(base func(method string) config.Config, f func(name string, c config.Config)) {
	for _, method := range []string{"lte", "full", "lora", "mhlora", "sequential", "localsgd", "diloco"} {
		for name, change := range changes {
			c := base(method)
			change(&c)
			if c.Check() == nil {
				f(method+", "+name, c)
			}
		}
	}
}

// The law of bytes: what is predicted is what a meter counts in a run of two intervals, by purpose and to the byte, in every wire format.
// Fails if a message is left out, or counted in other sizes.
func TestBytesAreThoseOfARun(t *testing.T) {
	set := digits(t)
	set.Test = few{set.Test}
	eachRun(small, func(name string, c config.Config) {
		for _, ranks := range []int{1, 2, 3, 4} {
			o := office(t, c)
			o.Cluster.Ranks = ranks
			p := predict(t, o, c.Method)
			run := c
			must(t, run.Resolve(ranks))
			grouptest.Run(t, ranks, func(g *grouptest.Rank) error {
				be, err := compute.New("gonum", 1, compute.Float32)
				if err != nil {
					return err
				}
				tr, err := train.New(run, g, set, be)
				if err != nil {
					return err
				}
				s, err := tr.Run(nil)
				if err != nil {
					return err
				}
				if got := s.Traffic; float64(got.Merge.Sent) != 2*p.MergeBytes || float64(got.Gradients.Sent) != 2*p.GradientBytes ||
					float64(got.Control.Sent) != 2*p.ControlBytes {
					t.Errorf("%s, %d ranks: %d, %d, %d bytes sent, planned 2 × %v, %v, %v", name, ranks, got.Merge.Sent, got.Gradients.Sent,
						got.Control.Sent, p.MergeBytes, p.GradientBytes, p.ControlBytes)
				}
				if got := s.DDPBytesPerRank; float64(got) != 2*p.AveragingBytes {
					t.Errorf("%s, %d ranks: %d bytes of gradient averaging, planned 2 × %v", name, ranks, got, p.AveragingBytes)
				}
				sent := total(s.Traffic)
				if each := float64(sent*int64(ranks)) / float64(s.Images); math.Abs(each-p.BytesPerImage) > 1e-9*each {
					t.Errorf("%s, %d ranks: %v bytes an image, planned %v", name, ranks, each, p.BytesPerImage)
				}
				return nil
			})
		}
	})
}

func total(t record.Traffic) int64 { return t.Merge.Sent + t.Gradients.Sent + t.Control.Sent }

// live is the bytes of what can be reached.
func live() int64 {
	runtime.GC()
	runtime.GC() // pools are emptied at the second
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// The law of memory: what is predicted is what a trainer then holds, to 2 %. Fails if a large buffer is left out.
func TestMemoryIsThatOfATrainer(t *testing.T) {
	set := digits(t)
	be, err := compute.New("gonum", 1, compute.Float32)
	must(t, err)
	large := func(method string) config.Config {
		c := small(method)
		c.Model.Width, c.Model.MLP, c.Model.Heads = 128, 512, 4
		c.LoRA.Rank, c.Train.Batch, c.Train.EvalBatch = 16, 8, 8
		return c
	}
	eachRun(large, func(name string, c config.Config) {
		const ranks = 3
		o := office(t, c)
		o.Cluster.Ranks, o.Cluster.PerNode = ranks, 1
		p := predict(t, o, c.Method)
		run := c
		must(t, run.Resolve(ranks))
		begin := live()
		tr, err := train.New(run, grouptest.Mirror{Ranks: ranks}, set, be)
		must(t, err)
		workers := 1
		if c.Method == "lte" {
			workers = run.LoRA.Heads / ranks
		}
		if c.Data.Share == "same" {
			workers = 1
		}
		var batch *data.Batch
		must(t, data.EachBatch(set, set.Train, workers*c.Train.Batch, 0, 100, func(b *data.Batch) error {
			if batch == nil {
				batch = b
			}
			return nil
		}))
		if _, ok, err := tr.LocalStep(batch); err != nil || !ok {
			t.Fatal(ok, err)
		}
		_, err = tr.Merge(1, merge.Status{})
		must(t, err)
		held := live() - begin
		runtime.KeepAlive(tr)
		m := p.Memory
		m.Images, m.Program = 0, 0
		if want := m.Total(); math.Abs(float64(held)-want) > 0.02*want+30e3 {
			t.Errorf("%s: %d bytes held, %.0f planned: %+v", name, held, want, m)
		}
		o.Cluster.Ranks = 4
		for _, perNode := range []int{2, 4} {
			o.Cluster.PerNode = perNode
			p = predict(t, o, c.Method)
			most := p.Memory.Exchange
			if c.SharesWeights() {
				most += p.Memory.Weights
			}
			common := p.Memory.Common
			none := perNode == 2 && c.Method != "lte" && name != "full, Muon" // what comes of a mean is a part of it for each rank
			if p.MemoryPerNode != float64(perNode)*p.MemoryPerRank-float64(perNode-1)*common || p.MemoryPerRank != p.Memory.Total() ||
				(common == 0) != none || common > most || c.SharesWeights() && common <= p.Memory.Weights/2 {
				t.Errorf("%s: %.0f bytes a rank, %.0f a node of %d, %+v", name, p.MemoryPerRank, p.MemoryPerNode, perNode, p.Memory)
			}
		}
	})
}

// vitS is ViT-S/32 on images of 224×224 in 1000 classes.
func vitS(t *testing.T, ranks int) Options {
	c := paper()
	c.Model, _ = config.Preset("vit-s/32")
	c.Model.Positions = "sincos"
	c.Train.Batch, c.Train.EvalBatch = 32, 32
	o := office(t, c)
	o.Set = &data.Set{Shape: data.Shape{Channels: 3, Height: 224, Width: 224}, Classes: 1000}
	o.Cluster.Ranks = ranks
	return o
}

// Fails if any figure grows where it must shrink.
func TestPlansAreMonotonic(t *testing.T) {
	base := vitS(t, 8)
	for _, method := range Methods(base.Config) {
		p := predict(t, base, method)
		for name, c := range map[string]struct {
			change func(o *Options)
			less   func(q Prediction) (got, limit float64) // got must be below the limit
		}{
			"half the bandwidth": {func(o *Options) { o.Cluster.Between.Bandwidth /= 2 },
				func(q Prediction) (float64, float64) { return p.ExchangeSeconds, q.ExchangeSeconds }},
			"the latency of a home": {func(o *Options) { o.Cluster.Between.Latency = 0.02 },
				func(q Prediction) (float64, float64) { return p.Seconds, q.Seconds }},
			"oversubscribed nodes": {func(o *Options) { o.Cluster.Oversubscribed = true },
				func(q Prediction) (float64, float64) { return p.Seconds, q.Seconds }},
			"half the speed": {func(o *Options) {
				o.Speed = Speed{Heads: o.Speed.Heads / 2, Weights: o.Speed.Weights / 2, Memory: o.Speed.Memory / 2}
			},
				func(q Prediction) (float64, float64) { return q.ImagesPerSecond, p.ImagesPerSecond }},
			"half the speed, share": {func(o *Options) {
				o.Speed = Speed{Heads: o.Speed.Heads / 2, Weights: o.Speed.Weights / 2, Memory: o.Speed.Memory / 2}
			},
				func(q Prediction) (float64, float64) { return q.Communicating, p.Communicating }},
			"images that are long to prepare": {func(o *Options) { o.Speed.Feed = 1e-3 },
				func(q Prediction) (float64, float64) { return p.StepSeconds, q.StepSeconds }},
			"more ranks": {func(o *Options) { o.Cluster.Ranks = 16 },
				func(q Prediction) (float64, float64) { return p.Bytes, q.Bytes }},
			"larger batches": {func(o *Options) { o.Config.Train.Batch *= 2 },
				func(q Prediction) (float64, float64) { return q.BytesPerImage, p.BytesPerImage }},
			"larger batches, memory": {func(o *Options) { o.Config.Train.Batch *= 2 },
				func(q Prediction) (float64, float64) { return p.MemoryPerRank, q.MemoryPerRank }},
		} {
			o := base
			c.change(&o)
			if got, limit := c.less(predict(t, o, method)); got >= limit {
				t.Errorf("%s, %s: %v, not below %v", method, name, got, limit)
			}
		}
		parts := p.StepSeconds + p.ExchangeSeconds + p.MergeSeconds
		if math.Abs(p.Seconds-parts) > 1e-12*parts || math.Abs(p.Communicating-p.ExchangeSeconds/parts) > 1e-12 {
			t.Errorf("%s: parts do not add up: %+v", method, p)
		}
	}
}

// The bar: at int8, r = 16 and K = 32 a rank of ViT-S sends 500 times fewer bytes than gradient averaging; on the wire's
// formats in order less and less.
func TestWires(t *testing.T) {
	before := math.Inf(1)
	for _, wire := range []merge.Wire{merge.FP32, merge.BF16, merge.Int8, merge.Int4} {
		o := vitS(t, 8)
		o.Config.Merge.Every, o.Config.Exchange.Wire = 32, string(wire)
		p := predict(t, o, "lte")
		if p.Bytes >= before || p.Wire != string(wire) {
			t.Errorf("%s: %v bytes after %v: %+v", wire, p.Bytes, before, p)
		}
		before = p.Bytes
		if ratio := p.AveragingBytes / p.Bytes; wire == merge.Int8 && ratio < 500 {
			t.Errorf("int8: %v × fewer bytes", ratio)
		}
		if full := predict(t, o, "full"); full.Wire != "fp32" || full.Bytes < full.AveragingBytes {
			t.Errorf("full: %+v", full)
		}
	}
}

// Fails if a merge of many heads still travels as factors, or bytes or memory do not follow the transport.
func TestTransports(t *testing.T) {
	plan := func(ranks, r int, transport string) Prediction {
		o := vitS(t, ranks)
		o.Cluster.PerNode, o.Config.LoRA.Rank, o.Config.Exchange.Transport = 1, r, transport
		return predict(t, o, "lte")
	}
	if p := plan(4, 8, "auto"); p.Transports["factors"] != 50 || len(p.Transports) != 1 {
		t.Errorf("4 heads of rank 8: %v", p.Transports)
	}
	if p := plan(256, 64, "auto"); p.Transports["dense"] != 50 || len(p.Transports) != 1 {
		t.Errorf("256 heads of rank 64: %v", p.Transports)
	}
	for _, ranks := range []int{2, 24, 60, 256} {
		least := math.Inf(1)
		for _, transport := range merge.Transports() {
			p := plan(ranks, 16, transport.String())
			least = min(least, p.ExchangeSeconds+p.MergeSeconds)
			layers := 0.0
			o := vitS(t, ranks)
			outline, err := train.NewOutline(resolved(t, o.Config, ranks), ranks, o.Set)
			must(t, err)
			costs := merge.Costs{Ranks: ranks, Own: 1, Wire: merge.FP32}
			for _, f := range outline.Factors {
				layers += float64(costs.Sent(transport, f).Total())
			}
			if got := p.MergeBytes; math.Abs(got-layers) > 0.001*layers {
				t.Errorf("%d ranks, %v: %v bytes, %v by layers", ranks, transport, got, layers)
			}
			if p.Memory.Exchange <= 0 {
				t.Errorf("%d ranks, %v: %+v", ranks, transport, p.Memory)
			}
		}
		if p := plan(ranks, 16, "auto"); p.ExchangeSeconds+p.MergeSeconds > 1.05*least {
			t.Errorf("%d ranks: %v takes %v s, another %v s", ranks, p.Transports, p.ExchangeSeconds+p.MergeSeconds, least)
		}
	}
}

func resolved(t *testing.T, c config.Config, ranks int) config.Config {
	must(t, c.Resolve(ranks))
	return c
}

// From one rank to thousands, from a machine room to homes. Fails if a figure is no number that can be, or JSON lacks it.
func TestExtremes(t *testing.T) {
	for _, ranks := range []int{1, 2, 3, 1000, 4096} {
		for _, link := range []Link{{1e-6, 25e9}, {20e-3, 50e6 / 8}} {
			for _, library := range []Library{MPICH, OpenMPI} {
				o := vitS(t, ranks)
				o.Cluster.Between, o.Cluster.Library, o.Config.Exchange.Transport = link, library, "auto"
				for _, method := range Methods(o.Config) {
					p := predict(t, o, method)
					for name, x := range map[string]float64{"seconds": p.Seconds, "images/s": p.ImagesPerSecond, "bytes": p.Bytes,
						"an image": p.BytesPerImage, "share": p.Communicating, "memory": p.MemoryPerNode} {
						if math.IsNaN(x) || math.IsInf(x, 0) || x < 0 || ranks > 1 && x == 0 {
							t.Errorf("%d ranks, %v, %s: %s %v", ranks, link, method, name, x)
						}
					}
					if ranks == 1 && (p.Bytes != 0 || p.ExchangeSeconds != 0) {
						t.Errorf("alone, %s: %+v", method, p)
					}
					if _, err := json.Marshal(p); err != nil {
						t.Error(err)
					}
				}
				if ranks == 4096 && link.Latency > 0.01 {
					lte, full := predict(t, o, "lte"), predict(t, o, "full")
					if lte.Seconds > full.Seconds/7 {
						t.Errorf("homes: lte %v s, full %v s", lte.Seconds, full.Seconds)
					}
				}
			}
		}
	}
}

// Fails if other methods' steps than those that exchange after each are slowed down where ranks go in lockstep, or those are not.
func TestLockstep(t *testing.T) {
	for method, every := range map[string]bool{"full": true, "lora": true, "mhlora": true, "sequential": true, "lte": false, "localsgd": false, "diloco": false} {
		o := office(t, small(method))
		alone := predict(t, o, method).StepSeconds
		o.Speed.Lockstep = 0.5
		want := alone
		if every {
			want *= 2
		}
		if got := predict(t, o, method).StepSeconds; math.Abs(got-want) > 1e-9*want {
			t.Errorf("%s: %v s, want %v", method, got, want)
		}
	}
}

// Fails if another method beside the configured one is refused for a key that only that can have.
func TestPlansCompareMethods(t *testing.T) {
	eachRun(small, func(name string, c config.Config) {
		methods := Methods(c)
		if methods[0] != c.Method || !slices.Contains(methods, "lte") || !slices.Contains(methods, "full") {
			t.Errorf("%s: %v", name, methods)
		}
		for _, method := range methods {
			o := office(t, c)
			beside := WithMethod(c, method)
			if err := beside.Check(); err != nil {
				t.Errorf("%s beside %s: %v", method, name, err)
			}
			if p := predict(t, o, method); p.Method != method || (p.Heads > 0) != beside.Spec().HasHeads() {
				t.Errorf("%s beside %s: %+v", method, name, p)
			}
		}
	})
}

func wrong(err error) bool { return errors.As(err, new(*config.Error)) }

// Fails if a plan of what cannot be is made, or the reason is no mistake of the user's.
func TestErrors(t *testing.T) {
	for text, change := range map[string]func(o *Options){
		"at least 1 rank, not 0":                      func(o *Options) { o.Cluster.Ranks = 0 },
		"at most 1048576 ranks, not":                  func(o *Options) { o.Cluster.Ranks = 1 << 62 },
		"bandwidth must be above 0, and finite":       func(o *Options) { o.Cluster.Within.Bandwidth = math.Inf(1) },
		"latency must be at least 0, and finite":      func(o *Options) { o.Cluster.Between.Latency = -1 },
		"speed of a rank must be above 0, and finite": func(o *Options) { o.Speed.Heads = math.NaN() },
		"lockstep must be at least 0, and finite":     func(o *Options) { o.Speed.Lockstep = math.Inf(1) },
		"a node has at least 1 rank":                  func(o *Options) { o.Cluster.PerNode = 0 },
		"bandwidth must be above 0":                   func(o *Options) { o.Cluster.Between.Bandwidth = 0 },
		"latency must be at least 0":                  func(o *Options) { o.Cluster.Within.Latency = math.NaN() },
		"speed of a rank":                             func(o *Options) { o.Speed.Memory = 0 },
		"multiple of 4":                               func(o *Options) { o.Config.LoRA.Heads = 7 },
		"does not divide":                             func(o *Options) { o.Config.Model.Patch = 5 },
		"lora rank":                                   func(o *Options) { o.Config.LoRA.Rank = 1000 },
	} {
		o := office(t, small("lte"))
		change(&o)
		if _, err := Predict(o, "lte"); !wrong(err) || !strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
