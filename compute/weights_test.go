package compute_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"lte/compute"

	"gonum.org/v1/gonum/blas/blas32"
)

func random(n int) []float32 {
	r, x := rand.New(rand.NewPCG(11, 11)), make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// newWeights returns random weights (rows, cols) in that format, in memory of their own, and their values.
func newWeights(f compute.Format, rows, cols int) (compute.Weights, []float32) {
	w := compute.NewWeights(f, rows, cols, make([]byte, int(f.Bytes(rows, cols))))
	w.CopyFrom(random(rows * cols))
	x := make([]float32, rows*cols)
	w.CopyTo(x)
	return w, x
}

// A value that was read is stored as itself: copies of weights are exact, whatever the format. Fails if rows are stored in another place,
// or stored values change when they are stored again.
func TestWeightsKeepWhatWasRead(t *testing.T) {
	const rows, cols = 7, 12
	for _, f := range []compute.Format{compute.FP32} {
		w, x := newWeights(f, rows, cols)
		before := slices.Clone(w.Bytes())
		again, _ := newWeights(f, rows, cols)
		again.CopyFrom(x)
		if !bytes.Equal(w.Bytes(), again.Bytes()) {
			t.Errorf("%s: values that are stored again are other bytes", f)
		}
		var scratch []float32
		for first := 0; first <= rows; first++ {
			for end := first; end <= rows; end++ {
				part := w.Read(first, end, &scratch)
				if part.Rows != end-first || part.Cols != cols || !slices.Equal(part.Data, x[first*cols:end*cols]) {
					t.Fatalf("%s: rows %d to %d are others", f, first, end)
				}
				w.Write(first, part)
				w.Write(first, compute.Matrix(end-first, cols, slices.Clone(part.Data)))
			}
		}
		if !bytes.Equal(w.Bytes(), before) {
			t.Errorf("%s: rows that are read and written are other bytes", f)
		}
	}
}

// Fails if a row is not written, or another one is.
func TestWeightsWriteRows(t *testing.T) {
	const rows, cols, first, end = 7, 12, 2, 5
	for _, f := range []compute.Format{compute.FP32} {
		w, x := newWeights(f, rows, cols)
		var scratch []float32
		part := w.Read(first, end, &scratch)
		for i := range part.Data {
			part.Data[i] = 2
			x[first*cols+i] = 2
		}
		w.Write(first, part)
		got := make([]float32, rows*cols)
		if w.CopyTo(got); !slices.Equal(got, x) {
			t.Errorf("%s: %v, want %v", f, got, x)
		}
	}
}

// Ranks of a node share the memory: what one writes another reads.
func TestWeightsLiveInTheirMemory(t *testing.T) {
	const rows, cols = 3, 4
	for _, f := range []compute.Format{compute.FP32} {
		memory := make([]byte, int(f.Bytes(rows, cols)))
		one, other := compute.NewWeights(f, rows, cols, memory), compute.NewWeights(f, rows, cols, memory)
		one.CopyFrom(slices.Repeat([]float32{1}, rows*cols))
		got := make([]float32, rows*cols)
		if other.CopyTo(got); !slices.Equal(got, slices.Repeat([]float32{1}, rows*cols)) || !bytes.Equal(one.Bytes(), memory) {
			t.Errorf("%s: %v", f, got)
		}
	}
}

// Products see the values that Read returns, in their own precision. A copy is made only where the format converts.
func TestWeightsInProducts(t *testing.T) {
	const rows, cols, inner = 33, 40, 5
	x, y := compute.Matrix(rows, inner, random(rows*inner)), compute.Matrix(inner, cols, random(inner*cols))
	for _, f := range []compute.Format{compute.FP32} {
		w, values := newWeights(f, rows, cols)
		whole := compute.Matrix(rows, cols, values)
		for _, d := range []compute.DType{compute.Float32, compute.BFloat16} {
			for name, b := range backends(t, 1, d) {
				want := compute.AsOperand(b, compute.NewOperand(d, rows, cols), whole)
				scratch := compute.NewOperand(d, rows, cols)
				got := w.Operand(b, scratch)
				if !slices.Equal(got.F32, want.F32) || !slices.Equal(got.BF16, want.BF16) {
					t.Errorf("%s, %s, %s: the operand has other values", f, d, name)
				}
				copied := len(scratch.F32) > 0 && &got.F32[:1][0] == &scratch.F32[0] || len(scratch.BF16) > 0 && &got.BF16[:1][0] == &scratch.BF16[0]
				if copied != f.Converts(d) {
					t.Errorf("%s, %s, %s: copied: %v", f, d, name, copied)
				}
				want = compute.NewOperand(d, rows, cols)
				b.AddProduct(want, whole, 0.5, x, y)
				w.AddProduct(b, scratch, 0.5, x, y)
				if !slices.Equal(scratch.F32, want.F32) || !slices.Equal(scratch.BF16, want.BF16) {
					t.Errorf("%s, %s, %s: W + 0.5·x·y differs", f, d, name)
				}
			}
		}
	}
}

// What is called in every step allocates nothing, and FP32 is read in place.
func TestFloat32WeightsAreReadInPlace(t *testing.T) {
	b := backends(t, 1, compute.Float32)["gonum"]
	data := random(12)
	w := compute.Float32Weights(3, 4, data)
	var rows blas32.General
	var o compute.Operand
	if n := testing.AllocsPerRun(10, func() {
		rows, o = w.Read(1, 3, nil), w.Operand(b, compute.Operand{})
		w.Write(1, rows)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if &rows.Data[0] != &data[4] || &o.F32[0] != &data[0] || &w.Float32()[0] != &data[0] {
		t.Error("a copy")
	}
}

func TestWeightsWithoutMemoryHaveAShape(t *testing.T) {
	w := compute.NewWeights(compute.FP32, 3, 4, nil)
	if w.Len() != 12 || w.Format() != compute.FP32 || len(w.Bytes()) != 0 || compute.FP32.Bytes(3, 4) != 48 {
		t.Errorf("%+v", w)
	}
}

func TestMisuseOfWeightsPanics(t *testing.T) {
	w := compute.Float32Weights(2, 2, make([]float32, 4))
	for name, call := range map[string]func(){
		"length":  func() { compute.NewWeights(compute.FP32, 2, 2, make([]byte, 15)) },
		"format":  func() { compute.NewWeights("int3", 2, 2, nil) },
		"rows":    func() { w.Write(1, compute.Heap(compute.Float32).Matrix(2, 2)) },
		"columns": func() { w.Write(0, compute.Heap(compute.Float32).Matrix(2, 1)) },
		"values":  func() { w.CopyTo(make([]float32, 3)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			call()
		}()
	}
}
