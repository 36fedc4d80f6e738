/* Elements of Word, PowerPoint, OpenDocument, DocBook and any other XML turned into HTML.
 *
 *     qu_markup m = {.kind = QU_MARKUP_OOXML, .out = &html, .styles = styles, .n_styles = n};
 *     QU_TRY(qu_markup_write(&m, bytes, n, err));
 *
 * Paragraphs, headings, list items, tables whose first row is their head. Reentrant. Private to
 * ingest/.
 */
#ifndef QU_INGEST_MARKUP_H
#define QU_INGEST_MARKUP_H

#include "ingest/xml.h"

typedef enum qu_markup_kind {
    QU_MARKUP_XML = 0,
    QU_MARKUP_OOXML = 1,
    QU_MARKUP_ODF = 2,
    QU_MARKUP_ODS = 3, /* as ODF; a table's name is a heading */
} qu_markup_kind;

/* What a paragraph style of Word is: its id, which may be in any language, and heading level. */
typedef struct qu_markup_style {
    char id[64];
    int level;
} qu_markup_style;

typedef struct qu_markup {
    qu_markup_kind kind;
    qu_buf *out;
    qu_buf *title; /* NULL, or where what the title shapes of a slide hold goes, escaped */
    const qu_markup_style *styles;
    int64_t n_styles;
} qu_markup;

/* Append the text of one XML file. Errors: QU_ERR_NOMEM. */
qu_status qu_markup_write(const qu_markup *m, const void *p, int64_t n, qu_err *err);

/* Read the heading styles of word/styles.xml; *styles is malloc'ed. Errors: QU_ERR_NOMEM. */
qu_status qu_markup_styles(qu_markup_style **styles, int64_t *n_styles, const void *p, int64_t n,
                           qu_err *err);

#endif
