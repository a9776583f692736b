package plan

import (
	"math"

	"lte/compute"
	"lte/data"
	"lte/merge"
	"lte/method"
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

// memory counts what package train allocates, as it allocates it.
func (r *rank) memory() (m Memory) {
	o, c := r.outline, r.config
	all, trainable, trained, replicas := float64(r.all), float64(r.trainable), float64(o.Trained), float64(o.Replicas)
	workers := float64(o.Workers)
	m.Program = program
	m.Weights = o.Memory[compute.WeightMemory] + 4*float64(o.Measured)
	m.Passes = o.Memory[compute.PassMemory] * float64(o.Pass)
	common := 4 * all // W itself
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
		if c.Merge.Reset == "none" { // W⁰
			for _, p := range o.Layout.Layers {
				n := float64(p.Layer.W.Rows * p.Layer.W.Cols)
				m.Weights += 4 * n
				common += 4 * n
				if c.LoRA.Bias {
					m.Weights += 4 * float64(p.Layer.W.Rows)
				}
			}
		}
		if c.Merge.Momentum > 0 { // the velocity, and the rows that a merge moves
			rows := 0
			for _, p := range o.Layout.Layers {
				n := float64(p.Layer.W.Rows * p.Layer.W.Cols)
				m.Weights += 4 * n
				common += 4 * n
				rows = max(rows, (p.Layer.W.Rows+r.sharers()-1)/r.sharers()*p.Layer.W.Cols)
			}
			m.Training += 4 * float64(rows)
		}
		m.Training += 4 * replicas // as merged last
		exchange, ofNode := r.mergeBuffers()
		buffers, means := r.meanBuffers(o.Replicas)
		m.Exchange = exchange + buffers
		m.Common = ofNode + means
		if c.SharesWeights() {
			m.Common += common
			m.commonWeights = common
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

// meanBuffers is what collective.Mean keeps for n numbers: what goes to all ranks, the mean of a block, and what comes from other
// nodes and then all means; of a single node only the means, which all of it have in common.
func (r *rank) meanBuffers(n int) (all, ofNode float64) {
	ranks := r.Cluster.Ranks
	if ranks == 1 {
		return 0, 0
	}
	block := 4 * float64((n+ranks-1)/ranks)
	if ranks == r.Cluster.perNode() {
		ofNode = block * float64(ranks)
	}
	return block * float64(2*ranks+1), ofNode
}

// mergeBuffers is what the exchange of factors keeps, by merge.Costs, all of it and what of it is the node's; and the largest
// stacks of A and of B that it forms.
func (r *rank) mergeBuffers() (all, ofNode float64) {
	costs, number := r.costs(), r.wire().PerValue()
	heads, ranks := float64(r.Cluster.Ranks)*float64(r.outline.Workers), float64(r.Cluster.Ranks)
	total := costs.Heads(r.outline.Layout.Length, r.transports)
	var a, b, whole float64
	for i, t := range r.transports {
		f, p := r.outline.Factors[i], r.outline.Layout.Layers[i]
		room := costs.Memory(t, f)
		biases := number * float64(r.outline.Workers*(p.End-p.BiasA))
		total.Rank += room.Rank + biases
		total.Node += room.Node + biases*ranks
		own := float64(r.outline.Workers)
		switch t {
		case merge.Factors:
			rows := math.Ceil(float64(f.M) / float64(r.sharers()))
			a, b = max(a, 4*heads*float64(f.R)*float64(f.N)), max(b, 4*heads*float64(f.R)*rows)
		case merge.Dense:
			a, b = max(a, 4*own*float64(f.R)*float64(f.N)), max(b, 4*own*float64(f.R)*float64(f.M))
		case merge.Rows:
			rows, short := costs.Part(f)
			forA, forB := 4*heads*float64(f.R)*short, 4*heads*float64(f.R)*rows
			if f.N > f.M {
				forA, forB = forB, forA
				whole = max(whole, 4*float64(f.M)*float64(f.N))
			}
			a, b = max(a, forA), max(b, forB)
		}
	}
	return total.Rank + total.Node + a + b + whole, total.Node
}
