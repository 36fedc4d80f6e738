/* A model's frequency table [layer][KV head][d/2], as rows that differ and the row of each head.
 *
 *   freq[i] = base^(-2i/n) / divisor[i]
 *
 *   none, linear     divisor = 1, factor
 *   yarn             between 1 and factor, by how often the pair turns within the trained window
 *   rope_freqs       the file's tensor, times the above: Llama 3.1's slow-down, or any other table
 *                    (infinity stops a pair, so Giraffe's truncated basis is such a tensor)
 *   freq_base_per_kv_head   another base for each KV head [G] or layer and KV head [L*G] (HARPE)
 */
#include <math.h>

#include "base/dims.h"
#include "base/memory.h"
#include "decode/model_int.h"

enum { MAX_ROPES = 64 };

static const char BASES[] = "rope.freq_base_per_kv_head";

typedef enum scaling { NONE, LINEAR, YARN } scaling;

typedef struct rope_keys {
    qu_rope_config config;
    scaling type;
    float factor;
    float ext, beta_fast, beta_slow, attention; /* YaRN's; attention 0: by the formula */
    int32_t trained;                            /* window before scaling */
} rope_keys;

static qu_status read_scaling(qu_model_reader *r, rope_keys *k)
{
    qu_model *m = r->m;
    qu_gguf_str s = {"linear", 6}; /* what a factor without a type means */
    if (qu_gguf_has(m->gguf, qu_model_key(r, "rope.scaling.type")))
        QU_TRY(qu_gguf_get_str(m->gguf, r->key, &s, r->err));
    if (qu_gguf_is(s, "none"))
        k->type = NONE;
    else if (qu_gguf_is(s, "linear"))
        k->type = LINEAR;
    else if (qu_gguf_is(s, "yarn"))
        k->type = YARN;
    else
        return qu_fail(r->err, QU_ERR_UNSUPPORTED,
                       "cannot run model '%s': RoPE scaling '%.*s' is not supported", r->path,
                       (int)(s.len > 40 ? 40 : s.len), s.data);
    QU_TRY(qu_model_maybe_f32(r, "rope.scale_linear", &k->factor)); /* the older spelling */
    QU_TRY(qu_model_maybe_f32(r, "rope.scaling.factor", &k->factor));
    if (k->type == NONE || k->factor == 0) k->factor = 1;
    k->trained = m->context;
    QU_TRY(qu_model_maybe_i32(r, "rope.scaling.original_context_length", &k->trained, 1, 1 << 24));
    QU_TRY(qu_model_maybe_f32(r, "rope.scaling.yarn_ext_factor", &k->ext));
    QU_TRY(qu_model_maybe_f32(r, "rope.scaling.yarn_beta_fast", &k->beta_fast));
    QU_TRY(qu_model_maybe_f32(r, "rope.scaling.yarn_beta_slow", &k->beta_slow));
    QU_TRY(qu_model_maybe_f32(r, "rope.scaling.yarn_attn_factor", &k->attention));
    if (!(k->factor > 0) || !(k->beta_fast > 0) || !(k->beta_slow > 0) || k->attention < 0)
        return qu_model_refuse(r, "a RoPE scaling parameter is not positive");
    return QU_OK;
}

/* The user's word against the file's. A scale stretches the window, in the file's own manner. */
static qu_status apply_options(qu_model_reader *r, rope_keys *k)
{
    double base = r->o.rope_base, scale = r->o.rope_scale;
    if (base < 0 || scale < 0 || !isfinite(base) || !isfinite(scale))
        return qu_fail(r->err, QU_ERR_ARG, "RoPE base %g and scale %g must be positive", base,
                       scale);
    if (base > 0) k->config.base = (float)base;
    if (scale > 0) {
        double window = r->m->context * scale / (double)k->factor;
        r->m->context = window < 1 ? 1 : window > 1 << 24 ? 1 << 24 : (int32_t)window;
        if (k->type == NONE) k->type = LINEAR;
        k->factor = (float)scale;
    }
    return QU_OK;
}

/* The pair that turns that many times within the trained window (YaRN, arXiv:2309.00071, 3.2). */
static double pair_of_turns(const rope_keys *k, double turns)
{
    return k->config.n_dims * log(k->trained / (turns * 2 * M_PI)) / (2 * log(k->config.base));
}

/* Pairs that turn often keep their speed, those that never end a turn are slowed down by the
 * factor, those between by a mixture. The ends are whole pairs, as in both reference programs. */
static void yarn_divisors(double *divisor, const rope_keys *k)
{
    double low = fmax(0, floor(pair_of_turns(k, k->beta_fast)));
    double high = fmin(k->config.n_dims - 1, ceil(pair_of_turns(k, k->beta_slow)));
    for (int32_t i = 0; i < k->config.n_dims / 2; i++) {
        double ramp = (i - low) / fmax(.001, high - low);
        double keep = (1 - fmin(1, fmax(0, ramp))) * (double)k->ext;
        divisor[i] = 1 / ((1 - keep) / (double)k->factor + keep);
    }
}

/* The file's own divisors, multiplied in. */
static qu_status read_factors(qu_model_reader *r, double *divisor, int32_t n)
{
    const qu_gguf_tensor *t = qu_gguf_find_tensor(r->m->gguf, "rope_freqs.weight");
    if (!t) return QU_OK;
    if (t->type != QU_TYPE_F32 || t->n_dims != 1 || t->dims[0] != n)
        return qu_fail(r->err, QU_ERR_FORMAT,
                       "model '%s' has a misshapen tensor 'rope_freqs.weight'", r->path);
    float factors[QU_MAX_HEAD_SIZE];
    memcpy(factors, t->data, (size_t)n * sizeof *factors);
    for (int32_t i = 0; i < n; i++) {
        if (!(factors[i] > 0)) return qu_model_refuse(r, "a RoPE frequency factor is not positive");
        divisor[i] *= (double)factors[i];
    }
    r->m->fingerprint = qu_hash_chain(r->m->fingerprint, factors, (size_t)t->n_bytes);
    return QU_OK;
}

/* The row with this base, made if it is new. */
static qu_status row_of(qu_model_reader *r, qu_rope_config *c, float *bases, float base,
                        uint8_t *row)
{
    qu_model *m = r->m;
    int32_t i = 0;
    while (i < m->n_ropes && bases[i] != base) i++;
    *row = (uint8_t)i;
    if (i < m->n_ropes) return QU_OK;
    if (!(base > 1) || !isfinite(base))
        return qu_model_refuse(r, "a RoPE base is not above 1 and finite");
    /* A hostile file must not buy large tables with a few numbers. */
    int64_t tables = (int64_t)(i + 1) * c->n_dims * QU_ROPE_BYTES_PER_DIM;
    if (i == MAX_ROPES || (i > 0 && tables > qu_gguf_file_bytes(m->gguf) + (1 << 19)))
        return qu_model_refuse(r, "too many different RoPE bases for a model of its size");
    if (!m->ropes) QU_TRY(qu_memory_take(&m->ropes, MAX_ROPES, sizeof *m->ropes, r->err));
    bases[i] = c->base = base;
    QU_TRY(qu_rope_create(&m->ropes[i], c, r->err));
    m->n_ropes++;
    return QU_OK;
}

static qu_status make_rows(qu_model_reader *r, qu_rope_config *c)
{
    qu_model *m = r->m;
    float bases[MAX_ROPES];
    uint8_t row;
    int64_t n = 0, all = (int64_t)m->n_layers * m->n_kv_heads;
    bool many = qu_gguf_has(m->gguf, qu_model_key(r, BASES));
    if (many && r->o.rope_base > 0) /* another table than the header, which is hashed, speaks of */
        m->fingerprint = qu_hash_chain(m->fingerprint, &c->base, sizeof c->base);
    if (!many || r->o.rope_base > 0) return row_of(r, c, bases, c->base, &row);
    QU_TRY(qu_gguf_array_len(m->gguf, r->key, &n, r->err));
    if (n != m->n_kv_heads && n != all)
        return qu_fail(r->err, QU_ERR_FORMAT,
                       "model '%s' has %lld values in %s: expected %d or %lld", r->path,
                       (long long)n, r->key, m->n_kv_heads, (long long)all);
    QU_OWN(qu_freep) float *each = NULL;
    QU_TRY(qu_memory_take(&m->rope_row, all, 1, r->err));
    QU_TRY(qu_memory_take(&each, n, sizeof *each, r->err));
    qu_status st = qu_gguf_array_f32(m->gguf, r->key, each, n, r->err);
    for (int64_t i = 0; i < all && st == QU_OK; i++)
        st = row_of(r, c, bases, each[i % n], &m->rope_row[i]);
    return st;
}

qu_status qu_model_read_rope(qu_model_reader *r)
{
    qu_model *m = r->m;
    double divisor[QU_MAX_HEAD_SIZE];
    rope_keys k = {.config = {m->head_size, r->arch[0] == 'q', 10000, 1, NULL},
                   .factor = 1,
                   .ext = 1,
                   .beta_fast = 32,
                   .beta_slow = 1};
    qu_rope_config *c = &k.config;
    float gain = 1;
    QU_TRY(qu_model_maybe_i32(r, "rope.dimension_count", &c->n_dims, 0, m->head_size));
    QU_TRY(qu_model_maybe_f32(r, "rope.freq_base", &c->base));
    QU_TRY(qu_model_maybe_f32(r, "rope.scaling.attn_factor", &gain));
    if (c->n_dims % 2 != 0) return qu_model_refuse(r, "its RoPE turns an odd number of dims");
    QU_TRY(read_scaling(r, &k));
    QU_TRY(apply_options(r, &k));
    m->rope_dims = c->n_dims;
    m->fingerprint = qu_hash_chain(m->fingerprint, &c->n_dims, sizeof c->n_dims);
    m->fingerprint = qu_hash_chain(m->fingerprint, &c->base, sizeof c->base);
    m->fingerprint = qu_hash_chain(m->fingerprint, &k.factor, sizeof k.factor);
    for (int32_t i = 0; i < QU_MAX_HEAD_SIZE; i++) divisor[i] = 1;
    if (k.type == YARN) {
        if (!(c->base > 1) || qu_gguf_has(m->gguf, qu_model_key(r, BASES)))
            return qu_model_refuse(r, "YaRN needs one RoPE base above 1");
        yarn_divisors(divisor, &k);
        bool formula = k.attention == 0;
        gain *= !formula                     ? k.attention
                : k.ext != 0 && k.factor > 1 ? (float)(.1 * log((double)k.factor) + 1)
                                             : 1;
    } else {
        c->linear = k.factor;
    }
    QU_TRY(read_factors(r, divisor, c->n_dims / 2));
    c->factors = divisor;
    m->rope_gain = gain * gain;
    if (!(m->rope_gain > 0) || !isfinite(m->rope_gain))
        return qu_model_refuse(r, "its RoPE attention factor is absurd");
    return make_rows(r, c);
}
