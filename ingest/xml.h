/* One pass over XML by events, for ingest/office.c and ingest/pdf.c. libxml2 without network,
 * files, DTDs and entities but the five; it stops at what is too deep or too long for it.
 *
 *     static void on_start(void *ctx, const char *name, const qu_xml_attr *a) { ... }
 *     qu_xml_events e = {on_start, on_end, on_text, &run};
 *     QU_TRY(qu_xml_parse(p, n, &e, err));
 *
 * Reentrant. Private to ingest/.
 */
#ifndef QU_INGEST_XML_H
#define QU_INGEST_XML_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/memory.h"

/* The attributes of one element; valid during its call. */
typedef struct qu_xml_attr {
    const void *list;
    int n;
} qu_xml_attr;

/* Names are local ones, without prefix. What is not QU_OK ends the pass; end and text may be
 * NULL. */
typedef struct qu_xml_events {
    qu_status (*start)(void *ctx, const char *name, const qu_xml_attr *attributes, qu_err *err);
    qu_status (*end)(void *ctx, const char *name, qu_err *err);
    qu_status (*text)(void *ctx, const char *p, int64_t n, qu_err *err);
    void *ctx;
} qu_xml_events;

/* All of p[0, n). Malformed XML is no error: events end there. Errors: QU_ERR_NOMEM, the
 * callbacks'. */
qu_status qu_xml_parse(const void *p, int64_t n, const qu_xml_events *events, qu_err *err);

/* Copy an attribute's value (by local name; ":name" must have a prefix), cut to size - 1 bytes;
 * false, and "", if absent. */
bool qu_xml_get(const qu_xml_attr *a, const char *name, char *out, size_t size);

/* The local name and value of attribute i, cut likewise; false behind the last. */
bool qu_xml_at(const qu_xml_attr *a, int i, char *name, size_t name_size, char *value, size_t size);

/* Append with '&', '<' and '>' written as references. */
qu_status qu_xml_escape(qu_buf *out, const char *p, int64_t n, qu_err *err);

#endif
