/* store/: opening and refusing, the catalogue's round trips, contents in chunks. */
#include "store_testing.h"

#include <fcntl.h>
#include <sys/wait.h>

static void assert_refused(const char *name, const qu_store_config *create, unsigned flags,
                           qu_status want, const char *word)
{
    qu_store *s;
    qu_err e = {0};
    assert_int_equal(qu_store_open(&s, fx_path("%s", name), create, flags, &e), want);
    assert_null(s);
    if (!strstr(e.msg, word)) fail_msg("message '%s' lacks '%s'", e.msg, word);
}

static void poke(const char *path, long offset, const void *p, size_t n)
{
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, p, n, offset), n);
    close(fd);
}

static void test_config_lasts(void **state)
{
    (void)state;
    qu_store *s = fx_open("config", QU_STORE_WRITE);
    qu_store_config want = fx_config();
    for (int round = 0; round < 2; round++) { /* as created, then as read back */
        const qu_store_config *c = qu_store_config_get(s);
        assert_int_equal(c->format, QU_STORE_FORMAT);
        assert_int_equal(c->page_tokens, want.page_tokens);
        assert_int_equal(c->codec, want.codec);
        assert_int_equal(c->n_layers, want.n_layers);
        assert_int_equal(c->n_kv_heads, want.n_kv_heads);
        assert_int_equal(c->head_size, want.head_size);
        assert_true(qu_hash_equal(c->binding, want.binding));
        assert_true(qu_hash_equal(c->weights, want.weights));
        assert_true(qu_hash_equal(c->full_weights, want.full_weights));
        assert_string_equal(c->numerics, want.numerics);
        assert_string_equal(c->model_name, want.model_name);
        assert_string_equal(c->model_path, want.model_path);
        assert_int_equal(c->n_prefix, 3);
        assert_memory_equal(c->prefix_ids, want.prefix_ids, 12);
        assert_int_equal(qu_store_is_writable(s), round == 0);
        qu_store_close(s);
        s = fx_open("config", 0);
    }
    qu_store_close(s);
    qu_store_config other = want;
    other.codec = 9;
    TEST_OK(qu_store_open(&s, fx_path("config"), &other, QU_STORE_WRITE, err));
    assert_int_equal(qu_store_config_get(s)->codec,
                     7); /* frozen: an existing store keeps its own */
    qu_store_close(s);
}

static void test_refusals(void **state)
{
    (void)state;
    qu_store_config c = fx_config(), bad = c;
    assert_refused("absent", NULL, 0, QU_ERR_NOTFOUND, "create one with quire index");
    assert_refused("absent", NULL, QU_STORE_WRITE, QU_ERR_NOTFOUND, "create one with quire index");
    assert_int_equal(access(fx_path("absent"), F_OK), -1); /* looking makes nothing */
    assert_refused("absent", &c, 0, QU_ERR_ARG, "without writing");
    bad.n_layers = 0;
    assert_refused("absent", &bad, QU_STORE_WRITE, QU_ERR_ARG, "out of range");
    memset(bad.numerics, 'x', sizeof bad.numerics);
    bad.n_layers = 1;
    assert_refused("absent", &bad, QU_STORE_WRITE, QU_ERR_ARG, "out of range");

    assert_int_equal(mkdir(fx_path("foreign"), 0755), 0);
    assert_int_equal(close(creat(fx_path("foreign/letter.txt"), 0644)), 0);
    assert_refused("foreign", &c, QU_STORE_WRITE, QU_ERR_ARG, "letter.txt");
    assert_int_equal(access(fx_path("foreign/lock"), F_OK), -1); /* and left as it was */
    assert_refused("foreign", NULL, 0, QU_ERR_NOTFOUND, "create one");
    assert_int_equal(close(creat(fx_path("plain"), 0644)), 0);
    assert_refused("plain", &c, QU_STORE_WRITE, QU_ERR_NOTFOUND, "ot a directory");

    qu_store_close(fx_open("newer", QU_STORE_WRITE));
    poke(fx_path("newer/config"), 12, &(uint32_t){QU_STORE_FORMAT + 1}, 4);
    assert_refused("newer", NULL, 0, QU_ERR_UNSUPPORTED,
                   "format 3, this program reads up to format 2");
    qu_store_close(fx_open("swapped", QU_STORE_WRITE));
    poke(fx_path("swapped/config"), 8, &(uint32_t){0x04030201}, 4);
    assert_refused("swapped", NULL, 0, QU_ERR_UNSUPPORTED, "byte order: mark 04030201");
    struct stat sb;
    qu_store_close(fx_open("flip", QU_STORE_WRITE));
    assert_int_equal(stat(fx_path("flip/config"), &sb), 0);
    qu_buf b = {0};
    TEST_OK(qu_os_read(&b, fx_path("flip/config"), 100000, err));
    for (int64_t bit = 0; bit < sb.st_size * 8; bit += 3) { /* every field is covered */
        char byte = (char)(b.data[bit / 8] ^ 1 << bit % 8);
        poke(fx_path("flip/config"), bit / 8, &byte, 1);
        qu_store *s;
        qu_status st = qu_store_open(&s, fx_path("flip"), NULL, 0, NULL);
        if (st != QU_ERR_CORRUPT && !(st == QU_ERR_UNSUPPORTED && bit / 8 >= 12 && bit / 8 < 16))
            fail_msg("flip of bit %lld: status %d", (long long)bit, st);
        poke(fx_path("flip/config"), bit / 8, b.data + bit / 8, 1);
    }
    assert_int_equal(truncate(fx_path("flip/config"), 100), 0);
    assert_refused("flip", NULL, 0, QU_ERR_CORRUPT, "damaged");
    qu_buf_free(&b);

    qu_store_close(fx_open("current", QU_STORE_WRITE));
    assert_int_equal(truncate(fx_path("current/catalogue.1"), 4096), 0);
    assert_refused("current", NULL, 0, QU_ERR_CORRUPT, "cut short");
    poke(fx_path("current/CURRENT"), 0, "cat and dog ", 12);
    assert_refused("current", NULL, 0, QU_ERR_CORRUPT, "must name a catalogue");
    assert_true(qu_store_is_network_fs(0x6969) && qu_store_is_network_fs((long)0xFF534D42));
    assert_false(qu_store_is_network_fs(0xEF53)); /* ext4 */
}

static void test_creation_resumes(void **state)
{
    (void)state;
    qu_store_close(fx_open("half", QU_STORE_WRITE));
    assert_int_equal(unlink(fx_path("half/config")),
                     0); /* as a kill just before the last step leaves it */
    assert_int_equal(close(creat(fx_path("half/config.tmp.12"), 0600)), 0);
    poke(fx_path("half/catalogue.1"), 0, "half written pages, not to be built upon", 40);
    qu_store *s = fx_open("half", QU_STORE_WRITE);
    fx_add(s, "a", 1, 2);
    fx_assert_clean(s);
    qu_store_close(s);
}

static void assert_mode(const char *path, unsigned want)
{
    struct stat sb;
    assert_int_equal(stat(path, &sb), 0);
    if ((sb.st_mode & 0777) != want)
        fail_msg("mode of '%s' is %o, not %o", path, sb.st_mode & 0777, want);
}

static void test_modes(void **state)
{
    (void)state;
    mode_t old = umask(0);
    qu_store *s = fx_open("modes", QU_STORE_WRITE);
    uint64_t file = fx_publish_one(s, fx_add(s, "a", 1, 2), 1, 2);
    TEST_OK(qu_store_gc(s, NULL, err));
    umask(old);
    assert_mode(fx_path("modes"), 0700);
    assert_mode(fx_path("modes/kv"), 0700);
    static const char *const files[] = {"config", "lock", "CURRENT", "catalogue.2",
                                        "catalogue.2-lock"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        assert_mode(fx_path("modes/%s", files[i]), 0600);
    assert_mode(fx_path("modes/kv/%llu.kv", (unsigned long long)file), 0600);
    qu_store_close(s);
}

static void test_lock(void **state)
{
    (void)state;
    qu_store *s = fx_open("lock", QU_STORE_WRITE), *r;
    char pid[48];
    snprintf(pid, sizeof pid, "locked by process %ld", (long)getpid());
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* another process: no writer beside us, but a reader */
        qu_err e = {0};
        qu_store *w = NULL;
        int bad = qu_store_open(&w, fx_path("lock"), NULL, QU_STORE_WRITE, &e) != QU_ERR_LOCKED ||
                  !strstr(e.msg, pid) || qu_store_open(&r, fx_path("lock"), NULL, 0, &e) != QU_OK;
        _exit(bad);
    }
    int code;
    waitpid(child, &code, 0);
    assert_int_equal(code, 0);
    qu_store_close(s);
    poke(fx_path("lock/lock"), 0, "1\nstale", 7); /* what a killed writer left is no lock */
    qu_store_close(fx_open("lock", QU_STORE_WRITE));
}

/* What a reader without any right to write can do. */
static void read_media(void)
{
    qu_store *s = fx_open("media", 0);
    qu_txn *t;
    qu_doc d;
    qu_err e;
    assert_int_equal(qu_txn_begin(&t, s, QU_TXN_WRITE, &e), QU_ERR_ARG);
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_READ, err));
    TEST_OK(qu_catalogue_find_path(t, "a", 1, &d, err));
    fx_compare(s, t, &d, 5, 3);
    assert_int_equal(qu_catalogue_del_doc(t, d.doc_id, &e), QU_ERR_ARG);
    qu_doc_free(&d);
    qu_txn_abort(t);
    fx_assert_clean(s);
    qu_kv_writer *w;
    assert_int_equal(qu_kv_writer_create(&w, s, 0, &e), QU_ERR_ARG);
    assert_int_equal(qu_store_gc(s, NULL, &e), QU_ERR_ARG);
    qu_store_close(s);
    assert_int_equal(access(fx_path("media/catalogue.1-lock"), F_OK), -1);
}

static void test_read_only_media(void **state)
{
    (void)state;
    int code;
    qu_store *s = fx_open("media", QU_STORE_WRITE);
    fx_publish_one(s, fx_add(s, "a", 5, 3), 5, 3);
    qu_store_close(s);
    assert_int_equal(unlink(fx_path("media/catalogue.1-lock")), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* modes do not bind root: be somebody else */
        char cmd[300];
        snprintf(cmd, sizeof cmd, "chmod 755 %s; chmod -R a-w,a+rX %s", fx_dir, fx_path("media"));
        if (system(cmd) != 0 || (geteuid() == 0 && setuid(65534) != 0)) _exit(2);
        read_media();
        _exit(0);
    }
    waitpid(child, &code, 0);
    assert_int_equal(code, 0);
}

static void test_document_round_trip(void **state)
{
    (void)state;
    qu_store *s = fx_open("round", QU_STORE_WRITE);
    qu_txn *t;
    qu_doc d, d2;
    qu_err e = {0};
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_READ, err));
    assert_int_equal(qu_catalogue_generation(t), 0);
    TEST_OK(qu_catalogue_next_doc(t, 0, &d, err));
    assert_int_equal(d.doc_id, 0);
    qu_txn_abort(t);
    uint64_t a = fx_add(s, "a \xff\n", 3, -1), b = fx_add(s, "b", 4, 3000); /* 3 page chunks */
    assert_true(b > a);
    s = (qu_store_close(s), fx_open("round", 0));
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_READ, err));
    assert_int_equal(qu_catalogue_generation(t), 2);
    TEST_OK(qu_catalogue_find_path(t, "a \xff\n", 4, &d, err));
    assert_int_equal(d.doc_id, a);
    assert_int_equal(d.kv_id, a);
    assert_int_equal(d.kv_file, 0);
    assert_string_equal(d.path, "a \xff\n");
    assert_string_equal(d.title, "T");
    assert_string_equal(d.format, "text");
    assert_string_equal(d.charset, "utf-8");
    assert_int_equal(d.size + d.mtime_ns + d.indexed_ms, 11 + 12 + 13);
    assert_int_equal(d.inode + d.dev + d.flags, 14 + 15 + 16);
    assert_true(qu_hash_equal(d.content_hash, (qu_hash){3, 3}));
    fx_compare(s, t, &d, 3, -1);
    TEST_OK(qu_catalogue_next_doc(t, a, &d2, err));
    assert_int_equal(d2.doc_id, b);
    fx_compare(s, t, &d2, 4, 3000);
    qu_doc_free(&d);
    TEST_OK(qu_catalogue_next_doc(t, b, &d, err));
    assert_int_equal(d.doc_id, 0);
    assert_int_equal(qu_catalogue_find_path(t, "a", 1, &d, &e), QU_ERR_NOTFOUND);
    assert_int_equal(qu_catalogue_get_doc(t, 99, &d, &e), QU_ERR_NOTFOUND);
    assert_null(d.path);
    qu_store_counts c;
    TEST_OK(qu_catalogue_counts(t, &c, err));
    assert_int_equal(c.n_docs, 2);
    assert_true(c.n_pages >= 3000 && c.catalogue_bytes > 100000 && c.n_kv_files == 0);
    qu_doc_free(&d2);
    qu_txn_abort(t);
    qu_store_close(s);
}

static void test_parts(void **state)
{
    (void)state;
    qu_store *s = fx_open("parts", QU_STORE_WRITE);
    qu_txn *t;
    qu_err e = {0};
    uint64_t r = 77, id;
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
    TEST_OK(fx_put(t, "a", 8, 2500, &id, err)); /* about 500 KB of text */
    fx_doc x = fx_doc_make(8, 2500);
    qu_buf b = {0};
    TEST_OK(qu_buf_puts(&b, "kept", err));
    for (int i = 0; i < 300; i++) {
        int64_t from = (int64_t)(test_random(&r) % (x.n_text + 1));
        int64_t to = from + (int64_t)(test_random(&r) % (x.n_text + 1 - (size_t)from));
        if (i < 8) from = i / 2 * 32768 + i % 2, to = from + 32768 - i % 3; /* around chunk ends */
        b.len = 4;
        TEST_OK(qu_catalogue_text(t, id, from, to, &b, err));
        assert_int_equal(b.len, 4 + to - from);
        assert_memory_equal(b.data + 4, x.text + from, to - from);
    }
    b.len = 4;
    assert_int_equal(qu_catalogue_text(t, id, 5, 4, &b, &e), QU_ERR_ARG);
    assert_int_equal(qu_catalogue_text(t, id, -1, 4, &b, &e), QU_ERR_ARG);
    assert_int_equal(qu_catalogue_text(t, id, 0, (int64_t)x.n_text + 1, &b, &e), QU_ERR_ARG);
    assert_int_equal(qu_catalogue_text(t, 9, 0, 0, &b, &e), QU_ERR_NOTFOUND);
    assert_memory_equal(b.data, "kept", 4);
    int64_t at = 0;
    for (int32_t p = 0; p < 2500; at += x.pages[p++].n_tokens) {
        qu_page page;
        if (p % 37) continue;
        TEST_OK(qu_catalogue_page(t, id, p, &page, err));
        assert_memory_equal(&page, &x.pages[p], sizeof page);
        b.len = 4;
        int32_t n = p % 5 ? 1 : p + 30 <= 2500 ? 30 : 2500 - p;
        int64_t n_ids = 0;
        for (int32_t j = 0; j < n; j++) n_ids += x.pages[p + j].n_tokens;
        TEST_OK(qu_catalogue_ids(t, id, p, n, &b, err));
        assert_int_equal(b.len, 4 + n_ids * 4);
        if (n_ids) assert_memory_equal(b.data + 4, x.ids + at, n_ids * 4);
    }
    qu_page page;
    assert_int_equal(qu_catalogue_page(t, id, 2500, &page, &e), QU_ERR_NOTFOUND);
    assert_int_equal(qu_catalogue_page(t, id, -1, &page, &e), QU_ERR_NOTFOUND);
    assert_int_equal(qu_catalogue_ids(t, id, 2499, 2, &b, &e), QU_ERR_NOTFOUND);
    assert_int_equal(qu_catalogue_ids(t, id, -1, 1, &b, &e), QU_ERR_NOTFOUND);
    TEST_OK(qu_txn_commit(t, err));
    fx_assert_clean(s);
    qu_buf_free(&b);
    fx_doc_free(&x);
    qu_store_close(s);
}

static void test_put_refuses(void **state)
{
    (void)state;
    qu_store *s = fx_open("putref", QU_STORE_WRITE);
    qu_txn *t;
    qu_err e = {0};
    char long_path[QU_STORE_MAX_PATH + 2];
    memset(long_path, 'p', sizeof long_path);
    int32_t ids[3] = {1, 2, 1 << 24};
    qu_page pages[2] = {{.n_tokens = 1, .text_end = 4},
                        {.n_tokens = 1, .text_start = 4, .text_end = 5}};
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
    uint64_t id;
    TEST_OK(qu_catalogue_next_doc_id(t, &id, err));
    qu_doc good = {.doc_id = id, .path = "p", .path_len = 1}, d;
#define PUT(n_pages, ids, n)                                                                       \
    qu_catalogue_put_doc(t, &d, "text", 4, NULL, 0, pages, n_pages, ids, n, &e)
    d = good, d.doc_id = 0;
    assert_int_equal(PUT(0, NULL, 0), QU_ERR_ARG);
    d = good, d.doc_id = id + 1;
    assert_int_equal(PUT(0, NULL, 0), QU_ERR_ARG);
    d = good, d.path_len = 0;
    assert_int_equal(PUT(0, NULL, 0), QU_ERR_ARG);
    d = good, d.path = "a\0b", d.path_len = 3;
    assert_int_equal(PUT(0, NULL, 0), QU_ERR_ARG);
    d = good, d.path = long_path, d.path_len = sizeof long_path;
    assert_int_equal(PUT(0, NULL, 0), QU_ERR_LIMIT);
    long_path[sizeof long_path - 1] = 0;
    d = good, d.title = long_path;
    assert_int_equal(PUT(0, NULL, 0), QU_ERR_LIMIT);
    d = good;
    assert_int_equal(PUT(1, ids, 2), QU_ERR_ARG);      /* one token too many */
    assert_int_equal(PUT(2, ids, 2), QU_ERR_ARG);      /* second page behind the text */
    assert_int_equal(PUT(1, ids + 2, 1), QU_ERR_ARG);  /* id too large */
    d.kv_file = 5;
    assert_int_equal(PUT(1, ids, 1), QU_ERR_ARG);      /* no such KV file */
    d = good;
    assert_int_equal(PUT(1, ids, 1), QU_OK);           /* and refusals changed nothing */
    d.path = long_path, d.path_len = QU_STORE_MAX_PATH; /* far beyond LMDB's 511-byte keys */
    TEST_OK(qu_catalogue_rename(t, id, &d, err));
    TEST_OK(qu_txn_commit(t, err));
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_READ, err));
    TEST_OK(qu_catalogue_find_path(t, long_path, QU_STORE_MAX_PATH, &d, err));
    assert_int_equal(d.doc_id, id);
    assert_int_equal(d.path_len, QU_STORE_MAX_PATH);
    qu_doc_free(&d);
    qu_txn_abort(t);
    fx_assert_clean(s);
    qu_store_close(s);
}

static void test_rename_touch_content(void **state)
{
    (void)state;
    qu_store *s = fx_open("rename", QU_STORE_WRITE);
    qu_txn *t;
    qu_doc d;
    qu_err e = {0};
    uint64_t a = fx_add(s, "a", 1, 2), b = fx_add(s, "b", 1, 2), c = fx_add(s, "c", 2, 2), id;
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
    TEST_OK(qu_catalogue_find_content(t, (qu_hash){1, 1}, 0, &id, err));
    assert_int_equal(id, a);
    TEST_OK(qu_catalogue_find_content(t, (qu_hash){1, 1}, a, &id, err));
    assert_int_equal(id, b);
    TEST_OK(qu_catalogue_find_content(t, (qu_hash){1, 1}, b, &id, err));
    assert_int_equal(id, 0);
    qu_doc to = {.path = "c", .path_len = 1, .size = 1, .mtime_ns = 2, .inode = 3, .dev = 4};
    TEST_OK(qu_catalogue_rename(t, a, &to, err)); /* over c, which goes */
    assert_int_equal(qu_catalogue_get_doc(t, c, &d, &e), QU_ERR_NOTFOUND);
    assert_int_equal(qu_catalogue_find_path(t, "a", 1, &d, &e), QU_ERR_NOTFOUND);
    TEST_OK(qu_catalogue_find_path(t, "c", 1, &d, err));
    assert_int_equal(d.doc_id, a);
    assert_int_equal(d.size * 1000 + d.mtime_ns * 100 + (int64_t)(d.inode * 10 + d.dev), 1234);
    fx_compare(s, t, &d, 1, 2);
    qu_doc_free(&d);
    TEST_OK(qu_catalogue_rename(t, a, &to, err)); /* onto itself */
    assert_int_equal(qu_catalogue_rename(t, c, &to, &e), QU_ERR_NOTFOUND);
    TEST_OK(qu_txn_commit(t, err));
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
    uint64_t generation = qu_catalogue_generation(t);
    to.size = 99;
    TEST_OK(qu_catalogue_touch(t, b, &to, err));
    TEST_OK(qu_txn_commit(t, err));
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_READ, err));
    assert_int_equal(qu_catalogue_generation(t), generation);
    TEST_OK(qu_catalogue_find_path(t, "b", 1, &d, err));
    assert_int_equal(d.size, 99);
    qu_doc_free(&d);
    qu_txn_abort(t);
    assert_true(fx_add(s, "b", 7, 1) > b); /* a new version is a new document */
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_READ, err));
    assert_int_equal(qu_catalogue_get_doc(t, b, &d, &e), QU_ERR_NOTFOUND);
    assert_int_equal(qu_catalogue_generation(t), generation + 1);
    qu_txn_abort(t);
    fx_assert_clean(s);
    qu_store_close(s);
}

/* Two paths with one hash cannot be made at will, but their index records can. */
static void test_paths_of_one_hash(void **state)
{
    (void)state;
    qu_store *s = fx_open("hash", QU_STORE_WRITE);
    qu_txn *t;
    qu_doc d;
    uint64_t a = fx_add(s, "a", 1, 1), b = fx_add(s, "b", 2, 1);
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
    qu_rec_key k = qu_key_hash_num(QU_TAG_PATH, qu_hash_bytes("b", 1, 0), a);
    TEST_OK(qu_rec_put(t, &k, NULL, 0, err)); /* as if "a" had the hash of "b" */
    k = qu_key_hash_num(QU_TAG_PATH, qu_hash_bytes("c", 1, 0), a);
    TEST_OK(qu_rec_put(t, &k, NULL, 0, err));
    TEST_OK(qu_catalogue_find_path(t, "b", 1, &d, err));
    assert_int_equal(d.doc_id, b);
    qu_doc_free(&d);
    assert_int_equal(qu_catalogue_find_path(t, "c", 1, &d, NULL), QU_ERR_NOTFOUND);
    qu_txn_abort(t);
    qu_store_close(s);
}

static void test_roots_and_meta(void **state)
{
    (void)state;
    qu_store *s = fx_open("roots", QU_STORE_WRITE);
    qu_txn *t;
    qu_err e = {0};
    qu_buf b = {0};
    char big[3000];
    memset(big, 'r', sizeof big);
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
    TEST_OK(qu_catalogue_put_root(t, "/x", 2, err));
    TEST_OK(qu_catalogue_put_root(t, big, sizeof big, err));
    TEST_OK(qu_catalogue_put_root(t, "/x", 2, err));
    TEST_OK(qu_catalogue_put_root(t, "/y", 2, err));
    TEST_OK(qu_catalogue_del_root(t, "/x", 2, err));
    assert_int_equal(qu_catalogue_del_root(t, "/x", 2, &e), QU_ERR_NOTFOUND);
    assert_int_equal(qu_catalogue_put_root(t, "", 0, &e), QU_ERR_LIMIT);
    TEST_OK(qu_catalogue_put_meta(t, "speed", "123", 3, err));
    TEST_OK(qu_catalogue_put_meta(t, "speed", "45", 2, err));
    TEST_OK(qu_catalogue_put_meta(t, "speeds", "x", 1, err));
    TEST_OK(qu_catalogue_put_meta(t, "gone", "x", 1, err));
    TEST_OK(qu_catalogue_put_meta(t, "gone", NULL, 0, err));
    TEST_OK(qu_catalogue_put_meta(t, "never", NULL, 0, err));
    big[sizeof big - 1] = 0; /* as a name */
    assert_int_equal(qu_catalogue_put_meta(t, big, "x", 1, &e), QU_ERR_LIMIT);
    big[sizeof big - 1] = 'r';
    TEST_OK(qu_txn_commit(t, err));
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_READ, err));
    TEST_OK(qu_catalogue_root_at(t, 0, &b, err));
    assert_int_equal(b.len, sizeof big);
    b.len = 0;
    TEST_OK(qu_catalogue_root_at(t, 1, &b, err));
    assert_string_equal(b.data, "/y");
    assert_int_equal(qu_catalogue_root_at(t, 2, &b, &e), QU_ERR_NOTFOUND);
    b.len = 0;
    TEST_OK(qu_catalogue_get_meta(t, "speed", &b, err));
    assert_string_equal(b.data, "45");
    assert_int_equal(qu_catalogue_get_meta(t, "gone", &b, &e), QU_ERR_NOTFOUND);
    assert_int_equal(qu_catalogue_generation(t), 0); /* none of this changed documents */
    qu_txn_abort(t);
    qu_buf_free(&b);
    qu_store_close(s);
}

static void test_abort_and_snapshots(void **state)
{
    (void)state;
    qu_store *s = fx_open("abort", QU_STORE_WRITE);
    qu_txn *t, *r;
    qu_doc d;
    qu_err e;
    uint64_t id, again;
    fx_add(s, "a", 1, 1);
    TEST_OK(qu_txn_begin(&r, s, QU_TXN_READ, err));
    TEST_OK(qu_txn_begin(&t, s, QU_TXN_WRITE, err));
    qu_txn *second;
    qu_kv_writer *w;
    assert_int_equal(qu_txn_begin(&second, s, QU_TXN_WRITE, &e), QU_ERR_ARG); /* and no deadlock */
    assert_null(second);
    assert_int_equal(qu_kv_writer_create(&w, s, 0, &e), QU_ERR_ARG);
    TEST_OK(fx_put(t, "b", 2, 1, &id, err));
    qu_txn_abort(t);
    assert_int_equal(qu_catalogue_find_path(r, "b", 1, &d, &e), QU_ERR_NOTFOUND);
    again = fx_add(s, "b", 2, 1);
    assert_int_equal(again, id); /* an aborted id was never given out */
    assert_int_equal(qu_catalogue_find_path(r, "b", 1, &d, &e),
                     QU_ERR_NOTFOUND); /* state at begin */
    qu_txn_abort(r);
    TEST_OK(qu_txn_begin(&r, s, QU_TXN_READ, err));
    TEST_OK(qu_catalogue_find_path(r, "b", 1, &d, err));
    qu_doc_free(&d);
    TEST_OK(qu_txn_commit(r, err)); /* of a read transaction: fine */
    qu_txn_abort(NULL);
    qu_store_close(s);
    qu_store_close(NULL);
    qu_doc_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_lasts),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_creation_resumes),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_lock),
        cmocka_unit_test(test_read_only_media),
        cmocka_unit_test(test_document_round_trip),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_put_refuses),
        cmocka_unit_test(test_rename_touch_content),
        cmocka_unit_test(test_paths_of_one_hash),
        cmocka_unit_test(test_roots_and_meta),
        cmocka_unit_test(test_abort_and_snapshots),
    };
    return cmocka_run_group_tests(tests, fx_setup, fx_teardown);
}
