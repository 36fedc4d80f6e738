/* quire eval fidelity: exact, kv, repair and isolated on the same questions about a store. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "kernels/codec.h"
#include "pipelines/compare.h"
#include "pipelines/eval.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/score.h"

enum { MAX_QUESTIONS = 100000 };

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
    double *em, *f1; /* one a question */
    double same, flops, full_flops, bytes, ms;
    qu_difference d;
} arm;

typedef struct fidelity {
    const qu_args *args;
    qu_session s;
    qu_compare *compare;
    int64_t n, most, unanswered, pages,
        tokens; /* unanswered: lines without an answer, passed over */
    arm arms[N_MODES];
} fidelity;

static qu_status count(arm *a, int64_t i, const qu_answer *ans, const json_t *golds, qu_err *err)
{
    bool exact;
    QU_TRY(qu_score_answer(ans->found ? ans->text.data : "", golds, &exact, &a->f1[i], err));
    a->em[i] = exact;
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

static qu_status ask_line(fidelity *x, const char *line, size_t n, qu_err *err)
{
    qu_question q = {0};
    json_t *o = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
    const json_t *golds = json_object_get(o, "answers");
    qu_status st = qu_question_parse(&q, line, n, err);
    if (st == QU_OK && q.n > 0) {
        if (!json_is_array(golds))
            st = qu_fail(err, QU_ERR_ARG, "a line without 'answers', a list of texts");
        else if (json_array_size(golds) == 0)
            x->unanswered++;
        else
            st = ask(x, q.text, golds, err);
    }
    json_decref(o);
    qu_question_free(&q);
    return st;
}

static qu_status ask_all(fidelity *x, qu_err *err)
{
    const char *path = x->args->argv[1];
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "re");
    qu_buf line = {0};
    qu_status st = QU_OK;
    if (!f) return qu_fail(err, qu_os_status(errno), "cannot open '%s': %s", path, strerror(errno));
    for (int64_t number = 1; x->n < x->most; number++) {
        bool more;
        qu_err why = {0};
        QU_TRY_OUT(qu_input_line(f, &line, QU_INPUT_MAX_QUESTION, &more, err));
        if (!more) break;
        qu_out_progress("fidelity", x->n, 0, "questions");
        st = ask_line(x, line.data, line.len, &why);
        if (st != QU_OK) {
            qu_fail(err, st, "line %lld: %.200s", (long long)number, why.msg);
            goto out;
        }
    }
out:
    qu_out_progress_end();
    if (!is_stdin) fclose(f);
    qu_buf_free(&line);
    return st;
}

/* --- the table --- */

typedef struct row {
    double em, em_half, f1, ratio, low, high, agreement, kl, same, flops, bytes, ms;
} row;

static row row_of(const fidelity *x, int m)
{
    const arm *a = &x->arms[m];
    double n = (double)x->n, em = 0, f1 = 0;
    for (int64_t i = 0; i < x->n; i++) em += a->em[i], f1 += a->f1[i];
    row r = {.em = em / n, .em_half = qu_score_half_width(em, em, n), .f1 = f1 / n};
    qu_score_ratio(a->em, x->arms[0].em, x->n, (uint64_t)qu_args_int(x->args, "seed"), &r.ratio,
                   &r.low, &r.high);
    r.agreement = m && a->d.positions ? (double)a->d.agree / (double)a->d.positions : 1;
    r.kl = a->d.kl_positions ? a->d.kl / (double)a->d.kl_positions : 0;
    r.same = a->same / n;
    r.flops = a->full_flops > 0 ? a->flops / a->full_flops : 0;
    r.bytes = a->bytes / n;
    r.ms = a->ms / n;
    return r;
}

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *row_json(const row *r)
{
    return json_pack("{s:f,s:f,s:f,s:o,s:[o,o],s:f,s:f,s:f,s:f,s:f,s:f}", "em", r->em,
                     "em_half_width_95", r->em_half, "f1", r->f1, "em_of_exact", number(r->ratio),
                     "em_of_exact_95", number(r->low), number(r->high), "agreement", r->agreement,
                     "kl", r->kl, "same_answers", r->same, "flops_share", r->flops, "bytes_read",
                     r->bytes, "prefill_ms", r->ms);
}

static qu_status print(const fidelity *x, qu_err *err)
{
    double n = (double)x->n;
    json_t *table = json_object();
    if (!qu_out_is_json())
        QU_TRY(qu_out_printf(
            err,
            "%lld questions, %.1f candidate pages and %.0f tokens each; model %s, codec %s, repair "
            "%g, seed %lld\n%-9s %13s %6s %20s %6s %8s %6s %6s %9s %8s\n",
            (long long)x->n, (double)x->pages / n, (double)x->tokens / n, x->s.model->name,
            qu_codec_name(x->s.codec), qu_args_float(x->args, "repair"),
            (long long)qu_args_int(x->args, "seed"), "", "EM", "F1", "EM of exact", "top-1", "KL",
            "equal", "FLOPs", "MB read", "ms"));
    for (int m = 0; m < N_MODES; m++) {
        row r = row_of(x, m);
        json_object_set_new(table, modes[m].name, row_json(&r));
        if (!qu_out_is_json())
            QU_TRY(qu_out_printf(
                err,
                "%-9s %.3f +- %.3f %6.3f %.3f [%.3f, %.3f] %6.3f %8.2g %6.3f %6.3f %9.2f %8.1f\n",
                modes[m].name, r.em, r.em_half, r.f1, r.ratio, r.low, r.high, r.agreement, r.kl,
                r.same, r.flops, r.bytes / 1e6, r.ms));
    }
    if (qu_out_is_json())
        return qu_out_json(
            json_pack(
                "{s:s,s:I,s:I,s:f,s:f,s:o,s:{s:s,s:s,s:s,s:I,s:I,s:f,s:I}}", "eval", "fidelity",
                "questions", (json_int_t)x->n, "unanswered", (json_int_t)x->unanswered, "pages",
                (double)x->pages / n, "tokens", (double)x->tokens / n, "fidelity", table,
                "settings", "model", x->s.model->name, "codec", qu_codec_name(x->s.codec),
                "numerics", x->s.numerics, "pages", (json_int_t)qu_args_int(x->args, "pages"),
                "max_tokens", (json_int_t)qu_args_int(x->args, "max-tokens"), "repair",
                qu_args_float(x->args, "repair"), "seed", (json_int_t)qu_args_int(x->args, "seed")),
            err);
    json_decref(table);
    return QU_OK;
}

static int run(const qu_args *args)
{
    qu_err err = {0};
    qu_status st = QU_OK;
    fidelity x = {.args = args, .most = qu_args_int(args, "n")};
    qu_ask_options o = {.pages = (int32_t)qu_args_int(args, "pages"),
                        .floor = -1, /* as many pages as were asked for */
                        .max_tokens = (int32_t)qu_args_int(args, "max-tokens"),
                        .max_wait_s = 1e9,
                        .repair_share = qu_args_float(args, "repair")};
    if (x.most < 1) x.most = MAX_QUESTIONS;
    for (int m = 0; m < N_MODES; m++) {
        x.arms[m].em = calloc((size_t)x.most, sizeof(double));
        x.arms[m].f1 = calloc((size_t)x.most, sizeof(double));
        if (!x.arms[m].em || !x.arms[m].f1) {
            st = qu_fail_nomem(&err, x.most * 16);
            goto out;
        }
    }
    QU_TRY_OUT(
        qu_session_open(&x.s, args, QU_SESSION_STORE | QU_SESSION_MODEL, QU_CODEC_F16, &err));
    QU_TRY_OUT(qu_compare_create(&x.compare, &x.s, &o, &err));
    QU_TRY_OUT(ask_all(&x, &err));
    if (x.n == 0)
        st = qu_fail(&err, QU_ERR_ARG, "no question with an answer in '%s'", args->argv[1]);
    else
        st = print(&x, &err);
out:
    if (st == QU_OK)
        st = qu_compare_free(x.compare, &err);
    else
        qu_compare_free(x.compare, NULL);
    qu_session_close(&x.s);
    for (int m = 0; m < N_MODES; m++) {
        free(x.arms[m].em);
        free(x.arms[m].f1);
    }
    return st == QU_OK ? QU_EXIT_OK : qu_out_error(&err, NULL);
}

const qu_eval_kind qu_eval_fidelity = {
    .name = "fidelity",
    .args = "FILE|-",
    .options = "n pages max-tokens repair seed",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
