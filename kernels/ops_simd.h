/* The inner kernels of this folder, a table for each stem and instruction set: what x_simd.c makes
 * and x.c picks from with QU_ISA_PICK. Private to kernels/ and its tests. */
#ifndef QU_KERNELS_OPS_SIMD_H
#define QU_KERNELS_OPS_SIMD_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/attend.h"
#include "kernels/isa.h"

/* attend.h; c = a b for product, mass with its two halves of scratch apart. */
typedef struct qu_attend_ops {
    void (*page)(qu_attend_state *part, const float *q, int64_t ldq, int32_t rows, int32_t d,
                 const qu_attend_kv *kv, const int32_t *visible, float *scratch);
    void (*mass)(float *w, float *m, float *l, const float *q, int64_t ldq, int32_t rows, int32_t d,
                 const qu_attend_kv *parts, int32_t n_parts, int32_t columns, const float *q2);
    void (*product)(float *c, const float *a, const float *b, int32_t rows, int32_t depth,
                    int32_t cols);
    void (*halve)(uint16_t *out, const float *x, int64_t n);
    void (*pack_kt)(void *kt, const float *x, int32_t n, int32_t n_pad, int32_t d); /* in bytes */
    void (*pack_v)(void *v, const float *x, int32_t n, int32_t n_pad, int32_t d);
    void (*merge)(qu_attend_state *acc, const qu_attend_state *part, int32_t rows, int32_t dp);
} qu_attend_ops;

typedef struct qu_codec_ops {
    void (*decode)(float *k, float *v, int64_t ldv, int codec, const void *in, int32_t n,
                   int32_t d);
} qu_codec_ops;

/* The types that are multiplied in bytes, f(NAME) each. */
#define QU_BYTE_TYPES(f) f(Q4_0) f(Q5_0) f(Q4_K) f(Q5_K) f(Q6_K) f(IQ4_XS)

/* 256 elements of x in bytes (kernels/bytes_simd.h has the order): eight runs, x = scale * q. */
typedef struct qu_linear_bytes {
    int8_t q[256];
    float scale[8], minus_sum[8]; /* minus the sum of a run's scale * q */
} qu_linear_bytes;

typedef struct qu_linear_ops {
    /* x[i] = value of element i, n a multiple of the type's block; equals qu_dequant_ref bit for
     * bit. */
    void (*dequant)(float *x, const void *blocks, int type, int64_t n);
    void (*to_bf16)(uint16_t *out, const float *x, int64_t n); /* as qu_f32_to_bf16 */
    /* y[t * ldy + i] = sum_k w[i * k_dim + k] x[t * ldx + k] for i < n_w, t < n_rows. */
    void (*dots)(float *y, int64_t ldy, const float *w, int32_t n_w, const float *x, int64_t ldx,
                 int32_t n_rows, int32_t k_dim);
    /* The same from stored blocks for n_rows <= 4, without a buffer: bit for bit what dequant then
     * dots gives. row_bytes between rows of w. False, with nothing done, for types that have no
     * such kernel: the rare ones. NULL in plain C, which gains nothing from registers. */
    bool (*dots_stored)(float *y, int64_t ldy, const void *w, int64_t row_bytes, int type,
                        int32_t n_w, const float *x, int64_t ldx, int32_t n_rows, int32_t k_dim);
    /* The same for any number of rows and every type, group rows of w at a time through buffer
     * [group * k_dim]. */
    void (*dots_buffered)(float *y, int64_t ldy, const void *w, int64_t row_bytes, int type,
                          int32_t n_w, const float *x, int64_t ldx, int32_t n_rows, int32_t k_dim,
                          float *buffer, int32_t group);
    /* x [n] rounded to bytes, n a multiple of 32. */
    void (*round)(qu_linear_bytes *out, const float *x, int32_t n);
    /* y as in dots with x [n_rows,ldx], ldx in blocks of 256, from round, for any number of rows;
     * of QU_BYTE_TYPES. */
    void (*dots_bytes)(float *y, int64_t ldy, const void *w, int64_t row_bytes, int type,
                       int32_t n_w, const qu_linear_bytes *x, int64_t ldx, int32_t n_rows,
                       int32_t k_dim);
} qu_linear_ops;

typedef struct qu_rope_ops {
    /* kt [d,n_pad] = transpose of k [n,d], padding zero */
    void (*transpose)(float *kt, int32_t n_pad, const float *k, int32_t n, int32_t d);
    /* rotate rows a and b [n_pad] by c and s [n_pad]: a' = a c - b s, b' = a s + b c */
    void (*rotate)(float *a, float *b, const float *c, const float *s, int32_t n_pad);
} qu_rope_ops;

/* summary.h: of [n,width] bytes, x = lo + step * byte */
typedef struct qu_summary_ops {
    void (*range)(float *lo, float *step, const uint16_t *in, int32_t width);
    /* x [depth,n], rows ldx apart, of the first depth columns of bytes; x [n,d] */
    void (*columns)(float *x, int64_t ldx, const uint8_t *bytes, int32_t width, const float *lo,
                    const float *step, int32_t depth, int32_t n);
    void (*rows)(float *x, int64_t ldx, const uint8_t *bytes, int32_t width, const float *lo,
                 const float *step, int32_t d, int32_t n);
    void (*turn)(float *a, float *b, float c, float s, int32_t n); /* a pair of rows by an angle */
} qu_summary_ops;

/* rows.h */
typedef struct qu_rows_ops {
    void (*rmsnorm)(float *y, const float *x, const float *w, int32_t n, float eps);
    void (*swiglu)(float *gate, const float *up, int32_t n);
    float (*exp_sum)(const float *x, int32_t n, float from);
} qu_rows_ops;

QU_ISA_DECLARE(qu_attend_ops, qu_attend_ops);
QU_ISA_DECLARE(qu_codec_ops, qu_codec_ops);
QU_ISA_DECLARE(qu_linear_ops, qu_linear_ops);
QU_ISA_DECLARE(qu_rope_ops, qu_rope_ops);
QU_ISA_DECLARE(qu_rows_ops, qu_rows_ops);
QU_ISA_DECLARE(qu_summary_ops, qu_summary_ops);

#endif
