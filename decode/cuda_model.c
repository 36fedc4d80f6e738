/* A model's weights on a CUDA device. */
#include <stdio.h>

#include "base/memory.h"
#include "decode/cuda_int.h"
#include "decode/device.h"

enum { STAGE_BYTES = 64 << 20 };

static qu_status take(struct qu_device *d, void **p, int64_t bytes, qu_err *err)
{
    QU_TRY(qu_memory_grow(&d->owned, &d->owned_cap, d->n_owned + 1, sizeof *d->owned, err));
    QU_TRY(qu_cuda_alloc(d->cu, p, bytes, err));
    d->owned[d->n_owned++] = *p;
    return QU_OK;
}

static qu_status copy(struct qu_device *d, void **p, const void *host, int64_t bytes, qu_err *err)
{
    QU_TRY(take(d, p, bytes, err));
    return qu_cuda_upload(d->cu, QU_CUDA_COMPUTE, *p, host, bytes, err);
}

/* Weights travel by way of d->stage. */
static qu_status weights(struct qu_device *d, void **p, const qu_weight *w, qu_err *err)
{
    int64_t n = (int64_t)w->n * w->k;
    QU_TRY(take(d, p, qu_cuda_weights_bytes(w->type, n), err));
    return qu_cuda_put_weights(d->cu, *p, w->data, w->type, n, d->stage, STAGE_BYTES, err);
}

static qu_status vector(struct qu_device *d, float **p, const float *v, int32_t n, qu_err *err)
{
    return v ? copy(d, (void **)p, v, n * 4ll, err) : QU_OK;
}

static qu_status matrix(struct qu_device *d, qu_cuda_matrix *to, const qu_projection *p,
                        qu_err *err)
{
    QU_TRY(weights(d, &to->w, &p->w, err));
    return vector(d, &to->bias, p->bias, p->w.n, err);
}

/* The angles inside a page, of all RoPE rows. */
static qu_status places(struct qu_device *d, const qu_model *m, float **to, qu_err *err)
{
    int64_t n = (int64_t)m->head_size * QU_PAGE_TOKENS;
    float *all;
    QU_TRY(qu_memory_take(&all, (m->n_ropes + 1) * n, sizeof *all, err));
    float *cos = all + m->n_ropes * n, *sin = cos + n / 2;
    for (int32_t i = 0; i < m->n_ropes; i++) {
        qu_rope_angles(m->ropes[i], 0, QU_PAGE_TOKENS, QU_PAGE_TOKENS, cos, sin);
        qu_cuda_places(all + i * n, cos, sin, m->rope_dims, m->head_size);
    }
    qu_status st = copy(d, (void **)to, all, m->n_ropes * n * 4, err);
    free(all);
    return st;
}

static qu_status upload(struct qu_device *d, const qu_model *m, qu_err *err)
{
    QU_TRY(qu_memory_take(&d->layers, m->n_layers, sizeof *d->layers, err));
    QU_TRY(qu_cuda_alloc(d->cu, &d->stage, STAGE_BYTES, err));
    QU_TRY(weights(d, &d->embedding, &m->embedding, err));
    d->output.w = d->embedding;
    if (m->output.w.data != m->embedding.data) QU_TRY(matrix(d, &d->output, &m->output, err));
    QU_TRY(vector(d, &d->output_norm, m->output_norm, m->width, err));
    for (int32_t i = 0; i < m->n_layers; i++) {
        const qu_layer *l = &m->layers[i];
        qu_cuda_layer *to = &d->layers[i];
        const qu_projection *from[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
        qu_cuda_matrix *there[] = {&to->q, &to->k, &to->v, &to->o, &to->gate, &to->up, &to->down};
        for (int k = 0; k < 7; k++) QU_TRY(matrix(d, there[k], from[k], err));
        QU_TRY(vector(d, &to->attn_norm, l->attn_norm, m->width, err));
        QU_TRY(vector(d, &to->ffn_norm, l->ffn_norm, m->width, err));
        QU_TRY(vector(d, &to->q_norm, l->q_norm, m->head_size, err));
        QU_TRY(vector(d, &to->k_norm, l->k_norm, m->head_size, err));
    }
    if (m->rope_row) {
        int32_t n = m->n_layers * m->n_kv_heads, *rows;
        QU_TRY(qu_memory_take(&rows, n, sizeof *rows, err));
        for (int32_t i = 0; i < n; i++) rows[i] = m->rope_row[i];
        qu_status st = copy(d, (void **)&d->rope_rows, rows, n * 4ll, err);
        free(rows);
        QU_TRY(st);
    }
    int32_t a = 0, b = 1;
    if (m->rope_dims > 0) qu_rope_pair(m->ropes[0], 0, &a, &b);
    float *angles;
    QU_TRY(places(d, m, &angles, err));
    d->rope = (qu_cuda_rope){m->rope_dims, b != 1, angles};
    QU_TRY(qu_cuda_sync(d->cu, QU_CUDA_COMPUTE, err));
    qu_cuda_free(d->cu, d->stage);
    d->stage = NULL;
    return QU_OK;
}

static qu_status can_run(const qu_model *m, qu_err *err)
{
    if (m->lora)
        return qu_fail(err, QU_ERR_UNSUPPORTED,
                       "a LoRA adapter runs on the processor only: use --device cpu");
    if (m->head_size % 8 != 0 || m->head_size > 128 || m->width % 8 != 0 || m->ffn % 8 != 0)
        return qu_fail(err, QU_ERR_UNSUPPORTED,
                       "model '%s' has heads of %d in a width of %d: the device's kernels take "
                       "multiples of 8, heads up to 128; use --device cpu",
                       m->name, m->head_size, m->width);
    return QU_OK;
}

static qu_status attach(qu_model *m, int number, qu_err *err)
{
    QU_TRY(can_run(m, err));
    struct qu_device *d = calloc(1, sizeof *d);
    if (!d) return qu_fail_nomem(err, sizeof *d);
    qu_status st = qu_cuda_open(&d->cu, number, err);
    if (st == QU_OK) st = upload(d, m, err);
    if (st == QU_OK) st = qu_cuda_pools_open(d, m, err);
    if (st == QU_OK)
        m->device = d;
    else
        qu_device_close(d);
    return st;
}

qu_status qu_device_attach(qu_model *m, const char *which, qu_err *err)
{
    if (!strcmp(which, "cpu")) return QU_OK;
    if (!strcmp(which, "auto")) {
        if (qu_cuda_count() > 0) attach(m, 0, NULL); /* else this processor does it */
        return QU_OK;
    }
    int number = 0, end = 0;
    if (strcmp(which, "cuda") && (sscanf(which, "cuda:%3d%n", &number, &end) != 1 || which[end]))
        return qu_fail(err, QU_ERR_ARG, "unknown device '%s': auto, cpu, cuda or cuda:N", which);
    return attach(m, number, err);
}

qu_status qu_device_wait(const qu_model *m, qu_err *err)
{
    return m->device ? qu_cuda_sync(m->device->cu, QU_CUDA_COMPUTE, err) : QU_OK;
}

const char *qu_device_name(const qu_model *m)
{
    return m->device ? qu_cuda_name(m->device->cu) : NULL;
}

void qu_device_numerics(const qu_model *m, char out[48])
{
    char host[48];
    qu_context_numerics(host);
    if (!m->device) snprintf(out, 48, "%s", host);
    else
        snprintf(out, 48, "%.*s/cuda3-sm%d/cublas-bf16", (int)strcspn(host, "/"), host,
                 qu_cuda_arch(m->device->cu));
}

void qu_device_close(struct qu_device *d)
{
    if (!d) return;
    qu_cuda_pools_close(d);
    qu_cuda_leave(d->idle);
    qu_cuda_free(d->cu, d->stage);
    for (int64_t i = 0; i < d->n_owned; i++) qu_cuda_free(d->cu, d->owned[i]);
    qu_cuda_close(d->cu);
    free(d->owned);
    free(d->layers);
    free(d);
}
