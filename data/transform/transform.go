// Package transform implements the picture operations of RandAugment and colour jitter: those of Pillow's ImageEnhance, ImageOps and
// Image.transform, equal to the byte. Random parameters are package data's business.
//
// Every operation writes the transformed src into dst, another picture, which gets src's shape; bytes 0 to 255 represent 0..1. It allocates
// nothing if dst has enough memory. Go's image libraries allocate a new interleaved image each time, and use other formulas.
package transform

import "lte/data/picture"

// table maps bytes.
type table [256]uint8

// tableOf tabulates f.
func tableOf(f func(v int) uint8) (t table) {
	for v := range t {
		t[v] = f(v)
	}
	return t
}

// apply writes the mapped bytes of src into dst.
func (t *table) apply(dst, src []uint8) {
	dst = dst[:len(src)]
	for i, v := range src {
		dst[i] = t[v]
	}
}

// reset gives dst the shape of src.
func reset(dst, src *picture.Picture) {
	if dst == src {
		panic("transform: a picture in place")
	}
	dst.Reset(src.Channels, src.Height, src.Width)
}

// all maps every byte by the same table.
func all(dst, src *picture.Picture, t table) {
	reset(dst, src)
	t.apply(dst.Pix, src.Pix)
}

// clip truncates x to an integer, as C does, within 0..255.
func clip[F float32 | float64](x F) uint8 { return uint8(max(0, min(255, x))) }
