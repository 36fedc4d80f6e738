/* Random puts, new versions, deletes, renames, publications, aborts, reopens and collections
 * against a plain array of what must be there. STORE_SEED repeats a run. */
#include "store_testing.h"

enum { N_PATHS = 24, N_STEPS = 400 };

typedef struct slot {
    uint64_t doc_id, seed;   /* doc_id 0: no document at this path */
    int32_t n_pages, kv_pages;
} slot;

static slot model[N_PATHS];
static uint64_t rng, last_id, generation;
static qu_store *s;

static const char *path_of(int i)
{
    static char path[1200];
    /* every fourth is longer than an LMDB key, and they differ only at the end */
    snprintf(path, sizeof path, "%0*d", i % 4 == 0 ? 1000 : 3, i);
    return path;
}

static void verify(void)
{
    qu_txn *t;
    qu_doc d;
    int n = 0, found = 0;
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_READ, err));
    assert_int_equal(qu_catalogue_generation(t), generation);
    for (int i = 0; i < N_PATHS; i++) {
        const char *path = path_of(i);
        qu_status st = qu_catalogue_find_path(t, path, strlen(path), &d, NULL);
        assert_int_equal(st, model[i].doc_id ? QU_OK : QU_ERR_NOTFOUND);
        if (!model[i].doc_id) continue;
        n++;
        assert_int_equal(d.doc_id, model[i].doc_id);
        assert_int_equal(d.kv_pages, model[i].kv_pages);
        fx_compare(s, t, &d, model[i].seed, model[i].n_pages);
        qu_doc_free(&d);
    }
    for (uint64_t at = 0;; at = d.doc_id, found++, qu_doc_free(&d)) {
        TEST_OK(qu_catalogue_next_doc(t, at, &d, err));
        if (d.doc_id == 0) break;
        assert_true(d.doc_id > at);
    }
    assert_int_equal(found, n);
    qu_txn_abort(t);
    qu_store_release_readers(s);
    fx_assert_clean(s);
}

/* A few changes in one transaction, which may be aborted. */
static void change(void)
{
    slot before[N_PATHS];
    qu_txn *t;
    bool changed = false, abort = test_random(&rng) % 5 == 0;
    uint64_t id;
    memcpy(before, model, sizeof before);
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
    for (int n = 1 + (int)(test_random(&rng) % 4); n > 0; n--) {
        int i = (int)(test_random(&rng) % N_PATHS), j = (int)(test_random(&rng) % N_PATHS);
        switch (test_random(&rng) % 3) {
        case 0: {
            uint64_t seed = test_random(&rng) % 1000;
            int32_t pages = (int32_t)(test_random(&rng) % 6);
            TEST_OK(fx_put(t, path_of(i), seed, pages, &id, err));
            assert_true(id > last_id);
            model[i] = (slot){id, seed, pages, 0};
            changed = true;
            break;
        }
        case 1:
            if (!model[i].doc_id) break;
            TEST_OK(qu_catalogue_del_doc(t, model[i].doc_id, err));
            model[i] = (slot){0};
            changed = true;
            break;
        case 2: {
            qu_doc to = {.path = (char *)path_of(j), .path_len = strlen(path_of(j))};
            if (!model[i].doc_id) break;
            TEST_OK(qu_catalogue_rename(t, model[i].doc_id, &to, err));
            slot moved = model[i];
            model[i] = (slot){0};
            model[j] = moved;
            changed = true;
            break;
        }
        }
    }
    if (abort) {
        qu_txn_abort(t);
        memcpy(model, before, sizeof before);
        return;
    }
    TEST_OK(qu_txn_commit(t, err));
    generation += changed;
    for (int i = 0; i < N_PATHS; i++)
        if (model[i].doc_id > last_id) last_id = model[i].doc_id;
}

/* Publish KV of a few documents in one file: all their pages, or some. */
static void publish(void)
{
    uint64_t ids[N_PATHS], seeds[N_PATHS], file;
    int32_t pages[N_PATHS];
    int n = 0;
    for (int i = 0; i < N_PATHS && n < 4; i++)
        if (model[i].doc_id && !model[i].kv_pages && model[i].n_pages && test_random(&rng) % 2) {
            ids[n] = model[i].doc_id;
            seeds[n] = model[i].seed;
            model[i].kv_pages = pages[n] =
                1 + (int32_t)(test_random(&rng) % (uint64_t)model[i].n_pages);
            n++;
        }
    if (n) TEST_OK(fx_publish(s, n, ids, seeds, pages, &file, err));
}

/* Start a KV file and leave it, as an interrupted index run does. */
static void leave_open(void)
{
    qu_kv_writer *w;
    for (int i = 0; i < N_PATHS; i++) {
        if (!model[i].doc_id || model[i].kv_pages || !model[i].n_pages) continue;
        TEST_OK(qu_kv_writer_create(&w, s, 0, err));
        TEST_OK(fx_write_page(w, s, model[i].doc_id, model[i].seed, 0, err));
        if (test_random(&rng) % 2) TEST_OK(qu_kv_writer_flush(w, err));
        if (test_random(&rng) % 3) qu_kv_writer_free(w);
        else TEST_OK(qu_kv_writer_discard(w, err));
        return;
    }
}

static void test_against_model(void **state)
{
    (void)state;
    const char *given = getenv("STORE_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)getpid() * 2654435761u;
    print_message("STORE_SEED=%llu\n", (unsigned long long)seed);
    rng = seed;
    s = fx_open("p", QU_STORE_WRITE);
    for (int step = 0; step < N_STEPS; step++) {
        uint64_t what = test_random(&rng) % 100;
        if (what < 60) change();
        else if (what < 80) publish();
        else if (what < 85) leave_open();
        else if (what < 90) TEST_OK(qu_store_gc(s, NULL, err));
        else if (what < 95) s = (qu_store_close(s), fx_open("p", QU_STORE_WRITE));
        else verify();
    }
    TEST_OK(qu_store_gc(s, NULL, err));
    verify();
    qu_store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_model)};
    return cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
