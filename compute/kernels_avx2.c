// The kernels for CPUs with AVX2 and FMA.
#if defined(__x86_64__) && defined(__GNUC__)
#pragma GCC optimize("O3,no-math-errno,no-trapping-math,no-signed-zeros,associative-math")
#pragma GCC target("avx2,fma")
#define LTE_TABLE lte_kernels_avx2
#define LTE_ISA "avx2"
#include "kernels_body.h"
#endif
