/* What drafting gains and what it can cost, prompt by prompt, beside plain decoding in the same
 * run.
 *
 *     draft --model M [--draft auto|ngram] [--prompts 500] [--tokens 48] [--repeat 5]
 *           [--pages 8] FILE...
 *
 * The first pages of the files' text are prefilled once; each prompt is a random piece of it, every
 * third one shuffled. Plain and drafted decoding take turns, one thread, processor time, the best
 * of --repeat each (more where the draft seems to lose). Every answer is compared with the plain
 * one. Prints one JSON line: tokens a second of both, and the drafted speed over the plain one of
 * the worst, the median and the best prompt.
 */
#include <getopt.h>
#include <string.h>

#include "base/dims.h"
#include "bench/bench.h"
#include "decode/draft.h"
#include "decode/token.h"
#include "kernels/codec.h"

enum { MAX_TOKENS = 1024, MAX_PAGES = 256, PROMPT = 12 };

typedef struct bench {
    qu_model *m;
    qu_tokenizer *tok;
    qu_context *c;
    qu_tokens text;
    qu_page_tokens pages[MAX_PAGES];
    int n_pages, tokens;
    qu_draft_kind kind;
    float *logits;
    qu_draft_stats stats;
} bench;

/* Decode after the prompt; the time of it all, index and drafter included. */
static double decode(bench *b, const int32_t *prompt, qu_draft_kind kind, int32_t *out)
{
    int64_t pos = (int64_t)b->n_pages * QU_PAGE_TOKENS;
    qu_suffix *suffix = NULL;
    qu_draft *d;
    qu_context_rewind(b->c, 0);
    must(qu_context_step(b->c, prompt, PROMPT, pos, 1, b->logits, &err));
    double start = cpu_ms();
    if (kind != QU_DRAFT_NONE) {
        must(qu_suffix_create(&suffix, b->m->vocab, &err));
        for (int i = 0; i < b->n_pages; i++)
            must(qu_suffix_add(suffix, b->pages[i].ids, b->pages[i].n, i > 0, &err));
        for (int i = 0; i < PROMPT; i++) must(qu_suffix_next(suffix, prompt[i], &err));
    }
    qu_draft_options o = {.kind = kind,
                          .model = b->m,
                          .context = b->c,
                          .logits = b->logits,
                          .pos = pos + PROMPT,
                          .most = b->tokens,
                          .suffix = suffix};
    must(qu_draft_create(&d, &o, &err));
    for (int i = 0; i < b->tokens; i++) must(qu_draft_next(d, &out[i], NULL, &err));
    double ms = cpu_ms() - start;
    qu_draft_stats s = qu_draft_stats_get(d);
    if (kind != QU_DRAFT_NONE) {
        b->stats.proposed += s.proposed;
        b->stats.accepted += s.accepted;
        b->stats.passes += s.passes;
    }
    qu_draft_free(d);
    qu_suffix_free(suffix);
    return ms;
}

static void load(bench *b, const char *model, char **files, int n_files, int n_pages)
{
    static char buffer[1 << 20];
    must(qu_model_open(&b->m, model, &err));
    must(qu_tokenizer_create(&b->tok, b->m->gguf, &err));
    for (int i = 0; i < n_files; i++) {
        FILE *f = fopen(files[i], "r");
        size_t n = f ? fread(buffer, 1, sizeof buffer, f) : 0;
        if (f) fclose(f);
        must(qu_tokenize(b->tok, &b->text, buffer, n, QU_TOK_CONTINUE, &err));
    }
    b->n_pages = (int)(b->text.n / QU_PAGE_TOKENS < n_pages ? b->text.n / QU_PAGE_TOKENS : n_pages);
    if (b->n_pages < 1) must(qu_fail(&err, QU_ERR_ARG, "the files hold less than a page"));
    for (int i = 0; i < b->n_pages; i++)
        b->pages[i] = (qu_page_tokens){b->text.ids + i * QU_PAGE_TOKENS, QU_PAGE_TOKENS,
                                       (int64_t)i * QU_PAGE_TOKENS};
    must(qu_context_create(&b->c, b->m, NULL, QU_CODEC_F16, &err));
    must(qu_context_prefill(b->c, b->pages, b->n_pages, NULL, &err));
    b->logits = need(malloc((size_t)b->m->vocab * sizeof *b->logits));
}

static void run(bench *b, int prompts, int repeat)
{
    double *ratio = need(calloc((size_t)prompts, sizeof *ratio)), plain_ms = 0, draft_ms = 0;
    int32_t plain[MAX_TOKENS], drafted[MAX_TOKENS], prompt[PROMPT];
    for (int i = 0; i < prompts; i++) {
        double best[2] = {1e30, 1e30};
        int64_t at = (int64_t)(draw() % (uint64_t)(b->n_pages * QU_PAGE_TOKENS - PROMPT));
        for (int k = 0; k < PROMPT; k++)
            prompt[k] =
                b->text.ids[i % 3 ? at + k : (at + 7 * k * k) % (b->n_pages * QU_PAGE_TOKENS)];
        /* Others on the machine only add time: what looks slow is measured up to four times as
         * often, on both sides. */
        for (int k = 0; k < repeat || (k < 4 * repeat && best[1] > best[0]); k++) {
            double ms = decode(b, prompt, QU_DRAFT_NONE, plain);
            best[0] = ms < best[0] ? ms : best[0];
            ms = decode(b, prompt, b->kind, drafted);
            best[1] = ms < best[1] ? ms : best[1];
            if (memcmp(plain, drafted, (size_t)b->tokens * sizeof *plain))
                must(qu_fail(&err, QU_ERR_CORRUPT, "prompt %d: drafts changed the tokens", i));
        }
        ratio[i] = best[0] / best[1];
        plain_ms += best[0];
        draft_ms += best[1];
    }
    qsort(ratio, (size_t)prompts, sizeof *ratio, by_double);
    double tokens = (double)prompts * b->tokens * 1e3;
    printf("{\"model\":\"%s\",\"prompts\":%d,\"tokens\":%d,\"context\":%d,\"plain\":%.1f,"
           "\"drafted\":%.1f,"
           "\"ratio\":%.3f,\"worst\":%.3f,\"p01\":%.3f,\"p05\":%.3f,\"median\":%.3f,\"best\":%.3f,"
           "\"proposed\":%.2f,\"accepted\":%.2f,\"passes\":%.3f}\n",
           b->m->name, prompts, b->tokens, b->n_pages * QU_PAGE_TOKENS, tokens / plain_ms,
           tokens / draft_ms, plain_ms / draft_ms, ratio[0], ratio[prompts / 100],
           ratio[prompts / 20], ratio[prompts / 2], ratio[prompts - 1],
           (double)b->stats.proposed / (tokens / 1e3 * repeat),
           (double)b->stats.accepted / (tokens / 1e3 * repeat),
           (double)b->stats.passes / (tokens / 1e3 * repeat));
    free(ratio);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"model", 1, 0, 'm'},
                                            {"draft", 1, 0, 'd'},
                                            {"prompts", 1, 0, 'p'},
                                            {"tokens", 1, 0, 't'},
                                            {"repeat", 1, 0, 'r'},
                                            {"pages", 1, 0, 'g'},
                                            {0}};
    static bench b;
    const char *model = "models/quire-reader.gguf";
    int prompts = 500, repeat = 5, pages = 8, c;
    b.tokens = 48;
    int *numbers[128] = {['p'] = &prompts, ['t'] = &b.tokens, ['r'] = &repeat, ['g'] = &pages};
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == '?') return 2;
        if (c == 'm') model = optarg;
        if (c == 'd') b.kind = strcmp(optarg, "ngram") ? QU_DRAFT_AUTO : QU_DRAFT_NGRAM;
        if (numbers[c]) *numbers[c] = atoi(optarg);
    }
    if (prompts < 1 || repeat < 1 || b.tokens < 1 || b.tokens > MAX_TOKENS || pages < 1 ||
        pages > MAX_PAGES)
        must(qu_fail(&err, QU_ERR_ARG, "a number is out of range"));
    load(&b, model, argv + optind, argc - optind, pages);
    run(&b, prompts, repeat);
    return 0;
}
