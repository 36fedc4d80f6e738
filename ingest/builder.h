/* A document under construction: what the format parsers (plain.c, html.c, records.c) write into.
 *
 *     QU_TRY(qu_buf_add(&b->text, p, n, err));
 *     QU_TRY(qu_runs_add(&b->runs, text_at, source_at, n, err));
 *     QU_TRY(qu_builder_mark(b, at, QU_CUT_PARAGRAPH, false, err));   // a block begins here
 *     ...
 *     QU_TRY(qu_builder_end(b, err));
 *
 * Marks come in text order. Between two marks the builder looks for sentences itself, and where
 * nothing is found for 2 KiB it cuts between words. Private to ingest/ and its tests.
 */
#ifndef QU_INGEST_BUILDER_H
#define QU_INGEST_BUILDER_H

#include "base/buf.h"
#include "base/memory.h"
#include "ingest/document.h"
#include "ingest/sentence.h"

enum {
    QU_CUT_MIN_GAP = 16,   /* bytes between cuts: keeps the list smaller than the text */
    QU_CUT_MAX_GAP = 2048, /* beyond this words are cut apart */
    QU_MAX_HEADINGS = 1 << 20,
};

/* Source runs in order. Once there are more than max, all are dropped and full is set. */
typedef struct qu_runs {
    qu_source_run *v;
    int64_t n, cap, max;
    bool full;
} qu_runs;

typedef struct qu_builder {
    qu_buf text;
    qu_buf title; /* as found, not yet trimmed */
    qu_runs runs;
    qu_cut *cuts;
    int64_t n_cuts, cuts_cap;
    qu_heading *headings;
    int64_t n_headings, headings_cap;
    qu_sentences found; /* scratch */
    bool marked;        /* a mark is waiting for its end: */
    int64_t mark_at;
    qu_cut_rank mark_rank;
    bool mark_code;
} qu_builder;

static inline bool qu_is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

static inline bool qu_is_blank(const qu_buf *text)
{
    size_t i = 0;
    while (i < text->len && qu_is_space(text->data[i])) i++;
    return i == text->len;
}

/* Append a run; one that continues the last is joined to it. n = 0 says that two positions
 * correspond. */
qu_status qu_runs_add(qu_runs *runs, int64_t text_at, int64_t source_at, int64_t n, qu_err *err);

/* Turn runs over an intermediate text (inner: text to middle) into runs over the raw bytes, given
 * the runs of the middle (outer: middle to raw). out is filled from empty. */
qu_status qu_runs_compose(qu_runs *out, const qu_runs *inner, const qu_runs *outer, qu_err *err);

/* A block with this rank begins at text offset at (not before the last mark). code: no sentences in
 * it. Whatever follows a heading directly is ranked no better than a sentence. */
qu_status qu_builder_mark(qu_builder *b, int64_t at, qu_cut_rank rank, bool code, qu_err *err);

/* Append a heading; silently nothing once there are QU_MAX_HEADINGS. */
qu_status qu_builder_heading(qu_builder *b, qu_heading h, qu_err *err);

/* Finish the cuts; the text must be complete. */
qu_status qu_builder_end(qu_builder *b, qu_err *err);

void qu_builder_free(qu_builder *b);

/* A parser that reads s[0, n) and fills b, which is empty, with text of its own making and b->runs
 * with the way from it to s. */
typedef qu_status qu_rewrite_fn(qu_builder *b, const char *s, int64_t n, qu_err *err);

/* Put what fn makes of b's text in place of it, runs composed. *done false: fn made nothing of it,
 * and b is as it was. */
qu_status qu_builder_rewrite(qu_builder *b, qu_rewrite_fn *fn, bool *done, qu_err *err);

/* The format parsers: html.c, records.c (nothing comes out where the text is no such table). */
qu_rewrite_fn qu_html_parse, qu_csv_parse, qu_jsonl_parse;

/* plain.c: parse the decoded file in b->text as its name's ending tells. format gets "text",
 * "markdown", "code", "csv" or "jsonl". */
qu_status qu_text_parse(qu_builder *b, const char *name, char format[16], qu_err *err);

/* Is word[0, n) one of the words of a list, which blanks set apart? */
bool qu_is_listed(const char *list, const char *word, int64_t n);

/* Does name (".gz" at its end not counted) end in one of the endings? NULL ends the list. */
bool qu_name_ends(const char *name, const char *const *endings);
extern const char *const qu_markdown_names[];

#endif
