package plan

import (
	"lte/collective"
	"lte/compute"
	"lte/data"
	"lte/merge"
	"lte/method"
	"lte/train"
)

// Memory is what one rank holds, in bytes, by what it is for.
type Memory struct {
	Weights  float64 `json:"weights"`  // the model's parameters, and the copies that products, merges and averages keep of them
	Training float64 `json:"training"` // gradients, moments, factors, and what W_k is formed of
	Passes   float64 `json:"passes"`   // what forward and backward passes leave for each other
	Exchange float64 `json:"exchange"` // what is sent, what comes, and room to add it up
	Common   float64 `json:"common"`   // of Weights and Exchange, what the ranks of a node share
	Images   float64 `json:"images"`   // mini-batches that are prepared ahead
	Program  float64 `json:"program"`  // the program itself and its libraries

	commonWeights float64 // of Common, the part in Weights
}

// Total is all of it.
func (m Memory) Total() float64 {
	return m.Weights + m.Training + m.Passes + m.Exchange + m.Images + m.Program // Common is counted
}

// Each is the memory of one of so many ranks of a node, with an equal share of Common for each.
func (m Memory) Each(ranks int) Memory {
	others := 1 - 1/float64(ranks)
	m.Weights -= others * m.commonWeights
	m.Exchange -= others * (m.Common - m.commonWeights)
	m.Common, m.commonWeights = 0, 0
	return m
}

// Largest is the largest part, in words, and its bytes.
func (m Memory) Largest() (what string, bytes float64) {
	for _, part := range []struct {
		what  string
		bytes float64
	}{{"activations", m.Passes}, {"weights", m.Weights}, {"gradients, moments and factors", m.Training}, {"buffers of the exchange", m.Exchange},
		{"mini-batches", m.Images}} {
		if part.bytes > bytes {
			what, bytes = part.what, part.bytes
		}
	}
	return what, bytes
}

// program is the resident size of the program under MPI before it has a model: see docs/measurements/plan.md.
const program = 48 << 20

// memory counts what a rank allocates, by the allocators of the packages that do.
func (r *rank) memory() (m Memory) {
	o, c := r.outline, r.config
	trainable, trained, replicas := float64(r.trainable), float64(o.Trained), float64(o.Replicas)
	workers := float64(o.Workers)
	m.Program = program
	m.Weights = o.Memory[compute.WeightMemory] + 4*float64(o.Measured)
	m.Passes = o.Memory[compute.PassMemory] * float64(o.Pass)
	common := float64(o.Model.StorageBytes())
	if c.EMA.Decay > 0 {
		m.Weights += 4 * trainable
		common += 4 * trainable
	}
	images := workers * float64(c.Train.Batch)
	if c.Data.Share == "same" {
		images = float64(c.Train.Batch)
	}
	m.Images = data.Ahead * 4 * images * float64(r.Set.Channels*r.Set.Height*r.Set.Width)

	moments := 2.0
	if c.Optimizer.Name == "sgd" {
		moments = 1
	}
	m.Training = o.Memory[compute.TrainingMemory] + 4*moments*workers*trained
	if c.Spec().HasHeads() { // a worker has its own factors and replicas
		m.Training += 4 * workers * trained
	}

	switch spec := c.Spec(); spec.Merges {
	case method.Heads:
		var weights, exchange collective.Footprint
		merge.Count(&weights, &exchange, train.MergeOptions(c, o.Layout, o.Workers), r.Cluster.Ranks, r.nodeRanks(), r.sharers(), r.transports)
		collective.CountMean(&exchange, o.Replicas, r.Cluster.Ranks, r.nodeRanks())
		m.Weights += weights.Rank + weights.Node
		m.Training += 4 * replicas // as merged last
		m.Exchange, m.Common = exchange.Rank+exchange.Node, exchange.Node
		if c.SharesWeights() {
			m.commonWeights = common + weights.Node
			m.Common += m.commonWeights
		}
	case method.Weights:
		m.Weights += 4 * trainable // as merged last
		if spec.Outer {
			m.Training += 4 * trainable
		}
		m.Exchange, m.Common = r.meanBuffers(r.trainable)
	default:
		if r.Cluster.Ranks > 1 { // alone the message is never written to
			m.Exchange, m.Common = r.meanBuffers(o.Trained + 1)
			m.Exchange += 4 * (trained + 1)
		}
	}
	if !c.Exchange.ShareMemory {
		m.Common, m.commonWeights = 0, 0
	}
	return m
}

// meanBuffers is the memory of a collective.Mean of n values, all of it and what of it the ranks of a node share.
func (r *rank) meanBuffers(n int) (all, ofNode float64) {
	var f collective.Footprint
	collective.CountMean(&f, n, r.Cluster.Ranks, r.nodeRanks())
	return f.Rank + f.Node, f.Node
}

// nodeRanks is how many ranks of a node share memory.
func (r *rank) nodeRanks() int {
	if !r.config.Exchange.ShareMemory {
		return 1
	}
	return r.Cluster.perNode()
}
