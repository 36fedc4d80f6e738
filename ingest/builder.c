#include "ingest/builder.h"

qu_status qu_runs_add(qu_runs *runs, int64_t text_at, int64_t source_at, int64_t n, qu_err *err)
{
    if (runs->full) return QU_OK;
    qu_source_run *last = runs->n ? &runs->v[runs->n - 1] : NULL;
    if (last && last->text_at + last->n == text_at && last->source_at + last->n == source_at) {
        last->n += n;
        return QU_OK;
    }
    if (runs->n >= runs->max) {
        free(runs->v);
        *runs = (qu_runs){.max = runs->max, .full = true};
        return QU_OK;
    }
    QU_TRY(qu_memory_grow(&runs->v, &runs->cap, runs->n + 1, sizeof *runs->v, err));
    runs->v[runs->n++] = (qu_source_run){text_at, source_at, n};
    return QU_OK;
}

/* The last run of outer, from j on, that begins at or before middle position u. */
static int64_t run_at(const qu_runs *outer, int64_t j, int64_t u)
{
    while (j + 1 < outer->n && outer->v[j + 1].text_at <= u) j++;
    return j;
}

/*   text    [----inner run----]
 *   middle  [--outer--] gap [--outer--]      one inner run becomes several; where it begins or ends
 * in a raw     [---------]     [---------]      gap of outer, no position is claimed: neighbours
 * cover it */
qu_status qu_runs_compose(qu_runs *out, const qu_runs *inner, const qu_runs *outer, qu_err *err)
{
    if (inner->full || outer->full || !outer->n) {
        out->full = true;
        return QU_OK;
    }
    int64_t j = 0;
    for (int64_t i = 0; i < inner->n; i++) {
        qu_source_run in = inner->v[i];
        int64_t end = in.text_at + in.n, shift = in.text_at - in.source_at;
        j = run_at(outer, j, in.source_at);
        for (int64_t k = j; k < outer->n && outer->v[k].text_at <= in.source_at + in.n; k++) {
            qu_source_run o = outer->v[k];
            int64_t from = in.text_at, to = end;
            if (o.text_at + shift > from) from = o.text_at + shift;
            if (o.text_at + o.n + shift < to) to = o.text_at + o.n + shift;
            if (from > to) continue; /* the inner run begins in the gap after o */
            QU_TRY(
                qu_runs_add(out, from, o.source_at + (from - shift - o.text_at), to - from, err));
        }
    }
    return QU_OK;
}

/* Put a cut on the list. Cuts stay QU_CUT_MIN_GAP apart: the better rank wins, the earlier on a
 * tie. */
static qu_status push_cut(qu_builder *b, int64_t at, qu_cut_rank rank, qu_err *err)
{
    while (b->n_cuts && at - b->cuts[b->n_cuts - 1].at < QU_CUT_MIN_GAP) {
        if (b->cuts[b->n_cuts - 1].rank <= (int)rank) return QU_OK;
        b->n_cuts--;
    }
    QU_TRY(qu_memory_grow(&b->cuts, &b->cuts_cap, b->n_cuts + 1, sizeof *b->cuts, err));
    b->cuts[b->n_cuts++] = (qu_cut){at, (int8_t)rank};
    return QU_OK;
}

/* Cut between words until less than QU_CUT_MAX_GAP is left before at. */
static qu_status fill_gap(qu_builder *b, int64_t at, qu_err *err)
{
    const char *t = b->text.data;
    int64_t last = b->n_cuts ? b->cuts[b->n_cuts - 1].at : 0;
    while (at - last > QU_CUT_MAX_GAP) {
        int64_t cut = last + QU_CUT_MAX_GAP, low = last + QU_CUT_MAX_GAP / 2;
        while (cut > low && !(qu_is_space(t[cut - 1]) && !qu_is_space(t[cut]))) cut--;
        if (cut == low) /* no space: at least not inside a character */
            for (cut = last + QU_CUT_MAX_GAP; ((unsigned char)t[cut] & 0xC0) == 0x80; cut--) {
            }
        QU_TRY(push_cut(b, cut, QU_CUT_WORD, err));
        last = cut;
    }
    return QU_OK;
}

static qu_status add_cut(qu_builder *b, int64_t at, qu_cut_rank rank, qu_err *err)
{
    QU_TRY(fill_gap(b, at, err));
    return push_cut(b, at, rank, err);
}

/* Cut [from, to) at sentences, a window at a time so that the scratch list stays small. */
static qu_status cut_sentences(qu_builder *b, int64_t from, int64_t to, qu_err *err)
{
    const int64_t window = 1 << 20;
    const char *t = b->text.data;
    while (from < to) {
        int64_t end = to - from > window ? from + window : to;
        while (end < to && ((unsigned char)t[end] & 0xC0) == 0x80) end--;
        b->found.n = 0;
        QU_TRY(qu_sentences_find(&b->found, t, from, end, err));
        for (int64_t i = 1; i < b->found.n; i++)
            QU_TRY(add_cut(b, b->found.starts[i], QU_CUT_SENTENCE, err));
        bool whole = end == to || b->found.n < 2;
        from = whole ? end : b->found.starts[b->found.n - 1]; /* the last one may go on */
    }
    return QU_OK;
}

/* The waiting mark's block ends at end. The first mark of all is where the text begins: no cut. */
static qu_status flush_mark(qu_builder *b, int64_t end, qu_err *err)
{
    if (!b->marked || b->mark_code) return QU_OK;
    return cut_sentences(b, b->mark_at, end, err);
}

qu_status qu_builder_mark(qu_builder *b, int64_t at, qu_cut_rank rank, bool code, qu_err *err)
{
    QU_TRY(flush_mark(b, at, err));
    if (b->marked) {
        if (b->mark_rank == QU_CUT_HEADING && rank != QU_CUT_HEADING && rank < QU_CUT_SENTENCE)
            rank = QU_CUT_SENTENCE;
        QU_TRY(add_cut(b, at, rank, err));
    }
    b->marked = true;
    b->mark_at = at;
    b->mark_rank = rank;
    b->mark_code = code;
    return QU_OK;
}

qu_status qu_builder_heading(qu_builder *b, qu_heading h, qu_err *err)
{
    if (b->n_headings == QU_MAX_HEADINGS) return QU_OK;
    QU_TRY(qu_memory_grow(&b->headings, &b->headings_cap, b->n_headings + 1, sizeof h, err));
    b->headings[b->n_headings++] = h;
    return QU_OK;
}

qu_status qu_builder_end(qu_builder *b, qu_err *err)
{
    QU_TRY(flush_mark(b, (int64_t)b->text.len, err));
    return fill_gap(b, (int64_t)b->text.len, err);
}

qu_status qu_builder_rewrite(qu_builder *b, qu_rewrite_fn *fn, bool *done, qu_err *err)
{
    QU_OWN(qu_builder_free) qu_builder old = *b, made = {.runs.max = old.runs.max};
    qu_runs composed = made.runs;
    *b = (qu_builder){0};
    QU_TRY(fn(&made, old.text.data, (int64_t)old.text.len, err));
    *done = made.text.len > 0;
    if (*done) {
        qu_status st = qu_runs_compose(&composed, &made.runs, &old.runs, err);
        free(made.runs.v);
        made.runs = composed;
        QU_TRY(st);
    }
    qu_builder *kept = *done ? &made : &old;
    *b = *kept;
    *kept = (qu_builder){0};
    return QU_OK;
}

void qu_builder_free(qu_builder *b)
{
    qu_buf_free(&b->text);
    qu_buf_free(&b->title);
    free(b->runs.v);
    free(b->cuts);
    free(b->headings);
    qu_sentences_free(&b->found);
    memset(b, 0, sizeof *b);
}
