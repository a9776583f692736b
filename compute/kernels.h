// The kernels' declarations, and the table through which Go calls the version for this CPU.
#ifndef LTE_KERNELS_H
#define LTE_KERNELS_H

typedef struct {
  int batch, tokens, heads, dim, queries;
} lte_attention_shape;

typedef struct {
  int images, channels, height, width, patch;
} lte_image_shape;

typedef struct {
  float rest1, rest2, rate, root, eps, decay, clip; // see adamWScalars
} lte_adamw_step;

typedef struct {
  float rest, lr, decay, clip; // see sgdScalars
} lte_sgd_step;

// Operands are bfloat16 where bf16 is set, else float.
typedef struct {
  const char *isa;
  void (*round)(void *dst, const float *x, long ldx, long rows, long cols, int threads); // to bfloat16
  void (*transpose)(void *dst, int bf16, const float *src, float beta, long rows, long cols, int threads);
  void (*add_product)(void *dst, int bf16, const float *c, float alpha, const float *a, const float *b, long m, long n,
                      long k, int threads);
  // The sums of strassen.c.
  void (*strassen_left)(float *s, const float *a, long lda, long rows, long half_k);
  void (*strassen_right)(float *t, const float *b, long ldb, long half_k, long half_n, int transposed, int threads);
  void (*strassen_sum)(float *c, long ldc, const float *m, const float *bias, int accumulate, long rows, long half_n);
  void (*add_rows)(float *dst, long ld, const float *bias, long rows, long cols, int threads);
  void (*sum_rows)(float *dst, const void *x, int bf16, long ldx, long rows, long cols, int threads);
  void (*add)(float *dst, const float *x, long n, int threads);
  double (*sum_squares)(const float *x, long n, int threads);
  void (*gelu)(void *y, void *dydx, int bf16, const void *x, long n, int threads);
  void (*multiply)(void *dst, int bf16, const void *x, const void *y, long n, int threads);
  void (*layer_norm)(void *y, int bf16, float *xhat, float *rstd, const float *x, long ldx, const float *gamma,
                    const float *beta, float eps, long rows, long cols, int threads);
  void (*layer_norm_backward)(float *dx, long ldx, const void *dy, int bf16, const float *xhat, const float *rstd,
                             const float *gamma, long rows, long cols, int threads);
  void (*layer_norm_backward_params)(float *dgamma, float *dbeta, const void *dy, int bf16, const float *xhat, long rows, long cols,
                          int threads);
  void (*attention)(void *out, int bf16, float *probs, const void *qkv, lte_attention_shape s, int threads);
  void (*attention_backward)(void *dqkv, int bf16, const void *dout, const float *probs, const void *qkv,
                             lte_attention_shape s, int threads);
  void (*patches)(void *dst, int bf16, const float *images, lte_image_shape s, int threads);
  void (*adamw)(float *p, float *m, float *v, const float *g, lte_adamw_step s, long n, int threads);
  void (*sgd)(float *p, float *buf, const float *g, lte_sgd_step s, long n, int threads);
  void (*nesterov)(float *m, float *g, float mu, float clip, long n, int threads);
} lte_kernels;

// The kernels of one instruction set each; see kernels_*.c.
extern const lte_kernels lte_kernels_avx512, lte_kernels_avx2, lte_kernels_base;

// The best of them for this CPU.
const lte_kernels *lte_choose_kernels(void);

#endif
