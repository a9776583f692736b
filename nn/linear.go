package nn

import (
	"lte/compute"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Linear is y = xWᵀ + b, W (out, in) and b (out). While it uses adapters, its passes compute with their weights instead.
type Linear struct {
	Name string          // the library's name of the weight, without ".weight"
	W    compute.Weights // (out, in)
	B    []float32       // (out)
	gradients

	RowsPerImage int  // of x in a pass
	DataSized    bool // a side of W is set by the images or the classes, not by the model's configuration

	adapters []Adapter // each for an equal share of the rows; none: W
	formed   formedWeight
	backend  compute.Backend
}

// gradients are those of W and b, and whether W and b train.
type gradients struct {
	GradW blas32.General // empty unless W trains
	GradB []float32      // nil unless b trains

	weightTrains, biasTrains bool
	fresh                    bool // the next backward pass replaces gradients instead of adding to them
}

// formedWeight is the weight (out, in) that passes read.
type formedWeight struct {
	weight compute.Operand
	own    compute.Operand // weight's memory where it is not that of W or of an adapter
	stale  bool            // weight is to be formed before it is read
}

// Adapter gives a Linear other weights, y = xW_kᵀ + b_k, in one of two ways: it forms W_k, which passes then read as they would
// read W; or W_k = M + U, where passes read M and the adapter adds what is due to the update U: xUᵀ to y, dy·U to dx. Package lora
// has an implementation.
type Adapter interface {
	// Prepare is called before the first pass after a change, and returns M (out, in). Adapters that share a pass have one M.
	Prepare() (m compute.Weights)
	// FormWeight writes W_k into dst (out, in), or returns false where passes read M.
	FormWeight(dst compute.Operand) bool
	// Bias returns b_k (out), nil where it is the layer's.
	Bias() []float32
	// Forward adds xUᵀ to y.
	Forward(y, x compute.Operand)
	// Backward adds dy·U to dx, unless dx has no rows, and computes the gradients of what U consists of, for beta 0 (they are
	// replaced) or 1 (added to).
	Backward(dx, dy, x compute.Operand, beta float32)
}

// NewLinear returns a layer with W of that shape and format: memory for it, and B, are to be set.
func NewLinear(name string, w compute.Weights, rowsPerImage int, backend compute.Backend) *Linear {
	return &Linear{Name: name, W: w, RowsPerImage: rowsPerImage, backend: backend}
}

// Trains says whether W and b train themselves.
func (l *Linear) Trains() (weight, bias bool) { return l.weightTrains, l.biasTrains }

// SetTrainable says whether W and b train, and gives those that do their gradients' memory.
func (l *Linear) SetTrainable(weight, bias bool, gradW, gradB []float32) {
	l.gradients = gradients{GradB: gradB, weightTrains: weight, biasTrains: bias, fresh: l.fresh}
	if gradW != nil {
		l.GradW = compute.Matrix(l.W.Rows, l.W.Cols, gradW)
	}
}

// ReserveWeight allocates the memory of a weight that is formed or rounded, once.
func (l *Linear) ReserveWeight(alloc compute.Allocator) {
	alloc.Grow(&l.formed.own, l.W.Rows, l.W.Cols)
}

// ZeroGrad makes the next backward pass replace the gradients of the weight and of the adapters.
func (l *Linear) ZeroGrad() { l.fresh = true }

// Use makes passes compute with those adapters, or without any with W. The next forward pass forms the weight, layer by layer: what it
// then reads is still in the cache. Several adapters share the weight M, so none of them forms another.
func (l *Linear) Use(adapters ...Adapter) {
	l.adapters, l.formed.stale = append(l.adapters[:0], adapters...), true
}

// Adapters returns those in use.
func (l *Linear) Adapters() []Adapter { return l.adapters }

func (l *Linear) formWeight() {
	l.formed.stale = false
	m := l.W
	for _, a := range l.adapters {
		m = a.Prepare()
	}
	if len(l.adapters) == 1 && l.adapters[0].FormWeight(l.formed.own) {
		l.formed.weight = l.formed.own
		return
	}
	l.formed.weight = m.Operand(l.backend, l.formed.own)
}

// Forward computes y = xWᵀ + b + beta·y for x (rows, in) and y (rows, out).
func (l *Linear) Forward(y, x compute.Operand, beta float32) {
	if l.formed.stale {
		l.formWeight()
	}
	if len(l.adapters) == 0 || l.adapters[0].Bias() == nil { // one product for all adapters
		l.backend.Linear(y, x, l.formed.weight, l.B, beta)
	}
	for i, a := range l.adapters {
		y, x := share(y, i, len(l.adapters)), share(x, i, len(l.adapters))
		if bias := a.Bias(); bias != nil {
			l.backend.Linear(y, x, l.formed.weight, bias, beta)
		}
		a.Forward(y, x)
	}
}

// Backward computes dx = dy·W, unless dx has no rows, and adds the gradients of what trains. Of y = xWᵀ + b with
// G = dyᵀx: ∂L/∂W = G and ∂L/∂b = Σ dy.
func (l *Linear) Backward(dx, dy, x compute.Operand) {
	beta := float32(1)
	if l.fresh {
		beta, l.fresh = 0, false
	}
	if dx.Rows > 0 {
		l.backend.LinearBackwardInput(dx, dy, l.formed.weight)
	}
	if l.GradW.Data != nil {
		l.backend.Gemm(blas.Trans, blas.NoTrans, 1, dy, x, beta, compute.F32(l.GradW))
	}
	if l.GradB != nil {
		l.backend.SumRows(l.GradB, dy)
	}
	for i, a := range l.adapters {
		n := len(l.adapters)
		a.Backward(share(dx, i, n), share(dy, i, n), share(x, i, n), beta)
	}
}

// share returns the i-th of n equal parts of o's rows.
func share(o compute.Operand, i, n int) compute.Operand {
	rows := o.Rows / n
	return o.Range(i*rows, (i+1)*rows)
}
