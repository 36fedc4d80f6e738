#include "decode/embed.h"

#include <math.h>
#include <strings.h>

#include "base/buf.h"
#include "base/dims.h"
#include "base/memory.h"
#include "decode/model_int.h"
#include "decode/wordpiece.h"
#include "kernels/rows.h"

enum {
    MAX_WINDOW = 1 << 15,
    BATCH_TOKENS = 4096, /* of several texts that run together; one text may be longer */
    POOL_MEAN = 1,
    POOL_CLS = 2,
};

typedef struct layer {
    qu_projection q, k, v, o, up, down;
    float *attn_w, *attn_b, *out_w, *out_b; /* the two layer norms */
} layer;

struct qu_embed {
    qu_gguf *gguf;
    qu_wordpiece *words;
    char name[128];
    const char *prefix[2];  /* of a qu_embed_kind */
    int32_t e, f, n_layers, n_heads, window, pooling;
    float eps;
    qu_weight tokens;       /* [V,E] */
    float *positions;       /* [window,E] */
    float *type;            /* [E] token type 0; zeros where the model has none */
    float *norm_w, *norm_b; /* of the sum of the three */
    layer *layers;
    qu_linear_scratch *scratch;
    qu_hash hash;
};

/* --- opening --- */

static qu_status take_norm(const qu_embed *m, float **w, float **b, int32_t at, const char *stem,
                           qu_err *err)
{
    char name[96];
    QU_TRY(qu_model_vector(m->gguf, qu_model_tensor_name(name, at, stem, "weight"), w, m->e, false,
                           err));
    return qu_model_vector(m->gguf, qu_model_tensor_name(name, at, stem, "bias"), b, m->e, false,
                           err);
}

static qu_status take_layer(const qu_embed *m, layer *l, int32_t i, qu_err *err)
{
    const qu_gguf *g = m->gguf;
    int32_t e = m->e, f = m->f;
    QU_TRY(qu_model_projection(g, &l->q, i, "attn_q", e, e, true, err));
    QU_TRY(qu_model_projection(g, &l->k, i, "attn_k", e, e, true, err));
    QU_TRY(qu_model_projection(g, &l->v, i, "attn_v", e, e, true, err));
    QU_TRY(qu_model_projection(g, &l->o, i, "attn_output", e, e, true, err));
    QU_TRY(take_norm(m, &l->attn_w, &l->attn_b, i, "attn_output_norm", err));
    QU_TRY(qu_model_projection(g, &l->up, i, "ffn_up", f, e, true, err));
    QU_TRY(qu_model_projection(g, &l->down, i, "ffn_down", e, f, true, err));
    return take_norm(m, &l->out_w, &l->out_b, i, "layer_output_norm", err);
}

/* The first rows of a matrix of n as floats of our own. */
static qu_status take_rows(const qu_embed *m, float **rows, const char *name, int32_t n,
                           int32_t keep, qu_err *err)
{
    qu_weight w;
    QU_TRY(qu_model_matrix(m->gguf, name, &w, n, m->e, err));
    QU_TRY(qu_memory_take(rows, (int64_t)keep * m->e, sizeof **rows, err));
    qu_dequant_ref(*rows, w.data, w.type, (int64_t)keep * m->e);
    return QU_OK;
}

static qu_status take_weights(qu_embed *m, qu_err *err)
{
    const qu_gguf_tensor *types = qu_gguf_find_tensor(m->gguf, "token_types.weight");
    int32_t n = qu_wordpiece_n_vocab(m->words);
    QU_TRY(qu_model_matrix(m->gguf, "token_embd.weight", &m->tokens, n, m->e, err));
    QU_TRY(take_rows(m, &m->positions, "position_embd.weight", m->window, m->window, err));
    if (types && types->dims[1] > 0 && types->dims[1] <= 1024)
        QU_TRY(take_rows(m, &m->type, "token_types.weight", (int32_t)types->dims[1], 1, err));
    else
        QU_TRY(qu_memory_take(&m->type, m->e, sizeof *m->type, err));
    QU_TRY(take_norm(m, &m->norm_w, &m->norm_b, -1, "token_embd_norm", err));
    QU_TRY(qu_memory_take(&m->layers, m->n_layers, sizeof *m->layers, err));
    for (int32_t i = 0; i < m->n_layers; i++) QU_TRY(take_layer(m, &m->layers[i], i, err));
    return QU_OK;
}

static qu_status number(const qu_embed *m, int32_t *v, const char *key, int32_t least, int32_t most,
                        qu_err *err)
{
    QU_TRY(qu_gguf_get_i32(m->gguf, key, v, err));
    if (*v >= least && *v <= most) return QU_OK;
    return qu_fail(err, QU_ERR_FORMAT, "model '%s': '%s' is %d", qu_gguf_path(m->gguf), key, *v);
}

static qu_status read_keys(qu_embed *m, qu_err *err)
{
    const char *path = qu_gguf_path(m->gguf);
    qu_gguf_str s;
    bool causal = false;
    QU_TRY(qu_gguf_get_str(m->gguf, "general.architecture", &s, err));
    if (!qu_gguf_is(s, "bert"))
        return qu_fail(err, QU_ERR_UNSUPPORTED,
                       "cannot embed with '%s': its architecture is '%.*s', only 'bert' is known",
                       path, s.len < 40 ? (int)s.len : 40, s.data);
    qu_gguf_name(m->gguf, m->name);
    QU_TRY(number(m, &m->n_layers, "bert.block_count", 1, QU_MAX_LAYERS, err));
    QU_TRY(number(m, &m->window, "bert.context_length", 2, MAX_WINDOW, err));
    QU_TRY(number(m, &m->e, "bert.embedding_length", 1, 8192, err));
    QU_TRY(number(m, &m->f, "bert.feed_forward_length", 1, QU_MAX_WIDTH, err));
    QU_TRY(number(m, &m->n_heads, "bert.attention.head_count", 1, QU_MAX_HEADS, err));
    QU_TRY(qu_gguf_get_f32(m->gguf, "bert.attention.layer_norm_epsilon", &m->eps, err));
    m->pooling = POOL_MEAN;
    qu_status st = qu_gguf_get_i32(m->gguf, "bert.pooling_type", &m->pooling, err);
    if (st != QU_OK && st != QU_ERR_NOTFOUND) return st;
    st = qu_gguf_get_bool(m->gguf, "bert.attention.causal", &causal, err);
    if (st != QU_OK && st != QU_ERR_NOTFOUND) return st;
    if (m->e % m->n_heads != 0 || !(m->eps > 0))
        return qu_fail(err, QU_ERR_FORMAT, "model '%s': width %d, %d heads, epsilon %g", path, m->e,
                       m->n_heads, (double)m->eps);
    if (causal || (m->pooling != POOL_MEAN && m->pooling != POOL_CLS))
        return qu_fail(err, QU_ERR_UNSUPPORTED,
                       "cannot embed with '%s': %s; mean and first token over attention both ways "
                       "are known", path, causal ? "causal attention" : "its pooling is another");
    return QU_OK;
}

/* What the model's card says that a text begins with. */
static void choose_prefixes(qu_embed *m)
{
    bool e5 = strcasestr(m->name, "e5") != NULL;
    bool bge = strcasestr(m->name, "bge") != NULL && strcasestr(m->name, "en") != NULL;
    m->prefix[QU_EMBED_PASSAGE] = e5 ? "passage: " : "";
    m->prefix[QU_EMBED_QUESTION] =
        e5 ? "query: " : bge ? "Represent this sentence for searching relevant passages: " : "";
}

qu_status qu_embed_open(qu_embed **out, const char *path, qu_err *err)
{
    QU_OWN(qu_embed_closep) qu_embed *m = NULL;
    *out = NULL;
    QU_TRY(qu_memory_take(&m, 1, sizeof *m, err));
    QU_TRY(qu_gguf_open(&m->gguf, path, err));
    QU_TRY(read_keys(m, err));
    QU_TRY(qu_wordpiece_create(&m->words, m->gguf, err));
    QU_TRY(take_weights(m, err));
    choose_prefixes(m);
    int32_t rules[5] = {1, m->pooling, m->n_heads, m->window, m->n_layers};
    qu_hash words = qu_wordpiece_hash(m->words);
    m->hash = qu_hash_chain(qu_gguf_fingerprint(m->gguf), rules, sizeof rules);
    m->hash = qu_hash_chain(m->hash, &words, sizeof words);
    m->hash =
        qu_hash_chain(m->hash, m->prefix[QU_EMBED_PASSAGE], strlen(m->prefix[QU_EMBED_PASSAGE]));
    *out = QU_TAKE(m);
    return QU_OK;
}

void qu_embed_close(qu_embed *m)
{
    if (!m) return;
    for (int32_t i = 0; m->layers && i < m->n_layers; i++) {
        layer *l = &m->layers[i];
        float *all[] = {l->q.bias,  l->k.bias,    l->v.bias, l->o.bias, l->up.bias,
                        l->down.bias, l->attn_w, l->attn_b, l->out_w,  l->out_b};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) free(all[k]);
    }
    free(m->layers);
    free(m->positions);
    free(m->type);
    free(m->norm_w);
    free(m->norm_b);
    qu_linear_scratch_free(m->scratch);
    qu_wordpiece_free(m->words);
    qu_gguf_close(m->gguf);
    free(m);
}

int32_t qu_embed_dims(const qu_embed *m) { return m->e; }
qu_hash qu_embed_hash(const qu_embed *m) { return m->hash; }

/* --- the forward pass over several texts --- */

typedef struct run {
    qu_embed *m;
    qu_pool *pool;
    int32_t *ids;          /* [n] of all texts, one after another */
    int32_t *starts;       /* [n_texts + 1] */
    int32_t n, n_texts, longest;
    int64_t cap;              /* of x and all that follows in one piece */
    float *x, *q, *k, *v, *a; /* [n,E] */
    float *h;              /* [n,F] */
    float *scratch;        /* [workers, longest (2 d + longest)] */
    const float *w, *b;    /* of the norm at hand */
} run;

static void norm(float *y, const float *w, const float *b, int32_t n, float eps)
{
    double mean = 0, square = 0;
    for (int32_t i = 0; i < n; i++) mean += y[i];
    mean /= n;
    for (int32_t i = 0; i < n; i++) square += (y[i] - mean) * (y[i] - mean);
    float scale = (float)(1 / sqrt(square / n + eps));
    for (int32_t i = 0; i < n; i++) y[i] = ((y[i] - (float)mean) * scale) * w[i] + b[i];
}

static void embed_row(void *ctx, int64_t i, int worker)
{
    run *r = ctx;
    const qu_embed *m = r->m;
    float *x = r->x + i * m->e;
    int64_t row = qu_type_bytes(m->tokens.type, m->e);
    int32_t t = 0;
    (void)worker;
    for (int32_t lo = 0, hi = r->n_texts; lo < hi;) { /* its text */
        int32_t mid = lo + (hi - lo) / 2;
        if (r->starts[mid] <= i) lo = mid + 1, t = mid;
        else hi = mid;
    }
    qu_dequant_ref(x, (const uint8_t *)m->tokens.data + r->ids[i] * row, m->tokens.type, m->e);
    qu_rows_add(x, m->type, m->e);
    qu_rows_add(x, m->positions + (i - r->starts[t]) * m->e, m->e);
    norm(x, m->norm_w, m->norm_b, m->e, m->eps);
}

/* One head of one text: softmax(q k / sqrt d) v. */
static void attend(void *ctx, int64_t item, int worker)
{
    run *r = ctx;
    int32_t h = (int32_t)(item % r->m->n_heads), text = (int32_t)(item / r->m->n_heads);
    int32_t e = r->m->e, d = e / r->m->n_heads, n = r->starts[text + 1] - r->starts[text];
    int64_t at = (int64_t)r->starts[text] * e + (int64_t)h * d;
    float *keys = r->scratch + (int64_t)worker * r->longest * (2 * d + r->longest);
    float *values = keys + (int64_t)n * d, *s = values + (int64_t)n * d;
    float scale = 1 / sqrtf((float)d);
    for (int32_t t = 0; t < n; t++)
        for (int32_t c = 0; c < d; c++) {
            keys[(int64_t)t * d + c] = r->k[at + (int64_t)t * e + c];
            values[(int64_t)c * n + t] = r->v[at + (int64_t)t * e + c];
        }
    qu_weight wk = {keys, QU_TYPE_F32, n, d}, wv = {values, QU_TYPE_F32, d, n};
    qu_linear_job scores = {&wk, NULL, s, n}, out = {&wv, NULL, r->a + at, e};
    qu_linear_question(NULL, &scores, 1, r->q + at, e, n);
    for (int32_t t = 0; t < n; t++) {
        float *row = s + (int64_t)t * n, most = row[0];
        double sum = 0;
        for (int32_t i = 1; i < n; i++) most = fmaxf(most, row[i]);
        for (int32_t i = 0; i < n; i++) sum += row[i] = expf((row[i] - most) * scale);
        for (int32_t i = 0; i < n; i++) row[i] = (float)(row[i] / sum);
    }
    qu_linear_question(NULL, &out, 1, s, n, n);
}

static void gelu_row(void *ctx, int64_t i, int worker)
{
    run *r = ctx;
    float *h = r->h + i * r->m->f;
    (void)worker;
    for (int32_t k = 0; k < r->m->f; k++) h[k] = h[k] * 0.5f * (1 + erff(h[k] * 0.70710678f));
}

/* x = norm(x + q), q what a layer's products left there */
static void add_row(void *ctx, int64_t i, int worker)
{
    run *r = ctx;
    float *x = r->x + i * r->m->e;
    (void)worker;
    qu_rows_add(x, r->q + i * r->m->e, r->m->e);
    norm(x, r->w, r->b, r->m->e, r->m->eps);
}

static void add_norm(run *r, const float *w, const float *b)
{
    r->w = w;
    r->b = b;
    qu_pool_run(r->pool, r->n, add_row, r);
}

static qu_linear_job job_of(const qu_projection *p, float *y)
{
    return (qu_linear_job){&p->w, p->bias, y, p->w.n};
}

static qu_status linear(run *r, const qu_linear_job *jobs, int n, const float *x, int64_t ldx,
                        qu_err *err)
{
    return qu_linear_document(r->pool, &r->m->scratch, jobs, n, x, ldx, r->n, err);
}

static qu_status run_layer(run *r, const layer *l, qu_err *err)
{
    int32_t e = r->m->e, f = r->m->f;
    qu_linear_job qkv[3] = {job_of(&l->q, r->q), job_of(&l->k, r->k), job_of(&l->v, r->v)};
    qu_linear_job o = job_of(&l->o, r->q), up = job_of(&l->up, r->h), down = job_of(&l->down, r->q);
    QU_TRY(linear(r, qkv, 3, r->x, e, err));
    qu_pool_run(r->pool, (int64_t)r->n_texts * r->m->n_heads, attend, r);
    QU_TRY(linear(r, &o, 1, r->a, e, err));
    add_norm(r, l->attn_w, l->attn_b);
    QU_TRY(linear(r, &up, 1, r->x, e, err));
    qu_pool_run(r->pool, r->n, gelu_row, r);
    QU_TRY(linear(r, &down, 1, r->h, f, err));
    add_norm(r, l->out_w, l->out_b);
    return QU_OK;
}

static qu_status forward(run *r, qu_err *err)
{
    const qu_embed *m = r->m;
    int64_t e = m->e, d = e / m->n_heads, size = r->n * e;
    int64_t worker = r->longest * (2 * d + r->longest) * qu_pool_threads(r->pool);
    QU_TRY(qu_memory_need(&r->x, &r->cap, 5 * size + (int64_t)r->n * m->f + worker, sizeof *r->x,
                          err));
    r->q = r->x + size;
    r->k = r->q + size;
    r->v = r->k + size;
    r->a = r->v + size;
    r->h = r->a + size;
    r->scratch = r->h + (int64_t)r->n * m->f;
    qu_pool_run(r->pool, r->n, embed_row, r);
    for (int32_t i = 0; i < m->n_layers; i++) QU_TRY(run_layer(r, &m->layers[i], err));
    return QU_OK;
}

/* The vector of one text: the mean of its rows or the first, with length 1. */
static void pool_rows(const run *r, int32_t text, float *out)
{
    int32_t e = r->m->e, from = r->starts[text], n = r->starts[text + 1] - from;
    double square = 0;
    if (r->m->pooling == POOL_CLS) n = 1;
    for (int32_t i = 0; i < e; i++) {
        double sum = 0;
        for (int32_t t = 0; t < n; t++) sum += r->x[((int64_t)from + t) * e + i];
        out[i] = (float)(sum / n);
        square += (double)out[i] * out[i];
    }
    for (int32_t i = 0; i < e && square > 0; i++) out[i] = (float)(out[i] / sqrt(square));
}

/* Tokens of texts from first on, as many as fit a batch, behind one another. */
static qu_status fill(run *r, const qu_embed_text *texts, int32_t first, int32_t n,
                      qu_embed_kind kind, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf text = {0};
    int32_t window = r->m->window;
    r->n = r->n_texts = r->longest = 0;
    r->starts[0] = 0;
    for (int32_t i = first; i < n && (r->n == 0 || r->n + window <= BATCH_TOKENS); i++) {
        text.len = 0;
        QU_TRY(qu_buf_puts(&text, r->m->prefix[kind], err));
        QU_TRY(qu_buf_add(&text, texts[i].data, texts[i].n, err));
        int32_t k = qu_wordpiece_run(r->m->words, text.data, text.len, r->ids + r->n, window);
        r->n += k;
        r->starts[++r->n_texts] = r->n;
        if (k > r->longest) r->longest = k;
    }
    return QU_OK;
}

qu_status qu_embed_run(qu_embed *m, qu_pool *pool, const qu_embed_text *texts, int32_t n,
                       qu_embed_kind kind, float *x, qu_err *err)
{
    run r = {.m = m, .pool = pool};
    int64_t cap = m->window > BATCH_TOKENS ? m->window : BATCH_TOKENS;
    qu_status st = qu_memory_take(&r.ids, cap, sizeof *r.ids, err);
    if (st == QU_OK) st = qu_memory_take(&r.starts, cap + 1, sizeof *r.starts, err);
    for (int32_t first = 0; first < n && st == QU_OK; first += r.n_texts) {
        st = fill(&r, texts, first, n, kind, err);
        if (st == QU_OK) st = forward(&r, err);
        for (int32_t i = 0; st == QU_OK && i < r.n_texts; i++)
            pool_rows(&r, i, x + (int64_t)(first + i) * m->e);
    }
    free(r.x);
    free(r.ids);
    free(r.starts);
    return st;
}

qu_status qu_embed_rows(qu_embed *m, qu_pool *pool, const int32_t *ids, int32_t n, float *rows,
                        qu_err *err)
{
    int32_t starts[2] = {0, n};
    run r = {.m = m, .pool = pool, .ids = (int32_t *)ids, .starts = starts, .n = n, .n_texts = 1,
             .longest = n};
    for (int32_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= m->tokens.n)
            return qu_fail(err, QU_ERR_ARG, "token %d is not in the vocabulary", ids[i]);
    if (n < 1 || n > m->window)
        return qu_fail(err, QU_ERR_ARG, "%d tokens: 1 to %d are possible", n, m->window);
    qu_status st = forward(&r, err);
    if (st == QU_OK) memcpy(rows, r.x, (size_t)n * (size_t)m->e * sizeof *rows);
    free(r.x);
    return st;
}
