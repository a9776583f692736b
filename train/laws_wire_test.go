package train

import (
	"fmt"
	"math"
	"testing"

	"lte/collective"
	"lte/config"
	"lte/merge"
)

// change is what a wire's stated error is in proportion to, as merge.Wire says: of a number's own change, or of the
// largest of its block of 64.
func change(wire merge.Wire, d []float64) []float64 {
	out := make([]float64, len(d))
	for i := range d {
		own := d[i : i+1]
		if wire != merge.BF16 {
			own = d[i/64*64 : min(len(d), i/64*64+64)]
		}
		for _, v := range own {
			out[i] = max(out[i], math.Abs(v)/map[merge.Wire]float64{merge.FP32: math.Inf(1), merge.BF16: 256, merge.Int8: 252, merge.Int4: 13.8}[wire])
		}
	}
	return out
}

// Laws 5 and 7: over any wire, with resets or without, all ranks hold the same bits of W, and it differs from what the
// factors themselves would make of it by no more than the wire's stated error of the factors and what an earlier error
// still owes. The factors that the owner continues from, A' and B', are those that were merged. Without resets the errors
// do not add up, and after a reset of B what was not sent is part of the next message.
//
// Fails if the owner merges what it had, or continues from it; if a change is taken from anything but what all hold, after a
// reset too; if what is owed is forgotten, or paid twice.
func lawWires(t *testing.T, w collective.Group) {
	for _, wire := range []merge.Wire{merge.FP32, merge.BF16, merge.Int8, merge.Int4} {
		for _, reset := range []string{"none", "b", "ab"} {
			for _, own := range []int{1, 2} {
				c := tinyConfig("lte")
				c.Exchange.Wire, c.Merge.Reset = string(wire), reset
				c.LoRA.Heads, c.LoRA.Bias = own*w.Size(), own == 2
				wires(t, w, c)
			}
		}
	}
}

func wires(t *testing.T, w collective.Group, c config.Config) {
	t.Helper()
	what := fmt.Sprintf("%s, reset %s, %d heads: ", c.Exchange.Wire, c.Merge.Reset, c.LoRA.Heads)
	wire := merge.Wire(c.Exchange.Wire)
	tr := newTrainer(t, c, w, tinySet(300))
	m := tr.algorithm.(*lte)
	f := tr.newFeed()
	defer f.Close()
	tr.feed = f
	length, start := m.layout.Length, linear(tr)
	owed := make([]float64, c.LoRA.Heads*length) // after the last merge, of what continues
	worst := 0.0
	for merge := range 4 {
		status, err := tr.localSteps(3)
		must(t, err)
		have := gathered(t, w, m.values)
		must(t, m.merger.SeedEstimates())
		from := make([]float64, len(have)) // what all hold
		for k := range c.LoRA.Heads {
			copy(from[k*length:], wide(m.merger.Exchange().Estimate(k)))
		}
		wanted := make([]float64, len(have)) // to arrive
		moves := make([]float64, len(have))
		for i, x := range have {
			wanted[i] = x
			if merge > 0 && c.Merge.Reset == "b" {
				wanted[i] += owed[i]
			}
			moves[i] = wanted[i] - from[i]
		}
		before := linear(tr)
		_, err = tr.Merge(3, status)
		must(t, err)
		everywhere(t, w, what+"W", tr.digest())

		delta := make([]float64, len(have)) // of the factors as they are merged, at most
		for k := range c.LoRA.Heads {
			held := m.merger.Exchange().Estimate(k)
			everywhere(t, w, what+"a head", fmt.Sprint(collective.Digest(held)))
			bound := change(wire, moves[k*length:(k+1)*length])
			for i, x := range held {
				at := k*length + i
				off := math.Abs(wanted[at] - float64(x))
				if slack := 1e-6 * (math.Abs(wanted[at]) + math.Abs(float64(x))); !(off <= bound[i]+slack) {
					t.Fatalf("%smerge %d: factor %d of head %d is %v, arrives as %v: off by %v, stated %v", what, merge, i, k, wanted[at], x, off, bound[i])
				}
				delta[at] = math.Abs(have[at] - float64(x))
				worst = max(worst, off/(math.Abs(moves[at])+1e-9))
			}
			for _, p := range m.layout.Layers { // what a reset of B leaves owed
				copy(owed[k*length+p.B:k*length+p.BiasA], difference(wanted[k*length+p.B:k*length+p.BiasA], held[p.B:p.BiasA]))
				copy(owed[k*length+p.BiasB:k*length+p.End], difference(wanted[k*length+p.BiasB:k*length+p.End], held[p.BiasB:p.End]))
			}
			if i := k - m.first; c.Merge.Reset == "none" && i >= 0 && i < len(m.heads.workers) {
				bits(t, what+"A', B'", m.heads.workers[i].heads[0].Merged, held)
			}
		}
		base := start
		if c.Merge.Reset != "none" {
			base = before
		}
		lawSeven(t, what, m, base, linear(tr), have, delta)
	}
	if wire != merge.FP32 && worst == 0 {
		t.Fatal(what + "every factor arrived as it was: the law would say nothing")
	}
	if far(linear(tr), start, 0.01) == nil {
		t.Fatal(what + "W has hardly moved")
	}
}

// lawSeven fails unless W is base + (s/N)·Σ BA of all heads' factors, (heads, length), to what differences of at most
// delta in these make of it.
func lawSeven(t *testing.T, what string, m *lte, base, got []float32, have, delta []float64) {
	t.Helper()
	heads, at := m.config.LoRA.Heads, 0
	for _, p := range m.layout.Layers {
		rows, cols, r := p.Layer.W.Rows, p.Layer.W.Cols, p.Rank
		scale := float64(p.Scale) / float64(heads)
		for i := range rows {
			for j := range cols {
				want, bound, size := float64(base[at]), 0.0, math.Abs(float64(base[at]))
				for k := range heads {
					for q := range r {
						a, b := k*m.layout.Length+p.A+q*cols+j, k*m.layout.Length+p.B+i*r+q
						want += scale * have[b] * have[a]
						size += scale * math.Abs(have[b]*have[a])
						bound += scale * (delta[b]*math.Abs(have[a]) + math.Abs(have[b])*delta[a] + delta[b]*delta[a])
					}
				}
				if off := math.Abs(float64(got[at]) - want); !(off <= bound+1e-6*size) {
					t.Fatalf("%s%s (%d, %d) is %v, of the factors themselves %v: off by %v, stated %v", what, p.Layer.Name, i, j, got[at], want, off, bound)
				}
				at++
			}
		}
	}
}

// gathered is every rank's x, in order.
func gathered(t *testing.T, w collective.Group, x []float32) []float64 {
	t.Helper()
	all := make([]float32, w.Size()*len(x))
	must(t, collective.Allgather(w, all, x))
	return wide(all)
}

func difference(x []float64, y []float32) []float64 {
	out := make([]float64, len(x))
	for i := range x {
		out[i] = x[i] - float64(y[i])
	}
	return out
}

// Fails if compressing what travels changes a bit of W, or if it is not asked for.
func lawZstd(t *testing.T, w collective.Group) {
	for _, wire := range []string{"fp32", "bf16", "int8", "int4"} {
		var digests []string
		var sent []int64
		for _, zstd := range []bool{false, true} {
			c := tinyConfig("lte")
			c.Exchange.Wire, c.Exchange.Zstd = wire, zstd
			tr := newTrainer(t, c, w, tinySet(300))
			_, err := tr.Run(nil)
			must(t, err)
			digests, sent = append(digests, tr.digest()), append(sent, tr.meter.Traffic(collective.Merging).Sent)
		}
		if digests[0] != digests[1] {
			t.Fatalf("%s: W is %s, with zstd %s", wire, digests[0], digests[1])
		}
		if w.Size() > 1 && sent[0] == sent[1] {
			t.Fatalf("%s: %d bytes are sent, with zstd as many", wire, sent[0])
		}
		everywhere(t, w, wire+" W", digests[0])
	}
}
