#include "decode/gguf.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/dims.h"
#include "base/memory.h"
#include "base/os.h"

/* GGUF's value types; the first ten are 0 to 9. */
enum { KV_U8, KV_I8, KV_U16, KV_I16, KV_U32, KV_I32, KV_F32, KV_BOOL, KV_STR, KV_ARRAY };
enum { KV_U64 = 10, KV_I64, KV_F64, N_KV };
static const uint8_t KV_BYTES[N_KV] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/* Limits far above any real model. The counts bound the tables' memory for a file of nothing but
 * tiny entries, so that the whole stays below twice the file plus 1 MiB. */
enum {
    MAX_KEYS = 1 << 14,
    MAX_TENSORS = 1 << 15,
    MAX_NAME = 255,
    MAX_ALIGNMENT = 1 << 16,
    DEFAULT_ALIGNMENT = 32,
    MIN_KEY_BYTES = 13,    /* empty name, type, one byte */
    MIN_TENSOR_BYTES = 33, /* name of one byte, one dimension */
    HEAD_BYTES = 1 << 16,  /* of each tensor, in the fingerprint */
    MAX_PARTS = 4096,
};

typedef struct kv {
    qu_gguf_str name;
    uint8_t type; /* of the elements, for an array */
    bool is_array;
    int64_t n;         /* elements */
    const uint8_t *at; /* first element; strings: their length field */
    qu_gguf_str *strs; /* [n] for string arrays, owned */
} kv;

/* Open addressing over indices; -1 is free. At most half full, so probing ends. */
typedef struct table {
    int32_t *slots;
    uint32_t mask;
} table;

struct qu_gguf {
    char *path;
    qu_map map;
    kv *kvs;
    qu_gguf_tensor *tensors;
    char *names; /* the tensors' names, each with a NUL */
    table key_table, tensor_table;
    int64_t n_kv, n_tensors;
    size_t table_end; /* offset behind the tensor table */
    qu_gguf **parts;  /* [n_parts] the other files of a split model; their tensors are among ours */
    int32_t n_parts;
};

/* ---- Reading the header ---- */

typedef struct cursor {
    const uint8_t *data;
    size_t pos, len;
} cursor;

/* n bytes at the cursor, or NULL when the file ends before. */
static const uint8_t *take(cursor *c, uint64_t n)
{
    if (n > c->len - c->pos) return NULL;
    const uint8_t *p = c->data + c->pos;
    c->pos += (size_t)n;
    return p;
}

static bool copy_out(cursor *c, void *v, size_t n)
{
    const uint8_t *p = take(c, n);
    if (p) memcpy(v, p, n);
    return p != NULL;
}

static bool take_u32(cursor *c, uint32_t *v) { return copy_out(c, v, sizeof *v); }
static bool take_u64(cursor *c, uint64_t *v) { return copy_out(c, v, sizeof *v); }

static bool take_str(cursor *c, qu_gguf_str *s)
{
    uint64_t n;
    if (!take_u64(c, &n)) return false;
    const uint8_t *p = take(c, n);
    if (p) *s = (qu_gguf_str){(const char *)p, (size_t)n};
    return p != NULL;
}

static qu_status truncated(const qu_gguf *g, const char *part, int64_t i, qu_err *err)
{
    return qu_fail(err, QU_ERR_FORMAT, "'%s' is truncated or damaged in %s %lld; fetch it again",
                   g->path, part, (long long)i);
}

/* Printable part of an untrusted name. */
static int name_len(qu_gguf_str s)
{
    return s.len > 60 ? 60 : (int)s.len;
}

static uint64_t hash_name(const qu_gguf *g, const char *name, size_t n)
{
    return qu_hash_sum(name, n, (uintptr_t)g); /* the address keeps chosen names from colliding */
}

static qu_status table_make(table *t, int64_t n, qu_err *err)
{
    uint32_t size = 2;
    while (size < 2 * n) size *= 2;
    QU_TRY(qu_memory_take(&t->slots, size, sizeof *t->slots, err));
    memset(t->slots, -1, size * sizeof *t->slots);
    t->mask = size - 1;
    return QU_OK;
}

static const kv *find_kv(const qu_gguf *g, const char *name, size_t n, uint32_t *slot)
{
    uint32_t i = (uint32_t)hash_name(g, name, n) & g->key_table.mask;
    for (;; i = (i + 1) & g->key_table.mask) {
        int32_t at = g->key_table.slots[i];
        *slot = i;
        if (at < 0) return NULL;
        const kv *k = &g->kvs[at];
        if (k->name.len == n && memcmp(k->name.data, name, n) == 0) return k;
    }
}

static const qu_gguf_tensor *find_tensor(const qu_gguf *g, const char *name, uint32_t *slot)
{
    uint32_t i = (uint32_t)hash_name(g, name, strlen(name)) & g->tensor_table.mask;
    for (;; i = (i + 1) & g->tensor_table.mask) {
        int32_t at = g->tensor_table.slots[i];
        *slot = i;
        if (at < 0) return NULL;
        if (strcmp(g->tensors[at].name, name) == 0) return &g->tensors[at];
    }
}

/* Index the strings of an array; their lengths are checked on the way. The array's bytes were not
 * yet taken from the cursor. */
static qu_status read_strings(const qu_gguf *g, cursor *c, kv *k, int64_t i, qu_err *err)
{
    if ((uint64_t)k->n > (c->len - c->pos) / 8) return truncated(g, "key", i, err);
    if (k->n == 0) return QU_OK;
    QU_TRY(qu_memory_take(&k->strs, k->n, sizeof *k->strs, err));
    for (int64_t j = 0; j < k->n; j++)
        if (!take_str(c, &k->strs[j])) return truncated(g, "key", i, err);
    return QU_OK;
}

static qu_status read_kv(qu_gguf *g, cursor *c, int64_t i, qu_err *err)
{
    kv *k = &g->kvs[i];
    uint32_t type, slot;
    uint64_t n = 1;
    if (!take_str(c, &k->name) || !take_u32(c, &type)) return truncated(g, "key", i, err);
    if (find_kv(g, k->name.data, k->name.len, &slot))
        return qu_fail(err, QU_ERR_FORMAT, "'%s' has key '%.*s' twice", g->path, name_len(k->name),
                       k->name.data);
    g->key_table.slots[slot] = (int32_t)i;
    k->is_array = type == KV_ARRAY;
    if (k->is_array && (!take_u32(c, &type) || !take_u64(c, &n)))
        return truncated(g, "key", i, err);
    if (type >= N_KV || type == KV_ARRAY)
        return qu_fail(err, QU_ERR_FORMAT, "'%s' has a value of unknown kind %u in key '%.*s'",
                       g->path, type, name_len(k->name), k->name.data);
    if (n > c->len - c->pos) return truncated(g, "key", i, err); /* no element is below one byte */
    k->type = (uint8_t)type;
    k->n = (int64_t)n;
    k->at = c->data + c->pos;
    if (k->is_array && type == KV_STR) return read_strings(g, c, k, i, err);
    qu_gguf_str s;
    if (type == KV_STR ? !take_str(c, &s) : !take(c, n * KV_BYTES[type]))
        return truncated(g, "key", i, err);
    return QU_OK;
}

/* The shape and type of tensor i; its offset goes to *offset. names has room for the name and a
 * NUL. */
static qu_status read_tensor(qu_gguf *g, cursor *c, int64_t i, char **names, uint64_t *offset,
                             qu_err *err)
{
    qu_gguf_tensor *t = &g->tensors[i];
    qu_gguf_str name;
    uint32_t n_dims, type, slot;
    if (!take_str(c, &name) || !take_u32(c, &n_dims)) return truncated(g, "tensor", i, err);
    if (name.len < 1 || name.len > MAX_NAME || memchr(name.data, 0, name.len) || n_dims < 1 ||
        n_dims > 4)
        return qu_fail(err, QU_ERR_FORMAT, "'%s' has an invalid name or shape for tensor %lld",
                       g->path, (long long)i);
    memcpy(*names, name.data, name.len);
    (*names)[name.len] = 0;
    t->name = *names;
    *names += name.len + 1;
    if (find_tensor(g, t->name, &slot))
        return qu_fail(err, QU_ERR_FORMAT, "'%s' has tensor '%s' twice", g->path, t->name);
    g->tensor_table.slots[slot] = (int32_t)i;

    int64_t n = 1;
    t->n_dims = (int32_t)n_dims;
    for (int d = 0; d < 4; d++) t->dims[d] = 1;
    for (uint32_t d = 0; d < n_dims; d++) {
        uint64_t v;
        if (!take_u64(c, &v)) return truncated(g, "tensor", i, err);
        if (v < 1 || v > QU_MAX_VOCAB || __builtin_mul_overflow(n, (int64_t)v, &n))
            return qu_fail(err, QU_ERR_FORMAT, "'%s' has an absurd size %llu in tensor '%s'",
                           g->path, (unsigned long long)v, t->name);
        t->dims[d] = (int64_t)v;
    }
    if (!take_u32(c, &type) || !take_u64(c, offset)) return truncated(g, "tensor", i, err);
    if (type > INT_MAX || !qu_type_block((int)type)) {
        const char *known = type > INT_MAX ? NULL : qu_type_known_name((int)type);
        return qu_fail(err, QU_ERR_UNSUPPORTED,
                       "'%s' has weights of type %s (%u) in '%s'; Q4_K_M, Q8_0 or F16 can run",
                       g->path, known ? known : "unknown", type, t->name);
    }
    t->type = (qu_type)type;
    t->n_bytes = t->dims[0] % qu_type_block((int)type) ? -1 : qu_type_bytes((int)type, n);
    if (t->n_bytes < 0)
        return qu_fail(err, QU_ERR_FORMAT, "'%s' has rows in '%s' that are no whole %s blocks",
                       g->path, t->name, qu_type_name((int)type));
    return QU_OK;
}

static int by_data(const void *a, const void *b)
{
    const qu_gguf_tensor *x = *(const qu_gguf_tensor *const *)a;
    const qu_gguf_tensor *y = *(const qu_gguf_tensor *const *)b;
    return (x->data > y->data) - (x->data < y->data);
}

/* Writers store tensors in order; only where they did not, order is made first. */
static qu_status check_overlap(const qu_gguf *g, qu_err *err)
{
    QU_OWN(qu_freep) const qu_gguf_tensor **order = NULL;
    QU_TRY(qu_memory_take(&order, g->n_tensors, sizeof *order, err));
    bool sorted = true;
    for (int64_t i = 0; i < g->n_tensors; i++) {
        order[i] = &g->tensors[i];
        if (i > 0 && by_data(&order[i - 1], &order[i]) > 0) sorted = false;
    }
    if (!sorted) qsort(order, (size_t)g->n_tensors, sizeof *order, by_data);
    qu_status st = QU_OK;
    for (int64_t i = 1; i < g->n_tensors && st == QU_OK; i++)
        if (order[i]->data - order[i - 1]->data < order[i - 1]->n_bytes)
            st = qu_fail(err, QU_ERR_FORMAT, "'%s' has overlapping tensors '%s' and '%s'", g->path,
                         order[i - 1]->name, order[i]->name);
    return st;
}

/* Tensor table: count is checked against the bytes left before anything is allocated. */
static qu_status read_tensors(qu_gguf *g, cursor *c, int64_t n, qu_err *err)
{
    int32_t align = DEFAULT_ALIGNMENT;
    qu_status st = QU_OK;
    if (qu_gguf_has(g, "general.alignment"))
        QU_TRY(qu_gguf_get_i32(g, "general.alignment", &align, err));
    if (align < 4 || align > MAX_ALIGNMENT || (align & (align - 1)))
        return qu_fail(err, QU_ERR_FORMAT, "'%s' has an invalid general.alignment %d", g->path,
                       align);
    /* Every entry is longer than its name and a NUL, so what is left of the file is room enough. */
    int64_t left = (int64_t)(c->len - c->pos), names_bytes = n * (MAX_NAME + 1);
    QU_OWN(qu_freep) uint64_t *offsets = NULL;
    QU_TRY(qu_memory_take(&g->tensors, n, sizeof *g->tensors, err));
    QU_TRY(qu_memory_take(&g->names, (left < names_bytes ? left : names_bytes) + 1, 1, err));
    QU_TRY(qu_memory_take(&offsets, n, sizeof *offsets, err));
    char *names = g->names;
    QU_TRY(table_make(&g->tensor_table, n, err));
    for (int64_t i = 0; i < n; i++) {
        QU_TRY(read_tensor(g, c, i, &names, &offsets[i], err));
        g->n_tensors = i + 1;
    }
    g->table_end = c->pos;
    /* The padding may lie past the end of a file without tensors. */
    size_t start = c->pos + (-c->pos & (size_t)(align - 1));
    size_t room = start < c->len ? c->len - start : 0;
    for (int64_t i = 0; i < n; i++) {
        qu_gguf_tensor *t = &g->tensors[i];
        if (offsets[i] % (uint64_t)align || offsets[i] > room ||
            (uint64_t)t->n_bytes > room - offsets[i]) {
            st = qu_fail(err, QU_ERR_FORMAT,
                         "'%s' is truncated: tensor '%s' lies outside the file; fetch it again",
                         g->path, t->name);
            return st;
        }
        t->data = c->data + start + offsets[i];
    }
    return check_overlap(g, err);
}

static qu_status read_header(qu_gguf *g, qu_err *err)
{
    cursor c = {g->map.data, 0, g->map.len};
    const uint8_t *magic = take(&c, 4);
    uint32_t version;
    uint64_t n_tensors, n_kv;
    if (!magic || memcmp(magic, "GGUF", 4) != 0)
        return qu_fail(err, QU_ERR_FORMAT, "'%s' is not a GGUF file", g->path);
    if (!take_u32(&c, &version)) return truncated(g, "header", 0, err);
    if (version >= 1 << 24)
        return qu_fail(err, QU_ERR_UNSUPPORTED, "'%s' is a big-endian GGUF file; convert it",
                       g->path);
    if (version != 2 && version != 3)
        return qu_fail(err, QU_ERR_UNSUPPORTED,
                       "'%s' is GGUF version %u; versions 2 and 3 can be read", g->path, version);
    if (!take_u64(&c, &n_tensors) || !take_u64(&c, &n_kv)) return truncated(g, "header", 0, err);
    size_t left = c.len - c.pos;
    if (n_kv > MAX_KEYS || n_kv > left / MIN_KEY_BYTES || n_tensors > MAX_TENSORS ||
        n_tensors > left / MIN_TENSOR_BYTES)
        return qu_fail(err, QU_ERR_FORMAT,
                       "'%s' claims %llu keys and %llu tensors, more than it can hold", g->path,
                       (unsigned long long)n_kv, (unsigned long long)n_tensors);
    QU_TRY(qu_memory_take(&g->kvs, (int64_t)n_kv, sizeof *g->kvs, err));
    QU_TRY(table_make(&g->key_table, (int64_t)n_kv, err));
    for (uint64_t i = 0; i < n_kv; i++) {
        g->n_kv = (int64_t)i + 1; /* before reading: its strings must be freed when it fails */
        QU_TRY(read_kv(g, &c, (int64_t)i, err));
    }
    return read_tensors(g, &c, (int64_t)n_tensors, err);
}

static qu_status open_one(qu_gguf **out, const char *path, qu_err *err)
{
    QU_OWN(qu_gguf_closep) qu_gguf *g = NULL;
    struct stat sb;
    *out = NULL;
    QU_TRY(qu_memory_take(&g, 1, sizeof *g, err));
    if (!(g->path = strdup(path))) return qu_fail_nomem(err, (long long)strlen(path));
    if (stat(path, &sb) == 0 && !S_ISREG(sb.st_mode))
        return qu_fail(err, QU_ERR_FORMAT, "'%s' is not a GGUF file but a %s", path,
                       S_ISDIR(sb.st_mode) ? "folder" : "device or pipe");
    QU_TRY(qu_os_map(&g->map, path, err));
    QU_TRY(read_header(g, err));
    *out = QU_TAKE(g);
    return QU_OK;
}

/* ---- Split models: NAME-00001-of-00003.gguf has the keys, each part its own tensors ---- */

static int32_t split_key(const qu_gguf *g, const char *key)
{
    int32_t v = 0;
    qu_gguf_get_i32(g, key, &v, NULL);
    return v;
}

/* Open the parts after the first. A part is a whole GGUF file, checked like any other. */
static qu_status open_parts(qu_gguf *g, int32_t n, qu_err *err)
{
    char suffix[40];
    int len = snprintf(suffix, sizeof suffix, "-%05d-of-%05d.gguf", 1, n);
    size_t end = strlen(g->path), stem = end - (size_t)len;
    if (n > MAX_PARTS)
        return qu_fail(err, QU_ERR_FORMAT, "'%s' claims to be one of %d parts", g->path, n);
    if (split_key(g, "split.no") != 0)
        return qu_fail(err, QU_ERR_ARG, "'%s' is part %d of %d: give the first one", g->path,
                       split_key(g, "split.no") + 1, n);
    if (end < (size_t)len || strcmp(g->path + stem, suffix) != 0)
        return qu_fail(err, QU_ERR_FORMAT,
                       "'%s' is the first of %d parts: its name must end in '%s'", g->path, n,
                       suffix);
    QU_OWN(qu_freep) char *path = NULL;
    QU_TRY(qu_memory_take(&path, (int64_t)(end + sizeof suffix), 1, err));
    QU_TRY(qu_memory_take(&g->parts, n, sizeof *g->parts, err));
    for (int32_t i = 1; i < n; i++) {
        qu_gguf *part;
        snprintf(path, end + sizeof suffix, "%.*s-%05d-of-%05d.gguf", (int)stem, g->path, i + 1, n);
        qu_status st = open_one(&part, path, err);
        if (st == QU_ERR_NOTFOUND)
            return qu_fail(err, st, "part %d of %d of the model is missing: '%s'", i + 1, n, path);
        QU_TRY(st);
        g->parts[g->n_parts++] = part;
        if (split_key(part, "split.no") != i || split_key(part, "split.count") != n)
            return qu_fail(err, QU_ERR_FORMAT, "'%s' is not part %d of %d", path, i + 1, n);
    }
    return QU_OK;
}

/* One table of all parts' tensors. */
static qu_status join_parts(qu_gguf *g, qu_err *err)
{
    int64_t total = g->n_tensors;
    for (int32_t i = 0; i < g->n_parts; i++) total += g->parts[i]->n_tensors;
    if (total > MAX_TENSORS || total != split_key(g, "split.tensors.count"))
        return qu_fail(err, QU_ERR_FORMAT, "the parts of '%s' have %lld tensors, not %d", g->path,
                       (long long)total, split_key(g, "split.tensors.count"));
    qu_gguf_tensor *all = realloc(g->tensors, (size_t)(total + 1) * sizeof *all);
    if (!all) return qu_fail_nomem(err, total * (long long)sizeof *all);
    g->tensors = all;
    for (int32_t i = 0; i < g->n_parts; i++) {
        size_t n = (size_t)g->parts[i]->n_tensors;
        memcpy(all + g->n_tensors, g->parts[i]->tensors, n * sizeof *all);
        g->n_tensors += (int64_t)n;
    }
    free(g->tensor_table.slots);
    g->tensor_table.slots = NULL;
    QU_TRY(table_make(&g->tensor_table, total, err));
    for (int64_t i = 0; i < total; i++) {
        uint32_t slot;
        if (find_tensor(g, all[i].name, &slot))
            return qu_fail(err, QU_ERR_FORMAT, "two parts of '%s' have tensor '%s'", g->path,
                           all[i].name);
        g->tensor_table.slots[slot] = (int32_t)i;
    }
    return QU_OK;
}

qu_status qu_gguf_open(qu_gguf **out, const char *path, qu_err *err)
{
    QU_OWN(qu_gguf_closep) qu_gguf *g = NULL;
    *out = NULL;
    QU_TRY(open_one(&g, path, err));
    int32_t n = split_key(g, "split.count");
    if (n > 1) QU_TRY(open_parts(g, n, err));
    if (n > 1) QU_TRY(join_parts(g, err));
    *out = QU_TAKE(g);
    return QU_OK;
}

void qu_gguf_close(qu_gguf *g)
{
    if (!g) return;
    for (int32_t i = 0; i < g->n_parts; i++) qu_gguf_close(g->parts[i]);
    free(g->parts);
    for (int64_t i = 0; i < g->n_kv; i++) free(g->kvs[i].strs);
    free(g->kvs);
    free(g->tensors);
    free(g->names);
    free(g->key_table.slots);
    free(g->tensor_table.slots);
    qu_os_unmap(&g->map);
    free(g->path);
    free(g);
}

const char *qu_gguf_path(const qu_gguf *g) { return g->path; }

int64_t qu_gguf_file_bytes(const qu_gguf *g)
{
    int64_t n = (int64_t)g->map.len;
    for (int32_t i = 0; i < g->n_parts; i++) n += (int64_t)g->parts[i]->map.len;
    return n;
}

/* ---- Values ---- */

bool qu_gguf_has(const qu_gguf *g, const char *key)
{
    uint32_t slot;
    return find_kv(g, key, strlen(key), &slot) != NULL;
}

/* The value of key, which must be an array or a scalar as asked. */
static qu_status get(const qu_gguf *g, const char *key, bool array, const kv **k, qu_err *err)
{
    uint32_t slot;
    *k = find_kv(g, key, strlen(key), &slot);
    if (!*k) return qu_fail(err, QU_ERR_NOTFOUND, "'%s' has no key '%s'", g->path, key);
    if ((*k)->is_array != array)
        return qu_fail(err, QU_ERR_FORMAT, "'%s' has %s in key '%s' where %s was expected", g->path,
                       array ? "one value" : "an array", key, array ? "an array" : "one value");
    return QU_OK;
}

static qu_status wrong_kind(const qu_gguf *g, const char *key, const char *want, qu_err *err)
{
    return qu_fail(err, QU_ERR_FORMAT, "'%s' has a value in key '%s' that is not %s", g->path, key,
                   want);
}

/* Element i as an int32; false when it is no integer or does not fit. */
static bool as_i32(const kv *k, int64_t i, int32_t *v)
{
    enum { SIGNED = 1 << KV_I8 | 1 << KV_I16 | 1 << KV_I32 | 1 << KV_I64 };
    enum { UNSIGNED = 1 << KV_U8 | 1 << KV_U16 | 1 << KV_U32 | 1 << KV_U64 };
    bool is_signed = SIGNED >> k->type & 1, is_unsigned = UNSIGNED >> k->type & 1;
    if (!is_signed && !is_unsigned) return false;
    int bytes = KV_BYTES[k->type], spare = 64 - 8 * bytes;
    uint64_t u = 0;
    memcpy(&u, k->at + i * bytes, (size_t)bytes);
    int64_t wide = is_signed ? (int64_t)(u << spare) >> spare : (int64_t)u;
    if (wide < INT32_MIN || wide > INT32_MAX || (is_unsigned && wide < 0)) return false;
    *v = (int32_t)wide;
    return true;
}

static bool as_f32(const kv *k, int64_t i, float *v)
{
    const uint8_t *p = k->at + i * KV_BYTES[k->type];
    if (k->type == KV_F32) {
        memcpy(v, p, sizeof *v);
    } else if (k->type == KV_F64) {
        double x;
        memcpy(&x, p, sizeof x);
        *v = (float)x;
    } else {
        return false;
    }
    return true;
}

qu_status qu_gguf_get_i32(const qu_gguf *g, const char *key, int32_t *v, qu_err *err)
{
    const kv *k;
    QU_TRY(get(g, key, false, &k, err));
    return as_i32(k, 0, v) ? QU_OK : wrong_kind(g, key, "a 32-bit integer", err);
}

qu_status qu_gguf_get_f32(const qu_gguf *g, const char *key, float *v, qu_err *err)
{
    const kv *k;
    float x;
    QU_TRY(get(g, key, false, &k, err));
    if (!as_f32(k, 0, &x) || !isfinite(x)) return wrong_kind(g, key, "a finite number", err);
    *v = x;
    return QU_OK;
}

qu_status qu_gguf_get_bool(const qu_gguf *g, const char *key, bool *v, qu_err *err)
{
    const kv *k;
    QU_TRY(get(g, key, false, &k, err));
    if (k->type != KV_BOOL || k->at[0] > 1) return wrong_kind(g, key, "true or false", err);
    *v = k->at[0] == 1;
    return QU_OK;
}

qu_status qu_gguf_get_str(const qu_gguf *g, const char *key, qu_gguf_str *v, qu_err *err)
{
    const kv *k;
    uint64_t n;
    QU_TRY(get(g, key, false, &k, err));
    if (k->type != KV_STR) return wrong_kind(g, key, "text", err);
    memcpy(&n, k->at, sizeof n);
    *v = (qu_gguf_str){(const char *)k->at + sizeof n, (size_t)n};
    return QU_OK;
}

void qu_gguf_name(const qu_gguf *g, char out[128])
{
    const char *slash = strrchr(g->path, '/');
    qu_gguf_str s = {0};
    snprintf(out, 128, "%s", slash ? slash + 1 : g->path);
    if (qu_gguf_get_str(g, "general.name", &s, NULL) == QU_OK && s.len > 0 && s.len < 128)
        snprintf(out, 128, "%.*s", (int)s.len, s.data);
}

qu_status qu_gguf_array_len(const qu_gguf *g, const char *key, int64_t *n, qu_err *err)
{
    const kv *k;
    QU_TRY(get(g, key, true, &k, err));
    *n = k->n;
    return QU_OK;
}

qu_status qu_gguf_array_str(const qu_gguf *g, const char *key, const qu_gguf_str **v, int64_t *n,
                            qu_err *err)
{
    const kv *k;
    QU_TRY(get(g, key, true, &k, err));
    if (k->type != KV_STR) return wrong_kind(g, key, "a list of texts", err);
    *v = k->strs;
    *n = k->n;
    return QU_OK;
}

qu_status qu_gguf_array_i32(const qu_gguf *g, const char *key, int32_t *v, int64_t n, qu_err *err)
{
    const kv *k;
    QU_TRY(get(g, key, true, &k, err));
    if (k->n != n) return wrong_kind(g, key, "a list of the expected length", err);
    for (int64_t i = 0; i < n; i++)
        if (!as_i32(k, i, &v[i])) return wrong_kind(g, key, "a list of 32-bit integers", err);
    return QU_OK;
}

qu_status qu_gguf_array_f32(const qu_gguf *g, const char *key, float *v, int64_t n, qu_err *err)
{
    const kv *k;
    QU_TRY(get(g, key, true, &k, err));
    if (k->n != n) return wrong_kind(g, key, "a list of the expected length", err);
    for (int64_t i = 0; i < n; i++)
        if (!as_f32(k, i, &v[i])) return wrong_kind(g, key, "a list of numbers", err);
    return QU_OK;
}

/* ---- Tensors and identity ---- */

int64_t qu_gguf_n_tensors(const qu_gguf *g) { return g->n_tensors; }

const qu_gguf_tensor *qu_gguf_tensor_at(const qu_gguf *g, int64_t i)
{
    return i >= 0 && i < g->n_tensors ? &g->tensors[i] : NULL;
}

const qu_gguf_tensor *qu_gguf_find_tensor(const qu_gguf *g, const char *name)
{
    uint32_t slot;
    return find_tensor(g, name, &slot);
}

qu_hash qu_gguf_fingerprint(const qu_gguf *g)
{
    qu_hash h = qu_hash_bytes(g->map.data, g->table_end, 0);
    for (int32_t i = 0; i < g->n_parts; i++)
        h = qu_hash_chain(h, g->parts[i]->map.data, g->parts[i]->table_end);
    for (int64_t i = 0; i < g->n_tensors; i++) {
        int64_t n = g->tensors[i].n_bytes < HEAD_BYTES ? g->tensors[i].n_bytes : HEAD_BYTES;
        h = qu_hash_chain(h, g->tensors[i].data, (size_t)n);
    }
    return h;
}

qu_hash qu_gguf_full_hash(const qu_gguf *g)
{
    qu_hash h = qu_hash_bytes(g->map.data, g->map.len, 0);
    for (int32_t i = 0; i < g->n_parts; i++)
        h = qu_hash_chain(h, g->parts[i]->map.data, g->parts[i]->map.len);
    return h;
}
