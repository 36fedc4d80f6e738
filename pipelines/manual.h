/* What documents a command, made from the option table: help, man page, shell completion.
 *
 *     qu_buf text = {0};
 *     QU_TRY(qu_manual_help(&text, command, true, &err));
 *
 * All functions append to *out. Errors: QU_ERR_NOMEM. commands: n pointers, in the order of
 * display.
 */
#ifndef QU_PIPELINES_MANUAL_H
#define QU_PIPELINES_MANUAL_H

#include <stdbool.h>

#include "base/buf.h"
#include "pipelines/options.h"

/* The version that --version, the man page and the store report. */
#define QU_VERSION "0.1.0"

typedef struct qu_commands {
    const qu_command *const *list;
    int n;
} qu_commands;

/* What `quire` and `quire help` print: the verbs, one line each. */
qu_status qu_manual_overview(qu_buf *out, qu_commands commands, qu_err *err);

/* Help for one command. full false (-h): usage and options; true (--help): everything. */
qu_status qu_manual_help(qu_buf *out, const qu_command *command, bool full, qu_err *err);

/* The whole manual as one roff page, quire.1. */
qu_status qu_manual_man(qu_buf *out, qu_commands commands, qu_err *err);

/* A completion script for bash, zsh or fish, which asks for words. Other shells: QU_ERR_ARG. */
qu_status qu_manual_completion(qu_buf *out, const char *shell, qu_err *err);

/* What may stand there, a line each, with a tab and its meaning: verbs (verb NULL), the options of
 * a verb (option NULL), the words that an option takes. Nothing for what is not known. */
qu_status qu_manual_words(qu_buf *out, qu_commands commands, const char *verb, const char *option,
                          qu_err *err);

#endif
