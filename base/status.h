/* One status and one error record for every fallible function in Quire.
 *
 *     qu_status f(const char *path, qu_err *err) {
 *         FILE *fp = fopen(path, "rb");
 *         if (!fp) return qu_fail(err, QU_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
 *         QU_TRY(parse(fp, err));
 *         ...
 *
 * Messages: lower case, no full stop, fault first, subject in quotes, then a hint. A qu_err is
 * owned by the caller, may be NULL and is untouched on success. Values are pinned: they may be
 * stored and scripted.
 */
#ifndef QU_BASE_STATUS_H
#define QU_BASE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum qu_status {
    QU_OK = 0,
    QU_ERR_ARG = -1,          /* the caller's arguments are wrong */
    QU_ERR_NOMEM = -2,        /* an allocation failed */
    QU_ERR_IO = -3,           /* the operating system refused a file operation */
    QU_ERR_FORMAT = -4,       /* an input file is truncated or malformed */
    QU_ERR_UNSUPPORTED = -5,  /* well formed, but not something Quire can run */
    QU_ERR_MISMATCH = -6,     /* a store or page belongs to another model, version or prefix */
    QU_ERR_CORRUPT = -7,      /* stored bytes fail their checksum or contradict each other */
    QU_ERR_LOCKED = -8,       /* another process holds the store */
    QU_ERR_NOTFOUND = -9,     /* the thing asked for is not there */
    QU_ERR_FULL = -10,        /* no space left on the device or within the quota */
    QU_ERR_LIMIT = -11,       /* the input is larger than a stated limit */
    QU_ERR_CANCELLED = -12,   /* stopped on request: signal or time limit */
    QU_ERR_NOGPU = -13,       /* no device, or built without CUDA */
    QU_ERR_GPU = -14,         /* the device reported an error */
} qu_status;

typedef struct qu_err {
    qu_status status;
    char msg[240];
} qu_err;

/* Fill *err (NULL allowed) and return status, so that a fault is one return statement. */
qu_status qu_fail(qu_err *err, qu_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The usual message for a failed allocation of that many bytes. Returns QU_ERR_NOMEM. */
qu_status qu_fail_nomem(qu_err *err, long long bytes);

/* Text of a status: "out of memory". Never NULL. */
const char *qu_status_name(qu_status status);

/* Return from the calling function when call is not QU_OK. */
#define QU_TRY(call)                                                                               \
    do {                                                                                           \
        qu_status qu_try_ = (call);                                                                \
        if (qu_try_ != QU_OK) return qu_try_;                                                      \
    } while (0)

/* The same for functions with one cleanup label: needs a local `qu_status st` and a label `out`. */
#define QU_TRY_OUT(call)                                                                           \
    do {                                                                                           \
        st = (call);                                                                               \
        if (st != QU_OK) goto out;                                                                 \
    } while (0)

#ifdef __cplusplus
}
#endif

#endif
