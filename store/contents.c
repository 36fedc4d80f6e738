/* What a document consists of: text, source map, pages and token ids, in chunks that are read
 * alone. */

#include "store/store_int.h"

enum { ID_BITS = 24 };

qu_status qu_prefix_del(qu_txn *t, qu_rec_key prefix, qu_err *err)
{
    for (qu_rec_key k;;) {
        QU_TRY(qu_rec_seek(t, &prefix, prefix.n, &k, err));
        if (k.n == 0) return QU_OK;
        QU_TRY(qu_rec_del(t, &k, err));
    }
}

qu_status qu_stream_put(qu_txn *t, int tag, uint64_t doc_id, const void *p, size_t n, qu_err *err)
{
    for (size_t at = 0; at < n; at += QU_CHUNK_BYTES) {
        size_t len = n - at < QU_CHUNK_BYTES ? n - at : QU_CHUNK_BYTES;
        qu_rec_key k = qu_key_chunk(tag, doc_id, (uint32_t)(at / QU_CHUNK_BYTES));
        QU_TRY(qu_chunk_put(t, &k, (const char *)p + at, len, err));
    }
    return QU_OK;
}

qu_status qu_stream_get(qu_txn *t, int tag, uint64_t doc_id, int64_t total, int64_t start,
                        int64_t end, qu_buf *out, qu_err *err)
{
    if (start < 0 || end < start || end > total)
        return qu_fail(
            err, QU_ERR_ARG, "range %lld..%lld is outside the %lld bytes of document %llu",
            (long long)start, (long long)end, (long long)total, (unsigned long long)doc_id);
    size_t len0 = out->len;
    qu_status st = QU_OK;
    QU_TRY(qu_buf_reserve(out, 0, err));
    for (int64_t c = start / QU_CHUNK_BYTES; c * QU_CHUNK_BYTES < end; c++) {
        int64_t at = c * QU_CHUNK_BYTES,
                want = total - at < QU_CHUNK_BYTES ? total - at : QU_CHUNK_BYTES;
        size_t base = out->len;
        qu_rec_key k = qu_key_chunk(tag, doc_id, (uint32_t)c);
        st = qu_chunk_get(t, &k, QU_CHUNK_BYTES, out, err);
        if (st == QU_OK && (int64_t)(out->len - base) != want)
            st = qu_doc_damaged(err, "length of a chunk", doc_id);
        if (st != QU_OK) break;
        int64_t from = start > at ? start - at : 0, to = end < at + want ? end - at : want;
        memmove(out->data + base, out->data + base + from, (size_t)(to - from));
        out->len = base + (size_t)(to - from);
    }
    if (st != QU_OK) out->len = len0;
    out->data[out->len] = 0;
    return st;
}

static bool page_fits(const qu_store *s, const qu_page *p, int64_t n_text)
{
    return p->n_tokens >= 0 && (uint32_t)p->n_tokens <= s->config.page_tokens &&
           p->text_start >= 0 && p->text_end >= p->text_start && p->text_end <= n_text;
}

qu_status qu_pages_check_args(const qu_store *s, int64_t n_text, const qu_page *pages,
                              int32_t n_pages, const int32_t *ids, int64_t n_ids, qu_err *err)
{
    int64_t sum = 0;
    if (n_pages < 0 || n_ids < 0 || (n_pages > 0 && !pages) || (n_ids > 0 && !ids))
        return qu_fail(err, QU_ERR_ARG, "page table or ids are missing");
    for (int32_t i = 0; i < n_pages; i++) {
        const qu_page *p = &pages[i];
        if (!page_fits(s, p, n_text))
            return qu_fail(err, QU_ERR_ARG, "page %d is out of range: %d tokens, text %lld..%lld",
                           i, p->n_tokens, (long long)p->text_start, (long long)p->text_end);
        sum += p->n_tokens;
    }
    if (sum != n_ids)
        return qu_fail(err, QU_ERR_ARG, "pages hold %lld tokens, %lld ids were given",
                       (long long)sum, (long long)n_ids);
    for (int64_t i = 0; i < n_ids; i++)
        if (ids[i] < 0 || ids[i] >> ID_BITS)
            return qu_fail(err, QU_ERR_ARG, "token id %d is out of range", ids[i]);
    return QU_OK;
}

/* A group of pages: their token counts, then the ids as three planes of bytes, which compress
 * better. */
static qu_status ids_put(qu_txn *t, uint64_t doc_id, int32_t first, int32_t n_pages,
                         const qu_page *pages, const int32_t *ids, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    size_t n = 0;
    for (int32_t i = 0; i < n_pages; i++) {
        uint32_t len = (uint32_t)pages[i].n_tokens;
        QU_TRY(qu_buf_add(&b, &len, 4, err));
        n += len;
    }
    QU_TRY(qu_buf_reserve(&b, 3 * n, err));
    for (size_t i = 0; i < n; i++)
        for (size_t plane = 0; plane < 3; plane++)
            b.data[b.len + plane * n + i] = (char)(ids[i] >> (8 * plane));
    b.len += 3 * n;
    qu_rec_key k = qu_key_chunk(QU_TAG_IDS, doc_id, (uint32_t)first / QU_CHUNK_IDS);
    return qu_chunk_put(t, &k, b.data, b.len, err);
}

qu_status qu_pages_put(qu_txn *t, uint64_t doc_id, const qu_page *pages, int32_t n_pages,
                       const int32_t *ids, qu_err *err)
{
    int32_t n;
    for (int32_t i = 0; i < n_pages; i += n) {
        n = n_pages - i < QU_CHUNK_PAGES ? n_pages - i : QU_CHUNK_PAGES;
        qu_rec_key k = qu_key_chunk(QU_TAG_PAGES, doc_id, (uint32_t)i / QU_CHUNK_PAGES);
        QU_TRY(qu_rec_put(t, &k, pages + i, (size_t)n * sizeof *pages, err));
    }
    for (int32_t i = 0; i < n_pages; i += n) {
        n = n_pages - i < QU_CHUNK_IDS ? n_pages - i : QU_CHUNK_IDS;
        QU_TRY(ids_put(t, doc_id, i, n, pages + i, ids, err));
        for (int32_t j = 0; j < n; j++) ids += pages[i + j].n_tokens;
    }
    return QU_OK;
}

/* --- reading --- */

qu_status qu_catalogue_text(qu_txn *t, uint64_t doc_id, int64_t start, int64_t end, qu_buf *out,
                            qu_err *err)
{
    qu_doc r;
    QU_TRY(qu_doc_borrow(t, doc_id, &r, err));
    return qu_stream_get(t, QU_TAG_TEXT, doc_id, r.text_bytes, start, end, out, err);
}

qu_status qu_catalogue_source_map(qu_txn *t, uint64_t doc_id, qu_buf *out, qu_err *err)
{
    qu_doc r;
    QU_TRY(qu_doc_borrow(t, doc_id, &r, err));
    return qu_stream_get(t, QU_TAG_MAP, doc_id, r.map_bytes, 0, r.map_bytes, out, err);
}

/* Pages [first, first + *n) of the page table, *n at most to their chunk's end, into out. */
static qu_status pages_get(qu_txn *t, const qu_doc *r, int32_t first, qu_page *out, int32_t *n,
                           qu_err *err)
{
    const uint8_t *p;
    size_t len;
    int32_t chunk = first / QU_CHUNK_PAGES, at = chunk * QU_CHUNK_PAGES;
    int32_t rest = r->n_pages - at < QU_CHUNK_PAGES ? r->n_pages - at : QU_CHUNK_PAGES;
    qu_rec_key k = qu_key_chunk(QU_TAG_PAGES, r->doc_id, (uint32_t)chunk);
    qu_status st = qu_rec_get(t, &k, (const void **)&p, &len, err);
    if (st != QU_OK && st != QU_ERR_NOTFOUND) return st;
    bool good = st == QU_OK && len == (size_t)rest * sizeof *out;
    if (*n > at + rest - first) *n = at + rest - first;
    if (good) memcpy(out, p + (size_t)(first - at) * sizeof *out, (size_t)*n * sizeof *out);
    for (int32_t i = 0; i < *n && good; i++) good = page_fits(t->s, &out[i], r->text_bytes);
    return good ? QU_OK : qu_doc_damaged(err, "page table", r->doc_id);
}

qu_status qu_catalogue_pages(qu_txn *t, uint64_t doc_id, qu_page **pages, int32_t *n, qu_err *err)
{
    qu_doc r;
    QU_OWN(qu_buf_free) qu_buf b = {0};
    *pages = NULL;
    *n = 0;
    QU_TRY(qu_doc_borrow(t, doc_id, &r, err));
    for (int32_t i = 0, len; i < r.n_pages; i += len) {
        len = r.n_pages - i < QU_CHUNK_PAGES ? r.n_pages - i : QU_CHUNK_PAGES;
        QU_TRY(qu_buf_reserve(&b, (size_t)len * sizeof **pages, err)); /* no more than is there */
        QU_TRY(pages_get(t, &r, i, (qu_page *)(void *)(b.data + b.len), &len, err));
        b.len += (size_t)len * sizeof **pages;
    }
    *pages = (qu_page *)(void *)QU_TAKE(b.data); /* malloc'ed, so aligned */
    *n = r.n_pages;
    return QU_OK;
}

static qu_status no_page(uint64_t doc_id, int32_t page, qu_err *err)
{
    return qu_fail(err, QU_ERR_NOTFOUND, "document %llu has no page %d", (unsigned long long)doc_id,
                   page);
}

qu_status qu_catalogue_page(qu_txn *t, uint64_t doc_id, int32_t page, qu_page *out, qu_err *err)
{
    qu_doc r;
    int32_t n = 1;
    QU_TRY(qu_doc_borrow(t, doc_id, &r, err));
    if (page < 0 || page >= r.n_pages) return no_page(doc_id, page, err);
    return pages_get(t, &r, page, out, &n, err);
}

/* Ids of pages [first, last) of one group appended to out. */
static qu_status ids_get(qu_txn *t, const qu_doc *r, int32_t first, int32_t last, qu_buf *raw,
                         qu_buf *out, qu_err *err)
{
    int32_t group = first / QU_CHUNK_IDS, at = group * QU_CHUNK_IDS;
    int32_t n_pages = r->n_pages - at < QU_CHUNK_IDS ? r->n_pages - at : QU_CHUNK_IDS;
    size_t n = 0, from = 0, to = 0, head = (size_t)n_pages * 4;
    qu_rec_key k = qu_key_chunk(QU_TAG_IDS, r->doc_id, (uint32_t)group);
    raw->len = 0;
    QU_TRY(
        qu_chunk_get(t, &k, QU_CHUNK_IDS * (4 + 3 * (size_t)t->s->config.page_tokens), raw, err));
    for (int32_t i = 0; i < n_pages && raw->len >= head; i++) {
        uint32_t len;
        memcpy(&len, raw->data + (size_t)i * 4, 4);
        if (at + i < first) from += len;
        if (at + i < last) to += len;
        n += len;
    }
    if (raw->len < head || raw->len - head != 3 * n)
        return qu_doc_damaged(err, "token ids", r->doc_id);
    QU_TRY(qu_buf_reserve(out, (to - from) * 4, err));
    const uint8_t *b = (const uint8_t *)raw->data + head;
    for (size_t i = from; i < to; i++) {
        int32_t id = b[i] | b[n + i] << 8 | b[2 * n + i] << 16;
        memcpy(out->data + out->len, &id, 4);
        out->len += 4;
    }
    return QU_OK;
}

qu_status qu_catalogue_ids(qu_txn *t, uint64_t doc_id, int32_t first, int32_t n_pages, qu_buf *ids,
                           qu_err *err)
{
    qu_doc r;
    QU_OWN(qu_buf_free) qu_buf raw = {0};
    qu_status st = QU_OK;
    size_t len0 = ids->len;
    QU_TRY(qu_doc_borrow(t, doc_id, &r, err));
    if (first < 0 || n_pages < 0 || n_pages > r.n_pages - first)
        return no_page(doc_id, first < 0 || first >= r.n_pages ? first : r.n_pages, err);
    for (int32_t i = first, end = first + n_pages, next; st == QU_OK && i < end; i = next) {
        next = (i / QU_CHUNK_IDS + 1) * QU_CHUNK_IDS;
        if (next > end) next = end;
        st = ids_get(t, &r, i, next, &raw, ids, err);
    }
    if (st != QU_OK) ids->len = len0;
    return st;
}
