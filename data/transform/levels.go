package transform

import "lte/data/picture"

// Widen makes bytes that stand for 0..1 from 0 to white such from 0 to 255.
func Widen(dst, src *picture.Picture, white int) {
	var t table
	for v := range t {
		t[v] = uint8(min(255, (255*v+white/2)/white))
	}
	all(dst, src, &t)
}

// Posterize keeps the upper bits, 0..8, of every byte.
func Posterize(dst, src *picture.Picture, bits int) {
	var t table
	for v := range t {
		t[v] = uint8(v >> (8 - bits) << (8 - bits))
	}
	all(dst, src, &t)
}

// Solarize inverts the bytes from a threshold on.
func Solarize(dst, src *picture.Picture, threshold float64) {
	var t table
	for v := range t {
		t[v] = uint8(v)
		if float64(v) >= threshold {
			t[v] = uint8(255 - v)
		}
	}
	all(dst, src, &t)
}

// AutoContrast stretches the bytes of each channel, the least of which is l and the largest h, to 0..255:
//
//	255·(v-l)/(h-l)
func AutoContrast(dst, src *picture.Picture) {
	reset(dst, src)
	for c := range src.Channels {
		t := stretch(histogram(src.Plane(c)))
		t.apply(dst.Plane(c), src.Plane(c))
	}
}

// Equalize gives each channel as even a histogram as a table can: with n_v pixels of byte v, and a step of a 255th of all but
// those of the largest byte,
//
//	v becomes (step/2 + Σ_{u<v} n_u) / step
func Equalize(dst, src *picture.Picture) {
	reset(dst, src)
	for c := range src.Channels {
		t := flatten(histogram(src.Plane(c)))
		t.apply(dst.Plane(c), src.Plane(c))
	}
}

// histogram is how often each byte occurs.
func histogram(plane []uint8) (count [256]int) {
	for _, v := range plane {
		count[v]++
	}
	return count
}

// stretch is AutoContrast's table.
func stretch(count [256]int) (t table) {
	low, high := 0, 255
	for low < 255 && count[low] == 0 {
		low++
	}
	for high > low && count[high] == 0 {
		high--
	}
	for v := range t {
		t[v] = uint8(v)
		if high > low {
			scale := 255 / float64(high-low)
			t[v] = clip(float64(float64(v)*scale) - float64(float64(low)*scale)) // as Pillow rounds: not fused
		}
	}
	return t
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
