//go:build cgo

package compute

/*
#cgo CFLAGS: -O3 -fopenmp -Wall -Wno-psabi -Wno-unknown-pragmas
#cgo LDFLAGS: -ldnnl -lgomp -lm
#include <omp.h>
#include <unistd.h>
#include <oneapi/dnnl/dnnl.h>
#include "kernels_call.h"
#include "strassen.h"

// OpenMP's number of threads belongs to the calling thread, and Go moves goroutines between threads: it is set at every call.
static int sgemm(int threads, char ta, char tb, long m, long n, long k, float alpha, const float *a, long lda,
                 const float *b, long ldb, float beta, float *c, long ldc) {
  omp_set_num_threads(threads);
  return dnnl_sgemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

// kernels_of are those of an instruction set; 0 is the baseline.
static const lte_kernels *kernels_of(int isa) {
#if defined(__x86_64__)
  const lte_kernels *all[] = {&lte_kernels_base, &lte_kernels_avx2, &lte_kernels_avx512};
#else
  const lte_kernels *all[] = {&lte_kernels_base};
#endif
  return all[isa];
}
*/
import "C"

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"unsafe"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

var makers = map[string]maker{"gonum": newGonum, "onednn": func(threads int, d DType) (Backend, error) {
	return openOneDNN(threads, d, hasBFloat16())
}}

// Auto is the name of the fastest back end in this build.
const Auto = "onednn"

// openOneDNN returns the back end for this CPU, or an error where that does not multiply bfloat16 as it should.
func openOneDNN(threads int, d DType, hasBFloat16 bool) (Backend, error) {
	if d == BFloat16 && !hasBFloat16 {
		return nil, fmt.Errorf("compute.dtype = \"bf16\" needs a CPU with AVX512_BF16 or AMX, and this one has %s: use compute.dtype = \"f32\"",
			Features())
	}
	all := supportedKernels()
	return newOneDNN(all[len(all)-1], threads, d), nil
}

// Oversubscribed says whether so many ranks on this machine, with so many threads each, have more threads than it has cores.
func Oversubscribed(ranks, threads int) bool {
	return threads > 1 && (threads > runtime.NumCPU() || ranks*threads > int(C.sysconf(C._SC_NPROCESSORS_ONLN)))
}

// supportedKernels are those of the instruction sets that this CPU supports, the best one last.
func supportedKernels() (all []*C.lte_kernels) {
	for best := C.lte_choose_kernels(); !slices.Contains(all, best); {
		all = append(all, C.kernels_of(C.int(len(all))))
	}
	return all
}

// isa names the instruction set of kernels.
func isa(kernels *C.lte_kernels) string { return C.GoString(kernels.isa) }

// onednn is the back end of a cgo build: oneDNN's products, and the C kernels of this CPU's instruction set.
type onednn struct {
	kernels *C.lte_kernels
	threads C.int
	dtype   DType
	// Primitives take 0.2 to 0.5 ms to create; they are never freed.
	products     map[C.lte_product]*C.lte_matmul
	large        map[C.lte_product]*C.lte_strassen
	strassenFrom C.long    // the smallest dimension for which Strassen's algorithm is used
	scratch      []float32 // of borrow
}

func newOneDNN(kernels *C.lte_kernels, threads int, d DType) *onednn {
	o := &onednn{kernels: kernels, threads: C.int(threads), dtype: d, products: map[C.lte_product]*C.lte_matmul{},
		large: map[C.lte_product]*C.lte_strassen{}, strassenFrom: math.MaxInt32}
	if C.lte_strassen_pays() != 0 {
		o.strassenFrom = 384
	}
	return o
}

func (o *onednn) Name() string { return "onednn" }
func (o *onednn) DType() DType { return o.dtype }

// Describe names oneDNN's version and the kernels' instruction set.
func Describe() string {
	v := C.dnnl_version()
	return fmt.Sprintf("oneDNN %d.%d.%d, %s kernels", v.major, v.minor, v.patch, isa(C.lte_choose_kernels()))
}

func (o *onednn) Gemm(tA, tB blas.Transpose, alpha float32, a, b Operand, beta float32, c Operand) {
	m, n, k := checkGemm(tA, tB, a, b, c)
	if m*n == 0 {
		return
	}
	if tA == blas.Trans && tB == blas.NoTrans && a.F32 != nil {
		o.gemmTN(alpha, a, b, beta, c.general())
		return
	}
	o.product(C.lte_product{m: C.long(m), n: C.long(n), k: C.long(k), ta: truth(tA == blas.Trans), tb: truth(tB == blas.Trans),
		alpha: C.float(alpha), accumulate: truth(beta != 0)}, a, b, nil, c)
}

// gemmTN is the product of gradients, aᵀ·b in float32. sgemm is faster than the primitive by a tenth, and by as much
// again where c is wide, not tall: a tall c is computed as bᵀ·a and transposed. (sgemm's bits depend on the number of
// threads where the inner dimension is long; no result that must be equal on all ranks is computed here.)
func (o *onednn) gemmTN(alpha float32, a, b Operand, beta float32, c blas32.General) {
	if c.Cols < narrow && c.Rows > 2*c.Cols && c.Stride == c.Cols {
		wide := o.borrow(c.Cols, c.Rows)
		o.sgemm(blas.Trans, blas.NoTrans, alpha, b, a, 0, wide.general())
		C.transpose(o.kernels, unsafe.Pointer(ptr(c.Data)), 0, ptr(wide.F32), C.float(beta), C.long(c.Cols), C.long(c.Rows), o.threads)
		return
	}
	o.sgemm(blas.Trans, blas.NoTrans, alpha, a, b, beta, c)
}

// borrow returns a scratch matrix, valid until the next call.
func (o *onednn) borrow(rows, cols int) Operand {
	if rows*cols > len(o.scratch) {
		o.scratch = make([]float32, rows*cols)
	}
	return F32(Matrix(rows, cols, o.scratch[:rows*cols]))
}

// narrow is the number of columns from which sgemm is as fast on a wide matrix as on a tall one.
const narrow = 256

func (o *onednn) sgemm(tA, tB blas.Transpose, alpha float32, a, b Operand, beta float32, c blas32.General) {
	m, n, k := checkGemm(tA, tB, a, b, F32(c))
	status := C.sgemm(o.threads, C.char(tA), C.char(tB), C.long(m), C.long(n), C.long(k), C.float(alpha),
		ptr(a.F32), C.long(a.Stride), ptr(b.F32), C.long(b.Stride), C.float(beta), ptr(c.Data), C.long(c.Stride))
	if status != 0 {
		panic("compute: dnnl_sgemm refused its arguments")
	}
}

// Linear is a primitive with bias, unless another way to add to y is faster.
func (o *onednn) Linear(y, x, w Operand, bias []float32, beta float32) {
	m, n, k := checkGemm(blas.NoTrans, blas.Trans, x, w, y)
	checkEqual(n, bias)
	if m*n == 0 { // oneDNN divides by zero
		return
	}
	p := C.lte_product{m: C.long(m), n: C.long(n), k: C.long(k), tb: 1, alpha: 1, bias: 1, accumulate: truth(beta != 0)}
	if o.strassen(p, x, w, bias, y) {
		return
	}
	if beta != 0 && x.F32 != nil && o.threads == 1 { // the primitive's own sum is slower on one thread
		C.add_rows(o.kernels, ptr(y.F32), C.long(y.Stride), ptr(bias), C.long(m), C.long(n), o.threads)
		o.sgemm(blas.NoTrans, blas.Trans, 1, x, w, 1, y.general())
		return
	}
	if beta != 0 && y.F32 != nil && y.Stride == n {
		sum := o.borrow(m, n)
		o.Linear(sum, x, w, bias, 0)
		o.Add(y.F32[:m*n], sum.F32)
		return
	}
	o.product(p, x, w, bias, y)
}

func (o *onednn) LinearBackwardInput(dx, dy, w Operand) {
	m, n, k := checkGemm(blas.NoTrans, blas.NoTrans, dy, w, dx)
	if !o.strassen(C.lte_product{m: C.long(m), n: C.long(n), k: C.long(k), alpha: 1}, dy, w, nil, dx) {
		o.Gemm(blas.NoTrans, blas.NoTrans, 1, dy, w, 0, dx)
	}
}

func (o *onednn) AddProduct(dst Operand, c blas32.General, alpha float32, a, b blas32.General) {
	m, n, k := checkGemm(blas.NoTrans, blas.NoTrans, F32(a), F32(b), dst)
	checkDense(m*n, dst, F32(c))
	checkDense(m*k, F32(a))
	checkDense(k*n, F32(b))
	C.add_product(o.kernels, dst.ptr(), dst.isBF16(), ptr(c.Data), C.float(alpha), ptr(a.Data), ptr(b.Data), C.long(m), C.long(n),
		C.long(k), o.threads)
}

// fill sets the operands' strides and precisions, and the threads.
func (o *onednn) fill(p C.lte_product, a, b, c Operand) C.lte_product {
	p.lda, p.ldb, p.ldc = C.long(a.Stride), C.long(b.Stride), C.long(c.Stride)
	p.bf16, p.bf16_out, p.threads = a.isBF16(), c.isBF16(), o.threads
	return p
}

// strassen computes p by Strassen's algorithm, or returns false where that is not faster.
func (o *onednn) strassen(p C.lte_product, a, b Operand, bias []float32, c Operand) bool {
	p = o.fill(p, a, b, c)
	if p.bf16+p.bf16_out != 0 || min(p.m, p.n, p.k) < o.strassenFrom || p.n%32 != 0 || p.k%32 != 0 {
		return false
	}
	s := cached(o.large, p, func(p C.lte_product) *C.lte_strassen { return C.lte_strassen_new(&p) })
	if status := C.lte_strassen_run(s, o.kernels, ptr(a.F32), ptr(b.F32), ptr(bias), ptr(c.F32)); status != 0 {
		panic("compute: oneDNN refused a product")
	}
	return true
}

// product computes p by a matmul primitive.
func (o *onednn) product(p C.lte_product, a, b Operand, bias []float32, c Operand) {
	p = o.fill(p, a, b, c)
	primitive := cached(o.products, p, func(p C.lte_product) *C.lte_matmul { return C.lte_matmul_new(&p) })
	if status := C.lte_matmul_run(primitive, a.ptr(), b.ptr(), ptr(bias), c.ptr()); status != 0 {
		panic("compute: oneDNN refused a product")
	}
}

// cached returns what computes p, a pointer, which is made at its first use.
func cached[P comparable](all map[C.lte_product]P, p C.lte_product, make func(C.lte_product) P) P {
	product, ok := all[p]
	if !ok {
		if product = make(p); product == *new(P) {
			panic(fmt.Sprintf("compute: oneDNN has no product %+v here", p))
		}
		all[p] = product
	}
	return product
}

func truth(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func ptr(x []float32) *C.float { return (*C.float)(unsafe.Pointer(unsafe.SliceData(x))) }

func (o Operand) ptr() unsafe.Pointer {
	if o.BF16 != nil {
		return unsafe.Pointer(unsafe.SliceData(o.BF16))
	}
	return unsafe.Pointer(unsafe.SliceData(o.F32))
}

func (o Operand) isBF16() C.int { return truth(o.BF16 != nil) }

func (o *onednn) Round(dst Operand, x blas32.General) {
	checkSame(blas32.General{Rows: dst.Rows, Cols: dst.Cols}, x)
	if dst.F32 != nil {
		gonumBackend{}.Round(dst, x)
		return
	}
	checkDense(x.Rows*x.Cols, dst)
	C.round_(o.kernels, dst.ptr(), ptr(x.Data), C.long(x.Stride), C.long(x.Rows), C.long(x.Cols), o.threads)
}

func (o *onednn) Transpose(dst Operand, x blas32.General) {
	checkSame(blas32.General{Rows: dst.Cols, Cols: dst.Rows}, x)
	checkDense(x.Rows*x.Cols, dst, F32(x))
	C.transpose(o.kernels, dst.ptr(), dst.isBF16(), ptr(x.Data), 0, C.long(x.Rows), C.long(x.Cols), o.threads)
}

func (o *onednn) SumRows(dst []float32, x Operand) {
	checkRows(x, dst, x.Cols)
	C.sum_rows(o.kernels, ptr(dst), x.ptr(), x.isBF16(), C.long(x.Stride), C.long(x.Rows), C.long(x.Cols), o.threads)
}

func (o *onednn) Add(dst, x []float32) {
	checkEqual(len(dst), x)
	C.add(o.kernels, ptr(dst), ptr(x), C.long(len(x)), o.threads)
}

func (o *onednn) SumSquares(x []float32) float64 {
	return float64(C.sum_squares(o.kernels, ptr(x), C.long(len(x)), o.threads))
}

func (o *onednn) GELU(y, dydx, x Operand) {
	checkAlike(y, dydx, x)
	C.gelu(o.kernels, y.ptr(), dydx.ptr(), y.isBF16(), x.ptr(), C.long(x.Rows*x.Cols), o.threads)
}

func (o *onednn) Multiply(dst, x, y Operand) {
	checkAlike(dst, x, y)
	C.multiply(o.kernels, dst.ptr(), dst.isBF16(), x.ptr(), y.ptr(), C.long(x.Rows*x.Cols), o.threads)
}

func (o *onednn) LayerNorm(y Operand, xhat blas32.General, rstd []float32, x blas32.General, gamma, beta []float32, eps float32) {
	checkRows(F32(x), rstd, x.Rows)
	checkSame(x, xhat)
	checkDense(x.Rows*x.Cols, F32(xhat), y)
	checkGamma(x.Cols, gamma, beta)
	C.layer_norm(o.kernels, y.ptr(), y.isBF16(), ptr(xhat.Data), ptr(rstd), ptr(x.Data), C.long(x.Stride), ptr(gamma), ptr(beta),
		C.float(eps), C.long(x.Rows), C.long(x.Cols), o.threads)
}

// checkGamma panics unless gamma and beta are both nil or have an element for each column.
func checkGamma(cols int, gamma, beta []float32) {
	if gamma == nil {
		cols = 0
	}
	checkEqual(cols, gamma, beta)
}

func (o *onednn) LayerNormBackward(dx blas32.General, dy Operand, xhat blas32.General, rstd, gamma []float32) {
	checkRows(F32(dx), rstd, xhat.Rows)
	checkSame(dx, xhat)
	checkDense(dx.Rows*dx.Cols, F32(xhat), dy)
	checkGamma(dx.Cols, gamma, gamma)
	C.layer_norm_backward(o.kernels, ptr(dx.Data), C.long(dx.Stride), dy.ptr(), dy.isBF16(), ptr(xhat.Data), ptr(rstd), ptr(gamma),
		C.long(xhat.Rows), C.long(xhat.Cols), o.threads)
}

func (o *onednn) LayerNormBackwardParams(dgamma, dbeta []float32, dy Operand, xhat blas32.General) {
	checkEqual(dy.Cols, dgamma, dbeta)
	checkDense(dy.Rows*dy.Cols, F32(xhat), dy)
	C.layer_norm_backward_params(o.kernels, ptr(dgamma), ptr(dbeta), dy.ptr(), dy.isBF16(), ptr(xhat.Data), C.long(dy.Rows),
		C.long(dy.Cols), o.threads)
}

func (s AttentionShape) c() C.lte_attention_shape {
	return C.lte_attention_shape{batch: C.int(s.Batch), tokens: C.int(s.Tokens), heads: C.int(s.Heads), dim: C.int(s.Dim),
		queries: C.int(s.Queries)}
}

func (o *onednn) Attention(out Operand, probs []float32, qkv Operand, s AttentionShape) {
	s.check(out, probs, qkv)
	C.attention(o.kernels, out.ptr(), out.isBF16(), ptr(probs), qkv.ptr(), s.c(), o.threads)
}

func (o *onednn) AttentionBackward(dqkv, dout Operand, probs []float32, qkv Operand, s AttentionShape) {
	s.checkBackward(dqkv, dout, probs, qkv)
	C.attention_backward(o.kernels, dqkv.ptr(), dqkv.isBF16(), dout.ptr(), ptr(probs), qkv.ptr(), s.c(), o.threads)
}

func (o *onednn) Patches(dst Operand, images []float32, s ImageShape) {
	s.check(dst, images)
	checkDense(len(images), dst)
	shape := C.lte_image_shape{images: C.int(s.Images), channels: C.int(s.Channels), height: C.int(s.Height),
		width: C.int(s.Width), patch: C.int(s.Patch)}
	C.patches(o.kernels, dst.ptr(), dst.isBF16(), ptr(images), shape, o.threads)
}

func (o *onednn) AdamW(p, m, v, g []float32, s AdamWStep) {
	checkEqual(len(p), m, v, g)
	a := s.scalars()
	step := C.lte_adamw_step{rest1: C.float(a.rest1), rest2: C.float(a.rest2), rate: C.float(a.rate), root: C.float(a.root),
		eps: C.float(a.eps), decay: C.float(a.decay), clip: C.float(a.clip)}
	C.adamw(o.kernels, ptr(p), ptr(m), ptr(v), ptr(g), step, C.long(len(p)), o.threads)
}

func (o *onednn) Nesterov(m, g []float32, mu, clip float64) {
	checkEqual(len(m), g)
	C.nesterov(o.kernels, ptr(m), ptr(g), C.float(mu), C.float(clip), C.long(len(m)), o.threads)
}

func (o *onednn) SGD(p, buf, g []float32, s SGDStep) {
	checkEqual(len(p), buf, g)
	a := s.scalars()
	step := C.lte_sgd_step{rest: C.float(a.rest), lr: C.float(a.lr), decay: C.float(a.decay), clip: C.float(a.clip)}
	C.sgd(o.kernels, ptr(p), ptr(buf), ptr(g), step, C.long(len(p)), o.threads)
}
