/* quire eval mass: how much of the attention that falls on the candidates each policy catches, against
 * what the same cut catches knowing the truth. Far field off: only what is read counts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "kernels/codec.h"
#include "pipelines/answer.h"
#include "pipelines/eval.h"
#include "pipelines/input.h"
#include "pipelines/output.h"

static const char *const policies[] = {"streaming", "page-mean", "quest", "squeezed", "multipole"};

enum { N_POLICIES = sizeof policies / sizeof *policies };

typedef struct arm {
    double caught, best, bytes; /* sums over questions and layers; over questions */
    int64_t slices, candidate_slices, n, n_layers;
    double *heads; /* [L,G] sums over questions of caught / best */
} arm;

typedef struct mass {
    const qu_args *args;
    qu_session s;
    int64_t most;
    arm arms[N_POLICIES];
} mass;

static void count(const mass *x, arm *a, const qu_answer *ans)
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
    for (int32_t i = 0; i < ans->n_layers * x->s.model->n_kv_heads; i++)
        a->heads[i] += (double)ans->caught[i];
    a->bytes += (double)ans->bytes_read;
    a->n++;
}

/* Every question of the file with one policy. The answer does not matter: one token. */
static qu_status ask_all(mass *x, int policy, double keep, qu_err *err)
{
    qu_ask_options o = {.pages = (int32_t)qu_args_int(x->args, "pages"),
                        .floor = -1,
                        .max_tokens = 1,
                        .max_wait_s = 1e9,
                        .measure = true,
                        .policy = policies[policy],
                        .keep = keep};
    qu_asker *asker = NULL;
    qu_buf line = {0};
    qu_status st = QU_OK;
    FILE *f = fopen(x->args->argv[1], "re");
    if (!f)
        return qu_fail(err, qu_os_status(errno), "cannot open '%s': %s", x->args->argv[1],
                       strerror(errno));
    QU_TRY_OUT(qu_asker_create(&asker, &x->s, &o, err));
    for (int64_t n = 0; n < x->most; n++) {
        qu_question q = {0};
        qu_answer ans;
        bool more;
        QU_TRY_OUT(qu_input_line(f, &line, QU_INPUT_MAX_QUESTION, &more, err));
        if (!more) break;
        QU_TRY_OUT(qu_question_parse(&q, line.data, line.len, err));
        qu_out_progress(policies[policy], n, 0, "questions");
        if (q.n > 0) {
            st = qu_asker_ask(asker, q.text, &ans, err);
            if (st == QU_OK) count(x, &x->arms[policy], &ans);
            qu_answer_free(&ans);
        }
        qu_question_free(&q);
        if (st != QU_OK) goto out;
    }
out:
    qu_out_progress_end();
    qu_buf_free(&line);
    fclose(f);
    if (st == QU_OK) return qu_asker_free(asker, err);
    qu_asker_free(asker, NULL);
    return st;
}

/* --- the table --- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The tenth of the heads that catches least begins below this share of the best. */
static double tenth_of_heads(arm *a, int32_t n_heads)
{
    for (int32_t i = 0; i < n_heads; i++) a->heads[i] /= (double)a->n;
    qsort(a->heads, (size_t)n_heads, sizeof *a->heads, ascending);
    return a->heads[n_heads / 10];
}

static qu_status print(mass *x, int64_t prune, qu_err *err)
{
    json_t *table = json_object();
    int32_t n_heads = x->s.model->n_layers * x->s.model->n_kv_heads;
    if (!qu_out_is_json())
        QU_TRY(qu_out_printf(
            err,
            "%lld questions, %lld%% of the candidates left out; model %s, codec %s\n"
            "%-9s %7s %7s %7s %9s %7s %8s\n",
            (long long)x->arms[0].n, (long long)prune, x->s.model->name, qu_codec_name(x->s.codec),
            "", "caught", "best", "share", "10% heads", "slices", "MB read"));
    for (int i = 0; i < N_POLICIES; i++) {
        arm *a = &x->arms[i];
        double n = (double)(a->n ? a->n : 1), layers = (double)(a->n_layers ? a->n_layers : 1);
        double caught = a->caught / layers, best = a->best / layers, mb = a->bytes / n / 1e6;
        double share = best > 0 ? caught / best : 1, tenth = a->n ? tenth_of_heads(a, n_heads) : 1;
        double slices = a->candidate_slices ? (double)a->slices / (double)a->candidate_slices : 1;
        json_object_set_new(table, policies[i],
                            json_pack("{s:f,s:f,s:f,s:f,s:f,s:f}", "caught", caught, "best", best,
                                      "share", share, "share_10th_percentile_of_heads", tenth,
                                      "slices_share", slices, "bytes_read", mb * 1e6));
        if (!qu_out_is_json())
            QU_TRY(qu_out_printf(err, "%-9s %7.3f %7.3f %7.3f %9.3f %7.3f %8.2f\n", policies[i],
                                 caught, best, share, tenth, slices, mb));
    }
    if (qu_out_is_json())
        return qu_out_json(json_pack("{s:s,s:I,s:o,s:{s:s,s:s,s:s,s:I,s:I}}", "eval", "mass",
                                     "questions", (json_int_t)x->arms[0].n, "mass", table,
                                     "settings", "model", x->s.model->name, "codec",
                                     qu_codec_name(x->s.codec), "numerics", x->s.numerics, "pages",
                                     (json_int_t)qu_args_int(x->args, "pages"), "prune",
                                     (json_int_t)prune),
                           err);
    json_decref(table);
    return QU_OK;
}

static int run(const qu_args *args)
{
    qu_err err = {0};
    qu_status st = QU_OK;
    char *end;
    mass x = {.args = args, .most = qu_args_int(args, "n")};
    /* the share left out is one number here; the option's default is needle's list */
    long prune = qu_args_given(args, "prune") ? strtol(qu_args_str(args, "prune"), &end, 10) : 90;
    if (x.most < 1) x.most = INT64_MAX;
    if (prune < 1 || prune > 99 || (qu_args_given(args, "prune") && *end)) {
        st = qu_fail(&err, QU_ERR_ARG, "option '--prune' of eval mass takes a number from 1 to 99");
        goto out;
    }
    QU_TRY_OUT(
        qu_session_open(&x.s, args, QU_SESSION_STORE | QU_SESSION_MODEL, QU_CODEC_F16, &err));
    for (int i = 0; i < N_POLICIES; i++) {
        int64_t heads = (int64_t)x.s.model->n_layers * x.s.model->n_kv_heads;
        x.arms[i].heads = calloc((size_t)heads, sizeof(double));
        if (!x.arms[i].heads) {
            st = qu_fail_nomem(&err, heads * 8);
            goto out;
        }
        QU_TRY_OUT(ask_all(&x, i, 1 - (double)prune / 100, &err));
    }
    if (x.arms[0].n == 0)
        st = qu_fail(&err, QU_ERR_ARG, "no question in '%s' had candidates to leave out",
                     args->argv[1]);
    else
        st = print(&x, prune, &err);
out:
    qu_session_close(&x.s);
    for (int i = 0; i < N_POLICIES; i++) free(x.arms[i].heads);
    return st == QU_OK ? QU_EXIT_OK : qu_out_error(&err, NULL);
}

const qu_eval_kind qu_eval_mass = {
    .name = "mass",
    .args = "FILE",
    .options = "n pages prune",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
