package train

import (
	"fmt"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/lora"
	"lte/merge"
	"lte/model"
	"lte/nn"
)

// lte is LoRA-the-Explorer (Huh et al. 2024, algorithm 1 and the authors' code): every head trains alone, and every K
// steps all ranks gather all heads' factors. Without resets they apply
//
//	W ← W⁰ + (s/N)·Σ_k B_k A_k;  A'_k, B'_k ← A_k, B_k
//
// which is what W ← W + (s/N)·Σ_k (B_k A_k − B'_k A'_k) telescopes to, without its drift. With resets
//
//	W ← W + (s/N)·Σ_k B_k A_k;  B_k ← 0
//
// and every head is exactly at W. A_k and B_k of all heads are here what was sent of them, for their owners too; A'_k and
// B'_k are therefore in W, and what rounding on the wire dropped stays with the head.
//
// With exchange.overlap what is sent at a merge is on its way during the next interval, and taken up at the next merge:
//
//	W ← W⁰ + (s/N)·Σ_k B'_k A'_k;  W_k = W − s·B'_k A'_k + s·B_k A_k
//
// where A', B' are the factors of one interval ago, and what a head has learned since is in its W_k all along.
//
// With merge.momentum μ an update Δ of W goes on in the merges that follow: see momentum.
//
// Where heads are many, exchange.transport has a layer's sum over them travel in place of their factors.
type lte struct {
	*heads
	checker   *lockstepChecker
	sharers   collective.Group // of which the ranks of a node share W, and its merge
	share     float32          // of a head's update in W's: 1/N, or 1 for their sum
	origins   []origin         // a layer each; nil with resets, which add to W and b themselves
	momentum  momentum
	wire      merge.Wire
	route     Route
	gathering *merge.Update
	mean      *collective.Mean // of the replicas
	merged    []float32        // the replicas of the last merge
	done      counts
	aloft     *flight   // nil: none
	sending   []float32 // the factors that it carries
	arrived   flight    // a copy of aloft, landed, in a checkpoint
}

// flight is an exchange of factors that is under way, of the interval of k steps that ended with step.
type flight struct {
	step, k  int
	statuses []merge.Status
	err      error
	landed   chan struct{} // closed: statuses or err are there
}

// origin is what a layer's W and b are formed of: W⁰ (out, in), and b⁰ (out) where heads have biases.
type origin struct{ w, b []float32 }

func newLTE(c config.Config, g *collective.Meter, be compute.Backend, m *model.Model, as *Route) (*lte, error) {
	own := c.LoRA.Heads / g.Size()
	resets := c.Merge.Reset != "none"
	base := lora.CachedBase
	switch {
	case resets:
		base = lora.MainWeightBase
	case own > 1:
		base = lora.RecomputedBase
	}
	h, err := newHeads(c, be, m, g.Rank()*own, own, 1, base)
	if err != nil {
		return nil, err
	}
	l := &lte{heads: h, sharers: sharers(c, g), share: 1 / float32(c.LoRA.Heads)}
	if c.Merge.Combine == "sum" {
		l.share = 1
	}
	if !resets {
		if err := l.keepOrigins(); err != nil {
			return nil, err
		}
	}
	if l.momentum, err = newMomentum(c.Merge.Momentum, l.layout, l.sharers); err != nil {
		return nil, err
	}
	if c.Exchange.Overlap {
		if err := g.For(collective.Control).YieldWhileWaiting(); err != nil {
			return nil, err
		}
	}
	l.wire = merge.Wire(c.Exchange.Wire)
	merging := g.For(collective.Merging)
	if c.Exchange.Zstd {
		merging = merge.Compressed(merging, l.wire)
	}
	transports, route, err := h.choose(g, own, as)
	if err != nil {
		return nil, err
	}
	l.route = route
	if l.gathering, err = merge.NewUpdate(merging, h.factors(), h.layout.Length, own, l.wire, transports, l.multiply); err != nil {
		return nil, err
	}
	if r := h.crew[0].replicas; r != nil {
		l.merged = append([]float32(nil), r.value...)
		if l.mean, err = collective.NewMean(g.For(collective.Merging), len(r.value)); err != nil {
			return nil, err
		}
	}
	l.checker = newLockstepChecker(g.For(collective.Control), m)
	return l, nil
}

// keepOrigins copies W⁰ and b⁰ of the layers that carry heads; W⁰ is the sharers', as W is.
func (l *lte) keepOrigins() error {
	rooms, err := besideW(l.layout, l.sharers)
	if err != nil {
		return fmt.Errorf("room for W⁰: %w", err)
	}
	for i, p := range l.layout.Layers {
		o := origin{w: rooms[i]}
		from, to := collective.Part(l.sharers, len(o.w))
		copy(o.w[from:to], p.Layer.W.Data[from:to])
		if l.config.LoRA.Bias {
			o.b = append([]float32(nil), p.Layer.B...)
		}
		l.origins = append(l.origins, o)
	}
	return l.sharers.NodeBarrier()
}

// besideW is a number, 0 at first, for every one of each layer's W that carries heads, (out, in); the sharers' like those.
func besideW(layout *lora.Layout, sharers collective.Group) (rooms [][]float32, err error) {
	total := 0
	for _, p := range layout.Layers {
		total += len(p.Layer.W.Data)
	}
	room, err := collective.Memory(sharers, total)
	if err != nil {
		return nil, err
	}
	for _, p := range layout.Layers {
		n := len(p.Layer.W.Data)
		rooms, room = append(rooms, room[:n]), room[n:]
	}
	return rooms, nil
}

func (l *lte) interval(step int) int { return l.config.Merge.Interval(step) }
func (l *lte) counts() counts        { return l.done }

// exchange: a local step talks to nobody.
func (l *lte) exchange(_ int, loss float64) (float64, error) { return loss, nil }

func (l *lte) merge(step, k int, status merge.Status) (ended, error) {
	if !l.config.Exchange.Overlap {
		if err := l.anticipate(); err != nil {
			return ended{}, err
		}
		statuses, err := l.gathering.Gather(l.values, status)
		if err != nil {
			return ended{}, err
		}
		return l.take(step, k, statuses)
	}
	earlier, err := l.land()
	if err != nil {
		return ended{}, err
	}
	if err := l.send(step, k, status); err != nil {
		return ended{}, err
	}
	if step < l.config.Train.Steps {
		return earlier, nil
	}
	last, err := l.land() // there is no next interval
	steps := earlier.steps + last.steps
	loss := earlier.loss*float64(earlier.steps) + last.loss*float64(last.steps)
	return ended{loss / float64(steps), steps}, err
}

// send begins an exchange. Until it has landed no rank calls another collective: the order of calls is that of the group.
func (l *lte) send(step, k int, status merge.Status) error {
	if err := l.anticipate(); err != nil {
		return err
	}
	l.sending = append(l.sending[:0], l.values...)
	f := &flight{step: step, k: k, landed: make(chan struct{})}
	go func() {
		defer close(f.landed)
		f.statuses, f.err = l.gathering.Gather(l.sending, status)
	}()
	l.aloft = f
	return nil
}

// land waits for the exchange under way, if there is one, and takes it up.
func (l *lte) land() (ended, error) {
	f := l.aloft
	if f == nil {
		return ended{}, nil
	}
	l.aloft = nil
	if <-f.landed; f.err != nil {
		return ended{}, f.err
	}
	if err := l.sharers.NodeBarrier(); err != nil { // others still train with the W that is to change
		return ended{}, err
	}
	return l.take(f.step, f.k, f.statuses)
}

// take makes W of the factors that were gathered after the k steps that ended with step: each sharer its rows.
func (l *lte) take(step, k int, statuses []merge.Status) (ended, error) {
	if err := failure(step, k, statuses); err != nil {
		return ended{}, err
	}
	shrink := l.shrink(step, k)
	for i, p := range l.layout.Layers {
		out, in := p.Layer.W.Rows, p.Layer.W.Cols
		first, end := collective.Part(l.sharers, out)
		w := p.Layer.W.Data[first*in : end*in]
		from := w
		if l.origins != nil {
			from = l.origins[i].w[first*in : end*in]
		}
		l.momentum.begin(w)
		decay(from, w, shrink)
		if sum := l.gathering.Sum(i); sum != nil {
			add(w, from, sum[first*in:end*in])
		} else {
			a, b := l.gathering.Stacks(i, first, end) // (N·r, in), (rows, N·r)
			rows, wide := end-first, l.config.LoRA.Heads*p.Rank
			l.backend.AddProduct(compute.F32(compute.Matrix(rows, in, w)), compute.Matrix(rows, in, from), p.Scale*l.share,
				compute.Matrix(rows, wide, b), compute.Matrix(wide, in, a))
		}
		l.momentum.end(i, first*in, w, from)
	}
	l.mergeBiases()
	if err := l.sharers.NodeBarrier(); err != nil { // all of W is there
		return ended{}, err
	}
	if err := l.mergeReplicas(); err != nil {
		return ended{}, err
	}
	if err := l.checker.check(); err != nil { // before what heads begin with is formed of W
		return ended{}, err
	}
	for i, w := range l.crew {
		copy(w.heads[0].Merged, l.gathering.LocalEstimate(i))
	}
	l.owe()
	if l.origins == nil {
		if err := l.gathering.ResetSums(); err != nil {
			return ended{}, err
		}
	}
	l.done.merges++
	l.done.cleared += l.begin(l.done.merges)
	return ended{meanLoss(statuses), k}, nil
}

// anticipate makes what all ranks hold of the heads what these began with, at first and after a reset, as far as all can
// know it: then A need not travel, and the first message is a change like any other. It is put off until the next
// exchange, as the factors of the last one are still measured.
func (l *lte) anticipate() error {
	reset, merges := l.config.Merge.Reset, l.done.merges
	if l.wire == merge.FP32 || merges > 0 && reset == "none" || !l.gathering.HasEstimates() {
		return nil
	}
	err := l.gathering.SetEstimates(func(k int, head []float32) {
		if merges == 0 {
			l.layout.DrawA(head, l.streams("head", k, 1)...)
		} else {
			l.reset(head, k, merges)
		}
	})
	if err != nil || merges > 0 && reset == "b" {
		return err // owe has seen to the rest
	}
	for i, w := range l.crew {
		copy(l.gathering.LocalEstimate(i), l.gathering.Estimate(w.number))
	}
	return nil
}

// owe: after a reset of B alone what was not sent of B is still owed, as A goes on. The next change of B is taken from
// B̂ − B of this merge in place of 0. After a reset of A too it is forgotten: it was a factor of another A.
func (l *lte) owe() {
	if l.wire == merge.FP32 || l.config.Merge.Reset != "b" {
		return
	}
	for i, w := range l.crew {
		for _, p := range l.layout.Layers {
			sent, f := p.Factors(l.gathering.LocalEstimate(i)), p.Factors(w.heads[0].Value)
			subtract(sent.B.Data, f.B.Data)
			subtract(sent.BiasB, f.BiasB)
		}
	}
}

func subtract(dst, x []float32) {
	for i, v := range x {
		dst[i] -= v
	}
}

func add(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = v + y[i]
	}
}

// apart returns the factors of the last merge: those that any reset left behind. Layers that are measured travel as factors.
func (l *lte) apart(layer *nn.Linear) (all []lora.Factors) {
	if p, ok := l.place(layer); ok {
		for k := range l.config.LoRA.Heads {
			all = append(all, p.Factors(l.gathering.Estimate(k)))
		}
	}
	return all
}

// mergeBiases makes b of the biases that were gathered; of a node's sharers one does it.
func (l *lte) mergeBiases() {
	if !l.config.LoRA.Bias || l.sharers.NodeRank() > 0 {
		return
	}
	for i, p := range l.layout.Layers {
		if l.origins != nil {
			copy(p.Layer.B, l.origins[i].b)
		}
		for k := range l.config.LoRA.Heads {
			p.Factors(l.gathering.Estimate(k)).AddBias(p.Layer.B, p.Scale*l.share)
		}
	}
}

// mergeReplicas gives every worker the mean of all heads' replicas.
func (l *lte) mergeReplicas() error {
	if l.mean == nil {
		return nil
	}
	for i := range l.merged {
		sum := 0.0
		for _, w := range l.crew {
			sum += float64(w.replicas.value[i])
		}
		l.merged[i] = float32(sum / float64(len(l.crew)))
	}
	if err := l.mean.Average(l.merged); err != nil {
		return err
	}
	for _, w := range l.crew {
		copy(w.replicas.value, l.merged)
	}
	l.settle()
	return nil
}

func (l *lte) wait() (failed bool) {
	f := l.aloft
	if f == nil {
		return false
	}
	<-f.landed
	return failure(f.step, f.k, f.statuses) != nil
}

// settle: W is that of the last merge, and no exchange is under way; the model's replicas are a worker's until they are loaded anew.
func (l *lte) settle() {
	l.wait()
	if l.mean != nil {
		(&replicas{trained: l.crew[0].replicas.trained, value: l.merged}).load()
	}
}

// shrink is Π (1 − η_i·λ) over the last k steps where weight decay acts on W, at the merge and for all of them at once
// (algorithm.md, decay = "weights"); else 1.
func (l *lte) shrink(step, k int) float64 {
	c := l.config
	product := 1.0
	if c.Merge.Decay == "weights" {
		for i := step - k; i < step; i++ {
			product *= 1 - c.Optimizer.WeightDecay*learningRate(c.Optimizer.LR, c.Schedule, i, c.Train.Steps)
		}
	}
	return product
}

// decay takes (1 − shrink)·W from what the next W is formed of, W⁰ or W itself: W ← shrink·W + … either way.
func decay(from, w []float32, shrink float64) {
	if shrink == 1 {
		return
	}
	part := float32(1 - shrink)
	for i, x := range w {
		from[i] -= part * x
	}
}
