/* Prompt templates: what stands before the documents, at the head of each, and around the question.
 *
 *   plain   [BOS] one sentence | Document: TITLE | text ... | Question: Q / Answer:
 *   a chat  [BOS] system turn, user's opened | Document: TITLE | text ... | Q, assistant's opened
 *   pages   [BOS] | <|page|> TITLE | text ... | Question: Q / Answer:   (the bundled reader's own)
 *
 * Chat forms are those of ChatML, Llama 2 and 3, Mistral (three), Phi-3, Gemma's text, DeepSeek (R1
 * and V3, LLM, Coder), told apart by what stands in the GGUF's template text, which is never run.
 *
 *     qu_template_kind kind = qu_template_detect(tokenizer, gguf);
 *     QU_TRY(qu_template_prefix(kind, tokenizer, &ids, err));         // once a store: frozen in it
 *     QU_TRY(qu_template_header(kind, tokenizer, title, &ids, err));   // page 0 of a document
 *     QU_TRY(qu_template_question(kind, tokenizer, question, &ids, err));
 *
 * The prefix is task-neutral and every instruction comes after the pages, so one store serves
 * questions and summaries alike. Titles, documents and questions are tokenized as plain text:
 * control tokens written in them stay text, and where a form marks turns with ordinary text (Llama
 * 2, the older Mistral and DeepSeek) a document's text cannot hold such a mark. All functions
 * append; errors: QU_ERR_NOMEM, QU_ERR_LIMIT.
 */
#ifndef QU_DECODE_TEMPLATE_H
#define QU_DECODE_TEMPLATE_H

#include "decode/gguf.h"
#include "decode/token.h"

typedef enum qu_template_kind {
    QU_TEMPLATE_PLAIN = 0,
    QU_TEMPLATE_CHATML = 1,
    QU_TEMPLATE_PAGES = 2,
    QU_TEMPLATE_LLAMA2 = 3,
    QU_TEMPLATE_LLAMA3 = 4,
    QU_TEMPLATE_MISTRAL_V1 = 5,     /* "[INST] text [/INST]" */
    QU_TEMPLATE_MISTRAL_V3 = 6,     /* "[INST] text[/INST]" */
    QU_TEMPLATE_MISTRAL_TEKKEN = 7, /* "[INST]text[/INST]" */
    QU_TEMPLATE_PHI3 = 8,
    QU_TEMPLATE_GEMMA = 9,
    QU_TEMPLATE_DEEPSEEK = 10, /* R1, V3 and their distillations */
    QU_TEMPLATE_DEEPSEEK_LLM = 11,
    QU_TEMPLATE_DEEPSEEK_CODER = 12,
    QU_N_TEMPLATES
} qu_template_kind; /* pinned: part of every store's binding */

/* What a model says when the pages do not hold the answer: trained into the bundled reader, asked
 * of others. */
#define QU_TEMPLATE_REFUSAL "not stated"

/* From the vocabulary and the GGUF's chat template. *unknown (may be NULL) is set when there is a
 * chat template that Quire does not know: plain is used then. */
qu_template_kind qu_template_detect(const qu_tokenizer *t, const qu_gguf *g, bool *unknown);

/* Ids of the prefix; the header of a document with that title (at most QU_PAGE_TOKENS, cut if
 * longer); the question with its instructions and the opening of the answer. */
qu_status qu_template_prefix(qu_template_kind kind, const qu_tokenizer *t, qu_tokens *out,
                             qu_err *err);
qu_status qu_template_header(qu_template_kind kind, const qu_tokenizer *t, const char *title,
                             qu_tokens *out, qu_err *err);
qu_status qu_template_question(qu_template_kind kind, const qu_tokenizer *t, const char *question,
                               qu_tokens *out, qu_err *err);

/* Ids of a document's text[0, n), QU_TOK_CONTINUE. Marks of turns in it are read with another last
 * character ("[/INST)"); out->at is that of the text as it is. */
qu_status qu_template_text(qu_template_kind kind, const qu_tokenizer *t, const char *text, size_t n,
                           qu_tokens *out, qu_err *err);

/* The same with the caller's own instruction in place of "answer briefly from the documents"; NULL
 * is that one. The bundled reader was trained without any: it gets none but the caller's. */
qu_status qu_template_instruct(qu_template_kind kind, const qu_tokenizer *t,
                               const char *instruction, const char *question, qu_tokens *out,
                               qu_err *err);

/* A whole prompt without documents: system (NULL or "" for none), one turn of the user's, the
 * assistant's turn opened. Plain and pages: system and text, a blank line apart. */
qu_status qu_template_chat(qu_template_kind kind, const qu_tokenizer *t, const char *system,
                           const char *text, qu_tokens *out, qu_err *err);

/* Where an answer ends besides an end token: the offset in the text so far, or -1. A model without
 * a chat template does not stop by itself: a blank line or a next question ends its answer. */
int64_t qu_template_answer_end(qu_template_kind kind, const char *answer, size_t n);

/* Is the answer the agreed refusal (case, blanks and a full stop aside)? */
bool qu_template_is_refusal(const char *answer, size_t n);

#endif
