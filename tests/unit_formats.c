/* What comes out of each format, by the reader and its children; then hostile and damaged files. */
#include <dirent.h>
#include <sys/resource.h>

#include "base/os.h"
#include "ingest/pdf.h"
#include "ingest/walk.h"
#include "tests/reader_testing.h"
#define QU_FUZZ_NO_MAIN
#include "tests/fuzz_ingest.c"

static qu_reader *reader;

static int start(void **state)
{
    qu_reader_options o = {.program = "/proc/self/exe"};
    (void)state;
    return qu_reader_create(&reader, &o, NULL) == QU_OK ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    qu_reader_free(reader);
    return 0;
}

static void assert_text(const results *r, const char *want)
{
    if (!r->text.data || strcmp(r->text.data, want) != 0)
        fail_msg("text is:\n%s\nnot:\n%s", r->text.data ? r->text.data : "nothing", want);
}

/* Read files (name, content, ..., NULL) as one zip. */
static void read_zip(results *r, const char *const *files)
{
    packer p;
    pack_open(&p, "zip", NULL, 1 << 16);
    for (; *files; files += 2) pack_text(&p, files[0], files[1]);
    pack_close(&p);
    TEST_OK(read_with(reader, r, p.data, p.n, "file", err)); /* the name tells nothing */
    free(p.data);
}

#define XML "<?xml version='1.0' encoding='UTF-8'?>"
#define PART(type) "<Relationship Id='r1' Target='" type "1.xml'/><Relationship Id='r2' Target='/"

static void test_docx(void **state)
{
    (void)state;
    results r = {0};
    read_zip(
        &r,
        (const char *const[]){
            "[Content_Types].xml", "x", "docProps/core.xml",
            XML "<c><dc:title xmlns:dc='d'>A &amp; B</dc:title></c>", "word/styles.xml",
            XML "<w:styles xmlns:w='w'><w:style w:styleId='Berschrift2'><w:name w:val='heading 2'/>"
                "</w:style></w:styles>",
            "word/document.xml",
            XML
            "<w:document xmlns:w='w'><w:body>"
            "<w:p><w:pPr><w:pStyle "
            "w:val='Berschrift2'/></w:pPr><w:r><w:t>Fe</w:t></w:r><w:r><w:t>es</w:t></w:r></w:p>"
            "<w:p><w:r><w:t xml:space='preserve'>One "
            "</w:t><w:tab/><w:t>&lt;b&gt;</w:t><w:br/><w:t>two</w:t>"
            "<w:delText>gone</w:delText><w:instrText>PAGE</w:instrText></w:r></w:p>"
            "<w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>item</w:t></w:r></w:p>"
            "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>Name</w:t></w:r></w:p></"
            "w:tc><w:tc><w:p><w:r><w:t>Price</w:t></w:r></w:p>"
            "</w:tc></w:tr><w:tr><w:tc><w:p><w:r><w:t>Tea</w:t></w:r></w:p></"
            "w:tc><w:tc><w:p><w:r><w:t>4</w:t></w:r></w:p>"
            "<w:p><w:r><w:t>crowns</w:t></w:r></w:p></w:tc></w:tr></w:tbl></w:body></w:document>",
            "word/footnotes.xml",
            XML "<w:footnotes xmlns:w='w'><w:p><w:r><w:t>A note.</w:t></w:r></w:p></w:footnotes>",
            NULL});
    assert_string_equal(r.lines.data, " [docx] A & B\n");
    assert_text(&r, "Fees\n\nOne <b>\ntwo\n\n- item\n\nName\tPrice\nTea\t4 crowns\n\nA note.");
    assert_int_equal(r.n_headings, 1);
    assert_int_equal(r.headings[0].level, 2);
    free_results(&r);
}

static void test_pptx(void **state)
{
    (void)state;
    results r = {0};
    read_zip(&r, (const char *const[]){
                     "ppt/presentation.xml",
                     XML "<p:x xmlns:p='p' xmlns:r='r'><p:sldId id='9' r:id='r2'/><p:sldId id='8' "
                         "r:id='r1'/></p:x>",
                     "ppt/_rels/presentation.xml.rels",
                     XML "<R>" PART("slides/slide") "ppt/slides/slide2.xml'/></R>",
                     "ppt/slides/slide1.xml",
                     XML "<p:s xmlns:p='p' xmlns:a='a'><p:sp><a:p><a:r><a:t>Last "
                         "words</a:t></a:r></a:p></p:sp></p:s>",
                     "ppt/slides/slide2.xml",
                     XML "<p:s xmlns:p='p' xmlns:a='a'><p:sp><p:ph "
                         "type='title'/><a:p><a:r><a:t>Ferries</a:t></a:r>"
                         "</a:p></p:sp><p:sp><p:ph "
                         "type='sldNum'/><a:p><a:t>7</a:t></a:p></p:sp><p:sp><a:p><a:t>They leave "
                         "at seven.</a:t></a:p></p:sp></p:s>",
                     "ppt/notesSlides/notesSlide2.xml",
                     XML "<p:n xmlns:p='p' xmlns:a='a'><a:p><a:t>Speak slowly.</a:t></a:p></p:n>",
                     NULL});
    assert_string_equal(r.lines.data, " [pptx] Slide 1: Ferries\n");
    assert_text(
        &r, "Slide 1: Ferries\n\nThey leave at seven.\n\nSpeak slowly.\n\nSlide 2\n\nLast words");
    free_results(&r);
}

static void test_xlsx(void **state)
{
    (void)state;
    results r = {0};
    read_zip(&r,
             (const char *const[]){
                 "xl/workbook.xml",
                 XML
                 "<w xmlns:r='r'><sheets><sheet name='Prices' sheetId='1' r:id='r1'/></sheets></w>",
                 "xl/_rels/workbook.xml.rels", XML "<R>" PART("worksheets/sheet") "x'/></R>",
                 "xl/sharedStrings.xml",
                 XML "<sst><si><t>Day</t></si><si><r><t>Pr</t></r><r><t>ice</t></r><rPh><t>no</t></"
                     "rPh></si></sst>",
                 "xl/styles.xml",
                 XML "<s><numFmts><numFmt numFmtId='170' formatCode='&quot;h&quot;0.0'/><numFmt "
                     "numFmtId='171' "
                     "formatCode='[$-1]dd/mm'/></numFmts><cellXfs><xf numFmtId='0'/><xf "
                     "numFmtId='14'/><xf numFmtId='170'/>"
                     "<xf numFmtId='171'/></cellXfs></s>",
                 "xl/worksheets/sheet1.xml",
                 XML "<ws><row r='1'><c r='A1' t='s'><v>0</v></c><c r='C1' t='s'><v>1</v></c></row>"
                     "<row r='2'><c r='A2' s='1'><v>45292</v></c><c r='B2' s='3'><v>60.5</v></c><c "
                     "r='C2' s='2'><v>0.30000000000000004</v></c>"
                     "<c r='D2' t='inlineStr'><is><t>a &lt; b</t></is></c><c r='E2' "
                     "t='b'><v>1</v></c><c r='F2' t='s'><v>99</v></c></row></ws>",
                 NULL});
    assert_text(&r, "Prices\n\nDay\t-\tPrice\n2024-01-01\t1900-02-28 12:00\t0.3\ta < b\tTRUE");
    assert_string_equal(r.lines.data, " [xlsx] Prices\n");
    free_results(&r);
}

static void test_opendocument(void **state)
{
    (void)state;
    results r = {0};
    read_zip(
        &r,
        (const char *const[]){
            "mimetype", "application/vnd.oasis.opendocument.text", "meta.xml",
            XML "<m><dc:title xmlns:dc='d'>Harbour</dc:title></m>", "content.xml",
            XML
            "<o xmlns:text='t' xmlns:table='b'><automatic-styles>no</automatic-styles>"
            "<text:h "
            "text:outline-level='3'>Fees</text:h><text:p>A<text:s/>b<text:line-break/>c</text:p>"
            "<text:list><text:list-item><text:p>item</text:p></text:list-item></text:list>"
            "<table:table "
            "table:name='Table1'><table:table-row><table:table-cell><text:p>x</text:p></"
            "table:table-cell>"
            "<table:table-cell><text:p>y</text:p></table:table-cell></table:table-row></"
            "table:table></o>",
            NULL});
    assert_string_equal(r.lines.data, " [odt] Harbour\n");
    assert_text(&r, "Fees\n\nA b\nc\n\n- item\n\nx\ty");
    assert_int_equal(r.headings[0].level, 3);
    read_zip(
        &r,
        (const char *const[]){
            "mimetype", "application/vnd.oasis.opendocument.spreadsheet", "content.xml",
            XML
            "<o xmlns:text='t' xmlns:table='b'><table:table table:name='Prices'><table:table-row>"
            "<table:table-cell><text:p>tea</text:p></table:table-cell></table:table-row></"
            "table:table></o>",
            NULL});
    assert_string_equal(r.lines.data, " [ods] Prices\n");
    assert_text(&r, "Prices\n\ntea");
    free_results(&r);
}

static void test_empty_office(void **state)
{
    (void)state;
    packer p;
    results r = {0};
    qu_err err = {0};
    pack_open(&p, "zip", NULL, 1 << 16);
    pack_text(&p, "word/document.xml",
              XML "<w:document xmlns:w='w'><w:p><w:drawing/></w:p></w:document>");
    pack_close(&p);
    assert_int_equal(read_with(reader, &r, p.data, p.n, "x.docx", &err), QU_ERR_UNSUPPORTED);
    assert_string_equal(err.msg, "'x.docx' holds no text");
    free(p.data);
    free_results(&r);
}

static void test_epub(void **state)
{
    (void)state;
    results r = {0};
    read_zip(&r,
             (const char *const[]){
                 "mimetype", "application/epub+zip", "META-INF/container.xml",
                 XML "<c><rootfile full-path='O/book.opf'/></c>", "O/book.opf",
                 XML
                 "<p><dc:title xmlns:dc='d'>The Book</dc:title><item id='b' href='two%20.xhtml'/>"
                 "<item id='a' href='../one.xhtml#x'/><itemref idref='a'/><itemref idref='b'/></p>",
                 "O/two .xhtml",
                 XML "<html><head><title/></head><body><h1>Two</h1><p>Second.</p></body></html>",
                 "one.xhtml",
                 XML "<html><head><title>no</title></head><body "
                     "class='x'><h1>One</h1><p>First.</p></body></html>",
                 NULL});
    assert_string_equal(r.lines.data, " [epub] The Book\n");
    assert_text(&r, "One\n\nFirst.\n\nTwo\n\nSecond.");
    free_results(&r);
}

static void test_xml(void **state)
{
    (void)state;
    results r = {0};
    const char *book = XML "<book><title>Harbour</title><chapter><title>Fees</title><para>Pay "
                           "<emphasis>now</emphasis>.</para>"
                           "<programlisting>a\n  "
                           "b</programlisting><itemizedlist><listitem><para>one</para></listitem></"
                           "itemizedlist></chapter></book>";
    TEST_OK(read_with(reader, &r, book, strlen(book), "b.xml", err));
    assert_text(&r, "Harbour\n\nFees\n\nPay now.\n\na\n  b\n\n- one");
    assert_int_equal(r.headings[1].level, 2);
    const char *data =
        XML "<all><rec><name>Tea</name><price>4</price></rec><p>Mixed <b>words</b> here</p></all>";
    TEST_OK(read_with(reader, &r, data, strlen(data), "b.xml", err));
    assert_text(&r, "name: Tea\nprice: 4\n\nMixed words here");
    assert_string_equal(r.lines.data, " [xml] name: Tea\n");
    free_results(&r);
}

static void test_mail(void **state)
{
    (void)state;
    results r = {0};
    const char *mail =
        "Received: by x\r\nSubject: =?utf-8?Q?F=C3=A4hre?=\r\n =?ISO-8859-1?B?IPxiZXI=?= "
        "now\r\nFrom: a@b\r\nTo: c\r\nDate: today\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"=x "
        "y\"\r\n\r\npreamble\r\n--=x y\r\n"
        "Content-Type: multipart/alternative; boundary=in\r\n\r\n--in\r\nContent-Type: text/plain; "
        "charset=koi8-r\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n=D0=D2=C9=D7=C5=D4, it goes=\r\n "
        "on\r\n--in\r\n"
        "Content-Type: text/html\r\n\r\n<p>no, not this\r\n--in--\r\n--=x y\r\nContent-Type: "
        "text/html\r\n\r\n<p>but <b>this</b>\r\n"
        "--=x y\r\nContent-Disposition: attachment; "
        "filename*=utf-8''%E2%82%AC.html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        "PHA+YXR0\r\nYWNoZWQ=\r\n--=x y--\r\nepilogue\r\n";
    TEST_OK(read_with(reader, &r, mail, strlen(mail), "x", err));
    assert_string_equal(r.lines.data,
                        "\xE2\x82\xAC.html [html] attached\n [mail] F\xC3\xA4hre \xC3\xBC"
                        "ber now\n");
    assert_text(&r, "Subject: F\xC3\xA4hre \xC3\xBC"
                    "ber now\nFrom: a@b\nTo: c\nDate: today\n\n"
                    "\xD0\xBF\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82, it goes on\n\n\nbut this\n");
    const char *box = "From a@b Mon\nSubject: one\nFrom: a\n\nFirst text.\n\nFrom here it is text, "
                      "no header follows.\n\n"
                      "From c@d Tue\nSubject: two\nFrom: c\n\nSecond text.\n";
    TEST_OK(read_with(reader, &r, box, strlen(box), "inbox", err));
    assert_string_equal(r.lines.data,
                        "1.eml [mail] one\n2.eml [mail] two\n [mailbox] Subject: one\n");
    free_results(&r);
}

static void read_boxes(qu_pdf *pdf, const char *boxes)
{
    TEST_OK(qu_pdf_read_boxes(pdf, boxes, (int64_t)strlen(boxes), err));
}

/* A line at height y of a page. */
static void add_line(qu_buf *b, int y, const char *fmt, int number)
{
    TEST_OK(qu_buf_printf(
        b, err,
        "<block xMin='50' yMin='%d' xMax='500' yMax='%d'><line xMin='50' yMin='%d' xMax='500' "
        "yMax='%d'><word>",
        y, y + 10, y, y + 10));
    TEST_OK(qu_buf_printf(b, err, fmt, number));
    TEST_OK(qu_buf_puts(b, "</word></line></block>", err));
}

/* What comes again at the edge of most pages is left out, but for the first; the rest stays: a
 * total on every page, what counts otherwise than the pages, the same words further inside. */
static void test_pdf_running_lines(void **state)
{
    (void)state;
    qu_pdf pdf = {0};
    qu_buf b = {0};
    TEST_OK(qu_buf_puts(&b, XML "<html><body><doc>", err));
    for (int page = 1; page <= 6; page++) {
        TEST_OK(qu_buf_puts(&b, "<page width='600' height='800'>", err));
        add_line(&b, 30, page == 4 ? "The annexe" : "The firm's year 2023", 0);
        add_line(&b, 300, "Carried over", 0);
        add_line(&b, 400, "Item %d", page * page);
        add_line(&b, 500, "Page %d of 6", page);
        if (page < 6) add_line(&b, 740, "%d", page + 4);
        add_line(&b, 760, "Total %d", 7 * page);
        TEST_OK(qu_buf_puts(&b, "</page>", err));
    }
    TEST_OK(qu_buf_puts(&b, "</doc></body></html>", err));
    read_boxes(&pdf, b.data);
    assert_string_equal(
        pdf.text.data,
        "The firm's year 2023\n\nCarried over\n\nItem 1\n\nPage 1 of 6\n\nTotal 7\n\n"
        "Carried over\n\nItem 4\n\nPage 2 of 6\n\nTotal 14\n\n"
        "Carried over\n\nItem 9\n\nPage 3 of 6\n\nTotal 21\n\n"
        "The annexe\n\nCarried over\n\nItem 16\n\nPage 4 of 6\n\nTotal 28\n\n"
        "Carried over\n\nItem 25\n\nPage 5 of 6\n\nTotal 35\n\n"
        "Carried over\n\nItem 36\n\nPage 6 of 6\n\nTotal 42");
    assert_int_equal(pdf.n_headings, 6);
    qu_pdf_free(&pdf);
    qu_buf_free(&b);
}

/* Sizes of boxes as pdftotext gives them: a table whose columns come one after the other, a
 * heading, a divided word, a second page. */
static void test_pdf_rows(void **state)
{
    (void)state;
    static const char boxes[] = XML
        "<html><head><title>0001-22</title></head><body><doc><page width='600' height='800'><flow>"
        "<block xMin='50' yMin='40' xMax='250' yMax='62'><line xMin='50' yMin='40' xMax='250' "
        "yMax='62'><word>Fees</word></line></block>"
        "<block xMin='50' yMin='100' xMax='150' yMax='130'><line xMin='50' yMin='100' xMax='90' "
        "yMax='110'><word>Tea</word></line>"
        "<line xMin='50' yMin='120' xMax='150' "
        "yMax='130'><word>Coffee</word></line></block></flow><flow>"
        "<block xMin='300' yMin='100' xMax='320' yMax='130'><line xMin='300' yMin='100' xMax='320' "
        "yMax='110'><word>4</word></line>"
        "<line xMin='300' yMin='120' xMax='320' "
        "yMax='130'><word>5</word></line></block></flow><flow>"
        "<block xMin='50' yMin='200' xMax='550' yMax='230'><line xMin='50' yMin='200' xMax='550' "
        "yMax='210'><word>A</word>"
        "<word>har-</word></line><line xMin='50' yMin='212' xMax='200' "
        "yMax='222'><word>bour</word><word>&lt;x&gt;</word></line>"
        "</block></flow></page><page width='600' height='800'></page><page width='600' "
        "height='800'><flow>"
        "<block xMin='50' yMin='40' xMax='250' yMax='50'><line xMin='50' yMin='40' xMax='250' "
        "yMax='50'><word>End</word></line></block>"
        "</flow></page></doc></body></html>";
    qu_pdf pdf = {0};
    read_boxes(&pdf, boxes);
    assert_string_equal(pdf.text.data, "Fees\n\nTea\t4\nCoffee\t5\n\nA harbour <x>\n\nEnd");
    assert_string_equal(pdf.title.data, "Fees"); /* the file's own is a number */
    assert_int_equal(pdf.n_headings, 4);         /* three pages, one heading */
    assert_int_equal(pdf.headings[1].level, 1);
    assert_int_equal(pdf.headings[3].at, strlen(pdf.text.data) - 3);
    qu_pdf_free(&pdf);
}

static void read_data(results *r, const char *name, qu_status want, const char *message)
{
    qu_err err = {0};
    const qu_reader_sink sink = {keep_document, keep_fault, r};
    free_results(r);
    assert_int_equal(qu_reader_read(reader, name, &sink, &err), want);
    if (message && !strstr(err.msg, message)) fail_msg("%s", err.msg);
}

static void test_samples(void **state)
{
    (void)state;
    results r = {0};
    TEST_NEEDS(pdf, "office-and-pdf/pasa.pdf");
    TEST_NEEDS(docx, "office-and-pdf/dummy_jap.docx");
    TEST_NEEDS(xlsx, "office-and-pdf/dummy.xlsx");
    read_data(&r, docx, QU_OK, NULL);
    assert_non_null(strstr(r.lines.data, "[docx] AI"));
    read_data(&r, xlsx, QU_OK, NULL);
    assert_non_null(strstr(r.text.data, "\n2024-01-14\t"));
    if (!qu_pdf_program()) {
        print_message("skipped: no pdftotext\n");
        read_data(&r, pdf, QU_ERR_UNSUPPORTED, "install poppler-utils");
    } else {
        int pages = 0;
        read_data(&r, pdf, QU_OK, NULL);
        assert_memory_equal(
            r.lines.data, " [pdf] PaSa: An LLM Agent for Comprehensive Academic Paper Search", 65);
        for (int64_t i = 0; i < r.n_headings; i++) pages += r.headings[i].level == 0;
        assert_int_equal(pages, 15);
        assert_non_null(strstr(
            r.text.data, "particularly challenging information retrieval task")); /* across lines */
    }
    free_results(&r);
}

/* --- what is wrong with a PDF is said --- */

static const char *pdf_file(const char *page, const char *trailer)
{
    static char s[1024];
    snprintf(s, sizeof s,
             "%%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 "
             "R]/Count 1>>endobj\n"
             "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]%s>>endobj\ntrailer<</Root 1 0 "
             "R%s>>\n",
             page, trailer);
    return s;
}

static void test_bad_pdf(void **state)
{
    (void)state;
    results r = {0};
    qu_err err = {0};
    if (!qu_pdf_program()) {
        print_message("skipped: no pdftotext\n");
        skip();
    }
    const char *s = pdf_file("", "");
    assert_int_equal(read_with(reader, &r, s, strlen(s), "scan.pdf", &err), QU_ERR_UNSUPPORTED);
    assert_string_equal(
        err.msg, "'scan.pdf' holds images only: recognise its text first, e.g. with ocrmypdf");
    s = pdf_file("", "/Encrypt<</Filter/Standard/V 1/R 2/O(x)/U(y)/P 0>>/ID[(a)(b)]");
    assert_int_equal(read_with(reader, &r, s, strlen(s), "locked.pdf", &err), QU_ERR_UNSUPPORTED);
    assert_string_equal(
        err.msg,
        "'locked.pdf' is encrypted: store it without a password, e.g. with qpdf --decrypt");
    s = "%PDF-1.4 and nothing";
    assert_int_equal(read_with(reader, &r, s, strlen(s), "cut.pdf", &err), QU_ERR_FORMAT);
    assert_string_equal(err.msg, "'cut.pdf' is damaged: no PDF that can be read");
    s = "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1 old";
    assert_int_equal(read_with(reader, &r, s, strlen(s), "old.doc", &err), QU_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "save it as DOCX or give --filter"));
    free_results(&r);
}

/* --- hostile XML --- */

static void test_bombs(void **state)
{
    (void)state;
    results r = {0};
    qu_err why = {0};
    qu_buf deep = {0};
    static const char laughs[] =
        "<?xml version='1.0'?><!DOCTYPE l [<!ENTITY a 'ha'><!ENTITY b "
        "'&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>"
        "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;'><!ENTITY d '&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;'>"
        "<!ENTITY e '&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;'><!ENTITY f '&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;'>"
        "<!ENTITY g SYSTEM 'file:///etc/passwd'><!ENTITY % p SYSTEM 'http://localhost/'> %p;]>"
        "<l><p>before</p>&f;&g;<p>after</p></l>";
    double at = qu_os_now_ms();
    TEST_OK(read_with(reader, &r, laughs, sizeof laughs - 1, "l.xml", err));
    assert_true(r.text.len < 100 && !strstr(r.text.data, "root:"));
    TEST_OK(qu_buf_puts(&deep, XML "<a>top", err));
    for (int i = 0; i < 1000000; i++) TEST_OK(qu_buf_puts(&deep, "<b>", err));
    read_with(reader, &r, deep.data, deep.len, "deep.xml", &why); /* text so far, or a fault */
    assert_true(qu_os_now_ms() - at < 20000);
    TEST_OK(read_with(reader, &r, "after all", 9, "x", err));
    qu_buf_free(&deep);
    free_results(&r);
}

/* What fuzzing begins with, and what once failed. */
static void test_corpus(void **state)
{
    (void)state;
    assert_true(fuzz_corpus(LLVMFuzzerTestOneInput, "ingest", 0) > 10);
}

/* Every file of two hostile collections; and odd strings as names of members. */
static qu_status read_file(void *ctx, const qu_walk_entry *e)
{
    results *r = ctx;
    qu_err why = {0};
    const qu_reader_sink sink = {keep_document, keep_fault, r};
    if (qu_reader_read(reader, e->path, &sink, &why) != QU_OK) r->faults++;
    if (why.status == QU_ERR_CANCELLED || strstr(why.msg, "died") || strstr(why.msg, "gave back"))
        fail_msg("%s", why.msg);
    return QU_OK;
}

static void test_collections(void **state)
{
    (void)state;
    TEST_NEEDS(xml, "libxml2-tests/test");
    TEST_NEEDS(html, "libxml2-tests/result");
    TEST_NEEDS(strings, "naughty-strings/blns.txt");
    results r = {0};
    packer p;
    qu_buf raw = {0};
    const char *const roots[] = {xml, html};
    TEST_OK(qu_walk(roots, 2, NULL, read_file, NULL, &r, err));
    print_message("libxml2's files: %d read, %d refused\n", r.documents, r.faults);
    assert_true(r.documents > 100 && r.documents + r.faults >= 200);
    TEST_OK(qu_os_read(&raw, strings, 1 << 20, err));
    pack_open(&p, "zip", NULL, 1 << 20);
    int n = 0;
    for (char *s = raw.data, *end; (end = strchr(s, '\n')); s = end + 1) {
        *end = 0;
        if (!*s || *s == '#') continue;
        pack_text(&p, s, "some words");
        n++;
    }
    pack_close(&p);
    TEST_OK(read_with(reader, &r, p.data, p.n, "x.zip", err));
    assert_true(r.documents + r.faults >= n - 8); /* a few look like folders */
    assert_null(strstr(r.lines.data, "../"));
    for (char *s = r.lines.data; *s; s++) assert_true((uint8_t)*s >= ' ' || *s == '\n');
    free(p.data);
    qu_buf_free(&raw);
    free_results(&r);
}

/* --- 300 truncated or flipped samples: each is read or refused, and the next is read --- */

static size_t mutate(char *to, const char *from, size_t n, uint64_t *seed)
{
    memcpy(to, from, n);
    if (test_random(seed) % 3 == 0) return n > 1 ? 1 + test_random(seed) % (n - 1) : n;
    for (int k = 1 + (int)(test_random(seed) % 16); k > 0; k--)
        to[test_random(seed) % n] ^= (char)(1 << test_random(seed) % 8);
    return n;
}

static void test_mutants(void **state)
{
    (void)state;
    static const char *const names[] = {"office-and-pdf/dummy.docx", "office-and-pdf/dummy.xlsx",
                                        "office-and-pdf/flag_day.html",
                                        "office-and-pdf/duplicate_media.pdf"};
    TEST_NEEDS(first, names[0]);
    bool many = getenv("QUIRE_LONG") != NULL;
    uint64_t seed = 7;
    int read = 0, refused = 0, rounds = many ? 2500 : 90;
    results r = {0};
    for (int f = 0; f < 4; f++) {
        qu_buf raw = {0};
        TEST_OK(qu_os_read(&raw, f ? test_data(names[f]) : first, 1 << 24, err));
        char *copy = malloc(raw.len);
        for (int i = 0; i < (f == 3 && !many ? 30 : rounds); i++) { /* a PDF costs a process */
            qu_err err = {0};
            size_t n = mutate(copy, raw.data, raw.len, &seed);
            qu_status st = read_with(reader, &r, copy, n, "mutant", &err);
            st == QU_OK ? read++ : refused++;
            if (st != QU_OK &&
                (!err.msg[0] || strstr(err.msg, "gave back") || strstr(err.msg, "died")))
                fail_msg("%s %d: %s", names[f], i, err.msg);
        }
        free(copy);
        qu_buf_free(&raw);
    }
    TEST_OK(read_with(reader, &r, "<p>good", 7, "x.html", err)); /* good files beside bad ones */
    assert_string_equal(r.text.data, "good");
    print_message("mutants: %d read, %d refused\n", read, refused);
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    assert_true(use.ru_maxrss < 256 << 10); /* the parent, in KiB */
    free_results(&r);
}

int main(int argc, char **argv)
{
    if (qu_child_asked(argc, argv)) return qu_child_main(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_docx),
        cmocka_unit_test(test_pptx),
        cmocka_unit_test(test_xlsx),
        cmocka_unit_test(test_opendocument),
        cmocka_unit_test(test_epub),
        cmocka_unit_test(test_xml),
        cmocka_unit_test(test_mail),
        cmocka_unit_test(test_pdf_rows),
        cmocka_unit_test(test_pdf_running_lines),
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_bad_pdf),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_mutants),
        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_empty_office),
        cmocka_unit_test(test_collections),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
