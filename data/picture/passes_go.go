//go:build !cgo

package picture

func across(dst, src []uint8, stride int, a *axis) { acrossPlain(dst, src, stride, a) }

func down(dst, src []uint8, width, first int, a *axis) { downPlain(dst, src, width, first, a) }

func lookUp(dst []float32, src []uint8, width int, mirror bool, value *[256]float32) {
	lookUpPlain(dst, src, width, mirror, value)
}
