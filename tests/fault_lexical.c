/* index/lexical.h when the n-th allocation, open, map, write, sync, close or rename fails, for n =
 * 0, 1, 2, ... until none does: the call reports it, the file is the old or the new one, nothing
 * leaks, no temporary stays. Under the address sanitizer allocations do not fail here (it owns
 * them); it watches for leaks instead. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "index/lexical_int.h"

/* ---- faults ---- */

static int armed, calls, fail_at, fired; /* fired: the errno of the fault */
static long live;                        /* allocations not freed yet, counted while armed */

static int fault(int code)
{
    if (!armed || calls++ != fail_at) return 0;
    fired = code;
    errno = code;
    return 1;
}

#ifndef __SANITIZE_ADDRESS__
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

void *malloc(size_t n)
{
    if (fault(ENOMEM)) return NULL;
    if (armed) live++;
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    if (fault(ENOMEM)) return NULL;
    if (armed) live++;
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    if (fault(ENOMEM)) return NULL;
    if (armed && !p) live++;
    return __libc_realloc(p, n);
}

void free(void *p)
{
    if (armed && p) live--;
    __libc_free(p);
}
#endif

int open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    int mode = flags & O_CREAT ? va_arg(ap, int) : 0;
    va_end(ap);
    return fault(EMFILE) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    if (fd >= 0 && fault(ENOMEM)) return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, n, prot, flags, fd, offset);
}

ssize_t write(int fd, const void *p, size_t n)
{
    if (fault(ENOSPC)) return -1;
    if (armed && n > 1000) n = 1000; /* short writes are no fault */
    return syscall(SYS_write, fd, p, n);
}

static int syncs;

int fsync(int fd)
{
    syncs++;
    return fault(EDQUOT) ? -1 : (int)syscall(SYS_fsync, fd);
}

int close(int fd)
{
    int failed = fault(EIO), r = (int)syscall(SYS_close, fd);
    return failed ? -1 : r;
}

int rename(const char *from, const char *to)
{
    return fault(EDQUOT) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- the tests ---- */

static char dir[64], file[128], temporary[160];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/quire-fault-lexical-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(file, sizeof file, "%s/lexical.idx", dir);
    snprintf(temporary, sizeof temporary, "%s.tmp", file);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    return system(cmd);
}

/* Three documents under generation 1. */
static void make_old(void)
{
    qu_lexical *lx;
    unlink(file);
    assert_int_equal(qu_lexical_open(&lx, file, QU_LEXICAL_WRITE, NULL), QU_OK);
    assert_int_equal(qu_lexical_add(lx, 1, 1, "First", "the old harbour", 15, NULL), QU_OK);
    assert_int_equal(qu_lexical_add(lx, 2, 1, "Second", "the old mill", 12, NULL), QU_OK);
    assert_int_equal(qu_lexical_add(lx, 3, 1, "Third", "kept as it is", 13, NULL), QU_OK);
    assert_int_equal(qu_lexical_commit(lx, 1, NULL), QU_OK);
    qu_lexical_close(lx);
}

/* Remove one, replace one, add many (with spills), publish as generation 2. */
static qu_status change(qu_err *err)
{
    qu_status st;
    qu_lexical *lx = NULL;
    QU_TRY_OUT(qu_lexical_open(&lx, file, QU_LEXICAL_WRITE, err));
    lx->spill_postings = 1500;
    QU_TRY_OUT(qu_lexical_remove(lx, 1, err));
    QU_TRY_OUT(qu_lexical_add(lx, 2, 1, "Second", "the new mill", 12, err));
    for (uint64_t d = 10; d < 40; d++)
        for (int32_t p = 1; p <= 4; p++) {
            char text[400];
            int n = 0;
            for (int i = 0; i < 30; i++) n += sprintf(text + n, "new%d ", (int)d * 7 + p * i);
            QU_TRY_OUT(qu_lexical_add(lx, d, p, "More", text, (size_t)n, err));
        }
    QU_TRY_OUT(qu_lexical_commit(lx, 2, err));
out:
    qu_lexical_close(lx);
    return st;
}

static int hits_of(qu_lexical *lx, const char *q)
{
    qu_lexical_hit hits[200];
    int32_t n;
    assert_int_equal(qu_lexical_search(lx, q, strlen(q), NULL, 200, hits, &n, NULL), QU_OK);
    return n;
}

static void test_commit(void **state)
{
    (void)state;
    int n_old = 0;
    for (fail_at = 0;; fail_at++) {
        qu_err err = {0};
        make_old();
        fired = calls = syncs = 0;
        live = 0;
        armed = 1;
        qu_status st = change(&err);
        armed = 0;
        if (live != 0) fail_msg("fault %d: %ld allocations leak", fail_at, live);
        if (st != QU_OK && (err.status != st || !err.msg[0]))
            fail_msg("fault %d: no message", fail_at);
        if (!fired) assert_int_equal(st, QU_OK);
        if (!fired)
            assert_int_equal(syncs, 2); /* the file and its directory; spills are not synced */
        if (fired == ENOSPC || fired == EDQUOT)
            assert_int_equal(st, QU_ERR_FULL); /* write, sync, rename */
        qu_lexical *lx;
        if (access(temporary, F_OK) == 0) fail_msg("fault %d: a temporary stays", fail_at);
        if (qu_lexical_open(&lx, file, QU_LEXICAL_READ, &err) != QU_OK)
            fail_msg("fault %d: %s", fail_at, err.msg);
        assert_int_equal(hits_of(lx, "kept"), 1);
        if (qu_lexical_generation(lx) == 1) {
            assert_true(st != QU_OK);
            assert_int_equal(hits_of(lx, "harbour"), 1);
            assert_int_equal(hits_of(lx, "new"), 0);
            n_old++;
        } else {
            assert_int_equal(qu_lexical_generation(lx), 2);
            assert_int_equal(hits_of(lx, "harbour"), 0);
            assert_int_equal(hits_of(lx, "new"), 1);
            assert_int_equal(hits_of(lx, "more"), 30);
        }
        qu_lexical_close(lx);
        if (!fired) break;
    }
    assert_true(n_old > 5);
    print_message("%d faults, the old file stayed after %d\n", fail_at, n_old);
}

static void test_search(void **state)
{
    (void)state;
    armed = 0;
    make_old();
    assert_int_equal(change(NULL), QU_OK);
    for (fail_at = 0;; fail_at++) {
        qu_err err = {0};
        qu_lexical *lx = NULL;
        qu_lexical_hit hits[10];
        qu_lexical_opts opts = {.max_per_doc = 1};
        int32_t n = 0;
        fired = calls = 0;
        live = 0;
        armed = 1;
        qu_status st = qu_lexical_open(&lx, file, QU_LEXICAL_READ, &err);
        if (st == QU_OK)
            st = qu_lexical_search(lx, "new mill more new99", 19, &opts, 10, hits, &n, &err);
        qu_lexical_close(lx);
        armed = 0;
        if (live != 0) fail_msg("fault %d: %ld allocations leak", fail_at, live);
        if (st != QU_OK && (err.status != st || !err.msg[0]))
            fail_msg("fault %d: no message", fail_at);
        if (st == QU_OK) assert_int_equal(n, 10);
        assert_true(st == QU_OK || st == QU_ERR_NOMEM || st == QU_ERR_IO);
        if (!fired) break;
    }
    assert_true(fail_at > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commit),
        cmocka_unit_test(test_search),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
