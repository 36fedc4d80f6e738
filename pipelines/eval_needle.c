/* quire eval needle: facts hidden in a long text, at every depth and length, read through a policy
 * that leaves out most of it. */
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "pipelines/eval.h"
#include "pipelines/input.h"
#include "pipelines/output.h"
#include "pipelines/png.h"
#include "pipelines/score.h"
#include "pipelines/testbed.h"

enum { MAX_LIST = 32, MAX_KEYS = 16, VALUES = 3, ANSWER_TOKENS = 24 };

/* Words that no text holds, from two parts each; the written-down model of bench/mkmodel knows them
 * as single tokens. */
static const char *const parts[2][16] = {{"ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo",
                                          "mu", "na", "pe", "ri", "so", "tu", "va"},
                                         {"dar", "fen", "gol", "hux", "jin", "kev", "lom", "mip",
                                          "nar", "pov", "quz", "rik", "sul", "tev", "vox", "wim"}};
static const char filler[] =
    "the old house is near the river and the road goes over the hill to the town\n";

typedef struct needle {
    qu_asker a;
    int64_t *lengths, *prunes, n_lengths, n_prunes;
    int32_t depths, keys, trials;
    double *share; /* [depths, lengths * prunes] of right answers */
} needle;

typedef struct pin {
    char key[8], value[32];
} pin;

/* Keys and values without a word in common. */
static void draw_pins(pin *pins, int32_t n, uint64_t *seed)
{
    bool used[256] = {false};
    for (int32_t i = 0; i < n; i++) {
        pins[i].value[0] = 0;
        for (int w = 0; w <= VALUES; w++) {
            int k;
            do k = (int)(qu_score_random(seed) % 256);
            while (used[k]);
            used[k] = true;
            char word[8];
            snprintf(word, sizeof word, "%s%s", parts[0][k / 16], parts[1][k % 16]);
            if (w == 0) {
                memcpy(pins[i].key, word, sizeof word);
            } else {
                if (w > 1) strcat(pins[i].value, " ");
                strcat(pins[i].value, word);
            }
        }
    }
}

/* About length tokens of filler, key 0 at depth of depths, the other keys spread evenly. */
static qu_status write_text(needle *x, qu_buf *out, int64_t length, int32_t depth, const pin *pins,
                            qu_err *err)
{
    qu_tokens one = {0};
    QU_TRY(qu_tokenize(x->a.s->tok, &one, filler, strlen(filler), QU_TOK_CONTINUE, err));
    int64_t lines = length / (one.n > 0 ? one.n : 1) + 1, last = lines - 1;
    qu_tokens_free(&one);
    int64_t at[MAX_KEYS] = {x->depths > 1 ? last * depth / (x->depths - 1) : last / 2};
    for (int32_t k = 1; k < x->keys; k++) at[k] = last * (2 * k - 1) / (2 * (x->keys - 1));
    for (int64_t i = 0; i < lines; i++) {
        size_t n = strlen(filler) - 1;
        for (int32_t k = 0; k < x->keys; k++) {
            if (at[k] != i) continue;
            QU_TRY(qu_buf_add(out, filler, n, err));
            QU_TRY(qu_buf_printf(out, err, " %s %s\n", pins[k].key, pins[k].value));
        }
        QU_TRY(qu_buf_puts(out, filler, err));
    }
    return QU_OK;
}

/* Ask for key 0 with that percentage of the candidates' tokens left out. */
static qu_status ask(needle *x, qu_bed_doc *doc, const pin *p, int64_t prune, bool *right,
                     qu_err *err)
{
    char question[64];
    QU_OWN(qu_answer_free) qu_answer ans = {0};
    snprintf(question, sizeof question, "what follows %s?", p->key);
    x->a.o.keep = (double)(100 - prune) / 100;
    qu_status st = qu_bed_ask(&x->a, &doc, 1, question, &ans, err);
    *right = st == QU_OK && strncmp(ans.text.data, p->value, strlen(p->value)) == 0;
    return st;
}

static double *cell(needle *x, int32_t depth, int64_t length, int64_t prune)
{
    return &x->share[(depth * x->n_lengths + length) * x->n_prunes + prune];
}

static qu_status one_text(needle *x, int32_t depth, int64_t length, uint64_t *seed, qu_err *err)
{
    pin pins[MAX_KEYS];
    QU_OWN(qu_buf_free) qu_buf text = {0};
    QU_OWN(qu_bed_free_document) qu_bed_doc doc = {0};
    draw_pins(pins, x->keys, seed);
    QU_TRY(write_text(x, &text, x->lengths[length], depth, pins, err));
    QU_TRY(qu_bed_document(&x->a, &doc, "notes", text.data, text.len, err));
    for (int64_t p = 0; p < x->n_prunes; p++) {
        bool right;
        QU_TRY(ask(x, &doc, &pins[0], x->prunes[p], &right, err));
        *cell(x, depth, length, p) += right / (double)x->trials;
    }
    return QU_OK;
}

static qu_status measure(needle *x, uint64_t seed, qu_err *err)
{
    int64_t all = x->depths * x->n_lengths * x->trials, done = 0;
    QU_TRY(
        qu_memory_take(&x->share, x->depths * x->n_lengths * x->n_prunes, sizeof *x->share, err));
    for (int64_t l = 0; l < x->n_lengths; l++)
        for (int32_t d = 0; d < x->depths; d++)
            for (int32_t t = 0; t < x->trials; t++) {
                qu_out_progress("needle", done++, all, "texts");
                QU_TRY(one_text(x, d, l, &seed, err));
            }
    qu_out_progress_end();
    return QU_OK;
}

/* --- results --- */

static json_t *rows(needle *x)
{
    json_t *list = json_array();
    double n = (double)x->depths * x->trials;
    for (int64_t l = 0; l < x->n_lengths; l++)
        for (int64_t p = 0; p < x->n_prunes; p++) {
            double sum = 0;
            for (int32_t d = 0; d < x->depths; d++) sum += *cell(x, d, l, p);
            double mean = sum / x->depths, half = qu_score_half_width(mean * n, mean * n, n);
            json_t *o = qu_out_ints(NULL, "tokens pruned_percent",
                                    (int64_t[]){x->lengths[l], x->prunes[p]});
            json_array_append_new(
                list, qu_out_reals(o, "n right half_width_95", (double[]){n, mean, half}));
        }
    return list;
}

/* PREFIX.tsv, a line a cell; PREFIX.png, depth downwards, for each length its prunings. */
static qu_status save(needle *x, const char *prefix, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf path = {0}, tsv = {0};
    QU_TRY(qu_buf_puts(&tsv, "tokens\tdepth\tpruned_percent\tkeys\ttrials\tright\n", err));
    for (int64_t l = 0; l < x->n_lengths; l++)
        for (int32_t d = 0; d < x->depths; d++)
            for (int64_t p = 0; p < x->n_prunes; p++)
                QU_TRY(qu_buf_printf(
                    &tsv, err, "%lld\t%.4f\t%lld\t%d\t%d\t%.4f\n", (long long)x->lengths[l],
                    x->depths > 1 ? d / (double)(x->depths - 1) : .5, (long long)x->prunes[p],
                    x->keys, x->trials, *cell(x, d, l, p)));
    QU_TRY(qu_buf_printf(&path, err, "%s.tsv", prefix));
    QU_TRY(qu_os_replace(path.data, tsv.data, tsv.len, 0644, err));
    path.len = 0;
    QU_TRY(qu_buf_printf(&path, err, "%s.png", prefix));
    return qu_png_heat(path.data, x->share, x->depths, (int32_t)(x->n_lengths * x->n_prunes), err);
}

static void end_needle(needle *x)
{
    free(x->lengths);
    free(x->prunes);
    free(x->share);
    qu_asker_close(&x->a);
}

qu_status qu_eval_needle(qu_eval *e, qu_err *err)
{
    const qu_args *args = e->args;
    QU_OWN(end_needle)
    needle x = {.depths = (int32_t)qu_args_int(args, "depths"),
                .keys = (int32_t)qu_args_int(args, "keys"),
                .trials = (int32_t)qu_args_int(args, "trials")};
    qu_ask_options o = {.max_tokens = ANSWER_TOKENS,
                        .draft = QU_DRAFT_NONE,
                        .fidelity = (qu_fidelity)qu_args_choice(args, "fidelity"),
                        .repair_share = qu_args_float(args, "repair"),
                        .policy = qu_args_str(args, "policy"),
                        .far_field = !qu_args_flag(args, "no-far-field")};
    QU_TRY(qu_input_list(&x.lengths, &x.n_lengths, args, "lengths", 64, 1 << 20, MAX_LIST,
                         "length in tokens", err));
    QU_TRY(qu_input_list(&x.prunes, &x.n_prunes, args, "prune", 0, 99, MAX_LIST, "percentage",
                         err));
    QU_TRY(qu_eval_open(e, QU_SESSION_MODEL, err));
    QU_TRY(qu_asker_open(&x.a, e->s, &o, err));
    QU_TRY(measure(&x, (uint64_t)qu_args_int(args, "seed"), err));
    QU_TRY(qu_eval_print(e, json_pack("{s:o}", "needle", rows(&x)), err));
    return qu_args_str(args, "out") ? save(&x, qu_args_str(args, "out"), err) : QU_OK;
}
