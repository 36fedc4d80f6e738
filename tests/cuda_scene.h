/* Pages on both sides, the CPU's and the device's, for the parity tables of pages, attention and
 * choosing. */
#ifndef QU_TESTS_CUDA_SCENE_H
#define QU_TESTS_CUDA_SCENE_H

#include "kernels/attend.h"
#include "kernels/codec.h"
#include "kernels/quant.h"
#include "kernels/rope.h"
#include "tests/cuda_parity.h"

typedef struct heads {
    int32_t h, g, d, n_dims;
    bool halves;
} heads;

static const heads shapes[] = {
    {4, 2, 64, 64, true}, {7, 1, 128, 128, false}, {3, 3, 80, 64, true},
    {8, 2, 96, 96, true}, {4, 4, 8, 8, false},     {4, 1, 16, 16, true},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, P = QU_PAGE_TOKENS };

/* A page on both sides: its slices of one layer. */
typedef struct page {
    int32_t n, n_pad;
    int64_t pos;
    float *cos, *sin;               /* angles [D/2 + 1, n_pad] of its positions */
    uint16_t **kt, **vh;            /* [G] the CPU's resident form at position 0 */
    qu_cuda_page device;            /* as stored */
} page;

static inline qu_rope *rope_of(const heads *s)
{
    qu_rope *r;
    qu_rope_config c = {.n_dims = s->n_dims, .halves = s->halves, .base = 10000, .linear = 1};
    TEST_OK(qu_rope_create(&r, &c, err));
    return r;
}

/* How heads turn on the device. */
static inline qu_cuda_rope device_rope(const heads *s)
{
    float *c = host(s->d / 2 * P * 4), *sn = host(s->d / 2 * P * 4), *places = host(s->d * P * 4);
    qu_rope *r = rope_of(s);
    qu_rope_angles(r, 0, P, P, c, sn);
    qu_cuda_places(places, c, sn, s->n_dims, s->d);
    qu_rope_free(r);
    return (qu_cuda_rope){s->n_dims, s->halves, put(places, s->d * P * 4)};
}

/* A page of the device with these slices [G] of bytes each. */
static inline qu_cuda_page device_page(const page *p, const heads *s, int codec,
                                       char *const *slices, int64_t bytes)
{
    int64_t angles = (s->d / 2 + 1) * p->n_pad * 4;
    void **table = room(s->g * (int64_t)sizeof *table);
    qu_cuda_page there = {table, put(p->cos, angles), put(p->sin, angles), p->n, p->n_pad, codec};
    for (int32_t g = 0; g < s->g; g++) {
        qu_cuda_slice one = {put(slices[g], bytes), room(bytes), there.slices + g, bytes};
        TEST_OK(qu_cuda_place_slices(cu, QU_CUDA_COMPUTE, put(&one, sizeof one), 1, err));
    }
    return there;
}

/* Encode random keys and values; make them resident on the CPU. */
static inline void make_page(page *p, const heads *s, int codec, int32_t n, int64_t pos)
{
    int32_t d = s->d, dp = qu_attend_pad(d), n_pad = (n + 15) / 16 * 16;
    qu_rope *r = rope_of(s);
    *p = (page){.n = n, .n_pad = n_pad, .pos = pos};
    p->cos = host((d / 2 + 1) * n_pad * 4);
    p->sin = host((d / 2 + 1) * n_pad * 4);
    p->kt = host(s->g * (int64_t)sizeof *p->kt);
    p->vh = host(s->g * (int64_t)sizeof *p->vh);
    float *c = host((d / 2 + 1) * n_pad * 4), *sn = host((d / 2 + 1) * n_pad * 4);
    qu_rope_angles(r, pos, n, n_pad, p->cos, p->sin);
    qu_rope_angles(r, 0, n, n_pad, c, sn);
    int64_t bytes = qu_codec_bytes(codec, n, d);
    char *slices[8];
    for (int32_t g = 0; g < s->g; g++) {
        float *k = randoms(n * d, 1), *v = randoms(n * d, 1);
        float *kt = host(d * n_pad * 4), *vp = host(n_pad * dp * 4);
        slices[g] = host(bytes);
        for (int32_t i = 0; i < n * d; i++) v[i] += 1;
        qu_codec_encode(slices[g], codec, k, d, v, d, n, d);
        qu_codec_decode(k, v, d, codec, slices[g], n, d);
        for (int32_t i = 0; i < n; i++) memcpy(vp + i * dp, v + i * d, (size_t)d * 4);
        qu_rope_page(kt, n_pad, k, n, d, r, c, sn, n_pad);
        p->kt[g] = host(d * n_pad * 2);
        p->vh[g] = host(n_pad * dp * 2);
        qu_attend_halve(p->kt[g], kt, d * n_pad);
        qu_attend_halve(p->vh[g], vp, n_pad * dp);
    }
    p->device = device_page(p, s, codec, slices, bytes);
    qu_rope_free(r);
}

/* The same page with the CPU's halves on the device: what attention makes of the stored one. */
static inline qu_cuda_page placed_page(const page *p, const heads *s)
{
    int32_t d = s->d, dp = qu_attend_pad(d);
    char *slices[8];
    for (int32_t g = 0; g < s->g; g++) {
        uint16_t *h = host(2 * P * d * 2);
        for (int32_t i = 0; i < p->n * d; i++) {
            h[i] = p->kt[g][i % d * p->n_pad + i / d];
            h[P * d + i] = p->vh[g][i / d * dp + i % d];
        }
        slices[g] = (char *)h;
    }
    return device_page(p, s, QU_CUDA_PLACED, slices, 2 * P * d * 2);
}

#endif
