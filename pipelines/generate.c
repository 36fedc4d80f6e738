#include "pipelines/generate.h"

static qu_status loop(qu_generate *g, qu_draft *d, qu_err *err)
{
    for (int64_t i = 0; i < g->draft.most; i++) {
        int32_t id;
        double probability = 0;
        bool stop = false;
        QU_TRY(qu_draft_next(d, &id, g->wants_probability ? &probability : NULL, err));
        if (i == 0 && g->first) g->first(g->ctx);
        stop = qu_draft_ended(d) || (!g->ignore_end && qu_tokenizer_is_end(g->tok, id));
        if (!stop) QU_TRY(g->token(g->ctx, id, probability, &stop, err));
        if (!stop) continue;
        g->stop = "end";
        break;
    }
    return QU_OK;
}

qu_status qu_generate_run(qu_generate *g, qu_err *err)
{
    QU_OWN(qu_draft_freep) qu_draft *d = NULL;
    g->stop = "length";
    QU_TRY(qu_draft_create(&d, &g->draft, err));
    qu_status st = loop(g, d, err);
    if (st == QU_OK) qu_draft_finish(d);
    g->stats = qu_draft_stats_get(d);
    return st;
}

json_t *qu_generate_json(const qu_draft_stats *s)
{
    return json_pack("{s:I,s:I,s:I}", "proposed", (json_int_t)s->proposed, "accepted",
                     (json_int_t)s->accepted, "passes", (json_int_t)s->passes);
}
