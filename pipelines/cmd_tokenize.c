/* quire tokenize: text to token ids and back, a line at a time; needs a vocabulary only. */
#include <stdlib.h>
#include <string.h>

#include "pipelines/commands.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/pages.h"
#include "pipelines/places.h"
#include "pipelines/session.h"

/* The tokenizer of the model; a file with a vocabulary alone will do. */
static qu_status open_vocabulary(qu_gguf **g, qu_tokenizer **tok, const qu_args *args, qu_err *err)
{
    const char *named = qu_args_str(args, "model"), *env = getenv("QUIRE_MODEL");
    QU_OWN(qu_freep) char *path = NULL;
    if (!named && env && *env) named = env;
    if (named) QU_TRY(qu_places_model(&path, named, err));
    else path = qu_places_bundled();
    if (!path) return qu_fail(err, QU_ERR_NOTFOUND, QU_NO_MODEL);
    QU_TRY(qu_gguf_open(g, path, err));
    return qu_tokenizer_create(tok, *g, err);
}

typedef struct conversion {
    const qu_tokenizer *tok;
    unsigned flags;            /* QU_TOK_* */
    const char *after;         /* what ends a text: "\n", or nothing for a whole one */
    qu_tokens ids;
    qu_buf out;
} conversion;

static qu_status print_ids(conversion *c, qu_err *err)
{
    if (qu_out_is_json())
        return qu_out_json(json_pack("{s:o}", "ids", qu_pages_json_ids(c->ids.ids, c->ids.n)),
                           err);
    c->out.len = 0;
    for (int64_t i = 0; i < c->ids.n; i++)
        QU_TRY(qu_buf_printf(&c->out, err, i ? " %d" : "%d", c->ids.ids[i]));
    QU_TRY(qu_buf_add(&c->out, "\n", 1, err));
    QU_TRY(qu_out_write(c->out.data, c->out.len, err));
    return qu_out_flush(err);
}

static qu_status tokenize(conversion *c, const char *text, size_t n, qu_err *err)
{
    c->ids.n = 0;
    QU_TRY(qu_tokenize(c->tok, &c->ids, text, n, c->flags, err));
    return print_ids(c, err);
}

/* Plain output is the exact inverse, byte for byte; JSON has to be UTF-8. */
static qu_status detokenize(conversion *c, const char *text, size_t n, qu_err *err)
{
    int64_t n_list = 0;
    QU_OWN(qu_freep) int64_t *list = NULL;
    qu_detok d;
    QU_TRY(qu_input_numbers(&list, &n_list, text, n, 0, qu_tokenizer_n_vocab(c->tok) - 1,
                            "token id", err));
    qu_detok_init(&d, c->tok, (c->flags & QU_TOK_SPECIAL) | (qu_out_is_json() ? 0 : QU_TOK_RAW));
    c->out.len = 0;
    for (int64_t i = 0; i < n_list; i++) QU_TRY(qu_detok_add(&d, (int32_t)list[i], &c->out, err));
    QU_TRY(qu_detok_end(&d, &c->out, err));
    if (qu_out_is_json())
        return qu_out_json(
            json_pack("{s:o}", "text", qu_pages_json_text(c->out.data, c->out.len)), err);
    QU_TRY(qu_buf_puts(&c->out, c->after, err));
    QU_TRY(qu_out_write(c->out.data, c->out.len, err));
    return qu_out_flush(err);
}

static qu_status convert(conversion *c, const qu_args *args, qu_err *err)
{
    bool whole = qu_args_flag(args, "whole"), more = true, back = qu_args_flag(args, "detokenize");
    qu_status (*one)(conversion *, const char *, size_t, qu_err *) = back ? detokenize : tokenize;
    QU_OWN(qu_buf_free) qu_buf text = {0};
    c->after = whole ? "" : "\n";
    if (whole) {
        QU_TRY(qu_input_all(stdin, &text, QU_TOK_MAX_BYTES, err));
        return one(c, text.data, text.len, err);
    }
    for (;;) {
        QU_TRY(qu_input_line(stdin, &text, QU_TOK_MAX_BYTES, &more, err));
        if (!more) break;
        QU_TRY(one(c, text.data, text.len, err));
    }
    return QU_OK;
}

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    QU_OWN(qu_gguf_closep) qu_gguf *g = NULL;
    QU_OWN(qu_tokenizer_freep) qu_tokenizer *tok = NULL;
    conversion c = {.flags = (qu_args_flag(s->args, "no-bos") ? 0 : QU_TOK_BOS) |
                             (qu_args_flag(s->args, "special") ? QU_TOK_SPECIAL : 0)};
    (void)code;
    QU_TRY(open_vocabulary(&g, &tok, s->args, err));
    c.tok = tok;
    qu_status st = convert(&c, s->args, err);
    qu_tokens_free(&c.ids);
    qu_buf_free(&c.out);
    return st;
}

static const qu_option options[] = {
    QU_FLAG("whole", "all of standard input as one text, line ends included"),
    QU_FLAG("no-bos", "no begin token, also where the model asks for one"),
    QU_FLAG("special",
            "control tokens written in the text become tokens, and are shown by --detokenize"),
    QU_FLAG("detokenize", "ids on standard input, text out"),
};

const qu_command qu_cmd_tokenize = {
    .name = "tokenize",
    .summary = "turn text into a model's token ids, or back",
    .description =
        "Reads standard input and prints the ids of each line, separated by blanks, as one "
        "line. The begin token stands first where the model asks for it. Bytes that are not "
        "UTF-8 become byte tokens. A GGUF file with a vocabulary and no weights is enough; "
        "the store is not looked at.\n\n"
        "With --detokenize the lines hold ids, parted by blanks or commas, and the text comes "
        "out, byte for byte.",
    .examples = "echo 'Hello there' | quire tokenize\n"
                "quire tokenize --whole --no-bos <chapter.txt | wc -w  # tokens of a file\n"
                "echo '1 403 407' | quire tokenize --detokenize",
    QU_OPTIONS(options),
    .act = act,
};
