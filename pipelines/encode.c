#include "pipelines/encode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dims.h"
#include "decode/device.h"
#include "kernels/codec.h"
#include "kernels/linear.h"
#include "retrieve/lookback.h"

/* Until this machine has been measured: a modest rate of floating-point operations a second, and
 * where documents are multiplied in tiles. */
#define ASSUMED_FLOPS 1e11
#define ASSUMED_IN_TILES 3e11
#define SPEED_NAME "prefill_flops_per_second"

/* A run shorter than this is not a measurement. */
#define MEASURE_SECONDS 0.5

struct qu_encoder {
    qu_session *s;
    qu_page_memory *prefix; /* NULL for an empty prefix */
};

/* --- the prefix --- */

static qu_status keep_prefix(void *ctx, int32_t page, int32_t layer, int32_t g, const void *data,
                             size_t bytes, qu_err *err)
{
    (void)page;
    (void)err;
    memcpy(qu_page_memory_slice(ctx, layer, g), data, bytes);
    return QU_OK;
}

static qu_status compute_prefix(qu_encoder *e, qu_err *err)
{
    qu_session *s = e->s;
    QU_OWN(qu_context_freep) qu_context *c = NULL;
    qu_page_tokens page = {s->prefix.ids, (int32_t)s->prefix.n, 0};
    qu_page_sink sink = {keep_prefix, e->prefix, NULL};
    QU_TRY(qu_context_create(&c, s->model, s->pool, s->codec, err));
    return qu_context_prefill(c, &page, 1, &sink, err);
}

/* Read or write it: one blob a layer, its KV heads' slices one after the other. */
static qu_status stored_prefix(qu_encoder *e, qu_txn *t, bool write, qu_err *err)
{
    const qu_model *m = e->s->model;
    size_t each = qu_page_memory_bytes(e->prefix), want = each * (size_t)m->n_kv_heads;
    QU_OWN(qu_buf_free) qu_buf b = {0};
    for (int32_t l = 0; l < m->n_layers; l++) {
        char name[32];
        snprintf(name, sizeof name, "prefix.%d", l);
        b.len = 0;
        if (!write) QU_TRY(qu_catalogue_get_meta(t, name, &b, err));
        if (!write && b.len != want)
            return qu_fail(err, QU_ERR_CORRUPT,
                           "stored prefix of layer %d has %zu bytes, expected %zu", l, b.len, want);
        for (int32_t g = 0; g < m->n_kv_heads; g++) {
            void *slice = qu_page_memory_slice(e->prefix, l, g);
            if (write) QU_TRY(qu_buf_add(&b, slice, each, err));
            else memcpy(slice, b.data + (size_t)g * each, each);
        }
        if (write) QU_TRY(qu_catalogue_put_meta(t, name, b.data, b.len, err));
    }
    return QU_OK;
}

static qu_status save_prefix(qu_encoder *e, qu_err *err)
{
    qu_txn *t;
    QU_TRY(qu_txn_begin(&t, e->s->store, QU_TXN_WRITE, err));
    return qu_txn_end(t, stored_prefix(e, t, true, err), err);
}

qu_status qu_encoder_create(qu_encoder **out, qu_session *s, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    QU_OWN(qu_encoder_freep) qu_encoder *e = NULL;
    qu_status st = QU_ERR_NOTFOUND;
    *out = NULL;
    QU_TRY(qu_memory_take(&e, 1, sizeof *e, err));
    e->s = s;
    if (s->prefix.n > 0) {
        QU_TRY(qu_page_memory_create(&e->prefix, s->model, s->codec, (int32_t)s->prefix.n, err));
        if (s->store) QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_READ, err));
        if (s->store) st = stored_prefix(e, t, false, err);
        qu_txn_abort(QU_TAKE(t));
        if (st == QU_ERR_NOTFOUND) {
            QU_TRY(compute_prefix(e, err));
            st = s->store && qu_store_is_writable(s->store) ? save_prefix(e, err) : QU_OK;
        }
        QU_TRY(st);
    }
    *out = QU_TAKE(e);
    return QU_OK;
}

void qu_encoder_free(qu_encoder *e)
{
    if (!e) return;
    qu_page_memory_free(e->prefix);
    free(e);
}

qu_status qu_encoder_attach_prefix(const qu_encoder *e, qu_context *c, qu_err *err)
{
    if (!e->prefix) return QU_OK;
    qu_page_source source = qu_page_memory_source(e->prefix);
    return qu_context_attach(c, (int32_t)e->s->prefix.n, 0, &source, err);
}

/* --- context hashes --- */

qu_hash qu_encode_context_start(const qu_session *s, int64_t n_tokens)
{
    qu_hash h = qu_hash_bytes(s->prefix.ids, (size_t)s->prefix.n * sizeof *s->prefix.ids, 1);
    if (s->prefix.n + n_tokens > s->model->context) {
        h = qu_hash_chain(h, QU_LOOKBACK_POLICY, sizeof QU_LOOKBACK_POLICY);
        h = qu_hash_chain(h, &s->model->context, sizeof s->model->context);
    }
    return h;
}

qu_hash qu_encode_context_next(qu_hash prev, const int32_t *ids, int32_t n)
{
    return qu_hash_chain(prev, ids, (size_t)n * sizeof *ids);
}

/* --- a document --- */

typedef struct encode_run {
    const qu_encoder *e;
    const qu_page *pages;
    int32_t n_pages;
    const int32_t *ids;
    const qu_encode_output *out;
    qu_context *c;           /* borrowed; of the first of those that run together, with n_made */
    int64_t *first;          /* [n_pages + 1] token index of each page */
    int32_t from, to;        /* pages of the running prefill */
    int32_t n_made;          /* pages made in it, of all documents */
    qu_lookback *lookback;   /* of a streamed document, with the rest of these */
    qu_page_memory **memory; /* [n_pages]: the header and what the running chunk sees */
    int32_t *seen;           /* [n_pages] pages that the chunk sees, in order; n_seen */
    uint8_t *use;            /* [n_pages] */
    int32_t n_seen;
} encode_run;

static qu_status pages_done(const encode_run *r, int32_t from, int32_t to, qu_err *err)
{
    for (int32_t p = from; r->out->page_done && p < to; p++)
        QU_TRY(r->out->page_done(r->out->ctx, p, r->pages[p].n_tokens, err));
    return QU_OK;
}

/* The document that a prefill's page is of; *page becomes its number there. */
static encode_run *run_of(encode_run *r, int32_t *page)
{
    for (; *page >= r->to - r->from; r++) *page -= r->to - r->from;
    *page += r->from;
    return r;
}

static qu_status hand_out(void *ctx, int32_t page, int32_t layer, int32_t g, const void *data,
                          size_t bytes, qu_err *err)
{
    bool begins_pass = layer == 0 && g == 0 && page == ((encode_run *)ctx)->n_made;
    encode_run *r = run_of(ctx, &page);
    qu_encode_part part = {QU_KV_SLICE, page, layer, g};
    if (begins_pass && r->out->stop && r->out->stop(r->out->ctx))
        return qu_fail(err, QU_ERR_CANCELLED, "stopped at page %d of %d", page, r->n_pages);
    return r->out->put(r->out->ctx, &part, data, bytes, err);
}

/* A page's last part. One of a streamed document is done when the next chunk's list is there. */
static qu_status hand_out_summary(void *ctx, int32_t page, const void *data, size_t bytes,
                                  qu_err *err)
{
    ((encode_run *)ctx)->n_made++;
    encode_run *r = run_of(ctx, &page);
    qu_encode_part part = {QU_KV_SUMMARY, page, 0, 0};
    if (r->lookback) QU_TRY(qu_lookback_summary(r->lookback, page, data, bytes, err));
    QU_TRY(r->out->put(r->out->ctx, &part, data, bytes, err));
    return r->lookback ? QU_OK : pages_done(r, page, page + 1, err);
}

static qu_status read_back(encode_run *r, int32_t page, qu_err *err)
{
    const qu_model *m = r->e->s->model;
    if (r->memory[page]) return QU_OK;
    QU_TRY(
        qu_page_memory_create(&r->memory[page], m, r->e->s->codec, r->pages[page].n_tokens, err));
    for (int32_t l = 0; l < m->n_layers; l++)
        for (int32_t g = 0; g < m->n_kv_heads; g++) {
            const void *data;
            size_t bytes;
            qu_encode_part part = {QU_KV_SLICE, page, l, g};
            QU_TRY(r->out->get(r->out->ctx, &part, &data, &bytes, err));
            if (bytes != qu_page_memory_bytes(r->memory[page]))
                return qu_fail(err, QU_ERR_CORRUPT,
                               "stored slice of page %d has %zu bytes, expected %zu", page, bytes,
                               qu_page_memory_bytes(r->memory[page]));
            memcpy(qu_page_memory_slice(r->memory[page], l, g), data, bytes);
        }
    return QU_OK;
}

static int64_t position(const encode_run *r, int32_t page)
{
    return r->e->s->prefix.n + r->first[page];
}

static qu_status attach(encode_run *r, int32_t page, int64_t pos, qu_err *err)
{
    QU_TRY(read_back(r, page, err));
    qu_page_source source = qu_page_memory_source(r->memory[page]);
    return qu_context_attach(r->c, r->pages[page].n_tokens, pos, &source, err);
}

/* Pages from..to of one document or several. */
static qu_status compute(encode_run *runs, int32_t n_runs, qu_err *err)
{
    QU_OWN(qu_freep) qu_page_tokens *pages = NULL;
    qu_page_sink sink = {hand_out, runs, hand_out_summary};
    int32_t n = 0;
    for (const encode_run *r = runs; r < runs + n_runs; r++) n += r->to - r->from;
    QU_TRY(qu_memory_take(&pages, n, sizeof *pages, err));
    n = runs->n_made = 0;
    for (const encode_run *r = runs; r < runs + n_runs; r++)
        for (int32_t p = r->from; p < r->to; p++)
            pages[n++] = (qu_page_tokens){r->ids + r->first[p], r->pages[p].n_tokens,
                                          position(r, p)};
    return qu_context_prefill(runs->c, pages, n, &sink, err);
}

/* Pages [from, to) of one document. */
static qu_status compute_some(encode_run *r, int32_t from, int32_t to, qu_err *err)
{
    r->from = from;
    r->to = to;
    return compute(r, 1, err);
}

/* Pages prefilled at a time: at most half the window, so that a chunk also sees what was before
 * it. */
static int32_t chunk_pages(const qu_model *m)
{
    int32_t n = m->context / (2 * QU_PAGE_TOKENS);
    return n < 1 ? 1 : n > QU_ENCODE_CHUNK ? QU_ENCODE_CHUNK : n;
}

int32_t qu_encode_kept(const qu_session *s, int64_t n_tokens, int32_t n_same)
{
    int32_t step = chunk_pages(s->model);
    if (n_same < 1 || s->prefix.n + n_tokens <= s->model->context) return n_same;
    int32_t chunks = (n_same - 1) / step; /* behind the header, with all their pages */
    return chunks > 1 ? 1 + (chunks - 1) * step : 1;
}

/* --- documents inside the window, side by side; a single one may have pages already --- */

static qu_status run_whole(encode_run *runs, int32_t n_runs, qu_err *err)
{
    QU_TRY(qu_encoder_attach_prefix(runs->e, runs->c, err));
    for (int32_t p = 0; p < runs->out->done; p++) QU_TRY(attach(runs, p, position(runs, p), err));
    return compute(runs, n_runs, err);
}

/* --- a streamed document --- */

/* What the window leaves beside prefix, header and the chunk [from, to), in tokens. */
static int64_t room(const encode_run *r, int32_t from, int32_t to)
{
    return r->e->s->model->context - r->e->s->prefix.n - r->pages[0].n_tokens -
           (r->first[to] - r->first[from]);
}

static int32_t chunk_end(const encode_run *r, int32_t from)
{
    int32_t step = chunk_pages(r->e->s->model);
    return from + step < r->n_pages ? from + step : r->n_pages;
}

/* The first of the latest pages that the chunk sees: all if they fit, else half the room's
 * worth. */
static int32_t first_recent(const encode_run *r, int32_t from)
{
    int64_t left = room(r, from, chunk_end(r, from));
    if (r->first[from] - r->first[1] <= left) return 1;
    int32_t p = from;
    while (p > 1 && r->first[from] - r->first[p - 1] <= left / 2) p--;
    return p;
}

/* The pages that the chunk at from looks back at, kept with it for a later resume: its own markers
 * come after this. */
static qu_status choose_earlier(encode_run *r, int32_t from, qu_err *err)
{
    int32_t recent = first_recent(r, from), n = 0;
    int64_t left = room(r, from, chunk_end(r, from)) - (r->first[from] - r->first[recent]);
    QU_TRY(qu_lookback_pick(r->lookback, r->use, recent, left, err));
    for (int32_t p = 1; p < recent; p++)
        if (r->use[p]) r->seen[n++] = p;
    r->n_seen = n;
    if (n == 0) return QU_OK;
    qu_encode_part part = {QU_KV_LOOKBACK, from, 0, 0};
    return r->out->put(r->out->ctx, &part, r->seen, (size_t)n * sizeof *r->seen, err);
}

/* After a restart: what was kept. */
static qu_status read_earlier(encode_run *r, int32_t from, qu_err *err)
{
    const void *data;
    size_t bytes;
    int32_t recent = first_recent(r, from), before = 0;
    qu_encode_part part = {QU_KV_LOOKBACK, from, 0, 0};
    qu_status st = r->out->get(r->out->ctx, &part, &data, &bytes, err);
    if (st == QU_ERR_NOTFOUND) bytes = 0; /* an empty list is not kept */
    if (st != QU_OK && st != QU_ERR_NOTFOUND) return st;
    r->n_seen = (int32_t)(bytes / sizeof *r->seen);
    if (bytes % sizeof *r->seen != 0 || r->n_seen >= r->n_pages) goto bad;
    if (bytes > 0) memcpy(r->seen, data, bytes);
    for (int32_t i = 0; i < r->n_seen; before = r->seen[i++])
        if (r->seen[i] <= before || r->seen[i] >= recent) goto bad;
    for (int32_t p = 1; p < from; p++) {
        part = (qu_encode_part){QU_KV_SUMMARY, p, 0, 0};
        QU_TRY(r->out->get(r->out->ctx, &part, &data, &bytes, err));
        QU_TRY(qu_lookback_summary(r->lookback, p, data, bytes, err));
    }
    return QU_OK;
bad:
    return qu_fail(err, QU_ERR_CORRUPT, "list of pages that page %d looks back at is damaged",
                   from);
}

static void forget_unseen(encode_run *r, int32_t recent, int32_t from)
{
    memset(r->use, 0, (size_t)r->n_pages);
    for (int32_t i = 0; i < r->n_seen; i++) r->use[r->seen[i]] = 1;
    for (int32_t p = 1; p < r->n_pages; p++) {
        if (r->use[p] || (p >= recent && p < from)) continue;
        qu_page_memory_free(r->memory[p]);
        r->memory[p] = NULL;
    }
}

/* [prefix][header][looked back at][latest], everything but the latest moved up to stand before
 * them. */
static qu_status lay_out(encode_run *r, int32_t from, qu_err *err)
{
    int32_t recent = first_recent(r, from), fixed = r->e->prefix ? 2 : 1;
    int64_t pos = position(r, recent);
    forget_unseen(r, recent, from);
    qu_context_cut(r->c, fixed);
    for (int32_t i = 0; i < r->n_seen; i++) pos -= r->pages[r->seen[i]].n_tokens;
    qu_context_move(r->c, fixed - 1, pos - r->pages[0].n_tokens);
    if (r->e->prefix) qu_context_move(r->c, 0, pos - r->pages[0].n_tokens - r->e->s->prefix.n);
    for (int32_t i = 0; i < r->n_seen; i++) {
        QU_TRY(attach(r, r->seen[i], pos, err));
        pos += r->pages[r->seen[i]].n_tokens;
    }
    for (int32_t p = recent; p < from; p++) QU_TRY(attach(r, p, position(r, p), err));
    qu_lookback_begin(r->lookback, pos > QU_PAGE_TOKENS ? pos - QU_PAGE_TOKENS : 0);
    return QU_OK;
}

/* Prefix, then the header: attached from memory, so that both can be moved. */
static qu_status begin_stream(encode_run *r, qu_err *err)
{
    qu_session *s = r->e->s;
    QU_OWN(qu_freep) int32_t *tokens = NULL;
    QU_TRY(qu_memory_take(&tokens, r->n_pages, sizeof *tokens, err));
    for (int32_t p = 0; p < r->n_pages; p++) tokens[p] = r->pages[p].n_tokens;
    QU_TRY(qu_lookback_create(&r->lookback, s->model, s->pool, tokens, r->n_pages, err));
    QU_TRY(qu_encoder_attach_prefix(r->e, r->c, err));
    int32_t prefix_segments = qu_context_segments(r->c);
    if (r->out->done == 0) {
        QU_TRY(compute_some(r, 0, 1, err));
        QU_TRY(pages_done(r, 0, 1, err));
        qu_context_cut(r->c, prefix_segments);
    }
    QU_TRY(attach(r, 0, position(r, 0), err));
    qu_context_watch(r->c, qu_lookback_watch, r->lookback);
    return QU_OK;
}

static qu_status run_streamed(encode_run *r, qu_err *err)
{
    int32_t step = chunk_pages(r->e->s->model), done = r->out->done;
    int32_t start = done <= 1 ? 1 : 1 + (done - 1) / step * step;
    if (start >= r->n_pages) return QU_OK;
    QU_TRY(begin_stream(r, err));
    if (start > 1) QU_TRY(read_earlier(r, start, err));
    for (int32_t p = start, to; p < r->n_pages; p = to) {
        to = chunk_end(r, p);
        QU_TRY(lay_out(r, p, err));
        QU_TRY(compute_some(r, p, to, err));
        if (to < r->n_pages) QU_TRY(choose_earlier(r, to, err));
        QU_TRY(pages_done(r, p, to, err));
    }
    return QU_OK;
}

/* --- a list of documents --- */

static void end_run(encode_run *r)
{
    qu_lookback_free(r->lookback);
    for (int32_t p = 0; r->memory && p < r->n_pages; p++) qu_page_memory_free(r->memory[p]);
    free(r->memory);
    free(r->first);
    free(r->seen);
    free(r->use);
}

static qu_status begin_run(encode_run *r, const qu_encoder *e, const qu_encode_doc *d, qu_err *err)
{
    int32_t n = d->n_pages;
    if (n < 1) return qu_fail(err, QU_ERR_ARG, "a document without pages");
    QU_TRY(qu_encode_check(e->s, d->pages, err));
    *r = (encode_run){.e = e, .pages = d->pages, .n_pages = n, .ids = d->ids, .out = &d->out};
    r->from = d->out.done;
    r->to = n;
    QU_TRY(qu_memory_take(&r->memory, n, sizeof *r->memory, err));
    QU_TRY(qu_memory_take(&r->first, n + 1, sizeof *r->first, err));
    QU_TRY(qu_memory_take(&r->seen, n, sizeof *r->seen, err));
    QU_TRY(qu_memory_take(&r->use, n, 1, err));
    for (int32_t p = 0; p < n; p++) r->first[p + 1] = r->first[p] + d->pages[p].n_tokens;
    return QU_OK;
}

static bool is_alone(const encode_run *r)
{
    const qu_session *s = r->e->s;
    return r->out->done > 0 || s->prefix.n + r->first[r->n_pages] > s->model->context;
}

/* Run the first of n documents, and *k - 1 more with it. */
static qu_status run_some(encode_run *r, int32_t n, int32_t *k, qu_err *err)
{
    const qu_session *s = r->e->s;
    QU_OWN(qu_context_freep) qu_context *c = NULL;
    int64_t tokens = r->first[r->n_pages];
    *k = 1;
    if (r->out->done >= r->n_pages) return QU_OK;
    QU_TRY(qu_context_create(&c, s->model, s->pool, s->codec, err));
    r->c = c;
    if (s->prefix.n + tokens > s->model->context) return run_streamed(r, err);
    if (!is_alone(r) && !qu_device_name(s->model))
        for (; *k < n && tokens < QU_ENCODE_TOKENS && !is_alone(&r[*k]); ++*k)
            tokens += r[*k].first[r[*k].n_pages];
    return run_whole(r, *k, err);
}

qu_status qu_encode_documents(const qu_encoder *e, const qu_encode_doc *docs, int32_t n,
                              qu_err *err)
{
    QU_OWN(qu_freep) encode_run *runs = NULL;
    qu_status st = QU_OK;
    QU_TRY(qu_memory_take(&runs, n, sizeof *runs, err));
    for (int32_t i = 0; st == QU_OK && i < n; i++) st = begin_run(&runs[i], e, &docs[i], err);
    for (int32_t i = 0, k; st == QU_OK && i < n; i += k) st = run_some(&runs[i], n - i, &k, err);
    for (int32_t i = 0; i < n; i++) end_run(&runs[i]);
    return st;
}

qu_status qu_encode_check(const qu_session *s, const qu_page *header, qu_err *err)
{
    const qu_model *m = s->model;
    if (s->prefix.n + header->n_tokens + chunk_pages(m) * QU_PAGE_TOKENS <= m->context)
        return QU_OK;
    return qu_fail(err, QU_ERR_LIMIT,
                   "model '%s' has a window of %d tokens: too small for documents", m->name,
                   m->context);
}

/* --- speed --- */

double qu_encode_speed(qu_session *s)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    double speed = 0;
    if (s->store && qu_txn_begin(&t, s->store, QU_TXN_READ, NULL) == QU_OK &&
        qu_catalogue_get_meta(t, SPEED_NAME, &b, NULL) == QU_OK && b.len == sizeof speed)
        memcpy(&speed, b.data, sizeof speed);
    if (speed > 0) return speed;
    return qu_linear_prefill_kind() == QU_PREFILL_AMX_BF16 ? ASSUMED_IN_TILES : ASSUMED_FLOPS;
}

qu_status qu_encode_speed_put(qu_session *s, double flops, double seconds, qu_err *err)
{
    double speed = flops / seconds;
    if (seconds < MEASURE_SECONDS || !(speed > 0)) return QU_OK;
    return qu_session_put_meta(s, SPEED_NAME, &speed, sizeof speed, err);
}
