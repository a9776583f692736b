package compute

import "gonum.org/v1/gonum/blas/blas32"

// DType is the precision in which products read their operands. They always add up in float32.
type DType string

// The precisions, by their names in the configuration.
const (
	Float32  DType = "f32"
	BFloat16 DType = "bf16" // the upper half of a float32: 8 bits of mantissa
)

// Size is the bytes of an element.
func (d DType) Size() float64 {
	if d == BFloat16 {
		return 2
	}
	return 4
}

// Operand is a row-major matrix as products read it: exactly one of F32 and BF16 holds it.
type Operand struct {
	Rows, Cols, Stride int
	F32                []float32
	BF16               []uint16
}

// NewOperand returns a rows×cols operand of zeros.
func NewOperand(d DType, rows, cols int) Operand {
	o := Operand{Rows: rows, Cols: cols, Stride: max(1, cols)}
	if d == BFloat16 {
		o.BF16 = make([]uint16, rows*cols)
	} else {
		o.F32 = make([]float32, rows*cols)
	}
	return o
}

// F32 returns x as an operand of the same memory.
func F32(x blas32.General) Operand {
	return Operand{Rows: x.Rows, Cols: x.Cols, Stride: x.Stride, F32: x.Data}
}

// AsOperand returns x in the back end's precision: x's own memory where that is float32, else x rounded into the first rows
// of scratch, which is dense.
func AsOperand(b Backend, scratch Operand, x blas32.General) Operand {
	if b.DType() == Float32 {
		return F32(x)
	}
	o := scratch.First(x.Rows)
	b.Round(o, x)
	return o
}

// First returns the first rows of o.
func (o Operand) First(rows int) Operand {
	if rows > o.Rows {
		panic(errShape)
	}
	o.Rows = rows
	return o.slice(0, max(0, (rows-1)*o.Stride+o.Cols))
}

// Range returns rows from..to-1 of o.
func (o Operand) Range(from, to int) Operand {
	o = o.First(to)
	o.Rows -= from
	n := max(len(o.F32), len(o.BF16))
	return o.slice(min(from*o.Stride, n), n)
}

// Columns returns the view of the first columns of o.
func (o Operand) Columns(n int) Operand {
	if n > o.Cols {
		panic(errShape)
	}
	o.Cols = n
	return o.First(o.Rows)
}

// Every returns the view of rows 0, step, 2·step, …
func (o Operand) Every(step int) Operand {
	o.Rows, o.Stride = (o.Rows+step-1)/step, o.Stride*step
	return o.First(o.Rows)
}

// First returns the first rows of x.
func First(x blas32.General, rows int) blas32.General { return F32(x).First(rows).general() }

// Every returns the view of x's rows 0, step, 2·step, …
func Every(x blas32.General, step int) blas32.General { return F32(x).Every(step).general() }

// Matrix returns data as a dense rows×cols matrix; nil: a header without data, for counting.
func Matrix(rows, cols int, data []float32) blas32.General {
	if data != nil && len(data) != rows*cols {
		panic(errLength)
	}
	return blas32.General{Rows: rows, Cols: cols, Stride: max(1, cols), Data: data}
}

// Shape returns a dense rows×cols operand at the start of o's memory.
func (o Operand) Shape(rows, cols int) Operand {
	return Operand{Rows: rows, Cols: cols, Stride: max(1, cols), F32: o.F32, BF16: o.BF16}.slice(0, rows*cols)
}

// slice returns o with elements from to to−1 of its memory.
func (o Operand) slice(from, to int) Operand {
	o.F32, o.BF16 = Slice(o.F32, from, to), Slice(o.BF16, from, to)
	return o
}
