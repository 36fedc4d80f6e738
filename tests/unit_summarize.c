/* pipelines/summarize.h: the manifest read back, whatever a crash or a stranger left in it. */
#include "pipeline_testing.h"


#include "pipelines/summarize.h"

static qu_status open_dir(qu_manifest **m, const char *dir, qu_err *err)
{
    return qu_manifest_open(m, dir, "/stores/one", false, err);
}

static void write_entry(qu_manifest *m, const char *path, const char *text,
                        qu_synopsis_format format)
{
    qu_buf b = {(char *)text, strlen(text), 0};
    qu_manifest_entry e = {.path = (char *)path, .content = {1, 2}, .settings = {3, 4}, .doc_id = 5,
                           .format = format};
    TEST_OK(qu_manifest_write(m, &e, &b, err));
}

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static bool odd_gone(void *ctx, const char *path)
{
    (void)ctx;
    return strstr(path, "odd") != NULL;
}

static const char *const odd = "/a/odd %41\n\t\x7F\xFFname.txt";

/* Journal and rewritten manifest say the same; odd names come back. */
static void what_was_written_is_read_back(void **state)
{
    (void)state;
    qu_manifest *m;
    const char *dir = px_path("m1");
    TEST_OK(open_dir(&m, dir, err));
    write_entry(m, odd, "one", QU_SYNOPSIS_MD);
    write_entry(m, "/a/b.txt", "two", QU_SYNOPSIS_MD);
    write_entry(m, "/a/b.txt", "three", QU_SYNOPSIS_JSON);
    TEST_OK(qu_manifest_fail(m, "/a/c.txt", "bad\tluck", err));
    TEST_OK(qu_manifest_fail(m, "/a/b.txt", "worse", err));
    for (int round = 0; round < 3; round++) {
        if (round == 2) TEST_OK(qu_manifest_save(m, err));
        if (round > 0) {
            qu_manifest_free(m);
            TEST_OK(open_dir(&m, dir, err));
        }
        const qu_manifest_entry *e = qu_manifest_find(m, odd);
        assert_true(e && e->content.lo == 2 && e->settings.hi == 3 && e->doc_id == 5 && !e->fault);
        assert_true(e->bytes == 3 && e->format == QU_SYNOPSIS_MD && qu_manifest_holds(m, e));
        e = qu_manifest_find(m, "/a/b.txt"); /* its output stays, the fault stands beside it */
        assert_true(e && e->bytes == 5 && e->format == QU_SYNOPSIS_JSON && qu_manifest_holds(m, e));
        assert_string_equal(e->fault, "worse");
        e = qu_manifest_find(m, "/a/c.txt");
        assert_true(e && e->bytes == -1 && !qu_manifest_holds(m, e));
        assert_string_equal(e->fault, "bad\tluck");
    }
    int64_t n = 0;
    TEST_OK(qu_manifest_sweep(m, odd_gone, NULL, &n, err));
    assert_int_equal(n, 1);
    qu_manifest_free(m);
    TEST_OK(open_dir(&m, dir, err));
    assert_null(qu_manifest_find(m, odd));
    qu_manifest_free(m);
    px_shell("test $(ls %s/*.md 2>/dev/null | wc -l) = 0 && test $(ls %s/*.json | wc -l) = 1", dir,
             dir);
}

/* A line without end is passed over and written over; anything else that is not ours is an error
 * that names the line, and nothing is touched. */
static void torn_and_foreign_lines(void **state)
{
    (void)state;
    qu_manifest *m;
    qu_err why;
    const char *dir = px_path("m2"), *file = px_path("m2/manifest.tsv");
    TEST_OK(open_dir(&m, dir, err));
    write_entry(m, "/a/b.txt", "two", QU_SYNOPSIS_TXT);
    qu_manifest_free(m);
    px_shell("printf 'deadbeef\\tca' >>%s", file);
    TEST_OK(open_dir(&m, dir, err));
    assert_non_null(qu_manifest_find(m, "/a/b.txt"));
    write_entry(m, "/a/c.txt", "x", QU_SYNOPSIS_TXT);
    qu_manifest_free(m);
    px_shell("! grep -q deadbeef %s && test $(wc -l <%s) = 3", file, file);
    px_shell("cp %s %s.good", file, file);
    static const char *const lines[] = {
        "x", "", "\\t\\t\\t\\t\\t\\t", "-\\t-\\t0\\t-1\\tmd\\t\\t",
        "00\\t00\\t1\\t1\\tmd\\t/a\\t", "%032d\\t%032d\\t-1\\t1\\tmd\\t/a\\t",
        "%032d\\t%032d\\t1\\t-2\\tmd\\t/a\\t", "%032d\\t%032d\\t1\\t1\\tpdf\\t/a\\t",
        "%032d\\t%032d\\t1\\t1\\tmd\\t/a%%%%0\\t", "%032d\\t%032d\\t1\\t1\\tmd\\t/a%%%%00\\t",
        "%032d\\t%032d\\t1\\t1\\tmd\\t/a\\t\\t", "%032d\\t%032d\\t1\\t1\\tmd\\t/a\\t\\0",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        px_shell("cp %s.good %s && printf -- '%s\\n' 0 0 >>%s && cp %s %s.bad", file, file,
                 lines[i], file, file, file);
        if (open_dir(&m, dir, &why) != QU_ERR_CORRUPT) fail_msg("taken: %s", lines[i]);
        assert_non_null(strstr(why.msg, "line 4"));
        px_shell("cmp -s %s %s.bad", file, file);
    }
    put_file(file, "quire summaries 1\t/stores/two\n");
    assert_int_equal(open_dir(&m, dir, &why), QU_ERR_MISMATCH);
    put_file(file, "");
    TEST_OK(open_dir(&m, dir, err));
    qu_manifest_free(m);
}

/* Remains of a killed run go, everything else in the folder stays. */
static void only_remains_are_removed(void **state)
{
    (void)state;
    qu_manifest *m, *other;
    static const char *const stay[] = {"a-0123456789abcdef.md", "notes.tmp.12", "x.md.tmp.1",
                                       "a-0123456789abcdeX.md.tmp.1", "a-0123456789abcdef.md.tmp.x",
                                       "0123456789abcdef.md.tmp.1", "X0123456789abcdef.md.tmp.1"};
    static const char *const go[] = {"a-0123456789abcdef.md.tmp.12", "manifest.tsv.tmp.3",
                                     "-0123456789abcdef.json.tmp.1"};
    px_shell("mkdir -p %s", px_path("m3"));
    for (size_t i = 0; i < 7; i++) put_file(px_path("m3/%s", stay[i]), "x");
    for (size_t i = 0; i < 3; i++) put_file(px_path("m3/%s", go[i]), "x");
    TEST_OK(open_dir(&m, px_path("m3"), err));
    for (size_t i = 0; i < 7; i++) assert_int_equal(access(px_path("m3/%s", stay[i]), F_OK), 0);
    for (size_t i = 0; i < 3; i++) assert_int_equal(access(px_path("m3/%s", go[i]), F_OK), -1);
    assert_int_equal(open_dir(&other, px_path("m3"), NULL), QU_ERR_LOCKED);
    qu_manifest_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read_back),
        cmocka_unit_test(torn_and_foreign_lines),
        cmocka_unit_test(only_remains_are_removed),
    };
    return cmocka_run_group_tests(tests, px_setup, px_teardown);
}
