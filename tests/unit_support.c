/* Which sentences an answer rests on: order of the spans, what supports, limits. */
#include "tests/testing.h"

#include "retrieve/support.h"

enum { MAX = 8 };

static qu_support_span spans[MAX + 1];

static int32_t find(int32_t k, const char *question, const char *answer, const char *const *texts,
                    int32_t n_texts)
{
    qu_support_text t[MAX];
    int32_t n = -1;
    for (int32_t i = 0; i < n_texts; i++)
        t[i] = (qu_support_text){texts[i], (int64_t)strlen(texts[i]), .5f};
    memset(spans, 0x55, sizeof spans);
    qu_support_span guard = spans[k];
    TEST_OK(qu_support_find(spans, k, &n, question, answer, strlen(answer), t, n_texts, err));
    assert_memory_equal(&spans[k], &guard, sizeof guard); /* nothing behind k */
    for (int32_t i = 0; i < n; i++) {
        const qu_support_span *s = &spans[i];
        assert_true(s->text >= 0 && s->text < n_texts);
        assert_true(s->start >= 0 && s->start < s->end && s->end <= t[s->text].n);
        assert_null(strchr(" \n\t", t[s->text].text[s->start]));
        assert_null(strchr(" \n\t", t[s->text].text[s->end - 1]));
        assert_true(s->score >= 0 && s->score <= 1);
        assert_true(i == 0 || spans[i - 1].score >= s->score);
        assert_true(!s->verbatim || s->supported);
        for (int32_t j = 0; j < i; j++) assert_int_not_equal(spans[j].text, s->text);
    }
    return n;
}

static void assert_span(const qu_support_span *s, const char *const *texts, const char *want)
{
    assert_int_equal(s->end - s->start, strlen(want));
    assert_memory_equal(texts[s->text] + s->start, want, strlen(want));
}

static void no_texts_and_no_room(void **state)
{
    (void)state;
    static const char *const texts[] = {"The ferry leaves at nine."};
    assert_int_equal(find(3, "When?", "at nine", NULL, 0), 0);
    assert_int_equal(find(0, "When?", "at nine", texts, 1), 0);
}

static void blank_texts_have_no_sentence(void **state)
{
    (void)state;
    static const char *const texts[] = {"", " \n\t ", "\n\n Nine o'clock.\n\n"};
    assert_int_equal(find(3, "When?", "nine", texts, 3), 1);
    assert_span(&spans[0], texts, "Nine o'clock.");
}

static void verbatim_beats_a_share(void **state)
{
    (void)state;
    static const char *const texts[] = {
        /* every word of the answer and of the question, in another order */
        "When does the ferry leave for the islands? Nine of the morning half past, the ferry says.",
        "Tea is served. It is half past nine in the harbour. Then it rains.",
        "The bus comes at half past eight.",
    };
    assert_int_equal(find(3, "When does the ferry leave?", "Half past nine", texts, 3), 3);
    assert_span(&spans[0], texts, "It is half past nine in the harbour.");
    assert_true(spans[0].verbatim && spans[0].supported);
    assert_int_equal(spans[1].text, 0);
    assert_false(spans[1].verbatim);
    assert_true(spans[1].supported); /* all of its words */
    assert_int_equal(spans[2].text, 2);
    assert_true(spans[2].supported); /* two of three words, at least .6 */
    assert_false(spans[2].verbatim);
}

static void half_of_the_words_do_not_support(void **state)
{
    (void)state;
    static const char *const texts[] = {"The red house has a green door.", "Nothing of the kind."};
    assert_int_equal(find(2, "?", "red houses burn down", texts, 2), 2);
    assert_int_equal(spans[0].text, 0);
    assert_false(spans[0].supported); /* 2 of 4 */
    assert_false(spans[1].supported);
}

static void the_question_decides_between_equals(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "The train takes two hours. The ferry to the island takes two hours. The bus takes two "
        "hours.",
        "Two hours, they say.",
        "The ferry takes two hours.",
    };
    assert_int_equal(find(3, "How long does the ferry to the island take?", "two hours", texts, 3),
                     3);
    assert_span(&spans[0], texts, "The ferry to the island takes two hours.");
    assert_int_equal(spans[1].text, 2);
    assert_int_equal(spans[2].text, 1);
}

static void the_prior_decides_what_is_left_and_ties_keep_their_order(void **state)
{
    (void)state;
    qu_support_text t[] = {
        {"Same words.", 11, .2f}, {"Same words.", 11, .9f}, {"Same words.", 11, .2f}};
    int32_t n;
    TEST_OK(qu_support_find(spans, 3, &n, "q", "same words", 10, t, 3, err));
    assert_int_equal(n, 3);
    assert_int_equal(spans[0].text, 1);
    assert_int_equal(spans[1].text, 0);
    assert_int_equal(spans[2].text, 2);
}

static void the_best_k_stay_in_whatever_order_they_come(void **state)
{
    (void)state;
    static const char *const by_worth[] = {"alpha beta gamma delta", "alpha beta gamma",
                                           "alpha beta", "alpha", "nothing"};
    uint64_t seed = 3;
    for (int run = 0; run < 200; run++) {
        const char *texts[5];
        memcpy(texts, by_worth, sizeof texts);
        for (int i = 4; i > 0; i--) {
            int j = (int)(test_random(&seed) % (uint64_t)(i + 1));
            const char *swap = texts[i];
            texts[i] = texts[j];
            texts[j] = swap;
        }
        int32_t k = 1 + (int32_t)(test_random(&seed) % 6);
        assert_int_equal(find(k, "?", "alpha beta gamma delta", texts, 5), k < 5 ? k : 5);
        for (int i = 0; i < (k < 5 ? k : 5); i++)
            assert_string_equal(texts[spans[i].text], by_worth[i]);
    }
}

static void an_empty_answer_goes_by_the_question(void **state)
{
    (void)state;
    static const char *const texts[] = {"Rain is likely.", "The ferry leaves at nine."};
    static const char *const empty[] = {"", " ", "...\n"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(find(2, "When does the ferry leave?", empty[i], texts, 2), 2);
        assert_int_equal(spans[0].text, 1);
        assert_false(spans[0].supported || spans[0].verbatim || spans[1].supported);
    }
}

static void chinese_and_japanese(void **state)
{
    (void)state;
    static const char *const texts[] = {"今天下雨。渡轮九点离开码头。明天晴。",
                                        "東京タワーは333メートルです。"};
    assert_int_equal(find(2, "渡轮几点离开？", "九点离开", texts, 2), 2);
    assert_span(&spans[0], texts, "渡轮九点离开码头。");
    assert_true(spans[0].verbatim);
    assert_false(spans[1].supported);
    assert_int_equal(find(2, "東京タワーの高さは？", "333メートル", texts, 2), 2);
    assert_int_equal(spans[0].text, 1);
    assert_true(spans[0].supported);
}

static void a_long_answer_is_compared_by_its_first_words(void **state)
{
    (void)state;
    static char answer[40000], text[40000];
    size_t n = 0;
    for (int i = 0; i < 3000; i++) n += (size_t)snprintf(answer + n, sizeof answer - n, "w%d ", i);
    memcpy(text, answer, n);
    const char *texts[] = {text};
    assert_int_equal(find(1, "?", answer, texts, 1), 1);
    assert_true(spans[0].score > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_texts_and_no_room),
        cmocka_unit_test(blank_texts_have_no_sentence),
        cmocka_unit_test(verbatim_beats_a_share),
        cmocka_unit_test(half_of_the_words_do_not_support),
        cmocka_unit_test(the_question_decides_between_equals),
        cmocka_unit_test(the_prior_decides_what_is_left_and_ties_keep_their_order),
        cmocka_unit_test(the_best_k_stay_in_whatever_order_they_come),
        cmocka_unit_test(an_empty_answer_goes_by_the_question),
        cmocka_unit_test(chinese_and_japanese),
        cmocka_unit_test(a_long_answer_is_compared_by_its_first_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
