#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

qu_status qu_buf_reserve(qu_buf *b, size_t extra, qu_err *err)
{
    if (extra > SIZE_MAX / 4 || b->len > SIZE_MAX / 4) return qu_fail_nomem(err, (long long)extra);
    size_t need = b->len + extra + 1;
    if (need <= b->cap) return QU_OK;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need) cap *= 2;
    char *p = realloc(b->data, cap);
    if (!p) return qu_fail_nomem(err, (long long)cap);
    b->data = p;
    b->cap = cap;
    b->data[b->len] = 0;
    return QU_OK;
}

qu_status qu_buf_add(qu_buf *b, const void *p, size_t n, qu_err *err)
{
    QU_TRY(qu_buf_reserve(b, n, err));
    if (n) memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = 0;
    return QU_OK;
}

qu_status qu_buf_puts(qu_buf *b, const char *s, qu_err *err)
{
    return qu_buf_add(b, s, strlen(s), err);
}

qu_status qu_buf_printf(qu_buf *b, qu_err *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) return qu_fail(err, QU_ERR_ARG, "cannot format '%s'", fmt);
    QU_TRY(qu_buf_reserve(b, (size_t)n, err));
    va_start(ap, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return QU_OK;
}

void qu_buf_free(qu_buf *b)
{
    free(b->data);
    memset(b, 0, sizeof *b);
}
