package model

import "lte/compute"

// Counts of memory and work for an Outline as for a model that was made: what a run will need can be told without it.

// room adds up the bytes of buffers.
type room struct {
	operand int64 // bytes of a number that products read
	bytes   int64
}

func newRoom(d compute.DType) *room {
	if d == compute.BFloat16 {
		return &room{operand: 2}
	}
	return &room{operand: 4}
}

// rounds says whether what products read is another copy than what sums are made in.
func (r *room) rounds() bool { return r.operand != 4 }

func (r *room) floats(n int)   { r.bytes += 4 * int64(n) }
func (r *room) operands(n int) { r.bytes += r.operand * int64(n) }
func (r *room) operandsIfRound(n int) {
	if r.rounds() {
		r.operands(n)
	}
}

// Sizes are the number of all parameters' values, and of those that can train.
func (m *Model) Sizes() (all, trainable int) { return m.total, m.trainable }

// WeightBytes is what the parameters take, and where products read another precision than float32 their copy in it.
func (m *Model) WeightBytes(d compute.DType) int64 {
	r := newRoom(d)
	r.floats(m.total)
	for _, l := range m.layers {
		r.operandsIfRound(l.W.Rows * l.W.Cols)
	}
	return r.bytes
}

// PassBytes is what passes of up to that many images take: Reserve's buffers.
func (m *Model) PassBytes(d compute.DType, images int) int64 {
	r := newRoom(d)
	m.network.room(r, images)
	return r.bytes
}

func (v *vit) room(r *room, batch int) {
	c := v.config
	tokens, patches := batch*c.tokens(), batch*c.patches()
	r.operands(patches * v.embed.W.Cols)
	r.floats(patches*c.Width + 2*tokens*c.Width) // embedded, x, dx
	r.operands(batch * c.Width)                  // dclass
	r.floats(batch * c.Classes)
	r.operandsIfRound(batch * c.Classes)
	r.operands(tokens * (5*c.Width + c.MLP)) // work
	r.operandsIfRound(tokens * c.Width)
	for _, b := range v.blocks {
		behind := tokens
		if b.last {
			behind = batch
		}
		b.ln1.room(r, tokens, c.Width)
		b.ln2.room(r, behind, c.Width)
		b.mlp.room(r, behind)
		b.attended.room(r, batch, behind)
		b.fed.room(r, batch, behind)
		r.operands(4 * tokens * c.Width) // qkvOut, att
		r.floats(compute.AttentionShape{Batch: batch, Tokens: c.tokens(), Heads: b.heads}.Probs())
	}
	v.drop.room(r, tokens, c.Width, tokens*c.MLP)
	v.drop.streamRoom(r, tokens*c.Width)
	v.ln.room(r, batch, c.Width)
}

func (m *mixer) room(r *room, batch int) {
	c := m.config
	rows, turned := batch*c.patches(), batch*c.Width
	hidden := max(rows*c.MLP, turned*c.TokenMLP)
	r.operands(rows * m.embed.W.Cols)
	r.floats(2*rows*c.Width + 2*batch*c.Width + batch*c.Classes) // x, dx, mean, dmean, logits
	r.operandsIfRound(batch * (c.Width + c.Classes))             // pooled, dlogits
	r.floats(2 * rows * c.Width)                                 // work: mixed, branch
	r.operands(2*rows*c.Width + hidden)                          // dmixed, dnorm, mlp
	r.operandsIfRound(rows * c.Width)
	if c.NormAffine {
		r.floats(rows * c.Width)
	}
	for _, b := range m.blocks {
		r.floats(rows*c.Width + rows) // ln1, whose y is no operand
		b.ln2.room(r, rows, c.Width)
		r.operands(rows * c.Width) // in
		b.tokens.room(r, turned)
		b.channels.room(r, rows)
		b.across.room(r, batch, rows)
		b.along.room(r, batch, rows)
	}
	r.floats(rows*c.Width + rows) // ln
	m.drop.room(r, rows, c.Width, hidden)
}

func (n *norm) room(r *room, rows, width int) {
	r.floats(rows*width + rows)
	if n.affine || r.rounds() {
		r.operands(rows * width)
	}
}

func (m *mlp) room(r *room, rows int) { r.operands(2 * rows * m.fc1.W.Rows) }

func (d *dropout) room(r *room, rows, width, hidden int) {
	if d.rate > 0 || d.path > 0 {
		r.floats(rows * width)
	}
	if d.rate > 0 {
		r.operands(hidden)
	}
}

func (d *dropout) streamRoom(r *room, n int) {
	if d.rate > 0 {
		r.floats(n)
	}
}

func (e *residual) room(r *room, images, rows int) {
	e.drop.streamRoom(r, rows*e.width)
	if e.path > 0 {
		r.floats(images)
	}
}

// Bytes is what a head takes beside its Value, and what all heads of the layout share on a rank.
func (l *Layout) Bytes(d compute.DType) (head, shared int64) {
	own, common := newRoom(d), newRoom(d)
	low, g, sum := 0, 0, 0
	own.floats(2 * l.Length) // Grad, Merged
	for _, p := range l.Layers {
		m, n, rows := p.Layer.W.Rows, p.Layer.W.Cols, l.rows(p)
		wide := l.wide(p)
		thin, dense := ways(rows, m, n, p.Rank, wide)
		switch l.config.Base {
		case OwnBase:
			own.floats(m * n)
		case FormedBase:
			own.floats(wide * (m + n))
		}
		if l.config.Bias {
			own.floats(2 * m)
		}
		own.operands(wide * n) // at
		own.operandsIfRound(wide * m)
		if thin {
			own.operands(rows * wide) // low
		} else if !common.rounds() { // where products round, every layer has that memory in any case
			common.floats(m * n)
		}
		if dense {
			g = max(g, m*n)
		}
		low, sum = max(low, rows*wide), max(sum, m)
	}
	common.operands(low + g)
	common.floats(sum)
	return own.bytes, common.bytes
}

// rows is those of a pass of one head.
func (l *Layout) rows(p Place) int { return l.config.Images * p.Layer.perImage }

// wide is the columns of B in products: see Adapter.
func (l *Layout) wide(p Place) int {
	if l.config.Base == FormedBase {
		return 2 * p.Rank
	}
	return p.Rank
}

// Thin says whether passes go through the factors in all layers, as Head.Thin does.
func (l *Layout) Thin() bool {
	for _, p := range l.Layers {
		if thin, _ := ways(l.rows(p), p.Layer.W.Rows, p.Layer.W.Cols, p.Rank, l.wide(p)); !thin {
			return false
		}
	}
	return true
}

// Pass is what a product of a linear layer is for. Of y = xWᵀ, x (rows, in) and W (out, in):
//
//	forward          y = xWᵀ            (rows, out), inner side in
//	input gradient   ∂L/∂x = (∂L/∂y)W   (rows, in), inner side out
//	weight gradient  ∂L/∂W = (∂L/∂y)ᵀx  (out, in), inner side rows
type Pass string

// The passes.
const (
	Forward        Pass = "forward"
	InputGradient  Pass = "input gradient"
	WeightGradient Pass = "weight gradient"
)

// Product is a matrix product of a linear layer: c (M, N) = op(a)·op(b), K the inner side.
type Product struct {
	Layer   *Linear
	Pass    Pass
	M, N, K int
}

// FLOPs is 2·m·n·k.
func (p Product) FLOPs() float64 { return 2 * float64(p.M) * float64(p.N) * float64(p.K) }

// Products are the products of the linear layers in a forward and backward pass over so many images, input to output: with a head
// of that layout, or, without one, of a model that trains as a whole. What a head's factors add is not among them.
func (m *Model) Products(l *Layout, images int) (all []Product) {
	for i, layer := range m.layers {
		rows, out, in := images*layer.perImage, layer.W.Rows, layer.W.Cols
		all = append(all, Product{layer, Forward, rows, out, in})
		if i > 0 { // the images need no gradient
			all = append(all, Product{layer, InputGradient, rows, in, out})
		}
		if l == nil || layer.GradW.Data != nil {
			all = append(all, Product{layer, WeightGradient, out, in, rows})
		}
	}
	return all
}

// Operations is those of a training step for an image, 2·m·n·k a product and nothing else: of a head of that layout, with the
// layers that train beside it; or, without a layout, of a model that trains as a whole.
func (m *Model) Operations(l *Layout) float64 {
	total := m.network.attention()
	for _, p := range m.Products(l, 1) {
		total += p.FLOPs()
	}
	if l == nil {
		return total
	}
	for _, p := range l.Layers {
		total += l.operations(p, p.Layer != m.layers[0])
	}
	return total
}

// operations is what the head adds to its layer's, for an image: see Adapter.count. Without the input's gradient a pass through
// the factors leaves out the product by A that makes it.
func (l *Layout) operations(p Place, inputGradient bool) float64 {
	m, n, r, wide := float64(p.Layer.W.Rows), float64(p.Layer.W.Cols), float64(p.Rank), float64(l.wide(p))
	rows, images := float64(p.Layer.perImage), float64(l.config.Images)
	switch thin, dense := ways(l.rows(p), p.Layer.W.Rows, p.Layer.W.Cols, p.Rank, l.wide(p)); {
	case thin:
		all := 4*rows*wide*(m+n) + 2*rows*r*(m+n)
		if !inputGradient {
			all -= 2 * rows * wide * n
		}
		return all
	case dense:
		return 2*m*n*wide/images + 2*rows*m*n + 4*m*n*r/images
	default:
		return 2*m*n*wide/images + 4*rows*r*(m+n)
	}
}

func (v *vit) attention() (operations float64) {
	tokens := float64(v.config.tokens())
	for _, b := range v.blocks {
		queries := tokens
		if b.last {
			queries = 1
		}
		operations += 12 * queries * tokens * float64(v.config.Width)
	}
	return operations
}

func (*mixer) attention() float64 { return 0 }
