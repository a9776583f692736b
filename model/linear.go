package model

import (
	"lte/compute"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Linear is y = xWᵀ + b, W (out, in) and b (out). It can carry an adapter, the layer's part of a LoRA head; its
// passes then read the head's effective weight instead of W.
type Linear struct {
	Name string         // torchvision's name of the weight, without ".weight"
	W    blas32.General // (out, in)
	B    []float32      // (out)

	// Gradients of W and b; empty unless the model trains its weights.
	GradW blas32.General
	GradB []float32

	index   int             // of W among the model's parameters; b follows it
	adapter *Adapter        // nil: none
	weight  compute.Operand // (out, in): what passes read
	own     compute.Operand // (out, in): weight's memory where it is not W itself
	local   bool            // passes read the effective weight
	stale   bool            // weight is to be formed before it is read
	fresh   bool            // the next backward pass replaces gradients instead of adding to them
	backend compute.Backend
}

// Adapter returns the layer's share of the head that it carries, or nil.
func (l *Linear) Adapter() *Adapter { return l.adapter }

// use makes passes read the head's effective weight, where local is set and there is a head, or W. The next forward
// pass forms it, layer by layer: what it then reads is still in the cache.
func (l *Linear) use(local bool) { l.local, l.stale = local && l.adapter != nil, true }

func (l *Linear) form() {
	l.stale = false
	if l.local {
		l.adapter.formEffective(l.own)
		l.weight = l.own
		return
	}
	l.weight = compute.AsOperand(l.backend, l.own, l.W)
}

// Forward computes y = xWᵀ + b + beta·y for x (rows, in) and y (rows, out).
func (l *Linear) Forward(y, x compute.Operand, beta float32) {
	if l.stale {
		l.form()
	}
	l.backend.Affine(y, x, l.weight, l.B, beta)
}

// Backward computes dx = dy·W, unless dx has no rows, and adds the gradients of what trains. Of y = xWᵀ + b with
// G = dyᵀx: ∂L/∂W = G and ∂L/∂b = Σ dy.
func (l *Linear) Backward(dx, dy, x compute.Operand) {
	beta := float32(1)
	if l.fresh {
		beta, l.fresh = 0, false
	}
	if dx.Rows > 0 {
		l.backend.Gemm(blas.NoTrans, blas.NoTrans, 1, dy, l.weight, 0, dx)
	}
	if l.GradW.Data != nil {
		l.backend.Gemm(blas.Trans, blas.NoTrans, 1, dy, x, beta, compute.F32(l.GradW))
		l.backend.SumRows(l.GradB, dy)
	}
	if l.adapter != nil {
		l.adapter.backward(dy, x, beta)
	}
}
