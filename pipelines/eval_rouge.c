/* quire eval rouge: summaries against references; or, of documents with references, every method of
 * `quire summarize --extractive` at one length. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    qu_eval *e;
    qu_rouge_flavour flavour;
    bool extracts;
    double *f1[N_SETS][N_MEASURES], *ones; /* rows of numbers */
    double *numbers;
    int64_t n;
} rouge_run;

static int64_t count_words(const char *text)
{
    qu_words it;
    qu_word w;
    int64_t n = 0;
    qu_words_init(&it, text, strlen(text));
    while (qu_words_next(&it, &w)) n++;
    return n;
}

/* The best of the references, each measure for itself. */
static qu_status score(rouge_run *x, int set, const char *text, const json_t *references,
                       qu_err *err)
{
    const json_t *ref;
    size_t i;
    json_array_foreach(references, i, ref)
    {
        qu_rouge r;
        QU_TRY(qu_rouge_score(&r, x->flavour, text, strlen(text), json_string_value(ref),
                              json_string_length(ref), err));
        const double f1[N_MEASURES] = {r.one.f1, r.two.f1, r.l.f1, r.lsum.f1};
        for (int k = 0; k < N_MEASURES; k++)
            x->f1[set][k][x->n] = fmax(x->f1[set][k][x->n], f1[k]);
    }
    return QU_OK;
}

/* A method's sentences, a line each. */
static qu_status extract(qu_buf *out, const char *text, qu_digest_method method, int64_t words,
                         qu_err *err)
{
    QU_OWN(qu_digest_free) qu_digest d = {0};
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
    json_t *ref;
    json_auto_t *refs = json_object_get(o, "references");
    QU_OWN(qu_buf_free) qu_buf out = {0};
    size_t i;
    if (!refs) refs = json_object_get(o, "outputs");
    refs = refs ? json_incref(refs) : json_pack("[O]", json_object_get(o, "reference"));
    const char *summary = text_of(o, "summary", "prediction"), *text = text_of(o, "input", "text");
    bool right = json_array_size(refs) > 0 && (summary || text);
    json_array_foreach(refs, i, ref) right = right && json_is_string(ref);
    if (!right || (x->n > 0 && x->extracts != !summary))
        return qu_fail(
            err, QU_ERR_ARG,
            "line %lld has no 'reference' or 'outputs', or no 'summary' or 'input', or not "
            "the one that the first line has",
            (long long)x->n + 1);
    x->extracts = !summary;
    int64_t words = qu_args_int(x->e->args, "words");
    if (words == 0) words = count_words(json_string_value(json_array_get(refs, 0)));
    if (words < 1) words = 1;
    for (int k = 0; k < (x->extracts ? N_SETS : 1); k++) {
        if (x->extracts) QU_TRY(extract(&out, text, (qu_digest_method)k, words, err));
        QU_TRY(score(x, k, x->extracts ? out.data : summary, refs, err));
    }
    x->n++;
    return QU_OK;
}

static qu_status do_all(rouge_run *x, const json_t *lines, qu_err *err)
{
    int64_t most = qu_args_int(x->e->args, "n");
    size_t n = json_array_size(lines), i;
    const json_t *line;
    QU_TRY(qu_memory_take(&x->numbers, (int64_t)n * (N_SETS * N_MEASURES + 1), sizeof(double),
                          err));
    x->ones = x->numbers + n * N_SETS * N_MEASURES;
    for (i = 0; i < n; i++) x->ones[i] = 1;
    for (size_t k = 0; k < N_SETS * N_MEASURES; k++)
        x->f1[k / N_MEASURES][k % N_MEASURES] = x->numbers + n * k;
    json_array_foreach(lines, i, line)
        if (most == 0 || x->n < most) QU_TRY(do_line(x, line, err));
    return n ? QU_OK : qu_fail(err, QU_ERR_ARG, "'%s' has no lines", x->e->args->argv[1]);
}

/* --- results --- */

/* Mean and interval of a, or of its ratio to b. */
static json_t *interval(const rouge_run *x, const double *a, const double *b)
{
    double v[3];
    qu_score_ratio(a, b, x->n, (uint64_t)qu_args_int(x->e->args, "seed"), &v[0], &v[1], &v[2]);
    return json_pack("[f,f,f]", v[0], v[1], v[2]);
}

static json_t *row(const rouge_run *x, int set)
{
    json_t *o = json_pack("{s:s}", "method", x->extracts ? methods[set] : "summaries");
    int n = x->flavour == QU_ROUGE_SETS ? N_MEASURES - 1 : N_MEASURES;
    for (int k = 0; k < n; k++) {
        json_object_set_new(o, measures[k], interval(x, x->f1[set][k], x->ones));
        for (int base = 1; x->extracts && base < N_SETS; base += 2) { /* lexrank, lead */
            char key[64];
            snprintf(key, sizeof key, "%s_of_%s", measures[k], methods[base]);
            json_object_set_new(o, key, interval(x, x->f1[set][k], x->f1[base][k]));
        }
    }
    return o;
}

qu_status qu_eval_rouge(qu_eval *e, qu_err *err)
{
    rouge_run x = {.e = e, .flavour = (qu_rouge_flavour)qu_args_choice(e->args, "flavour")};
    json_auto_t *lines = NULL, *list = json_array();
    qu_status st = qu_eval_lines(e, MAX_LINE, false, &lines, err);
    if (st == QU_OK) st = do_all(&x, lines, err);
    for (int k = 0; st == QU_OK && k < (x.extracts ? N_SETS : 1); k++)
        json_array_append_new(list, row(&x, k));
    if (st == QU_OK)
        st = qu_eval_print(e, json_pack("{s:I,s:O}", "n", (json_int_t)x.n, "rouge", list), err);
    free(x.numbers);
    return st;
}
