/* One document's extract, and summaries as files. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "pipelines/answer_int.h"
#include "pipelines/output.h"
#include "pipelines/pages.h"
#include "pipelines/summarize.h"

void qu_synopsis_free(qu_synopsis *s)
{
    for (int32_t i = 0; i < s->n; i++) qu_citation_free(&s->citations[i]);
    free(s->citations);
    qu_buf_free(&s->text);
    memset(s, 0, sizeof *s);
}

static qu_status cite(qu_synopsis *s, qu_txn *t, const qu_doc *d, const char *text,
                      const qu_digest_sentence *x, int32_t page, qu_err *err)
{
    qu_citation *c = &s->citations[s->n++];
    *c = (qu_citation){.doc_id = d->doc_id, .page = page, .text_start = x->start,
                       .text_end = x->end, .score = x->score, .supported = true};
    c->text = strndup(text + x->start, (size_t)(x->end - x->start));
    if (!c->text) return qu_fail_nomem(err, x->end - x->start);
    return qu_answer_locate(t, d, c, err);
}

qu_status qu_synopsis_extract(qu_synopsis *s, qu_txn *t, const qu_doc *d, qu_digest_method method,
                             int32_t max_words, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf text = {0};
    QU_OWN(qu_digest_free) qu_digest g = {0};
    QU_OWN(qu_freep) qu_page *pages = NULL;
    int32_t n_pages = 0, n = 0, page = 1;
    memset(s, 0, sizeof *s);
    QU_TRY(qu_catalogue_text(t, d->doc_id, 0, d->text_bytes, &text, err));
    QU_TRY(qu_catalogue_pages(t, d->doc_id, &pages, &n_pages, err));
    QU_TRY(
        qu_digest_make(&g, text.data ? text.data : "", (int64_t)text.len, method, max_words, err));
    for (int32_t i = 0; i < g.n; i++) n += g.sentences[i].chosen;
    QU_TRY(qu_memory_take(&s->citations, n, sizeof *s->citations, err));
    for (int32_t i = 0; i < g.n; i++) {
        while (page + 1 < n_pages && pages[page + 1].text_start <= g.sentences[i].start) page++;
        if (g.sentences[i].chosen) QU_TRY(cite(s, t, d, text.data, &g.sentences[i], page, err));
    }
    s->words = g.words;
    return QU_OK;
}

/* --- files --- */

/* On one line, runs of white space one blank, safe for a terminal. */
static qu_status add_line(qu_buf *out, const char *text, size_t n, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf flat = {0};
    QU_TRY(qu_buf_reserve(&flat, n + 1, err));
    for (size_t i = 0; i < n; i++) {
        bool space = text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r';
        if (!space)
            flat.data[flat.len++] = text[i];
        else if (flat.len && flat.data[flat.len - 1] != ' ')
            flat.data[flat.len++] = ' ';
    }
    return qu_out_safe(out, flat.data, flat.len, false, err);
}

static qu_status add_place(qu_buf *out, const qu_citation *c, qu_err *err)
{
    bool bytes = c->has_bytes;
    QU_TRY(add_line(out, c->path, strlen(c->path), err));
    return qu_buf_printf(out, err, " page %d %s %" PRId64 "-%" PRId64, c->page,
                         bytes ? "bytes" : "text", bytes ? c->byte_start : c->text_start,
                         bytes ? c->byte_end : c->text_end);
}

static qu_status render_text(qu_buf *out, const qu_synopsis *s, const qu_doc *d, const char *method,
                             bool md, qu_err *err)
{
    const char *title = *d->title ? d->title : strrchr(d->path, '/') + 1;
    QU_TRY(qu_buf_puts(out, md ? "# " : "", err));
    QU_TRY(add_line(out, title, strlen(title), err));
    QU_TRY(qu_buf_puts(out, "\n\n", err));
    if (s->text.len) {
        QU_TRY(qu_out_safe(out, s->text.data, s->text.len, true, err));
        QU_TRY(qu_buf_puts(out, s->n ? "\n\n" : "\n", err));
    }
    for (int32_t i = 0; i < s->n; i++) {
        const qu_citation *c = &s->citations[i];
        QU_TRY(qu_buf_puts(out, md ? "- " : "", err));
        QU_TRY(add_line(out, c->text, strlen(c->text), err));
        QU_TRY(qu_buf_puts(out, md ? "\n  (" : "\n  [", err));
        QU_TRY(add_place(out, c, err));
        QU_TRY(qu_buf_puts(out, md ? ")\n" : "]\n", err));
    }
    if (!s->text.len && !s->n) QU_TRY(qu_buf_puts(out, "(no text)\n", err));
    QU_TRY(qu_buf_printf(out, err, "\n%s%s, %d words%s, of ", md ? "*" : "", method, s->words,
                         md ? "*" : ""));
    QU_TRY(add_line(out, d->path, strlen(d->path), err));
    return qu_buf_puts(out, "\n", err);
}

static qu_status render_json(qu_buf *out, const qu_synopsis *s, const qu_doc *d, const char *method,
                             qu_err *err)
{
    char hash[33];
    json_auto_t *o = json_pack("{s:i}", "schema", 1), *list = json_array();
    qu_hash_hex(hash, d->content_hash);
    for (int32_t i = 0; i < s->n; i++)
        json_array_append_new(list, qu_citation_json(&s->citations[i]));
    QU_TRY(qu_out_path(o, "path", d->path, err));
    json_object_update_new(
        o, json_pack("{s:o,s:s,s:s,s:i,s:o}", "title",
                     qu_pages_json_text(d->title, strlen(d->title)), "content_hash", hash, "method",
                     method, "words", s->words, "summary",
                     s->text.len ? qu_pages_json_text(s->text.data, s->text.len) : json_null()));
    if (s->text.len)
        json_object_update_new(
            o, json_pack("{s:{s:I,s:I},s:{s:I}}", "pages", "read", (json_int_t)s->pages_read, "of",
                         (json_int_t)s->pages, "tokens", "generated",
                         (json_int_t)s->generated_tokens));
    json_object_set(o, s->text.len ? "citations" : "sentences", list);
    QU_OWN(qu_freep) char *text =
        json_dumps(o, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
    return text ? qu_buf_printf(out, err, "%s\n", text) : qu_fail_nomem(err, 4096);
}

qu_status qu_synopsis_render(qu_buf *out, const qu_synopsis *s, const qu_doc *d, const char *method,
                            qu_synopsis_format format, qu_err *err)
{
    if (format == QU_SYNOPSIS_JSON) return render_json(out, s, d, method, err);
    return render_text(out, s, d, method, format == QU_SYNOPSIS_MD, err);
}
