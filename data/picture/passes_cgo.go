//go:build cgo

package picture

// #cgo CFLAGS: -O3 -Wall
// #include "passes.h"
import "C"

// across is acrossPlain in C.
func across(dst, src []uint8, stride int, a *axis) {
	C.lte_across((*C.uint8_t)(&dst[0]), (*C.uint8_t)(&src[0]), C.long(stride), C.int(len(src)/stride), C.int(a.out),
		(*C.int32_t)(&a.start[0]), (*C.int16_t)(&a.weight[0]), C.int(a.taps), C.int(a.shift))
}

// down is downPlain in C.
func down(dst, src []uint8, width, first int, a *axis) {
	C.lte_down((*C.uint8_t)(&dst[0]), (*C.uint8_t)(&src[0]), C.long(width), C.int(first), C.int(a.out),
		(*C.int32_t)(&a.start[0]), (*C.int16_t)(&a.weight[0]), C.int(a.taps), C.int(a.shift))
}

// lookUp is lookUpPlain in C.
func lookUp(dst []float32, src []uint8, width int, mirror bool, value *[256]float32) {
	flag := C.int(0)
	if mirror {
		flag = 1
	}
	C.lte_look_up((*C.float)(&dst[0]), (*C.uint8_t)(&src[0]), C.long(len(src)/width), C.long(width), flag, (*C.float)(&value[0]))
}
