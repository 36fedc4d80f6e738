/* Documents out of real and hostile files: the collections of the test data, read through qu_walk.
 */
#include "base/buf.h"
#include "base/os.h"
#include "ingest/charset.h"
#include "ingest/walk.h"
#include "tests/ingest_check.h"

typedef struct tally {
    int files, texts;
} tally;

/* Whatever the file is: no crash, in time, all invariants; as HTML and under its own name. */
static qu_status read_any(void *ctx, const qu_walk_entry *e)
{
    tally *t = ctx;
    qu_buf raw = {0};
    if (e->size_bytes > 1 << 22) return QU_OK;
    TEST_OK(qu_os_read(&raw, e->path, 1 << 22, err));
    t->files++;
    t->texts += parse_quick(raw.data, (int64_t)raw.len, e->path) == QU_OK;
    if (raw.len < 1 << 18) parse_quick(raw.data, (int64_t)raw.len, "a.html");
    for (size_t n = raw.len / 2; n > 0 && raw.len < 1 << 15; n /= 2) /* and cut off */
        parse_quick(raw.data, (int64_t)n, "a.html");
    qu_buf_free(&raw);
    return QU_OK;
}

static void read_all(const char *path, int at_least)
{
    tally t = {0};
    TEST_OK(qu_walk(&path, 1, NULL, read_any, NULL, &t, err));
    print_message("%d files, %d with text\n", t.files, t.texts);
    assert_true(t.texts >= at_least);
}

static void test_html5lib(void **state)
{
    (void)state;
    TEST_NEEDS(path, "html5lib-tests");
    read_all(path, 10);
}

/* Cases "#data\n...#encoding\nNAME\n". A byte that is no UTF-8 in front, so that no declaration and
 * windows-1252 are the same; where UTF-8 is wanted the bytes tell it and nothing is in front. */
static void test_encodings(void **state)
{
    (void)state;
    static const char *const files[] = {"html5lib-tests/encoding/tests1.dat",
                                        "html5lib-tests/encoding/tests2.dat",
                                        "html5lib-tests/encoding/test-yahoo-jp.dat"};
    int cases = 0, right = 0;
    for (int i = 0; i < 3; i++) {
        TEST_NEEDS(path, files[i]);
        qu_buf raw = {0};
        TEST_OK(qu_os_read(&raw, path, 1 << 20, err));
        for (char *p = strstr(raw.data, "#data\n"), *name, *end; p; p = strstr(name, "#data\n")) {
            qu_buf text = {0}, out = {0};
            qu_runs runs = {.max = 1 << 16};
            char charset[32];
            p += strlen("#data\n");
            name = strstr(p, "\n#encoding\n");
            assert_non_null(name);
            if (strncasecmp(name + 11, "utf-8", 5) != 0) TEST_OK(qu_buf_puts(&text, "\xE9\n", err));
            TEST_OK(qu_buf_add(&text, p, (size_t)(name - p), err));
            name += strlen("\n#encoding\n");
            end = name + strcspn(name, "\n");
            TEST_OK(qu_charset_decode(&out, &runs, charset, (uint8_t *)text.data, (int64_t)text.len,
                                      true, "a", err));
            bool same = strncasecmp(charset, name, (size_t)(end - name)) == 0;
            cases++;
            right += same;
            if (!same)
                print_message("wanted %.*s, got %s: %.60s\n", (int)(end - name), name, charset,
                              text.data);
            free(runs.v);
            qu_buf_free(&text);
            qu_buf_free(&out);
        }
        qu_buf_free(&raw);
    }
    print_message("%d of %d declarations right\n", right, cases);
    assert_int_equal(cases, 82);
    assert_int_equal(right, cases);
}

static void test_libxml2(void **state)
{
    (void)state;
    TEST_NEEDS(path, "libxml2-tests");
    read_all(path, 100);
}

static void test_office(void **state)
{
    (void)state;
    TEST_NEEDS(path, "office-and-pdf");
    read_all(path, 5);
}

static void test_naughty_strings(void **state)
{
    (void)state;
    TEST_NEEDS(path, "naughty-strings/blns.txt");
    qu_buf raw = {0};
    TEST_OK(qu_os_read(&raw, path, 1 << 20, err));
    parse_quick(raw.data, (int64_t)raw.len, "a.txt");
    for (char *s = raw.data, *next; s < raw.data + raw.len; s = next) { /* each line alone */
        char *nl = memchr(s, '\n', (size_t)(raw.data + raw.len - s));
        next = nl ? nl + 1 : raw.data + raw.len;
        parse_quick(s, next - s, "a.txt");
        parse_quick(s, next - s, "a.md");
        parse_quick(s, next - s, "a.html");
    }
    qu_buf_free(&raw);
}

/* The runs of four words of a text, as a sorted list of hashes without doubles. */
typedef struct grams {
    uint64_t *v;
    size_t n;
} grams;

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static grams grams_of(const char *s, int64_t n)
{
    grams g = {malloc(((size_t)n + 8) * sizeof(uint64_t)), 0};
    uint64_t *words = malloc(((size_t)n + 8) * sizeof *words);
    size_t n_words = 0;
    for (int64_t i = 0; i < n;) {
        int64_t j = i;
        while (j < n && ((s[j] & 0x80) || (s[j] >= '0' && s[j] <= '9') ||
                         ((s[j] | 32) >= 'a' && (s[j] | 32) <= 'z')))
            j++;
        if (j > i) words[n_words++] = qu_hash_sum(s + i, (size_t)(j - i), 0);
        i = j > i ? j : i + 1;
    }
    for (size_t i = 0; i + 4 <= n_words; i++)
        g.v[g.n++] = qu_hash_sum(words + i, 4 * sizeof *words, 0);
    qsort(g.v, g.n, sizeof *g.v, by_value);
    size_t m = 0;
    for (size_t i = 0; i < g.n; i++)
        if (i == 0 || g.v[i] != g.v[i - 1]) g.v[m++] = g.v[i];
    g.n = m;
    free(words);
    return g;
}

static size_t common(grams a, grams b)
{
    size_t n = 0;
    for (size_t i = 0; i < a.n; i++) n += bsearch(&a.v[i], b.v, b.n, sizeof *b.v, by_value) != NULL;
    return n;
}

typedef struct tally4 {
    double f1, recall, worst;
    int pages;
} tally4;

/* Runs of four words of source.html's text against those of expected.html, its tags taken out. */
static qu_status add_page(void *ctx, const qu_walk_entry *e)
{
    tally4 *t = ctx;
    const char *name = strrchr(e->path, '/');
    qu_document source;
    qu_buf expected = {0}, raw = {0};
    char path[1024];
    if (strcmp(name, "/expected.html") != 0) return QU_OK;
    snprintf(path, sizeof path, "%.*s/source.html", (int)(name - e->path), e->path);
    TEST_OK(qu_os_read(&raw, path, 1 << 26, err));
    TEST_OK(qu_document_parse(&source, raw.data, (int64_t)raw.len, path, err));
    qu_buf_free(&raw);
    TEST_OK(qu_os_read(&expected, e->path, 1 << 22, err));
    assert_string_equal(source.format, "html");
    assert_true(source.has_source && source.title[0]);
    for (char *p = expected.data; p && (p = strchr(p, '<')); p = strchr(p, '>'))
        memset(p, ' ', strcspn(p, ">"));
    grams want = grams_of(expected.data, (int64_t)expected.len),
          got = grams_of(source.text, source.text_bytes);
    double hits = (double)common(want, got), recall = want.n ? hits / (double)want.n : 1;
    double f1 = want.n ? 2 * hits / (double)(want.n + got.n) : 1;
    t->f1 += f1;
    t->recall += recall;
    if (recall < t->worst) t->worst = recall;
    if (f1 < .85) print_message("%s: F1 %.3f, recall %.3f\n", path, f1, recall);
    t->pages++;
    free(want.v);
    free(got.v);
    qu_buf_free(&expected);
    qu_document_free(&source);
    return QU_OK;
}

static void test_web_pages(void **state)
{
    (void)state;
    TEST_NEEDS(path, "readability-pages");
    tally4 t = {.worst = 1};
    TEST_OK(qu_walk(&path, 1, NULL, add_page, NULL, &t, err));
    print_message("%d pages: F1 of 4-word runs %.4f, recall %.4f, worst %.3f\n", t.pages,
                  t.f1 / t.pages, t.recall / t.pages, t.worst);
    assert_true(t.pages >= 39);
    assert_true(t.f1 / t.pages > 0.93);
    assert_true(t.recall / t.pages > 0.96);
    assert_true(t.worst > 0.6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_html5lib),        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_libxml2),         cmocka_unit_test(test_office),
        cmocka_unit_test(test_naughty_strings), cmocka_unit_test(test_web_pages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
