#include "retrieve/rouge.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/hash.h"
#include "base/memory.h"
#include "index/words.h"

enum { MAX_CELLS = 1 << 26, MAX_TOKEN = 1 << 16 };

/* A text as hashes of its words, in sentences (lines). */
typedef struct words {
    uint64_t *hash;
    size_t n;
    int64_t cap;
    size_t *first; /* [n_sentences + 1] */
    size_t n_sentences;
    int64_t cap_sentences;
} words;

static void free_words(words *w)
{
    free(w->hash);
    free(w->first);
}

static qu_status add_word(words *w, const char *p, size_t n, qu_err *err)
{
    QU_TRY(qu_memory_grow(&w->hash, &w->cap, (int64_t)w->n + 1, sizeof *w->hash, err));
    w->hash[w->n++] = qu_hash_sum(p, n, 0);
    return QU_OK;
}

/* The words so far are a sentence. */
static qu_status end_sentence(words *w, qu_err *err)
{
    QU_TRY(qu_memory_grow(&w->first, &w->cap_sentences, (int64_t)w->n_sentences + 2,
                          sizeof *w->first, err));
    w->first[0] = 0;
    w->first[++w->n_sentences] = w->n;
    return QU_OK;
}

/* The ASCII letter or digit that the character at p becomes in lower case, 0 for any other; *len
 * its bytes. Two letters outside ASCII become ASCII ones; the first leaves a mark behind it,
 * too. */
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

/* rouge-score: lines of lower-case ASCII words. */
static qu_status read_lines(words *w, const char *text, size_t n, qu_err *err)
{
    char token[MAX_TOKEN];
    size_t len = 0, step, chars = 0;
    for (size_t i = 0; i < n; i += step) {
        bool ends = false;
        char c = fold(text + i, n - i, &step, &ends);
        if (c && len < sizeof token) token[len++] = c;
        if (len && (!c || ends)) {
            QU_TRY(add_word(w, token, len, err));
            len = 0;
        }
        if (text[i] != '\n') chars++;
        if (text[i] != '\n' || !chars) continue;
        QU_TRY(end_sentence(w, err));
        chars = 0;
    }
    if (len) QU_TRY(add_word(w, token, len, err));
    return chars ? end_sentence(w, err) : QU_OK;
}

static bool is_space(utf8proc_int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

/* rouge: what stands between dots, in words between white space. A blank sentence has one empty
 * word. */
static qu_status read_dots(words *w, const char *text, size_t n, qu_err *err)
{
    for (size_t from = 0; from < n;) {
        const char *dot = memchr(text + from, '.', n - from);
        size_t end = dot ? (size_t)(dot - text) : n, start = from, had = w->n;
        for (size_t i = from; i < end;) {
            utf8proc_int32_t c;
            utf8proc_ssize_t len = utf8proc_iterate((const utf8proc_uint8_t *)text + i,
                                                    (utf8proc_ssize_t)(end - i), &c);
            bool space = len > 0 && is_space(c);
            size_t step = len > 0 ? (size_t)len : 1;
            if (space && i > start) QU_TRY(add_word(w, text + start, i - start, err));
            i += step;
            if (space) start = i;
        }
        if (end > start) QU_TRY(add_word(w, text + start, end - start, err));
        if (end > from && w->n == had) QU_TRY(add_word(w, "", 0, err));
        if (end > from) QU_TRY(end_sentence(w, err));
        from = end + 1;
    }
    return QU_OK;
}

/* --- n-grams --- */

/* Sorted n-grams of a text, each once if as_set; malloc'ed [*count]. */
static uint64_t *grams(const words *w, size_t size, bool as_set, size_t *count)
{
    size_t n = w->n >= size ? w->n - size + 1 : 0, kept = 0;
    uint64_t *g = malloc((n + 1) * sizeof *g);
    *count = n;
    if (!g) return NULL;
    for (size_t i = 0; i < n; i++)
        g[i] = size == 1 ? w->hash[i] : qu_hash_sum(w->hash + i, size * sizeof *g, 1);
    qsort(g, n, sizeof *g, qu_words_by_hash);
    for (size_t i = 0; i < n && as_set; i++)
        if (!kept || g[kept - 1] != g[i]) g[kept++] = g[i];
    if (as_set) *count = kept;
    return g;
}

static qu_rouge_value value(double hits, double n, double n_reference, qu_rouge_flavour flavour)
{
    qu_rouge_value v = {n > 0 ? hits / n : 0, n_reference > 0 ? hits / n_reference : 0, 0};
    double p = v.precision, r = v.recall;
    if (flavour == QU_ROUGE_SETS)
        v.f1 = 2.0 * ((p * r) / (p + r + 1e-8));
    else if (p + r > 0)
        v.f1 = 2 * p * r / (p + r);
    return v;
}

static qu_status score_grams(qu_rouge_value *v, const words *c, const words *ref, size_t size,
                             qu_rouge_flavour flavour, qu_err *err)
{
    size_t n, m, hits = 0;
    QU_OWN(qu_freep) uint64_t *a = grams(c, size, flavour == QU_ROUGE_SETS, &n);
    QU_OWN(qu_freep) uint64_t *b = grams(ref, size, flavour == QU_ROUGE_SETS, &m);
    qu_status st = a && b ? QU_OK : qu_fail_nomem(err, (long long)(n + m) * 8);
    for (size_t i = 0, j = 0; st == QU_OK && i < n && j < m;) {
        hits += a[i] == b[j];
        size_t step_a = a[i] <= b[j], step_b = b[j] <= a[i];
        i += step_a;
        j += step_b;
    }
    if (st == QU_OK) *v = value((double)hits, (double)n, (double)m, flavour);
    return st;
}

/* --- common subsequences --- */

/* Mark the words of ref [n] that a longest common subsequence with can [m] has; where two will do,
 * the programs choose differently. *length gets its length; mark may be NULL. */
static qu_status lcs(const uint64_t *ref, size_t n, const uint64_t *can, size_t m, bool sets,
                     uint8_t *mark, size_t *length, qu_err *err)
{
    size_t rows = mark ? n + 1 : 2;
    *length = 0;
    if (n == 0 || m == 0) return QU_OK;
    if (m + 1 > MAX_CELLS / rows)
        return qu_fail(err, QU_ERR_LIMIT, "texts of %zu and %zu words are too long for ROUGE", n,
                       m);
    QU_OWN(qu_freep) uint32_t *t = calloc(rows * (m + 1), sizeof *t);
    if (!t) return qu_fail_nomem(err, (long long)(rows * (m + 1) * sizeof *t));
    for (size_t i = 1; i <= n; i++) {
        const uint32_t *up = t + (i - 1) % rows * (m + 1);
        uint32_t *row = t + i % rows * (m + 1);
        for (size_t j = 1; j <= m; j++)
            row[j] = ref[i - 1] == can[j - 1] ? up[j - 1] + 1
                     : up[j] > row[j - 1]     ? up[j]
                                              : row[j - 1];
    }
    *length = t[n % rows * (m + 1) + m];
    for (size_t i = n, j = m; mark && i > 0 && j > 0;) {
        uint32_t up = t[(i - 1) * (m + 1) + j], left = t[i * (m + 1) + j - 1];
        if (ref[i - 1] == can[j - 1]) {
            mark[--i] = 1;
            j--;
        } else if (sets ? up > left : left <= up) {
            i--;
        } else {
            j--;
        }
    }
    return QU_OK;
}

/* mark [ref->n]: words of each sentence of ref that a subsequence with a sentence of can has. */
static qu_status mark_union(const words *ref, const words *can, bool sets, uint8_t *mark,
                            qu_err *err)
{
    size_t length;
    for (size_t r = 0; r < ref->n_sentences; r++)
        for (size_t c = 0; c < can->n_sentences; c++)
            QU_TRY(lcs(ref->hash + ref->first[r], ref->first[r + 1] - ref->first[r],
                       can->hash + can->first[c], can->first[c + 1] - can->first[c], sets,
                       mark + ref->first[r], &length, err));
    return QU_OK;
}

/* Marked words, each no oftener than it stands in the candidate (sets: once). */
static qu_status count_marked(const words *ref, const words *can, const uint8_t *mark, bool sets,
                              size_t *hits, qu_err *err)
{
    words kept = {.hash = malloc((ref->n + 1) * sizeof *kept.hash)};
    size_t n = 0, m = 0;
    QU_OWN(qu_freep) uint64_t *a = NULL, *b = grams(can, 1, sets, &m);
    for (size_t i = 0; kept.hash && i < ref->n; i++)
        if (mark[i]) kept.hash[kept.n++] = ref->hash[i];
    if (kept.hash) a = grams(&kept, 1, sets, &n);
    *hits = 0;
    for (size_t i = 0, j = 0; a && b && i < n && j < m;) {
        *hits += a[i] == b[j];
        size_t step_a = a[i] <= b[j], step_b = b[j] <= a[i];
        i += step_a;
        j += step_b;
    }
    bool whole = a && b;
    free(kept.hash);
    return whole ? QU_OK : qu_fail_nomem(err, (long long)(ref->n + can->n) * 8);
}

static qu_status score_lines(qu_rouge_value *v, const words *can, const words *ref,
                             qu_rouge_flavour flavour, qu_err *err)
{
    bool sets = flavour == QU_ROUGE_SETS;
    size_t hits, n = can->n, m = ref->n;
    QU_OWN(qu_freep) uint64_t *a = NULL, *b = NULL;
    QU_OWN(qu_freep) uint8_t *mark = calloc(ref->n + 1, 1);
    qu_status st = mark ? mark_union(ref, can, sets, mark, err) : qu_fail_nomem(err, 64);
    if (st == QU_OK) st = count_marked(ref, can, mark, sets, &hits, err);
    if (st == QU_OK && sets) {
        a = grams(can, 1, true, &n);
        b = grams(ref, 1, true, &m);
        if (!a || !b) st = qu_fail_nomem(err, 64);
    }
    if (st == QU_OK) *v = value((double)hits, (double)n, (double)m, flavour);
    return st;
}

qu_status qu_rouge_score(qu_rouge *r, qu_rouge_flavour flavour, const char *candidate, size_t n,
                         const char *reference, size_t n_reference, qu_err *err)
{
    QU_OWN(free_words) words c = {0}, ref = {0};
    bool sets = flavour == QU_ROUGE_SETS;
    size_t length;
    memset(r, 0, sizeof *r);
    QU_TRY(sets ? read_dots(&c, candidate, n, err) : read_lines(&c, candidate, n, err));
    QU_TRY(sets ? read_dots(&ref, reference, n_reference, err)
                : read_lines(&ref, reference, n_reference, err));
    if (c.n == 0 || ref.n == 0) return QU_OK;
    QU_TRY(score_grams(&r->one, &c, &ref, 1, flavour, err));
    QU_TRY(score_grams(&r->two, &c, &ref, 2, flavour, err));
    QU_TRY(score_lines(sets ? &r->l : &r->lsum, &c, &ref, flavour, err));
    if (sets) return QU_OK;
    QU_TRY(lcs(ref.hash, ref.n, c.hash, c.n, false, NULL, &length, err));
    r->l = value((double)length, (double)c.n, (double)ref.n, flavour);
    return QU_OK;
}
