package model

import "lte/compute"

// mlp is fc2(drop(gelu(fc1(x)))).
type mlp struct {
	fc1, fc2 *Linear
	drop     *dropout
	backend  compute.Backend

	// Kept for the backward pass.
	act  compute.Operand // (rows, hidden)
	dact compute.Operand // (rows, hidden): GELU's argument, then its derivative
}

// mlp registers the two layers, of that many rows an image.
func (b *builder) mlp(first, second string, width, hidden, rows int) mlp {
	m := b.model
	return mlp{fc1: b.linear(first, hidden, width, rows), fc2: b.linear(second, width, hidden, rows), drop: &m.drop,
		backend: m.backend}
}

func (m *mlp) allocate(rows int) {
	d, hidden := m.backend.DType(), m.fc1.W.Rows
	m.act, m.dact = compute.NewOperand(d, rows, hidden), compute.NewOperand(d, rows, hidden)
}

// hidden returns drop(gelu(fc1(x))), which fc2 is to read.
func (m *mlp) hidden(x compute.Operand) compute.Operand {
	act, dact := m.act.First(x.Rows), m.dact.First(x.Rows)
	m.fc1.Forward(dact, x, 0)
	m.backend.GELU(act, dact, dact)
	m.drop.hidden(act, dact)
	return act
}

// backward computes dx from dout, the gradient of fc2's output, by way of scratch.
func (m *mlp) backward(dx, dout, x, scratch compute.Operand) {
	dpre := scratch.Shape(x.Rows, m.fc1.W.Rows)
	m.fc2.Backward(dpre, dout, m.act.First(x.Rows))
	m.backend.Multiply(dpre, dpre, m.dact.First(x.Rows))
	m.fc1.Backward(dx, dpre, x)
}
