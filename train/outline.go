package train

import (
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/lora"
	"lte/merge"
	"lte/method"
	"lte/model"
)

// Outline describes what one rank of a run carries, without allocating it.
type Outline struct {
	Model    *model.Model   // without data
	Layout   *lora.Layout   // of a head, or of a stack of them; nil where all weights train
	Factors  []merge.Factor // the layout as a merge takes it
	Workers  int            // of a rank: its heads, or one
	Replicas int            // values that train in addition to a worker's head
	Trained  int            // values that a worker trains, replicas included
	Pass     int            // images of the largest pass, evaluation's included
	config   config.Config
	ranks    int
	memory   compute.Footprint // of the model and all workers; of passes that of one image
	workers  []*worker         // the first, and the second if there are more: all are alike
	fused    bool              // one pass of all workers' mini-batches
}

// NewOutline describes one of so many ranks of a run of a resolved configuration, on images of the sizes of the set, of which nothing else
// is read. Errors are those of New.
func NewOutline(c config.Config, ranks int, set *data.Set) (*Outline, error) {
	if err := Augment(c.Data).Check(set.Channels, set.Height, set.Width); err != nil {
		return nil, &config.Error{Problem: err.Error(), Err: err}
	}
	s := shape(c, set)
	o := &Outline{Workers: 1, Pass: s.Batch, config: c, ranks: ranks}
	s.Batch = 1
	m, err := model.Allocate(s, nil, compute.Counting(compute.DType(c.Compute.DType), &o.memory))
	if err != nil {
		return nil, &config.Error{Problem: err.Error(), Err: err}
	}
	o.Model = m
	if c.Measure.Every > 0 {
		allocateProbe(c.Measure, m)
	}
	if !c.Spec().HasHeads() {
		o.workers = []*worker{newWeights(c, nil, m, collective.Alone{})}
		o.Trained = o.workers[0].trained()
		return o, nil
	}
	if c.Spec().Trains == method.OwnHeads {
		o.Workers = c.LoRA.Heads / ranks
	}
	h, err := allocateHeads(c, nil, m, 0, o.Workers)
	if err != nil {
		return nil, err
	}
	h.addWorker(h.layout.AllocateHead(nil))
	if o.Workers > 1 { // heads share scratch: every further one allocates what the second does
		training := &o.memory[compute.TrainingMemory]
		first := *training
		h.addWorker(h.layout.AllocateHead(nil))
		*training += float64(o.Workers-2) * (*training - first)
	}
	o.Layout, o.Factors, o.workers = h.layout, merge.FactorsOf(h.layout), h.workers
	o.Trained = o.workers[0].trained()
	o.Replicas = o.Trained - o.Layout.Length
	if o.fused = newFusedPass(c, o.workers) != nil; o.fused {
		o.Pass = max(o.Workers*perPass(c), c.Train.EvalBatch)
	}
	return o, nil
}

// Footprint counts the memory of the rank if perNode ranks are on a node, and the layers' factors travel by these transports: own is that
// of the model and what trains on the rank, weights what is kept beside W, with W if the ranks of a node share it, and exchange the
// buffers of messages.
func (o *Outline) Footprint(perNode int, transports []merge.Transport) (own compute.Footprint, weights, exchange collective.Footprint) {
	c, m, sharers := o.config, o.Model, 1
	own = o.memory
	own[compute.PassMemory] *= float64(o.Pass)
	if !c.Exchange.ShareMemory {
		perNode = 1
	}
	if c.SharesWeights() { // see shareStorage
		sharers = perNode
		own[compute.WeightMemory] -= float64(m.StorageBytes())
		weights.Node += float64(m.StorageBytes())
	}
	alloc := compute.Counting(compute.DType(c.Compute.DType), &own)
	nodes, g := collective.Counting(&weights, o.ranks, sharers), collective.Counting(&exchange, o.ranks, perNode)
	var err error
	switch c.Spec().Merges {
	case method.Heads:
		if err = merge.Count(nodes, g, MergeOptions(c, o.Layout, o.Workers), transports); err == nil {
			_, err = newReplicaMean(alloc, g, o.workers)
		}
	case method.Weights:
		err = (&averaged{config: c, model: m}).allocate(alloc, g)
	default:
		err = (&perStep{config: c, worker: o.workers[0]}).allocate(g)
	}
	if err == nil && c.EMA.Decay > 0 {
		_, err = newAverage(c.EMA.Decay, m, nodes)
	}
	if err != nil {
		panic(err) // counting does not fail
	}
	return own, weights, exchange
}

// Passes is the number of training passes of a rank in a step on a batch of so many images, and the number of images of each.
func (o *Outline) Passes(c config.Config, batch int) (passes, images int) {
	passes, images = c.Train.Accumulate, batch/c.Train.Accumulate
	switch {
	case o.fused:
	case c.Data.Share == "same":
		passes *= o.Workers
	default:
		passes, images = passes*o.Workers, images/o.Workers
	}
	return passes, max(images, 1)
}
