/* GGUF v2 and v3 files, memory-mapped and read-only.
 *
 *     qu_gguf *g;
 *     QU_TRY(qu_gguf_open(&g, "model.gguf", err));
 *     int32_t layers;
 *     QU_TRY_OUT(qu_gguf_get_i32(g, "llama.block_count", &layers, err));
 *     const qu_gguf_tensor *t = qu_gguf_find_tensor(g, "token_embd.weight");
 *     ...
 *     qu_gguf_close(g);
 *
 * Every count, length and offset in the file is checked against the file's size and base/dims.h
 * before anything is allocated or read; memory stays below twice the file's size plus 1 MiB.
 * Big-endian files are refused. Of a split model the first part is opened,
 * NAME-00001-of-0000N.gguf, and the others beside it are mapped with it. A file without tensors (a
 * vocabulary) is fine. All pointers handed out are borrowed until qu_gguf_close. Any number of
 * threads may read.
 *
 *   offset  bytes  field
 *   0       4      "GGUF"
 *   4       4      version, 2 or 3
 *   8       8      tensor count
 *   16      8      key count
 *   24      ...    keys: string name, u32 type, value
 *                  tensors: string name, u32 n_dims, u64 dims[], u32 type, u64 offset in the data
 *                  padding to general.alignment (32), then the data
 */
#ifndef QU_DECODE_GGUF_H
#define QU_DECODE_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/status.h"
#include "kernels/quant.h"

typedef struct qu_gguf qu_gguf;

typedef struct qu_gguf_tensor {
    const char *name; /* NUL-terminated, borrowed */
    qu_type type;     /* element type, kernels/quant.h; others are refused at open by name */
    int32_t n_dims;
    int64_t dims[4]; /* dims[0] is the contiguous one; missing ones are 1 */
    const uint8_t *data;
    int64_t n_bytes;
} qu_gguf_tensor;

typedef struct qu_gguf_str {
    const char *data; /* not NUL-terminated, borrowed from the map */
    size_t len;
} qu_gguf_str;

static inline bool qu_gguf_is(qu_gguf_str s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

/* Map and check the file at path. Errors: QU_ERR_NOTFOUND, QU_ERR_IO; QU_ERR_FORMAT (truncated,
 * absurd counts, overlapping or out-of-range tensors, duplicate names, parts that do not belong
 * together); QU_ERR_NOTFOUND also for a missing part, by its name; QU_ERR_ARG for another part than
 * the first; QU_ERR_UNSUPPORTED (version, byte order, element type), each naming path;
 * QU_ERR_NOMEM. */
qu_status qu_gguf_open(qu_gguf **g, const char *path, qu_err *err);
void qu_gguf_close(qu_gguf *g);
QU_OWNER(qu_gguf, qu_gguf_close)

const char *qu_gguf_path(const qu_gguf *g);
int64_t qu_gguf_file_bytes(const qu_gguf *g); /* all parts */

/* Is the key there, whatever its type? */
bool qu_gguf_has(const qu_gguf *g, const char *key);

/* Read one scalar, converting between integer widths where the value fits; floats must be finite.
 * Errors: QU_ERR_NOTFOUND when the key is absent, QU_ERR_FORMAT when it has another kind or does
 * not fit. On error *v is untouched, so a default can be set before the call and QU_ERR_NOTFOUND
 * ignored. */
qu_status qu_gguf_get_i32(const qu_gguf *g, const char *key, int32_t *v, qu_err *err);
qu_status qu_gguf_get_f32(const qu_gguf *g, const char *key, float *v, qu_err *err);
qu_status qu_gguf_get_bool(const qu_gguf *g, const char *key, bool *v, qu_err *err);
qu_status qu_gguf_get_str(const qu_gguf *g, const char *key, qu_gguf_str *v, qu_err *err);

/* general.name where it is there and shorter than out, else the file's name without folders. */
void qu_gguf_name(const qu_gguf *g, char out[128]);

/* Arrays: length, and elements by index. Strings are indexed once at open, so access is O(1).
 * Errors: QU_ERR_NOTFOUND, QU_ERR_FORMAT (not an array of that kind). */
qu_status qu_gguf_array_len(const qu_gguf *g, const char *key, int64_t *n, qu_err *err);
qu_status qu_gguf_array_str(const qu_gguf *g, const char *key, const qu_gguf_str **v, int64_t *n,
                            qu_err *err);
/* Numeric arrays are copied out as int32 or float into a caller's buffer of n elements. */
qu_status qu_gguf_array_i32(const qu_gguf *g, const char *key, int32_t *v, int64_t n, qu_err *err);
qu_status qu_gguf_array_f32(const qu_gguf *g, const char *key, float *v, int64_t n, qu_err *err);

int64_t qu_gguf_n_tensors(const qu_gguf *g);
const qu_gguf_tensor *qu_gguf_tensor_at(const qu_gguf *g, int64_t i);
/* NULL when absent. Average O(1). */
const qu_gguf_tensor *qu_gguf_find_tensor(const qu_gguf *g, const char *name);

/* Identity of the weights: header, tensor table and the first 64 KiB of each tensor. */
qu_hash qu_gguf_fingerprint(const qu_gguf *g);
/* Hash of every byte of the file or parts: what `index` and `check` record. Reads the whole
 * file. */
qu_hash qu_gguf_full_hash(const qu_gguf *g);

#endif
