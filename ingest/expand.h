/* Bytes of any known kind to a document and members: what a child does (ingest/child.h), and what
 * fuzzing drives. Nothing here is confined: call it on trusted bytes, or in a sandbox.
 *
 *     QU_TRY(qu_expand(&doc, bytes, n, "/docs/a.zip", on_member, ctx, err));
 *     if (doc.text) use(&doc);
 *     qu_document_free(&doc);
 *
 *   text, HTML, XML, PDF, office files   a document
 *   archives, mailboxes                  members, then a document that lists them
 *   mail                                 attachments as members, then the message
 *   compressed files                     one member named "", no document
 */
#ifndef QU_INGEST_EXPAND_H
#define QU_INGEST_EXPAND_H

#include "ingest/archive.h"

/* What bytes are, by how they begin and, where that says nothing, by their name's ending. Only the
 * first is harmless enough to be parsed outside of a child (ingest/reader.h). */
typedef enum qu_kind {
    QU_KIND_TEXT, /* Markdown and unknown bytes, too */
    QU_KIND_HTML,
    QU_KIND_XML,
    QU_KIND_PDF,
    QU_KIND_ZIP,
    QU_KIND_ARCHIVE, /* any other, or a compressed file */
    QU_KIND_MAIL,
    QU_KIND_MAILBOX,
    QU_KIND_OLD_OFFICE, /* DOC, XLS, PPT: known, not read */
} qu_kind;

/* name NULL = unnamed. */
qu_kind qu_expand_kind(const void *bytes, int64_t n, const char *name);

/* *doc needs no initialisation; it is empty on error. Members may have been
 * given out before an error. Errors: those of ingest/document.h, archive.h, office.h, pdf.h. */
qu_status qu_expand(qu_document *doc, const void *bytes, int64_t n, const char *name,
                    qu_member_fn *fn, void *ctx, qu_err *err);

#endif
