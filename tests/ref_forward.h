/* The whole forward pass once more, in plain C that shares nothing with the engine: the oracle that
 * every path of Quire is compared with. It knows no pages, no cache, no threads and no SIMD: a
 * sequence goes in, all its logits come out, every product and sum is taken in double.
 *
 *     ref_model *m = ref_open("model.gguf");
 *     if (!m) fail("%s", ref_error());
 *     float *logits = malloc(n * ref_dims_of(m)->vocab * sizeof *logits);
 *     ref_forward(m, ids, NULL, n, logits, NULL);
 *     ref_free(m);
 *
 * Attention is causal, so row t of the logits depends on ids[0..t] alone. A greedy continuation is
 * hence checked with one call: feed prompt + continuation and compare ref_argmax of each row with
 * the next id.
 *
 * Reads GGUF v2 and v3 of the architectures llama, qwen2 and qwen3 with tensors in F32, F16, BF16,
 * Q8_0 and Q4_0, dequantised to float at open (4 bytes a weight). Files are trusted: what is
 * missing or not supported is refused, what is hostile is not defended against beyond reads outside
 * the file. Threads: a model is read-only after ref_open; ref_error is one a thread.
 */
#ifndef QU_TESTS_REF_FORWARD_H
#define QU_TESTS_REF_FORWARD_H

#include <stdint.h>

typedef struct ref_model ref_model;

typedef struct ref_dims {
    int layers, width, heads, kv_heads;
    int head_size;          /* of queries and keys */
    int value_size;         /* of values; mostly equal to head_size */
    int ffn, vocab, context;
    int rope_dims;          /* leading dims of a head that turn with position; the rest stay */
    int rope_neox;          /* 0: pairs (2i, 2i+1); 1: pairs (i, i + rope_dims / 2) */
    double rope_base, rms_eps;
    double rope_attention;  /* YaRN's factor on turned queries and keys; mostly 1 */
    int tied;               /* the output matrix is the embedding */
} ref_dims;

/* Load a model; NULL on any fault, told by ref_error. Free with ref_free (NULL is fine). */
ref_model *ref_open(const char *path);
void ref_free(ref_model *m);

/* Add a LoRA adapter to the weights in memory: W += alpha / r * B A. 0, or -1 with ref_error. */
int ref_add_lora(ref_model *m, const char *path);

/* The last fault of this thread's ref_ calls; never NULL. */
const char *ref_error(void);

/* Borrowed until ref_free. */
const ref_dims *ref_dims_of(const ref_model *m);

/* Run n tokens.
 *   ids    [n]    in   token ids, each in [0, vocab)
 *   pos    [n]    in   positions, ascending, gaps allowed; NULL = 0..n-1
 *   logits [n,V]  out  the logits after every token, or NULL
 *   last   [V]    out  the logits after the last token, or NULL
 * With logits NULL only the last row meets the output matrix. Returns 0, or -1 with ref_error: an
 * id out of range, n < 1, positions not ascending, no memory. */
int ref_forward(const ref_model *m, const int32_t *ids, const int32_t *pos, int n, float *logits,
                float *last);

/* Index of the largest of n values; the lowest index among equals. */
int ref_argmax(const float *x, int n);

#endif
