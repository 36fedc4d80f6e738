#include "kernels/codec.h"
#include "kernels/cuda/common.cuh"

enum { THREADS = 128, PAGE = 128 };

/* --- rows: a block a (token, head) --- */

static __device__ void rope_query(float *q, const qu_cuda_rows &r, int32_t layer, int32_t t,
                                  int32_t h, float scale, float gain)
{
    qu_cuda_page page = r.pages[r.own[t]];
    int64_t at = angles_at(r, page, layer, h / (r.n_heads / r.n_kv_heads)) + r.at[t];
    float *x = q + ((int64_t)t * r.n_heads + h) * r.d;
    for (int32_t i = (int32_t)threadIdx.x; i < r.rope.n_dims / 2; i += THREADS) {
        int32_t a, b;
        pair_dims(r.rope, i, &a, &b);
        float u = x[a], v = x[b];
        turn(&u, &v, page.cos[at + (int64_t)i * page.n_pad],
             page.sin[at + (int64_t)i * page.n_pad]);
        x[a] = u * (scale * gain);
        x[b] = v * (scale * gain);
    }
    for (int32_t i = r.rope.n_dims + (int32_t)threadIdx.x; i < r.d; i += THREADS) x[i] *= scale;
}

static __device__ void place_key(const float *k, const float *v, const qu_cuda_rows &r,
                                 int32_t layer, int32_t t, int32_t g)
{
    int32_t n_dims = r.rope.n_dims;
    qu_cuda_page page = r.pages[r.own[t]];
    uint16_t *keys = (uint16_t *)page.slices[layer * r.n_kv_heads + g] + (int64_t)r.at[t] * r.d;
    uint16_t *values = keys + (int64_t)PAGE * r.d;
    const float2 *places = (const float2 *)(const void *)places_of(r, layer, g) + r.at[t] * 2;
    const float *x = k + ((int64_t)t * r.n_kv_heads + g) * r.d;
    const float *y = v + ((int64_t)t * r.n_kv_heads + g) * r.d;
    for (int32_t i = (int32_t)threadIdx.x; i < n_dims / 2; i += THREADS) {
        int32_t a, b;
        pair_dims(r.rope, i, &a, &b);
        float u = x[a], w = x[b];
        float2 angle = places[i / 2 * PAGE * 2 + i % 2];
        turn(&u, &w, angle.x, angle.y);
        keys[a] = to_half(u);
        keys[b] = to_half(w);
    }
    for (int32_t i = n_dims + (int32_t)threadIdx.x; i < r.d; i += THREADS) keys[i] = to_half(x[i]);
    for (int32_t i = (int32_t)threadIdx.x; i < r.d; i += THREADS) values[i] = to_half(y[i]);
}

/* Query heads, then, with k, KV heads. */
static __global__ void __launch_bounds__(THREADS)
    place_rows(float *q, const float *k, const float *v, qu_cuda_rows r, int32_t layer, float scale,
               float gain)
{
    int32_t t = (int32_t)blockIdx.x, h = (int32_t)blockIdx.y;
    QU_LET_NEXT_START();
    QU_WAIT_FOR_LAST();
    if (h < r.n_heads) rope_query(q, r, layer, t, h, scale, gain);
    else place_key(k, v, r, layer, t, h - r.n_heads);
}

void qu_cuda_places(float *out, const float *cos, const float *sin, int32_t n_dims, int32_t d)
{
    for (int32_t i = 0; i < d / 2 * PAGE; i++) {
        int32_t pair = i / PAGE, place = i % PAGE;
        float *angle = out + (pair / 2 * PAGE + place) * 4 + pair % 2 * 2;
        angle[0] = pair < n_dims / 2 ? cos[i] : 1;
        angle[1] = pair < n_dims / 2 ? sin[i] : 0;
    }
}

qu_status qu_cuda_place_rows(qu_cuda *cu, float *q, const float *k, const float *v,
                             const qu_cuda_rows *rows, int32_t layer, float scale, float gain,
                             qu_err *err)
{
    dim3 grid((unsigned)rows->n, (unsigned)(rows->n_heads + (k ? rows->n_kv_heads : 0)));
    QU_TRY_EARLY(place_rows, grid, THREADS, 0, q, k, v, *rows, layer, scale, gain);
    return QU_OK;
}

/* --- encoding: a block a (page, KV head) --- */

QU_DEVICE float or_zero(float x)
{
    return isfinite(x) ? x : 0;
}
QU_DEVICE int8_t to_int8(float x, float inverse)
{
    float q = rintf(__fmul_rn(x, inverse));
    return (int8_t)(q > 127 ? 127 : q < -127 ? -127 : q);
}
QU_DEVICE float inverse_of(float scale)
{
    float inverse = scale > 0 ? 1 / scale : 0;
    return isfinite(inverse) ? inverse : 0;
}

/* A thread a channel, tokens in order: the bits of kernels/codec.c. */
static __device__ void encode_q8(char *out, const float *k, const float *v, int64_t ld, int32_t n,
                                 int32_t d)
{
    float *mean = (float *)(void *)out, *scale = mean + d, *value_scale = scale + d;
    int8_t *q = (int8_t *)(value_scale + n);
    for (int32_t c = (int32_t)threadIdx.x; c < d; c += THREADS) {
        double sum = 0;
        float most = 0;
        for (int32_t i = 0; i < n; i++) sum += or_zero(k[i * ld + c]);
        float middle = (float)(sum / n);
        for (int32_t i = 0; i < n; i++)
            most = fmaxf(most, fabsf(__fsub_rn(or_zero(k[i * ld + c]), middle)));
        float step = most / 127, inverse = inverse_of(step);
        mean[c] = middle;
        scale[c] = step;
        for (int32_t i = 0; i < n; i++)
            q[i * d + c] = to_int8(__fsub_rn(or_zero(k[i * ld + c]), middle), inverse);
    }
    q += (int64_t)n * d;
    for (int32_t i = (int32_t)threadIdx.x; i < n; i += THREADS) {
        float most = 0;
        for (int32_t c = 0; c < d; c++) most = fmaxf(most, fabsf(or_zero(v[i * ld + c])));
        float step = most / 127, inverse = inverse_of(step);
        value_scale[i] = step;
        for (int32_t c = 0; c < d; c++) q[i * d + c] = to_int8(or_zero(v[i * ld + c]), inverse);
    }
}

QU_DEVICE unsigned to_nibble(float x, float base, float inverse)
{
    float q = rintf(__fmul_rn(__fsub_rn(x, base), inverse));
    return (unsigned)(q > 15 ? 15 : q > 0 ? q : 0);
}

/* Base and inverse scale of channel c, written to where they belong. */
static __device__ float2 q4_channel(float *base, float *scale, const float *k, int64_t ld,
                                    int32_t n, int32_t c)
{
    float least = INFINITY, most = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        float x = or_zero(k[i * ld + c]);
        least = fminf(least, x);
        most = fmaxf(most, x);
    }
    base[c] = least;
    scale[c] = __fsub_rn(most / 15, least / 15);
    return make_float2(least, inverse_of(scale[c]));
}

/* A thread a byte of the keys' rows, two channels; then a thread a value. d is even. */
static __device__ void encode_q4(char *out, const float *k, const float *v, int64_t ld, int32_t n,
                                 int32_t d)
{
    const int32_t groups = (d + QU_CODEC_GROUP - 1) / QU_CODEC_GROUP, h = d / 2;
    float *base = (float *)(void *)out, *scale = base + d;
    uint16_t *heads = (uint16_t *)(void *)(scale + d);
    uint8_t *q = (uint8_t *)(heads + 2 * n * groups);
    for (int32_t c = (int32_t)threadIdx.x; c < h; c += THREADS) {
        float2 low = q4_channel(base, scale, k, ld, n, c),
               high = q4_channel(base, scale, k, ld, n, c + h);
        for (int32_t i = 0; i < n; i++)
            q[i * h + c] = (uint8_t)(to_nibble(or_zero(k[i * ld + c]), low.x, low.y) |
                                     to_nibble(or_zero(k[i * ld + c + h]), high.x, high.y) << 4);
    }
    q += n * h;
    for (int32_t i = (int32_t)threadIdx.x; i < n; i += THREADS) {
        for (int32_t g = 0; g < groups; g++) {
            float least = INFINITY, most = -INFINITY;
            for (int32_t c = g * QU_CODEC_GROUP; c < d && c < (g + 1) * QU_CODEC_GROUP; c++) {
                float x = fminf(fmaxf(or_zero(v[i * ld + c]), -65504.0f), 65504.0f);
                least = fminf(least, x);
                most = fmaxf(most, x);
            }
            uint16_t *head = heads + 2 * (i * groups + g);
            head[0] = to_half(least);
            head[1] = to_half(__fsub_rn(most, from_half(head[0])) / 15);
        }
        for (int32_t c = 0; c < h; c++) {
            unsigned byte = 0;
            for (int32_t j = 0; j < 2; j++) {
                const uint16_t *head = heads + 2 * (i * groups + (c + j * h) / QU_CODEC_GROUP);
                float x = fminf(fmaxf(or_zero(v[i * ld + c + j * h]), -65504.0f), 65504.0f);
                byte |= to_nibble(x, from_half(head[0]), inverse_of(from_half(head[1]))) << 4 * j;
            }
            q[i * h + c] = (uint8_t)byte;
        }
    }
}

static __global__ void __launch_bounds__(THREADS)
    encode(char *out, int64_t stride, int codec, const float *k, const float *v,
           const int32_t *first, const int32_t *counts, int32_t g_n, int32_t d)
{
    int32_t page = (int32_t)blockIdx.x, g = (int32_t)blockIdx.y, n = counts[page];
    int64_t ld = (int64_t)g_n * d, from = first[page] * ld + (int64_t)g * d;
    out += ((int64_t)page * g_n + g) * stride;
    k += from;
    v += from;
    if (codec == QU_CODEC_Q8) {
        encode_q8(out, k, v, ld, n, d);
        return;
    }
    if (codec == QU_CODEC_Q4) {
        encode_q4(out, k, v, ld, n, d);
        return;
    }
    for (int32_t i = (int32_t)threadIdx.x; i < n * d; i += THREADS) {
        int64_t at = i / d * ld + i % d;
        if (codec == QU_CODEC_F32) {
            ((float *)(void *)out)[i] = k[at];
            ((float *)(void *)out)[n * d + i] = v[at];
        } else {
            ((uint16_t *)(void *)out)[i] = to_half(k[at]);
            ((uint16_t *)(void *)out)[n * d + i] = to_half(v[at]);
        }
    }
}

qu_status qu_cuda_encode(qu_cuda *cu, void *out, int64_t stride, int codec, const float *k,
                         const float *v, const int32_t *first, const int32_t *n, int32_t n_pages,
                         int32_t n_kv_heads, int32_t d, qu_err *err)
{
    if (n_pages <= 0) return QU_OK;
    dim3 grid((unsigned)n_pages, (unsigned)n_kv_heads);
    QU_TRY_LAUNCH(encode, grid, THREADS, 0, (char *)out, stride, codec, k, v, first, n, n_kv_heads,
                  d);
    return QU_OK;
}

/* --- a stored slice to its place: a block a slice --- */

static __global__ void __launch_bounds__(THREADS) place_slices(const qu_cuda_slice *slices)
{
    const qu_cuda_slice *s = slices + blockIdx.x;
    const uint4 *from = (const uint4 *)s->from;
    uint4 *to = (uint4 *)s->to;
    const int32_t tid = (int32_t)threadIdx.x, words = (int32_t)(s->bytes / 4), whole = words / 4;
    for (int32_t i = tid; i < whole; i += THREADS) to[i] = from[i];
    if (tid < words % 4)
        ((uint32_t *)(void *)(to + whole))[tid] =
            ((const uint32_t *)(const void *)(from + whole))[tid];
    if (tid == 0) *s->entry = to;
}

qu_status qu_cuda_place_slices(qu_cuda *cu, qu_cuda_stream s, const qu_cuda_slice *slices,
                               int32_t n_slices, qu_err *err)
{
    if (n_slices > 0) QU_TRY_LAUNCH_ON(s, place_slices, (unsigned)n_slices, THREADS, 0, slices);
    return QU_OK;
}
