package nn

import (
	"math/rand/v2"

	"lte/compute"
)

// MLP is fc2(drop(gelu(fc1(x)))).
type MLP struct {
	Fc1, Fc2 *Linear
	drop     *Dropout
	backend  compute.Backend

	// Kept for the backward pass.
	act  compute.Operand // (rows, hidden)
	dact compute.Operand // (rows, hidden): GELU's argument, then its derivative
}

// NewMLP returns an MLP of those two layers.
func NewMLP(fc1, fc2 *Linear, drop *Dropout, backend compute.Backend) MLP {
	return MLP{Fc1: fc1, Fc2: fc2, drop: drop, backend: backend}
}

// Init draws the weights Xavier uniform and the biases normal with σ = 1e-6, as torchvision and timm do.
func (m *MLP) Init(rng *rand.Rand) {
	for _, l := range []*Linear{m.Fc1, m.Fc2} {
		XavierUniform(l, rng)
		Normal(l.B, 1e-6, rng)
	}
}

// Allocate makes the buffers of passes of up to that many rows.
func (m *MLP) Allocate(alloc compute.Allocator, rows int) {
	hidden := m.Fc1.W.Rows
	m.act, m.dact = alloc.Operand(rows, hidden), alloc.Operand(rows, hidden)
}

// Hidden returns drop(gelu(fc1(x))), which fc2 is to read.
func (m *MLP) Hidden(x compute.Operand) compute.Operand {
	act, dact := m.act.First(x.Rows), m.dact.First(x.Rows)
	m.Fc1.Forward(dact, x, 0)
	m.backend.GELU(act, dact, dact)
	m.drop.hidden(act, dact)
	return act
}

// Backward computes dx from dout, the gradient of fc2's output, by way of scratch.
func (m *MLP) Backward(dx, dout, x, scratch compute.Operand) {
	dpre := scratch.Shape(x.Rows, m.Fc1.W.Rows)
	m.Fc2.Backward(dpre, dout, m.act.First(x.Rows))
	m.backend.Multiply(dpre, dpre, m.dact.First(x.Rows))
	m.Fc1.Backward(dx, dpre, x)
}
