/* Attention as a merge: a partial state per page, folded in page order.
 *
 *     for each page in order:
 *         qu_attend_page(&part, q, &page, visible, scratch);      // of no other page
 *         qu_attend_merge(&acc, &part, rows, dp);
 *     qu_attend_finish(out, &acc, ...);
 *
 * A state over a key set is (o, m, l): m the largest score, l = sum exp(s - m), o = sum exp(s - m)
 * v. A row's partial depends only on that row and that page, so any blocking of rows, pages and
 * threads that merges in page order gives the same bits; any other partition agrees within 2e-6 of
 * a double reference. Source: FlashInfer, arXiv:2501.01005, section 2.2; natural logarithms
 * throughout.
 */
#ifndef QU_KERNELS_ATTEND_H
#define QU_KERNELS_ATTEND_H

#include <stdbool.h>
#include <stdint.h>

/* D rounded up to whole vectors: the row length of v and o. Padding elements are zero. */
static inline int32_t qu_attend_pad(int32_t d)
{
    return (d + 15) / 16 * 16;
}

/* One page of one KV head as attention reads it, borrowed.
 *   kt [D, n_pad]   keys after RoPE, transposed; columns from n to the next multiple of 16 are zero
 *   v  [n_pad, Dp]  values, Dp = qu_attend_pad(D); padding is zero
 * Elements are half where half is set, else f32; the arithmetic is f32 either way.
 *   bias [n_pad]    added to the scores, -INF hides a key; NULL: none
 * 1 <= n <= n_pad, n_pad a multiple of 16. */
typedef struct qu_attend_kv {
    const void *kt, *v;
    const float *bias;
    bool half;
    int32_t n, n_pad;
} qu_attend_kv;

/* out [n] half = x [n] rounded to nearest even, beyond +-65504 clamped: how pages are held. */
void qu_attend_halve(uint16_t *out, const float *x, int64_t n);

/* State of rows query rows: o [rows,Dp], m [rows], l [rows], caller's memory. */
typedef struct qu_attend_state {
    float *o, *m, *l;
} qu_attend_state;

/* The empty state: o = 0, m = -INF, l = 0. */
void qu_attend_reset(qu_attend_state *s, int32_t rows, int32_t dp);

/* Partial state of rows queries q [rows,ldq] (already scaled by 1/sqrt(D) and rotated) over one
 * page. visible [rows]: keys 0..visible-1 are seen (0 gives the empty state), NULL: all n. scratch:
 * rows * c floats, c = n rounded up to a multiple of 16, left holding the weights exp(score - m)
 * [rows,c]. A NaN score weighs nothing; NaN values give NaN. Writes all of part. */
void qu_attend_page(qu_attend_state *part, const float *q, int64_t ldq, int32_t rows, int32_t d,
                    const qu_attend_kv *kv, const int32_t *visible, float *scratch);

/* mass [n_pad] += each key's softmax weight, summed over rows: a row that sees any key adds 1 in
 * all. kv's values are not read.
 * Keys that stand for clusters: bias = ln(count), and where spread is not NULL the logits in a
 * cluster vary by v = q2 . spread; q2 [rows,D/2] f32, spread [D/2,n_pad] of kv's element type. Such
 * a logit is raised by sqrt(c (c + v)) - c, c = QU_SPREAD_LIMIT * ln(count): by v / 2, the mean of
 * exp under a normal law, where v is small, but by no more than sqrt(c v), since so few members
 * have no larger logit (random energy model, Derrida 1981). scratch: rows * (2 n_pad + 2)
 * floats. */
#define QU_SPREAD_LIMIT 1.4f /* fitted to 2 to 48 normal members; the law of large counts has 2 */
void qu_attend_mass(float *mass, const float *q, int64_t ldq, int32_t rows, int32_t d,
                    const qu_attend_kv *kv, const float *q2, const void *spread, float *scratch);

/* c [rows,cols] = a [rows,depth] b [depth,cols] in f32, rows of b and c cols apart, cols a multiple
 * of 16. */
void qu_attend_product(float *c, const float *a, const float *b, int32_t rows, int32_t depth,
                       int32_t cols);

/* acc = state of the union; part's key set must be disjoint from acc's. */
void qu_attend_merge(qu_attend_state *acc, const qu_attend_state *part, int32_t rows, int32_t dp);

/* out [rows,ldo], d floats a row = o / l; zero where the state is empty. lse_ln [rows] or NULL: m +
 * ln l, -INF where empty. */
void qu_attend_finish(float *out, int64_t ldo, float *lse_ln, const qu_attend_state *s,
                      int32_t rows, int32_t d);

/* Reference: the whole softmax in double precision over n keys k [n,D] (rotated), v [n,D]. */
void qu_attend_ref(float *out, double *lse_ln, const float *q, const float *k, const float *v,
                   int32_t n, int32_t d);

#endif
