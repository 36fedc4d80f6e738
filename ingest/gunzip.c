#include "ingest/gunzip.h"

#include <string.h>
#include <zlib.h>

bool qu_gunzip_is(const uint8_t *bytes, int64_t n)
{
    return n >= 3 && bytes[0] == 0x1F && bytes[1] == 0x8B && bytes[2] == 8;
}

static qu_status check_size(int64_t got, int64_t n, const char *name,
                            const qu_document_limits *limits, qu_err *err)
{
    if (got > limits->max_inflated_bytes)
        return qu_fail(err, QU_ERR_LIMIT, "file '%s' inflates to more than the limit of %lld bytes",
                       name, (long long)limits->max_inflated_bytes);
    if (got > limits->free_inflated_bytes && got / limits->max_inflate_ratio > n)
        return qu_fail(err, QU_ERR_LIMIT,
                       "file '%s' inflates more than %lld times: not a text file", name,
                       (long long)limits->max_inflate_ratio);
    return QU_OK;
}

/* Inflate the member at z->next_in, of which end is the end of the file. */
static qu_status inflate_member(qu_buf *out, z_stream *z, const uint8_t *bytes, const uint8_t *end,
                                const char *name, const qu_document_limits *limits, qu_err *err)
{
    const size_t step = 1 << 16;
    int r = Z_OK;
    while (r != Z_STREAM_END) {
        int64_t left = end - z->next_in;
        z->avail_in = (uInt)(left < (1 << 30) ? left : 1 << 30);
        QU_TRY(qu_buf_reserve(out, step, err));
        z->next_out = (Bytef *)out->data + out->len;
        z->avail_out = (uInt)step;
        r = inflate(z, Z_NO_FLUSH);
        out->len += step - z->avail_out;
        out->data[out->len] = 0;
        QU_TRY(check_size((int64_t)out->len, end - bytes, name, limits, err));
        if (r == Z_MEM_ERROR) return qu_fail_nomem(err, 1 << 16);
        if (r == Z_BUF_ERROR || (r == Z_OK && z->next_in == end && z->avail_out))
            return qu_fail(err, QU_ERR_FORMAT, "gzip file '%s' is truncated", name);
        if (r != Z_OK && r != Z_STREAM_END)
            return qu_fail(err, QU_ERR_FORMAT, "gzip file '%s' is damaged: %s", name,
                           z->msg ? z->msg : "no such stream");
    }
    return QU_OK;
}

qu_status qu_gunzip(qu_buf *out, const uint8_t *bytes, int64_t n, const char *name,
                    const qu_document_limits *limits, qu_err *err)
{
    qu_status st = QU_OK;
    const uint8_t *end = bytes + n;
    z_stream z = {.next_in = (Bytef *)bytes};
    if (inflateInit2(&z, 15 + 16) != Z_OK) return qu_fail_nomem(err, 1 << 16); /* 16: gzip only */
    for (;;) {
        QU_TRY_OUT(inflate_member(out, &z, bytes, end, name, limits, err));
        const uint8_t *p = z.next_in;
        while (p < end && !*p) p++;
        if (p == end) break;
        if (!qu_gunzip_is(z.next_in, end - z.next_in)) {
            st = qu_fail(err, QU_ERR_FORMAT,
                         "gzip file '%s' is damaged: foreign bytes after its end", name);
            goto out;
        }
        inflateReset(&z);
    }
out:
    inflateEnd(&z);
    return st;
}
