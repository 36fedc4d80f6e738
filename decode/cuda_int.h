/* A model and a context on a CUDA device: shared by cuda_model.c (weights), cuda_memory.c (pieces,
 * kept pages), cuda_pages.c (page copies), cuda_select.c (choosing) and cuda_forward.c (the pass).
 * Order of work: the compute stream runs the layers, the copy stream brings slices and takes fresh
 * ones away; marks order the two. Memory is given back only between passes, and the copy stream
 * begins a pass behind the last one's end, so what is reused is no longer read. */
#ifndef QU_DECODE_CUDA_INT_H
#define QU_DECODE_CUDA_INT_H

#include "decode/context_int.h"
#include "kernels/codec.h"
#include "kernels/cuda/ops.h"

typedef struct qu_cuda_matrix {
    void *w;
    float *bias;
} qu_cuda_matrix;

typedef struct qu_cuda_layer {
    float *attn_norm, *ffn_norm, *q_norm, *k_norm;
    qu_cuda_matrix q, k, v, o, gate, up, down;
} qu_cuda_layer;

/* Rows of a document product: fewer are padded, so that cuBLAS always sees one shape. A chunk of
 * decode/context.c. */
enum { QU_CUDA_ROWS = QU_PAGE_TOKENS * 4 };

/* Grow-only memory, of the device or pinned. Contents are lost when it grows. */
typedef struct qu_cuda_buffer {
    void *p;
    int64_t cap;
} qu_cuda_buffer;

/* Pieces of one size from chunks that are kept until the end. */
typedef struct qu_cuda_pool {
    int64_t bytes; /* of a piece */
    void **chunks, **spare;
    int64_t n_chunks, chunks_cap, n_spare, spare_cap, n_pieces;
} qu_cuda_pool;

/* A segment there: one piece with its table of slices [L * G], cosines and sines. A page that has a
 * key (qu_page_source) outlives its context, so that the next question finds its slices. */
typedef struct qu_cuda_segment {
    void *piece;
    int64_t pos; /* that the angles are of */
    uint64_t key[2];
    int32_t n, codec;
    void *slices[]; /* [L * G] pieces, filled; NULL: not resident */
} qu_cuda_segment;

struct qu_device {
    qu_cuda *cu;
    qu_cuda_layer *layers; /* [L] */
    qu_cuda_matrix output;
    void *embedding;
    float *output_norm;
    int32_t *rope_rows; /* [L * G], NULL: all 0 */
    qu_cuda_rope rope;
    struct qu_cuda_context *idle; /* of an ended context: its memory serves the next */
    void *stage;                  /* while weights travel */
    void **owned; /* every allocation of weights */
    int64_t n_owned, owned_cap;
    /* segments, live slices, stored ones of each codec; for the contexts of one thread */
    qu_cuda_pool heads, live, stored[QU_CODEC_COUNT];
    qu_cuda_segment **kept; /* pages that no context has, latest last */
    int64_t n_kept, kept_cap, n_slices;
    int64_t chunk_bytes, room_bytes, taken_bytes; /* of stored slices: a chunk, at most, now */
};

enum { MARK_PASS, MARK_COPIED, MARK_STAGE, MARK_STAGE2, MARK_FRESH };
enum { MARK_TAKEN = MARK_FRESH + 1, MARK_TAKEN2, MARK_WAY };

/* What changes with every pass, brought by one copy. */
typedef struct qu_cuda_step {
    int32_t ids[QU_CUDA_ROWS], own[QU_CUDA_ROWS], at[QU_CUDA_ROWS];
    qu_cuda_page pages[];
} qu_cuda_step;

/* Passes that give the compute stream the same work but for what lies in the step: what they have
 * in common, and that work as a graph once it is known to change nothing else. */
typedef struct qu_cuda_recipe {
    struct {
        int64_t segments, last, epoch, n, n_logits, choices, hooked;
    } of;
    int64_t changes; /* that had been counted when the last of these passes ended */
    bool steady;     /* it counted none itself */
    qu_cuda_graph *graph;
} qu_cuda_recipe;
enum { QU_CUDA_RECIPES = 8 };

typedef struct qu_cuda_context {
    struct qu_device *d;
    qu_cuda *cu;
    struct {
        qu_cuda_buffer x, h, q, k, v, att, gate, up, logits, choices; /* rows */
        qu_cuda_buffer xb, wb;                               /* bf16: rows padded, a matrix */
        qu_cuda_buffer step, partial;
        /* slices on their way in and out */
        qu_cuda_buffer stage[2], items[2], fresh[2], fresh_items;
        qu_cuda_buffer cells[7], summary, score, sense, chosen, all, candidate, list, count;
    } b; /* on the device */
    struct {
        qu_cuda_buffer stage[2], items[2], fresh[2], chosen;
    } pinned;
    qu_cuda_step *step;
    int64_t step_cap;
    qu_cuda_rows rows;
    qu_cuda_recipe recipes[QU_CUDA_RECIPES];
    int32_t next_recipe;
    int64_t changes; /* of what a graph may depend on: memory that grew or came, lists made anew */
    /* choosing; valid while c->sel.loaded */
    qu_cuda_clusters clusters;
    int32_t epoch, list_segments;
    int32_t chosen, told; /* layers of this pass: chosen there, known here */
} qu_cuda_context;

static inline qu_cuda_context *qu_cuda_of(const qu_context *c)
{
    return c->device;
}
static inline qu_cuda_segment *qu_cuda_segment_of(const qu_segment *s)
{
    return s->device;
}

/* cuda_memory.c */
qu_status qu_cuda_need(qu_cuda_context *x, qu_cuda_buffer *b, int64_t bytes, qu_err *err);
qu_status qu_cuda_need_host(qu_cuda_context *x, qu_cuda_buffer *b, int64_t bytes, qu_err *err);
/* What is free now, but for a reserve, is for pages. */
qu_status qu_cuda_pools_open(struct qu_device *d, const qu_model *m, qu_err *err);
void qu_cuda_pools_close(struct qu_device *d);
/* A segment's part there: a kept page's with what of it is resident, else a new one. */
qu_status qu_cuda_take_segment(qu_context *c, qu_segment *s, qu_err *err);
/* The context leaves it: kept, where it has a key and memory allows. */
void qu_cuda_forget(qu_context *c, qu_segment *s);
/* A piece for a slice, live or stored, that this layer is about to read (-1: none yet). Where there
 * is no room, kept pages go first, the oldest one first, then this context's stored slices of other
 * layers: these are fetched again when next read. Errors: QU_ERR_NOMEM when nothing can go,
 * QU_ERR_GPU. */
qu_status qu_cuda_take_slice(qu_context *c, bool live, int32_t layer, void **piece, qu_err *err);
void qu_cuda_give_slice(qu_context *c, bool live, void **piece);

/* cuda_forward.c: give back all memory of a context (NULL is fine). */
void qu_cuda_leave(qu_cuda_context *x);

/* cuda_pages.c: every segment has its table and angles there; those of the pass's rows have all
 * slices. Then the rows and the array of pages as kernels see them. */
qu_status qu_cuda_step_there(qu_context *c, qu_err *err);
/* Bring what use [segments, G] asks for (NULL: everything) in that layer; the compute stream
 * waits. */
qu_status qu_cuda_fetch(qu_context *c, int32_t layer, const uint8_t *use, qu_err *err);
/* Document phase: encode the pass's pages in that layer, make them resident, start their way to the
 * host; deliver gives the sink what an earlier layer started. */
qu_status qu_cuda_place_pages(qu_context *c, int32_t layer, bool out, qu_err *err);
qu_status qu_cuda_deliver(qu_context *c, int32_t layer, const qu_page_sink *sink, int32_t page_zero,
                          qu_err *err);

/* cuda_select.c: what each head of a layer reads: choose if this pass does, fill lists and far
 * field of a, fetch. End: the host learns of the choices that nothing had to wait for. */
qu_status qu_cuda_select(qu_context *c, int32_t layer, qu_cuda_attend *a, qu_err *err);
qu_status qu_cuda_select_end(qu_context *c, qu_err *err);

#endif
