// Products in registers and the kernels built on them: transposes, the sum with a low-rank product, and attention, one image and
// head at a time in a scratch buffer that stays in the cache. Included by kernels_body.h.
#if defined(__AVX512F__) // 32 registers of 16 floats
#define LANES 16
#elif defined(__AVX2__) // 16 of 8
#define LANES 8
#else // 16 of 4
#define LANES 4
#endif
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#define PANEL 256 // columns of b at a time
#define WIDTH 16  // rows are padded to a multiple of it, whatever the instruction set: compute.AttentionShape
#define PAD(n) (((n) + WIDTH - 1) / WIDTH * WIDTH)

// ROWS rows and VECS·LANES columns at a time of c = a·b, in registers. a's element (i,k) is a[i·rs + k·cs]; the rows of
// b and c are padded.
#define TILE(ROWS, VECS)                                                                                               \
  for (; i + ROWS <= m; i += ROWS)                                                                                     \
    for (long j = from; j + VECS * LANES <= n; j += VECS * LANES) {                                                    \
      lanes sum[ROWS][VECS] = {0};                                                                                     \
      for (long l = 0; l < k; l++) {                                                                                   \
        const float *x = a + i * rs + l * cs, *y = b + l * ldb + j;                                                    \
        for (int r = 0; r < ROWS; r++)                                                                                 \
          for (int v = 0; v < VECS; v++)                                                                               \
            sum[r][v] += x[r * rs] * *(const lanes *)(y + v * LANES);                                                  \
      }                                                                                                                \
      for (int r = 0; r < ROWS; r++)                                                                                   \
        for (int v = 0; v < VECS; v++)                                                                                 \
          *(lanes *)(c + (i + r) * ldc + j + v * LANES) = sum[r][v];                                                   \
    }

INLINE void product(float *c, long ldc, const float *a, long rs, long cs, const float *b, long ldb, long m, long n,
                    long k) {
  long i = 0, from = 0;
#if LANES == 16
  TILE(5, 4)
  TILE(2, 4)
  TILE(1, 4)
  from = n / (4 * LANES) * (4 * LANES);
  i = 0;
  TILE(8, 1)
  TILE(4, 1)
  TILE(1, 1)
#elif LANES == 8
  TILE(6, 2)
  TILE(2, 2)
  TILE(1, 2)
#else
  TILE(3, 4)
  TILE(1, 4)
#endif
}

// dst (m, n) = c + alpha·a·b for a short inner dimension k: c is read once, b (k, n) stays in the cache.
static void add_product(void *dst, int bf16, const float *c, float alpha, const float *a, const float *b, long m, long n,
                        long k, int threads) {
  PARALLEL(m *n)
  for (long i0 = 0; i0 < m; i0 += 10) {
    long rows = m - i0 < 10 ? m - i0 : 10, whole = n / WIDTH * WIDTH;
    float sum[10 * PANEL];
    for (long j0 = 0; j0 < n; j0 += PANEL) {
      long cols = n - j0 < PANEL ? n - j0 : PANEL, vectors = (j0 + cols < whole ? j0 + cols : whole) - j0;
      product(sum, PANEL, a + i0 * k, k, 1, b + j0, n, rows, vectors, k);
      for (long r = 0; r < rows; r++) {
        for (long j = vectors; j < cols; j++) {
          sum[r * PANEL + j] = 0;
          for (long l = 0; l < k; l++)
            sum[r * PANEL + j] += a[(i0 + r) * k + l] * b[l * n + j0 + j];
        }
        const float *in = c + (i0 + r) * n + j0;
        STORE(dst, bf16, (i0 + r) * n + j0, cols, in[i] + alpha * sum[r * PANEL + i])
      }
    }
  }
}

typedef uint16_t bf16_lanes __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));

// LANES elements of src, in its precision, from at on.
INLINE lanes load(const void *src, int bf16, long at) {
  if (bf16)
    return (lanes)(__builtin_convertvector(*(const bf16_lanes *)((const uint16_t *)src + at), words) << 16);
  return *(const lanes *)((const float *)src + at);
}

INLINE float load1(const void *src, int bf16, long at) {
  return bf16 ? from_bf16(((const uint16_t *)src)[at]) : ((const float *)src)[at];
}

// dst (tokens, PAD(dim)) from rows of src with stride ld, the first at at.
INLINE void pack(float *dst, const void *src, int bf16, long at, long ld, long tokens, long dim) {
  long pad = PAD(dim);
  for (long i = 0; i < tokens; i++) {
    long j = 0;
    for (; j + LANES <= dim; j += LANES)
      *(lanes *)(dst + i * pad + j) = load(src, bf16, at + i * ld + j);
    for (; j < pad; j++)
      dst[i * pad + j] = j < dim ? load1(src, bf16, at + i * ld + j) : 0;
  }
}

typedef int32_t indices __attribute__((vector_size(4 * LANES)));

// Lane l of the result: of b, S to the left, where l has the bit S, else of a; and the other way round.
#define FROM_LEFT(S, l) ((l) & S ? LANES + (l) - S : (l))
#define FROM_RIGHT(S, l) ((l) & S ? LANES + (l) : (l) + S)
#define ACROSS(S, l) ((l) ^ S)
#define FOUR(F, S, l) F(S, l), F(S, l + 1), F(S, l + 2), F(S, l + 3)
#if LANES == 16
#define ALL(F, S)                                                                                                      \
  { FOUR(F, S, 0), FOUR(F, S, 4), FOUR(F, S, 8), FOUR(F, S, 12) }
#elif LANES == 8
#define ALL(F, S)                                                                                                      \
  { FOUR(F, S, 0), FOUR(F, S, 4) }
#else
#define ALL(F, S)                                                                                                      \
  { FOUR(F, S, 0) }
#endif
#define SWAP(S)                                                                                                        \
  for (int i = 0; i < LANES; i++)                                                                                      \
    if (!(i & S)) {                                                                                                    \
      lanes a = t[i], b = t[i + S];                                                                                    \
      t[i] = __builtin_shuffle(a, b, (indices)ALL(FROM_LEFT, S));                                                      \
      t[i + S] = __builtin_shuffle(a, b, (indices)ALL(FROM_RIGHT, S));                                                 \
    }

// t = the transpose of LANES rows and columns of src from at on, or 0 beyond the last: blocks of half the lanes,
// then of a quarter, … change sides.
INLINE void transpose_tile(lanes *t, const void *src, int bf16, long at, long ld, long rows, long cols) {
  for (int i = 0; i < LANES; i++) {
    t[i] = (lanes){0};
    if (i < rows && cols >= LANES)
      t[i] = load(src, bf16, at + i * ld);
    else if (i < rows)
      for (int j = 0; j < cols; j++)
        t[i][j] = load1(src, bf16, at + i * ld + j);
  }
#if LANES == 16
  SWAP(8)
#endif
#if LANES >= 8
  SWAP(4)
#endif
  SWAP(2)
  SWAP(1)
}

// dst (cols, rows) = beta·dst + the transpose of src (rows, cols), in dst's precision; beta is 0 (dst is not read) or, in
// float32, 1.
static void transpose(void *dst, int bf16, const float *src, float beta, long rows, long cols, int threads) {
  PARALLEL(rows * cols)
  for (long c = 0; c < cols; c += LANES)
    for (long r = 0; r < rows; r += LANES) {
      lanes t[LANES];
      transpose_tile(t, src, 0, r * cols + c, cols, rows - r, cols - c);
      const long n = rows - r < LANES ? rows - r : LANES;
      for (int j = 0; j < LANES && c + j < cols; j++) {
        const float *row = (float *)(t + j), *old = (float *)dst + (c + j) * rows + r;
        if (beta) {
          STORE(dst, 0, (c + j) * rows + r, n, row[i] + old[i])
        } else {
          STORE(dst, bf16, (c + j) * rows + r, n, row[i])
        }
      }
    }
}

#define AT(x) (*(lanes *)(x))
#define FROM(x) (*(const lanes *)(x))

// One level of Strassen's algorithm (Numerische Mathematik 13, 354) for c = a·b of 2×2 blocks, a's of rows × half_k, b's of half_k × half_n:
//
//	S1 = A11 + A22   S2 = A21 + A22   S3 = A11 + A12   S4 = A21 − A11   S5 = A12 − A22
//	T1 = B11 + B22   T2 = B12 − B22   T3 = B21 − B11   T4 = B11 + B12   T5 = B21 + B22
//	M1 = S1·T1   M2 = S2·B11   M3 = A11·T2   M4 = A22·T3   M5 = S3·B22   M6 = S4·T4   M7 = S5·T5
//	C11 = M1 + M4 − M5 + M7   C12 = M3 + M5   C21 = M2 + M4   C22 = M1 − M2 + M3 + M6
//
// Winograd's form has three sums less, and half as much more error. Halves are whole vectors of WIDTH.

// s (5, rows, half_k) = S1 to S5.
static void strassen_left(float *s, const float *a, long lda, long rows, long half_k) {
  const long block = rows * half_k;
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < half_k; j += LANES) {
      const float *x = a + i * lda + j, *y = x + rows * lda;
      float *to = s + i * half_k + j;
      lanes a11 = FROM(x), a12 = FROM(x + half_k), a21 = FROM(y), a22 = FROM(y + half_k);
      AT(to) = a11 + a22;
      AT(to + block) = a21 + a22;
      AT(to + 2 * block) = a11 + a12;
      AT(to + 3 * block) = a21 - a11;
      AT(to + 4 * block) = a12 - a22;
    }
}

INLINE void strassen_t(float *t, long block, lanes b11, lanes b12, lanes b21, lanes b22) {
  AT(t) = b11 + b22;
  AT(t + block) = b12 - b22;
  AT(t + 2 * block) = b21 - b11;
  AT(t + 3 * block) = b11 + b12;
  AT(t + 4 * block) = b21 + b22;
}

// t (5, half_k, half_n) = T1 to T5; of a transposed b, behind them, B11 and B22.
static void strassen_right(float *t, const float *b, long ldb, long half_k, long half_n, int transposed, int threads) {
  const long block = half_k * half_n;
  if (!transposed) {
    PARALLEL(block)
    for (long i = 0; i < half_k; i++)
      for (long j = 0; j < half_n; j += LANES) {
        const float *x = b + i * ldb + j, *y = x + half_k * ldb;
        strassen_t(t + i * half_n + j, block, FROM(x), FROM(x + half_n), FROM(y), FROM(y + half_n));
      }
    return;
  }
  PARALLEL(block)
  for (long i = 0; i < half_k; i += LANES)
    for (long j = 0; j < half_n; j += LANES) {
      lanes b11[LANES], b12[LANES], b21[LANES], b22[LANES];
      transpose_tile(b11, b, 0, j * ldb + i, ldb, LANES, LANES);
      transpose_tile(b21, b, 0, j * ldb + i + half_k, ldb, LANES, LANES);
      transpose_tile(b12, b, 0, (j + half_n) * ldb + i, ldb, LANES, LANES);
      transpose_tile(b22, b, 0, (j + half_n) * ldb + i + half_k, ldb, LANES, LANES);
      for (int l = 0; l < LANES; l++) {
        float *to = t + (i + l) * half_n + j;
        strassen_t(to, block, b11[l], b12[l], b21[l], b22[l]);
        AT(to + 5 * block) = b11[l];
        AT(to + 6 * block) = b22[l];
      }
    }
}

// c (2·rows, 2·half_n) = the blocks of M1 to M7 (rows, half_n) + bias, where that is not null, and + c where accumulate is set.
static void strassen_sum(float *c, long ldc, const float *m, const float *bias, int accumulate, long rows, long half_n) {
  const long block = rows * half_n;
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < half_n; j += LANES) {
      const float *p = m + i * half_n + j;
      float *x = c + i * ldc + j, *y = x + rows * ldc;
      lanes m1 = FROM(p), m2 = FROM(p + block), m3 = FROM(p + 2 * block), m4 = FROM(p + 3 * block), m5 = FROM(p + 4 * block);
      lanes c11 = m1 + m4 - m5 + FROM(p + 6 * block), c12 = m3 + m5, c21 = m2 + m4, c22 = m1 - m2 + m3 + FROM(p + 5 * block);
      if (bias) {
        lanes left = FROM(bias + j), right = FROM(bias + half_n + j);
        c11 += left, c12 += right, c21 += left, c22 += right;
      }
      if (accumulate)
        c11 += FROM(x), c12 += FROM(x + half_n), c21 += FROM(y), c22 += FROM(y + half_n);
      AT(x) = c11;
      AT(x + half_n) = c12;
      AT(y) = c21;
      AT(y + half_n) = c22;
    }
}

// dst (dim, PAD(tokens)): the transpose of the same, tile by tile.
INLINE void pack_transposed(float *dst, const void *src, int bf16, long at, long ld, long tokens, long dim) {
  long pad = PAD(tokens);
  for (long r = 0; r < pad; r += LANES)
    for (long c = 0; c < dim; c += LANES) {
      lanes t[LANES];
      transpose_tile(t, src, bf16, at + r * ld + c, ld, tokens - r, dim - c);
      for (int j = 0; j < LANES && c + j < dim; j++)
        *(lanes *)(dst + (c + j) * pad + r) = t[j];
    }
}

// The first dim columns of src (tokens, PAD(dim)) to dst[at …], whose rows have stride ld.
INLINE void unpack(void *dst, int bf16, long at, long ld, const float *src, long tokens, long dim) {
  for (long t = 0; t < tokens; t++) {
    const float *row = src + t * PAD(dim);
    long j = 0;
    if (!bf16)
      for (float *y = (float *)dst + at + t * ld; j + LANES <= dim; j += LANES)
        *(lanes *)(y + j) = *(const lanes *)(row + j);
    STORE(dst, bf16, at + t * ld + j, dim - j, row[j + i])
  }
}

// Prefetches dim columns of rows with stride ld, too large for the CPU's own prefetcher.
INLINE void prefetch(const void *src, int bf16, long at, long ld, long tokens, long dim) {
  const long size = bf16 ? 2 : 4;
  for (long i = 0; i < tokens; i++)
    for (long j = 0; j < dim * size; j += 64)
      __builtin_prefetch((const char *)src + (at + i * ld) * size + j, 0, 2);
}

static float *scratch(long floats) {
  float *p = aligned_alloc(64, PAD(floats) * sizeof(float));
  if (!p)
    abort();
  return p;
}

// The maximum, lane by lane; y where x is NaN.
INLINE lanes larger(lanes x, lanes y) {
  indices more = x > y;
  return (lanes)((more & (indices)x) | (~more & (indices)y));
}

// row = softmax(factor·row) over n columns, whole lanes, of which on (1 or 0) and off (0 or minus infinity, nearly) tell
// the padding from the rest.
INLINE void softmax(float *row, const float *on, const float *off, float factor, long n) {
  lanes most = *(lanes *)row + *(const lanes *)off;
  for (long j = LANES; j < n; j += LANES)
    most = larger(*(lanes *)(row + j) + *(const lanes *)(off + j), most);
#if LANES == 16
  most = larger(__builtin_shuffle(most, (indices)ALL(ACROSS, 8)), most);
#endif
#if LANES >= 8
  most = larger(__builtin_shuffle(most, (indices)ALL(ACROSS, 4)), most);
#endif
  most = larger(__builtin_shuffle(most, (indices)ALL(ACROSS, 2)), most);
  most = larger(__builtin_shuffle(most, (indices)ALL(ACROSS, 1)), most);
  float top = most[0], sum = 0;
  for (long j = 0; j < n; j++) {
    row[j] = exp_((row[j] - top) * factor) * on[j];
    sum += row[j];
  }
  float inverse = 1.0f / sum;
  for (long j = 0; j < n; j++)
    row[j] *= inverse;
}

static void attention(void *out, int bf16, float *probs, const void *qkv, lte_attention_shape s, int threads) {
  const long T = s.tokens, Q = s.queries, d = s.dim, width = (long)s.heads * d, ld = 3 * width, Tp = PAD(T), dp = PAD(d);
  const float factor = 1.0f / sqrtf((float)d);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float *kt = scratch(d * Tp + 3 * T * dp + 2 * Tp), *q = kt + d * Tp, *v = q + T * dp, *o = v + T * dp,
          *on = o + T * dp, *off = on + Tp;
    for (long j = 0; j < Tp; j++) {
      on[j] = j < T;
      off[j] = j < T ? 0 : -1e30f;
    }
#pragma omp for collapse(2)
    for (long b = 0; b < s.batch; b++)
      for (long h = 0; h < s.heads; h++) {
        const long at = b * T * ld + h * d, next = h + 1 < s.heads ? at + d : at + T * ld - h * d;
        float *p = probs + (b * s.heads + h) * T * Tp;
        if (b * s.heads + h + 1 < s.batch * s.heads)
          for (int i = 0; i < 3; i++)
            prefetch(qkv, bf16, next + i * width, ld, T, d);
        const float *rows = q;
        long lead = dp;
        if (bf16)
          pack(q, qkv, bf16, at, ld, Q, d);
        else
          rows = (const float *)qkv + at, lead = ld;
        pack_transposed(kt, qkv, bf16, at + width, ld, T, d);
        pack(v, qkv, bf16, at + 2 * width, ld, T, d);
        product(p, Tp, rows, lead, 1, kt, Tp, Q, Tp, d); // S = Q Kᵀ
        for (long i = 0; i < Q; i++)
          softmax(p + i * Tp, on, off, factor, Tp);
        product(o, dp, p, Tp, 1, v, dp, Q, dp, T); // O = P V
        unpack(out, bf16, b * T * width + h * d, width, o, Q, d);
      }
    free(kt);
  }
}

static void attention_backward(void *dqkv, int bf16, const void *dout, const float *probs, const void *qkv,
                               lte_attention_shape s, int threads) {
  const long T = s.tokens, Q = s.queries, d = s.dim, width = (long)s.heads * d, ld = 3 * width, Tp = PAD(T), dp = PAD(d);
  const float factor = 1.0f / sqrtf((float)d);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    float *vt = scratch(d * Tp + T * Tp + 3 * T * dp), *ds = vt + d * Tp, *go = ds + T * Tp, *in = go + T * dp,
          *res = in + T * dp;
#pragma omp for collapse(2)
    for (long b = 0; b < s.batch; b++)
      for (long h = 0; h < s.heads; h++) {
        const long q = b * T * ld + h * d, k = q + width, v = k + width, out = b * T * width + h * d;
        const float *p = probs + (b * s.heads + h) * T * Tp;
        if (b * s.heads + h + 1 < s.batch * s.heads) {
          const int last = h + 1 == s.heads;
          for (int i = 0; i < 3; i++)
            prefetch(qkv, bf16, (last ? q + T * ld - h * d : q + d) + i * width, ld, T, d);
          prefetch(dout, bf16, last ? out + T * width - h * d : out + d, width, T, d);
        }
        pack(go, dout, bf16, out, width, Q, d);
        product(res, dp, p, 1, Tp, go, dp, T, dp, Q); // dV = Pᵀ dO
        unpack(dqkv, bf16, v, ld, res, T, d);

        pack_transposed(vt, qkv, bf16, v, ld, T, d);
        product(ds, Tp, go, dp, 1, vt, Tp, Q, Tp, d); // dP = dO Vᵀ
        for (long i = 0; i < Q; i++) {                // dS = P∘(dP − rowsum(P∘dP))/√d
          float sum = 0;
          for (long j = 0; j < Tp; j++)
            sum += p[i * Tp + j] * ds[i * Tp + j];
          for (long j = 0; j < Tp; j++)
            ds[i * Tp + j] = factor * p[i * Tp + j] * (ds[i * Tp + j] - sum);
        }

        pack(in, qkv, bf16, k, ld, T, d);
        product(res, dp, ds, Tp, 1, in, dp, Q, dp, T); // dQ = dS K
        memset(res + Q * dp, 0, (T - Q) * dp * sizeof *res);
        unpack(dqkv, bf16, q, ld, res, T, d);

        pack(in, qkv, bf16, q, ld, Q, d);
        product(res, dp, ds, 1, Tp, in, dp, T, dp, Q); // dK = dSᵀ Q
        unpack(dqkv, bf16, k, ld, res, T, d);
      }
    free(vt);
  }
}
