package picture

import (
	"fmt"
	"math"
)

// Filter is a resampling kernel. For downscaling it is stretched by the scale factor to avoid aliasing, as in Pillow and in torchvision
// with antialias.
type Filter int

const (
	Bicubic  Filter = iota // Keys 1981 with a = -1/2, four pixels wide
	Bilinear               // a triangle, two pixels wide
)

// support is the radius of the kernel.
func (f Filter) support() float64 {
	if f == Bilinear {
		return 1
	}
	return 2
}

// at is the kernel's value at a distance from its centre.
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

// Box is a rectangle of a picture: its first row and column, and its size.
type Box struct{ Top, Left, Height, Width int }

// Full is the box of a complete picture.
func Full(height, width int) Box { return Box{0, 0, height, width} }

func (b Box) within(height, width int) bool {
	return b.Top >= 0 && b.Left >= 0 && b.Height > 0 && b.Width > 0 && b.Top <= height-b.Height && b.Left <= width-b.Width
}

// Plan describes a resize: the region Box of the source is resized to Height×Width, and cropped to Crop. Only the pixels of Crop are
// computed.
type Plan struct {
	Box           Box
	Height, Width int
	Crop          Box
}

// Uncropped is the plan that resizes a box to height×width.
func Uncropped(box Box, height, width int) Plan { return Plan{box, height, width, Full(height, width)} }

// shrinkFactor is the factor, 1, 2, 4 or 8, by which a decoder may shrink the picture with the box still at least as large as the result.
func (p Plan) shrinkFactor() int {
	by := 1
	for by < 8 && p.Box.Height >= 2*by*p.Height && p.Box.Width >= 2*by*p.Width {
		by *= 2
	}
	return by
}

// shrunk is the box in the picture shrunk by that factor to height×width.
func (b Box) shrunk(by, height, width int) Box {
	s := Box{Top: b.Top / by, Left: b.Left / by, Height: b.Height / by, Width: b.Width / by}
	s.Height, s.Width = min(s.Height, height-s.Top), min(s.Width, width-s.Left)
	return s
}

// Resizer resizes pictures. It reuses its memory, and is not safe for concurrent use.
type Resizer struct {
	across, down axis
	rows         []uint8 // (rows, width) of one channel: src's, resized across alone
}

// Resize writes the result of a plan into dst; pixels outside the plan's box have no influence. As in Pillow, rows are resized first,
// then columns, with integer sums rounded and clipped to 0..255. Weights have 15 bits, where Pillow's have 22, so that values may differ
// from Pillow's by 1. Integers give the same bits on every CPU.
func (r *Resizer) Resize(dst, src *Picture, p Plan, f Filter) {
	box, crop := p.Box, p.Crop
	if !box.within(src.Height, src.Width) || !crop.within(p.Height, p.Width) {
		panic(fmt.Sprintf("picture: resizing %d×%d by %+v", src.Width, src.Height, p))
	}
	dst.Reset(src.Channels, crop.Height, crop.Width)
	if &dst.Pix[0] == &src.Pix[0] {
		panic("picture: resizing in place")
	}
	if box.Height == p.Height && box.Width == p.Width {
		for c := range src.Channels {
			from, to := src.Plane(c), dst.Plane(c)
			for y := range crop.Height {
				at := (box.Top+crop.Top+y)*src.Width + box.Left + crop.Left
				copy(to[y*crop.Width:(y+1)*crop.Width], from[at:at+crop.Width])
			}
		}
		return
	}
	const lanes = 8 // values that the pass over rows processes at once
	r.across.set(line{box.Left, box.Width, src.Width, p.Width, crop.Left, crop.Width, lanes, f})
	r.down.set(line{box.Top, box.Height, src.Height, p.Height, crop.Top, crop.Height, 1, f})
	// The rows of src that contribute to the result.
	first := int(r.down.start[0])
	height := int(r.down.start[crop.Height-1]) + r.down.taps - first
	r.rows = resized(r.rows, height*crop.Width)
	for c := range src.Channels {
		across(r.rows, src.Plane(c)[first*src.Width:][:height*src.Width], src.Width, &r.across)
		down(dst.Plane(c), r.rows, crop.Width, first, &r.down)
	}
}

// line is a resize of a row or column.
type line struct {
	from, length, whole int // the region that is resized, of a line of whole values
	size                int // of the resized region
	skip, out           int // first value of it to compute, and number of values
	lanes               int // the number of weights is padded to a multiple of it if the line has enough values
	filter              Filter
}

// axis holds the weights of a resize of rows or columns: value i is the rounded sum of taps values from start[i] on, each times its
// weight, over 2^shift. The starts ascend.
type axis struct {
	line

	start  []int32 // (out)
	weight []int16 // (out, taps)
	taps   int
	shift  int
	count  []int32   // (out)
	share  []float64 // (out, widest)
}

// set computes the weights of l.
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

// round converts the weights to the largest integers that fit into 16 bits. They sum to 2^shift, so that constant areas are preserved.
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

// resized returns a slice of length n, x itself if its capacity suffices.
func resized[T any](x []T, n int) []T {
	if cap(x) < n {
		return make([]T, n)
	}
	return x[:n]
}
