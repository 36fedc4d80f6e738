#include "ingest/xml.h"

#include <libxml/parser.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { FEED = 1 << 20, ATTR = 5 }; /* pointers an attribute: name, prefix, URI, value, its end */

typedef struct xml {
    xmlParserCtxtPtr parser;
    const qu_xml_events *events;
    qu_status st;
    qu_err *err;
} xml;

static void check(xml *x, qu_status st)
{
    if (st == QU_OK) return;
    x->st = st;
    xmlStopParser(x->parser);
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                     int n_ns, const xmlChar **ns, int n, int n_default, const xmlChar **attributes)
{
    xml *x = ctx;
    qu_xml_attr a = {attributes, n};
    (void)prefix, (void)uri, (void)n_ns, (void)ns, (void)n_default;
    if (x->st == QU_OK) check(x, x->events->start(x->events->ctx, (const char *)name, &a, x->err));
}

static void on_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    xml *x = ctx;
    (void)prefix, (void)uri;
    if (x->st == QU_OK && x->events->end)
        check(x, x->events->end(x->events->ctx, (const char *)name, x->err));
}

static void on_text(void *ctx, const xmlChar *p, int n)
{
    xml *x = ctx;
    if (x->st == QU_OK && x->events->text && n > 0)
        check(x, x->events->text(x->events->ctx, (const char *)p, n, x->err));
}

static void on_error(void *ctx, xmlErrorPtr e)
{
    (void)ctx, (void)e; /* else libxml2 prints it */
}

static void free_parser(xmlParserCtxtPtr *parser)
{
    if (*parser && (*parser)->myDoc) xmlFreeDoc((*parser)->myDoc);
    if (*parser) xmlFreeParserCtxt(*parser);
}

qu_status qu_xml_parse(const void *p, int64_t n, const qu_xml_events *events, qu_err *err)
{
    static pthread_once_t started = PTHREAD_ONCE_INIT; /* libxml2's own start is not safe */
    xmlSAXHandler sax = {.initialized = XML_SAX2_MAGIC,
                         .startElementNs = on_start,
                         .endElementNs = on_end,
                         .characters = on_text,
                         .cdataBlock = on_text,
                         .ignorableWhitespace = on_text,
                         .serror = on_error};
    const char *s = p;
    xml x = {.events = events, .err = err};
    pthread_once(&started, xmlInitParser);
    QU_OWN(free_parser) xmlParserCtxtPtr parser = xmlCreatePushParserCtxt(&sax, &x, NULL, 0, NULL);
    if (!parser) return qu_fail_nomem(err, sizeof sax);
    x.parser = parser;
    xmlCtxtUseOptions(parser, XML_PARSE_NONET | XML_PARSE_RECOVER);
    for (int64_t at = 0; at < n && x.st == QU_OK && !parser->disableSAX; at += FEED)
        xmlParseChunk(parser, s + at, (int)(n - at < FEED ? n - at : FEED), 0);
    if (!parser->disableSAX) xmlParseChunk(parser, NULL, 0, 1); /* what it still holds back */
    return x.st;
}

static void copy(char *out, size_t size, const char *p, size_t n)
{
    if (n >= size) n = size - 1;
    while (n > 0 && ((unsigned char)p[n] & 0xC0) == 0x80) n--; /* not within a character */
    memcpy(out, p, n);
    out[n] = 0;
    for (char *amp = out; (amp = strstr(amp, "&#38;")); amp++) /* libxml2's way to say '&' */
        memmove(amp + 1, amp + 5, strlen(amp + 5) + 1);
}

bool qu_xml_at(const qu_xml_attr *a, int i, char *name, size_t name_size, char *value, size_t size)
{
    if (i >= a->n) return false;
    const char *const *v = (const char *const *)a->list + (ptrdiff_t)i * ATTR;
    copy(name, name_size, v[0], strlen(v[0]));
    copy(value, size, v[3], (size_t)(v[4] - v[3]));
    return true;
}

bool qu_xml_get(const qu_xml_attr *a, const char *name, char *out, size_t size)
{
    const char *const *v = a->list;
    bool prefixed = *name == ':';
    *out = 0;
    for (int i = 0; i < a->n; i++, v += ATTR) {
        if (strcmp(v[0], name + prefixed) != 0 || (prefixed && !v[1])) continue;
        copy(out, size, v[3], (size_t)(v[4] - v[3]));
        return true;
    }
    return false;
}

qu_status qu_xml_escape(qu_buf *out, const char *p, int64_t n, qu_err *err)
{
    for (int64_t i = 0, from = 0; i <= n; i++) {
        const char *as = i == n ? "" : p[i] == '&' ? "&amp;" : p[i] == '<' ? "&lt;" : NULL;
        if (!as && p[i] == '>') as = "&gt;";
        if (!as) continue;
        QU_TRY(qu_buf_add(out, p + from, (size_t)(i - from), err));
        QU_TRY(qu_buf_puts(out, as, err));
        from = i + 1;
    }
    return QU_OK;
}
