#include "kernels/dnnl_tile.h"

#ifdef QU_WITH_DNNL

#include <dnnl.h>
#include <omp.h>
#include <stdlib.h>

#include "base/dims.h"

/* A model has a handful of panel shapes; a list is enough. */
enum { MAX_KERNELS = 64 };

struct qu_dnnl_kernel {
    int32_t n, k;
    dnnl_memory_desc_t x, w, y, scratch;
    size_t scratch_bytes;
    dnnl_primitive_t primitive;
};

/* Version 3 hands descriptions out as pointers, version 2 as structs. */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t desc_ref;
#define DESC(d) (d)
static bool describe(dnnl_memory_desc_t *d, const dnnl_dims_t dims, dnnl_data_type_t type,
                     dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(d, 2, dims, type, tag) == dnnl_success;
}
static bool plan(dnnl_primitive_desc_t *p, const qu_dnnl_kernel *e, dnnl_primitive_attr_t attr,
                 dnnl_engine_t engine)
{
    return dnnl_matmul_primitive_desc_create(p, engine, e->x, e->w, NULL, e->y, attr) ==
           dnnl_success;
}
static bool describe_scratch(qu_dnnl_kernel *e, dnnl_primitive_desc_t p)
{
    desc_ref s = dnnl_primitive_desc_query_md(p, dnnl_query_scratchpad_md, 0);
    return dnnl_memory_desc_clone(&e->scratch, s) == dnnl_success;
}
static void forget(qu_dnnl_kernel *e)
{
    dnnl_memory_desc_t all[] = {e->x, e->w, e->y, e->scratch};
    for (int i = 0; i < 4; i++)
        if (all[i]) dnnl_memory_desc_destroy(all[i]);
    *e = (qu_dnnl_kernel){0};
}
#else
typedef const dnnl_memory_desc_t *desc_ref;
#define DESC(d) (&(d))
static bool describe(dnnl_memory_desc_t *d, const dnnl_dims_t dims, dnnl_data_type_t type,
                     dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(d, 2, dims, type, tag) == dnnl_success;
}
static bool plan(dnnl_primitive_desc_t *p, const qu_dnnl_kernel *e, dnnl_primitive_attr_t attr,
                 dnnl_engine_t engine)
{
    dnnl_matmul_desc_t op;
    return dnnl_matmul_desc_init(&op, &e->x, &e->w, NULL, &e->y) == dnnl_success &&
           dnnl_primitive_desc_create(p, &op, attr, engine, NULL) == dnnl_success;
}
static bool describe_scratch(qu_dnnl_kernel *e, dnnl_primitive_desc_t p)
{
    e->scratch = *dnnl_primitive_desc_query_md(p, dnnl_query_scratchpad_md, 0);
    return true;
}
static void forget(qu_dnnl_kernel *e)
{
    (void)e;
}
#endif

struct qu_dnnl {
    dnnl_engine_t engine;
    dnnl_data_type_t type;
    qu_dnnl_kernel kernels[MAX_KERNELS];
    int n_kernels;
};

bool qu_dnnl_can_bf16(void)
{
    /* what oneDNN was built to tell: its own ISA detection, so both agree */
    return dnnl_get_effective_cpu_isa() >= dnnl_cpu_isa_avx512_core_bf16;
}

bool qu_dnnl_bf16_is_faster(void)
{
#if defined(__x86_64__)
    return qu_dnnl_can_bf16() && __builtin_cpu_is("amd");
#else
    return false;
#endif
}

qu_status qu_dnnl_create(qu_dnnl **out, bool bf16, qu_err *err)
{
    qu_dnnl *d = *out = calloc(1, sizeof *d);
    if (!d) return qu_fail_nomem(err, sizeof *d);
    d->type = bf16 ? dnnl_bf16 : dnnl_f32;
    if (dnnl_engine_create(&d->engine, dnnl_cpu, 0) != dnnl_success) {
        free(d);
        *out = NULL;
        return qu_fail(err, QU_ERR_UNSUPPORTED, "cannot start oneDNN's processor engine");
    }
    return QU_OK;
}

void qu_dnnl_free(qu_dnnl *d)
{
    if (!d) return;
    for (int i = 0; i < d->n_kernels; i++) {
        dnnl_primitive_destroy(d->kernels[i].primitive);
        forget(&d->kernels[i]);
    }
    dnnl_engine_destroy(d->engine);
    free(d);
}

const qu_dnnl_kernel *qu_dnnl_find(const qu_dnnl *d, int32_t n, int32_t k)
{
    for (int i = 0; i < d->n_kernels; i++)
        if (d->kernels[i].n == n && d->kernels[i].k == k) return &d->kernels[i];
    return NULL;
}

qu_status qu_dnnl_want(qu_dnnl *d, int32_t n, int32_t k, qu_err *err)
{
    if (qu_dnnl_find(d, n, k)) return QU_OK;
    if (d->n_kernels == MAX_KERNELS)
        return qu_fail(err, QU_ERR_UNSUPPORTED, "model has more than %d matrix shapes",
                       MAX_KERNELS);
    omp_set_num_threads(1); /* the kernel is planned for the thread count of the planning thread */
    qu_dnnl_kernel *e = &d->kernels[d->n_kernels];
    dnnl_dims_t x = {QU_TILE_ROWS, k}, w = {k, n}, y = {QU_TILE_ROWS, n};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t desc = NULL;
    bool ok =
        describe(&e->x, x, d->type, dnnl_ab) && describe(&e->w, w, d->type, dnnl_ba) &&
        describe(&e->y, y, dnnl_f32, dnnl_ab) &&
        dnnl_primitive_attr_create(&attr) == dnnl_success &&
        dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) == dnnl_success &&
        plan(&desc, e, attr, d->engine) && describe_scratch(e, desc) &&
        dnnl_primitive_create(&e->primitive, desc) == dnnl_success;
    if (ok) {
        e->scratch_bytes = dnnl_memory_desc_get_size(DESC(e->scratch));
        e->n = n;
        e->k = k;
        d->n_kernels++;
    } else {
        forget(e);
    }
    if (desc) dnnl_primitive_desc_destroy(desc);
    if (attr) dnnl_primitive_attr_destroy(attr);
    if (!ok)
        return qu_fail(err, QU_ERR_UNSUPPORTED, "oneDNN has no product of %d x %d by %d x %d",
                       QU_TILE_ROWS, k, k, n);
    return QU_OK;
}

int64_t qu_dnnl_scratch_bytes(const qu_dnnl *d)
{
    size_t most = 0;
    for (int i = 0; i < d->n_kernels; i++)
        if (d->kernels[i].scratch_bytes > most) most = d->kernels[i].scratch_bytes;
    return (int64_t)most;
}

void qu_dnnl_run(const qu_dnnl *d, const qu_dnnl_kernel *e, float *y, const void *x, const void *w,
                 void *scratch)
{
    static _Thread_local bool single;
    if (!single) {
        omp_set_num_threads(1);
        single = true;
    }
    const desc_ref desc[4] = {DESC(e->x), DESC(e->w), DESC(e->y), DESC(e->scratch)};
    void *const data[4] = {(void *)x, (void *)w, y, scratch};
    dnnl_exec_arg_t args[4] = {{DNNL_ARG_SRC, NULL},
                               {DNNL_ARG_WEIGHTS, NULL},
                               {DNNL_ARG_DST, NULL},
                               {DNNL_ARG_SCRATCHPAD, NULL}};
    dnnl_stream_t stream;
    dnnl_stream_create(&stream, d->engine, dnnl_stream_default_flags);
    for (int i = 0; i < 4; i++) dnnl_memory_create(&args[i].memory, desc[i], d->engine, data[i]);
    dnnl_primitive_execute(e->primitive, stream, e->scratch_bytes ? 4 : 3, args);
    dnnl_stream_wait(stream);
    for (int i = 0; i < 4; i++) dnnl_memory_destroy(args[i].memory);
    dnnl_stream_destroy(stream);
}

#endif
