package train

import (
	"errors"
	"math"
	"slices"
	"testing"

	"lte/collective"
	"lte/data"
	"lte/record"
)

// Fails if two runs of a seed differ, or the ranks do.
func runTwice(t *testing.T, w collective.Group) {
	for _, method := range []string{"lte", "full"} {
		c := tinyConfig(method)
		c.Data.Augment, c.Data.Rotate, c.Data.Shift = true, 10, 0.5
		var digests []string
		for range 2 {
			tr := newTrainer(t, c, w, tinySet(50))
			s, err := tr.Run(nil)
			must(t, err)
			everywhere(t, w, method+"'s weights", tr.digest())
			digests = append(digests, s.WeightsDigest)
		}
		if digests[0] != digests[1] {
			t.Fatalf("%s: two runs of a seed end at %v", method, digests)
		}
	}
}

// Fails if full is anything but training on the ranks' batches as one: their images depend on N·b alone.
func runFull(t *testing.T, w collective.Group) {
	c, set := tinyConfig("full"), tinySet(50)
	smooth(&c)
	c.Data.Augment, c.Data.Rotate, c.Data.Shift = true, 10, 0.5
	many := newTrainer(t, c, w, set)
	got, err := many.Run(nil)
	must(t, err)
	c.Train.Batch *= w.Size()
	one := newTrainer(t, c, collective.Alone{}, set)
	start := slices.Clone(weightsOf(one))
	want, err := one.Run(nil)
	must(t, err)
	near(t, "W", weightsOf(many), weightsOf(one), 1e-4)
	near(t, "losses", []float64{got.TrainLoss, got.TestLoss}, []float64{want.TrainLoss, want.TestLoss}, 1e-4)
	if got.TestTop1 != want.TestTop1 || got.Images != want.Images {
		t.Fatalf("%+v, want %+v", got, want)
	}
	if far(weightsOf(one), start, 0.01) == nil {
		t.Fatal("W has hardly moved")
	}
}

// Fails if a loss that is not a number, on one rank at one step, does not end the run on all ranks with one error that
// names both, or if weights other than those of the last merge (lte) or step (full) are kept.
func runNotANumber(t *testing.T, w collective.Group) {
	const step = 5 // from 1: in the second interval
	bad := w.Size() - 1
	for _, method := range []string{"lte", "full"} {
		c := tinyConfig(method)
		set := tinySet(400)
		good := newTrainer(t, c, w, set)
		f := good.newFeed()
		defer f.Close()
		good.feed = f
		for range map[string]int{"lte": 1, "full": step - 1}[method] { // up to the last merge
			_, err := good.interval(good.algorithm.interval(good.step))
			must(t, err)
		}

		tr := newTrainer(t, c, w, set)
		fresh := tr.newFeed()
		defer fresh.Close()
		tr.feed = &fed{batches: func(at int) *data.Batch {
			b, err := fresh.Next()
			must(t, err)
			if at == step-1 && w.Rank() == bad {
				b.Images[7] = float32(math.NaN())
			}
			return b
		}}
		_, err := tr.run()
		tr.algorithm.loadMerged()
		var e *NonFiniteError
		if !errors.As(err, &e) || e.Step != step || !slices.Equal(e.Ranks, []int{bad}) || !math.IsNaN(e.Loss) {
			t.Fatalf("%s: got %v, want a *NonFiniteError at step %d on rank %d", method, err, step, bad)
		}
		everywhere(t, w, "the error", describe(err))
		if tr.digest() != good.digest() {
			t.Fatalf("%s: the weights are not those of the last merge", method)
		}
	}
}

// Fails if only the loss is watched: here the loss is finite and the gradient is not, on the last rank at step
// 2 and on rank 0 at step 3; the error is of the first.
func runInfiniteGradient(t *testing.T, w collective.Group) {
	c, set := tinyConfig("lte"), tinySet(40)
	tr := newTrainer(t, c, w, set)
	before := tr.digest()
	overflow := func() { // B is 0, and so the loss is finite; ∂L/∂B = s·Gᵀ·x·Aᵀ is not
		clear(head(tr).Value)
		clear(head(tr).Merged)
		head(tr).Rebase()
		a := head(tr).Adapter(tr.model.Layers()[1]).A // its W_k is formed
		for i := range a.Rows {
			a.Data[i*a.Cols] = math.MaxFloat32
		}
	}
	f := common(set, 4)
	inner := f.batches
	f.batches = func(step int) *data.Batch {
		switch {
		case w.Rank() == 0 && step == 2, w.Rank() == w.Size()-1 && step == 1:
			overflow()
		}
		return inner(step)
	}
	tr.feed = f
	_, err := tr.interval(3)
	var e *NonFiniteError
	if !errors.As(err, &e) || e.Step != 2 || !slices.Equal(e.Ranks, []int{w.Size() - 1}) || !finite(e.Loss) {
		t.Fatalf("got %v, want a *NonFiniteError at step 2 on the last rank alone, with a finite loss", err)
	}
	everywhere(t, w, "the error", describe(err))
	if tr.digest() != before {
		t.Fatal("W moved")
	}
}

// Fails if a run sends other bytes than counted here: factors and status at every merge and nothing between merges;
// full's gradients and loss at every step, in blocks of equal length; digests for the lockstep; three sums for an evaluation.
func runTraffic(t *testing.T, w collective.Group) {
	n := int64(w.Size())
	for _, method := range []string{"lte", "full"} {
		c := tinyConfig(method)
		c.Train.Steps, c.Run.LogEvery, c.Run.EvalEvery = 10, 4, 6
		tr := newTrainer(t, c, w, tinySet(50))
		var obs record.Observer
		told := &observed{}
		if w.Rank() == 0 {
			obs = told
		}
		s, err := tr.Run(obs)
		must(t, err)
		got := tr.Sent()
		lockstep, evaluation := 8*int64(len(tr.model.Parameters())), int64(8*3)
		weights := tr.model.Flat()
		var want int64
		if method == "lte" { // merges at 3, 6, 9 and 10; evaluations at 6 and 10
			want = (n - 1) * (4*(4*int64(len(head(tr).Value)+2)+lockstep) + 2*evaluation)
		} else { // checks at 4, 8 and the last step
			block := (int64(len(weights)) + 1 + n - 1) / n
			want = (n - 1) * (10*2*4*block + 3*lockstep + 2*evaluation)
			ring := 10 * collective.AllreduceBytes(int64(len(weights))+1, w.Size())
			if gradients := (n - 1) * 10 * 2 * 4 * block; gradients < ring || gradients > ring+10*8*n {
				t.Fatalf("gradients take %d bytes, a ring allreduce %d", gradients, ring)
			}
		}
		if got != want || s.BytesSentPerRank != want {
			t.Fatalf("%s: %d bytes, told %d, want %d", method, got, s.BytesSentPerRank, want)
		}
		if s.PeakMemory < int64(4*len(weights)) || s.PeakMemory > 1<<40 {
			t.Fatalf("largest resident set %d bytes", s.PeakMemory)
		}
		if ddp := 10 * collective.AllreduceBytes(int64(len(weights)), w.Size()); s.DDPBytesPerRank != ddp {
			t.Fatalf("DDP's bytes %d, want %d", s.DDPBytesPerRank, ddp)
		}
		if w.Rank() == 0 && told.records[len(told.records)-1].BytesSent != want {
			t.Fatalf("%s: the last record has %d bytes, want %d", method, told.records[len(told.records)-1].BytesSent, want)
		}
	}
}
