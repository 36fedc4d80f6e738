/* decode/suffix.h against the plainest search. */
#include "tests/testing.h"

#include "decode/suffix.h"

enum { MAX = 4000 };

/* Longest suffix of text [n] that ends at an earlier place of all [m], itself being its end, with a
 * token behind it. */
static int32_t naive(const int32_t *all, int32_t m, int32_t n)
{
    int32_t best = 0;
    for (int32_t end = m - 2; end >= 0; end--) {
        int32_t k = 0;
        while (k < n && k <= end && all[end - k] >= 0 && all[end - k] == all[m - 1 - k]) k++;
        if (k > best && all[end + 1] >= 0) best = k;
    }
    return best;
}

static void longest_match_as_by_plain_search(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 60; round++) {
        uint64_t seed = round;
        int32_t all[MAX], m = 0, n_vocab = 2 + (int32_t)(test_random(&seed) % 7);
        qu_suffix *s;
        TEST_OK(qu_suffix_create(&s, n_vocab, err));
        for (int part = 0; part < 4; part++) {
            int32_t ids[60], n = (int32_t)(test_random(&seed) % 60);
            bool joined = part > 0 && test_random(&seed) % 2;
            for (int32_t i = 0; i < n; i++)
                ids[i] = (int32_t)(test_random(&seed) % (uint64_t)n_vocab);
            TEST_OK(qu_suffix_add(s, ids, n, joined, err));
            if (!joined && m > 0) all[m++] = -1;
            for (int32_t i = 0; i < n; i++) all[m++] = ids[i];
        }
        if (m > 0) all[m++] = -1;
        for (int32_t n = 1, from = m; n <= 120; n++) {
            /* mostly what was foretold, so that matches grow */
            int32_t next[20], k = qu_suffix_follow(s, next, 20);
            int32_t id = k && test_random(&seed) % 4
                             ? next[0]
                             : (int32_t)(test_random(&seed) % (uint64_t)n_vocab);
            all[m++] = id;
            TEST_OK(qu_suffix_next(s, id, err));
            int32_t length = qu_suffix_length(s), want = naive(all, m, m - from);
            if (length != want)
                fail_msg("round %d, token %d: length %d, not %d", (int)round, n, length, want);
            k = qu_suffix_follow(s, next, 20);
            assert_true((k > 0) == (length > 0) && k <= 20);
            bool stands =
                k == 0; /* somewhere what was matched and what is foretold stand together */
            for (int32_t end = 0; end + 1 < m && !stands; end++) {
                int32_t i = 0, j = 0;
                while (i < length && end - i >= 0 && all[end - i] == all[m - 1 - i]) i++;
                while (j < k && end + 1 + j < m && all[end + 1 + j] == next[j]) j++;
                stands = i == length && (j == k || end + 1 + j == m);
            }
            assert_true(stands);
        }
        qu_suffix_free(s);
    }
}

static void a_loop_goes_on(void **state)
{
    (void)state;
    qu_suffix *s;
    int32_t ids[6];
    TEST_OK(qu_suffix_create(&s, 9, err));
    for (int i = 0; i < 5; i++) TEST_OK(qu_suffix_next(s, i % 2 ? 3 : 7, err));
    assert_int_equal(qu_suffix_length(s), 3);
    assert_int_equal(qu_suffix_follow(s, ids, 6), 6);
    for (int i = 0; i < 6; i++) assert_int_equal(ids[i], i % 2 ? 7 : 3);
    qu_suffix_free(s);
}

static void keeps_to_the_text_it_follows(void **state)
{
    (void)state;
    qu_suffix *s;
    int32_t id, a[] = {1, 2, 3, 4}, b[] = {5, 2, 3, 6};
    TEST_OK(qu_suffix_create(&s, 9, err));
    TEST_OK(qu_suffix_add(s, a, 4, false, err));
    TEST_OK(qu_suffix_add(s, b, 4, false, err));
    TEST_OK(qu_suffix_next(s, 2, err));
    assert_true(qu_suffix_follow(s, &id, 1) == 1 && id == 3);
    TEST_OK(qu_suffix_next(s, 3, err));
    assert_true(qu_suffix_length(s) == 2 && qu_suffix_follow(s, &id, 1) == 1 &&
                id == 4); /* the first */
    TEST_OK(qu_suffix_next(s, 5, err));
    TEST_OK(qu_suffix_next(s, 2, err));
    TEST_OK(qu_suffix_next(s, 3, err));
    assert_true(qu_suffix_length(s) == 3 && qu_suffix_follow(s, &id, 1) == 1 && id == 6);
    qu_suffix_free(s);
}

static void ids_outside_the_vocabulary_are_refused(void **state)
{
    (void)state;
    qu_suffix *s;
    int32_t bad[] = {1, 9};
    TEST_OK(qu_suffix_create(&s, 9, err));
    assert_int_equal(qu_suffix_add(s, bad, 2, false, NULL), QU_ERR_ARG);
    assert_int_equal(qu_suffix_next(s, -1, NULL), QU_ERR_ARG);
    TEST_OK(qu_suffix_next(s, 1, err));
    assert_int_equal(qu_suffix_length(s), 0); /* nothing was added */
    assert_int_equal(qu_suffix_follow(s, bad, 2), 0);
    qu_suffix_free(s);
    qu_suffix_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(longest_match_as_by_plain_search),
        cmocka_unit_test(a_loop_goes_on),
        cmocka_unit_test(keeps_to_the_text_it_follows),
        cmocka_unit_test(ids_outside_the_vocabulary_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
