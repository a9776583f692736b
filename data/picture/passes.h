// The passes of a resize, and the conversion of bytes to floats; passes_cgo.go has the equations.
#ifndef LTE_PASSES_H
#define LTE_PASSES_H

#include <stdint.h>

// One axis: out values, each the sum of taps values from its start on, times their weights, over 2^shift.
void lte_across(uint8_t *dst, const uint8_t *src, long stride, int rows, int out, const int32_t *start,
                const int16_t *weight, int taps, int shift);
void lte_down(uint8_t *dst, const uint8_t *src, long width, int first, int out, const int32_t *start,
              const int16_t *weight, int taps, int shift);

// dst(y, x) = value[src(y, x)], with every row mirrored if mirror.
void lte_look_up(float *dst, const uint8_t *src, long rows, long width, int mirror, const float *value);

#endif
