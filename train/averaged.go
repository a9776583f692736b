package train

import (
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/merge"
	"lte/model"
)

// averaged trains all weights alone on every rank and replaces them by their mean every K steps (localsgd: Stich, arXiv 1805.09767),
// or by what an outer step makes of it (diloco).
type averaged struct {
	alike
	config   config.Config
	model    *model.Model
	worker   *worker
	mean     *collective.Mean
	statuses *merge.Exchange
	merged   []float32 // the weights of the last merge
	outer    outerMomentum
	checker  *lockstepChecker
	done     counts
}

func newAveraged(c config.Config, g *collective.Meter, be compute.Backend, m *model.Model) (*averaged, error) {
	a := &averaged{config: c, model: m, worker: newWeights(c, be, m, g.For(collective.Control)), checker: newLockstepChecker(g.For(collective.Control), m)}
	merging := g.For(collective.Merging)
	var err error
	if a.statuses, err = merge.NewExchange(merging, nil, 0, 1, merge.FP32); err != nil {
		return nil, err
	}
	if err = a.allocate(m.Allocator(), merging); err != nil {
		return nil, err
	}
	copy(a.merged, m.Flat())
	return a, nil
}

// allocate allocates what merges keep, and the buffers of their mean in g.
func (a *averaged) allocate(alloc compute.Allocator, g collective.Group) (err error) {
	_, n := a.model.Sizes()
	a.merged = alloc.For(compute.WeightMemory).Floats(n)
	if a.config.Spec().Outer {
		a.outer = outerMomentum{eta: a.config.Outer.LR, mu: a.config.Outer.Momentum, velocity: alloc.For(compute.TrainingMemory).Floats(n)}
	}
	a.mean, err = collective.NewMean(g, n)
	return err
}

func (a *averaged) workers() []*worker    { return []*worker{a.worker} }
func (a *averaged) interval(step int) int { return a.config.Merge.Interval(step) }
func (a *averaged) counts() counts        { return a.done }

// exchange sends nothing: ranks train alone.
func (a *averaged) exchange(_ int, loss float64) (float64, error) { return loss, nil }

func (a *averaged) merge(step, k int, status merge.Status) (merged, error) {
	statuses, err := a.statuses.Gather(nil, status)
	if err != nil {
		return merged{}, err
	}
	if err := failure(step, k, statuses); err != nil {
		return merged{}, err
	}
	weights := a.model.Flat()
	if err := a.mean.Average(weights); err != nil {
		return merged{}, err
	}
	a.outer.step(weights, a.merged)
	if err := a.checker.check(); err != nil {
		return merged{}, err
	}
	copy(a.merged, weights)
	a.done.merges++
	if a.config.Merge.Moments == "clear" {
		a.done.cleared += a.worker.clearMoments()
	}
	return merged{meanLoss(statuses), k}, nil
}

func (a *averaged) loadMerged() { copy(a.model.Flat(), a.merged) }

func (a *averaged) state(s *state) {
	a.done.state(s)
	s.weights(&s.Own, a.model)
	a.worker.moments(&s.Own, "weights")
	s.Shared.Floats("merged", a.merged)
	if a.outer.velocity != nil {
		s.Shared.Floats("outer.velocity", a.outer.velocity)
	}
}

// outerMomentum is DiLoCo's outer optimizer (Douillard et al., arXiv 2311.08105, algorithm 1) on the averaged difference
// Δ = θ − mean(θ_k): SGD with Nesterov momentum μ and rate η as torch.optim.SGD computes it,
//
//	v ← μv + Δ;  θ ← θ − η·(Δ + μv)
//
// Without velocity it leaves the mean.
type outerMomentum struct {
	eta, mu  float64
	velocity []float32
}

// step replaces the mean of the ranks' weights by the next merged ones; merged are the last.
func (o *outerMomentum) step(mean, merged []float32) {
	if o.velocity == nil {
		return
	}
	for i, theta := range merged {
		delta := float64(theta) - float64(mean[i])
		v := o.mu*float64(o.velocity[i]) + delta
		o.velocity[i] = float32(v)
		mean[i] = float32(float64(theta) - o.eta*(delta+o.mu*v))
	}
}
