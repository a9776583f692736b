package train

import (
	"fmt"
	"math"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/model"
)

// method decides what trains on this rank and what crosses the network when. The loop knows nothing else of it.
type method interface {
	// interval is K, the local steps from one merge to the next.
	interval() int
	// trained is what the optimizer moves on this rank.
	trained() parameters
	// exchange stands between the backward pass and the optimizer, every step. It may replace the gradients, and
	// returns the loss that they belong to.
	exchange(loss float64) (float64, error)
	// merge ends an interval, in lockstep on all ranks; it returns the mean loss of all ranks over the interval. If
	// an exchange or the status of any rank is not finite, weights stay as they were and every rank gets the same
	// *NonFiniteError.
	merge(step int, status collective.Status) (float64, error)
	// merges is how many merges were made.
	merges() int
}

// parameters are flat slices of what trains, and how its parts are treated.
type parameters struct {
	value, grad []float32
	spans       []span // cover value in order
}

// span is a part of the parameters that weight decay applies to, or not.
type span struct {
	from, to int
	decay    bool
}

// newMethod makes the configured method. It changes the model: what trains, and which head it carries.
func newMethod(c config.Config, g collective.Group, be compute.Backend, v *model.ViT) (method, error) {
	switch c.Method {
	case "lte":
		return newLTE(c, g, be, v)
	case "full":
		return newFull(c, g, be, v), nil
	}
	return nil, fmt.Errorf("method = %q is not known: expected lte or full", c.Method)
}

// NonFiniteError stops a run whose loss or gradient is not a finite number. All ranks return the same one.
type NonFiniteError struct {
	Step  int // counting from 1
	Ranks []int
	Loss  float64 // of the first of the ranks
}

func (e *NonFiniteError) Error() string {
	return fmt.Sprintf("loss or gradient is not finite at step %d on rank %v (loss %v): the last good weights are kept; try a smaller optimizer.lr or lte.alpha, or a smaller optimizer.clip_norm",
		e.Step, e.Ranks, e.Loss)
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// lockstep compares the bits of every parameter over all ranks.
func lockstep(g collective.Group, v *model.ViT) error {
	ps := v.Parameters()
	names, digests := make([]string, len(ps)), make([]uint64, len(ps))
	for i, p := range ps {
		names[i], digests[i] = p.Name, collective.Digest(p.Value)
	}
	return collective.CheckLockstep(g, names, digests)
}
