/* A corpus of many files over its life: what a second run, a rename and edits cost, and what
 * removal leaves. 200 files, with QUIRE_LONG 2,000. */
#include "tests/pipeline_testing.h"

#include <ctype.h>
#include <dirent.h>

#include "base/os.h"

static px_session p;
static int n_files;

static const char *program(void)
{
    static char path[500];
    const char *b = getenv("B") ? getenv("B") : "build/release";
    snprintf(path, sizeof path, "%s/quire", b);
    return path;
}

static void write_file(int i, int version)
{
    FILE *f = fopen(px_path("docs/f%04d.md", i), "w");
    assert_non_null(f);
    fprintf(
        f,
        "# File %d\n\nversion %d of the old house near river %d\n\nthe road goes over the hill\n",
        i, version, i);
    fclose(f);
}

static int make(void **state)
{
    n_files = getenv("QUIRE_LONG") ? 2000 : 200;
    if (px_setup(state) != 0) return -1;
    px_shell("mkdir %s", px_path("docs"));
    for (int i = 0; i < n_files; i++) write_file(i, 0);
    return 0;
}

static void runs_cost_what_changed(void **state)
{
    (void)state;
    px_open_write(&p, "store", "w512.gguf");
    const char *docs = px_path("docs");
    assert_int_equal(px_sync(&p, docs).added, n_files);
    int64_t all = px_make_kv(&p, -1).tokens;
    double start = qu_os_now_ms();
    assert_int_equal(px_sync(&p, px_path("docs")).unchanged, n_files);
    assert_int_equal(px_make_kv(&p, -1).tokens, 0);
    double ms = qu_os_now_ms() - start;
    print_message("%d files: %lld tokens; nothing changed: %.0f ms\n", n_files, (long long)all, ms);
    assert_true(ms < 1000);
    px_shell("mkdir %s; mv %s %s", px_path("docs/sub"), px_path("docs/f0007.md"),
             px_path("docs/sub/g.md"));
    assert_int_equal(px_sync(&p, px_path("docs")).renamed, 1);
    assert_int_equal(px_make_kv(&p, -1).tokens, 0);
    for (int i = 0; i < n_files / 100; i++) write_file(i * 100 + 50, 1);
    assert_int_equal(px_sync(&p, px_path("docs")).changed, n_files / 100);
    int64_t edited = px_make_kv(&p, -1).tokens;
    print_message("1%% edited: %.2f%% of the tokens\n", 100 * (double)edited / (double)all);
    assert_true(edited > 0 && edited <= all / 50);
    px_assert_clean(&p);
    px_close(&p);
}

/* How often the store's files hold these bytes; fold: letters in either case. */
static int holds(const void *bytes, size_t n, bool fold)
{
    int found = 0;
    for (int sub = 0; sub < 2; sub++) {
        DIR *d = opendir(px_path(sub ? "store/kv" : "store"));
        assert_non_null(d);
        for (struct dirent *e; (e = readdir(d));) {
            qu_buf b = {0};
            if (e->d_type != DT_REG) continue;
            TEST_OK(
                qu_os_read(&b, px_path(sub ? "store/kv/%s" : "store/%s", e->d_name), 1 << 30, err));
            for (size_t i = 0; fold && i < b.len; i++)
                b.data[i] = (char)tolower((unsigned char)b.data[i]);
            const char *at = b.data, *end = b.data + b.len;
            while (b.len && (at = memmem(at, (size_t)(end - at), bytes, n))) found++, at++;
            qu_buf_free(&b);
        }
        closedir(d);
    }
    return found;
}

static void removed_is_gone(void **state)
{
    (void)state;
    static const char secret[] = "xyloqubarzide";
    enum { SAMPLE = 24 };
    qu_buf slices = {0};
    qu_doc d;
    FILE *f = fopen(px_path("docs/secret%s.md", secret), "w");
    /* text that no packing makes disappear, and some that */
    for (uint64_t i = 0, seed = 3; i < 40; i++)
        fprintf(f, "XyloQubarzide %016llx\n\n", (unsigned long long)test_random(&seed));
    fclose(f);
    px_open_write(&p, "store", "w512.gguf");
    px_sync(&p, px_path("docs"));
    px_make_kv(&p, -1);
    assert_true(px_doc(&p, px_path("docs/secret%s.md", secret), &d));
    px_slices(&p, &d, &slices);
    qu_doc_free(&d);
    px_close(&p);
    assert_true(holds(secret, strlen(secret), true) > 0); /* the path, at least */
    /* what the first layer makes of a token is the same in every document: take what is not */
    int n_own = 0;
    size_t own[16];
    for (size_t at = 8; at + SAMPLE <= slices.len && n_own < 16; at += slices.len / 40)
        if (holds(slices.data + at, SAMPLE, false) == 1) own[n_own++] = at;
    assert_true(n_own >= 8);
    px_shell("%s rm -q %s --store %s >/dev/null && %s gc -q --store %s >/dev/null", program(),
             px_path("docs/secret%s.md", secret), px_path("store"), program(), px_path("store"));
    assert_int_equal(holds(secret, strlen(secret), true), 0);
    for (int i = 0; i < n_own; i++)
        assert_int_equal(holds(slices.data + own[i], SAMPLE, false), 0);
    qu_buf_free(&slices);
    px_open_write(&p, "store", "w512.gguf");
    px_assert_clean(&p);
    px_close(&p);
}

/* Eight ask while one indexes what changes all the time: no error, and only what was committed. */
static void askers_during_index(void **state)
{
    (void)state;
    int rounds = getenv("QUIRE_LONG") ? 12 : 3;
    px_shell("rm -rf %s; mkdir -p %s", px_path("docs"), px_path("docs"));
    for (int i = 0; i < 8; i++)
        px_write(px_path("docs/d%d.md", i), "Houses",
                 i == 3 ? "badar cefen digol fohux" : "nothing", 20, i);
    FILE *f = fopen(px_path("askers.sh"), "w");
    fprintf(f,
            "cd %s\nq='%s'\ncase $q in /*) ;; *) q=$OLDPWD/$q ;; esac\n"
            "$q index -q docs --store s --model copy.gguf --kv eager >/dev/null || exit 1\n"
            "for i in 1 2 3 4 5 6 7 8; do (for r in $(seq %d); do\n"
            "$q ask 'what follows badar?' --store s -q --threads 1 --max-tokens 8 >a$i.$r 2>e$i.$r "
            "|| echo bad >>bad\n"
            "grep -q 'cefen digol fohux' a$i.$r || echo bad >>bad; done) & done\n"
            "for r in $(seq %d); do for n in 1 5; do cat docs/d$n.md docs/d0.md >t; mv t "
            "docs/d$n.md; done\n"
            "$q index -q docs --store s --kv eager >/dev/null 2>err || { code=$?; cat err >>bad; "
            "}; done\n"
            "wait\n[ ! -e bad ] || { cat bad e*; exit 1; }\n$q check -q --store s >/dev/null\n",
            px_dir, program(), rounds, rounds);
    fclose(f);
    px_shell("sh %s", px_path("askers.sh"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_cost_what_changed),
        cmocka_unit_test(removed_is_gone),
        cmocka_unit_test(askers_during_index),
    };
    return cmocka_run_group_tests(tests, make, px_teardown);
}
