#include "kernels/cuda/weights.cuh"

static matrix matrix_of(const void *w, int type, int64_t n)
{
    layout l = layout_of(type);
    const uint8_t *p = (const uint8_t *)w;
    return {p, p + n / l.block * l.bulk};
}

/* f(a constant) for a type known at run time. */
template <class F> static qu_status with_type(int type, F f)
{
    switch (type) {
#define CASE(name, block, bytes)                                                                   \
    case QU_TYPE_##name: return f(std::integral_constant<int, QU_TYPE_##name>());
        QU_TYPES(CASE)
#undef CASE
    default: return QU_OK;
    }
}

/* --- products of few rows --- */

/* One row: small blocks, two on a multiprocessor, so that one of the next kernel fits beside them
 * (QU_LET_NEXT_START). Up to eight rows: one large block, so that x is put into shared memory
 * seldom. A warp takes R weight rows at once. */
enum { ROWS = 8, DENSE_WARPS = 4 };
static constexpr __host__ __device__ int warps_of(int t)
{
    return t == 1 ? 8 : 16;
}
static constexpr __host__ __device__ int blocks_of_rows(int t)
{
    return t == 1 ? 2 : 1;
}
/* Shared memory of a block, such that blocks_of_rows fit an sm_90; first of all the weights that
 * are on their way: AHEAD steps of each warp, and what is left for x. */
static constexpr __host__ __device__ int shared_bytes_of(int t)
{
    return (t == 1 ? 112 : 160) << 10;
}
template <int TYPE, int T, int R> struct ring {
    static constexpr int step = R * QU_WARP * traits<TYPE>::bytes;
    static constexpr int fit = (60 << 10) / step / warps_of(T), most = fit > 6 ? 6 : fit;
    static constexpr int AHEAD = T > 1 ? 2 : most < 3 ? 3 : most;
    static constexpr int bytes = AHEAD * step * warps_of(T);
};

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

/* x in shared memory. For dense weights: floats, a gap of four behind each 32, so that a quarter of
 * a warp reads from all banks. For quants: sixteen elements as integers of 24 bits times a power of
 * two (step), in three arrays of their high, middle and low bytes, so that their products with
 * quants are sums of integers, exact in any order; and in a fourth array step and the sum of the
 * sixteen. */
struct sixteen {
    float step, sum;
};
template <int TYPE> static __host__ __device__ __forceinline__ int32_t stage_bytes(int32_t e)
{
    return traits<TYPE>::dense ? (e + e / 32 * 4 + 4) * 4
                               : (e + 255) / 256 * 16 * (48 + (int32_t)sizeof(sixteen));
}
/* Where the sixteen i lie: in each 256 elements first those of units' first halves, then those of
 * second halves. */
template <int TYPE> QU_DEVICE int32_t place_of(uint32_t i)
{
    constexpr uint32_t each = traits<TYPE>::at.apart / 16;
    return (int32_t)(i / 16 * 16 + i / each % 2 * 8 + i % 16 / (2 * each) * each + i % each);
}

QU_DEVICE void stage_sixteen(uint4 *high, uint4 *middle, uint4 *low, sixteen *of, const float *x)
{
    float v[16], most = 0;
    unsigned part[3][4] = {};
    int sum = 0;
    floats8(v, x);
    floats8(v + 8, x + 8);
    for (int i = 0; i < 16; i++) most = isfinite(v[i]) ? fmaxf(most, fabsf(v[i])) : INFINITY;
    int power = min(max((int)(__float_as_uint(most) >> 23), 24), 254); /* most < 2^(power - 126) */
    float step = __uint_as_float((unsigned)(power - 21) << 23);
    float inverse = __uint_as_float((unsigned)(275 - power) << 23);
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
QU_DEVICE void stage_rows(char *to, const products &p, int32_t t0, int32_t rows, int32_t from)
{
    int32_t n = min(p.stage, p.k - from), room = stage_bytes<TYPE>(p.stage);
    int32_t all = (p.stage + 255) / 256 * 16;
    for (int32_t t = 0; t < rows; t++) {
        const float *x = p.x + (int64_t)(t0 + t) * p.k + from;
        char *row = to + t * room;
        if (traits<TYPE>::dense)
            for (int32_t e = (int32_t)threadIdx.x * 4; e < n; e += THREADS * 4)
                *(float4 *)(void *)(row + (e + e / 32 * 4) * 4) = read<float4>(x + e);
        else
            for (int32_t i = (int32_t)threadIdx.x; i < n / 16; i += THREADS) {
                int32_t place = place_of<TYPE>((uint32_t)i);
                uint4 *at = (uint4 *)(void *)row + place;
                sixteen *of = (sixteen *)(void *)((uint4 *)(void *)row + 3 * all) + place;
                stage_sixteen(at, at + all, at + 2 * all, of, x + 16 * i);
            }
    }
}

/* acc += the products of unit `at` (counted from the stage's begin) of R rows with T rows of x. */
template <int TYPE, int T, int R>
QU_DEVICE void multiply_dense(float (&acc)[R][T], const unit (&r)[R], const char *x, int32_t at,
                              int32_t room, int32_t rows)
{
    float q[R][8];
    for (int i = 0; i < R; i++) quants8<TYPE>(q[i], r[i], 0, 0);
#pragma unroll
    for (int t = 0; t < T; t++) {
        if (t >= rows) break;
        float v[8];
        floats8(v, x + at * 32 + at / 4 * 16 + t * room);
        for (int i = 0; i < R; i++) acc[i][t] = dot8(q[i], v, acc[i][t]);
    }
}

template <int TYPE, int T, int R>
QU_DEVICE void multiply_quants(float (&acc)[R][T], const unit (&r)[R], const char *x, int32_t at,
                               int32_t room, int32_t all, int32_t rows)
{
    float scale[R][2], min[R][2];
    int u = at % traits<TYPE>::in_block;
#pragma unroll
    for (int i = 0; i < R; i++) {
        scales_of<TYPE>(r[i], u, scale[i], min[i]);
        for (int h = 0; h < 2; h++)
            min[i][h] = fmaf(scale[i][h], (float)traits<TYPE>::at.plus, min[i][h]);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int q[R][4];
        const char *from = x + (at / 8 * 16 + at % 8 + half * 8) * 16;
        const char *steps = x + all * 48 + (at / 8 * 16 + at % 8 + half * 8) * (int)sizeof(sixteen);
#pragma unroll
        for (int i = 0; i < R; i++)
            for (int j = 0; j < 4; j++) q[i][j] = (int)quants4<TYPE>(r[i], u, half, j);
#pragma unroll
        for (int t = 0; t < T; t++) {
            if (t >= rows) break;
            uint4 part[3];
            for (int l = 0; l < 3; l++) part[l] = read<uint4>(from + t * room + l * all * 16);
            sixteen of = read<sixteen>(steps + t * room);
#pragma unroll
            for (int i = 0; i < R; i++) {
                int s[3] = {0, 0, 0};
#pragma unroll
                for (int j = 0; j < 4; j++)
#pragma unroll
                    for (int l = 0; l < 3; l++)
                        s[l] = __dp4a(q[i][j], (int)word_of(part[l], j), s[l]);
                float sum = fmaf((float)s[0], 65536.0f, (float)(s[1] * 256 + s[2]));
                acc[i][t] = fmaf(scale[i][half] * of.step, sum, acc[i][t]);
                if (traits<TYPE>::at.min || traits<TYPE>::at.plus != 0)
                    acc[i][t] = fmaf(-min[i][half], of.sum, acc[i][t]);
            }
        }
    }
}

/* The R rows of a warp's group: which product, from which row on. With swiglu the second half are
 * the second product's. */
template <int R> struct chosen {
    int32_t of[R], row[R];
};
template <int R> QU_DEVICE chosen<R> choose(const products &p, int32_t group)
{
    constexpr int half = R > 1 ? R / 2 : 1;
    chosen<R> c;
    int32_t of = 0;
    if (p.then != QU_CUDA_SWIGLU)
        while (of < p.n - 1 && group >= (p.of[of].n + R - 1) / R)
            group -= (p.of[of++].n + R - 1) / R;
#pragma unroll
    for (int i = 0; i < R; i++) {
        bool pair = p.then == QU_CUDA_SWIGLU;
        c.of[i] = pair ? i / half : of;
        c.row[i] = pair ? group * half + i % half : group * R + i;
    }
    return c;
}

QU_DEVICE float with_bias(const product &p, float sum, int32_t row)
{
    return p.bias ? sum + p.bias[row] : sum;
}

template <int TYPE, int T, int R>
QU_DEVICE void finish(const float (&acc)[R][T], const products &p, const chosen<R> &c, int32_t t0,
                      int32_t rows, int32_t lane)
{
#pragma unroll
    for (int t = 0; t < T; t++) {
        if (t >= rows) break;
        float sum[R];
        for (int i = 0; i < R; i++) sum[i] = warp_sum(acc[i][t]);
        if (lane > 0) continue;
#pragma unroll
        for (int i = 0; i < R; i++) {
            const product &to = p.of[c.of[i]];
            if (c.row[i] >= to.n) continue;
            float *y = to.y + (int64_t)(t0 + t) * to.n + c.row[i];
            float v = with_bias(to, sum[i], c.row[i]);
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
QU_DEVICE void begin_group(cursor<TYPE, R> &at, const products &p, int32_t group, int32_t lane)
{
    using of = traits<TYPE>;
    at.group = group;
    at.step = 0;
    at.c = choose<R>(p, min(group, p.n_groups - 1));
#pragma unroll
    for (int i = 0; i < R; i++)
        at.block[i] =
            min(at.c.row[i], p.of[at.c.of[i]].n - 1) * (p.k / of::at.block) + lane / of::in_block;
}
template <int TYPE, int R>
QU_DEVICE void start_next(char *to, cursor<TYPE, R> &at, const products &p, int32_t units,
                          int32_t steps, int32_t stride, int32_t lane)
{
    using of = traits<TYPE>;
    if (at.group < p.n_groups) {
        if (at.step * QU_WARP + lane < units)
#pragma unroll
            for (int i = 0; i < R; i++)
                start_unit<TYPE>(to + i * QU_WARP * of::bytes, lane, p.of[at.c.of[i]].w,
                                 at.block[i] + at.step * (QU_WARP / of::in_block),
                                 lane % of::in_block);
        if (++at.step == steps) begin_group(at, p, at.group + stride, lane);
    }
    __pipeline_commit(); /* an empty one counts, too */
}

/* A lane takes a unit, its next one 32 units further on, all in one chain of fused operations; then
 * lanes fold. So the order of a row's sum depends on k alone. Weights are on their way AHEAD steps
 * before they are multiplied, over the ends of rows, and the first ones before the kernel ahead has
 * ended. (Loads into registers ahead of their use do not do: the compiler lets one scoreboard watch
 * over all of them, so that each step waits for the latest.) */
template <int TYPE, int T, int R>
static __global__ void __launch_bounds__(warps_of(T) * QU_WARP, blocks_of_rows(T))
    matvec(const __grid_constant__ products p)
{
    QU_SHARED(shared);
    using of = traits<TYPE>;
    using slots = ring<TYPE, T, R>;
    constexpr int STEP = QU_WARP * of::unit, WARPS = warps_of(T);
    int32_t lane = (int32_t)threadIdx.x % QU_WARP, warp = (int32_t)threadIdx.x / QU_WARP;
    int32_t t0 = (int32_t)blockIdx.x * T, rows = min(T, p.n_rows - t0);
    char *x = (char *)shared + slots::bytes;
    char *slot = (char *)shared + warp * slots::AHEAD * slots::step;
    int32_t units = p.k / of::unit, steps = (units + QU_WARP - 1) / QU_WARP;
    int32_t room = stage_bytes<TYPE>(p.stage), all = (p.stage + 255) / 256 * 16, staged = -1;
    int32_t first = (int32_t)blockIdx.y * WARPS, stride = (int32_t)gridDim.y * WARPS, turn = 0;
    /* the same for all warps of a block */
    int32_t turns = (p.n_groups - first + stride - 1) / stride * steps;
    cursor<TYPE, R> next, now;
    float acc[R][T] = {};
    QU_LET_NEXT_START();
    begin_group(next, p, first + warp, lane);
    now = next;
    for (int a = 0; a < slots::AHEAD; a++)
        start_next(slot + a * slots::step, next, p, units, steps, stride, lane);
    for (int32_t done = 0; done < turns; done++) {
        int32_t e = now.step * STEP;
        if (staged < 0 || e == staged + p.stage || (e == 0 && staged > 0)) {
            if (staged < 0) QU_WAIT_FOR_LAST();
            else __syncthreads();
            stage_rows<TYPE, WARPS * QU_WARP>(x, p, t0, rows, e);
            __syncthreads();
            staged = e;
        }
        int32_t at = (e - staged) / of::unit + lane;
        char *from = slot + turn * slots::step;
        __pipeline_wait_prior(slots::AHEAD - 1);
        if (now.step * QU_WARP + lane < units) {
            unit r[R];
#pragma unroll
            for (int i = 0; i < R; i++)
                take_unit<TYPE>(r[i], from + i * QU_WARP * of::bytes, lane,
                                now.block[i] + now.step * (QU_WARP / of::in_block),
                                lane % of::in_block);
            if (of::dense) multiply_dense<TYPE, T, R>(acc, r, x, at, room, rows);
            else multiply_quants<TYPE, T, R>(acc, r, x, at, room, all, rows);
        }
        start_next(from, next, p, units, steps, stride, lane);
        turn = turn + 1 < slots::AHEAD ? turn + 1 : 0;
        if (++now.step < steps) continue;
        if (now.group < p.n_groups) finish<TYPE, T, R>(acc, p, now.c, t0, rows, lane);
        begin_group(now, p, now.group + stride, lane);
#pragma unroll
        for (int i = 0; i < R; i++)
            for (int t = 0; t < T; t++) acc[i][t] = 0;
    }
}

/* Single rows by weights that need no decoding: a warp a weight row, or a pair of them, and so many
 * warps that nothing need be read ahead. The sums of the kernel above. */
template <int TYPE, int R>
static __global__ void __launch_bounds__(DENSE_WARPS *QU_WARP)
    matvec_dense(const __grid_constant__ products p)
{
    int32_t lane = (int32_t)threadIdx.x % QU_WARP, row = (int32_t)blockIdx.y;
    int32_t group = (int32_t)blockIdx.x * DENSE_WARPS + (int32_t)threadIdx.x / QU_WARP;
    QU_LET_NEXT_START();
    QU_WAIT_FOR_LAST();
    if (group >= p.n_groups) return; /* a whole warp */
    chosen<R> c = choose<R>(p, group);
    float acc[R][1] = {};
    for (int32_t at = lane; at < p.k / 8; at += QU_WARP) {
        float x[8], v[8];
        unit r;
        floats8(x, p.x + (int64_t)row * p.k + at * 8);
#pragma unroll
        for (int i = 0; i < R; i++) {
            load_unit<TYPE>(r, p.of[c.of[i]].w, (int64_t)c.row[i] * (p.k / 8) + at, 0);
            quants8<TYPE>(v, r, 0, 0);
            acc[i][0] = dot8(v, x, acc[i][0]);
        }
    }
    finish<TYPE, 1, R>(acc, p, c, row, 1, lane);
}

/* --- eight elements a thread --- */

enum { UNIT_THREADS = 256 };

/* The elements of thread `at` of a matrix, and where they stand in it. */
template <int TYPE>
QU_DEVICE int64_t elements_of(float v[8], const matrix &w, int64_t at)
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
    int64_t from = (int64_t)ids[blockIdx.y] * k;
    int64_t to = elements_of<TYPE>(v, table, from / 8 + at) - from;
    for (int j = 0; j < 8; j++) x[(int64_t)blockIdx.y * k + to + j] = v[j];
}

/* Two bytes a thread. */
static __global__ void repack(uint16_t *out, const uint16_t *in, layout l, int64_t first, int64_t n,
                              int64_t all)
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
        return qu_fail(err, QU_ERR_ARG, "no CUDA kernel for %d elements of type %d a row", k, type);
    return QU_OK;
}

static void count_groups(products *p, int r)
{
    p->n_groups = 0;
    if (p->then == QU_CUDA_SWIGLU) p->n_groups = (int32_t)blocks_of(p->of[0].n, r / 2);
    else
        for (int32_t i = 0; i < p->n; i++) p->n_groups += (int32_t)blocks_of(p->of[i].n, r);
}

template <int TYPE, int R>
static qu_status launch_dense(qu_cuda *cu, products *p, qu_err *err)
{
    auto *matvec_r = matvec_dense<TYPE, R>;
    count_groups(p, R);
    dim3 grid(blocks_of(p->n_groups, DENSE_WARPS), (unsigned)p->n_rows);
    QU_TRY_EARLY(matvec_r, grid, DENSE_WARPS * QU_WARP, 0, *p);
    return QU_OK;
}

template <int TYPE, int T, int R>
static qu_status launch(qu_cuda *cu, products *p, qu_err *err)
{
    using slots = ring<TYPE, T, R>;
    const int there = qu_cuda_shared(cu), most = shared_bytes_of(T);
    int32_t fits = ((there < most ? there : most) - slots::bytes) / T;
    int32_t step = QU_WARP * traits<TYPE>::unit;
    p->stage = (p->k + 255) / 256 * 256;
    for (; stage_bytes<TYPE>(p->stage) > fits; p->stage = (p->stage - 1) / step * step) {}
    count_groups(p, R);
    unsigned blocks = blocks_of(p->n_groups, warps_of(T));
    unsigned at_once = (unsigned)(blocks_of_rows(T) * qu_cuda_processors(cu));
    dim3 grid(blocks_of(p->n_rows, T), blocks < at_once ? blocks : at_once);
    size_t bytes = slots::bytes + (size_t)T * (size_t)stage_bytes<TYPE>(p->stage);
    auto *matvec_t = matvec<TYPE, T, R>;
    qu_cuda_want_shared(matvec_t, bytes);
    QU_TRY_EARLY(matvec_t, grid, warps_of(T) * QU_WARP, bytes, *p);
    return QU_OK;
}

qu_status qu_cuda_matvec(qu_cuda *cu, const qu_cuda_product *of, int32_t n, int type,
                         qu_cuda_then then, const float *x, int32_t n_rows, int32_t k, qu_err *err)
{
    QU_TRY(check(type, k, err));
    if (n < 1 || n > 3 || (then == QU_CUDA_SWIGLU && (n != 2 || of[0].n != of[1].n)))
        return qu_fail(err, QU_ERR_ARG, "no CUDA kernel for %d products at once", n);
    if (n_rows <= 0) return QU_OK;
    products p = {};
    p.n = n, p.then = then, p.x = x, p.n_rows = n_rows, p.k = k;
    for (int32_t i = 0; i < n; i++)
        p.of[i] = {of[i].y, of[i].bias, matrix_of(of[i].w, type, (int64_t)of[i].n * k), of[i].n};
    return with_type(type, [&](auto t) {
        constexpr int TYPE = decltype(t)::value;
        if (n_rows > 1 && qu_cuda_shared(cu) >= shared_bytes_of(ROWS))
            return launch<TYPE, ROWS, 2>(cu, &p, err);
        if constexpr (!traits<TYPE>::dense) return launch<TYPE, 1, 2>(cu, &p, err);
        else if (then == QU_CUDA_SWIGLU) return launch_dense<TYPE, 2>(cu, &p, err);
        else return launch_dense<TYPE, 1>(cu, &p, err);
    });
}

qu_status qu_cuda_dequant_bf16(qu_cuda *cu, void *out, const void *w, int type, int32_t n,
                               int32_t k, qu_err *err)
{
    QU_TRY(check(type, k, err));
    const int64_t all = (int64_t)n * k / 8;
    matrix m = matrix_of(w, type, all * 8);
    return with_type(type, [&](auto t) {
        auto *dequant = dequant_bf16<decltype(t)::value>;
        unsigned blocks = blocks_of(all, UNIT_THREADS);
        QU_TRY_LAUNCH(dequant, blocks, UNIT_THREADS, 0, (uint16_t *)out, m, all);
        return QU_OK;
    });
}

qu_status qu_cuda_embed(qu_cuda *cu, float *x, const void *table, int type, const int32_t *ids,
                        int32_t n_rows, int32_t n, int32_t k, qu_err *err)
{
    QU_TRY(check(type, k, err));
    if (n_rows <= 0) return QU_OK;
    matrix m = matrix_of(table, type, (int64_t)n * k);
    dim3 grid(blocks_of(k / 8, UNIT_THREADS), (unsigned)n_rows);
    return with_type(type, [&](auto t) {
        auto *embed_type = embed<decltype(t)::value>;
        QU_TRY_LAUNCH(embed_type, grid, UNIT_THREADS, 0, x, m, ids, k);
        return QU_OK;
    });
}

int64_t qu_cuda_weights_bytes(int type, int64_t n)
{
    return qu_type_bytes((qu_type)type, n) + 4; /* the last head is read by words */
}

qu_status qu_cuda_put_weights(qu_cuda *cu, void *to, const void *blocks, int type, int64_t n,
                              void *stage, int64_t stage_bytes, qu_err *err)
{
    layout l = layout_of(type);
    if (l.head == 0)
        return qu_cuda_upload(cu, QU_CUDA_COMPUTE, to, blocks, qu_type_bytes((qu_type)type, n),
                              err);
    int64_t all = n / l.block, bytes = l.bulk + l.head, most = stage_bytes / bytes;
    for (int64_t first = 0; first < all; first += most) {
        int64_t some = all - first < most ? all - first : most;
        QU_TRY(qu_cuda_upload(cu, QU_CUDA_COMPUTE, stage, (const char *)blocks + first * bytes,
                              some * bytes, err));
        QU_TRY_LAUNCH(repack, blocks_of(some * bytes / 2, UNIT_THREADS), UNIT_THREADS, 0,
                      (uint16_t *)to, (const uint16_t *)stage, l, first, some, all);
    }
    return QU_OK;
}

qu_status qu_cuda_to_bf16(qu_cuda *cu, void *out, const float *x, int32_t rows, int32_t rows_out,
                          int32_t k, qu_err *err)
{
    int64_t n = (int64_t)rows * k, n_out = (int64_t)rows_out * k;
    QU_TRY_LAUNCH(cast_bf16, blocks_of(n_out, UNIT_THREADS), UNIT_THREADS, 0, (uint16_t *)out, x, n,
                  n_out);
    return QU_OK;
}
