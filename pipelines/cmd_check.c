/* quire check: read everything in the store and say what is wrong; --repair drops it. */
#include <errno.h>
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
    bool silent;               /* the pass before a repair tells, the one after it counts */
    uint64_t *docs;            /* documents with a problem, each once, ascending */
    size_t n_docs, cap;
    size_t n_removed;          /* by a repair; n_docs then counts those that lost KV */
    int64_t n_lost;            /* problems that nothing can make again */
    int64_t n_problems;
    bool words;                /* the word index is damaged */
    bool behind; /* it is missing or of another generation: made again by whoever needs it */
    qu_check_stats stats;
    qu_err err;                /* of the first call that could not go on */
} findings;

static void tell(findings *f, const char *kind, uint64_t doc_id, const char *message)
{
    if (f->silent || f->err.status != QU_OK) return;
    if (qu_out_is_json()) {
        json_t *o = json_pack("{s:s,s:o,s:o}", "finding", kind, "document",
                              doc_id ? json_integer((json_int_t)doc_id) : json_null(), "message",
                              qu_pages_json_text(message, strlen(message)));
        qu_out_json(o, &f->err);
    } else if (qu_out_printf(&f->err, "%s: ", kind) == QU_OK &&
               qu_out_text(message, strlen(message), false, &f->err) == QU_OK) {
        qu_out_write("\n", 1, &f->err);
    }
}

static qu_status keep_doc(findings *f, uint64_t doc_id, qu_err *err)
{
    for (size_t i = 0; i < f->n_docs; i++)
        if (f->docs[i] == doc_id) return QU_OK;
    if (f->n_docs == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 16;
        uint64_t *p = realloc(f->docs, cap * sizeof *p);
        if (!p) return qu_fail_nomem(err, (long long)(cap * sizeof *p));
        f->docs = p;
        f->cap = cap;
    }
    f->docs[f->n_docs++] = doc_id;
    return QU_OK;
}

static void on_finding(void *ctx, qu_status status, uint64_t doc_id, const char *message)
{
    findings *f = ctx;
    tell(f, status == QU_OK ? "note" : "damage", doc_id, message);
    if (status == QU_OK) return;
    f->n_problems++;
    if (doc_id == 0) f->n_lost++;
    else if (keep_doc(f, doc_id, &f->err) != QU_OK) f->n_lost++;
}

/* --- which documents only lack good KV: their own records can all be read --- */

static qu_status read_whole(qu_txn *t, uint64_t doc_id, qu_err *err)
{
    qu_doc d, same;
    qu_buf b = {0};
    qu_page *pages = NULL;
    int32_t n;
    QU_TRY(qu_catalogue_get_doc(t, doc_id, &d, err));
    qu_status st = qu_catalogue_find_path(t, d.path, d.path_len, &same, err);
    if (st != QU_OK) goto out;
    qu_doc_free(&same);
    QU_TRY_OUT(qu_catalogue_text(t, doc_id, 0, d.text_bytes, &b, err));
    if (!qu_hash_equal(qu_hash_bytes(b.data, b.len, 0), d.text_hash)) {
        st = qu_fail(err, QU_ERR_CORRUPT, "text does not match its hash");
        goto out;
    }
    b.len = 0;
    QU_TRY_OUT(qu_catalogue_source_map(t, doc_id, &b, err));
    QU_TRY_OUT(qu_catalogue_pages(t, doc_id, &pages, &n, err));
    b.len = 0;
    QU_TRY_OUT(qu_catalogue_ids(t, doc_id, 0, d.n_pages, &b, err));
out:
    free(pages);
    qu_buf_free(&b);
    qu_doc_free(&d);
    return st;
}

static qu_status sort_out(findings *f, qu_session *s, qu_txn *t, qu_err *err)
{
    (void)s;
    size_t kept = 0;
    for (size_t i = 0; i < f->n_docs; i++) {
        qu_err why = {0};
        qu_status st = read_whole(t, f->docs[i], &why);
        if (st == QU_ERR_NOMEM || st == QU_ERR_IO) return qu_fail(err, st, "%s", why.msg);
        if (st == QU_OK) f->docs[kept++] = f->docs[i];
        else f->n_lost++;
    }
    f->n_docs = kept;
    return QU_OK;
}

/* --- the word index: its bytes follow from the documents alone, so make another and compare --- */

static bool same_bytes(const char *a, const char *b)
{
    qu_map x = {0}, y = {0};
    bool same = qu_os_map(&x, a, NULL) == QU_OK && qu_os_map(&y, b, NULL) == QU_OK &&
                x.len == y.len && (x.len == 0 || memcmp(x.data, y.data, x.len) == 0);
    qu_os_unmap(&x);
    qu_os_unmap(&y);
    return same;
}

static qu_status compare_words(findings *f, qu_txn *t, const char *path, const char **fault,
                               qu_err *err)
{
    qu_buf dir = {0}, other = {0};
    qu_err why = {0};
    const char *tmp = getenv("TMPDIR");
    qu_status st = QU_OK;
    QU_TRY_OUT(qu_buf_printf(&dir, err, "%s/quire-XXXXXX", tmp && *tmp ? tmp : "/tmp"));
    if (!mkdtemp(dir.data)) {
        tell(f, "note", 0, "the word index was not compared: no temporary folder could be made");
        goto out;
    }
    QU_TRY_OUT(qu_buf_printf(&other, err, "%s/words", dir.data));
    if (qu_session_make_lexical(t, other.data, &why) != QU_OK)
        tell(f, "note", 0, "the word index was not compared: another one could not be made");
    else if (!same_bytes(path, other.data))
        *fault = "the word index differs from the documents' words";
    unlink(other.data);
    rmdir(dir.data);
out:
    qu_buf_free(&dir);
    qu_buf_free(&other);
    return st;
}

static qu_status check_words(findings *f, qu_session *s, qu_txn *t, qu_err *err)
{
    qu_lexical *lx = NULL;
    qu_buf path = {0};
    const char *fault = NULL;
    qu_status st = QU_OK;
    QU_TRY_OUT(qu_session_lexical_path(s, &path, err));
    qu_status opened = qu_lexical_open(&lx, path.data, QU_LEXICAL_READ, NULL);
    f->behind = opened == QU_OK ? qu_lexical_generation(lx) != qu_catalogue_generation(t)
                                : access(path.data, F_OK) != 0;
    if (f->behind)
        tell(f, "note", 0,
             "the word index is missing or older than the documents: search makes it again");
    else if (opened != QU_OK)
        fault = "the word index is damaged";
    else
        st = compare_words(f, t, path.data, &fault, err);
    if (fault) {
        f->words = true;
        f->n_problems++;
        tell(f, "damage", 0, fault);
    }
out:
    qu_lexical_close(lx);
    qu_buf_free(&path);
    return st;
}

/* --- the model that the pages were made with --- */

static qu_status check_model(findings *f, qu_session *s, qu_err *err)
{
    const qu_store_config *c = qu_store_config_get(s->store);
    const char *given = qu_args_str(s->args, "model"), *path = given ? given : c->model_path;
    char text[400];
    qu_model *m = NULL;
    qu_err why = {0};
    qu_hash zero = {0};
    qu_status st = path ? qu_session_model(&m, s->args, path, &why) : QU_ERR_NOTFOUND;
    if (st == QU_ERR_NOMEM || (st == QU_ERR_NOTFOUND && given))
        return qu_fail(err, st, "%s", why.msg);
    if (st == QU_ERR_NOTFOUND) {
        snprintf(text, sizeof text, "the model '%.200s' is not there: not compared",
                 path ? path : c->model_name);
        tell(f, "note", 0, text);
        return QU_OK;
    }
    bool same = st == QU_OK && qu_hash_equal(m->fingerprint, c->weights) &&
                (qu_hash_equal(c->full_weights, zero) ||
                 qu_hash_equal(c->full_weights, qu_gguf_full_hash(m->gguf)));
    if (!same) {
        snprintf(text, sizeof text,
                 "the model '%.200s' is not the one that the pages were made with%s%.80s", path,
                 st == QU_OK ? "" : ": ", st == QU_OK ? "" : why.msg);
        tell(f, "damage", 0, text);
        f->n_problems++;
        f->n_lost++;
    }
    qu_model_close(m);
    return QU_OK;
}

/* --- the passes --- */

/* body in a read transaction of its own; a catalogue that cannot be read was told of before. */
static qu_status reading(findings *f, qu_session *s,
                         qu_status (*body)(findings *f, qu_session *s, qu_txn *t, qu_err *err),
                         qu_err *err)
{
    qu_txn *t = NULL;
    qu_err why = {0};
    qu_status st = qu_txn_begin(&t, s->store, QU_TXN_READ, &why);
    if (st == QU_OK) st = body(f, s, t, &why);
    qu_txn_abort(t);
    if (st == QU_ERR_CORRUPT) return QU_OK;
    return st == QU_OK ? QU_OK : qu_fail(err, st, "%s", why.msg);
}

static qu_status look(findings *f, qu_session *s, qu_err *err)
{
    QU_TRY(qu_store_check(s->store, on_finding, f, &f->stats, err));
    QU_TRY(reading(f, s, sort_out, err));
    QU_TRY(reading(f, s, check_words, err));
    if (f->err.status == QU_OK) return QU_OK;
    *err = f->err;
    return err->status;
}

static qu_status count_removed(findings *f, qu_session *s, qu_txn *t, qu_err *err)
{
    (void)s;
    size_t kept = 0;
    for (size_t i = 0; i < f->n_docs; i++) {
        qu_doc d;
        qu_status st = qu_catalogue_get_doc(t, f->docs[i], &d, err);
        qu_doc_free(&d);
        if (st != QU_OK && st != QU_ERR_NOTFOUND) return st;
        kept += st == QU_OK;
    }
    f->n_removed = f->n_docs - kept;
    f->n_docs = kept;
    return QU_OK;
}

/* Let the store drop what is damaged, and make the word index again unless it is right. */
static qu_status mend(findings *f, qu_session *s, qu_err *err)
{
    qu_buf path = {0};
    qu_lexical *lx = NULL;
    qu_status st = QU_OK;
    QU_TRY_OUT(qu_store_repair(s->store, on_finding, f, &f->stats, err));
    QU_TRY_OUT(reading(f, s, count_removed, err));
    QU_TRY_OUT(reading(f, s, check_words, err));
    if (!f->words && !f->behind) goto out;
    QU_TRY_OUT(qu_session_lexical_path(s, &path, err));
    if (unlink(path.data) != 0 && errno != ENOENT) {
        st = qu_fail(err, QU_ERR_IO, "cannot remove '%s': %s", path.data, strerror(errno));
        goto out;
    }
    st = qu_session_lexical(s, &lx, err);
out:
    qu_lexical_close(lx);
    qu_buf_free(&path);
    return st;
}

/* f: the store as it is now; done: what a repair did before, else zeros. */
static qu_status print_end(const findings *f, const findings *done, qu_err *err)
{
    const qu_check_stats *c = &f->stats;
    const char *verdict = f->n_problems == 0 ? "clean" : f->n_lost == 0 ? "repairable" : "damaged";
    bool words = done->words || done->behind;
    if (qu_out_is_json())
        return qu_out_json(
            json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b}", "verdict", verdict, "problems",
                      (json_int_t)f->n_problems, "notes", (json_int_t)c->n_notes, "documents",
                      (json_int_t)c->n_docs, "records", (json_int_t)c->n_records, "slices",
                      (json_int_t)c->n_slices, "bytes", (json_int_t)c->bytes, "documents_repaired",
                      (json_int_t)done->n_docs, "documents_removed", (json_int_t)done->n_removed,
                      "words_repaired", words),
            err);
    if (done->n_docs > 0)
        QU_TRY(qu_out_printf(
            err, "repaired: %zu documents without their damaged KV: quire index makes it again\n",
            done->n_docs));
    if (done->n_removed > 0)
        QU_TRY(qu_out_printf(
            err, "repaired: %zu damaged documents removed: quire index reads their files again\n",
            done->n_removed));
    if (words) QU_TRY(qu_out_printf(err, "repaired: the word index was made again\n"));
    return qu_out_printf(
        err, "%s: %lld documents, %lld records, %lld slices, %lld bytes checked, %lld problems%s\n",
        verdict, (long long)c->n_docs, (long long)c->n_records, (long long)c->n_slices,
        (long long)c->bytes, (long long)f->n_problems,
        strcmp(verdict, "repairable") == 0 ? ": see quire check --repair" : "");
}

static int run(const qu_args *args)
{
    qu_err err = {0};
    qu_session s;
    findings f = {0}, done = {0};
    bool repair = qu_args_flag(args, "repair");
    qu_status st = qu_session_open(&s, args, QU_SESSION_STORE | (repair ? QU_SESSION_WRITE : 0),
                                   QU_CODEC_F16, &err);
    if (st != QU_OK) return qu_out_error(&err, NULL);
    if (repair) QU_TRY_OUT(mend(&done, &s, &err));
    f.silent = repair;
    QU_TRY_OUT(look(&f, &s, &err));
    f.silent = false;
    QU_TRY_OUT(check_model(&f, &s, &err));
    st = print_end(&f, &done, &err);
out:
    free(f.docs);
    free(done.docs);
    qu_session_close(&s);
    if (st != QU_OK) return qu_out_error(&err, NULL);
    return f.n_problems == 0 ? QU_EXIT_OK : f.n_lost == 0 ? QU_EXIT_NOTHING : QU_EXIT_DAMAGED;
}

static const qu_option options[] = {
    {.name = "repair", .kind = QU_OPT_FLAG,
     .help = "drop what is damaged, so that the next index makes it again"},
};

const qu_command qu_cmd_check = {
    .name = "check",
    .summary = "read the whole store and report damage",
    .description =
        "Verifies every record, every text against its hash, every KV slice with its binding, "
        "the word index against the documents, and the model file byte for byte against the "
        "one that the pages were made with.\n\n"
        "Exit 0: clean. Exit 1: only KV or the word index is wrong, which is made again from "
        "the documents in the store. Exit 5: documents themselves are damaged, or the model "
        "is another.\n\n"
        "--repair takes damaged KV from its documents, removes documents that cannot be read, "
        "and makes the word index again; then quire index reads the removed files and makes "
        "the KV.",
    .examples = "quire check\nquire check --repair && quire index",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .run = run,
};
