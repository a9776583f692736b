package train

import (
	"slices"
	"strings"
	"testing"

	"lte/collective"
	"lte/config"
	"lte/model"
)

// everyKind asks for replicas of every kind, in a model that has them all.
func everyKind(c *config.Config) {
	c.Model.NormAffine, c.Model.Positions = true, "learned"
	c.Replicas.Train = []string{"*.ln_*", "encoder.ln.*", "class_token", "encoder.pos_embedding", "*bias", "heads.head.*"}
}

// pieces cuts a worker's replicas by parameter.
func pieces(w *worker) map[string][]float32 {
	at, all := 0, map[string][]float32{}
	for _, p := range w.replicas.trained {
		all[p.Name] = slices.Clone(w.replicas.value[at : at+p.Len()])
		at += p.Len()
	}
	return all
}

// Between merges every head has a copy of the replicas that moves on its own; a merge makes all copies, and the model's
// parameters, their mean. Nothing else but the heads' layers moves, and a layer that is a replica carries no head.
//
// Fails if heads share a copy, if one is left out of the mean, if the model keeps the copy that was loaded last, or if
// evaluation reads it.
func TestReplicas(t *testing.T) {
	const n = 3
	c, set := tinyConfig("lte"), tinySet(60)
	c.LoRA.Heads = n
	everyKind(&c)
	tr := started(t, c, collective.Alone{}, set)
	if tr.fused != nil {
		t.Fatal("one pass for heads with replicas of their own")
	}
	for range 2 {
		status, err := tr.localSteps(3)
		must(t, err)
		before := map[string][]float32{}
		for _, p := range tr.model.Parameters() {
			before[p.Name] = slices.Clone(p.Value.Float32())
		}
		var copies []map[string][]float32
		for k, w := range tr.workers {
			copies = append(copies, pieces(w))
			if a := w.heads[0].Adapter(tr.model.Layers()[5]); a != nil {
				t.Fatal("the classifier is a replica, and carries a head")
			}
			for name, x := range copies[k] {
				if k > 0 {
					distant(t, name+" of two heads", x, copies[0][name])
				}
			}
		}
		_, err = tr.Merge(3, status)
		must(t, err)
		replicated := 0
		for _, p := range tr.model.Parameters() {
			if _, ok := copies[0][p.Name]; !ok {
				if matrix := strings.HasSuffix(p.Name, "weight"); !matrix {
					bits(t, p.Name, p.Value.Float32(), before[p.Name])
				}
				continue
			}
			replicated++
			want := make([]float32, p.Len())
			for i := range want {
				sum := 0.0
				for _, x := range copies {
					sum += float64(x[p.Name][i])
				}
				want[i] = float32(sum / n)
			}
			bits(t, "the model's "+p.Name, p.Value.Float32(), want)
			for _, w := range tr.workers {
				bits(t, "a head's "+p.Name, pieces(w)[p.Name], want)
			}
		}
		if replicated != 15 || len(copies[0]) != 15 { // 2 of each of 3 norms, 2 tokens, 6 biases, a matrix
			t.Fatalf("%d replicas", replicated)
		}
		plain := tinyConfig("full")
		plain.Model.NormAffine = true
		other := newTrainer(t, plain, collective.Alone{}, set)
		copy(other.model.Flat(), tr.model.Flat())
		want, _, err := other.evaluate()
		must(t, err)
		tr.algorithm.loadMerged() // as report does
		got, _, err := tr.evaluate()
		must(t, err)
		near(t, "test loss", []float64{got}, []float64{want}, 1e-6)
	}
}

// What each of several heads of a rank trains, replicas too, is what it trains on a rank of its own.
//
// Fails if a head's gradient, replicas or optimizer is another's.
func TestHeadsOfOneRankTrainAsOnRanksOfTheirOwn(t *testing.T) {
	const n = 3
	c, set := tinyConfig("lte"), tinySet(60)
	gentle(&c)
	everyKind(&c)
	c.LoRA.Heads = n
	tr := newTrainer(t, c, collective.Alone{}, set)
	tr.feed = common(set, n*c.Train.Batch)
	c.LoRA.Heads = 1
	var each []*Trainer
	for k, w := range tr.workers {
		alone := newTrainer(t, c, collective.Alone{}, set)
		copy(head(alone).Value, w.heads[0].Value)
		copy(head(alone).Merged, w.heads[0].Merged)
		all := common(set, n*c.Train.Batch)
		for range 3 {
			b, err := all.Next()
			must(t, err)
			_, _, err = alone.LocalStep(cut(b, k, n))
			must(t, err)
			alone.step++
		}
		each = append(each, alone)
	}
	_, err := tr.localSteps(3)
	must(t, err)
	for k, w := range tr.workers {
		near(t, "factors", w.heads[0].Value, head(each[k]).Value, 1e-5)
		near(t, "replicas", w.replicas.value, each[k].workers[0].replicas.value, 1e-5)
	}
}

// Fails if replicas.lr is not the replicas' learning rate, or reaches the heads.
func TestReplicasHaveALearningRateOfTheirOwn(t *testing.T) {
	var moves [2][]float32
	var factors [2][]float32
	for i := range moves {
		c := tinyConfig("lte")
		gentle(&c)
		everyKind(&c)
		c.Optimizer.WeightDecay, c.Optimizer.ClipNorm = 0, 0
		if i == 1 {
			c.Replicas.LR = 2 * c.Optimizer.LR
		}
		tr := started(t, c, collective.Alone{}, tinySet(60))
		before := slices.Clone(tr.workers[0].replicas.value)
		_, err := tr.localSteps(1)
		must(t, err)
		for j, x := range tr.workers[0].replicas.value {
			moves[i] = append(moves[i], x-before[j])
		}
		factors[i] = slices.Clone(head(tr).Value)
	}
	distant(t, "replicas", moves[0], make([]float32, len(moves[0])))
	near(t, "twice the rate", moves[1], scaled(moves[0], 2), 1e-4)
	bits(t, "factors", factors[1], factors[0])
}

// Of the replicas only the weight matrix decays.
func TestReplicasDecay(t *testing.T) {
	for _, name := range []string{"adamw", "sgd"} {
		c := tinyConfig("lte")
		everyKind(&c)
		c.Optimizer.Name, c.Optimizer.WeightDecay = name, 0.5
		tr := newTrainer(t, c, collective.Alone{}, tinySet(8))
		w := tr.workers[0]
		before := pieces(w)
		w.update(0.1, 0, 0) // the gradients are 0
		decayed := 0
		for name, x := range pieces(w) {
			if name == "heads.head.weight" {
				decayed++
				near(t, name, x, scaled(before[name], 0.95), 1e-6)
				continue
			}
			bits(t, name, x, before[name])
		}
		if decayed != 1 {
			t.Fatal("no matrix")
		}
	}
}

// The gradient of what a head and its replicas train is clipped as one, each head's by itself.
//
// Fails if a head and its replicas are clipped apart, or all heads as one.
func TestClipOfAHead(t *testing.T) {
	const limit = 0.1
	c := tinyConfig("lte")
	gentle(&c)
	everyKind(&c)
	c.LoRA.Heads = 2
	c.Optimizer.Momentum, c.Optimizer.WeightDecay, c.Optimizer.ClipNorm, c.Optimizer.LR = 0, 0, limit, 1
	c.Schedule = config.Schedule{Kind: "constant"}
	tr := started(t, c, collective.Alone{}, tinySet(60))
	all := func(w *worker) []float32 { return slices.Concat(w.heads[0].Value, w.replicas.value) }
	var before [][]float32
	for _, w := range tr.workers {
		before = append(before, all(w))
	}
	_, err := tr.localSteps(1)
	must(t, err)
	for k, w := range tr.workers {
		sum := 0.0
		for i, x := range all(w) {
			d := float64(x) - float64(before[k][i])
			sum += d * d
		}
		near(t, "what a head moves", []float64{sum}, []float64{limit * limit}, 1e-4)
	}
}

// saved is what a file of the run has of a parameter.
func saved(m *model.Model, name string) []float32 {
	for _, p := range m.Parameters() {
		if p.Name == name {
			return p.Value.Float32()
		}
	}
	return nil
}

// Fails if the end of a run leaves a head's own replicas in the model.
func TestReplicasAreSavedAsMerged(t *testing.T) {
	for _, method := range []string{"lte", "lora", "sequential"} {
		c := tinyConfig(method)
		everyKind(&c)
		if method == "lte" {
			c.LoRA.Heads = 2
		}
		tr := newTrainer(t, c, collective.Alone{}, tinySet(60))
		before := map[string][]float32{}
		for name, x := range pieces(tr.workers[0]) {
			before[name] = x
		}
		_, err := tr.Run(nil)
		must(t, err)
		for _, w := range tr.workers {
			for name, x := range pieces(w) {
				bits(t, method+": "+name, saved(tr.model, name), x)
				distant(t, method+": "+name, x, before[name])
			}
		}
	}
}
