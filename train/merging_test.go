package train

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"lte/collective"
	"lte/config"
	"lte/data"
)

// The merges of a run are where the schedule puts them: up to its limits at its intervals, then every merge.every
// steps, the last one at the run's end.
//
// Fails if an interval begins or ends at another step, if the last one passes the end, or if a method has a clock of
// its own.
func TestMergeSchedule(t *testing.T) {
	want := []int{1, 2, 3, 4, 7, 10, 15, 18}
	for _, method := range []string{"lte", "sequential", "localsgd", "diloco"} {
		c := tinyConfig(method)
		c.Merge.Every, c.Train.Steps, c.Run.LogEvery = 5, 18, 1
		c.Merge.Schedule = []config.Interval{{Until: 4, Every: 1}, {Until: 9, Every: 3}}
		obs := &observed{}
		s, err := newTrainer(t, c, collective.Alone{}, tinySet(30)).Run(obs)
		must(t, err)
		var got []int
		for i, r := range obs.records {
			if got = append(got, r.Step); r.Merges != i+1 {
				t.Errorf("%s, step %d: merge %d, want %d", method, r.Step, r.Merges, i+1)
			}
		}
		if !slices.Equal(got, want) || s.Merges != len(want) {
			t.Errorf("%s: %d merges, at %v, want %v", method, s.Merges, got, want)
		}
	}
}

// With decay = "weights" every merge first takes Π(1−η_i·λ)·W of W, for the steps since the last; b and the factors
// are not decayed. The twin continues from its own W in float64, so that an error of one merge stays.
//
// Fails if the rates are those of other steps, if W⁰ alone is decayed, or if the factors are decayed too.
func TestDecayOfWeightsActsAtMerges(t *testing.T) {
	for _, reset := range []string{"none", "b"} {
		const n, lambda = 2, 0.5
		c := tinyConfig("lte")
		c.LoRA.Heads, c.LoRA.Bias, c.Merge.Reset, c.Merge.Decay = n, true, reset, "weights"
		c.Optimizer.WeightDecay, c.Optimizer.LR, c.Schedule.MinLR = lambda, 0.1, 0.01
		tr := started(t, c, collective.Alone{}, tinySet(60))
		wantW, wantB := widened(linear(tr)), widened(biases(tr))
		whole := 1.0
		for merge := range 3 {
			status, err := tr.localSteps(3)
			must(t, err)
			for i := 3 * merge; i < 3*merge+3; i++ {
				eta := 0.01 + 0.09*(1+math.Cos(math.Pi*float64(i-2)/7))/2 // 9 steps, 2 of them warm-up
				if i < 2 {
					eta = 0.1 * float64(i+1) / 2
				}
				whole *= 1 - eta*lambda
				for j := range wantW {
					wantW[j] *= 1 - eta*lambda
				}
			}
			addUpdates(tr, 1.0/n, wantW, wantB)
			_, err = tr.Merge(3, status)
			must(t, err)
			near(t, reset+": W", linear(tr), wantW, 5e-6)
			near(t, reset+": b", biases(tr), wantB, 5e-6)
			for _, w := range tr.workers {
				tr.model.UseMerged()
				merged := logits(tr, 8)
				tr.model.UseLocal(w.heads[0])
				near(t, reset+": a head's logits", logits(tr, 8), merged, 1e-5)
			}
		}
		if whole > 0.8 {
			t.Fatalf("decayed by %v only", whole)
		}
		w := tr.workers[0]
		before := slices.Clone(w.heads[0].Value)
		clear(w.heads[0].Grad)
		w.clearMoments()
		w.update(0.1, 0, 0)
		bits(t, "factors, without gradients", w.heads[0].Value, before)
	}
}

// Heads alike move W N times as far by their sum as by their mean.
//
// Fails if merge.combine does not reach the merge.
func TestSumMovesWeightsNTimesAsFar(t *testing.T) {
	const n = 3
	var moves [2][]float32
	for i, combine := range []string{"mean", "sum"} {
		c := tinyConfig("lte")
		gentle(&c)
		c.LoRA.Heads, c.LoRA.Bias, c.Merge.Combine, c.Data.Share = n, true, combine, "same"
		tr := started(t, c, collective.Alone{}, tinySet(60))
		for _, w := range tr.workers[1:] {
			copy(w.heads[0].Value, head(tr).Value)
			copy(w.heads[0].Merged, head(tr).Merged)
		}
		before := append(linear(tr), biases(tr)...)
		advance(t, tr, 3)
		for j, x := range append(linear(tr), biases(tr)...) {
			moves[i] = append(moves[i], x-before[j])
		}
	}
	distant(t, "W", moves[0], make([]float32, len(moves[0])))
	near(t, "the sum", moves[1], scaled(moves[0], n), 1e-5)
}

// numbered is a set whose images are their own number, and show it.
func numbered(n int) *data.Set {
	p := &pictures{}
	for i := range n {
		p.pixels, p.labels = append(p.pixels, bytes.Repeat([]byte{uint8(i)}, 16)), append(p.labels, i%5)
	}
	return &data.Set{Name: "numbered", Classes: 5, Shape: data.Shape{Channels: 1, Height: 4, Width: 4}, White: 1,
		Mean: []float32{0}, Std: []float32{1}, Train: p, Test: p}
}

// ranked is a group of which only the place is asked.
type ranked struct {
	collective.Alone
	rank, size int
}

func (r ranked) Rank() int { return r.rank }
func (r ranked) Size() int { return r.size }

// With data.share = split the heads of all ranks share out every step's images, head k the k-th part, and an epoch has
// every image once; with shard each has the shard of its number, and an epoch of all has every image once; with same all see
// one mini-batch, and heads alike stay alike.
//
// Fails if two heads see an image twice in an epoch, if which head sees what depends on the number of ranks, or if
// same is not the same, and with shards that the ranks count from 0.
func TestShare(t *testing.T) {
	const heads, batch, steps = 4, 3, 5
	for _, share := range []string{"split", "shard", "same"} {
		for _, ranks := range []int{1, 2, 4} {
			seen := make([]int, heads*batch*steps)
			for rank := range ranks {
				c, set := tinyConfig("lte"), numbered(heads*batch*steps)
				c.LoRA.Heads, c.Data.Share, c.Train.Batch = heads, share, batch
				must(t, c.Resolve(ranks))
				tr, err := New(c, ranked{rank: rank, size: ranks}, set, backend(t, "auto", 1))
				must(t, err)
				f := tr.newFeed()
				defer f.Close()
				sampler := data.NewSampler(set.Train.Len(), c.Seed)
				for step := range steps {
					b, err := f.Next()
					must(t, err)
					for i, w := range tr.workers {
						draws := make([]data.Draw, batch)
						switch share {
						case "split":
							sampler.Batch(draws, step, w.number, heads)
						case "shard":
							data.NewShard(set.Train.Len(), c.Seed, w.number, heads).Batch(draws, step, 0, 1)
						case "same":
							sampler.Batch(draws, step, 0, 1)
						}
						mine := tr.share(b, i)
						if len(mine.Labels) != batch || len(mine.Images) != 16*batch {
							t.Fatalf("%d images", len(mine.Labels))
						}
						for j, d := range draws {
							if got := int(mine.Images[16*j]); got != d.Image || mine.Labels[j] != d.Image%5 {
								t.Fatalf("%s, %d ranks: step %d, head %d sees image %d, want %d", share, ranks, step, w.number, got, d.Image)
							}
							seen[d.Image]++
						}
					}
				}
			}
			if share != "same" && (slices.Min(seen) != 1 || slices.Max(seen) != 1) {
				t.Errorf("%s, %d ranks: in an epoch images are seen %v times", share, ranks, seen)
			}
		}
	}
	c := tinyConfig("lte")
	c.LoRA.Heads, c.Data.Share = 61, "shard"
	must(t, c.Resolve(1))
	var e *config.Error
	if _, err := New(c, collective.Alone{}, tinySet(60), backend(t, "auto", 1)); !errors.As(err, &e) || !slices.Equal(e.Keys, []string{"data.share"}) {
		t.Errorf("61 heads, 60 images: %v", err)
	}
	for _, share := range []string{"split", "shard", "same"} {
		c := tinyConfig("lte")
		c.LoRA.Heads, c.Data.Share = 2, share
		tr := started(t, c, collective.Alone{}, tinySet(60))
		other := tr.workers[1].heads[0]
		copy(other.Value, head(tr).Value)
		copy(other.Merged, head(tr).Value)
		advance(t, tr, 3)
		if alike := slices.Equal(other.Value, head(tr).Value); alike != (share == "same") {
			t.Errorf("%s: two heads alike stay alike: %v", share, alike)
		}
	}
}
