package model

import (
	"fmt"

	"lte/compute"
	"lte/nn"

	"gonum.org/v1/gonum/blas/blas32"
)

// mixerBlock mixes tokens, then channels (the paper's equation 1): x += tokens(ln1(x)ᵀ)ᵀ; x += channels(ln2(x)), x an
// image's (tokens, width). Dropout is where timm's Mlp has it, behind GELU and fc2 of both.
type mixerBlock struct {
	ln1, ln2         *nn.LayerNorm
	tokens, channels nn.MLP
	across, along    nn.Residual // where the two branches join
	backend          compute.Backend

	in compute.Operand // (batch·width, tokens): ln1(x)ᵀ, kept for the backward pass
}

// mixerWork is scratch that all blocks share.
type mixerWork struct {
	normed blas32.General  // (rows, width): LayerNorm's value where it is not x̂
	mixed  blas32.General  // (batch·width, tokens): the token MLP's value, then the gradient of what it read
	branch blas32.General  // (rows, width): mixed, tokens first again
	dmixed compute.Operand // (batch·width, tokens)
	dnorm  compute.Operand // (rows, width)
	mlp    compute.Operand // (rows, MLP) or (batch·width, token MLP): the gradient of a hidden layer
	dx     compute.Operand // (rows, width): the residual stream's gradient where products do not read float32
}

func newMixerWork(alloc compute.Allocator, batch int, c Config) mixerWork {
	t := c.patches()
	rows, turned := batch*t, batch*c.Width
	w := mixerWork{mixed: alloc.Matrix(turned, t), branch: alloc.Matrix(rows, c.Width), dmixed: alloc.Operand(turned, t),
		dnorm: alloc.Operand(rows, c.Width), mlp: alloc.Operand(1, max(rows*c.MLP, turned*c.TokenMLP))}
	if c.NormAffine {
		w.normed = alloc.Matrix(rows, c.Width)
	}
	if alloc.Rounds() {
		w.dx = alloc.Operand(rows, c.Width)
	}
	return w
}

func (m *Model) mixerBlock(i int) *mixerBlock {
	c := m.config
	t, at := c.patches(), fmt.Sprintf("blocks.%d.", i)
	o := &mixerBlock{across: m.residual(i), along: m.residual(i), backend: m.backend}
	o.ln1 = m.norm(at + "norm1")
	o.tokens = m.mlp(at+"mlp_tokens.fc1", at+"mlp_tokens.fc2", t, c.TokenMLP, c.Width)
	o.tokens.Fc1.DataSized, o.tokens.Fc2.DataSized = true, true
	o.ln2 = m.norm(at + "norm2")
	o.channels = m.mlp(at+"mlp_channels.fc1", at+"mlp_channels.fc2", c.Width, c.MLP, t)
	return o
}

func (b *mixerBlock) allocate(alloc compute.Allocator, batch int, w *mixerWork) {
	t, width := b.tokens.Fc1.W.Cols, b.channels.Fc1.W.Cols
	rows := batch * t
	b.ln1.AllocateInto(alloc, w.normed, rows, width)
	b.ln2.Allocate(alloc, rows, width)
	b.in = alloc.Operand(batch*width, t)
	b.tokens.Allocate(alloc, batch*width)
	b.channels.Allocate(alloc, rows)
	b.across.Allocate(alloc, batch, t)
	b.along.Allocate(alloc, batch, t)
}

// turn copies every image's transpose: dst is (n·columns, rows) for n images x (rows, columns), one behind another.
func turn(b compute.Backend, dst compute.Operand, x blas32.General, n int) {
	rows, cols := x.Rows/n, x.Cols
	for i := range n {
		b.Transpose(dst.Range(i*cols, (i+1)*cols), compute.Matrix(rows, cols, x.Data[i*rows*cols:(i+1)*rows*cols]))
	}
}

// forward changes the residual stream x (n·tokens, width) in place.
func (b *mixerBlock) forward(x blas32.General, n int, w *mixerWork) {
	turned := n * x.Cols
	in, mixed, branch := b.in.First(turned), compute.First(w.mixed, turned), compute.First(w.branch, x.Rows)
	turn(b.backend, in, compute.Matrix(x.Rows, x.Cols, b.ln1.Forward(x).F32), n)
	b.tokens.Fc2.Forward(compute.F32(mixed), b.tokens.Hidden(in), 0)
	turn(b.backend, compute.F32(branch), mixed, n)
	b.across.Add(x, branch, n)

	b.along.Forward(x, b.channels.Fc2, b.channels.Hidden(b.ln2.Forward(x)), n)
}

// backward turns dx, the gradient of the block's output, into the gradient of its input: the residual sum passes dx
// on as it is, and each branch adds its own.
func (b *mixerBlock) backward(dx blas32.General, n int, w *mixerWork) {
	rows, turned := dx.Rows, n*dx.Cols
	dnorm := w.dnorm.First(rows)
	dbranch := compute.AsOperand(b.backend, w.dx, b.along.Gradient(dx, n))
	b.channels.Backward(dnorm, dbranch, b.ln2.Output(rows), w.mlp)
	b.ln2.Backward(dx, dnorm)

	dmixed, din := w.dmixed.First(turned), compute.First(w.mixed, turned)
	turn(b.backend, dmixed, b.across.Gradient(dx, n), n)
	b.tokens.Backward(compute.F32(din), dmixed, b.in.First(turned), w.mlp)
	turn(b.backend, dnorm, din, n)
	b.ln1.Backward(dx, dnorm)
}
