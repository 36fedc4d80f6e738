/* A growable byte string: the one way to build text or records of unknown length.
 *
 *     qu_buf b = {0};
 *     QU_TRY_OUT(qu_buf_printf(&b, err, "%d pages", n));
 *     use(b.data, b.len);
 *     qu_buf_free(&b);
 *
 * data is always followed by a NUL that len does not count (once anything was appended).
 * Zero-initialise; free with qu_buf_free, or keep data (malloc'ed) and forget the struct.
 */
#ifndef QU_BASE_BUF_H
#define QU_BASE_BUF_H

#include <stddef.h>

#include "base/memory.h"
#include "base/status.h"

typedef struct qu_buf {
    char *data;
    size_t len;
    size_t cap;
} qu_buf;

/* Make room for extra more bytes. Errors: QU_ERR_NOMEM; the content stays. */
qu_status qu_buf_reserve(qu_buf *b, size_t extra, qu_err *err);

/* Append n bytes. p may be NULL when n is 0. Errors: QU_ERR_NOMEM; the content stays. */
qu_status qu_buf_add(qu_buf *b, const void *p, size_t n, qu_err *err);

/* Append a C string. Errors: QU_ERR_NOMEM. */
qu_status qu_buf_puts(qu_buf *b, const char *s, qu_err *err);

/* Append formatted text. Errors: QU_ERR_NOMEM. */
qu_status qu_buf_printf(qu_buf *b, qu_err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Release the bytes and zero the struct. */
void qu_buf_free(qu_buf *b);

#endif
