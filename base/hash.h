/* Checksums and identities: XXH3 of libxxhash. Fast, stable, not cryptographic: where a collision
 * could be made on purpose (two documents sharing KV) the caller also compares the bytes. */
#ifndef QU_BASE_HASH_H
#define QU_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qu_hash {
    uint64_t hi, lo;
} qu_hash;

/* 128-bit hash of n bytes; seed separates domains. */
qu_hash qu_hash_bytes(const void *p, size_t n, uint64_t seed);

/* 128-bit hash of n more bytes chained onto prev: order matters. */
qu_hash qu_hash_chain(qu_hash prev, const void *p, size_t n);

/* 64-bit checksum of n bytes. */
uint64_t qu_hash_sum(const void *p, size_t n, uint64_t seed);

static inline bool qu_hash_equal(qu_hash a, qu_hash b) { return a.hi == b.hi && a.lo == b.lo; }

/* 32 lower-case hex digits and a NUL into out. */
void qu_hash_hex(char out[33], qu_hash h);

#endif
