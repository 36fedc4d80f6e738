/* The folder of summaries: its lock, its manifest, its files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "pipelines/signals.h"
#include "pipelines/summarize.h"

#define HEAD "quire summaries 1\t"
#define MANIFEST "manifest.tsv"
enum { MAX_MANIFEST = 1 << 30, NAME_BYTES = 60, COLUMNS = 7, POLL_US = 100000 };

static const char *const endings[QU_N_SYNOPSIS_FORMATS] = {".md", ".json", ".txt"};

struct qu_manifest {
    char *dir, *store, *file;
    qu_buf entries; /* qu_manifest_entry, by path */
    int lock;       /* descriptor; -1 */
    int64_t size;   /* of the file: whole lines */
    bool untidy;    /* lines were added since it was last written whole */
};

static qu_manifest_entry *entry_at(const qu_manifest *m, size_t i)
{
    return (qu_manifest_entry *)(void *)m->entries.data + i;
}

static size_t n_entries(const qu_manifest *m) { return m->entries.len / sizeof(qu_manifest_entry); }

/* Where a path's entry stands, or would. */
static size_t place_of(const qu_manifest *m, const char *path)
{
    size_t lo = 0, hi = n_entries(m);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (strcmp(entry_at(m, mid)->path, path) < 0) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

const qu_manifest_entry *qu_manifest_find(const qu_manifest *m, const char *path)
{
    size_t i = place_of(m, path);
    return i < n_entries(m) && strcmp(entry_at(m, i)->path, path) == 0 ? entry_at(m, i) : NULL;
}

static void forget(qu_manifest *m, const char *path)
{
    size_t i = place_of(m, path);
    if (!qu_manifest_find(m, path)) return;
    free(entry_at(m, i)->path);
    free(entry_at(m, i)->fault);
    m->entries.len -= sizeof(qu_manifest_entry);
    memmove(entry_at(m, i), entry_at(m, i + 1), (n_entries(m) - i) * sizeof(qu_manifest_entry));
}

/* Put a copy of *e in the place of its path's entry. */
static qu_status keep(qu_manifest *m, const qu_manifest_entry *e, qu_err *err)
{
    bool faulty = e->fault && *e->fault;
    qu_manifest_entry copy = *e;
    copy.path = strdup(e->path);
    copy.fault = faulty ? strdup(e->fault) : NULL;
    if (copy.path && (copy.fault || !faulty)) {
        forget(m, copy.path);
        size_t i = place_of(m, copy.path), after = n_entries(m) - i;
        if (qu_buf_add(&m->entries, &copy, sizeof copy, NULL) == QU_OK) {
            memmove(entry_at(m, i + 1), entry_at(m, i), after * sizeof copy);
            *entry_at(m, i) = copy;
            return QU_OK;
        }
    }
    free(copy.path);
    free(copy.fault);
    return qu_fail_nomem(err, 64);
}

/* --- names --- */

/* DIR/NAME-HASH.ext; NAME is what the file's own name has before its last dot, made harmless. */
static qu_status output_path(const qu_manifest *m, const char *path, qu_synopsis_format format,
                             qu_buf *out, qu_err *err)
{
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t n = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    if (n > NAME_BYTES)
        for (n = NAME_BYTES; n > 0 && ((unsigned char)base[n] & 0xC0) == 0x80;) n--;
    QU_TRY(qu_buf_printf(out, err, "%s/", m->dir));
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)base[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     c >= 0x80 || c == '_' || (i > 0 && (c == '-' || c == '.'));
        QU_TRY(qu_buf_add(out, plain ? &base[i] : "_", 1, err));
    }
    return qu_buf_printf(out, err, "-%016" PRIx64 "%s", qu_hash_sum(path, strlen(path), 0),
                         endings[format]);
}

/* NAME-HASH.ext.tmp.PID, as qu_os_replace leaves it when it is killed, or the manifest's own. */
static bool is_remains(const char *name)
{
    static const char hash[] = "-[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]"
                               "[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]";
    char pattern[200];
    for (int f = 0; f < QU_N_SYNOPSIS_FORMATS; f++) {
        snprintf(pattern, sizeof pattern, "*%s%s.tmp.[0-9]*", hash, endings[f]);
        if (fnmatch(pattern, name, 0) == 0) return true;
    }
    return fnmatch(MANIFEST ".tmp.[0-9]*", name, 0) == 0;
}

static void remove_remains(const qu_manifest *m)
{
    DIR *d = opendir(m->dir);
    for (struct dirent *e; d && (e = readdir(d));)
        if (is_remains(e->d_name)) unlinkat(dirfd(d), e->d_name, 0);
    if (d) closedir(d);
}

/* --- lines --- */

static qu_status add_escaped(qu_buf *b, const char *s, qu_err *err)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7F || c == '%')
            QU_TRY(qu_buf_printf(b, err, "%%%02X", c));
        else
            QU_TRY(qu_buf_add(b, s, 1, err));
    }
    return QU_OK;
}

/* In place; false where a % is not followed by two digits or a NUL would result. */
static bool unescape(char *s)
{
    char *to = s;
    for (; *s; s++) {
        unsigned int c = 0;
        if (*s != '%') {
            *to++ = *s;
            continue;
        }
        if (strspn(s + 1, "0123456789ABCDEF") < 2 || sscanf(s + 1, "%2X", &c) != 1 || c == 0)
            return false;
        *to++ = (char)c;
        s += 2;
    }
    *to = 0;
    return true;
}

static qu_status add_line(qu_buf *b, const qu_manifest_entry *e, qu_err *err)
{
    char content[33], settings[33];
    qu_hash_hex(content, e->content);
    qu_hash_hex(settings, e->settings);
    QU_TRY(qu_buf_printf(b, err, "%s\t%s\t%" PRIu64 "\t%" PRId64 "\t%s\t", content, settings,
                         e->doc_id, e->bytes, endings[e->format] + 1));
    QU_TRY(add_escaped(b, e->path, err));
    QU_TRY(qu_buf_puts(b, "\t", err));
    if (e->fault) QU_TRY(add_escaped(b, e->fault, err));
    return qu_buf_puts(b, "\n", err);
}

static bool parse_hash(qu_hash *h, const char *s)
{
    return strlen(s) == 32 && strspn(s, "0123456789abcdef") == 32 &&
           sscanf(s, "%16" SCNx64 "%16" SCNx64, &h->hi, &h->lo) == 2;
}

static bool parse_number(int64_t *out, const char *s, int64_t min)
{
    char *end;
    errno = 0;
    *out = strtoll(s, &end, 10);
    return errno == 0 && end > s && *end == 0 && *out >= min;
}

/* One line, its end replaced by a NUL; changed in place. false: not one of ours. */
static bool read_line(qu_manifest *m, char *line, qu_status *st, qu_err *err)
{
    char *column[COLUMNS];
    qu_manifest_entry e = {0};
    int64_t doc;
    for (int i = 0; i < COLUMNS; i++)
        if (!(column[i] = strsep(&line, "\t"))) return false;
    if (line || !unescape(column[5]) || !unescape(column[6]) || !*column[5]) return false;
    if (strcmp(column[0], "-") == 0) {
        forget(m, column[5]);
        return true;
    }
    for (int f = 0; f <= QU_N_SYNOPSIS_FORMATS; f++) {
        if (f == QU_N_SYNOPSIS_FORMATS) return false;
        e.format = (qu_synopsis_format)f;
        if (strcmp(column[4], endings[f] + 1) == 0) break;
    }
    if (!parse_hash(&e.content, column[0]) || !parse_hash(&e.settings, column[1]) ||
        !parse_number(&doc, column[2], 0) || !parse_number(&e.bytes, column[3], -1))
        return false;
    e.doc_id = (uint64_t)doc;
    e.path = column[5];
    e.fault = column[6];
    *st = keep(m, &e, err);
    return true;
}

static qu_status read_manifest(qu_manifest *m, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    qu_err why = {0};
    qu_status st = qu_os_read(&b, m->file, MAX_MANIFEST, &why);
    if (st == QU_ERR_NOTFOUND || (st == QU_OK && b.len == 0)) return QU_OK;
    if (st != QU_OK && err) *err = why;
    for (size_t at = 0, number = 1; st == QU_OK && at < b.len; number++) {
        char *line = b.data + at, *end = memchr(line, '\n', b.len - at);
        if (!end) { /* cut off by a crash */
            m->untidy = true;
            break;
        }
        bool whole = !memchr(line, 0, (size_t)(end - line));
        *end = 0;
        at = (size_t)(end - b.data) + 1;
        if (number == 1) {
            whole =
                whole && strncmp(line, HEAD, strlen(HEAD)) == 0 && unescape(line + strlen(HEAD));
            if (whole && strcmp(line + strlen(HEAD), m->store) != 0)
                st = qu_fail(err, QU_ERR_MISMATCH,
                             "folder '%s' holds summaries of store '%s', not of '%s': give another "
                             "--out, or remove its %s",
                             m->dir, line + strlen(HEAD), m->store, MANIFEST);
        } else {
            whole = whole && read_line(m, line, &st, err);
        }
        if (!whole)
            st = qu_fail(err, QU_ERR_CORRUPT,
                         "line %zu of '%s' is none of a manifest: remove the file, and all "
                         "summaries are made anew",
                         number, m->file);
        m->size = (int64_t)at;
    }
    return st;
}

static qu_status add_head(qu_buf *b, const qu_manifest *m, qu_err *err)
{
    QU_TRY(qu_buf_puts(b, HEAD, err));
    QU_TRY(add_escaped(b, m->store, err));
    return qu_buf_puts(b, "\n", err);
}

/* Add to the file's end; what could not be added whole has no line end and is cut off by the
 * next. */
static qu_status append(qu_manifest *m, const qu_buf *b, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf line = {0};
    ssize_t n = -1;
    qu_status st = m->size == 0 ? add_head(&line, m, err) : QU_OK;
    if (st == QU_OK) st = qu_buf_add(&line, b->data, b->len, err);
    int fd = st == QU_OK ? open(m->file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : -1;
    if (fd >= 0 && ftruncate(fd, m->size) == 0)
        do n = pwrite(fd, line.data, line.len, m->size);
        while (n < 0 && errno == EINTR);
    int fault = n < 0 ? errno : ENOSPC;
    if (fd >= 0) close(fd);
    if (st == QU_OK && n != (ssize_t)line.len)
        st = qu_fail(err, qu_os_status(fault), "cannot write '%s': %s", m->file, strerror(fault));
    if (st == QU_OK) m->size += (int64_t)n;
    m->untidy = true;
    return st;
}

/* --- open --- */

static qu_status lock(qu_manifest *m, bool wait, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf path = {0};
    QU_TRY(qu_buf_printf(&path, err, "%s/.lock", m->dir));
    m->lock = open(path.data, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (m->lock < 0)
        return qu_fail(err, qu_os_status(errno), "cannot open '%s': %s", path.data,
                       strerror(errno));
    for (; flock(m->lock, LOCK_EX | LOCK_NB) != 0; usleep(POLL_US)) {
        if (errno != EWOULDBLOCK)
            return qu_fail(err, QU_ERR_IO, "cannot lock '%s': %s", path.data, strerror(errno));
        if (!wait)
            return qu_fail(err, QU_ERR_LOCKED,
                           "folder '%s' is in use by another run: wait for it with --wait", m->dir);
        if (qu_signals_stop())
            return qu_fail(err, QU_ERR_CANCELLED, "stopped while waiting for folder '%s'", m->dir);
    }
    return QU_OK;
}

qu_status qu_manifest_open(qu_manifest **out, const char *dir, const char *store, bool wait,
                           qu_err *err)
{
    QU_OWN(qu_manifest_freep) qu_manifest *m = NULL;
    *out = NULL;
    QU_TRY(qu_memory_take(&m, 1, sizeof *m, err));
    m->lock = -1;
    QU_TRY(qu_os_mkdirs(dir, 0755, err));
    m->dir = realpath(dir, NULL);
    m->store = strdup(store);
    if (!m->dir || !m->store || asprintf(&m->file, "%s/" MANIFEST, m->dir) < 0)
        return qu_fail(err, QU_ERR_IO, "cannot open folder '%s': %s", dir, strerror(errno));
    QU_TRY(lock(m, wait, err));
    remove_remains(m);
    QU_TRY(read_manifest(m, err));
    *out = QU_TAKE(m);
    return QU_OK;
}

void qu_manifest_free(qu_manifest *m)
{
    if (!m) return;
    while (n_entries(m) > 0) forget(m, entry_at(m, n_entries(m) - 1)->path);
    qu_buf_free(&m->entries);
    if (m->lock >= 0) close(m->lock);
    free(m->dir);
    free(m->store);
    free(m->file);
    free(m);
}

const char *qu_manifest_dir(const qu_manifest *m)
{
    return m->dir;
}

bool qu_manifest_holds(const qu_manifest *m, const qu_manifest_entry *e)
{
    struct stat sb;
    QU_OWN(qu_buf_free) qu_buf path = {0};
    return e->bytes >= 0 && output_path(m, e->path, e->format, &path, NULL) == QU_OK &&
           stat(path.data, &sb) == 0 && S_ISREG(sb.st_mode) && sb.st_size == e->bytes;
}

/* --- changes --- */

static qu_status note(qu_manifest *m, const qu_manifest_entry *e, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf line = {0};
    QU_TRY(add_line(&line, e, err));
    QU_TRY(append(m, &line, err));
    return keep(m, e, err);
}

/* Remove a path's outputs of every format but one (QU_N_SYNOPSIS_FORMATS: of all). */
static qu_status remove_outputs(const qu_manifest *m, const char *path, int but, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf name = {0};
    for (int f = 0; f < QU_N_SYNOPSIS_FORMATS; f++) {
        if (f == but) continue;
        name.len = 0;
        QU_TRY(output_path(m, path, (qu_synopsis_format)f, &name, err));
        if (unlink(name.data) != 0 && errno != ENOENT)
            return qu_fail(err, qu_os_status(errno), "cannot remove '%s': %s", name.data,
                           strerror(errno));
    }
    return QU_OK;
}

qu_status qu_manifest_write(qu_manifest *m, qu_manifest_entry *e, const qu_buf *output, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf path = {0};
    e->bytes = (int64_t)output->len;
    e->fault = NULL;
    QU_TRY(output_path(m, e->path, e->format, &path, err));
    QU_TRY(qu_os_replace(path.data, output->data, output->len, 0644, err));
    const qu_manifest_entry *old = qu_manifest_find(m, e->path);
    if (old && old->format != e->format) QU_TRY(remove_outputs(m, e->path, (int)e->format, err));
    return note(m, e, err);
}

qu_status qu_manifest_fail(qu_manifest *m, const char *path, const char *fault, qu_err *err)
{
    const qu_manifest_entry *old = qu_manifest_find(m, path);
    qu_manifest_entry e = old ? *old : (qu_manifest_entry){.bytes = -1};
    if (old && old->fault && strcmp(old->fault, fault) == 0) return QU_OK;
    e.path = strdup(path); /* old is freed when it is replaced */
    e.fault = strdup(fault);
    qu_status st = e.path && e.fault ? note(m, &e, err) : qu_fail_nomem(err, 64);
    free(e.path);
    free(e.fault);
    return st;
}

qu_status qu_manifest_sweep(qu_manifest *m, bool (*is_gone)(void *ctx, const char *path), void *ctx,
                            int64_t *n, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf line = {0};
    for (size_t i = n_entries(m); i-- > 0;) {
        const char *path = entry_at(m, i)->path;
        if (!is_gone(ctx, path)) continue;
        line.len = 0;
        QU_TRY(remove_outputs(m, path, QU_N_SYNOPSIS_FORMATS, err));
        QU_TRY(qu_buf_puts(&line, "-\t-\t0\t-1\tmd\t", err));
        QU_TRY(add_escaped(&line, path, err));
        QU_TRY(qu_buf_puts(&line, "\t\n", err));
        QU_TRY(append(m, &line, err));
        ++*n;
        forget(m, path);
    }
    return QU_OK;
}

qu_status qu_manifest_save(qu_manifest *m, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    if (!m->untidy) return QU_OK;
    QU_TRY(add_head(&b, m, err));
    for (size_t i = 0; i < n_entries(m); i++) QU_TRY(add_line(&b, entry_at(m, i), err));
    QU_TRY(qu_os_replace(m->file, b.data, b.len, 0644, err));
    m->untidy = false;
    m->size = (int64_t)b.len;
    return QU_OK;
}
