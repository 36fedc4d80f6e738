// Training kernels in float32 for the reader, used by model.py through torch.utils.cpp_extension.
//
// The layout is packed: all examples of a step lie one after another in a list of N tokens, without
// padding. Attention is described by blocks: the queries [q0,q1) see some earlier ranges of tokens
// completely, and of their own block the tokens from start[i] to themselves. That one form covers a
// document that sees only its own text, a question that sees all pages and itself, and plain causal
// attention cut into chunks.
#include <torch/extension.h>

#include <cblas.h>
#include <cmath>
#include <cstring>
#include <vector>

using at::Tensor;
extern "C" void openblas_set_num_threads(int);

static const int HD = 64; // head size

static float *fp(const Tensor &t) { return t.data_ptr<float>(); }
static int *ip(const Tensor &t) { return t.data_ptr<int>(); }
static Tensor empty_f(at::IntArrayRef s) { return at::empty(s, at::kFloat); }

// Root mean square norm of x + y (y may be empty). Returns the sum, the normed rows and 1/rms of
// each row.
static std::vector<Tensor> norm_forward(Tensor x, Tensor y, Tensor w)
{
    const int64_t d = x.size(1), n = x.size(0);
    const bool add = y.numel() > 0;
    Tensor sum = add ? empty_f({n, d}) : x, out = empty_f({n, d}), inv = empty_f({n});
    const float *px = fp(x), *py = add ? fp(y) : nullptr, *pw = fp(w);
    float *ps = fp(sum), *po = fp(out), *pi = fp(inv);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float ss = 0;
        for (int64_t j = 0; j < d; j++) {
            float v = px[i * d + j] + (add ? py[i * d + j] : 0.f);
            if (add) ps[i * d + j] = v;
            ss += v * v;
        }
        float r = 1.f / std::sqrt(ss / d + 1e-5f);
        pi[i] = r;
        for (int64_t j = 0; j < d; j++) po[i * d + j] = ps[i * d + j] * r * pw[j];
    }
    return {sum, out, inv};
}

// Gradient of the above: dsum may be empty. Returns d(sum) and dw.
static std::vector<Tensor> norm_backward(Tensor sum, Tensor w, Tensor inv, Tensor dout, Tensor dsum)
{
    const int64_t d = sum.size(1), n = sum.size(0);
    const bool more = dsum.numel() > 0;
    Tensor dx = empty_f({n, d}), dw = at::zeros({d}, at::kFloat);
    const float *ps = fp(sum), *pw = fp(w), *pi = fp(inv), *pd = fp(dout);
    const float *pm = more ? fp(dsum) : nullptr;
    float *px = fp(dx), *pg = fp(dw);
#pragma omp parallel
    {
        std::vector<float> acc(d, 0.f);
#pragma omp for schedule(static)
        for (int64_t i = 0; i < n; i++) {
            float r = pi[i], dot = 0;
            for (int64_t j = 0; j < d; j++) {
                float xh = ps[i * d + j] * r;
                acc[j] += pd[i * d + j] * xh;
                dot += pd[i * d + j] * pw[j] * xh;
            }
            dot /= d;
            for (int64_t j = 0; j < d; j++) {
                float g = r * (pd[i * d + j] * pw[j] - ps[i * d + j] * r * dot);
                px[i * d + j] = more ? g + pm[i * d + j] : g;
            }
        }
#pragma omp critical
        for (int64_t j = 0; j < d; j++) pg[j] += acc[j];
    }
    return {dx, dw};
}

// One row of 64: rotate the halves by the angle whose cosines and sines stand in cs (32 and 32).
static void rotate(const float *in, float *out, const float *cs, float sign)
{
    for (int j = 0; j < 32; j++) {
        float a = in[j], b = in[j + 32], c = cs[j], s = sign * cs[j + 32];
        out[j] = a * c - b * s;
        out[j + 32] = a * s + b * c;
    }
}

// qkv [N,(H+2K)*64] to q [K,N,G*64], k and v [K,N,64], rotated to the positions.
static std::vector<Tensor> rope_forward(Tensor qkv, Tensor cs, Tensor pos, int64_t H, int64_t K)
{
    const int64_t n = qkv.size(0), g = H / K, w = (H + 2 * K) * HD;
    Tensor q = empty_f({K, n, g * HD}), k = empty_f({K, n, HD}), v = empty_f({K, n, HD});
    const float *in = fp(qkv), *pc = fp(cs);
    float *pq = fp(q), *pk = fp(k), *pv = fp(v);
    const int *pp = ip(pos);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        const float *row = in + i * w, *c = pc + (int64_t)pp[i] * HD;
        for (int64_t h = 0; h < H; h++)
            rotate(row + h * HD, pq + ((h / g) * n + i) * g * HD + (h % g) * HD, c, 1.f);
        for (int64_t h = 0; h < K; h++) {
            rotate(row + (H + h) * HD, pk + (h * n + i) * HD, c, 1.f);
            memcpy(pv + (h * n + i) * HD, row + (H + K + h) * HD, HD * sizeof(float));
        }
    }
    return {q, k, v};
}

static Tensor rope_backward(Tensor q, Tensor k, Tensor v, Tensor cs, Tensor pos)
{
    const int64_t K = q.size(0), n = q.size(1), g = q.size(2) / HD, H = K * g, w = (H + 2 * K) * HD;
    Tensor out = empty_f({n, w});
    const float *pq = fp(q), *pk = fp(k), *pv = fp(v), *pc = fp(cs);
    float *po = fp(out);
    const int *pp = ip(pos);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float *row = po + i * w;
        const float *c = pc + (int64_t)pp[i] * HD;
        for (int64_t h = 0; h < H; h++)
            rotate(pq + ((h / g) * n + i) * g * HD + (h % g) * HD, row + h * HD, c, -1.f);
        for (int64_t h = 0; h < K; h++) {
            rotate(pk + (h * n + i) * HD, row + (H + h) * HD, c, -1.f);
            memcpy(row + (H + K + h) * HD, pv + (h * n + i) * HD, HD * sizeof(float));
        }
    }
    return out;
}

struct Block {
    int q0, q1, r0, r1; // queries, and which entries of the range table they see
    int64_t keys, prefix, offset; // keys in all, keys of the ranges, place of the weights
};

static int64_t plan(const Tensor &blocks, const Tensor &ranges, int64_t g, std::vector<Block> &out)
{
    const int *b = ip(blocks), *r = ip(ranges);
    int64_t total = 0;
    for (int64_t i = 0; i < blocks.size(0); i++) {
        Block x = {b[4 * i], b[4 * i + 1], b[4 * i + 2], b[4 * i + 3], 0, 0, total};
        for (int j = x.r0; j < x.r1; j++) x.prefix += r[2 * j + 1] - r[2 * j];
        x.keys = x.prefix + x.q1 - x.q0;
        total += x.keys * g * (x.q1 - x.q0);
        out.push_back(x);
    }
    return total;
}

// Copies the rows of a block's keys (or values) into one piece; add == true adds them back instead.
static void gather(const Block &b, const int *r, float *rows, float *piece, bool add)
{
    auto part = [&](int64_t from, int64_t to) {
        int64_t m = (to - from) * HD;
        if (!add) memcpy(piece, rows + from * HD, m * sizeof(float));
        else
            for (int64_t j = 0; j < m; j++) rows[from * HD + j] += piece[j];
        piece += m;
    };
    for (int j = b.r0; j < b.r1; j++) part(r[2 * j], r[2 * j + 1]);
    part(b.q0, b.q1);
}

static void gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                 int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc)
{
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, m, n,
                k, alpha, a, lda, b, ldb, 0.f, c, ldc);
}

// Softmax of one row in place; visible are the ranges and of the own block [s0,s1).
static void softmax_row(float *s, int64_t prefix, int64_t keys, int64_t s0, int64_t s1)
{
    float m = -1e30f, sum = 0;
    for (int64_t j = 0; j < prefix; j++) m = s[j] > m ? s[j] : m;
    for (int64_t j = prefix + s0; j < prefix + s1; j++) m = s[j] > m ? s[j] : m;
    for (int64_t j = 0; j < prefix; j++) sum += s[j] = expf(s[j] - m);
    for (int64_t j = prefix + s0; j < prefix + s1; j++) sum += s[j] = expf(s[j] - m);
    float r = 1.f / sum;
    for (int64_t j = 0; j < prefix; j++) s[j] *= r;
    memset(s + prefix, 0, s0 * sizeof(float));
    for (int64_t j = prefix + s0; j < prefix + s1; j++) s[j] *= r;
    if (prefix + s1 < keys) memset(s + prefix + s1, 0, (keys - prefix - s1) * sizeof(float));
}

// Returns the output [N,H*64] and the weights of all blocks for the backward pass.
static std::vector<Tensor> attention_forward(Tensor q, Tensor k, Tensor v, Tensor blocks,
                                             Tensor ranges, Tensor start)
{
    const int64_t K = q.size(0), n = q.size(1), g = q.size(2) / HD;
    std::vector<Block> bl;
    const int64_t total = plan(blocks, ranges, g, bl);
    Tensor out = empty_f({n, K * g * HD}), probs = empty_f({K, total});
    const int *rg = ip(ranges), *st = ip(start);
    openblas_set_num_threads(1);
#pragma omp parallel for schedule(static, 1)
    for (int64_t h = 0; h < K; h++) {
        std::vector<float> kb, vb, ob;
        for (const Block &b : bl) {
            const int64_t rows = (b.q1 - b.q0) * g;
            kb.resize(b.keys * HD), vb.resize(b.keys * HD), ob.resize(rows * HD);
            gather(b, rg, fp(k) + h * n * HD, kb.data(), false);
            gather(b, rg, fp(v) + h * n * HD, vb.data(), false);
            float *s = fp(probs) + h * total + b.offset;
            const float *qb = fp(q) + (h * n + b.q0) * g * HD;
            gemm(false, true, rows, b.keys, HD, .125f, qb, HD, kb.data(), HD, s, b.keys);
            for (int64_t r = 0; r < rows; r++) {
                int i = b.q0 + r / g;
                softmax_row(s + r * b.keys, b.prefix, b.keys, st[i] - b.q0, i + 1 - b.q0);
            }
            gemm(false, false, rows, HD, b.keys, 1.f, s, b.keys, vb.data(), HD, ob.data(), HD);
            for (int64_t i = b.q0; i < b.q1; i++)
                memcpy(fp(out) + (i * K + h) * g * HD, ob.data() + (i - b.q0) * g * HD,
                       g * HD * sizeof(float));
        }
    }
    openblas_set_num_threads(at::get_num_threads());
    return {out, probs};
}

static std::vector<Tensor> attention_backward(Tensor q, Tensor k, Tensor v, Tensor probs,
                                              Tensor blocks, Tensor ranges, Tensor dout)
{
    const int64_t K = q.size(0), n = q.size(1), g = q.size(2) / HD;
    std::vector<Block> bl;
    const int64_t total = plan(blocks, ranges, g, bl);
    Tensor dq = at::zeros_like(q), dk = at::zeros_like(k), dv = at::zeros_like(v);
    const int *rg = ip(ranges);
    openblas_set_num_threads(1);
#pragma omp parallel for schedule(static, 1)
    for (int64_t h = 0; h < K; h++) {
        std::vector<float> kb, vb, db, gb, ds;
        for (const Block &b : bl) {
            const int64_t rows = (b.q1 - b.q0) * g;
            kb.resize(b.keys * HD), vb.resize(b.keys * HD), gb.resize(b.keys * HD);
            db.resize(rows * HD), ds.resize(rows * b.keys);
            gather(b, rg, fp(k) + h * n * HD, kb.data(), false);
            gather(b, rg, fp(v) + h * n * HD, vb.data(), false);
            for (int64_t i = b.q0; i < b.q1; i++)
                memcpy(db.data() + (i - b.q0) * g * HD, fp(dout) + (i * K + h) * g * HD,
                       g * HD * sizeof(float));
            const float *p = fp(probs) + h * total + b.offset;
            gemm(true, false, b.keys, HD, rows, 1.f, p, b.keys, db.data(), HD, gb.data(), HD);
            gather(b, rg, fp(dv) + h * n * HD, gb.data(), true);
            gemm(false, true, rows, b.keys, HD, 1.f, db.data(), HD, vb.data(), HD, ds.data(),
                 b.keys);
            for (int64_t r = 0; r < rows; r++) {
                const float *pr = p + r * b.keys;
                float *dr = ds.data() + r * b.keys, dot = 0;
                for (int64_t j = 0; j < b.keys; j++) dot += pr[j] * dr[j];
                for (int64_t j = 0; j < b.keys; j++) dr[j] = pr[j] * (dr[j] - dot) * .125f;
            }
            const float *qb = fp(q) + (h * n + b.q0) * g * HD;
            gemm(false, false, rows, HD, b.keys, 1.f, ds.data(), b.keys, kb.data(), HD,
                 fp(dq) + (h * n + b.q0) * g * HD, HD);
            gemm(true, false, b.keys, HD, rows, 1.f, ds.data(), b.keys, qb, HD, gb.data(), HD);
            gather(b, rg, fp(dk) + h * n * HD, gb.data(), true);
        }
    }
    openblas_set_num_threads(at::get_num_threads());
    return {dq, dk, dv};
}

// x [N,2F]: silu of the first half times the second.
static Tensor swiglu_forward(Tensor x)
{
    const int64_t f = x.size(1) / 2, n = x.size(0);
    Tensor out = empty_f({n, f});
    const float *px = fp(x);
    float *po = fp(out);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < f; j++) {
            float a = px[i * 2 * f + j];
            po[i * f + j] = a / (1.f + expf(-a)) * px[i * 2 * f + f + j];
        }
    return out;
}

static Tensor swiglu_backward(Tensor x, Tensor dy)
{
    const int64_t f = x.size(1) / 2, n = x.size(0);
    Tensor out = empty_f({n, 2 * f});
    const float *px = fp(x), *pd = fp(dy);
    float *po = fp(out);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < f; j++) {
            float a = px[i * 2 * f + j], b = px[i * 2 * f + f + j], d = pd[i * f + j];
            float s = 1.f / (1.f + expf(-a));
            po[i * 2 * f + j] = d * b * s * (1.f + a * (1.f - s));
            po[i * 2 * f + f + j] = d * a * s;
        }
    return out;
}

// Cross entropy: logits [M,V] become their own gradient (weighted). Returns loss and hit of each
// row.
static std::vector<Tensor> cross_entropy(Tensor logits, Tensor target, Tensor weight)
{
    const int64_t m = logits.size(0), v = logits.size(1);
    Tensor loss = empty_f({m}), hit = empty_f({m});
    const int *t = ip(target);
    const float *w = fp(weight);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < m; i++) {
        float *l = fp(logits) + i * v, top = -1e30f, sum = 0, own = l[t[i]];
        for (int64_t j = 0; j < v; j++) top = l[j] > top ? l[j] : top;
        for (int64_t j = 0; j < v; j++) sum += l[j] = expf(l[j] - top);
        fp(loss)[i] = logf(sum) + top - own;
        fp(hit)[i] = own >= top;
        float r = w[i] / sum;
        for (int64_t j = 0; j < v; j++) l[j] *= r;
        l[t[i]] -= w[i];
    }
    return {loss, hit};
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m)
{
    m.def("norm_forward", &norm_forward);
    m.def("norm_backward", &norm_backward);
    m.def("rope_forward", &rope_forward);
    m.def("rope_backward", &rope_backward);
    m.def("attention_forward", &attention_forward);
    m.def("attention_backward", &attention_backward);
    m.def("swiglu_forward", &swiglu_forward);
    m.def("swiglu_backward", &swiglu_backward);
    m.def("cross_entropy", &cross_entropy);
}
