/* Inside the tokenizer: the vocabulary as both kinds keep it. For decode/token*.c and its tests.
 *
 *   token.c        vocabulary, roles, identity, detokenizer
 *   token_split.c  the patterns that cut text before byte-level merging
 *   token_merge.c  qu_tokenize: special tokens, pieces, merging
 *
 * Both kinds work on the bytes that tokens stand for, never on GGUF's spelling of them: "Ġthe" and
 * "▁the" are both kept as " the", so offsets in the text need no translation.
 */
#ifndef QU_DECODE_TOKEN_INT_H
#define QU_DECODE_TOKEN_INT_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <utf8proc.h>

#include "decode/token.h"

enum { QU_PRE_MAX = 6 }; /* patterns applied one after the other */

/* What a token may be used for; GGUF's types are folded into these. */
typedef enum qu_token_kind {
    QU_KIND_PLAIN,   /* made by merging */
    QU_KIND_USER,    /* matched in the text before anything else */
    QU_KIND_CONTROL, /* the same, but only when the caller asks */
    QU_KIND_BYTE,    /* one byte, the fallback of SentencePiece */
} qu_token_kind;

typedef struct qu_pre {
    const char *name;
    const char *patterns[QU_PRE_MAX + 1]; /* NULL ends the list */
    bool ignore_merges; /* a piece that is a token is that token, whatever the merges say */
    bool add_bos;       /* where the GGUF does not say */
} qu_pre;

typedef struct qu_token_slot { /* of the table text -> id; id -1 is free */
    uint32_t tag;
    int32_t id;
} qu_token_slot;

typedef struct qu_merge_slot { /* of the table pair -> rank; id -1 is free */
    int32_t left, right, rank, id;
} qu_merge_slot;

struct qu_tokenizer {
    const qu_gguf *g;
    bool spm;
    bool add_bos, add_space;
    bool cut_words; /* no token has a space after another byte: pieces may be cut before spaces */
    int32_t n_vocab, bos, eos, eot, unk;

    char *pool;           /* the tokens' bytes */
    uint32_t *off;        /* [n_vocab + 1] into pool */
    uint8_t *kind;        /* [n_vocab] qu_token_kind */
    bool *is_end;         /* [n_vocab] */
    float *scores;        /* [n_vocab], SentencePiece */
    int32_t byte_id[256]; /* -1 where the vocabulary lacks one */
    uint32_t max_len;     /* longest plain token */

    qu_token_slot *slots;
    uint32_t slot_mask;
    qu_merge_slot *merges;
    uint32_t merge_mask;

    uint8_t begins[256]; /* bit kind: a USER or CONTROL token begins with this byte */
    uint64_t lengths[256][4]; /* their lengths by first byte, a bit each; none is above 255 */

    const qu_pre *pre;
    pcre2_code *code[QU_PRE_MAX];
    int n_code;
    pcre2_match_context *limits;
};

static inline uint32_t qu_token_len(const qu_tokenizer *t, int32_t id)
{
    return t->off[id + 1] - t->off[id];
}

/* Id of the PLAIN token with these bytes, or of the USER or CONTROL one; -1 when there is none. A
 * text may be both. */
int32_t qu_token_lookup(const qu_tokenizer *t, const char *p, size_t n, bool plain);

static inline uint32_t qu_merge_hash(int32_t left, int32_t right)
{
    uint64_t x = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(x >> 32 ^ x >> 15);
}

/* Bytes of the UTF-8 sequence at p, n > 0; 0 when it is not one. */
static inline size_t qu_utf8_len(const char *p, size_t n)
{
    if (!((uint8_t)*p & 0x80)) return 1;
    utf8proc_int32_t code;
    utf8proc_ssize_t len =
        utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)n, &code);
    return len > 0 ? (size_t)len : 0;
}

/* Find the pre-tokenizer called name and compile its patterns into t. Errors: UNSUPPORTED. */
qu_status qu_token_split_init(qu_tokenizer *t, qu_gguf_str name, qu_err *err);
void qu_token_split_free(qu_tokenizer *t);

/* Cut text [n] and call piece(ctx, p, n) for each part in order; the first that is not QU_OK ends
 * it. */
qu_status qu_token_split(const qu_tokenizer *t, pcre2_match_data *match, const char *text, size_t n,
                         qu_status (*piece)(void *ctx, const char *p, size_t n), void *ctx,
                         qu_err *err);

#endif
