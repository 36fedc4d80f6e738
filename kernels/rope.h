/* Rotary position embedding: one frequency table, and the two places it is applied.
 *
 *     qu_rope *r;
 *     QU_TRY(qu_rope_create(&r, &config, err));
 *     qu_rope_angles(r, pos, n, 128, c, s);            // [n_dims/2, 128] of a run
 *     qu_rope_page(kt, 128, k, n, d, r, c, s, 128);    // rotated and transposed
 *
 * Angle of position p and pair i: p * freq[i], freq[i] = base^(-2i/n_dims) / (linear * factor[i]).
 * The angles of p are made from those of p - p % 128 and p % 128 in double precision and rounded
 * once, so a position's cosines are the same bits wherever and in whatever company they are
 * computed. Source: RoFormer, arXiv:2104.09864. Every scaling that Quire knows is a list of
 * factors: decode/model_rope.c.
 */
#ifndef QU_KERNELS_ROPE_H
#define QU_KERNELS_ROPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct qu_rope_config {
    int32_t n_dims; /* rotated dims of a head, even; the rest pass through */
    bool halves;    /* pairs are (i, i + n_dims/2), NeoX; else (2i, 2i + 1) */
    float base;
    float linear;          /* positions are divided by this; 1 = unscaled */
    const double *factors; /* [n_dims/2] positive divisors of the frequencies, or NULL */
} qu_rope_config;

typedef struct qu_rope qu_rope;

/* Memory of a qu_rope for each rotated dim: the angles of 128 positions. */
enum { QU_ROPE_BYTES_PER_DIM = 128 * 8 };

/* Errors: QU_ERR_ARG (odd or absurd n_dims, base or linear not positive and finite),
 * QU_ERR_NOMEM. */
qu_status qu_rope_create(qu_rope **r, const qu_rope_config *config, qu_err *err);
void qu_rope_free(qu_rope *r);

/* Cosines and sines of positions pos .. pos + n - 1: c, s [n_dims/2, ld] f32, column j for pos + j.
 * Columns n..ld-1 are set to those of angle 0. */
void qu_rope_angles(const qu_rope *r, int64_t pos, int32_t n, int32_t ld, float *c, float *s);

/* Pairs of dims that turn: n_dims / 2. */
int32_t qu_rope_pairs(const qu_rope *r);

/* The dims of pair j of a head of d dims, 0 <= j < d/2: those that turn together, and what passes
 * through by twos. */
void qu_rope_pair(const qu_rope *r, int32_t j, int32_t *a, int32_t *b);

/* Rotate one vector x [D] in place by column j of c and s. */
void qu_rope_vector(float *x, const qu_rope *r, const float *c, const float *s, int32_t ld,
                    int32_t j);

/* kt [D,n_pad] = keys k [n,D], rotated by columns 0..n-1 and transposed; columns n..n_pad-1 zero. n
 * <= n_pad, n_pad a multiple of 16, ld >= n_pad. Bit for bit qu_rope_vector's results, in every
 * instruction set. */
void qu_rope_page(float *kt, int32_t n_pad, const float *k, int32_t n, int32_t d, const qu_rope *r,
                  const float *c, const float *s, int32_t ld);

#endif
