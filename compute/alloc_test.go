package compute

import (
	"reflect"
	"testing"
)

// allocate makes one buffer of every kind.
func allocate(a Allocator) (o, grown Operand, headers []any) {
	o = a.For(PassMemory).Operand(3, 5)
	for _, size := range [][2]int{{2, 3}, {1, 4}, {4, 2}} {
		a.For(TrainingMemory).Grow(&grown, size[0], size[1])
	}
	m := a.Matrix(2, 7)
	return o, grown, []any{m.Rows, m.Cols, m.Stride, o.Rows, o.Cols, o.Stride, grown.Rows, grown.Cols, grown.Stride}
}

// An allocator that counts makes the headers of one that allocates, without data, and counts its bytes. Fails too if what Grow replaces
// stays counted, or a smaller size replaces anything.
func TestCountingAllocatorMakesTheSameHeaders(t *testing.T) {
	for d, element := range map[DType]float64{Float32: 4, BFloat16: 2} {
		var f Footprint
		o, grown, got := allocate(Counting(d, &f))
		real, realGrown, want := allocate(Heap(d))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: headers %v, want %v", d, got, want)
		}
		for _, x := range []Operand{o, grown} {
			if x.F32 != nil || x.BF16 != nil {
				t.Errorf("%s: an operand has data", d)
			}
		}
		if n := len(real.F32) + len(real.BF16); n != 15 || (real.F32 != nil) != (d == Float32) {
			t.Errorf("%s: %d elements", d, n)
		}
		if n := len(realGrown.F32) + len(realGrown.BF16); n != 8 {
			t.Errorf("%s: grown to %d elements", d, n)
		}
		if want := (Footprint{4 * 14, element * 8, element * 15}); f != want {
			t.Errorf("%s: %v bytes, want %v", d, f, want)
		}
	}
}

// Fails if a product of sizes overflows.
func TestCountsDoNotOverflow(t *testing.T) {
	var f Footprint
	a := Counting(Float32, &f)
	if x := a.Floats(1<<40, 1<<40, 1<<40); x != nil || f[WeightMemory] != 0x1p122 {
		t.Errorf("%v bytes", f)
	}
	a.Operand(1<<60, 1<<60)
	if f[WeightMemory] != 0x1p122+0x1p122 {
		t.Errorf("%v bytes", f)
	}
	if x := Heap(Float32).Floats(2, 3, 4); len(x) != 24 {
		t.Errorf("%d elements", len(x))
	}
}
