/* quire complete: a prompt and what the model writes next; the plainest way to run a model. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode/context.h"
#include "kernels/codec.h"
#include "pipelines/commands.h"
#include "pipelines/generate.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/pages.h"
#include "pipelines/session.h"

typedef struct completion {
    const qu_args *args;
    qu_session *s;
    qu_context *c;
    qu_sample sample;
    qu_tokens prompt;
    float *logits;             /* [V] */
    int64_t most;              /* tokens to generate */
    int32_t *ids;              /* [most] generated */
    int64_t n;
    const char *stop;          /* why it ended: "length", "end", "window" */
    qu_generate g;
    qu_detok detok;
    qu_buf text;               /* decoded and not yet printed; all of it with --json */
} completion;

static qu_status read_prompt(completion *p, qu_err *err)
{
    const char *text = qu_args_str(p->args, "prompt"), *ids = qu_args_str(p->args, "ids");
    unsigned flags = QU_TOK_BOS | (qu_args_flag(p->args, "special") ? QU_TOK_SPECIAL : 0);
    if (!text == !ids) return qu_fail(err, QU_ERR_ARG, "give either --prompt TEXT or --ids LIST");
    const char *system = qu_args_str(p->args, "system");
    if ((system || qu_args_flag(p->args, "chat")) && ids)
        return qu_fail(err, QU_ERR_ARG, "--chat and --system need --prompt, not --ids");
    if (text && (system || qu_args_flag(p->args, "chat")))
        QU_TRY(qu_template_chat(p->s->template, p->s->tok, system, text, &p->prompt, err));
    else if (text)
        QU_TRY(qu_tokenize(p->s->tok, &p->prompt, text, strlen(text), flags, err));
    if (ids) {
        QU_OWN(qu_freep) int64_t *list = NULL;
        int64_t n;
        QU_TRY(qu_input_numbers(&list, &n, ids, strlen(ids), 0, p->s->model->vocab - 1, "token id",
                                err));
        QU_TRY(qu_memory_take(&p->prompt.ids, n, sizeof *p->prompt.ids, err));
        for (; p->prompt.n < n; p->prompt.n++)
            p->prompt.ids[p->prompt.n] = (int32_t)list[p->prompt.n];
    }
    if (p->prompt.n == 0) return qu_fail(err, QU_ERR_ARG, "the prompt has no token");
    return QU_OK;
}

/* How many tokens may follow. What was asked for by number is never cut short silently. */
static qu_status fit_window(completion *p, qu_err *err)
{
    const qu_model *m = p->s->model;
    int64_t room = m->context - p->prompt.n, asked = qu_args_int(p->args, "tokens");
    if (room < 0)
        return qu_fail(err, QU_ERR_LIMIT,
                       "a prompt of %lld tokens: the window of model '%s' has %d",
                       (long long)p->prompt.n, m->name, m->context);
    if (qu_args_given(p->args, "tokens") && asked > room)
        return qu_fail(err, QU_ERR_LIMIT,
                       "a prompt of %lld tokens and %lld more: the window of model '%s' has %d",
                       (long long)p->prompt.n, (long long)asked, m->name, m->context);
    p->most = asked < room ? asked : room;
    QU_TRY(qu_memory_take(&p->ids, p->most, sizeof *p->ids, err));
    return qu_memory_take(&p->logits, m->vocab, sizeof *p->logits, err);
}

static qu_status write_logits(const completion *p, const char *path, qu_err *err)
{
    FILE *f = fopen(path, "w");
    bool good = f != NULL;
    for (int32_t i = 0; good && i < p->s->model->vocab; i++)
        good = fprintf(f, "%.9g\n", (double)p->logits[i]) > 0;
    int fault = errno;
    if (f && fclose(f) != 0 && good) {
        good = false;
        fault = errno;
    }
    return good ? QU_OK : qu_fail(err, QU_ERR_IO, "cannot write '%s': %s", path, strerror(fault));
}

/* Text goes out as it comes, unless ids or an object are wanted instead. */
static qu_status print_text(completion *p, qu_err *err)
{
    if (qu_args_flag(p->args, "print-ids") || qu_out_is_json()) return QU_OK;
    QU_TRY(qu_out_text(p->text.data, p->text.len, true, err));
    p->text.len = 0;
    return qu_out_flush(err);
}

static qu_status add_token(void *ctx, int32_t id, double probability, bool *stop, qu_err *err)
{
    completion *p = ctx;
    (void)probability;
    (void)stop;
    p->ids[p->n++] = id;
    QU_TRY(qu_detok_add(&p->detok, id, &p->text, err));
    return print_text(p, err);
}

static qu_status generate(completion *p, qu_err *err)
{
    QU_OWN(qu_suffix_freep) qu_suffix *suffix = NULL;
    p->g = (qu_generate){
        .draft = {.kind = (qu_draft_kind)qu_args_choice(p->args, "draft"), .sample = p->sample,
                  .model = p->s->model, .context = p->c, .logits = p->logits, .pos = p->prompt.n,
                  .most = p->most},
        .tok = p->s->tok, .ignore_end = qu_args_flag(p->args, "ignore-eos"), .token = add_token,
        .ctx = p};
    if (p->g.draft.kind != QU_DRAFT_NONE) {
        QU_TRY(qu_suffix_create(&suffix, p->s->model->vocab, err));
        for (int64_t i = 0; i < p->prompt.n; i++)
            QU_TRY(qu_suffix_next(suffix, p->prompt.ids[i], err));
    }
    p->g.draft.suffix = suffix;
    QU_TRY(qu_generate_run(&p->g, err));
    p->stop = p->g.stop;
    if (strcmp(p->stop, "length") == 0 && p->most < qu_args_int(p->args, "tokens"))
        p->stop = "window";
    return QU_OK;
}

static qu_status print_end(completion *p, qu_err *err)
{
    QU_TRY(qu_detok_end(&p->detok, &p->text, err));
    if (qu_out_is_json())
        return qu_out_json(
            json_pack("{s:o,s:o,s:I,s:s,s:o}", "text",
                      qu_pages_json_text(p->text.data, p->text.len), "ids",
                      qu_pages_json_ids(p->ids, p->n), "prompt_tokens", (json_int_t)p->prompt.n,
                      "stop", p->stop, "draft", qu_generate_json(&p->g.stats)),
            err);
    QU_TRY(print_text(p, err));
    for (int64_t i = 0; qu_args_flag(p->args, "print-ids") && i < p->n; i++)
        QU_TRY(qu_out_printf(err, i ? " %d" : "%d", p->ids[i]));
    return p->most > 0 ? qu_out_write("\n", 1, err) : QU_OK;
}

static qu_status complete(completion *p, qu_err *err)
{
    const char *logits = qu_args_str(p->args, "logits");
    QU_TRY(read_prompt(p, err));
    QU_TRY(fit_window(p, err));
    QU_TRY(qu_context_create(&p->c, p->s->model, p->s->pool, QU_CODEC_F32, err));
    QU_TRY(qu_context_step(p->c, p->prompt.ids, (int32_t)p->prompt.n, 0, 1, p->logits, err));
    if (logits) QU_TRY(write_logits(p, logits, err));
    /* The prompt's tokens go through the same detokenizer, so that the first generated one gets the
     * space that it has in the text. */
    qu_detok_init(&p->detok, p->s->tok, 0);
    for (int64_t i = 0; i < p->prompt.n; i++)
        QU_TRY(qu_detok_add(&p->detok, p->prompt.ids[i], &p->text, err));
    p->text.len = 0;
    QU_TRY(generate(p, err));
    return print_end(p, err);
}

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    const qu_args *args = s->args;
    completion p = {.args = args,
                    .s = s,
                    .sample = {(float)qu_args_float(args, "temperature"),
                               (int32_t)qu_args_int(args, "top-k"),
                               (float)qu_args_float(args, "top-p"),
                               (uint64_t)qu_args_int(args, "seed"),
                               (float)qu_args_float(args, "repetition-penalty")}};
    (void)code;
    qu_status st = complete(&p, err);
    qu_context_free(p.c);
    qu_tokens_free(&p.prompt);
    qu_buf_free(&p.text);
    free(p.ids);
    free(p.logits);
    return st;
}

static const qu_option options[] = {
    QU_TEXT("prompt", "TEXT", NULL, "the text to go on from", .letter = 'p'),
    QU_TEXT("ids", "LIST", NULL, "the prompt as token ids, taken as given: 1,2,3"),
    QU_INT("tokens", "N", "128", 0, 1e9,
           "most tokens to generate; the default ends at the model's window", .letter = 'n'),
    QU_FLAG("print-ids", "print the generated ids in one line, not their text"),
    QU_STR("logits", "FILE", NULL, "write the logits of the prompt's last token, one a line"),
    QU_FLAG("ignore-eos", "go on after an end token"),
    QU_FLAG("chat", "the prompt as a user's turn in the model's chat template"),
    QU_TEXT("system", "TEXT", NULL, "the same with a system text before it"),
    QU_FLAG("special", "control tokens written in the prompt become tokens"),
    QU_FLOAT("temperature", "X", "0", 0, 100,
             "0: always the likeliest token; above: draw, the higher the wilder"),
    QU_INT("top-k", "N", "0", 0, QU_SAMPLE_MAX_TOP_K,
           "draw among the N likeliest tokens only; 0: all"),
    QU_FLOAT("top-p", "X", "1", 0, 1, "draw among the likeliest tokens that make up this share"),
    QU_FLOAT("repetition-penalty", "X", "1", .01, 100,
             "make tokens that were already written less likely, by this factor"),
    QU_ENUM("draft", "DRAFTER", "auto", "auto|none|ngram",
            "guess tokens from the text so far, verify several at once; changes the speed only"),
    QU_INT("seed", "N", "1", 0, 1e15, "the same seed draws the same tokens"),
};

const qu_command qu_cmd_complete = {
    .name = "complete",
    .summary = "let the model go on from a prompt",
    .description =
        "Prints what the model writes after the prompt, without the prompt. The begin token "
        "stands first where the model asks for it, but not before --ids. It ends at an end token, "
        "after -n tokens or at the window. No store is used: this runs the model by itself.",
    .examples = "quire complete -p 'Once upon a time' -n 50\n"
                "quire complete --ids 1 -n 200 --print-ids --ignore-eos\n"
                "quire complete -p 'The sea' -n 0 --logits sea.txt  # logits only",
    QU_OPTIONS(options),
    .session = QU_SESSION_MODEL,
    .act = act,
};
