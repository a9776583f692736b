// The kernels for CPUs with AVX-512.
#if defined(__x86_64__) && defined(__GNUC__)
#pragma GCC optimize("O3,no-math-errno,no-trapping-math,no-signed-zeros,associative-math")
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#define LTE_TABLE lte_kernels_avx512
#define LTE_ISA "avx512"
#include "kernels_body.h"
#endif
