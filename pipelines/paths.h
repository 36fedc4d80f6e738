/* Paths that a user types, against paths that the store holds.
 *
 *     char *guesses[QU_PATHS_GUESSES];
 *     QU_TRY(qu_paths_guess(guesses, "docs/old.txt", err));
 *     for (int i = 0; i < QU_PATHS_GUESSES; i++) if (guesses[i]) try(guesses[i]);
 *     qu_paths_free(guesses);
 *
 * Paths are bytes. The store holds them absolute, with the folders' symbolic links resolved.
 */
#ifndef QU_PIPELINES_PATHS_H
#define QU_PIPELINES_PATHS_H

#include <stdbool.h>
#include <stddef.h>

#include "pipelines/session.h"

enum { QU_PATHS_GUESSES = 3 };

/* The absolute paths that a typed one may stand for, the likeliest first: its folders resolved, as
 * far as they exist, and its own name kept (a link to a file is stored under the link's name);
 * resolved as a whole; made absolute by its letters alone. Each is malloc'ed or, where it cannot be
 * had, NULL; the last is always there. Errors: QU_ERR_NOMEM, QU_ERR_IO (no working directory);
 * guesses are then NULL. */
qu_status qu_paths_guess(char *guesses[QU_PATHS_GUESSES], const char *path, qu_err *err);
void qu_paths_free(char *guesses[QU_PATHS_GUESSES]);

/* Is path the same as root, or below it? root is absolute without a trailing '/', but for "/". */
bool qu_paths_under(const char *path, const char *root);

/* Does a path match a shell pattern (fnmatch; '*' also crosses '/')? It may match the whole path or
 * any tail of it that begins after a '/' or '!': "*.md", "docs/[a-c]*", "/home/me/docs/a.txt". */
bool qu_paths_match(const char *glob, const char *path);

/* Documents whose path matches glob. */
typedef struct qu_paths_filter {
    const char *glob; /* NULL: all */
    qu_txn *txn;
} qu_paths_filter;

/* Let a search keep those of the filter, which must outlive opts. */
void qu_paths_keep(qu_lexical_opts *opts, qu_paths_filter *filter);

/* The roots that a run brings up to date: the paths of its command line, or all remembered ones.
 *
 *     qu_roots r = {0};
 *     QU_TRY(qu_roots_collect(&r, &session, args, true, err));
 *     QU_TRY(qu_sync(&session, (const char *const *)r.paths, r.n, &options, &report, err));
 *     qu_roots_free(&r);
 */
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
