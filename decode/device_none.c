/* What decode/device.h means in a build without CUDA. */
#include "decode/device.h"

#include <string.h>

qu_status qu_device_attach(qu_model *m, const char *which, qu_err *err)
{
    (void)m;
    if (!strcmp(which, "cpu") || !strcmp(which, "auto")) return QU_OK;
    if (strcmp(which, "cuda") && strncmp(which, "cuda:", 5))
        return qu_fail(err, QU_ERR_ARG, "unknown device '%s': auto, cpu, cuda or cuda:N", which);
    return qu_fail(err, QU_ERR_NOGPU, "no device '%s': this build has no CUDA, see make CUDA=1",
                   which);
}

qu_status qu_device_wait(const qu_model *m, qu_err *err)
{
    (void)m, (void)err;
    return QU_OK;
}

const char *qu_device_name(const qu_model *m)
{
    (void)m;
    return NULL;
}

void qu_device_numerics(const qu_model *m, char out[48])
{
    (void)m;
    qu_context_numerics(out);
}

void qu_device_close(struct qu_device *d)
{
    (void)d;
}

qu_status qu_device_begin(qu_context *c, qu_err *err)
{
    (void)c;
    return qu_fail(err, QU_ERR_NOGPU, "no device: this build has no CUDA");
}
