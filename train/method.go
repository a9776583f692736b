package train

import (
	"fmt"
	"math"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/merge"
	"lte/method"
	"lte/model"
)

// algorithm is a training method at work: what trains on this rank, and what crosses the network when.
type algorithm interface {
	// workers are those who train on this rank.
	workers() []*worker
	// interval is K, the local steps until the next merge, after so many steps.
	interval(step int) int
	// exchange stands between the backward pass and the optimizer of every step, counting from 1. It may replace the
	// gradients, and returns the loss that they belong to.
	exchange(step int, loss float64) (float64, error)
	// merge ends an interval of k steps, in lockstep on all ranks. If an exchange or the status of any rank is not
	// finite, weights stay as they were and every rank gets the same *NonFiniteError.
	merge(step, k int, status merge.Status) (ended, error)
	// settle makes the model's weights those of the last merge, or step where there are no merges: what evaluation
	// reads. Training goes on as if it had not been called, if it is called after a merge.
	settle()
	// counts are of what was merged.
	counts() counts
	// state names what the future depends on, between two steps.
	state(s *state)
	// restored forms the rest anew, after what state names was restored.
	restored()
}

// aloft is a method whose exchanges may be under way while it trains.
type aloft interface {
	// wait returns when none is. It says whether what came tells of a failure: the next merge then ends the run.
	wait() (failed bool)
}

// ended is how many steps a merge was the end of, those of its interval or of others, and the mean loss of all ranks over
// them.
type ended struct {
	loss  float64
	steps int
}

// counts of a run so far.
type counts struct {
	merges  int
	cleared int // moments of optimizers that merges cleared, on this rank
}

// newAlgorithm makes the configured method's. It changes the model: what trains, and which heads it carries.
func newAlgorithm(c config.Config, g *collective.Meter, be compute.Backend, m *model.Model, as *Route) (algorithm, error) {
	spec, ok := method.Named(c.Method)
	switch {
	case !ok:
		return nil, fmt.Errorf("method = %q is not known: expected one of %v", c.Method, method.Names())
	case spec.Merges == method.Heads:
		return newLTE(c, g, be, m, as)
	case spec.Merges == method.Weights && spec.Outer:
		return newDiLoCo(c, g, be, m)
	case spec.Merges == method.Weights:
		return newLocalSGD(c, g, be, m)
	case spec.Merges == method.Head:
		return newSequential(c, g, be, m)
	case spec.Trains == method.HeadStack:
		return newMHLoRA(c, g, be, m)
	case spec.Trains == method.OneHead:
		return newLoRA(c, g, be, m, 1)
	}
	return newFull(c, g, be, m)
}

// NonFiniteError stops a run whose loss or gradient is not a finite number. All ranks return the same one.
type NonFiniteError struct {
	Step  int // counting from 1
	Ranks []int
	Loss  float64 // of the first of the ranks
}

func (e *NonFiniteError) Error() string {
	return fmt.Sprintf("loss or gradient is not finite at step %d on rank %v (loss %v): the last good weights are kept; try a smaller optimizer.lr or lora.alpha, or a smaller optimizer.clip_norm",
		e.Step, e.Ranks, e.Loss)
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// failure finds the ranks that met the first number that is not finite, in the k steps that end with step.
func failure(step, k int, statuses []merge.Status) error {
	var e *NonFiniteError
	for rank, s := range statuses {
		if s.Failed == 0 {
			continue
		}
		at := step - k + s.Failed
		switch {
		case e == nil || at < e.Step:
			e = &NonFiniteError{Step: at, Ranks: []int{rank}, Loss: s.Loss}
		case at == e.Step:
			e.Ranks = append(e.Ranks, rank)
		}
	}
	if e == nil {
		return nil
	}
	return e
}

func meanLoss(statuses []merge.Status) (mean float64) {
	for _, s := range statuses {
		mean += s.Loss / float64(len(statuses))
	}
	return mean
}
