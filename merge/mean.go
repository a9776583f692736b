package merge

import (
	"fmt"

	"lte/checkpoint"
	"lte/collective"
)

// Mean brings the mean x̄ of a flat vector x_k over all heads to all ranks, whatever their number, as two messages of the vector's length
// over the number of ranks P each. Heads that share a basis exchange their factors so. With x_p, the mean over a rank's own heads:
//
//	Alltoall     block i of x_p goes to rank i, which adds up the blocks in order of rank, in float64: y
//	Allgather    every node receives every block of y, once, and each rank's status
//
// Both travel as Wire says, as the change from x̄, which all ranks hold: x̂_p = x̄ + Q(x_p − x̄ + e_p), where e_p is what the last message did
// not bring, and likewise ŷ = x̄ + Q(y − x̄ + e_y). Then, with Nesterov momentum μ as in DiLoCo (Douillard et al., arXiv 2311.08105),
//
//	v ← μv + ŷ − x̄;  x̄ ← ŷ + μv
//
// with the same bits on all ranks. The bits depend on how many ranks carry the heads.
type Mean struct {
	group    collective.Group
	wire     Wire
	length   int
	own      int
	momentum float64

	mean, velocity []float32 // x̄ and v; the latter nil without momentum
	next           []float32 // ŷ, in the node's memory
	value, block   vector    // x_p, and this rank's block of y; their estimates are x̄ − e
	parts          []float32 // (ranks, block): every rank's x̂ of the block
	meanMessages
}

// meanMessages are the buffers of the messages, and the statuses that they bring.
type meanMessages struct {
	scatter  *collective.Blocks
	sendBuf  []byte // of the Allgather: a block, then a status
	recvBuf  []byte // (ranks, message), in the node's memory
	statuses []Status
}

// NewMean makes a mean of vectors of that length, own on each rank. The arguments are the same on all ranks. x̄ begins as zeros.
func NewMean(g collective.Group, length, own int, w Wire, momentum float64) (*Mean, error) {
	a, ranks := collective.AllocatorOf(g), g.Size()
	block, messages := share(length, 0, ranks).length(), MeanMessages(length, ranks, w) // of the first rank: none has more
	m := &Mean{group: g, wire: w, length: length, own: own, momentum: momentum, mean: a.Floats(length),
		value: newVector(a, length, w), block: newVector(a, block, w), parts: a.Floats(ranks, block),
		meanMessages: meanMessages{sendBuf: a.Bytes(messages[1].Block), statuses: make([]Status, ranks)}}
	if momentum > 0 {
		m.velocity = a.Floats(length)
	}
	next, err := a.Shared(4, length)
	if err == nil {
		m.recvBuf, err = a.Shared(ranks, messages[1].Block)
	}
	if err == nil {
		m.scatter, err = collective.NewBlocks(g, messages[0].Block)
	}
	if err != nil {
		return nil, fmt.Errorf("merge: buffers of the mean of factors: %w", err)
	}
	m.next = collective.Floats(next)
	return m, nil
}

// MeanMessages returns what each of so many ranks sends for a mean of vectors of that length.
func MeanMessages(length, ranks int, w Wire) []Message {
	block := w.Bytes(share(length, 0, ranks).length())
	return []Message{{Alltoall: true, Block: block}, {Block: block + StatusBytes}}
}

// Value is x̄ (length), the same bits on all ranks.
func (m *Mean) Value() []float32 { return m.mean }

// Set makes x̄ the vector, with no residuals and no velocity.
func (m *Mean) Set(x []float32) {
	copy(m.mean, x)
	clear(m.velocity)
	own := m.spanOf(m.group.Rank())
	copy(m.value.estimate, x)
	copy(m.block.estimate, x[own.from:own.to])
}

// spanOf is a rank's block of the vector.
func (m *Mean) spanOf(rank int) span { return share(m.length, rank, m.group.Size()) }

// Gather sends this rank's vectors, (own, length), and status, and receives the next x̄, which Step makes the present one. It returns the
// statuses in order of rank, valid until the next Gather; this rank's own is rounded as the others see it.
func (m *Mean) Gather(x []float32, status Status) ([]Status, error) {
	if len(x) != m.own*m.length {
		panic("merge: flat factors of another length")
	}
	collective.SumParts(m.value.value, vectors(x, m.own, len(m.mean)), float64(m.own))
	for rank := range m.statuses {
		m.wire.encodeSpans(m.scatter.Send()[rank*m.scatter.Size():], m.value.estimate, m.value.value, []span{m.spanOf(rank)})
	}
	if err := m.scatter.Exchange(); err != nil {
		return nil, fmt.Errorf("merge: sending parts of the mean of factors: %w", err)
	}
	own := m.spanOf(m.group.Rank())
	block := span{0, own.length()}
	parts := vectors(m.parts, len(m.statuses), own.length())
	for rank, part := range parts {
		copy(part, m.mean[own.from:own.to])
		m.wire.decodeSpans(part, m.scatter.Received(rank), []span{block})
	}
	collective.SumParts(m.block.value[:block.to], parts, float64(len(parts)))
	m.wire.encodeSpans(m.sendBuf, m.block.estimate, m.block.value, []span{block})
	status.put(m.sendBuf[len(m.sendBuf)-StatusBytes:])
	if err := m.group.AllgatherShared(m.recvBuf, m.sendBuf); err != nil {
		return nil, fmt.Errorf("merge: gathering the mean of factors: %w", err)
	}
	first, end := collective.Part(m.group, len(m.statuses))
	for rank := range m.statuses {
		message := m.recvBuf[rank*len(m.sendBuf):][:len(m.sendBuf)]
		m.statuses[rank] = statusOf(message[len(message)-StatusBytes:])
		if first <= rank && rank < end {
			at := m.spanOf(rank)
			copy(m.next[at.from:at.to], m.mean[at.from:at.to])
			m.wire.decodeSpans(m.next, message, []span{at})
		}
	}
	return m.statuses, m.group.NodeBarrier()
}

// Step makes the vector that the last Gather has brought the next x̄, with momentum.
func (m *Mean) Step() error {
	for i, y := range m.next {
		if m.velocity != nil {
			y += nesterov(m.momentum, &m.velocity[i], y-m.mean[i])
		}
		m.mean[i] = y
	}
	own := m.spanOf(m.group.Rank())
	m.value.rebase(m.mean)
	m.block.rebase(m.mean[own.from:own.to])
	return m.group.NodeBarrier() // all have read next
}

// rebase makes the estimate mean − e, where the residual e is what it lacks of the value.
func (v vector) rebase(mean []float32) {
	if v.estimate == nil {
		return
	}
	for i, x := range mean {
		v.estimate[i] = x - (v.value[i] - v.estimate[i])
	}
}

// state names the memory that later messages depend on. received says that a vector has come that is still to be read.
func (m *Mean) state(s *checkpoint.State, received bool) {
	s.Shared.Floats("mean.factors", m.mean)
	if m.velocity != nil {
		s.Shared.Floats("mean.velocity", m.velocity)
	}
	if received {
		s.Shared.Floats("mean.next", m.next)
	}
	if m.wire == FP32 {
		return
	}
	s.Own.Floats("mean.sent.estimate", m.value.estimate)
	s.Own.Floats("mean.block.estimate", m.block.estimate)
	if received {
		s.Own.Floats("mean.sent", m.value.value)
		s.Own.Floats("mean.block", m.block.value)
	}
}
