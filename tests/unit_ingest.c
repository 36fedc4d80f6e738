/* ingest/document.h for text and Markdown: cuts, headings, titles, encodings, gzip, refusals. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/ingest_check.h"

/* "at:rank at:rank ..." */
static void assert_cuts(const qu_document *d, const char *want)
{
    char got[512] = "";
    for (int64_t i = 0; i < d->n_cuts; i++) {
        size_t len = strlen(got);
        snprintf(got + len, sizeof got - len, "%s%lld:%d", i ? " " : "", (long long)d->cuts[i].at,
                 d->cuts[i].rank);
    }
    assert_string_equal(got, want);
}

static void assert_refused(const char *s, int64_t n, const char *name, qu_status want,
                           const char *message)
{
    qu_document d;
    qu_err err = {0};
    assert_int_equal(qu_document_parse(&d, s, n, name, &err), want);
    assert_string_equal(err.msg, message);
    assert_true(!d.text && !d.title && !d.charset[0]);
    assert_int_equal(qu_document_parse(&d, s, n, name, NULL), want); /* err may be NULL */
}

static void test_plain_cuts(void **state)
{
    (void)state;
    qu_document d;
    PARSE(&d, "A first paragraph here. And its second sentence.\n\n  An indented paragraph.\n",
          "a.txt");
    assert_cuts(&d, "24:3 50:1");
    assert_string_equal(d.format, "text");
    assert_string_equal(d.charset, "utf-8");
    qu_document_free(&d);

    /* Log lines stand for themselves; blank lines with spaces part blocks; a first blank is no cut.
     */
    PARSE(&d, "\n12:00:01 server started on 8080\n12:00:02 client connected\n \t\n12:00:03 stopped",
          "l");
    assert_cuts(&d, "33:2 62:1");
    qu_document_free(&d);

    /* Prose under a right margin is not cut at line ends before it is cut at sentences. */
    PARSE(&d,
          "The committee met in the large hall and talked about\n"
          "the budget for the coming year. It was agreed that the\n"
          "costs of the new building could not be paid at once.\n"
          "The chairman thanked all members for their patience.\n",
          "m.txt");
    assert_cuts(&d, "53:4 85:3 108:4 161:3");
    qu_document_free(&d);
}

static void test_close_cuts(void **state)
{
    (void)state;
    qu_document d; /* of cuts closer than 16 bytes the better rank stays, the earlier on a tie */
    PARSE(&d, "One long line of text that ends. Then.\n\nA paragraph, and so on.\n\nB.\n\nC. D.",
          "a.txt");
    assert_cuts(&d, "40:1 65:1");
    qu_document_free(&d);
}

static void test_long_line(void **state)
{
    (void)state;
    qu_document d;
    int64_t n = 1 << 20;
    char *s = malloc((size_t)n + 1);
    for (int64_t i = 0; i < n; i++) s[i] = i % 7 == 6 ? ' ' : 'a';
    parse(&d, s, n, "a.txt");
    assert_true(d.n_cuts >= n / 2048 - 1);
    for (int64_t i = 0; i < d.n_cuts; i++) {
        assert_int_equal(d.cuts[i].rank, QU_CUT_WORD);
        assert_int_equal(d.text[d.cuts[i].at - 1], ' ');
        assert_int_equal(d.text[d.cuts[i].at], 'a');
    }
    qu_document_free(&d);
    for (int64_t i = 0; i + 2 < n; i += 3) memcpy(s + i, "\xE6\x97\xA5", 3); /* no spaces at all */
    parse(&d, s, n / 3 * 3, "a.txt");
    assert_true(d.n_cuts >= n / 2048 - 1);
    qu_document_free(&d);
    free(s);
}

static void test_markdown(void **state)
{
    (void)state;
    qu_document d;
    const char s[] = "---\ntitle: x\n---\n"                /* 0: front matter is text */
                     "# A big heading ##\n"                /* 17 */
                     "The paragraph that follows it\n"     /* 36 */
                     "goes on in this line. A sentence.\n" /* 66 */
                     "\n"                                  /* 100 */
                     "- a list item of some length\n"      /* 101 */
                     "  goes on here after it\n"           /* 130 */
                     "- another list item of length\n"     /* 154 */
                     "\n"                                  /* 184 */
                     "An underlined heading\n"             /* 185 */
                     "---\n"                               /* 207 */
                     "```\n"                               /* 211 */
                     "# no heading. Not a sentence.\n"     /* 215 */
                     "\n"                                  /* 245 */
                     "more code in the fence\n"            /* 246 */
                     "```\n"                               /* 269 */
                     "| cell | another cell | third |\n"   /* 273 */
                     "|------|--------------|-------|\n"   /* 305 */
                     "#hashtag is text and goes on\n";     /* 337 */
    PARSE(&d, s, "README.md");
    assert_string_equal(d.format, "markdown");
    assert_string_equal(d.text, s);
    assert_string_equal(d.title, "A big heading");
    assert_int_equal(d.n_runs, 1);
    assert_int_equal(d.n_headings, 2);
    assert_int_equal(d.headings[0].at, 17);
    assert_int_equal(d.headings[0].level, 1);
    assert_int_equal(d.headings[0].text_start, 19);
    assert_int_equal(d.headings[0].text_end, 32);
    assert_int_equal(d.headings[1].at, 185);
    assert_int_equal(d.headings[1].level, 2);
    assert_int_equal(d.headings[1].text_end, 206);
    assert_cuts(&d, "17:0 36:3 66:4 101:1 130:4 154:2 185:0 211:3 246:2 273:1 337:2");
    qu_document_free(&d);
}

static void test_titles(void **state)
{
    (void)state;
    qu_document d;
    PARSE(&d, "\n\n  A short \t first   line \nmore\n", "a.txt");
    assert_string_equal(d.title, "A short first line");
    qu_document_free(&d);
    char s[512];
    memset(s, 'x', sizeof s);
    s[101] = '\n';
    parse(&d, s, sizeof s, "a.txt"); /* 101 bytes: text, not a title */
    assert_string_equal(d.title, "");
    qu_document_free(&d);
    parse(&d, s + 1, sizeof s - 1, "a.txt");
    assert_int_equal(strlen(d.title), 100);
    qu_document_free(&d);
    PARSE(&d, "#\n\n# Real #\n", "a.md"); /* not an empty one */
    assert_string_equal(d.title, "Real");
    qu_document_free(&d);
    memcpy(s, "# a", 3); /* at most 200 bytes, between characters */
    for (int i = 3; i + 1 < (int)sizeof s; i += 2) memcpy(s + i, "\xC3\xA9", 2);
    parse(&d, s, 503, "a.md");
    assert_int_equal(strlen(d.title), 199);
    qu_document_free(&d);
}

static void assert_text(const char *s, int64_t n, const char *name, const char *charset,
                        const char *want)
{
    qu_document d;
    parse(&d, s, n, name);
    assert_string_equal(d.charset, charset);
    assert_string_equal(d.text, want);
    qu_document_free(&d);
}
#define TEXT(s, name, charset, want) assert_text(s, sizeof(s) - 1, name, charset, want)

static void test_charsets(void **state)
{
    (void)state;
    TEXT("caf\xC3\xA9", NULL, "utf-8", "caf\xC3\xA9");
    TEXT("\xEF\xBB\xBF"
         "caf\xC3\xA9",
         NULL, "utf-8", "caf\xC3\xA9");
    TEXT("caf\xE9 \x80 \x93x\x94", NULL, "windows-1252",
         "caf\xC3\xA9 \xE2\x82\xAC \xE2\x80\x9Cx\xE2\x80\x9D");
    TEXT("\xC3\xA9\xC3\xA9\xC3\xA9 \xFF \xE2\x82 x", NULL, "utf-8", /* bad bytes in UTF-8 */
         "\xC3\xA9\xC3\xA9\xC3\xA9 \xEF\xBF\xBD \xEF\xBF\xBD\xEF\xBF\xBD x");
    TEXT("\xFF\xFE"
         "a\0\xE9\0\n\0",
         NULL, "utf-16le", "a\xC3\xA9\n");
    TEXT("\xFE\xFF\0a\0\xE9\xD8\x3D\xDE\x00", NULL, "utf-16be", "a\xC3\xA9\xF0\x9F\x98\x80");
    TEXT("\xFF\xFE\0\0a\0\0\0\xE9\0\0\0", NULL, "utf-32le", "a\xC3\xA9");
    TEXT("\0\0\xFE\xFF\0\0\0a\0\0\0\xE9", NULL, "utf-32be", "a\xC3\xA9");
    TEXT("p\0l\0a\0i\0n\0\r\0\n\0t\0e\0x\0t\0", NULL, "utf-16le", "plain\ntext");
    TEXT("\0p\0l\0a\0i\0n", NULL, "utf-16be", "plain");
    TEXT("\xFF\xFE"
         "long enough"
         "\xD8",
         NULL, "utf-16le", /* half a unit at the end */
         "\xE6\xBD\xAC\xE6\x9D\xAE\xE6\x94\xA0\xE6\xBD\xAE\xE6\x9D\xB5\xEF\xBF\xBD");
    TEXT("<meta charset=\"ISO-8859-15\"><p>10 \xA4", "a.html", "iso-8859-15", "10 \xE2\x82\xAC");
    TEXT("<meta http-equiv=content-type content='text/html; charset=Shift_JIS'>\x93\xFA\x96{",
         "a.html", "cp932", "\xE6\x97\xA5\xE6\x9C\xAC");
    TEXT("<?xml version='1.0' encoding='koi8-r'?><html>\xD1", "a.xhtml", "koi8-r", "\xD1\x8F");
    TEXT("<meta charset=gbk>\xC4\xE3\xBA\xC3\x81", "a.html", "gb18030",
         "\xE4\xBD\xA0\xE5\xA5\xBD\xEF\xBF\xBD");
    TEXT("<html><meta charset=latin9>10 \xA4", NULL, "iso-8859-15",
         "10 \xE2\x82\xAC"); /* no name */
    TEXT("\xFF\xFE<\0h\0t\0m\0l\0>\0a\0", NULL, "utf-16le", "a");
    TEXT("<meta charset=no-such-thing>caf\xC3\xA9", "a.html", "utf-8", "caf\xC3\xA9");
    TEXT("<meta charset=utf-7>+ADw-", "a.html", "utf-8", "+ADw-"); /* not on the list */
    TEXT("<meta charset=utf-8>caf\xE9", "a.html", "windows-1252", "caf\xC3\xA9");
    TEXT("\xCF\xF0\xE8\xE2\xE5\xF2, \xEA\xE0\xEA \xE4\xE5\xEB\xE0 \xF3 \xF2\xE5\xE1\xFF", "a.txt",
         "windows-1251", /* by what Russian looks like */
         "\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82, \xD0\xBA\xD0\xB0\xD0\xBA "
         "\xD0\xB4\xD0\xB5\xD0\xBB\xD0\xB0 \xD1\x83 \xD1\x82\xD0\xB5\xD0\xB1\xD1\x8F");
}

static void test_line_ends_and_controls(void **state)
{
    (void)state;
    TEXT("a\r\nb\rc\n\r\nd\r", NULL, "utf-8", "a\nb\nc\n\nd\n");
    char s[80] = "caf\xE9 "; /* a pair that two windows of a conversion share */
    memset(s + 5, 'a', 62);
    memcpy(s + 67, "\r\nb", 3);
    qu_document d;
    parse(&d, s, 70, NULL);
    assert_int_equal(d.text_bytes, 70);
    assert_string_equal(d.text + 68, "\nb");
    qu_document_free(&d);
    TEXT("a\fb\vc\x1B[1md\x7F and more text.", NULL, "utf-8", "a b c [1md  and more text.");
}

static void test_refusals(void **state)
{
    (void)state;
    assert_refused("", 0, "x", QU_ERR_FORMAT, "file 'x' is empty: nothing to index");
    assert_refused(NULL, 0, "x", QU_ERR_FORMAT, "file 'x' is empty: nothing to index");
    assert_refused(" \r\n\t", 4, "x", QU_ERR_FORMAT, "file 'x' is empty: nothing to index");
    assert_refused("<script>x</script>", 18, "x.htm", QU_ERR_FORMAT,
                   "file 'x.htm' is empty: nothing to index");
    const char *binary = "file 'x' is binary: not a text format that is read";
    assert_refused("a NUL \0 in a line of text", 26, "x", QU_ERR_UNSUPPORTED, binary);
    assert_refused("abcdefghi\1\2", 11, "x", QU_ERR_UNSUPPORTED, binary); /* more than 10% */
    assert_refused("%PDF-1.4 abc", 12, "x", QU_ERR_UNSUPPORTED, binary);
    char s[1024] = "\xFF\xFE";
    for (int i = 2; i < 1024; i++) s[i] = (char)(i & 1 ? 0xD8 : 0); /* half surrogates only */
    assert_refused(s, 1024, "x", QU_ERR_UNSUPPORTED, binary);
    qu_document d;
    PARSE(&d, "abcdefghij\1 and more", "x"); /* less than 10% */
    qu_document_free(&d);
}

static void test_hash(void **state)
{
    (void)state;
    qu_document d;
    PARSE(&d, "hello", "a.txt");
    assert_string_equal(d.text, "hello");
    qu_hash hash = qu_hash_bytes("hello", 5, 0);
    assert_memory_equal(&d.content_hash, &hash, sizeof hash);
    qu_document_free(&d);
    qu_document_free(&d); /* twice, and empty, is fine */
    qu_document_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_cuts),
        cmocka_unit_test(test_close_cuts),
        cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_markdown),
        cmocka_unit_test(test_titles),
        cmocka_unit_test(test_charsets),
        cmocka_unit_test(test_line_ends_and_controls),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
