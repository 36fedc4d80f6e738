/* decode/token.h over recorded vocabularies: exact ids against recorded vectors, offsets, round
 * trips of any bytes, special tokens, the detokenizer as a stream.
 */
#include <jansson.h>

#include "tests/gguf_build.h"
#include "tests/token_testing.h"

/* ---- Recorded vectors ---- */

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
    for (char *p = in.data, *next; (next = strstr(p, sep)) != NULL;
         p = next + strlen(sep), n_rows++) {
        int32_t want[4096];
        size_t n = 0;
        for (; *ids && *ids != '\n'; ids += strspn(ids, " "))
            want[n++] = (int32_t)strtol(ids, &ids, 10);
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
    static const char *const own[] = {"llama-spm", "phi-3", "gpt-2", "falcon", "deepseek-coder"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        char name[64];
        snprintf(name, sizeof name, "ggml-vocab-%s.gguf", own[i]);
        assert_int_equal(check_pairs(name, own[i]), 46);
    }
    assert_int_equal(check_pairs("vocab-llama3-rebuilt.gguf", "llama-bpe"), 46);
    assert_int_equal(check_pairs("vocab-qwen2-rebuilt.gguf", "qwen2"), 46);
}

static void check_rows(const char *model_name, const char *rows, int least)
{
    qu_buf in = read_data(rows);
    model m = open_model(model_name);
    int n_rows = 0;
    for (char *p = in.data, *end; (end = strchr(p, '\n')) != NULL; p = end + 1, n_rows++) {
        json_error_t e;
        json_t *row = json_loadb(p, (size_t)(end - p), 0, &e);
        json_t *ids = json_object_get(row, "ids"), *text = json_object_get(row, "text");
        size_t n = json_array_size(ids);
        assert_non_null(text);
        int32_t *want = malloc((n + 1) * sizeof *want);
        for (size_t i = 0; i < n; i++)
            want[i] = (int32_t)json_integer_value(json_array_get(ids, i));
        qu_tokens v = tokenize(m.t, json_string_value(text), json_string_length(text), 0);
        check_ids(&v, want, n, rows);
        check_offsets(m.t, json_string_value(text), json_string_length(text), &v);
        round_trip(m.t, json_string_value(text), json_string_length(text));
        qu_tokens_free(&v);
        free(want);
        json_decref(row);
    }
    assert_true(n_rows >= least);
    qu_buf_free(&in);
    close_model(m);
}

static void test_rows(void **state)
{
    (void)state;
    check_rows("ggml-vocab-llama-spm.gguf", "tokenizers/llama-spm.jsonl", 30);
    check_rows("vocab-llama3-rebuilt.gguf", "tokenizers/llama3.jsonl", 30);
    check_rows("vocab-qwen2-rebuilt.gguf", "tokenizers/qwen2.jsonl", 30);
}

/* ---- Any bytes ---- */

static uint64_t seed;

static uint32_t rnd(uint32_t below) { return (uint32_t)(test_random(&seed) % below); }

/* Naughty strings, random bytes, and random text of few letters, which makes many rival pairs. */
static void any_bytes(const qu_tokenizer *t)
{
    json_error_t e;
    json_t *all = json_load_file(test_needs("naughty-strings/blns.json"), JSON_ALLOW_NUL, &e);
    assert_non_null(all);
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *s = json_array_get(all, i);
        round_trip(t, json_string_value(s), json_string_length(s));
    }
    json_decref(all);
    static const char *const bits[] = {
        "a",        "an", " ",  "the",      "\n",  "\xC3", "\xA9", "\xE2\x96\x81", "\xF0\x9F",
        "\x98\x80", "1",  "'s", "\xC2\xA0", "<s>", "\r",   "\xFF", "\0x",          "ing"};
    char text[4096];
    seed = 11;
    for (int round = 0; round < 400; round++) {
        size_t n = 0, want = rnd(round % 10 ? 60 : 4000);
        while (n < want)
            if (round % 2) {
                text[n++] = (char)rnd(256);
            } else {
                const char *b = bits[rnd(sizeof bits / sizeof bits[0])];
                size_t len = *b ? strlen(b) : 2;
                memcpy(text + n, b, len);
                n += len;
            }
        round_trip(t, text, n);
    }
}

static void test_any_bytes(void **state)
{
    (void)state;
    const char *const names[] = {"ggml-vocab-gpt-2.gguf", "ggml-vocab-llama-spm.gguf",
                                 "vocab-llama3-rebuilt.gguf", "vocab-qwen2-rebuilt.gguf"};
    for (int i = 0; i < 4; i++) {
        model m = open_model(names[i]);
        any_bytes(m.t);
        close_model(m);
    }
}

/* The merging rule, written down plainly: best pair of the whole row, leftmost among equals, again
 * and again. Prio of a pair: larger is better; -INF when it makes no token. */
static double naive_prio(const qu_tokenizer *t, const char *p, const int *cut, const int32_t *id,
                         int i, int32_t *whole)
{
    *whole = qu_token_lookup(t, p + cut[i], (size_t)(cut[i + 2] - cut[i]), true);
    if (*whole < 0) return -1e300;
    if (t->spm) return t->scores[*whole];
    for (uint32_t k = 0; k <= t->merge_mask; k++) /* every slot: no hashing to be wrong about */
        if (t->merges[k].left == id[i] && t->merges[k].right == id[i + 1] && t->merges[k].id >= 0)
            return -t->merges[k].rank;
    return -1e300;
}

static int naive(const qu_tokenizer *t, const char *p, int n, int32_t *id)
{
    int cut[64], count = n;
    for (int i = 0; i < n; i++) {
        cut[i] = i;
        id[i] = qu_token_lookup(t, p + i, 1, true);
    }
    cut[n] = n;
    for (;;) {
        int best = -1;
        double top = -1e300;
        int32_t best_id = -1, whole;
        for (int i = 0; i + 1 < count; i++) {
            double prio = naive_prio(t, p, cut, id, i, &whole);
            if (prio > top) {
                top = prio;
                best = i;
                best_id = whole;
            }
        }
        if (best < 0) return count;
        id[best] = best_id;
        memmove(cut + best + 1, cut + best + 2, (size_t)(count - best - 1) * sizeof *cut);
        memmove(id + best + 1, id + best + 2, (size_t)(count - best - 2) * sizeof *id);
        count--;
    }
}

static void test_naive_merge(void **state)
{
    (void)state;
    const char *const names[] = {"ggml-vocab-llama-spm.gguf", "ggml-vocab-gpt-2.gguf"};
    seed = 3;
    for (int k = 0; k < 2; k++) {
        model m = open_model(names[k]);
        for (int round = 0; round < (k ? 4 : 400); round++) {
            char text[48];
            int32_t want[64];
            int n = 2 + (int)rnd(k ? 12 : 44);
            for (int i = 0; i < n; i++) text[i] = "aeinrst"[rnd(7)];
            int count = naive(m.t, text, n, want);
            qu_tokens v = tokenize(m.t, text, (size_t)n, QU_TOK_CONTINUE);
            check_ids(&v, want, (size_t)count, names[k]);
            qu_tokens_free(&v);
        }
        close_model(m);
    }
}

/* Long unbroken runs in n log n; the limit is generous for sanitizers. */
static void test_long_lines(void **state)
{
    (void)state;
    const char *const names[] = {"ggml-vocab-llama-spm.gguf", "ggml-vocab-gpt-2.gguf",
                                 "vocab-llama3-rebuilt.gguf"};
    const char *const units[] = {"a", " ", "\xE6\xBC\xA2", "<", "\xFF"};
    size_t n = 1 << 20;
    char *text = malloc(n);
    for (int k = 0; k < 3; k++) {
        model m = open_model(names[k]);
        for (int u = 0; u < (k < 2 ? 5 : 2); u++) {
            size_t len = strlen(units[u]);
            for (size_t i = 0; i < n; i++) text[i] = units[u][i % len];
            double start = qu_os_now_ms();
            qu_tokens v = tokenize(m.t, text, n, QU_TOK_SPECIAL);
            double ms = qu_os_now_ms() - start;
            if (ms > 1000) print_message("%s: 1 MB of '%s' took %.0f ms\n", names[k], units[u], ms);
            assert_true(ms < 8000);
            qu_tokens_free(&v);
        }
        close_model(m);
    }
    free(text);
}

/* ---- Special tokens and roles ---- */

static void check_special(const qu_tokenizer *t, const char *name)
{
    char text[256];
    const char *p;
    size_t len;
    int32_t id = qu_tokenizer_find(t, name);
    int n = snprintf(text, sizeof text, "a%s b %s%s", name, name, name);
    assert_true(id >= 0 && qu_tokenizer_is_control(t, id));
    qu_token_text(t, id, 0, &p, &len);
    assert_int_equal(len, 0);
    qu_token_text(t, id, QU_TOK_SPECIAL, &p, &len);
    assert_int_equal(len, strlen(name));
    assert_memory_equal(p, name, len);

    qu_tokens v = tokenize(t, text, (size_t)n, 0);
    assert_int_equal(count_of(&v, id), 0);
    qu_buf back = detokenize(t, &v, 0);
    assert_string_equal(back.data, text);
    qu_buf_free(&back);
    qu_tokens_free(&v);

    v = tokenize(t, text, (size_t)n, QU_TOK_SPECIAL);
    assert_int_equal(count_of(&v, id), 3);
    assert_int_equal(v.ids[v.n - 1], id);
    assert_int_equal(v.ids[v.n - 2], id);
    assert_int_equal(v.at[v.n - 1], n - (int)strlen(name));
    assert_int_equal(v.at[v.n - 2], n - 2 * (int)strlen(name));
    assert_int_equal(v.at[1], 1);
    qu_tokens_free(&v);
}

static void test_special(void **state)
{
    (void)state;
    const struct {
        const char *file, *names[3];
    } rows[] = {
        {"ggml-vocab-llama-spm.gguf", {"<s>", "</s>", "<unk>"}},
        {"ggml-vocab-phi-3.gguf", {"</s>", "<|user|>", "<|end|>"}},
        {"ggml-vocab-gpt-2.gguf", {"<|endoftext|>", "<|endoftext|>", "<|endoftext|>"}},
        {"vocab-llama3-rebuilt.gguf", {"<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>"}},
        {"vocab-qwen2-rebuilt.gguf", {"<|im_start|>", "<|im_end|>", "<|endoftext|>"}}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        model m = open_model(rows[i].file);
        for (int k = 0; k < 3; k++) check_special(m.t, rows[i].names[k]);
        close_model(m);
    }
}

static void test_roles(void **state)
{
    (void)state;
    const struct {
        const char *file;
        int32_t bos, eos, eot;
        bool adds;
        const char *end;
    } rows[] = {{"ggml-vocab-llama-spm.gguf", 1, 2, -1, true, "</s>"},
                {"ggml-vocab-phi-3.gguf", 1, 32000, 32007, true, "<|end|>"},
                {"ggml-vocab-gpt-2.gguf", 50256, 50256, -1, false, "<|endoftext|>"},
                {"vocab-llama3-rebuilt.gguf", 128000, 128001, 128009, true, "<|eom_id|>"},
                {"vocab-qwen2-rebuilt.gguf", 151643, 151643, 151645, false, "<|im_end|>"}};
    qu_hash seen[5];
    for (int i = 0; i < 5; i++) {
        model m = open_model(rows[i].file);
        assert_int_equal(qu_tokenizer_bos(m.t), rows[i].bos);
        assert_int_equal(qu_tokenizer_eos(m.t), rows[i].eos);
        assert_int_equal(qu_tokenizer_eot(m.t), rows[i].eot);
        assert_int_equal(qu_tokenizer_adds_bos(m.t), rows[i].adds);
        assert_true(qu_tokenizer_is_end(m.t, rows[i].eos));
        assert_true(qu_tokenizer_is_end(m.t, qu_tokenizer_find(m.t, rows[i].end)));
        assert_false(qu_tokenizer_is_end(m.t, qu_tokenizer_find(m.t, "the")));
        assert_false(qu_tokenizer_is_end(m.t, -1));
        assert_false(qu_tokenizer_is_end(m.t, qu_tokenizer_n_vocab(m.t)));
        assert_int_equal(qu_tokenizer_find(m.t, "<|no such token|>"), -1);
        qu_tokens v = tokenize(m.t, "a", 1, QU_TOK_BOS);
        assert_int_equal(v.n, rows[i].adds ? 2 : 1);
        if (rows[i].adds) assert_int_equal(v.ids[0], rows[i].bos);
        assert_int_equal(v.at[0], 0);
        TEST_OK(qu_tokenize(m.t, &v, "b", 1, 0, err)); /* appends */
        assert_int_equal(v.n, rows[i].adds ? 3 : 2);
        int64_t n = v.n;
        assert_int_equal(qu_tokenize(m.t, &v, "b", (size_t)QU_TOK_MAX_BYTES + 1, 0, &fault),
                         QU_ERR_LIMIT);
        assert_int_equal(v.n, n);
        qu_tokens_free(&v);
        const char *p;
        size_t len;
        qu_token_text(m.t, qu_tokenizer_n_vocab(m.t), QU_TOK_SPECIAL, &p, &len);
        assert_int_equal(len, 0);
        seen[i] = qu_tokenizer_hash(m.t);
        qu_tokenizer *again;
        TEST_OK(qu_tokenizer_create(&again, m.g, err));
        assert_true(qu_hash_equal(qu_tokenizer_hash(again), seen[i]));
        for (int k = 0; k < i; k++) assert_false(qu_hash_equal(seen[k], seen[i]));
        qu_tokenizer_free(again);
        close_model(m);
    }
}

/* ---- Detokenizer ---- */

static void test_detok_stream(void **state)
{
    (void)state;
    model m = open_model("ggml-vocab-gpt-2.gguf");
    static const char text[] = "a\xF0\x9F\x98\x80 \xC3\xA9\xE6\xBC\xA2\xE1\x8F\x8C!";
    qu_tokens v = tokenize(m.t, text, strlen(text), 0);
    assert_true(v.n > 8); /* several characters are split over tokens */
    qu_buf out = {0};
    qu_detok d;
    qu_detok_init(&d, m.t, 0);
    for (int64_t i = 0; i < v.n; i++) {
        TEST_OK(qu_detok_add(&d, v.ids[i], &out, err));
        for (size_t k = 0; k < out.len;) {
            size_t len = qu_utf8_len(out.data + k, out.len - k);
            assert_true(len > 0);
            k += len;
        }
    }
    TEST_OK(qu_detok_end(&d, &out, err));
    assert_string_equal(out.data, text);
    qu_tokens_free(&v);
    out.len = 0;
    TEST_OK(qu_detok_add(&d, m.t->byte_id[0xC3], &out, err));
    assert_int_equal(out.len, 0);
    for (int i = 0; i < 2; i++) TEST_OK(qu_detok_end(&d, &out, err));
    assert_string_equal(out.data, "\xEF\xBF\xBD");

    const struct {
        const char *bytes, *want; /* R stands for U+FFFD */
    } rows[] = {{"\xFF", "R"},
                {"\360\237A", "RA"},
                {"\xC0\x80", "RR"},
                {"\xE0\x80", "RR"},
                {"\xED\xA0\x80", "RRR"},
                {"\xE2\x96", "R"},
                {"\xC3\xC3\xA9", "R\xC3\xA9"},
                {"\xF4\x90", "RR"},
                {"a\200b", "aRb"},
                {"\xF0\x9F\x98\xF0\x9F\x98\x80", "R\xF0\x9F\x98\x80"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        qu_buf want = {0};
        for (const char *p = rows[i].want; *p; p++)
            gb_raw(&want, *p == 'R' ? "\xEF\xBF\xBD" : p, *p == 'R' ? 3 : 1);
        v = tokenize(m.t, rows[i].bytes, strlen(rows[i].bytes), 0);
        qu_buf got = detokenize(m.t, &v, 0);
        assert_string_equal(got.data, want.data);
        qu_buf_free(&got);
        qu_buf_free(&want);
        qu_tokens_free(&v);
    }
    qu_buf_free(&out);
    close_model(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),      cmocka_unit_test(test_rows),
        cmocka_unit_test(test_any_bytes),  cmocka_unit_test(test_naive_merge),
        cmocka_unit_test(test_long_lines), cmocka_unit_test(test_special),
        cmocka_unit_test(test_roles),      cmocka_unit_test(test_detok_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
