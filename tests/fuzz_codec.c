/* Any bytes as a stored slice, a page's summary and blocks of weights: decoding touches nothing
 * beside them, and what is encoded again comes back finite. See fuzz_testing.h.
 *
 *   u8 codec + 4 * instruction set, u8 tokens - 1, u8 head size - 1; the bytes, repeated where
 *   there are too few
 */
#include <sys/mman.h>

#include "kernels/codec.h"
#include "kernels/isa.h"
#include "kernels/quant.h"
#include "kernels/summary.h"
#include "tests/fuzz_testing.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { FENCED_BYTES = 1 << 20, FENCES = 3, MAX_TOKENS = 40 };

/* n bytes that end where memory ends: what runs over dies at once, also in code that no sanitizer
 * has seen (kernels/ *_simd.c). */
static void *fenced(int which, size_t n)
{
    static char *room[FENCES];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!room[which]) {
        room[which] = mmap(NULL, FENCED_BYTES + page, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (room[which] == MAP_FAILED || mprotect(room[which] + FENCED_BYTES, page, PROT_NONE))
            abort();
    }
    assert_true(n <= FENCED_BYTES);
    return room[which] + FENCED_BYTES - n;
}

/* A copy in fence 0 of n of the input's bytes. */
static uint8_t *fill(const fuzz_in *in, size_t n)
{
    uint8_t *out = fenced(0, n);
    for (size_t i = 0; i < n; i++) out[i] = in->n ? in->p[i % in->n] : 0;
    return out;
}

static void check_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) assert_true(isfinite(x[i]));
}

/* Decode, encode in each codec, decode again. */
static void fuzz_slice(const fuzz_in *in, int codec, int32_t tokens, int32_t d)
{
    size_t each = (size_t)tokens * (size_t)d * sizeof(float);
    const uint8_t *slice = fill(in, (size_t)qu_codec_bytes(codec, tokens, d));
    float *k = fenced(1, each), *v = fenced(2, each);
    qu_codec_decode(k, v, d, codec, slice, tokens, d);
    for (int to = QU_CODEC_F16; to < QU_CODEC_COUNT; to++) {
        void *again =
            fenced(0, ((size_t)qu_codec_bytes(to, tokens, d) + 15) / 16 * 16); /* aligned */
        qu_codec_encode(again, to, k, d, v, d, tokens, d);
        qu_codec_decode(k, v, d, to, again, tokens, d);
        if (to == QU_CODEC_F16) continue;
        check_finite(k, (int64_t)tokens * d);
        check_finite(v, (int64_t)tokens * d);
    }
}

static void fuzz_summary(const fuzz_in *in, int32_t tokens, int32_t d)
{
    qu_summary s;
    int64_t c = qu_summary_clusters(tokens), bytes = qu_summary_bytes(tokens, d);
    const uint8_t *from = fill(in, (size_t)bytes);
    size_t cells = (size_t)c * (size_t)qu_summary_width(d);
    qu_summary_read(&s, from, tokens, d, fenced(0, cells * sizeof(float)));
    assert_true(s.count > from && s.count + c <= from + bytes);
}

static void fuzz_weights(const fuzz_in *in, int type)
{
    int64_t n = 512, bytes = qu_type_bytes(type, n); /* two of the largest blocks */
    if (bytes <= 0) return;
    qu_dequant_ref(fenced(1, (size_t)n * sizeof(float)), fill(in, (size_t)bytes), type, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz_in in = {p, n};
    int what = fuzz_u8(&in);
    int32_t tokens = fuzz_u8(&in) % MAX_TOKENS + 1, d = fuzz_u8(&in) + 1;
    if (qu_isa_force((qu_isa)(what / QU_CODEC_COUNT % QU_ISA_COUNT)))
        fuzz_slice(&in, what % QU_CODEC_COUNT, tokens, d);
    fuzz_summary(&in, tokens, d);
    fuzz_weights(&in, what);
    return 0;
}
