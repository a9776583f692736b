package merge

import (
	"fmt"

	"lte/collective"
)

// Status is what a rank reports about the interval that a merge ends.
type Status struct {
	Loss   float64 // mean over the interval
	Failed int     // step in the interval, counting from 1, of the first loss that was not finite; 0: none
}

// A Status travels behind the factors as two float32:
//
//	0  Loss, rounded to float32: NaN stays NaN, and a value that is too large becomes an infinity
//	1  Failed, as a number: exact up to 2²⁴, rounded above, never rounded to 0
const statusLen = 2

// StatusBytes is the length of an encoded Status.
const StatusBytes = 4 * statusLen

func (s Status) put(dst []byte) { // (StatusBytes)
	copy(dst, collective.Bytes([]float32{float32(s.Loss), float32(s.Failed)}))
}

func statusOf(src []byte) Status { // (StatusBytes)
	var f [statusLen]float32
	copy(collective.Bytes(f[:]), src)
	return Status{Loss: float64(f[0]), Failed: int(f[1])}
}

// Exchange gathers the factors of all heads: one message of each rank, which may own several heads, for the whole model. All ranks
// hold an estimate of each head, which is x̂ of Wire: the same bits, whichever rank owns the head.
type Exchange struct {
	*scheme
	group     collective.Group
	local     [][]float32   // (own, length): the estimates of this rank's heads, from which their next changes are taken
	estimates [][]float32   // (heads, length): of all heads, in the node's memory; none where only sums travel
	buffers   gatherBuffers // own heads, then a status
	statuses  []Status      // (ranks)
	stackA    []float32     // scratch of Stacks
	stackB    []float32
	gathered  bool // the estimates are those of the last Gather
}

// gatherBuffers are those of an AllgatherShared.
type gatherBuffers struct {
	send []byte // (message)
	recv []byte // (ranks, message), in the node's memory
}

func newGatherBuffers(a collective.Allocator, ranks, length int) (b gatherBuffers, err error) {
	b.send = a.Bytes(length)
	b.recv, err = a.Shared(ranks, length)
	return b, err
}

// of is the message of a rank.
func (b gatherBuffers) of(rank int) []byte { return b.recv[rank*len(b.send) : (rank+1)*len(b.send)] }

// NewExchange makes an exchange of flat slices of that length, which hold the layers' factors, own heads on each rank. The arguments
// are the same on all ranks. All estimates begin as zeros.
func NewExchange(g collective.Group, layers []Factor, length, own int, w Wire) (*Exchange, error) {
	return newExchange(g, newScheme(layers, length, own, g.Size(), w, make([]Transport, len(layers))))
}

func newExchange(g collective.Group, s *scheme) (*Exchange, error) {
	for _, f := range s.layers {
		if f.M < 0 || f.N < 0 || f.R < 0 || f.A < 0 || f.B < 0 || f.A+f.R*f.N > s.length || f.B+f.M*f.R > s.length {
			panic("merge: factors outside their slice")
		}
	}
	e, a := &Exchange{scheme: s, group: g}, collective.AllocatorOf(g)
	local := a.Floats(s.own, s.length)
	var err error
	if e.buffers, err = newGatherBuffers(a, s.ranks, s.messages()[0].Block); err != nil {
		return nil, fmt.Errorf("merge: receive buffer: %w", err)
	}
	var estimates []byte
	if s.hasEstimates() && !s.aliasesRecv() {
		if estimates, err = a.Shared(4, s.ranks, s.own, s.length); err != nil {
			return nil, fmt.Errorf("merge: estimates of all heads: %w", err)
		}
	}
	if a.Counts() {
		return e, nil
	}
	e.local, e.statuses = vectors(local, s.own, s.length), make([]Status, s.ranks)
	switch {
	case estimates != nil:
		e.estimates = vectors(collective.Floats(estimates), s.own*s.ranks, s.length)
	case s.hasEstimates():
		for rank := range s.ranks {
			e.estimates = append(e.estimates, vectors(collective.Floats(e.buffers.of(rank)), s.own, s.length)...)
		}
	}
	return e, nil
}

// vectors cuts flat into count vectors of that length.
func vectors(flat []float32, count, length int) (all [][]float32) {
	for i := range count {
		all = append(all, flat[i*length:(i+1)*length])
	}
	return all
}

// Gather sends this rank's factors, (own, length), and status to all ranks and receives theirs, in one Allgather. It returns the
// statuses in order of rank, valid until the next Gather; this rank's own is rounded as the others see it. Stacks and Estimate then
// return the gathered factors.
func (e *Exchange) Gather(factors []float32, status Status) ([]Status, error) {
	if len(factors) != e.own*e.length {
		panic("merge: flat factors of another length")
	}
	e.gathered = false
	rest := e.buffers.send
	for i, estimate := range e.local {
		rest = e.wire.encodeSpans(rest, estimate, factors[i*e.length:(i+1)*e.length], e.received)
	}
	status.put(rest)
	if err := e.group.AllgatherShared(e.buffers.recv, e.buffers.send); err != nil {
		return nil, fmt.Errorf("merge: gathering factors: %w", err)
	}
	e.gathered = true
	for rank := range e.statuses {
		e.statuses[rank] = statusOf(e.buffers.of(rank)[len(e.buffers.send)-StatusBytes:])
	}
	if e.aliasesRecv() || len(e.received) == 0 {
		return e.statuses, nil
	}
	from, to := collective.Part(e.group, len(e.statuses))
	for rank := from; rank < to; rank++ {
		rest := e.buffers.of(rank)
		for i := range e.own {
			rest = e.wire.decodeSpans(e.estimates[rank*e.own+i], rest, e.received)
		}
	}
	return e.statuses, e.group.NodeBarrier()
}

// Estimate is the flat factors of head k, which rank k/own owns, as all ranks hold them: the same bits everywhere. It is the node's
// memory, valid until the next Gather or SetEstimates.
func (e *Exchange) Estimate(k int) []float32 { return e.estimates[k] } // (length)

// SetEstimates has f change the estimates of all heads, on every node in the same way. The owner changes LocalEstimate itself. In fp32
// nothing depends on either.
func (e *Exchange) SetEstimates(f func(k int, head []float32)) error {
	if err := e.group.NodeBarrier(); err != nil { // nobody reads the former ones any more
		return err
	}
	for k, to := collective.Part(e.group, len(e.estimates)); k < to; k++ {
		f(k, e.estimates[k])
	}
	return e.group.NodeBarrier()
}

// LocalEstimate is what the next change of this rank's i-th head is taken from: the bits of Estimate, less the residual that a reset
// leaves to be sent.
func (e *Exchange) LocalEstimate(i int) []float32 { return e.local[i] } // (length)

// Stacks are the gathered factors of one layer as two matrices, the heads in order, so that one product merges all of them:
//
//	      ⎡ A_0 ⎤
//	a  =  ⎢  ⋮  ⎥  (N·r, n),    b = [ B_0 … B_{N−1} ]  (m, N·r),    b·a = Σ_k B_k A_k
//	      ⎣A_N−1⎦
//
// Here N is the number of heads, and b has the rows from..to-1 only. Both slices are scratch: valid until the next call.
func (e *Exchange) Stacks(layer, from, to int) (a, b []float32) {
	if !e.gathered {
		panic("merge: stacks of factors that were not gathered")
	}
	f := e.layers[layer]
	return e.stack(f, span{from, to}, span{0, f.N}, e.estimates)
}

// stack is Stacks of some heads, for those rows and columns of the product.
func (e *Exchange) stack(f Factor, rows, columns span, heads [][]float32) (a, b []float32) {
	m, n, inner := rows.length(), columns.length(), len(heads)*f.R
	e.stackA, e.stackB = grow(e.stackA, inner*n), grow(e.stackB, m*inner)
	a, b = e.stackA, e.stackB
	for k, head := range heads {
		for p := range f.R {
			copy(a[(k*f.R+p)*n:(k*f.R+p+1)*n], head[f.A+p*f.N+columns.from:])
		}
		for i := range m {
			copy(b[i*inner+k*f.R:i*inner+(k+1)*f.R], head[f.B+(rows.from+i)*f.R:])
		}
	}
	return a, b
}

// grow returns a buffer of that length: the one given if it is large enough.
func grow[T byte | float32](buffer []T, n int) []T {
	if cap(buffer) < n {
		return make([]T, n)
	}
	return buffer[:n]
}
