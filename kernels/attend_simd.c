#include "kernels/ops_simd.h"

#include "kernels/attend_bytes_simd.h"
#include "kernels/quant.h"
#include "kernels/simd.h"

/* Rows and vectors of the product tile that stay in registers; the few rows of decoding leave room
 * for more vectors. */
#if defined(__AVX512F__)
enum { TR = 12, TV = 2, FEW = 3, FEW_TV = 8 };
#else
enum { TR = 2, TV = 2, FEW = 1, FEW_TV = 4 };
#endif

enum { AHEAD = 24 }; /* rows of b that are asked for before they are needed */

/* Sixteen elements of b from index at: half or float, decided where product is called. */
VF vf load_b(const void *b, int64_t at, const bool half)
{
    return half ? vf_load_f16((const uint16_t *)b + at) : vf_load((const float *)b + at);
}

VF void tile(float *c, int64_t ldc, const float *a, int64_t lda, const void *b, int64_t col,
             int64_t ldb, int32_t depth, const int rows, const int vecs, const bool half)
{
    const int size = half ? 2 : 4;
    vf acc[TR][FEW_TV];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++) acc[r][j] = vf_zero();
    for (int32_t k = 0; k < depth; k++) {
        const char *ahead = (const char *)b + ((k + AHEAD) * ldb + col) * size;
        for (int line = 0; line < vecs * QU_LANES * size; line += 64)
            __builtin_prefetch(ahead + line);
        vf x[FEW_TV];
        for (int j = 0; j < vecs; j++) x[j] = load_b(b, k * ldb + col + j * QU_LANES, half);
        for (int r = 0; r < rows; r++) {
            vf y = vf_set1(a[r * lda + k]);
            for (int j = 0; j < vecs; j++) acc[r][j] = vf_fma(y, x[j], acc[r][j]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < vecs; j++) vf_store(c + r * ldc + col + j * QU_LANES, acc[r][j]);
}

VF void tile_columns(float *c, int64_t ldc, const float *a, int64_t lda, const void *b, int64_t ldb,
                     int32_t depth, int32_t cols, const int rows, const bool half)
{
    int32_t j = 0;
    for (; rows <= FEW && j + FEW_TV * QU_LANES <= cols; j += FEW_TV * QU_LANES)
        tile(c, ldc, a, lda, b, j, ldb, depth, rows, FEW_TV, half);
    for (; j + TV * QU_LANES <= cols; j += TV * QU_LANES)
        tile(c, ldc, a, lda, b, j, ldb, depth, rows, TV, half);
    for (; j + 2 * QU_LANES <= cols; j += 2 * QU_LANES)
        tile(c, ldc, a, lda, b, j, ldb, depth, rows, 2, half);
    for (; j < cols; j += QU_LANES) tile(c, ldc, a, lda, b, j, ldb, depth, rows, 1, half);
}

VF void product_of(float *c, int64_t ldc, const float *a, int64_t lda, const void *b, int64_t ldb,
                   int32_t rows, int32_t depth, int32_t cols, const bool half)
{
    int32_t r = 0, n;
    for (; r < rows; r += n) {
        n = rows - r >= TR ? TR : rows - r;
        switch (n) {
#define CASE(n)                                                                                    \
    case n: tile_columns(c + r * ldc, ldc, a + r * lda, lda, b, ldb, depth, cols, n, half); break
            CASE(1);
            CASE(2);
#if defined(__AVX512F__)
            CASE(3);
            CASE(4);
            CASE(5);
            CASE(6);
            CASE(7);
            CASE(8);
            CASE(9);
            CASE(10);
            CASE(11);
            CASE(12);
#endif
#undef CASE
        default: break;
        }
    }
}

/* c [rows,cols] = a [rows,depth] b [depth,cols], cols a multiple of 16. Each element is one chain
 * of vf_fma over depth, whatever the tile. */
static void product(float *c, int64_t ldc, const float *a, int64_t lda, const void *b, int64_t ldb,
                    int32_t rows, int32_t depth, int32_t cols, bool half)
{
    if (half)
        product_of(c, ldc, a, lda, b, ldb, rows, depth, cols, true);
    else
        product_of(c, ldc, a, lda, b, ldb, rows, depth, cols, false);
}

/* Turn a row of scores into weights exp(s - m), zero beyond visible; returns m and the weights'
 * sum. */
static void weigh(float *s, int32_t visible, int32_t n_pad, float *m, float *l)
{
    if (visible <= 0) {
        memset(s, 0, (size_t)n_pad * sizeof *s);
        *m = -INFINITY;
        *l = 0;
        return;
    }
    for (int32_t i = visible; i < n_pad; i++) s[i] = -INFINITY;
    vf top = vf_set1(-INFINITY);
    for (int32_t i = 0; i < n_pad; i += QU_LANES) top = vf_max(vf_load(s + i), top);
    *m = vf_hmax(top);
    vf max = vf_set1(*m > -3e38f ? *m : -3e38f), sum = vf_zero(); /* all hidden: no -INF - -INF */
    for (int32_t i = 0; i < n_pad; i += QU_LANES) {
        vf p = vf_exp(vf_sub(vf_load(s + i), max));
        vf_store(s + i, p);
        sum = vf_add(sum, p);
    }
    *l = vf_sum(sum);
}

VF void add_bias(float *w, int64_t ldw, const float *bias, int32_t rows, int32_t cols)
{
    for (int32_t r = 0; bias && r < rows; r++, w += ldw)
        for (int32_t i = 0; i < cols; i += QU_LANES)
            vf_store(w + i, vf_add(vf_load(w + i), vf_load(bias + i)));
}

/* What a cluster's spread adds to its mean logit: sqrt(c (c + v)) - c. */
VF void add_spread(float *w, const float *v, int64_t ldw, const qu_attend_kv *kv, int32_t rows)
{
    vf limit = vf_set1(QU_SPREAD_LIMIT);
    for (int32_t i = 0; i < kv->n_pad; i += QU_LANES) {
        /* -INF of an empty cluster is 0 here */
        vf c = vf_mul(limit, vf_max(vf_load(kv->bias + i), vf_zero()));
        for (int32_t r = 0; r < rows; r++) {
            int64_t at = r * ldw + i;
            vf more = vf_sqrt(vf_mul(c, vf_add(c, vf_max(vf_load(v + at), vf_zero()))));
            vf_store(w + at, vf_add(vf_load(w + at), vf_sub(more, c)));
        }
    }
}

/* w [rows,n_pad], rows ldw apart = q [rows,d] by a matrix [d,n_pad] in bytes + bias, -INF from seen
 * on; next: what is read afterwards. top [rows]: the largest, or NULL. */
static void scores_from_bytes(float *w, int64_t ldw, const float *q, int64_t ldq, int32_t rows,
                              int32_t d, const void *matrix, const void *next, int32_t n_pad,
                              const float *bias, const int32_t *seen, float *top)
{
    float x[QU_MAX_HEAD_SIZE], base[BYTE_ROWS];
    byte_row a[BYTE_ROWS];
    int32_t dp = qu_attend_pad(d);
    const float *mid = matrix, *step = mid + dp;
    for (int32_t r = 0; r < rows; r++) {
        vf sum = vf_zero(), most = vf_set1(1e-30f);
        for (int32_t i = 0; i < dp; i += QU_LANES) {
            vf y = vf_load_n(q + r * ldq + i, d - i, 0), z = vf_mul(y, vf_load(step + i));
            sum = vf_fma(y, vf_load(mid + i), sum);
            most = vf_max(vf_max(z, vf_sub(vf_zero(), z)), most);
            vf_store(x + i, z);
        }
        base[r] = vf_sum(sum);
        byte_split(&a[r], x, dp, vf_hmax(most) / BYTE_MOST);
    }
    byte_product(w, ldw, a, rows, step + dp, next, dp, n_pad);
    for (int32_t r = 0; r < rows; r++) {
        float most = byte_scores(w + r * ldw, n_pad, a[r].unit, base[r], bias, seen[r]);
        if (top) top[r] = most;
    }
}

/* At most BYTE_ROWS rows over a page in bytes. */
static void few_over_bytes(qu_attend_state *part, const float *q, int64_t ldq, int32_t rows,
                           int32_t d, const qu_attend_kv *kv, const int32_t *seen)
{
    float w[BYTE_ROWS * QU_ATTEND_COLUMNS];
    byte_row a[BYTE_ROWS];
    int32_t dp = qu_attend_pad(d), n = kv->n_pad;
    const float *mid = kv->v, *step = mid + dp;
    scores_from_bytes(w, n, q, ldq, rows, d, kv->kt, step + dp, n, kv->bias, seen, part->m);
    for (int32_t r = 0; r < rows; r++) {
        byte_weights(&a[r], w + r * n, n, part->m[r]);
        part->l[r] = (float)a[r].sum * a[r].unit;
    }
    byte_product(part->o, dp, a, rows, step + dp, kv->next ? kv->next : step + dp, n, dp);
    for (int32_t r = 0; r < rows; r++) {
        float *o = part->o + (int64_t)r * dp;
        vf unit = vf_set1(a[r].unit), all = vf_set1(part->l[r]);
        for (int32_t i = 0; i < dp; i += QU_LANES) {
            vf y = vf_mul(vf_mul(vf_load(o + i), unit), vf_load(step + i));
            vf_store(o + i, vf_fma(all, vf_load(mid + i), y));
        }
    }
}

static void over_bytes(qu_attend_state *part, const float *q, int64_t ldq, int32_t rows, int32_t d,
                       const qu_attend_kv *kv, const int32_t *visible)
{
    int32_t dp = qu_attend_pad(d);
    for (int32_t r = 0; r < rows; r += BYTE_ROWS) {
        int32_t n = rows - r < BYTE_ROWS ? rows - r : BYTE_ROWS, all[] = {kv->n, kv->n, kv->n};
        qu_attend_state some = {part->o + (int64_t)r * dp, part->m + r, part->l + r};
        few_over_bytes(&some, q + r * ldq, ldq, n, d, kv, visible ? visible + r : all);
    }
}

static void pack_kt(void *kt, const float *x, int32_t n, int32_t n_pad, int32_t d)
{
    int32_t dp = qu_attend_pad(d);
    pack_rows(kt, (uint8_t *)((float *)kt + 2 * dp), x, d, dp, n, n_pad);
}

static void pack_v(void *v, const float *x, int32_t n, int32_t n_pad, int32_t d)
{
    int32_t dp = qu_attend_pad(d);
    pack_columns(v, (uint8_t *)((float *)v + 2 * dp), x, dp, n, n_pad);
}

static void page(qu_attend_state *part, const float *q, int64_t ldq, int32_t rows, int32_t d,
                 const qu_attend_kv *kv, const int32_t *visible, float *scratch)
{
    int32_t cols = (kv->n + QU_LANES - 1) / QU_LANES * QU_LANES, dp = qu_attend_pad(d);
    bool half = kv->type == QU_ATTEND_HALVES;
    if (kv->type == QU_ATTEND_BYTES) {
        over_bytes(part, q, ldq, rows, d, kv, visible);
        return;
    }
    product(scratch, cols, q, ldq, kv->kt, kv->n_pad, rows, d, cols, half);
    add_bias(scratch, cols, kv->bias, rows, cols);
    for (int32_t r = 0; r < rows; r++)
        weigh(scratch + (int64_t)r * cols, visible ? visible[r] : kv->n, cols, &part->m[r],
              &part->l[r]);
    product(part->o, dp, scratch, cols, kv->v, dp, rows, kv->n, dp, half);
}

/* Logits of a part's columns, w [rows] and v (scratch) ldw apart. */
static void part_logits(float *w, float *v, int64_t ldw, const float *q, int64_t ldq, int32_t rows,
                        int32_t d, const qu_attend_kv *kv, const float *q2)
{
    int32_t n_pad = kv->n_pad, all[] = {kv->n, kv->n, kv->n};
    bool half = kv->type == QU_ATTEND_HALVES;
    if (kv->type == QU_ATTEND_BYTES) {
        for (int32_t r = 0; r < rows; r += BYTE_ROWS) {
            int32_t n = rows - r < BYTE_ROWS ? rows - r : BYTE_ROWS;
            scores_from_bytes(w + r * ldw, ldw, q + r * ldq, ldq, n, d, kv->kt, kv->kt, n_pad,
                              kv->bias, all, NULL);
            if (q2)
                scores_from_bytes(v + r * ldw, ldw, q2 + (int64_t)r * (d / 2), d / 2, n, d / 2,
                                  kv->spread, kv->spread, n_pad, NULL, all, NULL);
        }
    } else {
        product(w, ldw, q, ldq, kv->kt, n_pad, rows, d, n_pad, half);
        add_bias(w, ldw, kv->bias, rows, n_pad);
        for (int32_t r = 0; r < rows; r++)
            for (int32_t i = kv->n; i < n_pad; i++) w[r * ldw + i] = -INFINITY;
        if (q2) product(v, ldw, q2, d / 2, kv->spread, n_pad, rows, d / 2, n_pad, half);
    }
    if (q2) add_spread(w, v, ldw, kv, rows);
}

/* w [rows,columns] the weights, followed by as much scratch. */
static void mass(float *w, float *m, float *l, const float *q, int64_t ldq, int32_t rows, int32_t d,
                 const qu_attend_kv *parts, int32_t n_parts, int32_t columns, const float *q2)
{
    float *v = w + (int64_t)rows * columns;
    for (int32_t i = 0, at = 0; i < n_parts; at += parts[i++].n_pad)
        part_logits(w + at, v + at, columns, q, ldq, rows, d, &parts[i], q2);
    for (int32_t r = 0; r < rows; r++)
        weigh(w + (int64_t)r * columns, columns, columns, &m[r], &l[r]);
}

static void plain_product(float *c, const float *a, const float *b, int32_t rows, int32_t depth,
                          int32_t cols)
{
    product(c, cols, a, depth, b, cols, rows, depth, cols, false);
}

/* Sixteen rows' scales at a time, then each row's output. An empty side has m = -INF and scale 0;
 * the floor under the common maximum keeps two empty sides from being -INF - -INF. */
static void merge(qu_attend_state *acc, const qu_attend_state *part, int32_t rows, int32_t dp)
{
    for (int32_t r = 0; r < rows; r += QU_LANES) {
        int32_t n = rows - r < QU_LANES ? rows - r : QU_LANES;
        float sa[QU_LANES], sp[QU_LANES];
        vf ma = vf_load_n(acc->m + r, n, -INFINITY), mp = vf_load_n(part->m + r, n, -INFINITY);
        vf m = vf_max(ma, mp), least = vf_max(m, vf_set1(-3e38f));
        vf a = vf_exp(vf_sub(ma, least)), p = vf_exp(vf_sub(mp, least));
        vf l =
            vf_add(vf_mul(vf_load_n(acc->l + r, n, 0), a), vf_mul(vf_load_n(part->l + r, n, 0), p));
        vf_store_n(acc->m + r, m, n);
        vf_store_n(acc->l + r, l, n);
        vf_store(sa, a);
        vf_store(sp, p);
        for (int32_t i = 0; i < n; i++) {
            float *o = acc->o + (int64_t)(r + i) * dp;
            const float *q = part->o + (int64_t)(r + i) * dp;
            vf x = vf_set1(sa[i]), y = vf_set1(sp[i]);
            for (int32_t c = 0; c < dp; c += QU_LANES)
                vf_store(o + c, vf_fma(vf_load(o + c), x, vf_mul(vf_load(q + c), y)));
        }
    }
}

static void halve(uint16_t *out, const float *x, int64_t n)
{
    vf most = vf_set1(65504.0f), least = vf_set1(-65504.0f);
    int64_t i = 0;
    for (; i + QU_LANES <= n; i += QU_LANES)
        vf_store_f16(out + i, vf_min(vf_max(vf_load(x + i), least), most));
    for (; i < n; i++) {
        float y = x[i] > 65504.0f ? 65504.0f : x[i] < -65504.0f ? -65504.0f : x[i];
        out[i] = qu_f32_to_f16(y);
    }
}

const qu_attend_ops QU_ISA_NAME(qu_attend_ops) = {page, mass, plain_product, halve, pack_kt,
                                                  pack_v, merge};
