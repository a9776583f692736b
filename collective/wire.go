package collective

import (
	"encoding/binary"
	"math"
)

// Wire is how a vector x travels that one rank sends again and again. The sender and all receivers hold x̂, what was sent of it so
// far. A message is the change Q(x − x̂) in few bits, and all of them, the sender too, add what it decodes to:
//
//	x̂ ← x̂ + Q(x − x̂)
//
// So x̂ has the same bits everywhere, and what rounding dropped is part of the next change: error feedback without a residual to
// keep (Richtárik, Sokolov and Fatkhullin, EF21, arXiv 2106.05203; Seide et al., 1-bit stochastic gradient descent, Interspeech
// 2014). The error does not add up: with d = x − x̂ of before, after the message
//
//	fp32    x̂ = x, to the bit: x itself travels
//	bf16    |x − x̂| ≤ |d|/256
//	int8    |x − x̂| ≤ max|d|/252     over the number's block of 64
//	int4    |x − x̂| ≤ max|d|/13.8    likewise
//
// and 2⁻²³·(|x| + |x̂|) more where d and the sum are rounded to float32, or 2⁻¹⁰⁰, below which nothing is sent.
//
// int8 and int4 are whole multiples, from −127 to 127 and from −7 to 7, of one bfloat16 a block: the smallest that reaches the
// largest change. A number that is not finite, or a change not below 2¹²⁷, makes the x̂ of its block NaN, and in bf16 its own x̂ NaN
// or infinite, for good: what failed shows. The same numbers give the same bits on every processor.
type Wire string

// The wires.
const (
	FP32 Wire = "fp32"
	BF16 Wire = "bf16" // to nearest even
	Int8 Wire = "int8"
	Int4 Wire = "int4"
)

const (
	block    = 64 // numbers that share a scale
	scaleLen = 2  // bytes: a bfloat16
)

// Bytes is the length of a message of n numbers. int8 and int4 have the numbers first, then the scales.
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
	}
	panic(errWire)
}

// PerNumber is what a number of a long message takes, in bytes.
func (w Wire) PerNumber() float64 { return float64(w.Bytes(block)) / block }

const (
	errWire    = "collective: no such wire"
	errMessage = "collective: a message of another length"
)

// Encode puts the change from held to x, which are equally long, into dst, Bytes long, and adds to held what dst decodes to. In fp32
// held may be nil.
func (w Wire) Encode(dst []byte, held, x []float32) {
	if len(held) != len(x) && (w != FP32 || held != nil) || len(dst) != w.Bytes(len(x)) {
		panic(errMessage)
	}
	switch w {
	case FP32:
		copy(dst, raw(x))
		copy(held, x)
	case BF16:
		for i, v := range x {
			h := toBF16(v - held[i])
			binary.LittleEndian.PutUint16(dst[2*i:], h)
			held[i] += fromBF16(h)
		}
	default:
		w.encodeBlocks(dst, held, x)
	}
}

// Decode adds to held the change that src brings: what Encode has added to the sender's.
func (w Wire) Decode(held []float32, src []byte) {
	if len(src) != w.Bytes(len(held)) {
		panic(errMessage)
	}
	switch w {
	case FP32:
		copy(raw(held), src)
	case BF16:
		for i := range held {
			held[i] += fromBF16(binary.LittleEndian.Uint16(src[2*i:]))
		}
	default:
		w.decodeBlocks(held, src)
	}
}

// encodeBlocks is Encode of int8 and int4.
func (w Wire) encodeBlocks(dst []byte, held, x []float32) {
	size := w.Bytes(block) - scaleLen // bytes of a block's numbers
	codes, scales := w.parts(dst, len(x))
	for len(x) >= block {
		s := w.encodeBlock(codes, (*[block]float32)(held), (*[block]float32)(x))
		binary.LittleEndian.PutUint16(scales, s)
		codes, scales, held, x = codes[size:], scales[scaleLen:], held[block:], x[block:]
	}
	if len(x) > 0 { // as if zeros followed
		var room [block]byte
		var h, v [block]float32
		copy(h[:], held)
		copy(v[:], x)
		s := w.encodeBlock(room[:], &h, &v)
		binary.LittleEndian.PutUint16(scales, s)
		copy(codes, room[:])
		copy(held, h[:])
	}
}

// decodeBlocks is Decode of int8 and int4.
func (w Wire) decodeBlocks(held []float32, src []byte) {
	size := w.Bytes(block) - scaleLen
	codes, scales := w.parts(src, len(held))
	for len(held) >= block {
		w.decodeBlock((*[block]float32)(held), codes, binary.LittleEndian.Uint16(scales))
		codes, scales, held = codes[size:], scales[scaleLen:], held[block:]
	}
	if len(held) > 0 {
		var room [block]byte
		var h [block]float32
		copy(h[:], held)
		copy(room[:], codes)
		w.decodeBlock(&h, room[:], binary.LittleEndian.Uint16(scales))
		copy(held, h[:])
	}
}

// parts are the numbers and the scales of a message of n numbers.
func (w Wire) parts(message []byte, n int) (codes, scales []byte) {
	at := len(message) - scaleLen*((n+block-1)/block)
	return message[:at:at], message[at:]
}

// encodeBlock encodes a block; it returns the scale's bits.
func (w Wire) encodeBlock(codes []byte, held, x *[block]float32) (scale uint16) {
	var d [block]float32
	largest := uint32(0) // of the bits of |d|: those of NaN are larger than any number's
	for i, v := range x {
		v -= held[i]
		d[i] = v
		largest = max(largest, math.Float32bits(v)&^(1<<31))
	}
	steps := float32(127)
	if w == Int4 {
		steps = 7
	}
	s := scaleOf(largest, steps)
	inverse := float32(0)
	if s != 0 {
		inverse = 1 / s
	}
	// v·inverse + 1.5·2²³ has in its last bits the whole number nearest to v·inverse. The conversions keep a processor from
	// rounding but once.
	const shift = 3 << 22
	if w == Int8 {
		codes := (*[block]byte)(codes)
		for i, v := range d {
			codes[i] = byte(math.Float32bits(float32(v*inverse) + shift))
		}
	} else {
		codes := (*[block / 2]byte)(codes)
		for i := range codes { // each plus 8, the first of two in the lower half
			low := math.Float32bits(float32(d[2*i]*inverse) + (shift + 8))
			high := math.Float32bits(float32(d[2*i+1]*inverse) + (shift + 8))
			codes[i] = byte(low&15 | high<<4)
		}
	}
	scale = uint16(math.Float32bits(s) >> 16)
	w.decodeBlock(held, codes, scale)
	return scale
}

// decodeBlock adds to held what a block decodes to. The products are exact.
func (w Wire) decodeBlock(held *[block]float32, codes []byte, scale uint16) {
	s := fromBF16(scale)
	if w == Int8 {
		codes := (*[block]byte)(codes)
		for i, c := range codes {
			held[i] += float32(float32(int8(c)) * s)
		}
		return
	}
	var values [16]float32
	for i := range values {
		values[i] = float32(i-8) * s
	}
	codes4 := (*[block / 2]byte)(codes)
	for i, c := range codes4 {
		held[2*i] += values[c&15]
		held[2*i+1] += values[c>>4]
	}
}

// scaleOf is the smallest bfloat16 that, taken steps times, reaches the number of these bits; 0 below 2⁻¹⁰⁰, whose inverse might
// be no number, and NaN from 2¹²⁷ on.
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

// toBF16 is the bfloat16 nearest to v, of two the even one; NaN stays NaN.
func toBF16(v float32) uint16 {
	bits := math.Float32bits(v)
	if v != v {
		return uint16(bits>>16) | 1<<6
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}

func fromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }
