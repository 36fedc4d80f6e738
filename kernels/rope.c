#include "kernels/rope.h"

#include <math.h>
#include <stdlib.h>

#include "base/dims.h"
#include "kernels/ops_simd.h"

enum { STEP = 128 };

struct qu_rope {
    int32_t n_dims;
    bool halves;
    double *cos, *sin; /* [STEP, n_dims/2]: angles of positions 0..STEP-1 */
    double freq[];     /* [n_dims/2], and behind them the angles */
};

qu_status qu_rope_create(qu_rope **out, const qu_rope_config *config, qu_err *err)
{
    *out = NULL;
    int32_t n_dims = config->n_dims, half = n_dims / 2;
    if (n_dims < 0 || n_dims % 2 != 0 || n_dims > QU_MAX_HEAD_SIZE)
        return qu_fail(err, QU_ERR_ARG,
                       "cannot rotate %d dims of a head: give an even number up to %d", n_dims,
                       QU_MAX_HEAD_SIZE);
    if (!(config->base > 0) || !isfinite(config->base) || !(config->linear > 0) ||
        !isfinite(config->linear))
        return qu_fail(err, QU_ERR_ARG, "rope base %g and scale %g must be positive and finite",
                       (double)config->base, (double)config->linear);
    size_t bytes = sizeof(qu_rope) + (size_t)half * (1 + 2 * STEP) * sizeof(double);
    qu_rope *r = calloc(1, bytes);
    if (!r) return qu_fail_nomem(err, (long long)bytes);
    r->n_dims = n_dims;
    r->halves = config->halves;
    r->cos = r->freq + half;
    r->sin = r->cos + half * STEP;
    for (int32_t i = 0; i < half; i++) {
        double factor = config->factors ? config->factors[i] : 1;
        r->freq[i] = pow(config->base, -2.0 * i / n_dims) / (config->linear * factor);
        for (int32_t j = 0; j < STEP; j++) {
            r->cos[(int64_t)j * half + i] = cos(j * r->freq[i]);
            r->sin[(int64_t)j * half + i] = sin(j * r->freq[i]);
        }
    }
    *out = r;
    return QU_OK;
}

void qu_rope_free(qu_rope *r) { free(r); }

int32_t qu_rope_pairs(const qu_rope *r) { return r->n_dims / 2; }

void qu_rope_pair(const qu_rope *r, int32_t j, int32_t *a, int32_t *b)
{
    bool apart = r->halves && j < r->n_dims / 2;
    *a = apart ? j : 2 * j;
    *b = apart ? j + r->n_dims / 2 : 2 * j + 1;
}

void qu_rope_angles(const qu_rope *r, int64_t pos, int32_t n, int32_t ld, float *c, float *s)
{
    int32_t half = r->n_dims / 2;
    for (int32_t i = 0; i < half; i++) {
        float *ci = c + (int64_t)i * ld, *si = s + (int64_t)i * ld;
        double base_c = 1, base_s = 0;
        int64_t base = -1;
        for (int32_t j = 0; j < n; j++) {
            int64_t p = pos + j, b = p - p % STEP, off = (p % STEP) * half + i;
            if (b != base) {
                base = b;
                base_c = cos((double)b * r->freq[i]);
                base_s = sin((double)b * r->freq[i]);
            }
            ci[j] = (float)(base_c * r->cos[off] - base_s * r->sin[off]);
            si[j] = (float)(base_s * r->cos[off] + base_c * r->sin[off]);
        }
        for (int32_t j = n; j < ld; j++) {
            ci[j] = 1;
            si[j] = 0;
        }
    }
}

void qu_rope_vector(float *x, const qu_rope *r, const float *c, const float *s, int32_t ld,
                    int32_t j)
{
    int32_t half = r->n_dims / 2;
    for (int32_t i = 0; i < half; i++) {
        float *a = r->halves ? x + i : x + 2 * i, *b = r->halves ? a + half : a + 1;
        float cc = c[(int64_t)i * ld + j], ss = s[(int64_t)i * ld + j], u = *a, v = *b;
        float uc = u * cc, vs = v * ss, us = u * ss, vc = v * cc;
        *a = uc - vs;
        *b = us + vc;
    }
}

void qu_rope_page(float *kt, int32_t n_pad, const float *k, int32_t n, int32_t d, const qu_rope *r,
                  const float *c, const float *s, int32_t ld)
{
    const qu_rope_ops *ops = QU_ISA_PICK(qu_rope_ops);
    int32_t half = r->n_dims / 2;
    ops->transpose(kt, n_pad, k, n, d);
    for (int32_t i = 0; i < half; i++) {
        int32_t a = r->halves ? i : 2 * i, b = r->halves ? i + half : 2 * i + 1;
        ops->rotate(kt + (int64_t)a * n_pad, kt + (int64_t)b * n_pad, c + (int64_t)i * ld,
                    s + (int64_t)i * ld, n_pad);
    }
}
