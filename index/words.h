/* Cut text into index words: the one definition of a word, for pages, titles and queries alike.
 *
 *     qu_words it;
 *     qu_word w;
 *     qu_words_init(&it, text, n);
 *     while (qu_words_next(&it, &w)) {
 *         use(w.hash, text + w.start, w.end - w.start);
 *         n = qu_words_grams(&it, grams);          // its parts, for forms that the stem misses
 *     }
 *
 * A word is a run of letters and digits, folded: compatibility forms and case (utf8proc), Latin,
 * Greek, Cyrillic, Hebrew and Arabic marks dropped, a possessive 's cut off, English endings taken
 * off words that are plain ASCII. Scripts written without spaces are cut into units (a character
 * with its marks), and each k neighbouring units are one word: 2 for Han, kana and Hangul, 3 for
 * Thai, Lao, Khmer and Burmese. A run of n units gives n - k + 1 overlapping words; a shorter run
 * is one word. Any bytes are fine: what is not UTF-8 separates words.
 *
 * Grams are smaller and overlap: every 4 neighbouring letters of a word, every k - 1 units. They
 * find inflections, compounds and single Chinese characters, the set of a word's letters
 * misspellings. Measured with `quire eval recall --split dev`, recall@1 and @10 without and with
 * grams, all else equal: XQuAD-en .940 .995 -> .947 .996, de .862 .979 -> .918 .993, es .917 .988
 * -> .936 .993, zh .932 .992 -> .945 .993, NQ .815 .963 -> .827 .973, Cranfield .065 .374 -> .066
 * .398. Thread rule: no shared state.
 */
#ifndef QU_INDEX_WORDS_H
#define QU_INDEX_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    QU_WORD_BYTES = 64, /* a longer folded word is cut here */
    QU_WORD_GRAMS = QU_WORD_BYTES,
    QU_WORD_LETTERS = 5,
};

typedef struct qu_word {
    uint64_t hash;     /* of the folded, stemmed bytes: equal words have equal hashes */
    size_t start, end; /* half-open bytes in the text, as written */
} qu_word;

/* Folded bytes of a word; full once QU_WORD_BYTES are used. Private. */
typedef struct qu_words_folded {
    char bytes[QU_WORD_BYTES];
    size_t n;
    bool ascii;
} qu_words_folded;

/* Iterator state; private. */
typedef struct qu_words {
    const unsigned char *text;
    size_t n, at;
    bool in_run;
    qu_words_folded word;    /* the last word, before its stem is taken */
    size_t head, tail;       /* of units: bytes of all but the last one; where the second begins */
    bool is_units, ends_run;
} qu_words;

/* Start at the front of n bytes, borrowed while iterating. text may be NULL when n is 0. */
void qu_words_init(qu_words *it, const char *text, size_t n);

/* The next word into *w; false at the end. Time is linear in the text. */
bool qu_words_next(qu_words *it, qu_word *w);

/* Hashes of the grams of the word that qu_words_next gave last, into grams [QU_WORD_GRAMS]; returns
 * their number. A gram is never equal to a word. */
int qu_words_grams(const qu_words *it, uint64_t *grams);

/* Ascending hashes, for qsort and bsearch. */
int qu_words_by_hash(const void *a, const void *b);

/* Hash of the first letter and the set of letters of that word, its ending taken off, so that
 * letters that changed places or were doubled make no difference: misspellings. Never equal to a
 * word or gram. false for words of fewer than QU_WORD_LETTERS different letters or with others than
 * a-z. */
bool qu_words_letters(const qu_words *it, uint64_t *hash);

/* Take the English ending off a lower-case ASCII word in place; returns the new length (<= n, > 0
 * for n > 0). "boxes", "boxed", "boxing" all give "box"; short words and words with digits stay. */
size_t qu_words_stem(char *word, size_t n);

#endif
