/* Page attention. A block of 128 threads takes one page (a segment, or 128 clusters of the far field)
 * of one KV head for up to R query rows, tokens times heads of the group, so a loaded key serves its whole
 * group:
 *
 *   keys     into shared memory as halves (stored.cuh); thread j then owns key j: R chains of fused
 *            operations
 *   weights  a warp a row: maximum, exp, sum
 *   values   straight from memory, a thread owns eight dims of every S-th key; the S partial outputs of a
 *            row are added in order
 *
 * What a row gets from a page depends on that row and that page alone. */
#include "kernels/cuda/stored.cuh"

enum { THREADS = 128, PAGE = 128, PAD = 8, MAX_ROWS = 8 };

/* Shared memory of a block, in floats. */
typedef struct layout {
    int32_t slots;                       /* S */
    int32_t q, weights, m, l, acc, work; /* work: the keys, then the slots' outputs */
    int32_t floats;
} layout;

static __host__ __device__ layout layout_of(int32_t d, int32_t rows, bool direct)
{
    layout s;
    int32_t keys = PAGE * (d + PAD) / 2;
    s.slots = THREADS / (d / 8) > 0 ? THREADS / (d / 8) : 1;
    int32_t outputs = s.slots * rows * d;
    s.q = 0;
    s.weights = s.q + rows * d;
    s.m = s.weights + rows * PAGE;
    s.l = s.m + MAX_ROWS;
    s.acc = s.l + MAX_ROWS; /* direct: m, l, then o of what was merged */
    s.work = s.acc + (direct ? 2 * MAX_ROWS + rows * d : 0);
    s.floats = s.work + (keys > outputs ? keys : outputs);
    return s;
}

/* part r of the rows into m, l and work's first slot [R,D]. visible [R] of this thread block's rows. */
template <int D, int R>
static __device__ __forceinline__ void attend_block(float *shared, const layout &at, int32_t d_any,
                                                    const block_keys &b, const int32_t visible[R])
{
    const int32_t d = D ? D : d_any, chunks = d / 8, ld = (d + PAD) / 8;
    const int32_t tid = (int32_t)threadIdx.x, lane = tid % QU_WARP, warp = tid / QU_WARP;
    const uint4 *keys = (const uint4 *)(void *)(shared + at.work);
    const float *q = shared + at.q;
    float *weights = shared + at.weights;

    __syncthreads(); /* work may still be read */
    load_keys<THREADS>((uint16_t *)(void *)(shared + at.work), d + PAD, b);
    __syncthreads();

    float s[R];
#pragma unroll
    for (int r = 0; r < R; r++) s[r] = 0;
    if (tid < b.n) {
#pragma unroll 4
        for (int32_t c = 0; c < chunks; c++) {
            float k[8];
            halves8(k, keys[tid * ld + c]);
#pragma unroll
            for (int r = 0; r < R; r++) {
                float x[8];
                floats8(x, q + r * d + c * 8);
                s[r] = dot8(x, k, s[r]);
            }
        }
    }
    float bias = 0;
    if (b.bias && tid < b.n)
        bias = b.chosen[b.page_of[tid] * b.g_n + b.g] ? -INFINITY : b.bias[tid];
#pragma unroll
    for (int r = 0; r < R; r++) weights[r * PAGE + tid] = tid < visible[r] ? s[r] + bias : -INFINITY;
    __syncthreads();

    for (int32_t r = warp; r < R; r += THREADS / QU_WARP) {
        float *w = weights + r * PAGE + lane, x[PAGE / QU_WARP], top = -INFINITY, sum = 0;
        for (int i = 0; i < PAGE / QU_WARP; i++) {
            x[i] = w[i * QU_WARP];
            top = fmaxf(top, x[i]);
        }
        top = warp_max(top);
        float floor = fmaxf(top, QU_SCORE_FLOOR);
        for (int i = 0; i < PAGE / QU_WARP; i++) {
            float e = x[i] == x[i] ? expf(x[i] - floor) : 0;
            w[i * QU_WARP] = e;
            sum += e;
        }
        sum = warp_sum(sum);
        if (lane == 0) {
            shared[at.m + r] = top;
            shared[at.l + r] = sum;
        }
    }
    __syncthreads();

    float *slots = shared + at.work;
    int32_t slot = tid / chunks, chunk = tid % chunks;
    if (slot < at.slots) {
        float o[R][8];
#pragma unroll
        for (int r = 0; r < R; r++)
            for (int j = 0; j < 8; j++) o[r][j] = 0;
#pragma unroll 2
        for (int32_t i = slot; i < b.n; i += at.slots) {
            float v[8];
            value8(v, b, i, chunk);
#pragma unroll
            for (int r = 0; r < R; r++) {
                float w = weights[r * PAGE + i];
                for (int j = 0; j < 8; j++) o[r][j] = fmaf(w, v[j], o[r][j]);
            }
        }
#pragma unroll
        for (int r = 0; r < R; r++)
            for (int j = 0; j < 8; j++) slots[(slot * R + r) * d + chunk * 8 + j] = o[r][j];
    }
    __syncthreads();
    for (int32_t i = tid; i < R * d; i += THREADS) {
        float sum = slots[i];
        for (int32_t j = 1; j < at.slots; j++) sum += slots[j * R * d + i];
        slots[i] = sum;
    }
}

/* --- a block's rows --- */

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

template <int R>
static __device__ __forceinline__ void load_queries(float *q, const qu_cuda_attend &a, int32_t g,
                                                    int32_t row0)
{
    int32_t d = a.rows.d, rows = head_rows(a);
    for (int32_t i = (int32_t)threadIdx.x; i < R * d; i += THREADS) {
        int32_t row = row0 + i / d;
        q[i] = row < rows ? a.q[query_at(a, g, row) + i % d] : 0;
    }
}

static __device__ __forceinline__ int32_t sees(const qu_cuda_attend &a, int32_t row, int32_t page,
                                               int32_t n)
{
    int32_t t = row / (a.rows.n_heads / a.rows.n_kv_heads);
    if (row >= head_rows(a)) return 0;
    int32_t own = a.rows.own[t];
    return page < own ? n : page == own ? a.rows.at[t] + 1 : 0;
}

template <int D>
static __device__ __forceinline__ block_keys keys_of(const qu_cuda_attend &a, int32_t page, int32_t g)
{
    qu_cuda_page p = a.rows.pages[page];
    int64_t angles = angles_at(a.rows, p, a.layer, g);
    block_keys b = {};
    b.d = D ? D : a.rows.d;
    b.key = p.slices[a.layer * a.rows.n_kv_heads + g];
    b.value = (const uint16_t *)b.key + (int64_t)(p.codec == QU_CUDA_PLACED ? PAGE : p.n) * b.d;
    b.codec = p.codec;
    b.n = p.n;
    b.cos = p.cos + angles;
    b.sin = p.sin + angles;
    b.n_pad = p.n_pad;
    b.rope = a.rows.rope;
    return b;
}

template <int D>
static __device__ __forceinline__ block_keys far_of(const qu_cuda_attend &a, int32_t i, int32_t g)
{
    int64_t from = (int64_t)g * a.n_clusters + i * PAGE;
    block_keys b = {};
    b.d = D ? D : a.rows.d;
    b.key = a.key + from * b.d;
    b.value = a.value + from * b.d;
    b.codec = QU_CUDA_PLACED;
    b.n = min((int32_t)PAGE, a.n_clusters - i * PAGE);
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

/* --- split: a page a block --- */

/* The segment that part i of head g stands for; -1 behind the last. */
static __device__ __forceinline__ int32_t page_at(const qu_cuda_attend &a, int32_t g, int32_t i)
{
    if (!a.list) return i;
    return i < a.count[g] ? a.list[(int64_t)g * a.list_cap + i] : -1;
}

/* A part's state of a row: o [D], m, l. */
static __device__ __forceinline__ float *partial_at(const qu_cuda_attend &a, int32_t g, int32_t part,
                                                    int32_t row)
{
    int64_t parts = page_parts(a) + far_parts(a);
    return a.partial + ((g * parts + part) * head_rows(a) + row) * (a.rows.d + 2);
}

template <int D, int R>
static __global__ void __launch_bounds__(THREADS, 4) attend_split(qu_cuda_attend a)
{
    QU_SHARED(memory);
    float *shared = (float *)memory;
    const int32_t d = D ? D : a.rows.d, g = (int32_t)blockIdx.y, row0 = (int32_t)blockIdx.z * R;
    const int32_t part = (int32_t)blockIdx.x, far = part - page_parts(a);
    layout at = layout_of(d, R, false);
    int32_t page = far < 0 ? page_at(a, g, part) : -1, visible[R], most = 0;
    if (far < 0 && page < 0) return;
    block_keys b = far < 0 ? keys_of<D>(a, page, g) : far_of<D>(a, far, g);
#pragma unroll
    for (int r = 0; r < R; r++) {
        visible[r] = far < 0 ? sees(a, row0 + r, page, b.n) : b.n;
        most = max(most, visible[r]);
    }
    if (most == 0) return; /* the merge passes it over, too */
    load_queries<R>(shared + at.q, a, g, row0);
    attend_block<D, R>(shared, at, d, b, visible);
    int32_t rows = min((int32_t)R, head_rows(a) - row0);
    for (int32_t i = (int32_t)threadIdx.x; i < rows * d; i += THREADS)
        partial_at(a, g, part, row0 + i / d)[i % d] = shared[at.work + i];
    if ((int32_t)threadIdx.x < rows) {
        float *p = partial_at(a, g, part, row0 + (int32_t)threadIdx.x) + d;
        p[0] = shared[at.m + threadIdx.x];
        p[1] = shared[at.l + threadIdx.x];
    }
}

/* A block a (row, KV head): the largest maximum, each part's weight, then the sum in page order. */
static __global__ void __launch_bounds__(THREADS) merge(qu_cuda_attend a)
{
    QU_SHARED(memory);
    float *weight = (float *)memory, *fold = weight + page_parts(a) + far_parts(a), top = -INFINITY;
    const int32_t row = (int32_t)blockIdx.x, g = (int32_t)blockIdx.y, tid = (int32_t)threadIdx.x;
    const int32_t d = a.rows.d, pages = page_parts(a), parts = pages + far_parts(a);
    for (int32_t i = tid; i < parts; i += THREADS) {
        int32_t page = i < pages ? page_at(a, g, i) : 0;
        bool seen = i < pages ? page >= 0 && sees(a, row, page, 1) > 0 : true;
        weight[i] = seen ? partial_at(a, g, i, row)[d] : -INFINITY;
        top = fmaxf(top, weight[i]);
    }
    top = fmaxf(block_max<THREADS>(top, fold), QU_SCORE_FLOOR);
    for (int32_t i = tid; i < parts; i += THREADS) weight[i] = expf(weight[i] - top);
    __syncthreads();
    float l = 0;
    for (int32_t i = 0; i < parts; i++)
        if (weight[i] > 0) l = fmaf(weight[i], partial_at(a, g, i, row)[d + 1], l);
    float inverse = l > 0 ? 1 / l : 0;
    for (int32_t c = tid; c < d; c += THREADS) {
        float o = 0;
        for (int32_t i = 0; i < parts; i++)
            if (weight[i] > 0) o = fmaf(weight[i], partial_at(a, g, i, row)[c], o);
        a.out[query_at(a, g, row) + c] = o * inverse;
    }
}

/* --- direct: a block takes all pages --- */

template <int D, int R>
static __global__ void __launch_bounds__(THREADS, 3) attend_direct(qu_cuda_attend a)
{
    QU_SHARED(memory);
    float *shared = (float *)memory;
    const int32_t d = D ? D : a.rows.d, g = (int32_t)blockIdx.y, row0 = (int32_t)blockIdx.x * R;
    const int32_t tid = (int32_t)threadIdx.x, rows = head_rows(a);
    layout at = layout_of(d, R, true);
    float *m = shared + at.acc, *l = m + MAX_ROWS, *o = l + MAX_ROWS;
    load_queries<R>(shared + at.q, a, g, row0);
    for (int32_t i = tid; i < R * d; i += THREADS) o[i] = 0;
    if (tid < R) {
        m[tid] = -INFINITY;
        l[tid] = 0;
    }
    int32_t group = a.rows.n_heads / a.rows.n_kv_heads;
    int32_t last = a.rows.own[(min(row0 + R, rows) - 1) / group];
    for (int32_t page = 0; page <= last; page++) {
        block_keys b = keys_of<D>(a, page, g);
        int32_t visible[R];
#pragma unroll
        for (int r = 0; r < R; r++) visible[r] = sees(a, row0 + r, page, b.n);
        attend_block<D, R>(shared, at, d, b, visible);
        __syncthreads();
        for (int32_t i = tid; i < R * d; i += THREADS) {
            int32_t r = i / d;
            float most = fmaxf(fmaxf(m[r], shared[at.m + r]), QU_SCORE_FLOOR);
            o[i] = fmaf(o[i], expf(m[r] - most),
                        shared[at.work + i] * expf(shared[at.m + r] - most));
        }
        __syncthreads();
        if (tid < R) {
            float mp = shared[at.m + tid], most = fmaxf(fmaxf(m[tid], mp), QU_SCORE_FLOOR);
            l[tid] = fmaf(l[tid], expf(m[tid] - most), shared[at.l + tid] * expf(mp - most));
            m[tid] = fmaxf(m[tid], mp);
        }
    }
    __syncthreads();
    for (int32_t i = tid; i < R * d && row0 + i / d < rows; i += THREADS)
        a.out[query_at(a, g, row0 + i / d) + i % d] = l[i / d] > 0 ? o[i] / l[i / d] : 0;
}

/* --- launchers --- */

int64_t qu_cuda_attend_floats(const qu_cuda_attend *a, int32_t n_rows)
{
    return (int64_t)n_rows * a->rows.n_heads * (page_parts(*a) + far_parts(*a)) * (a->rows.d + 2);
}

/* f(a constant): head sizes that have kernels of their own, 0 for the others. */
template <class F> static void with_head_size(int32_t d, F f)
{
    switch (d) {
    case 64: f(std::integral_constant<int, 64>()); break;
    case 80: f(std::integral_constant<int, 80>()); break;
    case 96: f(std::integral_constant<int, 96>()); break;
    case 128: f(std::integral_constant<int, 128>()); break;
    default: f(std::integral_constant<int, 0>());
    }
}

template <int D, int R> static void launch_split(cudaStream_t stream, const qu_cuda_attend &a, int32_t rows)
{
    size_t bytes = (size_t)layout_of(a.rows.d, R, false).floats * sizeof(float);
    dim3 grid((unsigned)(page_parts(a) + far_parts(a)), (unsigned)a.rows.n_kv_heads, blocks_of(rows, R));
    auto *kernel = attend_split<D, R>;
    qu_cuda_want_shared(kernel, bytes);
    QU_LAUNCH(kernel, grid, THREADS, bytes, stream, a);
}

static qu_status check(const qu_cuda_attend *a, qu_err *err)
{
    if (a->rows.d % 8 != 0 || a->rows.d > 256)
        return qu_fail(err, QU_ERR_ARG, "no CUDA attention for heads of %d: a multiple of 8 up to 256",
                       a->rows.d);
    return QU_OK;
}

qu_status qu_cuda_attend_split(qu_cuda *cu, const qu_cuda_attend *a, qu_err *err)
{
    QU_TRY(check(a, err));
    if (a->rows.n <= 0) return QU_OK;
    cudaStream_t stream = qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE);
    int32_t rows = a->rows.n * (a->rows.n_heads / a->rows.n_kv_heads);
    with_head_size(a->rows.d, [&](auto t) {
        const int D = decltype(t)::value;
        if (rows == 1)
            launch_split<D, 1>(stream, *a, rows);
        else if (rows <= 4)
            launch_split<D, 4>(stream, *a, rows);
        else
            launch_split<D, 8>(stream, *a, rows);
    });
    QU_TRY(qu_cuda_launched(cu, "attend_split", err));
    size_t bytes = (size_t)(page_parts(*a) + far_parts(*a) + THREADS / QU_WARP) * sizeof(float);
    qu_cuda_want_shared(merge, bytes);
    dim3 grid((unsigned)rows, (unsigned)a->rows.n_kv_heads);
    QU_TRY_LAUNCH(merge, grid, THREADS, bytes, *a);
    return QU_OK;
}

qu_status qu_cuda_attend_direct(qu_cuda *cu, const qu_cuda_attend *a, qu_err *err)
{
    QU_TRY(check(a, err));
    if (a->rows.n <= 0) return QU_OK;
    cudaStream_t stream = qu_cuda_raw_stream(cu, QU_CUDA_COMPUTE);
    int32_t rows = a->rows.n * (a->rows.n_heads / a->rows.n_kv_heads);
    size_t bytes = (size_t)layout_of(a->rows.d, 8, true).floats * sizeof(float);
    dim3 grid(blocks_of(rows, 8), (unsigned)a->rows.n_kv_heads);
    with_head_size(a->rows.d, [&](auto t) {
        auto *kernel = attend_direct<decltype(t)::value, 8>;
        qu_cuda_want_shared(kernel, bytes);
        QU_LAUNCH(kernel, grid, THREADS, bytes, stream, *a);
    });
    return qu_cuda_launched(cu, "attend_direct", err);
}
