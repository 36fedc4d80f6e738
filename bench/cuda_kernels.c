/* Rates of the CUDA kernels by themselves, beside what the device's memory and cuBLAS give.
 *
 *     cuda_kernels [--small | --tokens N]     {"test","of","tokens","value","unit","share"} a line
 *
 *   copy     device memory, read and written by a kernel that does nothing else: the ceiling
 *   attend   one token, 32 query and 8 KV heads of 128, over so many stored tokens: bytes of slices
 *            a second and their share of copy's
 *   choose   the same over 10% of the pages, chosen from their summaries: how many times faster
 *   matvec   1, 8, 32 rows (tokens) by 14336 x 4096 stored weights: bytes of weights a second,
 *            share of copy's
 *   gemm     512 rows by 14336 x 4096 in bf16; with Q8_0 dequantised before: operations a second
 *
 * Each value is the median of five runs of at least 20 ms, each of which goes round through more
 * bytes than a cache holds. --small: sizes for trying the program itself; --tokens: attention over
 * so many, no products. */
#include <string.h>

#include "base/dims.h"
#include "base/os.h"
#include "bench/bench.h"
#include "kernels/codec.h"
#include "kernels/cuda/ops.h"
#include "kernels/quant.h"
#include "kernels/rope.h"
#include "kernels/summary.h"

enum { H = 32, G = 8, D = 128, P = QU_PAGE_TOKENS, RUNS = 5 };

static qu_cuda *cu;
static double ceiling; /* bytes a second of copy */
static int32_t slices_max = 16384, weight_rows = 14336, weight_k = 4096, copies = 8;

static void *room(int64_t bytes)
{
    void *p;
    must(qu_cuda_alloc(cu, &p, bytes, &err));
    return p;
}

static void *put(const void *host, int64_t bytes)
{
    void *p = room(bytes);
    must(qu_cuda_upload(cu, QU_CUDA_COMPUTE, p, host, bytes, &err));
    return p;
}

static float *randoms(int64_t n)
{
    float *x = need(malloc((size_t)n * sizeof *x));
    for (int64_t i = 0; i < n; i++) x[i] = (float)(int32_t)(draw() >> 32) / 2147483648.0f;
    return x;
}

/* --- timing --- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median milliseconds of body(ctx, i), i counting on. */
static double time_of(void (*body)(void *ctx, int i), void *ctx)
{
    double ms[RUNS];
    int n = 1, i = 0;
    body(ctx, i++);
    for (int r = 0; r < RUNS;) {
        must(qu_cuda_sync(cu, QU_CUDA_COMPUTE, &err));
        double start = qu_os_now_ms();
        for (int k = 0; k < n; k++) body(ctx, i++);
        must(qu_cuda_sync(cu, QU_CUDA_COMPUTE, &err));
        double all = qu_os_now_ms() - start;
        if (all < 20 && n < 4096) n *= 2;
        else ms[r++] = all / n;
    }
    qsort(ms, RUNS, sizeof *ms, by_value);
    return ms[RUNS / 2];
}

static void say(const char *test, const char *of, int64_t tokens, double value, const char *unit,
                double share)
{
    printf("{\"test\":\"%s\",\"of\":\"%s\",\"tokens\":%lld,\"value\":%.4g,\"unit\":\"%s\","
           "\"share\":%.3f}\n",
           test, of, (long long)tokens, value, unit, share);
    fflush(stdout);
}

/* --- memory --- */

typedef struct copy_run {
    qu_cuda_slice *items;
    int32_t n;
} copy_run;

static void copy_body(void *ctx, int i)
{
    (void)i;
    copy_run *r = ctx;
    must(qu_cuda_place_slices(cu, QU_CUDA_COMPUTE, r->items, r->n, &err));
}

static void bench_copy(void)
{
    enum { BYTES = 65536 };
    qu_cuda_slice *items = need(calloc((size_t)slices_max, sizeof *items));
    char *from = room((int64_t)slices_max * BYTES), *to = room((int64_t)slices_max * BYTES);
    void **entries = room(slices_max * (int64_t)sizeof *entries);
    must(qu_cuda_zero(cu, QU_CUDA_COMPUTE, from, (int64_t)slices_max * BYTES, &err));
    for (int64_t i = 0; i < slices_max; i++)
        items[i] = (qu_cuda_slice){from + i * BYTES, to + i * BYTES, entries + i, BYTES};
    copy_run r = {put(items, slices_max * (int64_t)sizeof *items), slices_max};
    ceiling = 2.0 * BYTES * slices_max / time_of(copy_body, &r) * 1e3;
    say("copy", "device memory", 0, ceiling / 1e9, "GB/s", 1);
    qu_cuda_free(cu, from), qu_cuda_free(cu, to);
    free(items);
}

/* --- attention --- */

typedef struct attend_run {
    qu_cuda_attend a;
    int32_t n_layers;
    /* choosing */
    qu_cuda_clusters c;
    float *score, *scratch;
    int32_t *candidate;
    uint8_t *chosen;
    int64_t budget; /* 0: all pages */
} attend_run;

static void attend_body(void *ctx, int i)
{
    attend_run *r = ctx;
    qu_cuda_attend a = r->a;
    a.layer = i % r->n_layers;
    if (r->budget > 0) {
        must(qu_cuda_sense(cu, r->score, &r->c, a.q, &a.rows, a.layer, r->scratch, &err));
        must(qu_cuda_cut(cu, r->chosen, r->score, r->c.tokens, NULL, r->c.n_pages, G, r->budget,
                         &err));
        must(qu_cuda_lists(cu, (int32_t *)a.list, (int32_t *)a.count, r->candidate, r->chosen,
                           a.n_pages, G, &err));
    }
    must(qu_cuda_attend_split(cu, &a, &err));
}

/* Pages of random slices, the same 64 over and over at addresses of their own. */
static qu_cuda_page *make_pages(int codec, int32_t n_pages, int32_t n_layers, char *memory)
{
    enum { SAMPLES = 64, ANGLES = (D / 2 + 1) * P * 4 };
    int64_t bytes = qu_codec_bytes(codec, P, D), n = (int64_t)n_pages * n_layers * G;
    char *samples = need(malloc((size_t)bytes * SAMPLES));
    float *k = randoms(2 * P * D), *angles = randoms((int64_t)ANGLES / 4 * n_pages);
    qu_cuda_page *pages = need(calloc((size_t)n_pages, sizeof *pages));
    void **tables = need(calloc((size_t)n, sizeof *tables));
    for (int i = 0; i < SAMPLES; i++) {
        k[i] += .5f;
        qu_codec_encode(samples + i * bytes, codec, k, D, k + P * D, D, P, D);
    }
    for (int64_t i = 0; i < n; i += SAMPLES)
        must(qu_cuda_upload(cu, QU_CUDA_COMPUTE, memory + i * bytes, samples,
                          (n - i < SAMPLES ? n - i : SAMPLES) * bytes, &err));
    char *cos = put(angles, (int64_t)ANGLES * n_pages); /* sines the same */
    for (int64_t i = 0; i < n; i++) tables[i] = memory + i * bytes;
    char *there = put(tables, n * (int64_t)sizeof *tables);
    for (int32_t p = 0; p < n_pages; p++) {
        void *slices = there + (int64_t)p * n_layers * G * (int64_t)sizeof *tables;
        void *turns = cos + (int64_t)p * ANGLES;
        pages[p] = (qu_cuda_page){slices, turns, turns, P, P, codec};
    }
    free(samples), free(k), free(angles), free(tables);
    return pages;
}

static qu_cuda_rope make_rope(void)
{
    float *cos = need(malloc(2 * D * P * sizeof *cos));
    float *sin = cos + D / 2 * P, *places = sin + D / 2 * P;
    qu_rope_config config = {.n_dims = D, .halves = true, .base = 10000, .linear = 1};
    qu_rope *r;
    must(qu_rope_create(&r, &config, &err));
    qu_rope_angles(r, 0, P, P, cos, sin);
    qu_cuda_places(places, cos, sin, D, D);
    qu_cuda_rope rope = {D, 1, put(places, D * P * 4)};
    qu_rope_free(r);
    free(cos);
    return rope;
}

static void choose(attend_run *r, int32_t n_pages)
{
    int32_t each = qu_summary_clusters(P), n = n_pages * each;
    int32_t *host = need(malloc((size_t)(n + 2 * n_pages + 1) * sizeof *host));
    float *x = randoms((int64_t)r->n_layers * G * n * D / 2);
    uint16_t *half = need(malloc((size_t)r->n_layers * G * (size_t)n * D * 2));
    int64_t cells = (int64_t)r->n_layers * G * n;
    for (int64_t i = 0; i < cells * D; i++) half[i] = qu_f32_to_f16(x[i / 2]);
    int32_t *page_of = host, *first = host + n, *tokens = first + n_pages + 1;
    for (int32_t i = 0; i < n; i++) page_of[i] = i / each;
    for (int32_t p = 0; p <= n_pages; p++) first[p] = p * each;
    for (int32_t p = 0; p < n_pages; p++) tokens[p] = P;
    r->c = (qu_cuda_clusters){.key = put(half, cells * D * 2), .value = put(half, cells * D * 2),
                              .spread = put(half, cells * D), .bias = put(x, cells * 4),
                              .page_of = put(page_of, n * 4), .tokens = put(tokens, n_pages * 4),
                              .first = put(first, (n_pages + 1) * 4), .n = n, .n_pages = n_pages};
    for (int32_t p = 0; p < n_pages; p++) tokens[p] = p;
    r->candidate = put(tokens, n_pages * 4);
    r->score = room(n_pages * G * 4), r->chosen = room(n_pages * G);
    r->scratch = room(qu_cuda_sense_floats(n, 1, H) * 4);
    r->a.list = room(n_pages * G * 4), r->a.count = room(G * 4), r->a.list_cap = n_pages;
    r->budget = (int64_t)n_pages * P / 10;
    free(host), free(x), free(half);
}

static void bench_attend(int codec, int32_t n_pages)
{
    attend_run r = {.n_layers = slices_max / G / n_pages};
    int32_t own = n_pages - 1, at = P - 1;
    char *memory = room((int64_t)slices_max * qu_codec_bytes(codec, P, D));
    qu_cuda_page *pages = make_pages(codec, n_pages, r.n_layers, memory);
    float *q = randoms(H * D);
    qu_cuda_rows rows = {put(pages, n_pages * (int64_t)sizeof *pages), put(&own, 4), put(&at, 4), 1,
                         H, G, D, NULL, make_rope()};
    r.a = (qu_cuda_attend){room(H * D * 4), put(q, H * D * 4), rows, .n_pages = n_pages};
    r.a.partial = room(qu_cuda_attend_floats(&r.a, 1) * 4);
    double bytes = (double)qu_codec_bytes(codec, P, D) * G * n_pages, ms = time_of(attend_body, &r);
    say("attend", qu_codec_name(codec), (int64_t)n_pages * P, bytes / ms / 1e6, "GB/s",
        bytes / ms * 1e3 / ceiling);
    say("attend", qu_codec_name(codec), (int64_t)n_pages * P, ms * 1e3, "us", 0);
    choose(&r, n_pages);
    double few = time_of(attend_body, &r);
    say("choose", qu_codec_name(codec), (int64_t)n_pages * P, ms / few, "times", 0);
    qu_cuda_free(cu, memory);
    free(pages), free(q);
}

/* --- products --- */

typedef struct product_run {
    char *w;
    int64_t bytes;
    void *x, *y, *dense;
    int type, rows; /* of gemm: BF16, or dequantised from */
} product_run;

static void matvec_body(void *ctx, int i)
{
    product_run *r = ctx;
    qu_cuda_product p = {r->y, r->w + i % copies * r->bytes, NULL, weight_rows};
    must(qu_cuda_matvec(cu, &p, 1, r->type, QU_CUDA_STORE, r->x, r->rows, weight_k, &err));
}

static void gemm_body(void *ctx, int i)
{
    product_run *r = ctx;
    char *w = r->w + i % copies * r->bytes;
    if (r->type != QU_TYPE_BF16) {
        must(qu_cuda_dequant_bf16(cu, r->dense, w, r->type, weight_rows, weight_k, &err));
        w = r->dense;
    }
    must(qu_cuda_gemm(cu, r->y, r->x, w, 512, weight_rows, weight_k, false, &err));
}

static void bench_products(int type)
{
    int64_t n = (int64_t)weight_rows * weight_k;
    product_run r = {.bytes = qu_type_bytes((qu_type)type, n), .type = type};
    float *x = randoms(n);
    char *w = need(calloc((size_t)r.bytes, 1)), *stage = room(r.bytes);
    qu_quant_ref(w, x, (qu_type)type, n);
    bool any = type == QU_TYPE_Q4_K || type == QU_TYPE_Q6_K; /* any bits cost the same */
    if (any) memcpy(w, x, (size_t)r.bytes);
    r.w = room(qu_cuda_weights_bytes(type, n * copies));
    for (int i = 0; i < copies; i++)
        must(qu_cuda_put_weights(cu, r.w + i * r.bytes, w, type, n, stage, r.bytes, &err));
    r.x = put(x, 512ll * weight_k * 4), r.y = room(512ll * weight_rows * 4), r.dense = room(n * 2);
    for (r.rows = 1; r.rows <= 32; r.rows *= r.rows == 1 ? 8 : 4) {
        double ms = time_of(matvec_body, &r);
        say("matvec", qu_type_name((qu_type)type), r.rows, (double)r.bytes / ms / 1e6, "GB/s",
            (double)r.bytes / ms * 1e3 / ceiling);
    }
    if (type == QU_TYPE_BF16 || type == QU_TYPE_Q8_0)
        say("gemm", qu_type_name((qu_type)type), 512,
            2e-9 * 512 * (double)n / time_of(gemm_body, &r), "TFLOP/s", 0);
    void *there[] = {r.w, stage, r.x, r.y, r.dense};
    for (int i = 0; i < 5; i++) qu_cuda_free(cu, there[i]);
    free(x), free(w);
}

int main(int argc, char **argv)
{
    static const int types[] = {QU_TYPE_BF16, QU_TYPE_F16,  QU_TYPE_Q8_0,
                                QU_TYPE_Q4_0, QU_TYPE_Q4_K, QU_TYPE_Q6_K};
    int32_t pages[] = {128, 1024};
    bool products = true;
    if (argc == 2 && !strcmp(argv[1], "--small")) {
        slices_max = 64, weight_rows = 64, weight_k = 512, copies = 2, pages[0] = 2, pages[1] = 4;
    } else if (argc == 3 && !strcmp(argv[1], "--tokens") && atoi(argv[2]) >= P &&
               atoi(argv[2]) <= slices_max / G * P) {
        pages[0] = atoi(argv[2]) / P, pages[1] = 0, products = false;
    } else if (argc > 1) {
        fprintf(stderr, "usage: cuda_kernels [--small | --tokens N]\n");
        return 2;
    }
    must(qu_cuda_open(&cu, 0, &err));
    printf("{\"device\":\"%s\",\"arch\":%d}\n", qu_cuda_name(cu), qu_cuda_arch(cu));
    bench_copy();
    for (int i = 0; i < 2 && pages[i] > 0; i++)
        for (int codec = QU_CODEC_F16; codec < QU_CODEC_COUNT; codec++)
            bench_attend(codec, pages[i]);
    for (size_t i = 0; products && i < sizeof types / sizeof *types; i++) bench_products(types[i]);
    qu_cuda_close(cu);
    return 0;
}
