/* quire search: the pages that hold the words of a query, best first; no model runs. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "index/words.h"
#include "pipelines/commands.h"
#include "pipelines/hybrid.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/pages.h"
#include "pipelines/paths.h"
#include "pipelines/session.h"
#include "retrieve/extract.h"

enum { SHOWN_LINES = 3, SHOWN_BYTES = 240, MAX_TOP = 1000, MAX_MISSING = 16 };

typedef struct search {
    const qu_args *args;
    qu_session *s;
    qu_hybrid *h;
    qu_txn *txn;               /* of the query at hand */
    bool batch;
    qu_lexical_hit hits[MAX_TOP];
    int32_t n_hits, n_shown;
    int64_t n_all;             /* shown for all queries */
    json_t *list, *missing;    /* hits, with --json; words that no page holds */
} search;

static qu_status find(search *x, const qu_question *q, qu_err *err)
{
    qu_lexical_opts opts = {.max_per_doc = qu_args_flag(x->args, "files")};
    int32_t top = (int32_t)qu_args_int(x->args, "top");
    qu_paths_filter filter = {qu_args_str(x->args, "in"), x->txn};
    qu_paths_keep(&opts, &filter);
    return qu_hybrid_search(x->h, x->txn, q->text, q->n, &opts, top, x->hits, &x->n_hits, err);
}

/* The word of a text that looks most like word, in small letters; empty where none does. */
static void look_alike(char best[QU_WORD_BYTES], const char *word, const qu_buf *text)
{
    qu_words it;
    qu_word w;
    *best = 0;
    qu_words_init(&it, text->data, text->len);
    while (qu_words_next(&it, &w)) {
        char one[QU_WORD_BYTES] = "";
        const char *both[] = {best, one};
        for (size_t i = 0; i + 1 < sizeof one && w.start + i < w.end; i++)
            one[i] = (char)tolower((unsigned char)text->data[w.start + i]);
        if (qu_options_nearest(word, both, 2) == one) memcpy(best, one, sizeof one);
    }
}

/* Words that no page holds, and what stands for them on the best page (NULL: there is none). It is
 * said where the query has no other: the hits are not what was asked for then. */
static qu_status say_missing(search *x, const qu_question *q, const qu_page_view *best, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf words = {0};
    int64_t n_held;
    QU_TRY(qu_hybrid_unknown(x->h, q->text, q->n, &words, &n_held, err));
    for (size_t at = 0; at < words.len && json_array_size(x->missing) < MAX_MISSING;) {
        char like[QU_WORD_BYTES] = "", *word = words.data + at;
        at += strlen(word) + 1;
        for (char *p = word; *p; p++) *p = (char)tolower((unsigned char)*p);
        if (best) look_alike(like, word, &best->text);
        if (best && n_held == 0)
            qu_out_note(*like ? "no page holds '%s': '%s' was taken instead"
                              : "no page holds '%s'%s",
                        word, like);
        json_t *o = json_pack("{s:o,s:s?}", "word", qu_pages_json_text(word, strlen(word)), "taken",
                              *like ? like : NULL);
        json_array_append_new(x->missing, o);
    }
    return QU_OK;
}

/* Some lines, indented: the page's first, or from the sentence on that holds most of the query
 * where that one would not be among them. */
static qu_status print_passage(const qu_page_view *v, const char *query, qu_err *err)
{
    qu_extract_answer best = {0};
    int32_t n_best;
    QU_TRY(qu_extract(query, &(qu_support_text){v->text.data, (int64_t)v->text.len, 1}, 1, &best, 1,
                      &n_best, err));
    const char *p = v->text.data, *end = p + v->text.len;
    int before = 0;
    for (int64_t i = 1; i < best.sent_start; i++) before += p[i] == '\n' && p[i - 1] != '\n';
    if (before >= SHOWN_LINES || best.sent_end > SHOWN_BYTES) p += best.sent_start;
    size_t left = SHOWN_BYTES;
    for (int lines = 0; p < end && lines < SHOWN_LINES && left > 0;) {
        const char *nl = memchr(p, '\n', (size_t)(end - p)), *to = nl ? nl : end;
        while (p < to && (*p == ' ' || *p == '\t')) p++;
        size_t n = (size_t)(to - p);
        bool cut = n > left;
        if (cut) n = left;
        while (cut && n > 0 && ((unsigned char)p[n] & 0xC0) == 0x80) n--;
        if (n > 0) {
            QU_TRY(qu_out_write("    ", 4, err));
            QU_TRY(qu_out_text(p, n, false, err));
            QU_TRY(qu_out_printf(err, cut ? " ...\n" : "\n"));
            lines++;
        }
        left -= n;
        p = cut || !nl ? end : nl + 1;
    }
    return QU_OK;
}

static qu_status print_hit(search *x, float score, const qu_page_view *v, const char *query,
                           qu_err *err)
{
    if (!qu_out_is_json()) {
        QU_TRY(qu_out_line(err, "%d. %.2f %s:%d [%s]", x->n_shown, (double)score, v->doc.path,
                           v->number, v->id));
        return print_passage(v, query, err);
    }
    char digits[32];
    snprintf(digits, sizeof digits, "%.6g", (double)score); /* a float's digits, not a double's */
    json_t *hit = json_pack("{s:i,s:f}", "rank", x->n_shown, "score", strtod(digits, NULL));
    if (!hit || json_array_append_new(x->list, hit) != 0) return qu_fail_nomem(err, 64);
    QU_TRY(qu_out_path(hit, "path", v->doc.path, err));
    json_t *rest = json_pack("{s:s,s:I,s:I,s:o}", "page_id", v->id, "text_start",
                             (json_int_t)v->page.text_start, "text_end",
                             (json_int_t)v->page.text_end, "text",
                             qu_pages_json_text(v->text.data, v->text.len));
    bool whole = json_object_update_new(hit, rest) == 0;
    return whole ? QU_OK : qu_fail_nomem(err, (long long)v->text.len);
}

static qu_status print_result(search *x, const qu_question *q, qu_err *err)
{
    if (qu_out_is_json()) {
        json_t *o = json_object();
        if (q->id) json_object_set(o, "id", q->id);
        json_object_set_new(o, "query", qu_pages_json_text(q->text, q->n));
        json_object_set(o, "missing", x->missing);
        json_object_set(o, "hits", x->list);
        return qu_out_json(o, err);
    }
    if (x->batch) QU_TRY(qu_out_printf(err, x->n_shown ? "\n" : "    nothing found\n\n"));
    return qu_out_flush(err);
}

static qu_status answer(void *ctx, const qu_question *q, qu_err *err)
{
    search *x = ctx;
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    json_auto_t *list = x->list = json_array(), *missing = x->missing = json_array();
    QU_TRY(qu_txn_begin(&t, x->s->store, QU_TXN_READ, err));
    x->txn = t;
    x->n_shown = 0;
    QU_TRY(find(x, q, err));
    if (x->batch && !qu_out_is_json()) QU_TRY(qu_out_line(err, "? %s", q->text));
    for (int32_t i = 0; i < x->n_hits; i++) {
        QU_OWN(qu_pages_free) qu_page_view v = {0};
        qu_status st = qu_pages_load(&v, x->txn, x->hits[i].doc_id, x->hits[i].page, false, err);
        if (st == QU_ERR_NOTFOUND) continue; /* removed since the index was opened */
        QU_TRY(st);
        if (x->n_shown++ == 0) QU_TRY(say_missing(x, q, &v, err));
        QU_TRY(print_hit(x, x->hits[i].score, &v, q->text, err));
    }
    x->n_all += x->n_shown;
    if (x->n_shown == 0) QU_TRY(say_missing(x, q, NULL, err));
    return print_result(x, q, err);
}

static void end_search(search **x)
{
    if (*x) qu_hybrid_close((*x)->h);
    free(*x);
}

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    const qu_args *args = s->args;
    qu_question q = {.text = args->argv[0], .n = strlen(args->argv[0])};
    double weight =
        qu_args_given(args, "weight") ? qu_args_float(args, "weight") : QU_HYBRID_STORED;
    QU_OWN(end_search) search *x = NULL;
    QU_TRY(qu_memory_take(&x, 1, sizeof *x, err));
    x->args = args;
    x->s = s;
    x->batch = strcmp(q.text, "-") == 0;
    QU_TRY(qu_hybrid_open(&x->h, s, weight, err));
    if (x->batch) *code = qu_input_questions(answer, x);
    else QU_TRY(answer(x, &q, err));
    if (x->n_all > 0 || *code != QU_EXIT_OK) return QU_OK;
    *code = QU_EXIT_NOTHING;
    if (!x->batch) qu_out_note("nothing found");
    return QU_OK;
}

static const qu_option options[] = {
    QU_INT("top", "N", "10", 1, MAX_TOP, "most pages to show", .letter = 'k'),
    QU_FLAG("files", "the best page of each file only"),
    QU_STR("in", "GLOB", NULL,
           "only files whose path, or its end, matches: '*.md', 'reports/2024*'"),
    QU_FLOAT("weight", "W", NULL, 0, 1000,
             "weight of vectors beside words (default: the store's, 0 until it is tuned)"),
};

const qu_command qu_cmd_search = {
    .name = "search",
    .args = "QUERY|-",
    .summary = "find the pages that hold the words of a query",
    .description =
        "Shows rank, score, file:page, the page's name for quire inspect, and the page's "
        "beginning, or the sentence that holds most of the query. No language model runs. Scores "
        "compare within one query only. Where the store has "
        "vectors (quire index --embed-model) and a weight for them (quire eval recall --tune, or "
        "--weight), meaning counts beside words.\n\n"
        "With - each line of standard input is a query, as plain text or as "
        "{\"id\":...,\"question\":\"...\"}. Where no page holds a word of a query, words that look "
        "like them are searched, which is said. Exit 1 says that nothing at all was found.",
    .examples = "quire search 'lighthouse of Alexandria'\n"
                "quire search --files --in 'reports/*' --top 3 revenue\n"
                "quire search --json - <queries.txt | jq -r '.hits[0].path'",
    QU_OPTIONS(options),
    .min_args = 1,
    .max_args = 1,
    .session = QU_SESSION_STORE,
    .act = act,
};
