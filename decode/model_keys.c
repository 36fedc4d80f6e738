/* What a model file says about itself, and the reasons for which Quire does not run it. A wrong
 * number would be worse than a refusal, so keys and tensors that the forward pass does not know are
 * refused too. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/dims.h"
#include "decode/model_int.h"

const char *qu_model_key(qu_model_reader *r, const char *name)
{
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch, name);
    return r->key;
}

/* A key that is not found is a fault of the file, which itself is there. */
static qu_status needed(qu_model_reader *r, qu_status st)
{
    if (st != QU_ERR_NOTFOUND) return st;
    if (r->err) r->err->status = QU_ERR_FORMAT;
    return QU_ERR_FORMAT;
}

qu_status qu_model_need_i32(qu_model_reader *r, const char *name, int32_t *v, int32_t least,
                            int32_t most)
{
    QU_TRY(needed(r, qu_gguf_get_i32(r->m->gguf, qu_model_key(r, name), v, r->err)));
    if (*v < least || *v > most)
        return qu_fail(r->err, QU_ERR_FORMAT, "model '%s' has %s %d: expected %d to %d", r->path,
                       r->key, *v, least, most);
    return QU_OK;
}

qu_status qu_model_maybe_i32(qu_model_reader *r, const char *name, int32_t *v, int32_t least,
                             int32_t most)
{
    bool there = qu_gguf_has(r->m->gguf, qu_model_key(r, name));
    return there ? qu_model_need_i32(r, name, v, least, most) : QU_OK;
}

qu_status qu_model_maybe_f32(qu_model_reader *r, const char *name, float *v)
{
    if (!qu_gguf_has(r->m->gguf, qu_model_key(r, name))) return QU_OK;
    return qu_gguf_get_f32(r->m->gguf, r->key, v, r->err);
}

qu_status qu_model_refuse(qu_model_reader *r, const char *what)
{
    return qu_fail(r->err, QU_ERR_UNSUPPORTED, "cannot run model '%s': %s", r->path, what);
}

#define WINDOW "sliding-window attention cannot be cut into pages"
#define RECURRENT "its recurrent state cannot be cut into pages"
#define LATENT "latent attention (MLA) keeps no keys and values that could be cut into pages"
#define EXPERTS "mixtures of experts are not supported"
#define VISION "vision towers are not supported"

static const struct {
    const char *names, *why;
} REFUSED[] = {
    {" mamba mamba2 rwkv6 rwkv6qwen2 rwkv7 arwkv7 ", RECURRENT},
    {" jamba falcon-h1 granitehybrid nemotron_h nemotron_h_moe lfm2 lfm2moe plamo2 qwen3next "
     "qwen35 qwen35moe kimi-linear ",
     "it is a hybrid of attention and recurrence, whose state cannot be cut into pages"},
    {" deepseek2 deepseek32 minicpm3 plm glm-dsa ", LATENT},
    {" gemma2 gemma3 gemma3n gemma4 cohere2 exaone4 gpt-oss plamo3 olmo3 smallthinker mimo2 ",
     WINDOW},
    {" qwen2moe qwen3moe qwen3vlmoe llama4 dbrx grok olmoe arctic deepseek dots1 ernie4_5-moe "
     "hunyuan-moe glm4moe bailingmoe bailingmoe2 granitemoe phimoe minimax-m2 grovemoe afmoe ",
     EXPERTS},
    {" t5 ", "encoder-decoder models are not supported"},
    {" t5encoder bert nomic-bert nomic-bert-moe neo-bert modern-bert jina-bert-v2 jina-bert-v3 "
     "gemma-embedding ",
     "it is an encoder and writes no text"},
    {" clip qwen2vl qwen3vl cogvlm chameleon mllama ", VISION},
    {" dream llada llada-moe ", "it is a diffusion model and does not write from left to right"},
};

static qu_status read_architecture(qu_model_reader *r)
{
    qu_gguf_str s = {"", 0}, kind = {"", 0};
    QU_TRY(needed(r, qu_gguf_get_str(r->m->gguf, "general.architecture", &s, r->err)));
    int n = s.len < sizeof r->arch ? (int)s.len : (int)sizeof r->arch - 1;
    snprintf(r->arch, sizeof r->arch, "%.*s", n, s.data);
    qu_gguf_get_str(r->m->gguf, "general.type", &kind, NULL);
    if (qu_gguf_is(kind, "adapter"))
        return qu_model_refuse(r, "it is an adapter: give it with --lora beside its model");
    if (qu_gguf_is(kind, "mmproj")) return qu_model_refuse(r, VISION);
    if (!strcmp(r->arch, "llama") || !strcmp(r->arch, "qwen2") || !strcmp(r->arch, "qwen3"))
        return QU_OK;
    const char *why = "only llama, qwen2 and qwen3 are supported";
    char word[sizeof r->arch + 2];
    snprintf(word, sizeof word, " %s ", r->arch);
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++)
        if (strstr(REFUSED[i].names, word)) why = REFUSED[i].why;
    return qu_fail(r->err, QU_ERR_UNSUPPORTED, "cannot run model '%s' of architecture '%s': %s",
                   r->path, r->arch, why);
}

/* Keys of a known architecture that change its arithmetic. Absent, zero, false and, for a scale,
 * one mean nothing. */
static const struct {
    const char *name, *why;
} FORBIDDEN[] = {
    {"expert_count", EXPERTS},
    {"ssm.state_size", RECURRENT},
    {"ssm.conv_kernel", RECURRENT},
    {"wkv.head_size", RECURRENT},
    {"attention.kv_lora_rank", LATENT},
    {"attention.key_length_mla", LATENT},
    {"vision.block_count", VISION},
    {"rope.dimension_sections", "RoPE in sections (M-RoPE) is not supported"},
    {"rope.scaling.yarn_log_multiplier", "RoPE with yarn_log_multiplier is not supported"},
    {"attention.max_alibi_bias", "ALiBi positions are not supported"},
    {"attention.clamp_kqv", "clamped queries and keys are not supported"},
    {"attention.scale", "an attention scale of its own is not supported"},
    {"attention.temperature_length", "attention temperature is not supported"},
    {"attn_logit_softcapping", "capped attention scores are not supported"},
    {"final_logit_softcapping", "capped logits are not supported"},
    {"logit_scale", "scaled logits are not supported"},
    {"residual_scale", "scaled residuals are not supported"},
    {"embedding_scale", "scaled embeddings are not supported"},
};

static bool is_set(const qu_gguf *g, const char *key)
{
    float f = 0;
    int32_t i = 0;
    bool b = false;
    if (!qu_gguf_has(g, key)) return false;
    if (qu_gguf_get_f32(g, key, &f, NULL) == QU_OK)
        return f != 0 && !(f == 1 && strstr(key, "_scale"));
    if (qu_gguf_get_i32(g, key, &i, NULL) == QU_OK) return i != 0;
    return qu_gguf_get_bool(g, key, &b, NULL) != QU_OK || b; /* an array or a text is something */
}

static qu_status check_keys(qu_model_reader *r)
{
    qu_model *m = r->m;
    int32_t window = 0;
    bool causal = true;
    for (size_t i = 0; i < sizeof FORBIDDEN / sizeof *FORBIDDEN; i++)
        if (is_set(m->gguf, qu_model_key(r, FORBIDDEN[i].name)))
            return qu_model_refuse(r, FORBIDDEN[i].why);
    QU_TRY(qu_model_maybe_i32(r, "attention.sliding_window", &window, 0, 1 << 30));
    if (window > 0 && window < m->context) return qu_model_refuse(r, WINDOW);
    qu_gguf_get_bool(m->gguf, qu_model_key(r, "attention.causal"), &causal, NULL);
    return causal ? QU_OK : qu_model_refuse(r, "it is an encoder and writes no text");
}

/* Mistral 7B v0.1 and its many offspring look 4096 tokens back, and files of this architecture do
 * not say so: they are known by their shape and RoPE base alone. */
static void cap_mistral(qu_model_reader *r)
{
    enum { MISTRAL_WINDOW = 4096 };
    qu_model *m = r->m;
    float base = 10000;
    qu_gguf_get_f32(m->gguf, qu_model_key(r, "rope.freq_base"), &base, NULL);
    if (strcmp(r->arch, "llama") || m->n_layers != 32 || m->width != 4096 || m->n_heads != 32 ||
        m->n_kv_heads != 8 || m->ffn != 14336 || base != 10000 || m->context <= MISTRAL_WINDOW)
        return;
    snprintf(m->warning, sizeof m->warning,
             "has the shape of Mistral 7B v0.1, which slides a window of %d tokens: using %d of "
             "the %d tokens that its file claims",
             MISTRAL_WINDOW, MISTRAL_WINDOW, m->context);
    m->context = MISTRAL_WINDOW;
}

qu_status qu_model_read_dims(qu_model_reader *r)
{
    qu_model *m = r->m;
    QU_TRY(read_architecture(r));
    QU_TRY(qu_model_need_i32(r, "context_length", &m->context, 1, 1 << 24));
    QU_TRY(check_keys(r));
    QU_TRY(qu_model_need_i32(r, "block_count", &m->n_layers, 1, QU_MAX_LAYERS));
    QU_TRY(qu_model_need_i32(r, "embedding_length", &m->width, 1, QU_MAX_WIDTH));
    QU_TRY(qu_model_need_i32(r, "feed_forward_length", &m->ffn, 1, QU_MAX_WIDTH));
    QU_TRY(qu_model_need_i32(r, "attention.head_count", &m->n_heads, 1, QU_MAX_HEADS));
    m->n_kv_heads = m->n_heads;
    QU_TRY(qu_model_maybe_i32(r, "attention.head_count_kv", &m->n_kv_heads, 1, m->n_heads));
    m->head_size = m->width / m->n_heads;
    QU_TRY(qu_model_maybe_i32(r, "attention.key_length", &m->head_size, 1, QU_MAX_HEAD_SIZE));
    int32_t value_size = m->head_size;
    QU_TRY(qu_model_maybe_i32(r, "attention.value_length", &value_size, 1, QU_MAX_HEAD_SIZE));
    if (value_size != m->head_size) return qu_model_refuse(r, "keys and values differ in size");
    if (m->head_size < 1 || m->head_size > QU_MAX_HEAD_SIZE)
        return qu_model_refuse(r, "its head size is absurd");
    if (m->n_heads % m->n_kv_heads != 0)
        return qu_model_refuse(r, "its heads do not divide into KV heads");
    qu_model_key(r, "attention.layer_norm_rms_epsilon");
    QU_TRY(needed(r, qu_gguf_get_f32(m->gguf, r->key, &m->eps, r->err)));
    cap_mistral(r);
    return QU_OK;
}

/* Names that the forward pass looks up. */
static const char LAYER_TENSORS[] =
    " attn_norm.weight attn_q.weight attn_k.weight attn_v.weight attn_output.weight attn_q.bias "
    "attn_k.bias attn_v.bias attn_output.bias attn_q_norm.weight attn_k_norm.weight "
    "ffn_norm.weight ffn_gate.weight ffn_up.weight ffn_down.weight ffn_gate.bias ffn_up.bias "
    "ffn_down.bias ";
static const char MODEL_TENSORS[] =
    " token_embd.weight output_norm.weight output.weight rope_freqs.weight ";

qu_status qu_model_check_tensors(qu_model_reader *r)
{
    const qu_gguf_tensor *t;
    for (int64_t i = 0; (t = qu_gguf_tensor_at(r->m->gguf, i)); i++) {
        int layer = -1, at = 0;
        char word[100];
        sscanf(t->name, "blk.%d.%n", &layer, &at);
        snprintf(word, sizeof word, " %.90s ", t->name + at);
        if (!strstr(at ? LAYER_TENSORS : MODEL_TENSORS, word) ||
            (at && (layer < 0 || layer >= r->m->n_layers)))
            return qu_fail(r->err, QU_ERR_UNSUPPORTED,
                           "cannot run model '%s': its tensor '%s' is not one of a %s model's",
                           r->path, t->name, r->arch);
    }
    return QU_OK;
}
