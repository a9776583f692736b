package compute

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Panics: misuse inside the program.
const (
	errLength = "compute: slices of unequal length"
	errShape  = "compute: matrix shapes do not fit"
	errStride = "compute: matrix is not of its stride"
	errDType  = "compute: operands of this precision are not for this back end"
	errFormat = "compute: unknown storage format of weights"
)

// checkGemm panics unless op(a)·op(b) fits c; it returns the product's sizes.
func checkGemm(tA, tB blas.Transpose, a, b, c Operand) (m, n, k int) {
	m, k = a.Rows, a.Cols
	if tA == blas.Trans {
		m, k = k, m
	}
	kb, n := b.Rows, b.Cols
	if tB == blas.Trans {
		kb, n = n, kb
	}
	if k != kb || c.Rows != m || c.Cols != n {
		panic(errShape)
	}
	checkDType(a, b)
	a.check()
	b.check()
	c.check()
	return m, n, k
}

func checkDType(a, b Operand) {
	if (a.BF16 == nil) != (b.BF16 == nil) {
		panic(errDType)
	}
}

// checkAlike panics unless all are dense, of one shape and precision.
func checkAlike(x, y, z Operand) {
	checkDense(x.Rows*x.Cols, x, y, z)
	checkDType(x, y)
	checkDType(x, z)
}

// check panics unless the operand's slice is long enough.
func (o Operand) check() {
	if o.Stride < max(1, o.Cols) || o.Cols > 0 && max(len(o.F32), len(o.BF16)) < (o.Rows-1)*o.Stride+o.Cols {
		panic(errStride)
	}
}

// checkDense panics unless all are dense, of n elements.
func checkDense(n int, all ...Operand) {
	for _, o := range all {
		if o.Stride != max(1, o.Cols) || max(len(o.F32), len(o.BF16)) != o.Rows*o.Cols || o.Rows*o.Cols != n {
			panic(errStride)
		}
	}
}

// checkRows panics unless the vector has n elements, the rows or columns of x.
func checkRows(x Operand, vector []float32, n int) {
	if len(vector) != n {
		panic(errLength)
	}
	x.check()
}

func checkSame(x, y blas32.General) {
	if x.Rows != y.Rows || x.Cols != y.Cols {
		panic(errShape)
	}
}

func checkEqual(n int, xs ...[]float32) {
	for _, x := range xs {
		if len(x) != n {
			panic(errLength)
		}
	}
}
