/* decode/sample.h: greedy choice, shares of draws, cuts, and that nothing but the arguments
 * matters. */
#include "tests/testing.h"

#include <stdbool.h>

#include "decode/sample.h"

enum { DRAWS = 20000 };

static int32_t pick(const float *x, int32_t n, qu_sample s, uint64_t at)
{
    int32_t id = -1;
    TEST_OK(qu_sample_pick(&id, x, n, &s, at, err));
    return id;
}

static void greedy_takes_the_lowest_of_equals(void **state)
{
    (void)state;
    float a[] = {1, 3, 2, 3}, b[] = {NAN, -INFINITY, NAN, -2}, c[] = {NAN, NAN},
          d[] = {NAN, -INFINITY};
    assert_int_equal(qu_sample_greedy(a, 4), 1);
    assert_int_equal(qu_sample_greedy(b, 4), 3);
    assert_int_equal(qu_sample_greedy(c, 2), 0);
    assert_int_equal(qu_sample_greedy(d, 2), 1);
    assert_int_equal(pick(a, 4, (qu_sample){0}, 9), 1);
    assert_int_equal(pick(c, 2, (qu_sample){.temperature = 1}, 9), 0);
    /* NaN and -INF are never drawn */
    assert_int_equal(pick(b, 4, (qu_sample){.temperature = 1}, 9), 3);
}

/* Shares of many draws are the softmax's, and follow the temperature. */
static void draws_follow_the_softmax(void **state)
{
    (void)state;
    float x[] = {0, 1, -1, 2, -INFINITY};
    for (int hot = 0; hot < 2; hot++) {
        qu_sample s = {.temperature = hot ? 2 : .5f, .seed = 4};
        double want[5], sum = 0;
        int count[5] = {0};
        for (int i = 0; i < 5; i++) sum += want[i] = exp(x[i] / (double)s.temperature);
        for (uint64_t at = 0; at < DRAWS; at++) count[pick(x, 5, s, at)]++;
        for (int i = 0; i < 5; i++)
            assert_true(fabs((double)count[i] / DRAWS - want[i] / sum) < .015);
        assert_int_equal(count[4], 0);
    }
}

static void cuts_keep_the_best(void **state)
{
    (void)state;
    /* Shares about .64 .24 .09 .03, twice .000 */
    float x[] = {1, 4, 2, 3, -9, -9};
    bool seen[6] = {0};
    for (uint64_t at = 0; at < 2000; at++) seen[pick(x, 6, (qu_sample){1, 2, 0, 1, 0}, at)] = true;
    assert_true(seen[1] && seen[3] && !seen[2] && !seen[0]);
    memset(seen, 0, sizeof seen);
    for (uint64_t at = 0; at < 2000; at++)
        seen[pick(x, 6, (qu_sample){1, 0, .9f, 1, 0}, at)] = true;
    assert_true(seen[1] && seen[3] && seen[2] && !seen[0]);
    memset(seen, 0, sizeof seen);
    for (uint64_t at = 0; at < 2000; at++)
        seen[pick(x, 6, (qu_sample){1, 2, .6f, 1, 0}, at)] = true;
    assert_true(seen[1] && !seen[3]); /* .73 of the two that top-k left */
    /* Four tokens of weight 1, many that make up another 1: half of all 5 is three tokens. */
    float tail[404];
    for (int i = 0; i < 404; i++) tail[i] = i < 4 ? 0 : -logf(400);
    memset(seen, 0, sizeof seen);
    for (uint64_t at = 0; at < 500; at++)
        seen[pick(tail, 404, (qu_sample){1, 0, .5f, 1, 0}, at)] = true;
    assert_true(seen[0] && seen[1] && seen[2] && !seen[3]);
    float ties[] = {5, 5, 5, 5};
    for (uint64_t at = 0; at < 500; at++)
        assert_true(pick(ties, 4, (qu_sample){1, 2, 0, 1, 0}, at) < 2);
    for (uint64_t at = 0; at < 500; at++)
        assert_true(pick(ties, 4, (qu_sample){1, 0, .5f, 1, 0}, at) < 2);
}

/* The shortcuts (short list for top-k, small tokens dropped before sorting) against sorting
 * everything. */
static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : -1;
}

static void cuts_agree_with_a_full_sort(void **state)
{
    (void)state;
    enum { N = 500 };
    uint64_t seed = 11;
    float x[N], sorted[N];
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < N; i++) sorted[i] = x[i] = test_uniform(&seed) * (round % 2 ? 8 : .1f);
        qsort(sorted, N, sizeof *sorted, by_value);
        qu_sample s = {
            .temperature = 1, .top_p = round % 4 < 2 ? .3f : .95f, .seed = (uint64_t)round};
        double all = 0, mass = 0;
        int kept = 0;
        for (int i = 0; i < N; i++) all += exp((double)sorted[i] - sorted[0]);
        while (kept < N && mass < (double)s.top_p * all)
            mass += exp((double)sorted[kept++] - sorted[0]);
        float lowest = INFINITY;
        for (uint64_t at = 0; at < 800; at++) lowest = fminf(lowest, x[pick(x, N, s, at)]);
        assert_true(lowest >= sorted[kept - 1]);
        s = (qu_sample){.temperature = 1, .top_k = 1 + round * 7, .seed = 3};
        for (uint64_t at = 0; at < 100; at++)
            assert_true(x[pick(x, N, s, at)] >= sorted[s.top_k - 1]);
    }
}

static void only_the_arguments_matter(void **state)
{
    (void)state;
    float x[64];
    uint64_t seed = 2;
    int same = 0, other = 0;
    for (int i = 0; i < 64; i++) x[i] = test_uniform(&seed);
    qu_sample a = {1, 0, .9f, 5, 0}, b = {1, 0, .9f, 6, 0};
    for (uint64_t at = 0; at < 200; at++) {
        same += pick(x, 64, a, at) == pick(x, 64, a, at);
        other += pick(x, 64, a, at) == pick(x, 64, b, at);
    }
    assert_int_equal(same, 200);
    assert_true(other < 40);
}

static void options_outside_their_range_are_refused(void **state)
{
    (void)state;
    float x[] = {1, 2};
    int32_t id;
    qu_sample bad[] = {{.temperature = -1},
                       {.temperature = NAN},
                       {.temperature = INFINITY},
                       {.temperature = 1, .top_p = 1.5f},
                       {.temperature = 1, .top_p = -.1f},
                       {.temperature = 1, .top_k = -1},
                       {.temperature = 1, .top_k = QU_SAMPLE_MAX_TOP_K + 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(qu_sample_pick(&id, x, 2, &bad[i], 0, NULL), QU_ERR_ARG);
    assert_int_equal(qu_sample_pick(&id, x, 0, &(qu_sample){0}, 0, NULL), QU_ERR_ARG);
}

/* Shares of 8 tokens, the exponentials of normals of that deviation: peaked ones. */
static void peaked(float *p, double deviation, uint64_t *seed)
{
    double sum = 0;
    for (int i = 0; i < 8; i++) {
        double x = 0;
        for (int k = 0; k < 12; k++) x += (double)test_uniform(seed) / 2;
        p[i] = (float)exp(deviation * x);
        sum += (double)p[i];
    }
    for (int i = 0; i < 8; i++) p[i] = (float)((double)p[i] / sum);
}

/* What drafting, accepting and the residual bring, in 20,000 draws. */
static void drafted(double got[8], const float *p, const float *q, float eta, uint64_t seed)
{
    float scratch[8];
    for (int i = 0; i < 8; i++) got[i] = 0;
    for (uint64_t at = 0; at < DRAWS; at++) {
        int32_t id = qu_sample_propose(q, 8, seed, at);
        qu_sample_verify(&id, p, q, scratch, 8, id, eta, seed, at);
        got[id]++;
    }
}

/* What should come: accepted drafts and the residual, from the formula as the paper has it. */
static void formula(double want[8], const float *p, const float *q, double eta)
{
    double p1[8], sum = 0, accepted = 0, rest = 0, most = 0;
    for (int i = 0; i < 8; i++) most = fmax(most, (double)q[i]);
    for (int i = 0; i < 8; i++) {
        double z = log((double)p[i]), moved = eta * ((double)q[i] - (double)p[i]);
        sum += p1[i] = exp(z + ((double)q[i] >= .1 * most ? moved : 0));
    }
    for (int i = 0; i < 8; i++) accepted += fmin((double)q[i], p1[i] /= sum);
    for (int i = 0; i < 8; i++)
        rest += fmax(0, fmax((double)p[i] - p1[i], (double)p[i] - (double)q[i]));
    for (int i = 0; i < 8; i++) {
        double r = fmax(0, fmax((double)p[i] - p1[i], (double)p[i] - (double)q[i]));
        want[i] = fmin((double)q[i], p1[i]) + (1 - accepted) * r / rest;
    }
}

/* Chi-square of counts, rare tokens as one. */
static double chi_square(const double got[8], const double want[8])
{
    double chi = 0, rare = 0, rare_want = 0;
    for (int i = 0; i < 8; i++) {
        double n = want[i] * DRAWS;
        if (n >= 5) {
            chi += (got[i] - n) * (got[i] - n) / n;
        } else {
            rare += got[i];
            rare_want += n;
        }
    }
    return rare_want > 1 ? chi + (rare - rare_want) * (rare - rare_want) / rare_want : chi;
}

/* The distribution is the target's, whatever the drafter's, and moves by about .25 at eta 5. */
static void drafts_keep_the_distribution(void **state)
{
    (void)state;
    enum { PAIRS = 40 };
    uint64_t seed = 3;
    double worst = 0, moved[2] = {0};
    for (int pair = 0; pair < PAIRS; pair++) {
        float p[8], q[8];
        peaked(p, 3.5, &seed);
        peaked(q, 3.5, &seed);
        for (int k = 0; k < 2; k++) {
            double got[8], want[8];
            drafted(got, p, q, k ? 5 : 0, seed);
            formula(want, p, q, k ? 5 : 0);
            for (int i = 0; i < 8; i++) {
                moved[k] += fabs(got[i] / DRAWS - (double)p[i]) / 2 / PAIRS;
                assert_true(k || fabs(want[i] - (double)p[i]) < 1e-6);
            }
            worst = fmax(worst, chi_square(got, want));
        }
    }
    print_message(
        "worst chi-square of %d (7 degrees) %.1f; total variation %.4f at eta 0, %.3f at 5\n",
        2 * PAIRS, worst, moved[0], moved[1]);
    assert_true(worst < 29.9); /* one in 10,000 a pair */
    assert_true(moved[0] < .006 && moved[1] > .2 && moved[1] < .3);
}

/* pick draws with these shares. */
static void shares_are_what_is_drawn(void **state)
{
    (void)state;
    qu_sample all[] = {{.temperature = .7f}, {.temperature = 1, .top_k = 3},
                       {.temperature = 1.5f, .top_p = .8f}, {.temperature = 0}};
    float x[] = {0, 1.5f, -1, 2, -INFINITY, 1.5f}, p[6];
    for (int k = 0; k < 4; k++) {
        double count[6] = {0}, sum = 0;
        all[k].seed = 9;
        TEST_OK(qu_sample_shares(p, x, 6, &all[k], err));
        for (uint64_t at = 0; at < DRAWS; at++) count[pick(x, 6, all[k], at)]++;
        for (int i = 0; i < 6; i++) {
            sum += (double)p[i];
            assert_true(fabs(count[i] / DRAWS - (double)p[i]) < .015);
            assert_true(p[i] > 0 || count[i] == 0);
        }
        assert_true(fabs(sum - 1) < 1e-6);
    }
}

static void repetition_is_made_less_likely(void **state)
{
    (void)state;
    float x[] = {2, -2, 3, 0};
    int32_t said[] = {0, 1};
    qu_sample_penalise(x, said, 2, 2);
    assert_true(x[0] == 1 && x[1] == -4 && x[2] == 3 && x[3] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_lowest_of_equals),
        cmocka_unit_test(draws_follow_the_softmax),
        cmocka_unit_test(cuts_keep_the_best),
        cmocka_unit_test(cuts_agree_with_a_full_sort),
        cmocka_unit_test(only_the_arguments_matter),
        cmocka_unit_test(drafts_keep_the_distribution),
        cmocka_unit_test(shares_are_what_is_drawn),
        cmocka_unit_test(repetition_is_made_less_likely),
        cmocka_unit_test(options_outside_their_range_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
