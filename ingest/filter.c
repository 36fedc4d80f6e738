#include "ingest/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/os.h"

extern char **environ;

enum { PIECE = 1 << 16, POLL_MS = 200, LAST_MS = 5000 };

/* sh with the limits and the command, reading in and writing to out, in a group of its own. */
static qu_status start(pid_t *pid, const char *command, const char *path, int in, int out,
                       qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf script = {0};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    QU_TRY(qu_buf_printf(&script, err, "ulimit -c 0; ulimit -t %d; ulimit -v %d\n%s",
                         QU_FILTER_SECONDS, QU_FILTER_MEMORY_KIB, command));
    char *const argv[] = {"sh", "-c", script.data, "sh", (char *)path, NULL};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
    int rc = posix_spawn(pid, "/bin/sh", &actions, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc == 0 ? QU_OK : qu_fail(err, QU_ERR_IO, "cannot start a shell: %s", strerror(rc));
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
    int pipe_fds[2], code = 0;
    const size_t before = out->len;
    pid_t pid;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return qu_fail(err, qu_os_status(errno), "cannot open '%.150s': %s", path, strerror(errno));
    if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
        close(file);
        return qu_fail(err, QU_ERR_IO, "cannot make a pipe: %s", strerror(errno));
    }
    qu_status st = start(&pid, command, path, file, pipe_fds[1], err);
    close(file);
    close(pipe_fds[1]);
    if (st == QU_OK) {
        st = collect(out, pipe_fds[0], path, seconds, stop, err);
        code = end(pid, st != QU_OK);
    }
    close(pipe_fds[0]);
    if (st == QU_OK && code == 0 && out->len == before)
        return qu_fail(err, QU_ERR_FORMAT, "filter of '%.100s' wrote no text", path);
    if (st != QU_OK || code == 0) return st;
    return qu_fail(err, QU_ERR_FORMAT, "filter of '%.100s' failed (%s %d): try it by hand", path,
                   WIFEXITED(code) ? "exit code" : "signal",
                   WIFEXITED(code) ? WEXITSTATUS(code) : WTERMSIG(code));
}
