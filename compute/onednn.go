//go:build cgo

package compute

/*
#cgo CFLAGS: -O3 -fopenmp -Wall -Wno-psabi -Wno-unknown-pragmas
#cgo LDFLAGS: -ldnnl -lgomp -lm
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include "kernels.h"

// OpenMP's number of threads belongs to the calling thread, and Go moves goroutines: so it is set at every call.
static int sgemm(int threads, char ta, char tb, long m, long n, long k, float alpha, const float *a, long lda,
                 const float *b, long ldb, float beta, float *c, long ldc) {
  omp_set_num_threads(threads);
  return dnnl_sgemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

// Go cannot call a C function pointer: one line each.
#define K const lte_kernels *k
static void add_rows(K, float *d, const float *b, long r, long c, int t) { k->add_rows(d, b, r, c, t); }
static void sum_rows(K, float *d, const float *x, long r, long c, int t) { k->sum_rows(d, x, r, c, t); }
static void add(K, float *d, const float *x, long n, int t) { k->add(d, x, n, t); }
static void scale(K, float *d, float a, long n, int t) { k->scale(d, a, n, t); }
static double sum_squares(K, const float *x, long n) { return k->sum_squares(x, n); }
static void gelu(K, float *d, const float *x, long n, int t) { k->gelu(d, x, n, t); }
static void gelu_backward(K, float *dx, const float *dy, const float *x, long n, int t) {
  k->gelu_backward(dx, dy, x, n, t);
}
static void normalize(K, float *h, float *s, const float *x, float e, long r, long c, int t) {
  k->normalize(h, s, x, e, r, c, t);
}
static void normalize_backward(K, float *dx, const float *dy, const float *h, const float *s, long r, long c, int t) {
  k->normalize_backward(dx, dy, h, s, r, c, t);
}
static void attention(K, float *o, float *p, const float *qkv, lte_attention_shape s, int t) {
  k->attention(o, p, qkv, s, t);
}
static void attention_backward(K, float *d, const float *o, const float *p, const float *qkv, lte_attention_shape s,
                               int t) {
  k->attention_backward(d, o, p, qkv, s, t);
}
static void adamw(K, float *p, float *m, float *v, const float *g, lte_adamw_step s, long n, int t) {
  k->adamw(p, m, v, g, s, n, t);
}
static void sgd(K, float *p, float *b, const float *g, float lr, float mu, float decay, long n, int t) {
  k->sgd(p, b, g, lr, mu, decay, n, t);
}
static const lte_kernels *named(int i) {
#if defined(__x86_64__)
  const lte_kernels *all[] = {&lte_kernels_base, &lte_kernels_avx2, &lte_kernels_avx512};
#else
  const lte_kernels *all[] = {&lte_kernels_base};
#endif
  const lte_kernels *best = lte_choose_kernels();
  for (int j = 0; j <= i && j < (int)(sizeof all / sizeof *all); j++) {
    if (j == i)
      return all[j];
    if (all[j] == best)
      break;
  }
  return 0;
}
*/
import "C"

import (
	"fmt"
	"unsafe"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

func init() {
	makers["onednn"] = func(threads int) Backend {
		return &onednn{kernels: C.lte_choose_kernels(), threads: C.int(threads)}
	}
	Auto = "onednn"
}

// onednn is the back end of a cgo build: oneDNN's sgemm, and the C kernels of this CPU's instruction set.
type onednn struct {
	kernels *C.lte_kernels
	threads C.int
}

func (o *onednn) Name() string { return "onednn" }

// Describe names oneDNN's version and the kernels' instruction set.
func Describe() string {
	v := C.dnnl_version()
	return fmt.Sprintf("oneDNN %d.%d.%d, %s kernels", v.major, v.minor, v.patch, C.GoString(C.lte_choose_kernels().isa))
}

func (o *onednn) Gemm(tA, tB blas.Transpose, alpha float32, a, b blas32.General, beta float32, c blas32.General) {
	m, n, k := checkGemm(tA, tB, a, b, c)
	if m*n == 0 {
		return
	}
	status := C.sgemm(o.threads, C.char(tA), C.char(tB), C.long(m), C.long(n), C.long(k), C.float(alpha),
		ptr(a.Data), C.long(a.Stride), ptr(b.Data), C.long(b.Stride), C.float(beta), ptr(c.Data), C.long(c.Stride))
	if status != 0 {
		panic("compute: dnnl_sgemm refused its arguments")
	}
}

func ptr(x []float32) *C.float { return (*C.float)(unsafe.Pointer(unsafe.SliceData(x))) }

func (o *onednn) AddRows(dst blas32.General, bias []float32) {
	checkRows(dst, bias, dst.Cols)
	C.add_rows(o.kernels, ptr(dst.Data), ptr(bias), C.long(dst.Rows), C.long(dst.Cols), o.threads)
}

func (o *onednn) SumRows(dst []float32, x blas32.General) {
	checkRows(x, dst, x.Cols)
	C.sum_rows(o.kernels, ptr(dst), ptr(x.Data), C.long(x.Rows), C.long(x.Cols), o.threads)
}

func (o *onednn) Add(dst, x []float32) {
	checkEqual(len(dst), x)
	C.add(o.kernels, ptr(dst), ptr(x), C.long(len(x)), o.threads)
}

func (o *onednn) Scale(dst []float32, alpha float32) {
	C.scale(o.kernels, ptr(dst), C.float(alpha), C.long(len(dst)), o.threads)
}

func (o *onednn) SumSquares(x []float32) float64 {
	return float64(C.sum_squares(o.kernels, ptr(x), C.long(len(x))))
}

func (o *onednn) GELU(dst, x []float32) {
	checkEqual(len(dst), x)
	C.gelu(o.kernels, ptr(dst), ptr(x), C.long(len(x)), o.threads)
}

func (o *onednn) GELUBackward(dx, dy, x []float32) {
	checkEqual(len(dx), dy, x)
	C.gelu_backward(o.kernels, ptr(dx), ptr(dy), ptr(x), C.long(len(x)), o.threads)
}

func (o *onednn) Normalize(xhat blas32.General, rstd []float32, x blas32.General, eps float32) {
	checkRows(x, rstd, x.Rows)
	checkEqual(len(x.Data), xhat.Data)
	C.normalize(o.kernels, ptr(xhat.Data), ptr(rstd), ptr(x.Data), C.float(eps), C.long(x.Rows), C.long(x.Cols), o.threads)
}

func (o *onednn) NormalizeBackward(dx, dy, xhat blas32.General, rstd []float32) {
	checkRows(xhat, rstd, xhat.Rows)
	checkEqual(len(xhat.Data), dx.Data, dy.Data)
	C.normalize_backward(o.kernels, ptr(dx.Data), ptr(dy.Data), ptr(xhat.Data), ptr(rstd), C.long(xhat.Rows),
		C.long(xhat.Cols), o.threads)
}

func (s AttentionShape) c() C.lte_attention_shape {
	return C.lte_attention_shape{batch: C.int(s.Batch), tokens: C.int(s.Tokens), heads: C.int(s.Heads), dim: C.int(s.Dim)}
}

func (o *onednn) Attention(out, probs, qkv []float32, s AttentionShape) {
	s.check(out, probs, qkv)
	C.attention(o.kernels, ptr(out), ptr(probs), ptr(qkv), s.c(), o.threads)
}

func (o *onednn) AttentionBackward(dqkv, dout, probs, qkv []float32, s AttentionShape) {
	s.check(dout, probs, qkv)
	checkEqual(len(qkv), dqkv)
	C.attention_backward(o.kernels, ptr(dqkv), ptr(dout), ptr(probs), ptr(qkv), s.c(), o.threads)
}

func (o *onednn) AdamW(p, m, v, g []float32, s AdamWStep) {
	checkEqual(len(p), m, v, g)
	step := C.lte_adamw_step{lr: C.float(s.LR), beta1: C.float(s.Beta1), beta2: C.float(s.Beta2), eps: C.float(s.Eps),
		decay: C.float(s.Decay), c1: C.float(s.C1), c2: C.float(s.C2)}
	C.adamw(o.kernels, ptr(p), ptr(m), ptr(v), ptr(g), step, C.long(len(p)), o.threads)
}

func (o *onednn) SGD(p, buf, g []float32, lr, momentum, decay float32) {
	checkEqual(len(p), buf, g)
	C.sgd(o.kernels, ptr(p), ptr(buf), ptr(g), C.float(lr), C.float(momentum), C.float(decay), C.long(len(p)), o.threads)
}

// everyISA returns a back end for every instruction set that this CPU runs, by name: the tests hold them all to one
// table of cases.
func everyISA(threads int) map[string]Backend {
	all := map[string]Backend{}
	for i := 0; ; i++ {
		k := C.named(C.int(i))
		if k == nil {
			return all
		}
		all["onednn/"+C.GoString(k.isa)] = &onednn{kernels: k, threads: C.int(threads)}
	}
}
