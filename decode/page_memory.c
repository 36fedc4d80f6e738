#include "decode/page_memory.h"

#include "base/memory.h"
#include "kernels/codec.h"

struct qu_page_memory {
    int32_t n_kv_heads;
    int64_t slice_bytes, stride;
    char *data; /* [L][G][stride], then the summary */
    int64_t summary_at, summary_bytes;
    bool has_summary;
};

qu_status qu_page_memory_create(qu_page_memory **out, const qu_model *m, int codec,
                                int32_t n_tokens, qu_err *err)
{
    *out = NULL;
    int64_t bytes = qu_codec_bytes(codec, n_tokens, m->head_size);
    if (bytes <= 0) return qu_fail(err, QU_ERR_ARG, "unknown KV codec %d", codec);
    qu_page_memory *p;
    QU_TRY(qu_memory_take(&p, 1, sizeof *p, err));
    p->n_kv_heads = m->n_kv_heads;
    p->slice_bytes = bytes;
    p->stride = (bytes + 15) / 16 * 16;
    p->summary_at = p->stride * m->n_layers * m->n_kv_heads;
    p->summary_bytes = qu_page_summary_bytes(m, n_tokens);
    qu_status st = qu_memory_take(&p->data, p->summary_at + p->summary_bytes, 1, err);
    if (st == QU_OK)
        *out = p;
    else
        free(p);
    return st;
}

void qu_page_memory_free(qu_page_memory *p)
{
    if (!p) return;
    free(p->data);
    free(p);
}

void *qu_page_memory_slice(const qu_page_memory *p, int32_t layer, int32_t kv_head)
{
    return p->data + ((int64_t)layer * p->n_kv_heads + kv_head) * p->stride;
}

size_t qu_page_memory_bytes(const qu_page_memory *p) { return (size_t)p->slice_bytes; }

static qu_status get(void *ctx, int32_t layer, int32_t kv_head, const void **data, size_t *bytes,
                     qu_err *err)
{
    (void)err;
    qu_page_memory *p = ctx;
    *data = qu_page_memory_slice(p, layer, kv_head);
    *bytes = (size_t)p->slice_bytes;
    return QU_OK;
}

qu_status qu_page_memory_summarise(qu_page_memory *p, const void *data, size_t bytes, qu_err *err)
{
    if ((int64_t)bytes != p->summary_bytes)
        return qu_fail(err, QU_ERR_ARG, "a page summary of %zu bytes, expected %lld", bytes,
                       (long long)p->summary_bytes);
    memcpy(p->data + p->summary_at, data, bytes);
    p->has_summary = true;
    return QU_OK;
}

const void *qu_page_memory_summary(const qu_page_memory *p, size_t *bytes)
{
    *bytes = (size_t)p->summary_bytes;
    return p->has_summary ? p->data + p->summary_at : NULL;
}

static qu_status summary(void *ctx, const void **data, size_t *bytes, qu_err *err)
{
    *data = qu_page_memory_summary(ctx, bytes);
    return *data ? QU_OK : qu_fail(err, QU_ERR_NOTFOUND, "the page has no summary");
}

qu_page_source qu_page_memory_source(qu_page_memory *p)
{
    return (qu_page_source){.get = get, .ctx = p, .summary = summary};
}
