/* The sentences of a text that say most of it: summaries without a model.
 *
 *     qu_digest d = {0};
 *     QU_TRY(qu_digest_make(&d, text, n, QU_DIGEST_GRAPH, 120, err));
 *     for (int32_t i = 0; i < d.n; i++)
 *         if (d.sentences[i].chosen) print(text + d.sentences[i].start, ...);      // in text order
 *     qu_digest_free(&d);
 *
 *   graph     sentences and content words are the nodes; a walk goes over four kinds of edges:
 *             neighbouring sentences, similar sentences (tf-idf cosine), word in sentence (tf-idf),
 *             similar words (shared grams); it starts anew oftener near the front. Nothing is
 *             trained.
 *   lexrank   the walk over similar sentences alone, cosine above .1
 *   textrank  the same over the number of shared words, over the sum of the lengths' logarithms
 *   lead      the first sentences
 *
 * Every method chooses greedily by its score, a sentence's score falling by its likeness to what
 * was chosen (not for lead); sentences of fewer than QU_DIGEST_LEAST words (headings, table cells)
 * and those that no longer fit are passed over. The same text gives the same sentences, on any
 * machine of the same arithmetic. A text of more than QU_DIGEST_BLOCK sentences is ranked block by
 * block, then the best of each block together; the others' score is 0. Sentences and words are
 * those of ingest/sentence.h and index/words.h, so any language will do. Thread rule: no shared
 * state. Sources: GraphLSS, arXiv:2410.21315 (its graph; there a network is trained on it);
 * LexRank, arXiv:1109.2128; TextRank, Mihalcea and Tarau 2004.
 */
#ifndef QU_RETRIEVE_DIGEST_H
#define QU_RETRIEVE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef enum qu_digest_method {
    QU_DIGEST_GRAPH = 0,
    QU_DIGEST_LEXRANK = 1,
    QU_DIGEST_TEXTRANK = 2,
    QU_DIGEST_LEAD = 3,
    QU_N_DIGESTS
} qu_digest_method;

/* Their names, in order. */
#define QU_DIGEST_NAMES "graph|lexrank|textrank|lead"

enum {
    QU_DIGEST_VERSION = 1, /* raised when the same text would give other sentences */
    QU_DIGEST_LEAST = 5,   /* words of the shortest sentence that is chosen */
    QU_DIGEST_BLOCK = 1024,
    QU_DIGEST_BYTES = 4096, /* of a sentence; what runs on longer is cut there */
};

/* A sentence: half-open bytes of the text, trimmed of white space. */
typedef struct qu_digest_sentence {
    int64_t start, end;
    int32_t words;
    float score; /* share of the walk's time, times the number of sentences: 1 is the mean */
    bool chosen;
} qu_digest_sentence;

typedef struct qu_digest {
    qu_digest_sentence *sentences; /* in text order */
    int32_t n;
    int32_t words; /* in the chosen ones */
} qu_digest;

/* Rank n bytes of UTF-8 and choose up to max_words words' worth: at least one sentence,
 * if any has a word. *d is overwritten; free it with qu_digest_free.
 * Errors: QU_ERR_ARG (max_words < 1), QU_ERR_LIMIT (more than 2^31 sentences or words),
 * QU_ERR_NOMEM; *d is empty then. */
qu_status qu_digest_make(qu_digest *d, const char *text, int64_t n, qu_digest_method method,
                         int32_t max_words, qu_err *err);

void qu_digest_free(qu_digest *d);

#endif
