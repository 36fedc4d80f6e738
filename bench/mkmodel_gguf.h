/* Writing a GGUF v3 file front to back: keys into memory, tensor descriptions, then data as a
 * stream.
 *
 *     mk_gguf g = {0};
 *     mk_put_str(&g, "general.architecture", "llama");
 *     mk_add(&g, n_in, n_out, QU_TYPE_Q8_0, "blk.%d.attn_q.weight", i);
 *     FILE *fp = mk_begin(&g, "x.gguf", 0, 1);     // header, table, padding
 *     for each tensor in order: fwrite its bytes, then mk_pad(fp, bytes)
 *
 * Any fault ends the program: this is part of a tool, not of the library.
 */
#ifndef BENCH_MKMODEL_GGUF_H
#define BENCH_MKMODEL_GGUF_H

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "kernels/quant.h"

enum { MK_ALIGN = 32, MK_MAX_TENSORS = 8192 };
enum { MK_U16 = 2, MK_U32 = 4, MK_I32 = 5, MK_F32 = 6, MK_BOOL = 7, MK_STR = 8, MK_ARR = 9 };

typedef struct mk_tensor {
    char name[64];
    int64_t n_in, n_out; /* a matrix of n_out rows; a vector has n_out 0 */
    int type;
    int64_t bytes;
} mk_tensor;

typedef struct mk_gguf {
    qu_buf keys;
    uint64_t n_keys;
    mk_tensor tensor[MK_MAX_TENSORS];
    int n_tensors;
} mk_gguf;

/* Report and leave: status 2 for a wrong command line, 1 for everything else. */
__attribute__((format(printf, 2, 3), noreturn)) static void
mk_die(int status, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    fputs("mkmodel: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(status);
}

static void mk_bytes(qu_buf *b, const void *p, size_t n) {
    if (qu_buf_add(b, p, n, NULL) != QU_OK) mk_die(1, "out of memory");
}

static void mk_string(qu_buf *b, const char *s, size_t n) {
    uint64_t len = n;
    mk_bytes(b, &len, 8);
    mk_bytes(b, s, n);
}

static void mk_key(mk_gguf *g, const char *name, uint32_t type) {
    mk_string(&g->keys, name, strlen(name));
    mk_bytes(&g->keys, &type, 4);
    g->n_keys++;
}

static void mk_put_u32(mk_gguf *g, const char *name, uint32_t v) {
    mk_key(g, name, MK_U32);
    mk_bytes(&g->keys, &v, 4);
}

static void mk_put_f32(mk_gguf *g, const char *name, float v) {
    mk_key(g, name, MK_F32);
    mk_bytes(&g->keys, &v, 4);
}

static void mk_put_bool(mk_gguf *g, const char *name, bool v) {
    uint8_t byte = v;
    mk_key(g, name, MK_BOOL);
    mk_bytes(&g->keys, &byte, 1);
}

static void mk_put_str(mk_gguf *g, const char *name, const char *v) {
    mk_key(g, name, MK_STR);
    mk_string(&g->keys, v, strlen(v));
}

/* Open an array key of n elements; the caller appends them to g->keys. */
static void mk_put_array(mk_gguf *g, const char *name, uint32_t type, uint64_t n) {
    mk_key(g, name, MK_ARR);
    mk_bytes(&g->keys, &type, 4);
    mk_bytes(&g->keys, &n, 8);
}

/* Describe the next tensor. Rows that no block fits evenly stay F16, as other writers do it. */
__attribute__((format(printf, 5, 6))) static mk_tensor *
mk_add(mk_gguf *g, int64_t n_in, int64_t n_out, int type, const char *fmt, ...) {
    if (g->n_tensors == MK_MAX_TENSORS) mk_die(2, "too many layers");
    mk_tensor *t = &g->tensor[g->n_tensors++];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->name, sizeof t->name, fmt, ap);
    va_end(ap);
    t->n_in = n_in;
    t->n_out = n_out;
    t->type = n_in % qu_type_block(type) ? QU_TYPE_F16 : type;
    t->bytes = qu_type_bytes(t->type, n_in * (n_out ? n_out : 1));
    return t;
}

static void mk_write(FILE *fp, const void *p, size_t n) {
    if (n && fwrite(p, 1, n, fp) != n) mk_die(1, "cannot write the model: %s", strerror(errno));
}

/* Zeros up to the next multiple of the alignment, after that many bytes. */
static void mk_pad(FILE *fp, int64_t bytes) {
    static const char zero[MK_ALIGN];
    mk_write(fp, zero, (size_t)((MK_ALIGN - bytes % MK_ALIGN) % MK_ALIGN));
}

static void mk_put_u16(mk_gguf *g, const char *name, uint16_t v) {
    mk_key(g, name, MK_U16);
    mk_bytes(&g->keys, &v, 2);
}

/* The first tensor of a part; parts have about equally many. */
static int mk_first_of(const mk_gguf *g, int part, int n_parts) {
    return (int)((int64_t)g->n_tensors * part / n_parts);
}

/* PREFIX-00002-of-00003.gguf for part 1 of 3 of PREFIX.gguf; the path itself for one part. */
static void mk_part_path(char out[4200], const char *path, int part, int n_parts) {
    size_t n = strlen(path);
    if (n_parts > 1 && n > 5 && !strcmp(path + n - 5, ".gguf")) n -= 5;
    if (n_parts > 1) snprintf(out, 4200, "%.*s-%05d-of-%05d.gguf", (int)n, path, part + 1, n_parts);
    else snprintf(out, 4200, "%s", path);
}

/* Create the file of one part and write everything before its tensors' data: the keys go into the
 * first, and each says where it belongs if there are several. */
static FILE *mk_begin(const mk_gguf *g, const char *path, int part, int n_parts) {
    char name[4200];
    mk_part_path(name, path, part, n_parts);
    FILE *fp = fopen(name, "wb");
    if (!fp) mk_die(1, "cannot create '%s': %s", name, strerror(errno));
    int first = mk_first_of(g, part, n_parts), end = mk_first_of(g, part + 1, n_parts);
    mk_gguf own = {.n_keys = part ? 0 : g->n_keys};
    if (!part) mk_bytes(&own.keys, g->keys.data, g->keys.len);
    if (n_parts > 1) {
        mk_put_u16(&own, "split.no", (uint16_t)part);
        mk_put_u16(&own, "split.count", (uint16_t)n_parts);
        mk_key(&own, "split.tensors.count", MK_I32);
        mk_bytes(&own.keys, &g->n_tensors, 4);
    }
    qu_buf b = {0};
    uint32_t version = 3;
    uint64_t n_tensors = (uint64_t)(end - first), offset = 0;
    mk_bytes(&b, "GGUF", 4);
    mk_bytes(&b, &version, 4);
    mk_bytes(&b, &n_tensors, 8);
    mk_bytes(&b, &own.n_keys, 8);
    mk_bytes(&b, own.keys.data, own.keys.len);
    for (int i = first; i < end; i++) {
        const mk_tensor *t = &g->tensor[i];
        uint32_t n_dims = t->n_out ? 2 : 1, type = (uint32_t)t->type;
        uint64_t dims[2] = {(uint64_t)t->n_in, (uint64_t)t->n_out};
        mk_string(&b, t->name, strlen(t->name));
        mk_bytes(&b, &n_dims, 4);
        mk_bytes(&b, dims, 8 * n_dims);
        mk_bytes(&b, &type, 4);
        mk_bytes(&b, &offset, 8);
        offset += (uint64_t)((t->bytes + MK_ALIGN - 1) / MK_ALIGN * MK_ALIGN);
    }
    mk_write(fp, b.data, b.len);
    mk_pad(fp, (int64_t)b.len);
    qu_buf_free(&b);
    qu_buf_free(&own.keys);
    return fp;
}

#endif
