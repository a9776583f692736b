package merge

import (
	"encoding/binary"
	"math"

	"lte/collective"
)

// Wire is the format in which a rank sends the values of a vector x that it sends again and again. The sender and all receivers hold an
// estimate x̂ of it. A message is the quantized change Q(x − x̂), and all of them, the sender too, add what it decodes to:
//
//	x̂ ← x̂ + Q(x − x̂)
//
// So x̂ has the same bits everywhere, and the residual x − x̂ is part of the next change: error feedback (Richtárik, Sokolov and
// Fatkhullin, EF21, arXiv 2106.05203; Seide et al., 1-bit stochastic gradient descent, Interspeech 2014). Errors do not add up: with
// d = x − x̂ before a message, after it
//
//	fp32    x̂ = x, to the bit: x itself travels
//	bf16    |x − x̂| ≤ |d|/256
//	int8    |x − x̂| ≤ max|d|/252     over the block of 64 values
//	int4    |x − x̂| ≤ max|d|/13.8    likewise
//	int2    |x − x̂| ≤ max|d|/1.2     likewise, and Σ(x − x̂)² < Σd²
//
// plus 2⁻²³·(|x| + |x̂|) where d and the sum are rounded to float32, or 2⁻¹⁰⁰, below which nothing is sent.
//
// int8 and int4 are integer multiples, from −127 to 127 and from −7 to 7, of one bfloat16 scale a block: the smallest that reaches the
// largest change. int2 is one of −3, −1, 1 and 3 halves of a scale that is the root mean square of the block's changes, which is near the best for a
// normal distribution. A value that is not finite, or a change of 2¹²⁷ or more, makes the x̂ of its block NaN, and in bf16 its own x̂ NaN or
// infinite, for good: the failure shows. The same values give the same bits on every processor.
type Wire string

// The wire formats.
const (
	FP32 Wire = "fp32"
	BF16 Wire = "bf16" // to nearest even
	Int8 Wire = "int8"
	Int4 Wire = "int4"
	Int2 Wire = "int2"
)

const (
	block    = 64 // values that share a scale
	scaleLen = 2  // bytes: a bfloat16
)

// Bytes is the length of a message of n values. int8, int4 and int2 have the values first, then the scales.
func (w Wire) Bytes(n int) int {
	scales := scaleLen * ((n + block - 1) / block)
	switch w {
	case FP32:
		return 4 * n
	case BF16:
		return 2 * n
	case Int8:
		return n + scales
	case Int4:
		return (n+1)/2 + scales
	case Int2:
		return (n+3)/4 + scales
	}
	panic(errWire)
}

// width is the bytes of an element, for byte planes.
func (w Wire) width() int {
	switch w {
	case FP32:
		return 4
	case BF16:
		return 2
	}
	return 1
}

const (
	errWire    = "merge: no such wire format"
	errMessage = "merge: a message of another length"
)

// Encode writes the quantized change from estimate to x, which are equally long, to dst, Bytes long, and adds it to estimate. In fp32
// estimate may be nil.
func (w Wire) Encode(dst []byte, estimate, x []float32) {
	if len(estimate) != len(x) && (w != FP32 || estimate != nil) || len(dst) != w.Bytes(len(x)) {
		panic(errMessage)
	}
	switch w {
	case FP32:
		copy(dst, collective.Bytes(x))
		copy(estimate, x)
	case BF16:
		for i, v := range x {
			h := toBF16(v - estimate[i])
			binary.LittleEndian.PutUint16(dst[2*i:], h)
			estimate[i] += fromBF16(h)
		}
	default:
		w.encodeBlocks(dst, estimate, x)
	}
}

// Decode adds the change in src to estimate, as Encode did at the sender.
func (w Wire) Decode(estimate []float32, src []byte) {
	if len(src) != w.Bytes(len(estimate)) {
		panic(errMessage)
	}
	switch w {
	case FP32:
		copy(collective.Bytes(estimate), src)
	case BF16:
		for i := range estimate {
			estimate[i] += fromBF16(binary.LittleEndian.Uint16(src[2*i:]))
		}
	default:
		w.decodeBlocks(estimate, src)
	}
}

// encodeBlocks is Encode of int8, int4 and int2.
func (w Wire) encodeBlocks(dst []byte, estimate, x []float32) {
	size := w.Bytes(block) - scaleLen // bytes of a block's values
	codes, scales := w.sections(dst, len(x))
	for len(x) >= block {
		s := w.encodeBlock(codes, (*[block]float32)(estimate), (*[block]float32)(x))
		binary.LittleEndian.PutUint16(scales, s)
		codes, scales, estimate, x = codes[size:], scales[scaleLen:], estimate[block:], x[block:]
	}
	if len(x) > 0 { // as if zeros followed
		var padded [block]byte
		var h, v [block]float32
		copy(h[:], estimate)
		copy(v[:], x)
		s := w.encodeBlock(padded[:], &h, &v)
		binary.LittleEndian.PutUint16(scales, s)
		copy(codes, padded[:])
		copy(estimate, h[:])
	}
}

// decodeBlocks is Decode of int8, int4 and int2.
func (w Wire) decodeBlocks(estimate []float32, src []byte) {
	size := w.Bytes(block) - scaleLen
	codes, scales := w.sections(src, len(estimate))
	for len(estimate) >= block {
		w.decodeBlock((*[block]float32)(estimate), codes, binary.LittleEndian.Uint16(scales))
		codes, scales, estimate = codes[size:], scales[scaleLen:], estimate[block:]
	}
	if len(estimate) > 0 {
		var padded [block]byte
		var h [block]float32
		copy(h[:], estimate)
		copy(padded[:], codes)
		w.decodeBlock(&h, padded[:], binary.LittleEndian.Uint16(scales))
		copy(estimate, h[:])
	}
}

// sections are the values and the scales of a message of n values.
func (w Wire) sections(message []byte, n int) (codes, scales []byte) {
	at := len(message) - scaleLen*((n+block-1)/block)
	return message[:at:at], message[at:]
}

// encodeBlock encodes a block; it returns the scale's bits.
func (w Wire) encodeBlock(codes []byte, estimate, x *[block]float32) (scale uint16) {
	var d [block]float32
	largest := uint32(0) // of the bits of |d|: those of NaN exceed any number's
	for i, v := range x {
		v -= estimate[i]
		d[i] = v
		largest = max(largest, math.Float32bits(v)&^(1<<31))
	}
	var s float32
	switch w {
	case Int8:
		s = scaleOf(largest, 127)
	case Int4:
		s = scaleOf(largest, 7)
	case Int2:
		if s = scaleOf(largest, 1); s-s == 0 {
			s = fromBF16(toBF16(rootMeanSquare(&d, s)))
		}
	}
	inverse := float32(0)
	if s != 0 {
		inverse = 1 / s
	}
	// The last bits of v·inverse + 1.5·2²³ are the integer nearest to v·inverse. The conversions rule out a fused multiply-add.
	const shift = 3 << 22
	switch w {
	case Int8:
		codes := (*[block]byte)(codes)
		for i, v := range d {
			codes[i] = byte(math.Float32bits(float32(v*inverse) + shift))
		}
	case Int2: // each the integer below v·inverse, from −2 to 1, plus 2
		codes := (*[block / 4]byte)(codes)
		for i := range codes {
			code := byte(0)
			for j, v := range d[4*i : 4*i+4] {
				code |= byte(max(0, min(3, int(float32(v*inverse)+2)))) << (2 * j)
			}
			codes[i] = code
		}
	case Int4:
		codes := (*[block / 2]byte)(codes)
		for i := range codes { // each plus 8, the first of two in the lower half
			low := math.Float32bits(float32(d[2*i]*inverse) + (shift + 8))
			high := math.Float32bits(float32(d[2*i+1]*inverse) + (shift + 8))
			codes[i] = byte(low&15 | high<<4)
		}
	}
	scale = uint16(math.Float32bits(s) >> 16)
	w.decodeBlock(estimate, codes, scale)
	return scale
}

// decodeBlock adds a decoded block to estimate. The products are exact.
func (w Wire) decodeBlock(estimate *[block]float32, codes []byte, scale uint16) {
	s := fromBF16(scale)
	switch w {
	case Int8:
		codes := (*[block]byte)(codes)
		for i, c := range codes {
			estimate[i] += float32(float32(int8(c)) * s)
		}
		return
	case Int2:
		values := [4]float32{-1.5 * s, -0.5 * s, 0.5 * s, 1.5 * s}
		codes := (*[block / 4]byte)(codes)
		for i, c := range codes {
			for j := range 4 {
				estimate[4*i+j] += values[c>>(2*j)&3]
			}
		}
		return
	}
	var values [16]float32
	for i := range values {
		values[i] = float32(i-8) * s
	}
	codes4 := (*[block / 2]byte)(codes)
	for i, c := range codes4 {
		estimate[2*i] += values[c&15]
		estimate[2*i+1] += values[c>>4]
	}
}

// rootMeanSquare is that of d, whose largest change is at most s: in units of s the squares do not leave float32.
func rootMeanSquare(d *[block]float32, s float32) float32 {
	if s == 0 {
		return 0
	}
	sum := float32(0)
	for _, v := range d {
		v /= s
		sum += float32(v * v)
	}
	return s * float32(math.Sqrt(float64(sum/block)))
}

// scaleOf is the smallest bfloat16 that, times steps, reaches the number of these bits; 0 below 2⁻¹⁰⁰, whose inverse might not be
// finite, and NaN from 2¹²⁷ on.
func scaleOf(largest uint32, steps float32) float32 {
	const tiny, huge = (127 - 100) << 23, (127 + 127) << 23
	switch {
	case largest < tiny:
		return 0
	case largest >= huge:
		return float32(math.NaN())
	}
	s := math.Float32frombits(largest) / steps
	return math.Float32frombits((math.Float32bits(s) + 0xffff) &^ 0xffff)
}

// toBF16 rounds v to the nearest bfloat16, ties to even; NaN stays NaN.
func toBF16(v float32) uint16 {
	bits := math.Float32bits(v)
	if v != v {
		return uint16(bits>>16) | 1<<6
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

func fromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }
