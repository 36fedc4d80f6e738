/* Scores of answers: SQuAD's normalisation, exact match, F1, intervals. */
#include "tests/testing.h"

#include "pipelines/score.h"

static void check(const char *answer, const char *want)
{
    qu_buf b = {0};
    TEST_OK(qu_score_normalise(&b, answer, err));
    assert_string_equal(b.data, want);
    qu_buf_free(&b);
}

static void normalises_as_squad(void **state)
{
    (void)state;
    check("The  Ferry,\tleaves!", "ferry leaves");
    check("  a cat's an hour\n", "cats hour");
    check("theatre A.", "theatre");
    check("Ärger ÉTÉ", "ärger été");
    check("the", "");
    check("", "");
    check("5.30 p.m.", "530 pm");
    check("x\xff y", "x\xef\xbf\xbd y");
}

static void scores(const char *answer, const char *golds, bool exact, double f1)
{
    json_t *g = json_loads(golds, 0, NULL);
    bool e;
    double f;
    TEST_OK(qu_score_answer(answer, g, &e, &f, err));
    assert_int_equal(e, exact);
    assert_true(fabs(f - f1) < 1e-9);
    json_decref(g);
}

static void exact_match_and_f1(void **state)
{
    (void)state;
    scores("The ferry.", "[\"boat\",\"ferry\"]", true, 1);
    scores("the old ferry boat", "[\"ferry\"]", false, .5);
    scores("x x y", "[\"x y y\"]", false, 2.0 * 2 / 6);
    scores("", "[]", true, 1);
    scores("yes", "[]", false, 0);
    scores("", "[\"x\"]", false, 0);
    scores("Denver", "[\"New York\", 3]", false, 0);
}

static void intervals(void **state)
{
    (void)state;
    double a[100], b[100], ratio, low, high;
    assert_true(fabs(qu_score_half_width(50, 50, 100) - .098) < 1e-9);
    assert_true(qu_score_half_width(100, 100, 100) == 0);
    for (int i = 0; i < 100; i++) b[i] = i % 2, a[i] = i % 4 == 1;
    qu_score_ratio(a, b, 100, 1, &ratio, &low, &high);
    assert_true(ratio == .5 && low > .3 && low < .45 && high > .55 && high < .7);
    for (int i = 0; i < 100; i++) a[i] = b[i];
    qu_score_ratio(a, b, 100, 1, &ratio, &low, &high);
    assert_true(ratio == 1 && low == 1 && high == 1);
    for (int i = 0; i < 100; i++) b[i] = 0;
    qu_score_ratio(a, b, 100, 1, &ratio, &low, &high);
    assert_true(isnan(ratio));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(normalises_as_squad),
                                       cmocka_unit_test(exact_match_and_f1),
                                       cmocka_unit_test(intervals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
