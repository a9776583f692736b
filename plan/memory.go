package plan

import (
	"math"

	"lte/collective"
	"lte/data"
)

// Memory is what one rank holds, in bytes, by what it is for.
type Memory struct {
	Weights  int64 `json:"weights"`  // the model's parameters, and the copies that products, merges and averages keep of them
	Training int64 `json:"training"` // gradients, moments, factors, and what W_k is formed of
	Passes   int64 `json:"passes"`   // what forward and backward passes leave for each other
	Exchange int64 `json:"exchange"` // what is sent, what comes, and room to add it up
	Common   int64 `json:"common"`   // of Weights and Exchange, what the ranks of a node have in common
	Images   int64 `json:"images"`   // mini-batches that are prepared ahead
	Program  int64 `json:"program"`  // the program itself and its libraries
}

// Total is all of it.
func (m Memory) Total() int64 {
	return m.Weights + m.Training + m.Passes + m.Exchange + m.Images + m.Program // Common is counted
}

// program is the resident size of the program under MPI before it has a model: see docs/communication.md.
const program = 48 << 20

// memory counts what package train allocates, as it allocates it.
func (r *rank) memory() (m Memory) {
	o, c := r.outline, r.config
	m.Program = program
	m.Weights = o.Model.WeightBytes(r.dtype)
	m.Weights += 4 * int64(o.Measured)
	m.Passes = o.Model.PassBytes(r.dtype, o.Pass)
	common := 4 * int64(r.all) // W itself
	if c.EMA.Decay > 0 {
		m.Weights += 4 * int64(r.trainable)
		common += 4 * int64(r.trainable)
	}
	images := o.Workers * c.Train.Batch
	if c.Data.Share == "same" {
		images = c.Train.Batch
	}
	m.Images = data.Ahead * 4 * int64(images*r.Set.Channels*r.Set.Height*r.Set.Width)

	moments := int64(2)
	if c.Optimizer.Name == "sgd" {
		moments = 1
	}
	if c.HasHeads() {
		head, shared := o.Layout.Bytes(r.dtype)
		m.Training = int64(o.Workers)*(head+4*(1+moments)*int64(o.Layout.Length)) + shared
		// A worker has its own replicas, whose gradients are the model's.
		m.Training += 4 * int64(o.Replicas) * (1 + int64(o.Workers)*(1+moments))
	} else {
		m.Training = 4 * (1 + moments) * int64(o.Trained)
	}

	switch c.Method {
	case "lte":
		if c.Merge.Reset == "none" { // W⁰
			for _, p := range o.Layout.Layers {
				m.Weights += 4 * int64(p.Layer.W.Rows*p.Layer.W.Cols)
				common += 4 * int64(p.Layer.W.Rows*p.Layer.W.Cols)
				if c.LoRA.Bias {
					m.Weights += 4 * int64(p.Layer.W.Rows)
				}
			}
		}
		if c.Merge.Momentum > 0 { // the velocity, and the rows that a merge moves
			rows := 0
			for _, p := range o.Layout.Layers {
				n := p.Layer.W.Rows * p.Layer.W.Cols
				m.Weights += 4 * int64(n)
				common += 4 * int64(n)
				rows = max(rows, (p.Layer.W.Rows+r.sharers()-1)/r.sharers()*p.Layer.W.Cols)
			}
			m.Training += 4 * int64(rows)
		}
		m.Training += 4 * int64(o.Replicas) // as merged last
		exchange, ofNode := r.mergeBuffers()
		all, means := r.meanBuffers(o.Replicas)
		m.Exchange = exchange + all
		m.Common = ofNode + means
		if c.SharesWeights() {
			m.Common += common
		}
	case "localsgd", "diloco":
		m.Weights += 4 * int64(r.trainable) // as merged last
		if c.Method == "diloco" {
			m.Training += 4 * int64(r.trainable)
		}
		m.Exchange, m.Common = r.meanBuffers(r.trainable)
	default:
		if r.Cluster.Ranks > 1 { // alone the message is never written to
			m.Exchange, m.Common = r.meanBuffers(o.Trained + 1)
			m.Exchange += 4 * int64(o.Trained+1)
		}
	}
	if !c.Exchange.ShareMemory {
		m.Common = 0
	}
	return m
}

// meanBuffers is what collective.Mean keeps for n numbers: what goes to all ranks, the mean of a block, and what comes from other
// nodes and then all means; of a single node only the means, which all of it have in common.
func (r *rank) meanBuffers(n int) (all, ofNode int64) {
	ranks := int64(r.Cluster.Ranks)
	if ranks == 1 {
		return 0, 0
	}
	block := (int64(n) + ranks - 1) / ranks
	if r.Cluster.Ranks == r.Cluster.perNode() {
		ofNode = 4 * ranks * block
	}
	return 4 * (2*ranks + 1) * block, ofNode
}

// mergeBuffers is what the exchange of factors keeps, by collective.Costs, all of it and what of it is the node's; and the largest
// stacks of A and of B that it forms.
func (r *rank) mergeBuffers() (all, ofNode int64) {
	costs, number := r.costs(), r.wire().PerNumber()
	heads, ranks := float64(r.Cluster.Ranks*r.outline.Workers), float64(r.Cluster.Ranks)
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
		case collective.Factors:
			rows := math.Ceil(float64(f.M) / float64(r.sharers()))
			a, b = max(a, 4*heads*float64(f.R*f.N)), max(b, 4*heads*float64(f.R)*rows)
		case collective.Dense:
			a, b = max(a, 4*own*float64(f.R*f.N)), max(b, 4*own*float64(f.R*f.M))
		case collective.Rows:
			rows, short := costs.Part(f)
			forA, forB := 4*heads*float64(f.R)*short, 4*heads*float64(f.R)*rows
			if f.N > f.M {
				forA, forB = forB, forA
				whole = max(whole, 4*float64(f.M*f.N))
			}
			a, b = max(a, forA), max(b, forB)
		}
	}
	return int64(total.Rank + total.Node + a + b + whole), int64(total.Node)
}
