/* quire eval mass: how much of the attention that falls on the candidates each policy catches,
 * against what the same cut catches knowing the truth. Far field off: only what is read counts. */
#include <stdlib.h>
#include <string.h>

#include "pipelines/answer.h"
#include "pipelines/eval.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/score.h"

static const char *const policies[] = {"streaming", "page-mean", "quest", "squeezed", "multipole"};

enum { N_POLICIES = sizeof policies / sizeof *policies };

typedef struct arm {
    double caught, best, bytes; /* sums over questions and layers; over questions */
    int64_t slices, candidate_slices, n, n_layers;
    double *heads; /* [L,G] sums over questions of caught / best */
} arm;

static void count(arm *a, const qu_model *m, const qu_answer *ans)
{
    if (!ans->selected) return;
    for (int32_t l = 0; l < ans->n_layers; l++) {
        const qu_policy_layer *y = &ans->layers[l];
        if (y->n == 0) continue;
        a->caught += y->caught / (double)y->n;
        a->best += y->best / (double)y->n;
        a->slices += y->slices;
        a->candidate_slices += y->candidate_slices;
        a->n_layers++;
    }
    for (int32_t i = 0; i < ans->n_layers * m->n_kv_heads; i++)
        a->heads[i] += (double)ans->caught[i];
    a->bytes += (double)ans->bytes_read;
    a->n++;
}

/* Every question with one policy. The answer does not matter: one token. */
static qu_status ask_all(qu_eval *e, const json_t *lines, int policy, double keep, arm *a,
                         qu_err *err)
{
    qu_ask_options o = {.pages = (int32_t)qu_args_int(e->args, "pages"),
                        .floor = -1,
                        .max_tokens = 1,
                        .max_wait_s = 1e9,
                        .measure = true,
                        .policy = policies[policy],
                        .keep = keep};
    qu_asker *asker;
    qu_status st = QU_OK;
    const json_t *line;
    size_t i;
    int64_t most = qu_args_int(e->args, "n");
    QU_TRY(qu_asker_create(&asker, e->s, &o, err));
    json_array_foreach(lines, i, line)
    {
        qu_answer ans;
        if (st != QU_OK || (most > 0 && (int64_t)i >= most)) break;
        qu_out_progress(policies[policy], (int64_t)i, (int64_t)json_array_size(lines), "questions");
        st = qu_asker_ask(asker, qu_input_text(line, "question"), &ans, err);
        if (st == QU_OK) count(a, e->s->model, &ans);
        qu_answer_free(&ans);
    }
    qu_out_progress_end();
    return qu_asker_free(asker, st, err);
}

/* share_10th...: the tenth of the heads that catches least begins below this share of the best. */
static json_t *row(arm *a, int32_t n_heads)
{
    double n = (double)(a->n ? a->n : 1), layers = (double)(a->n_layers ? a->n_layers : 1);
    for (int32_t i = 0; i < n_heads; i++) a->heads[i] /= n;
    qsort(a->heads, (size_t)n_heads, sizeof *a->heads, qu_score_ascending);
    return qu_out_reals(
        NULL, "caught best share share_10th_percentile_of_heads slices_share bytes_read",
        (double[]){a->caught / layers, a->best / layers, a->best > 0 ? a->caught / a->best : 1,
                   a->n ? a->heads[n_heads / 10] : 1,
                   a->candidate_slices ? (double)a->slices / (double)a->candidate_slices : 1,
                   a->bytes / n});
}

qu_status qu_eval_mass(qu_eval *e, qu_err *err)
{
    QU_OWN(qu_freep) double *heads = NULL;
    QU_OWN(qu_freep) int64_t *prune = NULL;
    json_auto_t *lines = NULL, *table = json_object();
    int64_t n = 0, percent = 90;
    /* the share left out is one number here; the option's default is needle's list */
    if (qu_args_given(e->args, "prune")) {
        QU_TRY(qu_input_list(&prune, &n, e->args, "prune", 1, 99, 1, "percentage", err));
        percent = prune[0];
    }
    json_object_set_new(e->settings, "prune", json_integer(percent));
    QU_TRY(qu_eval_lines(e, QU_INPUT_MAX_QUESTION, false, &lines, err));
    QU_TRY(qu_eval_open(e, QU_SESSION_STORE | QU_SESSION_MODEL, err));
    int32_t n_heads = e->s->model->n_layers * e->s->model->n_kv_heads;
    QU_TRY(qu_memory_take(&heads, n_heads, sizeof *heads, err));
    for (int i = 0; i < N_POLICIES; i++) {
        arm a = {.heads = memset(heads, 0, (size_t)n_heads * sizeof *heads)};
        QU_TRY(ask_all(e, lines, i, 1 - (double)percent / 100, &a, err));
        json_object_set_new(table, policies[i], row(&a, n_heads));
        if (i == 0) n = a.n;
    }
    if (n == 0)
        return qu_fail(err, QU_ERR_ARG, "no question in '%s' had candidates to leave out",
                       e->args->argv[1]);
    return qu_eval_print(e, json_pack("{s:I,s:O}", "questions", (json_int_t)n, "mass", table), err);
}
