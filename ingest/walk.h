/* The files under the paths that a user named, always in the same order.
 *
 *     static qu_status on_file(void *ctx, const qu_walk_entry *e) { ... return QU_OK; }
 *     static qu_status on_skip(void *ctx, const qu_walk_skip *s) { ... return QU_OK; }
 *     QU_TRY(qu_walk(roots, n_roots, NULL, on_file, on_skip, ctx, err));
 *
 * Roots are walked in the order given, folders depth first in byte order of their entries' names.
 * Hidden entries (a leading dot) are left out silently unless named as a root. A symbolic link to a
 * regular file is that file under the link's path; a link to a folder is skipped unless it is a
 * root, so there are no loops. A file below two roots is reported once for each. Names are bytes:
 * newlines and broken UTF-8 pass through. What a folder's .quireignore (ingest/ignore.h) or the
 * rules leave out is left out silently with all that is in it, but never a root. Nothing else is
 * opened but folders. Thread rule: no shared state.
 */
#ifndef QU_INGEST_WALK_H
#define QU_INGEST_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define QU_WALK_LIST ".quireignore"

enum { QU_WALK_MAX_DEPTH = 256 }; /* folders below a root; one descriptor is open for each */

/* One regular file. path is the root's real path plus the names below it; valid during the call
 * only. */
typedef struct qu_walk_entry {
    const char *path;
    int64_t size_bytes;
    int64_t mtime_ns;
    uint64_t inode, dev;
    size_t root; /* index of the root it was found under */
} qu_walk_entry;

/* One thing that is there but was not reported as a file. Where folder is true its contents are
 * unknown: do not take files recorded below it for deleted. Valid during the call only. */
typedef struct qu_walk_skip {
    const char *path;
    const char *reason; /* "is a FIFO", "cannot open: permission denied" */
    bool folder;
    size_t root;
} qu_walk_skip;

/* Lines as in .quireignore, tied to each root; NULL = none. Where lists below a root disagree with
 * exclude, they hold. */
typedef struct qu_walk_rules {
    const char *exclude;
    const char *include; /* only files that match it are reported */
} qu_walk_rules;

/* A callback that does not return QU_OK ends the walk, and qu_walk returns its status. */
typedef qu_status qu_walk_file_fn(void *ctx, const qu_walk_entry *entry);
typedef qu_status qu_walk_skip_fn(void *ctx, const qu_walk_skip *skip);

/* Walk the roots. All roots are resolved before the first callback. rules and on_skip may be NULL.
 * Errors: QU_ERR_NOTFOUND naming a root that does not exist, QU_ERR_IO for one that cannot be
 * resolved, QU_ERR_NOMEM, or a callback's status (err is then untouched here). */
qu_status qu_walk(const char *const *roots, size_t n_roots, const qu_walk_rules *rules,
                  qu_walk_file_fn *on_file, qu_walk_skip_fn *on_skip, void *ctx, qu_err *err);

#endif
