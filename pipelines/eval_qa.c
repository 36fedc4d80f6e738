/* quire eval qa: answers from many documents of which one holds it, by the place of that one. */
#include <stdlib.h>
#include <string.h>

#include "pipelines/eval.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/score.h"
#include "pipelines/testbed.h"

enum { MAX_DOCUMENTS = 100, MAX_PLACES = 16, DRAWS = 10000, MAX_LINE = 16 << 20 };

typedef struct tally {
    int64_t n;
    double em, f1, f1_squares;
} tally;

typedef struct qa {
    const qu_args *args;
    json_t *lines;       /* array of objects */
    json_t *pool;        /* every passage of every line */
    json_t *predictions; /* object: key -> answer; NULL: the model answers */
    qu_asker a;
    int64_t *places, n_places, missing, passed_over;
    int32_t documents;
    uint64_t seed;
    tally at[MAX_PLACES];
} qa;

/* --- input --- */

/* What tells a line: its id, else its question. Malloc'ed; NULL without either. */
static char *key_of(const json_t *line)
{
    const json_t *id = json_object_get(line, "id");
    if (!id || json_is_null(id)) id = json_object_get(line, "question");
    return id ? json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
}

static qu_status read_predictions(qa *x, const char *path, qu_err *err)
{
    json_t *line;
    json_auto_t *list = NULL;
    size_t i;
    qu_status st = qu_input_objects(&list, path, MAX_LINE, err);
    x->predictions = json_object();
    json_array_foreach(list, i, line)
    {
        char *key = key_of(line);
        json_t *answer = json_object_get(line, "answer");
        if (!answer) answer = json_object_get(line, "prediction");
        if (key && json_is_string(answer)) json_object_set(x->predictions, key, answer);
        free(key);
    }
    return st;
}

static bool is_gold(const json_t *passage)
{
    return json_is_true(json_object_get(passage, "isgold"));
}

/* Does the passage hold one of the answers, both in the form that answers are compared in? */
static qu_status holds(const json_t *passage, const json_t *golds, bool *yes, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf text = {0}, answer = {0};
    const json_t *gold;
    size_t i;
    qu_status st = qu_score_normalise(&text, qu_input_text(passage, "text"), err);
    *yes = false;
    json_array_foreach(golds, i, gold)
    {
        if (st != QU_OK || !json_is_string(gold)) continue;
        answer.len = 0;
        st = qu_score_normalise(&answer, json_string_value(gold), err);
        if (st == QU_OK && answer.len > 0) *yes = *yes || strstr(text.data, answer.data);
    }
    return st;
}

/* The gold passage, then others that lack the answer: the line's own first, then drawn ones.
 * *n stays 0 where there is no gold passage or there are too few others. */
static qu_status choose(qa *x, const json_t *line, const json_t *golds, const json_t **docs,
                        int32_t *n, qu_err *err)
{
    const json_t *own = json_object_get(line, "ctxs"), *p;
    size_t i, all = json_array_size(x->pool);
    int32_t found = 0;
    *n = 0;
    json_array_foreach(own, i, p)
    {
        if (found == 0 && is_gold(p)) docs[found++] = p;
    }
    if (found == 0) return QU_OK;
    size_t n_own = json_array_size(own);
    for (size_t k = 0; found < x->documents && k < n_own + DRAWS; k++) {
        p = k < n_own ? json_array_get(own, k)
                      : json_array_get(x->pool, qu_score_random(&x->seed) % all);
        bool bad = k < n_own && is_gold(p);
        for (int32_t d = 0; d < found; d++) bad = bad || docs[d] == p;
        if (bad) continue;
        QU_TRY(holds(p, golds, &bad, err));
        if (!bad) docs[found++] = p;
    }
    if (found == x->documents) *n = found;
    return QU_OK;
}

/* --- asking --- */

static qu_status count(tally *t, const char *answer, const json_t *golds, qu_err *err)
{
    bool exact;
    double f1;
    QU_TRY(qu_score_answer(answer, golds, &exact, &f1, err));
    t->n++;
    t->em += exact;
    t->f1 += f1;
    t->f1_squares += f1 * f1;
    return QU_OK;
}

static qu_status ask(qa *x, const json_t *line, const json_t *golds, qu_err *err)
{
    const json_t *passages[MAX_DOCUMENTS];
    qu_bed_doc docs[MAX_DOCUMENTS] = {{0}}, *order[MAX_DOCUMENTS];
    int32_t n;
    qu_status st = QU_OK;
    QU_TRY_OUT(choose(x, line, golds, passages, &n, err));
    x->passed_over += n == 0;
    for (int32_t i = 0; i < n; i++) {
        const char *text = qu_input_text(passages[i], "text");
        QU_TRY_OUT(qu_bed_document(&x->a, &docs[i], qu_input_text(passages[i], "title"), text,
                                   strlen(text), err));
    }
    for (int64_t p = 0; n > 0 && p < x->n_places; p++) {
        qu_answer ans;
        for (int32_t i = 0, other = 1; i < n; i++)
            order[i] = &docs[i == x->places[p] - 1 ? 0 : other++];
        st = qu_bed_ask(&x->a, order, n, qu_input_text(line, "question"), &ans, err);
        if (st == QU_OK) st = count(&x->at[p], ans.text.data, golds, err);
        qu_answer_free(&ans);
        if (st != QU_OK) goto out;
    }
out:
    for (int32_t i = 0; i < MAX_DOCUMENTS; i++) qu_bed_free_document(&docs[i]);
    return st;
}

static qu_status score_line(qa *x, const json_t *line, const json_t *golds, qu_err *err)
{
    char *key = key_of(line);
    const json_t *answer = key ? json_object_get(x->predictions, key) : NULL;
    free(key);
    x->missing += !answer;
    return count(&x->at[0], answer ? json_string_value(answer) : "", golds, err);
}

static qu_status ask_all(qa *x, qu_err *err)
{
    const json_t *line;
    size_t i;
    int64_t most = qu_args_int(x->args, "n");
    json_array_foreach(x->lines, i, line)
    {
        const json_t *golds = json_object_get(line, "answers");
        if (most > 0 && x->at[0].n >= most) break;
        qu_out_progress("qa", (int64_t)i, (int64_t)json_array_size(x->lines), "questions");
        QU_TRY(x->predictions ? score_line(x, line, golds, err) : ask(x, line, golds, err));
    }
    qu_out_progress_end();
    return QU_OK;
}

/* --- results --- */

static qu_status print(qu_eval *e, const qa *x, qu_err *err)
{
    json_t *list = json_array(), *o;
    for (int64_t p = 0; p < x->n_places; p++) {
        const tally *t = &x->at[p];
        double n = (double)t->n;
        o = json_pack("{s:o,s:I}", "gold_at",
                      x->predictions ? json_null() : json_integer((json_int_t)x->places[p]), "n",
                      (json_int_t)t->n);
        json_array_append_new(
            list,
            qu_out_reals(o, "em em_half_width_95 f1 f1_half_width_95",
                         (double[]){t->em / n, qu_score_half_width(t->em, t->em, n), t->f1 / n,
                                    qu_score_half_width(t->f1, t->f1_squares, n)}));
    }
    if (x->missing > 0)
        qu_out_warn("%lld of %lld questions have no prediction", (long long)x->missing,
                    (long long)x->at[0].n);
    o = json_pack("{s:o}", "qa", list);
    qu_out_ints(o, "missing passed_over", (int64_t[]){x->missing, x->passed_over});
    return qu_eval_print(e, o, err);
}

static qu_status prepare(qu_eval *e, qa *x, qu_err *err)
{
    const qu_args *a = e->args;
    const json_t *line;
    size_t i;
    qu_ask_options o = {.max_tokens = (int32_t)qu_args_int(a, "max-tokens"),
                        .draft = QU_DRAFT_NONE,
                        .fidelity = (qu_fidelity)qu_args_choice(a, "fidelity"),
                        .repair_share = qu_args_float(a, "repair")};
    QU_TRY(qu_eval_lines(e, MAX_LINE, true, &x->lines, err));
    if (qu_args_str(a, "score-only"))
        QU_TRY(read_predictions(x, qu_args_str(a, "score-only"), err));
    x->documents = (int32_t)qu_args_int(a, "documents");
    QU_TRY(qu_input_list(&x->places, &x->n_places, a, "gold-at", 1, x->documents, MAX_PLACES,
                         "place of the gold document", err));
    if (x->predictions) x->n_places = 1;
    x->pool = json_array();
    json_array_foreach(x->lines, i, line)
        json_array_extend(x->pool, json_object_get(line, "ctxs"));
    if (x->predictions) return QU_OK;
    QU_TRY(qu_eval_open(e, QU_SESSION_MODEL, err));
    return qu_asker_open(&x->a, e->s, &o, err);
}

qu_status qu_eval_qa(qu_eval *e, qu_err *err)
{
    qa x = {.args = e->args, .seed = (uint64_t)qu_args_int(e->args, "seed")};
    qu_status st = prepare(e, &x, err);
    if (st == QU_OK) st = ask_all(&x, err);
    if (st == QU_OK && x.at[0].n == 0)
        st = qu_fail(err, QU_ERR_ARG, "no question in '%s' has a gold passage and enough others",
                     e->args->argv[1]);
    if (st == QU_OK) st = print(e, &x, err);
    json_decref(x.pool);
    json_decref(x.lines);
    json_decref(x.predictions);
    free(x.places);
    qu_asker_close(&x.a);
    return st;
}
