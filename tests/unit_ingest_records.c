/* ingest/records.c and source code in plain.c: records with the names of their columns,
 * definitions. */
#include "ingest/office.h"
#include "tests/ingest_check.h"

/* The text of a literal, its format, and that each of its words comes from the raw bytes cited. */
static void assert_text(const char *raw, const char *name, const char *format, const char *want)
{
    qu_document d;
    parse(&d, raw, (int64_t)strlen(raw), name);
    assert_string_equal(d.text, want);
    assert_string_equal(d.format, format);
    assert_true(d.has_source);
    qu_document_free(&d);
}

static void test_csv(void **state)
{
    (void)state;
    assert_text("id,name,price\n7,\"Lamp, \"\"red\"\"\",45\r\n8,Chair,\n", "a.csv", "csv",
                "id: 7\nname: Lamp, \"red\"\nprice: 45\n\nid: 8\nname: Chair");
    assert_text("a;b\n1,5;two\nlines;3;4\n", "a.csv", "csv",
                "a: 1,5\nb: two\n\na: lines\nb: 3\n4"); /* the fourth has no name */
    assert_text("a\tb\n1\t\"x\ny\"", "a.tsv", "csv", "a: 1\nb: x y");
    assert_text("k,v\na,\"never closed\nb,2\n", "a.csv", "csv",
                "k: a\nv: \"never closed\n\nk: b\nv: 2");
    assert_text("1,2\n3,4\n", "a.csv", "text", "1,2\n3,4\n"); /* no names */
    assert_text("one line\n", "a.csv", "text", "one line\n");
    assert_text("a,b\n1\n", "a.csv", "text", "a,b\n1\n");
    assert_text("a,b\n", "a.csv", "text", "a,b\n");
    qu_document d;
    PARSE(&d, "town,mayor\nNorrholm,Ann\nVik,\"Bo\"\n", "a.csv");
    int64_t from, to;
    const char *at = strstr(d.text, "town: Vik");
    qu_document_source_range(d.runs, d.n_runs, at - d.text, d.text_bytes, &from, &to);
    assert_int_equal(from, 24); /* the second record, to the end of the file */
    assert_int_equal(d.cuts[0].rank, QU_CUT_PARAGRAPH);
    assert_string_equal(d.title, "town, mayor");
    qu_document_free(&d);
}

static void test_jsonl(void **state)
{
    (void)state;
    assert_text(
        "{\"id\":1,\"t\":\"x\\ty\\u0001z\",\"in\":{\"a\":[true,2.5],\"n\":null,\"e\":\"\"}}\n"
        "no json\n\n[\"p\",\"q\"]\n",
        "a.jsonl", "jsonl", "id: 1\nt: x\ty z\nin.a: true\nin.a: 2.5\n\nno json\n\np\nq");
    assert_text("no json\nat all\n", "a.jsonl", "text", "no json\nat all\n");
    qu_document d;
    PARSE(&d, "{\"a\":\"first\"}\n{\"a\":\"second one\"}\n", "a.ndjson");
    int64_t from, to;
    const char *at = strstr(d.text, "second");
    qu_document_source_range(d.runs, d.n_runs, at - d.text, at - d.text + 6, &from, &to);
    assert_int_equal(from, 14); /* a record is cited whole */
    assert_int_equal(to, 33);
    qu_document_free(&d);
}

/* Names that would blow a file up, deep and endless records: plain text, in no time. */
static void test_hostile(void **state)
{
    (void)state;
    enum { N = 1 << 19 };
    char *s = malloc(N + 200);
    qu_document d;
    size_t n = (size_t)sprintf(s, "%099d a,%099d b\n", 0, 0);
    while (n < N) n += (size_t)sprintf(s + n, "1,2\n");
    parse(&d, s, (int64_t)n, "a.csv");
    assert_string_equal(d.format, "text");
    qu_document_free(&d);
    n = (size_t)sprintf(s, "{\"%01000d\":[", 0);
    while (n < N) n += (size_t)sprintf(s + n, "1,");
    n += (size_t)sprintf(s + n, "1]}");
    parse(&d, s, (int64_t)n, "a.jsonl");
    assert_string_equal(d.format, "text");
    qu_document_free(&d);
    static const char *const repeated[] = {"\"a,", "\"\",",   "a,b\n\"", ",",   "\"\"\"\n",
                                           "[",    "{\"a\":", "[\n",     "\"\n"};
    for (size_t i = 0; i < sizeof repeated / sizeof *repeated; i++) {
        size_t len = strlen(repeated[i]);
        for (size_t k = 0; k < N; k++) s[k] = repeated[i][k % len];
        memcpy(s, "a,b\n1,2\n", 8);
        parse_quick(s, N, "a.csv");
        memcpy(s, "{\"a\":1}\n", 8);
        parse_quick(s, N, "a.jsonl");
        parse_quick(s, N, "a.c");
    }
    free(s);
}

static void test_code(void **state)
{
    (void)state;
    qu_document d;
    PARSE(&d,
          "/* Sums of numbers. */\n#include <stdio.h>\n\nstatic int number;\n\n/* Adds two. */\n"
          "int add(int a, int b)\n{\n    int sum = a + b;\n\n    return sum;\n}\n"
          "int main(void)\n{\n    if (number) return add(1, 2);\n}\n",
          "a.c");
    assert_string_equal(d.format, "code");
    assert_string_equal(d.title, "Sums of numbers.");
    assert_int_equal(d.n_headings, 2);
    assert_memory_equal(d.text + d.headings[0].text_start, "int add(int a, int b)", 21);
    assert_memory_equal(d.text + d.headings[1].text_start, "int main(void)", 14);
    assert_memory_equal(d.text + d.headings[0].at, "/* Adds", 7); /* its comment belongs to it */
    int paragraphs = 0;
    for (int64_t i = 0; i < d.n_cuts; i++) {
        const char *at = d.text + d.cuts[i].at;
        bool top = strncmp(at, "static int number", 17) == 0 || strncmp(at, "/* Adds", 7) == 0 ||
                   strncmp(at, "int main", 8) == 0;
        assert_int_equal(d.cuts[i].rank == QU_CUT_PARAGRAPH, top);
        paragraphs += top;
    }
    assert_int_equal(paragraphs, 3);
    qu_document_free(&d);
    PARSE(&d, "#!/usr/bin/env python3\nclass Lamp(Base):\n    def light(self):\n        return 1\n",
          "a.py");
    assert_int_equal(d.n_headings, 2);
    assert_int_equal(d.headings[1].level, 2);
    assert_memory_equal(d.text + d.headings[1].text_start, "def light(self)", 15);
    assert_int_equal(d.headings[1].text_end - d.headings[1].text_start, 15);
    qu_document_free(&d);
}

/* The head of a Markdown table is not cut off its first row. */
static void test_table_head(void **state)
{
    (void)state;
    qu_document d;
    PARSE(&d,
          "Some words before it.\n\n| name of it | price of it |\n|------------|-------------|\n"
          "| lamp, red  | 45 crowns   |\n| chair      | 20 crowns   |\n",
          "a.md");
    assert_int_equal(d.n_cuts, 2);
    assert_memory_equal(d.text + d.cuts[0].at, "| name", 6);
    assert_memory_equal(d.text + d.cuts[1].at, "| chair", 7);
    qu_document_free(&d);
}

static void assert_xml(const char *xml, const char *want)
{
    qu_buf html = {0};
    TEST_OK(qu_xml_html(&html, xml, (int64_t)strlen(xml), err));
    const char *body = strstr(html.data, want);
    if (!body) fail_msg("'%s' is not in '%s'", want, html.data);
    qu_buf_free(&html);
}

/* Any XML: the fields of an element are lines with their names; text with elements in it is
 * text. */
static void test_xml(void **state)
{
    (void)state;
    assert_xml(
        "<c><item id='7'><name>Lamp</name><price>45</price><note>A <b>red</b> one</note></item>"
        "<item><name>Chair</name></item></c>",
        "<p>item id: 7<br>name: Lamp<br>price: 45<br>note: A red one</p>\n<p>name: Chair</p>");
    assert_xml("<s><host name='a&amp;b' port='80'/><host name='' port='81'/>x</s>",
               "<p>host name: a&amp;b<br>host port: 80</p>\n<p>host port: 81</p>\n<p>x</p>");
    assert_xml("<a><b><c>1</c></b><d>2</d></a>", "<p>c: 1</p>\n<p>d: 2</p>");
    assert_xml("<book><info><year>2020</year></info><para>Some <em>new</em> text</para></book>",
               "<p>year: 2020</p>\n<p>Some new text</p>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv),        cmocka_unit_test(test_jsonl),
        cmocka_unit_test(test_hostile),    cmocka_unit_test(test_code),
        cmocka_unit_test(test_table_head), cmocka_unit_test(test_xml),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
