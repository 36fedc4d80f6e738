/* Page attention and choosing on a device against the CPU's references. */
#include "kernels/summary.h"
#include "retrieve/policy.h"
#include "tests/cuda_scene.h"

/* --- attention --- */

typedef struct scene {
    const heads *s;
    page *pages;
    int32_t n_pages, n_rows, own[64], at[64];
    float *q, *out;
    qu_cuda_attend a;
} scene;

/* n_rows tokens, the last ones of the last pages, which are stored in one codec after the other. */
static void make_scene(scene *x, const heads *s, int32_t n_pages, int32_t n_rows)
{
    *x = (scene){.s = s, .n_pages = n_pages, .n_rows = n_rows};
    x->pages = host(n_pages * (int64_t)sizeof *x->pages);
    qu_cuda_page *list = host(n_pages * (int64_t)sizeof *list);
    for (int32_t i = 0; i < n_pages; i++) {
        int32_t n = i % 3 == 0 ? P : 1 + (int32_t)(test_random(&seed) % P);
        make_page(&x->pages[i], s, (i + s->h) % QU_CODEC_COUNT, n, 200 * i);
        list[i] = x->pages[i].device;
    }
    for (int32_t t = n_rows - 1, p = n_pages - 1, at = x->pages[p].n - 1; t >= 0; t--) {
        x->own[t] = p;
        x->at[t] = at;
        if (at-- == 0) at = x->pages[--p].n - 1;
    }
    x->q = randoms(n_rows * s->h * s->d, 4 / sqrtf((float)s->d));
    x->out = host(n_rows * s->h * s->d * 4);
    x->a = (qu_cuda_attend){.out = room(n_rows * s->h * s->d * 4),
                            .q = put(x->q, n_rows * s->h * s->d * 4),
                            .rows = {put(list, n_pages * (int64_t)sizeof *list),
                                     put(x->own, n_rows * 4), put(x->at, n_rows * 4), n_rows,
                                     s->h, s->g, s->d, NULL, device_rope(s)},
                            .n_pages = n_pages};
}

/* The CPU's whole softmax of one row over the pages that use names [n_pages,G] (NULL: all) and
 * extra keys. */
static double row_error(const scene *x, int32_t t, int32_t h, const uint8_t *use, int32_t n_extra,
                        const float *ek, const float *ev)
{
    int32_t d = x->s->d, g = h / (x->s->h / x->s->g), n = 0, dp = qu_attend_pad(d);
    int64_t most = (int64_t)(x->n_pages * P + n_extra) * d;
    float *k = malloc((size_t)most * 8), *v = k + most, want[QU_MAX_HEAD_SIZE];
    qu_rope *r = rope_of(x->s);
    for (int32_t p = 0; p <= x->own[t]; p++) {
        const page *pg = &x->pages[p];
        if (use && p < x->own[t] && !use[p * x->s->g + g]) continue;
        for (int32_t i = 0; i < pg->n && (p < x->own[t] || i <= x->at[t]); i++, n++) {
            for (int32_t c = 0; c < d; c++) {
                k[n * d + c] = qu_f16_to_f32(pg->kt[g][c * pg->n_pad + i]);
                v[n * d + c] = qu_f16_to_f32(pg->vh[g][i * dp + c]);
            }
            /* by where the page starts */
            qu_rope_vector(k + n * d, r, pg->cos, pg->sin, pg->n_pad, 0);
        }
    }
    qu_rope_free(r);
    memcpy(k + n * d, ek, (size_t)(n_extra * d) * 4);
    memcpy(v + n * d, ev, (size_t)(n_extra * d) * 4);
    qu_attend_ref(want, NULL, x->q + (t * x->s->h + h) * d, k, v, n + n_extra, d);
    free(k);
    return worst(x->out + (t * x->s->h + h) * d, want, d);
}

static double scene_error(scene *x, const uint8_t *use)
{
    double w = 0;
    get(x->out, x->a.out, x->n_rows * x->s->h * x->s->d * 4);
    for (int32_t t = 0; t < x->n_rows; t++)
        for (int32_t h = 0; h < x->s->h; h++)
            w = larger(w, row_error(x, t, h, use, 0, x->q, x->q),
                       "head size %d, group %d, token %d of %d, head %d, %d pages", x->s->d,
                       x->s->h / x->s->g, t, x->n_rows, h, x->n_pages);
    return w;
}

static double check_attend_split(void)
{
    double w = 0;
    for (int i = 0; i < N_SHAPES; i++)
        for (int32_t rows = 1; rows <= 9; rows += 4) {
            scene x;
            make_scene(&x, &shapes[i], 1 + i + rows / 4,
                       rows > 1 && i == 0 ? rows : (rows + 1) / 2);
            x.a.partial = room(qu_cuda_attend_floats(&x.a, x.n_rows) * 4);
            TEST_OK(qu_cuda_attend_split(cu, &x.a, err));
            w = fmax(w, scene_error(&x, NULL));
            drop_all();
        }
    return w;
}

/* A row alone and in company, and lists of some pages. */
static double check_attend_lists(void)
{
    const heads *s = &shapes[0];
    scene x;
    make_scene(&x, s, 9, 5);
    int32_t list[2 * 9], count[2] = {0, 0};
    uint8_t use[9 * 2];
    for (int32_t g = 0; g < 2; g++)
        for (int32_t p = 0; p < 9; p++) {
            use[p * 2 + g] = p >= 7 || (p + g) % 3 != 0; /* the rows' own always */
            if (use[p * 2 + g]) list[g * 9 + count[g]++] = p;
        }
    x.a.list = put(list, sizeof list);
    x.a.count = put(count, sizeof count);
    x.a.list_cap = 9;
    x.a.partial = room(qu_cuda_attend_floats(&x.a, 5) * 4);
    TEST_OK(qu_cuda_attend_split(cu, &x.a, err));
    double w = scene_error(&x, use);
    float *one = host(s->h * s->d * 4);
    for (int32_t t = 0; t < 5; t++) {
        qu_cuda_attend a = x.a;
        a.rows.n = 1;
        a.rows.own += t;
        a.rows.at += t;
        a.q += t * s->h * s->d;
        TEST_OK(qu_cuda_attend_split(cu, &a, err));
        get(one, a.out, s->h * s->d * 4);
        if (memcmp(one, x.out + t * s->h * s->d, (size_t)(s->h * s->d) * 4)) w = INFINITY;
    }
    drop_all();
    return w;
}

/* A stored page and the same page as the CPU has it resident: the same bits. */
static double check_stored(void)
{
    double bad = 0;
    for (int i = 0; i < N_SHAPES; i++)
        for (int codec = 0; codec < QU_CODEC_COUNT; codec++)
            for (int32_t n = 1; n <= P; n += 42) {
                const heads *s = &shapes[i];
                page p;
                make_page(&p, s, codec, n, 1000 * i + n);
                qu_cuda_page both[2] = {p.device, placed_page(&p, s)};
                float *q = randoms(s->h * s->d, 2), out[2][QU_MAX_HEAD_SIZE * 8];
                int32_t own = 0, at = n - 1;
                for (int k = 0; k < 2; k++) {
                    qu_cuda_rows rows = {put(&both[k], sizeof both[k]), put(&own, 4), put(&at, 4),
                                         1, s->h, s->g, s->d, NULL, device_rope(s)};
                    qu_cuda_attend a = {.out = room(s->h * s->d * 4), .q = put(q, s->h * s->d * 4),
                                        .rows = rows, .n_pages = 1};
                    a.partial = room(qu_cuda_attend_floats(&a, 1) * 4);
                    TEST_OK(qu_cuda_attend_split(cu, &a, err));
                    get(out[k], a.out, s->h * s->d * 4);
                }
                bad = larger(bad, differing(out[0], out[1], s->h * s->d * 4),
                             "%s, head size %d, group %d, %d tokens", qu_codec_name(codec), s->d,
                             s->h / s->g, n);
                drop_all();
            }
    return bad;
}

static double check_attend_direct(void)
{
    double w = 0;
    for (int i = 0; i < N_SHAPES; i++) {
        scene x;
        make_scene(&x, &shapes[i], 4, i == 0 ? 64 : 9);
        TEST_OK(qu_cuda_attend_direct(cu, &x.a, err));
        w = fmax(w, scene_error(&x, NULL));
        drop_all();
    }
    return w;
}

/* Over many pages, whose values are not around zero: what is cut off must not add up. */
static double check_attend_long(void)
{
    static const heads s = {1, 1, 64, 64, true};
    scene x;
    make_scene(&x, &s, 40, 8);
    TEST_OK(qu_cuda_attend_direct(cu, &x.a, err));
    double w = scene_error(&x, NULL);
    drop_all();
    return w;
}

/* --- choosing --- */

typedef struct chooser {
    int32_t n_pages, n, pages_n[40];
    int64_t pos[40];
    char *data[40];
    qu_cuda_clusters c;
    /* CPU: [D,n_pad], [n_pad], [n_pad,D], [D/2,n_pad] of head 0..G-1 */
    float *kt, *bias, *v, *spread;
    int32_t n_pad, first[41], tokens[40];
} chooser;

/* Summaries of random pages, placed on both sides; one layer. Returns differing halves. */
static double make_chooser(chooser *x, const heads *s, int32_t n_pages)
{
    int32_t d = s->d, g_n = s->g;
    qu_rope *r = rope_of(s);
    *x = (chooser){.n_pages = n_pages};
    for (int32_t p = 0; p < n_pages; p++) {
        x->tokens[p] = p % 4 == 1 ? 1 + (int32_t)(test_random(&seed) % P) : P;
        x->first[p + 1] = x->first[p] + qu_summary_clusters(x->tokens[p]);
    }
    x->n = x->first[n_pages];
    x->n_pad = (x->n + 15) / 16 * 16;
    int64_t cells = (int64_t)g_n * x->n_pad;
    x->kt = host(cells * d * 4);
    x->v = host(cells * d * 4);
    x->spread = host(cells * d * 4);
    x->bias = host(cells * 4);
    for (int64_t i = 0; i < cells; i++) x->bias[i] = -INFINITY;
    x->c = (qu_cuda_clusters){room(g_n * x->n * d * 2),       room(g_n * x->n * d * 2),
                              room(g_n * x->n * d),           room(g_n * x->n * 4),
                              room(x->n * 4),                 put(x->first, (n_pages + 1) * 4),
                              put(x->tokens, n_pages * 4), x->n, n_pages};
    float *scratch = host(qu_summary_scratch(P, d) * 4), *c = host((d / 2 + 1) * P * 4),
          *sn = host((d / 2 + 1) * P * 4), *kt = host(P * d * 4);
    for (int32_t p = 0; p < n_pages; p++) {
        int32_t n = x->tokens[p];
        int64_t bytes = qu_summary_bytes(n, d), pos = 128 * p + 17;
        char *data = host(g_n * bytes);
        for (int32_t g = 0; g < g_n; g++) {
            float *k = randoms(n * d, 2), *v = randoms(n * d, 1);
            qu_rope_angles(r, 0, n, P, c, sn);
            qu_rope_page(kt, P, k, n, d, r, c, sn, P);
            qu_summary_make(data + g * bytes, kt, P, v, d, n, d, r, scratch);
        }
        qu_rope_angles(r, pos, n, P, c, sn);
        qu_cuda_page here = {
            NULL, put(c, (d / 2 + 1) * P * 4), put(sn, (d / 2 + 1) * P * 4), n, P, QU_CUDA_PLACED};
        qu_cuda_rope rope = {s->n_dims, s->halves, NULL};
        TEST_OK(qu_cuda_place_summary(cu, &x->c, put(data, g_n * bytes), put(&here, sizeof here),
                                      NULL, rope, n, p, x->first[p], 1, g_n, d, err));
        for (int32_t g = 0; g < g_n; g++) {
            static float cell[QU_SUMMARY_CLUSTERS * 5 * QU_MAX_HEAD_SIZE / 2];
            qu_summary sum;
            qu_summary_read(&sum, data + g * bytes, n, d, cell);
            for (int32_t i = 0; i < qu_summary_clusters(n); i++) {
                int64_t col = x->first[p] + i, at = g * (int64_t)x->n_pad;
                float key[QU_MAX_HEAD_SIZE];
                memcpy(key, sum.key + i * d, (size_t)d * sizeof *key);
                qu_rope_vector(key, r, c, sn, P, 0);
                for (int32_t j = 0; j < d; j++) {
                    x->kt[at * d + j * x->n_pad + col] = qu_f16_to_f32(qu_f32_to_f16(key[j]));
                    x->v[(at + col) * d + j] = qu_f16_to_f32(qu_f32_to_f16(sum.value[i * d + j]));
                }
                for (int32_t j = 0; j < d / 2; j++)
                    x->spread[at * d + j * x->n_pad + col] =
                        qu_f16_to_f32(qu_f32_to_f16(sum.spread[i * (d / 2) + j]));
                x->bias[at + col] = sum.count[i] > 0 ? logf((float)sum.count[i]) : -INFINITY;
            }
        }
    }
    double bad = 0;
    uint16_t *key = host(g_n * x->n * d * 2);
    get(key, x->c.key, g_n * x->n * d * 2);
    for (int32_t g = 0; g < g_n; g++)
        for (int32_t i = 0; i < x->n * d; i++)
            bad += key[g * x->n * d + i] !=
                   qu_f32_to_f16(x->kt[((int64_t)g * d + i % d) * x->n_pad + i / d]);
    qu_rope_free(r);
    return bad;
}

static double check_place_summary(void)
{
    double bad = 0;
    for (int i = 0; i < N_SHAPES; i++) {
        chooser x;
        bad = larger(bad, make_chooser(&x, &shapes[i], 7), "head size %d", shapes[i].d);
        drop_all();
    }
    return bad;
}

/* Scores of multipole on the CPU: qu_attend_mass over all clusters, pages' sums, mean over rows. */
static double check_sense(void)
{
    double w = 0;
    for (int i = 0; i < N_SHAPES; i++) {
        const heads *s = &shapes[i];
        enum { TOKENS = 70, PAGES = 21 };
        chooser x;
        make_chooser(&x, s, PAGES);
        int32_t d = s->d, group = s->h / s->g, n_rows = i == 0 ? TOKENS : 3;
        float *q = randoms(TOKENS * s->h * d, .7f), score[7 * PAGES];
        qu_cuda_rows rows = {.n = n_rows, .n_heads = s->h, .n_kv_heads = s->g, .d = d,
                             .rope = {s->n_dims, s->halves}};
        void *scratch = room(qu_cuda_sense_floats(x.n, n_rows, s->h) * 4),
             *out = room((int64_t)sizeof score);
        TEST_OK(
            qu_cuda_sense(cu, out, &x.c, put(q, TOKENS * s->h * d * 4), &rows, 0, scratch, err));
        get(score, out, s->g * PAGES * 4);
        qu_rope *r = rope_of(s);
        float *rq = host(TOKENS * group * d * 4), *q2 = host(TOKENS * group * d * 4),
              *mass = host(x.n_pad * 4),
              *room2 = host((TOKENS * group) * (2 * x.n_pad + 2) * 4);
        for (int32_t g = 0; g < s->g; g++) {
            int32_t n = 0;
            for (int32_t t = 0; t < n_rows; t++)
                for (int32_t h = 0; h < group; h++, n++)
                    memcpy(rq + n * d, q + (t * s->h + g * group + h) * d, (size_t)d * 4);
            for (int32_t j = 0; j < n * (d / 2); j++) {
                int32_t a, b;
                qu_rope_pair(r, j % (d / 2), &a, &b);
                const float *row = rq + j / (d / 2) * d;
                q2[j] = row[a] * row[a] + row[b] * row[b];
            }
            int64_t at = g * (int64_t)x.n_pad;
            qu_attend_kv kv = {.kt = x.kt + at * d,
                               .bias = x.bias + at,
                               .n = x.n,
                               .n_pad = x.n_pad,
                               .spread = x.spread + at * d};
            memset(mass, 0, (size_t)x.n_pad * 4);
            qu_attend_mass(mass, rq, d, n, d, &kv, 1, q2, room2);
            for (int32_t p = 0; p < PAGES; p++) {
                double want = 0;
                for (int32_t c = x.first[p]; c < x.first[p + 1]; c++) want += mass[c] / (float)n;
                w = larger(w, fabs(want - score[g * PAGES + p]),
                           "head size %d, group %d, %d tokens, page %d", d, group, n_rows, p);
            }
        }
        qu_rope_free(r);
        drop_all();
    }
    return w;
}

/* Attention with a far field: the clusters of what was not chosen are keys like others, ln(count)
 * on top. */
static double check_far_field(void)
{
    const heads *s = &shapes[0];
    chooser x;
    scene y;
    double w = 0;
    make_scene(&y, s, 3, 2);
    make_chooser(&x, s, 33); /* more than one part of 128 clusters */
    uint8_t chosen[33 * 2];
    for (int i = 0; i < 66; i++) chosen[i] = test_random(&seed) % 2;
    y.a.key = x.c.key, y.a.value = x.c.value, y.a.bias = x.c.bias, y.a.page_of = x.c.page_of;
    y.a.chosen = put(chosen, sizeof chosen);
    y.a.n_clusters = x.n;
    y.a.partial = room(qu_cuda_attend_floats(&y.a, 2) * 4);
    TEST_OK(qu_cuda_attend_split(cu, &y.a, err));
    get(y.out, y.a.out, 2 * s->h * s->d * 4);
    float *k = host(x.n * s->d * 50 * 4), *v = host(x.n * s->d * 50 * 4);
    for (int32_t t = 0; t < 2; t++)
        for (int32_t h = 0; h < s->h; h++) {
            int32_t g = h / (s->h / s->g), n = 0, d = s->d;
            for (int32_t p = 0; p < x.n_pages; p++)
                for (int32_t c = x.first[p]; c < x.first[p + 1]; c++) {
                    int64_t at = g * (int64_t)x.n_pad;
                    int32_t count = (int32_t)lrintf(expf(x.bias[at + c])); /* as often as members */
                    for (int32_t i = 0; i < count && !chosen[p * 2 + g]; i++, n++)
                        for (int32_t j = 0; j < d; j++) {
                            k[n * d + j] = x.kt[at * d + j * x.n_pad + c];
                            v[n * d + j] = x.v[(at + c) * d + j];
                        }
                }
            w = larger(w, row_error(&y, t, h, NULL, n, k, v), "token %d, head %d", t, h);
        }
    drop_all();
    return w;
}

static double check_cut(void)
{
    double bad = 0;
    static const int32_t sizes[] = {1, 2, 3, 31, 300};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int64_t budget = 1; budget < 40000; budget *= 9) {
            enum { G = 3 };
            int32_t n = sizes[i], tokens[300];
            float *score = randoms(G * n, 1);
            uint8_t got[G * 300], want[G * 300] = {0}, all[G] = {0, 1, 0};
            for (int32_t p = 0; p < n; p++) tokens[p] = 1 + (int32_t)(test_random(&seed) % P);
            for (int32_t p = 0; p < G * n; p++)
                score[p] = fabsf(roundf(score[p] * 8)) * (float)tokens[p % n];
            if (n > 2) score[1] = NAN;
            void *out = room(G * n);
            TEST_OK(qu_cuda_cut(cu, out, put(score, G * n * 4), put(tokens, n * 4), put(all, G), n,
                                G, budget, err));
            get(got, out, G * n);
            for (int32_t g = 0; g < G; g++) {
                TEST_OK(qu_policy_cut(want + g, G, score + g * n, tokens, n, budget, err));
                for (int32_t p = 0; all[g] && p < n; p++) want[p * G + g] = 1;
            }
            bad += differing(got, want, G * n);
            drop_all();
        }
    return bad;
}

static double check_lists(void)
{
    enum { G = 3, N = 77, CAND = 60 };
    int32_t candidate[N], list[G * N], count[G];
    uint8_t chosen[CAND * G];
    double bad = 0;
    for (int i = 0; i < CAND * G; i++) chosen[i] = test_random(&seed) % 2;
    for (int i = 0, c = 0; i < N; i++) candidate[i] = i % 5 == 0 || c == CAND ? -1 : c++;
    void *dl = room(sizeof list), *dc = room(sizeof count);
    TEST_OK(qu_cuda_lists(cu, dl, dc, put(candidate, sizeof candidate), put(chosen, sizeof chosen),
                          N, G, err));
    get(count, dc, sizeof count);
    for (int g = 0; g < G; g++) {
        get(list, dl, sizeof list);
        int n = 0;
        for (int i = 0; i < N; i++)
            if (candidate[i] < 0 || chosen[candidate[i] * G + g]) bad += list[g * N + n++] != i;
        bad += count[g] != n;
        memset(list, 0, sizeof list);
        outputs = (qu_hash){0}; /* what lies behind a list is not written */
    }
    return bad;
}

/* --- the table --- */

static const parity_entry TABLE[] = {
    {"attend_split, merge", "qu_attend_ref", 2e-6, check_attend_split},
    {"attend of f32, f16, q8, q4", "qu_codec_decode, qu_rope_page", 0, check_stored},
    {"attend_split with lists", "qu_attend_ref", 2e-6, check_attend_lists},
    {"attend_split, far field", "qu_attend_ref, members repeated", 4e-6, check_far_field},
    {"attend_direct", "qu_attend_ref", 2e-6, check_attend_direct},
    {"attend_direct, 40 pages", "qu_attend_ref", 2e-6, check_attend_long},
    {"place_summary", "qu_rope_vector", 0, check_place_summary},
    {"sense", "qu_attend_mass", 2e-6, check_sense},
    {"cut", "qu_policy_cut", 0, check_cut},
    {"lists", "a loop", 0, check_lists},
};

int main(void)
{
    return parity_main(TABLE, (int)(sizeof TABLE / sizeof *TABLE));
}
