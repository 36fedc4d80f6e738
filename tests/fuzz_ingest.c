/* Any bytes through every parser of documents but poppler's. Every result is held to
 * tests/ingest_check.h; a failed check ends the program. See fuzz_testing.h.
 */
#include <sys/mman.h>

#include "ingest/expand.h"
#include "ingest/pdf.h"
#include "tests/fuzz_testing.h"
#include "tests/ingest_check.h"

#ifdef QU_LIBFUZZER
enum { ALL_NAMES = 0 }; /* one a run, by the length: more runs */
#else
enum { ALL_NAMES = 1 };
#endif

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void fuzz_bytes(const void *p, int64_t n, const char *name, int depth);

static qu_status fuzz_member(void *ctx, const char *name, const void *p, int64_t n, const char *why,
                             qu_err *err)
{
    const int *depth = ctx;
    (void)why, (void)err;
    if (p && *depth < 3) fuzz_bytes(p, n, name, *depth);
    return QU_OK;
}

static void fuzz_bytes(const void *p, int64_t n, const char *name, int depth)
{
    qu_document d;
    depth++;
    if (qu_expand_kind(p, n, name) == QU_KIND_PDF) return; /* a program of its own */
    if (qu_expand(&d, p, n, name, fuzz_member, &depth, NULL) != QU_OK) return;
    if (d.text) check_document(&d, p, n);
    qu_document_free(&d);
}

/* As if pdftotext had written it. */
static void fuzz_boxes(const void *p, size_t n)
{
    qu_pdf pdf = {0};
    qu_pdf_read_boxes(&pdf, p, (int64_t)n, NULL);
    for (int64_t i = 0; i < pdf.n_headings; i++)
        assert_true(pdf.headings[i].at >= 0 && pdf.headings[i].text_end <= (int64_t)pdf.text.len);
    qu_pdf_free(&pdf);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const char *const names[] = {"a.html", "a.md",  "a.txt", "a.csv", "a.jsonl",
                                        "a.c",    "a.eml", "a.xml", NULL};
    qu_kind kind = qu_expand_kind(p, (int64_t)n, NULL);
    if (kind == QU_KIND_ZIP || kind == QU_KIND_ARCHIVE) /* the name says nothing */
        fuzz_bytes(p, (int64_t)n, NULL, 0);
    for (size_t i = 0;
         i < sizeof names / sizeof *names && kind != QU_KIND_ZIP && kind != QU_KIND_ARCHIVE; i++)
        if (i == n % (sizeof names / sizeof *names) || ALL_NAMES)
            fuzz_bytes(p, (int64_t)n, names[i], 0);
    if (n > 0 && *p == '<') fuzz_boxes(p, n);
    return 0;
}
