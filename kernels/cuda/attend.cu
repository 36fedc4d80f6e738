/* Page attention. What a row gets from a page depends on that row and that page alone; pages are merged in a fixed
 * order.
 *
 * A warp takes a page (a segment, or 128 clusters of the far field) of one KV head for eight rows, tokens times
 * heads of the group. The slice streams through the warp's part of shared memory, sixteen tokens a step, and the
 * tensor cores multiply: rows and weights go in as two halves that add up to 22 bits, in the upper and the lower
 * eight rows of one operand; keys and values are halves anyway. Keys are turned between shared memory and the
 * product, in registers.
 *
 *   split    few rows: single pages, whose states a second kernel merges
 *   direct   many rows: all pages one after the other, onto one state */
#include "kernels/cuda/stored.cuh"

enum { ROWS = 8 };

/* --- rows and pages --- */

/* Row r of a KV head: token r / group, head g * group + r % group. */
static __device__ __forceinline__ int64_t query_at(const qu_cuda_attend &a, int32_t g, int32_t row)
{
    int32_t group = a.rows.n_heads / a.rows.n_kv_heads;
    return ((int64_t)(row / group) * a.rows.n_heads + (int64_t)g * group + row % group) * a.rows.d;
}

static __device__ __forceinline__ int32_t head_rows(const qu_cuda_attend &a)
{
    return a.rows.n * (a.rows.n_heads / a.rows.n_kv_heads);
}

static __device__ __forceinline__ int32_t sees(const qu_cuda_attend &a, int32_t row, int32_t page,
                                               int32_t n)
{
    int32_t t = row / (a.rows.n_heads / a.rows.n_kv_heads);
    if (row >= head_rows(a)) return 0;
    int32_t own = a.rows.own[t];
    return page < own ? n : page == own ? a.rows.at[t] + 1 : 0;
}

static __device__ __forceinline__ block_keys keys_of(const qu_cuda_attend &a, int32_t page, int32_t g)
{
    qu_cuda_page p = a.rows.pages[page];
    int64_t angles = angles_at(a.rows, p, a.layer, g);
    block_keys b = {};
    b.d = a.rows.d;
    b.n = p.n;
    b.codec = p.codec;
    b.head = (const char *)p.slices[a.layer * a.rows.n_kv_heads + g];
    b.keys = b.head + head_bytes(p.codec, p.n, b.d);
    b.values = b.keys + (int64_t)(p.codec == QU_CUDA_PLACED ? (int32_t)PAGE : p.n) * row_bytes(p.codec, b.d);
    b.rope = a.rows.rope;
    b.cos = p.cos + angles;
    b.sin = p.sin + angles;
    b.ld = p.n_pad;
    return b;
}

static __device__ __forceinline__ block_keys far_of(const qu_cuda_attend &a, int32_t i, int32_t g)
{
    int64_t from = (int64_t)g * a.n_clusters + i * PAGE;
    block_keys b = {};
    b.d = a.rows.d;
    b.n = min((int32_t)PAGE, a.n_clusters - i * PAGE);
    b.codec = QU_CUDA_PLACED;
    b.keys = (const char *)(a.key + from * b.d);
    b.values = (const char *)(a.value + from * b.d);
    b.rope = a.rows.rope;
    b.bias = a.bias + from;
    b.page_of = a.page_of + i * PAGE;
    b.chosen = a.chosen;
    b.g = g;
    b.g_n = a.rows.n_kv_heads;
    return b;
}

static __device__ __forceinline__ float weight_of(float score, float floor)
{
    return score == score ? expf(score - floor) : 0; /* NaN weighs nothing */
}

static __host__ __device__ int32_t far_parts(const qu_cuda_attend &a)
{
    return (a.n_clusters + PAGE - 1) / PAGE;
}
static __host__ __device__ int32_t page_parts(const qu_cuda_attend &a)
{
    return a.list ? a.list_cap : a.n_pages;
}

/* --- a page for a warp's rows --- */

enum { STEP = 16, MAX_WARPS = 8, RING_BYTES = 15 << 10, HEAD_BYTES = 2 << 10, WARP_BYTES = RING_BYTES + HEAD_BYTES };
static const float LOW = 0x1p-11f; /* what the lower of two halves is worth */

/* A block's shared memory: angles of the places [4 S, PAGE, 4]; queries [ROWS, LD] and their scales, a tile for
 * all warps or one each; each warp's ring and head. */
template <int S> struct memory_of {
    static constexpr int PLACES = 4 * S * PAGE * 4 * 16, LD = 64 * S + 8, QUERIES = (ROWS * LD + ROWS) * 4;
    static __host__ __device__ __forceinline__ int32_t warp_at(int32_t tiles, int32_t warp)
    {
        return PLACES + tiles * QUERIES + warp * WARP_BYTES;
    }
};

/* How sixteen rows of a slice lie in shared memory, for heads of up to 64 S dims: copied in units of UNIT bytes,
 * strides so that lanes meet in no bank. */
template <int S, int CODEC> struct tile {
    static constexpr bool SCALED = CODEC == QU_CODEC_Q8 || CODEC == QU_CODEC_Q4; /* rows begin anywhere */
    static constexpr int UNIT = SCALED ? 4 : 16, PER = CODEC == QU_CODEC_F32 || CODEC == QU_CODEC_Q8 ? 4 : 8;
    static constexpr int UNITS = 64 * S / PER, ODD = UNITS % 16 == 8 ? UNITS : UNITS + 8;
    static constexpr int KEYS = UNIT * (SCALED ? ODD : CODEC == QU_CODEC_F32 ? UNITS : UNITS + 4);
    static constexpr int VALUES = UNIT * (SCALED ? ODD : CODEC == QU_CODEC_F32 ? UNITS : UNITS + 2);
    static constexpr int BYTES = STEP * KEYS, FIT = RING_BYTES / BYTES, STAGES = FIT < 6 ? FIT : 6;
};

/* A lane's row or column of operands, and which of the four that share it. */
static __device__ __forceinline__ int32_t lane_row()
{
    return (int32_t)(threadIdx.x % QU_WARP / 4);
}
static __device__ __forceinline__ int32_t lane_part()
{
    return (int32_t)(threadIdx.x % 4);
}

/* A slice on its way through a warp's ring: for every 32 tokens two steps of keys, two of values. */
template <int S, int CODEC> struct stream {
    typedef tile<S, CODEC> T;
    static constexpr int LANES = T::UNITS, AT_ONCE = QU_WARP / LANES; /* of a row; rows */
    char *ring;
    const char *next[2]; /* keys, values: this lane's unit of the next step */
    int32_t row_bytes, n, row, left, first, asked, taken;
    bool in_row;

    __device__ __forceinline__ stream(const block_keys &b, char *memory)
        : ring(memory), row_bytes(::row_bytes(CODEC, b.d)), n(b.n), left((b.n + 31) / 32 * 4), first(0), asked(0), taken(0)
    {
        const int32_t lane = (int32_t)(threadIdx.x % QU_WARP), unit = lane % LANES;
        row = lane / LANES;
        in_row = unit * T::PER < b.d;
        next[0] = b.keys + unit * T::UNIT;
        next[1] = b.values + unit * T::UNIT;
        __syncwarp(); /* the page before may still be read */
        uint32_t *head = (uint32_t *)(void *)(ring + RING_BYTES);
        for (int32_t i = lane; i < head_bytes(CODEC, b.n, b.d) / 4; i += QU_WARP)
            __pipeline_memcpy_async(head + i, (const uint32_t *)(const void *)b.head + i, 4);
        for (int i = 1; i < T::STAGES; i++) ask();
    }
    __device__ __forceinline__ void copy(const char *rows, int stride)
    {
        char *to = ring + asked * T::BYTES + row * stride + (int32_t)(threadIdx.x % LANES) * T::UNIT;
        if (!in_row) return;
        if (first + STEP <= n) {
            const char *from = rows + (int64_t)(first + row) * row_bytes;
#pragma unroll
            for (int k = 0; k < STEP / AT_ONCE; k++)
                __pipeline_memcpy_async(to + k * AT_ONCE * stride, from + k * AT_ONCE * row_bytes, T::UNIT);
        } else { /* the last token stands for those behind it */
            for (int k = 0; k < STEP / AT_ONCE; k++)
                __pipeline_memcpy_async(to + k * AT_ONCE * stride,
                                        rows + min(first + row + k * AT_ONCE, n - 1) * row_bytes, T::UNIT);
        }
    }
    __device__ __forceinline__ void ask()
    {
        if (left > 0) {
            if (left % 4 == 0 || left % 4 == 3) copy(next[0], T::KEYS);
            else copy(next[1], T::VALUES);
            first += left % 4 == 3 ? -STEP : STEP;
            left--;
        }
        __pipeline_commit();
        asked = asked + 1 == T::STAGES ? 0 : asked + 1;
    }
    /* The next step, there for all lanes; valid until the next call. */
    __device__ __forceinline__ const char *take()
    {
        if (T::STAGES == 1) {
            __syncwarp();
            ask();
        }
        __pipeline_wait_prior(T::STAGES > 2 ? T::STAGES - 2 : 0);
        __syncwarp();
        if (T::STAGES > 1) ask();
        const char *step = ring + taken * T::BYTES;
        taken = taken + 1 == T::STAGES ? 0 : taken + 1;
        return step;
    }
};

/* Eight rows of queries as operand: lane 4 g + t has of row g the doubles t, t + 4 ... */
template <int S> struct queries {
    uint32_t high[S][8], low[S][8];
};

static __device__ __forceinline__ void split_halves(uint32_t *high, uint32_t *low, float x, float y)
{
    *high = pack_halves(x, y);
    *low = pack_halves((x - from_half((uint16_t)(*high & 0xffff))) / LOW, (y - from_half((uint16_t)(*high >> 16))) / LOW);
}

/* row: of this lane's g, scaled so that turning leaves all below 1. */
template <int S>
static __device__ __forceinline__ void load_queries(queries<S> &q, const float *row, const block_keys &b)
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
static __device__ __forceinline__ int32_t token_of(int32_t column)
{
    return column < 4 ? column : column ^ 1;
}

/* c = the rows by twice eight keys of a step, which begins at a place of the page. */
template <int S, int CODEC>
static __device__ __forceinline__ void score16(float c[2][4], const queries<S> &q, const char *rows, const char *head,
                                               const float4 *places, int32_t place, const block_keys &b)
{
    const int32_t t = lane_part(), own = token_of(lane_row());
#pragma unroll
    for (int i = 0; i < 8; i++) c[i / 4][i % 4] = 0;
#pragma unroll
    for (int st = 0; st < S; st++) {
        int32_t j = t + 4 * st, cx, cy;
        double_chunks(b.rope, j, &cx, &cy);
        cx = cx * 8 < b.d ? cx : 0; /* where there is none, the query is 0 */
        cy = cy * 8 < b.d ? cy : 0;
        float base[2][8], scale[2][8];
        key_scale8<CODEC>(base[0], scale[0], head, cx, b.d);
        key_scale8<CODEC>(base[1], scale[1], head, cy, b.d);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const char *row = rows + (8 * h + own) * tile<S, CODEC>::KEYS;
            uint32_t w[8];
            if (CODEC == QU_CUDA_PLACED) {
                uint4 x = ((const uint4 *)(const void *)row)[cx], y = ((const uint4 *)(const void *)row)[cy];
                w[0] = x.x, w[1] = x.y, w[2] = x.z, w[3] = x.w;
                w[4] = y.x, w[5] = y.y, w[6] = y.z, w[7] = y.w;
            } else {
                float x[8], y[8], co[8], si[8];
                key8<CODEC>(x, row, cx, b.d, base[0], scale[0]);
                key8<CODEC>(y, row, cy, b.d, base[1], scale[1]);
#pragma unroll
                for (int i = 0; i < 4; i++)
                    angles2(co, si, i, places[((st * 4 + i) * PAGE + place + 8 * h + own) * 4 + t]);
                turn8(x, y, co, si, b.rope.halves && 16 * j < b.rope.n_dims);
                pack8(w, x);
                pack8(w + 4, y);
            }
#pragma unroll
            for (int i = 0; i < 8; i += 2)
                multiply(c[h], q.high[st][i], q.low[st][i], q.high[st][i + 1], q.low[st][i + 1], w[i], w[i + 1]);
        }
    }
}

/* o += weights of sixteen tokens, the rows' operand, by their values; first: of the tokens. */
template <int S, int CODEC>
static __device__ __forceinline__ void add_values(float o[S][8][4], const uint32_t high[2], const uint32_t low[2],
                                                  const char *rows, int32_t first, const block_keys &b, const char *head)
{
    const int32_t g = lane_row(), t = lane_part();
#pragma unroll
    for (int st = 0; st < S; st++) {
        uint32_t w[2][8]; /* dims of the chunk: two tokens of each eight */
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int32_t i = 8 * h + token_of(2 * t), j = 8 * h + token_of(2 * t + 1);
            const char *row_i = rows + i * tile<S, CODEC>::VALUES, *row_j = rows + j * tile<S, CODEC>::VALUES;
            if (CODEC == QU_CUDA_PLACED || CODEC == QU_CODEC_F16) {
                uint4 x = ((const uint4 *)(const void *)row_i)[8 * st + g], y = ((const uint4 *)(const void *)row_j)[8 * st + g];
                const uint32_t u[4] = {x.x, x.y, x.z, x.w}, v[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
                for (int e = 0; e < 8; e++) w[h][e] = __byte_perm(u[e / 2], v[e / 2], e % 2 ? 0x7632 : 0x5410);
            } else {
                float x[8], y[8];
                value8<CODEC>(x, row_i, 8 * st + g, b.d, head, min(first + i, b.n - 1));
                value8<CODEC>(y, row_j, 8 * st + g, b.d, head, min(first + j, b.n - 1));
#pragma unroll
                for (int e = 0; e < 8; e++) w[h][e] = pack_halves(x[e], y[e]);
            }
        }
#pragma unroll
        for (int e = 0; e < 8; e++) multiply(o[st][e], high[0], low[0], high[1], low[1], w[0][e], w[1][e]);
    }
}

/* A page's state of the rows: each lane has row g's part. */
template <int S> struct state {
    float o[S][8][4], m, l; /* [st][e]: dims 64 st + 16 t + e and 8 more, upper halves, then lower */
};

/* Weights of 32 tokens as operands; what was before fades by the new maximum. */
template <int S>
static __device__ __forceinline__ void weigh(state<S> &x, uint32_t high[4], uint32_t low[4], const float s[4][2])
{
    float top = x.m;
#pragma unroll
    for (int i = 0; i < 8; i++) top = fmaxf(top, s[i / 2][i % 2]);
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
    const float floor = fmaxf(top, QU_SCORE_FLOOR), fade = expf(x.m - floor);
    x.m = top;
    x.l *= fade;
#pragma unroll
    for (int i = 0; i < S * 32; i++) x.o[i / 32][i / 4 % 8][i % 4] *= fade;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float u = weight_of(s[i][0], floor), v = weight_of(s[i][1], floor);
        x.l += u + v;
        split_halves(&high[i], &low[i], u, v);
    }
}

/* A row's sum out of its four lanes'. */
static __device__ __forceinline__ float row_sum(float l)
{
    l += __shfl_xor_sync(0xffffffffu, l, 1);
    return l + __shfl_xor_sync(0xffffffffu, l, 2);
}

/* p [D] = scale times a row's sums. */
template <int S>
static __device__ __forceinline__ void store_rows(float *p, const state<S> &x, float scale, int32_t d)
{
    const int32_t t = lane_part();
#pragma unroll
    for (int i = 0; i < S * 4; i++) { /* four dims of one chunk */
        const int st = i / 4, high = i / 2 % 2, e = i % 2 * 4;
        int32_t dim = 64 * st + 16 * t + 8 * high + e;
        float y[4];
#pragma unroll
        for (int j = 0; j < 4; j++) y[j] = scale * fmaf(x.o[st][e + j][2 + high], LOW, x.o[st][e + j][high]);
        if (dim < d) *(float4 *)(void *)(p + dim) = {y[0], y[1], y[2], y[3]};
    }
}

template <int S> static __device__ __forceinline__ void clear(state<S> &x)
{
    x.m = -INFINITY;
    x.l = 0;
#pragma unroll
    for (int i = 0; i < S * 32; i++) x.o[i / 32][i / 4 % 8][i % 4] = 0;
}

/* A page for the rows whose queries lie at q of the shared memory, by way of memory: onto the state on, or by itself
 * into partial [D + 4], row g's, unless that is NULL. Not inlined: a codec needs nearly all registers for itself. */
template <int S, int CODEC>
static __device__ __noinline__ void attend_codec(block_keys b, int32_t visible, int32_t q_at, int32_t memory_at,
                                                 state<S> *on, float *partial)
{
    QU_SHARED(shared);
    typedef memory_of<S> M;
    const int32_t g = lane_row(), t = lane_part();
    const float *rows = (const float *)(const void *)((char *)shared + q_at), scale = rows[ROWS * M::LD + g];
    char *memory = (char *)shared + memory_at;
    stream<S, CODEC> slice(b, memory);
    queries<S> q;
    load_queries<S>(q, rows + g * M::LD, b);
    state<S> x;
    clear(x);
    if (on) x = *on;
    for (int32_t first = 0; first < b.n; first += 2 * STEP) {
        float s[4][2];
        uint32_t high[4], low[4];
#pragma unroll
        for (int i = 0; i < 4; i += 2) {
            float c[2][4];
            score16<S, CODEC>(c, q, slice.take(), memory + RING_BYTES, shared, first + 8 * i, b);
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int32_t at = first + 8 * (i + e / 2) + token_of(2 * t + e % 2);
                float score = fmaf(c[e / 2][2 + e % 2], LOW, c[e / 2][e % 2]) * scale;
                if (b.bias && at < b.n)
                    score = b.chosen[b.page_of[at] * b.g_n + b.g] ? -INFINITY : score + b.bias[at];
                s[i + e / 2][e % 2] = at < visible ? score : -INFINITY;
            }
        }
        weigh<S>(x, high, low, s);
#pragma unroll
        for (int i = 0; i < 2; i++)
            add_values<S, CODEC>(x.o, high + 2 * i, low + 2 * i, slice.take(), first + i * STEP, b, memory + RING_BYTES);
    }
    if (on) {
        *on = x;
        return;
    }
    const float l = row_sum(x.l);
    if (!partial) return;
    store_rows<S>(partial, x, 1, b.d);
    if (t == 0) *(float2 *)(void *)(partial + b.d) = {x.m, l};
}

template <int S>
static __device__ __forceinline__ void attend_page(const block_keys &b, int32_t visible, int32_t q_at,
                                                   int32_t memory_at, state<S> *on, float *partial)
{
    switch (b.codec) {
    case QU_CODEC_F32: attend_codec<S, QU_CODEC_F32>(b, visible, q_at, memory_at, on, partial); break;
    case QU_CODEC_F16: attend_codec<S, QU_CODEC_F16>(b, visible, q_at, memory_at, on, partial); break;
    case QU_CODEC_Q8: attend_codec<S, QU_CODEC_Q8>(b, visible, q_at, memory_at, on, partial); break;
    case QU_CODEC_Q4: attend_codec<S, QU_CODEC_Q4>(b, visible, q_at, memory_at, on, partial); break;
    default: attend_codec<S, QU_CUDA_PLACED>(b, visible, q_at, memory_at, on, partial);
    }
}

/* --- a block's angles and queries --- */

template <int S> static __device__ __forceinline__ void load_places(float4 *to, const float *places, int32_t d)
{
    const float4 *from = (const float4 *)(const void *)places;
    for (int32_t i = (int32_t)threadIdx.x; i < 16 * S * PAGE; i += (int32_t)blockDim.x) {
        int32_t two = i / PAGE, place = i % PAGE; /* pairs 2 two, 2 two + 1: of double two / 4 */
        float4 *p = to + ((two / 16 * 4 + two % 4) * PAGE + place) * 4 + two / 4 % 4;
        if (two < d / 4) __pipeline_memcpy_async(p, from + i, 16);
        else *p = {0, 0, 0, 0};
    }
    __pipeline_commit();
    __pipeline_wait_prior(0);
}

/* ROWS queries by a warp: by a power of two below 1/2, so that turned ones are below 1; behind a row zeros. */
template <int S>
static __device__ __forceinline__ void scale_queries(float *q, const qu_cuda_attend &a, int32_t g, int32_t row0)
{
    const int32_t ld = memory_of<S>::LD, d = a.rows.d, lane = (int32_t)(threadIdx.x % QU_WARP);
    for (int32_t r = 0; r < ROWS; r++) {
        const bool real = row0 + r < head_rows(a);
        const float *from = a.q + (real ? query_at(a, g, row0 + r) : 0);
        float most = 0;
        for (int32_t i = lane; real && i < d; i += QU_WARP) most = fmaxf(most, fabsf(from[i]));
        const unsigned exponent = min(max(__float_as_uint(warp_max(most)) >> 23, 30u), 220u) + 2;
        const float inverse = __uint_as_float((254 - exponent) << 23);
        for (int32_t i = lane; i < ld; i += QU_WARP) q[r * ld + i] = real && i < d ? from[i] * inverse : 0;
        if (lane == 0) q[ROWS * ld + r] = __uint_as_float(exponent << 23);
    }
}

/* --- split: a warp takes single pages --- */

/* The segment that part i of head g stands for; -1 behind the last. */
static __device__ __forceinline__ int32_t page_at(const qu_cuda_attend &a, int32_t g, int32_t i)
{
    if (!a.list) return i;
    return i < a.count[g] ? a.list[(int64_t)g * a.list_cap + i] : -1;
}

/* A part's state of a row: o [D], m, l. */
static __host__ __device__ __forceinline__ int32_t partial_floats(int32_t d)
{
    return d + 4;
}
static __device__ __forceinline__ float *partial_at(const qu_cuda_attend &a, int32_t g, int32_t part,
                                                    int32_t row)
{
    int64_t parts = page_parts(a) + far_parts(a);
    return a.partial + ((g * parts + part) * head_rows(a) + row) * partial_floats(a.rows.d);
}

template <int S> static __global__ void __launch_bounds__(MAX_WARPS *QU_WARP, 1) attend_split(qu_cuda_attend a)
{
    QU_SHARED(memory);
    const int32_t g = (int32_t)blockIdx.y, row0 = (int32_t)blockIdx.z * ROWS, row = row0 + lane_row();
    const int32_t warp = (int32_t)threadIdx.x / QU_WARP, warps = (int32_t)blockDim.x / QU_WARP;
    const int32_t q = memory_of<S>::PLACES;
    if (warp == 0) scale_queries<S>((float *)(void *)((char *)memory + q), a, g, row0);
    load_places<S>(memory, places_of(a.rows, a.layer, g), a.rows.d);
    __syncthreads();
    const int32_t n_pages = a.list ? a.count[g] : a.n_pages, n = n_pages + far_parts(a);
    for (int32_t i = (int32_t)blockIdx.x + (int32_t)gridDim.x * warp; i < n; i += (int32_t)gridDim.x * warps) {
        const bool far = i >= n_pages, real = row < head_rows(a);
        const int32_t page = far ? -1 : page_at(a, g, i);
        const block_keys b = far ? far_of(a, i - n_pages, g) : keys_of(a, page, g);
        const int32_t visible = !far ? sees(a, row, page, b.n) : real ? b.n : 0;
        if (!__ballot_sync(0xffffffffu, visible > 0)) continue; /* the merge passes it over, too */
        float *partial = real ? partial_at(a, g, far ? page_parts(a) + i - n_pages : i, row) : NULL;
        attend_page<S>(b, visible, q, memory_of<S>::warp_at(1, warp), NULL, partial);
    }
}

/* --- merge: a block a (row, KV head, 32 dims) --- */

enum { MERGE = 256, SLOTS = MERGE / 8, FOLD = 36 };

/* The largest maximum, each part's weight, then the sums: slot s takes parts s, s + SLOTS ... of the pages, then of
 * the far field, and the slots are added in order: what is not there changes nothing. */
static __global__ void __launch_bounds__(MERGE) merge(qu_cuda_attend a)
{
    QU_SHARED(memory);
    const int32_t row = (int32_t)blockIdx.x, g = (int32_t)blockIdx.y, tid = (int32_t)threadIdx.x;
    const int32_t d = a.rows.d, pages = page_parts(a), parts = pages + far_parts(a);
    const int32_t slot = tid / 8, c = (int32_t)blockIdx.z * 32 + tid % 8 * 4;
    float *fold = (float *)memory, *weight = fold + SLOTS * FOLD, top = -INFINITY;
    for (int32_t i = tid; i < parts; i += MERGE) {
        int32_t page = i < pages ? page_at(a, g, i) : 0;
        bool seen = i < pages ? page >= 0 && sees(a, row, page, 1) > 0 : true;
        weight[i] = seen ? partial_at(a, g, i, row)[d] : -INFINITY;
        top = fmaxf(top, weight[i]);
    }
    top = fmaxf(block_max<MERGE>(top, fold), QU_SCORE_FLOOR);
    for (int32_t i = tid; i < parts; i += MERGE) weight[i] = expf(weight[i] - top);
    __syncthreads();
    float o[4] = {0, 0, 0, 0}, l = 0;
    for (int32_t from = 0, to = pages; from < parts; from = to, to = parts)
#pragma unroll 4
        for (int32_t i = from + slot; i < to; i += SLOTS) {
            if (!(weight[i] > 0)) continue;
            const float *p = partial_at(a, g, i, row);
            l = fmaf(weight[i], p[d + 1], l);
            if (c >= d) continue;
            float4 x = *(const float4 *)(const void *)(p + c);
            o[0] = fmaf(weight[i], x.x, o[0]), o[1] = fmaf(weight[i], x.y, o[1]);
            o[2] = fmaf(weight[i], x.z, o[2]), o[3] = fmaf(weight[i], x.w, o[3]);
        }
    for (int j = 0; j < 4; j++) fold[slot * FOLD + tid % 8 * 4 + j] = o[j];
    if (tid % 8 == 0) fold[slot * FOLD + 32] = l;
    __syncthreads();
    const int32_t dim = (int32_t)blockIdx.z * 32 + tid;
    if (tid >= 32 || dim >= d) return;
    float sum = 0;
    l = 0;
    for (int i = 0; i < SLOTS; i++) {
        sum += fold[i * FOLD + tid];
        l += fold[i * FOLD + 32];
    }
    a.out[query_at(a, g, row) + dim] = l > 0 ? sum / l : 0;
}

/* --- direct: a warp takes all pages for its rows --- */

template <int S> static __global__ void __launch_bounds__(MAX_WARPS *QU_WARP, 1) attend_direct(qu_cuda_attend a)
{
    QU_SHARED(memory);
    const int32_t g = (int32_t)blockIdx.y, warps = (int32_t)blockDim.x / QU_WARP, rows = head_rows(a);
    const int32_t warp = (int32_t)threadIdx.x / QU_WARP, row0 = ((int32_t)blockIdx.x * warps + warp) * ROWS;
    const int32_t row = row0 + lane_row();
    const int32_t q = memory_of<S>::PLACES + warp * memory_of<S>::QUERIES;
    load_places<S>(memory, places_of(a.rows, a.layer, g), a.rows.d);
    scale_queries<S>((float *)(void *)((char *)memory + q), a, g, row0);
    __syncthreads();
    if (row0 >= rows) return;
    state<S> x;
    clear(x);
    const int32_t last = a.rows.own[(min(row0 + ROWS, rows) - 1) / (a.rows.n_heads / a.rows.n_kv_heads)];
    for (int32_t page = 0; page <= last; page++) {
        const block_keys b = keys_of(a, page, g);
        attend_page<S>(b, sees(a, row, page, b.n), q, memory_of<S>::warp_at(warps, warp), &x, NULL);
    }
    const float l = row_sum(x.l);
    if (row < rows) store_rows<S>(a.out + query_at(a, g, row), x, l > 0 ? 1 / l : 0, a.rows.d);
}

/* --- launchers --- */

int64_t qu_cuda_attend_floats(const qu_cuda_attend *a, int32_t n_rows)
{
    return (int64_t)n_rows * a->rows.n_heads * (page_parts(*a) + far_parts(*a)) * partial_floats(a->rows.d);
}

static qu_status check(const qu_cuda_attend *a, qu_err *err)
{
    const qu_cuda_rope *r = &a->rows.rope;
    if (a->rows.d % 8 != 0 || a->rows.d > 128 || (r->halves && r->n_dims % 16 != 0))
        return qu_fail(err, QU_ERR_ARG,
                       "no CUDA attention for heads of %d of which %d turn: a multiple of 8 up to 128, of 16",
                       a->rows.d, r->n_dims);
    return QU_OK;
}

static int attribute(cudaDeviceAttr what)
{
    int device = 0, value = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&value, what, device);
    return value;
}

/* Warps of a block that has shared memory for itself and for each. */
static int32_t warps_of(int32_t own, int32_t each)
{
    int32_t hold = (attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) - own) / each;
    return hold < MAX_WARPS ? hold : (int32_t)MAX_WARPS;
}

/* One block a multiprocessor, shared out over heads and rows. */
template <int S> static void launch_split(cudaStream_t stream, const qu_cuda_attend &a, int32_t rows)
{
    const int32_t tiles = (rows + ROWS - 1) / ROWS, parts = page_parts(a) + far_parts(a);
    const int32_t blocks = attribute(cudaDevAttrMultiProcessorCount) / (a.rows.n_kv_heads * tiles);
    const int32_t warps = warps_of(memory_of<S>::warp_at(1, 0), WARP_BYTES);
    const size_t bytes = (size_t)memory_of<S>::warp_at(1, warps);
    dim3 grid((unsigned)(blocks < 1 ? 1 : blocks < parts ? blocks : parts), (unsigned)a.rows.n_kv_heads, (unsigned)tiles);
    auto *kernel = attend_split<S>;
    qu_cuda_want_shared(kernel, bytes);
    QU_LAUNCH(kernel, grid, (unsigned)(warps * QU_WARP), bytes, stream, a);
}

qu_status qu_cuda_attend_split(qu_cuda *cu, const qu_cuda_attend *a, qu_err *err)
{
    QU_TRY(check(a, err));
    if (a->rows.n <= 0) return QU_OK;
    cudaStream_t stream = qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE);
    int32_t rows = a->rows.n * (a->rows.n_heads / a->rows.n_kv_heads);
    if (a->rows.d <= 64) launch_split<1>(stream, *a, rows);
    else launch_split<2>(stream, *a, rows);
    QU_TRY(qu_cuda_launched(cu, "attend_split", err));
    size_t bytes = (size_t)(page_parts(*a) + far_parts(*a) + SLOTS * FOLD) * sizeof(float);
    qu_cuda_want_shared(merge, bytes);
    dim3 grid((unsigned)rows, (unsigned)a->rows.n_kv_heads, blocks_of(a->rows.d, 32));
    QU_TRY_LAUNCH(merge, grid, MERGE, bytes, *a);
    return QU_OK;
}

template <int S> static void launch_direct(cudaStream_t stream, const qu_cuda_attend &a, int32_t rows)
{
    const int32_t warps = warps_of(memory_of<S>::warp_at(0, 0), memory_of<S>::QUERIES + WARP_BYTES);
    const size_t bytes = (size_t)memory_of<S>::warp_at(warps, warps);
    dim3 grid(blocks_of(rows, ROWS * warps), (unsigned)a.rows.n_kv_heads);
    auto *kernel = attend_direct<S>;
    qu_cuda_want_shared(kernel, bytes);
    QU_LAUNCH(kernel, grid, (unsigned)(warps * QU_WARP), bytes, stream, a);
}

qu_status qu_cuda_attend_direct(qu_cuda *cu, const qu_cuda_attend *a, qu_err *err)
{
    QU_TRY(check(a, err));
    if (a->rows.n <= 0) return QU_OK;
    cudaStream_t stream = qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE);
    int32_t rows = a->rows.n * (a->rows.n_heads / a->rows.n_kv_heads);
    if (a->rows.d <= 64) launch_direct<1>(stream, *a, rows);
    else launch_direct<2>(stream, *a, rows);
    return qu_cuda_launched(cu, "attend_direct", err);
}
