/* quire inspect: everything that the store holds of one page. */
#include <stdlib.h>
#include <string.h>

#include "kernels/codec.h"
#include "pipelines/commands.h"
#include "pipelines/output.h"
#include "pipelines/pages.h"
#include "pipelines/session.h"

/* One slice, or the sum of many: what is wrong is said for the first one. */
typedef struct slice_report {
    int64_t n, n_good, bytes;
    qu_err fault;
} slice_report;

typedef struct inspection {
    qu_session *s;
    qu_page_view view;
    qu_buf ids;                /* int32 [view.page.n_tokens] */
    slice_report sum;
    json_t *slices;            /* with --slices --json */
    bool each;                 /* --slices */
} inspection;

/* Read and check slice [layer, head] as a question would. */
static qu_status look(inspection *x, uint16_t layer, uint16_t head, qu_err *err)
{
    qu_slice_key key = {x->view.doc.kv_id, (uint32_t)x->view.number, layer, head, QU_KV_SLICE};
    const void *p;
    size_t n = 0;
    qu_err fault = {0};
    qu_status st = qu_store_slice(x->s->store, x->view.doc.kv_file, &key,
                                  qu_kv_binding(x->s->store, &x->view.page), &p, &n, &fault);
    if (st == QU_ERR_NOMEM || st == QU_ERR_IO) return qu_fail(err, st, "%s", fault.msg);
    int64_t want = qu_codec_bytes(x->s->codec, x->view.page.n_tokens,
                                  qu_store_config_get(x->s->store)->head_size);
    if (st == QU_OK && (int64_t)n != want)
        st = qu_fail(&fault, QU_ERR_CORRUPT, "slice has %zu bytes, expected %lld", n,
                     (long long)want);
    x->sum.n++;
    x->sum.n_good += st == QU_OK;
    x->sum.bytes += st == QU_OK ? (int64_t)n : 0;
    if (st != QU_OK && x->sum.fault.status == QU_OK) x->sum.fault = fault;
    if (!x->each) return QU_OK;
    if (qu_out_is_json()) {
        json_t *one =
            json_pack("{s:i,s:i,s:I,s:s}", "layer", layer, "head", head, "bytes", (json_int_t)n,
                      "verdict", st == QU_OK ? "good" : qu_status_name(st));
        return json_array_append_new(x->slices, one) == 0 ? QU_OK : qu_fail_nomem(err, 64);
    }
    return qu_out_printf(err, "slice       layer %u, head %u: %zu bytes, %s\n", layer, head, n,
                         st == QU_OK ? "good" : fault.msg);
}

static qu_status look_at_all(inspection *x, qu_err *err)
{
    const qu_store_config *c = qu_store_config_get(x->s->store);
    if (x->view.number >= x->view.doc.kv_pages) return QU_OK;
    for (int layer = 0; layer < c->n_layers; layer++)
        for (int head = 0; head < c->n_kv_heads; head++)
            QU_TRY(look(x, (uint16_t)layer, (uint16_t)head, err));
    return QU_OK;
}

static const int32_t *ids_of(const inspection *x)
{
    return (const int32_t *)(const void *)x->ids.data;
}

static qu_status print_json(inspection *x, qu_err *err)
{
    const qu_page_view *v = &x->view;
    char context[33];
    qu_hash_hex(context, v->page.context);
    json_auto_t *o = json_object(), *ids = json_array();
    for (int32_t i = 0; i < v->page.n_tokens; i++)
        json_array_append_new(ids, json_integer(ids_of(x)[i]));
    QU_TRY(qu_out_path(o, "path", v->doc.path, err));
    json_auto_t *rest =
        json_pack("{s:s,s:s,s:i,s:i,s:I,s:I,s:s,s:O,s:{s:b,s:I,s:I,s:I},s:o}", "page_id", v->id,
                  "title", v->doc.title, "page", v->number, "pages", v->doc.n_pages, "text_start",
                  (json_int_t)v->page.text_start, "text_end", (json_int_t)v->page.text_end,
                  "context", context, "ids", ids, "kv", "present", x->sum.n > 0, "slices",
                  (json_int_t)x->sum.n, "damaged", (json_int_t)(x->sum.n - x->sum.n_good), "bytes",
                  (json_int_t)x->sum.bytes, "text", qu_pages_json_text(v->text.data, v->text.len));
    if (rest && x->each) json_object_set(rest, "slices", x->slices);
    if (!rest || json_object_update(o, rest) != 0) return qu_fail_nomem(err, 1024);
    return qu_out_json(QU_TAKE(o), err);
}

static qu_status print_head(inspection *x, qu_err *err)
{
    const qu_page_view *v = &x->view;
    char context[33];
    qu_hash_hex(context, v->page.context);
    QU_TRY(qu_out_line(err, "page        %s: page %d of %d of", v->id, v->number, v->doc.n_pages));
    QU_TRY(qu_out_line(err, "            %s", v->doc.path));
    QU_TRY(qu_out_line(err, "title       %s", v->doc.title));
    QU_TRY(qu_out_printf(err, "text        bytes %lld to %lld\ncontext     %s\nids         %d:",
                         (long long)v->page.text_start, (long long)v->page.text_end, context,
                         v->page.n_tokens));
    for (int32_t i = 0; i < v->page.n_tokens; i++) QU_TRY(qu_out_printf(err, " %d", ids_of(x)[i]));
    return qu_out_write("\n", 1, err);
}

static qu_status print_tail(inspection *x, qu_err *err)
{
    const qu_page_view *v = &x->view;
    if (x->sum.n == 0) {
        QU_TRY(qu_out_printf(err, "KV          none\n"));
    } else {
        QU_TRY(qu_out_printf(err, "KV          %lld of %lld slices good, %lld bytes, in %llu.kv\n",
                             (long long)x->sum.n_good, (long long)x->sum.n, (long long)x->sum.bytes,
                             (unsigned long long)v->doc.kv_file));
        if (x->sum.n_good < x->sum.n)
            QU_TRY(qu_out_printf(err, "damage      %s\n", x->sum.fault.msg));
    }
    if (v->text.len == 0) return QU_OK;
    QU_TRY(qu_out_write("\n", 1, err));
    QU_TRY(qu_out_text(v->text.data, v->text.len, true, err));
    return v->text.data[v->text.len - 1] == '\n' ? QU_OK : qu_out_write("\n", 1, err);
}

static qu_status inspect(inspection *x, const char *id, qu_err *err)
{
    uint64_t doc_id;
    int32_t page;
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    QU_TRY(qu_pages_parse_id(id, &doc_id, &page, err));
    QU_TRY(qu_txn_begin(&t, x->s->store, QU_TXN_READ, err));
    QU_TRY(qu_pages_load(&x->view, t, doc_id, page, true, err));
    QU_TRY(qu_catalogue_ids(t, doc_id, page, 1, &x->ids, err));
    if (!qu_out_is_json()) QU_TRY(print_head(x, err));
    QU_TRY(look_at_all(x, err));
    return qu_out_is_json() ? print_json(x, err) : print_tail(x, err);
}

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    inspection x = {.s = s, .each = qu_args_flag(s->args, "slices"), .slices = json_array()};
    s->codec = (int)qu_store_config_get(s->store)->codec;
    qu_status st = inspect(&x, s->args->argv[0], err);
    if (x.sum.n_good < x.sum.n) *code = QU_EXIT_DAMAGED;
    qu_pages_free(&x.view);
    qu_buf_free(&x.ids);
    json_decref(x.slices);
    return st;
}

static const qu_option options[] = {
    QU_FLAG("slices", "one line for each layer and KV head"),
};

const qu_command qu_cmd_inspect = {
    .name = "inspect",
    .args = "PAGE-ID",
    .summary = "show everything about one page",
    .description =
        "Shows a page's file, place, token ids, context hash, text, and its KV, each slice of "
        "which is read and checked. Pages are named as quire search and quire ask name them: "
        "'12.3' is page 3 of document 12, and page 0 is a document's header line. Exit 5 says "
        "that a slice is damaged.",
    .examples = "quire inspect 12.3\nquire inspect 12.3 --slices",
    QU_OPTIONS(options),
    .min_args = 1,
    .max_args = 1,
    .session = QU_SESSION_STORE,
    .act = act,
};
