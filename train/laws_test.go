package train

import (
	"math"
	"math/rand/v2"
	"testing"

	"lte/collective"
	"lte/config"
	"lte/data"
	"lte/lora"

	"gonum.org/v1/gonum/mat"
)

// Law 1: merging changes nothing that a single head computes or trains; the run is that of the same head never merged,
// and that of method lora, whatever the number of passes that a mini-batch is cut into, and with biases.
//
// Fails with not keeping A' and B' at the merge, by a stream of A for lora other than head 0's, and by gradients
// that begin anew with every pass.
func lawOneHead(t *testing.T, w collective.Group) {
	if w.Size() > 1 {
		return
	}
	for _, name := range backends() {
		for _, passes := range []int{1, 2} {
			c, set := tinyConfig("lte"), tinySet(40)
			smooth(&c)
			c.Train.Steps, c.Train.Accumulate, c.LoRA.Bias = 12, passes, passes == 2
			merging, plain := newTrainerOn(t, c, w, set, backend(t, name, 1)), newTrainerOn(t, c, w, set, backend(t, name, 1))
			c.Method, c.Train.Accumulate = "lora", 1
			lora := newTrainerOn(t, c, w, set, backend(t, name, 1))
			merging.feed, plain.feed, lora.feed = common(set, 4), common(set, 4), common(set, 4)
			for range 4 {
				status, err := merging.localSteps(3)
				must(t, err)
				merging.model.UseLocal(head(merging))
				before := logits(merging, 8)
				_, err = merging.algorithm.merge(merging.step, 3, status)
				must(t, err)
				merging.model.UseLocal(head(merging))
				near(t, "logits after a merge", logits(merging, 8), before, 1e-5)
			}
			for _, tr := range []*Trainer{plain, lora} {
				_, err := tr.localSteps(12)
				must(t, err)
				tr.model.UseLocal(head(tr))
				near(t, "factors", head(merging).Value, head(tr).Value, 1e-5)
				near(t, "logits", logits(merging, 8), logits(tr, 8), 1e-5)
			}
			lora.algorithm.loadMerged()
			near(t, "weights", merging.model.Flat(), lora.model.Flat(), 1e-5)
			moved(t, merging)
		}
	}
}

// moved fails if training has hardly changed W: then the law would say nothing.
func moved(t *testing.T, tr *Trainer) {
	t.Helper()
	if far(weightsOf(tr), beginning(tr), 0.01) == nil {
		t.Fatal("W has hardly moved")
	}
}

// Law 2: N heads with the same A and the same data give what one head gives, one or two heads a rank; two of a rank in
// passes of their own, on the same batch or each on its part of the rank's, or in one pass.
//
// Fails with leaving out the merge's 1/N, by heads of a rank that lack −B'A', by an optimizer that moves the first of
// them alone, and by the mean loss over all images of their one pass.
func lawHeadsAlike(t *testing.T, w collective.Group) {
	for _, v := range []struct {
		own   int
		share string
		thin  bool
	}{{1, "split", false}, {2, "same", false}, {2, "split", false}, {2, "split", true}} {
		c, set := tinyConfig("lte"), tinySet(40)
		smooth(&c)
		if v.thin {
			lowRank(&c)
			c.LoRA.Bias = true
		}
		one := newTrainer(t, c, collective.Alone{}, set)
		c.LoRA.Heads, c.Data.Share = v.own*w.Size(), v.share
		many := newTrainer(t, c, w, set)
		if (many.fused != nil) != v.thin {
			t.Fatal("passes are made otherwise")
		}
		one.feed, many.feed = common(set, c.Train.Batch), common(set, c.Train.Batch)
		if v.share == "split" {
			many.feed = repeated(common(set, c.Train.Batch), v.own)
		}
		for _, h := range headsOf(many) {
			copy(h.Value, head(one).Value)
			copy(h.Merged, head(one).Merged)
			h.Rebase()
		}
		for range 3 {
			want, err := one.interval(3)
			must(t, err)
			got, err := many.interval(3)
			must(t, err)
			near(t, "weights", many.model.Flat(), one.model.Flat(), 1e-5)
			near(t, "loss", []float64{got}, []float64{want}, 1e-5)
		}
		moved(t, many)
	}
}

// lowRank makes passes through the factors the cheaper way for all layers.
func lowRank(c *config.Config) {
	c.Model.Patch, c.Model.Width, c.Model.MLP, c.Train.Batch = 4, 16, 16, 2
}

// repeated deals out every batch that many times over.
func repeated(f *fed, times int) *fed {
	return &fed{batches: func(step int) *data.Batch {
		b, once := &data.Batch{}, f.batches(step)
		for range times {
			b.Images, b.Labels = append(b.Images, once.Images...), append(b.Labels, once.Labels...)
		}
		return b
	}}
}

// headsOf are all heads of this rank.
func headsOf(tr *Trainer) (all []*lora.Head) {
	for _, w := range tr.workers {
		all = append(all, w.heads...)
	}
	return all
}

// headCounts are the numbers of heads that a law is shown with: one a rank, and several.
func headCounts(w collective.Group) []int {
	if n := w.Size(); n <= 2 {
		return []int{n, 4}
	}
	return []int{w.Size()}
}

// plainSGD is gradient descent and nothing else: steps of eta times the gradient.
func plainSGD(c *config.Config, eta float64) {
	c.Optimizer = config.Optimizer{Name: "sgd", LR: eta, Eps: 1e-8}
	c.Schedule = config.Schedule{Kind: "constant"}
}

// Law 4: with Σ A_kᵀA_k = c·I and B = 0, one SGD step of all heads on the same batch and a merge move each W by exactly
// −η·(s²c/N)·G, full-rank gradient descent. A layer's stack of A's is N·r×n with orthogonal columns, which needs
// N·r ≥ n: on one rank the classifier (5×8) and the second layer of the MLP (8×12), whose rank can be at most 5 and 8,
// are left out; on two and more all layers take part.
//
// Fails with leaving s out of ∂L/∂B; laws 1 and 2 do not see that.
func lawFullRank(t *testing.T, w collective.Group) {
	fullRank(t, w, w.Size(), "split")
	if w.Size() == 2 {
		fullRank(t, w, 4, "same")
	}
}

func fullRank(t *testing.T, w collective.Group, n int, share string) {
	const eta, scale = 0.5, 2.0 // η, c
	c, set := tinyConfig("lte"), tinySet(40)
	plainSGD(&c, eta)
	c.LoRA.Heads, c.Data.Share = n, share
	c.LoRA.Rank = map[int]int{1: 8, 2: 6, 3: 4, 4: 3, 8: 2}[n]
	c.LoRA.Alpha, c.Merge.Every = 3*float64(c.LoRA.Rank), 1 // s = 3
	tr := newTrainer(t, c, w, set)
	rng := rand.New(rand.NewPCG(7, 8)) // the same on all ranks
	taking := 0
	for _, l := range tr.model.Layers() {
		a := head(tr).Adapter(l).A
		if r, in := a.Rows, a.Cols; n*r >= in {
			stack := orthonormal(n*r, in, rng)
			for _, k := range tr.workers {
				a := k.heads[0].Adapter(l).A
				for i := range a.Data {
					a.Data[i] = float32(math.Sqrt(scale) * stack.At(k.number*r+i/in, i%in))
				}
			}
			taking++
		}
	}
	if want := len(tr.model.Layers()); n == 1 && taking != want-2 || n > 1 && taking != want {
		t.Fatalf("%d layers take part", taking)
	}
	for _, h := range headsOf(tr) {
		copy(h.Merged, h.Value)
		h.Rebase()
	}
	tr.feed = common(set, 4)
	_, err := tr.interval(1)
	must(t, err)

	cf := c
	cf.Method, cf.LoRA.Heads = "full", 0
	full := newTrainer(t, cf, collective.Alone{}, set)
	batch, err := common(set, 4).Next()
	must(t, err)
	y := full.model.Forward(batch.Images)
	full.task.Loss(y, y, batch, len(batch.Labels))
	full.model.Backward(y)
	for i, l := range tr.model.Layers() {
		if a := head(tr).Adapter(l).A; n*a.Rows < a.Cols {
			continue
		}
		f := full.model.Layers()[i]
		got, want := make([]float64, l.W.Len()), make([]float64, l.W.Len())
		for j, g := range f.GradW.Data {
			got[j] = float64(l.W.Float32()[j]) - float64(f.W.Float32()[j])
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

// Law 6: right after a merge every head computes what W computes, with and without resets, with biases, and as one of
// several in a pass; and so does the head of sequential, whose merge changes nothing.
//
// Fails with setting B to 0 after the merge and leaving B' (algorithm.md's classic mistake), by resets that leave
// B, by a base that is not formed anew, and by a sequential merge without s.
func lawContinuity(t *testing.T, w collective.Group) {
	for _, method := range []string{"lte", "sequential"} {
		for _, reset := range []string{"none", "b", "ab"} {
			for _, heads := range headCounts(w) {
				for _, small := range []bool{false, true} {
					c := tinyConfig(method)
					c.Merge.Reset, c.LoRA.Bias = reset, small
					if method == "lte" {
						c.LoRA.Heads = heads
					} else if reset == "none" || heads != w.Size() {
						continue
					}
					if small {
						lowRank(&c)
					}
					continuity(t, w, c)
				}
			}
		}
	}
}

func continuity(t *testing.T, w collective.Group, c config.Config) {
	t.Helper()
	tr := newTrainer(t, c, w, tinySet(300))
	f := tr.newFeed()
	defer f.Close()
	tr.feed = f
	for range 3 {
		status, err := tr.localSteps(3)
		must(t, err)
		tr.model.UseLocal(head(tr))
		before := logits(tr, 8)
		_, err = tr.algorithm.merge(tr.step, 3, status)
		must(t, err)
		tr.model.UseMerged()
		merged := logits(tr, 8)
		for _, h := range headsOf(tr) {
			tr.model.UseLocal(h)
			near(t, "logits", logits(tr, 8), merged, 1e-5)
		}
		if tr.fused != nil {
			tr.model.UseLocal(tr.fused.heads...)
			near(t, "logits of all heads", logits(tr, 8), merged, 1e-5)
		}
		switch same := far(before, merged, 1e-5) == nil; {
		case c.Method == "sequential" && !same:
			t.Fatal("the merge changed what the head computes")
		case c.Method == "lte" && len(tr.workers)*w.Size() > 1 && same:
			t.Fatal("the merge changed nothing")
		}
	}
}

// Law 8: W − W⁰ is (s/N)·Σ B_k A_k, and so of rank N·r at most; and b − b⁰ is (s/N)·Σ (B_k b_A,k + b_B,k).
//
// Fails with adding (s/N)·Σ B_k A_k to W instead of W⁰ at every merge, and likewise to b instead of b⁰.
func lawTelescoping(t *testing.T, w collective.Group) {
	for _, heads := range headCounts(w) {
		for _, bias := range []bool{false, true} {
			telescoping(t, w, heads, bias)
		}
	}
}

func telescoping(t *testing.T, w collective.Group, n int, bias bool) {
	c, set := tinyConfig("lte"), tinySet(300)
	c.Model.Width, c.Model.MLP, c.Train.Steps = 12, 16, 12
	c.LoRA.Rank = max(1, 6/n) // N·r < 12 = min(m, n) of qkv, projection and both MLP layers
	c.LoRA.Heads, c.LoRA.Bias = n, bias
	tr := newTrainer(t, c, w, set)
	m := tr.algorithm.(*lte)
	f := tr.newFeed()
	defer f.Close()
	tr.feed = f
	for range 4 {
		_, err := tr.interval(3)
		must(t, err)
	}
	all := make([]float32, n*m.layout.Length)
	must(t, collective.Allgather(w, all, m.values))
	low := 0
	for _, p := range m.layout.Layers {
		l, r := p.Layer, p.Rank
		out, in := l.W.Rows, l.W.Cols
		sum, update := mat.NewDense(out, in, nil), mat.NewDense(out, in, nil)
		b, share := wide(l.B), float64(scale(tr))/float64(n) // b⁰; s/N
		if bias {
			b = wide(memoryOf(tr, "origin."+l.Name+".bias"))
		}
		for k := range n {
			f := p.Factors(all[k*m.layout.Length : (k+1)*m.layout.Length])
			factor := mat.NewDense(out, r, wide(f.B.Data))
			var product mat.Dense
			product.Mul(factor, mat.NewDense(r, in, wide(f.A.Data)))
			product.Scale(share, &product)
			sum.Add(sum, &product)
			for j, x := range f.BiasB {
				b[j] += share * (float64(x) + mat.Dot(factor.RowView(j), mat.NewVecDense(r, wide(f.BiasA))))
			}
		}
		want := make([]float64, out*in)
		for j := range want {
			update.Set(j/in, j%in, float64(l.W.Float32()[j])-float64(memoryOf(tr, "origin."+l.Name+".weight")[j]))
			want[j] = float64(memoryOf(tr, "origin."+l.Name+".weight")[j]) + sum.At(j/in, j%in)
		}
		near(t, l.Name, l.W.Float32(), want, 1e-6)
		near(t, "bias of "+l.Name, l.B, b, 1e-6)
		if bias && far(l.B, memoryOf(tr, "origin."+l.Name+".bias"), 0.01) == nil {
			t.Fatal("b has hardly moved")
		}
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
