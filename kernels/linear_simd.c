#include "kernels/ops_simd.h"

#include "kernels/bytes_simd.h"

/* Rows of W and of x that share registers: 4 x 4 sums fit 32 wide registers, 2 x 2 fit 16 narrow
 * ones. */
#if defined(__AVX512F__)
enum { NW = 4, NX = 4 };
#else
enum { NW = 2, NX = 2 };
#endif

enum { AHEAD_ROWS = 8 };

#if !defined(__AVX2__)
#define dequant qu_dequant_ref
#else
VF void dequant_steps(float *x, const uint8_t *b, const int type, int64_t n)
{
    for (int64_t i = 0; i < n; i += quant_step(type), b += quant_step_bytes(type)) {
        float scale[QU_LANES], min[QU_LANES];
        quant_scales(scale, min, b, type);
#pragma GCC unroll 16
        for (int g = 0; g < quant_step(type) / QU_LANES; g++)
            vf_store(x + i + g * QU_LANES, quant_load(b, type, g, scale, min));
    }
}

static void dequant(float *x, const void *blocks, int type, int64_t n)
{
    int64_t whole = n / QU_LANES * QU_LANES;
    switch (type) { /* one loop a type, so that the branch is outside */
#define CASE(name, block, bytes)                                                                   \
    case QU_TYPE_##name: dequant_steps(x, blocks, QU_TYPE_##name, whole); break;
        QU_TYPES(CASE)
#undef CASE
    default: break;
    }
    if (whole < n)
        qu_dequant_ref(x + whole, (const uint8_t *)blocks + qu_type_bytes(type, whole), type,
                       n - whole);
}
#endif

/* y[j * ldy + i] = the sum of acc[j][i], bit for bit vf_sum's: sixteen fold together. */
VF void put_sums(float *y, int64_t ldy, vf acc[4][4], const int nw, const int nx)
{
#if defined(__AVX512F__)
    if (nw == 4) {
        vf a[4], b[4];
        for (int j = 0; j < 4; j++) { /* 8 + 8, then 4 + 4: each lane of four is one sum's */
            vf x[4];
            for (int i = 0; i < 4; i++) x[i] = j < nx ? acc[j][i] : vf_zero();
            vf p = _mm512_shuffle_f32x4(x[0], x[1], 0x44) + _mm512_shuffle_f32x4(x[0], x[1], 0xEE);
            vf q = _mm512_shuffle_f32x4(x[2], x[3], 0x44) + _mm512_shuffle_f32x4(x[2], x[3], 0xEE);
            a[j] = _mm512_shuffle_f32x4(p, q, 0x88) + _mm512_shuffle_f32x4(p, q, 0xDD);
        }
        for (int j = 0; j < 4; j += 2) { /* 2 + 2: two rows side by side */
            __m512d p = _mm512_castps_pd(a[j]), q = _mm512_castps_pd(a[j + 1]);
            b[j] = _mm512_castpd_ps(_mm512_unpacklo_pd(p, q)) +
                   _mm512_castpd_ps(_mm512_unpackhi_pd(p, q));
        }
        vf sum = _mm512_shuffle_ps(b[0], b[2], 0x88) + _mm512_shuffle_ps(b[0], b[2], 0xDD);
        float all[4][4];
        memcpy(all, &sum, sizeof all);
        for (int j = 0; j < nx; j++)
            for (int i = 0; i < 4; i++) y[j * ldy + i] = all[i][j];
        return;
    }
#endif
    for (int j = 0; j < nx; j++)
        for (int i = 0; i < nw; i++) y[j * ldy + i] = vf_sum(acc[j][i]);
}

/* Of a matrix that is needed soon, each step of the tile asks for step bytes from at on. */
typedef struct fetch {
    const char *at;
    int64_t step;
} fetch;

VF void dots_tile(float *y, int64_t ldy, const float *w, const float *x, int64_t ldx, int32_t k_dim,
                  fetch soon, const int nw, const int nx)
{
    vf acc[4][4], a[4];
    for (int j = 0; j < nx; j++)
        for (int i = 0; i < nw; i++) acc[j][i] = vf_zero();
    int32_t k = 0, whole = k_dim / QU_LANES * QU_LANES;
    for (; k < whole; k += QU_LANES, soon.at += soon.step) {
        __builtin_prefetch(soon.at);
        if (soon.step > 64) __builtin_prefetch(soon.at + 64);
        for (int i = 0; i < nw; i++) a[i] = vf_load(w + (int64_t)i * k_dim + k);
        for (int j = 0; j < nx; j++) {
            vf b = vf_load(x + j * ldx + k);
            for (int i = 0; i < nw; i++) acc[j][i] = vf_fma(a[i], b, acc[j][i]);
        }
    }
    /* padded with zeros, the last elements join the same lanes as every other group */
    if (k < k_dim) {
        for (int i = 0; i < nw; i++) a[i] = vf_load_n(w + (int64_t)i * k_dim + k, k_dim - k, 0);
        for (int j = 0; j < nx; j++) {
            vf b = vf_load_n(x + j * ldx + k, k_dim - k, 0);
            for (int i = 0; i < nw; i++) acc[j][i] = vf_fma(a[i], b, acc[j][i]);
        }
    }
    put_sums(y, ldy, acc, nw, nx);
}

VF void dots_soon(float *y, int64_t ldy, const float *w, int32_t n_w, const float *x, int64_t ldx,
                  int32_t n_rows, int32_t k_dim, fetch soon)
{
    for (int32_t i = 0; i < n_w;) {
        const int32_t nw = i + NW <= n_w ? NW : 1;
        const float *wi = w + (int64_t)i * k_dim;
        int32_t t = 0;
#define TILE(nw, nx)                                                                               \
    dots_tile(y + t * ldy + i, ldy, wi, x + t * ldx, ldx, k_dim, soon, nw, nx), t += nx,           \
        soon.step = 0
        while (nw == NW && t + NX <= n_rows) TILE(NW, NX);
        if (nw == NW && t + 3 <= n_rows) TILE(NW, 3);
        if (nw == NW && t + 2 <= n_rows) TILE(NW, 2);
        while (nw == NW && t < n_rows) TILE(NW, 1);
        while (t < n_rows) TILE(1, 1);
#undef TILE
        i += nw;
    }
}

static void dots(float *y, int64_t ldy, const float *w, int32_t n_w, const float *x, int64_t ldx,
                 int32_t n_rows, int32_t k_dim)
{
    dots_soon(y, ldy, w, n_w, x, ldx, n_rows, k_dim, (fetch){(const char *)w, 0});
}

/* While one group of rows is multiplied, the blocks of the next one are fetched. */
static void dots_buffered(float *y, int64_t ldy, const void *w, int64_t row_bytes, int type,
                          int32_t n_w, const float *x, int64_t ldx, int32_t n_rows, int32_t k_dim,
                          float *buffer, int32_t group)
{
    const char *blocks = w;
    for (int32_t i = 0; i < n_w; i += group) {
        int32_t n = n_w - i < group ? n_w - i : group;
        dequant(buffer, blocks + i * row_bytes, type, (int64_t)n * k_dim);
        fetch soon = {blocks + (i + n) * row_bytes, (n * row_bytes * QU_LANES + k_dim - 1) / k_dim};
        dots_soon(y + i, ldy, buffer, n, x, ldx, n_rows, k_dim, soon);
    }
}

#if defined(__AVX2__)
VF void stored_tile(float *y, int64_t ldy, const uint8_t *w, int64_t row_bytes, const int type,
                    const float *x, int64_t ldx, int32_t k_dim, const int nw, const int nx)
{
    vf acc[4][4];
    for (int j = 0; j < nx; j++)
        for (int i = 0; i < nw; i++) acc[j][i] = vf_zero();
    int32_t k = 0, whole = k_dim / QU_LANES * QU_LANES;
    /* Rows lie one after the other, read nw at a time: the memory's own prefetcher loses that
     * pattern, so each step asks for as many bytes as it uses, some rows ahead. */
    const uint8_t *ahead = w + AHEAD_ROWS * row_bytes, *at = w;
    for (; k < whole; k += quant_step(type), at += quant_step_bytes(type)) {
        float scale[4][QU_LANES], min[4][QU_LANES];
        for (int line = 0; line < nw * quant_step_bytes(type); line += 64)
            __builtin_prefetch(ahead + line, 0, 3);
        ahead += nw * quant_step_bytes(type);
        for (int i = 0; i < nw; i++) quant_scales(scale[i], min[i], at + i * row_bytes, type);
#pragma GCC unroll 16
        for (int g = 0; g < quant_step(type) / QU_LANES; g++) {
            vf b[4];
            for (int j = 0; j < nx; j++) b[j] = vf_load(x + j * ldx + k + g * QU_LANES);
            for (int i = 0; i < nw; i++) {
                vf a = quant_load(at + i * row_bytes, type, g, scale[i], min[i]);
                for (int j = 0; j < nx; j++) acc[j][i] = vf_fma(a, b[j], acc[j][i]);
            }
        }
    }
    if (k < k_dim) { /* only types with a block of one element have a tail */
        float tail[QU_LANES];
        for (int i = 0; i < nw; i++) {
            qu_dequant_ref(tail, w + i * row_bytes + qu_type_bytes(type, k), type, k_dim - k);
            vf a = vf_load_n(tail, k_dim - k, 0);
            for (int j = 0; j < nx; j++)
                acc[j][i] = vf_fma(a, vf_load_n(x + j * ldx + k, k_dim - k, 0), acc[j][i]);
        }
    }
    put_sums(y, ldy, acc, nw, nx);
}

VF void stored_rows(float *y, int64_t ldy, const uint8_t *w, int64_t row_bytes, const int type,
                    int32_t n_w, const float *x, int64_t ldx, int32_t n_rows, int32_t k_dim)
{
    int32_t i = 0;
    for (; i + NW <= n_w; i += NW, w += NW * row_bytes) {
        int32_t t = 0;
        if (NX == 4 && n_rows > 2) {
            if (n_rows == 4)
                stored_tile(y + i, ldy, w, row_bytes, type, x, ldx, k_dim, NW, 4);
            else
                stored_tile(y + i, ldy, w, row_bytes, type, x, ldx, k_dim, NW, 3);
            continue;
        }
        for (; t + 2 <= n_rows; t += 2)
            stored_tile(y + t * ldy + i, ldy, w, row_bytes, type, x + t * ldx, ldx, k_dim, NW, 2);
        if (t < n_rows)
            stored_tile(y + t * ldy + i, ldy, w, row_bytes, type, x + t * ldx, ldx, k_dim, NW, 1);
    }
    for (; i < n_w; i++, w += row_bytes)
        for (int32_t t = 0; t < n_rows; t++)
            stored_tile(y + t * ldy + i, ldy, w, row_bytes, type, x + t * ldx, ldx, k_dim, 1, 1);
}

static bool dots_stored(float *y, int64_t ldy, const void *w, int64_t row_bytes, int type,
                        int32_t n_w, const float *x, int64_t ldx, int32_t n_rows, int32_t k_dim)
{
    switch (type) {
#define CASE(t)                                                                                    \
    case QU_TYPE_##t:                                                                              \
        stored_rows(y, ldy, w, row_bytes, QU_TYPE_##t, n_w, x, ldx, n_rows, k_dim);                \
        return true
        CASE(F16);
        CASE(BF16);
        CASE(Q8_0);
#undef CASE
    default: return false;
    }
}

#else
#define dots_stored NULL
#endif

enum { STEP = 256, MOST_STEP_BYTES = STEP / 32 * 22 };

/* rest: blocks behind each row's last whole step, a step's bytes to be read there. */
VF void bytes_tile(float *y, int64_t ldy, const uint8_t *w, int64_t row_bytes, const int type,
                   const uint8_t *const *rest, const qu_linear_bytes *x, int64_t ldx,
                   int32_t k_dim, bool fetch_ahead, const int nw, const int nx)
{
    const int step_bytes = STEP / quant_step(type) * quant_step_bytes(type);
    const uint8_t *at[4], *ahead = w + AHEAD_ROWS * row_bytes;
    const qu_linear_bytes *xs[4];
    vf acc[4][4];
    for (int i = 0; i < nw; i++) at[i] = w + i * row_bytes;
    for (int j = 0; j < nx; j++) {
        xs[j] = x + j * ldx;
        for (int i = 0; i < nw; i++) acc[j][i] = vf_zero();
    }
    int32_t k = 0;
    for (; k + STEP <= k_dim; k += STEP) {
        for (int line = 0; fetch_ahead && line < nw * step_bytes; line += 64)
            __builtin_prefetch(ahead + line, 0, 3);
        ahead += nw * step_bytes;
        bytes_step(acc, at, type, xs, STEP, nw, nx);
        for (int i = 0; i < nw; i++) at[i] += step_bytes;
        for (int j = 0; j < nx; j++) xs[j]++;
    }
    if (quant_step(type) == 32 && k < k_dim) bytes_step(acc, rest, type, xs, k_dim - k, nw, nx);
    put_sums(y, ldy, acc, nw, nx);
}

VF void bytes_rows(float *y, int64_t ldy, const uint8_t *w, int64_t row_bytes, const int type,
                   int32_t n_w, const qu_linear_bytes *x, int64_t ldx, int32_t n_rows,
                   int32_t k_dim)
{
    uint8_t last[4][MOST_STEP_BYTES] = {{0}};
    const uint8_t *rest[4] = {NULL}, *end = w + n_w * row_bytes;
    const int64_t rest_bytes = k_dim % STEP / quant_step(type) * quant_step_bytes(type);
    for (int32_t i = 0; i < n_w;) {
        const int32_t nw = i + NW <= n_w ? NW : 1;
        int32_t t = 0;
        for (int r = 0; rest_bytes && r < nw; r++) {
            rest[r] = w + (i + r + 1) * row_bytes - rest_bytes;
            if (end - rest[r] < MOST_STEP_BYTES) /* the last rows: others have more behind them */
                rest[r] = memcpy(last[r], rest[r], (size_t)rest_bytes);
        }
#define TILE(nw, nx)                                                                               \
    bytes_tile(y + t * ldy + i, ldy, w + i * row_bytes, row_bytes, type, rest, x + t * ldx, ldx,   \
               k_dim, t == 0, nw, nx),                                                             \
        t += nx
        while (nw == NW && t + NX <= n_rows) TILE(NW, NX);
        if (nw == NW && NX > 3 && t + 3 <= n_rows) TILE(NW, 3);
        if (nw == NW && NX > 2 && t + 2 <= n_rows) TILE(NW, 2);
        while (nw == NW && t < n_rows) TILE(NW, 1);
        while (t < n_rows) TILE(1, 1);
#undef TILE
        i += nw;
    }
}

static void dots_bytes(float *y, int64_t ldy, const void *w, int64_t row_bytes, int type,
                       int32_t n_w, const qu_linear_bytes *x, int64_t ldx, int32_t n_rows,
                       int32_t k_dim)
{
    switch (type) {
#define CASE(t)                                                                                    \
    case QU_TYPE_##t:                                                                              \
        bytes_rows(y, ldy, w, row_bytes, QU_TYPE_##t, n_w, x, ldx, n_rows, k_dim);                 \
        break;
        QU_BYTE_TYPES(CASE)
#undef CASE
    default: break;
    }
}

static void round_row(qu_linear_bytes *out, const float *x, int32_t n)
{
    bytes_round(out, x, n);
}

static void to_bf16(uint16_t *out, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, sizeof u);
        bool is_nan = (u & 0x7fffffff) > 0x7f800000;
        out[i] = (uint16_t)((is_nan ? u | 0x400000 : u + 0x7fff + (u >> 16 & 1)) >> 16);
    }
}

const qu_linear_ops QU_ISA_NAME(qu_linear_ops) = {
    dequant, to_bf16, dots, dots_stored, dots_buffered, round_row, dots_bytes};
