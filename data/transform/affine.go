package transform

import (
	"math"

	"lte/data/picture"
)

// ShearX shifts row y to the left by slope·y pixels; the upper edge is fixed.
func ShearX(dst, src *picture.Picture, slope float64) {
	affine(dst, src, 1, slope, 0, 0, 1, 0)
}

// ShearY shifts column x up by slope·x pixels; the left edge is fixed.
func ShearY(dst, src *picture.Picture, slope float64) {
	affine(dst, src, 1, 0, 0, slope, 1, 0)
}

// Translate shifts a picture by integers of pixels, to the right and down.
func Translate(dst, src *picture.Picture, right, down int) {
	affine(dst, src, 1, 0, float64(-right), 0, 1, float64(-down))
}

// Rotate rotates a picture about its centre, counter-clockwise.
func Rotate(dst, src *picture.Picture, degrees float64) {
	sin, cos := math.Sincos(-degrees * math.Pi / 180)
	x, y := float64(src.Width)/2, float64(src.Height)/2
	affine(dst, src, cos, sin, x-cos*x-sin*y, -sin, cos, y+sin*x-cos*y)
}

// affine takes each pixel of dst from the pixel of src at
//
//	x_src = a·x + b·y + c,  y_src = d·x + e·y + f
//
// of its centre, or makes it black outside of src: nearest neighbour, in 16-bit fixed point with additions along rows, as in Pillow.
func affine(dst, src *picture.Picture, a, b, c, d, e, f float64) {
	reset(dst, src)
	fix := func(v float64) int64 { return int64(math.Floor(v*65536 + 0.5)) }
	right, down := [2]int64{fix(a), fix(d)}, [2]int64{fix(b), fix(e)}
	begin := [2]int64{fix(c + a/2 + b/2), fix(f + d/2 + e/2)}
	area := src.Height * src.Width
	clear(dst.Pix)
	for row := range src.Height {
		x, y := begin[0], begin[1]
		for at := row * src.Width; at < (row+1)*src.Width; at++ {
			if u, v := x>>16, y>>16; u >= 0 && u < int64(src.Width) && v >= 0 && v < int64(src.Height) {
				from := int(v)*src.Width + int(u)
				for plane := 0; plane < len(src.Pix); plane += area {
					dst.Pix[plane+at] = src.Pix[plane+from]
				}
			}
			x, y = x+right[0], y+right[1]
		}
		begin[0], begin[1] = begin[0]+down[0], begin[1]+down[1]
	}
}
