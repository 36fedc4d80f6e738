#include "index/words.h"

#include <string.h>
#include <utf8proc.h>

#include "base/hash.h"

enum {
    WORD_SEED = 0x77, /* seeds are part of the file format: with another every hash is foreign */
    GRAM_SEED = 0x67,
    LETTERS_SEED = 0x6c,
    GRAM_LETTERS = 4,
};

/* What a code point does to the word being read. */
enum kind {
    SEPARATOR,
    LETTER, /* continues a word */
    UNIT,   /* starts a unit of a script without spaces */
    MARK,   /* belongs to what stands before it */
};

typedef qu_words_folded folded;

/* Decode one code point; returns its bytes, 1 for a byte that is not UTF-8 (*cp = -1). */
static size_t decode(int32_t *cp, const unsigned char *p, size_t n)
{
    if (p[0] < 0x80) {
        *cp = p[0];
        return 1;
    }
    utf8proc_ssize_t k = utf8proc_iterate(p, n < 4 ? (utf8proc_ssize_t)n : 4, cp);
    if (k > 0) return (size_t)k;
    *cp = -1;
    return 1;
}

static bool spaceless(int32_t c)
{
    return (c >= 0x0e00 && c <= 0x0eff) || /* Thai, Lao */
           (c >= 0x1000 && c <= 0x109f) || /* Burmese */
           (c >= 0x1100 && c <= 0x11ff) || /* Hangul jamo */
           (c >= 0x1780 && c <= 0x17ff) || /* Khmer */
           (c >= 0x3005 && c <= 0x3007) || /* iteration mark, closing mark, zero */
           (c >= 0x3040 && c <= 0x31ff) || /* kana, bopomofo, compatibility jamo */
           (c >= 0x3400 && c <= 0x9fff) || /* Han */
           (c >= 0xac00 && c <= 0xd7ff) || /* Hangul */
           (c >= 0xf900 && c <= 0xfaff) || /* Han, compatibility */
           (c >= 0xff66 && c <= 0xffdc) || /* half-width kana and jamo */
           (c >= 0x20000 && c <= 0x323af); /* Han, supplementary planes */
}

/* Units in a word of the script of c. Two are right for scripts with thousands of characters. For
 * Thai and its like there is no question set at hand; German, English and Spanish XQuAD with all
 * spaces taken out stand in: recall@10 .919 .887 .892 with 2 letters, .981 .988 .989 with 3, .986
 * .992 .992 with 4, at twice the size; Thai has twice as many letters. */
static int units_in_word(int32_t c)
{
    return (c >= 0x0e00 && c <= 0x0eff) || (c >= 0x1000 && c <= 0x109f) ||
                   (c >= 0x1780 && c <= 0x17ff)
               ? 3
               : 2;
}

static enum kind kind_of(int32_t c)
{
    if (c < 0) return SEPARATOR;
    if (c < 0x80) {
        int lower = c | 0x20;
        return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') ? LETTER : SEPARATOR;
    }
    if (c >= 0x1160 && c <= 0x11ff) return MARK; /* vowels and finals of decomposed Hangul */
    int category = utf8proc_category(c);
    if (category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NO) return LETTER;
    if ((category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
        category == UTF8PROC_CATEGORY_NL)
        return spaceless(c) ? UNIT : LETTER;
    bool joins = c == 0xad || c == 0x200c || c == 0x200d; /* soft hyphen, joiners */
    return (category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME) || joins
               ? MARK
               : SEPARATOR;
}

/* Marks whose absence makes another spelling of the same word; in Indic scripts they are vowels and
 * stay. */
static bool dropped_mark(int32_t c)
{
    return (c >= 0x0300 && c <= 0x036f) ||          /* Latin, Greek, Cyrillic */
           (c >= 0x0591 && c <= 0x05c7) ||          /* Hebrew points */
           (c >= 0x0610 && c <= 0x061a) ||          /* Arabic, to 0x0670 */
           (c >= 0x064b && c <= 0x065f) ||
           c == 0x0640 || c == 0x0670 ||  
           c == 0xad || c == 0x200c || c == 0x200d; /* soft hyphen, joiners */
}

static void put(folded *f, int32_t c)
{
    unsigned char u[4];
    utf8proc_ssize_t k = utf8proc_encode_char(c, u);
    if (k <= 0 || f->n + (size_t)k > sizeof f->bytes) return;
    memcpy(f->bytes + f->n, u, (size_t)k);
    f->n += (size_t)k;
    f->ascii &= c < 0x80;
}

static void fold(folded *f, int32_t c)
{
    utf8proc_int32_t out[32];
    int boundary = 0;
    if (c < 0x80) { /* most are */
        if (f->n < sizeof f->bytes) f->bytes[f->n++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        return;
    }
    utf8proc_ssize_t k = utf8proc_decompose_char(
        c, out, 32, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD, &boundary);
    for (utf8proc_ssize_t i = 0; i < k && i < 32; i++)
        if (!dropped_mark(out[i])) put(f, out[i]);
}

/* One unit at `at` with its marks: folded into f; returns the byte after it. */
static size_t read_unit(const qu_words *it, size_t at, folded *f)
{
    int32_t c;
    at += decode(&c, it->text + at, it->n - at);
    fold(f, c);
    while (at < it->n) {
        size_t k = decode(&c, it->text + at, it->n - at);
        if (kind_of(c) != MARK) break;
        fold(f, c);
        at += k;
    }
    return at;
}

static bool is_kind_at(const qu_words *it, size_t at, enum kind kind)
{
    int32_t c;
    if (at >= it->n) return false;
    decode(&c, it->text + at, it->n - at);
    return kind_of(c) == kind;
}

/* Bytes of an apostrophe at `at`, straight or curly; 0 if there is none. */
static size_t apostrophe_at(const qu_words *it, size_t at)
{
    if (at < it->n && it->text[at] == '\'') return 1;
    if (it->n - at >= 3 && memcmp(it->text + at, "\xe2\x80\x99", 3) == 0) return 3;
    return 0;
}

static size_t read_letters(const qu_words *it, size_t at, folded *f)
{
    while (at < it->n) {
        int32_t c;
        size_t k = decode(&c, it->text + at, it->n - at);
        enum kind kind = kind_of(c);
        if (kind != LETTER && kind != MARK) break;
        fold(f, c);
        at += k;
    }
    return at;
}

void qu_words_init(qu_words *it, const char *text, size_t n)
{
    *it = (qu_words){.text = (const unsigned char *)text, .n = n};
}

/* The word of units at `at`, or at its run's end a shorter one; returns the byte after it. */
static size_t read_units(qu_words *it, size_t at, int want, int *n_units)
{
    size_t next = read_unit(it, at, &it->word);
    it->at = next; /* the other units are read again next time */
    it->tail = it->word.n;
    it->head = 0;
    for (*n_units = 1; *n_units < want && is_kind_at(it, next, UNIT); ++*n_units) {
        it->head = it->word.n;
        next = read_unit(it, next, &it->word);
    }
    it->is_units = true;
    it->ends_run = !is_kind_at(it, next, UNIT);
    if (*n_units == want - 1) it->head = it->word.n; /* a short run is its own gram */
    return next;
}

bool qu_words_next(qu_words *it, qu_word *w)
{
    while (it->at < it->n) {
        folded *f = &it->word;
        *f = (folded){.ascii = true};
        it->is_units = false;
        int32_t c;
        size_t start = it->at, k = decode(&c, it->text + start, it->n - start);
        enum kind kind = kind_of(c);
        bool was_in_run = it->in_run;
        it->in_run = false;
        if (kind == UNIT) {
            int want = units_in_word(c), got;
            size_t end = read_units(it, start, want, &got);
            it->in_run = true;
            if (got < want && was_in_run) continue; /* its units are in the words before */
            *w = (qu_word){qu_hash_sum(f->bytes, f->n, WORD_SEED), start, end};
            if (f->n > 0) return true;
        } else if (kind == LETTER) {
            size_t end = read_letters(it, start, f);
            it->at = end;
            size_t quote = apostrophe_at(it, end);
            if (quote && end + quote < it->n && (it->text[end + quote] | 0x20) == 's' &&
                !is_kind_at(it, end + quote + 1, LETTER))
                it->at = end + quote + 1;
            folded stem = *f;
            if (f->ascii) stem.n = qu_words_stem(stem.bytes, stem.n);
            *w = (qu_word){qu_hash_sum(stem.bytes, stem.n, WORD_SEED), start, end};
            if (f->n > 0) return true;
        } else {
            it->at = start + k;
        }
    }
    return false;
}

int qu_words_grams(const qu_words *it, uint64_t *grams)
{
    const folded *f = &it->word;
    size_t start[QU_WORD_BYTES + 1];
    int n = 0, k = 0;
    if (it->is_units) {
        if (it->head == 0) return 0;
        grams[k++] = qu_hash_sum(f->bytes, it->head, GRAM_SEED);
        if (it->ends_run && it->head < f->n)
            grams[k++] = qu_hash_sum(f->bytes + it->tail, f->n - it->tail, GRAM_SEED);
        return k;
    }
    for (size_t i = 0; i < f->n; i++)
        if (((unsigned char)f->bytes[i] & 0xc0) != 0x80) start[n++] = i;
    start[n] = f->n;
    for (; k + GRAM_LETTERS <= n; k++)
        grams[k] = qu_hash_sum(f->bytes + start[k], start[k + GRAM_LETTERS] - start[k], GRAM_SEED);
    return k;
}

int qu_words_by_hash(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

bool qu_words_letters(const qu_words *it, uint64_t *hash)
{
    folded stem = it->word;
    uint32_t set = 0;
    if (it->is_units || !stem.ascii) return false;
    stem.n = qu_words_stem(stem.bytes, stem.n);
    for (size_t i = 0; i < stem.n; i++) {
        if (stem.bytes[i] < 'a' || stem.bytes[i] > 'z') return false;
        set |= 1u << (stem.bytes[i] - 'a');
    }
    if (__builtin_popcount(set) < QU_WORD_LETTERS) return false;
    uint32_t key[2] = {set, (uint32_t)stem.bytes[0]};
    *hash = qu_hash_sum(key, sizeof key, LETTERS_SEED);
    return true;
}

static bool ends(const char *w, size_t n, const char *tail)
{
    size_t k = strlen(tail);
    return n > k && memcmp(w + n - k, tail, k) == 0;
}

static bool vowel(char c)
{
    return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u' || c == 'y';
}

static bool has_vowel(const char *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (vowel(w[i])) return true;
    return false;
}

/* A much shortened Porter: plurals, -ed, -ing, -ly, then a silent e and a doubled consonant, so
 * that the forms of a verb meet. Worth .029 of R@1 on NQ, .004 on XQuAD-en, .023 of Cranfield's
 * recall@10 (bench/recall). */
size_t qu_words_stem(char *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (w[i] < 'a' || w[i] > 'z') return n;
    if (n < 4) return n;
    if (ends(w, n, "ies") && n > 4) {
        w[n - 3] = 'y';
        n -= 2;
    } else if (ends(w, n, "sses") || ends(w, n, "xes") || ends(w, n, "ches") ||
               ends(w, n, "shes")) {
        n -= 2;
    } else if (ends(w, n, "s") && !ends(w, n, "ss") && !ends(w, n, "us") && !ends(w, n, "is")) {
        n -= 1;
    }
    size_t cut = 0;
    if (ends(w, n, "ied") && n > 4) {
        w[n - 3] = 'y';
        n -= 2;
    } else if (ends(w, n, "ed") || ends(w, n, "ing") || ends(w, n, "ly")) {
        cut = w[n - 1] == 'g' ? 3 : 2;
    }
    if (cut && n - cut >= 3 && has_vowel(w, n - cut)) {
        n -= cut;
        if (n > 3 && w[n - 1] == w[n - 2] && !vowel(w[n - 1]) && w[n - 1] != 'l' && w[n - 1] != 's')
            n--;
    }
    if (n > 3 && w[n - 1] == 'e') n--;
    return n;
}
