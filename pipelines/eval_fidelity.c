/* quire eval fidelity: exact, kv, repair and isolated on the same questions about a store. */
#include <stdlib.h>

#include "pipelines/compare.h"
#include "pipelines/eval.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/score.h"

/* Exact first: the others are measured against it. */
static const struct {
    const char *name;
    qu_fidelity fidelity;
} modes[] = {{"exact", QU_FIDELITY_EXACT},
             {"kv", QU_FIDELITY_KV},
             {"repair", QU_FIDELITY_REPAIR},
             {"isolated", QU_FIDELITY_ISOLATED}};

enum { N_MODES = sizeof modes / sizeof *modes };

typedef struct arm {
    double *em, f1; /* em: one a question */
    double same, flops, full_flops, bytes, ms;
    qu_difference d;
} arm;

typedef struct fidelity {
    qu_compare *compare;
    int64_t n, pages, tokens;
    arm arms[N_MODES];
} fidelity;

static qu_status count(arm *a, int64_t i, const qu_answer *ans, const json_t *golds, qu_err *err)
{
    bool exact;
    double f1;
    QU_TRY(qu_score_answer(ans->found ? ans->text.data : "", golds, &exact, &f1, err));
    a->em[i] = exact;
    a->f1 += f1;
    a->flops += ans->context_flops;
    a->full_flops += ans->full_flops;
    a->bytes += (double)ans->bytes_read;
    a->ms += ans->load_ms + ans->prefill_ms;
    return QU_OK;
}

static qu_status ask(fidelity *x, const char *question, const json_t *golds, qu_err *err)
{
    for (int m = 0; m < N_MODES; m++) {
        arm *a = &x->arms[m];
        qu_answer ans;
        qu_difference d = {.same = true};
        qu_status st = m == 0 ? qu_compare_exact(x->compare, question, &ans, err)
                              : qu_compare_with(x->compare, modes[m].fidelity, &d, &ans, err);
        if (st == QU_OK) st = count(a, x->n, &ans, golds, err);
        if (m == 0) x->pages += ans.candidates;
        if (m == 0) x->tokens += ans.prompt_tokens;
        qu_answer_free(&ans);
        if (st != QU_OK) return st;
        qu_difference_add(&a->d, &d);
        a->same += d.same;
    }
    x->n++;
    return QU_OK;
}

static json_t *row(const fidelity *x, int m, uint64_t seed)
{
    const arm *a = &x->arms[m];
    double n = (double)x->n, em = 0, ratio, range[2];
    for (int64_t i = 0; i < x->n; i++) em += a->em[i];
    qu_score_ratio(a->em, x->arms[0].em, x->n, seed, &ratio, &range[0], &range[1]);
    json_t *o = qu_out_reals(NULL, "em em_half_width_95 f1 em_of_exact",
                             (double[]){em / n, qu_score_half_width(em, em, n), a->f1 / n, ratio});
    json_object_set_new(o, "em_of_exact_95", qu_score_range(range));
    return qu_out_reals(o, "agreement kl same_answers flops_share bytes_read prefill_ms",
                        (double[]){a->d.positions ? (double)a->d.agree / (double)a->d.positions : 1,
                                   a->d.kl_positions ? a->d.kl / (double)a->d.kl_positions : 0,
                                   a->same / n, a->full_flops > 0 ? a->flops / a->full_flops : 0,
                                   a->bytes / n, a->ms / n});
}

static qu_status print(qu_eval *e, const fidelity *x, int64_t unanswered, qu_err *err)
{
    double n = (double)x->n;
    json_t *o = qu_out_ints(NULL, "questions unanswered", (int64_t[]){x->n, unanswered});
    json_t *table = json_object();
    qu_out_reals(o, "pages tokens", (double[]){(double)x->pages / n, (double)x->tokens / n});
    for (int m = 0; m < N_MODES; m++)
        json_object_set_new(table, modes[m].name,
                            row(x, m, (uint64_t)qu_args_int(e->args, "seed")));
    json_object_set_new(o, "fidelity", table);
    return qu_eval_print(e, o, err);
}

qu_status qu_eval_fidelity(qu_eval *e, qu_err *err)
{
    fidelity x = {0};
    QU_OWN(qu_freep) double *em = NULL;
    json_auto_t *lines = NULL;
    json_t *line;
    size_t i;
    /* lines without an answer are passed over */
    int64_t unanswered = 0, most = qu_args_int(e->args, "n");
    qu_ask_options o = {.pages = (int32_t)qu_args_int(e->args, "pages"),
                        .floor = -1, /* as many pages as were asked for */
                        .max_tokens = (int32_t)qu_args_int(e->args, "max-tokens"),
                        .max_wait_s = 1e9,
                        .repair_share = qu_args_float(e->args, "repair")};
    QU_TRY(qu_eval_lines(e, QU_INPUT_MAX_QUESTION, true, &lines, err));
    int64_t n_lines = (int64_t)json_array_size(lines);
    QU_TRY(qu_memory_take(&em, n_lines * N_MODES, sizeof *em, err));
    for (int m = 0; m < N_MODES; m++) x.arms[m].em = em + m * n_lines;
    QU_TRY(qu_eval_open(e, QU_SESSION_STORE | QU_SESSION_MODEL, err));
    QU_TRY(qu_compare_create(&x.compare, e->s, &o, err));
    qu_status st = QU_OK;
    json_array_foreach(lines, i, line)
    {
        const json_t *golds = json_object_get(line, "answers");
        if (st != QU_OK || (most > 0 && x.n >= most)) break;
        qu_out_progress("fidelity", x.n, 0, "questions");
        if (json_array_size(golds) == 0)
            unanswered++;
        else
            st = ask(&x, qu_input_text(line, "question"), golds, err);
    }
    qu_out_progress_end();
    if (st == QU_OK && x.n == 0)
        st = qu_fail(err, QU_ERR_ARG, "no question with an answer in '%s'", e->args->argv[1]);
    else if (st == QU_OK)
        st = print(e, &x, unanswered, err);
    return qu_compare_free(x.compare, st, err);
}
