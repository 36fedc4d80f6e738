/* quire inspect: everything that the store holds of one page. */
#include <stdlib.h>
#include <string.h>

#include "kernels/codec.h"
#include "pipelines/commands.h"
#include "pipelines/output.h"
#include "pipelines/pages.h"
#include "pipelines/session.h"

typedef struct inspection {
    qu_session *s;
    qu_page_view view;
    qu_buf ids;                 /* int32 [view.page.n_tokens] */
    int64_t n, n_damaged, bytes; /* slices, bytes of the good ones */
    qu_err fault;               /* of the first damaged one */
} inspection;

/* Read and check slice [layer, head] as a question would. */
static qu_status look(inspection *x, uint16_t layer, uint16_t head, qu_err *err)
{
    const qu_doc *d = &x->view.doc;
    qu_slice_key key = {d->kv_id, (uint32_t)x->view.number, layer, head, QU_KV_SLICE};
    const qu_store_config *c = qu_store_config_get(x->s->store);
    int64_t want = qu_codec_bytes((int)c->codec, x->view.page.n_tokens, c->head_size);
    const void *p;
    size_t n = 0;
    qu_err fault = {0};
    qu_status st = qu_store_slice(x->s->store, d->kv_file, &key,
                                  qu_kv_binding(x->s->store, &x->view.page), &p, &n, &fault);
    if (st == QU_ERR_NOMEM || st == QU_ERR_IO) return qu_fail(err, st, "%s", fault.msg);
    if (st == QU_OK && (int64_t)n != want)
        st = qu_fail(&fault, QU_ERR_CORRUPT, "slice has %zu bytes, expected %lld", n,
                     (long long)want);
    x->n++;
    if (st == QU_OK) x->bytes += want;
    else if (x->n_damaged++ == 0) x->fault = fault;
    return QU_OK;
}

/* The same members for people and as JSON; for people the text stands behind them as it is. */
static qu_status print(const inspection *x, qu_err *err)
{
    const qu_page_view *v = &x->view;
    char context[33];
    qu_hash_hex(context, v->page.context);
    json_auto_t *o = json_object();
    QU_TRY(qu_out_path(o, "path", v->doc.path, err));
    json_auto_t *rest =
        json_pack("{s:s,s:o,s:i,s:i,s:I,s:I,s:s,s:o,s:{s:b,s:I,s:I,s:I,s:I,s:s?}}", "page_id",
                  v->id, "title", qu_pages_json_text(v->doc.title, strlen(v->doc.title)), "page",
                  v->number, "pages", v->doc.n_pages, "text_start",
                  (json_int_t)v->page.text_start, "text_end", (json_int_t)v->page.text_end,
                  "context", context, "ids",
                  qu_pages_json_ids((const void *)x->ids.data, v->page.n_tokens), "kv", "present",
                  x->n > 0, "slices",
                  (json_int_t)x->n, "damaged", (json_int_t)x->n_damaged, "bytes",
                  (json_int_t)x->bytes, "file", (json_int_t)v->doc.kv_file, "fault",
                  x->n_damaged ? x->fault.msg : NULL);
    if (!rest || json_object_update(o, rest) != 0) return qu_fail_nomem(err, 1024);
    if (qu_out_is_json())
        json_object_set_new(o, "text", qu_pages_json_text(v->text.data, v->text.len));
    QU_TRY(qu_out_result(QU_TAKE(o), err));
    if (qu_out_is_json() || v->text.len == 0) return QU_OK;
    QU_TRY(qu_out_write("\n", 1, err));
    QU_TRY(qu_out_text(v->text.data, v->text.len, true, err));
    return v->text.data[v->text.len - 1] == '\n' ? QU_OK : qu_out_write("\n", 1, err);
}

static void end_inspection(inspection *x)
{
    qu_pages_free(&x->view);
    qu_buf_free(&x->ids);
}

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    QU_OWN(end_inspection) inspection x = {.s = s};
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    const qu_store_config *c = qu_store_config_get(s->store);
    uint64_t doc_id;
    int32_t page;
    QU_TRY(qu_pages_parse_id(s->args->argv[0], &doc_id, &page, err));
    QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_READ, err));
    QU_TRY(qu_pages_load(&x.view, t, doc_id, page, true, err));
    QU_TRY(qu_catalogue_ids(t, doc_id, page, 1, &x.ids, err));
    int32_t n = page < x.view.doc.kv_pages ? c->n_layers * c->n_kv_heads : 0;
    for (int32_t i = 0; i < n; i++)
        QU_TRY(look(&x, (uint16_t)(i / c->n_kv_heads), (uint16_t)(i % c->n_kv_heads), err));
    if (x.n_damaged > 0) *code = QU_EXIT_DAMAGED;
    return print(&x, err);
}

const qu_command qu_cmd_inspect = {
    .name = "inspect",
    .args = "PAGE-ID",
    .summary = "show everything about one page",
    .description =
        "Shows a page's file, place, token ids, context hash, text, and its KV, each slice of "
        "which is read and checked. Pages are named as quire search and quire ask name them: "
        "'12.3' is page 3 of document 12, and page 0 is a document's header line. Exit 5 says "
        "that a slice is damaged.",
    .examples = "quire inspect 12.3",
    .min_args = 1,
    .max_args = 1,
    .session = QU_SESSION_STORE,
    .act = act,
};
