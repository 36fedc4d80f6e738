/* pipelines/output.c: part of the program, not of the library, so it is included here. What it
 * prints is caught in a child process whose standard output and error are files. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "pipelines/output.c"

static char said_out[1 << 16], said_err[1 << 16];

static void slurp(char *to, size_t cap, FILE *fp)
{
    rewind(fp);
    to[fread(to, 1, cap - 1, fp)] = 0;
    fclose(fp);
}

/* Run body in a child; its exit code. What it printed is in said_out and said_err. */
static int capture(int (*body)(void))
{
    FILE *o = tmpfile(), *e = tmpfile();
    int status;
    assert_non_null(o);
    assert_non_null(e);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fileno(o), 1);
        dup2(fileno(e), 2);
        int code = body();
        fflush(stdout);
        _exit(code);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    slurp(said_out, sizeof said_out, o);
    slurp(said_err, sizeof said_err, e);
    return WEXITSTATUS(status);
}

static const char *safe(const char *text, size_t n, bool keep_lines)
{
    static char last[512];
    qu_buf b = {0};
    assert_int_equal(qu_out_safe(&b, text, n, keep_lines, NULL), QU_OK);
    snprintf(last, sizeof last, "%s", b.data ? b.data : "");
    qu_buf_free(&b);
    return last;
}

static void test_safe_text(void **state)
{
    (void)state;
    static const struct {
        const char *text, *names, *lines;
    } cases[] = {
        {"plain ~", "plain ~", "plain ~"},
        {"h\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80", "h\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80",
         "h\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80"},
        {"\033[31m\a\x7f", "\\x1b[31m\\x07\\x7f", "\\x1b[31m\\x07\\x7f"},
        {"a\tb\nc\r", "a\\x09b\\x0ac\\x0d", "a\tb\nc\\x0d"},
        {"\xc2\x9b"
         "0m",
         "\\u{009b}0m", "\\u{009b}0m"}, /* CSI as one C1 character */
        {"\xe2\x80\xae"
         "fdp",
         "\\u{202e}fdp", "\\u{202e}fdp"}, /* right-to-left override */
        {"\xe2\x81\xa6|\xe2\x80\x8f", "\\u{2066}|\\u{200f}", "\\u{2066}|\\u{200f}"},
        {"\xff\xfe", "\\xff\\xfe", "\\xff\\xfe"},
        {"\xc3", "\\xc3", "\\xc3"},                                           /* cut short */
        {"\xc0\xaf", "\\xc0\\xaf", "\\xc0\\xaf"},                             /* overlong */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80", "\\xed\\xa0\\x80"},               /* surrogate */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\\xf4\\x90\\x80\\x80"}, /* past the last */
        {"\xc2\xa0\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80",
         "\xc2\xa0\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80",
         "\xc2\xa0\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80"}, /* the ends of ranges */
        {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf",
         "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
        {"\xed\xbf\xbf", "\\xed\\xbf\\xbf", "\\xed\\xbf\\xbf"},
        {"\xe4\xb8"
         "x",
         "\\xe4\\xb8x", "\\xe4\\xb8x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].text);
        assert_string_equal(safe(cases[i].text, n, false), cases[i].names);
        assert_string_equal(safe(cases[i].text, n, true), cases[i].lines);
    }
    assert_string_equal(safe("a\0b", 3, true), "a\\x00b");
}

static void check_path(const char *path, const char *key, const char *value)
{
    json_t *o = json_object();
    assert_int_equal(qu_out_path(o, "path", path, NULL), QU_OK);
    assert_int_equal(json_object_size(o), 1);
    assert_string_equal(json_string_value(json_object_get(o, key)), value);
    json_decref(o);
}

static void test_paths(void **state)
{
    (void)state;
    check_path("/docs/\xc3\xa9\n.txt", "path", "/docs/\xc3\xa9\n.txt");
    check_path("", "path", "");
    check_path("\xff", "path_b64", "/w==");
    check_path("f\xff", "path_b64", "Zv8=");
    check_path("fo\xff", "path_b64", "Zm//");
    check_path("foob\xfe\xff", "path_b64", "Zm9vYv7/");
}

static void test_exit_codes(void **state)
{
    (void)state;
    static const int want[] = {0, 2, 4, 4, 5, 5, 5, 5, 6, 2, 4, 2, 3, 4, 4};
    for (int i = 0; i < 15; i++) assert_int_equal(qu_out_exit((qu_status)-i), want[i]);
}

static int print_objects(void)
{
    qu_err err = {0};
    qu_out_mode(true, false);
    if (qu_out_json(json_pack("{s:i,s:s,s:[i,i]}", "z", 1, "a", "x\n\xc3\xa9", "list", 1, 2), &err))
        return 1;
    if (qu_out_json(json_pack("{s:i,s:i}", "b", 2, "schema", 1), &err)) return 2;
    return qu_out_json(NULL, &err) == QU_ERR_NOMEM && err.status == QU_ERR_NOMEM ? 0 : 3;
}

static void test_json_lines(void **state)
{
    (void)state;
    assert_int_equal(capture(print_objects), 0);
    assert_string_equal(
        said_out,
        "{\"schema\":1,\"z\":1,\"a\":\"x\\n\xc3\xa9\",\"list\":[1,2]}\n{\"schema\":1,\"b\":2}\n");
    assert_string_equal(said_err, "");
}

static int report_errors(void)
{
    qu_err a = {QU_ERR_CORRUPT, "page '7' is damaged"}, b = {QU_ERR_IO, "cannot read '/d/x': no"};
    qu_err c = {QU_ERR_NOTFOUND, "bad \xff\033 name"};
    if (qu_out_error(&a, NULL) != 5) return 1;
    qu_out_mode(true, true); /* quiet never hides an error */
    if (qu_out_error(&a, "/d/\xfe") != 5) return 2;
    if (qu_out_error(&b, "/d/x") != 4) return 3;
    qu_out_warn("hidden");
    qu_out_note("hidden");
    qu_out_mode(false, false);
    qu_out_warn("%d\033", 7);
    qu_out_mode(true, false);
    qu_out_note("note");
    return qu_out_error(&c, NULL);
}

/* A result as an object and for people: numbers, a list, an object in one line, tables, null. */
static json_t *make_result(void)
{
    json_t *o = json_pack("{s:s,s:b,s:[i,s],s:{s:i,s:n}}", "name", "a\033b", "good", 1, "list", 1,
                          "x", "inner", "k", 7, "none");
    qu_out_ints(o, "few many", (int64_t[]){3, 12345678});
    qu_out_reals(o, "share large nan", (double[]){2.0 / 3, 123456.7, NAN});
    json_t *rows = json_object(), *list = json_array();
    json_object_set_new(rows, "first", qu_out_reals(NULL, "em f1", (double[]){.5, 1}));
    json_object_set_new(rows, "second one", qu_out_reals(NULL, "em f1", (double[]){.25, 0}));
    json_array_append_new(list, qu_out_ints(NULL, "n", (int64_t[]){1000}));
    json_array_append_new(list, qu_out_ints(NULL, "n", (int64_t[]){2}));
    json_object_set_new(o, "rows", rows);
    json_object_set_new(o, "rest", list);
    return o;
}

static int print_result(void)
{
    return qu_out_result(make_result(), NULL) == QU_OK ? 0 : 1;
}

static int print_result_json(void)
{
    qu_out_mode(true, false);
    return print_result();
}

static void test_results(void **state)
{
    (void)state;
    assert_int_equal(capture(print_result), 0);
    assert_string_equal(said_out, "name             a\\x1bb\n"
                                  "good             yes\n"
                                  "list             [1, x]\n"
                                  "inner            k 7, none -\n"
                                  "few              3\n"
                                  "many             12345678\n"
                                  "share            0.6667\n"
                                  "large            123457\n"
                                  "nan              -\n"
                                  "rows          em  f1\n"
                                  "first        0.5   1\n"
                                  "second one  0.25   0\n"
                                  "rest     n\n"
                                  "      1000\n"
                                  "         2\n");
    assert_int_equal(capture(print_result_json), 0);
    assert_memory_equal(said_out, "{\"schema\":1,\"name\":", 19);
    assert_non_null(strstr(said_out, "\"nan\":null,\"rows\":{\"first\":{\"em\":0.5,\"f1\":1.0}"));
}

static void test_errors(void **state)
{
    (void)state;
    assert_int_equal(capture(report_errors), 2);
    assert_string_equal(said_out, "{\"schema\":1,\"error\":{\"code\":5,\"message\":\"page '7' is "
                                  "damaged\",\"path_b64\":\"L2Qv/g==\"}}\n"
                                  "{\"schema\":1,\"error\":{\"code\":4,\"message\":\"cannot read "
                                  "'/d/x': no\",\"path\":\"/d/x\"}}\n"
                                  "{\"schema\":1,\"error\":{\"code\":2,\"message\":\"bad "
                                  "\\\\xff\\\\x1b name\",\"path\":null}}\n");
    assert_string_equal(said_err,
                        "quire: page '7' is damaged\n"
                        "quire: /d/\\xfe: page '7' is damaged\n"
                        "quire: cannot read '/d/x': no\n"
                        "quire: warning: 7\\x1b\nquire: note\nquire: bad \\xff\\x1b name\n");
}

static int show_progress(void)
{
    out.terminal = true;
    qu_out_progress("reading", 0, 4000000, "bytes");
    out.started_ms -= 2000;
    out.drawn_ms = 0;
    qu_out_progress("reading", 1000000, 4000000, "bytes");
    for (int i = 0; i < 1000; i++)
        qu_out_progress("reading", 2000000, 4000000, "bytes"); /* too soon */
    qu_out_warn("w");
    qu_out_progress("writing", 0, 0, "pages");
    out.started_ms -= 2000;
    out.drawn_ms = 0;
    qu_out_progress("writing", 3, 0, "pages");
    qu_out_progress_end();
    qu_out_progress("narrow", 0, 0, "pages");
    out.columns = 12;
    out.drawn_ms = 0;
    qu_out_progress("narrow", 123456, 0, "pages");
    qu_out_progress_end();
    qu_out_progress("writing", 9, 0, "pages"); /* a new line begins: nothing is drawn at once */
    qu_out_mode(false, true);
    out.drawn_ms = 0;
    qu_out_progress("quiet", 9, 0, "pages");
    return 0;
}

static void test_progress(void **state)
{
    (void)state;
    assert_int_equal(capture(show_progress), 0);
    assert_string_equal(said_err,
                        "\r\033[Kreading 1.0/4.0 MB, 0.5 MB/s, left 6s\r\033[Kquire: warning: w\n"
                        "\r\033[Kwriting 3 pages, 1.5 pages/s\r\033[K"
                        "\r\033[Knarrow 1234\r\033[K");
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{0, "0s"},       {59.4, "59s"},   {60, "1m00s"},   {3599, "59m59s"},
                 {3600, "1h00m"}, {7261, "2h01m"}, {1e18, "99h59m"}};
    char b[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        format_time(b, sizeof b, cases[i].seconds);
        assert_string_equal(b, cases[i].text);
    }
}

static int progress_without_terminal(void)
{
    qu_out_init();
    qu_out_progress("reading", 0, 1, "pages");
    out.drawn_ms = 0;
    qu_out_progress("reading", 1, 1, "pages");
    return 0;
}

static void test_no_progress_without_terminal(void **state)
{
    (void)state;
    assert_int_equal(capture(progress_without_terminal), 0);
    assert_string_equal(said_err, "");
}

static int write_to_closed_pipe(void)
{
    int fd[2];
    qu_err err = {0};
    qu_out_init();
    if (pipe(fd) != 0) return 9;
    close(fd[0]);
    dup2(fd[1], 1);
    if (qu_out_text("hello", 5, false, &err) != QU_OK) return 8; /* still buffered */
    if (qu_out_gone() || qu_out_flush(&err) != QU_ERR_CANCELLED || !qu_out_gone()) return 7;
    if (qu_out_printf(&err, "x") != QU_ERR_CANCELLED ||
        qu_out_write("x", 1, &err) != QU_ERR_CANCELLED)
        return 6;
    if (qu_out_json(json_object(), &err) != QU_ERR_CANCELLED) return 5;
    if (qu_out_error(&err, NULL) != 0) return 4;
    return qu_out_finish(3);
}

static void test_closed_pipe(void **state)
{
    (void)state;
    assert_int_equal(capture(write_to_closed_pipe), 0);
    assert_string_equal(said_err, "");
}

static int write_to_full_disk(void)
{
    qu_err err = {0};
    if (!freopen("/dev/full", "w", stdout)) return 77;
    if (qu_out_write("x", 1, &err) != QU_OK) return 8;
    if (qu_out_flush(&err) != QU_ERR_FULL || qu_out_gone()) return 7;
    return qu_out_finish(0);
}

static void test_full_disk(void **state)
{
    (void)state;
    int code = capture(write_to_full_disk);
    if (code == 77) skip();
    assert_int_equal(code, 4);
    assert_string_equal(said_err,
                        "quire: cannot write to standard output: No space left on device\n");
}

static int finish_well(void)
{
    qu_err err = {0};
    qu_out_printf(&err, "%s", "done");
    return qu_out_finish(3);
}

static void test_finish_keeps_the_code(void **state)
{
    (void)state;
    assert_int_equal(capture(finish_well), 3);
    assert_string_equal(said_out, "done");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safe_text),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_json_lines),
        cmocka_unit_test(test_results),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_no_progress_without_terminal),
        cmocka_unit_test(test_closed_pipe),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_finish_keeps_the_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
