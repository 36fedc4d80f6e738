#include "retrieve/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* A document while pages are being chosen. */
typedef struct chosen {
    qu_doc doc;
    qu_page *pages;
    float *score; /* [n_pages]: 0 not chosen, else the hit's score or COMPANION */
    float best;
} chosen;

/* Marks pages that come with their document without a hit of their own. */
static const float COMPANION = 1e-30f;

typedef struct choice {
    qu_txn *txn;
    const qu_plan_options *o;
    chosen *docs;
    int32_t n_docs, n_pages; /* headers not counted in n_pages */
    int64_t n_tokens;
    qu_err *err;
} choice;

static chosen *find(choice *c, uint64_t doc_id)
{
    for (int32_t i = 0; i < c->n_docs; i++)
        if (c->docs[i].doc.doc_id == doc_id) return &c->docs[i];
    return NULL;
}

static void drop_last(choice *c)
{
    chosen *d = &c->docs[--c->n_docs];
    qu_doc_free(&d->doc);
    free(d->pages);
    free(d->score);
    memset(d, 0, sizeof *d);
}

static bool take(choice *c, chosen *d, int32_t page, float score)
{
    if (d->score[page] > 0) {
        if (score > d->score[page]) d->score[page] = score;
        return true;
    }
    if (c->n_tokens + d->pages[page].n_tokens > c->o->room_tokens) return false;
    if (page > 0 && c->n_pages >= c->o->max_pages) return false;
    d->score[page] = score;
    c->n_tokens += d->pages[page].n_tokens;
    c->n_pages += page > 0;
    return true;
}

/* Start a document: its page table, its header, and all of it when it is short. */
static qu_status start(choice *c, const qu_lexical_hit *hit)
{
    chosen *d = &c->docs[c->n_docs];
    int32_t n = 0;
    qu_status st = qu_catalogue_get_doc(c->txn, hit->doc_id, &d->doc, c->err);
    if (st == QU_ERR_NOTFOUND) return QU_OK; /* removed since the index was written */
    if (st != QU_OK) return st;
    c->n_docs++;
    d->best = hit->score;
    QU_TRY(qu_catalogue_pages(c->txn, hit->doc_id, &d->pages, &n, c->err));
    QU_TRY(qu_memory_take(&d->score, n + 1, sizeof *d->score, c->err));
    int32_t first =
        hit->page > 0 ? hit->page : 1; /* a hit on the title stands for the first page */
    if (n < 2 || first >= n || !take(c, d, 0, COMPANION)) {
        drop_last(c);
        return QU_OK;
    }
    int32_t before = c->n_pages;
    take(c, d, first, hit->score);
    if (c->n_pages == before) { /* not even the hit fits */
        c->n_tokens -= d->pages[0].n_tokens;
        drop_last(c);
        return QU_OK;
    }
    bool is_short = n - 1 <= c->o->max_pages / QU_PLAN_SHORT_SHARE;
    for (int32_t p = 1; is_short && p < n; p++) take(c, d, p, COMPANION);
    return QU_OK;
}

static qu_status choose(choice *c, const qu_lexical_hit *hits, int32_t n_hits)
{
    for (int32_t i = 0; i < n_hits; i++) {
        if (hits[i].score < c->o->floor * hits[0].score) break;
        chosen *d = find(c, hits[i].doc_id);
        if (d &&
            hits[i].page < d->doc.n_pages) /* also when the list is full: the page may be in it */
            take(c, d, hits[i].page > 0 ? hits[i].page : 1, hits[i].score);
        else if (!d && c->n_pages < c->o->max_pages)
            QU_TRY(start(c, &hits[i]));
    }
    return QU_OK;
}

/* Tokens from a document's first to its last chosen page, all between them counted. */
static int64_t span(const chosen *d)
{
    int64_t total = 0, upto = 0;
    for (int32_t p = 0; p < d->doc.n_pages; p++) {
        total += d->pages[p].n_tokens;
        if (d->score[p] > 0) upto = total;
    }
    return upto;
}

static void place(qu_plan *plan, choice *c)
{
    int64_t pos = c->o->prefix_tokens, spans = 0;
    for (int32_t i = 0; i < c->n_docs; i++) spans += span(&c->docs[i]);
    plan->gaps_closed = spans > c->o->room_tokens;
    for (int32_t i = 0; i < c->n_docs; i++) {
        chosen *d = &c->docs[i];
        qu_plan_doc *out = &plan->docs[plan->n_docs++];
        *out = (qu_plan_doc){d->doc, plan->n_pages, 0, d->best, true};
        int64_t offset = 0, end = pos;
        for (int32_t p = 0; p < d->doc.n_pages; p++) {
            bool in = d->score[p] > 0;
            if (in) {
                int64_t at = plan->gaps_closed ? end : pos + offset;
                float score = d->score[p] > COMPANION ? d->score[p] : 0;
                plan->pages[plan->n_pages++] = (qu_plan_page){i, p, at, score, d->pages[p]};
                plan->n_tokens += d->pages[p].n_tokens;
                out->n++;
                end = at + d->pages[p].n_tokens;
            }
            out->whole = out->whole && in;
            offset += d->pages[p].n_tokens;
        }
        memset(&d->doc, 0, sizeof d->doc); /* the plan owns it now */
        pos = end;
    }
    plan->end_pos = pos;
}

static void end_choice(choice *c)
{
    while (c->n_docs > 0) drop_last(c);
    free(c->docs);
}

qu_status qu_plan_make(qu_plan *plan, qu_txn *txn, const qu_lexical_hit *hits, int32_t n_hits,
                       const qu_plan_options *options, qu_err *err)
{
    QU_OWN(end_choice) choice c = {.txn = txn, .o = options, .err = err};
    QU_OWN(qu_plan_free) qu_plan made = {0};
    memset(plan, 0, sizeof *plan);
    QU_TRY(qu_memory_take(&c.docs, n_hits + 1, sizeof *c.docs, err));
    QU_TRY(choose(&c, hits, n_hits));
    QU_TRY(qu_memory_take(&made.docs, c.n_docs, sizeof *made.docs, err));
    QU_TRY(qu_memory_take(&made.pages, c.n_pages + c.n_docs, sizeof *made.pages, err));
    place(&made, &c);
    *plan = made;
    made = (qu_plan){0};
    return QU_OK;
}

void qu_plan_free(qu_plan *plan)
{
    for (int32_t i = 0; i < plan->n_docs; i++) qu_doc_free(&plan->docs[i].doc);
    free(plan->docs);
    free(plan->pages);
    memset(plan, 0, sizeof *plan);
}
