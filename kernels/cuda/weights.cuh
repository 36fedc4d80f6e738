/* Weights as they lie on a device (qu_cuda_put_weights), and a unit of them: read, by way of
 * registers or of shared memory, and decoded. */
#ifndef QU_KERNELS_CUDA_WEIGHTS_CUH
#define QU_KERNELS_CUDA_WEIGHTS_CUH

#include "kernels/cuda/common.cuh"
#include "kernels/quant.h"

/* Of a block the bulk, a multiple of 16 bytes, lies in one array and the head, the rest, in a
 * second one behind it, so that lanes read 16 bytes at a time. A lane takes a unit of 32 elements:
 * 16 from one place and 16 from `apart` further on, which share its bytes. Types without blocks:
 * units of 8. */
struct layout {
    int block, bulk, head, apart;
    int behind;    /* the head ends the stored block */
    int plus, min; /* what quants4 adds to a quant; whether there is something to subtract */
    /* of a unit are read: 16 bytes from q on, 16 from h on and the first 16 (-1, 0: not these),
     * words of the head and words of scales */
    int q, h, e, scales;
};
static constexpr __host__ __device__ layout layout_of(int type)
{
    switch (type) {
    case QU_TYPE_F32: return {8, 32, 0, 16, 0, 0, 0, 0, 16, 0, 0};
    case QU_TYPE_F16:
    case QU_TYPE_BF16: return {8, 16, 0, 16, 0, 0, 0, 0, -1, 0, 0};
    case QU_TYPE_Q8_0: return {32, 32, 2, 16, 0, 0, 0, 0, 16, 0, 0};
    case QU_TYPE_Q4_0: return {32, 16, 2, 16, 0, 8, 0, 0, -1, 0, 0};
    case QU_TYPE_IQ4_NL: return {32, 16, 2, 16, 0, 0, 0, 0, -1, 0, 0};
    case QU_TYPE_Q4_1: return {32, 16, 4, 16, 0, 0, 1, 0, -1, 0, 0};
    case QU_TYPE_Q5_0: return {32, 16, 6, 16, 0, 16, 0, 0, -1, 0, 0};
    case QU_TYPE_Q5_1: return {32, 16, 8, 16, 0, 0, 1, 0, -1, 0, 0};
    case QU_TYPE_Q2_K: return {256, 80, 4, 32, 1, 0, 1, 16, -1, 0, 1};
    case QU_TYPE_Q3_K: return {256, 96, 14, 32, 1, 4, 0, 32, 0, 0, 0};
    case QU_TYPE_Q4_K: return {256, 144, 0, 32, 0, 0, 1, 16, -1, 1, 0};
    case QU_TYPE_Q5_K: return {256, 176, 0, 32, 0, 0, 1, 48, 16, 1, 0};
    case QU_TYPE_Q6_K: return {256, 208, 2, 64, 1, 32, 0, 0, 128, 0, 2};
    default: return {256, 128, 8, 16, 0, 0, 0, 0, -1, 0, 0}; /* IQ4_XS */
    }
}

/* Where the blocks of a matrix lie. */
struct matrix {
    const uint8_t *bulk, *head;
};
/* --- a unit --- */

template <int TYPE> struct traits {
    static constexpr layout at = layout_of(TYPE);
    static constexpr bool dense = at.block == 8;
    static constexpr int unit = dense ? 8 : 32, groups = unit / 8, in_block = at.block / unit;
    /* a unit in shared memory: q, maybe h and e, words of the head and words of scales */
    static constexpr int head_words = (at.head + 2) / 4, words = head_words + at.scales;
    static constexpr int e_at = at.h >= 0 ? 32 : 16, words_at = at.e ? e_at + 16 : e_at;
    static constexpr int bytes = words_at + words * 4;
};

/* One as it was read, and its scales (d, s) in place. */
struct unit {
    uint4 q, h, e;
    unsigned word[4], d, s;
};

/* f(a part of r, the array it lies in, where in it, the bytes of parts before it) for all that is
 * read of unit u of a block. */
template <int TYPE, class F>
QU_DEVICE void each_part(unit &r, const matrix &w, int64_t block, int u, F f)
{
    using of = traits<TYPE>;
    int64_t p = block * of::at.bulk, head = block * of::at.head;
    int side = u / 4 * 32 + u % 2 * 16;
    f(r.q, w.bulk, p + of::at.q + (TYPE == QU_TYPE_Q2_K || TYPE == QU_TYPE_Q3_K ? side : 16 * u),
      0);
    if (of::at.h >= 0)
        f(r.h, w.bulk, p + of::at.h + (TYPE == QU_TYPE_Q6_K ? side : u % 2 * 16), 16);
    if (of::at.e) f(r.e, w.bulk, p, of::e_at);
    head -= of::at.head % 4 == 2 && block % 2 ? 2 : 0; /* words begin at multiples of 4 */
#pragma unroll
    for (int i = 0; i < of::words; i++) {
        int64_t scales = p + (TYPE == QU_TYPE_Q2_K ? u / 2 * 4 : 192 + u / 4 * 8);
        int64_t from = i < of::head_words ? head : scales - 4 * of::head_words;
        f(r.word[i], i < of::head_words ? w.head : w.bulk, from + 4 * i, of::words_at + 4 * i);
    }
}

QU_DEVICE unsigned byte_of(unsigned w, int i)
{
    return w >> 8 * i & 255;
}

/* d and s out of the words. */
template <int TYPE> QU_DEVICE void arrange(unit &r, int64_t block, int u)
{
    using of = traits<TYPE>;
    unsigned *w = r.word;
    if (of::at.head % 4 == 2 && block % 2)
#pragma unroll
        for (int i = 0; i < of::head_words; i++)
            w[i] = w[i] >> 16 | (i + 1 < of::head_words ? w[i + 1] << 16 : 0);
    if (of::head_words > 0) r.d = w[0];
    if (TYPE == QU_TYPE_Q5_0) r.s = w[0] >> 16 | w[1] << 16;
    if (TYPE == QU_TYPE_Q5_1 || TYPE == QU_TYPE_IQ4_XS) r.s = w[1];
    if (TYPE == QU_TYPE_Q2_K) r.s = byte_of(w[1], u % 2) | byte_of(w[1], u % 2 + 2) << 8;
    if (TYPE == QU_TYPE_Q6_K) r.s = byte_of(w[1], u % 4) | byte_of(w[2], u % 4) << 8;
    if (TYPE == QU_TYPE_Q3_K) { /* two of 16 scales of six bits */
        unsigned low = u / 2 % 2 ? w[1] : w[0];
        r.s = 0;
        for (int i = 0; i < 2; i++) {
            int of_word = u % 2 + 2 * i;
            r.s |= (byte_of(low, of_word) >> u / 4 * 4 & 15) << 8 * i;
            r.s |= (byte_of(w[2], of_word) >> u / 2 * 2 & 3) << (8 * i + 4);
        }
        r.d = w[3];
    }
}

template <class T> QU_DEVICE void read_to(T &to, const void *p)
{
    to = read<T>(p);
}

template <int TYPE> QU_DEVICE void load_unit(unit &r, const matrix &w, int64_t block, int u)
{
    each_part<TYPE>(r, w, block, u, [](auto &to, const uint8_t *array, int64_t from, int) {
        read_to(to, array + from);
    });
    arrange<TYPE>(r, block, u);
}

/* The same by way of shared memory, of the 32 lanes' units (traits::bytes each) at `at`: started
 * here, and taken once the copies have come (__pipeline_wait_prior). A lane takes what it has
 * started itself. */
template <int TYPE>
QU_DEVICE void start_unit(char *at, int lane, const matrix &w, int64_t block, int u)
{
    unit none;
    auto start = [=](auto &to, const uint8_t *array, int64_t from, int before) {
        char *there = at + before * QU_WARP + lane * (int)sizeof to;
        __pipeline_memcpy_async(there, array + from, sizeof to);
    };
    each_part<TYPE>(none, w, block, u, start);
}
template <int TYPE>
QU_DEVICE void take_unit(unit &r, const char *at, int lane, int64_t block, int u)
{
    const matrix none = {}; /* by now it does not matter where the parts came from */
    each_part<TYPE>(r, none, block, u, [=](auto &to, const uint8_t *, int64_t, int before) {
        read_to(to, at + before * QU_WARP + lane * (int)sizeof to);
    });
    arrange<TYPE>(r, block, u);
}

QU_DEVICE unsigned word_of(const uint4 &v, int i)
{
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/* Four bytes below 16 as qu_iq4_values. */
QU_DEVICE unsigned iq4_values(unsigned q)
{
    const uint64_t low = 0xf6eaddcfbfad9881ull, high = 0x7159453526190d01ull;
    unsigned out = 0;
    for (int j = 0; j < 32; j += 8)
        out |= (unsigned)((q >> j & 8 ? high : low) >> 8 * (q >> j & 7) & 255) << j;
    return out;
}

/* The four quants of word i of a unit's half, a signed byte each, plus what layout says. */
template <int TYPE> QU_DEVICE unsigned quants4(const unit &r, int u, int half, int i)
{
    unsigned w = word_of(r.q, i), h = word_of(r.h, i);
    if (TYPE == QU_TYPE_Q8_0) return half ? h : w;
    if (TYPE == QU_TYPE_Q2_K || TYPE == QU_TYPE_Q3_K) {
        int pair = u / 2 % 2 * 2 + half;
        w = w >> 2 * pair & 0x03030303u;
        return TYPE == QU_TYPE_Q2_K ? w : w | (h >> (u / 4 * 4 + pair) & 0x01010101u) << 2;
    }
    w = w >> 4 * half & 0x0f0f0f0fu;
    if (TYPE == QU_TYPE_IQ4_NL || TYPE == QU_TYPE_IQ4_XS) return iq4_values(w);
    if (TYPE == QU_TYPE_Q5_0 || TYPE == QU_TYPE_Q5_1) /* four bits, spread to a byte each */
        w |= ((r.s >> (16 * half + 4 * i) & 15) * 0x00204081u & 0x01010101u) << 4;
    if (TYPE == QU_TYPE_Q5_K) w |= (h >> (u / 2 * 2 + half) & 0x01010101u) << 4;
    if (TYPE == QU_TYPE_Q6_K) w |= (h >> (u % 4 / 2 * 2 + 4 * half) & 0x03030303u) << 4;
    return w;
}

/* q = the quants, or for dense types the weights, of a unit's group g of eight. A byte becomes a
 * float as the last bits of 2^23. */
template <int TYPE> QU_DEVICE void quants8(float q[8], const unit &r, int u, int g)
{
    if (TYPE == QU_TYPE_F32) {
        for (int j = 0; j < 8; j++) q[j] = __uint_as_float(word_of(j < 4 ? r.q : r.h, j % 4));
    } else if (TYPE == QU_TYPE_F16) {
        halves8(q, r.q);
    } else if (TYPE == QU_TYPE_BF16) {
        for (int j = 0; j < 8; j++)
            q[j] = __uint_as_float(word_of(r.q, j / 2) << (j % 2 ? 0 : 16) & 0xffff0000u);
    } else {
#pragma unroll
        for (int j = 0; j < 8; j++) {
            unsigned w = quants4<TYPE>(r, u, g / 2, g % 2 * 2 + j / 4) ^ 0x80808080u;
            q[j] = __uint_as_float(__byte_perm(w, 0x4b000000u, 0x7540 | j % 4)) -
                   (8388608.0f + 128 + traits<TYPE>::at.plus);
        }
    }
}

QU_DEVICE float low_half(unsigned u)
{
    return from_half((uint16_t)(u & 0xffff));
}
QU_DEVICE float high_half(unsigned u)
{
    return from_half((uint16_t)(u >> 16));
}

/* Of a unit's halves: element = scale * quant - min. */
template <int TYPE>
QU_DEVICE void scales_of(const unit &r, int u, float scale[2], float min[2])
{
    min[0] = min[1] = 0;
    if (TYPE == QU_TYPE_Q2_K) {
        for (int i = 0; i < 2; i++) {
            unsigned both = byte_of(r.s, i);
            scale[i] = __fmul_rn(low_half(r.d), (float)(both & 15));
            min[i] = __fmul_rn(high_half(r.d), (float)(both >> 4));
        }
    } else if (TYPE == QU_TYPE_Q3_K) {
        for (int i = 0; i < 2; i++)
            scale[i] = __fmul_rn(low_half(r.d), (float)((int)byte_of(r.s, i) - 32));
    } else if (traits<TYPE>::at.e) { /* two of 8 scales and mins of six bits */
        int shift = u / 2 % 2 * 16;
        unsigned a = r.e.y >> shift, b = r.e.z >> shift, c = r.e.w >> shift;
        unsigned s = u < 4 ? a & 0x3f3f : (c & 0x0f0f) | (a >> 2 & 0x3030);
        unsigned m = u < 4 ? b & 0x3f3f : (c >> 4 & 0x0f0f) | (b >> 2 & 0x3030);
        for (int i = 0; i < 2; i++) {
            scale[i] = __fmul_rn(low_half(r.e.x), (float)byte_of(s, i));
            min[i] = __fmul_rn(high_half(r.e.x), (float)byte_of(m, i));
        }
    } else if (TYPE == QU_TYPE_Q6_K) {
        for (int i = 0; i < 2; i++)
            scale[i] = __fmul_rn(low_half(r.d), (float)(int8_t)byte_of(r.s, i));
    } else if (TYPE == QU_TYPE_IQ4_XS) {
        int six = (int)(r.s >> 4 * u & 15) | (int)(r.d >> (16 + 2 * u) & 3) << 4;
        scale[0] = scale[1] = __fmul_rn(low_half(r.d), (float)(six - 32));
    } else if (!traits<TYPE>::dense) {
        scale[0] = scale[1] = low_half(r.d);
        if (traits<TYPE>::at.min) min[0] = min[1] = -high_half(r.d);
    }
}

/* The element that begins group g of unit u, counted from its block's first. */
template <int TYPE> QU_DEVICE int element_of(int u, int g)
{
    constexpr int apart = traits<TYPE>::at.apart, each = apart / 16;
    if (traits<TYPE>::dense) return 0;
    return u / each * 2 * apart + u % each * 16 + g / 2 * apart + g % 2 * 8;
}

/* w = elements of group g: the arithmetic of qu_dequant_ref, each operation rounded by itself,
 * hence the same bits. */
template <int TYPE> QU_DEVICE void weights8(float w[8], const unit &r, int u, int g)
{
    float scale[2], min[2];
    quants8<TYPE>(w, r, u, g);
    scales_of<TYPE>(r, u, scale, min);
    for (int j = 0; j < 8; j++) {
        if (!traits<TYPE>::dense) w[j] = __fmul_rn(scale[g / 2], w[j]);
        if (traits<TYPE>::at.min) w[j] = __fsub_rn(w[j], min[g / 2]);
    }
}

#endif
