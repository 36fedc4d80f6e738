/* The vector arm against a plain search in double, and the promise that its file never changes an
 * answer: missing, stale, damaged or absent from the build. */
#include "store_testing.h"

#include "index/vector_int.h"

enum { E = 40, DOCS = 60, PAGES = 30, LISTED = 500, K = 20 };

static uint64_t seed = 11;

/* What the store should hold: raw vectors, none for absent documents. */
typedef struct world {
    qu_store *s;
    float x[DOCS + 1][PAGES][E];
    int32_t n[DOCS + 1]; /* pages by document id */
} world;

static const char *file_path(void) { return fx_path("w/vectors.idx"); }

static void draw(float *x)
{
    static float topics[25][E];
    for (int k = 0; topics[24][E - 1] == 0 && k < 25; k++)
        for (int i = 0; i < E; i++) topics[k][i] = test_uniform(&seed);
    const float *t = topics[test_random(&seed) % 25];
    for (int i = 0; i < E; i++) x[i] = 3 * t[i] + test_uniform(&seed);
}

/* Put a document with n pages of vectors; returns its id. */
static uint64_t put(world *w, qu_txn *t, int32_t n)
{
    static qu_page pages[PAGES + 1];
    char name[16];
    qu_doc d = {.path = name};
    TEST_OK(qu_catalogue_next_doc_id(t, &d.doc_id, err));
    d.path_len = (size_t)sprintf(name, "/%d", (int)d.doc_id);
    TEST_OK(qu_catalogue_put_doc(t, &d, "", 0, NULL, 0, pages, n + 1, NULL, 0, err));
    for (int32_t p = 0; p < n; p++) draw(w->x[d.doc_id][p]);
    TEST_OK(qu_vector_put(t, d.doc_id, w->x[d.doc_id][0], n, err));
    w->n[d.doc_id] = n;
    return d.doc_id;
}

static qu_txn *begin(world *w, int mode)
{
    qu_txn *t;
    TEST_OK(qu_txn_begin(&t, w->s, mode, err));
    return t;
}

static void build(qu_txn *t)
{
    qu_vector_build_options o = {.flat = LISTED};
    TEST_OK(qu_vector_build(t, file_path(), &o, err));
}

static world *new_world(int docs)
{
    world *w = calloc(1, sizeof *w);
    fx_setup(NULL);
    w->s = fx_open("w", QU_STORE_WRITE);
    qu_txn *t = begin(w, QU_TXN_WRITE);
    TEST_OK(qu_vector_begin(t, (qu_hash){1, 2}, E, err));
    for (int i = 0; i < docs; i++) put(w, t, PAGES);
    build(t);
    TEST_OK(qu_txn_commit(t, err));
    return w;
}

static void end_world(world *w)
{
    qu_store_close(w->s);
    free(w);
    fx_teardown(NULL);
}

static double cosine(const float *a, const float *b)
{
    double ab = 0, aa = 0, bb = 0;
    for (int i = 0; i < E; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

static bool even(void *ctx, uint64_t doc_id)
{
    (void)ctx;
    return doc_id % 2 == 0;
}

/* Search with that file; scores must be cosines, hits must exist. Returns how many of the K best by
 * plain search are among them. */
static int ask(world *w, const char *file, const float *q, const qu_lexical_opts *opts,
               qu_lexical_hit *hits, int32_t *n, bool *with_file)
{
    qu_vector *v;
    qu_txn *t = begin(w, QU_TXN_READ);
    double best[K];
    int n_best = 0, found = 0;
    TEST_OK(qu_vector_open(&v, t, file, err));
    *with_file = qu_vector_uses_file(v);
    TEST_OK(qu_vector_search(v, t, q, opts, K, hits, n, err));
    for (int32_t i = 0; i < *n; i++) {
        assert_in_range(hits[i].page, 1, w->n[hits[i].doc_id]);
        double want = cosine(q, w->x[hits[i].doc_id][hits[i].page - 1]);
        if (fabs(want - (double)hits[i].score) > .01)
            fail_msg("score %g, plain %g", (double)hits[i].score, want);
        if (i > 0) assert_true(hits[i].score <= hits[i - 1].score);
        if (opts && opts->keep) assert_true(opts->keep(opts->ctx, hits[i].doc_id));
    }
    for (int d = 1; d <= DOCS; d++)
        for (int p = 0; p < w->n[d]; p++) {
            double c = cosine(q, w->x[d][p]);
            if (opts && opts->keep && !opts->keep(opts->ctx, (uint64_t)d)) continue;
            if (n_best == K && c <= best[K - 1]) continue;
            int i = n_best < K ? n_best++ : K - 1;
            for (; i > 0 && best[i - 1] < c; i--) best[i] = best[i - 1];
            best[i] = c;
        }
    for (int32_t i = 0; i < *n; i++) found += (double)hits[i].score >= best[n_best - 1] - .005;
    qu_vector_close(v);
    qu_txn_abort(t);
    return found;
}

/* The same hits with the file as without it; returns recall of all K of plain search, of n
 * asked. */
static double compare(world *w, int n_questions, const qu_lexical_opts *opts, bool want_file)
{
    int found = 0, asked = 0;
    for (int i = 0; i < n_questions; i++) {
        qu_lexical_hit a[K], b[K];
        int32_t n, m;
        bool with, without;
        float q[E];
        draw(q);
        found += ask(w, file_path(), q, opts, a, &n, &with);
        ask(w, NULL, q, opts, b, &m, &without);
        assert_int_equal(with, want_file && qu_ivf_built_in());
        assert_false(without);
        assert_int_equal(n, m);
        for (int32_t k = 0; k < n; k++) {
            assert_int_equal(a[k].doc_id, b[k].doc_id);
            assert_int_equal(a[k].page, b[k].page);
            assert_true(a[k].score == b[k].score);
        }
        asked += K;
    }
    return (double)found / asked;
}

static void test_flat(void **state)
{
    (void)state;
    world *w = new_world(10); /* 300 vectors: no lists, no file */
    assert_true(access(file_path(), F_OK) != 0);
    assert_true(compare(w, 50, NULL, false) > .999);
    qu_lexical_opts opts = {.keep = even};
    assert_true(compare(w, 20, &opts, false) > .999);
    qu_lexical_hit hits[K];
    int32_t n;
    bool with;
    float q[E];
    draw(q);
    opts = (qu_lexical_opts){.max_per_doc = 1};
    ask(w, NULL, q, &opts, hits, &n, &with);
    assert_int_equal(n, 10);
    for (int32_t i = 0; i < n; i++)
        for (int32_t k = 0; k < i; k++) assert_true(hits[i].doc_id != hits[k].doc_id);
    memset(q, 0, sizeof q); /* no direction: no hits */
    ask(w, NULL, q, NULL, hits, &n, &with);
    assert_int_equal(n, 0);
    end_world(w);
}

static void test_file(void **state)
{
    (void)state;
    world *w = new_world(40); /* 1200 vectors */
    qu_lexical_opts files = {.max_per_doc = 1}, some = {.keep = even},
                    both = {.keep = even, .max_per_doc = 2};
    double recall = compare(w, 100, NULL, true);
    print_message("recall %.3f\n", recall);
    assert_true(recall > (qu_ivf_built_in() ? .7 : .999));
    compare(w, 30, &files, true);
    compare(w, 30, &some, true);
    compare(w, 30, &both, true);
    unlink(file_path());
    compare(w, 30, NULL, false);
    end_world(w);
}

/* Documents that came, went and changed since the file was made. */
static void test_stale(void **state)
{
    (void)state;
    world *w = new_world(40);
    qu_vector *v;
    qu_txn *t = begin(w, QU_TXN_READ);
    TEST_OK(qu_vector_open(&v, t, file_path(), err)); /* kept open over the changes */
    qu_txn_abort(t);
    t = begin(w, QU_TXN_WRITE);
    for (int i = 0; i < 3; i++) put(w, t, 7);
    TEST_OK(qu_catalogue_del_doc(t, 5, err));
    w->n[5] = 0;
    TEST_OK(qu_txn_commit(t, err));
    compare(w, 60, NULL, true);
    /* Other pages under the same id: the vectors go at once, and come back as others. */
    static qu_page pages[4];
    t = begin(w, QU_TXN_WRITE);
    qu_doc other = {.doc_id = 7, .path = "/7", .path_len = 2};
    TEST_OK(qu_catalogue_put_doc(t, &other, "", 0, NULL, 0, pages, 4, NULL, 0, err));
    TEST_OK(qu_txn_commit(t, err));
    w->n[7] = 0;
    compare(w, 30, NULL, true);
    t = begin(w, QU_TXN_WRITE);
    for (int p = 0; p < 3; p++) draw(w->x[7][p]);
    TEST_OK(qu_vector_put(t, 7, w->x[7][0], 3, err));
    TEST_OK(qu_txn_commit(t, err));
    w->n[7] = 3;
    compare(w, 60, NULL, true);
    t = begin(w, QU_TXN_WRITE); /* the same vectors again: not to be found twice */
    TEST_OK(qu_vector_put(t, 9, w->x[9][0], PAGES, err));
    TEST_OK(qu_txn_commit(t, err));
    compare(w, 60, NULL, true);
    t = begin(w, QU_TXN_READ);
    for (int i = 0; i < 30; i++) { /* the old handle sees it, too */
        qu_lexical_hit a[K], b[K];
        int32_t n, m;
        bool with;
        float q[E];
        draw(q);
        TEST_OK(qu_vector_search(v, t, q, NULL, K, a, &n, err));
        ask(w, NULL, q, NULL, b, &m, &with);
        assert_int_equal(n, m);
        for (int32_t k = 0; k < n; k++)
            assert_true(a[k].doc_id == b[k].doc_id && a[k].page == b[k].page);
    }
    qu_vector_close(v);
    qu_txn_abort(t);
    end_world(w);
}

/* New lists: a file of the old ones must not be used. Then another model. */
static void test_foreign(void **state)
{
    (void)state;
    world *w = new_world(20);
    qu_buf old = {0};
    if (!qu_ivf_built_in()) {
        end_world(w);
        print_message("skipped: built without FAISS\n");
        skip();
    }
    TEST_OK(qu_os_read(&old, file_path(), 1 << 24, err));
    qu_txn *t = begin(w, QU_TXN_WRITE);
    qu_vector_state before, after;
    TEST_OK(qu_vector_get_state(t, &before, err));
    before.n_trained = 1; /* as if there had been few then */
    TEST_OK(qu_vector_put_state(t, &before, err));
    build(t);
    TEST_OK(qu_vector_get_state(t, &after, err));
    assert_true(after.trained_epoch > before.trained_epoch);
    TEST_OK(qu_txn_commit(t, err));
    compare(w, 10, NULL, true);
    TEST_OK(qu_os_replace(file_path(), old.data, old.len, 0600, err));
    compare(w, 30, NULL, false);
    t = begin(w, QU_TXN_WRITE);
    TEST_OK(qu_vector_begin(t, (qu_hash){3, 4}, E, err));
    bool has;
    TEST_OK(qu_vector_has(t, 1, &has, err));
    assert_false(has);
    memset(w->n, 0, sizeof w->n);
    put(w, t, 5);
    TEST_OK(qu_txn_commit(t, err));
    compare(w, 5, NULL, false);
    qu_buf_free(&old);
    end_world(w);
}

static void test_damage(void **state)
{
    (void)state;
    world *w = new_world(20);
    qu_buf b = {0};
    if (!qu_ivf_built_in()) {
        end_world(w);
        print_message("skipped: built without FAISS\n");
        skip();
    }
    TEST_OK(qu_os_read(&b, file_path(), 1 << 24, err));
    compare(w, 5, NULL, true);
    for (int i = 0; i < 60; i++) {
        size_t at = i < 20 ? (size_t)i * 6 : test_random(&seed) % b.len;
        b.data[at] ^= 4;
        TEST_OK(qu_os_replace(file_path(), b.data, b.len, 0600, err));
        compare(w, 1, NULL, false);
        b.data[at] ^= 4;
    }
    for (int i = 0; i < 8; i++) {
        TEST_OK(qu_os_replace(file_path(), b.data, i * (b.len - 1) / 7, 0600, err));
        compare(w, 1, NULL, false);
    }
    /* A tenth more: the file is old, but serves; the next build makes it anew. */
    TEST_OK(qu_os_replace(file_path(), b.data, b.len, 0600, err));
    qu_txn *t = begin(w, QU_TXN_WRITE);
    for (int i = 0; i < 5; i++) put(w, t, 20);
    build(t);
    qu_vector *v;
    TEST_OK(qu_vector_open(&v, t, file_path(), err));
    assert_int_equal(qu_vector_n_delta(v), 0);
    qu_vector_close(v);
    TEST_OK(qu_txn_commit(t, err));
    compare(w, 20, NULL, true);
    qu_buf_free(&b);
    end_world(w);
}

static void test_odd(void **state)
{
    (void)state;
    world *w = calloc(1, sizeof *w);
    fx_setup(NULL);
    w->s = fx_open("w", QU_STORE_WRITE);
    qu_txn *t = begin(w, QU_TXN_WRITE);
    qu_vector *v;
    qu_vector_info info;
    qu_err e = {0};
    assert_int_equal(qu_vector_open(&v, t, NULL, &e), QU_ERR_NOTFOUND);
    assert_int_equal(qu_vector_get_info(t, &info, &e), QU_ERR_NOTFOUND);
    assert_int_equal(qu_vector_put(t, 1, w->x[0][0], 1, &e), QU_ERR_ARG);
    assert_int_equal(qu_vector_begin(t, (qu_hash){1, 2}, 0, &e), QU_ERR_ARG);
    TEST_OK(qu_vector_begin(t, (qu_hash){1, 2}, E, err));
    assert_int_equal(qu_vector_put(t, 99, w->x[0][0], 1, &e), QU_ERR_NOTFOUND);
    TEST_OK(qu_txn_commit(t, err));
    t = begin(w, QU_TXN_WRITE);
    uint64_t id = put(w, t, 3);
    w->x[id][1][4] = NAN;
    memset(w->x[id][2], 0, sizeof w->x[id][2]);
    TEST_OK(qu_vector_put(t, id, w->x[id][0], 3, err)); /* kept as zeros, found last */
    TEST_OK(qu_vector_get_info(t, &info, err));
    assert_int_equal(info.n_dims, E);
    TEST_OK(qu_vector_open(&v, t, NULL, err));
    qu_lexical_hit hits[K];
    int32_t n;
    TEST_OK(qu_vector_search(v, t, w->x[id][0], NULL, K, hits, &n, err));
    assert_int_equal(n, 3);
    assert_int_equal(hits[0].page, 1);
    assert_true(hits[1].score == 0 && hits[2].score == 0);
    TEST_OK(qu_vector_search(v, t, w->x[id][0], NULL, 0, hits, &n, err));
    assert_int_equal(n, 0);
    qu_vector_close(v);
    qu_txn_abort(t);
    end_world(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flat),    cmocka_unit_test(test_file), cmocka_unit_test(test_stale),
        cmocka_unit_test(test_foreign), cmocka_unit_test(test_damage), cmocka_unit_test(test_odd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
