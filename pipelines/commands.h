/* Every verb of the program: one pipelines/cmd_*.c file each defines its table and its run
 * function; main.c lists them in the order in which help shows them. */
#ifndef QU_PIPELINES_COMMANDS_H
#define QU_PIPELINES_COMMANDS_H

#include "pipelines/options.h"

/* A verb whose file is not built in (weak, so its address is NULL) is left out of the list. */
#define QU_COMMAND(verb) extern const qu_command qu_cmd_##verb __attribute__((weak))

QU_COMMAND(index);
QU_COMMAND(ask);
QU_COMMAND(search);
QU_COMMAND(summarize);
QU_COMMAND(status);
QU_COMMAND(inspect);
QU_COMMAND(rm);
QU_COMMAND(gc);
QU_COMMAND(check);
QU_COMMAND(verify);
QU_COMMAND(models);
QU_COMMAND(complete);
QU_COMMAND(tokenize);
QU_COMMAND(bench);
QU_COMMAND(eval);

#endif
