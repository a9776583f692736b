// Products by oneDNN's matmul primitives, created once for each shape and kept.
#ifndef LTE_MATMUL_H
#define LTE_MATMUL_H

#include <stddef.h>

// The scratch buffers of one product.
enum { LTE_SCRATCHPAD, LTE_PACKED, LTE_FORMED, LTE_BLOCKS, LTE_BORROWED };

// This thread's buffer for that use, of at least so many bytes; not cleared.
void *lte_borrow(int use, size_t bytes);

// c = alpha·op(a)·op(b) + bias, and + c where accumulate is set. a and b are bfloat16 where
// bf16 is set, c where bf16_out is.
typedef struct {
  long m, n, k, lda, ldb, ldc;
  float alpha;
  int ta, tb, bf16, bf16_out, bias, accumulate, threads;
} lte_product;

typedef struct lte_matmul lte_matmul;

// Null where oneDNN has no such product on this CPU.
lte_matmul *lte_matmul_new(const lte_product *p);

// Computes; 0, or oneDNN's status.
int lte_matmul_run(lte_matmul *p, const void *a, const void *b, const float *bias, void *c);

#endif
