package merge_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lte/collective"
	"lte/collective/grouptest"
	"lte/merge"
)

var wires = []merge.Wire{merge.FP32, merge.BF16, merge.Int8, merge.Int4, merge.Int2}

// block is how many numbers share a scale.
const block = 64

// steps are what the largest change is divided by in the stated error.
var steps = map[merge.Wire]float64{merge.BF16: 256, merge.Int8: 252, merge.Int4: 13.8, merge.Int2: 1.2}

// stated is the error that Wire states, of every number that changes by d: of x before, and x̂ after the message.
func stated(w merge.Wire, d, x, held []float32) []float64 {
	bound := make([]float64, len(d))
	if w == merge.FP32 {
		return bound
	}
	for i := range bound {
		change := math.Abs(float64(d[i]))
		if w != merge.BF16 {
			for _, v := range d[i/block*block : min(len(d), i/block*block+block)] {
				change = max(change, math.Abs(float64(v)))
			}
		}
		bound[i] = change/steps[w] + math.Ldexp(math.Abs(float64(x[i]))+math.Abs(float64(held[i])), -23) + math.Ldexp(1, -100)
	}
	return bound
}

// follow sends x once; it fails unless sender and receiver hold the same bits, within the stated error. It returns the largest error.
func follow(w merge.Wire, sent, held, x []float32) (worst float64, err error) {
	d := make([]float32, len(x))
	for i := range x {
		d[i] = x[i] - sent[i]
	}
	message := make([]byte, w.Bytes(len(x)))
	w.Encode(message, sent, x)
	w.Decode(held, message)
	bound := stated(w, d, x, held)
	for i := range x {
		if math.Float32bits(sent[i]) != math.Float32bits(held[i]) {
			return 0, fmt.Errorf("%s: number %d of %d: %v is sent, %v received", w, i, len(x), sent[i], held[i])
		}
		off := math.Abs(float64(x[i]) - float64(held[i]))
		if !(off <= bound[i]) {
			return 0, fmt.Errorf("%s: number %d of %d: %v arrives as %v: off by %v, stated %v", w, i, len(x), x[i], held[i], off, bound[i])
		}
		worst = max(worst, off)
	}
	return worst, nil
}

// Numbers of all sizes, from what is not sent to the largest, arrive within the stated error, also where blocks are not full, and
// also where all are 0 or one alone is large.
//
// Fails if a scale is rounded down or to nearest, a code is truncated, codes or scales of a block are another's, or a last block is
// cut or spoilt by what is not there.
func TestWireError(t *testing.T) {
	for _, w := range wires {
		for _, n := range []int{0, 1, 2, 5, 63, 64, 65, 127, 128, 1000} {
			for _, size := range []float64{0, 1e-44, 1e-38, 1e-31, 1e-30, 1e-3, 1, 1e30, 1e37} {
				x, sent := grouptest.Draw(1, n), grouptest.Draw(2, n)
				for i := range x {
					x[i], sent[i] = float32(size*math.Tanh(float64(x[i]))), float32(size*math.Tanh(float64(sent[i])))
				}
				for i := 3; i < n; i += 2 * block {
					x[i] *= 10 // one alone
				}
				held := slices.Clone(sent)
				if _, err := follow(w, sent, held, x); err != nil {
					t.Fatalf("size %g: %v", size, err)
				}
			}
		}
	}
}

// What was sent follows what moves: after 100 messages it is as near as after one. Without feedback, rounded moves added up, it is not.
//
// Fails if what rounding dropped is not part of the next change.
func TestWireFeedback(t *testing.T) {
	const n, rounds = 1000, 100
	for _, w := range wires[1:] {
		x, sent, held, without := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
		source := rand.New(rand.NewPCG(1, 2))
		var largest, last float64 // move, error
		for range rounds {
			move := make([]float32, n)
			for i := range move {
				move[i] = float32(0.1 + 0.01*source.NormFloat64())
				x[i] += move[i]
				largest = max(largest, float64(move[i]))
			}
			worst, err := follow(w, sent, held, x)
			if err != nil {
				t.Fatal(err)
			}
			last = max(last, worst)
			message, rounded := make([]byte, w.Bytes(n)), make([]float32, n)
			w.Encode(message, rounded, move)
			for i, v := range rounded {
				without[i] += v
			}
		}
		drift := 0.0
		for i := range x {
			drift = max(drift, math.Abs(float64(x[i])-float64(without[i])))
		}
		rho := 1 / steps[w]
		if limit := 1.01 * largest * rho / (1 - rho); last > limit { // e ≤ ρ(max|move| + e)
			t.Errorf("%s: off by %v after %d messages of moves up to %v, want at most %v", w, last, rounds, largest, limit)
		}
		if drift < 4*last {
			t.Errorf("%s: without feedback off by %v only, with it by %v: the test shows nothing", w, drift, last)
		}
	}
}

// Fails if the residual of a block in int2 is not smaller than its change, whatever its distribution: error feedback would then not bring it.
func TestTwoBitsContract(t *testing.T) {
	source := rand.New(rand.NewPCG(3, 4))
	for spikes := range block + 1 { // from none, as in a normal distribution, to all of one size
		x, sent := make([]float32, block), make([]float32, block)
		for i := range x {
			x[i] = float32(source.NormFloat64())
			if i < spikes {
				x[i] = float32(100 - 200*(i%2))
			}
		}
		merge.Int2.Encode(make([]byte, merge.Int2.Bytes(block)), sent, x)
		var before, after float64
		for i, v := range x {
			before += float64(v) * float64(v)
			after += float64(v-sent[i]) * float64(v-sent[i])
		}
		most := 0.92
		if spikes == 0 {
			most = 0.17 // 0.12 in the limit (Max, Quantizing for minimum distortion, 1960)
		}
		if after > most*before {
			t.Errorf("%d spikes: the residual has %.2f of the change's energy, expected at most %.2f", spikes, after/before, most)
		}
	}
}

// A number that is not finite is seen in its block for good, and in no other.
//
// Fails if it arrives as a number, as codes beside a scale of NaN or an infinite one could.
func TestWireNotFinite(t *testing.T) {
	const n, at, huge = 3 * block, block + 7, 3e38
	for _, w := range wires[1:] {
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), huge} {
			x, sent := grouptest.Draw(1, n), make([]float32, n)
			held := slices.Clone(sent)
			x[at] = bad
			message := make([]byte, w.Bytes(n))
			for round := range 3 {
				if round == 1 {
					x[at] = 1
				}
				w.Encode(message, sent, x)
				w.Decode(held, message)
				for i := range x {
					hit := i == at || w != merge.BF16 && i/block == at/block
					for _, v := range []float32{sent[i], held[i]} {
						if fine := v-v == 0; fine == hit && !(w == merge.BF16 && bad == huge) {
							t.Fatalf("%s: %v at %d: %d is %v in round %d", w, bad, at, i, v, round)
						}
					}
				}
			}
		}
	}
}

// Fails if a message is longer than is promised.
func TestWireBytes(t *testing.T) {
	for w, want := range map[merge.Wire]map[int]int{
		merge.FP32: {0: 0, 1: 4, 1000: 4000},
		merge.BF16: {0: 0, 1: 2, 1000: 2000},
		merge.Int8: {0: 0, 1: 3, 64: 66, 65: 69, 1000: 1032},
		merge.Int4: {0: 0, 1: 3, 64: 34, 65: 37, 1000: 532},
		merge.Int2: {0: 0, 1: 3, 64: 18, 65: 21, 1000: 282},
	} {
		for n, bytes := range want {
			if got := w.Bytes(n); got != bytes {
				t.Errorf("%s: %d numbers in %d bytes, want %d", w, n, got, bytes)
			}
		}
	}
	const n = 1e6
	if int8, int4 := float64(4*n)/float64(merge.Int8.Bytes(n)), float64(4*n)/float64(merge.Int4.Bytes(n)); int8 < 3.8 || int4 < 7 {
		t.Errorf("int8 is %.2f times shorter than fp32, int4 %.2f times", int8, int4)
	}
}

// Fails if another processor, or another compiler, rounds otherwise: product and sum in one, say.
func TestWireBits(t *testing.T) {
	const n = 10_000
	x, held := make([]float32, n), make([]float32, n)
	for i := range x { // no function of package math, whose last bits differ from one processor to another
		x[i] = float32(int32(uint32(i)*2654435761)) / float32(int(1)<<(20+i%11))
		held[i] = x[(i+1)%n] / 3
	}
	for w, want := range map[merge.Wire]uint64{
		merge.BF16: 0x599fbea96aa93be6, merge.Int8: 0xa0079a8655f2f798, merge.Int4: 0xb8531e667f6eb968,
		merge.Int2: 0x52ef01450a7d0134,
	} {
		h := slices.Clone(held)
		w.Encode(make([]byte, w.Bytes(n)), h, x)
		if got := collective.Digest(h); got != want {
			t.Errorf("%s: digest %#x, want %#x", w, got, want)
		}
	}
}

// Bytes of float32 a second, encoded and decoded: go test -run xxx -bench Wire ./collective
func BenchmarkWire(b *testing.B) {
	const n = 1 << 20
	x := grouptest.Draw(1, n)
	for _, w := range wires {
		message, held := make([]byte, w.Bytes(n)), make([]float32, n)
		b.Run(fmt.Sprint(w, "/encode"), func(b *testing.B) {
			b.SetBytes(4 * n)
			for b.Loop() {
				w.Encode(message, held, x)
			}
		})
		b.Run(fmt.Sprint(w, "/decode"), func(b *testing.B) {
			b.SetBytes(4 * n)
			for b.Loop() {
				w.Decode(held, message)
			}
		})
	}
}
