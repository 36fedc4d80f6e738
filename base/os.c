#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

qu_status qu_os_status(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT: return QU_ERR_FULL;
    case ENOENT:
    case ENOTDIR: return QU_ERR_NOTFOUND;
    case ENOMEM: return QU_ERR_NOMEM;
    default: return QU_ERR_IO;
    }
}

const char *qu_os_why(int errnum)
{
    switch (errnum) {
    case ENOSPC:
        return "No space left on device: make room and run it again, what is committed is kept";
    case EDQUOT:
        return "Disk quota exceeded: make room and run it again, what is committed is kept";
    case ENOMEM: return "Cannot allocate memory: free some or lift its limit, and run it again";
    case EMFILE:
    case ENFILE: return "Too many open files: raise ulimit -n and run it again";
    case EIO: return "Input/output error: check the disk and run it again";
    default: return strerror(errnum);
    }
}

qu_status qu_os_fail(qu_err *err, int errnum, const char *what, const char *path)
{
    return qu_fail(err, qu_os_status(errnum), "cannot %s '%s': %s", what, path, qu_os_why(errnum));
}

qu_status qu_os_spawn(pid_t *pid, const char *program, char *const argv[], char *const env[],
                      const int fds[3], bool group, qu_err *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&actions);
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0) posix_spawn_file_actions_adddup2(&actions, fds[i], i);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, group ? POSIX_SPAWN_SETPGROUP : 0);
    int rc = posix_spawn(pid, program, &actions, &attr, argv, env ? env : environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc == 0 ? QU_OK : qu_os_fail(err, rc, "start", program);
}

/* Open a regular file for reading; O_NONBLOCK keeps a FIFO from blocking the open. */
static qu_status open_regular(int *fd, struct stat *st, const char *path, qu_err *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return qu_os_fail(err, errno, "open", path);
    if (fstat(*fd, st) == 0 && S_ISREG(st->st_mode)) return QU_OK;
    return qu_fail(err, QU_ERR_IO, "cannot read '%s': not a regular file", path);
}

qu_status qu_os_map(qu_map *map, const char *path, qu_err *err)
{
    QU_OWN(qu_os_closep) int fd = -1;
    struct stat st;
    memset(map, 0, sizeof *map);
    QU_TRY(open_regular(&fd, &st, path, err));
    if (st.st_size == 0) return QU_OK;
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) return qu_os_fail(err, errno, "map", path);
    *map = (qu_map){p, (size_t)st.st_size};
    return QU_OK;
}

void qu_os_unmap(qu_map *map)
{
    if (map->data) munmap((void *)map->data, map->len);
    memset(map, 0, sizeof *map);
}

void qu_os_closep(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

qu_status qu_os_read_fd(qu_buf *out, int fd, const char *path, size_t max, qu_err *err)
{
    const size_t start = out->len;
    for (;;) {
        QU_TRY(qu_buf_reserve(out, 1 << 16, err));
        ssize_t n = read(fd, out->data + out->len, out->cap - out->len - 1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return qu_os_fail(err, errno, "read", path);
        out->data[out->len += (size_t)n] = 0;
        if (n == 0) return QU_OK;
        if (out->len - start > max)
            return qu_fail(err, QU_ERR_LIMIT, "'%.150s' is longer than the limit of %zu bytes",
                           path, max);
    }
}

qu_status qu_os_read(qu_buf *out, const char *path, size_t max, qu_err *err)
{
    QU_OWN(qu_os_closep) int fd = -1;
    struct stat sb;
    QU_TRY(open_regular(&fd, &sb, path, err));
    if ((uint64_t)sb.st_size > max)
        return qu_fail(err, QU_ERR_LIMIT, "file '%s' is too large: %lld bytes, the limit is %zu",
                       path, (long long)sb.st_size, max);
    QU_TRY(qu_buf_reserve(out, (size_t)sb.st_size + (1 << 16), err));
    return qu_os_read_fd(out, fd, path, max, err); /* it may grow while it is read */
}

qu_status qu_os_write(int fd, const void *bytes, size_t n, const char *path, qu_err *err)
{
    const char *p = bytes;
    while (n > 0) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) return qu_os_fail(err, errno, "write", path);
        p += w;
        n -= (size_t)w;
    }
    return QU_OK;
}

qu_status qu_os_sync_dir(const char *dir, qu_err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return qu_os_fail(err, errno, "open", dir);
    int bad = fsync(fd) != 0 && errno != EINVAL ? errno : 0;
    close(fd);
    if (bad) return qu_os_fail(err, bad, "sync", dir);
    return QU_OK;
}

qu_status qu_os_publish(int fd, const char *tmp, const char *path, qu_err *err)
{
    qu_status st = QU_OK;
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (fsync(fd) != 0) st = qu_os_fail(err, errno, "sync", tmp);
    if (close(fd) != 0 && st == QU_OK) st = qu_os_fail(err, errno, "close", tmp);
    if (st == QU_OK && rename(tmp, path) != 0) st = qu_os_fail(err, errno, "replace", path);
    if (st != QU_OK) {
        unlink(tmp);
        return st;
    }
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash + 1 - path) : 1, slash ? path : ".");
    return qu_os_sync_dir(dir, err);
}

qu_status qu_os_replace(const char *path, const void *p, size_t n, int mode, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf tmp = {0};
    QU_TRY(qu_buf_printf(&tmp, err, "%s.tmp.%ld", path, (long)getpid()));
    int fd = open(tmp.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0) return qu_os_fail(err, errno, "write", tmp.data);
    qu_status st = qu_os_write(fd, p, n, tmp.data, err);
    if (st == QU_OK) return qu_os_publish(fd, tmp.data, path, err);
    close(fd);
    unlink(tmp.data);
    return st;
}

qu_status qu_os_mkdirs(const char *dir, int mode, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    QU_TRY(qu_buf_puts(&b, dir, err));
    for (char *p = b.data + 1; b.len > 0; p++) {
        char c = *p;
        if (c != '/' && c != 0) continue;
        *p = 0;
        struct stat sb;
        if (mkdir(b.data, (mode_t)mode) != 0 &&
            !(errno == EEXIST && stat(b.data, &sb) == 0 && S_ISDIR(sb.st_mode))) {
            return qu_os_fail(err, errno == EEXIST ? ENOTDIR : errno, "create directory", b.data);
        }
        *p = c;
        if (c == 0) break;
    }
    return QU_OK;
}

static double clock_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

double qu_os_now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

int64_t qu_os_wall_ms(void)
{
    return (int64_t)clock_ms(CLOCK_REALTIME);
}

double qu_os_since_exec_ms(void)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    unsigned long long ticks = 0;
    if (qu_os_read(&b, "/proc/self/stat", 1 << 16, NULL) != QU_OK) return 0;
    char *p = strrchr(b.data, ')'); /* the name may hold spaces; what is wanted is field 22 */
    for (int field = 2; p && field < 22; field++) p = strchr(p + 1, ' ');
    if (p) ticks = strtoull(p, NULL, 10);
    double started = (double)ticks * 1e3 / (double)sysconf(_SC_CLK_TCK);
    double ms = clock_ms(CLOCK_BOOTTIME) - started;
    return ticks && ms > 0 ? ms : 0;
}

int64_t qu_os_peak_rss_bytes(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (int64_t)u.ru_maxrss * 1024 : 0;
}

int qu_os_n_cpus(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n;
}
