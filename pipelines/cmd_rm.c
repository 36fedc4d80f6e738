/* quire rm: forget files, folders and roots; nothing outside the store is touched. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/codec.h"
#include "pipelines/commands.h"
#include "pipelines/output.h"
#include "pipelines/paths.h"
#include "pipelines/session.h"
#include "pipelines/sync.h"

/* Something that was removed: a document, or a root (id 0). */
typedef struct removed {
    uint64_t id;
    char *path;
} removed;

typedef struct removal {
    qu_session *s;
    qu_txn *t;
    qu_buf list; /* of removed */
    size_t n;
} removal;

static const removed *at(const removal *r, size_t i)
{
    return (const removed *)(const void *)r->list.data + i;
}

static qu_status note(removal *r, uint64_t id, const char *path, qu_err *err)
{
    QU_OWN(qu_freep) char *copy = strdup(path);
    if (!copy) return qu_fail_nomem(err, (long long)strlen(path) + 1);
    QU_TRY(qu_buf_add(&r->list, &(removed){id, copy}, sizeof(removed), err));
    r->n++;
    (void)QU_TAKE(copy);
    return QU_OK;
}

/* The documents and roots at or below path. */
static qu_status remove_below(removal *r, const char *path, qu_err *err)
{
    QU_OWN(qu_roots_free) qu_roots roots = {0};
    for (uint64_t after = 0;;) {
        QU_OWN(qu_doc_free) qu_doc d = {0};
        QU_TRY(qu_catalogue_next_doc(r->t, after, &d, err));
        if ((after = d.doc_id) == 0) break;
        if (!qu_sync_under(&d, path)) continue;
        QU_TRY(qu_catalogue_del_doc(r->t, after, err));
        QU_TRY(note(r, after, d.path, err));
    }
    QU_TRY(qu_roots_read(&roots, r->t, err));
    for (size_t i = 0; i < roots.n; i++) {
        const char *root = roots.paths[i];
        if (!qu_paths_under(root, path)) continue;
        QU_TRY(qu_catalogue_del_root(r->t, root, strlen(root), err));
        QU_TRY(note(r, 0, root, err));
    }
    return QU_OK;
}

/* Remove what the first guess that names anything names. */
static qu_status remove_typed(removal *r, const char *typed, qu_err *err)
{
    char *guesses[QU_PATHS_GUESSES];
    size_t before = r->n;
    qu_status st = qu_paths_guess(guesses, typed, err);
    for (int i = 0; i < QU_PATHS_GUESSES && st == QU_OK && r->n == before; i++)
        if (guesses[i]) st = remove_below(r, guesses[i], err);
    qu_paths_free(guesses);
    return st;
}

/* Take the documents out of the word index too, where it stands at the generation they were removed
 * from; elsewhere it is rebuilt by whoever needs it next. */
static qu_status update_words(removal *r, uint64_t before, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf path = {0};
    QU_OWN(qu_lexical_closep) qu_lexical *lx = NULL;
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    QU_TRY(qu_session_lexical_path(r->s, &path, err));
    QU_TRY(qu_lexical_open(&lx, path.data, QU_LEXICAL_WRITE, err));
    if (qu_lexical_generation(lx) != before) return QU_OK;
    for (size_t i = 0; i < r->n; i++)
        if (at(r, i)->id) QU_TRY(qu_lexical_remove(lx, at(r, i)->id, err));
    QU_TRY(qu_txn_begin(&t, r->s->store, QU_TXN_READ, err));
    return qu_lexical_commit(lx, qu_catalogue_generation(t), err);
}

static qu_status print_removed(const removal *r, qu_err *err)
{
    for (size_t i = 0; i < r->n; i++) {
        const removed *one = at(r, i);
        const char *kind = one->id ? "document" : "root";
        if (qu_out_is_json()) {
            json_auto_t *o = json_pack("{s:s}", "removed", kind);
            if (one->id) json_object_set_new(o, "document", json_integer((json_int_t)one->id));
            QU_TRY(qu_out_path(o, "path", one->path, err));
            QU_TRY(qu_out_json(QU_TAKE(o), err));
            continue;
        }
        QU_TRY(qu_out_line(err, "removed %s %s", kind, one->path));
    }
    return QU_OK;
}

/* A file that is still there, below a root that stays, comes back with the next index. */
static qu_status warn_of_return(removal *r, qu_err *err)
{
    QU_OWN(qu_roots_free) qu_roots roots = {0};
    qu_status st = qu_roots_read(&roots, r->t, err);
    for (size_t i = 0; i < roots.n * r->n && st == QU_OK; i++) {
        const char *root = roots.paths[i / r->n];
        const removed *one = at(r, i % r->n);
        if (!one->id || !qu_paths_under(one->path, root) || access(one->path, F_OK) != 0) continue;
        qu_out_note("'%s' is still below the root '%s': quire index reads it again", one->path,
                    root);
        break;
    }
    return st;
}

static qu_status remove_all(removal *r, const qu_args *args, int *n_missed, qu_err *err)
{
    qu_err why = {0};
    QU_TRY(qu_txn_begin(&r->t, r->s->store, QU_TXN_WRITE, err));
    uint64_t before = qu_catalogue_generation(r->t);
    for (int i = 0; i < args->argc; i++) {
        size_t n = r->n;
        QU_TRY(remove_typed(r, args->argv[i], err));
        if (r->n > n) continue;
        qu_out_note("'%s' is not in the store", args->argv[i]);
        ++*n_missed;
    }
    if (r->n == 0) return QU_OK;
    QU_TRY(warn_of_return(r, err));
    QU_TRY(qu_txn_commit(QU_TAKE(r->t), err));
    if (update_words(r, before, &why) != QU_OK)
        qu_out_warn("the word index could not be brought up to date and will be rebuilt: %s",
                    why.msg);
    return print_removed(r, err);
}

static void end_removal(removal *r)
{
    qu_txn_abort(r->t);
    for (size_t i = 0; i < r->n; i++) free(at(r, i)->path);
    qu_buf_free(&r->list);
}

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    QU_OWN(end_removal) removal r = {.s = s};
    int n_missed = 0;
    QU_TRY(remove_all(&r, s->args, &n_missed, err));
    *code = n_missed == 0 ? QU_EXIT_OK : r.n == 0 ? QU_EXIT_NOTHING : QU_EXIT_SOME;
    return QU_OK;
}

const qu_command qu_cmd_rm = {
    .name = "rm",
    .args = "PATH...",
    .summary = "forget files, folders and roots",
    .description =
        "Removes the documents at or below each path from the store, with their KV, and "
        "forgets roots there. Files on the disk are not touched, and need not exist any more. "
        "KV that shares a file with other documents' is given back by quire gc. Exit 1 says "
        "that no path was in the store, 3 that some were not.",
    .examples = "quire rm docs/old.txt\nquire rm /mnt/gone  # a root and all below it",
    .min_args = 1,
    .max_args = -1,
    .session = QU_SESSION_STORE | QU_SESSION_WRITE,
    .act = act,
};
