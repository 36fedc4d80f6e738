/* Inside a context: shared by context.c (segments), forward.c (layers) and attention.c. */
#ifndef QU_DECODE_CONTEXT_INT_H
#define QU_DECODE_CONTEXT_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dims.h"
#include "decode/context.h"
#include "kernels/attend.h"
#include "kernels/codec.h"

/* Page attention works on blocks of this many tokens (times the heads of a KV group). */
enum { QU_ATTEND_TOKENS = 16 };

/* Rows of a pass at most, here and on a device. */
enum { QU_PASS_ROWS = QU_PAGE_TOKENS * 8, QU_DEVICE_ROWS = QU_PAGE_TOKENS * 4 };

/* A segment's resident form: [L][G] of (kt [D,n_pad], v [n_pad,Dp]), made when first needed and
 * filled slice by slice. Halves, which halves memory and traffic, but floats where the codec is f32
 * and in live segments, and bytes where the hook allows it. Live ones are QU_PAGE_TOKENS wide from
 * the start and fill up. */
typedef struct qu_segment {
    int32_t n, n_pad;
    int64_t pos;
    bool live;
    int32_t hidden, n_hidden; /* earlier segments that its rows do not see */
    qu_page_source source; /* get NULL: prefilled or live, always resident */
    qu_attend_type type;
    char *kv;         /* NULL until the first slice */
    uint8_t *ready;   /* [L * G] is that slice resident? */
    float *cos, *sin; /* [n_ropes][D/2 + 1, n_pad] of its positions: qu_segment_angles */
    void *device;     /* the backend's: what of it lies there */
} qu_segment;

/* The rows of one forward pass. own[t]: their segment; at[t]: their place in it. Rows of a segment
 * are consecutive. */
typedef struct qu_rows {
    int32_t n;
    bool question; /* live ones, of the first step: else of the answer */
    const int32_t *ids;
    int32_t own[QU_PASS_ROWS], at[QU_PASS_ROWS];
} qu_rows;

/* What one worker read of a fetch, or its first error. */
typedef struct qu_fetch_share {
    qu_status st;
    qu_err err;
    int64_t slices, bytes;
} qu_fetch_share;

/* Grow-only buffers, kept between passes. */
typedef struct qu_scratch {
    int32_t rows;                               /* capacity of the next line */
    float *x, *h, *q, *k, *v, *att, *gate, *up; /* [rows, ...] */
    uint8_t *use;                               /* [segments, G] */
    float *worker;  /* attention and codec scratch, one block a worker */
    float *partial; /* per-page partial states of split attention */
    int32_t *parts; /* the pages that each head reads, and what is left of split items */
    float *lora;    /* an adapter's low-rank and full products */
    qu_fetch_share *share; /* [workers] */
    int64_t use_cap, worker_cap, partial_cap, parts_cap, lora_cap, share_cap;
    void *slices;    /* encoded slices of a chunk, one layer */
    char *summaries; /* of a chunk's pages, each [L][G] */
    int64_t slices_cap, summaries_cap;
} qu_scratch;

/* select.c: the candidates' clusters and what was chosen of them; see there. */
typedef struct qu_selection {
    bool loaded, far; /* far: this layer's far field has something to say */
    bool senses;      /* this pass chooses */
    int32_t epoch;
    int32_t n_pages;
    int32_t *segment, *tokens;  /* [n_pages] */
    const void **summary;       /* [n_pages] borrowed */
    int32_t *first;             /* [n_pages + 1] clusters */
    qu_attend_type type;        /* of clusters */
    struct qu_part *parts;      /* [n_parts] runs of pages */
    int32_t n_parts, n_columns; /* of all parts */
    int32_t *column;            /* [n_pages + 1] where a page's begin */
    int64_t head_bytes;         /* of all parts of a head */
    char *clusters;             /* [L][G][parts] of (kt, v, spread) */
    float *bias, *hidden;       /* [L][G][n_columns], and with the chosen pages hidden */
    int32_t *hidden_epoch;      /* [L] whose choice that is, -1: none's */
    uint8_t *chosen;            /* [n_epochs][L][n_pages, G] */
    float *q;
    int64_t q_cap, chosen_cap;
} qu_selection;

/* What repair.c puts into a pass: placing rows anywhere in their pages, and looking on. */
typedef struct qu_pass_hook {
    /* Document phase, instead of whole pages: place the keys and values of c->rows. */
    qu_status (*place)(qu_context *c, int32_t layer, qu_err *err);
    /* After a layer's attention: its queries are in c->s.q, the slices it read are resident. */
    qu_status (*attended)(qu_context *c, int32_t layer, qu_err *err);
    void *ctx;
} qu_pass_hook;

/* Another place to run a context: it shares all bookkeeping of segments and positions and replaces
 * the pass. forward: qu_forward. forget: drop what a segment has there. free: everything. */
typedef struct qu_backend {
    qu_status (*forward)(qu_context *c, bool document, const qu_page_sink *sink, int32_t page_zero,
                         int32_t n_logits, float *logits, qu_err *err);
    void (*forget)(qu_context *c, qu_segment *s);
    void (*free)(qu_context *c);
} qu_backend;

struct qu_context {
    const qu_backend *backend; /* NULL: this processor */
    void *device;              /* the backend's */
    const qu_model *m;
    qu_pool *pool;
    int codec;
    qu_segment page; /* no segment: the angles of a page that stands at 0 */
    qu_segment *seg;
    int32_t n_seg, first_live; /* first_live = n_seg when there is no live token */
    int64_t seg_cap, n_live, live_pos;
    qu_select_hook hook;
    void (*watch)(void *ctx, int32_t layer, const float *q, int32_t n_rows);
    void *watch_ctx;
    qu_selection sel;
    int64_t n_question;       /* live tokens of the first step */
    const qu_pass_hook *pass; /* NULL but while repair.c runs */
    struct qu_batch *batch;   /* NULL: its products are its own */
    int32_t batch_at;         /* products of this pass so far */
    qu_scratch s;
    qu_linear_scratch *linear;
    qu_context_stats stats;
    qu_rows rows;
    qu_choice *choices; /* on a device: NULL, or what this pass gives instead of logits */
};

/* Bytes of one KV head's block: kt, then v. */
static inline int64_t qu_segment_head_bytes(const qu_model *m, const qu_segment *s)
{
    return qu_attend_kt_bytes(s->type, m->head_size, s->n_pad) +
           qu_attend_v_bytes(s->type, m->head_size, s->n_pad);
}

/* How its pages are held, and what choosing looks at. */
static inline qu_attend_type qu_context_type(const qu_context *c)
{
    return c->codec == QU_CODEC_F32 ? QU_ATTEND_FLOATS : QU_ATTEND_HALVES;
}

/* context.c: make the segment's memory if it is not there. */
qu_status qu_segment_need(qu_context *c, qu_segment *s, qu_err *err);

/* context.c: the summary of an encoded slice of n tokens alone. */
void qu_segment_summarise(qu_context *c, int32_t n, int32_t layer, int32_t g, const void *slice,
                          void *summary, int worker);

/* Where the keys and the values of one slice lie. */
static inline void *qu_segment_kt(const qu_model *m, const qu_segment *s, int32_t layer, int32_t g)
{
    int64_t slice = (int64_t)layer * m->n_kv_heads + g;
    return s->kv + slice * qu_segment_head_bytes(m, s);
}

static inline void *qu_segment_v(const qu_model *m, const qu_segment *s, int32_t layer, int32_t g)
{
    return (char *)qu_segment_kt(m, s, layer, g) +
           qu_attend_kt_bytes(s->type, m->head_size, s->n_pad);
}

/* One slice as attention reads it. */
static inline qu_attend_kv qu_segment_kv(const qu_model *m, const qu_segment *s, int32_t layer,
                                         int32_t g)
{
    void *kt = qu_segment_kt(m, s, layer, g), *v = qu_segment_v(m, s, layer, g);
    return (qu_attend_kv){kt, v, NULL, s->type, s->n, s->n_pad, NULL, NULL};
}

/* Where the angles of one RoPE row (qu_model_rope) begin in a segment's cos and sin. */
static inline int64_t qu_segment_angles(const qu_model *m, const qu_segment *s, int32_t row)
{
    return (int64_t)row * (m->head_size / 2 + 1) * s->n_pad;
}

/* context.c: make one slice resident from its encoded bytes: decode, rotate into place, round.
 * summary: NULL, or where its qu_summary goes. */
void qu_segment_fill(qu_context *c, qu_segment *s, int32_t layer, int32_t g, const void *slice,
                     void *summary, int worker);

/* batch.c: products of a step together with those of other threads, of a question's rows or of an
 * answer's; at: how far the pass is. Errors: QU_ERR_NOMEM. */
qu_status qu_batch_linear(struct qu_batch *b, int32_t at, bool question, const qu_linear_job *jobs,
                          int n_jobs, const float *x, int64_t ldx, int32_t n_rows, qu_err *err);

/* forward.c: run c->rows through the layers. document: the document phase; its slices go to sink
 * (may be NULL) as page = segment - page_zero. logits [n_logits,V] of the last rows, or NULL with
 * 0, or with c->choices [n_logits]. */
qu_status qu_forward(qu_context *c, bool document, const qu_page_sink *sink, int32_t page_zero,
                     int32_t n_logits, float *logits, qu_err *err);

/* attention.c: att [T, H D] of the rows in c->rows, queries c->s.q rotated and scaled, over all
 * segments that the hook (question phase) lets through. */
qu_status qu_attention(qu_context *c, int32_t layer, bool hooked, qu_err *err);

/* attention.c: make resident what use [segments, G] asks for in that layer. Bytes read are counted
 * by half slices: 2 whole, 1 keys alone, 0 not at all. */
qu_status qu_attention_fetch(qu_context *c, int32_t layer, const uint8_t *use, int halves,
                             qu_err *err);

/* attention.c: run body over n items, whose workers call qu_fetch_slice: the encoded bytes of a
 * slice, false after an error. Counts what was read; returns the first error. */
qu_status qu_fetch_all(qu_context *c, int64_t n, void (*body)(void *ctx, int64_t item, int worker),
                       void *ctx, int halves, qu_err *err);
bool qu_fetch_slice(qu_context *c, const qu_segment *s, int32_t layer, int32_t g, int worker,
                    const void **data);

/* forward.c: the pages of a document pass; room in c->s.summaries for theirs, page p's from at[p]
 * on (at [pages + 1]); a layer's encoded slices, stride apart, to the sink, and after the last
 * layer the summaries (at NULL: none). */
int32_t qu_pass_pages(const qu_context *c);
qu_status qu_pass_summaries(qu_context *c, int64_t *at, qu_err *err);
qu_status qu_pass_deliver(qu_context *c, int32_t layer, const qu_page_sink *sink, int32_t page_zero,
                          const char *slices, int64_t stride, const int64_t *at, qu_err *err);
/* Bytes between encoded slices: a full page's, rounded up to 64. */
int64_t qu_slice_stride(const qu_context *c);
/* QU_ERR_CORRUPT where one of n logits is not a number. */
qu_status qu_check_logits(const qu_context *c, const float *logits, int64_t n, qu_err *err);

/* select.c: take from c->s.use what the hook does not choose in this layer, and set c->sel.far. */
qu_status qu_selection_apply(qu_context *c, int32_t layer, qu_err *err);
/* select.c, for a backend: find the candidates (segment, tokens, first, n_pages, summary) unless
 * that is done; what an epoch chose in a layer, [n_pages, G]. */
qu_status qu_selection_find(qu_context *c, qu_err *err);
qu_status qu_selection_chosen(qu_context *c, int32_t epoch, int32_t layer, uint8_t **chosen,
                              qu_err *err);
/* The clusters of what was not chosen, cut into parts of as many keys as a page has. */
int32_t qu_selection_far_parts(const qu_context *c);
qu_attend_kv qu_selection_far(const qu_context *c, int32_t layer, int32_t g, int32_t part);
/* Free everything: candidates are found anew at the next step. */
void qu_selection_clear(qu_selection *s);

/* Floats of scratch a worker needs for one attention item, one slice to decode or summarise. */
int64_t qu_attention_worker_floats(const qu_context *c);

#endif
