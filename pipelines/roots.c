#include "pipelines/roots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "pipelines/paths.h"

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
    qu_status st;
    if (!real || stat(real, &sb) != 0 || !(S_ISREG(sb.st_mode) || S_ISDIR(sb.st_mode))) {
        const char *why = real              ? "it is neither a file nor a folder"
                          : errno == ENOENT ? "no such file or folder"
                                            : strerror(errno);
        bool starved = !real && errno == ENOMEM;
        st = qu_fail(err, starved ? QU_ERR_NOMEM : QU_ERR_NOTFOUND, "cannot index '%s': %s", path,
                     why);
    } else {
        st = qu_roots_add(roots, real, err);
    }
    if (st == QU_OK && remember) st = is_covered(t, real, &covered, err);
    if (st == QU_OK && remember && !covered) st = qu_catalogue_put_root(t, real, strlen(real), err);
    return st;
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
