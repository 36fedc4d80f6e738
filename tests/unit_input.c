/* pipelines/input.h: files of questions; numbers in options. */
#include "testing.h"

#include <fcntl.h>

#include "pipelines/input.h"

static char path[] = "/tmp/quire-input-XXXXXX";

static qu_status read_text(json_t **list, const char *text, size_t n, size_t max, qu_err *e)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
    return qu_input_objects(list, path, max, e);
}

static void objects_and_text(void **state)
{
    (void)state;
    static const char text[] =
        "\n  plain text \r\n{\"question\":\"q\",\"n\":[1]}\n \t\r\n  {\"a\":1}\nlast";
    json_t *list;
    TEST_OK(read_text(&list, text, sizeof text - 1, 1000, err));
    assert_int_equal(json_array_size(list), 4);
    assert_string_equal(qu_input_text(json_array_get(list, 0), "question"), "plain text");
    assert_string_equal(qu_input_text(json_array_get(list, 1), "question"), "q");
    assert_string_equal(qu_input_text(json_array_get(list, 1), "n"), ""); /* no text */
    assert_string_equal(qu_input_text(json_array_get(list, 2), "question"), "");
    assert_string_equal(qu_input_text(json_array_get(list, 3), "question"), "last");
    json_decref(list);
    TEST_OK(read_text(&list, "", 0, 1000, err));
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
}

static void what_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        qu_status st;
        const char *says;
    } cases[] = {{"a\n{\"question\":", QU_ERR_ARG, "line 2"},
                 {"a\nb\n\xff\n", QU_ERR_ARG, "line 3"},
                 {"{\"a\":1,\"a\":2}", QU_ERR_ARG, "line 1"},
                 {"0123456789abcdef", QU_ERR_LIMIT, "16 bytes"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qu_err e = {0};
        json_t *list;
        assert_int_equal(read_text(&list, cases[i].text, strlen(cases[i].text), 15, &e),
                         cases[i].st);
        assert_non_null(strstr(e.msg, cases[i].says));
        json_decref(list);
    }
    json_t *list;
    assert_int_equal(qu_input_objects(&list, "/nowhere/at/all", 10, NULL), QU_ERR_NOTFOUND);
    json_decref(list);
}

static qu_status even_only(void *ctx, const qu_question *q, qu_err *e)
{
    int *n = ctx;
    if (++*n % 2) return qu_fail(e, QU_ERR_ARG, "odd '%s'", q->text);
    return QU_OK;
}

/* A line's fault costs that line; the code tells of it. */
static void questions_one_by_one(void **state)
{
    (void)state;
    FILE *f = fopen(path, "w");
    fputs("one\n\ntwo\n{\"question\":\n three ", f);
    fclose(f);
    int n = 0, saved = dup(2), nothing = open("/dev/null", O_WRONLY);
    assert_non_null(freopen(path, "r", stdin));
    dup2(nothing, 2);
    int code = qu_input_questions(even_only, &n);
    dup2(saved, 2);
    assert_int_equal(code, 3);
    assert_int_equal(n, 3);
}

static int setup(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(objects_and_text),
                                       cmocka_unit_test(what_is_refused),
                                       cmocka_unit_test(questions_one_by_one)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
