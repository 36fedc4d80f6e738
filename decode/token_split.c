/* Byte-level BPE never merges across the cuts made here. Models name the rule they were trained
 * with in tokenizer.ggml.pre; a wrong rule gives plausible but wrong ids, so unknown names are
 * refused. Patterns are applied one after the other: what the first matches and what it leaves are
 * each cut by the next.
 *
 * All of them run in linear time: no alternative can backtrack more than once over what it took.
 */
#include <string.h>

#include "decode/token_int.h"

#define WORDS "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define WORDS_ANY_CASE(digits)                                                                     \
    "'[sStTmMdD]|'[rR][eE]|'[vV][eE]|'[lL][lL]|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits              \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 WORDS_ANY_CASE("\\p{N}{1,3}")
#define QWEN2 WORDS_ANY_CASE("\\p{N}")
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define TEKKEN                                                                                     \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*"        \
    "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const qu_pre PRES[] = {
    {"gpt-2", {WORDS}, false, false},
    {"phi-2", {WORDS}, false, false},
    {"olmo", {WORDS}, false, false},
    {"default", {"[\\p{P}$+<=>^~|]+", WORDS, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false},
    {"llama-bpe", {LLAMA3}, true, true},
    {"llama3", {LLAMA3}, true, true},
    {"llama-v3", {LLAMA3}, true, true},
    {"falcon3", {LLAMA3}, true, true},
    {"qwen2", {QWEN2}, false, false},
    {"deepseek-r1-qwen", {QWEN2}, false, false},
    {"smollm", {"\\p{N}", WORDS}, false, false},
    {"starcoder", {"\\p{N}", WORDS}, false, false},
    {"tekken", {TEKKEN}, true, true},
    {"falcon", {"[\\p{P}$+<=>^~|`]+", WORDS, "[0-9][0-9][0-9]"}, false, false},
    {"deepseek-coder",
     {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
      "[\\x{4E00}-\\x{9FA5}\\x{0800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+", "\\p{N}"},
     false,
     false},
};

qu_status qu_token_split_init(qu_tokenizer *t, qu_gguf_str name, qu_err *err)
{
    for (size_t i = 0; i < sizeof PRES / sizeof PRES[0]; i++)
        if (strlen(PRES[i].name) == name.len && memcmp(PRES[i].name, name.data, name.len) == 0)
            t->pre = &PRES[i];
    if (!t->pre)
        return qu_fail(
            err, QU_ERR_UNSUPPORTED,
            "'%s' has the unknown pre-tokenizer '%.*s'; its text cannot be cut as it was trained",
            qu_gguf_path(t->g), name.len > 40 ? 40 : (int)name.len, name.data);
    t->limits = pcre2_match_context_create(NULL);
    if (!t->limits) return qu_fail_nomem(err, 0);
    pcre2_set_match_limit(t->limits, 4u * QU_TOK_MAX_BYTES); /* linear work must never reach it */
    for (; t->pre->patterns[t->n_code]; t->n_code++) {
        int code;
        PCRE2_SIZE at;
        pcre2_code *c =
            pcre2_compile((PCRE2_SPTR)t->pre->patterns[t->n_code], PCRE2_ZERO_TERMINATED,
                          PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
        if (!c && code == PCRE2_ERROR_HEAP_FAILED) return qu_fail_nomem(err, 0);
        if (!c)
            return qu_fail(
                err, QU_ERR_UNSUPPORTED,
                "cannot compile pre-tokenizer '%s': pcre2 error %d; it needs Unicode support",
                t->pre->name, code);
        pcre2_jit_compile(c, PCRE2_JIT_COMPLETE); /* without it matching is slower, not different */
        t->code[t->n_code] = c;
    }
    return QU_OK;
}

void qu_token_split_free(qu_tokenizer *t)
{
    for (int i = 0; i < t->n_code; i++) pcre2_code_free(t->code[i]);
    pcre2_match_context_free(t->limits);
}

typedef struct split {
    const qu_tokenizer *t;
    pcre2_match_data *match;
    qu_status (*piece)(void *, const char *, size_t);
    void *ctx;
    qu_err *err;
} split;

static qu_status cut(const split *s, int level, const char *p, size_t n)
{
    if (n == 0) return QU_OK;
    if (level == s->t->n_code) return s->piece(s->ctx, p, n);
    size_t pos = 0;
    while (pos < n) {
        int got = pcre2_match(s->t->code[level], (PCRE2_SPTR)p, n, pos, PCRE2_NO_UTF_CHECK,
                              s->match, s->t->limits);
        if (got == PCRE2_ERROR_NOMATCH) break;
        if (got < 0)
            return qu_fail(s->err, QU_ERR_LIMIT, "cannot cut a text of %zu bytes: pcre2 error %d",
                           n, got);
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(s->match);
        size_t begin = at[0], end = at[1]; /* the next level overwrites them */
        if (end <= begin) break;
        QU_TRY(cut(s, level + 1, p + pos, begin - pos));
        QU_TRY(cut(s, level + 1, p + begin, end - begin));
        pos = end;
    }
    return cut(s, level + 1, p + pos, n - pos);
}

qu_status qu_token_split(const qu_tokenizer *t, pcre2_match_data *match, const char *text, size_t n,
                         qu_status (*piece)(void *ctx, const char *p, size_t n), void *ctx,
                         qu_err *err)
{
    const split s = {t, match, piece, ctx, err};
    for (size_t pos = 0; pos < n;) {
        size_t end = pos, len;
        while (end < n && (len = qu_utf8_len(text + end, n - end)) > 0) end += len;
        QU_TRY(cut(&s, 0, text + pos, end - pos));
        /* A byte that is not UTF-8 is a piece of its own: the patterns never see it. */
        if (end < n) QU_TRY(piece(ctx, text + end, 1));
        pos = end + 1;
    }
    return QU_OK;
}
