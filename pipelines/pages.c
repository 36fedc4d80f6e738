#include "pipelines/pages.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipelines/output.h"

qu_status qu_pages_load(qu_page_view *v, qu_txn *t, uint64_t doc_id, int32_t page, bool exact,
                        qu_err *err)
{
    qu_status st = QU_OK;
    memset(v, 0, sizeof *v);
    QU_TRY_OUT(qu_catalogue_get_doc(t, doc_id, &v->doc, err));
    v->number = page == 0 && !exact && v->doc.n_pages > 1 ? 1 : page;
    QU_TRY_OUT(qu_catalogue_page(t, doc_id, v->number, &v->page, err));
    QU_TRY_OUT(qu_catalogue_text(t, doc_id, v->page.text_start, v->page.text_end, &v->text, err));
    QU_TRY_OUT(qu_buf_add(&v->text, "", 0, err));
    snprintf(v->id, sizeof v->id, "%llu.%d", (unsigned long long)doc_id, v->number);
out:
    if (st != QU_OK) qu_pages_free(v);
    return st;
}

void qu_pages_free(qu_page_view *v)
{
    qu_doc_free(&v->doc);
    qu_buf_free(&v->text);
    memset(v, 0, sizeof *v);
}

/* Digits of a number up to max, the whole of s[0..n). */
static bool digits(uint64_t *v, const char *s, size_t n, uint64_t max)
{
    *v = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') return false;
        uint64_t d = (uint64_t)(s[i] - '0');
        if (*v > (max - d) / 10) return false;
        *v = *v * 10 + d;
    }
    return n > 0;
}

qu_status qu_pages_parse_id(const char *id, uint64_t *doc_id, int32_t *page, qu_err *err)
{
    const char *dot = strchr(id, '.');
    uint64_t number = 0;
    if (!dot || !digits(doc_id, id, (size_t)(dot - id), UINT64_MAX) ||
        !digits(&number, dot + 1, strlen(dot + 1), INT32_MAX))
        return qu_fail(err, QU_ERR_ARG,
                       "'%.60s' is no page: pages are named like '12.3', see quire search", id);
    *page = (int32_t)number;
    return QU_OK;
}

json_t *qu_pages_json_text(const char *text, size_t n)
{
    json_t *s = json_stringn(n ? text : "", n);
    QU_OWN(qu_buf_free) qu_buf safe = {0};
    if (!s && qu_out_safe(&safe, text, n, true, NULL) == QU_OK)
        s = json_stringn(safe.data, safe.len);
    return s;
}
