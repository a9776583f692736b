//go:build cgo

package picture

// #cgo CFLAGS: -O3 -Wall
// #include "passes.h"
import "C"

// across resizes every row of src, of stride values, to a row of dst:
//
//	dst(y, x) = clip((Σ_k weight(x, k)·src(y, start(x)+k) + 2^(shift-1)) >> shift)
func across(dst, src []uint8, stride int, a *axis) {
	C.lte_across((*C.uint8_t)(&dst[0]), (*C.uint8_t)(&src[0]), C.long(stride), C.int(len(src)/stride), C.int(a.out),
		(*C.int32_t)(&a.start[0]), (*C.int16_t)(&a.weight[0]), C.int(a.taps), C.int(a.shift))
}

// down resizes every column of src, whose rows have width values and begin with row first, to a column of dst:
//
//	dst(y, x) = clip((Σ_k weight(y, k)·src(start(y)+k-first, x) + 2^(shift-1)) >> shift)
func down(dst, src []uint8, width, first int, a *axis) {
	C.lte_down((*C.uint8_t)(&dst[0]), (*C.uint8_t)(&src[0]), C.long(width), C.int(first), C.int(a.out),
		(*C.int32_t)(&a.start[0]), (*C.int16_t)(&a.weight[0]), C.int(a.taps), C.int(a.shift))
}

// lookUp writes value[v] of each byte v into dst, with every row of width bytes mirrored if mirror.
func lookUp(dst []float32, src []uint8, width int, mirror bool, value *[256]float32) {
	flag := C.int(0)
	if mirror {
		flag = 1
	}
	C.lte_look_up((*C.float)(&dst[0]), (*C.uint8_t)(&src[0]), C.long(len(src)/width), C.long(width), flag, (*C.float)(&value[0]))
}
