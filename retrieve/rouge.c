#include "retrieve/rouge.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "index/words.h"

enum { MAX_CELLS = 1 << 26 };

/* A text as hashes of its words. */
typedef struct words {
    qu_buf hashes;
} words;

static const uint64_t *hash_of(const words *w) { return (const uint64_t *)(void *)w->hashes.data; }
static size_t count(const words *w) { return w->hashes.len / sizeof(uint64_t); }

/* The ASCII letter or digit that the character at p becomes in lower case, 0 for any other; *len its
 * bytes. Two letters outside ASCII become ASCII ones; the first leaves a mark behind it, too. */
static char fold(const char *p, size_t n, size_t *len, bool *ends)
{
    *len = 1;
    if (*p >= 'A' && *p <= 'Z') return (char)(*p + 32);
    if ((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9')) return *p;
    if (n >= 2 && memcmp(p, "\xC4\xB0", 2) == 0) { /* capital I with a dot */
        *len = 2;
        *ends = true;
        return 'i';
    }
    if (n >= 3 && memcmp(p, "\xE2\x84\xAA", 3) == 0) { /* Kelvin's sign */
        *len = 3;
        return 'k';
    }
    return 0;
}

static qu_status read_words(words *w, const char *text, size_t n, qu_err *err)
{
    qu_buf word = {0};
    qu_status st = QU_OK;
    for (size_t i = 0, step = 1; i <= n; i += step) {
        bool ends = i == n;
        char c = ends ? 0 : fold(text + i, n - i, &step, &ends);
        if (c) QU_TRY_OUT(qu_buf_add(&word, &c, 1, err));
        if (word.len == 0 || (c && !ends)) continue;
        uint64_t hash = qu_hash_sum(word.data, word.len, 0);
        QU_TRY_OUT(qu_buf_add(&w->hashes, &hash, sizeof hash, err));
        word.len = 0;
    }
out:
    qu_buf_free(&word);
    return st;
}

static qu_rouge_value value(double hits, double n, double n_reference)
{
    qu_rouge_value v = {n > 0 ? hits / n : 0, n_reference > 0 ? hits / n_reference : 0, 0};
    if (hits > 0) v.f1 = 2 * v.precision * v.recall / (v.precision + v.recall);
    return v;
}

/* Sorted n-grams of a text; malloc'ed [*n]. */
static uint64_t *grams(const words *w, size_t size, size_t *n)
{
    *n = count(w) >= size ? count(w) - size + 1 : 0;
    uint64_t *g = malloc((*n + 1) * sizeof *g);
    for (size_t i = 0; g && i < *n; i++)
        g[i] = size == 1 ? hash_of(w)[i] : qu_hash_sum(hash_of(w) + i, size * sizeof *g, 1);
    if (g) qsort(g, *n, sizeof *g, qu_words_by_hash);
    return g;
}

static qu_status score_grams(qu_rouge_value *v, const words *c, const words *ref, size_t size,
                             qu_err *err)
{
    size_t n, m, hits = 0;
    uint64_t *a = grams(c, size, &n), *b = grams(ref, size, &m);
    qu_status st = a && b ? QU_OK : qu_fail_nomem(err, (long long)(n + m) * 8);
    for (size_t i = 0, j = 0; st == QU_OK && i < n && j < m;) {
        hits += a[i] == b[j];
        size_t step_a = a[i] <= b[j], step_b = b[j] <= a[i];
        i += step_a;
        j += step_b;
    }
    *v = value((double)hits, (double)n, (double)m);
    free(a);
    free(b);
    return st;
}

static qu_status score_order(qu_rouge_value *v, const words *c, const words *ref, qu_err *err)
{
    size_t n = count(ref), m = count(c);
    if (n > MAX_CELLS / m)
        return qu_fail(err, QU_ERR_LIMIT, "texts of %zu and %zu words are too long for ROUGE", n, m);
    uint32_t *rows = calloc(2 * (m + 1), sizeof *rows); /* of the table of lengths, the last two */
    if (!rows) return qu_fail_nomem(err, (long long)(2 * (m + 1) * sizeof *rows));
    for (size_t i = 1; i <= n; i++) {
        const uint32_t *up = rows + (i - 1) % 2 * (m + 1);
        uint32_t *row = rows + i % 2 * (m + 1);
        for (size_t j = 1; j <= m; j++)
            row[j] = hash_of(ref)[i - 1] == hash_of(c)[j - 1] ? up[j - 1] + 1
                     : up[j] > row[j - 1]                     ? up[j]
                                                              : row[j - 1];
    }
    *v = value((double)rows[n % 2 * (m + 1) + m], (double)m, (double)n);
    free(rows);
    return QU_OK;
}

qu_status qu_rouge_score(qu_rouge *r, const char *candidate, size_t n, const char *reference,
                         size_t n_reference, qu_err *err)
{
    words c = {0}, ref = {0};
    qu_status st = QU_OK;
    memset(r, 0, sizeof *r);
    QU_TRY_OUT(read_words(&c, candidate, n, err));
    QU_TRY_OUT(read_words(&ref, reference, n_reference, err));
    if (count(&c) == 0 || count(&ref) == 0) goto out;
    QU_TRY_OUT(score_grams(&r->one, &c, &ref, 1, err));
    QU_TRY_OUT(score_grams(&r->two, &c, &ref, 2, err));
    st = score_order(&r->l, &c, &ref, err);
out:
    qu_buf_free(&c.hashes);
    qu_buf_free(&ref.hashes);
    return st;
}
