/* Adding pages and merging them with the published file into the next one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/hash.h"
#include "index/lexical_int.h"
#include "index/words.h"

enum {
    OUT_BYTES = 4 * QU_LEXICAL_BLOCK,
};
static const uint32_t GONE = UINT32_MAX; /* in a row map: the row is not in the new file */

static int by_id_newest_first(const void *a, const void *b)
{
    const qu_lexical_staged *x = a, *y = b;
    if (x->doc_id != y->doc_id) return x->doc_id < y->doc_id ? -1 : 1;
    return (x->seq < y->seq) - (x->seq > y->seq);
}

static int by_hash_then_row(const void *a, const void *b)
{
    const qu_lexical_posting *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* ---- staging ---- */

static qu_status need_writer(const qu_lexical *lx, qu_err *err)
{
    if (lx->writer) return QU_OK;
    return qu_fail(err, QU_ERR_ARG, "lexical index '%s' is open for reading only", lx->file);
}

static qu_status stage_doc(qu_lexical *lx, uint64_t doc_id, qu_err *err)
{
    QU_TRY(qu_memory_grow(&lx->docs, &lx->docs_cap, lx->n_docs + 1, sizeof *lx->docs, err));
    lx->docs[lx->n_docs] = (qu_lexical_staged){
        .doc_id = doc_id, .seq = (uint32_t)lx->n_docs, .first_row = (uint32_t)lx->n_rows};
    lx->n_docs++;
    return QU_OK;
}

/* Append a row to the open document. */
static qu_status stage_row(qu_lexical *lx, int32_t page, qu_err *err)
{
    QU_TRY(qu_memory_grow(&lx->rows, &lx->rows_cap, lx->n_rows + 1, sizeof *lx->rows, err));
    lx->rows[lx->n_rows++] = (qu_lexical_row){.page = page};
    lx->docs[lx->n_docs - 1].n_rows++;
    return QU_OK;
}

/* Count the words of n bytes, and their grams, into the postings of row; only words make it
 * long. */
static qu_status stage_words(qu_lexical *lx, uint32_t row, const char *text, size_t n, qu_err *err)
{
    qu_words it;
    qu_word w;
    size_t k = 0;
    qu_words_init(&it, text, n);
    while (qu_words_next(&it, &w)) {
        size_t need = k + 2 + QU_WORD_GRAMS;
        QU_TRY(qu_memory_grow(&lx->words, &lx->words_cap, need, sizeof *lx->words, err));
        lx->words[k++] = w.hash;
        k += (size_t)qu_words_grams(&it, lx->words + k);
        k += qu_words_letters(&it, lx->words + k);
        lx->rows[row].n_words++;
    }
    if (k == 0) return QU_OK;
    qsort(lx->words, k, sizeof *lx->words, qu_words_by_hash);
    QU_TRY(qu_memory_grow(&lx->postings, &lx->postings_cap, lx->n_postings + k,
                          sizeof *lx->postings, err));
    for (size_t i = 0, j; i < k; i = j) {
        for (j = i + 1; j < k && lx->words[j] == lx->words[i]; j++) continue;
        lx->postings[lx->n_postings++] = (qu_lexical_posting){lx->words[i], row, (uint32_t)(j - i)};
    }
    return QU_OK;
}

qu_status qu_lexical_add(qu_lexical *lx, uint64_t doc_id, int32_t page, const char *title,
                         const char *text, size_t n, qu_err *err)
{
    QU_TRY(need_writer(lx, err));
    if (page < 0) return qu_fail(err, QU_ERR_ARG, "page %d is negative", page);
    bool first = !lx->doc_open || lx->docs[lx->n_docs - 1].doc_id != doc_id;
    if (first) {
        /* Between documents, so that the spilled part never holds half a document. */
        if (lx->n_postings >= lx->spill_postings)
            QU_TRY(qu_lexical_merge(lx, lx->generation, false, err));
        lx->doc_open = false;
        QU_TRY(stage_doc(lx, doc_id, err));
        QU_TRY(stage_row(lx, 0, err));
        lx->doc_open = true;
    } else if (page <= lx->rows[lx->n_rows - 1].page) {
        return qu_fail(err, QU_ERR_ARG, "page %d of a document comes after page %d", page,
                       lx->rows[lx->n_rows - 1].page);
    }
    qu_lexical_staged *doc = &lx->docs[lx->n_docs - 1];
    if (page == 0) return stage_words(lx, doc->first_row, text, n, err);
    if (first && title) QU_TRY(stage_words(lx, doc->first_row, title, strlen(title), err));
    QU_TRY(stage_row(lx, page, err));
    QU_TRY(stage_words(lx, (uint32_t)lx->n_rows - 1, text, n, err));
    doc->n_words += lx->rows[lx->n_rows - 1].n_words;
    return QU_OK;
}

qu_status qu_lexical_remove(qu_lexical *lx, uint64_t doc_id, qu_err *err)
{
    QU_TRY(need_writer(lx, err));
    lx->doc_open = false;
    return stage_doc(lx, doc_id, err); /* a staged document without rows is a removal */
}

qu_status qu_lexical_clear(qu_lexical *lx, qu_err *err)
{
    QU_TRY(need_writer(lx, err));
    lx->doc_open = false;
    lx->n_docs = lx->n_rows = lx->n_postings = 0;
    qu_lexical_base_unmap(&lx->base);
    return QU_OK;
}

qu_status qu_lexical_commit(qu_lexical *lx, uint64_t generation, qu_err *err)
{
    QU_TRY(need_writer(lx, err));
    QU_TRY(qu_lexical_merge(lx, generation, true, err));
    lx->generation = generation;
    return QU_OK;
}

/* ---- merging ---- */

static size_t put_number(uint8_t *p, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    return n;
}

typedef struct merge {
    qu_lexical *lx;
    const char *path; /* of the file being written */
    int fd;
    qu_buf out;  /* waiting to be written, */
    uint64_t at; /* up to this offset */
    qu_lexical_footer foot;
    qu_lexical_doc *docs; /* of the new file */
    qu_lexical_row *rows;
    uint32_t *row_docs;
    uint32_t *base_rows, *staged_rows; /* old row -> new row, or GONE */
    qu_lexical_term *terms;
    qu_lexical_posting *list; /* scratch: the list being written; hash not used */
    int64_t docs_cap, rows_cap, terms_cap, list_cap;
    qu_lexical_base made;
} merge;

static void free_merge(merge *m)
{
    qu_lexical_base_unmap(&m->made);
    qu_buf_free(&m->out);
    free(m->docs);
    free(m->rows);
    free(m->row_docs);
    free(m->base_rows);
    free(m->staged_rows);
    free(m->terms);
    free(m->list);
}

static qu_status flush(merge *m, qu_err *err)
{
    size_t n = m->out.len;
    m->out.len = 0;
    return qu_os_write(m->fd, m->out.data, n, m->path, err);
}

static qu_status put(merge *m, const void *p, size_t n, qu_err *err)
{
    m->at += n;
    QU_TRY(qu_buf_add(&m->out, p, n, err));
    return m->out.len < OUT_BYTES ? QU_OK : flush(m, err);
}

static qu_status take_doc(merge *m, uint64_t doc_id, uint32_t n_words, const qu_lexical_row *rows,
                          uint32_t n, uint32_t *row_map, qu_err *err)
{
    uint64_t d = m->foot.n_docs, r = m->foot.n_rows;
    int64_t row_docs_cap = m->rows_cap;
    if (r + n > INT32_MAX) return qu_fail(err, QU_ERR_LIMIT, "lexical index is full: 2^31 pages");
    QU_TRY(qu_memory_grow(&m->docs, &m->docs_cap, d + 1, sizeof *m->docs, err));
    QU_TRY(qu_memory_grow(&m->row_docs, &row_docs_cap, r + n, sizeof *m->row_docs, err));
    QU_TRY(qu_memory_grow(&m->rows, &m->rows_cap, r + n, sizeof *m->rows, err));
    m->docs[d] = (qu_lexical_doc){doc_id, (uint32_t)r, n_words};
    memcpy(m->rows + r, rows, n * sizeof *rows);
    for (uint32_t i = 0; i < n; i++) {
        row_map[i] = (uint32_t)(r + i);
        m->row_docs[r + i] = (uint32_t)d;
    }
    m->foot.n_docs++;
    m->foot.n_rows += n;
    m->foot.n_words += n_words;
    return QU_OK;
}

/* The new tables: base documents that nothing staged replaces, the newest staged ones; by id. */
static qu_status merge_docs(merge *m, qu_err *err)
{
    qu_lexical *lx = m->lx;
    const qu_lexical_base *b = &lx->base;
    if (lx->n_docs > 0) qsort(lx->docs, lx->n_docs, sizeof *lx->docs, by_id_newest_first);
    memset(m->base_rows, 0xff, b->foot.n_rows * sizeof *m->base_rows);
    memset(m->staged_rows, 0xff, lx->n_rows * sizeof *m->staged_rows);
    uint64_t d = 0;
    size_t s = 0;
    while (d < b->foot.n_docs || s < lx->n_docs) {
        if (s == lx->n_docs || (d < b->foot.n_docs && b->docs[d].doc_id < lx->docs[s].doc_id)) {
            uint32_t first = b->docs[d].first_row;
            QU_TRY(take_doc(m, b->docs[d].doc_id, b->docs[d].n_words, b->rows + first,
                            (uint32_t)(qu_lexical_rows_end(b, d) - first), m->base_rows + first,
                            err));
            d++;
            continue;
        }
        const qu_lexical_staged *doc = &lx->docs[s];
        if (d < b->foot.n_docs && b->docs[d].doc_id == doc->doc_id) d++;
        if (doc->n_rows > 0)
            QU_TRY(take_doc(m, doc->doc_id, doc->n_words, lx->rows + doc->first_row, doc->n_rows,
                            m->staged_rows + doc->first_row, err));
        for (s++; s < lx->n_docs && lx->docs[s].doc_id == doc->doc_id; s++) continue;
    }
    return QU_OK;
}

/* Staged postings to new rows, without the replaced ones, in file order. */
static void merge_staged(merge *m)
{
    qu_lexical *lx = m->lx;
    size_t n = 0;
    for (size_t i = 0; i < lx->n_postings; i++) {
        uint32_t row = m->staged_rows[lx->postings[i].row];
        if (row == GONE) continue;
        lx->postings[n] = lx->postings[i];
        lx->postings[n++].row = row;
    }
    lx->n_postings = n;
    if (n > 0) qsort(lx->postings, n, sizeof *lx->postings, by_hash_then_row);
}

/* Write list[0..n) as the list of hash; nothing for an empty one. */
static qu_status put_list(merge *m, uint64_t hash, size_t n, qu_err *err)
{
    uint8_t bytes[32];
    uint32_t n_pages = 0, n_docs = 0, doc = GONE, row = 0;
    if (n == 0) return QU_OK;
    for (size_t i = 0; i < n; i++) {
        uint32_t d = m->row_docs[m->list[i].row];
        if (d != doc) n_docs++;
        doc = d;
        if (m->docs[d].first_row != m->list[i].row) n_pages++;
    }
    QU_TRY(qu_memory_grow(&m->terms, &m->terms_cap, m->foot.n_terms + 2, sizeof *m->terms, err));
    m->terms[m->foot.n_terms++] = (qu_lexical_term){hash, m->at};
    size_t k = put_number(bytes, n_pages);
    k += put_number(bytes + k, n_docs);
    QU_TRY(put(m, bytes, k, err));
    for (size_t i = 0; i < n; i++) {
        uint32_t count = m->list[i].count;
        k = put_number(bytes, (uint64_t)(m->list[i].row - row) * 2 + (count > 1));
        if (count > 1) k += put_number(bytes + k, count);
        QU_TRY(put(m, bytes, k, err));
        row = m->list[i].row;
    }
    return QU_OK;
}

/* Read base list t into m->list under its new rows; *n items. */
static qu_status take_base_list(merge *m, uint64_t t, size_t *n, qu_err *err)
{
    qu_lexical_base *b = &m->lx->base;
    qu_lexical_cursor cur;
    int got;
    QU_TRY(qu_lexical_list(b, t, &cur, err));
    while ((got = qu_lexical_step(b, &cur)) > 0) {
        if (m->base_rows[cur.row] == GONE) continue;
        QU_TRY(qu_memory_grow(&m->list, &m->list_cap, *n + 1, sizeof *m->list, err));
        m->list[(*n)++] = (qu_lexical_posting){.row = m->base_rows[cur.row], .count = cur.count};
    }
    if (got < 0)
        return qu_fail(err, QU_ERR_CORRUPT, "lexical index is damaged: a list does not decode");
    return QU_OK;
}

static qu_status merge_lists(merge *m, qu_err *err)
{
    qu_lexical *lx = m->lx;
    qu_lexical_base *b = &lx->base;
    uint64_t t = 0;
    size_t s = 0;
    while (t < b->foot.n_terms || s < lx->n_postings) {
        size_t n = 0, first = s;
        uint64_t hash = s < lx->n_postings ? lx->postings[s].hash : UINT64_MAX;
        if (t < b->foot.n_terms && b->terms[t].hash <= hash) {
            hash = b->terms[t].hash;
            QU_TRY(take_base_list(m, t++, &n, err));
        }
        while (s < lx->n_postings && lx->postings[s].hash == hash) s++;
        QU_TRY(qu_memory_grow(&m->list, &m->list_cap, n + (s - first), sizeof *m->list, err));
        size_t a = n, c = s,
               to = n += s - first; /* both runs ascend: merge them from the back, in place */
        while (c > first)
            m->list[--to] = a > 0 && m->list[a - 1].row > lx->postings[c - 1].row
                                ? m->list[--a]
                                : lx->postings[--c];
        QU_TRY(put_list(m, hash, n, err));
    }
    return QU_OK;
}

static qu_status put_tables(merge *m, uint64_t generation, qu_err *err)
{
    static const uint8_t zeros[8];
    QU_OWN(qu_os_unmap) qu_map body = {0};
    QU_OWN(qu_freep) uint64_t *sums = NULL;
    qu_lexical_footer *f = &m->foot;
    f->postings_bytes = m->at;
    QU_TRY(qu_memory_grow(&m->terms, &m->terms_cap, f->n_terms + 1, sizeof *m->terms, err));
    m->terms[f->n_terms] = (qu_lexical_term){UINT64_MAX, f->postings_bytes};
    QU_TRY(put(m, zeros, (8 - f->postings_bytes % 8) % 8, err));
    QU_TRY(put(m, m->terms, (f->n_terms + 1) * sizeof *m->terms, err));
    QU_TRY(put(m, m->docs, f->n_docs * sizeof *m->docs, err));
    QU_TRY(put(m, m->rows, f->n_rows * sizeof *m->rows, err));
    QU_TRY(flush(m, err));
    QU_TRY(qu_os_map(&body, m->path, err));
    size_t n = (m->at + QU_LEXICAL_BLOCK - 1) / QU_LEXICAL_BLOCK, rest = m->at;
    QU_TRY(qu_memory_take(&sums, (int64_t)n, sizeof *sums, err));
    for (size_t i = 0; i < n; i++, rest -= QU_LEXICAL_BLOCK)
        sums[i] = qu_hash_sum(body.data + i * QU_LEXICAL_BLOCK,
                              rest < QU_LEXICAL_BLOCK ? rest : QU_LEXICAL_BLOCK, i);
    f->magic = QU_LEXICAL_MAGIC;
    f->generation = generation;
    f->sums_sum = qu_hash_sum(sums, n * sizeof *sums, 0);
    f->self_sum = qu_hash_sum(f, offsetof(qu_lexical_footer, self_sum), 0);
    QU_TRY(put(m, sums, n * sizeof *sums, err));
    QU_TRY(put(m, f, sizeof *f, err));
    return flush(m, err);
}

/* Everything into the open temporary file. */
static qu_status merge_write(merge *m, uint64_t generation, qu_err *err)
{
    qu_lexical *lx = m->lx;
    QU_TRY(qu_memory_take(&m->base_rows, (int64_t)lx->base.foot.n_rows, sizeof *m->base_rows, err));
    QU_TRY(qu_memory_take(&m->staged_rows, (int64_t)lx->n_rows, sizeof *m->staged_rows, err));
    QU_TRY(merge_docs(m, err));
    merge_staged(m);
    QU_TRY(merge_lists(m, err));
    return put_tables(m, generation, err);
}

qu_status qu_lexical_merge(qu_lexical *lx, uint64_t generation, bool publish, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf tmp = {0};
    QU_OWN(free_merge) merge m = {.lx = lx};
    lx->doc_open = false;
    QU_TRY(qu_buf_printf(&tmp, err, "%s.tmp", lx->file));
    m.path = tmp.data;
    m.fd = open(tmp.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (m.fd < 0) return qu_os_fail(err, errno, "write", tmp.data);
    qu_status st = merge_write(&m, generation, err);
    if (st == QU_OK) st = qu_lexical_base_map(&m.made, tmp.data, err);
    if (st == QU_OK && publish) {
        st = qu_os_publish(m.fd, tmp.data, lx->file, err);
    } else {
        close(m.fd);
        unlink(tmp.data);
    }
    if (st != QU_OK) return st;
    qu_lexical_base_unmap(&lx->base);
    lx->base = m.made;
    m.made = (qu_lexical_base){0};
    lx->n_docs = lx->n_rows = lx->n_postings = 0;
    return QU_OK;
}
