/* quire eval perplexity: how well a document's later pages are predicted from its earlier ones,
 * read whole, through a policy, or not at all. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dims.h"
#include "base/os.h"
#include "pipelines/eval.h"
#include "pipelines/output.h"
#include "pipelines/score.h"
#include "pipelines/testbed.h"
#include "retrieve/policy.h"

enum {
    WARM_TOKENS = 32, /* of a page, that choose its left context and are not scored */
    SHORT_PAGES = 1,  /* that the short context keeps before the page */
    MAX_FILE = 64 << 20,
};

/* A token is a key token where the long context makes it likelier by more than e^KEY_GAIN and
 * likely at all: arXiv:2410.23771, alpha and beta. */
#define KEY_GAIN 2.0
#define KEY_FLOOR -2.0

enum { DENSE, POLICY, SHORT, N_ARMS };
static const char *const arm_names[N_ARMS] = {"dense", "policy", "short"};

typedef struct perplexity {
    const qu_args *args;
    qu_session *s;
    qu_asker a;
    int64_t tokens, keys, pages, documents;
    double nll[N_ARMS], squares[N_ARMS], key_nll[N_ARMS];
    float *logits; /* [QU_PAGE_TOKENS, V] */
    double logp[N_ARMS][QU_PAGE_TOKENS];
} perplexity;

static double log_share(const float *logits, int32_t n, int32_t id)
{
    double max = logits[id], sum = 0;
    for (int32_t i = 0; i < n; i++) max = logits[i] > max ? logits[i] : max;
    for (int32_t i = 0; i < n; i++) sum += exp(logits[i] - max);
    return logits[id] - max - log(sum);
}

/* Prefix, header and pages [first, page) of the document, then the page's own tokens live: logp of
 * each but the first WARM_TOKENS. */
static qu_status predict(perplexity *x, qu_bed_doc *d, int32_t first, int32_t page,
                         const qu_select_hook *hook, double *logp, qu_err *err)
{
    const qu_model *m = x->s->model;
    int32_t n = d->records[page].n_tokens, rest = n - WARM_TOKENS;
    const int32_t *ids = d->ids + d->first[page];
    int64_t pos = x->s->prefix.n;
    QU_OWN(qu_context_freep) qu_context *c = NULL;
    QU_TRY(qu_context_create(&c, m, x->s->pool, x->s->codec, err));
    QU_TRY(qu_encoder_attach_prefix(x->a.encoder, c, err));
    for (int32_t p = 0; p < page; p = p == 0 ? first : p + 1) {
        qu_page_source source = qu_page_memory_source(d->pages[p]);
        if (p == 0 || p == page - 1) source.summary = NULL;
        QU_TRY(qu_context_attach(c, d->records[p].n_tokens, pos + d->first[p], &source, err));
    }
    pos += d->first[page];
    qu_context_select(c, hook);
    QU_TRY(qu_context_step(c, ids, WARM_TOKENS, pos, 1, x->logits, err));
    QU_TRY(qu_context_step(c, ids + WARM_TOKENS, rest, pos + WARM_TOKENS, rest,
                           x->logits + m->vocab, err));
    for (int32_t i = 0; i < rest; i++) /* the last row predicts the next page: not looked at */
        logp[i] = log_share(x->logits + (int64_t)i * m->vocab, m->vocab, ids[WARM_TOKENS + i]);
    return QU_OK;
}

static void count(perplexity *x, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        double dense = x->logp[DENSE][i];
        bool key = dense - x->logp[SHORT][i] > KEY_GAIN && dense > KEY_FLOOR;
        x->tokens++;
        x->keys += key;
        for (int a = 0; a < N_ARMS; a++) {
            x->nll[a] -= x->logp[a][i];
            x->squares[a] += x->logp[a][i] * x->logp[a][i];
            if (key) x->key_nll[a] -= x->logp[a][i];
        }
    }
}

static qu_status one_page(perplexity *x, qu_bed_doc *d, int32_t page, qu_err *err)
{
    const qu_model *m = x->s->model;
    const char *name = qu_args_str(x->args, "policy");
    qu_policy *policy;
    qu_policy_options o = {.name = name,
                           .budget = qu_args_int(x->args, "budget"),
                           .far_field = !qu_args_flag(x->args, "no-far-field"),
                           .refresh = QU_POLICY_REFRESH,
                           .pool = x->s->pool,
                           .bytes = true};
    int32_t last = page - SHORT_PAGES;
    if (d->records[page].n_tokens <= WARM_TOKENS) return QU_OK;
    QU_TRY(predict(x, d, 1, page, NULL, x->logp[DENSE], err));
    QU_TRY(predict(x, d, last > 1 ? last : 1, page, NULL, x->logp[SHORT], err));
    QU_TRY(qu_policy_create(&policy, &o, m->n_layers, m->n_kv_heads, err));
    qu_status st = predict(x, d, 1, page, qu_policy_hook(policy), x->logp[POLICY], err);
    qu_policy_free(policy);
    if (st != QU_OK) return st;
    count(x, d->records[page].n_tokens - WARM_TOKENS);
    x->pages++;
    return QU_OK;
}

/* The later half of the pages that fit the window. */
static qu_status one_file(perplexity *x, const char *path, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf text = {0};
    QU_OWN(qu_bed_free_document) qu_bed_doc d = {0};
    int64_t window = x->s->model->context - x->s->prefix.n;
    QU_TRY(qu_os_read(&text, path, MAX_FILE, err));
    const char *name = strrchr(path, '/');
    QU_TRY(qu_bed_document(&x->a, &d, name ? name + 1 : path, text.data ? text.data : "", text.len,
                           err));
    int32_t n = d.n_pages;
    while (n > 1 && d.first[n - 1] + d.records[n - 1].n_tokens > window) n--;
    for (int32_t p = 1 + n / 2; p < n; p++) {
        qu_out_progress("perplexity", p, n, "pages");
        QU_TRY(one_page(x, &d, p, err));
    }
    x->documents++;
    qu_out_progress_end();
    return QU_OK;
}

static qu_status print(qu_eval *e, const perplexity *x, qu_err *err)
{
    double n = (double)x->tokens, keys = (double)x->keys;
    json_t *arms = json_object(), *o;
    for (int i = 0; i < N_ARMS; i++)
        json_object_set_new(
            arms, arm_names[i],
            qu_out_reals(NULL, "perplexity nll nll_half_width_95 long_perplexity",
                         (double[]){exp(x->nll[i] / n), x->nll[i] / n,
                                    qu_score_half_width(x->nll[i], x->squares[i], n),
                                    keys > 0 ? exp(x->key_nll[i] / keys) : NAN}));
    o = json_pack("{s:o}", "perplexity", arms);
    qu_out_ints(o, "tokens key_tokens pages documents",
                (int64_t[]){x->tokens, x->keys, x->pages, x->documents});
    qu_out_reals(e->settings, "short_pages key_gain key_floor",
                 (double[]){SHORT_PAGES, KEY_GAIN, KEY_FLOOR});
    return qu_eval_print(e, o, err);
}

static qu_status measure(perplexity *x, qu_err *err)
{
    int64_t row = x->s->model->vocab;
    QU_TRY(qu_asker_open(&x->a, x->s, &(qu_ask_options){0}, err));
    QU_TRY(qu_memory_take(&x->logits, row * (QU_PAGE_TOKENS + 1), sizeof *x->logits, err));
    for (int i = 1; i < x->args->argc; i++) QU_TRY(one_file(x, x->args->argv[i], err));
    if (x->tokens == 0)
        return qu_fail(err, QU_ERR_ARG, "no document of at least three pages of text");
    return QU_OK;
}

qu_status qu_eval_perplexity(qu_eval *e, qu_err *err)
{
    perplexity x = {.args = e->args, .s = e->s};
    QU_TRY(qu_eval_open(e, QU_SESSION_MODEL, err));
    qu_status st = measure(&x, err);
    free(x.logits);
    qu_asker_close(&x.a);
    return st == QU_OK ? print(e, &x, err) : st;
}
