/* Summaries and selection inside a context, on random keys and a random model. */
#include "tests/testing.h"

#include "base/dims.h"
#include "base/pool.h"
#include "decode/context.h"
#include "decode/page_memory.h"
#include "kernels/codec.h"
#include "kernels/isa.h"
#include "kernels/summary.h"

/* --- a summary --- */

enum { D = 64, N = 117, PAD = 128, ONE = QU_SUMMARY_TOKENS }; /* ONE: tokens of one cluster */

typedef struct summarised {
    float k[N * D], kt[D * PAD], v[N * D], q[D];
    char data[8192];
    float cell[QU_SUMMARY_CLUSTERS * 5 * D / 2];
    qu_summary s;
    qu_rope *rope;
    double logit[N]; /* q . k, both where the page stands */
} summarised;

/* n random keys, summarised at 0 and asked where the page begins at pos. */
static void make_summary(summarised *x, int32_t n, int64_t pos, float scale, uint64_t seed)
{
    float c[D / 2 * PAD], s[D / 2 * PAD], *scratch = malloc((size_t)qu_summary_scratch(PAD, D) * 4);
    qu_rope_config config = {.n_dims = D, .halves = seed % 2, .base = 10000, .linear = 1};
    TEST_OK(qu_rope_create(&x->rope, &config, err));
    for (int32_t i = 0; i < n * D; i++) {
        x->k[i] = scale * test_uniform(&seed) + (i % D == 3 ? 5 : 0); /* one biased channel */
        x->v[i] = test_uniform(&seed);
    }
    for (int32_t i = 0; i < D; i++) x->q[i] = scale * test_uniform(&seed);
    qu_rope_angles(x->rope, 0, n, PAD, c, s);
    qu_rope_page(x->kt, PAD, x->k, n, D, x->rope, c, s, PAD);
    assert_true(qu_summary_bytes(n, D) <= (int64_t)sizeof x->data);
    qu_summary_make(x->data, x->kt, PAD, x->v, D, n, D, x->rope, scratch);
    qu_summary_read(&x->s, x->data, n, D, x->cell);
    qu_rope_angles(x->rope, pos, n, PAD, c, s);
    for (int32_t t = 0; t < n; t++) {
        float key[D];
        memcpy(key, x->k + t * D, sizeof key);
        qu_rope_vector(key, x->rope, c, s, PAD, t);
        x->logit[t] = 0;
        for (int32_t i = 0; i < D; i++) x->logit[t] += (double)x->q[i] * key[i];
    }
    free(scratch);
}

static double cluster_logit(const summarised *x, int32_t i, int64_t pos)
{
    float c[D / 2 * 16], s[D / 2 * 16], key[D];
    double sum = 0;
    memcpy(key, x->s.key + i * D, sizeof key);
    qu_rope_angles(x->rope, pos, 1, 16, c, s);
    qu_rope_vector(key, x->rope, c, s, 16, 0);
    for (int32_t j = 0; j < D; j++) sum += (double)x->q[j] * key[j];
    return sum;
}

/* The counted mean of the clusters' logits is the mean of all logits, wherever the page stands. */
static void turning_a_mean_is_exact(void **state)
{
    (void)state;
    for (int32_t n = 1; n <= N; n += 29)
        for (int64_t pos = 0; pos < 100000; pos = pos * 7 + 13) {
            summarised x;
            make_summary(&x, n, pos, 1, (uint64_t)(n + pos));
            double mean = 0, clusters = 0, mass = 0, bound = 0;
            uint32_t count = 0;
            for (int32_t i = 0; i < qu_summary_clusters(n); i++) {
                assert_in_range(x.s.count[i], 0, QU_SUMMARY_CAP);
                count += x.s.count[i];
                clusters += x.s.count[i] * cluster_logit(&x, i, pos) / n;
                bound += x.s.count[i] * exp(cluster_logit(&x, i, pos));
            }
            for (int32_t t = 0; t < n; t++) {
                mean += x.logit[t] / n;
                mass += exp(x.logit[t]);
            }
            assert_int_equal(count, n);
            assert_true(fabs(mean - clusters) < 2e-2 * (1 + fabs(mean))); /* bytes */
            assert_true(bound <= mass * 1.03);
            qu_rope_free(x.rope);
        }
}

static void values_and_spread_are_means(void **state)
{
    (void)state;
    summarised x;
    make_summary(&x, ONE, 0, 1, 7);
    for (int32_t i = 0; i < D; i++) {
        double v = 0;
        for (int32_t t = 0; t < ONE; t++) v += (double)x.v[t * D + i] / ONE;
        assert_true(fabs(v - (double)x.s.value[i]) < 1e-3);
    }
    double var = 0, spread = 0; /* the trace does not change by turning */
    for (int32_t i = 0; i < D; i++) {
        double mean = 0;
        for (int32_t t = 0; t < ONE; t++) mean += (double)x.kt[i * PAD + t] / ONE;
        for (int32_t t = 0; t < ONE; t++) var += pow((double)x.kt[i * PAD + t] - mean, 2) / ONE;
    }
    for (int32_t j = 0; j < D / 2; j++) spread += 2 * (double)x.s.spread[j];
    assert_true(fabs(var - spread) < 1e-3 * var);
    qu_rope_free(x.rope);
}

/* Equal keys, which would all go to one mean. */
static void no_cluster_swallows_a_page(void **state)
{
    (void)state;
    static float kt[D * PAD], v[PAD * D];
    float *scratch = malloc((size_t)qu_summary_scratch(PAD, D) * 4);
    char data[8192];
    float cell[QU_SUMMARY_CLUSTERS * 5 * D / 2];
    qu_summary s;
    qu_rope *rope;
    qu_rope_config config = {.n_dims = D, .base = 10000, .linear = 1};
    TEST_OK(qu_rope_create(&rope, &config, err));
    qu_summary_make(data, kt, PAD, v, D, PAD, D, rope, scratch);
    qu_summary_read(&s, data, PAD, D, cell);
    uint32_t sum = 0;
    for (int32_t i = 0; i < QU_SUMMARY_CLUSTERS; i++) {
        assert_in_range(s.count[i], 0, QU_SUMMARY_CAP);
        sum += s.count[i];
    }
    assert_int_equal(sum, PAD);
    qu_rope_free(rope);
    free(scratch);
}

/* --- masses and hidden keys, in each instruction set --- */

static void masses_match_reference(void **state)
{
    (void)state;
    enum { ROWS = 7, KEYS = 40, COLS = 48 };
    uint64_t seed = 5;
    float q[ROWS * D], q2[ROWS * D / 2], kt[D * COLS], spread[D / 2 * COLS], bias[COLS], mass[COLS];
    float *scratch = malloc(sizeof(float) * ROWS * (2 * COLS + 2));
    for (int i = 0; i < ROWS * D; i++) q[i] = test_uniform(&seed);
    for (int i = 0; i < ROWS * D / 2; i++) q2[i] = test_uniform(&seed) + 1;
    for (int i = 0; i < D * COLS; i++) kt[i] = i % COLS < KEYS ? test_uniform(&seed) : 0;
    for (int i = 0; i < D / 2 * COLS; i++) spread[i] = (test_uniform(&seed) + 1) * .3f;
    for (int i = 0; i < COLS; i++)
        bias[i] = i < KEYS && i % 5 != 1 ? logf((float)(1 + i % 17)) : -INFINITY;
    qu_attend_kv kv = {
        .kt = kt, .bias = bias, .n = COLS, .n_pad = COLS, .spread = spread};
    /* the same in bytes, in two parts: 32 columns and the other 8 */
    static float cut[2][D * COLS];
    char *bytes[2][2];
    qu_attend_kv parts[2];
    for (int p = 0; p < 2; p++) {
        int from = p * 32, n = p ? KEYS - 32 : 32, n_pad = p ? COLS - 32 : 32;
        for (int what = 0; what < 2; what++) {
            int depth = what ? D / 2 : D;
            for (int j = 0; j < depth; j++)
                memcpy(cut[what] + j * n_pad, (what ? spread : kt) + j * COLS + from,
                       (size_t)n_pad * sizeof *kt);
            bytes[p][what] = malloc((size_t)qu_attend_kt_bytes(QU_ATTEND_BYTES, depth, n_pad));
            qu_attend_pack_kt(QU_ATTEND_BYTES, bytes[p][what], cut[what], n, n_pad, depth);
        }
        parts[p] = (qu_attend_kv){.kt = bytes[p][0], .bias = bias + from, .type = QU_ATTEND_BYTES,
                                  .n = n, .n_pad = n_pad, .spread = bytes[p][1]};
    }
    for (int with = 0; with < 2; with++) {
        double want[COLS] = {0};
        for (int r = 0; r < ROWS; r++) {
            double x[COLS], sum = 0;
            for (int i = 0; i < COLS; i++) {
                double v = 0, c = (double)QU_SPREAD_LIMIT * fmax((double)bias[i], 0);
                x[i] = (double)bias[i];
                for (int j = 0; j < D; j++) x[i] += (double)q[r * D + j] * kt[j * COLS + i];
                for (int j = 0; j < D / 2; j++)
                    v += (double)q2[r * D / 2 + j] * spread[j * COLS + i];
                if (with) x[i] += sqrt(c * (c + v)) - c;
                sum += exp(x[i]);
            }
            for (int i = 0; i < COLS; i++) want[i] += exp(x[i]) / sum;
        }
        qu_isa before = qu_isa_current();
        for (qu_isa isa = 0; isa < QU_ISA_COUNT; isa++) {
            if (!qu_isa_force(isa)) continue;
            memset(mass, 0, sizeof mass);
            qu_attend_mass(mass, q, D, ROWS, D, &kv, 1, with ? q2 : NULL, scratch);
            for (int i = 0; i < COLS; i++) assert_true(fabs(mass[i] - want[i]) < 1e-5);
            memset(mass, 0, sizeof mass);
            qu_attend_mass(mass, q, D, ROWS, D, parts, 2, with ? q2 : NULL, scratch);
            for (int i = 0; i < COLS; i++)
                assert_true(fabs(mass[i] - want[i]) <= .02 * want[i] + 1e-5);
            qu_isa_force(before);
        }
    }
    for (int i = 0; i < COLS; i++) bias[i] = -INFINITY; /* nothing to see: no weight, no NaN */
    memset(mass, 0, sizeof mass);
    qu_attend_mass(mass, q, D, ROWS, D, &kv, 1, NULL, scratch);
    for (int i = 0; i < COLS; i++) assert_true(mass[i] == 0);
    for (int i = 0; i < 4; i++) free(bytes[i / 2][i % 2]);
    free(scratch);
}

/* Placed at once as read, then turned: the same bits in every instruction set, and nothing beside
 * the page's columns is touched. */
static void placing_is_reading_and_turning(void **state)
{
    (void)state;
    static const int32_t sizes[] = {8, 20, 64, 80, 256}, counts[] = {1, 8, 100, 128};
    enum { LD = 48, AT = 5 };
    uint64_t seed = 77;
    qu_isa before = qu_isa_current();
    for (int i = 0; i < 20; i++) {
        int32_t d = sizes[i / 4], n = counts[i % 4], dp = qu_attend_pad(d);
        int32_t clusters = qu_summary_clusters(n), n_pad = (n + 15) / 16 * 16;
        qu_rope *r;
        qu_rope_config config = {.n_dims = i % 3 ? d : d - 4, .halves = i % 2, .base = 1e4f,
                                 .linear = 1};
        TEST_OK(qu_rope_create(&r, &config, err));
        float *k = calloc((size_t)(d * n_pad), 4), *v = calloc((size_t)(n * dp), 4),
              *scratch = malloc((size_t)qu_summary_scratch(n_pad, d) * 4),
              *cells = malloc((size_t)(clusters * qu_summary_width(d)) * 4), c[256], s[256];
        char *data = malloc((size_t)qu_summary_bytes(n, d));
        for (int32_t j = 0; j < d * n_pad; j++) k[j] = j % n_pad < n ? test_uniform(&seed) : 0;
        for (int32_t j = 0; j < n * dp; j++) v[j] = test_uniform(&seed);
        qu_summary_make(data, k, n_pad, v, dp, n, d, r, scratch);
        qu_rope_angles(r, 12345, 1, 1, c, s);
        float *kt = malloc((size_t)d * LD * 4), *values = malloc((size_t)(clusters * dp) * 4),
              *spread = malloc((size_t)d * LD * 2), bias[QU_SUMMARY_CLUSTERS];
        for (qu_isa isa = 0; isa < QU_ISA_COUNT; isa++) {
            if (!qu_isa_force(isa)) continue;
            for (int32_t j = 0; j < d * LD; j++) kt[j] = 99;
            qu_summary x;
            qu_summary_read(&x, data, n, d, cells);
            qu_summary_place(data, n, d, r, c, s, kt + AT, values, spread + AT, LD, bias);
            for (int32_t p = 0; p < clusters; p++) {
                float *key = cells + p * d;
                qu_rope_vector(key, r, c, s, 1, 0);
                for (int32_t j = 0; j < d; j++) assert_true(kt[j * LD + AT + p] == key[j]);
                for (int32_t j = 0; j < d / 2; j++)
                    assert_true(spread[j * LD + AT + p] == x.spread[p * (d / 2) + j]);
                assert_memory_equal(values + p * dp, x.value + p * d, (size_t)d * 4);
                assert_true(bias[p] == (x.count[p] ? logf((float)x.count[p]) : -INFINITY));
            }
            for (int32_t j = 0; j < d; j++)
                assert_true(kt[j * LD + AT - 1] == 99 && kt[j * LD + AT + clusters] == 99);
            qu_isa_force(before);
        }
        qu_rope_free(r);
        free(k), free(v), free(scratch), free(cells), free(data), free(kt), free(values);
        free(spread);
    }
}

/* --- a context with a hook --- */

static qu_model *model;

enum { PAGES = 20, QUESTION = 11, ANSWER = 10, EVERY = 3 };

typedef struct setup {
    int32_t ids[PAGES * QU_PAGE_TOKENS];
    qu_page_tokens pages[PAGES];
    qu_page_memory *memory[PAGES];
    int64_t end;
    int codec;
} setup;

static qu_status keep(void *ctx, int32_t page, int32_t layer, int32_t g, const void *data, size_t n,
                      qu_err *err)
{
    (void)err;
    memcpy(qu_page_memory_slice(((setup *)ctx)->memory[page], layer, g), data, n);
    return QU_OK;
}

static qu_status keep_summary(void *ctx, int32_t page, const void *data, size_t n, qu_err *err)
{
    return qu_page_memory_summarise(((setup *)ctx)->memory[page], data, n, err);
}

/* tokens: of every page but the first, 0 = of many sizes. */
static void set_up(setup *s, int codec, int32_t tokens)
{
    uint64_t seed = 99;
    qu_context *c;
    memset(s, 0, sizeof *s);
    s->codec = codec;
    for (int32_t p = 0, at = 0; p < PAGES; p++) {
        int32_t n = p == 0 ? 5 : tokens ? tokens : 1 + (int32_t)(test_random(&seed) % 128);
        s->pages[p] = (qu_page_tokens){s->ids + at, n, s->end + (p > 4 ? 50 : 0)};
        for (int32_t i = 0; i < n; i++)
            s->ids[at++] = (int32_t)(test_random(&seed) % (uint64_t)model->vocab);
        s->end = s->pages[p].pos + n;
        TEST_OK(qu_page_memory_create(&s->memory[p], model, codec, n, err));
    }
    TEST_OK(qu_context_create(&c, model, NULL, codec, err));
    qu_page_sink sink = {keep, s, keep_summary};
    TEST_OK(qu_context_prefill(c, s->pages, PAGES, &sink, err));
    qu_context_free(c);
}

static void tear_down(setup *s)
{
    for (int32_t p = 0; p < PAGES; p++) qu_page_memory_free(s->memory[p]);
}

static qu_context *attach(setup *s, const qu_select_hook *hook, qu_pool *pool)
{
    qu_context *c;
    TEST_OK(qu_context_create(&c, model, pool, s->codec, err));
    for (int32_t p = 0; p < PAGES; p++) {
        qu_page_source source = qu_page_memory_source(s->memory[p]);
        if (p == 0 || p == PAGES - 1) source.summary = NULL;
        TEST_OK(qu_context_attach(c, s->pages[p].n, s->pages[p].pos, &source, err));
    }
    qu_context_select(c, hook);
    return c;
}

/* Reads everything, or nothing, or what the queries' bits say: a choice that changes with the
 * rows. */
typedef struct chooser {
    enum { ALL, NONE, BY_QUERY } what;
    int calls, pages, rows;
} chooser;

static qu_status choose(void *ctx, const qu_sense *heads, int32_t n_heads, uint8_t *use,
                        qu_err *err)
{
    (void)err;
    chooser *h = ctx;
    h->calls++;
    h->pages = heads[0].n_pages;
    h->rows = heads[0].n_rows;
    for (int32_t g = 0; g < n_heads; g++)
        for (int32_t p = 0; p < heads[g].n_pages; p++) {
            uint32_t bits;
            memcpy(&bits, heads[g].q + p % heads[g].ldq, sizeof bits);
            use[p * n_heads + g] = h->what == ALL || (h->what == BY_QUERY && bits % 2);
        }
    return QU_OK;
}

/* Logits of the question's last token and of each answer token, steps cut as groups says. */
static void run(qu_context *c, const setup *s, const int32_t *groups, float *logits)
{
    int64_t pos = s->end, v = model->vocab;
    const int32_t *ids = s->ids + 7;
    TEST_OK(qu_context_step(c, ids, QUESTION, pos, 1, logits, err));
    for (int32_t done = 0; done < ANSWER;) {
        int32_t n = *groups++;
        TEST_OK(qu_context_step(c, ids + QUESTION + done, n, pos + QUESTION + done, n,
                                logits + (1 + done) * v, err));
        done += n;
    }
}

static float *room(void)
{
    return calloc((size_t)(1 + ANSWER) * (size_t)model->vocab, sizeof(float));
}

static const int32_t one_by_one[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, grouped[] = {4, 1, 5};

static void choosing_all_is_reading_all(void **state)
{
    (void)state;
    for (int codec = 0; codec < QU_CODEC_COUNT; codec++) {
        setup s;
        chooser all = {.what = ALL};
        qu_select_hook hook = {choose, NULL, &all, false, true, EVERY, NULL, false};
        float *dense = room(), *chosen = room();
        set_up(&s, codec, 0);
        qu_context *a = attach(&s, NULL, NULL), *b = attach(&s, &hook, NULL);
        run(a, &s, one_by_one, dense);
        run(b, &s, grouped, chosen);
        assert_memory_equal(dense, chosen, sizeof(float) * (1 + ANSWER) * (size_t)model->vocab);
        assert_int_equal(all.pages, PAGES - 2);
        assert_int_equal(all.calls, model->n_layers * (1 + (ANSWER - 1) / EVERY));
        qu_context_free(a);
        qu_context_free(b);
        tear_down(&s);
        free(dense);
        free(chosen);
    }
}

static void place_alone(bool in_bytes)
{
    setup s;
    chooser by = {.what = BY_QUERY};
    /* reads whole slices before it chooses, on three threads, with more clusters than a page has
     * tokens; or holds pages in bytes */
    qu_select_hook hook = {choose, NULL, &by, !in_bytes, true, EVERY, NULL, in_bytes};
    float *want = room(), *got = room(), *none = room();
    size_t bytes = sizeof(float) * (1 + ANSWER) * (size_t)model->vocab;
    qu_pool *pool;
    TEST_OK(qu_pool_create(&pool, 3, err));
    set_up(&s, QU_CODEC_F16, 0);
    qu_context *a = attach(&s, &hook, NULL), *b = attach(&s, &hook, pool);
    run(a, &s, one_by_one, want);
    run(b, &s, grouped, got);
    assert_memory_equal(want, got, bytes);
    int32_t other[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (int64_t keep_n = QUESTION; keep_n < QUESTION + ANSWER; keep_n += 2) {
        qu_context_rewind(b, keep_n); /* a draft that crosses a refresh, taken back */
        TEST_OK(qu_context_step(b, other, 8, s.end + keep_n, 0, NULL, err));
        qu_context_rewind(b, keep_n);
        memset(got, 0, bytes);
        int64_t left = QUESTION + ANSWER - keep_n;
        TEST_OK(qu_context_step(b, s.ids + 7 + keep_n, (int32_t)left, s.end + keep_n, (int32_t)left,
                                got, err));
        assert_memory_equal(want + (1 + keep_n - QUESTION) * model->vocab, got,
                            (size_t)left * (size_t)model->vocab * sizeof *got);
    }
    chooser nothing = {.what = NONE};
    qu_select_hook blind = {choose, NULL, &nothing, false, false, 0, NULL, false};
    qu_context *c = attach(&s, &blind, NULL);
    run(c, &s, grouped, none);
    assert_memory_not_equal(want, none, bytes); /* the choice is felt */
    assert_int_equal(nothing.calls, model->n_layers);
    assert_int_equal(nothing.rows, QUESTION * model->n_heads / model->n_kv_heads);
    qu_context_free(a);
    qu_context_free(b);
    qu_context_free(c);
    tear_down(&s);
    free(want);
    free(got);
    free(none);
    qu_pool_free(pool);
}

/* Whatever the grouping, the number of threads, and what was tried and taken back in between. */
static void a_choice_depends_on_place_alone(void **state)
{
    (void)state;
    place_alone(false);
    place_alone(true);
}

/* Pages and far field in bytes: near those in halves, whether all is chosen, some or nothing. */
static void bytes_are_near_halves(void **state)
{
    (void)state;
    setup s;
    float *halves = room(), *bytes = room();
    int64_t n = (1 + ANSWER) * (int64_t)model->vocab;
    set_up(&s, QU_CODEC_F16, 0);
    for (int what = ALL; what <= NONE; what++) {
        chooser one = {.what = what}, other = {.what = what};
        qu_select_hook held = {choose, NULL, &one, false, true, EVERY, NULL, false};
        qu_select_hook small = {choose, NULL, &other, false, true, EVERY, NULL, true};
        qu_context *a = attach(&s, &held, NULL), *b = attach(&s, &small, NULL);
        run(a, &s, grouped, halves);
        run(b, &s, grouped, bytes);
        double off = test_spread_error(bytes, halves, n);
        print_message("logits from bytes %.2g of the spread from those from halves\n", off);
        assert_true(off > 0 && off < 2e-2);
        qu_context_free(a);
        qu_context_free(b);
    }
    tear_down(&s);
    free(halves);
    free(bytes);
}

/* Pages of one token are their own clusters: the far field alone is the whole, but for rounding. */
static void far_field_of_single_tokens_is_dense(void **state)
{
    (void)state;
    setup s;
    chooser nothing = {.what = NONE}, some = {.what = BY_QUERY};
    qu_select_hook far = {choose, NULL, &nothing, false, true, 0, NULL, false};
    qu_select_hook half = {choose, NULL, &some, false, true, EVERY, NULL, false};
    qu_select_hook blind = {choose, NULL, &nothing, false, false, 0, NULL, false};
    float *dense = room(), *with = room(), *mixed = room(), *without = room();
    int64_t n = (1 + ANSWER) * (int64_t)model->vocab;
    set_up(&s, QU_CODEC_F32, 1);
    qu_context *a = attach(&s, NULL, NULL), *b = attach(&s, &far, NULL),
               *c = attach(&s, &blind, NULL), *d = attach(&s, &half, NULL);
    run(a, &s, grouped, dense);
    run(b, &s, grouped, with);
    run(c, &s, grouped, without);
    run(d, &s, grouped, mixed);
    double near = test_spread_error(with, dense, n), off = test_spread_error(without, dense, n);
    print_message("logits with the far field %.2g of the spread, without %.2g\n", near, off);
    assert_true(near < 2e-3 && off > 10 * near);
    assert_true(test_spread_error(mixed, dense, n) < 2e-3); /* nothing counts twice */
    qu_context_free(a);
    qu_context_free(b);
    qu_context_free(c);
    qu_context_free(d);
    tear_down(&s);
    free(dense);
    free(with);
    free(mixed);
    free(without);
}

/* --- a summary that is missing or damaged --- */

static qu_status no_summary(void *ctx, const void **data, size_t *bytes, qu_err *err)
{
    (void)ctx;
    (void)data;
    (void)bytes;
    return qu_fail(err, QU_ERR_NOTFOUND, "none");
}

static qu_status short_summary(void *ctx, const void **data, size_t *bytes, qu_err *err)
{
    (void)ctx;
    (void)err;
    *data = "";
    *bytes = 1;
    return QU_OK;
}

static void missing_and_damaged_summaries(void **state)
{
    (void)state;
    for (int damaged = 0; damaged < 2; damaged++) {
        setup s;
        chooser nothing = {.what = NONE};
        qu_select_hook hook = {choose, NULL, &nothing, false, true, 0, NULL, false};
        qu_err e = {0};
        qu_context *c;
        set_up(&s, QU_CODEC_Q8, 0);
        TEST_OK(qu_context_create(&c, model, NULL, s.codec, err));
        for (int32_t p = 0; p < PAGES; p++) {
            qu_page_source source = qu_page_memory_source(s.memory[p]);
            if (p == 3) source.summary = damaged ? short_summary : no_summary;
            TEST_OK(qu_context_attach(c, s.pages[p].n, s.pages[p].pos, &source, err));
        }
        qu_context_select(c, &hook);
        qu_status st = qu_context_step(c, s.ids, 3, s.end, 0, NULL, &e);
        assert_int_equal(st, damaged ? QU_ERR_CORRUPT : QU_OK);
        if (!damaged) assert_int_equal(nothing.pages, PAGES - 1); /* page 3 is always read */
        qu_context_free(c);
        tear_down(&s);
    }
}

static int open_model(void **state)
{
    (void)state;
    const char *b = getenv("B") ? getenv("B") : "build/release";
    char path[256], command[700];
    qu_err err;
    snprintf(path, sizeof path, "%s/tests/select.gguf", b);
    snprintf(
        command, sizeof command,
        "%s/mkmodel --random --heads 4 --kv-heads 2 --head-size 32 --layers 3 --type F32 -o %s", b,
        path);
    if (system(command) != 0 || qu_model_open(&model, path, &err) != QU_OK) return -1;
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    qu_model_close(model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turning_a_mean_is_exact),
        cmocka_unit_test(values_and_spread_are_means),
        cmocka_unit_test(no_cluster_swallows_a_page),
        cmocka_unit_test(masses_match_reference),
        cmocka_unit_test(placing_is_reading_and_turning),
        cmocka_unit_test(choosing_all_is_reading_all),
        cmocka_unit_test(a_choice_depends_on_place_alone),
        cmocka_unit_test(bytes_are_near_halves),
        cmocka_unit_test(far_field_of_single_tokens_is_dense),
        cmocka_unit_test(missing_and_damaged_summaries),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
