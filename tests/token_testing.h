/* What the tests of decode/token.h share: models opened and closed, text to ids and back with every
 * offset checked. Everything fails the test by itself.
 */
#ifndef QU_TESTS_TOKEN_TESTING_H
#define QU_TESTS_TOKEN_TESTING_H

#include "base/os.h"
#include "decode/token_int.h"
#include "tests/testing.h"

static qu_err fault;

typedef struct model {
    qu_gguf *g;
    qu_tokenizer *t;
} model;

static inline model open_path(const char *path)
{
    model m;
    TEST_OK(qu_gguf_open(&m.g, path, err));
    TEST_OK(qu_tokenizer_create(&m.t, m.g, err));
    return m;
}

static inline model open_model(const char *name)
{
    char rel[256];
    snprintf(rel, sizeof rel, "tokenizers/%s", name);
    return open_path(test_needs(rel));
}

static inline void close_model(model m)
{
    qu_tokenizer_free(m.t);
    qu_gguf_close(m.g);
}

static inline qu_buf read_data(const char *name)
{
    qu_buf b = {0};
    TEST_OK(qu_os_read(&b, test_needs(name), 1 << 24, err));
    return b;
}

static inline qu_tokens tokenize(const qu_tokenizer *t, const char *text, size_t n, unsigned flags)
{
    qu_tokens v = {0};
    TEST_OK(qu_tokenize(t, &v, text, n, flags, err));
    for (int64_t i = 0; i < v.n; i++) {
        assert_in_range(v.ids[i], 0, qu_tokenizer_n_vocab(t) - 1);
        assert_true(v.at[i] >= (i ? v.at[i - 1] : 0) && v.at[i] <= (int64_t)n);
    }
    return v;
}

static inline qu_buf detokenize(const qu_tokenizer *t, const qu_tokens *v, unsigned flags)
{
    qu_buf out = {0};
    qu_detok d;
    qu_detok_init(&d, t, flags);
    TEST_OK(qu_buf_reserve(&out, 1, err));
    for (int64_t i = 0; i < v->n; i++)
        TEST_OK(qu_detok_add(&d, v->ids[i], &out, err));
    TEST_OK(qu_detok_end(&d, &out, err));
    return out;
}

/* Offsets by the definition: each token's text stands in the text where it says. */
static inline void check_offsets(const qu_tokenizer *t, const char *text, size_t n,
                                 const qu_tokens *v)
{
    for (int64_t i = 0; i < v->n; i++) {
        const char *p;
        size_t len;
        qu_token_text(t, v->ids[i], 0, &p, &len);
        if (i == 0 && t->spm && len && *p == ' ') {
            p++;
            len--;
        }
        size_t at = (size_t)v->at[i];
        for (size_t k = 0; k < len; k++) {
            bool wide =
                t->spm && p[k] == ' ' && n - at >= 3 && memcmp(text + at, "\xE2\x96\x81", 3) == 0;
            if (at >= n || (!wide && text[at] != p[k]))
                fail_msg("token %lld (%.*s) is not at %lld", (long long)i, (int)len, p,
                         (long long)v->at[i]);
            at += wide ? 3 : 1;
        }
        assert_int_equal(at, i + 1 < v->n ? (size_t)v->at[i + 1] : n);
    }
}

/* Tokenize, check offsets and that detokenizing gives the text back. */
static inline void round_trip(const qu_tokenizer *t, const char *text, size_t n)
{
    qu_tokens v = tokenize(t, text, n, 0);
    qu_buf back = detokenize(t, &v, QU_TOK_RAW);
    check_offsets(t, text, n, &v);
    if (!t->spm || !memmem(text, n, "\xE2\x96\x81", 3)) {
        assert_int_equal(back.len, n);
        assert_memory_equal(back.data, text, n);
    }
    qu_buf_free(&back);
    qu_tokens_free(&v);
}

static inline void check_ids(const qu_tokens *v, const int32_t *want, size_t n, const char *what)
{
    for (size_t i = 0; i < n || i < (size_t)v->n; i++)
        if (i >= n || i >= (size_t)v->n || v->ids[i] != want[i])
            fail_msg("%s: id %zu is %d, not %d", what, i, i < (size_t)v->n ? v->ids[i] : -1,
                     i < n ? want[i] : -1);
}

static inline int64_t count_of(const qu_tokens *v, int32_t id)
{
    int64_t n = 0;
    for (int64_t i = 0; i < v->n; i++) n += v->ids[i] == id;
    return n;
}

#endif
