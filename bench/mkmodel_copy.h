/* The weights of the copy model: two attention layers, written down, that answer "what followed
 * this word?" exactly: an induction circuit with a look-back head and a sink.
 *
 * The residual row of a token, in channels (const is 1 for every token):
 *
 *     0        32       45  48        64         112       128      160
 *     | needle | filler |ENC| .  .  . | previous | .  .  . | asked  |const| ...
 *       content of this token (48)      token's     most recent needle word,
 *       E end, N newline, C colon       content     seen by a colon only
 *
 * Content codes all have squared length 4: a needle word (a, b) is sqrt 2 on channels a and 16 + b;
 * end, newline and colon are 2 on a channel of their own; every other token is five of the 13
 * filler channels. Equal words match with 4, needle words that share a half with 2, other words
 * with 3.2 at most.
 *
 *     layer 0, KV head 0  "previous": fast RoPE pairs, the query turned one back; copies content
 *     layer 0, KV head 1  "asked": a colon's query looks for needle words about 8 tokens back (as
 *                         in "... badar\nAnswer:"); all other queries rest on the end token at 0
 *     layer 1, KV head 0  "match": query = content + asked, key = previous, value = content; added
 *                         with gain 8, so that it outweighs the token's own content in the logits.
 *                         A colon takes needle words only, lest it find the key in the question.
 *
 * A newline has no query and an unknown word no full match: both rest on the sink, the end token at
 * position 0, scored between a full and a partial match. So answers end with newline and <|end|>,
 * and a question without an answer gets <|end|> at once. All query heads of a KV head do the same
 * and share the output; every other head, layer and channel is zero. No block of 32 mixes
 * magnitudes, so Q8_0 and Q4_0 keep the circuit nearly as it is written.
 *
 * Content is matched on slow pairs: with RoPE base 1e20 and heads of 64 the last 23 pairs turn by
 * less than .08 within 32,768 tokens; the pair before them, by .33, carries what need not be exact.
 *
 * For policies that bound a page's keys channel by channel (Quest): a page without needle words
 * stays at 0 for a needle query. One with many needle words soon holds both halves of any other,
 * and its bound is as high as the right page's: keep such words to a few a page.
 */
#ifndef BENCH_MKMODEL_COPY_H
#define BENCH_MKMODEL_COPY_H

#include <math.h>

#include "bench/mkmodel_vocab.h"

enum {
    COPY_NEEDLE = 0, COPY_N_NEEDLE = 32, COPY_FILLERS = 32, COPY_N_FILLER = 13,
    COPY_END = 45, COPY_NEWLINE = 46, COPY_COLON = 47, COPY_N_CONTENT = 48, COPY_N_MATCH = 45,
    COPY_PREVIOUS = 64, COPY_ASKED = 128, COPY_CONST = 160, COPY_MIN_WIDTH = 192,
    COPY_HEAD = 64, COPY_SLOW_PAIR = 8, COPY_N_FAST = 6,
};
#define COPY_ROPE_BASE 1e20

static const double copy_gain = 8;          /* of what was matched over what the token itself is */
static const double copy_match = 16;        /* score for one unit of match, four units a full one */
static const double copy_sink = 3.5;        /* units that the sink is worth */
static const double copy_colon_needle = 1;  /* units that needle words gain when a colon asks */
static const double copy_colon_sink = 4.5;  /* and what the sink is worth then */
static const double copy_previous = 40;     /* score for each pair of the previous head */
static const double copy_asked_place = 24;  /* score for each pair of the asked head */
static const double copy_asked_needle = 80; /* its bonus for needle words */
static const double copy_asked_sink = 20;   /* and what a query that does not ask gives the sink */
static const double copy_asked_back = 8;    /* where it looks, in tokens before the colon */
static const double copy_logit = 4;         /* logits for one unit of match, before the gain */

typedef struct copy_shape {
    int width, head_size, group; /* group: query heads a KV head */
    double eps;                  /* of RMSNorm */
} copy_shape;

/* The content code of a token, added to row with gain. */
static void copy_content(float *row, int64_t id, double gain) {
    static int combo[1287][5], n_combos;
    if (!n_combos)
        for (int m = 0; m < 1 << COPY_N_FILLER; m++) {
            if (__builtin_popcount((unsigned)m) != 5) continue;
            for (int b = 0, at = 0; b < COPY_N_FILLER; b++)
                if (m >> b & 1) combo[n_combos][at++] = b;
            n_combos++;
        }
    if (id == MK_END) {
        row[COPY_END] += (float)(2 * gain);
    } else if (id == MK_BYTE + '\n') {
        row[COPY_NEWLINE] += (float)(2 * gain);
    } else if (id == MK_BYTE + ':') {
        row[COPY_COLON] += (float)(2 * gain);
    } else if (id >= MK_NEEDLE && id < MK_NEEDLE + MK_N_NEEDLE) {
        row[COPY_NEEDLE + (id - MK_NEEDLE) / 16] += (float)(sqrt(2) * gain);
        row[COPY_NEEDLE + 16 + (id - MK_NEEDLE) % 16] += (float)(sqrt(2) * gain);
    } else {
        int64_t i = id < MK_NEEDLE ? id : id - MK_N_NEEDLE;
        if (i >= n_combos) mk_die(1, "too many words for the copy model's codes");
        for (int j = 0; j < 5; j++) row[COPY_FILLERS + combo[i][j]] += (float)(sqrt(.8) * gain);
    }
}

static void copy_embedding(float *row, int64_t id, int n_words, bool output) {
    if (id < n_words) copy_content(row, id, 1);
    if (!output) row[COPY_CONST] = 1;
}

/* A norm's one weight, so that a row of that squared length passes unchanged. */
static float copy_norm(const copy_shape *c, double squared_length) {
    return (float)sqrt(squared_length / c->width + c->eps);
}

/* Pair p of the fast ones stands at 2 p step in a head: the same speeds for every head size. */
static int copy_fast_dim(const copy_shape *c, int p) {
    return 2 * p * (c->head_size / COPY_HEAD);
}

static double copy_speed(int p) {
    return pow(COPY_ROPE_BASE, -2.0 * p / COPY_HEAD);
}

static int copy_slow_dim(const copy_shape *c) {
    return 2 * COPY_SLOW_PAIR * (c->head_size / COPY_HEAD);
}

/* Which fast pair a head dimension belongs to, and whether it is the pair's second; -1 = none. */
static int copy_pair_of(const copy_shape *c, int dim, int *second) {
    *second = dim & 1;
    for (int p = 0; p < COPY_N_FAST; p++)
        if (copy_fast_dim(c, p) == (dim & ~1)) return p;
    return -1;
}

/* One row of Wq (query) or Wk of layer 0: what head dimension dim takes from the channels. */
static void copy_row_layer0(float *row, const copy_shape *c, int kv_head, int dim, bool query) {
    double root = sqrt(sqrt(c->head_size)); /* q . k is divided by sqrt(head size): half each */
    int second, pair = copy_pair_of(c, dim, &second), slow = dim - copy_slow_dim(c);
    double back = kv_head == 0 ? 1 : copy_asked_back;
    double place = root * sqrt(kv_head == 0 ? copy_previous : copy_asked_place);
    if (kv_head == 0 && pair >= 0) {
        double angle = query ? -back * copy_speed(pair) : 0;
        row[COPY_CONST] = (float)(place * (second ? sin(angle) : cos(angle)));
    } else if (kv_head == 1 && pair >= 1) {
        double angle = query ? -back * copy_speed(pair) : 0;
        row[query ? COPY_COLON : COPY_CONST] =
            (float)(place * (second ? sin(angle) : cos(angle)) / (query ? 2 : 1));
    } else if (kv_head == 1 && slow == 0) { /* colons, 2 long, seek needle words, sqrt 8 */
        double bonus = root * sqrt(copy_asked_needle);
        if (query) row[COPY_COLON] = (float)(bonus / 2);
        for (int i = 0; i < COPY_N_NEEDLE && !query; i++) row[i] = (float)(bonus / sqrt(8));
    } else if (kv_head == 1 && slow == 1) {
        double sink = root * sqrt(copy_asked_sink);
        row[query ? COPY_CONST : COPY_END] = (float)(query ? sink : sink / 2);
    }
}

/* The same for the match head of layer 1: slow dimension 0 is the needle bonus of colons, 2 to 46
 * are the match, 47 is the sink. A colon that asks is longer by 4, so the norm shrinks its row:
 * shrunk undoes it. */
static void copy_row_layer1(float *row, const copy_shape *c, int kv_head, int dim, bool query) {
    double root = sqrt(sqrt(c->head_size)), unit = root * sqrt(copy_match), shrunk = sqrt(13.0 / 9);
    int slow = dim - copy_slow_dim(c), match = slow - 2;
    if (kv_head != 0 || slow < 0) return;
    if (slow == 0) {
        double bonus = unit * sqrt(copy_colon_needle);
        if (query) row[COPY_COLON] = (float)(bonus * shrunk / 2);
        for (int i = 0; i < COPY_N_NEEDLE && !query; i++) row[i] = (float)(bonus / sqrt(8));
    } else if (match >= 0 && match < COPY_N_MATCH) {
        row[query ? match : COPY_PREVIOUS + match] = (float)unit;
        if (query && match < COPY_N_NEEDLE) row[COPY_ASKED + match] = (float)(unit * shrunk);
    } else if (match == COPY_N_MATCH) {
        double sink = unit * sqrt(copy_sink);
        row[query ? COPY_CONST : COPY_END] = (float)(query ? sink : sink / 2);
        if (query) row[COPY_COLON] = (float)(sink * (copy_colon_sink / copy_sink * shrunk - 1) / 2);
    }
}

/* Row dim of Wv: head dimension dim takes content channel dim. */
static void copy_row_value(float *row, int layer, int kv_head, int dim) {
    int n = layer == 0 && kv_head == 1 ? COPY_N_NEEDLE : COPY_N_CONTENT;
    if (layer < 2 && kv_head < 2 - layer && dim < n) row[dim] = 1;
}

/* Row channel of Wo: the head dimensions that are written to it, shared by the heads of the
 * group. */
static void copy_row_output(float *row, const copy_shape *c, int layer, int channel) {
    int dim = -1, kv_head = 0;
    double gain = 1;
    if (layer == 0 && channel >= COPY_PREVIOUS && channel < COPY_PREVIOUS + COPY_N_CONTENT) {
        dim = channel - COPY_PREVIOUS;
    } else if (layer == 0 && channel >= COPY_ASKED && channel < COPY_ASKED + COPY_N_NEEDLE) {
        dim = channel - COPY_ASKED;
        kv_head = 1;
    } else if (layer == 1 && channel < COPY_N_CONTENT) {
        dim = channel;
        gain = copy_gain;
    }
    for (int h = 0; dim >= 0 && h < c->group; h++)
        row[(kv_head * c->group + h) * c->head_size + dim] = (float)(gain / c->group);
}

#endif
