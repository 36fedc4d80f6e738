/* The same on a device; skips itself where there is none. */
#include "tests/unit_cuda_draft.c"
