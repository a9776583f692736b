package train

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"lte/collective"
	"lte/config"
	"lte/merge"
	"lte/record"
)

// Laws 5 and 7: by whatever transport heads travel, over any wire, with resets or without, all ranks hold the same bits of W,
// W⁰ + (s/N)·Σ BA of all heads: in fp32 to rounding, else to a part of what it has moved by that does not grow.
//
// Fails if a layer's sum is taken for another's or is scaled twice, if it is added to what already holds it, if after a reset
// it continues from the former sum, and if the residual of rounding is lost.
func lawTransports(t *testing.T, w collective.Group) {
	for _, transport := range []string{"dense", "rows"} {
		for _, wire := range []merge.Wire{merge.FP32, merge.Int8} {
			for i, reset := range []string{"none", "b", "ab"} {
				c := tinyConfig("lte")
				c.Exchange.Wire, c.Exchange.Transport, c.Merge.Reset = string(wire), transport, reset
				c.LoRA.Heads = []int{1, 2, 1}[i] * w.Size()
				transported(t, w, c)
			}
		}
	}
}

func transported(t *testing.T, w collective.Group, c config.Config) {
	t.Helper()
	what := fmt.Sprintf("%s, %s, reset %s, %d heads: ", c.Exchange.Transport, c.Exchange.Wire, c.Merge.Reset, c.LoRA.Heads)
	tr := newTrainer(t, c, w, tinySet(300))
	m := tr.algorithm.(*lte)
	f := tr.newFeed()
	defer f.Close()
	tr.feed = f
	start := linear(tr)
	exact := wide(start) // W, had nothing been rounded on the way
	for merge := range 5 {
		status, err := tr.localSteps(3)
		must(t, err)
		have := gathered(t, w, m.values)
		before := linear(tr)
		_, err = tr.Merge(3, status)
		must(t, err)
		everywhere(t, w, what+"W", tr.digest())
		if c.Merge.Reset == "none" {
			before, exact = start, wide(start)
		}
		if c.Exchange.Wire == "fp32" {
			lawSeven(t, what, m, before, linear(tr), have, make([]float64, len(have)))
			continue
		}
		if c.Merge.Reset != "none" && slices.ContainsFunc(m.merger.Exchange().Sum(0), func(x float32) bool { return x != 0 }) {
			t.Fatal(what + "what W has taken up continues to travel")
		}
		moved := 0.0
		for i, u := range updateOf(m, have) {
			exact[i] += u
			moved = max(moved, math.Abs(exact[i]-float64(start[i])))
		}
		for i, x := range linear(tr) {
			if off := math.Abs(float64(x) - exact[i]); !(off < 0.03*moved) {
				t.Fatalf("%smerge %d: W[%d] is off by %v, of at most %v that it moved", what, merge, i, off, moved)
			}
		}
	}
	if far(linear(tr), start, 0.01) == nil {
		t.Fatal(what + "W has hardly moved")
	}
}

// updateOf is (s/N)·Σ BA of all heads' factors, (heads, length), layer after layer.
func updateOf(m *lte, have []float64) (all []float64) {
	for _, p := range m.layout.Layers {
		rows, cols, r := p.Layer.W.Rows, p.Layer.W.Cols, p.Rank
		for i := range rows {
			for j := range cols {
				sum := 0.0
				for k := range m.config.LoRA.Heads {
					for q := range r {
						sum += have[k*m.layout.Length+p.B+i*r+q] * have[k*m.layout.Length+p.A+q*cols+j]
					}
				}
				all = append(all, float64(p.Scale)*sum/float64(m.config.LoRA.Heads))
			}
		}
	}
	return all
}

// Fails if ranks choose by figures of their own, if layers whose heads are measured do not travel as factors, or the summary
// says another way than was gone.
func choiceIsTold(t *testing.T, w collective.Group) {
	for _, transport := range []string{"auto", "dense", "rows", "factors"} {
		c := tinyConfig("lte")
		c.Exchange.Transport, c.LoRA.Heads, c.Train.Steps = transport, w.Size(), 6
		c.Measure = config.Measure{Every: 3, Images: 4, Layers: []string{"*.mlp.0"}}
		tr := newTrainer(t, c, w, tinySet(300))
		seen := &observed{}
		var obs record.Observer // of rank 0
		if w.Rank() == 0 {
			obs = seen
		}
		s, err := tr.Run(obs)
		must(t, err)
		told := fmt.Sprint(s.Transports)
		everywhere(t, w, "choice by "+transport, told)
		if !slices.ContainsFunc(s.Transports["factors"], func(name string) bool { return match("*.mlp.0", name) }) {
			t.Errorf("%s: measured heads do not travel as factors: %s", transport, told)
		}
		layers := 0
		for name, of := range s.Transports {
			layers += len(of)
			if transport != "auto" && name != transport && name != "factors" {
				t.Errorf("%s: %s", transport, told)
			}
		}
		if layers != len(tr.model.Layers()) {
			t.Errorf("%s: %d layers of %d: %s", transport, layers, len(tr.model.Layers()), told)
		}
		measured := transport == "auto" && w.Size() > 1
		if (s.Network != nil) != measured || w.Rank() == 0 && (len(seen.noted) == 1) != measured {
			t.Errorf("%s: network %v, noted %q", transport, s.Network, seen.noted)
		}
		if alignment := seen.records; w.Rank() == 0 && w.Size() > 1 && alignment[len(alignment)-1].Alignment == nil {
			t.Errorf("%s: no alignment of heads", transport)
		}
	}
}
