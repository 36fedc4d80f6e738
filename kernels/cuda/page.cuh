/* Attention of a warp over one page (a segment, or 128 clusters of the far field) of one KV head,
 * for eight rows: tokens times heads of the group. The slice streams through the warp's part of
 * shared memory, sixteen tokens a step, and the tensor cores multiply: rows and weights go in as
 * two halves that add up to 22 bits, in the upper and the lower eight rows of one operand; keys and
 * values are halves anyway. Keys are turned between shared memory and the product, in registers. In
 * 32 tokens: scores, the new maximum, weights, values.
 *
 * Tensor cores cut their sums off instead of rounding them. So a sum of theirs ends with a key or
 * with sixteen values; what is kept over a page, or a document, is added and rounded outside of
 * them. */
#ifndef QU_KERNELS_CUDA_PAGE_CUH
#define QU_KERNELS_CUDA_PAGE_CUH

#include "kernels/cuda/stored.cuh"

enum { ROWS = 8, STEP = 16, MAX_WARPS = 8 };
enum { RING_BYTES = 15 << 10, HEAD_BYTES = 2 << 10, WARP_BYTES = RING_BYTES + HEAD_BYTES };
static const float LOW = 0x1p-11f; /* what the lower of two halves is worth */

/* A block's shared memory: angles of the places [4 S, PAGE, 4]; queries [ROWS, LD] and their
 * scales, a tile for all warps or one each; each warp's ring and head. */
template <int S> struct memory_of {
    static constexpr int PLACES = 4 * S * PAGE * 4 * 16, LD = 64 * S + 8;
    static constexpr int QUERIES = (ROWS * LD + ROWS) * 4;
    static __host__ __device__ __forceinline__ int32_t warp_at(int32_t tiles, int32_t warp)
    {
        return PLACES + tiles * QUERIES + warp * WARP_BYTES;
    }
};

/* How sixteen rows of a slice lie in shared memory, for heads of up to 64 S dims: copied in units
 * of UNIT bytes, strides so that lanes meet in no bank. Rows of q8 and q4 begin anywhere. */
template <int S, int CODEC> struct tile {
    static constexpr bool FULL = CODEC == QU_CODEC_F32;
    static constexpr bool SCALED = CODEC == QU_CODEC_Q8 || CODEC == QU_CODEC_Q4;
    static constexpr int UNIT = SCALED ? 4 : 16, PER = FULL || CODEC == QU_CODEC_Q8 ? 4 : 8;
    static constexpr int UNITS = 64 * S / PER, ODD = UNITS % 16 == 8 ? UNITS : UNITS + 8;
    static constexpr int KEYS = UNIT * (SCALED ? ODD : FULL ? UNITS : UNITS + 4);
    static constexpr int VALUES = UNIT * (SCALED ? ODD : FULL ? UNITS : UNITS + 2);
    static constexpr int BYTES = STEP * KEYS, FIT = RING_BYTES / BYTES, STAGES = FIT < 6 ? FIT : 6;
};

/* A lane's row or column of operands, and which of the four that share it. */
QU_DEVICE int32_t lane_number()
{
    return (int32_t)(threadIdx.x % QU_WARP);
}
QU_DEVICE int32_t lane_row()
{
    return lane_number() / 4;
}
QU_DEVICE int32_t lane_part()
{
    return (int32_t)(threadIdx.x % 4);
}

/* A slice on its way through a warp's ring: for every 32 tokens two steps of keys, two of values.
 * Its head comes with the first step. */
template <int S, int CODEC> struct stream {
    typedef tile<S, CODEC> T;
    static constexpr int LANES = T::UNITS, AT_ONCE = QU_WARP / LANES; /* of a row; rows */
    static constexpr int AHEAD = T::STAGES - 1;
    const block_keys &b;
    char *ring, *head;
    int32_t next, asked, taken; /* step to ask for; slots */

    __device__ __forceinline__ stream(const block_keys &of, char *memory)
        : b(of), ring(memory), head(memory + RING_BYTES), next(0), asked(0), taken(0)
    {
        __syncwarp(); /* the page before may still be read */
        for (int32_t i = lane_number() * 4; i < head_bytes(CODEC, b.n, b.d); i += QU_WARP * 4)
            __pipeline_memcpy_async(head + i, b.head + i, 4);
        for (int i = 0; i < AHEAD; i++) ask(i % 4);
    }
    /* kind: of the step, its number modulo 4, known when this is compiled. The last token stands
     * for those behind it. */
    __device__ __forceinline__ void ask(int kind)
    {
        const int32_t stride = kind < 2 ? T::KEYS : T::VALUES, unit = lane_number() % LANES;
        const int32_t row = lane_number() / LANES, first = (next / 4 * 2 + kind % 2) * STEP + row;
        const char *from = (kind < 2 ? b.keys : b.values) + unit * T::UNIT;
        char *to = ring + asked * T::BYTES + row * stride + unit * T::UNIT;
        if (next++ < (b.n + 31) / 32 * 4 && unit * T::PER < b.d)
#pragma unroll
            for (int k = 0; k < STEP; k += AT_ONCE) {
                const int64_t at = (int64_t)min(first + k, b.n - 1) * row_bytes(CODEC, b.d);
                __pipeline_memcpy_async(to + k * stride, from + at, T::UNIT);
            }
        __pipeline_commit();
        asked = asked + 1 == T::STAGES ? 0 : asked + 1;
    }
    /* The next step, there for all lanes; valid until the next call. */
    __device__ __forceinline__ const char *take(int kind)
    {
        if (AHEAD == 0) {
            __syncwarp();
            ask(kind);
        }
        __pipeline_wait_prior(AHEAD > 1 ? AHEAD - 1 : 0);
        __syncwarp();
        if (AHEAD > 0) ask((kind + AHEAD) % 4);
        const char *step = ring + taken * T::BYTES;
        taken = taken + 1 == T::STAGES ? 0 : taken + 1;
        return step;
    }
};

/* Eight rows of queries as operand: lane 4 g + t has of row g the doubles t, t + 4 ... */
template <int S> struct queries {
    uint32_t high[S][8], low[S][8];
};

QU_DEVICE void split_halves(uint32_t *high, uint32_t *low, float x, float y)
{
    *high = pack_halves(x, y);
    float u = x - from_half((uint16_t)(*high & 0xffff)), v = y - from_half((uint16_t)(*high >> 16));
    *low = pack_halves(u / LOW, v / LOW);
}

/* row: of this lane's g, scaled so that turning leaves all below 1. */
template <int S>
QU_DEVICE void load_queries(queries<S> &q, const float *row, const block_keys &b)
{
#pragma unroll
    for (int st = 0; st < S; st++) {
        float x[8], y[8];
        int32_t j = lane_part() + 4 * st, cx, cy;
        double_chunks(b.rope, j, &cx, &cy);
        floats8(x, row + (cx * 8 < b.d ? cx * 8 : 64 * S));
        floats8(y, row + (cy * 8 < b.d ? cy * 8 : 64 * S));
        turn_back8(x, y, b, j);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            split_halves(&q.high[st][i], &q.low[st][i], x[2 * i], x[2 * i + 1]);
            split_halves(&q.high[st][4 + i], &q.low[st][4 + i], y[2 * i], y[2 * i + 1]);
        }
    }
}

/* Column g of eight keys is this one: so that neither rows nor pairs of rows meet in a bank. */
QU_DEVICE int32_t token_of(int32_t column)
{
    return column < 4 ? column : column ^ 1;
}

/* A stored double of a key as operand, turned to its place: angles [4] strides of PAGE apart. */
template <int CODEC>
QU_DEVICE void turned_key(uint32_t w[8], const char *row, const int32_t chunk[2],
                          const float base[2][8], const float scale[2][8], const float4 *angles,
                          bool apart, int32_t d)
{
    float x[2][8], co[8], si[8];
    for (int i = 0; i < 2; i++) key8<CODEC>(x[i], row, chunk[i], d, base[i], scale[i]);
    for (int i = 0; i < 4; i++) angles2(co, si, i, angles[i * PAGE * 4]);
    turn8(x[0], x[1], co, si, apart);
    pack8(w, x[0]);
    pack8(w + 4, x[1]);
}

/* c = the rows by twice eight keys of a step, which begins at a place of the page. */
template <int S, int CODEC>
QU_DEVICE void score16(float c[2][4], const queries<S> &q, const stream<S, CODEC> &slice,
                       const char *step, const float4 *places, int32_t place)
{
    const block_keys &b = slice.b;
    const int32_t t = lane_part(), own = token_of(lane_row());
    for (int i = 0; i < 8; i++) c[i / 4][i % 4] = 0;
#pragma unroll
    for (int st = 0; st < S; st++) {
        int32_t j = t + 4 * st, chunk[2];
        double_chunks(b.rope, j, &chunk[0], &chunk[1]);
        float base[2][8], scale[2][8];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            chunk[i] = chunk[i] * 8 < b.d ? chunk[i] : 0; /* where there is none, the query is 0 */
            key_scale8<CODEC>(base[i], scale[i], slice.head, chunk[i], b.d);
        }
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const char *row = step + (8 * h + own) * tile<S, CODEC>::KEYS;
            uint32_t w[8];
            if (CODEC == QU_CUDA_PLACED) {
                words4(w, read<uint4>(row, chunk[0]));
                words4(w + 4, read<uint4>(row, chunk[1]));
            } else {
                const float4 *angles = places + (st * 4 * PAGE + place + 8 * h + own) * 4 + t;
                turned_key<CODEC>(w, row, chunk, base, scale, angles, turn_apart(b.rope, j), b.d);
            }
#pragma unroll
            for (int i = 0; i < 8; i += 2) {
                const uint32_t *high = &q.high[st][i], *low = &q.low[st][i];
                multiply(c[h], high[0], low[0], high[1], low[1], w[i], w[i + 1]);
            }
        }
    }
}

/* Chunk c of the values of a step's tokens i and j as operand; first: of the step. */
template <int S, int CODEC>
QU_DEVICE void two_values(uint32_t w[8], const stream<S, CODEC> &slice, const char *step, int32_t i,
                          int32_t j, int32_t c, int32_t first)
{
    const block_keys &b = slice.b;
    const char *x = step + i * tile<S, CODEC>::VALUES, *y = step + j * tile<S, CODEC>::VALUES;
    if (CODEC == QU_CUDA_PLACED || CODEC == QU_CODEC_F16) {
        uint32_t u[4], v[4];
        words4(u, read<uint4>(x, c));
        words4(v, read<uint4>(y, c));
        for (int e = 0; e < 8; e++) w[e] = __byte_perm(u[e / 2], v[e / 2], e % 2 ? 0x7632 : 0x5410);
    } else {
        float u[8], v[8];
        value8<CODEC>(u, x, c, b.d, slice.head, min(first + i, b.n - 1));
        value8<CODEC>(v, y, c, b.d, slice.head, min(first + j, b.n - 1));
        for (int e = 0; e < 8; e++) w[e] = pack_halves(u[e], v[e]);
    }
}

/* o = o * fade + weights of sixteen tokens, the rows' operand, by their values; first: of the
 * step. Behind D the step holds anything, NaN too: that stays in columns of its own, of dims that
 * store_rows leaves out. */
template <int S, int CODEC>
QU_DEVICE void add_values(float o[S][8][2], float fade, const uint32_t high[2],
                          const uint32_t low[2], const stream<S, CODEC> &slice, const char *step,
                          int32_t first)
{
    const int32_t t = lane_part(), i = token_of(2 * t), j = token_of(2 * t + 1);
#pragma unroll
    for (int st = 0; st < S; st++) {
        const int32_t chunk = 8 * st + lane_row();
        uint32_t w[2][8]; /* dims of the chunk: two tokens of each eight */
#pragma unroll
        for (int h = 0; h < 2; h++)
            two_values(w[h], slice, step, 8 * h + i, 8 * h + j, chunk, first);
#pragma unroll
        for (int e = 0; e < 8; e++) {
            float c[4] = {0, 0, 0, 0};
            multiply(c, high[0], low[0], high[1], low[1], w[0][e], w[1][e]);
            o[st][e][0] = fmaf(o[st][e][0], fade, fmaf(c[2], LOW, c[0]));
            o[st][e][1] = fmaf(o[st][e][1], fade, fmaf(c[3], LOW, c[1]));
        }
    }
}

/* What rows have of the pages so far, each lane of row g: o [st][e] of dims 64 st + 16 t + e and 8
 * more, the largest score, the lane's part of the sum of weights. */
template <int S> struct state {
    float o[S][8][2], m, l;
};

template <int S> QU_DEVICE void clear(state<S> &x)
{
    x.m = -INFINITY;
    x.l = 0;
    for (int i = 0; i < S * 16; i++) x.o[i / 16][i / 2 % 8][i % 2] = 0;
}

/* Weights of 32 tokens as operands; what was before fades by what is returned. */
template <int S>
QU_DEVICE float weigh(state<S> &x, uint32_t high[4], uint32_t low[4], const float s[4][2])
{
    float top = x.m;
    for (int i = 0; i < 8; i++) top = fmaxf(top, s[i / 2][i % 2]);
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
    const float floor = fmaxf(top, QU_SCORE_FLOOR), fade = expf(x.m - floor);
    x.m = top;
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float u = weight_of(s[i][0], floor), v = weight_of(s[i][1], floor);
        sum += u + v;
        split_halves(&high[i], &low[i], u, v);
    }
    x.l = fmaf(x.l, fade, sum);
    return fade;
}

/* A row's sum out of its four lanes'. */
QU_DEVICE float row_sum(float l)
{
    l += __shfl_xor_sync(0xffffffffu, l, 1);
    return l + __shfl_xor_sync(0xffffffffu, l, 2);
}

/* p [D] = scale times a row's sums. */
template <int S>
QU_DEVICE void store_rows(float *p, const state<S> &x, float scale, int32_t d)
{
#pragma unroll
    for (int i = 0; i < S * 4; i++) { /* four dims of one chunk */
        const int st = i / 4, of = i / 2 % 2, e = i % 2 * 4;
        const int32_t dim = 64 * st + 16 * lane_part() + 8 * of + e;
        float y[4];
        for (int j = 0; j < 4; j++) y[j] = scale * x.o[st][e + j][of];
        if (dim < d) *(float4 *)(void *)(p + dim) = {y[0], y[1], y[2], y[3]};
    }
}

/* A page onto the state of the rows whose queries lie at q, by way of memory: both in shared
 * memory, as the places are. */
template <int S, int CODEC>
QU_DEVICE void attend_codec(state<S> &x, const block_keys &b, int32_t visible, const float *rows,
                            char *memory, const float4 *places)
{
    typedef memory_of<S> M;
    const float scale = rows[ROWS * M::LD + lane_row()];
    stream<S, CODEC> slice(b, memory);
    queries<S> q;
    load_queries<S>(q, rows + lane_row() * M::LD, b);
#pragma unroll 1
    for (int32_t first = 0; first < b.n; first += 2 * STEP) {
        float s[4][2];
        uint32_t high[4], low[4];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float c[2][4];
            score16(c, q, slice, slice.take(i), places, first + STEP * i);
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int32_t token = 8 * (e / 2) + token_of(2 * lane_part() + e % 2);
                const int32_t at = first + STEP * i + token;
                float score = fmaf(c[e / 2][2 + e % 2], LOW, c[e / 2][e % 2]) * scale;
                if (CODEC == QU_CUDA_PLACED && b.bias && at < b.n)
                    score = b.chosen[b.page_of[at] * b.g_n + b.g] ? -INFINITY : score + b.bias[at];
                s[2 * i + e / 2][e % 2] = at < visible ? score : -INFINITY;
            }
        }
        const float fade = weigh<S>(x, high, low, s);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const char *step = slice.take(2 + i);
            add_values(x.o, i == 0 ? fade : 1, high + 2 * i, low + 2 * i, slice, step,
                       first + STEP * i);
        }
    }
}

template <int S>
QU_DEVICE void attend_page(state<S> &x, const block_keys &b, int32_t visible, const float *rows,
                           char *memory, const float4 *places)
{
#define CASE(codec)                                                                                \
    case codec: attend_codec<S, codec>(x, b, visible, rows, memory, places); break;
    switch (b.codec) {
        CASE(QU_CODEC_F32)
        CASE(QU_CODEC_F16)
        CASE(QU_CODEC_Q8)
        CASE(QU_CODEC_Q4)
        CASE(QU_CUDA_PLACED)
    }
#undef CASE
}

#endif
