/* quire ask: questions in, cited answers out. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "kernels/codec.h"
#include "pipelines/answer.h"
#include "pipelines/commands.h"
#include "pipelines/generate.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/verdict.h"

enum { PAGES = 32, MAX_PAGES = 4096 };

typedef struct ask_state {
    qu_session *s;
    qu_asker *asker;
    const qu_args *args;
    bool verified_said;
    bool started, found; /* a piece of this answer was printed; any answer was found */
    qu_verdict verdict;
    qu_fidelity fidelity; /* the one in use */
} ask_state;

/* --- JSON --- */

/* Bytes of the answer, and which citation each sentence rests on: null is unsupported. */
static json_t *sentences_json(const qu_answer *ans)
{
    json_t *list = json_array();
    for (int32_t i = 0; !ans->withheld && i < ans->n_sentences; i++) {
        const qu_answer_sentence *s = &ans->sentences[i];
        json_t *o =
            json_pack("{s:I,s:I}", "start", (json_int_t)s->start, "end", (json_int_t)s->end);
        json_object_set_new(o, "citation",
                            s->citation < 0 ? json_null() : json_integer(s->citation));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *model_json(const qu_session *s)
{
    char hex[33];
    if (!s->model) return json_null();
    qu_hash_hex(hex, s->model->fingerprint);
    return json_pack("{s:s,s:s}", "name", s->model->name, "hash", hex);
}

/* What selection did, beside what was read: null where every candidate was. */
static void add_selection(json_t *pages, const qu_args *args, const qu_answer *ans)
{
    json_t *o = json_null(), *layers;
    int64_t of = 0;
    for (int32_t l = 0; l < ans->n_layers; l++) of += ans->layers[l].candidate_slices;
    if (ans->selected)
        o = json_pack("{s:s,s:I,s:b,s:I}", "policy", qu_args_str(args, "policy"), "budget",
                      (json_int_t)qu_args_int(args, "budget"), "far_field",
                      !qu_args_flag(args, "no-far-field"), "candidate_slices", (json_int_t)of);
    json_object_set_new(pages, "selection", o);
    if (!ans->selected || !qu_args_flag(args, "explain")) return;
    json_object_set_new(o, "layers", layers = json_array());
    for (int32_t i = 0; i < ans->n_layers; i++) {
        const qu_policy_layer *l = &ans->layers[i];
        double n = l->n > 0 ? (double)l->n : 1;
        json_t *layer = qu_out_ints(NULL, "slices candidate_slices",
                                    (int64_t[]){l->slices, l->candidate_slices});
        json_array_append_new(
            layers, qu_out_reals(layer, "caught best", (double[]){l->caught / n, l->best / n}));
    }
}

/* Does a fresh prompt answer so, as far as anyone has measured? */
static bool is_verified(const ask_state *a)
{
    return a->fidelity == QU_FIDELITY_EXACT ||
           (a->fidelity == QU_FIDELITY_KV && a->verdict.kv.passed) ||
           (a->fidelity == QU_FIDELITY_REPAIR && a->verdict.repair.passed);
}

static qu_status print_json(ask_state *a, json_t *id, const char *question, const qu_answer *ans,
                            qu_err *err)
{
    bool repair = a->fidelity == QU_FIDELITY_REPAIR;
    const char *fidelity = repair ? "repair" : qu_args_str(a->args, "fidelity");
    bool extract = ans->by_rule || qu_args_flag(a->args, "extract");
    json_t *o = json_object(), *citations = json_array(), *warnings = json_array();
    if (id) json_object_set(o, "id", id);
    qu_out_path(o, "question", question, err); /* question_b64 where it is not UTF-8 */
    json_object_set_new(o, "answer",
                        json_stringn(ans->withheld || !ans->text.data ? "" : ans->text.data,
                                     ans->withheld ? 0 : ans->text.len));
    json_object_set_new(o, "found", json_boolean(ans->found));
    json_object_set_new(o, "confidence", json_real(ans->confidence));
    for (int32_t i = 0; i < ans->n_citations; i++)
        json_array_append_new(citations, qu_citation_json(&ans->citations[i]));
    for (size_t i = 0; i < ans->warnings.len; i += strlen(ans->warnings.data + i) + 1)
        json_array_append_new(warnings, json_string(ans->warnings.data + i));
    json_object_set_new(o, "sentences", sentences_json(ans));
    json_object_set_new(o, "citations", citations);
    json_object_set_new(o, "fidelity", json_string(extract ? "extract" : fidelity));
    json_object_set_new(o, "fidelity_verified", json_boolean(!extract && is_verified(a)));
    json_object_set_new(o, "model", model_json(a->s));
    json_t *pages = json_pack("{s:i}", "candidates", ans->candidates);
    qu_out_ints(pages, "slices_read bytes_read", (int64_t[]){ans->slices_read, ans->bytes_read});
    add_selection(pages, a->args, ans);
    json_object_set_new(o, "pages", pages);
    json_object_set_new(o, "tokens",
                        qu_out_ints(NULL, "prompt loaded generated",
                                    (int64_t[]){ans->prompt_tokens, ans->loaded_tokens,
                                                ans->generated_tokens}));
    if (a->fidelity == QU_FIDELITY_REPAIR && ans->full_flops > 0)
        json_object_set_new(o, "repair",
                            json_pack("{s:I,s:f}", "tokens", (json_int_t)ans->repaired_tokens,
                                      "flops_share", ans->context_flops / ans->full_flops));
    json_t *draft = qu_generate_json(&ans->draft);
    json_object_set_new(draft, "drafter", json_string(qu_args_str(a->args, "draft")));
    json_object_set_new(draft, "lossy", json_boolean(qu_args_float(a->args, "transfer") > 0));
    json_object_set_new(o, "draft", draft);
    json_object_set_new(o, "timing_ms",
                        qu_out_reals(NULL, "start retrieve load prefill first_token decode total",
                                     (double[]){ans->start_ms, ans->retrieve_ms, ans->load_ms,
                                                ans->prefill_ms, ans->first_token_ms,
                                                ans->decode_ms, ans->total_ms}));
    json_object_set_new(o, "warnings", warnings);
    return qu_out_json(o, err);
}

/* --- text --- */

static void stream(void *ctx, const char *text, size_t n)
{
    bool *started = ctx;
    while (!*started && n > 0 && (*text == ' ' || *text == '\n')) { /* the answer's leading blank */
        text++;
        n--;
    }
    if (n == 0) return;
    *started = true;
    qu_out_text(text, n, true, NULL);
    qu_out_flush(NULL);
}

static qu_status print_citation(const qu_citation *c, int32_t i, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    QU_TRY(qu_buf_printf(&b, err, "  [%d] %s", i + 1, c->path));
    if (c->member) QU_TRY(qu_buf_printf(&b, err, "!%s", c->member));
    if (c->page_number > 0) QU_TRY(qu_buf_printf(&b, err, " page %d", c->page_number));
    QU_TRY(qu_buf_printf(&b, err, c->has_bytes ? " bytes %lld-%lld" : " text %lld-%lld",
                         (long long)(c->has_bytes ? c->byte_start : c->text_start),
                         (long long)(c->has_bytes ? c->byte_end : c->text_end)));
    if (c->heading && *c->heading) QU_TRY(qu_buf_printf(&b, err, " (%s)", c->heading));
    QU_TRY(qu_out_line(err, "%s%s", b.data, c->stale ? " [stale]" : ""));
    b.len = 0;
    QU_TRY(qu_buf_puts(&b, c->text, err));
    for (char *p = b.data; (p = strchr(p, '\n'));) *p = ' '; /* a passage on one line */
    return qu_out_line(err, "      %s", b.data);
}

static qu_status print_unsupported(const qu_answer *ans, int32_t i, qu_err *err)
{
    const qu_answer_sentence *s = &ans->sentences[i];
    return qu_out_line(err, "  [unsupported] %.*s", (int)(s->end - s->start),
                       ans->text.data + s->start);
}

/* second: the answer is the rule's where the model's was withheld. */
static qu_status print_text(const qu_answer *ans, bool streamed, bool second, qu_err *err)
{
    if (ans->found && !streamed) QU_TRY(qu_out_text(ans->text.data, ans->text.len, true, err));
    if (!ans->found && !streamed) {
        const char *why = ans->candidates == 0 ? "nothing found"
                          : ans->withheld      ? "no sure answer"
                                               : "not stated in the documents";
        QU_TRY(
            qu_out_printf(err, "%s%s", why, ans->n_citations ? "; the likeliest passages:" : ""));
    }
    if (ans->found && !ans->supported && ans->n_sentences <= 1)
        QU_TRY(qu_out_printf(err, " [unsupported]"));
    if (second) QU_TRY(qu_out_printf(err, " [read by rule: the model was not sure]"));
    QU_TRY(qu_out_printf(err, "\n"));
    for (int32_t i = 0; ans->found && ans->n_sentences > 1 && i < ans->n_sentences; i++)
        if (ans->sentences[i].citation < 0) QU_TRY(print_unsupported(ans, i, err));
    for (int32_t i = 0; i < ans->n_citations; i++)
        QU_TRY(print_citation(&ans->citations[i], i, err));
    return qu_out_flush(err);
}

/* --- questions --- */

static void say_unverified(ask_state *a)
{
    if (a->verified_said || qu_args_flag(a->args, "extract")) return;
    a->verified_said = true;
    if (is_verified(a) || a->fidelity == QU_FIDELITY_ISOLATED) return;
    if (a->verdict.known)
        qu_out_note("stored pages failed quire verify%s",
                    a->fidelity == QU_FIDELITY_REPAIR
                        ? ", so did repaired ones: --fidelity exact is the sure way"
                        : "");
    else if (a->fidelity == QU_FIDELITY_KV)
        qu_out_note("stored pages are not verified against fresh prompts for this model: see quire "
                    "verify");
    if (a->s->other_numerics)
        qu_out_warn("the store's pages were made in numerics class %s, this process is %s",
                    qu_store_config_get(a->s->store)->numerics, a->s->numerics);
}

static qu_status one_question(void *ctx, const qu_question *q, qu_err *err)
{
    ask_state *a = ctx;
    QU_OWN(qu_answer_free) qu_answer ans = {0};
    a->started = false;
    qu_status st = qu_asker_ask(a->asker, q->text, &ans, err);
    if (st == QU_OK) {
        a->found = a->found || ans.found;
        st = qu_out_is_json() ? print_json(a, q->id, q->text, &ans, err)
                              : print_text(&ans, a->started, ans.by_rule && a->s->model, err);
        for (size_t i = 0; !qu_out_is_json() && i < ans.warnings.len;
             i += strlen(ans.warnings.data + i) + 1)
            qu_out_warn("%s", ans.warnings.data + i);
        if (ans.candidates > 0) say_unverified(a);
    }
    return st;
}

/* What was asked for; else stored pages, mended where they are known to differ. */
static qu_status choose_fidelity(ask_state *a, qu_err *err)
{
    a->fidelity = (qu_fidelity)qu_args_choice(a->args, "fidelity");
    if (qu_args_flag(a->args, "extract")) return QU_OK;
    QU_TRY(qu_verdict_load(&a->verdict, a->s, err));
    if (!a->verdict.known || a->verdict.kv.passed || qu_args_given(a->args, "fidelity"))
        return QU_OK;
    a->fidelity = QU_FIDELITY_REPAIR;
    qu_out_note("stored pages failed quire verify: mending them for each question "
                "(--fidelity kv takes them as they are)");
    return QU_OK;
}

/* What the model's file asks for where the user did not: a small model answers best from few pages
 * and knows below which confidence it is mostly wrong. */
static void heed_model(const qu_args *args, const qu_gguf *g, qu_ask_options *o)
{
    int32_t pages;
    float sure;
    if (!qu_args_given(args, "pages") &&
        qu_gguf_get_i32(g, "quire.ask.pages", &pages, NULL) == QU_OK)
        o->pages = pages < 1 ? 1 : pages > MAX_PAGES ? MAX_PAGES : pages;
    if (!qu_args_given(args, "min-confidence") &&
        qu_gguf_get_f32(g, "quire.ask.min_confidence", &sure, NULL) == QU_OK && sure > 0)
        o->min_confidence = sure < 1 ? sure : 1;
}

/* Who asks for silence below a confidence of their own gets silence, unless they ask for the rule,
 * too: its scores and the model's probabilities are not the same measure. */
static bool is_second_wanted(const qu_args *args)
{
    return qu_args_given(args, "unsure") ? qu_args_choice(args, "unsure") == 0
                                         : !qu_args_given(args, "min-confidence");
}

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    const qu_args *args = s->args;
    ask_state a = {.args = args, .s = s};
    bool extract = qu_args_flag(args, "extract");
    qu_question q = {.text = args->argv[0]};
    QU_OWN(qu_freep) float *heads = NULL;
    unsigned flags = QU_SESSION_STORE | (extract ? 0 : QU_SESSION_MODEL);
    QU_TRY(qu_session_open(s, args, flags, QU_CODEC_F16, err));
    QU_TRY(choose_fidelity(&a, err));
    qu_ask_options o = {.pages = qu_args_given(args, "pages") ? (int32_t)qu_args_int(args, "pages")
                                                              : PAGES,
                        .max_tokens = (int32_t)qu_args_int(args, "max-tokens"),
                        .max_wait_s = qu_args_float(args, "max-wait"),
                        .fidelity = a.fidelity,
                        .repair_share = qu_args_float(args, "repair"),
                        .extract = extract,
                        .explain = qu_args_flag(args, "explain"),
                        .policy = qu_args_str(args, "policy"),
                        .budget = qu_args_int(args, "budget"),
                        .far_field = !qu_args_flag(args, "no-far-field"),
                        .in_glob = qu_args_str(args, "in"),
                        .min_confidence = qu_args_float(args, "min-confidence"),
                        .sample = {.temperature = (float)qu_args_float(args, "temperature"),
                                   .seed = (uint64_t)qu_args_int(args, "seed"),
                                   .repetition = (float)qu_args_float(args, "repetition-penalty")},
                        .draft = (qu_draft_kind)qu_args_choice(args, "draft"),
                        .draft_budget = qu_args_int(args, "draft-budget"),
                        .transfer = (float)qu_args_float(args, "transfer"),
                        .system = qu_args_str(args, "system"),
                        .raw = qu_args_flag(args, "raw"),
                        .quote = qu_args_flag(args, "quote"),
                        .second_reading = is_second_wanted(args),
                        .ctx = &a.started};
    if (qu_args_str(args, "heads") && s->model)
        QU_TRY(qu_selection_heads(&heads, qu_args_str(args, "heads"), s->model, err));
    o.heads = heads;
    if (s->model) heed_model(args, s->model->gguf, &o);
    if (!qu_out_is_json()) o.on_text = stream;
    QU_TRY(qu_asker_create(&a.asker, s, &o, err));
    qu_status st = QU_OK;
    if (strcmp(q.text, "-") == 0) *code = qu_input_questions(one_question, &a);
    else st = one_question(&a, &q, err);
    if (*code == QU_EXIT_OK && !a.found) *code = QU_EXIT_NOTHING;
    return qu_asker_free(a.asker, st, err);
}

static const qu_option options[] = {
    QU_STR("in", "GLOB", NULL, "only documents whose path (or name, without a slash) matches"),
    QU_INT("pages", "N", NULL, 1, MAX_PAGES,
           "candidate pages a question may use (default: the model file's, else 32)"),
    QU_INT("budget", "N|all", "2048", 1, 1e9,
           "tokens of the candidates that each KV head of a layer reads in full", .choices = "all"),
    QU_ENUM("policy", "NAME", QU_POLICY_DEFAULT,
            "dense|streaming|page-mean|quest|squeezed|multipole|duo",
            "how a KV head chooses its pages when they are more than the budget"),
    QU_STR("heads", "FILE", NULL,
           "table of KV heads, a layer a line: those at .5 or more read every candidate"),
    QU_FLAG("no-far-field",
            "leave out what was not chosen, instead of its clusters' means standing in for it"),
    QU_ENUM("fidelity", "MODE", "kv", QU_FIDELITY_NAMES, "use stored pages; prefill the candidates "
            "afresh as one prompt; mend stored pages for the question; or, to compare, prefill "
            "each page alone"),
    QU_FLOAT("repair", "SHARE", "0.15", 0, 1,
             "share of the pages' tokens that --fidelity repair computes again"),
    QU_TIME("max-wait", "TIME", "30s",
            "longest prefill for documents without KV; beyond it only the found pages are read"),
    QU_INT("max-tokens", "N", "256", 1, 65536, "longest answer"),
    QU_FLOAT("temperature", "X", "0", 0, 10, "0 takes the likeliest token"),
    QU_INT("seed", "N", "0", 0, 9e15, "of sampling"),
    QU_FLOAT("repetition-penalty", "X", "1", .01, 100,
             "make tokens that were already written less likely, by this factor"),
    QU_TEXT("system", "TEXT", NULL,
            "the instruction before the question (default: to answer briefly from the documents)"),
    QU_FLAG("raw", "the question as it is behind the pages: no instruction, no chat template"),
    QU_FLAG("quote", "answer only in verbatim spans of the loaded pages, at most three"),
    QU_ENUM("draft", "DRAFTER", "auto", "auto|none|ngram|self", "guess tokens, from the pages' "
            "text or by the model over few pages, and verify several at once; the answer stays the "
            "model's own"),
    QU_INT("draft-budget", "N", "256", 1, 1e9,
           "tokens each KV head reads of the candidates while --draft self drafts"),
    QU_FLOAT("transfer", "ETA", "0", 0, 1000, "move sampled answers towards what --draft self "
             "drafts (RAPID); above 0 it is lossy: answers differ from the model's own"),
    QU_FLOAT("min-confidence", "P", NULL, 0, 1,
             "withhold answers below this product of token probabilities, show the passages "
             "(default: the model file's, else 0)"),
    QU_ENUM("unsure", NULL, NULL, "rule|withhold", "below it, give what --extract finds if that "
            "is sure, and say so; or only passages (default: rule; withhold where "
            "--min-confidence is given)"),
    QU_FLAG("extract", "no model: the best sentences and a span of them"),
    QU_FLAG("explain", "say on stderr which pages were chosen and why"),
};

const qu_command qu_cmd_ask = {
    .name = "ask",
    .args = "QUESTION|-",
    .summary = "answer a question from the documents, with citations",
    .description =
        "Finds candidate pages by their words, loads their stored KV straight into attention, "
        "answers, and "
        "cites the passages that support the answer: path, bytes and text. With - every line of "
        "stdin is a "
        "question, or a JSON object with \"id\" and \"question\", and the model is loaded once.\n\n"
        "Documents whose KV has not been made yet are prefilled first if that takes no longer than "
        "--max-wait, and their KV is kept.",
    .examples = "quire ask \"When does the ferry leave?\"\nquire ask - --json <questions.jsonl\n"
                "quire ask --in '*.md' --fidelity exact \"Who signs the orders?\"",
    QU_OPTIONS(options),
    .min_args = 1,
    .max_args = 1,
    .act = act,
};
