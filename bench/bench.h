/* What the bench tools share: leaving on a fault, random numbers, processor time, percentiles. For
 * tools alone: a fault prints and ends the program.
 *
 *     must(qu_model_open(&m, path, &err));
 *     double *ms = need(malloc(n * sizeof *ms)), start = cpu_ms();
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/memory.h"
#include "base/status.h"

static qu_err err;          /* where must finds the fault */
static uint64_t seed = 1;   /* of draw */

static inline void must(qu_status st)
{
    if (st == QU_OK) return;
    fprintf(stderr, "%s\n", err.msg);
    exit(2);
}

static inline void *need(void *p)
{
    if (!p) must(qu_fail(&err, QU_ERR_NOMEM, "out of memory"));
    return p;
}

/* SplitMix64. */
static inline uint64_t draw(void)
{
    uint64_t z = seed += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Processor time of all threads: other programs disturb it little. */
static inline double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static inline int by_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

#endif
