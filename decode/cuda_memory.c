/* Memory of a CUDA device for segments: pieces from pools, pages that are kept after their context,
 * and which slices make way when there is no room. */
#include "base/memory.h"
#include "decode/cuda_int.h"

/* Left free for scratch and for others. */
enum { CHUNK_BYTES = 32 << 20, RESERVE_BYTES = 1 << 30 };

static qu_status need(qu_cuda_context *x, qu_cuda_buffer *b, int64_t bytes, bool host, qu_err *err)
{
    if (b->cap >= bytes) return QU_OK;
    x->changes++;
    QU_TRY(qu_cuda_sync(x->cu, QU_CUDA_COMPUTE, err)); /* nothing may use it still */
    QU_TRY(qu_cuda_sync(x->cu, QU_CUDA_COPY, err));
    (host ? qu_cuda_free_host : qu_cuda_free)(x->cu, b->p);
    *b = (qu_cuda_buffer){0};
    QU_TRY((host ? qu_cuda_alloc_host : qu_cuda_alloc)(x->cu, &b->p, bytes, err));
    b->cap = bytes;
    return QU_OK;
}

qu_status qu_cuda_need(qu_cuda_context *x, qu_cuda_buffer *b, int64_t bytes, qu_err *err)
{
    return need(x, b, bytes, false, err);
}

qu_status qu_cuda_need_host(qu_cuda_context *x, qu_cuda_buffer *b, int64_t bytes, qu_err *err)
{
    return need(x, b, bytes, true, err);
}

/* --- pools --- */

static qu_status pool_grow(struct qu_device *d, qu_cuda_pool *p, qu_err *err)
{
    int64_t n = d->chunk_bytes / p->bytes > 1 ? d->chunk_bytes / p->bytes : 1;
    QU_TRY(qu_memory_grow(&p->chunks, &p->chunks_cap, p->n_chunks + 1, sizeof *p->chunks, err));
    QU_TRY(qu_memory_grow(&p->spare, &p->spare_cap, p->n_pieces + n, sizeof *p->spare, err));
    QU_TRY(qu_cuda_alloc(d->cu, &p->chunks[p->n_chunks], n * p->bytes, err));
    char *from = p->chunks[p->n_chunks++];
    p->n_pieces += n;
    for (int64_t i = n; i-- > 0;) p->spare[p->n_spare++] = from + i * p->bytes;
    return QU_OK;
}

static qu_status pool_take(struct qu_device *d, qu_cuda_pool *p, void **piece, qu_err *err)
{
    if (p->n_spare == 0) QU_TRY(pool_grow(d, p, err));
    *piece = p->spare[--p->n_spare];
    return QU_OK;
}

static void pool_give(qu_cuda_pool *p, void **piece)
{
    if (*piece) p->spare[p->n_spare++] = *piece;
    *piece = NULL;
}

static void pool_free(struct qu_device *d, qu_cuda_pool *p)
{
    for (int64_t i = 0; i < p->n_chunks; i++) qu_cuda_free(d->cu, p->chunks[i]);
    free(p->chunks);
    free(p->spare);
}

qu_status qu_cuda_pools_open(struct qu_device *d, const qu_model *m, qu_err *err)
{
    int64_t left;
    QU_TRY(qu_cuda_room(d->cu, &left, err));
    d->room_bytes = left - RESERVE_BYTES > left / 2 ? left - RESERVE_BYTES : left / 2;
    d->chunk_bytes = CHUNK_BYTES;
    d->n_slices = (int64_t)m->n_layers * m->n_kv_heads;
    d->live.bytes = 2ll * QU_PAGE_TOKENS * m->head_size * 2;
    d->heads.bytes = d->n_slices * (int64_t)sizeof(void *) +
                     2ll * m->n_ropes * (m->head_size / 2 + 1) * QU_PAGE_TOKENS * 4;
    d->heads.bytes = (d->heads.bytes + 255) / 256 * 256;
    for (int i = 0; i < QU_CODEC_COUNT; i++)
        d->stored[i].bytes = (qu_codec_bytes(i, QU_PAGE_TOKENS, m->head_size) + 63) / 64 * 64;
    return QU_OK;
}

void qu_cuda_pools_close(struct qu_device *d)
{
    for (int64_t i = 0; i < d->n_kept; i++) free(d->kept[i]);
    free(d->kept);
    pool_free(d, &d->heads);
    pool_free(d, &d->live);
    for (int i = 0; i < QU_CODEC_COUNT; i++) pool_free(d, &d->stored[i]);
}

/* --- pages --- */

static void drop(struct qu_device *d, qu_cuda_segment *s)
{
    qu_cuda_pool *p = s->codec == QU_CUDA_PLACED ? &d->live : &d->stored[s->codec];
    for (int64_t i = 0; i < d->n_slices; i++) pool_give(p, &s->slices[i]);
    pool_give(&d->heads, &s->piece);
    free(s);
}

/* Out of the kept ones, order stays. */
static qu_cuda_segment *unkeep(struct qu_device *d, int64_t i)
{
    qu_cuda_segment *s = d->kept[i];
    memmove(d->kept + i, d->kept + i + 1, (size_t)(--d->n_kept - i) * sizeof *d->kept);
    return s;
}

qu_status qu_cuda_take_segment(qu_context *c, qu_segment *s, qu_err *err)
{
    struct qu_device *d = qu_cuda_of(c)->d;
    const uint64_t *key = s->source.key;
    for (int64_t i = d->n_kept; (key[0] || key[1]) && i-- > 0;) {
        const qu_cuda_segment *k = d->kept[i];
        if (k->key[0] != key[0] || k->key[1] != key[1] || k->n != s->n || k->codec != c->codec)
            continue;
        s->device = unkeep(d, i);
        return QU_OK;
    }
    qu_cuda_segment *there;
    QU_TRY(qu_memory_take(&there, 1, sizeof *there + (size_t)d->n_slices * sizeof *there->slices,
                          err));
    qu_status st = pool_take(d, &d->heads, &there->piece, err);
    if (st != QU_OK) {
        free(there);
        return st;
    }
    there->pos = -1;
    there->n = s->n;
    there->codec = s->live ? QU_CUDA_PLACED : c->codec;
    memcpy(there->key, key, sizeof there->key);
    s->device = there;
    return QU_OK;
}

void qu_cuda_forget(qu_context *c, qu_segment *s)
{
    struct qu_device *d = qu_cuda_of(c)->d;
    qu_cuda_segment *there = qu_cuda_segment_of(s);
    s->device = NULL;
    if ((there->key[0] || there->key[1]) &&
        qu_memory_grow(&d->kept, &d->kept_cap, d->n_kept + 1, sizeof *d->kept, NULL) == QU_OK)
        d->kept[d->n_kept++] = there;
    else
        drop(d, there);
}

/* --- slices --- */

/* This context's stored slices of the layer that was read last: layers come round in order, so it
 * is the one that is read again last. What the device still reads of it is waited for by the
 * copies. */
static qu_status make_way(qu_context *c, int32_t layer, qu_err *err)
{
    qu_cuda_context *x = qu_cuda_of(c);
    const qu_model *m = c->m;
    int32_t n_layers = m->n_layers, g_n = m->n_kv_heads;
    int64_t before = c->stats.slices_evicted;
    for (int32_t k = 1; k <= n_layers && c->stats.slices_evicted == before; k++) {
        int32_t l = layer < 0 ? n_layers - k : (layer + n_layers - k) % n_layers;
        for (int32_t i = 0; l != layer && i < c->first_live; i++) {
            qu_cuda_segment *s = qu_cuda_segment_of(&c->seg[i]);
            for (int32_t g = 0; s && c->seg[i].source.get && g < g_n; g++) {
                c->stats.slices_evicted += s->slices[l * g_n + g] != NULL;
                qu_cuda_give_slice(c, false, &s->slices[l * g_n + g]);
            }
        }
    }
    if (c->stats.slices_evicted == before)
        return qu_fail(err, QU_ERR_NOMEM,
                       "device '%s' has no room for one layer's pages in the %lld MB that pages "
                       "may take: use fewer pages, a smaller codec or --device cpu",
                       qu_cuda_name(x->cu), (long long)(x->d->room_bytes >> 20));
    QU_TRY(qu_cuda_mark(x->cu, QU_CUDA_COMPUTE, MARK_WAY, err));
    return qu_cuda_follow(x->cu, QU_CUDA_COPY, MARK_WAY, err);
}

qu_status qu_cuda_take_slice(qu_context *c, bool live, int32_t layer, void **piece, qu_err *err)
{
    struct qu_device *d = qu_cuda_of(c)->d;
    qu_cuda_pool *p = &d->stored[c->codec];
    if (live) return pool_take(d, &d->live, piece, err);
    while (p->n_spare == 0) {
        int64_t chunk = p->bytes > d->chunk_bytes ? p->bytes : d->chunk_bytes;
        if (d->taken_bytes + chunk <= d->room_bytes) {
            qu_status st = pool_grow(d, p, err);
            if (st != QU_OK && st != QU_ERR_NOMEM) return st;
            if (st == QU_OK) d->taken_bytes += chunk;
            else d->room_bytes = d->taken_bytes; /* others have the rest */
        } else if (d->n_kept > 0) {
            drop(d, unkeep(d, 0));
        } else {
            QU_TRY(make_way(c, layer, err));
        }
    }
    return pool_take(d, p, piece, err);
}

void qu_cuda_give_slice(qu_context *c, bool live, void **piece)
{
    struct qu_device *d = qu_cuda_of(c)->d;
    pool_give(live ? &d->live : &d->stored[c->codec], piece);
}
