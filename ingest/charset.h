/* Bytes of unknown encoding to clean UTF-8, with the way back. Private to ingest/ and its tests. */
#ifndef QU_INGEST_CHARSET_H
#define QU_INGEST_CHARSET_H

#include "ingest/builder.h"

/* Append the text of the bytes to out: valid UTF-8; "\r\n" and '\r' are '\n'; other control
 * characters but '\t' are blanks; what cannot be decoded is U+FFFD. charset names the encoding
 * found: a byte order mark, else UTF-16 that shows in its zero bytes, else (markup = true) the
 * declaration in the first 16 KiB, found as browsers look for one before they parse, else UTF-8 if
 * at most as many bytes break it as characters keep it, else uchardet's guess if eight bytes and
 * more are beyond ASCII, else windows-1252. runs leads from out's text to bytes. name is for
 * messages. Errors: QU_ERR_UNSUPPORTED for binary content, QU_ERR_NOMEM. */
qu_status qu_charset_decode(qu_buf *out, qu_runs *runs, char charset[32], const uint8_t *bytes,
                            int64_t n, bool markup, const char *name, qu_err *err);

/* Append n bytes in an encoding that mail names. What it cannot be is U+FFFD; of an unknown
 * encoding the bytes stay as they are. Errors: QU_ERR_NOMEM. */
qu_status qu_charset_convert(qu_buf *out, const char *encoding, const void *bytes, int64_t n,
                             qu_err *err);

#endif
