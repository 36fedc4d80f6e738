/* index/words.h: what a word is, its stem, its grams and its letters. */
#include "index/words.h"
#include "tests/testing.h"

static size_t cut(const char *text, uint64_t *hashes, size_t cap)
{
    qu_words it;
    qu_word w;
    size_t n = 0, at = 0;
    qu_words_init(&it, text, strlen(text));
    while (qu_words_next(&it, &w)) {
        assert_true(w.start >= at && w.end > w.start && w.end <= strlen(text));
        at = w.start;
        if (n < cap) hashes[n] = w.hash;
        n++;
    }
    return n;
}

static void assert_same_words(const char *a, const char *b)
{
    uint64_t x[64], y[64];
    size_t n = cut(a, x, 64), m = cut(b, y, 64);
    if (n != m || memcmp(x, y, n * sizeof *x) != 0) fail_msg("'%s' and '%s' differ", a, b);
}

static void test_words_fold(void **state)
{
    (void)state;
    assert_same_words("The CAFÉ, Zürich", "the cafe zurich");
    assert_same_words("cafe\xcc\x81", "café"); /* decomposed */
    assert_same_words("Straße", "STRASSE");
    assert_same_words("ﬁne ２０２４", "fine 2024");
    assert_same_words("Ελλάδα", "ελλαδα");
    assert_same_words("Miller's boat", "Miller boat");
    assert_same_words("Miller\xe2\x80\x99s boat", "Miller boat");
    assert_same_words("co\xc2\xadoperate", "cooperate"); /* soft hyphen */
    assert_same_words("が", "か\xe3\x82\x99");           /* composed and decomposed kana */
    assert_same_words("한국",
                      "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab\xe1\x84\x80\xe1\x85\xae\xe1\x86\xa8");
    assert_same_words("a\xff\xfe"
                      "b",
                      "a b"); /* not UTF-8: separates */
    assert_same_words("", "... \n\t -- ");
    qu_words it;
    qu_word w;
    qu_words_init(&it, "caf\xc3\xa9", 4); /* cut inside a character: not read past */
    assert_true(qu_words_next(&it, &w));
    assert_int_equal(w.end, 3);
    assert_false(qu_words_next(&it, &w));
    uint64_t h[2];
    assert_int_equal(cut("cat dog", h, 2), 2);
    assert_true(h[0] != h[1]);
    assert_int_equal(cut("it's", h, 2), 1);
    assert_int_equal(cut("o'sullivan", h, 2), 2);
}

static void test_words_spaceless(void **state)
{
    (void)state;
    uint64_t a[8], b[8];
    assert_int_equal(cut("北京大学", a, 8), 3); /* overlapping pairs */
    assert_int_equal(cut("北京", b, 8), 1);
    assert_true(a[0] == b[0]);
    assert_int_equal(cut("大学", b, 8), 1);
    assert_true(a[2] == b[0]);
    assert_int_equal(cut("茶", a, 8), 1);
    assert_int_equal(cut("京。茶", a, 8), 2);
    assert_int_equal(cut("กำลัง", a, 8), 4 - 2); /* ก ำ ลั ง: two triples of four units */
    assert_int_equal(cut("กำ", b, 8), 1);
    assert_true(b[0] != a[0]);
    assert_int_equal(cut("第3章", a, 8), 3);
    assert_int_equal(cut("東京タワー", a, 8), 4);
}

/* The grams of every word of text. */
static size_t cut_grams(const char *text, uint64_t *grams)
{
    qu_words it;
    qu_word w;
    size_t n = 0;
    qu_words_init(&it, text, strlen(text));
    while (qu_words_next(&it, &w)) n += (size_t)qu_words_grams(&it, grams + n);
    return n;
}

static bool share_gram(const char *a, const char *b)
{
    uint64_t x[256], y[256];
    size_t n = cut_grams(a, x), m = cut_grams(b, y);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < m; j++)
            if (x[i] == y[j]) return true;
    return false;
}

static void test_words_grams(void **state)
{
    (void)state;
    uint64_t a[256], b[8];
    assert_int_equal(cut_grams("box tree planning", a), 0 + 1 + 5);
    assert_int_equal(cut("tree", b, 8), 1);
    assert_true(a[0] != b[0]); /* a gram is no word */
    assert_true(share_gram("Spurweite", "Breitspur")); /* whatever the stem makes of it */
    assert_true(share_gram("septicemia", "SEPTICEMIC"));
    assert_true(share_gram("Größe", "größer"));
    assert_false(share_gram("Ghandi", "Gandhi"));
    assert_int_equal(cut_grams("größe", a), 3); /* ß is two letters: gros, ross, osse */
    assert_int_equal(cut_grams("北京大学", a), 4); /* each character once */
    assert_true(share_gram("京", "北京大学") && share_gram("学", "北京大学"));
    assert_false(share_gram("海", "北京大学"));
    assert_int_equal(cut_grams("茶", a), 1);
    assert_int_equal(cut_grams("กำลัง", a), 3);
    assert_true(share_gram("กำ", "กำลัง") && share_gram("ลัง", "กำลัง"));
    assert_int_equal(cut_grams("ก", a), 0);
    char longest[200];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(cut_grams(longest, a), QU_WORD_BYTES - 3);
}

/* 0: the last word of text has no set of letters. */
static uint64_t letters(const char *text)
{
    qu_words it;
    qu_word w;
    uint64_t hash = 0;
    qu_words_init(&it, text, strlen(text));
    while (qu_words_next(&it, &w))
        if (!qu_words_letters(&it, &hash)) hash = 0;
    return hash;
}

static void test_words_letters(void **state)
{
    (void)state;
    uint64_t gram[64];
    assert_true(letters("Ghandi's") && letters("Ghandi's") == letters("Gandhi"));
    assert_true(letters("Cypiddids") == letters("cydippids")); /* places, doubling, plural */
    assert_true(letters("occured") == letters("occurred"));
    assert_true(letters("größte") == letters("grosste"));
    assert_true(letters("resign") != letters("singer")); /* the first letter stays */
    assert_true(letters("planets") != letters("planters"));
    assert_false(letters("form") || letters("banana") || letters("mp3file") || letters("北京大学"));
    cut_grams("Gandhi", gram);
    assert_true(letters("Gandhi") != gram[0]);
}

static void test_words_stem(void **state)
{
    (void)state;
    static const char *pairs[][2] = {
        {"boxes", "box"},     {"boxed", "box"},     {"boxing", "box"},    {"cities", "city"},
        {"planned", "plan"},  {"planning", "plan"}, {"making", "mak"},    {"make", "mak"},
        {"makes", "mak"},     {"falling", "fall"},  {"classes", "class"}, {"quickly", "quick"},
        {"gas", "gas"},       {"bus", "bus"},       {"this", "this"},     {"sing", "sing"},
        {"thing", "thing"},   {"red", "red"},       {"x86s", "x86s"},     {"hurried", "hurry"},
        {"string", "string"}, {"s", "s"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char w[32];
        strcpy(w, pairs[i][0]);
        w[qu_words_stem(w, strlen(w))] = 0;
        assert_string_equal(w, pairs[i][1]);
    }
}

static void test_words_any_bytes(void **state)
{
    (void)state;
    uint64_t seed = 1;
    unsigned char *bytes = malloc(1 << 16);
    assert_non_null(bytes);
    for (int round = 0; round < 20; round++) {
        size_t n = round == 0 ? 0 : test_random(&seed) % (1 << 16);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)(test_random(&seed) | (round & 1 ? 0x80 : 0));
        unsigned char *exact = malloc(n ? n : 1); /* so that a read past the end is seen by asan */
        assert_non_null(exact);
        memcpy(exact, bytes, n);
        qu_words it;
        qu_word w;
        size_t k = 0, last = 0;
        qu_words_init(&it, (char *)exact, n);
        while (qu_words_next(&it, &w)) {
            assert_true(w.start >= last && w.start < w.end && w.end <= n);
            last = w.start;
            k++;
            uint64_t grams[QU_WORD_GRAMS];
            assert_in_range(qu_words_grams(&it, grams), 0, QU_WORD_GRAMS);
        }
        assert_true(k <= n);
        free(exact);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_fold),
        cmocka_unit_test(test_words_spaceless),
        cmocka_unit_test(test_words_grams),
        cmocka_unit_test(test_words_letters),
        cmocka_unit_test(test_words_stem),
        cmocka_unit_test(test_words_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
