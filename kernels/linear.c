#include "kernels/linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dims.h"
#include "kernels/linear_int.h"
#include "kernels/ops_simd.h"

enum {
    ROWS_PER_ITEM = 32,  /* rows of W in one work item of the question kernel */
    STORED_MAX_ROWS = 4, /* up to here W is dequantised in registers, above through a buffer */
    BUFFER_ROWS = 4,     /* rows of W dequantised at a time: four rows of 8,192 are 128 KiB */
    BUFFER_FLOATS = QU_MAX_WIDTH, /* wider rows than a quarter of it come one at a time */
    ROUND_ROWS = 8,      /* fewer rows are rounded in the caller: waking the pool costs more */
    ROUNDED_BLOCKS = 3264, /* a megabyte of x in bytes at a time: 408 rows of 2,048 */
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

static void question_item(void *ctx, int64_t item, int worker)
{
    (void)worker;
    question_run *r = ctx;
    const qu_linear_job *job = qu_linear_find_job(r->jobs, &item, ROWS_PER_ITEM);
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
    qu_linear_add_bias(job, y, from, n, r->n_rows);
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
        items += qu_linear_items(&jobs[j], ROWS_PER_ITEM);
        bytes |= qu_linear_in_bytes(jobs[j].w->type);
    }
    int32_t most = bytes ? (int32_t)(ROUNDED_BLOCKS / r.ld_rounded) : n_rows;
    for (; r.done < n_rows; r.done += r.n_rows, r.x = x + r.done * ldx) {
        r.n_rows = n_rows - r.done < most ? n_rows - r.done : most;
        if (bytes) qu_pool_run(r.n_rows >= ROUND_ROWS ? pool : NULL, r.n_rows, round_item, &r);
        qu_pool_run(pool, items, question_item, &r);
    }
}
