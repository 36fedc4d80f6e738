/* Tokenizers of GGUF files: text to token ids and back.
 *
 *     qu_tokenizer *t;
 *     qu_tokens ids = {0};
 *     QU_TRY(qu_tokenizer_create(&t, gguf, err));
 *     QU_TRY_OUT(qu_tokenize(t, &ids, text, n, QU_TOK_BOS, err));      // ids.ids[0..ids.n)
 *     qu_detok d;
 *     qu_detok_init(&d, t, 0);
 *     for (int64_t i = 0; i < ids.n; i++) QU_TRY_OUT(qu_detok_add(&d, ids.ids[i], &out, err));
 *     QU_TRY_OUT(qu_detok_end(&d, &out, err));
 *
 * Two kinds, by tokenizer.ggml.model:
 *   "llama"  SentencePiece BPE: the pair whose union scores best is merged first, bytes as fallback
 *   "gpt2"   byte-level BPE: the text is cut by the patterns named in tokenizer.ggml.pre, then
 *            merged by rank; unknown names are refused, because ids would be silently wrong
 *
 * Text may be any bytes: what is not UTF-8 becomes byte tokens and never fails. (A byte that the
 * vocabulary lacks becomes the unknown token, or is dropped where there is none; Llama, Mistral,
 * Qwen and GPT-2 lack none.) Work is n log n in the longest unbroken run. A tokenizer is immutable:
 * any number of threads may use one at once. It borrows the vocabulary from the qu_gguf it was made
 * from, which must outlive it.
 */
#ifndef QU_DECODE_TOKEN_H
#define QU_DECODE_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/status.h"
#include "decode/gguf.h"

typedef struct qu_tokenizer qu_tokenizer;

/* Token ids and, for each, the byte offset in the text where it begins: non-decreasing, so pages
 * can be cut by text. BOS has offset 0, as has a token made of the space that SentencePiece puts
 * before a text; byte tokens point at their own byte. Zero-initialise; free with qu_tokens_free. */
typedef struct qu_tokens {
    int32_t *ids;
    int64_t *at;
    int64_t n, cap;
} qu_tokens;

enum {
    QU_TOK_BOS = 1,      /* put BOS first if the GGUF asks for it (qu_tokenizer_adds_bos) */
    QU_TOK_SPECIAL = 2,  /* tokenize: control tokens written in the text become those tokens;
                            token_text, detok: control tokens have their text. Else none of both: a
                            document can never smuggle in a control token. */
    QU_TOK_CONTINUE = 4, /* tokenize: the text continues another, no SentencePiece space before it;
                            detok: keep the space before the first token */
    QU_TOK_RAW = 8, /* detok: pass every byte through at once, valid UTF-8 or not: the exact inverse
                       of tokenizing */
};

/* Largest text of one call. */
enum { QU_TOK_MAX_BYTES = 1 << 29 };

/* Read the vocabulary of g. Errors: QU_ERR_FORMAT (no tokenizer in the file, arrays of different
 * lengths, ids out of range), QU_ERR_UNSUPPORTED (another model or pre-tokenizer, named),
 * QU_ERR_NOMEM. */
qu_status qu_tokenizer_create(qu_tokenizer **t, const qu_gguf *g, qu_err *err);
void qu_tokenizer_free(qu_tokenizer *t);
QU_OWNER(qu_tokenizer, qu_tokenizer_free)

/* Append the tokens of text [n] to *out. Flags: BOS, SPECIAL, CONTINUE. User-defined tokens are
 * matched with and without SPECIAL, as the models were trained, unless they are written like
 * control tokens ("<|x|>", "<s>", "</s>" or an end token): those count as control. Text behind a
 * control token begins like a text of its own. On error *out keeps what it held. Errors:
 * QU_ERR_LIMIT (n above QU_TOK_MAX_BYTES), QU_ERR_NOMEM. */
qu_status qu_tokenize(const qu_tokenizer *t, qu_tokens *out, const char *text, size_t n,
                      unsigned flags, qu_err *err);
void qu_tokens_free(qu_tokens *v);

int32_t qu_tokenizer_n_vocab(const qu_tokenizer *t);
/* Ids of the special roles; -1 where the vocabulary has none. eot ends a turn of a chat. */
int32_t qu_tokenizer_bos(const qu_tokenizer *t);
int32_t qu_tokenizer_eos(const qu_tokenizer *t);
int32_t qu_tokenizer_eot(const qu_tokenizer *t);
/* Does a whole text begin with BOS? tokenizer.ggml.add_bos_token, else yes for SentencePiece and
 * for the pre-tokenizers of Llama 3 and tekken, no for other byte-level ones. */
bool qu_tokenizer_adds_bos(const qu_tokenizer *t);
/* Does this token end generation: eos, eot, eom, <|im_end|>, <|endoftext|> and their kin? */
bool qu_tokenizer_is_end(const qu_tokenizer *t, int32_t id);
/* Is this a control token (or one that counts as such)? */
bool qu_tokenizer_is_control(const qu_tokenizer *t, int32_t id);
/* Id of the token whose text (as qu_token_text gives it with SPECIAL) is exactly name: "<|page|>",
 * " the"; -1 when there is none. A control or user-defined token goes before a plain one. */
int32_t qu_tokenizer_find(const qu_tokenizer *t, const char *name);

/* Bytes that a token stands for: byte-level mapped back, '▁' as a space, a byte token as its byte.
 * Control tokens are empty unless flags has QU_TOK_SPECIAL. An id outside the vocabulary is empty.
 * Borrowed from t. */
void qu_token_text(const qu_tokenizer *t, int32_t id, unsigned flags, const char **text,
                   size_t *len);

/* Identity of the vocabulary, scores, types, merges and rules: part of every binding. */
qu_hash qu_tokenizer_hash(const qu_tokenizer *t);

/* Streaming detokenizer. Caller-owned, nothing to free; one thread at a time. */
typedef struct qu_detok {
    const qu_tokenizer *t;
    unsigned flags;
    bool started;
    uint8_t n_held;
    char held[4];
} qu_detok;

/* Flags: SPECIAL, CONTINUE, RAW. Without CONTINUE the one space that SentencePiece puts before a
 * text is taken off the first token that has text. */
void qu_detok_init(qu_detok *d, const qu_tokenizer *t, unsigned flags);

/* Append the text of one more token. Without RAW *out always ends at the end of a UTF-8 sequence:
 * an unfinished one is held back until the next token, and bytes that cannot become one are
 * replaced by U+FFFD (one a maximal broken part). Errors: QU_ERR_NOMEM. */
qu_status qu_detok_add(qu_detok *d, int32_t id, qu_buf *out, qu_err *err);

/* End of the text: a sequence still held back becomes U+FFFD. Errors: QU_ERR_NOMEM. */
qu_status qu_detok_end(qu_detok *d, qu_buf *out, qu_err *err);

#endif
