/* quire gc: give back the space of what was removed. */
#include "kernels/codec.h"
#include "pipelines/commands.h"
#include "pipelines/output.h"
#include "pipelines/session.h"
#include "store/gc.h"

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    qu_gc_report r = {0};
    QU_TRY(qu_store_gc(s->store, &r, err));
    /* One that is behind still holds hashes of removed documents' words: it is made again here. */
    QU_OWN(qu_lexical_closep) qu_lexical *lx = NULL;
    QU_TRY(qu_session_lexical(s, &lx, err));
    int64_t values[] = {r.bytes_before,    r.bytes_after,       r.bytes_before - r.bytes_after,
                        r.n_files_removed, r.n_packs_rewritten, r.n_packs_damaged};
    QU_TRY(qu_out_result(qu_out_ints(NULL,
                                     "bytes_before bytes_after bytes_freed files_removed "
                                     "packs_rewritten packs_damaged",
                                     values),
                         err));
    if (r.n_packs_damaged == 0) return QU_OK;
    *code = QU_EXIT_SOME;
    qu_out_warn(
        "%lld damaged KV files were left as they are: run quire check --repair, then gc again",
        (long long)r.n_packs_damaged);
    return QU_OK;
}

const qu_command qu_cmd_gc = {
    .name = "gc",
    .summary = "give back the space of removed documents",
    .description =
        "Removes KV files that no document uses, rewrites those that hold removed documents "
        "among others, and copies the catalogue into a new file. Afterwards no byte of a "
        "removed document is left in the store. Interrupted at any point the store is whole.",
    .examples = "quire rm docs/secret.txt && quire gc",
    .session = QU_SESSION_STORE | QU_SESSION_WRITE,
    .act = act,
};
