package merge_test

import (
	"errors"
	"strings"
	"testing"

	"lte/collective"
	"lte/collective/grouptest"
	"lte/merge"
)

var racing bool // the race detector is on

// Fails if a buffer is made in every call. Three ranks take all paths: padding, and others to talk to.
func TestNoAllocation(t *testing.T) {
	if racing {
		t.Skip("the race detector allocates")
	}
	const rounds = 500
	grouptest.Run(t, 3, func(g *grouptest.Rank) error {
		var all []*merge.Exchange
		for _, w := range wires {
			all = append(all, newExchange(g, layers, flat, 1, w), newExchange(merge.Compressed(g, w), layers, flat, 1, w))
		}
		factors := grouptest.Draw(g.Rank(), flat)
		var err error
		step := func() {
			for _, e := range all {
				if _, err = e.Gather(factors, merge.Status{}); err != nil {
					return
				}
				for l := range layers {
					e.Stacks(l, 0, layers[l].M)
				}
			}
		}
		if g.Rank() > 0 {
			for range rounds + 1 { // AllocsPerRun calls once more to warm up
				step()
			}
			return err
		}
		if n := testing.AllocsPerRun(rounds, step); n > 0 { // on all ranks together
			t.Errorf("%v allocations a step", n)
		}
		return err
	})
}

// Fails if a broken group's error is dropped or no longer to be found under what is returned.
func TestBrokenGroup(t *testing.T) {
	broken := errors.New("connection reset")
	grouptest.Run(t, 2, func(g *grouptest.Rank) error {
		e := newExchange(g, layers, flat, 1, merge.FP32)
		g.Fail(broken)
		if _, err := e.Gather(grouptest.Draw(0, flat), merge.Status{}); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "merge: ") {
			t.Errorf("Gather: %v", err)
		}
		return nil
	})
}

// Fails if a misuse is found late, or by another package's panic.
func TestMisuse(t *testing.T) {
	g := collective.Alone{}
	for name, misuse := range map[string]func(){
		"A past the end": func() {
			newExchange(g, []merge.Factor{{A: 1, M: 1, N: 4, R: 1}}, 4, 1, merge.FP32)
		},
		"B past the end": func() {
			newExchange(g, []merge.Factor{{B: 1, M: 4, N: 1, R: 1}}, 4, 1, merge.FP32)
		},
		"before 0": func() {
			newExchange(g, []merge.Factor{{A: -1, M: 1, N: 1, R: 1}}, 4, 1, merge.FP32)
		},
		"short factors": func() {
			_, _ = newExchange(g, nil, 4, 1, merge.FP32).Gather(make([]float32, 3), merge.Status{})
		},
		"too early": func() { newExchange(g, layers, flat, 1, merge.FP32).Stacks(0, 0, 1) },
	} {
		func() {
			defer func() {
				if said, _ := recover().(string); !strings.HasPrefix(said, "merge: ") {
					t.Errorf("%s: panic %q", name, said)
				}
			}()
			misuse()
		}()
	}
}
