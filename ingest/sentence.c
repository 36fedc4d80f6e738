#include "ingest/sentence.h"

#include <utf8proc.h>

#include "ingest/builder.h"

enum { MAX_ABBREVIATION = 12 };

/* Never the end of a sentence; those of the second list only not before a digit. */
static const char titles[] =
    "mr mrs ms dr prof st vs hon rev gen col sgt capt lt gov sen rep messrs "
    "mme mlle sra sr jr cf approx bzw vgl dept";
static const char numbered[] =
    "no nos fig figs eq eqs sec ch vol p pp art nr ca al jan feb mar apr "
    "jun jul aug sep sept oct nov dec abs bd kap tab ref ver v ed";

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80);
}

/* Does the '.' at text[dot] belong to the word before it (abbreviation, initial, short ordinal)?
 * next is the first byte after the white space that follows. */
static bool dot_in_word(const char *text, int64_t start, int64_t dot, char next)
{
    char word[MAX_ABBREVIATION];
    int64_t from = dot;
    bool inner_dot = false, digits = true;
    while (from > start && dot - from < MAX_ABBREVIATION) {
        char c = text[from - 1];
        if (!is_letter(c) && !is_digit(c) && c != '.') break;
        inner_dot |= c == '.';
        digits &= is_digit(c);
        from--;
    }
    int64_t n = dot - from;
    if (n == 0 || n == MAX_ABBREVIATION) return false;
    if (digits) return n <= 2;                        /* "3. Oktober", "1. Introduction" */
    if (inner_dot) return is_letter(text[from]);      /* "U.S.", "e.g.", not "3.14." */
    if (n == 1 && is_letter(text[from])) return true; /* "J. Smith" */
    for (int64_t i = 0; i < n; i++) {
        char c = text[from + i];
        word[i] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    return qu_is_listed(titles, word, n) || (is_digit(next) && qu_is_listed(numbered, word, n));
}

/* Bytes of the full-width or script-own terminator at p, 0 if none. *at_once: no white space
 * needed. */
static int64_t wide_mark(const char *p, int64_t n, bool *at_once)
{
    static const struct {
        char bytes[4];
        bool at_once;
    } marks[] = {{"\xE3\x80\x82", true}, {"\xEF\xBC\x81", true},  {"\xEF\xBC\x9F", true},
                 {"\xEF\xBD\xA1", true}, {"\xE2\x80\xA6", false}, {"\xE0\xA5\xA4", false},
                 {"\xD8\x9F", false},    {"\xDB\x94", false}};
    if (!(*p & 0x80)) return 0;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        int64_t len = (int64_t)strlen(marks[i].bytes);
        if (len > n || memcmp(p, marks[i].bytes, (size_t)len) != 0) continue;
        *at_once |= marks[i].at_once;
        return len;
    }
    return 0;
}

/* Bytes of a closing quote or bracket at p, 0 if none. */
static int64_t closer(const char *p, int64_t n)
{
    if (*p == '"' || *p == '\'' || *p == ')' || *p == ']') return 1;
    if (!(*p & 0x80)) return 0;
    utf8proc_int32_t cp;
    int64_t len = utf8proc_iterate((const utf8proc_uint8_t *)p, n, &cp);
    if (len <= 0) return 0;
    utf8proc_category_t cat = utf8proc_category(cp);
    return cat == UTF8PROC_CATEGORY_PE || cat == UTF8PROC_CATEGORY_PF ? len : 0;
}

/* Bytes of a footnote mark like "[12]" at p, 0 if none. */
static int64_t footnote(const char *p, int64_t n)
{
    int64_t i = 1;
    if (n < 3 || *p != '[') return 0;
    while (i < n && i < 5 && is_digit(p[i])) i++;
    return i > 1 && i < n && p[i] == ']' ? i + 1 : 0;
}

/* May a sentence begin with the character at p? */
static bool can_begin(const char *p, int64_t n)
{
    utf8proc_int32_t cp;
    if (utf8proc_iterate((const utf8proc_uint8_t *)p, n, &cp) <= 0) return false;
    switch (utf8proc_category(cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PI: return true;
    default: return cp == '"' || cp == '\'' || cp == 0xBF || cp == 0xA1; /* also Spanish ? and ! */
    }
}

/* Does the line at p begin like a list item or a heading? */
static bool line_marker(const char *p, int64_t n)
{
    if (*p == '#') return true;
    if (*p == '-' || *p == '*' || *p == '+') return n > 1 && p[1] == ' ';
    int64_t i = 0;
    while (i < n && i < 3 && is_digit(p[i])) i++;
    return i > 0 && i + 1 < n && (p[i] == '.' || p[i] == ')') && p[i + 1] == ' ';
}

static qu_status push(qu_sentences *s, int64_t at, qu_err *err)
{
    QU_TRY(qu_memory_grow(&s->starts, &s->cap, s->n + 1, sizeof *s->starts, err));
    s->starts[s->n++] = at;
    return QU_OK;
}

/* How the text just before a position may end a sentence. */
typedef enum { NOT_ENDED, ENDED_BY_DOT, ENDED, ENDED_AT_ONCE } ending;

/* Read terminators and what closes after them at text[*i]; *i moves past. NOT_ENDED: none there. */
static ending read_end(const char *text, int64_t *i, int64_t end, int64_t *dot)
{
    bool at_once = false;
    int64_t p = *i, n;
    for (;;) {
        n = p < end ? wide_mark(text + p, end - p, &at_once) : 0;
        if (!n && p < end && (text[p] == '.' || text[p] == '!' || text[p] == '?')) n = 1;
        if (!n) break;
        p += n;
    }
    if (p == *i) return NOT_ENDED;
    ending e = p == *i + 1 && text[*i] == '.' ? ENDED_BY_DOT : ENDED;
    *dot = *i;
    while (p < end && (n = closer(text + p, end - p)) > 0) p += n;
    while (p < end && (n = footnote(text + p, end - p)) > 0) p += n;
    *i = p;
    return at_once ? ENDED_AT_ONCE : e;
}

/* White space at text[*i]; *i moves past, the line ends are counted. */
static int skip_space(const char *text, int64_t *i, int64_t end)
{
    int lines = 0;
    for (; *i < end; (*i)++) {
        if (text[*i] == '\n') lines += lines < 2;
        if (qu_is_space(text[*i])) continue;
        if (end - *i < 3 || memcmp(text + *i, "\xE3\x80\x80", 3) != 0)
            break; /* ideographic space */
        *i += 2;
    }
    return lines;
}

qu_status qu_sentences_find(qu_sentences *s, const char *text, int64_t start, int64_t end,
                            qu_err *err)
{
    int64_t i = start, dot = 0;
    skip_space(text, &i, end);
    if (i >= end) return QU_OK;
    int64_t began = i;
    QU_TRY(push(s, began, err));
    ending e = NOT_ENDED;
    while (i < end) {
        int64_t was = i;
        int lines = skip_space(text, &i, end);
        if (i >= end) break;
        bool cut = e == ENDED_AT_ONCE;
        if (i > was) {
            int64_t left = end - i;
            cut |= lines > 1 || (lines == 1 && (line_marker(text + i, left) ||
                                                was - began > QU_SENTENCE_LONG_BYTES));
            cut |= e == ENDED && can_begin(text + i, left);
            cut |= e == ENDED_BY_DOT && can_begin(text + i, left) &&
                   !dot_in_word(text, began, dot, text[i]);
        }
        if (cut) {
            began = i;
            QU_TRY(push(s, began, err));
        }
        e = read_end(text, &i, end, &dot);
        if (e == NOT_ENDED) /* nothing happens inside a character or a word */
            do i++;
            while (i < end &&
                   (((unsigned char)text[i] & 0xC0) == 0x80 || (text[i] >= 'a' && text[i] <= 'z')));
    }
    return QU_OK;
}

void qu_sentences_free(qu_sentences *s)
{
    free(s->starts);
    memset(s, 0, sizeof *s);
}
