/* The kinds of document product, one after the other, for tests of whole models. */
#ifndef QU_TESTS_PREFILL_H
#define QU_TESTS_PREFILL_H

#include "kernels/linear.h"

/* Is what documents are multiplied by rounded to bf16 now? */
static inline bool test_prefill_is_rounded(void)
{
    qu_prefill_kind kind = qu_linear_prefill_kind();
    return kind == QU_PREFILL_DNNL_BF16 || kind == QU_PREFILL_AMX_BF16;
}

/* Run a test once with each kind that this build and processor have. */
static inline void test_each_prefill(void (*test)(void **state), void **state)
{
    for (int kind = 0; kind < QU_PREFILL_COUNT; kind++) {
        if (!qu_linear_force_prefill((qu_prefill_kind)kind)) continue;
        print_message("documents by %s\n", qu_linear_document_name());
        test(state);
    }
    qu_linear_force_prefill(QU_PREFILL_COUNT);
}

#endif
