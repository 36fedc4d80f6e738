/* The engine against the oracle and against itself: golden ids, logits, and the numerics rule. */
#include "tests/testing.h"

#include <jansson.h>

#include "base/pool.h"
#include "decode/context.h"
#include "kernels/codec.h"
#include "kernels/isa.h"
#include "tests/prefill.h"
#include "tests/ref_forward.h"

enum { MAX_TOKENS = 600 };

static int argmax(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static int read_ids(json_t *list, int32_t *ids)
{
    int n = (int)json_array_size(list);
    assert_true(n <= MAX_TOKENS);
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    return n;
}

static void golden_greedy_ids_once(void **state)
{
    (void)state;
    TEST_NEEDS(model_path, "stories260K/stories260K-f32.gguf");
    TEST_NEEDS(golden_path, "stories260K/golden_greedy200.json");
    json_t *golden = json_load_file(golden_path, 0, NULL);
    int32_t want[MAX_TOKENS], prompt[MAX_TOKENS];
    int n_prompt = read_ids(json_object_get(golden, "prompt_ids"), prompt);
    int n = read_ids(json_object_get(golden, "greedy_ids"), want);
    assert_int_equal(n, 200);
    for (qu_isa isa = 0; isa < QU_ISA_COUNT; isa++) {
        qu_isa before = qu_isa_current();
        if (!qu_isa_force(isa)) continue;
        qu_model *m;
        qu_context *c;
        TEST_OK(qu_model_open(&m, model_path, err));
        TEST_OK(qu_context_create(&c, m, NULL, QU_CODEC_F32, err));
        float *logits = malloc((size_t)m->vocab * sizeof *logits);
        TEST_OK(qu_context_step(c, prompt, n_prompt, 0, 1, logits, err));
        for (int i = 0; i < n; i++) {
            int32_t id = argmax(logits, m->vocab);
            assert_int_equal(id, want[i]);
            TEST_OK(qu_context_step(c, &id, 1, n_prompt + i, 1, logits, err));
        }
        free(logits);
        qu_context_free(c);
        qu_model_close(m);
        qu_isa_force(before);
    }
    json_decref(golden);
}

static void golden_greedy_ids(void **state)
{
    test_each_prefill(golden_greedy_ids_once, state);
}

/* Of the logits' spread, against weights dequantised and activations in float. Questions round what
 * they multiply Q4_0 with to a byte: small random models err by .04, trained ones by less. Products
 * of documents that are rounded to bf16 err by up to .01. */
static double close_enough(const char *model, bool documents)
{
    double least = documents && test_prefill_is_rounded() ? .02 : 1e-4;
    /* an adapter that outweighs the model: every rounding is thirty times as large */
    if (strstr(model, "qwen2 --head-size 32 --type Q8_0")) least *= 15;
    return strstr(model, "q4_0") ? .02 : strstr(model, "Q4_0") ? .08 : least;
}

/* Every record of the golden file: all logits of a prompt. */
static void golden_prompt_logits_once(void **state)
{
    (void)state;
    TEST_NEEDS(golden_path, "stories260K/golden_prompt_logits.json");
    json_t *golden = json_load_file(golden_path, 0, NULL), *record;
    size_t i;
    json_array_foreach(golden, i, record)
    {
        char name[128];
        snprintf(name, sizeof name, "stories260K/%s",
                 json_string_value(json_object_get(record, "file")));
        const char *path = test_data(name);
        assert_non_null(path);
        int32_t ids[MAX_TOKENS];
        int n = read_ids(json_object_get(record, "prompt_ids"), ids);
        json_t *want = json_object_get(record, "last_logits");
        if (!want) want = json_object_get(record, "logits");
        assert_non_null(want);
        qu_model *m;
        qu_context *c;
        TEST_OK(qu_model_open(&m, path, err));
        TEST_OK(qu_context_create(&c, m, NULL, QU_CODEC_F32, err));
        float *logits = malloc((size_t)m->vocab * sizeof *logits),
              *right = malloc((size_t)m->vocab * 4);
        for (int32_t v = 0; v < m->vocab; v++)
            right[v] = (float)json_number_value(json_array_get(want, (size_t)v));
        TEST_OK(qu_context_step(c, ids, n, 0, 1, logits, err));
        double e = test_spread_error(logits, right, m->vocab);
        print_message("%s: worst logit error %.2g of the spread\n", name, e);
        assert_true(e < close_enough(name, false));
        free(logits);
        free(right);
        qu_context_free(c);
        qu_model_close(m);
    }
    json_decref(golden);
}

static void golden_prompt_logits(void **state)
{
    test_each_prefill(golden_prompt_logits_once, state);
}

/* Random small models of every architecture, head size, RoPE variant and weight type, written by
 * bench/mkmodel; YARN's window is small, so that its three ranges of pairs are all met. */
#define YARN " --set rope.scaling.type=yarn --set rope.scaling.factor=4.0 --context 4096 "
static const char *variants[] = {
    "--heads 4 --kv-heads 2 --head-size 32 --type F32",
    "--heads 6 --kv-heads 2 --head-size 64 --type Q8_0 --width 192 --ffn 256",
    "--heads 4 --kv-heads 4 --head-size 80 --type F16 --rope-linear 4",
    "--heads 9 --kv-heads 3 --head-size 96 --type F32 --layers 5 --rope-freqs --rope-linear 2",
    "--heads 8 --kv-heads 1 --head-size 128 --type Q4_0 --untied --width 128",
    "--heads 5 --kv-heads 5 --head-size 16 --type BF16 --rope-freqs --rope-base 500000",
    "--head-size 64 --biases --untied",
    "--head-size 32 --rope-dims 20",
    "--head-size 128" YARN "--set rope.scaling.original_context_length=256",
    "--head-size 64 --set rope.scaling.type=none --set rope.scaling.factor=8.0",
    "--head-size 80 --set rope.scale_linear=3.0",
    "--head-size 32 --set rope.freq_base_per_kv_head=10000.0,500.0",
    "--head-size 64 --rope-table truncated",
    "--arch qwen2 --head-size 32 --rope-base 1000000",
    "--arch qwen2 --head-size 64" YARN "--set rope.scaling.original_context_length=512",
    "--arch qwen2 --head-size 80 --type Q8_0 --width 96 --ffn 96",
    "--arch qwen2 --head-size 96 --heads 6 --kv-heads 3 --rope-linear 2",
    "--arch qwen2 --head-size 128 --heads 2 --kv-heads 1 --rope-freqs",
    "--arch qwen3 --head-size 32 --rope-base 1000000" YARN
    "--set rope.scaling.yarn_beta_fast=16.0 --set rope.scaling.yarn_beta_slow=2.0",
    "--arch qwen3 --head-size 64 --rope-dims 48" YARN "--set rope.scaling.attn_factor=1.5",
    "--arch qwen3 --head-size 80 --set rope.scaling.yarn_attn_factor=1.0" YARN,
    "--arch qwen3 --head-size 96 --layers 2 --heads 4 --kv-heads 2 "
    "--set rope.freq_base_per_kv_head=10000.0,500.0,500.0,1000000.0",
    "--arch qwen3 --head-size 128 --heads 4 --kv-heads 1 --type Q8_0 --width 128",
};

/* Write a random model, and an adapter of rank lora for it, with mkmodel. */
static void make(const char *path, const char *options, size_t seed, int lora)
{
    char command[1200], more[64] = "";
    const char *b = getenv("B") ? getenv("B") : "build/release";
    if (lora) snprintf(more, sizeof more, "--lora %d --set adapter.lora.alpha=3.0", lora);
    snprintf(command, sizeof command, "%s/mkmodel --random --shape tiny --seed %zu %s %s -o %s", b,
             seed, options, more, path);
    assert_int_equal(system(command), 0);
}

static const char *temporary(const char *name)
{
    static char path[2][300];
    static int turn;
    char *p = path[turn++ & 1];
    snprintf(p, sizeof path[0], "%s/tests/%s.gguf", getenv("B") ? getenv("B") : "build/release",
             name);
    return p;
}

/* Pages, a gap in positions, one more page and a question: the engine against the oracle. */
static void check_variant(const qu_model *m, const ref_model *ref, qu_pool *pool, const char *what)
{
    enum { N = 300, GAP = 3000 };
    qu_context *c;
    uint64_t seed = 21;
    float *logits = malloc((size_t)m->vocab * 4), *right = malloc((size_t)m->vocab * 4);
    int32_t ids[N], pos[N];
    for (int32_t i = 0; i < N; i++) {
        ids[i] = (int32_t)(test_random(&seed) % (uint64_t)m->vocab);
        pos[i] = i < 137 ? i : i + GAP;
    }
    qu_page_tokens pages[] = {{ids, 9, 0}, {ids + 9, 128, 9}, {ids + 137, 129 - 28, 137 + GAP}};
    TEST_OK(qu_context_create(&c, m, pool, QU_CODEC_F32, err));
    TEST_OK(qu_context_prefill(c, pages, 3, NULL, err));
    TEST_OK(qu_context_step(c, ids + 238, N - 238, 238 + GAP, 1, logits, err));
    if (ref_forward(ref, ids, pos, N, NULL, right)) fail_msg("%s", ref_error());
    double e = test_spread_error(logits, right, m->vocab);
    print_message("%s: %.2g of the spread\n", what, e);
    assert_true(e < close_enough(what, true));
    free(logits);
    free(right);
    qu_context_free(c);
}

static void random_models_agree_with_the_oracle_once(void **state)
{
    (void)state;
    const char *path = temporary("random");
    qu_pool *pool;
    TEST_OK(qu_pool_create(&pool, 2, err));
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        make(path, variants[i], i + 1, 0);
        ref_model *ref = ref_open(path);
        qu_model *m;
        if (!ref) fail_msg("%s", ref_error());
        TEST_OK(qu_model_open(&m, path, err));
        check_variant(m, ref, pool, variants[i]);
        qu_model_close(m);
        ref_free(ref);
    }
    unlink(path);
    qu_pool_free(pool);
}

static void random_models_agree_with_the_oracle(void **state)
{
    test_each_prefill(random_models_agree_with_the_oracle_once, state);
}

/* Every way to say "nothing is scaled" gives the bits of a file that says nothing. */
static void identities(void **state)
{
    (void)state;
    static const char *none[] = {"", "--rope-table ones",
                                 "--set rope.scaling.type=linear --set rope.scaling.factor=1.0",
                                 "--set rope.scaling.type=none --set rope.scaling.factor=4.0",
                                 "--set rope.scaling.type=yarn --set rope.scaling.factor=1.0",
                                 "--set rope.freq_base_per_kv_head=10000.0,10000.0"};
    const char *path = temporary("random");
    int32_t ids[20] = {5, 9, 200, 7, 5, 9, 31, 2};
    float *first = NULL;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        char options[200];
        qu_model *m;
        qu_context *c;
        snprintf(options, sizeof options, "--head-size 64 %s", none[i]);
        make(path, options, 90, 0);
        TEST_OK(qu_model_open(&m, path, err));
        TEST_OK(qu_context_create(&c, m, NULL, QU_CODEC_F16, err));
        assert_int_equal(m->n_ropes, 1);
        float *logits = malloc((size_t)m->vocab * 4);
        TEST_OK(qu_context_prefill(c, &(qu_page_tokens){ids, 10, 700}, 1, NULL, err));
        TEST_OK(qu_context_step(c, ids + 10, 10, 4000, 1, logits, err));
        if (first && memcmp(first, logits, (size_t)m->vocab * 4)) fail_msg("%s", none[i]);
        if (first) free(logits);
        else first = logits;
        qu_context_free(c);
        qu_model_close(m);
    }
    free(first);
    unlink(path);
}

/* An adapter beside the weights against one added to them; every projection has its pair. */
static void adapters_agree_with_the_oracle_once(void **state)
{
    (void)state;
    static const char *shapes[] = {"--head-size 64", "--arch qwen2 --head-size 32 --type Q8_0",
                                   "--arch qwen3 --heads 6 --kv-heads 2 --head-size 80"};
    const char *path = temporary("random"), *adapter = temporary("adapter");
    qu_pool *pool;
    TEST_OK(qu_pool_create(&pool, 2, err));
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        make(path, shapes[i], 40 + i, 0);
        make(adapter, shapes[i], 50 + i, i == 1 ? 1 : 8);
        ref_model *ref = ref_open(path);
        qu_model *m, *plain;
        if (!ref || ref_add_lora(ref, adapter)) fail_msg("%s", ref_error());
        TEST_OK(qu_model_open_with(&m, path, &(qu_model_options){.lora = adapter}, err));
        TEST_OK(qu_model_open(&plain, path, err));
        assert_false(qu_hash_equal(m->fingerprint, plain->fingerprint));
        check_variant(m, ref, pool, shapes[i]);
        qu_model_close(m);
        qu_model_close(plain);
        ref_free(ref);
    }
    unlink(path);
    unlink(adapter);
    qu_pool_free(pool);
}

static void adapters_agree_with_the_oracle(void **state)
{
    test_each_prefill(adapters_agree_with_the_oracle_once, state);
}

/* --rope-base and --rope-scale give what a file with these values gives, and another fingerprint;
 * given as the file has them they change nothing. */
static void options_stand_against_the_file_once(void **state)
{
    (void)state;
    const char *path = temporary("random"), *other = temporary("other");
    qu_model *m, *same, *plain;
    qu_model_options o = {.rope_base = 300, .rope_scale = 4};
    make(path, "--head-size 32 --context 1000", 60, 0);
    make(other, "--head-size 32 --rope-base 300 --rope-linear 4", 60, 0);
    ref_model *ref = ref_open(other);
    assert_non_null(ref);
    TEST_OK(qu_model_open_with(&m, path, &o, err));
    TEST_OK(qu_model_open(&plain, path, err));
    o = (qu_model_options){.rope_base = 10000, .rope_scale = 1};
    TEST_OK(qu_model_open_with(&same, path, &o, err));
    assert_int_equal(m->context, 4000);
    assert_int_equal(plain->context, 1000);
    assert_false(qu_hash_equal(m->fingerprint, plain->fingerprint));
    assert_true(qu_hash_equal(same->fingerprint, plain->fingerprint));
    check_variant(m, ref, NULL, "options");
    qu_model_close(m);
    qu_model_close(same);
    qu_model_close(plain);
    ref_free(ref);
    unlink(path);
    unlink(other);
}

static void options_stand_against_the_file(void **state)
{
    test_each_prefill(options_stand_against_the_file_once, state);
}

static const char *models[] = {"stories260K/stories260K-f32.gguf",
                               "stories260K/stories260K-q8_0.gguf",
                               "stories260K/stories260K-q4_0.gguf"};

/* Document-phase pages and question tokens against the oracle, positions with and without a gap. */
static void pages_agree_with_the_oracle_once(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int i = 0; i < 3; i++) {
        TEST_NEEDS(path, models[i]);
        ref_model *ref = ref_open(path);
        assert_non_null(ref);
        qu_model *m;
        qu_pool *pool;
        TEST_OK(qu_model_open(&m, path, err));
        TEST_OK(qu_pool_create(&pool, 2, err));
        float *logits = malloc((size_t)m->vocab * sizeof *logits),
              *right = malloc((size_t)m->vocab * 4);
        for (int gap = 0; gap < 2; gap++) {
            int32_t ids[MAX_TOKENS], pos[MAX_TOKENS], n = 0, at = 0;
            qu_page_tokens pages[6];
            for (int p = 0; p < 6; p++) {
                int32_t len = (int32_t)(test_random(&seed) % 60) + 1;
                pages[p] = (qu_page_tokens){ids + n, len, at};
                for (int32_t t = 0; t < len; t++) {
                    pos[n] = at++;
                    ids[n++] = (int32_t)(test_random(&seed) % 512);
                }
                if (gap && p == 2) at += 40;
            }
            int32_t n_question = 13, from = n;
            for (int t = 0; t < n_question; t++) {
                pos[n] = at + t;
                ids[n++] = (int32_t)(test_random(&seed) % 512);
            }
            qu_context *c;
            TEST_OK(qu_context_create(&c, m, pool, QU_CODEC_F32, err));
            TEST_OK(qu_context_prefill(c, pages, 6, NULL, err));
            TEST_OK(qu_context_step(c, ids + from, n_question, at, 1, logits, err));
            assert_int_equal(ref_forward(ref, ids, pos, n, NULL, right), 0);
            double e = test_spread_error(logits, right, m->vocab);
            print_message("%s gap %d: %.2g of the spread\n", models[i], gap, e);
            assert_true(e < close_enough(models[i], true));
            qu_context_free(c);
        }
        free(logits);
        free(right);
        qu_pool_free(pool);
        qu_model_close(m);
        ref_free(ref);
    }
}

static void pages_agree_with_the_oracle(void **state)
{
    test_each_prefill(pages_agree_with_the_oracle_once, state);
}

/* --- the numerics rule: kv equals a cold prefill bit for bit --- */

typedef struct memory {
    void *slice[64][8][8];
    size_t bytes[64][8][8];
} memory;

typedef struct memory_page {
    memory *mem;
    int32_t page;
} memory_page;

static qu_status keep(void *ctx, int32_t page, int32_t layer, int32_t g, const void *data, size_t n,
                      qu_err *err)
{
    (void)err;
    memory *mem = ctx;
    free(mem->slice[page][layer][g]);
    mem->slice[page][layer][g] = malloc(n);
    memcpy(mem->slice[page][layer][g], data, n);
    mem->bytes[page][layer][g] = n;
    return QU_OK;
}

static qu_status give(void *ctx, int32_t layer, int32_t g, const void **data, size_t *n,
                      qu_err *err)
{
    (void)err;
    memory_page *p = ctx;
    *data = p->mem->slice[p->page][layer][g];
    *n = p->mem->bytes[p->page][layer][g];
    return QU_OK;
}

/* A question of q tokens at position n, the first head of them in a step of their own. */
static void question_in_two(qu_context *c, const int32_t *ids, int32_t q, int64_t n, int32_t head,
                            float *logits)
{
    if (head > 0) TEST_OK(qu_context_step(c, ids, head, n, 0, NULL, err));
    TEST_OK(qu_context_step(c, ids + head, q - head, n + head, 1, logits, err));
}

/* Documents and questions through the codec and back against cold prefills of the same. */
static void check_bits(const qu_model *m, qu_pool *const pools[2], uint64_t *seed, int n_runs)
{
    static memory mem;
    size_t bytes = (size_t)m->vocab * sizeof(float);
    uint64_t vocab = (uint64_t)m->vocab;
    float *cold = malloc(bytes), *warm = malloc(bytes);
    bool in_tiles = qu_linear_prefill_kind() == QU_PREFILL_AMX_BF16; /* the first step's rows are */
    for (int run = 0; run < n_runs; run++) {
        int codec = run % 3, threads = run / 3 % 2;
        int32_t ids[MAX_TOKENS], n = 0, n_pages = 2 + (int32_t)(test_random(seed) % 5);
        qu_page_tokens pages[8];
        for (int p = 0; p < n_pages; p++) {
            int32_t len = (int32_t)(test_random(seed) % (p ? 80 : 5)) + 1;
            pages[p] = (qu_page_tokens){ids + n, len, n};
            for (int32_t t = 0; t < len; t++) ids[n++] = (int32_t)(test_random(seed) % vocab);
        }
        int32_t q = 1 + (int32_t)(test_random(seed) % 30);
        for (int t = 0; t < q; t++) ids[n + t] = (int32_t)(test_random(seed) % vocab);
        qu_context *a, *b, *w;
        /* the writer sees the pages in calls of its own grouping and with its own thread count */
        TEST_OK(qu_context_create(&w, m, pools[!threads], codec, err));
        qu_page_sink sink = {keep, &mem, NULL};
        int32_t first = 1 + (int32_t)(test_random(seed) % (uint64_t)(n_pages - 1));
        TEST_OK(qu_context_prefill(w, pages, n_pages, &sink, err));
        TEST_OK(qu_context_create(&a, m, pools[threads], codec, err));
        TEST_OK(qu_context_prefill(a, pages, first, NULL, err));
        TEST_OK(qu_context_prefill(a, pages + first, n_pages - first, NULL, err));
        int32_t head = (int32_t)(test_random(seed) % (uint64_t)q);
        question_in_two(a, ids + n, q, n, in_tiles ? head : 0, cold);
        TEST_OK(qu_context_create(&b, m, pools[threads], codec, err));
        memory_page from[8];
        for (int p = 0; p < n_pages; p++) {
            from[p] = (memory_page){&mem, p};
            qu_page_source source = {.get = give, .ctx = &from[p]};
            TEST_OK(qu_context_attach(b, pages[p].n, pages[p].pos, &source, err));
        }
        question_in_two(b, ids + n, q, n, head, warm);
        if (memcmp(cold, warm, bytes) != 0)
            fail_msg("run %d, codec %s: %g of the spread apart", run, qu_codec_name(codec),
                     test_spread_error(cold, warm, m->vocab));
        qu_context_free(a);
        qu_context_free(b);
        qu_context_free(w);
    }
    free(cold);
    free(warm);
}

static void kv_equals_a_cold_prefill_once(void **state)
{
    (void)state;
    uint64_t seed = 99;
    qu_pool *pools[2];
    TEST_OK(qu_pool_create(&pools[0], 1, err));
    TEST_OK(qu_pool_create(&pools[1], 2, err));
    for (int i = 0; i < 3; i++) {
        TEST_NEEDS(path, models[i]);
        qu_model *m;
        TEST_OK(qu_model_open(&m, path, err));
        check_bits(m, pools, &seed, 72);
        qu_model_close(m);
    }
    print_message("216 documents and questions, bit for bit\n");
    qu_pool_free(pools[0]);
    qu_pool_free(pools[1]);
}

static void kv_equals_a_cold_prefill(void **state)
{
    test_each_prefill(kv_equals_a_cold_prefill_once, state);
}

/* The same with norms of heads, biases, YaRN, bases of single heads, and an adapter. */
static void kv_equals_a_cold_prefill_of_every_kind_once(void **state)
{
    (void)state;
    static const char *kinds[] = {"--arch qwen3 --head-size 64" YARN,
                                  "--arch qwen2 --set rope.freq_base_per_kv_head=10000.0,500.0"};
    const char *path = temporary("random"), *adapter = temporary("adapter");
    uint64_t seed = 98;
    qu_pool *pools[2];
    TEST_OK(qu_pool_create(&pools[0], 1, err));
    TEST_OK(qu_pool_create(&pools[1], 2, err));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        qu_model *m;
        make(path, kinds[i], 70 + i, 0);
        make(adapter, kinds[i], 80 + i, 5);
        TEST_OK(qu_model_open_with(&m, path, &(qu_model_options){.lora = adapter}, err));
        check_bits(m, pools, &seed, 18);
        qu_model_close(m);
    }
    unlink(path);
    unlink(adapter);
    qu_pool_free(pools[0]);
    qu_pool_free(pools[1]);
}

static void kv_equals_a_cold_prefill_of_every_kind(void **state)
{
    test_each_prefill(kv_equals_a_cold_prefill_of_every_kind_once, state);
}

/* Rewinding leaves no trace: the next tokens give the same bits as if the forgotten ones never
 * were. */
static void rewind_leaves_no_trace_once(void **state)
{
    (void)state;
    TEST_NEEDS(path, models[1]);
    qu_model *m;
    qu_context *a, *b;
    TEST_OK(qu_model_open(&m, path, err));
    TEST_OK(qu_context_create(&a, m, NULL, QU_CODEC_F16, err));
    TEST_OK(qu_context_create(&b, m, NULL, QU_CODEC_F16, err));
    size_t bytes = (size_t)m->vocab * sizeof(float);
    float *x = malloc(bytes), *y = malloc(bytes);
    int32_t ids[400];
    uint64_t seed = 3;
    for (int i = 0; i < 400; i++) ids[i] = (int32_t)(test_random(&seed) % 512);
    TEST_OK(qu_context_step(a, ids, 120, 0, 1, x, err));
    TEST_OK(qu_context_step(a, ids + 200, 40, 120, 1, x, err)); /* across a segment's end */
    qu_context_rewind(a, 120);
    assert_int_equal(qu_context_live(a), 120);
    TEST_OK(qu_context_step(a, ids + 120, 30, 120, 1, x, err));
    question_in_two(b, ids, 150, 0, 120, y);
    assert_memory_equal(x, y, bytes);
    free(x);
    free(y);
    qu_context_free(a);
    qu_context_free(b);
    qu_model_close(m);
}

static void rewind_leaves_no_trace(void **state)
{
    test_each_prefill(rewind_leaves_no_trace_once, state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_greedy_ids),
        cmocka_unit_test(golden_prompt_logits),
        cmocka_unit_test(random_models_agree_with_the_oracle),
        cmocka_unit_test(identities),
        cmocka_unit_test(adapters_agree_with_the_oracle),
        cmocka_unit_test(options_stand_against_the_file),
        cmocka_unit_test(pages_agree_with_the_oracle),
        cmocka_unit_test(kv_equals_a_cold_prefill),
        cmocka_unit_test(kv_equals_a_cold_prefill_of_every_kind),
        cmocka_unit_test(rewind_leaves_no_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
