#include "retrieve/digest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/memory.h"
#include "index/words.h"
#include "ingest/sentence.h"

/* How a step of the walk is taken: first anew (RESTART), else along an edge. From a sentence: to a
 * neighbour, a similar one or a word of it; from a word: to a sentence or a similar word. */
#define RESTART 0.15
#define TO_NEIGHBOUR 0.2
#define TO_SIMILAR 0.4
#define TO_WORD 0.4
#define WORD_TO_WORD 0.2
#define FRONT 8.0          /* how much oftener the walk begins at the first sentence */
#define LEAST_COSINE 0.1   /* LexRank's threshold */
#define LEAST_LIKENESS 0.5 /* words: shared grams over the mean number of grams */
#define COMMON 0.2         /* a word in more than this share of the sentences says nothing */
enum { STEPS = 40, SIMILAR_WORDS = 8, GRAM_WORDS = 64, GRAMS = 16 };

/* A word in a sentence. */
typedef struct entry {
    int32_t word;
    float weight; /* times it stands there; then tf-idf, of length 1 over the sentence */
} entry;

typedef struct word {
    uint64_t hash, grams[GRAMS];              /* the first grams, sorted */
    int32_t n_grams, n_like, df;
    int32_t like[SIMILAR_WORDS];              /* similar words */
} word;

/* Words of the sentences of one block. */
typedef struct graph {
    qu_digest_method method;
    int32_t n, n_words;
    qu_buf words, entries; /* word [n_words], entry */
    int64_t *first;        /* [n + 1] each sentence's entries, by word */
    int32_t *length;       /* [n] words of each sentence, repeated ones counted */
    int32_t *table;        /* [slots] open addressing: word + 1 */
    int64_t slots;
    float *sim;            /* [n, n] likeness of sentences, 0 on the diagonal */
    double *score;         /* [n] */
} graph;

static word *word_at(const graph *g, int32_t w) { return (word *)(void *)g->words.data + w; }
static entry *entry_at(const graph *g, int64_t k) { return (entry *)(void *)g->entries.data + k; }

static void free_graph(graph *g)
{
    qu_buf_free(&g->words);
    qu_buf_free(&g->entries);
    free(g->first);
    free(g->length);
    free(g->table);
    free(g->sim);
    free(g->score);
}

/* --- words --- */

static qu_status rehash(graph *g, qu_err *err)
{
    int64_t slots = g->slots ? g->slots * 2 : 4096;
    int32_t *t = calloc((size_t)slots, sizeof *t);
    if (!t) return qu_fail_nomem(err, slots * 4);
    for (int32_t w = 0; w < g->n_words; w++) {
        int64_t i = (int64_t)(word_at(g, w)->hash & (uint64_t)(slots - 1));
        while (t[i]) i = (i + 1) & (slots - 1);
        t[i] = w + 1;
    }
    free(g->table);
    g->table = t;
    g->slots = slots;
    return QU_OK;
}

/* The number of a word of the iterator, new or known. */
static qu_status find_word(graph *g, const qu_words *it, uint64_t hash, int32_t *number,
                           qu_err *err)
{
    if (g->n_words * 2ll >= g->slots) QU_TRY(rehash(g, err));
    int64_t i = (int64_t)(hash & (uint64_t)(g->slots - 1));
    while (g->table[i] && word_at(g, g->table[i] - 1)->hash != hash) i = (i + 1) & (g->slots - 1);
    if (!g->table[i]) {
        uint64_t every[QU_WORD_GRAMS];
        word w = {.hash = hash, .n_grams = qu_words_grams(it, every)};
        if (w.n_grams > GRAMS) w.n_grams = GRAMS;
        memcpy(w.grams, every, (size_t)w.n_grams * sizeof *every);
        qsort(w.grams, (size_t)w.n_grams, sizeof *w.grams, qu_words_by_hash);
        QU_TRY(qu_buf_add(&g->words, &w, sizeof w, err));
        g->table[i] = ++g->n_words;
    }
    *number = g->table[i] - 1;
    return QU_OK;
}

static int by_word(const void *a, const void *b)
{
    return ((const entry *)a)->word - ((const entry *)b)->word;
}

/* The entries of sentence i, sorted, each word once. */
static qu_status read_sentence(graph *g, int32_t i, const char *text, size_t n, qu_err *err)
{
    qu_words it;
    qu_word w;
    qu_words_init(&it, text, n);
    while (qu_words_next(&it, &w)) {
        entry e = {.weight = 1};
        QU_TRY(find_word(g, &it, w.hash, &e.word, err));
        QU_TRY(qu_buf_add(&g->entries, &e, sizeof e, err));
        g->length[i]++;
    }
    entry *e = entry_at(g, g->first[i]);
    int32_t kept = 0;
    if (g->length[i]) qsort(e, (size_t)g->length[i], sizeof *e, by_word);
    for (int32_t k = 0; k < g->length[i]; k++) {
        if (kept && e[kept - 1].word == e[k].word)
            e[kept - 1].weight++;
        else
            e[kept++] = e[k];
    }
    g->first[i + 1] = g->first[i] + kept;
    g->entries.len = (size_t)g->first[i + 1] * sizeof *e;
    return QU_OK;
}

/* Counts become tf-idf of length 1; what stands nearly everywhere weighs nothing. */
static void weigh(graph *g)
{
    for (int32_t i = 0; i < g->n; i++) {
        double sum = 0;
        for (int64_t k = g->first[i]; k < g->first[i + 1]; k++) {
            entry *e = entry_at(g, k);
            double df = word_at(g, e->word)->df;
            bool common = g->n >= 20 && df > COMMON * g->n && g->method == QU_DIGEST_GRAPH;
            e->weight = common ? 0 : (float)(e->weight * log(1 + g->n / df));
            sum += (double)e->weight * (double)e->weight;
        }
        for (int64_t k = g->first[i]; k < g->first[i + 1] && sum > 0; k++)
            entry_at(g, k)->weight = (float)(entry_at(g, k)->weight / sqrt(sum));
    }
}

/* --- edges --- */

/* Likeness of all pairs, word by word: only sentences that share one meet. Then only what counts as
 * an edge stays. */
static qu_status compare_sentences(graph *g, qu_err *err)
{
    int64_t n = g->n;
    bool shared = g->method == QU_DIGEST_TEXTRANK; /* counts words, whatever they weigh */
    QU_OWN(qu_freep) int64_t *at = calloc((size_t)g->n_words + 1, sizeof *at);
    QU_OWN(qu_freep)
    entry *in = calloc((size_t)g->first[n] + 1, sizeof *in); /* (sentence, weight), word by word */
    g->sim = calloc((size_t)(n * n), sizeof *g->sim);
    if (!at || !in || !g->sim) return qu_fail_nomem(err, n * n * 4);
    for (int32_t w = 1; w < g->n_words; w++) at[w] = at[w - 1] + word_at(g, w - 1)->df;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = g->first[i]; k < g->first[i + 1]; k++) {
            entry e = *entry_at(g, k);
            float weight = shared ? 1 : e.weight;
            if (weight <= 0) continue;
            int64_t p = at[e.word];
            for (; in[p].weight > 0 && p < at[e.word] + word_at(g, e.word)->df; p++)
                g->sim[i * n + in[p].word] += weight * in[p].weight;
            in[p] = (entry){(int32_t)i, weight};
        }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++) {
            float v = g->sim[i * n + j];
            if (shared) v = g->length[i] > 1 && g->length[j] > 1
                                ? v / logf((float)g->length[i] * (float)g->length[j])
                                : 0;
            else if (v < LEAST_COSINE) v = 0;
            g->sim[i * n + j] = g->sim[j * n + i] = v;
        }
    return QU_OK;
}

/* A gram of a word. */
typedef struct gram_entry {
    uint64_t gram;
    int32_t word;
} gram_entry;

static int by_gram(const void *a, const void *b)
{
    const gram_entry *x = a, *y = b;
    if (x->gram != y->gram) return x->gram < y->gram ? -1 : 1;
    return x->word - y->word;
}

/* Of the words that share grams with w (count[u] of them, touched lists the u) the first
 * SIMILAR_WORDS that share enough. */
static void keep_similar(graph *g, word *w, const int32_t *touched, int32_t n, int32_t *count)
{
    for (int32_t i = 0; i < n; i++) {
        int32_t u = touched[i];
        if (w->n_like < SIMILAR_WORDS &&
            2 * count[u] >= LEAST_LIKENESS * (w->n_grams + word_at(g, u)->n_grams))
            w->like[w->n_like++] = u;
        count[u] = 0;
    }
}

/* Words that share at least half their grams: inflections and compounds. Grams of very many words
 * are endings and are passed over. */
static qu_status compare_words(graph *g, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf list = {0};
    QU_OWN(qu_freep) int32_t *count = calloc(2 * (size_t)g->n_words + 1, sizeof *count);
    int32_t *touched = count ? count + g->n_words : NULL;
    qu_status st = count ? QU_OK : qu_fail_nomem(err, g->n_words * 8ll);
    for (int32_t w = 0; w < g->n_words; w++)
        for (int k = 0; k < word_at(g, w)->n_grams && st == QU_OK; k++)
            st = qu_buf_add(&list, &(gram_entry){word_at(g, w)->grams[k], w}, sizeof(gram_entry),
                            err);
    gram_entry *all = (gram_entry *)(void *)list.data;
    int64_t n = (int64_t)(list.len / sizeof *all);
    if (n) qsort(all, (size_t)n, sizeof *all, by_gram);
    for (int32_t w = 0; w < g->n_words && st == QU_OK; w++) {
        int32_t n_touched = 0;
        for (int k = 0; k < word_at(g, w)->n_grams; k++) {
            uint64_t gram = word_at(g, w)->grams[k];
            int64_t lo = 0, hi = n;
            while (lo < hi) {
                int64_t mid = (lo + hi) / 2;
                if (all[mid].gram < gram) lo = mid + 1;
                else hi = mid;
            }
            if (lo + GRAM_WORDS < n && all[lo + GRAM_WORDS].gram == gram) continue;
            for (; lo < n && all[lo].gram == gram; lo++) {
                int32_t u = all[lo].word;
                if (u != w && count[u]++ == 0) touched[n_touched++] = u;
            }
        }
        keep_similar(g, word_at(g, w), touched, n_touched, count);
    }
    return st;
}

static qu_status build(graph *g, const char *text, const qu_digest_sentence *s,
                       const int32_t *index, qu_err *err)
{
    size_t n = (size_t)g->n;
    QU_TRY(qu_memory_take(&g->first, n + 1, sizeof *g->first, err));
    QU_TRY(qu_memory_take(&g->length, n, sizeof *g->length, err));
    QU_TRY(qu_memory_take(&g->score, n, sizeof *g->score, err));
    for (int32_t i = 0; i < g->n; i++) {
        const qu_digest_sentence *x = &s[index[i]];
        QU_TRY(read_sentence(g, i, text + x->start, (size_t)(x->end - x->start), err));
    }
    for (int64_t k = 0; k < g->first[n]; k++) word_at(g, entry_at(g, k)->word)->df++;
    if (g->method == QU_DIGEST_LEAD) return QU_OK;
    weigh(g);
    QU_TRY(compare_sentences(g, err));
    return g->method == QU_DIGEST_GRAPH ? compare_words(g, err) : QU_OK;
}

/* --- the walk --- */

static double row_sum(const graph *g, int32_t i)
{
    double sum = 0;
    for (int32_t j = 0; j < g->n; j++) sum += (double)g->sim[(int64_t)i * g->n + j];
    return sum;
}

/* What leaves sentence i (x of it) along each kind of edge; what finds none is left over. */
static double leave_sentence(const graph *g, int32_t i, double x, const double *similar,
                             const double *heavy, double *to, double *to_words)
{
    bool full = g->method == QU_DIGEST_GRAPH;
    double left = x, share = full ? TO_SIMILAR : 1;
    const float *sim = g->sim + (int64_t)i * g->n;
    if (similar[i] > 0) {
        for (int32_t j = 0; j < g->n; j++) to[j] += x * share * (double)sim[j] / similar[i];
        left -= x * share;
    }
    if (!full) return left;
    int ends = (i > 0) + (i + 1 < g->n);
    if (i > 0) to[i - 1] += x * TO_NEIGHBOUR / ends;
    if (i + 1 < g->n) to[i + 1] += x * TO_NEIGHBOUR / ends;
    if (ends) left -= x * TO_NEIGHBOUR;
    if (heavy[i] > 0) {
        for (int64_t k = g->first[i]; k < g->first[i + 1]; k++)
            to_words[entry_at(g, k)->word] +=
                x * TO_WORD * (double)entry_at(g, k)->weight / heavy[i];
        left -= x * TO_WORD;
    }
    return left;
}

/* From the words (mass) back to the sentences, partly over similar words. spread [n_words] zero. */
static void leave_words(const graph *g, const double *mass, const double *spread_of, double *spread,
                        double *to)
{
    for (int32_t w = 0; w < g->n_words; w++) {
        const word *x = word_at(g, w);
        double over = x->n_like ? mass[w] * WORD_TO_WORD : 0;
        spread[w] += mass[w] - over;
        for (int k = 0; k < x->n_like; k++) spread[x->like[k]] += over / x->n_like;
    }
    for (int32_t i = 0; i < g->n; i++)
        for (int64_t k = g->first[i]; k < g->first[i + 1]; k++) {
            const entry *e = entry_at(g, k);
            if (spread_of[e->word] > 0)
                to[i] += spread[e->word] * (double)e->weight / spread_of[e->word];
        }
}

/* Where a walk of STEPS steps spends its time, into g->score: 1 on average. */
static qu_status walk(graph *g, qu_err *err)
{
    size_t n = (size_t)g->n, n_words = (size_t)g->n_words;
    QU_OWN(qu_freep) double *d = calloc(n * 4 + n_words * 3 + 1, sizeof *d);
    if (!d) return qu_fail_nomem(err, (long long)(n * 4 + n_words * 3) * 8);
    double *start = d, *similar = d + n, *heavy = d + n * 2, *to = d + n * 3;
    double *mass = d + n * 4, *spread = mass + n_words, *spread_of = spread + n_words, sum = 0;
    for (size_t i = 0; i < n; i++) {
        similar[i] = row_sum(g, (int32_t)i);
        start[i] = g->method == QU_DIGEST_GRAPH ? 1 + FRONT / (1 + (double)i) : 1;
        sum += start[i];
        for (int64_t k = g->first[i]; k < g->first[i + 1]; k++) {
            const entry *e = entry_at(g, k);
            heavy[i] += (double)e->weight;
            spread_of[e->word] += (double)e->weight;
        }
    }
    for (size_t i = 0; i < n; i++) g->score[i] = start[i] /= sum;
    for (int step = 0; step < STEPS; step++) {
        double left = 0;
        memset(to, 0, n * sizeof *to);
        memset(mass, 0, n_words * 2 * sizeof *mass);
        for (int32_t i = 0; i < g->n; i++)
            left += leave_sentence(g, i, g->score[i], similar, heavy, to, mass);
        if (g->method == QU_DIGEST_GRAPH) leave_words(g, mass, spread_of, spread, to);
        for (size_t i = 0; i < n; i++)
            g->score[i] = (1 - RESTART) * (to[i] + left * start[i]) + RESTART * start[i];
    }
    for (sum = 0, n = 0; n < (size_t)g->n; n++) sum += g->score[n];
    for (size_t i = 0; i < n; i++) g->score[i] *= (double)g->n / sum;
    return QU_OK;
}

/* Rank the sentences that index names. Free g on every path. */
static qu_status rank(graph *g, const char *text, qu_digest_sentence *s, const int32_t *index,
                      qu_err *err)
{
    QU_TRY(build(g, text, s, index, err));
    for (int32_t i = 0; i < g->n && g->method == QU_DIGEST_LEAD; i++)
        g->score[i] = 2.0 * (g->n - i) / (g->n + 1.0);
    if (g->method != QU_DIGEST_LEAD) QU_TRY(walk(g, err));
    for (int32_t i = 0; i < g->n; i++) {
        s[index[i]].words = g->length[i];
        s[index[i]].score = (float)g->score[i];
    }
    return QU_OK;
}

/* --- choosing --- */

static void choose(qu_digest *d, const graph *g, const int32_t *index, int32_t max_words)
{
    double *score = g->score;
    for (;;) {
        int32_t best = -1;
        for (int32_t i = 0; i < g->n; i++) {
            bool fits = g->length[i] >= QU_DIGEST_LEAST && g->length[i] <= max_words - d->words;
            /* where nothing fits, something is better than nothing */
            if (d->words == 0 && !fits && best < 0 && g->length[i] > 0) best = i;
            bool better = best < 0 || score[i] > score[best] || g->length[best] < QU_DIGEST_LEAST ||
                          g->length[best] > max_words - d->words;
            if (fits && better && !d->sentences[index[i]].chosen) best = i;
        }
        if (best < 0) return;
        d->sentences[index[best]].chosen = true;
        d->words += g->length[best];
        for (int32_t i = 0; g->sim && i < g->n; i++) {
            double alike = (double)g->sim[(int64_t)best * g->n + i];
            score[i] *= alike < 1 ? 1 - alike : 0;
        }
    }
}

static qu_status find_sentences(qu_digest *d, const char *text, int64_t n, qu_err *err)
{
    QU_OWN(qu_sentences_free) qu_sentences s = {0};
    QU_TRY(qu_sentences_find(&s, text, 0, n, err));
    if (s.n > INT32_MAX / 2)
        return qu_fail(err, QU_ERR_LIMIT, "text of %lld sentences is too long", (long long)s.n);
    QU_TRY(qu_memory_take(&d->sentences, s.n, sizeof *d->sentences, err));
    for (int64_t i = 0; i < s.n; i++) {
        int64_t end = i + 1 < s.n ? s.starts[i + 1] : n;
        if (end - s.starts[i] > QU_DIGEST_BYTES)
            for (end = s.starts[i] + QU_DIGEST_BYTES; (text[end] & 0xC0) == 0x80;) end--;
        while (end > s.starts[i] && strchr(" \t\n", text[end - 1])) end--;
        d->sentences[d->n++] = (qu_digest_sentence){.start = s.starts[i], .end = end};
    }
    return QU_OK;
}

/* The best keep of index's sentences stay in it, in order; the others' score becomes 0. */
static int32_t thin(qu_digest_sentence *s, int32_t *index, int32_t n, int32_t keep)
{
    for (int32_t left = n; left > keep; left--) {
        int32_t worst = -1;
        for (int32_t i = n - 1; i >= 0; i--)
            if (index[i] >= 0 && (worst < 0 || s[index[i]].score < s[index[worst]].score))
                worst = i;
        s[index[worst]].score = 0;
        index[worst] = -1;
    }
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++)
        if (index[i] >= 0) index[kept++] = index[i];
    return kept;
}

qu_status qu_digest_make(qu_digest *d, const char *text, int64_t n, qu_digest_method method,
                         int32_t max_words, qu_err *err)
{
    graph g = {0};
    int32_t *index = NULL, n_index = 0;
    qu_status st = QU_OK;
    memset(d, 0, sizeof *d);
    if (max_words < 1) return qu_fail(err, QU_ERR_ARG, "a digest of %d words is none", max_words);
    QU_TRY_OUT(find_sentences(d, text, n, err));
    if (d->n == 0) goto out;
    QU_TRY_OUT(qu_memory_take(&index, d->n, sizeof *index, err));
    int32_t blocks = (d->n + QU_DIGEST_BLOCK - 1) / QU_DIGEST_BLOCK, keep = QU_DIGEST_BLOCK;
    if (blocks > 1) keep = blocks < QU_DIGEST_BLOCK ? QU_DIGEST_BLOCK / blocks : 1;
    for (int32_t b = 0; b < blocks && blocks > 1; b++) {
        int32_t first = b * QU_DIGEST_BLOCK, here = n_index;
        int32_t size = d->n - first < QU_DIGEST_BLOCK ? d->n - first : QU_DIGEST_BLOCK;
        graph block = {.method = method, .n = size};
        for (int32_t i = 0; i < size; i++) index[here + i] = first + i;
        st = rank(&block, text, d->sentences, index + here, err);
        free_graph(&block);
        if (st != QU_OK) goto out;
        n_index += thin(d->sentences, index + here, size, keep);
    }
    for (; blocks == 1 && n_index < d->n; n_index++) index[n_index] = n_index;
    if (n_index > QU_DIGEST_BLOCK) /* more than a million sentences: those of the first blocks */
        n_index = QU_DIGEST_BLOCK;
    g = (graph){.method = method, .n = n_index};
    QU_TRY_OUT(rank(&g, text, d->sentences, index, err));
    choose(d, &g, index, max_words);
out:
    free_graph(&g);
    free(index);
    if (st != QU_OK) qu_digest_free(d);
    return st;
}

void qu_digest_free(qu_digest *d)
{
    free(d->sentences);
    memset(d, 0, sizeof *d);
}
