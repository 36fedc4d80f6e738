#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

qu_status qu_fail(qu_err *err, qu_status status, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        err->status = status;
        vsnprintf(err->msg, sizeof err->msg, fmt, ap);
        va_end(ap);
    }
    return status;
}

qu_status qu_fail_nomem(qu_err *err, long long bytes)
{
    return qu_fail(err, QU_ERR_NOMEM, "out of memory: cannot allocate %lld bytes", bytes);
}

const char *qu_status_name(qu_status status)
{
    switch (status) {
    case QU_OK: return "ok";
    case QU_ERR_ARG: return "bad argument";
    case QU_ERR_NOMEM: return "out of memory";
    case QU_ERR_IO: return "input or output failed";
    case QU_ERR_FORMAT: return "malformed input";
    case QU_ERR_UNSUPPORTED: return "not supported";
    case QU_ERR_MISMATCH: return "belongs to something else";
    case QU_ERR_CORRUPT: return "damaged";
    case QU_ERR_LOCKED: return "locked";
    case QU_ERR_NOTFOUND: return "not found";
    case QU_ERR_FULL: return "no space left";
    case QU_ERR_LIMIT: return "beyond a limit";
    case QU_ERR_CANCELLED: return "stopped";
    case QU_ERR_NOGPU: return "no device";
    case QU_ERR_GPU: return "device error";
    }
    return "unknown status";
}
