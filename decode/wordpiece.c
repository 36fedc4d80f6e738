#include "decode/wordpiece.h"

#include <utf8proc.h>

#include "base/dims.h"
#include "base/memory.h"

enum {
    WORD_CHARACTERS = 100, /* a longer word is unknown, as in BERT's own tokenizer */
    WORD_BYTES = 4 * WORD_CHARACTERS + 3,
    MOST_DECOMPOSED = 32,
};

static const char BEGIN[] = "\xe2\x96\x81"; /* U+2581 */

struct qu_wordpiece {
    const qu_gguf_str *pieces; /* [n] borrowed */
    int64_t n;
    int32_t cls, sep, unknown;
    int32_t *table;            /* [mask + 1] id + 1 by hash; 0: empty */
    uint64_t mask;
    size_t longest;            /* bytes of a piece */
    qu_hash hash;
};

/* The id of a piece, or -1. */
static int32_t find(const qu_wordpiece *w, const char *s, size_t n)
{
    for (uint64_t i = qu_hash_sum(s, n, 0);; i++) {
        int32_t id = w->table[i & w->mask] - 1;
        if (id < 0) return -1;
        if (w->pieces[id].len == n && memcmp(w->pieces[id].data, s, n) == 0) return id;
    }
}

/* A special token: by its name, which BERT vocabularies agree on, else by one of the keys. */
static qu_status special(const qu_gguf *g, int32_t *id, const char *name, const char *key,
                         const char *other_key, const qu_wordpiece *w, qu_err *err)
{
    *id = find(w, name, strlen(name));
    if (*id < 0 && qu_gguf_get_i32(g, key, id, NULL) != QU_OK)
        qu_gguf_get_i32(g, other_key, id, NULL);
    if (*id >= 0 && *id < w->n) return QU_OK;
    return qu_fail(err, QU_ERR_FORMAT, "vocabulary of '%s' has no token %s", qu_gguf_path(g), name);
}

static qu_status check_kind(const qu_gguf *g, qu_err *err)
{
    qu_gguf_str kind;
    QU_TRY(qu_gguf_get_str(g, "tokenizer.ggml.model", &kind, err));
    if (qu_gguf_is(kind, "bert")) return QU_OK;
    return qu_fail(
        err, QU_ERR_UNSUPPORTED,
        "cannot embed with '%s': its tokenizer is '%.*s', only 'bert' (WordPiece) is known",
        qu_gguf_path(g), kind.len < 40 ? (int)kind.len : 40, kind.data);
}

qu_status qu_wordpiece_create(qu_wordpiece **out, const qu_gguf *g, qu_err *err)
{
    *out = NULL;
    QU_TRY(check_kind(g, err));
    QU_OWN(qu_wordpiece_freep) qu_wordpiece *w = NULL;
    QU_TRY(qu_memory_take(&w, 1, sizeof *w, err));
    QU_TRY(qu_gguf_array_str(g, "tokenizer.ggml.tokens", &w->pieces, &w->n, err));
    if (w->n < 3 || w->n > QU_MAX_VOCAB)
        return qu_fail(err, QU_ERR_FORMAT, "vocabulary of '%s' has %lld tokens", qu_gguf_path(g),
                       (long long)w->n);
    for (w->mask = 4; w->mask < 2 * (uint64_t)w->n;) w->mask *= 2;
    QU_TRY(qu_memory_take(&w->table, (int64_t)w->mask, sizeof *w->table, err));
    w->mask--;
    for (int32_t id = 0; id < w->n; id++) {
        const qu_gguf_str *p = &w->pieces[id];
        w->hash = qu_hash_chain(w->hash, p->data, p->len);
        if (p->len == 0 || find(w, p->data, p->len) >= 0) continue; /* of equal ones the first */
        uint64_t i = qu_hash_sum(p->data, p->len, 0);
        while (w->table[i & w->mask]) i++;
        w->table[i & w->mask] = id + 1;
        if (p->len > w->longest) w->longest = p->len;
    }
    QU_TRY(special(g, &w->cls, "[CLS]", "tokenizer.ggml.cls_token_id",
                   "tokenizer.ggml.bos_token_id", w, err));
    QU_TRY(special(g, &w->sep, "[SEP]", "tokenizer.ggml.seperator_token_id",
                   "tokenizer.ggml.eos_token_id", w, err));
    QU_TRY(special(g, &w->unknown, "[UNK]", "tokenizer.ggml.unknown_token_id",
                   "tokenizer.ggml.unknown_token_id", w, err));
    *out = QU_TAKE(w);
    return QU_OK;
}

void qu_wordpiece_free(qu_wordpiece *w)
{
    if (!w) return;
    free(w->table);
    free(w);
}

int32_t qu_wordpiece_n_vocab(const qu_wordpiece *w) { return (int32_t)w->n; }

qu_hash qu_wordpiece_hash(const qu_wordpiece *w) { return w->hash; }

/* --- cutting --- */

static bool is_chinese(int32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

static bool is_punctuation(int32_t c)
{
    if ((c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
        (c >= 123 && c <= 126))
        return true;
    utf8proc_category_t k = utf8proc_category(c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

static bool is_blank(int32_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' ||
           utf8proc_category(c) == UTF8PROC_CATEGORY_ZS;
}

typedef struct word {
    const qu_wordpiece *w;
    char bytes[WORD_BYTES]; /* BEGIN, then the characters */
    size_t n;
    int32_t n_characters;
    int32_t *ids, n_ids, cap;
} word;

/* Pieces of the word that was read, into ids; all or the unknown token. */
static void end_word(word *x)
{
    int32_t before = x->n_ids;
    size_t at = 0;
    bool whole = x->n_characters <= WORD_CHARACTERS;
    if (x->n_characters == 0) return;
    while (whole && at < x->n) {
        size_t n = x->n - at < x->w->longest ? x->n - at : x->w->longest;
        int32_t id = -1;
        for (; n > 0 && (id = find(x->w, x->bytes + at, n)) < 0; n--) continue;
        whole = id >= 0;
        if (whole && x->n_ids < x->cap) x->ids[x->n_ids++] = id;
        at += n;
    }
    if (!whole) {
        x->n_ids = before;
        if (x->n_ids < x->cap) x->ids[x->n_ids++] = x->w->unknown;
    }
    x->n = sizeof BEGIN - 1;
    x->n_characters = 0;
}

static void add_character(word *x, int32_t c)
{
    if (++x->n_characters > WORD_CHARACTERS) return;
    x->n += (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)x->bytes + x->n);
}

static void read_character(word *x, int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);
    if (k == UTF8PROC_CATEGORY_MN) return;
    if (is_blank(c)) {
        end_word(x);
    } else if (c != 0xfffd && k != UTF8PROC_CATEGORY_CC && k != UTF8PROC_CATEGORY_CF &&
               k != UTF8PROC_CATEGORY_CO && k != UTF8PROC_CATEGORY_CS) {
        bool alone = is_punctuation(c) || is_chinese(c);
        if (alone) end_word(x);
        add_character(x, utf8proc_tolower(c));
        if (alone) end_word(x);
    }
}

int32_t qu_wordpiece_run(const qu_wordpiece *w, const char *text, size_t n, int32_t *ids,
                         int32_t cap)
{
    word x = {.w = w, .n = sizeof BEGIN - 1, .ids = ids, .cap = cap - 1}; /* room for [SEP] */
    memcpy(x.bytes, BEGIN, sizeof BEGIN - 1);
    ids[x.n_ids++] = w->cls;
    for (size_t at = 0; at < n && x.n_ids < x.cap;) {
        utf8proc_int32_t c, parts[MOST_DECOMPOSED];
        int boundary = 0;
        utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                              n - at < 4 ? (utf8proc_ssize_t)(n - at) : 4, &c);
        at += k > 0 ? (size_t)k : 1;
        if (k <= 0) continue;
        k = utf8proc_decompose_char(c, parts, MOST_DECOMPOSED, UTF8PROC_DECOMPOSE, &boundary);
        for (utf8proc_ssize_t i = 0; i < k && i < MOST_DECOMPOSED; i++)
            read_character(&x, parts[i]);
    }
    end_word(&x);
    ids[x.n_ids++] = w->sep;
    return x.n_ids;
}
