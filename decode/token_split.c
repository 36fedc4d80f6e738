/* Byte-level BPE never merges across the cuts made here. Models name the rule they were trained
 * with in tokenizer.ggml.pre; a wrong rule gives plausible but wrong ids, so unknown names are
 * refused. Patterns are applied one after the other: what the first matches and what it leaves are
 * each cut by the next.
 *
 * All of them run in linear time: no alternative can backtrack more than once over what it took.
 */
#include <string.h>

#include "decode/token_int.h"

/* White space as Unicode has it; pcre2's own \s also takes U+180E. */
#define SPACE "\\t-\\r\\x{85}\\p{Z}"
#define S "[" SPACE "]"
#define SYMBOLS " ?[^" SPACE "\\p{L}\\p{N}]+"
#define SPACES S "+(?![^" SPACE "])|" S "+"
#define WORDS "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|" SYMBOLS "|" SPACES
#define WORDS_ANY_CASE(digits)                                                                     \
    "'[sStTmMdD]|'[rR][eE]|'[vV][eE]|'[lL][lL]|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits              \
    "|" SYMBOLS "[\\r\\n]*|" S "*[\\r\\n]+|" SPACES
#define LLAMA3 WORDS_ANY_CASE("\\p{N}{1,3}")
#define QWEN2 WORDS_ANY_CASE("\\p{N}")
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define TEKKEN                                                                                     \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*"        \
    "|\\p{N}|" SYMBOLS "[\\r\\n/]*|" S "*[\\r\\n]+|" SPACES
/* The cased letters that deepseek-llm was trained with: fewer than Unicode has by now. */
#define CASED                                                                                      \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}"                 \
    "\\x{1C4}-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}"         \
    "\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}"                  \
    "\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}"                       \
    "\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"                 \
    "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}"                 \
    "\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}"        \
    "\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}"         \
    "\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}"                 \
    "\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}"                  \
    "\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}"                   \
    "\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}"        \
    "\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}"         \
    "\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}"                  \
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}"                 \
    "\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}"               \
    "\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}"         \
    "\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"
#define EAST_ASIAN "[\\x{4E00}-\\x{9FA5}\\x{0800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
#define DIGITS_WORDS {"\\p{N}", WORDS}

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
    {"mpt", {WORDS}, false, false},
    {"smollm", DIGITS_WORDS, false, false},
    {"starcoder", DIGITS_WORDS, false, false},
    {"refact", DIGITS_WORDS, false, false},
    {"command-r", DIGITS_WORDS, false, false},
    {"tekken", {TEKKEN}, true, true},
    {"falcon", {"[\\p{P}$+<=>^~|`]+", WORDS, "[0-9][0-9][0-9]"}, false, false},
    {"deepseek-coder",
     {"[\\r\\n]", S "?\\p{L}+", S "?\\p{P}+", EAST_ASIAN, "\\p{N}"},
     false,
     false},
    {"deepseek-llm", /* its last spaces: only from their first on, or a long run costs its square */
     {"[\\r\\n]", S "?[" CASED "]+",
      S "?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+",
      "(?<!" S ")" S "++\\z", EAST_ASIAN, "\\p{N}+"},
     false,
     false},
};

qu_status qu_token_split_init(qu_tokenizer *t, qu_gguf_str name, qu_err *err)
{
    for (size_t i = 0; i < sizeof PRES / sizeof PRES[0]; i++)
        if (qu_gguf_is(name, PRES[i].name)) t->pre = &PRES[i];
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
