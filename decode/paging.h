/* Cutting a document's tokens into pages.
 *
 *     QU_TRY(qu_paging_cut(&ends, &n_pages, ids.n, ids.at, cuts, n_cuts, text, err));
 *     page i holds tokens [i ? ends[i - 1] : 0, ends[i])
 *
 * A page ends at the best ranked cut point of its second half (the last one among equals), at most
 * QU_PAGE_TOKENS tokens after its start. Cut points lie on characters, tokens often begin with the
 * blank before a word: a token counts as cut where only white space stands between its start and
 * the point.
 */
#ifndef QU_DECODE_PAGING_H
#define QU_DECODE_PAGING_H

#include <stdint.h>

#include "base/cut.h"
#include "base/status.h"

/* at [n_tokens]: byte offset of each token (qu_tokens). *ends: malloc'ed [*n_pages], freed by the
 * caller; NULL and 0 for no tokens. Every page has at least one token. Errors: QU_ERR_NOMEM,
 * QU_ERR_LIMIT. */
qu_status qu_paging_cut(int64_t **ends, int32_t *n_pages, int64_t n_tokens, const int64_t *at,
                        const qu_cut *cuts, int64_t n_cuts, const char *text, qu_err *err);

#endif
