#include "retrieve/extract.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/memory.h"
#include "index/words.h"
#include "ingest/sentence.h"
#include "retrieve/extract_int.h"

enum {
    QUESTION_BYTES = 1 << 16, /* of the question that are read */
    TEXT_BYTES = 4 << 20,     /* of all texts together */
};

/* A sentence that fits no wanted type counts this much of its overlap: another one that fits may be
 * better. */
static const float UNTYPED = 0.85f;
/* A heading, or one that says nothing besides the question's own words, counts still less. */
static const float EMPTY = 0.5f;
/* A sentence gets this share of the overlap that the one before it and its heading add: "It was
 * built in 1902". */
static const float BEFORE = 0.4f;

typedef struct sentence {
    int32_t text;
    int64_t start, end;
    uint64_t held;   /* bit i: question word i stands in it */
    uint64_t lent;   /* ... in the sentence before it or the last heading above it */
    uint64_t headed; /* ... in that heading, or in itself if it is one */
    bool heading;
} sentence;

typedef struct finder {
    qu_extract_question question;
    float total;
    qu_buf sentences; /* sentence */
    size_t n;
    qu_extract_answer *all;
} finder;

static sentence *sentence_at(const finder *f, size_t i)
{
    return (sentence *)(void *)f->sentences.data + i;
}

/* Marked as one, or a line alone that ends without a mark. */
static bool is_heading(const char *s, int64_t start, int64_t end, int64_t n)
{
    if (s[start] == '#') return true;
    return (start == 0 || s[start - 1] == '\n') && end + 1 < n && s[end] == '\n' &&
           s[end + 1] == '\n' && isalnum((unsigned char)s[end - 1]) &&
           !memchr(s + start, '\n', (size_t)(end - start));
}

static qu_status add_sentence(finder *f, int32_t text, const char *s, int64_t n, int64_t start,
                              int64_t end, qu_err *err)
{
    while (end > start && strchr(" \t\r\n", s[end - 1])) end--;
    if (end == start) return QU_OK;
    sentence out = {.text = text, .start = start, .end = end};
    const sentence *last = f->n > 0 ? sentence_at(f, f->n - 1) : NULL;
    qu_words it;
    qu_word w;
    qu_words_init(&it, s + start, (size_t)(end - start));
    while (qu_words_next(&it, &w)) {
        int32_t i = qu_extract_question_word(&f->question, w.hash);
        if (i >= 0) out.held |= 1ull << i;
    }
    out.heading = is_heading(s, start, end, n);
    if (last && last->text == text) {
        out.lent = last->held | last->headed;
        out.headed = last->headed;
    }
    if (out.heading) out.headed = out.held;
    f->n++;
    return qu_buf_add(&f->sentences, &out, sizeof out, err);
}

static qu_status add_text(finder *f, int32_t text, const char *s, int64_t n, qu_err *err)
{
    QU_OWN(qu_sentences_free) qu_sentences cuts = {0};
    qu_status st = qu_sentences_find(&cuts, s, 0, n, err);
    for (int64_t i = 0; st == QU_OK && i < cuts.n; i++)
        st = add_sentence(f, text, s, n, cuts.starts[i],
                          i + 1 < cuts.n ? cuts.starts[i + 1] : n, err);
    return st;
}

/* A word in few sentences tells more; one that no sentence holds weighs most, so that its absence
 * shows. */
static void weigh(finder *f)
{
    for (int32_t i = 0; i < f->question.n_words; i++) {
        size_t df = 0;
        for (size_t s = 0; s < f->n; s++) df += sentence_at(f, s)->held >> i & 1;
        f->question.weights[i] = 0.5f + 1.0f / (float)(df ? df : 1);
        f->total += f->question.weights[i];
    }
}

static float overlap(const finder *f, uint64_t held)
{
    float sum = 0;
    for (int32_t i = 0; i < f->question.n_words; i++)
        if (held >> i & 1) sum += f->question.weights[i];
    return sum;
}

static int best_first(const void *a, const void *b)
{
    const qu_extract_answer *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->text != y->text) return x->text < y->text ? -1 : 1;
    return (x->sent_start > y->sent_start) - (x->sent_start < y->sent_start);
}

static void answer(const finder *f, size_t i, const qu_support_text *texts, qu_extract_answer *out)
{
    const sentence *s = sentence_at(f, i);
    const char *p = texts[s->text].text + s->start;
    int64_t start, end;
    float prior = texts[s->text].prior > 0 ? texts[s->text].prior : 1;
    float sum = overlap(f, s->held) + BEFORE * overlap(f, s->lent & ~s->held);
    float fit = qu_extract_span(&f->question, p, s->end - s->start, &start, &end) ? 1 : UNTYPED;
    if (s->heading || (fit < 1 && start == 0 && end == s->end - s->start)) fit = EMPTY;
    *out = (qu_extract_answer){.text = s->text,
                               .sent_start = s->start,
                               .sent_end = s->end,
                               .span_start = s->start + start,
                               .span_end = s->start + end,
                               .score = prior * sum / f->total * fit};
    if (out->score > 1) out->score = 1;
}

static void end_finder(finder *f)
{
    qu_buf_free(&f->sentences);
    free(f->all);
}

qu_status qu_extract(const char *question, const qu_support_text *texts, int32_t n_texts,
                     qu_extract_answer *answers, int32_t k, int32_t *n, qu_err *err)
{
    QU_OWN(end_finder) finder f = {0};
    int64_t left = TEXT_BYTES;
    size_t found = 0;
    *n = 0;
    if (n_texts < 0 || k < 0)
        return qu_fail(err, QU_ERR_ARG, "cannot take %d answers from %d texts", k, n_texts);
    qu_extract_question_read(&f.question, question, strnlen(question, QUESTION_BYTES));
    for (int32_t i = 0; i < n_texts && left > 0; i++) {
        int64_t len = texts[i].n < left ? texts[i].n : left;
        QU_TRY(add_text(&f, i, texts[i].text, len, err));
        left -= len;
    }
    weigh(&f);
    if (f.n == 0) return QU_OK;
    QU_TRY(qu_memory_take(&f.all, f.n, sizeof *f.all, err));
    for (size_t i = 0; i < f.n; i++)
        if (sentence_at(&f, i)->held) answer(&f, i, texts, &f.all[found++]);
    if (found > 0) qsort(f.all, found, sizeof *f.all, best_first);
    for (; *n < k && (size_t)*n < found; ++*n) answers[*n] = f.all[*n];
    return QU_OK;
}
