/* The candidate list: which pages are taken, in which order and at which positions. */
#include "tests/testing.h"

#include "retrieve/plan.h"

enum { MAX_DOCS = 24, MAX_PAGES = 60 };

static char dir[64];
static qu_store *store;
static uint64_t seed = 11;

/* What was stored. */
static struct {
    uint64_t id;
    int32_t n_pages, tokens[MAX_PAGES];
    bool gone;
} docs[MAX_DOCS];
static int32_t n_docs;

static const qu_plan_options usual = {
    .max_pages = 32, .prefix_tokens = 10, .room_tokens = 4000, .floor = .4f};

static int set_up(void **state)
{
    (void)state;
    static int32_t prefix[1] = {1};
    qu_store_config c = {.page_tokens = 128,
                         .codec = 1,
                         .n_layers = 1,
                         .n_kv_heads = 1,
                         .head_size = 8,
                         .numerics = "test",
                         .model_name = "test",
                         .prefix_ids = prefix,
                         .n_prefix = 1};
    strcpy(dir,
           access("/dev/shm", W_OK) == 0 ? "/dev/shm/quire-plan-XXXXXX" : "/tmp/quire-plan-XXXXXX");
    n_docs = 0;
    return mkdtemp(dir) && qu_store_open(&store, dir, &c, QU_STORE_WRITE, NULL) == QU_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    qu_store_close(store);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

/* Store a document of n pages with the header; tokens < 0: random sizes. Its number in docs. */
static int32_t add(int32_t n, int32_t tokens)
{
    char path[32], text[MAX_PAGES];
    static int32_t ids[MAX_PAGES * 128];
    qu_page pages[MAX_PAGES] = {{0}};
    qu_txn *t;
    int64_t n_ids = 0;
    int32_t i = n_docs++;
    memset(text, 'x', sizeof text);
    snprintf(path, sizeof path, "/d/%d", i);
    qu_doc d = {.path = path, .path_len = strlen(path), .title = path};
    for (int32_t p = 0; p < n; p++) {
        int32_t k = p == 0 ? 5 : tokens > 0 ? tokens : 1 + (int32_t)(test_random(&seed) % 128);
        docs[i].tokens[p] = pages[p].n_tokens = k;
        pages[p].text_start = p ? p - 1 : 0;
        pages[p].text_end = p;
        pages[p].context = (qu_hash){(uint64_t)i, (uint64_t)p};
        n_ids += k;
    }
    TEST_OK(qu_txn_begin(&t, store, QU_TXN_WRITE, err));
    TEST_OK(qu_catalogue_next_doc_id(t, &d.doc_id, err));
    TEST_OK(qu_catalogue_put_doc(t, &d, text, (size_t)n, NULL, 0, pages, n, ids, n_ids, err));
    TEST_OK(qu_txn_commit(t, err));
    docs[i].id = d.doc_id;
    docs[i].n_pages = n;
    docs[i].gone = false;
    return i;
}

static void make(qu_plan *plan, const qu_lexical_hit *hits, int32_t n_hits,
                 const qu_plan_options *o)
{
    qu_txn *t;
    TEST_OK(qu_txn_begin(&t, store, QU_TXN_READ, err));
    TEST_OK(qu_plan_make(plan, t, hits, n_hits, o, err));
    qu_txn_abort(t);
}

static int32_t number_of(uint64_t id)
{
    for (int32_t i = 0; i < n_docs; i++)
        if (docs[i].id == id) return i;
    return -1;
}

/* The best hit on a page that counts, 0 when there is none. A hit on the title is one on page 1. */
static float hit_on(const qu_lexical_hit *hits, int32_t n_hits, float floor, uint64_t id,
                    int32_t page)
{
    for (int32_t i = 0; i < n_hits && hits[i].score >= floor * hits[0].score; i++)
        if (hits[i].doc_id == id && (hits[i].page ? hits[i].page : 1) == page) return hits[i].score;
    return 0;
}

/* The rules of plan.h, whatever the hits were. */
static void check(const qu_plan *plan, const qu_lexical_hit *hits, int32_t n_hits,
                  const qu_plan_options *o)
{
    int64_t tokens = 0, spans = 0, end = o->prefix_tokens;
    int32_t taken = 0, at = 0;
    for (int32_t i = 0; i < plan->n_docs; i++) {
        const qu_plan_doc *d = &plan->docs[i];
        int32_t k = number_of(d->doc.doc_id), hit_pages = 0;
        assert_true(k >= 0 && !docs[k].gone);
        assert_int_equal(d->first, at);
        assert_true(d->n >= 2 && d->n <= docs[k].n_pages);
        assert_int_equal(plan->pages[at].page, 0);
        assert_true(i == 0 || plan->docs[i - 1].score >= d->score);
        float best = 0;
        int64_t start = end, span = 0;
        for (int32_t p = 0; p < plan->pages[at + d->n - 1].page + 1; p++) span += docs[k].tokens[p];
        spans += span;
        for (int32_t j = at; j < at + d->n; j++) {
            const qu_plan_page *p = &plan->pages[j];
            int64_t offset = 0;
            assert_int_equal(p->doc, i);
            assert_true(p->page < docs[k].n_pages && (j == at || p->page > p[-1].page));
            assert_int_equal(p->record.n_tokens, docs[k].tokens[p->page]);
            assert_true(
                qu_hash_equal(p->record.context, (qu_hash){(uint64_t)k, (uint64_t)p->page}));
            for (int32_t before = 0; before < p->page; before++) offset += docs[k].tokens[before];
            assert_int_equal(p->pos, plan->gaps_closed ? end : start + offset);
            assert_true(p->pos >= end);
            end = p->pos + p->record.n_tokens;
            tokens += p->record.n_tokens;
            taken += p->page > 0;
            float score = p->page ? hit_on(hits, n_hits, o->floor, d->doc.doc_id, p->page) : 0;
            assert_true(p->score == score);
            if (p->page > 0 && score == 0)
                assert_true(docs[k].n_pages - 1 <= o->max_pages / QU_PLAN_SHORT_SHARE);
            hit_pages += score > 0;
            if (score > best) best = score;
        }
        assert_true(hit_pages > 0 && d->score == best);
        assert_int_equal(d->whole, d->n == docs[k].n_pages);
        at += d->n;
    }
    assert_int_equal(at, plan->n_pages);
    assert_int_equal(plan->n_tokens, tokens);
    assert_int_equal(plan->end_pos, end);
    assert_true(taken <= o->max_pages);
    assert_true(tokens <= o->room_tokens && end <= o->prefix_tokens + o->room_tokens);
    assert_int_equal(plan->gaps_closed, spans > o->room_tokens);
    /* what was left out did not fit */
    for (int32_t i = 0; i < n_hits && hits[i].score >= o->floor * hits[0].score; i++) {
        int32_t k = number_of(hits[i].doc_id), page = hits[i].page ? hits[i].page : 1;
        if (k < 0 || docs[k].gone || page >= docs[k].n_pages) continue;
        int64_t need = docs[k].tokens[page] + docs[k].tokens[0];
        bool in = false;
        for (int32_t j = 0; j < plan->n_pages; j++) {
            if (plan->docs[plan->pages[j].doc].doc.doc_id != hits[i].doc_id) continue;
            in |= plan->pages[j].page == page;
            need = docs[k].tokens[page];
        }
        assert_true(in || taken == o->max_pages || tokens + need > o->room_tokens);
    }
}

static void assert_pages(const qu_plan *plan, int32_t n, const int32_t *want)
{
    assert_int_equal(plan->n_pages, n);
    for (int32_t i = 0; i < n; i++) assert_int_equal(plan->pages[i].page, want[i]);
}

static void no_hits_give_an_empty_plan(void **state)
{
    (void)state;
    qu_plan plan;
    make(&plan, NULL, 0, &usual);
    assert_true(plan.n_docs == 0 && plan.n_pages == 0 && plan.n_tokens == 0);
    assert_int_equal(plan.end_pos, usual.prefix_tokens);
    assert_false(plan.gaps_closed);
    qu_plan_free(&plan);
    qu_plan_free(&plan);
}

static void documents_best_first_pages_ascending(void **state)
{
    (void)state;
    int32_t a = add(20, 100), b = add(20, 50);
    qu_lexical_hit hits[] = {
        {docs[b].id, 7, 9}, {docs[a].id, 5, 8}, {docs[b].id, 3, 7}, {docs[a].id, 2, 6}};
    qu_plan plan;
    make(&plan, hits, 4, &usual);
    check(&plan, hits, 4, &usual);
    assert_int_equal(plan.docs[0].doc.doc_id, docs[b].id);
    assert_pages(&plan, 6, (int32_t[]){0, 3, 7, 0, 2, 5});
    /* the original distances: header 5, page 1 follows at 15, page 3 two pages later */
    assert_int_equal(plan.pages[0].pos, 10);
    assert_int_equal(plan.pages[1].pos, 10 + 5 + 2 * 50);
    assert_int_equal(plan.pages[2].pos, 10 + 5 + 6 * 50);
    assert_int_equal(plan.pages[3].pos, 10 + 5 + 7 * 50); /* directly behind the last chosen page */
    assert_int_equal(plan.pages[5].pos, 365 + 5 + 4 * 100);
    assert_int_equal(plan.end_pos, 365 + 5 + 5 * 100);
    qu_plan_free(&plan);
    /* less room than the spans, enough for the pages: gaps closed */
    qu_plan_options o = usual;
    o.room_tokens = 310;
    make(&plan, hits, 4, &o);
    check(&plan, hits, 4, &o);
    assert_true(plan.gaps_closed);
    assert_pages(&plan, 6, (int32_t[]){0, 3, 7, 0, 2, 5});
    assert_int_equal(plan.end_pos, 10 + 310);
    qu_plan_free(&plan);
}

static void short_documents_come_whole(void **state)
{
    (void)state;
    int32_t a = add(5, 20), b = add(6, 20);
    qu_lexical_hit hits[] = {{docs[a].id, 3, 9}, {docs[b].id, 3, 8}};
    qu_plan plan;
    make(&plan, hits, 2, &usual);
    check(&plan, hits, 2, &usual);
    assert_pages(&plan, 7, (int32_t[]){0, 1, 2, 3, 4, 0, 3});
    assert_true(plan.docs[0].whole);
    assert_false(plan.docs[1].whole);
    qu_plan_free(&plan);
    qu_plan_options o = usual;
    o.max_pages = 31; /* 31 / 8 = 3 pages at most */
    make(&plan, hits, 2, &o);
    check(&plan, hits, 2, &o);
    assert_pages(&plan, 4, (int32_t[]){0, 3, 0, 3});
    qu_plan_free(&plan);
}

static void a_hit_counts_also_when_the_list_is_full(void **state)
{
    (void)state;
    int32_t a = add(3, 20), b = add(9, 20);
    qu_lexical_hit hits[] = {
        {docs[b].id, 1, 10}, {docs[a].id, 2, 9}, {docs[a].id, 1, 8}, {docs[b].id, 2, 7}};
    qu_plan_options o = usual;
    o.max_pages = 16;
    qu_plan plan;
    for (o.room_tokens = 0; o.room_tokens < 100; o.room_tokens++) {
        make(&plan, hits, 4, &o);
        check(&plan, hits, 4, &o);
        qu_plan_free(&plan);
    }
    /* page a.1 comes with a.2 and fills the list; its own hit comes later */
    int32_t c = add(30, 10);
    qu_lexical_hit more[20];
    int32_t n = 0;
    for (; n < 14; n++) more[n] = (qu_lexical_hit){docs[c].id, n + 1, (float)(30 - n)};
    more[n++] = (qu_lexical_hit){docs[a].id, 2, 15};
    more[n++] = (qu_lexical_hit){docs[a].id, 1, 14};
    o.room_tokens = 4000;
    make(&plan, more, n, &o);
    check(&plan, more, n, &o);
    assert_true(plan.pages[plan.docs[1].first + 1].score == 14);
    qu_plan_free(&plan);
}

static void budget_and_room(void **state)
{
    (void)state;
    int32_t a = add(50, 100), b = add(10, 10);
    qu_lexical_hit hits[11];
    for (int32_t i = 0; i < 10; i++)
        hits[i] = (qu_lexical_hit){docs[a].id, 2 * i + 1, (float)(20 - i)};
    hits[10] = (qu_lexical_hit){docs[b].id, 4, 10};
    qu_plan plan;
    for (qu_plan_options o = usual; o.max_pages >= 0; o.max_pages -= 4) {
        make(&plan, hits, 11, &o);
        check(&plan, hits, 11, &o);
        assert_int_equal(plan.n_pages - plan.n_docs, o.max_pages < 11 ? o.max_pages : 11);
        qu_plan_free(&plan);
    }
    for (qu_plan_options o = usual; o.room_tokens >= 0; o.room_tokens -= 37) {
        make(&plan, hits, 11, &o);
        check(&plan, hits, 11, &o);
        qu_plan_free(&plan);
    }
    /* what does not fit is passed over: the smaller page behind it comes */
    qu_plan_options o = usual;
    o.room_tokens = 104;
    make(&plan, hits, 11, &o);
    assert_int_equal(plan.n_docs, 1);
    assert_int_equal(plan.docs[0].doc.doc_id, docs[b].id);
    qu_plan_free(&plan);
}

static void hits_below_the_floor_are_none(void **state)
{
    (void)state;
    int32_t a = add(20, 10), b = add(20, 10);
    qu_lexical_hit hits[] = {
        {docs[a].id, 3, 10}, {docs[a].id, 5, 4}, {docs[b].id, 5, 3.9f}, {docs[a].id, 6, 3}};
    qu_plan plan;
    make(&plan, hits, 4, &usual);
    check(&plan, hits, 4, &usual);
    assert_pages(&plan, 3, (int32_t[]){0, 3, 5});
    qu_plan_free(&plan);
}

static void a_title_stands_for_the_first_page(void **state)
{
    (void)state;
    int32_t a = add(20, 10), only_header = add(1, 10);
    qu_lexical_hit hits[] = {
        {docs[only_header].id, 0, 11}, {docs[a].id, 0, 10}, {docs[a].id, 1, 9}};
    qu_plan plan;
    make(&plan, hits, 3, &usual);
    check(&plan, hits, 3, &usual);
    assert_pages(&plan, 2, (int32_t[]){0, 1});
    assert_true(plan.pages[1].score == 10);
    qu_plan_free(&plan);
}

static void vanished_documents_and_pages_are_passed_over(void **state)
{
    (void)state;
    int32_t a = add(20, 10), b = add(20, 10);
    qu_txn *t;
    TEST_OK(qu_txn_begin(&t, store, QU_TXN_WRITE, err));
    TEST_OK(qu_catalogue_del_doc(t, docs[a].id, err));
    TEST_OK(qu_txn_commit(t, err));
    docs[a].gone = true;
    qu_lexical_hit hits[] = {
        {docs[a].id, 3, 10}, {docs[b].id, 20, 9}, {docs[b].id, 19, 8}, {999999, 1, 7}};
    qu_plan plan;
    make(&plan, hits, 4, &usual);
    check(&plan, hits, 4, &usual);
    assert_pages(&plan, 2, (int32_t[]){0, 19});
    qu_plan_free(&plan);
}

static void random_hits_keep_the_rules(void **state)
{
    (void)state;
    for (int32_t i = 0; i < 12; i++) add(1 + (int32_t)(test_random(&seed) % 40), -1);
    for (int32_t i = 0; i < 6; i++) add(1 + (int32_t)(test_random(&seed) % 5), -1);
    for (int run = 0; run < 1000; run++) {
        qu_lexical_hit hits[80];
        int32_t n = 0, want = (int32_t)(test_random(&seed) % 80);
        float score = 100;
        for (int32_t i = 0; i < want; i++) {
            uint64_t id = docs[test_random(&seed) % (uint64_t)n_docs].id;
            int32_t page = (int32_t)(test_random(&seed) % (test_random(&seed) % 4 ? 5 : MAX_PAGES));
            if (test_random(&seed) % 20 == 0) id = 1000 + test_random(&seed) % 5;
            if (hit_on(hits, n, 0, id, page ? page : 1) > 0)
                continue; /* an index names a page once */
            score -= (float)(test_random(&seed) % 200) / 100;
            hits[n++] = (qu_lexical_hit){id, page, score};
        }
        qu_plan_options o = {.max_pages = (int32_t)(test_random(&seed) % 48),
                             .prefix_tokens = (int64_t)(test_random(&seed) % 50),
                             .room_tokens = (int64_t)(test_random(&seed) % 6000),
                             .floor = (float)(test_random(&seed) % 10) / 10};
        qu_plan plan;
        make(&plan, hits, n, &o);
        check(&plan, hits, n, &o);
        qu_plan_free(&plan);
    }
}

#define PLAN_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLAN_TEST(no_hits_give_an_empty_plan),
        PLAN_TEST(documents_best_first_pages_ascending),
        PLAN_TEST(short_documents_come_whole),
        PLAN_TEST(a_hit_counts_also_when_the_list_is_full),
        PLAN_TEST(budget_and_room),
        PLAN_TEST(hits_below_the_floor_are_none),
        PLAN_TEST(a_title_stands_for_the_first_page),
        PLAN_TEST(vanished_documents_and_pages_are_passed_over),
        PLAN_TEST(random_hits_keep_the_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
