/* For fault_crash.c and fault_calls.c: a tiny corpus before and after an edit, a store for each
 * thing that may be under way when something goes wrong, the program run under tests/faults.c, and
 * what must be true afterwards. */
#ifndef QU_TESTS_FAULT_TESTING_H
#define QU_TESTS_FAULT_TESTING_H

#include "tests/pipeline_testing.h"

#include <sys/wait.h>

#include "base/os.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FT_PRELOAD 0 /* the sanitizer wants to be first */
#else
#define FT_PRELOAD 1
#endif

/* What is under way, in a copy of the store that make prepares; the corpus is the edited one. */
typedef struct ft_scene {
    const char *name, *make, *verb;
    bool asks; /* answers on standard output: as before or after, whatever happened */
} ft_scene;

#define FT_ASK "ask 'what follows badar?' --max-tokens 8"
static const ft_scene ft_scenes[] = {
    {"create", "true", "index docs --model copy.gguf --kv eager", false},
    {"index", "cp -r before $S", "index docs --kv eager", false},
    {"make", "cp -r without $S", "ask 'what follows cedar?' --max-tokens 8", true},
    {"rm", "cp -r after $S", "rm docs/4.txt docs/5.txt", false},
    {"gc", "cp -r after $S; $Q rm -q docs/4.txt docs/5.txt --store $S >n", "gc", false},
    {"evict", "cp -r after $S", "index docs --kv eager --max-bytes 160000", false},
    {"ask", "cp -r after $S", FT_ASK, true},
};
enum { FT_SCENES = sizeof ft_scenes / sizeof *ft_scenes, FT_ASK_SCENE = FT_SCENES - 1 };

/* The slices of a text, from stores that nothing happened to. */
typedef struct ft_truth {
    qu_hash text;
    char *title;
    int32_t n_pages;
    qu_buf slices; /* page after page, all the same size each */
} ft_truth;
static ft_truth ft_truths[32];
static int ft_n_truths;
static int64_t ft_docs; /* of the store "after" */
static qu_buf ft_answers_before[FT_SCENES], ft_answers_after[FT_SCENES], ft_answers;
static qu_buf ft_said[FT_SCENES]; /* by the verb itself */

/* Run a shell command in the folder: $Q is the program, $S the store that things happen to. The
 * exit code. */
static inline int ft_shell(const char *fmt, ...)
{
    char command[1600], line[1000];
    const char *b = getenv("B") ? getenv("B") : "build/release";
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    snprintf(command, sizeof command,
             "B=%s; case $B in /*) ;; *) B=$PWD/$B ;; esac; Q=$B/quire S=%s/s; cd %s && { %s\n}", b,
             px_dir, px_dir, line);
    int code = system(command);
    return WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code);
}

static inline void ft_must(const char *command)
{
    int code = ft_shell("%s", command);
    if (code == 0) return;
    ft_shell("cat n e >&2");
    fail_msg("exit %d: %s", code, command);
}

static inline void ft_read(qu_buf *b, const char *name)
{
    b->len = 0;
    TEST_OK(qu_os_read(b, px_path("%s", name), 1 << 20, err));
}

/* Slices of pages [0, n) of a document appended to b. */
static inline qu_status ft_slices(qu_store *s, const qu_doc *d, const qu_page *pages, int32_t n,
                                  qu_buf *b, qu_err *err)
{
    const qu_store_config *c = qu_store_config_get(s);
    for (int32_t i = 0; i < n * c->n_layers * c->n_kv_heads; i++) {
        int32_t page = i / (c->n_layers * c->n_kv_heads), lh = i % (c->n_layers * c->n_kv_heads);
        qu_slice_key k = {d->kv_id, (uint32_t)page, (uint16_t)(lh / c->n_kv_heads),
                          (uint16_t)(lh % c->n_kv_heads), QU_KV_SLICE};
        const void *data;
        size_t bytes;
        QU_TRY(
            qu_store_slice(s, d->kv_file, &k, qu_kv_binding(s, &pages[page]), &data, &bytes, err));
        QU_TRY(qu_buf_add(b, data, bytes, err));
    }
    return QU_OK;
}

static inline ft_truth *ft_truth_of(const qu_doc *d)
{
    for (int i = 0; i < ft_n_truths; i++)
        if (qu_hash_equal(ft_truths[i].text, d->text_hash) &&
            strcmp(ft_truths[i].title, d->title) == 0)
            return &ft_truths[i];
    return NULL;
}

/* Every document of the store s is one of the known ones, its slices are theirs, and check finds
 * nothing. learn: these are the known ones. whole: all have all their slices, no file is left
 * over. */
static inline void ft_look(const char *store, bool learn, bool whole)
{
    qu_store *s;
    qu_txn *t;
    qu_doc d;
    qu_check_stats checked;
    qu_store_counts counts;
    TEST_OK(qu_store_open(&s, px_path("%s", store), NULL, 0, err));
    TEST_OK(qu_store_check(s, px_print_finding, NULL, &checked, err));
    assert_int_equal(checked.n_problems, 0);
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_READ, err));
    TEST_OK(qu_catalogue_counts(t, &counts, err));
    if (whole) {
        assert_int_equal(checked.n_notes, 0);
        assert_int_equal(counts.n_kv_docs, counts.n_docs);
    }
    if (whole && !learn) assert_int_equal(counts.n_docs, ft_docs);
    if (learn) ft_docs = counts.n_docs;
    for (uint64_t at = 0;; at = d.doc_id, qu_doc_free(&d)) {
        qu_page *pages;
        int32_t n;
        qu_buf b = {0};
        TEST_OK(qu_catalogue_next_doc(t, at, &d, err));
        if (d.doc_id == 0) break;
        TEST_OK(qu_catalogue_pages(t, d.doc_id, &pages, &n, err));
        TEST_OK(ft_slices(s, &d, pages, d.kv_pages, &b, err));
        ft_truth *known = ft_truth_of(&d);
        if (learn && !known) {
            known = &ft_truths[ft_n_truths++];
            known->text = d.text_hash;
            known->n_pages = n;
            known->title = strdup(d.title);
            known->slices = b;
        } else {
            if (!known) fail_msg("a document of neither version: %s", d.path);
            assert_int_equal(n, known->n_pages);
            assert_true(b.len <= known->slices.len);
            if (b.len) assert_memory_equal(b.data, known->slices.data, b.len);
            qu_buf_free(&b);
        }
        free(pages);
    }
    qu_txn_abort(t);
    qu_store_close(s);
}

static inline bool ft_is_store(void)
{
    return access(px_path("s/config"), F_OK) == 0;
}

/* The questions' answers by the store s into the file got. */
static inline void ft_ask(void)
{
    ft_must("$Q ask - --store $S --threads 1 --max-tokens 8 -q <questions >got 2>e || [ $? = 1 ]");
}

/* After whatever happened in that scene: each document is old or new and so are answers; the next
 * index completes, once; then nothing is left over and all is as in the store that nothing happened
 * to. */
static inline void ft_verify(int scene, bool ask, bool complete)
{
    qu_buf got = {0};
    if (ft_is_store()) {
        ft_look("s", false, false);
        if (ask) {
            ft_ask();
            ft_read(&got, "got");
            if (strcmp(got.data, ft_answers_before[scene].data) != 0 &&
                strcmp(got.data, ft_answers_after[scene].data) != 0)
                fail_msg("%s: neither the old nor the new answers:\n%s", ft_scenes[scene].name,
                         got.data);
        }
    } else {
        assert_int_equal(scene, 0);
    }
    if (complete) {
        ft_must("$Q index docs --model copy.gguf --kv eager --max-bytes 1G --store $S --threads 1 "
                "-q >n 2>e");
        ft_must("$Q index docs --kv eager --store $S --threads 1 -q >n 2>e && grep -q '^0 added, 0 "
                "changed, 0 "
                "renamed, 0 removed' n && ! grep KV: n");
        ft_must("$Q gc --store $S -q >n 2>e");
        ft_look("s", false, true);
        ft_ask();
        ft_read(&got, "got");
        assert_string_equal(got.data, ft_answers.data);
    }
    qu_buf_free(&got);
}

static inline void ft_prepare(int scene)
{
    if (ft_shell("rm -rf $S; %s", ft_scenes[scene].make) != 0)
        fail_msg("cannot prepare %s", ft_scenes[scene].name);
}

/* Run the scene's verb under QUIRE_FAULT=how (tests/faults.c). Its exit code; the file log says
 * what was struck, or how many calls there were; out and err are what it said. */
static inline int ft_run(int scene, const char *mode, const char *classes, long at,
                         unsigned long seed)
{
    return ft_shell(
        "rm -f log; timeout -k 1 20 env QUIRE_FAULT=%s:%s:%ld:%lu:$S QUIRE_FAULT_LOG=log "
        "LD_PRELOAD=$B/tests/faults.so $Q %s --store $S --threads 1 >out 2>err",
        mode, classes, at, seed, ft_scenes[scene].verb);
}

/* Number of calls that the scene makes. */
static inline long ft_count(int scene, const char *classes)
{
    qu_buf b = {0};
    ft_prepare(scene);
    assert_true(ft_run(scene, "count", classes, 0, 1) <= 1);
    ft_read(&b, "log");
    long n = strtol(b.data, NULL, 10);
    qu_buf_free(&b);
    return n;
}

static inline int ft_setup(void **state)
{
    static const char *const first[] = {"ba", "ce", "di", "fo", "gu", "ba"};
    if (px_setup(state) != 0) return -1;
    px_shell("mkdir %s", px_path("docs"));
    for (int i = 0; i < 6; i++) {
        char needle[80];
        snprintf(needle, sizeof needle, "%sdar %sfen %sgol %shux", first[i], first[i], first[i],
                 first[i]);
        px_write(px_path("docs/%d.txt", i), NULL, needle, i == 1 ? 24 : 4, i % 4);
    }
    ft_must("cp docs/0.txt docs/4.txt; for w in ba ce di; do echo \"what follows ${w}dar?\"; done "
            ">questions");
    ft_must("i() { $Q index $* --kv eager --threads 1 -q >n 2>e; }; i docs/0.txt docs/1.txt "
            "--store before "
            "--model copy.gguf && mv docs/5.txt . && i docs --store before && mv 5.txt docs");
    ft_look("before", true, true);
    /* an edit at the end, a removal, a rename, a new file */
    ft_must("echo 'the cold wind turns' >>docs/1.txt; rm docs/2.txt; mv docs/3.txt docs/3b.txt");
    ft_must(
        "i() { $Q index $* --threads 1 -q >n 2>e; }; cp -r before after && i docs --kv eager "
        "--store after && "
        "cp -r before without && i docs --kv eager --max-bytes 0 --store without && i docs "
        "--max-bytes 1G "
        "--kv none --store without && $Q ask x --store after -q --threads 1 >n 2>e || [ $? = 1 ]");
    ft_must(
        "cp -r after s && $Q ask - --store s --threads 1 --max-tokens 8 -q <questions >got 2>e");
    ft_look("after", true, true);
    ft_read(&ft_answers, "got");
    assert_non_null(strstr(ft_answers.data, "bafen bagol bahux"));
    for (int i = 0; i < FT_SCENES; i++) {
        ft_prepare(i);
        if (ft_is_store()) {
            ft_ask();
            ft_read(&ft_answers_before[i], "got");
        } else {
            ft_shell(
                "yes 'nothing found' | head -n 3 >got"); /* a store that is there and still empty */
            ft_read(&ft_answers_before[i], "got");
        }
        ft_prepare(i);
        int code = ft_shell("$Q %s --store $S --threads 1 -q >out 2>e", ft_scenes[i].verb);
        if (code != 0) fail_msg("%s: exit %d", ft_scenes[i].name, code);
        ft_read(&ft_said[i], "out");
        ft_ask();
        ft_read(&ft_answers_after[i], "got");
    }
    return 0;
}

#endif
