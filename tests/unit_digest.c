/* retrieve/digest.h: what every method promises, and that a sentence all others lean on is
 * found. */
#include "testing.h"

#include "retrieve/digest.h"

static const char *const ferry =
    "The Northern Ferry\n\n"
    "The weather was cold that year. Many people came to the harbour town for work. "
    "The ferry company moved its harbour to Norrholm because the old harbour had silted up. "
    "Silt had filled the old harbour for many years. The company built a new harbour in Norrholm. "
    "The ferry now leaves Norrholm at seven. Some sailors missed the old town.\n";

static qu_digest make(const char *text, qu_digest_method m, int32_t words)
{
    qu_digest d;
    TEST_OK(qu_digest_make(&d, text, (int64_t)strlen(text), m, words, err));
    return d;
}

static bool chose(const qu_digest *d, const char *text, const char *words)
{
    for (int32_t i = 0; i < d->n; i++) {
        const qu_digest_sentence *s = &d->sentences[i];
        if (s->chosen && memmem(text + s->start, (size_t)(s->end - s->start), words, strlen(words)))
            return true;
    }
    return false;
}

static void the_central_sentence_is_chosen(void **state)
{
    (void)state;
    for (int m = 0; m < QU_DIGEST_LEAD; m++) {
        qu_digest d = make(ferry, (qu_digest_method)m, 15);
        if (!chose(&d, ferry, "moved its harbour")) fail_msg("method %d chose another", m);
        assert_true(d.words == 15);
        qu_digest_free(&d);
    }
}

static void lead_takes_the_first_that_fit(void **state)
{
    (void)state;
    qu_digest d = make(ferry, QU_DIGEST_LEAD, 15);
    assert_int_equal(d.words, 15);
    assert_false(d.sentences[0].chosen); /* a title of three words */
    assert_true(chose(&d, ferry, "weather") && chose(&d, ferry, "people came"));
    qu_digest_free(&d);
}

/* Trimmed, in order, within the budget; scores are 1 on average. */
static void every_method_keeps_its_promises(void **state)
{
    (void)state;
    for (int m = 0; m < QU_N_DIGESTS; m++)
        for (int32_t words = 1; words < 120; words += 7) {
            qu_digest d = make(ferry, (qu_digest_method)m, words), again;
            double sum = 0;
            int32_t n = 0, chosen = 0;
            for (int32_t i = 0; i < d.n; i++) {
                const qu_digest_sentence *s = &d.sentences[i];
                assert_true(s->start < s->end && (i == 0 || d.sentences[i - 1].end <= s->start));
                assert_true(ferry[s->start] > ' ' && ferry[s->end - 1] > ' ');
                sum += (double)s->score;
                n += s->chosen ? s->words : 0;
                chosen += s->chosen;
                assert_true(words < QU_DIGEST_LEAST || !s->chosen || s->words >= QU_DIGEST_LEAST);
            }
            assert_true(chosen > 0 && n == d.words && (n <= words || chosen == 1));
            assert_true(fabs(sum - d.n) < 1e-3);
            again = make(ferry, (qu_digest_method)m, words);
            assert_int_equal(again.n, d.n);
            assert_memory_equal(again.sentences, d.sentences, (size_t)d.n * sizeof *d.sentences);
            qu_digest_free(&again);
            qu_digest_free(&d);
        }
}

/* What says the same twice is chosen once. */
static void a_repeated_sentence_is_chosen_once(void **state)
{
    (void)state;
    const char *text = "The ferry to Norrholm leaves the harbour at seven. "
                       "Tickets are sold by the harbour master. "
                       "The ferry to Norrholm leaves the harbour at seven. "
                       "The ferry to Norrholm leaves the harbour at eight.";
    qu_digest d = make(text, QU_DIGEST_GRAPH, 18);
    assert_true(d.sentences[0].chosen + d.sentences[2].chosen == 1);
    assert_true(chose(&d, text, "Tickets"));
    qu_digest_free(&d);
}

static void any_language_and_any_bytes(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "渡轮七点离开港口。船票四十五克朗。狗可以免费乘船。港口在城市的北部。",
        "Die Fähre fährt um sieben. Hafenarbeiter arbeiten im Hafen. Der Hafen ist alt und klein.",
        "", " \n\n ", "a", "...", "\xFF\xFE x \xC0", "word",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (int m = 0; m < QU_N_DIGESTS; m++) {
            qu_digest d = make(texts[i], (qu_digest_method)m, 30);
            assert_true(i > 1 || d.words >= 10);
            qu_digest_free(&d);
        }
    qu_digest d;
    assert_int_equal(qu_digest_make(&d, "a", 1, QU_DIGEST_GRAPH, 0, NULL), QU_ERR_ARG);
}

/* Ranked in blocks: the sentence that recurs in words all over the text wins; a text without an end
 * to its sentence is cut. */
static void long_texts(void **state)
{
    (void)state;
    enum { N = 3 * QU_DIGEST_BLOCK };
    char *text = malloc(N * 80 + 100000);
    size_t n = 0;
    uint64_t seed = 5;
    for (int i = 0; i < N; i++) {
        uint64_t a = test_random(&seed) % 500, b = test_random(&seed) % 500;
        n += (size_t)sprintf(text + n, i == N / 2 ? "Harbour ferry silt company moved %d. "
                                       : i % 3    ? "Number%d harbour word%d w%d ferry silt here. "
                                                  : "Nothing%d of%d note%d was said then. ",
                             (int)a, (int)b, i);
    }
    qu_digest d = make(text, QU_DIGEST_GRAPH, 60);
    assert_int_equal(d.n, N);
    int32_t zero = 0, last = 0;
    for (int32_t i = 0; i < d.n; i++) {
        zero += d.sentences[i].score <= 0;
        if (d.sentences[i].chosen) last = i;
    }
    assert_true(zero == N - QU_DIGEST_BLOCK / 3 * 3 && d.words > 50 && last > 0);
    qu_digest_free(&d);
    memset(text, 'x', 100000);
    for (int i = 0; i < 100000; i += 7) text[i] = ' ';
    text[100000] = 0;
    d = make(text, QU_DIGEST_GRAPH, 10);
    assert_true(d.n == 1 && d.sentences[0].end - d.sentences[0].start <= QU_DIGEST_BYTES);
    qu_digest_free(&d);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_central_sentence_is_chosen),
        cmocka_unit_test(lead_takes_the_first_that_fit),
        cmocka_unit_test(every_method_keeps_its_promises),
        cmocka_unit_test(a_repeated_sentence_is_chosen_once),
        cmocka_unit_test(any_language_and_any_bytes),
        cmocka_unit_test(long_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
