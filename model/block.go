package model

import (
	"lte/compute"
	"lte/nn"

	"gonum.org/v1/gonum/blas/blas32"
)

// block is a pre-norm transformer block: x += proj(attention(qkv(ln1(x)))); x += fc2(gelu(fc1(ln2(x)))). Dropout is
// where torchvision's EncoderBlock has it, behind proj, GELU and fc2; attention's probabilities have none.
type block struct {
	ln1, ln2      *nn.LayerNorm
	qkv, proj     *nn.Linear
	mlp           nn.MLP
	attended, fed nn.Residual // where the two branches join
	heads         int
	// last: only the class tokens' output is read, so what stands behind the attention is done for them alone.
	last    bool
	kept    attention
	backend compute.Backend
}

// attention is what a block's attention keeps for the backward pass.
type attention struct {
	qkv   compute.Operand // (rows, 3·width)
	out   compute.Operand // (rows, width)
	probs []float32       // (batch, heads, tokens, padded tokens)
}

// work is scratch that all blocks share.
type work struct {
	dnorm, datt compute.Operand // (rows, width)
	mlp         compute.Operand // (rows, mlp): the gradient of GELU's value, then of its argument
	dqkv        compute.Operand // (rows, 3·width)
	dx          compute.Operand // (rows, width): the residual stream's gradient where products do not read float32
}

func newWork(alloc compute.Allocator, rows, width, mlp int) work {
	w := work{dnorm: alloc.Operand(rows, width), datt: alloc.Operand(rows, width), mlp: alloc.Operand(rows, mlp), dqkv: alloc.Operand(rows, 3*width)}
	if alloc.Rounds() {
		w.dx = alloc.Operand(rows, width)
	}
	return w
}

func (b *block) allocate(alloc compute.Allocator, batch, tokens, width int) {
	rows, behind, shape := batch*tokens, b.behind(tokens), b.shape(batch, tokens)
	b.ln1.Allocate(alloc, rows, width)
	b.ln2.Allocate(alloc, batch*behind, width)
	b.mlp.Allocate(alloc, batch*behind)
	b.attended.Allocate(alloc, batch, behind)
	b.fed.Allocate(alloc, batch, behind)
	b.kept = attention{alloc.Operand(rows, 3*width), alloc.Operand(rows, width), alloc.Floats(batch, shape.Heads, tokens, shape.ProbStride())}
}

func (b *block) shape(batch, tokens int) compute.AttentionShape {
	return compute.AttentionShape{Batch: batch, Tokens: tokens, Queries: b.behind(tokens), Heads: b.heads, Dim: b.qkv.W.Cols / b.heads}
}

// behind is the number of an image's tokens behind the attention.
func (b *block) behind(tokens int) int {
	if b.last {
		return 1
	}
	return tokens
}

// forward changes the residual stream x (batch·tokens, width) in place; the last block only its class tokens.
func (b *block) forward(x blas32.General, batch, tokens int) {
	shape, qkv, att := b.shape(batch, tokens), b.kept.qkv.First(x.Rows), b.kept.out.First(x.Rows)
	b.qkv.Forward(qkv, b.ln1.Forward(x), 0)
	b.backend.Attention(att, b.kept.probs[:shape.Probs()], qkv, shape)
	if b.last {
		x, att = compute.Every(x, tokens), att.Every(tokens)
	}
	b.attended.Forward(x, b.proj, att, batch)
	b.fed.Forward(x, b.mlp.Fc2, b.mlp.Hidden(b.ln2.Forward(x)), batch)
}

// backward turns dx, the gradient of the block's output, into the gradient of its input: the residual sum passes dx
// on as it is, and each branch adds its own. The last block's dx is 0 but for the class tokens.
func (b *block) backward(dx blas32.General, batch, tokens int, w *work) {
	rows, shape := dx.Rows, b.shape(batch, tokens)
	dout, att, datt := dx, b.kept.out.First(rows), w.datt.First(rows)
	dbranch := datt
	if b.last {
		dout, att, dbranch = compute.Every(dx, tokens), att.Every(tokens), datt.Every(tokens)
	}
	dnorm := w.dnorm.First(dout.Rows)
	dmlp := compute.AsOperand(b.backend, w.dx, b.fed.Gradient(dout, batch))
	b.mlp.Backward(dnorm, dmlp, b.ln2.Output(dout.Rows), w.mlp)
	b.ln2.Backward(dout, dnorm)

	b.proj.Backward(dbranch, compute.AsOperand(b.backend, w.dx, b.attended.Gradient(dout, batch)), att)
	dqkv := w.dqkv.First(rows)
	dnorm = w.dnorm.First(rows)
	b.backend.AttentionBackward(dqkv, datt, b.kept.probs[:shape.Probs()], b.kept.qkv.First(rows), shape)
	b.qkv.Backward(dnorm, dqkv, b.ln1.Output(rows))
	b.ln1.Backward(dx, dnorm)
}
