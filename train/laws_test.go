//go:build mpirun

package train

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lte/collective"
	"lte/model"
	"lte/mpi"

	"gonum.org/v1/gonum/mat"
)

// Law 1: merging changes nothing that a single head computes or trains; the run is that of the same head never merged.
//
// Shown to fail by not keeping A' and B' at the merge.
func lawOneHead(t *testing.T, w *mpi.World) {
	if w.Size() > 1 {
		return
	}
	for _, name := range backends() {
		c, set := tinyConfig("lte"), tinySet(40)
		smooth(&c)
		c.Train.Steps = 12
		merging, plain := newTrainerOn(t, c, w, set, backend(t, name, 1)), newTrainerOn(t, c, w, set, backend(t, name, 1))
		merging.feed, plain.feed = common(set, 4), common(set, 4)
		for range 4 {
			status, err := merging.localSteps(3)
			must(t, err)
			merging.model.UseLocal()
			before := logits(merging, 8)
			_, err = merging.method.merge(merging.step, status)
			must(t, err)
			merging.model.UseLocal()
			near(t, "logits after a merge", logits(merging, 8), before, 1e-5)
		}
		_, err := plain.localSteps(12)
		must(t, err)
		plain.model.UseLocal()
		near(t, "factors", merging.method.(*lte).head.Value, plain.method.(*lte).head.Value, 1e-5)
		near(t, "logits", logits(merging, 8), logits(plain, 8), 1e-5)
		moved(t, merging)
	}
}

// moved fails if training has hardly changed W: then the law would say nothing.
func moved(t *testing.T, tr *Trainer) {
	t.Helper()
	if far(weightsOf(tr), slices.Concat(tr.method.(*lte).w0...), 0.01) == nil {
		t.Fatal("W has hardly moved")
	}
}

// Law 2: N heads with the same A and the same data give what one head gives.
//
// Shown to fail by leaving out the merge's 1/N.
func lawHeadsAlike(t *testing.T, w *mpi.World) {
	c, set := tinyConfig("lte"), tinySet(40)
	smooth(&c)
	one, many := newTrainer(t, c, collective.Alone{}, set), newTrainer(t, c, w, set)
	one.feed, many.feed = common(set, 4), common(set, 4)
	copy(many.method.(*lte).head.Value, one.method.(*lte).head.Value)
	copy(many.method.(*lte).head.Merged, one.method.(*lte).head.Value)
	for range 3 {
		want, err := one.interval(3)
		must(t, err)
		got, err := many.interval(3)
		must(t, err)
		near(t, "W", weightsOf(many), weightsOf(one), 1e-5)
		near(t, "loss", []float64{got}, []float64{want}, 1e-5)
	}
	moved(t, many)
}

// Law 4: with Σ A_kᵀA_k = c·I and B = 0, one SGD step of all heads on the same batch and a merge move each W by exactly
// −η·(s²c/N)·G, full-rank gradient descent. A layer's stack of A's is N·r×n with orthogonal columns, which needs
// N·r ≥ n: on one rank the classifier (5×8) and the second layer of the MLP (8×12), whose rank can be at most 5 and 8,
// are left out; on two and more all layers take part.
//
// Shown to fail by leaving s out of ∂L/∂B; laws 1 and 2 do not see that.
func lawFullRank(t *testing.T, w *mpi.World) {
	const eta, scale = 0.5, 2.0 // η, c
	n := w.Size()
	c, set := tinyConfig("lte"), tinySet(40)
	smooth(&c)
	c.Optimizer.Momentum, c.Optimizer.WeightDecay, c.Optimizer.ClipNorm, c.Optimizer.LR = 0, 0, 0, eta
	c.Schedule.Warmup, c.Schedule.MinLR = 0, eta
	c.LTE.Rank = map[int]int{1: 8, 2: 6, 3: 4, 4: 3, 8: 2}[n]
	c.LTE.Alpha, c.LTE.MergeEvery = 3*float64(c.LTE.Rank), 1 // s = 3
	tr := newTrainer(t, c, w, set)
	m := tr.method.(*lte)
	rng := rand.New(rand.NewPCG(7, 8)) // the same on all ranks
	taking := 0
	for _, l := range tr.model.Layers() {
		a := l.Adapter().A
		if r, in := a.Rows, a.Cols; n*r >= in {
			stack := orthonormal(n*r, in, rng)
			for i := range a.Data {
				a.Data[i] = float32(math.Sqrt(scale) * stack.At(w.Rank()*r+i/in, i%in))
			}
			taking++
		}
	}
	if want := len(tr.model.Layers()); n == 1 && taking != want-2 || n > 1 && taking != want {
		t.Fatalf("%d layers take part", taking)
	}
	copy(m.head.Merged, m.head.Value)
	tr.model.Rebase()
	tr.feed = common(set, 4)
	_, err := tr.interval(1)
	must(t, err)

	cf := c
	cf.Method = "full"
	full := newTrainer(t, cf, collective.Alone{}, set)
	batch, err := common(set, 4).Next()
	must(t, err)
	y := full.model.Forward(batch.Images)
	model.CrossEntropy(y.Data, y.Data, batch.Labels, c.Train.LabelSmoothing)
	full.model.Backward(y)
	for i, l := range tr.model.Layers() {
		if a := l.Adapter().A; n*a.Rows < a.Cols {
			continue
		}
		f := full.model.Layers()[i]
		got, want := make([]float64, len(l.W.Data)), make([]float64, len(l.W.Data))
		for j, g := range f.GradW.Data {
			got[j] = float64(l.W.Data[j]) - float64(f.W.Data[j])
			want[j] = -eta * (3 * 3 * scale / float64(n)) * float64(g)
		}
		near(t, l.Name, got, want, 1e-5)
	}
}

// orthonormal is a random rows×cols matrix Q, rows ≥ cols, with QᵀQ = I.
func orthonormal(rows, cols int, rng *rand.Rand) mat.Matrix {
	x := mat.NewDense(rows, cols, nil)
	for i := range rows {
		for j := range cols {
			x.Set(i, j, rng.NormFloat64())
		}
	}
	var qr mat.QR
	qr.Factorize(x)
	q := new(mat.Dense)
	qr.QTo(q)
	return q.Slice(0, rows, 0, cols)
}

// Law 5: after every merge all ranks hold the same bits of W, whatever the number of threads. merge itself checks; this test
// does not rely on it. One and two threads give the same bits; with stacks of N·r ≥ 512 and eight threads or more
// oneDNN's sgemm shares out the sum of some shapes too, and ranks of unequal numbers of threads may differ.
//
// Shown to fail by stacking each rank's own head first, with merge's check taken out: a sum in another order, nothing
// more.
func lawLockstep(t *testing.T, w *mpi.World) {
	for _, threads := range []int{1, 1 + w.Rank()%2} {
		for _, name := range backends() {
			c, set := tinyConfig("lte"), tinySet(200)
			tr := newTrainerOn(t, c, w, set, backend(t, name, threads))
			f := tr.newFeed()
			defer f.Close()
			tr.feed = f
			for range 3 {
				_, err := tr.interval(3)
				must(t, err)
				everywhere(t, w, "W", tr.digest())
			}
			moved(t, tr)
		}
	}
}

// Law 5, the proof in production: one wrong bit on one rank is a *collective.LockstepError on every rank, which names
// the layer and the rank. In lte it is a bit of W⁰ or of a bias; one of W alone the merge repairs, as it forms W anew.
// In full it is a bit of W.
//
// Shown to fail, for each method, by taking the check out of merge.
func lawWrongBit(t *testing.T, w *mpi.World) {
	const layer = 3 // of the linear layers: mlp.0 of the first block
	const weight, bias = "encoder.layers.encoder_layer_0.mlp.0.weight", "encoder.layers.encoder_layer_0.mlp.0.bias"
	bad := w.Size() - 1
	for _, c := range []struct {
		method, name string
		slice        func(tr *Trainer) []float32
	}{
		{"lte", weight, func(tr *Trainer) []float32 { return tr.method.(*lte).w0[layer] }},
		{"lte", bias, func(tr *Trainer) []float32 { return tr.model.Layers()[layer].B }},
		{"lte", "", func(tr *Trainer) []float32 { return tr.model.Layers()[layer].W.Data }},
		{"full", weight, func(tr *Trainer) []float32 { return tr.model.Layers()[layer].W.Data }},
	} {
		cfg, set := tinyConfig(c.method), tinySet(40)
		cfg.Run.LogEvery = 1
		tr := newTrainer(t, cfg, w, set)
		if tr.model.Layers()[layer].Name+".weight" != weight {
			t.Fatalf("layer %d is %s", layer, tr.model.Layers()[layer].Name)
		}
		tr.feed = common(set, 4)
		_, err := tr.interval(tr.method.interval())
		must(t, err)
		if w.Rank() == bad {
			x := c.slice(tr)
			x[len(x)-1] = math.Float32frombits(math.Float32bits(x[len(x)-1]) ^ 1<<18) // rounding does not swallow it
		}
		_, err = tr.interval(tr.method.interval())
		if w.Size() == 1 || c.name == "" { // nobody to differ from; repaired
			must(t, err)
			continue
		}
		var e *collective.LockstepError
		want := fmt.Sprintf("%q differs on rank %d from rank 0", c.name, bad)
		if !errors.As(err, &e) || !strings.HasSuffix(e.Error(), ": "+want) {
			t.Fatalf("%s: got %v, want %s", c.method, err, want)
		}
		everywhere(t, w, "the error", describe(err))
	}
}

// Law 6: right after a merge every head computes what W computes.
//
// Shown to fail by setting B to 0 after the merge and leaving B' (algorithm.md's classic mistake).
func lawContinuity(t *testing.T, w *mpi.World) {
	c, set := tinyConfig("lte"), tinySet(200)
	tr := newTrainer(t, c, w, set)
	f := tr.newFeed()
	defer f.Close()
	tr.feed = f
	for range 3 {
		status, err := tr.localSteps(3)
		must(t, err)
		tr.model.UseLocal()
		before := logits(tr, 8)
		_, err = tr.method.merge(tr.step, status)
		must(t, err)
		tr.model.UseMerged()
		merged := logits(tr, 8)
		tr.model.UseLocal()
		near(t, "logits", logits(tr, 8), merged, 1e-5)
		if w.Size() > 1 && far(before, merged, 0.01) == nil {
			t.Fatal("the merge changed nothing")
		}
	}
}

// Law 8: W − W⁰ is (s/N)·Σ B_k A_k, and so of rank N·r at most.
//
// Shown to fail by adding (s/N)·Σ B_k A_k to W instead of W⁰ at every merge.
func lawTelescoping(t *testing.T, w *mpi.World) {
	n := w.Size()
	c, set := tinyConfig("lte"), tinySet(300)
	c.Model.Width, c.Model.MLP, c.Train.Steps = 12, 16, 12
	c.LTE.Rank = max(1, 6/n) // N·r < 12 = min(m, n) of qkv, projection and both MLP layers
	tr := newTrainer(t, c, w, set)
	m := tr.method.(*lte)
	f := tr.newFeed()
	defer f.Close()
	tr.feed = f
	for range 4 {
		_, err := tr.interval(3)
		must(t, err)
	}
	flat := len(m.head.Value)
	all := make([]float32, n*flat)
	must(t, w.Allgather(all, m.head.Value))
	at, low := 0, 0
	for i, l := range tr.model.Layers() {
		out, in, r := l.W.Rows, l.W.Cols, l.Adapter().A.Rows
		sum, update := mat.NewDense(out, in, nil), mat.NewDense(out, in, nil)
		for k := range n {
			a, b := all[k*flat+at:][:r*in], all[k*flat+at+r*in:][:out*r]
			var product mat.Dense
			product.Mul(mat.NewDense(out, r, wide(b)), mat.NewDense(r, in, wide(a)))
			product.Scale(float64(m.head.Scale)/float64(n), &product)
			sum.Add(sum, &product)
		}
		at += r * (in + out)
		want := make([]float64, out*in)
		for j := range want {
			update.Set(j/in, j%in, float64(l.W.Data[j])-float64(m.w0[i][j]))
			want[j] = float64(m.w0[i][j]) + sum.At(j/in, j%in)
		}
		near(t, l.Name, l.W.Data, want, 1e-6)
		if limit := n * r; limit < min(out, in) {
			low++
			var svd mat.SVD
			if !svd.Factorize(update, mat.SVDNone) {
				t.Fatal("no singular values")
			}
			if v := svd.Values(nil); v[limit] > 1e-5*v[0] || v[min(limit, r)-1] < 1e-3*v[0] {
				t.Fatalf("%s: singular values %v, want rank at most %d", l.Name, v, limit)
			}
		}
	}
	if low < 4 {
		t.Fatalf("%d layers of low rank: the law would say nothing", low)
	}
	moved(t, tr)
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}
