/* Mail: a message (MIME) as text with its attachments, and a mailbox (mbox) as messages.
 *
 *     QU_TRY(qu_mail_read(&text, &title, bytes, n, on_member, ctx, err));
 *     QU_TRY(qu_mail_split(&text, bytes, n, on_member, ctx, err));  // mbox: members "1.eml", ...
 *
 * The text is UTF-8, not yet cleaned. Of alternatives the plain one is read; HTML is where there is
 * none. Reentrant. Private to ingest/.
 */
#ifndef QU_INGEST_MAIL_H
#define QU_INGEST_MAIL_H

#include "ingest/archive.h"

/* Do the bytes begin like a message, or like a mailbox? */
bool qu_mail_is(const char *s, int64_t n);
bool qu_mail_is_box(const char *s, int64_t n);

/* Append subject, people, date and the bodies to text, the subject to title; attachments are
 * members. Errors: QU_ERR_NOMEM, the callback's. */
qu_status qu_mail_read(qu_buf *text, qu_buf *title, const char *s, int64_t n, qu_member_fn *fn,
                       void *ctx, qu_err *err);

/* Each message is a member; their subjects are appended to text, a line each. */
qu_status qu_mail_split(qu_buf *text, const char *s, int64_t n, qu_member_fn *fn, void *ctx,
                        qu_err *err);

#endif
