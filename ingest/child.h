/* The child that parses: what it is asked, what it answers, and its main loop.
 *
 *     int main(int argc, char **argv)
 *     {
 *         if (qu_child_asked(argc, argv)) return qu_child_main(argv[2]);
 *         ...
 *
 * A program whose own path is given to qu_reader_create must begin like that. The child confines
 * itself (ingest/sandbox.h) before it reads a byte, answers requests until its input ends, and
 * trusts nobody; its parent (ingest/reader.h) trusts it no more.
 *
 *   request   qu_child_request, name, bytes
 *   answer    any number of qu_child_frame MEMBER or DOCUMENT (at most one), then one END
 *
 *   MEMBER    name, bytes; or status below 0 and why in place of the bytes
 *   DOCUMENT  title; then qu_document, what its pointers show but the title: text, cuts, ...
 *   END       status; why it is not QU_OK
 *
 * Structs in host order: both are one program. Private to ingest/, but for the two functions.
 */
#ifndef QU_INGEST_CHILD_H
#define QU_INGEST_CHILD_H

#include "ingest/document.h"

#define QU_CHILD_ASKED "--parse-documents"

/* Is this process such a child? */
bool qu_child_asked(int argc, char **argv);

/* Serve standard input and output. kind "pdf" may start pdftotext; others nothing. Returns the exit
 * code. */
int qu_child_main(const char *kind);

typedef struct qu_child_request {
    int64_t name_bytes, bytes;
} qu_child_request;

enum { QU_CHILD_MEMBER = 1, QU_CHILD_DOCUMENT = 2, QU_CHILD_END = 3 };

typedef struct qu_child_frame {
    int32_t type, status;
    int64_t name_bytes, bytes;
} qu_child_frame;

#endif
