#include "kernels/linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dims.h"
#include "kernels/ops_simd.h"

#ifdef QU_WITH_DNNL
#include "kernels/dnnl_tile.h"
#endif

enum {
    ROWS_PER_ITEM = 32,  /* rows of W in one work item of the question kernel */
    STORED_MAX_ROWS = 4, /* up to here W is dequantised in registers, above through a buffer */
    BUFFER_ROWS = 4,     /* rows of W dequantised at a time: four rows of 8,192 are 128 KiB */
    BUFFER_FLOATS = QU_MAX_WIDTH, /* wider rows than a quarter of it come one at a time */
    ROUND_ROWS = 8,      /* fewer rows are rounded in the caller: waking the pool costs more */
    ROUNDED_BLOCKS = 3264, /* a megabyte of x in bytes at a time: 408 rows of 2,048 */
    PANEL_ROWS = 128,    /* rows of W in one panel of the document kernel */
};

static const qu_linear_ops *ops(void)
{
    return QU_ISA_PICK(qu_linear_ops);
}

bool qu_linear_in_bytes(qu_type type)
{
    switch (type) {
#define CASE(name) case QU_TYPE_##name:
        QU_BYTE_TYPES(CASE)
#undef CASE
        return true;
    default: return false;
    }
}

void qu_linear_round_ref(float *y, const float *x, int32_t n)
{
    for (int32_t k = 0; k < n; k += 32) {
        float most = 0, none = 0;
        for (int i = k; i < k + 32; i++) {
            most = fmaxf(most, fabsf(x[i]));
            none += 0 * x[i];
        }
        float by = most < 1e-30f ? 0 : 127 / most;
        for (int i = k; i < k + 32; i++) y[i] = none != 0 ? NAN : most / 127 * rintf(x[i] * by);
    }
}

void qu_linear_ref(const qu_linear_job *job, const float *x, int64_t ldx, int32_t n_rows)
{
    const qu_weight *w = job->w;
    int64_t row_bytes = qu_type_bytes(w->type, w->k);
    float *row = malloc((size_t)w->k * sizeof *row);
    for (int32_t i = 0; row && i < w->n; i++) {
        qu_dequant_ref(row, (const char *)w->data + i * row_bytes, w->type, w->k);
        for (int32_t t = 0; t < n_rows; t++) {
            double sum = job->bias ? job->bias[i] : 0;
            for (int32_t k = 0; k < w->k; k++) sum += (double)row[k] * x[t * ldx + k];
            job->y[t * job->ldy + i] = (float)sum;
        }
    }
    free(row);
}

/* y [n_rows, n] of job, column from on; its bias to it. */
static void add_bias(const qu_linear_job *job, float *y, int32_t from, int32_t n, int32_t n_rows)
{
    if (!job->bias) return;
    for (int32_t t = 0; t < n_rows; t++)
        for (int32_t i = 0; i < n; i++) y[t * job->ldy + i] += job->bias[from + i];
}

/* Work items are ROWS_PER_ITEM rows of one job's matrix, jobs one after the other. */
typedef struct question_run {
    const qu_linear_job *jobs;
    int n_jobs;
    const float *x;
    int64_t ldx;
    int32_t n_rows, done; /* rows of x; those of y before them */
    qu_linear_bytes *rounded; /* the rows of x in bytes */
    int64_t ld_rounded;
    const qu_linear_ops *ops;
} question_run;

static int64_t items_of(const qu_linear_job *job, int32_t rows_per_item)
{
    return (job->w->n + rows_per_item - 1) / rows_per_item;
}

/* The job that item belongs to; *item becomes the index inside it. */
static const qu_linear_job *find_job(const qu_linear_job *jobs, int64_t *item,
                                     int32_t rows_per_item)
{
    while (*item >= items_of(jobs, rows_per_item)) *item -= items_of(jobs++, rows_per_item);
    return jobs;
}

static void question_item(void *ctx, int64_t item, int worker)
{
    (void)worker;
    question_run *r = ctx;
    const qu_linear_job *job = find_job(r->jobs, &item, ROWS_PER_ITEM);
    const qu_weight *w = job->w;
    int32_t from = (int32_t)item * ROWS_PER_ITEM;
    int32_t n = w->n - from < ROWS_PER_ITEM ? w->n - from : ROWS_PER_ITEM;
    int64_t row_bytes = qu_type_bytes(w->type, w->k);
    const char *rows = (const char *)w->data + from * row_bytes;
    float *y = job->y + r->done * job->ldy + from;
    if (qu_linear_in_bytes(w->type)) {
        r->ops->dots_bytes(y, job->ldy, rows, row_bytes, w->type, n, r->rounded, r->ld_rounded,
                           r->n_rows, w->k);
    } else if (w->type == QU_TYPE_F32) {
        r->ops->dots(y, job->ldy, (const float *)(const void *)rows, n, r->x, r->ldx, r->n_rows,
                     w->k);
    } else if (r->n_rows > STORED_MAX_ROWS || !r->ops->dots_stored ||
               !r->ops->dots_stored(y, job->ldy, rows, row_bytes, w->type, n, r->x, r->ldx,
                                    r->n_rows, w->k)) {
        static _Thread_local float buffer[BUFFER_FLOATS];
        r->ops->dots_buffered(y, job->ldy, rows, row_bytes, w->type, n, r->x, r->ldx, r->n_rows,
                              w->k, buffer, w->k * BUFFER_ROWS <= BUFFER_FLOATS ? BUFFER_ROWS : 1);
    }
    add_bias(job, y, from, n, r->n_rows);
}

static void round_item(void *ctx, int64_t row, int worker)
{
    (void)worker;
    question_run *r = ctx;
    r->ops->round(r->rounded + row * r->ld_rounded, r->x + row * r->ldx, r->jobs->w->k);
}

void qu_linear_question(qu_pool *pool, const qu_linear_job *jobs, int n_jobs, const float *x,
                        int64_t ldx, int32_t n_rows)
{
    static _Thread_local qu_linear_bytes rounded[ROUNDED_BLOCKS];
    question_run r = {.jobs = jobs, .n_jobs = n_jobs, .x = x, .ldx = ldx, .rounded = rounded,
                      .ld_rounded = (jobs->w->k + 255) / 256, .ops = ops()};
    int64_t items = 0;
    bool bytes = false;
    for (int j = 0; j < n_jobs; j++) {
        items += items_of(&jobs[j], ROWS_PER_ITEM);
        bytes |= qu_linear_in_bytes(jobs[j].w->type);
    }
    int32_t most = bytes ? (int32_t)(ROUNDED_BLOCKS / r.ld_rounded) : n_rows;
    for (; r.done < n_rows; r.done += r.n_rows, r.x = x + r.done * ldx) {
        r.n_rows = n_rows - r.done < most ? n_rows - r.done : most;
        if (bytes) qu_pool_run(r.n_rows >= ROUND_ROWS ? pool : NULL, r.n_rows, round_item, &r);
        qu_pool_run(pool, items, question_item, &r);
    }
}

#ifdef QU_WITH_DNNL

/* The document kernel pads x to whole tiles once; a work item dequantises one panel of W into a
 * buffer that stays in L2 and multiplies every tile with it. */
struct qu_linear_scratch {
    qu_dnnl *dnnl;
    int n_workers;
    int64_t cap, panel_bytes;
    /* [tiles * QU_TILE_ROWS, k] in the panel's element type; all memory begins here */
    char *x;
    char *panels; /* [workers] of panel_bytes: W panel, row, product tile, oneDNN's scratch */
};

typedef struct document_run {
    qu_linear_scratch *s;
    const qu_linear_job *jobs;
    const float *x;
    int64_t ldx;
    int32_t n_rows, n_tiles, k;
    const qu_linear_ops *ops;
} document_run;

void qu_linear_scratch_free(qu_linear_scratch *s)
{
    if (!s) return;
    free(s->x);
    qu_dnnl_free(s->dnnl);
    free(s);
}

static qu_status create(qu_linear_scratch **scratch, int n_workers, qu_err *err)
{
    qu_linear_scratch *s = *scratch = calloc(1, sizeof *s);
    if (!s) return qu_fail_nomem(err, sizeof *s);
    s->n_workers = n_workers;
    return qu_dnnl_create(&s->dnnl, err);
}

/* Where oneDNN's scratch begins in a worker's block: after W panel, one f32 row and the product
 * tile. */
static int64_t scratch_offset(int32_t k)
{
    int64_t floats = (int64_t)PANEL_ROWS * k + k + PANEL_ROWS * QU_TILE_ROWS;
    return (floats * 4 + 63) / 64 * 64;
}

static qu_status prepare(qu_linear_scratch *s, int32_t n_tiles, int32_t k, qu_err *err)
{
    /* a multiple of 64, as is a panel's */
    int64_t x_bytes = (int64_t)n_tiles * QU_TILE_ROWS * k * 4;
    s->panel_bytes = (scratch_offset(k) + qu_dnnl_scratch_bytes(s->dnnl) + 63) / 64 * 64;
    int64_t need = x_bytes + s->n_workers * s->panel_bytes;
    if (s->cap < need) {
        free(s->x);
        s->x = aligned_alloc(64, (size_t)need);
        s->cap = s->x ? need : 0;
        if (!s->x) return qu_fail_nomem(err, need);
    }
    s->panels = s->x + x_bytes;
    return QU_OK;
}

/* Copy one tile of x, zero rows after the last, converting to the panel's element type. */
static void pad_tile(void *ctx, int64_t tile, int worker)
{
    (void)worker;
    document_run *r = ctx;
    bool bf16 = qu_dnnl_is_bf16();
    int64_t size = bf16 ? 2 : 4;
    for (int32_t i = 0; i < QU_TILE_ROWS; i++) {
        int64_t t = tile * QU_TILE_ROWS + i;
        char *to = r->s->x + t * r->k * size;
        const float *from = r->x + t * r->ldx;
        if (t >= r->n_rows)
            memset(to, 0, (size_t)(r->k * size));
        else if (!bf16)
            memcpy(to, from, (size_t)(r->k * size));
        else
            qu_quant_ref(to, from, QU_TYPE_BF16, r->k);
    }
}

static void document_item(void *ctx, int64_t item, int worker)
{
    document_run *r = ctx;
    const qu_linear_job *job = find_job(r->jobs, &item, PANEL_ROWS);
    const qu_weight *w = job->w;
    int32_t from = (int32_t)item * PANEL_ROWS, k = w->k;
    int32_t n = w->n - from < PANEL_ROWS ? w->n - from : PANEL_ROWS;
    int64_t row_bytes = qu_type_bytes(w->type, k);
    bool bf16 = qu_dnnl_is_bf16();
    char *memory = r->s->panels + worker * r->s->panel_bytes;
    float *panel = (float *)(void *)memory;
    float *row = panel + (int64_t)PANEL_ROWS * k;
    float *product = row + k;
    for (int32_t i = 0; i < n; i++) {
        const char *src = (const char *)w->data + (from + i) * row_bytes;
        float *to = bf16 ? row : panel + (int64_t)i * k;
        r->ops->dequant(to, src, w->type, k);
        if (bf16) qu_quant_ref((uint16_t *)(void *)panel + (int64_t)i * k, row, QU_TYPE_BF16, k);
    }
    const qu_dnnl_kernel *kernel = qu_dnnl_find(r->s->dnnl, n, k);
    for (int32_t tile = 0; tile < r->n_tiles; tile++) {
        int64_t t0 = (int64_t)tile * QU_TILE_ROWS;
        const char *x = r->s->x + t0 * k * (bf16 ? 2 : 4);
        int32_t rows = r->n_rows - t0 < QU_TILE_ROWS ? (int32_t)(r->n_rows - t0) : QU_TILE_ROWS;
        qu_dnnl_run(r->s->dnnl, kernel, product, x, panel, memory + scratch_offset(k));
        for (int32_t t = 0; t < rows; t++)
            memcpy(job->y + (t0 + t) * job->ldy + from, product + (int64_t)t * n, (size_t)n * 4);
    }
    add_bias(job, job->y + from, from, n, r->n_rows);
}

qu_status qu_linear_document(qu_pool *pool, qu_linear_scratch **scratch, const qu_linear_job *jobs,
                             int n_jobs, const float *x, int64_t ldx, int32_t n_rows, qu_err *err)
{
    if (n_rows <= 0) return QU_OK;
    int32_t k = jobs[0].w->k, n_tiles = (n_rows + QU_TILE_ROWS - 1) / QU_TILE_ROWS;
    int64_t items = 0;
    if (!*scratch) QU_TRY(create(scratch, qu_pool_threads(pool), err));
    for (int j = 0; j < n_jobs; j++) {
        int32_t ragged = jobs[j].w->n % PANEL_ROWS;
        if (jobs[j].w->n >= PANEL_ROWS) QU_TRY(qu_dnnl_want((*scratch)->dnnl, PANEL_ROWS, k, err));
        if (ragged) QU_TRY(qu_dnnl_want((*scratch)->dnnl, ragged, k, err));
        items += items_of(&jobs[j], PANEL_ROWS);
    }
    QU_TRY(prepare(*scratch, n_tiles, k, err));
    document_run r = {*scratch, jobs, x, ldx, n_rows, n_tiles, k, ops()};
    qu_pool_run(pool, n_tiles, pad_tile, &r);
    qu_pool_run(pool, items, document_item, &r);
    return QU_OK;
}

const char *qu_linear_document_name(void)
{
    return qu_dnnl_is_bf16() ? "dnnl-bf16" : "dnnl-f32";
}

#else

void qu_linear_scratch_free(qu_linear_scratch *s)
{
    (void)s;
}

qu_status qu_linear_document(qu_pool *pool, qu_linear_scratch **scratch, const qu_linear_job *jobs,
                             int n_jobs, const float *x, int64_t ldx, int32_t n_rows, qu_err *err)
{
    (void)scratch;
    (void)err;
    qu_linear_question(pool, jobs, n_jobs, x, ldx, n_rows);
    return QU_OK;
}

const char *qu_linear_document_name(void)
{
    return "own";
}

#endif
