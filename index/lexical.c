/* Opening and checking the index file, and reading its lists. */
#include <errno.h>

#include "base/hash.h"
#include "index/lexical_int.h"

static qu_status unusable(const char *file, const char *why, qu_err *err)
{
    return qu_fail(err, QU_ERR_NOTFOUND, "lexical index '%s' is %s; it is rebuilt by indexing",
                   file, why);
}

/* Place the sections; false when they do not add up to the file. */
static bool place(qu_lexical_base *b)
{
    const qu_lexical_footer *f = &b->foot;
    uint64_t len = b->map.len;
    if (f->postings_bytes > len || f->n_terms >= len / sizeof *b->terms || f->n_rows > INT32_MAX ||
        f->n_docs > f->n_rows)
        return false;
    uint64_t at = (f->postings_bytes + 7) / 8 * 8;
    b->postings = b->map.data;
    b->terms = (const void *)(b->map.data + at);
    at += (f->n_terms + 1) * sizeof *b->terms;
    b->docs = (const void *)(b->map.data + at);
    at += f->n_docs * sizeof *b->docs;
    b->rows = (const void *)(b->map.data + at);
    at += f->n_rows * sizeof *b->rows;
    uint64_t n_blocks = (at + QU_LEXICAL_BLOCK - 1) / QU_LEXICAL_BLOCK;
    b->sums = (const void *)(b->map.data + at);
    at += n_blocks * sizeof *b->sums;
    return at + sizeof *f == len &&
           qu_hash_sum(b->sums, n_blocks * sizeof *b->sums, 0) == f->sums_sum;
}

/* Documents ascending, their rows side by side; fills row_docs. */
static bool tables_fit(qu_lexical_base *b)
{
    uint64_t n_docs = b->foot.n_docs, n_rows = b->foot.n_rows;
    if (n_docs == 0) return n_rows == 0;
    for (uint64_t d = 0; d < n_docs; d++) {
        uint64_t first = b->docs[d].first_row, end = qu_lexical_rows_end(b, d);
        if (first >= end || end > n_rows || (d == 0 && first != 0)) return false;
        if (d > 0 && b->docs[d].doc_id <= b->docs[d - 1].doc_id) return false;
        if (b->rows[first].page != 0) return false;
        for (uint64_t r = first; r < end; r++) {
            if (r > first && b->rows[r].page <= b->rows[r - 1].page) return false;
            b->row_docs[r] = (uint32_t)d;
        }
    }
    return true;
}

qu_status qu_lexical_touch(qu_lexical_base *b, const void *p, size_t n, qu_err *err)
{
    size_t covered = (size_t)((const uint8_t *)b->sums - b->map.data);
    size_t at = (size_t)((const uint8_t *)p - b->map.data);
    if (n == 0) return QU_OK;
    for (size_t i = at / QU_LEXICAL_BLOCK; i <= (at + n - 1) / QU_LEXICAL_BLOCK; i++) {
        if (b->seen[i]) continue;
        size_t start = i * QU_LEXICAL_BLOCK;
        size_t len = covered - start < QU_LEXICAL_BLOCK ? covered - start : QU_LEXICAL_BLOCK;
        if (qu_hash_sum(b->map.data + start, len, i) != b->sums[i])
            return qu_fail(err, QU_ERR_CORRUPT,
                           "lexical index is damaged at byte %zu; delete the file, it is rebuilt",
                           start);
        b->seen[i] = 1;
    }
    return QU_OK;
}

qu_status qu_lexical_base_map(qu_lexical_base *b, const char *file, qu_err *err)
{
    QU_OWN(qu_lexical_base_unmap) qu_lexical_base m = {0};
    memset(b, 0, sizeof *b);
    QU_TRY(qu_os_map(&m.map, file, err));
    if (m.map.len < sizeof m.foot) return unusable(file, "truncated", err);
    memcpy(&m.foot, m.map.data + m.map.len - sizeof m.foot, sizeof m.foot);
    if (m.foot.magic != QU_LEXICAL_MAGIC) return unusable(file, "of another format", err);
    if (qu_hash_sum(&m.foot, offsetof(qu_lexical_footer, self_sum), 0) != m.foot.self_sum ||
        !place(&m))
        return unusable(file, "damaged", err);
    QU_TRY(qu_memory_take(&m.seen, (int64_t)(m.map.len / QU_LEXICAL_BLOCK) + 1, 1, err));
    QU_TRY(qu_memory_take(&m.row_docs, (int64_t)m.foot.n_rows, sizeof *m.row_docs, err));
    if (qu_lexical_touch(&m, m.docs, (size_t)((const uint8_t *)m.sums - (const uint8_t *)m.docs),
                         NULL) ||
        !tables_fit(&m))
        return unusable(file, "damaged", err);
    *b = m;
    m = (qu_lexical_base){0};
    return QU_OK;
}

void qu_lexical_base_unmap(qu_lexical_base *b)
{
    qu_os_unmap(&b->map);
    free(b->seen);
    free(b->row_docs);
    memset(b, 0, sizeof *b);
}

/* A LEB128 number of at most 35 bits; false at the end or when it is too long. */
static bool number(const uint8_t **p, const uint8_t *end, uint64_t *out)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 35 && *p < end; shift += 7) {
        uint8_t byte = *(*p)++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = v;
            return true;
        }
    }
    return false;
}

qu_status qu_lexical_list(qu_lexical_base *b, uint64_t i, qu_lexical_cursor *cur, qu_err *err)
{
    uint64_t n_pages, n_docs;
    QU_TRY(qu_lexical_touch(b, b->terms + i, 2 * sizeof *b->terms, err));
    uint64_t at = b->terms[i].at, end = b->terms[i + 1].at;
    if (at > end || end > b->foot.postings_bytes)
        return qu_fail(err, QU_ERR_CORRUPT, "lexical index is damaged: a list lies outside of it");
    QU_TRY(qu_lexical_touch(b, b->postings + at, end - at, err));
    *cur = (qu_lexical_cursor){.p = b->postings + at, .end = b->postings + end};
    if (!number(&cur->p, cur->end, &n_pages) || !number(&cur->p, cur->end, &n_docs) ||
        n_pages > b->foot.n_rows || n_docs > b->foot.n_docs || n_docs == 0)
        return qu_fail(err, QU_ERR_CORRUPT,
                       "lexical index is damaged: a list has impossible counts");
    cur->n_pages = (uint32_t)n_pages;
    cur->n_docs = (uint32_t)n_docs;
    return QU_OK;
}

int qu_lexical_step(const qu_lexical_base *b, qu_lexical_cursor *cur)
{
    uint64_t head, count = 1;
    if (cur->p == cur->end) return 0;
    if (!number(&cur->p, cur->end, &head)) return -1;
    if ((head & 1) && !number(&cur->p, cur->end, &count)) return -1;
    uint64_t row = cur->row + (head >> 1);
    if (row >= b->foot.n_rows || count > UINT32_MAX) return -1;
    cur->row = (uint32_t)row;
    cur->count = (uint32_t)count;
    return 1;
}

qu_status qu_lexical_open(qu_lexical **out, const char *file, unsigned flags, qu_err *err)
{
    QU_OWN(qu_lexical_closep) qu_lexical *lx = NULL;
    qu_err why = {0};
    *out = NULL;
    QU_TRY(qu_memory_take(&lx, 1, sizeof *lx, err));
    lx->spill_postings = QU_LEXICAL_SPILL;
    lx->writer = (flags & QU_LEXICAL_WRITE) != 0;
    lx->file = strdup(file);
    if (!lx->file) return qu_fail_nomem(err, (long long)strlen(file) + 1);
    qu_status st = qu_lexical_base_map(&lx->base, file, &why);
    if (lx->writer) {
        /* A merge reads every byte anyway: find damage now, while one can still start anew. */
        if (st == QU_OK &&
            qu_lexical_touch(&lx->base, lx->base.map.data,
                             (size_t)((const uint8_t *)lx->base.sums - lx->base.map.data), NULL))
            qu_lexical_base_unmap(&lx->base);
        if (st == QU_ERR_NOTFOUND) st = QU_OK;
    }
    if (st != QU_OK && err) *err = why;
    if (st != QU_OK) return st;
    lx->generation = lx->base.foot.generation;
    *out = QU_TAKE(lx);
    return QU_OK;
}

void qu_lexical_close(qu_lexical *lx)
{
    if (!lx) return;
    qu_lexical_base_unmap(&lx->base);
    free(lx->docs);
    free(lx->rows);
    free(lx->postings);
    free(lx->words);
    free(lx->file);
    free(lx);
}

uint64_t qu_lexical_generation(const qu_lexical *lx)
{
    return lx->generation;
}
