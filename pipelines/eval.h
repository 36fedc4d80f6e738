/* The kinds of `quire eval`: each measures one thing and lives in its own pipelines/eval_KIND.c.
 *
 *     static int run(const qu_args *args) { ... }      // args->argv[0] is the kind's name
 *     const qu_eval_kind qu_eval_recall = {
 *         .name = "recall", .args = "FILE|-", .options = "cutoffs split seed",
 *         .min_args = 1, .max_args = 1, .run = run};
 *
 * All kinds share the one table of options in cmd_eval.c; an option that a kind does not name in
 * .options is refused for it. Every result prints its settings, seeds among them.
 */
#ifndef QU_PIPELINES_EVAL_H
#define QU_PIPELINES_EVAL_H

#include "pipelines/options.h"

typedef struct qu_eval_kind {
    const char *name;       /* "recall" */
    const char *args;       /* what follows the kind: "FILE|-"; NULL for nothing */
    const char *options;    /* names in cmd_eval.c's table that it reads, parted by blanks */
    int min_args, max_args; /* that follow the kind; max_args -1: any number */
    int (*run)(const qu_args *args); /* returns the exit code */
} qu_eval_kind;

/* A kind whose file is not built in (weak, so its address is NULL) is left out. */
#define QU_EVAL_KIND(kind) extern const qu_eval_kind qu_eval_##kind __attribute__((weak))

QU_EVAL_KIND(recall);
QU_EVAL_KIND(needle);
QU_EVAL_KIND(qa);
QU_EVAL_KIND(fidelity);
QU_EVAL_KIND(perplexity);
QU_EVAL_KIND(mass);
QU_EVAL_KIND(rouge);

#endif
