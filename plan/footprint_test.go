package plan

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lte/config"
	"lte/data"
)

// A footprint is what a prediction counts, and of a transport that is to be measured that of the one which takes least.
func TestFootprintIsThatOfAPlan(t *testing.T) {
	eachRun(small, func(name string, c config.Config) {
		o := office(t, c)
		o.Cluster.Ranks, o.Cluster.PerNode = 4, 2
		must(t, c.Resolve(4))
		got, err := Footprint(c, 4, 2, o.Set)
		must(t, err)
		if want := predict(t, o, c.Method).Memory; got != want {
			t.Errorf("%s: %+v, planned %+v", name, got, want)
		}
		each := got.Each(2)
		if node := 2*got.Total() - got.Common; math.Abs(2*each.Total()-node) > 1e-9*node || each.Weights < 0 || each.Exchange < 0 || each.Common != 0 {
			t.Errorf("%s: %+v, each of two that share a part %+v", name, got, each)
		}
	})
	c := small("lte")
	must(t, c.Resolve(4))
	least := math.Inf(1)
	for _, transport := range []string{"factors", "dense", "rows", "auto"} {
		c.Exchange.Transport = transport
		m, err := Footprint(c, 4, 2, digits(t))
		must(t, err)
		if transport == "auto" && m.Total() != least {
			t.Errorf("auto: %v bytes, the least of the others is %v", m.Total(), least)
		}
		least = min(least, m.Total())
	}
}

// Fails if a key that makes a footprint large is not the first that is named, or one is named that does not.
func TestBlame(t *testing.T) {
	for name, c := range map[string]struct {
		change func(c *config.Config, set *data.Set)
		want   []string
	}{
		"batch":          {func(c *config.Config, _ *data.Set) { c.Train.Batch = 1 << 20 }, []string{"train.batch"}},
		"evaluation":     {func(c *config.Config, _ *data.Set) { c.Train.EvalBatch = 1 << 20 }, []string{"train.eval_batch"}},
		"both":           {func(c *config.Config, _ *data.Set) { c.Train.Batch, c.Train.EvalBatch = 1<<20, 1<<20 }, []string{"train.batch", "train.eval_batch"}},
		"width":          {func(c *config.Config, _ *data.Set) { c.Model.Width = 65536 }, []string{"model.width"}},
		"depth":          {func(c *config.Config, _ *data.Set) { c.Model.Depth = 1024 }, []string{"model.depth"}},
		"MLP":            {func(c *config.Config, _ *data.Set) { c.Model.MLP = 262144 }, []string{"model.mlp"}},
		"rank":           {func(c *config.Config, _ *data.Set) { c.Model.Width, c.Model.MLP, c.LoRA.Rank = 4096, 4096, 4096 }, []string{"lora.rank"}},
		"heads":          {func(c *config.Config, _ *data.Set) { c.LoRA.Heads = 1 << 20 }, []string{"lora.heads"}},
		"heads, stacked": {func(c *config.Config, _ *data.Set) { c.Method, c.LoRA.Heads = "mhlora", 1<<16 }, []string{"lora.heads"}},
		"images":         {func(c *config.Config, set *data.Set) { set.Height, set.Width = 8192, 8192 }, []string{ImageKey}},
		"one patch an image": {func(c *config.Config, set *data.Set) {
			set.Height, set.Width, c.Model.Patch = 8192, 8192, 8192
		}, []string{ImageKey}},
		"classes":   {func(c *config.Config, set *data.Set) { set.Classes = 1e6 }, []string{ClassesKey}},
		"weights":   {func(c *config.Config, _ *data.Set) { c.Method, c.Model.Width = "full", 65536 }, []string{"model.width"}},
		"token MLP": {func(c *config.Config, _ *data.Set) { c.Model.Kind, c.Model.TokenMLP = "mixer", 262144 }, []string{"model.token_mlp"}},
		"a rule": {func(c *config.Config, _ *data.Set) {
			c.Model.Width, c.Model.MLP, c.LoRA.Layers = 4096, 4096, []config.LayerRule{{Match: "*", Rank: 4096}}
		}, []string{"lora.layers"}},
		"preset": {func(c *config.Config, set *data.Set) {
			c.Model, _ = config.Preset("vit-l/32")
			set.Height, set.Width = 224, 224
		}, []string{"model.preset"}},
	} {
		cfg, set := paper(), *digits(t)
		c.change(&cfg, &set)
		must(t, cfg.Resolve(8))
		keys := Blame(cfg, 8, &set, func(c config.Config, set *data.Set) (float64, error) {
			m, err := Footprint(c, 8, 8, set)
			return m.Total(), err
		})
		if len(keys) < len(c.want) || !slices.Equal(keys[:len(c.want)], c.want) {
			t.Errorf("%s: %q, want %q first", name, keys, c.want)
		}
	}
	if keys := Blame(paper(), 1, digits(t), func(config.Config, *data.Set) (float64, error) { return 1, nil }); keys != nil {
		t.Errorf("nothing is to blame, but %q is", keys)
	}
}

// largest is the largest run of a method that package config and the flags of lte plan allow.
func largest(method string) Options {
	c := paper()
	c.Method, c.Measure.Every = method, 0
	c.Model.Depth, c.Model.Width, c.Model.MLP, c.Model.TokenMLP, c.Model.Heads, c.Model.Patch = 1024, 65536, 262144, 262144, 16384, 1
	c.LoRA.Rank, c.Train.Batch, c.Train.EvalBatch, c.Merge.Every = 65536, 1<<20, 1<<20, 1e9
	if !c.Spec().HasHeads() {
		c.LoRA.Heads = 0
	}
	return Options{Config: c, Set: &data.Set{Shape: data.Shape{Channels: 1024, Height: 16384, Width: 16384}, Classes: 1e6},
		Cluster: Cluster{Ranks: MaxRanks, PerNode: MaxRanks / 2, Between: Link{3600, 125}, Within: Link{3600, 125}, Library: MPICH, Oversubscribed: true},
		Speed:   Speed{Heads: 1, Weights: 1, Memory: 125}}
}

// Fails if a product of sizes overflows, or a loop over ranks, layers or values takes long.
func TestLargestRuns(t *testing.T) {
	began, plans := time.Now(), 0
	for _, method := range []string{"lte", "full", "lora", "mhlora", "sequential", "localsgd", "diloco"} {
		for name, change := range map[string]func(o *Options){
			"one node":         func(o *Options) { o.Cluster.PerNode = MaxRanks },
			"two nodes, apart": func(o *Options) { o.Config.Exchange.ShareMemory = false },
			"uneven nodes":     func(o *Options) { o.Cluster.Ranks, o.Cluster.PerNode = MaxRanks-1, 5 },
			"one rank":         func(o *Options) { o.Cluster.Ranks = 1; o.Config.LoRA.Heads = 1 },
			"any transport":    func(o *Options) { o.Config.Exchange.Transport = "auto" },
			"rows":             func(o *Options) { o.Config.Exchange.Transport = "rows" },
			"replicas":         func(o *Options) { o.Config.Replicas.Train = []string{"*bias", "*mlp.0.weight"} },
			"mixer":            func(o *Options) { o.Config.Model.Kind = "mixer" },
			"many heads":       func(o *Options) { o.Cluster.Ranks = 2; o.Config.LoRA.Heads = 1 << 20 },
		} {
			o := largest(method)
			change(&o)
			if o.Config.Check() != nil { // of another method
				continue
			}
			plans++
			p, err := Predict(o, method)
			if method == "mhlora" && err != nil && wrong(err) && strings.Contains(err.Error(), "are more values than any memory holds") {
				continue
			}
			if err != nil {
				t.Fatalf("%s, %s: %v", method, name, err)
			}
			m, err := Footprint(o.Config, o.Cluster.Ranks, o.Cluster.PerNode, o.Set)
			if o.Config.LoRA.Heads > 0 || o.Config.Method == "full" {
				must(t, err)
			}
			for _, v := range []reflect.Value{reflect.ValueOf(p), reflect.ValueOf(p.Memory), reflect.ValueOf(m)} {
				for i := range v.NumField() {
					if f := v.Field(i); f.Kind() == reflect.Float64 && (!(f.Float() >= 0) || math.IsInf(f.Float(), 1)) {
						t.Errorf("%s, %s: %s is %v", method, name, v.Type().Field(i).Name, f)
					}
				}
			}
			if p.Memory.Passes < 1e23 || p.MemoryPerNode < p.MemoryPerRank {
				t.Errorf("%s, %s: %+v", method, name, p.Memory)
			}
			if _, err := json.Marshal(p); err != nil {
				t.Errorf("%s, %s: %v", method, name, err)
			}
		}
	}
	if each := time.Since(began) / time.Duration(plans); plans < 30 || each > 2*time.Second {
		t.Errorf("%d plans, each in %v", plans, each)
	}
}

// flip is what counting the ranks one after another gives.
func TestFlipIsACount(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		c := Cluster{Ranks: 1 << (1 + rng.IntN(9)), PerNode: 1 + rng.IntN(600)}
		by, outside := 1+rng.IntN(c.Ranks-1), 0
		for rank := range c.perNode() {
			if rank^by >= c.perNode() {
				outside++
			}
		}
		if got := c.flip(by); got != outside {
			t.Fatalf("%+v by %d: %d leave, want %d", c, by, got, outside)
		}
	}
}
