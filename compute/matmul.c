#include "matmul.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>
#include <stdlib.h>

enum { SRC, WEIGHTS, DST, SCRATCHPAD, BIAS, ARGS };

enum { LARGE = 384 }; // dimensions from which packing b into the primitive's own layout costs less than it saves

struct lte_matmul {
  dnnl_primitive_t primitive;
  dnnl_stream_t stream;
  dnnl_memory_t memory[ARGS]; // null where the product has none
  dnnl_exec_arg_t args[ARGS];
  int count, threads;
  size_t scratchpad, packed; // bytes
  dnnl_primitive_t pack;     // of b; null: the primitive reads it in place
  dnnl_memory_t b;
};

static dnnl_engine_t engine;
static void make_engine(void) {
  if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success)
    abort();
}

// The buffer belongs to the thread that computes. oneDNN's own scratchpad would belong to the thread that created the primitive, and Go
// moves goroutines between threads.
void *lte_borrow(int use, size_t bytes) {
  static _Thread_local struct {
    void *at;
    size_t bytes;
  } all[LTE_BORROWED];
  if (bytes > all[use].bytes) {
    free(all[use].at);
    all[use].bytes = (bytes + 4095) & ~(size_t)4095;
    all[use].at = aligned_alloc(4096, all[use].bytes);
    if (!all[use].at)
      abort();
  }
  return all[use].at;
}

static dnnl_memory_desc_t matrix(long rows, long cols, long ld, int transposed, int bf16) {
  dnnl_memory_desc_t d;
  dnnl_dims_t dims = {rows, cols}, strides = {transposed ? 1 : ld, transposed ? ld : 1};
  dnnl_memory_desc_init_by_strides(&d, 2, dims, bf16 ? dnnl_bf16 : dnnl_f32, strides);
  return d;
}

static void add(lte_matmul *p, int slot, int arg, const dnnl_memory_desc_t *d) {
  dnnl_memory_create(&p->memory[slot], d, engine, DNNL_MEMORY_NONE);
  p->args[p->count++] = (dnnl_exec_arg_t){arg, p->memory[slot]};
}

lte_matmul *lte_matmul_new(const lte_product *s) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, make_engine);
  omp_set_num_threads(s->threads); // the primitive is created for them

  dnnl_memory_desc_t a = matrix(s->m, s->k, s->lda, s->ta, s->bf16), b = matrix(s->k, s->n, s->ldb, s->tb, s->bf16),
                     c = matrix(s->m, s->n, s->ldc, 0, s->bf16_out), bias = matrix(1, s->n, s->n, 0, 0), right = b;
  if (s->bf16 && !s->ta && s->m >= LARGE && s->n >= LARGE && s->k >= LARGE)
    dnnl_memory_desc_init_by_tag(&right, 2, b.dims, b.data_type, dnnl_format_tag_any);
  dnnl_post_ops_t post;
  dnnl_post_ops_create(&post);
  if (s->accumulate)
    dnnl_post_ops_append_sum(post, 1);
  dnnl_primitive_attr_t attr;
  dnnl_primitive_attr_create(&attr);
  dnnl_primitive_attr_set_post_ops(attr, post);
  dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
  if (s->alpha != 1)
    dnnl_primitive_attr_set_output_scales(attr, 1, 0, &s->alpha);

  dnnl_matmul_desc_t desc;
  dnnl_primitive_desc_t pd = NULL;
  lte_matmul *p = calloc(1, sizeof *p);
  int ok = p && dnnl_matmul_desc_init(&desc, &a, &right, s->bias ? &bias : NULL, &c) == dnnl_success &&
           dnnl_primitive_desc_create(&pd, &desc, attr, engine, NULL) == dnnl_success &&
           dnnl_primitive_create(&p->primitive, pd) == dnnl_success &&
           dnnl_stream_create(&p->stream, engine, dnnl_stream_default_flags) == dnnl_success;
  dnnl_primitive_attr_destroy(attr);
  dnnl_post_ops_destroy(post);
  if (!ok) {
    free(p);
    return NULL;
  }
  p->threads = s->threads;
  const dnnl_memory_desc_t *pad = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
  p->scratchpad = dnnl_memory_desc_get_size(pad);
  add(p, SRC, DNNL_ARG_SRC, &a);
  right = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
  if (!dnnl_memory_desc_equal(&right, &b)) {
    dnnl_primitive_desc_t reorder = NULL;
    if (dnnl_reorder_primitive_desc_create(&reorder, &b, engine, &right, engine, NULL) != dnnl_success ||
        dnnl_primitive_create(&p->pack, reorder) != dnnl_success)
      return NULL;
    dnnl_primitive_desc_destroy(reorder);
    dnnl_memory_create(&p->b, &b, engine, DNNL_MEMORY_NONE);
    p->packed = dnnl_memory_desc_get_size(&right);
  }
  add(p, WEIGHTS, DNNL_ARG_WEIGHTS, &right);
  add(p, DST, DNNL_ARG_DST, &c);
  if (p->scratchpad)
    add(p, SCRATCHPAD, DNNL_ARG_SCRATCHPAD, pad);
  if (s->bias)
    add(p, BIAS, DNNL_ARG_BIAS, &bias);
  dnnl_primitive_desc_destroy(pd);
  return p;
}

int lte_matmul_run(lte_matmul *p, const void *a, const void *b, const float *bias, void *c) {
  const void *data[ARGS] = {[SRC] = a, [WEIGHTS] = b, [DST] = c, [BIAS] = bias};
  omp_set_num_threads(p->threads); // OpenMP's setting is per thread
  if (p->pack) {
    data[WEIGHTS] = lte_borrow(LTE_PACKED, p->packed);
    dnnl_memory_set_data_handle(p->b, (void *)b);
    dnnl_memory_set_data_handle(p->memory[WEIGHTS], (void *)data[WEIGHTS]);
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, p->b}, {DNNL_ARG_TO, p->memory[WEIGHTS]}};
    dnnl_status_t status = dnnl_primitive_execute(p->pack, p->stream, 2, args);
    if (status)
      return status;
  }
  if (p->scratchpad)
    data[SCRATCHPAD] = lte_borrow(LTE_SCRATCHPAD, p->scratchpad);
  for (int i = 0; i < ARGS; i++)
    if (p->memory[i])
      dnnl_memory_set_data_handle(p->memory[i], (void *)data[i]);
  dnnl_status_t status = dnnl_primitive_execute(p->primitive, p->stream, p->count, p->args);
  return status ? status : dnnl_stream_wait(p->stream);
}
