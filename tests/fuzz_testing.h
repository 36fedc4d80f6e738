/* What the fuzz targets share: reading an input piece by piece, seeded mutations, and a replayer.
 *
 *     int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) { fuzz_in in = {p, n}; ... return 0; }
 *
 *     build/release/tests/fuzz_x [-n MUTATIONS] FILE...          each file as it is, then mutated
 *
 * `make fuzz` drives a target with libFuzzer (QU_LIBFUZZER). A unit test includes the target's file
 * with QU_FUZZ_NO_MAIN and replays tests/corpus/NAME: what fuzzing begins with, and what once
 * failed.
 */
#ifndef QU_TESTS_FUZZ_TESTING_H
#define QU_TESTS_FUZZ_TESTING_H

#include <dirent.h>

#include "base/os.h"
#include "tests/testing.h"

typedef int fuzz_target(const uint8_t *p, size_t n);

/* What is left of an input; past its end come zeros. */
typedef struct fuzz_in {
    const uint8_t *p;
    size_t n;
} fuzz_in;

static inline fuzz_in fuzz_take(fuzz_in *in, size_t n)
{
    fuzz_in out = {in->p, n < in->n ? n : in->n};
    in->p += out.n;
    in->n -= out.n;
    return out;
}

static inline uint8_t fuzz_u8(fuzz_in *in)
{
    fuzz_in one = fuzz_take(in, 1);
    return one.n ? *one.p : 0;
}

static inline uint16_t fuzz_u16(fuzz_in *in)
{
    uint8_t low = fuzz_u8(in);
    return (uint16_t)(low | fuzz_u8(in) << 8);
}

/* Change, drop, double or move a few stretches of the n bytes in place; returns the new length. */
static inline size_t fuzz_mutate(uint8_t *p, size_t n, uint64_t *seed)
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

/* A file as it is and mutated so many times. */
static inline void fuzz_replay(fuzz_target *target, const char *path, int mutations)
{
    uint64_t seed = 1;
    qu_buf raw = {0};
    TEST_OK(qu_os_read(&raw, path, 1 << 26, err));
    for (int k = 0; k <= mutations; k++) { /* each in memory of its own size */
        uint8_t *copy = malloc(raw.len + !raw.len);
        memcpy(copy, raw.data, raw.len);
        size_t n = k ? fuzz_mutate(copy, raw.len, &seed) : raw.len;
        uint8_t *tight = realloc(copy, n + !n);
        target(tight ? tight : copy, n);
        free(tight ? tight : copy);
    }
    qu_buf_free(&raw);
}

/* Every file of tests/corpus/NAME; how many there were. */
static inline int fuzz_corpus(fuzz_target *target, const char *name, int mutations)
{
    char path[512];
    int n = 0;
    snprintf(path, sizeof path, "tests/corpus/%s", name);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (*e->d_name == '.') continue;
        snprintf(path, sizeof path, "tests/corpus/%s/%s", name, e->d_name);
        fuzz_replay(target, path, mutations);
        n++;
    }
    closedir(d);
    return n;
}

#if !defined(QU_LIBFUZZER) && !defined(QU_FUZZ_NO_MAIN)
fuzz_target LLVMFuzzerTestOneInput;

int main(int argc, char **argv)
{
    int mutations = argc > 2 && strcmp(argv[1], "-n") == 0 ? atoi(argv[2]) : 0;
    for (int i = mutations ? 3 : 1; i < argc; i++)
        fuzz_replay(LLVMFuzzerTestOneInput, argv[i], mutations);
    return 0;
}
#endif

#endif
