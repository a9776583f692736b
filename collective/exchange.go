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

func (s Status) put(dst []float32) { // (statusLen)
	dst[0], dst[1] = float32(s.Loss), float32(s.Failed)
}

func statusOf(src []float32) Status { // (statusLen)
	return Status{Loss: float64(src[0]), Failed: int(src[1])}
}

// Exchange gathers every head's factors for the merge: one message a rank, which may own several heads, for the whole model.
type Exchange struct {
	group    Group
	layers   []Factor
	length   int       // of one head's flat factors
	own      int       // heads of a rank
	mine     []float32 // (own·length + statusLen), what this rank sends
	all      []float32 // (ranks, own·length + statusLen), what came, in order of rank
	statuses []Status  // (ranks)
	a, b     []float32 // the stacks of the layer asked for last; room for the largest
	gathered bool      // all holds what came
}

// NewExchange makes an exchange of flat factor slices of that length, in which the layers lie, own of them a rank. All are the same
// on all ranks.
func NewExchange(g Group, layers []Factor, length, own int) *Exchange {
	heads := own * g.Size()
	var a, b int // elements in the largest stack
	for _, f := range layers {
		if f.M < 0 || f.N < 0 || f.R < 0 || f.A < 0 || f.B < 0 || f.A+f.R*f.N > length || f.B+f.M*f.R > length {
			panic("collective: factors outside their slice")
		}
		a, b = max(a, heads*f.R*f.N), max(b, heads*f.R*f.M)
	}
	return &Exchange{
		group:    g,
		layers:   layers,
		length:   length,
		own:      own,
		mine:     make([]float32, own*length+statusLen),
		all:      make([]float32, g.Size()*(own*length+statusLen)),
		statuses: make([]Status, g.Size()),
		a:        make([]float32, a),
		b:        make([]float32, b),
	}
}

// Gather sends this rank's factors, (own, length), and status to all ranks and receives theirs, in one Allgather. It returns the
// statuses in order of rank, this rank's own as the others see it, valid until the next Gather. The factors are for Stacks and Head.
func (e *Exchange) Gather(factors []float32, status Status) ([]Status, error) {
	if len(factors) != e.own*e.length {
		panic("collective: flat factors of another length")
	}
	e.gathered = false
	copy(e.mine, factors)
	status.put(e.mine[len(factors):])
	if err := Allgather(e.group, e.all, e.mine); err != nil {
		return nil, fmt.Errorf("collective: gathering factors: %w", err)
	}
	e.gathered = true
	for k := range e.statuses {
		e.statuses[k] = statusOf(e.rank(k)[e.own*e.length:])
	}
	return e.statuses, nil
}

// rank is what rank k sent.
func (e *Exchange) rank(k int) []float32 { // (own·length + statusLen)
	n := e.own*e.length + statusLen
	return e.all[k*n : (k+1)*n]
}

// Head is the gathered flat factors of head k, which rank k/own owns. They are valid until the next Gather.
func (e *Exchange) Head(k int) []float32 { // (length)
	at := k % e.own * e.length
	return e.rank(k / e.own)[at : at+e.length]
}

// Stacks are the gathered factors of one layer as two matrices, the heads in order, so that one product merges all of them:
//
//	      ⎡ A_0 ⎤
//	a  =  ⎢  ⋮  ⎥  (N·r, n),    b = [ B_0 … B_{N−1} ]  (m, N·r),    b·a = Σ_k B_k A_k
//	      ⎣A_N−1⎦
//
// Here N is the number of heads. Both slices are scratch: valid until the next call of Stacks.
func (e *Exchange) Stacks(layer int) (a, b []float32) {
	if !e.gathered {
		panic("collective: stacks of factors that were not gathered")
	}
	f, heads := e.layers[layer], e.own*len(e.statuses)
	a, b = e.a[:heads*f.R*f.N], e.b[:f.M*heads*f.R]
	for k := range heads {
		head := e.Head(k)
		copy(a[k*f.R*f.N:], head[f.A:f.A+f.R*f.N])
		for i := range f.M {
			from := f.B + i*f.R
			copy(b[(i*heads+k)*f.R:], head[from:from+f.R])
		}
	}
	return a, b
}
