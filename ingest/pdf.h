/* The text of a PDF through poppler's pdftotext, a program of its own: linking poppler would put
 * Quire under the GPL.
 *
 *     QU_TRY(qu_pdf_read(&pdf, bytes, n, "a.pdf", qu_pdf_program(), err));
 *     use(pdf.text, pdf.headings, pdf.title);
 *     qu_pdf_free(&pdf);
 *
 * Words come with their boxes, in the order in which poppler would read them. Lines of a block make
 * a paragraph, with words that were hyphenated at their end joined. Where a page is set in one
 * column its lines stand from top to bottom, and those of narrow blocks side by side are the cells
 * of a table's row. Large single lines are headings. What stands at the edge of most pages, the
 * same but for the page's number, is left out where it comes again. Reentrant. Private to ingest/.
 */
#ifndef QU_INGEST_PDF_H
#define QU_INGEST_PDF_H

#include "base/buf.h"
#include "ingest/document.h"

typedef struct qu_pdf {
    qu_buf text, title;   /* UTF-8; blocks are set apart by empty lines */
    qu_heading *headings; /* headings and, with level 0, the begin of every page */
    int64_t n_headings, cap;
} qu_pdf;

/* Where pdftotext is; NULL: not installed. */
const char *qu_pdf_program(void);

/* Start the program and read. *pdf is to be zeroed; free it on error, too. Errors, all naming
 * shown: QU_ERR_UNSUPPORTED, encrypted, without text (scanned), no program; QU_ERR_FORMAT, damaged;
 * QU_ERR_IO, QU_ERR_NOMEM. */
qu_status qu_pdf_read(qu_pdf *pdf, const void *bytes, int64_t n, const char *shown,
                      const char *program, qu_err *err);

/* The same from what `pdftotext -bbox-layout` writes. */
qu_status qu_pdf_read_boxes(qu_pdf *pdf, const char *boxes, int64_t n, qu_err *err);

void qu_pdf_free(qu_pdf *pdf);

#endif
