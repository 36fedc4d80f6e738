/* One pass over XML by events, for ingest/office.c and ingest/pdf.c. libxml2 without network,
 * files, DTDs and entities but the five; it stops at what is too deep or too long for it.
 *
 *     static qu_status on_event(void *ctx, const qu_xml_event *e)
 *     {
 *         if (qu_xml_is(e, QU_XML_START, "t")) ...
 *         if (e->kind == QU_XML_TEXT) return qu_buf_add(out, e->text, (size_t)e->n, e->err);
 *         ...
 *     QU_TRY(qu_xml_parse(p, n, on_event, ctx, err));
 *
 * Reentrant. Private to ingest/.
 */
#ifndef QU_INGEST_XML_H
#define QU_INGEST_XML_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/memory.h"

typedef enum { QU_XML_START, QU_XML_END, QU_XML_TEXT } qu_xml_kind;

/* An element begins or ends, or text stands directly in one; valid during the call. */
typedef struct qu_xml_event {
    qu_xml_kind kind;
    const char *name; /* the element's local one, without prefix; "" for text */
    const char *text; /* [n] */
    int64_t n;
    const void *attributes; /* [n_attributes] of one that begins */
    int n_attributes;
    qu_err *err;
} qu_xml_event;

/* What is not QU_OK ends the pass. */
typedef qu_status qu_xml_fn(void *ctx, const qu_xml_event *e);

static inline bool qu_xml_is(const qu_xml_event *e, qu_xml_kind kind, const char *name)
{
    return e->kind == kind && strcmp(e->name, name) == 0;
}

/* 1 where that element begins, -1 where it ends, else 0. */
static inline int qu_xml_step(const qu_xml_event *e, const char *name)
{
    return qu_xml_is(e, QU_XML_START, name) - qu_xml_is(e, QU_XML_END, name);
}

/* All of p[0, n). Malformed XML is no error: events end there. Errors: QU_ERR_NOMEM, the
 * callback's. */
qu_status qu_xml_parse(const void *p, int64_t n, qu_xml_fn *fn, void *ctx, qu_err *err);

/* Copy an attribute's value (by local name; ":name" must have a prefix), cut to size - 1 bytes;
 * false, and "", if absent. */
bool qu_xml_get(const qu_xml_event *e, const char *name, char *out, size_t size);

/* The same as a number; otherwise, if absent. */
int qu_xml_number(const qu_xml_event *e, const char *name, int otherwise);

/* The local name and value of attribute i, cut likewise; false behind the last. */
bool qu_xml_at(const qu_xml_event *e, int i, char *name, size_t name_size, char *value,
               size_t size);

/* Append with '&', '<' and '>' written as references. */
qu_status qu_xml_escape(qu_buf *out, const char *p, int64_t n, qu_err *err);

#endif
