/* Faults under the store's own functions: the n-th allocation fails, the disk is full. Afterwards
 * the store is old or new and check finds nothing. Kills, power cuts and failing calls of the whole
 * program are fault_crash.c and fault_calls.c. */
#include "store_testing.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MALLOC 0
#else
#define OWN_MALLOC 1
#endif

#if OWN_MALLOC
/* These stand in front of the C library's for the whole program, LMDB and zlib included. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
static volatile long fail_at =
    -1; /* volatile: compilers know what malloc does and does not touch */
static volatile bool fired;

static bool fails(void)
{
    if (fx_own_alloc || fail_at < 0 || fail_at-- > 0) return false;
    fail_at = -1;
    return fired = true;
}

void *malloc(size_t n)
{
    if (!fails()) return __libc_malloc(n);
    errno = ENOMEM;
    return NULL;
}

void *calloc(size_t n, size_t size)
{
    if (!fails()) return __libc_calloc(n, size);
    errno = ENOMEM;
    return NULL;
}

void *realloc(void *p, size_t n)
{
    if (!fails()) return __libc_realloc(p, n);
    errno = ENOMEM;
    return NULL;
}
#endif

/* --- one life of a store, in steps that each either happen or do not --- */

enum { SEED_A = 3, SEED_B = 4, SEED_C = 5 };

static qu_status work_put(qu_store *s, qu_err *err)
{
    qu_txn *t;
    uint64_t id;
    QU_TRY(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
    qu_status st = fx_put(t, "a", SEED_B, 20, &id, err);
    if (st == QU_OK) st = fx_put(t, "c", SEED_C, 3, &id, err);
    if (st == QU_OK) return qu_txn_commit(t, err);
    if (qu_txn_commit(t, NULL) == QU_OK) return QU_ERR_CORRUPT; /* half a document must not go in */
    return st;
}

static qu_status work_delete(qu_store *s, qu_err *err)
{
    qu_txn *t;
    qu_doc d = {0};
    QU_TRY(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
    qu_status st = qu_catalogue_find_path(t, "a", 1, &d, err);
    if (st == QU_OK) st = qu_catalogue_del_doc(t, d.doc_id, err);
    qu_doc_free(&d);
    if (st == QU_OK) return qu_txn_commit(t, err);
    qu_txn_abort(t);
    return st;
}

static qu_status work_publish(qu_store *s, qu_err *err)
{
    qu_txn *t;
    qu_doc d = {0};
    uint64_t file;
    int32_t n = 4;
    QU_TRY(qu_txn_begin(&t, s, QU_TXN_READ, err));
    qu_status st = qu_catalogue_find_path(t, "a", 1, &d, err);
    qu_txn_abort(t);
    uint64_t id = d.doc_id, seed = d.content_hash.hi;
    qu_doc_free(&d);
    QU_TRY(st);
    return fx_publish(s, 1, &id, &seed, &n, &file, err);
}

static qu_status work_gc(qu_store *s, qu_err *err)
{
    return qu_store_gc(s, NULL, err);
}

static qu_status work_check(qu_store *s, qu_err *err)
{
    qu_check_stats r;
    return qu_store_check(s, NULL, NULL, &r, err);
}

static qu_status work_read(qu_store *s, qu_err *err)
{
    qu_txn *t;
    qu_buf b = {0};
    qu_page *pages = NULL;
    int32_t n;
    qu_doc d = {0};
    const void *p;
    size_t len;
    QU_TRY(qu_txn_begin(&t, s, QU_TXN_READ, err));
    qu_status st;
    QU_TRY_OUT(qu_catalogue_find_path(t, "b", 1, &d, err));
    QU_TRY_OUT(qu_catalogue_text(t, d.doc_id, 0, d.text_bytes, &b, err));
    QU_TRY_OUT(qu_catalogue_pages(t, d.doc_id, &pages, &n, err));
    QU_TRY_OUT(qu_catalogue_ids(t, d.doc_id, 0, n, &b, err));
    QU_TRY_OUT(qu_store_slice(s, d.kv_file, &(qu_slice_key){d.kv_id, 0, 0, 0, 0},
                              qu_kv_binding(s, pages), &p, &len, err));
out:
    qu_txn_abort(t);
    qu_doc_free(&d);
    free(pages);
    qu_buf_free(&b);
    return st;
}

/* "a" (KV none) and "b" (KV 4 pages), plus something for gc to do: a pack with a dead member. */
static qu_store *prepare(const char *name)
{
    qu_store *s = fx_open(name, QU_STORE_WRITE);
    uint64_t ids[2] = {fx_add(s, "b", SEED_B, 4), fx_add(s, "dead", 9, 4)}, file;
    fx_add(s, "a", SEED_A, 4);
    TEST_OK(fx_publish(s, 2, ids, (uint64_t[]){SEED_B, 9}, (int32_t[]){4, 4}, &file, err));
    qu_txn *t;
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
    TEST_OK(qu_catalogue_del_doc(t, ids[1], err));
    TEST_OK(qu_txn_commit(t, err));
    return s;
}

/* "b" is whole with its KV; "a" is in its old or its new state; check is clean. */
static void assert_old_or_new(qu_store *s)
{
    qu_txn *t;
    qu_doc d;
    fx_assert_clean(s);
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_READ, err));
    TEST_OK(qu_catalogue_find_path(t, "b", 1, &d, err));
    assert_int_equal(d.kv_pages, 4);
    fx_compare(s, t, &d, SEED_B, 4);
    qu_doc_free(&d);
    bool c = qu_catalogue_find_path(t, "c", 1, &d, NULL) == QU_OK;
    if (c) fx_compare(s, t, &d, SEED_C, 3);
    qu_doc_free(&d);
    if (qu_catalogue_find_path(t, "a", 1, &d, NULL) == QU_OK) {
        assert_true(d.kv_pages == 0 || d.kv_pages == 4);
        if (c) fx_compare(s, t, &d, SEED_B, 20);
        else fx_compare(s, t, &d, SEED_A, 4);
        qu_doc_free(&d);
    }
    qu_txn_abort(t);
    qu_store_release_readers(s);
}

static const struct {
    const char *name;
    qu_status (*work)(qu_store *s, qu_err *err);
} works[] = {
    {"put", work_put}, {"publish", work_publish}, {"gc", work_gc}, {"check", work_check},
    {"read", work_read}, {"delete", work_delete},
};
enum { N_WORKS = sizeof works / sizeof *works };

#if OWN_MALLOC
static void test_allocations(void **state)
{
    (void)state;
    for (int i = 0; i < N_WORKS; i++) {
        long n = 0;
        for (;; n +=
                n < 150 ? 1 : n / 40) { /* all of the first, then some of the many in long loops */
            char name[32];
            qu_err e = {0};
            snprintf(name, sizeof name, "m%d-%ld", i, n);
            qu_store *s = prepare(name);
            fired = false;
            fail_at = n;
            qu_status st = works[i].work(s, &e);
            fail_at = -1;
            if (fired && st != QU_OK && st != QU_ERR_NOMEM) fail_msg("%s: %d %s", name, st, e.msg);
            if (!fired && st != QU_OK) fail_msg("%s: %s", name, e.msg);
            assert_old_or_new(s);
            if (st != QU_OK) TEST_OK(works[i].work(s, err)); /* and it can be done again */
            assert_old_or_new(s);
            qu_store_close(s);
            if (!fired) break;
        }
        print_message("%s: %ld allocations\n", works[i].name, n);
    }
}

static void test_open_allocations(void **state)
{
    (void)state;
    qu_store_config c = fx_config();
    qu_store_close(prepare("open"));
    for (int create = 0; create < 2; create++) {
        fired = true;
        for (long n = 0; fired; n++) {
            qu_store *s;
            qu_err e = {0};
            char name[32];
            snprintf(name, sizeof name, create ? "o%ld" : "open", n);
            const char *path = fx_path("%s", name);
            fired = false;
            fail_at = n;
            qu_status st = qu_store_open(&s, path, create ? &c : NULL, QU_STORE_WRITE, &e);
            fail_at = -1;
            if (st != QU_OK && (st != QU_ERR_NOMEM || !fired)) fail_msg("%ld: %d %s", n, st, e.msg);
            qu_store_close(s);
            TEST_OK(qu_store_open(&s, path, create ? &c : NULL, QU_STORE_WRITE, err));
            fx_assert_clean(s);
            qu_store_close(s);
        }
    }
}
#else
static void test_allocations(void **state)
{
    (void)state;
    print_message("skipped: the sanitizer owns malloc\n");
    skip();
}
static void test_open_allocations(void **state) { test_allocations(state); }
#endif

/* --- full disk --- */

/* Do all the work in a child that may not let files grow beyond limit bytes; the parent looks at
 * what is left. A file too large and a disk too full look the same to LMDB: a write that fails or
 * comes back short. */
static void test_file_size_limit(void **state)
{
    (void)state;
    int n_full = 0;
    for (int i = 0; i < 24; i++) {
        char name[32];
        int code;
        snprintf(name, sizeof name, "full%d", i);
        qu_store_close(prepare(name));
        pid_t child = fork();
        if (child == 0) {
            rlim_t limit = 40000 + (rlim_t)i * 9973; /* odd ones end with a page: no short write */
            struct rlimit r = {i % 2 ? limit & ~(rlim_t)4095 : limit, RLIM_INFINITY};
            int full = 0;
            qu_store *s;
            signal(SIGXFSZ, SIG_IGN);
            setrlimit(RLIMIT_FSIZE, &r);
            if (qu_store_open(&s, fx_path("%s", name), NULL, QU_STORE_WRITE, NULL) != QU_OK)
                _exit(3);
            for (int j = 0; j < N_WORKS; j++) {
                qu_status st = works[j].work(s, NULL);
                if (st == QU_ERR_FULL || st == QU_ERR_IO)
                    full = 1; /* a short write is EIO to LMDB */
                else if (st != QU_OK && st != QU_ERR_NOTFOUND) _exit(4);
            }
            qu_store_close(s);
            _exit(full);
        }
        waitpid(child, &code, 0);
        if (!WIFEXITED(code) || WEXITSTATUS(code) > 1)
            fail_msg("limit %d: child ended with %x", i, code);
        n_full += WEXITSTATUS(code);
        qu_store *s = fx_open(name, QU_STORE_WRITE);
        assert_old_or_new(s);
        TEST_OK(qu_store_gc(s, NULL, err));
        assert_old_or_new(s);
        qu_store_close(s);
    }
    print_message("%d of 24 limits were met\n", n_full);
    assert_true(n_full >= 6 && n_full < 24);
}

static void test_tmpfs_full(void **state)
{
    (void)state;
    assert_int_equal(mkdir(fx_path("tmpfs"), 0700), 0);
    if (mount("tmpfs", fx_path("tmpfs"), "tmpfs", 0, "size=520k") != 0) {
        print_message("skipped: cannot mount a small tmpfs (%s)\n", strerror(errno));
        skip();
    }
    qu_store *s = prepare("tmpfs/s");
    int n_full = 0;
    for (int round = 0; round < 12; round++) {
        qu_status st = round % 3 == 2 ? work_gc(s, NULL)
                       : round % 3    ? work_publish(s, NULL)
                                      : work_put(s, NULL);
        n_full += st == QU_ERR_FULL;
        if (st != QU_OK && st != QU_ERR_FULL && st != QU_ERR_ARG)
            fail_msg("round %d: %d", round, st);
        fx_assert_clean(s);
    }
    assert_true(n_full > 0);
    qu_store_close(s);
}

/* Also when the test failed. */
static int unmount(void **state)
{
    (void)state;
    umount2(fx_path("tmpfs"), MNT_DETACH);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_open_allocations),
        cmocka_unit_test(test_file_size_limit),
        cmocka_unit_test_teardown(test_tmpfs_full, unmount),
    };
    return cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
