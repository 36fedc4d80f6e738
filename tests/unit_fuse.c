/* Two lists into one: weight 0 changes nothing, scores are the stated sum, documents count once. */
#include "testing.h"

#include "retrieve/fuse.h"

typedef qu_lexical_hit hit;

static void is(const hit *h, uint64_t doc, int32_t page, double score)
{
    assert_int_equal(h->doc_id, doc);
    assert_int_equal(h->page, page);
    assert_true(fabs((double)h->score - score) < 1e-5);
}

static void test_fuse(void **state)
{
    (void)state;
    const hit words[] = {{3, 1, 10}, {2, 5, 8}, {2, 4, 8}, {9, 1, 1}};
    const hit vectors[] = {{2, 4, .9f}, {7, 2, .7f}, {3, 1, .5f}};
    hit out[8];
    int32_t n;
    TEST_OK(qu_fuse(out, &n, 8, words, 4, vectors, 3, 0, false, err));
    assert_int_equal(n, 4);
    is(&out[0], 3, 1, 10);
    is(&out[1], 2, 4, 8); /* ties by page */
    is(&out[2], 2, 5, 8);
    is(&out[3], 9, 1, 1);
    TEST_OK(qu_fuse(out, &n, 8, words, 4, vectors, 3, .5f, false, err));
    assert_int_equal(n, 5);
    is(&out[0], 2, 4, 8 + .5 * 10 * 1);
    is(&out[1], 3, 1, 10);
    is(&out[2], 2, 5, 8);
    is(&out[3], 7, 2, .5 * 10 * .5);
    is(&out[4], 9, 1, 1);
    TEST_OK(qu_fuse(out, &n, 2, words, 4, vectors, 3, .5f, false, err));
    assert_int_equal(n, 2);
    is(&out[0], 2, 4, 13);
}

static void test_files(void **state)
{
    (void)state;
    const hit words[] = {{3, 1, 10}, {2, 5, 8}}, vectors[] = {{2, 4, .9f}, {7, 2, .8f}};
    hit out[8];
    int32_t n;
    TEST_OK(qu_fuse(out, &n, 8, words, 2, vectors, 2, 1, true, err));
    assert_int_equal(n, 3);
    is(&out[0], 2, 5, 18); /* the page that words found */
    is(&out[1], 3, 1, 10);
    is(&out[2], 7, 2, 0);
}

static void test_empty(void **state)
{
    (void)state;
    const hit one[] = {{7, 2, -.2f}};
    hit out[2];
    int32_t n;
    TEST_OK(qu_fuse(out, &n, 2, NULL, 0, NULL, 0, 1, false, err));
    assert_int_equal(n, 0);
    TEST_OK(qu_fuse(out, &n, 2, NULL, 0, one, 1, 2, false, err));
    assert_int_equal(n, 1);
    is(&out[0], 7, 2, 2);
    TEST_OK(qu_fuse(out, &n, 2, one, 1, NULL, 0, 2, false, err));
    is(&out[0], 7, 2, -.2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fuse),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
