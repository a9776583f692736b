package train

import (
	"lte/collective"
	"lte/compute"
	"lte/model"
)

// replicas are a worker's own values of parameters that train in full, in addition to its head. The gradients are the model's.
type replicas struct {
	trained []model.Parameter
	value   []float32 // one after another
}

// load makes the model compute with the values.
func (r *replicas) load() {
	if r == nil {
		return
	}
	rest := r.value
	for _, p := range r.trained {
		p.Value.CopyFrom(rest[:p.Len()])
		rest = rest[p.Len():]
	}
}

// store makes the values those of the model.
func (r *replicas) store() {
	if r == nil {
		return
	}
	rest := r.value
	for _, p := range r.trained {
		p.Value.CopyTo(rest[:p.Len()])
		rest = rest[p.Len():]
	}
}

// replicaMean averages the replicas of all heads at every merge. A nil one has none.
type replicaMean struct {
	workers []*worker
	mean    *collective.Mean
	merged  replicas // those of the last merge
}

// newReplicaMean returns nil if the workers have no replicas.
func newReplicaMean(alloc compute.Allocator, g collective.Group, workers []*worker) (r *replicaMean, err error) {
	first := workers[0].replicas
	if first == nil {
		return nil, nil
	}
	n := workers[0].groups[1].length()
	r = &replicaMean{workers: workers, merged: replicas{first.trained, alloc.For(compute.TrainingMemory).Floats(n)}}
	copy(r.merged.value, first.value)
	r.mean, err = collective.NewMean(g, n)
	return r, err
}

// average gives every worker the mean of all heads' replicas, and loads it.
func (r *replicaMean) average() error {
	if r == nil {
		return nil
	}
	merged := r.merged.value
	for i := range merged {
		sum := 0.0
		for _, w := range r.workers {
			sum += float64(w.replicas.value[i])
		}
		merged[i] = float32(sum / float64(len(r.workers)))
	}
	if err := r.mean.Average(merged); err != nil {
		return err
	}
	for _, w := range r.workers {
		copy(w.replicas.value, merged)
	}
	r.load()
	return nil
}

// load makes the model's replicas those of the last merge.
func (r *replicaMean) load() {
	if r != nil {
		r.merged.load()
	}
}
