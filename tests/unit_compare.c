/* Comparing fidelities and keeping the verdict. */
#include "tests/pipeline_testing.h"

#include "base/os.h"
#include "pipelines/compare.h"
#include "pipelines/verdict.h"

static const qu_ask_options options = {
    .pages = 64, .floor = -1, .max_tokens = 12, .max_wait_s = 1e6, .repair_share = 1};

static void fill(px_session *p, const char *store, const char *model, int n_docs)
{
    px_shell("rm -rf '%s'; mkdir -p '%s'", px_path("%s", store), px_path("%s.docs", store));
    for (int i = 0; i < n_docs; i++)
        px_write(px_path("%s.docs/%d.md", store, i), "Houses",
                 i ? "gudar hafen jegol kihux" : "badar cefen digol fohux", 20 + i, i);
    px_open_write(p, store, model);
    px_sync(p, px_path("%s.docs", store));
    px_make_kv(p, -1);
}

/* One document alone in its window: kv is exact. Two on a random model: it is not, but full repair
 * is, and the counts are of the exact answer's tokens. */
static void differences(void **state)
{
    (void)state;
    qu_compare *c;
    qu_answer exact, ans;
    qu_difference d, sum = {0};
    px_session p;
    fill(&p, "one", "copy.gguf", 1);
    TEST_OK(qu_compare_create(&c, &p.s, &options, err));
    TEST_OK(qu_compare_exact(c, "what follows badar?", &exact, err));
    assert_string_equal(exact.text.data, "cefen digol fohux");
    TEST_OK(qu_compare_with(c, QU_FIDELITY_KV, &d, &ans, err));
    assert_true(d.same && d.kl == 0 && d.agree == d.positions);
    assert_int_equal(d.positions, exact.generated_tokens + 1); /* what ends it counts */
    assert_string_equal(ans.text.data, exact.text.data);
    qu_answer_free(&exact);
    qu_answer_free(&ans);
    TEST_OK(qu_compare_free(c, QU_OK, err));
    px_close(&p);
    fill(&p, "two", "w1024.gguf", 2);
    TEST_OK(qu_compare_create(&c, &p.s, &options, err));
    TEST_OK(qu_compare_exact(c, "the house of hafen near cefen", &exact, err));
    assert_int_equal(exact.documents, 2);
    for (int turn = 0; turn < 2; turn++) {
        TEST_OK(qu_compare_with(c, turn ? QU_FIDELITY_REPAIR : QU_FIDELITY_KV, &d, &ans, err));
        qu_difference_add(&sum, &d);
        assert_int_equal(d.positions, exact.generated_tokens);
        assert_int_equal(d.kl_positions, QU_COMPARE_KL_TOKENS);
        assert_true(turn ? d.kl < 1e-9 && d.same : d.kl > 1e-9);
        assert_int_equal(turn == 0 || (ans.text.len == exact.text.len), 1);
        qu_answer_free(&ans);
    }
    assert_int_equal(sum.positions, 2 * exact.generated_tokens);
    qu_answer_free(&exact);
    TEST_OK(qu_compare_free(c, QU_OK, err));
    px_close(&p);
}

/* The same by hand: record the exact answer's choices, force them, see where kv would differ. */
typedef struct by_hand {
    int32_t vocab, ids[12], n, agree;
    bool records;
} by_hand;

static int32_t choose_by_hand(void *ctx, int32_t i, const float *logits)
{
    by_hand *b = ctx;
    int32_t best = qu_sample_greedy(logits, b->vocab);
    if (b->records) {
        b->ids[i] = best;
        b->n = i + 1;
    } else {
        b->agree += best == b->ids[i];
    }
    return b->ids[i];
}

static void forced_tokens_are_the_exact_ones(void **state)
{
    (void)state;
    static const char *const questions[] = {"the house of hafen near cefen", "kihux and fohux",
                                            "gudar road badar", "a b c badar jegol",
                                            "gudar, digol"};
    px_session p;
    qu_compare *c;
    qu_difference d, sum = {0};
    fill(&p, "hand", "w4.gguf", 3);
    TEST_OK(qu_compare_create(&c, &p.s, &options, err));
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        by_hand b = {.vocab = p.s.model->vocab, .records = true};
        qu_ask_options o = options;
        qu_asker *a;
        qu_answer exact, ans;
        o.choose = choose_by_hand;
        o.ctx = &b;
        char text[200] = "";
        for (int turn = 0; turn < 3; turn++) { /* exact, forced, its own */
            o.fidelity = turn ? QU_FIDELITY_KV : QU_FIDELITY_EXACT;
            b.records = turn == 0;
            if (turn == 2) o.choose = NULL;
            TEST_OK(qu_asker_create(&a, &p.s, &o, err));
            TEST_OK(qu_asker_ask(a, questions[i], &ans, err));
            snprintf(text, sizeof text, "%s", ans.text.data);
            qu_answer_free(&ans);
            TEST_OK(qu_asker_free(a, QU_OK, err));
        }
        TEST_OK(qu_compare_exact(c, questions[i], &exact, err));
        TEST_OK(qu_compare_with(c, QU_FIDELITY_KV, &d, &ans, err));
        assert_int_equal(d.positions, b.n);
        assert_int_equal(d.agree, b.agree);
        assert_int_equal(d.same, b.agree == b.n);
        assert_string_equal(ans.text.data, text);
        qu_answer_free(&exact);
        qu_answer_free(&ans);
        qu_difference_add(&sum, &d);
    }
    print_message("%d of %d tokens agree\n", (int)sum.agree, (int)sum.positions);
    assert_true(sum.agree < sum.positions && !sum.same);
    TEST_OK(qu_compare_free(c, QU_OK, err));
    px_close(&p);
}

/* A verdict comes back as it was, belongs to one numerics class, and a damaged one is none. */
static void verdicts(void **state)
{
    (void)state;
    px_session p;
    qu_txn *t;
    qu_verdict v, w = {true, 7, 1234567890123, {true, 50, .98, .01, .9}, {false, 51, .9, .5, .25}};
    fill(&p, "verdict", "copy.gguf", 1);
    TEST_OK(qu_verdict_load(&v, &p.s, err));
    assert_false(v.known);
    TEST_OK(qu_verdict_save(&w, &p.s, err));
    TEST_OK(qu_verdict_load(&v, &p.s, err));
    assert_true(v.known && v.kv.passed && !v.repair.passed && v.questions == 7);
    assert_true(v.at_ms == w.at_ms && v.kv.agreement == .98 && v.repair.same == .25);
    assert_true(v.kv.positions == 50 && v.repair.kl == .5);
    strcpy(p.s.numerics, "1/another/class");
    TEST_OK(qu_verdict_load(&v, &p.s, err));
    assert_false(v.known);
    qu_context_numerics(p.s.numerics);
    qu_hash h = qu_store_config_get(p.s.store)->binding;
    char name[64] = "verify.";
    qu_hash_hex(name + 7, qu_hash_chain(h, p.s.numerics, strlen(p.s.numerics)));
    TEST_OK(qu_txn_begin(&t, p.s.store, QU_TXN_WRITE, err));
    TEST_OK(qu_catalogue_put_meta(t, name, "{\"questions\":1", 14, err));
    TEST_OK(qu_txn_commit(t, err));
    TEST_OK(qu_verdict_load(&v, &p.s, err));
    assert_false(v.known);
    px_close(&p);
}

static int setup(void **state)
{
    if (px_setup(state) != 0) return -1;
    px_model("w4.gguf", "--random --shape tiny --layers 4 --context 4096 --seed 3");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(differences),
                                       cmocka_unit_test(forced_tokens_are_the_exact_ones),
                                       cmocka_unit_test(verdicts)};
    return cmocka_run_group_tests(tests, setup, px_teardown);
}
