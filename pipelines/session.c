#include "pipelines/session.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/dims.h"
#include "base/os.h"
#include "decode/device.h"
#include "kernels/codec.h"
#include "pipelines/output.h"
#include "pipelines/places.h"
#include "pipelines/signals.h"

#define DEFAULT_STORE ".quire"
#define LEXICAL_NAME "lexical.idx"

/* A path that stays right when the working directory changes; the text itself where it does not
 * exist. A link to a file keeps its name: the parts of a split model are found by it. */
static char *absolute(const char *path)
{
    char real[PATH_MAX], *out = NULL;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    QU_OWN(qu_freep) char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (dir && access(path, F_OK) == 0 && realpath(dir, real) &&
        asprintf(&out, "%s%s%s", real, strcmp(real, "/") ? "/" : "", name) < 0)
        out = NULL;
    return out ? out : strdup(path);
}

static qu_status name_model(qu_session *s, const char *spec, qu_err *err)
{
    QU_OWN(qu_freep) char *path = NULL;
    QU_TRY(qu_places_model(&path, spec, err));
    s->model_path = absolute(path);
    return QU_OK;
}

static qu_status find_model(qu_session *s, qu_err *err)
{
    const char *given = qu_args_str(s->args, "model");
    const qu_store_config *c = s->store ? qu_store_config_get(s->store) : NULL;
    const char *env = getenv("QUIRE_MODEL");
    if (given)
        QU_TRY(name_model(s, given, err));
    else if (c && c->model_path && access(c->model_path, F_OK) != 0 && errno == ENOENT)
        return qu_fail(err, QU_ERR_NOTFOUND,
                       "the model of store '%.60s' is no longer '%.90s': give --model FILE, which "
                       "quire index remembers", s->store_dir, c->model_path);
    else if (c && c->model_path)
        s->model_path = strdup(c->model_path);
    else if (env && *env)
        QU_TRY(name_model(s, env, err));
    else
        s->model_path = qu_places_bundled();
    if (s->model_path) return QU_OK;
    if (given || (c && c->model_path) || (env && *env)) return qu_fail_nomem(err, PATH_MAX);
    return qu_fail(err, QU_ERR_NOTFOUND, QU_NO_MODEL);
}

/* Everything a page depends on besides its own left context (DESIGN.md 3.7). The numerics class
 * stands beside it in the config: another class is a tolerance, another binding is another
 * model. */
static qu_hash binding_of(const qu_session *s)
{
    uint32_t fixed[3] = {QU_PAGE_TOKENS, (uint32_t)s->codec, (uint32_t)s->template};
    qu_hash tok = qu_tokenizer_hash(s->tok);
    qu_hash h = qu_hash_chain(s->model->fingerprint, &tok, sizeof tok);
    h = qu_hash_chain(h, fixed, sizeof fixed);
    return qu_hash_chain(h, s->prefix.ids, (size_t)s->prefix.n * sizeof *s->prefix.ids);
}

static qu_store_config config_of(const qu_session *s)
{
    const qu_model *m = s->model;
    qu_store_config c = {.page_tokens = QU_PAGE_TOKENS,
                         .codec = (uint32_t)s->codec,
                         .n_layers = m->n_layers,
                         .n_kv_heads = m->n_kv_heads,
                         .head_size = m->head_size,
                         .binding = binding_of(s),
                         .weights = m->fingerprint,
                         .full_weights = qu_gguf_full_hash(m->gguf),
                         .model_path = s->model_path,
                         .prefix_ids = s->prefix.ids,
                         .n_prefix = (int32_t)s->prefix.n};
    snprintf(c.numerics, sizeof c.numerics, "%s", s->numerics);
    snprintf(c.model_name, sizeof c.model_name, "%s", m->name);
    return c;
}

qu_status qu_session_model(qu_model **m, const qu_args *args, const char *path, qu_err *err)
{
    qu_model_options o = {.rope_base = qu_args_float(args, "rope-base"),
                          .rope_scale = qu_args_float(args, "rope-scale"),
                          .lora = qu_args_str(args, "lora")};
    QU_TRY(qu_model_open_with(m, path, &o, err));
    qu_status st = qu_device_attach(*m, qu_args_str(args, "device"), err);
    if (st == QU_OK) return QU_OK;
    qu_model_close(*m);
    *m = NULL;
    return st;
}

static qu_status open_model(qu_session *s, qu_err *err)
{
    bool unknown = false;
    QU_TRY(find_model(s, err));
    QU_TRY(qu_session_model(&s->model, s->args, s->model_path, err));
    if (s->model->warning[0]) qu_out_warn("model '%s' %s", s->model->name, s->model->warning);
    QU_TRY(qu_tokenizer_create(&s->tok, s->model->gguf, err));
    if (qu_tokenizer_n_vocab(s->tok) > s->model->vocab)
        return qu_fail(err, QU_ERR_FORMAT, "model '%s' has %d tokens but only %d embeddings",
                       s->model_path, qu_tokenizer_n_vocab(s->tok), s->model->vocab);
    QU_TRY(qu_pool_create(&s->pool, qu_args_threads(s->args), err));
    s->template = qu_template_detect(s->tok, s->model->gguf, &unknown);
    if (unknown) qu_out_warn("unknown chat template in '%s': using the plain one", s->model_path);
    qu_device_numerics(s->model, s->numerics);
    return QU_OK;
}

/* The store's frozen prefix, or the template's where there is no store yet. */
static qu_status take_prefix(qu_session *s, qu_err *err)
{
    const qu_store_config *c = s->store ? qu_store_config_get(s->store) : NULL;
    if (!c) QU_TRY(qu_template_prefix(s->template, s->tok, &s->prefix, err));
    if (c && c->n_prefix > 0) {
        QU_TRY(qu_memory_take(&s->prefix.ids, c->n_prefix, sizeof *s->prefix.ids, err));
        memcpy(s->prefix.ids, c->prefix_ids, (size_t)c->n_prefix * sizeof *s->prefix.ids);
        s->prefix.n = c->n_prefix;
    }
    if (s->prefix.n > QU_PAGE_TOKENS)
        return qu_fail(err, QU_ERR_LIMIT, "prompt prefix of %lld tokens: at most %d are possible",
                       (long long)s->prefix.n, QU_PAGE_TOKENS);
    return QU_OK;
}

/* A model that opens is still not necessarily the one whose pages are in the store. */
static qu_status check_binding(qu_session *s, qu_err *err)
{
    const qu_store_config *c = qu_store_config_get(s->store);
    s->codec = (int)c->codec;
    if (qu_hash_equal(c->binding, binding_of(s))) {
        s->other_numerics = strcmp(c->numerics, s->numerics) != 0;
        return QU_OK;
    }
    if (c->model_path && !strcmp(c->model_path, s->model_path))
        return qu_fail(err, QU_ERR_MISMATCH,
                       "store '%s' was made with another state of model '%s' (%s): give the same "
                       "file, --lora, --rope-base and --rope-scale, or another --store",
                       s->store_dir, c->model_name, c->model_path);
    return qu_fail(
        err, QU_ERR_MISMATCH,
        "store '%s' was made with model '%s' (%s), not with '%s' (%s): use that model or "
        "another --store",
        s->store_dir, c->model_name, c->model_path ? c->model_path : "?", s->model->name,
        s->model_path);
}

qu_status qu_session_open(qu_session *s, const qu_args *args, unsigned flags, int codec,
                          qu_err *err)
{
    qu_status st = QU_OK;
    memset(s, 0, sizeof *s);
    s->args = args;
    s->codec = codec;
    const char *dir = qu_args_str(args, "store");
    s->store_dir = strdup(dir ? dir : DEFAULT_STORE);
    if (!s->store_dir) return qu_fail_nomem(err, 64);
    unsigned store_flags = flags & QU_SESSION_WRITE ? QU_STORE_WRITE : 0;
    if (flags & QU_SESSION_STORE) qu_signals_guard(s->store_dir, qu_out_is_json());
    if (flags & QU_SESSION_STORE) {
        st = qu_store_open(&s->store, s->store_dir, NULL, store_flags, err);
        bool missing = st == QU_ERR_NOTFOUND && (flags & QU_SESSION_CREATE);
        if (st != QU_OK && !missing) goto out;
        st = QU_OK;
    }
    if (!(flags & QU_SESSION_MODEL)) return QU_OK;
    QU_TRY_OUT(open_model(s, err));
    if (!(flags & QU_SESSION_STORE)) qu_signals_guard(s->model_path, qu_out_is_json());
    QU_TRY_OUT(take_prefix(s, err));
    if ((flags & QU_SESSION_STORE) && !s->store) {
        qu_store_config c = config_of(s);
        QU_TRY_OUT(qu_store_open(&s->store, s->store_dir, &c, store_flags, err));
    }
    if (s->store) QU_TRY_OUT(check_binding(s, err));
    return QU_OK;
out:
    qu_session_close(s);
    return st;
}

void qu_session_close(qu_session *s)
{
    qu_store_close(s->store);
    qu_pool_free(s->pool);
    qu_tokenizer_free(s->tok);
    qu_model_close(s->model);
    qu_tokens_free(&s->prefix);
    free(s->store_dir);
    free(s->model_path);
    memset(s, 0, sizeof *s);
}

qu_status qu_session_reopen(qu_session *s, bool write, qu_err *err)
{
    qu_store_close(s->store);
    s->store = NULL;
    QU_TRY(qu_store_open(&s->store, s->store_dir, NULL, write ? QU_STORE_WRITE : 0, err));
    return s->model ? check_binding(s, err) : QU_OK;
}

qu_status qu_session_put_meta(qu_session *s, const char *name, const void *p, size_t n, qu_err *err)
{
    qu_txn *t;
    QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_WRITE, err));
    return qu_txn_end(t, qu_catalogue_put_meta(t, name, p, n, err), err);
}

/* --- the lexical index is derived: make it again whenever it does not fit --- */

qu_status qu_session_lexical_path(const qu_session *s, qu_buf *out, qu_err *err)
{
    return qu_buf_printf(out, err, "%s/" LEXICAL_NAME, s->store_dir);
}

qu_status qu_session_add_words(qu_lexical *lx, const qu_doc *d, const char *text,
                               const qu_page *pages, int32_t n, qu_err *err)
{
    for (int32_t i = 0; i < n; i++) {
        const char *p = i ? text + pages[i].text_start : d->title;
        size_t len = i ? (size_t)(pages[i].text_end - pages[i].text_start) : strlen(d->title);
        QU_TRY(qu_lexical_add(lx, d->doc_id, i, d->title, p, len, err));
    }
    return QU_OK;
}

qu_status qu_session_fill_lexical(qu_txn *t, qu_lexical *lx, qu_err *err)
{
    for (uint64_t after = 0;;) {
        QU_OWN(qu_doc_free) qu_doc d = {0};
        QU_OWN(qu_freep) qu_page *pages = NULL;
        QU_OWN(qu_buf_free) qu_buf text = {0};
        int32_t n;
        QU_TRY(qu_catalogue_next_doc(t, after, &d, err));
        if ((after = d.doc_id) == 0) return QU_OK;
        QU_TRY(qu_catalogue_pages(t, after, &pages, &n, err));
        QU_TRY(qu_catalogue_text(t, after, 0, d.text_bytes, &text, err));
        QU_TRY(qu_session_add_words(lx, &d, text.data, pages, n, err));
    }
}

qu_status qu_session_make_lexical(qu_txn *t, const char *path, qu_err *err)
{
    QU_OWN(qu_lexical_closep) qu_lexical *lx = NULL;
    QU_TRY(qu_lexical_open(&lx, path, QU_LEXICAL_WRITE, err));
    QU_TRY(qu_lexical_clear(lx, err));
    QU_TRY(qu_session_fill_lexical(t, lx, err));
    return qu_lexical_commit(lx, qu_catalogue_generation(t), err);
}

static bool fits(const qu_lexical *lx, const qu_txn *t)
{
    return qu_lexical_generation(lx) == qu_catalogue_generation(t);
}

/* Does another process hold the store's lock? Then the word index is about to be replaced by it. */
static bool is_being_written(const qu_session *s)
{
    QU_OWN(qu_buf_free) qu_buf path = {0};
    bool held = false;
    if (qu_buf_printf(&path, NULL, "%s/lock", s->store_dir) == QU_OK) {
        int fd = open(path.data, O_RDONLY | O_CLOEXEC);
        held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        if (fd >= 0) close(fd);
    }
    return held;
}

qu_status qu_session_private_words(qu_txn *t, qu_buf *path, qu_err *err)
{
    const char *tmp = getenv("TMPDIR");
    QU_TRY(qu_buf_printf(path, err, "%s/quire.XXXXXX", tmp && *tmp ? tmp : "/tmp"));
    if (!mkdtemp(path->data)) {
        path->len = 0; /* nothing is there to remove */
        return qu_fail(err, qu_os_status(errno),
                       "cannot make a folder '%s' for the word index: %s", path->data,
                       strerror(errno));
    }
    QU_TRY(qu_buf_puts(path, "/" LEXICAL_NAME, err));
    return qu_session_make_lexical(t, path->data, err);
}

void qu_session_drop_words(qu_buf *path)
{
    char *name = path->len ? strrchr(path->data, '/') : NULL;
    if (name && strcmp(name, "/" LEXICAL_NAME) == 0) {
        unlink(path->data);
        *name = 0;
    }
    if (name) rmdir(path->data);
    qu_buf_free(path);
}

qu_status qu_session_lexical(qu_session *s, qu_lexical **lx, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf path = {0};
    QU_OWN(qu_txn_abortp) qu_txn *t = NULL;
    qu_status st = QU_OK;
    *lx = NULL;
    QU_TRY(qu_session_lexical_path(s, &path, err));
    QU_TRY(qu_txn_begin(&t, s->store, QU_TXN_READ, err));
    st = qu_lexical_open(lx, path.data, QU_LEXICAL_READ, err);
    if (st == QU_OK && (fits(*lx, t) || is_being_written(s))) return st;
    if (st != QU_OK && st != QU_ERR_NOTFOUND) return st;
    qu_lexical_close(*lx);
    *lx = NULL;
    qu_out_note("rebuilding the word index of '%s'", s->store_dir);
    st = qu_session_make_lexical(t, path.data, err);
    if (st != QU_OK && st != QU_ERR_IO && st != QU_ERR_FULL) return st;
    if (st == QU_OK) return qu_lexical_open(lx, path.data, QU_LEXICAL_READ, err);
    QU_OWN(qu_session_drop_words) qu_buf own = {0}; /* of a store that cannot be written */
    QU_TRY(qu_session_private_words(t, &own, err));
    return qu_lexical_open(lx, own.data, QU_LEXICAL_READ, err);
}
