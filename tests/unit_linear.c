/* kernels/linear.h with every weight type: registers against the reference, rows alone and in
 * company, on every instruction set. The blocks are random bytes with scales of sane size. */
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
    uint8_t *b = malloc((size_t)bytes + 4096);
    for (int64_t i = 0; i < bytes; i++) b[i] = (uint8_t)test_random(&seed);
    if (qu_type_block(type) == 1) {
        float *x = malloc((size_t)n * sizeof *x);
        for (int64_t i = 0; i < n; i++) x[i] = test_uniform(&seed);
        qu_quant_ref(b, x, type, n);
        free(x);
        return b;
    }
    for (uint8_t *p = b; p < b + bytes; p += block) {
        int at = type == QU_TYPE_Q2_K ? 80 : type == QU_TYPE_Q3_K ? 108 : type == QU_TYPE_Q6_K ? 208 : 0;
        bool two = type == QU_TYPE_Q4_1 || type == QU_TYPE_Q5_1 || type == QU_TYPE_Q2_K ||
                   type == QU_TYPE_Q4_K || type == QU_TYPE_Q5_K;
        bool by_one = qu_type_block(type) == 32, bytes8 = type == QU_TYPE_Q8_0;
        float scale = bytes8 || type == QU_TYPE_IQ4_NL ? 1.0f / 127 : by_one ? 1.0f / 16 : 1.0f / 1000;
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

/* 1 to 9 rows of x against the double reference; each row alone has the same bits, of x and of W. */
static void products(qu_type type, int32_t n, int32_t k)
{
    enum { ROWS = 9 };
    uint8_t *data = random_blocks(type, (int64_t)n * k);
    qu_weight w = {data, type, n, k};
    float *x = malloc(ROWS * (size_t)k * 4), *right = malloc(ROWS * (size_t)n * 4);
    float *one = malloc((size_t)n * 4), *y = malloc(ROWS * (size_t)n * 4);
    for (int64_t i = 0; i < (int64_t)ROWS * k; i++) x[i] = test_uniform(&seed);
    qu_linear_job job = {&w, NULL, right, n};
    qu_linear_ref(&job, x, k, ROWS);
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
    products(QU_TYPE_F16, 5, 172);     /* a tail */
    products(QU_TYPE_Q4_1, 2, 1 << 17); /* a row that does not fit the buffer twice */
}

static void test_products(void **state)
{
    (void)state;
    each_isa(every_product);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dequant),
        cmocka_unit_test(test_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
