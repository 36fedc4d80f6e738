#include "decode/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dims.h"

typedef struct reader {
    qu_model *m;
    const char *path;
    qu_model_options o;
    qu_err *err;
} reader;

static qu_status need_i32(const reader *r, const char *key, int32_t *v, int32_t least, int32_t most)
{
    QU_TRY(qu_gguf_get_i32(r->m->gguf, key, v, r->err));
    if (*v < least || *v > most)
        return qu_fail(r->err, QU_ERR_FORMAT, "model '%s' has %s %d: expected %d to %d", r->path,
                       key, *v, least, most);
    return QU_OK;
}

/* An optional key: absent leaves *v alone, present must be sane. */
static qu_status maybe_i32(const reader *r, const char *key, int32_t *v, int32_t least,
                           int32_t most)
{
    return qu_gguf_has(r->m->gguf, key) ? need_i32(r, key, v, least, most) : QU_OK;
}

static qu_status maybe_f32(const reader *r, const char *key, float *v)
{
    return qu_gguf_has(r->m->gguf, key) ? qu_gguf_get_f32(r->m->gguf, key, v, r->err) : QU_OK;
}

static qu_status refuse(const reader *r, const char *what)
{
    return qu_fail(r->err, QU_ERR_UNSUPPORTED, "cannot run model '%s': %s", r->path, what);
}

static qu_status read_dims(const reader *r)
{
    qu_model *m = r->m;
    qu_gguf_str arch = {"", 0};
    QU_TRY(qu_gguf_get_str(m->gguf, "general.architecture", &arch, r->err));
    if (arch.len != 5 || memcmp(arch.data, "llama", 5) != 0)
        return qu_fail(r->err, QU_ERR_UNSUPPORTED,
                       "cannot run model '%s': architecture '%.*s' is not supported, 'llama' is",
                       r->path, (int)(arch.len > 40 ? 40 : arch.len), arch.data);
    QU_TRY(need_i32(r, "llama.block_count", &m->n_layers, 1, QU_MAX_LAYERS));
    QU_TRY(need_i32(r, "llama.embedding_length", &m->width, 1, QU_MAX_WIDTH));
    QU_TRY(need_i32(r, "llama.feed_forward_length", &m->ffn, 1, QU_MAX_WIDTH));
    QU_TRY(need_i32(r, "llama.attention.head_count", &m->n_heads, 1, QU_MAX_HEADS));
    QU_TRY(need_i32(r, "llama.context_length", &m->context, 1, 1 << 24));
    m->n_kv_heads = m->n_heads;
    QU_TRY(maybe_i32(r, "llama.attention.head_count_kv", &m->n_kv_heads, 1, m->n_heads));
    m->head_size = m->width / m->n_heads;
    QU_TRY(maybe_i32(r, "llama.attention.key_length", &m->head_size, 1, QU_MAX_HEAD_SIZE));
    int32_t value_size = m->head_size;
    QU_TRY(maybe_i32(r, "llama.attention.value_length", &value_size, 1, QU_MAX_HEAD_SIZE));
    if (value_size != m->head_size) return refuse(r, "keys and values differ in size");
    if (m->head_size < 1 || m->head_size > QU_MAX_HEAD_SIZE)
        return refuse(r, "its head size is absurd");
    if (m->n_heads % m->n_kv_heads != 0) return refuse(r, "its heads do not divide into KV heads");
    QU_TRY(qu_gguf_get_f32(m->gguf, "llama.attention.layer_norm_rms_epsilon", &m->eps, r->err));
    int32_t experts = 0, window = 0;
    QU_TRY(maybe_i32(r, "llama.expert_count", &experts, 0, 1 << 20));
    QU_TRY(maybe_i32(r, "llama.attention.sliding_window", &window, 0, 1 << 30));
    if (experts > 0) return refuse(r, "mixtures of experts are not supported");
    if (window > 0) return refuse(r, "sliding-window attention cannot be cut into pages");
    return QU_OK;
}

static qu_status read_rope(const reader *r)
{
    qu_model *m = r->m;
    qu_rope_config c = {m->head_size, false, 10000, 1, NULL};
    QU_TRY(maybe_i32(r, "llama.rope.dimension_count", &c.n_dims, 0, m->head_size));
    QU_TRY(maybe_f32(r, "llama.rope.freq_base", &c.base));
    qu_gguf_str type = {"none", 4};
    if (qu_gguf_has(m->gguf, "llama.rope.scaling.type"))
        QU_TRY(qu_gguf_get_str(m->gguf, "llama.rope.scaling.type", &type, r->err));
    if (type.len == 6 && memcmp(type.data, "linear", 6) == 0) {
        QU_TRY(maybe_f32(r, "llama.rope.scaling.factor", &c.linear));
    } else if (!(type.len == 4 && memcmp(type.data, "none", 4) == 0)) {
        return qu_fail(r->err, QU_ERR_UNSUPPORTED,
                       "cannot run model '%s': RoPE scaling '%.*s' is not supported", r->path,
                       (int)(type.len > 40 ? 40 : type.len), type.data);
    } else {
        QU_TRY(maybe_f32(r, "llama.rope.scale_linear", &c.linear)); /* the older spelling */
    }
    const qu_gguf_tensor *t = qu_gguf_find_tensor(m->gguf, "rope_freqs.weight");
    float factors[QU_MAX_HEAD_SIZE];
    if (t) {
        if (t->type != QU_TYPE_F32 || t->n_dims != 1 || t->dims[0] != c.n_dims / 2)
            return qu_fail(r->err, QU_ERR_FORMAT,
                           "model '%s' has a misshapen tensor 'rope_freqs.weight'", r->path);
        memcpy(factors, t->data, (size_t)t->dims[0] * sizeof *factors);
        for (int64_t i = 0; i < t->dims[0]; i++)
            if (!(factors[i] > 0)) return refuse(r, "a RoPE frequency factor is not positive");
        c.factors = factors;
    }
    if (r->o.rope_base < 0 || r->o.rope_scale < 0)
        return qu_fail(r->err, QU_ERR_ARG, "RoPE base and scale must be positive");
    if (r->o.rope_base > 0) c.base = (float)r->o.rope_base;
    if (r->o.rope_scale > 0) {
        c.linear = (float)r->o.rope_scale;
    }
    m->fingerprint = qu_hash_chain(m->fingerprint, &c.n_dims, sizeof c.n_dims);
    m->fingerprint = qu_hash_chain(m->fingerprint, &c.base, sizeof c.base);
    m->fingerprint = qu_hash_chain(m->fingerprint, &c.linear, sizeof c.linear);
    if (t) m->fingerprint = qu_hash_chain(m->fingerprint, factors, (size_t)t->n_bytes);
    m->ropes = calloc(1, sizeof *m->ropes);
    if (!m->ropes) return qu_fail_nomem(r->err, sizeof *m->ropes);
    m->n_ropes = 1;
    return qu_rope_create(&m->ropes[0], &c, r->err);
}

static qu_status misshapen(const reader *r, const char *name, const qu_gguf_tensor *t)
{
    if (!t) return qu_fail(r->err, QU_ERR_FORMAT, "model '%s' lacks tensor '%s'", r->path, name);
    return qu_fail(r->err, QU_ERR_FORMAT, "model '%s': tensor '%s' has the wrong shape %lld x %lld",
                   r->path, name, (long long)t->dims[0], (long long)t->dims[1]);
}

/* blk.N.stem.weight of [n,k]; layer < 0: no prefix. */
static void tensor_name(char out[96], int32_t layer, const char *stem)
{
    if (layer < 0)
        snprintf(out, 96, "%s", stem);
    else
        snprintf(out, 96, "blk.%d.%s", layer, stem);
}

static qu_status read_matrix(const reader *r, qu_weight *w, int32_t layer, const char *stem,
                             int32_t n, int32_t k)
{
    char name[96];
    tensor_name(name, layer, stem);
    const qu_gguf_tensor *t = qu_gguf_find_tensor(r->m->gguf, name);
    if (!t || t->n_dims != 2 || t->dims[0] != k || t->dims[1] != n) return misshapen(r, name, t);
    *w = (qu_weight){t->data, t->type, n, k};
    return QU_OK;
}

/* A small vector, as floats of our own. optional: absent is NULL. */
static qu_status read_vector(const reader *r, float **v, int32_t layer, const char *stem, int32_t n,
                             bool optional)
{
    char name[96];
    tensor_name(name, layer, stem);
    const qu_gguf_tensor *t = qu_gguf_find_tensor(r->m->gguf, name);
    if (!t && optional) return QU_OK;
    if (!t || t->n_dims != 1 || t->dims[0] != n) return misshapen(r, name, t);
    *v = malloc((size_t)n * sizeof **v);
    if (!*v) return qu_fail_nomem(r->err, n * (long long)sizeof **v);
    qu_dequant_ref(*v, t->data, t->type, n);
    return QU_OK;
}

static qu_status read_layer(const reader *r, int32_t i)
{
    const qu_model *m = r->m;
    qu_layer *l = &m->layers[i];
    int32_t e = m->width, q = m->n_heads * m->head_size, kv = m->n_kv_heads * m->head_size;
    QU_TRY(read_vector(r, &l->attn_norm, i, "attn_norm.weight", e, false));
    QU_TRY(read_vector(r, &l->ffn_norm, i, "ffn_norm.weight", e, false));
    QU_TRY(read_matrix(r, &l->wq, i, "attn_q.weight", q, e));
    QU_TRY(read_matrix(r, &l->wk, i, "attn_k.weight", kv, e));
    QU_TRY(read_matrix(r, &l->wv, i, "attn_v.weight", kv, e));
    QU_TRY(read_matrix(r, &l->wo, i, "attn_output.weight", e, q));
    QU_TRY(read_vector(r, &l->bq, i, "attn_q.bias", q, true));
    QU_TRY(read_vector(r, &l->bk, i, "attn_k.bias", kv, true));
    QU_TRY(read_vector(r, &l->bv, i, "attn_v.bias", kv, true));
    QU_TRY(read_matrix(r, &l->gate, i, "ffn_gate.weight", m->ffn, e));
    QU_TRY(read_matrix(r, &l->up, i, "ffn_up.weight", m->ffn, e));
    return read_matrix(r, &l->down, i, "ffn_down.weight", e, m->ffn);
}

static qu_status read_weights(const reader *r)
{
    qu_model *m = r->m;
    const qu_gguf_tensor *t = qu_gguf_find_tensor(m->gguf, "token_embd.weight");
    if (!t || t->n_dims != 2 || t->dims[0] != m->width || t->dims[1] < 1 ||
        t->dims[1] > QU_MAX_VOCAB)
        return misshapen(r, "token_embd.weight", t);
    m->vocab = (int32_t)t->dims[1];
    QU_TRY(read_matrix(r, &m->embedding, -1, "token_embd.weight", m->vocab, m->width));
    m->output = m->embedding;
    if (qu_gguf_find_tensor(m->gguf, "output.weight"))
        QU_TRY(read_matrix(r, &m->output, -1, "output.weight", m->vocab, m->width));
    QU_TRY(read_vector(r, &m->output_norm, -1, "output_norm.weight", m->width, false));
    m->layers = calloc((size_t)m->n_layers, sizeof *m->layers);
    if (!m->layers) return qu_fail_nomem(r->err, m->n_layers * (long long)sizeof *m->layers);
    for (int32_t i = 0; i < m->n_layers; i++) QU_TRY(read_layer(r, i));
    return QU_OK;
}

static void read_name(qu_model *m, const char *path)
{
    const char *slash = strrchr(path, '/');
    qu_gguf_str s = {0};
    snprintf(m->name, sizeof m->name, "%s", slash ? slash + 1 : path);
    if (qu_gguf_get_str(m->gguf, "general.name", &s, NULL) == QU_OK && s.len > 0 &&
        s.len < sizeof m->name) {
        memcpy(m->name, s.data, s.len);
        m->name[s.len] = 0;
    }
}

qu_status qu_model_open(qu_model **out, const char *path, qu_err *err)
{
    return qu_model_open_with(out, path, NULL, err);
}

qu_status qu_model_open_with(qu_model **out, const char *path, const qu_model_options *options,
                             qu_err *err)
{
    *out = NULL;
    qu_status st = QU_OK;
    qu_model *m = calloc(1, sizeof *m);
    if (!m) return qu_fail_nomem(err, sizeof *m);
    reader r = {m, path, options ? *options : (qu_model_options){0}, err};
    QU_TRY_OUT(qu_gguf_open(&m->gguf, path, err));
    m->fingerprint = qu_gguf_fingerprint(m->gguf);
    read_name(m, path);
    QU_TRY_OUT(read_dims(&r));
    QU_TRY_OUT(read_rope(&r));
    QU_TRY_OUT(read_weights(&r));
    *out = m;
    return QU_OK;
out:
    if (st == QU_ERR_NOTFOUND && m->gguf) { /* a key: the file itself is there */
        st = QU_ERR_FORMAT;
        if (err) err->status = st;
    }
    qu_model_close(m);
    return st;
}

void qu_model_close(qu_model *m)
{
    if (!m) return;
    for (int32_t i = 0; m->layers && i < m->n_layers; i++) {
        qu_layer *l = &m->layers[i];
        free(l->attn_norm);
        free(l->ffn_norm);
        free(l->bq);
        free(l->bk);
        free(l->bv);
    }
    free(m->layers);
    free(m->output_norm);
    for (int32_t i = 0; i < m->n_ropes; i++) qu_rope_free(m->ropes[i]);
    free(m->ropes);
    free(m->rope_row);
    qu_gguf_close(m->gguf);
    free(m);
}

int64_t qu_model_kv_bytes_per_token(const qu_model *m)
{
    return (int64_t)m->n_layers * m->n_kv_heads * m->head_size * 4;
}

double qu_model_prefill_flops(const qu_model *m, int64_t n_tokens)
{
    double e = m->width, q = (double)m->n_heads * m->head_size,
           kv = (double)m->n_kv_heads * m->head_size;
    double linear = 2.0 * m->n_layers * (2 * e * q + 2 * e * kv + 3 * e * m->ffn);
    double n = (double)n_tokens, window = m->context;
    double keys =
        n <= window ? n * n / 2 : window * window / 2 + (n - window) * window; /* seen in all */
    return n * linear + keys * 4 * q * m->n_layers;
}
