/* quire eval recall: how often the right files are among the first hits; and which weight vectors
 * should have beside words. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/os.h"
#include "kernels/codec.h"
#include "pipelines/eval.h"
#include "pipelines/hybrid.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/session.h"
#include "retrieve/fuse.h"

enum { MAX_CUTOFFS = 16, MAX_RANK = 1000, MORE_HITS = 32 };

/* --tune: tried on the dev half. 0, words alone, is among them, so the choice is never below them. */
static const double weights[] = {0, .05, .1, .2, .3, .5, .7, 1, 1.5, 2};

enum { N_WEIGHTS = sizeof weights / sizeof *weights, DEV = 0, TEST = 1 };

typedef struct tally {
    int64_t n;
    double sum[MAX_CUTOFFS], squares[MAX_CUTOFFS], reciprocal;
} tally;

typedef struct recall {
    const qu_args *args;
    qu_session s;
    qu_hybrid *h;
    qu_txn *txn;
    qu_doc *docs;              /* [n_docs] of the store, ascending id */
    int64_t n_docs;
    int64_t *cutoffs, n_cutoffs;
    int32_t top;               /* the largest cutoff */
    bool tune;
    tally all, tuning[2][N_WEIGHTS]; /* of the questions asked; with tune, of each half and weight */
    int64_t n_unknown;         /* questions none of whose gold is in the store */
    double search_ms;
    qu_lexical_hit hits[MAX_RANK + MORE_HITS], words[MAX_RANK + MORE_HITS],
        vectors[MAX_RANK + MORE_HITS];
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

/* Count the hits of one question; golds is a list of at least one. Returns whether any was found. */
static bool count(recall *x, tally *t, json_t *golds, int32_t n_hits)
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
        t->sum[k] += found[k];
        t->squares[k] += found[k] * found[k];
    }
    if (first > 0) t->reciprocal += 1.0 / first;
    t->n++;
    return first > 0;
}

static bool in_store(const recall *x, json_t *golds)
{
    json_t *gold;
    size_t g;
    json_array_foreach(golds, g, gold)
        for (int64_t d = 0; d < x->n_docs; d++)
            if (is_gold(gold, &x->docs[d])) return true;
    return false;
}

/* Dev and test are two halves by the hash of the question. */
static int half_of(const recall *x, const qu_question *q)
{
    return (int)(qu_hash_sum(q->text, q->n, (uint64_t)qu_args_int(x->args, "seed")) >> 63);
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

/* Search once with every weight, or with the one in use. */
static qu_status search(recall *x, const qu_question *q, json_t *golds, qu_err *err)
{
    qu_lexical_opts opts = {.max_per_doc = 1};
    int32_t n_hits, n_words, n_vectors, more = x->top + MORE_HITS;
    double start = qu_os_now_ms();
    bool found = false;
    if (!x->tune) {
        QU_TRY(qu_hybrid_search(x->h, x->txn, q->text, q->n, &opts, x->top, x->hits, &n_hits, err));
        x->search_ms += qu_os_now_ms() - start;
        found = count(x, &x->all, golds, n_hits);
    } else {
        QU_TRY(qu_hybrid_lists(x->h, x->txn, q->text, q->n, &opts, more, x->words, &n_words,
                               x->vectors, &n_vectors, err));
        x->search_ms += qu_os_now_ms() - start;
        for (int w = 0; w < N_WEIGHTS; w++) {
            QU_TRY(qu_fuse(x->hits, &n_hits, x->top, x->words, n_words, x->vectors, n_vectors,
                           (float)weights[w], true, err));
            found |= count(x, &x->tuning[half_of(x, q)][w], golds, n_hits);
        }
    }
    if (!found && !in_store(x, golds)) x->n_unknown++;
    return QU_OK;
}

static qu_status ask(recall *x, const char *line, size_t n, qu_err *err)
{
    qu_question q = {0};
    json_t *golds = NULL;
    int split = qu_args_choice(x->args, "split");
    qu_status st = QU_OK;
    QU_TRY_OUT(qu_question_parse(&q, line, n, err));
    if (q.n == 0) goto out;
    golds = read_gold(line, n);
    if (!golds)
        st = qu_fail(err, QU_ERR_ARG, "a line without 'gold': a path, a number or a list of them");
    else if (x->tune || split == 0 || half_of(x, &q) == split - 1)
        st = search(x, &q, golds, err);
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

/* A weight is better by two more questions' worth of recall at the last cutoff, or with no less of it
 * by .005 of the reciprocal rank: less is chance. */
static bool is_better(const recall *x, const tally *a, const tally *b)
{
    double more = a->sum[x->n_cutoffs - 1] - b->sum[x->n_cutoffs - 1];
    return more > 1.999 || (more > -1e-9 && a->reciprocal - b->reciprocal > .005 * (double)a->n);
}

/* The best weight of the dev half; 0 where the test half takes it back. */
static int best_weight(const recall *x)
{
    int best = 0;
    for (int w = 1; w < N_WEIGHTS; w++)
        if (is_better(x, &x->tuning[DEV][w], &x->tuning[DEV][best])) best = w;
    const tally *words = &x->tuning[TEST][0], *both = &x->tuning[TEST][best];
    bool below = both->sum[x->n_cutoffs - 1] < words->sum[x->n_cutoffs - 1] - 1e-9;
    return below ? 0 : best;
}

static qu_status print_json(recall *x, const tally *t, double weight, const char *split, qu_err *err)
{
    double n = (double)t->n;
    json_t *at = json_object(), *width = json_object();
    for (int64_t k = 0; k < x->n_cutoffs; k++) {
        char key[24];
        snprintf(key, sizeof key, "%lld", (long long)x->cutoffs[k]);
        json_object_set_new(at, key, json_real(t->sum[k] / n));
        json_object_set_new(width, key, json_real(half_width(t->sum[k], t->squares[k], n)));
    }
    return qu_out_json(
        json_pack("{s:s,s:I,s:I,s:o,s:o,s:f,s:f,s:I,s:{s:f,s:b,s:s,s:I}}", "eval", "recall",
                  "questions", (json_int_t)t->n, "documents", (json_int_t)x->n_docs, "recall", at,
                  "half_width_95", width, "mrr", t->reciprocal / n, "search_ms", x->search_ms,
                  "unknown_gold", (json_int_t)x->n_unknown, "settings", "weight", weight, "tuned",
                  x->tune, "split", split, "seed", (json_int_t)qu_args_int(x->args, "seed")),
        err);
}

static qu_status print(recall *x, const tally *t, double weight, const char *split, qu_err *err)
{
    double n = (double)t->n;
    if (qu_out_is_json()) return print_json(x, t, weight, split, err);
    QU_TRY(qu_out_printf(err, "%lld questions over %lld documents; vectors' weight %g, split %s, "
                         "seed %lld\n", (long long)t->n, (long long)x->n_docs, weight, split,
                         (long long)qu_args_int(x->args, "seed")));
    for (int64_t k = 0; k < x->n_cutoffs; k++)
        QU_TRY(qu_out_printf(err, "recall@%-4lld %.4f +-%.4f\n", (long long)x->cutoffs[k],
                             t->sum[k] / n, half_width(t->sum[k], t->squares[k], n)));
    return qu_out_printf(err, "MRR         %.4f\nsearch      %.2f ms\n", t->reciprocal / n,
                         x->search_ms);
}

/* Words alone and the chosen weight, on the half that did not choose; the weight is the store's from
 * now on. */
static qu_status finish_tuning(recall *x, qu_err *err)
{
    int best = best_weight(x);
    int64_t n = x->tuning[DEV][0].n;
    if (n == 0 || x->tuning[TEST][0].n == 0)
        return qu_fail(err, QU_ERR_ARG, "too few questions to tune with: each half needs some");
    for (int w = 0; w < N_WEIGHTS && !qu_out_is_json(); w++)
        QU_TRY(qu_out_printf(err, "dev: weight %-4g recall@%lld %.4f MRR %.4f%s\n", weights[w],
                             (long long)x->cutoffs[x->n_cutoffs - 1],
                             x->tuning[DEV][w].sum[x->n_cutoffs - 1] / (double)n,
                             x->tuning[DEV][w].reciprocal / (double)n, w == best ? "  *" : ""));
    QU_TRY(print(x, &x->tuning[TEST][0], 0, "test", err));
    if (best > 0) QU_TRY(print(x, &x->tuning[TEST][best], weights[best], "test", err));
    qu_txn_abort(x->txn);
    x->txn = NULL;
    return qu_hybrid_set_weight(&x->s, weights[best], err);
}

static qu_status finish(recall *x, qu_err *err)
{
    int64_t n = x->all.n + x->tuning[DEV][0].n + x->tuning[TEST][0].n;
    if (n == 0) return qu_fail(err, QU_ERR_ARG, "no question to ask in '%s'", x->args->argv[1]);
    x->search_ms /= (double)n;
    if (x->n_unknown > 0)
        qu_out_warn("the gold of %lld of %lld questions is not in the store",
                    (long long)x->n_unknown, (long long)n);
    if (x->tune) return finish_tuning(x, err);
    return print(x, &x->all, qu_hybrid_weight(x->h), qu_args_str(x->args, "split"), err);
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
    x->tune = qu_args_flag(args, "tune");
    unsigned flags = QU_SESSION_STORE | (x->tune ? QU_SESSION_WRITE : 0);
    QU_TRY_OUT(qu_session_open(&x->s, args, flags, QU_CODEC_F16, &err));
    double weight = x->tune                           ? 1
                    : qu_args_given(args, "weight") ? qu_args_float(args, "weight")
                                                    : QU_HYBRID_STORED;
    QU_TRY_OUT(qu_hybrid_open(&x->h, &x->s, weight, &err));
    QU_TRY_OUT(qu_txn_begin(&x->txn, x->s.store, QU_TXN_READ, &err));
    QU_TRY_OUT(load_docs(x, &err));
    QU_TRY_OUT(ask_all(x, &err));
    st = finish(x, &err);
out:;
    int code = st == QU_OK ? QU_EXIT_OK : qu_out_error(&err, NULL);
    qu_txn_abort(x->txn);
    for (int64_t i = 0; i < x->n_docs; i++) qu_doc_free(&x->docs[i]);
    free(x->docs);
    free(x->cutoffs);
    qu_hybrid_close(x->h);
    qu_session_close(&x->s);
    free(x);
    return code;
}

const qu_eval_kind qu_eval_recall = {
    .name = "recall",
    .args = "FILE|-",
    .options = "cutoffs split seed weight tune",
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
