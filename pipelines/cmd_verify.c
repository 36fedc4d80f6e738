/* quire verify: do stored pages answer as a fresh prompt does? On this store and model. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "ingest/sentence.h"
#include "kernels/codec.h"
#include "pipelines/commands.h"
#include "pipelines/compare.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/score.h"
#include "pipelines/verdict.h"

enum { MIN_WORDS = 6, SIDE_WORDS = 12, MAX_WORDS = 200, DRAWS_EACH = 20, MAX_QUESTIONS = 10000 };

typedef struct verify {
    const qu_args *args;
    qu_session *s;
    json_t *questions; /* objects with "question" */
    int64_t asked;     /* those that found pages */
    qu_difference kv, repair;
    double same_kv, same_repair;
} verify;

/* --- questions: sentences of the documents with one word left out --- */

/* "... SIDE_WORDS words ___ SIDE_WORDS words ...", the gap among words of four bytes and more;
 * nothing for a sentence too short or without such a word. */
static qu_status add_gap(verify *v, const char *s, size_t n, uint64_t *seed, qu_err *err)
{
    size_t start[MAX_WORDS], len[MAX_WORDS];
    int32_t words = 0, fit[MAX_WORDS], n_fit = 0;
    QU_OWN(qu_buf_free) qu_buf q = {0};
    for (size_t i = 0; i < n && words < MAX_WORDS;) {
        size_t w = 0;
        while (i < n && isspace((unsigned char)s[i])) i++;
        while (i + w < n && !isspace((unsigned char)s[i + w])) w++;
        if (w >= 4) fit[n_fit++] = words;
        start[words] = i;
        len[words] = w;
        words += w > 0;
        i += w;
    }
    if (words < MIN_WORDS || n_fit == 0) return QU_OK;
    int32_t gap = fit[qu_score_random(seed) % (uint64_t)n_fit];
    int32_t from = gap > SIDE_WORDS ? gap - SIDE_WORDS : 0;
    for (int32_t i = from; i < words && i <= gap + SIDE_WORDS; i++) {
        if (i > from) QU_TRY(qu_buf_add(&q, " ", 1, err));
        QU_TRY(qu_buf_add(&q, i == gap ? "___" : s + start[i], i == gap ? 3 : len[i], err));
    }
    json_t *o = json_pack("{s:s%}", "question", q.data, q.len);
    bool kept = json_array_append_new(v->questions, o) == 0;
    return kept ? QU_OK : qu_fail_nomem(err, (long long)q.len);
}

/* A sentence of one page. */
static qu_status draw_one(verify *v, qu_txn *t, uint64_t doc_id, int32_t page, uint64_t *seed,
                          qu_err *err)
{
    qu_page record;
    QU_OWN(qu_buf_free) qu_buf text = {0};
    QU_OWN(qu_sentences_free) qu_sentences s = {0};
    QU_TRY(qu_catalogue_page(t, doc_id, page, &record, err));
    QU_TRY(qu_catalogue_text(t, doc_id, record.text_start, record.text_end, &text, err));
    QU_TRY(qu_sentences_find(&s, text.data, 0, (int64_t)text.len, err));
    if (s.n == 0) return QU_OK;
    int64_t i = (int64_t)(qu_score_random(seed) % (uint64_t)s.n);
    int64_t end = i + 1 < s.n ? s.starts[i + 1] : (int64_t)text.len;
    return add_gap(v, text.data + s.starts[i], (size_t)(end - s.starts[i]), seed, err);
}

typedef struct drawable {
    uint64_t doc_id;
    int32_t page;
} drawable;

/* Every page but the headers. */
static qu_status list_pages(qu_buf *list, qu_txn *t, qu_err *err)
{
    for (uint64_t after = 0;;) {
        QU_OWN(qu_doc_free) qu_doc d = {0};
        QU_TRY(qu_catalogue_next_doc(t, after, &d, err));
        if ((after = d.doc_id) == 0) return QU_OK;
        for (int32_t p = 1; p < d.n_pages; p++)
            QU_TRY(qu_buf_add(list, &(drawable){after, p}, sizeof(drawable), err));
    }
}

static qu_status draw(verify *v, int32_t wanted, qu_err *err)
{
    uint64_t seed = (uint64_t)qu_args_int(v->args, "seed");
    QU_OWN(qu_buf_free) qu_buf list = {0};
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    v->questions = json_array();
    QU_TRY(qu_txn_begin(&t, v->s->store, QU_TXN_READ, err));
    QU_TRY(list_pages(&list, t, err));
    const drawable *pages = (const drawable *)(void *)list.data, *p;
    uint64_t n = list.len / sizeof *pages;
    for (int32_t k = 0; n > 0 && k < wanted * DRAWS_EACH; k++) {
        p = &pages[qu_score_random(&seed) % n];
        QU_TRY(draw_one(v, t, p->doc_id, p->page, &seed, err));
        if (json_array_size(v->questions) == (size_t)wanted) break;
    }
    return QU_OK;
}

/* --- asking --- */

static qu_status one(verify *v, qu_compare *c, const char *question, qu_err *err)
{
    qu_answer exact;
    qu_difference d;
    qu_status st = qu_compare_exact(c, question, &exact, err);
    bool found = exact.candidates > 0;
    qu_answer_free(&exact);
    if (st != QU_OK || !found) return st;
    QU_TRY(qu_compare_with(c, QU_FIDELITY_KV, &d, NULL, err));
    qu_difference_add(&v->kv, &d);
    v->same_kv += d.same;
    QU_TRY(qu_compare_with(c, QU_FIDELITY_REPAIR, &d, NULL, err));
    qu_difference_add(&v->repair, &d);
    v->same_repair += d.same;
    v->asked++;
    return QU_OK;
}

static qu_status compare_all(verify *v, size_t most, qu_err *err)
{
    qu_compare *c;
    const json_t *q;
    size_t i;
    qu_ask_options o = {.pages = (int32_t)qu_args_int(v->args, "pages"),
                        .max_tokens = (int32_t)qu_args_int(v->args, "max-tokens"),
                        .max_wait_s = 1e9,
                        .repair_share = qu_args_float(v->args, "repair")};
    QU_TRY(qu_compare_create(&c, v->s, &o, err));
    qu_status st = QU_OK;
    json_array_foreach(v->questions, i, q)
    {
        if (st != QU_OK || i >= most) break;
        qu_out_progress("verify", (int64_t)i, (int64_t)json_array_size(v->questions), "questions");
        st = one(v, c, qu_input_text(q, "question"), err);
    }
    qu_out_progress_end();
    return qu_compare_free(c, st, err);
}

static qu_verdict_mode judge(const verify *v, const qu_difference *d, double same)
{
    double n = d->positions > 0 ? (double)d->positions : 1;
    qu_verdict_mode m = {.positions = d->positions,
                         .agreement = (double)d->agree / n,
                         .kl = d->kl_positions ? d->kl / (double)d->kl_positions : 0,
                         .same = same / (double)v->asked};
    m.passed = m.agreement >= qu_args_float(v->args, "min-agreement");
    return m;
}

/* --- telling --- */

static json_t *mode_json(const qu_verdict_mode *m)
{
    double n = (double)m->positions,
           half = qu_score_half_width(m->agreement * n, m->agreement * n, n);
    json_t *o = json_pack("{s:b}", "passed", m->passed);
    qu_out_ints(o, "positions", &m->positions);
    return qu_out_reals(o, "agreement half_width_95 kl same_answers",
                        (double[]){m->agreement, half, m->kl, m->same});
}

static qu_status print(const verify *v, const qu_verdict *r, qu_err *err)
{
    const qu_args *a = v->args;
    return qu_out_result(
        json_pack("{s:b,s:I,s:o,s:o,s:s,s:s,s:{s:I,s:I,s:I,s:f,s:f,s:s?}}", "passed", r->kv.passed,
                  "questions", (json_int_t)r->questions, "kv", mode_json(&r->kv), "repair",
                  mode_json(&r->repair), "numerics", v->s->numerics, "codec",
                  qu_codec_name(v->s->codec), "settings", "seed",
                  (json_int_t)qu_args_int(a, "seed"), "pages", (json_int_t)qu_args_int(a, "pages"),
                  "max_tokens", (json_int_t)qu_args_int(a, "max-tokens"), "min_agreement",
                  qu_args_float(a, "min-agreement"), "repair", qu_args_float(a, "repair"),
                  "questions", qu_args_str(a, "questions")),
        err);
}

static void end_verify(verify *v) { json_decref(v->questions); }

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    QU_OWN(end_verify) verify v = {.args = s->args, .s = s};
    int32_t n = (int32_t)qu_args_int(s->args, "n");
    const char *path = qu_args_str(s->args, "questions");
    QU_TRY(path ? qu_input_objects(&v.questions, path, QU_INPUT_MAX_QUESTION, err)
                : draw(&v, n, err));
    QU_TRY(compare_all(&v, (size_t)n, err));
    if (v.asked == 0)
        return qu_fail(err, QU_ERR_NOTFOUND, "no question about the documents of '%s'%s",
                       s->store_dir, path ? "" : ": there is no sentence of some length in them");
    qu_verdict r = {true, v.asked, qu_os_wall_ms(), judge(&v, &v.kv, v.same_kv),
                    judge(&v, &v.repair, v.same_repair)};
    if (!r.kv.passed) *code = QU_EXIT_NOTHING;
    QU_TRY(print(&v, &r, err));
    QU_TRY(qu_session_reopen(s, true, err));
    return qu_verdict_save(&r, s, err);
}

static const qu_option options[] = {
    QU_INT("n", "N", "32", 1, MAX_QUESTIONS, "questions to ask", .letter = 'n'),
    QU_STR("questions", "FILE", NULL,
           "ask the lines of FILE (text or JSONL) in place of sentences with a gap"),
    QU_INT("seed", "N", "1", 0, 1e9, "of drawing sentences"),
    QU_INT("pages", "N", "16", 1, 4096, "candidate pages of a question"),
    QU_INT("max-tokens", "N", "16", 1, 4096, "longest answer that is compared"),
    QU_FLOAT("min-agreement", "P", "0.95", 0, 1,
             "share of tokens with the same first choice that is enough to pass"),
    QU_FLOAT("repair", "SHARE", "0.15", 0, 1,
             "share of the pages' tokens that repair computes again"),
};

const qu_command qu_cmd_verify = {
    .name = "verify",
    .summary = "compare stored pages with fresh prompts, on this store",
    .description =
        "Asks questions about the documents, each answered from a fresh prefill of its pages "
        "(exact), from stored pages (kv) and from repaired ones, and compares the choices of "
        "every token. The questions are sentences of the documents with a word left out, drawn by "
        "--seed. The verdict is kept in the store, for this numerics class: afterwards quire ask "
        "says \"fidelity_verified\":true, or repairs by default where stored pages failed. Exit "
        "1: failed.",
    .examples = "quire verify\nquire verify --n 200 --questions questions.jsonl --json",
    QU_OPTIONS(options),
    .max_args = 0,
    .session = QU_SESSION_STORE | QU_SESSION_MODEL,
    .act = act,
};
