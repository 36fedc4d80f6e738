/* Any bytes where the store and what is derived from it keep their own. Checksums are made right
 * first, or nothing would get past them: what is left is what a store from elsewhere may do to its
 * reader. See fuzz_testing.h.
 *
 *   u8 what: config, catalogue, slice, lexical.idx, use, manifest; then
 *   config    the file from offset 32 on
 *   catalogue changes of a small catalogue: u8 0..127 the record of that number, u8 128.. a new one
 *             with a key of so many bytes less 127; u16 n; n below 32768: its payload, else u16
 *             place and n - 32768 bytes to put there
 *   others    the value or file
 */
#include <fcntl.h>

#include "base/hash.h"
#include "index/lexical_int.h"
#include "index/vector.h"
#include "pipelines/summarize.h"
#include "pipelines/sync.h"
#include "store/use.h"
#include "tests/fuzz_testing.h"
#include "tests/store_testing.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { MAX_RECORDS = 128, MAX_CHANGES = 32, N_DIMS = 8 };

typedef struct record {
    qu_rec_key key;
    uint8_t *p;
    size_t n;
} record;

static qu_store *fuzz_s;
static record records[MAX_RECORDS]; /* of the catalogue as it was made */
static size_t n_records;

/* --- the store that inputs change --- */

static void end_store(void)
{
    void *unused = NULL;
    qu_store_close(fuzz_s);
    for (size_t i = 0; i < n_records; i++) free(records[i].p);
    fx_teardown(&unused);
}

static void remember_records(void)
{
    qu_txn *t;
    const void *p;
    TEST_OK(qu_txn_begin(&t, fuzz_s, QU_TXN_READ, err));
    for (qu_rec_key from = {.n = 1};;) {
        record *r = &records[n_records];
        TEST_OK(qu_rec_seek(t, &from, 0, &r->key, err));
        if (r->key.n == 0) break;
        assert_true(++n_records < MAX_RECORDS);
        TEST_OK(qu_rec_get(t, &r->key, &p, &r->n, err));
        r->p = malloc(r->n + 1);
        memcpy(r->p, p, r->n);
        from = r->key;
        from.b[from.n++] = 0;
    }
    qu_txn_abort(t);
}

/* The map of one run over the whole text and one heading, as pipelines/sync.c packs it. */
static void put_source_map(qu_txn *t, uint64_t doc_id)
{
    int64_t map[2 + 3 + 4] = {1, 1, 0, 0, 20, 0, 1, 0, 4};
    qu_doc d;
    TEST_OK(qu_catalogue_get_doc(t, doc_id, &d, err));
    TEST_OK(qu_prefix_del(t, qu_key_num(QU_TAG_MAP, doc_id), err));
    TEST_OK(qu_stream_put(t, QU_TAG_MAP, doc_id, map, sizeof map, err));
    record r = {qu_key_num(QU_TAG_DOC, doc_id), NULL, 0};
    const void *p;
    TEST_OK(qu_rec_get(t, &r.key, &p, &r.n, err));
    r.p = malloc(r.n);
    memcpy(r.p, p, r.n);
    memcpy(r.p + offsetof(qu_doc, map_bytes), &(int64_t){sizeof map}, 8);
    TEST_OK(qu_rec_put(t, &r.key, r.p, r.n, err));
    free(r.p);
    qu_doc_free(&d);
}

/* Two documents, one with slices, vectors and a source map that can be read. */
static void begin_store(void)
{
    void *unused = NULL;
    qu_txn *t;
    float x[2 * N_DIMS] = {1, 0, 0, 0, .5f, 0, 0, 0, 0, 1};
    assert_int_equal(fx_setup(&unused), 0);
    qu_store_close(fx_open("other", QU_STORE_WRITE));
    fuzz_s = fx_open("s", QU_STORE_WRITE);
    uint64_t id = fx_add(fuzz_s, "/a.txt", 5, 3);
    fx_publish_one(fuzz_s, id, 5, 3);
    fx_add(fuzz_s, "/b.zip!c.md", 6, 2);
    TEST_OK(qu_txn_begin(&t, fuzz_s, QU_TXN_WRITE, err));
    TEST_OK(qu_catalogue_put_root(t, "/", 1, err));
    TEST_OK(qu_vector_begin(t, (qu_hash){1, 2}, N_DIMS, err));
    TEST_OK(qu_vector_put(t, id, x, 2, err));
    put_source_map(t, id);
    TEST_OK(qu_txn_commit(t, err));
    remember_records();
    assert_int_equal(link(fx_path("s/kv/1.kv"), fx_path("1.kv")), 0); /* repair may remove it */
    atexit(end_store);
}

/* Make the catalogue what it was, but for the changes; raw, since its counters may be damaged. */
static void put_records(const record *change, size_t n_changes)
{
    qu_txn t = {.s = fuzz_s, .write = true};
    assert_int_equal(mdb_txn_begin(fuzz_s->env, NULL, 0, &t.mt), 0);
    assert_int_equal(mdb_drop(t.mt, 1, 0), 0);
    for (size_t i = 0; i < n_records; i++)
        TEST_OK(qu_rec_put(&t, &records[i].key, records[i].p, records[i].n, err));
    for (size_t i = 0; i < n_changes; i++)
        TEST_OK(qu_rec_put(&t, &change[i].key, change[i].p, change[i].n, err));
    assert_int_equal(mdb_txn_commit(t.mt), 0);
    if (access(fx_path("s/kv/1.kv"), F_OK) != 0)
        assert_int_equal(link(fx_path("1.kv"), fx_path("s/kv/1.kv")), 0);
}

/* --- catalogue --- */

static void read_pages(qu_txn *t, const qu_doc *d)
{
    qu_page *pages, last;
    int32_t n;
    if (qu_catalogue_pages(t, d->doc_id, &pages, &n, NULL) != QU_OK) return;
    for (int32_t i = 0; i < n; i++) {
        assert_in_range(pages[i].n_tokens, 0, FX_PAGE);
        assert_true(pages[i].text_start >= 0 && pages[i].text_start <= pages[i].text_end &&
                    pages[i].text_end <= d->text_bytes);
    }
    if (n) assert_int_equal(qu_catalogue_page(t, d->doc_id, n - 1, &last, NULL), QU_OK);
    free(pages);
}

static void read_map(qu_txn *t, const qu_doc *d)
{
    const qu_source_run *runs;
    const qu_heading *h;
    int64_t n_runs, n_headings, from, to;
    qu_buf map = {0}, text = {0};
    if (qu_catalogue_text(t, d->doc_id, 0, d->text_bytes, &text, NULL) == QU_OK &&
        qu_catalogue_source_map(t, d->doc_id, &map, NULL) == QU_OK && map.len &&
        qu_sync_unpack_map(map.data, map.len, d->text_bytes, &runs, &n_runs, &h, &n_headings,
                           NULL) == QU_OK) {
        for (int64_t i = 0; i < n_headings; i++)
            assert_true(h[i].text_start >= 0 && h[i].text_start <= h[i].text_end &&
                        h[i].text_end <= d->text_bytes);
        qu_document_source_range(runs, n_runs, 1, 5, &from, &to);
    }
    qu_buf_free(&map);
    qu_buf_free(&text);
}

static void read_slices(qu_txn *t, const qu_doc *d)
{
    qu_page page;
    const void *p;
    size_t n;
    for (int32_t i = 0; i < d->kv_pages && i < 4; i++) {
        qu_slice_key k = {d->kv_id, (uint32_t)i, 1, 1, QU_KV_SLICE};
        if (qu_catalogue_page(t, d->doc_id, i, &page, NULL) == QU_OK)
            qu_store_slice(fuzz_s, d->kv_file, &k, qu_kv_binding(fuzz_s, &page), &p, &n, NULL);
    }
    qu_store_release_readers(fuzz_s);
}

static void read_documents(qu_txn *t)
{
    qu_doc d, same;
    uint64_t id;
    for (uint64_t at = 0, n = 0;
         n < 8 && qu_catalogue_next_doc(t, at, &d, NULL) == QU_OK && d.doc_id; n++) {
        qu_buf ids = {0};
        at = d.doc_id;
        assert_true(qu_sync_file_len(&d) <= d.path_len && strlen(d.format) < 16);
        qu_sync_compare(&d);
        read_pages(t, &d);
        read_map(t, &d);
        read_slices(t, &d);
        qu_catalogue_ids(t, at, 0, d.n_pages, &ids, NULL);
        if (qu_catalogue_find_path(t, d.path, d.path_len, &same, NULL) == QU_OK) qu_doc_free(&same);
        qu_catalogue_find_content(t, d.content_hash, 0, &id, NULL);
        qu_buf_free(&ids);
        qu_doc_free(&d);
    }
}

static void read_vectors(qu_txn *t)
{
    qu_vector *v;
    qu_vector_info info;
    qu_lexical_hit hits[4];
    int32_t n;
    if (qu_vector_get_info(t, &info, NULL) != QU_OK || qu_vector_open(&v, t, NULL, NULL) != QU_OK)
        return;
    float *q = calloc((size_t)info.n_dims, sizeof *q);
    q[0] = 1;
    qu_vector_search(v, t, q, NULL, 4, hits, &n, NULL);
    free(q);
    qu_vector_close(v);
}

/* Changes that any writer might make, none of which is kept. */
static void write_some(void)
{
    qu_txn *t;
    qu_doc to = {.path = "/new", .path_len = 4, .size = 1};
    uint64_t id;
    if (qu_txn_begin(&t, fuzz_s, QU_TXN_WRITE, NULL) != QU_OK) return;
    qu_catalogue_rename(t, 2, &to, NULL);
    qu_catalogue_touch(t, 1, &to, NULL);
    fx_put(t, "/a.txt", 7, 2, &id, NULL);
    qu_catalogue_del_doc(t, 2, NULL);
    qu_txn_abort(t);
}

static void fuzz_catalogue(fuzz_in *in)
{
    record change[MAX_CHANGES];
    size_t n = 0;
    qu_txn *t;
    qu_buf root = {0};
    qu_check_stats stats;
    for (; in->n && n < MAX_CHANGES; n++) {
        int what = fuzz_u8(in);
        record r = {.key.n = 0};
        if (what < 128) {
            r.key = records[(size_t)what % n_records].key;
        } else {
            fuzz_in key = fuzz_take(in, (size_t)(what - 127) % QU_KEY_MAX);
            if (key.n == 0) break;
            r.key.n = key.n;
            memcpy(r.key.b, key.p, key.n);
        }
        size_t len = fuzz_u16(in), whole = what < 128 ? records[(size_t)what % n_records].n : 0;
        size_t at = len & 0x8000 ? fuzz_u16(in) : 0;
        fuzz_in bytes = fuzz_take(in, len & 0x7FFF);
        if (len & 0x8000 && whole) {
            r.n = whole;
            r.p = malloc(whole);
            memcpy(r.p, records[(size_t)what % n_records].p, whole);
            at %= whole;
            memcpy(r.p + at, bytes.p, bytes.n < whole - at ? bytes.n : whole - at);
        } else {
            r.n = bytes.n;
            r.p = malloc(bytes.n + 1);
            memcpy(r.p, bytes.p, bytes.n);
        }
        change[n] = r;
    }
    put_records(change, n);
    if (qu_txn_begin(&t, fuzz_s, QU_TXN_READ, NULL) == QU_OK) {
        qu_store_counts counts;
        qu_catalogue_counts(t, &counts, NULL);
        read_documents(t);
        read_vectors(t);
        qu_catalogue_root_at(t, 0, &root, NULL);
        qu_txn_abort(t);
    }
    write_some();
    qu_store_check(fuzz_s, NULL, NULL, &stats, NULL);
    if (qu_store_repair(fuzz_s, NULL, NULL, NULL, NULL) == QU_OK) {
        TEST_OK(qu_store_check(fuzz_s, fx_print_finding, NULL, &stats, err));
        assert_int_equal(stats.n_problems, 0);
    }
    qu_buf_free(&root);
    while (n) free(change[--n].p);
}

/* --- files --- */

static void save(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "w");
    assert_true(f && fwrite(p, 1, n, f) == n && fclose(f) == 0);
}

static void fuzz_config(const fuzz_in *in)
{
    qu_store *s;
    struct {
        char magic[8];
        uint32_t mark, format;
        uint64_t sum, n;
    } head = {"QUIRESTO", 0x01020304, QU_STORE_FORMAT, 0, sizeof head + in->n};
    char *file = malloc(head.n);
    memcpy(file, &head, sizeof head);
    memcpy(file + sizeof head, in->p, in->n);
    head.sum = qu_hash_sum(file + 24, head.n - 24, 0);
    memcpy(file, &head, sizeof head);
    save(fx_path("other/config"), file, head.n);
    if (qu_store_open(&s, fx_path("other"), NULL, 0, NULL) == QU_OK) {
        const qu_store_config *c = qu_store_config_get(s);
        assert_true(c->page_tokens && c->n_layers > 0 && c->n_kv_heads > 0 && c->head_size > 0);
        assert_true(strlen(c->model_name) < sizeof c->model_name && c->n_prefix >= 0);
        if (c->n_prefix) assert_true(c->prefix_ids[c->n_prefix - 1] | 1);
        qu_store_close(s);
    }
    free(file);
}

static void fuzz_value(const fuzz_in *in)
{
    const void *payload;
    size_t n;
    qu_hash binding;
    uint64_t len, kv_id = 0;
    uint8_t *value = malloc(in->n + 1);
    memcpy(value, in->p, in->n);
    MDB_val v = {in->n, value};
    qu_slice_key k = {0};
    if (in->n >= QU_KV_HEAD_BYTES) {
        memcpy(&len, value + 24, 8);
        memcpy(&kv_id, value + 8, 8);
        k = (qu_slice_key){.kv_id = kv_id, .kind = value[6]};
        memcpy(&k.page, value + 16, 4);
        memcpy(&k.layer, value + 20, 2);
        memcpy(&k.head, value + 22, 2);
        if (len <= in->n - QU_KV_HEAD_BYTES) {
            uint64_t sum = qu_hash_sum(value + QU_KV_HEAD_BYTES, len, qu_hash_sum(value, 56, 0));
            memcpy(value + 56, &sum, 8);
        }
    }
    if (qu_kv_verify(&k, 1, &v, &binding, &payload, &n, NULL) == QU_OK)
        assert_true((const uint8_t *)payload == value + QU_KV_HEAD_BYTES &&
                    n <= in->n - QU_KV_HEAD_BYTES);
    free(value);
}

/* Where its sections leave room for them, all sums of an index file. */
static void seal_lexical(uint8_t *p, size_t n)
{
    qu_lexical_footer f;
    if (n < sizeof f) return;
    memcpy(&f, p + n - sizeof f, sizeof f);
    f.magic = QU_LEXICAL_MAGIC;
    size_t room = n - sizeof f, covered = room / (QU_LEXICAL_BLOCK + 8) * QU_LEXICAL_BLOCK;
    if (room % (QU_LEXICAL_BLOCK + 8) > 8) covered += room % (QU_LEXICAL_BLOCK + 8) - 8;
    size_t n_sums = (covered + QU_LEXICAL_BLOCK - 1) / QU_LEXICAL_BLOCK;
    for (size_t i = 0; i < n_sums; i++) {
        size_t at = i * QU_LEXICAL_BLOCK;
        uint64_t sum = qu_hash_sum(
            p + at, covered - at < QU_LEXICAL_BLOCK ? covered - at : QU_LEXICAL_BLOCK, i);
        memcpy(p + covered + 8 * i, &sum, 8);
    }
    f.sums_sum = qu_hash_sum(p + covered, n_sums * 8, 0);
    f.self_sum = qu_hash_sum(&f, offsetof(qu_lexical_footer, self_sum), 0);
    memcpy(p + n - sizeof f, &f, sizeof f);
}

static void fuzz_lexical(const fuzz_in *in)
{
    static const char *const queries[] = {"ferry", "the crown of the harbour", "crwon a", "b"};
    const qu_lexical_opts one = {.max_per_doc = 1};
    qu_lexical *lx;
    qu_lexical_hit hits[8];
    int32_t n;
    char *path = strdup(fx_path("lexical.idx"));
    uint8_t *file = malloc(in->n + 1);
    memcpy(file, in->p, in->n);
    seal_lexical(file, in->n);
    save(path, file, in->n);
    if (qu_lexical_open(&lx, path, QU_LEXICAL_READ, NULL) == QU_OK) {
        for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
            if (qu_lexical_search(lx, queries[i], strlen(queries[i]), i ? &one : NULL, 8, hits, &n,
                                  NULL) == QU_OK)
                for (int32_t k = 0; k < n; k++)
                    assert_true(hits[k].page >= 0 && !isnan(hits[k].score));
        qu_buf unknown = {0};
        int64_t held;
        qu_lexical_unknown(lx, queries[1], strlen(queries[1]), &unknown, &held, NULL);
        qu_buf_free(&unknown);
        qu_lexical_close(lx);
    }
    TEST_OK(qu_lexical_open(&lx, path, QU_LEXICAL_WRITE, err));
    TEST_OK(qu_lexical_add(lx, 2, 1, "crown", "the ferry leaves", 16, err));
    TEST_OK(qu_lexical_remove(lx, 1, err));
    qu_status st = qu_lexical_commit(lx, 2, NULL);
    qu_lexical_close(lx);
    if (st == QU_OK) {
        TEST_OK(qu_lexical_open(&lx, path, QU_LEXICAL_READ, err));
        TEST_OK(qu_lexical_search(lx, "ferry", 5, NULL, 8, hits, &n, err));
        qu_lexical_close(lx);
    }
    unlink(path);
    free(file);
    free(path);
}

static void fuzz_use(const fuzz_in *in)
{
    qu_use u = {0};
    uint8_t *file = malloc(in->n + 1);
    memcpy(file, in->p, in->n);
    for (size_t at = 0; at + 32 <= in->n; at += 32) {
        uint64_t sum = qu_hash_sum(file + at, 24, 0);
        memcpy(file + at + 24, &sum, 8);
    }
    save(fx_path("s/use"), file, in->n);
    TEST_OK(qu_use_read(&u, fuzz_s, 3, err));
    assert_true(qu_use_score(&u, 1) >= 0);
    qu_use_free(&u);
    unlink(fx_path("s/use"));
    free(file);
}

static bool all_gone(void *ctx, const char *path)
{
    (void)ctx, (void)path;
    return true;
}

static void fuzz_manifest(const fuzz_in *in)
{
    qu_manifest *m;
    qu_buf output = {0};
    int64_t n = 0;
    char *dir = strdup(fx_path("out"));
    TEST_OK(qu_os_mkdirs(dir, 0700, err));
    save(fx_path("out/manifest.tsv"), in->p, in->n);
    if (qu_manifest_open(&m, dir, "/s", false, NULL) == QU_OK) {
        qu_manifest_entry e = {.path = "/a.txt", .doc_id = 1};
        TEST_OK(qu_buf_puts(&output, "a summary", err));
        TEST_OK(qu_manifest_write(m, &e, &output, err));
        assert_true(qu_manifest_holds(m, qu_manifest_find(m, "/a.txt")));
        TEST_OK(qu_manifest_fail(m, "/b.txt", "no\ttext", err));
        TEST_OK(qu_manifest_save(m, err));
        qu_manifest_free(m);
        TEST_OK(qu_manifest_open(&m, dir, "/s", false, err)); /* what it wrote it can read */
        assert_non_null(qu_manifest_find(m, "/b.txt"));
        TEST_OK(qu_manifest_sweep(m, all_gone, NULL, &n, err));
        qu_manifest_free(m);
    }
    qu_buf_free(&output);
    free(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz_in in = {p, n};
    if (!fuzz_s) begin_store();
    switch (fuzz_u8(&in)) {
    case 'c': fuzz_config(&in); break;
    case 's': fuzz_value(&in); break;
    case 'l': fuzz_lexical(&in); break;
    case 'u': fuzz_use(&in); break;
    case 'm': fuzz_manifest(&in); break;
    default: fuzz_catalogue(&in);
    }
    return 0;
}
