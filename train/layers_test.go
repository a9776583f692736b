package train

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"lte/collective"
	"lte/config"
)

// The first rule of lora.layers that matches a layer says its rank, its alpha and whether it carries a head; a layer left
// out keeps its bits.
//
// Fails if a later rule counts, if rank or alpha is another's, if the merge takes another s, or if a layer left out
// moves.
func TestLayerRules(t *testing.T) {
	const block = "encoder.layers.encoder_layer_0."
	c := tinyConfig("lte") // rank 2, alpha 4
	c.LoRA.Heads, c.LoRA.Bias = 2, true
	c.LoRA.Layers = []config.LayerRule{
		{Match: "heads.*", Skip: true},
		{Match: "*.mlp.0", Rank: 5},
		{Match: "*.mlp.*", Rank: 3, Alpha: 9}, // mlp.0 has had its match
		{Match: "*.in_proj", Alpha: 10},
	}
	tr := started(t, c, collective.Alone{}, tinySet(60))
	want := map[string]struct {
		rank int
		s    float32
	}{
		"conv_proj":                       {2, 2},
		block + "self_attention.in_proj":  {2, 5},
		block + "self_attention.out_proj": {2, 2},
		block + "mlp.0":                   {5, 0.8},
		block + "mlp.3":                   {3, 3},
	}
	for _, p := range tr.algorithm.(*lte).layout.Layers {
		if w := want[p.Layer.Name]; p.Rank != w.rank || p.Scale != w.s {
			t.Errorf("%s: rank %d, s %v, want %v", p.Layer.Name, p.Rank, p.Scale, w)
		}
	}
	before := tr.model.Layers()
	var weights [][]float32
	for _, l := range before {
		weights = append(weights, slices.Concat(l.W.Float32(), l.B))
	}
	for range 2 {
		advance(t, tr, 3)
	}
	carrying := 0
	for i, l := range tr.model.Layers() {
		for _, w := range tr.workers {
			if a := w.heads[0].Adapter(l); (a == nil) != (l.Name == "heads.head") {
				t.Errorf("%s: carries a head: %v", l.Name, a != nil)
			}
		}
		p, ok := want[l.Name]
		if !ok {
			bits(t, l.Name, slices.Concat(l.W.Float32(), l.B), weights[i])
			continue
		}
		carrying++
		moved := widened(weights[i])
		for _, w := range tr.workers { // W⁰ + (s/N)·Σ BA
			a := w.heads[0].Adapter(l)
			for row := range a.B.Rows {
				for k := range p.rank {
					x := float64(p.s) / 2 * float64(a.B.Data[row*p.rank+k])
					for j := range a.A.Cols {
						moved[row*a.A.Cols+j] += x * float64(a.A.Data[k*a.A.Cols+j])
					}
					moved[l.W.Len()+row] += x * float64(a.BiasA[k])
				}
				moved[l.W.Len()+row] += float64(p.s) / 2 * float64(a.BiasB[row])
			}
		}
		near(t, l.Name, slices.Concat(l.W.Float32(), l.B), moved, 2e-6)
		distant(t, l.Name, slices.Concat(l.W.Float32(), l.B), weights[i])
	}
	if carrying != len(want) {
		t.Fatalf("%d layers carry a head", carrying)
	}
}

// Fails if an exception that cannot be is not a *config.Error of one line that names its keys and what is wrong.
func TestImpossibleLayerRulesAreRefused(t *testing.T) {
	for _, c := range []struct {
		name, method string
		set          func(*config.Config)
		want         []string
	}{
		{"a rule for no layer", "lte", func(c *config.Config) { c.LoRA.Layers = []config.LayerRule{{Match: "*.mlp.*"}, {Match: "mixer.*"}} },
			[]string{"lora.layers", `"mixer.*"`, `"conv_proj"`}},
		{"a rule behind another", "lora", func(c *config.Config) {
			c.LoRA.Layers = []config.LayerRule{{Match: "*.mlp.*"}, {Match: "*.mlp.0", Rank: 1}}
		}, []string{"lora.layers", `"*.mlp.0"`, "first match"}},
		{"a rule of too large a rank", "lte", func(c *config.Config) { c.LoRA.Layers = []config.LayerRule{{Match: "*.out_proj", Rank: 9}} },
			[]string{"rank 9", "lora.layers", "out_proj", "at most 8"}},
		{"all layers left out", "sequential", func(c *config.Config) { c.LoRA.Layers = []config.LayerRule{{Match: "*", Skip: true}} },
			[]string{"lora.layers", "no layer"}},
		{"all layers replicas", "lte", func(c *config.Config) { c.Replicas.Train = []string{"*"} },
			[]string{"replicas.train", "no layer"}},
		{"a replica of nothing", "lte", func(c *config.Config) { c.Replicas.Train = []string{"class_token", "head.weight"} },
			[]string{"replicas.train", `"head.weight"`, `"conv_proj.weight"`}},
		{"a norm without parameters", "lora", func(c *config.Config) { c.Replicas.Train = []string{"*.ln_*"} },
			[]string{"replicas.train", `"*.ln_*"`, "can train"}},
		{"fixed positions", "sequential", func(c *config.Config) {
			c.Replicas.Train, c.Model.Positions = []string{"encoder.pos_embedding"}, "sincos"
		}, []string{"replicas.train", `"encoder.pos_embedding"`, "can train"}},
		{"a bias moved by two", "lte", func(c *config.Config) { c.Replicas.Train, c.LoRA.Bias = []string{"*.bias"}, true },
			[]string{"replicas.train", "lora.bias", `"conv_proj"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := tinyConfig(c.method)
			c.set(&cfg)
			must(t, cfg.Check())
			must(t, cfg.Resolve(1))
			_, err := New(cfg, collective.Alone{}, tinySet(8), backend(t, "gonum", 1))
			var e *config.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v (%T), want a *config.Error", err, err)
			}
			for _, w := range c.want {
				if !strings.Contains(e.Error(), w) {
					t.Errorf("%q does not say %q", e, w)
				}
			}
			for _, key := range e.Keys {
				if !strings.Contains(e.Error(), key) {
					t.Errorf("%q blames %s", e, key)
				}
			}
			if strings.Contains(e.Error(), "\n") {
				t.Errorf("%q is more than a line", e)
			}
		})
	}
}
