/* retrieve/rouge.h against what the published programs gave for 100 pairs
 * (scripts/golden_rouge.py). */
#include "testing.h"

#include <jansson.h>

#include "retrieve/rouge.h"

static void assert_value(const json_t *want, const char *name, qu_rouge_value v, int line)
{
    double got[3] = {v.precision, v.recall, v.f1};
    const json_t *list = json_object_get(want, name);
    for (size_t i = 0; i < 3; i++) {
        double w = json_number_value(json_array_get(list, i));
        if (!(fabs(got[i] - w) <= 1e-12))
            fail_msg("line %d, %s[%zu]: %.15g, published %.15g", line, name, i, got[i], w);
    }
}

static void the_published_programs_numbers(void **state)
{
    (void)state;
    FILE *f = fopen("tests/golden/rouge.jsonl", "r");
    assert_non_null(f);
    int n = 0;
    for (json_t *o; (o = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)); json_decref(o)) {
        const char *c = json_string_value(json_object_get(o, "candidate"));
        const char *ref = json_string_value(json_object_get(o, "reference"));
        qu_rouge r;
        TEST_OK(qu_rouge_score(&r, QU_ROUGE_SCORE, c, strlen(c), ref, strlen(ref), err));
        const json_t *want = json_object_get(o, "rouge-score");
        n++;
        assert_value(want, "one", r.one, n);
        assert_value(want, "two", r.two, n);
        assert_value(want, "l", r.l, n);
        assert_value(want, "lsum", r.lsum, n);
        TEST_OK(qu_rouge_score(&r, QU_ROUGE_SETS, c, strlen(c), ref, strlen(ref), err));
        want = json_object_get(o, "rouge");
        assert_value(want, "one", r.one, n);
        assert_value(want, "two", r.two, n);
        assert_value(want, "l", r.l, n);
        assert_true(r.lsum.f1 == 0);
    }
    fclose(f);
    assert_int_equal(n, 100);
}

static void texts_too_long_are_refused(void **state)
{
    (void)state;
    qu_rouge r;
    enum { N = 40000 };
    char *text = malloc(N);
    for (int i = 0; i < N; i++) text[i] = i % 2 ? ' ' : (char)('a' + i / 2 % 26);
    assert_int_equal(qu_rouge_score(&r, QU_ROUGE_SCORE, text, N, text, N, NULL), QU_ERR_LIMIT);
    TEST_OK(qu_rouge_score(&r, QU_ROUGE_SCORE, "\xFF\xC4 a", 4, "a", 1, err));
    assert_true(r.one.f1 == 1);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_programs_numbers),
        cmocka_unit_test(texts_too_long_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
