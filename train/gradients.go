package train

import (
	"math"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/model"
)

// gradients is what the methods share that average gradients every step: one worker a rank, and all ranks' alike. The
// losses travel behind the gradients: one message a step.
type gradients struct {
	control collective.Group // for what is not gradients
	backend compute.Backend
	model   *model.Model
	worker  *worker
	mean    *collective.Mean
	message []float32 // gradients, loss
	check   int       // steps between lockstep checks, where nothing is merged
	last    int       // the last step
	checker *lockstepChecker
	done    counts
}

func newGradients(c config.Config, g *collective.Meter, be compute.Backend, m *model.Model, w *worker) (*gradients, error) {
	length := w.trained() + 1
	mean, err := collective.NewMean(g.For(collective.Gradients), length)
	if err != nil {
		return nil, err
	}
	all := &gradients{control: g.For(collective.Control), backend: be, model: m, worker: w, mean: mean,
		message: make([]float32, length), check: c.Run.LogEvery, last: c.Train.Steps}
	all.checker = newLockstepChecker(all.control, m)
	return all, nil
}

func (m *gradients) workers() []*worker { return []*worker{m.worker} }
func (m *gradients) interval(int) int   { return 1 }
func (m *gradients) counts() counts     { return m.done }

func (m *gradients) exchange(step int, loss float64) (float64, error) {
	if m.control.Size() == 1 {
		return loss, nil // a loss or gradient that is not finite is merge's to tell
	}
	at := 0
	for _, p := range m.worker.parts {
		at += copy(m.message[at:], p.grad)
	}
	m.message[at] = float32(loss)
	if err := m.mean.Average(m.message); err != nil {
		return 0, err
	}
	mean := float64(m.message[at])
	if !finite(mean) || !finite(m.backend.SumSquares(m.message)) { // the same bits, and so the same branch, on all ranks
		return 0, m.blame(step, loss)
	}
	at = 0
	for _, p := range m.worker.parts {
		at += copy(p.grad, m.message[at:])
	}
	return mean, nil
}

// blame asks all ranks whose own loss or gradient is not finite; where no rank's is, the sum overflowed and all are
// named.
func (m *gradients) blame(step int, loss float64) error {
	mine := []uint64{0, math.Float64bits(loss)} // whether this rank is to blame, and its loss
	if !finite(loss) || !finite(m.worker.norm(m.backend)) {
		mine[0] = 1
	}
	all := make([]uint64, 2*m.control.Size())
	if err := collective.Allgather(m.control, all, mine); err != nil {
		return err
	}
	var guilty, everyone []int
	for k := range m.control.Size() {
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

// proveNow says whether the lockstep is to be proved after that step, where no merge does.
func (m *gradients) proveNow(step int) bool { return step%m.check == 0 || step == m.last }
