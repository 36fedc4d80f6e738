/* Codecs of a KV slice: the keys and values of one page, layer and KV head as they lie in the
 * store.
 *
 *     int64_t bytes = qu_codec_bytes(QU_CODEC_Q8, n, d);
 *     qu_codec_encode(out, QU_CODEC_Q8, k, ldk, v, ldv, n, d);
 *     qu_codec_decode(k2, v2, QU_CODEC_Q8, out, n, d);
 *
 * Keys are after bias and q/k-norm, before RoPE. Layouts, little endian, n tokens of d elements:
 *   f32   f32 K [n,d]; f32 V [n,d]
 *   f16   half K [n,d]; half V [n,d]; values beyond +-65504 are clamped
 *   q8    f32 mean [d]; f32 key scale [d]; f32 value scale [n]; int8 K [n,d]; int8 V [n,d]
 *         key = mean + scale * q per channel (Qwen2's keys have huge biased channels: the mean goes
 *         first); value = scale * q per token. About .53 of f16 at n 128, d 64.
 *   q4    f32 base [d]; f32 key scale [d]; half (base, scale) of values [n, groups, 2]; K, V: n rows
 *         of h = (d + 1) / 2 bytes, channel c < h in the low half of byte c, c >= h in the high one
 *         of byte c - h. key = base + scale * q per channel, q 0 to 15, base its least: the mean and
 *         any bias go with it; value likewise per token and group of QU_CODEC_GROUP channels.
 *         About .28.
 * Encoding is plain C without fused operations, so that a slice's bytes are the same in every
 * numerics class that computed the same K and V. Non-finite inputs do not survive q8 and q4: they
 * become 0; q4 clamps values beyond +-65504.
 */
#ifndef QU_KERNELS_CODEC_H
#define QU_KERNELS_CODEC_H

#include <stdint.h>

typedef enum qu_codec {
    QU_CODEC_F32 = 0,
    QU_CODEC_F16 = 1,
    QU_CODEC_Q8 = 2,
    QU_CODEC_Q4 = 3,
    QU_CODEC_COUNT
} qu_codec;

enum { QU_CODEC_GROUP = 64 }; /* channels of a value of q4 that share base and scale */

/* "f32", "f16", "q8", "q4"; NULL for an unknown number. */
const char *qu_codec_name(int codec);
/* The codec of that name, -1 if there is none. */
int qu_codec_find(const char *name);

/* Bytes of a slice of n tokens; -1 for an unknown codec. */
int64_t qu_codec_bytes(int codec, int32_t n, int32_t d);

/* Encode k [n,ldk] and v [n,ldv] into out (qu_codec_bytes). n >= 1. */
void qu_codec_encode(void *out, int codec, const float *k, int64_t ldk, const float *v, int64_t ldv,
                     int32_t n, int32_t d);

/* Decode into k [n,d] and v [n,ldv]. in need not be aligned. */
void qu_codec_decode(float *k, float *v, int64_t ldv, int codec, const void *in, int32_t n,
                     int32_t d);

#endif
