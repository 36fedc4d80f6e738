/* Products of document chunks in tiles of bf16, for processors with a tile unit (Intel AMX).
 * Private to kernels/.
 *
 *   W     sixteen rows a tile:  [k/32][16 rows][32], so that a row's run of 32 is one line
 *   x     sixteen rows a tile:  [k/32][16 pairs of k][16 rows][2]
 *   sums  [W's tiles][2 of x]   [16 rows of W][16 rows of x] f32
 *
 * A run of 32 adds the sum of its even products and the sum of its odd ones, each product exact:
 * the unit's own order, so that the reference gives its bits (but where numbers are denormal, which
 * the unit takes for zero). A sum depends on its two rows alone.
 */
#ifndef QU_KERNELS_TILE_H
#define QU_KERNELS_TILE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/attend.h"

enum { QU_TILE = 16, QU_TILE_RUN = 32, QU_TILE_SIZE = QU_TILE * QU_TILE_RUN };

/* Whole runs of k columns. */
static inline int32_t qu_tile_runs(int32_t k)
{
    return (k + QU_TILE_RUN - 1) / QU_TILE_RUN;
}

/* Where a product of n rows of W and two tiles of x adds up, and whether it is the first to and the
 * last: which puts y[t * ldy + i] = the sum + bias[i] (or NULL) for t < n_rows, at most 32. */
typedef struct qu_tile_sums {
    float *sums;
    bool first, last;
    float *y;
    int64_t ldy;
    const float *bias;
    int32_t n, n_rows;
} qu_tile_sums;

typedef struct qu_tile_ops {
    /* One row [k] of a tile of W, or up to sixteen rows of x, ldx apart: rounded to nearest even;
     * what a tile lacks up to whole runs (of x: and rows) is zero. rest: where not NULL, what
     * rounding left, rounded likewise: both together keep sixteen bits. */
    void (*pack_w)(uint16_t *tile_row, uint16_t *rest, const float *row, int32_t k);
    void (*pack_x)(uint16_t *tile, uint16_t *rest, const float *x, int64_t ldx, int32_t n_rows,
                   int32_t k);
    /* So many runs of whole pairs of tiles of W, one behind the other, by those of two tiles of x,
     * x_step elements apart. With rests a run adds, after its product, w_rest by x and w by
     * x_rest. */
    void (*product)(const qu_tile_sums *to, const uint16_t *w, const uint16_t *w_rest,
                    const uint16_t *x, const uint16_t *x_rest, int64_t x_step, int32_t runs);
    /* attend.h: qu_attend_tiles_queries and _page, the queries' two halves apart */
    void (*queries)(uint16_t *high, uint16_t *low, const float *q, int64_t ldq, int32_t rows,
                    int32_t d);
    void (*page)(qu_attend_state *part, const uint16_t *q_high, const uint16_t *q_low, int32_t rows,
                 int32_t d, const qu_attend_kv *kv, const int32_t *visible, void *scratch);
} qu_tile_ops;

extern const qu_tile_ops qu_tile_plain;
#if defined(__x86_64__)
extern const qu_tile_ops qu_tile_amx;
#endif

/* The unit's where it is and may be used (qu_isa_current), else the reference's. */
const qu_tile_ops *qu_tile(void);

/* Has this processor the unit, and does the system let this process use it? */
bool qu_tile_has_unit(void);

#endif
