package model

import (
	"math"
	"math/rand/v2"

	"lte/compute"

	"gonum.org/v1/gonum/blas/blas32"
)

// Noise draws the masks of one head's training passes: dropout's (Srivastava et al., JMLR 15, 2014) and stochastic
// depth's (Huang et al., arXiv 1603.09382). They depend on its source and on the number of its images alone, not on
// which other heads share the pass. One goroutine.
type Noise struct{ source rand.Source }

// NewNoise returns the noise that source makes. A pass goes on where the one before it ended: a caller seeds source
// anew for every step, by (seed, step, head) say, whose masks must not depend on the steps before it.
func NewNoise(source rand.Source) *Noise { return &Noise{source} }

// odds is the law of a mask's numbers: scale with probability keep/2¹⁶, else 0.
type odds struct {
	keep  uint32
	scale float32
}

// newOdds returns odds of mean 1, but for 2⁻¹⁷ of scale, for masks of that precision; keep/2¹⁶ is 1 − rate, to 2⁻¹⁷ in
// float32 and to a bf16's rounding of it, 2⁻⁹, in bf16.
func newOdds(rate float64, d compute.DType) odds {
	const all = 1 << 16
	keep := max(1, math.Round(all*(1-rate)))
	o := odds{keep: uint32(keep), scale: float32(all / keep)}
	if d == compute.BFloat16 {
		bits := math.Float32bits(o.scale)
		o.scale = math.Float32frombits((bits + 0x7fff + bits>>16&1) &^ 0xffff)
		o.keep = uint32(min(all, max(1, math.Round(all/float64(o.scale)))))
	}
	return o
}

// fill draws dst, which is dense: 16 bits of a word a number, the last word's rest is left.
func (n *Noise) fill(dst compute.Operand, o odds) {
	scale, keep := math.Float32bits(o.scale), int32(o.keep)
	// kept is scale or 0 by the sign of a difference, not by a branch that would be mispredicted at numbers dropped.
	kept := func(word uint64) uint32 { return scale & uint32((int32(word&0xffff)-keep)>>31) }
	if x := dst.BF16; x != nil {
		for ; len(x) >= 4; x = x[4:] {
			word := n.source.Uint64()
			x[0], x[1] = uint16(kept(word)>>16), uint16(kept(word>>16)>>16)
			x[2], x[3] = uint16(kept(word>>32)>>16), uint16(kept(word>>48)>>16)
		}
		if len(x) > 0 {
			word := n.source.Uint64()
			for i := range x {
				x[i] = uint16(kept(word>>(16*i)) >> 16)
			}
		}
		return
	}
	x := dst.F32
	for ; len(x) >= 4; x = x[4:] {
		word := n.source.Uint64()
		x[0], x[1] = math.Float32frombits(kept(word)), math.Float32frombits(kept(word>>16))
		x[2], x[3] = math.Float32frombits(kept(word>>32)), math.Float32frombits(kept(word>>48))
	}
	if len(x) > 0 {
		word := n.source.Uint64()
		for i := range x {
			x[i] = math.Float32frombits(kept(word >> (16 * i)))
		}
	}
}

// dropout is what all places of a network share where something is dropped. A pass without noise drops nothing.
type dropout struct {
	rate    float64
	path    float64  // stochastic depth's rate at the last block
	noise   []*Noise // of the last forward pass, each for an equal share of its images
	backend compute.Backend

	stream, inner odds            // dropout's, of float32 masks and of the operands' precision
	mask          compute.Operand // scratch: of hidden layers
	branch        blas32.General  // (rows, width): scratch
}

// Misuse inside the program.
const (
	errNoNoise    = "model: a training pass with dropout needs noise"
	errNoiseShare = "model: the images of a pass are no multiple of its noises"
)

// use makes passes of that many images draw from noise.
func (d *dropout) use(noise []*Noise, images int) {
	d.noise = d.noise[:0]
	if d.rate == 0 && d.path == 0 {
		return
	}
	if len(noise) == 0 {
		panic(errNoNoise)
	}
	if images%len(noise) != 0 {
		panic(errNoiseShare)
	}
	d.noise = append(d.noise, noise...)
}

// allocate makes scratch for branches (rows, width) and hidden layers of up to that length.
func (d *dropout) allocate(rows, width, hidden int) {
	if d.rate > 0 || d.path > 0 {
		d.branch = compute.NewMatrix(rows, width)
	}
	if d.rate > 0 {
		precision := d.backend.DType()
		d.stream, d.inner = newOdds(d.rate, compute.Float32), newOdds(d.rate, precision)
		d.mask = compute.NewOperand(precision, 1, hidden)
	}
}

// drops says whether the pass is one with dropout.
func (d *dropout) drops() bool { return d.rate > 0 && len(d.noise) > 0 }

// draw fills mask, whose rows are the images' in order.
func (d *dropout) draw(mask compute.Operand, o odds) {
	for i, n := range d.noise {
		n.fill(share(mask, i, len(d.noise)), o)
	}
}

// streamMask makes a mask (rows, width) of the residual stream, kept for the backward pass; without dropout none.
func (d *dropout) streamMask(rows, width int) (mask compute.Operand) {
	if d.rate > 0 {
		mask = compute.NewOperand(compute.Float32, rows, width)
	}
	return mask
}

// apply draws mask and computes x = mask∘x.
func (d *dropout) apply(x blas32.General, mask compute.Operand) {
	d.draw(mask, d.stream)
	d.backend.Multiply(compute.F32(x), compute.F32(x), mask)
}

// hidden is dropout behind GELU: y = mask∘gelu(z). Its derivative by z, dydx, takes the mask too, so that the backward
// pass needs no mask.
func (d *dropout) hidden(y, dydx compute.Operand) {
	if !d.drops() {
		return
	}
	mask := d.mask.Shape(y.Rows, y.Cols)
	d.draw(mask, d.inner)
	d.backend.Multiply(y, y, mask)
	d.backend.Multiply(dydx, dydx, mask)
}

// residual is where a branch joins the residual stream: x += keep·(mask∘branch), with dropout's mask, and keep an
// image's 0 or 1/(1 − p) of stochastic depth.
type residual struct {
	drop  *dropout
	path  float64 // p
	odds  odds    // of keep
	keep  compute.Operand
	mask  compute.Operand // (images·rows, width)
	width int
}

// residual makes the place where a branch of that block joins: p grows linearly from 0 at the first block to the
// configured rate at the last (Huang et al., section 3; timm's VisionTransformer. timm's MlpMixer gives all blocks one
// rate).
func (b *builder) residual(block int) residual {
	d, c := &b.model.drop, b.model.config
	p := d.path * float64(block) / float64(max(1, c.Depth-1))
	return residual{drop: d, path: p, odds: newOdds(p, compute.Float32), width: c.Width}
}

func (r *residual) allocate(batch, rows int) {
	r.mask = r.drop.streamMask(batch*rows, r.width)
	if r.path > 0 {
		r.keep = compute.NewOperand(compute.Float32, batch, 1)
	}
}

// noisy says whether the pass drops anything here.
func (r *residual) noisy() bool {
	return len(r.drop.noise) > 0 && (r.drop.rate > 0 || r.path > 0)
}

// forward computes x += layer(in) for n images, with what is dropped of it.
func (r *residual) forward(x blas32.General, layer *Linear, in compute.Operand, n int) {
	if !r.noisy() {
		layer.Forward(compute.F32(x), in, 1)
		return
	}
	branch := compute.First(r.drop.branch, x.Rows)
	layer.Forward(compute.F32(branch), in, 0)
	r.join(x, branch, n)
}

// add computes x += branch, dense, with what is dropped of it; it may change branch.
func (r *residual) add(x, branch blas32.General, n int) {
	if !r.noisy() {
		r.drop.backend.Add(x.Data, branch.Data)
		return
	}
	r.join(x, branch, n)
}

// join computes x += keep·(mask∘branch), and changes branch. A pass's draws are in this order: mask, keep.
func (r *residual) join(x, branch blas32.General, n int) {
	if r.drop.drops() {
		r.drop.apply(branch, r.mask.First(x.Rows))
	}
	if r.path > 0 {
		r.drop.draw(r.keep.First(n), r.odds)
	}
	for i := range x.Rows {
		blas32.Axpy(r.factor(i, x.Rows/n), row(branch, i), row(x, i))
	}
}

// gradient returns that of the branch from dx, the gradient of the stream: keep·(mask∘dx).
func (r *residual) gradient(dx blas32.General, n int) blas32.General {
	if !r.noisy() {
		return dx
	}
	branch := compute.First(r.drop.branch, dx.Rows)
	for i := range dx.Rows {
		to := row(branch, i)
		copy(to.Data, row(dx, i).Data)
		blas32.Scal(r.factor(i, dx.Rows/n), to)
	}
	if r.drop.drops() {
		r.drop.backend.Multiply(compute.F32(branch), compute.F32(branch), r.mask.First(dx.Rows))
	}
	return branch
}

// factor is keep of the image of row i.
func (r *residual) factor(i, rows int) float32 {
	if r.path == 0 {
		return 1
	}
	return r.keep.F32[i/rows]
}

func row(x blas32.General, i int) blas32.Vector {
	return blas32.Vector{N: x.Cols, Inc: 1, Data: x.Data[i*x.Stride:][:x.Cols]}
}
