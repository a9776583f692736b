package collective

import (
	"fmt"
	"slices"
)

// Transport is how the heads' updates of one layer travel at a merge. All leave the same sum on all ranks.
//
// Of a layer of m outputs and n inputs, rank r, with h heads on each of P ranks, N = hP of them, a rank sends, in numbers,
//
//	Factors   (P−1)·hr(m+n)
//	Dense     2(P−1)/P·mn
//	Rows      (P−1)·hrn + (P−1)/P·(hrm + mn)
//
// and makes, in operations, where q ranks of a node share out the merge,
//
//	Factors   2·mn·Nr/q
//	Dense     2·mn·hr + mn
//	Rows      2·mn·Nr/P
//
// Factors send less than Dense while Nr < 2mn/(m+n). Rows send less than Factors where (N−h)r > n, and less than Dense where
// Nr < m − hrm/n: that leaves nothing for a square layer, and much for one whose sides are far apart. Where n is above m, Rows
// are columns, and m and n change places.
type Transport int

// The transports.
const (
	Factors    Transport = iota // A and B of all heads go to all ranks: one Allgather
	Dense                       // every rank forms its own heads' update, and the ranks' are added as Mean does: Alltoall, Allgather
	Rows                        // every rank has its rows of B from all heads and all of A, forms its rows of the update and hands them on: Allgather, Alltoall, Allgather
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

// ParseTransport is String's inverse.
func ParseTransport(name string) (Transport, error) {
	for t := range transports {
		if t.String() == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("collective: no transport is called %q: expected one of %v", name, Transports())
}

// collectives is how many calls a transport takes, for all layers that travel by it together.
func (t Transport) collectives() float64 { return [transports]float64{1, 2, 3}[t] }

// Costs reckons what a merge costs one rank. Equal costs give equal choices on all ranks that run one program.
type Costs struct {
	Ranks   int     // P
	Own     int     // h, heads of a rank
	Sharers int     // q, ranks of a node that share out the merge; 0: 1
	Number  float64 // bytes of a number on the wire: 4 for float32
	Network Network
	Rate    float64 // operations a rank makes a second; 0: they cost nothing
}

// Volume is what one rank sends, in bytes, by either kind of collective.
type Volume struct{ Allgather, Alltoall float64 }

// Total is their sum.
func (v Volume) Total() float64 { return v.Allgather + v.Alltoall }

// Part is what the ranks share out of Rows: how many rows a rank has of the longer side, the last ones fewer or none, and the
// shorter side.
func (c Costs) Part(f Factor) (rows, short float64) {
	long := max(f.M, f.N)
	return float64((long + c.Ranks - 1) / c.Ranks), float64(min(f.M, f.N))
}

// Sent is what a rank sends for a merge of that layer.
func (c Costs) Sent(t Transport, f Factor) Volume {
	others, own := float64(c.Ranks-1), float64(c.Own)*float64(f.R)
	m, n := float64(f.M), float64(f.N)
	var numbers Volume
	switch t {
	case Factors:
		numbers.Allgather = others * own * (m + n)
	case Dense:
		share := others / float64(c.Ranks) * m * n
		numbers = Volume{share, share}
	case Rows:
		rows, short := c.Part(f)
		numbers = Volume{others * (own*short + rows*short), others * own * rows}
	}
	return Volume{c.Number * numbers.Allgather, c.Number * numbers.Alltoall}
}

// Operations is what a rank computes for a merge of that layer: two for every multiplication that is added to a sum.
func (c Costs) Operations(t Transport, f Factor) float64 {
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

// Room is memory in bytes.
type Room struct {
	Rank float64 // of each rank
	Node float64 // of all ranks of a node together, or of each that has its own
}

// Memory is what Update keeps for that layer beside x̂ of heads, for which see Heads: what is sent and what comes, and sums with
// what they are formed of.
func (c Costs) Memory(t Transport, f Factor) (r Room) {
	own, ranks, size := float64(c.Own)*float64(f.R), float64(c.Ranks), c.Number
	formed := 4.0 // bytes of a number that is formed to be sent, with its x̂
	if size != 4 {
		formed = 8
	}
	m, n := float64(f.M), float64(f.N)
	switch t {
	case Dense: // a rank's sum, which goes; all ranks' blocks of it, which come; their sum
		return Room{Rank: m*n*(formed+2*size+4) + m*n/ranks*(formed+size), Node: m * n * (size + 4)}
	case Rows: // A goes to all, rows of B to their ranks, who form some rows
		rows, short := c.Part(f)
		return Room{Rank: size*own*(short+2*ranks*rows) + rows*short*(formed+size), Node: ranks * (size*own*short + rows*short*(size+4))}
	}
	return Room{Rank: size * own * (m + n), Node: size * ranks * own * (m + n)}
}

// Heads is what Update keeps of heads of that length: x̂ of a rank's own, and of all, which in fp32 lie where they came if all layers
// travel as Factors, and are not there if none brings anything of a head to other ranks.
func (c Costs) Heads(length int, transports []Transport) Room {
	own := 4 * float64(c.Own) * float64(length)
	is := func(t Transport) bool {
		return !slices.ContainsFunc(transports, func(u Transport) bool { return u != t })
	}
	if is(Dense) || is(Factors) && c.Number == 4 {
		return Room{Rank: own}
	}
	return Room{Rank: own, Node: own * float64(c.Ranks)}
}

// Seconds is what a merge of that layer alone takes.
func (c Costs) Seconds(t Transport, f Factor) float64 {
	return c.calls(t) + c.work(t, f)
}

// calls is the part that layers share: the collectives' latency.
func (c Costs) calls(t Transport) float64 {
	if c.Ranks == 1 {
		return 0
	}
	return t.collectives() * c.Network.Latency
}

// work is the part that each layer adds.
func (c Costs) work(t Transport, f Factor) (seconds float64) {
	if v := c.Sent(t, f); c.Ranks > 1 {
		seconds = v.Allgather/c.Network.Allgather + v.Alltoall/c.Network.Alltoall
	}
	if c.Rate > 0 {
		seconds += c.Operations(t, f) / c.Rate
	}
	return seconds
}

// Choose returns the cheapest transport of every layer of a model. Layers of one transport travel together and pay its latency
// once, so every set of transports is tried; the first of equals is taken, in the order of the constants.
func (c Costs) Choose(layers []Factor) []Transport {
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
		for i, f := range layers {
			found, seconds := false, 0.0
			for t := range transports {
				if s := c.work(t, f); set>>t&1 == 1 && (!found || s < seconds) {
					found, seconds, chosen[i] = true, s, t
				}
			}
			total += seconds
		}
		if best == nil || total < least {
			best, least = chosen, total
		}
	}
	return best
}
