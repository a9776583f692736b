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

// Resizer resizes pictures. It keeps what one leaves for the next, and is not safe for concurrent use.
type Resizer struct {
	across, down axis
	rows         []uint8 // (channels, rows, width): src's, resized across alone
}

// Resize makes dst the piece of src that box names, resized to height×width; what lies outside of the box has no part
// in it. The way is Pillow's: across first, then down, sums of whole numbers, each rounded and cut to 0..255. Weights
// have 15 bits, where Pillow's have 22, so that a value may differ from Pillow's by 1. They are whole numbers too:
// every CPU gets the same bits.
func (r *Resizer) Resize(dst, src *Picture, box Box, height, width int, f Filter) {
	if !box.within(src.Height, src.Width) || height <= 0 || width <= 0 {
		panic(fmt.Sprintf("picture: resizing %+v of %d×%d to %d×%d", box, src.Width, src.Height, width, height))
	}
	dst.Reset(src.Channels, height, width)
	if &dst.Pix[0] == &src.Pix[0] {
		panic("picture: resizing in place")
	}
	if box.Height == height && box.Width == width {
		for c := range src.Channels {
			from, to := src.Plane(c), dst.Plane(c)
			for y := range height {
				at := (box.Top+y)*src.Width + box.Left
				copy(to[y*width:(y+1)*width], from[at:at+width])
			}
		}
		return
	}
	const lanes = 8 // that the pass across takes at once
	r.across.set(box.Left, box.Width, src.Width, width, lanes, f)
	r.down.set(0, box.Height, box.Height, height, 1, f)
	if n := src.Channels * box.Height * width; cap(r.rows) < n {
		r.rows = make([]uint8, n)
	}
	for c := range src.Channels {
		rows := r.rows[:box.Height*width]
		across(rows, src.Plane(c)[box.Top*src.Width:][:box.Height*src.Width], src.Width, &r.across)
		down(dst.Plane(c), rows, width, &r.down)
	}
}

// axis is what a row or a column of a result is made of: value i is the rounded sum of taps values from start[i] on,
// each times its weight, over 2^shift.
type axis struct {
	from, length, whole, out, lanes int // of the last set
	filter                          Filter

	start  []int32 // (out)
	weight []int16 // (out, taps)
	taps   int
	shift  int
	count  []int32   // (out)
	share  []float64 // (out, widest)
}

// set makes the axis resize length values from `from` on, of a line of whole ones, to out. Weights of 0 are added until
// taps is a multiple of lanes, where the line has that many values.
func (a *axis) set(from, length, whole, out, lanes int, f Filter) {
	if a.from == from && a.length == length && a.whole == whole && a.out == out && a.lanes == lanes && a.filter == f && a.taps > 0 {
		return
	}
	a.from, a.length, a.whole, a.out, a.lanes, a.filter = from, length, whole, out, lanes, f

	// Pillow's Resample.c, precompute_coeffs.
	scale := float64(length) / float64(out)
	stretch := max(1, scale)
	support := f.support() * stretch
	widest := 2*int(math.Ceil(support)) + 1
	a.start, a.count = resized(a.start, out), resized(a.count, out)
	a.share = resized(a.share, out*widest)
	a.taps = 1
	largest := 0.0
	for i := range out {
		middle := (float64(i) + 0.5) * scale
		first := max(0, int(middle-support+0.5))
		last := min(length, int(middle+support+0.5)) // not included
		share, sum := a.share[i*widest:], 0.0
		for k := range last - first {
			share[k] = f.at((float64(first+k) - middle + 0.5) / stretch)
			sum += share[k]
		}
		for k := range last - first {
			share[k] /= sum
			largest = max(largest, math.Abs(share[k]))
		}
		a.start[i], a.count[i] = int32(first), int32(last-first)
		a.taps = max(a.taps, last-first)
	}
	if padded := (a.taps + lanes - 1) / lanes * lanes; padded <= whole {
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
