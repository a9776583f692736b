// Package transform holds the operations on pictures that RandAugment and colour jitter draw from: what Pillow has in
// ImageEnhance, ImageOps and Image.transform, to the byte. The draws are package data's business.
//
// Every operation writes what becomes of src into dst, another picture, which it gives src's shape; bytes stand for 0..1
// from 0 to 255. It allocates nothing once dst has the room. Go's image libraries make a new image of interleaved pixels each
// time, and have other formulas.
package transform

import "lte/data/picture"

// table is what becomes of each byte.
type table [256]uint8

// apply writes into dst what becomes of the bytes of src.
func (t *table) apply(dst, src []uint8) {
	dst = dst[:len(src)]
	for i, v := range src {
		dst[i] = t[v]
	}
}

// reset makes dst a picture of src's shape.
func reset(dst, src *picture.Picture) {
	if dst == src {
		panic("transform: a picture in place")
	}
	dst.Reset(src.Channels, src.Height, src.Width)
}

// all replaces every byte by the same table.
func all(dst, src *picture.Picture, t *table) {
	reset(dst, src)
	t.apply(dst.Pix, src.Pix)
}

// clip is x cut off to whole numbers, as C converts it, within 0..255.
func clip[F float32 | float64](x F) uint8 { return uint8(max(0, min(255, x))) }
