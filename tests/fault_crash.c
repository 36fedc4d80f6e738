/* The program is killed, or the power goes, before a call of its own that changes a file: index (a
 * new store, an edited corpus), the KV that a question makes, rm, gc, eviction. Afterwards each
 * document is old or new, so is every answer, the next index completes once, no page is wrong and
 * nothing is left over. 21 times, with QUIRE_LONG 1,000. */
#include "tests/fault_testing.h"

static void every_crash_leaves_old_or_new(void **state)
{
    (void)state;
    if (!FT_PRELOAD) {
        print_message("skipped: the sanitizer must be loaded first\n");
        skip();
    }
    const char *given = getenv("SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : 1;
    int n = getenv("QUIRE_LONG") ? 1000 : 21, n_cut = 0;
    long calls[FT_SCENES];
    for (int i = 0; i < FT_SCENES; i++) calls[i] = ft_count(i, "wsn");
    for (int i = 0; i < n; i++) {
        int scene = i % FT_SCENES;
        bool cut = i / FT_SCENES % 3 != 0;
        if (calls[scene] == 0) continue;
        long at = (long)(test_random(&seed) % (uint64_t)calls[scene]);
        unsigned long how = (unsigned long)(test_random(&seed) >> 33);
        int code = 0;
        /* a slow run also writes down its speed: fewer calls */
        for (at++; code != 137 && at > 0;) {
            ft_prepare(scene);
            code = ft_run(scene, cut ? "cut" : "kill", "wsn", --at, how);
        }
        if (code != 137) fail_msg("%s at %ld: exit %d", ft_scenes[scene].name, at, code);
        print_message("%s %s at %ld of %ld, %lu\n", ft_scenes[scene].name, cut ? "cut" : "kill", at,
                      calls[scene], how);
        ft_verify(scene, i % 2 == 0, true);
        n_cut += cut;
    }
    print_message("%d kills, %d power cuts over %ld to %ld calls\n", n - n_cut, n_cut,
                  calls[FT_ASK_SCENE], calls[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_crash_leaves_old_or_new)};
    return cmocka_run_group_tests(tests, ft_setup, px_teardown);
}
