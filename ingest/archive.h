/* The members of archives (zip, tar, 7z, rar; tar also compressed) and the one content of a
 * compressed file (gzip, bzip2, xz, zstd), through libarchive.
 *
 *     static qu_status on_member(void *ctx, const char *name, const void *p, int64_t n,
 *                                const char *why, qu_err *err) { ... }
 *     QU_TRY(qu_archive_read(bytes, n, "a.zip", NULL, on_member, ctx, err));
 *
 * Names are the archive's own bytes: labels, never to be opened. Input is hostile: members, the sum
 * of what is unpacked and its ratio to n are limited. Reentrant. Private to ingest/ and its tests.
 */
#ifndef QU_INGEST_ARCHIVE_H
#define QU_INGEST_ARCHIVE_H

#include "base/status.h"
#include "ingest/document.h"

enum { QU_ARCHIVE_MAX_MEMBERS = 100000 };

/* One regular file p[0, n), borrowed during the call. name is "" for what a compressed file holds.
 * p NULL: it cannot be had, and why tells the reason (else NULL). What is not QU_OK ends
 * reading. */
typedef qu_status qu_member_fn(void *ctx, const char *name, const void *p, int64_t n,
                               const char *why, qu_err *err);

/* want (NULL = every one) chooses by name, before anything is unpacked. shown names the archive in
 * messages. Errors: QU_ERR_FORMAT, damaged or cut short, after the members that could be read;
 * QU_ERR_LIMIT; QU_ERR_NOMEM; the callback's. */
qu_status qu_archive_read(const void *bytes, int64_t n, const char *shown,
                          bool (*want)(void *ctx, const char *name), qu_member_fn *fn, void *ctx,
                          qu_err *err);

#endif
