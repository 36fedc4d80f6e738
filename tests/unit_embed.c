/* Embedding models: the same tokens and vectors as transformers and llama.cpp (tests/golden), the
 * same rows as a plain double forward pass, and refusals by name. */
#include "testing.h"

#include <jansson.h>
#include <math.h>

#include "decode/embed.h"
#include "decode/wordpiece.h"
#include "gguf_build.h"
#include "prefill.h"

#define MODEL "tests/golden/bert-tiny.gguf"

/* A call must fail with that status and say so. */
#define FAILS(call, want, words)                                                                   \
    do {                                                                                           \
        qu_err e_ = {0}, *err = &e_;                                                               \
        assert_int_equal(call, want);                                                              \
        if (!strstr(e_.msg, words)) fail_msg("'%s' says nothing of '%s'", e_.msg, words);          \
    } while (0)

static json_t *golden(void)
{
    json_error_t fault;
    json_t *o = json_load_file("tests/golden/embed.json", 0, &fault);
    if (!o) fail_msg("embed.json: %s", fault.text);
    return o;
}

static void test_tokens(void **state)
{
    (void)state;
    qu_gguf *g;
    qu_wordpiece *w;
    json_t *o = golden(), *text;
    size_t i;
    TEST_OK(qu_gguf_open(&g, MODEL, err));
    TEST_OK(qu_wordpiece_create(&w, g, err));
    json_array_foreach(json_object_get(o, "texts"), i, text)
    {
        int32_t ids[40];
        json_t *want =
            json_array_get(json_object_get(json_object_get(o, "transformers"), "ids"), i);
        int32_t n = qu_wordpiece_run(w, json_string_value(text), json_string_length(text), ids, 40);
        assert_int_equal(n, json_array_size(want));
        for (int32_t k = 0; k < n; k++)
            assert_int_equal(ids[k], json_integer_value(json_array_get(want, (size_t)k)));
    }
    int32_t two[2];
    assert_int_equal(qu_wordpiece_run(w, "the sea", 7, two, 2), 2); /* no room but for the ends */
    qu_wordpiece_free(w);
    qu_gguf_close(g);
    json_decref(o);
}

/* Any bytes, in a buffer of their own length. */
static void test_any_bytes(void **state)
{
    (void)state;
    qu_gguf *g;
    qu_wordpiece *w;
    int32_t ids[512];
    TEST_OK(qu_gguf_open(&g, MODEL, err));
    TEST_OK(qu_wordpiece_create(&w, g, err));
    for (int round = 0; round < 300; round++) {
        size_t n = (size_t)(round * 7 % 2000);
        char *p = malloc(n + 1);
        for (size_t i = 0; i < n; i++)
            p[i] = (char)(round % 3 ? rand() : "shipthe ##"[rand() % 10]);
        int32_t k = qu_wordpiece_run(w, p, n, ids, 512);
        assert_in_range(k, 2, 512);
        for (int32_t i = 0; i < k; i++) assert_in_range(ids[i], 0, qu_wordpiece_n_vocab(w) - 1);
        free(p);
    }
    qu_wordpiece_free(w);
    qu_gguf_close(g);
}

static void compare(json_t *o, const char *who, const float *x, int32_t e, double tolerance)
{
    json_t *v;
    size_t i;
    double worst = 0;
    json_array_foreach(json_object_get(json_object_get(o, who), "vectors"), i, v)
    {
        if (!json_is_array(v)) continue;
        for (int32_t k = 0; k < e; k++) {
            double d = fabs(json_number_value(json_array_get(v, (size_t)k)) -
                            (double)x[(int32_t)i * e + k]);
            if (d > worst) worst = d;
        }
    }
    print_message("%s: largest difference %.2g\n", who, worst);
    assert_true(worst > 0 && worst < tolerance);
}

static void test_vectors_once(void **state)
{
    (void)state;
    qu_embed *m;
    qu_pool *pool;
    json_t *o = golden(), *text;
    size_t i;
    qu_embed_text texts[16];
    TEST_OK(qu_embed_open(&m, MODEL, err));
    TEST_OK(qu_pool_create(&pool, 2, err));
    int32_t e = qu_embed_dims(m), n = 0;
    json_array_foreach(json_object_get(o, "texts"), i, text)
        texts[n++] = (qu_embed_text){json_string_value(text), json_string_length(text)};
    float *x = malloc(sizeof *x * (size_t)(n * e)), *alone = malloc(sizeof *x * (size_t)e);
    TEST_OK(qu_embed_run(m, pool, texts, n, QU_EMBED_PASSAGE, x, err));
    bool rounded = test_prefill_is_rounded();
    compare(o, "transformers", x, e, rounded ? .01 : 3e-6);
    compare(o, "llama_cpp", x, e, rounded ? .01 : 5e-4); /* its GELU is a table of halves */
    for (int32_t k = 0; k < n; k++) {    /* company and threads change nothing */
        TEST_OK(qu_embed_run(m, NULL, texts + k, 1, QU_EMBED_QUESTION, alone, err));
        assert_memory_equal(alone, x + k * e, sizeof *x * (size_t)e);
    }
    free(x);
    free(alone);
    qu_pool_free(pool);
    qu_embed_close(m);
    json_decref(o);
}

static void test_vectors(void **state)
{
    test_each_prefill(test_vectors_once, state);
}

/* --- the plain forward pass --- */

static const float *tensor(const qu_gguf *g, const char *fmt, int layer)
{
    char name[64];
    snprintf(name, sizeof name, fmt, layer);
    const qu_gguf_tensor *t = qu_gguf_find_tensor(g, name);
    if (!t || t->type != QU_TYPE_F32) fail_msg("no tensor '%s'", name);
    return (const float *)(const void *)t->data;
}

enum { RE = 32, RF = 48, RH = 4, RL = 2, RD = RE / RH, RT = 40 };

static void ref_linear(double *y, const double *x, const float *w, const float *b, int n, int k)
{
    for (int i = 0; i < n; i++) {
        y[i] = (double)b[i];
        for (int j = 0; j < k; j++) y[i] += (double)w[i * k + j] * x[j];
    }
}

static void ref_norm(double *x, const float *w, const float *b)
{
    double mean = 0, var = 0;
    for (int i = 0; i < RE; i++) mean += x[i] / RE;
    for (int i = 0; i < RE; i++) var += (x[i] - mean) * (x[i] - mean) / RE;
    for (int i = 0; i < RE; i++)
        x[i] = (x[i] - mean) / sqrt(var + 1e-12) * (double)w[i] + (double)b[i];
}

static void ref_rows(const qu_gguf *g, const int32_t *ids, int n, double x[RT][RE])
{
    double q[RT][RE], k[RT][RE], v[RT][RE], a[RE], h[RF];
    for (int t = 0; t < n; t++) {
        for (int i = 0; i < RE; i++)
            x[t][i] = (double)tensor(g, "token_embd.weight", 0)[ids[t] * RE + i] +
                      (double)tensor(g, "position_embd.weight", 0)[t * RE + i] +
                      (double)tensor(g, "token_types.weight", 0)[i];
        ref_norm(x[t], tensor(g, "token_embd_norm.weight", 0),
                 tensor(g, "token_embd_norm.bias", 0));
    }
#define W(name) tensor(g, "blk.%d." name ".weight", l), tensor(g, "blk.%d." name ".bias", l)
    for (int l = 0; l < RL; l++) {
        for (int t = 0; t < n; t++) {
            ref_linear(q[t], x[t], W("attn_q"), RE, RE);
            ref_linear(k[t], x[t], W("attn_k"), RE, RE);
            ref_linear(v[t], x[t], W("attn_v"), RE, RE);
        }
        for (int t = 0; t < n; t++) {
            double sum[RE] = {0}, out[RE];
            for (int head = 0; head < RE; head += RD) {
                double p[RT], total = 0;
                for (int s = 0; s < n; s++) {
                    double dot = 0;
                    for (int i = head; i < head + RD; i++) dot += q[t][i] * k[s][i];
                    total += p[s] = exp(dot / sqrt(RD));
                }
                for (int s = 0; s < n; s++)
                    for (int i = head; i < head + RD; i++) sum[i] += p[s] / total * v[s][i];
            }
            ref_linear(out, sum, W("attn_output"), RE, RE);
            for (int i = 0; i < RE; i++) x[t][i] += out[i];
            ref_norm(x[t], W("attn_output_norm"));
            ref_linear(h, x[t], W("ffn_up"), RF, RE);
            for (int i = 0; i < RF; i++) h[i] = h[i] / 2 * (1 + erf(h[i] / sqrt(2)));
            ref_linear(a, h, W("ffn_down"), RE, RF);
            for (int i = 0; i < RE; i++) x[t][i] += a[i];
            ref_norm(x[t], W("layer_output_norm"));
        }
    }
}

static void test_rows_once(void **state)
{
    (void)state;
    qu_embed *m;
    qu_gguf *g;
    double want[RT][RE], worst = 0;
    float rows[RT * RE];
    int32_t ids[RT];
    TEST_OK(qu_embed_open(&m, MODEL, err));
    TEST_OK(qu_gguf_open(&g, MODEL, err));
    for (int n = 1; n <= RT; n += n < 4 ? 1 : 9) {
        for (int t = 0; t < n; t++) ids[t] = rand() % 90;
        TEST_OK(qu_embed_rows(m, NULL, ids, n, rows, err));
        ref_rows(g, ids, n, want);
        for (int t = 0; t < n; t++)
            for (int i = 0; i < RE; i++)
                worst = fmax(worst, fabs(want[t][i] - (double)rows[t * RE + i]));
    }
    print_message("plain forward pass: largest difference %.2g\n", worst);
    assert_true(worst < (test_prefill_is_rounded() ? .1 : 2e-5));
    FAILS(qu_embed_rows(m, NULL, ids, 0, rows, err), QU_ERR_ARG, "1 to 40");
    ids[0] = 100000;
    FAILS(qu_embed_rows(m, NULL, ids, 1, rows, err), QU_ERR_ARG, "not in the vocabulary");
    qu_gguf_close(g);
    qu_embed_close(m);
}

static void test_rows(void **state)
{
    test_each_prefill(test_rows_once, state);
}

/* --- refusals --- */

/* The model with one place of its bytes changed. */
static qu_status open_changed(const char *from, const char *to, qu_err *out)
{
    qu_buf b = {0};
    qu_embed *m = NULL;
    TEST_OK(qu_os_read(&b, MODEL, 1 << 20, err));
    char *at = memmem(b.data, b.len, from, strlen(from));
    if (!at) fail_msg("no '%s' in the model", from);
    memcpy(at, to, strlen(to));
    char path[] = "/tmp/unit_embed_XXXXXX";
    close(mkstemp(path));
    gb_save(&b, path);
    qu_status st = qu_embed_open(&m, path, out);
    qu_embed_close(m);
    unlink(path);
    return st;
}

static void test_refusals(void **state)
{
    (void)state;
    FAILS(open_changed("token_embd_norm.bias", "token_embd_norm.bios", err), QU_ERR_FORMAT,
               "lacks tensor 'token_embd_norm.bias'");
    FAILS(open_changed("blk.1.ffn_up.weight", "blk.9.ffn_up.weight", err), QU_ERR_FORMAT,
               "lacks tensor 'blk.1.ffn_up.weight'");
    FAILS(open_changed("bert.block_count", "bort.block_count", err), QU_ERR_NOTFOUND,
               "bert.block_count");
    qu_embed *m;
    FAILS(qu_embed_open(&m, "models/quire-reader.gguf", err), QU_ERR_UNSUPPORTED,
               "architecture is 'llama'");
    assert_null(m);
    FAILS(qu_embed_open(&m, "/nonexistent.gguf", err), QU_ERR_NOTFOUND, "nonexistent");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),  cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_vectors), cmocka_unit_test(test_rows),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
