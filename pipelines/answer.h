/* Answering one question: candidates -> plan -> context from stored slices -> answer -> citations.
 *
 *     qu_asker *a;
 *     QU_TRY(qu_asker_create(&a, &session, &options, err));
 *     qu_answer ans;
 *     QU_TRY(qu_asker_ask(a, "When does the ferry leave?", &ans, err));
 *     ... print ...
 *     qu_answer_free(&ans);
 *     QU_TRY(qu_asker_free(a, st, err));    // saves KV that had to be made
 *
 * Single-threaded at this level: one asker a session.
 */
#ifndef QU_PIPELINES_ANSWER_H
#define QU_PIPELINES_ANSWER_H

#include <jansson.h>

#include "decode/draft.h"
#include "pipelines/session.h"
#include "retrieve/policy.h"

/* Where the pages' keys and values come from: the store; a fresh prefill of all candidates as one
 * prompt; the store, and what the question attends to most computed again (decode/repair.h); each
 * page prefilled with the prefix alone, the baseline that shows what context is worth. */
typedef enum qu_fidelity {
    QU_FIDELITY_KV = 0,
    QU_FIDELITY_EXACT = 1,
    QU_FIDELITY_REPAIR = 2,
    QU_FIDELITY_ISOLATED = 3,
} qu_fidelity;

/* Their names, in order. */
#define QU_FIDELITY_NAMES "kv|exact|repair|isolated"

typedef struct qu_ask_options {
    int32_t pages;      /* candidate pages */
    float floor;        /* least score as a share of the best; 0: QU_PLAN_FLOOR, below 0: none */
    int32_t max_tokens; /* of the answer */
    double max_wait_s;  /* longest prefill of a document without KV */
    qu_fidelity fidelity;
    double repair_share; /* of the pages' tokens */
    bool extract;        /* no model: best sentences */
    bool explain;        /* say on stderr what was chosen; measures, too */
    bool measure;        /* what a selection catches: reads every candidate */
    const char *policy;  /* which pages each KV head reads: retrieve/policy.h */
    int64_t budget;      /* tokens a KV head reads of the candidates; below 1: all */
    double keep;         /* above 0: instead of the budget, this share of the candidates' tokens */
    bool far_field;      /* clusters stand in for the pages that are not read */
    const float *heads;  /* [L,G] heads that read everything, or NULL; borrowed */
    const char *in_glob; /* only documents whose path matches; NULL = all */
    qu_sample sample;
    qu_draft_kind draft;  /* how tokens are guessed; zero: auto */
    int64_t draft_budget; /* self: tokens a KV head reads while drafting */
    float transfer;       /* self, sampled: RAPID's eta; above 0 lossy */
    const char *system;   /* instruction before the question; NULL = the template's */
    bool raw;             /* nothing around the question: it goes on where the pages end */
    bool quote;           /* only verbatim spans of the loaded pages */
    double min_confidence; /* an answer below is withheld; its citations stay */
    bool second_reading; /* unless the rule of extract is sure of one: that is the answer then */
    /* Called with each piece of the answer as it comes, valid UTF-8; NULL = none. */
    void (*on_text)(void *ctx, const char *text, size_t n);
    /* Shown the logits [V] before token number i of the answer is taken; returns the token to take,
     * or -1 for the sampler's. NULL = none; with it tokens come one by one, none drafted. */
    int32_t (*choose)(void *ctx, int32_t i, const float *logits);
    void *ctx;
} qu_ask_options;

/* A place in a document that an answer rests on. Strings are owned. */
typedef struct qu_citation {
    char *path, *heading, *text;
    char *member;        /* inside the file of that path; NULL: the file itself */
    int32_t page_number; /* printed page, from 1; 0 = none */
    uint64_t doc_id;
    int32_t page;
    bool has_bytes; /* byte range known */
    int64_t byte_start, byte_end, text_start, text_end;
    float score;
    bool supported, stale;
} qu_citation;

void qu_citation_free(qu_citation *c);

/* As docs/json.md has it; NULL when memory ran out. */
json_t *qu_citation_json(const qu_citation *c);

enum { QU_MAX_CITATIONS = 8 };

/* A sentence of the answer, half-open bytes of its text, and the citation that it rests on: -1
 * where there is none that supports it. */
typedef struct qu_answer_sentence {
    int64_t start, end;
    int32_t citation;
} qu_answer_sentence;

typedef struct qu_answer {
    bool found;     /* false: no candidate, a refusal, or confidence too low */
    bool withheld;  /* confidence below the threshold */
    bool by_rule;   /* the answer is extract's, not the model's */
    bool supported; /* every sentence of it rests on a citation */
    qu_buf text;
    double confidence;
    qu_citation citations[QU_MAX_CITATIONS];
    int32_t n_citations;
    qu_answer_sentence *sentences;
    int32_t n_sentences;
    int32_t candidates, documents;
    int64_t slices_read, bytes_read;
    bool selected;           /* some KV head did not read every candidate */
    qu_policy_layer *layers; /* [n_layers] what each layer chose; NULL unless selected */
    int32_t n_layers;
    float *caught;           /* [n_layers, KV heads] where measured: qu_policy_heads; else NULL */
    int64_t prompt_tokens, loaded_tokens, generated_tokens;
    int64_t repaired_tokens;
    double context_flops, full_flops; /* spent on the pages for this question; of prefilling them */
    qu_draft_stats draft;
    double start_ms, retrieve_ms, load_ms, prefill_ms, first_token_ms, decode_ms, total_ms;
    qu_buf warnings; /* NUL-ended, one after the other */
} qu_answer;

typedef struct qu_asker qu_asker;

/* session: store for reading, and the model unless options->extract. Both are borrowed.
 * Errors: QU_ERR_ARG (options that do not go together), those of the lexical index and the encoder.
 */
qu_status qu_asker_create(qu_asker **a, qu_session *s, const qu_ask_options *options, qu_err *err);

/* Save KV that was made for questions, then free. NULL is fine. Returns st, how things went so far,
 * unless that is QU_OK and saving fails: err is only filled then. */
qu_status qu_asker_free(qu_asker *a, qu_status st, qu_err *err);

/* Answer one question. *ans is overwritten; free it with qu_answer_free, also on error. "Nothing
 * found" is no error, nor is a KV file that goes away meanwhile: then all is planned anew, once.
 * Errors: QU_ERR_LIMIT (question longer than the window), those of store and model. */
qu_status qu_asker_ask(qu_asker *a, const char *question, qu_answer *ans, qu_err *err);

/* Read a table of heads: a line a layer, a number a KV head. *heads [L,G] is the caller's, free it.
 * Errors: QU_ERR_NOTFOUND, QU_ERR_IO, QU_ERR_FORMAT (numbers or their count), QU_ERR_NOMEM. */
qu_status qu_selection_heads(float **heads, const char *path, const qu_model *m, qu_err *err);

void qu_answer_free(qu_answer *ans);

#endif
