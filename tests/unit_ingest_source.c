/* The way back from text to bytes: exact by construction on generated texts, and on hand-made
 * cases. */
#include <iconv.h>

#include "base/buf.h"
#include "tests/ingest_check.h"

enum { ROUNDS = 60, SPANS = 60 };

static uint64_t seed = 20240117;

static int64_t below(int64_t n)
{
    return (int64_t)(test_random(&seed) % (uint64_t)n);
}

static const char *pick(const char *const *list, int n)
{
    return list[below(n)];
}

/* A random span of whole characters. */
static void span_of(const qu_document *d, int64_t *from, int64_t *to)
{
    *from = below(d->text_bytes);
    *to = *from + 1 + below(d->text_bytes - *from < 200 ? d->text_bytes - *from : 200);
    while (*from > 0 && ((unsigned char)d->text[*from] & 0xC0) == 0x80) --*from;
    while (*to < d->text_bytes && ((unsigned char)d->text[*to] & 0xC0) == 0x80) ++*to;
}

/* Plain text: decoding the raw range alone gives the span, no byte more. */
static void test_plain_is_exact(void **state)
{
    (void)state;
    static const char *const bits[] = {"word ",
                                       "x",
                                       "\r\n",
                                       "\n",
                                       "\r",
                                       "\xC3\xA9",
                                       "\xE6\x97\xA5",
                                       "\xF0\x9F\x98\x80",
                                       "\t",
                                       "\f",
                                       " longer words here. ",
                                       "\r\n\r\n"};
    for (int round = 0; round < ROUNDS; round++) {
        qu_buf raw = {0};
        qu_document d, part;
        TEST_OK(qu_buf_puts(&raw,
                            round & 1 ? "\xEF\xBB\xBF"
                                        "begin"
                                      : "begin",
                            err));
        for (int i = 0; i < 300; i++) TEST_OK(qu_buf_puts(&raw, pick(bits, 12), err));
        parse(&d, raw.data, (int64_t)raw.len, "a.txt");
        assert_true(d.has_source);
        for (int i = 0; i < SPANS; i++) {
            int64_t from, to, start, end;
            span_of(&d, &from, &to);
            qu_document_source_range(d.runs, d.n_runs, from, to, &start, &end);
            assert_true(start >= 0 && end <= (int64_t)raw.len && start < end);
            char *want = strndup(d.text + from, (size_t)(to - from));
            if (strspn(want, " \t\n") == (size_t)(to - from)) { /* blank alone would be refused */
                assert_true(end - start <= 2 * (to - from));
            } else {
                parse(&part, raw.data + start, end - start, "a.txt");
                assert_string_equal(part.text, want);
                qu_document_free(&part);
            }
            free(want);
        }
        qu_document_free(&d);
        qu_buf_free(&raw);
    }
}

/* The visible characters of HTML between two positions: no tags, no references, no blanks. */
static void strip(qu_buf *out, const char *s, int64_t n)
{
    static const char *const names[][2] = {
        {"&amp;", "&"}, {"&eacute;", "\xC3\xA9"}, {"&#x65E5;", "\xE6\x97\xA5"}, {"&nbsp;", ""}};
    for (int64_t i = 0; i < n;) {
        if (s[i] == '<') {
            while (i < n && s[i] != '>') i++;
            i++;
            continue;
        }
        size_t k = 0;
        while (k < 4 && strncmp(s + i, names[k][0], strlen(names[k][0])) != 0) k++;
        if (k < 4) {
            TEST_OK(qu_buf_puts(out, names[k][1], err));
            i += (int64_t)strlen(names[k][0]);
            continue;
        }
        if (!strchr(" \r\n\t-", s[i]))
            TEST_OK(qu_buf_add(out, s + i, 1, err)); /* '-': list markers */
        i++;
    }
    TEST_OK(qu_buf_puts(out, "", err));
}

static const char *const html_bits[] = {"word ",
                                        "word",
                                        " ",
                                        "\n",
                                        "<b>",
                                        "</b>",
                                        "<p>",
                                        "</p>\n",
                                        "<br>",
                                        "&amp;",
                                        "&eacute;",
                                        "&#x65E5;",
                                        "&nbsp;",
                                        "<!-- no text -->",
                                        "<div class=x>",
                                        "</div>",
                                        "<ul>",
                                        "<li>",
                                        "</ul>",
                                        "<h2>",
                                        "</h2>",
                                        "<table><tr><td>",
                                        "<td>",
                                        "<tr><td>",
                                        "</table>",
                                        "\r\n",
                                        "<pre>",
                                        "</pre>",
                                        "\xC3\xA9",
                                        "\xE6\x97\xA5"};

static void random_html(qu_buf *raw)
{
    raw->len = 0;
    TEST_OK(qu_buf_puts(raw, "<html><body>begin ", err));
    for (int i = 0; i < 300; i++) TEST_OK(qu_buf_puts(raw, pick(html_bits, 30), err));
}

/* HTML: the raw range with its markup stripped is the span, no character more or less. */
static void test_html_is_exact(void **state)
{
    (void)state;
    qu_buf raw = {0}, got = {0}, want = {0};
    for (int round = 0; round < ROUNDS; round++) {
        qu_document d;
        random_html(&raw);
        parse(&d, raw.data, (int64_t)raw.len, "a.html");
        assert_true(d.has_source);
        for (int i = 0; i < SPANS; i++) {
            int64_t from, to, start, end;
            span_of(&d, &from, &to);
            qu_document_source_range(d.runs, d.n_runs, from, to, &start, &end);
            got.len = want.len = 0;
            strip(&got, raw.data + start, end - start);
            for (int64_t k = from; k < to; k++)
                if (!strchr(" \n\t-", d.text[k])) TEST_OK(qu_buf_add(&want, d.text + k, 1, err));
            TEST_OK(qu_buf_puts(&want, "", err));
            assert_string_equal(got.data, want.data);
        }
        qu_document_free(&d);
    }
    qu_buf_free(&raw);
    qu_buf_free(&got);
    qu_buf_free(&want);
}

/* Converted text: the raw range covers the span, to within 64 bytes at each end. */
static void covers(const char *charset, const char *bom, const char *utf8, bool html)
{
    char raw[4096], from_name[40];
    qu_document d, part;
    snprintf(from_name, sizeof from_name, "%s", charset);
    iconv_t cd = iconv_open(charset, "UTF-8");
    size_t left = strlen(utf8), room = sizeof raw, bom_len = strlen(bom);
    char *in = (char *)utf8, *out = raw + bom_len;
    memcpy(raw, bom, bom_len);
    room -= bom_len;
    assert_true(iconv(cd, &in, &left, &out, &room) != (size_t)-1);
    iconv_close(cd);
    parse(&d, raw, out - raw, html ? "a.html" : "a.txt");
    assert_true(d.has_source);
    for (int i = 0; i < SPANS; i++) {
        int64_t from, to, start, end;
        span_of(&d, &from, &to);
        qu_document_source_range(d.runs, d.n_runs, from, to, &start, &end);
        assert_true(start < end && end <= out - raw);
        assert_true(end - start <= 4 * (to - from) + 128 + (html ? 200 : 0));
        char piece[4096], *want = strndup(d.text + from, (size_t)(to - from));
        int64_t len = (int64_t)bom_len;
        memcpy(piece, bom, bom_len); /* so that the part is read in the same encoding */
        if (html && !bom_len) len += sprintf(piece + len, "<meta charset=%s>", charset);
        memcpy(piece + len, raw + start, (size_t)(end - start));
        if (strspn(want, " \n-") < strlen(want)) {
            qu_err err = {0};
            assert_int_equal(qu_document_parse(&part, piece, len + end - start,
                                               html ? "a.html" : "a.txt", &err),
                             QU_OK);
            for (char *p = strtok(want, " \n-"); p; p = strtok(NULL, " \n-"))
                assert_non_null(strstr(part.text, p));
            qu_document_free(&part);
        }
        free(want);
    }
    qu_document_free(&d);
}

static void test_converted_is_covered(void **state)
{
    (void)state;
    const char *french =
        "Le caf\xC3\xA9 \xC3\xA9tait ferm\xC3\xA9. Il \xC3\xA9tait tard et la rue restait vide "
        "jusqu'au matin, sans un bruit.\nUne d\xC3\xA9"
        "cision fut prise apr\xC3\xA8s.\n";
    covers("windows-1252", "", french, false);
    covers("utf-16le", "\xFF\xFE", french, false);
    covers("utf-16be", "\xFE\xFF", french, false);
    covers(
        "windows-1252", "",
        "<meta charset=windows-1252><p>\xC3\xA9t\xC3\xA9 <b>\xC3\xA9</b>t\xC3\xA9 &eacute; suite "
        "<p>encore un texte \xC3\xA0 lire<ul><li>un<li>deux",
        true);
    covers("utf-16le", "\xFF\xFE",
           "<p>encore <b>un</b> texte <i>\xC3\xA0</i> <u>lire</u> et <b>plus</b> encore"
           "<p><b>deux</b> <i>trois</i> quatre <b>cinq</b>",
           true);
    covers("gb18030", "",
           "<meta charset=gb18030><p>\xE6\x97\xA5\xE6\x9C\xAC ab <b>\xE4\xBD\xA0</b>\xE5\xA5\xBD "
           "\xE4\xB8\xAD",
           true);
    /* ASCII stretches of such a file are exact. */
    qu_document d;
    int64_t start, end;
    PARSE(&d, "caf\xE9 and some plain words, caf\xE9", "a.txt");
    const char *p = strstr(d.text, "some");
    qu_document_source_range(d.runs, d.n_runs, p - d.text, p - d.text + 10, &start, &end);
    assert_int_equal(start, 9);
    assert_int_equal(end, 19);
    qu_document_source_range(d.runs, d.n_runs, 3, 5, &start, &end); /* one converted character */
    assert_int_equal(start, 3);
    assert_int_equal(end, 4);
    qu_document_free(&d);
}

static void test_range_cases(void **state)
{
    (void)state;
    int64_t start, end;
    const qu_source_run runs[] = {{0, 3, 5}, {7, 20, 0}, {8, 25, 4}, {14, 40, 2}};
    const int64_t want[][4] = {
        {0, 5, 3, 8},     {1, 2, 4, 5},     {4, 6, 7, 20},    {5, 7, 8, 20},
        {7, 8, 20, 25},   {7, 9, 20, 26},   {8, 12, 25, 29},  {12, 14, 29, 40},
        {13, 15, 29, 41}, {14, 16, 40, 42}, {15, 99, 41, 42}, {0, 99, 3, 42},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        qu_document_source_range(runs, 4, want[i][0], want[i][1], &start, &end);
        assert_int_equal(start, want[i][2]);
        assert_int_equal(end, want[i][3]);
    }
    qu_document_source_range(runs, 4, 5, 5, &start, &end);
    assert_true(start == 0 && end == 0);
    qu_document_source_range(NULL, 0, 0, 5, &start, &end);
    assert_true(start == 0 && end == 0);
}

static void test_too_many_runs(void **state)
{
    (void)state; /* one run for each two bytes: positions are given up, the text is not */
    enum { N = 400000 };
    char *s = malloc(N);
    for (int i = 0; i < N; i++) s[i] = "a\r\n"[i % 3];
    qu_document d;
    parse(&d, s, N, "a.txt");
    assert_false(d.has_source);
    assert_int_equal(d.n_runs, 0);
    qu_document_free(&d);
    parse(&d, s, 3 * 60000, "a.txt");
    assert_true(d.has_source);
    qu_document_free(&d);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_is_exact),       cmocka_unit_test(test_html_is_exact),
        cmocka_unit_test(test_converted_is_covered), cmocka_unit_test(test_range_cases),
        cmocka_unit_test(test_too_many_runs),
    };
    print_message("seed %llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
