#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/dims.h"
#include "base/os.h"
#include "store/store_int.h"

#define CONFIG_MAGIC "QUIRESTO"
#define CONFIG_MAX_BYTES (((size_t)QU_STORE_MAX_PREFIX * 4) + 65536 + 4096)
enum { BYTE_ORDER_MARK = 0x01020304, BYTE_ORDER_SWAPPED = 0x04030201 };
enum { CONFIG_SUM_FROM = 24, MAX_PAGE_TOKENS = 1 << 14 };

/* DIR/config: this, what qu_store_config holds from page_tokens on, the prefix ids, the model
 * path. */
typedef struct config_head {
    char magic[8];
    uint32_t mark, format;
    uint64_t sum;     /* XXH3-64 of everything from n_bytes on */
    uint64_t n_bytes; /* of the whole file */
} config_head;
_Static_assert(sizeof(config_head) == 32, "stored as it is: no padding");
enum {
    CONFIG_BODY = offsetof(qu_store_config, format),
    CONFIG_FIXED = sizeof(config_head) + CONFIG_BODY
};
_Static_assert(CONFIG_FIXED == 288, "stored as it is: no padding");

qu_path qu_store_path(const qu_store *s, const char *fmt, ...)
{
    qu_path p;
    va_list ap;
    int n = snprintf(p.s, sizeof p.s, "%s/", s->dir); /* qu_store_open has seen that it fits */
    va_start(ap, fmt);
    vsnprintf(p.s + n, sizeof p.s - (size_t)n, fmt, ap);
    va_end(ap);
    return p;
}

qu_path qu_kv_path(const qu_store *s, uint64_t file_id)
{
    return qu_store_path(s, "kv/%llu.kv", (unsigned long long)file_id);
}

bool qu_store_is_network_fs(long f_type)
{
    /* NFS, SMB, SMB2, CIFS, CEPH, OpenAFS, AFS, CODA, 9P */
    static const uint32_t network[] = {0x6969,     0x517B,     0xFE534D42, 0xFF534D42, 0x00C36400,
                                       0x5346414F, 0x6B414653, 0x73757245, 0x01021997};
    for (size_t i = 0; i < sizeof network / sizeof *network; i++)
        if (network[i] == (uint32_t)f_type) return true;
    return false;
}

/* --- config --- */

static qu_status config_check(const qu_store_config *c, qu_err *err)
{
    bool ok = c->page_tokens >= 1 && c->page_tokens <= MAX_PAGE_TOKENS && c->n_layers >= 1 &&
              c->n_layers <= QU_MAX_LAYERS && c->n_kv_heads >= 1 && c->n_kv_heads <= QU_MAX_HEADS &&
              c->head_size >= 1 && c->head_size <= QU_MAX_HEAD_SIZE && c->n_prefix >= 0 &&
              c->n_prefix <= QU_STORE_MAX_PREFIX && (c->n_prefix == 0 || c->prefix_ids) &&
              memchr(c->numerics, 0, sizeof c->numerics) &&
              memchr(c->model_name, 0, sizeof c->model_name) &&
              (!c->model_path || strlen(c->model_path) <= 65536);
    return ok ? QU_OK : qu_fail(err, QU_ERR_ARG, "store config is out of range");
}

static qu_status config_write(const qu_store *s, const qu_store_config *config, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    qu_store_config c = *config;
    c.model_path_len = c.model_path ? (uint32_t)strlen(c.model_path) : 0;
    c.zero = 0;
    size_t n_ids = (size_t)c.n_prefix * sizeof *c.prefix_ids;
    config_head h = {CONFIG_MAGIC, BYTE_ORDER_MARK, QU_STORE_FORMAT, 0,
                     CONFIG_FIXED + n_ids + c.model_path_len};
    QU_TRY(qu_buf_add(&b, &h, sizeof h, err));
    QU_TRY(qu_buf_add(&b, &c, CONFIG_BODY, err));
    QU_TRY(qu_buf_add(&b, c.prefix_ids, n_ids, err));
    QU_TRY(qu_buf_add(&b, c.model_path, c.model_path_len, err));
    h.sum = qu_hash_sum(b.data + CONFIG_SUM_FROM, b.len - CONFIG_SUM_FROM, 0);
    memcpy(b.data, &h, sizeof h);
    return qu_os_replace(qu_store_path(s, "config").s, b.data, b.len, 0600, err);
}

static qu_status config_damaged(const qu_store *s, qu_err *err)
{
    return qu_fail(err, QU_ERR_CORRUPT, "config of store '%s' is damaged: restore it or index anew",
                   s->dir);
}

static qu_status config_parse(qu_store *s, const qu_buf *b, qu_err *err)
{
    config_head h = {0};
    qu_store_config *c = &s->config;
    if (b->len >= 16) memcpy(&h, b->data, 16);
    if (b->len < 16 || memcmp(h.magic, CONFIG_MAGIC, 8) != 0) return config_damaged(s, err);
    if (h.mark == BYTE_ORDER_SWAPPED)
        return qu_fail(err, QU_ERR_UNSUPPORTED,
                       "store '%s' has another byte order: mark %08x, this machine's is %08x",
                       s->dir, h.mark, (unsigned)BYTE_ORDER_MARK);
    if (h.mark == BYTE_ORDER_MARK && h.format > QU_STORE_FORMAT)
        return qu_fail(
            err, QU_ERR_UNSUPPORTED,
            "store '%s' has format %u, this program reads up to format %u: use a newer quire",
            s->dir, h.format, (unsigned)QU_STORE_FORMAT);
    if (b->len < CONFIG_FIXED) return config_damaged(s, err);
    memcpy(&h, b->data, sizeof h);
    memcpy(c, b->data + sizeof h, CONFIG_BODY);
    c->format = h.format;
    const char *ids = b->data + CONFIG_FIXED;
    size_t n_ids = (size_t)c->n_prefix * sizeof *c->prefix_ids;
    if (h.mark != BYTE_ORDER_MARK || h.format < 1 || h.n_bytes != b->len ||
        h.sum != qu_hash_sum(b->data + CONFIG_SUM_FROM, b->len - CONFIG_SUM_FROM, 0) ||
        c->n_prefix < 0 || c->n_prefix > QU_STORE_MAX_PREFIX ||
        CONFIG_FIXED + n_ids + c->model_path_len != b->len)
        return config_damaged(s, err);
    c->numerics[sizeof c->numerics - 1] = c->model_name[sizeof c->model_name - 1] = 0;
    c->prefix_ids = malloc(n_ids + 1);
    if (c->model_path_len) c->model_path = strndup(ids + n_ids, c->model_path_len);
    if (!c->prefix_ids || (c->model_path_len && !c->model_path))
        return qu_fail_nomem(err, (long long)b->len);
    memcpy(c->prefix_ids, ids, n_ids);
    return config_check(c, NULL) == QU_OK ? QU_OK : config_damaged(s, err);
}

static qu_status no_store(const qu_store *s, qu_err *err)
{
    return qu_fail(err, QU_ERR_NOTFOUND, "no store at '%s': create one with quire index", s->dir);
}

static qu_status config_read(qu_store *s, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    qu_status st = qu_os_read(&b, qu_store_path(s, "config").s, CONFIG_MAX_BYTES, err);
    if (st == QU_ERR_NOTFOUND) return no_store(s, err);
    if (st == QU_ERR_LIMIT) return config_damaged(s, err);
    QU_TRY(st);
    return config_parse(s, &b, err);
}

/* --- lock --- */

/* A reader that asks whether the store is being written holds the lock for a moment: try again a
 * few times before believing in a writer. */
static bool lock_hold(int fd)
{
    for (int i = 0; i < 5; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
        if (errno != EWOULDBLOCK) return false;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    errno = EWOULDBLOCK;
    return false;
}

static qu_status lock_take(qu_store *s, qu_err *err)
{
    char text[32] = "";
    qu_path path = qu_store_path(s, "lock");
    s->lock_fd = open(path.s, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0 && (errno == EROFS || errno == EACCES || errno == EPERM))
        return qu_fail(err, QU_ERR_IO, "store '%s' cannot be written, only read: %s", s->dir,
                       strerror(errno));
    if (s->lock_fd < 0) return qu_os_fail(err, errno, "open", path.s);
    if (lock_hold(s->lock_fd)) { /* the pid is for people: failing to write it does no harm */
        int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
        if (ftruncate(s->lock_fd, 0) != 0 || pwrite(s->lock_fd, text, (size_t)n, 0) != n) errno = 0;
        return QU_OK;
    }
    if (errno != EWOULDBLOCK) return qu_os_fail(err, errno, "lock", path.s);
    ssize_t n = pread(s->lock_fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    snprintf(text, sizeof text, pid > 0 ? "process %ld" : "another process", pid);
    return qu_fail(err, QU_ERR_LOCKED, "store '%s' is locked by %s", s->dir, text);
}

/* --- creation --- */

/* Is name something that an interrupted creation may have left? */
static bool is_creation_rest(const char *name)
{
    static const char *const ours[] = {
        ".", "..", "lock", "kv", "catalogue.1", "catalogue.1-lock", "CURRENT"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (strcmp(name, ours[i]) == 0) return true;
    return strncmp(name, "config.tmp.", 11) == 0 || strncmp(name, "CURRENT.tmp.", 12) == 0;
}

/* *exists: there is a config. Else the folder must be absent or free for the taking. */
static qu_status look(const qu_store *s, bool *exists, qu_err *err)
{
    qu_status st = QU_OK;
    *exists = false;
    DIR *d = opendir(s->dir);
    if (!d) {
        if (errno == ENOENT) return QU_OK;
        return qu_os_fail(err, errno, "open", s->dir);
    }
    for (struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, "config") == 0)
            *exists = true;
        else if (!is_creation_rest(e->d_name) && st == QU_OK)
            st = qu_fail(err, QU_ERR_ARG, "'%s' is no store and holds '%s': give an empty folder",
                         s->dir, e->d_name);
    }
    closedir(d);
    return *exists ? QU_OK : st;
}

/* The config comes last and makes it a store. */
static qu_status create_files(qu_store *s, const qu_store_config *c, qu_err *err)
{
    qu_path cat = qu_store_path(s, "catalogue.1");
    qu_txn *t = NULL;
    QU_TRY(qu_os_mkdirs(qu_store_path(s, "kv").s, 0700, err));
    unlink(cat.s);
    unlink(qu_store_path(s, "catalogue.1-lock").s);
    QU_TRY(qu_lmdb_open(&s->env, cat.s, 0, 0, err));
    s->catalogue_no = 1;
    s->config = *c; /* borrowed for this moment: qu_txn_begin looks at nothing else */
    qu_status st = qu_txn_begin(&t, s, QU_TXN_WRITE, err);
    if (st == QU_OK) st = qu_txn_commit(t, err);
    memset(&s->config, 0, sizeof s->config);
    mdb_env_close(QU_TAKE(s->env));
    QU_TRY(st);
    QU_TRY(qu_os_replace(qu_store_path(s, "CURRENT").s, "catalogue.1\n", 12, 0600, err));
    return config_write(s, c, err);
}

/* --- catalogue file --- */

static qu_status read_current(qu_store *s, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    unsigned long long no = 0;
    qu_path path = qu_store_path(s, "CURRENT");
    qu_status st = qu_os_read(&b, path.s, 64, err);
    if (st == QU_ERR_NOTFOUND || st == QU_ERR_LIMIT ||
        (st == QU_OK && (sscanf(b.data, "catalogue.%llu\n", &no) != 1 || no == 0)))
        st = qu_fail(err, QU_ERR_CORRUPT, "file '%s' is damaged: it must name a catalogue", path.s);
    s->catalogue_no = no;
    return st;
}

qu_status qu_store_open_catalogue(qu_store *s, qu_err *err)
{
    qu_status st = QU_OK;
    /* What is read lies scattered; readahead would map what nothing asked for. */
    unsigned ro = s->writable ? 0 : MDB_RDONLY | MDB_NORDAHEAD;
    int dead;
    for (int tries = 0; tries < 5;
         tries++) { /* a gc may switch between reading CURRENT and opening */
        struct stat sb;
        QU_TRY(read_current(s, err));
        qu_path path = qu_store_path(s, "catalogue.%llu", (unsigned long long)s->catalogue_no);
        if (stat(path.s, &sb) != 0) {
            st = qu_fail(err, errno == ENOENT ? QU_ERR_CORRUPT : QU_ERR_IO, "cannot open '%s': %s",
                         path.s, qu_os_why(errno));
        } else if (sb.st_size < 8192) { /* two meta pages: LMDB would start an empty one */
            st = qu_fail(err, QU_ERR_CORRUPT, "catalogue '%s' is cut short", path.s);
        } else {
            st = qu_lmdb_open(&s->env, path.s, ro, 0, err);
            if (st == QU_ERR_IO && ro) /* no right to make the lock file */
                st = qu_lmdb_open(&s->env, path.s, ro | MDB_NOLOCK, 0, err);
        }
        if (st == QU_OK) break;
    }
    if (st == QU_OK) mdb_reader_check(s->env, &dead);
    return st;
}

/* --- the handle --- */

static qu_status refuse_network(const qu_store *s, qu_err *err)
{
    struct statfs fs;
    if (statfs(s->dir, &fs) != 0) return qu_os_fail(err, errno, "open", s->dir);
    if (qu_store_is_network_fs((long)fs.f_type))
        return qu_fail(err, QU_ERR_UNSUPPORTED,
                       "store '%s' is on a network file system: LMDB needs a local disk", s->dir);
    return QU_OK;
}

static qu_status open_for_writing(qu_store *s, const qu_store_config *create, qu_err *err)
{
    bool exists = true;
    struct stat sb;
    if (create) {
        QU_TRY(config_check(create, err));
        QU_TRY(look(s, &exists, err));
        if (!exists) QU_TRY(qu_os_mkdirs(s->dir, 0700, err));
    } else if (stat(qu_store_path(s, "config").s, &sb) != 0 && errno == ENOENT) {
        return no_store(s, err);
    }
    QU_TRY(refuse_network(s, err));
    QU_TRY(lock_take(s, err));
    if (!exists) { /* another creator may have finished while we waited for nothing: look again */
        QU_TRY(look(s, &exists, err));
        if (!exists) QU_TRY(create_files(s, create, err));
    }
    return QU_OK;
}

qu_status qu_store_open(qu_store **store, const char *dir, const qu_store_config *create,
                        unsigned flags, qu_err *err)
{
    QU_OWN(qu_store_closep) qu_store *s = NULL;
    *store = NULL;
    if (!dir || !*dir) return qu_fail(err, QU_ERR_ARG, "store folder is empty");
    if (strlen(dir) > PATH_MAX - 128)
        return qu_fail(err, QU_ERR_LIMIT, "store folder '%.80s...' has too long a name", dir);
    if (create && !(flags & QU_STORE_WRITE))
        return qu_fail(err, QU_ERR_ARG, "cannot create store '%s' without writing", dir);
    QU_TRY(qu_memory_take(&s, 1, sizeof *s, err));
    s->lock_fd = -1;
    s->writable = flags & QU_STORE_WRITE;
    pthread_mutex_init(&s->mu, NULL);
    if (!(s->dir = strdup(dir))) return qu_fail_nomem(err, (long long)strlen(dir));
    if (s->writable) QU_TRY(open_for_writing(s, create, err));
    QU_TRY(config_read(s, err));
    QU_TRY(qu_store_open_catalogue(s, err));
    *store = QU_TAKE(s);
    return QU_OK;
}

qu_status qu_store_set_model(qu_store *s, const char *path, qu_err *err)
{
    QU_OWN(qu_freep) char *copy = strdup(path);
    qu_store_config c = s->config;
    if (!copy) return qu_fail_nomem(err, (long long)strlen(path));
    c.model_path = copy;
    QU_TRY(config_write(s, &c, err));
    free(s->config.model_path);
    s->config.model_path = QU_TAKE(copy);
    return QU_OK;
}

void qu_store_close(qu_store *s)
{
    if (!s) return;
    qu_kv_close_readers(s);
    if (s->env) mdb_env_close(s->env);
    if (s->lock_fd >= 0) close(s->lock_fd);
    free(s->config.model_path);
    free(s->config.prefix_ids);
    pthread_mutex_destroy(&s->mu);
    free(s->dir);
    free(s);
}

const qu_store_config *qu_store_config_get(const qu_store *s) { return &s->config; }
bool qu_store_is_writable(const qu_store *s) { return s->writable; }
