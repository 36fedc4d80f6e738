/* Sixteen registers of sixteen lanes of four bytes, rows against columns. For AVX-512; private to
 * kernels/. */
#ifndef QU_KERNELS_TRANSPOSE_SIMD_H
#define QU_KERNELS_TRANSPOSE_SIMD_H

#include <immintrin.h>

/* r[x][y] becomes r[y][x]: pairs, fours, then quarters of registers. */
static inline __attribute__((always_inline)) void transpose_registers(__m512 r[16])
{
    __m512 t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + j + 2]);
            r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    for (int j = 0; j < 4; j++) /* r[4 i + j]: columns j, j + 4, j + 8, j + 12 of rows 4 i to + 3 */
        for (int i = 0; i < 2; i++) {
            t[4 * j + i] = _mm512_shuffle_f32x4(r[8 * i + j], r[8 * i + 4 + j], 0x88);
            t[4 * j + i + 2] = _mm512_shuffle_f32x4(r[8 * i + j], r[8 * i + 4 + j], 0xDD);
        }
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 2; i++) {
            r[j + 4 * i] = _mm512_shuffle_f32x4(t[4 * j + 2 * i], t[4 * j + 2 * i + 1], 0x88);
            r[j + 4 * i + 8] = _mm512_shuffle_f32x4(t[4 * j + 2 * i], t[4 * j + 2 * i + 1], 0xDD);
        }
}

#endif
