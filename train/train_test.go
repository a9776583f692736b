package train

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"lte/collective"
	"lte/config"
)

// Fails if a shape that cannot be is not a *config.Error whose text is one line and names the keys.
func TestConfigErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*config.Config)
		want []string
	}{
		{"width not divisible", func(c *config.Config) { c.Model.Width = 9 }, []string{"model.width = 9", "model.heads = 2"}},
		{"patch larger", func(c *config.Config) { c.Model.Patch = 5 }, []string{"model.patch = 5", "larger", "4×4"}},
		{"patch not dividing", func(c *config.Config) { c.Model.Patch = 3 }, []string{"model.patch = 3", "divide", "4×4"}},
		{"width for sincos", func(c *config.Config) { c.Model.Width, c.Model.Positions = 6, "sincos" }, []string{"model.width = 6", "model.positions"}},
		{"rank too large", func(c *config.Config) { c.LoRA.Rank = 9 }, []string{"rank 9", "lora.rank", "at most 8"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := tinyConfig("lte")
			c.set(&cfg)
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
			if strings.Contains(e.Error(), "\n") {
				t.Errorf("%q is more than a line", e)
			}
		})
	}
	c := tinyConfig("nothing")
	if _, err := New(c, collective.Alone{}, tinySet(8), backend(t, "gonum", 1)); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("an unknown method: %v", err)
	}
}

// Fails if a record is not at the first merge at or after a multiple of its interval, if the last step has none or no
// evaluation, or if a record's numbers belong to other steps than those since the record before.
func TestRecords(t *testing.T) {
	type record struct {
		step, merges int
		evaluated    bool
	}
	for _, c := range []struct {
		name             string
		method           string
		k, log, eval, to int
		want             []record
	}{
		{"merges between multiples", "lte", 4, 6, 9, 18, []record{{8, 2, false}, {12, 3, true}, {18, 5, true}}},
		{"every merge", "lte", 3, 1, 0, 7, []record{{3, 1, false}, {6, 2, false}, {7, 3, true}}},
		{"merge less often than log", "lte", 5, 2, 5, 10, []record{{5, 1, true}, {10, 2, true}}},
		{"one interval longer than the run", "lte", 50, 4, 0, 7, []record{{7, 1, true}}},
		{"full", "full", 4, 3, 4, 7, []record{{3, 0, false}, {4, 0, true}, {6, 0, false}, {7, 0, true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := tinyConfig(c.method)
			cfg.Merge.Every, cfg.Run.LogEvery, cfg.Run.EvalEvery, cfg.Train.Steps = c.k, c.log, c.eval, c.to
			tr, obs := newTrainer(t, cfg, collective.Alone{}, tinySet(30)), &observed{}
			s, err := tr.Run(obs)
			must(t, err)
			if len(obs.steps) != c.to || obs.steps[0] != 1 || !slices.IsSorted(obs.steps) || obs.steps[c.to-1] != c.to {
				t.Errorf("progress at steps %v", obs.steps)
			}
			var got []record
			last := 0
			for _, r := range obs.records {
				got = append(got, record{r.Step, r.Merges, r.TestTop1 != nil && r.TestLoss != nil})
				mean := 0.0
				for _, l := range obs.losses[last:r.Step] {
					mean += l / float64(r.Step-last)
				}
				last = r.Step
				if math.Abs(r.TrainLoss-mean) > 1e-6*mean {
					t.Errorf("step %d: mean loss %v, want %v", r.Step, r.TrainLoss, mean)
				}
				if lr := learningRate(0.01, cfg.Schedule, r.Step-1, c.to); r.LR != lr {
					t.Errorf("step %d: rate %v, want %v", r.Step, r.LR, lr)
				}
				if r.Images != int64(4*r.Step) || r.BytesSent != 0 || r.Seconds <= 0 || r.ImagesPerSecond <= 0 {
					t.Errorf("step %d: %+v", r.Step, r)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("records %v, want %v", got, c.want)
			}
			if end := obs.records[len(obs.records)-1]; s.Steps != c.to || s.Merges != end.Merges || s.TestTop1 != *end.TestTop1 ||
				s.TestLoss != *end.TestLoss || s.TrainLoss != end.TrainLoss || s.Images != end.Images {
				t.Errorf("summary %+v is not of the last record %+v", s, end)
			}
		})
	}
}

// Fails if an observer's error does not end the run.
func TestObserverFails(t *testing.T) {
	full := errors.New("disk full")
	obs := &observed{fail: full}
	_, err := newTrainer(t, tinyConfig("lte"), collective.Alone{}, tinySet(30)).Run(obs)
	if !errors.Is(err, full) || len(obs.records) != 1 {
		t.Errorf("%v after %d records", err, len(obs.records))
	}
}

// Fails if evaluation misses an image, counts one twice, or reads a head's own weights. The loss has no smoothing.
func TestEvaluationIsThatOfTheMergedWeights(t *testing.T) {
	set := tinySet(30)
	tr := newTrainer(t, tinyConfig("lte"), collective.Alone{}, set)
	tr.feed = common(set, 4)
	_, err := tr.localSteps(5) // local weights are now others than W
	must(t, err)
	loss, top1, err := tr.evaluate()
	must(t, err)
	cfg := tinyConfig("lte")
	cfg.Train.EvalBatch = 64
	whole := newTrainer(t, cfg, collective.Alone{}, set)
	whole.model.UseMerged()
	rows, sum, right := logits(whole, 64), 0.0, 0
	for i := range set.Test.Len() {
		row, total, best := rows[5*i:5*i+5], 0.0, 0
		for c, z := range row {
			total += math.Exp(float64(z))
			if z > row[best] {
				best = c
			}
		}
		sum += math.Log(total) - float64(row[set.Test.Label(i)])
		if best == set.Test.Label(i) {
			right++
		}
	}
	if want := sum / 21; math.Abs(loss-want) > 1e-5*want {
		t.Errorf("loss %v, want %v", loss, want)
	}
	if want := float64(right) / 21; top1 != want || right == 0 || right == 21 {
		t.Errorf("fraction right %v, want %v", top1, want)
	}
}

// Fails if training does not lower the loss, whatever the method and back end.
func TestLearns(t *testing.T) {
	for _, method := range []string{"lte", "full"} {
		for _, name := range backends() {
			c := tinyConfig(method)
			c.Train.Steps, c.Train.Batch = 120, 8
			tr := newTrainerOn(t, c, collective.Alone{}, tinySet(80), backend(t, name, 1))
			before, _, err := tr.evaluate()
			must(t, err)
			s, err := tr.Run(nil)
			must(t, err)
			if !(s.TestLoss < 0.8*before) || s.TestTop1 < 0.6 {
				t.Errorf("%s on %s: test loss from %.3f to %.3f, %.2f right", method, name, before, s.TestLoss, s.TestTop1)
			}
		}
	}
}

// Fails if a run is not a function of its configuration: anything of the clock, of a map's order, of a feed's timing.
func TestSameSeedSameBits(t *testing.T) {
	for _, method := range []string{"lte", "full"} {
		for _, name := range backends() {
			digests := map[uint64]string{}
			for _, seed := range []uint64{1, 2, 1} {
				c := tinyConfig(method)
				c.Seed = seed
				c.Data.Augment, c.Data.Rotate, c.Data.Shift = true, 10, 0.5
				must(t, c.Resolve(1))
				tr, err := New(c, collective.Alone{}, tinySet(30), backend(t, name, 1))
				must(t, err)
				s, err := tr.Run(nil)
				must(t, err)
				if was, ok := digests[seed]; ok && was != s.WeightsDigest {
					t.Errorf("%s on %s: two runs of seed %d end at %s and %s", method, name, seed, was, s.WeightsDigest)
				}
				digests[seed] = s.WeightsDigest
			}
			if digests[1] == digests[2] {
				t.Errorf("%s on %s: the seed changes nothing", method, name)
			}
		}
	}
}

// Fails if a gradient that is not finite moves anything although the loss is finite, if the error names another step,
// or if the weights are not those of the last merge.
func TestInfiniteGradient(t *testing.T) {
	set := tinySet(30)
	tr := newTrainer(t, tinyConfig("lte"), collective.Alone{}, set)
	tr.feed = common(set, 4)
	_, err := tr.interval(3)
	must(t, err)
	weights, factors := tr.digest(), head(tr).Value
	clear(factors)
	clear(head(tr).Merged)
	head(tr).Rebase()
	a := head(tr).Adapter(tr.model.Layers()[1]).A // its W_k is formed; B is 0, and so the loss is finite; ∂L/∂B = s·Gᵀ·x·Aᵀ is not
	for i := range a.Rows {
		a.Data[i*a.Cols] = math.MaxFloat32
	}
	before := slices.Clone(factors)
	_, err = tr.interval(3)
	var e *NonFiniteError
	if !errors.As(err, &e) || e.Step != 4 || !slices.Equal(e.Ranks, []int{0}) || !finite(e.Loss) {
		t.Errorf("got %v, want a *NonFiniteError at step 4 with a finite loss", err)
	}
	if !slices.Equal(factors, before) || tr.digest() != weights {
		t.Error("something moved")
	}
}

// One rank of full exchanges nothing, and must find by itself that its loss is not finite. Fails when it trains on.
func TestFullStopsAtAValueThatIsNotFinite(t *testing.T) {
	c, set := tinyConfig("full"), tinySet(40)
	tr := newTrainer(t, c, collective.Alone{}, set)
	weights := tr.model.Flat()
	for i := range weights {
		weights[i] *= 1e30
	}
	_, err := tr.Run(nil)
	var e *NonFiniteError
	if !errors.As(err, &e) || e.Step != 1 || !slices.Equal(e.Ranks, []int{0}) {
		t.Errorf("got %v, want a *NonFiniteError of step 1 on rank 0", err)
	}
}
