/* gzip files in memory. Private to ingest/ and its tests. */
#ifndef QU_INGEST_GUNZIP_H
#define QU_INGEST_GUNZIP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "ingest/document.h"

/* Do the bytes begin like a gzip file? */
bool qu_gunzip_is(const uint8_t *bytes, int64_t n);

/* Append the inflated content of all members to out. name is for messages. Zero padding after the
 * last member is fine. Errors: QU_ERR_FORMAT for truncated or damaged input, QU_ERR_LIMIT when more
 * comes out than limits allow, QU_ERR_NOMEM. */
qu_status qu_gunzip(qu_buf *out, const uint8_t *bytes, int64_t n, const char *name,
                    const qu_document_limits *limits, qu_err *err);

#endif
