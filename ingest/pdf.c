#include "ingest/pdf.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "ingest/builder.h"
#include "ingest/xml.h"

enum {
    MAX_LINES = 1 << 21,
    LEAST_PAGES = 5, /* that have a running line */
    MAX_BOXES = 1 << 30,
    MAX_HEADING = 150,
};

static const double NARROW = .25; /* a block of less than this share of the page may be a cell */
static const double COLUMNS = .2; /* this share of lines with another wide one beside it: columns */
static const double LARGE = 1.2;  /* a heading's height as a multiple of the page's median */
static const double LARGEST = 1.6; /* one of the first level */
static const double TITLE = .9;    /* lines of the title are at least this share of the largest */
static const double MARGIN = .05;  /* a line that ends this close to the right edge is full */
static const double SPACING = 2;   /* lines of a paragraph are at most so many heights apart */
static const double EDGE = .1; /* running lines stand in this share of the page, above or below; */
static const double LAST =
    3; /* one with the page's number also within so many points of the last */
static const double RUNNING =
    .4; /* and on this share of the pages: left and right ones may differ */

typedef struct box {
    double x0, y0, x1, y1;
} box;

typedef struct line {
    box at;
    double width;           /* of its block */
    int64_t text, n, block; /* words[text, text + n); n 0: a running line, left out */
    int64_t row;            /* number of the row that it belongs to */
} line;

typedef struct page {
    int64_t first, n; /* all[first, first + n) */
    double width, height;
} page;

typedef struct layout {
    qu_pdf *pdf;
    qu_buf words; /* lines one after the other */
    line *all;
    page *pages, now; /* now: the one that is read */
    int64_t n_all, cap, n_pages, pages_cap, n_blocks;
    box block_at;
    bool in_line, in_word, in_title;
    line *lines; /* [n_lines] of the page that is put */
    int64_t n_lines, n_dropped;
    double width, height; /* of it */
    qu_buf scratch;       /* of pointers to lines */
} layout;

static void free_layout(layout *p)
{
    free(p->all);
    free(p->pages);
    qu_buf_free(&p->words);
    qu_buf_free(&p->scratch);
}

/* --- rows --- */

static int by_y(const void *a, const void *b)
{
    const line *x = *(line *const *)a, *y = *(line *const *)b;
    double d = x->at.y0 + x->at.y1 - y->at.y0 - y->at.y1;
    return d < 0 ? -1 : d > 0 ? 1 : (x->text > y->text) - (x->text < y->text);
}

static int by_row(const void *a, const void *b)
{
    const line *x = *(line *const *)a, *y = *(line *const *)b;
    if (x->row != y->row) return x->row < y->row ? -1 : 1;
    return x->at.x0 < y->at.x0   ? -1
           : x->at.x0 > y->at.x0 ? 1
                                 : (x->text > y->text) - (x->text < y->text);
}

static int by_height(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Of its letters; 0 for one that runs upwards, as in margins. */
static double height(const line *l)
{
    double h = l->at.y1 - l->at.y0;
    return l->n > 4 && h > 2 * (l->at.x1 - l->at.x0) ? 0 : h;
}

/* Number the rows from top to bottom; returns whether the page is set in columns. */
static bool find_rows(const layout *p, line **v)
{
    int64_t row = 0, wide_pairs = 0, first = 0;
    qsort(v, (size_t)p->n_lines, sizeof *v, by_y);
    for (int64_t i = 0; i < p->n_lines; i++) {
        double middle = (v[i]->at.y0 + v[i]->at.y1) / 2,
               above = (v[first]->at.y0 + v[first]->at.y1) / 2;
        double lower = height(v[i]) < height(v[first]) ? height(v[i]) : height(v[first]);
        if (i > 0 && middle - above > lower / 2) {
            row++;
            first = i;
        }
        v[i]->row = row;
        bool wide = v[i]->width >= NARROW * p->width;
        for (int64_t k = first; wide && k < i && k < first + 8; k++)
            if (v[k]->width >= NARROW * p->width) {
                wide_pairs++;
                break;
            }
    }
    return (double)wide_pairs > COLUMNS * (double)(row + 1 + p->n_dropped);
}

static double median_height(const layout *p, double *heights)
{
    for (int64_t i = 0; i < p->n_lines; i++) heights[i] = height(&p->lines[i]);
    qsort(heights, (size_t)p->n_lines, sizeof *heights, by_height);
    return p->n_lines ? heights[p->n_lines / 2] : 0;
}

/* --- text --- */

/* Does text end in a word that was divided, so that what begins with c goes on with it? */
static bool is_divided(const qu_buf *t, char c)
{
    size_t n = t->len;
    if (n > 2 && memcmp(t->data + n - 2, "\xC2\xAD", 2) == 0) return true;
    if (n < 3 || t->data[n - 1] != '-' || !islower((unsigned char)c)) return false;
    for (size_t i = n - 1; i > 0 && !qu_is_space(t->data[i - 1]); i--)
        if (t->data[i - 1] == '-' || isdigit((unsigned char)t->data[i - 1])) return false;
    return isalpha((unsigned char)t->data[n - 2]) || (t->data[n - 2] & 0x80);
}

/* One line's words behind what is there; with: what sets them apart. */
static qu_status put_line(layout *p, const line *l, const char *with, qu_err *err)
{
    qu_buf *t = &p->pdf->text;
    const char *words = p->words.data + l->text;
    if (*with == ' ' && is_divided(t, *words)) {
        t->len -= t->data[t->len - 1] == '-' ? 1 : 2;
        with = "";
    }
    QU_TRY(qu_buf_puts(t, with, err));
    return qu_buf_add(t, words, (size_t)l->n, err);
}

static qu_status add_heading(qu_pdf *pdf, int64_t at, int32_t level, int64_t n, qu_err *err)
{
    if (pdf->n_headings == QU_MAX_HEADINGS) return QU_OK;
    QU_TRY(
        qu_memory_grow(&pdf->headings, &pdf->cap, pdf->n_headings + 1, sizeof *pdf->headings, err));
    pdf->headings[pdf->n_headings++] = (qu_heading){at, level, at, at + n};
    return QU_OK;
}

/* Does l go on with the paragraph of the line before it? Poppler makes a block of each line of a
 * text with wide spacing: there it does below a line that ran to the right margin. */
static bool goes_on(const layout *p, const line *before, const line *l, double right)
{
    double h = height(before);
    if (before->block == l->block) return true;
    return before->at.x1 > right - MARGIN * p->width && l->at.x0 < before->at.x0 + h / 2 &&
           l->at.y0 > before->at.y0 && l->at.y0 - before->at.y1 < SPACING * h &&
           height(l) < LARGE * h && h < LARGE * height(l);
}

/* The lines of a page's upper half that are as large as the largest of its upper third. */
static qu_status find_title(layout *p, line *const *v, qu_err *err)
{
    qu_buf *t = &p->pdf->title;
    double most = 0, below = p->height / 3;
    for (int64_t i = 0; i < p->n_lines; i++)
        if (v[i]->at.y0 < below && height(v[i]) > most) most = height(v[i]);
    for (int64_t i = 0; i < p->n_lines && t->len < MAX_HEADING; i++) {
        if (v[i]->at.y0 >= 1.5 * below || height(v[i]) < TITLE * most || v[i]->n > MAX_HEADING)
            continue;
        if (v[i]->n < 4) continue; /* a check mark */
        if (t->len) QU_TRY(qu_buf_puts(t, " ", err));
        QU_TRY(qu_buf_add(t, p->words.data + v[i]->text, (size_t)v[i]->n, err));
    }
    return QU_OK;
}

/* Lines v in the order of the text. rows: those of one row are cells beside each other. */
static qu_status put_lines(layout *p, line *const *v, bool rows, double median, qu_err *err)
{
    qu_buf *t = &p->pdf->text;
    bool was_row = false;
    double right = 0;
    for (int64_t i = 0; i < p->n_lines; i++)
        if (p->lines[i].width >= NARROW * p->width && p->lines[i].at.x1 > right)
            right = p->lines[i].at.x1;
    for (int64_t i = 0; i < p->n_lines; i++) {
        const line *l = v[i], *before = i ? v[i - 1] : NULL;
        bool beside = rows && before && before->row == l->row;
        bool is_row = rows && (beside || (i + 1 < p->n_lines && v[i + 1]->row == l->row));
        bool same = before && !is_row && !was_row && goes_on(p, before, l, right);
        bool near = before && l->at.y0 - before->at.y1 < 1.5 * median && is_row && was_row;
        QU_TRY(put_line(p, l,
                        t->len == 0 ? ""
                        : beside    ? "\t"
                        : same      ? " "
                        : near      ? "\n"
                                    : "\n\n",
                        err));
        bool alone = !is_row && !same && (i + 1 == p->n_lines || !goes_on(p, l, v[i + 1], right));
        if (alone && height(l) > LARGE * median && l->n < MAX_HEADING)
            QU_TRY(add_heading(p->pdf, (int64_t)t->len - l->n, height(l) > LARGEST * median ? 1 : 2,
                               l->n, err));
        was_row = is_row;
    }
    return QU_OK;
}

static qu_status put_page(layout *p, const page *of, qu_err *err)
{
    qu_buf *t = &p->pdf->text;
    int64_t begin = (int64_t)t->len, first = p->pdf->n_headings;
    p->lines = of->n ? p->all + of->first : NULL;
    p->n_lines = 0;
    p->width = of->width;
    p->height = of->height;
    for (int64_t i = 0; i < of->n; i++)
        if (p->lines[i].n > 0) p->lines[p->n_lines++] = p->lines[i];
    p->n_dropped = of->n - p->n_lines;
    QU_TRY(add_heading(p->pdf, begin, 0, 0, err));
    p->scratch.len = 0;
    QU_TRY(qu_buf_reserve(&p->scratch, (size_t)p->n_lines * sizeof(line *) + 1, err));
    double median = median_height(p, (double *)(void *)p->scratch.data);
    line **v = (line **)(void *)p->scratch.data;
    for (int64_t i = 0; i < p->n_lines; i++) v[i] = &p->lines[i];
    bool columns = find_rows(p, v);
    if (columns)
        for (int64_t i = 0; i < p->n_lines; i++) v[i] = &p->lines[i];
    else
        qsort(v, (size_t)p->n_lines, sizeof *v, by_row);
    if (first == 0 && p->pdf->title.len == 0) QU_TRY(find_title(p, v, err));
    QU_TRY(put_lines(p, v, !columns, median, err));
    while (begin < (int64_t)t->len && begin > 0 && t->data[begin] == '\n') begin++;
    if (first < p->pdf->n_headings) { /* the page begins with its first word */
        qu_heading *h = &p->pdf->headings[first];
        h->at = h->text_start = h->text_end = begin;
    }
    return QU_OK;
}

/* --- running lines: the same at the edge of most pages --- */

typedef struct edge_line {
    uint64_t key;
    int64_t line, page;
} edge_line;

static int by_key(const void *a, const void *b)
{
    const edge_line *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->line > y->line) - (x->line < y->line);
}

/* Keys of a line: of its words, if literal; and for each number in it of the rest, and of how far
 * the number is from the page's. */
static qu_status add_keys(const layout *p, edge_line e, bool literal, qu_buf *edges, qu_err *err)
{
    const char *s = p->words.data + p->all[e.line].text;
    int64_t n = p->all[e.line].n, from = 0, to = 0, value = e.page;
    for (;;) {
        value -= e.page;
        e.key = qu_hash_sum(s, (size_t)from, 0);
        e.key = qu_hash_sum(s + to, (size_t)(n - to), e.key);
        e.key = qu_hash_sum(&value, sizeof value, e.key + (to > from));
        if (to > from || literal) QU_TRY(qu_buf_add(edges, &e, sizeof e, err));
        for (from = to; from < n && !isdigit((unsigned char)s[from]);) from++;
        if (from == n) return QU_OK;
        value = 0;
        for (to = from; to < n && to < from + 9 && isdigit((unsigned char)s[to]); to++)
            value = 10 * value + s[to] - '0';
    }
}

static qu_status find_edges(const layout *p, qu_buf *edges, qu_err *err)
{
    for (int64_t i = 0; i < p->n_pages; i++) {
        const page *of = &p->pages[i];
        double edge = EDGE * of->height, last = 0;
        for (int64_t k = of->first; k < of->first + of->n; k++)
            last = fmax(last, p->all[k].at.y1);
        for (int64_t k = of->first; k < of->first + of->n; k++) {
            const line *l = &p->all[k];
            bool at_edge = l->at.y1 <= edge || l->at.y0 >= of->height - edge;
            if (at_edge || l->at.y1 >= last - LAST)
                QU_TRY(add_keys(p, (edge_line){0, k, i}, at_edge, edges, err));
        }
    }
    return QU_OK;
}

/* Leave them out, but for the first of those that have words: it may say what no other place
 * says. */
static qu_status drop_running(layout *p, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf edges = {0};
    QU_TRY(find_edges(p, &edges, err));
    edge_line *e = (edge_line *)(void *)edges.data;
    int64_t n = (int64_t)(edges.len / sizeof *e);
    double least = fmax(LEAST_PAGES, RUNNING * (double)p->n_pages);
    if (n > 0) qsort(e, (size_t)n, sizeof *e, by_key);
    for (int64_t i = 0, end; i < n; i = end) {
        int64_t pages = 1;
        bool words = false;
        for (end = i + 1; end < n && e[end].key == e[i].key; end++)
            pages += e[end].page != e[end - 1].page;
        line *first = &p->all[e[i].line];
        for (int64_t k = 0; k < first->n; k++)
            words = words || (unsigned char)p->words.data[first->text + k] > '9';
        for (int64_t k = i + words; k < end && (double)pages >= least; k++) p->all[e[k].line].n = 0;
    }
    return QU_OK;
}

/* --- what pdftotext writes: page, block, line, word --- */

static double number(const qu_xml_event *e, const char *name)
{
    char s[32];
    qu_xml_get(e, name, s, sizeof s);
    double d = strtod(s, NULL);
    return d > -1e6 && d < 1e6 ? d : 0;
}

static qu_status begin_line(layout *p, box at, qu_err *err)
{
    if (p->n_all == MAX_LINES || p->in_line) return QU_OK;
    QU_TRY(qu_memory_grow(&p->all, &p->cap, p->n_all + 1, sizeof *p->all, err));
    p->all[p->n_all] =
        (line){at, p->block_at.x1 - p->block_at.x0, (int64_t)p->words.len, 0, p->n_blocks, 0};
    p->in_line = true;
    return QU_OK;
}

static qu_status end_page(layout *p, qu_err *err)
{
    p->now.n = p->n_all - p->now.first;
    p->in_line = p->in_word = false;
    QU_TRY(qu_memory_grow(&p->pages, &p->pages_cap, p->n_pages + 1, sizeof *p->pages, err));
    p->pages[p->n_pages++] = p->now;
    p->now.first = p->n_all;
    return QU_OK;
}

/* Titles that programs make up: file names, numbers. */
static bool is_title(const char *s)
{
    int letters = 0;
    for (const char *p = s; *p; p++) letters += isalpha((unsigned char)*p) || (*p & 0x80);
    return letters > 3 && strncmp(s, "Microsoft ", 10) != 0 && !strcasestr(s, ".doc") &&
           !strcasestr(s, ".indd") && !strcasestr(s, "untitled");
}

/* Controls would move every offset when the text is cleaned. */
static qu_status put_words(layout *p, const qu_xml_event *e)
{
    if (p->in_title) return qu_buf_add(&p->pdf->title, e->text, (size_t)e->n, e->err);
    for (int64_t i = 0; i < e->n && p->in_word; i++) {
        char c = (unsigned char)e->text[i] <= ' ' || e->text[i] == 0x7F ? ' ' : e->text[i];
        QU_TRY(qu_buf_add(&p->words, &c, 1, e->err));
    }
    return QU_OK;
}

static qu_status on_start(layout *p, const qu_xml_event *e)
{
    box at = {number(e, "xMin"), number(e, "yMin"), number(e, "xMax"), number(e, "yMax")};
    if (strcmp(e->name, "line") == 0) return begin_line(p, at, e->err);
    if (strcmp(e->name, "page") == 0)
        p->now = (page){p->n_all, 0, number(e, "width"), number(e, "height")};
    if (strcmp(e->name, "block") == 0) {
        p->block_at = at;
        p->n_blocks++;
    }
    if (strcmp(e->name, "word") != 0 || !p->in_line) return QU_OK;
    p->in_word = true;
    return (int64_t)p->words.len > p->all[p->n_all].text ? qu_buf_puts(&p->words, " ", e->err)
                                                         : QU_OK;
}

static qu_status on_event(void *ctx, const qu_xml_event *e)
{
    layout *p = ctx;
    int title = qu_xml_step(e, "title");
    if (title) p->in_title = title > 0;
    if (title < 0 && p->pdf->title.len && !is_title(p->pdf->title.data)) p->pdf->title.len = 0;
    if (e->kind == QU_XML_TEXT) return put_words(p, e);
    if (e->kind == QU_XML_START) return on_start(p, e);
    if (strcmp(e->name, "word") == 0) p->in_word = false;
    if (strcmp(e->name, "line") == 0 && p->in_line) { /* lines in lines are one */
        line *l = &p->all[p->n_all];
        l->n = (int64_t)p->words.len - l->text;
        p->n_all += l->n > 0;
        p->in_line = p->in_word = false;
    }
    return strcmp(e->name, "page") == 0 ? end_page(p, e->err) : QU_OK;
}

qu_status qu_pdf_read_boxes(qu_pdf *pdf, const char *boxes, int64_t n, qu_err *err)
{
    QU_OWN(free_layout) layout p = {.pdf = pdf};
    QU_TRY(qu_xml_parse(boxes, n, on_event, &p, err));
    QU_TRY(drop_running(&p, err));
    for (int64_t i = 0; i < p.n_pages; i++) QU_TRY(put_page(&p, &p.pages[i], err));
    return QU_OK;
}

/* --- the program --- */

const char *qu_pdf_program(void)
{
    static const char *const places[] = {"/usr/bin/pdftotext", "/usr/local/bin/pdftotext",
                                         "/bin/pdftotext"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], X_OK) == 0) return places[i];
    return NULL;
}

/* What it makes of the bytes, and its exit code. It reads all of them before it writes, so one
 * after the other will do. */
static qu_status run(const char *program, const void *bytes, int64_t n, const char *shown,
                     qu_buf *boxes, int *code, qu_err *err)
{
    char *const argv[] = {"pdftotext", "-q", "-bbox-layout", "-", "-", NULL}, *const env[] = {NULL};
    int in[2], out[2];
    pid_t pid;
    if (pipe2(in, O_CLOEXEC) != 0) return qu_os_fail(err, errno, "make a pipe for", shown);
    QU_OWN(qu_os_closep) int its_in = in[0], to = in[1];
    if (pipe2(out, O_CLOEXEC) != 0) return qu_os_fail(err, errno, "make a pipe for", shown);
    QU_OWN(qu_os_closep) int from = out[0], its_out = out[1];
    QU_TRY(qu_os_spawn(&pid, program, argv, env, (int[]){its_in, its_out, -1}, false, err));
    qu_os_closep(&its_in);
    qu_os_closep(&its_out);
    qu_os_write(to, bytes, (size_t)n, shown, NULL); /* if it gave up, it says so */
    qu_os_closep(&to);
    qu_status st = qu_os_read_fd(boxes, from, shown, MAX_BOXES, err);
    qu_os_closep(&from);
    while (waitpid(pid, code, 0) < 0 && errno == EINTR) {
    }
    return st;
}

qu_status qu_pdf_read(qu_pdf *pdf, const void *bytes, int64_t n, const char *shown,
                      const char *program, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf boxes = {0};
    int code = 0;
    if (!program)
        return qu_fail(err, QU_ERR_UNSUPPORTED,
                       "cannot read '%.100s': PDF needs pdftotext, install poppler-utils", shown);
    QU_TRY(run(program, bytes, n, shown, &boxes, &code, err));
    QU_TRY(qu_pdf_read_boxes(pdf, boxes.data, (int64_t)boxes.len, err));
    if (pdf->text.len > 0) return QU_OK;
    if (code != 0 && memmem(bytes, (size_t)n, "/Encrypt", 8))
        return qu_fail(
            err, QU_ERR_UNSUPPORTED,
            "'%.100s' is encrypted: store it without a password, e.g. with qpdf --decrypt", shown);
    if (code != 0)
        return qu_fail(err, QU_ERR_FORMAT, "'%.100s' is damaged: no PDF that can be read", shown);
    return qu_fail(err, QU_ERR_UNSUPPORTED,
                   "'%.100s' holds images only: recognise its text first, e.g. with ocrmypdf",
                   shown);
}

void qu_pdf_free(qu_pdf *pdf)
{
    qu_buf_free(&pdf->text);
    qu_buf_free(&pdf->title);
    free(pdf->headings);
    memset(pdf, 0, sizeof *pdf);
}
