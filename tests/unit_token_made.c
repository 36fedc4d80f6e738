/* decode/token.h over vocabularies made here: the rules of both kinds, what an identity covers,
 * where each pre-tokenizer cuts, in linear time, and what is refused.
 */
#include "tests/gguf_build.h"
#include "tests/token_testing.h"

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
    static const entry v[] = {{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}, {"<0x41>", 0, 6},
                              {"▁", -5, 1},    {"a", -6, 1},  {"b", -7, 1},   {"ab", -1, 1},
                              {"b▁", -0.5, 1}, {"▁a", -2, 1}, {"[X]", 0, 4},  {"[X]]", 0, 4},
                              {"<|t|>", 0, 4}, {"c", -9, 1},  {"d", -9, 1},   {"cd", 1, 1},
                              {"dd", 2, 1}};
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
    static const char *const merges[] = {"b c", "a b", "Ġ a", "ab c", "x y",
                                         "",    "a",   " a",  "a ",   "c 漢"};
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
        {"deepseek-llm", "\xD5\xA2\xCE\xA9 \xCE\xA9  ",
         "\xD5\xA2|\xCE\xA9| \xCE\xA9|  "}, /* no U+0562 */
        {"qwen2", "!\xE1\xA0\x8E!", "!\xE1\xA0\x8E!"}, /* U+180E is no white space */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static const entry v[] = {{"a", 0, 1}};
        static const char *const merges[] = {"a a"};
        make_file("gpt2", rows[i].pre, v, 1, merges, 1, NULL, 0);
        model m = open_path(tmp_path());
        qu_buf all = {0};
        pcre2_match_data *match = pcre2_match_data_create(1, NULL);
        TEST_OK(
            qu_token_split(m.t, match, rows[i].text, strlen(rows[i].text), add_piece, &all, err));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_spm), cmocka_unit_test(test_made_bpe),
        cmocka_unit_test(test_errors),   cmocka_unit_test(test_hash),
        cmocka_unit_test(test_split),    cmocka_unit_test(test_split_is_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
