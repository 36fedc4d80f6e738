#ifdef QU_WITH_DNNL

#include <string.h>

#include "base/dims.h"
#include "kernels/dnnl_tile.h"
#include "kernels/linear_int.h"
#include "kernels/ops_simd.h"

enum { PANEL_ROWS = 128 }; /* rows of W in one panel */

/* x is padded to whole tiles once; a work item dequantises one panel of W into a buffer that stays
 * in L2 and multiplies every tile with it. */
typedef struct dnnl_run {
    const qu_linear_scratch *s;
    const qu_linear_job *jobs;
    const float *x;
    int64_t ldx;
    int32_t n_rows, n_tiles, k;
    int64_t size;  /* of an element */
    char *tiles;   /* x [n_tiles * QU_TILE_ROWS, k] in the panels' element type */
    char *workers; /* [workers]: panel, one row in f32, product tile, oneDNN's scratch */
    int64_t worker_bytes;
    const qu_linear_ops *ops;
} dnnl_run;

/* Where oneDNN's scratch begins in a worker's block. */
static int64_t scratch_offset(int32_t k)
{
    int64_t floats = (int64_t)PANEL_ROWS * k + k + PANEL_ROWS * QU_TILE_ROWS;
    return (floats * 4 + 63) / 64 * 64;
}

/* Copy one tile of x, zero rows after the last. */
static void pad_tile(void *ctx, int64_t tile, int worker)
{
    (void)worker;
    const dnnl_run *r = ctx;
    for (int32_t i = 0; i < QU_TILE_ROWS; i++) {
        int64_t t = tile * QU_TILE_ROWS + i;
        char *to = r->tiles + t * r->k * r->size;
        const float *from = r->x + t * r->ldx;
        if (t >= r->n_rows)
            memset(to, 0, (size_t)(r->k * r->size));
        else if (!r->s->dnnl_bf16)
            memcpy(to, from, (size_t)(r->k * r->size));
        else
            r->ops->to_bf16((uint16_t *)(void *)to, from, r->k);
    }
}

static void dnnl_item(void *ctx, int64_t item, int worker)
{
    const dnnl_run *r = ctx;
    const qu_linear_job *job = qu_linear_find_job(r->jobs, &item, PANEL_ROWS);
    const qu_weight *w = job->w;
    int32_t from = (int32_t)item * PANEL_ROWS, k = w->k;
    int32_t n = w->n - from < PANEL_ROWS ? w->n - from : PANEL_ROWS;
    int64_t row_bytes = qu_type_bytes(w->type, k);
    bool bf16 = r->s->dnnl_bf16;
    char *memory = r->workers + worker * r->worker_bytes;
    float *panel = (float *)(void *)memory;
    float *row = panel + (int64_t)PANEL_ROWS * k;
    float *product = row + k;
    for (int32_t i = 0; i < n; i++) {
        const char *src = (const char *)w->data + (from + i) * row_bytes;
        r->ops->dequant(bf16 ? row : panel + (int64_t)i * k, src, w->type, k);
        if (bf16) r->ops->to_bf16((uint16_t *)(void *)panel + (int64_t)i * k, row, k);
    }
    const qu_dnnl_kernel *kernel = qu_dnnl_find(r->s->dnnl, n, k);
    for (int32_t tile = 0; tile < r->n_tiles; tile++) {
        int64_t t0 = (int64_t)tile * QU_TILE_ROWS;
        const char *x = r->tiles + t0 * k * r->size;
        int32_t rows = r->n_rows - t0 < QU_TILE_ROWS ? (int32_t)(r->n_rows - t0) : QU_TILE_ROWS;
        qu_dnnl_run(r->s->dnnl, kernel, product, x, panel, memory + scratch_offset(k));
        for (int32_t t = 0; t < rows; t++)
            memcpy(job->y + (t0 + t) * job->ldy + from, product + (int64_t)t * n, (size_t)n * 4);
    }
    qu_linear_add_bias(job, job->y + from, from, n, r->n_rows);
}

qu_status qu_linear_by_dnnl(qu_pool *pool, qu_linear_scratch *s, const qu_linear_job *jobs,
                            int n_jobs, const float *x, int64_t ldx, int32_t n_rows, qu_err *err)
{
    dnnl_run r = {.s = s,
                  .jobs = jobs,
                  .x = x,
                  .ldx = ldx,
                  .n_rows = n_rows,
                  .k = jobs->w->k,
                  .n_tiles = (n_rows + QU_TILE_ROWS - 1) / QU_TILE_ROWS,
                  .ops = QU_ISA_PICK(qu_linear_ops)};
    bool bf16 = qu_linear_prefill_kind() == QU_PREFILL_DNNL_BF16;
    int64_t items = 0;
    if (s->dnnl && s->dnnl_bf16 != bf16) {
        qu_dnnl_free(s->dnnl);
        s->dnnl = NULL;
    }
    s->dnnl_bf16 = bf16;
    if (!s->dnnl) QU_TRY(qu_dnnl_create(&s->dnnl, bf16, err));
    for (int j = 0; j < n_jobs; j++) {
        int32_t ragged = jobs[j].w->n % PANEL_ROWS;
        if (jobs[j].w->n >= PANEL_ROWS) QU_TRY(qu_dnnl_want(s->dnnl, PANEL_ROWS, r.k, err));
        if (ragged) QU_TRY(qu_dnnl_want(s->dnnl, ragged, r.k, err));
        items += qu_linear_items(&jobs[j], PANEL_ROWS);
    }
    r.size = bf16 ? 2 : 4;
    int64_t x_bytes = ((int64_t)r.n_tiles * QU_TILE_ROWS * r.k * r.size + 63) / 64 * 64;
    r.worker_bytes = (scratch_offset(r.k) + qu_dnnl_scratch_bytes(s->dnnl) + 63) / 64 * 64;
    QU_TRY(qu_linear_scratch_need(s, x_bytes + qu_pool_threads(pool) * r.worker_bytes, err));
    r.tiles = s->memory;
    r.workers = s->memory + x_bytes;
    qu_pool_run(pool, r.n_tiles, pad_tile, &r);
    qu_pool_run(pool, items, dnnl_item, &r);
    return QU_OK;
}

#endif
