#include "ingest/sheet.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "ingest/xml.h"

enum {
    MAX_GAP = 64,       /* empty cells made in a row before one with a value */
    MAX_FORMATS = 4096, /* cell formats that are known */
    MAX_DATES = 256,    /* number formats of a file's own that are dates */
};

struct qu_sheet_book {
    qu_buf strings; /* escaped, one after the other */
    qu_buf ends;    /* int64_t: where each ends */
    bool date[MAX_FORMATS];
    int32_t n_formats;
    int32_t dates[MAX_DATES], n_dates;
    int in_text, in_formats; /* while it is read */
};

/* --- shared strings --- */

static qu_status on_string(void *ctx, const qu_xml_event *e)
{
    qu_sheet_book *b = ctx;
    int64_t end = (int64_t)b->strings.len;
    b->in_text += qu_xml_step(e, "t") - 9 * qu_xml_step(e, "rPh"); /* how it is pronounced */
    if (qu_xml_is(e, QU_XML_END, "si")) return qu_buf_add(&b->ends, &end, sizeof end, e->err);
    if (e->kind != QU_XML_TEXT || b->in_text <= 0) return QU_OK;
    return qu_xml_escape(&b->strings, e->text, e->n, e->err);
}

/* --- which formats are dates --- */

/* A format code with a day, month, year, hour or second outside quotes, brackets and escapes. */
static bool is_date_code(const char *s)
{
    for (; *s; s++) {
        const char *skip = *s == '"' ? strchr(s + 1, '"') : *s == '[' ? strchr(s, ']') : NULL;
        if (*s == '\\' && s[1]) skip = s + 1;
        if (skip)
            s = skip;
        else if (strchr("ymdhsYMDHS", *s))
            return true;
    }
    return false;
}

static qu_status on_format(void *ctx, const qu_xml_event *e)
{
    qu_sheet_book *b = ctx;
    char code[256];
    int32_t n = qu_xml_number(e, "numFmtId", 0);
    b->in_formats += qu_xml_step(e, "cellXfs");
    if (qu_xml_is(e, QU_XML_START, "numFmt") && qu_xml_get(e, "formatCode", code, sizeof code) &&
        is_date_code(code) && b->n_dates < MAX_DATES)
        b->dates[b->n_dates++] = n;
    if (!qu_xml_is(e, QU_XML_START, "xf") || !b->in_formats || b->n_formats == MAX_FORMATS)
        return QU_OK;
    bool date = (n >= 14 && n <= 22) || (n >= 45 && n <= 47);
    for (int32_t i = 0; i < b->n_dates; i++) date |= b->dates[i] == n;
    b->date[b->n_formats++] = date;
    return QU_OK;
}

qu_status qu_sheet_open(qu_sheet_book **out, const qu_buf *shared, const qu_buf *styles,
                        qu_err *err)
{
    QU_OWN(qu_sheet_closep) qu_sheet_book *b = NULL;
    *out = NULL;
    QU_TRY(qu_memory_take(&b, 1, sizeof *b, err));
    QU_TRY(qu_xml_parse(shared->data, (int64_t)shared->len, on_string, b, err));
    QU_TRY(qu_xml_parse(styles->data, (int64_t)styles->len, on_format, b, err));
    *out = QU_TAKE(b);
    return QU_OK;
}

void qu_sheet_close(qu_sheet_book *b)
{
    if (!b) return;
    qu_buf_free(&b->strings);
    qu_buf_free(&b->ends);
    free(b);
}

/* --- a sheet --- */

typedef struct sheet_run {
    const qu_sheet_book *b;
    qu_buf *out, value; /* the open cell's, as stored */
    int64_t rows;
    int column, written, format, in_value; /* of the open cell; cells written of its row */
    char type[12];
} sheet_run;

/* "C7" is column 2; -1 where it is no such name. */
static int column_of(const char *s)
{
    int n = 0;
    if (!isupper((unsigned char)*s)) return -1;
    for (; isupper((unsigned char)*s) && n < 1 << 20; s++) n = n * 26 + (*s - 'A' + 1);
    return n - 1;
}

/* Days since 1899-12-30 as a date, what is left of them as a time. */
static qu_status put_date(qu_buf *out, double serial, qu_err *err)
{
    enum { EPOCH = 25569 }; /* 1970-01-01 */
    int64_t minutes = llround(serial * 1440);
    time_t t = (time_t)((minutes - EPOCH * 1440ll) * 60);
    bool date = minutes >= 1440, clock = minutes % 1440 != 0 || !date;
    struct tm tm;
    char text[40];
    const char *how = date ? clock ? "%Y-%m-%d %H:%M" : "%Y-%m-%d" : "%H:%M";
    if (!gmtime_r(&t, &tm) || strftime(text, sizeof text, how, &tm) == 0) return QU_OK;
    return qu_buf_puts(out, text, err);
}

static qu_status put_cell(sheet_run *r, qu_err *err)
{
    const char *v = r->value.len ? r->value.data : "";
    const int64_t *ends = (const int64_t *)r->b->ends.data;
    int64_t n_strings = (int64_t)(r->b->ends.len / sizeof *ends);
    char *end;
    if (strcmp(r->type, "s") == 0) {
        int64_t i = atoll(v), from;
        if (i < 0 || i >= n_strings || !*v) return QU_OK;
        from = i > 0 ? ends[i - 1] : 0;
        return qu_buf_add(r->out, r->b->strings.data + from, (size_t)(ends[i] - from), err);
    }
    if (strcmp(r->type, "b") == 0) return qu_buf_puts(r->out, *v == '1' ? "TRUE" : "FALSE", err);
    double number = strtod(v, &end);
    bool plain = (!*r->type || strcmp(r->type, "n") == 0) && *v && !*end;
    if (plain && r->format >= 0 && r->format < r->b->n_formats && r->b->date[r->format] &&
        number >= 0 && number < 2958466)
        return put_date(r->out, number, err);
    if (plain && r->value.len > 15) /* 0.1 + 0.2 is stored with 17 digits and shown with 15 */
        return qu_buf_printf(r->out, err, "%.15g", number);
    return qu_xml_escape(r->out, v, (int64_t)r->value.len, err);
}

static void begin_cell(sheet_run *r, const qu_xml_event *e)
{
    char where[16];
    qu_xml_get(e, "r", where, sizeof where);
    qu_xml_get(e, "t", r->type, sizeof r->type);
    r->format = qu_xml_number(e, "s", -1);
    r->value.len = 0;
    r->column = column_of(where) >= 0 ? column_of(where) : r->column + 1;
}

/* Empty cells are written once one with a value follows: their column must stay its own. */
static qu_status end_cell(sheet_run *r, qu_err *err)
{
    const char *tag = r->rows == 1 ? "th" : "td";
    if (r->value.len == 0) return QU_OK;
    for (int i = 0; i < MAX_GAP && r->written < r->column; i++, r->written++)
        QU_TRY(qu_buf_printf(r->out, err, "<%s>-</%s>", tag, tag));
    r->written = r->column + 1;
    QU_TRY(qu_buf_printf(r->out, err, "<%s>", tag));
    QU_TRY(put_cell(r, err));
    return qu_buf_printf(r->out, err, "</%s>", tag);
}

static qu_status on_cell(void *ctx, const qu_xml_event *e)
{
    sheet_run *r = ctx;
    r->in_value += qu_xml_step(e, "v") + qu_xml_step(e, "t");
    if (e->kind == QU_XML_TEXT && r->in_value > 0)
        return qu_buf_add(&r->value, e->text, (size_t)e->n, e->err);
    if (qu_xml_is(e, QU_XML_START, "c")) begin_cell(r, e);
    if (qu_xml_is(e, QU_XML_END, "c")) return end_cell(r, e->err);
    if (qu_xml_is(e, QU_XML_END, "row")) return qu_buf_puts(r->out, "</tr>\n", e->err);
    if (!qu_xml_is(e, QU_XML_START, "row")) return QU_OK;
    r->column = -1;
    r->written = 0;
    r->rows++;
    return qu_buf_puts(r->out, "<tr>", e->err);
}

static void free_run(sheet_run *r)
{
    qu_buf_free(&r->value);
}

qu_status qu_sheet_write(const qu_sheet_book *book, qu_buf *html, const qu_buf *sheet, qu_err *err)
{
    QU_OWN(free_run) sheet_run r = {.b = book, .out = html};
    QU_TRY(qu_buf_puts(html, "<table>\n", err));
    QU_TRY(qu_xml_parse(sheet->data, (int64_t)sheet->len, on_cell, &r, err));
    return qu_buf_puts(html, "</table>\n", err);
}
