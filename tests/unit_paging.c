/* Cutting tokens into pages: which cut wins, the hard limit, and a naive model over random cuts. */
#include "tests/testing.h"

#include "base/dims.h"
#include "decode/paging.h"

enum { MAX = 4000, P = QU_PAGE_TOKENS };

static char text[8 * MAX];
static int64_t at[MAX];

/* Words of one letter: token i is " x" and begins at 2 i with its blank, the word at 2 i + 1. */
static void words(int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        text[2 * i] = ' ';
        text[2 * i + 1] = 'x';
        at[i] = 2 * i;
    }
}

/* Cut and check what holds for every cutting: each token in exactly one page of 1 to P tokens, all
 * but the last page at least half full. */
static int32_t cut(int64_t ends[MAX], int32_t n, const qu_cut *cuts, int64_t n_cuts)
{
    int64_t *e, from = 0;
    int32_t n_pages;
    TEST_OK(qu_paging_cut(&e, &n_pages, n, at, cuts, n_cuts, text, err));
    for (int32_t p = 0; p < n_pages; p++) {
        assert_true(e[p] > from && e[p] - from <= P);
        assert_true(p + 1 == n_pages || e[p] - from >= P / 2);
        from = ends[p] = e[p];
    }
    assert_int_equal(from, n);
    free(e);
    return n_pages;
}

static void no_tokens_and_one(void **state)
{
    (void)state;
    int64_t *e = at, ends[MAX];
    int32_t n_pages = 7;
    qu_cut one = {1, QU_CUT_HEADING};
    TEST_OK(qu_paging_cut(&e, &n_pages, 0, NULL, NULL, 0, "", err));
    assert_null(e);
    assert_int_equal(n_pages, 0);
    words(1);
    assert_int_equal(cut(ends, 1, NULL, 0), 1);
    assert_int_equal(cut(ends, 1, &one, 1), 1);
}

static void without_cuts_pages_are_full(void **state)
{
    (void)state;
    static const int32_t sizes[] = {127, 128, 129, 255, 256, 257, 1000};
    int64_t ends[MAX];
    words(1000);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int32_t n = cut(ends, sizes[i], NULL, 0);
        assert_int_equal(n, (sizes[i] + P - 1) / P);
        for (int32_t p = 0; p + 1 < n; p++) assert_int_equal(ends[p], (p + 1) * P);
    }
}

static qu_cut before_word(int64_t i, int8_t rank)
{
    return (qu_cut){2 * i + 1, rank};
}

static void the_best_rank_of_the_second_half_wins(void **state)
{
    (void)state;
    int64_t ends[MAX];
    qu_cut cuts[] = {before_word(30, QU_CUT_HEADING), /* in the first half: too early */
                     before_word(70, QU_CUT_SENTENCE),  before_word(80, QU_CUT_PARAGRAPH),
                     before_word(90, QU_CUT_PARAGRAPH), before_word(100, QU_CUT_SENTENCE),
                     before_word(128, QU_CUT_WORD),     before_word(150, QU_CUT_HEADING)};
    words(200);
    cut(ends, 200, cuts, 7);
    assert_int_equal(ends[0], 90); /* the last among equals */
    cut(ends, 200, cuts, 2);
    assert_int_equal(ends[0], 70);
    cut(ends, 200, cuts, 1);
    assert_int_equal(ends[0], 128);
    /* a document of one page is not cut, however good the cut */
    assert_int_equal(cut(ends, 128, cuts, 6), 1);
}

static void the_borders_of_the_second_half(void **state)
{
    (void)state;
    int64_t ends[MAX];
    words(200);
    for (int32_t i = 60; i <= 132; i++) {
        qu_cut c = before_word(i, QU_CUT_WORD);
        cut(ends, 200, &c, 1);
        assert_int_equal(ends[0], i >= 64 && i <= 128 ? i : 128);
    }
}

static void the_blank_before_a_word_belongs_to_its_token(void **state)
{
    (void)state;
    int64_t ends[MAX];
    words(200);
    /* several blanks, as tokens of their own or of the word: the cut stands after all of them */
    memset(text + 2 * 90, ' ', 9);
    qu_cut c = {2 * 94 + 1, QU_CUT_LINE};
    cut(ends, 200, &c, 1);
    assert_int_equal(ends[0], 94); /* the last of the tokens that only blanks divide from the cut */
    /* of several cuts behind the blanks the best one counts */
    qu_cut two[] = {
        {2 * 94, QU_CUT_WORD}, {2 * 94 + 1, QU_CUT_LINE}, {2 * 96 + 1, QU_CUT_SENTENCE}};
    cut(ends, 200, two, 3);
    assert_int_equal(ends[0], 94);
    /* a token that begins before the cut with more than blanks does not begin there */
    words(200);
    text[2 * 89] = 'y';
    qu_cut inside = {2 * 89 + 1, QU_CUT_LINE};
    cut(ends, 200, &inside, 1);
    assert_int_equal(ends[0], 128);
}

static void offsets_inside_a_character_never_qualify(void **state)
{
    (void)state;
    int64_t ends[MAX];
    words(200);
    /* tokens 80 .. 82 are the bytes of one character: a cut before it is before token 80, and
     * tokens that repeat an offset are not the beginning */
    memcpy(text + 160, "\xE6\x97\xA5xxx", 6);
    at[80] = 160, at[81] = 161, at[82] = 162;
    qu_cut c = {160, QU_CUT_SENTENCE};
    cut(ends, 200, &c, 1);
    assert_int_equal(ends[0], 80);
    at[81] = at[82] = 160;
    cut(ends, 200, &c, 1);
    assert_int_equal(ends[0], 80);
}

/* Rank of token i by the header's words, looked up afresh. */
static int naive_rank(int64_t i, const qu_cut *cuts, int64_t n_cuts)
{
    int best = 100;
    if (i > 0 && at[i] == at[i - 1]) return best;
    for (int64_t c = 0; c < n_cuts; c++) {
        int64_t p = at[i];
        while (p < cuts[c].at && strchr(" \n\t", text[p])) p++;
        if (p == cuts[c].at && cuts[c].rank < best) best = cuts[c].rank;
    }
    return best;
}

static void random_cuts_agree_with_a_naive_model(void **state)
{
    (void)state;
    uint64_t seed = 5;
    int64_t ends[MAX];
    static qu_cut cuts[MAX];
    for (int run = 0; run < 300; run++) {
        int32_t n = 1 + (int32_t)(test_random(&seed) % 700), len = 0;
        uint64_t blanks = 1 + test_random(&seed) % 4, many = 1 + test_random(&seed) % 60;
        int64_t n_cuts = 0;
        for (int32_t i = 0; i < n; i++) {
            at[i] = len;
            len += (int32_t)(test_random(&seed) % 5); /* 0: a token that repeats its offset */
        }
        len += 1;
        for (int32_t p = 0; p < len; p++) {
            text[p] = test_random(&seed) % 5 < blanks ? " \n\t"[test_random(&seed) % 3] : 'a';
            if (test_random(&seed) % many == 0)
                cuts[n_cuts++] = (qu_cut){p, (int8_t)(test_random(&seed) % 5)};
        }
        text[len] = 0;
        int32_t n_pages = cut(ends, n, cuts, n_cuts), page = 0;
        for (int64_t start = 0; start < n; page++) {
            int64_t end = n;
            if (n - start > P) {
                int best = 101; /* ascending, so that the last among equals stays */
                for (int64_t i = start + P / 2; i <= start + P; i++) {
                    int rank = naive_rank(i, cuts, n_cuts);
                    if (rank <= best) {
                        best = rank;
                        end = i;
                    }
                }
            }
            if (ends[page] != end)
                fail_msg("run %d, page %d: ends at %lld, expected %lld", run, page,
                         (long long)ends[page], (long long)end);
            start = end;
        }
        assert_int_equal(page, n_pages);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_tokens_and_one),
        cmocka_unit_test(without_cuts_pages_are_full),
        cmocka_unit_test(the_best_rank_of_the_second_half_wins),
        cmocka_unit_test(the_borders_of_the_second_half),
        cmocka_unit_test(the_blank_before_a_word_belongs_to_its_token),
        cmocka_unit_test(offsets_inside_a_character_never_qualify),
        cmocka_unit_test(random_cuts_agree_with_a_naive_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
