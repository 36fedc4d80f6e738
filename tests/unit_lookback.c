/* Looking back: the page that answers the chunk's queries is the first to be picked, wherever it
 * and the chunk stand. */
#include "tests/testing.h"

#include "base/dims.h"
#include "kernels/quant.h"
#include "kernels/summary.h"
#include "retrieve/lookback.h"

enum { PAGES = 40, ROWS = 33 };

static qu_model *model;

/* A summary of keys that are noise, but for the planted one of every head. */
static void make_summary(void *out, int32_t n, const float *planted, uint64_t *seed)
{
    enum { PAD = QU_PAGE_TOKENS };
    int32_t d = model->head_size;
    float *kt = calloc((size_t)(d * PAD * 2), sizeof *kt), *v = kt + d * PAD,
          *scratch = malloc((size_t)qu_summary_scratch(PAD, d) * sizeof *scratch);
    for (int32_t i = 0; i < model->n_layers * model->n_kv_heads; i++) {
        for (int32_t t = 0; t < n; t++)
            for (int32_t j = 0; j < d; j++)
                kt[j * PAD + t] =
                    planted && t == n / 2 ? 3 * planted[j] : .3f * test_uniform(seed);
        qu_summary_make((char *)out + i * qu_summary_bytes(n, d), kt, PAD, v, d, n, d,
                        model->ropes[0], scratch);
    }
    free(kt);
    free(scratch);
}

static int32_t picked(const uint8_t *use, int32_t n)
{
    int32_t sum = 0;
    for (int32_t p = 0; p < n; p++) sum += use[p];
    return sum;
}

static void the_page_that_is_asked_for_is_picked(void **state)
{
    (void)state;
    uint64_t seed = 3;
    int32_t tokens[PAGES], d = model->head_size, width = model->n_heads * d;
    float *q = malloc(sizeof *q * (size_t)(ROWS * width)), want[QU_MAX_HEAD_SIZE];
    float c[QU_MAX_HEAD_SIZE * 8], s[QU_MAX_HEAD_SIZE * 8];
    char *summary = calloc(1, (size_t)qu_page_summary_bytes(model, QU_PAGE_TOKENS));
    for (int32_t p = 0; p < PAGES; p++) tokens[p] = p == 0 ? 7 : 100 + p % 29;
    for (int32_t j = 0; j < d; j++) want[j] = test_uniform(&seed);
    for (int64_t pos = 0; pos <= 5000; pos += 2500)
        for (int32_t target = 1; target < PAGES - 1; target += 9) {
            qu_lookback *b;
            uint8_t use[PAGES];
            TEST_OK(qu_lookback_create(&b, model, NULL, tokens, PAGES, err));
            for (int32_t p = 0; p < PAGES - 1; p++) {
                make_summary(summary, tokens[p], p == target ? want : NULL, &seed);
                size_t bytes = (size_t)qu_page_summary_bytes(model, tokens[p]);
                TEST_OK(qu_lookback_summary(b, p, summary, bytes, err));
            }
            /* queries that would find the key if it stood at pos */
            qu_rope_angles(model->ropes[0], pos, 1, 16, c, s);
            for (int32_t i = 0; i < ROWS * model->n_heads; i++) {
                memcpy(q + i * d, want, (size_t)d * sizeof *q);
                qu_rope_vector(q + i * d, model->ropes[0], c, s, 16, 0);
            }
            qu_lookback_begin(b, pos);
            for (int32_t l = 0; l < model->n_layers - 1; l++) qu_lookback_watch(b, l, q, ROWS);
            TEST_OK(qu_lookback_pick(b, use, PAGES, QU_PAGE_TOKENS, err));
            assert_int_equal(use[target], 1);
            assert_int_equal(picked(use, PAGES), 1);
            TEST_OK(qu_lookback_pick(b, use, target, 300, err)); /* not among the earlier ones */
            assert_int_equal(picked(use, target), target > 2 ? 2 : target - 1);
            TEST_OK(qu_lookback_pick(b, use, PAGES, 100, err)); /* no room for a whole page */
            assert_int_equal(picked(use, PAGES), 0);
            qu_err e;
            assert_int_equal(qu_lookback_summary(b, 5, summary, 16, &e), QU_ERR_CORRUPT);
            qu_lookback_free(b);
        }
    free(q);
    free(summary);
}

static int open_model(void **state)
{
    (void)state;
    const char *b = getenv("B") ? getenv("B") : "build/release";
    char path[256], command[700];
    qu_err err;
    snprintf(path, sizeof path, "%s/tests/lookback.gguf", b);
    snprintf(
        command, sizeof command,
        "%s/mkmodel --random --heads 4 --kv-heads 2 --head-size 32 --layers 3 --type F32 -o %s", b,
        path);
    if (system(command) != 0 || qu_model_open(&model, path, &err) != QU_OK) return -1;
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    qu_model_close(model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_page_that_is_asked_for_is_picked)};
    return cmocka_run_group_tests(tests, open_model, close_model);
}
