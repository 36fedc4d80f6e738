/* quire eval qa: answers from many documents of which one holds it, by the place of that one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
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
    json_t *pool;        /* every passage of every line, borrowed */
    json_t *predictions; /* object: key -> answer; NULL: the model answers */
    qu_bed b;
    int64_t *places, n_places, missing, passed_over;
    int32_t documents;
    uint64_t seed;
    tally at[MAX_PLACES];
} qa;

/* --- input --- */

/* The objects of a JSONL file, appended to list. */
static qu_status read_lines(json_t *list, const char *path, qu_err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "re");
    qu_buf line = {0};
    qu_status st = QU_OK;
    if (!f) return qu_fail(err, qu_os_status(errno), "cannot open '%s': %s", path, strerror(errno));
    for (int64_t number = 1;; number++) {
        bool more;
        QU_TRY_OUT(qu_input_line(f, &line, MAX_LINE, &more, err));
        if (!more) break;
        if (strspn(line.data, " \t\r") == line.len) continue;
        json_t *o = json_loadb(line.data, line.len, 0, NULL);
        if (!json_is_object(o) || json_array_append_new(list, o) != 0) {
            if (!json_is_object(o)) json_decref(o);
            st = qu_fail(err, QU_ERR_ARG, "line %lld of '%s' is no JSON object", (long long)number,
                         path);
            goto out;
        }
    }
out:
    if (!is_stdin) fclose(f);
    qu_buf_free(&line);
    return st;
}

/* What tells a line: its id, else its question. Malloc'ed; NULL without either. */
static char *key_of(const json_t *line)
{
    const json_t *id = json_object_get(line, "id");
    if (!id || json_is_null(id)) id = json_object_get(line, "question");
    return id ? json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
}

static qu_status read_predictions(qa *x, const char *path, qu_err *err)
{
    json_t *list = json_array(), *line;
    size_t i;
    qu_status st = read_lines(list, path, err);
    x->predictions = json_object();
    json_array_foreach(list, i, line)
    {
        char *key = key_of(line);
        json_t *answer = json_object_get(line, "answer");
        if (!answer) answer = json_object_get(line, "prediction");
        if (key && json_is_string(answer)) json_object_set(x->predictions, key, answer);
        free(key);
    }
    json_decref(list);
    return st;
}

static const char *text_of(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "";
}

static bool is_gold(const json_t *passage)
{
    return json_is_true(json_object_get(passage, "isgold"));
}

/* Does the passage hold one of the answers, both in the form that answers are compared in? */
static qu_status holds(const json_t *passage, const json_t *golds, bool *yes, qu_err *err)
{
    qu_buf text = {0}, answer = {0};
    const json_t *gold;
    size_t i;
    qu_status st = qu_score_normalise(&text, text_of(passage, "text"), err);
    *yes = false;
    json_array_foreach(golds, i, gold)
    {
        if (st != QU_OK || !json_is_string(gold)) continue;
        answer.len = 0;
        st = qu_score_normalise(&answer, json_string_value(gold), err);
        if (st == QU_OK && answer.len > 0) *yes = *yes || strstr(text.data, answer.data);
    }
    qu_buf_free(&text);
    qu_buf_free(&answer);
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

static qu_status ask_at(qa *x, qu_bed_doc *docs, int32_t n, int64_t place, const qu_tokens *q,
                        qu_buf *answer, qu_err *err)
{
    qu_bed_doc *order[MAX_DOCUMENTS];
    qu_context *c;
    int64_t pos;
    qu_bed_how how = {(qu_fidelity)qu_args_choice(x->args, "fidelity"),
                      qu_args_float(x->args, "repair")};
    for (int32_t i = 0, other = 1; i < n; i++) order[i] = &docs[i == place - 1 ? 0 : other++];
    QU_TRY(qu_bed_place(&x->b, order, n, &how, q, &c, &pos, err));
    qu_status st =
        qu_bed_answer(&x->b, c, pos, q, (int32_t)qu_args_int(x->args, "max-tokens"), answer, err);
    qu_context_free(c);
    return st;
}

static qu_status ask(qa *x, const json_t *line, const json_t *golds, qu_err *err)
{
    const json_t *passages[MAX_DOCUMENTS];
    qu_bed_doc docs[MAX_DOCUMENTS] = {{0}};
    qu_tokens q = {0};
    qu_buf answer = {0};
    int32_t n;
    qu_status st = QU_OK;
    QU_TRY_OUT(choose(x, line, golds, passages, &n, err));
    x->passed_over += n == 0;
    for (int32_t i = 0; i < n; i++) {
        const char *text = text_of(passages[i], "text");
        QU_TRY_OUT(qu_bed_document(&x->b, &docs[i], text_of(passages[i], "title"), text,
                                   strlen(text), err));
    }
    QU_TRY_OUT(
        qu_template_question(x->b.s.template, x->b.s.tok, text_of(line, "question"), &q, err));
    for (int64_t p = 0; n > 0 && p < x->n_places; p++) {
        QU_TRY_OUT(ask_at(x, docs, n, x->places[p], &q, &answer, err));
        QU_TRY_OUT(count(&x->at[p], answer.data, golds, err));
    }
out:
    for (int32_t i = 0; i < MAX_DOCUMENTS; i++) qu_bed_free_document(&docs[i]);
    qu_tokens_free(&q);
    qu_buf_free(&answer);
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
        if (!json_is_array(golds) || (!x->predictions && !*text_of(line, "question")))
            return qu_fail(err, QU_ERR_ARG, "question %zu without 'question' and 'answers'", i + 1);
        if (most > 0 && x->at[0].n >= most) break;
        qu_out_progress("qa", (int64_t)i, (int64_t)json_array_size(x->lines), "questions");
        QU_TRY(x->predictions ? score_line(x, line, golds, err) : ask(x, line, golds, err));
    }
    qu_out_progress_end();
    return QU_OK;
}

/* --- results --- */

static json_t *settings(const qa *x)
{
    const qu_args *a = x->args;
    if (x->predictions) return json_pack("{s:s}", "score_only", qu_args_str(a, "score-only"));
    return json_pack("{s:s,s:s,s:s,s:f,s:i,s:I,s:I}", "model", x->b.s.model->name, "numerics",
                     x->b.s.numerics, "fidelity", qu_args_str(a, "fidelity"), "repair",
                     qu_args_float(a, "repair"), "documents", x->documents, "max_tokens",
                     (json_int_t)qu_args_int(a, "max-tokens"), "seed",
                     (json_int_t)qu_args_int(a, "seed"));
}

static qu_status print(const qa *x, qu_err *err)
{
    json_t *list = json_array();
    qu_status st = QU_OK;
    for (int64_t p = 0; p < x->n_places; p++) {
        const tally *t = &x->at[p];
        double n = (double)t->n, em = t->em / n, f1 = t->f1 / n;
        double em_half = qu_score_half_width(t->em, t->em, n),
               f1_half = qu_score_half_width(t->f1, t->f1_squares, n);
        json_t *place = x->predictions ? json_null() : json_integer((json_int_t)x->places[p]);
        json_array_append_new(list, json_pack("{s:o,s:I,s:f,s:f,s:f,s:f}", "gold_at", place, "n",
                                              (json_int_t)t->n, "em", em, "em_half_width_95",
                                              em_half, "f1", f1, "f1_half_width_95", f1_half));
        if (qu_out_is_json() || st != QU_OK) continue;
        if (!x->predictions)
            st = qu_out_printf(err, "gold document %lld of %d: ", (long long)x->places[p],
                               x->documents);
        if (st == QU_OK)
            st = qu_out_printf(err, "EM %.3f +- %.3f, F1 %.3f +- %.3f of %lld\n", em, em_half, f1,
                               f1_half, (long long)t->n);
    }
    if (x->missing > 0)
        qu_out_warn("%lld of %lld questions have no prediction", (long long)x->missing,
                    (long long)x->at[0].n);
    if (st == QU_OK && qu_out_is_json())
        return qu_out_json(json_pack("{s:s,s:o,s:I,s:I,s:o}", "eval", "qa", "qa", list, "missing",
                                     (json_int_t)x->missing, "passed_over",
                                     (json_int_t)x->passed_over, "settings", settings(x)),
                           err);
    json_decref(list);
    return st;
}

static qu_status read_places(qa *x, qu_err *err)
{
    const char *text = qu_args_str(x->args, "gold-at");
    x->documents = (int32_t)qu_args_int(x->args, "documents");
    QU_TRY(qu_input_numbers(&x->places, &x->n_places, text, strlen(text), 1, x->documents,
                            "place of the gold document", err));
    if (x->predictions) x->n_places = 1;
    if (x->n_places < 1 || x->n_places > MAX_PLACES)
        return qu_fail(err, QU_ERR_ARG, "option '--gold-at' takes 1 to %d places", MAX_PLACES);
    return QU_OK;
}

static int run(const qu_args *args)
{
    qu_err err = {0};
    qu_status st = QU_OK;
    const json_t *line, *passage;
    size_t i, k;
    qa x = {.args = args, .seed = (uint64_t)qu_args_int(args, "seed")};
    x.lines = json_array();
    x.pool = json_array();
    QU_TRY_OUT(read_lines(x.lines, args->argv[1], &err));
    if (qu_args_str(args, "score-only"))
        QU_TRY_OUT(read_predictions(&x, qu_args_str(args, "score-only"), &err));
    QU_TRY_OUT(read_places(&x, &err));
    json_array_foreach(x.lines, i, line)
        json_array_foreach(json_object_get(line, "ctxs"), k, passage)
            json_array_append(x.pool, (json_t *)passage);
    if (!x.predictions) QU_TRY_OUT(qu_bed_open(&x.b, args, &err));
    QU_TRY_OUT(ask_all(&x, &err));
    if (x.at[0].n == 0)
        st = qu_fail(&err, QU_ERR_ARG, "no question in '%s' has a gold passage and enough others",
                     args->argv[1]);
    else
        st = print(&x, &err);
out:
    json_decref(x.pool);
    json_decref(x.lines);
    json_decref(x.predictions);
    free(x.places);
    qu_bed_close(&x.b);
    return st == QU_OK ? QU_EXIT_OK : qu_out_error(&err, NULL);
}

const qu_eval_kind qu_eval_qa = {
    .name = "qa",
    .args = "FILE|-",
    .options = "documents gold-at fidelity repair max-tokens n seed score-only",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
