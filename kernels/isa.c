#include "kernels/isa.h"

#include <stdatomic.h>

static atomic_int forced = -1;

static bool has(qu_isa isa)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    /* Every processor with AVX2 converts halves (F16C), which clang 14 cannot be asked about. */
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (isa == QU_ISA_AVX2) return avx2;
    if (isa == QU_ISA_AVX512)
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vnni");
#endif
    return isa == QU_ISA_PLAIN;
}

qu_isa qu_isa_current(void)
{
    int isa = atomic_load_explicit(&forced, memory_order_relaxed);
    if (isa >= 0) return (qu_isa)isa;
    isa = has(QU_ISA_AVX512) ? QU_ISA_AVX512 : has(QU_ISA_AVX2) ? QU_ISA_AVX2 : QU_ISA_PLAIN;
    atomic_store(&forced, isa);
    return (qu_isa)isa;
}

bool qu_isa_force(qu_isa isa)
{
    if (isa < 0 || isa >= QU_ISA_COUNT || !has(isa)) return false;
    atomic_store(&forced, (int)isa);
    return true;
}

const char *qu_isa_name(qu_isa isa)
{
    static const char *const names[QU_ISA_COUNT] = {"plain", "avx2", "avx512"};
    return isa >= 0 && isa < QU_ISA_COUNT ? names[isa] : "unknown";
}
