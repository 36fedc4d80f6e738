/* Decoding that can only quote: the answer is made of verbatim spans of given pages.
 *
 *     qu_quote *q;
 *     QU_TRY(qu_quote_create(&q, tokenizer, err));
 *     for each page: QU_TRY(qu_quote_add(q, ids, n, text, n_text, err));
 *     loop:
 *         n = qu_quote_allowed(q, &ids);          // tokens that may come next, ascending
 *         pick one of them by its logit
 *         if (qu_quote_take(q, id)) break;        // that ended the answer
 *     n = qu_quote_spans(q, spans);
 *
 * A span lies in one page, begins and ends at a character and not inside a word (a page's own ends
 * always count), and has no white space at its ends. After a span comes an end token, or the
 * separator, a newline, and another span, up to QU_QUOTE_SPANS. An end token at once means an empty
 * answer: nothing to quote. A page whose tokens do not spell its text byte for byte is not quoted.
 * A quote belongs to one thread.
 */
#ifndef QU_DECODE_QUOTE_H
#define QU_DECODE_QUOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "decode/token.h"

enum { QU_QUOTE_SPANS = 3 };

/* What stands between spans. */
#define QU_QUOTE_SEPARATOR "\n"

typedef struct qu_quote qu_quote;

/* Bytes [start, end) of the text of the page that was added as number page, from 0. */
typedef struct qu_quote_span {
    int32_t page;
    int64_t start, end;
} qu_quote_span;

/* t is borrowed. Errors: QU_ERR_NOMEM. */
qu_status qu_quote_create(qu_quote **q, const qu_tokenizer *t, qu_err *err);
void qu_quote_free(qu_quote *q);

/* Add a page before the first token; text is borrowed. Errors: QU_ERR_ARG (id outside
 * the vocabulary), QU_ERR_NOMEM. */
qu_status qu_quote_add(qu_quote *q, const int32_t *ids, int32_t n, const char *text, size_t n_text,
                       qu_err *err);

/* The tokens that may come next, ascending, borrowed until the next call; never none before the
 * answer has ended. */
int32_t qu_quote_allowed(qu_quote *q, const int32_t **ids);

/* Copy what would follow if the span went on where it is, at most n; returns how many. */
int32_t qu_quote_follow(const qu_quote *q, int32_t *ids, int32_t n);

/* Take an allowed token (another is taken as an end). True: the answer has ended. */
bool qu_quote_take(qu_quote *q, int32_t id);

/* The spans of the answer so far; one that is cut off inside a word ends at the last word before.
 * spans [QU_QUOTE_SPANS]. */
int32_t qu_quote_spans(const qu_quote *q, qu_quote_span *spans);

#endif
