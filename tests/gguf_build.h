/* Small GGUF files written byte by byte for tests: keys first, then finish with a tensor table. */
#ifndef QU_TESTS_GGUF_BUILD_H
#define QU_TESTS_GGUF_BUILD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/os.h"

enum { GB_U32 = 4, GB_I32 = 5, GB_F32 = 6, GB_BOOL = 7, GB_STR = 8, GB_ARRAY = 9 };

static inline void gb_raw(qu_buf *b, const void *p, size_t n)
{
    if (qu_buf_add(b, p, n, NULL) != QU_OK) abort();
}

static inline void gb_u32(qu_buf *b, uint32_t v)
{
    gb_raw(b, &v, sizeof v);
}
static inline void gb_u64(qu_buf *b, uint64_t v)
{
    gb_raw(b, &v, sizeof v);
}

static inline void gb_text(qu_buf *b, const char *s)
{
    gb_u64(b, strlen(s));
    gb_raw(b, s, strlen(s));
}

static inline void gb_head(qu_buf *b, uint32_t version, uint64_t n_tensors, uint64_t n_keys)
{
    gb_raw(b, "GGUF", 4);
    gb_u32(b, version);
    gb_u64(b, n_tensors);
    gb_u64(b, n_keys);
}

static inline void gb_key(qu_buf *b, const char *name, uint32_t type)
{
    gb_text(b, name);
    gb_u32(b, type);
}

static inline void gb_str(qu_buf *b, const char *name, const char *v)
{
    gb_key(b, name, GB_STR);
    gb_text(b, v);
}

static inline void gb_num(qu_buf *b, const char *name, uint32_t v)
{
    gb_key(b, name, GB_U32);
    gb_u32(b, v);
}

static inline void gb_bool(qu_buf *b, const char *name, bool v)
{
    gb_key(b, name, GB_BOOL);
    gb_raw(b, &(uint8_t){v}, 1);
}

static inline void gb_array(qu_buf *b, const char *name, uint32_t type, uint64_t n)
{
    gb_key(b, name, GB_ARRAY);
    gb_u32(b, type);
    gb_u64(b, n);
}

static inline void gb_tensor(qu_buf *b, const char *name, uint32_t n_dims, const uint64_t *dims,
                             uint32_t type, uint64_t offset)
{
    gb_text(b, name);
    gb_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) gb_u64(b, dims[i]);
    gb_u32(b, type);
    gb_u64(b, offset);
}

/* Pad to a multiple of align, then n zero bytes. */
static inline void gb_data(qu_buf *b, size_t align, size_t n)
{
    while (b->len % align) gb_raw(b, "", 1);
    for (size_t i = 0; i < n; i++) gb_raw(b, "", 1);
}

/* Put the bytes into path, empty b, and count nothing: the caller opens and unlinks. */
static inline void gb_save(qu_buf *b, const char *path)
{
    if (qu_os_replace(path, b->data, b->len, 0600, NULL) != QU_OK) abort();
    qu_buf_free(b);
}

#endif
