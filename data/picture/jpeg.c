#include "jpeg.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

struct lte_jpeg {
  struct jpeg_decompress_struct d;
  struct jpeg_error_mgr errors;
  jmp_buf out;
  char text[JMSG_LENGTH_MAX];
  uint8_t *row; // pixels of four bytes
  size_t capacity;
  size_t total; // bytes of the current image
};

// Called by libjpeg on an error; it must not return.
static void fail(j_common_ptr d) {
  lte_jpeg *j = d->client_data;
  d->err->format_message(d, j->text);
  longjmp(j->out, 1);
}

// Warnings mean that libjpeg invents pixels for damaged data: they are errors here. Contradictory headers and extra bytes between segments
// are not: well-known sets have such files.
static void message(j_common_ptr d, int level) {
  if (level >= 0)
    return; // traces
  switch (d->err->msg_code) {
  case JWRN_EXTRANEOUS_DATA:
  case JWRN_ADOBE_XFORM:
  case JWRN_JFIF_MAJOR:
    return;
  }
  fail(d);
}

lte_jpeg *lte_jpeg_new(void) {
  lte_jpeg *j = calloc(1, sizeof *j);
  if (!j)
    return NULL;
  j->d.err = jpeg_std_error(&j->errors);
  j->errors.error_exit = fail;
  j->errors.emit_message = message;
  j->d.client_data = j;
  if (setjmp(j->out)) {
    free(j);
    return NULL;
  }
  jpeg_create_decompress(&j->d); // keeps client_data
  return j;
}

void lte_jpeg_free(lte_jpeg *j) {
  jpeg_destroy_decompress(&j->d);
  free(j->row);
  free(j);
}

const char *lte_jpeg_error(const lte_jpeg *j) { return j->text; }

size_t lte_jpeg_at(const lte_jpeg *j) { return j->d.src ? j->total - j->d.src->bytes_in_buffer : 0; }

int lte_jpeg_header(lte_jpeg *j, const uint8_t *encoded, size_t n, int *height, int *width, int *components) {
  jpeg_abort_decompress(&j->d); // the previous image
  j->total = n;
  if (setjmp(j->out))
    return 1;
  jpeg_mem_src(&j->d, encoded, n);
  jpeg_read_header(&j->d, TRUE);
  *height = j->d.image_height;
  *width = j->d.image_width;
  *components = j->d.num_components;
  return 0;
}

void lte_jpeg_shrink(lte_jpeg *j, int by, int *height, int *width) {
  j->d.scale_num = 8 / by;
  j->d.scale_denom = 8;
  *height = (j->d.image_height + by - 1) / by; // as in jpeg_calc_output_dimensions
  *width = (j->d.image_width + by - 1) / by;
}

// Separates n pixels of four bytes. They are read as words, which compilers vectorize.
static void deinterleave(uint8_t *r, uint8_t *g, uint8_t *b, const uint8_t *row, int n) {
  for (int x = 0; x < n; x++) {
    uint32_t v;
    memcpy(&v, row + 4L * x, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    r[x] = v;
    g[x] = v >> 8;
    b[x] = v >> 16;
  }
}

int lte_jpeg_pixels(lte_jpeg *j, uint8_t *dst, int top, int left, int rows, int cols) {
  if (setjmp(j->out))
    return 1;
  j->d.out_color_space = JCS_EXT_RGBX;
  jpeg_start_decompress(&j->d);
  // With a margin, as chroma is interpolated across the edge of the region; libjpeg begins at the previous block.
  const int margin = 16, width = j->d.output_width;
  JDIMENSION from = left < margin ? 0 : left - margin;
  const int to = left + cols + margin < width ? left + cols + margin : width;
  JDIMENSION wide = to - from;
  if (wide < (JDIMENSION)width)
    jpeg_crop_scanline(&j->d, &from, &wide);
  else
    from = 0;
  // Offset by a pixel: libjpeg-turbo writes aligned memory around the cache, from where it would have to be read again.
  const size_t bytes = 4 * ((size_t)j->d.output_width + 1);
  if (j->capacity < bytes) {
    uint8_t *row = realloc(j->row, bytes);
    if (!row) {
      strcpy(j->text, "no memory for a row");
      return 1;
    }
    j->row = row;
    j->capacity = bytes;
  }
  if (top > 0)
    jpeg_skip_scanlines(&j->d, top);
  const size_t area = (size_t)rows * cols;
  for (int y = 0; y < rows; y++, dst += cols) {
    JSAMPROW row = j->row + 4;
    jpeg_read_scanlines(&j->d, &row, 1);
    deinterleave(dst, dst + area, dst + 2 * area, row + 4 * (left - (size_t)from), cols);
  }
  if (j->d.output_scanline == j->d.output_height)
    jpeg_finish_decompress(&j->d); // detects a missing end
  else
    jpeg_abort_decompress(&j->d);
  return 0;
}
