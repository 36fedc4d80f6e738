/* The two halves of extraction: what a question asks for, and the span of that kind in a sentence.
 * Private to retrieve/ and its tests. */
#ifndef QU_RETRIEVE_EXTRACT_INT_H
#define QU_RETRIEVE_EXTRACT_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QU_EXTRACT_WORDS = 64 }; /* distinct question words that count; the first ones */

/* What kind of span answers. English only; a question in another language wants a sentence. */
typedef enum qu_want {
    QU_WANT_SENTENCE, /* how, why, what does it do, or words alone */
    QU_WANT_ANY,      /* what, which */
    QU_WANT_NAME,   /* who, what company */
    QU_WANT_PLACE,  /* where, which city */
    QU_WANT_DATE,   /* when, what year */
    QU_WANT_COUNT,  /* how many: the bare number */
    QU_WANT_AMOUNT, /* how much, how long: a number with its unit */
} qu_want;

typedef struct qu_extract_question {
    qu_want want;
    int32_t n_words;
    uint64_t words[QU_EXTRACT_WORDS]; /* hashes of the words that carry meaning, sorted */
    float weights[QU_EXTRACT_WORDS];  /* of each; 1 until the caller knows better */
    uint64_t noun; /* hash of the word behind what, which or how many, whatever it is */
} qu_extract_question;

/* Read a question of n bytes. When every word is a function word, all of them count. */
void qu_extract_question_read(qu_extract_question *q, const char *text, size_t n);

/* Index of a word's hash among q->words, -1 if it is not one. */
int32_t qu_extract_question_word(const qu_extract_question *q, uint64_t hash);

/* The likeliest answer in a sentence of n > 0 bytes: [*start, *end), not empty. true when it is of
 * the wanted kind (always for QU_WANT_ANY if any span was found; for QU_WANT_SENTENCE if the
 * sentence says more than the question); false with the whole sentence when nothing fits. */
bool qu_extract_span(const qu_extract_question *q, const char *sentence, int64_t n, int64_t *start,
                     int64_t *end);

#endif
