package nn

import (
	"math"
	"math/rand/v2"
	"unsafe"

	"lte/compute"

	"gonum.org/v1/gonum/blas/blas32"
)

// Noise draws the masks of one head's training passes: dropout's (Srivastava et al., JMLR 15, 2014) and stochastic
// depth's (Huang et al., arXiv 1603.09382). They depend on its source and on the number of its images alone, not on
// which other heads share the pass. One goroutine.
type Noise struct{ source rand.Source }

// NewNoise returns the noise that source makes. A pass continues where the one before it ended: a caller seeds source
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

// fill draws dst, which is dense.
func (n *Noise) fill(dst compute.Operand, o odds) {
	scale := math.Float32bits(o.scale)
	if dst.BF16 != nil {
		fillBits(dst.BF16, n.source, uint16(scale>>16), int32(o.keep))
		return
	}
	fillBits(unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(dst.F32))), len(dst.F32)), n.source, scale, int32(o.keep))
}

// fillBits sets every element of x to scale or 0, both in their bits: 16 bits of a word an element, the last word's rest is left.
func fillBits[T uint16 | uint32](x []T, source rand.Source, scale T, keep int32) {
	// kept is by the sign of a difference, not by a branch that would be mispredicted at elements dropped.
	kept := func(word uint64) T { return scale & T((int32(word&0xffff)-keep)>>31) }
	for ; len(x) >= 4; x = x[4:] {
		word := source.Uint64()
		x[0], x[1], x[2], x[3] = kept(word), kept(word>>16), kept(word>>32), kept(word>>48)
	}
	if len(x) > 0 {
		word := source.Uint64()
		for i := range x {
			x[i] = kept(word >> (16 * i))
		}
	}
}

// Dropout is shared by all places of a network where something is dropped. A pass without noise drops nothing.
type Dropout struct {
	rate    float64
	path    float64  // stochastic depth's rate at the last block
	noise   []*Noise // of the last forward pass, each for an equal share of its images
	backend compute.Backend

	stream, inner odds            // dropout's, of float32 masks and of the operands' precision
	mask          compute.Operand // scratch: of hidden layers
	branch        blas32.General  // (rows, width): scratch
}

// NewDropout returns dropout of that rate, and stochastic depth of that rate at the last block.
func NewDropout(rate, path float64, backend compute.Backend) Dropout {
	return Dropout{rate: rate, path: path, backend: backend}
}

// Off makes passes drop nothing.
func (d *Dropout) Off() { d.noise = d.noise[:0] }

// Use makes passes of that many images draw from noise, each for an equal share of them, in order.
func (d *Dropout) Use(noise []*Noise, images int) {
	d.Off()
	if d.rate == 0 && d.path == 0 {
		return
	}
	if len(noise) == 0 {
		panic("nn: a training pass with dropout needs noise")
	}
	if images%len(noise) != 0 {
		panic("nn: the images of a pass are no multiple of its noises")
	}
	d.noise = append(d.noise, noise...)
}

// Allocate makes scratch for branches (rows, width) and hidden layers of up to that many elements.
func (d *Dropout) Allocate(alloc compute.Allocator, rows, width, hidden int) {
	if d.rate > 0 || d.path > 0 {
		d.branch = alloc.Matrix(rows, width)
	}
	if d.rate > 0 {
		d.stream, d.inner = newOdds(d.rate, compute.Float32), newOdds(d.rate, alloc.DType())
		d.mask = alloc.Operand(1, hidden)
	}
}

// Drops says whether the pass is one with dropout.
func (d *Dropout) Drops() bool { return d.rate > 0 && len(d.noise) > 0 }

// draw fills mask, whose rows are the images' in order.
func (d *Dropout) draw(mask compute.Operand, o odds) {
	for i, n := range d.noise {
		n.fill(share(mask, i, len(d.noise)), o)
	}
}

// NewMask makes a mask (rows, width) of the residual stream, kept for the backward pass; without dropout none.
func (d *Dropout) NewMask(alloc compute.Allocator, rows, width int) (mask compute.Operand) {
	if d.rate > 0 {
		mask = compute.F32(alloc.Matrix(rows, width))
	}
	return mask
}

// Apply draws mask and computes x = mask∘x.
func (d *Dropout) Apply(x blas32.General, mask compute.Operand) {
	d.draw(mask, d.stream)
	d.backend.Multiply(compute.F32(x), compute.F32(x), mask)
}

// hidden is dropout behind GELU: y = mask∘gelu(z). Its derivative by z, dydx, takes the mask too, so that the backward
// pass needs no mask.
func (d *Dropout) hidden(y, dydx compute.Operand) {
	if !d.Drops() {
		return
	}
	mask := d.mask.Shape(y.Rows, y.Cols)
	d.draw(mask, d.inner)
	d.backend.Multiply(y, y, mask)
	d.backend.Multiply(dydx, dydx, mask)
}
