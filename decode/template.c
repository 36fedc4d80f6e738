#include "decode/template.h"

#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/dims.h"

#define PLAIN_PREFIX "The following documents are reference material.\n\n"
#define CHAT_PREFIX                                                                                \
    "<|im_start|>system\nYou work from the documents that the user gives.<|im_end|>\n"             \
    "<|im_start|>user\n"
#define ASK                                                                                        \
    "\n\nAnswer briefly from the documents, or reply: " QU_TEMPLATE_REFUSAL ".\n\nQuestion: "

const char *qu_template_name(qu_template_kind kind)
{
    static const char *const names[] = {"plain", "chatml", "pages"};
    return names[kind];
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
    if (holds(chat, "<|im_start|>") && qu_tokenizer_find(t, "<|im_start|>") >= 0)
        return QU_TEMPLATE_CHATML;
    if (unknown) *unknown = true;
    return QU_TEMPLATE_PLAIN;
}

/* Append the tokens of text. control: our own words, in which control tokens count. */
static qu_status add(const qu_tokenizer *t, qu_tokens *out, const char *text, size_t n,
                     bool control, qu_err *err)
{
    return qu_tokenize(t, out, text, n, QU_TOK_CONTINUE | (control ? QU_TOK_SPECIAL : 0u), err);
}

qu_status qu_template_prefix(qu_template_kind kind, const qu_tokenizer *t, qu_tokens *out,
                             qu_err *err)
{
    const char *text = kind == QU_TEMPLATE_CHATML  ? CHAT_PREFIX
                       : kind == QU_TEMPLATE_PAGES ? ""
                                                   : PLAIN_PREFIX;
    QU_TRY(qu_tokenize(t, out, "", 0, QU_TOK_BOS, err));
    int32_t bos = qu_tokenizer_bos(t);
    if (kind == QU_TEMPLATE_PAGES && out->n == 0 &&
        bos >= 0) /* its prefix is BOS, whatever the GGUF adds */
        QU_TRY(add(t, out, "<|bos|>", 7, true, err));
    return add(t, out, text, strlen(text), true, err);
}

qu_status qu_template_header(qu_template_kind kind, const qu_tokenizer *t, const char *title,
                             qu_tokens *out, qu_err *err)
{
    qu_buf b = {0};
    qu_status st = QU_OK;
    int64_t start = out->n;
    if (kind == QU_TEMPLATE_PAGES) {
        QU_TRY_OUT(add(t, out, "<|page|>", 8, true, err));
        QU_TRY_OUT(qu_buf_printf(&b, err, "%s\n", title));
    } else {
        QU_TRY_OUT(qu_buf_printf(&b, err, "Document: %s\n\n", title));
    }
    QU_TRY_OUT(add(t, out, b.data, b.len, false, err));
    if (out->n - start > QU_PAGE_TOKENS) out->n = start + QU_PAGE_TOKENS;
out:
    qu_buf_free(&b);
    return st;
}

qu_status qu_template_question(qu_template_kind kind, const qu_tokenizer *t, const char *question,
                               qu_tokens *out, qu_err *err)
{
    qu_buf b = {0};
    qu_status st = QU_OK;
    const char *before = kind == QU_TEMPLATE_PAGES ? "\nQuestion: " : ASK;
    const char *after = kind == QU_TEMPLATE_CHATML ? "" : "\nAnswer:";
    QU_TRY_OUT(qu_buf_printf(&b, err, "%s%s%s", before, question, after));
    QU_TRY_OUT(add(t, out, b.data, b.len, false, err));
    if (kind == QU_TEMPLATE_CHATML) {
        static const char turn[] = "<|im_end|>\n<|im_start|>assistant\n";
        QU_TRY_OUT(add(t, out, turn, sizeof turn - 1, true, err));
    }
out:
    qu_buf_free(&b);
    return st;
}

int64_t qu_template_answer_end(qu_template_kind kind, const char *answer, size_t n)
{
    if (kind == QU_TEMPLATE_CHATML) return -1;
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
