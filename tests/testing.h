/* What many test programs need: cmocka, the test data folder, a seeded generator, the oracle's
 * tolerance. */
#ifndef QU_TESTS_TESTING_H
#define QU_TESTS_TESTING_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/status.h"

/* Path of a file of the test data (a static buffer); NULL when it is not there. */
static inline const char *test_data(const char *name)
{
    static char path[4][1024];
    static int turn;
    const char *root = getenv("QUIRE_DATA");
    char *p = path[turn++ & 3];
    snprintf(p, sizeof path[0], "%s/%s", root ? root : "../shared/data", name);
    return access(p, R_OK) == 0 ? p : NULL;
}

/* Skip the running test, saying why, unless the file is there. */
#define TEST_NEEDS(var, name)                                                                      \
    const char *var = test_data(name);                                                             \
    do {                                                                                           \
        if (!var) {                                                                                \
            print_message("skipped: no test data '%s' (set QUIRE_DATA)\n", name);                  \
            skip();                                                                                \
        }                                                                                          \
    } while (0)

/* The same as a value, for tests that need several files. */
static inline const char *test_needs(const char *name)
{
    TEST_NEEDS(path, name);
    return path;
}

/* A call must succeed; its message is shown when it does not. */
#define TEST_OK(call)                                                                              \
    do {                                                                                           \
        qu_err test_err_ = {0};                                                                    \
        qu_err *err = &test_err_;                                                                  \
        if ((call) != QU_OK) fail_msg("%s: %s", #call, test_err_.msg);                             \
        (void)err;                                                                                 \
    } while (0)

static inline uint64_t test_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u; /* SplitMix64 */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Uniform in [-1, 1). */
static inline float test_uniform(uint64_t *state)
{
    return (float)((double)(test_random(state) >> 11) / 4503599627370496.0 - 1.0);
}

/* Largest difference of a from b as a share of b's spread (max - min). */
static inline double test_spread_error(const float *a, const float *b, int64_t n)
{
    double low = INFINITY, high = -INFINITY, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        low = fmin(low, b[i]);
        high = fmax(high, b[i]);
        worst = fmax(worst, fabs((double)a[i] - b[i]));
        if (isnan(a[i]) || isnan(b[i])) return INFINITY;
    }
    return high > low ? worst / (high - low) : worst;
}

#endif
