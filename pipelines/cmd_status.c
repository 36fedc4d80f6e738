/* quire status: what the store holds, or what it knows of one file. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "kernels/codec.h"
#include "pipelines/commands.h"
#include "pipelines/output.h"
#include "pipelines/pages.h"
#include "pipelines/paths.h"
#include "pipelines/session.h"
#include "pipelines/sync.h"
#include "store/quota.h"

/* --- the whole store --- */

/* Bytes of the word index, -1 = there is none, and whether it stands where the documents do. */
static json_t *words(qu_session *s, qu_txn *t)
{
    struct stat sb;
    QU_OWN(qu_lexical_closep) qu_lexical *lx = NULL;
    QU_OWN(qu_buf_free) qu_buf path = {0};
    if (qu_session_lexical_path(s, &path, NULL) != QU_OK) return NULL;
    json_int_t bytes = stat(path.data, &sb) == 0 ? (json_int_t)sb.st_size : -1;
    bool current = qu_lexical_open(&lx, path.data, QU_LEXICAL_READ, NULL) == QU_OK &&
                   qu_lexical_generation(lx) == qu_catalogue_generation(t);
    return json_pack("{s:I,s:b}", "bytes", bytes, "current", current);
}

static qu_status add_roots(json_t *list, qu_txn *t, qu_err *err)
{
    QU_OWN(qu_roots_free) qu_roots roots = {0};
    qu_status st = qu_roots_read(&roots, t, err);
    for (size_t i = 0; i < roots.n && st == QU_OK; i++) {
        json_t *one = json_object();
        st = qu_out_path(one, "path", roots.paths[i], err);
        json_array_append_new(list, one);
    }
    return st;
}

/* The lines of a list that index was told to keep to, if there are any. */
static qu_status add_rules(json_t *all, const char *key, qu_txn *t, const char *meta, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf list = {0};
    json_auto_t *lines = json_array();
    qu_status st = qu_catalogue_get_meta(t, meta, &list, err);
    for (char *save, *p = list.len ? strtok_r(list.data, "\n", &save) : NULL; p;
         p = strtok_r(NULL, "\n", &save))
        json_array_append_new(lines, qu_pages_json_text(p, strlen(p)));
    if (json_array_size(lines) > 0) json_object_set(all, key, lines);
    return st == QU_ERR_NOTFOUND ? QU_OK : st;
}

static qu_status show_store(qu_session *s, qu_txn *t, qu_err *err)
{
    const qu_store_config *config = qu_store_config_get(s->store);
    const char *codec = qu_codec_name((int)config->codec);
    qu_store_counts c;
    qu_quota_state q;
    char hash[33];
    json_auto_t *all = json_object(), *roots = json_array();
    qu_hash_hex(hash, config->weights);
    QU_TRY(qu_catalogue_counts(t, &c, err));
    QU_TRY(qu_quota_get(t, &q, err));
    QU_TRY(qu_out_path(all, "store", s->store_dir, err));
    QU_TRY(add_roots(roots, t, err));
    json_object_update_new(all, json_pack("{s:i,s:s,s:s}", "format", config->format, "codec",
                                          codec ? codec : "unknown", "numerics",
                                          config->numerics));
    qu_out_ints(all, "documents pages tokens text_bytes",
                (int64_t[]){c.n_docs, c.n_pages, c.n_tokens, c.n_text_bytes});
    json_object_set_new(
        all, "kv",
        qu_out_ints(NULL, "documents pages files open_files bytes",
                    (int64_t[]){c.n_kv_docs, c.n_kv_pages, c.n_kv_files, c.n_open_kv, c.kv_bytes}));
    json_t *rest = json_pack(
        "{s:I,s:o,s:{s:I,s:b,s:I},s:{s:o,s:s},s:O}", "catalogue_bytes",
        (json_int_t)c.catalogue_bytes, "words", words(s, t), "quota", "bytes",
        (json_int_t)q.limit, "set", q.set >= 0, "disk_free", (json_int_t)q.free_bytes, "model",
        "name", qu_pages_json_text(config->model_name, strlen(config->model_name)), "hash", hash,
        "roots", roots);
    json_t *model = json_object_get(rest, "model");
    qu_status st = QU_OK;
    if (config->model_path) st = qu_out_path(model, "path", config->model_path, err);
    json_object_update_new(all, rest);
    QU_TRY(st);
    QU_TRY(add_rules(all, "exclude", t, QU_SYNC_EXCLUDE, err));
    QU_TRY(add_rules(all, "include", t, QU_SYNC_INCLUDE, err));
    return qu_out_result(QU_TAKE(all), err);
}

/* --- one document --- */

static qu_status find_doc(qu_txn *t, const char *typed, qu_doc *doc, qu_err *err)
{
    char *guesses[QU_PATHS_GUESSES];
    QU_TRY(qu_paths_guess(guesses, typed, err));
    qu_status st = QU_ERR_NOTFOUND;
    for (int i = 0; i < QU_PATHS_GUESSES && st == QU_ERR_NOTFOUND; i++)
        if (guesses[i]) st = qu_catalogue_find_path(t, guesses[i], strlen(guesses[i]), doc, err);
    qu_paths_free(guesses);
    if (st == QU_ERR_NOTFOUND) return qu_fail(err, st, "'%.150s' is not in the store", typed);
    return st;
}

static void say_time(char out[32], int64_t seconds)
{
    struct tm tm;
    time_t at = (time_t)seconds;
    if (!gmtime_r(&at, &tm) || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(out, 32, "?");
}

static qu_status show_doc(qu_txn *t, const char *typed, qu_err *err)
{
    QU_OWN(qu_doc_free) qu_doc d = {0};
    char modified[32], indexed[32];
    QU_TRY(find_doc(t, typed, &d, err));
    say_time(modified, d.mtime_ns / 1000000000);
    say_time(indexed, d.indexed_ms / 1000);
    json_auto_t *o = json_object();
    json_auto_t *rest = json_pack(
        "{s:I,s:s,s:o,s:s,s:s,s:I,s:s,s:s,s:I,s:i,s:I,s:i,s:I,s:I}", "document",
        (json_int_t)d.doc_id, "file", qu_sync_compare(&d), "title",
        qu_pages_json_text(d.title, strlen(d.title)), "format", d.format, "charset", d.charset,
        "bytes", (json_int_t)d.size, "modified", modified, "indexed", indexed, "text_bytes",
        (json_int_t)d.text_bytes, "pages", d.n_pages, "tokens", (json_int_t)d.n_tokens, "kv_pages",
        d.kv_pages, "kv_file", (json_int_t)d.kv_file, "kv_document", (json_int_t)d.kv_id);
    QU_TRY(rest ? qu_out_path(o, "path", d.path, err) : qu_fail_nomem(err, 1024));
    json_object_update(o, rest);
    return qu_out_result(QU_TAKE(o), err);
}

static qu_status act(qu_session *s, int *code, qu_err *err)
{
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    (void)code;
    QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_READ, err));
    if (s->args->argc == 0) return show_store(s, t, err);
    for (int i = 0; i < s->args->argc; i++) QU_TRY(show_doc(t, s->args->argv[i], err));
    return QU_OK;
}

const qu_command qu_cmd_status = {
    .name = "status",
    .args = "[FILE...]",
    .summary = "show what the store holds, or what it knows of a file",
    .description =
        "Without a file: documents, pages, how many of them have KV, space on the disk, the "
        "model and the roots. With files: what each was when it was read, and whether it is "
        "the same today.",
    .examples = "quire status\nquire status --json | jq .kv.pages\nquire status docs/handbook.md",
    .max_args = -1,
    .session = QU_SESSION_STORE,
    .act = act,
};
