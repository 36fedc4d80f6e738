/* The lexical index file and its handle; private to index/ and its tests.
 *
 * The file, in this order, native little-endian (another byte order reads as foreign):
 *
 *   postings   a list a word, gram or set of letters (index/words.h), ordered by hash, LEB128:
 *                n_pages (title rows not counted), n_docs, then for every row that holds the
 *                word, ascending: (row - previous row) * 2 + (count > 1), then count if it is > 1;
 *                the first row counts from 0
 *   padding    to 8 bytes
 *   terms      n_terms + 1 times qu_lexical_term, ascending hash; list i ends where i + 1 starts
 *   docs       n_docs times qu_lexical_doc, ascending doc_id
 *   rows       n_rows times qu_lexical_row: of each document its title (page 0), then its pages,
 *              ascending
 *   sums       a 64-bit checksum for every QU_LEXICAL_BLOCK bytes of what stands before
 *   footer     qu_lexical_footer, last
 *
 * Numbering rows by doc_id makes the bytes a function of the documents alone, and old rows keep
 * their order in a merge. Blocks are checked when first touched, so that opening a large index
 * costs little.
 */
#ifndef QU_INDEX_LEXICAL_INT_H
#define QU_INDEX_LEXICAL_INT_H

#include "base/os.h"
#include "index/lexical.h"

#define QU_LEXICAL_MAGIC 0x335845444e495551ull /* "QUINDEX3"; the digit is the format */

enum {
    QU_LEXICAL_BLOCK = 1 << 16,
    QU_LEXICAL_SPILL = 1 << 22, /* postings of 16 bytes kept in memory before a merge */
};

typedef struct qu_lexical_term {
    uint64_t hash, at;
} qu_lexical_term;

typedef struct qu_lexical_doc {
    uint64_t doc_id;
    uint32_t first_row; /* its title row */
    uint32_t n_words;   /* of its pages, title and grams not counted */
} qu_lexical_doc;

typedef struct qu_lexical_row {
    int32_t page;
    uint32_t n_words;
} qu_lexical_row;

typedef struct qu_lexical_footer {
    uint64_t magic, generation;
    uint64_t postings_bytes, n_terms, n_docs, n_rows;
    uint64_t n_words;  /* of all pages */
    uint64_t sums_sum; /* checksum of sums */
    uint64_t self_sum; /* checksum of the fields above */
} qu_lexical_footer;

/* A published file in memory: borrowed views into the map. All zero = an empty index. */
typedef struct qu_lexical_base {
    qu_map map;
    qu_lexical_footer foot;
    const uint8_t *postings;
    const qu_lexical_term *terms;
    const qu_lexical_doc *docs;
    const qu_lexical_row *rows;
    const uint64_t *sums;
    uint8_t *seen;      /* one byte a block: checked */
    uint32_t *row_docs; /* [n_rows] index into docs */
} qu_lexical_base;

/* Behind the last row of document d. */
static inline uint64_t qu_lexical_rows_end(const qu_lexical_base *b, uint64_t d)
{
    return d + 1 < b->foot.n_docs ? b->docs[d + 1].first_row : b->foot.n_rows;
}

typedef struct qu_lexical_posting {
    uint64_t hash;
    uint32_t row, count;
} qu_lexical_posting;

/* A document waiting to be merged, or the removal of one. */
typedef struct qu_lexical_staged {
    uint64_t doc_id;
    uint32_t seq; /* of arrival: the last one of an id wins */
    uint32_t first_row, n_rows, n_words;
} qu_lexical_staged;

struct qu_lexical {
    char *file;
    bool writer;
    uint64_t generation;
    qu_lexical_base base;
    bool doc_open; /* the last staged document still takes pages */
    qu_lexical_staged *docs;
    size_t n_docs;
    qu_lexical_row *rows;
    size_t n_rows;
    qu_lexical_posting *postings;
    size_t n_postings;
    size_t spill_postings; /* QU_LEXICAL_SPILL; tests set less */
    uint64_t *words; /* scratch: the hashes of one page */
    int64_t docs_cap, rows_cap, postings_cap, words_cap;
};

/* One list while it is read. */
typedef struct qu_lexical_cursor {
    const uint8_t *p, *end;
    uint32_t n_pages, n_docs;
    uint32_t row, count; /* of the current posting */
} qu_lexical_cursor;

/* Map file and check its footer, sums and tables. QU_ERR_NOTFOUND: missing, damaged, foreign. */
qu_status qu_lexical_base_map(qu_lexical_base *base, const char *file, qu_err *err);
void qu_lexical_base_unmap(qu_lexical_base *base);

/* Check the blocks under n bytes at p, inside the map, unless they were before. QU_ERR_CORRUPT. */
qu_status qu_lexical_touch(qu_lexical_base *base, const void *p, size_t n, qu_err *err);

/* Open the list of term i < n_terms. QU_ERR_CORRUPT. */
qu_status qu_lexical_list(qu_lexical_base *base, uint64_t i, qu_lexical_cursor *cur, qu_err *err);

/* Step to the next posting: 1, 0 at the end, -1 when the bytes are malformed. */
int qu_lexical_step(const qu_lexical_base *base, qu_lexical_cursor *cur);

/* Merge what is staged into the base, write it to path + ".tmp" and open that as the new base.
 * publish: sync and rename it to path; else unlink it, so that it lives as long as the handle. */
qu_status qu_lexical_merge(qu_lexical *lx, uint64_t generation, bool publish, qu_err *err);

#endif
