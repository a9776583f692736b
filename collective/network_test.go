package collective_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"lte/collective"
	"lte/collective/grouptest"
)

// wire is a group whose collectives take the time that they should by the rank's own clock, and no other.
type wire struct {
	collective.Group
	latency   float64 // seconds
	bandwidth float64 // bytes a second that a rank sends
	clock     *time.Duration
	sent      *int
}

func (w wire) pass(block int) {
	bytes := block * (w.Size() - 1)
	*w.clock += time.Duration(1e9 * (w.latency + float64(bytes)/w.bandwidth))
	*w.sent += bytes
}

func (w wire) Allgather(dst, src []byte) error {
	w.pass(len(src))
	return w.Group.Allgather(dst, src)
}

func (w wire) AllgatherShared(dst, src []byte) error {
	w.pass(len(src))
	return w.Group.AllgatherShared(dst, src)
}

func (w wire) AlltoallShared(comes, rows []byte) error {
	w.pass(len(rows) / w.NodeSize() / w.Size() * 2) // half as fast
	return w.Group.AlltoallShared(comes, rows)
}

// Fails if the figures are not the network's, differ between ranks, are another rank's than the slowest's, or take a second.
func TestMeasure(t *testing.T) {
	for _, c := range []struct{ latency, bandwidth float64 }{
		{1e-5, 5e9}, {1e-4, 1e9}, {1e-3, 125e6}, {2e-2, 6e6}, {1e-3, 1e5}, {0.05, 1e6},
	} {
		for _, size := range []int{2, 3, 8} {
			grouptest.Run(t, size, func(g *grouptest.Rank) error {
				var clock time.Duration
				var sent int
				slow := 1.0
				if g.Rank() == size/2 {
					slow = 2
				}
				w := wire{g, slow * c.latency, c.bandwidth / slow, &clock, &sent}
				n, err := collective.MeasureBy(w, func() time.Time { return time.Unix(0, 0).Add(clock) })
				if err != nil {
					return err
				}
				near := func(what string, got, want float64) {
					if math.Abs(got-want) > 0.1*want {
						t.Errorf("%v, %d ranks: %s %v, want %v", c, size, what, got, want)
					}
				}
				near("latency", n.Latency, 2*(c.latency+8*float64(size-1)/c.bandwidth))
				near("allgather", n.Allgather, c.bandwidth/2)
				near("alltoall", n.Alltoall, c.bandwidth/4)
				if clock > time.Second && c.latency < 0.05 {
					t.Errorf("%v, %d ranks: took %v", c, size, clock)
				}
				if c.bandwidth >= 125e6 && sent < 2<<20 {
					t.Errorf("%v, %d ranks: %d bytes sent, of no use on a fast network", c, size, sent)
				}
				all := make([]uint64, 3*size)
				mine := []uint64{math.Float64bits(n.Latency), math.Float64bits(n.Allgather), math.Float64bits(n.Alltoall)}
				if err := collective.Allgather(g, all, mine); err != nil {
					return err
				}
				for i, word := range all {
					if word != all[i%3] {
						t.Errorf("%v: ranks have different figures", c)
					}
				}
				return nil
			})
		}
	}
}

// Fails if a transport that breaks is measured as if it were fast, or a group of one asks for a network.
func TestMeasureFails(t *testing.T) {
	if n, err := collective.Measure(collective.Alone{}); err != nil || n != (collective.Network{}) {
		t.Errorf("alone: %v, %v", n, err)
	}
	broken := errors.New("cable cut")
	grouptest.Run(t, 2, func(g *grouptest.Rank) error {
		n, err := collective.Measure(oneWay{g, broken})
		if !errors.Is(err, broken) || n != (collective.Network{}) {
			t.Errorf("%v, %v", n, err)
		}
		return nil
	})
}

// oneWay is a group whose AlltoallShared fails.
type oneWay struct {
	collective.Group
	err error
}

func (w oneWay) AlltoallShared(comes, rows []byte) error { return w.err }
