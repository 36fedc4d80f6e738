/* Every CUDA kernel against the plain reference of the CPU: the parity table. This program runs the sources of
 * kernels/cuda under tests/emulate; unit_cuda_device.c is the same on a device.
 *
 * Under emulation each entry runs twice, threads from first to last and from last to first: the outputs
 * must be the same bits, else a barrier is missing. */
#include "tests/testing.h"

#include "base/dims.h"
#include "base/hash.h"
#include "kernels/attend.h"
#include "kernels/codec.h"
#include "kernels/cuda/ops.h"
#include "kernels/linear.h"
#include "kernels/rope.h"
#include "kernels/rows.h"
#include "kernels/summary.h"
#include "retrieve/policy.h"

extern int emulate_reverse __attribute__((weak));
extern long emulate_fail __attribute__((weak)), emulate_leaks __attribute__((weak));

static qu_cuda *cu;
static void *owned[4096], *kept[8192]; /* on the device and here, until drop_all */
static int n_owned, n_kept;
static qu_hash outputs; /* of everything that was fetched */
static uint64_t seed;

/* --- device memory --- */

static void *room(int64_t bytes)
{
    TEST_OK(qu_cuda_alloc(cu, &owned[n_owned], bytes, err));
    return owned[n_owned++];
}

static void *put(const void *host, int64_t bytes)
{
    void *p = room(bytes);
    TEST_OK(qu_cuda_upload(cu, QU_CUDA_COMPUTE, p, host, bytes, err));
    return p;
}

static void get(void *host, const void *device, int64_t bytes)
{
    TEST_OK(qu_cuda_download(cu, QU_CUDA_COMPUTE, host, device, bytes, err));
    TEST_OK(qu_cuda_sync(cu, QU_CUDA_COMPUTE, err));
    outputs = qu_hash_chain(outputs, host, (size_t)bytes);
}

static void drop_all(void)
{
    while (n_owned > 0) qu_cuda_free(cu, owned[--n_owned]);
    while (n_kept > 0) free(kept[--n_kept]);
}

/* Zeroed memory of this processor. */
static void *host(int64_t bytes)
{
    assert_true(n_kept < (int)(sizeof kept / sizeof *kept));
    kept[n_kept] = calloc(1, (size_t)bytes + 1);
    assert_non_null(kept[n_kept]);
    return kept[n_kept++];
}

static float *randoms(int64_t n, float scale)
{
    float *x = host(n * 4);
    for (int64_t i = 0; i < n; i++) x[i] = scale * test_uniform(&seed);
    return x;
}

static double worst(const float *a, const float *b, int64_t n)
{
    double w = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(a[i]) || isnan(b[i])) return INFINITY;
        w = fmax(w, fabs((double)a[i] - b[i]));
    }
    return w;
}

static double differing(const void *a, const void *b, int64_t bytes)
{
    double n = 0;
    for (int64_t i = 0; i < bytes; i++) n += ((const char *)a)[i] != ((const char *)b)[i];
    return n;
}

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

static double check_add(void)
{
    enum { ROWS = 3, N = 300 };
    float *a = randoms(ROWS * N, 8), *b = randoms(ROWS * N, 2), y[ROWS * N];
    void *da = put(a, sizeof y), *db = put(b, sizeof y);
    TEST_OK(qu_cuda_add(cu, da, db, ROWS * N, err));
    TEST_OK(qu_cuda_add_bias(cu, da, db, ROWS, N, err));
    get(y, da, sizeof y);
    for (int i = 0; i < ROWS * N; i++) a[i] = a[i] + b[i] + b[i % N];
    return worst(y, a, ROWS * N);
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

static double check_embed(void)
{
    double w = 0;
    for (int i = 0; i < N_TYPES; i++) {
        enum { V = 5, K = 512, ROWS = 3 };
        static const int32_t ids[ROWS] = {4, 0, 2};
        uint8_t *b = random_blocks(types[i], V * K);
        float x[ROWS * K], want[K];
        void *dx = room(sizeof x);
        TEST_OK(qu_cuda_embed(cu, dx, put(b, qu_type_bytes(types[i], V * K)), types[i],
                              put(ids, sizeof ids), ROWS, K, err));
        get(x, dx, sizeof x);
        for (int r = 0; r < ROWS; r++) {
            qu_dequant_ref(want, b + qu_type_bytes(types[i], K) * ids[r], types[i], K);
            w += differing(x + r * K, want, sizeof want);
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
        TEST_OK(qu_cuda_dequant_bf16(cu, dy, put(b, qu_type_bytes(types[i], N * K)), types[i], N, K, err));
        get(y, dy, sizeof y);
        qu_dequant_ref(x, b, types[i], N * K);
        qu_quant_ref(want, x, QU_TYPE_BF16, N * K);
        w += differing(y, want, sizeof want);
    }
    return w;
}

/* Error as a share of the sum of magnitudes, which is what rounding scales with. */
static double matvec_error(int type, int32_t n, int32_t k, int32_t rows)
{
    uint8_t *b = random_blocks(type, (int64_t)n * k);
    float *x = randoms((int64_t)rows * k, 1), *bias = randoms(n, 1), *y = host(rows * n * 4),
          *want = host(rows * n * 4), *one = host(n * 4);
    void *dw = put(b, qu_type_bytes(type, (int64_t)n * k)), *dx = put(x, (int64_t)rows * k * 4),
         *db = put(bias, n * 4), *dy = room((int64_t)rows * n * 4);
    TEST_OK(qu_cuda_matvec(cu, dy, n, dw, type, db, dx, rows, n, k, err));
    get(y, dy, (int64_t)rows * n * 4);
    qu_weight w = {b, (qu_type)type, n, k};
    qu_linear_job job = {&w, bias, want, n};
    qu_linear_ref(&job, x, k, rows);
    float low = 0;
    for (int32_t i = 0; i < rows * n; i++) low = fmaxf(low, fabsf(want[i]));
    double e = worst(y, want, (int64_t)rows * n) / low;
    for (int32_t r = 0; r < rows; r += 3) { /* alone: the same bits */
        TEST_OK(qu_cuda_matvec(cu, dy, n, dw, type, db, (float *)dx + (int64_t)r * k, 1, n, k, err));
        get(one, dy, n * 4);
        if (memcmp(one, y + (int64_t)r * n, (size_t)n * 4)) e = INFINITY;
    }
    return e;
}

static double check_matvec(void)
{
    double w = 0;
    for (int i = 0; i < N_TYPES; i++) {
        w = fmax(w, matvec_error(types[i], 9, 768, 1));
        w = fmax(w, matvec_error(types[i], 6, 512, 11));
    }
    w = fmax(w, matvec_error(QU_TYPE_F32, 5, 40, 16)); /* less than a warp's stride */
    return fmax(w, matvec_error(QU_TYPE_Q8_0, 5, 4096, 2));
}

static double check_gemm(void)
{
    enum { ROWS = 5, PADDED = 8, N = 7, K = 64 };
    float *x = randoms(ROWS * K, 1), *wt = randoms(N * K, 1), y[PADDED * N];
    uint16_t wb[N * K];
    qu_quant_ref(wb, wt, QU_TYPE_BF16, N * K);
    void *dx = put(x, ROWS * K * 4), *db = room(PADDED * K * 2), *dy = room(sizeof y);
    TEST_OK(qu_cuda_to_bf16(cu, db, dx, ROWS, PADDED, K, err));
    TEST_OK(qu_cuda_gemm(cu, dy, db, put(wb, sizeof wb), PADDED, N, K, err));
    get(y, dy, sizeof y);
    double w = 0;
    for (int r = 0; r < PADDED; r++)
        for (int i = 0; i < N; i++) {
            double sum = 0;
            for (int k = 0; r < ROWS && k < K; k++)
                sum += (double)qu_bf16_to_f32(qu_f32_to_bf16(x[r * K + k])) * qu_bf16_to_f32(wb[i * K + k]);
            w = fmax(w, fabs(sum - y[r * N + i]));
        }
    return w;
}

/* --- pages --- */

typedef struct heads {
    int32_t h, g, d, n_dims;
    bool halves;
} heads;

static const heads shapes[] = {
    {4, 2, 64, 64, true}, {7, 1, 128, 128, false}, {3, 3, 80, 64, true}, {8, 2, 96, 96, true}, {4, 4, 8, 8, false},
    {4, 1, 16, 16, true},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, P = QU_PAGE_TOKENS };

/* A page on both sides: its slices of one layer, keys before rotation. */
typedef struct page {
    int32_t n, n_pad;
    int64_t pos;
    float *k, *v, *cos, *sin;       /* [G][n,D], angles [D/2 + 1, n_pad] */
    uint16_t **kt, **vh;            /* [G] the CPU's resident form */
    qu_cuda_page device;
} page;

static qu_rope *rope_of(const heads *s)
{
    qu_rope *r;
    qu_rope_config c = {.n_dims = s->n_dims, .halves = s->halves, .base = 10000, .linear = 1};
    TEST_OK(qu_rope_create(&r, &c, err));
    return r;
}

/* Encode random keys and values on the CPU, expand them on both sides. Returns differing halves. */
static double make_page(page *p, const heads *s, int codec, int32_t n, int64_t pos)
{
    int32_t d = s->d, dp = qu_attend_pad(d), n_pad = (n + 15) / 16 * 16;
    qu_rope *r = rope_of(s);
    *p = (page){.n = n, .n_pad = n_pad, .pos = pos};
    p->k = randoms((int64_t)s->g * n * d, 1);
    p->v = randoms((int64_t)s->g * n * d, 1);
    p->cos = host((d / 2 + 1) * n_pad * 4);
    p->sin = host((d / 2 + 1) * n_pad * 4);
    p->kt = host(s->g * (int64_t)sizeof *p->kt);
    p->vh = host(s->g * (int64_t)sizeof *p->vh);
    qu_rope_angles(r, pos, n, n_pad, p->cos, p->sin);
    void *dc = put(p->cos, (d / 2 + 1) * n_pad * 4), *ds = put(p->sin, (d / 2 + 1) * n_pad * 4);
    int64_t bytes = qu_codec_bytes(codec, n, d);
    char *slice = host(bytes);
    void **entries = room(s->g * (int64_t)sizeof(void *));
    p->device = (qu_cuda_page){entries, dc, ds, n, n_pad};
    double bad = 0;
    for (int32_t g = 0; g < s->g; g++) {
        float *k = p->k + (int64_t)g * n * d, *v = p->v + (int64_t)g * n * d;
        float *kt = host(d * n_pad * 4), *vp = host(n_pad * dp * 4);
        qu_codec_encode(slice, codec, k, d, v, d, n, d);
        qu_codec_decode(k, v, d, codec, slice, n, d);
        for (int32_t i = 0; i < n; i++) memcpy(vp + i * dp, v + i * d, (size_t)d * 4);
        qu_rope_page(kt, n_pad, k, n, d, r, p->cos, p->sin, n_pad);
        p->kt[g] = host(d * n_pad * 2);
        p->vh[g] = host(n_pad * dp * 2);
        qu_attend_halve(p->kt[g], kt, d * n_pad);
        qu_attend_halve(p->vh[g], vp, n_pad * dp);
        void *to = room(2 * P * d * 2);
        qu_cuda_slice one = {put(slice, bytes), to, entries + g, dc, ds, n, n_pad};
        qu_cuda_rope rope = {s->n_dims, s->halves};
        TEST_OK(qu_cuda_expand(cu, QU_CUDA_COMPUTE, put(&one, sizeof one), 1, codec, d, rope, err));
        uint16_t *back = host(2 * P * d * 2);
        get(back, to, n * d * 2); /* what lies behind n is not written */
        for (int32_t i = 0; i < n * d; i++) bad += back[i] != p->kt[g][i % d * n_pad + i / d];
        get(back, (uint16_t *)to + P * d, n * d * 2);
        for (int32_t i = 0; i < n * d; i++) bad += back[i] != p->vh[g][i / d * dp + i % d];
    }
    qu_rope_free(r);
    return bad;
}

static double check_expand(void)
{
    double bad = 0;
    for (int i = 0; i < N_SHAPES; i++)
        for (int codec = 0; codec < QU_CODEC_COUNT; codec++)
            for (int32_t n = 1; n <= P; n += 42) {
                page p;
                bad += make_page(&p, &shapes[i], codec, n, 1000 * i + n);
                drop_all();
            }
    return bad;
}

static double check_encode(void)
{
    double bad = 0;
    for (int i = 0; i < N_SHAPES; i++)
        for (int codec = 0; codec < QU_CODEC_COUNT; codec++) {
            enum { PAGES = 3, ROWS = 150 };
            static const int32_t first[PAGES] = {0, 1, 129}, n[PAGES] = {1, 128, 21};
            int32_t g_n = shapes[i].g, d = shapes[i].d, ld = g_n * d;
            int64_t stride = (qu_codec_bytes(codec, P, d) + 63) / 64 * 64;
            float *k = randoms(ROWS * ld, 5), *v = randoms(ROWS * ld, 1);
            k[ld + 3] = NAN, v[3 * ld] = INFINITY, k[2 * ld] = 1e6f;
            char *got = host(stride * PAGES * g_n), *want = host(stride);
            void *out = room(stride * PAGES * g_n);
            TEST_OK(qu_cuda_zero(cu, QU_CUDA_COMPUTE, out, stride * PAGES * g_n, err));
            TEST_OK(qu_cuda_encode(cu, out, stride, codec, put(k, ROWS * ld * 4), put(v, ROWS * ld * 4),
                                   put(first, sizeof first), put(n, sizeof n), PAGES, g_n, d, err));
            get(got, out, stride * PAGES * g_n);
            for (int p = 0; p < PAGES; p++)
                for (int32_t g = 0; g < g_n; g++) {
                    qu_codec_encode(want, codec, k + first[p] * ld + g * d, ld, v + first[p] * ld + g * d, ld,
                                    n[p], d);
                    if (codec == QU_CODEC_F16) continue; /* a NaN's bits are free: compared by value below */
                    bad += differing(got + (p * g_n + g) * stride, want, qu_codec_bytes(codec, n[p], d));
                }
            for (int p = 0; codec == QU_CODEC_F16 && p < PAGES; p++) {
                qu_codec_encode(want, codec, k + first[p] * ld, ld, v + first[p] * ld, ld, n[p], d);
                const uint16_t *a = (const void *)(got + p * g_n * stride), *b = (const void *)want;
                for (int32_t j = 0; j < 2 * n[p] * d; j++)
                    bad += a[j] != b[j] && !isnan(qu_f16_to_f32(b[j]));
            }
            drop_all();
        }
    return bad;
}

/* --- attention --- */

typedef struct scene {
    const heads *s;
    page *pages;
    int32_t n_pages, n_rows, own[64], at[64];
    float *q, *out;
    qu_cuda_attend a;
} scene;

/* n_rows tokens, the last ones of the last pages. */
static void make_scene(scene *x, const heads *s, int32_t n_pages, int32_t n_rows)
{
    *x = (scene){.s = s, .n_pages = n_pages, .n_rows = n_rows};
    x->pages = host(n_pages * (int64_t)sizeof *x->pages);
    qu_cuda_page *list = host(n_pages * (int64_t)sizeof *list);
    for (int32_t i = 0; i < n_pages; i++) {
        int32_t n = i % 3 == 0 ? P : 1 + (int32_t)(test_random(&seed) % P);
        make_page(&x->pages[i], s, QU_CODEC_F16, n, 200 * i);
        list[i] = x->pages[i].device;
    }
    for (int32_t t = n_rows - 1, p = n_pages - 1, at = x->pages[p].n - 1; t >= 0; t--) {
        x->own[t] = p;
        x->at[t] = at;
        if (at-- == 0) at = x->pages[--p].n - 1;
    }
    x->q = randoms(n_rows * s->h * s->d, 4 / sqrtf((float)s->d));
    x->out = host(n_rows * s->h * s->d * 4);
    x->a = (qu_cuda_attend){.out = room(n_rows * s->h * s->d * 4),
                            .q = put(x->q, n_rows * s->h * s->d * 4),
                            .rows = {put(list, n_pages * (int64_t)sizeof *list), put(x->own, n_rows * 4),
                                     put(x->at, n_rows * 4), n_rows, s->h, s->g, s->d, NULL,
                                     {s->n_dims, s->halves}},
                            .n_pages = n_pages};
}

/* The CPU's whole softmax of one row over the pages that use names [n_pages,G] (NULL: all) and extra keys. */
static double row_error(const scene *x, int32_t t, int32_t h, const uint8_t *use, int32_t n_extra,
                        const float *ek, const float *ev)
{
    int32_t d = x->s->d, g = h / (x->s->h / x->s->g), n = 0, dp = qu_attend_pad(d);
    int64_t most = (int64_t)(x->n_pages * P + n_extra) * d;
    float *k = malloc((size_t)most * 8), *v = k + most, want[QU_MAX_HEAD_SIZE];
    for (int32_t p = 0; p <= x->own[t]; p++) {
        const page *pg = &x->pages[p];
        if (use && p < x->own[t] && !use[p * x->s->g + g]) continue;
        for (int32_t i = 0; i < pg->n && (p < x->own[t] || i <= x->at[t]); i++, n++)
            for (int32_t c = 0; c < d; c++) {
                k[n * d + c] = qu_f16_to_f32(pg->kt[g][c * pg->n_pad + i]);
                v[n * d + c] = qu_f16_to_f32(pg->vh[g][i * dp + c]);
            }
    }
    memcpy(k + n * d, ek, (size_t)(n_extra * d) * 4);
    memcpy(v + n * d, ev, (size_t)(n_extra * d) * 4);
    qu_attend_ref(want, NULL, x->q + (t * x->s->h + h) * d, k, v, n + n_extra, d);
    free(k);
    return worst(x->out + (t * x->s->h + h) * d, want, d);
}

static double scene_error(scene *x, const uint8_t *use)
{
    double w = 0;
    get(x->out, x->a.out, x->n_rows * x->s->h * x->s->d * 4);
    for (int32_t t = 0; t < x->n_rows; t++)
        for (int32_t h = 0; h < x->s->h; h++) w = fmax(w, row_error(x, t, h, use, 0, x->q, x->q));
    return w;
}

static double check_attend_split(void)
{
    double w = 0;
    for (int i = 0; i < N_SHAPES; i++)
        for (int32_t rows = 1; rows <= 9; rows += 4) {
            scene x;
            make_scene(&x, &shapes[i], 1 + i + rows / 4, rows > 1 && i == 0 ? rows : (rows + 1) / 2);
            x.a.partial = room(qu_cuda_attend_floats(&x.a, x.n_rows) * 4);
            TEST_OK(qu_cuda_attend_split(cu, &x.a, err));
            w = fmax(w, scene_error(&x, NULL));
            drop_all();
        }
    return w;
}

/* A row alone and in company, and lists of some pages. */
static double check_attend_lists(void)
{
    const heads *s = &shapes[0];
    scene x;
    make_scene(&x, s, 9, 5);
    int32_t list[2 * 9], count[2] = {0, 0};
    uint8_t use[9 * 2];
    for (int32_t g = 0; g < 2; g++)
        for (int32_t p = 0; p < 9; p++) {
            use[p * 2 + g] = p >= 7 || (p + g) % 3 != 0; /* the rows' own always */
            if (use[p * 2 + g]) list[g * 9 + count[g]++] = p;
        }
    x.a.list = put(list, sizeof list);
    x.a.count = put(count, sizeof count);
    x.a.list_cap = 9;
    x.a.partial = room(qu_cuda_attend_floats(&x.a, 5) * 4);
    TEST_OK(qu_cuda_attend_split(cu, &x.a, err));
    double w = scene_error(&x, use);
    float *one = host(s->h * s->d * 4);
    for (int32_t t = 0; t < 5; t++) {
        qu_cuda_attend a = x.a;
        a.rows.n = 1;
        a.rows.own += t;
        a.rows.at += t;
        a.q += t * s->h * s->d;
        TEST_OK(qu_cuda_attend_split(cu, &a, err));
        get(one, a.out, s->h * s->d * 4);
        if (memcmp(one, x.out + t * s->h * s->d, (size_t)(s->h * s->d) * 4)) w = INFINITY;
    }
    drop_all();
    return w;
}

static double check_attend_direct(void)
{
    double w = 0;
    for (int i = 0; i < N_SHAPES; i++) {
        scene x;
        make_scene(&x, &shapes[i], 4, i == 0 ? 64 : 9);
        TEST_OK(qu_cuda_attend_direct(cu, &x.a, err));
        w = fmax(w, scene_error(&x, NULL));
        drop_all();
    }
    return w;
}

/* --- choosing --- */

typedef struct chooser {
    int32_t n_pages, n, pages_n[40];
    int64_t pos[40];
    char *data[40];
    qu_cuda_clusters c;
    float *kt, *bias, *v, *spread; /* CPU: [D,n_pad], [n_pad], [n_pad,D], [D/2,n_pad] of head 0..G-1 */
    int32_t n_pad, first[41], tokens[40];
} chooser;

/* Summaries of random pages, placed on both sides; one layer. Returns differing halves. */
static double make_chooser(chooser *x, const heads *s, int32_t n_pages)
{
    int32_t d = s->d, g_n = s->g;
    qu_rope *r = rope_of(s);
    *x = (chooser){.n_pages = n_pages};
    for (int32_t p = 0; p < n_pages; p++) {
        x->tokens[p] = p % 4 == 1 ? 1 + (int32_t)(test_random(&seed) % P) : P;
        x->first[p + 1] = x->first[p] + qu_summary_clusters(x->tokens[p]);
    }
    x->n = x->first[n_pages];
    x->n_pad = (x->n + 15) / 16 * 16;
    int64_t cells = (int64_t)g_n * x->n_pad;
    x->kt = host(cells * d * 4);
    x->v = host(cells * d * 4);
    x->spread = host(cells * d * 4);
    x->bias = host(cells * 4);
    for (int64_t i = 0; i < cells; i++) x->bias[i] = -INFINITY;
    x->c = (qu_cuda_clusters){room(g_n * x->n * d * 2),       room(g_n * x->n * d * 2),
                              room(g_n * x->n * d),           room(g_n * x->n * 4),
                              room(x->n * 4),                 put(x->first, (n_pages + 1) * 4),
                              put(x->tokens, n_pages * 4), x->n, n_pages};
    float *scratch = host(qu_summary_scratch(P, d) * 4), *c = host((d / 2 + 1) * P * 4),
          *sn = host((d / 2 + 1) * P * 4), *kt = host(P * d * 4);
    for (int32_t p = 0; p < n_pages; p++) {
        int32_t n = x->tokens[p];
        int64_t bytes = qu_summary_bytes(n, d), pos = 128 * p + 17;
        char *data = host(g_n * bytes);
        for (int32_t g = 0; g < g_n; g++) {
            float *k = randoms(n * d, 2), *v = randoms(n * d, 1);
            qu_rope_angles(r, 0, n, P, c, sn);
            qu_rope_page(kt, P, k, n, d, r, c, sn, P);
            qu_summary_make(data + g * bytes, kt, P, v, d, n, d, r, scratch);
        }
        qu_rope_angles(r, pos, n, P, c, sn);
        qu_cuda_page here = {NULL, put(c, (d / 2 + 1) * P * 4), put(sn, (d / 2 + 1) * P * 4), n, P};
        qu_cuda_rope rope = {s->n_dims, s->halves};
        TEST_OK(qu_cuda_place_summary(cu, &x->c, put(data, g_n * bytes), put(&here, sizeof here), NULL, rope,
                                      n, p, x->first[p], 1, g_n, d, err));
        for (int32_t g = 0; g < g_n; g++) {
            qu_summary sum;
            qu_summary_read(&sum, data + g * bytes, n, d);
            for (int32_t i = 0; i < qu_summary_clusters(n); i++) {
                int64_t col = x->first[p] + i, at = g * (int64_t)x->n_pad;
                float key[QU_MAX_HEAD_SIZE];
                for (int32_t j = 0; j < d; j++) key[j] = qu_f16_to_f32(sum.key[i * d + j]);
                qu_rope_vector(key, r, c, sn, P, 0);
                for (int32_t j = 0; j < d; j++) {
                    x->kt[at * d + j * x->n_pad + col] = qu_f16_to_f32(qu_f32_to_f16(key[j]));
                    x->v[(at + col) * d + j] = qu_f16_to_f32(sum.value[i * d + j]);
                }
                for (int32_t j = 0; j < d / 2; j++)
                    x->spread[at * d + j * x->n_pad + col] = qu_f16_to_f32(sum.spread[i * (d / 2) + j]);
                x->bias[at + col] = sum.count[i] > 0 ? logf((float)sum.count[i]) : -INFINITY;
            }
        }
    }
    double bad = 0;
    uint16_t *key = host(g_n * x->n * d * 2);
    get(key, x->c.key, g_n * x->n * d * 2);
    for (int32_t g = 0; g < g_n; g++)
        for (int32_t i = 0; i < x->n * d; i++)
            bad += key[g * x->n * d + i] !=
                   qu_f32_to_f16(x->kt[((int64_t)g * d + i % d) * x->n_pad + i / d]);
    qu_rope_free(r);
    return bad;
}

static double check_place_summary(void)
{
    double bad = 0;
    for (int i = 0; i < N_SHAPES; i++) {
        chooser x;
        bad += make_chooser(&x, &shapes[i], 7);
        drop_all();
    }
    return bad;
}

/* Scores of multipole on the CPU: qu_attend_mass over all clusters, pages' sums, mean over rows. */
static double check_sense(void)
{
    double w = 0;
    for (int i = 0; i < N_SHAPES; i++) {
        const heads *s = &shapes[i];
        enum { TOKENS = 70, PAGES = 21 };
        chooser x;
        make_chooser(&x, s, PAGES);
        int32_t d = s->d, group = s->h / s->g, n_rows = i == 0 ? TOKENS : 3;
        float *q = randoms(TOKENS * s->h * d, .7f), score[7 * PAGES];
        qu_cuda_rows rows = {.n = n_rows, .n_heads = s->h, .n_kv_heads = s->g, .d = d,
                             .rope = {s->n_dims, s->halves}};
        void *scratch = room(qu_cuda_sense_floats(x.n, n_rows, s->h, s->g) * 4),
             *out = room((int64_t)sizeof score);
        TEST_OK(qu_cuda_sense(cu, out, &x.c, put(q, TOKENS * s->h * d * 4), &rows, 0, scratch, err));
        get(score, out, s->g * PAGES * 4);
        qu_rope *r = rope_of(s);
        float *rq = host(TOKENS * group * d * 4), *q2 = host(TOKENS * group * d * 4),
              *mass = host(x.n_pad * 4),
              *room2 = host((TOKENS * group) * (2 * x.n_pad + 2) * 4);
        for (int32_t g = 0; g < s->g; g++) {
            int32_t n = 0;
            for (int32_t t = 0; t < n_rows; t++)
                for (int32_t h = 0; h < group; h++, n++)
                    memcpy(rq + n * d, q + (t * s->h + g * group + h) * d, (size_t)d * 4);
            for (int32_t j = 0; j < n * (d / 2); j++) {
                int32_t a, b;
                qu_rope_pair(r, j % (d / 2), &a, &b);
                const float *row = rq + j / (d / 2) * d;
                q2[j] = row[a] * row[a] + row[b] * row[b];
            }
            int64_t at = g * (int64_t)x.n_pad;
            qu_attend_kv kv = {x.kt + at * d, NULL, x.bias + at, false, x.n, x.n_pad};
            memset(mass, 0, (size_t)x.n_pad * 4);
            qu_attend_mass(mass, rq, d, n, d, &kv, q2, x.spread + at * d, room2);
            for (int32_t p = 0; p < PAGES; p++) {
                double want = 0;
                for (int32_t c = x.first[p]; c < x.first[p + 1]; c++) want += mass[c] / (float)n;
                w = fmax(w, fabs(want - score[g * PAGES + p]));
            }
        }
        qu_rope_free(r);
        drop_all();
    }
    return w;
}

/* Attention with a far field: the clusters of what was not chosen are keys like others, ln(count) on top. */
static double check_far_field(void)
{
    const heads *s = &shapes[0];
    chooser x;
    scene y;
    double w = 0;
    make_scene(&y, s, 3, 2);
    make_chooser(&x, s, 33); /* more than one part of 128 clusters */
    uint8_t chosen[33 * 2];
    for (int i = 0; i < 66; i++) chosen[i] = test_random(&seed) % 2;
    y.a.key = x.c.key, y.a.value = x.c.value, y.a.bias = x.c.bias, y.a.page_of = x.c.page_of;
    y.a.chosen = put(chosen, sizeof chosen);
    y.a.n_clusters = x.n;
    y.a.partial = room(qu_cuda_attend_floats(&y.a, 2) * 4);
    TEST_OK(qu_cuda_attend_split(cu, &y.a, err));
    get(y.out, y.a.out, 2 * s->h * s->d * 4);
    float *k = host(x.n * s->d * 50 * 4), *v = host(x.n * s->d * 50 * 4);
    for (int32_t t = 0; t < 2; t++)
        for (int32_t h = 0; h < s->h; h++) {
            int32_t g = h / (s->h / s->g), n = 0, d = s->d;
            for (int32_t p = 0; p < x.n_pages; p++)
                for (int32_t c = x.first[p]; c < x.first[p + 1]; c++) {
                    int64_t at = g * (int64_t)x.n_pad;
                    int32_t count = (int32_t)lrintf(expf(x.bias[at + c])); /* as often as members */
                    for (int32_t i = 0; i < count && !chosen[p * 2 + g]; i++, n++)
                        for (int32_t j = 0; j < d; j++) {
                            k[n * d + j] = x.kt[at * d + j * x.n_pad + c];
                            v[n * d + j] = x.v[(at + c) * d + j];
                        }
                }
            w = fmax(w, row_error(&y, t, h, NULL, n, k, v));
        }
    drop_all();
    return w;
}

static double check_cut(void)
{
    double bad = 0;
    static const int32_t sizes[] = {1, 2, 3, 31, 300};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int64_t budget = 1; budget < 40000; budget *= 9) {
            enum { G = 3 };
            int32_t n = sizes[i], tokens[300];
            float *score = randoms(G * n, 1);
            uint8_t got[G * 300], want[G * 300] = {0}, all[G] = {0, 1, 0};
            for (int32_t p = 0; p < n; p++) tokens[p] = 1 + (int32_t)(test_random(&seed) % P);
            for (int32_t p = 0; p < G * n; p++) score[p] = fabsf(roundf(score[p] * 8)) * (float)tokens[p % n];
            if (n > 2) score[1] = NAN;
            void *out = room(G * n);
            TEST_OK(qu_cuda_cut(cu, out, put(score, G * n * 4), put(tokens, n * 4), put(all, G), n, G, budget, err));
            get(got, out, G * n);
            for (int32_t g = 0; g < G; g++) {
                TEST_OK(qu_policy_cut(want + g, G, score + g * n, tokens, n, budget, err));
                for (int32_t p = 0; all[g] && p < n; p++) want[p * G + g] = 1;
            }
            bad += differing(got, want, G * n);
            drop_all();
        }
    return bad;
}

static double check_lists(void)
{
    enum { G = 3, N = 77, CAND = 60 };
    int32_t candidate[N], list[G * N], count[G];
    uint8_t chosen[CAND * G];
    double bad = 0;
    for (int i = 0; i < CAND * G; i++) chosen[i] = test_random(&seed) % 2;
    for (int i = 0, c = 0; i < N; i++) candidate[i] = i % 5 == 0 || c == CAND ? -1 : c++;
    void *dl = room(sizeof list), *dc = room(sizeof count);
    TEST_OK(qu_cuda_lists(cu, dl, dc, put(candidate, sizeof candidate), put(chosen, sizeof chosen), N, G, err));
    get(count, dc, sizeof count);
    for (int g = 0; g < G; g++) {
        get(list, dl, sizeof list);
        int n = 0;
        for (int i = 0; i < N; i++)
            if (candidate[i] < 0 || chosen[candidate[i] * G + g]) bad += list[g * N + n++] != i;
        bad += count[g] != n;
        memset(list, 0, sizeof list);
        outputs = (qu_hash){0}; /* what lies behind a list is not written */
    }
    return bad;
}

static double check_live(void)
{
    double w = 0;
    for (int i = 0; i < N_SHAPES; i++) {
        const heads *s = &shapes[i];
        enum { T = 3 };
        page p;
        make_page(&p, s, QU_CODEC_F16, 20, 777);
        int32_t own[T] = {0, 0, 0}, at[T] = {0, 7, 19}, d = s->d;
        float *q = randoms(T * s->h * d, 1), *k = randoms(T * s->g * d, 1), *v = randoms(T * s->g * d, 1);
        float *got = host(T * s->h * d * 4), scale = 1 / sqrtf((float)d);
        void *dq = put(q, T * s->h * d * 4);
        qu_cuda_rows rows = {put(&p.device, sizeof p.device), put(own, sizeof own), put(at, sizeof at), T, s->h,
                             s->g, d, NULL, {s->n_dims, s->halves}};
        TEST_OK(qu_cuda_rope_queries(cu, dq, &rows, 0, scale, 1.1f, err));
        TEST_OK(qu_cuda_place_live(cu, put(k, T * s->g * d * 4), put(v, T * s->g * d * 4), &rows, 0, err));
        get(got, dq, T * s->h * d * 4);
        qu_rope *r = rope_of(s);
        for (int32_t t = 0; t < T; t++) {
            for (int32_t h = 0; h < s->h; h++) {
                float *x = q + (t * s->h + h) * d;
                qu_rope_vector(x, r, p.cos, p.sin, p.n_pad, at[t]);
                for (int32_t j = 0; j < d; j++) x[j] *= j < s->n_dims ? scale * 1.1f : scale;
            }
            for (int32_t g = 0; g < s->g; g++) {
                void *slices[8];
                uint16_t row[2][QU_MAX_HEAD_SIZE];
                get(slices, p.device.slices, s->g * (int64_t)sizeof(void *));
                get(row[0], (uint16_t *)slices[g] + at[t] * d, d * 2);
                get(row[1], (uint16_t *)slices[g] + (P + at[t]) * d, d * 2);
                qu_rope_vector(k + (t * s->g + g) * d, r, p.cos, p.sin, p.n_pad, at[t]);
                for (int32_t j = 0; j < d; j++) {
                    w += row[0][j] != qu_f32_to_f16(k[(t * s->g + g) * d + j]);
                    w += row[1][j] != qu_f32_to_f16(v[(t * s->g + g) * d + j]);
                }
                outputs = (qu_hash){0}; /* addresses differ between runs */
            }
        }
        w += worst(got, q, T * s->h * d);
        qu_rope_free(r);
        drop_all();
    }
    return w;
}

/* --- the table --- */

static const struct {
    const char *kernel, *reference;
    double tolerance; /* 0: bit for bit */
    double (*check)(void);
} TABLE[] = {
    {"rmsnorm", "qu_rows_rmsnorm_ref", 2e-6, check_rmsnorm},
    {"swiglu", "qu_rows_swiglu_ref", 2e-7, check_swiglu},
    {"add, add_bias", "sums", 0, check_add},
    {"embed, 15 types", "qu_dequant_ref", 0, check_embed},
    {"dequant_bf16, 15 types", "qu_dequant_ref, qu_quant_ref", 0, check_dequant_bf16},
    {"matvec, 15 types", "qu_linear_ref", 2e-6, check_matvec},
    {"to_bf16, gemm", "sums of doubles", 2e-6, check_gemm},
    {"expand", "qu_codec_decode, qu_rope_page, qu_attend_halve", 0, check_expand},
    {"encode", "qu_codec_encode", 0, check_encode},
    {"rope_queries, place_live", "qu_rope_vector, qu_f32_to_f16", 0, check_live},
    {"attend_split, merge", "qu_attend_ref", 2e-6, check_attend_split},
    {"attend_split with lists", "qu_attend_ref", 2e-6, check_attend_lists},
    {"attend_split, far field", "qu_attend_ref, members repeated", 4e-6, check_far_field},
    {"attend_direct", "qu_attend_ref", 2e-6, check_attend_direct},
    {"place_summary", "qu_rope_vector", 0, check_place_summary},
    {"sense", "qu_attend_mass", 2e-6, check_sense},
    {"cut", "qu_policy_cut", 0, check_cut},
    {"lists", "a loop", 0, check_lists},
};
enum { N_TABLE = sizeof TABLE / sizeof *TABLE };

static void parity(void **state)
{
    (void)state;
    for (int i = 0; i < N_TABLE; i++) {
        qu_hash first = {0};
        for (int reverse = 0; reverse < (&emulate_reverse ? 2 : 1); reverse++) {
            if (&emulate_reverse) emulate_reverse = reverse;
            seed = 42 + (uint64_t)i;
            outputs = (qu_hash){0};
            double e = TABLE[i].check();
            drop_all();
            if (!reverse) {
                print_message("%-26s %-50s %8.2g of %g\n", TABLE[i].kernel, TABLE[i].reference, e,
                              TABLE[i].tolerance);
                first = outputs;
            }
            if (!(e <= TABLE[i].tolerance)) fail_msg("%s: %g", TABLE[i].kernel, e);
            if (!qu_hash_equal(first, outputs))
                fail_msg("%s: threads in another order give other bits", TABLE[i].kernel);
        }
        if (&emulate_reverse) emulate_reverse = 0;
    }
}

static int open_device(void **state)
{
    (void)state;
    if (qu_cuda_count() > 0) TEST_OK(qu_cuda_open(&cu, 0, err));
    return 0;
}

static int close_device(void **state)
{
    (void)state;
    qu_cuda_close(cu);
    return 0;
}

static void needs_device(void **state)
{
    if (!cu) {
        print_message("skipped: no CUDA device\n");
        skip();
    }
    parity(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(needs_device)};
    return cmocka_run_group_tests(tests, open_device, close_device);
}
