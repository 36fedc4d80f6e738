#include "kernels/cuda/common.cuh"
#include "kernels/quant.h"

/* --- how weights lie there: qu_cuda_repack --- */

/* Of a block the bulk, a multiple of 16 bytes, lies in one array and the head, the rest, in a second one behind
 * it, so that lanes read 16 bytes at a time. A lane takes a unit of 32 elements: 16 from one place and 16 from
 * `apart` further on, which share its bytes. Types without blocks: units of 8. */
struct layout {
    int block, bulk, head, apart;
    bool behind; /* the head ends the stored block */
};
static constexpr __host__ __device__ layout layout_of(int type)
{
    switch (type) {
    case QU_TYPE_F32: return {8, 32, 0, 16, false};
    case QU_TYPE_F16:
    case QU_TYPE_BF16: return {8, 16, 0, 16, false};
    case QU_TYPE_Q8_0: return {32, 32, 2, 16, false};
    case QU_TYPE_Q4_0:
    case QU_TYPE_IQ4_NL: return {32, 16, 2, 16, false};
    case QU_TYPE_Q4_1: return {32, 16, 4, 16, false};
    case QU_TYPE_Q5_0: return {32, 16, 6, 16, false};
    case QU_TYPE_Q5_1: return {32, 16, 8, 16, false};
    case QU_TYPE_Q2_K: return {256, 80, 4, 32, true};
    case QU_TYPE_Q3_K: return {256, 96, 14, 32, true};
    case QU_TYPE_Q4_K: return {256, 144, 0, 32, false};
    case QU_TYPE_Q5_K: return {256, 176, 0, 32, false};
    case QU_TYPE_Q6_K: return {256, 208, 2, 64, true};
    default: return {256, 128, 8, 16, false}; /* IQ4_XS */
    }
}

/* Where the blocks of a matrix lie. */
struct matrix {
    const uint8_t *bulk, *head;
};
static matrix matrix_of(const void *w, int type, int64_t n)
{
    layout l = layout_of(type);
    const uint8_t *p = (const uint8_t *)w;
    return {p, p + n / l.block * l.bulk};
}

/* --- a unit --- */

template <int TYPE> struct traits {
    static constexpr layout at = layout_of(TYPE);
    static constexpr bool dense = at.block == 8;
    static constexpr bool has_min = TYPE == QU_TYPE_Q4_1 || TYPE == QU_TYPE_Q5_1 || TYPE == QU_TYPE_Q2_K ||
                                    TYPE == QU_TYPE_Q4_K || TYPE == QU_TYPE_Q5_K;
    static constexpr int unit = dense ? 8 : 32, groups = unit / 8, in_block = at.block / unit;
};

/* What is read of one, as it lies there. */
struct unit {
    uint4 q, h, e;
    unsigned d, s;
};

static __device__ __forceinline__ uint4 load16(const uint8_t *p)
{
    return *(const uint4 *)(const void *)p;
}
static __device__ __forceinline__ unsigned load2(const uint8_t *p)
{
    return *(const uint16_t *)(const void *)p;
}
static __device__ __forceinline__ unsigned load4(const uint8_t *p)
{
    return *(const uint32_t *)(const void *)p;
}

/* Unit u of a block. */
template <int TYPE> static __device__ __forceinline__ void load_unit(unit &r, const matrix &w, int64_t block, int u)
{
    const uint8_t *p = w.bulk + block * traits<TYPE>::at.bulk, *h = w.head + block * traits<TYPE>::at.head;
    if (TYPE == QU_TYPE_F32 || TYPE == QU_TYPE_Q8_0) {
        r.q = load16(p);
        r.h = load16(p + 16);
        if (TYPE == QU_TYPE_Q8_0) r.d = load2(h);
    } else if (TYPE == QU_TYPE_Q2_K) {
        r.q = load16(p + 16 + u / 4 * 32 + u % 2 * 16);
        r.s = p[u / 2 * 4 + u % 2] | (unsigned)p[u / 2 * 4 + u % 2 + 2] << 8;
        r.d = load4(h);
    } else if (TYPE == QU_TYPE_Q3_K) {
        r.q = load16(p + 32 + u / 4 * 32 + u % 2 * 16);
        r.h = load16(p + u % 2 * 16);
        for (int i = 0; i < 2; i++) {
            int g = u / 2 * 4 + u % 2 + 2 * i;
            unsigned six = (h[g % 8] >> g / 8 * 4 & 15) | (h[8 + g % 4] >> g / 4 * 2 & 3) << 4;
            r.s = i ? r.s | six << 8 : six;
        }
        r.d = load2(h + 12);
    } else if (TYPE == QU_TYPE_Q4_K) {
        r.q = load16(p + 16 + 16 * u);
        r.e = load16(p);
    } else if (TYPE == QU_TYPE_Q5_K) {
        r.q = load16(p + 48 + 16 * u);
        r.h = load16(p + 16 + u % 2 * 16);
        r.e = load16(p);
    } else if (TYPE == QU_TYPE_Q6_K) {
        r.q = load16(p + 16 * u);
        r.h = load16(p + 128 + u / 4 * 32 + u % 2 * 16);
        r.s = p[192 + u / 4 * 8 + u % 4] | (unsigned)p[196 + u / 4 * 8 + u % 4] << 8;
        r.d = load2(h);
    } else if (TYPE == QU_TYPE_IQ4_XS) {
        r.q = load16(p + 16 * u);
        r.d = load4(h);
        r.s = load4(h + 4);
    } else {
        r.q = load16(p);
        if (TYPE == QU_TYPE_Q4_0 || TYPE == QU_TYPE_IQ4_NL || TYPE == QU_TYPE_Q5_0) r.d = load2(h);
        if (TYPE == QU_TYPE_Q4_1 || TYPE == QU_TYPE_Q5_1) r.d = load4(h);
        if (TYPE == QU_TYPE_Q5_0) r.s = load2(h + 2) | load2(h + 4) << 16;
        if (TYPE == QU_TYPE_Q5_1) r.s = load4(h + 4);
    }
}

static __device__ __forceinline__ unsigned word_of(const uint4 &v, int i)
{
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/* Four bytes below 16 as qu_iq4_values. */
static __device__ __forceinline__ unsigned iq4_values(unsigned q)
{
    const uint64_t low = 0xf6eaddcfbfad9881ull, high = 0x7159453526190d01ull;
    unsigned out = 0;
    for (int j = 0; j < 32; j += 8) out |= (unsigned)((q >> j & 8 ? high : low) >> 8 * (q >> j & 7) & 255) << j;
    return out;
}

/* The four quants of word i of a unit's half, a signed byte each, plus what plus_of says. */
template <int TYPE> static __device__ __forceinline__ unsigned quants4(const unit &r, int u, int half, int i)
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
static constexpr __host__ __device__ int plus_of(int type)
{
    return type == QU_TYPE_Q4_0 ? 8 : type == QU_TYPE_Q5_0 ? 16 : type == QU_TYPE_Q6_K ? 32 : type == QU_TYPE_Q3_K ? 4 : 0;
}

/* q = the quants, or for dense types the weights, of a unit's group g of eight. A byte becomes a float as the
 * last bits of 2^23. */
template <int TYPE> static __device__ __forceinline__ void quants8(float q[8], const unit &r, int u, int g)
{
    if (TYPE == QU_TYPE_F32) {
        for (int j = 0; j < 8; j++) q[j] = __uint_as_float(word_of(j < 4 ? r.q : r.h, j % 4));
    } else if (TYPE == QU_TYPE_F16) {
        halves8(q, r.q);
    } else if (TYPE == QU_TYPE_BF16) {
        for (int j = 0; j < 8; j++)
            q[j] = __uint_as_float(j % 2 ? word_of(r.q, j / 2) & 0xffff0000u : word_of(r.q, j / 2) << 16);
    } else {
#pragma unroll
        for (int j = 0; j < 8; j++) {
            unsigned w = quants4<TYPE>(r, u, g / 2, g % 2 * 2 + j / 4) ^ 0x80808080u;
            q[j] = __uint_as_float(__byte_perm(w, 0x4b000000u, 0x7540 | j % 4)) - (8388608.0f + 128 + plus_of(TYPE));
        }
    }
}

static __device__ __forceinline__ float low_half(unsigned u)
{
    return from_half((uint16_t)(u & 0xffff));
}
static __device__ __forceinline__ float high_half(unsigned u)
{
    return from_half((uint16_t)(u >> 16));
}

/* Of a unit's halves: element = scale * quant - min. */
template <int TYPE>
static __device__ __forceinline__ void scales_of(const unit &r, int u, float scale[2], float min[2])
{
    min[0] = min[1] = 0;
    if (TYPE == QU_TYPE_Q2_K) {
        for (int i = 0; i < 2; i++) {
            unsigned both = r.s >> 8 * i & 255;
            scale[i] = __fmul_rn(low_half(r.d), (float)(both & 15));
            min[i] = __fmul_rn(high_half(r.d), (float)(both >> 4));
        }
    } else if (TYPE == QU_TYPE_Q3_K) {
        for (int i = 0; i < 2; i++) scale[i] = __fmul_rn(low_half(r.d), (float)((int)(r.s >> 8 * i & 255) - 32));
    } else if (TYPE == QU_TYPE_Q4_K || TYPE == QU_TYPE_Q5_K) { /* two of 8 scales and mins of six bits */
        int shift = u / 2 % 2 * 16;
        unsigned a = r.e.y >> shift, b = r.e.z >> shift, c = r.e.w >> shift;
        unsigned s = u < 4 ? a & 0x3f3f : (c & 0x0f0f) | (a >> 2 & 0x3030);
        unsigned m = u < 4 ? b & 0x3f3f : (c >> 4 & 0x0f0f) | (b >> 2 & 0x3030);
        for (int i = 0; i < 2; i++) {
            scale[i] = __fmul_rn(low_half(r.e.x), (float)(s >> 8 * i & 255));
            min[i] = __fmul_rn(high_half(r.e.x), (float)(m >> 8 * i & 255));
        }
    } else if (TYPE == QU_TYPE_Q6_K) {
        for (int i = 0; i < 2; i++) scale[i] = __fmul_rn(low_half(r.d), (float)(int8_t)(r.s >> 8 * i));
    } else if (TYPE == QU_TYPE_IQ4_XS) {
        int six = (int)(r.s >> 4 * u & 15) | (int)(r.d >> (16 + 2 * u) & 3) << 4;
        scale[0] = scale[1] = __fmul_rn(low_half(r.d), (float)(six - 32));
    } else if (!traits<TYPE>::dense) {
        scale[0] = scale[1] = low_half(r.d);
        if (traits<TYPE>::has_min) min[0] = min[1] = -high_half(r.d);
    }
}

/* The element that begins group g of unit u, counted from its block's first. */
template <int TYPE> static __device__ __forceinline__ int element_of(int u, int g)
{
    constexpr int apart = traits<TYPE>::at.apart, each = apart / 16;
    if (traits<TYPE>::dense) return 0;
    return u / each * 2 * apart + u % each * 16 + g / 2 * apart + g % 2 * 8;
}

/* w = elements of group g: the arithmetic of qu_dequant_ref, each operation rounded by itself, hence the same
 * bits. */
template <int TYPE> static __device__ __forceinline__ void weights8(float w[8], const unit &r, int u, int g)
{
    float scale[2], min[2];
    quants8<TYPE>(w, r, u, g);
    scales_of<TYPE>(r, u, scale, min);
    for (int j = 0; j < 8; j++) {
        if (!traits<TYPE>::dense) w[j] = __fmul_rn(scale[g / 2], w[j]);
        if (traits<TYPE>::has_min) w[j] = __fsub_rn(w[j], min[g / 2]);
    }
}

/* f(a constant) for a type known at run time. */
template <class F> static void with_type(int type, F f)
{
    switch (type) {
#define CASE(name, block, bytes)                                                                   \
    case QU_TYPE_##name: f(std::integral_constant<int, QU_TYPE_##name>()); break;
        QU_TYPES(CASE)
#undef CASE
    default: break;
    }
}

/* --- products of few rows --- */

/* One row: small blocks, two on a multiprocessor, so that one of the next kernel fits beside them (QU_LET_NEXT_START).
 * Up to eight rows: one large block, so that x is put into shared memory seldom. A warp takes R weight rows at once. */
enum { ROWS = 8, DENSE_WARPS = 4 };
static constexpr __host__ __device__ int warps_of(int t)
{
    return t == 1 ? 8 : 16;
}
static constexpr __host__ __device__ int blocks_of_rows(int t)
{
    return t == 1 ? 2 : 1;
}
static constexpr __host__ __device__ int stage_bytes_of(int t)
{
    return (t == 1 ? 84 : 160) << 10;
}
/* Steps that weights are read ahead: bytes enough on their way, registers enough. */
static constexpr __host__ __device__ int ahead_of(int type, int t)
{
    return t > 1 ? 1 : type == QU_TYPE_Q8_0 || type == QU_TYPE_Q3_K || type == QU_TYPE_Q5_K ? 2 : 3;
}

struct product {
    float *y;
    const float *bias;
    matrix w;
    int32_t n;
};
struct products {
    product of[3];
    int32_t n, n_groups, then;
    const float *x;
    int32_t n_rows, k, stage; /* stage: elements of x in shared memory at a time */
};

/* x in shared memory. For dense weights: floats, a gap of four behind each 32, so that a quarter of a warp reads from
 * all banks. For quants: sixteen elements as integers of 24 bits times a power of two (step), in three arrays of their
 * high, middle and low bytes, so that their products with quants are sums of integers, exact in any order; and
 * in a fourth array step and the sum of the sixteen. */
struct sixteen {
    float step, sum;
};
template <int TYPE> static __host__ __device__ __forceinline__ int32_t stage_bytes(int32_t e)
{
    return traits<TYPE>::dense ? (e + e / 32 * 4 + 4) * 4 : (e + 255) / 256 * 16 * (48 + (int32_t)sizeof(sixteen));
}
/* Where the sixteen i lie: in each 256 elements first those of units' first halves, then those of second halves. */
template <int TYPE> static __device__ __forceinline__ int32_t place_of(uint32_t i)
{
    constexpr uint32_t each = traits<TYPE>::at.apart / 16;
    return (int32_t)(i / 16 * 16 + i / each % 2 * 8 + i % 16 / (2 * each) * each + i % each);
}

static __device__ __forceinline__ void stage_sixteen(uint4 *high, uint4 *middle, uint4 *low, sixteen *of, const float *x)
{
    float v[16], most = 0;
    unsigned part[3][4] = {};
    int sum = 0;
    floats8(v, x);
    floats8(v + 8, x + 8);
#pragma unroll
    for (int i = 0; i < 16; i++) most = isfinite(v[i]) ? fmaxf(most, fabsf(v[i])) : INFINITY;
    int power = min(max((int)(__float_as_uint(most) >> 23), 24), 254); /* most < 2^(power - 126) */
    float step = __uint_as_float((unsigned)(power - 21) << 23), inverse = __uint_as_float((unsigned)(275 - power) << 23);
#pragma unroll
    for (int i = 0; i < 16; i++) {
        int q = isfinite(most) ? (int)rintf(v[i] * inverse) : 0; /* up to 2^22 */
        int m = (q + 128) >> 8, h = (m + 128) >> 8;
        sum += q;
        part[0][i / 4] |= (unsigned)(h & 255) << 8 * (i % 4);
        part[1][i / 4] |= (unsigned)(m & 255) << 8 * (i % 4);
        part[2][i / 4] |= (unsigned)(q & 255) << 8 * (i % 4);
    }
    *high = {part[0][0], part[0][1], part[0][2], part[0][3]};
    *middle = {part[1][0], part[1][1], part[1][2], part[1][3]};
    *low = {part[2][0], part[2][1], part[2][2], part[2][3]};
    *of = isfinite(most) ? sixteen{step, step * (float)sum} : sixteen{NAN, NAN};
}

/* x from element `from` on, of a block's rows. */
template <int TYPE, int THREADS>
static __device__ __forceinline__ void stage_rows(char *to, const products &p, int32_t t0, int32_t rows, int32_t from)
{
    int32_t n = min(p.stage, p.k - from), room = stage_bytes<TYPE>(p.stage), all = (p.stage + 255) / 256 * 16;
    for (int32_t t = 0; t < rows; t++) {
        const float *x = p.x + (int64_t)(t0 + t) * p.k + from;
        char *row = to + t * room;
        if (traits<TYPE>::dense)
            for (int32_t e = (int32_t)threadIdx.x * 4; e < n; e += THREADS * 4)
                *(float4 *)(void *)(row + (e + e / 32 * 4) * 4) = *(const float4 *)(const void *)(x + e);
        else
            for (int32_t i = (int32_t)threadIdx.x; i < n / 16; i += THREADS) {
                uint4 *at = (uint4 *)(void *)row + place_of<TYPE>((uint32_t)i);
                stage_sixteen(at, at + all, at + 2 * all, (sixteen *)(void *)((uint4 *)(void *)row + 3 * all) + place_of<TYPE>((uint32_t)i),
                              x + 16 * i);
            }
    }
}

/* acc += the products of unit `at` (counted from the stage's begin) of R rows with T rows of x. */
template <int TYPE, int T, int R>
static __device__ __forceinline__ void multiply_dense(float (&acc)[R][T], const unit (&r)[R], const char *x, int32_t at,
                                                      int32_t room, int32_t rows)
{
    float q[R][8];
    const float *from = (const float *)(const void *)x + at * 8 + at / 4 * 4;
#pragma unroll
    for (int i = 0; i < R; i++) quants8<TYPE>(q[i], r[i], 0, 0);
#pragma unroll
    for (int t = 0; t < T; t++) {
        if (t >= rows) break;
        float v[8];
        floats8(v, from + t * room / 4);
#pragma unroll
        for (int i = 0; i < R; i++) acc[i][t] = dot8(q[i], v, acc[i][t]);
    }
}

template <int TYPE, int T, int R>
static __device__ __forceinline__ void multiply_quants(float (&acc)[R][T], const unit (&r)[R], const char *x, int32_t at,
                                                       int32_t room, int32_t all, int32_t rows)
{
    float scale[R][2], min[R][2];
    int u = at % traits<TYPE>::in_block;
#pragma unroll
    for (int i = 0; i < R; i++) {
        scales_of<TYPE>(r[i], u, scale[i], min[i]);
        for (int h = 0; h < 2; h++) min[i][h] = fmaf(scale[i][h], (float)plus_of(TYPE), min[i][h]);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int q[R][4];
        const char *from = x + (at / 8 * 16 + at % 8 + half * 8) * 16;
        const char *steps = x + all * 48 + (at / 8 * 16 + at % 8 + half * 8) * (int)sizeof(sixteen);
#pragma unroll
        for (int i = 0; i < R; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) q[i][j] = (int)quants4<TYPE>(r[i], u, half, j);
#pragma unroll
        for (int t = 0; t < T; t++) {
            if (t >= rows) break;
            uint4 part[3];
#pragma unroll
            for (int l = 0; l < 3; l++) part[l] = load16((const uint8_t *)from + t * room + l * all * 16);
            sixteen of = *(const sixteen *)(const void *)(steps + t * room);
#pragma unroll
            for (int i = 0; i < R; i++) {
                int s[3] = {0, 0, 0};
#pragma unroll
                for (int j = 0; j < 4; j++)
#pragma unroll
                    for (int l = 0; l < 3; l++) s[l] = __dp4a(q[i][j], (int)word_of(part[l], j), s[l]);
                float sum = fmaf((float)s[0], 65536.0f, (float)(s[1] * 256 + s[2]));
                acc[i][t] = fmaf(scale[i][half] * of.step, sum, acc[i][t]);
                if (traits<TYPE>::has_min || plus_of(TYPE) != 0) acc[i][t] = fmaf(-min[i][half], of.sum, acc[i][t]);
            }
        }
    }
}

/* The R rows of a warp's group: which product, from which row on. With swiglu the second half are the second
 * product's. */
template <int R> struct chosen {
    int32_t of[R], row[R];
};
template <int R> static __device__ __forceinline__ chosen<R> choose(const products &p, int32_t group)
{
    constexpr int half = R > 1 ? R / 2 : 1;
    chosen<R> c;
    int32_t of = 0;
    if (p.then != QU_CUDA_SWIGLU)
        while (of < p.n - 1 && group >= (p.of[of].n + R - 1) / R) group -= (p.of[of++].n + R - 1) / R;
#pragma unroll
    for (int i = 0; i < R; i++) {
        bool pair = p.then == QU_CUDA_SWIGLU;
        c.of[i] = pair ? i / half : of;
        c.row[i] = pair ? group * half + i % half : group * R + i;
    }
    return c;
}

static __device__ __forceinline__ float with_bias(const product &p, float sum, int32_t row)
{
    return p.bias ? sum + p.bias[row] : sum;
}

template <int TYPE, int T, int R>
static __device__ __forceinline__ void finish(const float (&acc)[R][T], const products &p, const chosen<R> &c,
                                              int32_t t0, int32_t rows, int32_t lane)
{
#pragma unroll
    for (int t = 0; t < T; t++) {
        if (t >= rows) break;
        float sum[R];
#pragma unroll
        for (int i = 0; i < R; i++) sum[i] = warp_sum(acc[i][t]);
        if (lane > 0) continue;
#pragma unroll
        for (int i = 0; i < R; i++) {
            const product &to = p.of[c.of[i]];
            if (c.row[i] >= to.n) continue;
            float *y = to.y + (int64_t)(t0 + t) * to.n + c.row[i], v = with_bias(to, sum[i], c.row[i]);
            if (p.then == QU_CUDA_SWIGLU) {
                if (i < R / 2) *y = swish(v) * with_bias(p.of[1], sum[(i + R / 2) % R], c.row[i]);
            } else {
                *y = p.then == QU_CUDA_ADD ? *y + v : v;
            }
        }
    }
}

/* A warp's next weights: a group of R rows, in it the units of this step. */
template <int TYPE, int R> struct cursor {
    chosen<R> c;
    int32_t group, step, block[R];
};
template <int TYPE, int R>
static __device__ __forceinline__ void begin_group(cursor<TYPE, R> &at, const products &p, int32_t group, int32_t lane)
{
    using of = traits<TYPE>;
    at.group = group;
    at.step = 0;
    at.c = choose<R>(p, min(group, p.n_groups - 1));
#pragma unroll
    for (int i = 0; i < R; i++)
        at.block[i] = min(at.c.row[i], p.of[at.c.of[i]].n - 1) * (p.k / of::at.block) + lane / of::in_block;
}
template <int TYPE, int R>
static __device__ __forceinline__ void load_next(unit (&r)[R], cursor<TYPE, R> &at, const products &p, int32_t units,
                                                 int32_t steps, int32_t stride, int32_t lane)
{
    using of = traits<TYPE>;
    if (at.group >= p.n_groups) return;
    if (at.step * QU_WARP + lane < units)
#pragma unroll
        for (int i = 0; i < R; i++)
            load_unit<TYPE>(r[i], p.of[at.c.of[i]].w, at.block[i] + at.step * (QU_WARP / of::in_block),
                            lane % of::in_block);
    if (++at.step == steps) begin_group(at, p, at.group + stride, lane);
}

/* A lane takes a unit, its next one 32 units further on, all in one chain of fused operations; then lanes fold. So the order of a row's sum depends on k alone. Weights are on their way AHEAD steps before they are
 * multiplied, over the ends of rows, and the first ones before the kernel ahead has ended. */
template <int TYPE, int T, int R>
static __global__ void __launch_bounds__(warps_of(T) * QU_WARP, blocks_of_rows(T))
    matvec(const __grid_constant__ products p)
{
    QU_SHARED(shared);
    using of = traits<TYPE>;
    constexpr int STEP = QU_WARP * of::unit, AHEAD = ahead_of(TYPE, T), WARPS = warps_of(T);
    char *x = (char *)shared;
    int32_t lane = (int32_t)threadIdx.x % QU_WARP, t0 = (int32_t)blockIdx.x * T, rows = min(T, p.n_rows - t0);
    int32_t units = p.k / of::unit, steps = (units + QU_WARP - 1) / QU_WARP;
    int32_t room = stage_bytes<TYPE>(p.stage), all = (p.stage + 255) / 256 * 16, staged = -1;
    int32_t first = (int32_t)blockIdx.y * WARPS, stride = (int32_t)gridDim.y * WARPS;
    int32_t todo = (p.n_groups - first + stride - 1) / stride * steps; /* the same for all warps of a block */
    cursor<TYPE, R> next, now;
    unit r[AHEAD][R];
    float acc[R][T] = {};
    QU_LET_NEXT_START();
    begin_group(next, p, first + (int32_t)threadIdx.x / QU_WARP, lane);
    now = next;
#pragma unroll
    for (int a = 0; a < AHEAD; a++) load_next(r[a], next, p, units, steps, stride, lane);
    for (int32_t done = 0; done < todo; done += AHEAD)
#pragma unroll
        for (int a = 0; a < AHEAD; a++) {
            if (done + a >= todo) break;
            int32_t e = now.step * STEP;
            if (staged < 0 || e == staged + p.stage || (e == 0 && staged > 0)) {
                if (staged < 0) QU_WAIT_FOR_LAST();
                else __syncthreads();
                stage_rows<TYPE, WARPS * QU_WARP>(x, p, t0, rows, e);
                __syncthreads();
                staged = e;
            }
            int32_t at = (e - staged) / of::unit + lane;
            if (now.step * QU_WARP + lane < units) {
                if (of::dense) multiply_dense<TYPE, T, R>(acc, r[a], x, at, room, rows);
                else multiply_quants<TYPE, T, R>(acc, r[a], x, at, room, all, rows);
            }
            load_next(r[a], next, p, units, steps, stride, lane);
            if (++now.step < steps) continue;
            if (now.group < p.n_groups) finish<TYPE, T, R>(acc, p, now.c, t0, rows, lane);
            begin_group(now, p, now.group + stride, lane);
#pragma unroll
            for (int i = 0; i < R; i++)
#pragma unroll
                for (int t = 0; t < T; t++) acc[i][t] = 0;
        }
}

/* --- eight elements a thread --- */

enum { UNIT_THREADS = 256 };

/* The elements of thread `at` of a matrix, and where they stand in it. */
template <int TYPE>
static __device__ __forceinline__ int64_t elements_of(float v[8], const matrix &w, int64_t at)
{
    using of = traits<TYPE>;
    int g = (int)(at % of::groups), u = (int)(at / of::groups % of::in_block);
    int64_t block = at / of::groups / of::in_block;
    unit r;
    load_unit<TYPE>(r, w, block, u);
    weights8<TYPE>(v, r, u, g);
    return block * of::at.block + element_of<TYPE>(u, g);
}

template <int TYPE>
static __global__ void dequant_bf16(uint16_t *out, matrix w, int64_t n)
{
    int64_t at = (int64_t)blockIdx.x * UNIT_THREADS + threadIdx.x;
    if (at >= n) return;
    float v[8];
    int64_t to = elements_of<TYPE>(v, w, at);
    uint4 u;
    unsigned *p = &u.x;
    for (int j = 0; j < 4; j++)
        p[j] = (unsigned)to_bf16(v[2 * j]) | (unsigned)to_bf16(v[2 * j + 1]) << 16;
    *(uint4 *)(void *)(out + to) = u;
}

template <int TYPE>
static __global__ void embed(float *x, matrix table, const int32_t *ids, int32_t k)
{
    int32_t at = (int32_t)blockIdx.x * UNIT_THREADS + (int32_t)threadIdx.x;
    if (at >= k / 8) return;
    float v[8];
    int64_t from = (int64_t)ids[blockIdx.y] * k, to = elements_of<TYPE>(v, table, from / 8 + at) - from;
    for (int j = 0; j < 8; j++) x[(int64_t)blockIdx.y * k + to + j] = v[j];
}

/* Two bytes a thread. */
static __global__ void repack(uint16_t *out, const uint16_t *in, layout l, int64_t first, int64_t n, int64_t all)
{
    int64_t at = (int64_t)blockIdx.x * UNIT_THREADS + threadIdx.x;
    int each = (l.bulk + l.head) / 2, bulk = l.bulk / 2, head = l.head / 2;
    if (at >= n * each) return;
    int64_t block = first + at / each;
    int i = (int)(at % each) - (l.behind ? 0 : head);
    bool is_bulk = i >= 0 && i < bulk;
    int of_head = i < 0 ? i + head : i - bulk;
    out[is_bulk ? block * bulk + i : all * bulk + block * head + of_head] = in[at];
}

static __global__ void cast_bf16(uint16_t *out, const float *x, int64_t n, int64_t n_out)
{
    int64_t i = (int64_t)blockIdx.x * UNIT_THREADS + threadIdx.x;
    if (i < n_out) out[i] = i < n ? to_bf16(x[i]) : 0;
}

/* --- launchers --- */

static qu_status check(int type, int32_t k, qu_err *err)
{
    if (!qu_type_name(type) || k % 8 != 0 || qu_type_bytes(type, k) < 0)
        return qu_fail(err, QU_ERR_ARG, "no CUDA kernel for rows of %d elements of type %d", k, type);
    return QU_OK;
}

/* One row by weights that need no decoding: a warp a weight row, or a pair of them, and so many warps that nothing
 * need be read ahead. The sums of the kernel above. */
template <int TYPE, int R> static __global__ void __launch_bounds__(DENSE_WARPS * QU_WARP) matvec_dense(const __grid_constant__ products p)
{
    int32_t lane = (int32_t)threadIdx.x % QU_WARP;
    int32_t group = (int32_t)blockIdx.x * DENSE_WARPS + (int32_t)threadIdx.x / QU_WARP;
    QU_LET_NEXT_START();
    QU_WAIT_FOR_LAST();
    if (group >= p.n_groups) return; /* a whole warp */
    chosen<R> c = choose<R>(p, group);
    float acc[R][1] = {};
    for (int32_t at = lane; at < p.k / 8; at += QU_WARP) {
        float x[8], v[8];
        unit r;
        floats8(x, p.x + at * 8);
#pragma unroll
        for (int i = 0; i < R; i++) {
            load_unit<TYPE>(r, p.of[c.of[i]].w, (int64_t)c.row[i] * (p.k / 8) + at, 0);
            quants8<TYPE>(v, r, 0, 0);
            acc[i][0] = dot8(v, x, acc[i][0]);
        }
    }
    finish<TYPE, 1, R>(acc, p, c, 0, 1, lane);
}

static void count_groups(products *p, int r)
{
    p->n_groups = 0;
    if (p->then == QU_CUDA_SWIGLU) p->n_groups = (int32_t)blocks_of(p->of[0].n, r / 2);
    else
        for (int32_t i = 0; i < p->n; i++) p->n_groups += (int32_t)blocks_of(p->of[i].n, r);
}

template <int TYPE, int R> static void launch_dense(qu_cuda *cu, products *p)
{
    cudaStream_t stream = qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE);
    auto *kernel = matvec_dense<TYPE, R>;
    count_groups(p, R);
    QU_LAUNCH_EARLY(cu, kernel, blocks_of(p->n_groups, DENSE_WARPS), DENSE_WARPS * QU_WARP, 0, stream, *p);
}

template <int TYPE, int T, int R> static void launch(qu_cuda *cu, products *p)
{
    int32_t fits = stage_bytes_of(T) / T, step = QU_WARP * traits<TYPE>::unit;
    p->stage = (p->k + 255) / 256 * 256;
    for (; stage_bytes<TYPE>(p->stage) > fits; p->stage = (p->stage - 1) / step * step) {}
    count_groups(p, R);
    unsigned blocks = blocks_of(p->n_groups, warps_of(T)), most = (unsigned)(blocks_of_rows(T) * qu_cuda_processors(cu));
    dim3 grid(blocks_of(p->n_rows, T), blocks < most ? blocks : most);
    size_t bytes = (size_t)T * (size_t)stage_bytes<TYPE>(p->stage);
    auto *kernel = matvec<TYPE, T, R>;
    qu_cuda_want_shared(kernel, bytes);
    cudaStream_t stream = qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE);
    QU_LAUNCH_EARLY(cu, kernel, grid, warps_of(T) * QU_WARP, bytes, stream, *p);
}

qu_status qu_cuda_matvec(qu_cuda *cu, const qu_cuda_product *of, int32_t n, int type, qu_cuda_then then,
                         const float *x, int32_t n_rows, int32_t k, qu_err *err)
{
    QU_TRY(check(type, k, err));
    if (n < 1 || n > 3 || (then == QU_CUDA_SWIGLU && (n != 2 || of[0].n != of[1].n)))
        return qu_fail(err, QU_ERR_ARG, "no CUDA kernel for %d products at once", n);
    if (n_rows <= 0) return QU_OK;
    products p = {};
    p.n = n, p.then = then, p.x = x, p.n_rows = n_rows, p.k = k;
    for (int32_t i = 0; i < n; i++)
        p.of[i] = {of[i].y, of[i].bias, matrix_of(of[i].w, type, (int64_t)of[i].n * k), of[i].n};
    with_type(type, [&](auto t) {
        constexpr int TYPE = decltype(t)::value;
        if (n_rows > 1) launch<TYPE, ROWS, 2>(cu, &p);
        else if constexpr (!traits<TYPE>::dense) launch<TYPE, 1, 2>(cu, &p);
        else if (then == QU_CUDA_SWIGLU) launch_dense<TYPE, 2>(cu, &p);
        else launch_dense<TYPE, 1>(cu, &p);
    });
    return qu_cuda_launched(cu, "matvec", err);
}

qu_status qu_cuda_dequant_bf16(qu_cuda *cu, void *out, const void *w, int type, int32_t n,
                               int32_t k, qu_err *err)
{
    QU_TRY(check(type, k, err));
    cudaStream_t stream = qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE);
    matrix m = matrix_of(w, type, (int64_t)n * k);
    with_type(type, [&](auto t) {
        auto *kernel = dequant_bf16<decltype(t)::value>;
        int64_t all = (int64_t)n * k / 8;
        QU_LAUNCH(kernel, blocks_of(all, UNIT_THREADS), UNIT_THREADS, 0, stream, (uint16_t *)out, m, all);
    });
    return qu_cuda_launched(cu, "dequant_bf16", err);
}

qu_status qu_cuda_embed(qu_cuda *cu, float *x, const void *table, int type, const int32_t *ids,
                        int32_t n_rows, int32_t n, int32_t k, qu_err *err)
{
    QU_TRY(check(type, k, err));
    if (n_rows <= 0) return QU_OK;
    cudaStream_t stream = qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE);
    matrix m = matrix_of(table, type, (int64_t)n * k);
    dim3 grid(blocks_of(k / 8, UNIT_THREADS), (unsigned)n_rows);
    with_type(type, [&](auto t) {
        auto *kernel = embed<decltype(t)::value>;
        QU_LAUNCH(kernel, grid, UNIT_THREADS, 0, stream, x, m, ids, k);
    });
    return qu_cuda_launched(cu, "embed", err);
}

qu_status qu_cuda_put_weights(qu_cuda *cu, void *to, const void *blocks, int type, int64_t n, void *stage,
                              int64_t stage_bytes, qu_err *err)
{
    layout l = layout_of(type);
    if (l.head == 0) return qu_cuda_upload(cu, QU_CUDA_COMPUTE, to, blocks, qu_type_bytes((qu_type)type, n), err);
    int64_t all = n / l.block, bytes = l.bulk + l.head, most = stage_bytes / bytes;
    for (int64_t first = 0; first < all; first += most) {
        int64_t some = all - first < most ? all - first : most;
        QU_TRY(qu_cuda_upload(cu, QU_CUDA_COMPUTE, stage, (const char *)blocks + first * bytes, some * bytes, err));
        QU_TRY_LAUNCH(repack, blocks_of(some * bytes / 2, UNIT_THREADS), UNIT_THREADS, 0, (uint16_t *)to,
                      (const uint16_t *)stage, l, first, some, all);
    }
    return QU_OK;
}

qu_status qu_cuda_to_bf16(qu_cuda *cu, void *out, const float *x, int32_t rows, int32_t rows_out,
                          int32_t k, qu_err *err)
{
    int64_t n = (int64_t)rows * k, n_out = (int64_t)rows_out * k;
    QU_TRY_LAUNCH(cast_bf16, blocks_of(n_out, UNIT_THREADS), UNIT_THREADS, 0, (uint16_t *)out, x, n, n_out);
    return QU_OK;
}
