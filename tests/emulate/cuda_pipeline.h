/* Stand-in: copies that are done when they are waited for, so that a missing wait shows as NaN. */
#ifndef QU_TESTS_EMULATE_CUDA_PIPELINE_H
#define QU_TESTS_EMULATE_CUDA_PIPELINE_H

#include "tests/emulate/cuda_runtime.h"

void __pipeline_memcpy_async(void *to, const void *from, size_t bytes);
void __pipeline_commit();
void __pipeline_wait_prior(size_t groups);

#endif
