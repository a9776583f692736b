package train

import (
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/model"
	"lte/random"
)

// lte is LoRA-the-Explorer without resets (Huh et al. 2024, algorithm 1 and the authors' code): rank k trains head k
// alone, and every K steps all ranks gather all heads' factors and apply
//
//	W ← W⁰ + (s/N)·Σ_k B_k A_k;  A'_k, B'_k ← A_k, B_k
//
// which is what W ← W + (s/N)·Σ_k (B_k A_k − B'_k A'_k) telescopes to, without its drift.
type lte struct {
	every    int
	group    collective.Group
	backend  compute.Backend
	model    *model.ViT
	head     *model.Head
	w0       [][]float32 // W⁰ of every layer, (out, in)
	factors  *collective.Exchange
	mergings int
}

func newLTE(c config.Config, g collective.Group, be compute.Backend, v *model.ViT) (*lte, error) {
	if c.LTE.Alpha == 0 {
		panic("train: configuration without lora alpha (config.Resolve)")
	}
	// Head k's stream does not know N: the head is the same in every run of that seed.
	rng := random.Stream(c.Seed, "head", uint64(g.Rank()))
	head, err := v.AttachHead(model.HeadConfig{Rank: c.LTE.Rank, Alpha: c.LTE.Alpha, Init: c.LTE.Init}, rng)
	if err != nil {
		return nil, &config.Error{Problem: err.Error(), Keys: []string{"lte.rank"}, Err: err}
	}
	m := &lte{every: c.LTE.MergeEvery, group: g, backend: be, model: v, head: head}
	var layout []collective.Factor
	at := 0
	for _, l := range v.Layers() {
		m.w0 = append(m.w0, append([]float32(nil), l.W.Data...))
		f := collective.Factor{A: at, M: l.W.Rows, N: l.W.Cols, R: l.Adapter().A.Rows}
		f.B = at + f.R*f.N
		at = f.B + f.M*f.R
		layout = append(layout, f)
	}
	m.factors = collective.NewExchange(g, layout, len(head.Value))
	return m, nil
}

func (m *lte) interval() int { return m.every }
func (m *lte) merges() int   { return m.mergings }

// trained: decay pulls the factors towards 0, and so W towards W⁰ (algorithm.md, decay = "factors").
func (m *lte) trained() parameters {
	return parameters{m.head.Value, m.head.Grad, []span{{0, len(m.head.Value), true}}}
}

// exchange: a local step talks to nobody.
func (m *lte) exchange(loss float64) (float64, error) { return loss, nil }

func (m *lte) merge(step int, status collective.Status) (float64, error) {
	statuses, err := m.factors.Gather(m.head.Value, status)
	if err != nil {
		return 0, err
	}
	if err := failure(step, m.every, statuses); err != nil {
		return 0, err
	}
	mean := 0.0
	for _, s := range statuses {
		mean += s.Loss / float64(len(statuses))
	}
	n := m.group.Size()
	for i, l := range m.model.Layers() {
		a, b := m.factors.Stacks(i) // (N·r, in), (out, N·r)
		stack := n * l.Adapter().A.Rows
		w0 := compute.Matrix(l.W.Rows, l.W.Cols, m.w0[i])
		m.backend.AddProduct(compute.F32(l.W), w0, m.head.Scale/float32(n), compute.Matrix(l.W.Rows, stack, b), compute.Matrix(stack, l.W.Cols, a))
	}
	copy(m.head.Merged, m.head.Value)
	m.model.Rebase()
	m.mergings++
	return mean, lockstep(m.group, m.model)
}

// failure finds the ranks that met the first number that is not finite, in the interval that ended before step.
func failure(step, every int, statuses []collective.Status) error {
	var e *NonFiniteError
	for k, s := range statuses {
		if s.Failed == 0 {
			continue
		}
		at := (step-1)/every*every + s.Failed
		switch {
		case e == nil || at < e.Step:
			e = &NonFiniteError{Step: at, Ranks: []int{k}, Loss: s.Loss}
		case at == e.Step:
			e.Ranks = append(e.Ranks, k)
		}
	}
	if e == nil {
		return nil
	}
	return e
}
