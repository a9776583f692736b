package merge

import (
	"lte/collective"
	"lte/compute"
)

// A resume with another number of heads leaves W as it is. Without resets W is formed from another W⁰ from then on,
//
//	W⁰ ← W − (s/N')·Σ_{k < min(N, N')} B'_k A'_k
//
// with the new number N' (Share = 1: 1 in place of N'), so that the next merge, W ← W⁰ + (s/N')·Σ_k B_k A_k, adds to W what heads have
// learned since the last one, and nothing else. b⁰ likewise. With resets W is not formed from anything that is kept.

// With a shared basis nothing changes: B̄ is that of any heads, and heads that are added begin with it.

// FormsWeights reports whether W is formed from W⁰ and the number of heads: without resets or a shared basis.
func (m *Merger) FormsWeights() bool { return m.origins != nil && !m.Shared }

// OriginFromWeights sets W⁰ to W, and b⁰ to b: every rank of a node its rows.
func (m *Merger) OriginFromWeights() {
	for i, slot := range m.Layout.Layers {
		first, end := collective.Part(m.nodes, slot.Layer.W.Rows)
		m.origins[i].W.Write(first, slot.Layer.W.Read(first, end, &m.scratch[0]))
		copy(m.origins[i].B, slot.Layer.B)
	}
}

// Unmerge subtracts from W⁰ and b⁰ what a head's merged factors add to W and b: every rank of a node from its rows.
func (m *Merger) Unmerge(merged []float32) {
	for i, slot := range m.Layout.Layers {
		f, o := slot.Factors(merged), m.origins[i]
		first, end := collective.Part(m.nodes, slot.Layer.W.Rows)
		w, r := o.W.Read(first, end, &m.scratch[0]), slot.Rank
		m.Backend.AddProduct(compute.F32(w), w, -slot.Scale*m.Share, compute.Matrix(end-first, r, f.B.Data[first*r:end*r]), f.A)
		o.W.Write(first, w)
		if o.B != nil {
			f.AddBias(o.B, -slot.Scale*m.Share)
		}
	}
}

// AddHeads sets the estimates of the heads from number from on to what heads begin with.
func (m *Merger) AddHeads(from int) error {
	if m.Shared {
		first := m.nodes.Rank() * m.Own
		for i := max(0, from-first); i < m.Own && m.Overlap; i++ {
			copy(m.sending[i*m.Layout.Length:], m.mean.Value())
		}
		return nil
	}
	if !m.update.hasEstimates() || m.Wire == FP32 && !m.Overlap {
		return nil
	}
	err := m.update.SetEstimates(func(k int, head []float32) {
		if k >= from {
			m.InitialNow(head, k)
		}
	})
	if err == nil {
		m.resetLocalEstimates(from)
	}
	return err
}

// InitialNow sets the flat factors of a head that begins now to what it begins with.
func (m *Merger) InitialNow(head []float32, k int) {
	if m.Shared {
		copy(head, m.mean.Value())
		return
	}
	m.Initial(head, k, 0)
	if m.merges > 0 && m.Resets {
		m.Initial(head, k, m.merges)
	}
}
