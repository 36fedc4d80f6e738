#include "pipelines/manual.h"

#include <stdio.h>
#include <string.h>

enum { WIDTH = 80, OPTION_COLUMN = 26, VERB_COLUMN = 12 };

/* The page's fixed parts; exit codes are pinned (pipelines/output.h). */
static const char about[] =
    "Quire runs a language model over documents once, keeps the model's own memory of them (the KV "
    "cache, cut into pages) on disk, and answers questions by loading only the pages that matter.";

static const char *const exit_codes[][2] = {
    {"0", "done"},
    {"1", "nothing found; check: damage that can be repaired; verify: failed"},
    {"2", "wrong usage, or what was named does not exist"},
    {"3", "some files failed, or the run was cut short; the rest is committed"},
    {"4", "the machine: disk, memory, device"},
    {"5", "store or model damaged, foreign, mismatched or unsupported"},
    {"6", "the store is locked by another process"},
};

static const char *const variables[][2] = {
    {"QUIRE_STORE", "the store to use where --store is not given"},
    {"QUIRE_MODEL", "the model to use where neither --model nor the store names one"},
};

#define N(a) ((int)(sizeof(a) / sizeof *(a)))

/* Append text wrapped to WIDTH; the first line starts at column at, the others at indent. */
static qu_status wrap(qu_buf *out, const char *text, int at, int indent, qu_err *err)
{
    int column = at;
    for (const char *p = text; *p;) {
        const char *end = p + strcspn(p, " \n");
        int n = (int)(end - p);
        if (column > indent && column + 1 + n > WIDTH) {
            QU_TRY(qu_buf_printf(out, err, "\n%*s", indent, ""));
            column = indent;
        } else if (p != text && p[-1] == ' ') {
            QU_TRY(qu_buf_puts(out, " ", err));
            column++;
        }
        QU_TRY(qu_buf_add(out, p, (size_t)n, err));
        column += n;
        if (*end == '\n') {
            QU_TRY(qu_buf_printf(out, err, "\n%*s", indent, ""));
            column = indent;
        }
        p = *end ? end + 1 : end;
    }
    return qu_buf_puts(out, "\n", err);
}

/* "-t, --threads N" */
static qu_status option_head(qu_buf *out, const qu_option *o, qu_err *err)
{
    if (o->letter) QU_TRY(qu_buf_printf(out, err, "-%c, ", o->letter));
    QU_TRY(qu_buf_printf(out, err, "--%s", o->name));
    if (o->kind == QU_OPT_FLAG) return QU_OK;
    return qu_buf_printf(out, err, " %s", o->arg ? o->arg : o->choices ? o->choices : "VALUE");
}

/* Help sentence, default and variable: "candidate pages (default: 32)". */
static qu_status option_text(qu_buf *out, const qu_option *o, qu_err *err)
{
    QU_TRY(qu_buf_puts(out, o->help, err));
    if (o->lines) QU_TRY(qu_buf_puts(out, "; may be given more than once", err));
    if (o->env) QU_TRY(qu_buf_printf(out, err, " (default: $%s, else %s)", o->env, o->dflt));
    else if (o->dflt) QU_TRY(qu_buf_printf(out, err, " (default: %s)", o->dflt));
    return QU_OK;
}

static qu_status option_lines(qu_buf *out, const qu_option *options, int n, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf head = {0}, text = {0};
    for (int i = 0; i < n; i++) {
        head.len = text.len = 0;
        QU_TRY(option_head(&head, &options[i], err));
        QU_TRY(option_text(&text, &options[i], err));
        const char *indent = options[i].letter ? "  " : "      ";
        int at = (int)(strlen(indent) + head.len);
        QU_TRY(qu_buf_printf(out, err, "%s%s", indent, head.data));
        if (at + 2 > OPTION_COLUMN) {
            QU_TRY(qu_buf_puts(out, "\n", err));
            at = 0;
        }
        QU_TRY(qu_buf_printf(out, err, "%*s", OPTION_COLUMN - at, ""));
        QU_TRY(wrap(out, text.data, OPTION_COLUMN, OPTION_COLUMN, err));
    }
    return QU_OK;
}

qu_status qu_manual_overview(qu_buf *out, qu_commands commands, qu_err *err)
{
    QU_TRY(wrap(out, about, 0, 0, err));
    QU_TRY(qu_buf_puts(out, "\nusage: quire COMMAND [options] [arguments]\n\ncommands:\n", err));
    for (int i = 0; i < commands.n; i++) {
        const qu_command *c = commands.list[i];
        QU_TRY(qu_buf_printf(out, err, "  %-*s", VERB_COLUMN, c->name));
        QU_TRY(wrap(out, c->summary, VERB_COLUMN + 2, VERB_COLUMN + 2, err));
    }
    return qu_buf_puts(
        out, "\n`quire COMMAND --help` explains a command, `quire COMMAND -h` lists its options.\n",
        err);
}

static qu_status help_paragraph(qu_buf *out, const char *text, qu_err *err)
{
    QU_TRY(qu_buf_puts(out, "\n", err));
    return wrap(out, text, 0, 0, err);
}

/* Each paragraph of text by itself; an empty line parts them. */
static qu_status paragraphs(qu_buf *out, const char *text,
                            qu_status (*put)(qu_buf *, const char *, qu_err *), qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf one = {0};
    while (text && *text) {
        const char *end = strstr(text, "\n\n");
        one.len = 0;
        QU_TRY(qu_buf_add(&one, text, end ? (size_t)(end - text) : strlen(text), err));
        QU_TRY(put(out, one.data, err));
        text = end ? end + 2 : NULL;
    }
    return QU_OK;
}

/* Every line of text behind a prefix. */
static qu_status lines(qu_buf *out, const char *text, const char *prefix, qu_err *err)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        QU_TRY(qu_buf_printf(out, err, "%s%.*s\n", prefix, (int)n, text));
        text += n + (text[n] == '\n');
    }
    return QU_OK;
}

qu_status qu_manual_help(qu_buf *out, const qu_command *c, bool full, qu_err *err)
{
    QU_TRY(qu_buf_printf(out, err, "quire %s - ", c->name));
    QU_TRY(wrap(out, c->summary, (int)strlen(c->name) + 9, 0, err));
    QU_TRY(qu_buf_printf(out, err, "\nusage: quire %s [options]%s%s\n", c->name, c->args ? " " : "",
                         c->args ? c->args : ""));
    if (full) QU_TRY(paragraphs(out, c->description, help_paragraph, err));
    if (c->n_options) QU_TRY(qu_buf_puts(out, "\noptions:\n", err));
    QU_TRY(option_lines(out, c->options, c->n_options, err));
    QU_TRY(qu_buf_puts(out, "\ncommon options:\n", err));
    QU_TRY(option_lines(out, qu_common_options, qu_n_common_options, err));
    if (!full || !c->examples) return QU_OK;
    QU_TRY(qu_buf_puts(out, "\nexamples:\n", err));
    return lines(out, c->examples, "  ", err);
}

/* Requests, text for roff (backslashes, dashes and line starts that it would read as requests are
 * made harmless), requests. */
static qu_status roff(qu_buf *out, const char *before, const char *text, const char *after,
                      qu_err *err)
{
    bool start = true;
    QU_TRY(qu_buf_puts(out, before, err));
    for (; *text; text++) {
        if (start && (*text == '.' || *text == '\'')) QU_TRY(qu_buf_puts(out, "\\&", err));
        if (*text == '\\') QU_TRY(qu_buf_puts(out, "\\e", err));
        else if (*text == '-') QU_TRY(qu_buf_puts(out, "\\-", err));
        else QU_TRY(qu_buf_add(out, text, 1, err));
        start = *text == '\n';
    }
    return qu_buf_puts(out, after, err);
}

static qu_status roff_options(qu_buf *out, const qu_option *options, int n, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf part = {0};
    for (int i = 0; i < n; i++) {
        part.len = 0;
        QU_TRY(option_head(&part, &options[i], err));
        QU_TRY(roff(out, ".TP\n.B ", part.data, "\n", err));
        part.len = 0;
        QU_TRY(option_text(&part, &options[i], err));
        QU_TRY(roff(out, "", part.data, "\n", err));
    }
    return QU_OK;
}

static qu_status roff_paragraph(qu_buf *out, const char *text, qu_err *err)
{
    return roff(out, ".PP\n", text, "\n", err);
}

static qu_status roff_command(qu_buf *out, const qu_command *c, qu_err *err)
{
    QU_TRY(qu_buf_printf(out, err, ".SS \"quire %s [options]%s%s\"\n", c->name, c->args ? " " : "",
                         c->args ? c->args : ""));
    QU_TRY(roff(out, "", c->summary, ".\n", err));
    QU_TRY(paragraphs(out, c->description, roff_paragraph, err));
    QU_TRY(roff_options(out, c->options, c->n_options, err));
    if (!c->examples) return QU_OK;
    return roff(out, ".PP\nExamples:\n.PP\n.nf\n", c->examples, "\n.fi\n", err);
}

static qu_status roff_table(qu_buf *out, const char *const (*rows)[2], int n, qu_err *err)
{
    for (int i = 0; i < n; i++) {
        QU_TRY(roff(out, ".TP\n.B ", rows[i][0], "\n", err));
        QU_TRY(roff(out, "", rows[i][1], "\n", err));
    }
    return QU_OK;
}

qu_status qu_manual_man(qu_buf *out, qu_commands commands, qu_err *err)
{
    QU_TRY(roff(out,
                ".TH QUIRE 1 \"\" \"quire " QU_VERSION "\" \"User Commands\"\n.SH NAME\n"
                "quire \\- ask questions of documents that are read once\n"
                ".SH SYNOPSIS\n.B quire\n.I COMMAND\n[options] [arguments]\n.SH DESCRIPTION\n",
                about, "\n.SH COMMANDS\n", err));
    for (int i = 0; i < commands.n; i++) QU_TRY(roff_command(out, commands.list[i], err));
    QU_TRY(qu_buf_puts(out, ".SH COMMON OPTIONS\n", err));
    QU_TRY(roff_options(out, qu_common_options, qu_n_common_options, err));
    QU_TRY(qu_buf_puts(out, ".SH EXIT STATUS\n", err));
    QU_TRY(roff_table(out, exit_codes, N(exit_codes), err));
    QU_TRY(qu_buf_puts(out, ".SH ENVIRONMENT\n", err));
    return roff_table(out, variables, N(variables), err);
}

/* --- completion: scripts that ask `quire completion words` --- */

static const char *const scripts[][2] = {
    {"bash", "_quire() {\n"
             "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words\n"
             "    if [ \"$cur\" = = ]; then cur=; elif [ \"$prev\" = = ]; then "
             "prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
             "    local ask=(\"${COMP_WORDS[0]}\" completion words)\n"
             "    case $COMP_CWORD,$cur in\n"
             "    1,*) ;;\n"
             "    *,-*) ask+=(\"${COMP_WORDS[1]}\") ;;\n"
             "    *) ask+=(\"${COMP_WORDS[1]}\" \"${prev#--}\") ;;\n"
             "    esac\n"
             "    words=$(\"${ask[@]}\" 2>/dev/null | cut -f 1)\n"
             "    COMPREPLY=()\n"
             "    [ -n \"$words\" ] && COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
             "}\n"
             "complete -o default -F _quire quire\n"},
    {"zsh", "#compdef quire\n"
            "_quire() {\n"
            "    local -a ask lines\n"
            "    ask=($words[1] completion words)\n"
            "    if (( CURRENT > 2 )); then ask+=($words[2]); fi\n"
            "    if (( CURRENT > 2 )) && [[ $words[CURRENT] != -* ]]; then "
            "ask+=(${words[CURRENT-1]#--}); fi\n"
            "    lines=(${(f)\"$($ask 2>/dev/null)\"})\n"
            "    lines=(${${lines//:/\\\\:}/$'\\t'/:})\n"
            "    if (( $#lines )); then _describe quire lines; else _files; fi\n"
            "}\n"
            "if [ \"$funcstack[1]\" = _quire ]; then _quire; else compdef _quire quire; fi\n"},
    {"fish",
     "function __quire_words\n"
     "    set -l t (commandline -opc)\n"
     "    set -l now (commandline -ct)\n"
     "    switch \"$now\"\n"
     "        case '-*'\n"
     "            $t[1] completion words $t[2] 2>/dev/null\n"
     "        case '*'\n"
     "            $t[1] completion words $t[2] (string replace -r '^--' '' -- $t[-1]) 2>/dev/null\n"
     "    end\n"
     "end\n"
     "complete -c quire -n __fish_use_subcommand -x -a '(quire completion words)'\n"
     "complete -c quire -n 'not __fish_use_subcommand' -a '(__quire_words)'\n"},
};

qu_status qu_manual_completion(qu_buf *out, const char *shell, qu_err *err)
{
    for (int i = 0; i < N(scripts); i++)
        if (strcmp(shell, scripts[i][0]) == 0) return qu_buf_puts(out, scripts[i][1], err);
    return qu_fail(err, QU_ERR_ARG, "no completion for shell '%.60s': give bash, zsh or fish",
                   shell);
}

/* "a|b", a line each. */
static qu_status choice_words(qu_buf *out, const char *word, qu_err *err)
{
    for (size_t n; word && (n = strcspn(word, "|")) > 0; word += n + (word[n] == '|'))
        QU_TRY(qu_buf_printf(out, err, "%.*s\n", (int)n, word));
    return QU_OK;
}

/* An option's choices, a line each, if it is the one asked for; else, if none is, its name and
 * help. */
static qu_status option_words(qu_buf *out, const qu_option *o, const char *asked, qu_err *err)
{
    if (!asked) return qu_buf_printf(out, err, "--%s\t%s\n", o->name, o->help);
    bool hit = o->kind == QU_OPT_ENUM && strcmp(asked, o->name) == 0;
    return hit ? choice_words(out, o->choices, err) : QU_OK;
}

qu_status qu_manual_words(qu_buf *out, qu_commands commands, const char *verb, const char *option,
                          qu_err *err)
{
    for (int i = 0; i < commands.n; i++) {
        const qu_command *c = commands.list[i];
        bool helps = verb && option && strcmp(verb, "help") == 0 && strcmp(option, verb) == 0;
        if (!verb || helps) QU_TRY(qu_buf_printf(out, err, "%s\t%s\n", c->name, c->summary));
        if (!verb || strcmp(verb, c->name) != 0) continue;
        if (option && strcmp(option, verb) == 0) QU_TRY(choice_words(out, c->choices, err));
        for (int k = 0; k < c->n_options; k++)
            QU_TRY(option_words(out, &c->options[k], option, err));
        for (int k = 0; k < qu_n_common_options; k++)
            QU_TRY(option_words(out, &qu_common_options[k], option, err));
    }
    return QU_OK;
}
