/* Lists of what a walk leaves out, in the language of .gitignore.
 *
 *     qu_ignore g = {0};
 *     QU_TRY(qu_ignore_add(&g, "*.log\n!keep.log\n/build/\n", 23, strlen("/docs"), err));
 *     if (qu_ignore_match(&g, "/docs/a/x.log", false) > 0) leave_out();
 *     qu_ignore_free(&g);
 *
 * A line is a pattern; an empty one, or one that begins with '#', is none. "!" in front takes back
 * what an earlier line left out; "/" at the end means folders only; "/" elsewhere ties the pattern
 * to the folder of the list, else it may match a name at any depth. "*" and "?" match no "/", "**"
 * also those, "**" between slashes any number of folders, "[a-z]" and "[!a-z]" one character; "\"
 * takes the next one as it is. Trailing blanks do not count. Where lines disagree the last one
 * holds; one that is no pattern, as with a "[" that is not closed, says nothing. Patterns are
 * PCRE2's, whose limits bound the time. No shared state.
 */
#ifndef QU_INGEST_IGNORE_H
#define QU_INGEST_IGNORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* One line. Private. */
typedef struct qu_ignore_rule {
    struct pcre2_real_code_8 *glob;
    size_t base;
    bool negated, folder, tied;
} qu_ignore_rule;

/* Zero-initialise. */
typedef struct qu_ignore {
    qu_ignore_rule *v;
    size_t n;
    int64_t cap;
} qu_ignore;

/* Append the lines of text[0, n), the list of the folder that is the first base bytes of the paths
 * to come. Errors: QU_ERR_NOMEM. */
qu_status qu_ignore_add(qu_ignore *g, const char *text, size_t n, size_t base, qu_err *err);

/* Forget all but the first n rules. */
void qu_ignore_cut(qu_ignore *g, size_t n);

/* What the last line that matches says: 1 leave out, -1 do not, 0 if none matches. path is below
 * the folders of all lists. */
int qu_ignore_match(const qu_ignore *g, const char *path, bool folder);

void qu_ignore_free(qu_ignore *g);

#endif
