/* One call of the program fails, or it and all later ones: writing, syncing, opening and renaming,
 * mapping, allocating, opening for reading; while index, rm, gc, eviction and a question are under
 * way. It ends with a documented exit code and says what is the matter and what to do; each
 * document is old or new, and so is every answer; afterwards the next index completes. Call number
 * 0, 1, 2, ... until there is none, else a few of each. */
#include "tests/fault_testing.h"

#include <errno.h>

typedef struct fault {
    const char *mode, *classes;
    int error;
} fault;

static const fault faults[] = {
    {"fail", "w", ENOSPC}, {"stay", "w", ENOSPC}, {"fail", "s", EIO},
    {"fail", "n", EIO},    {"fail", "n", EMFILE}, {"fail", "rk", EMFILE},
    {"fail", "k", ENOENT}, {"fail", "m", ENOMEM}, {"fail", "a", ENOMEM},
};
enum { N_FAULTS = sizeof faults / sizeof *faults };

static int n_bad;

static void complain(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    n_bad++;
}

/* What must be said when the program gives up: what failed, and a way on. */
static void check_words(const fault *f, int code, const char *where)
{
    qu_buf said = {0};
    ft_read(&said, "err");
    char *line = said.data;
    while (line && (strncmp(line, "quire: ", 7) != 0 ||
                    (code != 3 && strncmp(line, "quire: warning: ", 16) == 0) ||
                    strstr(line, "rebuilding") == line + 7 ||
                    strstr(line, "stored pages are not") == line + 7))
        line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL;
    bool passes_over = code == 3 && (line || strstr(said.data, "skipped")); /* a pack, a folder */
    if (code != 4 && !passes_over && !(code == 5 && strchr(f->classes, 'k')))
        complain("%s: exit %d: %s\n", where, code, said.data);
    if (passes_over) line = said.data;
    if (!line || (f->error != ENOMEM && code != 3 && !strchr(line, '\'')))
        complain("%s: exit %d without a word: %s\n", where, code, said.data);
    const char *hints[] = {"make room", "memory", "check the disk", "ulimit -n", "quire check"};
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (strstr(line, hints[i])) {
            qu_buf_free(&said);
            return;
        }
    complain("%s: exit %d, no way on: %s\n", where, code, said.data);
}

/* Call number at of the scene; false: it makes fewer. */
static bool one_fault(int scene, const fault *f, long at, bool complete, int codes[8])
{
    char where[100], *end;
    qu_buf b = {0};
    snprintf(where, sizeof where, "%s, %s %s %ld", ft_scenes[scene].name, f->mode, f->classes, at);
    ft_prepare(scene);
    int code = ft_run(scene, f->mode, f->classes, at, (unsigned long)f->error);
    ft_read(&b, "log");
    strtol(b.data, &end, 10);
    bool struck = end == b.data;
    if (!struck && code != 0) complain("%s: exit %d and nothing had failed\n", where, code);
    if (code != 0) check_words(f, code, where);
    if (code == 0 && ft_scenes[scene].asks) {
        ft_read(&b, "out");
        if (strcmp(b.data, ft_said[scene].data) != 0) complain("%s: %s\n", where, b.data);
    }
    ft_verify(scene, at % 5 == 0, complete);
    codes[code < 7 ? code : 7]++;
    qu_buf_free(&b);
    return struck;
}

static void every_failing_call_is_told(void **state)
{
    (void)state;
    if (!FT_PRELOAD) {
        print_message("skipped: the sanitizer must be loaded first\n");
        skip();
    }
    bool all = getenv("QUIRE_LONG");
    const char *only = getenv("ONLY");
    uint64_t seed = 5;
    int codes[8] = {0};
    for (int scene = 0; scene < FT_SCENES; scene++)
        for (int i = 0; i < N_FAULTS; i++) {
            long n = 0;
            if (only && !strstr(only, ft_scenes[scene].name)) continue;
            if (all)
                while (one_fault(scene, &faults[i], n, n % 16 == 3, codes)) n++;
            else if ((scene + i) % 3 == 0) /* any of those that there are */
                for (long calls = ft_count(scene, faults[i].classes); n < 2 && calls > 0; n++)
                    one_fault(scene, &faults[i], (long)(test_random(&seed) % (uint64_t)calls),
                              n == 1, codes);
            if (n)
                print_message("%s, %s %s: %ld calls\n", ft_scenes[scene].name, faults[i].mode,
                              faults[i].classes, n);
        }
    assert_int_equal(n_bad, 0);
    print_message("exit 0: %d, 4: %d, 5: %d\n", codes[0], codes[4], codes[5]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_failing_call_is_told)};
    return cmocka_run_group_tests(tests, ft_setup, px_teardown);
}
