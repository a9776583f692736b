package merge

import (
	"fmt"
	"slices"

	"lte/collective"
	"lte/compute"
	"lte/lora"
)

// Options say how heads are merged.
type Options struct {
	Layout   *lora.Layout
	Backend  compute.Backend
	Own, All int     // heads of a rank, and of all ranks (N)
	Share    float32 // of a head's update in W's: 1/N for the mean, 1 for the sum
	Wire     Wire
	Zstd     bool
	Momentum float64 // μ; 0: none
	Overlap  bool    // an exchange is pending while the next interval trains
	Resets   bool    // W takes the updates up for good, and heads are reinitialized after every merge
	KeepsA   bool    // with Resets: A is not reinitialized
	Shared   bool    // heads begin every interval with the same factors, the mean of theirs: no Resets, and Share 1/N
	Choice   Choice
	Route    *Route // that of the run which is resumed; nil: by Choice

	// Initial sets the flat factors of head k to those that it begins with after so many merges, of which 0 is the start of the run.
	// Every rank can draw those of every head.
	Initial func(head []float32, k, merges int)
	// Decay is what remains of W, or of W⁰, after the weight decay of so many steps, the last of which is step. nil: all.
	Decay func(step, steps int) float64
}

// Interval is the local steps that a merge ends.
type Interval struct {
	Step, Steps int // the last step, and how many there are
	Status      Status
}

// Result is what a merge found out about its interval. Nothing was merged if a status is that of a failure.
type Result struct {
	Step, Steps int
	Statuses    []Status // of all ranks, valid until the next Start
}

// Merger merges the heads of all ranks into the main weights W of their layers (Huh et al. 2024, algorithm 1 and the authors' code).
// Without resets
//
//	W ← W⁰ + (s/N)·Σ_k B_k A_k;  A'_k, B'_k ← A_k, B_k
//
// which W ← W + (s/N)·Σ_k (B_k A_k − B'_k A'_k) telescopes to, without its drift. With resets
//
//	W ← W + (s/N)·Σ_k B_k A_k;  B_k ← 0
//
// Here A_k and B_k of all heads are the estimates that all ranks hold, for their owners too; so W contains A'_k and B'_k exactly, and
// the residual of quantization stays with the head.
//
// Start begins a merge and Wait ends it. With overlap, heads train on in between: W is then that of one interval ago,
//
//	W ← W⁰ + (s/N)·Σ_k B'_k A'_k;  W_k = W − s·B'_k A'_k + s·B_k A_k
//
// and what a head has learned since is in its W_k all along.
//
// With a shared basis the mean of factors travels, in Mean, which has the momentum too:
//
//	B̄ ← (1/N)·Σ_k B_k;  W ← W⁰ + s·B̄A;  B_k ← B̄
//
// and likewise Ā and A_k if A trains. All heads then compute with W_k = W⁰ + s·B_k A_k. With overlap B_k ← B_k + B̄ − B'_k, where B'_k is
// what was sent: what a head has learned since is kept. Where A is frozen B̄A is exactly the mean of the products B_k A.
type Merger struct {
	Options
	nodes    collective.Group // whose ranks share W on each node, and divide its merge
	update   *Update          // nil of a shared basis
	mean     *Mean            // of a shared basis, else nil
	route    Route
	origins  []lora.Origin // of each layer; nil with resets
	momentum momentum
	merges   int
	pending  *pending
	sending  []float32    // with overlap: the factors of the pending exchange
	merged   [][]float32  // (own, length): A', B' of this rank's heads; of a shared basis the factors that train
	restored pending      // the pending exchange in a checkpoint
	scratch  [2][]float32 // rows of W and of W⁰, of formats that are not read in place
}

// pending is an exchange that Start began.
type pending struct {
	Interval
	factors  []float32
	statuses []Status
	err      error
	done     chan struct{} // closed: statuses or err are set
}

// New makes a merger of heads, whose A' and B' it keeps in merged (own, length); with a shared basis these are the factors themselves, which
// are the same for all heads. The ranks of nodes that share memory share W. What it
// sends for merges and to choose transports is counted by meter. The arguments are the same on all ranks.
func New(meter *collective.Meter, nodes collective.Group, merged [][]float32, o Options) (*Merger, error) {
	m := &Merger{Options: o, nodes: nodes, merged: merged}
	if o.Overlap {
		if err := meter.For(collective.Control).YieldWhileWaiting(); err != nil {
			return nil, err
		}
	}
	group := meter.For(collective.Merging)
	if o.Zstd {
		group = Compressed(group, o.Wire)
	}
	var transports []Transport
	var err error
	if !o.Shared {
		transports, err = m.chooseRoute(meter)
	}
	if err == nil {
		err = m.allocate(group, transports)
	}
	if err != nil || o.Resets {
		return m, err
	}
	if o.Shared {
		m.mean.Set(merged[0])
	}
	m.OriginFromWeights()
	return m, nodes.NodeBarrier()
}

// Count counts the memory of a merger: in nodes, a collective.Counting group as New's, what it keeps beside W, and in group the messages.
func Count(nodes, group collective.Group, o Options, transports []Transport) error {
	return (&Merger{Options: o, nodes: nodes}).allocate(group, transports)
}

// allocate allocates the buffers of messages in group, W⁰, the velocity and scratch.
func (m *Merger) allocate(group collective.Group, transports []Transport) (err error) {
	if m.Shared {
		m.mean, err = NewMean(group, m.Layout.Length, m.Own, m.Wire, m.Momentum)
	} else {
		m.update, err = NewUpdate(group, FactorsOf(m.Layout), m.Layout.Length, m.Own, m.Wire, transports, m.multiply)
	}
	if err != nil {
		return err
	}
	beside, exchange, sharers := collective.AllocatorOf(m.nodes), collective.AllocatorOf(group), m.nodes.NodeSize()
	if !m.Resets {
		if m.origins, err = newOrigins(beside, m.Layout); err != nil {
			return fmt.Errorf("memory for W⁰: %w", err)
		}
		m.Layout.SetOrigins(m.origins)
	}
	if m.Momentum > 0 && !m.Shared {
		if m.momentum, err = newMomentum(m.Momentum, beside, exchange, m.Layout, sharers); err != nil {
			return fmt.Errorf("memory for the momentum of merges: %w", err)
		}
	}
	if m.Overlap {
		m.sending = exchange.Floats(m.Own, m.Layout.Length)
	}
	if !m.Shared {
		m.update.reserveStacks(exchange, sharers)
	}
	return nil
}

// Route is how the heads travel.
func (m *Merger) Route() Route { return m.route }

// Exchange is how the heads' updates travel, and what all ranks hold of them.
func (m *Merger) Exchange() *Update { return m.update }

// Merges is the number of merges done.
func (m *Merger) Merges() int { return m.merges }

// Start sends this rank's factors, (own, length), and the status of the interval to all ranks. With overlap it returns at once; until Wait
// no rank calls another collective, as their order is that of the group.
func (m *Merger) Start(factors []float32, i Interval) error {
	if err := m.SeedEstimates(); err != nil {
		return err
	}
	p := &pending{Interval: i, factors: factors, done: make(chan struct{})}
	exchange := func() {
		defer close(p.done)
		if m.Shared {
			p.statuses, p.err = m.mean.Gather(p.factors, i.Status)
		} else {
			p.statuses, p.err = m.update.Gather(p.factors, i.Status)
		}
	}
	if m.pending = p; !m.Overlap {
		exchange()
		return nil
	}
	m.sending = append(m.sending[:0], factors...)
	p.factors = m.sending
	go exchange()
	return nil
}

// Pending reports whether an exchange was started and not waited for.
func (m *Merger) Pending() bool { return m.pending != nil }

// Settle waits until no exchange is under way, but does not merge it. It reports whether the pending one brings a failure.
func (m *Merger) Settle() (failed bool) {
	if m.pending == nil {
		return false
	}
	<-m.pending.done
	return anyFailed(m.pending.statuses)
}

// Wait waits for the pending exchange and merges it into W: every rank of a node its rows. It returns when all of W is there.
func (m *Merger) Wait() (r Result, err error) {
	p := m.pending
	m.pending = nil
	if <-p.done; p.err != nil {
		return r, p.err
	}
	r = Result{Step: p.Step, Steps: p.Steps, Statuses: p.statuses}
	if m.Overlap {
		if err := m.nodes.NodeBarrier(); err != nil { // other ranks still train with the W that is to change
			return r, err
		}
	}
	if anyFailed(r.Statuses) {
		return r, nil
	}
	if m.Shared {
		if err := m.mean.Step(); err != nil {
			return r, err
		}
	}
	m.apply(p)
	if err := m.nodes.NodeBarrier(); err != nil {
		return r, err
	}
	m.merges++
	if m.Shared {
		m.adopt(p.factors)
		return r, nil
	}
	for i, merged := range m.merged {
		copy(merged, m.update.LocalEstimate(i))
	}
	m.carryResidual(p.factors)
	if m.Resets {
		return r, m.update.ResetSums()
	}
	return r, nil
}

// adopt makes the factors of this rank's heads the mean, and what they have learned since they were sent.
func (m *Merger) adopt(sent []float32) {
	mean := m.mean.Value()
	for i, factors := range m.merged {
		if !m.Overlap {
			copy(factors, mean)
			continue
		}
		for j, x := range sent[i*len(mean) : (i+1)*len(mean)] {
			factors[j] += mean[j] - x
		}
	}
}

// SeedEstimates sets the estimates that all ranks hold to what the heads begin with, at the start and after a reset, as far as every rank
// can draw it: then A does not travel, and the first message is a change like any other. Start calls it, as the estimates of the last
// exchange are still measured until then.
func (m *Merger) SeedEstimates() error {
	if m.Shared || m.Wire == FP32 || m.merges > 0 && !m.Resets || !m.update.hasEstimates() {
		return nil
	}
	if err := m.update.SetEstimates(func(k int, head []float32) { m.Initial(head, k, m.merges) }); err != nil {
		return err
	}
	if m.merges > 0 && m.KeepsA { // carryResidual has set the local ones
		return nil
	}
	m.resetLocalEstimates(0)
	return nil
}

// resetLocalEstimates makes the local estimates of this rank's heads from number from on those that all ranks hold.
func (m *Merger) resetLocalEstimates(from int) {
	first := m.nodes.Rank() * m.Own
	for i := max(0, from-first); i < m.Own; i++ {
		copy(m.update.LocalEstimate(i), m.update.Estimate(first+i))
	}
}

// carryResidual keeps, after a reset of B alone, the residual of B to be sent: A is kept, and the next change of B is taken from B̂ − B of
// this merge in place of 0. After a reset of A too it is dropped: it was a factor of another A.
func (m *Merger) carryResidual(factors []float32) {
	if m.Wire == FP32 || !m.Resets || !m.KeepsA {
		return
	}
	for i, head := range vectors(factors, m.Own, m.Layout.Length) {
		for _, slot := range m.Layout.Layers {
			estimate, f := slot.Factors(m.update.LocalEstimate(i)), slot.Factors(head)
			subtract(estimate.B.Data, f.B.Data)
			subtract(estimate.BiasB, f.BiasB)
		}
	}
}

// HeadFactors returns every head's factors of a layer as they were last merged, before any reset; with a shared basis only their mean is
// known. The layer travels as Factors.
func (m *Merger) HeadFactors(slot lora.LayerSlot) (all []lora.Factors) {
	if m.Shared {
		return []lora.Factors{slot.Factors(m.mean.Value())}
	}
	for k := range m.All {
		all = append(all, slot.Factors(m.update.Estimate(k)))
	}
	return all
}

// FactorsOf returns where a layout's factors lie.
func FactorsOf(l *lora.Layout) (all []Factor) {
	for _, slot := range l.Layers {
		all = append(all, factorOf(slot))
	}
	return all
}

func factorOf(s lora.LayerSlot) Factor {
	return Factor{A: s.A, B: s.B, M: s.Layer.W.Rows, N: s.Layer.W.Cols, R: s.Rank}
}

func anyFailed(statuses []Status) bool {
	return slices.ContainsFunc(statuses, func(s Status) bool { return s.Failed > 0 })
}
