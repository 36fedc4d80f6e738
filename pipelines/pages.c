#include "pipelines/pages.h"

#include <errno.h>
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

qu_status qu_pages_parse_id(const char *id, uint64_t *doc_id, int32_t *page, qu_err *err)
{
    size_t n = strspn(id, "0123456789"), m = id[n] == '.' ? strspn(id + n + 1, "0123456789") : 0;
    errno = 0;
    *doc_id = strtoull(id, NULL, 10);
    unsigned long long number = m ? strtoull(id + n + 1, NULL, 10) : 0;
    *page = (int32_t)number;
    if (n > 0 && m > 0 && id[n + 1 + m] == 0 && errno == 0 && number <= INT32_MAX) return QU_OK;
    return qu_fail(err, QU_ERR_ARG,
                   "'%.60s' is no page: pages are named like '12.3', see quire search", id);
}

json_t *qu_pages_json_ids(const int32_t *ids, int64_t n)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++) json_array_append_new(list, json_integer(ids[i]));
    return list;
}

json_t *qu_pages_json_text(const char *text, size_t n)
{
    json_t *s = json_stringn(n ? text : "", n);
    QU_OWN(qu_buf_free) qu_buf safe = {0};
    if (!s && qu_out_safe(&safe, text, n, true, NULL) == QU_OK)
        s = json_stringn(safe.data, safe.len);
    return s;
}
