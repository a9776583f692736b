package picture

import (
	"image"
	"image/color"
)

// setImage writes red, green and blue of an image into p, which has the shape of the canvas; pixels outside of the image, as in a GIF's
// first frame, are black. Transparent pixels keep their colour, as in Pillow's convert("RGB").
func (p *Picture) setImage(m image.Image) {
	r, g, b := p.Plane(0), p.Plane(1), p.Plane(2)
	canvas := image.Rect(0, 0, p.Width, p.Height)
	if m.Bounds() == canvas {
		switch m := m.(type) {
		case *image.YCbCr: // JPEG
			for y := range p.Height {
				for x := range p.Width {
					i, j := m.YOffset(x, y), m.COffset(x, y)
					at := y*p.Width + x
					r[at], g[at], b[at] = color.YCbCrToRGB(m.Y[i], m.Cb[j], m.Cr[j])
				}
			}
			return
		case *image.Gray:
			for y := range p.Height {
				copy(r[y*p.Width:(y+1)*p.Width], m.Pix[y*m.Stride:])
			}
			copy(g, r)
			copy(b, r)
			return
		case *image.RGBA: // always opaque here
			p.deinterleave(m.Pix, m.Stride)
			return
		case *image.NRGBA:
			p.deinterleave(m.Pix, m.Stride)
			return
		}
	}
	clear(p.Pix)
	colour := func(x, y int) color.NRGBA { return color.NRGBAModel.Convert(m.At(x, y)).(color.NRGBA) }
	if m, ok := m.(*image.Paletted); ok { // one conversion per colour instead of per pixel
		palette := make([]color.NRGBA, 256) // an index beyond the palette is black
		for i, c := range m.Palette {
			palette[i] = color.NRGBAModel.Convert(c).(color.NRGBA)
		}
		colour = func(x, y int) color.NRGBA { return palette[m.ColorIndexAt(x, y)] }
	}
	within := m.Bounds().Intersect(canvas)
	for y := within.Min.Y; y < within.Max.Y; y++ {
		for x := within.Min.X; x < within.Max.X; x++ {
			c, at := colour(x, y), y*p.Width+x
			r[at], g[at], b[at] = c.R, c.G, c.B
		}
	}
}

// deinterleave separates pixels of four bytes, red, green, blue and alpha.
func (p *Picture) deinterleave(pixels []uint8, stride int) {
	r, g, b := p.Plane(0), p.Plane(1), p.Plane(2)
	for y := range p.Height {
		row := pixels[y*stride:]
		for x := range p.Width {
			at := y*p.Width + x
			r[at], g[at], b[at] = row[4*x], row[4*x+1], row[4*x+2]
		}
	}
}

// lossy returns the planes of a lossy image, with or without transparency; nil for others.
func lossy(m image.Image) *image.YCbCr {
	switch m := m.(type) {
	case *image.YCbCr:
		return m
	case *image.NYCbCrA:
		return &m.YCbCr
	}
	return nil
}

// setVideo is setImage for lossy WebP, whose Y is in 16..235 and whose Cb and Cr are in 16..240 (ITU-R BT.601, RFC 6386 section 9.2), where
// Go's package image assumes 0..255:
//
//	R = 1.164(Y-16) + 1.596(V-128),  G = 1.164(Y-16) - 0.391(U-128) - 0.813(V-128),  B = 1.164(Y-16) + 2.018(U-128)
//
// in fixed point of 14 bits.
func (p *Picture) setVideo(m *image.YCbCr) {
	r, g, b := p.Plane(0), p.Plane(1), p.Plane(2)
	level := func(v int32) uint8 { return uint8(max(0, min(255, (v+1<<13)>>14))) }
	for y := range p.Height {
		for x := range p.Width {
			i, j := m.YOffset(x, y), m.COffset(x, y)
			l, u, v := 19077*(int32(m.Y[i])-16), int32(m.Cb[j])-128, int32(m.Cr[j])-128
			at := y*p.Width + x
			r[at] = level(l + 26149*v)
			g[at] = level(l - 6419*u - 13320*v)
			b[at] = level(l + 33050*u)
		}
	}
}
