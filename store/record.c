/* LMDB behind statuses, and checksummed records on top of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zlib.h>

#include "base/os.h"
#include "store/store_int.h"

#define REC_SEED 0x7175697265726563u /* "quirerec": a foreign record does not pass by accident */
#define MAP_BYTES ((size_t)1 << 40)
#define MAP_BYTES_MIN ((size_t)1 << 26)
#define N_READERS 510 /* with LMDB's header, 64 bytes each make LOCK_BYTES */
#define LOCK_BYTES 32768
#define FULL_BYTES ((uint64_t)64 << 20) /* less than any commit may need */

qu_status qu_lmdb_fail(qu_err *err, int rc, const char *what, const char *subject)
{
    qu_status st;
    struct statvfs fs;
    const char *why = rc > 0 ? qu_os_why(rc) : mdb_strerror(rc);
    switch (rc) {
    case EIO: /* also LMDB's word for a write that came back short because the disk is full */
        st = QU_ERR_IO;
        if (statvfs(subject, &fs) != 0 || fs.f_bavail * fs.f_frsize >= FULL_BYTES) break;
        st = QU_ERR_FULL;
        why = qu_os_why(ENOSPC);
        break;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_PANIC:
    case MDB_VERSION_MISMATCH: st = QU_ERR_CORRUPT; break;
    case MDB_NOTFOUND: st = QU_ERR_NOTFOUND; break;
    case MDB_MAP_FULL:
    case EFBIG: st = QU_ERR_FULL; break;
    default: st = rc > 0 ? qu_os_status(rc) : QU_ERR_IO;
    }
    return qu_fail(err, st, "cannot %s '%s': %s", what, subject, why);
}

/* Until it is opened once, the main database has no key order. */
static int open_main(MDB_env *env)
{
    MDB_txn *t;
    MDB_dbi dbi;
    int rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &t);
    if (rc) return rc;
    rc = mdb_dbi_open(t, NULL, 0, &dbi); /* always number 1 */
    mdb_txn_abort(t);
    return rc;
}

/* LMDB writes into its lock file through a map, where a full disk is no error but a signal: give
 * the file its room first. Closed before LMDB opens it, whose record locks a close would drop. */
static int reserve_lock(const char *path)
{
    char lock[PATH_MAX + 8];
    snprintf(lock, sizeof lock, "%s-lock", path);
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = fd < 0 ? errno : posix_fallocate(fd, 0, LOCK_BYTES);
    if (fd >= 0) close(fd);
    return rc == EINVAL || rc == EOPNOTSUPP ? 0 : rc;
}

qu_status qu_lmdb_open(MDB_env **out, const char *path, unsigned flags, size_t map, qu_err *err)
{
    MDB_env *env = NULL;
    int rc;
    size_t bytes = map ? map : MAP_BYTES;
    *out = NULL;
    if (!(flags & (MDB_RDONLY | MDB_NOLOCK)) && (rc = reserve_lock(path)) != 0)
        return qu_lmdb_fail(err, rc, "open", path);
    for (;;) { /* address space may be limited (ulimit -v, containers): take what is granted */
        if ((rc = mdb_env_create(&env)) != 0) return qu_lmdb_fail(err, rc, "open", path);
        rc = mdb_env_set_mapsize(env, bytes);
        if (!rc) rc = mdb_env_set_maxreaders(env, N_READERS);
        if (!rc) rc = mdb_env_open(env, path, flags | MDB_NOSUBDIR | MDB_NOTLS, 0600);
        if (!rc) rc = open_main(env);
        if (!rc) break;
        mdb_env_close(env);
        if (rc != ENOMEM || map || bytes <= MAP_BYTES_MIN)
            return qu_lmdb_fail(err, rc, "open", path);
        bytes /= 4;
    }
    *out = env;
    return QU_OK;
}

void qu_lmdb_closep(MDB_env **env)
{
    if (*env) mdb_env_close(*env);
}

void qu_lmdb_abortp(MDB_txn **txn)
{
    if (*txn) mdb_txn_abort(*txn);
}

void qu_lmdb_cursorp(MDB_cursor **cursor)
{
    if (*cursor) mdb_cursor_close(*cursor);
}

int64_t qu_lmdb_bytes(MDB_env *env, size_t *page_bytes)
{
    MDB_stat ms;
    MDB_envinfo info;
    mdb_env_stat(env, &ms);
    mdb_env_info(env, &info);
    if (page_bytes) *page_bytes = ms.ms_psize;
    return (int64_t)(info.me_last_pgno + 1) * ms.ms_psize;
}

/* --- keys --- */

void qu_put_be64(uint8_t *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 8) p[i] = (uint8_t)v;
}

uint64_t qu_get_be64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) v = v << 8 | p[i];
    return v;
}

static qu_rec_key key_of(int tag, int n, const uint64_t *v)
{
    qu_rec_key k = {.n = 1 + 8 * (size_t)n};
    k.b[0] = (uint8_t)tag;
    for (int i = 0; i < n; i++) qu_put_be64(k.b + 1 + 8 * i, v[i]);
    return k;
}

qu_rec_key qu_key_tag(int tag) { return key_of(tag, 0, NULL); }
qu_rec_key qu_key_num(int tag, uint64_t a) { return key_of(tag, 1, &a); }
qu_rec_key qu_key_num2(int tag, uint64_t a, uint64_t b)
{
    return key_of(tag, 2, (uint64_t[]){a, b});
}
qu_rec_key qu_key_hash(int tag, qu_hash h) { return qu_key_num2(tag, h.hi, h.lo); }

qu_rec_key qu_key_hash_num(int tag, qu_hash h, uint64_t a)
{
    return key_of(tag, 3, (uint64_t[]){h.hi, h.lo, a});
}

qu_rec_key qu_key_chunk(int tag, uint64_t a, uint32_t chunk)
{
    qu_rec_key k = qu_key_num(tag, a);
    for (int i = 24; i >= 0; i -= 8) k.b[k.n++] = (uint8_t)(chunk >> i);
    return k;
}

/* "catalogue record 'd 0c' is ...", its key in hexadecimal. */
static qu_status rec_fail(qu_err *err, qu_status st, const MDB_val *key, const char *fault)
{
    char text[64];
    const uint8_t *b = key->mv_data;
    if (!err) return st;
    int j =
        snprintf(text, sizeof text, "%c%s", key->mv_size && b[0] > 32 && b[0] < 127 ? b[0] : '?',
                 key->mv_size > 1 ? " " : "");
    for (size_t i = 1; i < key->mv_size && j + 4 < 64; i++)
        j += snprintf(text + j, 3, "%02x", b[i]);
    return qu_fail(err, st, "catalogue record '%s' %s", text, fault);
}

/* --- records --- */

qu_status qu_rec_verify(const MDB_val *key, const MDB_val *v, const void **payload, size_t *n,
                        qu_err *err)
{
    const uint8_t *p = v->mv_data;
    uint64_t sum;
    if (v->mv_size < QU_REC_HEAD) return rec_fail(err, QU_ERR_CORRUPT, key, "is cut short");
    memcpy(&sum, p, 8);
    if (sum != qu_hash_sum(p + 8, v->mv_size - 8, REC_SEED))
        return rec_fail(err, QU_ERR_CORRUPT, key, "fails its checksum");
    if (p[8] != key->mv_size || v->mv_size < QU_REC_HEAD + key->mv_size ||
        memcmp(p + QU_REC_HEAD, key->mv_data, key->mv_size) != 0)
        return rec_fail(err, QU_ERR_CORRUPT, key, "belongs to another key");
    *payload = p + QU_REC_HEAD + key->mv_size;
    *n = v->mv_size - QU_REC_HEAD - key->mv_size;
    return QU_OK;
}

static qu_status need_write(const qu_txn *t, qu_err *err)
{
    return t->write ? QU_OK : qu_fail(err, QU_ERR_ARG, "cannot write in a read transaction");
}

qu_status qu_rec_put(qu_txn *t, const qu_rec_key *k, const void *p, size_t n, qu_err *err)
{
    MDB_val key = {k->n, (void *)k->b};
    MDB_val v = {QU_REC_HEAD + k->n + n, NULL};
    QU_TRY(need_write(t, err));
    int rc = mdb_put(t->mt, 1, &key, &v, MDB_RESERVE);
    if (rc) {
        t->unsafe++;
        return qu_lmdb_fail(err, rc, "write the catalogue of", t->s->dir);
    }
    uint8_t *b = v.mv_data;
    b[8] = (uint8_t)k->n;
    memcpy(b + QU_REC_HEAD, k->b, k->n);
    if (n) memcpy(b + QU_REC_HEAD + k->n, p, n);
    uint64_t sum = qu_hash_sum(b + 8, v.mv_size - 8, REC_SEED);
    memcpy(b, &sum, 8);
    return QU_OK;
}

qu_status qu_rec_get(qu_txn *t, const qu_rec_key *k, const void **p, size_t *n, qu_err *err)
{
    MDB_val key = {k->n, (void *)k->b}, v;
    int rc = mdb_get(t->mt, 1, &key, &v);
    if (rc == MDB_NOTFOUND) return rec_fail(err, QU_ERR_NOTFOUND, &key, "is missing");
    if (rc) return qu_lmdb_fail(err, rc, "read the catalogue of", t->s->dir);
    return qu_rec_verify(&key, &v, p, n, err);
}

qu_status qu_rec_del(qu_txn *t, const qu_rec_key *k, qu_err *err)
{
    MDB_val key = {k->n, (void *)k->b};
    QU_TRY(need_write(t, err));
    int rc = mdb_del(t->mt, 1, &key, NULL);
    if (rc == MDB_NOTFOUND) return rec_fail(err, QU_ERR_NOTFOUND, &key, "is missing");
    if (rc) {
        t->unsafe++;
        return qu_lmdb_fail(err, rc, "write the catalogue of", t->s->dir);
    }
    return QU_OK;
}

qu_status qu_rec_seek(qu_txn *t, const qu_rec_key *from, size_t n_prefix, qu_rec_key *k,
                      qu_err *err)
{
    QU_OWN(qu_lmdb_cursorp) MDB_cursor *c = NULL;
    MDB_val key = {from->n, (void *)from->b}, v;
    k->n = 0;
    int rc = mdb_cursor_open(t->mt, 1, &c);
    if (!rc) rc = mdb_cursor_get(c, &key, &v, MDB_SET_RANGE);
    if (rc == MDB_NOTFOUND) return QU_OK;
    if (rc) return qu_lmdb_fail(err, rc, "read the catalogue of", t->s->dir);
    if (key.mv_size < n_prefix || memcmp(key.mv_data, from->b, n_prefix) != 0) return QU_OK;
    if (key.mv_size >= QU_KEY_MAX)
        return qu_fail(err, QU_ERR_CORRUPT, "catalogue holds a record with an unknown key");
    k->n = key.mv_size;
    memcpy(k->b, key.mv_data, key.mv_size);
    return QU_OK;
}

qu_status qu_index_next(qu_txn *t, const qu_rec_key *prefix, uint64_t after, uint64_t *id,
                        const void **p, size_t *n, qu_err *err)
{
    qu_rec_key k, from = *prefix;
    const void *unused;
    size_t unused_n;
    *id = 0;
    if (after == UINT64_MAX) return QU_OK;
    qu_put_be64(from.b + from.n, after + 1);
    from.n += 8;
    QU_TRY(qu_rec_seek(t, &from, prefix->n, &k, err));
    if (k.n == 0) return QU_OK;
    if (k.n != from.n) return qu_fail(err, QU_ERR_CORRUPT, "an index key is malformed");
    QU_TRY(qu_rec_get(t, &k, p ? p : &unused, n ? n : &unused_n, err));
    *id = qu_get_be64(k.b + prefix->n);
    return QU_OK;
}

/* --- compressed chunks --- */

qu_status qu_chunk_put(qu_txn *t, const qu_rec_key *k, const void *p, size_t n, qu_err *err)
{
    uLongf packed = compressBound((uLong)n);
    uint32_t raw = (uint32_t)n;
    QU_OWN(qu_freep) uint8_t *b = malloc(4 + (packed > n ? packed : n));
    if (!b) return qu_fail_nomem(err, (long long)packed);
    memcpy(b, &raw, 4);
    int rc = compress2(b + 4, &packed, p, (uLong)n, Z_BEST_SPEED);
    if (rc == Z_MEM_ERROR) return qu_fail_nomem(err, 1 << 18);
    if (rc != Z_OK || packed >= n) { /* stored length == raw length says: not compressed */
        memcpy(b + 4, p, n);
        packed = (uLongf)n;
    }
    return qu_rec_put(t, k, b, 4 + packed, err);
}

qu_status qu_chunk_get(qu_txn *t, const qu_rec_key *k, size_t max, qu_buf *out, qu_err *err)
{
    const uint8_t *p;
    size_t n;
    uint32_t raw;
    MDB_val key = {k->n, (void *)k->b};
    qu_status st = qu_rec_get(t, k, (const void **)&p, &n, err);
    if (st == QU_ERR_NOTFOUND) return rec_fail(err, QU_ERR_CORRUPT, &key, "is missing");
    QU_TRY(st);
    if (n >= 4) memcpy(&raw, p, 4);
    if (n < 4 || raw > max || n - 4 > raw)
        return rec_fail(err, QU_ERR_CORRUPT, &key, "is malformed");
    QU_TRY(qu_buf_reserve(out, raw, err));
    uLongf got = raw;
    int rc = Z_OK;
    if (n - 4 == raw) memcpy(out->data + out->len, p + 4, raw);
    else rc = uncompress((Bytef *)out->data + out->len, &got, p + 4, (uLong)(n - 4));
    if (rc == Z_MEM_ERROR) return qu_fail_nomem(err, 1 << 16);
    if (rc != Z_OK || got != raw) return rec_fail(err, QU_ERR_CORRUPT, &key, "does not decompress");
    out->len += raw;
    out->data[out->len] = 0;
    return QU_OK;
}
