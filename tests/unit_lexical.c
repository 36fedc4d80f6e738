/* index/: words, the lexical file, search. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/hash.h"
#include "index/lexical_int.h"
#include "index/words.h"

static char dir[64], file[128];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/quire-unit-lexical-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(file, sizeof file, "%s/lexical.idx", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    char cmd[256];
    snprintf(cmd, sizeof cmd, "chmod 700 '%s' && rm -rf '%s'", dir, dir);
    return system(cmd);
}

static uint64_t rng = 1;

static uint32_t next_random(uint32_t below)
{
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((rng >> 33) % below);
}

static qu_lexical *open_as(unsigned flags)
{
    qu_err err = {0};
    qu_lexical *lx;
    if (qu_lexical_open(&lx, file, flags, &err) != QU_OK) fail_msg("%s", err.msg);
    return lx;
}

static qu_lexical *new_writer(void)
{
    unlink(file);
    return open_as(QU_LEXICAL_WRITE);
}

static void add(qu_lexical *lx, uint64_t doc, int32_t page, const char *title, const char *text)
{
    qu_err err = {0};
    if (qu_lexical_add(lx, doc, page, title, text, strlen(text), &err) != QU_OK)
        fail_msg("%s", err.msg);
}

static void commit(qu_lexical *lx, uint64_t generation)
{
    qu_err err = {0};
    if (qu_lexical_commit(lx, generation, &err) != QU_OK) fail_msg("%s", err.msg);
}

static qu_lexical *commit_and_read(qu_lexical *lx)
{
    commit(lx, 1);
    qu_lexical_close(lx);
    return open_as(QU_LEXICAL_READ);
}

/* "doc.page doc.page", best first. */
static const char *ask(qu_lexical *lx, const char *q, int32_t max_per_doc, int32_t k)
{
    static char text[1024];
    qu_lexical_hit hits[64];
    qu_lexical_opts opts = {.max_per_doc = max_per_doc};
    int32_t n;
    qu_err err = {0};
    if (qu_lexical_search(lx, q, strlen(q), &opts, k, hits, &n, &err) != QU_OK)
        fail_msg("%s", err.msg);
    text[0] = 0;
    for (int32_t i = 0; i < n; i++) {
        assert_true(hits[i].score > 0);
        if (i > 0) assert_true(hits[i].score <= hits[i - 1].score);
        sprintf(text + strlen(text), "%s%llu.%d", i ? " " : "", (unsigned long long)hits[i].doc_id,
                hits[i].page);
    }
    return text;
}

/* ---- words ---- */

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

/* Letters count only for a word that no page holds. */
static void test_misspellings(void **state)
{
    (void)state;
    qu_lexical *lx = new_writer();
    add(lx, 1, 1, NULL, "The march of Gandhi to the sea.");
    add(lx, 2, 1, NULL, "The trial of a trader.");
    add(lx, 3, 1, NULL, "A trail in the hills.");
    lx = commit_and_read(lx);
    assert_string_equal(ask(lx, "Ghandi", 0, 10), "1.1");
    assert_string_equal(ask(lx, "trail", 0, 10), "3.1");
    assert_string_equal(ask(lx, "trial", 0, 10), "2.1");
    qu_lexical_close(lx);
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
    unsigned char *bytes = malloc(1 << 16);
    assert_non_null(bytes);
    for (int round = 0; round < 20; round++) {
        size_t n = round == 0 ? 0 : next_random(1 << 16);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)(next_random(256) | (round & 1 ? 0x80 : 0));
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

/* ---- the file ---- */

static void test_add_search_remove(void **state)
{
    (void)state;
    qu_lexical *lx = new_writer();
    add(lx, 7, 1, "Ferry timetable", "The ferry leaves the harbour at nine.");
    add(lx, 7, 2, NULL, "In winter the boat stays in the dock.");
    add(lx, 3, 1, "Bread", "Mix flour and water, then wait for nine hours.");
    lx = commit_and_read(lx);
    int64_t docs, pages;
    qu_lexical_counts(lx, &docs, &pages);
    assert_int_equal(docs, 2);
    assert_int_equal(pages, 3);
    assert_string_equal(ask(lx, "harbour", 0, 10), "7.1");
    assert_string_equal(ask(lx, "Boats in docks?", 0, 10), "7.2");
    assert_string_equal(ask(lx, "nine", 0, 10), "3.1 7.1");  /* the shorter document first */
    assert_string_equal(ask(lx, "timetable", 0, 10), "7.1"); /* title only: the first page */
    assert_string_equal(ask(lx, "zeppelin", 0, 10), "");
    assert_string_equal(ask(lx, "", 0, 10), "");
    assert_string_equal(ask(lx, "the", 0, 10), "7.1 7.2"); /* a stop word alone still answers */
    assert_string_equal(ask(lx, "nine", 0, 0), "");
    qu_lexical_close(lx);

    lx = open_as(QU_LEXICAL_WRITE);
    qu_err err = {0};
    assert_int_equal(qu_lexical_remove(lx, 7, &err), QU_OK);
    assert_int_equal(qu_lexical_remove(lx, 1234, &err), QU_OK);
    lx = commit_and_read(lx);
    assert_string_equal(ask(lx, "harbour", 0, 10), "");
    assert_string_equal(ask(lx, "nine", 0, 10), "3.1");
    qu_lexical_close(lx);
}

static void test_replace(void **state)
{
    (void)state;
    qu_lexical *lx = new_writer();
    add(lx, 1, 1, NULL, "apples");
    add(lx, 1, 2, NULL, "pears");
    add(lx, 2, 1, NULL, "plums");
    commit(lx, 1);
    add(lx, 1, 1, NULL, "cherries"); /* the first page after a commit starts the document anew */
    add(lx, 2, 1, NULL, "grapes");
    add(lx, 1, 1, NULL, "figs"); /* coming back replaces too */
    qu_err err = {0};
    assert_int_equal(qu_lexical_remove(lx, 2, &err), QU_OK);
    add(lx, 2, 4, NULL, "dates");
    commit(lx, 2);
    assert_int_equal(qu_lexical_generation(lx), 2);
    qu_lexical_close(lx);
    lx = open_as(QU_LEXICAL_READ);
    assert_int_equal(qu_lexical_generation(lx), 2);
    assert_string_equal(ask(lx, "apples pears plums cherries grapes", 0, 10), "");
    assert_string_equal(ask(lx, "figs", 0, 10), "1.1");
    assert_string_equal(ask(lx, "dates", 0, 10), "2.4");
    qu_lexical_close(lx);
}

static void test_page_zero(void **state)
{
    (void)state;
    qu_lexical *lx = new_writer();
    add(lx, 1, 0, NULL, "Kiln manual");
    add(lx, 1, 1, "ignored title", "Heat slowly.");
    add(lx, 2, 0, NULL, "Kiln permit"); /* nothing else */
    lx = commit_and_read(lx);
    assert_string_equal(ask(lx, "manual", 0, 10), "1.1");
    assert_string_equal(ask(lx, "permit", 0, 10), "2.0");
    assert_string_equal(ask(lx, "ignored", 0, 10), "");
    int64_t pages;
    qu_lexical_counts(lx, NULL, &pages);
    assert_int_equal(pages, 1);
    qu_lexical_close(lx);
}

static void test_arguments(void **state)
{
    (void)state;
    qu_err err = {0};
    qu_lexical_hit hit;
    int32_t n;
    qu_lexical *lx = new_writer();
    assert_int_equal(qu_lexical_add(lx, 1, -1, NULL, "x", 1, &err), QU_ERR_ARG);
    add(lx, 1, 2, NULL, "two");
    assert_int_equal(qu_lexical_add(lx, 1, 2, NULL, "x", 1, &err), QU_ERR_ARG);
    assert_int_equal(qu_lexical_add(lx, 1, 0, NULL, "x", 1, &err), QU_ERR_ARG);
    assert_int_equal(qu_lexical_add(lx, 1, 3, NULL, NULL, 0, &err), QU_OK);
    assert_int_equal(qu_lexical_search(lx, "two", 3, NULL, 1, &hit, &n, &err), QU_ERR_ARG);
    lx = commit_and_read(lx);
    assert_int_equal(qu_lexical_add(lx, 1, 1, NULL, "x", 1, &err), QU_ERR_ARG);
    assert_int_equal(qu_lexical_remove(lx, 1, &err), QU_ERR_ARG);
    assert_int_equal(qu_lexical_commit(lx, 1, &err), QU_ERR_ARG);
    assert_int_equal(qu_lexical_clear(lx, &err), QU_ERR_ARG);
    assert_int_equal(qu_lexical_search(lx, "two", 3, NULL, -1, &hit, &n, &err), QU_ERR_ARG);
    assert_string_equal(ask(lx, "two", 0, 10), "1.2");
    qu_lexical_close(lx);
    qu_lexical_close(NULL);
}

static bool odd_docs(void *ctx, uint64_t doc_id)
{
    ++*(int *)ctx;
    return doc_id % 2 == 1;
}

static void test_options(void **state)
{
    (void)state;
    qu_lexical *lx = new_writer();
    for (uint64_t d = 1; d <= 6; d++)
        for (int32_t p = 1; p <= 5; p++) add(lx, d, p, NULL, "same words here");
    lx = commit_and_read(lx);
    assert_string_equal(ask(lx, "same words", 0, 4),
                        "1.1 1.2 1.3 1.4"); /* ties by (doc_id, page) */
    assert_string_equal(ask(lx, "same words", 1, 4), "1.1 2.1 3.1 4.1");
    assert_string_equal(ask(lx, "same words", 2, 5), "1.1 1.2 2.1 2.2 3.1");
    int calls = 0;
    qu_lexical_opts opts = {.keep = odd_docs, .ctx = &calls, .max_per_doc = 1};
    qu_lexical_hit hits[6];
    int32_t n;
    qu_err err = {0};
    assert_int_equal(qu_lexical_search(lx, "words", 5, &opts, 6, hits, &n, &err), QU_OK);
    assert_int_equal(n, 3);
    assert_int_equal(calls, 6);
    for (int32_t i = 0; i < 3; i++) assert_int_equal(hits[i].doc_id, 2 * i + 1);
    qu_lexical_close(lx);
}

static void test_odd_queries(void **state)
{
    (void)state;
    qu_lexical *lx = new_writer();
    add(lx, 1, 1, NULL, "quotes and operators AND OR NOT NEAR");
    lx = commit_and_read(lx);
    assert_string_equal(ask(lx, "\"quotes", 0, 10), "1.1");
    assert_string_equal(ask(lx, "operators* AND (NOT", 0, 10), "1.1");
    assert_string_equal(ask(lx, "title:near^2 -", 0, 10), "1.1");
    qu_lexical_hit hits[4];
    int32_t n;
    qu_err err = {0};
    assert_int_equal(qu_lexical_search(lx, "\0quotes", 7, NULL, 4, hits, &n, &err), QU_OK);
    assert_int_equal(n, 1);
    assert_int_equal(qu_lexical_search(lx, "\xff\xc0quotes\xf0", 9, NULL, 4, hits, &n, &err),
                     QU_OK);
    assert_int_equal(n, 1);
    assert_int_equal(qu_lexical_search(lx, NULL, 0, NULL, 4, hits, &n, &err), QU_OK);
    assert_int_equal(n, 0);
    size_t big = 1 << 20;
    char *q = malloc(big);
    assert_non_null(q);
    for (size_t i = 0; i < big; i++) q[i] = (char)(i % 5 == 4 ? ' ' : 'a' + next_random(26));
    memcpy(q, "near ", 5);
    double start = qu_os_now_ms();
    assert_int_equal(qu_lexical_search(lx, q, big, NULL, 4, hits, &n, &err), QU_OK);
    assert_int_equal(n, 1);
    assert_true(qu_os_now_ms() - start < 1000);
    memset(q, ' ', big);
    memcpy(q + 65536, "near", 4); /* past what is read */
    assert_int_equal(qu_lexical_search(lx, q, big, NULL, 4, hits, &n, &err), QU_OK);
    assert_int_equal(n, 0);
    free(q);
    qu_lexical_close(lx);
}

static void test_empty_and_missing(void **state)
{
    (void)state;
    qu_err err = {0};
    qu_lexical *lx;
    unlink(file);
    assert_int_equal(qu_lexical_open(&lx, file, QU_LEXICAL_READ, &err), QU_ERR_NOTFOUND);
    assert_null(lx);
    lx = open_as(QU_LEXICAL_WRITE);
    assert_int_equal(qu_lexical_generation(lx), 0);
    assert_int_equal(access(file, F_OK), -1); /* nothing on disk before the commit */
    commit(lx, 5);
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    qu_lexical_close(lx);
    lx = open_as(QU_LEXICAL_READ);
    assert_int_equal(qu_lexical_generation(lx), 5);
    assert_string_equal(ask(lx, "anything", 0, 10), "");
    qu_lexical_close(lx);
    lx = open_as(QU_LEXICAL_WRITE);
    add(lx, 1, 1, NULL, "word");
    qu_lexical_close(lx); /* not committed: dropped */
    lx = open_as(QU_LEXICAL_WRITE);
    add(lx, 2, 1, NULL, "word");
    commit(lx, 6);
    assert_int_equal(qu_lexical_clear(lx, &err), QU_OK);
    add(lx, 3, 1, NULL, "word");
    lx = commit_and_read(lx);
    assert_string_equal(ask(lx, "word", 0, 10), "3.1");
    qu_lexical_close(lx);
}

static void test_reader_keeps_its_state(void **state)
{
    (void)state;
    qu_lexical *lx = new_writer();
    add(lx, 1, 1, NULL, "old news");
    commit(lx, 1);
    qu_lexical *reader = open_as(QU_LEXICAL_READ);
    add(lx, 1, 1, NULL, "fresh news");
    add(lx, 2, 1, NULL, "more news");
    commit(lx, 2);
    assert_string_equal(ask(reader, "news", 0, 10), "1.1");
    assert_string_equal(ask(reader, "old", 0, 10), "1.1");
    assert_int_equal(qu_lexical_generation(reader), 1);
    qu_lexical_close(reader);
    qu_lexical_close(lx);
    chmod(file, 0400); /* read-only media: nothing beside the file is needed or made */
    chmod(dir, 0500);
    reader = open_as(QU_LEXICAL_READ);
    assert_string_equal(ask(reader, "fresh", 0, 10), "1.1");
    qu_lexical_close(reader);
    chmod(dir, 0700);
}

/* Nothing of a removed document stays in the file. */
static void test_removal_leaves_nothing(void **state)
{
    (void)state;
    qu_err err = {0};
    qu_buf with = {0}, without = {0};
    qu_lexical *lx = new_writer();
    add(lx, 1, 1, "Kept", "kept words only");
    commit(lx, 3);
    assert_int_equal(qu_os_read(&without, file, 1 << 20, &err), QU_OK);
    add(lx, 2, 1, "Secret", "the codeword is heliotrope");
    commit(lx, 3);
    assert_int_equal(qu_lexical_remove(lx, 2, &err), QU_OK);
    commit(lx, 3);
    qu_lexical_close(lx);
    assert_int_equal(qu_os_read(&with, file, 1 << 20, &err), QU_OK);
    assert_int_equal(with.len, without.len);
    assert_memory_equal(with.data, without.data, with.len);
    qu_buf_free(&with);
    qu_buf_free(&without);
}

/* ---- damage ---- */

static void write_file(const void *p, size_t n)
{
    FILE *fp = fopen(file, "wb");
    assert_non_null(fp);
    assert_int_equal(fwrite(p, 1, n, fp), n);
    assert_int_equal(fclose(fp), 0);
}

static void make_sample(qu_buf *out)
{
    qu_err err = {0};
    qu_lexical *lx = new_writer();
    for (uint64_t d = 1; d <= 40; d++)
        for (int32_t p = 1; p <= 3; p++) {
            char text[256];
            int n = 0;
            for (int i = 0; i < 20; i++)
                n += sprintf(text + n, "word%u ", next_random(next_random(300) + 1));
            add(lx, d, p, "A title", text);
        }
    commit(lx, 9);
    qu_lexical_close(lx);
    assert_int_equal(qu_os_read(out, file, 1 << 24, &err), QU_OK);
}

/* Use a possibly damaged file in every way; whatever happens must be a status. */
static bool survives(void)
{
    qu_lexical *lx;
    qu_err err = {0};
    qu_lexical_hit hits[200];
    bool clean = true;
    int32_t n;
    qu_status st = qu_lexical_open(&lx, file, QU_LEXICAL_READ, &err);
    if (st == QU_OK) {
        for (int i = 0; i < 60; i++) {
            char q[64];
            sprintf(q, "word%d title word%d", i, i + 7);
            st = qu_lexical_search(lx, q, strlen(q), NULL, 200, hits, &n, &err);
            assert_true(st == QU_OK || st == QU_ERR_CORRUPT);
            if (st != QU_OK) clean = false;
        }
        qu_lexical_close(lx);
    } else {
        assert_int_equal(st, QU_ERR_NOTFOUND);
        clean = false;
    }
    st = qu_lexical_open(&lx, file, QU_LEXICAL_WRITE, &err);
    assert_int_equal(st, QU_OK);
    if (!clean && qu_lexical_generation(lx) == 0) { /* counted as empty: a rebuild works */
        int64_t docs;
        qu_lexical_counts(lx, &docs, NULL);
        assert_int_equal(docs, 0);
    }
    if (qu_lexical_add(lx, 100, 1, "new", "word1 word2", 11, &err) == QU_OK) {
        st = qu_lexical_commit(lx, 10, &err);
        assert_true(st == QU_OK || st == QU_ERR_CORRUPT);
    }
    qu_lexical_close(lx);
    return clean;
}

static void test_damage_is_seen(void **state)
{
    (void)state;
    qu_buf good = {0};
    make_sample(&good);
    assert_true(survives());
    char *bad = malloc(good.len);
    assert_non_null(bad);
    for (size_t cut_at = 0; cut_at < good.len; cut_at += 1 + good.len / 97) {
        write_file(good.data, cut_at); /* truncated */
        assert_false(survives());
    }
    for (size_t at = 0; at < good.len; at += 1 + good.len / 397) {
        memcpy(bad, good.data, good.len);
        bad[at] ^= (char)(1 << next_random(8));
        write_file(bad, good.len);
        assert_false(survives()); /* small file: every block is touched by the queries */
    }
    write_file("SQLite format 3", 16);
    assert_false(survives());
    free(bad);
    qu_buf_free(&good);
}

/* A file that lies under right checksums: no crash, no read outside (asan), only a status or an
 * answer. */
static void test_lies_under_right_sums(void **state)
{
    (void)state;
    qu_buf good = {0};
    make_sample(&good);
    qu_lexical_footer foot;
    char *bad = malloc(good.len);
    assert_non_null(bad);
    for (int round = 0; round < 600; round++) {
        memcpy(bad, good.data, good.len);
        memcpy(&foot, bad + good.len - sizeof foot, sizeof foot);
        size_t covered =
            8 * ((foot.postings_bytes + 7) / 8) + (foot.n_terms + 1) * sizeof(qu_lexical_term) +
            foot.n_docs * sizeof(qu_lexical_doc) + foot.n_rows * sizeof(qu_lexical_row);
        size_t n_sums = (covered + QU_LEXICAL_BLOCK - 1) / QU_LEXICAL_BLOCK;
        for (uint32_t i = next_random(4); i < 4; i++) {
            size_t at = next_random(2) ? next_random((uint32_t)covered)
                                       : foot.postings_bytes +
                                             next_random((uint32_t)(covered - foot.postings_bytes));
            bad[at] = (char)(next_random(3) ? next_random(256) : 0xff);
        }
        uint64_t *field = (uint64_t *)&foot + 2 + next_random(5);
        if (round % 5 == 0) *field += next_random(5) - 2u;
        if (round % 5 == 1)
            *field += 0x1000000000000000u * (1 + next_random(15)); /* products wrap around */
        uint64_t sums[64];
        for (size_t i = 0; i < n_sums; i++)
            sums[i] =
                qu_hash_sum(bad + i * QU_LEXICAL_BLOCK,
                            i + 1 < n_sums ? QU_LEXICAL_BLOCK : covered - i * QU_LEXICAL_BLOCK, i);
        memcpy(bad + covered, sums, n_sums * sizeof *sums);
        foot.sums_sum = qu_hash_sum(sums, n_sums * sizeof *sums, 0);
        foot.self_sum = qu_hash_sum(&foot, offsetof(qu_lexical_footer, self_sum), 0);
        memcpy(bad + good.len - sizeof foot, &foot, sizeof foot);
        write_file(bad, good.len);
        survives();
    }
    free(bad);
    qu_buf_free(&good);
}

/* ---- against a naive model ---- */

enum { M_DOCS = 12, M_PAGES = 4, M_WORDS = 30 };

typedef struct model {
    int n_pages[M_DOCS];
    int title[M_DOCS]; /* its one word */
    int count[M_DOCS][M_PAGES][M_WORDS];
} model;

static void model_add(model *m, qu_lexical *lx, int d)
{
    char text[1024], title[16];
    memset(m->count[d], 0, sizeof m->count[d]);
    m->title[d] = (int)next_random(M_WORDS);
    m->n_pages[d] = 1 + (int)next_random(M_PAGES);
    sprintf(title, "w%d", m->title[d]);
    for (int p = 0; p < m->n_pages[d]; p++) {
        int n = 0;
        text[0] = 0;
        for (uint32_t i = 0, k = next_random(40); i < k; i++) {
            int w = (int)next_random(next_random(M_WORDS) + 1);
            m->count[d][p][w]++;
            n += sprintf(text + n, "w%d ", w);
        }
        add(lx, (uint64_t)d * 1000 + 5, p + 1, title, text);
    }
}

/* Score of page p of document d for word w, straight from the formula. */
static double model_score(const model *m, int w, int d, int p)
{
    double n_docs = 0, n_pages = 0, words = 0, df_docs = 0, df_pages = 0, page_words = 0,
           doc_words = 0;
    double doc_count = 4.0 * (m->title[d] == w);
    for (int i = 0; i < M_DOCS; i++) {
        bool in_doc = m->n_pages[i] > 0 && m->title[i] == w;
        for (int j = 0; j < m->n_pages[i]; j++) {
            n_pages++;
            if (m->count[i][j][w]) {
                df_pages++;
                in_doc = true;
            }
            if (i == d) doc_count += m->count[i][j][w];
            for (int k = 0; k < M_WORDS; k++) {
                words += m->count[i][j][k];
                if (i == d) doc_words += m->count[i][j][k];
                if (i == d && j == p) page_words += m->count[i][j][k];
            }
        }
        n_docs += m->n_pages[i] > 0;
        df_docs += in_doc;
    }
    double tf = m->count[d][p][w];
    double page = pow(log(1 + (n_pages - df_pages + .5) / (df_pages + .5)), 1.3) * tf * 2.2 /
                  (tf + 1.2 * (.5 + .5 * page_words / (words / n_pages)));
    double doc = pow(log(1 + (n_docs - df_docs + .5) / (df_docs + .5)), 1.3) * doc_count * 3 /
                 (doc_count + 2 * (.25 + .75 * doc_words / (words / n_docs)));
    return (tf > 0 ? page : 0) + (doc_count > 0 ? 2 * doc : 0);
}

static void model_check(const model *m, qu_lexical *lx)
{
    char q[64];
    int a = (int)next_random(M_WORDS), b = (int)next_random(M_WORDS);
    qu_lexical_hit hits[M_DOCS * M_PAGES];
    int32_t n;
    qu_err err = {0};
    sprintf(q, "w%d w%d w%d", a, b, a);
    assert_int_equal(qu_lexical_search(lx, q, strlen(q), NULL, M_DOCS * M_PAGES, hits, &n, &err),
                     QU_OK);
    int32_t expected = 0;
    for (int d = 0; d < M_DOCS; d++) {
        int matching = 0;
        for (int p = 0; p < m->n_pages[d]; p++) matching += m->count[d][p][a] || m->count[d][p][b];
        expected +=
            matching ? matching : m->n_pages[d] > 0 && (m->title[d] == a || m->title[d] == b);
    }
    assert_int_equal(n, expected);
    for (int32_t i = 0; i < n; i++) {
        int d = (int)(hits[i].doc_id / 1000);
        double want = model_score(m, a, d, hits[i].page - 1);
        if (b != a) want += model_score(m, b, d, hits[i].page - 1);
        if (fabs(want - hits[i].score) > 1e-4)
            fail_msg("query '%s': score %g, model %g", q, hits[i].score, want);
        if (i > 0)
            assert_true(hits[i - 1].score > hits[i].score || hits[i - 1].doc_id < hits[i].doc_id ||
                        (hits[i - 1].doc_id == hits[i].doc_id && hits[i - 1].page < hits[i].page));
    }
}

/* Random additions, replacements, removals, commits and spills: scores as the formula says, and the
 * bytes are those of an index built afresh from what is left. */
static void test_random_history(void **state)
{
    (void)state;
    qu_err err = {0};
    print_message("seed %llu\n", (unsigned long long)rng);
    for (int round = 0; round < 40; round++) {
        model m = {0};
        qu_lexical *lx = new_writer();
        for (int step = 0; step < 60; step++) {
            int d = (int)next_random(M_DOCS);
            lx->spill_postings = round % 2 ? 50 : QU_LEXICAL_SPILL;
            uint32_t what = next_random(10);
            if (what < 6) {
                if (next_random(2)) add(lx, 1, 1, "w1", "w1"); /* coming back to d starts it anew */
                assert_int_equal(
                    qu_lexical_remove(lx, next_random(2) ? 1 : (uint64_t)d * 1000 + 5, &err),
                    QU_OK);
                model_add(&m, lx, d);
            } else if (what < 8) {
                m.n_pages[d] = 0;
                assert_int_equal(qu_lexical_remove(lx, (uint64_t)d * 1000 + 5, &err), QU_OK);
            } else {
                commit(lx, (uint64_t)step);
            }
        }
        assert_int_equal(qu_lexical_remove(lx, 1, &err), QU_OK);
        lx = commit_and_read(lx);
        for (int q = 0; q < 10; q++) model_check(&m, lx);
        qu_lexical_close(lx);

        qu_buf history = {0}, fresh = {0};
        assert_int_equal(qu_os_read(&history, file, 1 << 24, &err), QU_OK);
        lx = new_writer();
        for (int d = M_DOCS - 1; d >= 0; d--)
            for (int p = 0; p < m.n_pages[d]; p++) {
                char text[1024] = "", title[16];
                int n = 0;
                sprintf(title, "w%d", m.title[d]);
                for (int w = 0; w < M_WORDS; w++)
                    for (int i = 0; i < m.count[d][p][w]; i++) n += sprintf(text + n, "w%d ", w);
                add(lx, (uint64_t)d * 1000 + 5, p + 1, title, text);
            }
        commit(lx, 1);
        qu_lexical_close(lx);
        assert_int_equal(qu_os_read(&fresh, file, 1 << 24, &err), QU_OK);
        assert_int_equal(history.len, fresh.len);
        assert_memory_equal(history.data, fresh.data, fresh.len);
        qu_buf_free(&history);
        qu_buf_free(&fresh);
    }
}

/* ---- the promise of the coarse arm ---- */

/* XQuAD: a paragraph a document, here one page each; bench/recall measures with pages. */
static void check_recall(const char *lang, double at_1, double at_10)
{
    const char *root = getenv("QUIRE_DATA");
    char path[512];
    snprintf(path, sizeof path, "%s/xquad/xquad.%s.json", root ? root : "../shared/data", lang);
    json_t *json = json_load_file(path, 0, NULL), *article, *para, *qa;
    if (!json) {
        print_message("skipped: '%s' is absent; set QUIRE_DATA to the test data\n", path);
        skip();
    }
    size_t i, j, k;
    uint64_t id = 0;
    int asked = 0, first = 0, ten = 0;
    qu_lexical *lx = new_writer();
    json_array_foreach(json_object_get(json, "data"), i, article)
        json_array_foreach(json_object_get(article, "paragraphs"), j, para)
            add(lx, ++id, 1, NULL, json_string_value(json_object_get(para, "context")));
    lx = commit_and_read(lx);
    id = 0;
    json_array_foreach(json_object_get(json, "data"), i, article)
        json_array_foreach(json_object_get(article, "paragraphs"), j, para)
    {
        id++;
        json_array_foreach(json_object_get(para, "qas"), k, qa)
        {
            const char *q = json_string_value(json_object_get(qa, "question"));
            qu_lexical_hit hits[10];
            int32_t n;
            assert_int_equal(qu_lexical_search(lx, q, strlen(q), NULL, 10, hits, &n, NULL), QU_OK);
            asked++;
            for (int32_t h = 0; h < n; h++)
                if (hits[h].doc_id == id) {
                    first += h == 0;
                    ten++;
                }
        }
    }
    qu_lexical_close(lx);
    json_decref(json);
    print_message("xquad.%s: R@1 %.3f R@10 %.3f\n", lang, (double)first / asked,
                  (double)ten / asked);
    assert_true(first >= at_1 * asked);
    assert_true(ten >= at_10 * asked);
}

static void test_recall_en(void **state)
{
    (void)state;
    check_recall("en", .92, .995);
}

static void test_recall_de(void **state)
{
    (void)state;
    check_recall("de", .85, .97);
}

static void test_recall_zh(void **state)
{
    (void)state;
    check_recall("zh", .92, .99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_fold),
        cmocka_unit_test(test_words_spaceless),
        cmocka_unit_test(test_words_grams),
        cmocka_unit_test(test_words_letters),
        cmocka_unit_test(test_misspellings),
        cmocka_unit_test(test_words_stem),
        cmocka_unit_test(test_words_any_bytes),
        cmocka_unit_test(test_add_search_remove),
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_page_zero),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_odd_queries),
        cmocka_unit_test(test_empty_and_missing),
        cmocka_unit_test(test_reader_keeps_its_state),
        cmocka_unit_test(test_removal_leaves_nothing),
        cmocka_unit_test(test_damage_is_seen),
        cmocka_unit_test(test_lies_under_right_sums),
        cmocka_unit_test(test_random_history),
        cmocka_unit_test(test_recall_en),
        cmocka_unit_test(test_recall_de),
        cmocka_unit_test(test_recall_zh),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
