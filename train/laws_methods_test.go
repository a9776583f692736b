package train

import (
	"slices"
	"testing"

	"lte/collective"
	"lte/config"
	"lte/merge"
	"lte/random"
)

// pair runs two configurations and holds the second's merged weights and losses against the first's.
func pair(t *testing.T, what string, got, want *Trainer, tol float64) {
	t.Helper()
	start := weightsOf(want)
	g, err := got.Run(nil)
	must(t, err)
	w, err := want.Run(nil)
	must(t, err)
	near(t, what+": weights", got.model.Flat(), want.model.Flat(), tol)
	near(t, what+": losses", []float64{g.TrainLoss, g.TestLoss}, []float64{w.TrainLoss, w.TestLoss}, tol)
	if far(weightsOf(want), start, 0.01) == nil {
		t.Fatalf("%s: W has hardly moved", what)
	}
}

// Law 3: with K = 1 and the same batch for all heads, heads that SGD of rate η moves are the heads of mhlora with scaling
// s/N and rate N·η; where the merge takes their sum, with s and η.
//
// Fails with leaving out the merge's 1/N, by one b_B for a whole stack, by A' and B' not kept, and by s of a stack's N·r.
func lawMultiHead(t *testing.T, w collective.Group) {
	for _, heads := range headCounts(w) {
		for _, combine := range []string{"mean", "sum"} {
			c, set := tinyConfig("lte"), tinySet(40)
			eta := 0.05
			if combine == "sum" { // every head moves W by as much as all do
				eta /= float64(heads)
			}
			plainSGD(&c, eta)
			c.Data.Share, c.LoRA.Heads, c.Merge.Every, c.Train.Accumulate = "same", heads, 1, 2
			c.LoRA.Bias = true
			c.Schedule = config.Schedule{Kind: "cosine", Warmup: 2, MinLR: eta / 5}
			n := 1.0
			if c.Merge.Combine = combine; combine == "mean" {
				n = float64(heads)
			}
			lte := newTrainer(t, c, w, set)
			c.Method, c.Merge.Combine = "mhlora", "mean"
			c.LoRA.Alpha, c.Optimizer.LR, c.Schedule.MinLR = c.LoRA.Alpha/n, c.Optimizer.LR*n, c.Schedule.MinLR*n
			multi := newTrainer(t, c, w, set)
			got, err := lte.Run(nil)
			must(t, err)
			want, err := multi.Run(nil)
			must(t, err)
			near(t, "weights", lte.model.Flat(), multi.model.Flat(), 1e-5)
			near(t, "losses", []float64{got.TrainLoss, got.TestLoss}, []float64{want.TrainLoss, want.TestLoss}, 1e-5)
			for _, k := range lte.workers {
				for _, l := range lte.model.Layers() {
					a, stack := k.heads[0].Adapter(l), head(multi).Adapter(multi.model.Layers()[slices.Index(lte.model.Layers(), l)])
					r := a.A.Rows
					near(t, "A", a.A.Data, stack.A.Data[k.number*len(a.A.Data):][:len(a.A.Data)], 1e-5)
					var b []float32
					for i := range stack.B.Rows {
						b = append(b, stack.B.Data[i*stack.B.Cols+k.number*r:][:r]...)
					}
					near(t, "B", a.B.Data, b, 1e-5)
				}
			}
			moved(t, lte)
		}
	}
}

// Law 1 over ranks: methods that average gradients every step train as one rank does on the ranks' batches as one.
//
// Fails with a worker's batch that is rank 0's on all ranks, and by gradients that are not averaged.
func largeBatches(t *testing.T, w collective.Group) {
	for _, method := range []string{"lora", "mhlora", "sequential"} {
		c, set := tinyConfig(method), tinySet(50)
		smooth(&c)
		c.Data.Augment, c.Data.Rotate, c.Data.Shift = true, 10, 0.5
		c.Replicas.Train, c.Replicas.LR, c.LoRA.Bias = []string{"class_token", "heads.head.*"}, 0.03, true
		many := newTrainer(t, c, w, set)
		c.Train.Batch *= w.Size()
		if method == "mhlora" {
			c.LoRA.Heads = w.Size()
		}
		pair(t, method, many, newTrainer(t, c, collective.Alone{}, set), 1e-5)
	}
}

// With K = 1 the mean of weights that every rank moved by its own gradient is the step of the mean gradient, for SGD with
// momentum and decay, where nothing is clipped: all of it is linear. On one rank any K gives full's bits, whatever the
// optimizer.
//
// Fails with weights that are not averaged, and by moments cleared at the merge.
func localSGDIsFull(t *testing.T, w collective.Group) {
	c, set := tinyConfig("localsgd"), tinySet(50)
	if w.Size() > 1 {
		smooth(&c)
		c.Optimizer.ClipNorm, c.Merge.Every = 0, 1
	}
	local := newTrainer(t, c, w, set)
	c.Method = "full"
	full := newTrainer(t, c, w, set)
	pair(t, "localsgd", local, full, 1e-5)
	if w.Size() == 1 && local.digest() != full.digest() {
		t.Fatal("one rank's bits differ")
	}
}

// With outer rate 1 and no momentum diloco's outer step replaces the weights by their mean.
//
// Fails with a difference of the other sign.
func dilocoIsLocalSGD(t *testing.T, w collective.Group) {
	c, set := tinyConfig("diloco"), tinySet(50)
	smooth(&c)
	c.Outer = config.Outer{LR: 1}
	outer := newTrainer(t, c, w, set)
	c.Method = "localsgd"
	pair(t, "diloco", outer, newTrainer(t, c, w, set), 1e-5)
}

// The outer step is torch.optim.SGD's with nesterov = True, on the gradient θ − mean(θ_k), here in float64 from the weights
// that the ranks bring to three merges.
//
// Fails with momentum without Nesterov's look-ahead, and by a velocity that takes up η.
func dilocoOuterStep(t *testing.T, w collective.Group) {
	const eta, mu = 0.6, 0.8
	c, set := tinyConfig("diloco"), tinySet(100)
	c.Outer = config.Outer{LR: eta, Momentum: mu}
	tr := newTrainer(t, c, w, set)
	f := tr.newFeed()
	defer f.Close()
	tr.feed = f
	theta, start := wide(tr.model.Flat()), wide(tr.model.Flat())
	n := len(theta)
	buffer := make([]float64, n)
	for merge := range 3 {
		status, err := tr.localSteps(3)
		must(t, err)
		all := make([]float32, w.Size()*n)
		must(t, collective.Allgather(w, all, tr.model.Flat()))
		_, err = tr.algorithm.merge(tr.step, 3, status)
		must(t, err)
		for i := range theta {
			grad := theta[i]
			for k := range w.Size() {
				grad -= float64(all[k*n+i]) / float64(w.Size())
			}
			if merge == 0 {
				buffer[i] = grad // as torch: the buffer is the first gradient
			} else {
				buffer[i] = mu*buffer[i] + grad
			}
			theta[i] -= eta * (grad + mu*buffer[i])
		}
		near(t, "θ", tr.model.Flat(), theta, 1e-6)
	}
	if far(theta, start, 0.01) == nil {
		t.Fatal("θ has hardly moved")
	}
}

// Up to its first merge sequential is lora, and that merge's W is lora's.
//
// Fails with a head other than lora's, and by lora's W formed of W instead of W⁰.
func sequentialIsLoRA(t *testing.T, w collective.Group) {
	for _, bias := range []bool{false, true} {
		c, set := tinyConfig("sequential"), tinySet(50)
		smooth(&c)
		c.Merge.Every, c.Run.LogEvery, c.LoRA.Bias = c.Train.Steps, c.Train.Steps, bias
		once := newTrainer(t, c, w, set)
		c.Method = "lora"
		pair(t, "sequential", once, newTrainer(t, c, w, set), 1e-5)
	}
}

// After a merge sequential is a lora run that begins at W: with its A where only B is reset, else with that of the
// reset's stream; its optimizer knows nothing, and the schedule continues.
//
// Fails with B not reset, by b_A kept beside another A, by moments not cleared, by AdamW's count of steps not
// cleared, and by another stream.
func sequentialResetsItsHead(t *testing.T, w collective.Group) {
	for _, reset := range []string{"b", "ab"} {
		c, set := tinyConfig("sequential"), tinySet(100)
		c.Optimizer.Eps = 1e-2 // AdamW as a smooth function of gradients that may be nothing but rounding
		c.Merge.Reset, c.LoRA.Bias, c.Train.Steps = reset, true, 2*c.Merge.Every
		anew := newTrainer(t, c, w, set)
		f := anew.newFeed()
		defer f.Close()
		anew.feed = f
		_, err := anew.interval(c.Merge.Every)
		must(t, err)

		c.Method, c.Merge.Reset = "lora", "auto"
		fresh := newTrainer(t, c, w, set)
		copy(fresh.model.Flat(), anew.model.Flat())
		if reset == "ab" {
			fresh.algorithm.(*perStep).heads.layout.DrawA(head(fresh).Value, random.Stream(c.Seed, "reset", 0, 1))
		} else {
			for _, p := range fresh.algorithm.(*perStep).heads.layout.Layers {
				f, kept := p.Factors(head(fresh).Value), p.Factors(head(anew).Value)
				copy(f.A.Data, kept.A.Data)
				copy(f.BiasA, kept.BiasA)
			}
		}
		copy(head(fresh).Merged, head(fresh).Value)
		restart(fresh)
		fresh.step = anew.step
		g := fresh.newFeed()
		defer g.Close()
		fresh.feed = g
		start := weightsOf(fresh)
		for _, tr := range []*Trainer{anew, fresh} {
			_, err := tr.localSteps(c.Merge.Every)
			must(t, err)
		}
		near(t, "factors", head(anew).Value, head(fresh).Value, 1e-5)
		for _, tr := range []*Trainer{anew, fresh} {
			_, err := tr.algorithm.merge(tr.step, 1, merge.Status{})
			must(t, err)
			tr.algorithm.loadMerged()
		}
		near(t, "weights", anew.model.Flat(), fresh.model.Flat(), 1e-5)
		if far(weightsOf(fresh), start, 0.01) == nil {
			t.Fatal("W has hardly moved")
		}
	}
}

// mhlora with one head is lora to the bit; with several it is lora of the first where the others' factors are 0, whose
// gradients then are 0 too.
//
// Fails with s of the stack's rank, and by a stack whose first A is not head 0's.
func oneOfMultiHead(t *testing.T, w collective.Group) {
	for _, heads := range []int{1, 3} {
		c, set := tinyConfig("lora"), tinySet(50)
		smooth(&c)
		one := newTrainer(t, c, w, set)
		c.Method, c.LoRA.Heads = "mhlora", heads
		multi := newTrainer(t, c, w, set)
		for _, l := range multi.model.Layers() {
			a := head(multi).Adapter(l).A
			clear(a.Data[len(a.Data)/heads:])
		}
		copy(head(multi).Merged, head(multi).Value)
		restart(multi)
		pair(t, "mhlora", multi, one, 1e-5)
		if heads == 1 && multi.digest() != one.digest() {
			t.Fatal("one head's bits differ")
		}
	}
}
