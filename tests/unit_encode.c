/* Making KV: streamed and whole documents, resumed anywhere, give the same bits; what is stored,
 * made for a question or prefilled cold answers alike. */
#include "tests/pipeline_testing.h"

#include "store/gc.h"

#include "base/dims.h"
#include "kernels/codec.h"

enum { MAX_PAGES = 24, L = 4, G = 2 };

/* --- the encoder by itself, into memory --- */

/* Slices of a document; a page counts as there once it is done. */
typedef struct memory {
    qu_buf slice[MAX_PAGES][L][G], summary[MAX_PAGES], lookback[MAX_PAGES];
    int32_t n_done;     /* pages reported, in order */
    int32_t fail_at;    /* page_done of this page fails; -1: none */
    int32_t stop_after; /* passes; -1: never */
    bool has_header;    /* which is not made again */
} memory;

static void clear(memory *m)
{
    for (int32_t i = 0; i < MAX_PAGES * L * G; i++)
        qu_buf_free(&m->slice[i / (L * G)][i / G % L][i % G]);
    for (int32_t i = 0; i < MAX_PAGES; i++) {
        qu_buf_free(&m->summary[i]);
        qu_buf_free(&m->lookback[i]);
    }
    m->n_done = 0;
    m->fail_at = m->stop_after = -1;
    m->has_header = false;
}

static qu_buf *part_of(memory *m, const qu_encode_part *p)
{
    return p->kind == QU_KV_SLICE     ? &m->slice[p->page][p->layer][p->kv_head]
           : p->kind == QU_KV_SUMMARY ? &m->summary[p->page]
                                      : &m->lookback[p->page];
}

static qu_status put(void *ctx, const qu_encode_part *part, const void *data, size_t n, qu_err *err)
{
    memory *m = ctx;
    qu_buf *b = part_of(m, part);
    assert_false(part->page == 0 && m->has_header);
    if (part->kind == QU_KV_SUMMARY) assert_true(m->slice[part->page][0][0].len > 0);
    if (part->kind == QU_KV_LOOKBACK) assert_true(part->page > m->n_done);
    b->len = 0;
    return qu_buf_add(b, data, n, err);
}

static qu_status get(void *ctx, const qu_encode_part *part, const void **data, size_t *n,
                     qu_err *err)
{
    const qu_buf *b = part_of(ctx, part);
    if (b->len == 0) return qu_fail(err, QU_ERR_NOTFOUND, "page %d is not there", part->page);
    *data = b->data;
    *n = b->len;
    return QU_OK;
}

static qu_status page_done(void *ctx, int32_t page, int32_t n_tokens, qu_err *err)
{
    memory *m = ctx;
    assert_true(n_tokens >= 1 && n_tokens <= QU_PAGE_TOKENS);
    if (page == m->fail_at) return qu_fail(err, QU_ERR_FULL, "no space left");
    if (page >= m->n_done) m->n_done = page + 1;
    return QU_OK;
}

static bool stop(void *ctx)
{
    return ((memory *)ctx)->stop_after-- == 0;
}

typedef struct made {
    qu_page pages[MAX_PAGES];
    int32_t ids[MAX_PAGES * QU_PAGE_TOKENS], first[MAX_PAGES + 1], n_pages;
} made;

static void make_document(made *d, int32_t n_pages, int32_t header, int32_t vocab, uint64_t *seed)
{
    memset(d, 0, sizeof *d);
    d->n_pages = n_pages;
    for (int32_t p = 0; p < n_pages; p++) {
        int32_t n = p == 0             ? header
                    : p + 1 == n_pages ? 1 + (int32_t)(test_random(seed) % 128)
                                       : 64 + (int32_t)(test_random(seed) % 65);
        d->pages[p].n_tokens = n;
        d->first[p + 1] = d->first[p] + n;
        for (int32_t i = 0; i < n; i++)
            d->ids[d->first[p] + i] = (int32_t)(test_random(seed) % (uint64_t)vocab);
    }
}

static qu_encode_doc to_encode(const made *d, memory *m, int32_t done)
{
    return (qu_encode_doc){d->pages, d->n_pages, d->ids, {done, get, put, page_done, stop, m}};
}

static qu_status encode(const qu_encoder *e, const made *d, memory *m, int32_t done)
{
    qu_encode_doc doc = to_encode(d, m, done);
    return qu_encode_documents(e, &doc, 1, NULL);
}

static void assert_same(const memory *a, const memory *b, const made *d, const qu_model *m,
                        int32_t run)
{
    for (int32_t p = 0; p < d->n_pages; p++)
        for (int32_t l = 0; l < m->n_layers; l++)
            for (int32_t g = 0; g < m->n_kv_heads; g++) {
                const qu_buf *x = &a->slice[p][l][g], *y = &b->slice[p][l][g];
                if (x->len != y->len || memcmp(x->data, y->data, x->len) != 0)
                    fail_msg("run %d: page %d, layer %d, head %d differ", run, p, l, g);
            }
}

static void copy_pages(memory *to, const memory *from, int32_t n)
{
    for (int32_t i = 0; i < n * L * G; i++) {
        const qu_buf *b = &from->slice[i / (L * G)][i / G % L][i % G];
        qu_encode_part slice = {QU_KV_SLICE, i / (L * G), i / G % L, i % G};
        if (b->len) TEST_OK(put(to, &slice, b->data, b->len, err));
    }
    for (int32_t p = 0; p <= n && p < MAX_PAGES; p++) {
        const qu_buf *b = &from->summary[p], *c = &from->lookback[p];
        qu_encode_part sum = {QU_KV_SUMMARY, p, 0, 0}, list = {QU_KV_LOOKBACK, p, 0, 0};
        if (p < n && b->len) TEST_OK(put(to, &sum, b->data, b->len, err));
        /* of the chunk that begins there */
        if (c->len) TEST_OK(put(to, &list, c->data, c->len, err));
    }
    to->n_done = n;
}

static memory full, part;

/* From every page (every third of the codecs but the first), and with every way to be interrupted,
 * the same slices come out. */
static void resume_everywhere(const qu_encoder *e, const made *d, const qu_model *m, int codec)
{
    int32_t step = codec == 0 ? 1 : 3;
    clear(&full);
    assert_int_equal(encode(e, d, &full, 0), QU_OK);
    assert_int_equal(full.n_done, d->n_pages);
    for (int32_t done = 0; done <= d->n_pages; done += step) {
        clear(&part);
        copy_pages(&part, &full, done);
        part.has_header = done > 0;
        assert_int_equal(encode(e, d, &part, done), QU_OK);
        assert_int_equal(part.n_done, d->n_pages);
        assert_same(&part, &full, d, m, done);
    }
    for (int32_t at = 0; at < d->n_pages;
         at += step) { /* a failure at any page, then on from what was done */
        clear(&part);
        part.fail_at = at;
        assert_int_equal(encode(e, d, &part, 0), QU_ERR_FULL);
        assert_int_equal(part.n_done, at);
        part.fail_at = -1;
        assert_int_equal(encode(e, d, &part, at), QU_OK);
        assert_same(&part, &full, d, m, 100 + at);
    }
    clear(&part); /* a stop before every second pass */
    qu_status st;
    int32_t rounds = 0;
    do {
        part.stop_after = 1;
        int32_t before = part.n_done;
        st = encode(e, d, &part, before);
        assert_true(st == QU_OK || (st == QU_ERR_CANCELLED && part.n_done > before));
    } while (st != QU_OK && rounds++ < MAX_PAGES);
    assert_true(rounds > 0 || d->first[d->n_pages] <= 8 * QU_PAGE_TOKENS); /* one pass */
    assert_same(&part, &full, d, m, 200);
}

/* The slices of one chunk as encode.h describes a streamed document: prefix, header, the pages that
 * its list names, the latest pages at their distances. */
typedef struct one_page {
    memory *m;
    int32_t page;
} one_page;

static qu_status give(void *ctx, int32_t l, int32_t g, const void **data, size_t *n, qu_err *err)
{
    one_page *p = ctx;
    qu_encode_part slice = {QU_KV_SLICE, p->page, l, g};
    return get(p->m, &slice, data, n, err);
}

static memory chunk;

static qu_status put_chunk(void *ctx, int32_t page, int32_t l, int32_t g, const void *data,
                           size_t n, qu_err *err)
{
    qu_encode_part slice = {QU_KV_SLICE, *(int32_t *)ctx + page, l, g};
    return put(&chunk, &slice, data, n, err);
}

static void prefix_pages(memory *into, const qu_session *s)
{
    qu_context *c;
    int32_t page0 = 0;
    qu_page_tokens p = {s->prefix.ids, (int32_t)s->prefix.n, 0};
    qu_page_sink sink = {put_chunk, &page0, NULL};
    clear(&chunk);
    TEST_OK(qu_context_create(&c, s->model, s->pool, s->codec, err));
    TEST_OK(qu_context_prefill(c, &p, 1, &sink, err));
    qu_context_free(c);
    clear(into);
    copy_pages(into, &chunk, 1);
}

static void attach_at(qu_context *c, one_page *source, memory *m, int32_t page, int32_t n,
                      int64_t pos)
{
    *source = (one_page){m, page};
    qu_page_source give_it = {.get = give, .ctx = source};
    TEST_OK(qu_context_attach(c, n, pos, &give_it, err));
}

/* Also that the list keeps to its half of the room. Returns how many pages it names. */
static int32_t check_chunk(const qu_session *s, const made *d, memory *prefix, int32_t from,
                           int32_t to)
{
    qu_context *c;
    one_page sources[MAX_PAGES + 1];
    qu_page_tokens pages[QU_ENCODE_CHUNK];
    int64_t p0 = s->prefix.n, room = s->model->context - p0 - d->first[1];
    int32_t first = from, n_seen = (int32_t)(full.lookback[from].len / 4), k = 0;
    const int32_t *seen = (const int32_t *)(const void *)full.lookback[from].data;
    bool all = d->first[to] - d->first[1] <= room;
    room -= d->first[to] - d->first[from];
    while (first > 1 && d->first[from] - d->first[first - 1] <= (all ? room : room / 2)) first--;
    int64_t looked = 0, pos = p0 + d->first[first];
    for (int32_t i = 0; i < n_seen; i++) {
        assert_in_range(seen[i], i ? seen[i - 1] + 1 : 1, first - 1);
        looked += d->pages[seen[i]].n_tokens;
    }
    assert_true(looked <= room - (d->first[from] - d->first[first]));
    pos -= looked + d->first[1];
    TEST_OK(qu_context_create(&c, s->model, NULL, s->codec, err));
    attach_at(c, &sources[k++], prefix, 0, (int32_t)p0, pos - p0);
    attach_at(c, &sources[k++], &full, 0, d->pages[0].n_tokens, pos);
    pos += d->first[1];
    for (int32_t i = 0; i < n_seen; i++) {
        attach_at(c, &sources[k++], &full, seen[i], d->pages[seen[i]].n_tokens, pos);
        pos += d->pages[seen[i]].n_tokens;
    }
    for (int32_t p = first; p < from; p++)
        attach_at(c, &sources[k++], &full, p, d->pages[p].n_tokens, p0 + d->first[p]);
    for (int32_t p = from; p < to; p++)
        pages[p - from] =
            (qu_page_tokens){d->ids + d->first[p], d->pages[p].n_tokens, p0 + d->first[p]};
    qu_page_sink sink = {put_chunk, &from, NULL};
    TEST_OK(qu_context_prefill(c, pages, to - from, &sink, err));
    qu_context_free(c);
    return n_seen;
}

static void long_documents_are_streamed(void **state)
{
    (void)state;
    uint64_t seed = 31;
    static made d;
    static const char *const models[] = {"w512.gguf", "w1024.gguf"};
    static const int32_t n_pages[] = {9, 15}, step[] = {2, 4};
    for (int i = 0; i < 2; i++)
        for (int codec = 0; codec < 3; codec++) {
            px_session p;
            qu_encoder *e;
            memory *prefix = calloc(1, sizeof *prefix);
            px_open(&p, NULL, models[i], 0, codec);
            TEST_OK(qu_encoder_create(&e, &p.s, err));
            make_document(&d, n_pages[i], 9, p.s.model->vocab, &seed);
            assert_true(p.s.prefix.n + d.first[d.n_pages] > p.s.model->context);
            resume_everywhere(e, &d, p.s.model, p.s.codec);
            prefix_pages(prefix, &p.s);
            clear(&chunk);
            copy_pages(&chunk, &full, 1);
            int32_t looked_back = 0;
            for (int32_t from = 1; from < d.n_pages; from += step[i])
                looked_back +=
                    check_chunk(&p.s, &d, prefix, from,
                                from + step[i] < d.n_pages ? from + step[i] : d.n_pages);
            assert_true(i == 0 || looked_back > 0);
            assert_same(&chunk, &full, &d, p.s.model, 300);
            clear(prefix);
            free(prefix);
            qu_encoder_free(e);
            px_close(&p);
        }
}

static void whole_documents_give_the_same_bits_in_any_chunks(void **state)
{
    (void)state;
    uint64_t seed = 32;
    static made d;
    for (int run = 0; run < 6; run++) {
        px_session p;
        qu_encoder *e;
        qu_context *c;
        px_open(&p, NULL, run % 2 ? "copy.gguf" : "w1024.gguf", 0, run / 2);
        TEST_OK(qu_encoder_create(&e, &p.s, err));
        make_document(&d, run % 2 ? 14 : 7, 9, p.s.model->vocab, &seed);
        assert_true(p.s.prefix.n + d.first[d.n_pages] <= p.s.model->context);
        resume_everywhere(e, &d, p.s.model, p.s.codec);
        /* and in one prefill with the prefix */
        qu_page_tokens pages[15] = {{p.s.prefix.ids, (int32_t)p.s.prefix.n, 0}};
        for (int32_t i = 0; i < d.n_pages; i++)
            pages[i + 1] = (qu_page_tokens){d.ids + d.first[i], d.pages[i].n_tokens,
                                            p.s.prefix.n + d.first[i]};
        int32_t page0 = 0;
        qu_page_sink sink = {put_chunk, &page0, NULL};
        clear(&chunk);
        TEST_OK(qu_context_create(&c, p.s.model, p.s.pool, p.s.codec, err));
        TEST_OK(qu_context_prefill(c, pages, 1, NULL, err));
        TEST_OK(qu_context_prefill(c, pages + 1, d.n_pages, &sink, err));
        assert_same(&chunk, &full, &d, p.s.model, run);
        qu_context_free(c);
        qu_encoder_free(e);
        px_close(&p);
    }
}

/* One streamed, one with pages already, in two groups: slices and summaries as alone; also after a
 * failure and a stop among them, what was done before staying done. */
static void documents_together_are_as_alone(void **state)
{
    (void)state;
    enum { DOCS = 12 };
    static const int32_t n_pages[DOCS] = {2, 1, 4, 3, 15, 2, 7, 5, 3, 6, 2, 5};
    static made d[DOCS];
    static memory alone[DOCS], beside[DOCS];
    uint64_t seed = 35;
    for (int codec = 0; codec < 4; codec++) {
        px_session p;
        qu_encoder *e;
        qu_encode_doc docs[DOCS];
        px_open(&p, NULL, "w1024.gguf", 0, codec);
        TEST_OK(qu_encoder_create(&e, &p.s, err));
        for (int i = 0; i < DOCS; i++) {
            make_document(&d[i], n_pages[i], 1 + i, p.s.model->vocab, &seed);
            clear(&alone[i]);
            clear(&beside[i]);
            assert_int_equal(encode(e, &d[i], &alone[i], 0), QU_OK);
        }
        copy_pages(&beside[6], &alone[6], 2);
        beside[9].fail_at = codec;
        beside[2].stop_after = codec - 1;
        qu_status st = QU_ERR_CANCELLED;
        for (int round = 0; st != QU_OK; round++) {
            assert_in_range(round, 0, 2);
            for (int i = 0; i < DOCS; i++) docs[i] = to_encode(&d[i], &beside[i], beside[i].n_done);
            st = qu_encode_documents(e, docs, DOCS, NULL);
            if (st == QU_ERR_FULL) assert_int_equal(beside[9].n_done, codec);
            if (st == QU_ERR_FULL) beside[9].fail_at = -1;
        }
        for (int i = 0; i < DOCS; i++) {
            assert_int_equal(beside[i].n_done, n_pages[i]);
            assert_same(&beside[i], &alone[i], &d[i], p.s.model, 400 + i);
            for (int32_t j = 0; j < n_pages[i]; j++) {
                const qu_buf *a = &alone[i].summary[j], *b = &beside[i].summary[j];
                assert_true(a->len > 0 && a->len == b->len);
                assert_memory_equal(a->data, b->data, a->len);
            }
            clear(&alone[i]);
            clear(&beside[i]);
        }
        qu_encoder_free(e);
        px_close(&p);
    }
}

static void a_window_too_small_is_refused(void **state)
{
    (void)state;
    uint64_t seed = 33;
    static made d;
    px_session p;
    qu_encoder *e;
    px_model("w256.gguf", "--random --shape tiny --context 256 --seed 3");
    px_open(&p, NULL, "w256.gguf", 0, 1);
    TEST_OK(qu_encoder_create(&e, &p.s, err));
    clear(&full);
    for (int32_t header = 1; header <= 128; header++) {
        make_document(&d, 5, header, p.s.model->vocab, &seed);
        bool fits = p.s.prefix.n + header + QU_PAGE_TOKENS <= 256;
        clear(&full);
        assert_int_equal(encode(e, &d, &full, 0), fits ? QU_OK : QU_ERR_LIMIT);
    }
    d.n_pages = 0;
    assert_int_equal(encode(e, &d, &full, 0), QU_ERR_ARG);
    qu_encoder_free(e);
    px_close(&p);
}

static void damaged_resume_is_refused(void **state)
{
    (void)state;
    uint64_t seed = 34;
    static made d;
    px_session p;
    qu_encoder *e;
    px_open(&p, NULL, "w512.gguf", 0, 1);
    TEST_OK(qu_encoder_create(&e, &p.s, err));
    make_document(&d, 4, 9, p.s.model->vocab, &seed);
    clear(&full);
    assert_int_equal(encode(e, &d, &full, 0), QU_OK);
    full.slice[1][0][0].len -= 2;
    assert_int_equal(encode(e, &d, &full, 2), QU_ERR_CORRUPT);
    full.slice[1][0][0].len = 0;
    assert_int_equal(encode(e, &d, &full, 2), QU_ERR_NOTFOUND);
    qu_encoder_free(e);
    px_close(&p);
    clear(&full);
}

/* --- through the store --- */

static const char question[] = "what follows badar?";

static void kv_and_exact_agree_bit_for_bit(void **state)
{
    (void)state;
    for (int codec = 0; codec < 3; codec++)
        for (int lines = 4; lines <= 44; lines += 20) { /* up to 8 pages: they come whole */
            px_session p;
            float *kv, *exact;
            char a[200], b[200];
            int64_t loaded;
            const char *store = px_path("kv%d.%d", codec, lines);
            px_shell("rm -rf %s; mkdir %s", px_path("docs"), px_path("docs"));
            px_write(px_path("docs/a.md"), "Houses", "badar cefen digol fohux", lines, 1);
            px_open(&p, strrchr(store, '/') + 1, "copy.gguf", QU_SESSION_WRITE | QU_SESSION_CREATE,
                    codec);
            assert_int_equal(px_sync(&p, px_path("docs")).added, 1);
            qu_make_kv_report r = px_make_kv(&p, -1);
            assert_int_equal(r.docs, 1);
            qu_doc d;
            assert_true(px_doc(&p, px_path("docs/a.md"), &d));
            assert_int_equal(d.kv_pages, d.n_pages);
            px_ask(&p, QU_FIDELITY_KV, 1, question, a, &loaded, &kv);
            assert_int_equal(loaded, d.n_tokens);
            px_ask(&p, QU_FIDELITY_EXACT, 1, question, b, &loaded, &exact);
            assert_int_equal(loaded, 0);
            assert_memory_equal(kv, exact, (size_t)p.s.model->vocab * sizeof *kv);
            free(kv);
            free(exact);
            px_ask(&p, QU_FIDELITY_KV, 8, question, a, NULL, NULL);
            px_ask(&p, QU_FIDELITY_EXACT, 8, question, b, NULL, NULL);
            assert_string_equal(a, "cefen digol fohux");
            assert_string_equal(b, a);
            px_assert_clean(&p);
            qu_doc_free(&d);
            px_close(&p);
        }
}

/* n paragraphs of different lengths, one of them another than before. */
static void write_paragraphs(const char *path, int n, int edited)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < n; i++) {
        for (int k = i * 7 % 5 + (i == edited ? 5 : 0); k >= 0; k--)
            fprintf(f, "%s in house %d.%s", i == edited ? "A change" : "the old road", i,
                    k ? " " : "\n\n");
    }
    fclose(f);
}

/* Wherever a streamed document is edited: the slices of a store that only ever saw the new text,
 * for less. */
static void an_edit_keeps_streamed_pages_before_it(void **state)
{
    (void)state;
    static const char *const models[] = {"w512.gguf", "w1024.gguf"};
    for (int run = 0; run < 12; run++) {
        px_session p, q;
        qu_doc d, e;
        qu_buf got = {0}, want = {0};
        const char *path = px_path("docs/a.md"), *stores[2] = {"edited", "anew"};
        int64_t all = 0, edited = 0;
        px_shell("rm -rf %s %s; mkdir -p %s", px_path("docs"), px_path("edited"), px_path("docs"));
        write_paragraphs(path, run % 2 ? 40 : 34 + run / 2, -1);
        px_open_write(&p, stores[0], models[run / 2 % 2]);
        px_sync(&p, px_path("docs"));
        px_make_kv(&p, run % 3 ? -1 : 2); /* stopped on its way */
        px_make_kv(&p, -1);
        write_paragraphs(path, 40, run % 2 ? 39 - 3 * run : -1); /* or more at the end */
        assert_int_equal(px_sync(&p, px_path("docs")).changed, 1);
        /* drops what the edit gave up */
        if (run % 4 > 1) TEST_OK(qu_store_gc(p.s.store, NULL, err));
        if (run % 3 == 1) edited += px_make_kv(&p, 1).tokens;
        edited += px_make_kv(&p, -1).tokens;
        px_assert_clean(&p);
        assert_true(px_doc(&p, px_path("docs/a.md"), &d));
        px_slices(&p, &d, &got);
        px_close(&p);
        px_shell("rm -rf %s", px_path("anew"));
        px_open_write(&q, stores[1], models[run / 2 % 2]);
        px_sync(&q, px_path("docs"));
        all = px_make_kv(&q, -1).tokens;
        assert_true(px_doc(&q, px_path("docs/a.md"), &e));
        assert_true(q.s.prefix.n + e.n_tokens > q.s.model->context);
        px_slices(&q, &e, &want);
        px_close(&q);
        assert_int_equal(got.len, want.len);
        assert_memory_equal(got.data, want.data, want.len);
        if (run < 9 && edited >= all)
            fail_msg("run %d: %lld of %lld tokens", run, (long long)edited, (long long)all);
        qu_doc_free(&d);
        qu_doc_free(&e);
        qu_buf_free(&got);
        qu_buf_free(&want);
    }
}

static void what_a_question_makes_is_what_the_store_gets(void **state)
{
    (void)state;
    px_session p;
    qu_fresh f = {0};
    qu_encoder *e;
    qu_doc d;
    qu_buf want = {0}, got = {0};
    px_shell("rm -rf %s; mkdir %s", px_path("docs"), px_path("docs"));
    px_write(px_path("docs/a.md"), "Houses", "badar cefen digol fohux", 30, 1);
    px_open_write(&p, "fresh1", "w1024.gguf"); /* streamed: byte tokens in a window of 1024 */
    px_sync(&p, px_path("docs"));
    assert_true(px_doc(&p, px_path("docs/a.md"), &d));
    TEST_OK(qu_encoder_create(&e, &p.s, err));
    TEST_OK(qu_fresh_documents(&f, e, &p.s, &d.doc_id, 1, err));
    const qu_fresh_doc *made_doc = qu_fresh_find(&f, d.doc_id);
    assert_non_null(made_doc);
    assert_int_equal(made_doc->n_pages, d.n_pages);
    for (int32_t i = 0; i < d.n_pages; i++)
        for (int32_t l = 0; l < p.s.model->n_layers; l++)
            for (int32_t g = 0; g < p.s.model->n_kv_heads; g++)
                TEST_OK(qu_buf_add(&got, qu_page_memory_slice(made_doc->pages[i], l, g),
                                   qu_page_memory_bytes(made_doc->pages[i]), err));
    TEST_OK(qu_fresh_documents(&f, e, &p.s, &d.doc_id, 1, err));
    assert_int_equal(f.n, 1); /* made once */
    assert_ptr_equal(qu_fresh_find(&f, d.doc_id), made_doc);
    assert_int_equal(qu_fresh_documents(&f, e, &p.s, &(uint64_t){d.doc_id + 7}, 1, NULL),
                     QU_ERR_NOTFOUND);
    assert_null(qu_fresh_find(&f, d.doc_id + 7));
    qu_fresh_free(&f);
    qu_encoder_free(e);
    assert_int_equal(px_make_kv(&p, -1).docs, 1);
    qu_doc_free(&d);
    assert_true(px_doc(&p, px_path("docs/a.md"), &d));
    px_slices(&p, &d, &want);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.data, want.data, want.len);
    qu_doc_free(&d);
    qu_buf_free(&want);
    qu_buf_free(&got);
    px_close(&p);
}

static void a_question_saves_what_it_made(void **state)
{
    (void)state;
    px_session p;
    qu_doc d;
    char a[200], b[200];
    int64_t loaded;
    float *first, *second;
    px_shell("rm -rf %s; mkdir %s", px_path("docs"), px_path("docs"));
    px_write(px_path("docs/a.md"), "Houses", "badar cefen digol fohux", 30, 1);
    px_write(px_path("docs/b.md"), "Rivers", "bamel cipim dogos fuvut", 20, 2);
    px_open_write(&p, "fresh2", "copy.gguf");
    px_sync(&p, px_path("docs"));
    px_close(&p);
    px_open(&p, "fresh2", "copy.gguf", 0, 1); /* as ask opens it: for reading */
    px_ask(&p, QU_FIDELITY_KV, 1, question, a, &loaded, &first);
    assert_int_equal(loaded, 0);
    assert_false(qu_store_is_writable(p.s.store)); /* the lock is given back */
    assert_true(px_doc(&p, px_path("docs/a.md"), &d));
    assert_int_equal(d.kv_pages, d.n_pages);
    assert_int_equal(px_counts(&p).n_open_kv, 0);
    px_ask(&p, QU_FIDELITY_KV, 1, question, b, &loaded, &second);
    assert_true(loaded >= d.n_tokens);
    assert_memory_equal(first, second, (size_t)p.s.model->vocab * sizeof *first);
    px_ask(&p, QU_FIDELITY_KV, 8, question, b, NULL, NULL);
    assert_string_equal(b, "cefen digol fohux");
    px_assert_clean(&p);
    qu_doc_free(&d);
    px_close(&p);
    free(first);
    free(second);
}

/* The bundled reader's own keys: its logits for a question over stored pages, against codec f32. */
static void codecs_move_the_logits_little(void **state)
{
    (void)state;
    static const double most[] = {0, .005, .03, .3};
    float *first = NULL, *logits;
    px_shell("cp models/quire-reader.gguf %s; mkdir -p %s; head -c 4000 README.md >%s",
             px_path("reader.gguf"), px_path("codecs"), px_path("codecs/a.md"));
    for (int codec = 0; codec < 4; codec++) {
        px_session q;
        char text[200], store[32];
        int64_t loaded;
        snprintf(store, sizeof store, "codec%d", codec);
        px_open(&q, store, "reader.gguf", QU_SESSION_WRITE | QU_SESSION_CREATE, codec);
        px_sync(&q, px_path("codecs"));
        px_make_kv(&q, -1);
        px_ask(&q, QU_FIDELITY_KV, 1, "Which models can be used?", text, &loaded, &logits);
        assert_true(loaded > 0);
        if (!first) first = logits;
        double sum = 0, size = 0, mean = 0;
        for (int i = 0; i < q.s.model->vocab; i++) mean += (double)first[i] / q.s.model->vocab;
        for (int i = 0; i < q.s.model->vocab; i++) {
            sum += pow((double)logits[i] - (double)first[i], 2);
            size += pow((double)first[i] - mean, 2);
        }
        print_message("codec %d: %lld tokens loaded, logits differ by %.5f of their deviation\n",
                      codec, (long long)loaded, sqrt(sum / size));
        assert_true(sqrt(sum / size) <= most[codec]);
        if (logits != first) free(logits);
        px_close(&q);
    }
    free(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codecs_move_the_logits_little),
        cmocka_unit_test(long_documents_are_streamed),
        cmocka_unit_test(an_edit_keeps_streamed_pages_before_it),
        cmocka_unit_test(whole_documents_give_the_same_bits_in_any_chunks),
        cmocka_unit_test(documents_together_are_as_alone),
        cmocka_unit_test(a_window_too_small_is_refused),
        cmocka_unit_test(damaged_resume_is_refused),
        cmocka_unit_test(kv_and_exact_agree_bit_for_bit),
        cmocka_unit_test(what_a_question_makes_is_what_the_store_gets),
        cmocka_unit_test(a_question_saves_what_it_made),
    };
    return cmocka_run_group_tests(tests, px_setup, px_teardown);
}
