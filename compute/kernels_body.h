// The kernels' text, compiled once for each instruction set by kernels_*.c, which define LTE_TABLE and LTE_ISA and set
// the target. Plain loops that the compiler vectorises; the equations stand at compute.Backend.
//
// Threads share out rows or blocks; no sum crosses them, so the bits do not depend on their number. NaN goes through
// every kernel (no finite-math): the loss has to show it.
#include "kernels.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define BLOCK 4096 // elements that a thread takes at a time

// Φ(x); the coefficients' source stands at compute.cdf.
INLINE float cdf(float x) {
  float t = x * 0.70710678118654752440f;
  t = t < -4.0f ? -4.0f : t;
  t = t > 4.0f ? 4.0f : t;
  float u = t * t;
  float p = -2.72614225801306e-10f;
  p = p * u + 2.77068142495902e-08f;
  p = p * u + -2.10102402082508e-06f;
  p = p * u + -5.69250639462346e-05f;
  p = p * u + -7.34990630326855e-04f;
  p = p * u + -2.95459980854025e-03f;
  p = p * u + -1.60960333262415e-02f;
  float q = -1.45660718464996e-05f;
  q = q * u + -2.13374055278905e-04f;
  q = q * u + -1.68282697438203e-03f;
  q = q * u + -7.37332916720468e-03f;
  q = q * u + -1.42647390514189e-02f;
  return 0.5f + 0.5f * t * p / q;
}

// eˣ; see compute.exp.
INLINE float exp_(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  float n = floorf(x * 1.44269504088896341f + 0.5f);
  float f = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * f + 1.3981999507e-3f;
  p = p * f + 8.3334519073e-3f;
  p = p * f + 4.1665795894e-2f;
  p = p * f + 1.6666665459e-1f;
  p = p * f + 5.0000001201e-1f;
  union {
    int32_t i;
    float f;
  } two = {.i = (int32_t)((uint32_t)((int32_t)n + 127) << 23)};
  return (p * f * f + f + 1.0f) * two.f;
}

#define FOR_BLOCKS(n)                                                                                                  \
  _Pragma("omp parallel for num_threads(threads) if (threads > 1 && (n) > BLOCK)") for (long at = 0; at < (n);        \
                                                                                        at += BLOCK)
#define END(n) (at + BLOCK < (n) ? at + BLOCK : (n))

static void add_rows(float *dst, const float *bias, long rows, long cols, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * cols > BLOCK)
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < cols; j++)
      dst[i * cols + j] += bias[j];
}

static void sum_rows(float *dst, const float *x, long rows, long cols, int threads) {
  // Columns are shared out, in blocks of 64: every column's sum keeps its order.
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * cols > BLOCK)
  for (long j0 = 0; j0 < cols; j0 += 64) {
    long j1 = j0 + 64 < cols ? j0 + 64 : cols;
    for (long i = 0; i < rows; i++)
      for (long j = j0; j < j1; j++)
        dst[j] += x[i * cols + j];
  }
}

static void add(float *restrict dst, const float *restrict x, long n, int threads) {
  FOR_BLOCKS(n) for (long i = at; i < END(n); i++) dst[i] += x[i];
}

static void scale(float *dst, float alpha, long n, int threads) {
  FOR_BLOCKS(n) for (long i = at; i < END(n); i++) dst[i] *= alpha;
}

static double sum_squares(const float *x, long n) {
  double sum = 0;
  for (long i = 0; i < n; i++)
    sum += (double)x[i] * x[i];
  return sum;
}

static void gelu(float *restrict dst, const float *restrict x, long n, int threads) {
  FOR_BLOCKS(n) for (long i = at; i < END(n); i++) dst[i] = x[i] * cdf(x[i]);
}

static void gelu_backward(float *dx, const float *dy, const float *x, long n, int threads) {
  FOR_BLOCKS(n) {
    long end = END(n);
#pragma GCC ivdep
    for (long i = at; i < end; i++)
      dx[i] = dy[i] * (cdf(x[i]) + x[i] * 0.39894228040143267794f * exp_(-0.5f * x[i] * x[i]));
  }
}

static void normalize(float *restrict xhat, float *restrict rstd, const float *restrict x, float eps, long rows,
                      long cols, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * cols > BLOCK)
  for (long i = 0; i < rows; i++) {
    const float *row = x + i * cols;
    float sum = 0, squares = 0;
    for (long j = 0; j < cols; j++)
      sum += row[j];
    float mean = sum / cols;
    for (long j = 0; j < cols; j++)
      squares += (row[j] - mean) * (row[j] - mean);
    float r = 1.0f / sqrtf(squares / cols + eps);
    rstd[i] = r;
    for (long j = 0; j < cols; j++)
      xhat[i * cols + j] = (row[j] - mean) * r;
  }
}

static void normalize_backward(float *restrict dx, const float *restrict dy, const float *restrict xhat,
                               const float *restrict rstd, long rows, long cols, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * cols > BLOCK)
  for (long i = 0; i < rows; i++) {
    const float *g = dy + i * cols, *h = xhat + i * cols;
    float sum = 0, dot = 0;
    for (long j = 0; j < cols; j++) {
      sum += g[j];
      dot += g[j] * h[j];
    }
    sum /= cols, dot /= cols;
    for (long j = 0; j < cols; j++)
      dx[i * cols + j] += rstd[i] * (g[j] - sum - h[j] * dot);
  }
}

// ---- attention: one image and head at a time, in a scratch that stays in the cache -----------------------------------

typedef float lanes __attribute__((vector_size(64), aligned(4), may_alias));
#define LANES 16
#define PAD(n) (((n) + LANES - 1) / LANES * LANES)

// ROWS rows of c = a·b. a's element (i,k) is a[i·rs + k·cs]; the rows of b and c are padded to whole lanes.
#define TILE(ROWS)                                                                                                     \
  for (; i + ROWS <= m; i += ROWS)                                                                                     \
    for (long j = 0; j < n; j += LANES) {                                                                              \
      lanes sum[ROWS] = {0};                                                                                           \
      for (long l = 0; l < k; l++) {                                                                                   \
        lanes v = *(const lanes *)(b + l * ldb + j);                                                                   \
        for (int r = 0; r < ROWS; r++)                                                                                 \
          sum[r] += a[(i + r) * rs + l * cs] * v;                                                                      \
      }                                                                                                                \
      for (int r = 0; r < ROWS; r++)                                                                                   \
        *(lanes *)(c + (i + r) * ldc + j) = sum[r];                                                                    \
    }

INLINE void product(float *c, long ldc, const float *a, long rs, long cs, const float *b, long ldb, long m, long n,
                    long k) {
  long i = 0;
  TILE(8)
  TILE(4)
  TILE(1)
}

// dst (tokens, PAD(dim)) from rows of src that lie ld apart.
INLINE void pack(float *dst, const float *src, long ld, long tokens, long dim) {
  long pad = PAD(dim);
  for (long i = 0; i < tokens; i++) {
    memcpy(dst + i * pad, src + i * ld, dim * sizeof(float));
    memset(dst + i * pad + dim, 0, (pad - dim) * sizeof(float));
  }
}

// dst (dim, PAD(tokens)): the transpose of the same.
INLINE void pack_transposed(float *dst, const float *src, long ld, long tokens, long dim) {
  long pad = PAD(tokens);
  for (long c = 0; c < dim; c++) {
    for (long i = 0; i < tokens; i++)
      dst[c * pad + i] = src[i * ld + c];
    for (long i = tokens; i < pad; i++)
      dst[c * pad + i] = 0;
  }
}

INLINE void unpack(float *dst, long ld, const float *src, long tokens, long dim) {
  for (long i = 0; i < tokens; i++)
    memcpy(dst + i * ld, src + i * PAD(dim), dim * sizeof(float));
}

static float *scratch(long floats) {
  float *p = aligned_alloc(64, PAD(floats) * sizeof(float));
  if (!p)
    abort();
  return p;
}

static void attention(float *out, float *probs, const float *qkv, lte_attention_shape s, int threads) {
  const long T = s.tokens, d = s.dim, width = (long)s.heads * d, ld = 3 * width, Tp = PAD(T), dp = PAD(d);
  const float factor = 1.0f / sqrtf((float)d);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float *kt = scratch(d * Tp + 2 * T * dp), *v = kt + d * Tp, *o = v + T * dp;
#pragma omp for collapse(2)
    for (long b = 0; b < s.batch; b++)
      for (long h = 0; h < s.heads; h++) {
        const float *q = qkv + b * T * ld + h * d;
        float *p = probs + (b * s.heads + h) * T * Tp;
        pack_transposed(kt, q + width, ld, T, d);
        pack(v, q + 2 * width, ld, T, d);
        product(p, Tp, q, ld, 1, kt, Tp, T, Tp, d); // S = Q Kᵀ
        for (long i = 0; i < T; i++) {
          float *row = p + i * Tp, top = row[0], sum = 0;
          for (long j = 1; j < T; j++)
            top = row[j] > top ? row[j] : top;
          for (long j = 0; j < T; j++) {
            row[j] = exp_((row[j] - top) * factor);
            sum += row[j];
          }
          float inverse = 1.0f / sum;
          for (long j = 0; j < T; j++)
            row[j] *= inverse;
          for (long j = T; j < Tp; j++)
            row[j] = 0;
        }
        product(o, dp, p, Tp, 1, v, dp, T, dp, T); // O = P V
        unpack(out + b * T * width + h * d, width, o, T, d);
      }
    free(kt);
  }
}

static void attention_backward(float *dqkv, const float *dout, const float *probs, const float *qkv,
                               lte_attention_shape s, int threads) {
  const long T = s.tokens, d = s.dim, width = (long)s.heads * d, ld = 3 * width, Tp = PAD(T), dp = PAD(d);
  const float factor = 1.0f / sqrtf((float)d);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float *vt = scratch(d * Tp + T * Tp + 2 * T * dp), *ds = vt + d * Tp, *in = ds + T * Tp, *res = in + T * dp;
#pragma omp for collapse(2)
    for (long b = 0; b < s.batch; b++)
      for (long h = 0; h < s.heads; h++) {
        const float *q = qkv + b * T * ld + h * d, *k = q + width, *v = k + width;
        const float *p = probs + (b * s.heads + h) * T * Tp, *go = dout + b * T * width + h * d;
        float *dq = dqkv + b * T * ld + h * d, *dk = dq + width, *dv = dk + width;

        pack(in, go, width, T, d);
        product(res, dp, p, 1, Tp, in, dp, T, dp, T); // dV = Pᵀ dO
        unpack(dv, ld, res, T, d);

        pack_transposed(vt, v, ld, T, d);
        product(ds, Tp, go, width, 1, vt, Tp, T, Tp, d); // dP = dO Vᵀ
        for (long i = 0; i < T; i++) {                   // dS = P∘(dP − rowsum(P∘dP))/√d
          float sum = 0;
          for (long j = 0; j < Tp; j++)
            sum += p[i * Tp + j] * ds[i * Tp + j];
          for (long j = 0; j < Tp; j++)
            ds[i * Tp + j] = factor * p[i * Tp + j] * (ds[i * Tp + j] - sum);
        }

        pack(in, k, ld, T, d);
        product(res, dp, ds, Tp, 1, in, dp, T, dp, T); // dQ = dS K
        unpack(dq, ld, res, T, d);

        pack(in, q, ld, T, d);
        product(res, dp, ds, 1, Tp, in, dp, T, dp, T); // dK = dSᵀ Q
        unpack(dk, ld, res, T, d);
      }
    free(vt);
  }
}

// ---- optimizers ------------------------------------------------------------------------------------------------------

static void adamw(float *restrict p, float *restrict m, float *restrict v, const float *restrict g, lte_adamw_step s,
                  long n, int threads) {
  const float keep = 1.0f - s.lr * s.decay, rate = s.lr / s.c1, root = 1.0f / sqrtf(s.c2);
  FOR_BLOCKS(n) {
    long end = END(n);
    for (long i = at; i < end; i++) {
      m[i] = s.beta1 * m[i] + (1.0f - s.beta1) * g[i];
      v[i] = s.beta2 * v[i] + (1.0f - s.beta2) * g[i] * g[i];
      p[i] = keep * p[i] - rate * m[i] / (sqrtf(v[i]) * root + s.eps);
    }
  }
}

static void sgd(float *restrict p, float *restrict buf, const float *restrict g, float lr, float momentum, float decay,
                long n, int threads) {
  FOR_BLOCKS(n) {
    long end = END(n);
    for (long i = at; i < end; i++) {
      buf[i] = momentum * buf[i] + g[i] + decay * p[i];
      p[i] -= lr * buf[i];
    }
  }
}

const lte_kernels LTE_TABLE = {
    .isa = LTE_ISA,
    .add_rows = add_rows,
    .sum_rows = sum_rows,
    .add = add,
    .scale = scale,
    .sum_squares = sum_squares,
    .gelu = gelu,
    .gelu_backward = gelu_backward,
    .normalize = normalize,
    .normalize_backward = normalize_backward,
    .attention = attention,
    .attention_backward = attention_backward,
    .adamw = adamw,
    .sgd = sgd,
};
