/* decode/draft.h: drafts change nothing but the speed, what they leave behind is gone, and sampled
 * drafts keep the distribution. QUIRE_LONG=1: 500 prompts a model and 20,000 sampled answers.
 * With ON_DEVICE (unit_cuda_draft.c) all of it on a device. */
#include "tests/copy_testing.h"

#include "base/hash.h"
#include "decode/context_int.h"
#include "decode/device.h"
#ifdef ON_DEVICE
#include "decode/cuda_int.h"
extern int emulate_reverse __attribute__((weak));
#endif
#include "decode/draft.h"
#include "retrieve/policy.h"

enum { ANSWER = 40, DOC = 300 };

#define SMALL                                                                                      \
    "--random --layers 2 --width 32 --heads 2 --kv-heads 1 --head-size 16 --ffn 32 --vocab 320 "   \
    "--context 512 --seed 5"

static int32_t n_prompts, n_draws;
static bool emulated;
static int32_t budget; /* of the full context; 0: it reads everything */
static int64_t proposed, accepted;

/* What an answer was and what it left behind. */
typedef struct outcome {
    int32_t ids[ANSWER], n;
    double share[ANSWER];
    qu_hash left;
} outcome;

typedef struct scene {
    paged pages;
    qu_tokens prompt;
    qu_draft_kind kind;
    qu_sample sample;
    bool quotes;
    qu_buf texts[MAX_PAGES]; /* of the pages, while quotes is set */
} scene;

#ifdef ON_DEVICE
/* Rows of halves: keys of a full page, then values. */
static qu_hash slice_of(qu_hash h, const qu_context *c, const qu_segment *s, int32_t l, int32_t g)
{
    static uint16_t kv[2 * QU_PAGE_TOKENS * 256];
    qu_cuda *cu = qu_cuda_of(c)->cu;
    const char *there = qu_cuda_segment_of(s)->slices[l * c->m->n_kv_heads + g];
    size_t page = QU_PAGE_TOKENS * (size_t)c->m->head_size,
           used = (size_t)(s->n * c->m->head_size) * 2;
    TEST_OK(qu_cuda_download(cu, QU_CUDA_COMPUTE, kv, there, (int64_t)page * 4, err));
    TEST_OK(qu_cuda_sync(cu, QU_CUDA_COMPUTE, err));
    return qu_hash_chain(qu_hash_chain(h, kv, used), kv + page, used);
}
#else
static qu_hash slice_of(qu_hash h, const qu_context *c, const qu_segment *s, int32_t l, int32_t g)
{
    const qu_model *m = c->m;
    const float *kt = qu_segment_kt(m, s, l, g), *v = qu_segment_v(m, s, l, g);
    for (int32_t d = 0; d < m->head_size; d++)
        h = qu_hash_chain(h, kt + (int64_t)d * s->n_pad, (size_t)s->n * 4);
    return qu_hash_chain(h, v, (size_t)s->n * (size_t)qu_attend_pad(m->head_size) * 4);
}
#endif

/* Live keys and values, and every choice of pages up to the last live token. */
static qu_hash state_of(const qu_context *c)
{
    const qu_model *m = c->m;
    qu_hash h = qu_hash_bytes(&c->n_live, sizeof c->n_live, 1);
    for (int32_t i = c->first_live; i < c->n_seg; i++) {
        const qu_segment *s = &c->seg[i];
        h = qu_hash_chain(h, &s->n, sizeof s->n);
        for (int32_t l = 0; l < m->n_layers; l++)
            for (int32_t g = 0; g < m->n_kv_heads; g++) h = slice_of(h, c, s, l, g);
    }
    if (!c->sel.chosen) return h;
    int64_t answered = c->n_live - c->n_question;
    int64_t epochs = 1 + (answered > 0 ? (answered - 1) / c->hook.refresh : 0);
    int64_t each = (int64_t)m->n_layers * c->sel.n_pages * m->n_kv_heads;
    return qu_hash_chain(h, c->sel.chosen, (size_t)(epochs * each));
}

static qu_policy *choose_few(qu_context *c, int64_t tokens)
{
    qu_policy *p;
    qu_policy_options o = {
        .name = QU_POLICY_DEFAULT, .budget = tokens, .far_field = true, .refresh = 8};
    TEST_OK(qu_policy_create(&p, &o, model->n_layers, model->n_kv_heads, err));
    qu_context_select(c, qu_policy_hook(p));
    return p;
}

static void spell_pages(scene *s)
{
    for (int32_t i = 1; i < s->pages.n; i++)
        for (int32_t k = 0; k < s->pages.cut[i].n; k++) {
            const char *p;
            size_t n;
            qu_token_text(tok, s->pages.cut[i].ids[k], 0, &p, &n);
            TEST_OK(qu_buf_add(&s->texts[i], p, n, err));
        }
}

static qu_quote *quote_of(const scene *s)
{
    qu_quote *q;
    TEST_OK(qu_quote_create(&q, tok, err));
    for (int32_t i = 1; i < s->pages.n; i++)
        TEST_OK(qu_quote_add(q, s->pages.cut[i].ids, s->pages.cut[i].n, s->texts[i].data,
                             s->texts[i].len, err));
    return q;
}

static outcome answer(const scene *s)
{
    outcome o = {.n = 0};
    qu_context *c = attach_pages(&s->pages), *small = attach_pages(&s->pages);
    qu_policy *policy = budget ? choose_few(c, budget) : NULL, *few = choose_few(small, 64);
    qu_suffix *suffix;
    qu_draft *d;
    float *logits = malloc((size_t)model->vocab * sizeof *logits);
    TEST_OK(qu_suffix_create(&suffix, model->vocab, err));
    for (int32_t i = 1; i < s->pages.n; i++)
        TEST_OK(qu_suffix_add(suffix, s->pages.cut[i].ids, s->pages.cut[i].n, i > 1, err));
    for (int64_t i = 0; i < s->prompt.n; i++)
        TEST_OK(qu_suffix_next(suffix, s->prompt.ids[i], err));
    TEST_OK(qu_context_step(c, s->prompt.ids, (int32_t)s->prompt.n, s->pages.end, 1, logits, err));
    qu_draft_options opts = {.kind = s->kind,
                             .sample = s->sample,
                             .model = model,
                             .context = c,
                             .logits = logits,
                             .pos = s->pages.end + s->prompt.n,
                             .most = ANSWER,
                             .suffix = suffix,
                             .quote = s->quotes ? quote_of(s) : NULL,
                             .small = small,
                             .prompt = s->prompt.ids,
                             .n_prompt = (int32_t)s->prompt.n};
    TEST_OK(qu_draft_create(&d, &opts, err));
    /* Stops at a token that is not the last of a pass: what was verified beyond must go. */
    while (o.n < ANSWER - 5 && !qu_draft_ended(d)) {
        TEST_OK(qu_draft_next(d, &o.ids[o.n], &o.share[o.n], err));
        o.n++;
    }
    qu_draft_finish(d);
    o.left = state_of(c);
    qu_draft_stats stats = qu_draft_stats_get(d);
    proposed += stats.proposed;
    accepted += stats.accepted;
    if (s->kind == QU_DRAFT_NONE) assert_int_equal(stats.passes, o.n - 1);
    assert_true(stats.accepted <= stats.proposed && stats.passes <= o.n);
    qu_draft_free(d);
    qu_quote_free(opts.quote);
    qu_suffix_free(suffix);
    qu_context_free(c);
    qu_context_free(small);
    qu_policy_free(policy);
    qu_policy_free(few);
    free(logits);
    return o;
}

/* Tokens 0 .. n of a document of the open model: its own, its words' or random ones. */
static void write_doc(int32_t *ids, uint64_t *seed)
{
    if (model->vocab < 400) {
        for (int i = 0; i < DOC; i++)
            ids[i] = (int32_t)(test_random(seed) % (uint64_t)model->vocab);
        for (int i = DOC / 2; i < DOC; i++) ids[i] = ids[i - DOC / 2 + i % 2];
        return;
    }
    static const char *const words[] = {" the old house",
                                        " badar",
                                        " cefen",
                                        " gumip near the sea\n",
                                        " over the hill and far away",
                                        ". It was 45 crowns",
                                        " hapov"};
    qu_tokens t = {0};
    while (t.n < DOC) add(&t, words[test_random(seed) % 7]);
    memcpy(ids, t.ids, DOC * sizeof *ids);
    qu_tokens_free(&t);
}

/* The prompt ends like a place of the document, or with a question about its words. */
static void write_prompt(qu_tokens *p, const int32_t *doc, uint64_t *seed)
{
    if (model->vocab >= 400 && test_random(seed) % 3 == 0) {
        add(p, "\nQuestion: what follows badar?\nAnswer:");
        return;
    }
    int32_t n = 2 + (int32_t)(test_random(seed) % 12),
            at = (int32_t)(test_random(seed) % (DOC - 14));
    p->ids = realloc(p->ids, 64 * sizeof *p->ids);
    for (p->n = 0; p->n < n;) p->ids[p->n++] = doc[at++];
}

static void same(const outcome *a, const outcome *b, const char *what, int i)
{
    if (a->n != b->n || memcmp(a->ids, b->ids, (size_t)a->n * sizeof *a->ids) != 0)
        fail_msg("prompt %d: other tokens with %s", i, what);
    if (memcmp(a->share, b->share, (size_t)a->n * sizeof *a->share) != 0)
        fail_msg("prompt %d: other probabilities with %s", i, what);
    if (!qu_hash_equal(a->left, b->left))
        fail_msg("prompt %d: %s left another state behind", i, what);
}

static void drafts_change_nothing(const char *name)
{
    static const qu_draft_kind kinds[] = {QU_DRAFT_NGRAM, QU_DRAFT_AUTO, QU_DRAFT_SELF};
    static const char *const names[] = {"ngram", "auto", "self"};
    uint64_t seed = 7;
    int32_t ids[DOC];
    proposed = accepted = 0;
    for (int i = 0; i < n_prompts; i++) {
        scene s = {.kind = QU_DRAFT_NONE, .sample = {.repetition = i % 3 ? 1.2f : 0}};
        qu_tokens hay = {.ids = ids, .n = DOC};
        write_doc(ids, &seed);
        write_prompt(&s.prompt, ids, &seed);
        budget = i % 2 ? 100 : 0;
        encode_pages(&s.pages, &hay, 60, i % QU_CODEC_COUNT);
        outcome plain = answer(&s), other;
        for (int k = 0; k < 3; k++) {
            s.kind = kinds[k];
            other = answer(&s);
            same(&plain, &other, names[k], i);
        }
        s.sample = (qu_sample){.temperature = .8f, .top_p = .9f, .seed = seed, .repetition = 1.2f};
        s.kind = QU_DRAFT_NONE;
        plain = answer(&s);
        for (int k = 0; k < 2; k++) {
            s.kind = kinds[k];
            other = answer(&s);
            same(&plain, &other, names[k], i);
        }
        s.quotes = true;
        spell_pages(&s);
        for (int k = 0; k < 2; k++) {
            s.sample.temperature = k ? .8f : 0;
            s.kind = QU_DRAFT_NONE;
            plain = answer(&s);
            s.kind = QU_DRAFT_NGRAM;
            other = answer(&s);
            same(&plain, &other, "quotes", i);
        }
        for (int k = 0; k < MAX_PAGES; k++) qu_buf_free(&s.texts[k]);
        free_pages(&s.pages);
        qu_tokens_free(&s.prompt);
    }
    print_message("%s: %d prompts, %lld of %lld drafted tokens accepted\n", name, n_prompts,
                  (long long)accepted, (long long)proposed);
    assert_true(accepted > 0 && accepted < proposed);
}

/* --- models --- */

static void to_device(void)
{
#ifdef ON_DEVICE
    if (qu_cuda_count() == 0) {
        print_message("skipped: no CUDA device\n");
        skip();
    }
    TEST_OK(qu_device_attach(model, "cuda", err));
#endif
}

static void use(const char *path)
{
    close_model(NULL);
    model = NULL;
    tok = NULL;
    TEST_OK(qu_model_open(&model, path, err));
    to_device();
    TEST_OK(qu_tokenizer_create(&tok, model->gguf, err));
}

static void use_made(const char *options)
{
    char path[256];
    const char *b = getenv("B") ? getenv("B") : "build/release";
    char command[700];
    snprintf(path, sizeof path, "%s/tests/draft-%d.gguf", b, (int)getpid());
    snprintf(command, sizeof command, "%s/mkmodel %s -o %s", b, options, path);
    assert_int_equal(system(command), 0);
    use(path);
    remove(path);
}

/* --- sampled drafts of the self drafter --- */

enum { FEW = 3, CELLS = FEW * FEW * FEW };

/* Which of the FEW likeliest tokens id is. */
static int place_of(const float *shares, int32_t id)
{
    int place = 0;
    assert_true(shares[id] > 0);
    for (int32_t i = 0; i < model->vocab; i++)
        place += shares[i] > shares[id] || (shares[i] == shares[id] && i < id);
    return place;
}

/* Three tokens, each among the three likeliest: the chances of plain sampling in all 27 cells. */
static void chances(qu_context *c, int64_t pos, const float *logits, const qu_sample *s, int depth,
                    int cell, double chance, double *all)
{
    float *p = malloc((size_t)model->vocab * sizeof *p),
          *next = malloc((size_t)model->vocab * sizeof *next);
    TEST_OK(qu_sample_shares(p, logits, model->vocab, s, err));
    for (int32_t id = 0; id < model->vocab; id++) {
        if (!(p[id] > 0)) continue;
        int at = cell * FEW + place_of(p, id);
        if (depth == 2) {
            all[at] = chance * (double)p[id];
            continue;
        }
        TEST_OK(qu_context_step(c, &id, 1, pos, 1, next, err));
        chances(c, pos + 1, next, s, depth + 1, at, chance * (double)p[id], all);
        qu_context_rewind(c, qu_context_live(c) - 1);
    }
    free(p);
    free(next);
}

/* The cell of three tokens. */
static int cell_of(qu_context *c, int64_t pos, const float *logits, const qu_sample *s,
                   const int32_t *ids)
{
    static int known[CELLS][4], n_known; /* ids, cell: walking each once is enough */
    for (int i = 0; i < n_known; i++)
        if (!memcmp(known[i], ids, 3 * sizeof *ids)) return known[i][3];
    int cell = 0;
    int64_t live = qu_context_live(c);
    float *p = malloc((size_t)model->vocab * sizeof *p),
          *next = malloc((size_t)model->vocab * sizeof *next);
    memcpy(next, logits, (size_t)model->vocab * sizeof *next);
    for (int i = 0; i < 3; i++) {
        TEST_OK(qu_sample_shares(p, next, model->vocab, s, err));
        cell = cell * FEW + place_of(p, ids[i]);
        TEST_OK(qu_context_step(c, &ids[i], 1, pos + i, 1, next, err));
    }
    qu_context_rewind(c, live);
    free(p);
    free(next);
    assert_true(n_known < CELLS);
    memcpy(known[n_known], ids, 3 * sizeof *ids);
    known[n_known++][3] = cell;
    return cell;
}

static void sampled_drafts_keep_the_distribution(void **state)
{
    (void)state;
    if (n_draws == 0) skip();
    use_made(SMALL);
    int32_t ids[DOC], prompt[] = {3, 1, 4};
    uint64_t seed = 5;
    paged pages;
    qu_tokens hay = {.ids = ids, .n = DOC};
    float *logits = malloc((size_t)model->vocab * sizeof *logits);
    double want[CELLS] = {0}, got[CELLS] = {0}, chi = 0;
    write_doc(ids, &seed);
    encode_pages(&pages, &hay, 60, QU_CODEC_F32);
    qu_context *c = attach_pages(&pages), *small = attach_pages(&pages);
    qu_policy *few = choose_few(small, 64);
    qu_sample sample = {.temperature = 1.3f, .top_k = FEW};
    int64_t pos = pages.end + 3;
    TEST_OK(qu_context_step(c, prompt, 3, pages.end, 1, logits, err));
    chances(c, pos, logits, &sample, 0, 0, 1, want);
    proposed = accepted = 0;
    for (int32_t i = 0; i < n_draws; i++) {
        qu_draft *d;
        int32_t out[3];
        sample.seed = (uint64_t)i * 7919;
        qu_draft_options o = {.kind = QU_DRAFT_SELF,
                              .sample = sample,
                              .model = model,
                              .context = c,
                              .logits = logits,
                              .pos = pos,
                              .most = 4,
                              .small = small,
                              .prompt = prompt,
                              .n_prompt = 3};
        TEST_OK(qu_draft_create(&d, &o, err));
        for (int k = 0; k < 3; k++) TEST_OK(qu_draft_next(d, &out[k], NULL, err));
        proposed += qu_draft_stats_get(d).proposed;
        accepted += qu_draft_stats_get(d).accepted;
        qu_draft_free(d);
        qu_context_rewind(c, 3);
        qu_context_rewind(small, 0);
        got[cell_of(c, pos, logits, &sample, out)]++;
    }
    int cells = 0;
    for (int i = 0; i < CELLS; i++) {
        if (want[i] * n_draws < 5) continue;
        chi += (got[i] - want[i] * n_draws) * (got[i] - want[i] * n_draws) / (want[i] * n_draws);
        cells++;
    }
    print_message("%d answers, %lld of %lld drafts accepted: chi-square %.1f over %d cells\n",
                  n_draws, (long long)accepted, (long long)proposed, chi, cells);
    assert_true(accepted < proposed && cells > 10 && chi < 60); /* 26 degrees: one in 6,000 */
    free(logits);
    qu_context_free(c);
    qu_context_free(small);
    qu_policy_free(few);
    free_pages(&pages);
}

static void written_down(void **state)
{
    (void)state;
    to_device();
    if (emulated) skip();
    drafts_change_nothing("copy");
}

static void random_models(void **state)
{
    (void)state;
    if (emulated) {
        use_made(SMALL);
        drafts_change_nothing("random, small");
        return;
    }
    use_made("--random --shape tiny --context 512 --seed 1");
    drafts_change_nothing("random");
    use_made("--random --shape tiny --context 512 --seed 2 --type Q8_0 --layers 3 --head-size 32");
    drafts_change_nothing("random, Q8_0");
}

static void bundled_reader(void **state)
{
    (void)state;
    if (emulated) skip();
    use("models/quire-reader.gguf");
    drafts_change_nothing("reader");
}

static void stories(void **state)
{
    (void)state;
    if (emulated) skip();
    TEST_NEEDS(path, "stories260K/stories260K-q8_0.gguf");
    use(path);
    drafts_change_nothing("stories260K");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_down),
        cmocka_unit_test(random_models),
        cmocka_unit_test(bundled_reader),
        cmocka_unit_test(stories),
        cmocka_unit_test(sampled_drafts_keep_the_distribution),
    };
    n_prompts = getenv("QUIRE_LONG") ? 500 : 8;
    n_draws = getenv("QUIRE_LONG") ? 20000 : 4000;
#ifdef __SANITIZE_ADDRESS__
    n_prompts = 3; /* a sixteenth of the speed */
    n_draws = 1000;
#endif
#ifdef ON_DEVICE
    emulated = &emulate_reverse != NULL; /* a fibre a thread: the smallest model only */
    if (emulated) {
        print_message("skipped: all but the smallest model, on an emulated device\n");
        n_prompts = 1;
        n_draws = 0;
    }
#endif
    return cmocka_run_group_tests(tests, open_model, close_model);
}
