#include <string.h>

#include "kernels/linear_int.h"
#include "kernels/ops_simd.h"
#include "kernels/tile.h"

enum {
    PANEL_ROWS = 64,    /* rows of W in one work item */
    PANEL_DEPTH = 2048, /* and its columns at a time: 256 KiB of bf16 */
    PIECE = 256,        /* columns that are dequantised at a time: of every type whole blocks */
    AHEAD = 4           /* rows of W that are asked for before they are needed */
};

/* x is packed once; a work item packs its rows of W piece by piece, multiplies pairs of tiles of x
 * with each piece, and puts a pair's sums where they belong once they are whole. */
typedef struct tile_run {
    const qu_linear_job *jobs;
    const float *x;
    int64_t ldx;
    int32_t n_rows, x_tiles, k;
    uint16_t *tiles, *rest; /* of x, and what rounding left of it, or NULL */
    int64_t x_step;         /* elements between them */
    char *workers;          /* [workers]: sums, tiles of W, what rounding left of it */
    int64_t worker_bytes;
    const qu_tile_ops *ops;
    const qu_linear_ops *linear;
} tile_run;

static int32_t smaller(int64_t a, int64_t b)
{
    return (int32_t)(a < b ? a : b);
}

static void pack_tile(void *ctx, int64_t tile, int worker)
{
    (void)worker;
    const tile_run *r = ctx;
    int64_t left = r->n_rows - tile * QU_TILE;
    r->ops->pack_x(r->tiles + tile * r->x_step, r->rest ? r->rest + tile * r->x_step : NULL,
                   r->x + tile * QU_TILE * r->ldx, r->ldx, left < 0 ? 0 : smaller(left, QU_TILE),
                   r->k);
}

/* Columns [k, k + depth) of n rows of W from data on, in whole pairs of tiles: a few columns of
 * sixteen rows at a time, since a row's lines in tiles lie far apart. */
static void pack_panel(const tile_run *r, uint16_t *panel, uint16_t *rest, const qu_weight *w,
                       const char *data, int32_t n, int32_t k, int32_t depth)
{
    float row[PIECE];
    int64_t step = (int64_t)qu_tile_runs(depth) * QU_TILE_SIZE;
    int64_t row_bytes = qu_type_bytes(w->type, w->k);
    for (int32_t t = 0; t < (n + 2 * QU_TILE - 1) / (2 * QU_TILE) * 2; t++)
        for (int32_t from = 0; from < depth; from += PIECE) {
            int32_t columns = smaller(depth - from, PIECE);
            const char *piece = data + qu_type_bytes(w->type, k + from);
            int64_t bytes = qu_type_bytes(w->type, columns);
            for (int32_t i = t * QU_TILE; i < (t + 1) * QU_TILE; i++) {
                for (int64_t b = 0; b < bytes; b += 64)
                    __builtin_prefetch(piece + (i + AHEAD) * row_bytes + b);
                if (i < n)
                    r->linear->dequant(row, piece + i * row_bytes, w->type, columns);
                else
                    memset(row, 0, sizeof row);
                int64_t at = t * step + (int64_t)from * QU_TILE + i % QU_TILE * QU_TILE_RUN;
                r->ops->pack_w(panel + at, rest ? rest + at : NULL, row, columns);
            }
        }
}

static void tile_item(void *ctx, int64_t item, int worker)
{
    const tile_run *r = ctx;
    const qu_linear_job *job = qu_linear_find_job(r->jobs, &item, PANEL_ROWS);
    const qu_weight *w = job->w;
    int32_t from = (int32_t)item * PANEL_ROWS, n = smaller(w->n - from, PANEL_ROWS);
    const char *data = (const char *)w->data + from * qu_type_bytes(w->type, w->k);
    float *sums = (float *)(void *)(r->workers + worker * r->worker_bytes);
    uint16_t *panel = (uint16_t *)(void *)(sums + (int64_t)PANEL_ROWS * r->x_tiles * QU_TILE);
    uint16_t *rest = r->rest ? panel + PANEL_ROWS * PANEL_DEPTH : NULL;
    for (int32_t k = 0; k < w->k; k += PANEL_DEPTH) {
        int32_t depth = smaller(w->k - k, PANEL_DEPTH);
        pack_panel(r, panel, rest, w, data, n, k, depth);
        for (int32_t t = 0; t < r->n_rows; t += 2 * QU_TILE) {
            qu_tile_sums to = {sums + (int64_t)t * PANEL_ROWS,
                               k == 0,
                               k + depth == w->k,
                               job->y + t * job->ldy + from,
                               job->ldy,
                               job->bias ? job->bias + from : NULL,
                               n,
                               smaller(r->n_rows - t, 2 * QU_TILE)};
            int64_t at = t / QU_TILE * r->x_step + (int64_t)k * QU_TILE;
            r->ops->product(&to, panel, rest, r->tiles + at, r->rest ? r->rest + at : NULL,
                            r->x_step, qu_tile_runs(depth));
        }
    }
}

qu_status qu_linear_by_tiles(qu_pool *pool, qu_linear_scratch *s, const qu_linear_job *jobs,
                             int n_jobs, const float *x, int64_t ldx, int32_t n_rows,
                             bool with_rest, qu_err *err)
{
    tile_run r = {.jobs = jobs,
                  .x = x,
                  .ldx = ldx,
                  .n_rows = n_rows,
                  .k = jobs->w->k,
                  .x_tiles = (n_rows + 2 * QU_TILE - 1) / (2 * QU_TILE) * 2,
                  .linear = QU_ISA_PICK(qu_linear_ops),
                  .ops = qu_tile()};
    int64_t items = 0, panel = (int64_t)PANEL_ROWS * PANEL_DEPTH;
    for (int j = 0; j < n_jobs; j++) items += qu_linear_items(&jobs[j], PANEL_ROWS);
    r.x_step = (int64_t)qu_tile_runs(r.k) * QU_TILE_SIZE;
    int64_t halves = with_rest ? 2 : 1, x_bytes = r.x_tiles * r.x_step * 2 * halves;
    r.worker_bytes = (int64_t)PANEL_ROWS * r.x_tiles * QU_TILE * 4 + panel * 2 * halves;
    QU_TRY(qu_linear_scratch_need(s, x_bytes + qu_pool_threads(pool) * r.worker_bytes, err));
    r.tiles = (uint16_t *)(void *)s->memory;
    if (with_rest) r.rest = r.tiles + r.x_tiles * r.x_step;
    r.workers = s->memory + x_bytes;
    qu_pool_run(pool, r.x_tiles, pack_tile, &r);
    qu_pool_run(pool, items, tile_item, &r);
    return QU_OK;
}
