/* quire eval: measure Quire on the user's own files; one pipelines/eval_KIND.c a kind. */
#include <stdio.h>
#include <string.h>

#include "kernels/codec.h"
#include "pipelines/answer.h"
#include "pipelines/commands.h"
#include "pipelines/eval.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "retrieve/rouge.h"

typedef struct qu_eval_kind {
    const char *name;       /* "recall" */
    const char *args;       /* what follows the kind: "FILE|-"; NULL for nothing */
    const char *options;    /* names in the table below that it reads, parted by blanks */
    int min_args, max_args; /* that follow the kind; max_args -1: any number */
    qu_status (*run)(qu_eval *e, qu_err *err);
} qu_eval_kind;

static const qu_eval_kind every[] = {
    {"recall", "FILE|-", "cutoffs split seed weight tune", 1, 1, qu_eval_recall},
    {"needle", NULL,
     "lengths depths keys prune policy no-far-field fidelity repair trials seed out", 0, 0,
     qu_eval_needle},
    {"qa", "FILE|-",
     "documents gold-at fidelity repair max-tokens n seed score-only", 1, 1, qu_eval_qa},
    {"fidelity", "FILE|-", "n pages max-tokens repair seed", 1, 1, qu_eval_fidelity},
    {"perplexity", "FILE...", "policy budget no-far-field", 1, -1, qu_eval_perplexity},
    {"mass", "FILE|-", "n pages prune", 1, 1, qu_eval_mass},
    {"rouge", "FILE|-", "flavour words n seed", 1, 1, qu_eval_rouge},
};

enum { N_EVERY = sizeof every / sizeof *every };

/* The options of every kind; a kind names those it reads. */
static const qu_option options[] = {
    QU_STR("cutoffs", "LIST", "1,5,10", "recall: the ranks to measure at"),
    QU_ENUM("split", "PART", "all", "all|dev|test",
            "recall: questions to ask; dev and test are two halves drawn by --seed"),
    QU_FLOAT("weight", "W", NULL, 0, 1000,
             "recall: weight of vectors beside words (default: the store's)"),
    QU_FLAG("tune", "recall: choose that weight on the dev half, keep it in the store, report the "
                    "test half"),
    QU_INT("seed", "N", "1", 0, 1e9, "seed of everything that is drawn"),
    QU_INT("n", "N", "0", 0, 100000,
           "fidelity, qa, mass, rouge: at most so many questions or lines; 0 = all", .letter = 'n'),
    QU_INT("pages", "N", "16", 1, 4096, "fidelity, mass: candidate pages of a question"),
    QU_INT("max-tokens", "N", "32", 1, 65536, "fidelity, qa: longest answer"),
    QU_FLOAT("repair", "SHARE", "0.15", 0, 1,
             "share of the pages' tokens that repair computes again"),
    QU_ENUM("fidelity", "MODE", "kv", QU_FIDELITY_NAMES,
            "needle, qa: how pages are read; see quire ask"),
    QU_INT("documents", "N", "10", 1, 100, "qa: documents of a prompt"),
    QU_STR("gold-at", "LIST", "1,5,10", "qa: places of the document that holds the answer"),
    QU_STR("score-only", "FILE", NULL,
           "qa: score the answers of FILE, lines like those of quire ask --json, run no model"),
    QU_STR("policy", "NAME", QU_POLICY_DEFAULT,
           "needle, perplexity: which pages each KV head reads; see quire ask"),
    QU_INT("budget", "N", "512", 1, 1e9,
           "perplexity: tokens of candidates that each KV head reads"),
    QU_FLAG("no-far-field",
            "needle, perplexity: nothing stands in for the pages that are not read"),
    QU_STR("lengths", "LIST", "512,1024,2048", "needle: tokens of the texts"),
    QU_INT("depths", "N", "15", 1, 100, "needle: places for the needle, evenly from first to last"),
    QU_INT("keys", "N", "1", 1, 16, "needle: needles in a text, of which one is asked for"),
    QU_STR("prune", "LIST", "0,70,80,90",
           "needle, mass: percent of the candidates' tokens to leave out"),
    QU_INT("trials", "N", "1", 1, 1000, "needle: texts with other words for each cell"),
    QU_STR("out", "PREFIX", NULL, "needle: write the grid to PREFIX.tsv and PREFIX.png"),
    QU_ENUM("flavour", "NAME", "rouge-score", QU_ROUGE_NAMES,
            "rouge: whose numbers, by the program's name"),
    QU_INT("words", "N", "0", 0, 100000,
           "rouge: words of an extract; 0 = as many as the reference has"),
};

enum { N_OPTIONS = sizeof options / sizeof *options };

static const qu_eval_kind *find_kind(const char *name, qu_err *err)
{
    const char *names[N_EVERY];
    for (int i = 0; i < N_EVERY; i++) {
        names[i] = every[i].name;
        if (strcmp(names[i], name) == 0) return &every[i];
    }
    const char *near = qu_options_nearest(name, names, N_EVERY);
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

static json_t *option_json(const qu_args *args, const qu_option *o)
{
    if (o->kind == QU_OPT_FLAG) return json_boolean(qu_args_flag(args, o->name));
    if (o->kind == QU_OPT_INT) return json_integer(qu_args_int(args, o->name));
    if (o->kind == QU_OPT_FLOAT) return json_real(qu_args_float(args, o->name));
    return json_string(qu_args_str(args, o->name));
}

static json_t *settings_of(const qu_eval_kind *k, const qu_args *args)
{
    json_t *o = json_object();
    for (int i = 0; i < N_OPTIONS; i++) {
        char name[32];
        bool absent = options[i].kind != QU_OPT_FLAG && !options[i].dflt &&
                      !qu_args_given(args, options[i].name);
        if (absent || !holds(k->options, options[i].name)) continue;
        snprintf(name, sizeof name, "%s", options[i].name);
        for (char *p = strchr(name, '-'); p; p = strchr(p, '-')) *p = '_';
        json_object_set_new(o, name, option_json(args, &options[i]));
    }
    return o;
}

qu_status qu_eval_open(qu_eval *e, unsigned flags, qu_err *err)
{
    qu_session *s = e->s;
    QU_TRY(qu_session_open(s, e->args, flags, QU_CODEC_F16, err));
    if (!s->model) return QU_OK;
    json_object_set_new(e->settings, "model", json_string(s->model->name));
    json_object_set_new(e->settings, "codec", json_string(qu_codec_name(s->codec)));
    json_object_set_new(e->settings, "numerics", json_string(s->numerics));
    return QU_OK;
}

qu_status qu_eval_print(qu_eval *e, json_t *result, qu_err *err)
{
    json_t *o = json_pack("{s:s}", "eval", e->args->argv[0]);
    json_object_update(o, result);
    json_object_set(o, "settings", e->settings);
    json_decref(result);
    return qu_out_result(o, err);
}

qu_status qu_eval_lines(const qu_eval *e, size_t max, bool with_answers, json_t **list, qu_err *err)
{
    const json_t *line;
    size_t i;
    QU_TRY(qu_input_objects(list, e->args->argv[1], max, err));
    json_array_foreach(*list, i, line)
        if (with_answers && (!json_is_array(json_object_get(line, "answers")) ||
                             (!*qu_input_text(line, "question") && !json_object_get(line, "id"))))
            return qu_fail(err, QU_ERR_ARG, "question %zu without 'question' and 'answers'", i + 1);
    return QU_OK;
}

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    const qu_args *args = s->args;
    qu_eval e = {.args = args, .s = s};
    (void)code;
    const qu_eval_kind *k = find_kind(args->argv[0], err);
    if (!k) return QU_ERR_ARG;
    QU_TRY(check(k, args, err));
    e.settings = settings_of(k, args);
    qu_status st = k->run(&e, err);
    json_decref(e.settings);
    return st;
}

const qu_command qu_cmd_eval = {
    .name = "eval",
    .args = "KIND [ARGUMENT...]",
    .choices = "recall|needle|qa|fidelity|perplexity|mass|rouge",
    .summary = "measure the quality of retrieval and answers on files of your own",
    .description =
        "recall FILE|-    share of the right files among the first hits. Each line of FILE is "
        "{\"question\":TEXT,\"gold\":PATH}: a path, its end, a document's number, or a list of "
        "them. Distinct files are counted; of several right ones the share that is found.\n\n"
        "fidelity FILE|-  the store's pages as they are (kv), mended (repair), each page "
        "prefilled alone (isolated) against one fresh prompt (exact). Lines "
        "{\"question\":TEXT,\"answers\":[TEXT...]}.\n\n"
        "qa FILE|-        exact match and F1 by the place of the right document among "
        "--documents. Lines "
        "{\"question\",\"answers\",\"ctxs\":[{\"title\",\"text\",\"isgold\"}...]}; the others are "
        "drawn from all lines and lack the answer.\n\n"
        "needle           words hidden in filler text at every depth and length, asked for with "
        "most of the text left out by a policy; the written-down model of bench/mkmodel finds "
        "all.\n\n"
        "perplexity FILE...  of the later pages of plain texts, the earlier ones read whole, "
        "through a policy, or but for the last not at all; and LongPPL, over the tokens that need "
        "the long context.\n\n"
        "rouge FILE|-     ROUGE-1, -2 and -L of summaries. Lines {\"summary\",\"reference\"}; or "
        "{\"input\",\"outputs\":[TEXT...]}: each method of quire summarize --extractive, beside "
        "lead and lexrank.\n\n"
        "Each result names the settings and seeds it was made with.",
    .examples = "quire eval recall questions.jsonl\n"
                "quire eval recall --tune questions.jsonl  # after quire index --embed-model\n"
                "quire eval recall --json --split test --seed 7 - <questions.jsonl",
    QU_OPTIONS(options),
    .min_args = 1,
    .max_args = -1,
    .act = act,
};
