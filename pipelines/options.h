/* Commands and options as data: one table feeds the parser, -h, --help, the man page and the shell
 * completions (pipelines/manual.h), so that none of them can disagree with another.
 *
 *     static const qu_option options[] = {
 *         QU_INT("pages", "N", "32", 1, 4096, "candidate pages a question may use"),
 *         QU_INT("budget", "N|all", "2048", 1, 1e9, "tokens a KV head may read", .choices = "all"),
 *     };
 *     const qu_command qu_cmd_ask = {.name = "ask", .args = "QUESTION|-", .min_args = 1,
 *         .max_args = 1, .summary = "answer a question", QU_OPTIONS(options), .run = run_ask};
 *
 *     static int run_ask(const qu_args *a) {
 *         int64_t pages = qu_args_int(a, "pages");         // 32 unless given
 *         int64_t budget = qu_args_int(a, "budget");       // -1 for "all"
 *         const char *question = a->argv[0];
 *
 * Syntax: --name VALUE, --name=VALUE, -nVALUE, -n VALUE, flags bundled as in -qt4; options and
 * positional arguments in any order; `--` ends the options; a lone `-` is positional. The last of a
 * repeated option wins, unless it collects (lines). Numbers are read strictly: no blanks, no '+',
 * no hex, no trailing text. Everything is read-only and thread-safe after parsing.
 */
#ifndef QU_PIPELINES_OPTIONS_H
#define QU_PIPELINES_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef enum qu_opt_kind {
    QU_OPT_FLAG,     /* no value */
    QU_OPT_INT,      /* whole number */
    QU_OPT_FLOAT,    /* decimal number */
    QU_OPT_STR,      /* any text; min = fewest bytes (1 refuses the empty string) */
    QU_OPT_ENUM,     /* one word of choices */
    QU_OPT_BYTES,    /* 4096, 200M, 1.5G: K M G T are powers of 1024 */
    QU_OPT_DURATION, /* 30, 30s, 10m, 2h, 1d; read as seconds */
} qu_opt_kind;

typedef struct qu_option {
    const char *name;    /* long name without dashes: "max-tokens" */
    char letter;         /* short form, 0 for none */
    qu_opt_kind kind;
    const char *arg;     /* shown for the value: "N", "DIR" */
    const char *help;    /* one sentence, lower case, no full stop; the default is added */
    const char *dflt;    /* parsed like a given value when the option is absent; NULL for none */
    const char *env;     /* environment variable that stands between the two; NULL for none */
    double min, max;     /* inclusive range of numbers; both 0: any (sizes, times: not negative) */
    const char *choices; /* ENUM: "kv|repair|exact". Numbers: words taken instead of a number, the
                            first reads as -1, the second as -2, ... */
    bool lines;          /* STR: its value is all that were given, a line each */
} qu_option;

/* Rows of such a table, a macro a kind; further fields may follow, as in
 * QU_FLAG("quiet", "...", .letter = 'q'). QU_STR refuses the empty text, QU_TEXT takes it. */
#define QU_ROW(k, n, a, d, text, ...)                                                              \
    {.name = n, .kind = QU_OPT_##k, .arg = a, .dflt = d, .help = text, __VA_ARGS__}
#define QU_FLAG(n, text, ...) {.name = n, .kind = QU_OPT_FLAG, .help = text, __VA_ARGS__}
#define QU_INT(n, a, d, lo, hi, ...) QU_ROW(INT, n, a, d, __VA_ARGS__, .min = lo, .max = hi)
#define QU_FLOAT(n, a, d, lo, hi, ...) QU_ROW(FLOAT, n, a, d, __VA_ARGS__, .min = lo, .max = hi)
#define QU_STR(n, a, d, ...) QU_ROW(STR, n, a, d, __VA_ARGS__, .min = 1)
#define QU_TEXT(n, a, d, ...) QU_ROW(STR, n, a, d, __VA_ARGS__)
#define QU_ENUM(n, a, d, words, ...) QU_ROW(ENUM, n, a, d, __VA_ARGS__, .choices = words)
#define QU_TIME(n, a, d, ...) QU_ROW(DURATION, n, a, d, __VA_ARGS__)
#define QU_SIZE(n, a, d, ...) QU_ROW(BYTES, n, a, d, __VA_ARGS__)
#define QU_OPTIONS(table) .options = table, .n_options = sizeof table / sizeof *table

typedef struct qu_args qu_args;
struct qu_session;

typedef struct qu_command {
    const char *name;        /* "ask" */
    const char *args;        /* positional arguments as shown: "[PATH...]"; NULL for none */
    /* words that the first may be, for completion: "bash|zsh|fish"; or NULL */
    const char *choices;
    const char *summary;     /* one line, lower case, no full stop */
    const char *description; /* for --help; paragraphs between empty lines; or NULL */
    const char *examples;    /* a command line each, with an optional "  # remark"; or NULL */
    const qu_option *options;
    int n_options;
    int min_args, max_args;  /* positional arguments; max_args -1: any number */
    int (*run)(const qu_args *args); /* returns the exit code (pipelines/output.h: QU_EXIT_*) */
    /* Or, in place of run: called with a session of what `session` asks for (QU_SESSION_*), which
     * is closed afterwards; an error is printed and gives the exit code, else *code does, 0 at
     * first. */
    unsigned session;
    qu_status (*act)(struct qu_session *s, int *code, qu_err *err);
} qu_command;

/* A parsed command line. argv borrows the caller's strings; the array is ours. */
struct qu_args {
    const qu_command *command;
    int argc;
    char **argv;             /* positional arguments, argc of them */
    struct qu_value *values; /* private: one an option, the command's first, then the common ones */
};

/* Options that every command has: store, model and what changes it, threads, json, quiet, help. */
extern const qu_option qu_common_options[];
extern const int qu_n_common_options;

/* Parse what follows the command's name. *args is filled even when --help or -h was met, which ends
 * the parsing at once (see qu_args_flag(args, "help")): no other check is made then. Free with
 * qu_args_free on every path; on error *args is empty.
 * Errors: QU_ERR_ARG naming the option, the value and what it takes; QU_ERR_NOMEM. */
qu_status qu_args_parse(qu_args *args, const qu_command *command, int argc, char **argv,
                        qu_err *err);
void qu_args_free(qu_args *args);

/* Values by long name. The value is the last given one, else the environment's, else the default,
 * else 0, NULL or false. Asking for a name that is not in the table, or with the wrong type, is an
 * assert. */
bool qu_args_flag(const qu_args *args, const char *name);
int64_t qu_args_int(const qu_args *args, const char *name);     /* INT, BYTES, DURATION (seconds) */
double qu_args_float(const qu_args *args, const char *name);    /* FLOAT, DURATION (seconds) */
const char *qu_args_str(const qu_args *args, const char *name); /* STR, ENUM: borrowed */

/* Position of an ENUM's value in its choices, from 0; -1 when absent. */
int qu_args_choice(const qu_args *args, const char *name);

/* True if the option stood on the command line (not the environment, not the default). */
bool qu_args_given(const qu_args *args, const char *name);

/* The number of threads to use: --threads, else every processor this process may run on. */
int qu_args_threads(const qu_args *args);

/* The candidate nearest to a mistyped word, or NULL when none is near enough to be mentioned. */
const char *qu_options_nearest(const char *word, const char *const *candidates, int n);

#endif
