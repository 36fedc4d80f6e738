/* Odd strings as contents, as names and as questions, through the program: it does not crash,
 * prints valid JSON, and the good file beside them still answers. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/buf.h"
#include "base/os.h"
#include "tests/testing.h"

static char dir[64];

/* Run quire with these arguments and that file as input; its JSON lines as an array. */
static json_t *run(const char *arguments, const char *input, int *code)
{
    char command[600];
    const char *b = getenv("B") ? getenv("B") : "build/release";
    qu_buf out = {0};
    json_t *all = json_array();
    snprintf(
        command, sizeof command,
        "%s/quire %s --json --quiet --store %s/store --model models/quire-reader.gguf <%s >%s/out "
        "2>%s/err",
        b, arguments, dir, input, dir, dir);
    int status = system(command);
    if (!WIFEXITED(status)) fail_msg("'%s' ended by a signal", arguments);
    *code = WEXITSTATUS(status);
    char path[80];
    snprintf(path, sizeof path, "%s/out", dir);
    TEST_OK(qu_os_read(&out, path, 1 << 28, err));
    for (char *p = out.data, *nl; p && (nl = strchr(p, '\n')); p = nl + 1) {
        json_error_t why;
        json_t *o = json_loadb(p, (size_t)(nl - p), 0, &why);
        if (!o) fail_msg("no JSON: %s in %.*s", why.text, (int)(nl - p), p);
        json_array_append_new(all, o);
    }
    qu_buf_free(&out);
    return all;
}

static void write_file(const char *name, const char *s)
{
    char path[400];
    snprintf(path, sizeof path, "%s/docs/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, s, strlen(s)) == (ssize_t)strlen(s));
    close(fd);
}

/* No file of that name yet? */
static bool is_new(const char *name)
{
    char path[400];
    snprintf(path, sizeof path, "%s/docs/%s", dir, name);
    return access(path, F_OK) != 0;
}

/* Every path that is given names a file that is there. */
static void check_paths(const json_t *list)
{
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o)
    {
        const char *path = json_string_value(json_object_get(o, "path"));
        assert_non_null(path);
        if (!json_object_get(o, "path_b64")) assert_int_equal(access(path, R_OK), 0);
    }
}

static bool has_path(const json_t *list, const char *end)
{
    size_t i;
    json_t *o;
    json_array_foreach(list, i, o)
    {
        const char *path = json_string_value(json_object_get(o, "path"));
        size_t n = strlen(path), m = strlen(end);
        if (n > m && strcmp(path + n - m, end) == 0) return true;
    }
    return false;
}

/* The questions of a file, one object each, then the one that the good file answers. */
static void ask_all(const char *arguments, const char *list, int n_questions)
{
    char input[80];
    int code;
    snprintf(input, sizeof input, "%s/questions", dir);
    json_t *all = run(arguments, input, &code), *o;
    size_t i;
    assert_true(code == 0 || code == 1);
    assert_int_equal(json_array_size(all), n_questions);
    json_array_foreach(all, i, o)
    {
        assert_null(json_object_get(o, "error"));
        check_paths(json_object_get(o, list));
    }
    o = json_array_get(all, (size_t)n_questions - 1);
    assert_true(has_path(json_object_get(o, list), "/good.txt"));
    json_decref(all);
}

static void test_strings(void **state)
{
    (void)state;
    TEST_NEEDS(path, "naughty-strings/blns.json");
    json_t *strings = json_load_file(path, 0, NULL), *s;
    qu_buf questions = {0};
    int files = 1, n_questions = 1, code;
    size_t i;
    char name[300];
    assert_true(json_array_size(strings) > 500);
    snprintf(name, sizeof name, "%s/docs", dir);
    assert_int_equal(mkdir(name, 0700), 0);
    write_file("good.txt", "The ferry to Norrholm leaves at seven. A ticket costs 45 crowns.\n");
    json_array_foreach(strings, i, s)
    {
        const char *text = json_string_value(s);
        snprintf(name, sizeof name, "content-%zu.%s", i,
                 i % 3 == 0   ? "txt"
                 : i % 3 == 1 ? "md"
                              : "csv");
        write_file(name, text);
        files++;
        json_t *question = json_pack("{s:O}", "question", s);
        char *line = json_dumps(question, JSON_COMPACT);
        bool blank = !text[strspn(text, " \t\n")];
        if (!blank) TEST_OK(qu_buf_printf(&questions, err, "%s\n", line));
        n_questions += !blank;
        json_decref(question);
        free(line);
        if (!*text || *text == '.' || strchr(text, '/') || strlen(text) > 200) continue;
        snprintf(name, sizeof name, "%s", text);
        files += is_new(name);
        write_file(name, "Nothing of interest is written here.\n");
    }
    TEST_OK(qu_buf_puts(&questions, "What does a ticket to Norrholm cost?\n", err));
    snprintf(name, sizeof name, "%s/questions", dir);
    TEST_OK(qu_os_replace(name, questions.data, questions.len, 0600, err));
    snprintf(name, sizeof name, "index --kv none %s/docs", dir);
    json_t *all = run(name, "/dev/null", &code), *o = json_array_get(all, 0);
    assert_int_equal(code, 3); /* some hold nothing but blanks */
    int added = (int)json_integer_value(json_object_get(o, "added"));
    int skipped = (int)json_integer_value(json_object_get(o, "skipped"));
    int failed = (int)json_integer_value(json_object_get(o, "failed"));
    print_message("%d files, %d added, %d questions\n", files, added, n_questions);
    assert_int_equal(added + skipped + failed, files);
    assert_true(skipped + failed < 20);
    json_decref(all);
    ask_all("search -", "hits", n_questions);
    ask_all("ask --extract -", "citations", n_questions);
    qu_buf_free(&questions);
    json_decref(strings);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/quire-naughty-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_strings)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
