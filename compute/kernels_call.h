// Calls through a kernel table, for Go, which cannot call a C function pointer.
#ifndef LTE_KERNELS_CALL_H
#define LTE_KERNELS_CALL_H

#include "kernels.h"

#define K const lte_kernels *k
static void round_(K, void *d, const float *x, long ld, long r, long c, int t) { k->round(d, x, ld, r, c, t); }
static void transpose(K, void *d, int bf16, const float *x, float beta, long r, long c, int t) {
  k->transpose(d, bf16, x, beta, r, c, t);
}
static void add_product(K, void *d, int bf16, const float *c, float alpha, const float *a, const float *b, long m,
                        long n, long k_, int t) {
  k->add_product(d, bf16, c, alpha, a, b, m, n, k_, t);
}
static void add_rows(K, float *d, long ld, const float *b, long r, long c, int t) { k->add_rows(d, ld, b, r, c, t); }
static void sum_rows(K, float *d, const void *x, int bf16, long ld, long r, long c, int t) {
  k->sum_rows(d, x, bf16, ld, r, c, t);
}
static void add(K, float *d, const float *x, long n, int t) { k->add(d, x, n, t); }
static double sum_squares(K, const float *x, long n, int t) { return k->sum_squares(x, n, t); }
static void gelu(K, void *y, void *d, int bf16, const void *x, long n, int t) { k->gelu(y, d, bf16, x, n, t); }
static void multiply(K, void *d, int bf16, const void *x, const void *y, long n, int t) {
  k->multiply(d, bf16, x, y, n, t);
}
static void layer_norm(K, void *y, int bf16, float *h, float *s, const float *x, long ld, const float *g, const float *b,
                      float e, long r, long c, int t) {
  k->layer_norm(y, bf16, h, s, x, ld, g, b, e, r, c, t);
}
static void layer_norm_backward(K, float *dx, long ld, const void *dy, int bf16, const float *h, const float *s, const float *g,
                               long r, long c, int t) {
  k->layer_norm_backward(dx, ld, dy, bf16, h, s, g, r, c, t);
}
static void layer_norm_backward_params(K, float *dg, float *db, const void *dy, int bf16, const float *h, long r, long c, int t) {
  k->layer_norm_backward_params(dg, db, dy, bf16, h, r, c, t);
}
static void attention(K, void *o, int bf16, float *p, const void *qkv, lte_attention_shape s, int t) {
  k->attention(o, bf16, p, qkv, s, t);
}
static void attention_backward(K, void *d, int bf16, const void *o, const float *p, const void *qkv,
                               lte_attention_shape s, int t) {
  k->attention_backward(d, bf16, o, p, qkv, s, t);
}
static void patches(K, void *d, int bf16, const float *x, lte_image_shape s, int t) { k->patches(d, bf16, x, s, t); }
static void adamw(K, float *p, float *m, float *v, const float *g, lte_adamw_step s, long n, int t) {
  k->adamw(p, m, v, g, s, n, t);
}
static void nesterov(K, float *m, float *g, float mu, float clip, long n, int t) {
  k->nesterov(m, g, mu, clip, n, t);
}
static void sgd(K, float *p, float *b, const float *g, lte_sgd_step s, long n, int t) {
  k->sgd(p, b, g, s, n, t);
}
#undef K

#endif
