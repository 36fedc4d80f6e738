/* quire models: the models on this machine, and which of them run. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "decode/model.h"
#include "decode/token.h"
#include "pipelines/commands.h"
#include "pipelines/output.h"
#include "pipelines/places.h"
#include "pipelines/session.h"

typedef struct model_row {
    const char *type;   /* of most of its weights; NULL: not known */
    char name[128];
    int64_t kv_bytes;   /* a token; 0: not known */
    int32_t context;
    qu_err why;         /* status QU_OK: it runs */
} model_row;

/* The type that holds most of the weights' bytes. */
static const char *main_type(const qu_gguf *g)
{
    int64_t bytes[64] = {0};
    int best = -1;
    for (int64_t i = 0; i < qu_gguf_n_tensors(g); i++) {
        const qu_gguf_tensor *t = qu_gguf_tensor_at(g, i);
        if (t->type < 0 || t->type >= 64) continue;
        bytes[t->type] += t->n_bytes;
        if (best < 0 || bytes[t->type] > bytes[best]) best = (int)t->type;
    }
    return best < 0 ? NULL : qu_type_name(best);
}

/* Try it: its header, every tensor's shape, its tokenizer. No weights are read. */
static model_row try_model(const char *path)
{
    model_row r = {0};
    qu_gguf *g = NULL;
    QU_OWN(qu_model_closep) qu_model *m = NULL;
    QU_OWN(qu_tokenizer_freep) qu_tokenizer *t = NULL;
    if (qu_gguf_open(&g, path, &r.why) == QU_OK) r.type = main_type(g);
    qu_gguf_close(g);
    if (r.why.status == QU_OK && qu_model_open(&m, path, &r.why) == QU_OK &&
        qu_tokenizer_create(&t, m->gguf, &r.why) == QU_OK) {
        r.kv_bytes = qu_model_kv_bytes_per_token(m);
        r.context = m->context;
        snprintf(r.name, sizeof r.name, "%s", m->name);
    }
    return r;
}

static qu_status print_json(const qu_found *f, const model_row *r, qu_err *err)
{
    bool runs = r->why.status == QU_OK;
    json_auto_t *o = json_object();
    QU_TRY(qu_out_path(o, "model", f->name, err));
    QU_TRY(qu_out_path(o, "path", f->path, err));
    json_auto_t *rest =
        json_pack("{s:s,s:s?,s:I,s:s?,s:o,s:o,s:b,s:s?}", "source", f->source, "name",
                  runs ? r->name : NULL, "bytes", (json_int_t)f->bytes, "type", r->type, "context",
                  runs ? json_integer(r->context) : json_null(), "kv_bytes_per_token",
                  runs ? json_integer(r->kv_bytes) : json_null(), "runs", runs, "why",
                  runs ? NULL : r->why.msg);
    json_object_update(o, rest);
    return qu_out_json(QU_TAKE(o), err);
}

static qu_status print_text(const qu_found *f, const model_row *r, qu_err *err)
{
    bool runs = r->why.status == QU_OK;
    char kv[32] = "-";
    if (runs) snprintf(kv, sizeof kv, "%.1f KiB", (double)r->kv_bytes / 1024);
    QU_TRY(qu_out_line(err, "%8.1f MiB  %-7s %12s  %-3s  %s", (double)f->bytes / (1 << 20),
                       r->type ? r->type : "-", kv, runs ? "yes" : "no", f->name));
    return runs ? QU_OK : qu_out_line(err, "    %s", r->why.msg);
}

static qu_status print(const qu_found *f, qu_err *err)
{
    const model_row r = try_model(f->path);
    return qu_out_is_json() ? print_json(f, &r, err) : print_text(f, &r, err);
}

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    QU_OWN(qu_found_free) qu_found_list list = {0};
    QU_OWN(qu_freep) char *own = qu_places_bundled();
    qu_found bundled = {.name = own, .path = own, .source = "bundled"};
    struct stat sb;
    (void)s;
    QU_TRY(qu_places_all(&list, err));
    if (!qu_out_is_json() && (own || list.n > 0))
        QU_TRY(qu_out_printf(err, "%12s  %-7s %12s  %-3s  %s\n", "size", "type", "KV a token",
                             "runs", "model"));
    if (own && stat(own, &sb) == 0) bundled.bytes = sb.st_size;
    if (own) QU_TRY(print(&bundled, err));
    for (int64_t i = 0; i < list.n && !qu_out_gone(); i++) QU_TRY(print(&list.items[i], err));
    if (!own && list.n == 0) *code = QU_EXIT_NOTHING;
    return QU_OK;
}

const qu_command qu_cmd_models = {
    .name = "models",
    .summary = "list the models on this machine and which of them run",
    .description =
        "Looks into the caches of Hugging Face, Ollama and LM Studio and lists each GGUF model: "
        "size, type of its weights, KV bytes a token (f16), and whether Quire can run it, or why "
        "not. The last column is what --model takes. It takes files and folders with one model, "
        "too.",
    .examples =
        "quire models\nquire ask --model ollama:qwen2.5:0.5b \"When does the ferry leave?\"",
    .act = act,
};
