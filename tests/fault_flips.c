/* Single flipped bits in every file of a store: the program answers as before or says what is
 * damaged, and nothing else. 40 flips, with QUIRE_LONG 2,000. */
#include "tests/pipeline_testing.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/os.h"

static char names[64][300];
static int n_names;

static void list(const char *sub)
{
    DIR *d = opendir(px_path("s/%s", sub));
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) && n_names < 64;) {
        struct stat sb;
        snprintf(names[n_names], sizeof names[0], "%s%s", sub, e->d_name);
        if (stat(px_path("s/%s", names[n_names]), &sb) == 0 && S_ISREG(sb.st_mode) &&
            sb.st_size > 0)
            n_names++;
    }
    closedir(d);
}

/* Exit code of a question to the copy, its answer in *text. */
static int ask(qu_buf *text)
{
    static char q[500];
    const char *b = getenv("B") ? getenv("B") : "build/release";
    snprintf(q, sizeof q,
             "timeout 20 %s/quire ask 'what follows badar?' --store %s --threads 1 --max-tokens 8 "
             "-q >%s "
             "2>%s",
             b, px_path("t"), px_path("out"), px_path("err"));
    int rc = system(q);
    text->len = 0;
    TEST_OK(qu_os_read(text, px_path("out"), 1 << 20, err));
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : 255;
}

static void flip(const char *path, uint64_t *seed, uint64_t *bit)
{
    struct stat sb;
    assert_int_equal(stat(path, &sb), 0);
    *bit = test_random(seed) % ((uint64_t)sb.st_size * 8);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, (long)(*bit / 8), SEEK_SET);
    int c = fgetc(f);
    fseek(f, (long)(*bit / 8), SEEK_SET);
    fputc(c ^ 1 << *bit % 8, f);
    fclose(f);
}

static void every_flip_is_harmless_or_told(void **state)
{
    (void)state;
    px_session p;
    qu_buf want = {0}, got = {0};
    uint64_t seed = 11, bit;
    int told = 0, n = getenv("QUIRE_LONG") ? 2000 : 40;
    px_shell("mkdir %s", px_path("docs"));
    for (int i = 0; i < 3; i++)
        px_write(px_path("docs/%d.md", i), "Houses", i == 1 ? "badar cefen digol fohux" : "nothing",
                 8, i);
    px_open_write(&p, "s", "copy.gguf");
    px_sync(&p, px_path("docs"));
    px_make_kv(&p, -1);
    px_close(&p);
    px_shell("cp -r %s %s", px_path("s"), px_path("t"));
    assert_int_equal(ask(&want), 0);
    assert_non_null(strstr(want.data, "cefen digol fohux"));
    px_shell("cp %s %s", px_path("t/use"), px_path("s/use"));
    list("");
    list("kv/");
    assert_true(n_names >= 5);
    for (int i = 0; i < n; i++) {
        const char *name = names[i % n_names];
        px_shell("rm -rf %s; cp -r %s %s", px_path("t"), px_path("s"), px_path("t"));
        flip(px_path("t/%s", name), &seed, &bit);
        int code = ask(&got);
        bool same = code == 0 && got.len == want.len && memcmp(got.data, want.data, got.len) == 0;
        told += code == 5;
        if (!same && code != 5)
            fail_msg("bit %llu of %s: exit %d", (unsigned long long)bit, name, code);
    }
    print_message("%d flips over %d files: %d told by exit 5, %d harmless\n", n, n_names, told,
                  n - told);
    qu_buf_free(&want);
    qu_buf_free(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_flip_is_harmless_or_told)};
    return cmocka_run_group_tests(tests, px_setup, px_teardown);
}
