/* Recall of the lexical index on public question sets.
 *
 *     recall DATA [xquad.en | xquad.de | xquad.es | xquad.zh | articles | nq | cranfield | speed]
 *
 * DATA holds xquad/, nq-passages/ and cranfield/. Every paragraph, passage or abstract is one
 * document, cut at sentence ends into pages of about 500 bytes. R@k: the share of the questions
 * whose document is among the k best distinct documents; P@k: whose page with the answer is among
 * the k best pages. articles: the English set with an article of about five paragraphs as one
 * document. Cranfield: mean recall@10 and nDCG@10 (gain 5 - grade). speed: 100,000 pages made of
 * XQuAD text. No argument = all.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/os.h"
#include "index/lexical.h"

enum { PAGE_BYTES = 500, K = 10 };

static char index_file[64];

static void die(const char *what, const qu_err *err)
{
    fprintf(stderr, "recall: %s%s%s\n", what, err ? ": " : "", err ? err->msg : "");
    unlink(index_file);
    exit(2);
}

/* End of the page that starts at `at`: the last sentence end within PAGE_BYTES, else a space, else
 * a cut. */
static size_t page_end(const char *s, size_t n, size_t at)
{
    size_t space = 0, sentence = 0, end = at + PAGE_BYTES;
    if (end >= n) return n;
    for (size_t i = at + 1; i <= end; i++) {
        if (s[i] == ' ' || s[i] == '\n') {
            space = i + 1;
            if (strchr(".!?", s[i - 1])) sentence = i + 1;
        } else if (i >= at + 3 && (memcmp(s + i - 3, "\xe3\x80\x82", 3) == 0)) {
            space = sentence = i;
        }
    }
    if (sentence) return sentence;
    if (space) return space;
    while (end < n && (s[end] & 0xc0) == 0x80) end++;
    return end;
}

static void add(qu_lexical *lx, uint64_t id, const char *title, const char *text, size_t n)
{
    qu_err err = {0};
    int32_t page = 1;
    size_t at = 0;
    do {
        size_t end = page_end(text, n, at);
        if (qu_lexical_add(lx, id, page++, title, text + at, end - at, &err)) die("add", &err);
        at = end;
    } while (at < n);
}

/* Page of byte `want`, as add numbers them. */
static int32_t page_of(const char *text, size_t n, size_t want)
{
    int32_t page = 1;
    for (size_t at = 0; (at = page_end(text, n, at)) <= want && at < n;) page++;
    return page;
}

static qu_lexical *writer(void)
{
    qu_err err = {0};
    qu_lexical *lx;
    if (qu_lexical_open(&lx, index_file, QU_LEXICAL_WRITE, &err)) die("open", &err);
    return lx;
}

static qu_lexical *reader(qu_lexical *lx)
{
    qu_err err = {0};
    if (qu_lexical_commit(lx, 1, &err)) die("commit", &err);
    qu_lexical_close(lx);
    if (qu_lexical_open(&lx, index_file, QU_LEXICAL_READ, &err)) die("open", &err);
    unlink(index_file);
    return lx;
}

static int32_t search(qu_lexical *lx, const char *q, bool files, int32_t k, qu_lexical_hit *hits)
{
    qu_err err = {0};
    qu_lexical_opts opts = {.max_per_doc = files};
    int32_t n;
    if (qu_lexical_search(lx, q, strlen(q), &opts, k, hits, &n, &err)) die("search", &err);
    return n;
}

typedef struct tally {
    int n, doc[K], page[K];
} tally;

static void count(tally *t, qu_lexical *lx, const char *q, uint64_t id, int32_t page)
{
    qu_lexical_hit hits[K];
    int32_t n = search(lx, q, true, K, hits);
    t->n++;
    for (int32_t i = 0; i < n; i++)
        if (hits[i].doc_id == id)
            for (int32_t j = i; j < K; j++) t->doc[j]++;
    n = search(lx, q, false, K, hits);
    for (int32_t i = 0; i < n; i++)
        if (hits[i].doc_id == id && hits[i].page == page)
            for (int32_t j = i; j < K; j++) t->page[j]++;
}

static void print_tally(const char *name, const tally *t)
{
    double n = t->n ? t->n : 1;
    printf("%-10s %5d questions  R@1 %.3f R@5 %.3f R@10 %.3f", name, t->n, t->doc[0] / n,
           t->doc[4] / n, t->doc[9] / n);
    if (t->page[9] > 0)
        printf("  P@1 %.3f P@5 %.3f P@10 %.3f", t->page[0] / n, t->page[4] / n, t->page[9] / n);
    printf("\n");
}

/* Byte offset of code point k. */
static size_t byte_at(const char *s, size_t k)
{
    size_t i = 0;
    for (; s[i] && k > 0; k--)
        for (i++; (s[i] & 0xc0) == 0x80;) i++;
    return i;
}

static json_t *load_json(const char *data, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", data, name);
    json_t *root = json_load_file(path, 0, NULL);
    if (!root) die(path, NULL);
    return root;
}

/* The paragraphs of an article, a line each. */
static void join(qu_buf *text, json_t *article)
{
    json_t *para;
    size_t i;
    json_array_foreach(json_object_get(article, "paragraphs"), i, para)
    {
        if (qu_buf_printf(text, NULL, "%s\n", json_string_value(json_object_get(para, "context"))))
            die("out of memory", NULL);
    }
}

/* whole: an article of about five paragraphs is one document, else each paragraph is. */
static void run_xquad(const char *data, const char *lang, bool whole)
{
    char name[64];
    snprintf(name, sizeof name, "xquad/%s.json", lang);
    json_t *root = load_json(data, name), *article, *para, *qa;
    size_t i, j, k;
    uint64_t id = 0;
    tally t = {0};
    qu_lexical *lx = writer();
    json_array_foreach(json_object_get(root, "data"), i, article)
    {
        qu_buf text = {0};
        if (whole) {
            join(&text, article);
            add(lx, ++id, NULL, text.data, text.len);
        }
        qu_buf_free(&text);
        json_array_foreach(json_object_get(article, "paragraphs"), j, para)
        {
            json_t *c = json_object_get(para, "context");
            if (!whole) add(lx, ++id, NULL, json_string_value(c), json_string_length(c));
        }
    }
    lx = reader(lx);
    id = 0;
    json_array_foreach(json_object_get(root, "data"), i, article)
    {
        size_t before = 0;
        id += whole;
        json_array_foreach(json_object_get(article, "paragraphs"), j, para)
        {
            json_t *c = json_object_get(para, "context");
            id += !whole;
            json_array_foreach(json_object_get(para, "qas"), k, qa)
            {
                json_t *a = json_array_get(json_object_get(qa, "answers"), 0);
                size_t at = byte_at(json_string_value(c),
                                    (size_t)json_integer_value(json_object_get(a, "answer_start")));
                qu_buf text = {0};
                if (whole) join(&text, article);
                const char *p = whole ? text.data : json_string_value(c);
                count(&t, lx, json_string_value(json_object_get(qa, "question")), id,
                      page_of(p, strlen(p), before + at));
                qu_buf_free(&text);
            }
            if (whole) before += json_string_length(c) + 1;
        }
    }
    print_tally(whole ? "articles" : lang, &t);
    qu_lexical_close(lx);
    json_decref(root);
}

static void run_nq(const char *data)
{
    enum { MAX = 4000, LINE = 1 << 22 };
    char path[4096], *line = malloc(LINE);
    json_t **rows = calloc(MAX, sizeof *rows);
    uint64_t *ids = calloc(MAX, sizeof *ids);
    int n = 0;
    tally t = {0};
    snprintf(path, sizeof path, "%s/nq-passages/nq-open-oracle-dev.jsonl.gz", data);
    gzFile gz = gzopen(path, "rb");
    if (!gz || !line || !rows || !ids) die(path, NULL);
    qu_lexical *lx = writer();
    while (n < MAX && gzgets(gz, line, LINE)) {
        rows[n] = json_loads(line, 0, NULL);
        if (!rows[n]) die("nq: bad line", NULL);
        json_t *ctx = json_array_get(json_object_get(rows[n], "ctxs"), 0);
        const char *text = json_string_value(json_object_get(ctx, "text"));
        ids[n] = (uint64_t)n + 1;
        for (int i = 0; i < n && ids[n] == (uint64_t)n + 1;
             i++) { /* the same passage is one document */
            json_t *old = json_array_get(json_object_get(rows[i], "ctxs"), 0);
            if (!strcmp(json_string_value(json_object_get(old, "text")), text)) ids[n] = ids[i];
        }
        if (ids[n] == (uint64_t)n + 1)
            add(lx, ids[n], json_string_value(json_object_get(ctx, "title")), text, strlen(text));
        n++;
    }
    gzclose(gz);
    lx = reader(lx);
    for (int i = 0; i < n; i++)
        count(&t, lx, json_string_value(json_object_get(rows[i], "question")), ids[i], 1);
    memset(t.page, 0, sizeof t.page); /* the set does not say where in the passage the answer is */
    print_tally("nq", &t);
    for (int i = 0; i < n; i++) json_decref(rows[i]);
    free(rows);
    free(ids);
    free(line);
    qu_lexical_close(lx);
}

enum { CRAN_DOCS = 1400, CRAN_QUERIES = 225 };

/* Field letter `tag` (.T title, .W text) of the record at p; its length in *n. */
static const char *field(const char *p, const char *end, char tag, size_t *n)
{
    const char *start = NULL, *at = p;
    *n = 0;
    for (; at < end; at = strchr(at, '\n') + 1) {
        if (at[0] == '.' && start) break;
        if (at[0] == '.' && at[1] == tag) start = at + 3;
        if (!strchr(at, '\n')) break;
    }
    if (start && at > start) *n = (size_t)(at - start);
    return start ? start : end;
}

static const char *next_record(const char *p)
{
    const char *q = strstr(p + 1, "\n.I ");
    return q ? q + 1 : NULL;
}

static void run_cranfield(const char *data)
{
    static int grade[CRAN_QUERIES + 1][CRAN_DOCS + 1];
    char path[4096], query[4096];
    qu_buf docs = {0}, queries = {0}, rels = {0};
    qu_err err = {0};
    size_t n, title_n;
    double recall = 0, ndcg = 0;
    int asked = 0, id = 0;
    snprintf(path, sizeof path, "%s/cranfield/cran.all.1400", data);
    if (qu_os_read(&docs, path, 1 << 24, &err)) die(path, &err);
    snprintf(path, sizeof path, "%s/cranfield/cran-dev.qry", data);
    if (qu_os_read(&queries, path, 1 << 24, &err)) die(path, &err);
    snprintf(path, sizeof path, "%s/cranfield/cranqrel-dev", data);
    if (qu_os_read(&rels, path, 1 << 24, &err)) die(path, &err);
    for (char *p = rels.data; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
        int q, zero, d, g;
        if (sscanf(p, "%d %d %d %d", &q, &zero, &d, &g) == 4 && q > 0 && q <= CRAN_QUERIES &&
            d > 0 && d <= CRAN_DOCS && g < 5)
            grade[q][d] = g < 1 ? 4 : 5 - g;
    }
    qu_lexical *lx = writer();
    for (const char *p = docs.data; p; p = next_record(p)) {
        const char *end = next_record(p) ? next_record(p) : docs.data + docs.len;
        const char *title = field(p, end, 'T', &title_n), *text = field(p, end, 'W', &n);
        snprintf(query, sizeof query, "%.*s", (int)title_n, title);
        add(lx, (uint64_t)++id, query, text, n);
    }
    lx = reader(lx);
    id = 0;
    for (const char *p = queries.data; p; p = next_record(p)) {
        const char *end = next_record(p) ? next_record(p) : queries.data + queries.len;
        const char *text = field(p, end, 'W', &n);
        qu_lexical_hit hits[K];
        int total = 0, got = 0;
        double gain = 0, ideal = 0;
        snprintf(query, sizeof query, "%.*s", (int)n, text);
        id++;
        for (int g = 4, rank = 0; g > 0; g--)
            for (int d = 1; d <= CRAN_DOCS; d++)
                if (grade[id][d] == g) {
                    total++;
                    if (rank < K) ideal += g / log2(2 + rank++);
                }
        if (!total) continue;
        int32_t k = search(lx, query, true, K, hits);
        for (int32_t i = 0; i < k; i++) {
            got += grade[id][hits[i].doc_id] > 0;
            gain += grade[id][hits[i].doc_id] / log2(2 + i);
        }
        asked++;
        recall += (double)got / total;
        ndcg += gain / ideal;
    }
    printf("%-10s %5d queries    recall@10 %.3f nDCG@10 %.3f\n", "cranfield", asked, recall / asked,
           ndcg / asked);
    qu_lexical_close(lx);
    qu_buf_free(&docs);
    qu_buf_free(&queries);
    qu_buf_free(&rels);
}

static int by_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void run_speed(const char *data)
{
    enum { PAGES = 100000, PER_DOC = 10, ASK = 200 };
    json_t *root = load_json(data, "xquad/xquad.en.json"), *article, *para, *qa;
    size_t i, j, k, n_q = 0;
    const char *questions[1200];
    double ms[ASK];
    qu_buf all = {0};
    qu_err err = {0};
    json_array_foreach(json_object_get(root, "data"), i, article)
        json_array_foreach(json_object_get(article, "paragraphs"), j, para)
    {
        if (qu_buf_printf(&all, &err, "%s ", json_string_value(json_object_get(para, "context"))))
            die("", &err);
        json_array_foreach(json_object_get(para, "qas"), k, qa) if (n_q < 1200) questions[n_q++] =
            json_string_value(json_object_get(qa, "question"));
    }
    uint64_t seed = 1;
    double start = qu_os_now_ms(), bytes = 0;
    qu_lexical *lx = writer();
    for (int p = 0; p < PAGES; p++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t at = (seed >> 33) % (all.len - PAGE_BYTES);
        if (qu_lexical_add(lx, (uint64_t)p / PER_DOC, p % PER_DOC + 1, NULL, all.data + at,
                           PAGE_BYTES, &err))
            die("add", &err);
        bytes += PAGE_BYTES;
    }
    lx = reader(lx);
    double built = qu_os_now_ms() - start;
    for (int q = 0; q < ASK; q++) {
        qu_lexical_hit hits[32];
        start = qu_os_now_ms();
        search(lx, questions[(size_t)q * 5 % n_q], false, 32, hits);
        ms[q] = qu_os_now_ms() - start;
    }
    qsort(ms, ASK, sizeof *ms, by_double);
    printf("speed      %d pages: built at %.1f MB/s; query p50 %.2f ms, p99 %.2f ms\n", PAGES,
           bytes / 1000 / built, ms[ASK / 2], ms[ASK * 99 / 100]);
    qu_lexical_close(lx);
    qu_buf_free(&all);
    json_decref(root);
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: recall DATA "
                        "[xquad.en|xquad.de|xquad.es|xquad.zh|articles|nq|cranfield|speed]\n");
        return 2;
    }
    const char *only = argc == 3 ? argv[2] : NULL;
    static const char *langs[] = {"xquad.en", "xquad.de", "xquad.es", "xquad.zh"};
    snprintf(index_file, sizeof index_file, "/tmp/recall-%ld.idx", (long)getpid());
    for (int i = 0; i < 4; i++)
        if (!only || !strcmp(only, langs[i])) run_xquad(argv[1], langs[i], false);
    if (!only || !strcmp(only, "articles")) run_xquad(argv[1], "xquad.en", true);
    if (!only || !strcmp(only, "nq")) run_nq(argv[1]);
    if (!only || !strcmp(only, "cranfield")) run_cranfield(argv[1]);
    if (!only || !strcmp(only, "speed")) run_speed(argv[1]);
    return 0;
}
