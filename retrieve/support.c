#include "retrieve/support.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "index/words.h"
#include "ingest/sentence.h"

/* An answer longer than this is compared by its first words. */
enum { MAX_WORDS = 512 };

/* The answer word by word outweighs any share of its words with all that decides between equals. */
static const float WEIGHT_VERBATIM = .7f, WEIGHT_SHARE = .4f, WEIGHT_QUESTION = .2f,
                   WEIGHT_PRIOR = .1f;

typedef struct word_list {
    uint64_t hash[MAX_WORDS];
    int32_t n;
} word_list;

static void words_of(word_list *w, const char *text, size_t n)
{
    qu_words it;
    qu_word word;
    w->n = 0;
    qu_words_init(&it, text, n);
    while (w->n < MAX_WORDS && qu_words_next(&it, &word)) w->hash[w->n++] = word.hash;
}

/* Share of a's words that b holds. */
static float share(const word_list *a, const word_list *b)
{
    int32_t held = 0;
    for (int32_t i = 0; i < a->n; i++)
        for (int32_t j = 0; j < b->n; j++)
            if (a->hash[i] == b->hash[j]) {
                held++;
                break;
            }
    return a->n ? (float)held / (float)a->n : 0;
}

static bool in_order(const word_list *a, const word_list *b)
{
    for (int32_t j = 0; a->n > 0 && j + a->n <= b->n; j++)
        if (memcmp(a->hash, b->hash + j, (size_t)a->n * sizeof *a->hash) == 0) return true;
    return false;
}

static bool blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t';
}

/* The best sentence of one text into *best (score -1 where there is none). */
static void best_of(qu_support_span *best, const qu_support_text *t, const qu_sentences *s,
                    const word_list *question, const word_list *answer)
{
    best->score = -1;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t from = s->starts[i], to = i + 1 < s->n ? s->starts[i + 1] : t->n;
        while (to > from && blank(t->text[to - 1])) to--;
        word_list w;
        words_of(&w, t->text + from, (size_t)(to - from));
        bool verbatim = in_order(answer, &w);
        float held = share(answer, &w);
        float score = (verbatim ? WEIGHT_VERBATIM : WEIGHT_SHARE * held) +
                      WEIGHT_QUESTION * share(question, &w) + WEIGHT_PRIOR * t->prior;
        if (score <= best->score) continue;
        best->start = from;
        best->end = to;
        best->score = score;
        best->verbatim = verbatim;
        best->supported = verbatim || (answer->n > 0 && held >= QU_SUPPORT_SHARE);
    }
}

qu_status qu_support_find(qu_support_span *spans, int32_t k, int32_t *n, const char *question,
                          const char *answer, size_t n_answer, const qu_support_text *texts,
                          int32_t n_texts, qu_err *err)
{
    word_list q, a;
    QU_OWN(qu_sentences_free) qu_sentences s = {0};
    *n = 0;
    words_of(&q, question, strlen(question));
    words_of(&a, answer, n_answer);
    for (int32_t i = 0; i < n_texts; i++) {
        qu_support_span best = {.text = i};
        s.n = 0;
        QU_TRY(qu_sentences_find(&s, texts[i].text, 0, texts[i].n, err));
        best_of(&best, &texts[i], &s, &q, &a);
        if (best.score < 0) continue;
        int32_t at = *n; /* insert in order, drop what falls off the end */
        while (at > 0 && spans[at - 1].score < best.score) at--;
        if (at >= k) continue;
        int32_t keep = *n < k ? *n : k - 1;
        memmove(spans + at + 1, spans + at, (size_t)(keep - at) * sizeof *spans);
        spans[at] = best;
        *n = keep + 1;
    }
    return QU_OK;
}
