package train

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"lte/collective"
	"lte/config"
	"lte/data"
	"lte/random"
)

// A mini-batch cut into several passes moves what one pass moves.
//
// Fails if a part's gradient is of its own mean, if the first part's is lost, or if a target belongs to another image.
func TestAccumulatedPassesAreOneBatch(t *testing.T) {
	for _, method := range []string{"lte", "full", "lora", "mhlora", "sequential", "localsgd"} {
		var weights, factors [2][]float32
		var losses [2]float64
		for i, passes := range []int{1, 4} {
			c := tinyConfig(method)
			gentle(&c)
			c.Optimizer.ClipNorm, c.Optimizer.LR = 0, 0.01 // clipping would hide a factor
			c.Train.Batch, c.Train.Accumulate, c.Data.Mixup = 8, passes, 0.8
			if method == "lte" {
				c.LoRA.Heads, c.LoRA.Bias = 2, true
			}
			if c.Spec().HasHeads() {
				c.Replicas.Train = []string{"class_token", "encoder.pos_embedding", "heads.head.*"}
			}
			be := &counting{Backend: backend(t, "auto", 1)}
			tr := newTrainerOn(t, c, collective.Alone{}, tinySet(60), be)
			f := tr.newFeed()
			defer f.Close()
			tr.feed = f
			before := slices.Clone(tr.model.Flat())
			for range 2 {
				status, err := tr.localSteps(3)
				must(t, err)
				losses[i], err = tr.Merge(3, status)
				must(t, err)
			}
			if want := 6 * passes * len(tr.workers); be.count != want {
				t.Fatalf("%s: %d passes, want %d", method, be.count, want)
			}
			tr.algorithm.loadMerged()
			weights[i] = slices.Clone(tr.model.Flat())
			distant(t, method+": weights", weights[i], before)
			for _, w := range tr.workers {
				for _, h := range w.heads {
					factors[i] = append(factors[i], h.Value...)
				}
			}
		}
		near(t, method+": weights", weights[1], weights[0], 1e-5)
		near(t, method+": factors", factors[1], factors[0], 1e-5)
		near(t, method+": loss", losses[1:], losses[:1], 1e-5)
	}
}

// softLoss is the mean over images of −Σ_c q_c·log p_c, with the targets of algorithm.md's sources (timm's) one number
// after another.
func softLoss(logits []float32, labels, others []int, lambda float32, smoothing float64) float64 {
	classes := len(logits) / len(labels)
	sum := 0.0
	for i := range labels {
		row, total := logits[i*classes:(i+1)*classes], 0.0
		for _, z := range row {
			total += math.Exp(float64(z))
		}
		for c, z := range row {
			q := smoothing / float64(classes)
			if c == labels[i] {
				q += float64(lambda) * (1 - smoothing)
			}
			if c == others[i] {
				q += (1 - float64(lambda)) * (1 - smoothing)
			}
			sum -= q * (float64(z) - math.Log(total))
		}
	}
	return sum / float64(len(labels))
}

// Every head trains on its mini-batch mixed by the stream of (seed, step, head), with the mixed and smoothed targets.
//
// Fails if images or targets are not mixed, if a head's are mixed by another's stream, or over the whole batch, or if
// smoothing is lost.
func TestMixedTargets(t *testing.T) {
	for _, mix := range []data.Mix{{Probability: 1}, {Mixup: 0.8, Probability: 1}, {CutMix: 1, Probability: 1}, {Mixup: 0.8, CutMix: 1, Probability: 0.7}} {
		for _, share := range []string{"split", "shard", "same"} {
			c, set := tinyConfig("lte"), tinySet(60)
			c.LoRA.Heads, c.Data.Share = 4, share
			c.Data.Mixup, c.Data.CutMix, c.Data.MixProb = mix.Mixup, mix.CutMix, mix.Probability
			tr := started(t, c, ranked{rank: 1, size: 2}, set) // heads 2 and 3
			mixed := 0
			for step := range 6 {
				b, err := tr.feed.Next()
				must(t, err)
				want := 0.0
				for k, w := range tr.workers {
					mine := tr.share(b, k)
					images, others, number := slices.Clone(mine.Images), slices.Clone(mine.Labels), uint64(2+k)
					if share == "same" {
						number = 0
					}
					lambda := float32(1)
					if !mix.None() {
						rng := random.Stream(c.Seed, "mix", uint64(step), number)
						lambda = mix.Apply(images, others, mine.Labels, 1, 4, 4, rng)
					}
					if lambda != 1 {
						mixed++
					}
					tr.model.UseLocal(w.heads[0])
					want += softLoss(tr.model.Forward(images).Data, mine.Labels, others, lambda, 0.1) / 2
				}
				got, ok, err := tr.LocalStep(b)
				must(t, err)
				if !ok {
					t.Fatal("not finite")
				}
				tr.step++
				near(t, fmt.Sprintf("%+v, %s: loss", mix, share), []float64{got}, []float64{want}, 1e-5)
			}
			if (mixed == 0) != mix.None() {
				t.Errorf("%+v: %d of 12 mini-batches mixed", mix, mixed)
			}
		}
	}
}

// Dropout and stochastic depth act in training, each step and head with masks of its own, and never in evaluation.
//
// Fails if the trainer gives passes no noise, the same one twice, or one for all heads; or evaluation any.
func TestNoise(t *testing.T) {
	set := tinySet(60)
	for what, set1 := range map[string]func(m *config.Model){
		"dropout":   func(m *config.Model) { m.Dropout = 0.2 },
		"drop path": func(m *config.Model) { m.DropPath = 0.5 },
	} {
		c := tinyConfig("lte")
		c.Model.Depth, c.LoRA.Heads, c.Data.Share = 2, 2, "same"
		plain := started(t, c, collective.Alone{}, set)
		set1(&c.Model)
		noisy := started(t, c, collective.Alone{}, set)
		copy(noisy.workers[1].heads[0].Value, head(noisy).Value)
		b, err := noisy.feed.Next()
		must(t, err)
		var losses []float64
		for _, step := range []int{0, 1, 0} {
			w := noisy.workers[0]
			w.noise.begin(c.Seed, step, w.number)
			losses = append(losses, noisy.gradients(w, b))
		}
		without := plain.gradients(plain.workers[0], b)
		if losses[0] == without || losses[0] == losses[1] || losses[0] != losses[2] {
			t.Errorf("%s: losses of steps 0, 1, 0 are %v, and %v without", what, losses, without)
		}
		_, _, err = noisy.LocalStep(b)
		must(t, err)
		distant(t, what+": two heads alike", noisy.workers[1].heads[0].Grad, head(noisy).Grad)
		copy(plain.model.Flat(), noisy.model.Flat())
		for range 2 {
			want, _, err := plain.evaluate()
			must(t, err)
			got, _, err := noisy.evaluate()
			must(t, err)
			if got != want {
				t.Errorf("%s: test loss %v, want %v", what, got, want)
			}
		}
	}
}

// The average of W is E ← d^k·E + (1 − d^k)·W at every merge after k steps, begins at W⁰, is evaluated beside W, and
// changes nothing.
//
// Fails if d^k is d, or k the configured interval at the run's shorter end, if a merge is left out, if E is evaluated
// as W or leaves a trace in it.
func TestMovingAverageIsEvaluatedAndSaved(t *testing.T) {
	const d = 0.9
	for _, method := range []string{"lte", "full", "localsgd", "diloco", "sequential"} {
		t.Run(method, func(t *testing.T) {
			c, set := tinyConfig(method), tinySet(60)
			c.Train.Steps, c.Run.EvalEvery, c.Run.LogEvery = 8, 4, 2
			if method == "lte" {
				c.LoRA.Heads = 2
			}
			if c.Spec().HasHeads() {
				c.Replicas.Train = []string{"class_token", "heads.head.*"}
			}
			plain, err := newTrainer(t, c, collective.Alone{}, set).Run(nil)
			must(t, err)
			if plain.AverageLoss != nil || plain.AverageTop1 != nil {
				t.Errorf("an average without ema.decay")
			}

			c.EMA.Decay = d
			tr := started(t, c, collective.Alone{}, set)
			want := widened(tr.model.Flat())
			for tr.step < 8 {
				k := min(tr.algorithm.interval(tr.step), 8-tr.step)
				advance(t, tr, k)
				keep := math.Pow(d, float64(k))
				for i, w := range tr.model.Flat() {
					want[i] = keep*want[i] + (1-keep)*float64(w)
				}
				near(t, "the average", tr.average.values, want, 1e-6)
			}
			distant(t, "the average", tr.average.values, tr.model.Flat())

			obs := &observed{}
			run := newTrainer(t, c, collective.Alone{}, set)
			s, err := run.Run(obs)
			must(t, err)
			if s.WeightsDigest != plain.WeightsDigest || s.TestLoss != plain.TestLoss {
				t.Errorf("weights %s, test loss %v; without an average %s, %v", s.WeightsDigest, s.TestLoss, plain.WeightsDigest, plain.TestLoss)
			}
			bits(t, "the run's average", run.average.values, tr.average.values)
			full := newTrainer(t, tinyConfig("full"), collective.Alone{}, set)
			copy(full.model.Flat(), run.average.values)
			loss, top1, err := full.evaluate()
			must(t, err)
			if s.AverageLoss == nil || s.AverageTop1 == nil {
				t.Fatalf("no average in %+v", s)
			}
			near(t, "the average's loss", []float64{*s.AverageLoss}, []float64{loss}, 1e-6)
			if *s.AverageTop1 != top1 || *s.AverageLoss == s.TestLoss {
				t.Errorf("the average: %v right, loss %v; W: %v", *s.AverageTop1, *s.AverageLoss, s.TestLoss)
			}
			for _, r := range obs.records {
				if (r.AverageLoss == nil) != (r.TestLoss == nil) || (r.AverageTop1 == nil) != (r.TestTop1 == nil) {
					t.Errorf("record of step %d: %+v", r.Step, r)
				}
			}
			if last := obs.records[len(obs.records)-1]; *last.AverageLoss != *s.AverageLoss || *last.AverageTop1 != *s.AverageTop1 {
				t.Errorf("the last record is %+v", last)
			}
			var saved, inPlace []float32
			for _, p := range run.Average() {
				saved = append(saved, p.Value.Float32()...)
			}
			must(t, run.withAverage(func() error {
				for _, p := range run.model.Parameters() {
					inPlace = append(inPlace, p.Value.Float32()...)
				}
				return nil
			}))
			bits(t, "what is saved of it", saved, inPlace)
			bits(t, "the average", run.model.With(run.average.values)[0].Value.Float32(), tr.average.values[:run.model.Parameters()[0].Len()])
			if run.digest() != s.WeightsDigest {
				t.Error("evaluating it left it in W")
			}
		})
	}
}

// The learning rate of a run's steps, by hand: warm-up to 0.4 in 2 steps of 10, and to 0.1 at the end.
func TestSchedules(t *testing.T) {
	for kind, want := range map[string][]float64{
		"constant": {0.2, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4},
		"linear":   {0.2, 0.4, 0.4, 0.3625, 0.325, 0.2875, 0.25, 0.2125, 0.175, 0.1375},
		"cosine": {0.2, 0.4, 0.4, 0.3885819298766930, 0.3560660171779821, 0.3074025148547635, 0.25, 0.1925974851452365,
			0.1439339828220179, 0.1114180701233067},
	} {
		c := tinyConfig("full")
		c.Schedule = config.Schedule{Kind: kind, Warmup: 2, MinLR: 0.1}
		c.Optimizer.LR, c.Train.Steps, c.Run.LogEvery = 0.4, 10, 1
		obs := &observed{}
		_, err := newTrainer(t, c, collective.Alone{}, tinySet(60)).Run(obs)
		must(t, err)
		var got []float64
		for _, r := range obs.records {
			got = append(got, r.LR)
		}
		near(t, kind, got, want, 1e-12)
	}
}
