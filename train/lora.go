package train

import (
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/lora"
	"lte/merge"
	"lte/model"
	"lte/nn"
)

// lora trains one LoRA head (Hu et al., arXiv 2106.09685) on all ranks: y = x(W⁰ + s·BA)ᵀ + b, the gradients of A and B
// averaged every step. It never merges; W = W⁰ + s·BA is formed where evaluation, or the end, asks for it.
type loraMethod struct {
	*gradients
	*heads
}

// newLoRA makes one head, or a stack of several.
func newLoRA(c config.Config, g *collective.Meter, be compute.Backend, m *model.Model, stack int) (*loraMethod, error) {
	h, err := newHeads(c, be, m, 0, 1, stack, lora.CachedBase)
	if err != nil {
		return nil, err
	}
	all, err := newGradients(c, g, be, m, h.crew[0])
	if err != nil {
		return nil, err
	}
	l := &loraMethod{gradients: all, heads: h}
	l.worker.number = g.Rank()
	return l, nil
}

func (m *loraMethod) workers() []*worker { return m.heads.workers() }

func (m *loraMethod) settle() {
	m.heads.settle()
	m.worker.heads[0].Fold()
}

// apart cuts the stack into its heads: rows of A, columns of B.
func (m *loraMethod) apart(layer *nn.Linear) (all []lora.Factors) {
	p, ok := m.place(layer)
	if !ok {
		return nil
	}
	f, n := p.Factors(m.values), m.config.LoRA.Heads
	r := p.Rank / n
	for k := range n {
		a, b := f.A, f.B
		a.Rows, a.Data = r, a.Data[k*r*a.Stride:(k+1)*r*a.Stride]
		b.Cols, b.Data = r, b.Data[k*r:]
		all = append(all, lora.Factors{A: a, B: b})
	}
	return all
}

// merge has nothing to merge; it proves the lockstep now and then.
func (m *loraMethod) merge(step, k int, status merge.Status) (ended, error) {
	if status.Failed > 0 {
		return ended{}, m.blame(step-k+status.Failed, status.Loss)
	}
	if m.proveNow(step) {
		m.settle()
		return ended{status.Loss, k}, m.checker.check()
	}
	return ended{status.Loss, k}, nil
}
