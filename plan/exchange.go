package plan

import (
	"math"

	"lte/collective"
	"lte/lora"
	"lte/merge"
	"lte/method"
)

// message is a collective that an interval makes, that many times.
type message struct {
	purpose collective.Purpose
	call    call
	block   float64 // bytes: what a rank contributes to an Allgather; what it sends to each rank in an Alltoall
	times   float64
}

// call is the time of a collective with blocks of that many bytes.
type call func(c Cluster, block float64) float64

// mean is collective.Mean of n numbers.
func (r *rank) mean(p collective.Purpose, n int, times float64) []message {
	if n == 0 {
		return nil
	}
	block := 4 * math.Ceil(float64(n)/float64(r.Cluster.Ranks))
	gather, scatter := r.ways()
	return []message{{p, scatter, block, times}, {p, gather, block, times}}
}

// ways are the collectives that gather and scatter, by shared memory if the run uses it.
func (r *rank) ways() (gather, scatter call) {
	if r.config.Exchange.ShareMemory {
		return Cluster.AllgatherShared, Cluster.AlltoallShared
	}
	return Cluster.Allgather, Cluster.Alltoall
}

// checks are those of the lockstep: a digest of 8 bytes for every parameter.
func (r *rank) checks(times float64) message {
	return message{collective.Control, Cluster.Allgather, float64(8 * len(r.outline.Model.Parameters())), times}
}

// messages are those of one interval.
func (r *rank) messages() (all []message) {
	k := float64(r.config.Merge.Every)
	switch r.config.Spec().Merges {
	case method.Heads:
		all = append(r.factors(), r.mean(collective.Merging, r.outline.Replicas, 1)...)
		return append(all, r.checks(1))
	case method.Weights:
		all = append(all, message{collective.Merging, Cluster.AllgatherShared, merge.StatusBytes, 1})
		return append(append(all, r.mean(collective.Merging, r.trainable, 1)...), r.checks(1))
	}
	times := k / float64(r.config.Run.LogEvery)
	if r.config.Spec().Merges == method.Head { // every rank by itself
		times = 1
	}
	return append(r.mean(collective.Gradients, r.outline.Trained+1, k), r.checks(times)) // the loss travels behind the gradients
}

// factors are the messages that merge the heads.
func (r *rank) factors() (all []message) {
	gather, scatter := r.ways()
	messages := merge.MeanMessages(r.outline.Layout.Length, r.Cluster.Ranks, r.wire())
	if !r.config.SharesBasis() {
		messages = merge.Messages(r.outline.Factors, r.outline.Layout.Length, r.outline.Workers, r.Cluster.Ranks, r.wire(), r.transports)
	}
	for _, m := range messages {
		call := gather
		if m.Alltoall {
			call = scatter
		}
		all = append(all, message{collective.Merging, call, float64(m.Block), 1})
	}
	return all
}

// work is arithmetic: FLOPs, and bytes that passes over memory read and write.
type work struct{ flops, bytes float64 }

func (w *work) add(flops, bytes float64) {
	w.flops += flops
	w.bytes += bytes
}

// work is the arithmetic of one interval in addition to its steps and messages.
func (r *rank) work() (w work) {
	n, k := float64(r.trainable), float64(r.config.Merge.Every)
	digest := float64(r.outline.Model.StorageBytes()) // all parameters are read
	alone := r.Cluster.Ranks == 1
	spec := r.config.Spec()
	switch spec.Merges {
	case method.Heads:
		w = r.merge()
		w.add(0, digest)
		if r.config.Merge.Momentum > 0 && !r.config.SharesBasis() { // W is kept, then three are read and written
			for _, f := range r.outline.Factors {
				w.add(0, 32*float64(f.M)*float64(f.N)/float64(r.sharers()))
			}
		}
	case method.Weights:
		w.add(0, 8*n+digest) // the merged weights are kept
		if !alone {
			w.add(0, 20*n) // into the padding, the sum, and back
		}
		if spec.Outer {
			w.add(0, 20*n) // three vectors read, two written
		}
	default:
		if trained := float64(r.outline.Trained); !alone {
			w.add(0, k*36*trained) // into the message and its padding, the sum, back twice, and a norm
		}
		if spec.Merges == method.Head {
			for _, f := range r.outline.Factors {
				w.add(2*float64(f.M)*float64(f.N)*float64(f.R), 8*float64(f.M)*float64(f.N))
			}
			w.add(0, digest)
		} else {
			w.add(0, digest*k/float64(r.config.Run.LogEvery))
		}
	}
	if r.config.EMA.Decay > 0 {
		w.add(0, 12*n)
	}
	return w
}

// merge forms W of what the heads sent, and what the next interval's W_k are formed of.
func (r *rank) merge() (w work) {
	if r.config.SharesBasis() { // the mean of the heads is formed, added up, decoded and given to all of them; W is formed of W⁰
		length := float64(r.outline.Layout.Length)
		w.add(0, (8*float64(r.outline.Workers)+32)*length)
		for _, f := range r.outline.Factors {
			whole := float64(f.M) * float64(f.N) / float64(r.sharers())
			w.add(2*whole*float64(f.R), 8*whole)
		}
		return w
	}
	own, ranks, sharers, costs := float64(r.outline.Workers), float64(r.Cluster.Ranks), float64(r.sharers()), r.costs()
	for i, t := range r.transports {
		f := r.outline.Factors[i]
		whole, sides := float64(f.M)*float64(f.N), float64(f.R)*float64(f.M+f.N)
		// The heads' factors are copied to be sent, and as what they were merged as.
		w.add(costs.FLOPs(t, f), 16*own*sides)
		switch t {
		case merge.Factors: // stacks are written, W is formed of W⁰
			w.add(0, (8*ranks*own*sides+8*whole)/sharers)
		case merge.Dense: // the update is written, added up, and added to W
			w.add(0, 4*whole+20*whole/sharers)
		case merge.Rows: // stacks are written, rows are formed, and added to W
			rows, short := costs.Part(f)
			w.add(0, 8*ranks*own*float64(f.R)*(short+rows)+4*whole/ranks+12*whole/sharers)
		}
		if r.outline.Layout.Base() == lora.CachedBase {
			w.add(2*whole*float64(f.R)*own, 8*whole*own)
		}
	}
	return w
}
