/* Archives made in memory, and a reader's results in a list: for tests of ingest/reader.h. A
 * program that includes it begins its main with qu_child_asked. */
#ifndef QU_TESTS_READER_TESTING_H
#define QU_TESTS_READER_TESTING_H

#include <archive.h>
#include <archive_entry.h>

#include "ingest/child.h"
#include "ingest/expand.h"
#include "ingest/reader.h"
#include "tests/ingest_check.h"

typedef struct packer {
    struct archive *a;
    char *data;
    size_t n, cap;
} packer;

/* format: zip, 7zip, ustar ...; filter: NULL, gzip, zstd ... */
static inline void pack_open(packer *p, const char *format, const char *filter, size_t cap)
{
    *p = (packer){.a = archive_write_new(), .data = malloc(cap), .cap = cap};
    assert_int_equal(archive_write_set_format_by_name(p->a, format), ARCHIVE_OK);
    if (filter) assert_int_equal(archive_write_add_filter_by_name(p->a, filter), ARCHIVE_OK);
    archive_write_set_bytes_in_last_block(p->a, 1);
    assert_int_equal(archive_write_open_memory(p->a, p->data, p->cap, &p->n), ARCHIVE_OK);
}

static inline void pack(packer *p, const char *name, const void *bytes, size_t n)
{
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, name);
    archive_entry_set_size(e, (la_int64_t)n);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    assert_int_equal(archive_write_header(p->a, e), ARCHIVE_OK);
    assert_true(archive_write_data(p->a, bytes, n) >= 0);
    archive_entry_free(e);
}

static inline void pack_text(packer *p, const char *name, const char *text)
{
    pack(p, name, text, strlen(text));
}

static inline void pack_close(packer *p)
{
    assert_int_equal(archive_write_close(p->a), ARCHIVE_OK);
    archive_write_free(p->a);
    p->a = NULL;
}

/* What a reader gave out: a line for each document, "member [format] title", and each fault. */
typedef struct results {
    qu_buf lines, text; /* text of the last document */
    int documents, faults;
    qu_heading *headings;
    int64_t n_headings;
} results;

static inline qu_status keep_document(void *ctx, const char *member, qu_document *d)
{
    results *r = ctx;
    r->documents++;
    TEST_OK(
        qu_buf_printf(&r->lines, err, "%s [%s] %s\n", member ? member : "", d->format, d->title));
    r->text.len = 0;
    TEST_OK(qu_buf_add(&r->text, d->text, (size_t)d->text_bytes, err));
    free(r->headings);
    r->headings = d->headings;
    r->n_headings = d->n_headings;
    d->headings = NULL;
    return QU_OK;
}

static inline qu_status keep_fault(void *ctx, const char *member, const qu_err *why)
{
    results *r = ctx;
    r->faults++;
    TEST_OK(qu_buf_printf(&r->lines, err, "%s ! %s\n", member, why->msg));
    return QU_OK;
}

static inline void free_results(results *r)
{
    qu_buf_free(&r->lines);
    qu_buf_free(&r->text);
    free(r->headings);
    memset(r, 0, sizeof *r);
}

static inline qu_status read_with(qu_reader *reader, results *r, const void *p, size_t n,
                                  const char *name, qu_err *why)
{
    const qu_reader_sink sink = {keep_document, keep_fault, r};
    free_results(r);
    return qu_reader_parse(reader, p, (int64_t)n, name, &sink, why);
}

#endif
