package train

import (
	"math"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/model"
)

// full is standard pre-training by data parallelism: every rank holds all weights, and gradients are averaged every
// step (DDP). The losses travel behind the gradients: one message a step.
type full struct {
	group   collective.Group
	backend compute.Backend
	model   *model.ViT
	mean    *collective.Mean
	message []float32 // gradients, loss
	step    int
	check   int     // steps between lockstep checks
	last    int     // the last step
	loss    float64 // mean over ranks, of the last step
}

func newFull(c config.Config, g collective.Group, be compute.Backend, v *model.ViT) *full {
	v.TrainWeights()
	_, grads := v.Flat()
	return &full{group: g, backend: be, model: v, mean: collective.NewMean(g, len(grads)+1),
		message: make([]float32, len(grads)+1), check: c.Run.LogEvery, last: c.Train.Steps}
}

func (m *full) interval() int { return 1 }
func (m *full) merges() int   { return 0 }

func (m *full) trained() parameters {
	value, grad := m.model.Flat()
	p := parameters{value: value, grad: grad}
	at := 0
	for _, q := range m.model.Parameters() {
		if q.Grad == nil {
			continue
		}
		if last := len(p.spans) - 1; last >= 0 && p.spans[last].decay == q.Decay {
			p.spans[last].to = at + len(q.Value)
		} else {
			p.spans = append(p.spans, span{at, at + len(q.Value), q.Decay})
		}
		at += len(q.Value)
	}
	return p
}

func (m *full) exchange(loss float64) (float64, error) {
	m.step++
	m.loss = loss
	if m.group.Size() == 1 {
		return loss, nil // a loss or gradient that is not finite is merge's to tell
	}
	_, grads := m.model.Flat()
	copy(m.message, grads)
	m.message[len(grads)] = float32(loss)
	if err := m.mean.Average(m.message); err != nil {
		return 0, err
	}
	m.loss = float64(m.message[len(grads)])
	if !finite(m.loss) || !finite(m.backend.SumSquares(m.message)) { // the same bits, and so the same branch, on all ranks
		return 0, m.blame(loss)
	}
	copy(grads, m.message)
	return m.loss, nil
}

// blame asks all ranks whose own loss or gradient is not finite; where no rank's is, the sum overflowed and all are
// named.
func (m *full) blame(loss float64) error {
	_, grads := m.model.Flat()
	mine := []uint64{0, math.Float64bits(loss)} // whether this rank is to blame, and its loss
	if !finite(loss) || !finite(m.backend.SumSquares(grads)) {
		mine[0] = 1
	}
	all := make([]uint64, 2*m.group.Size())
	if err := m.group.AllgatherUint64(all, mine); err != nil {
		return err
	}
	var guilty, everyone []int
	for k := range m.group.Size() {
		everyone = append(everyone, k)
		if all[2*k] != 0 {
			guilty = append(guilty, k)
		}
	}
	if guilty == nil {
		guilty = everyone
	}
	return &NonFiniteError{Step: m.step, Ranks: guilty, Loss: math.Float64frombits(all[2*guilty[0]+1])}
}

// merge has nothing to merge; it proves the lockstep now and then.
func (m *full) merge(step int, status collective.Status) (float64, error) {
	if status.Failed > 0 {
		return 0, m.blame(status.Loss)
	}
	if step%m.check == 0 || step == m.last {
		return m.loss, lockstep(m.group, m.model)
	}
	return m.loss, nil
}
