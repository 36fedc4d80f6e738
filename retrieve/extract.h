/* Answers without a model: the best sentences of the retrieved texts and, in each, the likeliest
 * span.
 *
 *     qu_support_text t = {page_text, page_bytes, 1.0f};
 *     qu_extract_answer a[3];
 *     int32_t n;
 *     QU_TRY(qu_extract("Who runs the ferry?", &t, 1, a, 3, &n, err));
 *     if (n) printf("%.*s\n", (int)(a[0].span_end - a[0].span_start), page_text + a[0].span_start);
 *
 * A sentence scores by the question's words it holds, each weighted by its rarity among the
 * candidate sentences, and a little by those of the sentence before it and of its heading. Inside
 * the sentence a span of the question's type is chosen (who: a name; when: a date; how many: a
 * number and its unit; where: a place after in, at, on; what: a name or another phrase; how, why or
 * no such word: the sentence), preferring what stands near the question's rarer words and on their
 * line, and says more than they do. Where nothing fits the span is the sentence.
 * Thread rule: no state; safe from any thread.
 */
#ifndef QU_RETRIEVE_EXTRACT_H
#define QU_RETRIEVE_EXTRACT_H

#include "retrieve/support.h"

/* Half-open byte ranges in texts[text].text; the span lies in the sentence; neither is empty. */
typedef struct qu_extract_answer {
    int32_t text;
    int64_t sent_start, sent_end;
    int64_t span_start, span_end;
    /* 0..1: the share of the question's word weight in the sentence (a little for the one before
     * it and the heading; less where no span of the wanted kind is found), times the prior; no
     * probability */
    float score;
} qu_extract_answer;

/* Find up to k answers (distinct sentences) in n_texts texts, best first, ties by (text,
 * sent_start).
 *   answers [k] out; *n out, 0 when no text holds a word of the question
 * A text's prior > 0 weighs its sentences against those of other texts; 0 counts as 1.
 * Bounded: the first 64 KiB of the question, 4 MiB of text in all (what lies beyond is not
 * searched).
 * Errors: QU_ERR_ARG, QU_ERR_NOMEM. */
qu_status qu_extract(const char *question, const qu_support_text *texts, int32_t n_texts,
                     qu_extract_answer *answers, int32_t k, int32_t *n, qu_err *err);

#endif
