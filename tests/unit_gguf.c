/* decode/gguf.h: values and tensors of real and made files, every refusal, memory limits, failing
 * allocations, and thousands of seeded mutations. */
#include <malloc.h>

#define QU_FUZZ_NO_MAIN
#include "tests/fuzz_gguf.c"
#include "tests/gguf_build.h"
#include "tests/testing.h"

static qu_err fault;

/* ---- Allocations counted and failed; the sanitizers keep their own ---- */

static int64_t live_bytes, peak_bytes;
static int64_t fail_after = -1; /* allocations that still succeed; -1: all do */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTED 1
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t m);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

static bool refuse(void)
{
    if (fail_after == 0) return true;
    if (fail_after > 0) fail_after--;
    return false;
}

static void *counted(void *p)
{
    if (p) live_bytes += (int64_t)malloc_usable_size(p);
    if (live_bytes > peak_bytes) peak_bytes = live_bytes;
    return p;
}

void *malloc(size_t n) { return refuse() ? NULL : counted(__libc_malloc(n)); }
void *calloc(size_t n, size_t m) { return refuse() ? NULL : counted(__libc_calloc(n, m)); }

void free(void *p)
{
    if (p) live_bytes -= (int64_t)malloc_usable_size(p);
    __libc_free(p);
}

void *realloc(void *p, size_t n)
{
    if (refuse()) return NULL;
    int64_t before = p ? (int64_t)malloc_usable_size(p) : 0;
    void *q = __libc_realloc(p, n);
    if (!q) return NULL;
    live_bytes -= before;
    return counted(q);
}
#else
#define COUNTED 0
#endif

/* ---- Files ---- */

static qu_gguf *open_data(const char *name)
{
    qu_gguf *g;
    qu_err mine = {.status = QU_ERR_ARG, .msg = "untouched"};
    if (qu_gguf_open(&g, test_needs(name), &mine) != QU_OK) fail_msg("%s", mine.msg);
    assert_string_equal(mine.msg, "untouched");
    return g;
}

static const char *tmp_path(void)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/quire_unit_gguf.%ld.gguf", (long)getpid());
    return path;
}

/* Save b, open it: must succeed. */
static qu_gguf *open_made(qu_buf *b)
{
    qu_gguf *g;
    gb_save(b, tmp_path());
    qu_status st = qu_gguf_open(&g, tmp_path(), &fault);
    unlink(tmp_path());
    if (st != QU_OK) fail_msg("%s", fault.msg);
    return g;
}

/* Save b, open it: must be refused with that status and a message naming path and word. */
static void refused(qu_buf *b, qu_status want, const char *word)
{
    qu_gguf *g = (qu_gguf *)&fault;
    gb_save(b, tmp_path());
    qu_status st = qu_gguf_open(&g, tmp_path(), &fault);
    unlink(tmp_path());
    assert_null(g);
    if (st != want || !strstr(fault.msg, word) || !strstr(fault.msg, tmp_path()))
        fail_msg("status %d, '%s': wanted %d, '%s'", st, fault.msg, want, word);
}

static void test_stories(void **state)
{
    (void)state;
    qu_gguf *g = open_data("stories260K/stories260K-q8_0.gguf");
    int32_t i = 0;
    float f = 0;
    bool yes = false;
    qu_gguf_str s;
    assert_int_equal(qu_gguf_n_tensors(g), 48);
    assert_int_equal(qu_gguf_file_bytes(g), 379232);
    TEST_OK(qu_gguf_get_i32(g, "llama.block_count", &i, err));
    TEST_OK(qu_gguf_get_f32(g, "llama.rope.freq_base", &f, err));
    TEST_OK(qu_gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &yes, err));
    TEST_OK(qu_gguf_get_str(g, "general.architecture", &s, err));
    assert_true(i == 5 && f == 10000.0f && yes && qu_gguf_is(s, "llama"));

    const qu_gguf_tensor *t = qu_gguf_find_tensor(g, "token_embd.weight");
    assert_non_null(t);
    assert_true(t->type == QU_TYPE_Q8_0 && t->n_dims == 2);
    assert_true(t->dims[0] == 64 && t->dims[1] == 512 && t->dims[3] == 1);
    assert_int_equal(t->n_bytes, 64 / 32 * 34 * 512);
    assert_int_equal(qu_gguf_find_tensor(g, "blk.4.ffn_down.weight")->type, QU_TYPE_F16);
    assert_null(qu_gguf_find_tensor(g, "no.such"));
    assert_null(qu_gguf_tensor_at(g, 48));
    assert_null(qu_gguf_tensor_at(g, -1));

    const qu_gguf_str *words;
    int64_t n;
    TEST_OK(qu_gguf_array_str(g, "tokenizer.ggml.tokens", &words, &n, err));
    assert_true(n == 512 && qu_gguf_is(words[1], "<s>"));
    int32_t types[512];
    float scores[512];
    TEST_OK(qu_gguf_array_i32(g, "tokenizer.ggml.token_type", types, 512, err));
    assert_int_equal(types[3], 6);
    TEST_OK(qu_gguf_array_f32(g, "tokenizer.ggml.scores", scores, 512, err));
    assert_true(scores[511] == -252.0f);
    qu_gguf_close(g);
}

static void test_vocab_only(void **state)
{
    (void)state;
    qu_gguf *g = open_data("tokenizers/ggml-vocab-gpt-2.gguf");
    int64_t n;
    assert_int_equal(qu_gguf_n_tensors(g), 0);
    assert_null(qu_gguf_find_tensor(g, "token_embd.weight"));
    TEST_OK(qu_gguf_array_len(g, "tokenizer.ggml.merges", &n, err));
    assert_int_equal(n, 50000);
    qu_gguf_close(g);
}

/* A scalar of each kind, read as each kind. */
static void test_scalars(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        uint8_t bytes[8];
        int n;
        bool is_int;
        int32_t v;
    } rows[] = {{0, {200}, 1, true, 200},
                {1, {200}, 1, true, -56},
                {2, {0xFF, 0xFF}, 2, true, 65535},
                {3, {0xFE, 0xFF}, 2, true, -2},
                {4, {1, 2, 0, 0}, 4, true, 513},
                {4, {0, 0, 0, 0x80}, 4, false, 0},
                {5, {0xFF, 0xFF, 0xFF, 0xFF}, 4, true, -1},
                {10, {7}, 8, true, 7},
                {10, {0, 0, 0, 0, 1}, 8, false, 0},
                {10, {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 8, false, 0},
                {11, {0xFB, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 8, true, -5},
                {11, {0, 0, 0, 0, 0, 0, 0, 0x80}, 8, false, 0},
                {6, {0, 0, 0x80, 0x3F}, 4, false, 0},
                {7, {1}, 1, false, 0}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        qu_buf b = {0};
        gb_head(&b, 3, 0, 1);
        gb_key(&b, "k", rows[r].type);
        gb_raw(&b, rows[r].bytes, (size_t)rows[r].n);
        qu_gguf *g = open_made(&b);
        int32_t i = 4711;
        float f = 4711;
        bool yes = false;
        qu_gguf_str s = {"x", 1};
        int64_t n;
        assert_true(qu_gguf_has(g, "k"));
        assert_int_equal(qu_gguf_get_i32(g, "k", &i, &fault),
                         rows[r].is_int ? QU_OK : QU_ERR_FORMAT);
        assert_int_equal(i, rows[r].is_int ? rows[r].v : 4711);
        assert_int_equal(qu_gguf_get_f32(g, "k", &f, &fault),
                         rows[r].type == 6 ? QU_OK : QU_ERR_FORMAT);
        assert_true(f == (rows[r].type == 6 ? 1.0f : 4711.0f));
        assert_int_equal(qu_gguf_get_bool(g, "k", &yes, &fault),
                         rows[r].type == 7 ? QU_OK : QU_ERR_FORMAT);
        assert_int_equal(yes, rows[r].type == 7);
        assert_int_equal(qu_gguf_get_str(g, "k", &s, &fault), QU_ERR_FORMAT);
        assert_int_equal(s.len, 1);
        assert_int_equal(qu_gguf_array_len(g, "k", &n, &fault), QU_ERR_FORMAT);
        assert_int_equal(qu_gguf_get_i32(g, "absent", &i, &fault), QU_ERR_NOTFOUND);
        assert_non_null(strstr(fault.msg, "absent"));
        assert_false(qu_gguf_has(g, "absent"));
        qu_gguf_close(g);
    }
}

static void test_odd_values(void **state)
{
    (void)state;
    qu_buf b = {0};
    double d = 2.5, huge = 1e300;
    float nan = NAN;
    gb_head(&b, 2, 0, 8); /* version 2 reads like version 3 */
    gb_key(&b, "f64", 12);
    gb_raw(&b, &d, 8);
    gb_key(&b, "huge", 12);
    gb_raw(&b, &huge, 8);
    gb_key(&b, "nan", GB_F32);
    gb_raw(&b, &nan, 4);
    gb_key(&b, "two", GB_BOOL);
    gb_raw(&b, "\2", 1);
    gb_str(&b, "empty", "");
    gb_array(&b, "none", GB_STR, 0);
    gb_array(&b, "shorts", 3, 3);
    gb_raw(&b, "\1\0\xFF\xFF\0\x80", 6);
    gb_array(&b, "words", GB_STR, 2);
    gb_text(&b, "one");
    gb_text(&b, "");
    qu_gguf *g = open_made(&b);
    float f = 1, fs[3];
    bool yes = true;
    int32_t v[3];
    int64_t n = -1;
    qu_gguf_str s;
    const qu_gguf_str *words;
    TEST_OK(qu_gguf_get_f32(g, "f64", &f, err));
    assert_true(f == 2.5f);
    assert_int_equal(qu_gguf_get_f32(g, "huge", &f, &fault), QU_ERR_FORMAT);
    assert_int_equal(qu_gguf_get_f32(g, "nan", &f, &fault), QU_ERR_FORMAT);
    assert_true(f == 2.5f);
    assert_int_equal(qu_gguf_get_bool(g, "two", &yes, &fault), QU_ERR_FORMAT);
    TEST_OK(qu_gguf_get_str(g, "empty", &s, err));
    assert_int_equal(s.len, 0);
    TEST_OK(qu_gguf_array_str(g, "none", &words, &n, err));
    assert_int_equal(n, 0);
    TEST_OK(qu_gguf_array_i32(g, "shorts", v, 3, err));
    assert_true(v[0] == 1 && v[1] == -1 && v[2] == -32768);
    assert_int_equal(qu_gguf_array_i32(g, "shorts", v, 2, &fault), QU_ERR_FORMAT);
    assert_int_equal(qu_gguf_array_f32(g, "shorts", fs, 3, &fault), QU_ERR_FORMAT);
    assert_int_equal(qu_gguf_array_str(g, "shorts", &words, &n, &fault), QU_ERR_FORMAT);
    assert_int_equal(qu_gguf_get_i32(g, "shorts", v, &fault), QU_ERR_FORMAT);
    TEST_OK(qu_gguf_array_str(g, "words", &words, &n, err));
    assert_true(n == 2 && words[0].len == 3 && words[1].len == 0);
    assert_int_equal(qu_gguf_array_i32(g, "words", v, 2, &fault), QU_ERR_FORMAT);
    qu_gguf_close(g);
}

/* ---- Refusals ---- */

static void test_bad_headers(void **state)
{
    (void)state;
    qu_buf b = {0};
    refused(&b, QU_ERR_FORMAT, "not a GGUF");
    gb_raw(&b, "GGML\3\0\0\0", 8);
    refused(&b, QU_ERR_FORMAT, "not a GGUF");
    for (uint32_t version = 0; version < 6; version++) {
        if (version == 2 || version == 3) continue;
        gb_head(&b, version, 0, 0);
        refused(&b, QU_ERR_UNSUPPORTED, "version");
    }
    gb_head(&b, 3u << 24, 0, 0);
    refused(&b, QU_ERR_UNSUPPORTED, "big-endian");
    gb_head(&b, 3, 0, 1);
    refused(&b, QU_ERR_FORMAT, "claims");
    gb_head(&b, 3, UINT64_MAX, 0);
    refused(&b, QU_ERR_FORMAT, "claims");
    gb_head(&b, 3, 0, 2);
    gb_num(&b, "general.file_type", 1);
    gb_num(&b, "general.file_type", 1);
    refused(&b, QU_ERR_FORMAT, "'general.file_type' twice");
    gb_head(&b, 3, 0, 1);
    gb_key(&b, "kind", 13);
    gb_u64(&b, 0);
    refused(&b, QU_ERR_FORMAT, "unknown kind 13");
    gb_head(&b, 3, 0, 1);
    gb_array(&b, "nested", GB_ARRAY, 1);
    gb_u64(&b, 0);
    refused(&b, QU_ERR_FORMAT, "unknown kind 9");
    static const uint64_t lengths[] = {9, 1 << 20, UINT64_MAX, (uint64_t)1 << 63,
                                       UINT64_MAX / 8 + 2};
    static const uint32_t kinds[] = {0, GB_I32, GB_STR, 12};
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 4; k++) {
            gb_head(&b, 3, 0, 1);
            gb_array(&b, "long", kinds[k], lengths[i]);
            gb_u64(&b, 0);
            refused(&b, QU_ERR_FORMAT, "truncated");
        }
    for (uint32_t no = 0; no < 2; no++) {
        gb_head(&b, 3, 0, 2);
        gb_num(&b, "split.no", no);
        gb_num(&b, "split.count", no ? 3 : 1 << 20);
        refused(&b, no ? QU_ERR_ARG : QU_ERR_FORMAT, no ? "part 2 of 3" : "one of 1048576 parts");
    }
    gb_head(&b, 3, 0, 1);
    gb_num(&b, "split.count", 3);
    refused(&b, QU_ERR_FORMAT, "its name must end in '-00001-of-00003.gguf'");

    qu_gguf *g;
    assert_int_equal(qu_gguf_open(&g, "/nonexistent/x.gguf", &fault), QU_ERR_NOTFOUND);
    assert_int_equal(qu_gguf_open(&g, "/tmp", &fault), QU_ERR_FORMAT);
    qu_gguf_close(NULL);
}

typedef struct shape {
    const char *name;
    uint32_t n_dims;
    uint64_t dims[5];
    uint32_t type;
    uint64_t offset;
} shape;

/* A file with these tensors, an alignment unless it is 0, and data_bytes of zeros. */
static void shapes(qu_buf *b, uint32_t align, int n, const shape *s, size_t data_bytes)
{
    gb_head(b, 3, (uint64_t)n, align != 0);
    if (align) gb_num(b, "general.alignment", align);
    for (int i = 0; i < n; i++)
        gb_tensor(b, s[i].name, s[i].n_dims, s[i].dims, s[i].type, s[i].offset);
    gb_data(b, align >= 4 && align <= 4096 ? align : 32, data_bytes);
}

static void test_tensors(void **state)
{
    (void)state;
    enum { M = 1 << 21 };
    static const shape good[] = {
        {"b", 2, {32, 3}, 8, 128}, {"a", 1, {16}, 0, 0}, {"c", 4, {2, 2, 2, 2}, 1, 64}};
    qu_buf b = {0};
    /* in any order, touching, with a gap; the last ends the file */
    shapes(&b, 64, 3, good, 128 + 102);
    qu_gguf *g = open_made(&b);
    assert_int_equal(qu_gguf_find_tensor(g, "b")->n_bytes, 102);
    assert_int_equal(qu_gguf_find_tensor(g, "b")->data - qu_gguf_find_tensor(g, "a")->data, 128);
    assert_int_equal(qu_gguf_find_tensor(g, "c")->n_dims, 4);
    assert_string_equal(qu_gguf_tensor_at(g, 1)->name, "a");
    qu_gguf_close(g);

    static const struct {
        shape s[2];
        size_t bytes;
        const char *word;
    } rows[] = { /* a word with a type's name: unsupported */
        {{{"a", 1, {16}, 0, 0}, {"a", 1, {16}, 0, 64}}, 128, "'a' twice"},
        {{{"a", 1, {17}, 0, 0}, {"b", 1, {16}, 0, 64}}, 128, "overlapping tensors 'a' and 'b'"},
        {{{"a", 1, {16}, 0, 64}, {"b", 1, {17}, 0, 0}}, 128, "overlapping tensors 'b' and 'a'"},
        {{{"a", 1, {16}, 0, 0}, {"b", 1, {16}, 0, 0}}, 128, "overlapping"},
        {{{"a", 1, {16}, 0, 0}, {"b", 1, {17}, 0, 64}}, 128, "'b' lies outside"},
        {{{"a", 1, {16}, 0, 0}, {"b", 1, {16}, 0, 68}}, 256, "'b' lies outside"},
        {{{"a", 1, {16}, 0, 0}, {"b", 1, {1}, 0, UINT64_MAX - 31}}, 128, "outside"},
        {{{"a", 1, {0}, 0, 0}, {"b", 1, {16}, 0, 64}}, 128, "absurd size 0"},
        {{{"a", 2, {16, 1u << 31}, 0, 0}, {"b", 1, {16}, 0, 64}}, 128, "absurd size"},
        {{{"a", 4, {M, M, M, M}, 0, 0}, {"b", 1, {16}, 0, 64}}, 128, "absurd size"},
        {{{"a", 3, {M, M, M / 2}, 0, 0}, {"b", 1, {16}, 0, 64}}, 128, "no whole F32"},
        {{{"a", 0, {0}, 0, 0}, {"b", 1, {16}, 0, 64}}, 128, "invalid name or shape"},
        {{{"a", 5, {1, 1, 1, 1, 1}, 0, 0}, {"b", 1, {16}, 0, 64}}, 128, "invalid name or shape"},
        {{{"", 1, {16}, 0, 0}, {"b", 1, {16}, 0, 64}}, 128, "invalid name"},
        {{{"a", 2, {33, 32}, 2, 0}, {"b", 1, {1}, 0, 0}}, 4096, "no whole Q4_0 blocks"},
        {{{"a", 1, {256}, 16, 0}, {"b", 1, {1}, 0, 0}}, 4096, "of type IQ2_XXS (16) in 'a'"},
        {{{"a", 1, {256}, 39, 0}, {"b", 1, {1}, 0, 0}}, 4096, "of type MXFP4"},
        {{{"a", 1, {256}, 77, 0}, {"b", 1, {1}, 0, 0}}, 4096, "of type unknown (77)"},
        {{{"a", 1, {256}, 1u << 31, 0}, {"b", 1, {1}, 0, 0}}, 4096, "of type unknown"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        shapes(&b, 0, 2, rows[r].s, rows[r].bytes);
        bool type = strstr(rows[r].word, "of type") != NULL;
        refused(&b, type ? QU_ERR_UNSUPPORTED : QU_ERR_FORMAT, rows[r].word);
    }
    static const uint32_t bad_align[] = {1, 2, 3, 48, 1 << 17, 1u << 31};
    for (size_t i = 0; i < sizeof bad_align / sizeof bad_align[0]; i++) {
        shapes(&b, bad_align[i], 1, &(shape){"a", 1, {16}, 0, 0}, 64);
        refused(&b, QU_ERR_FORMAT, "general.alignment");
    }
    char name[300];
    memset(name, 'n', sizeof name);
    name[255] = 0;
    shapes(&b, 0, 1, &(shape){name, 1, {16}, 0, 0}, 64);
    qu_gguf_close(open_made(&b));
    name[255] = 'n';
    name[256] = 0;
    shapes(&b, 0, 1, &(shape){name, 1, {16}, 0, 0}, 64);
    refused(&b, QU_ERR_FORMAT, "invalid name");
}

/* Cut anywhere, a file is refused; only padding behind the last tensor may go. */
static void test_every_truncation(void **state)
{
    (void)state;
    qu_buf b = {0}, part = {0};
    gb_head(&b, 3, 2, 3);
    gb_str(&b, "general.architecture", "llama");
    gb_array(&b, "words", GB_STR, 2);
    gb_text(&b, "one");
    gb_text(&b, "two");
    gb_num(&b, "n", 3);
    gb_tensor(&b, "a", 1, (uint64_t[]){8}, 0, 0);
    gb_tensor(&b, "b", 1, (uint64_t[]){8}, 0, 32);
    gb_data(&b, 32, 64);
    for (size_t n = 0; n < b.len; n++) {
        gb_raw(&part, b.data, n);
        refused(&part, QU_ERR_FORMAT, tmp_path());
    }
    qu_gguf_close(open_made(&b));
}

static void test_identity(void **state)
{
    (void)state;
    qu_buf b = {0};
    qu_hash print[4], full[4];
    /* as it is; again; another byte at a tensor's start; far behind it */
    for (int i = 0; i < 4; i++) {
        shapes(&b, 0, 1, &(shape){"a", 1, {1 << 15}, 0, 0}, 4 << 15);
        if (i == 2) b.data[b.len - (4 << 15)] = 1;
        if (i == 3) b.data[b.len - 1] = 1;
        qu_gguf *g = open_made(&b);
        print[i] = qu_gguf_fingerprint(g);
        full[i] = qu_gguf_full_hash(g);
        qu_gguf_close(g);
    }
    assert_true(qu_hash_equal(print[0], print[1]) && qu_hash_equal(full[0], full[1]));
    assert_false(qu_hash_equal(print[0], print[2]));
    assert_true(qu_hash_equal(print[0], print[3])); /* beyond 64 KiB only the full hash sees it */
    assert_false(qu_hash_equal(full[0], full[3]));
}

/* ---- Split models ---- */

static const char *part_path(int no)
{
    static char path[4][80];
    snprintf(path[no], sizeof path[no], "/tmp/quire_unit_gguf.%ld-%05d-of-%05d.gguf",
             (long)getpid(), no, 3);
    return path[no];
}

/* Write part no of 3 with one tensor of that name and n_all tensors claimed. */
static void write_part(int no, const char *name, uint32_t says_no, uint32_t n_all)
{
    qu_buf b = {0};
    gb_head(&b, 3, 1, no == 1 ? 4 : 3);
    if (no == 1) gb_str(&b, "general.architecture", "llama");
    gb_num(&b, "split.no", says_no);
    gb_num(&b, "split.count", 3);
    gb_num(&b, "split.tensors.count", n_all);
    gb_tensor(&b, name, 1, (uint64_t[]){8}, 0, 0);
    gb_data(&b, 32, 32);
    b.data[b.len - 32] = (char)no;
    gb_save(&b, part_path(no));
}

static void refused_parts(qu_status want, const char *word)
{
    qu_gguf *g;
    qu_status st = qu_gguf_open(&g, part_path(1), &fault);
    assert_null(g);
    if (st != want || !strstr(fault.msg, word)) fail_msg("status %d, '%s'", st, fault.msg);
}

static void test_parts(void **state)
{
    (void)state;
    qu_gguf *g;
    qu_gguf_str s;
    qu_hash print[2];
    int64_t before = live_bytes;
    for (int i = 1; i < 4; i++)
        write_part(i, i == 1 ? "a" : i == 2 ? "b" : "c", (uint32_t)i - 1, 3);
    for (int i = 0; i < 2; i++) {
        if (qu_gguf_open(&g, part_path(1), &fault) != QU_OK) fail_msg("%s", fault.msg);
        assert_int_equal(qu_gguf_n_tensors(g), 3);
        TEST_OK(qu_gguf_get_str(g, "general.architecture", &s, err));
        assert_int_equal(qu_gguf_find_tensor(g, "a")->data[0], 1);
        assert_int_equal(qu_gguf_find_tensor(g, "b")->data[0], 2);
        assert_int_equal(qu_gguf_find_tensor(g, "c")->data[0], 3);
        assert_ptr_equal(qu_gguf_tensor_at(g, 2), qu_gguf_find_tensor(g, "c"));
        print[i] = qu_gguf_full_hash(g);
        qu_gguf_close(g);
        write_part(3, "c", 2, 3);
        FILE *f = fopen(part_path(3), "r+b"); /* the last part counts too */
        fseek(f, -1, SEEK_END);
        fputc(1, f);
        fclose(f);
    }
    assert_false(qu_hash_equal(print[0], print[1]));
    assert_int_equal(qu_gguf_open(&g, part_path(2), &fault), QU_ERR_ARG);
    write_part(3, "b", 2, 3);
    refused_parts(QU_ERR_FORMAT, "two parts");
    write_part(3, "c", 1, 3);
    refused_parts(QU_ERR_FORMAT, "-00003-of-00003.gguf' is not part 3 of 3");
    write_part(3, "c", 2, 3);
    write_part(1, "a", 0, 4);
    refused_parts(QU_ERR_FORMAT, "have 3 tensors, not 4");
    unlink(part_path(2));
    refused_parts(QU_ERR_NOTFOUND, part_path(2));
    unlink(part_path(1));
    unlink(part_path(3));
    assert_int_equal(live_bytes, before);
}

/* ---- Hostile files ---- */

static int64_t live_before; /* since the file was opened last; the model's run came before */

/* What open held at most against its promise: the file twice and 1 MiB, a model's RoPE tables being
 * part of the latter. */
static void check_memory(bool opened, size_t n)
{
    int64_t limit = 2 * (int64_t)n + (1 << 20);
    if (!opened) live_before = peak_bytes = live_bytes;
    if (COUNTED && opened && peak_bytes - live_before > limit)
        fail_msg("a file of %zu bytes took %lld", n, (long long)(peak_bytes - live_before));
}

static qu_status run_counted(const uint8_t *data, size_t n)
{
    qu_status st = fuzz_one(data, n, check_memory);
    if (live_bytes != live_before)
        fail_msg("%lld bytes leaked", (long long)(live_bytes - live_before));
    if (COUNTED && peak_bytes - live_before > 12 * (int64_t)n + (1 << 20))
        fail_msg("a tokenizer of %zu bytes took %lld", n, (long long)(peak_bytes - live_before));
    return st;
}

/* The smallest entries a file can have, as many as fit: the tables must stay in proportion. */
static void test_memory_of_tiny_entries(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        qu_buf b = {0};
        char name[8];
        int n = kind == 0 ? 1 << 14 : kind == 1 ? 1 << 15 : 1 << 17;
        gb_head(&b, 3, kind == 1 ? (uint64_t)n : 0, kind == 0 ? (uint64_t)n : kind == 2);
        if (kind == 2) gb_array(&b, "s", GB_STR, (uint64_t)n);
        for (int i = 0; i < n; i++) {
            snprintf(name, sizeof name, "%x", i);
            if (kind == 0) gb_bool(&b, name, true);
            if (kind == 1) gb_tensor(&b, name, 1, (uint64_t[]){1}, 0, 4 * (uint64_t)i * 8);
            if (kind == 2) gb_text(&b, "");
        }
        if (kind == 1) gb_data(&b, 32, (size_t)n * 32);
        assert_int_equal(run_counted((const uint8_t *)b.data, b.len), QU_OK);
        qu_buf_free(&b);
    }
    /* More strings claimed than there are bytes for their lengths. */
    qu_buf b = {0};
    gb_head(&b, 3, 0, 1);
    gb_array(&b, "s", GB_STR, 7 << 20);
    gb_data(&b, 1, 8 << 20);
    assert_int_equal(run_counted((const uint8_t *)b.data, b.len), QU_ERR_FORMAT);
    qu_buf_free(&b);
}

static uint64_t seed;

static uint32_t rnd(uint32_t below) { return (uint32_t)(test_random(&seed) % below); }

/* Where the numbers of a sound file stand: counts, lengths, kinds, dims, types, offsets. */
typedef struct field {
    size_t at;
    int bytes;
} field;

static field fields[8192];
static int n_fields;
static size_t offset_fields[64]; /* of the tensors' offsets */
static int n_offset_fields;

static uint64_t note(const uint8_t *d, size_t *pos, int bytes, bool keep)
{
    uint64_t v = 0;
    memcpy(&v, d + *pos, (size_t)bytes);
    if (keep && n_fields < 8192) fields[n_fields++] = (field){*pos, bytes};
    *pos += (size_t)bytes;
    return v;
}

static void find_fields(const uint8_t *d)
{
    static const size_t size[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    size_t pos = 4;
    n_fields = n_offset_fields = 0;
    note(d, &pos, 4, true);
    uint64_t n_tensors = note(d, &pos, 8, true), n_keys = note(d, &pos, 8, true);
    for (uint64_t i = 0; i < n_keys; i++) {
        uint64_t len = note(d, &pos, 8, true), n = 1;
        pos += len;
        uint32_t type = (uint32_t)note(d, &pos, 4, true);
        if (type == GB_ARRAY) {
            type = (uint32_t)note(d, &pos, 4, true);
            n = note(d, &pos, 8, true);
        }
        for (uint64_t k = 0; k < n; k++) {
            if (type == GB_STR)
                len = note(d, &pos, 8, k < 40 || k + 4 > n);
            else if (n == 1)
                note(d, &pos, (int)size[type], true);
            if (type == GB_STR || n > 1) pos += type == GB_STR ? len : size[type];
        }
    }
    for (uint64_t i = 0; i < n_tensors; i++) {
        uint64_t len = note(d, &pos, 8, true);
        pos += len;
        uint32_t n_dims = (uint32_t)note(d, &pos, 4, true);
        for (uint32_t k = 0; k < n_dims; k++) note(d, &pos, 8, true);
        note(d, &pos, 4, true);
        if (n_offset_fields < 64) offset_fields[n_offset_fields++] = pos;
        note(d, &pos, 8, true);
    }
}

/* One seeded fault in d [*n], most of them in the first header bytes. */
static void mutate(uint8_t *d, size_t *n, size_t header)
{
    static const uint64_t absurd[] = {
        0, 1, 2, 7, 255, 65535, 1u << 21, 1u << 31, 1ull << 32, 1ull << 40, 1ull << 62, 1ull << 63,
        UINT64_MAX - 7, UINT64_MAX};
    uint64_t v = absurd[rnd(14)];
    switch (rnd(7)) {
    case 0: /* flipped bits */
        for (uint32_t k = 1 + rnd(8); k > 0; k--)
            d[rnd((uint32_t)header)] ^= (uint8_t)(1 << rnd(8));
        break;
    case 1: *n = rnd(4) ? rnd((uint32_t)header) : rnd((uint32_t)*n); break;
    case 2: /* an absurd number anywhere */
        memcpy(d + rnd((uint32_t)header - 8), &v, rnd(2) ? 8 : 4);
        break;
    case 3: /* two tensors at one place, or one a little off */
        if (n_offset_fields == 0) break;
        memcpy(&v, d + offset_fields[rnd((uint32_t)n_offset_fields)], 8);
        v += rnd(2) ? 32 * rnd(4) : rnd(64);
        memcpy(d + offset_fields[rnd((uint32_t)n_offset_fields)], &v, 8);
        break;
    case 4: /* a stretch of the header copied elsewhere */
        if (header > 512)
            memmove(d + rnd((uint32_t)header - 256), d + rnd((uint32_t)header - 256), 1 + rnd(255));
        break;
    default: { /* an absurd or slightly wrong number where one belongs */
        field f = fields[rnd((uint32_t)n_fields)];
        if (rnd(3) == 0) {
            memcpy(&v, d + f.at, (size_t)f.bytes);
            v += rnd(9) - 4u;
        }
        memcpy(d + f.at, &v, (size_t)f.bytes);
    }
    }
}

/* Mutations of the file at path; QUIRE_LONG: four times as many. */
static void fuzz_file(const char *path, int rounds, size_t header)
{
    qu_buf in = {0};
    if (getenv("QUIRE_LONG")) rounds *= 4;
    if (qu_os_read(&in, path, 1 << 24, &fault) != QU_OK) fail_msg("%s", fault.msg);
    uint8_t *d = malloc(in.len);
    int good = 0;
    find_fields((const uint8_t *)in.data);
    assert_true(n_fields > 40);
    if (header == 0 || header > in.len) header = in.len;
    seed = 2024;
    assert_int_equal(run_counted((const uint8_t *)in.data, in.len), QU_OK);
    for (int i = 0; i < rounds; i++) {
        size_t n = in.len;
        memcpy(d, in.data, in.len);
        for (uint32_t k = 1 + rnd(8) / 6; k > 0; k--) {
            mutate(d, &n, header < n ? header : in.len);
            if (n < in.len) break;
        }
        good += run_counted(d, n) == QU_OK;
    }
    /* Some faults do no harm; most are found. */
    print_message("%s: %d of %d mutations still open\n", path, good, rounds);
    assert_true(good > rounds / 50 && good < rounds * 9 / 10);
    free(d);
    qu_buf_free(&in);
}

static void test_fuzz(void **state)
{
    (void)state;
    fuzz_file(test_needs("stories260K/stories260K-q4_0.gguf"), 2000, 14289);
    fuzz_file(test_needs("tokenizers/ggml-vocab-phi-3.gguf"), 200, 0);
    fuzz_file(test_needs("tokenizers/ggml-vocab-deepseek-coder.gguf"), 100, 0);
}

/* Small models with every key that the forward pass reads; without the shared test data. */
static void test_fuzz_models(void **state)
{
    (void)state;
    static const char *kinds[] = {
        "--arch qwen3 --set rope.scaling.type=yarn --set rope.scaling.factor=4.0 "
        "--set rope.scaling.original_context_length=256 --set rope.scaling.yarn_beta_fast=16.0",
        "--arch qwen2 --set rope.freq_base_per_kv_head=10000.0,500.0 --rope-freqs --type Q8_0"};
    char command[600];
    const char *b = getenv("B") ? getenv("B") : "build/release";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        snprintf(command, sizeof command, "%s/mkmodel --random --width 32 --ffn 32 %s -o %s", b,
                 kinds[i], tmp_path());
        assert_int_equal(system(command), 0);
        fuzz_file(tmp_path(), 1000, 16384);
    }
    unlink(tmp_path());
}

/* Fail the first allocation, then the second, ...: an error each time, nothing kept. */
static void test_no_memory(void **state)
{
    (void)state;
    if (!COUNTED) {
        print_message("skipped: the sanitizer has its own allocator\n");
        skip();
    }
    const char *paths[2] = {test_needs("stories260K/stories260K-q4_0.gguf"),
                            test_needs("tokenizers/ggml-vocab-deepseek-coder.gguf")};
    char *text = calloc(1, 5000);
    memset(text, 'a', 4000);
    for (int k = 0; k < 2; k++) {
        for (int n = 0;; n++) {
            qu_gguf *g = NULL;
            qu_tokenizer *t = NULL;
            qu_tokens v = {0};
            int64_t before = live_bytes;
            fail_after = n;
            qu_status st = qu_gguf_open(&g, paths[k], &fault);
            if (st == QU_OK) st = qu_tokenizer_create(&t, g, &fault);
            if (st == QU_OK) st = qu_tokenize(t, &v, text, 4999, 0, &fault);
            bool fired = fail_after == 0;
            fail_after = -1;
            assert_true(st == QU_OK || v.n == 0);
            qu_tokens_free(&v);
            qu_tokenizer_free(t);
            qu_gguf_close(g);
            assert_int_equal(live_bytes, before);
            if (st != QU_OK) assert_int_equal(st, QU_ERR_NOMEM);
            if (!fired) break;
            assert_true(n < 500);
        }
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_vocab_only),
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_odd_values),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_memory_of_tiny_entries),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_fuzz),
        cmocka_unit_test(test_fuzz_models),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
