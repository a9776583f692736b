package merge

import (
	"fmt"

	"lte/collective"
)

// Transport is how the heads' updates of one layer travel at a merge. All leave the same sum on all ranks.
//
// Of a layer of m outputs and n inputs, rank r, with h heads on each of P ranks, N = hP of them, a rank sends, in values,
//
//	Factors   (P−1)·hr(m+n)
//	Dense     2(P−1)/P·mn
//	Rows      (P−1)·hrn + (P−1)/P·(hrm + mn)
//
// and computes, in FLOPs, where q ranks of a node divide the merge,
//
//	Factors   2·mn·Nr/q
//	Dense     2·mn·hr + mn
//	Rows      2·mn·Nr/P
//
// Factors send less than Dense while Nr < 2mn/(m+n). Rows send less than Factors where (N−h)r > n, and less than Dense where
// Nr < m − hrm/n: never for a square layer, in a wide range for one with very different sides. Where n is above m, Rows are columns,
// and m and n change places.
type Transport int

// The transports.
const (
	Factors    Transport = iota // A and B of all heads go to all ranks: one Allgather
	Dense                       // every rank forms its own heads' update, and the ranks' are added as Mean does: Alltoall, Allgather
	Rows                        // every rank has its rows of B from all heads and all of A, forms its rows of the update and sends them to all: Allgather, Alltoall, Allgather
	transports                  // how many
)

// Transports lists them.
func Transports() (all []Transport) {
	for t := range transports {
		all = append(all, t)
	}
	return all
}

func (t Transport) String() string { return [transports]string{"factors", "dense", "rows"}[t] }

// ParseTransport is the inverse of String.
func ParseTransport(name string) (Transport, error) {
	for t := range transports {
		if t.String() == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("merge: no transport is called %q: expected one of %v", name, Transports())
}

// collectives is how many calls a transport takes, for all layers that use it.
func (t Transport) collectives() float64 { return [transports]float64{1, 2, 3}[t] }

// Costs predicts what a merge costs one rank. Equal costs give equal choices on all ranks that run one program.
type Costs struct {
	Ranks   int // P
	Own     int // h, heads of a rank
	Sharers int // q, ranks of a node that divide the merge; 0: 1
	Wire    Wire
	Network collective.Network
	Rate    float64 // FLOP/s of a rank; 0: computing costs nothing
}

// Volume is what one rank sends, in bytes, by either kind of collective.
type Volume struct{ Allgather, Alltoall int64 }

// Total is their sum.
func (v Volume) Total() int64 { return v.Allgather + v.Alltoall }

// Part is the largest part of Rows: how many rows of the longer side a rank forms, and the length of the shorter side.
func (c Costs) Part(f Factor) (rows, short float64) {
	_, most := collective.Share(max(f.M, f.N), 0, c.Ranks)
	return float64(most), float64(min(f.M, f.N))
}

// Sent is what a rank sends for a merge of that layer alone, without its status: see Messages.
func (c Costs) Sent(t Transport, f Factor) (v Volume) {
	f.A, f.B = 0, f.R*f.N
	for i, m := range Messages([]Factor{f}, f.R*(f.M+f.N), c.Own, c.Ranks, c.Wire, []Transport{t}) {
		if i == 0 {
			m.Block -= StatusBytes
		}
		if m.Alltoall {
			v.Alltoall += m.Sent(c.Ranks)
		} else {
			v.Allgather += m.Sent(c.Ranks)
		}
	}
	return v
}

// FLOPs is what a rank computes for a merge of that layer: two for every multiplication and addition.
func (c Costs) FLOPs(t Transport, f Factor) float64 {
	own := float64(c.Own) * float64(f.R)
	all := float64(c.Ranks) * own
	whole := float64(f.M) * float64(f.N)
	switch t {
	case Dense:
		return 2*whole*own + whole
	case Rows:
		rows, short := c.Part(f)
		return 2 * rows * short * all
	}
	return 2 * whole * all / float64(max(1, c.Sharers))
}

// calls is the part that layers share: the latency of the collectives.
func (c Costs) calls(t Transport) float64 {
	if c.Ranks == 1 {
		return 0
	}
	return t.collectives() * c.Network.Latency
}

// work is the part that each layer adds.
func (c Costs) work(t Transport, f Factor) (seconds float64) {
	if v := c.Sent(t, f); c.Ranks > 1 {
		seconds = float64(v.Allgather)/c.Network.Allgather + float64(v.Alltoall)/c.Network.Alltoall
	}
	if c.Rate > 0 {
		seconds += c.FLOPs(t, f) / c.Rate
	}
	return seconds
}

// Choose returns the cheapest transport of every layer of a model. Layers of one transport travel together and pay its latency
// once, so every set of transports is tried; the first of equals is taken, in the order of the constants.
func (c Costs) Choose(layers []Factor) []Transport {
	work := make([][transports]float64, len(layers))
	for i, f := range layers {
		for t := range transports {
			work[i][t] = c.work(t, f)
		}
	}
	var best []Transport
	var least float64
	for set := 1; set < 1<<transports; set++ {
		chosen := make([]Transport, len(layers))
		total := 0.0
		for t := range transports {
			if set>>t&1 == 1 {
				total += c.calls(t)
			}
		}
		for i := range layers {
			found := false
			for t := range transports {
				if set>>t&1 == 1 && (!found || work[i][t] < work[i][chosen[i]]) {
					found, chosen[i] = true, t
				}
			}
			total += work[i][chosen[i]]
		}
		if best == nil || total < least {
			best, least = chosen, total
		}
	}
	return best
}
