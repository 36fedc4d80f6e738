/* Any bytes as a GGUF file: its tables, the model and the tokenizer inside. See fuzz_testing.h.
 * tests/unit_gguf.c includes this file and feeds it mutations of real ones.
 */
#include <sys/mman.h>

#include "decode/context.h"
#include "decode/gguf.h"
#include "decode/model.h"
#include "decode/token.h"
#include "kernels/codec.h"
#include "tests/fuzz_testing.h"

/* Called before the file of n bytes is opened, and after, when nothing else was done, so that a
 * test can look at the memory that opening took. */
typedef void (*fuzz_stage)(bool opened, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void walk_tensors(const qu_gguf *g, uint64_t *sum)
{
    for (int64_t i = 0; i < qu_gguf_n_tensors(g); i++) {
        const qu_gguf_tensor *t = qu_gguf_tensor_at(g, i);
        *sum += t->data[0] + t->data[t->n_bytes - 1] + strlen(t->name);
        if (qu_gguf_find_tensor(g, t->name) != t) __builtin_trap();
        if (qu_type_bytes((int)t->type, t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3]) !=
            t->n_bytes)
            __builtin_trap();
    }
}

static void walk_tokenizer(const qu_gguf *g, uint64_t *sum)
{
    static const char text[] = "Once upon <s> a t\xC3\xAFme,\n\n  1234 \xE2\x96\x81\xFF<|im_end|>";
    qu_tokenizer *t;
    if (qu_tokenizer_create(&t, g, NULL) != QU_OK) return;
    qu_tokens v = {0};
    qu_buf out = {0};
    qu_detok d;
    qu_detok_init(&d, t, 0);
    if (qu_tokenize(t, &v, text, sizeof text - 1, QU_TOK_BOS | QU_TOK_SPECIAL, NULL) == QU_OK)
        for (int64_t i = 0; i < v.n; i++) {
            if (v.ids[i] < 0 || v.ids[i] >= qu_tokenizer_n_vocab(t)) __builtin_trap();
            if (v.at[i] < (i ? v.at[i - 1] : 0) || v.at[i] > (int64_t)sizeof text) __builtin_trap();
            qu_detok_add(&d, v.ids[i], &out, NULL);
        }
    *sum += out.len + qu_tokenizer_hash(t).lo + (uint64_t)qu_tokenizer_find(t, "<s>");
    qu_buf_free(&out);
    qu_tokens_free(&v);
    qu_tokenizer_free(t);
}

/* Open the file as a model and run two tokens through it, if there is room for them. */
static void walk_model(const char *path, size_t n, fuzz_stage stage, uint64_t *sum)
{
    qu_model *m;
    qu_context *c = NULL;
    int32_t ids[2] = {0, 0};
    if (stage) stage(false, n);
    qu_status st = qu_model_open(&m, path, NULL);
    if (stage) stage(true, n);
    if (st != QU_OK) return;
    float *logits = malloc((size_t)m->vocab * sizeof *logits);
    ids[1] = m->vocab - 1;
    if (logits && qu_context_create(&c, m, NULL, QU_CODEC_F16, NULL) == QU_OK &&
        qu_context_prefill(c, &(qu_page_tokens){ids, 2, 0}, 1, NULL, NULL) == QU_OK &&
        qu_context_step(c, ids, 2, 2, 1, logits, NULL) == QU_OK)
        *sum += logits[0] > 0;
    free(logits);
    qu_context_free(c);
    qu_model_close(m);
}

/* Open the n bytes as a file and use everything in it. */
static qu_status fuzz_one(const uint8_t *data, size_t n, fuzz_stage stage)
{
    char path[64];
    uint64_t sum = 0;
    int fd = memfd_create("fuzz_gguf", MFD_CLOEXEC);
    if (fd < 0) return QU_ERR_IO;
    for (size_t at = 0; at < n;) {
        ssize_t w = write(fd, data + at, n - at);
        if (w <= 0) break;
        at += (size_t)w;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    qu_gguf *g;
    walk_model(path, n, stage, &sum);
    if (stage) stage(false, n);
    qu_status st = qu_gguf_open(&g, path, NULL);
    if (stage) stage(true, n);
    if (st == QU_OK) {
        int32_t i32 = 0;
        float f32 = 0;
        walk_tensors(g, &sum);
        qu_gguf_get_i32(g, "llama.block_count", &i32, NULL);
        qu_gguf_get_f32(g, "llama.rope.freq_base", &f32, NULL);
        sum += qu_gguf_fingerprint(g).lo + (uint64_t)i32 + (f32 > 0);
        walk_tokenizer(g, &sum);
        qu_gguf_close(g);
    }
    close(fd);
    return sum == 1 ? QU_ERR_ARG : st; /* the sum must not be optimised away */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_one(data, n, NULL);
    return 0;
}
