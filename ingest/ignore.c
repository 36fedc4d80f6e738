#include "ingest/ignore.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum { MAX_PATTERN_BYTES = 4096 }; /* no path is longer */

/* Does the class at *p, behind its '[', hold c? *p moves behind it; an open one is a '['. */
static bool class_holds(const char **p, unsigned char c)
{
    const char *q = *p;
    bool negated = *q == '!' || *q == '^', found = false;
    q += negated;
    for (const char *first = q; *q && (*q != ']' || q == first); q++) {
        if (*q == '\\' && q[1]) q++;
        unsigned char low = (unsigned char)*q, high = low;
        if (q[1] == '-' && q[2] && q[2] != ']') {
            q += q[2] == '\\' && q[3] ? 3 : 2;
            high = (unsigned char)*q;
        }
        found |= c >= low && c <= high;
    }
    if (*q != ']') return c == '[';
    *p = q + 1;
    return found != negated;
}

/* Does one piece of the pattern at *p match the character at *s? Both move behind it. */
static bool match_one(const char **p, const char **s)
{
    char c = **s, want = *(*p)++;
    (*s)++;
    if (want == '?' || want == '[') {
        if (c == '/' || (want == '[' && !class_holds(p, (unsigned char)c))) return false;
        while (((unsigned char)**s & 0xC0) == 0x80) (*s)++;
        return true;
    }
    if (want == '\\' && **p) want = *(*p)++;
    return c == want;
}

/* Where it fails, the last '*' takes one more character, or else the last "**" one more folder. */
static bool glob(const char *pattern, const char *s)
{
    const char *p = pattern, *star = NULL, *star_s = NULL, *deep = NULL, *deep_s = NULL;
    for (;;) {
        bool begins = p == pattern || p[-1] == '/';
        if (begins && strcmp(p, "**") == 0) return *s != 0;
        if (begins && strncmp(p, "**/", 3) == 0) {
            deep = p += 3;
            deep_s = s;
            star = NULL;
            continue;
        }
        if (*p == '*') {
            star = ++p;
            star_s = s;
            continue;
        }
        if (!*p && !*s) return true;
        if (*p && *s && match_one(&p, &s)) continue;
        if (star && *star_s && *star_s != '/') {
            s = ++star_s;
            p = star;
            continue;
        }
        if (!deep || !(deep_s = strchr(deep_s, '/'))) return false;
        s = ++deep_s;
        p = deep;
        star = NULL;
    }
}

static qu_status add_line(qu_ignore *g, const char *p, size_t n, size_t base, qu_err *err)
{
    qu_ignore_rule r = {.pattern = g->text.len, .base = base};
    if (n && p[n - 1] == '\r') n--;
    while (n && (p[n - 1] == ' ' || p[n - 1] == '\t') && !(n > 1 && p[n - 2] == '\\')) n--;
    if (n == 0 || *p == '#') return QU_OK;
    if ((r.negated = *p == '!')) p++, n--;
    if ((r.folder = n > 0 && p[n - 1] == '/')) n--;
    r.tied = memchr(p, '/', n) != NULL;
    if (n > 0 && *p == '/') p++, n--;
    if (n == 0 || n > MAX_PATTERN_BYTES || memchr(p, 0, n)) return QU_OK;
    QU_TRY(qu_memory_grow(&g->v, &g->cap, (int64_t)g->n + 1, sizeof *g->v, err));
    QU_TRY(qu_buf_add(&g->text, p, n, err));
    QU_TRY(qu_buf_add(&g->text, "", 1, err));
    g->v[g->n++] = r;
    return QU_OK;
}

qu_status qu_ignore_add(qu_ignore *g, const char *text, size_t n, size_t base, qu_err *err)
{
    for (size_t at = 0, end; at < n; at = end + 1) {
        const char *nl = memchr(text + at, '\n', n - at);
        end = nl ? (size_t)(nl - text) : n;
        QU_TRY(add_line(g, text + at, end - at, base, err));
    }
    return QU_OK;
}

void qu_ignore_cut(qu_ignore *g, size_t n)
{
    if (n >= g->n) return;
    g->text.len = g->v[n].pattern;
    g->n = n;
}

int qu_ignore_match(const qu_ignore *g, const char *path, bool folder)
{
    const char *name = strrchr(path, '/') + 1;
    for (size_t i = g->n; i-- > 0;) {
        const qu_ignore_rule *r = &g->v[i];
        const char *below = path + r->base + (path[r->base] == '/');
        if ((!r->folder || folder) && glob(g->text.data + r->pattern, r->tied ? below : name))
            return r->negated ? -1 : 1;
    }
    return 0;
}

void qu_ignore_free(qu_ignore *g)
{
    free(g->v);
    qu_buf_free(&g->text);
    *g = (qu_ignore){0};
}
