/* Worksheets of XLSX as HTML tables: values as stored, dates by their cells' formats (1900 system),
 * the first row as the head, '-' for an
 * empty cell before a filled one.
 *
 *     QU_TRY(qu_sheet_open(&book, &shared, &styles, err));
 *     QU_TRY(qu_sheet_write(book, &html, &sheet, err));   // once a sheet
 *     qu_sheet_close(book);
 *
 * Reentrant. Private to ingest/.
 */
#ifndef QU_INGEST_SHEET_H
#define QU_INGEST_SHEET_H

#include "base/buf.h"
#include "base/memory.h"

typedef struct qu_sheet_book qu_sheet_book;

/* xl/sharedStrings.xml and xl/styles.xml, either of which may be empty; nothing is kept of them. On
 * error *book is NULL. Errors: QU_ERR_NOMEM. */
qu_status qu_sheet_open(qu_sheet_book **book, const qu_buf *shared, const qu_buf *styles,
                        qu_err *err);

/* Append a table. Errors: QU_ERR_NOMEM. */
qu_status qu_sheet_write(const qu_sheet_book *book, qu_buf *html, const qu_buf *sheet, qu_err *err);

/* NULL is fine. */
void qu_sheet_close(qu_sheet_book *book);
QU_OWNER(qu_sheet_book, qu_sheet_close)

#endif
