/* Slices as attention reads them: decoded, keys turned, all rounded to halves, so that a page costs the
 * device's memory what it costs the store. The layouts are those of kernels/codec.h.
 *
 *   keys     into shared memory: a thread takes one pair of dims, whose scales and angles' rows it keeps, over
 *            every so many tokens
 *   values   eight dims of a token at a time, in registers
 *
 * Every operation is rounded by itself: the bits of qu_codec_decode, qu_rope_vector and qu_attend_halve. */
#ifndef QU_KERNELS_CUDA_STORED_CUH
#define QU_KERNELS_CUDA_STORED_CUH

#include "kernels/codec.h"
#include "kernels/cuda/common.cuh"

/* n keys and values of one KV head: a page's slice, or part of the far field. */
typedef struct block_keys {
    const void *key, *value; /* PLACED: halves [n,d] each; else key is the slice */
    int32_t codec, n, d;
    const float *cos, *sin; /* stored: [d/2, n_pad] */
    int32_t n_pad;
    qu_cuda_rope rope;
    /* far field, else NULL: on top of each score; clusters of chosen pages are hidden */
    const float *bias;
    const int32_t *page_of;
    const uint8_t *chosen;
    int32_t g, g_n;
} block_keys;

static __device__ __forceinline__ int32_t groups_of(int32_t d)
{
    return (d + QU_CODEC_GROUP - 1) / QU_CODEC_GROUP;
}

/* Channel c of token i's key; base and scale: the channel's. */
template <int CODEC>
static __device__ __forceinline__ float key_at(const block_keys &b, int32_t i, int32_t c, float base,
                                               float scale)
{
    const float *f = (const float *)b.key;
    const int32_t d = b.d, h = d / 2;
    if (CODEC == QU_CODEC_F32) return f[i * d + c];
    if (CODEC == QU_CODEC_F16) return from_half(((const uint16_t *)b.key)[i * d + c]);
    int q;
    if (CODEC == QU_CODEC_Q8)
        q = ((const int8_t *)(f + 2 * d + b.n))[i * d + c];
    else
        q = ((const uint8_t *)(f + 2 * d + b.n * groups_of(d)))[i * h + (c < h ? c : c - h)] >> (c < h ? 0 : 4) & 15;
    return __fadd_rn(base, __fmul_rn(scale, (float)q));
}

/* keys [n,ld] halves in shared memory, by a block of N threads. */
template <int CODEC, int N>
static __device__ __forceinline__ void turn_keys(uint16_t *keys, int32_t ld, const block_keys &b)
{
    const bool scaled = CODEC == QU_CODEC_Q8 || CODEC == QU_CODEC_Q4;
    const int32_t pairs = b.d / 2, shares = N / pairs, tid = (int32_t)threadIdx.x, pair = tid % pairs;
    const bool turned = pair < b.rope.n_dims / 2;
    const float *f = (const float *)b.key, *cos = b.cos + (int64_t)pair * b.n_pad,
                *sin = b.sin + (int64_t)pair * b.n_pad;
    if (tid >= shares * pairs) return;
    int32_t x, y;
    pair_dims(b.rope, pair, &x, &y);
    float base_x = 0, base_y = 0, scale_x = 0, scale_y = 0;
    if (scaled) {
        base_x = f[x], base_y = f[y];
        scale_x = f[b.d + x], scale_y = f[b.d + y];
    }
    for (int32_t first = tid / pairs * 4; first < b.n; first += shares * 4) {
        float c[4], s[4];
        if (turned) {
            float4 a = *(const float4 *)(const void *)(cos + first), e = *(const float4 *)(const void *)(sin + first);
            c[0] = a.x, c[1] = a.y, c[2] = a.z, c[3] = a.w;
            s[0] = e.x, s[1] = e.y, s[2] = e.z, s[3] = e.w;
        }
#pragma unroll
        for (int32_t j = 0; j < 4; j++) {
            int32_t i = first + j;
            if (i >= b.n) break;
            float u = key_at<CODEC>(b, i, x, base_x, scale_x), v = key_at<CODEC>(b, i, y, base_y, scale_y);
            if (turned) turn(&u, &v, c[j], s[j]);
            keys[i * ld + x] = to_half(u);
            keys[i * ld + y] = to_half(v);
        }
    }
}

/* keys [n,ld] of any codec; ld a multiple of 8. */
template <int N>
static __device__ __forceinline__ void load_keys(uint16_t *keys, int32_t ld, const block_keys &b)
{
    const int32_t chunks = b.d / 8;
    switch (b.codec) {
    case QU_CODEC_F32: turn_keys<QU_CODEC_F32, N>(keys, ld, b); break;
    case QU_CODEC_F16: turn_keys<QU_CODEC_F16, N>(keys, ld, b); break;
    case QU_CODEC_Q8: turn_keys<QU_CODEC_Q8, N>(keys, ld, b); break;
    case QU_CODEC_Q4: turn_keys<QU_CODEC_Q4, N>(keys, ld, b); break;
    default:
        for (int32_t i = (int32_t)threadIdx.x; i < b.n * chunks; i += N)
            ((uint4 *)(void *)keys)[i / chunks * (ld / 8) + i % chunks] = ((const uint4 *)b.key)[i];
    }
}

/* Four bytes of a slice, as they lie. */
static __device__ __forceinline__ uint32_t word_at(const void *p, int64_t at)
{
    return *(const uint32_t *)(const void *)((const char *)p + at);
}

/* Dims 8 chunk .. 8 chunk + 7 of token i's value. */
static __device__ __forceinline__ void value8(float v[8], const block_keys &b, int32_t i, int32_t chunk)
{
    const int32_t d = b.d, n = b.n, h = d / 2;
    const float *f = (const float *)b.key;
    if (b.codec == QU_CUDA_PLACED || b.codec == QU_CODEC_F16) {
        halves8(v, ((const uint4 *)b.value)[i * (d / 8) + chunk]);
        return;
    }
    if (b.codec == QU_CODEC_F32) {
        floats8(v, f + (n + i) * d + chunk * 8);
    } else if (b.codec == QU_CODEC_Q8) {
        const int8_t *q = (const int8_t *)(f + 2 * d + n) + (n + i) * d + chunk * 8;
#pragma unroll
        for (int j = 0; j < 8; j++)
            v[j] = __fmul_rn(f[2 * d + i], (float)(int8_t)(word_at(q, j / 4 * 4) >> j % 4 * 8));
    } else {
        const uint16_t *heads = (const uint16_t *)(const void *)(f + 2 * d);
        const uint8_t *q = (const uint8_t *)(heads + 2 * n * groups_of(d)) + (n + i) * h;
        uint32_t head = word_at(heads, 4 * (i * groups_of(d) + chunk * 8 / QU_CODEC_GROUP));
        float base = from_half((uint16_t)(head & 0xffff)), scale = from_half((uint16_t)(head >> 16));
#pragma unroll
        for (int j = 0; j < 8; j++) {
            int32_t from = chunk * 8 + j / 4 * 4; /* four channels have one half of a byte */
            uint32_t four = from < h ? word_at(q, from) : word_at(q, from - h) >> 4;
            v[j] = __fadd_rn(base, __fmul_rn(scale, (float)(four >> j % 4 * 8 & 15)));
        }
    }
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] = from_half(to_half(v[j]));
}

#endif
