/* qu_tokenize: the text is cut at the tokens that are matched whole, the parts between them into
 * pieces, and each piece is merged from its smallest symbols upwards, always the best pair first:
 *
 *     piece   " lower"      symbols  _ l o w e r   pairs in a heap, best on top
 *     merge   (o,w)         symbols  _ l ow e r    new pairs (l,ow) and (ow,e) join the heap
 *
 * Best is the lowest rank (byte-level) or the highest score (SentencePiece), the leftmost among
 * equals. A pair whose symbols have changed since is recognised by its length and dropped.
 */
#include "base/memory.h"
#include "decode/token_int.h"

enum {
    CACHE_TEXT = 22, /* bytes of a cached piece */
    CACHE_IDS = 10,
    CACHE_MAX = 1 << 14,
    CACHE_MIN_TEXT = 1024, /* shorter texts repeat too little */
};

typedef struct sym { /* n bytes of the piece; id -1: no token; n 0: merged into another */
    int32_t prev, next, start, n, id;
} sym;

typedef struct pair { /* lowest key first: rank or turned score above, position below */
    uint64_t key;
    int32_t n, id; /* bytes and id of the union */
} pair;

typedef struct cached { /* n_text 0 is free */
    uint8_t n_text, n_ids;
    char text[CACHE_TEXT];
    int32_t ids[CACHE_IDS];
} cached;

typedef struct work {
    const qu_tokenizer *t;
    qu_tokens *out;
    qu_err *err;
    const char *base; /* pieces lie in a text that begins here, */
    int64_t base_at;  /* at this offset of the caller's */
    sym *syms;
    pair *heap;
    int64_t sym_cap, n_heap, heap_cap;
    cached *cache;
    uint64_t cache_mask;
    pcre2_match_data *match;
    qu_buf copy;
} work;

static qu_status push(work *w, int32_t id, const char *at)
{
    qu_tokens *o = w->out;
    if (o->n == o->cap) { /* both grow by the same rule */
        int64_t cap = o->cap;
        QU_TRY(qu_memory_grow(&o->ids, &cap, o->n + 1, sizeof *o->ids, w->err));
        QU_TRY(qu_memory_grow(&o->at, &o->cap, o->n + 1, sizeof *o->at, w->err));
    }
    o->ids[o->n] = id;
    o->at[o->n++] = w->base_at + (at - w->base);
    return QU_OK;
}

/* ---- Merging ---- */

static qu_status heap_add(work *w, pair x)
{
    QU_TRY(qu_memory_grow(&w->heap, &w->heap_cap, w->n_heap + 1, sizeof *w->heap, w->err));
    int64_t i = w->n_heap++;
    for (; i > 0 && w->heap[(i - 1) / 2].key > x.key; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = x;
    return QU_OK;
}

static pair heap_take(work *w)
{
    pair top = w->heap[0], x = w->heap[--w->n_heap];
    int64_t i = 0;
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= w->n_heap) break;
        if (child + 1 < w->n_heap && w->heap[child + 1].key < w->heap[child].key) child++;
        if (x.key <= w->heap[child].key) break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = x;
    return top;
}

/* A float's bits as a number that falls as the float rises. */
static uint32_t falling(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u >> 31 ? u : ~u & 0x7fffffff;
}

/* Enter the pair of neighbours left, right if it makes a token. */
static qu_status consider(work *w, const char *p, int32_t left, int32_t right)
{
    const qu_tokenizer *t = w->t;
    if (left < 0 || right < 0) return QU_OK;
    const sym *a = &w->syms[left], *b = &w->syms[right];
    pair x = {.n = a->n + b->n, .id = -1};
    uint32_t order = 0;
    if (t->spm) {
        if ((uint32_t)x.n <= t->max_len) x.id = qu_token_lookup(t, p + a->start, (size_t)x.n, true);
        if (x.id < 0) return QU_OK;
        order = falling(t->scores[x.id]);
    } else {
        if (a->id < 0 || b->id < 0) return QU_OK;
        for (uint32_t i = qu_merge_hash(a->id, b->id) & t->merge_mask;;
             i = (i + 1) & t->merge_mask) {
            const qu_merge_slot *m = &t->merges[i];
            if (m->id < 0) return QU_OK;
            if (m->left != a->id || m->right != b->id) continue;
            order = (uint32_t)m->rank;
            x.id = m->id;
            break;
        }
    }
    x.key = (uint64_t)order << 32 | (uint32_t)left;
    return heap_add(w, x);
}

/* Cut the piece into its smallest symbols: bytes, or characters for SentencePiece. */
static qu_status make_syms(work *w, const char *p, size_t n, int32_t *n_syms)
{
    const qu_tokenizer *t = w->t;
    int32_t count = 0;
    for (size_t i = 0; i < n; count++) {
        size_t len = t->spm ? qu_utf8_len(p + i, n - i) : 1;
        if (len == 0) len = 1;
        QU_TRY(qu_memory_grow(&w->syms, &w->sym_cap, count + 1, sizeof *w->syms, w->err));
        int32_t id = t->spm ? qu_token_lookup(t, p + i, len, true) : t->byte_id[(uint8_t)p[i]];
        w->syms[count] = (sym){count - 1, count + 1, (int32_t)i, (int32_t)len, id};
        i += len;
    }
    w->syms[count - 1].next = -1;
    *n_syms = count;
    return QU_OK;
}

/* Append the ids of a symbol that is no token: its bytes, or the unknown token for what has no
 * byte. A byte-level vocabulary without this byte and without an unknown token drops it. */
static qu_status push_bytes(work *w, const char *p, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        int32_t id = w->t->byte_id[(uint8_t)p[i]];
        if (id < 0 && w->t->unk < 0) continue;
        QU_TRY(push(w, id >= 0 ? id : w->t->unk, p + i));
        if (id < 0) break; /* one unknown token a character */
    }
    return QU_OK;
}

static qu_status merge(work *w, const char *p, size_t n)
{
    int32_t count = 0;
    QU_TRY(make_syms(w, p, n, &count));
    sym *s = w->syms;
    w->n_heap = 0;
    for (int32_t i = 0; i + 1 < count; i++) QU_TRY(consider(w, p, i, i + 1));
    while (w->n_heap > 0) {
        pair x = heap_take(w);
        int32_t left = (int32_t)(uint32_t)x.key;
        sym *a = &s[left];
        if (a->n == 0 || a->next < 0 || a->n + s[a->next].n != x.n) continue;
        sym *b = &s[a->next];
        a->n = x.n;
        a->id = x.id;
        a->next = b->next;
        b->n = 0;
        if (a->next >= 0) s[a->next].prev = left;
        QU_TRY(consider(w, p, a->prev, left));
        QU_TRY(consider(w, p, left, a->next));
    }
    for (int32_t i = 0; i >= 0; i = s[i].next) {
        if (s[i].id >= 0)
            QU_TRY(push(w, s[i].id, p + s[i].start));
        else
            QU_TRY(push_bytes(w, p + s[i].start, s[i].n));
    }
    return QU_OK;
}

/* ---- Pieces ---- */

/* Remember the ids from first on as those of the piece, if their texts make it up. */
static void remember(work *w, cached *c, const char *p, size_t n, int64_t first)
{
    int64_t n_ids = w->out->n - first;
    size_t bytes = 0;
    if (n_ids < 1 || n_ids > CACHE_IDS) return;
    for (int64_t i = first; i < w->out->n; i++) bytes += qu_token_len(w->t, w->out->ids[i]);
    if (bytes != n) return; /* an unknown token stands for other bytes */
    c->n_text = (uint8_t)n;
    c->n_ids = (uint8_t)n_ids;
    memcpy(c->text, p, n);
    memcpy(c->ids, w->out->ids + first, (size_t)n_ids * sizeof *c->ids);
}

static qu_status piece(void *ctx, const char *p, size_t n)
{
    work *w = ctx;
    const qu_tokenizer *t = w->t;
    cached *c = NULL;
    if (w->cache && n <= CACHE_TEXT) {
        c = &w->cache[qu_hash_sum(p, n, 0) & w->cache_mask];
        if (c->n_text == n && memcmp(c->text, p, n) == 0) {
            for (int i = 0; i < c->n_ids; i++) {
                QU_TRY(push(w, c->ids[i], p));
                p += qu_token_len(t, c->ids[i]);
            }
            return QU_OK;
        }
    }
    int64_t first = w->out->n;
    int32_t whole =
        t->pre && t->pre->ignore_merges && n <= t->max_len ? qu_token_lookup(t, p, n, true) : -1;
    if (whole >= 0)
        QU_TRY(push(w, whole, p));
    else
        QU_TRY(merge(w, p, n));
    if (c) remember(w, c, p, n, first);
    return QU_OK;
}

/* SentencePiece: a copy of the text with its leading space and U+2581 as a space is cut before
 * spaces, where the vocabulary lets no token reach across; offsets are then those of the original
 * again. */
static qu_status spm_part(work *w, const char *text, size_t n, int64_t at, bool space)
{
    int64_t first = w->out->n;
    w->copy.len = 0;
    QU_TRY(qu_buf_reserve(&w->copy, n + 1, w->err));
    char *o = w->copy.data;
    if (space) *o++ = ' ';
    for (size_t i = 0; i < n; i++) {
        bool wide =
            (uint8_t)text[i] == 0xE2 && n - i >= 3 && memcmp(text + i, "\xE2\x96\x81", 3) == 0;
        *o++ = wide ? ' ' : text[i];
        if (wide) i += 2;
    }
    const char *p = w->base = w->copy.data, *end = o;
    w->base_at = 0;
    while (p < end) {
        const char *q = w->t->cut_words ? p : end;
        while (q < end && *q == ' ') q++;
        if (q < end && !(q = memchr(q, ' ', (size_t)(end - q)))) q = end;
        QU_TRY(piece(w, p, (size_t)(q - p)));
        p = q;
    }
    int64_t in = 0, copied = space ? 1 : 0; /* text offset and the copy's that belong together */
    for (int64_t i = first; i < w->out->n; i++) {
        for (; copied < w->out->at[i]; copied++)
            in += (uint8_t)text[in] == 0xE2 && w->copy.data[copied] == ' ' ? 3 : 1;
        w->out->at[i] = at + in;
    }
    return QU_OK;
}

static qu_status part(work *w, const char *text, size_t n, int64_t at, bool space)
{
    if (n == 0) return QU_OK;
    if (w->t->spm) return spm_part(w, text, n, at, space);
    w->base = text;
    w->base_at = at;
    return qu_token_split(w->t, w->match, text, n, piece, w, w->err);
}

/* ---- Tokens matched whole ---- */

/* The longest token of the kinds in mask that begins at p; -1 when none does. */
static int32_t matched(const qu_tokenizer *t, const char *p, size_t n, unsigned mask)
{
    const uint64_t *lengths = t->lengths[(uint8_t)*p];
    for (int word = 3; word >= 0; word--)
        for (uint64_t bits = lengths[word]; bits;) {
            int bit = 63 - __builtin_clzll(bits);
            size_t len = (size_t)(word * 64 + bit);
            bits ^= (uint64_t)1 << bit;
            if (len > n) continue;
            int32_t id = qu_token_lookup(t, p, len, false);
            if (id >= 0 && (mask >> t->kind[id] & 1)) return id;
        }
    return -1;
}

static qu_status run(work *w, const char *text, size_t n, unsigned flags)
{
    const qu_tokenizer *t = w->t;
    unsigned mask = 1u << QU_KIND_USER | (flags & QU_TOK_SPECIAL ? 1u << QU_KIND_CONTROL : 0);
    bool space = t->add_space && !(flags & QU_TOK_CONTINUE);
    size_t from = 0;
    if ((flags & QU_TOK_BOS) && qu_tokenizer_adds_bos(t)) QU_TRY(push(w, t->bos, text));
    for (size_t i = 0; i < n; i++) {
        if (!(t->begins[(uint8_t)text[i]] & mask)) continue;
        int32_t id = matched(t, text + i, n - i, mask);
        if (id < 0) continue;
        QU_TRY(part(w, text + from, i - from, (int64_t)from, space));
        w->base = text;
        w->base_at = 0;
        QU_TRY(push(w, id, text + i));
        from = i + qu_token_len(t, id);
        i = from - 1;
        /* Text behind a control token begins like a text of its own. */
        space = t->add_space && t->kind[id] == QU_KIND_CONTROL;
    }
    return part(w, text + from, n - from, (int64_t)from, space);
}

qu_status qu_tokenize(const qu_tokenizer *t, qu_tokens *out, const char *text, size_t n,
                      unsigned flags, qu_err *err)
{
    if (n > QU_TOK_MAX_BYTES)
        return qu_fail(err, QU_ERR_LIMIT,
                       "text of %zu bytes is too long for one call; the limit is %d", n,
                       QU_TOK_MAX_BYTES);
    work w = {.t = t, .out = out, .err = err, .base = text};
    int64_t before = out->n;
    qu_status st = QU_OK;
    if (!t->spm && !(w.match = pcre2_match_data_create(1, NULL))) return qu_fail_nomem(err, 0);
    if (n >= CACHE_MIN_TEXT) {
        size_t entries = 64;
        while (entries < CACHE_MAX && entries < n / 16) entries *= 2;
        w.cache_mask = entries - 1;
        QU_TRY_OUT(qu_memory_take(&w.cache, (int64_t)entries, sizeof *w.cache, err));
    }
    st = run(&w, text, n, flags);
out:
    if (st != QU_OK) out->n = before;
    pcre2_match_data_free(w.match);
    qu_buf_free(&w.copy);
    free(w.cache);
    free(w.heap);
    free(w.syms);
    return st;
}

void qu_tokens_free(qu_tokens *v)
{
    free(v->ids);
    free(v->at);
    memset(v, 0, sizeof *v);
}
