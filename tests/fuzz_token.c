/* Any text through vocabularies of every kind: ids in range, places in order, and back to the very
 * bytes. See fuzz_testing.h.
 *
 *   u8 vocabulary: SentencePiece, WordPiece, then byte-level with each rule of cutting; u8 flags of
 *   qu_tokenize; the text
 */
#include <sys/mman.h>

#include "decode/token.h"
#include "decode/wordpiece.h"
#include "tests/fuzz_testing.h"
#include "tests/gguf_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const char *const fuzz_pres[] = {"gpt-2",          "default",     "llama-bpe", "qwen2",
                                        "smollm",         "tekken",      "falcon",    "mpt",
                                        "deepseek-coder", "deepseek-llm"};
enum {
    N_PRES = sizeof fuzz_pres / sizeof *fuzz_pres,
    N_VOCABULARIES = 2 + N_PRES,
    BYTE_TOKENS = 256
};

#define BLANK "\xE2\x96\x81"
static const char *const fuzz_words[] = {"<s>",   "</s>",  "<unk>",     "[CLS]",
                                         "[SEP]", "[UNK]", "<|im_end|>"};
static const char *const spm_pieces[] = {
    BLANK,       "t",  "h",        "e", "th", "the", BLANK "t", BLANK "the",
    BLANK BLANK, "\n", "\xC3\xA9", "1", "12", "a",   "aa",      "aaaa"};
static const char *const bpe_merges[] = {
    "t h",   "th e", "\xC4\xA0 t",        "\xC4\xA0 the",      "a a",
    "aa aa", "1 2",  "\xC4\x8A \xC4\x8A", "\xC4\xA0 \xC4\xA0", "\xC3\x83 \xC2\xA9"};
static const char *const bpe_pieces[] = {
    "th",   "the", "\xC4\xA0t",        "\xC4\xA0the",      "aa",
    "aaaa", "12",  "\xC4\x8A\xC4\x8A", "\xC4\xA0\xC4\xA0", "\xC3\x83\xC2\xA9"};
#define COUNT(a) (sizeof(a) / sizeof *(a))

typedef struct vocabulary {
    qu_gguf *g;
    qu_tokenizer *t;
    qu_wordpiece *w;
} vocabulary;

/* The letter that byte-level vocabularies write for a byte. */
static void byte_letter(char out[4], int byte)
{
    int at = byte, shifted = 0;
    for (int b = 0; b < byte; b++) shifted += !((b >= '!' && b <= '~') || (b >= 0xA1 && b != 0xAD));
    if (!((byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD))) at = 256 + shifted;
    if (at < 0x80)
        snprintf(out, 4, "%c", at);
    else
        snprintf(out, 4, "%c%c", 0xC0 | at >> 6, 0x80 | (at & 63));
}

static void add_all(qu_buf *b, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) gb_text(b, words[i]);
}

/* Special words, a token a byte, then pieces; which as the input counts them. */
static void write_vocabulary(qu_buf *b, int which)
{
    bool bytes = which != 1, spm = which == 0;
    const char *const *pieces = which < 2 ? spm_pieces : bpe_pieces;
    size_t n_pieces = which < 2 ? COUNT(spm_pieces) : COUNT(bpe_pieces);
    uint64_t n = COUNT(fuzz_words) + (bytes ? BYTE_TOKENS : 0) + n_pieces;
    gb_head(b, 3, 0, which < 2 ? 8 : 10);
    gb_str(b, "general.architecture", "llama");
    gb_str(b, "tokenizer.ggml.model", spm ? "llama" : bytes ? "gpt2" : "bert");
    if (which >= 2) gb_str(b, "tokenizer.ggml.pre", fuzz_pres[which - 2]);
    gb_num(b, "tokenizer.ggml.bos_token_id", 0);
    gb_num(b, "tokenizer.ggml.eos_token_id", 1);
    gb_num(b, "tokenizer.ggml.unknown_token_id", spm ? 2 : 5);
    gb_array(b, "tokenizer.ggml.tokens", GB_STR, n);
    add_all(b, fuzz_words, COUNT(fuzz_words));
    for (int i = 0; bytes && i < BYTE_TOKENS; i++) {
        char name[8];
        if (spm)
            snprintf(name, sizeof name, "<0x%02X>", i);
        else
            byte_letter(name, i);
        gb_text(b, name);
    }
    add_all(b, pieces, n_pieces);
    gb_array(b, "tokenizer.ggml.scores", GB_F32, n);
    for (uint64_t i = 0; i < n; i++) gb_raw(b, &(float){-(float)i}, 4);
    gb_array(b, "tokenizer.ggml.token_type", GB_I32, n);
    for (uint64_t i = 0; i < n; i++)
        gb_u32(b, i < COUNT(fuzz_words)                        ? (i == 2 ? 2 : 3)
                  : spm && i < COUNT(fuzz_words) + BYTE_TOKENS ? 6
                                                               : 1);
    if (which < 2) return;
    gb_array(b, "tokenizer.ggml.merges", GB_STR, COUNT(bpe_merges));
    add_all(b, bpe_merges, COUNT(bpe_merges));
}

static const vocabulary *get_vocabulary(int which)
{
    static vocabulary all[N_VOCABULARIES];
    vocabulary *v = &all[which];
    qu_buf b = {0};
    char path[64];
    if (v->g) return v;
    int fd = memfd_create("vocabulary", MFD_CLOEXEC);
    write_vocabulary(&b, which);
    assert_true(fd >= 0 && write(fd, b.data, b.len) == (ssize_t)b.len);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    TEST_OK(qu_gguf_open(&v->g, path, err));
    if (which == 1)
        TEST_OK(qu_wordpiece_create(&v->w, v->g, err));
    else
        TEST_OK(qu_tokenizer_create(&v->t, v->g, err));
    close(fd);
    qu_buf_free(&b);
    return v;
}

static void fuzz_words_of(const qu_wordpiece *w, const char *text, size_t n, int cap)
{
    int32_t *ids = malloc((size_t)cap * sizeof *ids);
    int32_t k = qu_wordpiece_run(w, text, n, ids, cap);
    assert_in_range(k, 2, cap);
    for (int32_t i = 0; i < k; i++) assert_in_range(ids[i], 0, qu_wordpiece_n_vocab(w) - 1);
    free(ids);
}

static void fuzz_tokens(const qu_tokenizer *t, const char *text, size_t n, unsigned flags)
{
    qu_tokens v = {0};
    qu_buf exact = {0}, valid = {0};
    qu_detok raw, shown;
    qu_detok_init(&raw, t, QU_TOK_RAW | (flags & QU_TOK_CONTINUE));
    qu_detok_init(&shown, t, flags & QU_TOK_SPECIAL);
    TEST_OK(qu_tokenize(t, &v, text, n, flags, err));
    for (int64_t i = 0; i < v.n; i++) {
        assert_in_range(v.ids[i], 0, qu_tokenizer_n_vocab(t) - 1);
        assert_in_range(v.at[i], i ? v.at[i - 1] : 0, (int64_t)n);
        if (!(flags & (QU_TOK_SPECIAL | QU_TOK_BOS)) && qu_tokenizer_is_control(t, v.ids[i]))
            fail_msg("text became control token %d", v.ids[i]);
        TEST_OK(qu_detok_add(&raw, v.ids[i], &exact, err));
        TEST_OK(qu_detok_add(&shown, v.ids[i], &valid, err));
    }
    TEST_OK(qu_detok_end(&shown, &valid, err));
    TEST_OK(qu_detok_end(&raw, &exact, err));
    /* SentencePiece has no letter but the blank's own for U+2581 */
    if (!(flags & QU_TOK_SPECIAL) && !(n && memmem(text, n, BLANK, 3))) {
        assert_int_equal(exact.len, n);
        if (n) assert_memory_equal(exact.data, text, n);
    }
    qu_buf_free(&exact);
    qu_buf_free(&valid);
    qu_tokens_free(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz_in in = {p, n};
    const vocabulary *v = get_vocabulary(fuzz_u8(&in) % N_VOCABULARIES);
    unsigned flags = fuzz_u8(&in);
    if (v->w)
        fuzz_words_of(v->w, (const char *)in.p, in.n, 2 + (int)flags);
    else
        fuzz_tokens(v->t, (const char *)in.p, in.n,
                    flags & (QU_TOK_BOS | QU_TOK_SPECIAL | QU_TOK_CONTINUE));
    return 0;
}
