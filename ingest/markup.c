#include "ingest/markup.h"

#include <stdio.h>
#include <strings.h>

enum { MAX_LEVEL = 6, MAX_STYLES = 4096, MAX_LABEL = 40, MAX_ATTRIBUTES = 50 };

typedef enum action {
    PASS,  /* nothing of its own */
    FIELD, /* any XML: a line "name: text" unless text stands beside it; see start_field */
    PARA,
    HEAD, /* ODF tells its level, DocBook's is its depth */
    PRE,  /* keeps its lines */
    RUN,  /* OOXML: text is in these alone */
    BREAK,
    SPACE,
    TABLE,
    ROW,
    CELL,
    ITEM,
    STYLE, /* these three are of a Word paragraph */
    OUTLINE,
    LISTED,
    SHAPE, /* on a slide; and what it holds */
    HOLDER,
    NAMED,   /* its name is a heading */
    SECTION, /* DocBook: one deeper */
    SKIP,    /* nothing in it is text */
} action;

typedef struct rule {
    const char *name;
    action does;
} rule;

/* clang-format off */
static const rule ooxml_rules[] = {
    {"t", RUN},       {"p", PARA},          {"br", BREAK},    {"cr", BREAK},
    {"tab", SPACE},   {"tbl", TABLE},       {"tr", ROW},      {"tc", CELL},
    {"pStyle", STYLE}, {"outlineLvl", OUTLINE}, {"numPr", LISTED}, {"sp", SHAPE},
    {"ph", HOLDER},   {"Fallback", SKIP},   {"moveFrom", SKIP}, {NULL, PASS}};

static const rule odf_rules[] = {
    {"p", PARA},          {"h", HEAD},          {"line-break", BREAK},      {"tab", SPACE},
    {"s", SPACE},         {"table", TABLE},     {"table-row", ROW},         {"table-cell", CELL},
    {"list-item", ITEM},  {"page", NAMED},      {"tracked-changes", SKIP},  {"annotation", SKIP},
    {"styles", SKIP},     {"automatic-styles", SKIP}, {NULL, PASS}};

/* DocBook's names; others are told by where they stand. */
static const rule xml_rules[] = {
    {"para", PARA},       {"simpara", PARA},     {"title", HEAD},      {"table", TABLE},
    {"informaltable", TABLE}, {"row", ROW},      {"tr", ROW},          {"entry", CELL},
    {"td", CELL},         {"th", CELL},          {"listitem", ITEM},   {"li", ITEM},
    {"programlisting", PRE}, {"screen", PRE},    {"literallayout", PRE}, {"pre", PRE},
    {"book", SECTION},    {"part", SECTION},     {"chapter", SECTION}, {"article", SECTION},
    {"appendix", SECTION}, {"preface", SECTION}, {"section", SECTION}, {"sect1", SECTION},
    {"sect2", SECTION},   {"sect3", SECTION},    {"script", SKIP},     {"style", SKIP},
    {"p", PARA},          {"head", HEAD},       {"sec", SECTION},     {NULL, FIELD}};
/* clang-format on */

typedef struct writer {
    const qu_markup *m;
    const rule *rules;
    qu_buf para;           /* the open paragraph, escaped */
    bool text;             /* it holds more than blanks */
    bool ended;            /* a field ended, and nothing came since */
    char label[MAX_LABEL]; /* of the field that began, until its text comes */
    int depth, last;       /* of fields: open, and where the last one stood */
    bool item, pre, titled, muted;
    int level; /* of the open paragraph as a heading, 0 = none */
    int run, skip, cell, section, blocks;
    int64_t rows; /* of the open table so far */
} writer;

static void free_writer(writer *w) { qu_buf_free(&w->para); }

static action find_action(const rule *r, const char *name)
{
    while (r->name && strcmp(r->name, name) != 0) r++;
    return r->does;
}

static qu_status end_para(writer *w, qu_err *err)
{
    qu_buf *out = w->titled ? w->m->title : w->m->out;
    if (w->text && (w->cell > 0 || w->titled)) {
        QU_TRY(qu_buf_printf(out, err, "%s ", w->para.data));
    } else if (w->text) {
        char tag[8] = "hN";
        tag[1] = (char)('0' + w->level);
        if (w->level == 0) strcpy(tag, w->item ? "li" : w->pre ? "pre" : "p");
        QU_TRY(qu_buf_printf(out, err, "<%s>%s</%s>\n", tag, w->para.data, tag));
        w->item = false;
    }
    w->para.len = 0;
    w->text = w->ended = false;
    w->level = 0;
    return QU_OK;
}

static qu_status put_name(writer *w, const qu_xml_event *e)
{
    char name[256];
    if (!qu_xml_get(e, "name", name, sizeof name)) return QU_OK;
    QU_TRY(qu_buf_puts(w->m->out, "<h2>", e->err));
    QU_TRY(qu_xml_escape(w->m->out, name, (int64_t)strlen(name), e->err));
    return qu_buf_puts(w->m->out, "</h2>\n", e->err);
}

static int level_of(int n)
{
    return n < 1 ? 1 : n > MAX_LEVEL ? MAX_LEVEL : n;
}

/* Of the paragraph that is open. */
static void set_property(writer *w, action act, const qu_xml_event *e)
{
    char id[64];
    int n = qu_xml_number(e, "val", 9);
    if (act == LISTED) w->item = true;
    if (act == OUTLINE && n >= 0 && n < 9) w->level = level_of(n + 1);
    if (act != STYLE || !qu_xml_get(e, "val", id, sizeof id)) return;
    for (int64_t i = 0; i < w->m->n_styles; i++)
        if (strcmp(w->m->styles[i].id, id) == 0) w->level = w->m->styles[i].level;
}

/* A slide's title goes elsewhere; its number, date and footer nowhere. */
static void set_holder(writer *w, const qu_xml_event *e)
{
    char type[16];
    if (!w->m->title || !qu_xml_get(e, "type", type, sizeof type)) return;
    w->titled = strcmp(type, "title") == 0 || strcmp(type, "ctrTitle") == 0;
    w->muted = strcmp(type, "sldNum") == 0 || strcmp(type, "dt") == 0 || strcmp(type, "ftr") == 0;
}

/* Elements of which a paragraph cannot hold any. */
static qu_status start_block(writer *w, action act, const qu_xml_event *e)
{
    qu_err *err = e->err;
    QU_TRY(end_para(w, err));
    *w->label = 0;
    switch (act) {
    case HEAD: w->level = level_of(qu_xml_number(e, "outline-level", w->section)); break;
    case PRE: w->pre = true; break;
    case ITEM: w->item = true; break;
    case SECTION: w->section++; break;
    case NAMED: return put_name(w, e);
    case TABLE:
        w->rows = 0;
        if (w->m->kind == QU_MARKUP_ODS) QU_TRY(put_name(w, e));
        return qu_buf_puts(w->m->out, "<table>\n", err);
    case ROW: w->rows++; return qu_buf_puts(w->m->out, "<tr>", err);
    case CELL: w->cell++; return qu_buf_puts(w->m->out, w->rows == 1 ? "<th>" : "<td>", err);
    default: break;
    }
    w->blocks += act == PARA || act == HEAD || act == PRE;
    return QU_OK;
}

static qu_status put_label(writer *w, const char *label, qu_err *err)
{
    if (w->text) QU_TRY(qu_buf_puts(&w->para, "<br>", err));
    w->text = true;
    return qu_buf_printf(&w->para, err, "%s: ", label);
}

/* An element of a record: fields beside each other are lines of one paragraph, each with its name,
 * and what holds fields ends one. Attributes are fields "element attribute".
 *
 *   <item id="7"><name>Lamp</name><price>45</price></item>
 *                                       ->  item id: 7 / name: Lamp / price: 45 */
static qu_status start_field(writer *w, const qu_xml_event *e)
{
    qu_err *err = e->err;
    char value[256], label[2 * MAX_LABEL], own[MAX_LABEL];
    w->depth++;
    *w->label = 0;
    if (w->blocks > 0 || w->cell > 0 || (w->text && !w->ended)) return QU_OK;
    if (w->ended && w->depth != w->last) QU_TRY(end_para(w, err));
    for (int i = 0; w->section == 0 && i < MAX_ATTRIBUTES; i++) {
        if (!qu_xml_at(e, i, own, sizeof own, value, sizeof value)) break;
        if (!*value) continue;
        snprintf(label, sizeof label, "%.*s %s", MAX_LABEL - 1, e->name, own);
        QU_TRY(put_label(w, label, err));
        QU_TRY(qu_xml_escape(&w->para, value, (int64_t)strlen(value), err));
        w->ended = true;
        w->last = w->depth + 1;
    }
    snprintf(w->label, sizeof w->label, "%s", e->name);
    return QU_OK;
}

static qu_status end_field(writer *w, qu_err *err)
{
    int depth = w->depth--;
    *w->label = 0;
    if (w->blocks > 0 || w->cell > 0) return QU_OK;
    if (w->ended && w->last > depth) return end_para(w, err);
    w->ended = true;
    w->last = depth;
    return QU_OK;
}

static qu_status on_start(writer *w, action act, const qu_xml_event *e)
{
    switch (act) {
    case PASS: return QU_OK;
    case FIELD: return start_field(w, e);
    case RUN: w->run++; return QU_OK;
    case BREAK: return qu_buf_puts(&w->para, w->cell > 0 || w->titled ? " " : "<br>", e->err);
    case SPACE: return qu_buf_puts(&w->para, " ", e->err);
    case STYLE:
    case OUTLINE:
    case LISTED: set_property(w, act, e); return QU_OK;
    case SHAPE: w->titled = w->muted = false; return QU_OK;
    case HOLDER: set_holder(w, e); return QU_OK;
    default: return start_block(w, act, e);
    }
}

static qu_status on_end(writer *w, action act, qu_err *err)
{
    if (act == FIELD) return end_field(w, err);
    if (act == RUN) w->run--;
    if (act < PARA || (act >= RUN && act <= SPACE) || act == HOLDER ||
        (act >= STYLE && act <= LISTED))
        return QU_OK;
    QU_TRY(end_para(w, err));
    w->blocks -= act == PARA || act == HEAD || act == PRE;
    w->section -= act == SECTION;
    if (act == PARA || act == ITEM) w->item = false;
    if (act == PRE) w->pre = false;
    if (act == SHAPE) w->titled = w->muted = false;
    if (act == TABLE) return qu_buf_puts(w->m->out, "</table>\n", err);
    if (act == ROW) return qu_buf_puts(w->m->out, "</tr>\n", err);
    if (act != CELL || w->cell == 0) return QU_OK;
    w->cell--;
    return qu_buf_puts(w->m->out, w->rows == 1 ? "</th>" : "</td>", err);
}

static qu_status on_text(writer *w, const qu_xml_event *e)
{
    bool blank = true;
    if (w->muted || (w->m->kind == QU_MARKUP_OOXML && w->run <= 0)) return QU_OK;
    for (int64_t i = 0; i < e->n && blank; i++) blank = strchr(" \t\r\n", e->text[i]) && e->text[i];
    if (!blank) {
        if (*w->label) QU_TRY(put_label(w, w->label, e->err));
        *w->label = 0;
        w->text = true;
        w->ended = false;
    }
    return qu_xml_escape(&w->para, e->text, e->n, e->err);
}

static qu_status on_event(void *ctx, const qu_xml_event *e)
{
    writer *w = ctx;
    action act = find_action(w->rules, e->name);
    bool skip = w->skip > 0 || (act == SKIP && e->kind != QU_XML_TEXT);
    if (skip && e->kind != QU_XML_TEXT) w->skip += e->kind == QU_XML_START ? 1 : -1;
    if (skip) return QU_OK;
    return e->kind == QU_XML_START ? on_start(w, act, e)
           : e->kind == QU_XML_END ? on_end(w, act, e->err)
                                   : on_text(w, e);
}

qu_status qu_markup_write(const qu_markup *m, const void *p, int64_t n, qu_err *err)
{
    QU_OWN(free_writer) writer w = {.m = m,
                                    .rules = m->kind == QU_MARKUP_OOXML ? ooxml_rules
                                             : m->kind == QU_MARKUP_XML ? xml_rules
                                                                        : odf_rules};
    QU_TRY(qu_xml_parse(p, n, on_event, &w, err));
    w.cell = 0; /* of XML that was cut short */
    return end_para(&w, err);
}

/* --- styles --- */

typedef struct style_run {
    qu_markup_style *styles, open;
    int64_t n;
} style_run;

static qu_status on_style(void *ctx, const qu_xml_event *e)
{
    style_run *r = ctx;
    char value[64];
    int outline = qu_xml_number(e, "val", 9);
    if (qu_xml_is(e, QU_XML_START, "style")) {
        r->open.level = 0;
        qu_xml_get(e, "styleId", r->open.id, sizeof r->open.id);
    } else if (qu_xml_is(e, QU_XML_START, "name") && qu_xml_get(e, "val", value, sizeof value)) {
        if (strncasecmp(value, "heading ", 8) == 0) r->open.level = level_of(atoi(value + 8));
        if (strcasecmp(value, "title") == 0) r->open.level = 1;
    } else if (qu_xml_is(e, QU_XML_START, "outlineLvl") && outline < 9) {
        r->open.level = level_of(outline + 1);
    } else if (qu_xml_is(e, QU_XML_END, "style") && r->open.level > 0 && *r->open.id &&
               r->n < MAX_STYLES) {
        r->styles[r->n++] = r->open;
    }
    return QU_OK;
}

qu_status qu_markup_styles(qu_markup_style **styles, int64_t *n_styles, const void *p, int64_t n,
                           qu_err *err)
{
    style_run r = {0};
    QU_TRY(qu_memory_take(styles, MAX_STYLES, sizeof **styles, err));
    r.styles = *styles;
    qu_status st = qu_xml_parse(p, n, on_style, &r, err);
    *n_styles = r.n;
    return st;
}
