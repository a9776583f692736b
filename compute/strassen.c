#include "strassen.h"

#include <omp.h>
#include <stdlib.h>

// Rows are taken in pairs of blocks that stay in the cache with their sums and products, of a height that leaves the fewest rows over. It
// depends on m alone, so that the bits do not depend on the number of threads.
enum { FEWEST = 80, MOST = 112 };

enum { SUMS = 5, PRODUCTS = 7, KINDS = 3 };

struct lte_strassen {
  lte_product p;
  long pairs, rows; // pairs of blocks, rows of a block
  lte_matmul *rest; // of the rows left over; null: none
  lte_matmul *products[]; // (threads, KINDS): S·T, S·B, A·T
};

int lte_strassen_pays(void) {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  return !__builtin_cpu_supports("avx512f") || __builtin_cpu_is("amdfam19h"); // Zen 4: AVX-512 by units of 256 bits
#else
  return 0;
#endif
}

lte_strassen *lte_strassen_new(const lte_product *p) {
  lte_strassen *s = calloc(1, sizeof *s + p->threads * KINDS * sizeof *s->products);
  if (!s)
    return NULL;
  s->p = *p;
  s->rows = p->m < 2 * MOST ? p->m / 2 : MOST;
  for (long rows = MOST; rows >= FEWEST; rows--)
    if (2 * rows <= p->m && p->m % (2 * rows) <= p->m % (2 * s->rows))
      s->rows = rows;
  s->pairs = p->m / (2 * s->rows);
  for (int i = 0; i < p->threads * KINDS; i++) {
    const int kind = i % KINDS;
    lte_product block = {.m = s->rows, .n = p->n / 2, .k = p->k / 2, .lda = kind == 2 ? p->lda : p->k / 2,
                         .ldb = kind == 1 && !p->tb ? p->ldb : p->n / 2, .ldc = p->n / 2, .alpha = 1, .threads = 1};
    if (!(s->products[i] = lte_matmul_new(&block)))
      return NULL;
  }
  lte_product rest = *p;
  rest.m -= 2 * s->pairs * s->rows;
  if (rest.m > 0 && !(s->rest = lte_matmul_new(&rest)))
    return NULL;
  return s;
}

int lte_strassen_run(lte_strassen *s, const lte_kernels *k, const float *a, const float *b, const float *bias, float *c) {
  const lte_product *p = &s->p;
  const long rows = s->rows, half_n = p->n / 2, half_k = p->k / 2;
  const long left = rows * half_k, right = half_k * half_n, out = rows * half_n; // elements of a block
  float *t = lte_borrow(LTE_FORMED, PRODUCTS * right * sizeof *t);
  k->strassen_right(t, b, p->ldb, half_k, half_n, p->tb, p->threads);
  const float *b11 = p->tb ? t + 5 * right : b, *b22 = p->tb ? t + 6 * right : b + half_k * p->ldb + half_n;
  int status = 0;
#pragma omp parallel for num_threads(p->threads) if (p->threads > 1) reduction(| : status)
  for (long i = 0; i < s->pairs; i++) {
    float *sums = lte_borrow(LTE_BLOCKS, (SUMS * left + PRODUCTS * out) * sizeof *sums), *m = sums + SUMS * left;
    const float *a11 = a + 2 * i * rows * p->lda, *a22 = a11 + rows * p->lda + half_k;
    k->strassen_left(sums, a11, p->lda, rows, half_k);
    lte_matmul **by = s->products + KINDS * omp_get_thread_num();
    const struct {
      lte_matmul *by;
      const float *a, *b;
    } all[PRODUCTS] = {{by[0], sums, t},
                       {by[1], sums + left, b11},
                       {by[2], a11, t + right},
                       {by[2], a22, t + 2 * right},
                       {by[1], sums + 2 * left, b22},
                       {by[0], sums + 3 * left, t + 3 * right},
                       {by[0], sums + 4 * left, t + 4 * right}};
    for (int j = 0; j < PRODUCTS; j++)
      status |= lte_matmul_run(all[j].by, all[j].a, all[j].b, NULL, m + j * out);
    k->strassen_sum(c + 2 * i * rows * p->ldc, p->ldc, m, bias, p->accumulate, rows, half_n);
  }
  const long done = 2 * s->pairs * rows;
  return status || !s->rest ? status : lte_matmul_run(s->rest, a + done * p->lda, b, bias, c + done * p->ldc);
}
