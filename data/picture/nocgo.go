//go:build !cgo

package picture

import "errors"

var errNoJPEG = errors.New("no libjpeg")

func decodeJPEG(*Picture, []byte, bool) error { return errNoJPEG }

func across(dst, src []uint8, stride int, a *axis) {
	for y := range len(src) / stride {
		line := src[y*stride : (y+1)*stride]
		for x := range a.out {
			dst[y*a.out+x] = a.value(x, line[a.start[x]:], 1)
		}
	}
}

func down(dst, src []uint8, width, first int, a *axis) {
	for y := range a.out {
		from := src[(int(a.start[y])-first)*width:]
		for x := range width {
			dst[y*width+x] = a.value(y, from[x:], width)
		}
	}
}

// value returns value i of a line, from the values of src at multiples of stride.
func (a *axis) value(i int, src []uint8, stride int) uint8 {
	sum := int32(1) << (a.shift - 1)
	for k, w := range a.weight[i*a.taps : (i+1)*a.taps] {
		sum += int32(w) * int32(src[k*stride])
	}
	return uint8(min(max(sum>>a.shift, 0), 255))
}

func lookUp(dst []float32, src []uint8, width int, mirror bool, value *[256]float32) {
	for at := 0; at < len(src); at += width {
		for x, v := range src[at : at+width] {
			if mirror {
				x = width - 1 - x
			}
			dst[at+x] = value[v]
		}
	}
}
