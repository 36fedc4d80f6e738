/* What the kernels behind linear.h share: jobs as a list of work items, and the document kernels.
 * Private to kernels/. */
#ifndef QU_KERNELS_LINEAR_INT_H
#define QU_KERNELS_LINEAR_INT_H

#include "kernels/linear.h"

struct qu_linear_scratch {
    char *memory; /* aligned to 64 bytes */
    int64_t cap;
    struct qu_dnnl *dnnl; /* oneDNN's kernels, or NULL */
    bool dnnl_bf16;       /* and their element type */
};

/* At least need bytes, what was there is lost. Errors: QU_ERR_NOMEM. */
qu_status qu_linear_scratch_need(qu_linear_scratch *s, int64_t need, qu_err *err);

/* A work item is rows_per_item rows of one job's matrix, jobs one after the other. */
static inline int64_t qu_linear_items(const qu_linear_job *job, int32_t rows_per_item)
{
    return (job->w->n + rows_per_item - 1) / rows_per_item;
}

/* The job that item belongs to; *item becomes the index inside it. */
static inline const qu_linear_job *qu_linear_find_job(const qu_linear_job *jobs, int64_t *item,
                                                      int32_t rows_per_item)
{
    while (*item >= qu_linear_items(jobs, rows_per_item))
        *item -= qu_linear_items(jobs++, rows_per_item);
    return jobs;
}

/* y [n_rows, n] of job, column from on; its bias to it. */
static inline void qu_linear_add_bias(const qu_linear_job *job, float *y, int32_t from, int32_t n,
                                      int32_t n_rows)
{
    if (!job->bias) return;
    for (int32_t t = 0; t < n_rows; t++)
        for (int32_t i = 0; i < n; i++) y[t * job->ldy + i] += job->bias[from + i];
}

/* qu_linear_document by oneDNN, and by tiles of bf16 (tile.h): there qu_linear_prompt, too, which
 * keeps what rounding leaves. */
qu_status qu_linear_by_dnnl(qu_pool *pool, qu_linear_scratch *s, const qu_linear_job *jobs,
                            int n_jobs, const float *x, int64_t ldx, int32_t n_rows, qu_err *err);
qu_status qu_linear_by_tiles(qu_pool *pool, qu_linear_scratch *s, const qu_linear_job *jobs,
                             int n_jobs, const float *x, int64_t ldx, int32_t n_rows,
                             bool with_rest, qu_err *err);

#endif
