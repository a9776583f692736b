package merge

import (
	"fmt"

	"lte/collective"
)

// Update brings to all ranks what a merge adds to W, Σ_k s·B_kA_k over all heads of every layer, as the layer's transport says:
//
//	Allgather   Factors: A and B of every head. Rows: A of every head, which all ranks need
//	Alltoall    Dense: block i of a rank's own sum to rank i. Rows: to rank i the rows of B that its rows of the sum are made of
//	            a rank adds up its blocks, in order of rank in float64, and forms its rows
//	Allgather   Dense and Rows: these parts of the sums
//
// Layers travel together; calls that none of them needs are not made. Everything travels as Wire says: there is an estimate x̂ of the
// factors, of each rank's own sums, and of the parts. Only with Factors do the bits not depend on how many ranks carry the heads: the
// others add up, and divide what travels, by rank.
type Update struct {
	*Exchange
	multiply  Product
	slicesOf  [][]span // (ranks): scheme.slices
	partsOf   [][]span // (ranks): scheme.parts
	ownParts  parts
	ownSums   vector             // the sums of Dense over this rank's heads
	incoming  [][]float32        // (ranks, block): the estimates of this rank's block of every rank's own sums
	flat      []float32          // the memory of incoming
	sums      []float32          // the estimates of all parts, in the node's memory
	assembled []float32          // scratch: a sum of which ranks form columns
	scatter   *collective.Blocks // the messages of the Alltoall
	gather    gatherBuffers      // the messages of the second Allgather
}

// vector is what this rank sends again and again, and its estimate; the latter is nil in fp32.
type vector struct{ value, estimate []float32 }

func newVector(a collective.Allocator, n int, w Wire) vector {
	v := vector{value: a.Floats(n)}
	if w != FP32 {
		v.estimate = a.Floats(n)
	}
	return v
}

// parts are this rank's parts of the sums, one after another.
type parts struct {
	vector
	spans []span // of the vector, one for each of scheme.parts
}

// Product sets dst (rows, columns) to s·b·a for a layer, with b (rows, inner) and a (inner, columns).
type Product func(dst []float32, layer, rows, columns, inner int, b, a []float32)

// NewUpdate makes an Update of layers that travel as transports say, one each. For the other arguments see NewExchange.
func NewUpdate(g collective.Group, layers []Factor, length, own int, w Wire, transports []Transport, multiply Product) (*Update, error) {
	s, a := newScheme(layers, length, own, g.Size(), w, transports), collective.AllocatorOf(g)
	e, err := newExchange(g, s)
	if err != nil {
		return nil, err
	}
	u := &Update{Exchange: e, multiply: multiply}
	if s.total > 0 {
		if err := u.allocate(a); err != nil {
			return nil, fmt.Errorf("merge: sums of the heads' updates: %w", err)
		}
	}
	if a.Counts() {
		return u, nil
	}
	me, at := g.Rank(), 0
	for rank := range s.ranks {
		u.slicesOf, u.partsOf = append(u.slicesOf, s.slices(rank)), append(u.partsOf, s.parts(rank))
	}
	for _, p := range u.partsOf[me] {
		u.ownParts.spans = append(u.ownParts.spans, span{at, at + p.length()})
		at += p.length()
	}
	if s.total > 0 {
		u.incoming = vectors(u.flat, s.ranks, s.block(me).length())
	}
	return u, nil
}

// reserveStacks allocates the scratch for the stacks of every layer, of which a rank forms its share of the rows where Factors travel.
func (u *Update) reserveStacks(a collective.Allocator, sharers int) {
	var most [2]float64
	var sizes [2][2]int // of A and B
	for i, f := range u.layers {
		inner, rows, columns := u.own*u.ranks*f.R, span{0, (f.M + sharers - 1) / sharers}, span{0, f.N}
		switch u.transports[i] {
		case Dense:
			inner, rows = u.own*f.R, span{0, f.M}
		case Rows:
			rows, columns = f.part(0, u.ranks)
		}
		for j, side := range []int{columns.length(), rows.length()} {
			if n := float64(inner) * float64(side); n > most[j] {
				most[j], sizes[j] = n, [2]int{inner, side}
			}
		}
	}
	u.stackA, u.stackB = a.Floats(sizes[0][:]...), a.Floats(sizes[1][:]...)
}

// allocate allocates the buffers of sums. Those of parts are the first rank's: no rank has more.
func (u *Update) allocate(a collective.Allocator) (err error) {
	largest := 0
	for _, p := range u.parts(0) {
		largest += p.length()
	}
	u.ownParts.vector, u.ownSums, u.assembled = newVector(a, largest, u.wire), newVector(a, u.dense, u.wire), a.Floats(u.columns)
	u.flat = a.Floats(u.ranks, u.block(0).length())
	messages := u.messages()
	if u.gather, err = newGatherBuffers(a, u.ranks, messages[2].Block); err != nil {
		return err
	}
	sums, err := a.Shared(4, u.total)
	if err != nil {
		return err
	}
	u.sums = collective.Floats(sums)
	u.scatter, err = collective.NewBlocks(u.group, messages[1].Block)
	return err
}

// Gather sends this rank's factors, (own, length), and status to all ranks, receives theirs, and has the sums formed. It returns the
// statuses in order of rank, valid until the next Gather; this rank's own is rounded as the others see it. Sum, or Stacks for a layer
// that has none, then return what W moves by.
func (u *Update) Gather(factors []float32, status Status) ([]Status, error) {
	statuses, err := u.Exchange.Gather(factors, status)
	if err != nil || u.total == 0 {
		return statuses, err
	}
	heads := vectors(factors, u.own, u.length)
	for i, head := range heads {
		for _, s := range u.summed {
			copy(u.local[i][s.from:s.to], head[s.from:s.to])
		}
	}
	if err := u.scatterSums(heads); err != nil {
		return nil, err
	}
	u.formParts()
	return statuses, u.gatherParts()
}

// scatterSums forms the sums of Dense over this rank's heads, and sends every rank its block of them and its slices of Rows.
func (u *Update) scatterSums(heads [][]float32) error {
	for i, f := range u.layers {
		if u.transports[i] == Dense {
			rows, columns := span{0, f.M}, span{0, f.N}
			a, b := u.stack(f, rows, columns, heads)
			u.multiply(u.ownSums.value[u.at[i]:u.at[i]+f.M*f.N], i, f.M, f.N, len(heads)*f.R, b, a)
		}
	}
	w, me, own := u.wire, u.group.Rank(), len(heads)
	send := u.scatter.Send()
	for rank := range u.ranks {
		rest := send[rank*u.scatter.Size():][:u.scatter.Size()]
		for i, head := range heads {
			rest = w.encodeSpans(rest, u.local[i], head, u.slicesOf[rank])
		}
		w.encodeSpans(rest, u.ownSums.estimate, u.ownSums.value, u.partsOf[rank][:1])
	}
	if err := u.scatter.Exchange(); err != nil {
		return fmt.Errorf("merge: sending parts of the update: %w", err)
	}
	for rank, block := range u.incoming {
		rest := u.scatter.Received(rank)
		if len(u.slicesOf[me]) > 0 {
			for _, head := range u.estimates[rank*own : (rank+1)*own] {
				rest = w.decodeSpans(head, rest, u.slicesOf[me])
			}
		}
		w.decodeSpans(block, rest, []span{{0, len(block)}})
	}
	return nil
}

// formParts forms this rank's parts of the sums.
func (u *Update) formParts() {
	me, spans := u.group.Rank(), u.ownParts.spans
	collective.SumParts(u.ownParts.value[:spans[0].to], u.incoming, 1)
	for i, f := range u.layers {
		if u.transports[i] != Rows {
			continue
		}
		spans = spans[1:]
		rows, columns := f.part(me, u.ranks)
		if dst := u.ownParts.value[spans[0].from:spans[0].to]; len(dst) > 0 {
			a, b := u.stack(f, rows, columns, u.estimates)
			u.multiply(dst, i, rows.length(), columns.length(), len(u.estimates)*f.R, b, a)
		}
	}
}

// gatherParts sends this rank's parts to all ranks and receives theirs.
func (u *Update) gatherParts() error {
	w := u.wire
	w.encodeSpans(u.gather.send, u.ownParts.estimate, u.ownParts.value, u.ownParts.spans)
	if err := u.group.AllgatherShared(u.gather.recv, u.gather.send); err != nil {
		return fmt.Errorf("merge: gathering parts of the update: %w", err)
	}
	for rank, to := collective.Part(u.group, u.ranks); rank < to; rank++ {
		w.decodeSpans(u.sums, u.gather.of(rank), u.partsOf[rank])
	}
	return u.group.NodeBarrier()
}

// Sum is Σ_k s·B_kA_k, (m, n), the same bits on all ranks; nil for a layer of Factors. It is scratch: valid until the next call.
func (u *Update) Sum(layer int) []float32 {
	f, t := u.layers[layer], u.transports[layer]
	if t == Factors {
		return nil
	}
	sum := u.sums[u.at[layer] : u.at[layer]+f.M*f.N]
	if t == Dense || !f.byColumns() {
		return sum
	}
	for rank := range u.ranks { // (m, columns of the rank) each
		_, columns := f.part(rank, u.ranks)
		n := columns.length()
		for i := range f.M {
			copy(u.assembled[i*f.N+columns.from:i*f.N+columns.to], sum[i*n:(i+1)*n])
		}
		sum = sum[f.M*n:]
	}
	return u.assembled[:f.M*f.N]
}

// ResetSums follows a merge with resets, after which the next sums begin at 0: W has taken the last ones up. The residual, what of them
// was not sent, is sent with the next ones.
func (u *Update) ResetSums() error {
	if u.wire == FP32 || u.total == 0 { // no residual
		return nil
	}
	if err := u.group.NodeBarrier(); err != nil { // all have read the sums
		return err
	}
	for _, v := range []vector{u.ownSums, u.ownParts.vector} {
		for i, x := range v.value {
			v.estimate[i] -= x
		}
	}
	clear(u.flat)
	from, to := collective.Part(u.group, u.total)
	clear(u.sums[from:to])
	return nil // nobody reads them before the next Gather
}
