package model

import (
	"lte/compute"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Linear is y = xWᵀ + b, W (out, in) and b (out). It can carry adapters, a layer's parts of LoRA heads; its passes then
// compute with the heads' effective weights instead of W.
type Linear struct {
	Name string         // the library's name of the weight, without ".weight"
	W    blas32.General // (out, in)
	B    []float32      // (out)

	// Gradients of W and b; empty unless they train.
	GradW blas32.General
	GradB []float32

	trainsWeight, trainsBias bool

	index    int  // of W among the model's parameters; b follows it
	perImage int  // rows of a pass for one image
	outer    bool // a side of W is set by the images or classes, not by the model's configuration

	heads   []*Adapter      // whose effective weights passes compute with, each for an equal share of the rows; none: W
	weight  compute.Operand // (out, in): what passes read
	own     compute.Operand // (out, in): weight's memory where it is not W or a head's base
	stale   bool            // weight is to be formed before it is read
	fresh   bool            // the next backward pass replaces gradients instead of adding to them
	backend compute.Backend
}

// Trains says whether W and b train as they are.
func (l *Linear) Trains() (weight, bias bool) { return l.trainsWeight, l.trainsBias }

// use makes passes compute with the effective weights of those heads' adapters, or with W. The next forward pass forms
// them, layer by layer: what it then reads is still in the cache.
func (l *Linear) use(heads []*Adapter) { l.heads, l.stale = heads, true }

func (l *Linear) form() {
	l.stale = false
	base := l.W
	for _, a := range l.heads {
		a.prepare()
		base = a.from() // W for all of several heads
	}
	if len(l.heads) == 1 && !l.heads[0].thin {
		l.heads[0].formEffective(l.own)
		l.weight = l.own
		return
	}
	l.weight = compute.AsOperand(l.backend, l.own, base)
}

// Forward computes y = xWᵀ + b + beta·y for x (rows, in) and y (rows, out).
func (l *Linear) Forward(y, x compute.Operand, beta float32) {
	if l.stale {
		l.form()
	}
	if len(l.heads) == 0 || l.heads[0].bias == nil { // one product for all heads
		l.backend.Linear(y, x, l.weight, l.B, beta)
	}
	for i, a := range l.heads {
		y, x := share(y, i, len(l.heads)), share(x, i, len(l.heads))
		if a.bias != nil {
			l.backend.Linear(y, x, l.weight, a.bias, beta)
		}
		if a.thin {
			a.forward(y, x)
		}
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
		l.backend.LinearBackwardInput(dx, dy, l.weight)
	}
	if l.GradW.Data != nil {
		l.backend.Gemm(blas.Trans, blas.NoTrans, 1, dy, x, beta, compute.F32(l.GradW))
	}
	if l.GradB != nil {
		l.backend.SumRows(l.GradB, dy)
	}
	for i, a := range l.heads {
		n := len(l.heads)
		a.backward(share(dx, i, n), share(dy, i, n), share(x, i, n), beta)
	}
}

// share returns the i-th of n equal parts of o's rows.
func share(o compute.Operand, i, n int) compute.Operand {
	rows := o.Rows / n
	return o.Range(i*rows, (i+1)*rows)
}
