/* The roots that a run brings up to date: the paths of its command line, or all remembered ones.
 *
 *     qu_roots r = {0};
 *     QU_TRY(qu_roots_collect(&r, &session, args, true, err));
 *     QU_TRY(qu_sync(&session, (const char *const *)r.paths, r.n, &options, &report, err));
 *     qu_roots_free(&r);
 */
#ifndef QU_PIPELINES_ROOTS_H
#define QU_PIPELINES_ROOTS_H

#include "pipelines/session.h"

typedef struct qu_roots {
    char **paths; /* real paths; owned */
    size_t n;
    int64_t cap;
} qu_roots;

/* Add the real path of each positional argument, and remember it in the store if asked to,
 * unless it lies under a remembered one; without arguments add every remembered root. r is to be
 * freed on error, too. Errors: QU_ERR_NOTFOUND (no such file or folder), QU_ERR_ARG (nothing given,
 * nothing remembered), those of the catalogue. */
qu_status qu_roots_collect(qu_roots *r, qu_session *s, const qu_args *args, bool remember,
                           qu_err *err);
/* Add a copy of a path. */
qu_status qu_roots_add(qu_roots *r, const char *path, qu_err *err);
/* Append the remembered ones. */
qu_status qu_roots_read(qu_roots *roots, qu_txn *t, qu_err *err);

void qu_roots_free(qu_roots *r);

#endif
