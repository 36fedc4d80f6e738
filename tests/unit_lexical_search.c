/* index/lexical.h: which pages a question finds, in what order. */
#include <jansson.h>

#include "tests/lexical_testing.h"

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

/* Words that no page holds are told, as written, also where others like them are found. */
static void test_unknown_words(void **state)
{
    (void)state;
    qu_lexical *lx = new_writer();
    add(lx, 1, 1, "Fruit", "The banana is yellow.");
    lx = commit_and_read(lx);
    qu_buf words = {0};
    int64_t n_held;
    TEST_OK(qu_lexical_unknown(lx, "Bananna, bananas: xyzzy", 23, &words, &n_held, err));
    assert_int_equal(n_held, 1);
    assert_int_equal(words.len, 14);
    assert_memory_equal(words.data, "Bananna\0xyzzy", 14);
    assert_string_equal(ask(lx, "bananna", 0, 10), "1.1");
    words.len = 0;
    TEST_OK(qu_lexical_unknown(lx, "", 0, &words, &n_held, err));
    assert_int_equal(n_held + (int64_t)words.len, 0);
    qu_buf_free(&words);
    qu_lexical_close(lx);
}

/* Most pages of a report do not name what all of it is about. */
static void test_title_counts_on_every_page(void **state)
{
    (void)state;
    qu_lexical *lx = new_writer();
    for (uint64_t d = 1; d <= 3; d++)
        for (int32_t p = 1; p <= 20; p++) {
            static const char *const firms[] = {"Adler", "Birke", "Clemens"};
            const char *note = d == 2 ? "Deferred tax: deferred tax in all, less deferred tax."
                                      : "Deferred tax fell in both of the quarters.";
            add(lx, d, p, p == 1 ? firms[d - 1] : NULL,
                p == 1   ? firms[d - 1]
                : p == 7 ? note
                         : "Other notes of the firm on its year.");
        }
    lx = commit_and_read(lx);
    assert_string_equal(ask(lx, "deferred tax of Clemens", 1, 1), "3.7");
    assert_string_equal(ask(lx, "deferred tax of Adler", 1, 1), "1.7");
    assert_string_equal(ask(lx, "Adler", 0, 2), "1.1");
    qu_lexical_close(lx);
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

/* For tf words, some of them only because of the title, on a page of that length over the mean. */
static double page_count(double tf, double relative)
{
    return tf * 2.2 / (tf + 1.2 * (.5 + .5 * relative));
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
    double tf = m->count[d][p][w], relative = page_words / (words / n_pages);
    double page_idf = pow(log(1 + (n_pages - df_pages + .5) / (df_pages + .5)), 1.3);
    double by_title = m->title[d] == w ? .75 * (1 - 1.0 / m->n_pages[d]) : 0;
    double page = page_count(by_title, 1);
    if (tf > 0) page = fmax(page_count(tf + by_title, relative), page);
    double doc = pow(log(1 + (n_docs - df_docs + .5) / (df_docs + .5)), 1.3) * doc_count * 3 /
                 (doc_count + 2 * (.25 + .75 * doc_words / (words / n_docs)));
    return page_idf * page + (doc_count > 0 ? 2 * doc : 0);
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
    print_message("seed %llu\n", (unsigned long long)lexical_seed);
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
    char name[32];
    snprintf(name, sizeof name, "xquad/xquad.%s.json", lang);
    json_t *json = json_load_file(test_needs(name), 0, NULL), *article, *para, *qa;
    assert_non_null(json);
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
        cmocka_unit_test(test_misspellings),
        cmocka_unit_test(test_unknown_words),
        cmocka_unit_test(test_title_counts_on_every_page),
        cmocka_unit_test(test_random_history),
        cmocka_unit_test(test_recall_en),
        cmocka_unit_test(test_recall_de),
        cmocka_unit_test(test_recall_zh),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
