#include "pipelines/paths.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "pipelines/sync.h"

/* Absolute, without "", "." and ".." between slashes; nothing on the disk is looked at. */
static qu_status by_letters(char **out, const char *path, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf all = {0}, b = {0};
    *out = NULL;
    if (*path != '/') {
        QU_OWN(qu_freep) char *cwd = getcwd(NULL, 0);
        if (!cwd)
            return qu_fail(err, QU_ERR_IO, "cannot read the working directory: %s",
                           strerror(errno));
        QU_TRY(qu_buf_printf(&all, err, "%s/", cwd));
    }
    QU_TRY(qu_buf_puts(&all, path, err));
    for (const char *p = all.data; *p;) {
        const char *end = strchrnul(p, '/');
        size_t n = (size_t)(end - p);
        if (n == 2 && memcmp(p, "..", 2) == 0) {
            while (b.len > 0 && b.data[--b.len] != '/') continue;
        } else if (n > 0 && !(n == 1 && *p == '.')) {
            QU_TRY(qu_buf_add(&b, "/", 1, err));
            QU_TRY(qu_buf_add(&b, p, n, err));
        }
        p = *end ? end + 1 : end;
    }
    QU_TRY(qu_buf_add(&b, "/", b.len == 0, err));
    b.data[b.len] = 0;
    *out = QU_TAKE(b.data);
    return QU_OK;
}

/* A path by letters with the links of its folders resolved, as many of them as still exist; the
 * last name stays as it is. */
static qu_status by_folder(char **out, const char *letters, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    QU_OWN(qu_freep) char *folder = strdup(letters), *real = NULL;
    *out = NULL;
    if (!folder) return qu_fail_nomem(err, (long long)strlen(letters) + 1);
    for (char *slash = strrchr(folder, '/'); slash && !real; slash = strrchr(folder, '/')) {
        *slash = 0;
        real = realpath(*folder ? folder : "/", NULL);
    }
    if (real)
        QU_TRY(qu_buf_printf(&b, err, "%s%s", strcmp(real, "/") == 0 ? "" : real,
                             letters + strlen(folder)));
    *out = QU_TAKE(b.data);
    return QU_OK;
}

qu_status qu_paths_guess(char *guesses[QU_PATHS_GUESSES], const char *path, qu_err *err)
{
    memset(guesses, 0, QU_PATHS_GUESSES * sizeof *guesses);
    qu_status st = by_letters(&guesses[2], path, err);
    if (st == QU_OK) st = by_folder(&guesses[0], guesses[2], err);
    guesses[1] = realpath(path, NULL);
    if (st != QU_OK) qu_paths_free(guesses);
    return st;
}

void qu_paths_free(char *guesses[QU_PATHS_GUESSES])
{
    for (int i = 0; i < QU_PATHS_GUESSES; i++) {
        free(guesses[i]);
        guesses[i] = NULL;
    }
}

bool qu_paths_under(const char *path, const char *root)
{
    size_t n = strlen(root);
    if (n == 1 && *root == '/') return *path == '/';
    return strncmp(path, root, n) == 0 && (path[n] == 0 || path[n] == '/');
}

bool qu_paths_match(const char *glob, const char *path)
{
    if (fnmatch(glob, path, 0) == 0) return true;
    for (const char *p = strpbrk(path, "/!"); p; p = strpbrk(p + 1, "/!"))
        if (fnmatch(glob, p + 1, 0) == 0) return true;
    return false;
}

static bool matches(void *ctx, uint64_t doc_id)
{
    const qu_paths_filter *f = ctx;
    QU_OWN(qu_doc_free) qu_doc d = {0};
    if (qu_catalogue_get_doc(f->txn, doc_id, &d, NULL) != QU_OK) return false;
    if (qu_paths_match(f->glob, d.path)) return true;
    d.path[qu_sync_file_len(&d)] = 0; /* a file's name means all that is in it */
    return qu_paths_match(f->glob, d.path);
}

void qu_paths_keep(qu_lexical_opts *opts, qu_paths_filter *filter)
{
    opts->keep = filter->glob ? matches : NULL;
    opts->ctx = filter;
}

/* --- roots --- */

void qu_roots_free(qu_roots *r)
{
    for (size_t i = 0; i < r->n; i++) free(r->paths[i]);
    free(r->paths);
    *r = (qu_roots){0};
}

qu_status qu_roots_add(qu_roots *r, const char *path, qu_err *err)
{
    QU_OWN(qu_freep) char *copy = strdup(path);
    if (!copy) return qu_fail_nomem(err, (long long)strlen(path));
    QU_TRY(qu_memory_grow(&r->paths, &r->cap, (int64_t)r->n + 1, sizeof *r->paths, err));
    r->paths[r->n++] = QU_TAKE(copy);
    return QU_OK;
}

qu_status qu_roots_read(qu_roots *roots, qu_txn *t, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    qu_status st = QU_OK;
    for (int64_t i = 0; st == QU_OK; i++) {
        b.len = 0;
        st = qu_catalogue_root_at(t, i, &b, err);
        if (st == QU_OK) st = qu_roots_add(roots, b.data, err);
    }
    return st == QU_ERR_NOTFOUND ? QU_OK : st;
}

/* Does a path lie under a remembered root? */
static qu_status is_covered(qu_txn *t, const char *path, bool *yes, qu_err *err)
{
    QU_OWN(qu_roots_free) qu_roots roots = {0};
    qu_status st = qu_roots_read(&roots, t, err);
    for (size_t i = 0; i < roots.n; i++) *yes = *yes || qu_paths_under(path, roots.paths[i]);
    return st;
}

/* The real path of an argument, which must be a file or a folder, and remember it if asked to. */
static qu_status take_path(qu_roots *roots, qu_txn *t, const char *path, bool remember, qu_err *err)
{
    struct stat sb;
    bool covered = false;
    QU_OWN(qu_freep) char *real = realpath(path, NULL);
    if (!real || stat(real, &sb) != 0 || !(S_ISREG(sb.st_mode) || S_ISDIR(sb.st_mode))) {
        const char *why = real              ? "it is neither a file nor a folder"
                          : errno == ENOENT ? "no such file or folder"
                                            : strerror(errno);
        bool starved = !real && errno == ENOMEM;
        return qu_fail(err, starved ? QU_ERR_NOMEM : QU_ERR_NOTFOUND, "cannot index '%s': %s",
                       path, why);
    }
    QU_TRY(qu_roots_add(roots, real, err));
    if (!remember) return QU_OK;
    QU_TRY(is_covered(t, real, &covered, err));
    return covered ? QU_OK : qu_catalogue_put_root(t, real, strlen(real), err);
}

qu_status qu_roots_collect(qu_roots *roots, qu_session *s, const qu_args *args, bool remember,
                           qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    qu_status st = QU_OK;
    QU_TRY(qu_txn_begin(&t, s->store, remember ? QU_TXN_WRITE : QU_TXN_READ, err));
    for (int i = 0; st == QU_OK && i < args->argc; i++)
        st = take_path(roots, t, args->argv[i], remember, err);
    if (args->argc == 0) st = qu_roots_read(roots, t, err);
    if (st == QU_OK && roots->n == 0)
        st = qu_fail(err, QU_ERR_ARG, "nothing to index: give a path");
    if (remember) return qu_txn_end(QU_TAKE(t), st, err);
    return st;
}
