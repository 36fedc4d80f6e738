/* Ranked cut points: where a text may be cut into pieces. Made by ingest/, used by decode/ for
 * pages. */
#ifndef QU_BASE_CUT_H
#define QU_BASE_CUT_H

#include <stdint.h>

/* How good a place is for a new piece to begin; smaller is better. */
typedef enum qu_cut_rank {
    QU_CUT_HEADING = 0,   /* before a heading */
    QU_CUT_PARAGRAPH = 1, /* after a blank line, or at an HTML block */
    QU_CUT_LINE = 2,      /* a line that means something: list item, table row, log or code line */
    QU_CUT_SENTENCE = 3,  /* between sentences, or between a heading and its first paragraph */
    QU_CUT_WORD = 4, /* a wrapped line of prose, or forced where nothing better is within 2 KiB */
} qu_cut_rank;

/* Text byte offset at which a new piece may begin: the first byte of a character, never a line
 * break; a paragraph or line begins with its indentation. */
typedef struct qu_cut {
    int64_t at;
    int8_t rank; /* qu_cut_rank */
} qu_cut;

#endif
