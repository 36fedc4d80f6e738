/* retrieve/extract.h: answers without a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/buf.h"
#include "base/os.h"
#include "retrieve/extract.h"
#include "retrieve/extract_int.h"

static qu_support_text whole(const char *s)
{
    return (qu_support_text){s, (int64_t)strlen(s), 0};
}

/* The best span in one text, "" if there is no answer. */
static const char *ask(const char *question, const char *text)
{
    static char out[4096];
    qu_support_text t = whole(text);
    qu_extract_answer a;
    int32_t n;
    qu_err err = {0};
    assert_int_equal(qu_extract(question, &t, 1, &a, 1, &n, &err), QU_OK);
    out[0] = 0;
    if (n == 0) return out;
    assert_true(a.sent_start >= 0 && a.sent_start <= a.span_start && a.span_start < a.span_end);
    assert_true(a.span_end <= a.sent_end && a.sent_end <= t.n);
    assert_true(a.score > 0 && a.score <= 1);
    snprintf(out, sizeof out, "%.*s", (int)(a.span_end - a.span_start), text + a.span_start);
    return out;
}

static void test_kinds(void **state)
{
    (void)state;
    static const char text[] =
        "The mill was built by Edda Tornquist in 1874. It stands on the river Aller, beside the "
        "old bridge at Hollow Ford. Twelve workers ran it, and a sack of flour cost $3.50 then. "
        "The wheel "
        "is 4.5 metres wide. The mill closed on 12 May 1931 at noon. Since then 85% of the roof "
        "has gone.";
    static const char *cases[][2] = {
        {"Who built the mill?", "Edda Tornquist"},
        {"When was the mill built?", "1874"},
        {"In what year was the mill built?", "1874"},
        {"Where does the old bridge stand?", "Hollow Ford"},
        {"How many workers ran it?", "Twelve"},
        {"How much did a sack of flour cost?", "$3.50"},
        {"How wide is the wheel?", "4.5 metres"},
        {"When did the mill close?", "12 May 1931"},
        {"What percentage of the roof has gone?", "85%"},
    };
    assert_string_equal(ask("Who inspects the hoist?",
                            "Tidewell Engineering comes, and in May the hoist is inspected."),
                        "Tidewell Engineering"); /* a month is no name */
    assert_string_equal(
        ask("Who built the ferry dinghy?", "# Ferry dinghy\n\nIn the yard Casper built boats."),
        "Casper");
    assert_string_equal(ask("Who rows the boat?", "Edda sold Piet the boat, rowed by Maren."),
                        "Maren");
    assert_string_equal(
        ask("Where is the hoist?", "# Hoist\n\nSee Quay Lane: the hoist runs in Old Hall."),
        "Old Hall");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = ask(cases[i][0], text);
        if (strcmp(got, cases[i][1]) != 0)
            fail_msg("'%s': '%s', not '%s'", cases[i][0], got, cases[i][1]);
    }
}

static qu_want want(const char *question)
{
    qu_extract_question q;
    qu_extract_question_read(&q, question, strlen(question));
    return q.want;
}

static void test_wants(void **state)
{
    (void)state;
    assert_int_equal(want("Who is it?"), QU_WANT_NAME);
    assert_int_equal(want("To whom does it go?"), QU_WANT_NAME);
    assert_int_equal(want("When?"), QU_WANT_DATE);
    assert_int_equal(want("Where"), QU_WANT_PLACE);
    assert_int_equal(want("What is the price of tea?"), QU_WANT_AMOUNT);
    assert_int_equal(want("the boat has how many seats"), QU_WANT_COUNT);
    assert_int_equal(want("How far is it"), QU_WANT_AMOUNT);
    assert_int_equal(want("Which city?"), QU_WANT_PLACE);
    assert_int_equal(want("on what date"), QU_WANT_DATE);
    assert_int_equal(want("which company makes it"), QU_WANT_NAME);
    assert_int_equal(want("What is the default port of it?"), QU_WANT_AMOUNT);
    assert_int_equal(want("What is it called"), QU_WANT_ANY);
    assert_int_equal(want("It was built for what"), QU_WANT_ANY);
    assert_int_equal(want("How does it work"), QU_WANT_SENTENCE);
    assert_int_equal(want("Why is that so?"), QU_WANT_SENTENCE);
    assert_int_equal(want("What does VACUUM FULL do?"), QU_WANT_SENTENCE);
    assert_int_equal(want("What happens then"), QU_WANT_SENTENCE);
    assert_int_equal(want("name the boat"), QU_WANT_SENTENCE);
    assert_int_equal(want(""), QU_WANT_SENTENCE);
    assert_int_equal(want("was wann wo"), QU_WANT_SENTENCE);
}

/* A noun run or the sentence where the question names no kind; no word of the question in the span.
 */
static void test_any_kind(void **state)
{
    (void)state;
    assert_string_equal(
        ask("What does the pump need?", "The pump needs clean mineral oil. It is old."),
        "clean mineral oil");
    assert_string_equal(ask("What is the pump?", "The pump is."), "The pump is.");
    assert_string_equal(ask("What is the pump?", "The pump is. The pump needs oil."), "needs oil");
    assert_string_equal(ask("What is the capital of France?", "The soup is hot."), "");
    assert_string_equal(ask("What is it?", "It is what it is."),
                        "It is what it is."); /* only function words */
    assert_string_equal(ask("", "Some text."), "");
    assert_string_equal(ask("Some?", ""), "");
    assert_string_equal(ask("北京在哪里？", "上海很大。北京在中国北方。"), "北京在中国北方。");
}

/* Phrases: words of the question inside of them, two that are joined, rows of a table;
 * never cut out of a name, never the question's words alone. */
static void test_phrases(void **state)
{
    (void)state;
    assert_string_equal(ask("Which prize did Marlee Holt win?",
                            "Marlee Holt won the Academy Prize at Varna, and money."),
                        "Academy Prize");
    assert_string_equal(ask("Who are the first aiders?",
                            "The first aiders are Lotte Grane and Hamid Orrow."),
                        "Lotte Grane and Hamid Orrow");
    assert_string_equal(ask("How much is the fee for a student?",
                            "Kind of member\tFee\nEvening member\t38 crowns\nStudent\t21 crowns"),
                        "21 crowns");
    assert_string_equal(ask("Who leads the Larkmere Workshop?",
                            "The Larkmere Workshop in Ostervik is led by Edda Tornquist."),
                        "Edda Tornquist");
}

/* A heading lends its words to all that follows it and is no answer itself. */
static void test_headings(void **state)
{
    (void)state;
    static const char *heads[] = {"# Restoring the ferry dinghy", "Restoring the ferry dinghy"};
    for (int i = 0; i < 2; i++) {
        char text[200];
        snprintf(text, sizeof text, "%s\n\nShe lay in a barn. %s", heads[i],
                 "The hull is oak. Casper Nyhoff built her in 1911. Edda Tornquist built a shed.");
        assert_string_equal(ask("Who built the ferry dinghy?", text), "Casper Nyhoff");
    }
}

static void test_order_and_priors(void **state)
{
    (void)state;
    qu_support_text t[3] = {whole("The red boat is in Varna. The boat sank."),
                            whole("Nothing here."), whole("The red boat is in Odessa.")};
    qu_extract_answer a[8];
    int32_t n;
    qu_err err = {0};
    assert_int_equal(qu_extract("Where is the red boat?", t, 3, a, 8, &n, &err), QU_OK);
    assert_int_equal(n, 3);
    assert_int_equal(a[0].text, 0); /* equal sentences: the first text first */
    assert_int_equal(a[0].sent_start, 0);
    assert_int_equal(a[0].sent_end, 25);
    assert_int_equal(a[1].text, 2);
    assert_int_equal(a[2].text, 0);
    assert_int_equal(a[2].sent_start, 26);
    assert_true(a[0].score == a[1].score && a[1].score > a[2].score);
    t[0].prior = 0.5f;
    assert_int_equal(qu_extract("Where is the red boat?", t, 3, a, 1, &n, &err), QU_OK);
    assert_int_equal(n, 1);
    assert_int_equal(a[0].text, 2);
    assert_int_equal(qu_extract("Where is the red boat?", t, 3, a, 0, &n, &err), QU_OK);
    assert_int_equal(n, 0);
    assert_int_equal(qu_extract("boat", t, -1, a, 1, &n, &err), QU_ERR_ARG);
    assert_int_equal(qu_extract("boat", t, 3, a, -1, &n, &err), QU_ERR_ARG);
}

/* The rare word decides, and the sentence before lends its subject. */
static void test_rarity_and_neighbour(void **state)
{
    (void)state;
    static const char text[] =
        "The club meets on Monday. The club meets on Tuesday for chess. The club meets on "
        "Friday. The hall was built by masons. It opened in 1902. The pool opened in 1955.";
    assert_string_equal(ask("When does the club meet for chess?", text), "Tuesday");
    assert_string_equal(ask("When is the chess club meeting?",
                            "The club meets on Monday. The club meets on Friday. "
                            "All rest. The chess club goes on Tuesday."),
                        "Tuesday");
    assert_string_equal(ask("When was the hall opened?", text), "1902");
}

static void test_any_bytes(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int round = 0; round < 60; round++) {
        size_t n = (size_t)round * 40;
        char *text = malloc(n ? n : 1), question[200];
        assert_non_null(text);
        for (size_t i = 0; i < n + sizeof question; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            char c =
                (char)(round & 1 ? seed >> 40
                                 : (unsigned)" .,-'aBc19\xc3\xa9\xe4\xba\xac%$"[seed >> 40 & 15]);
            if (i < n)
                text[i] = c;
            else
                question[i - n] = c;
        }
        memcpy(question, "who a B ", 8);
        question[sizeof question - 1] = 0;
        qu_support_text t = {text, (int64_t)n, 1};
        qu_extract_answer a[64];
        int32_t k;
        assert_int_equal(qu_extract(question, &t, 1, a, 64, &k, NULL), QU_OK);
        for (int32_t i = 0; i < k; i++) {
            assert_true(a[i].sent_start >= 0 && a[i].sent_start <= a[i].span_start);
            assert_true(a[i].span_start < a[i].span_end && a[i].span_end <= a[i].sent_end);
            assert_true(a[i].sent_end <= t.n && a[i].score > 0 && a[i].score <= 1);
        }
        free(text);
    }
}

/* Long input: one endless sentence, a huge text, a huge question. */
static void test_bounds(void **state)
{
    (void)state;
    size_t n = 5 << 20;
    char *text = malloc(n + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) text[i] = "boat Ab 12 "[i % 11];
    text[n] = 0;
    qu_support_text t = {text, (int64_t)n, 1};
    qu_extract_answer a;
    int32_t k;
    assert_int_equal(qu_extract("who has the boat", &t, 1, &a, 1, &k, NULL), QU_OK);
    assert_int_equal(k, 1);
    assert_true(a.sent_end <= 4 << 20);
    assert_int_equal(qu_extract(text, &t, 1, &a, 1, &k, NULL), QU_OK);
    assert_int_equal(k, 1);
    memcpy(text + n - 20, ". The zebra is here.", 20); /* past what is searched */
    assert_int_equal(qu_extract("zebra", &t, 1, &a, 1, &k, NULL), QU_OK);
    assert_int_equal(k, 0);
    qu_support_text both[2] = {t, whole("The zebra is here.")};
    assert_int_equal(qu_extract("zebra", both, 2, &a, 1, &k, NULL), QU_OK);
    assert_int_equal(k, 0);
    int at = 0;
    for (int i = 0; i < 300; i++) at += sprintf(text + at, "word%d ", i);
    assert_int_equal(qu_extract(text, both, 2, &a, 1, &k, NULL), QU_OK);
    free(text);
}

/* examples/questions.jsonl: every answer stands word for word in the document it names. */
static void test_examples(void **state)
{
    (void)state;
    char line[4096], path[512];
    int answerable = 0, unanswerable = 0;
    FILE *fp = fopen("examples/questions.jsonl", "r");
    assert_non_null(fp); /* tests run in the repository root */
    while (fgets(line, sizeof line, fp)) {
        json_t *q = json_loads(line, 0, NULL), *a;
        size_t i;
        qu_buf text = {0};
        assert_true(q && json_is_string(json_object_get(q, "id")) &&
                    json_is_string(json_object_get(q, "question")));
        json_t *answers = json_object_get(q, "answers");
        assert_true(json_is_array(answers));
        if (json_array_size(answers) == 0) {
            assert_true(json_is_null(json_object_get(q, "path")));
            unanswerable++;
        } else {
            snprintf(path, sizeof path, "examples/corpus/%s",
                     json_string_value(json_object_get(q, "path")));
            assert_int_equal(qu_os_read(&text, path, 1 << 20, NULL), QU_OK);
            json_array_foreach(answers, i, a) if (!strstr(text.data, json_string_value(a)))
                fail_msg("'%s' is not in '%s'", json_string_value(a), path);
            answerable++;
        }
        qu_buf_free(&text);
        json_decref(q);
    }
    fclose(fp);
    assert_true(answerable >= 60 && unanswerable >= 6);
}

static void test_xquad(void **state)
{
    (void)state;
    const char *root = getenv("QUIRE_DATA");
    char path[512];
    snprintf(path, sizeof path, "%s/xquad/xquad.en.json", root ? root : "../shared/data");
    json_t *json = json_load_file(path, 0, NULL), *article, *para, *qa;
    if (!json) {
        print_message("skipped: '%s' is absent; set QUIRE_DATA to the test data\n", path);
        skip();
    }
    size_t i, j, k;
    int asked = 0, exact = 0;
    json_array_foreach(json_object_get(json, "data"), i, article)
        json_array_foreach(json_object_get(article, "paragraphs"), j, para)
            json_array_foreach(json_object_get(para, "qas"), k, qa)
    {
        const char *c = json_string_value(json_object_get(para, "context"));
        json_t *gold = json_array_get(json_object_get(qa, "answers"), 0);
        exact += !strcmp(ask(json_string_value(json_object_get(qa, "question")), c),
                         json_string_value(json_object_get(gold, "text")));
        asked++;
    }
    json_decref(json);
    print_message("exact, before any normalising: %.3f\n", (double)exact / asked);
    assert_true(exact >= 0.29 * asked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_wants),
        cmocka_unit_test(test_any_kind),
        cmocka_unit_test(test_phrases),
        cmocka_unit_test(test_headings),
        cmocka_unit_test(test_order_and_priors),
        cmocka_unit_test(test_rarity_and_neighbour),
        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_xquad),
        cmocka_unit_test(test_examples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
