/* What a page's slice leaves behind where it is not read: a few clusters of its keys.
 *
 *     qu_summary_make(out, kt, n_pad, v, ldv, n, d, scratch);     // when the page is prefilled
 *     qu_summary_read(&s, out, n, d);                            // at question time: borrowed views
 *     logit of cluster c = q . turned(s.key[c]) + ln(s.count[c])      // see qu_attend_mass
 *
 * Keys are rotated at their place inside the page (its first token stands at 0) before they are
 * averaged: turning the mean by the page's start is then exact wherever the page stands. The logit
 * of a mean is the mean of its members' logits, so with ln(count) it is a lower bound of the
 * cluster's log-mass (Jensen). Each pair of dims that RoPE turns together also keeps the mean of
 * its two variances, which turning does not change: sensing estimates from it how far the log-mass
 * lies above that bound.
 *
 * Clusters: Lloyd's iterations. A quarter of the centres begins as means of runs of consecutive
 * tokens, the others as the keys farthest from those before them, so that a rare key keeps a
 * cluster to itself; at most QU_SUMMARY_CAP members each, so that none swallows a page. Sources:
 * Squeezed Attention, arXiv:2411.09688; Multipole Attention, arXiv:2506.13059.
 */
#ifndef QU_KERNELS_SUMMARY_H
#define QU_KERNELS_SUMMARY_H

#include <stdint.h>

#include "kernels/rope.h"

enum {
    QU_SUMMARY_TOKENS = 11,   /* tokens a cluster stands for on average */
    QU_SUMMARY_CAP = 48,      /* members of a cluster at most */
    QU_SUMMARY_CLUSTERS = 12, /* of a full page */
};

/* Clusters of a slice of n tokens; bytes of its summary, a multiple of 16. */
static inline int32_t qu_summary_clusters(int32_t n)
{
    return (n + QU_SUMMARY_TOKENS - 1) / QU_SUMMARY_TOKENS;
}
static inline int64_t qu_summary_bytes(int32_t n, int32_t d)
{
    return ((int64_t)qu_summary_clusters(n) * (4 * d + d / 2 * 2 + 4) + 15) / 16 * 16;
}

/* Views into a summary, C = qu_summary_clusters(n). Little endian, in this order. */
typedef struct qu_summary {
    const uint32_t *count;       /* [C]; 0: an empty cluster, to be ignored */
    const uint16_t *key, *value; /* [C, D] half: means; beyond +-65504 clamped */
    const uint16_t *spread;      /* [C, D/2] half: variances of the keys' pairs of dims */
} qu_summary;

/* Floats of scratch that qu_summary_make needs for up to n_pad tokens. */
int64_t qu_summary_scratch(int32_t n_pad, int32_t d);

/* Summarise n tokens: kt [D,n_pad] keys rotated by r at positions 0..n-1 (as qu_rope_page leaves
 * them), v [n,ldv]. Plain deterministic arithmetic of the instruction set. Non-finite keys end in
 * any cluster and make its mean useless, nothing worse. */
void qu_summary_make(void *out, const float *kt, int32_t n_pad, const float *v, int64_t ldv,
                     int32_t n, int32_t d, const qu_rope *r, float *scratch);

/* Views of in (qu_summary_bytes(n, d) bytes, 4-byte aligned). */
void qu_summary_read(qu_summary *s, const void *in, int32_t n, int32_t d);

#endif
