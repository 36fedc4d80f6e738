/* The quota: what is noted of use, what goes first, and that the limit holds. */
#include "tests/pipeline_testing.h"

#include <sys/stat.h>

#include "store/quota.h"
#include "store/store_int.h"
#include "store/use.h"

static px_session p;

static const char *fresh_docs(void)
{
    static char docs[400];
    snprintf(docs, sizeof docs, "%s", px_path("docs"));
    px_shell("rm -rf '%s' '%s'; mkdir '%s'", docs, px_path("store"), docs);
    return docs;
}

/* --- the record of use --- */

static double score_of(uint64_t kv_id)
{
    qu_use u = {0};
    TEST_OK(qu_use_read(&u, p.s.store, 0, err));
    double s = qu_use_score(&u, kv_id);
    qu_use_free(&u);
    return s;
}

static void uses_are_noted_and_fade(void **state)
{
    (void)state;
    fresh_docs();
    px_open_write(&p, "store", "w512.gguf");
    assert_true(score_of(7) == 0);
    uint64_t seven = 7, others[2] = {8, 9};
    qu_use_add(p.s.store, &seven, 1);
    qu_use_add(p.s.store, &seven, 1);
    qu_use_add(p.s.store, others, 2);
    assert_true(score_of(7) > 1.85 && score_of(7) < 2 && score_of(9) == 1 && score_of(10) == 0);
    for (int i = 0; i < QU_USE_LEAST; i++) qu_use_add(p.s.store, others, 1);
    assert_true(score_of(7) > .9 && score_of(7) < 1.1);
    assert_true(score_of(8) > 20);
    /* a torn record and a damaged one cost only themselves */
    px_shell("printf torn >> %s", px_path("store/use"));
    qu_use_add(p.s.store, &seven, 1);
    assert_true(score_of(7) > 1.9 && score_of(7) < 2.1);
    px_shell("printf X | dd of=%s bs=1 seek=5 conv=notrunc status=none", px_path("store/use"));
    assert_true(score_of(7) > 1.4 && score_of(7) < 1.6);
    px_shell("rm %s", px_path("store/use"));
    assert_true(score_of(7) == 0);
    px_shell("mkfifo %s", px_path("store/use")); /* nothing hangs on what somebody put there */
    qu_use_add(p.s.store, &seven, 1);
    assert_true(score_of(7) == 0);
    px_shell("rm %s", px_path("store/use"));
    px_close(&p);
}

static void a_long_record_is_halved(void **state)
{
    (void)state;
    enum { N = QU_USE_MAX_BYTES / 64 };
    static uint64_t ids[N + 1];
    struct stat sb;
    fresh_docs();
    px_open_write(&p, "store", "w512.gguf");
    for (uint64_t i = 0; i < N; i++) ids[i] = i < N / 2 ? 1 : 2 + i % 2;
    ids[N] = 9;
    qu_use_add(p.s.store, ids, N);
    assert_true(score_of(9) == 0);
    assert_int_equal(stat(px_path("store/use"), &sb), 0);
    assert_int_equal(sb.st_size, N * 32);
    qu_use_add(p.s.store, &ids[N], 1);
    double two = score_of(2), three = score_of(3), nine = score_of(9);
    assert_int_equal(stat(px_path("store/use"), &sb), 0);
    assert_int_equal(sb.st_size, N / 2 * 32 + 16);
    assert_true(nine == 1 && two > 10 && three > 10);
    assert_true(fabs(score_of(2) - two) < 1e-9 && fabs(score_of(3) - three) < 1e-9);
    assert_true(score_of(9) == 1 && score_of(1) == 0);
    px_close(&p);
}

/* --- traces: against least recently used, everything else equal --- */

enum { ITEMS = 400, STEPS = 10000 };

typedef struct cache {
    bool in[ITEMS];
    int64_t last[ITEMS], held, hits;
    double score[ITEMS]; /* as qu_use_read has it, of all uses before */
} cache;

static int64_t item_bytes(int i) { return 100 + (i * 7919 % 300); }

static void lru(cache *c, int item, int64_t now, int64_t limit)
{
    c->last[item] = now;
    if (c->in[item]) {
        c->hits++;
        return;
    }
    while (c->held + item_bytes(item) > limit) {
        int oldest = -1;
        for (int i = 0; i < ITEMS; i++)
            if (c->in[i] && (oldest < 0 || c->last[i] < c->last[oldest])) oldest = i;
        c->in[oldest] = false;
        c->held -= item_bytes(oldest);
    }
    c->in[item] = true;
    c->held += item_bytes(item);
}

static int by_worth(const void *a, const void *b)
{
    const qu_quota_file *x = a, *y = b;
    return x->worth < y->worth ? -1 : x->worth > y->worth;
}

static void ours(cache *c, int item, int64_t limit)
{
    qu_quota_file files[ITEMS];
    size_t n = 0;
    double kept = 0;
    for (int i = 0; i < ITEMS; i++) kept += c->in[i];
    for (int i = 0; i < ITEMS; i++)
        c->score[i] *= exp2(-1 / fmax(QU_USE_HALF * kept, QU_USE_LEAST));
    c->score[item]++;
    if (c->in[item]) {
        c->hits++;
        return;
    }
    for (int i = 0; i < ITEMS; i++) /* computing costs as the bytes do */
        if (c->in[i]) files[n++] = (qu_quota_file){(uint64_t)i, item_bytes(i), c->score[i]};
    qsort(files, n, sizeof *files, by_worth);
    int64_t gone = qu_quota_pick(files, n, c->held + item_bytes(item) - limit, c->score[item]);
    if (gone < 0) return;
    for (int64_t i = 0; i < gone; i++) {
        c->in[files[i].file_id] = false;
        c->held -= files[i].bytes;
    }
    c->in[item] = true;
    c->held += item_bytes(item);
    assert_true(c->held <= limit);
}

/* Item of rank 1.. with probability in proportion to 1 / rank. */
static int zipf(uint64_t *seed, int n)
{
    double u = (double)(test_random(seed) >> 11) / 9007199254740992.0;
    int i = (int)exp(u * log(n + 1.0)) - 1;
    return i < n ? i : n - 1;
}

enum { STEADY, BURSTS, DRIFT, RECENT, KINDS };
static const char *const kinds[] = {"steady", "bursts", "drift", "recent"};

static int next_item(int kind, int64_t step, uint64_t *seed, int *recent)
{
    int item = zipf(seed, ITEMS);
    if (kind == BURSTS && step % 1000 >= 700) item = (int)(step % ITEMS); /* everything once */
    if (kind == DRIFT) item = (item + (int)(step / 1000) * 20) % ITEMS;
    if (kind == RECENT && test_random(seed) % 4) item = recent[test_random(seed) % 64];
    recent[step % 64] = item;
    return item;
}

static void hits_are_no_fewer_than_of_lru(void **state)
{
    (void)state;
    int64_t total = 0, fewer = 0;
    for (int i = 0; i < ITEMS; i++) total += item_bytes(i);
    for (int kind = 0; kind < KINDS; kind++)
        for (int share = 5; share <= 40; share *= 2) {
            cache a = {0}, b = {0};
            uint64_t seed = (uint64_t)(kind * 100 + share);
            int recent[64] = {0};
            for (int64_t s = 0; s < STEPS; s++) {
                int item = next_item(kind, s, &seed, recent);
                lru(&a, item, s + 1, total * share / 100);
                ours(&b, item, total * share / 100);
            }
            print_message("%s, room for %d%%: hits %.3f, of LRU %.3f\n", kinds[kind], share,
                          (double)b.hits / STEPS, (double)a.hits / STEPS);
            fewer += b.hits < a.hits;
        }
    assert_int_equal(fewer, 0);
}

static void what_is_worth_less_goes(void **state)
{
    (void)state;
    const qu_quota_file f[] = {{1, 10, 1}, {2, 10, 2}, {3, 10, 3}};
    assert_int_equal(qu_quota_pick(f, 3, 0, 0), 0);
    assert_int_equal(qu_quota_pick(f, 3, -5, 0), 0);
    assert_int_equal(qu_quota_pick(f, 3, 10, 3), 1);
    assert_int_equal(qu_quota_pick(f, 3, 11, 3), 2);
    assert_int_equal(qu_quota_pick(f, 3, 21, 3), -1); /* the third is worth as much */
    assert_int_equal(qu_quota_pick(f, 3, 30, INFINITY), 3);
    assert_int_equal(qu_quota_pick(f, 3, 31, INFINITY), -1);
}

/* --- a store --- */

static void set_quota(int64_t bytes)
{
    qu_txn *t;
    TEST_OK(qu_session_reopen(&p.s, true, err)); /* a question that saved leaves it for reading */
    TEST_OK(qu_txn_begin(&t, p.s.store, QU_TXN_WRITE, err));
    TEST_OK(qu_quota_set(t, bytes, err));
    TEST_OK(qu_txn_commit(t, err));
}

static qu_quota_state quota(void)
{
    qu_txn *t;
    qu_quota_state q;
    TEST_OK(qu_txn_begin(&t, p.s.store, QU_TXN_READ, err));
    TEST_OK(qu_quota_get(t, &q, err));
    qu_txn_abort(t);
    return q;
}

static void assert_held(int64_t limit)
{
    qu_quota_state q = quota();
    if (q.held > limit + limit / 20)
        fail_msg("%lld bytes held, limit %lld", (long long)q.held, (long long)limit);
}

static bool has_kv(const char *name)
{
    qu_doc d;
    assert_true(px_doc(&p, px_path("docs/%s.md", name), &d));
    bool yes = d.kv_pages == d.n_pages;
    qu_doc_free(&d);
    return yes;
}

enum { DOCS = 12 };

/* Documents of equal size, each with a word of its own behind its own cue; their KV in all. */
static const char *const cues[DOCS] = {"badar", "bamel", "cefen", "cipim", "digol", "dogos",
                                       "fohux", "fuvut", "gukev", "hamip", "jenar", "kolaf"};

static int64_t many(const char *model)
{
    const char *docs = fresh_docs();
    for (int i = 0; i < DOCS; i++)
        px_write(px_path("docs/d%02d.md", i), "Houses", cues[i], 20, i);
    px_open_write(&p, "store", model);
    px_sync(&p, docs);
    assert_int_equal(px_make_kv(&p, -1).docs, DOCS);
    return quota().held;
}

static void ask_for(int doc)
{
    char text[200], question[100];
    snprintf(question, sizeof question, "what follows %s?", cues[doc]);
    px_ask(&p, QU_FIDELITY_KV, 4, question, text, NULL, NULL);
    TEST_OK(qu_session_reopen(&p.s, true, err));
}

static void the_limit_holds(void **state)
{
    (void)state;
    fresh_docs();
    px_open_write(&p, "store", "w1024.gguf");
    assert_int_equal(quota().set, QU_QUOTA_AUTO);
    assert_true(quota().limit > 0 && quota().limit < quota().free_bytes);
    px_close(&p);
    const char *docs = fresh_docs();
    for (int i = 0; i < DOCS; i++)
        px_write(px_path("docs/d%02d.md", i), "Houses", cues[i], 100 + 10 * i, i);
    px_open_write(&p, "store", "w1024.gguf");
    px_sync(&p, docs);
    px_make_kv(&p, -1);
    int64_t all = quota().held;
    for (int part = 1; part < 8; part++) {
        int64_t limit = all * part / 8, evicted = 0;
        set_quota(limit);
        TEST_OK(qu_make_kv_trim(&p.s, &evicted, err));
        assert_held(limit);
        qu_make_kv_report r = px_make_kv(&p, -1);
        assert_held(limit);
        assert_int_equal(px_counts(&p).n_kv_docs + r.over_quota, DOCS);
        if (part > 2) assert_true(quota().held > limit / 2);
        px_assert_clean(&p);
        for (int i = 0; i < DOCS; i += 5) {
            ask_for(i);
            assert_held(limit);
        }
    }
    px_close(&p);
}

/* The often read stay when everything is read once, and the evicted answer as before. */
static void a_burst_flushes_nothing(void **state)
{
    (void)state;
    char want[200], got[200];
    qu_buf before = {0}, after = {0};
    qu_doc d;
    int64_t loaded = 0, evicted = 0, all = many("copy.gguf");
    assert_true(px_doc(&p, px_path("docs/d07.md"), &d));
    px_slices(&p, &d, &before);
    qu_doc_free(&d);
    px_ask(&p, QU_FIDELITY_KV, 4, "what follows fuvut?", want, &loaded, NULL);
    set_quota(0);
    TEST_OK(qu_make_kv_trim(&p.s, &evicted, err));
    assert_int_equal(evicted, DOCS);
    assert_int_equal(px_counts(&p).n_kv_files, 0);
    px_assert_clean(&p);
    px_ask(&p, QU_FIDELITY_KV, 4, "what follows fuvut?", got, &loaded, NULL); /* not kept */
    assert_string_equal(got, want);
    assert_int_equal(loaded, 0);
    assert_int_equal(px_counts(&p).n_kv_files, 0);
    px_shell("rm %s", px_path("store/use"));
    set_quota(all / 2);
    for (int i = 0; i < 6; i++) ask_for(1), ask_for(7);
    assert_true(has_kv("d01") && has_kv("d07"));
    for (int i = 0; i < DOCS; i++) ask_for(i);
    assert_true(has_kv("d01") && has_kv("d07"));
    assert_held(all / 2);
    px_make_kv(&p, -1);
    assert_true(has_kv("d01") && has_kv("d07"));
    assert_held(all / 2);
    px_ask(&p, QU_FIDELITY_KV, 4, "what follows fuvut?", got, NULL, NULL);
    assert_string_equal(got, want);
    assert_true(px_doc(&p, px_path("docs/d07.md"), &d));
    px_slices(&p, &d, &after);
    qu_doc_free(&d);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    px_assert_clean(&p);
    qu_buf_free(&before);
    qu_buf_free(&after);
    px_close(&p);
}

/* What questions read is made first. */
static void the_likely_come_first(void **state)
{
    (void)state;
    int64_t evicted = 0, all = many("w1024.gguf");
    uint64_t id;
    qu_doc d;
    set_quota(0);
    TEST_OK(qu_make_kv_trim(&p.s, &evicted, err));
    assert_true(px_doc(&p, px_path("docs/d11.md"), &d));
    id = d.kv_id;
    qu_doc_free(&d);
    qu_use_add(p.s.store, &id, 1);
    set_quota(all / 4);
    assert_true(px_make_kv(&p, -1).over_quota > 0);
    assert_true(has_kv("d11") && has_kv("d00"));
    assert_false(has_kv("d10"));
    assert_int_equal(px_make_kv(&p, -1).evicted, 0); /* the never read do not take turns */
    px_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uses_are_noted_and_fade), cmocka_unit_test(a_long_record_is_halved),
        cmocka_unit_test(what_is_worth_less_goes), cmocka_unit_test(hits_are_no_fewer_than_of_lru),
        cmocka_unit_test(the_limit_holds),         cmocka_unit_test(a_burst_flushes_nothing),
        cmocka_unit_test(the_likely_come_first),
    };
    return cmocka_run_group_tests(tests, px_setup, px_teardown);
}
