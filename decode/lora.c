#include "decode/lora.h"

#include <stdio.h>

#include "base/memory.h"

enum { MAX_RANK = 4096 };

struct qu_lora {
    qu_gguf *gguf;
    float alpha;
    int64_t n_used; /* tensors that were asked for */
};

qu_status qu_lora_open(qu_lora **out, const char *path, const char *arch, qu_err *err)
{
    qu_gguf_str type = {"", 0}, kind = {"", 0}, of = {"", 0};
    qu_status st = QU_OK;
    *out = NULL;
    QU_OWN(qu_lora_closep) qu_lora *l = NULL;
    QU_TRY(qu_memory_take(&l, 1, sizeof *l, err));
    QU_TRY(qu_gguf_open(&l->gguf, path, err));
    qu_gguf_get_str(l->gguf, "general.type", &type, NULL);
    qu_gguf_get_str(l->gguf, "adapter.type", &kind, NULL);
    qu_gguf_get_str(l->gguf, "general.architecture", &of, NULL);
    qu_gguf_get_f32(l->gguf, "adapter.lora.alpha", &l->alpha, NULL);
    if (!qu_gguf_is(type, "adapter") || !qu_gguf_is(kind, "lora"))
        st = qu_fail(err, QU_ERR_UNSUPPORTED, "'%s' is not a LoRA adapter", path);
    else if (qu_gguf_has(l->gguf, "adapter.alora.invocation_tokens"))
        st = qu_fail(err, QU_ERR_UNSUPPORTED,
                     "adapter '%s' waits for invocation tokens, which is not supported", path);
    else if (!qu_gguf_is(of, arch))
        st = qu_fail(err, QU_ERR_MISMATCH, "adapter '%s' is for a %.*s model, not for %s", path,
                     (int)(of.len > 40 ? 40 : of.len), of.data, arch);
    if (st != QU_OK) return st;
    *out = QU_TAKE(l);
    return QU_OK;
    return st;
}

void qu_lora_close(qu_lora *l)
{
    if (!l) return;
    qu_gguf_close(l->gguf);
    free(l);
}

qu_status qu_lora_find(qu_lora *l, const char *tensor, int32_t n, int32_t k, qu_lora_pair *p,
                       qu_err *err)
{
    char name[120];
    *p = (qu_lora_pair){0};
    if (!l) return QU_OK;
    snprintf(name, sizeof name, "%s.lora_a", tensor);
    const qu_gguf_tensor *a = qu_gguf_find_tensor(l->gguf, name);
    snprintf(name, sizeof name, "%s.lora_b", tensor);
    const qu_gguf_tensor *b = qu_gguf_find_tensor(l->gguf, name);
    if (!a && !b) return QU_OK;
    if (!a || !b)
        return qu_fail(err, QU_ERR_FORMAT, "adapter '%s' has half a pair for '%s'",
                       qu_gguf_path(l->gguf), tensor);
    int64_t r = a->dims[1];
    if (a->n_dims > 2 || b->n_dims > 2 || a->dims[0] != k || b->dims[1] != n || b->dims[0] != r ||
        r > MAX_RANK)
        return qu_fail(err, QU_ERR_MISMATCH,
                       "adapter '%s' does not fit the model's '%s' of %d x %d",
                       qu_gguf_path(l->gguf), tensor, n, k);
    p->a = (qu_weight){a->data, a->type, (int32_t)r, k};
    p->b = (qu_weight){b->data, b->type, n, (int32_t)r};
    p->rank = (int32_t)r;
    p->scale = l->alpha != 0 ? l->alpha / (float)r : 1;
    l->n_used += 2;
    return QU_OK;
}

qu_status qu_lora_check(const qu_lora *l, qu_err *err)
{
    if (!l || l->n_used == qu_gguf_n_tensors(l->gguf)) return QU_OK;
    return qu_fail(err, QU_ERR_MISMATCH,
                   "adapter '%s' changes %lld tensors that Quire cannot adapt or the model lacks",
                   qu_gguf_path(l->gguf), (long long)(qu_gguf_n_tensors(l->gguf) - l->n_used));
}

qu_hash qu_lora_fingerprint(const qu_lora *l) { return qu_gguf_fingerprint(l->gguf); }

int64_t qu_lora_scratch(const qu_lora_pair *p, int32_t n_rows)
{
    return p->rank ? (int64_t)n_rows * (p->rank + p->b.n) : 0;
}

void qu_lora_add(qu_pool *pool, const qu_lora_pair *p, const float *x, int64_t ldx, float *y,
                 int64_t ldy, int32_t n_rows, float *scratch)
{
    int32_t r = p->rank, n = p->b.n;
    float *low = scratch, *high = scratch + (int64_t)n_rows * r;
    qu_linear_job down = {&p->a, NULL, low, r}, up = {&p->b, NULL, high, n};
    qu_linear_question(pool, &down, 1, x, ldx, n_rows);
    for (int64_t i = 0; i < (int64_t)n_rows * r; i++) low[i] *= p->scale;
    qu_linear_question(pool, &up, 1, low, r, n_rows);
    for (int32_t t = 0; t < n_rows; t++)
        for (int32_t i = 0; i < n; i++) y[t * ldy + i] += high[(int64_t)t * n + i];
}
