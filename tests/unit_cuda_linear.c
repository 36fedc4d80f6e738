/* Rows and products on a device against the CPU's references. */
#include "kernels/linear.h"
#include "decode/sample.h"
#include "kernels/rows.h"
#include "tests/cuda_parity.h"

/* --- rows --- */

static double check_rmsnorm(void)
{
    static const int32_t widths[] = {8, 64, 80, 576, 4100};
    double w = 0;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (int32_t rows = 1; rows <= 3; rows += 2) {
            int32_t n = widths[i];
            float *x = randoms(rows * n, 3), *g = randoms(n, 1), *y = host(rows * n * 4),
                  *want = host(n * 4);
            void *dx = put(x, rows * n * 4), *dg = put(g, n * 4);
            TEST_OK(qu_cuda_rmsnorm(cu, dx, dx, dg, rows, n, 1e-5f, err));
            get(y, dx, rows * n * 4);
            for (int32_t r = 0; r < rows; r++) {
                qu_rows_rmsnorm_ref(want, x + r * n, g, n, 1e-5f);
                w = fmax(w, worst(y + r * n, want, n));
            }
        }
    return w;
}

static double check_swiglu(void)
{
    enum { N = 1000 };
    float *a = randoms(N, 8), *b = randoms(N, 2), y[N];
    a[0] = -200, a[1] = 200;
    void *da = put(a, N * 4), *db = put(b, N * 4);
    TEST_OK(qu_cuda_swiglu(cu, da, db, N, err));
    get(y, da, N * 4);
    qu_rows_swiglu_ref(a, b, N);
    return worst(y, a, N) / 200;
}

static double check_add_bias(void)
{
    enum { ROWS = 3, N = 300 };
    float *a = randoms(ROWS * N, 8), *b = randoms(N, 2), y[ROWS * N];
    void *da = put(a, sizeof y);
    TEST_OK(qu_cuda_add_bias(cu, da, put(b, N * 4), ROWS, N, err));
    get(y, da, sizeof y);
    for (int i = 0; i < ROWS * N; i++) a[i] += b[i % N];
    return worst(y, a, ROWS * N);
}

static double check_greedy(void)
{
    enum { ROWS = 6, N = 5000 };
    float *x = randoms(ROWS * N, 3);
    qu_cuda_choice got[ROWS];
    double w = 0;
    x[N + 4321] = x[N + 17] = x[N + 17 + 2048] = 9; /* equals: the lowest */
    x[2 * N + N - 1] = 40, x[3 * N] = 40; /* the last, the first */
    x[4 * N + 99] = NAN, x[5 * N + 3] = -INFINITY;
    void *out = room(sizeof got);
    TEST_OK(qu_cuda_greedy(cu, out, put(x, ROWS * N * 4), ROWS, N, err));
    get(got, out, sizeof got);
    for (int r = 0; r < 4; r++) {
        int32_t id = qu_sample_greedy(x + r * N, N);
        w = fmax(w, got[r].id == id
                        ? fabs((double)got[r].share / qu_sample_share(x + r * N, N, id) - 1)
                        : INFINITY);
    }
    return got[4].id == -1 && got[5].id == -1 ? w : INFINITY;
}

/* --- linear --- */

#define TYPE(name, block, bytes) QU_TYPE_##name,
static const int types[] = {QU_TYPES(TYPE)};
enum { N_TYPES = sizeof types / sizeof *types };

/* Random bits whose halves (scales) are of moderate size. */
static uint8_t *random_blocks(int type, int64_t n)
{
    int64_t bytes = qu_type_bytes(type, n);
    uint8_t *b = host(bytes);
    assert_non_null(b);
    if (type == QU_TYPE_F32 || type == QU_TYPE_F16 || type == QU_TYPE_BF16) {
        float *x = randoms(n, 1);
        qu_quant_ref(b, x, type, n);
        return b;
    }
    for (int64_t i = 0; i < bytes; i++) b[i] = (uint8_t)test_random(&seed);
    int32_t each = qu_type_block_bytes(type);
    int32_t at[2] = {0, type == QU_TYPE_Q4_1 || type == QU_TYPE_Q5_1 || type == QU_TYPE_Q4_K ||
                                type == QU_TYPE_Q5_K
                            ? 2
                            : 0};
    if (type == QU_TYPE_Q2_K) at[0] = 80, at[1] = 82;
    if (type == QU_TYPE_Q3_K) at[0] = at[1] = 108;
    if (type == QU_TYPE_Q6_K) at[0] = at[1] = 208;
    for (int64_t i = 0; i < bytes; i += each)
        for (int j = 0; j < 2; j++) {
            uint16_t h = qu_f32_to_f16(.01f * test_uniform(&seed));
            memcpy(b + i + at[j], &h, 2);
        }
    return b;
}

/* Through a stage that is smaller than they are. */
static void *put_weights(const void *blocks, int type, int64_t n)
{
    enum { STAGE = 1000 };
    void *to = room(qu_cuda_weights_bytes(type, n));
    TEST_OK(qu_cuda_put_weights(cu, to, blocks, type, n, room(STAGE), STAGE, err));
    return to;
}

static double check_embed(void)
{
    double w = 0;
    for (int i = 0; i < N_TYPES; i++) {
        enum { V = 5, K = 512, ROWS = 3 };
        static const int32_t ids[ROWS] = {4, 0, 2};
        uint8_t *b = random_blocks(types[i], V * K);
        float x[ROWS * K], want[K];
        void *dx = room(sizeof x);
        TEST_OK(qu_cuda_embed(cu, dx, put_weights(b, types[i], V * K), types[i],
                              put(ids, sizeof ids), ROWS, V, K, err));
        get(x, dx, sizeof x);
        for (int r = 0; r < ROWS; r++) {
            qu_dequant_ref(want, b + qu_type_bytes(types[i], K) * ids[r], types[i], K);
            w = larger(w, differing(x + r * K, want, sizeof want), "%s, row %d",
                       qu_type_name(types[i]), r);
        }
    }
    return w;
}

static double check_dequant_bf16(void)
{
    double w = 0;
    for (int i = 0; i < N_TYPES; i++) {
        enum { N = 3, K = 768 };
        uint8_t *b = random_blocks(types[i], N * K);
        float x[N * K];
        uint16_t y[N * K], want[N * K];
        void *dy = room(sizeof y);
        TEST_OK(qu_cuda_dequant_bf16(cu, dy, put_weights(b, types[i], N * K), types[i], N, K, err));
        get(y, dy, sizeof y);
        qu_dequant_ref(x, b, types[i], N * K);
        qu_quant_ref(want, x, QU_TYPE_BF16, N * K);
        w = larger(w, differing(y, want, sizeof want), "%s", qu_type_name(types[i]));
    }
    return w;
}

/* Two or three products, of n, n + 3 and 2 rows, and what is done with them. */
typedef struct together {
    qu_cuda_product of[3];
    float *y[3], *want[3], *bias[3];
    uint8_t *w[3];
    int32_t n_of, n[3], k;
    int type;
} together;

static together make_products(int type, int32_t n, int32_t k, int32_t rows, int32_t n_of,
                              bool alike)
{
    together p = {.n_of = n_of, .k = k, .type = type};
    for (int32_t i = 0; i < n_of; i++) {
        p.n[i] = alike || i == 0 ? n : i == 1 ? n + 3 : 2;
        p.w[i] = random_blocks(type, (int64_t)p.n[i] * k);
        p.bias[i] = randoms(p.n[i], 1);
        p.y[i] = randoms((int64_t)rows * p.n[i], 1);
        p.want[i] = host((int64_t)rows * p.n[i] * 4);
        p.of[i] = (qu_cuda_product){put(p.y[i], (int64_t)rows * p.n[i] * 4),
                                    put_weights(p.w[i], type, (int64_t)p.n[i] * k),
                                    put(p.bias[i], p.n[i] * 4), p.n[i]};
    }
    return p;
}

/* Error as a share of the largest, which is what rounding scales with. */
static double matvec_error(int type, int32_t n, int32_t k, int32_t rows, int32_t n_of,
                           qu_cuda_then then)
{
    together p = make_products(type, n, k, rows, n_of, then == QU_CUDA_SWIGLU);
    float *x = randoms((int64_t)rows * k, 1), *dx = put(x, (int64_t)rows * k * 4);
    double e = 0;
    TEST_OK(qu_cuda_matvec(cu, p.of, n_of, type, then, dx, rows, k, err));
    for (int32_t i = 0; i < n_of; i++) {
        qu_weight w = {p.w[i], (qu_type)type, p.n[i], k};
        qu_linear_job job = {&w, p.bias[i], p.want[i], p.n[i]};
        qu_linear_ref(&job, x, k, rows);
    }
    if (then == QU_CUDA_SWIGLU) qu_rows_swiglu_ref(p.want[0], p.want[1], (int64_t)rows * n);
    for (int32_t i = 0; i < (then == QU_CUDA_SWIGLU ? 1 : n_of); i++) {
        int64_t all = (int64_t)rows * p.n[i];
        float most = 0, *got = host(all * 4), *one = host(p.n[i] * 4);
        if (then == QU_CUDA_ADD)
            for (int64_t j = 0; j < all; j++) p.want[i][j] += p.y[i][j];
        for (int64_t j = 0; j < all; j++) most = fmaxf(most, fabsf(p.want[i][j]));
        get(got, p.of[i].y, all * 4);
        e = larger(e, worst(got, p.want[i], all) / most,
                   "%s, %d rows by %d x %d, product %d of %d, then %d", qu_type_name(type), rows,
                   p.n[i], k, i, n_of, then);
        for (int32_t r = 0; then == QU_CUDA_STORE && r < rows; r += 3) { /* alone: the same bits */
            TEST_OK(qu_cuda_matvec(cu, &p.of[i], 1, type, then, dx + (int64_t)r * k, 1, k, err));
            get(one, p.of[i].y, p.n[i] * 4);
            if (memcmp(one, got + (int64_t)r * p.n[i], (size_t)p.n[i] * 4))
                e = larger(e, INFINITY, "%s, row %d alone", qu_type_name(type), r);
        }
    }
    return e;
}

static double check_matvec(void)
{
    double w = 0;
    for (int i = 0; i < N_TYPES; i++) {
        w = fmax(w, matvec_error(types[i], 9, 768, 1, 1, QU_CUDA_STORE));
        w = fmax(w, matvec_error(types[i], 6, 512, 11, 1, QU_CUDA_STORE));
        w = fmax(w, matvec_error(types[i], 5, 3328, 2, 1, QU_CUDA_STORE)); /* more than is staged */
    }
    /* less than a warp's stride, more rows than blocks take at once */
    w = fmax(w, matvec_error(QU_TYPE_F32, 5, 40, 16, 1, QU_CUDA_STORE));
    w = fmax(w, matvec_error(QU_TYPE_BF16, 70, 24, 3, 1, QU_CUDA_STORE));
    w = fmax(w, matvec_error(QU_TYPE_Q4_1, 3, 21504, 1, 1, QU_CUDA_STORE));
    return fmax(w, matvec_error(QU_TYPE_Q8_0, 5, 4096, 2, 1, QU_CUDA_STORE));
}

static double check_fused(void)
{
    static const qu_cuda_then then[] = {QU_CUDA_STORE, QU_CUDA_ADD, QU_CUDA_SWIGLU};
    double w = 0;
    for (int i = 0; i < 3; i++)
        for (int32_t rows = 1; rows <= 3; rows += 2) {
            w = fmax(w, matvec_error(QU_TYPE_Q8_0, 35, 256, rows, then[i] == QU_CUDA_SWIGLU ? 2 : 3,
                                     then[i]));
            w = fmax(w, matvec_error(QU_TYPE_Q4_K, 7, 512, rows, 2, then[i]));
        }
    return w;
}

static double check_gemm(void)
{
    enum { ROWS = 5, PADDED = 8, N = 7, K = 64 };
    float *x = randoms(ROWS * K, 1), *wt = randoms(N * K, 1), y[PADDED * N];
    uint16_t wb[N * K];
    qu_quant_ref(wb, wt, QU_TYPE_BF16, N * K);
    void *dx = put(x, ROWS * K * 4), *db = room(PADDED * K * 2), *dy = room(sizeof y);
    TEST_OK(qu_cuda_to_bf16(cu, db, dx, ROWS, PADDED, K, err));
    void *dw = put(wb, sizeof wb);
    TEST_OK(qu_cuda_gemm(cu, dy, db, dw, PADDED, N, K, false, err));
    TEST_OK(qu_cuda_gemm(cu, dy, db, dw, PADDED, N, K, true, err)); /* twice as much */
    get(y, dy, sizeof y);
    double w = 0;
    for (int r = 0; r < PADDED; r++)
        for (int i = 0; i < N; i++) {
            double sum = 0;
            for (int k = 0; r < ROWS && k < K; k++)
                sum += (double)qu_bf16_to_f32(qu_f32_to_bf16(x[r * K + k])) *
                       qu_bf16_to_f32(wb[i * K + k]);
            w = fmax(w, fabs(2 * sum - y[r * N + i]));
        }
    return w;
}

/* --- the table --- */

static const parity_entry TABLE[] = {
    {"rmsnorm", "qu_rows_rmsnorm_ref", 2e-6, check_rmsnorm},
    {"swiglu", "qu_rows_swiglu_ref", 2e-7, check_swiglu},
    {"greedy", "qu_sample_greedy, qu_sample_share", 1e-5, check_greedy},
    {"add_bias", "sums", 0, check_add_bias},
    {"embed, 15 types", "qu_dequant_ref", 0, check_embed},
    {"dequant_bf16, 15 types", "qu_dequant_ref, qu_quant_ref", 0, check_dequant_bf16},
    {"matvec, 15 types", "qu_linear_ref", 2e-6, check_matvec},
    {"matvec, together", "the same, sums, qu_rows_swiglu_ref", 2e-6, check_fused},
    {"to_bf16, gemm", "sums of doubles", 2e-6, check_gemm},
};

int main(void)
{
    return parity_main(TABLE, (int)(sizeof TABLE / sizeof *TABLE));
}
