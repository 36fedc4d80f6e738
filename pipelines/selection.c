/* Selection for one question: when it is worth it, with what, and the account of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "pipelines/answer_int.h"
#include "pipelines/output.h"

enum { MAX_TABLE = 1 << 20 }; /* bytes of a table of heads */

/* Tokens that a selection could leave out: neither headers nor the last page (DESIGN.md 7). */
static int64_t candidate_tokens(const qu_plan *p)
{
    int64_t n = 0;
    for (int32_t i = 0; i + 1 < p->n_pages; i++)
        n += p->pages[i].page > 0 ? p->pages[i].record.n_tokens : 0;
    return n;
}

qu_status qu_answer_select(ask_run *r, qu_err *err)
{
    const qu_ask_options *o = &r->a->o;
    const qu_model *m = r->a->s->model;
    int64_t all = candidate_tokens(&r->plan);
    int64_t budget = o->keep > 0 ? (int64_t)(o->keep * (double)all + .5) : o->budget;
    if (o->keep > 0 && budget < 1) budget = 1;
    if (o->fidelity != QU_FIDELITY_KV || budget < 1 || all <= budget) return QU_OK;
    qu_policy_options p = {
        o->policy, budget,       o->far_field, QU_POLICY_REFRESH, o->explain || o->measure,
        o->heads,  r->a->s->pool, true};
    QU_TRY(qu_policy_create(&r->policy, &p, m->n_layers, m->n_kv_heads, err));
    qu_context_select(r->c, qu_policy_hook(r->policy));
    return QU_OK;
}

static void explain_layer(int32_t layer, const qu_policy_layer *l)
{
    qu_out_note("layer %d: %lld of %lld slices, %.1f%% of the attention to candidates caught "
                "(as many of the best pages: %.1f%%)",
                layer, (long long)l->slices, (long long)l->candidate_slices,
                l->n ? 100 * l->caught / (double)l->n : 100,
                l->n ? 100 * l->best / (double)l->n : 100);
}

qu_status qu_answer_selected(ask_run *r, qu_err *err)
{
    qu_answer *ans = r->ans;
    int32_t n = r->a->s->model->n_layers;
    if (!r->policy || !qu_policy_hook(r->policy)) return QU_OK;
    ans->selected = true;
    QU_TRY(qu_memory_take(&ans->layers, n, sizeof *ans->layers, err));
    ans->n_layers = n;
    for (int32_t l = 0; l < n; l++) {
        ans->layers[l] = qu_policy_report(r->policy, l);
        if (r->a->o.explain) explain_layer(l, &ans->layers[l]);
    }
    if (!r->a->o.explain && !r->a->o.measure) return QU_OK;
    size_t heads = (size_t)n * (size_t)r->a->s->model->n_kv_heads;
    QU_TRY(qu_memory_take(&ans->caught, heads, sizeof *ans->caught, err));
    memcpy(ans->caught, qu_policy_heads(r->policy), heads * sizeof *ans->caught);
    if (r->a->o.explain)
        qu_out_note("%lld slices, %lld bytes read", (long long)ans->slices_read,
                    (long long)ans->bytes_read);
    return QU_OK;
}

qu_status qu_selection_heads(float **heads, const char *path, const qu_model *m, qu_err *err)
{
    int64_t want = (int64_t)m->n_layers * m->n_kv_heads, n = 0;
    QU_OWN(qu_buf_free) qu_buf text = {0};
    QU_OWN(qu_freep) float *x = NULL;
    QU_TRY(qu_memory_take(&x, want, sizeof *x, err));
    QU_TRY(qu_os_read(&text, path, MAX_TABLE, err));
    QU_TRY(qu_buf_add(&text, "", 0, err));
    char *end, *p = text.data;
    for (float v = strtof(p, &end); end != p; v = strtof(p, &end), n++) {
        if (n < want) x[n] = v;
        p = end;
    }
    if (n != want || p[strspn(p, " \t\r\n")] != 0)
        return qu_fail(err, QU_ERR_FORMAT,
                       "table of heads '%s' is not %d lines of %d numbers, one a layer and KV head",
                       path, m->n_layers, m->n_kv_heads);
    *heads = QU_TAKE(x);
    return QU_OK;
}
