package train

import (
	"fmt"
	"slices"
	"testing"

	"lte/collective"
	"lte/config"
)

const eight = 8 // heads

// Eight heads are the same run on whatever number of ranks that carry them: images and their augmentation, mixing,
// noise, A's, those of resets too, merges. With resets all factors, W and its average are equal to the bit on 1, 2, 4
// and 8 ranks. Without resets they are on 1, 2 and 4 ranks; a rank of one head keeps W − s·B'A' instead of forming W_k
// of three terms every step, and so on 8 ranks they are equal to rounding. Replicas are equal on all ranks to the bit,
// and to rounding from one number of ranks to another: their mean is one of ranks' means.
//
// Fails if anything of a head depends on its rank or on its place there.
func eightHeads(t *testing.T, w collective.Group) {
	for _, reset := range []string{"none", "b", "ab"} {
		for _, with := range []struct {
			name string
			set  func(c *config.Config)
		}{ // in this order on all ranks
			{"plain", func(c *config.Config) {}},
			{"everything", func(c *config.Config) {
				c.Model.Depth, c.Model.Dropout, c.Model.DropPath = 2, 0.1, 0.3
				c.Data.Mixup, c.Data.CutMix, c.Train.Accumulate = 0.8, 1, 2
				c.Data.Augment, c.Data.Rotate, c.Data.Shift, c.Data.Flip, c.Data.Crop = true, 10, 0.5, true, 1
				c.LoRA.Bias, c.EMA.Decay, c.Merge.Moments = true, 0.9, "clear"
			}},
			{"int4", func(c *config.Config) { c.Exchange.Wire, c.Exchange.Zstd = "int4", true }},
			{"bf16", func(c *config.Config) { c.Exchange.Wire, c.LoRA.Bias = "bf16", true }},
			{"adamw", func(c *config.Config) { c.Optimizer = tinyConfig("lte").Optimizer }},
			{"replicas", func(c *config.Config) { everyKind(c); c.EMA.Decay = 0.9 }},
			{"shared basis", func(c *config.Config) { c.LoRA.Basis, c.LoRA.TrainA = "shared", false }},
		} {
			if with.name == "shared basis" && reset != "none" {
				continue
			}
			exact := reset != "none" || w.Size() < eight
			if (with.name == "adamw" || with.name == "int4" || with.name == "bf16") && !exact { // rounding may go another way
				continue
			}
			exact = exact && (with.name != "replicas" && with.name != "shared basis" || w.Size() == 1) // means are over ranks
			c := tinyConfig("lte")
			gentle(&c)
			c.LoRA.Heads, c.Merge.Reset = eight, reset
			with.set(&c)
			many, one := started(t, c, w, tinySet(200)), started(t, c, collective.Alone{}, tinySet(200))
			what := fmt.Sprintf("%s, %s: ", reset, with.name)
			before := linear(one)
			for range 3 {
				advance(t, many, 3)
				advance(t, one, 3)
				sameRun(t, what, many, one, exact)
				everywhere(t, w, what+"W", many.digest())
				if many.average != nil {
					everywhere(t, w, what+"average", fmt.Sprint(collective.Digest(many.average.values)))
				}
				for _, worker := range many.workers {
					if r := worker.replicas; r != nil {
						everywhere(t, w, what+"replicas", fmt.Sprint(collective.Digest(r.value)))
					}
				}
			}
			distant(t, what+"W", linear(one), before)
		}
	}
}

// alike compares the heads of this rank with the same ones of a run on one rank, and all weights.
func sameRun(t *testing.T, what string, many, one *Trainer, exact bool) {
	t.Helper()
	compare := func(name string, got, want []float32) {
		if exact {
			bits(t, what+name, got, want)
		} else {
			near(t, what+name, got, want, 1e-5)
		}
	}
	for _, w := range many.workers {
		other := one.workers[w.number]
		compare("factors", w.heads[0].Value, other.heads[0].Value)
		if w.replicas != nil {
			compare("replicas", w.replicas.value, other.replicas.value)
		}
	}
	compare("weights", many.model.Flat(), one.model.Flat())
	if many.average != nil {
		compare("average", many.average.values, one.average.values)
	}
}

// Heads that share one pass on a rank train what they train in passes of their own, or shared with others, on other
// numbers of ranks: to rounding, as a product may add up in another order when it has other rows.
func eightHeadsTogether(t *testing.T, w collective.Group) {
	for _, reset := range []string{"none", "b"} {
		c := thin(reset)
		c.LoRA.Heads = eight
		c.Model.Dropout, c.Model.DropPath, c.Data.Mixup = 0.1, 0.3, 0.8
		many, one := started(t, c, w, tinySet(200)), started(t, c, collective.Alone{}, tinySet(200))
		if (many.fused != nil) != (w.Size() < eight) || one.fused == nil {
			t.Fatal("not together")
		}
		before := linear(one)
		for range 3 {
			advance(t, many, 3)
			advance(t, one, 3)
			sameRun(t, reset+": ", many, one, false)
			everywhere(t, w, "W", many.digest())
		}
		distant(t, "W", linear(one), before)
	}
}

// The methods of one head average the replicas' gradients too, every step: all ranks hold the same bits after each, and
// train what one rank trains on all images.
//
// Fails if a replica's gradient stays on its rank.
func replicasEveryStep(t *testing.T, w collective.Group) {
	for _, method := range []string{"lora", "sequential"} {
		c, set := tinyConfig(method), tinySet(200)
		gentle(&c)
		everyKind(&c)
		many := started(t, c, w, set)
		c.Train.Batch *= w.Size()
		one := started(t, c, collective.Alone{}, set)
		before := slices.Clone(many.workers[0].replicas.value)
		for range 6 {
			advance(t, many, 1)
			advance(t, one, 1)
			everywhere(t, w, method+"'s replicas", fmt.Sprint(collective.Digest(many.workers[0].replicas.value)))
			near(t, method+": replicas", many.workers[0].replicas.value, one.workers[0].replicas.value, 1e-5)
			near(t, method+": factors", head(many).Value, head(one).Value, 1e-5)
		}
		distant(t, method+": replicas", many.workers[0].replicas.value, before)
	}
}
