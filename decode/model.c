#include "decode/model.h"

#include <stdio.h>

#include "base/dims.h"
#include "base/memory.h"
#include "decode/device.h"
#include "decode/model_int.h"

static qu_status misshapen(const qu_gguf *g, const char *name, const qu_gguf_tensor *t, qu_err *err)
{
    if (!t)
        return qu_fail(err, QU_ERR_FORMAT, "model '%s' lacks tensor '%s'", qu_gguf_path(g), name);
    return qu_fail(err, QU_ERR_FORMAT, "model '%s': tensor '%s' has the wrong shape %lld x %lld",
                   qu_gguf_path(g), name, (long long)t->dims[0], (long long)t->dims[1]);
}

const char *qu_model_tensor_name(char out[96], int32_t layer, const char *stem, const char *part)
{
    char block[24] = "";
    if (layer >= 0) snprintf(block, sizeof block, "blk.%d.", layer);
    snprintf(out, 96, "%s%s.%s", block, stem, part);
    return out;
}

qu_status qu_model_matrix(const qu_gguf *g, const char *name, qu_weight *w, int32_t n, int32_t k,
                           qu_err *err)
{
    const qu_gguf_tensor *t = qu_gguf_find_tensor(g, name);
    if (!t || t->n_dims != 2 || t->dims[0] != k || t->dims[1] != n)
        return misshapen(g, name, t, err);
    *w = (qu_weight){t->data, t->type, n, k};
    return QU_OK;
}

/* Block types would make more floats than the file has bytes, and nobody quantises a vector. */
qu_status qu_model_vector(const qu_gguf *g, const char *name, float **v, int32_t n, bool optional,
                           qu_err *err)
{
    const qu_gguf_tensor *t = qu_gguf_find_tensor(g, name);
    if (!t && optional) return QU_OK;
    if (!t || t->n_dims != 1 || t->dims[0] != n || qu_type_block(t->type) != 1)
        return misshapen(g, name, t, err);
    QU_TRY(qu_memory_take(v, n, sizeof **v, err));
    qu_dequant_ref(*v, t->data, t->type, n);
    return QU_OK;
}

qu_status qu_model_projection(const qu_gguf *g, qu_projection *p, int32_t layer, const char *stem,
                               int32_t n, int32_t k, bool needs_bias, qu_err *err)
{
    char name[96];
    QU_TRY(qu_model_matrix(g, qu_model_tensor_name(name, layer, stem, "weight"), &p->w, n, k, err));
    qu_model_tensor_name(name, layer, stem, "bias");
    return qu_model_vector(g, name, &p->bias, n, !needs_bias, err);
}

static qu_status read_vector(qu_model_reader *r, float **v, int32_t layer, const char *stem,
                             int32_t n, bool optional)
{
    char name[96];
    qu_model_tensor_name(name, layer, stem, "weight");
    return qu_model_vector(r->m->gguf, name, v, n, optional, r->err);
}

/* A projection and the adapter's part in it. */
static qu_status read_projection(qu_model_reader *r, qu_projection *p, int32_t layer,
                                 const char *stem, int32_t n, int32_t k, bool needs_bias)
{
    char name[96];
    QU_TRY(qu_model_projection(r->m->gguf, p, layer, stem, n, k, needs_bias, r->err));
    qu_model_tensor_name(name, layer, stem, "weight");
    return qu_lora_find(r->m->lora, name, n, k, &p->lora, r->err);
}

static qu_status read_layer(qu_model_reader *r, int32_t i)
{
    const qu_model *m = r->m;
    qu_layer *l = &m->layers[i];
    int32_t e = m->width, q = m->n_heads * m->head_size, kv = m->n_kv_heads * m->head_size;
    bool biased = !strcmp(r->arch, "qwen2"), normed = !strcmp(r->arch, "qwen3");
    QU_TRY(read_vector(r, &l->attn_norm, i, "attn_norm", e, false));
    QU_TRY(read_vector(r, &l->ffn_norm, i, "ffn_norm", e, false));
    QU_TRY(read_vector(r, &l->q_norm, i, "attn_q_norm", m->head_size, !normed));
    QU_TRY(read_vector(r, &l->k_norm, i, "attn_k_norm", m->head_size, !normed));
    QU_TRY(read_projection(r, &l->q, i, "attn_q", q, e, biased));
    QU_TRY(read_projection(r, &l->k, i, "attn_k", kv, e, biased));
    QU_TRY(read_projection(r, &l->v, i, "attn_v", kv, e, biased));
    QU_TRY(read_projection(r, &l->o, i, "attn_output", e, q, false));
    QU_TRY(read_projection(r, &l->gate, i, "ffn_gate", m->ffn, e, false));
    QU_TRY(read_projection(r, &l->up, i, "ffn_up", m->ffn, e, false));
    return read_projection(r, &l->down, i, "ffn_down", e, m->ffn, false);
}

static qu_status read_weights(qu_model_reader *r)
{
    qu_model *m = r->m;
    const qu_gguf_tensor *t = qu_gguf_find_tensor(m->gguf, "token_embd.weight");
    if (!t || t->n_dims != 2 || t->dims[0] != m->width || t->dims[1] < 1 ||
        t->dims[1] > QU_MAX_VOCAB)
        return misshapen(m->gguf, "token_embd.weight", t, r->err);
    m->vocab = (int32_t)t->dims[1];
    QU_TRY(qu_model_matrix(m->gguf, t->name, &m->embedding, m->vocab, m->width, r->err));
    m->output.w = m->embedding;
    if (qu_gguf_find_tensor(m->gguf, "output.weight"))
        QU_TRY(read_projection(r, &m->output, -1, "output", m->vocab, m->width, false));
    QU_TRY(read_vector(r, &m->output_norm, -1, "output_norm", m->width, false));
    QU_TRY(qu_memory_take(&m->layers, m->n_layers, sizeof *m->layers, r->err));
    for (int32_t i = 0; i < m->n_layers; i++) QU_TRY(read_layer(r, i));
    return QU_OK;
}

qu_status qu_model_open(qu_model **out, const char *path, qu_err *err)
{
    return qu_model_open_with(out, path, NULL, err);
}

qu_status qu_model_open_with(qu_model **out, const char *path, const qu_model_options *options,
                             qu_err *err)
{
    *out = NULL;
    QU_OWN(qu_model_closep) qu_model *m = NULL;
    QU_TRY(qu_memory_take(&m, 1, sizeof *m, err));
    qu_model_reader r = {.m = m, .path = path, .err = err};
    if (options) r.o = *options;
    QU_TRY(qu_gguf_open(&m->gguf, path, err));
    m->fingerprint = qu_gguf_fingerprint(m->gguf);
    qu_gguf_name(m->gguf, m->name);
    QU_TRY(qu_model_read_dims(&r));
    QU_TRY(qu_model_check_tensors(&r));
    QU_TRY(qu_model_read_rope(&r));
    if (r.o.lora) {
        QU_TRY(qu_lora_open(&m->lora, r.o.lora, r.arch, err));
        qu_hash h = qu_lora_fingerprint(m->lora);
        m->fingerprint = qu_hash_chain(m->fingerprint, &h, sizeof h);
    }
    QU_TRY(read_weights(&r));
    QU_TRY(qu_lora_check(m->lora, err));
    *out = QU_TAKE(m);
    return QU_OK;
}

void qu_model_close(qu_model *m)
{
    if (!m) return;
    qu_device_close(m->device);
    for (int32_t i = 0; m->layers && i < m->n_layers; i++) {
        qu_layer *l = &m->layers[i];
        free(l->attn_norm);
        free(l->ffn_norm);
        free(l->q_norm);
        free(l->k_norm);
        qu_projection *all[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++) free(all[j]->bias);
    }
    free(m->layers);
    free(m->output_norm);
    free(m->output.bias);
    qu_lora_close(m->lora);
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

double qu_model_flops(const qu_model *m, double rows, double keys)
{
    double e = m->width, q = (double)m->n_heads * m->head_size,
           kv = (double)m->n_kv_heads * m->head_size;
    return m->n_layers * (rows * 2 * (2 * e * q + 2 * e * kv + 3 * e * m->ffn) + keys * 4 * q);
}

double qu_model_prefill_flops(const qu_model *m, int64_t n_tokens)
{
    double n = (double)n_tokens, window = m->context;
    double keys =
        n <= window ? n * n / 2 : window * window / 2 + (n - window) * window; /* seen in all */
    return qu_model_flops(m, n, keys);
}
