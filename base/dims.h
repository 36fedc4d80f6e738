/* The letters used for shapes in every header, and the limits that untrusted numbers are held to.
 *
 *   B batch          T query tokens     S context tokens   L layers        H query heads
 *   G KV heads       D head size        E embedding size   V vocabulary    F feed-forward width
 *   N vectors        K top-k            P tokens in a page C clusters
 *
 * Shapes are written [T,H,D], last index fastest. Dims are int32_t, products and offsets int64_t.
 */
#ifndef QU_BASE_DIMS_H
#define QU_BASE_DIMS_H

enum {
    QU_PAGE_TOKENS = 128, /* P: most tokens in a page */
    QU_MAX_LAYERS = 512,
    QU_MAX_HEADS = 512,
    QU_MAX_HEAD_SIZE = 512,
    QU_MAX_WIDTH = 1 << 17, /* E and F */
    QU_MAX_VOCAB = 1 << 21,
};

#endif
