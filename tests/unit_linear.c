/* kernels/linear.h with every weight type: registers against the reference, rows alone and in
 * company, on every instruction set; products in bytes. The blocks are random bytes with scales of
 * sane size. */
#include "tests/testing.h"

#include "kernels/isa.h"
#include "kernels/linear.h"
#include "kernels/ops_simd.h"

static const qu_type types[] = {QU_TYPE_F32,  QU_TYPE_F16,  QU_TYPE_BF16, QU_TYPE_Q4_0,
                                QU_TYPE_Q4_1, QU_TYPE_Q5_0, QU_TYPE_Q5_1, QU_TYPE_Q8_0,
                                QU_TYPE_Q2_K, QU_TYPE_Q3_K, QU_TYPE_Q4_K, QU_TYPE_Q5_K,
                                QU_TYPE_Q6_K, QU_TYPE_IQ4_NL, QU_TYPE_IQ4_XS};
enum { N_TYPES = sizeof types / sizeof *types };

static uint64_t seed = 5;

static void put_half(uint8_t *p, float scale)
{
    uint16_t h = qu_f32_to_f16(scale * (1.5f + test_uniform(&seed)));
    memcpy(p, &h, 2);
}

/* n elements of any bytes, whose values are of size 1. */
static uint8_t *random_blocks(qu_type type, int64_t n)
{
    int64_t bytes = qu_type_bytes(type, n), block = qu_type_block_bytes(type);
    uint8_t *b = malloc((size_t)bytes);
    for (int64_t i = 0; i < bytes; i++) b[i] = (uint8_t)test_random(&seed);
    if (qu_type_block(type) == 1) {
        float *x = malloc((size_t)n * sizeof *x);
        for (int64_t i = 0; i < n; i++) x[i] = test_uniform(&seed);
        qu_quant_ref(b, x, type, n);
        free(x);
        return b;
    }
    for (uint8_t *p = b; p < b + bytes; p += block) {
        int at = type == QU_TYPE_Q2_K   ? 80
                 : type == QU_TYPE_Q3_K ? 108
                 : type == QU_TYPE_Q6_K ? 208
                                        : 0;
        bool two = type == QU_TYPE_Q4_1 || type == QU_TYPE_Q5_1 || type == QU_TYPE_Q2_K ||
                   type == QU_TYPE_Q4_K || type == QU_TYPE_Q5_K;
        bool by_one = qu_type_block(type) == 32, bytes8 = type == QU_TYPE_Q8_0;
        float scale = bytes8 || type == QU_TYPE_IQ4_NL ? 1.0f / 127
                      : by_one                         ? 1.0f / 16
                                                       : 1.0f / 1000;
        put_half(p + at, type == QU_TYPE_IQ4_XS ? scale / 8 : scale);
        if (two) put_half(p + at + 2, scale);
    }
    return b;
}

static const qu_linear_ops *ops(void)
{
    return QU_ISA_PICK(qu_linear_ops);
}

static void each_isa(void (*body)(void))
{
    qu_isa before = qu_isa_current();
    for (int i = 0; i < QU_ISA_COUNT; i++)
        if (qu_isa_force((qu_isa)i)) body();
        else print_message("skipped: this processor has no %s\n", qu_isa_name((qu_isa)i));
    qu_isa_force(before);
}

static void dequant_is_exact(void)
{
    for (int t = 0; t < N_TYPES; t++) {
        int64_t n = types[t] == QU_TYPE_F16 ? 1021 : 256 * 40; /* single elements: also a tail */
        uint8_t *b = random_blocks(types[t], n);
        float *want = malloc((size_t)n * 4), *x = malloc((size_t)n * 4);
        qu_dequant_ref(want, b, types[t], n);
        ops()->dequant(x, b, types[t], n);
        for (int64_t i = 0; i < n; i++)
            if (memcmp(x + i, want + i, 4) != 0)
                fail_msg("%s %s: element %lld is %a, not %a", qu_isa_name(qu_isa_current()),
                         qu_type_name(types[t]), (long long)i, (double)x[i], (double)want[i]);
        free(b);
        free(want);
        free(x);
    }
}

static void test_dequant(void **state)
{
    (void)state;
    each_isa(dequant_is_exact);
}

/* 1 to 9 rows of x against the double reference; each row alone has the same bits, of x and of
 * W. */
static void products(qu_type type, int32_t n, int32_t k)
{
    enum { ROWS = 9 };
    uint8_t *data = random_blocks(type, (int64_t)n * k);
    qu_weight w = {data, type, n, k};
    float *seen = malloc(ROWS * (size_t)k * 4), *x = malloc(ROWS * (size_t)k * 4);
    float *right = malloc(ROWS * (size_t)n * 4);
    float *one = malloc((size_t)n * 4), *y = malloc(ROWS * (size_t)n * 4);
    for (int64_t i = 0; i < (int64_t)ROWS * k; i++) x[i] = test_uniform(&seed);
    qu_linear_job job = {&w, NULL, right, n};
    for (int64_t t = 0; t < ROWS; t++)
        if (qu_linear_in_bytes(type)) qu_linear_round_ref(seen + t * k, x + t * k, k);
        else memcpy(seen + t * k, x + t * k, (size_t)k * 4);
    qu_linear_ref(&job, seen, k, ROWS);
    for (int32_t rows = 1; rows <= ROWS; rows++) {
        job.y = y;
        qu_linear_question(NULL, &job, 1, x, k, rows);
        for (int64_t i = 0; i < (int64_t)rows * n; i++)
            if (fabs((double)y[i] - right[i]) > 4e-6 * sqrt(k))
                fail_msg("%s: %lld is %g, not %g", qu_type_name(type), (long long)i, (double)y[i],
                         (double)right[i]);
        for (int32_t t = 0; t < rows; t++) {
            job.y = one;
            qu_linear_question(NULL, &job, 1, x + (int64_t)t * k, k, 1);
            assert_memory_equal(one, y + (int64_t)t * n, (size_t)n * 4);
        }
    }
    for (int32_t i = 0; i < n; i++) {
        qu_weight alone = {data + i * qu_type_bytes(type, k), type, 1, k};
        job = (qu_linear_job){&alone, NULL, right, 1};
        qu_linear_question(NULL, &job, 1, x, k, ROWS);
        for (int32_t t = 0; t < ROWS; t++) assert_memory_equal(&right[t], &y[t * n + i], 4);
    }
    free(data);
    free(x);
    free(seen);
    free(right);
    free(one);
    free(y);
}

static void every_product(void)
{
    for (int t = 0; t < N_TYPES; t++) {
        products(types[t], 1, 256);
        products(types[t], 7, 512);
        products(types[t], 37, 1280);
    }
    products(QU_TYPE_Q8_0, 5, 96); /* no whole 256 */
    products(QU_TYPE_IQ4_NL, 5, 32);
    for (int32_t k = 32; k <= 320; k += 32) {
        products(QU_TYPE_Q4_0, 5, k);
        products(QU_TYPE_Q5_0, 5, k);
    }
    products(QU_TYPE_Q4_0, 2, 1 << 17); /* x in bytes comes in pieces */
    products(QU_TYPE_F16, 5, 172);     /* a tail */
    products(QU_TYPE_Q4_1, 2, 1 << 17); /* a row that does not fit the buffer twice */
}

static void test_products(void **state)
{
    (void)state;
    each_isa(every_product);
}

enum { WIDE = 608 };

/* x in bytes is what the reference says, to the bit; what is no number stays none. */
static void rounds(void)
{
    float x[WIDE], right[WIDE];
    qu_linear_bytes b[3];
    for (int turn = 0; turn < 4; turn++) {
        for (int i = 0; i < WIDE; i++) x[i] = test_uniform(&seed) * (i / 32 % 3 ? 1e-3f : 40);
        memset(x + 64, 0, 128);
        x[70] = -1e-31f; /* counts as nothing */
        if (turn) x[40] = turn == 1 ? NAN : turn == 2 ? INFINITY : -INFINITY;
        ops()->round(b, x, WIDE);
        qu_linear_round_ref(right, x, WIDE);
        for (int i = 0; i < WIDE; i++) {
            const qu_linear_bytes *p = &b[i / 256];
            int run = i / 32 % 8, at = run / 4 * 128 + i / 16 % 2 * 64 + run % 4 * 16 + i % 16;
            float got = p->scale[run] * p->q[at], sum = 0;
            assert_true(turn && i / 32 == 1 ? isnan(got) && isnan(right[i]) : got == right[i]);
            assert_true(fabsf(got - x[i]) <= fabsf(p->scale[run]) * .5001f || isnan(got) ||
                        i == 70);
            for (int j = i / 32 * 32; j < i / 32 * 32 + 32; j++) sum -= right[j];
            assert_true(fabsf(p->minus_sum[run] - sum) <= 1e-4f * 127 * p->scale[run] ||
                        isnan(got));
        }
        for (int i = WIDE; i < 768; i++) assert_true(b[2].scale[i / 32 % 8] == 0);
        qu_weight w = {random_blocks(QU_TYPE_Q5_0, 3 * WIDE), QU_TYPE_Q5_0, 3, WIDE};
        float y[3];
        qu_linear_job job = {&w, NULL, y, 3};
        qu_linear_question(NULL, &job, 1, x, WIDE, 1);
        for (int i = 0; i < 3; i++) assert_true(isfinite(y[i]) == !turn);
        free((void *)w.data);
    }
}

static void test_rounds(void **state)
{
    (void)state;
    each_isa(rounds);
}

/* Rounding to bf16 is qu_f32_to_bf16's: ties, denormals, infinities and NaNs too, any bits at all. */
static void bf16_is_exact(void)
{
    enum { COUNT = 20011 };
    static float x[COUNT];
    static uint16_t got[COUNT];
    static const uint32_t edges[] = {0,          0x80000000, 1,          0x7f800000, 0xff800000,
                                     0x7f800001, 0x7fffffff, 0xffc00000, 0x7f7fffff, 0x3f808000,
                                     0x3f818000, 0x3f808001, 0x0000ffff, 0x007fffff};
    for (int i = 0; i < COUNT; i++) {
        uint32_t u = (uint32_t)test_random(&seed);
        if (i < (int)(sizeof edges / sizeof *edges)) u = edges[i];
        memcpy(x + i, &u, sizeof u);
    }
    ops()->to_bf16(got, x, COUNT);
    for (int i = 0; i < COUNT; i++) assert_int_equal(got[i], qu_f32_to_bf16(x[i]));
}

static void test_bf16(void **state)
{
    (void)state;
    each_isa(bf16_is_exact);
}

/* The two sets with vectors add whole numbers in the same lanes: the same bits. */
static void test_sets_agree(void **state)
{
    (void)state;
    enum { N = 21, K = 1280, ROWS = 7 };
    qu_isa before = qu_isa_current();
    float *x = malloc(ROWS * K * 4), *y[2] = {malloc(ROWS * N * 4), malloc(ROWS * N * 4)};
    for (int i = 0; i < ROWS * K; i++) x[i] = test_uniform(&seed);
    for (int t = 0; t < N_TYPES; t++) {
        if (!qu_linear_in_bytes(types[t])) continue;
        uint8_t *data = random_blocks(types[t], N * K);
        qu_weight w = {data, types[t], N, K};
        int done = 0;
        for (int i = 0; i < 2; i++) {
            qu_linear_job job = {&w, NULL, y[i], N};
            if (!qu_isa_force(i ? QU_ISA_AVX512 : QU_ISA_AVX2)) continue;
            qu_linear_question(NULL, &job, 1, x, K, ROWS);
            done++;
        }
        if (done == 2) assert_memory_equal(y[0], y[1], ROWS * N * 4);
        free(data);
    }
    qu_isa_force(before);
    free(x);
    free(y[0]);
    free(y[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dequant),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_sets_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
