// Large products by one level of Strassen's algorithm: of 2×2 blocks, 7 products instead of 8, and 18 sums. The equations stand in
// kernels_tiles.h.
#ifndef LTE_STRASSEN_H
#define LTE_STRASSEN_H

#include "kernels.h"
#include "matmul.h"

typedef struct lte_strassen lte_strassen;

// Whether it is faster on this CPU. With full-width AVX-512 units products are twice as fast and sums are not; it has not been measured there.
int lte_strassen_pays(void);

// A product c (m,n) = a (m,k)·op(b) + bias, and + c where accumulate is set, in float32; alpha is 1, n and k are multiples of 32.
// Null where oneDNN has no such product on this CPU.
lte_strassen *lte_strassen_new(const lte_product *p);

// Computes; 0, or oneDNN's status.
int lte_strassen_run(lte_strassen *s, const lte_kernels *k, const float *a, const float *b, const float *bias, float *c);

#endif
