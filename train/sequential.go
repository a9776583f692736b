package train

import (
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/lora"
	"lte/merge"
	"lte/model"
)

// sequential is lora whose head is merged into W and begun anew every K steps (ReLoRA, arXiv 2307.05695):
//
//	W ← W + s·BA;  B ← 0, and by configuration another A and cleared moments
type sequential struct {
	*gradients
	*heads
}

func newSequential(c config.Config, g *collective.Meter, be compute.Backend, m *model.Model) (*sequential, error) {
	h, err := newHeads(c, be, m, 0, 1, 1, lora.MainWeightBase)
	if err != nil {
		return nil, err
	}
	all, err := newGradients(c, g, be, m, h.crew[0])
	if err != nil {
		return nil, err
	}
	s := &sequential{gradients: all, heads: h}
	s.worker.number = g.Rank()
	return s, nil
}

func (m *sequential) workers() []*worker    { return m.heads.workers() }
func (m *sequential) interval(step int) int { return m.config.Merge.Interval(step) }

func (m *sequential) merge(step, k int, status merge.Status) (ended, error) {
	if status.Failed > 0 {
		return ended{}, m.blame(step-k+status.Failed, status.Loss)
	}
	m.worker.heads[0].Fold()
	m.settle()
	if err := m.checker.check(); err != nil {
		return ended{}, err
	}
	m.done.merges++
	m.done.cleared += m.begin(m.done.merges)
	return ended{status.Loss, k}, nil
}
