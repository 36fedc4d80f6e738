/* What commands read: lines and questions on standard input, lists of numbers in options.
 *
 *     qu_buf line = {0};
 *     qu_question q;
 *     for (bool more;;) {
 *         QU_TRY_OUT(qu_input_line(stdin, &line, QU_INPUT_MAX_QUESTION, &more, err));
 *         if (!more) break;
 *         if (qu_question_parse(&q, line.data, line.len, err) == QU_OK && q.n > 0) answer(q.text,
 * q.n, q.id); qu_question_free(&q);
 *     }
 */
#ifndef QU_PIPELINES_INPUT_H
#define QU_PIPELINES_INPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "pipelines/options.h"

enum { QU_INPUT_MAX_QUESTION = 1 << 20 }; /* bytes of a line with a question */

/* Read the next line of f into line (what it held is dropped): any bytes, without the '\n'. *more
 * is false at the end of the input. A last line without '\n' counts. Errors: QU_ERR_LIMIT (more
 * than max bytes; the rest of the line was skipped, reading can go on), QU_ERR_IO, QU_ERR_NOMEM. */
qu_status qu_input_line(FILE *f, qu_buf *line, size_t max, bool *more, qu_err *err);

/* Everything that is left of f, appended. Errors: as qu_input_line. */
qu_status qu_input_all(FILE *f, qu_buf *out, size_t max, qu_err *err);

/* A question as it stands in a line: plain text, or a JSON object {"id":any,"question":text}. */
typedef struct qu_question {
    json_t *id;       /* NULL where none was given */
    char *text;       /* outer blanks removed; a NUL follows */
    size_t n;         /* 0: an empty line, to be passed over */
} qu_question;

/* Parse a line. q needs no initialisation and must be freed on every path. Errors: QU_ERR_ARG
 * (begins with
 * '{' and is no such object; the id is kept if it could be read), QU_ERR_NOMEM. */
qu_status qu_question_parse(qu_question *q, const char *line, size_t n, qu_err *err);
void qu_question_free(qu_question *q);

/* Questions on standard input, a line each, to one, until the reader of the output is gone. A line
 * that cannot be read or answered is reported and costs its own result only, unless input, memory
 * or store have failed. Empty lines are passed over. Returns the exit code. */
int qu_input_questions(qu_status (*one)(void *ctx, const qu_question *q, qu_err *err), void *ctx);

/* Every line of the file at path ("-": standard input) but the blank ones as a list of JSON
 * objects: an object as it stands, plain text as {"question":TEXT}. *list is the caller's, also on
 * error. Errors: QU_ERR_ARG naming the line (no JSON object after '{', no UTF-8), those of
 * qu_input_line. */
qu_status qu_input_objects(json_t **list, const char *path, size_t max, qu_err *err);

/* A member that is a text; "" where it is not. Borrowed. */
const char *qu_input_text(const json_t *o, const char *name);

/* Read whole numbers in [min, max], parted by commas or blanks, from n bytes of text; what names
 * them in messages ("token id"). *list is malloc'ed [*n_list], freed by the caller; NULL and 0 for
 * none. Errors: QU_ERR_ARG naming the word, QU_ERR_NOMEM. */
qu_status qu_input_numbers(int64_t **list, int64_t *n_list, const char *text, size_t n, int64_t min,
                           int64_t max, const char *what, qu_err *err);

/* The same of an option's text: one to most of them. Errors: also QU_ERR_ARG naming the option. */
qu_status qu_input_list(int64_t **list, int64_t *n_list, const qu_args *args, const char *option,
                        int64_t min, int64_t max, int64_t most, const char *what, qu_err *err);

#endif
