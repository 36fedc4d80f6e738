/* The program's entry: find the verb, parse its options, run it, end with the right code. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "kernels/codec.h"
#include "ingest/child.h"
#include "pipelines/commands.h"
#include "pipelines/manual.h"
#include "pipelines/options.h"
#include "pipelines/output.h"
#include "pipelines/session.h"

static int run_help(const qu_args *args);
static int run_completion(const qu_args *args);

static const qu_option help_options[] = {
    QU_FLAG("man", "print the whole manual as a man page (roff)"),
};

static const qu_command cmd_help = {
    .name = "help",
    .args = "[COMMAND]",
    .summary = "explain a command",
    .examples = "quire help ask\nquire help --man | man -l -",
    .options = help_options,
    .n_options = 1,
    .max_args = 1,
    .run = run_help,
};

static const qu_command cmd_completion = {
    .name = "completion",
    .args = "bash|zsh|fish | words [VERB [OPTION]]",
    .choices = "bash|zsh|fish",
    .summary = "print a completion script for a shell",
    .examples =
        ". <(quire completion bash)\nquire completion fish >~/.config/fish/completions/quire.fish",
    .min_args = 1,
    .max_args = 3,
    .run = run_completion,
};

/* In the order in which help shows them. */
static const qu_command *const every[] = {
    &qu_cmd_index,    &qu_cmd_ask,      &qu_cmd_search, &qu_cmd_summarize,
    &qu_cmd_status,   &qu_cmd_inspect,  &qu_cmd_rm,     &qu_cmd_gc,
    &qu_cmd_check,    &qu_cmd_verify,   &qu_cmd_bench,  &qu_cmd_eval,
    &qu_cmd_models,   &qu_cmd_complete, &qu_cmd_tokenize, &cmd_help,
    &cmd_completion,
};

static const qu_commands all = {every, sizeof every / sizeof *every};

static const qu_command *find_command(const char *name, qu_err *err)
{
    const char *names[sizeof every / sizeof *every];
    for (int i = 0; i < all.n; i++) {
        names[i] = all.list[i]->name;
        if (strcmp(names[i], name) == 0) return all.list[i];
    }
    const char *near = qu_options_nearest(name, names, all.n);
    if (near) qu_fail(err, QU_ERR_ARG, "unknown command '%.60s', did you mean '%s'", name, near);
    else qu_fail(err, QU_ERR_ARG, "unknown command '%.60s'", name);
    return NULL;
}

/* Usage errors: one line that ends in where to look. */
static int usage_error(const qu_err *err, const char *where)
{
    qu_err full = {.status = err->status};
    if (err->status == QU_ERR_ARG)
        snprintf(full.msg, sizeof full.msg, "%.180s; see quire %s", err->msg, where);
    else
        snprintf(full.msg, sizeof full.msg, "%s", err->msg);
    return qu_out_error(&full, NULL);
}

/* Print text and free it. */
static int print(qu_status st, qu_buf *text, qu_err *err)
{
    if (st == QU_OK) st = qu_out_write(text->data, text->len, err);
    qu_buf_free(text);
    return st == QU_OK ? QU_EXIT_OK : qu_out_error(err, NULL);
}

static int run_help(const qu_args *args)
{
    qu_err err = {0};
    qu_buf text = {0};
    if (qu_args_flag(args, "man"))
        return print(qu_manual_man(&text, all, &err), &text, &err);
    if (args->argc == 0) return print(qu_manual_overview(&text, all, &err), &text, &err);
    const qu_command *c = find_command(args->argv[0], &err);
    if (!c) return usage_error(&err, "help");
    return print(qu_manual_help(&text, c, true, &err), &text, &err);
}

static int run_completion(const qu_args *args)
{
    qu_err err = {0};
    qu_buf text = {0};
    bool words = strcmp(args->argv[0], "words") == 0;
    qu_status st = words ? qu_manual_words(&text, all, args->argc > 1 ? args->argv[1] : NULL,
                                           args->argc > 2 ? args->argv[2] : NULL, &err)
                         : qu_manual_completion(&text, args->argv[0], &err);
    if (st == QU_ERR_ARG) return usage_error(&err, "completion --help");
    return print(st, &text, &err);
}

/* Does an option stand there? --json counts in a line that cannot be parsed, too: its reader wants
 * the error as an object. */
static bool has(const char *option, int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], option) == 0) return true;
    return false;
}

static int act(const qu_command *c, const qu_args *args)
{
    qu_err err = {0};
    qu_session s = {.args = args};
    int code = QU_EXIT_OK;
    qu_status st = c->session ? qu_session_open(&s, args, c->session, QU_CODEC_F16, &err) : QU_OK;
    if (st == QU_OK) st = c->act(&s, &code, &err);
    qu_out_progress_end();
    qu_session_close(&s);
    return st == QU_OK ? code : qu_out_error(&err, NULL);
}

static int run_command(const qu_command *c, int argc, char **argv)
{
    qu_err err = {0};
    qu_args args;
    qu_buf text = {0};
    char where[40];
    qu_out_mode(has("--json", argc, argv), false);
    snprintf(where, sizeof where, "%s --help", c->name);
    if (qu_args_parse(&args, c, argc, argv, &err) != QU_OK) return usage_error(&err, where);
    qu_out_mode(qu_args_flag(&args, "json"), qu_args_flag(&args, "quiet"));
    int code = qu_args_flag(&args, "help")
                   ? print(qu_manual_help(&text, c, has("--help", argc, argv), &err), &text, &err)
               : c->act ? act(c, &args)
                        : c->run(&args);
    qu_args_free(&args);
    return code;
}

int main(int argc, char **argv)
{
    qu_err err = {0};
    qu_buf text = {0};
    if (qu_child_asked(argc, argv)) return qu_child_main(argv[2]);
    qu_out_init();
    if (argc < 2) {
        qu_fail(&err, QU_ERR_ARG, "no command given; see quire help");
        return qu_out_finish(qu_out_error(&err, NULL));
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        qu_out_printf(&err, "quire " QU_VERSION "\n");
        return qu_out_finish(QU_EXIT_OK);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return qu_out_finish(print(qu_manual_overview(&text, all, &err), &text, &err));
    const qu_command *c = find_command(argv[1], &err);
    if (!c) {
        qu_out_mode(has("--json", argc - 1, argv + 1), false);
        return qu_out_finish(usage_error(&err, "help"));
    }
    return qu_out_finish(run_command(c, argc - 2, argv + 2));
}
