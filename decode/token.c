#include "base/dims.h"
#include "base/memory.h"
#include "decode/token_int.h"

/* GGUF's token types. */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

/* Names of tokens that end a generation; the first ones also end a turn of a chat. */
static const char *const END_NAMES[] = {
    "<|eot_id|>", "<|im_end|>",    "<|end|>",         "<end_of_turn>", "<|EOT|>",
    "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>", "</s>",          "<｜end▁of▁sentence｜>",
};
enum { N_END = sizeof END_NAMES / sizeof END_NAMES[0], N_EOT = 5 };

/* Longest tokens that merging makes and that are matched in text; real ones stay below 300 bytes.
 */
enum { MAX_PLAIN = 1024, MAX_MATCHED = 255 };

/* Slots of a table are asked for this many entries early: its memory is the slow part of
 * loading. */
enum { AHEAD = 16 };

static const char SPM_SPACE[] = "\xE2\x96\x81"; /* U+2581 */

/* ---- The table text -> id ---- */

static uint64_t hash_text(const qu_tokenizer *t, const char *p, size_t n)
{
    return qu_hash_sum(p, n, (uintptr_t)t); /* the address keeps chosen texts from colliding */
}

static bool token_is(const qu_tokenizer *t, int32_t id, const char *p, size_t n)
{
    return qu_token_len(t, id) == n && memcmp(t->pool + t->off[id], p, n) == 0;
}

int32_t qu_token_lookup(const qu_tokenizer *t, const char *p, size_t n, bool plain)
{
    uint64_t h = hash_text(t, p, n);
    for (uint32_t i = (uint32_t)h & t->slot_mask;; i = (i + 1) & t->slot_mask) {
        const qu_token_slot *s = &t->slots[i];
        if (s->id < 0) return -1;
        if (s->tag == (uint32_t)(h >> 32) && (t->kind[s->id] == QU_KIND_PLAIN) == plain &&
            token_is(t, s->id, p, n))
            return s->id;
    }
}

/* The first of equal texts wins, among plain tokens and among the others. */
static void insert_text(qu_tokenizer *t, int32_t id)
{
    const char *p = t->pool + t->off[id];
    size_t n = qu_token_len(t, id);
    uint64_t h = hash_text(t, p, n);
    uint32_t i = (uint32_t)h & t->slot_mask, tag = (uint32_t)(h >> 32);
    bool plain = t->kind[id] == QU_KIND_PLAIN;
    for (; t->slots[i].id >= 0; i = (i + 1) & t->slot_mask) {
        int32_t other = t->slots[i].id;
        if (t->slots[i].tag == tag && (t->kind[other] == QU_KIND_PLAIN) == plain &&
            token_is(t, other, p, n))
            return;
    }
    t->slots[i] = (qu_token_slot){tag, id};
}

/* ---- Spelling of tokens in the file ---- */

/* Byte-level vocabularies spell each byte as a printable character: itself where it is one in
 * Latin-1, else the next free one from U+0100 on. */
static void byte_level_map(int16_t byte_of[512])
{
    int next = 256;
    memset(byte_of, -1, 512 * sizeof *byte_of);
    for (int b = 0; b < 256; b++) {
        bool itself = (b > 32 && b < 127) || (b > 160 && b != 173);
        byte_of[itself ? b : next++] = (int16_t)b;
    }
}

/* Bytes spelled by s, written to out (which may hold as many as s); -1 where s is no such spelling.
 */
static int64_t decode_byte_level(const int16_t byte_of[512], const char *s, size_t n, char *out)
{
    char *o = out;
    for (size_t i = 0; i < n; i++) {
        int c = (uint8_t)s[i];
        if (c >= 0xC2 && c < 0xC8 && i + 1 < n && ((uint8_t)s[i + 1] & 0xC0) == 0x80)
            c = (c & 31) << 6 | ((uint8_t)s[++i] & 63);
        else if (c >= 128)
            return -1;
        if (byte_of[c] < 0) return -1;
        *o++ = (char)byte_of[c];
    }
    return o - out;
}

/* Copy with every U+2581 as a space; the length of the copy. */
static size_t decode_spm(const char *s, size_t n, char *out)
{
    char *o = out;
    for (size_t i = 0; i < n; i++) {
        bool space = n - i >= 3 && memcmp(s + i, SPM_SPACE, 3) == 0;
        *o++ = space ? ' ' : s[i];
        if (space) i += 2;
    }
    return (size_t)(o - out);
}

/* The byte of "<0x0A>"; -1 for anything else. */
static int byte_token(qu_gguf_str s)
{
    if (s.len != 6 || memcmp(s.data, "<0x", 3) != 0 || s.data[5] != '>') return -1;
    char digits[3] = {s.data[3], s.data[4], 0}, *end;
    long v = strtol(digits, &end, 16);
    return *end == 0 && digits[0] != '-' && digits[0] != '+' && digits[0] != ' ' ? (int)v : -1;
}

/* ---- Reading the vocabulary ---- */

static bool text_is(const qu_tokenizer *t, int32_t id, const char *name)
{
    return token_is(t, id, name, strlen(name));
}

static bool is_end_name(const qu_tokenizer *t, int32_t id)
{
    for (int i = 0; i < N_END; i++)
        if (text_is(t, id, END_NAMES[i])) return true;
    return false;
}

/* Is the token spelled like control tokens are? Files often give such tokens another type. */
static bool looks_control(const qu_tokenizer *t, int32_t id)
{
    static const char wide_bar[] = "<\xEF\xBD\x9C"; /* U+FF5C */
    const char *p = t->pool + t->off[id];
    size_t n = qu_token_len(t, id);
    if (n < 3 || p[0] != '<' || p[n - 1] != '>') return false;
    return (n > 3 && p[1] == '|' && p[n - 2] == '|') || (n > 4 && memcmp(p, wide_bar, 4) == 0) ||
           text_is(t, id, "<s>") || is_end_name(t, id);
}

/* Decode token id into the pool and settle its kind. */
static void add_token(qu_tokenizer *t, const int16_t byte_of[512], int32_t id, qu_gguf_str s,
                      int type)
{
    char *out = t->pool + t->off[id];
    size_t n = s.len;
    bool plain = type != TYPE_UNKNOWN && type != TYPE_CONTROL && type != TYPE_USER;
    int byte = t->spm && (type == TYPE_BYTE || type == 0) ? byte_token(s) : -1;
    int64_t decoded = -1;
    t->kind[id] = plain ? QU_KIND_PLAIN : type == TYPE_USER ? QU_KIND_USER : QU_KIND_CONTROL;
    if (byte >= 0) {
        *out = (char)byte;
        n = 1;
        t->kind[id] = QU_KIND_BYTE;
        if (t->byte_id[byte] < 0) t->byte_id[byte] = id;
    } else if (t->spm) {
        n = decode_spm(s.data, n, out);
    } else {
        if (plain) decoded = decode_byte_level(byte_of, s.data, s.len, out);
        if (decoded >= 0)
            n = (size_t)decoded;
        else
            memcpy(out, s.data, n);
    }
    t->off[id + 1] = t->off[id] + (uint32_t)n;
    /* Also of plain type such tokens are control tokens, mistyped: text must not produce them. */
    if (t->kind[id] != QU_KIND_BYTE && looks_control(t, id)) t->kind[id] = QU_KIND_CONTROL;
    t->is_end[id] = t->kind[id] == QU_KIND_CONTROL && is_end_name(t, id);
}

/* Enter token id, whose bytes and kind are known, into the tables. */
static void index_token(qu_tokenizer *t, int32_t id)
{
    const char *p = t->pool + t->off[id];
    uint32_t n = qu_token_len(t, id);
    uint8_t kind = t->kind[id];
    if (n == 0 || kind == QU_KIND_BYTE) return;
    insert_text(t, id);
    if (kind == QU_KIND_PLAIN) {
        if (n > t->max_len) t->max_len = n < MAX_PLAIN ? n : MAX_PLAIN;
        for (uint32_t i = 1; t->cut_words && i < n; i++)
            if (p[i] == ' ' && p[i - 1] != ' ') t->cut_words = false;
    } else if (n <= MAX_MATCHED) {
        t->begins[(uint8_t)*p] |= (uint8_t)(1 << kind);
        t->lengths[(uint8_t)*p][n / 64] |= (uint64_t)1 << n % 64;
    }
}

static qu_status read_tokens(qu_tokenizer *t, const int16_t byte_of[512], qu_err *err)
{
    const qu_gguf_str *s;
    int64_t n;
    uint64_t bytes = 0;
    QU_OWN(qu_freep) int32_t *types = NULL;
    uint32_t size = 2;
    QU_TRY(qu_gguf_array_str(t->g, "tokenizer.ggml.tokens", &s, &n, err));
    for (int64_t i = 0; i < n; i++) bytes += s[i].len;
    if (n < 1 || n > QU_MAX_VOCAB || bytes > INT32_MAX)
        return qu_fail(err, QU_ERR_FORMAT, "'%s' has a vocabulary of %lld tokens",
                       qu_gguf_path(t->g), (long long)n);
    while (size < 2 * n) size *= 2;
    t->n_vocab = (int32_t)n;
    t->slot_mask = size - 1;
    QU_TRY(qu_memory_take(&t->pool, (int64_t)bytes + 1, 1, err));
    QU_TRY(qu_memory_take(&t->off, n + 1, sizeof *t->off, err));
    QU_TRY(qu_memory_take(&t->kind, n, sizeof *t->kind, err));
    QU_TRY(qu_memory_take(&t->is_end, n, sizeof *t->is_end, err));
    QU_TRY(qu_memory_take(&t->slots, size, sizeof *t->slots, err));
    QU_TRY(qu_memory_take(&types, n, sizeof *types, err));
    if (qu_gguf_has(t->g, "tokenizer.ggml.token_type"))
        QU_TRY(qu_gguf_array_i32(t->g, "tokenizer.ggml.token_type", types, n, err));
    if (t->spm) {
        QU_TRY(qu_memory_take(&t->scores, n, sizeof *t->scores, err));
        QU_TRY(qu_gguf_array_f32(t->g, "tokenizer.ggml.scores", t->scores, n, err));
    }
    memset(t->slots, -1, size * sizeof *t->slots);
    t->off[0] = 0;
    for (int32_t i = 0; i < t->n_vocab; i++) add_token(t, byte_of, i, s[i], types[i]);
    for (int32_t i = 0; i < t->n_vocab; i++) {
        int32_t next = i + AHEAD < t->n_vocab ? i + AHEAD : i;
        uint64_t h = hash_text(t, t->pool + t->off[next], qu_token_len(t, next));
        __builtin_prefetch(&t->slots[(uint32_t)h & t->slot_mask], 1);
        index_token(t, i);
    }
    return QU_OK;
}

/* The merge spelled "left right" as ids; false when it can never be used: one of the two, or their
 * union, is no token. guess is the likeliest id of the union. */
static bool read_merge(const qu_tokenizer *t, const int16_t byte_of[512], qu_gguf_str s,
                       int32_t guess, qu_merge_slot *m)
{
    char buf[4 * MAX_PLAIN]; /* both halves, spelled in at most two bytes each */
    const char *p = s.data, *gap = s.len > 2 ? memchr(p + 1, ' ', s.len - 2) : NULL;
    if (!gap || s.len > 4 * (size_t)MAX_PLAIN) return false;
    size_t left_len = (size_t)(gap - p), right_len = s.len - left_len - 1;
    int64_t a = decode_byte_level(byte_of, p, left_len, buf);
    int64_t b = a > 0 ? decode_byte_level(byte_of, gap + 1, right_len, buf + a) : -1;
    if (b <= 0) return false;
    m->left = qu_token_lookup(t, buf, (size_t)a, true);
    m->right = qu_token_lookup(t, buf + a, (size_t)b, true);
    m->id = guess < t->n_vocab && t->kind[guess] == QU_KIND_PLAIN &&
                    token_is(t, guess, buf, (size_t)(a + b))
                ? guess
                : qu_token_lookup(t, buf, (size_t)(a + b), true);
    return m->left >= 0 && m->right >= 0 && m->id >= 0;
}

/* Merges in order of rank, into the table by pair; the first of equal ones counts. */
static qu_status read_merges(qu_tokenizer *t, const int16_t byte_of[512], qu_err *err)
{
    const qu_gguf_str *s;
    int64_t n, n_used = 0;
    uint32_t size = 2;
    QU_TRY(qu_gguf_array_str(t->g, "tokenizer.ggml.merges", &s, &n, err));
    if (n > INT32_MAX / 2)
        return qu_fail(err, QU_ERR_FORMAT, "'%s' has too many merges", qu_gguf_path(t->g));
    while (size < n + n / 2) size *= 2;
    QU_OWN(qu_freep) qu_merge_slot *used = NULL;
    QU_TRY(qu_memory_take(&t->merges, size, sizeof *t->merges, err));
    QU_TRY(qu_memory_take(&used, n + 1, sizeof *used, err));
    t->merge_mask = size - 1;
    memset(t->merges, -1, size * sizeof *t->merges);
    for (int64_t i = 0; i < n; i++) { /* tokens mostly stand in the order of their merges */
        int32_t guess = n_used > 0 ? used[n_used - 1].id + 1 : 0;
        used[n_used].rank = (int32_t)i;
        n_used += read_merge(t, byte_of, s[i], guess, &used[n_used]);
    }
    for (int64_t i = 0; i < n_used; i++) {
        const qu_merge_slot *m = &used[i], *next = &used[i + AHEAD < n_used ? i + AHEAD : i];
        __builtin_prefetch(&t->merges[qu_merge_hash(next->left, next->right) & t->merge_mask], 1);
        uint32_t k = qu_merge_hash(m->left, m->right) & t->merge_mask;
        while (t->merges[k].id >= 0 &&
               (t->merges[k].left != m->left || t->merges[k].right != m->right))
            k = (k + 1) & t->merge_mask;
        if (t->merges[k].id < 0) t->merges[k] = *m;
    }
    return QU_OK;
}

/* Id of a special role: absent is -1, outside the vocabulary is a fault. */
static qu_status read_role(const qu_tokenizer *t, const char *key, int32_t *id, qu_err *err)
{
    if (!qu_gguf_has(t->g, key)) return QU_OK;
    QU_TRY(qu_gguf_get_i32(t->g, key, id, err));
    if (*id < -1 || *id >= t->n_vocab)
        return qu_fail(err, QU_ERR_FORMAT, "'%s' names token %d in '%s', but has only %d",
                       qu_gguf_path(t->g), *id, key, t->n_vocab);
    return QU_OK;
}

static qu_status read_roles(qu_tokenizer *t, qu_err *err)
{
    int32_t eom = -1;
    QU_TRY(read_role(t, "tokenizer.ggml.bos_token_id", &t->bos, err));
    QU_TRY(read_role(t, "tokenizer.ggml.eos_token_id", &t->eos, err));
    QU_TRY(read_role(t, "tokenizer.ggml.eot_token_id", &t->eot, err));
    QU_TRY(read_role(t, "tokenizer.ggml.eom_token_id", &eom, err));
    QU_TRY(read_role(t, "tokenizer.ggml.unknown_token_id", &t->unk, err));
    for (int i = 0; i < N_EOT && t->eot < 0; i++) {
        int32_t id = qu_tokenizer_find(t, END_NAMES[i]);
        if (id >= 0 && t->kind[id] == QU_KIND_CONTROL) t->eot = id;
    }
    const int32_t ends[] = {t->eos, t->eot, eom};
    for (int i = 0; i < 3; i++)
        if (ends[i] >= 0) t->is_end[ends[i]] = true;
    t->add_bos = t->spm || t->pre->add_bos;
    t->add_space = t->spm;
    if (qu_gguf_has(t->g, "tokenizer.ggml.add_bos_token"))
        QU_TRY(qu_gguf_get_bool(t->g, "tokenizer.ggml.add_bos_token", &t->add_bos, err));
    if (t->spm && qu_gguf_has(t->g, "tokenizer.ggml.add_space_prefix"))
        QU_TRY(qu_gguf_get_bool(t->g, "tokenizer.ggml.add_space_prefix", &t->add_space, err));
    return QU_OK;
}

static qu_status read_vocabulary(qu_tokenizer *t, qu_err *err)
{
    int16_t byte_of[512];
    qu_gguf_str model, pre = {"default", 7};
    if (!qu_gguf_has(t->g, "tokenizer.ggml.model") || !qu_gguf_has(t->g, "tokenizer.ggml.tokens"))
        return qu_fail(err, QU_ERR_FORMAT, "'%s' has no tokenizer; use a complete model file",
                       qu_gguf_path(t->g));
    QU_TRY(qu_gguf_get_str(t->g, "tokenizer.ggml.model", &model, err));
    t->spm = qu_gguf_is(model, "llama");
    if (!t->spm && !qu_gguf_is(model, "gpt2"))
        return qu_fail(err, QU_ERR_UNSUPPORTED,
                       "'%s' has a tokenizer of kind '%.*s'; llama and gpt2 can run",
                       qu_gguf_path(t->g), model.len > 40 ? 40 : (int)model.len, model.data);
    t->cut_words = t->spm;
    byte_level_map(byte_of);
    QU_TRY(read_tokens(t, byte_of, err));
    if (!t->spm) {
        if (qu_gguf_has(t->g, "tokenizer.ggml.pre"))
            QU_TRY(qu_gguf_get_str(t->g, "tokenizer.ggml.pre", &pre, err));
        QU_TRY(qu_token_split_init(t, pre, err));
        QU_TRY(read_merges(t, byte_of, err));
        for (int b = 0; b < 256; b++) t->byte_id[b] = qu_token_lookup(t, &(char){(char)b}, 1, true);
    }
    return read_roles(t, err);
}

qu_status qu_tokenizer_create(qu_tokenizer **out, const qu_gguf *g, qu_err *err)
{
    *out = NULL;
    QU_OWN(qu_tokenizer_freep) qu_tokenizer *t = NULL;
    QU_TRY(qu_memory_take(&t, 1, sizeof *t, err));
    t->g = g;
    t->bos = t->eos = t->eot = t->unk = -1;
    memset(t->byte_id, -1, sizeof t->byte_id);
    QU_TRY(read_vocabulary(t, err));
    *out = QU_TAKE(t);
    return QU_OK;
}

void qu_tokenizer_free(qu_tokenizer *t)
{
    if (!t) return;
    qu_token_split_free(t);
    free(t->pool);
    free(t->off);
    free(t->kind);
    free(t->is_end);
    free(t->scores);
    free(t->slots);
    free(t->merges);
    free(t);
}

/* ---- Questions ---- */

int32_t qu_tokenizer_n_vocab(const qu_tokenizer *t) { return t->n_vocab; }
int32_t qu_tokenizer_bos(const qu_tokenizer *t) { return t->bos; }
int32_t qu_tokenizer_eos(const qu_tokenizer *t) { return t->eos; }
int32_t qu_tokenizer_eot(const qu_tokenizer *t) { return t->eot; }
bool qu_tokenizer_adds_bos(const qu_tokenizer *t) { return t->add_bos && t->bos >= 0; }

bool qu_tokenizer_is_end(const qu_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->n_vocab && t->is_end[id];
}

bool qu_tokenizer_is_control(const qu_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->n_vocab && t->kind[id] == QU_KIND_CONTROL;
}

int32_t qu_tokenizer_find(const qu_tokenizer *t, const char *name)
{
    int32_t id = qu_token_lookup(t, name, strlen(name), false);
    return id >= 0 ? id : qu_token_lookup(t, name, strlen(name), true);
}

void qu_token_text(const qu_tokenizer *t, int32_t id, unsigned flags, const char **text,
                   size_t *len)
{
    *text = "";
    *len = 0;
    if (id < 0 || id >= t->n_vocab) return;
    if (t->kind[id] == QU_KIND_CONTROL && !(flags & QU_TOK_SPECIAL)) return;
    *text = t->pool + t->off[id];
    *len = qu_token_len(t, id);
}

/* The strings of an array lie one behind the other in the file, each with its length: one hash. */
static qu_hash hash_strings(const qu_gguf *g, const char *key, qu_hash h)
{
    const qu_gguf_str *s;
    int64_t n;
    if (qu_gguf_array_str(g, key, &s, &n, NULL) != QU_OK || n == 0) return h;
    const char *first = s[0].data - sizeof(uint64_t), *end = s[n - 1].data + s[n - 1].len;
    return qu_hash_chain(h, first, (size_t)(end - first));
}

qu_hash qu_tokenizer_hash(const qu_tokenizer *t)
{
    const int32_t rules[] = {t->spm, t->add_bos, t->add_space, t->n_vocab,
                             t->bos, t->eos,     t->eot,       t->unk};
    const char *pre = t->pre ? t->pre->name : "";
    qu_hash h = qu_hash_bytes(rules, sizeof rules, 0);
    h = qu_hash_chain(h, pre, strlen(pre));
    h = qu_hash_chain(h, t->kind, (size_t)t->n_vocab);
    if (t->scores) h = qu_hash_chain(h, t->scores, (size_t)t->n_vocab * sizeof *t->scores);
    h = hash_strings(t->g, "tokenizer.ggml.tokens", h);
    return t->spm ? h : hash_strings(t->g, "tokenizer.ggml.merges", h);
}

/* ---- Detokenizer ---- */

void qu_detok_init(qu_detok *d, const qu_tokenizer *t, unsigned flags)
{
    *d = (qu_detok){.t = t, .flags = flags};
}

static qu_status add_replacement(qu_buf *out, qu_err *err)
{
    return qu_buf_add(out, "\xEF\xBF\xBD", 3, err);
}

/* Bytes of the sequence that the n held ones begin; 0 when no UTF-8 begins so. */
static int sequence_len(const char *held, int n)
{
    uint8_t a = (uint8_t)held[0], b = n > 1 ? (uint8_t)held[1] : 0;
    int len = a < 0x80 ? 1 : a < 0xC2 ? 0 : a < 0xE0 ? 2 : a < 0xF0 ? 3 : a < 0xF5 ? 4 : 0;
    if (n < 2 || len == 0) return len;
    uint8_t low = a == 0xE0 ? 0xA0 : a == 0xF0 ? 0x90 : 0x80;
    uint8_t high = a == 0xED ? 0x9F : a == 0xF4 ? 0x8F : 0xBF;
    if (b < low || b > high) return 0;
    for (int i = 2; i < n; i++)
        if (((uint8_t)held[i] & 0xC0) != 0x80) return 0;
    return len;
}

static qu_status add_byte(qu_detok *d, char c, qu_buf *out, qu_err *err)
{
    d->held[d->n_held++] = c;
    int len = sequence_len(d->held, d->n_held);
    if (len == 0 && d->n_held > 1) { /* what was held is broken; c may begin something */
        d->n_held = 1;
        d->held[0] = c;
        QU_TRY(add_replacement(out, err));
        len = sequence_len(d->held, 1);
    }
    if (len > d->n_held) return QU_OK;
    qu_status st = len ? qu_buf_add(out, d->held, (size_t)len, err) : add_replacement(out, err);
    d->n_held = 0;
    return st;
}

qu_status qu_detok_add(qu_detok *d, int32_t id, qu_buf *out, qu_err *err)
{
    const char *p;
    size_t n;
    qu_token_text(d->t, id, d->flags, &p, &n);
    if (n == 0) return QU_OK;
    if (!d->started && d->t->add_space && !(d->flags & QU_TOK_CONTINUE) && *p == ' ') {
        p++;
        n--;
    }
    d->started = true;
    if (d->flags & QU_TOK_RAW) return qu_buf_add(out, p, n, err);
    for (size_t i = 0; i < n; i++) QU_TRY(add_byte(d, p[i], out, err));
    return QU_OK;
}

qu_status qu_detok_end(qu_detok *d, qu_buf *out, qu_err *err)
{
    if (d->n_held == 0) return QU_OK;
    d->n_held = 0;
    return add_replacement(out, err);
}
