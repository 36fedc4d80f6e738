#include "ingest/xml.h"

#include <libxml/parser.h>
#include <pthread.h>

enum { FEED = 1 << 20, ATTR = 5 }; /* pointers an attribute: name, prefix, URI, value, its end */

typedef struct xml {
    xmlParserCtxtPtr parser;
    qu_xml_fn *fn;
    void *ctx;
    qu_status st;
    qu_err *err;
} xml;

static void hand_on(xml *x, qu_xml_event e)
{
    if (x->st != QU_OK) return;
    e.err = x->err;
    x->st = x->fn(x->ctx, &e);
    if (x->st != QU_OK) xmlStopParser(x->parser);
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                     int n_ns, const xmlChar **ns, int n, int n_default, const xmlChar **attributes)
{
    (void)prefix, (void)uri, (void)n_ns, (void)ns, (void)n_default;
    hand_on(ctx, (qu_xml_event){
                     .name = (const char *)name, .attributes = attributes, .n_attributes = n});
}

static void on_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
    (void)prefix, (void)uri;
    hand_on(ctx, (qu_xml_event){.kind = QU_XML_END, .name = (const char *)name});
}

static void on_text(void *ctx, const xmlChar *p, int n)
{
    if (n > 0)
        hand_on(ctx,
                (qu_xml_event){.kind = QU_XML_TEXT, .name = "", .text = (const char *)p, .n = n});
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

qu_status qu_xml_parse(const void *p, int64_t n, qu_xml_fn *fn, void *ctx, qu_err *err)
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
    xml x = {.fn = fn, .ctx = ctx, .err = err};
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

bool qu_xml_at(const qu_xml_event *e, int i, char *name, size_t name_size, char *value, size_t size)
{
    if (i >= e->n_attributes) return false;
    const char *const *v = (const char *const *)e->attributes + (ptrdiff_t)i * ATTR;
    copy(name, name_size, v[0], strlen(v[0]));
    copy(value, size, v[3], (size_t)(v[4] - v[3]));
    return true;
}

bool qu_xml_get(const qu_xml_event *e, const char *name, char *out, size_t size)
{
    const char *const *v = e->attributes;
    bool prefixed = *name == ':';
    *out = 0;
    for (int i = 0; i < e->n_attributes; i++, v += ATTR) {
        if (strcmp(v[0], name + prefixed) != 0 || (prefixed && !v[1])) continue;
        copy(out, size, v[3], (size_t)(v[4] - v[3]));
        return true;
    }
    return false;
}

int qu_xml_number(const qu_xml_event *e, const char *name, int otherwise)
{
    char value[16];
    return qu_xml_get(e, name, value, sizeof value) ? atoi(value) : otherwise;
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
