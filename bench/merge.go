package bench

import (
	"time"

	"lte/collective"
	"lte/merge"
)

// Merge is the cost of merging the heads of all ranks: the exchange of factors, the new W, and the check that it is equal on all ranks.
type Merge struct {
	Kind         string  `json:"kind"` // "merge"
	Model        string  `json:"model"`
	Rank         int     `json:"rank"` // of the LoRA heads
	Ranks        int     `json:"ranks"`
	Threads      int     `json:"threads"`
	Merges       int     `json:"merges"`
	MS           float64 `json:"ms"`            // the median merge, from the first rank's start to the last rank's end
	BytesSent    int64   `json:"bytes_sent"`    // by one rank in one merge
	DenseBytes   int64   `json:"dense_bytes"`   // what a rank would send in a ring allreduce of all weights
	FactorsBytes int64   `json:"factors_bytes"` // of a rank's factors: r(m+n) float32 values per layer
}

// RunMerge measures merges. Every rank of the group calls it and gets the result.
func RunMerge(o Options, g collective.Group) (Merge, error) {
	t, batch, _, err := o.trainer(g)
	if err := collective.Agree(g, err); err != nil {
		return Merge{}, err
	}
	if err := collective.Agree(g, step(t, batch)); err != nil { // B = 0 before it
		return Merge{}, err
	}
	var ms []float64
	sent := int64(0)
	for i := range o.Warmup + o.Rounds {
		if err := g.Barrier(); err != nil {
			return Merge{}, err
		}
		before, began := t.Sent(), time.Now()
		if _, err := t.Merge(1, merge.Status{}); err != nil {
			return Merge{}, err
		}
		sent = t.Sent() - before
		if err := g.Barrier(); err != nil {
			return Merge{}, err
		}
		if i >= o.Warmup {
			ms = append(ms, 1e3*time.Since(began).Seconds())
		}
	}
	return Merge{Kind: "merge", Model: o.name(), Rank: o.Config.LoRA.Rank, Ranks: g.Size(), Threads: o.Threads, Merges: o.Rounds,
		MS: median(ms), BytesSent: sent, DenseBytes: collective.AllreduceBytes(int64(len(t.Model().Flat())), g.Size()),
		FactorsBytes: 4 * int64(t.Trained())}, nil
}
