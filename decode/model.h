/* A language model as Quire runs it: dimensions and weights, borrowed from the GGUF's map.
 *
 *     qu_model *m;
 *     QU_TRY(qu_model_open(&m, "model.gguf", err));
 *     ... qu_context_create(&ctx, m, pool, QU_CODEC_F16, err) ...
 *     qu_model_close(m);
 *
 * Architectures `llama` (Llama 2, 3, 3.1, 3.2, Mistral without a window, SmolLM2), `qwen2` and
 * `qwen3`: grouped heads, head size independent of width / heads, biases, query and key norms, tied
 * or separate output; RoPE in both pairings, plain, linear, YaRN, with a table of factors, or with
 * bases of single KV heads (model_rope.c); a LoRA adapter beside it. Everything else is refused by
 * name (model_keys.c). Immutable after open: any number of threads may use it.
 */
#ifndef QU_DECODE_MODEL_H
#define QU_DECODE_MODEL_H

#include <stdint.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/status.h"
#include "decode/gguf.h"
#include "decode/lora.h"
#include "kernels/linear.h"
#include "kernels/rope.h"

/* y = w x + bias, and scale * b a x where an adapter changes it. */
typedef struct qu_projection {
    qu_weight w;       /* [n,k] */
    float *bias;       /* [n] or NULL */
    qu_lora_pair lora; /* rank 0: none */
} qu_projection;

typedef struct qu_layer {
    float *attn_norm, *ffn_norm;  /* [E] */
    qu_projection q, k, v, o;     /* [H D, E], [G D, E], [G D, E], [E, H D] */
    float *q_norm, *k_norm;       /* [D], on each head before RoPE; NULL where the model has none */
    qu_projection gate, up, down; /* [F, E], [F, E], [E, F] */
} qu_layer;

typedef struct qu_model {
    qu_gguf *gguf;
    char name[128]; /* general.name, else the file's name */
    int32_t n_layers, n_heads, n_kv_heads, head_size, width, ffn, vocab;
    int32_t context; /* the window it was trained for */
    float eps;
    qu_rope **ropes; /* [n_ropes] the distinct rows of the table [L][G][d/2]; mostly one */
    int32_t n_ropes;
    uint8_t *rope_row; /* [L * G] which row turns that KV head and its queries; NULL: all row 0 */
    int32_t rope_dims; /* leading dims of a head that turn */
    /* YaRN's attention factor squared, mostly 1: on the turned dims of queries alone, which gives
     * the scores of the factor on queries and keys and leaves keys pure rotations. */
    float rope_gain;
    qu_weight embedding;  /* [V, E] */
    qu_projection output; /* [V, E]; the embedding's matrix when tied */
    float *output_norm;   /* [E] */
    qu_layer *layers;     /* [L] */
    qu_lora *lora;        /* NULL: no adapter */
    struct qu_device *device;    /* decode/device.h; NULL: contexts run on this processor */
    char warning[200];    /* what the user should know, after the model's name; mostly empty */
    qu_hash fingerprint;  /* weights, adapter and every parameter that the forward pass uses */
} qu_model;

/* Open and check the model at path: every tensor's presence, shape and type. Errors: those of
 * qu_gguf_open; QU_ERR_UNSUPPORTED (what Quire has no arithmetic for, with the reason),
 * QU_ERR_FORMAT (missing or misshapen tensor or key), each naming file and subject. */
qu_status qu_model_open(qu_model **m, const char *path, qu_err *err);

/* What the user may set against the file; all of it is part of the fingerprint. Zeroed: as the file
 * says. */
typedef struct qu_model_options {
    double rope_base;  /* of every head; 0: the file's */
    double rope_scale; /* divides positions and stretches the window; 0: the file's */
    const char *lora;  /* path of a LoRA adapter; NULL: none */
} qu_model_options;

/* qu_model_open with options (NULL: none). Errors also: QU_ERR_ARG for an option out of range, and
 * those of qu_lora_open. */
qu_status qu_model_open_with(qu_model **m, const char *path, const qu_model_options *options,
                             qu_err *err);

/* Index into ropes of what turns KV head g of a layer and its group of query heads. */
static inline int32_t qu_model_rope(const qu_model *m, int32_t layer, int32_t g)
{
    return m->rope_row ? m->rope_row[layer * m->n_kv_heads + g] : 0;
}

void qu_model_close(qu_model *m);
QU_OWNER(qu_model, qu_model_close)

/* KV bytes of one token, all layers and KV heads, at two bytes an element. */
int64_t qu_model_kv_bytes_per_token(const qu_model *m);

/* Floating-point operations of that many rows that see keys keys in all; of prefilling n_tokens in
 * a window of m->context. */
double qu_model_flops(const qu_model *m, double rows, double keys);
double qu_model_prefill_flops(const qu_model *m, int64_t n_tokens);

#endif
