// JPEG decoding by libjpeg-turbo (or a libjpeg with its extensions): https://libjpeg-turbo.org
#ifndef LTE_JPEG_H
#define LTE_JPEG_H

#include <stddef.h>
#include <stdint.h>

typedef struct lte_jpeg lte_jpeg;

// A reusable decoder; NULL without memory.
lte_jpeg *lte_jpeg_new(void);
void lte_jpeg_free(lte_jpeg *j);

// Reads the header of an image, whose bytes must stay valid until lte_jpeg_pixels or the next header. Returns 0 on success.
int lte_jpeg_header(lte_jpeg *j, const uint8_t *encoded, size_t n, int *height, int *width, int *components);

// Sets the factor 1, 2, 4 or 8 by which the image is shrunk, and returns the resulting size.
void lte_jpeg_shrink(lte_jpeg *j, int by, int *height, int *width);

// Decodes rows top to top+rows, columns left to left+cols into dst (3, rows, cols): red, green and blue. Returns 0 on success.
int lte_jpeg_pixels(lte_jpeg *j, uint8_t *dst, int top, int left, int rows, int cols);

// The error of the last call.
const char *lte_jpeg_error(const lte_jpeg *j);

// The approximate number of bytes read before the error.
size_t lte_jpeg_at(const lte_jpeg *j);

#endif
