/* The written-down copy model through stored pages: every needle is found, at every depth and page cut. */
#include "tests/testing.h"

#include "base/dims.h"
#include "base/pool.h"
#include "decode/context.h"
#include "decode/page_memory.h"
#include "decode/sample.h"
#include "decode/token.h"
#include "kernels/codec.h"

enum { DEPTHS = 15, MAX_PAGES = 64 };

static qu_model *model;
static qu_tokenizer *tok;
static qu_pool *pool; /* NULL: one thread, whose answers are everybody's (unit_forward) */

static const char filler[] =
    "the old house is near the river and the road goes over the hill to the town ";
static const char needle[] = " badar cefen digol fohux\n";
static const char question[] = "Question: what follows badar?\nAnswer:";
static const char answer[] = " cefen digol fohux\n";

static void add(qu_tokens *t, const char *text)
{
    TEST_OK(qu_tokenize(tok, t, text, strlen(text), QU_TOK_CONTINUE, err));
}

/* n tokens of filler with the needle at depth / (DEPTHS - 1) of the way. */
static void haystack(qu_tokens *t, int32_t n, int32_t depth)
{
    qu_tokens fill = {0}, pin = {0};
    while (fill.n < n) add(&fill, filler);
    add(&pin, needle);
    int64_t at = (n - pin.n) * depth / (DEPTHS - 1);
    t->n = 0;
    for (int64_t i = 0; i < n; i++) {
        qu_tokens *from = i >= at && i < at + pin.n ? &pin : &fill;
        if (t->n == t->cap) {
            t->cap = n;
            t->ids = realloc(t->ids, (size_t)n * sizeof *t->ids);
        }
        t->ids[t->n++] = from == &pin ? pin.ids[i - at] : fill.ids[i];
    }
    qu_tokens_free(&fill);
    qu_tokens_free(&pin);
}

static qu_status keep(void *ctx, int32_t page, int32_t layer, int32_t g, const void *data, size_t n,
                      qu_err *err)
{
    (void)err;
    qu_page_memory **pages = ctx;
    memcpy(qu_page_memory_slice(pages[page], layer, g), data, n);
    return QU_OK;
}

/* Encode [BOS][hay] cut after offset tokens and then every 128, attach the slices, ask. */
static bool finds(const qu_tokens *hay, int32_t offset, int codec)
{
    qu_page_tokens cut[MAX_PAGES];
    qu_page_memory *memory[MAX_PAGES];
    int32_t n = 0, bos = qu_tokenizer_bos(tok);
    qu_context *c;
    cut[n++] = (qu_page_tokens){&bos, 1, 0};
    for (int64_t at = 0; at < hay->n;) {
        int64_t len = at == 0 ? offset : QU_PAGE_TOKENS;
        if (len > hay->n - at) len = hay->n - at;
        cut[n++] = (qu_page_tokens){hay->ids + at, (int32_t)len, 1 + at};
        at += len;
    }
    for (int32_t i = 0; i < n; i++)
        TEST_OK(qu_page_memory_create(&memory[i], model, codec, cut[i].n, err));
    TEST_OK(qu_context_create(&c, model, pool, codec, err));
    qu_page_sink sink = {keep, memory, NULL};
    TEST_OK(qu_context_prefill(c, cut, n, &sink, err));
    qu_context_free(c);
    TEST_OK(qu_context_create(&c, model, pool, codec, err));
    for (int32_t i = 0; i < n; i++) {
        qu_page_source source = qu_page_memory_source(memory[i]);
        TEST_OK(qu_context_attach(c, cut[i].n, cut[i].pos, &source, err));
    }
    qu_tokens q = {0};
    add(&q, question);
    float *logits = malloc((size_t)model->vocab * sizeof *logits);
    int64_t pos = 1 + hay->n;
    TEST_OK(qu_context_step(c, q.ids, (int32_t)q.n, pos, 1, logits, err));
    pos += q.n;
    qu_buf out = {0};
    qu_detok d;
    qu_detok_init(&d, tok, QU_TOK_CONTINUE);
    for (int i = 0; i < 12; i++) {
        int32_t id = qu_sample_greedy(logits, model->vocab);
        if (qu_tokenizer_is_end(tok, id)) break;
        TEST_OK(qu_detok_add(&d, id, &out, err));
        TEST_OK(qu_context_step(c, &id, 1, pos++, 1, logits, err));
    }
    bool right = out.data && strcmp(out.data, answer) == 0;
    if (!right) print_message("answered '%s'\n", out.data ? out.data : "");
    qu_buf_free(&out);
    qu_tokens_free(&q);
    free(logits);
    qu_context_free(c);
    for (int32_t i = 0; i < n; i++) qu_page_memory_free(memory[i]);
    return right;
}

static void found_at_every_depth_and_cut(void **state)
{
    (void)state;
    static const int32_t lengths[] = {512, 1024, 2048};
    bool whole =
        getenv("QUIRE_LONG") != NULL; /* else each cut meets one depth, each depth nine cuts */
    qu_tokens hay = {0};
    int32_t runs = 0;
    for (int l = 0; l < 3; l++)
        for (int32_t depth = 0; depth < DEPTHS; depth++) {
            haystack(&hay, lengths[l], depth);
            for (int32_t offset = 1; offset <= QU_PAGE_TOKENS; offset++) {
                if (!whole && offset % DEPTHS != depth) continue;
                runs++;
                if (!finds(&hay, offset, runs % QU_CODEC_COUNT))
                    fail_msg("%d tokens, depth %d, first page of %d", lengths[l], depth, offset);
            }
        }
    print_message("%d needles found\n", runs);
    qu_tokens_free(&hay);
}

static int open_model(void **state)
{
    (void)state;
    const char *b = getenv("B") ? getenv("B") : "build/release";
    char path[256], command[700];
    qu_err err;
    snprintf(path, sizeof path, "%s/tests/copy.gguf", b);
    snprintf(command, sizeof command, "%s/mkmodel --copy -o %s", b, path);
    if (system(command) != 0) return -1;
    if (qu_model_open(&model, path, &err) != QU_OK ||
        qu_tokenizer_create(&tok, model->gguf, &err) != QU_OK) {
        print_error("%s\n", err.msg);
        return -1;
    }
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    qu_tokenizer_free(tok);
    qu_model_close(model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(found_at_every_depth_and_cut)};
    return cmocka_run_group_tests(tests, open_model, close_model);
}
