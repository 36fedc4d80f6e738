#include "pipelines/sync.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include "base/os.h"
#include "decode/paging.h"
#include "ingest/filter.h"
#include "ingest/reader.h"
#include "ingest/walk.h"
#include "pipelines/encode.h"
#include "pipelines/output.h"
#include "pipelines/paths.h"

/* A batch is one catalogue transaction. */
enum { BATCH_DOCS = 256, BATCH_BYTES = 16 << 20, MAX_TICK_MS = 20 };

typedef struct sync_run {
    qu_session *s;
    const qu_sync_options *options;
    qu_sync_report *report;
    qu_txn *txn;
    qu_lexical *lx;
    int64_t batch_docs, batch_bytes;
    qu_roots roots; /* real paths of those that are there */
    qu_buf seen;    /* uint64_t: documents that are still there */
    qu_buf unknown; /* folders that could not be read: NUL-ended paths */
    int64_t met;    /* files and skipped things that the walk came upon */
    qu_reader *reader;
    qu_buf lists[2]; /* of rules */
    const qu_walk_entry *file; /* that is read */
    bool filtered;   /* by a command of the user's: no bytes of the file can be cited */
    bool ended;      /* the store failed */
    qu_err *err;
} sync_run;

static void end_run(sync_run *r)
{
    qu_out_progress_end();
    qu_txn_abort(r->txn);
    qu_lexical_close(r->lx);
    qu_reader_free(r->reader);
    qu_buf_free(&r->lists[0]);
    qu_buf_free(&r->lists[1]);
    qu_roots_free(&r->roots);
    qu_buf_free(&r->seen);
    qu_buf_free(&r->unknown);
}

static qu_status add_seen(sync_run *r, uint64_t id)
{
    return qu_buf_add(&r->seen, &id, sizeof id, r->err);
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Dry runs keep one transaction and abort it at the end. */
static qu_status end_batch(sync_run *r, bool force)
{
    bool full = r->batch_docs >= BATCH_DOCS || r->batch_bytes >= BATCH_BYTES;
    if (r->options->dry_run || (!force && !full)) return QU_OK;
    qu_txn *t = r->txn;
    r->txn = NULL;
    r->batch_docs = r->batch_bytes = 0;
    QU_TRY(qu_txn_commit(t, r->err));
    return qu_txn_begin(&r->txn, r->s->store, QU_TXN_WRITE, r->err);
}

/* Below a root that is being walked: only such documents may lose their place. */
static bool is_ours(const sync_run *r, const qu_doc *d)
{
    for (size_t i = 0; i < r->roots.n; i++)
        if (qu_sync_under(d, r->roots.paths[i])) return true;
    return false;
}

/* --- one document --- */

static int64_t char_start(const char *text, int64_t at)
{
    while (at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80) at--;
    return at;
}

typedef struct paged {
    qu_tokens tokens; /* header, then text */
    qu_page *pages;
    int32_t n_pages;
} paged;

static void free_paged(paged *p)
{
    qu_tokens_free(&p->tokens);
    free(p->pages);
}

/* Header and text to tokens, tokens to pages, pages to their context hashes. */
static qu_status make_pages(sync_run *r, const qu_document *doc, paged *out)
{
    qu_session *s = r->s;
    QU_OWN(qu_freep) int64_t *ends = NULL;
    int32_t n = 0;
    QU_TRY(qu_template_header(s->template, s->tok, doc->title, &out->tokens, r->err));
    int64_t header = out->tokens.n;
    QU_TRY(qu_template_text(s->template, s->tok, doc->text, (size_t)doc->text_bytes, &out->tokens,
                            r->err));
    const int32_t *ids = out->tokens.ids;
    const int64_t *at = out->tokens.at + header;
    QU_TRY(qu_paging_cut(&ends, &n, out->tokens.n - header, at, doc->cuts, doc->n_cuts, doc->text,
                         r->err));
    QU_TRY(qu_memory_take(&out->pages, n + 1, sizeof *out->pages, r->err));
    out->n_pages = n + 1;
    out->pages[0].n_tokens = (int32_t)header;
    qu_hash h =
        qu_encode_context_next(qu_encode_context_start(s, out->tokens.n), ids, (int32_t)header);
    out->pages[0].context = h;
    for (int32_t i = 0; i < n; i++) {
        qu_page *p = &out->pages[i + 1];
        int64_t from = i ? ends[i - 1] : 0, to = ends[i];
        p->n_tokens = (int32_t)(to - from);
        p->text_start = i ? char_start(doc->text, at[from]) : 0;
        p->text_end = i + 1 < n ? char_start(doc->text, at[to]) : doc->text_bytes;
        h = p->context = qu_encode_context_next(h, ids + header + from, p->n_tokens);
    }
    return QU_OK;
}

static qu_status pack_map(const qu_document *doc, qu_buf *b, qu_err *err)
{
    int64_t counts[2] = {doc->n_runs, doc->n_headings};
    QU_TRY(qu_buf_add(b, counts, sizeof counts, err));
    QU_TRY(qu_buf_add(b, doc->runs, (size_t)doc->n_runs * sizeof *doc->runs, err));
    return qu_buf_add(b, doc->headings, (size_t)doc->n_headings * sizeof *doc->headings, err);
}

qu_status qu_sync_unpack_map(const void *blob, size_t n, int64_t text_bytes,
                             const qu_source_run **runs, int64_t *n_runs,
                             const qu_heading **headings, int64_t *n_headings, qu_err *err)
{
    int64_t c[2] = {0};
    if (n >= sizeof c) memcpy(c, blob, sizeof c);
    int64_t room = (int64_t)n - (int64_t)sizeof c;
    bool good = room >= 0 && c[0] >= 0 && c[1] >= 0 && c[0] <= room / (int64_t)sizeof **runs &&
                c[1] <= room / (int64_t)sizeof **headings &&
                c[0] * (int64_t)sizeof **runs + c[1] * (int64_t)sizeof **headings == room;
    *n_runs = c[0];
    *n_headings = c[1];
    *runs = (const qu_source_run *)((const int64_t *)blob + 2);
    *headings = (const qu_heading *)(*runs + (good ? c[0] : 0));
    if (good && qu_document_map_fits(*runs, *n_runs, *headings, *n_headings, text_bytes, INT64_MAX))
        return QU_OK;
    return qu_fail(err, QU_ERR_CORRUPT, "stored source map of %zu bytes contradicts itself", n);
}

size_t qu_sync_file_len(const qu_doc *d)
{
    size_t n = d->flags >> QU_DOC_FILE_SHIFT;
    return n > 0 && n < d->path_len ? n : d->path_len;
}

bool qu_sync_under(const qu_doc *d, const char *root)
{
    size_t n = qu_sync_file_len(d);
    return qu_paths_under(d->path, root) || (strlen(root) == n && memcmp(root, d->path, n) == 0);
}

/* stat or lstat of a document's file. */
static int stat_file(const qu_doc *d, bool follow, struct stat *sb)
{
    char path[PATH_MAX];
    size_t n = qu_sync_file_len(d);
    errno = ENOENT;
    if (n >= sizeof path) return -1; /* no file has so long a name */
    memcpy(path, d->path, n);
    path[n] = 0;
    return follow ? stat(path, sb) : lstat(path, sb);
}

const char *qu_sync_compare(const qu_doc *d)
{
    struct stat sb;
    if (stat_file(d, true, &sb) != 0) return "gone";
    int64_t mtime_ns = (int64_t)sb.st_mtim.tv_sec * 1000000000 + sb.st_mtim.tv_nsec;
    return sb.st_size == d->size && mtime_ns == d->mtime_ns ? "current" : "changed";
}

static qu_doc identity_of(const qu_walk_entry *e)
{
    return (qu_doc){.path = (char *)e->path,
                    .path_len = strlen(e->path),
                    .size = e->size_bytes,
                    .mtime_ns = e->mtime_ns,
                    .inode = e->inode,
                    .dev = e->dev};
}

/* An edited document keeps the KV of the pages before the first changed one, in the old version's
 * file until the rest is made: equal context hashes mean equal tokens to the left. */
static qu_status keep_kv(sync_run *r, uint64_t doc_id, const qu_doc *old, const qu_page *old_pages,
                         int32_t n_old, const paged *p)
{
    int32_t n = 0, most = old->kv_pages < n_old ? old->kv_pages : n_old;
    while (n < most && n < p->n_pages && old_pages[n].n_tokens == p->pages[n].n_tokens &&
           qu_hash_equal(old_pages[n].context, p->pages[n].context))
        n++;
    n = qu_encode_kept(r->s, p->tokens.n, n);
    if (n == 0) return QU_OK;
    return qu_catalogue_set_kv(r->txn, doc_id, old->kv_id, old->kv_file, n, r->err);
}

/* e: its file, with the document's path. old: the version that this one replaces or another
 * document with the same bytes, whose KV is shared; or NULL. */
static qu_status put(sync_run *r, const qu_document *doc, const qu_walk_entry *e, uint32_t flags,
                     const qu_doc *old)
{
    QU_OWN(qu_freep) qu_page *old_pages = NULL;
    QU_OWN(free_paged) paged p = {0};
    QU_OWN(qu_buf_free) qu_buf map = {0};
    int32_t n_old = 0;
    qu_doc d = identity_of(e);
    QU_TRY(make_pages(r, doc, &p));
    QU_TRY(pack_map(doc, &map, r->err));
    if (old && old->kv_file)
        QU_TRY(qu_catalogue_pages(r->txn, old->doc_id, &old_pages, &n_old, r->err));
    QU_TRY(qu_catalogue_next_doc_id(r->txn, &d.doc_id, r->err));
    d.title = doc->title;
    d.content_hash = doc->content_hash;
    d.indexed_ms = qu_os_wall_ms();
    d.flags = flags;
    memcpy(d.format, doc->format, sizeof d.format);
    memcpy(d.charset, doc->charset, sizeof d.charset);
    QU_TRY(qu_catalogue_put_doc(r->txn, &d, doc->text, (size_t)doc->text_bytes, map.data, map.len,
                                p.pages, p.n_pages, p.tokens.ids, p.tokens.n, r->err));
    if (n_old > 0) QU_TRY(keep_kv(r, d.doc_id, old, old_pages, n_old, &p));
    if (!r->options->dry_run)
        QU_TRY(qu_session_add_words(r->lx, &d, doc->text, p.pages, p.n_pages, r->err));
    QU_TRY(add_seen(r, d.doc_id));
    r->report->text_bytes += doc->text_bytes;
    r->report->n_tokens += p.tokens.n;
    r->report->n_pages += p.n_pages;
    r->batch_docs++;
    r->batch_bytes += doc->text_bytes * 2;
    return QU_OK;
}

static bool is_gone(const qu_doc *d)
{
    struct stat sb;
    return stat_file(d, false, &sb) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

/* A document with the same bytes: one whose file is gone, so that this path is where it went
 * (*moved), else one that has KV to share. same->doc_id 0: neither. */
static qu_status find_same(sync_run *r, qu_hash content, qu_doc *same, bool *moved)
{
    *moved = false;
    for (uint64_t id = 0; !*moved;) {
        qu_doc d;
        QU_TRY(qu_catalogue_find_content(r->txn, content, id, &id, r->err));
        if (id == 0) return QU_OK;
        QU_TRY(qu_catalogue_get_doc(r->txn, id, &d, r->err));
        *moved = is_ours(r, &d) && is_gone(&d);
        bool better = *moved || (d.kv_file && same->doc_id == 0);
        qu_doc other = better ? *same : d;
        if (better) *same = d;
        qu_doc_free(&other);
    }
    return QU_OK;
}

/* Its size or time moved on while it was read: what was read may be of two versions. The document
 * keeps the earlier time, so that the next run reads the file again. */
static bool has_changed(const qu_doc *identity)
{
    return strcmp(qu_sync_compare(identity), "current") != 0;
}

/* --- the walk --- */

static bool same_file(const qu_doc *d, const qu_doc *file)
{
    return d->size == file->size && d->mtime_ns == file->mtime_ns && d->inode == file->inode &&
           d->dev == file->dev;
}

/* A document of a file, e being the file with the document's path: unchanged, moved here, or
 * put. */
static qu_status on_version(sync_run *r, const qu_walk_entry *e, uint32_t flags,
                            const qu_document *doc)
{
    QU_OWN(qu_doc_free) qu_doc old = {0};
    qu_doc identity = identity_of(e);
    bool moved = false;
    qu_status st = qu_catalogue_find_path(r->txn, identity.path, identity.path_len, &old, r->err);
    bool known = st == QU_OK;
    if (!known && st != QU_ERR_NOTFOUND) return st;
    identity.flags = flags;
    if (known && qu_hash_equal(old.content_hash, doc->content_hash)) {
        QU_TRY(qu_catalogue_touch(r->txn, old.doc_id, &identity, r->err));
        r->report->unchanged++;
        return add_seen(r, old.doc_id);
    }
    if (!known) QU_TRY(find_same(r, doc->content_hash, &old, &moved));
    if (moved) {
        QU_TRY(qu_catalogue_rename(r->txn, old.doc_id, &identity, r->err));
        r->report->renamed++;
        r->batch_docs++;
        QU_TRY(add_seen(r, old.doc_id));
    } else {
        if (known && !r->options->dry_run) QU_TRY(qu_lexical_remove(r->lx, old.doc_id, r->err));
        QU_TRY(put(r, doc, e, flags, old.doc_id ? &old : NULL));
        *(known ? &r->report->changed : &r->report->added) += 1;
    }
    st = end_batch(r, false);
    qu_out_progress("reading", r->report->added + r->report->changed + r->report->unchanged, 0,
                    "files");
    return st;
}

static qu_status on_document(void *ctx, const char *member, qu_document *doc)
{
    sync_run *r = ctx;
    qu_walk_entry e = *r->file;
    uint32_t flags = doc->has_source && !r->filtered ? QU_DOC_HAS_SOURCE : 0;
    QU_OWN(qu_buf_free) qu_buf path = {0};
    r->ended = true; /* the store's fault, not the file's, unless all goes well */
    if (member) {
        flags |= (uint32_t)strlen(e.path) << QU_DOC_FILE_SHIFT;
        QU_TRY(qu_buf_printf(&path, r->err, "%s!%s", e.path, member));
        e.path = path.data;
    }
    QU_TRY(on_version(r, &e, flags, doc));
    r->ended = false;
    return QU_OK;
}

/* Pictures in an archive are not worth a line each. */
static qu_status on_fault(void *ctx, const char *member, const qu_err *why)
{
    sync_run *r = ctx;
    bool nothing = why->status == QU_ERR_UNSUPPORTED;
    (void)member;
    *(nothing ? &r->report->skipped : &r->report->failed) += 1;
    if (!nothing) qu_out_note("failed in '%.100s': %s", r->file->path, why->msg);
    return QU_OK;
}

/* Append the command that --filter gives for files of that ending; nothing if none. */
static qu_status find_filter(qu_buf *command, const char *filters, const char *path, qu_err *err)
{
    size_t n = strlen(path);
    for (const char *p = filters, *end; p && *p; p = end + 1) {
        size_t m = strcspn(p, "=");
        end = strchr(p, '\n');
        if (n > m + 1 && path[n - m - 1] == '.' && strncasecmp(path + n - m, p, m) == 0)
            return qu_buf_add(command, p + m + 1, (size_t)(end - p) - m - 1, err);
    }
    return QU_OK;
}

static qu_status read_file(sync_run *r, qu_err *err)
{
    const qu_reader_sink sink = {on_document, on_fault, r};
    const qu_sync_options *o = r->options;
    const char *path = r->file->path;
    QU_OWN(qu_buf_free) qu_buf text = {0}, command = {0};
    QU_TRY(find_filter(&command, o->filters, path, err));
    r->filtered = command.len > 0;
    if (!r->filtered) return qu_reader_read(r->reader, path, &sink, err);
    QU_TRY(qu_filter_run(&text, command.data, path, QU_FILTER_SECONDS, o->stop, err));
    command.len = 0; /* a name for messages, with no ending that means anything */
    QU_TRY(qu_buf_printf(&command, err, "%s (filtered)", path));
    return qu_reader_parse(r->reader, text.data, (int64_t)text.len, command.data, &sink, err);
}

/* The clock of file times moves by ticks of some milliseconds. A file that was written in the tick
 * of now may be written again and keep its time and size: it is read when the tick is over, so that
 * a later change has a later time. */
static void await_tick(const qu_walk_entry *e)
{
    const struct timespec ms = {0, 1000000};
    struct timespec now;
    for (int i = 0; i < MAX_TICK_MS && clock_gettime(CLOCK_REALTIME_COARSE, &now) == 0; i++) {
        if ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec != e->mtime_ns) return;
        nanosleep(&ms, NULL);
    }
}

static qu_status on_file(void *ctx, const qu_walk_entry *e)
{
    sync_run *r = ctx;
    QU_OWN(qu_doc_free) qu_doc old = {0};
    qu_doc identity = identity_of(e);
    qu_err why = {0};
    r->met++;
    r->file = e;
    if (r->options->stop && r->options->stop()) {
        r->report->stopped = true;
        return QU_ERR_CANCELLED;
    }
    qu_status st = qu_catalogue_find_path(r->txn, e->path, identity.path_len, &old, r->err);
    bool known = st == QU_OK;
    if (!known && st != QU_ERR_NOTFOUND) return st;
    if (known && same_file(&old, &identity)) {
        r->report->unchanged++;
        return add_seen(r, old.doc_id);
    }
    await_tick(e);
    qu_status read = read_file(r, &why);
    if (read == QU_OK) {
        if (has_changed(&identity))
            qu_out_warn("'%s' changed while it was read: run quire index again when it is complete",
                        e->path);
        return QU_OK;
    }
    if (r->ended || read == QU_ERR_NOMEM || read == QU_ERR_CANCELLED) {
        r->report->stopped |= read == QU_ERR_CANCELLED;
        if (r->err && why.status != QU_OK) *r->err = why;
        return read;
    }
    /* An old version of a file that can no longer be read must not answer. */
    bool nothing = read == QU_ERR_UNSUPPORTED || (read == QU_ERR_FORMAT && e->size_bytes == 0);
    *(nothing ? &r->report->skipped : &r->report->failed) += 1;
    if (!nothing || !r->options->quiet_skips)
        qu_out_note("%s: %s", nothing ? "skipped" : "failed", why.msg);
    return known && !nothing && read == QU_ERR_IO ? add_seen(r, old.doc_id) : QU_OK;
}

static qu_status on_skip(void *ctx, const qu_walk_skip *s)
{
    sync_run *r = ctx;
    r->met++;
    if (s->folder) {
        r->report->failed++;
        QU_TRY(qu_buf_add(&r->unknown, s->path, strlen(s->path) + 1, r->err));
    } else {
        r->report->skipped++;
    }
    if (!r->options->quiet_skips || s->folder) qu_out_note("skipped '%s': %s", s->path, s->reason);
    return QU_OK;
}

static bool is_unknown(const sync_run *r, const qu_doc *d)
{
    for (size_t i = 0; i < r->unknown.len; i += strlen(r->unknown.data + i) + 1)
        if (qu_sync_under(d, r->unknown.data + i)) return true;
    return false;
}

static bool is_seen(const sync_run *r, uint64_t id)
{
    return r->seen.len && bsearch(&id, r->seen.data, r->seen.len / sizeof id, sizeof id, by_id);
}

/* What is inside a file that was met and not read again is still there; so is what was read from it
 * this time, of which the rest then has another identity. */
static qu_status stays_inside(sync_run *r, const qu_doc *d, bool *stays)
{
    QU_OWN(qu_doc_free) qu_doc file = {0};
    size_t n = qu_sync_file_len(d);
    *stays = false;
    if (n == d->path_len) return QU_OK;
    qu_status st = qu_catalogue_find_path(r->txn, d->path, n, &file, r->err);
    *stays = st == QU_OK && is_seen(r, file.doc_id) && same_file(d, &file);
    return st == QU_ERR_NOTFOUND ? QU_OK : st;
}

/* Documents under the walked roots that were not met are gone. */
static qu_status remove_vanished(sync_run *r)
{
    if (r->seen.len) qsort(r->seen.data, r->seen.len / sizeof(uint64_t), sizeof(uint64_t), by_id);
    for (uint64_t after = 0;;) {
        QU_OWN(qu_doc_free) qu_doc d = {0};
        QU_TRY(qu_catalogue_next_doc(r->txn, after, &d, r->err));
        if (d.doc_id == 0) return QU_OK;
        after = d.doc_id;
        bool there = is_seen(r, after);
        if (!there) QU_TRY(stays_inside(r, &d, &there));
        if (there || !is_ours(r, &d) || is_unknown(r, &d)) continue;
        QU_TRY(qu_catalogue_del_doc(r->txn, after, r->err));
        if (!r->options->dry_run) QU_TRY(qu_lexical_remove(r->lx, after, r->err));
        r->report->removed++;
        r->batch_docs++;
    }
}

/* --- the word index must stand where the catalogue stands before changes are added to it --- */

static qu_status open_lexical(sync_run *r)
{
    QU_OWN(qu_buf_free) qu_buf path = {0};
    QU_TRY(qu_session_lexical_path(r->s, &path, r->err));
    QU_TRY(qu_lexical_open(&r->lx, path.data, QU_LEXICAL_WRITE, r->err));
    if (qu_lexical_generation(r->lx) == qu_catalogue_generation(r->txn)) return QU_OK;
    QU_TRY(qu_lexical_clear(r->lx, r->err));
    return qu_session_fill_lexical(r->txn, r->lx, r->err);
}

static qu_status finish(sync_run *r, uint64_t before)
{
    if (r->options->dry_run) return QU_OK;
    QU_TRY(end_batch(r, true));
    uint64_t generation = qu_catalogue_generation(r->txn);
    if (generation == before && qu_lexical_generation(r->lx) == generation) return QU_OK;
    return qu_lexical_commit(r->lx, generation, r->err);
}

/* Real paths of the roots that are there. */
static qu_status find_roots(sync_run *r, const char *const *roots, size_t n_roots)
{
    for (size_t i = 0; i < n_roots; i++) {
        QU_OWN(qu_freep) char *real = realpath(roots[i], NULL);
        if (real) QU_TRY(qu_roots_add(&r->roots, real, r->err));
        if (real) continue;
        if (errno == ENOMEM) return qu_fail_nomem(r->err, (long long)strlen(roots[i]));
        r->report->failed++;
        qu_out_warn(
            "root '%s' is gone, what is stored of it was kept: mount it again, or remove it with "
            "quire rm",
            roots[i]);
    }
    return QU_OK;
}

/* An empty root whose documents lay on another device is the bare mount point of a disk that is
 * away: keep what is stored of it. */
static qu_status check_empty(sync_run *r, const char *root)
{
    struct stat sb;
    if (stat(root, &sb) != 0) return QU_OK;
    for (uint64_t after = 0;;) {
        QU_OWN(qu_doc_free) qu_doc d = {0};
        QU_TRY(qu_catalogue_next_doc(r->txn, after, &d, r->err));
        if (d.doc_id == 0) return QU_OK;
        after = d.doc_id;
        if (!qu_sync_under(&d, root) || d.dev == (uint64_t)sb.st_dev) continue;
        r->report->failed++;
        qu_out_warn(
            "root '%s' is empty and on another device than before, what is stored of it was "
            "kept: mount it again, or remove it with quire rm",
            root);
        return qu_buf_add(&r->unknown, root, strlen(root) + 1, r->err);
    }
}

static qu_status walk_roots(sync_run *r, const qu_walk_rules *rules)
{
    qu_err *err = r->err;
    for (size_t i = 0; i < r->roots.n && !r->report->stopped; i++) {
        qu_err why = {0};
        int64_t met = r->met;
        r->err = &why; /* a stop is no error of ours */
        const char *root = r->roots.paths[i];
        qu_status st = qu_walk(&root, 1, rules, on_file, on_skip, r, &why);
        r->err = err;
        if (st == QU_OK && r->met == met) st = check_empty(r, root);
        if (st == QU_OK || (st == QU_ERR_CANCELLED && r->report->stopped)) continue;
        return qu_fail(err, st, "%s", why.msg);
    }
    return QU_OK;
}

/* The rules that hold: remember new ones, else get those remembered. */
static qu_status take_rules(sync_run *r, qu_walk_rules *rules)
{
    qu_buf *lists = r->lists;
    static const char *const names[] = {QU_SYNC_EXCLUDE, QU_SYNC_INCLUDE};
    const qu_walk_rules *given = r->options->rules;
    for (int i = 0; i < 2; i++) {
        const char *list = !given ? NULL : i ? given->include : given->exclude;
        if (list) QU_TRY(qu_buf_puts(&lists[i], list, r->err));
        qu_status st = QU_OK;
        if (given && !r->options->dry_run)
            st = qu_catalogue_put_meta(r->txn, names[i], lists[i].data, lists[i].len, r->err);
        else if (!given)
            st = qu_catalogue_get_meta(r->txn, names[i], &lists[i], r->err);
        if (st != QU_OK && st != QU_ERR_NOTFOUND) return st;
    }
    rules->exclude = lists[0].len ? lists[0].data : NULL;
    rules->include = lists[1].len ? lists[1].data : NULL;
    return QU_OK;
}

qu_status qu_sync(qu_session *s, const char *const *roots, size_t n_roots,
                  const qu_sync_options *options, qu_sync_report *report, qu_err *err)
{
    QU_OWN(end_run) sync_run r = {.s = s, .options = options, .report = report, .err = err};
    qu_walk_rules rules = {0};
    qu_reader_options how = {.program = options->program ? options->program : "",
                             .stop = options->stop};
    QU_TRY(qu_reader_create(&r.reader, &how, err));
    QU_TRY(find_roots(&r, roots, n_roots));
    QU_TRY(qu_txn_begin(&r.txn, s->store, QU_TXN_WRITE, err));
    uint64_t before = qu_catalogue_generation(r.txn);
    QU_TRY(open_lexical(&r));
    QU_TRY(take_rules(&r, &rules));
    QU_TRY(walk_roots(&r, &rules));
    qu_out_progress_end();
    if (!report->stopped) QU_TRY(remove_vanished(&r));
    return finish(&r, before);
}
