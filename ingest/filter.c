#include "ingest/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/os.h"

enum { PIECE = 1 << 16, POLL_MS = 200, LAST_MS = 5000 };

/* sh with the limits and the command, reading in and writing to out, in a group of its own. */
static qu_status start(pid_t *pid, const char *command, const char *path, int in, int out,
                       qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf script = {0};
    QU_TRY(qu_buf_printf(&script, err, "ulimit -c 0; ulimit -t %d; ulimit -v %d\n%s",
                         QU_FILTER_SECONDS, QU_FILTER_MEMORY_KIB, command));
    char *const argv[] = {"sh", "-c", script.data, "sh", (char *)path, NULL};
    return qu_os_spawn(pid, "/bin/sh", argv, NULL, (int[]){in, out, -1}, true, err);
}

/* Read fd to its end, within the limits. */
static qu_status collect(qu_buf *out, int fd, const char *path, double seconds, bool (*stop)(void),
                         qu_err *err)
{
    const double end = qu_os_now_ms() + seconds * 1e3;
    const size_t most = out->len + QU_FILTER_MAX_BYTES;
    for (;;) {
        struct pollfd p = {fd, POLLIN, 0};
        if (stop && stop())
            return qu_fail(err, QU_ERR_CANCELLED, "stopped while '%.100s' was read", path);
        if (qu_os_now_ms() > end)
            return qu_fail(err, QU_ERR_LIMIT, "filter of '%.100s' takes longer than %.0f s", path,
                           seconds);
        if (poll(&p, 1, POLL_MS) <= 0) continue;
        QU_TRY(qu_buf_reserve(out, PIECE, err));
        ssize_t n = read(fd, out->data + out->len, PIECE);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return QU_OK;
        out->len += (size_t)n;
        if (out->len > most)
            return qu_fail(err, QU_ERR_LIMIT, "filter of '%.100s' writes more than %d bytes", path,
                           QU_FILTER_MAX_BYTES);
    }
}

/* How it ended, once its output has; it has a moment for that. Its group goes with it. */
static int end(pid_t pid, bool at_once)
{
    int code = 0, got = 0;
    const struct timespec ms = {.tv_nsec = 1000000};
    for (int i = 0; i < LAST_MS && !at_once && (got = waitpid(pid, &code, WNOHANG)) == 0; i++)
        nanosleep(&ms, NULL);
    kill(-pid, SIGKILL);
    while (got == 0 && waitpid(pid, &code, 0) < 0 && errno == EINTR) {
    }
    return code;
}

qu_status qu_filter_run(qu_buf *out, const char *command, const char *path, double seconds,
                        bool (*stop)(void), qu_err *err)
{
    int ends[2];
    const size_t before = out->len;
    pid_t pid;
    QU_OWN(qu_os_closep) int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return qu_os_fail(err, errno, "open", path);
    if (pipe2(ends, O_CLOEXEC) != 0) return qu_os_fail(err, errno, "make a pipe for", path);
    QU_OWN(qu_os_closep) int from = ends[0], to = ends[1];
    QU_TRY(start(&pid, command, path, file, to, err));
    qu_os_closep(&to); /* or the end would never come */
    qu_status st = collect(out, from, path, seconds, stop, err);
    int code = end(pid, st != QU_OK);
    if (st == QU_OK && code == 0 && out->len == before)
        return qu_fail(err, QU_ERR_FORMAT, "filter of '%.100s' wrote no text", path);
    if (st != QU_OK || code == 0) return st;
    return qu_fail(err, QU_ERR_FORMAT, "filter of '%.100s' failed (%s %d): try it by hand", path,
                   WIFEXITED(code) ? "exit code" : "signal",
                   WIFEXITED(code) ? WEXITSTATUS(code) : WTERMSIG(code));
}
