/* What a question and its answer consist of: made, shown as JSON, freed. */
#include <stdlib.h>
#include <string.h>

#include "pipelines/answer_int.h"
#include "pipelines/output.h"
#include "pipelines/pages.h"

void qu_citation_free(qu_citation *c)
{
    free(c->path);
    free(c->member);
    free(c->heading);
    free(c->text);
    *c = (qu_citation){0};
}

json_t *qu_citation_json(const qu_citation *c)
{
    char page_id[48];
    snprintf(page_id, sizeof page_id, "%llu.%d", (unsigned long long)c->doc_id, c->page);
    json_t *o = json_object(),
           *heading = c->heading ? qu_pages_json_text(c->heading, strlen(c->heading)) : json_null(),
           *member = c->member ? qu_pages_json_text(c->member, strlen(c->member)) : json_null();
    if (!o || qu_out_path(o, "path", c->path, NULL) != QU_OK) return o;
    json_auto_t *rest = json_pack(
        "{s:o,s:s,s:o,s:o,s:o,s:o,s:I,s:I,s:o,s:f,s:b,s:b}", "member", member, "page_id", page_id,
        "page_number", c->page_number ? json_integer(c->page_number) : json_null(), "heading",
        heading, "byte_start", c->has_bytes ? json_integer(c->byte_start) : json_null(), "byte_end",
        c->has_bytes ? json_integer(c->byte_end) : json_null(), "text_start",
        (json_int_t)c->text_start, "text_end", (json_int_t)c->text_end, "text",
        qu_pages_json_text(c->text, strlen(c->text)), "score", (double)c->score, "supported",
        c->supported, "stale", c->stale);
    json_object_update(o, rest);
    return o;
}

void qu_answer_free(qu_answer *ans)
{
    for (int32_t i = 0; i < ans->n_citations; i++) qu_citation_free(&ans->citations[i]);
    free(ans->layers);
    free(ans->caught);
    free(ans->sentences);
    qu_buf_free(&ans->text);
    qu_buf_free(&ans->warnings);
    memset(ans, 0, sizeof *ans);
}

qu_status qu_answer_warn(qu_answer *ans, qu_err *err, const char *fmt, ...)
{
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    return qu_buf_add(&ans->warnings, line, strlen(line) + 1, err);
}

qu_status qu_answer_plan(ask_run *r, int32_t n_docs, int32_t n_pages, qu_err *err)
{
    r->plan.end_pos = r->a->s->prefix.n;
    QU_TRY(qu_memory_take(&r->plan.docs, n_docs, sizeof *r->plan.docs, err));
    QU_TRY(qu_memory_take(&r->plan.pages, n_pages, sizeof *r->plan.pages, err));
    return qu_memory_take(&r->pages, n_pages, sizeof *r->pages, err);
}

void qu_answer_plan_page(ask_run *r, int32_t doc, int32_t page, const qu_page *record)
{
    qu_plan *p = &r->plan;
    qu_plan_doc *d = &p->docs[doc];
    if (d->n++ == 0) {
        d->first = p->n_pages;
        d->score = 1;
        p->n_docs++;
    }
    p->pages[p->n_pages++] = (qu_plan_page){doc, page, p->end_pos, 1, *record};
    p->end_pos += record->n_tokens;
    p->n_tokens += record->n_tokens;
}

void qu_answer_end(ask_run *r)
{
    qu_context_free(r->c);
    qu_policy_free(r->policy);
    for (int32_t i = 0; r->pages && i < r->plan.n_pages; i++) {
        if (r->pages[i].own) qu_page_memory_free(r->pages[i].memory);
        qu_buf_free(&r->pages[i].text);
        qu_buf_free(&r->pages[i].ids);
    }
    free(r->pages);
    qu_tokens_free(&r->tail);
    qu_plan_free(&r->plan);
}
