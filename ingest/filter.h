/* A file to text by a command of the user's.
 *
 *     QU_TRY(qu_filter_run(&text, "antiword \"$1\"", "/docs/a.doc", 60, stop, err));
 *
 * sh runs the command with the file's path as $1 and the file as standard input; what it writes to
 * standard output is the text. Nothing of the path goes through the shell's parser. The command is
 * trusted, its output is not; what it writes to standard error goes where ours goes.
 */
#ifndef QU_INGEST_FILTER_H
#define QU_INGEST_FILTER_H

#include <stdbool.h>

#include "base/buf.h"

enum {
    QU_FILTER_MAX_BYTES = 256 << 20,
    QU_FILTER_SECONDS = 120,        /* of waiting, and of processor time */
    QU_FILTER_MEMORY_KIB = 8 << 20, /* address space of each process */
};

/* Append the command's output to *out. seconds: of waiting. stop: asked meanwhile, may be NULL. The
 * command and what it started in its process group are gone afterwards. Errors, naming path:
 * QU_ERR_FORMAT, it ended badly; QU_ERR_LIMIT, too long or too much; QU_ERR_CANCELLED; QU_ERR_IO,
 * QU_ERR_NOTFOUND; QU_ERR_NOMEM. */
qu_status qu_filter_run(qu_buf *out, const char *command, const char *path, double seconds,
                        bool (*stop)(void), qu_err *err);

#endif
