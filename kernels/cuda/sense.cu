/* Choosing pages on the device: the multipole policy of retrieve/policy.c, from the summaries to
 * each head's list of segments. */
#include "kernels/attend.h"
#include "kernels/cuda/common.cuh"
#include "kernels/summary.h"

enum { THREADS = 128, SENSE_TOKENS = 64, SCORE_PAGES = 8, CUT_THREADS = 512, LIST_THREADS = 1024 };

/* --- a page's summaries into their columns: a block a (layer, KV head) --- */

/* Number i of a summary's cluster, as qu_summary_read has it. range [2,W], byte [C,W]. */
QU_DEVICE float cell(const uint16_t *range, const uint8_t *byte, int32_t width, int32_t cluster,
                     int32_t i)
{
    float lo = from_half(range[i]), step = (from_half(range[width + i]) - lo) / 255;
    return __fadd_rn(lo, __fmul_rn(step, (float)byte[cluster * width + i]));
}

static __global__ void __launch_bounds__(THREADS)
    place_summary(qu_cuda_clusters c, const char *summary, const qu_cuda_page *pages,
                  const int32_t *rope_rows, qu_cuda_rope r, int32_t clusters, int64_t bytes,
                  int32_t width, int32_t candidate, int32_t col, int32_t d)
{
    int32_t slice = (int32_t)blockIdx.x, half = d / 2;
    const uint16_t *range = (const uint16_t *)(const void *)(summary + slice * bytes);
    const uint8_t *byte = (const uint8_t *)(range + 2 * width), *count = byte + clusters * width;
    qu_cuda_page page = *pages;
    int64_t at = (rope_rows ? (int64_t)rope_rows[slice] : 0) * (half + 1) * page.n_pad;
    int64_t to = (int64_t)slice * c.n + col;
    for (int32_t i = (int32_t)threadIdx.x; i < clusters * half; i += THREADS) {
        int32_t k = i / half, j = i % half, a, b;
        pair_dims(r, j, &a, &b);
        float u = cell(range, byte, width, k, a), w = cell(range, byte, width, k, b);
        int64_t angle = at + (int64_t)j * page.n_pad;
        if (j < r.n_dims / 2) turn(&u, &w, page.cos[angle], page.sin[angle]);
        c.key[(to + k) * d + a] = to_half(u);
        c.key[(to + k) * d + b] = to_half(w);
        c.spread[(to + k) * half + j] = to_half(cell(range, byte, width, k, 2 * d + j));
    }
    for (int32_t i = (int32_t)threadIdx.x; i < clusters * d; i += THREADS)
        c.value[to * d + i] = to_half(cell(range, byte, width, i / d, d + i % d));
    for (int32_t k = (int32_t)threadIdx.x; k < clusters; k += THREADS) {
        c.bias[to + k] = count[k] > 0 ? logf((float)count[k]) : -INFINITY;
        if (slice == 0) c.page_of[col + k] = candidate;
    }
}

qu_status qu_cuda_place_summary(qu_cuda *cu, const qu_cuda_clusters *c, const void *summary,
                                const qu_cuda_page *page, const int32_t *rope_rows,
                                qu_cuda_rope rope, int32_t page_tokens, int32_t candidate,
                                int32_t col, int32_t n_layers, int32_t n_kv_heads, int32_t d,
                                qu_err *err)
{
    QU_TRY_LAUNCH(place_summary, (unsigned)(n_layers * n_kv_heads), THREADS, 0, *c,
                  (const char *)summary, page, rope_rows, rope, qu_summary_clusters(page_tokens),
                  qu_summary_bytes(page_tokens, d), qu_summary_width(d), candidate, col, d);
    return QU_OK;
}

/* --- sensing --- */

typedef struct sense_args {
    qu_cuda_clusters c; /* of the layer */
    const float *q;     /* [T,H,D] from the first token of the block on */
    int32_t n_heads, n_kv_heads, d, rows; /* rows: tokens times heads of a group */
    qu_cuda_rope rope;
    float *logits;  /* [G,rows,C] */
    float2 *folds;  /* [G,rows,blocks of THREADS clusters] maximum and sum */
    float *score; /* [G,n_pages], added to from the second block of tokens on */
    int32_t adds;
    float n_rows; /* of all blocks */
} sense_args;

static __host__ __device__ __forceinline__ int32_t folds_of(int32_t clusters)
{
    return (clusters + THREADS - 1) / THREADS;
}

QU_DEVICE const float *query_of(const sense_args &a, int32_t g, int32_t row)
{
    int32_t group = a.n_heads / a.n_kv_heads;
    return a.q + ((int64_t)(row / group) * a.n_heads + (int64_t)g * group + row % group) * a.d;
}

/* A thread a cluster, R queries at a time: q . mean + ln(count) + what the spread is worth, as
 * qu_attend_mass has it; then a warp a query: the block's maximum and sum. */
template <int R> static __global__ void __launch_bounds__(THREADS) sense_logits(sense_args a)
{
    QU_SHARED(memory);
    const int32_t d = a.d, half = d / 2, g = (int32_t)blockIdx.y, row0 = (int32_t)blockIdx.z * R;
    const int32_t tid = (int32_t)threadIdx.x, lane = tid % QU_WARP;
    float *q = (float *)memory, *q2 = q + R * d, *logits = q2 + R * half;
    const int32_t rows = min((int32_t)R, a.rows - row0);
    for (int32_t i = tid; i < R * d; i += THREADS)
        q[i] = i / d < rows ? query_of(a, g, row0 + i / d)[i % d] : 0;
    __syncthreads();
    for (int32_t i = tid; i < R * half; i += THREADS) {
        int32_t r = i / half, x, y;
        pair_dims(a.rope, i % half, &x, &y);
        q2[i] = fmaf(q[r * d + x], q[r * d + x], q[r * d + y] * q[r * d + y]);
    }
    __syncthreads();
    const int32_t c = (int32_t)blockIdx.x * THREADS + tid;
    const int64_t at = (int64_t)g * a.c.n + min(c, a.c.n - 1);
    const uint16_t *key = a.c.key + at * d, *spread = a.c.spread + at * half;
    float s[R], v[R];
    for (int r = 0; r < R; r++) s[r] = v[r] = 0;
#pragma unroll 8
    for (int32_t i = 0; i < d / 8; i++) {
        float k[8];
        halves8(k, read<uint4>(key, i));
        for (int r = 0; r < R; r++) s[r] = dot8(q + r * d + i * 8, k, s[r]);
    }
#pragma unroll 8
    for (int32_t i = 0; i < half / 4; i++) {
        uint2 u = read<uint2>(spread, i);
        const uint32_t h[2] = {u.x, u.y};
        for (int r = 0; r < R; r++)
            for (int j = 0; j < 4; j++) {
                float one = from_half((uint16_t)(h[j / 2] >> j % 2 * 16));
                v[r] = fmaf(q2[r * half + i * 4 + j], one, v[r]);
            }
    }
    float bias = a.c.bias[at], limit = QU_SPREAD_LIMIT * fmaxf(bias, 0.0f);
    for (int r = 0; r < R; r++) {
        float logit = s[r] + bias + sqrtf(limit * (limit + fmaxf(v[r], 0.0f))) - limit;
        logits[r * THREADS + tid] = c < a.c.n ? logit : -INFINITY;
        if (r < rows && c < a.c.n) a.logits[((int64_t)g * a.rows + row0 + r) * a.c.n + c] = logit;
    }
    __syncthreads();
    for (int32_t r = tid / QU_WARP; r < rows; r += THREADS / QU_WARP) {
        float top = -INFINITY, sum = 0;
        const float *row = logits + r * THREADS;
        for (int i = lane; i < THREADS; i += QU_WARP) top = fmaxf(top, row[i]);
        top = fmaxf(warp_max(top), QU_SCORE_FLOOR);
        for (int i = lane; i < THREADS; i += QU_WARP) sum += weight_of(row[i], top);
        sum = warp_sum(sum);
        const int64_t to = ((int64_t)g * a.rows + row0 + r) * folds_of(a.c.n) + blockIdx.x;
        if (lane == 0) a.folds[to] = make_float2(top, sum);
    }
}

/* A block SCORE_PAGES pages, a warp a page at a time: each row's maximum and sum, then the rows'
 * shares of the page's clusters. */
static __global__ void __launch_bounds__(THREADS) sense_score(sense_args a)
{
    QU_SHARED(memory);
    float2 *row_of = (float2 *)(void *)memory; /* [rows] maximum, 1 / sum */
    const int32_t g = (int32_t)blockIdx.y, n = folds_of(a.c.n);
    const int32_t lane = (int32_t)threadIdx.x % QU_WARP, warp = (int32_t)threadIdx.x / QU_WARP;
    const int32_t page0 = (int32_t)blockIdx.x * SCORE_PAGES;
    const int32_t end = min(page0 + SCORE_PAGES, a.c.n_pages);
    for (int32_t r = warp; r < a.rows; r += THREADS / QU_WARP) {
        const float2 *fold = a.folds + ((int64_t)g * a.rows + r) * n;
        float top = -INFINITY, sum = 0;
        for (int32_t i = lane; i < n; i += QU_WARP) top = fmaxf(top, fold[i].x);
        top = warp_max(top);
        for (int32_t i = lane; i < n; i += QU_WARP) sum += fold[i].y * expf(fold[i].x - top);
        sum = warp_sum(sum);
        if (lane == 0) row_of[r] = make_float2(top, sum > 0 ? 1 / sum : 0);
    }
    __syncthreads();
    for (int32_t p = page0 + warp; p < end; p += THREADS / QU_WARP) {
        const int32_t first = a.c.first[p], each = a.c.first[p + 1] - first;
        const float *logits = a.logits + (int64_t)g * a.rows * a.c.n + first;
        float sum = 0;
        for (int32_t i = lane; i < each * a.rows; i += QU_WARP) {
            float2 row = row_of[i / each];
            sum += weight_of(logits[(int64_t)(i / each) * a.c.n + i % each], row.x) * row.y;
        }
        sum = warp_sum(sum) / a.n_rows;
        float *to = a.score + (int64_t)g * a.c.n_pages + p;
        if (lane == 0) *to = a.adds ? *to + sum : sum;
    }
}

int64_t qu_cuda_sense_floats(int32_t n_clusters, int32_t n_rows, int32_t n_heads)
{
    int64_t tokens = n_rows < SENSE_TOKENS ? n_rows : SENSE_TOKENS;
    return tokens * n_heads * (n_clusters + 2ll * folds_of(n_clusters));
}

template <int R> static qu_status sense_block(qu_cuda *cu, const sense_args &a, qu_err *err)
{
    dim3 tiles((unsigned)folds_of(a.c.n), (unsigned)a.n_kv_heads, blocks_of(a.rows, R));
    auto *sense_logits_r = sense_logits<R>;
    QU_TRY_LAUNCH(sense_logits_r, tiles, THREADS, R * (a.d + a.d / 2 + THREADS) * sizeof(float), a);
    return QU_OK;
}

qu_status qu_cuda_sense(qu_cuda *cu, float *score, const qu_cuda_clusters *c, const float *q,
                        const qu_cuda_rows *rows, int32_t layer, float *scratch, qu_err *err)
{
    int32_t g_n = rows->n_kv_heads, d = rows->d, group = rows->n_heads / g_n;
    int64_t before = (int64_t)layer * g_n * c->n;
    const float all = (float)rows->n * (float)group;
    sense_args a = {*c, q, rows->n_heads, g_n, d, 0, rows->rope, NULL, NULL, score, 0, all};
    a.c.key += before * d;
    a.c.spread += before * (d / 2);
    a.c.bias += before;
    for (int32_t t = 0; t < rows->n; t += SENSE_TOKENS) {
        int32_t n = rows->n - t < SENSE_TOKENS ? rows->n - t : SENSE_TOKENS;
        a.q = q + (int64_t)t * rows->n_heads * d;
        a.rows = n * group;
        a.folds = (float2 *)(void *)scratch;
        a.logits = scratch + 2ll * g_n * a.rows * folds_of(c->n);
        a.adds = t > 0;
        QU_TRY(a.rows <= 4 ? sense_block<4>(cu, a, err) : sense_block<8>(cu, a, err));
        dim3 pages(blocks_of(c->n_pages, SCORE_PAGES), (unsigned)g_n);
        QU_TRY_LAUNCH(sense_score, pages, THREADS, (size_t)a.rows * sizeof(float2), a);
    }
    return QU_OK;
}

/* --- the cut: a block a KV head --- */

/* Ascending keys: descending density, then ascending page. */
QU_DEVICE uint64_t sort_key(float density, int32_t page)
{
    unsigned u = __float_as_uint(density == density ? density : -1.0f);
    u ^= u >> 31 ? 0xffffffffu : 0x80000000u;
    return (uint64_t)~u << 32 | (unsigned)page;
}

/* Pages [n] by density, as keys say, are taken while they fit the budget, those that do not are
 * passed over: 32 at a time, by one warp. */
QU_DEVICE void take_pages(uint8_t *chosen, int32_t stride, const uint64_t *key,
                          const int32_t *tokens, int32_t n, int64_t budget)
{
    const int32_t lane = (int32_t)threadIdx.x;
    for (int32_t from = 0; from < n && (from == 0 || budget > 0); from += QU_WARP) {
        const int32_t i = from + lane, page = i < n ? (int32_t)(key[i] & 0xffffffffu) : 0;
        const int32_t t = i < n ? tokens[page] : 0;
        bool open = i < n;
        /* what is too large now stays so */
        while (__ballot_sync(0xffffffffu, open &= i == 0 || t <= budget)) {
            int64_t sum = open ? t : 0; /* with those before it */
            for (int o = 1; o < QU_WARP; o *= 2) {
                int64_t before = __shfl_sync(0xffffffffu, sum, lane < o ? lane : lane - o);
                if (lane >= o) sum += before;
            }
            const unsigned over = __ballot_sync(0xffffffffu, open && i > 0 && sum > budget);
            const bool takes = open && (!over || lane < __ffs((int)over) - 1);
            if (takes) chosen[page * stride] = 1;
            const unsigned taken = __ballot_sync(0xffffffffu, takes);
            const int last = taken ? 31 - __clz((int)taken) : 0;
            budget -= __shfl_sync(0xffffffffu, sum, last) * (taken != 0);
            open &= !takes;
        }
    }
}

static __global__ void __launch_bounds__(CUT_THREADS)
    cut(uint8_t *chosen, const float *score, const int32_t *tokens, const uint8_t *all, int32_t n,
        int32_t n_pow2, int64_t budget)
{
    QU_SHARED(memory);
    uint64_t *key = (uint64_t *)(void *)memory;
    int32_t *page_tokens = (int32_t *)(void *)(key + n_pow2);
    const int32_t g = (int32_t)blockIdx.x, g_n = (int32_t)gridDim.x, tid = (int32_t)threadIdx.x;
    const bool takes_all = all && all[g];
    for (int32_t i = tid; i < n_pow2; i += CUT_THREADS) {
        key[i] = ~(uint64_t)0;
        if (i >= n) continue;
        page_tokens[i] = tokens[i];
        key[i] = sort_key(score[(int64_t)g * n + i] / (float)tokens[i], i);
    }
    for (int32_t size = 2; size <= n_pow2; size *= 2)
        for (int32_t step = size / 2; step > 0; step /= 2) {
            __syncthreads();
            for (int32_t k = tid; k < n_pow2 / 2; k += CUT_THREADS) {
                int32_t i = 2 * k - (k & (step - 1)), j = i + step;
                uint64_t x = key[i], y = key[j];
                if ((x > y) == ((i & size) == 0)) {
                    key[i] = y;
                    key[j] = x;
                }
            }
        }
    for (int32_t i = tid; i < n; i += CUT_THREADS) chosen[i * g_n + g] = takes_all;
    __syncthreads();
    if (tid < QU_WARP && !takes_all) take_pages(chosen + g, g_n, key, page_tokens, n, budget);
}

qu_status qu_cuda_cut(qu_cuda *cu, uint8_t *chosen, const float *score, const int32_t *tokens,
                      const uint8_t *all, int32_t n_pages, int32_t n_kv_heads, int64_t budget,
                      qu_err *err)
{
    if (n_pages <= 0) return QU_OK;
    if (n_pages > QU_CUDA_CUT_PAGES)
        return qu_fail(err, QU_ERR_ARG,
                       "%d candidate pages: the device chooses among %d at most; use --pages",
                       n_pages, (int)QU_CUDA_CUT_PAGES);
    int32_t n_pow2 = 2;
    while (n_pow2 < n_pages) n_pow2 *= 2;
    QU_TRY_LAUNCH(cut, (unsigned)n_kv_heads, CUT_THREADS, (size_t)n_pow2 * 12, chosen,
                  score, tokens, all, n_pages, n_pow2, budget);
    return QU_OK;
}

/* --- each head's list: a block a KV head --- */

static __global__ void __launch_bounds__(LIST_THREADS)
    lists(int32_t *list, int32_t *count, const int32_t *candidate, const uint8_t *chosen, int32_t n)
{
    QU_SHARED(memory);
    int32_t *in_warp = (int32_t *)(void *)memory;
    const int32_t g = (int32_t)blockIdx.x, g_n = (int32_t)gridDim.x, tid = (int32_t)threadIdx.x;
    int32_t to = 0;
    for (int32_t from = 0; from < n; from += LIST_THREADS) {
        const int32_t i = from + tid, warp = tid / QU_WARP, c = i < n ? candidate[i] : 0;
        bool in = i < n && (c < 0 || chosen[c * g_n + g]);
        unsigned takes = __ballot_sync(0xffffffffu, in);
        in_warp[warp] = __popc(takes); /* by every lane */
        __syncthreads();
        int32_t at = to;
        for (int32_t w = 0; w < LIST_THREADS / QU_WARP; w++) {
            at += w < warp ? in_warp[w] : 0;
            to += in_warp[w];
        }
        if (in) list[(int64_t)g * n + at + __popc(takes & ((1u << tid % QU_WARP) - 1))] = i;
        __syncthreads();
    }
    if (tid == 0) count[g] = to;
}

qu_status qu_cuda_lists(qu_cuda *cu, int32_t *list, int32_t *count, const int32_t *candidate,
                        const uint8_t *chosen, int32_t n_segments, int32_t n_kv_heads, qu_err *err)
{
    QU_TRY_LAUNCH(lists, (unsigned)n_kv_heads, LIST_THREADS, LIST_THREADS / QU_WARP * 4, list,
                  count, candidate, chosen, n_segments);
    return QU_OK;
}
