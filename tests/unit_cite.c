/* Each sentence of an answer and the place it rests on. */
#include "tests/pipeline_testing.h"

static ask_run run;
static qu_answer ans;
static qu_asker asker;
static px_session p;

/* A run as asker.c has it when the answer is there: plan and page texts of one document. */
static void answer_is(const char *text)
{
    qu_lexical *lx;
    qu_lexical_hit hits[8];
    int32_t n;
    qu_txn *t;
    memset(&run, 0, sizeof run);
    memset(&ans, 0, sizeof ans);
    asker.s = &p.s;
    run = (ask_run){.a = &asker, .question = "what about the ferry?", .ans = &ans};
    TEST_OK(qu_session_lexical(&p.s, &lx, err));
    TEST_OK(qu_lexical_search(lx, "ferry", 5, NULL, 8, hits, &n, err));
    qu_lexical_close(lx);
    qu_plan_options o = {32, 0, 4000, QU_PLAN_FLOOR};
    TEST_OK(qu_txn_begin(&t, p.s.store, QU_TXN_READ, err));
    TEST_OK(qu_plan_make(&run.plan, t, hits, n, &o, err));
    run.pages = calloc((size_t)run.plan.n_pages, sizeof *run.pages);
    for (int32_t i = 0; i < run.plan.n_pages; i++)
        TEST_OK(qu_catalogue_text(t, run.plan.docs[0].doc.doc_id,
                                  run.plan.pages[i].record.text_start,
                                  run.plan.pages[i].record.text_end, &run.pages[i].text, err));
    qu_txn_abort(t);
    TEST_OK(qu_buf_add(&ans.text, text, strlen(text), err));
    TEST_OK(qu_answer_cite(&run, err));
}

static void done(void)
{
    qu_answer_end(&run);
    qu_answer_free(&ans);
}

static const char *cited(int32_t sentence)
{
    int32_t at = ans.sentences[sentence].citation;
    return at < 0 ? "" : ans.citations[at].text;
}

static void sentences_rest_on_their_places(void **state)
{
    (void)state;
    px_shell("rm -rf %s; mkdir %s", px_path("docs"), px_path("docs"));
    px_shell("printf 'The ferry leaves at nine.\\n\\nIts captain is Edda Moor. The bar sells "
             "soup on Sundays.\\n' >%s",
             px_path("docs/ferry.md"));
    px_open_write(&p, "cite", "copy.gguf");
    assert_int_equal(px_sync(&p, px_path("docs")).added, 1);
    answer_is("The bar sells soup. Cheese grows on the moon tonight. It leaves at nine!");
    assert_int_equal(ans.n_sentences, 3);
    assert_string_equal(cited(0), "The bar sells soup on Sundays.");
    assert_string_equal(cited(1), "");
    assert_string_equal(cited(2), "The ferry leaves at nine.");
    assert_false(ans.supported);
    assert_int_equal(ans.sentences[1].start, 20);
    assert_int_equal(ans.sentences[1].end, 53);
    done();
    answer_is("The ferry leaves at nine. The ferry leaves at nine.");
    assert_int_equal(ans.n_sentences, 2);
    assert_int_equal(ans.n_citations, 1); /* one place is cited once */
    assert_true(ans.supported);
    done();
    answer_is("nine");
    assert_int_equal(ans.n_sentences, 1);
    assert_true(ans.supported);
    done();
    answer_is("the moon");
    assert_false(ans.supported);
    assert_true(ans.n_citations > 0); /* the likeliest places all the same */
    done();
    px_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sentences_rest_on_their_places)};
    return cmocka_run_group_tests(tests, px_setup, px_teardown);
}
