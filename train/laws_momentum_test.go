package train

import (
	"testing"

	"lte/collective"

	"gonum.org/v1/gonum/mat"
)

// Law: with P = (s/N)·Σ B_k A_k after each merge, v ← μ·v + ΔP and W ← W + ΔP + μ·v. Fails if v begins with anything but 0, keeps
// another part of itself, or moves W twice.
func lawMomentum(t *testing.T, w collective.Group) {
	const mu = 0.5
	for _, heads := range headCounts(w) {
		c, set := tinyConfig("lte"), tinySet(300)
		c.Train.Steps, c.LoRA.Heads, c.Merge.Momentum = 12, heads, mu
		tr := newTrainer(t, c, w, set)
		m := tr.algorithm.(*lte)
		f := tr.newFeed()
		defer f.Close()
		tr.feed = f
		want, before, velocity := map[int]*mat.Dense{}, map[int]*mat.Dense{}, map[int]*mat.Dense{}
		for i, p := range m.layout.Layers {
			l := p.Layer.W
			want[i] = mat.NewDense(l.Rows, l.Cols, wide(l.Data))
			before[i], velocity[i] = mat.NewDense(l.Rows, l.Cols, nil), mat.NewDense(l.Rows, l.Cols, nil)
		}
		for range 4 {
			_, err := tr.interval(3)
			must(t, err)
			all := make([]float32, heads*m.layout.Length)
			must(t, collective.Allgather(w, all, m.values))
			for i, p := range m.layout.Layers {
				l := p.Layer.W
				sum := mat.NewDense(l.Rows, l.Cols, nil)
				for k := range heads {
					f := p.Factors(all[k*m.layout.Length : (k+1)*m.layout.Length])
					var product mat.Dense
					product.Mul(mat.NewDense(l.Rows, p.Rank, wide(f.B.Data)), mat.NewDense(p.Rank, l.Cols, wide(f.A.Data)))
					product.Scale(float64(scale(tr))/float64(heads), &product)
					sum.Add(sum, &product)
				}
				var delta, more mat.Dense
				delta.Sub(sum, before[i])
				before[i] = sum
				velocity[i].Scale(mu, velocity[i])
				velocity[i].Add(velocity[i], &delta)
				more.Scale(mu, velocity[i])
				want[i].Add(want[i], &delta)
				want[i].Add(want[i], &more)
				near(t, p.Layer.Name, l.Data, want[i].RawMatrix().Data, 1e-6)
			}
		}
	}
}
