package model

import (
	"lte/compute"

	"gonum.org/v1/gonum/blas/blas32"
)

// block is a pre-norm transformer block: x += proj(attention(qkv(ln1(x)))); x += fc2(gelu(fc1(ln2(x)))).
type block struct {
	ln1, ln2              *norm
	qkv, proj, fc1, fc2   *Linear
	heads                 int
	qkvOut, att, pre, act blas32.General // (rows, 3·width), (rows, width), (rows, mlp), (rows, mlp), kept for backward
	probs                 []float32      // (batch, heads, tokens, padded tokens)
	backend               compute.Backend
}

// work is scratch that all blocks share.
type work struct {
	width, width2 blas32.General // (rows, width)
	wide, mlp     blas32.General // (rows, 3·width), (rows, mlp)
}

func (b *block) allocate(batch, tokens, width, mlp int) {
	rows := batch * tokens
	b.ln1.allocate(rows, width)
	b.ln2.allocate(rows, width)
	b.qkvOut, b.att = compute.NewMatrix(rows, 3*width), compute.NewMatrix(rows, width)
	b.pre, b.act = compute.NewMatrix(rows, mlp), compute.NewMatrix(rows, mlp)
	b.probs = make([]float32, b.shape(batch, tokens).Probs())
}

func (b *block) shape(batch, tokens int) compute.AttentionShape {
	return compute.AttentionShape{Batch: batch, Tokens: tokens, Heads: b.heads, Dim: b.qkv.W.Cols / b.heads}
}

// forward changes the residual stream x (batch·tokens, width) in place.
func (b *block) forward(x blas32.General, batch, tokens int, w *work) {
	rows, out, shape := x.Rows, first(w.width, x.Rows), b.shape(batch, tokens)
	qkv, att := first(b.qkvOut, rows), first(b.att, rows)
	b.qkv.Forward(qkv, b.ln1.forward(x))
	b.backend.Attention(att.Data, b.probs[:shape.Probs()], qkv.Data, shape)
	b.proj.Forward(out, att)
	b.backend.Add(x.Data, out.Data)

	pre, act := first(b.pre, rows), first(b.act, rows)
	b.fc1.Forward(pre, b.ln2.forward(x))
	b.backend.GELU(act.Data, pre.Data)
	b.fc2.Forward(out, act)
	b.backend.Add(x.Data, out.Data)
}

// backward turns dx, the gradient of the block's output, into the gradient of its input: the residual sum passes dx
// on as it is, and each branch adds its own.
func (b *block) backward(dx blas32.General, batch, tokens int, w *work) {
	rows, shape := dx.Rows, b.shape(batch, tokens)
	dpre, dy := first(w.mlp, rows), first(w.width, rows)
	b.fc2.Backward(dpre, dx, first(b.act, rows))
	b.backend.GELUBackward(dpre.Data, dpre.Data, b.pre.Data[:len(dpre.Data)])
	b.fc1.Backward(dy, dpre, b.ln2.output(rows))
	b.ln2.backward(dx, dy)

	datt, dqkv := first(w.width2, rows), first(w.wide, rows)
	b.proj.Backward(datt, dx, first(b.att, rows))
	b.backend.AttentionBackward(dqkv.Data, datt.Data, b.probs[:shape.Probs()], b.qkvOut.Data[:len(dqkv.Data)], shape)
	b.qkv.Backward(dy, dqkv, b.ln1.output(rows))
	b.ln1.backward(dx, dy)
}
