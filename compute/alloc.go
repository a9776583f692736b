package compute

import "gonum.org/v1/gonum/blas/blas32"

// Purpose is what memory is for.
type Purpose int

// The purposes.
const (
	WeightMemory   Purpose = iota // parameters, and the copies of them that products read
	TrainingMemory                // gradients, heads, and what their effective weights are formed of
	PassMemory                    // what passes keep for each other, and their scratch
	Purposes       int     = iota
)

// Footprint is memory in bytes, by purpose. It is of floats, which hold the product of any sizes, exact up to 2^53.
type Footprint [Purposes]float64

// Allocator makes the buffers of a run, of zeros. One that counts makes headers without data and adds up their bytes: what is built
// with it tells what the same of Heap would allocate, and nothing of it may be read or written.
type Allocator struct {
	dtype   DType
	counted *Footprint // nil: buffers have memory
	purpose Purpose
}

// Heap returns an allocator of memory, with operands of that precision.
func Heap(d DType) Allocator { return Allocator{dtype: d} }

// Counting returns an allocator that counts in f, with operands of that precision.
func Counting(d DType, f *Footprint) Allocator { return Allocator{dtype: d, counted: f} }

// For returns the allocator for buffers of that purpose; without it they are WeightMemory.
func (a Allocator) For(p Purpose) Allocator {
	a.purpose = p
	return a
}

// DType is the precision of the operands.
func (a Allocator) DType() DType { return a.dtype }

// Rounds says whether operands are rounded copies of float32 values.
func (a Allocator) Rounds() bool { return a.dtype != Float32 }

// Bytes returns n bytes.
func (a Allocator) Bytes(n int) []byte {
	if a.counts(1, n) {
		return nil
	}
	return make([]byte, n)
}

// Floats returns a slice as long as the product of the sizes.
func (a Allocator) Floats(sizes ...int) []float32 {
	if a.counts(4, sizes...) {
		return nil
	}
	n := 1
	for _, size := range sizes {
		n *= size
	}
	return make([]float32, n)
}

// Matrix returns a dense float32 matrix.
func (a Allocator) Matrix(rows, cols int) blas32.General {
	return Matrix(rows, cols, a.Floats(rows, cols))
}

// Operand returns a dense operand.
func (a Allocator) Operand(rows, cols int) Operand {
	if a.counts(a.dtype.Size(), rows, cols) {
		return Operand{Rows: rows, Cols: cols, Stride: max(1, cols)}
	}
	return NewOperand(a.dtype, rows, cols)
}

// Grow makes o, an operand of this allocator, one of that size if that is more elements than it has; it keeps no values then.
func (a Allocator) Grow(o *Operand, rows, cols int) {
	if float64(rows)*float64(cols) > float64(o.Rows)*float64(o.Cols) {
		a.counts(-a.dtype.Size(), o.Rows, o.Cols)
		*o = a.Operand(rows, cols)
	}
}

// counts adds elements of so many bytes to what is counted, and says whether this allocator counts.
func (a Allocator) counts(bytes float64, sizes ...int) bool {
	if a.counted == nil {
		return false
	}
	for _, size := range sizes {
		bytes *= float64(size)
	}
	a.counted[a.purpose] += bytes
	return true
}

// Slice returns x[from:to], and nil of what is only counted.
func Slice[T any](x []T, from, to int) []T {
	if x == nil {
		return nil
	}
	return x[from:to]
}
