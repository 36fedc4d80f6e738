/* The kinds of `quire eval`: each measures one thing and lives in its own pipelines/eval_KIND.c.
 *
 *     qu_status qu_eval_recall(qu_eval *e, qu_err *err) {   // e->args->argv[0] is the kind's name
 *         QU_TRY(qu_eval_open(e, QU_SESSION_STORE, err));
 *         ...
 *         return qu_eval_print(e, qu_out_reals(NULL, "mrr", &mrr), err);
 *     }
 *
 * cmd_eval.c has the table of kinds and the one table of options: one that a kind does not name is
 * refused for it. Every result is printed with its settings: model, numerics and the
 * kind's options.
 */
#ifndef QU_PIPELINES_EVAL_H
#define QU_PIPELINES_EVAL_H

#include <jansson.h>

#include "pipelines/session.h"

/* One run. */
typedef struct qu_eval {
    const qu_args *args;
    qu_session *s;    /* open after qu_eval_open */
    json_t *settings; /* the options by name, '_' for '-'; a kind may set more */
} qu_eval;

/* Open e->s: QU_SESSION_*. The model goes into the settings. Errors: those of qu_session_open. */
qu_status qu_eval_open(qu_eval *e, unsigned flags, qu_err *err);

/* Print {"eval":KIND}, the members of result, the settings. Takes the reference. */
qu_status qu_eval_print(qu_eval *e, json_t *result, qu_err *err);

/* The lines of the file that is the kind's argument, each with "question" and a list "answers" if
 * asked for. The caller's, also on error. Errors: those of qu_input_objects; QU_ERR_ARG. */
qu_status qu_eval_lines(const qu_eval *e, size_t max, bool with_answers, json_t **list,
                        qu_err *err);

qu_status qu_eval_recall(qu_eval *e, qu_err *err);
qu_status qu_eval_needle(qu_eval *e, qu_err *err);
qu_status qu_eval_qa(qu_eval *e, qu_err *err);
qu_status qu_eval_fidelity(qu_eval *e, qu_err *err);
qu_status qu_eval_perplexity(qu_eval *e, qu_err *err);
qu_status qu_eval_mass(qu_eval *e, qu_err *err);
qu_status qu_eval_rouge(qu_eval *e, qu_err *err);

#endif
