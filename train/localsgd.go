package train

import (
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/merge"
	"lte/model"
)

// localSGD trains all weights alone on every rank and replaces them by their mean every K steps (Stich, arXiv
// 1805.09767).
type localSGD struct {
	config   config.Config
	model    *model.Model
	worker   *worker
	mean     *collective.Mean
	statuses *merge.Exchange
	merged   []float32 // the weights of the last merge
	checker  *lockstepChecker
	done     counts
	velocity []float32 // of an outer optimizer; nil: none
	// outer makes the next merged weights of the last ones and the ranks' mean, in place of the mean.
	outer func(mean, merged []float32)
}

func newLocalSGD(c config.Config, g *collective.Meter, be compute.Backend, m *model.Model) (*localSGD, error) {
	w := newWeights(c, be, m, g.Rank())
	statuses, err := merge.NewExchange(g.For(collective.Merging), nil, 0, 1, merge.FP32)
	if err != nil {
		return nil, err
	}
	mean, err := collective.NewMean(g.For(collective.Merging), len(m.Flat()))
	if err != nil {
		return nil, err
	}
	l := &localSGD{config: c, model: m, worker: w, mean: mean,
		statuses: statuses, outer: func(mean, merged []float32) {}}
	l.checker = newLockstepChecker(g.For(collective.Control), m)
	return l, nil
}

func (m *localSGD) workers() []*worker    { return []*worker{m.worker} }
func (m *localSGD) interval(step int) int { return m.config.Merge.Interval(step) }
func (m *localSGD) counts() counts        { return m.done }

// exchange: a local step talks to nobody.
func (m *localSGD) exchange(_ int, loss float64) (float64, error) {
	m.begin()
	return loss, nil
}

// begin keeps, before the first step, the weights that all begin with.
func (m *localSGD) begin() {
	if m.merged == nil {
		m.merged = append([]float32(nil), m.model.Flat()...)
	}
}

func (m *localSGD) merge(step, k int, status merge.Status) (ended, error) {
	statuses, err := m.statuses.Gather(nil, status)
	if err != nil {
		return ended{}, err
	}
	if err := failure(step, k, statuses); err != nil {
		return ended{}, err
	}
	weights := m.model.Flat()
	if err := m.mean.Average(weights); err != nil {
		return ended{}, err
	}
	m.outer(weights, m.merged)
	if err := m.checker.check(); err != nil {
		return ended{}, err
	}
	copy(m.merged, weights)
	m.done.merges++
	if m.config.Merge.Moments == "clear" {
		m.done.cleared += m.worker.clearMoments()
	}
	return ended{meanLoss(statuses), k}, nil
}

func (m *localSGD) settle() {
	if m.merged != nil {
		copy(m.model.Flat(), m.merged)
	}
}
