package train

import (
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/lora"
	"lte/merge"
	"lte/model"
	"lte/nn"
)

// lte is LoRA-the-Explorer (Huh et al. 2024, algorithm 1): every head trains alone for K steps, then all ranks exchange their heads'
// factors and merge them into W. The equations are merge.Merger's.
type lte struct {
	ownHeads
	checker *lockstepChecker
	cleared int // moments
}

// ownHeads are heads that no other rank has, and what merges them.
type ownHeads struct {
	*heads
	merger   *merge.Merger
	replicas *replicaMean // nil: none
}

func newLTE(c config.Config, g *collective.Meter, be compute.Backend, m *model.Model, route *merge.Route) (*lte, error) {
	own := c.LoRA.Heads / g.Size()
	h, err := newHeads(c, be, m, g.Rank()*own, own)
	if err != nil {
		return nil, err
	}
	l := &lte{ownHeads: ownHeads{heads: h}, checker: newLockstepChecker(g.For(collective.Control), m)}
	var last [][]float32
	for _, w := range h.workers {
		if c.SharesBasis() {
			last = append(last, w.heads[0].Value)
		} else {
			last = append(last, w.heads[0].Merged)
		}
	}
	o := MergeOptions(c, h.layout, own)
	o.Backend, o.Route, o.Initial = be, route, h.initial
	if c.Merge.Decay == "weights" {
		o.Decay = h.weightDecay
	}
	if l.merger, err = merge.New(g, weightsGroup(c, g), last, o); err != nil {
		return nil, err
	}
	l.replicas, err = newReplicaMean(m.Allocator(), g.For(collective.Merging), h.workers)
	return l, err
}

// MergeOptions are the configured ones, for own heads of that layout on each rank.
func MergeOptions(c config.Config, layout *lora.Layout, own int) merge.Options {
	o := merge.Options{Layout: layout, Own: own, All: c.LoRA.Heads, Share: 1 / float32(c.LoRA.Heads),
		Wire: merge.Wire(c.Exchange.Wire), Zstd: c.Exchange.Zstd, Momentum: c.Merge.Momentum, Overlap: c.Exchange.Overlap,
		Resets: c.Merge.Reset != "none", KeepsA: c.Merge.Reset == "b", Shared: c.SharesBasis(), Choice: TransportChoice(c)}
	if c.Merge.Combine == "sum" {
		o.Share = 1
	}
	return o
}

// TransportChoice says how a configuration chooses transports. Only factors bring each head's own values to all ranks, which biases of
// heads, overlap, and the measurement of heads need.
func TransportChoice(c config.Config) merge.Choice {
	return merge.Choice{Transport: c.Exchange.Transport, Factors: func(layer string) bool {
		return c.LoRA.Bias || c.Exchange.Overlap || c.Measure.Every > 0 && matchAny(c.Measure.Layers, layer)
	}}
}

func (l *lte) workers() []*worker    { return l.heads.workers }
func (l *lte) interval(step int) int { return l.config.Merge.Interval(step) }
func (l *lte) counts() counts        { return counts{merges: l.merger.Merges(), cleared: l.cleared} }
func (l *lte) own() *ownHeads        { return &l.ownHeads }

// exchange sends nothing: heads train alone.
func (l *lte) exchange(_ int, loss float64) (float64, error) { return loss, nil }

// merge exchanges the factors of the interval and merges them into W. With overlap they travel while the next interval trains, and this
// merge is that of the interval before; the last interval of a run has no next one.
func (l *lte) merge(step, k int, status merge.Status) (earlier merged, err error) {
	if l.merger.Pending() {
		if earlier, err = l.finishMerge(); err != nil {
			return earlier, err
		}
	}
	if err := l.merger.Start(l.values, merge.Interval{Step: step, Steps: k, Status: status}); err != nil {
		return merged{}, err
	}
	if l.config.Exchange.Overlap && step < l.config.Train.Steps {
		return earlier, nil
	}
	last, err := l.finishMerge()
	return earlier.and(last), err
}

// finishMerge waits for the exchange, and has every head train on from the merged W.
func (l *lte) finishMerge() (merged, error) {
	r, err := l.merger.Wait()
	if err != nil {
		return merged{}, err
	}
	if err := failure(r.Step, r.Steps, r.Statuses); err != nil {
		return merged{}, err
	}
	if err := l.replicas.average(); err != nil {
		return merged{}, err
	}
	if err := l.checker.check(); err != nil {
		return merged{}, err
	}
	l.cleared += l.begin(l.merger.Merges())
	return merged{meanLoss(r.Statuses), r.Steps}, nil
}

// and is the mean over the steps of both.
func (m merged) and(n merged) merged {
	if m.steps == 0 {
		return n
	}
	steps := m.steps + n.steps
	return merged{(m.loss*float64(m.steps) + n.loss*float64(n.steps)) / float64(steps), steps}
}

// loadMerged: W is that of the last merge; the model's replicas are a worker's until they are loaded again.
func (l *lte) loadMerged() {
	l.settle()
	l.replicas.load()
}

func (l *lte) settle() bool { return l.merger.Settle() }

func (l *lte) restored() {
	l.merger.Restored()
	for _, w := range l.heads.workers {
		w.heads[0].Rebase()
	}
}

func (l *lte) headFactors(layer *nn.Linear) []lora.Factors {
	slot, ok := l.slot(layer)
	if !ok {
		return nil
	}
	return l.merger.HeadFactors(slot)
}

func (l *lte) state(s *state) {
	s.Own.Int("moments_cleared", &l.cleared)
	l.heads.state(s, &s.Own)
	if l.replicas != nil {
		s.Shared.Floats("replicas", l.replicas.merged.value)
	}
	l.merger.State(&s.State, s.measured)
}

// weightDecay is Π (1 − η_i·λ) over the k steps that end with step: the decay of W where it acts on W at the merge, for all of them at
// once (algorithm.md, decay = "weights").
func (h *heads) weightDecay(step, k int) float64 {
	c, product := h.config, 1.0
	for i := step - k; i < step; i++ {
		product *= 1 - c.Optimizer.WeightDecay*learningRate(c.Optimizer.LR, c.Schedule, i, c.Train.Steps)
	}
	return product
}
