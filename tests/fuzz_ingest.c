/* Any bytes through the document parser: the entry point that a fuzzer drives, and a replayer.
 *
 *     build/release/tests/fuzz_ingest [-n MUTATIONS] FILE...     each file as it is, then mutated
 *
 * Every result is held to tests/ingest_check.h; a failed check ends the program.
 */
#include "base/os.h"
#include "tests/ingest_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static const char *const names[] = {"a.html", "a.md", "a.txt", "a.csv", "a.jsonl", "a.c", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    qu_document_limits limits = qu_document_default_limits();
    limits.max_inflated_bytes = 8 << 20;
    for (int i = 0; i < 7; i++) {
        qu_document d;
        if (qu_document_parse(&d, p, (int64_t)n, names[i], &limits, NULL) != QU_OK) continue;
        check_document(&d, p, (int64_t)n);
        qu_document_free(&d);
    }
    return 0;
}

#ifndef QU_FUZZER
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
