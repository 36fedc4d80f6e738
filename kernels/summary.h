/* What a page's slice leaves behind where it is not read: a few clusters of its keys.
 *
 *     qu_summary_make(out, kt, n_pad, v, ldv, n, d, rope, scratch);  // when the page is prefilled
 *     qu_summary_read(&s, out, n, d, cells);                         // at question time
 *     logit of cluster c = q . turned(s.key[c]) + ln(s.count[c])    // see qu_attend_mass
 *
 * Keys are rotated at their place inside the page (its first token stands at 0) before they are
 * averaged: turning the mean by the page's start is then exact wherever the page stands. The logit
 * of a mean is the mean of its members' logits, so with ln(count) it is a lower bound of the
 * cluster's log-mass (Jensen). Each pair of dims that RoPE turns together also keeps the mean of
 * its two variances, which turning does not change: sensing estimates from it how far the log-mass
 * lies above that bound.
 *
 * Clusters: Lloyd's iterations. Half of the centres begin as means of runs of consecutive tokens,
 * the others as the keys farthest from those before them, so that a rare key keeps a cluster to
 * itself; at most QU_SUMMARY_CAP members each, so that none swallows a page. Stored in bytes, each
 * channel between its least and its largest value of all clusters: a channel with a large bias, as
 * Qwen2's keys have them, costs the others nothing. Sources: Squeezed Attention, arXiv:2411.09688;
 * Multipole Attention, arXiv:2506.13059.
 */
#ifndef QU_KERNELS_SUMMARY_H
#define QU_KERNELS_SUMMARY_H

#include <stdint.h>

#include "kernels/rope.h"

enum {
    QU_SUMMARY_TOKENS = 7,    /* tokens a cluster stands for on average */
    QU_SUMMARY_CAP = 48,      /* members of a cluster at most */
    QU_SUMMARY_CLUSTERS = 19, /* of a full page */
};

/* Clusters of a slice of n tokens. */
static inline int32_t qu_summary_clusters(int32_t n)
{
    return (n + QU_SUMMARY_TOKENS - 1) / QU_SUMMARY_TOKENS;
}

/* Numbers that a cluster has: mean key [D], mean value [D], spread [D/2]. */
static inline int32_t qu_summary_width(int32_t d)
{
    return 2 * d + d / 2;
}

/* Bytes of a summary of n tokens, a multiple of 16. C clusters, W = qu_summary_width(d):
 *   [2,W] half  least and largest of each number over the clusters; beyond +-65504 clamped
 *   [C,W] u8    x = least + (largest - least) * byte / 255
 *   [C] u8      members; 0: an empty cluster, to be ignored */
static inline int64_t qu_summary_bytes(int32_t n, int32_t d)
{
    int64_t w = qu_summary_width(d);
    return (4 * w + qu_summary_clusters(n) * (w + 1) + 15) / 16 * 16;
}

/* A summary read, C = qu_summary_clusters(n). */
typedef struct qu_summary {
    const float *key, *value; /* [C,D] */
    const float *spread;      /* [C,D/2] */
    const uint8_t *count;     /* [C]; 0: ignore the cluster */
} qu_summary;

/* Floats of scratch that qu_summary_make needs for up to n_pad tokens. */
int64_t qu_summary_scratch(int32_t n_pad, int32_t d);

/* Summarise n tokens: kt [D,n_pad] keys rotated by r at positions 0..n-1 (as qu_rope_page leaves
 * them), v [n,ldv]. Plain deterministic arithmetic of the instruction set. Non-finite keys end in
 * any cluster and make its mean useless, nothing worse. */
void qu_summary_make(void *out, const float *kt, int32_t n_pad, const float *v, int64_t ldv,
                     int32_t n, int32_t d, const qu_rope *r, float *scratch);

/* in: qu_summary_bytes(n, d) bytes, 2-byte aligned, borrowed by s; cells: C * W floats of room, too.
 * Spread is the mean of the variances of two channels that turn together. */
void qu_summary_read(qu_summary *s, const void *in, int32_t n, int32_t d, float *cells);

/* A summary as attention takes it (kernels/attend.h), keys turned by a position's angles c and s
 * [D/2]: kt [D, C] and spread [D/2, C], rows ld apart, v [C, Dp], bias [C] = ln(count), -INF where
 * there is none. Bit for bit qu_summary_read and qu_rope_vector. */
void qu_summary_place(const void *in, int32_t n, int32_t d, const qu_rope *r, const float *c,
                      const float *s, float *kt, float *v, float *spread, int32_t ld, float *bias);

#endif
