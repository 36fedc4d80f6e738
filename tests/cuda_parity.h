/* What the parity tables of the CUDA kernels share: device memory, random data, and the run of a
 * table, each entry of which compares a kernel with the plain reference of the CPU. unit_cuda_*.c
 * run the sources of kernels/cuda under tests/emulate, unit_cuda_*_device.c are the same on a
 * device.
 *
 *     static const parity_entry TABLE[] = {{"rmsnorm", "qu_rows_rmsnorm_ref", 2e-6, check}};
 *     int main(void) { return parity_main(TABLE, 1); }
 *
 * Under emulation each entry runs twice, threads from first to last with little shared memory, then
 * from last to first with much: the outputs must be the same bits, else a barrier is missing or a
 * result depends on how work is shared out. What failed is said of all entries, with the first
 * shape of each that was off. */
#ifndef QU_TESTS_CUDA_PARITY_H
#define QU_TESTS_CUDA_PARITY_H

#include <stdarg.h>
#include <stdio.h>

#include "tests/testing.h"

#include "base/dims.h"
#include "base/hash.h"
#include "kernels/cuda/ops.h"

extern int emulate_reverse __attribute__((weak)), emulate_shared_bytes __attribute__((weak));

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
static double allowed;  /* by the entry that runs */
static char where[160]; /* its first result that was off by more */

/* The larger of w and e, the error of what the words after it name. */
__attribute__((format(printf, 3, 4)))
static inline double larger(double w, double e, const char *of, ...)
{
    if (!(e <= allowed) && !where[0]) {
        va_list list;
        va_start(list, of);
        int n = snprintf(where, sizeof where, "off by %.3g in ", e);
        vsnprintf(where + n, sizeof where - (size_t)n, of, list);
        va_end(list);
    }
    return e > w || isnan(e) ? e : w;
}

/* An entry once, on a device opened anew; says whether it passed. */
static inline bool parity_run(const parity_entry *entry, uint64_t number, int reverse,
                              qu_hash *first)
{
    TEST_OK(qu_cuda_open(&cu, 0, err));
    seed = 42 + number;
    outputs = (qu_hash){0};
    allowed = entry->tolerance;
    where[0] = 0;
    double e = entry->check();
    drop_all();
    qu_cuda_close(cu);
    if (!reverse || !(e <= allowed))
        print_message("%-26s %-50s %8.2g of %g\n", entry->kernel, entry->reference, e, allowed);
    const char *how = reverse ? " in reverse" : "";
    if (!(e <= allowed)) print_message("%s: failed%s, first %s\n", entry->kernel, how, where);
    if (!reverse) *first = outputs;
    else if (!qu_hash_equal(*first, outputs))
        print_message("%s: failed, other bits with threads in another order\n", entry->kernel);
    return e <= allowed && qu_hash_equal(*first, outputs);
}

static void parity(void **state)
{
    (void)state;
    int failed = 0;
    if (qu_cuda_count() == 0) {
        print_message("skipped: no CUDA device\n");
        skip();
    }
    for (int i = 0; i < parity_n; i++) {
        qu_hash first;
        bool passed = parity_run(&parity_table[i], (uint64_t)i, 0, &first);
        if (&emulate_reverse) {
            emulate_reverse = 1, emulate_shared_bytes = 227 << 10;
            passed &= parity_run(&parity_table[i], (uint64_t)i, 1, &first);
            emulate_reverse = 0, emulate_shared_bytes = 99 << 10;
        }
        failed += !passed;
    }
    if (failed > 0) fail_msg("%d of %d entries failed", failed, parity_n);
}

static inline int parity_main(const parity_entry *table, int n)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(parity)};
    parity_table = table;
    parity_n = n;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
