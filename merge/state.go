package merge

import (
	"fmt"

	"lte/checkpoint"
)

// State names the memory that later merges depend on; W, the heads' factors and their A' and B' are named by who owns them. It waits for
// a pending exchange, which is restored as one that has come. measured says that the estimates of the heads are still to be read.
func (m *Merger) State(s *checkpoint.State, measured bool) {
	s.Shared.Int("merges", &m.merges)
	for i, o := range m.origins {
		name := "origin." + m.Layout.Layers[i].Layer.Name
		s.Shared.Memory(name+".weight", string(o.W.Format()), o.W.Bytes())
		if o.B != nil {
			s.Shared.Floats(name+".bias", o.B)
		}
	}
	for i, v := range m.momentum.velocity {
		s.Shared.Floats("merge.velocity."+m.Layout.Layers[i].Layer.Name+".weight", v)
	}
	if m.Overlap {
		m.pendingState(s)
	}
	if !m.Shared {
		m.update.state(s, m.Overlap || measured)
		return
	}
	m.mean.state(s, m.Overlap)
	if m.Overlap {
		for i, x := range vectors(m.sending[:m.Own*m.Layout.Length], m.Own, m.Layout.Length) {
			s.Own.Floats(fmt.Sprintf(localEstimateName, m.nodes.Rank()*m.Own+i), x)
		}
	}
}

// pendingState names the pending exchange: nothing, before the first merge.
func (m *Merger) pendingState(s *checkpoint.State) {
	m.Settle()
	p := &m.restored
	p.statuses = append(p.statuses[:0], make([]Status, m.nodes.Size())...)
	p.Step, p.Steps = 0, 0
	if m.pending != nil {
		p.Step, p.Steps = m.pending.Step, m.pending.Steps
		copy(p.statuses, m.pending.statuses)
	}
	s.Shared.Int("pending.step", &p.Step)
	s.Shared.Int("pending.steps", &p.Steps)
	StatusState(&s.Shared, p.statuses)
}

// statusName is the name in State of a rank's loss in the pending exchange.
const statusName = "pending.%d.loss"

// StatusState names the losses of the pending exchange; where a rank has failed no checkpoint is written.
func StatusState(t *checkpoint.Tensors, statuses []Status) {
	for rank := range statuses {
		t.Real(fmt.Sprintf(statusName, rank), &statuses[rank].Loss)
	}
}

// IsStatus reports whether a name in State is that of a rank's loss.
func IsStatus(name string) bool {
	var rank int
	n, _ := fmt.Sscanf(name, statusName, &rank)
	return n == 1
}

// SetStatuses sets the loss of every rank in the pending exchange that State named.
func (m *Merger) SetStatuses(loss float64) {
	for rank := range m.restored.statuses {
		m.restored.statuses[rank] = Status{Loss: loss}
	}
}

// Restored follows the restoring of what State named.
func (m *Merger) Restored() {
	if p := m.restored; p.Steps > 0 {
		p.done = make(chan struct{})
		close(p.done)
		p.factors = m.sending
		if m.pending = &p; !m.Shared {
			m.update.gathered = true // those that had come
		}
	}
}

// state names the memory that later messages depend on. In fp32 that is nothing, unless received says that factors have come which are
// still to be read.
func (u *Update) state(s *checkpoint.State, received bool) {
	if u.wire == FP32 && !received {
		return
	}
	estimates := &s.Shared
	if len(u.slicesOf[u.group.Rank()]) > 0 { // with Rows each rank holds its own parts of the factors
		estimates = &s.Own
	}
	for k, x := range u.estimates {
		estimates.Floats(fmt.Sprintf(estimateName, k), x)
	}
	for i, x := range u.local {
		s.Own.Floats(fmt.Sprintf(localEstimateName, u.group.Rank()*len(u.local)+i), x)
	}
	if u.wire == FP32 || u.total == 0 {
		return
	}
	s.Own.Floats("exchange.sums.own", u.ownSums.estimate)
	s.Own.Floats("exchange.sums.incoming", u.flat)
	s.Own.Floats("exchange.sums.parts", u.ownParts.estimate)
	s.Shared.Floats("exchange.sums", u.sums)
}

// Formats of names in State, of head k: what all ranks hold of it, and what its owner takes its next change from.
const (
	estimateName      = "exchange.estimate.%d"
	localEstimateName = "exchange.local.%d"
)

// HeadOf returns the head that a name in State belongs to, if it belongs to one.
func HeadOf(name string) (k int, ok bool) {
	for _, format := range []string{estimateName, localEstimateName} {
		if n, _ := fmt.Sscanf(name, format, &k); n == 1 {
			return k, true
		}
	}
	return 0, false
}
