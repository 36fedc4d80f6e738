/* The tokenizer of BERT models: words, then the longest pieces of the vocabulary.
 *
 *     qu_wordpiece *w;
 *     QU_TRY(qu_wordpiece_create(&w, gguf, err));          // tokenizer.ggml.model "bert"
 *     n = qu_wordpiece_run(w, text, n_text, ids, 512);     // [CLS] ... [SEP]
 *
 * Text is decomposed (NFD), marks dropped, letters lower-cased, cut at blanks, and around every
 * punctuation mark and Chinese character. A word is the longest piece that begins it, then the
 * longest that goes on, and so forth; where none fits the whole word is the unknown token. In GGUF
 * a piece that begins a word is written with U+2581 in front, one that goes on without. Bytes that
 * are not UTF-8 and control characters are passed over.
 * Immutable, borrows from the GGUF; any number of threads.
 */
#ifndef QU_DECODE_WORDPIECE_H
#define QU_DECODE_WORDPIECE_H

#include "base/hash.h"
#include "base/memory.h"
#include "decode/gguf.h"

typedef struct qu_wordpiece qu_wordpiece;

/* Errors: QU_ERR_UNSUPPORTED (another tokenizer, by name), QU_ERR_FORMAT (no [CLS], [SEP] or
 * unknown token), QU_ERR_NOMEM. */
qu_status qu_wordpiece_create(qu_wordpiece **w, const qu_gguf *g, qu_err *err);
void qu_wordpiece_free(qu_wordpiece *w);
QU_OWNER(qu_wordpiece, qu_wordpiece_free)

/* Tokens of n bytes of text into ids [cap], cap >= 2, and how many: [CLS] first, [SEP] last, cut to
 * fit. */
int32_t qu_wordpiece_run(const qu_wordpiece *w, const char *text, size_t n, int32_t *ids,
                         int32_t cap);

int32_t qu_wordpiece_n_vocab(const qu_wordpiece *w);
qu_hash qu_wordpiece_hash(const qu_wordpiece *w);

#endif
