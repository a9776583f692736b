// Integer sums only: every version gives the same bits.
#include "passes.h"

#if defined(__x86_64__) && defined(__gnu_linux__)
#include <immintrin.h>
// The function is compiled for each of these targets; the loader chooses.
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif

static inline uint8_t clip(int v) { return v < 0 ? 0 : v > 255 ? 255 : v; }

CLONES static void across_plain(uint8_t *dst, const uint8_t *src, long stride, int rows, int out, const int32_t *start,
                                const int16_t *weight, int taps, int shift) {
  for (int y = 0; y < rows; y++, src += stride, dst += out)
    for (int x = 0; x < out; x++) {
      const uint8_t *s = src + start[x];
      const int16_t *w = weight + (long)x * taps;
      int sum = 1 << (shift - 1);
      for (int k = 0; k < taps; k++)
        sum += w[k] * s[k];
      dst[x] = clip(sum >> shift);
    }
}

#if defined(__x86_64__) && defined(__gnu_linux__)
// Four rows and eight taps at a time, which compilers do not vectorize like this.
__attribute__((target("sse4.1"))) static void across_four(uint8_t *dst, const uint8_t *src, long stride, int out,
                                                          const int32_t *start, const int16_t *weight, int taps,
                                                          int shift) {
  const __m128i half = _mm_set1_epi32(1 << (shift - 1)), by = _mm_cvtsi32_si128(shift);
  for (int x = 0; x < out; x++) {
    __m128i a = _mm_setzero_si128(), b = a, c = a, d = a;
    for (int k = 0; k < taps; k += 8) {
      const uint8_t *s = src + start[x] + k;
      const __m128i w = _mm_loadu_si128((const void *)(weight + (long)x * taps + k));
      a = _mm_add_epi32(a, _mm_madd_epi16(_mm_cvtepu8_epi16(_mm_loadl_epi64((const void *)s)), w));
      b = _mm_add_epi32(b, _mm_madd_epi16(_mm_cvtepu8_epi16(_mm_loadl_epi64((const void *)(s + stride))), w));
      c = _mm_add_epi32(c, _mm_madd_epi16(_mm_cvtepu8_epi16(_mm_loadl_epi64((const void *)(s + 2 * stride))), w));
      d = _mm_add_epi32(d, _mm_madd_epi16(_mm_cvtepu8_epi16(_mm_loadl_epi64((const void *)(s + 3 * stride))), w));
    }
    __m128i v = _mm_hadd_epi32(_mm_hadd_epi32(a, b), _mm_hadd_epi32(c, d));
    v = _mm_sra_epi32(_mm_add_epi32(v, half), by);
    v = _mm_packs_epi32(v, v);
    const uint32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(v, v));
    dst[x] = four;
    dst[x + (long)out] = four >> 8;
    dst[x + 2 * (long)out] = four >> 16;
    dst[x + 3 * (long)out] = four >> 24;
  }
}
#endif

void lte_across(uint8_t *dst, const uint8_t *src, long stride, int rows, int out, const int32_t *start,
                const int16_t *weight, int taps, int shift) {
#if defined(__x86_64__) && defined(__gnu_linux__)
  if (taps % 8 == 0 && __builtin_cpu_supports("sse4.1"))
    for (; rows >= 4; rows -= 4, src += 4 * stride, dst += 4 * (long)out)
      across_four(dst, src, stride, out, start, weight, taps, shift);
#endif
  across_plain(dst, src, stride, rows, out, start, weight, taps, shift);
}

#define LANES 64

CLONES void lte_down(uint8_t *dst, const uint8_t *src, long width, int first, int out, const int32_t *start,
                     const int16_t *weight, int taps, int shift) {
  for (int y = 0; y < out; y++, dst += width) {
    const int16_t *w = weight + (long)y * taps;
    for (long x = 0; x < width; x += LANES) {
      const uint8_t *s = src + (start[y] - first) * width + x;
      int sum[LANES];
      for (int i = 0; i < LANES; i++)
        sum[i] = 1 << (shift - 1);
      const int n = width - x < LANES ? width - x : LANES;
      if (n == LANES)
        for (int k = 0; k < taps; k++)
          for (int i = 0; i < LANES; i++)
            sum[i] += w[k] * s[k * width + i];
      else
        for (int k = 0; k < taps; k++)
          for (int i = 0; i < n; i++)
            sum[i] += w[k] * s[k * width + i];
      for (int i = 0; i < n; i++)
        dst[x + i] = clip(sum[i] >> shift);
    }
  }
}

void lte_look_up(float *dst, const uint8_t *src, long rows, long width, int mirror, const float *value) {
  for (long y = 0; y < rows; y++, dst += width, src += width)
    if (mirror)
      for (long x = 0; x < width; x++)
        dst[width - 1 - x] = value[src[x]];
    else
      for (long x = 0; x < width; x++)
        dst[x] = value[src[x]];
}
