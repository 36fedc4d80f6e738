/* Launchers of the CUDA kernels. Pointers are device memory unless they say host; work goes to the
 * compute stream unless a stream is named; nothing waits. The reference of each is named with it:
 * the parity tables of tests/unit_cuda_*.c run every kernel against it.
 *
 * Errors of all: QU_ERR_GPU naming the kernel, QU_ERR_ARG for a type, codec or shape without a
 * kernel. A row's result never depends on how many rows share a call. Dims T, H, G, D as in
 * base/dims.h; group = H / G. D is a multiple of 8.
 */
#ifndef QU_KERNELS_CUDA_OPS_H
#define QU_KERNELS_CUDA_OPS_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- rows.cu --- */

/* y [T,n] = RMSNorm of x [T,n] by w [n]; y may be x. qu_rows_rmsnorm_ref. */
qu_status qu_cuda_rmsnorm(qu_cuda *cu, float *y, const float *x, const float *w, int32_t n_rows,
                          int32_t n, float eps, qu_err *err);
/* gate [n] = silu(gate) * up. qu_rows_swiglu_ref. */
qu_status qu_cuda_swiglu(qu_cuda *cu, float *gate, const float *up, int64_t n, qu_err *err);
/* y [T,n] += bias [n] */
qu_status qu_cuda_add_bias(qu_cuda *cu, float *y, const float *bias, int32_t n_rows, int32_t n,
                           qu_err *err);

/* The largest of each row's n logits [T,n], the lowest id among equals, and its share of their
 * softmax; id -1 where one is not finite. n up to 2^24. qu_sample_greedy, qu_sample_share. */
typedef struct qu_cuda_choice {
    int32_t id;
    float share;
} qu_cuda_choice;
qu_status qu_cuda_greedy(qu_cuda *cu, qu_cuda_choice *out, const float *logits, int32_t n_rows,
                         int32_t n, qu_err *err);

/* --- linear.cu: weights of every type of kernels/quant.h --- */

/* Weights on a device (w below): stored blocks of n elements put to [qu_cuda_weights_bytes] in an
 * order of their own that is read by 16 bytes, by way of stage, device memory that is free again
 * for what the compute stream does next. */
int64_t qu_cuda_weights_bytes(int type, int64_t n);
qu_status qu_cuda_put_weights(qu_cuda *cu, void *to, const void *blocks, int type, int64_t n,
                              void *stage, int64_t stage_bytes, qu_err *err);
/* x [T,k] = rows ids [T] of table [n,k]. qu_dequant_ref, bit for bit. */
qu_status qu_cuda_embed(qu_cuda *cu, float *x, const void *table, int type, const int32_t *ids,
                        int32_t n_rows, int32_t n, int32_t k, qu_err *err);

/* y [T,n] = x [T,k] w^T + bias, w [n,k], bias [n] or NULL; up to three products of one x, weights
 * of one type. For few rows: the weights are read once for eight. qu_linear_ref. k a multiple of
 * 8. */
typedef struct qu_cuda_product {
    float *y;
    const void *w;
    const float *bias;
    int32_t n;
} qu_cuda_product;
typedef enum qu_cuda_then {
    QU_CUDA_STORE,
    QU_CUDA_ADD,    /* y += it */
    QU_CUDA_SWIGLU, /* two products of equal n: y of the first = silu(the first) * the second */
} qu_cuda_then;
qu_status qu_cuda_matvec(qu_cuda *cu, const qu_cuda_product *of, int32_t n, int type,
                         qu_cuda_then then, const float *x, int32_t n_rows, int32_t k, qu_err *err);
/* out [n,k] bf16 = weights w [n,k], rounded to nearest even. */
qu_status qu_cuda_dequant_bf16(qu_cuda *cu, void *out, const void *w, int type, int32_t n,
                               int32_t k, qu_err *err);
/* out [rows_out,k] bf16 = x [rows,k], zero rows behind. */
qu_status qu_cuda_to_bf16(qu_cuda *cu, void *out, const float *x, int32_t rows, int32_t rows_out,
                          int32_t k, qu_err *err);

/* --- pages.cu --- */

/* How a head's dims turn: pairs (i, i + n_dims/2) with halves, else (2i, 2i + 1); i < n_dims/2.
 * With halves attention wants n_dims a multiple of 16. places [n_ropes] tables of
 * qu_cuda_places. */
typedef struct qu_cuda_rope {
    int32_t n_dims, halves;
    const float *places;
} qu_cuda_rope;

/* out [D/4, QU_PAGE_TOKENS, 4], host memory: the angles of the places inside a page, cosine and
 * sine of two pairs beside each other, out of cos, sin [D/2, QU_PAGE_TOKENS] of the positions from
 * 0 on. */
void qu_cuda_places(float *out, const float *cos, const float *sin, int32_t n_dims, int32_t d);

/* A segment as the device sees it. slices [L * G]: where each slice lies, NULL: not resident. A
 * stored one lies as it is in the store (a QU_CODEC_*, 16-byte aligned) and is decoded and turned
 * where attention reads it; a live one is QU_CUDA_PLACED: halves of a full page [QU_PAGE_TOKENS,
 * D], keys turned to their place in the page, then values. cos, sin [n_ropes][D/2 + 1, n_pad] as
 * qu_rope_angles makes them, n_pad a multiple of 16. */
enum { QU_CUDA_PLACED = -1 };
typedef struct qu_cuda_page {
    void **slices;
    const float *cos, *sin;
    int32_t n, n_pad, codec;
} qu_cuda_page;

/* Rows of a pass: their segment, their place in it. */
typedef struct qu_cuda_rows {
    const qu_cuda_page *pages;
    const int32_t *own, *at;
    int32_t n, n_heads, n_kv_heads, d;
    const int32_t *rope_rows; /* [L * G] rows of the angles; NULL: all 0 */
    qu_cuda_rope rope;
} qu_cuda_rows;

/* Turn queries q [T,H,D] into place and scale them: turned dims by scale * gain, others by scale.
 * Put live rows' keys k [T,G,D], turned, and values v into their slices; k NULL: there are none. */
qu_status qu_cuda_place_rows(qu_cuda *cu, float *q, const float *k, const float *v,
                             const qu_cuda_rows *rows, int32_t layer, float scale, float gain,
                             qu_err *err);

/* Encoded slices of whole pages: out + (page * G + g) * stride = qu_codec_encode, bit for bit, of
 * rows [first[page], first[page] + n[page]) of k and v [T,G,D]. first, n [n_pages]. */
qu_status qu_cuda_encode(qu_cuda *cu, void *out, int64_t stride, int codec, const float *k,
                         const float *v, const int32_t *first, const int32_t *n, int32_t n_pages,
                         int32_t n_kv_heads, int32_t d, qu_err *err);

/* One encoded slice to put where attention finds it: bytes, a multiple of 4, to an address that is
 * then written to *entry. Addresses are multiples of 16. */
typedef struct qu_cuda_slice {
    const void *from;
    void *to, **entry;
    int64_t bytes;
} qu_cuda_slice;
/* slices [n_slices] */
qu_status qu_cuda_place_slices(qu_cuda *cu, qu_cuda_stream s, const qu_cuda_slice *slices,
                               int32_t n_slices, qu_err *err);

/* --- attend.cu --- */

/* What attention of one layer reads. Lists: each KV head's segments in order, list_cap apart; NULL:
 * segments 0 .. n_pages - 1. A row sees earlier segments, its own up to itself, and the far field's
 * clusters of candidates that its head did not choose. Keys and values count as halves, whatever
 * the codec, keys as they are turned inside their page: qu_attend_halve of qu_rope_page, from
 * position 0 on, of qu_codec_decode; queries are turned back by where the page starts. */
typedef struct qu_cuda_attend {
    float *out;     /* [T,H,D] */
    const float *q; /* [T,H,D] rotated and scaled */
    qu_cuda_rows rows;
    int32_t layer, n_pages, list_cap;
    const int32_t *list, *count; /* [G,list_cap], [G] */
    /* far field; n_clusters 0: none. key, value [G][n_clusters,D] half, bias [G][n_clusters] */
    const uint16_t *key, *value;
    const float *bias;
    const int32_t *page_of; /* [n_clusters] candidate */
    const uint8_t *chosen;  /* [candidates,G] */
    int32_t n_clusters;
    float *partial; /* split: qu_cuda_attend_floats of scratch */
} qu_cuda_attend;

/* Few rows (question, decode, verify): each page by itself, partial states merged in a fixed order.
 * D up to 128. */
qu_status qu_cuda_attend_split(qu_cuda *cu, const qu_cuda_attend *a, qu_err *err);
/* Many rows (document): one pass over the pages for each block of rows; no lists, no far field. */
qu_status qu_cuda_attend_direct(qu_cuda *cu, const qu_cuda_attend *a, qu_err *err);
/* Floats of scratch for split with n_rows tokens. */
int64_t qu_cuda_attend_floats(const qu_cuda_attend *a, int32_t n_rows);

/* --- sense.cu --- */

/* The candidates' clusters of all layers: columns in candidate order. */
typedef struct qu_cuda_clusters {
    uint16_t *key, *value;  /* [L][G][n,D] half, keys turned to their places */
    uint16_t *spread;       /* [L][G][n,D/2] half */
    float *bias;            /* [L][G][n] ln(count), -INF: empty */
    int32_t *page_of;       /* [n] */
    int32_t *first;         /* [n_pages + 1] */
    int32_t *tokens;        /* [n_pages] */
    int32_t n, n_pages;
} qu_cuda_clusters;

/* One page's summaries [L][G] (qu_page_summary_bytes, as qu_summary_read sees them) into the
 * columns from col on, keys turned by the page's start. */
qu_status qu_cuda_place_summary(qu_cuda *cu, const qu_cuda_clusters *c, const void *summary,
                                const qu_cuda_page *page, const int32_t *rope_rows,
                                qu_cuda_rope rope, int32_t page_tokens, int32_t candidate,
                                int32_t col, int32_t n_layers, int32_t n_kv_heads, int32_t d,
                                qu_err *err);

/* score [G,n_pages] = mean over rows of the softmax mass of each candidate, as policy multipole
 * takes it: qu_attend_mass. q [T,H,D] of this layer. scratch: qu_cuda_sense_floats. */
qu_status qu_cuda_sense(qu_cuda *cu, float *score, const qu_cuda_clusters *c, const float *q,
                        const qu_cuda_rows *rows, int32_t layer, float *scratch, qu_err *err);
int64_t qu_cuda_sense_floats(int32_t n_clusters, int32_t n_rows, int32_t n_heads);

/* chosen [n_pages,G] = 1 where the page is among those with the most score a token that fit the
 * budget: qu_policy_cut. all [G]: heads that take everything, or NULL. n_pages up to
 * QU_CUDA_CUT_PAGES. */
enum { QU_CUDA_CUT_PAGES = 4096 };
qu_status qu_cuda_cut(qu_cuda *cu, uint8_t *chosen, const float *score, const int32_t *tokens,
                      const uint8_t *all, int32_t n_pages, int32_t n_kv_heads, int64_t budget,
                      qu_err *err);

/* list [G,n_segments], count [G]: the segments each head reads, in order. candidate [n_segments]:
 * its number, -1: always read. */
qu_status qu_cuda_lists(qu_cuda *cu, int32_t *list, int32_t *count, const int32_t *candidate,
                        const uint8_t *chosen, int32_t n_segments, int32_t n_kv_heads, qu_err *err);

#ifdef __cplusplus
}
#endif
#endif
