// The kernels for the baseline of the architecture, and the choice among all.
#pragma GCC optimize("O3,no-math-errno,no-trapping-math,no-signed-zeros,associative-math")
#define LTE_TABLE lte_kernels_base
#define LTE_ISA "baseline"
#include "kernels_body.h"

const lte_kernels *lte_choose_kernels(void) {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return &lte_kernels_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return &lte_kernels_avx2;
#endif
  return &lte_kernels_base;
}
