/* Choosing pages on the device: the multipole policy of retrieve/policy.c, from the summaries to each head's
 * list of segments. */
#include "kernels/cuda/common.cuh"
#include "kernels/summary.h"

enum { THREADS = 128, ROWS = 8, SENSE_TOKENS = 64, CUT_THREADS = 256 };

/* --- a page's summaries into their columns: a block a (layer, KV head) --- */

static __global__ void __launch_bounds__(THREADS)
    place_summary(qu_cuda_clusters c, const char *summary, const qu_cuda_page *pages,
                  const int32_t *rope_rows, qu_cuda_rope r, int32_t clusters, int64_t bytes,
                  int32_t candidate, int32_t col, int32_t d)
{
    int32_t slice = (int32_t)blockIdx.x, half = d / 2;
    const uint32_t *count = (const uint32_t *)(const void *)(summary + slice * bytes);
    const uint16_t *key = (const uint16_t *)(const void *)(count + clusters);
    const uint16_t *value = key + clusters * d, *spread = value + clusters * d;
    qu_cuda_page page = *pages;
    int64_t at = (rope_rows ? (int64_t)rope_rows[slice] : 0) * (half + 1) * page.n_pad;
    int64_t to = (int64_t)slice * c.n + col;
    for (int32_t i = (int32_t)threadIdx.x; i < clusters * half; i += THREADS) {
        int32_t k = i / half, j = i % half, a, b;
        pair_dims(r, j, &a, &b);
        float x = from_half(key[k * d + a]), y = from_half(key[k * d + b]);
        int64_t angle = at + (int64_t)j * page.n_pad;
        if (j < r.n_dims / 2) turn(&x, &y, page.cos[angle], page.sin[angle]);
        c.key[(to + k) * d + a] = to_half(x);
        c.key[(to + k) * d + b] = to_half(y);
        c.spread[(to + k) * half + j] = spread[i];
    }
    for (int32_t i = (int32_t)threadIdx.x; i < clusters * d; i += THREADS)
        c.value[to * d + i] = value[i];
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
                  qu_summary_bytes(page_tokens, d), candidate, col, d);
    return QU_OK;
}

/* --- sensing --- */

typedef struct sense_args {
    qu_cuda_clusters c; /* of the layer */
    const float *q;     /* [T,H,D] from the first token of the block on */
    int32_t n_heads, n_kv_heads, d, rows; /* rows: tokens times heads of a group */
    qu_cuda_rope rope;
    float *logits, *m, *l, *mass; /* [G,rows,C], [G,rows], [G,rows], [G,C] */
} sense_args;

static __device__ __forceinline__ const float *query_of(const sense_args &a, int32_t g, int32_t row)
{
    int32_t group = a.n_heads / a.n_kv_heads;
    return a.q + ((int64_t)(row / group) * a.n_heads + (int64_t)g * group + row % group) * a.d;
}

/* A thread a cluster, ROWS queries at a time: q . mean + ln(count) + what the spread is worth, as
 * qu_attend_mass has it. */
static __global__ void __launch_bounds__(THREADS) sense_logits(sense_args a)
{
    QU_SHARED(memory);
    const int32_t d = a.d, half = d / 2, g = (int32_t)blockIdx.y, row0 = (int32_t)blockIdx.z * ROWS;
    float *q = (float *)memory, *q2 = q + ROWS * d;
    const int32_t rows = min((int32_t)ROWS, a.rows - row0);
    for (int32_t i = (int32_t)threadIdx.x; i < ROWS * d; i += THREADS)
        q[i] = i / d < rows ? query_of(a, g, row0 + i / d)[i % d] : 0;
    __syncthreads();
    for (int32_t i = (int32_t)threadIdx.x; i < ROWS * half; i += THREADS) {
        int32_t r = i / half, x, y;
        pair_dims(a.rope, i % half, &x, &y);
        q2[i] = fmaf(q[r * d + x], q[r * d + x], q[r * d + y] * q[r * d + y]);
    }
    __syncthreads();
    const int32_t c = (int32_t)blockIdx.x * THREADS + (int32_t)threadIdx.x;
    if (c >= a.c.n) return;
    const uint4 *key = (const uint4 *)(const void *)(a.c.key + ((int64_t)g * a.c.n + c) * d);
    const uint2 *spread = (const uint2 *)(const void *)(a.c.spread + ((int64_t)g * a.c.n + c) * half);
    float s[ROWS], v[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) s[r] = v[r] = 0;
    for (int32_t i = 0; i < d / 8; i++) {
        float k[8];
        halves8(k, key[i]);
#pragma unroll
        for (int r = 0; r < ROWS; r++) s[r] = dot8(q + r * d + i * 8, k, s[r]);
    }
    for (int32_t i = 0; i < half / 4; i++) {
        uint2 u = spread[i];
        const uint16_t h[4] = {(uint16_t)u.x, (uint16_t)(u.x >> 16), (uint16_t)u.y, (uint16_t)(u.y >> 16)};
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            for (int j = 0; j < 4; j++) v[r] = fmaf(q2[r * half + i * 4 + j], from_half(h[j]), v[r]);
    }
    float bias = a.c.bias[(int64_t)g * a.c.n + c], most = sqrtf(2 * fmaxf(bias, 0.0f));
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        float sd = sqrtf(fmaxf(v[r], 0.0f)), t = fminf(sd, most);
        if (r < rows)
            a.logits[((int64_t)g * a.rows + row0 + r) * a.c.n + c] = s[r] + bias + t * (sd - .5f * t);
    }
}

static __device__ __forceinline__ float weight_of(float logit, float floor)
{
    return logit == logit ? expf(logit - floor) : 0;
}

/* A block a (row, KV head): maximum and sum. */
static __global__ void __launch_bounds__(THREADS) sense_stats(sense_args a)
{
    QU_SHARED(memory);
    float *fold = (float *)memory, top = -INFINITY, sum = 0;
    const int64_t row = (int64_t)blockIdx.y * a.rows + blockIdx.x;
    const float *x = a.logits + row * a.c.n;
    const int32_t tid = (int32_t)threadIdx.x;
    for (int32_t i = tid; i < a.c.n; i += THREADS) top = fmaxf(top, x[i]);
    top = fmaxf(block_max<THREADS>(top, fold), QU_SCORE_FLOOR);
    for (int32_t i = tid; i < a.c.n; i += THREADS) sum += weight_of(x[i], top);
    sum = block_sum<THREADS>(sum, fold);
    if (tid > 0) return;
    a.m[row] = top;
    a.l[row] = sum > 0 ? 1 / sum : 0;
}

/* A thread a cluster: its share of every row, rows in order. */
static __global__ void __launch_bounds__(THREADS) sense_mass(sense_args a)
{
    const int32_t c = (int32_t)blockIdx.x * THREADS + (int32_t)threadIdx.x, g = (int32_t)blockIdx.y;
    if (c >= a.c.n) return;
    float sum = a.mass[(int64_t)g * a.c.n + c];
    for (int32_t r = 0; r < a.rows; r++) {
        int64_t row = (int64_t)g * a.rows + r;
        sum += weight_of(a.logits[row * a.c.n + c], a.m[row]) * a.l[row];
    }
    a.mass[(int64_t)g * a.c.n + c] = sum;
}

static __global__ void __launch_bounds__(THREADS)
    sense_score(float *score, const float *mass, qu_cuda_clusters c, float n_rows)
{
    const int32_t p = (int32_t)blockIdx.x * THREADS + (int32_t)threadIdx.x, g = (int32_t)blockIdx.y;
    if (p >= c.n_pages) return;
    float sum = 0;
    for (int32_t i = c.first[p]; i < c.first[p + 1]; i++) sum += mass[(int64_t)g * c.n + i] / n_rows;
    score[(int64_t)g * c.n_pages + p] = sum;
}

int64_t qu_cuda_sense_floats(int32_t n_clusters, int32_t n_rows, int32_t n_heads,
                             int32_t n_kv_heads)
{
    int64_t tokens = n_rows < SENSE_TOKENS ? n_rows : SENSE_TOKENS;
    return (int64_t)n_kv_heads * n_clusters + tokens * n_heads * (n_clusters + 2ll);
}

qu_status qu_cuda_sense(qu_cuda *cu, float *score, const qu_cuda_clusters *c, const float *q,
                        const qu_cuda_rows *rows, int32_t layer, float *scratch, qu_err *err)
{
    int32_t g_n = rows->n_kv_heads, d = rows->d, group = rows->n_heads / g_n;
    int64_t before = (int64_t)layer * g_n * c->n;
    sense_args a = {*c,     q,       rows->n_heads, g_n,     d,
                    0,      rows->rope, NULL,       NULL,    NULL,
                    scratch};
    a.c.key += before * d;
    a.c.spread += before * (d / 2);
    a.c.bias += before;
    QU_TRY(qu_cuda_zero(cu, QU_CUDA_COMPUTE, a.mass, (int64_t)g_n * c->n * 4, err));
    dim3 columns(blocks_of(c->n, THREADS), (unsigned)g_n);
    for (int32_t t = 0; t < rows->n; t += SENSE_TOKENS) {
        int32_t n = rows->n - t < SENSE_TOKENS ? rows->n - t : SENSE_TOKENS;
        a.q = q + (int64_t)t * rows->n_heads * d;
        a.rows = n * group;
        a.m = a.mass + (int64_t)g_n * c->n;
        a.l = a.m + (int64_t)g_n * a.rows;
        a.logits = a.l + (int64_t)g_n * a.rows;
        dim3 tiles(columns.x, (unsigned)g_n, blocks_of(a.rows, ROWS));
        size_t queries = (size_t)ROWS * (size_t)(d + d / 2) * sizeof(float);
        QU_TRY_LAUNCH(sense_logits, tiles, THREADS, queries, a);
        dim3 per_row((unsigned)a.rows, (unsigned)g_n);
        QU_TRY_LAUNCH(sense_stats, per_row, THREADS, THREADS / QU_WARP * sizeof(float), a);
        QU_TRY_LAUNCH(sense_mass, columns, THREADS, 0, a);
    }
    dim3 pages(blocks_of(c->n_pages, THREADS), (unsigned)g_n);
    QU_TRY_LAUNCH(sense_score, pages, THREADS, 0, score, a.mass, *c, (float)rows->n * (float)group);
    return QU_OK;
}

/* --- the cut: a block a KV head --- */

/* Ascending keys: descending density, then ascending page. */
static __device__ __forceinline__ uint64_t sort_key(float density, int32_t page)
{
    unsigned u = __float_as_uint(density == density ? density : -1.0f);
    u ^= u >> 31 ? 0xffffffffu : 0x80000000u;
    return (uint64_t)~u << 32 | (unsigned)page;
}

static __global__ void __launch_bounds__(CUT_THREADS)
    cut(uint8_t *chosen, const float *score, const int32_t *tokens, const uint8_t *all, int32_t n,
        int32_t n_pow2, int64_t budget)
{
    QU_SHARED(memory);
    uint64_t *key = (uint64_t *)(void *)memory;
    const int32_t g = (int32_t)blockIdx.x, g_n = (int32_t)gridDim.x, tid = (int32_t)threadIdx.x;
    const bool takes_all = all && all[g];
    for (int32_t i = tid; i < n_pow2; i += CUT_THREADS)
        key[i] = i < n ? sort_key(score[(int64_t)g * n + i] / (float)tokens[i], i) : ~(uint64_t)0;
    for (int32_t size = 2; size <= n_pow2; size *= 2)
        for (int32_t step = size / 2; step > 0; step /= 2) {
            __syncthreads();
            for (int32_t i = tid; i < n_pow2; i += CUT_THREADS) {
                int32_t j = i ^ step;
                if (j < i) continue;
                uint64_t x = key[i], y = key[j];
                if ((x > y) == ((i & size) == 0)) {
                    key[i] = y;
                    key[j] = x;
                }
            }
        }
    for (int32_t i = tid; i < n; i += CUT_THREADS) chosen[i * g_n + g] = takes_all;
    __syncthreads();
    if (tid > 0 || takes_all) return;
    int64_t spent = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t page = (int32_t)(key[i] & 0xffffffffu), t = tokens[page];
        if (i > 0 && spent + t > budget) continue;
        spent += t;
        chosen[page * g_n + g] = 1;
    }
}

qu_status qu_cuda_cut(qu_cuda *cu, uint8_t *chosen, const float *score, const int32_t *tokens,
                      const uint8_t *all, int32_t n_pages, int32_t n_kv_heads, int64_t budget,
                      qu_err *err)
{
    if (n_pages <= 0) return QU_OK;
    if (n_pages > QU_CUDA_CUT_PAGES)
        return qu_fail(err, QU_ERR_ARG, "%d candidate pages: the device chooses among %d at most; use --pages",
                       n_pages, (int)QU_CUDA_CUT_PAGES);
    int32_t n_pow2 = 2;
    while (n_pow2 < n_pages) n_pow2 *= 2;
    QU_TRY_LAUNCH(cut, (unsigned)n_kv_heads, CUT_THREADS, (size_t)n_pow2 * sizeof(uint64_t), chosen,
                  score, tokens, all, n_pages, n_pow2, budget);
    return QU_OK;
}

/* --- each head's list: a warp a KV head --- */

static __global__ void __launch_bounds__(QU_WARP)
    lists(int32_t *list, int32_t *count, const int32_t *candidate, const uint8_t *chosen, int32_t n)
{
    const int32_t g = (int32_t)blockIdx.x, g_n = (int32_t)gridDim.x, lane = (int32_t)threadIdx.x;
    int32_t to = 0;
    for (int32_t from = 0; from < n; from += QU_WARP) {
        int32_t i = from + lane, c = i < n ? candidate[i] : 0;
        bool in = i < n && (c < 0 || chosen[c * g_n + g]);
        unsigned takes = __ballot_sync(0xffffffffu, in);
        if (in) list[(int64_t)g * n + to + __popc(takes & ((1u << lane) - 1))] = i;
        to += __popc(takes);
    }
    if (lane == 0) count[g] = to;
}

qu_status qu_cuda_lists(qu_cuda *cu, int32_t *list, int32_t *count, const int32_t *candidate,
                        const uint8_t *chosen, int32_t n_segments, int32_t n_kv_heads, qu_err *err)
{
    QU_TRY_LAUNCH(lists, (unsigned)n_kv_heads, QU_WARP, 0, list, count, candidate, chosen, n_segments);
    return QU_OK;
}
