// The kernels' text, compiled once for each instruction set by kernels_*.c, which define LTE_TABLE and LTE_ISA and set
// the target. Plain loops that the compiler vectorises; the equations stand at compute.Backend.
//
// Threads divide rows or blocks among them and no sum crosses threads, so the bits do not depend on their number. Every kernel
// propagates NaN (no finite-math): the loss has to show it.
#include "kernels.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

float sqrtf(float) __attribute__((const)); // no-math-errno comes too late for <math.h>, and loops with a sqrtf stay scalar

#define INLINE static inline __attribute__((always_inline))
#define BLOCK 4096 // elements that a thread takes at a time

// Φ(x); for the source of the coefficients see compute.cdf.
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

// x in bfloat16, to nearest even; a NaN stays one.
INLINE uint16_t to_bf16(float x) {
  union {
    float f;
    uint32_t i;
  } u = {.f = x};
  uint32_t rounded = (u.i + 0x7fff + (u.i >> 16 & 1)) >> 16;
  return x == x ? rounded : 0x7fc0;
}

INLINE float from_bf16(uint16_t h) {
  union {
    uint32_t i;
    float f;
  } u = {.i = (uint32_t)h << 16};
  return u.f;
}

// y[at+i] = VALUE for i from 0 to n-1, in y's precision.
#define STORE(y, bf16, at, n, VALUE)                                                                                   \
  if (bf16) {                                                                                                          \
    uint16_t *y_ = (uint16_t *)(y) + (at);                                                                             \
    _Pragma("GCC ivdep") for (long i = 0; i < (n); i++) y_[i] = to_bf16(VALUE);                                        \
  } else {                                                                                                             \
    float *y_ = (float *)(y) + (at);                                                                                   \
    _Pragma("GCC ivdep") for (long i = 0; i < (n); i++) y_[i] = VALUE;                                                 \
  }

#define PRAGMA(...) _Pragma(#__VA_ARGS__)
#define PARALLEL(n) PRAGMA(omp parallel for num_threads(threads) if (threads > 1 && (n) > BLOCK))
#define SHARE(n) (((n) + 64L * threads - 1) / (64L * threads) * 64) // a thread's columns, in whole cache lines
#define FOR_BLOCKS(n) PARALLEL(n) for (long at = 0; at < (n); at += BLOCK)
#define END(n) (at + BLOCK < (n) ? at + BLOCK : (n))

static void round_(void *dst, const float *x, long ldx, long rows, long cols, int threads) {
  if (ldx == cols)
    cols *= rows, rows = 1;
  for (long r = 0; r < rows; r++) {
    FOR_BLOCKS(cols) STORE(dst, 1, r * cols + at, END(cols) - at, x[r * ldx + at + i])
  }
}

static void add_rows(float *dst, long ld, const float *bias, long rows, long cols, int threads) {
  PARALLEL(rows * cols)
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < cols; j++)
      dst[i * ld + j] += bias[j];
}

static void sum_rows(float *dst, const void *x, int bf16, long ldx, long rows, long cols, int threads) {
  // Threads divide the columns: the order of every column's sum is the same.
  const long width = SHARE(cols);
  PARALLEL(rows * cols)
  for (long j0 = 0; j0 < cols; j0 += width) {
    long n = cols - j0 < width ? cols - j0 : width;
    for (long r = 0; r < rows; r++) {
      const uint16_t *h = (const uint16_t *)x + r * ldx + j0;
      const float *f = (const float *)x + r * ldx + j0;
      if (bf16)
        for (long j = 0; j < n; j++)
          dst[j0 + j] += from_bf16(h[j]);
      else
        for (long j = 0; j < n; j++)
          dst[j0 + j] += f[j];
    }
  }
}

static void add(float *restrict dst, const float *restrict x, long n, int threads) {
  FOR_BLOCKS(n) for (long i = at; i < END(n); i++) dst[i] += x[i];
}

static double sum_squares(const float *x, long n, int threads) {
  enum { PART = 1 << 16 }; // one sum each, so that the order is the same for any number of threads
  double total = 0, part[64];
  for (long from = 0; from < n; from += 64 * PART) {
    long parts = (n - from + PART - 1) / PART;
    parts = parts < 64 ? parts : 64;
    PARALLEL(n)
    for (long k = 0; k < parts; k++) {
      long i = from + k * PART, end = i + PART < n ? i + PART : n;
      double sum = 0;
      for (; i < end; i++)
        sum += (double)x[i] * x[i];
      part[k] = sum;
    }
    for (long k = 0; k < parts; k++)
      total += part[k];
  }
  return total;
}

// y = x·Φ(x), dydx = Φ(x) + x·φ(x).
INLINE void gelu_of(float *y, float *dydx, const float *x, long n) {
#pragma GCC ivdep
  for (long i = 0; i < n; i++) {
    float v = x[i], c = cdf(v);
    y[i] = v * c;
    dydx[i] = c + v * 0.39894228040143267794f * exp_(-0.5f * v * v);
  }
}

static void gelu(void *y, void *dydx, int bf16, const void *x, long n, int threads) {
  enum { PART = 256 }; // stays in the L1 cache until it is rounded
  FOR_BLOCKS(n) {
    if (bf16)
      for (long from = at; from < END(n); from += PART) {
        float in[PART], value[PART], slope[PART];
        long m = END(n) - from < PART ? END(n) - from : PART;
        for (long i = 0; i < m; i++)
          in[i] = from_bf16(((const uint16_t *)x)[from + i]);
        gelu_of(value, slope, in, m);
        STORE(y, 1, from, m, value[i])
        STORE(dydx, 1, from, m, slope[i])
      }
    else
      gelu_of((float *)y + at, (float *)dydx + at, (const float *)x + at, END(n) - at);
  }
}

static void multiply(void *dst, int bf16, const void *x, const void *y, long n, int threads) {
  FOR_BLOCKS(n) {
    const uint16_t *h = (const uint16_t *)x + at, *k = (const uint16_t *)y + at;
    const float *f = (const float *)x + at, *g = (const float *)y + at;
    long m = END(n) - at;
    if (bf16) {
      STORE(dst, 1, at, m, from_bf16(h[i]) * from_bf16(k[i]))
    } else {
      STORE(dst, 0, at, m, f[i] * g[i])
    }
  }
}

static void layer_norm(void *y, int bf16, float *xhat, float *rstd, const float *x, long ldx, const float *gamma,
                      const float *beta, float eps, long rows, long cols, int threads) {
  PARALLEL(rows * cols)
  for (long r = 0; r < rows; r++) {
    const float *restrict in = x + r * ldx;
    float *restrict h = xhat + r * cols;
    float sum = 0, squares = 0;
    for (long j = 0; j < cols; j++)
      sum += in[j];
    float mean = sum / cols;
    for (long j = 0; j < cols; j++)
      squares += (in[j] - mean) * (in[j] - mean);
    float scale = 1.0f / sqrtf(squares / cols + eps);
    rstd[r] = scale;
    for (long j = 0; j < cols; j++)
      h[j] = (in[j] - mean) * scale;
    if (gamma) {
      STORE(y, bf16, r * cols, cols, h[i] * gamma[i] + beta[i])
    } else if (y != xhat) {
      STORE(y, bf16, r * cols, cols, h[i])
    }
  }
}

static void layer_norm_backward(float *restrict dx, long ldx, const void *dy, int bf16, const float *restrict xhat,
                               const float *restrict rstd, const float *restrict gamma, long rows, long cols,
                               int threads) {
  PARALLEL(rows * cols)
  for (long i = 0; i < rows; i++) {
    float wide[bf16 ? cols : 1];
    const float *g = (const float *)dy + i * cols, *h = xhat + i * cols;
    if (bf16) {
      for (long j = 0; j < cols; j++)
        wide[j] = from_bf16(((const uint16_t *)dy)[i * cols + j]);
      g = wide;
    }
    float *out = dx + i * ldx;
    float sum = 0, dot = 0;
    if (gamma)
      for (long j = 0; j < cols; j++) {
        sum += g[j] * gamma[j];
        dot += g[j] * gamma[j] * h[j];
      }
    else
      for (long j = 0; j < cols; j++) {
        sum += g[j];
        dot += g[j] * h[j];
      }
    sum /= cols, dot /= cols;
    if (gamma)
      for (long j = 0; j < cols; j++)
        out[j] += rstd[i] * (g[j] * gamma[j] - sum - h[j] * dot);
    else
      for (long j = 0; j < cols; j++)
        out[j] += rstd[i] * (g[j] - sum - h[j] * dot);
  }
}

static void layer_norm_backward_params(float *restrict dgamma, float *restrict dbeta, const void *dy, int bf16,
                            const float *restrict xhat, long rows, long cols, int threads) {
  const long width = SHARE(cols); // as in sum_rows
  PARALLEL(rows * cols)
  for (long j0 = 0; j0 < cols; j0 += width) {
    long j1 = j0 + width < cols ? j0 + width : cols;
    for (long i = 0; i < rows; i++)
      for (long j = j0; j < j1; j++) {
        float g = bf16 ? from_bf16(((const uint16_t *)dy)[i * cols + j]) : ((const float *)dy)[i * cols + j];
        dgamma[j] += g * xhat[i * cols + j];
        dbeta[j] += g;
      }
  }
}

static void patches(void *dst, int bf16, const float *images, lte_image_shape s, int threads) {
  const long across = s.width / s.patch, down = s.height / s.patch, p = s.patch, cols = s.channels * p * p;
  PARALLEL(s.images * across * down * cols)
  for (long k = 0; k < s.images * down * across; k++) {
    const float *corner =
        images + (k / (down * across) * s.channels * s.height + k / across % down * p) * s.width + k % across * p;
    for (long c = 0; c < s.channels; c++)
      for (long row = 0; row < p; row++) {
        const float *restrict in = corner + (c * s.height + row) * s.width;
        STORE(dst, bf16, k * cols + (c * p + row) * p, p, in[i])
      }
  }
}

#include "kernels_tiles.h"

// ---- optimizers ------------------------------------------------------------------------------------------------------

// Each loop is a function of its own: OpenMP's outlined blocks lose restrict, and are then not vectorized.

// Sums in the order of the text: p − ηλp is not rounded before the step is subtracted from it.
#define IN_ORDER __attribute__((optimize("no-associative-math")))

// lerp is m + rest·(x − m), rounded relative to the nearer of the two, as torch.lerp.
INLINE IN_ORDER float lerp(float m, float x, float rest) {
  return rest < 0.5f ? m + rest * (x - m) : x - (1.0f - rest) * (x - m);
}

static IN_ORDER void adamw_of(float *restrict p, float *restrict m, float *restrict v, const float *restrict g, lte_adamw_step s,
                     long n) {
  for (long i = 0; i < n; i++) {
    float x = s.clip * g[i];
    m[i] = lerp(m[i], x, s.rest1);
    v[i] = lerp(v[i], x * x, s.rest2);
    p[i] -= s.decay * p[i] + s.rate * m[i] / (sqrtf(v[i]) * s.root + s.eps);
  }
}

static void adamw(float *p, float *m, float *v, const float *g, lte_adamw_step s, long n, int threads) {
  FOR_BLOCKS(n) adamw_of(p + at, m + at, v + at, g + at, s, END(n) - at);
}

static IN_ORDER void sgd_of(float *restrict p, float *restrict buf, const float *restrict g, lte_sgd_step s, long n) {
  for (long i = 0; i < n; i++) {
    float x = s.clip * g[i] + s.decay * p[i];
    buf[i] = s.rest < 0.5f ? buf[i] + (x - s.rest * buf[i]) : (1.0f - s.rest) * buf[i] + x;
    p[i] -= s.lr * buf[i];
  }
}

static void sgd(float *p, float *buf, const float *g, lte_sgd_step s, long n, int threads) {
  FOR_BLOCKS(n) sgd_of(p + at, buf + at, g + at, s, END(n) - at);
}

static IN_ORDER void nesterov_of(float *restrict m, float *restrict g, float mu, float clip, long n) {
  for (long i = 0; i < n; i++) {
    float x = clip * g[i];
    m[i] = mu * m[i] + x;
    g[i] = x + mu * m[i];
  }
}

static void nesterov(float *m, float *g, float mu, float clip, long n, int threads) {
  FOR_BLOCKS(n) nesterov_of(m + at, g + at, mu, clip, END(n) - at);
}

const lte_kernels LTE_TABLE = {
    .isa = LTE_ISA,
    .round = round_,
    .transpose = transpose,
    .add_product = add_product,
    .strassen_left = strassen_left,
    .strassen_right = strassen_right,
    .strassen_sum = strassen_sum,
    .add_rows = add_rows,
    .sum_rows = sum_rows,
    .add = add,
    .sum_squares = sum_squares,
    .gelu = gelu,
    .multiply = multiply,
    .layer_norm = layer_norm,
    .layer_norm_backward = layer_norm_backward,
    .layer_norm_backward_params = layer_norm_backward_params,
    .attention = attention,
    .attention_backward = attention_backward,
    .patches = patches,
    .adamw = adamw,
    .sgd = sgd,
    .nesterov = nesterov,
};
