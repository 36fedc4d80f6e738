/* The written-down copy model for tests: a haystack with a needle, its pages, one question. */
#ifndef QU_TESTS_COPY_TESTING_H
#define QU_TESTS_COPY_TESTING_H

#include "tests/testing.h"

#include "base/dims.h"
#include "base/pool.h"
#include "decode/context.h"
#include "decode/page_memory.h"
#include "decode/sample.h"
#include "decode/token.h"
#include "kernels/codec.h"

enum { DEPTHS = 15, MAX_PAGES = 64, MAX_NEEDLES = 4 };

static qu_model *model;
static qu_tokenizer *tok;
static qu_pool *pool; /* NULL: one thread, whose answers are everybody's (unit_forward) */

static const char filler[] =
    "the old house is near the river and the road goes over the hill to the town ";

/* What stands in the haystack, what is asked, what is right. */
typedef struct needle {
    const char *text, *question, *answer;
} needle;

static const needle needles[MAX_NEEDLES] = {
    {" badar cefen digol fohux\n",
     "Question: what follows badar?\nAnswer:", " cefen digol fohux\n"},
    {" gatin hubel jopid kerus\n",
     "Question: what follows gatin?\nAnswer:", " hubel jopid kerus\n"},
    {" lomar mevid nubol pixen\n",
     "Question: what follows lomar?\nAnswer:", " mevid nubol pixen\n"},
    {" rafit sogel tudan vomix\n",
     "Question: what follows rafit?\nAnswer:", " sogel tudan vomix\n"},
};

static inline void add(qu_tokens *t, const char *text)
{
    TEST_OK(qu_tokenize(tok, t, text, strlen(text), QU_TOK_CONTINUE, err));
}

/* n tokens of filler; needle i begins at at[i], or not at all if that is negative. */
static inline void haystack(qu_tokens *t, int32_t n, const int64_t at[MAX_NEEDLES])
{
    t->n = 0;
    while (t->n < n) add(t, filler);
    t->n = n;
    for (int i = 0; i < MAX_NEEDLES; i++) {
        qu_tokens pin = {0};
        if (at[i] < 0) continue;
        add(&pin, needles[i].text);
        for (int64_t j = 0; j < pin.n && at[i] + j < n; j++) t->ids[at[i] + j] = pin.ids[j];
        qu_tokens_free(&pin);
    }
}

static inline int64_t needle_tokens(int i)
{
    qu_tokens pin = {0};
    add(&pin, needles[i].text);
    int64_t n = pin.n;
    qu_tokens_free(&pin);
    return n;
}

static inline qu_status keep(void *ctx, int32_t page, int32_t layer, int32_t g, const void *data,
                             size_t n, qu_err *err)
{
    (void)err;
    qu_page_memory **pages = ctx;
    memcpy(qu_page_memory_slice(pages[page], layer, g), data, n);
    return QU_OK;
}

static inline qu_status keep_summary(void *ctx, int32_t page, const void *data, size_t n,
                                     qu_err *err)
{
    return qu_page_memory_summarise(((qu_page_memory **)ctx)[page], data, n, err);
}

/* [BOS][hay], cut after offset tokens and then every 128, encoded in one run. */
typedef struct paged {
    qu_page_tokens cut[MAX_PAGES];
    qu_page_memory *memory[MAX_PAGES];
    int32_t n, bos;
    int64_t end;
    int codec;
} paged;

static inline void encode_pages(paged *p, const qu_tokens *hay, int32_t offset, int codec)
{
    qu_context *c;
    memset(p, 0, sizeof *p);
    p->bos = qu_tokenizer_bos(tok);
    p->codec = codec;
    p->end = 1 + hay->n;
    p->cut[p->n++] = (qu_page_tokens){&p->bos, 1, 0};
    for (int64_t at = 0; at < hay->n;) {
        int64_t len = at == 0 ? offset : QU_PAGE_TOKENS;
        if (len > hay->n - at) len = hay->n - at;
        p->cut[p->n++] = (qu_page_tokens){hay->ids + at, (int32_t)len, 1 + at};
        at += len;
    }
    for (int32_t i = 0; i < p->n; i++)
        TEST_OK(qu_page_memory_create(&p->memory[i], model, codec, p->cut[i].n, err));
    TEST_OK(qu_context_create(&c, model, pool, codec, err));
    qu_page_sink sink = {keep, p->memory, keep_summary};
    TEST_OK(qu_context_prefill(c, p->cut, p->n, &sink, err));
    qu_context_free(c);
}

static inline void free_pages(paged *p)
{
    for (int32_t i = 0; i < p->n; i++) qu_page_memory_free(p->memory[i]);
}

/* All pages attached; candidates are all but the first and the last. */
static inline qu_context *attach_pages(const paged *p)
{
    qu_context *c;
    TEST_OK(qu_context_create(&c, model, pool, p->codec, err));
    for (int32_t i = 0; i < p->n; i++) {
        qu_page_source source = qu_page_memory_source(p->memory[i]);
        if (i == 0 || i == p->n - 1) source.summary = NULL;
        TEST_OK(qu_context_attach(c, p->cut[i].n, p->cut[i].pos, &source, err));
    }
    return c;
}

/* Ask for needle i over the pages, with the hook or without (NULL). */
static inline bool finds(const paged *p, int i, const qu_select_hook *hook)
{
    qu_context *c = attach_pages(p);
    qu_tokens q = {0};
    add(&q, needles[i].question);
    float *logits = malloc((size_t)model->vocab * sizeof *logits);
    int64_t pos = p->end;
    qu_context_select(c, hook);
    TEST_OK(qu_context_step(c, q.ids, (int32_t)q.n, pos, 1, logits, err));
    pos += q.n;
    qu_buf out = {0};
    qu_detok d;
    qu_detok_init(&d, tok, QU_TOK_CONTINUE);
    for (int k = 0; k < 12; k++) {
        int32_t id = qu_sample_greedy(logits, model->vocab);
        if (qu_tokenizer_is_end(tok, id)) break;
        TEST_OK(qu_detok_add(&d, id, &out, err));
        TEST_OK(qu_context_step(c, &id, 1, pos++, 1, logits, err));
    }
    bool right = out.data && strcmp(out.data, needles[i].answer) == 0;
    qu_buf_free(&out);
    qu_tokens_free(&q);
    free(logits);
    qu_context_free(c);
    return right;
}

static inline int open_model(void **state)
{
    (void)state;
    const char *b = getenv("B") ? getenv("B") : "build/release";
    char path[256], command[700];
    qu_err err;
    snprintf(path, sizeof path, "%s/tests/copy.%d.gguf", b, (int)getpid()); /* not another's map */
    snprintf(command, sizeof command, "%s/mkmodel --copy -o %s", b, path);
    if (system(command) != 0) return -1;
    bool opened = qu_model_open(&model, path, &err) == QU_OK &&
                  qu_tokenizer_create(&tok, model->gguf, &err) == QU_OK;
    unlink(path); /* it stays mapped */
    if (!opened) print_error("%s\n", err.msg);
    return opened ? 0 : -1;
}

static inline int close_model(void **state)
{
    (void)state;
    qu_tokenizer_free(tok);
    qu_model_close(model);
    return 0;
}

#endif
