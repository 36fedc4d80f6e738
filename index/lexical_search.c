/* BM25 over pages and documents at once, by words and, with less weight, by their grams.
 *
 * A page's score is its own BM25 plus DOC_SHARE times its document's. A word of the title counts as
 * if it stood TITLE_SHARE times on every page: without it the right one of twelve reports of three
 * companies is among the first five for 103 of 115 questions instead of 110 (bench/documents.py),
 * since most pages of a report do not name the company. The constants were chosen on the dev half
 * (`quire eval recall --split dev`) of XQuAD en, de, es, zh, NQ and Cranfield, one after another.
 * What they are worth there, all else as it stands: grams, see words.h; GRAM_UNKNOWN .25: NQ
 * recall@10 .970 instead of .973, XQuAD-de .991 instead of .993; RARITY 1 and DOC_K1 1.2: NQ
 * recall@1 .819 instead of .827, Cranfield recall@10 .372 instead of .398. Over both halves,
 * without letters: XQuAD-en's recall@10 .9950 instead of .9966; LETTERS_WEIGHT .5 loses a question
 * of XQuAD-es, 1 none. */
#include <float.h>
#include <math.h>

#include "index/lexical_int.h"
#include "index/top.h"
#include "index/words.h"

static const float PAGE_K1 = 1.2f, DOC_K1 = 2, PAGE_LENGTH = 0.5f, DOC_LENGTH = 0.75f;
static const float DOC_SHARE = 2;
static const float TITLE_SHARE = 0.75f; /* of a long document: none where there is but one page */
static const float RARITY = 1.3f;       /* power of the inverse document frequency */
static const float GRAM_WEIGHT = 0.25f;
static const float GRAM_UNKNOWN =
    0.5f; /* of a word that no page holds: the grams stand in for it */
static const float LETTERS_WEIGHT = 0.75f; /* and words of the same letters */

enum {
    TITLE_WEIGHT = 4,      /* a title word counts as that many words of the document */
    QUERY_BYTES = 1 << 16, /* of the query that are read */
    QUERY_WORDS = 192,     /* rarest distinct words and grams that are scored */
    FREQUENT_PAGES =
        4096, /* a word on more pages than this and than 1/FREQUENT_SHARE of all is left out */
    FREQUENT_SHARE =
        10, /* where a rarer one is in the query: it moves scores little and costs most */
    FREQUENT_GRAM_SHARE = 20, /* a gram on more than 1/20: left out */
};

typedef struct query_word {
    uint64_t hash, term;
    float weight;
    qu_lexical_cursor cur;
} query_word;

static int by_hash(const void *a, const void *b)
{
    const query_word *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return (x->weight < y->weight) - (x->weight > y->weight); /* the heaviest of equal ones first */
}

static int rarest_first(const void *a, const void *b)
{
    const query_word *x = a, *y = b;
    if (x->cur.n_docs != y->cur.n_docs) return x->cur.n_docs < y->cur.n_docs ? -1 : 1;
    if (x->cur.n_pages != y->cur.n_pages) return x->cur.n_pages < y->cur.n_pages ? -1 : 1;
    return by_hash(a, b);
}

/* Binary search for hash; false when no page holds the word. */
static qu_status find_term(qu_lexical_base *b, uint64_t hash, uint64_t *term, bool *found,
                           qu_err *err)
{
    uint64_t lo = 0, hi = b->foot.n_terms;
    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        QU_TRY(qu_lexical_touch(b, b->terms + mid, sizeof *b->terms, err));
        if (b->terms[mid].hash < hash)
            lo = mid + 1;
        else
            hi = mid;
    }
    *term = lo;
    *found = false;
    if (lo == b->foot.n_terms) return QU_OK;
    QU_TRY(qu_lexical_touch(b, b->terms + lo, sizeof *b->terms, err));
    *found = b->terms[lo].hash == hash;
    return QU_OK;
}

/* Every word and gram of the query, as often as it stands there. */
static qu_status read_query(qu_lexical_base *b, const char *query, size_t n, query_word **words,
                            size_t *k, qu_err *err)
{
    uint64_t grams[QU_WORD_GRAMS], term;
    int64_t cap = 0;
    qu_words it;
    qu_word w;
    qu_words_init(&it, query, n < QUERY_BYTES ? n : QUERY_BYTES);
    while (qu_words_next(&it, &w)) {
        bool known;
        int n_grams = qu_words_grams(&it, grams);
        QU_TRY(find_term(b, w.hash, &term, &known, err));
        QU_TRY(qu_memory_grow(words, &cap, *k + 2 + (size_t)n_grams, sizeof **words, err));
        (*words)[(*k)++] = (query_word){.hash = w.hash, .weight = 1};
        for (int i = 0; i < n_grams; i++)
            (*words)[(*k)++] =
                (query_word){.hash = grams[i], .weight = known ? GRAM_WEIGHT : GRAM_UNKNOWN};
        if (!known && qu_words_letters(&it, grams))
            (*words)[(*k)++] = (query_word){.hash = grams[0], .weight = LETTERS_WEIGHT};
    }
    return QU_OK;
}

static bool too_frequent(const qu_lexical_base *b, const query_word *w)
{
    uint64_t share = w->weight < 1 ? FREQUENT_GRAM_SHARE : FREQUENT_SHARE;
    return w->cur.n_pages > FREQUENT_PAGES && w->cur.n_pages > b->foot.n_rows / share;
}

/* The distinct ones that the index holds, rarest first, the frequent ones cut off. */
static qu_status query_words(qu_lexical_base *b, const char *query, size_t n, query_word **out,
                             size_t *n_out, qu_err *err)
{
    QU_OWN(qu_freep) query_word *words = NULL;
    size_t k = 0, kept = 0;
    *n_out = 0;
    QU_TRY(read_query(b, query, n, &words, &k, err));
    if (k > 0) qsort(words, k, sizeof *words, by_hash);
    for (size_t i = 0; i < k; i++) {
        bool found;
        if (i > 0 && words[i].hash == words[i - 1].hash) continue;
        query_word q = words[i];
        QU_TRY(find_term(b, q.hash, &q.term, &found, err));
        if (!found) continue;
        QU_TRY(qu_lexical_list(b, q.term, &q.cur, err));
        if (q.weight < 1 && too_frequent(b, &q)) continue;
        words[kept++] = q; /* kept <= i */
    }
    if (kept > 0) qsort(words, kept, sizeof *words, rarest_first);
    if (kept > QUERY_WORDS) kept = QUERY_WORDS;
    while (kept > 1 && too_frequent(b, &words[kept - 1])) kept--;
    *out = QU_TAKE(words);
    *n_out = kept;
    return QU_OK;
}

static float idf(double n, double df)
{
    return (float)pow(log(1.0 + (n - df + 0.5) / (df + 0.5)), RARITY);
}

/* relative: length in words over the mean. */
static float page_count(float count, float relative)
{
    return count * (PAGE_K1 + 1) / (count + PAGE_K1 * (1 - PAGE_LENGTH + PAGE_LENGTH * relative));
}

static float doc_count(float count, float relative)
{
    return DOC_SHARE * count * (DOC_K1 + 1) /
           (count + DOC_K1 * (1 - DOC_LENGTH + DOC_LENGTH * relative));
}

/* One word while its list is read. */
typedef struct word_scores {
    float page_idf, doc_idf, page_mean, doc_mean;
    uint32_t doc;  /* of the posting before */
    float count;   /* in it so far */
    float on_each; /* of its pages, by the title */
} word_scores;

static void end_doc(const qu_lexical_base *b, const word_scores *w, float *docs)
{
    if (w->count > 0)
        docs[w->doc] +=
            w->doc_idf * doc_count(w->count, (float)b->docs[w->doc].n_words / w->doc_mean);
}

/* Of a title: every page of the document gets what a page of mean length gets for on_each words;
 * one that holds the word itself later gets the rest. */
static void score_title(const qu_lexical_base *b, word_scores *w, float count, float *docs)
{
    uint64_t n_pages = qu_lexical_rows_end(b, w->doc) - b->docs[w->doc].first_row - 1;
    w->count += TITLE_WEIGHT * count;
    if (n_pages < 2) return;
    w->on_each = TITLE_SHARE * (1 - 1 / (float)n_pages);
    docs[w->doc] += w->page_idf * page_count(w->on_each, 1);
}

static void score_page(const qu_lexical_base *b, word_scores *w, const qu_lexical_cursor *cur,
                       float *rows)
{
    float count = (float)cur->count, relative = (float)b->rows[cur->row].n_words / w->page_mean;
    float more = page_count(count + w->on_each, relative) - page_count(w->on_each, 1);
    w->count += count;
    rows[cur->row] += w->page_idf * fmaxf(more, FLT_EPSILON); /* it stays a candidate */
}

/* Add one word's share to the scores of its pages and documents. */
static qu_status score_word(const qu_lexical_base *b, query_word *word, float *rows, float *docs,
                            qu_err *err)
{
    qu_lexical_cursor *cur = &word->cur;
    const double n_pages = (double)(b->foot.n_rows - b->foot.n_docs),
                 n_docs = (double)b->foot.n_docs;
    const float n_words = b->foot.n_words ? (float)b->foot.n_words : 1;
    word_scores w = {
        .page_idf = word->weight * idf(n_pages, cur->n_pages < n_pages ? cur->n_pages : n_pages),
        .doc_idf = word->weight * idf(n_docs, cur->n_docs),
        .page_mean = n_pages > 0 ? n_words / (float)n_pages : 1,
        .doc_mean = n_words / (float)n_docs,
    };
    int got;
    while ((got = qu_lexical_step(b, cur)) > 0) {
        uint32_t d = b->row_docs[cur->row];
        if (d != w.doc) {
            end_doc(b, &w, docs);
            w.doc = d;
            w.count = w.on_each = 0;
        }
        if (cur->row == b->docs[d].first_row)
            score_title(b, &w, (float)cur->count, docs);
        else
            score_page(b, &w, cur, rows);
    }
    if (got < 0)
        return qu_fail(err, QU_ERR_CORRUPT, "lexical index is damaged: a list does not decode");
    end_doc(b, &w, docs);
    return QU_OK;
}

/* The best pages of every document, by row, into best [k]; of_doc [max_per_doc] is scratch. Rows
 * are ordered by (doc_id, page), so they break ties. */
static void collect(const qu_lexical_base *b, const float *rows, const float *docs,
                    const qu_lexical_opts *opts, int32_t k, qu_top *best, qu_top *of_doc,
                    int32_t *n)
{
    int32_t per_doc = opts->max_per_doc > 0 && opts->max_per_doc < k ? opts->max_per_doc : 0;
    for (uint64_t d = 0; d < b->foot.n_docs; d++) {
        if (docs[d] <= 0) continue;
        if (opts->keep && !opts->keep(opts->ctx, b->docs[d].doc_id)) continue;
        uint32_t first = b->docs[d].first_row;
        uint64_t end = qu_lexical_rows_end(b, d);
        bool any = false;
        int32_t m = 0;
        for (uint64_t r = first + 1; r < end; r++) {
            if (rows[r] <= 0) continue;
            qu_top c = {rows[r] + docs[d], r};
            any = true;
            if (per_doc)
                qu_top_put(of_doc, per_doc, &m, c);
            else
                qu_top_put(best, k, n, c);
        }
        for (int32_t i = 0; i < m; i++) qu_top_put(best, k, n, of_doc[i]);
        /* only the title matched */
        if (!any) qu_top_put(best, k, n, (qu_top){docs[d], first + (first + 1 < end)});
    }
}

qu_status qu_lexical_search(qu_lexical *lx, const char *query, size_t n,
                            const qu_lexical_opts *opts, int32_t k, qu_lexical_hit *hits,
                            int32_t *n_hits, qu_err *err)
{
    static const qu_lexical_opts defaults;
    qu_lexical_base *b = &lx->base;
    QU_OWN(qu_freep) query_word *words = NULL;
    QU_OWN(qu_freep) float *rows = NULL, *docs = NULL;
    QU_OWN(qu_freep) qu_top *best = NULL;
    size_t n_words = 0;
    int32_t found = 0;
    *n_hits = 0;
    if (lx->writer)
        return qu_fail(err, QU_ERR_ARG, "lexical index '%s' is open for writing", lx->file);
    if (k < 0) return qu_fail(err, QU_ERR_ARG, "cannot search for %d hits", k);
    if (!opts) opts = &defaults;
    if ((uint64_t)k > b->foot.n_rows) k = (int32_t)b->foot.n_rows;
    QU_TRY(query_words(b, query, n, &words, &n_words, err));
    if (n_words == 0 || k == 0) return QU_OK;
    QU_TRY(qu_memory_take(&rows, (int64_t)b->foot.n_rows, sizeof *rows, err));
    QU_TRY(qu_memory_take(&docs, (int64_t)b->foot.n_docs, sizeof *docs, err));
    QU_TRY(qu_memory_take(&best, 2ll * k, sizeof *best, err));
    for (size_t i = 0; i < n_words; i++) QU_TRY(score_word(b, &words[i], rows, docs, err));
    collect(b, rows, docs, opts, k, best, best + k, &found);
    for (int32_t i = 0; i < found; i++)
        hits[i] = (qu_lexical_hit){b->docs[b->row_docs[best[i].id]].doc_id,
                                   b->rows[best[i].id].page, best[i].score};
    *n_hits = found;
    return QU_OK;
}

qu_status qu_lexical_unknown(qu_lexical *lx, const char *query, size_t n, qu_buf *words,
                             int64_t *n_held, qu_err *err)
{
    uint64_t term;
    qu_words it;
    qu_word w;
    *n_held = 0;
    qu_words_init(&it, query, n < QUERY_BYTES ? n : QUERY_BYTES);
    while (qu_words_next(&it, &w)) {
        bool held;
        QU_TRY(find_term(&lx->base, w.hash, &term, &held, err));
        *n_held += held;
        if (held) continue;
        QU_TRY(qu_buf_add(words, query + w.start, w.end - w.start, err));
        QU_TRY(qu_buf_add(words, "", 1, err));
    }
    return QU_OK;
}
