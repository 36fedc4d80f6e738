#include "kernels/tile.h"

#include <stdatomic.h>
#include <string.h>

#include "kernels/isa.h"
#include "kernels/quant.h"
#include "kernels/simd.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A process asks Linux once for the registers' 8 KiB; its later threads have them, too. */
static bool ask(void)
{
    enum { LEAF = 7, BF16 = 1 << 22, TILE = 1 << 24, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;
    return __get_cpuid_count(LEAF, 0, &a, &b, &c, &d) && (d & BF16) && (d & TILE) &&
           syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#else
static bool ask(void)
{
    return false;
}
#endif

bool qu_tile_has_unit(void)
{
    static atomic_int known = -1;
    int is = atomic_load_explicit(&known, memory_order_relaxed);
    if (is < 0) atomic_store(&known, is = ask());
    return is;
}

const qu_tile_ops *qu_tile(void)
{
#if defined(__x86_64__)
    if (qu_isa_current() == QU_ISA_AVX512 && qu_tile_has_unit()) return &qu_tile_amx;
#endif
    return &qu_tile_plain;
}

/* x rounded, and where rest is not NULL what that left of it. */
static void split_one(uint16_t *high, uint16_t *rest, float x)
{
    *high = qu_f32_to_bf16(x);
    if (rest) *rest = qu_f32_to_bf16(x - qu_bf16_to_f32(*high));
}

static void pack_w(uint16_t *tile_row, uint16_t *rest, const float *row, int32_t k)
{
    for (int32_t i = 0; i < qu_tile_runs(k) * QU_TILE_RUN; i++) {
        int64_t at = (int64_t)i / QU_TILE_RUN * QU_TILE_SIZE + i % QU_TILE_RUN;
        split_one(tile_row + at, rest ? rest + at : NULL, i < k ? row[i] : 0);
    }
}

static void pack_x(uint16_t *tile, uint16_t *rest, const float *x, int64_t ldx, int32_t n_rows,
                   int32_t k)
{
    for (int32_t i = 0; i < qu_tile_runs(k) * QU_TILE_RUN; i++)
        for (int32_t t = 0; t < QU_TILE; t++) {
            int64_t at = (int64_t)i / 2 * 2 * QU_TILE + 2 * t + i % 2;
            split_one(tile + at, rest ? rest + at : NULL, i < k && t < n_rows ? x[t * ldx + i] : 0);
        }
}

static void add_runs(float *c, const uint16_t *w, const uint16_t *x, int32_t runs)
{
    for (int32_t r = 0; r < runs; r++, w += QU_TILE_SIZE, x += QU_TILE_SIZE)
        for (int i = 0; i < QU_TILE; i++)
            for (int t = 0; t < QU_TILE; t++) {
                float even = 0, odd = 0;
                for (int p = 0; p < QU_TILE_RUN / 2; p++) {
                    const uint16_t *a = w + i * QU_TILE_RUN + 2 * p, *b = x + (p * QU_TILE + t) * 2;
                    even += qu_bf16_to_f32(a[0]) * qu_bf16_to_f32(b[0]);
                    odd += qu_bf16_to_f32(a[1]) * qu_bf16_to_f32(b[1]);
                }
                c[i * QU_TILE + t] += even + odd;
            }
}

/* The same with what rounding left of both, but for the product of what it left. */
static void add_split_runs(float *c, const uint16_t *w, const uint16_t *w_rest, const uint16_t *x,
                           const uint16_t *x_rest, int32_t runs)
{
    for (int64_t at = 0; at < (int64_t)runs * QU_TILE_SIZE; at += QU_TILE_SIZE) {
        add_runs(c, w + at, x + at, 1);
        add_runs(c, w_rest + at, x + at, 1);
        add_runs(c, w + at, x_rest + at, 1);
    }
}

static void product(const qu_tile_sums *to, const uint16_t *w, const uint16_t *w_rest,
                    const uint16_t *x, const uint16_t *x_rest, int64_t x_step, int32_t runs)
{
    enum { C = QU_TILE * QU_TILE };
    for (int32_t i = 0; i < (to->n + 2 * QU_TILE - 1) / (2 * QU_TILE) * 4; i++) {
        int64_t at = (int64_t)(i / 2) * runs * QU_TILE_SIZE, t = i % 2 * x_step;
        float *c = to->sums + i * C;
        if (to->first) memset(c, 0, C * sizeof *c);
        if (w_rest)
            add_split_runs(c, w + at, w_rest + at, x + t, x_rest + t, runs);
        else
            add_runs(c, w + at, x + t, runs);
    }
    for (int32_t t = 0; to->last && t < to->n_rows; t++)
        for (int32_t i = 0; i < to->n; i++)
            to->y[t * to->ldy + i] = to->sums[(i / QU_TILE * 2 + t / QU_TILE) * C +
                                              i % QU_TILE * QU_TILE + t % QU_TILE] +
                                     (to->bias ? to->bias[i] : 0);
}

/* --- attention --- */

VF void split_pair(uint16_t *high, uint16_t *low, vf a, vf b)
{
    for (int i = 0; i < QU_TILE_RUN; i++) split_one(high + i, low + i, i < 16 ? a[i] : b[i - 16]);
}

static uint16_t upper(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return (uint16_t)(u >> 16);
}

VF void cut_pair(uint16_t *high, uint16_t *low, vf a, vf b)
{
    for (int i = 0; i < QU_TILE_RUN; i++) {
        float x = i % 2 ? b[i / 2] : a[i / 2];
        high[i] = upper(x);
        low[i] = upper(x - qu_bf16_to_f32(high[i]));
    }
}

VF void split_rows(uint16_t *high, uint16_t *low, vf a, vf b)
{
    for (int i = 0; i < QU_TILE_RUN; i++) split_one(high + i, low + i, i % 2 ? b[i / 2] : a[i / 2]);
}

/* c [32, 16 or 32] = (a_high + a_low) (b_high + b_low), but for the low parts' product. */
VF void split_product(float *c, int64_t ldc, const uint16_t *a_high, const uint16_t *a_low,
                      const uint16_t *b_high, const uint16_t *b_low, int64_t b_step, int32_t runs,
                      bool both)
{
    for (int t = 0; t < (both ? 4 : 2); t++) {
        float sums[QU_TILE * QU_TILE] = {0};
        int64_t a = (int64_t)(both ? t / 2 : t) * runs * QU_TILE_SIZE,
                b = both ? t % 2 * b_step : 0;
        add_split_runs(sums, a_high + a, a_low + a, b_high + b, b_low + b, runs);
        for (int i = 0; i < QU_TILE; i++)
            memcpy(c + ((both ? t / 2 : t) * QU_TILE + i) * ldc + (both ? t % 2 * QU_TILE : 0),
                   sums + i * QU_TILE, QU_TILE * sizeof *sums);
    }
}

static void tiles_begin(void) {}
static void tiles_end(void) {}
#include "kernels/attend_tiles_simd.h"

const qu_tile_ops qu_tile_plain = {pack_w, pack_x, product, tiles_queries, tiles_page};
