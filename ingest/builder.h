/* A document under construction: what the format parsers (plain.c, html.c) write into.
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

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
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

/* Make room for one more element of size bytes in *p, which holds n. Errors: QU_ERR_NOMEM. */
qu_status qu_builder_grow(void *p, int64_t n, int64_t *cap, size_t size, qu_err *err);

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

/* The format parsers. b->text holds the decoded file when they start for the first two;
 * qu_html_parse reads it from s and fills b->text and b->runs (text to s). */
qu_status qu_plain_parse(qu_builder *b, qu_err *err);
qu_status qu_markdown_parse(qu_builder *b, qu_err *err);
qu_status qu_html_parse(qu_builder *b, const char *s, int64_t n, qu_err *err);

#endif
