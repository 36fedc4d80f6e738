/* decode/quote.h and ask --quote: whatever the model wants, spans of the pages come out. */
#include "tests/pipeline_testing.h"

#include <ctype.h>

#include "decode/quote.h"

static const char text[] = "The ferry to Norrholm leaves at 07:15. A ticket costs 45 crowns; "
                           "children's are half price.\n\n"
                           "Größere Hunde zahlen \xe2\x82\xac 3, kleine reisen umsonst. "
                           "\xe6\x9d\xb1\xe4\xba\xac\xe3\x81\xaf"
                           "\xe5\xa4\xa7\xe3\x81\x8d\xe3\x81\x84\xe3\x80\x82 Cafe\xcc\x81 "
                           "\xf0\x9f\x90\x9f \xe2\x9d\xa4\xef\xb8\x8f (open).\n- \"Mind "
                           "the gap\", it says.\n";

typedef struct pages {
    qu_tokens ids;
    int32_t n, end[64];
    int64_t from[64], to[64]; /* bytes */
} pages;

static void cut(pages *p, const qu_tokenizer *t, uint64_t *seed)
{
    memset(p, 0, sizeof *p);
    TEST_OK(qu_tokenize(t, &p->ids, text, strlen(text), QU_TOK_CONTINUE, err));
    for (int64_t at = 0; at < p->ids.n; p->n++) {
        p->from[p->n] = p->ids.at[at];
        at += 5 + (int64_t)(test_random(seed) % 40);
        while (at < p->ids.n && (text[p->ids.at[at]] & 0xC0) == 0x80) at++;
        if (at > p->ids.n) at = p->ids.n;
        p->end[p->n] = (int32_t)at;
        p->to[p->n] = at < p->ids.n ? p->ids.at[at] : (int64_t)strlen(text);
    }
}

static qu_quote *make(const pages *p, const qu_tokenizer *t)
{
    qu_quote *q;
    TEST_OK(qu_quote_create(&q, t, err));
    for (int32_t i = 0; i < p->n; i++) {
        int32_t first = i ? p->end[i - 1] : 0;
        TEST_OK(qu_quote_add(q, p->ids.ids + first, p->end[i] - first, text + p->from[i],
                             (size_t)(p->to[i] - p->from[i]), err));
    }
    return q;
}

static void check_span(const pages *p, const qu_quote_span *s)
{
    assert_in_range(s->page, 0, p->n - 1);
    int64_t from = p->from[s->page], to = p->to[s->page], a = from + s->start, b = from + s->end;
    assert_true(s->start >= 0 && s->start < s->end && b <= to);
    assert_true(!isspace((unsigned char)text[a]) && !isspace((unsigned char)text[b - 1]));
    assert_true((text[a] & 0xC0) != 0x80 && (b == to || (text[b] & 0xC0) != 0x80));
    bool inside =
        a > from && isalnum((unsigned char)text[a - 1]) && isalnum((unsigned char)text[a]);
    bool cut_off = b < to && isalnum((unsigned char)text[b - 1]) && isalnum((unsigned char)text[b]);
    assert_true(!inside && !cut_off);
    assert_true(b == to || (unsigned char)text[b] != 0xcc); /* no accent left behind, */
    assert_true(b == to || (unsigned char)text[b] != 0xef); /* no variation of a symbol */
    assert_true(!strchr(":;,.)-", text[a]));
}

/* Any walk through what is allowed gives spans; a walk along a page gives just that text. */
static void walk(const qu_tokenizer *t)
{
    uint64_t seed = 2;
    bool several = false, lengthy = false;
    for (int round = 0; round < 500; round++) {
        pages p;
        cut(&p, t, &seed);
        qu_quote *q = make(&p, t);
        qu_quote_span spans[QU_QUOTE_SPANS];
        int most = 1 + (int)(test_random(&seed) % 60);
        bool ended = false;
        for (int i = 0; i < most && !ended; i++) {
            const int32_t *ids;
            int32_t next[9], n = qu_quote_allowed(q, &ids), k = qu_quote_follow(q, next, 9);
            assert_true(n > 0);
            for (int32_t j = 1; j < n; j++) assert_true(ids[j] > ids[j - 1]);
            int32_t id =
                k && test_random(&seed) % 8 ? next[0] : ids[test_random(&seed) % (uint64_t)n];
            bool known = false;
            for (int32_t j = 0; j < n; j++) known = known || ids[j] == id;
            assert_true(known);
            ended = qu_quote_take(q, id);
        }
        int32_t n = qu_quote_spans(q, spans);
        assert_in_range(n, 0, QU_QUOTE_SPANS);
        several = several || n > 1;
        for (int32_t i = 0; i < n; i++) check_span(&p, &spans[i]);
        for (int32_t i = 0; i < n; i++) lengthy = lengthy || spans[i].end - spans[i].start > 20;
        qu_quote_free(q);
        qu_tokens_free(&p.ids);
    }
    assert_true(several && lengthy);
}

static void every_walk_gives_spans(void **state)
{
    (void)state;
    static const char *const models[] = {"models/quire-reader.gguf", NULL};
    for (int i = 0; i < 2; i++) {
        qu_model *m;
        qu_tokenizer *t;
        TEST_OK(qu_model_open(&m, models[i] ? models[i] : px_path("copy.gguf"), err));
        TEST_OK(qu_tokenizer_create(&t, m->gguf, err));
        walk(t);
        qu_tokenizer_free(t);
        qu_model_close(m);
    }
}

static void an_end_token_at_once_quotes_nothing(void **state)
{
    (void)state;
    qu_model *m;
    qu_tokenizer *t;
    qu_quote *q;
    const int32_t *ids;
    qu_quote_span spans[QU_QUOTE_SPANS];
    TEST_OK(qu_model_open(&m, px_path("copy.gguf"), err));
    TEST_OK(qu_tokenizer_create(&t, m->gguf, err));
    TEST_OK(qu_quote_create(&q, t, err)); /* no page at all */
    assert_int_equal(qu_quote_allowed(q, &ids), 1);
    assert_true(qu_tokenizer_is_end(t, ids[0]) && qu_quote_take(q, ids[0]));
    assert_int_equal(qu_quote_spans(q, spans), 0);
    /* tokens that do not spell the text: never quoted */
    int32_t wrong[] = {513, 514}, bad[] = {-1}; /* " the a" */
    qu_quote_free(q);
    TEST_OK(qu_quote_create(&q, t, err));
    TEST_OK(qu_quote_add(q, wrong, 2, "wrong!", 6, err));
    assert_int_equal(qu_quote_allowed(q, &ids), 1);
    assert_int_equal(qu_quote_add(q, bad, 1, "x", 1, NULL), QU_ERR_ARG);
    qu_quote_free(q);
    qu_tokenizer_free(t);
    qu_model_close(m);
}

/* A span that stands in several places ends where it is a whole word. */
static void the_place_that_ends_well_counts(void **state)
{
    (void)state;
    static const char page[] = "low costs, low cost";
    qu_model *m;
    qu_tokenizer *t;
    qu_quote *q;
    qu_tokens ids = {0};
    qu_quote_span s[QU_QUOTE_SPANS];
    TEST_OK(qu_model_open(&m, px_path("copy.gguf"), err));
    TEST_OK(qu_tokenizer_create(&t, m->gguf, err));
    TEST_OK(qu_tokenize(t, &ids, page, strlen(page), QU_TOK_CONTINUE, err));
    TEST_OK(qu_quote_create(&q, t, err));
    TEST_OK(qu_quote_add(q, ids.ids, (int32_t)ids.n, page, strlen(page), err));
    for (int64_t i = 0; i < ids.n && ids.at[i] < 8; i++)
        if (ids.at[i] >= 3) assert_false(qu_quote_take(q, ids.ids[i])); /* " cost" */
    assert_true(qu_quote_take(q, qu_tokenizer_eos(t)));
    assert_int_equal(qu_quote_spans(q, s), 1);
    assert_true(s[0].start == 15 && s[0].end == 19);
    qu_quote_free(q);
    qu_tokens_free(&ids);
    qu_tokenizer_free(t);
    qu_model_close(m);
}

/* --- through the whole program --- */

/* The answer is its citations, each the bytes of its file. Returns whether there was one. */
static bool check_answer(const qu_answer *ans)
{
    qu_buf joined = {0};
    for (int32_t i = 0; ans->found && i < ans->n_citations; i++) {
        const qu_citation *c = &ans->citations[i];
        char *bytes = malloc((size_t)(c->byte_end - c->byte_start) + 1);
        FILE *f = fopen(c->path, "r");
        assert_non_null(f);
        assert_true(c->has_bytes && c->supported && fseek(f, (long)c->byte_start, SEEK_SET) == 0);
        size_t n = fread(bytes, 1, (size_t)(c->byte_end - c->byte_start), f);
        fclose(f);
        assert_true(n == strlen(c->text) && memcmp(bytes, c->text, n) == 0);
        free(bytes);
        if (i > 0) TEST_OK(qu_buf_puts(&joined, QU_QUOTE_SEPARATOR, err));
        TEST_OK(qu_buf_puts(&joined, c->text, err));
    }
    bool found = ans->found;
    if (found)
        assert_true(joined.len == ans->text.len &&
                    !memcmp(joined.data, ans->text.data, joined.len));
    qu_buf_free(&joined);
    return found;
}

static void answers_are_bytes_of_files(void **state)
{
    (void)state;
    static const char *const models[] = {"copy.gguf", "w1024.gguf", "w512.gguf"};
    static const char *const words[] = {"ferry", "ticket", "house", "river",
                                        "hill",  "town",   "road",  "badar"};
    int n_questions = getenv("QUIRE_LONG") ? 500 : 25;
    px_shell("mkdir -p %s", px_path("docs"));
    FILE *f = fopen(px_path("docs/ferry.txt"), "w");
    fputs(text, f);
    fclose(f);
    px_write(px_path("docs/a.txt"), "House", "the town badar cefen digol fohux", 40, 3);
    px_write(px_path("docs/b.txt"), NULL, "gumip hapov by the river ticket", 9, 5);
    for (int m = 0; m < 3; m++) {
        px_session p;
        char store[16];
        snprintf(store, sizeof store, "store%d", m);
        px_open_write(&p, store, models[m]);
        px_sync(&p, px_path("docs"));
        px_make_kv(&p, -1);
        px_close(&p);
        px_open(&p, store, models[m], 0, 1);
        int found = 0;
        for (int i = 0; i < n_questions; i++) {
            qu_ask_options o = {.pages = 8,
                                .max_tokens = 1 + i % 40,
                                .max_wait_s = 1e6,
                                .quote = true,
                                .draft = i % 3 ? QU_DRAFT_AUTO : QU_DRAFT_NGRAM,
                                .sample = {.temperature = i % 2 ? 1.5f : 0, .seed = (uint64_t)i}};
            char question[200];
            qu_asker *a;
            qu_answer ans;
            snprintf(question, sizeof question, "what follows %s near %s number %d?", words[i % 8],
                     words[i / 8 % 8], i);
            TEST_OK(qu_asker_create(&a, &p.s, &o, err));
            TEST_OK(qu_asker_ask(a, question, &ans, err));
            found += check_answer(&ans);
            qu_answer_free(&ans);
            TEST_OK(qu_asker_free(a, QU_OK, err));
        }
        print_message("%s: %d of %d questions answered\n", models[m], found, n_questions);
        assert_true(found > n_questions / 4);
        px_close(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_walk_gives_spans),
        cmocka_unit_test(an_end_token_at_once_quotes_nothing),
        cmocka_unit_test(the_place_that_ends_well_counts),
        cmocka_unit_test(answers_are_bytes_of_files),
    };
    return cmocka_run_group_tests(tests, px_setup, px_teardown);
}
