package train

import (
	"reflect"
	"testing"

	"lte/collective/grouptest"
	"lte/config"
	"lte/data"
	"lte/merge"
)

// Fails if an outline of any method is another than the trainer that is made of the same configuration, or one of them refuses
// what the other takes.
func TestOutlineIsThatOfATrainer(t *testing.T) {
	set := tinySet(40)
	sizes := &data.Set{Classes: set.Classes, Shape: set.Shape}
	for _, method := range []string{"lte", "full", "lora", "mhlora", "sequential", "localsgd", "diloco"} {
		for name, change := range map[string]func(c *config.Config){
			"plain": func(c *config.Config) {},
			"heads": func(c *config.Config) { c.LoRA.Heads = 6 },
			"one pass": func(c *config.Config) {
				c.Model.Patch, c.Model.Width, c.Model.MLP, c.Model.Depth = 4, 32, 48, 2
				c.LoRA.Heads, c.Train.Batch, c.Train.EvalBatch = 6, 2, 1
			},
			"rules": func(c *config.Config) {
				c.LoRA.Bias = true
				c.LoRA.Layers = []config.LayerRule{{Match: "heads.*", Skip: true}, {Match: "*.mlp.*", Rank: 1}}
			},
			"replicas": func(c *config.Config) { c.Replicas.Train = []string{"class_token", "*.mlp.0.weight"} },
			"resets":   func(c *config.Config) { c.Merge.Reset = "ab" },
			"no layer": func(c *config.Config) { c.LoRA.Rank = 100 },
			"no match": func(c *config.Config) { c.LoRA.Layers = []config.LayerRule{{Match: "nothing"}} },
			"crop":     func(c *config.Config) { c.Data.Augment, c.Data.Crop = true, 1000 },
			"patch":    func(c *config.Config) { c.Model.Patch = 3 },
		} {
			c := tinyConfig(method)
			change(&c)
			if c.Check() != nil { // a method that has no such thing
				continue
			}
			const ranks = 3
			must(t, c.Resolve(ranks))
			tr, err := New(c, grouptest.Mirror{Ranks: ranks}, set, backend(t, "gonum", 1))
			o, outlineErr := NewOutline(c, ranks, sizes)
			if err != nil || outlineErr != nil {
				if err == nil || outlineErr == nil || err.Error() != outlineErr.Error() {
					t.Errorf("%s, %s: %v; the outline: %v", method, name, err, outlineErr)
				}
				continue
			}
			if len(tr.workers) != o.Workers || tr.Trained() != o.Workers*o.Trained {
				t.Errorf("%s, %s: %d workers train %d numbers; the outline says %d, each %d", method, name, len(tr.workers), tr.Trained(),
					o.Workers, o.Trained)
			}
			pass := max(c.Train.Batch/c.Train.Accumulate, c.Train.EvalBatch)
			if tr.fused != nil {
				pass = max(o.Workers*c.Train.Batch, c.Train.EvalBatch)
			}
			if o.Pass != pass || name == "one pass" && method == "lte" && tr.fused == nil {
				t.Errorf("%s, %s: %d images in a pass; the outline says %d", method, name, pass, o.Pass)
			}
			if r := tr.workers[0].replicas; r != nil && len(r.value) != o.Replicas || r == nil && o.Replicas != 0 {
				t.Errorf("%s, %s: %d replicas in the outline, %v", method, name, o.Replicas, r)
			}
			if l, ok := tr.algorithm.(*lte); ok {
				if !reflect.DeepEqual(merge.FactorsOf(l.layout), o.Factors) || l.layout.Length != o.Layout.Length {
					t.Errorf("%s: factors %v; the outline says %v", name, merge.FactorsOf(l.layout), o.Factors)
				}
			}
		}
	}
}
