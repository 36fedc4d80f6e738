/* Slices on their way in and out of a device, and its live rows. */
#include "tests/cuda_scene.h"

static double check_encode(void)
{
    double bad = 0;
    for (int i = 0; i < N_SHAPES; i++)
        for (int codec = 0; codec < QU_CODEC_COUNT; codec++) {
            enum { PAGES = 3, ROWS = 150 };
            static const int32_t first[PAGES] = {0, 1, 129}, n[PAGES] = {1, 128, 21};
            int32_t g_n = shapes[i].g, d = shapes[i].d, ld = g_n * d;
            int64_t stride = (qu_codec_bytes(codec, P, d) + 63) / 64 * 64;
            float *k = randoms(ROWS * ld, 5), *v = randoms(ROWS * ld, 1);
            k[ld + 3] = NAN, v[3 * ld] = INFINITY, k[2 * ld] = 1e6f;
            char *got = host(stride * PAGES * g_n), *want = host(stride);
            void *out = room(stride * PAGES * g_n);
            TEST_OK(qu_cuda_zero(cu, QU_CUDA_COMPUTE, out, stride * PAGES * g_n, err));
            TEST_OK(qu_cuda_encode(cu, out, stride, codec, put(k, ROWS * ld * 4),
                                   put(v, ROWS * ld * 4), put(first, sizeof first),
                                   put(n, sizeof n), PAGES, g_n, d, err));
            get(got, out, stride * PAGES * g_n);
            for (int p = 0; p < PAGES; p++)
                for (int32_t g = 0; g < g_n; g++) {
                    qu_codec_encode(want, codec, k + first[p] * ld + g * d, ld,
                                    v + first[p] * ld + g * d, ld, n[p], d);
                    if (codec == QU_CODEC_F16)
                        continue; /* a NaN's bits are free: compared by value below */
                    bad = larger(bad,
                                 differing(got + (p * g_n + g) * stride, want,
                                           qu_codec_bytes(codec, n[p], d)),
                                 "%s, head size %d, %d tokens", qu_codec_name(codec), d, n[p]);
                }
            for (int p = 0; codec == QU_CODEC_F16 && p < PAGES; p++) {
                qu_codec_encode(want, codec, k + first[p] * ld, ld, v + first[p] * ld, ld, n[p], d);
                const uint16_t *a = (const void *)(got + p * g_n * stride), *b = (const void *)want;
                for (int32_t j = 0; j < 2 * n[p] * d; j++)
                    bad = larger(bad, a[j] != b[j] && !isnan(qu_f16_to_f32(b[j])),
                                 "f16, head size %d, number %d", d, j);
            }
            drop_all();
        }
    return bad;
}

static double check_live(void)
{
    double w = 0;
    for (int i = 0; i < N_SHAPES; i++) {
        const heads *s = &shapes[i];
        enum { T = 3 };
        page p;
        make_page(&p, s, QU_CODEC_F16, 20, 777);
        p.device = placed_page(&p, s);
        int32_t own[T] = {0, 0, 0}, at[T] = {0, 7, 19}, d = s->d;
        float *q = randoms(T * s->h * d, 1), *k = randoms(T * s->g * d, 1),
              *v = randoms(T * s->g * d, 1);
        float *got = host(T * s->h * d * 4), scale = 1 / sqrtf((float)d);
        void *dq = put(q, T * s->h * d * 4);
        qu_cuda_rows rows = {put(&p.device, sizeof p.device), put(own, sizeof own),
                             put(at, sizeof at), T, s->h, s->g, d, NULL, device_rope(s)};
        TEST_OK(qu_cuda_place_rows(cu, dq, put(k, T * s->g * d * 4), put(v, T * s->g * d * 4),
                                   &rows, 0, scale, 1.1f, err));
        get(got, dq, T * s->h * d * 4);
        qu_rope *r = rope_of(s);
        float *c = host(d / 2 * P * 4), *sn = host(d / 2 * P * 4);
        qu_rope_angles(r, 0, P, P, c, sn);
        for (int32_t t = 0; t < T; t++) {
            for (int32_t h = 0; h < s->h; h++) {
                float *x = q + (t * s->h + h) * d;
                qu_rope_vector(x, r, p.cos, p.sin, p.n_pad, at[t]);
                for (int32_t j = 0; j < d; j++) x[j] *= j < s->n_dims ? scale * 1.1f : scale;
            }
            for (int32_t g = 0; g < s->g; g++) {
                void *slices[8];
                uint16_t row[2][QU_MAX_HEAD_SIZE];
                get(slices, p.device.slices, s->g * (int64_t)sizeof(void *));
                get(row[0], (uint16_t *)slices[g] + at[t] * d, d * 2);
                get(row[1], (uint16_t *)slices[g] + (P + at[t]) * d, d * 2);
                qu_rope_vector(k + (t * s->g + g) * d, r, c, sn, P, at[t]);
                for (int32_t j = 0; j < d; j++) {
                    int32_t of = (t * s->g + g) * d + j;
                    bool off = row[0][j] != qu_f32_to_f16(k[of]);
                    off |= row[1][j] != qu_f32_to_f16(v[of]);
                    w = larger(w, off, "key, value, head size %d, token %d, KV head %d, dim %d", d,
                               t, g, j);
                }
                outputs = (qu_hash){0}; /* addresses differ between runs */
            }
        }
        w = larger(w, worst(got, q, T * s->h * d), "queries, head size %d", d);
        qu_rope_free(r);
        drop_all();
    }
    return w;
}

/* --- the table --- */

static const parity_entry TABLE[] = {
    {"encode", "qu_codec_encode", 0, check_encode},
    {"place_rows", "qu_rope_vector, qu_f32_to_f16", 0, check_live},
};

int main(void)
{
    return parity_main(TABLE, (int)(sizeof TABLE / sizeof *TABLE));
}
