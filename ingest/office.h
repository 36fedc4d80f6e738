/* Office files, books and XML as HTML, from which ingest/html.c makes the text: headings (slides
 * and sheets are headings, too), paragraphs, list items, tables.
 *
 *     const char *format = qu_office_format(bytes, n);            // "docx", ... or NULL
 *     if (format) QU_TRY(qu_office_html(&html, bytes, n, format, "a.docx", err));
 *     QU_TRY(qu_xml_html(&html, bytes, n, err));         // DocBook, or any XML
 *
 * DOCX, PPTX, XLSX (dates by their cells' formats), ODT, ODS, ODP, EPUB. XML goes through libxml2's
 * event parser: no network, no files, no entities but the five; what is damaged ends the text
 * there. Reentrant. Private to ingest/ and its tests.
 */
#ifndef QU_INGEST_OFFICE_H
#define QU_INGEST_OFFICE_H

#include "base/buf.h"
#include "ingest/document.h"

/* What a zip file is by the names in it: one of the formats' names; NULL: an archive. */
const char *qu_office_format(const void *bytes, int64_t n);

/* Append a page of HTML in UTF-8. Errors: those of qu_archive_read; QU_ERR_FORMAT, a part that the
 * format needs is not there. */
qu_status qu_office_html(qu_buf *html, const void *bytes, int64_t n, const char *format,
                         const char *shown, qu_err *err);

/* The same for one XML file. Errors: QU_ERR_NOMEM. */
qu_status qu_xml_html(qu_buf *html, const void *bytes, int64_t n, qu_err *err);

#endif
