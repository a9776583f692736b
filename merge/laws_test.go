package merge_test

import (
	"fmt"
	"math"
	"testing"

	"lte/collective"
	"lte/collective/grouptest"
	"lte/merge"
)

// Each law computes what every rank should hold from all ranks' values, which any rank can draw.
var laws = []grouptest.Law{
	{Name: "stacks", Body: grouptest.Holds(lawStacks)},
	{Name: "statuses", Body: grouptest.Holds(lawStatuses)},
	{Name: "traffic", Body: grouptest.Holds(lawTraffic)},
	{Name: "wire formats", Body: grouptest.Holds(lawWires)},
	{Name: "update", Body: grouptest.Holds(lawUpdate)},
	{Name: "update traffic", Body: grouptest.Holds(lawUpdateTraffic)},
	{Name: "mean", Body: grouptest.Holds(lawMean)},
	{Name: "mean traffic", Body: grouptest.Holds(lawMeanTraffic)},
	{Name: "messages", Body: grouptest.Holds(lawMessages)},
	{Name: "compressed", Body: grouptest.Holds(lawCompressed)},
	{Name: "compressed traffic", Body: grouptest.Holds(lawCompressedTraffic)},
	{Name: "compressed nodes", Body: grouptest.Holds(lawCompressedNodes)},
}

var sizes = []int{1, 2, 3, 4, 8}

func TestLaws(t *testing.T) { grouptest.RunLaws(t, sizes, laws) }

// layers are a layer with more outputs than inputs, one with fewer, and one of rank 1 whose B comes first, with gaps between.
var (
	layers = []merge.Factor{
		{A: 0, B: 6, M: 5, N: 3, R: 2},
		{A: 20, B: 44, M: 2, N: 8, R: 3},
		{A: 57, B: 52, M: 4, N: 4, R: 1},
	}
	flat = 61 // elements
)

// Fails if a head's A or B is taken from the wrong offset, in the wrong order of ranks, or laid side by side the wrong way, and if
// a later layer's stacks keep anything of an earlier layer or merge.
func lawStacks(g collective.Group) error {
	e := newExchange(g, layers, flat, 1, merge.FP32)
	for round := range 2 {
		seed := func(k int) int { return 100*round + k }
		if _, err := e.Gather(grouptest.Draw(seed(g.Rank()), flat), merge.Status{}); err != nil {
			return err
		}
		for _, l := range []int{0, 1, 2, 1, 0} {
			f := layers[l]
			a, b := e.Stacks(l, 0, f.M)
			inner := g.Size() * f.R
			if len(a) != inner*f.N || len(b) != f.M*inner {
				return fmt.Errorf("layer %d: stacks of %d and %d elements", l, len(a), len(b))
			}
			for i := range f.M {
				for j := range f.N {
					var got, want, scale float64
					for p := range inner {
						got += float64(b[i*inner+p]) * float64(a[p*f.N+j])
					}
					for k := range g.Size() { // Σ_k B_k A_k
						head := grouptest.Draw(seed(k), flat)
						for p := range f.R {
							term := float64(head[f.B+i*f.R+p]) * float64(head[f.A+p*f.N+j])
							want += term
							scale += math.Abs(term)
						}
					}
					if math.Abs(got-want) > 1e-12*scale {
						return fmt.Errorf("layer %d (%d, %d): %v, want %v", l, i, j, got, want)
					}
				}
			}
			for k := range g.Size() { // the stacks' rows and columns themselves: a sum does not show the order of heads
				head := grouptest.Draw(seed(k), flat)
				if a[k*f.R*f.N] != head[f.A] || b[k*f.R] != head[f.B] {
					return fmt.Errorf("layer %d: head %d is not at its place", l, k)
				}
			}
		}
	}
	return nil
}

// Fails if NaN or a step is lost or reaches a wrong rank, and if the loss is rounded other than to float32.
func lawStatuses(g collective.Group) error {
	statuses := []merge.Status{
		{Loss: 2.302585092994046},
		{Loss: math.NaN(), Failed: 7},
		{Loss: math.Inf(1), Failed: 1},
		{Loss: 0, Failed: 1 << 24},
		{Loss: 1e300, Failed: 1<<24 - 1}, // an infinity in float32
	}
	e := newExchange(g, nil, 0, 1, merge.FP32)
	for shift := range statuses { // every status on every rank
		status := func(k int) merge.Status { return statuses[(k+shift)%len(statuses)] }
		got, err := e.Gather(nil, status(g.Rank()))
		if err != nil {
			return err
		}
		if len(got) != g.Size() {
			return fmt.Errorf("%d statuses", len(got))
		}
		for k, s := range got {
			want := status(k)
			want.Loss = float64(float32(want.Loss))
			same := s.Loss == want.Loss || math.IsNaN(s.Loss) && math.IsNaN(want.Loss)
			if !same || s.Failed != want.Failed {
				return fmt.Errorf("rank %d's status is %v, want %v", k, s, want)
			}
		}
	}
	return nil
}

// Fails if the factors of an exchange, or its status, are counted otherwise than they are sent.
func lawTraffic(g collective.Group) error {
	others := int64(g.Size() - 1)
	for _, c := range []struct {
		name string
		own  int
		wire merge.Wire
		want int64
	}{
		{"factors and status", 1, merge.FP32, 4 * int64(flat+2) * others},
		{"int8 factors of two heads and status", 2, merge.Int8, int64(2*(flat+2)+8) * others},
	} {
		meter := collective.NewMeter(g)
		if _, err := newExchange(meter.For(collective.Merging), layers, flat, c.own, c.wire).Gather(grouptest.Draw(0, c.own*flat), merge.Status{}); err != nil {
			return err
		}
		for _, p := range collective.Purposes() {
			want := collective.Traffic{}
			if p == collective.Merging {
				want = collective.Traffic{Sent: c.want, Received: c.want}
			}
			if got := meter.Traffic(p); got != want {
				return fmt.Errorf("%s: %+v counted as %s, want %+v", c.name, got, p, want)
			}
		}
		if meter.Sent() != c.want {
			return fmt.Errorf("%s: %d bytes sent, want %d", c.name, meter.Sent(), c.want)
		}
	}
	return nil
}

// newExchange is merge.NewExchange, which has memory.
func newExchange(g collective.Group, layers []merge.Factor, length, own int, w merge.Wire) *merge.Exchange {
	return must(merge.NewExchange(g, layers, length, own, w))
}

// newUpdate is merge.NewUpdate, which has memory.
func newUpdate(g collective.Group, layers []merge.Factor, length, own int, w merge.Wire, transports []merge.Transport, multiply merge.Product) *merge.Update {
	return must(merge.NewUpdate(g, layers, length, own, w, transports, multiply))
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}
