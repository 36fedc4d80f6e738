/* quire eval rouge: summaries against references; or, of documents with references, every method of
 * `quire summarize --extractive` at one length. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "index/words.h"
#include "pipelines/eval.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/score.h"
#include "retrieve/digest.h"
#include "retrieve/rouge.h"

enum { MAX_LINE = 64 << 20, N_MEASURES = 4, N_SETS = QU_N_DIGESTS };

static const char *const measures[N_MEASURES] = {"rouge1", "rouge2", "rougeL", "rougeLsum"};
static const char *const methods[N_SETS] = {"graph", "lexrank", "textrank", "lead"};

/* F1 of each line, of the summaries given (set 0) or of each method's. */
typedef struct rouge_run {
    const qu_args *args;
    qu_rouge_flavour flavour;
    bool extracts;
    double *f1[N_SETS][N_MEASURES];
    double *ones;
    int64_t n, cap;
    uint64_t seed;
} rouge_run;

static qu_status grow(rouge_run *x, qu_err *err)
{
    if (x->n < x->cap) return QU_OK;
    int64_t cap = x->cap ? x->cap * 2 : 64;
    for (int i = 0; i <= N_SETS * N_MEASURES; i++) {
        double **p = i < N_SETS * N_MEASURES ? &x->f1[i / N_MEASURES][i % N_MEASURES] : &x->ones;
        double *q = realloc(*p, (size_t)cap * sizeof *q);
        if (!q) return qu_fail_nomem(err, cap * 8);
        *p = q;
    }
    for (int64_t i = x->cap; i < cap; i++) x->ones[i] = 1;
    x->cap = cap;
    return QU_OK;
}

static int64_t count_words(const char *text)
{
    qu_words it;
    qu_word w;
    int64_t n = 0;
    qu_words_init(&it, text, strlen(text));
    while (qu_words_next(&it, &w)) n++;
    return n;
}

static json_t *value_json(const qu_rouge_value *v)
{
    return json_pack("[f,f,f]", v->precision, v->recall, v->f1);
}

static qu_status print_each(const rouge_run *x, int set, const qu_rouge *r, qu_err *err)
{
    if (!qu_args_flag(x->args, "each")) return QU_OK;
    if (!qu_out_is_json())
        return qu_out_printf(err, "%lld %s %.4f %.4f %.4f %.4f\n", (long long)x->n + 1,
                             x->extracts ? methods[set] : "-", r->one.f1, r->two.f1, r->l.f1,
                             r->lsum.f1);
    json_t *method = x->extracts ? json_string(methods[set]) : json_null();
    return qu_out_json(json_pack("{s:s,s:I,s:o,s:o,s:o,s:o,s:o}", "eval", "rouge", "line",
                                 (json_int_t)x->n + 1, "method", method, "rouge1",
                                 value_json(&r->one), "rouge2", value_json(&r->two), "rougeL",
                                 value_json(&r->l), "rougeLsum", value_json(&r->lsum)),
                       err);
}

/* The best of the references, each measure for itself. */
static qu_status score(rouge_run *x, int set, const char *text, const json_t *references, qu_err *err)
{
    qu_rouge best = {0};
    const json_t *ref;
    size_t i;
    json_array_foreach(references, i, ref)
    {
        qu_rouge r;
        qu_rouge_value *b[N_MEASURES] = {&best.one, &best.two, &best.l, &best.lsum};
        const qu_rouge_value *v[N_MEASURES] = {&r.one, &r.two, &r.l, &r.lsum};
        QU_TRY(qu_rouge_score(&r, x->flavour, text, strlen(text), json_string_value(ref),
                              json_string_length(ref), err));
        for (int k = 0; k < N_MEASURES; k++)
            if (i == 0 || v[k]->f1 > b[k]->f1) *b[k] = *v[k];
    }
    x->f1[set][0][x->n] = best.one.f1;
    x->f1[set][1][x->n] = best.two.f1;
    x->f1[set][2][x->n] = best.l.f1;
    x->f1[set][3][x->n] = best.lsum.f1;
    return print_each(x, set, &best, err);
}

/* A method's sentences, a line each. */
static qu_status extract(qu_buf *out, const char *text, qu_digest_method method, int64_t words,
                         qu_err *err)
{
    qu_digest d;
    out->len = 0;
    QU_TRY(qu_digest_make(&d, text, (int64_t)strlen(text), method, (int32_t)words, err));
    qu_status st = qu_buf_reserve(out, 1, err);
    for (int32_t i = 0; st == QU_OK && i < d.n; i++) {
        const qu_digest_sentence *s = &d.sentences[i];
        if (!s->chosen) continue;
        st = qu_buf_add(out, text + s->start, (size_t)(s->end - s->start), err);
        if (st == QU_OK) st = qu_buf_puts(out, "\n", err);
    }
    if (out->data) out->data[out->len] = 0;
    qu_digest_free(&d);
    return st;
}

static const char *text_of(const json_t *o, const char *name, const char *other)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : json_string_value(json_object_get(o, other));
}

/* {"summary" or "prediction"} or {"input" or "text"}, with "reference" or a list "references" or
 * "outputs". */
static qu_status do_line(rouge_run *x, const json_t *o, qu_err *err)
{
    json_t *refs = json_object_get(o, "references"), *ref;
    qu_buf out = {0};
    size_t i;
    if (!refs) refs = json_object_get(o, "outputs");
    refs = refs ? json_incref(refs) : json_pack("[O]", json_object_get(o, "reference"));
    const char *summary = text_of(o, "summary", "prediction"), *text = text_of(o, "input", "text");
    bool right = json_array_size(refs) > 0 && (summary || text);
    json_array_foreach(refs, i, ref) right = right && json_is_string(ref);
    qu_status st = QU_OK;
    if (!right || (x->n > 0 && x->extracts != !summary)) {
        st = qu_fail(err, QU_ERR_ARG,
                     "line %lld has no 'reference' or 'outputs', or no 'summary' or 'input', or not "
                     "the one that the first line has",
                     (long long)x->n + 1);
        goto out;
    }
    x->extracts = !summary;
    QU_TRY_OUT(grow(x, err));
    int64_t words = qu_args_int(x->args, "words");
    if (words == 0) words = count_words(json_string_value(json_array_get(refs, 0)));
    if (words < 1) words = 1;
    for (int k = 0; k < (x->extracts ? N_SETS : 1); k++) {
        if (x->extracts) QU_TRY_OUT(extract(&out, text, (qu_digest_method)k, words, err));
        QU_TRY_OUT(score(x, k, x->extracts ? out.data : summary, refs, err));
    }
    x->n++;
out:
    json_decref(refs);
    qu_buf_free(&out);
    return st;
}

static qu_status do_all(rouge_run *x, const char *path, qu_err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int64_t most = qu_args_int(x->args, "n");
    FILE *f = is_stdin ? stdin : fopen(path, "re");
    qu_buf line = {0};
    qu_status st = QU_OK;
    if (!f) return qu_fail(err, qu_os_status(errno), "cannot open '%s': %s", path, strerror(errno));
    while (most == 0 || x->n < most) {
        bool more;
        QU_TRY_OUT(qu_input_line(f, &line, MAX_LINE, &more, err));
        if (!more) break;
        if (strspn(line.data, " \t\r") == line.len) continue;
        json_t *o = json_loadb(line.data, line.len, 0, NULL);
        st = json_is_object(o) ? do_line(x, o, err)
                               : qu_fail(err, QU_ERR_ARG, "line %lld of '%s' is no JSON object",
                                         (long long)x->n + 1, path);
        json_decref(o);
        if (st != QU_OK) goto out;
    }
    if (x->n == 0) st = qu_fail(err, QU_ERR_ARG, "'%s' has no lines", path);
out:
    if (!is_stdin) fclose(f);
    qu_buf_free(&line);
    return st;
}

/* --- results --- */

typedef struct interval {
    double mean, low, high;
} interval;

static interval ratio(const rouge_run *x, const double *a, const double *b)
{
    interval i;
    qu_score_ratio(a, b, x->n, x->seed, &i.mean, &i.low, &i.high);
    return i;
}

static json_t *interval_json(interval i)
{
    return json_pack("[f,f,f]", i.mean, i.low, i.high);
}

static qu_status print_set(const rouge_run *x, int set, json_t *list, qu_err *err)
{
    const char *name = x->extracts ? methods[set] : "summaries";
    json_t *o = json_pack("{s:s}", "method", name);
    int n = x->flavour == QU_ROUGE_SETS ? N_MEASURES - 1 : N_MEASURES;
    json_array_append_new(list, o);
    for (int k = 0; k < n; k++) {
        interval mean = ratio(x, x->f1[set][k], x->ones);
        json_object_set_new(o, measures[k], interval_json(mean));
        if (!qu_out_is_json())
            QU_TRY(qu_out_printf(err, "%-9s %-9s %.4f [%.4f, %.4f]", name, measures[k], mean.mean,
                                 mean.low, mean.high));
        for (int base = 1; x->extracts && base < N_SETS; base += 2) { /* lexrank, lead */
            interval r = ratio(x, x->f1[set][k], x->f1[base][k]);
            char key[64];
            snprintf(key, sizeof key, "%s_of_%s", measures[k], methods[base]);
            json_object_set_new(o, key, interval_json(r));
            if (!qu_out_is_json() && base != set)
                QU_TRY(qu_out_printf(err, "  of %s's %.3f [%.3f, %.3f]", methods[base], r.mean, r.low,
                                     r.high));
        }
        if (!qu_out_is_json()) QU_TRY(qu_out_printf(err, "\n"));
    }
    return QU_OK;
}

static qu_status print(const rouge_run *x, qu_err *err)
{
    json_t *list = json_array();
    qu_status st = QU_OK;
    for (int k = 0; st == QU_OK && k < (x->extracts ? N_SETS : 1); k++)
        st = print_set(x, k, list, err);
    if (st == QU_OK && qu_out_is_json())
        return qu_out_json(json_pack("{s:s,s:s,s:I,s:I,s:I,s:o}", "eval", "rouge", "flavour",
                                     qu_args_str(x->args, "flavour"), "n", (json_int_t)x->n, "words",
                                     (json_int_t)qu_args_int(x->args, "words"), "seed",
                                     (json_int_t)x->seed, "rouge", list),
                           err);
    json_decref(list);
    return st;
}

static int run(const qu_args *args)
{
    qu_err err = {0};
    rouge_run x = {.args = args, .flavour = (qu_rouge_flavour)qu_args_choice(args, "flavour"),
                   .seed = (uint64_t)qu_args_int(args, "seed")};
    qu_status st = do_all(&x, args->argv[1], &err);
    if (st == QU_OK) st = print(&x, &err);
    for (int i = 0; i < N_SETS * N_MEASURES; i++) free(x.f1[i / N_MEASURES][i % N_MEASURES]);
    free(x.ones);
    return st == QU_OK ? QU_EXIT_OK : qu_out_error(&err, NULL);
}

const qu_eval_kind qu_eval_rouge = {
    .name = "rouge",
    .args = "FILE|-",
    .options = "flavour words each n seed",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
