package train

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"lte/collective"
	"lte/config"
)

// variants are all methods, and lte's ways to merge.
var variants = []struct {
	name, method string
	set          func(c *config.Config, ranks int)
}{
	{"lte", "lte", func(c *config.Config, ranks int) {}},
	{"lte, heads of a rank", "lte", func(c *config.Config, ranks int) { c.LoRA.Heads = 2 * ranks }},
	{"lte, resets", "lte", func(c *config.Config, ranks int) { c.Merge.Reset, c.LoRA.Bias = "ab", true }},
	{"lte, replicas", "lte", func(c *config.Config, ranks int) {
		c.Merge.Decay, c.Replicas.Train = "weights", []string{"*.bias", "class_token", "heads.head.*"}
	}},
	{"lte, int8", "lte", func(c *config.Config, ranks int) { c.Exchange.Wire = "int8" }},
	{"full", "full", func(c *config.Config, ranks int) {}},
	{"lora", "lora", func(c *config.Config, ranks int) { c.Replicas.Train = []string{"*.bias"} }},
	{"mhlora", "mhlora", func(c *config.Config, ranks int) {}},
	{"sequential", "sequential", func(c *config.Config, ranks int) {}},
	{"localsgd", "localsgd", func(c *config.Config, ranks int) {}},
	{"diloco", "diloco", func(c *config.Config, ranks int) {}},
}

// Law 5: after every merge, or step where nothing is merged, all ranks hold the same bits of W, whatever the number of
// threads. merge itself checks; this test does not rely on it. One and two threads give the same bits; with stacks of
// N·r ≥ 512 and eight threads or more oneDNN's sgemm shares out the sum of some shapes too, and ranks of unequal numbers
// of threads may differ.
//
// Fails with stacking each rank's own head first, with merge's check taken out: a sum in another order, nothing
// more. Without that check the others fail too: by gradients of the rank's own, and by weights or replicas that are not
// averaged.
func lawLockstep(t *testing.T, w collective.Group) {
	for _, v := range variants {
		for mixed, threads := range []int{1, 1 + w.Rank()%2} {
			for i, name := range backends() {
				if v.name != "lte" && (i > 0 || mixed == 0 && w.Size() > 4) { // enough, and quick
					continue
				}
				c, set := tinyConfig(v.method), tinySet(400)
				v.set(&c, w.Size())
				c.Exchange.ShareMemory = c.Method != "lte" // or a node's ranks could not differ
				tr := newTrainerOn(t, c, w, set, backend(t, name, threads))
				start := weightsOf(tr)
				f := tr.newFeed()
				defer f.Close()
				tr.feed = f
				for range 3 {
					_, err := tr.interval(tr.algorithm.interval(tr.step))
					must(t, err)
					tr.algorithm.loadMerged()
					everywhere(t, w, v.name+"'s weights", tr.digest())
				}
				if far(weightsOf(tr), start, 0.01) == nil {
					t.Fatalf("%s: W has hardly moved", v.name)
				}
			}
		}
	}
}

// Law 5, within a node: where its ranks share W, what it is formed of and what comes, and share out the merge, all bits are those
// that each would have formed alone: W, its moving average, and what heads begin the next interval with.
//
// Fails with rows that are left out, biases that every rank adds, and an average that is not the node's, and, most of the time,
// by taking out a barrier before W, its average or what came is read, or is written while others may read.
func lawSharing(t *testing.T, w collective.Group) {
	for i, v := range variants {
		if v.method != "lte" {
			continue
		}
		for _, exchange := range []config.Exchange{{Wire: "fp32", Transport: "factors"}, {Wire: "int8", Transport: "factors", Zstd: true},
			{Wire: "bf16", Transport: "dense"}, {Wire: "int4", Transport: "rows"}, {Wire: "int8", Transport: "factors", Overlap: true}} {
			var all [2]string
			for k, shared := range []bool{false, true} {
				c, set := tinyConfig(v.method), tinySet(400)
				v.set(&c, w.Size())
				c.Exchange, c.EMA.Decay = exchange, 0.9
				c.Exchange.ShareMemory = shared
				if c.LoRA.Bias || c.Measure.Every > 0 {
					c.Exchange.Transport = "auto"
				}
				if c.Merge.Reset != "auto" || len(c.Replicas.Train) > 0 {
					c.Exchange.Overlap = false
				}
				tr := newTrainer(t, c, w, set)
				f := tr.newFeed()
				tr.feed = f
				for range 3 {
					status, err := tr.localSteps(3)
					must(t, err)
					_, err = tr.Merge(3, status)
					must(t, err)
					tr.algorithm.loadMerged()
					all[k] += tr.digest()
					must(t, tr.withAverage(func() error {
						all[k] += " " + tr.digest() + "\n"
						return nil
					}))
				}
				f.Close()
				all[k] += fmt.Sprint(tr.algorithm.(*lte).values)
			}
			if all[0] != all[1] {
				t.Fatalf("variant %d, %s, %+v: %.60s shared, %.60s apart", i, v.name, exchange, all[1], all[0])
			}
		}
	}
}

// wrongBit is one wrong bit on one rank in what all ranks must hold alike, or not.
type wrongBit struct {
	method string
	set    func(c *config.Config)
	slice  func(tr *Trainer) []float32 // the last number's bit
	caught string                      // the end of the parameter's name by which the next merge catches it; "": it does not
}

const (
	wrongLayer = 3 // of the linear layers
	wrongName  = "encoder.layers.encoder_layer_0.mlp.0"
)

// wrongBits are a bit of every kind, for that many ranks.
func wrongBits(ranks int) []wrongBit {
	linear := func(tr *Trainer) []float32 { return tr.model.Layers()[wrongLayer].W.Float32() }
	bias := func(tr *Trainer) []float32 { return tr.model.Layers()[wrongLayer].B }
	factor := func(tr *Trainer) []float32 { return head(tr).Adapter(tr.model.Layers()[wrongLayer]).A.Data }
	base := func(tr *Trainer) []float32 {
		w, _ := head(tr).Adapter(tr.model.Layers()[wrongLayer]).Base()
		return w
	}
	origin := func(tr *Trainer) []float32 { return memoryOf(tr, "origin."+wrongName+".weight") }
	replica := func(tr *Trainer) []float32 { return tr.workers[0].replicas.value }
	moment := func(part, i int) func(tr *Trainer) []float32 { // the last of the layer's weight, factors or replica
		return func(tr *Trainer) []float32 {
			p := tr.workers[0].groups[part]
			end := len(p.value)
			switch {
			case part == 1: // the one replica
			case tr.config.Spec().HasHeads():
				end = trainedHeads(tr).layout.Layers[wrongLayer].BiasA
			default:
				end = flatEnd(tr, linear(tr))
			}
			return momentsOf(p)[i][:end]
		}
	}
	merged := func(tr *Trainer) []float32 { return tr.algorithm.(*averaged).merged[:flatEnd(tr, linear(tr))] }
	velocity := func(tr *Trainer) []float32 {
		return tr.algorithm.(*averaged).outer.velocity[:flatEnd(tr, linear(tr))]
	}
	plain := func(c *config.Config) {}
	sgd := func(c *config.Config) { c.Optimizer.Name = "sgd" }
	resets := func(c *config.Config) { c.Merge.Reset = "b" }
	biases := func(c *config.Config) { c.LoRA.Bias = true }
	several := func(c *config.Config) { c.LoRA.Heads = 2 * ranks }
	decays := func(c *config.Config) { c.Merge.Decay, c.Optimizer.WeightDecay = "weights", 0.5 }
	moving := func(c *config.Config) { c.Merge.Momentum = 0.5 }
	replicated := func(c *config.Config) { c.Replicas.Train = []string{wrongName + ".bias"} }
	return []wrongBit{
		{"lte", plain, origin, ".weight"},
		{"lte", plain, linear, ""},
		{"lte", plain, bias, ".bias"},
		{"lte", plain, factor, ""},
		{"lte", several, origin, ".weight"},
		{"lte", several, linear, ""},
		{"lte", moving, func(tr *Trainer) []float32 { return memoryOf(tr, "merge.velocity."+wrongName+".weight") }, ".weight"},
		{"lte", biases, func(tr *Trainer) []float32 { return memoryOf(tr, "origin."+wrongName+".bias") }, ".bias"},
		{"lte", biases, bias, ""},
		{"lte", resets, linear, ".weight"},
		{"lte", resets, bias, ".bias"},
		{"lte", resets, factor, ""},
		{"lte", decays, linear, ".weight"}, // W⁰ takes up a share of W
		{"lte", replicated, replica, ""},
		{"lte", replicated, bias, ""},
		{"lte", replicated, func(tr *Trainer) []float32 { return tr.algorithm.(*lte).replicas.merged.value }, ""},
		{"full", plain, linear, ".weight"},
		{"full", plain, moment(0, 0), ".weight"},
		{"full", plain, moment(0, 1), ".weight"},
		{"full", sgd, moment(0, 0), ".weight"},
		{"lora", plain, factor, ".weight"},
		{"lora", plain, moment(0, 0), ".weight"},
		{"lora", plain, base, ".weight"},
		{"lora", plain, linear, ""},
		{"lora", replicated, replica, ".bias"},
		{"lora", replicated, moment(1, 1), ".bias"},
		{"mhlora", plain, factor, ".weight"},
		{"sequential", plain, linear, ".weight"},
		{"sequential", plain, factor, ".weight"},
		{"sequential", resets, factor, ".weight"}, // A continues
		{"sequential", replicated, replica, ".bias"},
		{"localsgd", plain, linear, ""},
		{"localsgd", plain, merged, ""},
		{"diloco", plain, linear, ""},
		{"diloco", plain, merged, ".weight"},
		{"diloco", plain, velocity, ".weight"},
	}
}

// flatEnd is where the parameter at value ends in a slice laid out as model.Flat.
func flatEnd(tr *Trainer, value []float32) (at int) {
	for flat := tr.model.Flat(); &flat[at] != &value[0]; {
		at++
	}
	return at + len(value)
}

// trainedHeads are the heads of a method that trains them.
func trainedHeads(tr *Trainer) *heads {
	if p, ok := tr.algorithm.(*perStep); ok {
		return p.heads
	}
	return tr.algorithm.(*lte).heads
}

// wrong trains one interval in lockstep, and one with the wrong bit on the last rank; it returns the second one's error.
func (c wrongBit) wrong(t *testing.T, w collective.Group) (*Trainer, error) {
	cfg, set := tinyConfig(c.method), tinySet(40)
	cfg.Run.LogEvery = 1
	cfg.Exchange.ShareMemory = cfg.Method != "lte" // what all ranks of a node hold in common is wrong for none alone
	c.set(&cfg)
	tr := newTrainer(t, cfg, w, set)
	if tr.model.Layers()[wrongLayer].Name != wrongName {
		t.Fatalf("layer %d is %s", wrongLayer, tr.model.Layers()[wrongLayer].Name)
	}
	tr.feed = common(set, 4*len(tr.workers))
	_, err := tr.interval(tr.algorithm.interval(tr.step))
	must(t, err)
	if w.Rank() == w.Size()-1 {
		x := c.slice(tr)
		x[len(x)-1] = math.Float32frombits(math.Float32bits(x[len(x)-1]) ^ 1<<18) // rounding does not swallow it
	}
	_, err = tr.interval(tr.algorithm.interval(tr.step))
	return tr, err
}

// difference is what is said of the bit where it is caught.
func (c wrongBit) difference(w collective.Group) string {
	return fmt.Sprintf("%q differs on rank %d from rank 0", wrongName+c.caught, w.Size()-1)
}

// Law 5, the proof in production: one wrong bit on one rank in what all ranks must hold alike is a
// *collective.LockstepError on every rank, which names the parameter and the rank. Three kinds of bits need no proof, and
// the run continues in lockstep:
//   - those that the next merge, or step, forms anew of others: W where W⁰ and the factors make it (lte without resets,
//     lora, mhlora), b where b⁰ does, the model's copy of a replica, localsgd's weights of the last merge;
//   - those of a worker's own, which no other has: its factors (lte), replicas (lte) and weights (localsgd, diloco), and
//     their moments. All ranks gather or average the wrong value alike: a share of the error is in W, the same on all;
//   - what is of no weight: what it does wrong is caught where it is in what all hold alike.
//
// Fails, for each method, with taking the check out of merge.
func lawWrongBit(t *testing.T, w collective.Group) {
	for i, c := range wrongBits(w.Size()) {
		tr, err := c.wrong(t, w)
		if w.Size() == 1 || c.caught == "" { // nobody to differ from; or as it should be
			if err != nil {
				t.Fatalf("bit %d, %s: %v", i, c.method, err)
			}
			tr.algorithm.loadMerged()
			everywhere(t, w, fmt.Sprintf("bit %d, %s: the weights", i, c.method), tr.digest())
			continue
		}
		var e *collective.LockstepError
		if !errors.As(err, &e) || e.Differences != c.difference(w) {
			t.Fatalf("bit %d, %s: got %v, want %s", i, c.method, err, c.difference(w))
		}
		everywhere(t, w, "the error", describe(err))
	}
}
