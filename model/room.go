package model

import "lte/compute"

// Counts of memory and work for an Outline as for a model that was made: what a run will need can be told without it. They are
// floats, which hold the product of any sizes that a configuration allows, and are exact up to 2^53.

// room adds up the bytes of buffers.
type room struct {
	operand float64 // bytes of a number that products read
	bytes   float64
}

func newRoom(d compute.DType) *room {
	if d == compute.BFloat16 {
		return &room{operand: 2}
	}
	return &room{operand: 4}
}

// rounds says whether what products read is another copy than what sums are made in.
func (r *room) rounds() bool { return r.operand != 4 }

func (r *room) floats(n float64)   { r.bytes += 4 * n }
func (r *room) operands(n float64) { r.bytes += r.operand * n }
func (r *room) operandsIfRound(n float64) {
	if r.rounds() {
		r.operands(n)
	}
}

// area is the number of a matrix's values.
func area(rows, columns int) float64 { return float64(rows) * float64(columns) }

// Sizes are the number of all parameters' values, and of those that can train.
func (m *Model) Sizes() (all, trainable int) { return m.total, m.trainable }

// WeightBytes is what the parameters take, and where products read another precision than float32 their copy in it.
func (m *Model) WeightBytes(d compute.DType) float64 {
	r := newRoom(d)
	r.floats(float64(m.total))
	for _, l := range m.layers {
		r.operandsIfRound(area(l.W.Rows, l.W.Cols))
	}
	return r.bytes
}

// PassBytes is what passes of up to that many images take: Reserve's buffers.
func (m *Model) PassBytes(d compute.DType, images int) float64 {
	r := newRoom(d)
	m.network.room(r, float64(images))
	return r.bytes
}

func (v *vit) room(r *room, batch float64) {
	c := v.config
	tokens, patches, width := batch*float64(c.tokens()), batch*float64(c.patches()), float64(c.Width)
	r.operands(patches * float64(v.embed.W.Cols))
	r.floats(patches*width + 2*tokens*width) // embedded, x, dx
	r.operands(batch * width)                // dclass
	r.floats(batch * float64(c.Classes))
	r.operandsIfRound(batch * float64(c.Classes))
	r.operands(tokens * (5*width + float64(c.MLP))) // work
	r.operandsIfRound(tokens * width)
	probs := tokens * float64(c.Heads) * float64(compute.AttentionShape{Tokens: c.tokens()}.ProbStride())
	for _, b := range v.blocks {
		behind := tokens
		if b.last {
			behind = batch
		}
		b.ln1.room(r, tokens, width)
		b.ln2.room(r, behind, width)
		b.mlp.room(r, behind)
		b.attended.room(r, batch, behind)
		b.fed.room(r, batch, behind)
		r.operands(4 * tokens * width) // qkvOut, att
		r.floats(probs)
	}
	v.drop.room(r, tokens, width, tokens*float64(c.MLP))
	v.drop.streamRoom(r, tokens*width)
	v.ln.room(r, batch, width)
}

func (m *mixer) room(r *room, batch float64) {
	c := m.config
	width, classes := float64(c.Width), float64(c.Classes)
	rows, turned := batch*float64(c.patches()), batch*width
	hidden := max(rows*float64(c.MLP), turned*float64(c.TokenMLP))
	r.operands(rows * float64(m.embed.W.Cols))
	r.floats(2*rows*width + 2*batch*width + batch*classes) // x, dx, mean, dmean, logits
	r.operandsIfRound(batch * (width + classes))           // pooled, dlogits
	r.floats(2 * rows * width)                             // work: mixed, branch
	r.operands(2*rows*width + hidden)                      // dmixed, dnorm, mlp
	r.operandsIfRound(rows * width)
	if c.NormAffine {
		r.floats(rows * width)
	}
	for _, b := range m.blocks {
		r.floats(rows*width + rows) // ln1, whose y is no operand
		b.ln2.room(r, rows, width)
		r.operands(rows * width) // in
		b.tokens.room(r, turned)
		b.channels.room(r, rows)
		b.across.room(r, batch, rows)
		b.along.room(r, batch, rows)
	}
	r.floats(rows*width + rows) // ln
	m.drop.room(r, rows, width, hidden)
}

func (n *norm) room(r *room, rows, width float64) {
	r.floats(rows*width + rows)
	if n.affine || r.rounds() {
		r.operands(rows * width)
	}
}

func (m *mlp) room(r *room, rows float64) { r.operands(2 * rows * float64(m.fc1.W.Rows)) }

func (d *dropout) room(r *room, rows, width, hidden float64) {
	if d.rate > 0 || d.path > 0 {
		r.floats(rows * width)
	}
	if d.rate > 0 {
		r.operands(hidden)
	}
}

func (d *dropout) streamRoom(r *room, n float64) {
	if d.rate > 0 {
		r.floats(n)
	}
}

func (e *residual) room(r *room, images, rows float64) {
	e.drop.streamRoom(r, rows*float64(e.width))
	if e.path > 0 {
		r.floats(images)
	}
}

// Bytes is what a head takes beside its Value, and what all heads of the layout share on a rank.
func (l *Layout) Bytes(d compute.DType) (head, shared float64) {
	own, common := newRoom(d), newRoom(d)
	low, g, sum := 0.0, 0.0, 0.0
	own.floats(2 * float64(l.Length)) // Grad, Merged
	for _, p := range l.Layers {
		m, n, rows, wide := p.Layer.W.Rows, p.Layer.W.Cols, float64(l.rows(p)), float64(l.wide(p))
		thin, dense := l.ways(p)
		switch l.config.Base {
		case OwnBase:
			own.floats(area(m, n))
		case FormedBase:
			own.floats(wide * float64(m+n))
		}
		if l.config.Bias {
			own.floats(2 * float64(m))
		}
		own.operands(wide * float64(n)) // at
		own.operandsIfRound(wide * float64(m))
		if thin {
			own.operands(rows * wide) // low
		} else if !common.rounds() { // where products round, every layer has that memory in any case
			common.floats(area(m, n))
		}
		if dense {
			g = max(g, area(m, n))
		}
		low, sum = max(low, rows*wide), max(sum, float64(m))
	}
	common.operands(low + g)
	common.floats(sum)
	return own.bytes, common.bytes
}

// ways is how passes of one head go by that layer.
func (l *Layout) ways(p Place) (thin, dense bool) {
	return ways(l.rows(p), p.Layer.W.Rows, p.Layer.W.Cols, p.Rank, l.wide(p))
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
		if thin, _ := l.ways(p); !thin {
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
		if l == nil || layer.trainsWeight {
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
	switch thin, dense := l.ways(p); {
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
