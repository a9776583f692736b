package collective

import "fmt"

// Factor is where the factors of one layer lie in a head's flat slice. The layer is y = x(W + s·BA)ᵀ.
type Factor struct {
	A, B    int // offsets: A is (R, N) at A, B is (M, R) at B, both row by row
	M, N, R int // outputs, inputs, rank
}

// Status is what a head says of the interval that ends with this merge.
type Status struct {
	Loss   float64 // mean over the interval
	Failed int     // step in the interval, counting from 1, of the first loss that was not finite; 0: none was
}

// A Status travels behind the factors as two float32:
//
//	0  Loss, rounded to float32: NaN stays NaN, and what is too large becomes an infinity
//	1  Failed, as a number: exact to 2²⁴, rounded above, never rounded to 0
const statusLen = 2

func (s Status) put(dst []byte) { // (4·statusLen)
	copy(dst, raw([]float32{float32(s.Loss), float32(s.Failed)}))
}

func statusOf(src []byte) Status { // (4·statusLen)
	var f [statusLen]float32
	copy(raw(f[:]), src)
	return Status{Loss: float64(f[0]), Failed: int(f[1])}
}

// part is what a rank forms of the layer's update where ranks share it out: rows of the longer side, or columns.
func (f Factor) part(rank, ranks int) (rows, columns span) {
	if f.byColumns() {
		return span{0, f.M}, share(f.N, rank, ranks)
	}
	return share(f.M, rank, ranks), span{0, f.N}
}

func (f Factor) byColumns() bool { return f.M < f.N }

// Exchange gathers every head's factors for the merge: one message a rank, which may own several heads, for the whole model. What
// the factors are to all ranks is x̂ of Wire, of each head by itself: the same bits on whatever rank the head is.
type Exchange struct {
	group    Group
	wire     Wire
	layers   []Factor
	length   int         // of one head's flat factors
	spans    []span      // what of them is gathered
	own      int         // heads of a rank
	sent     [][]float32 // (own, length): x̂ of this rank's heads, from which their next changes are taken
	held     [][]float32 // (heads, length): x̂ of all heads, the node's
	lie      bool        // in came, as they came: in fp32, where all is gathered
	mine     []byte      // (message), what this rank sends: own messages of a head, and a status
	came     []byte      // (ranks, message), what came, in order of rank; the node's
	statuses []Status    // (ranks)
	a, b     []float32   // the stacks asked for last
	gathered bool        // held is of what came
}

// NewExchange makes an exchange of flat factor slices of that length, in which the layers lie, own of them a rank. All are the same
// on all ranks. The factors that all ranks hold begin as zeros: see Head and Sent.
func NewExchange(g Group, layers []Factor, length, own int, w Wire) (*Exchange, error) {
	e, err := newExchange(g, layers, length, own, w, []span{{0, length}})
	if err == nil {
		err = e.hold()
	}
	return e, err
}

// newExchange makes an exchange that gathers the spans of factor slices.
func newExchange(g Group, layers []Factor, length, own int, w Wire, spans []span) (*Exchange, error) {
	for _, f := range layers {
		if f.M < 0 || f.N < 0 || f.R < 0 || f.A < 0 || f.B < 0 || f.A+f.R*f.N > length || f.B+f.M*f.R > length {
			panic("collective: factors outside their slice")
		}
	}
	heads := own * g.Size()
	message := own*w.bytesOf(spans) + 4*statusLen
	came, err := byteMemory(g, g.Size()*message)
	if err != nil {
		return nil, fmt.Errorf("collective: room for what comes: %w", err)
	}
	e := &Exchange{
		group:    g,
		wire:     w,
		layers:   layers,
		length:   length,
		spans:    spans,
		own:      own,
		sent:     vectors(make([]float32, own*length), own, length),
		lie:      w == FP32 && len(spans) == 1 && spans[0] == span{0, length},
		mine:     make([]byte, message),
		came:     came,
		statuses: make([]Status, g.Size()),
	}
	if e.lie {
		for k := range heads {
			at := k/own*message/4 + k%own*length
			e.held = append(e.held, numbers(came)[at:at+length])
		}
		return e, nil
	}
	return e, nil
}

// hold makes room for x̂ of all ranks' heads, where they do not lie where they came.
func (e *Exchange) hold() error {
	if e.lie {
		return nil
	}
	heads := e.own * e.group.Size()
	held, err := Memory(e.group, heads*e.length)
	if err != nil {
		return fmt.Errorf("collective: room for the heads of all ranks: %w", err)
	}
	e.held = vectors(held, heads, e.length)
	return nil
}

// vectors cuts flat into count vectors of that length.
func vectors(flat []float32, count, length int) (all [][]float32) {
	for i := range count {
		all = append(all, flat[i*length:(i+1)*length])
	}
	return all
}

// Gather sends this rank's factors, (own, length), and status to all ranks and receives theirs, in one Allgather. It returns the
// statuses in order of rank, this rank's own as the others see it, valid until the next Gather. The factors are for Stacks and Head.
func (e *Exchange) Gather(factors []float32, status Status) ([]Status, error) {
	if len(factors) != e.own*e.length {
		panic("collective: flat factors of another length")
	}
	e.gathered = false
	rest := e.mine
	for i, sent := range e.sent {
		rest = e.wire.encodeSpans(rest, sent, factors[i*e.length:(i+1)*e.length], e.spans)
	}
	status.put(rest)
	if err := e.group.AllgatherShared(e.came, e.mine); err != nil {
		return nil, fmt.Errorf("collective: gathering factors: %w", err)
	}
	e.gathered = true
	for rank := range e.statuses {
		e.statuses[rank] = statusOf(e.cameFrom(rank)[len(e.mine)-4*statusLen:])
	}
	if e.lie || len(e.spans) == 0 {
		return e.statuses, nil
	}
	from, to := Part(e.group, len(e.statuses))
	for rank := from; rank < to; rank++ {
		rest := e.cameFrom(rank)
		for i := range e.own {
			rest = e.wire.decodeSpans(e.held[rank*e.own+i], rest, e.spans)
		}
	}
	return e.statuses, e.group.NodeBarrier()
}

func (e *Exchange) cameFrom(rank int) []byte { return e.came[rank*len(e.mine) : (rank+1)*len(e.mine)] }

// Head is the flat factors of head k, which rank k/own owns, as all ranks hold them: what was sent, the same bits everywhere. It is
// the node's, valid until the next Gather or Change.
func (e *Exchange) Head(k int) []float32 { return e.held[k] } // (length)

// Holds says whether ranks hold anything of heads: not where sums alone travel.
func (e *Exchange) Holds() bool { return len(e.held) > 0 }

// Change has f make what all ranks hold of a head something else, where heads begin anew: f is called for every head on every node,
// and does the same everywhere; it is not called where nothing is held of heads. The owner changes what Sent returns by itself. In fp32 nothing depends on either.
func (e *Exchange) Change(f func(k int, head []float32)) error {
	if err := e.group.NodeBarrier(); err != nil { // nobody reads what was there before
		return err
	}
	for k, to := Part(e.group, len(e.held)); k < to; k++ {
		f(k, e.held[k])
	}
	return e.group.NodeBarrier()
}

// Sent is what the next change of this rank's i-th head is taken from: the bits of Head, less what the receivers are still owed.
func (e *Exchange) Sent(i int) []float32 { return e.sent[i] } // (length)

// Stacks are the gathered factors of one layer as two matrices, the heads in order, so that one product merges all of them:
//
//	      ⎡ A_0 ⎤
//	a  =  ⎢  ⋮  ⎥  (N·r, n),    b = [ B_0 … B_{N−1} ]  (m, N·r),    b·a = Σ_k B_k A_k
//	      ⎣A_N−1⎦
//
// Here N is the number of heads, and of b there are the rows from..to-1 alone. Both slices are scratch: valid until the next call of
// Stacks.
func (e *Exchange) Stacks(layer, from, to int) (a, b []float32) {
	if !e.gathered {
		panic("collective: stacks of factors that were not gathered")
	}
	f := e.layers[layer]
	return e.stack(f, span{from, to}, span{0, f.N}, e.held)
}

// stack is Stacks of these heads, for those rows and columns of the product.
func (e *Exchange) stack(f Factor, rows, columns span, heads [][]float32) (a, b []float32) {
	m, n, wide := rows.length(), columns.length(), len(heads)*f.R
	e.a, e.b = room(e.a, wide*n), room(e.b, m*wide)
	a, b = e.a, e.b
	for k, head := range heads {
		for p := range f.R {
			copy(a[(k*f.R+p)*n:(k*f.R+p+1)*n], head[f.A+p*f.N+columns.from:])
		}
		for i := range m {
			copy(b[i*wide+k*f.R:i*wide+(k+1)*f.R], head[f.B+(rows.from+i)*f.R:])
		}
	}
	return a, b
}
