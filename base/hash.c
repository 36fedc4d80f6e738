#include "base/hash.h"

#include <stdio.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

qu_hash qu_hash_bytes(const void *p, size_t n, uint64_t seed)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(p, n, seed);
    return (qu_hash){h.high64, h.low64};
}

qu_hash qu_hash_chain(qu_hash prev, const void *p, size_t n)
{
    qu_hash next = qu_hash_bytes(p, n, prev.lo);
    next.hi ^= prev.hi * 0x9E3779B97F4A7C15u + (prev.lo >> 17);
    return next;
}

uint64_t qu_hash_sum(const void *p, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(p, n, seed);
}

void qu_hash_hex(char out[33], qu_hash h)
{
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.hi, (unsigned long long)h.lo);
}
