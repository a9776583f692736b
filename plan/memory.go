package plan

import (
	"lte/compute"
	"lte/data"
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
	c := r.config
	own, weights, exchange := r.outline.Footprint(r.Cluster.perNode(), r.transports)
	m.Program = program
	m.Weights = own[compute.WeightMemory] + weights.Rank + weights.Node
	m.Training, m.Passes = own[compute.TrainingMemory], own[compute.PassMemory]
	m.Exchange = exchange.Rank + exchange.Node
	if c.SharesWeights() {
		m.commonWeights = weights.Node
	}
	if c.Exchange.ShareMemory {
		m.Common = m.commonWeights + exchange.Node
	}
	images := float64(c.Train.Batch)
	if c.Data.Share != "same" {
		images *= float64(r.outline.Workers)
	}
	m.Images = data.Ahead * 4 * images * float64(r.Set.Channels*r.Set.Height*r.Set.Width)
	return m
}
