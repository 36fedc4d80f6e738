/* The inner kernels of attend.c, one table an instruction set. Private to kernels/ and its tests.
 * */
#ifndef QU_KERNELS_ATTEND_SIMD_H
#define QU_KERNELS_ATTEND_SIMD_H

#include "kernels/attend.h"
#include "kernels/isa.h"

typedef struct qu_attend_ops {
    void (*page)(qu_attend_state *part, const float *q, int64_t ldq, int32_t rows, int32_t d,
                 const qu_attend_kv *kv, const int32_t *visible, float *scratch);
    void (*mass)(float *w, float *m, float *l, const float *q, int64_t ldq, int32_t rows, int32_t d,
                 const qu_attend_kv *kv, const float *q2, const void *spread);
    void (*product)(float *c, const float *a, const float *b, int32_t rows, int32_t depth,
                    int32_t cols);
    void (*halve)(uint16_t *out, const float *x, int64_t n);
    void (*merge)(qu_attend_state *acc, const qu_attend_state *part, int32_t rows, int32_t dp);
} qu_attend_ops;

QU_ISA_DECLARE(qu_attend_ops, qu_attend_ops);

#endif
