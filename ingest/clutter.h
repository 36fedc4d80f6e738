/* Which parts of a web page are its text, and which are what every page of the site has around it:
 * menus, teasers, adverts, forms.
 *
 *     qu_clutter c = {0};
 *     QU_TRY(qu_clutter_open(&c, &hints, err));     first reading: an element begins ...
 *     qu_clutter_text(&c, p, n, in_link);           ... text directly in it ...
 *     qu_clutter_close(&c);                         ... and it ends
 *     qu_clutter_decide(&c);
 *     QU_TRY(qu_clutter_open(&c, &hints, err));     second reading: the same elements again
 *     if (!c.cut) use(text);
 *
 * Running text is text of 80 bytes and more in one element of which less than a third is links. The
 * body is the smallest element that holds nearly all of it. What is cut, besides menus, footers and
 * controls by their tag:
 *   the page says that it is an article (Open Graph, schema.org, its only <article>): all outside
 *       of the body but the headline and what has a fifth of its running text and few links; inside
 *       what is named like clutter or hidden and has links or no running text, and blocks of links
 *   else: outside of the body, what has no running text and is named like clutter and has links, or
 *       is links where the page has little else but its body. Nothing inside. Reference manuals
 *       lose their side bars, no entry and no table.
 *   no body: nothing. A page of which nothing would be left is kept whole.
 * Private to ingest/ and its tests. No shared state; time and memory linear in the elements, of
 * which 2^20 are looked at.
 */
#ifndef QU_INGEST_CLUTTER_H
#define QU_INGEST_CLUTTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct qu_clutter_node qu_clutter_node;

/* Zero-initialise. */
typedef struct qu_clutter {
    qu_clutter_node *v; /* [0] is the page */
    int64_t n, cap;
    int64_t n_articles;
    int64_t open;  /* the innermost open element */
    int64_t stray; /* open elements beyond the limit */
    int64_t next;  /* in the second reading: the element that begins next, 0 in the first */
    bool article;  /* the page says that it is one */
    bool cut;      /* in the second reading: what stands here is clutter */
} qu_clutter;

/* What is known of an element when it begins. */
typedef struct qu_clutter_hints {
    const char *names; /* class, id and role in one string; read at once */
    bool body;         /* it may be the body: a division, section, table; not a paragraph */
    bool main;         /* <main>, <article> */
    bool article;      /* it says that it is an article */
    bool headline;     /* the page's own heading */
    bool hidden;       /* not shown */
    bool aside;        /* by its tag beside the text */
    bool chrome;       /* by its tag a menu, footer or control */
} qu_clutter_hints;

/* An element begins inside the open one. Errors: QU_ERR_NOMEM. */
qu_status qu_clutter_open(qu_clutter *c, const qu_clutter_hints *hints, qu_err *err);

/* The innermost open element ends. */
void qu_clutter_close(qu_clutter *c);

/* n bytes of text directly inside the open element. */
void qu_clutter_text(qu_clutter *c, const char *p, int64_t n, bool in_link);

/* The first reading is over. Open and close are then called a second time for the same elements,
 * and cut tells after each what stands there. */
void qu_clutter_decide(qu_clutter *c);

void qu_clutter_free(qu_clutter *c);

#endif
