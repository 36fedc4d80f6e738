/* Which instruction set the kernels use in this process: the numerics class rests on it.
 *
 * Each kernels/x_simd.c is compiled once for every set and exports a table x_ops_<set>; the op's
 * own .c picks with QU_ISA_PICK. A test forces each set that the processor has in turn.
 */
#ifndef QU_KERNELS_ISA_H
#define QU_KERNELS_ISA_H

#include <stdbool.h>

typedef enum qu_isa {
    QU_ISA_PLAIN = 0,  /* no intrinsics, no fused multiply-add: any processor */
    QU_ISA_AVX2 = 1,   /* AVX2, FMA, F16C */
    QU_ISA_AVX512 = 2, /* AVX-512 F, BW, VL, DQ, VNNI */
    QU_ISA_COUNT
} qu_isa;

/* The set in use: the best one the processor has, unless forced. */
qu_isa qu_isa_current(void);

/* Use that set from now on, for tests and for comparing classes; false when the processor lacks it.
 * Not while kernels run in other threads. */
bool qu_isa_force(qu_isa isa);

/* "plain", "avx2", "avx512". */
const char *qu_isa_name(qu_isa isa);

#if defined(__x86_64__)
#define QU_ISA_PICK(stem)                                                                          \
    (qu_isa_current() == QU_ISA_AVX512 ? &stem##_avx512                                            \
     : qu_isa_current() == QU_ISA_AVX2 ? &stem##_avx2                                              \
                                       : &stem##_plain)
#define QU_ISA_DECLARE(type, stem) extern const type stem##_plain, stem##_avx2, stem##_avx512
#else
#define QU_ISA_PICK(stem) (&stem##_plain)
#define QU_ISA_DECLARE(type, stem) extern const type stem##_plain
#endif

#endif
