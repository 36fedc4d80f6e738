/* index/lexical.h: the file, its readers and writers, damage. */
#include "tests/lexical_testing.h"

static void test_add_search_remove(void **state)
{
    (void)state;
    qu_lexical *lx = new_writer();
    add(lx, 7, 1, "Ferry timetable", "The ferry leaves the harbour at nine.");
    add(lx, 7, 2, NULL, "In winter the boat stays in the dock.");
    add(lx, 3, 1, "Bread", "Mix flour and water, then wait for nine hours.");
    lx = commit_and_read(lx);
    assert_int_equal(lx->base.foot.n_docs, 2);
    assert_int_equal(lx->base.foot.n_rows, 2 + 3);
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
    assert_int_equal(lx->base.foot.n_rows, 2 + 1);
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
    if (!clean && qu_lexical_generation(lx) == 0) /* counted as empty: a rebuild works */
        assert_int_equal(lx->base.foot.n_docs, 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
