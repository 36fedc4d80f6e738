/* The forward pass of a Llama-family model, to be read from top to bottom before anything else.
 *
 * A token is a row of `width` numbers, its embedding. Each layer adds two things to that row: what
 * the token fetched from earlier tokens (attention), and what it made of it alone (feed-forward).
 * After the last layer the row is compared with one direction per word: those are the logits.
 *
 *     x[t] = embedding of ids[t]
 *     layer: h = rmsnorm(x[t]);  q, k, v = Wq h, Wk h, Wv h, cut into heads (fewer for k and v)
 *            q and k are turned by t;  out = sum over s <= t of softmax(q[t].k[s] / sqrt(D)) v[s]
 *            x[t] += Wo out
 *            h = rmsnorm(x[t]);  x[t] += Wdown (silu(Wgate h) * (Wup h))
 *     logits = Wout rmsnorm(x[t])
 *
 * All activations are double; weights are the float values that the file's blocks stand for.
 * Nothing here is fast. The second half of the file reads GGUF. It includes nothing of Quire but
 * its own header.
 */
#include "tests/ref_forward.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ref_layer {
    float *attn_norm, *wq, *bq, *wk, *bk, *wv, *bv, *q_norm, *k_norm, *wo, *bo;
    float *ffn_norm, *w_gate, *b_gate, *w_up, *b_up, *w_down, *b_down;
} ref_layer;

/* Matrices are stored row after row, one row per output: w[out][in]. What is absent is NULL. */
struct ref_model {
    ref_dims d;
    ref_layer *layer;
    float *embedding, *output_norm, *output;
    float *rope_factors; /* [rope_dims / 2] divisors of the turning speeds, or NULL */
    double *speed;       /* [layers, kv_heads, rope_dims / 2] turning speeds, radians a position */
};

static _Thread_local char last_error[240] = "no error";

const char *ref_error(void) {
    return last_error;
}

__attribute__((format(printf, 1, 2))) static int fail(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(last_error, sizeof last_error, fmt, ap);
    va_end(ap);
    return -1;
}

/* ---- the arithmetic ---- */

/* y = w x + bias, w [n_out, n_in]. Four sums run side by side only to keep the processor busy. */
static void matvec(double *y, const float *w, const float *bias, const double *x, int n_out,
                   int n_in) {
    for (int o = 0; o < n_out; o++) {
        const float *row = w + (int64_t)o * n_in;
        double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        int i = 0;
        for (; i + 4 <= n_in; i += 4) {
            s0 += row[i] * x[i];
            s1 += row[i + 1] * x[i + 1];
            s2 += row[i + 2] * x[i + 2];
            s3 += row[i + 3] * x[i + 3];
        }
        for (; i < n_in; i++) s0 += row[i] * x[i];
        y[o] = s0 + s1 + s2 + s3 + (bias ? bias[o] : 0);
    }
}

/* The dot product of two heads, summed in the same way. */
static double dot(const double *a, const double *b, int n) {
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        s0 += a[i] * b[i];
        s1 += a[i + 1] * b[i + 1];
        s2 += a[i + 2] * b[i + 2];
        s3 += a[i + 3] * b[i + 3];
    }
    for (; i < n; i++) s0 += a[i] * b[i];
    return s0 + s1 + s2 + s3;
}

/* y = x / rms(x) * weight; y may be x. */
static void rmsnorm(double *y, const double *x, const float *weight, int n, double eps) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    double scale = 1 / sqrt(sum / n + eps);
    for (int i = 0; i < n; i++) y[i] = x[i] * scale * weight[i];
}

static void softmax(double *x, int n) {
    double max = x[0], sum = 0;
    for (int i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    for (int i = 0; i < n; i++) sum += x[i] = exp(x[i] - max);
    for (int i = 0; i < n; i++) x[i] /= sum;
}

/* Turn a head's leading rope_dims numbers, pair by pair, by pos * speed of the pair. The dot
 * product of two turned heads then depends on the distance of their positions only. */
static void rope(double *head, int pos, const double *speed, const ref_dims *d) {
    int half = d->rope_dims / 2;
    for (int i = 0; i < half; i++) {
        double c = cos(pos * speed[i]) * d->rope_attention;
        double s = sin(pos * speed[i]) * d->rope_attention;
        double *a = d->rope_neox ? head + i : head + 2 * i;
        double *b = d->rope_neox ? head + i + half : head + 2 * i + 1;
        double turned_a = *a * c - *b * s, turned_b = *a * s + *b * c;
        *a = turned_a;
        *b = turned_b;
    }
}

/* The projections of one token into q [H,D], k [G,D] and v [G,Dv], turned to its position. A query
 * head turns like the key head that it meets. */
static void project(double *q, double *k, double *v, const double *h, int pos, const ref_layer *l,
                    const ref_model *m) {
    const ref_dims *d = &m->d;
    int group = d->heads / d->kv_heads, half = d->rope_dims / 2;
    const double *speed = m->speed + (l - m->layer) * d->kv_heads * half;
    matvec(q, l->wq, l->bq, h, d->heads * d->head_size, d->width);
    matvec(k, l->wk, l->bk, h, d->kv_heads * d->head_size, d->width);
    matvec(v, l->wv, l->bv, h, d->kv_heads * d->value_size, d->width);
    for (int i = 0; i < d->heads; i++) {
        double *head = q + i * d->head_size;
        if (l->q_norm) rmsnorm(head, head, l->q_norm, d->head_size, d->rms_eps);
        rope(head, pos, speed + i / group * half, d);
    }
    for (int i = 0; i < d->kv_heads; i++) {
        double *head = k + i * d->head_size;
        if (l->k_norm) rmsnorm(head, head, l->k_norm, d->head_size, d->rms_eps);
        rope(head, pos, speed + i * half, d);
    }
}

/* What token t fetches: out [H,Dv] from keys k [n,G,D] and values v [n,G,Dv] of tokens 0..t. A
 * group of heads / kv_heads query heads shares one key-value head. score [n] is scratch. */
static void attend(double *out, const double *q, const double *k, const double *v, int t,
                   double *score, const ref_dims *d) {
    int group = d->heads / d->kv_heads;
    int64_t k_row = d->kv_heads * d->head_size, v_row = d->kv_heads * d->value_size;
    for (int h = 0; h < d->heads; h++) {
        const double *qh = q + h * d->head_size;
        const double *kh = k + h / group * d->head_size, *vh = v + h / group * d->value_size;
        double *oh = out + h * d->value_size;
        for (int s = 0; s <= t; s++)
            score[s] = dot(qh, kh + s * k_row, d->head_size) / sqrt(d->head_size);
        softmax(score, t + 1);
        for (int i = 0; i < d->value_size; i++) oh[i] = 0;
        for (int s = 0; s <= t; s++)
            for (int i = 0; i < d->value_size; i++) oh[i] += score[s] * vh[s * v_row + i];
    }
}

/* x += Wdown (silu(Wgate h) * (Wup h)), h = rmsnorm(x). gate and up are [ffn], h and y [width]. */
static void feed_forward(double *x, double *h, double *y, double *gate, double *up,
                         const ref_layer *l, const ref_dims *d) {
    rmsnorm(h, x, l->ffn_norm, d->width, d->rms_eps);
    matvec(gate, l->w_gate, l->b_gate, h, d->ffn, d->width);
    matvec(up, l->w_up, l->b_up, h, d->ffn, d->width);
    for (int i = 0; i < d->ffn; i++) gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
    matvec(y, l->w_down, l->b_down, gate, d->width, d->ffn);
    for (int i = 0; i < d->width; i++) x[i] += y[i];
}

static void logits_of(float *logits, double *y, double *h, const double *x, const ref_model *m) {
    rmsnorm(h, x, m->output_norm, m->d.width, m->d.rms_eps);
    matvec(y, m->output, NULL, h, m->d.vocab, m->d.width);
    for (int i = 0; i < m->d.vocab; i++) logits[i] = (float)y[i];
}

static int check_input(const ref_dims *d, const int32_t *ids, const int32_t *pos, int n) {
    if (n < 1) return fail("nothing to run: n is %d", n);
    for (int t = 0; t < n; t++) {
        if (ids[t] < 0 || ids[t] >= d->vocab)
            return fail("token %d has id %d of %d", t, ids[t], d->vocab);
        if (pos && (pos[t] < 0 || (t && pos[t] <= pos[t - 1])))
            return fail("positions do not ascend at %d", t);
    }
    return 0;
}

int ref_forward(const ref_model *m, const int32_t *ids, const int32_t *pos, int n, float *logits,
                float *last) {
    const ref_dims *d = &m->d;
    if (check_input(d, ids, pos, n)) return -1;
    int64_t E = d->width, QD = d->heads * d->head_size, OD = d->heads * d->value_size;
    int64_t KD = d->kv_heads * d->head_size, VD = d->kv_heads * d->value_size;
    int64_t words = n * (E + QD + KD + VD + 1) + 2 * E + OD + 2 * (int64_t)d->ffn + d->vocab;
    double *all = malloc((size_t)words * sizeof *all);
    if (!all) return fail("no memory for %lld numbers", (long long)words);
    double *x = all, *q = x + n * E, *k = q + n * QD, *v = k + n * KD, *score = v + n * VD;
    double *h = score + n, *y = h + E, *out = y + E, *gate = out + OD, *up = gate + d->ffn;
    double *big = up + d->ffn;

    for (int t = 0; t < n; t++)
        for (int i = 0; i < E; i++) x[t * E + i] = m->embedding[ids[t] * E + i];
    for (const ref_layer *l = m->layer; l < m->layer + d->layers; l++) {
        for (int t = 0; t < n; t++) {
            rmsnorm(h, x + t * E, l->attn_norm, d->width, d->rms_eps);
            project(q + t * QD, k + t * KD, v + t * VD, h, pos ? pos[t] : t, l, m);
        }
        for (int t = 0; t < n; t++) {
            attend(out, q + t * QD, k, v, t, score, d);
            matvec(y, l->wo, l->bo, out, d->width, (int)OD);
            for (int i = 0; i < E; i++) x[t * E + i] += y[i];
            feed_forward(x + t * E, h, y, gate, up, l, d);
        }
    }
    for (int t = 0; t < n && logits; t++)
        logits_of(logits + (int64_t)t * d->vocab, big, h, x + t * E, m);
    if (last) logits_of(last, big, h, x + (n - 1) * E, m);
    free(all);
    return 0;
}

int ref_argmax(const float *x, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

const ref_dims *ref_dims_of(const ref_model *m) {
    return &m->d;
}

/* ---- the file ----
 * GGUF: magic, version, counts; keys (name, type, value), tensor descriptions, padding, data. */

enum { TYPE_F32 = 0, TYPE_F16 = 1, TYPE_Q4_0 = 2, TYPE_Q8_0 = 8, TYPE_BF16 = 30 };
enum { KEY_STRING = 8, KEY_ARRAY = 9, N_KEY_TYPES = 13 };
static const int key_bytes[N_KEY_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

typedef struct key {
    char name[96];
    double number;
    char text[64];
    size_t list_at; /* of an array of floats: where they lie in the file */
    uint64_t n_list;
} key;

typedef struct tensor {
    char name[96];
    uint64_t dims[4], offset;
    uint32_t n_dims, type;
} tensor;

typedef struct file {
    const char *path;
    uint8_t *bytes;
    size_t len, at, data; /* at: where the reader stands; data: where tensor data begins */
    int bad;              /* something was read past the end, or made no sense */
    key *keys;
    tensor *tensors;
    uint64_t n_keys, n_tensors;
} file;

/* The next n bytes, little endian, as a number; 0 and bad past the end. */
static uint64_t take(file *f, size_t n) {
    uint64_t v = 0;
    if (f->bad || n > f->len - f->at) return f->bad = 1, 0;
    memcpy(&v, f->bytes + f->at, n);
    f->at += n;
    return v;
}

/* Read a string and keep what fits into out [cap]. */
static void take_string(file *f, char *out, size_t cap) {
    uint64_t n = take(f, 8);
    if (f->bad || n > f->len - f->at) {
        f->bad = 1;
        return;
    }
    snprintf(out, cap, "%.*s", (int)(n < cap ? n : cap - 1), (char *)f->bytes + f->at);
    f->at += n;
}

static double take_number(file *f, uint32_t type) {
    uint64_t raw = take(f, (size_t)key_bytes[type]);
    float f32;
    double f64;
    memcpy(&f32, &raw, 4);
    memcpy(&f64, &raw, 8);
    if (type == 6) return f32;
    if (type == 12) return f64;
    return (double)raw;
}

static void take_key(file *f, key *k) {
    take_string(f, k->name, sizeof k->name);
    uint32_t type = (uint32_t)take(f, 4);
    if (type == KEY_STRING) {
        take_string(f, k->text, sizeof k->text);
    } else if (type == KEY_ARRAY) { /* mostly the tokenizer's tables, which ids do not need */
        uint32_t element = (uint32_t)take(f, 4);
        uint64_t n = take(f, 8);
        char skipped[8];
        if (element == 6) k->list_at = f->at, k->n_list = n;
        for (uint64_t i = 0; i < n && !f->bad; i++) {
            if (element == KEY_STRING)
                take_string(f, skipped, sizeof skipped);
            else if (element < N_KEY_TYPES && key_bytes[element])
                take(f, (size_t)key_bytes[element]);
            else
                f->bad = 1;
        }
        k->number = -1; /* where a number is needed, no dimension check lets it pass */
    } else if (type < N_KEY_TYPES) {
        k->number = take_number(f, type);
    } else {
        f->bad = 1;
    }
}

static const key *find_key(const file *f, const char *name) {
    for (uint64_t i = 0; i < f->n_keys; i++)
        if (!strcmp(f->keys[i].name, name)) return &f->keys[i];
    return NULL;
}

/* A number under "<architecture>.<name>", or otherwise when it is absent. */
static double number_of(const file *f, const char *name, double otherwise) {
    const key *arch = find_key(f, "general.architecture"), *k;
    char full[160];
    snprintf(full, sizeof full, "%s.%s", arch ? arch->text : "", name);
    k = find_key(f, full);
    return k ? k->number : otherwise;
}

static int read_header(file *f) {
    uint64_t magic = take(f, 4), version = take(f, 4);
    if (magic != 0x46554747 || (version != 2 && version != 3))
        return fail("'%s' is not GGUF v2 or v3", f->path);
    f->n_tensors = take(f, 8);
    f->n_keys = take(f, 8);
    if (f->bad || f->n_tensors > f->len / 24 || f->n_keys > f->len / 12)
        return fail("bad counts in '%s'", f->path);
    f->keys = calloc(f->n_keys + 1, sizeof *f->keys);
    f->tensors = calloc(f->n_tensors + 1, sizeof *f->tensors);
    if (!f->keys || !f->tensors) return fail("no memory for the header of '%s'", f->path);
    for (uint64_t i = 0; i < f->n_keys && !f->bad; i++) take_key(f, &f->keys[i]);
    for (uint64_t i = 0; i < f->n_tensors && !f->bad; i++) {
        tensor *t = &f->tensors[i];
        take_string(f, t->name, sizeof t->name);
        t->n_dims = (uint32_t)take(f, 4);
        if (t->n_dims > 4) f->bad = 1;
        for (uint32_t j = 0; j < 4; j++) t->dims[j] = j < t->n_dims ? take(f, 8) : 1;
        t->type = (uint32_t)take(f, 4);
        t->offset = take(f, 8);
    }
    const key *align = find_key(f, "general.alignment");
    size_t step =
        align && align->number >= 8 && align->number <= 65536 ? (size_t)align->number : 32;
    f->data = (f->at + step - 1) / step * step;
    return f->bad || f->data > f->len ? fail("'%s' is truncated or malformed", f->path) : 0;
}

static float half_to_float(const uint8_t *p) {
    int bits = p[0] | p[1] << 8, exponent = bits >> 10 & 31, fraction = bits & 1023;
    float size = exponent == 31 ? (fraction ? NAN : INFINITY)
                 : exponent     ? ldexpf(1024.0f + (float)fraction, exponent - 25)
                                : ldexpf((float)fraction, -24);
    return bits >> 15 ? -size : size;
}

/* Turn n elements of a tensor's blocks into floats. Returns the bytes they take, 0 for unknown
 * types; with out NULL only tells the bytes. */
static size_t dequantise(float *out, const uint8_t *p, uint32_t type, size_t n) {
    size_t bytes = type == TYPE_F32                        ? n * 4
                   : type == TYPE_F16 || type == TYPE_BF16 ? n * 2
                   : type == TYPE_Q8_0                     ? n / 32 * 34
                   : type == TYPE_Q4_0                     ? n / 32 * 18
                                                           : 0;
    for (size_t i = 0; i < n && out; i++) {
        if (type == TYPE_F32) {
            memcpy(&out[i], p + 4 * i, 4);
        } else if (type == TYPE_F16) {
            out[i] = half_to_float(p + 2 * i);
        } else if (type == TYPE_BF16) {
            uint32_t bits = (uint32_t)(p[2 * i] | p[2 * i + 1] << 8) << 16;
            memcpy(&out[i], &bits, 4);
        } else if (type == TYPE_Q8_0) { /* a half d, then 32 signed bytes: x = d q */
            const uint8_t *block = p + i / 32 * 34;
            out[i] = half_to_float(block) * (int8_t)block[2 + i % 32];
        } else { /* Q4_0: a half d, 16 low nibbles, then the 16 high ones: x = d (q - 8) */
            const uint8_t *block = p + i / 32 * 18;
            int pair = block[2 + i % 16], q = i % 32 < 16 ? pair & 15 : pair >> 4;
            out[i] = half_to_float(block) * (float)(q - 8);
        }
    }
    return bytes;
}

static const tensor *find_tensor(const file *f, const char *name) {
    for (uint64_t i = 0; i < f->n_tensors; i++)
        if (!strcmp(f->tensors[i].name, name)) return &f->tensors[i];
    return NULL;
}

/* Load a tensor as n_out rows of n_in floats into *w. An absent one is a fault unless optional. */
static int load(float **w, const file *f, int n_out, int n_in, int optional, const char *name) {
    const tensor *t = find_tensor(f, name);
    if (!t) return optional ? 0 : fail("'%s' has no tensor '%s'", f->path, name);
    if (t->dims[0] != (uint64_t)n_in || t->dims[1] != (uint64_t)n_out)
        return fail("'%s' is [%d,%d] by the keys, not [%lld,%lld] as stored", name, n_out, n_in,
                    (long long)t->dims[1], (long long)t->dims[0]);
    size_t n = (size_t)n_out * (size_t)n_in, bytes = dequantise(NULL, NULL, t->type, n);
    if (!bytes) return fail("'%s' has element type %u, which is not supported", name, t->type);
    if ((t->type == TYPE_Q8_0 || t->type == TYPE_Q4_0) && n_in % 32)
        return fail("'%s' has half a block", name);
    if (t->offset > f->len - f->data || bytes > f->len - f->data - t->offset)
        return fail("'%s' ends past the file", name);
    *w = malloc(n * sizeof **w);
    if (!*w) return fail("no memory for '%s'", name);
    dequantise(*w, f->bytes + f->data + t->offset, t->type, n);
    return 0;
}

static int read_dims(ref_dims *d, const file *f) {
    const key *arch = find_key(f, "general.architecture");
    const char *name = arch ? arch->text : "";
    int llama = !strcmp(name, "llama"), qwen = !strcmp(name, "qwen2") || !strcmp(name, "qwen3");
    if (!llama && !qwen) return fail("architecture '%s' is not supported", name);
    d->rope_neox = qwen;
    d->layers = (int)number_of(f, "block_count", 0);
    d->width = (int)number_of(f, "embedding_length", 0);
    d->heads = (int)number_of(f, "attention.head_count", 0);
    if (d->layers < 1 || d->width < 1 || d->heads < 1)
        return fail("'%s' has no dimensions", f->path);
    d->kv_heads = (int)number_of(f, "attention.head_count_kv", d->heads);
    d->head_size = (int)number_of(f, "attention.key_length", d->width / d->heads);
    d->value_size = (int)number_of(f, "attention.value_length", d->width / d->heads);
    d->ffn = (int)number_of(f, "feed_forward_length", 0);
    d->context = (int)number_of(f, "context_length", 0);
    d->rope_dims = (int)number_of(f, "rope.dimension_count", d->head_size);
    d->rope_base = number_of(f, "rope.freq_base", 10000);
    d->rms_eps = number_of(f, "attention.layer_norm_rms_epsilon", 1e-5);
    d->rope_attention = 1;
    if (d->kv_heads < 1 || d->heads % d->kv_heads || d->ffn < 1 || d->head_size < 1 ||
        d->value_size < 1 || d->rope_dims < 0 || d->rope_dims > d->head_size || d->rope_dims % 2 ||
        d->layers > 1024)
        return fail("'%s' has dimensions that do not fit together", f->path);
    const tensor *embedding = find_tensor(f, "token_embd.weight");
    d->vocab = embedding ? (int)embedding->dims[1] : 0;
    d->tied = !find_tensor(f, "output.weight");
    return 0;
}

/* How many times slower than the base says pair i turns under YaRN. Pairs with many turns in the
 * trained window keep their speed, pairs with less than one are slowed by the whole factor. */
static double yarn(const ref_dims *d, int i, double factor, double window, double fast,
                   double slow) {
    double n = d->rope_dims, per_e = n / (2 * log(d->rope_base));
    double low = floor(per_e * log(window / (fast * 2 * M_PI)));
    double high = ceil(per_e * log(window / (slow * 2 * M_PI)));
    if (low < 0) low = 0;
    if (high > n - 1) high = n - 1;
    double slowed = (i - low) / (high - low < .001 ? .001 : high - low);
    slowed = slowed < 0 ? 0 : slowed > 1 ? 1 : slowed;
    return 1 / (slowed / factor + (1 - slowed));
}

/* The speed of every pair of every key head, and YaRN's attention factor. */
static int load_speeds(ref_model *m, const file *f) {
    ref_dims *d = &m->d;
    int half = d->rope_dims / 2;
    char name[160];
    const char *arch = find_key(f, "general.architecture")->text;
    snprintf(name, sizeof name, "%s.rope.scaling.type", arch);
    const key *k = find_key(f, name);
    const char *type = k ? k->text : "linear";
    double factor = number_of(f, "rope.scaling.factor", number_of(f, "rope.scale_linear", 1));
    double window = number_of(f, "rope.scaling.original_context_length", d->context);
    double fast = number_of(f, "rope.scaling.yarn_beta_fast", 32);
    double slow = number_of(f, "rope.scaling.yarn_beta_slow", 1);
    int is_yarn = !strcmp(type, "yarn");
    if (!strcmp(type, "none")) factor = 1;
    else if (strcmp(type, "linear") && !is_yarn)
        return fail("rope scaling '%s' is not supported", type);
    if (is_yarn)
        d->rope_attention = number_of(f, "rope.scaling.yarn_attn_factor", .1 * log(factor) + 1);
    d->rope_attention *= number_of(f, "rope.scaling.attn_factor", 1);
    snprintf(name, sizeof name, "%s.rope.freq_base_per_kv_head", arch);
    const key *own = find_key(f, name);
    int heads = d->layers * d->kv_heads;
    if (own && own->n_list != (uint64_t)d->kv_heads && own->n_list != (uint64_t)heads)
        return fail("%d bases for %d heads", (int)own->n_list, heads);
    m->speed = malloc((size_t)(heads * half + 1) * sizeof *m->speed);
    if (!m->speed) return fail("no memory for %d speeds", heads * half);
    for (int j = 0; j < heads * half; j++) {
        int i = j % half;
        float base = (float)d->rope_base;
        if (own) memcpy(&base, f->bytes + own->list_at + 4 * (j / half % (int)own->n_list), 4);
        m->speed[j] = pow((double)base, -2.0 * i / d->rope_dims);
        m->speed[j] /= is_yarn ? yarn(d, i, factor, window, fast, slow) : factor;
        if (m->rope_factors) m->speed[j] /= m->rope_factors[i];
    }
    return 0;
}

/* The same for a layer's tensor: "blk.<layer>.<stem>". */
static int load_of(float **w, const file *f, int n_out, int n_in, int optional, const char *stem,
                   int layer) {
    char name[96];
    snprintf(name, sizeof name, "blk.%d.%s", layer, stem);
    return load(w, f, n_out, n_in, optional, name);
}

static int load_layer(ref_layer *l, const file *f, const ref_dims *d, int i) {
    int E = d->width, QD = d->heads * d->head_size, KD = d->kv_heads * d->head_size;
    int VD = d->kv_heads * d->value_size, OD = d->heads * d->value_size;
    return load_of(&l->attn_norm, f, 1, E, 0, "attn_norm.weight", i) ||
           load_of(&l->wq, f, QD, E, 0, "attn_q.weight", i) ||
           load_of(&l->bq, f, 1, QD, 1, "attn_q.bias", i) ||
           load_of(&l->wk, f, KD, E, 0, "attn_k.weight", i) ||
           load_of(&l->bk, f, 1, KD, 1, "attn_k.bias", i) ||
           load_of(&l->wv, f, VD, E, 0, "attn_v.weight", i) ||
           load_of(&l->bv, f, 1, VD, 1, "attn_v.bias", i) ||
           load_of(&l->q_norm, f, 1, d->head_size, 1, "attn_q_norm.weight", i) ||
           load_of(&l->k_norm, f, 1, d->head_size, 1, "attn_k_norm.weight", i) ||
           load_of(&l->wo, f, E, OD, 0, "attn_output.weight", i) ||
           load_of(&l->bo, f, 1, E, 1, "attn_output.bias", i) ||
           load_of(&l->ffn_norm, f, 1, E, 0, "ffn_norm.weight", i) ||
           load_of(&l->w_gate, f, d->ffn, E, 0, "ffn_gate.weight", i) ||
           load_of(&l->b_gate, f, 1, d->ffn, 1, "ffn_gate.bias", i) ||
           load_of(&l->w_up, f, d->ffn, E, 0, "ffn_up.weight", i) ||
           load_of(&l->b_up, f, 1, d->ffn, 1, "ffn_up.bias", i) ||
           load_of(&l->b_down, f, 1, E, 1, "ffn_down.bias", i) ||
           load_of(&l->w_down, f, E, d->ffn, 0, "ffn_down.weight", i);
}

static int load_model(ref_model *m, const file *f) {
    ref_dims *d = &m->d;
    if (read_dims(d, f)) return -1;
    m->layer = calloc((size_t)d->layers, sizeof *m->layer);
    if (!m->layer) return fail("no memory for %d layers", d->layers);
    if (load(&m->embedding, f, d->vocab, d->width, 0, "token_embd.weight") ||
        load(&m->output_norm, f, 1, d->width, 0, "output_norm.weight") ||
        load(&m->rope_factors, f, 1, d->rope_dims / 2, 1, "rope_freqs.weight") ||
        load_speeds(m, f))
        return -1;
    if (d->tied)
        m->output = m->embedding;
    else if (load(&m->output, f, d->vocab, d->width, 0, "output.weight"))
        return -1;
    for (int i = 0; i < d->layers; i++)
        if (load_layer(&m->layer[i], f, d, i)) return -1;
    return 0;
}

static int read_bytes(file *f) {
    FILE *fp = fopen(f->path, "rb");
    if (!fp) return fail("cannot open '%s'", f->path);
    long n = fseek(fp, 0, SEEK_END) ? -1 : ftell(fp);
    f->bytes = n < 0 ? NULL : malloc((size_t)n + 1);
    f->len = n < 0 ? 0 : (size_t)n;
    rewind(fp);
    int ok = f->bytes && fread(f->bytes, 1, f->len, fp) == f->len;
    fclose(fp);
    return ok ? 0 : fail("cannot read '%s'", f->path);
}

ref_model *ref_open(const char *path) {
    file f = {.path = path};
    ref_model *m = calloc(1, sizeof *m);
    int bad = !m ? fail("no memory for a model") : 0;
    bad = bad || read_bytes(&f) || read_header(&f) || load_model(m, &f);
    free(f.bytes);
    free(f.keys);
    free(f.tensors);
    if (!bad) return m;
    ref_free(m);
    return NULL;
}

/* w [n_out, n_in] += scale * b [n_out, rank] a [rank, n_in], when the adapter has the pair. */
static int add_pair(float *w, const file *f, int n_out, int n_in, double alpha, const char *stem,
                    int layer) {
    char name[96];
    float *a = NULL, *b = NULL;
    snprintf(name, sizeof name, "blk.%d.%s.weight.lora_a", layer, stem);
    const tensor *t = find_tensor(f, name);
    if (!t) return 0;
    int rank = (int)t->dims[1];
    double scale = alpha != 0 ? alpha / rank : 1;
    int bad = load(&a, f, rank, n_in, 0, name);
    snprintf(name, sizeof name, "blk.%d.%s.weight.lora_b", layer, stem);
    bad = bad || load(&b, f, n_out, rank, 0, name);
    for (int o = 0; o < n_out && !bad; o++)
        for (int i = 0; i < n_in; i++) {
            double sum = 0;
            for (int r = 0; r < rank; r++) sum += (double)b[o * rank + r] * a[r * n_in + i];
            w[(int64_t)o * n_in + i] += (float)(scale * sum);
        }
    free(a);
    free(b);
    return bad;
}

int ref_add_lora(ref_model *m, const char *path) {
    const ref_dims *d = &m->d;
    file f = {.path = path};
    int E = d->width, QD = d->heads * d->head_size, KD = d->kv_heads * d->head_size;
    int bad = read_bytes(&f) || read_header(&f);
    const key *k = bad ? NULL : find_key(&f, "adapter.lora.alpha");
    double alpha = k ? k->number : 0;
    for (int i = 0; i < d->layers && !bad; i++) {
        ref_layer *l = &m->layer[i];
        bad = add_pair(l->wq, &f, QD, E, alpha, "attn_q", i) ||
              add_pair(l->wk, &f, KD, E, alpha, "attn_k", i) ||
              add_pair(l->wv, &f, KD, E, alpha, "attn_v", i) ||
              add_pair(l->wo, &f, E, QD, alpha, "attn_output", i) ||
              add_pair(l->w_gate, &f, d->ffn, E, alpha, "ffn_gate", i) ||
              add_pair(l->w_up, &f, d->ffn, E, alpha, "ffn_up", i) ||
              add_pair(l->w_down, &f, E, d->ffn, alpha, "ffn_down", i);
    }
    free(f.bytes);
    free(f.keys);
    free(f.tensors);
    return bad ? -1 : 0;
}

void ref_free(ref_model *m) {
    if (!m) return;
    for (int i = 0; i < m->d.layers && m->layer; i++) {
        ref_layer *l = &m->layer[i];
        float *all[] = {l->attn_norm, l->wq,       l->bq,     l->wk,     l->bk,
                        l->wv,        l->bv,       l->q_norm, l->k_norm, l->wo,
                        l->bo,        l->ffn_norm, l->w_gate, l->w_up,   l->w_down,
                        l->b_gate,    l->b_up,     l->b_down};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++) free(all[j]);
    }
    if (!m->d.tied) free(m->output);
    free(m->embedding);
    free(m->output_norm);
    free(m->rope_factors);
    free(m->speed);
    free(m->layer);
    free(m);
}
