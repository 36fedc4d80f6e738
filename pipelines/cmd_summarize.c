/* quire summarize: one summary a document, kept current by runs that nobody watches. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "decode/device.h"
#include "pipelines/commands.h"
#include "pipelines/make_kv.h"
#include "pipelines/output.h"
#include "pipelines/paths.h"
#include "pipelines/signals.h"
#include "pipelines/summarize.h"
#include "pipelines/sync.h"

#define PROMPT "Summarize the document in at most %lld words."
/* MAX_FAULTS: named in a report; ROUND: documents between two releases of what was read. */
enum { MAX_FAULTS = 100, POLL_US = 100000, MAX_PROMPT = 1 << 16, MAX_SEATS = 8, ROUND = 64 };

/* A document in scope, as the catalogue had it when the run began. */
typedef struct item {
    uint64_t doc_id;
    char *path;
} item;

typedef struct run {
    const qu_args *args;
    qu_session s;
    qu_roots roots, scope; /* scope: real paths of the arguments; none: everything */
    qu_manifest *m;
    qu_sync_report sync;
    qu_buf list; /* item, by path */
    item *items; /* [n_items] those of list */
    size_t n_items;
    qu_hash settings;
    qu_synopsis_format format;
    char method[160];
    qu_summarizer *seats[MAX_SEATS]; /* of each thread of the pool; the first NULL: extracts */
    qu_pool *pool;
    bool lacks_kv; /* some document does */
    size_t round; /* the first document of those that are under way */
    pthread_mutex_t mu; /* over all below, and the manifest */
    qu_status failure;
    qu_err why;
    qu_buf prompt;
    qu_make_kv_report kv;
    double started_ms;
    int64_t done, unchanged, removed, failed, corrupt;
    bool stopped;
    json_t *faults;
} run;

/* --- what is there --- */

/* A file means all that is in it, too. Told by the path alone, which is what the manifest has. */
static bool in_scope(const run *r, const char *path)
{
    for (size_t i = 0; i < r->scope.n; i++) {
        size_t n = strlen(r->scope.paths[i]);
        if (qu_paths_under(path, r->scope.paths[i]) ||
            (strncmp(path, r->scope.paths[i], n) == 0 && path[n] == '!'))
            return true;
    }
    return r->scope.n == 0;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const item *)a)->path, ((const item *)b)->path);
}

static qu_status list_documents(run *r, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    QU_TRY(qu_txn_begin(&t, r->s.store, QU_TXN_READ, err));
    for (uint64_t after = 0;;) {
        QU_OWN(qu_doc_free) qu_doc d = {0};
        QU_TRY(qu_catalogue_next_doc(t, after, &d, err));
        if (d.doc_id == 0) break;
        after = d.doc_id;
        if (!in_scope(r, d.path)) continue;
        r->lacks_kv = r->lacks_kv || d.kv_pages < d.n_pages;
        QU_TRY(qu_buf_add(&r->list, &(item){d.doc_id, d.path}, sizeof(item), err));
        d.path = NULL; /* the list's now */
        r->items = (item *)(void *)r->list.data;
        r->n_items++;
    }
    if (r->n_items) qsort(r->items, r->n_items, sizeof *r->items, by_path);
    return QU_OK;
}

static bool is_gone(void *ctx, const char *path)
{
    const run *r = ctx;
    item key = {.path = (char *)path};
    return in_scope(r, path) &&
           !(r->n_items && bsearch(&key, r->items, r->n_items, sizeof key, by_path));
}

/* --- store --- */

/* Open the store, waiting for its lock with --wait. */
static qu_status open_store(run *r, unsigned flags, qu_err *err)
{
    bool wait = qu_args_flag(r->args, "wait");
    for (;;) {
        qu_err why = {0};
        qu_status st =
            qu_session_open(&r->s, r->args, flags, qu_args_choice(r->args, "codec"), &why);
        if (st == QU_ERR_LOCKED && wait && !qu_signals_stop()) {
            usleep(POLL_US);
            continue;
        }
        return st == QU_OK ? st : qu_fail(err, st, "%s", why.msg);
    }
}

/* Summaries under a root would be indexed and summarised in their turn. */
static qu_status check_out(const run *r, qu_err *err)
{
    for (size_t i = 0; i < r->roots.n; i++)
        if (qu_paths_under(qu_manifest_dir(r->m), r->roots.paths[i]))
            return qu_fail(err, QU_ERR_ARG,
                           "folder '%s' lies in '%s', which is indexed: the summaries would be "
                           "summarised, too; give an --out elsewhere",
                           qu_manifest_dir(r->m), r->roots.paths[i]);
    return QU_OK;
}

static qu_status open_out(run *r, qu_err *err)
{
    QU_OWN(qu_freep) char *store = realpath(r->s.store_dir, NULL);
    if (!store)
        return qu_fail(err, QU_ERR_IO, "cannot open store '%s': %s", r->s.store_dir,
                       strerror(errno));
    return qu_manifest_open(&r->m, qu_args_str(r->args, "out"), store,
                            qu_args_flag(r->args, "wait"), err);
}

/* The arguments' real paths; with --no-sync one that is gone is taken as written. */
static qu_status take_scope(run *r, qu_err *err)
{
    for (int i = 0; i < r->args->argc; i++) {
        char *guesses[QU_PATHS_GUESSES];
        QU_TRY(qu_paths_guess(guesses, r->args->argv[i], err));
        qu_status st = qu_roots_add(&r->scope, guesses[1] ? guesses[1] : guesses[2], err);
        qu_paths_free(guesses);
        if (st != QU_OK) return st;
    }
    return QU_OK;
}

static qu_status sync_store(run *r, qu_err *err)
{
    qu_sync_options o = {.program = "/proc/self/exe",
                         .quiet_skips = !isatty(STDERR_FILENO),
                         .stop = qu_signals_stop};
    QU_TRY(qu_roots_collect(&r->roots, &r->s, r->args, true, err));
    QU_TRY(open_out(r, err));
    QU_TRY(check_out(r, err));
    QU_TRY(qu_sync(&r->s, (const char *const *)r->roots.paths, r->roots.n, &o, &r->sync, err));
    if (!qu_args_flag(r->args, "extractive") && !r->sync.stopped) {
        qu_make_kv_options kv = {.stop = qu_signals_stop};
        QU_TRY(qu_make_kv(&r->s, &kv, &r->kv, err));
    }
    r->stopped = r->sync.stopped || r->kv.stopped;
    return qu_session_reopen(&r->s, false, err);
}

static qu_status prepare(run *r, qu_err *err)
{
    bool sync = !qu_args_flag(r->args, "no-sync");
    unsigned flags = QU_SESSION_STORE;
    if (sync || !qu_args_flag(r->args, "extractive")) flags |= QU_SESSION_MODEL;
    if (sync) flags |= QU_SESSION_WRITE;
    if (sync && r->args->argc > 0) flags |= QU_SESSION_CREATE;
    QU_TRY(open_store(r, flags, err));
    QU_TRY(sync ? sync_store(r, err) : open_out(r, err));
    QU_TRY(take_scope(r, err));
    return list_documents(r, err);
}

/* --- one document --- */

static qu_status take_prompt(run *r, qu_err *err)
{
    const char *file = qu_args_str(r->args, "prompt");
    if (!file)
        return qu_buf_printf(&r->prompt, err, PROMPT, (long long)qu_args_int(r->args, "length"));
    QU_TRY(qu_os_read(&r->prompt, file, MAX_PROMPT, err));
    char *p = r->prompt.data;
    while (r->prompt.len > 0 && strchr(" \r\n\t", p[r->prompt.len - 1])) p[--r->prompt.len] = 0;
    if (r->prompt.len == 0 || strlen(p) != r->prompt.len)
        return qu_fail(err, QU_ERR_ARG, "'%s' holds no prompt", file);
    return QU_OK;
}

/* Documents whose KV must be made go one by one: making it takes all threads anyway. So do all on a
 * device, whose contexts are one thread's. */
static qu_status make_seats(run *r, int32_t pages, int32_t words, qu_err *err)
{
    int n = r->lacks_kv || qu_device_name(r->s.model) ? 1 : (int)qu_args_int(r->args, "batch");
    QU_TRY(qu_summarizer_create(&r->seats[0], &r->s, r->prompt.data, pages, words, n > 1, err));
    for (int i = 1; i < n; i++) QU_TRY(qu_summarizer_seat(&r->seats[i], r->seats[0], err));
    return qu_pool_create(&r->pool, n, err);
}

/* What shapes a summary, as a hash and as words. */
static qu_status take_settings(run *r, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    char model[33];
    const char *method = qu_args_str(r->args, "method");
    long long words = (long long)qu_args_int(r->args, "length");
    int32_t pages = (int32_t)qu_args_int(r->args, "pages");
    r->format = (qu_synopsis_format)qu_args_choice(r->args, "format");
    if (qu_args_flag(r->args, "extractive")) {
        snprintf(r->method, sizeof r->method, "extractive, %s", method);
        QU_TRY(qu_buf_printf(&b, err, "extractive %s %d %lld", method, QU_DIGEST_VERSION, words));
    } else {
        snprintf(r->method, sizeof r->method, "written by %s", r->s.model->name);
        qu_hash_hex(model, r->s.model->fingerprint);
        QU_TRY(take_prompt(r, err));
        QU_TRY(qu_buf_printf(&b, err, "model %s %d %lld %s", model, pages, words, r->prompt.data));
        if (!r->stopped) QU_TRY(make_seats(r, pages, (int32_t)words, err));
    }
    r->settings = qu_hash_bytes(b.data, b.len, 0);
    return QU_OK;
}

/* Is the document's summary what this run would make? With --changed its age alone counts. */
static bool is_current(const run *r, const qu_doc *d)
{
    const qu_manifest_entry *e = qu_manifest_find(r->m, d->path);
    if (!e || (e->fault && *e->fault) || !qu_hash_equal(e->content, d->content_hash) ||
        e->doc_id != d->doc_id)
        return false;
    bool same = qu_hash_equal(e->settings, r->settings) && e->format == r->format;
    return (same || qu_args_flag(r->args, "changed")) && qu_manifest_holds(r->m, e);
}

static qu_status make_one(run *r, qu_summarizer *z, const qu_doc *d, qu_buf *out, qu_err *err)
{
    QU_OWN(qu_synopsis_free) qu_synopsis s = {0};
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    if (z) {
        QU_TRY(qu_summarizer_write(z, &s, d, err));
    } else {
        QU_TRY(qu_txn_begin(&t, r->s.store, QU_TXN_READ, err));
        QU_TRY(qu_synopsis_extract(&s, t, d, (qu_digest_method)qu_args_choice(r->args, "method"),
                                   (int32_t)qu_args_int(r->args, "length"), err));
    }
    return qu_synopsis_render(out, &s, d, r->method, r->format, err);
}

/* Faults of the machine end the run; those of a document are noted and tried again by the next. */
static bool ends_run(qu_status st)
{
    return st == QU_ERR_NOMEM || st == QU_ERR_FULL || st == QU_ERR_IO;
}

static qu_status note_fault(run *r, const char *path, const qu_err *why, qu_err *err)
{
    r->failed++;
    r->corrupt += why->status == QU_ERR_CORRUPT;
    qu_out_note("failed: '%s': %s", path, why->msg);
    json_t *o = json_object();
    if (json_array_size(r->faults) < MAX_FAULTS && o &&
        qu_out_path(o, "path", path, NULL) == QU_OK &&
        json_object_set_new(o, "message", json_string(why->msg)) == 0)
        json_array_append(r->faults, o);
    json_decref(o);
    return qu_manifest_fail(r->m, path, why->msg, err);
}

/* Write down what became of a document. */
static qu_status settle(run *r, const item *x, const qu_doc *d, qu_status st, const qu_buf *out,
                        const qu_err *why, qu_err *err)
{
    if (st == QU_OK) {
        qu_manifest_entry e = {.path = d->path, .content = d->content_hash, .settings = r->settings,
                               .doc_id = d->doc_id, .format = r->format};
        QU_TRY(qu_manifest_write(r->m, &e, out, err));
        r->done++;
    } else if (st == QU_ERR_CANCELLED) {
        r->stopped = true;
    } else if (ends_run(st)) {
        return qu_fail(err, st, "%s", why->msg);
    } else {
        return note_fault(r, x->path, why, err);
    }
    return QU_OK;
}

static qu_status do_one(run *r, qu_summarizer *z, const item *x, qu_err *err)
{
    qu_txn *t;
    QU_OWN(qu_doc_free) qu_doc d = {0};
    QU_OWN(qu_buf_free) qu_buf out = {0};
    qu_err why = {0};
    bool current;
    QU_TRY(qu_txn_begin(&t, r->s.store, QU_TXN_READ, err));
    qu_status st = qu_catalogue_get_doc(t, x->doc_id, &d, &why);
    qu_txn_abort(t);
    pthread_mutex_lock(&r->mu);
    current = st == QU_OK && is_current(r, &d);
    r->unchanged += current;
    pthread_mutex_unlock(&r->mu);
    if (!current) {
        if (st == QU_OK) st = make_one(r, z, &d, &out, &why);
        pthread_mutex_lock(&r->mu);
        st = settle(r, x, &d, st, &out, &why, err);
        pthread_mutex_unlock(&r->mu);
    }
    return st;
}

static void sit(void *ctx, int64_t i, int worker)
{
    run *r = ctx;
    qu_err why = {0};
    size_t at = r->round + (size_t)i;
    pthread_mutex_lock(&r->mu);
    r->stopped = r->stopped || qu_signals_stop();
    bool more = !r->stopped && r->failure == QU_OK;
    if (more) qu_out_progress("summaries", (int64_t)at, (int64_t)r->n_items, "documents");
    pthread_mutex_unlock(&r->mu);
    qu_status st = more ? do_one(r, r->seats[worker], &r->items[at], &why) : QU_OK;
    if (st == QU_OK) return;
    pthread_mutex_lock(&r->mu);
    if (r->failure == QU_OK) r->why = why;
    r->failure = st;
    pthread_mutex_unlock(&r->mu);
}

static qu_status do_all(run *r, qu_err *err)
{
    QU_TRY(qu_manifest_sweep(r->m, is_gone, r, &r->removed, err));
    for (; r->round < r->n_items && !r->stopped && r->failure == QU_OK; r->round += ROUND) {
        size_t left = r->n_items - r->round;
        qu_pool_run(r->pool, left < ROUND ? (int64_t)left : ROUND, sit, r);
        qu_store_release_readers(r->s.store);
    }
    return r->failure == QU_OK ? QU_OK : qu_fail(err, r->failure, "%s", r->why.msg);
}

/* --- the run --- */

static qu_status print_report(const run *r, qu_err *err)
{
    double seconds = (qu_os_now_ms() - r->started_ms) / 1e3;
    if (qu_out_is_json()) {
        const qu_sync_report *x = &r->sync;
        json_t *sync = json_null(), *o = json_pack("{s:s}", "out", qu_manifest_dir(r->m));
        if (!qu_args_flag(r->args, "no-sync"))
            sync =
                qu_out_ints(NULL, "added changed renamed removed failed",
                            (int64_t[]){x->added, x->changed, x->renamed, x->removed, x->failed});
        qu_out_ints(o, "documents done unchanged removed failed",
                    (int64_t[]){(int64_t)r->n_items, r->done, r->unchanged, r->removed, r->failed});
        json_object_set_new(o, "stopped", json_boolean(r->stopped));
        qu_out_reals(o, "seconds", &seconds);
        json_object_set(o, "faults", r->faults);
        json_object_set_new(o, "sync", sync);
        return qu_out_json(o, err);
    }
    if (!isatty(STDOUT_FILENO)) return QU_OK; /* nobody wants to hear that all is well */
    return qu_out_printf(err, "%lld done, %lld unchanged, %lld removed, %lld failed\n",
                         (long long)r->done, (long long)r->unchanged, (long long)r->removed,
                         (long long)r->failed);
}

static void free_run(run *r)
{
    for (size_t i = 0; i < r->n_items; i++) free(r->items[i].path);
    qu_buf_free(&r->list);
    qu_pool_free(r->pool);
    for (int i = MAX_SEATS; i-- > 0;) qu_summarizer_free(r->seats[i]);
    qu_manifest_free(r->m);
    qu_roots_free(&r->roots);
    qu_roots_free(&r->scope);
    qu_session_close(&r->s);
    json_decref(r->faults);
    qu_buf_free(&r->prompt);
}

static int run_summarize(const qu_args *args)
{
    qu_err err = {0};
    run r = {.args = args, .started_ms = qu_os_now_ms(), .faults = json_array(),
             .mu = PTHREAD_MUTEX_INITIALIZER};
    qu_status st = QU_OK, saved;
    int code = QU_EXIT_OK;
    qu_signals_catch(qu_args_float(args, "max-time"));
    if (!qu_args_str(args, "out")) {
        st = qu_fail(&err, QU_ERR_ARG, "no folder to write to: give --out DIR");
        goto out;
    }
    QU_TRY_OUT(prepare(&r, &err));
    QU_TRY_OUT(take_settings(&r, &err));
    if (!r.stopped) st = do_all(&r, &err);
    qu_out_progress_end();
    saved = qu_manifest_save(r.m, st == QU_OK ? &err : NULL);
    if (st == QU_OK) st = saved;
    if (st == QU_OK) st = print_report(&r, &err);
out:
    qu_out_progress_end();
    if (r.failed || r.sync.failed || r.stopped) code = r.corrupt ? QU_EXIT_DAMAGED : QU_EXIT_SOME;
    if (st != QU_OK) code = qu_out_error(&err, NULL);
    free_run(&r);
    return code;
}

static const qu_option options[] = {
    QU_STR("out", "DIR", NULL, "folder for the summaries and their manifest", .letter = 'o'),
    QU_FLAG("extractive", "the documents' own best sentences; the model only cuts pages"),
    QU_ENUM("method", "NAME", "graph", QU_DIGEST_NAMES, "how sentences are ranked"),
    QU_INT("length", "N", "120", 1, 100000, "words of a summary, at most", .letter = 'n'),
    QU_STR("prompt", "FILE", NULL,
           "what to ask of the model, instead of: summarize the document in at most N words"),
    QU_INT("pages", "N", "64", 1, 65536,
           "pages of a document that the model reads, the best by the extractive ranking"),
    QU_INT("batch", "N", "8", 1, MAX_SEATS, "documents that the model writes on side by side"),
    QU_ENUM("format", "FORMAT", "md", QU_SYNOPSIS_FORMATS, "of the files"),
    QU_FLAG("changed", "keep summaries of unchanged documents that were made with other options"),
    QU_FLAG("no-sync", "summarize what the store holds, do not look at the files"),
    QU_TIME("max-time", "TIME", NULL, "stop cleanly after this long; the next run goes on there"),
    QU_FLAG("wait", "wait for another run or writer of the store to end"),
    QU_ENUM("codec", "CODEC", "f16", "f32|f16|q8|q4", "how a new store keeps KV; see quire index"),
};

const qu_command qu_cmd_summarize = {
    .name = "summarize",
    .args = "[PATH...]",
    .summary = "keep a folder of summaries current, one a document",
    .description =
        "Brings the store up to date as quire index does, then makes the summary of every "
        "document under PATH (none: of all) that is new, has changed, failed before or was made "
        "with other options, and removes those of documents that are gone. Each file is whole at "
        "every moment; a run that was stopped or killed is taken up by the next.\n\n"
        "Made for cron: nothing is printed while all is well. Exit 3: some documents failed, they "
        "are named and tried again next time, or the time was up; 4: disk or memory; 6: another "
        "run is at it. DIR/manifest.tsv says what each file was made from.",
    .examples = "quire summarize docs/ --out summaries/ --extractive\n"
                "quire summarize -o summaries/ --extractive --wait --max-time 2h",
    QU_OPTIONS(options),
    .max_args = -1,
    .run = run_summarize,
};
