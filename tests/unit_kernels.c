/* The parity table: every kernel against its plain reference, over every instruction set of this
 * machine, random and edge shapes, with guard bytes around what is written; and the numerics rule
 * at kernel level. */
#include "tests/testing.h"

#include "base/dims.h"
#include "base/pool.h"
#include "kernels/attend.h"
#include "kernels/codec.h"
#include "kernels/isa.h"
#include "kernels/linear.h"
#include "kernels/rope.h"
#include "kernels/rows.h"
#include "tests/prefill.h"

static uint64_t seed = 2026;
static qu_pool *pool;

enum { GUARD = 64 };

/* n floats between guards; guards are checked by free_guarded. */
static float *guarded(int64_t n)
{
    float *p = malloc((size_t)(n + 2 * GUARD) * sizeof *p);
    for (int i = 0; i < GUARD; i++) p[i] = p[GUARD + n + i] = 12345.678f;
    return p + GUARD;
}

static void free_guarded(float *p, int64_t n)
{
    for (int i = 0; i < GUARD; i++) {
        assert_true(p[-1 - i] == 12345.678f);
        assert_true(p[n + i] == 12345.678f);
    }
    free(p - GUARD);
}

static void fill(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] = test_uniform(&seed);
}

/* Run body once in each instruction set that this processor has. */
static void each_isa(void (*body)(qu_isa))
{
    qu_isa before = qu_isa_current();
    for (qu_isa i = 0; i < QU_ISA_COUNT; i++)
        if (qu_isa_force(i)) body(i);
    qu_isa_force(before);
}

static double worst(const float *a, const float *b, int64_t n)
{
    double e = 0;
    for (int64_t i = 0; i < n; i++) e = fmax(e, fabs((double)a[i] - b[i]));
    return e;
}

/* --- linear layers --- */

static const qu_type types[] = {QU_TYPE_F32, QU_TYPE_F16, QU_TYPE_BF16, QU_TYPE_Q8_0, QU_TYPE_Q4_0};

static qu_weight random_weight(qu_type type, int32_t n, int32_t k)
{
    int64_t row = qu_type_bytes(type, k);
    char *data = malloc((size_t)(row * n) + 64);
    float *x = malloc((size_t)k * sizeof *x);
    for (int32_t i = 0; i < n; i++) {
        fill(x, k);
        qu_quant_ref(data + i * row, x, type, k);
    }
    free(x);
    return (qu_weight){data, type, n, k};
}

/* A float product of k terms of size 1 errs by about sqrt(k) ulp; twice a naive float loop's worst.
 * In bf16, which keeps 8 bits, by sqrt(k) 2^-9 and some. */
static double tolerance(int32_t k, bool rounded)
{
    return (rounded ? .01 : 1.6e-6) * sqrt(k) + (rounded ? .02 : 0);
}

static void linear_shape(qu_type type, int32_t n, int32_t k, int32_t rows)
{
    qu_weight w = random_weight(type, n, k);
    int64_t out = (int64_t)rows * n;
    float *x = malloc((size_t)rows * (size_t)k * 4 + 4), *bias = malloc((size_t)n * 4);
    float *right = guarded(out), *question = guarded(out), *document = guarded(out),
          *one = guarded(n);
    qu_linear_scratch *scratch = NULL;
    fill(x, (int64_t)rows * k);
    fill(bias, n);
    qu_linear_job job = {&w, bias, right, n};
    float *seen = malloc((size_t)rows * (size_t)k * 4 + 4);
    if (qu_linear_in_bytes(type)) qu_linear_round_ref(seen, x, rows * k);
    else memcpy(seen, x, (size_t)rows * (size_t)k * 4);
    qu_linear_ref(&job, seen, k, rows);
    job.y = question;
    qu_linear_question(pool, &job, 1, x, k, rows);
    assert_true(worst(question, right, out) < tolerance(k, false));
    job.y = right;
    if (strcmp(qu_linear_document_name(), "own") != 0) qu_linear_ref(&job, x, k, rows);
    job.y = document;
    TEST_OK(qu_linear_document(pool, &scratch, &job, 1, x, k, rows, err));
    assert_true(worst(document, right, out) < tolerance(k, test_prefill_is_rounded()));
    for (int32_t t = 0; t < rows; t++) { /* a row alone, without the pool: the same bits */
        job.y = one;
        qu_linear_question(NULL, &job, 1, x + (int64_t)t * k, k, 1);
        assert_memory_equal(one, question + (int64_t)t * n, (size_t)n * 4);
    }
    free_guarded(right, out);
    free_guarded(question, out);
    free_guarded(document, out);
    free_guarded(one, n);
    free((void *)w.data);
    free(x);
    free(seen);
    free(bias);
    qu_linear_scratch_free(scratch);
}

static void linear_isa(qu_isa isa)
{
    (void)isa;
    static const int32_t shapes[][2] = {{1, 32},  {3, 64},    {33, 96},
                                        {64, 32}, {130, 160}, {257, 576}};
    static const int32_t rows[] = {1, 2, 3, 4, 5, 7, 16, 33};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            linear_shape(types[t], shapes[s][0], shapes[s][1], rows[(s + t) % 8]);
    for (size_t r = 0; r < 8; r++) linear_shape(QU_TYPE_F16, 19, 172, rows[r]); /* a ragged k */
    linear_shape(QU_TYPE_F32, 5, 1, 3);
    linear_shape(QU_TYPE_Q8_0, 40, 64, 0);
}

static void linear_matches_reference(void **state)
{
    (void)state;
    each_isa(linear_isa);
}

/* Document rows: a row's bits do not depend on its place in a tile or on who else is in it. */
static void document_rows_are_independent(void **state)
{
    (void)state;
    static const int32_t shapes[][2] = {{576, 576},  {192, 576}, {1536, 576},
                                        {576, 1536}, {64, 64},   {100, 2048}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int32_t n = shapes[s][0], k = shapes[s][1], rows = 300;
        qu_weight w = random_weight(QU_TYPE_Q8_0, n, k);
        float *x = malloc((size_t)rows * (size_t)k * 4),
              *all = malloc((size_t)rows * (size_t)n * 4),
              *part = malloc((size_t)rows * (size_t)n * 4);
        qu_linear_scratch *a = NULL, *b = NULL;
        fill(x, (int64_t)rows * k);
        qu_linear_job job = {&w, NULL, all, n};
        TEST_OK(qu_linear_document(pool, &a, &job, 1, x, k, rows, err));
        for (int trial = 0; trial < 12; trial++) {
            int32_t from = (int32_t)(test_random(&seed) % 299),
                    len = 1 + (int32_t)(test_random(&seed) % (uint64_t)(rows - from));
            job.y = part;
            TEST_OK(qu_linear_document(NULL, &b, &job, 1, x + (int64_t)from * k, k, len, err));
            assert_memory_equal(part, all + (int64_t)from * n, (size_t)len * (size_t)n * 4);
        }
        qu_linear_scratch_free(a);
        qu_linear_scratch_free(b);
        free((void *)w.data);
        free(x);
        free(all);
        free(part);
    }
}

/* By each kind of document product, rounded to bf16 or not. */
static void documents_of_every_kind(void **state)
{
    test_each_prefill(linear_matches_reference, state);
    test_each_prefill(document_rows_are_independent, state);
}

/* --- attention --- */

/* A page in attention's layout from keys k [n,d] and values v [n,d]. */
static qu_attend_kv page_of(const float *k, const float *v, int32_t n, int32_t d, int32_t n_pad)
{
    int32_t dp = qu_attend_pad(d);
    float *kt = calloc((size_t)d * (size_t)n_pad, 4), *vv = calloc((size_t)n_pad * (size_t)dp, 4);
    for (int32_t i = 0; i < n; i++)
        for (int32_t c = 0; c < d; c++) {
            kt[c * n_pad + i] = k[i * d + c];
            vv[i * dp + c] = v[i * d + c];
        }
    return (qu_attend_kv){kt, vv, NULL, QU_ATTEND_FLOATS, n, n_pad, NULL, NULL};
}

static void free_page(qu_attend_kv *p)
{
    free((void *)p->kt);
    free((void *)p->v);
}

/* Attention of rows over consecutive parts of n keys; part i ends at ends[i]. */
static void attend_parts(float *out, float *lse, const float *q, int32_t rows, const float *k,
                         const float *v, int32_t d, const int32_t *ends, int32_t n_parts)
{
    int32_t dp = qu_attend_pad(d), from = 0;
    size_t o = (size_t)rows * (size_t)dp * 4, r = (size_t)rows * 4;
    qu_attend_state acc = {malloc(o), malloc(r), malloc(r)},
                    part = {malloc(o), malloc(r), malloc(r)};
    float *scratch = malloc((size_t)rows * 128 * 4);
    qu_attend_reset(&acc, rows, dp);
    for (int32_t i = 0; i < n_parts; i++) {
        int32_t n = ends[i] - from, n_pad = (n + 15) / 16 * 16;
        qu_attend_kv kv = page_of(k + (int64_t)from * d, v + (int64_t)from * d, n, d, n_pad);
        qu_attend_page(&part, q, d, rows, d, &kv, NULL, scratch);
        qu_attend_merge(&acc, &part, rows, dp);
        free_page(&kv);
        from = ends[i];
    }
    qu_attend_finish(out, d, lse, &acc, rows, d);
    free(acc.o), free(acc.m), free(acc.l), free(part.o), free(part.m), free(part.l), free(scratch);
}

static void attend_isa(qu_isa isa)
{
    (void)isa;
    static const int32_t sizes[] = {8, 16, 32, 64, 80, 96, 128};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int32_t d = sizes[s], n = 300, rows = 7;
        float *k = malloc((size_t)(n * d) * 4), *v = malloc((size_t)(n * d) * 4),
              *q = malloc((size_t)(rows * d) * 4);
        float *out = guarded(rows * d), *right = malloc((size_t)d * 4), lse[16];
        fill(k, n * d);
        fill(v, n * d);
        fill(q, rows * d);
        for (int32_t i = 0; i < rows * d; i++) q[i] *= 4 / sqrtf((float)d);
        for (int trial = 0; trial < 20; trial++) { /* random partitions, parts of 1 to 128 keys */
            int32_t ends[300], n_parts = 0, at = 0;
            while (at < n) {
                int32_t len = 1 + (int32_t)(test_random(&seed) % (trial < 10 ? 128 : 20));
                at = at + len < n ? at + len : n;
                ends[n_parts++] = at;
            }
            attend_parts(out, lse, q, rows, k, v, d, ends, n_parts);
            for (int32_t r = 0; r < rows; r++) {
                double right_lse;
                qu_attend_ref(right, &right_lse, q + r * d, k, v, n, d);
                assert_true(worst(out + r * d, right, d) < 2e-6);
                assert_true(fabs(lse[r] - right_lse) < 4e-6 * fmax(1, fabs(right_lse)));
            }
        }
        free_guarded(out, rows * d);
        free(k), free(v), free(q), free(right);
    }
}

static void merge_is_within_2e6_of_the_reference(void **state)
{
    (void)state;
    each_isa(attend_isa);
}

/* Page-aligned partitions, merged in page order, and any blocking of rows: the same bits. */
static void page_aligned_merge_is_bitwise(void **state)
{
    (void)state;
    enum { D = 64, N = 500, ROWS = 9 };
    static float k[N * D], v[N * D], q[ROWS * D], all[ROWS * D], one[D];
    int32_t ends[] = {100, 228, 300, 428, 500};
    float lse[ROWS];
    fill(k, N * D);
    fill(v, N * D);
    fill(q, ROWS * D);
    attend_parts(all, lse, q, ROWS, k, v, D, ends, 5);
    for (int r = 0; r < ROWS; r++) {
        float lse1;
        attend_parts(one, &lse1, q + r * D, 1, k, v, D, ends, 5);
        assert_memory_equal(one, all + r * D, sizeof one);
        assert_memory_equal(&lse1, &lse[r], sizeof lse1);
    }
}

/* A page held in half gives the bits of the f32 page that holds the same rounded values. */
static void half_isa(qu_isa isa)
{
    (void)isa;
    enum { D = 80, N = 101, PAD = 112, ROWS = 9 };
    static float k[N * D], v[N * D], q[ROWS * D], scratch[ROWS * PAD];
    static float o[2][ROWS * D], m[2][ROWS], l[2][ROWS];
    fill(k, N * D);
    fill(v, N * D);
    fill(q, ROWS * D);
    k[3] = 1e6f; /* clamped */
    qu_attend_kv full = page_of(k, v, N, D, PAD);
    uint16_t *kt = malloc(D * PAD * 2), *vv = malloc(PAD * D * 2);
    qu_attend_halve(kt, full.kt, D * PAD);
    qu_attend_halve(vv, full.v, PAD * D);
    float *fk = (float *)full.kt, *fv = (float *)full.v;
    for (int i = 0; i < D * PAD; i++) {
        float x = fk[i] > 65504 ? 65504 : fk[i];
        assert_int_equal(kt[i], qu_f32_to_f16(x));
        fk[i] = qu_f16_to_f32(kt[i]);
    }
    for (int i = 0; i < PAD * D; i++) fv[i] = qu_f16_to_f32(vv[i]);
    qu_attend_kv half = {kt, vv, NULL, QU_ATTEND_HALVES, N, PAD, NULL, NULL};
    const qu_attend_kv *pages[] = {&full, &half};
    for (int i = 0; i < 2; i++) {
        qu_attend_state s = {o[i], m[i], l[i]};
        qu_attend_page(&s, q, D, ROWS, D, pages[i], NULL, scratch);
    }
    assert_memory_equal(o[0], o[1], sizeof o[0]);
    assert_memory_equal(m[0], m[1], sizeof m[0]);
    assert_memory_equal(l[0], l[1], sizeof l[0]);
    free(kt), free(vv);
    free_page(&full);
}

static void half_pages_equal_their_floats(void **state)
{
    (void)state;
    each_isa(half_isa);
}

/* Element (row, column) of a matrix in bytes, by attend.h's words. */
static float byte_at(const void *matrix, int32_t rows, int32_t dp, bool by_row, int32_t row,
                     int32_t column, float *step)
{
    const float *range = matrix;
    const uint8_t *byte = (const uint8_t *)(range + 2 * dp);
    int32_t channel = by_row ? row : column;
    *step = range[dp + channel];
    int64_t at = ((int64_t)(column / 16) * (rows / 4) + row / 4) * 64 + column % 16 * 4 + row % 4;
    return range[channel] + *step * (float)(byte[at] - 128);
}

enum { BYTE_TEST_ROWS = 7 };

/* A page of n keys, one channel with a large mean, one without any spread. */
static void bytes_page(int32_t n, int32_t d)
{
    int32_t dp = qu_attend_pad(d), n_pad = (n + 15) / 16 * 16, rows = BYTE_TEST_ROWS;
    float *k = malloc((size_t)(n * d) * 4), *v = malloc((size_t)(n * d) * 4),
          *q = malloc((size_t)(rows * d) * 4), *right = malloc((size_t)d * 4), step;
    fill(k, n * d);
    fill(v, n * d);
    fill(q, rows * d);
    for (int32_t t = 0; t < n; t++) {
        k[t * d + 1] += 40;
        v[t * d + 2] = 3;
        v[t * d + 3] = t == n / 2 ? 1e6f : 0; /* clamped */
    }
    for (int32_t i = 0; i < rows * d; i++) q[i] *= 4 / sqrtf((float)d);
    qu_attend_kv floats = page_of(k, v, n, d, n_pad), kv = floats;
    char *kt = malloc((size_t)qu_attend_kt_bytes(QU_ATTEND_BYTES, d, n_pad)),
         *vv = malloc((size_t)qu_attend_v_bytes(QU_ATTEND_BYTES, d, n_pad));
    qu_attend_pack_kt(QU_ATTEND_BYTES, kt, floats.kt, n, n_pad, d);
    qu_attend_pack_v(QU_ATTEND_BYTES, vv, floats.v, n, n_pad, d);
    for (int32_t t = 0; t < n; t++)
        for (int32_t i = 0; i < d; i++) {
            float x = byte_at(kt, dp, dp, true, i, t, &step);
            assert_true(fabsf(x - k[t * d + i]) <= step * .501f + 1e-6f);
            k[t * d + i] = x;
            x = byte_at(vv, n_pad, dp, false, t, i, &step);
            float want = v[t * d + i] > 65504 ? 65504 : v[t * d + i];
            assert_true(fabsf(x - want) <= step * .501f + 1e-6f && (i != 2 || x == 3));
            v[t * d + i] = x;
        }
    kv.kt = kt, kv.v = vv, kv.type = QU_ATTEND_BYTES;
    float *o = malloc((size_t)(rows * dp) * 4), *one = malloc((size_t)dp * 4), m[8], l[8], m1, l1,
          *out = guarded(rows * d), lse[8];
    qu_attend_state s = {o, m, l}, alone = {one, &m1, &l1};
    qu_attend_page(&s, q, d, rows, d, &kv, NULL, NULL);
    qu_attend_finish(out, d, lse, &s, rows, d);
    for (int32_t r = 0; r < rows; r++) {
        double right_lse;
        qu_attend_ref(right, &right_lse, q + r * d, k, v, n, d);
        for (int32_t i = 0; i < d; i++) /* of the channel's largest */
            assert_true(fabsf(out[r * d + i] - right[i]) < 1e-4f * (i == 3 ? 65504 : 3));
        assert_true(fabs(lse[r] - right_lse) < 1e-3);
        qu_attend_page(&alone, q + r * d, d, 1, d, &kv, NULL, NULL);
        assert_memory_equal(one, o + r * dp, (size_t)dp * sizeof *one);
        assert_true(m1 == m[r] && l1 == l[r]);
    }
    int32_t visible[BYTE_TEST_ROWS] = {0, 1, n / 2};
    qu_attend_page(&s, q, d, 3, d, &kv, visible, NULL);
    qu_attend_finish(out, d, lse, &s, 3, d);
    assert_true(lse[0] == -INFINITY);
    for (int32_t i = 0; i < d; i++) assert_true(fabsf(out[d + i] - v[i]) < 1e-4f * 3);
    free_page(&floats), free_guarded(out, rows * d);
    free(kt), free(vv), free(o), free(one), free(k), free(v), free(q), free(right);
}

static void bytes_isa(qu_isa isa)
{
    (void)isa;
    static const int32_t sizes[] = {8, 16, 64, 80, 128, 256}, counts[] = {1, 15, 100, 128, 250};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof counts / sizeof *counts; j++) bytes_page(counts[j], sizes[i]);
}

/* Within half a step of the page, and attention within 1e-4 of what the bytes say; rows alone as
 * in company. */
static void pages_in_bytes(void **state)
{
    (void)state;
    each_isa(bytes_isa);
}

static void attend_edges(void **state)
{
    (void)state;
    enum { D = 16 };
    float k[32 * D], v[32 * D], q[2 * D], o[2 * D], m[2], l[2], scratch[64], out[2 * D], lse[2];
    fill(k, 32 * D);
    fill(v, 32 * D);
    fill(q, 2 * D);
    qu_attend_kv kv = page_of(k, v, 20, D, 32);
    qu_attend_state s = {o, m, l};
    int32_t visible[2] = {0, 1}; /* nothing, and one key: its value alone */
    qu_attend_page(&s, q, D, 2, D, &kv, visible, scratch);
    qu_attend_finish(out, D, lse, &s, 2, D);
    assert_true(lse[0] == -INFINITY);
    for (int i = 0; i < D; i++) {
        assert_true(out[i] == 0);
        assert_float_equal(out[D + i], v[i], 1e-7);
    }
    for (int i = 0; i < D; i++) q[i] = 1e4f * k[i]; /* scores far beyond exp's range stay finite */
    qu_attend_page(&s, q, D, 2, D, &kv, NULL, scratch);
    qu_attend_finish(out, D, lse, &s, 2, D);
    for (int i = 0; i < 2 * D; i++) assert_true(isfinite(out[i]));
    qu_attend_state a = {o, m, l};
    qu_attend_reset(&a, 2, 16);
    qu_attend_merge(&a, &a, 2, 16); /* two empty sets */
    qu_attend_finish(out, D, lse, &a, 2, D);
    assert_true(out[0] == 0 && lse[0] == -INFINITY);
    free_page(&kv);
}

/* --- codecs --- */

static void codec_isa(qu_isa isa)
{
    (void)isa;
    static const int32_t ns[] = {1, 2, 15, 16, 17, 127, 128}, ds[] = {8, 16, 64, 80, 128};
    for (int codec = 0; codec < QU_CODEC_COUNT; codec++)
        for (size_t i = 0; i < sizeof ns / sizeof *ns; i++)
            for (size_t j = 0; j < sizeof ds / sizeof *ds; j++) {
                int32_t n = ns[i], d = ds[j], ld = d * 2 + 3, ldv = qu_attend_pad(d);
                float *k = malloc((size_t)(n * ld) * 4), *v = malloc((size_t)(n * ld) * 4);
                float *k2 = guarded(n * d), *v2 = guarded(n * ldv);
                int64_t bytes = qu_codec_bytes(codec, n, d);
                char *slice = malloc((size_t)bytes + 16);
                fill(k, n * ld);
                fill(v, n * ld);
                for (int32_t t = 0; t < n; t++)
                    k[t * ld] += 300; /* a biased channel, as Qwen2's keys have */
                memset(slice + bytes, 0x5A, 16);
                qu_codec_encode(slice, codec, k, ld, v, ld, n, d);
                for (int g = 0; g < 16; g++) assert_int_equal(slice[bytes + g], 0x5A);
                qu_codec_decode(k2, v2, ldv, codec, slice, n, d);
                double ek = 0, ev = 0;
                for (int32_t t = 0; t < n; t++)
                    for (int32_t c = 0; c < d; c++) {
                        double scale = c == 0 && codec == QU_CODEC_F16 ? 300 : 1;
                        ek = fmax(ek, fabs((double)k2[t * d + c] - k[t * ld + c]) / scale);
                        ev = fmax(ev, fabs((double)v2[t * ldv + c] - v[t * ld + c]));
                    }
                double most = codec == QU_CODEC_F32   ? 0
                              : codec == QU_CODEC_F16 ? 5e-4
                              : codec == QU_CODEC_Q8  ? 2.2 / 254 + 1e-4
                                                      : 2.2 / 30 + 1e-3;
                assert_true(ek <= most && ev <= most);
                free_guarded(k2, n * d);
                free_guarded(v2, n * ldv);
                free(k), free(v), free(slice);
            }
}

static void codecs_round_trip(void **state)
{
    (void)state;
    each_isa(codec_isa);
    assert_true((double)qu_codec_bytes(QU_CODEC_Q8, 128, 64) /
                    (double)qu_codec_bytes(QU_CODEC_F16, 128, 64) <
                .54);
    assert_true((double)qu_codec_bytes(QU_CODEC_Q4, 128, 64) /
                    (double)qu_codec_bytes(QU_CODEC_F16, 128, 64) <
                .285);
}

/* What counts is attention: its output over a page with decoded keys and values against that over
 * the exact ones, relative to the output's own size; root mean square over queries. Of the keys,
 * one channel carries a bias. */
static double attention_error(int codec, float bias, uint64_t s)
{
    enum { N = 128, D = 64, QUERIES = 64 };
    static float k[N * D], v[N * D], k2[N * D], v2[N * D], slice[N * D * 2];
    double diff = 0, size = 0;
    for (int i = 0; i < N * D; i++) {
        k[i] = (test_uniform(&s) + test_uniform(&s) + test_uniform(&s)) * (i % D < 4 ? 6 : 1);
        v[i] = test_uniform(&s) + test_uniform(&s) + test_uniform(&s);
        if (i % D == 5) k[i] += bias;
    }
    qu_codec_encode(slice, codec, k, D, v, D, N, D);
    qu_codec_decode(k2, v2, D, codec, slice, N, D);
    for (int q = 0; q < QUERIES; q++) {
        double out[2][D] = {{0}}, query[D];
        for (int c = 0; c < D; c++) query[c] = 2 * (double)test_uniform(&s);
        for (int which = 0; which < 2; which++) {
            const float *kk = which ? k2 : k, *vv = which ? v2 : v;
            double w[N], most = -INFINITY, sum = 0;
            for (int i = 0; i < N; i++) {
                w[i] = 0;
                for (int c = 0; c < D; c++) w[i] += query[c] * (double)kk[i * D + c] / 8;
                most = fmax(most, w[i]);
            }
            for (int i = 0; i < N; i++) sum += w[i] = exp(w[i] - most);
            for (int i = 0; i < N; i++)
                for (int c = 0; c < D; c++) out[which][c] += w[i] / sum * (double)vv[i * D + c];
        }
        for (int c = 0; c < D; c++) {
            diff += (out[1][c] - out[0][c]) * (out[1][c] - out[0][c]);
            size += out[0][c] * out[0][c];
        }
    }
    return sqrt(diff / size);
}

static void attention_survives_the_codecs(void **state)
{
    (void)state;
    static const double most[] = {1e-6, 1e-3, .02, .25};
    for (int codec = 0; codec < QU_CODEC_COUNT; codec++) {
        double plain = attention_error(codec, 0, 9), biased = attention_error(codec, 300, 9);
        print_message("%s: %.5f of the output of attention, with a channel of +300 %.5f\n",
                      qu_codec_name(codec), plain, biased);
        assert_true(plain <= most[codec]);
        if (codec != QU_CODEC_F16) assert_true(biased <= 1.1 * plain + 1e-4);
    }
}

/* The decoded bits are the same in every instruction set, so are the rotated keys. */
static uint64_t decoded_sum;
static void decode_bits(qu_isa isa)
{
    enum { N = 77, D = 64 };
    static float k[N * D], v[N * D], kt[D * 80], vv[N * D], kd[N * D], c[32 * 128], s[32 * 128];
    static char slice[N * D * 8];
    uint64_t own = 5, sum = 0;
    qu_rope *r;
    qu_rope_config config = {D, false, 10000, 1, NULL};
    TEST_OK(qu_rope_create(&r, &config, err));
    qu_rope_angles(r, 1000, N, 128, c, s);
    for (int i = 0; i < N * D; i++) k[i] = test_uniform(&own), v[i] = test_uniform(&own);
    for (int codec = 0; codec < QU_CODEC_COUNT; codec++) {
        qu_codec_encode(slice, codec, k, D, v, D, N, D);
        qu_codec_decode(kd, vv, D, codec, slice, N, D);
        qu_rope_page(kt, 80, kd, N, D, r, c, s, 128);
        const uint32_t *u = (const uint32_t *)(const void *)kt,
                       *w = (const uint32_t *)(const void *)vv;
        for (int i = 0; i < D * 80; i++) sum = sum * 1000003 + u[i];
        for (int i = 0; i < N * D; i++) sum = sum * 1000003 + w[i];
    }
    if (isa == QU_ISA_PLAIN) decoded_sum = sum;
    assert_true(sum == decoded_sum);
    qu_rope_free(r);
}

static void pages_decode_alike_everywhere(void **state)
{
    (void)state;
    each_isa(decode_bits);
}

/* --- RoPE and rows --- */

static void rope_matches_reference(void **state)
{
    (void)state;
    for (int variant = 0; variant < 8; variant++) {
        int32_t d = variant & 1 ? 80 : 64, n_dims = variant & 2 ? d / 2 : d, n = 50;
        bool halves = variant & 4;
        qu_rope *r;
        qu_rope_config config = {n_dims, halves, 10000, variant & 1 ? 4 : 1, NULL};
        TEST_OK(qu_rope_create(&r, &config, err));
        float *k = malloc((size_t)(n * d) * 4), *kt = guarded(d * 64), c[40 * 64], s[40 * 64];
        int64_t pos = (int64_t)(test_random(&seed) % 100000);
        fill(k, n * d);
        qu_rope_angles(r, pos, n, 64, c, s);
        qu_rope_page(kt, 64, k, n, d, r, c, s, 64);
        for (int32_t j = 0; j < 64; j++)
            for (int32_t i = 0; i < d; i++) {
                double want = 0;
                if (j < n) {
                    int32_t half = n_dims / 2, pair = halves ? i % half : i / 2;
                    int32_t a = halves ? pair : 2 * pair, b = halves ? pair + half : 2 * pair + 1;
                    double angle =
                        (double)(pos + j) / config.linear * pow(10000, -2.0 * pair / n_dims);
                    double x = k[j * d + a], y = k[j * d + b];
                    want = i >= n_dims ? k[j * d + i]
                           : i == a    ? x * cos(angle) - y * sin(angle)
                                       : x * sin(angle) + y * cos(angle);
                }
                assert_true(fabs(kt[i * 64 + j] - want) < 3e-7);
            }
        for (int32_t j = 0; j < n; j++) { /* one vector at a time: the same bits */
            qu_rope_vector(k + j * d, r, c, s, 64, j);
            for (int32_t i = 0; i < d; i++) assert_true(k[j * d + i] == kt[i * 64 + j]);
        }
        free_guarded(kt, d * 64);
        free(k);
        qu_rope_free(r);
    }
    qu_rope *r;
    qu_err e;
    assert_int_equal(qu_rope_create(&r, &(qu_rope_config){7, false, 1e4f, 1, NULL}, &e),
                     QU_ERR_ARG);
    assert_int_equal(qu_rope_create(&r, &(qu_rope_config){8, false, NAN, 1, NULL}, &e), QU_ERR_ARG);
    assert_int_equal(qu_rope_create(&r, &(qu_rope_config){8, false, 1e4f, 0, NULL}, &e),
                     QU_ERR_ARG);
}

static void rows_isa(qu_isa isa)
{
    (void)isa;
    static const int32_t sizes[] = {1, 3, 15, 16, 17, 64, 172, 576, 4096};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int32_t n = sizes[i];
        float *x = malloc((size_t)n * 4), *w = malloc((size_t)n * 4), *y = guarded(n),
              *right = malloc((size_t)n * 4);
        fill(x, n);
        fill(w, n);
        qu_rows_rmsnorm(y, x, w, n, 1e-5f);
        qu_rows_rmsnorm_ref(right, x, w, n, 1e-5f);
        assert_true(worst(y, right, n) < 2e-6);
        for (int32_t j = 0; j < n; j++) right[j] = y[j] = x[j] * (j % 5 == 0 ? 90 : 6);
        qu_rows_swiglu(y, w, n);
        qu_rows_swiglu_ref(right, w, n);
        for (int32_t j = 0; j < n; j++)
            assert_true(fabs(y[j] - right[j]) <= 4e-7 * fmax(1, fabs(right[j])));
        for (int32_t j = 0; j < n; j++) w[j] = j % 7 == 6 ? -INFINITY : w[j] * 30;
        double sum = qu_rows_exp_sum_ref(w, n, w[0]);
        assert_true(fabs(qu_rows_exp_sum(w, n, w[0]) - sum) < 4e-6 * sum);
        free_guarded(y, n);
        free(x), free(w), free(right);
    }
}

static void rows_match_reference(void **state)
{
    (void)state;
    each_isa(rows_isa);
}

static int start_pool(void **state)
{
    (void)state;
    return qu_pool_create(&pool, 2, NULL) == QU_OK ? 0 : -1;
}

static int stop_pool(void **state)
{
    (void)state;
    qu_pool_free(pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_matches_reference),
        cmocka_unit_test(document_rows_are_independent),
        cmocka_unit_test(documents_of_every_kind),
        cmocka_unit_test(merge_is_within_2e6_of_the_reference),
        cmocka_unit_test(page_aligned_merge_is_bitwise),
        cmocka_unit_test(half_pages_equal_their_floats),
        cmocka_unit_test(pages_in_bytes),
        cmocka_unit_test(attend_edges),
        cmocka_unit_test(codecs_round_trip),
        cmocka_unit_test(attention_survives_the_codecs),
        cmocka_unit_test(pages_decode_alike_everywhere),
        cmocka_unit_test(rope_matches_reference),
        cmocka_unit_test(rows_match_reference),
    };
    return cmocka_run_group_tests(tests, start_pool, stop_pool);
}
