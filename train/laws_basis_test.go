package train

import (
	"fmt"
	"slices"
	"testing"

	"lte/collective"

	"gonum.org/v1/gonum/mat"
)

// Heads that share a basis begin every interval with the mean of their factors, W is formed of it, and where A is frozen that is the mean of their updates.
//
// Fails if W is of other factors than all heads', if a head continues from its own, if A moves or differs between heads where it is frozen, and with
// overlap, if the mean is not that of one interval ago, or what a head has learned since is lost.
func sharedBasis(t *testing.T, w collective.Group) {
	for _, heads := range headCounts(w) {
		for _, trains := range []bool{false, true} {
			for _, overlap := range []bool{false, true} {
				sharedBasisOf(t, w, heads, trains, overlap)
			}
		}
	}
}

func sharedBasisOf(t *testing.T, w collective.Group, n int, trains, overlap bool) {
	what := fmt.Sprintf("%d heads, A trains %v, overlap %v: ", n, trains, overlap)
	c := tinyConfig("lte")
	c.LoRA.Heads, c.LoRA.Basis, c.LoRA.TrainA, c.Exchange.Overlap, c.Train.Steps = n, "shared", trains, overlap, 12
	tr := started(t, c, w, tinySet(300))
	m := tr.algorithm.(*lte)
	length := m.layout.Length
	start := linear(tr)
	var sent, all []float32 // of this rank's and all heads, at the merge before
	for merge := range 3 {
		status, err := tr.localSteps(3)
		must(t, err)
		m.settle() // before other collectives
		now, everyone := slices.Clone(m.values), make([]float32, n*length)
		must(t, collective.Allgather(w, everyone, now))
		_, err = m.merge(tr.step, 3, status)
		must(t, err)
		merged, mine := everyone, now
		if overlap {
			merged, mine = all, sent
		}
		sent, all = slices.Clone(now), everyone
		if merged == nil {
			bits(t, what+"W before anything has arrived", linear(tr), start)
			continue
		}
		mean := make([]float64, length)
		for i, x := range merged {
			mean[i%length] += float64(x) / float64(n)
		}
		for i, x := range mine {
			want := mean[i%length]
			if overlap {
				want += float64(now[i]) - float64(x)
			}
			if got := float64(m.values[i]); got-want > 1e-5 || want-got > 1e-5 {
				t.Fatalf("%smerge %d: factor %d begins as %v, expected %v", what, merge, i, got, want)
			}
		}
		m.settle()
		if overlap {
			copy(sent, m.values) // is sent after it has taken the mean up
			must(t, collective.Allgather(w, all, m.values))
		}
		for _, p := range m.layout.Layers {
			out, in := p.Layer.W.Rows, p.Layer.W.Cols
			var want mat.Dense
			low := func(flat []float32, share float64) {
				f := p.Factors(flat)
				var product mat.Dense
				product.Mul(mat.NewDense(out, p.Rank, wide(f.B.Data)), mat.NewDense(p.Rank, in, wide(f.A.Data)))
				product.Scale(share*float64(p.Scale), &product)
				want.Add(&want, &product)
			}
			want.CloneFrom(mat.NewDense(out, in, wide(memoryOf(tr, "origin."+p.Layer.Name+".weight"))))
			if trains {
				f := make([]float32, length)
				for i, x := range mean {
					f[i] = float32(x)
				}
				low(f, 1)
			} else { // the mean of the products
				for k := range n {
					low(merged[k*length:(k+1)*length], 1/float64(n))
				}
			}
			near(t, what+"W of "+p.Layer.Name, p.Layer.W.Float32(), want.RawMatrix().Data, 1e-5)
		}
		everywhere(t, w, what+"W", tr.digest())
	}
	if far(linear(tr), start, 0.001) == nil {
		t.Fatal(what + "W has hardly moved")
	}
}
