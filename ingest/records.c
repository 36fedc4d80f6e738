/* CSV, TSV and JSON Lines: each record a paragraph of "name: value" lines, so that whoever meets
 * one record alone, a reader or the word index, also meets the names of its columns.
 *
 *   id,name,price          id: 7
 *   7,"Lamp, red",45  ->   name: Lamp, red
 *                          price: 45
 *
 * Empty values are left out. A file that is not such a table, or whose names would make it more
 * than MAX_GROWTH times as long, leaves b->text empty: the caller then takes it for plain text.
 */
#include <jansson.h>

#include "ingest/builder.h"

enum {
    MAX_COLUMNS = 1000,
    MAX_NAME_BYTES = 100,
    MAX_QUOTED_BYTES = 1 << 20, /* a longer one was not closed: the quote is a character */
    MAX_GROWTH = 4,
    MAX_DEPTH = 16,           /* of names in each other */
    MAX_LINE_BYTES = 4 << 20, /* longer ones are left as they are */
};

/* The value s[at, end), its quotes taken off. */
typedef struct field {
    int64_t at, end;
} field;

typedef struct table {
    qu_builder *b;
    const char *s;
    int64_t n;
    char delimiter;
    field names[MAX_COLUMNS], row[MAX_COLUMNS];
    int n_names;
} table;

static bool too_long(const qu_builder *b, int64_t n)
{
    return (int64_t)b->text.len > MAX_GROWTH * n + (1 << 16);
}

static int64_t field_end(const table *t, int64_t i)
{
    while (i < t->n && t->s[i] != t->delimiter && t->s[i] != '\n') i++;
    return i;
}

/* Read one record from *at; *at moves behind it. The number of its fields, -1 for too many. */
static int read_row(table *t, int64_t *at)
{
    const char *s = t->s;
    int n = 0;
    for (int64_t i = *at;; i++) {
        if (n == MAX_COLUMNS) return -1;
        field *f = &t->row[n++];
        int64_t stop = t->n - i < MAX_QUOTED_BYTES ? t->n : i + MAX_QUOTED_BYTES, close = i + 1;
        if (i < t->n && s[i] == '"')
            while (close < stop && (s[close] != '"' || (close + 1 < stop && s[close + 1] == '"')))
                close += 1 + (s[close] == '"');
        bool quoted = i < t->n && s[i] == '"' && close < stop;
        *f = quoted ? (field){i + 1, close} : (field){i, field_end(t, i)};
        i = quoted ? field_end(t, close) : f->end;
        while (f->end > f->at && qu_is_space(s[f->end - 1])) f->end--;
        while (f->at < f->end && qu_is_space(s[f->at])) f->at++;
        if (i >= t->n || s[i] == '\n') {
            *at = i + 1;
            return n;
        }
    }
}

/* Copy a value: doubled quotes are one, line ends are blanks. */
static qu_status put_value(table *t, field f, bool mapped, qu_err *err)
{
    qu_buf *to = &t->b->text;
    for (int64_t i = f.at, j; i < f.end; i = j) {
        for (j = i; j < f.end && t->s[j] != '\n' &&
                    !(t->s[j] == '"' && j + 1 < f.end && t->s[j + 1] == '"');
             j++) {
        }
        bool quote = j < f.end && t->s[j] == '"';
        j += quote;
        if (mapped) QU_TRY(qu_runs_add(&t->b->runs, (int64_t)to->len, i, j - i, err));
        QU_TRY(qu_buf_add(to, t->s + i, (size_t)(j - i), err));
        if (j < f.end && !quote) QU_TRY(qu_buf_puts(to, " ", err));
        j += j < f.end;
    }
    return QU_OK;
}

static qu_status put_row(table *t, int n, qu_err *err)
{
    qu_buf *to = &t->b->text;
    bool first = true;
    for (int i = 0; i < n; i++) {
        if (t->row[i].at == t->row[i].end) continue;
        if (to->len) QU_TRY(qu_buf_puts(to, first ? "\n\n" : "\n", err));
        QU_TRY(qu_builder_mark(t->b, (int64_t)to->len, first ? QU_CUT_PARAGRAPH : QU_CUT_LINE,
                               false, err));
        first = false;
        if (i < t->n_names) {
            QU_TRY(put_value(t, t->names[i], false, err));
            QU_TRY(qu_buf_puts(to, ": ", err));
        }
        QU_TRY(put_value(t, t->row[i], true, err));
    }
    return QU_OK;
}

/* Is the first row one of names: two and more, short, none a number, and the next as long? */
static bool read_names(table *t, int64_t *at)
{
    int n = read_row(t, at);
    if (n < 2) return false;
    for (int i = 0; i < n; i++) {
        field f = t->names[i] = t->row[i];
        char *end, text[MAX_NAME_BYTES + 1];
        int64_t len = f.end - f.at;
        if (len == 0 || len > MAX_NAME_BYTES) return false;
        memcpy(text, t->s + f.at, (size_t)len);
        text[len] = 0;
        strtod(text, &end);
        if (!*end) return false;
    }
    int64_t next = *at;
    t->n_names = n;
    return next < t->n && read_row(t, &next) == n;
}

/* The one of the usual delimiters that the first line has most of. */
static char find_delimiter(const char *s, int64_t n)
{
    int64_t count[4] = {0};
    static const char usual[] = ",;\t|";
    int best = 0;
    for (int64_t i = 0; i < n && s[i] != '\n'; i++) {
        const char *p = s[i] ? strchr(usual, s[i]) : NULL;
        if (p) count[p - usual]++;
    }
    for (int i = 1; i < 4; i++)
        if (count[i] > count[best]) best = i;
    return usual[best];
}

qu_status qu_csv_parse(qu_builder *b, const char *s, int64_t n, qu_err *err)
{
    int64_t at = 0;
    QU_OWN(qu_freep) table *t = NULL;
    QU_TRY(qu_memory_take(&t, 1, sizeof *t, err));
    t->b = b;
    t->s = s;
    t->n = n;
    t->delimiter = find_delimiter(s, n);
    bool is_table = read_names(t, &at);
    for (int fields; is_table && at < n;) {
        QU_TRY(qu_runs_add(&b->runs, (int64_t)b->text.len, b->text.len ? at : 0, 0, err));
        is_table = (fields = read_row(t, &at)) >= 0 && !too_long(b, n);
        if (is_table) QU_TRY(put_row(t, fields, err));
    }
    QU_TRY(qu_runs_add(&b->runs, (int64_t)b->text.len, n, 0, err));
    if (!is_table) b->text.len = 0;
    for (int i = 0; is_table && i < t->n_names; i++) /* the title says what the columns are */
        QU_TRY(qu_buf_printf(&b->title, err, "%s%.*s", i ? ", " : "",
                                 (int)(t->names[i].end - t->names[i].at), s + t->names[i].at));
    return QU_OK;
}

/* JSON Lines on their way. */
typedef struct lines {
    qu_builder *b;
    qu_buf path; /* the name of the value at hand: "a.b" */
    int64_t n;   /* bytes of the file */
    bool first;  /* no value of this record yet */
} lines;

static void free_lines(lines *l) { qu_buf_free(&l->path); }

static qu_status put_line(lines *l, const char *value, qu_err *err)
{
    qu_buf *to = &l->b->text;
    if (!*value || too_long(l->b, l->n)) return QU_OK;
    if (to->len) QU_TRY(qu_buf_puts(to, l->first ? "\n\n" : "\n", err));
    size_t from = to->len;
    QU_TRY(qu_builder_mark(l->b, (int64_t)from, l->first ? QU_CUT_PARAGRAPH : QU_CUT_LINE, false,
                           err));
    l->first = false;
    if (l->path.len) QU_TRY(qu_buf_printf(to, err, "%s: ", l->path.data));
    QU_TRY(qu_buf_puts(to, value, err));
    for (size_t i = from; i < to->len; i++) {
        char c = to->data[i];
        if (((uint8_t)c < ' ' && c != '\n' && c != '\t') || c == 0x7F) to->data[i] = ' ';
    }
    return QU_OK;
}

/* A line for each scalar in v. */
static qu_status put_json(lines *l, json_t *v, int depth, qu_err *err)
{
    const size_t len = l->path.len;
    const char *key;
    json_t *inner;
    size_t i;
    if (json_is_string(v)) return put_line(l, json_string_value(v), err);
    if (json_is_null(v)) return QU_OK;
    if (json_is_object(v) && depth < MAX_DEPTH) {
        json_object_foreach(v, key, inner)
        {
            QU_TRY(qu_buf_printf(&l->path, err, "%s%s", len ? "." : "", key));
            QU_TRY(put_json(l, inner, depth + 1, err));
            l->path.len = len;
            l->path.data[len] = 0;
        }
        return QU_OK;
    }
    if (json_is_array(v) && depth < MAX_DEPTH) {
        json_array_foreach(v, i, inner) QU_TRY(put_json(l, inner, depth + 1, err));
        return QU_OK;
    }
    QU_OWN(qu_freep) char *text = json_dumps(v, JSON_ENCODE_ANY);
    return text ? put_line(l, text, err) : qu_fail_nomem(err, 0);
}

qu_status qu_jsonl_parse(qu_builder *b, const char *s, int64_t n, qu_err *err)
{
    QU_OWN(free_lines) lines l = {.b = b, .n = n};
    bool is_table = false;
    for (int64_t at = 0, end; at < n; at = end + 1) {
        const char *nl = memchr(s + at, '\n', (size_t)(n - at));
        end = nl ? nl - s : n;
        json_t *v =
            end - at > MAX_LINE_BYTES ? NULL : json_loadb(s + at, (size_t)(end - at), 0, NULL);
        QU_TRY(qu_runs_add(&b->runs, (int64_t)b->text.len, b->text.len ? at : 0, 0, err));
        l.first = true;
        l.path.len = 0;
        is_table |= v != NULL;
        qu_status st = v ? put_json(&l, v, 0, err) : QU_OK;
        json_decref(v);
        QU_TRY(st);
        int64_t from = at;
        while (from < end && qu_is_space(s[from])) from++;
        if (v || from == end) continue;
        QU_TRY(qu_buf_puts(&b->text, b->text.len ? "\n\n" : "", err)); /* no JSON: as it is */
        QU_TRY(qu_builder_mark(b, (int64_t)b->text.len, QU_CUT_PARAGRAPH, false, err));
        QU_TRY(qu_runs_add(&b->runs, (int64_t)b->text.len, from, end - from, err));
        QU_TRY(qu_buf_add(&b->text, s + from, (size_t)(end - from), err));
    }
    QU_TRY(qu_runs_add(&b->runs, (int64_t)b->text.len, n, 0, err));
    if (!is_table || too_long(b, n)) b->text.len = 0;
    return QU_OK;
}
