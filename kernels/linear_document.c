#include <stdatomic.h>
#include <stdlib.h>

#include "kernels/isa.h"
#include "kernels/linear_int.h"
#include "kernels/tile.h"

#ifdef QU_WITH_DNNL
#include "kernels/dnnl_tile.h"
#endif

static atomic_int forced = -1;

static bool can(qu_prefill_kind kind)
{
    switch (kind) {
#ifdef QU_WITH_DNNL
    case QU_PREFILL_DNNL_F32: return true;
    case QU_PREFILL_DNNL_BF16: return qu_dnnl_can_bf16();
#endif
    case QU_PREFILL_AMX_BF16: /* without the unit by its reference */
    case QU_PREFILL_OWN: return true;
    default: return false;
    }
}

qu_prefill_kind qu_linear_prefill_kind(void)
{
    int kind = atomic_load_explicit(&forced, memory_order_relaxed);
    if (kind >= 0) return (qu_prefill_kind)kind;
    bool wide = qu_isa_current() == QU_ISA_AVX512;
    if (wide && qu_tile_has_unit()) return QU_PREFILL_AMX_BF16;
#ifdef QU_WITH_DNNL
    return wide && qu_dnnl_bf16_is_faster() ? QU_PREFILL_DNNL_BF16 : QU_PREFILL_DNNL_F32;
#else
    return QU_PREFILL_OWN;
#endif
}

bool qu_linear_force_prefill(qu_prefill_kind kind)
{
    if (kind == QU_PREFILL_COUNT) {
        atomic_store(&forced, -1);
        return true;
    }
    if (!can(kind)) return false;
    atomic_store(&forced, (int)kind);
    return true;
}

const char *qu_linear_document_name(void)
{
    static const char *const names[QU_PREFILL_COUNT] = {"own", "dnnl-f32", "dnnl-bf16", "amx-bf16"};
    return names[qu_linear_prefill_kind()];
}

qu_status qu_linear_scratch_need(qu_linear_scratch *s, int64_t need, qu_err *err)
{
    if (s->cap >= need) return QU_OK;
    free(s->memory);
    need = (need + 63) / 64 * 64;
    s->memory = aligned_alloc(64, (size_t)need);
    s->cap = s->memory ? need : 0;
    return s->memory ? QU_OK : qu_fail_nomem(err, need);
}

void qu_linear_scratch_free(qu_linear_scratch *s)
{
    if (!s) return;
    free(s->memory);
#ifdef QU_WITH_DNNL
    qu_dnnl_free(s->dnnl);
#endif
    free(s);
}

static qu_status make_scratch(qu_linear_scratch **scratch, qu_err *err)
{
    if (!*scratch && !(*scratch = calloc(1, sizeof **scratch)))
        return qu_fail_nomem(err, sizeof **scratch);
    return QU_OK;
}

qu_status qu_linear_prompt(qu_pool *pool, qu_linear_scratch **scratch, const qu_linear_job *jobs,
                           int n_jobs, const float *x, int64_t ldx, int32_t n_rows, qu_err *err)
{
    if (n_rows > 0 && qu_linear_prefill_kind() == QU_PREFILL_AMX_BF16) {
        QU_TRY(make_scratch(scratch, err));
        return qu_linear_by_tiles(pool, *scratch, jobs, n_jobs, x, ldx, n_rows, true, err);
    }
    qu_linear_question(pool, jobs, n_jobs, x, ldx, n_rows);
    return QU_OK;
}

qu_status qu_linear_document(qu_pool *pool, qu_linear_scratch **scratch, const qu_linear_job *jobs,
                             int n_jobs, const float *x, int64_t ldx, int32_t n_rows, qu_err *err)
{
    if (n_rows <= 0) return QU_OK;
    QU_TRY(make_scratch(scratch, err));
    switch (qu_linear_prefill_kind()) {
    case QU_PREFILL_AMX_BF16:
        return qu_linear_by_tiles(pool, *scratch, jobs, n_jobs, x, ldx, n_rows, false, err);
#ifdef QU_WITH_DNNL
    case QU_PREFILL_DNNL_F32:
    case QU_PREFILL_DNNL_BF16:
        return qu_linear_by_dnnl(pool, *scratch, jobs, n_jobs, x, ldx, n_rows, err);
#endif
    default: qu_linear_question(pool, jobs, n_jobs, x, ldx, n_rows); return QU_OK;
    }
}
