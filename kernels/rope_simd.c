#include "kernels/ops_simd.h"

#include "kernels/simd.h"

#if defined(__AVX512F__)
#include "kernels/transpose_simd.h"

/* to[x][y] = from[y][x] for sixteen of each. */
static void transpose_16(float *to, int64_t ldt, const float *from, int64_t ldf)
{
    __m512 r[16];
    for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_ps(from + i * ldf);
    transpose_registers(r);
    for (int i = 0; i < 16; i++) _mm512_storeu_ps(to + i * ldt, r[i]);
}
#endif

/* Blocks of 16 x 16 through a small buffer: reads and writes are whole lines. */
static void transpose(float *kt, int32_t n_pad, const float *k, int32_t n, int32_t d)
{
    for (int32_t j = 0; j < n_pad; j += QU_LANES) {
        int32_t rows = n - j < 0 ? 0 : n - j < QU_LANES ? n - j : QU_LANES;
        for (int32_t c = 0; c < d; c += QU_LANES) {
            int32_t cols = d - c < QU_LANES ? d - c : QU_LANES;
#if defined(__AVX512F__)
            if (rows == QU_LANES && cols == QU_LANES) {
                transpose_16(kt + (int64_t)c * n_pad + j, n_pad, k + (int64_t)j * d + c, d);
                continue;
            }
#endif
            float block[QU_LANES][QU_LANES] = {{0}};
            if (rows == QU_LANES && cols == QU_LANES) {
                for (int y = 0; y < QU_LANES; y++)
                    for (int x = 0; x < QU_LANES; x++)
                        block[x][y] = k[(int64_t)(j + y) * d + c + x];
            } else {
                for (int y = 0; y < rows; y++)
                    for (int x = 0; x < cols; x++) block[x][y] = k[(int64_t)(j + y) * d + c + x];
            }
            for (int x = 0; x < cols; x++)
                memcpy(kt + (int64_t)(c + x) * n_pad + j, block[x], sizeof block[x]);
        }
    }
}

/* Two products and one sum, each rounded, so that plain C and every vector set agree to the bit. */
static void rotate(float *a, float *b, const float *c, const float *s, int32_t n_pad)
{
    for (int32_t j = 0; j < n_pad; j += QU_LANES) {
        vf x = vf_load(a + j), y = vf_load(b + j), cc = vf_load(c + j), ss = vf_load(s + j);
        vf_store(a + j, vf_sub(vf_mul(x, cc), vf_mul(y, ss)));
        vf_store(b + j, vf_add(vf_mul(x, ss), vf_mul(y, cc)));
    }
}

const qu_rope_ops QU_ISA_NAME(qu_rope_ops) = {transpose, rotate};
