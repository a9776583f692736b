package merge_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"lte/collective"
	"lte/collective/grouptest"
	"lte/merge"
)

// plain has a network of so many bytes a second either way, and no other cost.
func plain(ranks, own int) merge.Costs {
	return merge.Costs{Ranks: ranks, Own: own, Wire: merge.FP32, Network: collective.Network{Allgather: 1e8, Alltoall: 1e8}}
}

// The counts of the docstring, by hand, in bytes: a layer of 12 outputs and 6 inputs, and its transpose. In int8 every message of up to
// 64 values has two bytes more. Fails if a term is left out, a side is taken for the other, or a block is not counted to the byte.
func TestSentIsCountedToTheByte(t *testing.T) {
	tall, flat := merge.Factor{M: 12, N: 6, R: 2}, merge.Factor{M: 6, N: 12, R: 2}
	for _, c := range []struct {
		ranks, own int
		wire       merge.Wire
		layers     []merge.Factor
		want       [3]merge.Volume // of each transport
	}{
		{1, 1, merge.FP32, []merge.Factor{tall, flat}, [3]merge.Volume{}},
		{3, 1, merge.FP32, []merge.Factor{tall, flat}, [3]merge.Volume{{Allgather: 4 * 2 * 36}, {Allgather: 4 * 48, Alltoall: 4 * 48}, {Allgather: 4 * (2*12 + 48), Alltoall: 4 * 2 * 8}}},
		{3, 2, merge.FP32, []merge.Factor{tall, flat}, [3]merge.Volume{{Allgather: 4 * 2 * 72}, {Allgather: 4 * 48, Alltoall: 4 * 48}, {Allgather: 4 * (2*24 + 48), Alltoall: 4 * 2 * 16}}},
		// blocks of 15 values, 3 rows
		{5, 1, merge.FP32, []merge.Factor{tall, flat}, [3]merge.Volume{{Allgather: 4 * 4 * 36}, {Allgather: 4 * 60, Alltoall: 4 * 60}, {Allgather: 4 * 4 * (12 + 18), Alltoall: 4 * 4 * 6}}},
		{3, 1, merge.Int8, []merge.Factor{tall}, [3]merge.Volume{{Allgather: 2 * 38}, {Allgather: 2 * 26, Alltoall: 2 * 26}, {Allgather: 2 * (14 + 26), Alltoall: 2 * 10}}},
		{3, 2, merge.Int8, []merge.Factor{tall}, [3]merge.Volume{{Allgather: 2 * 76}, {Allgather: 2 * 26, Alltoall: 2 * 26}, {Allgather: 2 * (28 + 26), Alltoall: 2 * 20}}},
		// the columns of A are two ranges
		{5, 1, merge.Int8, []merge.Factor{flat}, [3]merge.Volume{{Allgather: 4 * 38}, {Allgather: 4 * 17, Alltoall: 4 * 17}, {Allgather: 4 * (14 + 20), Alltoall: 4 * 10}}},
		{3, 1, merge.BF16, []merge.Factor{tall, flat}, [3]merge.Volume{{Allgather: 2 * 2 * 36}, {Allgather: 2 * 48, Alltoall: 2 * 48}, {Allgather: 2 * (2*12 + 48), Alltoall: 2 * 2 * 8}}},
	} {
		for _, f := range c.layers {
			for i, transport := range merge.Transports() {
				costs := plain(c.ranks, c.own)
				costs.Wire = c.wire
				if got := costs.Sent(transport, f); got != c.want[i] {
					t.Errorf("%d×%d, %d ranks of %d heads, %v, %s: %v, want %v", f.M, f.N, c.ranks, c.own, transport, c.wire, got, c.want[i])
				}
			}
		}
	}
}

// By hand: 12×6, rank 2, one head on each of three ranks, which have 4 rows each. Fails if an operation or a buffer is left out.
func TestFLOPsAndMemory(t *testing.T) {
	f := merge.Factor{M: 12, N: 6, R: 2, B: 12}
	for i, want := range []struct {
		flops  float64
		memory collective.Footprint
	}{
		{2 * 72 * 6 / 2, collective.Footprint{Rank: 4*36 + 4*36 + 8, Node: 3 * (4*36 + 8)}},
		// a status; the sum, its blocks of all ranks, and those that are sent and received; parts
		{2*72*2 + 72, collective.Footprint{Rank: 4*36 + 8 + 4*72 + 4*72 + 2*4*72 + 2*4*24, Node: 3*8 + 4*72 + 4*72}},
		// A; rows of B that are sent and received; parts
		{2 * 4 * 6 * 6, collective.Footprint{Rank: 4*36 + 4*12 + 8 + 2*3*4*8 + 2*4*24, Node: 3*(4*12+8) + 4*3*36 + 4*72 + 4*72}},
	} {
		c, transport := plain(3, 1), merge.Transport(i)
		c.Sharers = 2
		if got, memory := c.FLOPs(transport, f), memoryOf(c, transport, f); got != want.flops || memory != want.memory {
			t.Errorf("%v: %v FLOPs, %v bytes, want %v", transport, got, memory, want)
		}
	}
}

// memoryOf is the memory of an Update of one layer, one rank on each node.
func memoryOf(c merge.Costs, t merge.Transport, f merge.Factor) (m collective.Footprint) {
	f.A, f.B = 0, f.R*f.N
	newUpdate(collective.Counting(&m, c.Ranks, 1), []merge.Factor{f}, f.R*(f.M+f.N), c.Own, c.Wire, []merge.Transport{t}, nil)
	return m
}

// What Exchange and Mean send is what is reckoned. Fails if either counts otherwise than the meter.
func TestSentIsWhatTravels(t *testing.T) {
	const own = 2
	f := merge.Factor{A: 0, B: 3 * 24, M: 48, N: 24, R: 3}
	for _, size := range []int{2, 3, 4} { // divisors of 48·24: Mean pads nothing
		grouptest.Run(t, size, func(g *grouptest.Rank) error {
			c := plain(g.Size(), own)
			meter := collective.NewMeter(g)
			e := newExchange(meter.For(collective.Merging), []merge.Factor{f}, 3*(48+24), own, merge.FP32)
			if _, err := e.Gather(make([]float32, own*3*(48+24)), merge.Status{}); err != nil {
				return err
			}
			status := int64(8 * (g.Size() - 1))
			if got, want := meter.Sent()-status, c.Sent(merge.Factors, f).Total(); got != want {
				return fmt.Errorf("factors: %d bytes sent, %d reckoned", got, want)
			}
			meter = collective.NewMeter(g)
			if err := must(collective.NewMean(meter.For(collective.Merging), f.M*f.N)).Average(make([]float32, f.M*f.N)); err != nil {
				return err
			}
			if got, want := meter.Sent(), c.Sent(merge.Dense, f).Total(); got != want {
				return fmt.Errorf("dense: %d bytes sent, %d reckoned", got, want)
			}
			return nil
		})
	}
}

// The borders that the docstring derives, just inside and outside. Fails if the cheapest is not chosen by what it sends.
func TestChoiceByBytes(t *testing.T) {
	const factors, dense, rows = merge.Factors, merge.Dense, merge.Rows
	for _, c := range []struct {
		m, n, r, ranks int
		want           merge.Transport
	}{
		{384, 384, 16, 2, factors},
		{384, 384, 16, 23, factors}, // 2mn/(m+n) = 384 = 24·16
		{384, 384, 16, 25, dense},
		{384, 384, 64, 32, dense},    // the issue's: at N = 32, r = 64 on ViT-S factors lose
		{1536, 384, 16, 24, factors}, // (N−1)·16 = 368 < 384
		{1536, 384, 16, 26, rows},
		{384, 1536, 16, 26, rows},  // by columns
		{1536, 384, 16, 88, rows},  // 1408 < 1536 − 64
		{1536, 384, 16, 96, dense}, // 1536 > 1472
		{10, 384, 10, 4, dense},    // a classifier of few classes: r of the short side
		{384, 384, 16, 1, factors}, // nothing is sent at all
	} {
		got := plain(c.ranks, 1).Choose([]merge.Factor{{M: c.m, N: c.n, R: c.r}})
		if got[0] != c.want {
			t.Errorf("%d×%d, rank %d, %d ranks: %v, want %v", c.m, c.n, c.r, c.ranks, got[0], c.want)
		}
	}
}

// A choice of a whole model is the cheapest of all there are, tried one by one. Fails if a latency is counted for every layer, or
// for a transport that no layer takes.
func TestChoiceIsTheCheapest(t *testing.T) {
	layers := []merge.Factor{{M: 384, N: 3072, R: 16}, {M: 1152, N: 384, R: 16}, {M: 384, N: 384, R: 16}, {M: 1536, N: 384, R: 8}}
	seen := map[string]bool{}
	for _, ranks := range []int{2, 9, 24, 60, 200} {
		for _, latency := range []float64{0, 1e-3, 0.1} {
			for _, rate := range []float64{0, 1e9, 1e12} {
				c := plain(ranks, 1)
				c.Network.Latency, c.Network.Alltoall, c.Rate = latency, 2e8, rate
				total := func(choice []merge.Transport) (seconds float64) {
					used := map[merge.Transport]bool{}
					for i, transport := range choice {
						s := c.Seconds(transport, layers[i])
						if used[transport] {
							s -= []float64{1, 2, 3}[transport] * latency
						}
						used[transport] = true
						seconds += s
					}
					return seconds
				}
				best := math.Inf(1)
				for n := range 81 {
					try := make([]merge.Transport, 4)
					for i := range try {
						try[i], n = merge.Transport(n%3), n/3
					}
					best = min(best, total(try))
				}
				choice := c.Choose(layers)
				if got := total(choice); math.Abs(got-best) > 1e-12*best {
					t.Errorf("%d ranks, latency %v, rate %v: %v takes %v s, the best %v s", ranks, latency, rate, choice, got, best)
				}
				if again := c.Choose(layers); !slices.Equal(choice, again) {
					t.Errorf("chosen %v, then %v", choice, again)
				}
				seen[fmt.Sprint(choice)] = true
			}
		}
	}
	if len(seen) < 4 {
		t.Errorf("only %v were chosen: the cases show little", seen)
	}
}

// Fails if more ranks, rank or bytes a number made anything cheaper, or a faster network dearer.
func TestCostsAreMonotonic(t *testing.T) {
	f := merge.Factor{M: 1536, N: 384, R: 16}
	for _, transport := range merge.Transports() {
		base := merge.Costs{Ranks: 8, Own: 2, Wire: merge.Int4, Rate: 1e11,
			Network: collective.Network{Latency: 1e-3, Allgather: 1e8, Alltoall: 1e8}}
		for name, change := range map[string]func(c *merge.Costs, f *merge.Factor){
			"ranks": func(c *merge.Costs, f *merge.Factor) { c.Ranks++ },
			"heads": func(c *merge.Costs, f *merge.Factor) { c.Own++ },
			"bytes": func(c *merge.Costs, f *merge.Factor) { c.Wire = merge.BF16 }, // not fp32, which needs no estimates
			"rank":  func(c *merge.Costs, f *merge.Factor) { f.R++ },
		} {
			dearer, large := base, f
			change(&dearer, &large)
			if transport == merge.Rows && name == "ranks" {
				dearer.Rate, dearer.Ranks = base.Rate/2, 2*base.Ranks // a rank computes less: its rows
			}
			if got, less := dearer.Seconds(transport, large), base.Seconds(transport, f); got < less {
				t.Errorf("%v, more %s: %v s, less than %v s", transport, name, got, less)
			}
			more, less := memoryOf(dearer, transport, large), memoryOf(base, transport, f)
			if name != "ranks" && more.Rank+more.Node < less.Rank+less.Node {
				t.Errorf("%v, more %s: %v bytes held, less than %v", transport, name, more, less)
			}
		}
		faster := base
		faster.Network = collective.Network{Latency: 5e-4, Allgather: 2e8, Alltoall: 2e8}
		if faster.Seconds(transport, f) >= base.Seconds(transport, f) {
			t.Errorf("%v: a network twice as fast saves nothing", transport)
		}
	}
}

// Fails if a name does not lead back to its transport, or another name to any.
func TestTransportNames(t *testing.T) {
	for _, transport := range merge.Transports() {
		if got, err := merge.ParseTransport(transport.String()); err != nil || got != transport {
			t.Errorf("%v: %v, %v", transport, got, err)
		}
	}
	if got, err := merge.ParseTransport("carrier pigeon"); err == nil {
		t.Errorf("%v", got)
	}
}
