/* quire eval recall: how often the right files are among the first hits. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/os.h"
#include "kernels/codec.h"
#include "pipelines/eval.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/session.h"

enum { MAX_CUTOFFS = 16, MAX_RANK = 1000 };

typedef struct recall {
    const qu_args *args;
    qu_session s;
    qu_lexical *lx;
    qu_txn *txn;
    qu_doc *docs;              /* [n_docs] of the store, ascending id */
    int64_t n_docs;
    int64_t *cutoffs, n_cutoffs;
    int32_t top;               /* the largest cutoff */
    int64_t n_questions, n_passed_over, n_unknown; /* unknown: no gold is in the store */
    double sum[MAX_CUTOFFS], squares[MAX_CUTOFFS], reciprocal;
    double search_ms;
    qu_lexical_hit hits[MAX_RANK];
} recall;

static qu_status load_docs(recall *x, qu_err *err)
{
    int64_t cap = 0;
    for (uint64_t after = 0;;) {
        qu_doc d;
        QU_TRY(qu_catalogue_next_doc(x->txn, after, &d, err));
        if (d.doc_id == 0) return QU_OK;
        if (x->n_docs == cap) {
            cap = cap ? 2 * cap : 256;
            qu_doc *p = realloc(x->docs, (size_t)cap * sizeof *p);
            if (!p) {
                qu_doc_free(&d);
                return qu_fail_nomem(err, cap * (long long)sizeof *p);
            }
            x->docs = p;
        }
        x->docs[x->n_docs++] = d;
        after = d.doc_id;
    }
}

static const qu_doc *doc_of(const recall *x, uint64_t id)
{
    int64_t lo = 0, hi = x->n_docs;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (x->docs[mid].doc_id < id) lo = mid + 1;
        else hi = mid;
    }
    return lo < x->n_docs && x->docs[lo].doc_id == id ? &x->docs[lo] : NULL;
}

/* gold: a document's number, its path, or the end of its path after a '/'. */
static bool is_gold(const json_t *gold, const qu_doc *d)
{
    if (json_is_integer(gold)) return (uint64_t)json_integer_value(gold) == d->doc_id;
    size_t n = json_string_length(gold);
    if (n > d->path_len || memcmp(d->path + d->path_len - n, json_string_value(gold), n) != 0)
        return false;
    return n == d->path_len || d->path[d->path_len - n - 1] == '/';
}

/* Count one question; golds is a list of at least one. */
static void score(recall *x, json_t *golds, int32_t n_hits)
{
    int32_t first = 0;
    size_t n_gold = json_array_size(golds);
    double found[MAX_CUTOFFS] = {0};
    for (size_t g = 0; g < n_gold; g++) {
        for (int32_t i = 0; i < n_hits; i++) {
            const qu_doc *d = doc_of(x, x->hits[i].doc_id);
            if (!d || !is_gold(json_array_get(golds, g), d)) continue;
            if (first == 0 || i + 1 < first) first = i + 1;
            for (int64_t k = 0; k < x->n_cutoffs; k++)
                if (i < x->cutoffs[k]) found[k] += 1.0 / (double)n_gold;
            break;
        }
    }
    for (int64_t k = 0; k < x->n_cutoffs; k++) {
        x->sum[k] += found[k];
        x->squares[k] += found[k] * found[k];
    }
    if (first > 0) x->reciprocal += 1.0 / first;
    bool known = first > 0;
    for (size_t g = 0; g < n_gold && !known; g++)
        for (int64_t d = 0; d < x->n_docs && !known; d++)
            known = is_gold(json_array_get(golds, g), &x->docs[d]);
    x->n_unknown += !known;
    x->n_questions++;
}

/* Dev and test are two halves by the hash of the question. */
static bool in_split(const recall *x, const qu_question *q)
{
    int split = qu_args_choice(x->args, "split");
    uint64_t seed = (uint64_t)qu_args_int(x->args, "seed");
    return split == 0 || (int)(qu_hash_sum(q->text, q->n, seed) >> 63) == split - 1;
}

/* The gold of a line as a list of strings and numbers; NULL if there is none that can be read. */
static json_t *read_gold(const char *line, size_t n)
{
    json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    json_t *gold = json_object_get(o, "gold"), *list = json_array(), *item;
    size_t i;
    if (json_is_array(gold)) json_array_extend(list, gold);
    else if (gold) json_array_append(list, gold);
    json_decref(o);
    bool good = json_array_size(list) > 0;
    json_array_foreach(list, i, item)
        good = good && (json_is_integer(item) || json_string_length(item) > 0);
    if (good) return list;
    json_decref(list);
    return NULL;
}

static qu_status ask(recall *x, const char *line, size_t n, qu_err *err)
{
    qu_question q = {0};
    json_t *golds = NULL;
    qu_lexical_opts opts = {.max_per_doc = 1};
    int32_t n_hits = 0;
    qu_status st = QU_OK;
    QU_TRY_OUT(qu_question_parse(&q, line, n, err));
    if (q.n == 0) goto out;
    golds = read_gold(line, n);
    if (!golds) {
        st = qu_fail(err, QU_ERR_ARG, "a line without 'gold': a path, a number or a list of them");
        goto out;
    }
    if (!in_split(x, &q)) {
        x->n_passed_over++;
        goto out;
    }
    double start = qu_os_now_ms();
    QU_TRY_OUT(qu_lexical_search(x->lx, q.text, q.n, &opts, x->top, x->hits, &n_hits, err));
    x->search_ms += qu_os_now_ms() - start;
    score(x, golds, n_hits);
out:
    json_decref(golds);
    qu_question_free(&q);
    return st;
}

static qu_status ask_all(recall *x, qu_err *err)
{
    const char *path = x->args->argv[1];
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "re");
    qu_buf line = {0};
    qu_status st = QU_OK;
    int64_t number = 0;
    if (!f)
        return qu_fail(err, qu_os_status(errno), "cannot open '%s': %s", path, strerror(errno));
    for (bool more = true;;) {
        QU_TRY_OUT(qu_input_line(f, &line, QU_INPUT_MAX_QUESTION, &more, err));
        if (!more) break;
        qu_err why = {0};
        number++;
        st = ask(x, line.data, line.len, &why);
        if (st != QU_OK) {
            qu_fail(err, st, "line %lld: %.200s", (long long)number, why.msg);
            goto out;
        }
    }
out:
    if (!is_stdin) fclose(f);
    qu_buf_free(&line);
    return st;
}

/* Half the width of the 95% interval of a mean of n values. */
static double half_width(double sum, double squares, double n)
{
    double mean = sum / n, variance = squares / n - mean * mean;
    return variance > 0 ? 1.96 * sqrt(variance / n) : 0;
}

static qu_status print_json(recall *x, qu_err *err)
{
    double n = (double)x->n_questions;
    json_t *at = json_object(), *width = json_object();
    for (int64_t k = 0; k < x->n_cutoffs; k++) {
        char key[24];
        snprintf(key, sizeof key, "%lld", (long long)x->cutoffs[k]);
        json_object_set_new(at, key, json_real(x->sum[k] / n));
        json_object_set_new(width, key, json_real(half_width(x->sum[k], x->squares[k], n)));
    }
    return qu_out_json(
        json_pack("{s:s,s:I,s:I,s:o,s:o,s:f,s:f,s:I,s:{s:s,s:I}}", "eval", "recall", "questions",
                  (json_int_t)x->n_questions, "documents", (json_int_t)x->n_docs, "recall", at,
                  "half_width_95", width, "mrr", x->reciprocal / n, "search_ms", x->search_ms / n,
                  "unknown_gold", (json_int_t)x->n_unknown, "settings", "split",
                  qu_args_str(x->args, "split"), "seed",
                  (json_int_t)qu_args_int(x->args, "seed")),
        err);
}

static qu_status print(recall *x, qu_err *err)
{
    double n = (double)x->n_questions;
    if (x->n_unknown > 0)
        qu_out_warn("the gold of %lld of %lld questions is not in the store",
                    (long long)x->n_unknown, (long long)x->n_questions);
    if (qu_out_is_json()) return print_json(x, err);
    QU_TRY(qu_out_printf(err, "%lld questions over %lld documents; split %s, seed %lld\n",
                         (long long)x->n_questions, (long long)x->n_docs,
                         qu_args_str(x->args, "split"),
                         (long long)qu_args_int(x->args, "seed")));
    for (int64_t k = 0; k < x->n_cutoffs; k++)
        QU_TRY(qu_out_printf(err, "recall@%-4lld %.4f +-%.4f\n", (long long)x->cutoffs[k],
                             x->sum[k] / n, half_width(x->sum[k], x->squares[k], n)));
    return qu_out_printf(err, "MRR         %.4f\nsearch      %.2f ms\n", x->reciprocal / n,
                         x->search_ms / n);
}

static qu_status read_cutoffs(recall *x, qu_err *err)
{
    const char *text = qu_args_str(x->args, "cutoffs");
    QU_TRY(qu_input_numbers(&x->cutoffs, &x->n_cutoffs, text, strlen(text), 1, MAX_RANK, "cutoff",
                            err));
    if (x->n_cutoffs < 1 || x->n_cutoffs > MAX_CUTOFFS)
        return qu_fail(err, QU_ERR_ARG, "option '--cutoffs' takes 1 to %d ranks", MAX_CUTOFFS);
    for (int64_t k = 0; k < x->n_cutoffs; k++)
        if (x->cutoffs[k] > x->top) x->top = (int32_t)x->cutoffs[k];
    return QU_OK;
}

static int run(const qu_args *args)
{
    qu_err err = {0};
    qu_status st = QU_OK;
    recall *x = calloc(1, sizeof *x);
    if (!x) {
        qu_fail_nomem(&err, sizeof *x);
        return qu_out_error(&err, NULL);
    }
    x->args = args;
    QU_TRY_OUT(read_cutoffs(x, &err));
    QU_TRY_OUT(qu_session_open(&x->s, args, QU_SESSION_STORE, QU_CODEC_F16, &err));
    QU_TRY_OUT(qu_session_lexical(&x->s, &x->lx, &err));
    QU_TRY_OUT(qu_txn_begin(&x->txn, x->s.store, QU_TXN_READ, &err));
    QU_TRY_OUT(load_docs(x, &err));
    QU_TRY_OUT(ask_all(x, &err));
    if (x->n_questions == 0) {
        st = qu_fail(&err, QU_ERR_ARG, "no question to ask in '%s'", args->argv[1]);
        goto out;
    }
    st = print(x, &err);
out:;
    int code = st == QU_OK ? QU_EXIT_OK : qu_out_error(&err, NULL);
    qu_txn_abort(x->txn);
    for (int64_t i = 0; i < x->n_docs; i++) qu_doc_free(&x->docs[i]);
    free(x->docs);
    free(x->cutoffs);
    qu_lexical_close(x->lx);
    qu_session_close(&x->s);
    free(x);
    return code;
}

const qu_eval_kind qu_eval_recall = {
    .name = "recall",
    .args = "FILE|-",
    .options = "cutoffs split seed",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
