/* What must hold for every document, whatever the input: used by the unit_ingest tests. */
#ifndef QU_TESTS_INGEST_CHECK_H
#define QU_TESTS_INGEST_CHECK_H

#include <time.h>
#include <utf8proc.h>

#include "ingest/document.h"
#include "tests/testing.h"

static inline void check_utf8(const char *p, int64_t n)
{
    utf8proc_int32_t cp;
    for (int64_t i = 0; i < n;) {
        int64_t len = utf8proc_iterate((const utf8proc_uint8_t *)p + i, n - i, &cp);
        assert_true(len > 0);
        i += len;
    }
}

static inline void check_document(const qu_document *d, const uint8_t *raw, int64_t n)
{
    assert_true(d->text_bytes > 0);
    assert_int_equal(d->text[d->text_bytes], 0);
    check_utf8(d->text, d->text_bytes);
    for (int64_t i = 0; i < d->text_bytes; i++) {
        unsigned char c = (unsigned char)d->text[i];
        assert_true((c >= 0x20 && c != 0x7F) || c == '\t' || c == '\n');
    }
    size_t title = strlen(d->title);
    assert_true(title <= 200);
    check_utf8(d->title, (int64_t)title);
    assert_null(strpbrk(d->title, "\n\t"));
    if (title) assert_true(d->title[0] != ' ' && d->title[title - 1] != ' ');

    int64_t last = 0;
    for (int64_t i = 0; i < d->n_cuts; i++) {
        int64_t at = d->cuts[i].at;
        assert_true(at > 0 && at < d->text_bytes);
        assert_true(i == 0 || at - last >= 16);
        assert_true(at - last <= 2048 + 16);
        assert_true(d->cuts[i].rank >= QU_CUT_HEADING && d->cuts[i].rank <= QU_CUT_WORD);
        assert_true(((unsigned char)d->text[at] & 0xC0) != 0x80);
        last = at;
    }
    assert_true(d->text_bytes - last <= 2048 + 16);

    last = 0;
    for (int64_t i = 0; i < d->n_headings; i++) {
        const qu_heading *h = &d->headings[i];
        assert_true(h->at >= last && h->at <= h->text_start && h->text_start <= h->text_end);
        assert_true(h->text_end <= d->text_bytes && h->level >= 1 && h->level <= 6);
        last = h->at;
    }

    int64_t text_end = 0, source_end = 0;
    if (!d->has_source) assert_int_equal(d->n_runs, 0);
    for (int64_t i = 0; i < d->n_runs; i++) {
        qu_source_run r = d->runs[i];
        assert_true(r.n >= 0 && r.text_at >= text_end && r.source_at >= source_end);
        text_end = r.text_at + r.n;
        source_end = r.source_at + r.n;
        assert_true(text_end <= d->text_bytes && source_end <= n);
        for (int64_t k = 0; k < r.n; k++) {
            uint8_t from = raw[r.source_at + k], to = (uint8_t)d->text[r.text_at + k];
            bool control = (from < 0x20 && from != '\t' && from != '\n') || from == 0x7F;
            assert_int_equal(to, from == '\r' ? '\n' : control ? ' ' : from);
        }
    }
}

/* Parse a string and check it. name tells the format. */
static inline void parse(qu_document *d, const char *s, int64_t n, const char *name)
{
    qu_err err = {0};
    if (qu_document_parse(d, s, n, name, &err) != QU_OK) fail_msg("%s", err.msg);
    check_document(d, (const uint8_t *)s, n);
}

/* Parse anything, within two seconds of processor time a megabyte (the sanitizers included). */
static inline qu_status parse_quick(const void *s, int64_t n, const char *name)
{
    qu_document d;
    qu_err err = {0};
    clock_t start = clock();
    qu_status st = qu_document_parse(&d, s, n, name, &err);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (seconds > 0.5 + (double)n * 2e-6)
        fail_msg("'%s': %.1f s for %lld bytes", name, seconds, (long long)n);
    if (st == QU_OK)
        check_document(&d, s, n);
    else
        assert_true(st == QU_ERR_UNSUPPORTED || st == QU_ERR_FORMAT || st == QU_ERR_LIMIT);
    qu_document_free(&d);
    return st;
}

#define PARSE(d, literal, name) parse(d, literal, sizeof(literal) - 1, name)

#endif
