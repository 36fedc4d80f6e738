/* Drafts on a device: runs under tests/emulate; unit_cuda_draft_device.c is the same on a
 * device. */
#define ON_DEVICE
#include "tests/unit_draft.c"
