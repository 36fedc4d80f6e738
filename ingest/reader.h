/* Files of any known format to documents, with everything that is not plain text parsed by
 * confined children.
 *
 *     static qu_status on_document(void *ctx, const char *member, qu_document *doc) { ... }
 *     static qu_status on_fault(void *ctx, const char *member, const qu_err *why) { ... }
 *     qu_reader_options o = {.program = "/proc/self/exe"};     // its main begins as in child.h
 *     QU_TRY(qu_reader_create(&r, &o, err));
 *     qu_reader_sink sink = {on_document, on_fault, ctx};
 *     qu_status st = qu_reader_read(r, "/docs/a.zip", &sink, err);
 *     qu_reader_free(r);
 *
 * Plain text and Markdown are parsed here. All else goes to a child through a socket: one for each
 * depth of nesting and one for PDF, started when first needed and kept for many files. A member of
 * an archive or mail is read like a file of its own, so a child that dies over one takes no other
 * with it; it is killed over time, reported with the file, and started anew. What comes back is
 * checked: sizes, order, UTF-8. One thread at a time.
 */
#ifndef QU_INGEST_READER_H
#define QU_INGEST_READER_H

#include "base/memory.h"
#include "ingest/document.h"

enum {
    QU_READER_MAX_NESTING = 5,      /* containers in each other */
    QU_READER_MAX_MEMBERS = 200000, /* of one file, nested ones included */
    QU_READER_MAX_NAME = 1024,      /* bytes of a member's name; longer ones lose their beginning */
    QU_READER_SECONDS = 120,        /* waiting for children over one file, and one more a MiB */
};

typedef struct qu_reader qu_reader;

typedef struct qu_reader_options {
    const char *program;       /* borrowed */
    bool (*stop)(void);        /* asked while waiting; NULL = never */
    int seconds;               /* 0 = QU_READER_SECONDS */
} qu_reader_options;

/* member: names below the file joined by '!' ("b.zip!c.txt"), clean: no ".." and no
 * control characters; NULL is the file itself, which comes last. *doc may be moved away by emptying
 * it. A return other than QU_OK ends reading. */
typedef struct qu_reader_sink {
    qu_status (*document)(void *ctx, const char *member, qu_document *doc);
    qu_status (*fault)(void *ctx, const char *member,
                       const qu_err *why); /* never of the file itself */
    void *ctx;
} qu_reader_sink;

/* No child is started yet. Errors: QU_ERR_NOMEM. */
qu_status qu_reader_create(qu_reader **r, const qu_reader_options *options, qu_err *err);

/* End the children. NULL is fine. */
void qu_reader_free(qu_reader *r);
QU_OWNER(qu_reader, qu_reader_free)

/* Read the file at path. Its bytes are read into memory first, so a file that changes meanwhile can
 * do no harm. Errors name path and tell why: QU_ERR_NOTFOUND and QU_ERR_IO, it cannot be read or is
 * no regular file; QU_ERR_UNSUPPORTED, nothing in it that is read; QU_ERR_LIMIT, too large, too
 * slow, or unpacks too far; QU_ERR_FORMAT, empty, damaged, or its parser died; QU_ERR_NOMEM;
 * QU_ERR_CANCELLED; the sink's. */
qu_status qu_reader_read(qu_reader *r, const char *path, const qu_reader_sink *sink, qu_err *err);

/* The same for bytes in memory. */
qu_status qu_reader_parse(qu_reader *r, const void *bytes, int64_t n, const char *name,
                          const qu_reader_sink *sink, qu_err *err);

#endif
