/* Contexts on a device against contexts on the processor: the same model, pages and questions. Runs
 * the device's side under tests/emulate; unit_cuda_context_device.c is the same on a device. */
#include "tests/testing.h"

#include "base/dims.h"
#include "base/pool.h"
#include "decode/cuda_int.h"
#include "decode/device.h"
#include "decode/page_memory.h"
#include "decode/repair.h"
#include "kernels/codec.h"
#include "kernels/cuda/cuda.h"
#include "retrieve/policy.h"

extern long emulate_fail __attribute__((weak)), emulate_leaks __attribute__((weak)),
    emulate_waits __attribute__((weak)), emulate_replays __attribute__((weak));

enum { PAGES = 5, QUESTION = 37, ANSWER = 5, LIVE = 115 };

static const char *const shapes[] = {
    "--shape tiny --type Q8_0",
    "--shape tiny --type Q8_0 --arch qwen2 --heads 6 --kv-heads 2 --head-size 64",
    "--shape tiny --type F16 --arch qwen3 --head-size 80 --kv-heads 4",
};

/* One model on both sides. */
typedef struct sides {
    qu_model *host, *device;
    qu_pool *pool;
} sides;

static const char *make_model(const char *shape)
{
    static char path[256];
    char command[900];
    const char *b = getenv("B") ? getenv("B") : "build/release";
    snprintf(path, sizeof path, "%s/tests/cuda-%d.gguf", b, (int)getpid());
    snprintf(command, sizeof command, "%s/mkmodel --random %s --seed 3 -o %s", b, shape, path);
    assert_int_equal(system(command), 0);
    return path;
}

static void open_sides(sides *s, const char *shape)
{
    const char *path = make_model(shape);
    TEST_OK(qu_model_open(&s->host, path, err));
    TEST_OK(qu_model_open(&s->device, path, err));
    TEST_OK(qu_device_attach(s->device, "cuda", err));
    TEST_OK(qu_pool_create(&s->pool, 2, err));
    assert_non_null(qu_device_name(s->device));
    remove(path);
}

static void close_sides(sides *s)
{
    qu_model_close(s->host);
    qu_model_close(s->device);
    qu_pool_free(s->pool);
    if (&emulate_leaks) assert_int_equal(emulate_leaks, 0);
}

typedef struct book {
    int32_t ids[PAGES * 128 + QUESTION + LIVE];
    qu_page_tokens pages[PAGES];
    qu_page_memory *memory[PAGES];
    int64_t end;
    int codec;
    uint64_t key; /* of its pages as sources; 0: none */
} book;

static qu_status keep(void *ctx, int32_t page, int32_t layer, int32_t g, const void *data, size_t n,
                      qu_err *err)
{
    (void)err;
    book *b = ctx;
    assert_int_equal(n, qu_page_memory_bytes(b->memory[page]));
    memcpy(qu_page_memory_slice(b->memory[page], layer, g), data, n);
    return QU_OK;
}

static qu_status keep_summary(void *ctx, int32_t page, const void *data, size_t n, qu_err *err)
{
    return qu_page_memory_summarise(((book *)ctx)->memory[page], data, n, err);
}

/* Pages of many sizes with a gap, prefilled by a context of m. */
static void write_book(book *b, const sides *s, qu_model *m, int codec)
{
    uint64_t seed = 7;
    qu_context *c;
    memset(b, 0, sizeof *b);
    b->codec = codec;
    for (size_t i = 0; i < sizeof b->ids / sizeof *b->ids; i++)
        b->ids[i] = (int32_t)(test_random(&seed) % (uint64_t)m->vocab);
    for (int32_t p = 0, at = 0; p < PAGES; p++) {
        int32_t n = p == 0 ? 5 : p % 2 ? 128 : 1 + (int32_t)(test_random(&seed) % 40);
        b->pages[p] = (qu_page_tokens){b->ids + at, n, b->end + (p > 2 ? 40 : 0)};
        b->end = b->pages[p].pos + n;
        at += n;
        TEST_OK(qu_page_memory_create(&b->memory[p], m, codec, n, err));
    }
    TEST_OK(qu_context_create(&c, m, s->pool, codec, err));
    qu_page_sink sink = {keep, b, keep_summary};
    TEST_OK(qu_context_prefill(c, b->pages, PAGES, &sink, err));
    qu_context_free(c);
}

static void burn(book *b)
{
    for (int32_t p = 0; p < PAGES; p++) qu_page_memory_free(b->memory[p]);
}

static qu_context *attach(book *b, const sides *s, qu_model *m, const qu_select_hook *hook)
{
    qu_context *c;
    TEST_OK(qu_context_create(&c, m, s->pool, b->codec, err));
    for (int32_t p = 0; p < PAGES; p++) {
        qu_page_source source = qu_page_memory_source(b->memory[p]);
        if (p == 0 || p == PAGES - 1) source.summary = NULL;
        if (b->key) source.key[0] = b->key, source.key[1] = (uint64_t)p;
        TEST_OK(qu_context_attach(c, b->pages[p].n, b->pages[p].pos, &source, err));
    }
    qu_context_select(c, hook);
    return c;
}

/* Logits of the question's last token and of ANSWER more, n tokens a step. */
static float *ask(qu_context *c, const book *b, const qu_model *m, int32_t n)
{
    const int32_t *ids = b->ids + PAGES * 128;
    int64_t v = m->vocab;
    float *out = calloc((size_t)(1 + ANSWER) * (size_t)v, sizeof *out);
    TEST_OK(qu_context_step(c, ids, QUESTION, b->end, 1, out, err));
    for (int32_t i = 0; i < ANSWER; i += n) {
        int32_t take = ANSWER - i < n ? ANSWER - i : n;
        TEST_OK(qu_context_step(c, ids + QUESTION + i, take, b->end + QUESTION + i, take,
                                out + (1 + i) * v, err));
    }
    return out;
}

static int64_t answer_bytes(const qu_model *m)
{
    return (1 + ANSWER) * (int64_t)m->vocab * 4;
}

/* A greedy step gives what the sampler makes of the same step's logits. */
static void chooses_as_its_logits_say(book *b, const sides *s)
{
    enum { N = 4 };
    qu_model *m = s->device;
    qu_choice got[N];
    float *logits = calloc((size_t)m->vocab * N, sizeof *logits);
    for (int k = 0; k < 2; k++) {
        qu_context *c = attach(b, s, m, NULL);
        if (k) /* in two passes */
            TEST_OK(qu_context_step_greedy(c, b->ids, 62 + N, b->end, N, got, err));
        else TEST_OK(qu_context_step(c, b->ids, 62 + N, b->end, N, logits, err));
        qu_context_free(c);
    }
    for (int i = 0; i < N; i++) {
        const float *row = logits + (int64_t)i * m->vocab;
        assert_int_equal(got[i].id, qu_sample_greedy(row, m->vocab));
        assert_true(fabs(got[i].share - qu_sample_share(row, m->vocab, got[i].id)) < 1e-5);
    }
    free(logits);
    qu_err e;
    qu_context *c = attach(b, s, s->host, NULL);
    assert_int_equal(qu_context_step_greedy(c, b->ids, 1, b->end, 1, got, &e), QU_ERR_UNSUPPORTED);
    qu_context_free(c);
}

/* Pages of the processor, read on both sides: what remains is the rounding of keys to halves, which
 * are turned inside their page there and to their position here, and the order of sums. */
static void stored_pages_answer_alike(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int codec = QU_CODEC_F16; codec < (i == 0 ? QU_CODEC_COUNT : QU_CODEC_Q8); codec++) {
            sides s;
            book b;
            open_sides(&s, shapes[i]);
            write_book(&b, &s, s.host, codec);
            qu_context *a = attach(&b, &s, s.host, NULL), *d = attach(&b, &s, s.device, NULL);
            float *x = ask(a, &b, s.host, 1), *y = ask(d, &b, s.device, 1);
            double e = test_spread_error(y, x, answer_bytes(s.host) / 4);
            print_message("%-70s %s: %.2g of the logits' spread\n", shapes[i], qu_codec_name(codec),
                          e);
            assert_true(e < 1e-3);
            if (i == 0 && codec == QU_CODEC_F16) chooses_as_its_logits_say(&b, &s);
            assert_int_equal(qu_context_stats_get(a).bytes_read,
                             qu_context_stats_get(d).bytes_read);
            assert_int_equal(qu_context_stats_get(a).slices_read,
                             qu_context_stats_get(d).slices_read);
            free(x), free(y);
            qu_context_free(a), qu_context_free(d);
            burn(&b);
            close_sides(&s);
        }
}

/* Pages made on the device, where products are bf16: near the processor's, and read again they give
 * the very bits that the context gives that made them. */
static void fresh_pages_answer_as_stored_ones(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int codec = i == 0 ? QU_CODEC_F32 : QU_CODEC_Q8;
             codec < (i == 0 ? QU_CODEC_COUNT : QU_CODEC_Q4); codec++) {
            sides s;
            book b, h;
            qu_context *fresh;
            open_sides(&s, shapes[i]);
            write_book(&b, &s, s.device, codec);
            write_book(&h, &s, s.host, codec);
            TEST_OK(qu_context_create(&fresh, s.device, s.pool, codec, err));
            TEST_OK(qu_context_prefill(fresh, b.pages, 3, NULL, err)); /* in other chunks */
            TEST_OK(qu_context_prefill(fresh, b.pages + 3, PAGES - 3, NULL, err));
            qu_context *stored = attach(&b, &s, s.device, NULL),
                       *host = attach(&h, &s, s.host, NULL);
            float *x = ask(fresh, &b, s.device, 1), *y = ask(stored, &b, s.device, 1),
                  *z = ask(host, &h, s.host, 1);
            assert_memory_equal(x, y, (size_t)answer_bytes(s.device));
            double e = test_spread_error(x, z, answer_bytes(s.device) / 4);
            print_message("%-70s %s: %.2g of the logits' spread\n", shapes[i], qu_codec_name(codec),
                          e);
            /* bf16 moves keys over steps of 1/15 */
            assert_true(e < (codec == QU_CODEC_Q4 ? .2 : 5e-2));
            free(x), free(y), free(z);
            qu_context_free(fresh), qu_context_free(stored), qu_context_free(host);
            burn(&b), burn(&h);
            close_sides(&s);
        }
}

/* A token's bits do not depend on the tokens it is stepped with, nor on what was stepped and taken
 * back. */
static void grouping_and_rewinding_change_nothing(void **state)
{
    (void)state;
    sides s;
    book b;
    open_sides(&s, shapes[0]);
    write_book(&b, &s, s.device, QU_CODEC_Q8);
    qu_policy *p;
    qu_policy_options o = {"multipole", 200, true, 3, false, NULL, s.pool, false};
    TEST_OK(qu_policy_create(&p, &o, s.device->n_layers, s.device->n_kv_heads, err));
    const qu_select_hook *hooks[] = {NULL, qu_policy_hook(p)};
    for (int i = 0; i < 2; i++) {
        qu_context *a = attach(&b, &s, s.device, hooks[i]), *c = attach(&b, &s, s.device, hooks[i]);
        long replays = &emulate_replays ? emulate_replays : 0;
        float *x = ask(a, &b, s.device, 1), *y = ask(c, &b, s.device, 3);
        /* Steps of one token are a graph from the second on; where the fourth chooses, the fifth is
         * not yet. */
        if (&emulate_replays) assert_int_equal(emulate_replays - replays, i == 0 ? ANSWER - 1 : 2);
        assert_memory_equal(x, y, (size_t)answer_bytes(s.device));
        free(y);
        const int32_t *ids = b.ids + PAGES * 128 + QUESTION;
        if (hooks[i])
            /* two segments more */
            TEST_OK(qu_context_step(c, ids, LIVE, b.end + QUESTION + ANSWER, 0, NULL, err));
        qu_context_rewind(c, QUESTION);
        y = calloc(1, (size_t)answer_bytes(s.device));
        int64_t v = s.device->vocab;
        memcpy(y, x, (size_t)v * 4);
        TEST_OK(qu_context_step(c, ids, ANSWER, b.end + QUESTION, ANSWER, y + v, err));
        assert_memory_equal(x, y, (size_t)answer_bytes(s.device));
        free(x), free(y);
        qu_context_free(a), qu_context_free(c);
    }
    qu_policy_free(p);
    burn(&b);
    close_sides(&s);
}

/* The device chooses the same pages as the processor; far field and answers are near. */
static void both_choose_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int far = i == 0 ? 0 : 1; far < 2; far++) {
            sides s;
            book b;
            qu_policy *p[2];
            open_sides(&s, shapes[i]);
            write_book(&b, &s, s.host, QU_CODEC_F16);
            qu_policy_options o = {"multipole", 200, far, 2, false, NULL, s.pool, false};
            for (int k = 0; k < 2; k++)
                TEST_OK(qu_policy_create(&p[k], &o, s.host->n_layers, s.host->n_kv_heads, err));
            qu_context *a = attach(&b, &s, s.host, qu_policy_hook(p[0])),
                       *d = attach(&b, &s, s.device, qu_policy_hook(p[1]));
            float *x = ask(a, &b, s.host, 1), *y = ask(d, &b, s.device, 1);
            for (int32_t l = 0; l < s.host->n_layers; l++) {
                qu_policy_layer m = qu_policy_report(p[0], l), n = qu_policy_report(p[1], l);
                assert_true(n.slices > 0 && n.slices < n.candidate_slices);
                assert_int_equal(m.candidate_slices, n.candidate_slices);
                assert_int_equal(m.slices, n.slices);
                assert_int_equal(m.tokens, n.tokens);
            }
            assert_int_equal(qu_context_stats_get(a).bytes_read,
                             qu_context_stats_get(d).bytes_read);
            double e = test_spread_error(y, x, answer_bytes(s.host) / 4);
            print_message("%-70s far %d: %.2g of the logits' spread\n", shapes[i], far, e);
            assert_true(e < 1e-3);
            free(x), free(y);
            qu_context_free(a), qu_context_free(d);
            for (int k = 0; k < 2; k++) qu_policy_free(p[k]);
            burn(&b);
            close_sides(&s);
        }
}

/* Slices of a page with a key are read once, whatever context reads them; and where all are there,
 * choices are made without asking the processor, the same ones. */
static void pages_outlive_their_context(void **state)
{
    (void)state;
    sides s;
    book b;
    qu_policy *p[2];
    float *out[4];
    qu_context_stats read[4];
    open_sides(&s, shapes[0]);
    write_book(&b, &s, s.host, QU_CODEC_Q8);
    qu_policy_options o = {"multipole", 200, true, 2, false, NULL, s.pool, false};
    for (int k = 0; k < 2; k++)
        TEST_OK(qu_policy_create(&p[k], &o, s.device->n_layers, s.device->n_kv_heads, err));
    const qu_select_hook *hooks[] = {NULL, NULL, qu_policy_hook(p[0]), qu_policy_hook(p[1])};
    for (int k = 0; k < 4; k++) {
        b.key = k == 2 ? 0 : 77;
        qu_context *c = attach(&b, &s, s.device, hooks[k]);
        out[k] = ask(c, &b, s.device, 1);
        read[k] = qu_context_stats_get(c);
        assert_int_equal(read[k].slices_read > 0, k % 2 == 0);
        qu_context_rewind(c, 0);
        /* once more, with all scratch there: the host waits once for the logits of a step, and once
         * for the choices of the question, of tokens 2 and 4 */
        long waits = &emulate_waits ? emulate_waits : 0;
        if (k >= 2) free(ask(c, &b, s.device, 1));
        if (k == 3 && &emulate_waits) assert_int_equal(emulate_waits - waits, 1 + ANSWER + 3);
        qu_context_free(c);
        assert_int_equal(s.device->device->n_kept, PAGES);
    }
    assert_int_equal(read[1].bytes_read, 0);
    assert_memory_equal(out[0], out[1], (size_t)answer_bytes(s.device));
    assert_memory_equal(out[2], out[3], (size_t)answer_bytes(s.device));
    for (int32_t l = 0; l < s.device->n_layers; l++) {
        qu_policy_layer m = qu_policy_report(p[0], l), n = qu_policy_report(p[1], l);
        assert_true(m.slices > 0 && m.slices < m.candidate_slices);
        assert_int_equal(m.slices, n.slices);
        assert_int_equal(m.tokens, n.tokens);
    }
    b.key = 78;
    qu_context *other = attach(&b, &s, s.device, NULL);
    free(ask(other, &b, s.device, 1));
    assert_true(qu_context_stats_get(other).slices_read > 0);
    qu_context_free(other);
    for (int k = 0; k < 2; k++) qu_policy_free(p[k]);
    for (int k = 0; k < 4; k++) free(out[k]);
    burn(&b);
    close_sides(&s);
}

/* Fewer resident slices than the question reads: kept pages go, then slices of other layers, which
 * are read again; the answer stays. What does not even hold one layer is an error that says so. */
static void slices_make_way(void **state)
{
    (void)state;
    sides s;
    book b;
    open_sides(&s, shapes[0]);
    write_book(&b, &s, s.host, QU_CODEC_Q8);
    struct qu_device *d = s.device->device;
    int64_t piece = d->stored[QU_CODEC_Q8].bytes, layer = PAGES * s.device->n_kv_heads * piece;
    d->chunk_bytes = piece;
    qu_context *c = attach(&b, &s, s.device, NULL);
    float *x = ask(c, &b, s.device, 1);
    assert_int_equal(qu_context_stats_get(c).slices_evicted, 0);
    qu_context_free(c);
    assert_int_equal(d->taken_bytes, layer * s.device->n_layers);
    for (int64_t room = s.device->n_layers; room > 0; room--) {
        struct qu_device *small;
        qu_model *m;
        const char *path = make_model(shapes[0]);
        TEST_OK(qu_model_open(&m, path, err));
        TEST_OK(qu_device_attach(m, "cuda", err));
        remove(path);
        small = m->device;
        small->chunk_bytes = piece;
        small->room_bytes = room * layer;
        b.key = 5; /* another question's pages: they go first */
        c = attach(&b, &s, m, NULL);
        free(ask(c, &b, m, 5));
        qu_context_free(c);
        assert_int_equal(small->n_kept, PAGES);
        b.key = 0;
        c = attach(&b, &s, m, NULL);
        float *y = ask(c, &b, m, 1);
        assert_memory_equal(x, y, (size_t)answer_bytes(m));
        assert_int_equal(small->n_kept, 0);
        assert_int_equal(qu_context_stats_get(c).slices_evicted > 0, room < m->n_layers);
        assert_true(small->taken_bytes <= room * layer);
        free(y);
        if (room == 1) {
            float logits[4096];
            qu_err e;
            qu_context_free(c);
            small->room_bytes = 0;
            c = attach(&b, &s, m, NULL);
            small->stored[QU_CODEC_Q8].n_spare = 1; /* one slice is left */
            assert_int_equal(qu_context_step(c, b.ids, 1, b.end, 1, logits, &e), QU_ERR_NOMEM);
            assert_non_null(strstr(e.msg, "fewer pages"));
            assert_int_equal(qu_context_live(c), 0);
            assert_int_equal(small->stored[QU_CODEC_Q8].n_spare, 1); /* none was taken in part */
        }
        qu_context_free(c);
        qu_model_close(m);
    }
    free(x);
    burn(&b);
    close_sides(&s);
}

/* Segments moved and cut, as a streamed document does. */
static void segments_move(void **state)
{
    (void)state;
    sides s;
    book b;
    open_sides(&s, shapes[0]);
    write_book(&b, &s, s.host, QU_CODEC_F16);
    qu_context *c[2] = {attach(&b, &s, s.host, NULL), attach(&b, &s, s.device, NULL)};
    float *out[2];
    for (int k = 0; k < 2; k++) {
        qu_model *m = k ? s.device : s.host;
        free(ask(c[k], &b, m, 1));
        qu_context_cut(c[k], PAGES - 1);
        qu_context_move(c[k], 0, 70);
        qu_context_move(c[k], 1, 75);
        assert_int_equal(qu_context_segments(c[k]), PAGES - 1);
        out[k] = ask(c[k], &b, m, 2);
    }
    double e = test_spread_error(out[1], out[0], answer_bytes(s.host) / 4);
    print_message("moved: %.2g of the logits' spread\n", e);
    assert_true(e < 2e-3); /* fewer pages: live keys, which are halves, weigh more */
    free(out[0]), free(out[1]);
    qu_context_free(c[0]), qu_context_free(c[1]);
    burn(&b);
    close_sides(&s);
}

static void what_runs_nowhere_else_is_refused(void **state)
{
    (void)state;
    sides s;
    book b;
    qu_err e;
    qu_policy *p;
    float logits[4096];
    open_sides(&s, shapes[0]);
    write_book(&b, &s, s.host, QU_CODEC_F16);
    qu_policy_options o = {"quest", 300, true, 0, false, NULL, NULL, false};
    TEST_OK(qu_policy_create(&p, &o, s.host->n_layers, s.host->n_kv_heads, err));
    qu_context *c = attach(&b, &s, s.device, qu_policy_hook(p));
    assert_int_equal(qu_context_step(c, b.ids, 1, b.end, 1, logits, &e), QU_ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "--device cpu"));
    assert_int_equal(qu_context_live(c), 0);
    qu_context_select(c, NULL);
    double *scores = NULL;
    assert_int_equal(qu_repair_scores(c, b.ids, 3, b.end, &scores, &e), QU_ERR_UNSUPPORTED);
    free(scores);
    qu_policy_free(p);
    qu_context_free(c);
    char class[48];
    qu_device_numerics(s.device, class);
    assert_non_null(strstr(class, "/cuda3-sm"));
    assert_int_equal(qu_device_attach(s.host, "tpu", &e), QU_ERR_ARG);
    assert_int_equal(qu_device_attach(s.host, "cuda:1x", &e), QU_ERR_ARG);
    assert_int_equal(qu_device_attach(s.host, "cuda:99", &e), QU_ERR_NOGPU);
    assert_int_equal(qu_device_attach(s.host, "cpu", &e), QU_OK);
    assert_null(s.host->device);
    burn(&b);
    close_sides(&s);
}

/* Let the n-th call of the runtime fail, and every one after it: memory that runs out, a device
 * that is gone. A status comes back, nothing leaks, nothing hangs. */
static void every_call_may_fail(void **state)
{
    (void)state;
    if (!&emulate_fail) skip();
    sides s = {0};
    book b;
    const char *path = make_model(shapes[0]);
    TEST_OK(qu_model_open(&s.host, path, err));
    write_book(&b, &s, s.host, QU_CODEC_F16);
    int failed = 0;
    for (long n = 1;; n += n < 40 ? 1 : 29) {
        qu_err e;
        qu_policy *p;
        float logits[4096];
        qu_context *c = NULL;
        qu_policy_options o = {"multipole", 200, true, 0, false, NULL, NULL, false};
        TEST_OK(qu_policy_create(&p, &o, s.host->n_layers, s.host->n_kv_heads, err));
        TEST_OK(qu_model_open(&s.device, path, err));
        emulate_fail = n;
        qu_status st = qu_device_attach(s.device, "cuda", &e);
        if (st == QU_OK) st = qu_context_create(&c, s.device, NULL, b.codec, &e);
        for (int32_t i = 0; st == QU_OK && i < PAGES; i++) {
            qu_page_source source = qu_page_memory_source(b.memory[i]);
            st = qu_context_attach(c, b.pages[i].n, b.pages[i].pos, &source, &e);
        }
        if (c) qu_context_select(c, qu_policy_hook(p));
        if (st == QU_OK) st = qu_context_step(c, b.ids, 3, b.end, 1, logits, &e);
        if (st == QU_OK) qu_context_cut(c, 2);
        if (st == QU_OK) st = qu_context_prefill(c, b.pages + 2, 2, NULL, &e);
        bool fired = emulate_fail == 1;
        emulate_fail = 0;
        qu_context_free(c);
        qu_model_close(s.device);
        qu_policy_free(p);
        assert_int_equal(emulate_leaks, 0);
        if (!fired) {
            assert_int_equal(st, QU_OK);
            break;
        }
        failed++;
        if (st != QU_ERR_GPU && st != QU_ERR_NOMEM && st != QU_ERR_NOGPU)
            fail_msg("call %ld: status %d", n, st);
    }
    print_message("%d places failed cleanly\n", failed);
    assert_true(failed > 40);
    burn(&b);
    qu_model_close(s.host);
    remove(path);
}

static int needs_device(void **state)
{
    (void)state;
    if (qu_cuda_count() > 0) return 0;
    print_message("skipped: no CUDA device\n");
    return 0;
}

#define ON_DEVICE(test)                                                                            \
    static void test##_there(void **state)                                                         \
    {                                                                                              \
        if (qu_cuda_count() == 0) skip();                                                          \
        test(state);                                                                               \
    }
ON_DEVICE(stored_pages_answer_alike)
ON_DEVICE(fresh_pages_answer_as_stored_ones)
ON_DEVICE(grouping_and_rewinding_change_nothing)
ON_DEVICE(both_choose_the_same)
ON_DEVICE(pages_outlive_their_context)
ON_DEVICE(slices_make_way)
ON_DEVICE(segments_move)
ON_DEVICE(what_runs_nowhere_else_is_refused)
ON_DEVICE(every_call_may_fail)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_pages_answer_alike_there),
        cmocka_unit_test(fresh_pages_answer_as_stored_ones_there),
        cmocka_unit_test(grouping_and_rewinding_change_nothing_there),
        cmocka_unit_test(both_choose_the_same_there),
        cmocka_unit_test(pages_outlive_their_context_there),
        cmocka_unit_test(slices_make_way_there),
        cmocka_unit_test(segments_move_there),
        cmocka_unit_test(what_runs_nowhere_else_is_refused_there),
        cmocka_unit_test(every_call_may_fail_there),
    };
    return cmocka_run_group_tests(tests, needs_device, NULL);
}
