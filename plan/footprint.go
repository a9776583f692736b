package plan

import (
	"cmp"
	"math"
	"slices"

	"lte/config"
	"lte/data"
	"lte/merge"
	"lte/method"
)

// Footprint is the memory of one rank of a run of a resolved configuration, on images of the set's sizes. For a transport that is
// chosen by measurement it is the smallest of all transports. Errors are train.NewOutline's.
func Footprint(c config.Config, ranks, perNode int, set *data.Set) (Memory, error) {
	r, err := newRank(Options{Config: c, Set: set, Cluster: Cluster{Ranks: ranks, PerNode: perNode}}, c)
	if err != nil {
		return Memory{}, err
	}
	transports := []string{c.Exchange.Transport}
	if c.Spec().ExchangesHeads() && c.Exchange.Transport == "auto" {
		transports = nil
		for _, t := range merge.Transports() {
			transports = append(transports, t.String())
		}
	}
	var least Memory
	for i, transport := range transports {
		r.config.Exchange.Transport = transport
		if err := r.choose(); err != nil {
			return Memory{}, err
		}
		if m := r.memory(); i == 0 || m.Total() < least.Total() {
			least = m
		}
	}
	return least, nil
}

// size is a key that a footprint grows with.
type size struct {
	key string
	// shrink sets it to its built-in value, or to the smallest that the rest of the configuration allows on so many ranks.
	shrink func(c *config.Config, set *data.Set, ranks int)
}

// sizes are the keys by which a footprint can be made smaller; of keys of equal effect the first is named first. ImageKey and
// ClassesKey stand for what sets the images' side and the number of classes, which is not always a key.
var sizes = []size{
	{"train.batch", func(c *config.Config, _ *data.Set, _ int) {
		if pass := c.Train.Batch / c.Train.Accumulate; c.Train.EvalBatch <= pass {
			lower(&c.Train.EvalBatch, builtIn.Train.EvalBatch)
		}
		lower(&c.Train.Batch, builtIn.Train.Batch)
		c.Train.Accumulate = 1
	}},
	{"train.eval_batch", func(c *config.Config, _ *data.Set, _ int) {
		if pass := c.Train.Batch / c.Train.Accumulate; c.Train.EvalBatch >= pass {
			lower(&c.Train.Batch, builtIn.Train.EvalBatch)
			lower(&c.Train.EvalBatch, builtIn.Train.EvalBatch)
			c.Train.Accumulate = 1
		}
	}},
	{ImageKey, func(c *config.Config, set *data.Set, _ int) {
		lower(&c.Model.Patch, 16) // the embedding's weights grow with it
		lower(&set.Height, 4*c.Model.Patch)
		lower(&set.Width, 4*c.Model.Patch)
	}},
	{ClassesKey, func(_ *config.Config, set *data.Set, _ int) { lower(&set.Classes, 10) }},
	{"lora.heads", func(c *config.Config, _ *data.Set, ranks int) {
		if c.Spec().Trains != method.OwnHeads {
			ranks = 1
		}
		lower(&c.LoRA.Heads, ranks)
	}},
	{"lora.rank", func(c *config.Config, _ *data.Set, _ int) { lower(&c.LoRA.Rank, builtIn.LoRA.Rank) }},
	{"lora.layers", func(c *config.Config, _ *data.Set, _ int) {
		c.LoRA.Layers = slices.Clone(c.LoRA.Layers)
		for i := range c.LoRA.Layers {
			lower(&c.LoRA.Layers[i].Rank, builtIn.LoRA.Rank)
		}
	}},
	{"model.depth", func(c *config.Config, _ *data.Set, _ int) { lower(&c.Model.Depth, builtIn.Model.Depth) }},
	{"model.width", func(c *config.Config, _ *data.Set, _ int) {
		step := 4 * c.Model.WidthDivisor() // 4: of the positions
		lower(&c.Model.Width, (max(builtIn.Model.Width, c.LoRA.Rank)+step-1)/step*step)
	}},
	{"model.mlp", func(c *config.Config, _ *data.Set, _ int) { lower(&c.Model.MLP, max(builtIn.Model.MLP, c.LoRA.Rank)) }},
	{"model.token_mlp", func(c *config.Config, _ *data.Set, _ int) { lower(&c.Model.TokenMLP, builtIn.Model.TokenMLP) }},
	{"model.heads", func(c *config.Config, _ *data.Set, _ int) { lower(&c.Model.Heads, 1) }},
}

// What Blame calls the side of an image, and the number of classes.
const (
	ImageKey   = "image"
	ClassesKey = "classes"
)

var builtIn = config.Default()

func lower(x *int, to int) { *x = min(*x, to) }

// Blame returns the keys that account for a large footprint: those that shrink it by a quarter or more when they alone are shrunk, the
// most effective first; at most three. bytes is the footprint of a configuration on images of a set's sizes.
func Blame(c config.Config, ranks int, set *data.Set, bytes func(config.Config, *data.Set) (float64, error)) (keys []string) {
	whole, err := bytes(c, set)
	if err != nil {
		return nil
	}
	type candidate struct {
		key  string
		left float64 // hundredths of the whole
	}
	var all []candidate
	for _, s := range sizes {
		d, images := c, *set
		s.shrink(&d, &images, ranks)
		if left, err := bytes(d, &images); err == nil && left < 0.75*whole {
			all = append(all, candidate{s.key, math.Floor(100 * left / whole)})
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.left, b.left) })
	for _, a := range all {
		if c.Model.Preset != "" && config.OfPreset(a.key) {
			a.key = "model.preset"
		}
		if !slices.Contains(keys, a.key) && len(keys) < 3 {
			keys = append(keys, a.key)
		}
	}
	return keys
}
