/* decode/token.h: exact ids against recorded vectors, offsets, round trips, hostile vocabularies.
 */
#include <jansson.h>

#include "decode/token_int.h"
#include "tests/gguf_build.h"
#include "tests/testing.h"

static qu_err fault;

typedef struct model {
    qu_gguf *g;
    qu_tokenizer *t;
} model;

static model open_path(const char *path)
{
    model m;
    TEST_OK(qu_gguf_open(&m.g, path, err));
    TEST_OK(qu_tokenizer_create(&m.t, m.g, err));
    return m;
}

static model open_model(const char *name)
{
    char rel[256];
    snprintf(rel, sizeof rel, "tokenizers/%s", name);
    return open_path(test_needs(rel));
}

static void close_model(model m)
{
    qu_tokenizer_free(m.t);
    qu_gguf_close(m.g);
}

static qu_buf read_data(const char *name)
{
    qu_buf b = {0};
    TEST_OK(qu_os_read(&b, test_needs(name), 1 << 24, err));
    return b;
}

static qu_tokens tokenize(const qu_tokenizer *t, const char *text, size_t n, unsigned flags)
{
    qu_tokens v = {0};
    TEST_OK(qu_tokenize(t, &v, text, n, flags, err));
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
    TEST_OK(qu_buf_reserve(&out, 1, err));
    for (int64_t i = 0; i < v->n; i++)
        TEST_OK(qu_detok_add(&d, v->ids[i], &out, err));
    TEST_OK(qu_detok_end(&d, &out, err));
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

static int64_t count_of(const qu_tokens *v, int32_t id)
{
    int64_t n = 0;
    for (int64_t i = 0; i < v->n; i++) n += v->ids[i] == id;
    return n;
}

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

/* ---- Made vocabularies ---- */

typedef struct entry {
    const char *text;
    float score;
    int32_t type;
} entry;

static const char *tmp_path(void)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/quire_unit_token.%ld.gguf", (long)getpid());
    return path;
}

/* A file with that tokenizer; extra keys were appended to the end of extra, n_extra of them. */
static void make_file(const char *kind, const char *pre, const entry *v, uint32_t n,
                      const char *const *merges, uint32_t n_merges, const qu_buf *extra,
                      uint32_t n_extra)
{
    qu_buf b = {0};
    gb_head(&b, 3, 0, 4u + (pre != NULL) + (n_merges > 0) + n_extra);
    gb_str(&b, "tokenizer.ggml.model", kind);
    gb_array(&b, "tokenizer.ggml.tokens", GB_STR, n);
    for (uint32_t i = 0; i < n; i++) gb_text(&b, v[i].text);
    gb_array(&b, "tokenizer.ggml.scores", GB_F32, n);
    for (uint32_t i = 0; i < n; i++) gb_raw(&b, &v[i].score, 4);
    gb_array(&b, "tokenizer.ggml.token_type", GB_I32, n);
    for (uint32_t i = 0; i < n; i++) gb_raw(&b, &v[i].type, 4);
    if (pre) gb_str(&b, "tokenizer.ggml.pre", pre);
    if (n_merges) gb_array(&b, "tokenizer.ggml.merges", GB_STR, n_merges);
    for (uint32_t i = 0; i < n_merges; i++) gb_text(&b, merges[i]);
    if (extra && extra->len) gb_raw(&b, extra->data, extra->len);
    gb_save(&b, tmp_path());
}

static void expect(const qu_tokenizer *t, const char *text, unsigned flags, int n,
                   const int32_t *want, const int64_t *at)
{
    qu_tokens v = tokenize(t, text, strlen(text), flags);
    check_ids(&v, want, (size_t)n, text);
    for (int i = 0; i < n; i++) assert_int_equal(v.at[i], at[i]);
    qu_tokens_free(&v);
}

static void test_made_spm(void **state)
{
    (void)state;
    static const entry v[] = {
        {"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}, {"<0x41>", 0, 6}, {"▁", -5, 1},  {"a", -6, 1},
        {"b", -7, 1},    {"ab", -1, 1}, {"b▁", -0.5, 1}, {"▁a", -2, 1},   {"[X]", 0, 4}, {"[X]]", 0, 4},
        {"<|t|>", 0, 4}, {"c", -9, 1},  {"d", -9, 1},   {"cd", 1, 1},     {"dd", 2, 1}};
    enum { N = sizeof v / sizeof v[0] };
    qu_buf extra = {0};
    gb_num(&extra, "tokenizer.ggml.bos_token_id", 1);
    gb_num(&extra, "tokenizer.ggml.unknown_token_id", 0);
    make_file("llama", NULL, v, N, NULL, 0, &extra, 2);
    model m = open_path(tmp_path());
    assert_false(m.t->cut_words); /* "b_" reaches over a space */
    expect(m.t, "ab ab", 0, 3, (int32_t[]){9, 8, 7}, (int64_t[]){0, 1, 3});
    expect(m.t, "ab", QU_TOK_CONTINUE, 1, (int32_t[]){7}, (int64_t[]){0});
    expect(m.t, "cdd", QU_TOK_CONTINUE, 2, (int32_t[]){13, 16}, (int64_t[]){0, 1}); /* 2 beats 1 */
    expect(m.t, "xéA", 0, 4, (int32_t[]){4, 0, 0, 3}, (int64_t[]){0, 0, 1, 3});
    expect(m.t, "a▁ba", 0, 4, (int32_t[]){9, 4, 6, 5}, (int64_t[]){0, 1, 4, 5});
    /* The longest user-defined token, in the midst of a word and without a space behind it. */
    expect(m.t, "a[X]]ab", 0, 3, (int32_t[]){9, 11, 7}, (int64_t[]){0, 1, 5});
    expect(m.t, "a[X]ab", 0, 3, (int32_t[]){9, 10, 7}, (int64_t[]){0, 1, 4});
    /* A user-defined token written like a control token is one; behind it a text begins. */
    assert_true(qu_tokenizer_is_control(m.t, 12));
    expect(m.t, "<|t|>ab", QU_TOK_SPECIAL | QU_TOK_BOS, 4, (int32_t[]){1, 12, 4, 7},
           (int64_t[]){0, 0, 5, 5});
    qu_tokens v1 = tokenize(m.t, "<|t|>", 5, 0);
    assert_int_equal(count_of(&v1, 12), 0);
    qu_tokens_free(&v1);
    expect(m.t, "", QU_TOK_BOS, 1, (int32_t[]){1}, (int64_t[]){0});
    qu_tokens two = tokenize(m.t, " ab", 3, 0);
    qu_buf text = detokenize(m.t, &two, 0), kept = detokenize(m.t, &two, QU_TOK_CONTINUE);
    assert_string_equal(text.data, " ab");
    assert_string_equal(kept.data, "  ab");
    qu_buf_free(&text);
    qu_buf_free(&kept);
    qu_tokens_free(&two);
    close_model(m);

    gb_bool(&extra, "tokenizer.ggml.add_space_prefix", false);
    gb_bool(&extra, "tokenizer.ggml.add_bos_token", false);
    make_file("llama", NULL, v, N, NULL, 0, &extra, 4);
    m = open_path(tmp_path());
    expect(m.t, "ab", QU_TOK_BOS, 1, (int32_t[]){7}, (int64_t[]){0});
    close_model(m);
    unlink(tmp_path());
    qu_buf_free(&extra);
}

static void test_made_bpe(void **state)
{
    (void)state;
    /* "Ġ" spells the space. Token 8 has a character that spells no byte: it stands for itself. */
    static const entry v[] = {
        {"a", 0, 1},   {"b", 0, 1},  {"c", 0, 1},   {"Ġ", 0, 1},  {"ab", 0, 1}, {"Ġa", 0, 1},
        {"abc", 0, 1}, {"bc", 0, 1}, {"a b", 0, 1}, {"ab", 0, 4}, {"<|im_end|>", 0, 1}};
    static const char *const merges[] = {"b c", "a b", "Ġ a", "ab c", "x y", "", "a", " a", "a ", "c 漢"};
    make_file("gpt2", "gpt-2", v, 11, merges, 10, NULL, 0);
    model m = open_path(tmp_path());
    /* Token 9, user-defined, has the bytes of token 4 and goes before it. */
    expect(m.t, "ab c", 0, 3, (int32_t[]){9, 3, 2}, (int64_t[]){0, 2, 3});
    expect(m.t, "bc aca", 0, 4, (int32_t[]){7, 5, 2, 0}, (int64_t[]){0, 2, 4, 5});
    expect(m.t, "aXc\xFF", 0, 2, (int32_t[]){0, 2}, (int64_t[]){0, 2}); /* no such bytes: dropped */
    char repeated[2000];
    for (int i = 0; i < 2000; i++) repeated[i] = "aXc "[i % 4];
    /* long enough for the cache: offsets stay right */
    qu_tokens v1 = tokenize(m.t, repeated, 2000, 0);
    for (int64_t i = 0; i < v1.n; i++)
        assert_int_equal(v1.at[i] % 4, v1.ids[i] == 2 ? 2 : v1.ids[i] == 0 ? 0 : 3);
    qu_tokens_free(&v1);
    assert_true(qu_tokenizer_is_end(m.t, 10) && qu_tokenizer_is_control(m.t, 10));
    assert_int_equal(qu_tokenizer_eot(m.t), 10);
    assert_int_equal(qu_tokenizer_bos(m.t), -1);
    close_model(m);

    make_file("gpt2", "llama-bpe", v, 9, merges, 10, NULL, 0);
    m = open_path(tmp_path());
    expect(m.t, "abc", 0, 1, (int32_t[]){6}, (int64_t[]){0}); /* by merges alone it were a, bc */
    close_model(m);
    make_file("gpt2", "smollm", v, 9, merges, 10, NULL, 0);
    m = open_path(tmp_path());
    expect(m.t, "abc", 0, 2, (int32_t[]){0, 7}, (int64_t[]){0, 1});
    close_model(m);
    unlink(tmp_path());
}

/* Whatever changes ids changes the identity. */
static void test_hash(void **state)
{
    (void)state;
    qu_hash h[8];
    for (int i = 0; i < 8; i++) {
        entry v[] = {{"a", -1, 1}, {"b", -2, 1}, {"ab", -3, 1}};
        const char *merges[] = {"a b"};
        qu_buf extra = {0};
        if (i == 1) v[1].text = "c";
        if (i == 2) v[2].type = 4;
        if (i == 3) gb_num(&extra, "tokenizer.ggml.bos_token_id", 1);
        if (i == 5) v[1].score = -2.5f;
        if (i == 6) merges[0] = "b a";
        make_file(i == 5 || i == 7 ? "llama" : "gpt2", i == 4 ? "smollm" : "gpt-2", v, 3, merges, 1,
                  &extra, extra.len > 0);
        qu_buf_free(&extra);
        model m = open_path(tmp_path());
        h[i] = qu_tokenizer_hash(m.t);
        for (int k = 0; k < i; k++) assert_false(qu_hash_equal(h[k], h[i]));
        close_model(m);
        unlink(tmp_path());
    }
}

/* Pieces joined with bars. */
static qu_status add_piece(void *ctx, const char *p, size_t n)
{
    qu_buf *all = ctx;
    if (all->len) gb_raw(all, "|", 1);
    gb_raw(all, p, n);
    return QU_OK;
}

static void test_split(void **state)
{
    (void)state;
    static const struct {
        const char *pre, *text, *want;
    } rows[] = {
        {"gpt-2", "I've  2020 x\n\n y!?", "I|'ve| | 2020| x|\n\n| y|!?"},
        {"gpt-2", "a\343\200\200\343\200\200b", "a|\343\200\200|\343\200\200|b"}, /* U+3000 */
        {"gpt-2", "été\377\342\202b ½", "été|\377|\342|\202|b| ½"},
        {"smollm", "ab 123", "ab| |1|2|3"},
        {"llama-bpe", "ab 12345'RE\n\n  x", "ab| |123|45|'RE|\n\n| | x"},
        {"qwen2", "ab 12!\r\n\n.x", "ab| |1|2|!\r\n\n|.x"},
        {"default", "a1234!b<c", "a|123|4|!|b|<|c"},
        {"tekken", "HelloWorld fooBAR x1/\n", "Hello|World| foo|BAR| x|1|/\n"},
        {"mpt", "I'll  pay 2020\n", "I|'ll| | pay| 2020|\n"},
        {"starcoder", "v2 =  10;", "v|2| =|  |1|0|;"},
        {"refact", "v2 =  10;", "v|2| =|  |1|0|;"},
        {"command-r", "v2 =  10;", "v|2| =|  |1|0|;"},
        {"falcon", "a`b 12345 c!=d", "a|`|b| |123|45| c|!=|d"},
        {"deepseek-coder", "if x1>=22:\r\n\t y", "if| x|1|>=|2|2|:|\r|\n|\t| y"},
        {"deepseek-llm", "go! 123 x\n  \n\xE4\xB8\x80\xD5\xA2",
         "go|!| |123| x|\n|  |\n|\xE4\xB8\x80|\xD5\xA2"},
        {"deepseek-llm", "\xD5\xA2\xCE\xA9 \xCE\xA9  ", "\xD5\xA2|\xCE\xA9| \xCE\xA9|  "}, /* no U+0562 */
        {"qwen2", "!\xE1\xA0\x8E!", "!\xE1\xA0\x8E!"}, /* U+180E is no white space */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static const entry v[] = {{"a", 0, 1}};
        static const char *const merges[] = {"a a"};
        make_file("gpt2", rows[i].pre, v, 1, merges, 1, NULL, 0);
        model m = open_path(tmp_path());
        qu_buf all = {0};
        pcre2_match_data *match = pcre2_match_data_create(1, NULL);
        TEST_OK(qu_token_split(m.t, match, rows[i].text, strlen(rows[i].text), add_piece, &all, err));
        assert_string_equal(all.data, rows[i].want);
        pcre2_match_data_free(match);
        qu_buf_free(&all);
        close_model(m);
        unlink(tmp_path());
    }
}

static qu_status count_piece(void *ctx, const char *p, size_t n)
{
    (void)p;
    *(size_t *)ctx += n;
    return QU_OK;
}

/* Every pattern in linear time: long runs that end in what the rule does not expect. */
static void test_split_is_linear(void **state)
{
    (void)state;
    static const char *const pres[] = {"gpt-2", "default", "llama-bpe", "qwen2", "tekken",
                                       "smollm", "falcon", "deepseek-coder", "deepseek-llm"};
    static const char *const units[] = {" ", "\n", "a", "A", "1", "!", "\xE4\xB8\x80", " \t"};
    static const entry v[] = {{"a", 0, 1}};
    static const char *const merges[] = {"a a"};
    size_t n = 1 << 19;
    char *text = malloc(n + 3);
    for (size_t k = 0; k < sizeof pres / sizeof *pres; k++) {
        make_file("gpt2", pres[k], v, 1, merges, 1, NULL, 0);
        model m = open_path(tmp_path());
        pcre2_match_data *match = pcre2_match_data_create(1, NULL);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            size_t len = strlen(units[u]), whole = n / len * len, total = 0;
            for (size_t i = 0; i < whole; i++) text[i] = units[u][i % len];
            memcpy(text + whole, "\xE4\xB8\x80", 3);
            double start = qu_os_now_ms();
            TEST_OK(qu_token_split(m.t, match, text, whole + 3, count_piece, &total, err));
            assert_int_equal(total, whole + 3);
            if (qu_os_now_ms() - start > 4000) fail_msg("%s is slow on '%s'", pres[k], units[u]);
        }
        pcre2_match_data_free(match);
        close_model(m);
        unlink(tmp_path());
    }
    free(text);
}

static void expect_error(qu_status want, const char *word)
{
    qu_gguf *g;
    qu_tokenizer *t;
    TEST_OK(qu_gguf_open(&g, tmp_path(), err));
    assert_int_equal(qu_tokenizer_create(&t, g, &fault), want);
    assert_null(t);
    assert_int_equal(fault.status, want);
    if (!strstr(fault.msg, word) || !strstr(fault.msg, tmp_path()))
        fail_msg("'%s' lacks '%s'", fault.msg, word);
    qu_gguf_close(g);
    unlink(tmp_path());
}

static void test_errors(void **state)
{
    (void)state;
    static const entry v[] = {{"a", 0, 1}, {"b", 0, 1}};
    static const char *const merges[] = {"a b"};
    qu_buf b = {0};
    gb_head(&b, 3, 0, 1);
    gb_str(&b, "general.architecture", "llama");
    gb_save(&b, tmp_path());
    expect_error(QU_ERR_FORMAT, "no tokenizer");
    make_file("gpt2", "of-tomorrow", v, 2, merges, 1, NULL, 0);
    expect_error(QU_ERR_UNSUPPORTED, "of-tomorrow");
    make_file("bert", NULL, v, 2, merges, 1, NULL, 0);
    expect_error(QU_ERR_UNSUPPORTED, "bert");
    make_file("gpt2", "gpt-2", v, 2, NULL, 0, NULL, 0);
    expect_error(QU_ERR_NOTFOUND, "merges");
    make_file("llama", NULL, v, 0, NULL, 0, NULL, 0);
    expect_error(QU_ERR_FORMAT, "0 tokens");
    const struct {
        const char *key;
        uint32_t v;
    } roles[] = {{"tokenizer.ggml.bos_token_id", 2},
                 {"tokenizer.ggml.eos_token_id", 0xFFFFFFF0},
                 {"tokenizer.ggml.eot_token_id", 77},
                 {"tokenizer.ggml.unknown_token_id", 1 << 30}};
    for (int i = 0; i < 4; i++) {
        qu_buf extra = {0};
        gb_num(&extra, roles[i].key, roles[i].v);
        make_file("llama", NULL, v, 2, NULL, 0, &extra, 1);
        expect_error(QU_ERR_FORMAT, roles[i].key);
        qu_buf_free(&extra);
    }
    gb_head(&b, 3, 0, 3);
    gb_str(&b, "tokenizer.ggml.model", "llama");
    gb_array(&b, "tokenizer.ggml.tokens", GB_STR, 1);
    gb_text(&b, "a");
    gb_array(&b, "tokenizer.ggml.scores", GB_F32, 2);
    gb_u64(&b, 0);
    gb_save(&b, tmp_path());
    expect_error(QU_ERR_FORMAT, "scores");
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
        cmocka_unit_test(test_pairs),        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_any_bytes),    cmocka_unit_test(test_naive_merge),
        cmocka_unit_test(test_long_lines),   cmocka_unit_test(test_special),
        cmocka_unit_test(test_roles),        cmocka_unit_test(test_made_spm),
        cmocka_unit_test(test_made_bpe),     cmocka_unit_test(test_errors),
        cmocka_unit_test(test_detok_stream), cmocka_unit_test(test_hash),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_split_is_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
