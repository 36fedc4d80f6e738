/* quire eval: measure Quire on the user's own files; one pipelines/eval_KIND.c a kind. */
#include <stdio.h>
#include <string.h>

#include "pipelines/answer.h"
#include "pipelines/commands.h"
#include "pipelines/eval.h"
#include "pipelines/output.h"
#include "retrieve/rouge.h"

static const qu_eval_kind *const every[] = {
    &qu_eval_recall,   &qu_eval_needle,     &qu_eval_qa,
    &qu_eval_fidelity, &qu_eval_perplexity, &qu_eval_mass,
    &qu_eval_rouge,
};

enum { N_EVERY = sizeof every / sizeof *every };

/* The options of every kind; a kind names those it reads. */
static const qu_option options[] = {
    {.name = "cutoffs", .kind = QU_OPT_STR, .arg = "LIST", .dflt = "1,5,10", .min = 1,
     .help = "recall: the ranks to measure at"},
    {.name = "split", .kind = QU_OPT_ENUM, .arg = "PART", .dflt = "all", .choices = "all|dev|test",
     .help = "recall: questions to ask; dev and test are two halves drawn by --seed"},
    {.name = "weight", .kind = QU_OPT_FLOAT, .arg = "W", .min = 0, .max = 1000,
     .help = "recall: weight of vectors beside words (default: the store's)"},
    {.name = "tune", .kind = QU_OPT_FLAG,
     .help = "recall: choose that weight on the dev half, keep it in the store, report the test half"},
    {.name = "seed", .kind = QU_OPT_INT, .arg = "N", .dflt = "1", .min = 0, .max = 1e9,
     .help = "seed of everything that is drawn"},
    {.name = "n", .letter = 'n', .kind = QU_OPT_INT, .arg = "N", .dflt = "0", .min = 0, .max = 100000,
     .help = "fidelity, qa, mass, rouge: at most so many questions or lines; 0 = all"},
    {.name = "pages", .kind = QU_OPT_INT, .arg = "N", .dflt = "16", .min = 1, .max = 4096,
     .help = "fidelity, mass: candidate pages of a question"},
    {.name = "max-tokens", .kind = QU_OPT_INT, .arg = "N", .dflt = "32", .min = 1, .max = 65536,
     .help = "fidelity, qa: longest answer"},
    {.name = "repair", .kind = QU_OPT_FLOAT, .arg = "SHARE", .dflt = "0.15", .min = 0, .max = 1,
     .help = "share of the pages' tokens that repair computes again"},
    {.name = "fidelity", .kind = QU_OPT_ENUM, .arg = "MODE", .dflt = "kv",
     .choices = QU_FIDELITY_NAMES, .help = "needle, qa: how pages are read; see quire ask"},
    {.name = "documents", .kind = QU_OPT_INT, .arg = "N", .dflt = "10", .min = 1, .max = 100,
     .help = "qa: documents of a prompt"},
    {.name = "gold-at", .kind = QU_OPT_STR, .arg = "LIST", .dflt = "1,5,10", .min = 1,
     .help = "qa: places of the document that holds the answer"},
    {.name = "score-only", .kind = QU_OPT_STR, .arg = "FILE", .min = 1,
     .help = "qa: score the answers of FILE, lines like those of quire ask --json, run no model"},
    {.name = "policy", .kind = QU_OPT_STR, .arg = "NAME", .dflt = QU_POLICY_DEFAULT, .min = 1,
     .help = "needle, perplexity: which pages each KV head reads; see quire ask"},
    {.name = "budget", .kind = QU_OPT_INT, .arg = "N", .dflt = "512", .min = 1, .max = 1e9,
     .help = "perplexity: tokens of candidates that each KV head reads"},
    {.name = "no-far-field", .kind = QU_OPT_FLAG,
     .help = "needle, perplexity: nothing stands in for the pages that are not read"},
    {.name = "lengths", .kind = QU_OPT_STR, .arg = "LIST", .dflt = "512,1024,2048", .min = 1,
     .help = "needle: tokens of the texts"},
    {.name = "depths", .kind = QU_OPT_INT, .arg = "N", .dflt = "15", .min = 1, .max = 100,
     .help = "needle: places for the needle, evenly from first to last"},
    {.name = "keys", .kind = QU_OPT_INT, .arg = "N", .dflt = "1", .min = 1, .max = 16,
     .help = "needle: needles in a text, of which one is asked for"},
    {.name = "prune", .kind = QU_OPT_STR, .arg = "LIST", .dflt = "0,70,80,90", .min = 1,
     .help = "needle, mass: percent of the candidates' tokens to leave out"},
    {.name = "trials", .kind = QU_OPT_INT, .arg = "N", .dflt = "1", .min = 1, .max = 1000,
     .help = "needle: texts with other words for each cell"},
    {.name = "out", .kind = QU_OPT_STR, .arg = "PREFIX", .min = 1,
     .help = "needle: write the grid to PREFIX.tsv and PREFIX.png"},
    {.name = "flavour", .kind = QU_OPT_ENUM, .arg = "NAME", .dflt = "rouge-score",
     .choices = QU_ROUGE_NAMES, .help = "rouge: whose numbers, by the program's name"},
    {.name = "words", .kind = QU_OPT_INT, .arg = "N", .dflt = "0", .min = 0, .max = 100000,
     .help = "rouge: words of an extract; 0 = as many as the reference has"},
    {.name = "each", .kind = QU_OPT_FLAG, .help = "rouge: print every line's scores, too"},
};

enum { N_OPTIONS = sizeof options / sizeof *options };

static const qu_eval_kind *find_kind(const char *name, qu_err *err)
{
    const char *names[N_EVERY];
    int n = 0;
    for (int i = 0; i < N_EVERY; i++) {
        if (!every[i]) continue;
        if (strcmp(every[i]->name, name) == 0) return every[i];
        names[n++] = every[i]->name;
    }
    const char *near = qu_options_nearest(name, names, n);
    qu_fail(err, QU_ERR_ARG, "unknown kind '%.60s'%s%s%s; see quire eval --help", name,
            near ? ", did you mean '" : "", near ? near : "", near ? "'" : "");
    return NULL;
}

/* Is word one of the blank-parted words of list? */
static bool holds(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; p && (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == 0 || p[n] == ' ')) return true;
    return false;
}

static qu_status check(const qu_eval_kind *k, const qu_args *args, qu_err *err)
{
    int n = args->argc - 1;
    if (n < k->min_args || (k->max_args >= 0 && n > k->max_args))
        return qu_fail(err, QU_ERR_ARG, "eval %s takes %s; see quire eval --help", k->name,
                       k->args ? k->args : "no arguments");
    for (int i = 0; i < N_OPTIONS; i++)
        if (qu_args_given(args, options[i].name) && !holds(k->options, options[i].name))
            return qu_fail(err, QU_ERR_ARG, "option '--%s' is not one of eval %s; see quire eval "
                           "--help", options[i].name, k->name);
    return QU_OK;
}

static int run(const qu_args *args)
{
    qu_err err = {0};
    const qu_eval_kind *k = find_kind(args->argv[0], &err);
    if (!k || check(k, args, &err) != QU_OK) return qu_out_error(&err, NULL);
    return k->run(args);
}

const qu_command qu_cmd_eval = {
    .name = "eval",
    .args = "KIND [ARGUMENT...]",
    .summary = "measure the quality of retrieval and answers on files of your own",
    .description =
        "recall FILE|-    share of the right files among the first hits. Each line of FILE is "
        "{\"question\":TEXT,\"gold\":PATH}: a path, its end, a document's number, or a list of "
        "them. Distinct files are counted; of several right ones the share that is found.\n\n"
        "fidelity FILE|-  the store's pages as they are (kv), mended (repair), each page prefilled "
        "alone (isolated) against one fresh prompt (exact). Lines {\"question\":TEXT,"
        "\"answers\":[TEXT...]}.\n\n"
        "qa FILE|-        exact match and F1 by the place of the right document among --documents. "
        "Lines {\"question\",\"answers\",\"ctxs\":[{\"title\",\"text\",\"isgold\"}...]}; the others are "
        "drawn from all lines and lack the answer.\n\n"
        "needle           words hidden in filler text at every depth and length, asked for with "
        "most of the text left out by a policy; the written-down model of bench/mkmodel finds "
        "all.\n\n"
        "perplexity FILE...  of the later pages of plain texts, the earlier ones read whole, through a "
        "policy, or but for the last not at all; and LongPPL, over the tokens that need the long "
        "context.\n\n"
        "rouge FILE|-     ROUGE-1, -2 and -L of summaries. Lines {\"summary\",\"reference\"}; or "
        "{\"input\",\"outputs\":[TEXT...]}: each method of quire summarize --extractive, beside lead and "
        "lexrank.\n\n"
        "Each result names the settings and seeds it was made with.",
    .examples = "quire eval recall questions.jsonl\n"
                "quire eval recall --tune questions.jsonl  # after quire index --embed-model\n"
                "quire eval recall --json --split test --seed 7 - <questions.jsonl",
    .options = options,
    .n_options = N_OPTIONS,
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
