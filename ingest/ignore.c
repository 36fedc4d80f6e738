#define PCRE2_CODE_UNIT_WIDTH 8
#include "ingest/ignore.h"

#include <pcre2.h>

#include "base/memory.h"

/* The pattern as a regular expression; NULL: it is none that can be. */
static qu_status compile(pcre2_code **out, const char *p, size_t n, qu_err *err)
{
    PCRE2_UCHAR *regex = NULL;
    PCRE2_SIZE len, at;
    int code = pcre2_pattern_convert((PCRE2_SPTR)p, n, PCRE2_CONVERT_GLOB | PCRE2_CONVERT_UTF,
                                     &regex, &len, NULL);
    *out = code ? NULL
                : pcre2_compile(regex, len, PCRE2_UTF | PCRE2_MATCH_INVALID_UTF, &code, &at, NULL);
    pcre2_converted_pattern_free(regex);
    bool memory = code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED;
    return !*out && memory ? qu_fail_nomem(err, (long long)n) : QU_OK;
}

static bool matches(const pcre2_code *glob, const char *s)
{
    pcre2_match_data *m = pcre2_match_data_create(1, NULL);
    bool found = m && pcre2_match(glob, (PCRE2_SPTR)s, strlen(s), 0, 0, m, NULL) >= 0;
    pcre2_match_data_free(m);
    return found;
}

static qu_status add_line(qu_ignore *g, const char *p, size_t n, size_t base, qu_err *err)
{
    qu_ignore_rule r = {.base = base};
    if (n && p[n - 1] == '\r') n--;
    while (n && (p[n - 1] == ' ' || p[n - 1] == '\t') && !(n > 1 && p[n - 2] == '\\')) n--;
    if (n == 0 || *p == '#') return QU_OK;
    if ((r.negated = *p == '!')) p++, n--;
    if ((r.folder = n > 0 && p[n - 1] == '/')) n--;
    r.tied = memchr(p, '/', n) != NULL;
    if (n > 0 && *p == '/') p++, n--;
    if (n == 0) return QU_OK;
    QU_TRY(qu_memory_grow(&g->v, &g->cap, (int64_t)g->n + 1, sizeof *g->v, err));
    QU_TRY(compile(&r.glob, p, n, err));
    if (r.glob) g->v[g->n++] = r;
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
    while (g->n > n) pcre2_code_free(g->v[--g->n].glob);
}

int qu_ignore_match(const qu_ignore *g, const char *path, bool folder)
{
    const char *name = strrchr(path, '/') + 1;
    for (size_t i = g->n; i-- > 0;) {
        const qu_ignore_rule *r = &g->v[i];
        const char *below = path + r->base + (path[r->base] == '/');
        if ((!r->folder || folder) && matches(r->glob, r->tied ? below : name))
            return r->negated ? -1 : 1;
    }
    return 0;
}

void qu_ignore_free(qu_ignore *g)
{
    qu_ignore_cut(g, 0);
    free(g->v);
    *g = (qu_ignore){0};
}
