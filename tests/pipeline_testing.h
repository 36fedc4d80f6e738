/* For tests of what the program wires together: a folder with models, documents and stores, and
 * sessions on them. Models are made by bench/mkmodel, which `make tests` builds beside them. */
#ifndef QU_TESTS_PIPELINE_TESTING_H
#define QU_TESTS_PIPELINE_TESTING_H

#include "testing.h"

#include "pipelines/answer_int.h"
#include "pipelines/encode.h"
#include "pipelines/make_kv.h"
#include "pipelines/output.h"
#include "pipelines/session.h"
#include "pipelines/sync.h"
#include "store/check.h"

static char px_dir[64];

/* A path in the folder; eight may be in use at once. */
static inline const char *px_path(const char *fmt, ...)
{
    static char path[8][400];
    static int turn;
    char name[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    char *p = path[turn++ & 7];
    snprintf(p, sizeof path[0], "%s/%s", px_dir, name);
    return p;
}

static inline void px_shell(const char *fmt, ...)
{
    char command[1000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    if (system(command) != 0) fail_msg("failed: %s", command);
}

static inline void px_model(const char *name, const char *options)
{
    const char *b = getenv("B") ? getenv("B") : "build/release";
    px_shell("%s/mkmodel %s -o %s", b, options, px_path("%s", name));
}

static inline int px_setup(void **state)
{
    (void)state;
    strcpy(px_dir,
           access("/dev/shm", W_OK) == 0 ? "/dev/shm/quire-pipe-XXXXXX" : "/tmp/quire-pipe-XXXXXX");
    if (!mkdtemp(px_dir)) return -1;
    unsetenv("QUIRE_STORE");
    unsetenv("QUIRE_MODEL");
    qu_out_mode(false, true);
    px_model("copy.gguf", "--copy --context 4096");
    px_model("w512.gguf", "--random --shape tiny --context 512 --seed 1");
    px_model("w1024.gguf", "--random --shape tiny --context 1024 --seed 2 --layers 3");
    return 0;
}

static inline int px_teardown(void **state)
{
    (void)state;
    px_shell("chmod -R u+rwx '%s'; rm -rf '%s'", px_dir, px_dir);
    return 0;
}

/* A session on the store of that name (NULL: none) with the model of that name. */
typedef struct px_session {
    qu_session s;
    qu_args args;
    char *argv[6];
} px_session;

static inline void px_open(px_session *p, const char *store, const char *model, unsigned flags,
                           int codec)
{
    static const qu_command none = {.name = "test", .max_args = 0};
    const char *argv[] = {"--store",   px_path("%s", store ? store : "none"),
                          "--model",   px_path("%s", model),
                          "--threads", "2"};
    for (int i = 0; i < 6; i++) p->argv[i] = strdup(argv[i]);
    TEST_OK(qu_args_parse(&p->args, &none, 6, p->argv, err));
    TEST_OK(qu_session_open(
        &p->s, &p->args, QU_SESSION_MODEL | (store ? QU_SESSION_STORE : 0u) | flags, codec, err));
}

static inline void px_open_write(px_session *p, const char *store, const char *model)
{
    px_open(p, store, model, QU_SESSION_WRITE | QU_SESSION_CREATE, 1);
}

static inline void px_close(px_session *p)
{
    qu_session_close(&p->s);
    qu_args_free(&p->args);
    for (int i = 0; i < 6; i++) free(p->argv[i]);
}

/* n lines of about 16 tokens, the needle (a line's end) after half of them; number makes texts
 * differ. */
static inline void px_write(const char *path, const char *title, const char *needle, int n,
                            int number)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    if (title) fprintf(f, "# %s\n\n", title);
    for (int i = 0; i < n; i++) {
        fprintf(f, "the old house is near the river and the road goes over the hill");
        if (i == number % n) fprintf(f, " to the town");
        fprintf(f, i == n / 2 ? " %s\n\n" : "\n\n", needle);
    }
    fclose(f);
}

static inline qu_sync_report px_sync_roots(px_session *p, const char *const *roots, size_t n,
                                           bool dry_run)
{
    qu_sync_report r = {0};
    qu_sync_options o = {.dry_run = dry_run};
    TEST_OK(qu_sync(&p->s, roots, n, &o, &r, err));
    return r;
}

static inline qu_sync_report px_sync(px_session *p, const char *root)
{
    return px_sync_roots(p, &root, 1, false);
}

/* make_kv, stopped when it has asked that often whether to stop; < 0: never. */
static int px_stop_after;
static inline bool px_stop(void)
{
    return px_stop_after >= 0 && px_stop_after-- == 0;
}

static inline qu_make_kv_report px_make_kv(px_session *p, int stop_after)
{
    qu_make_kv_report r = {0};
    qu_make_kv_options o = {.stop = px_stop};
    px_stop_after = stop_after;
    TEST_OK(qu_make_kv(&p->s, &o, &r, err));
    return r;
}

/* The document at a path; false where there is none. Free it with qu_doc_free. */
static inline bool px_doc(px_session *p, const char *path, qu_doc *d)
{
    qu_txn *t;
    TEST_OK(qu_txn_begin(&t, p->s.store, QU_TXN_READ, err));
    qu_status st = qu_catalogue_find_path(t, path, strlen(path), d, NULL);
    qu_txn_abort(t);
    assert_true(st == QU_OK || st == QU_ERR_NOTFOUND);
    return st == QU_OK;
}

static inline qu_store_counts px_counts(px_session *p)
{
    qu_store_counts c;
    qu_txn *t;
    TEST_OK(qu_txn_begin(&t, p->s.store, QU_TXN_READ, err));
    TEST_OK(qu_catalogue_counts(t, &c, err));
    qu_txn_abort(t);
    return c;
}

static inline void px_print_finding(void *ctx, qu_status st, uint64_t doc_id, const char *msg)
{
    (void)ctx;
    (void)doc_id;
    if (st != QU_OK) print_message("finding: %s\n", msg);
}

static inline void px_assert_clean(px_session *p)
{
    qu_check_stats r;
    TEST_OK(qu_store_check(p->s.store, px_print_finding, NULL, &r, err));
    assert_int_equal(r.n_problems, 0);
}

/* All slices of a document as the store has them, page after page, appended to b. */
static inline void px_slices(px_session *p, const qu_doc *d, qu_buf *b)
{
    qu_page *pages;
    qu_txn *t;
    int32_t n;
    TEST_OK(qu_txn_begin(&t, p->s.store, QU_TXN_READ, err));
    TEST_OK(qu_catalogue_pages(t, d->doc_id, &pages, &n, err));
    qu_txn_abort(t);
    assert_int_equal(d->kv_pages, n);
    for (int32_t i = 0; i < n; i++)
        for (int32_t l = 0; l < p->s.model->n_layers; l++)
            for (int32_t g = 0; g < p->s.model->n_kv_heads; g++) {
                qu_slice_key k = {d->kv_id, (uint32_t)i, (uint16_t)l, (uint16_t)g, QU_KV_SLICE};
                const void *data;
                size_t bytes;
                TEST_OK(qu_store_slice(p->s.store, d->kv_file, &k,
                                       qu_kv_binding(p->s.store, &pages[i]), &data, &bytes, err));
                TEST_OK(qu_buf_add(b, data, bytes, err));
            }
    free(pages);
}

/* A question of its own asker: the answer's text, how many tokens were loaded from the store, the
 * logits of the last token (NULL: not wanted; free them). Documents without KV that were made are
 * saved. */
static inline void px_ask(px_session *p, qu_fidelity fidelity, int32_t max_tokens,
                          const char *question, char text[200], int64_t *loaded, float **logits)
{
    qu_ask_options o = {
        .pages = 64, .max_tokens = max_tokens, .max_wait_s = 1e6, .fidelity = fidelity};
    qu_asker *a;
    qu_answer ans;
    TEST_OK(qu_asker_create(&a, &p->s, &o, err));
    TEST_OK(qu_asker_ask(a, question, &ans, err));
    snprintf(text, 200, "%s", ans.text.len ? ans.text.data : "");
    if (loaded) *loaded = ans.loaded_tokens;
    if (logits) {
        size_t n = (size_t)p->s.model->vocab * sizeof **logits;
        *logits = malloc(n);
        memcpy(*logits, a->logits, n);
    }
    qu_answer_free(&ans);
    TEST_OK(qu_asker_free(a, QU_OK, err));
}

/* How many pages the word index finds for a query. */
static inline int32_t px_hits(px_session *p, const char *query)
{
    qu_lexical *lx;
    qu_lexical_hit hits[32];
    int32_t n;
    TEST_OK(qu_session_lexical(&p->s, &lx, err));
    TEST_OK(qu_lexical_search(lx, query, strlen(query), NULL, 32, hits, &n, err));
    qu_lexical_close(lx);
    return n;
}

#endif
