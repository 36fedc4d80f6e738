/* Page attention over the pages of a segment list. What a row gets from a page depends on that row
 * and that page alone (page.cuh); pages are merged in a fixed order.
 *
 *   split    few rows: a warp takes single pages, whose states a second kernel merges
 *   direct   many rows: a warp takes all pages one after the other, onto one state */
#include "kernels/cuda/page.cuh"

/* --- rows and pages --- */

static __host__ __device__ int32_t group_of(const qu_cuda_attend &a)
{
    return a.rows.n_heads / a.rows.n_kv_heads;
}

/* Row r of a KV head: token r / group, head g * group + r % group. */
QU_DEVICE int64_t query_at(const qu_cuda_attend &a, int32_t g, int32_t row)
{
    const int32_t group = group_of(a);
    return ((int64_t)(row / group) * a.rows.n_heads + (int64_t)g * group + row % group) * a.rows.d;
}

static __host__ __device__ int32_t head_rows(const qu_cuda_attend &a)
{
    return a.rows.n * group_of(a);
}

QU_DEVICE int32_t sees(const qu_cuda_attend &a, int32_t row, int32_t page, int32_t n)
{
    int32_t t = row / group_of(a);
    if (row >= head_rows(a)) return 0;
    int32_t own = a.rows.own[t];
    return page < own ? n : page == own ? a.rows.at[t] + 1 : 0;
}

QU_DEVICE block_keys keys_of(const qu_cuda_attend &a, int32_t page, int32_t g)
{
    qu_cuda_page p = a.rows.pages[page];
    int64_t angles = angles_at(a.rows, p, a.layer, g);
    block_keys b = {};
    b.d = a.rows.d;
    b.n = p.n;
    b.codec = p.codec;
    b.head = (const char *)p.slices[a.layer * a.rows.n_kv_heads + g];
    b.keys = b.head + head_bytes(p.codec, p.n, b.d);
    const int32_t rows = p.codec == QU_CUDA_PLACED ? (int32_t)PAGE : p.n;
    b.values = b.keys + (int64_t)rows * row_bytes(p.codec, b.d);
    b.rope = a.rows.rope;
    b.cos = p.cos + angles;
    b.sin = p.sin + angles;
    b.ld = p.n_pad;
    return b;
}

QU_DEVICE block_keys far_of(const qu_cuda_attend &a, int32_t i, int32_t g)
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

static __host__ __device__ int32_t far_parts(const qu_cuda_attend &a)
{
    return (a.n_clusters + PAGE - 1) / PAGE;
}
static __host__ __device__ int32_t page_parts(const qu_cuda_attend &a)
{
    return a.list ? a.list_cap : a.n_pages;
}

/* --- a block's angles and queries --- */

template <int S> QU_DEVICE void load_places(float4 *to, const float *places, int32_t d)
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

/* ROWS queries by a warp: by a power of two below 1/2, so that turned ones are below 1; behind a
 * row zeros. */
template <int S>
QU_DEVICE void scale_queries(float *q, const qu_cuda_attend &a, int32_t g, int32_t row0)
{
    const int32_t ld = memory_of<S>::LD, d = a.rows.d, lane = (int32_t)(threadIdx.x % QU_WARP);
    for (int32_t r = 0; r < ROWS; r++) {
        const bool real = row0 + r < head_rows(a);
        const float *from = a.q + (real ? query_at(a, g, row0 + r) : 0);
        float most = 0;
        for (int32_t i = lane; real && i < d; i += QU_WARP) most = fmaxf(most, fabsf(from[i]));
        const unsigned exponent = min(max(__float_as_uint(warp_max(most)) >> 23, 30u), 220u) + 2;
        const float inverse = __uint_as_float((254 - exponent) << 23);
        for (int32_t i = lane; i < ld; i += QU_WARP)
            q[r * ld + i] = real && i < d ? from[i] * inverse : 0;
        if (lane == 0) q[ROWS * ld + r] = __uint_as_float(exponent << 23);
    }
}

/* --- split: a warp takes single pages --- */

/* The segment that part i of head g stands for; -1 behind the last. */
QU_DEVICE int32_t page_at(const qu_cuda_attend &a, int32_t g, int32_t i)
{
    if (!a.list) return i;
    return i < a.count[g] ? a.list[(int64_t)g * a.list_cap + i] : -1;
}

/* A part's state of a row: o [D], m, l. */
static __host__ __device__ __forceinline__ int32_t partial_floats(int32_t d)
{
    return d + 4;
}
QU_DEVICE float *partial_at(const qu_cuda_attend &a, int32_t g, int32_t part, int32_t row)
{
    int64_t parts = page_parts(a) + far_parts(a);
    return a.partial + ((g * parts + part) * head_rows(a) + row) * partial_floats(a.rows.d);
}

template <int S>
static __global__ void __launch_bounds__(MAX_WARPS *QU_WARP, 1) attend_split(qu_cuda_attend a)
{
    QU_SHARED(places);
    typedef memory_of<S> M;
    const int32_t g = (int32_t)blockIdx.y;
    const int32_t row0 = (int32_t)blockIdx.z * ROWS, row = row0 + lane_row();
    const int32_t warp = (int32_t)threadIdx.x / QU_WARP, warps = (int32_t)blockDim.x / QU_WARP;
    float *q = (float *)(void *)((char *)places + M::PLACES);
    char *memory = (char *)places + M::warp_at(1, warp);
    QU_LET_NEXT_START();
    if (warp == 0) scale_queries<S>(q, a, g, row0);
    load_places<S>(places, places_of(a.rows, a.layer, g), a.rows.d);
    __syncthreads();
    const int32_t n_pages = a.list ? a.count[g] : a.n_pages, n = n_pages + far_parts(a);
    const int32_t first = (int32_t)blockIdx.x + (int32_t)gridDim.x * warp;
#pragma unroll 1
    for (int32_t i = first; i < n; i += (int32_t)gridDim.x * warps) {
        const bool far = i >= n_pages, real = row < head_rows(a);
        const int32_t page = far ? -1 : page_at(a, g, i);
        const block_keys b = far ? far_of(a, i - n_pages, g) : keys_of(a, page, g);
        const int32_t visible = !far ? sees(a, row, page, b.n) : real ? b.n : 0;
        if (!__ballot_sync(0xffffffffu, visible > 0)) continue; /* the merge passes it over, too */
        state<S> x;
        clear(x);
        attend_page<S>(x, b, visible, q, memory, places);
        const float l = row_sum(x.l);
        if (real) {
            float *to = partial_at(a, g, far ? page_parts(a) + i - n_pages : i, row);
            store_rows<S>(to, x, 1, a.rows.d);
            if (lane_part() == 0) *(float2 *)(void *)(to + a.rows.d) = {x.m, l};
        }
    }
}

/* --- merge: a block a (row, KV head, 32 dims) --- */

enum { MERGE = 256, SLOTS = MERGE / 8, FOLD = 36 };

/* The largest maximum, each part's weight, then the sums: slot s takes parts s, s + SLOTS ... of
 * the pages, then of the far field, and the slots are added in order: what is not there changes
 * nothing. */
static __global__ void __launch_bounds__(MERGE, 4) merge(qu_cuda_attend a)
{
    QU_SHARED(memory);
    const int32_t row = (int32_t)blockIdx.x, g = (int32_t)blockIdx.y, tid = (int32_t)threadIdx.x;
    const int32_t d = a.rows.d, pages = page_parts(a), parts = pages + far_parts(a);
    const int32_t slot = tid / 8, c = (int32_t)blockIdx.z * 32 + tid % 8 * 4;
    float *fold = (float *)memory, *weight = fold + SLOTS * FOLD, top = -INFINITY;
    QU_LET_NEXT_START();
    QU_WAIT_FOR_LAST();
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
            float4 x = read<float4>(p + c);
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

template <int S>
static __global__ void __launch_bounds__(MAX_WARPS *QU_WARP, 1) attend_direct(qu_cuda_attend a)
{
    QU_SHARED(places);
    typedef memory_of<S> M;
    const int32_t g = (int32_t)blockIdx.y, rows = head_rows(a);
    const int32_t warp = (int32_t)threadIdx.x / QU_WARP, warps = (int32_t)blockDim.x / QU_WARP;
    const int32_t row0 = ((int32_t)blockIdx.x * warps + warp) * ROWS, row = row0 + lane_row();
    float *q = (float *)(void *)((char *)places + M::PLACES + warp * M::QUERIES);
    char *memory = (char *)places + M::warp_at(warps, warp);
    load_places<S>(places, places_of(a.rows, a.layer, g), a.rows.d);
    scale_queries<S>(q, a, g, row0);
    __syncthreads();
    if (row0 >= rows) return;
    state<S> x;
    clear(x);
    const int32_t last = a.rows.own[(min(row0 + ROWS, rows) - 1) / group_of(a)];
#pragma unroll 1
    for (int32_t page = 0; page <= last; page++) {
        const block_keys b = keys_of(a, page, g);
        attend_page<S>(x, b, sees(a, row, page, b.n), q, memory, places);
    }
    const float l = row_sum(x.l);
    if (row >= rows) return;
    store_rows<S>(a.out + query_at(a, g, row), x, l > 0 ? 1 / l : 0, a.rows.d);
}

/* --- launchers --- */

int64_t qu_cuda_attend_floats(const qu_cuda_attend *a, int32_t n_rows)
{
    const int64_t parts = page_parts(*a) + far_parts(*a);
    return n_rows * parts * a->rows.n_heads * partial_floats(a->rows.d);
}

static qu_status check(const qu_cuda_attend *a, qu_err *err)
{
    const qu_cuda_rope *r = &a->rows.rope;
    if (a->rows.d % 8 != 0 || a->rows.d > 128 || (r->halves && r->n_dims % 16 != 0))
        return qu_fail(err, QU_ERR_ARG,
                       "no CUDA attention for heads of %d of which %d turn: "
                       "a multiple of 8 up to 128, of 16",
                       a->rows.d, r->n_dims);
    return QU_OK;
}

/* Split: a block a multiprocessor, shared out over heads and tiles. Direct: a warp a tile. */
template <int S, bool SPLIT>
static qu_status launch(qu_cuda *cu, const qu_cuda_attend &a, qu_err *err)
{
    typedef memory_of<S> M;
    const int32_t heads = a.rows.n_kv_heads, tiles = (head_rows(a) + ROWS - 1) / ROWS;
    const int32_t each = SPLIT ? WARP_BYTES : M::QUERIES + WARP_BYTES;
    const int32_t fit = (qu_cuda_shared(cu) - M::warp_at(SPLIT, 0)) / each;
    const int32_t warps = fit < MAX_WARPS ? fit : (int32_t)MAX_WARPS;
    const size_t bytes = (size_t)M::warp_at(SPLIT ? 1 : warps, warps);
    int32_t across = SPLIT ? qu_cuda_processors(cu) / (heads * tiles) : (tiles + warps - 1) / warps;
    if (SPLIT && across > page_parts(a) + far_parts(a)) across = page_parts(a) + far_parts(a);
    dim3 grid((unsigned)(across < 1 ? 1 : across), (unsigned)heads, SPLIT ? (unsigned)tiles : 1);
    auto *attend = SPLIT ? attend_split<S> : attend_direct<S>;
    qu_cuda_want_shared(attend, bytes);
    QU_TRY_LAUNCH(attend, grid, (unsigned)(warps * QU_WARP), bytes, a);
    return QU_OK;
}

qu_status qu_cuda_attend_split(qu_cuda *cu, const qu_cuda_attend *a, qu_err *err)
{
    QU_TRY(check(a, err));
    if (a->rows.n <= 0) return QU_OK;
    QU_TRY((a->rows.d <= 64 ? launch<1, true> : launch<2, true>)(cu, *a, err));
    size_t bytes = (size_t)(page_parts(*a) + far_parts(*a) + SLOTS * FOLD) * sizeof(float);
    qu_cuda_want_shared(merge, bytes);
    dim3 grid((unsigned)head_rows(*a), (unsigned)a->rows.n_kv_heads, blocks_of(a->rows.d, 32));
    QU_TRY_EARLY(merge, grid, MERGE, bytes, *a);
    return QU_OK;
}

qu_status qu_cuda_attend_direct(qu_cuda *cu, const qu_cuda_attend *a, qu_err *err)
{
    QU_TRY(check(a, err));
    if (a->rows.n <= 0) return QU_OK;
    return (a->rows.d <= 64 ? launch<1, false> : launch<2, false>)(cu, *a, err);
}
