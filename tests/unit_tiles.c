/* Products and attention in tiles: the reference against doubles, and where the processor has a
 * tile unit, the unit against the reference. */
#include "tests/testing.h"

#include "kernels/quant.h"
#include "kernels/tile.h"

static uint64_t seed = 11;

/* The tables to test: the reference, and the unit's. */
static int tables(const qu_tile_ops *all[2])
{
    all[0] = &qu_tile_plain;
#if defined(__x86_64__)
    if (qu_tile_has_unit()) {
        all[1] = &qu_tile_amx;
        return 2;
    }
#endif
    print_message("no tile unit here: its reference alone\n");
    return 1;
}

static void *room(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    memset(p, 0x5a, (bytes + 127) / 64 * 64);
    return p;
}

static float *random_floats(int64_t n, float scale)
{
    float *x = room((size_t)n * 4 + 4);
    for (int64_t i = 0; i < n; i++) x[i] = scale * test_uniform(&seed);
    return x;
}

static double bf16(float x)
{
    return (double)qu_bf16_to_f32(qu_f32_to_bf16(x));
}

/* --- products --- */

/* y = x W^T + bias by table o, W in pieces of columns as wide as piece. */
static void multiply(const qu_tile_ops *o, bool with_rest, float *y, int64_t ldy, const float *w,
                     const float *x, const float *bias, int32_t n, int32_t n_rows, int32_t k,
                     int32_t piece)
{
    int32_t runs = qu_tile_runs(k), tiles = (n + 31) / 32 * 2;
    uint16_t *pw[2] = {NULL}, *px[2] = {NULL};
    for (int h = 0; h <= with_rest; h++) {
        pw[h] = room((size_t)(tiles * runs * QU_TILE_SIZE) * 2);
        px[h] = room((size_t)(2 * runs * QU_TILE_SIZE) * 2);
    }
    float *sums = room((size_t)tiles * 2 * QU_TILE * QU_TILE * 4);
    for (int32_t j = 0; j < 2; j++) {
        int32_t rows = n_rows - j * QU_TILE, at = j * runs * QU_TILE_SIZE;
        o->pack_x(px[0] + at, with_rest ? px[1] + at : NULL, x + (int64_t)j * QU_TILE * k, k,
                  rows < 0         ? 0
                  : rows > QU_TILE ? QU_TILE
                                   : rows,
                  k);
    }
    for (int32_t from = 0; from < k; from += piece) {
        int32_t depth = k - from < piece ? k - from : piece, step = qu_tile_runs(depth);
        for (int32_t i = 0; i < n; i++) {
            int32_t at = (i / QU_TILE * step * QU_TILE + i % QU_TILE) * QU_TILE_RUN;
            o->pack_w(pw[0] + at, with_rest ? pw[1] + at : NULL, w + (int64_t)i * k + from, depth);
        }
        qu_tile_sums to = {sums, from == 0, from + depth == k, y, ldy, bias, n, n_rows};
        o->product(&to, pw[0], pw[1], px[0] + from * QU_TILE,
                   with_rest ? px[1] + from * QU_TILE : NULL, runs * QU_TILE_SIZE, step);
    }
    for (int h = 0; h <= with_rest; h++) free(pw[h]), free(px[h]);
    free(sums);
}

/* Rounded, or with what rounding leaves. */
static double seen(float x, bool with_rest)
{
    return bf16(x) + (with_rest ? bf16((float)((double)x - bf16(x))) : 0);
}

static void products(void **state)
{
    (void)state;
    static const int32_t shapes[][4] = {/* n, rows, k, piece */
                                        {1, 1, 1, 32},     {16, 16, 32, 32},  {17, 3, 40, 64},
                                        {64, 32, 576, 96}, {33, 31, 172, 64}, {48, 17, 2050, 2048},
                                        {5, 32, 100, 32}};
    const qu_tile_ops *all[2];
    int n_tables = tables(all), n_shapes = (int)(sizeof shapes / sizeof *shapes);
    for (int s = 0; s < 2 * n_shapes; s++) {
        bool with_rest = s >= n_shapes;
        const int32_t *shape = shapes[s % n_shapes];
        int32_t n = shape[0], rows = shape[1], k = shape[2], ldy = n + 3;
        float *w = random_floats(n * k, 1), *x = random_floats(rows * k, 1),
              *bias = random_floats(n, 1), *y[2];
        for (int i = 0; i < n_tables; i++) {
            y[i] = room((size_t)(rows * ldy) * 4);
            for (int32_t j = 0; j < rows * ldy; j++) y[i][j] = 7;
            multiply(all[i], with_rest, y[i], ldy, w, x, s % 2 ? bias : NULL, n, rows, k, shape[3]);
        }
        for (int32_t t = 0; t < rows; t++)
            for (int32_t i = 0; i < ldy; i++) {
                double right = s % 2 && i < n ? (double)bias[i] : 0;
                for (int32_t j = 0; i < n && j < k; j++)
                    right += seen(w[i * k + j], with_rest) * seen(x[t * k + j], with_rest);
                if (i >= n) right = 7; /* not touched */
                /* of what rounding left of both, 2^-9 each, the product is left out */
                double allowed = (with_rest ? 6e-6 : 2e-6) * sqrt(k) + 1e-6;
                assert_true(fabs((double)y[0][t * ldy + i] - right) < allowed);
            }
        if (n_tables == 2) assert_memory_equal(y[0], y[1], (size_t)(rows * ldy) * 4);
        for (int i = 0; i < n_tables; i++) free(y[i]);
        free(w), free(x), free(bias);
    }
}

/* --- attention --- */

typedef struct shape {
    int32_t d, n, rows;
    float scale; /* of queries */
    bool half, bias, hidden;
} shape;

typedef struct page_case {
    shape s;
    int32_t n_pad, dp;
    float *q, *k, *v, *bias; /* [rows,D], [n,D], [n,D], [n_pad] */
    int32_t *visible;
    qu_attend_kv kv;
} page_case;

static page_case make_case(shape s)
{
    page_case c = {.s = s, .n_pad = (s.n + 15) / 16 * 16, .dp = qu_attend_pad(s.d)};
    c.q = random_floats(s.rows * s.d, s.scale / sqrtf((float)s.d));
    c.k = random_floats(s.n * s.d, 1);
    c.v = random_floats(s.n * s.d, 1);
    c.bias = random_floats(c.n_pad, 2);
    c.visible = room((size_t)s.rows * 4);
    for (int32_t i = 0; i < s.rows; i++)
        c.visible[i] = s.hidden ? (int32_t)(test_random(&seed) % (uint64_t)(s.n + 1)) : s.n;
    if (s.bias) c.bias[s.n / 2] = -INFINITY;
    float *kt = calloc((size_t)(s.d * c.n_pad), 4), *vv = calloc((size_t)(c.n_pad * c.dp), 4);
    for (int32_t i = 0; i < s.n * s.d; i++)
        if (s.half) {
            c.k[i] = qu_f16_to_f32(qu_f32_to_f16(c.k[i]));
            c.v[i] = qu_f16_to_f32(qu_f32_to_f16(c.v[i]));
        }
    for (int32_t i = 0; i < s.n; i++)
        for (int32_t j = 0; j < s.d; j++) {
            kt[j * c.n_pad + i] = c.k[i * s.d + j];
            vv[i * c.dp + j] = c.v[i * s.d + j];
        }
    c.kv = (qu_attend_kv){
        .kt = kt, .v = vv, .bias = s.bias ? c.bias : NULL, .n = s.n, .n_pad = c.n_pad};
    if (s.half) {
        uint16_t *hk = malloc((size_t)(s.d * c.n_pad) * 2),
                 *hv = malloc((size_t)(c.n_pad * c.dp) * 2);
        qu_attend_halve(hk, kt, s.d * c.n_pad);
        qu_attend_halve(hv, vv, c.n_pad * c.dp);
        free(kt), free(vv);
        c.kv.kt = hk, c.kv.v = hv, c.kv.type = QU_ATTEND_HALVES;
    }
    return c;
}

static void free_case(page_case *c)
{
    free(c->q), free(c->k), free(c->v), free(c->bias), free(c->visible);
    free((void *)c->kv.kt), free((void *)c->kv.v);
}

/* State of rows [from, from + rows) by a table: o, then m and l behind the last strip. */
static qu_attend_state attend(const qu_tile_ops *t, const page_case *c, int32_t from, int32_t rows)
{
    int32_t d = c->s.d, all = (rows + QU_ATTEND_STRIP - 1) / QU_ATTEND_STRIP * QU_ATTEND_STRIP;
    float *o = room((size_t)(all * (c->dp + 2)) * 4);
    qu_attend_state s = {o, o + all * c->dp, o + all * (c->dp + 1)};
    uint16_t *q = room((size_t)qu_attend_tiles_bytes(rows, d));
    void *scratch = room((size_t)qu_attend_tiles_scratch(d));
    int64_t half = qu_attend_tiles_bytes(rows, d) / 4;
    t->queries(q, q + half, c->q + from * d, d, rows, d);
    t->page(&s, q, q + half, rows, d, &c->kv, c->s.hidden ? c->visible + from : NULL, scratch);
    free(q), free(scratch);
    return s;
}

/* One row in doubles: o, m and l. */
static void right_row(const page_case *c, int32_t r, double *o, double *m, double *l)
{
    int32_t d = c->s.d;
    double score[QU_ATTEND_COLUMNS];
    *m = -INFINITY, *l = 0;
    for (int32_t j = 0; j < d; j++) o[j] = 0;
    for (int32_t i = 0; i < c->visible[r]; i++) {
        score[i] = c->kv.bias ? (double)c->bias[i] : 0;
        for (int32_t j = 0; j < d; j++) score[i] += (double)c->q[r * d + j] * c->k[i * d + j];
        *m = fmax(*m, score[i]);
    }
    for (int32_t i = 0; i < c->visible[r] && *m > -INFINITY; i++) {
        double w = exp(score[i] - *m);
        *l += w;
        for (int32_t j = 0; j < d; j++) o[j] += w * c->v[i * d + j];
    }
}

static void pages(void **state)
{
    (void)state;
    static const shape shapes[] = {{16, 1, 1, 4, false, false, false},
                                   {24, 5, 7, 4, true, false, true},
                                   {32, 16, 33, 4, false, true, false},
                                   {64, 128, 96, 4, true, false, true},
                                   {80, 100, 31, 4, true, true, true},
                                   {96, 17, 64, 4, false, false, true},
                                   {128, 256, 40, 4, true, true, false},
                                   {64, 128, 40, 300, true, false, true}}; /* weights far apart */
    const qu_tile_ops *all[2];
    int n_tables = tables(all);
    double worst = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        page_case c = make_case(shapes[i]);
        double o[512], m, l, allowed = shapes[i].scale > 100 ? 2e-3 : 6e-5;
        for (int t = 0; t < n_tables; t++) {
            qu_attend_state s = attend(all[t], &c, 0, c.s.rows);
            for (int32_t r = 0; r < c.s.rows; r++) {
                right_row(&c, r, o, &m, &l);
                if (m == -INFINITY) {
                    assert_true(s.m[r] == -INFINITY && s.l[r] == 0);
                    for (int32_t j = 0; j < c.dp; j++) assert_true(s.o[r * c.dp + j] == 0);
                    continue;
                }
                /* outputs and masses, whatever m: they are what pages are merged by */
                double scale = exp((double)s.m[r] - m);
                double e = fabs((double)s.l[r] * scale - l) / l;
                for (int32_t j = 0; j < c.s.d; j++)
                    e = fmax(e, fabs((double)s.o[r * c.dp + j] * scale - o[j]) / l);
                if (!(e < allowed)) fail_msg("shape %zu, table %d, row %d: %g", i, t, r, e);
                if (shapes[i].scale < 100) worst = fmax(worst, e);
                for (int32_t j = c.s.d; j < c.dp; j++) assert_true(s.o[r * c.dp + j] == 0);
            }
            for (int32_t r = 0; r < c.s.rows; r += 5) { /* a row alone: the same bits */
                qu_attend_state one = attend(all[t], &c, r, 1);
                assert_memory_equal(one.o, s.o + r * c.dp, (size_t)c.dp * 4);
                assert_true(one.m[0] == s.m[r] && one.l[0] == s.l[r]);
                free(one.o);
            }
            free(s.o);
        }
        free_case(&c);
    }
    print_message("pages: worst error %.2g of the mass\n", worst);
}

/* What no row sees may be anything; a score that is no number weighs nothing. */
static void nothing_hidden_is_read(void **state)
{
    (void)state;
    const qu_tile_ops *all[2];
    int n_tables = tables(all);
    page_case c = make_case((shape){32, 40, 33, 4, false, false, true});
    float *k = (float *)c.kv.kt, *v = (float *)c.kv.v;
    for (int32_t r = 0; r < 33; r++) c.visible[r] = r % 21;
    for (int t = 0; t < n_tables; t++) {
        qu_attend_state before = attend(all[t], &c, 0, 33);
        for (int32_t i = 21; i < 40; i++)
            for (int32_t j = 0; j < 32; j++) k[j * c.n_pad + i] = 3e4f, v[i * c.dp + j] = -3e4f;
        qu_attend_state after = attend(all[t], &c, 0, 33);
        assert_memory_equal(before.o, after.o, (size_t)(33 * c.dp) * 4);
        assert_memory_equal(before.l, after.l, 33 * 4);
        float kept = k[3];
        k[3] = NAN;
        qu_attend_state third = attend(all[t], &c, 20, 1);
        assert_true(third.l[0] > 0 && third.l[0] < 20);
        for (int32_t j = 0; j < 32; j++) assert_true(isfinite(third.o[j]));
        k[3] = kept;
        free(before.o), free(after.o), free(third.o);
    }
    free_case(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(products), cmocka_unit_test(pages),
                                       cmocka_unit_test(nothing_hidden_is_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
