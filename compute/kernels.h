// The kernels' declarations, and the table through which Go calls the version for this CPU.
#ifndef LTE_KERNELS_H
#define LTE_KERNELS_H

typedef struct {
  int batch, tokens, heads, dim;
} lte_attention_shape;

typedef struct {
  float lr, beta1, beta2, eps, decay, c1, c2;
} lte_adamw_step;

typedef struct {
  const char *isa;
  void (*add_rows)(float *dst, const float *bias, long rows, long cols, int threads);
  void (*sum_rows)(float *dst, const float *x, long rows, long cols, int threads);
  void (*add)(float *dst, const float *x, long n, int threads);
  void (*scale)(float *dst, float alpha, long n, int threads);
  double (*sum_squares)(const float *x, long n);
  void (*gelu)(float *dst, const float *x, long n, int threads);
  void (*gelu_backward)(float *dx, const float *dy, const float *x, long n, int threads);
  void (*normalize)(float *xhat, float *rstd, const float *x, float eps, long rows, long cols, int threads);
  void (*normalize_backward)(float *dx, const float *dy, const float *xhat, const float *rstd, long rows, long cols,
                             int threads);
  void (*attention)(float *out, float *probs, const float *qkv, lte_attention_shape s, int threads);
  void (*attention_backward)(float *dqkv, const float *dout, const float *probs, const float *qkv,
                             lte_attention_shape s, int threads);
  void (*adamw)(float *p, float *m, float *v, const float *g, lte_adamw_step s, long n, int threads);
  void (*sgd)(float *p, float *buf, const float *g, float lr, float momentum, float decay, long n, int threads);
} lte_kernels;

// The kernels of one instruction set each; see kernels_*.c.
extern const lte_kernels lte_kernels_avx512, lte_kernels_avx2, lte_kernels_base;

// The best of them for this CPU.
const lte_kernels *lte_choose_kernels(void);

#endif
