#include "decode/sample.h"

#include <math.h>

#include "base/memory.h"
#include "kernels/rows.h"

/* A token that may be drawn. weight = exp((logit - largest) / temperature). */
typedef struct choice {
    double weight;
    float logit;
    int32_t id;
} choice;

int32_t qu_sample_greedy(const float *logits, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[best] || (isnan(logits[best]) && !isnan(logits[i]))) best = i;
    return best;
}

double qu_sample_share(const float *logits, int32_t n, int32_t id)
{
    return 1 / qu_rows_exp_sum(logits, n, logits[id]);
}

/* What a random number is for: each use has a sequence of its own. */
enum { PICK = 0, PROPOSE = 1, ACCEPT = 2, RESIDUAL = 3 };

/* Uniform in [0, 1), number at of the sequence that seed and use name (SplitMix64). */
static double uniform(uint64_t seed, int use, uint64_t at)
{
    uint64_t z = (seed ^ (uint64_t)use * 0xD1B54A32D192ED03u) + (at + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static bool ranks_before(const choice *a, const choice *b)
{
    return a->logit != b->logit ? a->logit > b->logit : a->id < b->id;
}

static int by_rank(const void *a, const void *b) { return ranks_before(a, b) ? -1 : 1; }

/* Put x into the sorted list of at most k; its last falls out. */
static int32_t insert(choice *list, int32_t n, int32_t k, choice x)
{
    if (n == k && !ranks_before(&x, &list[n - 1])) return n;
    int32_t i = n < k ? n : n - 1;
    for (; i > 0 && ranks_before(&x, &list[i - 1]); i--) list[i] = list[i - 1];
    list[i] = x;
    return n < k ? n + 1 : n;
}

/* Fill list with what may be drawn; best first where top_k or top_p cut. */
static int32_t gather(choice *list, const float *logits, int32_t n, const qu_sample *o)
{
    float largest = logits[qu_sample_greedy(logits, n)];
    int32_t n_list = 0, n_kept = 0;
    double total = 0;
    for (int32_t i = 0; i < n; i++) {
        choice x = {exp(((double)logits[i] - largest) / o->temperature), logits[i], i};
        if (!(x.weight > 0)) continue;
        if (o->top_k > 0) {
            n_list = insert(list, n_list, o->top_k, x);
        } else {
            list[n_list++] = x;
            total += x.weight;
        }
    }
    if (o->top_k > 0 || o->top_p == 0 || o->top_p == 1) return n_list;
    /* Tokens below the mean of what top_p leaves out cannot, all together, hold more than that:
     * dropping them first spares sorting the whole vocabulary and changes nothing. */
    double least = total * (1 - (double)o->top_p) / n * (1 - 1e-9);
    for (int32_t i = 0; i < n_list; i++)
        if (list[i].weight >= least) list[n_kept++] = list[i];
    qsort(list, (size_t)n_kept, sizeof *list, by_rank);
    list[n_kept].weight = total; /* of all, for the cut */
    return n_kept;
}

static int32_t draw(const choice *list, int32_t n, double mass, double u)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += list[i].weight;
        if (sum > u * mass) return list[i].id;
    }
    return list[n - 1].id; /* rounding */
}

static qu_status check(int32_t n, const qu_sample *o, qu_err *err)
{
    if (n >= 1 && o->temperature >= 0 && isfinite(o->temperature) && o->top_p >= 0 &&
        o->top_p <= 1 && o->top_k >= 0 && o->top_k <= QU_SAMPLE_MAX_TOP_K)
        return QU_OK;
    return qu_fail(err, QU_ERR_ARG,
                   "sampling from %d tokens at temperature %g, top-k %d, top-p %g", n,
                   (double)o->temperature, o->top_k, (double)o->top_p);
}

/* What may be drawn, *list of *n_list with the sum *mass, malloc'ed; none where *best is the
 * choice. */
static qu_status choices(choice **list, int32_t *n_list, double *mass, int32_t *best,
                         const float *logits, int32_t n, const qu_sample *o, qu_err *err)
{
    *list = NULL;
    *n_list = 0;
    *mass = 0;
    QU_TRY(check(n, o, err));
    *best = qu_sample_greedy(logits, n);
    if (o->temperature == 0 || !isfinite(logits[*best])) return QU_OK;
    QU_TRY(qu_memory_take(list, n + 1ll, sizeof **list, err));
    int32_t n_all = gather(*list, logits, n, o);
    double all = 0;
    bool cut = o->top_p > 0 && o->top_p < 1;
    for (int32_t i = 0; i < n_all; i++) all += (*list)[i].weight;
    if (cut && o->top_k == 0) all = (*list)[n_all].weight;
    while (*n_list < n_all && (!cut || *mass < (double)o->top_p * all))
        *mass += (*list)[(*n_list)++].weight;
    return QU_OK;
}

qu_status qu_sample_pick(int32_t *id, const float *logits, int32_t n, const qu_sample *o,
                         uint64_t at, qu_err *err)
{
    QU_OWN(qu_freep) choice *list = NULL;
    int32_t n_list;
    double mass;
    QU_TRY(choices(&list, &n_list, &mass, id, logits, n, o, err));
    if (list) *id = draw(list, n_list, mass, uniform(o->seed, PICK, at));
    return QU_OK;
}

qu_status qu_sample_shares(float *p, const float *logits, int32_t n, const qu_sample *o,
                           qu_err *err)
{
    QU_OWN(qu_freep) choice *list = NULL;
    int32_t n_list, best;
    double mass;
    QU_TRY(choices(&list, &n_list, &mass, &best, logits, n, o, err));
    memset(p, 0, (size_t)n * sizeof *p);
    if (!list) p[best] = 1;
    for (int32_t i = 0; i < n_list; i++) p[list[i].id] = (float)(list[i].weight / mass);
    return QU_OK;
}

void qu_sample_penalise(float *logits, const int32_t *ids, int32_t n, float penalty)
{
    for (int32_t i = 0; i < n; i++) {
        float *x = &logits[ids[i]];
        *x = *x > 0 ? *x / penalty : *x * penalty;
    }
}

/* An index drawn in proportion to w [n]; -1 where nothing weighs. */
static int32_t draw_weight(const float *w, int32_t n, double u)
{
    double mass = 0, sum = 0;
    int32_t last = -1;
    for (int32_t i = 0; i < n; i++) mass += (double)w[i];
    for (int32_t i = 0; i < n; i++) {
        if (!(w[i] > 0)) continue;
        last = i;
        sum += (double)w[i];
        if (sum > u * mass) break;
    }
    return last;
}

int32_t qu_sample_propose(const float *q, int32_t n, uint64_t seed, uint64_t at)
{
    return draw_weight(q, n, uniform(seed, PROPOSE, at));
}

bool qu_sample_verify(int32_t *id, const float *p, const float *q, float *p1, int32_t n,
                      int32_t drafted, float eta, uint64_t seed, uint64_t at)
{
    double sum = 0;
    float most = 0;
    for (int32_t i = 0; i < n; i++) most = q[i] > most ? q[i] : most;
    for (int32_t i = 0; i < n; i++) {
        bool moved = eta > 0 && p[i] > 0 && q[i] >= .1f * most;
        p1[i] = moved ? (float)((double)p[i] * exp((double)eta * ((double)q[i] - (double)p[i])))
                      : p[i];
        sum += (double)p1[i];
    }
    for (int32_t i = 0; i < n && eta > 0; i++) p1[i] = (float)((double)p1[i] / sum);
    *id = drafted;
    if (uniform(seed, ACCEPT, at) * (double)q[drafted] <= (double)p1[drafted]) return true;
    for (int32_t i = 0; i < n; i++) {
        float a = p[i] - p1[i], b = p[i] - q[i];
        p1[i] = a > b ? a : b;
        if (!(p1[i] > 0)) p1[i] = 0;
    }
    int32_t other = draw_weight(p1, n, uniform(seed, RESIDUAL, at));
    if (other < 0) return true; /* p = q but for rounding */
    *id = other;
    return false;
}
