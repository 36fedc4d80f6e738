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

/* How a page is held. */
typedef enum qu_attend_type {
    QU_ATTEND_FLOATS,
    QU_ATTEND_HALVES, /* rounded to nearest even, beyond +-65504 clamped */
    QU_ATTEND_BYTES,  /* a range for each channel of a page: where pages are chosen */
} qu_attend_type;

/* One page of one KV head as attention reads it, borrowed.
 *   kt [D, n_pad]   keys after RoPE, transposed; columns from n to the next multiple of 16 are zero
 *   v  [n_pad, Dp]  values, Dp = qu_attend_pad(D); padding is zero
 *   bias [n_pad]    added to the scores, -INF hides a key; NULL: none
 * 1 <= n <= n_pad, n_pad a multiple of 16. Floats and halves are computed with in f32. In bytes
 * n_pad < n + 16, n_pad <= QU_ATTEND_COLUMNS, and a matrix [R, C] of channels that are its rows
 * (kt, R = Dp) or its columns (v) is
 *   [2, Dp] f32        mid and step of each channel: x = mid + step * (byte - 128)
 *   [C / 16, R / 4, 16, 4] u8   four rows of a column side by side
 * Queries times step, and weights, are then rounded to 15 bits of the largest of their row and
 * multiplied as whole numbers: against f32 on the same bytes that is 1e-4 of the largest value. */
typedef struct qu_attend_kv {
    const void *kt, *v;
    const float *bias;
    qu_attend_type type;
    int32_t n, n_pad;
    const void *next;   /* bytes: kt of what is read afterwards, to be asked for in time; NULL */
    const void *spread; /* [D/2, n_pad] like kt, of keys that stand for clusters (qu_attend_mass) */
} qu_attend_kv;

enum { QU_ATTEND_COLUMNS = 256 };

/* Bytes of kt [D,n_pad] and of v [n_pad,Dp], multiples of 32. */
int64_t qu_attend_kt_bytes(qu_attend_type type, int32_t d, int32_t n_pad);
int64_t qu_attend_v_bytes(qu_attend_type type, int32_t d, int32_t n_pad);

/* kt or v of a type from floats x [D,n_pad] or [n_pad,Dp] as those above. */
void qu_attend_pack_kt(qu_attend_type type, void *kt, const float *x, int32_t n, int32_t n_pad,
                       int32_t d);
void qu_attend_pack_v(qu_attend_type type, void *v, const float *x, int32_t n, int32_t n_pad,
                      int32_t d);

/* out [n] half = x [n] as QU_ATTEND_HALVES has them. */
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
 * [rows,c]; not used with bytes. A NaN score weighs nothing; NaN values give NaN. Writes all of
 * part. */
void qu_attend_page(qu_attend_state *part, const float *q, int64_t ldq, int32_t rows, int32_t d,
                    const qu_attend_kv *kv, const int32_t *visible, float *scratch);

/* The same for pages in floats or halves by products of tiles, within some 2^-15 of the largest
 * value: for document chunks where products are of tiles (qu_prefill_kind). Queries are laid out
 * once for many pages: packed, aligned to 64 bytes, of qu_attend_tiles_bytes(rows, D). part's o has
 * room for whole strips of QU_ATTEND_STRIP rows. scratch: qu_attend_tiles_scratch(D) bytes, aligned
 * likewise. */
enum { QU_ATTEND_STRIP = 32 };
int64_t qu_attend_tiles_bytes(int32_t rows, int32_t d);
int64_t qu_attend_tiles_scratch(int32_t d);
void qu_attend_tiles_queries(void *packed, const float *q, int64_t ldq, int32_t rows, int32_t d);
void qu_attend_tiles_page(qu_attend_state *part, const void *packed, int32_t rows, int32_t d,
                          const qu_attend_kv *kv, const int32_t *visible, void *scratch);

/* mass [all n_pad of the parts] += each key's softmax weight, summed over rows: a row that sees any
 * key adds 1 in all. Values are not read.
 * Keys that stand for clusters: bias = ln(count), and where q2 [rows,D/2] is not NULL the logits in
 * a cluster vary by v = q2 . spread. Such a logit is raised by sqrt(c (c + v)) - c, c =
 * QU_SPREAD_LIMIT * ln(count): by v / 2, the mean of exp under a normal law, where v is small, but
 * by no more than sqrt(c v), since so few members have no larger logit (random energy model,
 * Derrida 1981). scratch: rows * (2 columns of all parts + 2) floats. */
#define QU_SPREAD_LIMIT 1.4f /* fitted to 2 to 48 normal members; the law of large counts has 2 */
void qu_attend_mass(float *mass, const float *q, int64_t ldq, int32_t rows, int32_t d,
                    const qu_attend_kv *parts, int32_t n_parts, const float *q2, float *scratch);

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
