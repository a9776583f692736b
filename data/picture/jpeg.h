// JPEG by libjpeg-turbo (or any libjpeg that has its extensions): https://libjpeg-turbo.org
#ifndef LTE_JPEG_H
#define LTE_JPEG_H

#include <stddef.h>
#include <stdint.h>

typedef struct lte_jpeg lte_jpeg;

// A decoder of one image after another; NULL without memory.
lte_jpeg *lte_jpeg_new(void);
void lte_jpeg_free(lte_jpeg *j);

// Reads the header of an image, whose bytes must stay until lte_jpeg_pixels or the next header. 0, or see lte_jpeg_error.
int lte_jpeg_header(lte_jpeg *j, const uint8_t *encoded, size_t n, int *height, int *width, int *components);

// Shrinks what is decoded next by 1, 2, 4 or 8; says what size that gives.
void lte_jpeg_shrink(lte_jpeg *j, int by, int *height, int *width);

// Decodes rows top to top+rows, columns left to left+cols into dst (3, rows, cols): red, green and blue. 0, or see
// lte_jpeg_error.
int lte_jpeg_pixels(lte_jpeg *j, uint8_t *dst, int top, int left, int rows, int cols);

// Why the last call failed.
const char *lte_jpeg_error(const lte_jpeg *j);

// About how many bytes of the image were read when it came up.
size_t lte_jpeg_at(const lte_jpeg *j);

#endif
