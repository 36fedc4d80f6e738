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

typedef struct overview {
    qu_session *s;
    const qu_store_config *config;
    qu_store_counts counts;
    qu_quota_state quota;
    int64_t word_bytes;        /* of the word index, -1 = there is none */
    bool words_current;
} overview;

static const char *codec_name(const qu_store_config *c)
{
    const char *name = qu_codec_name((int)c->codec);
    return name ? name : "unknown";
}

static void look_at_words(overview *o, qu_txn *t, const char *path)
{
    struct stat sb;
    qu_lexical *lx;
    o->word_bytes = stat(path, &sb) == 0 ? (int64_t)sb.st_size : -1;
    if (qu_lexical_open(&lx, path, QU_LEXICAL_READ, NULL) != QU_OK) return;
    o->words_current = qu_lexical_generation(lx) == qu_catalogue_generation(t);
    qu_lexical_close(lx);
}

static qu_status print_json(const overview *o, qu_txn *t, qu_err *err)
{
    const qu_store_counts *c = &o->counts;
    char hash[33];
    qu_buf root = {0};
    qu_status st = QU_OK;
    qu_hash_hex(hash, o->config->weights);
    json_t *all = json_object(), *model = json_object(), *roots = json_array();
    json_t *rest =
        json_pack("{s:i,s:s,s:s,s:I,s:I,s:I,s:I,s:{s:I,s:I,s:I,s:I,s:I},s:I,s:{s:I,s:b},s:{s:I,s:b,s:I},s:O,s:O}",
                  "format", (int)o->config->format, "codec", codec_name(o->config), "numerics",
                  o->config->numerics, "documents", (json_int_t)c->n_docs, "pages",
                  (json_int_t)c->n_pages, "tokens", (json_int_t)c->n_tokens, "text_bytes",
                  (json_int_t)c->n_text_bytes, "kv", "documents", (json_int_t)c->n_kv_docs, "pages",
                  (json_int_t)c->n_kv_pages, "files", (json_int_t)c->n_kv_files, "open_files",
                  (json_int_t)c->n_open_kv, "bytes", (json_int_t)c->kv_bytes, "catalogue_bytes",
                  (json_int_t)c->catalogue_bytes, "words", "bytes", (json_int_t)o->word_bytes,
                  "current", o->words_current, "quota", "bytes", (json_int_t)o->quota.limit, "set",
                  o->quota.set >= 0, "disk_free", (json_int_t)o->quota.free_bytes, "model", model, "roots", roots);
    if (!rest) {
        st = qu_fail_nomem(err, 1024);
        goto out;
    }
    json_object_set_new(model, "name",
                        qu_pages_json_text(o->config->model_name, strlen(o->config->model_name)));
    json_object_set_new(model, "hash", json_string(hash));
    if (o->config->model_path) QU_TRY_OUT(qu_out_path(model, "path", o->config->model_path, err));
    QU_TRY_OUT(qu_out_path(all, "store", o->s->store_dir, err));
    json_object_update(all, rest);
    for (int64_t i = 0; i < c->n_roots; i++) {
        json_t *one = json_object();
        root.len = 0;
        QU_TRY_OUT(qu_catalogue_root_at(t, i, &root, err));
        json_array_append_new(roots, one);
        QU_TRY_OUT(qu_out_path(one, "path", root.data, err));
    }
    st = qu_out_json(json_incref(all), err);
out:
    json_decref(all);
    json_decref(rest);
    json_decref(model);
    json_decref(roots);
    qu_buf_free(&root);
    return st;
}

static qu_status print_name(const char *label, const char *text, const char *after, qu_err *err)
{
    QU_TRY(qu_out_printf(err, "%-11s ", label));
    QU_TRY(qu_out_text(text, strlen(text), false, err));
    return qu_out_printf(err, "%s\n", after);
}

static qu_status print_text(const overview *o, qu_txn *t, qu_err *err)
{
    const qu_store_counts *c = &o->counts;
    char format[32];
    qu_buf root = {0};
    qu_status st = QU_OK;
    snprintf(format, sizeof format, " (format %u)", o->config->format);
    QU_TRY(print_name("store", o->s->store_dir, format, err));
    QU_TRY(print_name("model", o->config->model_name, "", err));
    if (o->config->model_path) QU_TRY(print_name("model file", o->config->model_path, "", err));
    QU_TRY(qu_out_printf(err, "codec       %s, numerics %s\n", codec_name(o->config),
                         o->config->numerics));
    QU_TRY(qu_out_printf(err, "documents   %lld: %lld pages, %lld tokens, %lld bytes of text\n",
                         (long long)c->n_docs, (long long)c->n_pages, (long long)c->n_tokens,
                         (long long)c->n_text_bytes));
    QU_TRY(qu_out_printf(
        err, "KV          %lld documents done, %lld of %lld pages; %lld files, %lld in progress\n",
        (long long)c->n_kv_docs, (long long)c->n_kv_pages, (long long)c->n_pages,
        (long long)c->n_kv_files, (long long)c->n_open_kv));
    QU_TRY(qu_out_printf(err, "disk        KV %.1f MB, catalogue %.1f MB, words %.1f MB%s\n",
                         (double)c->kv_bytes / 1e6, (double)c->catalogue_bytes / 1e6,
                         o->word_bytes > 0 ? (double)o->word_bytes / 1e6 : 0.0,
                         o->words_current ? "" : " (to be rebuilt)"));
    QU_TRY(qu_out_printf(err, "quota       %.1f MB for KV (%s), %.1f MB free on the disk\n",
                         (double)o->quota.limit / 1e6,
                         o->quota.set < 0 ? "a fifth of the free disk" : "--max-bytes",
                         (double)o->quota.free_bytes / 1e6));
    for (int64_t i = 0; i < c->n_roots && st == QU_OK; i++) {
        root.len = 0;
        st = qu_catalogue_root_at(t, i, &root, err);
        if (st == QU_OK) st = print_name("root", root.data, "", err);
    }
    qu_buf_free(&root);
    return st;
}

static qu_status show_store(qu_session *s, qu_txn *t, qu_err *err)
{
    overview o = {.s = s, .config = qu_store_config_get(s->store)};
    qu_buf path = {0};
    qu_status st = QU_OK;
    QU_TRY_OUT(qu_catalogue_counts(t, &o.counts, err));
    QU_TRY_OUT(qu_quota_get(t, &o.quota, err));
    QU_TRY_OUT(qu_session_lexical_path(s, &path, err));
    look_at_words(&o, t, path.data);
    st = qu_out_is_json() ? print_json(&o, t, err) : print_text(&o, t, err);
out:
    qu_buf_free(&path);
    return st;
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
    qu_doc d;
    char modified[32], indexed[32];
    qu_status st = find_doc(t, typed, &d, err);
    if (st != QU_OK) return st;
    say_time(modified, d.mtime_ns / 1000000000);
    say_time(indexed, d.indexed_ms / 1000);
    const char *file = qu_sync_compare(&d);
    if (qu_out_is_json()) {
        json_t *o = json_object();
        QU_TRY_OUT(qu_out_path(o, "path", d.path, err));
        json_t *rest =
            json_pack("{s:I,s:s,s:s,s:s,s:s,s:I,s:s,s:s,s:I,s:i,s:I,s:i}", "document",
                      (json_int_t)d.doc_id, "file", file, "title", d.title, "format", d.format,
                      "charset", d.charset, "bytes", (json_int_t)d.size, "modified", modified,
                      "indexed", indexed, "text_bytes", (json_int_t)d.text_bytes, "pages",
                      d.n_pages, "tokens", (json_int_t)d.n_tokens, "kv_pages", d.kv_pages);
        json_object_update(o, rest);
        st = rest ? qu_out_json(json_incref(o), err) : qu_fail_nomem(err, 1024);
        json_decref(rest);
        json_decref(o);
        goto out;
    }
    QU_TRY_OUT(print_name("path", d.path, "", err));
    QU_TRY_OUT(print_name("title", d.title, "", err));
    QU_TRY_OUT(qu_out_printf(err, "file        %s: %lld bytes, %s in %s, modified %s\n", file,
                             (long long)d.size, d.format, d.charset, modified));
    QU_TRY_OUT(qu_out_printf(err, "indexed     %s as document %llu\n", indexed,
                             (unsigned long long)d.doc_id));
    QU_TRY_OUT(qu_out_printf(err, "pages       %d: %lld tokens, %lld bytes of text\n", d.n_pages,
                             (long long)d.n_tokens, (long long)d.text_bytes));
    QU_TRY_OUT(qu_out_printf(err, "KV          %d of %d pages", d.kv_pages, d.n_pages));
    if (d.kv_file) QU_TRY_OUT(qu_out_printf(err, " in %llu.kv", (unsigned long long)d.kv_file));
    if (d.kv_file && d.kv_id != d.doc_id)
        QU_TRY_OUT(qu_out_printf(err, ", shared with the same text, document %llu",
                                 (unsigned long long)d.kv_id));
    st = qu_out_write("\n", 1, err);
out:
    qu_doc_free(&d);
    return st;
}

static int run(const qu_args *args)
{
    qu_err err = {0};
    qu_session s;
    qu_txn *t = NULL;
    qu_status st = qu_session_open(&s, args, QU_SESSION_STORE, QU_CODEC_F16, &err);
    if (st == QU_OK) st = qu_txn_begin(&t, s.store, QU_TXN_READ, &err);
    if (st == QU_OK && args->argc == 0) st = show_store(&s, t, &err);
    for (int i = 0; i < args->argc && st == QU_OK; i++) st = show_doc(t, args->argv[i], &err);
    qu_txn_abort(t);
    qu_session_close(&s);
    return st == QU_OK ? QU_EXIT_OK : qu_out_error(&err, NULL);
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
    .run = run,
};
