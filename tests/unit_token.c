/* decode/token.h: exact ids against recorded vectors, offsets, round trips, hostile vocabularies. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "decode/token.h"
#include "decode/token_int.h"
#include "tests/gguf_build.h"

static qu_err err;

static const char *data_path(const char *name)
{
    static char path[4096];
    const char *root = getenv("QUIRE_DATA");
    snprintf(path, sizeof path, "%s/%s", root ? root : "../shared/data", name);
    if (access(path, R_OK) != 0) {
        print_message("skipped: '%s' is absent; set QUIRE_DATA to the test data\n", path);
        skip();
    }
    return path;
}

typedef struct model {
    qu_gguf *g;
    qu_tokenizer *t;
} model;

static model open_path(const char *path)
{
    model m;
    if (qu_gguf_open(&m.g, path, &err) != QU_OK) fail_msg("%s", err.msg);
    if (qu_tokenizer_create(&m.t, m.g, &err) != QU_OK) fail_msg("%s", err.msg);
    return m;
}

static model open_model(const char *name)
{
    char rel[256];
    snprintf(rel, sizeof rel, "tokenizers/%s", name);
    return open_path(data_path(rel));
}

static void close_model(model m)
{
    qu_tokenizer_free(m.t);
    qu_gguf_close(m.g);
}

static qu_buf read_data(const char *name)
{
    qu_buf b = {0};
    if (qu_os_read(&b, data_path(name), 1 << 24, &err) != QU_OK) fail_msg("%s", err.msg);
    return b;
}

static qu_tokens tokenize(const qu_tokenizer *t, const char *text, size_t n, unsigned flags)
{
    qu_tokens v = {0};
    if (qu_tokenize(t, &v, text, n, flags, &err) != QU_OK) fail_msg("%s", err.msg);
    for (int64_t i = 0; i < v.n; i++) {
        assert_in_range(v.ids[i], 0, qu_tokenizer_n_vocab(t) - 1);
        assert_true(v.at[i] >= (i ? v.at[i - 1] : 0) && v.at[i] <= (int64_t)n);
    }
    return v;
}

static qu_buf detokenize(const qu_tokenizer *t, const qu_tokens *v, unsigned flags)
{
    qu_buf out = {0};
    qu_detok d;
    qu_detok_init(&d, t, flags);
    assert_int_equal(qu_buf_reserve(&out, 1, &err), QU_OK);
    for (int64_t i = 0; i < v->n; i++) assert_int_equal(qu_detok_add(&d, v->ids[i], &out, &err), QU_OK);
    assert_int_equal(qu_detok_end(&d, &out, &err), QU_OK);
    return out;
}

/* Offsets by the definition: each token's text stands in the text where it says. */
static void check_offsets(const qu_tokenizer *t, const char *text, size_t n, const qu_tokens *v)
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
            bool wide = t->spm && p[k] == ' ' && n - at >= 3 && memcmp(text + at, "\xE2\x96\x81", 3) == 0;
            if (at >= n || (!wide && text[at] != p[k]))
                fail_msg("token %lld (%.*s) is not at %lld", (long long)i, (int)len, p, (long long)v->at[i]);
            at += wide ? 3 : 1;
        }
        assert_int_equal(at, i + 1 < v->n ? (size_t)v->at[i + 1] : n);
    }
}

/* Tokenize, check offsets and that detokenizing gives the text back. */
static void round_trip(const qu_tokenizer *t, const char *text, size_t n)
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

static void check_ids(const qu_tokens *v, const int32_t *want, size_t n, const char *what)
{
    for (size_t i = 0; i < n || i < (size_t)v->n; i++)
        if (i >= n || i >= (size_t)v->n || v->ids[i] != want[i])
            fail_msg("%s: id %zu is %d, not %d", what, i, i < (size_t)v->n ? v->ids[i] : -1,
                     i < n ? want[i] : -1);
}

/* ---- Recorded vectors ---------------------------------------------------------------------------- */

static int check_pairs(const char *model_name, const char *pair)
{
    static const char sep[] = "\n__ggml_vocab_test__\n";
    char rel[256];
    snprintf(rel, sizeof rel, "tokenizers/ggml-vocab-%s.gguf.inp", pair);
    qu_buf in = read_data(rel);
    snprintf(rel, sizeof rel, "tokenizers/ggml-vocab-%s.gguf.out", pair);
    qu_buf out = read_data(rel);
    model m = open_model(model_name);
    int n_rows = 0;
    char *ids = out.data;
    for (char *p = in.data, *next; (next = strstr(p, sep)) != NULL; p = next + strlen(sep), n_rows++) {
        int32_t want[4096];
        size_t n = 0;
        for (; *ids && *ids != '\n'; ids += strspn(ids, " ")) want[n++] = (int32_t)strtol(ids, &ids, 10);
        if (*ids) ids++;
        qu_tokens v = tokenize(m.t, p, (size_t)(next - p), 0);
        check_ids(&v, want, n, pair);
        qu_tokens_free(&v);
        round_trip(m.t, p, (size_t)(next - p));
    }
    close_model(m);
    qu_buf_free(&in);
    qu_buf_free(&out);
    return n_rows;
}

static void test_pairs(void **state)
{
    (void)state;
    assert_int_equal(check_pairs("ggml-vocab-llama-spm.gguf", "llama-spm"), 46);
    assert_int_equal(check_pairs("ggml-vocab-phi-3.gguf", "phi-3"), 46);
    assert_int_equal(check_pairs("ggml-vocab-gpt-2.gguf", "gpt-2"), 46);
    assert_int_equal(check_pairs("ggml-vocab-falcon.gguf", "falcon"), 46);
    assert_int_equal(check_pairs("ggml-vocab-deepseek-coder.gguf", "deepseek-coder"), 46);
    assert_int_equal(check_pairs("vocab-llama3-rebuilt.gguf", "llama-bpe"), 46);
    assert_int_equal(check_pairs("vocab-qwen2-rebuilt.gguf", "qwen2"), 46);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
