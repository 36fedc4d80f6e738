/* For the store's tests: a folder of its own, a small config, and documents and slices made from a
 * seed, so that any reader can be compared with what a writer must have written. */
#ifndef QU_TESTS_STORE_TESTING_H
#define QU_TESTS_STORE_TESTING_H

#include "testing.h"

#include <sys/stat.h>

#include "base/os.h"

#include "store/check.h"
#include "store/gc.h"
#include "store/kvfile.h"
#include "store/store_int.h"

enum { FX_LAYERS = 2, FX_HEADS = 2, FX_PAGE = 16 };

static char fx_dir[64];

static inline int fx_setup(void **state)
{
    (void)state;
    /* memory rather than disk: thousands of commits are synced here */
    strcpy(fx_dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/quire-store-XXXXXX"
                                                 : "/tmp/quire-store-XXXXXX");
    return mkdtemp(fx_dir) ? 0 : -1;
}

static inline int fx_teardown(void **state)
{
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", fx_dir);
    return system(cmd);
}

/* A path in the folder; four may be in use at once. */
static inline const char *fx_path(const char *fmt, ...)
{
    static char path[4][256];
    static int turn;
    char name[128];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    char *p = path[turn++ & 3];
    snprintf(p, sizeof path[0], "%s/%s", fx_dir, name);
    return p;
}

static inline qu_store_config fx_config(void)
{
    static int32_t prefix[3] = {1, 70000, 3};
    static char model[] = "/models/a.gguf";
    return (qu_store_config){
        .page_tokens = FX_PAGE, .codec = 7, .n_layers = FX_LAYERS, .n_kv_heads = FX_HEADS,
        .head_size = 8, .binding = {1, 2}, .weights = {3, 4}, .full_weights = {5, 6},
        .numerics = "avx2-1", .model_name = "a", .model_path = model, .prefix_ids = prefix,
        .n_prefix = 3,
    };
}

static inline qu_store *fx_open(const char *name, unsigned flags)
{
    qu_store *s;
    qu_store_config c = fx_config();
    TEST_OK(qu_store_open(&s, fx_path("%s", name), flags & QU_STORE_WRITE ? &c : NULL, flags, err));
    return s;
}

/* What a document made from a seed holds. */
typedef struct fx_doc {
    char *text, *map;
    size_t n_text, n_map;
    qu_page *pages;
    int32_t n_pages;
    int32_t *ids;
    int64_t n_ids;
} fx_doc;

/* n_pages < 0: by the seed, up to 40. Text of about 30 bytes a token, so that some cross a chunk's
 * end. */
static inline fx_doc fx_doc_make(uint64_t seed, int32_t n_pages)
{
    fx_doc d = {0};
    uint64_t r = seed;
    d.n_pages = n_pages >= 0 ? n_pages : (int32_t)(test_random(&r) % 40);
    d.pages = calloc((size_t)d.n_pages + 1, sizeof *d.pages);
    d.ids = calloc((size_t)d.n_pages * FX_PAGE + 1, sizeof *d.ids);
    for (int32_t i = 0; i < d.n_pages; i++) {
        qu_page *p = &d.pages[i];
        p->n_tokens = (int32_t)(test_random(&r) % (FX_PAGE + 1));
        p->flags = (uint32_t)test_random(&r);
        p->text_start = (int64_t)d.n_text;
        d.n_text += (size_t)(test_random(&r) % 400);
        p->text_end = (int64_t)d.n_text;
        p->context = (qu_hash){seed, (uint64_t)i};
        for (int32_t j = 0; j < p->n_tokens; j++)
            d.ids[d.n_ids++] = (int32_t)(test_random(&r) & 0xFFFFFF);
    }
    d.n_text += (size_t)(test_random(&r) % 3 == 0 ? test_random(&r) % 200000 : 0);
    d.text = malloc(d.n_text + 1);
    for (size_t i = 0; i < d.n_text; i++)
        d.text[i] = (char)(i % 1000 < 900 ? 'a' + i * 7 % 23 : (int)(test_random(&r) & 255));
    d.n_map = (size_t)(test_random(&r) % 300);
    d.map = malloc(d.n_map + 1);
    for (size_t i = 0; i < d.n_map; i++) d.map[i] = (char)test_random(&r);
    return d;
}

static inline void fx_doc_free(fx_doc *d)
{
    free(d->text);
    free(d->map);
    free(d->pages);
    free(d->ids);
}

static volatile int fx_own_alloc; /* the tests' own allocations do not fail (fault_store.c) */

/* Put a made document under path in t; its id. */
static inline qu_status fx_put(qu_txn *t, const char *path, uint64_t seed, int32_t n_pages,
                               uint64_t *id, qu_err *err)
{
    fx_own_alloc++;
    fx_doc d = fx_doc_make(seed, n_pages);
    fx_own_alloc--;
    qu_doc doc = {
        .path = (char *)path,
        .path_len = strlen(path),
        .title = "T",
        .format = "text",
        .charset = "utf-8",
        .size = 11,
        .mtime_ns = 12,
        .indexed_ms = 13,
        .inode = 14,
        .dev = 15,
        .flags = 16,
        .content_hash = {seed, seed},
    };
    qu_status st = qu_catalogue_next_doc_id(t, id, err);
    doc.doc_id = *id;
    if (st == QU_OK)
        st = qu_catalogue_put_doc(t, &doc, d.text, d.n_text, d.map, d.n_map, d.pages, d.n_pages,
                                  d.ids, d.n_ids, err);
    fx_doc_free(&d);
    return st;
}

static inline uint64_t fx_add(qu_store *s, const char *path, uint64_t seed, int32_t n_pages)
{
    qu_txn *t;
    uint64_t id;
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
    TEST_OK(fx_put(t, path, seed, n_pages, &id, err));
    TEST_OK(qu_txn_commit(t, err));
    return id;
}

/* The payload a slice must have. */
static inline size_t fx_payload(uint8_t out[8192], const qu_slice_key *k, uint64_t seed)
{
    uint64_t r = seed ^ ((uint64_t)k->page << 32 | (uint64_t)k->layer << 16 |
                         (uint64_t)k->head << 8 | k->kind);
    size_t n = k->kind == QU_KV_SLICE ? 1000 + test_random(&r) % 7000 : 1 + test_random(&r) % 500;
    for (size_t i = 0; i < n; i++) out[i] = (uint8_t)test_random(&r);
    return n;
}

/* All slices of page at of the document made from seed, and its marker. */
static inline qu_status fx_write_page(qu_kv_writer *w, qu_store *s, uint64_t kv_id, uint64_t seed,
                                      uint32_t at, qu_err *err)
{
    uint8_t b[8192];
    qu_page page = {.context = {seed, at}};
    for (uint16_t l = 0; l < FX_LAYERS; l++)
        for (uint16_t h = 0; h < FX_HEADS; h++)
            for (uint8_t kind = 0; kind <= (l + h == 0 ? QU_KV_SUMMARY : 0); kind += QU_KV_SUMMARY) { /* one summary a page */
                qu_slice_key k = {kv_id, at, l, h, kind};
                size_t n = fx_payload(b, &k, seed);
                QU_TRY(qu_kv_writer_put(w, &k, qu_kv_binding(s, &page), b, n, err));
            }
    return qu_kv_writer_page_done(w, kv_id, at, err);
}

/* Write and publish KV of n documents (id, seed, pages) in one file. *file_id is 0 until it exists.
 */
static inline qu_status fx_publish(qu_store *s, int n, const uint64_t *ids, const uint64_t *seeds,
                                   const int32_t *n_pages, uint64_t *file_id, qu_err *err)
{
    qu_kv_writer *w;
    qu_txn *t = NULL;
    qu_status st;
    *file_id = 0;
    QU_TRY(qu_kv_writer_create(&w, s, 0, err));
    for (int i = 0; i < n; i++)
        for (int32_t p = 0; p < n_pages[i]; p++)
            QU_TRY_OUT(fx_write_page(w, s, ids[i], seeds[i], (uint32_t)p, err));
    QU_TRY_OUT(qu_kv_writer_seal(w, err));
    QU_TRY_OUT(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
    for (int i = 0; i < n; i++)
        QU_TRY_OUT(qu_catalogue_set_kv(t, ids[i], 0, qu_kv_writer_file(w), n_pages[i], err));
    *file_id = qu_kv_writer_file(w);
    st = qu_txn_commit(t, err);
    t = NULL;
out:
    qu_txn_abort(t);
    qu_kv_writer_free(w);
    return st;
}

static inline uint64_t fx_publish_one(qu_store *s, uint64_t id, uint64_t seed, int32_t n_pages)
{
    uint64_t file;
    TEST_OK(fx_publish(s, 1, &id, &seed, &n_pages, &file, err));
    return file;
}

/* Compare everything the store has about a document with what was put; kv too when it has any. */
static inline void fx_compare(qu_store *s, qu_txn *t, const qu_doc *d, uint64_t seed,
                              int32_t n_pages)
{
    fx_doc x = fx_doc_make(seed, n_pages);
    qu_buf b = {0};
    qu_page *pages;
    int32_t n;
    uint8_t want[8192];
    assert_int_equal(d->n_pages, x.n_pages);
    assert_int_equal(d->n_tokens, x.n_ids);
    assert_int_equal(d->text_bytes, x.n_text);
    assert_true(qu_hash_equal(d->text_hash, qu_hash_bytes(x.text, x.n_text, 0)));
    TEST_OK(qu_catalogue_text(t, d->doc_id, 0, d->text_bytes, &b, err));
    assert_int_equal(b.len, x.n_text);
    assert_memory_equal(b.data, x.text, x.n_text);
    b.len = 0;
    TEST_OK(qu_catalogue_source_map(t, d->doc_id, &b, err));
    assert_int_equal(b.len, x.n_map);
    assert_memory_equal(b.data, x.map, x.n_map);
    b.len = 0;
    TEST_OK(qu_catalogue_pages(t, d->doc_id, &pages, &n, err));
    assert_int_equal(n, x.n_pages);
    if (n) assert_memory_equal(pages, x.pages, (size_t)n * sizeof *pages);
    TEST_OK(qu_catalogue_ids(t, d->doc_id, 0, n, &b, err));
    assert_int_equal(b.len, x.n_ids * 4);
    if (x.n_ids) assert_memory_equal(b.data, x.ids, b.len);
    for (int32_t p = 0; p < d->kv_pages; p++)
        for (uint16_t lh = 0; lh < FX_LAYERS * FX_HEADS; lh++)
            for (uint8_t kind = 0; kind <= (lh == 0 ? QU_KV_SUMMARY : 0); kind += QU_KV_SUMMARY) {
                qu_slice_key k = {d->kv_id, (uint32_t)p, (uint16_t)(lh / FX_HEADS), lh % FX_HEADS,
                                  kind};
                const void *got;
                size_t len;
                TEST_OK(qu_store_slice(s, d->kv_file, &k, qu_kv_binding(s, &pages[p]), &got, &len,
                                       err));
                assert_int_equal(len, fx_payload(want, &k, seed));
                assert_memory_equal(got, want, len);
                assert_int_equal((uintptr_t)got % 16, 0);
            }
    free(pages);
    qu_buf_free(&b);
    fx_doc_free(&x);
}

static inline void fx_print_finding(void *ctx, qu_status st, uint64_t doc_id, const char *msg)
{
    (void)ctx;
    if (st != QU_OK)
        print_message("finding (%d, doc %llu): %s\n", st, (unsigned long long)doc_id, msg);
}

/* check() finds nothing wrong. */
static inline qu_check_stats fx_assert_clean(qu_store *s)
{
    qu_check_stats r;
    TEST_OK(qu_store_check(s, fx_print_finding, NULL, &r, err));
    assert_int_equal(r.n_problems, 0);
    return r;
}

#endif
