/* base/: status, buf, hash, os, pool. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/os.h"
#include "base/pool.h"
#include "base/status.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/quire-unit-base-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    return system(cmd);
}

static const char *in_dir(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

/* ---- status ---- */

static qu_status try_twice(qu_status first, int *reached, qu_err *err)
{
    QU_TRY(first == QU_OK ? QU_OK : qu_fail(err, first, "first"));
    *reached = 1;
    return QU_OK;
}

static void test_status_fail(void **state)
{
    (void)state;
    qu_err err = {0};
    assert_int_equal(qu_fail(&err, QU_ERR_IO, "cannot open '%s'", "x"), QU_ERR_IO);
    assert_int_equal(err.status, QU_ERR_IO);
    assert_string_equal(err.msg, "cannot open 'x'");
    assert_int_equal(qu_fail(NULL, QU_ERR_ARG, "no record"), QU_ERR_ARG);
    assert_int_equal(qu_fail_nomem(&err, 1234), QU_ERR_NOMEM);
    assert_non_null(strstr(err.msg, "1234"));
}

static void test_status_long_message_is_cut(void **state)
{
    (void)state;
    struct {
        qu_err err;
        char guard[8];
    } r;
    char text[1000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    memset(r.guard, 7, sizeof r.guard);
    qu_fail(&r.err, QU_ERR_ARG, "%s", text);
    assert_int_equal(strlen(r.err.msg), sizeof r.err.msg - 1);
    for (size_t i = 0; i < sizeof r.guard; i++) assert_int_equal(r.guard[i], 7);
}

static void test_status_try_and_names(void **state)
{
    (void)state;
    int reached = 0;
    assert_int_equal(try_twice(QU_ERR_FULL, &reached, NULL), QU_ERR_FULL);
    assert_int_equal(reached, 0);
    assert_int_equal(try_twice(QU_OK, &reached, NULL), QU_OK);
    assert_int_equal(reached, 1);
    for (int s = -20; s <= 1; s++) assert_true(strlen(qu_status_name((qu_status)s)) > 0);
    assert_string_not_equal(qu_status_name(QU_ERR_NOMEM), qu_status_name(QU_ERR_IO));
}

/* ---- buf ---- */

static void test_buf_append(void **state)
{
    (void)state;
    qu_buf b = {0};
    assert_int_equal(qu_buf_add(&b, NULL, 0, NULL), QU_OK);
    assert_non_null(b.data);
    assert_int_equal(b.data[0], 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(qu_buf_printf(&b, NULL, "%d,", i % 10), QU_OK);
        assert_int_equal(b.len, 2 * (size_t)(i + 1));
        assert_int_equal(b.data[b.len], 0);
    }
    assert_memory_equal(b.data, "0,1,2,3,4,5,6,7,8,9,0,", 22);
    qu_buf_free(&b);
    assert_null(b.data);
    assert_int_equal(b.len + b.cap, 0);
    qu_buf_free(&b); /* twice is fine */
}

static void test_buf_holds_any_bytes(void **state)
{
    (void)state;
    qu_buf b = {0};
    assert_int_equal(qu_buf_add(&b, "a\0b", 3, NULL), QU_OK);
    assert_int_equal(qu_buf_puts(&b, "c", NULL), QU_OK);
    assert_int_equal(b.len, 4);
    assert_memory_equal(b.data, "a\0bc", 5);
    qu_buf_free(&b);
}

static void test_buf_refuses_what_cannot_be(void **state)
{
    (void)state;
    qu_buf b = {0};
    qu_err err = {0};
    assert_int_equal(qu_buf_puts(&b, "kept", NULL), QU_OK);
    assert_int_equal(qu_buf_reserve(&b, SIZE_MAX, &err), QU_ERR_NOMEM);
    assert_int_equal(qu_buf_reserve(&b, SIZE_MAX / 2, &err), QU_ERR_NOMEM);
    assert_int_equal(err.status, QU_ERR_NOMEM);
    assert_string_equal(b.data, "kept");
    qu_buf_free(&b);
}

/* ---- hash ---- */

static void test_hash_identity(void **state)
{
    (void)state;
    qu_hash a = qu_hash_bytes("quire", 5, 0);
    assert_true(qu_hash_equal(a, qu_hash_bytes("quire", 5, 0)));
    assert_false(qu_hash_equal(a, qu_hash_bytes("quirf", 5, 0)));
    assert_false(qu_hash_equal(a, qu_hash_bytes("quire", 5, 1)));
    assert_false(qu_hash_equal(a, qu_hash_bytes("quire", 4, 0)));
    assert_int_not_equal(qu_hash_sum("quire", 5, 0), qu_hash_sum("quire", 5, 1));
}

static void test_hash_chain_keeps_order(void **state)
{
    (void)state;
    qu_hash zero = {0, 0};
    qu_hash ab = qu_hash_chain(qu_hash_chain(zero, "a", 1), "b", 1);
    qu_hash ba = qu_hash_chain(qu_hash_chain(zero, "b", 1), "a", 1);
    qu_hash b = qu_hash_chain(zero, "b", 1);
    assert_false(qu_hash_equal(ab, ba));
    assert_false(qu_hash_equal(ab, b));
    /* Chains that differ only in the upper half of the link stay apart. */
    assert_false(qu_hash_equal(qu_hash_chain((qu_hash){1, 9}, "x", 1),
                               qu_hash_chain((qu_hash){2, 9}, "x", 1)));
}

/* The published value of XXH3 for the empty input: stores outlive library versions. */
static void test_hash_is_stable(void **state)
{
    (void)state;
    char hex[33];
    assert_true(qu_hash_sum(NULL, 0, 0) == 0x2D06800538D394C2ull);
    qu_hash_hex(hex, qu_hash_bytes(NULL, 0, 0));
    assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");
}

/* ---- os ---- */

static void test_os_map_and_read(void **state)
{
    (void)state;
    qu_map map;
    qu_buf b = {0};
    qu_err err = {0};
    const char *path = in_dir("file");
    assert_int_equal(qu_os_replace(path, "hello", 5, 0600, NULL), QU_OK);
    assert_int_equal(qu_os_map(&map, path, NULL), QU_OK);
    assert_int_equal(map.len, 5);
    assert_memory_equal(map.data, "hello", 5);
    qu_os_unmap(&map);
    assert_null(map.data);
    assert_int_equal(qu_buf_puts(&b, "> ", NULL), QU_OK);
    assert_int_equal(qu_os_read(&b, path, 5, NULL), QU_OK);
    assert_string_equal(b.data, "> hello");
    assert_int_equal(qu_os_read(&b, path, 4, &err), QU_ERR_LIMIT);
    assert_non_null(strstr(err.msg, path));
    qu_buf_free(&b);
}

static void test_os_empty_file(void **state)
{
    (void)state;
    qu_map map;
    qu_buf b = {0};
    const char *path = in_dir("empty");
    assert_int_equal(qu_os_replace(path, NULL, 0, 0600, NULL), QU_OK);
    assert_int_equal(qu_os_map(&map, path, NULL), QU_OK);
    assert_null(map.data);
    assert_int_equal(map.len, 0);
    qu_os_unmap(&map);
    assert_int_equal(qu_os_read(&b, path, 0, NULL), QU_OK);
    assert_int_equal(b.len, 0);
    qu_buf_free(&b);
}

static void test_os_refuses_what_is_no_file(void **state)
{
    (void)state;
    qu_map map;
    qu_buf b = {0};
    qu_err err = {0};
    assert_int_equal(qu_os_map(&map, in_dir("absent"), &err), QU_ERR_NOTFOUND);
    assert_non_null(strstr(err.msg, "absent"));
    assert_int_equal(qu_os_map(&map, dir, &err), QU_ERR_IO);
    assert_int_equal(qu_os_read(&b, "/dev/zero", 10, &err), QU_ERR_IO);
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    alarm(5); /* opening a FIFO the plain way would wait for ever */
    assert_int_equal(qu_os_map(&map, in_dir("fifo"), &err), QU_ERR_IO);
    assert_int_equal(qu_os_read(&b, in_dir("fifo"), 10, &err), QU_ERR_IO);
    alarm(0);
    qu_buf_free(&b);
}

static void test_os_replace_is_whole(void **state)
{
    (void)state;
    qu_buf b = {0};
    struct stat sb;
    char path[256];
    strcpy(path, in_dir("out"));
    assert_int_equal(qu_os_replace(path, "one", 3, 0600, NULL), QU_OK);
    assert_int_equal(qu_os_replace(path, "second", 6, 0640, NULL), QU_OK);
    assert_int_equal(qu_os_read(&b, path, 100, NULL), QU_OK);
    assert_string_equal(b.data, "second");
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0640);
    qu_buf_free(&b);
    /* A target that cannot be replaced leaves no temporary behind. */
    assert_int_equal(mkdir(in_dir("taken"), 0700), 0);
    assert_int_not_equal(qu_os_replace(in_dir("taken"), "x", 1, 0600, NULL), QU_OK);
    char cmd[320];
    snprintf(cmd, sizeof cmd, "test -z \"$(ls '%s' | grep tmp)\"", dir);
    assert_int_equal(system(cmd), 0);
    assert_int_equal(qu_os_replace(in_dir("no/such/dir"), "x", 1, 0600, NULL), QU_ERR_NOTFOUND);
}

static void test_os_mkdirs(void **state)
{
    (void)state;
    struct stat sb;
    char path[256];
    strcpy(path, in_dir("a/b//c"));
    assert_int_equal(qu_os_mkdirs(path, 0700, NULL), QU_OK);
    assert_int_equal(qu_os_mkdirs(path, 0700, NULL), QU_OK);
    assert_int_equal(stat(path, &sb), 0);
    assert_true(S_ISDIR(sb.st_mode));
    assert_int_equal(sb.st_mode & 0777, 0700);
    assert_int_equal(qu_os_replace(in_dir("plain"), "", 0, 0600, NULL), QU_OK);
    assert_int_not_equal(qu_os_mkdirs(in_dir("plain"), 0700, NULL), QU_OK);
    assert_int_not_equal(qu_os_mkdirs(in_dir("plain/x"), 0700, NULL), QU_OK);
    assert_int_equal(qu_os_sync_dir(path, NULL), QU_OK);
    assert_int_equal(qu_os_sync_dir(in_dir("gone"), NULL), QU_ERR_NOTFOUND);
}

static void test_os_errno(void **state)
{
    (void)state;
    assert_int_equal(qu_os_status(ENOSPC), QU_ERR_FULL);
    assert_int_equal(qu_os_status(EDQUOT), QU_ERR_FULL);
    assert_int_equal(qu_os_status(ENOENT), QU_ERR_NOTFOUND);
    assert_int_equal(qu_os_status(ENOMEM), QU_ERR_NOMEM);
    assert_int_equal(qu_os_status(EACCES), QU_ERR_IO);
}

static void test_os_clocks(void **state)
{
    (void)state;
    double a = qu_os_now_ms(), exec = qu_os_since_exec_ms();
    usleep(20000);
    double b = qu_os_now_ms();
    assert_true(b - a >= 19 && b - a < 5000);
    assert_true(exec >= 0 && exec < 60000);
    assert_true(qu_os_since_exec_ms() >= 10); /* the record counts in steps of 10 ms */
    assert_true(qu_os_wall_ms() > 1600000000000ll);
    assert_true(qu_os_peak_rss_bytes() > 100000);
    assert_true(qu_os_n_cpus() >= 1);
}

/* ---- pool ---- */

enum { ITEMS = 5000 };

typedef struct tally {
    unsigned char seen[ITEMS];
    int threads, bad_worker;
} tally;

static void count_item(void *ctx, int64_t item, int worker)
{
    tally *t = ctx;
    __atomic_fetch_add(&t->seen[item], 1, __ATOMIC_RELAXED);
    if (worker < 0 || worker >= t->threads) t->bad_worker = 1;
}

static void test_pool_runs_each_item_once(void **state)
{
    (void)state;
    static const int counts[] = {1, 2, 3, 8};
    static tally t;
    for (int k = 0; k < 4; k++) {
        qu_pool *pool;
        assert_int_equal(qu_pool_create(&pool, counts[k], NULL), QU_OK);
        assert_int_equal(qu_pool_threads(pool), counts[k]);
        for (int n = 0; n <= ITEMS; n = n < 4 ? n + 1 : n * 2 - 1) {
            memset(&t, 0, sizeof t);
            t.threads = counts[k];
            qu_pool_run(pool, n, count_item, &t);
            for (int i = 0; i < ITEMS; i++) assert_int_equal(t.seen[i], i < n);
            assert_int_equal(t.bad_worker, 0);
        }
        qu_pool_free(pool);
    }
}

/* Runs follow each other fast, and after a pause in which the workers went to sleep. */
static void test_pool_many_short_runs(void **state)
{
    (void)state;
    qu_pool *pool;
    static tally t;
    assert_int_equal(qu_pool_create(&pool, 4, NULL), QU_OK);
    t.threads = 4;
    for (int round = 0; round < 200; round++) {
        memset(t.seen, 0, sizeof t.seen);
        qu_pool_run(pool, 7, count_item, &t);
        for (int i = 0; i < 7; i++) assert_int_equal(t.seen[i], 1);
        if (round % 50 == 49) usleep(20000);
    }
    qu_pool_free(pool);
}

static void test_pool_null_runs_in_the_caller(void **state)
{
    (void)state;
    static tally t;
    t.threads = 1;
    qu_pool_run(NULL, 10, count_item, &t);
    for (int i = 0; i < 11; i++) assert_int_equal(t.seen[i], i < 10);
    assert_int_equal(t.bad_worker, 0);
    assert_int_equal(qu_pool_threads(NULL), 1);
    qu_pool_free(NULL);
}

static void test_pool_refuses_bad_counts(void **state)
{
    (void)state;
    qu_pool *pool;
    qu_err err = {0};
    assert_int_equal(qu_pool_create(&pool, 0, &err), QU_ERR_ARG);
    assert_null(pool);
    assert_int_equal(qu_pool_create(&pool, 100000, &err), QU_ERR_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_fail),
        cmocka_unit_test(test_status_long_message_is_cut),
        cmocka_unit_test(test_status_try_and_names),
        cmocka_unit_test(test_buf_append),
        cmocka_unit_test(test_buf_holds_any_bytes),
        cmocka_unit_test(test_buf_refuses_what_cannot_be),
        cmocka_unit_test(test_hash_identity),
        cmocka_unit_test(test_hash_chain_keeps_order),
        cmocka_unit_test(test_hash_is_stable),
        cmocka_unit_test(test_os_map_and_read),
        cmocka_unit_test(test_os_empty_file),
        cmocka_unit_test(test_os_refuses_what_is_no_file),
        cmocka_unit_test(test_os_replace_is_whole),
        cmocka_unit_test(test_os_mkdirs),
        cmocka_unit_test(test_os_errno),
        cmocka_unit_test(test_os_clocks),
        cmocka_unit_test(test_pool_runs_each_item_once),
        cmocka_unit_test(test_pool_many_short_runs),
        cmocka_unit_test(test_pool_null_runs_in_the_caller),
        cmocka_unit_test(test_pool_refuses_bad_counts),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
