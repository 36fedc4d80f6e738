/* decode/model.h and decode/lora.h: what is refused, with which reason, and what is warned about.
 * That what runs is right is tests/unit_forward.c's to show. Models are made by mkmodel. */
#include "tests/testing.h"

#include "decode/model.h"
#include "tests/gguf_build.h"

static const char *made(const char *name)
{
    static char path[4][300];
    static int turn;
    char *p = path[turn++ & 3];
    snprintf(p, sizeof path[0], "%s/tests/%s.gguf", getenv("B") ? getenv("B") : "build/release",
             name);
    return p;
}

static const char *make(const char *name, const char *options)
{
    char command[1200];
    const char *path = made(name);
    snprintf(command, sizeof command, "%s/mkmodel --random %s -o %s",
             getenv("B") ? getenv("B") : "build/release", options, path);
    assert_int_equal(system(command), 0);
    return path;
}

static void refused(const char *path, const qu_model_options *o, qu_status want, const char *word)
{
    qu_err err = {0};
    qu_model *m = (qu_model *)&err;
    qu_status st = qu_model_open_with(&m, path, o, &err);
    assert_null(m);
    if (st != want || !strstr(err.msg, word) || err.status != st)
        fail_msg("status %d, '%s': wanted %d, '%s'", st, err.msg, want, word);
}

static void every_refusal_has_its_reason(void **state)
{
    (void)state;
    static const char *rows[][2] = {
        {"--arch mamba", "architecture 'mamba': its recurrent state"},
        {"--arch rwkv7", "recurrent state"},
        {"--arch jamba", "hybrid of attention and recurrence"},
        {"--arch qwen3next", "hybrid"},
        {"--arch deepseek2", "latent attention (MLA)"},
        {"--arch minicpm3", "latent attention"},
        {"--arch gemma3", "sliding-window"},
        {"--arch gpt-oss", "sliding-window"},
        {"--arch qwen3moe", "mixtures of experts"},
        {"--arch t5", "encoder-decoder"},
        {"--arch bert", "encoder"},
        {"--arch clip", "vision towers"},
        {"--arch qwen2vl", "vision towers"},
        {"--arch dream", "diffusion"},
        {"--arch phi2", "architecture 'phi2': only llama, qwen2 and qwen3"},
        {"--set attention.sliding_window=4096", "sliding-window"},
        {"--set expert_count=8", "mixtures of experts"},
        {"--set ssm.state_size=16", "recurrent"},
        {"--set attention.kv_lora_rank=512", "latent attention"},
        {"--set vision.block_count=2", "vision"},
        {"--set rope.dimension_sections=8.0,8.0", "M-RoPE"},
        {"--set attention.causal=false", "encoder"},
        {"--set attention.clamp_kqv=8.0", "clamped"},
        {"--set attn_logit_softcapping=50.0", "capped attention scores"},
        {"--set logit_scale=0.5", "scaled logits"},
        {"--set general.type=mmproj", "vision towers"},
        {"--set general.type=adapter", "--lora"},
        {"--set rope.scaling.type=longrope", "RoPE scaling 'longrope'"},
        {"--set rope.scaling.type=su", "RoPE scaling 'su'"},
        {"--set rope.scaling.factor=-2.0", "not positive"},
        {"--set rope.scaling.type=yarn --rope-base 1", "YaRN needs"},
        {"--set rope.freq_base_per_kv_head=10000.0,0.5", "not above 1"},
        {"--rope-dims 7", "odd number of dims"},
        {"--width 32 --heads 8 --kv-heads 8 --head-size 512 --layers 1 --type Q4_0 --ffn 32 "
         "--set rope.freq_base_per_kv_head=2.0,3.0,4.0,5.0,6.0,7.0,8.0,9.0",
         "too many different RoPE bases"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        refused(make("refused", rows[i][0]), NULL, QU_ERR_UNSUPPORTED, rows[i][1]);
    refused(make("refused", "--set rope.freq_base_per_kv_head=1.5,2.5,3.5"), NULL, QU_ERR_FORMAT,
            "expected 2 or 4");
    /* What changes nothing is no reason. */
    qu_model *m;
    TEST_OK(qu_model_open(&m,
                          make("refused", "--set attention.sliding_window=32768 --set "
                                          "expert_count=0 --set logit_scale=1.0"),
                          err));
    qu_model_close(m);
    unlink(made("refused"));
}

/* A name that changes in the file makes one tensor missing and another unknown. */
static void tensors_are_all_known(void **state)
{
    (void)state;
    static const char *rows[][3] = {
        {"--seed 3", "blk.1.ffn_down.weight", "'blk.1.ffn_dowm.weight' is not one of a llama"},
        {"--arch qwen2", "blk.1.attn_k.bias", "'blk.1.attn_k.biat' is not one of a qwen2"},
    };
    for (size_t i = 0; i < 2; i++) {
        const char *path = make("renamed", rows[i][0]);
        qu_buf b = {0};
        TEST_OK(qu_os_read(&b, path, 1 << 24, err));
        char *at = memmem(b.data, b.len, rows[i][1], strlen(rows[i][1]));
        assert_non_null(at);
        if (i == 0) at[strlen("blk.1.ffn_dow")] = 'm';
        if (i == 1) at[strlen(rows[i][1]) - 1] = 't';
        gb_save(&b, path);
        refused(path, NULL, QU_ERR_UNSUPPORTED, rows[i][2]);
        unlink(path);
    }
    /* A bias that qwen2 must have, under a name that llama may have. */
    const char *path = make("renamed", "--arch qwen2");
    qu_buf b = {0};
    TEST_OK(qu_os_read(&b, path, 1 << 24, err));
    memcpy(memmem(b.data, b.len, "blk.1.attn_q.bias", 17), "blk.1.ffn_up.bias", 17);
    gb_save(&b, path);
    refused(path, NULL, QU_ERR_FORMAT, "lacks tensor 'blk.1.attn_q.bias'");
    unlink(path);
}

/* Dimensions that the keys do not bear out, the bytes being there: name and first dimension. */
static void tensors_fit_the_keys(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t first;
        const char *word;
    } rows[] = {{"blk.1.attn_k.weight", 32, "'blk.1.attn_k.weight' has the wrong shape 32 x 32"},
                {"blk.0.attn_norm.weight", 32, "'blk.0.attn_norm.weight' has the wrong shape"},
                {"token_embd.weight", 32, "'token_embd.weight' has the wrong shape 32 x 320"},
                {"rope_freqs.weight", 4, "misshapen tensor 'rope_freqs.weight'"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *path = make("shape", "--rope-freqs");
        qu_buf b = {0};
        TEST_OK(qu_os_read(&b, path, 1 << 24, err));
        char *at = memmem(b.data, b.len, rows[i].name, strlen(rows[i].name));
        assert_non_null(at);
        memcpy(at + strlen(rows[i].name) + 4, &rows[i].first, 8);
        gb_save(&b, path);
        refused(path, NULL, QU_ERR_FORMAT, rows[i].word);
        unlink(path);
    }
}

/* The shape of Mistral 7B in a file of zeros that takes no room; vocabulary of 32. */
static void write_mistral(const char *path, const char *base)
{
    enum { E = 4096, F = 14336, KV = 1024, L = 32, Q4_0 = 2, F32 = 0 };
    static const struct {
        const char *name;
        uint64_t k, n;
    } t[] = {{"attn_norm", E, 0}, {"ffn_norm", E, 0}, {"attn_q", E, E},
             {"attn_k", E, KV},   {"attn_v", E, KV},  {"attn_output", E, E},
             {"ffn_gate", E, F},  {"ffn_up", E, F},   {"ffn_down", F, E}};
    static const char *keys[] = {"context_length",       "block_count",
                                 "embedding_length",     "feed_forward_length",
                                 "attention.head_count", "attention.head_count_kv"};
    static const uint32_t values[] = {32768, L, E, F, 32, 8};
    qu_buf b = {0};
    char name[64];
    float eps = 1e-5f, theta = strtof(base, NULL);
    uint64_t at = 0;
    gb_head(&b, 3, L * 9 + 2, 9);
    gb_str(&b, "general.architecture", "llama");
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "llama.%s", keys[i]);
        gb_num(&b, name, values[i]);
    }
    gb_key(&b, "llama.attention.layer_norm_rms_epsilon", GB_F32);
    gb_raw(&b, &eps, 4);
    gb_key(&b, "llama.rope.freq_base", GB_F32);
    gb_raw(&b, &theta, 4);
    for (int i = 0; i < L * 9 + 2; i++) {
        bool layer = i < L * 9, vector = layer ? t[i % 9].n == 0 : i == L * 9;
        uint64_t k = layer ? t[i % 9].k : E, n = layer ? t[i % 9].n : 32;
        if (layer)
            snprintf(name, sizeof name, "blk.%d.%s.weight", i / 9, t[i % 9].name);
        else
            snprintf(name, sizeof name, "%s", vector ? "output_norm.weight" : "token_embd.weight");
        gb_tensor(&b, name, vector ? 1 : 2, (uint64_t[]){k, n}, vector ? F32 : Q4_0, at);
        at += vector ? k * 4 : k * n / 32 * 18;
    }
    gb_data(&b, 32, 0);
    off_t size = (off_t)(b.len + at);
    gb_save(&b, path);
    assert_int_equal(truncate(path, size), 0);
}

static void mistral_is_capped(void **state)
{
    (void)state;
    const char *path = made("mistral");
    qu_model *m;
    write_mistral(path, "10000");
    TEST_OK(qu_model_open(&m, path, err));
    assert_int_equal(m->context, 4096);
    assert_non_null(strstr(m->warning, "Mistral 7B v0.1"));
    qu_model_close(m);
    write_mistral(path, "1000000"); /* version 0.2 has no window */
    TEST_OK(qu_model_open(&m, path, err));
    assert_int_equal(m->context, 32768);
    assert_string_equal(m->warning, "");
    qu_model_close(m);
    unlink(path);
}

static void adapters_must_fit(void **state)
{
    (void)state;
    char path[300];
    snprintf(path, sizeof path, "%s", make("base", "--seed 1"));
    static const struct {
        const char *options;
        qu_status want;
        const char *word;
    } rows[] = {
        {"--lora 4 --arch qwen2", QU_ERR_MISMATCH, "is for a qwen2 model, not for llama"},
        {"--lora 4 --width 96", QU_ERR_MISMATCH, "does not fit the model's"},
        {"--lora 4 --layers 3", QU_ERR_MISMATCH, "changes 14 tensors"},
        {"--lora 4 --set adapter.alora.invocation_tokens=1", QU_ERR_UNSUPPORTED, "invocation"},
        {"--seed 2", QU_ERR_UNSUPPORTED, "is not a LoRA adapter"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qu_model_options o = {.lora = make("adapter", rows[i].options)};
        refused(path, &o, rows[i].want, rows[i].word);
    }
    refused(path, &(qu_model_options){.lora = "/nonexistent.gguf"}, QU_ERR_NOTFOUND, "nonexistent");
    refused(make("adapter", "--lora 4"), NULL, QU_ERR_UNSUPPORTED, "--lora");
    refused(path, &(qu_model_options){.rope_base = -1}, QU_ERR_ARG, "must be positive");
    unlink(path);
    unlink(made("adapter"));
}

/* The parts of a split model are the model. */
static void parts_are_the_model(void **state)
{
    (void)state;
    char first[320];
    qu_model *whole, *split;
    TEST_OK(qu_model_open(&whole, make("whole", "--arch qwen3"), err));
    make("whole", "--arch qwen3 --split 3");
    snprintf(first, sizeof first, "%.*s-00001-of-00003.gguf", (int)strlen(made("whole")) - 5,
             made("whole"));
    TEST_OK(qu_model_open(&split, first, err));
    for (int64_t i = 0; i < qu_gguf_n_tensors(whole->gguf); i++) {
        const qu_gguf_tensor *a = qu_gguf_tensor_at(whole->gguf, i);
        const qu_gguf_tensor *b = qu_gguf_find_tensor(split->gguf, a->name);
        assert_true(b && b->n_bytes == a->n_bytes);
        assert_memory_equal(a->data, b->data, (size_t)a->n_bytes);
    }
    qu_model_close(whole);
    qu_model_close(split);
    unlink(made("whole"));
    for (int i = 1; i < 4; i++) {
        first[strlen(first) - strlen("1-of-00003.gguf")] = (char)('0' + i);
        unlink(first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_has_its_reason),
        cmocka_unit_test(tensors_are_all_known),
        cmocka_unit_test(tensors_fit_the_keys),
        cmocka_unit_test(mistral_is_capped),
        cmocka_unit_test(adapters_must_fit),
        cmocka_unit_test(parts_are_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
