/* What fuzzing of the store, the codecs and the tokenizers begins with and what once failed, each
 * as it is and with seeded mutations. */
#define QU_FUZZ_NO_MAIN
#define LLVMFuzzerTestOneInput fuzz_store
#include "tests/fuzz_store.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_codec
#include "tests/fuzz_codec.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_token
#include "tests/fuzz_token.c"

static void test_store(void **state)
{
    (void)state;
    assert_true(fuzz_corpus(fuzz_store, "store", 200) > 5);
}

static void test_codec(void **state)
{
    (void)state;
    assert_true(fuzz_corpus(fuzz_codec, "codec", 40) > 3);
}

static void test_token(void **state)
{
    (void)state;
    assert_true(fuzz_corpus(fuzz_token, "token", 300) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_codec),
        cmocka_unit_test(test_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
