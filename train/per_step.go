package train

import (
	"math"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/lora"
	"lte/merge"
	"lte/method"
	"lte/model"
	"lte/nn"
)

// perStep averages the gradients of what all ranks train alike after every step:
//
//	full        all weights (DDP)
//	lora        a head (Hu et al., arXiv 2106.09685), y = x(W⁰ + s·BA)ᵀ + b
//	mhlora      N heads, y = x(W⁰ + s·Σ_k B_k A_k)ᵀ + b: one of rank N·r, their A's stacked by rows and B's by columns, with the s of one
//	sequential  a head that is merged into W and reinitialized every K steps (ReLoRA, arXiv 2307.05695):
//
//	W ← W + s·BA;  B ← 0, and by configuration another A and cleared moments
//
// The losses travel behind the gradients: one message a step.
type perStep struct {
	alike
	config  config.Config
	control collective.Group // for what is not gradients
	backend compute.Backend
	model   *model.Model
	worker  *worker
	heads   *heads // of one worker; nil: all weights train
	merges  bool   // the head, every merge.every steps
	mean    *collective.Mean
	message []float32 // gradients, loss
	divided *divided  // nil: every rank updates all that trains
	checker *lockstepChecker
	done    counts
}

func newPerStep(c config.Config, g *collective.Meter, be compute.Backend, m *model.Model) (*perStep, error) {
	spec := c.Spec()
	p := &perStep{config: c, control: g.For(collective.Control), backend: be, model: m, merges: spec.Merges == method.Head}
	if spec.HasHeads() {
		var err error
		if p.heads, err = newHeads(c, be, m, 0, 1); err != nil {
			return nil, err
		}
		p.worker = p.heads.workers[0]
		p.worker.number = g.Rank()
	} else {
		p.worker = newWeights(c, be, m, g.For(collective.Control))
	}
	p.checker = newLockstepChecker(p.control, m)
	return p, p.allocate(g.For(collective.Gradients))
}

// allocate allocates the message, and the buffers of its mean.
func (p *perStep) allocate(g collective.Group) (err error) {
	if g.Size() == 1 {
		return nil
	}
	n := p.worker.trained() + 1
	p.message = collective.AllocatorOf(g).Floats(n)
	if p.mean, err = collective.NewMean(g, n); err != nil || !divides(p.config) || g.NodeSize() == 1 {
		return err
	}
	p.divided, err = newDivided(g, p.worker.groups[0].parameters)
	return err
}

func (p *perStep) workers() []*worker { return []*worker{p.worker} }
func (p *perStep) counts() counts     { return p.done }

func (p *perStep) interval(step int) int {
	if p.merges {
		return p.config.Merge.Interval(step)
	}
	return 1
}

func (p *perStep) exchange(step int, loss float64) (float64, error) {
	if p.control.Size() == 1 {
		return loss, nil // merge reports a loss or gradient that is not finite
	}
	at := 0
	for _, q := range p.worker.groups {
		at += copy(p.message[at:], q.grad)
	}
	p.message[at] = float32(loss)
	if err := p.mean.Average(p.message); err != nil {
		return 0, err
	}
	mean := float64(p.message[at])
	if !finite(mean) || !finite(p.backend.SumSquares(p.message)) { // the same bits, and so the same branch, on all ranks
		return 0, p.blame(step, loss)
	}
	at = 0
	for _, q := range p.worker.groups {
		at += copy(q.grad, p.message[at:])
	}
	return mean, nil
}

// merge brings each rank the matrices that others have updated, folds the head into W, where the method merges it, and checks the lockstep:
// after every merge, else every run.log_every steps.
func (p *perStep) merge(step, k int, status merge.Status) (merged, error) {
	if status.Failed > 0 {
		return merged{}, p.blame(step-k+status.Failed, status.Loss)
	}
	if p.divided != nil {
		if err := p.divided.gather(); err != nil {
			return merged{}, err
		}
	}
	end := merged{status.Loss, k}
	if !p.merges && step%p.config.Run.LogEvery != 0 && step != p.config.Train.Steps {
		return end, nil
	}
	if p.merges {
		p.worker.heads[0].Fold()
	}
	p.loadMerged()
	if err := p.checker.check(); err != nil || !p.merges {
		return end, err
	}
	p.done.merges++
	p.done.cleared += p.heads.begin(p.done.merges)
	return end, nil
}

// loadMerged forms W = W⁰ + s·BA where it is not merged; with full the weights are always what evaluation reads.
func (p *perStep) loadMerged() {
	if p.heads == nil {
		return
	}
	p.worker.replicas.load()
	if !p.merges {
		p.worker.heads[0].Fold()
	}
}

// blame asks all ranks whose own loss or gradient is not finite; where no rank's is, the sum overflowed and all are named.
func (p *perStep) blame(step int, loss float64) error {
	own := []uint64{0, math.Float64bits(loss)} // whether this rank is to blame, and its loss
	if !finite(loss) || !finite(p.worker.norm(p.backend)) {
		own[0] = 1
	}
	all := make([]uint64, 2*p.control.Size())
	if err := collective.Allgather(p.control, all, own); err != nil {
		return err
	}
	var guilty, everyone []int
	for k := range p.control.Size() {
		everyone = append(everyone, k)
		if all[2*k] != 0 {
			guilty = append(guilty, k)
		}
	}
	if guilty == nil {
		guilty = everyone
	}
	return &NonFiniteError{Step: step, Ranks: guilty, Loss: math.Float64frombits(all[2*guilty[0]+1])}
}

// headFactors cuts a stack into its heads: rows of A, columns of B. A head that is merged is one of no others.
func (p *perStep) headFactors(layer *nn.Linear) (all []lora.Factors) {
	if p.heads == nil || p.merges {
		return nil
	}
	slot, ok := p.heads.slot(layer)
	if !ok {
		return nil
	}
	f, n := slot.Factors(p.heads.values), p.config.LoRA.Heads
	r := slot.Rank / n
	for k := range n {
		a, b := f.A, f.B
		a.Rows, a.Data = r, a.Data[k*r*a.Stride:(k+1)*r*a.Stride]
		b.Cols, b.Data = r, b.Data[k*r:]
		all = append(all, lora.Factors{A: a, B: b})
	}
	return all
}

func (p *perStep) state(s *state) {
	p.done.state(s)
	if p.heads == nil {
		s.weights(&s.Shared, p.model)
		p.worker.moments(&s.Shared, "weights")
		return
	}
	p.heads.state(s, &s.Shared)
	if p.merges {
		return
	}
	for _, slot := range p.heads.layout.Layers { // W⁰, which the head keeps
		w, b := p.worker.heads[0].Adapter(slot.Layer).Base()
		s.Shared.Floats("origin."+slot.Layer.Name+".weight", w)
		if b != nil {
			s.Shared.Floats("origin."+slot.Layer.Name+".bias", b)
		}
	}
}

// lockstepChecker verifies that all ranks hold the same bits of every parameter (law 5). Ranks may differ where their CPUs round
// differently, or a memory fails.
type lockstepChecker struct {
	group   collective.Group
	names   []string
	values  [][]byte
	digests []uint64
}

func newLockstepChecker(g collective.Group, m *model.Model) *lockstepChecker {
	c := &lockstepChecker{group: g}
	for _, p := range m.Parameters() {
		c.names, c.values = append(c.names, p.Name), append(c.values, p.Value.Bytes())
	}
	c.digests = make([]uint64, len(c.values))
	return c
}

// check returns the same *collective.LockstepError on all ranks if one differs from rank 0.
func (c *lockstepChecker) check() error {
	for i, x := range c.values {
		c.digests[i] = collective.Digest(x)
	}
	return collective.CheckLockstep(c.group, c.names, c.digests)
}
