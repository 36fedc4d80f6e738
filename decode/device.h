/* Where a model runs. Contexts of a model that was put on a device run there, behind the same
 * interface (decode/context.h); everything else runs on this processor.
 *
 *     QU_TRY(qu_model_open(&m, path, err));
 *     QU_TRY(qu_device_attach(m, "auto", err));        // before the first context
 *     qu_context_create(&c, m, pool, codec, err);      // on the device, if there is one
 *     qu_model_close(m);                               // leaves it again, after its contexts
 *
 * On a device: weights lie there as stored, documents are multiplied by cuBLAS in bf16, questions
 * and generated tokens by kernels on the stored blocks, and keys and values are halves, live ones
 * too. Not on a device: LoRA adapters, repair, policies but dense and multipole, and measuring a
 * policy; each is refused by name (QU_ERR_UNSUPPORTED).
 */
#ifndef QU_DECODE_DEVICE_H
#define QU_DECODE_DEVICE_H

#include "base/status.h"
#include "decode/context.h"
#include "decode/model.h"

/* Put m on a device. which: "cpu" (does nothing), "cuda" or "cuda:N", or "auto": the first device
 * that can take the model, else none. Errors, not with "auto": QU_ERR_ARG (another word),
 * QU_ERR_NOGPU (none, too old, a build without CUDA), QU_ERR_NOMEM (the weights do not fit),
 * QU_ERR_UNSUPPORTED, QU_ERR_GPU. */
qu_status qu_device_attach(qu_model *m, const char *which, qu_err *err);

/* Until the device has done all that it was given; at once on this processor. Errors:
 * QU_ERR_GPU. */
qu_status qu_device_wait(const qu_model *m, qu_err *err);

/* "NVIDIA H200", or NULL on this processor. */
const char *qu_device_name(const qu_model *m);

/* qu_context_numerics for contexts of m: "2/cuda3-sm90/cublas-bf16" on a device. */
void qu_device_numerics(const qu_model *m, char out[48]);

/* For decode/ alone: leave the device (NULL is fine); make a new context run on its model's. */
void qu_device_close(struct qu_device *d);
qu_status qu_device_begin(qu_context *c, qu_err *err);

#endif
