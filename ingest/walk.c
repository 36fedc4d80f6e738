#include "ingest/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/memory.h"
#include "base/os.h"
#include "ingest/ignore.h"

enum { MAX_LIST_BYTES = 1 << 16 };

typedef struct walk {
    const qu_walk_rules *rules;
    qu_ignore ignored, included;
    qu_walk_file_fn *on_file;
    qu_walk_skip_fn *on_skip;
    void *ctx;
    qu_err *err;
    size_t root;
    qu_buf path; /* of the entry at hand */
} walk;

static void free_walk(walk *w)
{
    qu_buf_free(&w->path);
    qu_ignore_free(&w->ignored);
    qu_ignore_free(&w->included);
}

static qu_status skip(walk *w, bool folder, const char *reason)
{
    qu_walk_skip s = {.path = w->path.data, .reason = reason, .folder = folder, .root = w->root};
    return w->on_skip ? w->on_skip(w->ctx, &s) : QU_OK;
}

static qu_status skip_errno(walk *w, bool folder, const char *what, int errnum)
{
    char reason[160];
    snprintf(reason, sizeof reason, "%s: %s", what, strerror(errnum));
    return skip(w, folder, reason);
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name); /* compares as unsigned bytes */
}

static int is_shown(const struct dirent *d) { return d->d_name[0] != '.'; }

static qu_status report_file(walk *w, const struct stat *sb)
{
    qu_walk_entry e = {.path = w->path.data,
                       .size_bytes = sb->st_size,
                       .mtime_ns = (int64_t)sb->st_mtim.tv_sec * 1000000000 + sb->st_mtim.tv_nsec,
                       .inode = sb->st_ino,
                       .dev = sb->st_dev,
                       .root = w->root};
    return w->on_file(w->ctx, &e);
}

static const char *odd_kind(mode_t mode)
{
    return S_ISFIFO(mode)                   ? "is a FIFO"
           : S_ISSOCK(mode)                 ? "is a socket"
           : S_ISCHR(mode) || S_ISBLK(mode) ? "is a device"
                                            : "is not a regular file";
}

/* Add the list of the folder fd, if it has one. *bad: it has, and it cannot be read. */
static qu_status add_list(walk *w, int fd, bool *bad)
{
    struct stat sb;
    char text[MAX_LIST_BYTES];
    int list = openat(fd, QU_WALK_LIST, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    *bad = list < 0 && errno != ENOENT;
    if (list < 0) return QU_OK;
    *bad = fstat(list, &sb) != 0 || !S_ISREG(sb.st_mode) || sb.st_size > MAX_LIST_BYTES;
    ssize_t n = *bad ? 0 : read(list, text, sizeof text);
    *bad |= n < 0;
    close(list);
    return n > 0 ? qu_ignore_add(&w->ignored, text, (size_t)n, w->path.len, w->err) : QU_OK;
}

/* Is the entry w->path to be left out? */
static bool is_ignored(const walk *w, bool folder)
{
    if (qu_ignore_match(&w->ignored, w->path.data, folder) > 0) return true;
    return !folder && w->included.n > 0 && qu_ignore_match(&w->included, w->path.data, false) <= 0;
}

static qu_status walk_folder(walk *w, int fd, int depth);

/* The entry name of the folder fd; w->path already ends in it. */
static qu_status walk_entry(walk *w, int fd, const char *name, int depth)
{
    struct stat sb;
    if (fstatat(fd, name, &sb, AT_SYMLINK_NOFOLLOW) != 0)
        return skip_errno(w, false, "cannot look at it", errno);
    if (is_ignored(w, S_ISDIR(sb.st_mode))) return QU_OK;
    if (S_ISLNK(sb.st_mode)) {
        if (fstatat(fd, name, &sb, 0) != 0)
            return skip_errno(w, false, "cannot follow the symbolic link", errno);
        if (S_ISDIR(sb.st_mode)) return skip(w, false, "is a symbolic link to a folder");
    }
    if (S_ISREG(sb.st_mode)) return report_file(w, &sb);
    if (!S_ISDIR(sb.st_mode)) return skip(w, false, odd_kind(sb.st_mode));
    if (depth >= QU_WALK_MAX_DEPTH) return skip(w, true, "is nested too deep");
    int child = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (child < 0) return skip_errno(w, true, "cannot open", errno);
    return walk_folder(w, child, depth + 1);
}

/* Walk the open folder w->path; takes fd over. */
static qu_status walk_folder(walk *w, int fd, int depth)
{
    qu_status st = QU_OK;
    struct dirent **names = NULL;
    int n = 0;
    bool bad = false;
    size_t len = w->path.len, n_rules = w->ignored.n;
    QU_TRY_OUT(add_list(w, fd, &bad));
    if (bad) {
        st = skip(w, true, "its " QU_WALK_LIST " cannot be read");
        goto out;
    }
    n = scandirat(fd, ".", &names, is_shown, by_bytes);
    if (n < 0)
        st = errno == ENOMEM ? qu_fail_nomem(w->err, 1 << 15)
                             : skip_errno(w, true, "cannot read", errno);
    for (int i = 0; i < n; i++) {
        if (len > 1)
            QU_TRY_OUT(qu_buf_puts(&w->path, "/", w->err)); /* not behind the root folder's */
        QU_TRY_OUT(qu_buf_puts(&w->path, names[i]->d_name, w->err));
        QU_TRY_OUT(walk_entry(w, fd, names[i]->d_name, depth));
        w->path.len = len;
        w->path.data[len] = 0;
    }
out:
    qu_ignore_cut(&w->ignored, n_rules);
    for (int i = 0; i < n; i++) free(names[i]);
    free(names);
    close(fd);
    return st;
}

static qu_status walk_root(walk *w, const char *path)
{
    struct stat sb;
    w->path.len = 0;
    QU_TRY(qu_buf_puts(&w->path, path, w->err));
    qu_ignore_cut(&w->ignored, 0);
    qu_ignore_cut(&w->included, 0);
    const char *out = w->rules ? w->rules->exclude : NULL,
               *in = w->rules ? w->rules->include : NULL;
    if (out) QU_TRY(qu_ignore_add(&w->ignored, out, strlen(out), strlen(path), w->err));
    if (in) QU_TRY(qu_ignore_add(&w->included, in, strlen(in), strlen(path), w->err));
    if (stat(path, &sb) != 0) return skip_errno(w, true, "cannot look at it", errno);
    if (S_ISREG(sb.st_mode)) return report_file(w, &sb);
    if (!S_ISDIR(sb.st_mode)) return skip(w, false, odd_kind(sb.st_mode));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return skip_errno(w, true, "cannot open", errno);
    return walk_folder(w, fd, 0);
}

qu_status qu_walk(const char *const *roots, size_t n_roots, const qu_walk_rules *rules,
                  qu_walk_file_fn *on_file, qu_walk_skip_fn *on_skip, void *ctx, qu_err *err)
{
    QU_OWN(free_walk) walk w = {
        .rules = rules, .on_file = on_file, .on_skip = on_skip, .ctx = ctx, .err = err};
    for (int look = 0; look < 2; look++) /* all of them are there, or none is walked */
        for (w.root = 0; w.root < n_roots; w.root++) {
            QU_OWN(qu_freep) char *real = realpath(roots[w.root], NULL);
            if (!real)
                return qu_fail(err, qu_os_status(errno), "cannot find '%s': %s", roots[w.root],
                               strerror(errno));
            if (look) QU_TRY(walk_root(&w, real));
        }
    return QU_OK;
}
