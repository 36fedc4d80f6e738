/* quire bench: how fast this machine runs this model; random tokens and random pages, no store. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dims.h"
#include "base/os.h"
#include "decode/context.h"
#include "decode/device.h"
#include "decode/page_memory.h"
#include "decode/sample.h"
#include "kernels/codec.h"
#include "pipelines/commands.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/pages.h"
#include "pipelines/score.h"
#include "pipelines/session.h"

enum { DECODED = 32, QUESTION = 32, MAX_TOKENS = 1 << 20, MAX_REPEAT = 101 };

#define PAGES_BYTES (256ll << 20) /* memory for distinct pages; a longer context uses them again */

typedef struct bench {
    const qu_args *args;
    qu_session *s;
    uint64_t random;
    int32_t *ids;              /* [MAX_TOKENS' worth that is needed] random tokens */
    float *logits;             /* [V] */
    qu_page_memory **pages;    /* [n_pages], each QU_PAGE_TOKENS long */
    int32_t n_pages;
} bench;

/* A page of random keys and values in the codec, a new one for every slice. */
static qu_status fill_page(bench *b, qu_page_memory *page, qu_err *err)
{
    const qu_model *m = b->s->model;
    int32_t d = m->head_size, n = QU_PAGE_TOKENS;
    QU_OWN(qu_freep) float *kv = NULL;
    QU_TRY(qu_memory_take(&kv, 2ll * n * d, sizeof *kv, err));
    for (int32_t layer = 0; layer < m->n_layers; layer++)
        for (int32_t g = 0; g < m->n_kv_heads; g++) {
            for (int32_t i = 0; i < 2 * n * d; i++)
                kv[i] = (float)(int32_t)qu_score_random(&b->random) / 2147483648.0f;
            qu_codec_encode(qu_page_memory_slice(page, layer, g), b->s->codec, kv, d,
                            kv + (int64_t)n * d, d, n, d);
        }
    return QU_OK;
}

/* Pages enough for a context of that many tokens, distinct ones as far as memory allows, so that
 * loading reads memory and not a cache. */
static qu_status make_pages(bench *b, int64_t tokens, qu_err *err)
{
    const qu_model *m = b->s->model;
    int64_t bytes =
        qu_codec_bytes(b->s->codec, QU_PAGE_TOKENS, m->head_size) * m->n_layers * m->n_kv_heads;
    int64_t n = (tokens + QU_PAGE_TOKENS - 1) / QU_PAGE_TOKENS, most = PAGES_BYTES / bytes;
    if (n > most) n = most > 1 ? most : 1;
    QU_TRY(qu_memory_take(&b->pages, n, sizeof *b->pages, err));
    for (; b->n_pages < n; b->n_pages++) {
        QU_TRY(qu_page_memory_create(&b->pages[b->n_pages], m, b->s->codec, QU_PAGE_TOKENS, err));
        if (b->n_pages == 0) QU_TRY(fill_page(b, b->pages[0], err));
        for (int32_t layer = 0; b->n_pages > 0 && layer < m->n_layers; layer++)
            for (int32_t g = 0; g < m->n_kv_heads; g++)
                memcpy(qu_page_memory_slice(b->pages[b->n_pages], layer, g),
                       qu_page_memory_slice(b->pages[0], layer, g),
                       qu_page_memory_bytes(b->pages[0]));
    }
    return QU_OK;
}

static qu_status attach(bench *b, qu_context *c, int64_t tokens, qu_err *err)
{
    for (int64_t at = 0, i = 0; at < tokens; at += QU_PAGE_TOKENS, i++) {
        qu_page_source source = qu_page_memory_source(b->pages[i % b->n_pages]);
        QU_TRY(qu_context_attach(c, QU_PAGE_TOKENS, at, &source, err));
    }
    return QU_OK;
}

/* --- the tests: each runs once and gives one value. n: tokens, or tokens of context --- */

static qu_status run_prefill(bench *b, qu_context *c, int64_t n, double *value, qu_err *err)
{
    int32_t n_pages = (int32_t)((n + QU_PAGE_TOKENS - 1) / QU_PAGE_TOKENS);
    QU_OWN(qu_freep) qu_page_tokens *pages = NULL;
    QU_TRY(qu_memory_take(&pages, n_pages, sizeof *pages, err));
    for (int32_t i = 0; i < n_pages; i++) {
        int64_t at = (int64_t)i * QU_PAGE_TOKENS;
        pages[i] = (qu_page_tokens){
            b->ids + at, n - at < QU_PAGE_TOKENS ? (int32_t)(n - at) : QU_PAGE_TOKENS, at};
    }
    double start = qu_os_now_ms();
    qu_status st = qu_context_prefill(c, pages, n_pages, NULL, err);
    if (st == QU_OK) st = qu_device_wait(b->s->model, err);
    *value = (double)n * 1e3 / (qu_os_now_ms() - start);
    return st;
}

/* What greedy decoding takes behind n tokens at pos. */
static qu_status step(bench *b, qu_context *c, const int32_t *ids, int32_t n, int64_t pos,
                      qu_err *err)
{
    int32_t id;
    qu_choice choice;
    qu_sample greedy = {0};
    if (qu_device_name(b->s->model)) return qu_context_step_greedy(c, ids, n, pos, 1, &choice, err);
    QU_TRY(qu_context_step(c, ids, n, pos, 1, b->logits, err));
    return qu_sample_pick(&id, b->logits, b->s->model->vocab, &greedy, 0, err);
}

static qu_status run_decode(bench *b, qu_context *c, int64_t n, double *value, qu_err *err)
{
    QU_TRY(attach(b, c, n, err));
    QU_TRY(step(b, c, b->ids, 1, n, err)); /* loads the pages */
    double start = qu_os_now_ms();
    for (int i = 1; i <= DECODED; i++)
        QU_TRY(step(b, c, b->ids + i, 1, n + i, err));
    *value = DECODED * 1e3 / (qu_os_now_ms() - start);
    return QU_OK;
}

static qu_status run_first_token(bench *b, qu_context *c, int64_t n, double *value, qu_err *err)
{
    double start = qu_os_now_ms();
    QU_TRY(attach(b, c, n, err));
    QU_TRY(step(b, c, b->ids, QUESTION, n, err));
    *value = qu_os_now_ms() - start;
    return QU_OK;
}

static qu_status run_page_load(bench *b, qu_context *c, int64_t n, double *value, qu_err *err)
{
    QU_TRY(attach(b, c, n, err));
    QU_TRY(step(b, c, b->ids, 1, n, err));
    qu_context_stats stats = qu_context_stats_get(c);
    *value = stats.load_ms > 0 ? (double)stats.bytes_read / stats.load_ms / 1e6 : 0;
    return QU_OK;
}

typedef struct kind {
    const char *name, *unit;
    qu_status (*run)(bench *b, qu_context *c, int64_t n, double *value, qu_err *err);
    bool by_context;           /* n is a length of context, whole pages */
    int tokens;                /* tokens beyond the context; 0: n itself, which is not 0 then */
} kind;

static const kind kinds[] = {
    {"prefill", "tokens/s", run_prefill, false, 0},
    {"decode", "tokens/s", run_decode, true, DECODED},
    {"first_token", "ms", run_first_token, true, QUESTION},
    {"page_load", "GB/s", run_page_load, true, 0},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* --- one line of the result --- */

static qu_status print_line(const bench *b, const kind *k, int64_t n, double value, qu_err *err)
{
    char digits[32];
    int64_t tokens = k->tokens ? k->tokens : n, context = k->by_context ? n : 0;
    snprintf(digits, sizeof digits, "%.5g", value);
    if (qu_out_is_json())
        return qu_out_json(
            json_pack("{s:s,s:o,s:I,s:I,s:f,s:s}", "test", k->name, "model",
                      qu_pages_json_text(b->s->model->name, strlen(b->s->model->name)), "tokens",
                      (json_int_t)tokens, "context", (json_int_t)context, "value",
                      strtod(digits, NULL), "unit", k->unit),
            err);
    QU_TRY(qu_out_printf(err, "%-12s %8lld tokens %8lld context %12s %s\n", k->name,
                         (long long)tokens, (long long)context, digits, k->unit));
    return qu_out_flush(err);
}

/* The median of --repeat runs after one that does not count. */
static qu_status measure(bench *b, const kind *k, int64_t n, qu_err *err)
{
    int repeat = (int)qu_args_int(b->args, "repeat");
    double values[MAX_REPEAT], unused;
    for (int i = -1; i < repeat; i++) {
        qu_context *c;
        QU_TRY(qu_context_create(&c, b->s->model, b->s->pool, b->s->codec, err));
        int64_t warm = !k->by_context && i < 0 && n > QU_PAGE_TOKENS ? QU_PAGE_TOKENS : n;
        qu_status st = k->run(b, c, warm, i < 0 ? &unused : &values[i], err);
        qu_context_free(c);
        if (st != QU_OK) return st;
        if (qu_out_gone()) return QU_OK;
    }
    qsort(values, (size_t)repeat, sizeof *values, qu_score_ascending);
    return print_line(b, k, n, values[repeat / 2], err);
}

/* A list of lengths: the default one without what passes the window, a given one as it is. */
static qu_status lengths(bench *b, const char *option, int64_t min, int64_t extra, int64_t **list,
                         int64_t *n, int64_t *longest, qu_err *err)
{
    const qu_model *m = b->s->model;
    const char *text = qu_args_str(b->args, option);
    int64_t room = m->context - extra, kept = 0;
    QU_TRY(qu_input_numbers(list, n, text, strlen(text), min, MAX_TOKENS, "length in tokens", err));
    for (int64_t i = 0; i < *n; i++) {
        int64_t x = (*list)[i];
        if (extra) x = (x + QU_PAGE_TOKENS - 1) / QU_PAGE_TOKENS * QU_PAGE_TOKENS;
        if (x > room && qu_args_given(b->args, option))
            return qu_fail(err, QU_ERR_LIMIT,
                           "--%s %lld: the window of model '%s' has %d, %lld for what follows",
                           option, (long long)x, m->name, m->context, (long long)extra);
        if (x > room) continue;
        (*list)[kept++] = x;
        if (x > *longest) *longest = x;
    }
    *n = kept;
    return QU_OK;
}

static qu_status run_all(bench *b, qu_err *err)
{
    int64_t n_tokens = 0, n_contexts = 0, most = DECODED + QUESTION, deepest = 0;
    QU_OWN(qu_freep) int64_t *tokens = NULL, *contexts = NULL;
    int only = qu_args_choice(b->args, "test") - 1;
    QU_TRY(lengths(b, "tokens", 1, 0, &tokens, &n_tokens, &most, err));
    QU_TRY(lengths(b, "context", 0, QUESTION, &contexts, &n_contexts, &deepest, err));
    QU_TRY(qu_memory_take(&b->ids, most, sizeof *b->ids, err));
    QU_TRY(qu_memory_take(&b->logits, b->s->model->vocab, sizeof *b->logits, err));
    for (int64_t i = 0; i < most; i++)
        b->ids[i] = (int32_t)(qu_score_random(&b->random) % (uint64_t)b->s->model->vocab);
    QU_TRY(make_pages(b, deepest, err));
    for (int k = 0; k < N_KINDS; k++) {
        if (only >= 0 && only != k) continue;
        const int64_t *list = kinds[k].by_context ? contexts : tokens;
        for (int64_t i = 0; i < (kinds[k].by_context ? n_contexts : n_tokens); i++)
            if (list[i] > 0 || kinds[k].tokens) QU_TRY(measure(b, &kinds[k], list[i], err));
    }
    return QU_OK;
}

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    bench b = {.args = s->args, .s = s};
    (void)code;
    /* A context's memory goes to the next one, as from question to question of `ask -`: or half of
     * what is measured would be the kernel handing out pages. */
#if defined(M_TRIM_THRESHOLD) && defined(M_MMAP_THRESHOLD)
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
    s->codec = qu_codec_find(qu_args_str(s->args, "codec"));
    qu_out_note("model '%s', %d threads, numerics %s, codec %s", s->model->name,
                qu_args_threads(s->args), s->numerics, qu_codec_name(s->codec));
    qu_status st = run_all(&b, err);
    for (int32_t i = 0; i < b.n_pages; i++) qu_page_memory_free(b.pages[i]);
    free(b.pages);
    free(b.ids);
    free(b.logits);
    return st;
}

static const qu_option options[] = {
    QU_ENUM("test", "TEST", "all", "all|prefill|decode|first_token|page_load", "run one test only"),
    QU_STR("tokens", "LIST", "128,512", "lengths of documents to prefill"),
    QU_STR("context", "LIST", "0,384,2048",
           "lengths of loaded context, rounded up to whole pages of 128"),
    QU_INT("repeat", "N", "5", 1, MAX_REPEAT, "runs of each test, whose median is shown"),
    QU_ENUM("codec", "CODEC", "f16", "f32|f16|q8|q4", "how the loaded pages are stored"),
};

const qu_command qu_cmd_bench = {
    .name = "bench",
    .summary = "measure how fast this machine runs a model",
    .description =
        "prefill: tokens a second of reading a document. decode: tokens a second of writing "
        "an answer over a loaded context. first_token: milliseconds from a question of 32 "
        "tokens to its first token, the pages loaded from memory. page_load: stored bytes a "
        "second from memory into attention, decoded and rotated.\n\n"
        "Tokens and pages are random, no store and no disk take part, each run has the memory "
        "of the one before, and the first of each is not counted. Lengths that the model's window "
        "does not hold are left out of the default lists and refused in given ones.",
    .examples = "quire bench\nquire bench --json --test decode --context 0,1024,4096",
    QU_OPTIONS(options),
    .session = QU_SESSION_MODEL,
    .act = act,
};
