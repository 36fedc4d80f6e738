/* Exact match and F1 of model-free answers on SQuAD-style questions.
 *
 *     extract XQUAD.json [show]      each question on its gold paragraph, and on gold + 3 distractors
 *
 * Normalised as in the SQuAD evaluation: lower case, punctuation and the articles a, an, the taken
 * out, white space folded. "found": the answer's sentence was the one chosen. show prints the first
 * 60 misses.
 */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "index/lexical.h"
#include "retrieve/extract.h"

enum { MAX_PARAGRAPHS = 1000, DISTRACTORS = 3, MAX_WORDS = 256, MAX_BYTES = 4096 };

typedef struct words {
    char text[MAX_BYTES];
    char *list[MAX_WORDS];
    int n;
} words;

static void die(const char *what)
{
    fprintf(stderr, "extract: %s\n", what);
    exit(2);
}

static void normalise(words *w, const char *s, size_t n)
{
    size_t k = 0;
    w->n = 0;
    for (size_t i = 0; i < n && k < MAX_BYTES - 1; i++)
        if (!ispunct((unsigned char)s[i])) w->text[k++] = (char)tolower((unsigned char)s[i]);
    w->text[k] = 0;
    for (char *save, *p = strtok_r(w->text, " \t\n", &save); p && w->n < MAX_WORDS;
         p = strtok_r(NULL, " \t\n", &save))
        if (strcmp(p, "a") != 0 && strcmp(p, "an") != 0 && strcmp(p, "the") != 0)
            w->list[w->n++] = p;
}

static double f1(const words *a, const words *b)
{
    bool used[MAX_WORDS] = {false};
    int same = 0;
    if (a->n == 0 || b->n == 0) return a->n == b->n;
    for (int i = 0; i < a->n; i++)
        for (int j = 0; j < b->n; j++)
            if (!used[j] && !strcmp(a->list[i], b->list[j])) {
                used[j] = true;
                same++;
                break;
            }
    return 2.0 * same / (a->n + b->n);
}

typedef struct tally {
    int n, exact, found;
    double f1;
} tally;

static void ask(tally *t, json_t *qa, const qu_extract_text *texts, int32_t n_texts, int *show)
{
    const char *q = json_string_value(json_object_get(qa, "question"));
    json_t *gold = json_array_get(json_object_get(qa, "answers"), 0);
    const char *want = json_string_value(json_object_get(gold, "text"));
    qu_extract_answer a;
    qu_err err = {0};
    int32_t n;
    words x, y;
    if (qu_extract(q, texts, n_texts, &a, 1, &n, &err) != QU_OK) die(err.msg);
    t->n++;
    if (n == 0) return;
    const char *text = texts[a.text].text;
    normalise(&x, text + a.span_start, (size_t)(a.span_end - a.span_start));
    normalise(&y, want, strlen(want));
    double score = f1(&x, &y);
    t->f1 += score;
    t->exact += score > 0.9999;
    t->found += memmem(text + a.sent_start, (size_t)(a.sent_end - a.sent_start), want,
                       strlen(want)) != NULL;
    if (score < 0.9999 && *show > 0) {
        --*show;
        printf("Q %s\n  want %s\n  got  %.*s\n  in   %.*s\n", q, want,
               (int)(a.span_end - a.span_start), text + a.span_start,
               (int)(a.sent_end - a.sent_start), text + a.sent_start);
    }
}

static void print_tally(const char *name, const tally *t)
{
    printf("%-22s %5d questions  EM %.1f  F1 %.1f  found %.1f\n", name, t->n,
           100.0 * t->exact / t->n, 100 * t->f1 / t->n, 100.0 * t->found / t->n);
}

int main(int argc, char **argv)
{
    static const char *paragraphs[MAX_PARAGRAPHS];
    char file[64];
    json_t *root = argc > 1 ? json_load_file(argv[1], 0, NULL) : NULL, *article, *para, *qa;
    size_t i, j, k;
    int n = 0, show = argc > 2 ? 60 : 0, none = 0;
    tally alone = {0}, mixed = {0};
    qu_lexical *lx;
    if (!root) die("usage: extract XQUAD.json [show]");
    snprintf(file, sizeof file, "/tmp/extract-%ld.idx", (long)getpid());
    if (qu_lexical_open(&lx, file, QU_LEXICAL_WRITE, NULL)) die("cannot open the index");
    json_array_foreach(json_object_get(root, "data"), i, article)
        json_array_foreach(json_object_get(article, "paragraphs"), j, para)
    {
        const char *c = json_string_value(json_object_get(para, "context"));
        if (n == MAX_PARAGRAPHS) die("too many paragraphs");
        if (qu_lexical_add(lx, (uint64_t)n, 1, NULL, c, strlen(c), NULL))
            die("cannot add to the index");
        paragraphs[n++] = c;
    }
    if (qu_lexical_commit(lx, 1, NULL)) die("cannot write the index");
    qu_lexical_close(lx);
    if (qu_lexical_open(&lx, file, QU_LEXICAL_READ, NULL)) die("cannot read the index");
    unlink(file);
    n = 0;
    json_array_foreach(json_object_get(root, "data"), i, article)
        json_array_foreach(json_object_get(article, "paragraphs"), j, para)
    {
        json_array_foreach(json_object_get(para, "qas"), k, qa)
        {
            qu_extract_text texts[1 + DISTRACTORS] = {
                {paragraphs[n], (int64_t)strlen(paragraphs[n]), 1}};
            const char *q = json_string_value(json_object_get(qa, "question"));
            qu_lexical_hit hits[DISTRACTORS + 1];
            int32_t found, used = 1;
            ask(&alone, qa, texts, 1, &show);
            if (qu_lexical_search(lx, q, strlen(q), NULL, DISTRACTORS + 1, hits, &found, NULL))
                die("search");
            for (int32_t h = 0; h < found && used <= DISTRACTORS; h++)
                if (hits[h].doc_id != (uint64_t)n)
                    texts[used++] = (qu_extract_text){
                        paragraphs[hits[h].doc_id], (int64_t)strlen(paragraphs[hits[h].doc_id]), 1};
            ask(&mixed, qa, texts, used, &none);
        }
        n++;
    }
    print_tally("gold paragraph", &alone);
    print_tally("gold + 3 distractors", &mixed);
    qu_lexical_close(lx);
    json_decref(root);
    return 0;
}
