/* What the parity tables of the CUDA kernels share: device memory, random data, and the run of a table, each
 * entry of which compares a kernel with the plain reference of the CPU. unit_cuda_*.c run the sources of
 * kernels/cuda under tests/emulate, unit_cuda_*_device.c are the same on a device.
 *
 *     static const parity_entry TABLE[] = {{"rmsnorm", "qu_rows_rmsnorm_ref", 2e-6, check_rmsnorm}};
 *     int main(void) { return parity_main(TABLE, 1); }
 *
 * Under emulation each entry runs twice, threads from first to last and from last to first: the outputs
 * must be the same bits, else a barrier is missing. */
#ifndef QU_TESTS_CUDA_PARITY_H
#define QU_TESTS_CUDA_PARITY_H

#include "tests/testing.h"

#include "base/dims.h"
#include "base/hash.h"
#include "kernels/cuda/ops.h"

extern int emulate_reverse __attribute__((weak));

static qu_cuda *cu;
static void *owned[4096], *kept[8192]; /* on the device and here, until drop_all */
static int n_owned, n_kept;
static qu_hash outputs; /* of everything that was fetched */
static uint64_t seed;

/* --- device memory --- */

static inline void *room(int64_t bytes)
{
    TEST_OK(qu_cuda_alloc(cu, &owned[n_owned], bytes, err));
    return owned[n_owned++];
}

static inline void *put(const void *host, int64_t bytes)
{
    void *p = room(bytes);
    TEST_OK(qu_cuda_upload(cu, QU_CUDA_COMPUTE, p, host, bytes, err));
    return p;
}

static inline void get(void *host, const void *device, int64_t bytes)
{
    TEST_OK(qu_cuda_download(cu, QU_CUDA_COMPUTE, host, device, bytes, err));
    TEST_OK(qu_cuda_sync(cu, QU_CUDA_COMPUTE, err));
    outputs = qu_hash_chain(outputs, host, (size_t)bytes);
}

static inline void drop_all(void)
{
    while (n_owned > 0) qu_cuda_free(cu, owned[--n_owned]);
    while (n_kept > 0) free(kept[--n_kept]);
}

/* Zeroed memory of this processor. */
static inline void *host(int64_t bytes)
{
    assert_true(n_kept < (int)(sizeof kept / sizeof *kept));
    kept[n_kept] = calloc(1, (size_t)bytes + 1);
    assert_non_null(kept[n_kept]);
    return kept[n_kept++];
}

static inline float *randoms(int64_t n, float scale)
{
    float *x = host(n * 4);
    for (int64_t i = 0; i < n; i++) x[i] = scale * test_uniform(&seed);
    return x;
}

static inline double worst(const float *a, const float *b, int64_t n)
{
    double w = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(a[i]) || isnan(b[i])) return INFINITY;
        w = fmax(w, fabs((double)a[i] - b[i]));
    }
    return w;
}

static inline double differing(const void *a, const void *b, int64_t bytes)
{
    double n = 0;
    for (int64_t i = 0; i < bytes; i++) n += ((const char *)a)[i] != ((const char *)b)[i];
    return n;
}

typedef struct parity_entry {
    const char *kernel, *reference;
    double tolerance; /* 0: bit for bit */
    double (*check)(void);
} parity_entry;

static const parity_entry *parity_table;
static int parity_n;

static inline void parity(void **state)
{
    (void)state;
    for (int i = 0; i < parity_n; i++) {
        qu_hash first = {0};
        for (int reverse = 0; reverse < (&emulate_reverse ? 2 : 1); reverse++) {
            if (&emulate_reverse) emulate_reverse = reverse;
            seed = 42 + (uint64_t)i;
            outputs = (qu_hash){0};
            double e = parity_table[i].check();
            drop_all();
            if (!reverse) {
                print_message("%-26s %-50s %8.2g of %g\n", parity_table[i].kernel, parity_table[i].reference, e,
                              parity_table[i].tolerance);
                first = outputs;
            }
            if (!(e <= parity_table[i].tolerance)) fail_msg("%s: %g", parity_table[i].kernel, e);
            if (!qu_hash_equal(first, outputs))
                fail_msg("%s: threads in another order give other bits", parity_table[i].kernel);
        }
        if (&emulate_reverse) emulate_reverse = 0;
    }
}

static inline int open_device(void **state)
{
    (void)state;
    if (qu_cuda_count() > 0) TEST_OK(qu_cuda_open(&cu, 0, err));
    return 0;
}

static inline int close_device(void **state)
{
    (void)state;
    qu_cuda_close(cu);
    return 0;
}

static inline void needs_device(void **state)
{
    if (!cu) {
        print_message("skipped: no CUDA device\n");
        skip();
    }
    parity(state);
}

static inline int parity_main(const parity_entry *table, int n)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(needs_device)};
    parity_table = table;
    parity_n = n;
    return cmocka_run_group_tests(tests, open_device, close_device);
}

#endif
