package transform

import "lte/data/picture"

// Rescale maps bytes with white as 1 to bytes with 255 as 1.
func Rescale(dst, src *picture.Picture, white int) {
	all(dst, src, tableOf(func(v int) uint8 { return uint8(min(255, (255*v+white/2)/white)) }))
}

// Posterize keeps the upper bits, 0..8, of every byte.
func Posterize(dst, src *picture.Picture, bits int) {
	all(dst, src, tableOf(func(v int) uint8 { return uint8(v >> (8 - bits) << (8 - bits)) }))
}

// Solarize inverts the bytes at or above a threshold.
func Solarize(dst, src *picture.Picture, threshold float64) {
	all(dst, src, tableOf(func(v int) uint8 {
		if float64(v) >= threshold {
			return uint8(255 - v)
		}
		return uint8(v)
	}))
}

// AutoContrast stretches each channel from its range l..h to 0..255:
//
//	255·(v-l)/(h-l)
func AutoContrast(dst, src *picture.Picture) {
	reset(dst, src)
	for c := range src.Channels {
		t := stretch(histogram(src.Plane(c)))
		t.apply(dst.Plane(c), src.Plane(c))
	}
}

// Equalize makes each channel's histogram as even as a table can: with n_v pixels of byte v, and step a 255th of all pixels but those of
// the largest byte,
//
//	v becomes (step/2 + Σ_{u<v} n_u) / step
func Equalize(dst, src *picture.Picture) {
	reset(dst, src)
	for c := range src.Channels {
		t := flatten(histogram(src.Plane(c)))
		t.apply(dst.Plane(c), src.Plane(c))
	}
}

// histogram is the frequency of each byte value.
func histogram(plane []uint8) (count [256]int) {
	for _, v := range plane {
		count[v]++
	}
	return count
}

// stretch is AutoContrast's table.
func stretch(count [256]int) table {
	low, high := 0, 255
	for low < 255 && count[low] == 0 {
		low++
	}
	for high > low && count[high] == 0 {
		high--
	}
	return tableOf(func(v int) uint8 {
		if high == low {
			return uint8(v)
		}
		scale := 255 / float64(high-low)
		return clip(float64(float64(v)*scale) - float64(float64(low)*scale)) // rounded as in Pillow: not fused
	})
}

// flatten is Equalize's table.
func flatten(count [256]int) (t table) {
	n, last := 0, 0
	for _, k := range count {
		if n += k; k > 0 {
			last = k
		}
	}
	step := (n - last) / 255
	below := step / 2
	for v := range t {
		t[v] = uint8(v)
		if step > 0 {
			t[v] = uint8(min(255, below/step))
		}
		below += count[v]
	}
	return t
}
