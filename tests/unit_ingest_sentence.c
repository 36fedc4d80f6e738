/* ingest/sentence.h: where sentences begin. */
#include "ingest/sentence.h"
#include "tests/testing.h"

/* The text with '|' before each sentence. */
static void assert_sentences(const char *want)
{
    char text[1024], got[1024];
    size_t n = 0, m = 0;
    for (const char *p = want; *p; p++)
        if (*p != '|') text[n++] = *p;
    text[n] = 0;
    qu_sentences s = {0};
    TEST_OK(qu_sentences_find(&s, text, 0, (int64_t)n, err));
    for (size_t i = 0, k = 0; i < n; i++) {
        if (k < (size_t)s.n && s.starts[k] == (int64_t)i) {
            got[m++] = '|';
            k++;
        }
        got[m++] = text[i];
    }
    got[m] = 0;
    assert_string_equal(got, want);
    qu_sentences_free(&s);
}

static void test_ends(void **state)
{
    (void)state;
    assert_sentences("|One here. |Two here! |Three here? |4 here... |And more.");
    assert_sentences("|He said \"Stop.\" |Then he went. |(Not inside.) |\"Quoted.\" "
                     "|\xE2\x80\x9CSo.\xE2\x80\x9D |Yes.");
    assert_sentences(
        "|It ended\xE2\x80\xA6 |But it \xE2\x80\xA6 went on. |\xC3\x89t\xC3\xA9 came.");
    assert_sentences("|no capital. follows here. |\xC2\xBFQu\xC3\xA9? |\xC2\xA1No!");
    assert_sentences("  |blank at the start.  \n|Next line.");
    assert_sentences("|Known fact.[12] |Next. |Twice.[1][2] |Next.");
    assert_sentences("");
    assert_sentences(" \n\t ");
    assert_sentences("|no end");
}

static void test_not_ends(void **state)
{
    (void)state;
    assert_sentences("|Mr. Smith and Dr. Jones met Prof. X.");
    assert_sentences("|The U.S. Army, e.g. The One, i.e. This.");
    assert_sentences(
        "|J. R. R. Tolkien wrote. |It is 3.14 or 1. Rank, No. 5 of Fig. 7 there. |See p. 12.");
    assert_sentences("|Am 3. Oktober war es so. |In 1999. |The end.");
    assert_sentences("|Is it no. |Yes."); /* only before a number */
    assert_sentences("|v1.2.3 of file.txt at example.com is fine.");
}

static void test_scripts(void **state)
{
    (void)state;
    assert_sentences("|\xE6\x97\xA5\xE6\x9C\xAC\xE3\x80\x82|\xE8\xAA\x9E\xEF\xBC\x81|"
                     "\xE6\x98\xAF\xEF\xBC\x9F\xE3\x80\x8D|\xE5\xA5\xBD");
    assert_sentences("|\xE6\x97\xA5\xE3\x80\x82\xE3\x80\x80|\xE6\x9C\xAC"); /* ideographic space */
    assert_sentences("|\xE0\xA4\x95\xE0\xA5\xA4 |\xE0\xA4\x96");            /* danda */
    assert_sentences("|\xD9\x85\xD8\x9F |\xD9\x85"); /* Arabic question mark */
}

static void test_lines(void **state)
{
    (void)state;
    assert_sentences("|wrapped\nprose goes on\n\n|next block");
    assert_sentences("|intro:\n|- item\n|* item\n|1. item\n|12) item\n|# heading");
    char s[1024]; /* an endless sentence ends at a line end */
    memset(s, 'a', sizeof s);
    s[500] = s[520] = s[950] = '\n';
    qu_sentences found = {0};
    TEST_OK(qu_sentences_find(&found, s, 0, 1024, err));
    assert_int_equal(found.n, 3);
    assert_int_equal(found.starts[1], 501);
    assert_int_equal(found.starts[2], 951);
    found.n = 0; /* a part of a text; offsets are the text's */
    TEST_OK(qu_sentences_find(&found, "One. Two. Three.", 5, 9, err));
    assert_int_equal(found.n, 1);
    assert_int_equal(found.starts[0], 5);
    TEST_OK(qu_sentences_find(&found, "One. Two. Three.", 5, 16, err)); /* appends */
    assert_int_equal(found.n, 3);
    assert_int_equal(found.starts[2], 10);
    qu_sentences_free(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ends), cmocka_unit_test(test_not_ends),
                                       cmocka_unit_test(test_scripts),
                                       cmocka_unit_test(test_lines)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
