/* quire eval recall: how often the right files are among the first hits; and which weight vectors
 * should have beside words. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/os.h"
#include "pipelines/eval.h"
#include "pipelines/hybrid.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/score.h"
#include "retrieve/fuse.h"

enum { MAX_CUTOFFS = 16, MAX_RANK = 1000, MORE_HITS = 32 };

/* --tune: tried on the dev half. 0, words alone, is among them, so the choice is never below
 * them. */
static const double weights[] = {0, .05, .1, .2, .3, .5, .7, 1, 1.5, 2};

enum { N_WEIGHTS = sizeof weights / sizeof *weights, DEV = 0, TEST = 1 };

typedef struct tally {
    int64_t n;
    double sum[MAX_CUTOFFS], squares[MAX_CUTOFFS], reciprocal;
} tally;

typedef struct recall {
    const qu_args *args;
    qu_session *s;
    qu_hybrid *h;
    qu_txn *txn;
    int64_t *cutoffs, n_cutoffs;
    int32_t top;               /* the largest cutoff */
    bool tune;
    /* of the questions asked; with tune, of each half and weight */
    tally all, tuning[2][N_WEIGHTS];
    int64_t n_unknown;         /* questions none of whose gold is in the store */
    double search_ms;
    qu_doc docs[MAX_RANK];     /* of the hits */
    qu_lexical_hit hits[MAX_RANK + MORE_HITS], words[MAX_RANK + MORE_HITS],
        vectors[MAX_RANK + MORE_HITS];
} recall;

/* gold: a document's number, its path, or the end of its path after a '/'. */
static bool is_gold(const json_t *gold, const qu_doc *d)
{
    if (json_is_integer(gold)) return (uint64_t)json_integer_value(gold) == d->doc_id;
    size_t n = json_string_length(gold);
    if (n > d->path_len || memcmp(d->path + d->path_len - n, json_string_value(gold), n) != 0)
        return false;
    return n == d->path_len || d->path[d->path_len - n - 1] == '/';
}

/* Count the hits of one question; golds is a list of at least one. Returns whether any was
 * found. */
static bool count(recall *x, tally *t, const json_t *golds, int32_t n_hits)
{
    int32_t first = 0;
    size_t n_gold = json_array_size(golds);
    double found[MAX_CUTOFFS] = {0};
    for (int32_t i = 0; i < n_hits; i++)
        if (qu_catalogue_get_doc(x->txn, x->hits[i].doc_id, &x->docs[i], NULL) != QU_OK)
            x->docs[i] = (qu_doc){0};
    for (size_t g = 0; g < n_gold; g++) {
        int32_t i = 0;
        while (i < n_hits && !is_gold(json_array_get(golds, g), &x->docs[i])) i++;
        if (i == n_hits) continue;
        if (first == 0 || i + 1 < first) first = i + 1;
        for (int64_t k = 0; k < x->n_cutoffs; k++)
            if (i < x->cutoffs[k]) found[k] += 1.0 / (double)n_gold;
    }
    for (int64_t k = 0; k < x->n_cutoffs; k++) {
        t->sum[k] += found[k];
        t->squares[k] += found[k] * found[k];
    }
    if (first > 0) t->reciprocal += 1.0 / first;
    t->n++;
    for (int32_t i = 0; i < n_hits; i++) qu_doc_free(&x->docs[i]);
    return first > 0;
}

static qu_status in_store(const recall *x, const json_t *golds, bool *yes, qu_err *err)
{
    json_t *gold;
    size_t g;
    *yes = false;
    for (uint64_t after = 0; !*yes;) {
        QU_OWN(qu_doc_free) qu_doc d = {0};
        QU_TRY(qu_catalogue_next_doc(x->txn, after, &d, err));
        if ((after = d.doc_id) == 0) break;
        json_array_foreach(golds, g, gold)
            *yes = *yes || is_gold(gold, &d);
    }
    return QU_OK;
}

/* Dev and test are two halves by the hash of the question without outer blanks. */
static int half_of(const recall *x, const char *question)
{
    question += strspn(question, " \t\r\n");
    size_t n = strlen(question);
    while (n > 0 && strchr(" \t\r\n", question[n - 1])) n--;
    return (int)(qu_hash_sum(question, n, (uint64_t)qu_args_int(x->args, "seed")) >> 63);
}

/* The gold of a line as a list of strings and numbers; NULL if there is none that can be read. */
static json_t *gold_of(const json_t *line)
{
    json_t *gold = json_object_get(line, "gold"), *list = json_array(), *item;
    size_t i;
    if (json_is_array(gold)) json_array_extend(list, gold);
    else json_array_append(list, gold);
    bool good = json_array_size(list) > 0;
    json_array_foreach(list, i, item)
        good = good && (json_is_integer(item) || json_string_length(item) > 0);
    if (good) return list;
    json_decref(list);
    return NULL;
}

/* Search once with every weight, or with the one in use. */
static qu_status search(recall *x, const char *q, const json_t *golds, qu_err *err)
{
    qu_lexical_opts opts = {.max_per_doc = 1};
    int32_t n_hits, n_words, n_vectors, more = x->top + MORE_HITS;
    double start = qu_os_now_ms();
    bool found = false, known = true;
    if (!x->tune) {
        QU_TRY(qu_hybrid_search(x->h, x->txn, q, strlen(q), &opts, x->top, x->hits, &n_hits, err));
        x->search_ms += qu_os_now_ms() - start;
        found = count(x, &x->all, golds, n_hits);
    } else {
        QU_TRY(qu_hybrid_lists(x->h, x->txn, q, strlen(q), &opts, more, x->words, &n_words,
                               x->vectors, &n_vectors, err));
        x->search_ms += qu_os_now_ms() - start;
        for (int w = 0; w < N_WEIGHTS; w++) {
            QU_TRY(qu_fuse(x->hits, &n_hits, x->top, x->words, n_words, x->vectors, n_vectors,
                           (float)weights[w], true, err));
            found |= count(x, &x->tuning[half_of(x, q)][w], golds, n_hits);
        }
    }
    if (!found) QU_TRY(in_store(x, golds, &known, err));
    x->n_unknown += !known;
    return QU_OK;
}

static qu_status ask_all(recall *x, const json_t *lines, qu_err *err)
{
    const json_t *line;
    size_t i;
    int split = qu_args_choice(x->args, "split");
    json_array_foreach(lines, i, line)
    {
        const char *q = qu_input_text(line, "question");
        json_t *golds = gold_of(line);
        if (!golds || !*q) {
            json_decref(golds);
            return qu_fail(
                err, QU_ERR_ARG,
                "question %zu has no 'gold', a path, a number or a list of them, or no text",
                i + 1);
        }
        qu_status st =
            x->tune || split == 0 || half_of(x, q) == split - 1 ? search(x, q, golds, err) : QU_OK;
        json_decref(golds);
        if (st != QU_OK) return st;
    }
    return QU_OK;
}

/* A weight is better by two more questions' worth of recall at the last cutoff, or with no less of
 * it by .005 of the reciprocal rank: less is chance. */
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

static json_t *by_cutoff(const recall *x, const double *value)
{
    json_t *o = json_object();
    for (int64_t k = 0; k < x->n_cutoffs; k++) {
        char key[24];
        snprintf(key, sizeof key, "%lld", (long long)x->cutoffs[k]);
        json_object_set_new(o, key, json_real(value[k]));
    }
    return o;
}

/* dev: what tuning tried; taken, may be NULL. */
static qu_status print(qu_eval *e, const recall *x, const tally *t, double weight,
                       const char *split, json_t *dev, qu_err *err)
{
    double n = (double)t->n, mean[MAX_CUTOFFS], width[MAX_CUTOFFS];
    qu_store_counts counts;
    QU_TRY(qu_catalogue_counts(x->txn, &counts, err));
    for (int64_t k = 0; k < x->n_cutoffs; k++) {
        mean[k] = t->sum[k] / n;
        width[k] = qu_score_half_width(t->sum[k], t->squares[k], n);
    }
    json_t *o = qu_out_ints(NULL, "questions documents", (int64_t[]){t->n, (int64_t)counts.n_docs});
    json_object_set_new(o, "recall", by_cutoff(x, mean));
    json_object_set_new(o, "half_width_95", by_cutoff(x, width));
    qu_out_reals(o, "mrr search_ms", (double[]){t->reciprocal / n, x->search_ms});
    qu_out_ints(o, "unknown_gold", &x->n_unknown);
    if (dev) json_object_set_new(o, "dev", dev);
    json_object_set_new(e->settings, "weight", json_real(weight));
    json_object_set_new(e->settings, "tuned", json_boolean(x->tune));
    json_object_set_new(e->settings, "split", json_string(split));
    return qu_eval_print(e, o, err);
}

/* Words alone and the chosen weight, on the half that did not choose; the weight is the store's
 * from now on. */
static qu_status finish_tuning(qu_eval *e, recall *x, qu_err *err)
{
    int best = best_weight(x);
    double n = (double)x->tuning[DEV][0].n;
    json_t *dev = json_array();
    for (int w = 0; w < N_WEIGHTS; w++) {
        const tally *t = &x->tuning[DEV][w];
        json_array_append_new(dev, qu_out_reals(NULL, "weight recall mrr",
                                                (double[]){weights[w], t->sum[x->n_cutoffs - 1] / n,
                                                           t->reciprocal / n}));
    }
    QU_TRY(print(e, x, &x->tuning[TEST][0], 0, "test", dev, err));
    if (best > 0) QU_TRY(print(e, x, &x->tuning[TEST][best], weights[best], "test", NULL, err));
    qu_txn_abort(x->txn);
    x->txn = NULL;
    return qu_hybrid_set_weight(x->s, weights[best], err);
}

static qu_status finish(qu_eval *e, recall *x, qu_err *err)
{
    int64_t n = x->all.n + x->tuning[DEV][0].n + x->tuning[TEST][0].n;
    if (n == 0) return qu_fail(err, QU_ERR_ARG, "no question to ask in '%s'", x->args->argv[1]);
    if (x->tune && (x->tuning[DEV][0].n == 0 || x->tuning[TEST][0].n == 0))
        return qu_fail(err, QU_ERR_ARG, "too few questions to tune with: each half needs some");
    x->search_ms /= (double)n;
    if (x->n_unknown > 0)
        qu_out_warn("the gold of %lld of %lld questions is not in the store",
                    (long long)x->n_unknown, (long long)n);
    if (x->tune) return finish_tuning(e, x, err);
    return print(e, x, &x->all, qu_hybrid_weight(x->h), qu_args_str(x->args, "split"), NULL, err);
}

static void end_recall(recall **x)
{
    if (!*x) return;
    qu_txn_abort((*x)->txn);
    free((*x)->cutoffs);
    qu_hybrid_close((*x)->h);
    free(*x);
}

qu_status qu_eval_recall(qu_eval *e, qu_err *err)
{
    const qu_args *args = e->args;
    json_auto_t *lines = NULL;
    QU_OWN(end_recall) recall *x = NULL;
    QU_TRY(qu_memory_take(&x, 1, sizeof *x, err));
    x->args = args;
    x->s = e->s;
    x->tune = qu_args_flag(args, "tune");
    double weight = x->tune                         ? 1
                    : qu_args_given(args, "weight") ? qu_args_float(args, "weight")
                                                    : QU_HYBRID_STORED;
    QU_TRY(qu_input_list(&x->cutoffs, &x->n_cutoffs, args, "cutoffs", 1, MAX_RANK, MAX_CUTOFFS,
                         "cutoff", err));
    for (int64_t k = 0; k < x->n_cutoffs; k++)
        if (x->cutoffs[k] > x->top) x->top = (int32_t)x->cutoffs[k];
    QU_TRY(qu_eval_open(e, QU_SESSION_STORE | (x->tune ? QU_SESSION_WRITE : 0), err));
    QU_TRY(qu_hybrid_open(&x->h, e->s, weight, err));
    QU_TRY(qu_txn_begin(&x->txn, e->s->store, QU_TXN_READ, err));
    QU_TRY(qu_eval_lines(e, QU_INPUT_MAX_QUESTION, false, &lines, err));
    QU_TRY(ask_all(x, lines, err));
    return finish(e, x, err);
}
