/* pipelines/options.c and manual.c: they are part of the program, not of the library, so they are
 * included here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pipelines/manual.c"
#include "pipelines/options.c"

static const qu_option options[] = {
    QU_INT("pages", "N", "32", 1, 4096, "candidate pages", .letter = 'p'),
    QU_INT("budget", "N|all", "2048", 1, 1e9, "tokens a head may read", .choices = "all|none"),
    QU_FLOAT("temperature", "X", "0", 0, 10, "sampling temperature"),
    QU_ENUM("fidelity", "MODE", NULL, "kv|repair|exact", "how pages are used: [see] 'the manual'"),
    QU_STR("in", "GLOB", NULL, "only these files"),
    QU_TEXT("out", "GLOB", NULL, "not these files", .lines = true),
    QU_SIZE("max-bytes", "SIZE", NULL, "quota"),
    QU_TIME("max-time", "TIME", "10m", "stop after", .min = 1, .max = 1e6),
    QU_TEXT("prompt", "TEXT", NULL, "may be empty"),
    QU_FLAG("quote", "only spans", .letter = 'Q'),
    QU_INT("offset", "N", NULL, 0, 0, "any number"),
};

static const qu_command ask = {
    .name = "ask",
    .args = "QUESTION|-",
    .summary = "answer a question",
    .description =
        "First paragraph.\n\nSecond paragraph, \\ with a dash - in it.\n.starts with a dot.",
    .examples = "quire ask \"what?\"",
    .options = options,
    .n_options = sizeof options / sizeof *options,
    .min_args = 1,
    .max_args = 2,
};

static qu_args a;
static qu_err err;

/* Parse words given as arguments, NULL at the end. */
static qu_status parse(const char *first, ...)
{
    static char *words[32];
    int n = 0;
    va_list ap;
    va_start(ap, first);
    for (const char *w = first; w; w = va_arg(ap, const char *)) words[n++] = (char *)w;
    va_end(ap);
    memset(&err, 0, sizeof err);
    qu_args_free(&a);
    return qu_args_parse(&a, &ask, n, words, &err);
}

static int clear(void **state)
{
    (void)state;
    qu_args_free(&a);
    unsetenv("QUIRE_STORE");
    return 0;
}

static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(parse("q", NULL), QU_OK);
    assert_int_equal(qu_args_int(&a, "pages"), 32);
    assert_int_equal(qu_args_int(&a, "budget"), 2048);
    assert_true(qu_args_float(&a, "temperature") == 0);
    assert_null(qu_args_str(&a, "fidelity"));
    assert_int_equal(qu_args_choice(&a, "fidelity"), -1);
    assert_int_equal(qu_args_int(&a, "max-time"), 600);
    assert_int_equal(qu_args_int(&a, "max-bytes"), 0);
    assert_false(qu_args_flag(&a, "quote"));
    assert_false(qu_args_given(&a, "pages"));
    assert_string_equal(qu_args_str(&a, "store"), "./.quire");
    assert_null(qu_args_str(&a, "model"));
    assert_true(qu_args_threads(&a) >= 1);
}

static void test_every_form(void **state)
{
    (void)state;
    assert_int_equal(parse("--pages", "7", "q", "--fidelity=exact", "-t3", "--quote", NULL), QU_OK);
    assert_int_equal(qu_args_int(&a, "pages"), 7);
    assert_true(qu_args_given(&a, "pages"));
    assert_string_equal(qu_args_str(&a, "fidelity"), "exact");
    assert_int_equal(qu_args_choice(&a, "fidelity"), 2);
    assert_int_equal(qu_args_threads(&a), 3);
    assert_true(qu_args_flag(&a, "quote"));
    assert_int_equal(a.argc, 1);
    assert_string_equal(a.argv[0], "q");
    assert_int_equal(parse("-Qqp", "9", "q", NULL), QU_OK);
    assert_true(qu_args_flag(&a, "quote") && qu_args_flag(&a, "quiet"));
    assert_int_equal(qu_args_int(&a, "pages"), 9);
    assert_int_equal(parse("--pages", "1", "--pages=2", "q", NULL), QU_OK);
    assert_int_equal(qu_args_int(&a, "pages"), 2);
    assert_int_equal(parse("--prompt=", "q", NULL), QU_OK);
    assert_string_equal(qu_args_str(&a, "prompt"), "");
    assert_int_equal(parse("--prompt", "--pages", "q", NULL),
                     QU_OK); /* a value may look like an option */
    assert_string_equal(qu_args_str(&a, "prompt"), "--pages");
}

static void test_positional(void **state)
{
    (void)state;
    assert_int_equal(parse("-", "--", "--pages", NULL), QU_OK);
    assert_int_equal(a.argc, 2);
    assert_string_equal(a.argv[0], "-");
    assert_string_equal(a.argv[1], "--pages");
    assert_int_equal(parse(NULL), QU_ERR_ARG);
    assert_string_equal(err.msg, "missing argument: ask takes QUESTION|-");
    assert_int_equal(parse("1", "2", "3", NULL), QU_ERR_ARG);
    assert_string_equal(err.msg, "unexpected argument '3': ask takes QUESTION|-");
    assert_null(a.argv);
}

static void test_last_wins(void **state)
{
    (void)state;
    assert_int_equal(parse("--in", "*.md", "q", "--in=*.txt", NULL), QU_OK);
    assert_string_equal(qu_args_str(&a, "in"), "*.txt");
    assert_null(qu_args_str(&a, "out"));
    assert_int_equal(parse("--out", "*.md", "q", "--out=", "--out=b", NULL), QU_OK);
    assert_string_equal(qu_args_str(&a, "out"), "*.md\n\nb\n"); /* all, a line each */
}

static void test_words_beside_numbers(void **state)
{
    (void)state;
    assert_int_equal(parse("--budget", "all", "q", NULL), QU_OK);
    assert_int_equal(qu_args_int(&a, "budget"), -1);
    assert_int_equal(parse("--budget", "none", "q", NULL), QU_OK);
    assert_int_equal(qu_args_int(&a, "budget"), -2);
    assert_int_equal(parse("--budget", "-1", "q", NULL), QU_ERR_ARG);
    assert_string_equal(
        err.msg,
        "option '--budget' takes a whole number from 1 to 1000000000, all or none, not '-1'");
    assert_int_equal(parse("--budget", "al", "q", NULL), QU_ERR_ARG);
}

static void test_strict_numbers(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "+1",
                                      "0x10",
                                      "1e2",
                                      "1.0",
                                      "1,5",
                                      "--1",
                                      "1-",
                                      "-",
                                      "0",
                                      "4097",
                                      "-5",
                                      "all",
                                      "nan",
                                      "inf",
                                      "1_0",
                                      "99999999999999999999",
                                      "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(parse("--pages", bad[i], "q", NULL), QU_ERR_ARG);
        assert_non_null(strstr(err.msg, "'--pages' takes a whole number from 1 to 4096, not '"));
        assert_null(a.values);
    }
    assert_int_equal(parse("--pages", "4096", "q", NULL), QU_OK);
    assert_int_equal(parse("--offset", "-5", "q", NULL), QU_OK);
    assert_int_equal(qu_args_int(&a, "offset"), -5);
    assert_int_equal(parse("--offset", "9000000000000000", "q", NULL), QU_OK);
    assert_true(qu_args_int(&a, "offset") == 9000000000000000ll);
    assert_int_equal(parse("--offset", "9000000000000001", "q", NULL), QU_ERR_ARG);
}

static void test_floats(void **state)
{
    (void)state;
    static const char *const bad[] = {"nan", "inf", "-1",    "10.5",  "1e",  ".",
                                      "1.",  "1e+", "0x1p1", "1.5.2", "1-2", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(parse("--temperature", bad[i], "q", NULL), QU_ERR_ARG);
    assert_string_equal(err.msg, "option '--temperature' takes a number from 0 to 10, not ''");
    assert_int_equal(parse("--temperature", "0.75", "q", NULL), QU_OK);
    assert_true(qu_args_float(&a, "temperature") == 0.75);
    assert_int_equal(parse("--temperature", "5e-1", "q", NULL), QU_OK);
    assert_true(qu_args_float(&a, "temperature") == 0.5);
    assert_int_equal(parse("--temperature", ".25", "q", NULL), QU_OK);
    assert_true(qu_args_float(&a, "temperature") == 0.25);
}

static void test_sizes_and_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes;
    } sizes[] = {
        {"0", 0},         {"4096", 4096}, {"1K", 1024}, {"200M", 200ll << 20}, {"1.5G", 3ll << 29},
        {"2T", 2ll << 40}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(parse("--max-bytes", sizes[i].text, "q", NULL), QU_OK);
        assert_true(qu_args_int(&a, "max-bytes") == sizes[i].bytes);
    }
    static const struct {
        const char *text;
        int64_t seconds;
    } times[] = {{"30", 30}, {"30s", 30}, {"10m", 600}, {"2h", 7200}, {"1d", 86400}, {"1.5m", 90}};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        assert_int_equal(parse("--max-time", times[i].text, "q", NULL), QU_OK);
        assert_true(qu_args_int(&a, "max-time") == times[i].seconds);
        assert_true(qu_args_float(&a, "max-time") == (double)times[i].seconds);
    }
    static const char *const bad[] = {"G", "1GB", "-1", "1 G", "1g", "99999999T", "1KK", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(parse("--max-bytes", bad[i], "q", NULL), QU_ERR_ARG);
    assert_int_equal(parse("--max-time", "0", "q", NULL), QU_ERR_ARG);
    assert_string_equal(err.msg, "option '--max-time' takes a time such as 30s, 10m or 2h from 1 "
                                 "to 1000000 seconds, not '0'");
}

static void test_enum(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "k", "kv|repair", "|", "KV", "exactly"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(parse("--fidelity", bad[i], "q", NULL), QU_ERR_ARG);
    assert_string_equal(err.msg, "option '--fidelity' takes kv, repair or exact, not 'exactly'");
    assert_int_equal(parse("--fidelity", "kv", "q", NULL), QU_OK);
    assert_int_equal(qu_args_choice(&a, "fidelity"), 0);
}

static void test_unknown_options(void **state)
{
    (void)state;
    assert_int_equal(parse("--pags", "3", "q", NULL), QU_ERR_ARG);
    assert_string_equal(err.msg, "unknown option '--pags', did you mean '--pages'");
    assert_int_equal(parse("--fidleity=kv", "q", NULL), QU_ERR_ARG);
    assert_string_equal(err.msg, "unknown option '--fidleity', did you mean '--fidelity'");
    assert_int_equal(parse("-json", "q", NULL), QU_ERR_ARG);
    assert_string_equal(err.msg, "unknown option '-json', did you mean '--json'");
    assert_int_equal(parse("--completely-else", "q", NULL), QU_ERR_ARG);
    assert_string_equal(err.msg, "unknown option '--completely-else'");
    assert_int_equal(parse("-x", "q", NULL), QU_ERR_ARG);
    assert_string_equal(err.msg, "unknown option '-x'");
    assert_int_equal(parse("--page", "3", "q", NULL), QU_ERR_ARG); /* no abbreviations */
    assert_int_equal(parse("--json=yes", "q", NULL), QU_ERR_ARG);
    assert_string_equal(err.msg, "option '--json' takes no value");
    assert_int_equal(parse("q", "--pages", NULL), QU_ERR_ARG);
    assert_string_equal(err.msg, "option '--pages' needs a value: N");
    assert_int_equal(parse("--in", "", "q", NULL), QU_ERR_ARG);
    assert_string_equal(err.msg, "option '--in' takes text that is not empty, not ''");
}

static void test_hostile_words(void **state)
{
    (void)state;
    char big[5000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    big[0] = big[1] = '-';
    assert_int_equal(parse(big, NULL), QU_ERR_ARG);
    assert_true(strlen(err.msg) < 120);
    assert_int_equal(parse("--pages", big, "q", NULL), QU_ERR_ARG);
    assert_int_equal(parse("--fidelity", big, "q", NULL), QU_ERR_ARG);
    assert_non_null(strstr(err.msg, "not '--xx"));
    assert_int_equal(parse("--=", "q", NULL), QU_ERR_ARG);
    assert_int_equal(parse("", NULL), QU_OK); /* an empty question is the command's business */
}

static void test_environment(void **state)
{
    (void)state;
    setenv("QUIRE_STORE", "/tmp/s", 1);
    assert_int_equal(parse("q", NULL), QU_OK);
    assert_string_equal(qu_args_str(&a, "store"), "/tmp/s");
    assert_false(qu_args_given(&a, "store"));
    assert_int_equal(parse("q", "--store", "here", NULL), QU_OK);
    assert_string_equal(qu_args_str(&a, "store"), "here");
    setenv("QUIRE_STORE", "", 1);
    assert_int_equal(parse("q", NULL), QU_OK);
    assert_string_equal(qu_args_str(&a, "store"), "./.quire");
}

/* A variable that is read strictly is named as one in the message. */
static void test_environment_fault(void **state)
{
    (void)state;
    static const qu_option o[] = {{.name = "n",
                                   .kind = QU_OPT_INT,
                                   .arg = "N",
                                   .env = "QUIRE_TEST_N",
                                   .max = 5,
                                   .help = "x"}};
    const qu_command c = {.name = "c", .summary = "x", .options = o, .n_options = 1};
    setenv("QUIRE_TEST_N", "six", 1);
    assert_int_equal(qu_args_parse(&a, &c, 0, NULL, &err), QU_ERR_ARG);
    assert_string_equal(err.msg,
                        "variable 'QUIRE_TEST_N' takes a whole number from 0 to 5, not 'six'");
    unsetenv("QUIRE_TEST_N");
}

static void test_help_ends_parsing(void **state)
{
    (void)state;
    assert_int_equal(parse("--help", NULL), QU_OK); /* although the question is missing */
    assert_true(qu_args_flag(&a, "help"));
    assert_int_equal(parse("-h", "--nonsense", NULL), QU_OK);
    assert_true(qu_args_flag(&a, "help"));
    assert_int_equal(parse("--nonsense", "-h", NULL), QU_ERR_ARG);
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const verbs[] = {"index", "ask", "search", "rm", "gc"};
    assert_string_equal(qu_options_nearest("aks", verbs, 5), "ask");
    assert_string_equal(qu_options_nearest("serach", verbs, 5), "search");
    assert_string_equal(qu_options_nearest("idx", verbs, 5), "index");
    assert_null(qu_options_nearest("x", verbs, 5));
    assert_null(qu_options_nearest("", verbs, 5));
    assert_null(qu_options_nearest("summarise", verbs, 5));
}

/* Words made of pieces of the syntax: whatever parses keeps what the table promises. */
static void test_random_words(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "--",       "-", "=",    "pages", "budget", "in", "fidelity", "kv",  "max-bytes",
        "max-time", "7", "4097", "1.5",   "K",      "m",  "e9",       "all", "p",
        "t",        "q", "Q",    "json",  "\xff",   "x",  ""};
    enum { N_PIECES = sizeof pieces / sizeof *pieces };
    unsigned seed = 20240607;
    int parsed = 0;
    for (int round = 0; round < 20000; round++) {
        char text[6][40] = {{0}};
        char *words[6];
        for (int w = 0; w < 6; w++) {
            for (int k = rand_r(&seed) % 4; k >= 0; k--)
                strcat(text[w], pieces[rand_r(&seed) % N_PIECES]);
            words[w] = text[w];
        }
        err.msg[0] = 0;
        if (qu_args_parse(&a, &ask, rand_r(&seed) % 7, words, &err) != QU_OK) {
            assert_true(err.msg[0] != 0);
            assert_null(a.values);
            continue;
        }
        parsed++;
        int64_t pages = qu_args_int(&a, "pages"), bytes = qu_args_int(&a, "max-bytes");
        assert_true(pages >= 1 && pages <= 4096 && bytes >= 0);
        assert_true(qu_args_float(&a, "max-time") >= 1 && qu_args_threads(&a) <= 1024);
        assert_true(a.argc >= 1 && a.argc <= 2);
        qu_args_free(&a);
    }
    assert_true(parsed > 100); /* the pieces do make valid lines */
}

/* ---- the manual ---- */

static const qu_command *const verbs_list[] = {&ask};
static const qu_commands all = {verbs_list, 1};

static void test_help_text(void **state)
{
    (void)state;
    qu_buf brief = {0}, full = {0};
    assert_int_equal(qu_manual_help(&brief, &ask, false, NULL), QU_OK);
    assert_int_equal(qu_manual_help(&full, &ask, true, NULL), QU_OK);
    assert_non_null(strstr(brief.data, "usage: quire ask [options] QUESTION|-\n"));
    assert_non_null(
        strstr(brief.data, "\n  -p, --pages N           candidate pages (default: 32)\n"));
    assert_non_null(strstr(brief.data, "\n      --max-time TIME     stop after (default: 10m)\n"));
    assert_non_null(strstr(brief.data, "--in GLOB"));
    assert_null(strstr(brief.data, "First paragraph."));
    assert_non_null(strstr(full.data, "\nFirst paragraph.\n\nSecond paragraph,"));
    assert_non_null(strstr(full.data, "examples:\n  quire ask \"what?\"\n"));
    for (const char *line = full.data; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
    /* Every option appears once in each. */
    for (int i = 0; i < n_all(&ask); i++) {
        char word[64];
        snprintf(word, sizeof word, "--%s", option_at(&ask, i)->name);
        assert_non_null(strstr(brief.data, word));
        assert_non_null(strstr(full.data, word));
    }
    qu_buf_free(&brief);
    qu_buf_free(&full);
}

static void test_man_page(void **state)
{
    (void)state;
    qu_buf man = {0};
    assert_int_equal(qu_manual_man(&man, all, NULL), QU_OK);
    assert_memory_equal(man.data, ".TH QUIRE 1 ", 12);
    assert_non_null(strstr(man.data, "\n.B \\-p, \\-\\-pages N\ncandidate pages (default: 32)\n"));
    assert_non_null(strstr(man.data, "Second paragraph, \\e with a dash \\- in it.\n\\&.starts"));
    assert_non_null(strstr(man.data, ".SH EXIT STATUS"));
    qu_buf_free(&man);
}

static void test_completions(void **state)
{
    (void)state;
    static const char *const shells[] = {"bash", "zsh", "fish"};
    qu_buf out = {0};
    for (int i = 0; i < 3; i++) {
        out.len = 0;
        assert_int_equal(qu_manual_completion(&out, shells[i], NULL), QU_OK);
        assert_non_null(strstr(out.data, "completion words"));
    }
    assert_int_equal(qu_manual_completion(&out, "csh", &err), QU_ERR_ARG);
    out.len = 0;
    assert_int_equal(qu_manual_words(&out, all, NULL, NULL, NULL), QU_OK);
    assert_memory_equal(out.data, "ask\t", 4);
    out.len = 0;
    assert_int_equal(qu_manual_words(&out, all, "ask", NULL, NULL), QU_OK);
    assert_memory_equal(out.data, "--pages\tcandidate pages\n", 24);
    assert_non_null(strstr(out.data, "\n--json\t"));
    out.len = 0;
    assert_int_equal(qu_manual_words(&out, all, "ask", "fidelity", NULL), QU_OK);
    assert_string_equal(out.data, "kv\nrepair\nexact\n");
    out.len = 0;
    assert_int_equal(qu_manual_words(&out, all, "ask", "pages", NULL), QU_OK);
    assert_int_equal(qu_manual_words(&out, all, "nonsense", NULL, NULL), QU_OK);
    assert_int_equal(out.len, 0);
    qu_buf_free(&out);
}

static void test_overview(void **state)
{
    (void)state;
    qu_buf out = {0};
    assert_int_equal(qu_manual_overview(&out, all, NULL), QU_OK);
    assert_non_null(strstr(out.data, "\n  ask         answer a question\n"));
    qu_buf_free(&out);
}

#define TEST(f) cmocka_unit_test_teardown(f, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_defaults),      TEST(test_every_form),
        TEST(test_positional),    TEST(test_last_wins),
        TEST(test_words_beside_numbers), TEST(test_strict_numbers),
        TEST(test_floats),        TEST(test_sizes_and_times),
        TEST(test_enum),          TEST(test_unknown_options),
        TEST(test_hostile_words), TEST(test_environment),
        TEST(test_environment_fault), TEST(test_help_ends_parsing),
        TEST(test_nearest),       TEST(test_random_words),
              TEST(test_help_text),
        TEST(test_man_page),      TEST(test_completions),
        TEST(test_overview),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
