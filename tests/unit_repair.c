/* Repair against a plain reference, and the copy model's known answers over pages that were encoded
 * alone. */
#include "tests/testing.h"
#include "tests/prefill.h"

#include "base/dims.h"
#include "base/pool.h"
#include "decode/context_int.h"
#include "decode/page_memory.h"
#include "decode/repair.h"
#include "decode/sample.h"
#include "decode/token.h"
#include "kernels/codec.h"
#include "kernels/isa.h"

enum { PAGES = 5, MAX_TOKENS = 700, MAX_PAGES = 24 };

/* --- a sequence of pages, each encoded with its own wrong left context --- */

typedef struct sequence {
    const qu_model *m;
    int codec;
    int32_t n_pages, n; /* context tokens in all */
    int32_t ids[MAX_TOKENS];
    qu_page_tokens pages[MAX_PAGES];
    const int32_t *page_ids[MAX_PAGES];
    qu_page_memory *memory[MAX_PAGES];
} sequence;

static qu_status keep(void *ctx, int32_t page, int32_t layer, int32_t g, const void *data, size_t n,
                      qu_err *err)
{
    (void)err;
    qu_page_memory **pages = ctx;
    if (pages[page]) memcpy(qu_page_memory_slice(pages[page], layer, g), data, n);
    return QU_OK;
}

static void cut(sequence *s, const int32_t *lengths, int32_t n_pages)
{
    s->n_pages = n_pages;
    s->n = 0;
    for (int32_t p = 0; p < n_pages; p++) {
        s->pages[p] = (qu_page_tokens){s->ids + s->n, lengths[p], s->n};
        s->page_ids[p] = s->ids + s->n;
        s->n += lengths[p];
        TEST_OK(qu_page_memory_create(&s->memory[p], s->m, s->codec, lengths[p], err));
    }
}

/* Page 0 by itself, every other page after page 0 and overlap tokens of the page before it. */
static void encode_alone(sequence *s, int32_t overlap)
{
    for (int32_t p = 0; p < s->n_pages; p++) {
        qu_page_tokens run[3] = {s->pages[0]};
        qu_page_memory *to[3] = {NULL};
        int32_t n = 0, back = p > 1 ? overlap : 0;
        qu_context *c;
        if (p > 0) n++;
        if (back > 0) run[n++] = (qu_page_tokens){s->pages[p].ids - back, back, s->pages[0].n};
        run[n] = s->pages[p];
        run[n].pos = p > 0 ? s->pages[0].n + back : 0;
        to[n++] = s->memory[p];
        qu_page_sink sink = {.put = keep, .ctx = to};
        TEST_OK(qu_context_create(&c, s->m, NULL, s->codec, err));
        TEST_OK(qu_context_prefill(c, run, n, &sink, err));
        qu_context_free(c);
    }
}

static qu_context *attach_all(const sequence *s, qu_pool *pool)
{
    qu_context *c;
    TEST_OK(qu_context_create(&c, s->m, pool, s->codec, err));
    for (int32_t p = 0; p < s->n_pages; p++) {
        qu_page_source source = qu_page_memory_source(s->memory[p]);
        TEST_OK(qu_context_attach(c, s->pages[p].n, s->pages[p].pos, &source, err));
    }
    return c;
}

static void free_sequence(sequence *s)
{
    for (int32_t p = 0; p < s->n_pages; p++) qu_page_memory_free(s->memory[p]);
}

static qu_model *make_model(const char *options)
{
    const char *b = getenv("B") ? getenv("B") : "build/release";
    char path[256], command[700];
    qu_model *m;
    snprintf(path, sizeof path, "%s/tests/repair.gguf", b);
    snprintf(command, sizeof command, "%s/mkmodel %s -o %s", b, options, path);
    assert_int_equal(system(command), 0);
    TEST_OK(qu_model_open(&m, path, err));
    return m;
}

static void random_sequence(sequence *s, uint64_t seed)
{
    static const int32_t lengths[PAGES] = {9, 128, 70, 33, 101};
    for (int i = 0; i < MAX_TOKENS; i++)
        s->ids[i] = (int32_t)(test_random(&seed) % (uint64_t)s->m->vocab);
    cut(s, lengths, PAGES);
    encode_alone(s, 0);
}

/* --- the reference: one pass in double over the rows that are computed, the rest is given --- */

typedef struct plain {
    const qu_model *m;
    int32_t n;            /* all positions, the question's included */
    const int32_t *ids;   /* [n] */
    const uint8_t *fresh; /* [n] computed here; else keys and values are stored */
    double *k, *v;        /* [L][n][G D], keys before rotation */
    double *score;        /* [n] what the rows from question on attend to, times the value's norm */
    int32_t question;
} plain;

static void product(double *y, const qu_weight *w, const double *x)
{
    const float *data = w->data; /* models of the test are F32 */
    for (int32_t i = 0; i < w->n; i++) {
        y[i] = 0;
        for (int32_t j = 0; j < w->k; j++) y[i] += data[(int64_t)i * w->k + j] * x[j];
    }
}

static void norm(double *y, const double *x, const float *w, int32_t n, double eps)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) sum += x[i] * x[i];
    for (int32_t i = 0; i < n; i++) y[i] = x[i] / sqrt(sum / n + eps) * w[i];
}

static void turn(double *x, const qu_model *m, int32_t pos)
{
    float c[QU_MAX_HEAD_SIZE], s[QU_MAX_HEAD_SIZE], in[QU_MAX_HEAD_SIZE];
    qu_rope_angles(m->ropes[0], pos, 1, 1, c, s);
    for (int32_t i = 0; i < m->head_size; i++) in[i] = (float)x[i];
    qu_rope_vector(in, m->ropes[0], c, s, 1, 0);
    for (int32_t i = 0; i < m->head_size; i++) x[i] = in[i];
}

static void plain_attention(plain *r, int32_t layer, int32_t t, const double *q, double *out)
{
    const qu_model *m = r->m;
    int32_t d = m->head_size, kv = m->n_kv_heads * d, group = m->n_heads / m->n_kv_heads;
    for (int32_t h = 0; h < m->n_heads; h++) {
        double query[QU_MAX_HEAD_SIZE], p[MAX_TOKENS], sum = 0, most = -1e300;
        memcpy(query, q + (int64_t)h * d, (size_t)d * sizeof *q);
        turn(query, m, t);
        for (int32_t s = 0; s <= t; s++) {
            int64_t at = ((int64_t)layer * r->n + s) * kv + (int64_t)(h / group) * d;
            double key[QU_MAX_HEAD_SIZE];
            memcpy(key, r->k + at, (size_t)d * sizeof *key);
            turn(key, m, s);
            p[s] = 0;
            for (int32_t i = 0; i < d; i++) p[s] += query[i] * key[i] / sqrt(d);
            most = fmax(most, p[s]);
        }
        for (int32_t s = 0; s <= t; s++) sum += p[s] = exp(p[s] - most);
        for (int32_t i = 0; i < d; i++) out[(int64_t)h * d + i] = 0;
        for (int32_t s = 0; s <= t; s++) {
            const double *v = r->v + ((int64_t)layer * r->n + s) * kv + (int64_t)(h / group) * d;
            double length = 0;
            for (int32_t i = 0; i < d; i++) {
                out[(int64_t)h * d + i] += p[s] / sum * v[i];
                length += v[i] * v[i];
            }
            if (t >= r->question) r->score[s] += p[s] / sum * sqrt(length);
        }
    }
}

/* Layer by layer: keys and values of all fresh rows first, then their attention. logits [V] of the
 * last. */
static void plain_run(plain *r, float *logits)
{
    const qu_model *m = r->m;
    int32_t e = m->width, q = m->n_heads * m->head_size, kv = m->n_kv_heads * m->head_size;
    double *x = calloc((size_t)r->n * (size_t)e, sizeof *x),
           *qs = calloc((size_t)r->n * (size_t)q, 8);
    double *h = calloc((size_t)e, 8), *att = calloc((size_t)q, 8), *up = calloc((size_t)m->ffn, 8),
           *gate = calloc((size_t)m->ffn, 8), *last = calloc((size_t)m->vocab, 8);
    for (int32_t t = 0; t < r->n; t++)
        for (int32_t i = 0; i < e; i++)
            x[(int64_t)t * e + i] = ((const float *)m->embedding.data)[(int64_t)r->ids[t] * e + i];
    for (int32_t l = 0; l < m->n_layers; l++) {
        const qu_layer *w = &m->layers[l];
        for (int32_t t = 0; t < r->n; t++) {
            if (!r->fresh[t]) continue;
            norm(h, x + (int64_t)t * e, w->attn_norm, e, m->eps);
            product(qs + (int64_t)t * q, &w->q.w, h);
            product(r->k + ((int64_t)l * r->n + t) * kv, &w->k.w, h);
            product(r->v + ((int64_t)l * r->n + t) * kv, &w->v.w, h);
        }
        for (int32_t t = 0; t < r->n; t++) {
            if (!r->fresh[t]) continue;
            double *row = x + (int64_t)t * e;
            plain_attention(r, l, t, qs + (int64_t)t * q, att);
            product(h, &w->o.w, att);
            for (int32_t i = 0; i < e; i++) row[i] += h[i];
            norm(h, row, w->ffn_norm, e, m->eps);
            product(gate, &w->gate.w, h);
            product(up, &w->up.w, h);
            for (int32_t i = 0; i < m->ffn; i++) up[i] *= gate[i] / (1 + exp(-gate[i]));
            product(h, &w->down.w, up);
            for (int32_t i = 0; i < e; i++) row[i] += h[i];
        }
    }
    norm(h, x + (int64_t)(r->n - 1) * e, m->output_norm, e, m->eps);
    product(last, &m->output.w, h);
    for (int32_t i = 0; i < m->vocab; i++) logits[i] = (float)last[i];
    free(x), free(qs), free(h), free(att), free(up), free(gate), free(last);
}

/* Fill k and v from the stored slices (codec f32). */
static void plain_load(plain *r, const sequence *s)
{
    const qu_model *m = s->m;
    int32_t d = m->head_size, kv = m->n_kv_heads * d;
    size_t n = (size_t)m->n_layers * (size_t)r->n * (size_t)kv;
    r->k = calloc(n, sizeof *r->k);
    r->v = calloc(n, sizeof *r->v);
    r->score = calloc((size_t)r->n, sizeof *r->score);
    for (int32_t p = 0; p < s->n_pages; p++)
        for (int32_t l = 0; l < m->n_layers; l++)
            for (int32_t g = 0; g < m->n_kv_heads; g++) {
                const float *slice = qu_page_memory_slice(s->memory[p], l, g);
                for (int32_t t = 0; t < s->pages[p].n; t++)
                    for (int32_t i = 0; i < d; i++) {
                        int64_t at = ((int64_t)l * r->n + s->pages[p].pos + t) * kv + g * d + i;
                        r->k[at] = slice[t * d + i];
                        r->v[at] = slice[(s->pages[p].n + t) * d + i];
                    }
            }
}

static void plain_free(plain *r)
{
    free(r->k), free(r->v), free(r->score);
}

enum { QUESTION = 11 };
static const char *const shapes[] = {
    "--random --shape tiny --seed 4 --heads 4 --kv-heads 2 --head-size 32 --layers 3",
    "--random --shape tiny --seed 5 --heads 6 --kv-heads 2 --head-size 24 --width 96 --untied",
};

/* Some tokens of every page recomputed: the answer is the reference's, as are the scores. */
static void some_tokens_agree_with_the_reference_once(void **state)
{
    (void)state;
    qu_pool *pool;
    TEST_OK(qu_pool_create(&pool, 2, err));
    for (size_t i = 0; i < 2; i++) {
        sequence s = {.m = make_model(shapes[i]), .codec = QU_CODEC_F32};
        random_sequence(&s, 7 + i);
        uint8_t fresh[MAX_TOKENS] = {0};
        qu_repair_token tokens[MAX_TOKENS];
        int32_t n = 0;
        uint64_t seed = 3;
        plain r = {.m = s.m, .n = s.n + QUESTION, .ids = s.ids, .fresh = fresh, .question = s.n};
        memset(fresh + s.n, 1, QUESTION);
        float *right = malloc((size_t)s.m->vocab * 4), *got = malloc((size_t)s.m->vocab * 4);
        plain_load(&r, &s);
        plain_run(&r, right);
        qu_context *c = attach_all(&s, pool);
        double *scores;
        TEST_OK(qu_repair_scores(c, s.ids + s.n, QUESTION, s.n, &scores, err));
        double worst = 0, top = 0;
        for (int32_t t = 0; t < s.n; t++) top = fmax(top, r.score[t]);
        for (int32_t t = 0; t < s.n; t++) worst = fmax(worst, fabs(scores[t] - r.score[t]) / top);
        print_message("scores: worst error %.2g of the largest\n", worst);
        assert_true(worst < 1e-5);
        free(scores);
        for (int32_t p = 0; p < s.n_pages; p++)
            for (int32_t t = 0; t < s.pages[p].n; t++)
                if (p > 0 && test_random(&seed) % 5 == 0) {
                    fresh[s.pages[p].pos + t] = 1;
                    tokens[n++] = (qu_repair_token){p, t, s.pages[p].ids[t]};
                }
        plain_run(&r, right);
        TEST_OK(qu_repair_tokens(c, tokens, n, err));
        TEST_OK(qu_context_step(c, s.ids + s.n, QUESTION, s.n, 1, got, err));
        double e = test_spread_error(got, right, s.m->vocab);
        print_message("%d of %d tokens recomputed: %.2g of the spread\n", n, s.n, e);
        assert_true(e < (test_prefill_is_rounded() ? .01 : 1e-4));
        qu_context_free(c);
        c = attach_all(&s, NULL); /* nothing of it has been read before */
        TEST_OK(qu_repair_tokens(c, tokens, n, err));
        TEST_OK(qu_context_step(c, s.ids + s.n, QUESTION, s.n, 1, right, err));
        assert_memory_equal(got, right, (size_t)s.m->vocab * 4);
        plain_free(&r);
        free(right), free(got);
        qu_context_free(c);
        free_sequence(&s);
        qu_model_close((qu_model *)s.m);
    }
    qu_pool_free(pool);
}

static void some_tokens_agree_with_the_reference(void **state)
{
    test_each_prefill(some_tokens_agree_with_the_reference_once, state);
}

static void answer_of(qu_context *c, const sequence *s, float *logits)
{
    TEST_OK(qu_context_step(c, s->ids + s->n, QUESTION, s->n, 1, logits, err));
}

/* All of them: a fresh prefill, bit for bit where a token is rounded by itself. None: nothing
 * moves. */
static void all_is_exact_and_none_is_kv_once(void **state)
{
    (void)state;
    sequence s = {.m = make_model(shapes[0])};
    size_t bytes = (size_t)s.m->vocab * sizeof(float);
    float *exact = malloc(bytes), *kv = malloc(bytes), *got = malloc(bytes);
    for (s.codec = 0; s.codec < QU_CODEC_COUNT; s.codec++) {
        qu_repair_report r;
        qu_context *c;
        random_sequence(&s, 12);
        TEST_OK(qu_context_create(&c, s.m, NULL, s.codec, err));
        TEST_OK(qu_context_prefill(c, s.pages, s.n_pages, NULL, err));
        answer_of(c, &s, exact);
        qu_context_free(c);
        c = attach_all(&s, NULL);
        answer_of(c, &s, kv);
        qu_context_free(c);
        assert_true(test_spread_error(kv, exact, s.m->vocab) >
                    1e-3); /* there is something to mend */
        c = attach_all(&s, NULL);
        TEST_OK(qu_repair(c, s.page_ids, 0, 0, s.ids + s.n, QUESTION, s.n, &r, err));
        assert_int_equal(r.recomputed, 0);
        answer_of(c, &s, got);
        assert_memory_equal(got, kv, bytes);
        qu_context_rewind(c, 0);
        TEST_OK(qu_repair(c, s.page_ids, 1, 1, s.ids + s.n, QUESTION, s.n, &r, err));
        assert_int_equal(r.recomputed, s.n - s.pages[0].n);
        assert_int_equal(r.tokens, s.n);
        answer_of(c, &s, got);
        double e = test_spread_error(got, exact, s.m->vocab);
        print_message("%s: all recomputed, %.2g of the spread from a fresh prefill\n",
                      qu_codec_name(s.codec), e);
        if (s.codec < QU_CODEC_Q8) assert_memory_equal(got, exact, bytes);
        assert_true(e < (s.codec == QU_CODEC_Q4 ? .3 : 1e-2));
        qu_context_free(c);
        free_sequence(&s);
    }
    free(exact), free(kv), free(got);
    qu_model_close((qu_model *)s.m);
}

static void all_is_exact_and_none_is_kv(void **state)
{
    test_each_prefill(all_is_exact_and_none_is_kv_once, state);
}

/* A recomputed token is the same whatever stands behind it. */
static void later_positions_are_not_seen_once(void **state)
{
    (void)state;
    sequence s = {.m = make_model(shapes[0]), .codec = QU_CODEC_F16};
    qu_repair_token tokens[] = {{1, 5, 0}, {1, 127, 0}, {2, 0, 0}, {2, 40, 0}};
    qu_context *c[2];
    float *logits = malloc((size_t)s.m->vocab * sizeof *logits);
    for (int turn = 0; turn < 2; turn++) {
        random_sequence(&s, 12);
        if (turn == 1) { /* other tokens behind place 40 of page 2 */
            for (int32_t i = (int32_t)s.pages[2].pos + 41; i < s.n; i++) s.ids[i] = 1 + i % 9;
            encode_alone(&s, 0);
        }
        for (int i = 0; i < 4; i++) tokens[i].id = s.pages[tokens[i].segment].ids[tokens[i].at];
        c[turn] = attach_all(&s, NULL);
        TEST_OK(qu_repair_tokens(c[turn], tokens, 4, err));
        answer_of(c[turn], &s, logits);
        if (turn == 0) free_sequence(&s);
    }
    for (int32_t l = 0; l < s.m->n_layers; l++)
        for (int32_t g = 0; g < s.m->n_kv_heads; g++)
            for (int i = 0; i < 4; i++) {
                const qu_segment *a = &c[0]->seg[tokens[i].segment],
                                 *b = &c[1]->seg[tokens[i].segment];
                const uint16_t *x = qu_segment_kt(s.m, a, l, g), *y = qu_segment_kt(s.m, b, l, g);
                for (int32_t d = 0; d < s.m->head_size; d++)
                    assert_int_equal(x[d * a->n_pad + tokens[i].at],
                                     y[d * a->n_pad + tokens[i].at]);
            }
    free(logits);
    qu_context_free(c[0]);
    qu_context_free(c[1]);
    free_sequence(&s);
    qu_model_close((qu_model *)s.m);
}

static void later_positions_are_not_seen(void **state)
{
    test_each_prefill(later_positions_are_not_seen_once, state);
}

/* The choice and the report do not depend on threads; what is asked wrongly is refused. */
static void choices_are_stable_and_checked(void **state)
{
    (void)state;
    sequence s = {.m = make_model(shapes[1]), .codec = QU_CODEC_F16};
    size_t bytes = (size_t)s.m->vocab * sizeof(float);
    float *one = malloc(bytes), *two = malloc(bytes);
    qu_repair_report r;
    qu_pool *pool;
    qu_err e;
    random_sequence(&s, 5);
    TEST_OK(qu_pool_create(&pool, 2, err));
    qu_context *a = attach_all(&s, NULL), *b = attach_all(&s, pool);
    TEST_OK(qu_repair(a, s.page_ids, 1, .15, s.ids + s.n, QUESTION, s.n, &r, err));
    TEST_OK(qu_repair(b, s.page_ids, 1, .15, s.ids + s.n, QUESTION, s.n, NULL, err));
    assert_int_equal(r.recomputed, (int)((s.n - s.pages[0].n) * .15));
    double full = qu_model_prefill_flops(s.m, s.n);
    assert_true(r.flops < .25 * full && r.flops > .1 * full);
    answer_of(a, &s, one);
    answer_of(b, &s, two);
    assert_memory_equal(one, two, bytes);
    qu_repair_token wrong[] = {{1, 3, 0}, {1, 3, 0}};
    assert_int_equal(qu_repair_tokens(a, wrong, 1, &e), QU_ERR_ARG); /* after a step */
    qu_context_rewind(a, 0);
    assert_int_equal(qu_repair_tokens(a, wrong, 2, &e), QU_ERR_ARG); /* not ascending */
    wrong[0].at = 128;
    assert_int_equal(qu_repair_tokens(a, wrong, 1, &e), QU_ERR_ARG);
    wrong[0] = (qu_repair_token){1, 3, s.m->vocab};
    assert_int_equal(qu_repair_tokens(a, wrong, 1, &e), QU_ERR_ARG);
    assert_int_equal(qu_repair(a, s.page_ids, 1, 1.5, s.ids, 3, s.n, NULL, &e), QU_ERR_ARG);
    qu_context_free(a);
    qu_context_free(b);
    free_sequence(&s);
    free(one), free(two);
    qu_pool_free(pool);
    qu_model_close((qu_model *)s.m);
}

/* --- known answers: the copy model over pages that were encoded alone --- */

static const char filler[] =
    "the old house is near the river and the road goes over the hill to the town ";
static const char *const needles[] = {" badar cefen digol fohux\n", " gudar hafen jegol kihux\n",
                                      " lodar mufen bagol cehux\n", " didar fofen gugol hahux\n"};

static qu_tokenizer *tok;

static void add(qu_tokens *t, const char *text)
{
    TEST_OK(qu_tokenize(tok, t, text, strlen(text), QU_TOK_CONTINUE, err));
}

/* [BOS][n tokens with the needles spread over them]; the first page after BOS has offset tokens. */
static void haystack(sequence *s, int32_t n, int32_t n_needles, int32_t offset)
{
    qu_tokens fill = {0}, pin = {0};
    int32_t lengths[MAX_PAGES] = {1}, pages = 1;
    while (fill.n < n) add(&fill, filler);
    memcpy(s->ids + 1, fill.ids, (size_t)n * sizeof *fill.ids);
    s->ids[0] = qu_tokenizer_bos(tok);
    for (int32_t i = 0; i < n_needles; i++) {
        pin.n = 0;
        add(&pin, needles[i]);
        memcpy(s->ids + 1 + n * (2 * i + 1) / (2 * n_needles), pin.ids,
               (size_t)pin.n * sizeof *pin.ids);
    }
    for (int32_t at = 0; at < n; at += lengths[pages - 1]) {
        int32_t len = at == 0 ? offset : QU_PAGE_TOKENS;
        lengths[pages++] = len < n - at ? len : n - at;
    }
    cut(s, lengths, pages);
    qu_tokens_free(&fill);
    qu_tokens_free(&pin);
}

/* Does the model answer what follows the key of that needle? share of repair, or -1. */
static bool finds(const sequence *s, int needle, double share)
{
    qu_tokens q = {0};
    char question[80];
    snprintf(question, sizeof question,
             "Question: what follows %.5s?\nAnswer:", needles[needle] + 1);
    add(&q, question);
    qu_context *c = attach_all(s, NULL);
    if (share >= 0)
        TEST_OK(qu_repair(c, s->page_ids, 1, share, q.ids, (int32_t)q.n, s->n, NULL, err));
    float *logits = malloc((size_t)s->m->vocab * sizeof *logits);
    int64_t pos = s->n;
    TEST_OK(qu_context_step(c, q.ids, (int32_t)q.n, pos, 1, logits, err));
    pos += q.n;
    qu_buf out = {0};
    qu_detok d;
    qu_detok_init(&d, tok, QU_TOK_CONTINUE);
    for (int i = 0; i < 12; i++) {
        int32_t id = qu_sample_greedy(logits, s->m->vocab);
        if (qu_tokenizer_is_end(tok, id)) break;
        TEST_OK(qu_detok_add(&d, id, &out, err));
        TEST_OK(qu_context_step(c, &id, 1, pos++, 1, logits, err));
    }
    bool right = out.data && strcmp(out.data, needles[needle] + 6) == 0;
    qu_buf_free(&out);
    qu_tokens_free(&q);
    free(logits);
    qu_context_free(c);
    return right;
}

/* A needle of five tokens has four places where a cut parts a word from the one before it: these
 * four are lost when pages are encoded alone. One token of overlap mends all, full repair too. */
static void pages_alone_lose_what_a_border_parts(void **state)
{
    (void)state;
    sequence s = {.m = make_model("--copy"), .codec = QU_CODEC_F16};
    TEST_OK(qu_tokenizer_create(&tok, s.m->gguf, err));
    int32_t lost = 0, lost_overlap = 0, lost_whole = 0, lost_some = 0;
    for (int32_t offset = 1; offset <= QU_PAGE_TOKENS; offset++) {
        if (offset % 8 > 0 && (offset < 16 || offset > 32) && !getenv("QUIRE_LONG")) continue;
        haystack(&s, 300, 1, offset);
        encode_alone(&s, 0);
        if (!finds(&s, 0, -1)) {
            lost++;
            lost_whole += !finds(&s, 0, 1);
            lost_some += !finds(&s, 0, QU_REPAIR_SHARE);
        }
        encode_alone(&s, 1);
        lost_overlap += !finds(&s, 0, -1);
        free_sequence(&s);
    }
    print_message("of 128 cuts lost: alone %d, with overlap %d, repaired %d, by its share %d\n",
                  lost, lost_overlap, lost_whole, lost_some);
    assert_int_equal(lost, 4);
    assert_int_equal(lost_overlap, 0);
    assert_int_equal(lost_whole, 0);
    qu_tokenizer_free(tok);
    qu_model_close((qu_model *)s.m);
}

/* Four keys, each asked for: only its own value is the answer, over whole pages and pages alone. */
static void each_of_many_keys_is_found(void **state)
{
    (void)state;
    sequence s = {.m = make_model("--copy"), .codec = QU_CODEC_F16};
    TEST_OK(qu_tokenizer_create(&tok, s.m->gguf, err));
    for (int32_t offset = 20; offset <= 120; offset += 50) {
        haystack(&s, 600, 4, offset);
        encode_alone(&s, 1);
        for (int i = 0; i < 4; i++) assert_true(finds(&s, i, -1));
        for (int i = 0; i < 4; i++) assert_true(finds(&s, i, QU_REPAIR_SHARE));
        free_sequence(&s);
    }
    qu_tokenizer_free(tok);
    qu_model_close((qu_model *)s.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(some_tokens_agree_with_the_reference),
        cmocka_unit_test(all_is_exact_and_none_is_kv),
        cmocka_unit_test(later_positions_are_not_seen),
        cmocka_unit_test(choices_are_stable_and_checked),
        cmocka_unit_test(pages_alone_lose_what_a_border_parts),
        cmocka_unit_test(each_of_many_keys_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
