/* Cut text into index words: the one definition of a word, for pages, titles and queries alike.
 *
 *     qu_words it;
 *     qu_word w;
 *     qu_words_init(&it, text, n);
 *     while (qu_words_next(&it, &w)) use(w.hash, text + w.start, w.end - w.start);
 *
 * A word is a run of letters and digits, folded: compatibility forms and case (utf8proc), Latin,
 * Greek, Cyrillic, Hebrew and Arabic marks dropped, a possessive 's cut off, English endings taken
 * off words that are plain ASCII. Scripts written without spaces (Han, kana, Hangul, Thai, Lao,
 * Khmer, Burmese) are cut into units (a character with its marks) and each neighbouring pair of
 * units is one word: a run of n units gives n - 1 overlapping words, a lone unit gives itself. Any
 * bytes are fine: what is not UTF-8 separates words.
 * Thread rule: no shared state.
 */
#ifndef QU_INDEX_WORDS_H
#define QU_INDEX_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    QU_WORD_BYTES = 64, /* a longer folded word is cut here */
};

typedef struct qu_word {
    uint64_t hash;     /* of the folded, stemmed bytes: equal words have equal hashes */
    size_t start, end; /* half-open bytes in the text, as written */
} qu_word;

/* Iterator state; private. */
typedef struct qu_words {
    const unsigned char *text;
    size_t n, at;
    bool in_run;
} qu_words;

/* Start at the front of n bytes, borrowed while iterating. text may be NULL when n is 0. */
void qu_words_init(qu_words *it, const char *text, size_t n);

/* The next word into *w; false at the end. Time is linear in the text. */
bool qu_words_next(qu_words *it, qu_word *w);

/* Take the English ending off a lower-case ASCII word in place; returns the new length (<= n, > 0
 * for n > 0). "boxes", "boxed", "boxing" all give "box"; short words and words with digits stay. */
size_t qu_words_stem(char *word, size_t n);

#endif
