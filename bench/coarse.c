/* Speed and recall of the coarse stage, on made-up collections of known size.
 *
 *     coarse words FILE [PAGES]              100,000 pages cut at random places out of FILE's text;
 *                                            questions are ten words in a row of it
 *     coarse make DIR [VECTORS [DIMS [SPREAD]]]   a store of a million vectors of 384 numbers
 *     coarse search DIR [QUESTIONS [SPREAD]]      its lists against scoring every vector
 *
 * Vectors: 200 themes, drawn at random; VECTORS / 10 topics, each .7 of a theme and a draw of its
 * own; a vector is its topic and SPREAD (1.2) times a draw of its own, scaled to length 1; all
 * draws have the same length on average. A question is drawn like a vector, from a topic of its own
 * choice. So its 32 nearest are a topic of ten and the nearest of other topics of its theme. make
 * prints the time and peak memory of building; search, in a process of its own, recall@32 against
 * scoring every vector, time and memory. A document has 100 pages, from any topics: the worst case
 * for reading the hits' vectors again.
 */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "bench/bench.h"
#include "index/top.h"
#include "index/vector_int.h"

enum { PAGE_BYTES = 500, PER_DOC = 100, THEMES = 200, PER_TOPIC = 10, K = 32 };

static void print_times(const char *what, double *ms, int n)
{
    qsort(ms, (size_t)n, sizeof *ms, by_double);
    printf("%s p50 %.2f ms, p99 %.2f ms", what, ms[n / 2], ms[n * 99 / 100]);
}

static int words(const char *file, int n_pages)
{
    enum { ASK = 200, WORDS = 10 };
    qu_buf text = {0};
    qu_lexical *lx;
    char idx[64];
    double ms[ASK], start = qu_os_now_ms();
    must(qu_os_read(&text, file, 1 << 26, &err));
    if (text.len <= PAGE_BYTES) must(qu_fail(&err, QU_ERR_ARG, "'%s' is too short", file));
    snprintf(idx, sizeof idx, "/tmp/coarse-%ld.idx", (long)getpid());
    must(qu_lexical_open(&lx, idx, QU_LEXICAL_WRITE, &err));
    for (int p = 0; p < n_pages; p++)
        must(qu_lexical_add(lx, (uint64_t)(p / 10), p % 10 + 1, NULL,
                            text.data + draw() % (text.len - PAGE_BYTES), PAGE_BYTES, &err));
    must(qu_lexical_commit(lx, 1, &err));
    qu_lexical_close(lx);
    double built = qu_os_now_ms() - start;
    must(qu_lexical_open(&lx, idx, QU_LEXICAL_READ, &err));
    unlink(idx);
    for (int i = 0; i < ASK; i++) {
        qu_lexical_hit hits[K];
        int32_t n;
        const char *q = text.data + draw() % (text.len - PAGE_BYTES), *end = q;
        for (int w = 0; w < WORDS && *end; w++) end += strcspn(end, " \n") + 1;
        start = qu_os_now_ms();
        must(qu_lexical_search(lx, q, (size_t)(end - q), NULL, K, hits, &n, &err));
        ms[i] = qu_os_now_ms() - start;
    }
    printf("%d pages: built at %.1f MB/s; ", n_pages, n_pages * (double)PAGE_BYTES / 1e3 / built);
    print_times("question", ms, ASK);
    printf("\n");
    qu_lexical_close(lx);
    qu_buf_free(&text);
    return 0;
}

/* --- vectors --- */

/* A line of /proc/self/status in MB: "VmRSS", or "RssAnon" for what is not a file's. */
static long long status_mb(const char *name)
{
    char line[200];
    long long kb = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0) kb = atoll(line + strlen(name) + 1);
    if (f) fclose(f);
    return kb >> 10;
}

typedef struct space {
    int32_t e;
    int64_t n_topics;
    float *topics; /* [n_topics,e] */
    float spread;
} space;

/* Nearly normal: four uniform draws. */
static float normal(void)
{
    uint64_t z = draw();
    float sum = 0;
    for (int i = 0; i < 4; i++, z >>= 16) sum += (float)(z & 0xffff) / 65536 - .5f;
    return sum * 1.7320508f;
}

static void make_space(space *s, int64_t n, int32_t e, float spread)
{
    float *themes = need(malloc((size_t)THEMES * (size_t)e * sizeof *themes));
    seed = 1;
    *s = (space){.e = e, .n_topics = n / PER_TOPIC + 1, .spread = spread};
    s->topics = need(malloc((size_t)s->n_topics * (size_t)e * sizeof *s->topics));
    for (int64_t i = 0; i < (int64_t)THEMES * e; i++) themes[i] = normal();
    for (int64_t t = 0; t < s->n_topics; t++) {
        const float *theme = themes + (int64_t)(draw() % THEMES) * e;
        for (int32_t i = 0; i < e; i++) s->topics[t * e + i] = .7f * theme[i] + normal();
    }
    free(themes);
}

static void draw_vector(const space *s, float *x)
{
    const float *topic = s->topics + (int64_t)(draw() % (uint64_t)s->n_topics) * s->e;
    for (int32_t i = 0; i < s->e; i++) x[i] = topic[i] + s->spread * normal();
}

static int make(const char *dir, int64_t n, int32_t e, float spread)
{
    static const qu_store_config config = {.page_tokens = 128, .n_layers = 1, .n_kv_heads = 1,
                                           .head_size = 64, .numerics = "none", .model_name = "x"};
    qu_store *store;
    qu_txn *t;
    qu_pool *pool;
    qu_buf path = {0};
    space s;
    make_space(&s, n, e, spread);
    float *x = need(malloc((size_t)PER_DOC * (size_t)e * sizeof *x));
    static qu_page pages[PER_DOC + 1];
    must(qu_store_open(&store, dir, &config, QU_STORE_WRITE, &err));
    must(qu_pool_create(&pool, qu_os_n_cpus(), &err));
    double start = qu_os_now_ms();
    for (int64_t i = 0; i < n; i += PER_DOC) {
        char name[32];
        qu_doc d = {.path = name};
        if (i % (200 * PER_DOC) == 0) must(qu_txn_begin(&t, store, QU_TXN_WRITE, &err));
        if (i == 0) must(qu_vector_begin(t, (qu_hash){1, (uint64_t)n}, e, &err));
        d.path_len = (size_t)snprintf(name, sizeof name, "/%lld", (long long)i);
        must(qu_catalogue_next_doc_id(t, &d.doc_id, &err));
        must(qu_catalogue_put_doc(t, &d, "", 0, NULL, 0, pages, PER_DOC + 1, NULL, 0, &err));
        for (int p = 0; p < PER_DOC; p++) draw_vector(&s, x + (int64_t)p * e);
        must(qu_vector_put(t, d.doc_id, x, PER_DOC, &err));
        if (i / PER_DOC % 200 == 199 || i + PER_DOC >= n) must(qu_txn_commit(t, &err));
    }
    printf("%lld vectors of %d numbers stored in %.0f s\n", (long long)n, e,
           (qu_os_now_ms() - start) / 1e3);
    fflush(stdout);
    free(s.topics);
    free(x);
    qu_vector_build_options options = {.pool = pool};
    must(qu_buf_printf(&path, &err, "%s/vectors.idx", dir));
    start = qu_os_now_ms();
    must(qu_txn_begin(&t, store, QU_TXN_WRITE, &err));
    must(qu_vector_build(t, path.data, &options, &err));
    must(qu_txn_commit(t, &err));
    printf("built in %.0f s, peak memory %lld MB\n", (qu_os_now_ms() - start) / 1e3,
           (long long)qu_os_peak_rss_bytes() >> 20);
    qu_buf_free(&path);
    qu_pool_free(pool);
    qu_store_close(store);
    return 0;
}

/* The K best of all vectors of the store, whatever list they are in. */
static void score_all(qu_txn *t, const qu_vector_state *s, const float *q, qu_top *best)
{
    static float y[QU_VECTOR_CHUNK_BYTES / 34];
    qu_vector_lists l = {0};
    int32_t got = 0, per = qu_vector_chunk_rows(s->n_dims);
    for (;;) {
        must(qu_vector_next_lists(t, l.doc_id, &l, &err));
        if (l.doc_id == 0) break;
        for (int32_t at = 0; at < l.n; at += per) {
            const uint8_t *rows;
            int32_t n;
            must(qu_vector_rows(t, s, l.doc_id, (uint32_t)(at / per) + 1, &rows, &n, &err));
            qu_weight w = {rows, QU_TYPE_Q8_0, n, qu_vector_width(s->n_dims)};
            qu_linear_job job = {&w, NULL, y, n};
            qu_linear_question(NULL, &job, 1, q, w.k, 1);
            for (int32_t i = 0; i < n; i++)
                qu_top_put(
                    best, K, &got,
                    (qu_top){y[i], l.doc_id << QU_VECTOR_PAGE_BITS | (uint64_t)(at + i + 1)});
        }
    }
}

static int search(const char *dir, int n_questions, float spread)
{
    qu_store *store;
    qu_txn *t;
    qu_vector *v, *plain;
    qu_vector_state s;
    qu_buf path = {0};
    space sp;
    int64_t n = 0, found = 0, same = 0;
    must(qu_store_open(&store, dir, NULL, 0, &err));
    must(qu_txn_begin(&t, store, QU_TXN_READ, &err));
    must(qu_vector_get_state(t, &s, &err));
    n = (int64_t)s.model.lo;
    double start = qu_os_now_ms();
    must(qu_buf_printf(&path, &err, "%s/vectors.idx", dir));
    must(qu_vector_open(&v, t, path.data, &err));
    double opened = qu_os_now_ms() - start;
    make_space(&sp, n, s.n_dims, spread);
    seed = 77;
    int32_t width = qu_vector_width(s.n_dims);
    float *q = need(calloc((size_t)n_questions * (size_t)width, sizeof *q));
    for (int i = 0; i < n_questions; i++) draw_vector(&sp, q + (int64_t)i * width);
    free(sp.topics);
    qu_lexical_hit *hits = need(malloc((size_t)n_questions * K * sizeof *hits)), other[K];
    double *ms = need(malloc((size_t)n_questions * sizeof *ms)),
           *cpu = need(malloc((size_t)n_questions * sizeof *cpu));
    int32_t got;
    for (int i = 0; i < n_questions; i++) {
        start = qu_os_now_ms();
        cpu[i] = cpu_ms();
        must(qu_vector_search(v, t, q + (int64_t)i * width, NULL, K, hits + (size_t)i * K, &got,
                              &err));
        ms[i] = qu_os_now_ms() - start;
        cpu[i] = cpu_ms() - cpu[i];
    }
    printf("%lld vectors, %d lists, file %s, opened in %.0f ms; ", (long long)n, s.n_lists,
           qu_vector_uses_file(v) ? "in use" : "not in use", opened);
    print_times("search", ms, n_questions);
    print_times(", of the processor", cpu, n_questions);
    printf("; memory %lld MB, %lld of it not mapped files\n", status_mb("VmRSS"),
           status_mb("RssAnon"));
    fflush(stdout);
    must(qu_vector_open(&plain, t, NULL, &err));
    for (int i = 0; i < n_questions; i++) {
        qu_top best[K];
        score_all(t, &s, q + (int64_t)i * width, best);
        start = qu_os_now_ms();
        must(qu_vector_search(plain, t, q + (int64_t)i * width, NULL, K, other, &got, &err));
        ms[i] = qu_os_now_ms() - start;
        same += memcmp(other, hits + (size_t)i * K, sizeof other) == 0;
        for (int32_t a = 0; a < K; a++)
            for (int32_t b = 0; b < K; b++)
                found += best[a].id == (hits[(size_t)i * K + (size_t)b].doc_id
                                            << QU_VECTOR_PAGE_BITS |
                                        (uint64_t)hits[(size_t)i * K + (size_t)b].page);
    }
    printf("recall@%d of scoring every vector: %.4f over %d questions\n", K,
           (double)found / K / n_questions, n_questions);
    print_times("without the file: search", ms, n_questions);
    printf(", the same hits and scores for %lld of %d\n", (long long)same, n_questions);
    qu_vector_close(v);
    qu_vector_close(plain);
    qu_txn_abort(t);
    qu_store_close(store);
    qu_buf_free(&path);
    free(q);
    free(hits);
    free(ms);
    free(cpu);
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";
    double n = argc > 3 ? atof(argv[3]) : 0;
    if (!strcmp(what, "words")) return words(argv[2], n > 0 ? (int)n : 100000);
    if (!strcmp(what, "make"))
        return make(argv[2], n > 0 ? (int64_t)n : 1000000, argc > 4 ? atoi(argv[4]) : 384,
                    argc > 5 ? (float)atof(argv[5]) : 1.2f);
    if (!strcmp(what, "search"))
        return search(argv[2], n > 0 ? (int)n : 200, argc > 4 ? (float)atof(argv[4]) : 1.2f);
    fprintf(stderr,
            "usage: coarse words FILE [PAGES] | make DIR [VECTORS [DIMS [SPREAD]]] | search "
            "DIR [QUESTIONS [SPREAD]]\n");
    return 2;
}
