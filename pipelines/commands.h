/* Every verb of the program: one pipelines/cmd_*.c file each defines its table and its run
 * function; main.c lists them in the order in which help shows them. */
#ifndef QU_PIPELINES_COMMANDS_H
#define QU_PIPELINES_COMMANDS_H

#include "pipelines/options.h"

extern const qu_command qu_cmd_index, qu_cmd_ask, qu_cmd_search, qu_cmd_summarize, qu_cmd_status,
    qu_cmd_inspect, qu_cmd_rm, qu_cmd_gc, qu_cmd_check, qu_cmd_verify, qu_cmd_models,
    qu_cmd_complete, qu_cmd_tokenize, qu_cmd_bench, qu_cmd_eval;

#endif
