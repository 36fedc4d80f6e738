/* quire check: read everything in the store and say what is wrong; --repair drops it. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "kernels/codec.h"
#include "pipelines/commands.h"
#include "pipelines/output.h"
#include "pipelines/pages.h"
#include "pipelines/session.h"
#include "store/check.h"

/* What a pass over the store found. */
typedef struct findings {
    bool silent; /* the pass before a repair tells, the one after it counts */
    bool words;  /* the word index is damaged */
    bool behind; /* it is missing or of another generation: made again by whoever needs it */
    bool model;  /* the model is another */
    qu_check_stats stats;
    qu_err err; /* of the first call that could not go on */
} findings;

static void tell(findings *f, const char *kind, uint64_t doc_id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void tell(findings *f, const char *kind, uint64_t doc_id, const char *fmt, ...)
{
    char message[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    if (f->silent || f->err.status != QU_OK) return;
    if (qu_out_is_json()) {
        json_t *o = json_pack("{s:s,s:o,s:o}", "finding", kind, "document",
                              doc_id ? json_integer((json_int_t)doc_id) : json_null(), "message",
                              qu_pages_json_text(message, strlen(message)));
        qu_out_json(o, &f->err);
    } else {
        qu_out_line(&f->err, "%s: %s", kind, message);
    }
}

static void on_finding(void *ctx, qu_status status, uint64_t doc_id, const char *message)
{
    tell(ctx, status == QU_OK ? "note" : "damage", doc_id, "%s", message);
}

/* --- the word index: its bytes follow from the documents alone, so make another and compare --- */

static bool same_bytes(const char *a, const char *b)
{
    QU_OWN(qu_os_unmap) qu_map x = {0}, y = {0};
    return qu_os_map(&x, a, NULL) == QU_OK && qu_os_map(&y, b, NULL) == QU_OK && x.len == y.len &&
           (x.len == 0 || memcmp(x.data, y.data, x.len) == 0);
}

static qu_status check_words(findings *f, qu_session *s, qu_err *err)
{
    QU_OWN(qu_lexical_closep) qu_lexical *lx = NULL;
    QU_OWN(qu_buf_free) qu_buf path = {0};
    QU_OWN(qu_session_drop_words) qu_buf other = {0};
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    qu_err why = {0};
    const char *fault = NULL;
    qu_status st = qu_txn_begin(&t, s->store, QU_TXN_READ, &why);
    if (st == QU_ERR_CORRUPT) return QU_OK; /* was told of before */
    if (st != QU_OK) return qu_fail(err, st, "%s", why.msg);
    QU_TRY(qu_session_lexical_path(s, &path, err));
    qu_status opened = qu_lexical_open(&lx, path.data, QU_LEXICAL_READ, NULL);
    f->behind = opened == QU_OK ? qu_lexical_generation(lx) != qu_catalogue_generation(t)
                                : access(path.data, F_OK) != 0;
    if (f->behind)
        tell(f, "note", 0,
             "the word index is missing or older than the documents: search makes it again");
    else if (opened != QU_OK)
        fault = "the word index is damaged";
    else if (qu_session_private_words(t, &other, NULL) != QU_OK)
        tell(f, "note", 0, "the word index was not compared: another one could not be made");
    else if (!same_bytes(path.data, other.data))
        fault = "the word index differs from the documents' words";
    f->words = fault != NULL;
    if (fault) tell(f, "damage", 0, "%s", fault);
    return QU_OK;
}

/* --- the model that the pages were made with --- */

static qu_status check_model(findings *f, qu_session *s, qu_err *err)
{
    const qu_store_config *c = qu_store_config_get(s->store);
    const char *given = qu_args_str(s->args, "model"), *path = given ? given : c->model_path;
    QU_OWN(qu_model_closep) qu_model *m = NULL;
    qu_err why = {0};
    qu_hash zero = {0};
    qu_status st = path ? qu_session_model(&m, s->args, path, &why) : QU_ERR_NOTFOUND;
    if (st == QU_ERR_NOMEM || (st == QU_ERR_NOTFOUND && given))
        return qu_fail(err, st, "%s", why.msg);
    if (st == QU_ERR_NOTFOUND) {
        tell(f, "note", 0, "the model '%.200s' is not there: not compared",
             path ? path : c->model_name);
        return QU_OK;
    }
    bool same = st == QU_OK && qu_hash_equal(m->fingerprint, c->weights) &&
                (qu_hash_equal(c->full_weights, zero) ||
                 qu_hash_equal(c->full_weights, qu_gguf_full_hash(m->gguf)));
    f->model = !same;
    if (!same)
        tell(f, "damage", 0,
             "the model '%.200s' is not the one that the pages were made with%s%.80s", path,
             st == QU_OK ? "" : ": ", st == QU_OK ? "" : why.msg);
    return QU_OK;
}

/* --- the passes --- */

static qu_status look(findings *f, qu_session *s, qu_err *err)
{
    QU_TRY(qu_store_check(s->store, on_finding, f, &f->stats, err));
    QU_TRY(check_words(f, s, err));
    if (f->err.status == QU_OK) return QU_OK;
    *err = f->err;
    return err->status;
}

/* Let the store drop what is damaged, and make the word index again unless it is right. */
static qu_status mend(findings *f, qu_session *s, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf path = {0};
    QU_OWN(qu_lexical_closep) qu_lexical *lx = NULL;
    QU_TRY(qu_store_repair(s->store, on_finding, f, &f->stats, err));
    QU_TRY(check_words(f, s, err));
    if (!f->words && !f->behind) return QU_OK;
    QU_TRY(qu_session_lexical_path(s, &path, err));
    if (unlink(path.data) != 0 && errno != ENOENT)
        return qu_fail(err, QU_ERR_IO, "cannot remove '%s': %s", path.data, strerror(errno));
    return qu_session_lexical(s, &lx, err);
}

static int verdict(const findings *f)
{
    if (f->stats.n_lost > 0 || f->model) return QU_EXIT_DAMAGED;
    return f->stats.n_problems > 0 || f->words ? QU_EXIT_NOTHING : QU_EXIT_OK;
}

/* f: the store as it is now; done: what a repair did before, else zeros. */
static qu_status print_end(const findings *f, const findings *done, qu_err *err)
{
    const qu_check_stats *c = &f->stats;
    int exit = verdict(f);
    const char *word = exit == QU_EXIT_OK        ? "clean"
                       : exit == QU_EXIT_NOTHING ? "repairable"
                                                 : "damaged";
    long long problems = c->n_problems + f->words + f->model;
    long long removed = done->stats.n_removed, dropped = done->stats.n_kv_dropped;
    bool words = done->words || done->behind;
    if (qu_out_is_json()) {
        json_t *o = json_pack("{s:s}", "verdict", word);
        qu_out_ints(
            o, "problems notes documents records slices bytes documents_repaired documents_removed",
            (int64_t[]){problems, c->n_notes, c->n_docs, c->n_records, c->n_slices, c->bytes,
                        dropped, removed});
        json_object_set_new(o, "words_repaired", json_boolean(words));
        return qu_out_json(o, err);
    }
    if (dropped > 0)
        QU_TRY(qu_out_printf(
            err, "repaired: %lld documents without their damaged KV: quire index makes it again\n",
            dropped));
    if (removed > 0)
        QU_TRY(qu_out_printf(
            err, "repaired: %lld damaged documents removed: quire index reads their files again\n",
            removed));
    if (words) QU_TRY(qu_out_printf(err, "repaired: the word index was made again\n"));
    return qu_out_printf(
        err, "%s: %lld documents, %lld records, %lld slices, %lld bytes checked, %lld problems%s\n",
        word, (long long)c->n_docs, (long long)c->n_records, (long long)c->n_slices,
        (long long)c->bytes, problems, exit == QU_EXIT_NOTHING ? ": see quire check --repair" : "");
}

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    findings f = {0}, done = {0};
    bool repair = f.silent = qu_args_flag(s->args, "repair");
    QU_TRY(qu_session_open(s, s->args, QU_SESSION_STORE | (repair ? QU_SESSION_WRITE : 0), 0, err));
    if (repair) QU_TRY(mend(&done, s, err));
    QU_TRY(look(&f, s, err));
    f.silent = false;
    QU_TRY(check_model(&f, s, err));
    *code = verdict(&f);
    return print_end(&f, &done, err);
}

static const qu_option options[] = {
    QU_FLAG("repair", "drop what is damaged, so that the next index makes it again"),
};

const qu_command qu_cmd_check = {
    .name = "check",
    .summary = "read the whole store and report damage",
    .description =
        "Verifies every record, every text against its hash, every KV slice with its binding, the "
        "word index against the documents, and the model file byte for byte against the one that "
        "the pages were made with.\n\n"
        "Exit 0: clean. Exit 1: only KV or the word index is wrong, which is made again from the "
        "documents in the store. Exit 5: documents themselves are damaged, or the model is "
        "another.\n\n"
        "--repair takes damaged KV from its documents, removes documents that cannot be read, and "
        "makes the word index again; then quire index reads the removed files and makes the KV.",
    .examples = "quire check\nquire check --repair && quire index",
    QU_OPTIONS(options),
    .act = act,
};
