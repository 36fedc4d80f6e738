/* ingest/html.c: what becomes text and how it is laid out. */
#include "tests/ingest_check.h"

static void assert_html(const char *html, const char *want)
{
    qu_document d;
    parse(&d, html, (int64_t)strlen(html), "a.html");
    assert_string_equal(d.format, "html");
    assert_string_equal(d.text, want);
    qu_document_free(&d);
}

static void test_blocks(void **state)
{
    (void)state;
    assert_html("<h1>A</h1><p>b  c &amp; d<ul><li>e", "A\n\nb c & d\n\n- e");
    assert_html("a<p>b</p>\n\n<p>c<br>d<br/>e</div>f", "a\n\nb\n\nc\nd\ne\n\nf");
    assert_html("<b>bo</b>ld and<i> it</i> <u>un</u>", "bold and it un");
    assert_html("<ul><li>a<li><p>b</p><ul><li>c</ul></ul>d", "- a\n- b\n\n- c\n\nd");
    assert_html("<ul><li>a<ul><li>b</ul><li>c</ul>", "- a\n- b\n- c");
    assert_html("<ul><li></ul>x", "x");
    assert_html("<dl><dt>t<dd>d</dl>", "t\nd");
    assert_html("<blockquote>q</blockquote>r<hr>s", "q\n\nr\n\ns");
    assert_html("x<unknown-element-name>y</unknown-element-name>z", "xyz");
    assert_html("<P CLASS=x>UPPER</P>case", "UPPER\n\ncase");
}

static void test_tables(void **state)
{
    (void)state;
    assert_html("<table><caption>C</caption><tr><th>a<th>b<tr><td>1<td><p>2</p></table>z",
                "C\na\tb\n1\t2\n\nz");
    assert_html("<table><tr><td><p>a</p></td><td>b</td></tr><tr><td>c</td></tr></table>",
                "a\tb\nc");
    assert_html("<table><tr><td>a</td><td><p>b</p></td></tr><tr><td>c</td></tr></table>",
                "a\tb\nc");
    assert_html("<table><tr><td><p>a</p><p>b</p></td><td>c</td></tr></table>", "a\n\nb\n\nc");
    assert_html("<table><tr><td><table><tr><td>a<td>b</table><td>c</table>", "a\tb\n\nc");
    assert_html("<table><tr><td><th>Q1<th>Q2<tr><td>x<td><td>2<tr><td><td>3<td></table>",
                "\tQ1\tQ2\nx\t\t2\n\t3"); /* empty cells keep their place under a head */
    assert_html("<table><tr><td></td><td>a</td><td></td><td>b</td></tr></table>", "a\t\tb");
    assert_html("<table><tr><td>a</td><td><h2>H</h2></td></table>", "a\n\nH");
}

/* A long table says what its columns are again and again; the head is cut off from no row. */
static void test_table_head(void **state)
{
    (void)state;
    qu_document d;
    qu_buf page = {0};
    TEST_OK(qu_buf_puts(&page, "<table><tr><th>year<th>profit", err));
    for (int i = 0; i < 100; i++)
        TEST_OK(qu_buf_printf(&page, err, "<tr><td>%d<td>%d thousand crowns", 1900 + i, i * 7));
    TEST_OK(qu_buf_puts(&page, "</table><p>After it.", err));
    parse(&d, page.data, (int64_t)page.len, "a.html");
    int heads = 0;
    for (const char *p = d.text; (p = strstr(p, "year\tprofit\n19")); p++) heads++;
    assert_int_equal(heads, 4);
    assert_null(strstr(d.text, "profit\nyear"));
    for (int64_t i = 0; i < d.n_cuts; i++)
        if (d.cuts[i].at > 7) assert_memory_not_equal(d.text + d.cuts[i].at - 7, "profit\n", 7);
    const char *row = strstr(d.text, "1950");
    int64_t from, to;
    qu_document_source_range(d.runs, d.n_runs, row - d.text, row - d.text + 4, &from, &to);
    assert_memory_equal(page.data + from, "1950", 4);
    assert_int_equal(to - from, 4);
    qu_document_free(&d);
    qu_buf_free(&page);
}

static void test_pre(void **state)
{
    (void)state;
    assert_html("<pre>\nint  x;\n\n\ty = &lt;1;\n</pre>z", "int  x;\n\n\ty = <1;\n\nz");
    assert_html("<pre>a&nbsp;&nbsp;b", "a  b");
    assert_html("a <pre>b\nc", "a\n\nb\nc");
    assert_html("<div><pre>a\n b</div>c  d", "a\n b\n\nc d");
    assert_html("<p>a</p><pre>\n\n</pre><p>b", "a\n\nb");
}

static void test_dropped(void **state)
{
    (void)state;
    assert_html("a<script>if (1 < 2) '</b>'</script >b<style>p{}</style>c", "abc");
    assert_html("a<nav>menu<ul><li>x</ul></nav>b", "a\n\nb");
    assert_html("<div>a<nav>unclosed</div>b", "a\n\nb");
    assert_html("<nav>menu<main>text</main>", "text");
    assert_html("a<!-- <p>c --><!-- -- ->--!>b<?php x ?><!DOCTYPE x><![if IE]>d", "abd");
    assert_html("a<noscript>n</noscript><template>t</template><select><option>o</select>"
                "<textarea><b>x</textarea><button>x</button><svg><title>t</title></svg>b",
                "ab");
    assert_html("<header><h1>Headline</h1></header>text<footer>f</footer><aside>s</aside>",
                "Headline\n\ntext\n\ns");
    assert_html("a<script src=/x/>b</script>c<script />d",
                "acd"); /* closed only by "/>" of its own */
    assert_html("<nav>only <b>this</b></nav><script>x</script>",
                "only this"); /* better than nothing */
    assert_html("a<script>never closed", "a");
    assert_html("a<title>never closed<p>b", "a\n\nb");
}

static void test_references(void **state)
{
    (void)state;
    assert_html("&lt;&eacute;&#233;&#xE9;&#x1F600;&hellip;",
                "<\xC3\xA9\xC3\xA9\xC3\xA9\xF0\x9F\x98\x80\xE2\x80\xA6");
    assert_html("a&nbsp;b&#32;&#9;c", "a b c");
    assert_html("[&#0;&#xD800;&#1114112;&#99999999999;&#128;]", "[\xE2\x82\xAC]");
    assert_html("&amp &copy2 ?a=1&lang=2 & &; &# &#x &nosuch; &eacute,",
                "& &copy2 ?a=1&lang=2 & &; &# &#x &nosuch; \xC3\xA9,");
    assert_html("[&#4294967361;&#x100000041;]", "[]"); /* 2^32 + 'A' */
    assert_html("a\xC2\xA0 b", "a b");
    assert_html("co&shy;op", "coop");
}

static void test_not_markup(void **state)
{
    (void)state;
    assert_html("a < b, a<3, x <", "a < b, a<3, x <");
    assert_html("a<b title='>' x=\">\" y = '>' z=>c", "ac");
    assert_html("it's <a href=x'y>fine</a>", "it's fine"); /* a quote inside an unquoted value */
    assert_html("<p it's>a</p><p>b's", "a\n\nb's");
    assert_html("a<p b=\"never closed>c", "a");
    assert_html("a<p never closed", "a");
    assert_html("a</ b>c<? e>d", "acd");
}

static void test_title_and_headings(void **state)
{
    (void)state;
    qu_document d;
    PARSE(&d,
          "<title>\n The &quot;T&quot;\n itle</title><h2>First heading here</h2>One paragraph of "
          "text."
          "<h3><div>Sec</div>ond, with <b>inline</b></h3><p>Text. More text in a sentence.",
          "a.html");
    assert_string_equal(d.title, "The \"T\" itle");
    assert_string_equal(d.text,
                        "First heading here\n\nOne paragraph of text.\n\nSec ond, with inline\n\n"
                        "Text. More text in a sentence.");
    assert_int_equal(d.n_headings, 2);
    assert_int_equal(d.headings[0].level, 2);
    assert_int_equal(d.headings[0].text_end, 18);
    assert_int_equal(d.headings[1].at, 44);
    assert_int_equal(d.headings[1].text_end, 64);
    assert_int_equal(d.n_cuts, 3);
    assert_int_equal(d.cuts[0].rank, QU_CUT_SENTENCE); /* after a heading */
    assert_int_equal(d.cuts[1].rank, QU_CUT_HEADING);
    assert_int_equal(d.cuts[1].at, 44);
    assert_int_equal(d.cuts[2].rank, QU_CUT_SENTENCE);
    qu_document_free(&d);

    PARSE(&d, "<svg><title>no</title></svg><title> </title><title>One</title><title>Two</title>x",
          "a.html");
    assert_string_equal(d.title, "One");
    assert_string_equal(d.text, "x");
    qu_document_free(&d);

    PARSE(&d, "<!-- c --> <!DOCTYPE HTML><h1></h1><h1>Real</h1>x", "noending"); /* by content */
    assert_string_equal(d.format, "html");
    assert_string_equal(d.title, "Real");
    assert_int_equal(d.n_headings, 1);
    qu_document_free(&d);

    char s[2000]; /* an unclosed heading does not swallow the page */
    memset(s, 'x', sizeof s);
    for (int i = 50; i < 2000; i += 50) s[i] = ' ';
    memcpy(s, "<h1>", 4);
    parse(&d, s, sizeof s, "a.html");
    assert_true(d.headings[0].text_end < 600);
    qu_document_free(&d);
    PARSE(&d, "<h1>Open<p>paragraph", "a.html");
    assert_int_equal(d.headings[0].text_end, 4);
    qu_document_free(&d);
}

static void test_ranks(void **state)
{
    (void)state;
    qu_document d;
    PARSE(&d,
          "<p>The first paragraph.</p><ul><li>An item of some length<li>Another item of a list</ul>"
          "<pre>code line number one.\nCode line of some length. Number two, which is no "
          "sentence.</pre><p>The last paragraph.",
          "a.html");
    const int8_t want[] = {QU_CUT_LINE, QU_CUT_LINE, QU_CUT_PARAGRAPH, QU_CUT_LINE,
                           QU_CUT_PARAGRAPH};
    assert_int_equal(d.n_cuts, 5);
    for (int i = 0; i < 5; i++) assert_int_equal(d.cuts[i].rank, want[i]);
    assert_int_equal(d.text[d.cuts[1].at], '-');
    assert_int_equal(d.text[d.cuts[3].at], 'C');
    qu_document_free(&d);
    PARSE(&d, "<p>some plain words in\na line", "a.html");
    assert_int_equal(d.n_runs, 3); /* the begin of the file, "some plain words in", "a line" */
    qu_document_free(&d);
}

#define PROSE                                                                                      \
    "The harbour of the town was closed for two days because of the storm, and both ferries "      \
    "stayed where they were until the wind had turned and the pilots could leave again."
#define MENU "<ul><li><a href=/a>News of the town</a><li><a href=/b>Sport and weather</a></ul>"
#define PAGE(meta, around)                                                                         \
    "<head><title>T</title>" meta "</head><body><div id=top>" MENU                                 \
    "</div><div id=in><h1>Storm</h1>"                                                              \
    "<div class=page-column><p>" PROSE "<p>" PROSE                                                 \
    "<div class='social-links'>Tell <a href=/t>your "                                              \
    "friends</a></div><p>Short.</div></div>" around

static void test_clutter(void **state)
{
    (void)state;
    qu_document d;
    const char *text = "Storm\n\n" PROSE "\n\n" PROSE "\n\nShort.";
    PARSE(&d, /* an article: nothing from outside, nothing named like clutter inside */
          PAGE("<meta property=og:type content=Article><meta name=author content='Ann &amp; Bo'>"
               "<meta property=article:author content=https://a.b>"
               "<meta property=article:published_time content=2019-01-03T07:00>",
               "<div class=more><p>Another text of no interest here.</div>"),
          "a.html");
    assert_string_equal(d.text, text);
    assert_string_equal(d.title, "T (Ann & Bo, 2019-01-03)");
    qu_document_free(&d);
    PARSE(&d, /* a second body, and what only sounds like clutter, stay */
          "<meta property=og:type content=article><div><h1>A</h1><div class=x><p>" PROSE "<p>" PROSE
          "<div class=sidebar><p>" PROSE "</div></div></div><div><div><p>" PROSE "</div></div>",
          "a.html");
    assert_string_equal(d.text, "A\n\n" PROSE "\n\n" PROSE "\n\n" PROSE "\n\n" PROSE);
    qu_document_free(&d);
    PARSE(&d, /* else what stands beside the body stays, unless it is a menu */
          PAGE("", "<div class=facts>The port number is 6600.</div><div class=sidebar>See "
                   "<a href=/x>the other one</a></div>"),
          "a.html");
    assert_string_equal(d.text, "Storm\n\n" PROSE "\n\n" PROSE "\n\nTell your friends\n\nShort."
                                "\n\nThe port number is 6600.");
    qu_document_free(&d);
    PARSE(&d, /* a page of links and little text loses none */
          "<div class=sidebar>" MENU "</div><div><p>The pages of the town.</div><footer>F</footer>",
          "a.html");
    assert_string_equal(d.text,
                        "- News of the town\n- Sport and weather\n\nThe pages of the town.");
    qu_document_free(&d);
    assert_html("<meta name=author content=Ann>x<script type='application/ld+json'>{}</script>y",
                "xy");
}

/* Inputs that make careless readers quadratic: half a megabyte each must not take noticeable time.
 */
static void test_hostile(void **state)
{
    (void)state;
    static const char *const repeated[] = {"<b>",       "</b>",
                                           "<div>",     "</nav>",
                                           "<nav>",     "<",
                                           "&",         "&#",
                                           "&zz;",      "<!--",
                                           "<title>",   "x<script>",
                                           "<a b=\"'>", "<p a1 ",
                                           "<td>a",     "<table><tr><td>",
                                           "<pre>\n",   "<h1>a",
                                           "<li>",      "</",
                                           "<a =",      "<script></script",
                                           "<?",        "x<svg>",
                                           "</b>x",     "<p></zz>",
                                           "<!DOCTYPE", "<a b=c d=\">\""};
    enum { N = 1 << 19 };
    char *s = malloc(N);
    for (size_t i = 0; i < sizeof repeated / sizeof *repeated; i++) {
        size_t len = strlen(repeated[i]);
        s[0] = 'x';
        for (size_t k = 1; k < N; k++) s[k] = repeated[i][(k - 1) % len];
        parse_quick(s, N, "a.html");
        memcpy(s, "<div x ", 7); /* the same inside an open tag */
        parse_quick(s, N, "a.html");
    }
    free(s);
}

/* Where the parser itself is not linear: attributes of one tag, also behind a name that it cuts in
 * two or hidden in what is no tag, open elements that a script stands in, and different names. */
static void test_bounds(void **state)
{
    (void)state;
    static const char *const before[] = {"<p>x<div ", "x<!-- <a b=\" --><p ", "x<b \"'", "x<b=\" ",
                                         "x<b =' ",   "x<b c='\"' d\"=' ",    NULL};
    enum { N = 1 << 20 };
    char *s = malloc(N), name[101];
    qu_document d;
    memset(name, 'n', 100);
    name[100] = 0;
    for (int kind = 0; kind < 7; kind++) {
        size_t len = before[kind] ? (size_t)sprintf(s, "%s", before[kind])
                                  : (size_t)sprintf(s, "x<p %s9=\"", name);
        for (int i = 0; len < N - 20; i++) len += (size_t)sprintf(s + len, "a%d ", i);
        len += (size_t)sprintf(s + len, "\">tail");
        parse_quick(s, (int64_t)len, "a.html");
    }
    size_t len = 0;
    for (int i = 0; i < 5000; i++) len += (size_t)sprintf(s + len, "<div>%s", i ? "" : "a");
    len += (size_t)sprintf(s + len, "<script><b>no</script>yes<nav>deep</nav></div>b");
    parse(&d, s, (int64_t)len, "a.html");
    assert_string_equal(d.text, "a\n\nyes\n\ndeep\n\nb");
    qu_document_free(&d);
    len = (size_t)sprintf(s, "<p>x");
    for (int i = 0; i < 127; i++)
        len += (size_t)sprintf(s + len, "%sa%d=\"v>\"", i ? " " : "<i ", i);
    len += (size_t)sprintf(s + len, ">y<em");
    for (int i = 0; i < 200; i++) len += (size_t)sprintf(s + len, " a%d=v", i);
    len += (size_t)sprintf(s + len, ">z");
    parse(&d, s, (int64_t)len, "a.html"); /* attributes are no text, however many */
    assert_string_equal(d.text, "xyz");
    qu_document_free(&d);
    static const char *const named[] = {"<x%x>", "</x%x>", "&x%x ", "<?x%x>", "<a x%x>"};
    for (int kind = 0; kind < 5; kind++) {
        qu_err err = {0};
        len = (size_t)sprintf(s, "text ");
        for (int i = 0; i < 66000; i++) len += (size_t)sprintf(s + len, named[kind], i);
        assert_int_equal(qu_document_parse(&d, s, (int64_t)len, "a.html", &err),
                         QU_ERR_LIMIT);
        assert_non_null(strstr(err.msg, "different names"));
    }
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),     cmocka_unit_test(test_tables),
        cmocka_unit_test(test_table_head), cmocka_unit_test(test_pre),
        cmocka_unit_test(test_dropped),    cmocka_unit_test(test_references),
        cmocka_unit_test(test_not_markup), cmocka_unit_test(test_title_and_headings),
        cmocka_unit_test(test_ranks),      cmocka_unit_test(test_clutter),
        cmocka_unit_test(test_hostile),    cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
