/* Pages as the user sees them: their names and their text.
 *
 *     qu_page_view v;
 *     QU_TRY(qu_pages_load(&v, txn, hit.doc_id, hit.page, false, err));
 *     show(v.doc.path, v.id, v.text.data, v.text.len);
 *     qu_pages_free(&v);
 *
 * A page's name is "DOCUMENT.PAGE" in decimal: "12.3" is page 3 of document 12.
 */
#ifndef QU_PIPELINES_PAGES_H
#define QU_PIPELINES_PAGES_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "store/catalogue.h"

typedef struct qu_page_view {
    qu_doc doc;
    qu_page page;
    int32_t number;      /* of the page in its document */
    char id[40];         /* its name */
    qu_buf text;         /* the catalogue's text [page.text_start, page.text_end) */
} qu_page_view;

/* Read a page with its document and text. Page 0, the header line, has no text: unless exact, where
 * the document has a page 1, that one comes in its place. v needs no initialisation; on error it is
 * empty. Errors: QU_ERR_NOTFOUND (no such document or page), those of the catalogue. */
qu_status qu_pages_load(qu_page_view *v, qu_txn *t, uint64_t doc_id, int32_t page, bool exact,
                        qu_err *err);
void qu_pages_free(qu_page_view *v);

/* "12.3" into its parts. Errors: QU_ERR_ARG. */
qu_status qu_pages_parse_id(const char *id, uint64_t *doc_id, int32_t *page, qu_err *err);

/* Token ids as a list. NULL when memory ran out. */
json_t *qu_pages_json_ids(const int32_t *ids, int64_t n);

/* Text as a JSON string; bytes that are not UTF-8 become \xNN. NULL when memory ran out. */
json_t *qu_pages_json_text(const char *text, size_t n);

#endif
