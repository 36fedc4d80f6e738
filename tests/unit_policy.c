/* Selection: the budget's cut, and the known answers of every policy on the written-down model. */
#include "tests/copy_testing.h"

#include "retrieve/policy.h"

enum { TOKENS = 2560 }; /* 20 pages and the rest: 10% are two pages */

static qu_policy *make(const char *name, int64_t budget, bool far_field, int32_t refresh,
                       const float *heads)
{
    qu_policy *p;
    qu_policy_options o = {name, budget, far_field, refresh, true, heads, NULL, false};
    TEST_OK(qu_policy_create(&p, &o, model->n_layers, model->n_kv_heads, err));
    return p;
}

static void cut_takes_the_densest_within_budget(void **state)
{
    (void)state;
    static const float score[] = {.1f, .4f, .3f, .05f, NAN};
    static const int32_t tokens[] = {100, 128, 50, 10, 20};
    uint8_t use[10] = {0};
    TEST_OK(qu_policy_cut(use, 2, score, tokens, 5, 190, err)); /* densities .001 .0031 .006 .005 */
    static const uint8_t want[] = {0, 0, 1, 0, 1, 0, 1, 0, 0, 0};
    assert_memory_equal(use, want, sizeof want);
    memset(use, 0, sizeof use);
    TEST_OK(qu_policy_cut(use, 1, score, tokens, 5, 1, err)); /* at least one */
    assert_int_equal(use[0] + use[1] + use[2] + use[3] + use[4], 1);
    assert_int_equal(use[2], 1);
}

/* How many of the depths are found, the needle inside one page. */
static int depths_found(const char *name, int64_t budget, bool far_field, const float *heads,
                        int keys)
{
    int found = 0;
    qu_tokens hay = {0};
    for (int32_t depth = 0; depth < DEPTHS; depth++) {
        int64_t n = needle_tokens(0), page = depth * (TOKENS / QU_PAGE_TOKENS - 1) / (DEPTHS - 1);
        int64_t inside = 1 + (int64_t)depth * 7 % (QU_PAGE_TOKENS - n - 1);
        int64_t at[MAX_NEEDLES] = {page * QU_PAGE_TOKENS + inside, -1, -1, -1};
        for (int i = 1; i < keys; i++) /* others of the kind, wherever they fall */
            at[i] = (at[0] + i * 577 + depth * 31) % (TOKENS - 2 * n) + n;
        paged p;
        haystack(&hay, TOKENS, at);
        encode_pages(&p, &hay, QU_PAGE_TOKENS, depth % QU_CODEC_COUNT);
        qu_policy *policy = make(name, budget, far_field, 64, heads);
        found += finds(&p, 0, qu_policy_hook(policy));
        qu_policy_free(policy);
        free_pages(&p);
    }
    qu_tokens_free(&hay);
    return found;
}

/* METHODS: what each policy must find and must miss; depth 14 lies in the page that is always
 * read. */
static void known_answers(void **state)
{
    (void)state;
    int32_t n = model->n_layers * model->n_kv_heads;
    float *second = calloc((size_t)n, sizeof *second), *first = calloc((size_t)n, sizeof *first);
    for (int32_t g = 0; g < model->n_kv_heads; g++) first[g] = second[n - 1 - g] = 1;
    const int64_t tenth = TOKENS / 10;
    const struct {
        const char *name;
        int64_t budget;
        bool far_field;
        const float *heads;
        int least, most, keys;
    } want[] = {
        {"dense", 1, false, NULL, 15, 15, 1},         {"streaming", tenth, false, NULL, 1, 3, 1},
        {"duo", tenth, false, second, 15, 15, 1},     {"duo", tenth, false, first, 1, 3, 1},
        {"quest", tenth * 2, false, NULL, 15, 15, 1}, {"multipole", tenth, false, NULL, 15, 15, 1},
        {"multipole", tenth, true, NULL, 15, 15, 1},  {"multipole", tenth, true, NULL, 15, 15, 4},
        {"squeezed", tenth, false, NULL, 15, 15, 1},  {"page-mean", tenth, false, NULL, 0, 15, 1},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        int found = depths_found(want[i].name, want[i].budget, want[i].far_field, want[i].heads,
                                 want[i].keys);
        print_message("%-10s budget %4lld far %d table %d keys %d: %2d of 15\n", want[i].name,
                      (long long)want[i].budget, want[i].far_field, want[i].heads != NULL,
                      want[i].keys, found);
        assert_in_range(found, want[i].least, want[i].most);
    }
    free(first);
    free(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_takes_the_densest_within_budget),
        cmocka_unit_test(known_answers),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
