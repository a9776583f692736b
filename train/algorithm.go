package train

import (
	"fmt"
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

// algorithm is a training method at work: what trains on this rank, and what crosses the network when.
type algorithm interface {
	// workers are what trains on this rank.
	workers() []*worker
	// interval is K, the local steps until the next merge, after so many steps.
	interval(step int) int
	// exchange stands between the backward pass and the optimizer of every step, counting from 1. It may replace the gradients, and
	// returns the loss that they belong to.
	exchange(step int, loss float64) (float64, error)
	// merge ends an interval of k steps, in lockstep on all ranks. If an exchange or the status of any rank is not finite, weights
	// stay as they were and every rank gets the same *NonFiniteError.
	merge(step, k int, status merge.Status) (merged, error)
	// loadMerged makes the model's weights those of the last merge, or step where there are no merges: what evaluation reads. After
	// a merge, training continues as if it had not been called.
	loadMerged()
	counts() counts
	// state names what the future depends on, between two steps.
	state(s *state)

	// settle waits until no exchange is under way: then ranks can call other collectives. It reports whether the pending one brings
	// a failure: the next merge then ends the run.
	settle() (failed bool)
	// restored forms what state does not name, after a checkpoint was restored.
	restored()
	// headFactors are every head's factors of a layer as they were last merged, of all ranks; nil where the layer has none.
	headFactors(layer *nn.Linear) []lora.Factors
	// own are the heads that no other rank has; nil where all ranks train the same.
	own() *ownHeads
}

// alike is what the methods share whose ranks have no heads of their own and no pending exchanges.
type alike struct{}

func (alike) settle() bool                          { return false }
func (alike) restored()                             {}
func (alike) headFactors(*nn.Linear) []lora.Factors { return nil }
func (alike) own() *ownHeads                        { return nil }

// merged is how many steps a merge was the end of, of its interval or others, and the mean loss of all ranks over them.
type merged struct {
	loss  float64
	steps int
}

// counts of a run so far.
type counts struct {
	merges  int
	cleared int // moments of optimizers that merges cleared, on this rank
}

// newAlgorithm makes the configured method's. It changes the model: what trains, and which heads it carries. route is that of a run
// which is resumed, or nil.
func newAlgorithm(c config.Config, g *collective.Meter, be compute.Backend, m *model.Model, route *merge.Route) (algorithm, error) {
	spec, ok := method.Named(c.Method)
	switch {
	case !ok:
		return nil, fmt.Errorf("method = %q is not known: expected one of %v", c.Method, method.Names())
	case spec.Merges == method.Heads:
		return newLTE(c, g, be, m, route)
	case spec.Merges == method.Weights:
		return newAveraged(c, g, be, m)
	}
	return newPerStep(c, g, be, m)
}

// NonFiniteError stops a run whose loss or gradient is not a finite number. All ranks return the same one.
type NonFiniteError struct {
	Step  int // counting from 1
	Ranks []int
	Loss  float64 // of the first of the ranks
}

func (e *NonFiniteError) Error() string {
	return fmt.Sprintf("loss or gradient is not finite at step %d on rank %v (loss %v): the last finite weights are kept; try a smaller optimizer.lr or lora.alpha, or a smaller optimizer.clip_norm",
		e.Step, e.Ranks, e.Loss)
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// failure finds the ranks that met the first value that is not finite, in the k steps that end with step; it is nil where none did.
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
