/* The written-down copy model through stored pages: every needle is found, at every depth and page
 * cut. */
#include "tests/copy_testing.h"

static void found_at_every_depth_and_cut(void **state)
{
    (void)state;
    static const int32_t lengths[] = {512, 1024, 2048};
    bool whole =
        getenv("QUIRE_LONG") != NULL; /* else each cut meets one depth, each depth nine cuts */
    qu_tokens hay = {0};
    int32_t runs = 0;
    for (int l = 0; l < 3; l++)
        for (int32_t depth = 0; depth < DEPTHS; depth++) {
            int64_t at[MAX_NEEDLES] = {(lengths[l] - needle_tokens(0)) * depth / (DEPTHS - 1), -1,
                                       -1, -1};
            haystack(&hay, lengths[l], at);
            for (int32_t offset = 1; offset <= QU_PAGE_TOKENS; offset++) {
                if (!whole && offset % DEPTHS != depth) continue;
                paged p;
                encode_pages(&p, &hay, offset, runs++ % QU_CODEC_COUNT);
                if (!finds(&p, 0, NULL))
                    fail_msg("%d tokens, depth %d, first page of %d", lengths[l], depth, offset);
                free_pages(&p);
            }
        }
    print_message("%d needles found\n", runs);
    qu_tokens_free(&hay);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(found_at_every_depth_and_cut)};
    return cmocka_run_group_tests(tests, open_model, close_model);
}
