/* Any bytes through every parser of documents but poppler's: the entry point that a fuzzer drives
 * (`make fuzz`), and a replayer.
 *
 *     build/release/tests/fuzz_ingest [-n MUTATIONS] FILE...     each file as it is, then mutated
 *
 * Every result is held to tests/ingest_check.h; a failed check ends the program. tests/unit_formats.c
 * includes this file (QU_FUZZ_NO_MAIN) for the inputs that once failed, tests/corpus/ingest.
 */
#include <sys/mman.h>

#include "base/os.h"
#include "ingest/expand.h"
#include "ingest/pdf.h"
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
    qu_document_limits limits = qu_document_default_limits();
    limits.max_inflated_bytes = limits.free_inflated_bytes = 1 << 20;
    qu_document d;
    depth++;
    if (qu_expand_kind(p, n, name) == QU_KIND_PDF) return; /* a program of its own */
    if (qu_expand(&d, p, n, name, &limits, fuzz_member, &depth, NULL) != QU_OK) return;
    if (d.text) check_document(&d, p, n);
    qu_document_free(&d);
}

/* As if pdftotext had written it. */
static void fuzz_boxes(const void *p, size_t n)
{
    qu_pdf pdf = {0};
    int fd = memfd_create("boxes", MFD_CLOEXEC);
    if (fd < 0 || write(fd, p, n) != (ssize_t)n || lseek(fd, 0, SEEK_SET) != 0) abort();
    qu_pdf_read_boxes(&pdf, fd, NULL);
    for (int64_t i = 0; i < pdf.n_headings; i++)
        assert_true(pdf.headings[i].at >= 0 && pdf.headings[i].text_end <= (int64_t)pdf.text.len);
    qu_pdf_free(&pdf);
    close(fd);
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

#if !defined(QU_LIBFUZZER) && !defined(QU_FUZZ_NO_MAIN)
/* Change, drop, double or move a few stretches of the n bytes in place; returns the new length. */
static size_t mutate(uint8_t *p, size_t n, uint64_t *seed)
{
    for (int turns = 1 + (int)(test_random(seed) % 8); turns > 0 && n > 8; turns--) {
        size_t at = test_random(seed) % n, len = test_random(seed) % 32;
        if (len > n - at) len = n - at;
        size_t to = test_random(seed) % (n - len + 1);
        switch (test_random(seed) % 4) {
        case 0: p[at] = (uint8_t)test_random(seed); break;
        case 1:
            memmove(p + at, p + at + len, n - at - len);
            n -= len;
            break;
        case 2: memmove(p + to, p + at, len); break;
        default: p[at] = (uint8_t) "<>&;\"'=/!-\r\n\0\xC3\xFF "[test_random(seed) % 16]; break;
        }
    }
    return n;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    int mutations = 0, first = 1;
    if (argc > 2 && strcmp(argv[1], "-n") == 0) {
        mutations = atoi(argv[2]);
        first = 3;
    }
    for (int i = first; i < argc; i++) {
        qu_buf raw = {0}, copy = {0};
        qu_err err = {0};
        if (qu_os_read(&raw, argv[i], 1 << 26, &err) != QU_OK) {
            fprintf(stderr, "%s\n", err.msg);
            return 4;
        }
        LLVMFuzzerTestOneInput((uint8_t *)raw.data, raw.len);
        for (int k = 0; k < mutations; k++) {
            copy.len = 0;
            if (qu_buf_add(&copy, raw.data, raw.len, &err) != QU_OK) return 4;
            copy.len = mutate((uint8_t *)copy.data, copy.len, &seed);
            LLVMFuzzerTestOneInput((uint8_t *)copy.data, copy.len);
        }
        qu_buf_free(&raw);
        qu_buf_free(&copy);
    }
    printf("%d files, %d mutations of each: ok\n", argc - first, mutations);
    return 0;
}
#endif
