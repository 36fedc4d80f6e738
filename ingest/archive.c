#include "ingest/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include "base/buf.h"

enum { CHUNK = 1 << 16 };

typedef struct unpacking {
    struct archive *a;
    const char *shown;
    const uint8_t *bytes;
    int64_t packed, unpacked, members; /* so far */
} unpacking;

static const char *fault(struct archive *a)
{
    const char *why = archive_error_string(a);
    return why ? why : "damaged";
}

/* libarchive leaves gzip's checksum unread. The one at the end is that of all where all are one
 * part. */
static bool has_wrong_sum(const uint8_t *p, int64_t n, const qu_buf *out)
{
    if (n < 18 || p[0] != 0x1F || p[1] != 0x8B) return false;
    const uint8_t *end = p + n - 8;
    uint32_t sum = end[0] | end[1] << 8 | end[2] << 16 | (uint32_t)end[3] << 24;
    uint32_t size = end[4] | end[5] << 8 | end[6] << 16 | (uint32_t)end[7] << 24;
    if (size != (uint32_t)out->len) return false;
    return crc32(0, (const Bytef *)(out->data ? out->data : ""), (uInt)out->len) != sum;
}

/* The open member's bytes. *bad: libarchive's reason why they cannot be had. */
static qu_status read_member(unpacking *u, qu_buf *out, const char **bad, qu_err *err)
{
    out->len = 0;
    *bad = NULL;
    for (;;) {
        QU_TRY(qu_buf_reserve(out, CHUNK, err));
        la_ssize_t n = archive_read_data(u->a, out->data + out->len, CHUNK);
        if (n < 0) *bad = fault(u->a);
        if (n <= 0) return QU_OK;
        out->len += (size_t)n;
        u->unpacked += n;
        if (!qu_document_may_unpack(u->packed, u->unpacked))
            return qu_fail(err, QU_ERR_LIMIT,
                           "'%s' unpacks to more than %d MiB or %d times its size", u->shown,
                           QU_DOCUMENT_MAX_INFLATED_BYTES >> 20, QU_DOCUMENT_MAX_INFLATE_RATIO);
    }
}

static qu_status read_all(unpacking *u, bool (*want)(void *ctx, const char *name), qu_member_fn *fn,
                          void *ctx, qu_buf *data, qu_err *err)
{
    struct archive_entry *e;
    const char *bad;
    for (;;) {
        int rc = archive_read_next_header(u->a, &e);
        if (rc == ARCHIVE_EOF) return QU_OK;
        if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
            return qu_fail(err, QU_ERR_FORMAT, "'%s' is damaged or cut short: %s", u->shown,
                           fault(u->a));
        bool raw = archive_format(u->a) == ARCHIVE_FORMAT_RAW;
        if (raw && archive_filter_count(u->a) < 2) /* nothing was recognised */
            return qu_fail(err, QU_ERR_FORMAT, "'%s' is damaged: no archive", u->shown);
        const char *name = raw ? "" : archive_entry_pathname(e);
        if (!raw && (archive_entry_filetype(e) != AE_IFREG || archive_entry_hardlink(e))) continue;
        if (!name) name = "unnamed";
        if (++u->members > QU_ARCHIVE_MAX_MEMBERS)
            return qu_fail(err, QU_ERR_LIMIT, "'%s' has more than %d members", u->shown,
                           QU_ARCHIVE_MAX_MEMBERS);
        if (want && !want(ctx, name)) continue;
        if (archive_entry_is_encrypted(e)) {
            QU_TRY(fn(ctx, name, NULL, 0, "it is encrypted", err));
            continue;
        }
        QU_TRY(read_member(u, data, &bad, err));
        if (raw && !bad && has_wrong_sum(u->bytes, u->packed, data)) bad = "its checksum is wrong";
        if (bad && raw)
            return qu_fail(err, QU_ERR_FORMAT, "'%s' is damaged or cut short: %s", u->shown, bad);
        QU_TRY(fn(ctx, name, bad ? NULL : data->data, bad ? 0 : (int64_t)data->len, bad, err));
    }
}

static void free_archive(struct archive **a)
{
    if (*a) archive_read_free(*a);
}

qu_status qu_archive_read(const void *bytes, int64_t n, const char *shown,
                          bool (*want)(void *ctx, const char *name), qu_member_fn *fn, void *ctx,
                          qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf data = {0};
    QU_OWN(free_archive) struct archive *a = archive_read_new();
    unpacking u = {a, shown, bytes, n, 0, 0};
    if (!a) return qu_fail_nomem(err, CHUNK);
    archive_read_support_filter_gzip(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_zstd(a);
    archive_read_support_format_zip(a);
    archive_read_support_format_tar(a);
    archive_read_support_format_7zip(a);
    archive_read_support_format_rar(a);
    archive_read_support_format_rar5(a);
    archive_read_support_format_raw(a);
    archive_read_support_format_empty(a);
    if (archive_read_open_memory(a, bytes, (size_t)n) == ARCHIVE_OK)
        return read_all(&u, want, fn, ctx, &data, err);
    return qu_fail(err, QU_ERR_FORMAT, "'%s' is damaged or cut short: %s", shown, fault(a));
}
