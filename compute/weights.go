package compute

import (
	"unsafe"

	"gonum.org/v1/gonum/blas/blas32"
)

// Format is a storage format of main weights.
type Format string

// The storage formats, by their names in the configuration.
const FP32 Format = "fp32"

// Bytes is the memory of a matrix (rows, cols) in that format, a multiple of 4. It is a float, which holds the product of any sizes, exact up to 2^53.
func (f Format) Bytes(rows, cols int) float64 { return 4 * float64(rows) * float64(cols) }

// Converts says whether products in precision d read a copy of weights in that format, rather than their memory.
func (f Format) Converts(d DType) bool { return d != Float32 }

// Weights is a matrix (Rows, Cols) of main weights in a storage format. Other packages read and write float32 values through its methods
// and do not depend on the format: another one is a constant above, its Bytes and Converts, and a case in each method below.
//
// Its memory may be shared by the ranks of a node. Read and Write of disjoint rows may run at the same time.
type Weights struct {
	Rows, Cols int
	f32        []float32 // (Rows, Cols); nil: a shape without memory, for counting
}

// NewWeights returns a matrix in memory of Format.Bytes, which starts at a multiple of 4 bytes; nil: without memory.
func NewWeights(f Format, rows, cols int, memory []byte) Weights {
	if f != FP32 {
		panic(errFormat)
	}
	w := Weights{Rows: rows, Cols: cols}
	if memory == nil {
		return w
	}
	if len(memory) != 4*rows*cols {
		panic(errLength)
	}
	w.f32 = unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(memory))), rows*cols)
	return w
}

// Float32Weights returns data as a matrix in FP32 of the same memory.
func Float32Weights(rows, cols int, data []float32) Weights {
	return Weights{Rows: rows, Cols: cols, f32: Matrix(rows, cols, data).Data}
}

// Format is the storage format.
func (w Weights) Format() Format { return FP32 }

// Len is the number of elements.
func (w Weights) Len() int { return w.Rows * w.Cols }

// Size is the length of the memory in bytes, whether there is one or not.
func (w Weights) Size() int { return int(w.Format().Bytes(w.Rows, w.Cols)) }

// Bytes is the memory. Ranks that hold the same bytes hold the same weights: digests are of them.
func (w Weights) Bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(w.f32))), 4*len(w.f32))
}

// Float32 is the memory as float32 values, for methods that train the weights themselves. Formats that have none panic.
func (w Weights) Float32() []float32 { return w.f32 }

// Operand returns the matrix in the back end's precision: its own memory, or a copy in scratch, which is dense, where the format
// Converts to it.
func (w Weights) Operand(b Backend, scratch Operand) Operand {
	return AsOperand(b, scratch, w.general(0, w.Rows))
}

// AddProduct computes dst = W + alpha·x·y, for an inner dimension that is short compared with the others.
func (w Weights) AddProduct(b ProductKernels, dst Operand, alpha float32, x, y blas32.General) {
	b.AddProduct(dst, w.general(0, w.Rows), alpha, x, y)
}

// Read returns rows first to end−1 in float32: their own memory in FP32, else a copy in scratch, which it grows. The caller changes them
// with Write after it, and only then.
func (w Weights) Read(first, end int, _ *[]float32) blas32.General { return w.general(first, end) }

// Write stores rows, first and those after it. They may be what Read returned.
func (w Weights) Write(first int, rows blas32.General) {
	dst := w.general(first, first+rows.Rows)
	checkSame(dst, rows)
	checkDense(rows.Rows*rows.Cols, F32(rows))
	if len(rows.Data) > 0 && &dst.Data[0] != &rows.Data[0] {
		copy(dst.Data, rows.Data)
	}
}

// CopyTo copies all values into dst, row after row.
func (w Weights) CopyTo(dst []float32) {
	checkEqual(w.Len(), dst)
	copy(dst, w.f32)
}

// CopyFrom stores src, row after row.
func (w Weights) CopyFrom(src []float32) { w.Write(0, Matrix(w.Rows, w.Cols, src)) }

// Update calls f with all values, row after row, and stores what it makes of them.
func (w Weights) Update(f func(values []float32)) {
	rows := w.Read(0, w.Rows, new([]float32))
	f(rows.Data)
	w.Write(0, rows)
}

// general returns rows first to end−1.
func (w Weights) general(first, end int) blas32.General {
	return Matrix(end-first, w.Cols, w.f32[first*w.Cols:end*w.Cols])
}
