package transform

import "lte/data/picture"

// Each of these blends a degenerate picture d and src: d + factor·(src-d), so that factor 1 is src unchanged. torchvision's
// adjust_brightness, adjust_contrast, adjust_saturation and adjust_sharpness are the same formulas.

// Brightness blends with black.
func Brightness(dst, src *picture.Picture, factor float64) {
	all(dst, src, blendTable(0, factor))
}

// Contrast blends with the mean grey of the picture.
func Contrast(dst, src *picture.Picture, factor float64) {
	sum, n := 0, src.Height*src.Width
	if src.Channels == 1 {
		for _, v := range src.Pix {
			sum += int(v)
		}
	} else {
		r, g, b := src.Plane(0), src.Plane(1), src.Plane(2)
		for i := range r {
			sum += int(grey(r[i], g[i], b[i]))
		}
	}
	all(dst, src, blendTable((2*sum+n)/(2*n), factor))
}

// Saturation blends with the picture in grey. A grey picture is unchanged.
func Saturation(dst, src *picture.Picture, factor float64) {
	reset(dst, src)
	if src.Channels == 1 {
		copy(dst.Pix, src.Pix)
		return
	}
	r, g, b := src.Plane(0), src.Plane(1), src.Plane(2)
	dr, dg, db := dst.Plane(0), dst.Plane(1), dst.Plane(2)
	f := float32(factor)
	for i := range r {
		l := int(grey(r[i], g[i], b[i]))
		dr[i], dg[i], db[i] = blend(l, r[i], f), blend(l, g[i], f), blend(l, b[i], f)
	}
}

// Sharpness blends with the smoothed picture: each pixel has weight 5 and each of its eight neighbours 1. Pixels at the edges are
// unchanged.
func Sharpness(dst, src *picture.Picture, factor float64) {
	reset(dst, src)
	copy(dst.Pix, src.Pix)
	f, w := float32(factor), src.Width
	for c := range src.Channels {
		from, to := src.Plane(c), dst.Plane(c)
		for y := 1; y < src.Height-1; y++ {
			above, line, below := from[(y-1)*w:y*w], from[y*w:(y+1)*w], from[(y+1)*w:(y+2)*w]
			out := to[y*w : (y+1)*w]
			for x := 1; x < w-1; x++ {
				sum := int(above[x-1]) + int(above[x]) + int(above[x+1]) + int(line[x-1]) + 5*int(line[x]) + int(line[x+1]) +
					int(below[x-1]) + int(below[x]) + int(below[x+1])
				out[x] = blend((2*sum+13)/26, line[x], f)
			}
		}
	}
}

// grey is the luma of ITU-R BT.601, 0.299·R + 0.587·G + 0.114·B, in fixed point of 16 bits.
func grey(r, g, b uint8) uint8 {
	return uint8((19595*uint32(r) + 38470*uint32(g) + 7471*uint32(b) + 1<<15) >> 16)
}

// blendTable tabulates blend for one d.
func blendTable(d int, factor float64) table {
	return tableOf(func(v int) uint8 { return blend(d, uint8(v), float32(factor)) })
}

// blend is d + factor·(v-d). The conversion prevents a fused multiply-add, which rounds differently.
func blend(d int, v uint8, factor float32) uint8 {
	return clip(float32(d) + float32(factor*float32(int(v)-d)))
}
