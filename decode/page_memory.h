/* One page's encoded slices in memory: what a context hands out, and what it can be attached from
 * again.
 *
 *     qu_page_memory *p;
 *     QU_TRY(qu_page_memory_create(&p, model, codec, n_tokens, err));
 *     memcpy(qu_page_memory_slice(p, layer, g), data, qu_page_memory_bytes(p));
 *     qu_page_source source = qu_page_memory_source(p);
 *
 * Read from any number of threads; written by one.
 */
#ifndef QU_DECODE_PAGE_MEMORY_H
#define QU_DECODE_PAGE_MEMORY_H

#include "decode/context.h"

typedef struct qu_page_memory qu_page_memory;

/* Room for a page of n_tokens. Errors: QU_ERR_NOMEM, QU_ERR_ARG (codec). */
qu_status qu_page_memory_create(qu_page_memory **p, const qu_model *m, int codec, int32_t n_tokens,
                                qu_err *err);
void qu_page_memory_free(qu_page_memory *p);

/* Where a slice lies, and the bytes of each. */
void *qu_page_memory_slice(const qu_page_memory *p, int32_t layer, int32_t kv_head);
size_t qu_page_memory_bytes(const qu_page_memory *p);

/* Keep a copy of the page's summary (qu_page_summary_bytes): its source has one from now on.
 * Errors: QU_ERR_ARG (another size). */
qu_status qu_page_memory_summarise(qu_page_memory *p, const void *data, size_t bytes, qu_err *err);
/* The summary, NULL if none was given; *bytes its size. */
const void *qu_page_memory_summary(const qu_page_memory *p, size_t *bytes);

/* A source over p, which must outlive it. */
qu_page_source qu_page_memory_source(qu_page_memory *p);

#endif
