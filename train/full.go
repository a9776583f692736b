package train

import (
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/merge"
	"lte/model"
)

// full is standard pre-training by data parallelism: every rank holds all weights, and gradients are averaged every
// step (DDP).
type full struct{ *gradients }

func newFull(c config.Config, g *collective.Meter, be compute.Backend, m *model.Model) (*full, error) {
	all, err := newGradients(c, g, be, m, newWeights(c, be, m, g.Rank()))
	if err != nil {
		return nil, err
	}
	f := &full{all}
	return f, nil
}

// settle: the weights are always what evaluation reads.
func (m full) settle() {}

// merge has nothing to merge; it proves the lockstep now and then.
func (m full) merge(step, k int, status merge.Status) (ended, error) {
	if status.Failed > 0 {
		return ended{}, m.blame(step-k+status.Failed, status.Loss)
	}
	if m.proveNow(step) {
		return ended{status.Loss, k}, m.checker.check()
	}
	return ended{status.Loss, k}, nil
}
