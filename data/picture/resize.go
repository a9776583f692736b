package picture

import (
	"fmt"
	"math"
)

// Filter is a kernel by which a picture is resized. Where it shrinks, the kernel is stretched by as much, so that
// nothing below two pixels of the result is left to alias, as Pillow does and as torchvision does with antialias.
type Filter int

const (
	Bicubic  Filter = iota // Keys 1981 with a = -1/2: four pixels wide
	Bilinear               // a triangle, two pixels wide
)

// support is how far the kernel reaches from its middle.
func (f Filter) support() float64 {
	if f == Bilinear {
		return 1
	}
	return 2
}

// at is the kernel's value at a distance from its middle.
func (f Filter) at(x float64) float64 {
	x = math.Abs(x)
	switch {
	case f == Bilinear:
		return max(0, 1-x)
	case x < 1:
		return (1.5*x-2.5)*x*x + 1
	case x < 2:
		return ((-0.5*x+2.5)*x-4)*x + 2
	}
	return 0
}

// Box is a piece of a picture: its first row and column, and how many.
type Box struct{ Top, Left, Height, Width int }

// Whole is all of a picture of that size.
func Whole(height, width int) Box { return Box{0, 0, height, width} }

func (b Box) within(height, width int) bool {
	return b.Top >= 0 && b.Left >= 0 && b.Height > 0 && b.Width > 0 && b.Top <= height-b.Height && b.Left <= width-b.Width
}

// Plan is what is to become of a picture: the piece Box of it, resized to Height×Width, and of that the piece Part. Of a
// resize to a larger size than is kept, only what is kept is computed.
type Plan struct {
	Box           Box
	Height, Width int
	Part          Box
}

// shrinks is by how much a decoder may shrink the whole picture and leave more of the box than the plan makes of it: 1, 2,
// 4 or 8.
func (p Plan) shrinks() int {
	by := 1
	for by < 8 && p.Box.Height >= 2*by*p.Height && p.Box.Width >= 2*by*p.Width {
		by *= 2
	}
	return by
}

// over is the box of a picture that was shrunk by that much, to height×width.
func (b Box) over(by, height, width int) Box {
	s := Box{Top: b.Top / by, Left: b.Left / by, Height: b.Height / by, Width: b.Width / by}
	s.Height, s.Width = min(s.Height, height-s.Top), min(s.Width, width-s.Left)
	return s
}

// Resizer resizes pictures. It keeps what one leaves for the next, and is not safe for concurrent use.
type Resizer struct {
	across, down axis
	rows         []uint8 // (rows, width) of one channel: src's, resized across alone
}

// Resize makes dst what the plan says of src; what lies outside of its box has no part in it. The way is Pillow's: across first, then down, sums of whole numbers, each rounded and cut to 0..255. Weights
// have 15 bits, where Pillow's have 22, so that a value may differ from Pillow's by 1. They are whole numbers too:
// every CPU gets the same bits.
func (r *Resizer) Resize(dst, src *Picture, p Plan, f Filter) {
	box, part := p.Box, p.Part
	if !box.within(src.Height, src.Width) || !part.within(p.Height, p.Width) {
		panic(fmt.Sprintf("picture: resizing %d×%d by %+v", src.Width, src.Height, p))
	}
	dst.Reset(src.Channels, part.Height, part.Width)
	if &dst.Pix[0] == &src.Pix[0] {
		panic("picture: resizing in place")
	}
	if box.Height == p.Height && box.Width == p.Width {
		for c := range src.Channels {
			from, to := src.Plane(c), dst.Plane(c)
			for y := range part.Height {
				at := (box.Top+part.Top+y)*src.Width + box.Left + part.Left
				copy(to[y*part.Width:(y+1)*part.Width], from[at:at+part.Width])
			}
		}
		return
	}
	const lanes = 8 // that the pass across takes at once
	r.across.set(line{box.Left, box.Width, src.Width, p.Width, part.Left, part.Width, lanes, f})
	r.down.set(line{box.Top, box.Height, src.Height, p.Height, part.Top, part.Height, 1, f})
	// Of src's rows, those that the result is made of.
	first := int(r.down.start[0])
	height := int(r.down.start[part.Height-1]) + r.down.taps - first
	r.rows = resized(r.rows, height*part.Width)
	for c := range src.Channels {
		across(r.rows, src.Plane(c)[first*src.Width:][:height*src.Width], src.Width, &r.across)
		down(dst.Plane(c), r.rows, part.Width, first, &r.down)
	}
}

// line is a row or a column of a picture and what it is resized to.
type line struct {
	from, length, whole int // the piece that is resized, of how many
	size                int // to what
	skip, out           int // values of it that are left out before those that are wanted, and these
	lanes               int // weights of 0 are added until there are a multiple of it, where the line has so many values
	filter              Filter
}

// axis is what a row or a column of a result is made of: value i is the rounded sum of taps values from start[i] on,
// each times its weight, over 2^shift. The starts ascend.
type axis struct {
	line

	start  []int32 // (out)
	weight []int16 // (out, taps)
	taps   int
	shift  int
	count  []int32   // (out)
	share  []float64 // (out, widest)
}

// set makes the axis that resizes l.
func (a *axis) set(l line) {
	if a.line == l {
		return
	}
	a.line = l

	// Pillow's Resample.c, precompute_coeffs.
	scale := float64(l.length) / float64(l.size)
	stretch := max(1, scale)
	support := l.filter.support() * stretch
	widest := 2*int(math.Ceil(support)) + 1
	a.start, a.count = resized(a.start, l.out), resized(a.count, l.out)
	a.share = resized(a.share, l.out*widest)
	a.taps = 1
	largest := 0.0
	for i := range l.out {
		middle := (float64(l.skip+i) + 0.5) * scale
		first := max(0, int(middle-support+0.5))
		last := min(l.length, int(middle+support+0.5)) // not included
		share, sum := a.share[i*widest:], 0.0
		for k := range last - first {
			share[k] = l.filter.at((float64(first+k) - middle + 0.5) / stretch)
			sum += share[k]
		}
		for k := range last - first {
			share[k] /= sum
			largest = max(largest, math.Abs(share[k]))
		}
		a.start[i], a.count[i] = int32(first), int32(last-first)
		a.taps = max(a.taps, last-first)
	}
	if padded := (a.taps + l.lanes - 1) / l.lanes * l.lanes; padded <= l.whole {
		a.taps = padded
	}
	a.round(largest, widest)
}

// round makes whole numbers of the weights, as large as 16 bits allow. They sum to 2^shift, so that a plain area stays
// what it is.
func (a *axis) round(largest float64, widest int) {
	// Sums stay below 2^31: 255·2^22 times at most 1.5, the sum of the absolute weights.
	a.shift = min(22, int(math.Floor(math.Log2(32000/largest))))
	one := float64(int(1) << a.shift)
	a.weight = resized(a.weight, a.out*a.taps)
	clear(a.weight)
	for i := range a.out {
		first := int(a.start[i]) + a.from
		begin := min(first, a.whole-a.taps) // the taps stay within the line
		weight := a.weight[i*a.taps+first-begin:][:a.count[i]]
		rest, top := 1<<a.shift, 0
		for k := range weight {
			w := int(math.Round(a.share[i*widest+k] * one))
			weight[k] = int16(w)
			rest -= w
			if w > int(weight[top]) {
				top = k
			}
		}
		weight[top] += int16(rest)
		a.start[i] = int32(begin)
	}
}

// resized returns a slice of n, x itself where it has room.
func resized[T any](x []T, n int) []T {
	if cap(x) < n {
		return make([]T, n)
	}
	return x[:n]
}
