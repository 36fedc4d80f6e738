#include "decode/template.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/dims.h"

#define PLAIN_PREFIX "The following documents are reference material.\n\n"
#define CHAT_SYSTEM "You work from the documents that the user gives."
#define ASK "Answer briefly from the documents, or reply: " QU_TEMPLATE_REFUSAL "."

/* A chat: [open SYSTEM close | user] TEXT answer. What a template must hold, and a token that the
 * vocabulary must hold, to be of this form; the first that fits is taken. */
typedef struct form {
    qu_template_kind kind;
    const char *signs[3], *token;
    const char *open, *close, *user, *answer;
    const char *marks[4]; /* of turns, where they are ordinary text to some vocabularies */
} form;

#define TURN3(role) "<|start_header_id|>" role "<|end_header_id|>\n\n"

static const form FORMS[] = {
    {QU_TEMPLATE_CHATML, {"<|im_start|>"}, "<|im_start|>", "<|im_start|>system\n",
     "<|im_end|>\n<|im_start|>user\n", "<|im_start|>user\n",
     "<|im_end|>\n<|im_start|>assistant\n", {NULL}},
    {QU_TEMPLATE_LLAMA3, {"<|start_header_id|>", "<|eot_id|>"}, "<|start_header_id|>",
     TURN3("system"), "<|eot_id|>" TURN3("user"), TURN3("user"), "<|eot_id|>" TURN3("assistant"),
     {NULL}},
    {QU_TEMPLATE_LLAMA2, {"[INST]", "<<SYS>>"}, NULL, "[INST] <<SYS>>\n",
     "\n<</SYS>>\n\n", "[INST] ", " [/INST]", {"[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"}},
    {QU_TEMPLATE_MISTRAL_V1, {"[INST] ", " [/INST]"}, NULL, "[INST] ", "\n\n",
     "[INST] ", " [/INST]", {"[INST]", "[/INST]"}},
    {QU_TEMPLATE_MISTRAL_V3, {"[INST] ", "[/INST]"}, NULL, "[INST]", "\n\n",
     "[INST]", "[/INST]", /* the space is the one that SentencePiece puts before a text */
     {"[INST]", "[/INST]"}},
    {QU_TEMPLATE_MISTRAL_TEKKEN, {"[INST]", "[/INST]"}, NULL, "[INST]", "\n\n",
     "[INST]", "[/INST]", {"[INST]", "[/INST]"}},
    {QU_TEMPLATE_PHI3, {"<|assistant|>", "<|end|>", "<|user|>"}, "<|end|>",
     "<|system|>\n", "<|end|>\n<|user|>\n", "<|user|>\n", "<|end|>\n<|assistant|>\n",
     {NULL}},
    {QU_TEMPLATE_GEMMA, {"<start_of_turn>"}, "<start_of_turn>", "<start_of_turn>user\n",
     "\n\n", "<start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n", {NULL}},
    {QU_TEMPLATE_DEEPSEEK, {"<｜User｜>", "<｜Assistant｜>"}, "<｜User｜>", "",
     "<｜User｜>", "<｜User｜>", "<｜Assistant｜>", {NULL}},
    {QU_TEMPLATE_DEEPSEEK_LLM, {"'User: '", "'Assistant: '"}, NULL, "",
     "\n\nUser: ", "User: ", "\n\nAssistant:", {"\nUser:", "\nAssistant:"}},
    {QU_TEMPLATE_DEEPSEEK_CODER, {"### Instruction:", "### Response:"}, NULL, "",
     "\n### Instruction:\n", "### Instruction:\n", "\n### Response:\n",
     {"### Instruction:", "### Response:"}},
};
enum { N_FORMS = sizeof FORMS / sizeof *FORMS };

/* NULL for the kinds that are no chat. */
static const form *form_of(qu_template_kind kind)
{
    for (int i = 0; i < N_FORMS; i++)
        if (FORMS[i].kind == kind) return &FORMS[i];
    return NULL;
}

static bool holds(qu_gguf_str s, const char *word)
{
    return s.len > 0 && memmem(s.data, s.len, word, strlen(word)) != NULL;
}

qu_template_kind qu_template_detect(const qu_tokenizer *t, const qu_gguf *g, bool *unknown)
{
    qu_gguf_str chat = {0};
    if (unknown) *unknown = false;
    if (qu_tokenizer_find(t, "<|page|>") >= 0) return QU_TEMPLATE_PAGES;
    if (qu_gguf_get_str(g, "tokenizer.chat_template", &chat, NULL) != QU_OK)
        return QU_TEMPLATE_PLAIN;
    bool other = holds(chat, "<|im_sep|>"); /* a later Phi, which looks like ChatML */
    for (int i = 0; i < N_FORMS && !other; i++) {
        const form *f = &FORMS[i];
        bool fits = !f->token || qu_tokenizer_find(t, f->token) >= 0;
        for (int k = 0; k < 3 && f->signs[k]; k++) fits = fits && holds(chat, f->signs[k]);
        if (fits) return f->kind;
    }
    if (unknown) *unknown = true;
    return QU_TEMPLATE_PLAIN;
}

/* A prompt being written: control tokens, and between them runs of plain text that are tokenized
 * whole, so that a template's words and the user's merge as they did in training. */
typedef struct prompt {
    const qu_tokenizer *t;
    qu_tokens *out;
    qu_err *err;
    qu_buf run;
    bool fresh; /* the run begins a text: SentencePiece puts its space before it */
} prompt;

static qu_status flush(prompt *p)
{
    QU_TRY(qu_tokenize(p->t, p->out, p->run.data, p->run.len, p->fresh ? 0 : QU_TOK_CONTINUE,
                       p->err));
    p->fresh = p->fresh && p->run.len == 0;
    p->run.len = 0;
    return QU_OK;
}

/* Our own words: control tokens of this vocabulary count in them. */
static qu_status add_words(prompt *p, const char *words)
{
    while (*words) {
        size_t n = strcspn(words, "<["), name = strcspn(words + n, ">]");
        char token[64];
        if (words[n + name]) name++;
        snprintf(token, sizeof token, "%.*s", (int)name, words + n);
        if (name == 0 || !qu_tokenizer_is_control(p->t, qu_tokenizer_find(p->t, token))) {
            QU_TRY(qu_buf_add(&p->run, words, n + name, p->err));
        } else {
            QU_TRY(qu_buf_add(&p->run, words, n, p->err));
            QU_TRY(flush(p));
            QU_TRY(
                qu_tokenize(p->t, p->out, token, name, QU_TOK_CONTINUE | QU_TOK_SPECIAL, p->err));
            p->fresh = true;
        }
        words += n + name;
    }
    return QU_OK;
}

static void end_prompt(prompt *p) { qu_buf_free(&p->run); }

static qu_status begin(prompt *p, qu_template_kind kind)
{
    int64_t before = p->out->n;
    p->fresh = true;
    QU_TRY(qu_tokenize(p->t, p->out, "", 0, QU_TOK_BOS, p->err));
    if (kind == QU_TEMPLATE_PAGES && p->out->n == before) /* its own, whatever the GGUF adds */
        QU_TRY(add_words(p, "<|bos|>"));
    return QU_OK;
}

qu_status qu_template_prefix(qu_template_kind kind, const qu_tokenizer *t, qu_tokens *out,
                             qu_err *err)
{
    QU_OWN(end_prompt) prompt p = {.t = t, .out = out, .err = err};
    const form *f = form_of(kind);
    QU_TRY(begin(&p, kind));
    if (f) QU_TRY(add_words(&p, f->open));
    if (kind != QU_TEMPLATE_PAGES) QU_TRY(qu_buf_puts(&p.run, f ? CHAT_SYSTEM : PLAIN_PREFIX, err));
    if (f) QU_TRY(add_words(&p, f->close));
    return flush(&p);
}

qu_status qu_template_chat(qu_template_kind kind, const qu_tokenizer *t, const char *system,
                           const char *text, qu_tokens *out, qu_err *err)
{
    static const form none = {.open = "", .close = "\n\n", .user = "", .answer = ""};
    QU_OWN(end_prompt) prompt p = {.t = t, .out = out, .err = err};
    const form *f = form_of(kind) ? form_of(kind) : &none;
    bool turn = system && *system;
    QU_TRY(begin(&p, kind));
    QU_TRY(add_words(&p, turn ? f->open : f->user));
    if (turn) QU_TRY(qu_buf_puts(&p.run, system, err));
    if (turn) QU_TRY(add_words(&p, f->close));
    QU_TRY(qu_buf_puts(&p.run, text, err));
    QU_TRY(add_words(&p, f->answer));
    return flush(&p);
}

/* Append text[0, n) to out with another last character in each mark of turns that this vocabulary
 * reads as text. */
static qu_status disarm(qu_buf *out, qu_template_kind kind, const qu_tokenizer *t, const char *text,
                        size_t n, qu_err *err)
{
    const form *f = form_of(kind);
    const size_t start = out->len;
    QU_TRY(qu_buf_add(out, text, n, err));
    for (int i = 0; f && i < 4 && f->marks[i]; i++) {
        const char *mark = f->marks[i], *s = out->data + start, *p;
        size_t len = strlen(mark), lead = *mark == '\n'; /* the text itself begins a line */
        if (qu_tokenizer_is_control(t, qu_tokenizer_find(t, mark))) continue;
        char other = mark[len - 1] == ':' ? ';' : ')';
        if (lead && n >= len - 1 && memcmp(s, mark + 1, len - 1) == 0)
            out->data[start + len - 2] = other;
        for (size_t at = 0; (p = memmem(s + at, n - at, mark, len)); at = (size_t)(p - s) + len)
            out->data[start + (size_t)(p - s) + len - 1] = other;
    }
    return QU_OK;
}

qu_status qu_template_text(qu_template_kind kind, const qu_tokenizer *t, const char *text, size_t n,
                           qu_tokens *out, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf copy = {0};
    QU_TRY(disarm(&copy, kind, t, text, n, err));
    return qu_tokenize(t, out, copy.data, n, QU_TOK_CONTINUE, err);
}

qu_status qu_template_header(qu_template_kind kind, const qu_tokenizer *t, const char *title,
                             qu_tokens *out, qu_err *err)
{
    QU_OWN(end_prompt) prompt p = {.t = t, .out = out, .err = err};
    bool pages = kind == QU_TEMPLATE_PAGES;
    int64_t start = out->n;
    QU_TRY(add_words(&p, pages ? "<|page|>" : "Document: "));
    QU_TRY(disarm(&p.run, kind, t, title, strlen(title), err));
    QU_TRY(qu_buf_puts(&p.run, pages ? "\n" : "\n\n", err));
    QU_TRY(flush(&p));
    if (out->n - start > QU_PAGE_TOKENS) out->n = start + QU_PAGE_TOKENS;
    return QU_OK;
}

qu_status qu_template_instruct(qu_template_kind kind, const qu_tokenizer *t,
                               const char *instruction, const char *question, qu_tokens *out,
                               qu_err *err)
{
    QU_OWN(end_prompt) prompt p = {.t = t, .out = out, .err = err};
    const form *f = form_of(kind);
    if (!instruction) instruction = kind == QU_TEMPLATE_PAGES ? "" : ASK;
    if (*instruction) QU_TRY(qu_buf_printf(&p.run, err, "\n\n%s\n", instruction));
    QU_TRY(qu_buf_printf(&p.run, err, "\nQuestion: %s", question));
    QU_TRY(add_words(&p, f ? f->answer : "\nAnswer:"));
    return flush(&p);
}

qu_status qu_template_question(qu_template_kind kind, const qu_tokenizer *t, const char *question,
                               qu_tokens *out, qu_err *err)
{
    return qu_template_instruct(kind, t, NULL, question, out, err);
}

int64_t qu_template_answer_end(qu_template_kind kind, const char *answer, size_t n)
{
    if (form_of(kind) || n == 0) return -1;
    size_t lead = 0;
    while (lead < n && (answer[lead] == ' ' || answer[lead] == '\n')) lead++;
    if (lead > 0) lead--; /* a next question may follow at once */
    static const char *const ends[] = {"\n\n", "\nQuestion:", "\nDocument:"};
    int64_t best = -1;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const char *p = memmem(answer + lead, n - lead, ends[i], strlen(ends[i]));
        if (p && (best < 0 || p - answer < best)) best = p - answer;
    }
    return best;
}

bool qu_template_is_refusal(const char *answer, size_t n)
{
    while (n > 0 && strchr(" \n\t.", answer[n - 1])) n--;
    while (n > 0 && strchr(" \n\t", *answer)) {
        answer++;
        n--;
    }
    return n == strlen(QU_TEMPLATE_REFUSAL) && strncasecmp(answer, QU_TEMPLATE_REFUSAL, n) == 0;
}
