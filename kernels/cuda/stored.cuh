/* Slices as attention reads them: decoded, keys turned to their place in the page, all rounded to
 * halves, so that a page costs the device's memory what it costs the store and depends on no
 * position. The layouts are those of kernels/codec.h.
 *
 *   chunk    eight dims in a row, what one load brings
 *   double   two chunks whose dims turn together, eight pairs: number j has pairs 8 j to 8 j + 7
 *
 * Every operation is rounded by itself: the bits of qu_codec_decode, qu_rope_vector and
 * qu_attend_halve. */
#ifndef QU_KERNELS_CUDA_STORED_CUH
#define QU_KERNELS_CUDA_STORED_CUH

#include "base/dims.h"
#include "kernels/codec.h"
#include "kernels/cuda/common.cuh"

enum { PAGE = QU_PAGE_TOKENS };

/* n keys and values of one KV head: a page's slice, or part of the far field. */
typedef struct block_keys {
    const char *head, *keys, *values; /* what precedes q8's and q4's rows; the rows */
    int32_t codec, n, d;
    qu_cuda_rope rope;
    /* of where the page starts, pairs ld apart; NULL: keys stand where they are */
    const float *cos, *sin;
    int32_t ld;
    /* far field, else NULL: on top of each score; clusters of chosen pages are hidden */
    const float *bias;
    const int32_t *page_of;
    const uint8_t *chosen;
    int32_t g, g_n;
} block_keys;

static __host__ __device__ __forceinline__ int32_t groups_of(int32_t d)
{
    return (d + QU_CODEC_GROUP - 1) / QU_CODEC_GROUP;
}

/* Bytes before the rows, bytes of a row. */
QU_DEVICE int32_t head_bytes(int32_t codec, int32_t n, int32_t d)
{
    if (codec != QU_CODEC_Q8 && codec != QU_CODEC_Q4) return 0;
    return (2 * d + n * (codec == QU_CODEC_Q8 ? 1 : groups_of(d))) * 4;
}
QU_DEVICE int32_t row_bytes(int32_t codec, int32_t d)
{
    if (codec == QU_CODEC_Q8 || codec == QU_CODEC_Q4) return codec == QU_CODEC_Q8 ? d : d / 2;
    return codec == QU_CODEC_F32 ? 4 * d : 2 * d;
}

/* Whether the pairs of a double have one dim of each chunk, and which two chunks it is. */
QU_DEVICE bool turn_apart(qu_cuda_rope r, int32_t j)
{
    return r.halves && 16 * j < r.n_dims;
}
QU_DEVICE void double_chunks(qu_cuda_rope r, int32_t j, int32_t *x, int32_t *y)
{
    bool apart = turn_apart(r, j);
    *x = apart ? j : 2 * j;
    *y = apart ? j + r.n_dims / 16 : 2 * j + 1;
}

/* Chunk c of a row as stored, which begins where such a load may: numbers, or q of q8 and q4. */
template <int CODEC>
QU_DEVICE void stored8(float x[8], const char *row, int32_t c, int32_t d)
{
    if (CODEC == QU_CODEC_F32) {
        floats8(x, row + c * 32);
    } else if (CODEC == QU_CODEC_Q8) {
        const uint2 u = read<uint2>(row, c);
        const uint32_t w[2] = {u.x, u.y};
        for (int i = 0; i < 8; i++) x[i] = (float)(int8_t)(w[i / 4] >> i % 4 * 8);
    } else if (CODEC == QU_CODEC_Q4) {
        for (int i = 0; i < 8; i += 4) { /* four channels have one half of a byte */
            int32_t at = c * 8 + i, low = at < d / 2;
            uint32_t four = read<uint32_t>(row + (low ? at : at - d / 2)) >> (low ? 0 : 4);
            for (int j = 0; j < 4; j++) x[i + j] = (float)(four >> j * 8 & 15);
        }
    } else {
        halves8(x, read<uint4>(row, c));
    }
}

/* What turns chunk c of q8 and q4 keys into numbers. */
template <int CODEC>
QU_DEVICE void key_scale8(float base[8], float scale[8], const char *head, int32_t c, int32_t d)
{
    if (CODEC != QU_CODEC_Q8 && CODEC != QU_CODEC_Q4) return;
    floats8(base, head + c * 32);
    floats8(scale, head + d * 4 + c * 32);
}
template <int CODEC>
QU_DEVICE void key8(float x[8], const char *row, int32_t c, int32_t d, const float base[8],
                    const float scale[8])
{
    stored8<CODEC>(x, row, c, d);
    if (CODEC == QU_CODEC_Q8 || CODEC == QU_CODEC_Q4) {
        for (int i = 0; i < 8; i++) x[i] = __fadd_rn(base[i], __fmul_rn(scale[i], x[i]));
    }
}

/* Chunk c of token i's value, not yet rounded. */
template <int CODEC>
QU_DEVICE void value8(float x[8], const char *row, int32_t c, int32_t d, const char *head,
                      int32_t i)
{
    stored8<CODEC>(x, row, c, d);
    if (CODEC == QU_CODEC_Q8) {
        float scale = read<float>(head, 2 * d + i);
        for (int j = 0; j < 8; j++) x[j] = __fmul_rn(scale, x[j]);
    } else if (CODEC == QU_CODEC_Q4) {
        uint32_t h = read<uint32_t>(head, 2 * d + i * groups_of(d) + c * 8 / QU_CODEC_GROUP);
        float base = from_half((uint16_t)(h & 0xffff)), scale = from_half((uint16_t)(h >> 16));
        for (int j = 0; j < 8; j++) x[j] = __fadd_rn(base, __fmul_rn(scale, x[j]));
    }
}

/* Turn a double by the angles of its pairs. */
QU_DEVICE void turn8(float x[8], float y[8], const float c[8], const float s[8], bool apart)
{
    if (apart) {
        for (int p = 0; p < 8; p++) turn(&x[p], &y[p], c[p], s[p]);
    } else {
        for (int p = 0; p < 4; p++) {
            turn(&x[2 * p], &x[2 * p + 1], c[p], s[p]);
            turn(&y[2 * p], &y[2 * p + 1], c[p + 4], s[p + 4]);
        }
    }
}

/* Turn a double of a query back by where the page starts: against keys that are turned inside
 * it. */
QU_DEVICE void turn_back8(float x[8], float y[8], const block_keys &b, int32_t j)
{
    if (!b.cos) return;
    float c[8], s[8];
    for (int p = 0; p < 8; p++) {
        int32_t pair = 8 * j + p;
        bool turns = pair < b.rope.n_dims / 2;
        c[p] = turns ? b.cos[(int64_t)pair * b.ld] : 1;
        s[p] = turns ? -b.sin[(int64_t)pair * b.ld] : 0;
    }
    turn8(x, y, c, s, turn_apart(b.rope, j));
}

/* Angles of the pairs 2 i, 2 i + 1 of a place out of four floats. */
QU_DEVICE void angles2(float c[8], float s[8], int i, float4 a)
{
    c[2 * i] = a.x, s[2 * i] = a.y, c[2 * i + 1] = a.z, s[2 * i + 1] = a.w;
}

QU_DEVICE void words4(uint32_t w[4], uint4 u)
{
    w[0] = u.x, w[1] = u.y, w[2] = u.z, w[3] = u.w;
}
QU_DEVICE void pack8(uint32_t w[4], const float x[8])
{
    for (int i = 0; i < 4; i++) w[i] = pack_halves(x[2 * i], x[2 * i + 1]);
}

#endif
