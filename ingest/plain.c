/* Text files. Plain text, Markdown and source code stay as they are; only cuts and headings are
 * found here. */
#include <stdio.h>

#include "ingest/builder.h"

enum {
    WRAPPED_MIN_BYTES = 40, /* a shorter line was not ended by a right margin */
    MAX_DEFINITION_BYTES = 200,
};

/* One line: text[at, end), then '\n' or the end of the text. */
typedef struct line {
    int64_t at, end, next;
    int64_t indent; /* blanks at its begin */
    bool blank;
} line;

/* The line at text offset at; false at the end. */
static bool line_at(line *l, const qu_buf *text, int64_t at)
{
    int64_t n = (int64_t)text->len;
    if (at >= n) return false;
    const char *nl = memchr(text->data + at, '\n', (size_t)(n - at));
    l->at = at;
    l->end = nl ? nl - text->data : n;
    l->next = nl ? l->end + 1 : n;
    l->indent = 0;
    while (at + l->indent < l->end && strchr(" \t", text->data[at + l->indent])) l->indent++;
    l->blank = at + l->indent == l->end;
    return true;
}

/* Does the line end where a sentence, clause or statement does? */
static bool line_closed(const char *t, const line *l)
{
    int64_t e = l->end;
    while (e > l->at && strchr(" \t\"')]", t[e - 1])) e--;
    if (e == l->at) return true;
    if (e - l->at >= 3 && memcmp(t + e - 3, "\xE3\x80\x82", 3) == 0) return true;
    return strchr(".!?:;{}|", t[e - 1]) != NULL;
}

/* Does the line break between two lines look like a right margin's, so that prose goes on? */
static bool soft_break(const char *t, const line *before, const line *after)
{
    char c = t[after->at];
    bool goes_on = (c >= 'a' && c <= 'z') || (c & 0x80);
    return goes_on && before->end - before->at >= WRAPPED_MIN_BYTES && !line_closed(t, before);
}

/* Mark a line inside a block of prose: a poor cut, and none where a sentence may end. */
static qu_status mark_wrapped(qu_builder *b, const line *before, const line *l, qu_err *err)
{
    if (line_closed(b->text.data, before)) return QU_OK;
    return qu_builder_mark(b, l->at, QU_CUT_WORD, false, err);
}

/* One block of lines without a blank one, from first on. It is prose when a third of its line
 * breaks look like a margin's; else each line stands for itself. *next is the offset behind it. */
static qu_status plain_block(qu_builder *b, const line *first, int64_t *next, qu_err *err)
{
    line l, before = *first;
    int64_t breaks = 0, soft = 0;
    for (*next = first->next; line_at(&l, &b->text, *next) && !l.blank; *next = l.next) {
        breaks++;
        soft += soft_break(b->text.data, &before, &l);
        before = l;
    }
    int64_t end = *next;
    QU_TRY(qu_builder_mark(b, first->at, QU_CUT_PARAGRAPH, false, err));
    before = *first;
    for (int64_t at = first->next; at < end && line_at(&l, &b->text, at); at = l.next) {
        if (soft * 3 >= breaks)
            QU_TRY(mark_wrapped(b, &before, &l, err));
        else
            QU_TRY(qu_builder_mark(b, l.at, QU_CUT_LINE, false, err));
        before = l;
    }
    return QU_OK;
}

static qu_status plain_parse(qu_builder *b, qu_err *err)
{
    line l;
    for (int64_t at = 0; line_at(&l, &b->text, at);) {
        at = l.next;
        if (!l.blank) QU_TRY(plain_block(b, &l, &at, err));
    }
    return QU_OK;
}

/* Level of an ATX heading line and its characters, 0 if it is none. */
static int32_t atx_heading(const char *t, const line *l, int64_t *from, int64_t *to)
{
    int64_t p = l->at + l->indent, e = l->end;
    int32_t level = 0;
    while (p < e && t[p] == '#' && level < 7) p++, level++;
    if (level == 0 || level > 6 || l->indent > 3 || (p < e && !strchr(" \t", t[p]))) return 0;
    while (p < e && strchr(" \t", t[p])) p++;
    while (e > p && strchr(" \t", t[e - 1])) e--;
    int64_t bare = e; /* a closing row of '#' is no part of it */
    while (bare > p && t[bare - 1] == '#') bare--;
    if (bare == p || strchr(" \t", t[bare - 1])) e = bare;
    while (e > p && strchr(" \t", t[e - 1])) e--;
    *from = p;
    *to = e;
    return level;
}

/* Level that an underline gives to the line above it: "===" 1, "---" 2, else 0. */
static int32_t underline(const char *t, const line *l)
{
    int64_t p = l->at + l->indent, e = l->end;
    while (e > p && strchr(" \t", t[e - 1])) e--;
    if (l->indent > 3 || p == e || (t[p] != '=' && t[p] != '-')) return 0;
    for (int64_t i = p; i < e; i++)
        if (t[i] != t[p]) return 0;
    return t[p] == '=' ? 1 : e - p >= 2 ? 2 : 0;
}

/* Length of the fence that a line opens or closes, 0 if it is none. *mark is its character. */
static int64_t fence(const char *t, const line *l, char *mark)
{
    int64_t p = l->at + l->indent, n = 0;
    if (l->blank || (t[p] != '`' && t[p] != '~')) return 0;
    while (p + n < l->end && t[p + n] == t[p]) n++;
    *mark = t[p];
    return n >= 3 ? n : 0;
}

/* List item, table row or quotation: a line that stands for itself. */
static bool own_line(const char *t, const line *l)
{
    const char *p = t + l->at + l->indent;
    int64_t n = l->end - l->at - l->indent, i = 0;
    if (n == 0) return false;
    if (*p == '|' || *p == '>') return true;
    if (strchr("-*+", *p)) return n > 1 && strchr(" \t", p[1]);
    while (i < n && i < 9 && p[i] >= '0' && p[i] <= '9') i++;
    return i > 0 && i + 1 < n && strchr(".)", p[i]) && p[i + 1] == ' ';
}

/* The row of dashes below the head of a table. */
static bool is_rule(const char *t, const line *l)
{
    int64_t i = l->at + l->indent;
    bool dash = false;
    for (; i < l->end && strchr("|-: \t", t[i]); i++) dash |= t[i] == '-';
    return i == l->end && dash && t[l->at + l->indent] == '|';
}

/* A fenced block that opens at l; *next is the offset behind it. */
static qu_status fenced(qu_builder *b, const line *open, int64_t n_open, char mark, int64_t *next,
                        qu_err *err)
{
    line l;
    char c = 0;
    QU_TRY(qu_builder_mark(b, open->at, QU_CUT_PARAGRAPH, true, err));
    for (*next = open->next; line_at(&l, &b->text, *next);) {
        *next = l.next;
        if (fence(b->text.data, &l, &c) >= n_open && c == mark) break;
        if (l.at == open->next || l.blank) continue; /* the fences stay with their code */
        QU_TRY(qu_builder_mark(b, l.at, QU_CUT_LINE, true, err));
    }
    return QU_OK;
}

/* Mark and record the line as a heading if it is one. *next is the offset behind it. */
static qu_status heading(qu_builder *b, const line *l, bool paragraph_goes_on, int64_t *next,
                         bool *found, qu_err *err)
{
    line under;
    const char *t = b->text.data;
    int64_t from = l->at + l->indent, to = l->end;
    int32_t level = atx_heading(t, l, &from, &to);
    *found = false;
    if (!level && !paragraph_goes_on && !own_line(t, l) && line_at(&under, &b->text, l->next)) {
        level = underline(t, &under);
        if (level) *next = under.next;
        while (to > from && strchr(" \t", t[to - 1])) to--;
    }
    if (!level) return QU_OK;
    *found = true;
    QU_TRY(qu_builder_mark(b, l->at, QU_CUT_HEADING, true, err));
    return qu_builder_heading(b, (qu_heading){l->at, level, from, to}, err);
}

static qu_status markdown_parse(qu_builder *b, qu_err *err)
{
    line l, before = {.blank = true};
    const char *t = b->text.data;
    int64_t n_fence;
    char c = 0;
    bool found, goes_on = false; /* inside a paragraph of prose */
    for (int64_t at = 0; line_at(&l, &b->text, at); before = l) {
        at = l.next;
        if (l.blank) {
            goes_on = false;
            continue;
        }
        QU_TRY(heading(b, &l, goes_on, &at, &found, err));
        if (found) {
            goes_on = false;
            l.blank = true; /* what follows begins a block */
        } else if ((n_fence = fence(t, &l, &c)) > 0) {
            QU_TRY(fenced(b, &l, n_fence, c, &at, err));
            goes_on = false;
            l.blank = true;
        } else if (!before.blank && t[l.at + l.indent] == '|' &&
                   (is_rule(t, &l) || is_rule(t, &before))) {
            goes_on = false; /* the first row of a table stays with its head */
        } else if (own_line(t, &l) || (!goes_on && l.indent >= 4)) {
            bool first = before.blank && !l.indent;
            QU_TRY(qu_builder_mark(b, l.at, first ? QU_CUT_PARAGRAPH : QU_CUT_LINE, false, err));
            goes_on = own_line(t, &l) && !strchr("|>", t[l.at + l.indent]);
        } else if (goes_on) {
            QU_TRY(mark_wrapped(b, &before, &l, err));
        } else {
            QU_TRY(qu_builder_mark(b, l.at, before.blank ? QU_CUT_PARAGRAPH : QU_CUT_LINE, false,
                                   err));
            goes_on = true;
        }
    }
    return QU_OK;
}

/* Does a definition begin in the line: a word of those that begin one in any language, or a name
 * with a bracket at the left margin? */
static bool is_definition(const char *t, const line *l)
{
    static const char words[] = "def class func fn function sub struct enum trait impl module type "
                                "interface namespace package public private protected pub static "
                                "async export abstract final CREATE create";
    static const char others[] = "if for while switch return else do case with assert print import";
    const char *p = t + l->at + l->indent;
    int64_t n = l->end - l->at - l->indent, word = 0;
    if (n == 0 || strchr(";,", t[l->end - 1])) return false;
    while (word < n && ((p[word] | 32) >= 'a') && ((p[word] | 32) <= 'z')) word++;
    bool space = word + 1 < n && (p[word] == ' ' || strncmp(p, "impl<", 5) == 0);
    if (space && qu_is_listed(words, p, word)) return true;
    return !l->indent && word > 0 && memchr(p, '(', (size_t)n) && !qu_is_listed(others, p, word);
}

/* The first words of the comment that a file opens with, as its title. */
static qu_status code_title(qu_builder *b, const line *l, qu_err *err)
{
    static const char marks[] = "/*#;%!-\"' \t";
    const char *p = b->text.data + l->at, *end = b->text.data + l->end;
    if (!strchr("/#;%-\"'", *p) || strncmp(p, "#!", 2) == 0 || strncmp(p, "#inc", 4) == 0)
        return QU_OK;
    while (p < end && strchr(marks, *p)) p++;
    while (end > p && strchr(marks, end[-1])) end--;
    return qu_buf_add(&b->title, p, (size_t)(end - p), err);
}

/* Source code: a definition with the comment above it begins a block, and its line is a heading, so
 * that whatever is cited from it is cited with its name. */
static qu_status code_parse(qu_builder *b, qu_err *err)
{
    line l, before = {.blank = true};
    const char *t = b->text.data;
    int64_t block =
        0; /* where the lines began that stand with this one, if no definition did yet */
    for (int64_t at = 0; line_at(&l, &b->text, at); before = l) {
        at = l.next;
        if (l.blank) continue;
        if (!b->marked) QU_TRY(code_title(b, &l, err));
        bool closes = strchr("})]", t[l.at]) != NULL;
        bool begins = before.blank || (t[before.at] == '}' && before.indent == 0);
        bool top = !l.indent && !closes && begins;
        if (begins || block > l.at) block = l.at;
        QU_TRY(qu_builder_mark(b, l.at,
                               top                       ? QU_CUT_PARAGRAPH
                               : before.blank && !closes ? QU_CUT_LINE
                                                         : QU_CUT_SENTENCE,
                               true, err));
        if (!is_definition(t, &l)) continue;
        int64_t end = l.end;
        while (end > l.at && strchr(" \t{:", t[end - 1])) end--;
        if (end - l.at > MAX_DEFINITION_BYTES) continue;
        qu_heading h = {block, l.indent ? 2 : 1, l.at + l.indent, end};
        QU_TRY(qu_builder_heading(b, h, err));
        block = l.next;
    }
    return QU_OK;
}

const char *const qu_markdown_names[] = {".md", ".markdown", ".mdown", ".mkd", NULL};

qu_status qu_text_parse(qu_builder *b, const char *name, char format[16], qu_err *err)
{
    static const struct {
        const char *name;
        qu_status (*parse)(qu_builder *b, qu_err *err);
        qu_rewrite_fn *rewrite;
        const char *endings[48];
    } formats[] = {
        {"csv", NULL, qu_csv_parse, {".csv", ".tsv"}},
        {"jsonl", NULL, qu_jsonl_parse, {".jsonl", ".ndjson"}},
        {"code", code_parse, NULL, {".c",   ".h",    ".cc",   ".cpp",   ".hpp",  ".cxx", ".cu",
                                    ".cs",  ".java", ".kt",   ".scala", ".go",   ".rs",  ".swift",
                                    ".m",   ".py",   ".rb",   ".pl",    ".pm",   ".php", ".js",
                                    ".mjs", ".jsx",  ".ts",   ".tsx",   ".lua",  ".r",   ".jl",
                                    ".sh",  ".bash", ".sql",  ".zig",   ".dart", ".ex",  ".hs",
                                    ".ml",  ".el",   ".lisp", ".f90",   ".pas"}},
    };
    bool done = false;
    snprintf(format, 16, "markdown");
    if (qu_name_ends(name, qu_markdown_names)) return markdown_parse(b, err);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (!qu_name_ends(name, formats[i].endings)) continue;
        snprintf(format, 16, "%s", formats[i].name);
        if (formats[i].parse) return formats[i].parse(b, err);
        QU_TRY(qu_builder_rewrite(b, formats[i].rewrite, &done, err));
        if (done) return QU_OK;
    }
    snprintf(format, 16, "text");
    return plain_parse(b, err);
}
