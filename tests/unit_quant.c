/* kernels/quant.h: sizes and names, every half and bfloat16 value, and the published block vectors.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/os.h"
#include "kernels/quant.h"

/* Read a file of the test data; false, with the reason printed, when the data is absent. */
static bool data_file(qu_buf *b, const char *name)
{
    const char *root = getenv("QUIRE_DATA");
    char path[512];
    qu_err err;
    snprintf(path, sizeof path, "%s/quant-vectors/%s", root ? root : "../shared/data", name);
    b->len = 0;
    if (qu_os_read(b, path, 1 << 20, &err) == QU_OK) return true;
    print_message("skip: %s\n", err.msg);
    return false;
}

static void test_sizes(void **state)
{
    (void)state;
    assert_int_equal(qu_type_bytes(QU_TYPE_Q4_0, 64), 36);
    assert_int_equal(qu_type_bytes(QU_TYPE_Q8_0, 64), 68);
    assert_int_equal(qu_type_bytes(QU_TYPE_F32, 3), 12);
    assert_int_equal(qu_type_bytes(QU_TYPE_BF16, 0), 0);
    assert_int_equal(qu_type_bytes(QU_TYPE_Q8_0, 33), -1);
    assert_int_equal(qu_type_bytes(QU_TYPE_Q8_0, -32), -1);
    assert_int_equal(qu_type_bytes(QU_TYPE_F32, INT64_MAX), -1);
    assert_int_equal(qu_type_bytes(QU_TYPE_Q4_K, 512), 288);
    assert_int_equal(qu_type_bytes(QU_TYPE_Q6_K, 32), -1);
    assert_int_equal(qu_type_bytes(16, 256), -1);
    assert_int_equal(qu_type_block(QU_TYPE_Q4_0), 32);
    assert_int_equal(qu_type_block(-1), 0);
    assert_int_equal(qu_type_block_bytes(1 << 30), 0);
}

static void test_names(void **state)
{
    (void)state;
    const struct {
        int type;
        const char *name;
        bool runs;
    } want[] = {{0, "F32", true},    {1, "F16", true},       {2, "Q4_0", true},
                {3, "Q4_1", true},   {8, "Q8_0", true},      {12, "Q4_K", true},
                {14, "Q6_K", true},  {16, "IQ2_XXS", false}, {23, "IQ4_XS", true},
                {28, "F64", false},  {30, "BF16", true},     {35, "TQ2_0", false},
                {39, "MXFP4", false}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        assert_string_equal(qu_type_known_name(want[i].type), want[i].name);
        if (want[i].runs)
            assert_string_equal(qu_type_name(want[i].type), want[i].name);
        else
            assert_null(qu_type_name(want[i].type));
    }
    assert_null(qu_type_known_name(-1));
    assert_null(qu_type_known_name(1000));
}

/* Every half: exact value by ldexp, and the way back. */
static void test_f16_all(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = qu_f16_to_f32((uint16_t)h);
        int e = h >> 10 & 31, m = h & 1023;
        if (e == 31 && m) {
            assert_true(isnan(f));
            assert_true(isnan(qu_f16_to_f32(qu_f32_to_f16(f))));
            continue;
        }
        double want = e == 31 ? INFINITY : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
        assert_true(f == (float)want * (h & 0x8000 ? -1.0f : 1.0f));
        assert_true(!signbit(f) == !(h & 0x8000));
        assert_int_equal(qu_f32_to_f16(f), h);
    }
}

/* Halves round to the nearest, ties to even, with the neighbours found by value. */
static void test_f16_rounds(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7bff; h++) {
        float low = qu_f16_to_f32((uint16_t)h), high = qu_f16_to_f32((uint16_t)(h + 1));
        float mid = (low + high) / 2;
        assert_int_equal(qu_f32_to_f16(mid), h & 1 ? h + 1 : h);
        assert_int_equal(qu_f32_to_f16(nextafterf(mid, 0)), h);
        assert_int_equal(qu_f32_to_f16(nextafterf(mid, 1e9f)), h + 1);
        assert_int_equal(qu_f32_to_f16(-nextafterf(mid, 1e9f)), 0x8000 | (h + 1));
    }
    assert_int_equal(qu_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(qu_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(qu_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(qu_f32_to_f16(1e-30f), 0);
}

static void test_bf16(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = qu_bf16_to_f32((uint16_t)h);
        if (isnan(f)) {
            assert_true(isnan(qu_bf16_to_f32(qu_f32_to_bf16(f))));
            continue;
        }
        assert_int_equal(qu_f32_to_bf16(f), h);
    }
    assert_int_equal(qu_f32_to_bf16(1.00390625f), 0x3f80); /* tie, to even: down */
    assert_int_equal(qu_f32_to_bf16(1.01171875f), 0x3f82); /* tie, to even: up */
    assert_int_equal(qu_f32_to_bf16(1.00390637f), 0x3f81);
    assert_int_equal(qu_f32_to_bf16(3.4e38f), 0x7f80);
}

static void test_dequant_vectors(void **state)
{
    (void)state;
    const int types[] = {QU_TYPE_Q4_0, QU_TYPE_Q4_1, QU_TYPE_Q5_0, QU_TYPE_Q5_1,
                         QU_TYPE_Q8_0, QU_TYPE_Q2_K, QU_TYPE_Q3_K, QU_TYPE_Q4_K,
                         QU_TYPE_Q5_K, QU_TYPE_Q6_K, QU_TYPE_IQ4_NL, QU_TYPE_IQ4_XS};
    qu_buf blocks = {0}, want = {0};
    char name[64];
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        snprintf(name, sizeof name, "%s.blocks.bin", qu_type_name(types[i]));
        if (!data_file(&blocks, name)) break;
        snprintf(name, sizeof name, "%s.f32.bin", qu_type_name(types[i]));
        if (!data_file(&want, name)) break;
        int64_t n = (int64_t)(want.len / sizeof(float));
        assert_int_equal(qu_type_bytes(types[i], n), blocks.len);
        float *x = malloc(want.len);
        qu_dequant_ref(x, blocks.data, types[i], n);
        for (int64_t k = 0; k < n; k++)
            if (memcmp(x + k, want.data + 4 * k, 4) != 0)
                fail_msg("%s: element %lld is %a", qu_type_name(types[i]), (long long)k,
                         (double)x[k]);
        free(x);
    }
    qu_buf_free(&blocks);
    qu_buf_free(&want);
}

static void test_quant_vectors(void **state)
{
    (void)state;
    const int types[] = {QU_TYPE_F16,  QU_TYPE_BF16, QU_TYPE_Q4_0, QU_TYPE_Q4_1,
                         QU_TYPE_Q5_0, QU_TYPE_Q5_1, QU_TYPE_Q8_0};
    qu_buf in = {0}, want = {0};
    char name[64];
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        snprintf(name, sizeof name, "quantised_%s.bin", qu_type_name(types[i]));
        if (!data_file(&in, "quantise_input_10x256.f32.bin") || !data_file(&want, name)) break;
        int64_t n = (int64_t)(in.len / sizeof(float));
        assert_int_equal(qu_type_bytes(types[i], n), want.len);
        uint8_t *b = malloc(want.len);
        qu_quant_ref(b, (const float *)(const void *)in.data, types[i], n);
        if (memcmp(b, want.data, want.len) != 0) fail_msg("%s differs", name);
        free(b);
    }
    qu_buf_free(&in);
    qu_buf_free(&want);
}

/* Zeros, NaN and infinities give some block and no undefined behaviour; what a block can say
 * survives. */
static void test_quant_edges(void **state)
{
    (void)state;
    float x[64] = {0}, y[64];
    uint8_t b[256];
    const int types[] = {QU_TYPE_F32,  QU_TYPE_F16,  QU_TYPE_BF16, QU_TYPE_Q4_0,
                         QU_TYPE_Q8_0, QU_TYPE_Q4_1, QU_TYPE_Q5_0, QU_TYPE_Q5_1};
    for (int k = 0; k < 8; k++) {
        qu_quant_ref(b, x, types[k], 64);
        qu_dequant_ref(y, b, types[k], 64);
        for (int i = 0; i < 64; i++) assert_true(y[i] == 0);
        for (int i = 0; i < 64; i++) y[i] = i % 3 ? NAN : -INFINITY;
        qu_quant_ref(b, y, types[k], 64);
        qu_dequant_ref(y, b, types[k], 64);
    }
    for (int i = 0; i < 32; i++) x[i] = 0.5f * (float)(i % 16 - 8);
    qu_quant_ref(b, x, QU_TYPE_Q4_0, 32);
    qu_dequant_ref(y, b, QU_TYPE_Q4_0, 32);
    assert_memory_equal(x, y, 32 * sizeof *x);
    for (int i = 0; i < 32; i++) x[i] = 0.25f * (float)(i * 8 - 121);
    qu_quant_ref(b, x, QU_TYPE_Q8_0, 32);
    qu_dequant_ref(y, b, QU_TYPE_Q8_0, 32);
    assert_memory_equal(x, y, 32 * sizeof *x);
    /* Ties of Q8_0 go away from zero. */
    float tie[32] = {127, 0.5f, 2.5f, -0.5f, -2.5f};
    qu_quant_ref(b, tie, QU_TYPE_Q8_0, 32);
    assert_memory_equal(b + 2, ((int8_t[]){127, 1, 3, -1, -3}), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),         cmocka_unit_test(test_names),
        cmocka_unit_test(test_f16_all),       cmocka_unit_test(test_f16_rounds),
        cmocka_unit_test(test_bf16),          cmocka_unit_test(test_dequant_vectors),
        cmocka_unit_test(test_quant_vectors), cmocka_unit_test(test_quant_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
