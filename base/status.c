#include "base/status.h"

#include <stdarg.h>
#include <stdbool.h>
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
    /* clang-format off */
    static const char *const names[] = {
        "ok", "bad argument", "out of memory", "input or output failed", "malformed input",
        "not supported", "belongs to something else", "damaged", "locked", "not found",
        "no space left", "beyond a limit", "stopped", "no device", "device error"};
    /* clang-format on */
    bool known = status <= QU_OK && status >= QU_ERR_GPU;
    return known ? names[-(int)status] : "unknown status";
}
