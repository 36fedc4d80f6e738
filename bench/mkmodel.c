/* Make GGUF model files for tests and benches: random weights in any shape, or the copy model,
 * whose answers are known because its weights are written down (bench/mkmodel_copy.h).
 *
 *     mkmodel --random --shape 135m --type Q8_0 --seed 1 -o random-135m.gguf
 *     mkmodel --random --shape 8b --type Q8_0 --vocab-from reader.gguf -o random-8b.gguf
 *     mkmodel --copy -o copy.gguf
 *     mkmodel --copy --shape 135m --type Q8_0 -o copy-135m.gguf
 *     mkmodel --random --set rope.scaling.type=yarn --set rope.scaling.factor=4.0 -o yarn.gguf
 *     mkmodel --random --lora 8 --seed 2 --set adapter.lora.alpha=16.0 -o adapter.gguf
 *
 * Random weights are whole numbers of -127..127 times a power of two that differs from block to
 * block, so F32, F16, BF16 and Q8_0 files of one seed hold exactly the same weights and Q4_0 the
 * same, rounded. A tensor depends on the seed and its name alone. Files stream out: memory stays
 * near 10 MB.
 *
 * The copy model's text: a needle is a line that names a word of its kind, the key, followed by
 * other such words, the value. Such words are a first and a second part (--help lists them), 256 in
 * all:
 *
 *     the old house is near the river badar cefen digol fohux      <- newline ends the answer
 *     what follows badar                                           <- ask by ending with the key
 *     Question: what follows badar?\nAnswer:                       <- or with a colon after it
 *
 * Greedy decoding answers " cefen digol fohux", newline, <|end|>. A key must stand once in the
 * context and no word twice in a needle; 4 to 12 tokens may lie between the key and the colon that
 * asks. Without an answer it says <|end|>. Prompts begin with <|end|>, which is also BOS.
 */
#include <getopt.h>
#include <math.h>
#include <stddef.h>

#include "bench/mkmodel_copy.h"

enum { MAX_SET = 16 };

typedef struct options {
    bool random, copy, tied, untied, rope_freqs, biases;
    const char *shape, *arch, *type_name, *vocab_from, *out, *table, *set[MAX_SET];
    int layers, width, heads, kv_heads, head_size, ffn, vocab, context, type;
    int rope_dims, lora, parts, n_set;
    double rope_base, rope_linear, seed;
} options;

typedef struct shape {
    const char *name;
    int layers, width, heads, kv_heads, head_size, ffn, vocab;
    bool tied;
} shape;

static const shape shapes[] = {
    {"tiny", 2, 64, 4, 2, 16, 128, 320, true},
    {"copy", 2, 256, 4, 2, 64, 64, 0, false},
    {"135m", 30, 576, 9, 3, 64, 1536, 49152, true},
    {"1b", 16, 2048, 32, 8, 64, 8192, 128256, true},
    {"8b", 32, 4096, 32, 8, 128, 14336, 128256, false},
};

static const char usage[] =
    "usage: mkmodel --random|--copy [options] -o FILE\n"
    "  --shape NAME         tiny, copy, 135m, 1b or 8b (default: tiny; copy with --copy)\n"
    "  --layers N --width N --heads N --kv-heads N --head-size N --ffn N --context N\n"
    "  --vocab N            tokens; unused ones fill the vocabulary up\n"
    "  --vocab-from FILE    take the tokenizer of another GGUF (random models)\n"
    "  --tied | --untied    the output matrix is the embedding, or one of its own\n"
    "  --type NAME          F32 (default), F16, BF16, Q8_0 or Q4_0\n"
    "  --arch NAME          llama (default), qwen2 or qwen3; another makes a file to be refused\n"
    "  --biases             every bias that a llama model may have\n"
    "  --set KEY=VALUE      one more key: 3, 3.0, true, text, or numbers 1.0,2.5; KEY without the\n"
    "                       architecture, except general.*, adapter.*, split.* and quire.*\n"
    "  --lora N             an adapter of rank N for a random model of this shape\n"
    "  --split N            in N files, FILE-00001-of-0000N.gguf and so on\n"
    "  --rope-dims N        dims of a head that turn (default: all)\n"
    "  --rope-base X        RoPE base (default 10000; a copy model needs its own)\n"
    "  --rope-linear X      linear RoPE scaling by X\n"
    "  --rope-freqs         add a tensor that slows single RoPE pairs down\n"
    "  --rope-table NAME    such a tensor of ones, or truncated: the slow half at one speed\n"
    "  --seed N             seed of random weights (default 1)\n"
    "A copy model answers what follows a needle word. Needle words are one part of each row:\n ";

/* An option and the field that it sets; numbers lie from least to most. */
static const struct rule {
    const char *name;
    enum { FLAG, TEXT, WHOLE, NUMBER, SET } kind;
    size_t at;
    double least, most;
} rules[] = {
    {"random", FLAG, offsetof(options, random), 0, 0},
    {"copy", FLAG, offsetof(options, copy), 0, 0},
    {"shape", TEXT, offsetof(options, shape), 0, 0},
    {"layers", WHOLE, offsetof(options, layers), 1, 512},
    {"width", WHOLE, offsetof(options, width), 1, 1 << 17},
    {"heads", WHOLE, offsetof(options, heads), 1, 512},
    {"kv-heads", WHOLE, offsetof(options, kv_heads), 1, 512},
    {"head-size", WHOLE, offsetof(options, head_size), 1, 512},
    {"ffn", WHOLE, offsetof(options, ffn), 1, 1 << 17},
    {"vocab", WHOLE, offsetof(options, vocab), 1, 1 << 21},
    {"context", WHOLE, offsetof(options, context), 1, 1 << 30},
    {"rope-base", NUMBER, offsetof(options, rope_base), 1, 1e30},
    {"rope-linear", NUMBER, offsetof(options, rope_linear), 1e-3, 1e6},
    {"rope-freqs", FLAG, offsetof(options, rope_freqs), 0, 0},
    {"rope-dims", WHOLE, offsetof(options, rope_dims), 1, 512},
    {"rope-table", TEXT, offsetof(options, table), 0, 0},
    {"tied", FLAG, offsetof(options, tied), 0, 0},
    {"untied", FLAG, offsetof(options, untied), 0, 0},
    {"arch", TEXT, offsetof(options, arch), 0, 0},
    {"type", TEXT, offsetof(options, type_name), 0, 0},
    {"seed", NUMBER, offsetof(options, seed), 0, 1e15},
    {"vocab-from", TEXT, offsetof(options, vocab_from), 0, 0},
    {"biases", FLAG, offsetof(options, biases), 0, 0},
    {"lora", WHOLE, offsetof(options, lora), 1, 4096},
    {"split", WHOLE, offsetof(options, parts), 1, 99},
    {"set", SET, 0, 0, 0},
};
enum { N_RULES = sizeof rules / sizeof *rules, FIRST_RULE = 256 };

static void print_help(void) {
    fputs(usage, stdout);
    for (int i = 0; i < 16; i++) printf(" %s", mk_first[i]);
    printf("\n ");
    for (int i = 0; i < 16; i++) printf(" %s", mk_second[i]);
    printf("\nFiller words, one token each:\n ");
    for (int i = 0; i < MK_N_FILLER; i++)
        printf(" %s%s", mk_filler[i], i % 12 == 11 && i + 1 < MK_N_FILLER ? "\n " : "");
    printf("\n");
}

static void take(options *o, const struct rule *r, const char *text) {
    void *field = (char *)o + r->at;
    char *end;
    if (r->kind == FLAG) *(bool *)field = true;
    if (r->kind == TEXT) *(const char **)field = text;
    if (r->kind == SET) {
        if (o->n_set == MAX_SET || !strchr(text, '=')) mk_die(2, "bad --set '%s'", text);
        o->set[o->n_set++] = text;
    }
    if (r->kind != WHOLE && r->kind != NUMBER) return;
    errno = 0;
    double v = strtod(text, &end);
    if (!*text || *end || errno || !(v >= r->least && v <= r->most))
        mk_die(2, "bad --%s '%s': a number from %g to %g is needed", r->name, text, r->least,
               r->most);
    if (r->kind == NUMBER) {
        *(double *)field = v;
    } else {
        if (v != (int)v) mk_die(2, "bad --%s '%s': a whole number is needed", r->name, text);
        *(int *)field = (int)v;
    }
}

static int type_of(const char *text) {
    static const int known[] = {QU_TYPE_F32, QU_TYPE_F16, QU_TYPE_BF16, QU_TYPE_Q8_0, QU_TYPE_Q4_0};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(qu_type_name(known[i]), text)) return known[i];
    mk_die(2, "unknown --type '%s'", text);
}

/* What the command line leaves open comes from the shape. */
static void complete(options *o) {
    const shape *s = NULL;
    if (!o->shape) o->shape = o->copy ? "copy" : "tiny";
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(shapes[i].name, o->shape)) s = &shapes[i];
    if (!s) mk_die(2, "unknown --shape '%s'", o->shape);
    if (!o->out) mk_die(2, "no output file: give -o FILE");
    bool own_head = !o->head_size && !o->width && !o->heads;
    if (!o->layers) o->layers = s->layers;
    if (!o->width) o->width = s->width;
    if (!o->kv_heads) o->kv_heads = o->heads ? o->heads : s->kv_heads;
    if (!o->heads) o->heads = s->heads;
    if (!o->head_size) o->head_size = own_head ? s->head_size : o->width / o->heads;
    if (!o->ffn) o->ffn = s->ffn;
    if (!o->context) o->context = 32768;
    if (!o->rope_dims) o->rope_dims = o->head_size;
    if (!o->parts) o->parts = 1;
    if (!o->tied && !o->untied) o->tied = s->tied;
    if (o->type_name) o->type = type_of(o->type_name);
    if (o->table) o->rope_freqs = true;
    if (!o->rope_base) o->rope_base = o->copy ? COPY_ROPE_BASE : 10000;
    if (o->heads % o->kv_heads) mk_die(2, "--heads must be a multiple of --kv-heads");
    if (o->head_size < 2 || o->head_size % 2) mk_die(2, "the head size must be even");
    if (!o->copy) return;
    if (o->vocab_from || o->rope_freqs || o->rope_linear != 1 || strcmp(o->arch, "llama") ||
        o->lora || o->biases)
        mk_die(2, "a copy model brings its own tokenizer, RoPE and architecture");
    if (o->layers < 2 || o->width < COPY_MIN_WIDTH || o->kv_heads < 2 || o->head_size % COPY_HEAD)
        mk_die(2, "a copy model needs 2 layers, width %d, 2 KV heads and heads of %d or a multiple",
               COPY_MIN_WIDTH, COPY_HEAD);
}

static options parse(int argc, char **argv) {
    options o = {.arch = "llama", .rope_linear = 1, .seed = 1};
    struct option names[N_RULES + 2] = {{"help", 0, NULL, 'h'}};
    for (int i = 0; i < N_RULES; i++)
        names[i + 1] = (struct option){rules[i].name, rules[i].kind != FLAG, NULL, FIRST_RULE + i};
    int c;
    while ((c = getopt_long(argc, argv, "o:h", names, NULL)) != -1) {
        if (c == 'h') {
            print_help();
            exit(0);
        }
        if (c == 'o') o.out = optarg;
        else if (c >= FIRST_RULE) take(&o, &rules[c - FIRST_RULE], optarg);
        else mk_die(2, "see mkmodel --help");
    }
    if (optind < argc) mk_die(2, "unexpected argument '%s'", argv[optind]);
    if (o.random == o.copy) mk_die(2, "give either --random or --copy");
    complete(&o);
    return o;
}

/* ---- the header ---- */

static void put_arch_u32(mk_gguf *g, const options *o, const char *name, int v) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", o->arch, name);
    mk_put_u32(g, key, (uint32_t)v);
}

static void put_arch_f32(mk_gguf *g, const options *o, const char *name, double v) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", o->arch, name);
    mk_put_f32(g, key, (float)v);
}

static const double rms_eps = 1e-5;

/* KEY=VALUE, its type told by how the value looks. */
static void put_set(mk_gguf *g, const options *o, const char *text) {
    static const char *const whole[] = {"general.", "adapter.", "split.", "quire."};
    char name[160], *end;
    const char *value = strchr(text, '=') + 1;
    bool bare = false;
    for (int i = 0; i < 4; i++) bare |= !strncmp(text, whole[i], strlen(whole[i]));
    snprintf(name, sizeof name, "%s%s%.*s", bare ? "" : o->arch, bare ? "" : ".",
             (int)(value - 1 - text), text);
    double v = strtod(value, &end);
    bool number = end > value;
    if (number && *end == ',') {
        uint64_t n = 1;
        for (const char *p = value; *p; p++) n += *p == ',';
        mk_put_array(g, name, MK_F32, n);
        for (const char *p = value; n--; p = end + 1) {
            float f = (float)strtod(p, &end);
            mk_bytes(&g->keys, &f, 4);
        }
    } else if (number && !*end) {
        if (strpbrk(value, ".e")) mk_put_f32(g, name, (float)v);
        else mk_put_u32(g, name, (uint32_t)v);
    } else if (!strcmp(value, "true") || !strcmp(value, "false")) {
        mk_put_bool(g, name, *value == 't');
    } else {
        mk_put_str(g, name, value);
    }
}

static void put_keys(mk_gguf *g, const options *o) {
    char name[96];
    snprintf(name, sizeof name, "%s-%s-%llu", o->copy ? "copy" : "random", o->shape,
             (unsigned long long)o->seed);
    mk_put_str(g, "general.architecture", o->arch);
    mk_put_str(g, "general.name", name);
    mk_put_u32(g, "general.file_type", o->type == QU_TYPE_BF16   ? 32
                                       : o->type == QU_TYPE_Q8_0 ? 7
                                                                 : (uint32_t)o->type);
    put_arch_u32(g, o, "context_length", o->context);
    put_arch_u32(g, o, "embedding_length", o->width);
    put_arch_u32(g, o, "block_count", o->layers);
    put_arch_u32(g, o, "feed_forward_length", o->ffn);
    put_arch_u32(g, o, "attention.head_count", o->heads);
    put_arch_u32(g, o, "attention.head_count_kv", o->kv_heads);
    put_arch_u32(g, o, "attention.key_length", o->head_size);
    put_arch_u32(g, o, "attention.value_length", o->head_size);
    put_arch_f32(g, o, "attention.layer_norm_rms_epsilon", rms_eps);
    put_arch_u32(g, o, "rope.dimension_count", o->rope_dims);
    put_arch_f32(g, o, "rope.freq_base", o->rope_base);
    put_arch_u32(g, o, "vocab_size", o->vocab);
    if (o->rope_linear != 1) {
        snprintf(name, sizeof name, "%s.rope.scaling.type", o->arch);
        mk_put_str(g, name, "linear");
        put_arch_f32(g, o, "rope.scaling.factor", o->rope_linear);
    }
    for (int i = 0; i < o->n_set; i++) put_set(g, o, o->set[i]);
}

static void put_adapter_keys(mk_gguf *g, const options *o) {
    mk_put_str(g, "general.architecture", o->arch);
    mk_put_str(g, "general.type", "adapter");
    mk_put_str(g, "adapter.type", "lora");
    for (int i = 0; i < o->n_set; i++) put_set(g, o, o->set[i]);
}

/* A layer's matrix and, where the model has it, its bias; for an adapter the two that change it. */
static void add_projection(mk_gguf *g, const options *o, int64_t n_in, int64_t n_out, int layer,
                           const char *stem, bool bias) {
    if (o->lora) {
        mk_add(g, n_in, o->lora, QU_TYPE_F32, "blk.%d.%s.weight.lora_a", layer, stem);
        mk_add(g, o->lora, n_out, QU_TYPE_F32, "blk.%d.%s.weight.lora_b", layer, stem);
        return;
    }
    mk_add(g, n_in, n_out, o->type, "blk.%d.%s.weight", layer, stem);
    if (bias) mk_add(g, n_out, 0, QU_TYPE_F32, "blk.%d.%s.bias", layer, stem);
}

static void add_layer(mk_gguf *g, const options *o, int i) {
    int64_t E = o->width, QD = o->heads * o->head_size, KD = o->kv_heads * o->head_size, F = o->ffn;
    bool qkv = !strcmp(o->arch, "qwen2") || o->biases, normed = !strcmp(o->arch, "qwen3");
    if (!o->lora) mk_add(g, E, 0, QU_TYPE_F32, "blk.%d.attn_norm.weight", i);
    if (!o->lora) mk_add(g, E, 0, QU_TYPE_F32, "blk.%d.ffn_norm.weight", i);
    if (normed && !o->lora) {
        mk_add(g, o->head_size, 0, QU_TYPE_F32, "blk.%d.attn_q_norm.weight", i);
        mk_add(g, o->head_size, 0, QU_TYPE_F32, "blk.%d.attn_k_norm.weight", i);
    }
    add_projection(g, o, E, QD, i, "attn_q", qkv);
    add_projection(g, o, E, KD, i, "attn_k", qkv);
    add_projection(g, o, E, KD, i, "attn_v", qkv);
    add_projection(g, o, QD, E, i, "attn_output", o->biases);
    add_projection(g, o, E, F, i, "ffn_gate", o->biases);
    add_projection(g, o, E, F, i, "ffn_up", o->biases);
    add_projection(g, o, F, E, i, "ffn_down", o->biases);
}

static void add_tensors(mk_gguf *g, const options *o) {
    int64_t E = o->width;
    if (!o->lora) mk_add(g, E, o->vocab, o->type, "token_embd.weight");
    for (int i = 0; i < o->layers; i++) add_layer(g, o, i);
    if (o->lora) return;
    mk_add(g, E, 0, QU_TYPE_F32, "output_norm.weight");
    if (!o->tied) mk_add(g, E, o->vocab, o->type, "output.weight");
    if (o->rope_freqs) mk_add(g, o->rope_dims / 2, 0, QU_TYPE_F32, "rope_freqs.weight");
}

static bool has(const mk_tensor *t, const char *part) {
    return strstr(t->name, part) != NULL;
}

/* ---- random weights ---- */

static uint64_t next(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

static uint64_t seed_of(const mk_tensor *t, const options *o) {
    uint64_t state = (uint64_t)o->seed * 0x9e3779b97f4a7c15ull + 0x632be59bd9b4e019ull;
    for (const char *p = t->name; *p; p++) state = (state ^ (unsigned char)*p) * 0x100000001b3ull;
    state |= !state;
    for (int i = 0; i < 8; i++) next(&state);
    return state;
}

/* Standard deviation that keeps rows of length one as they pass, makes attention choose, and
 * lets the layers together move a row further than the embedding did: else tied models repeat
 * one token. */
static double deviation(const mk_tensor *t, const options *o) {
    double fan_in = sqrt((double)t->n_in), depth = sqrt(2.0 * o->layers);
    if (has(t, "attn_q") || has(t, "attn_k")) return 1.5 / fan_in;
    if (has(t, "attn_output")) return 2 / fan_in / depth;
    return has(t, "ffn_down") ? 3 / fan_in / depth : 1 / fan_in;
}

/* Thirty-two whole numbers of -127..127 and the doublings (-1, 0 or 1) of their block's step. */
static int random_block(int8_t q[32], uint64_t *state) {
    static const int doublings[4] = {-1, 0, 0, 1};
    for (int i = 0; i < 4; i++) {
        uint64_t word = next(state);
        memcpy(q + 8 * i, &word, 8);
    }
    for (int i = 0; i < 32; i++) q[i] = (int8_t)(q[i] == -128 ? 0 : q[i]);
    return doublings[next(state) >> 62];
}

/* The bytes of every value that a block can hold, by doubling and number. */
typedef struct value_table {
    uint8_t bytes[3][256][4];
    uint16_t step[3];
    int size;
} value_table;

static void fill_table(value_table *table, int type, int exponent) {
    bool q4 = type == QU_TYPE_Q4_0;
    table->size = type == QU_TYPE_F32 ? 4 : 2;
    for (int d = 0; d < 3; d++) {
        float step = ldexpf(1, exponent + d - 1);
        table->step[d] = qu_f32_to_f16(q4 ? 16 * step : step);
        for (int q = -128; q < 128 && (type == QU_TYPE_F32 || qu_type_block(type) == 1); q++) {
            float value = (float)q * step;
            qu_quant_ref(table->bytes[d][q + 128], &value, type, 1);
        }
    }
}

/* Encode a block; returns its bytes. */
static size_t encode(uint8_t *out, const int8_t q[32], int doubling, int type,
                     const value_table *table) {
    int d = doubling + 1;
    if (type == QU_TYPE_Q8_0) {
        memcpy(out, &table->step[d], 2);
        memcpy(out + 2, q, 32);
        return 34;
    }
    if (type == QU_TYPE_Q4_0) {
        memcpy(out, &table->step[d], 2);
        for (int i = 0; i < 16; i++) {
            int low = (q[i] + 8) >> 4, high = (q[i + 16] + 8) >> 4;
            out[2 + i] = (uint8_t)((low > 7 ? 15 : low + 8) | (high > 7 ? 15 : high + 8) << 4);
        }
        return 18;
    }
    for (int i = 0; i < 32; i++)
        memcpy(out + i * table->size, table->bytes[d][q[i] + 128], (size_t)table->size);
    return (size_t)(32 * table->size);
}

static void write_random(FILE *fp, const mk_tensor *t, const options *o) {
    enum { N_BLOCKS = 4096 };
    static uint8_t chunk[N_BLOCKS * 128];
    static value_table table;
    uint64_t state = seed_of(t, o);
    /* The numbers deviate by 73.3, the steps by 1.25 around the middle one. */
    fill_table(&table, t->type, (int)lround(log2(deviation(t, o) / (73.3 * 1.25))));
    for (int64_t left = t->bytes; left > 0;) {
        size_t n = 0;
        for (int b = 0; b < N_BLOCKS && (int64_t)n < left; b++) {
            int8_t q[32];
            int doubling = random_block(q, &state);
            n += encode(chunk + n, q, doubling, t->type, &table);
        }
        n = (int64_t)n < left ? n : (size_t)left;
        mk_write(fp, chunk, n);
        left -= (int64_t)n;
    }
}

/* Divisor of a RoPE pair. Truncated: fast pairs as they are, the next ones all as fast as the pair
 * in the middle, the slowest at rest. */
static float divisor(int64_t i, int64_t n, const options *o) {
    if (!o->table) return 1 + 7 * (float)i / (float)n;
    if (strcmp(o->table, "truncated") || i < n / 2) return 1;
    if (i >= 3 * n / 4) return INFINITY;
    return (float)pow(o->rope_base, (double)(n / 2 - i) / (double)n);
}

/* Norms lie around 1, the last one around 3 (it spreads the logits), biases around 0; RoPE divisors
 * rise from 1 to 8. */
static void write_random_vector(FILE *fp, const mk_tensor *t, const options *o) {
    uint64_t state = seed_of(t, o);
    for (int64_t i = 0; i < t->n_in; i++) {
        float v = (float)((int)(next(&state) >> 56) - 128) / 512;
        if (has(t, "rope_freqs")) v = divisor(i, t->n_in, o);
        else if (!has(t, "bias")) v = (v + 1) * (has(t, "output_norm") ? 3 : 1);
        mk_write(fp, &v, sizeof v);
    }
}

/* ---- the copy model ---- */

static void copy_row(float *row, const mk_tensor *t, int64_t r, const options *o, int n_words) {
    copy_shape c = {o->width, o->head_size, o->heads / o->kv_heads, (float)rms_eps};
    int layer = -1, head = (int)(r / c.head_size), dim = (int)(r % c.head_size);
    sscanf(t->name, "blk.%d.", &layer);
    if (has(t, "attn_norm") || has(t, "ffn_norm") || has(t, "output_norm")) {
        /* Squared lengths: content 4, previous 4, const 1; in the end gain^2 times 4 more. */
        double length = layer < 0 ? 9 + 4 * copy_gain * copy_gain : layer == 0 ? 5 : 9;
        float weight = copy_norm(&c, length) * (layer < 0 ? (float)copy_logit : 1);
        for (int i = 0; i < o->width; i++) row[i] = weight;
    } else if (has(t, "token_embd") || !strcmp(t->name, "output.weight")) {
        copy_embedding(row, r, n_words, !has(t, "token_embd"));
    } else if (has(t, "attn_q") || has(t, "attn_k")) {
        bool query = has(t, "attn_q");
        int kv_head = query ? head / c.group : head;
        if (layer == 0) copy_row_layer0(row, &c, kv_head, dim, query);
        if (layer == 1) copy_row_layer1(row, &c, kv_head, dim, query);
    } else if (has(t, "attn_v")) {
        copy_row_value(row, layer, head, dim);
    } else if (has(t, "attn_output")) {
        copy_row_output(row, &c, layer, (int)r);
    }
}

static void write_copy(FILE *fp, const mk_tensor *t, const options *o, int n_words) {
    float *row = calloc((size_t)t->n_in, sizeof *row);
    int64_t row_bytes = qu_type_bytes(t->type, t->n_in), n_rows = t->n_out ? t->n_out : 1;
    uint8_t *zero = malloc((size_t)row_bytes), *coded = malloc((size_t)row_bytes);
    if (!row || !zero || !coded) mk_die(1, "out of memory");
    qu_quant_ref(zero, row, t->type, t->n_in);
    for (int64_t r = 0; r < n_rows; r++) {
        copy_row(row, t, r, o, n_words);
        bool empty = true;
        for (int64_t i = 0; i < t->n_in && empty; i++) empty = row[i] == 0;
        if (!empty) {
            qu_quant_ref(coded, row, t->type, t->n_in);
            memset(row, 0, (size_t)t->n_in * sizeof *row);
        }
        mk_write(fp, empty ? zero : coded, (size_t)row_bytes);
    }
    free(row);
    free(zero);
    free(coded);
}

/* Everything before the tensors; returns the size of the vocabulary before it is filled up. */
static int put_model_keys(mk_gguf *g, options *o) {
    mk_vocab v;
    if (o->copy) mk_vocab_copy(&v);
    else if (o->vocab_from) mk_vocab_from(&v, o->vocab_from);
    else mk_vocab_bytes(&v);
    int n_words = v.n_tokens;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes && !o->vocab; i++)
        if (!strcmp(shapes[i].name, o->shape))
            o->vocab = shapes[i].vocab > n_words ? shapes[i].vocab : n_words;
    mk_vocab_pad(&v, o->vocab);
    put_keys(g, o);
    mk_put_vocab(g, &v);
    return n_words;
}

int main(int argc, char **argv) {
    static mk_gguf g;
    options o = parse(argc, argv);
    int n_words = 0;
    if (o.lora) put_adapter_keys(&g, &o);
    else n_words = put_model_keys(&g, &o);
    add_tensors(&g, &o);
    for (int part = 0; part < o.parts; part++) {
        FILE *fp = mk_begin(&g, o.out, part, o.parts);
        for (int i = mk_first_of(&g, part, o.parts); i < mk_first_of(&g, part + 1, o.parts); i++) {
            const mk_tensor *t = &g.tensor[i];
            if (o.copy) write_copy(fp, t, &o, n_words);
            else if (t->n_out) write_random(fp, t, &o);
            else write_random_vector(fp, t, &o);
            mk_pad(fp, t->bytes);
        }
        if (fclose(fp)) mk_die(1, "cannot write '%s': %s", o.out, strerror(errno));
    }
    qu_buf_free(&g.keys);
    return 0;
}
