/* The three vocabularies of mkmodel: the 256 bytes, one copied from another GGUF, and the words of
 * the copy model.
 *
 * The copy model's ids: 0 = <|end|> (both BOS and EOS), 1 + b = byte b, 257 + 16 a + b = needle
 * word " " + mk_first[a] + mk_second[b], 513 + i = filler word " " + mk_filler[i], then the
 * prefixes that BPE merges pass through. Every merge begins with the space, so " word" becomes the
 * longest known prefix and then bytes: a known word is always one token, whatever stands around it.
 */
#ifndef BENCH_MKMODEL_VOCAB_H
#define BENCH_MKMODEL_VOCAB_H

#include "bench/mkmodel_gguf.h"
#include "decode/gguf.h"

typedef struct mk_vocab {
    qu_buf tokens, merges; /* GGUF strings one after the other */
    int32_t *type;         /* GGUF's token types: 1 normal, 3 control, 5 unused */
    float *score;          /* NULL when the model has none */
    int n_tokens, n_merges;
    char model[32], pre[64];
    int bos, eos, unknown; /* -1 = none */
    bool add_bos, add_space_prefix;
} mk_vocab;

enum { MK_TOKEN_NORMAL = 1, MK_TOKEN_CONTROL = 3, MK_TOKEN_UNUSED = 5 };
enum { MK_END = 0, MK_BYTE = 1, MK_NEEDLE = 257, MK_N_NEEDLE = 256, MK_FILLER = 513 };

static const char *const mk_first[16] = {"ba", "ce", "di", "fo", "gu", "ha", "je", "ki",
                                         "lo", "mu", "na", "pe", "ri", "so", "tu", "va"};
static const char *const mk_second[16] = {"dar", "fen", "gol", "hux", "jin", "kev", "lom", "mip",
                                          "nar", "pov", "quz", "rik", "sul", "tev", "vox", "wim"};
static const char *const mk_filler[] = {
    "the",   "a",     "of",    "and",   "to",    "in",    "is",    "was",   "on",    "by",
    "for",   "with",  "as",    "at",    "it",    "from",  "that",  "this",  "not",   "or",
    "old",   "new",   "long",  "short", "quiet", "river", "stone", "road",  "house", "field",
    "water", "light", "night", "day",   "hand",  "door",  "wind",  "rain",  "tree",  "hill",
    "ship",  "sea",   "sand",  "bird",  "fish",  "fire",  "snow",  "cloud", "star",  "moon",
    "green", "blue",  "white", "black", "red",   "small", "large", "cold",  "warm",  "slow",
    "runs",  "stands", "falls", "turns", "comes", "goes",  "over",  "under", "near",  "far",
    "what",  "which", "after", "before", "follows", "word",  "code",  "key",   "page",  "answer",
};
enum { MK_N_FILLER = sizeof mk_filler / sizeof *mk_filler };

static void mk_token(mk_vocab *v, const char *text, size_t n, int type) {
    mk_string(&v->tokens, text, n);
    int32_t *grown = realloc(v->type, (size_t)(v->n_tokens + 1) * sizeof *grown);
    if (!grown) mk_die(1, "out of memory");
    v->type = grown;
    v->type[v->n_tokens++] = type;
}

static void mk_merge(mk_vocab *v, const char *text) {
    mk_string(&v->merges, text, strlen(text));
    v->n_merges++;
}

/* The printable stand-in that byte-level BPE writes for a byte, in UTF-8. Returns its length. */
static int mk_byte_text(char out[3], int byte) {
    int code = byte;
    if (byte < 33 || (byte > 126 && byte < 161) || byte == 173) {
        code = 256;
        for (int b = 0; b < byte; b++) code += b < 33 || (b > 126 && b < 161) || b == 173;
    }
    if (code < 128) {
        out[0] = (char)code;
        return 1;
    }
    out[0] = (char)(0xc0 | code >> 6);
    out[1] = (char)(0x80 | (code & 63));
    return 2;
}

static void mk_byte_tokens(mk_vocab *v) {
    for (int b = 0; b < 256; b++) {
        char text[3];
        mk_token(v, text, (size_t)mk_byte_text(text, b), MK_TOKEN_NORMAL);
    }
}

/* <|bos|>, <|eos|>, the bytes, and a few merges so that no table is empty. */
static void mk_vocab_bytes(mk_vocab *v) {
    static const char *const merge[][2] = {
        {"\xc4\xa0 t", "\xc4\xa0t"}, {"h e", "he"}, {"i n", "in"}, {"\xc4\xa0t he", "\xc4\xa0the"}};
    *v = (mk_vocab){.model = "gpt2", .pre = "gpt-2", .eos = 1, .unknown = -1, .add_bos = true};
    mk_token(v, "<|bos|>", 7, MK_TOKEN_CONTROL);
    mk_token(v, "<|eos|>", 7, MK_TOKEN_CONTROL);
    mk_byte_tokens(v);
    for (size_t i = 0; i < sizeof merge / sizeof *merge; i++) {
        mk_merge(v, merge[i][0]);
        mk_token(v, merge[i][1], strlen(merge[i][1]), MK_TOKEN_NORMAL);
    }
}

typedef struct mk_words {
    char text[2048][16]; /* without the space */
    bool merged[2048];
    int n;
} mk_words;

/* Index of a word; new ones are appended, to the vocabulary too. */
static int mk_word(mk_vocab *v, mk_words *w, const char *word, int n) {
    for (int i = 0; i < w->n; i++)
        if (!strncmp(w->text[i], word, (size_t)n) && !w->text[i][n]) return i;
    if (w->n == 2048) mk_die(1, "too many words");
    char token[24];
    snprintf(w->text[w->n], sizeof w->text[0], "%.*s", n, word);
    snprintf(token, sizeof token, "\xc4\xa0%.*s", n, word);
    mk_token(v, token, strlen(token), MK_TOKEN_NORMAL);
    return w->n++;
}

static void mk_vocab_copy(mk_vocab *v) {
    mk_words *w = calloc(1, sizeof *w);
    if (!w) mk_die(1, "out of memory");
    *v = (mk_vocab){.model = "gpt2", .pre = "gpt-2", .unknown = -1, .add_bos = true};
    mk_token(v, "<|end|>", 7, MK_TOKEN_CONTROL);
    mk_byte_tokens(v);
    for (int i = 0; i < MK_N_NEEDLE; i++) {
        char word[16];
        int n = snprintf(word, sizeof word, "%s%s", mk_first[i / 16], mk_second[i % 16]);
        mk_word(v, w, word, n);
    }
    for (int i = 0; i < MK_N_FILLER; i++) mk_word(v, w, mk_filler[i], (int)strlen(mk_filler[i]));
    for (int i = 0, n_words = w->n; i < n_words; i++) {
        for (int n = 1; n <= (int)strlen(w->text[i]); n++) {
            int prefix = mk_word(v, w, w->text[i], n);
            if (w->merged[prefix]) continue;
            char line[32];
            snprintf(line, sizeof line, "\xc4\xa0%.*s %c", n - 1, w->text[i], w->text[i][n - 1]);
            mk_merge(v, line);
            w->merged[prefix] = true;
        }
    }
    free(w);
}

static int mk_get_id(const qu_gguf *g, const char *key) {
    int32_t id = -1;
    return qu_gguf_get_i32(g, key, &id, NULL) == QU_OK ? id : -1;
}

static void mk_get_text(char *out, size_t cap, const qu_gguf *g, const char *key) {
    qu_gguf_str s = {0};
    if (qu_gguf_get_str(g, key, &s, NULL) == QU_OK)
        snprintf(out, cap, "%.*s", (int)s.len, s.data);
}

/* Copy the vocabulary of another model file. */
static void mk_vocab_from(mk_vocab *v, const char *path) {
    qu_gguf *g;
    qu_err err;
    const qu_gguf_str *text;
    int64_t n, n_typed;
    *v = (mk_vocab){0};
    if (qu_gguf_open(&g, path, &err) != QU_OK ||
        qu_gguf_array_str(g, "tokenizer.ggml.tokens", &text, &n, &err) != QU_OK)
        mk_die(1, "%s", err.msg);
    for (int64_t i = 0; i < n; i++) mk_token(v, text[i].data, text[i].len, MK_TOKEN_NORMAL);
    if (qu_gguf_array_len(g, "tokenizer.ggml.token_type", &n_typed, NULL) == QU_OK && n_typed == n)
        qu_gguf_array_i32(g, "tokenizer.ggml.token_type", v->type, n, NULL);
    if (qu_gguf_has(g, "tokenizer.ggml.scores")) {
        v->score = calloc((size_t)n, sizeof *v->score);
        if (!v->score) mk_die(1, "out of memory");
        if (qu_gguf_array_f32(g, "tokenizer.ggml.scores", v->score, n, &err) != QU_OK)
            mk_die(1, "%s", err.msg);
    }
    if (qu_gguf_array_str(g, "tokenizer.ggml.merges", &text, &n, NULL) == QU_OK) {
        for (int64_t i = 0; i < n; i++) mk_string(&v->merges, text[i].data, text[i].len);
        v->n_merges = (int)n;
    }
    mk_get_text(v->model, sizeof v->model, g, "tokenizer.ggml.model");
    mk_get_text(v->pre, sizeof v->pre, g, "tokenizer.ggml.pre");
    v->bos = mk_get_id(g, "tokenizer.ggml.bos_token_id");
    v->eos = mk_get_id(g, "tokenizer.ggml.eos_token_id");
    v->unknown = mk_get_id(g, "tokenizer.ggml.unknown_token_id");
    v->add_bos = v->bos >= 0;
    qu_gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &v->add_bos, NULL);
    v->add_space_prefix = !strcmp(v->model, "llama");
    qu_gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &v->add_space_prefix, NULL);
    qu_gguf_close(g);
}

/* Fill the vocabulary up to n_tokens with tokens that no text becomes. */
static void mk_vocab_pad(mk_vocab *v, int n_tokens) {
    int n_given = v->n_tokens;
    if (n_tokens < n_given)
        mk_die(2, "--vocab %d is smaller than the %d tokens given", n_tokens, n_given);
    while (v->n_tokens < n_tokens) {
        char text[32];
        int n = snprintf(text, sizeof text, "<|unused%d|>", v->n_tokens - n_given);
        mk_token(v, text, (size_t)n, MK_TOKEN_UNUSED);
    }
    if (!v->score) return;
    v->score = realloc(v->score, (size_t)n_tokens * sizeof *v->score);
    if (!v->score) mk_die(1, "out of memory");
    for (int i = n_given; i < n_tokens; i++) v->score[i] = -1e6f;
}

/* Write the tokenizer's keys and release the vocabulary. */
static void mk_put_vocab(mk_gguf *g, mk_vocab *v) {
    mk_put_str(g, "tokenizer.ggml.model", v->model);
    if (*v->pre) mk_put_str(g, "tokenizer.ggml.pre", v->pre);
    mk_put_array(g, "tokenizer.ggml.tokens", MK_STR, (uint64_t)v->n_tokens);
    mk_bytes(&g->keys, v->tokens.data, v->tokens.len);
    mk_put_array(g, "tokenizer.ggml.token_type", MK_I32, (uint64_t)v->n_tokens);
    mk_bytes(&g->keys, v->type, (size_t)v->n_tokens * sizeof *v->type);
    if (v->score) {
        mk_put_array(g, "tokenizer.ggml.scores", MK_F32, (uint64_t)v->n_tokens);
        mk_bytes(&g->keys, v->score, (size_t)v->n_tokens * sizeof *v->score);
    }
    if (v->n_merges) {
        mk_put_array(g, "tokenizer.ggml.merges", MK_STR, (uint64_t)v->n_merges);
        mk_bytes(&g->keys, v->merges.data, v->merges.len);
    }
    if (v->bos >= 0) mk_put_u32(g, "tokenizer.ggml.bos_token_id", (uint32_t)v->bos);
    if (v->eos >= 0) mk_put_u32(g, "tokenizer.ggml.eos_token_id", (uint32_t)v->eos);
    if (v->unknown >= 0) mk_put_u32(g, "tokenizer.ggml.unknown_token_id", (uint32_t)v->unknown);
    mk_put_bool(g, "tokenizer.ggml.add_bos_token", v->add_bos);
    mk_put_bool(g, "tokenizer.ggml.add_space_prefix", v->add_space_prefix);
    qu_buf_free(&v->tokens);
    qu_buf_free(&v->merges);
    free(v->type);
    free(v->score);
}

#endif
