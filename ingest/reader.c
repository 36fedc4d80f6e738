#include "ingest/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/os.h"
#include "ingest/builder.h"
#include "ingest/child.h"
#include "ingest/expand.h"

enum {
    RETIRE_MS = 30000, /* a child that worked so long is replaced before the next file */
    POLL_MS = 200,     /* between two looks at stop */
    MAX_MESSAGE = 239,
    MAX_NAME = 1 << 16,
};

typedef struct child {
    pid_t pid; /* 0: not running */
    int fd;
    double busy_ms;
} child;

struct qu_reader {
    qu_reader_options o;
    child children[QU_READER_MAX_NESTING + 1], pdf;
};

/* One file on its way. */
typedef struct job {
    qu_reader *r;
    const qu_reader_sink *sink;
    const char *path;
    int64_t members, unpacked, packed;
    double left_ms; /* of waiting for children */
    bool ended;     /* a stop, the machine, or the sink: no more of it */
} job;

/* --- children --- */

static void stop_child(child *c)
{
    if (c->pid <= 0) return;
    close(c->fd);
    kill(-c->pid, SIGKILL); /* and pdftotext, if one runs */
    kill(c->pid, SIGKILL);
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    *c = (child){0};
}

static qu_status start_child(const qu_reader *r, child *c, bool pdf, qu_err *err)
{
    char *const argv[] = {"quire", QU_CHILD_ASKED, pdf ? "pdf" : "all", NULL}, *const env[] = {
                                                                                   NULL};
    int ends[2];
    if (c->pid > 0 && c->busy_ms > RETIRE_MS) stop_child(c);
    if (c->pid > 0) return QU_OK;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return qu_fail(err, QU_ERR_IO, "cannot make a socket: %s", strerror(errno));
    QU_OWN(qu_os_closep)
    int ours = ends[0],
        its = ends[1], null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    QU_TRY(qu_os_spawn(&c->pid, r->o.program, argv, env, (int[]){its, its, null}, true, err));
    c->fd = ours;
    ours = -1;
    c->busy_ms = 0;
    return QU_OK;
}

/* What one child was asked. */
typedef struct question {
    job *j;
    child *c;
    const char *member, *shown; /* member NULL: the file itself */
    int64_t bytes;
    qu_hash hash;
    int depth;
    bool got;      /* the document came */
    qu_err inside; /* why what a compressed file holds cannot be read */
    qu_err *err;
} question;

/* It closed its socket early: say how it ended. */
static qu_status say_death(question *q)
{
    siginfo_t end = {0};
    kill(q->c->pid, SIGKILL); /* whatever it is doing, if anything */
    while (waitid(P_PID, (id_t)q->c->pid, &end, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
    }
    stop_child(q->c);
    bool exited = end.si_code == CLD_EXITED;
    if (exited && end.si_status == 4)
        return qu_fail(q->err, QU_ERR_UNSUPPORTED,
                       "'%.100s' is left out: this kernel cannot confine its parser (seccomp)",
                       q->shown);
    return qu_fail(
        q->err, QU_ERR_FORMAT,
        "the parser of '%.100s' died (signal %d): the file is damaged or hostile, leave it out",
        q->shown, exited ? 0 : end.si_status);
}

static qu_status say_lie(question *q)
{
    return qu_fail(
        q->err, QU_ERR_FORMAT,
        "the parser of '%.100s' gave back what cannot be: the file is hostile, leave it out",
        q->shown);
}

/* n bytes to (out) or from the child. */
static qu_status transfer(question *q, void *p, int64_t n, bool out)
{
    job *j = q->j;
    for (char *at = p; n > 0;) {
        struct pollfd f = {q->c->fd, out ? POLLOUT : POLLIN, 0};
        double start = qu_os_now_ms();
        bool ready = poll(&f, 1, POLL_MS) > 0;
        double ms = qu_os_now_ms() - start;
        j->left_ms -= ms;
        q->c->busy_ms += ms;
        if (!ready) {
            j->ended = j->r->o.stop && j->r->o.stop();
            if (j->ended)
                return qu_fail(q->err, QU_ERR_CANCELLED, "stopped while '%.100s' was read",
                               q->shown);
            if (j->left_ms > 0) continue;
            return qu_fail(q->err, QU_ERR_LIMIT, "'%.100s' takes too long to parse: leave it out",
                           q->shown);
        }
        ssize_t k = out ? send(f.fd, at, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT)
                        : recv(f.fd, at, (size_t)n, MSG_DONTWAIT);
        if (k < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (k <= 0) return say_death(q);
        at += k;
        n -= k;
    }
    return QU_OK;
}

/* n elements and a zero behind them, malloc'ed. */
static qu_status receive_array(question *q, void *out, int64_t n, size_t size)
{
    void *p;
    QU_TRY(qu_memory_take(out, n * (int64_t)size + 1, 1, q->err));
    memcpy(&p, out, sizeof p); /* out points at a typed pointer */
    return transfer(q, p, n * (int64_t)size, false);
}

/* --- what came back must be a document --- */

static bool is_text(const char *s, int64_t n, bool title)
{
    for (int64_t i = 0; i < n;) {
        unsigned char ch = (unsigned char)s[i];
        if (ch >= 0x80) {
            utf8proc_int32_t cp;
            utf8proc_ssize_t k = utf8proc_iterate((const utf8proc_uint8_t *)s + i, n - i, &cp);
            if (k <= 0) return false;
            i += k;
            continue;
        }
        if (ch == 0x7F || (ch < ' ' && (title || (ch != '\t' && ch != '\n')))) return false;
        i++;
    }
    return true;
}

/* What ingest/document.h promises. raw: bytes of what was parsed. */
static bool is_document(const qu_document *d, int64_t raw)
{
    int64_t before = 0;
    if (!is_text(d->text, d->text_bytes, false)) return false;
    for (int64_t i = 0; i < d->n_cuts; i++) {
        int64_t at = d->cuts[i].at;
        if (at <= before || at >= d->text_bytes || ((unsigned char)d->text[at] & 0xC0) == 0x80 ||
            d->cuts[i].rank < QU_CUT_HEADING || d->cuts[i].rank > QU_CUT_WORD)
            return false;
        before = at;
    }
    return (d->has_source || d->n_runs == 0) &&
           qu_document_map_fits(d->runs, d->n_runs, d->headings, d->n_headings, d->text_bytes, raw);
}

static bool is_name(const char *s, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (s[i] == 0)
            return i > 0;
        else if (s[i] <= ' ' || s[i] > '~')
            return false;
    return false;
}

/* d has its title. */
static qu_status receive_document(question *q, const qu_child_frame *f, qu_document *d)
{
    qu_document h;
    if (f->bytes != sizeof h || f->name_bytes > 200 || !is_text(d->title, f->name_bytes, true))
        return say_lie(q);
    QU_TRY(transfer(q, &h, sizeof h, false));
    if (h.text_bytes <= 0 || h.text_bytes > QU_DOCUMENT_MAX_INFLATED_BYTES || h.n_cuts < 0 ||
        h.n_cuts > h.text_bytes / QU_CUT_MIN_GAP + 1 || h.n_headings < 0 ||
        h.n_headings > QU_MAX_HEADINGS || h.n_runs < 0 || h.n_runs > (1 << 16) + q->bytes ||
        !is_name(h.charset, sizeof h.charset) || !is_name(h.format, sizeof h.format))
        return say_lie(q);
    h.has_source = *(const char *)&h.has_source != 0; /* any byte may stand there */
    h.title = d->title;
    h.text = NULL;
    h.cuts = NULL;
    h.headings = NULL;
    h.runs = NULL;
    *d = h;
    QU_TRY(receive_array(q, &d->text, d->text_bytes, 1));
    QU_TRY(receive_array(q, &d->cuts, d->n_cuts, sizeof *d->cuts));
    QU_TRY(receive_array(q, &d->headings, d->n_headings, sizeof *d->headings));
    QU_TRY(receive_array(q, &d->runs, d->n_runs, sizeof *d->runs));
    return is_document(d, q->bytes) ? QU_OK : say_lie(q);
}

/* --- files and members --- */

static qu_status read_any(job *j, const void *bytes, int64_t n, const char *member, qu_hash hash,
                          int depth, qu_err *err);

/* "outer!name", where name is a path without "", "." and "..", its controls blanks. */
static char *join_names(const char *outer, const char *name)
{
    size_t n = strlen(name), before = outer ? strlen(outer) + 1 : 0, len = before;
    if (n > QU_READER_MAX_NAME) name += n - QU_READER_MAX_NAME;
    char *out = malloc(before + strlen(name) + sizeof "unnamed");
    if (!out) return NULL;
    if (outer) {
        memcpy(out, outer, before - 1);
        out[before - 1] = '!';
    }
    while (*name) {
        size_t k = strcspn(name, "/");
        bool keep = k > 0 && !(k == 1 && *name == '.') && !(k == 2 && memcmp(name, "..", 2) == 0);
        if (keep && len > before) out[len++] = '/';
        for (size_t i = 0; i < k && keep; i++)
            out[len++] = (unsigned char)name[i] < ' ' || name[i] == 0x7F ? ' ' : name[i];
        name += k + (name[k] == '/');
    }
    if (len == before) {
        memcpy(out + len, "unnamed", 7);
        len += 7;
    }
    out[len] = 0;
    return out;
}

static qu_status hand_out(job *j, const char *member, qu_document *d, qu_hash hash, int depth)
{
    if (depth > 0) { /* its bytes are not the file's */
        free(QU_TAKE(d->runs));
        d->n_runs = 0;
        d->has_source = false;
    }
    d->content_hash = hash;
    qu_status st = j->sink->document(j->sink->ctx, member, d);
    if (st != QU_OK) j->ended = true;
    return st;
}

/* A member that cannot be read is said, and the others go on. */
static qu_status report(job *j, const char *member, const qu_err *why, qu_err *err)
{
    if (why->status == QU_ERR_NOMEM) j->ended = true;
    qu_status st = j->ended ? why->status : j->sink->fault(j->sink->ctx, member, why);
    if (st == QU_OK) return QU_OK;
    if (err && j->ended) *err = *why;
    j->ended = true;
    return st;
}

static void clean_message(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7F) *s = ' ';
}

static qu_status count_member(question *q, int64_t n)
{
    job *j = q->j;
    j->members++;
    j->unpacked += n;
    if (j->members <= QU_READER_MAX_MEMBERS && qu_document_may_unpack(j->packed, j->unpacked))
        return QU_OK;
    return qu_fail(q->err, QU_ERR_LIMIT, "'%.100s' unpacks to too much: unpack it by hand",
                   q->shown);
}

/* name "" is what a compressed file holds: it has the file's own name, and its faults. */
static qu_status take_member(question *q, const qu_child_frame *f, char *name, char *bytes)
{
    qu_err why = {0};
    qu_status st = QU_OK;
    if (f->status == QU_OK) QU_TRY(count_member(q, f->bytes));
    if (!*name && f->status == QU_OK) {
        st = read_any(q->j, bytes, f->bytes, q->member, q->hash, q->depth + 1, &q->inside);
        return q->j->ended ? st : QU_OK;
    }
    QU_OWN(qu_freep) char *member = join_names(q->member, name);
    if (!member) return qu_fail_nomem(q->err, QU_READER_MAX_NAME);
    if (f->status != QU_OK) {
        clean_message(bytes);
        st = qu_fail(&why, QU_ERR_FORMAT, "cannot unpack '%.100s': %.100s", member, bytes);
    } else {
        qu_hash hash = qu_hash_bytes(bytes, (size_t)f->bytes, 0);
        st = read_any(q->j, bytes, f->bytes, member, hash, q->depth + 1, &why);
    }
    return st == QU_OK ? QU_OK : report(q->j, member, &why, q->err);
}

static qu_status take_document(question *q, const qu_child_frame *f, char *title)
{
    QU_OWN(qu_document_free) qu_document d = {.title = title};
    q->got = true;
    QU_TRY(receive_document(q, f, &d));
    return hand_out(q->j, q->member, &d, q->hash, q->depth);
}

static qu_status take_end(const question *q, const qu_child_frame *f, char *why)
{
    if (f->status == QU_OK) {
        if (q->inside.status != QU_OK && q->err) *q->err = q->inside;
        return q->inside.status;
    }
    clean_message(why);
    bool odd = f->status > 0 || f->status < QU_ERR_GPU || f->status == QU_ERR_CANCELLED;
    qu_status st = f->status == QU_ERR_NOMEM ? QU_ERR_LIMIT
                   : odd                     ? QU_ERR_FORMAT
                                             : (qu_status)f->status;
    return qu_fail(q->err, st, "%s", why);
}

/* One frame. *ended: it was the last. */
static qu_status take_frame(question *q, bool *ended)
{
    qu_child_frame f;
    QU_OWN(qu_freep) char *name = NULL, *bytes = NULL;
    QU_TRY(transfer(q, &f, sizeof f, false));
    if (f.name_bytes < 0 || f.name_bytes > MAX_NAME || f.bytes < 0 ||
        f.bytes > QU_DOCUMENT_MAX_INFLATED_BYTES || f.type < QU_CHILD_MEMBER ||
        f.type > QU_CHILD_END || (f.status != QU_OK && f.bytes > MAX_MESSAGE) ||
        (f.type == QU_CHILD_DOCUMENT && q->got))
        return say_lie(q);
    QU_TRY(receive_array(q, &name, f.name_bytes, 1));
    if (f.type == QU_CHILD_DOCUMENT) return take_document(q, &f, QU_TAKE(name));
    QU_TRY(receive_array(q, &bytes, f.bytes, 1));
    *ended = f.type == QU_CHILD_END;
    return *ended ? take_end(q, &f, bytes) : take_member(q, &f, name, bytes);
}

/* *ended: the child said all that it had to say. */
static qu_status ask(question *q, bool pdf, const void *bytes, bool *ended)
{
    qu_child_request request = {(int64_t)strlen(q->shown), q->bytes};
    QU_TRY(start_child(q->j->r, q->c, pdf, q->err));
    QU_TRY(transfer(q, &request, sizeof request, true));
    QU_TRY(transfer(q, (char *)q->shown, request.name_bytes, true));
    QU_TRY(transfer(q, (char *)bytes, q->bytes, true));
    while (!*ended) QU_TRY(take_frame(q, ended));
    return QU_OK;
}

static qu_status read_any(job *j, const void *bytes, int64_t n, const char *member, qu_hash hash,
                          int depth, qu_err *err)
{
    const char *name = member ? member : j->path;
    qu_kind kind = qu_expand_kind(bytes, n, name);
    bool pdf = kind == QU_KIND_PDF, ended = false;
    if (n == 0 && depth > 0) return qu_fail(err, QU_ERR_UNSUPPORTED, "'%.100s' is empty", name);
    if (n > QU_DOCUMENT_MAX_BYTES)
        return qu_fail(err, QU_ERR_LIMIT, "file '%.100s' is too large: %lld bytes, the limit is %d",
                       name, (long long)n, QU_DOCUMENT_MAX_BYTES);
    if (kind == QU_KIND_TEXT) {
        QU_OWN(qu_document_free) qu_document d = {0};
        QU_TRY(qu_document_parse(&d, bytes, n, name, err));
        return hand_out(j, member, &d, hash, depth);
    }
    if (depth > QU_READER_MAX_NESTING)
        return qu_fail(err, QU_ERR_LIMIT, "'%.100s' is nested more than %d deep: unpack it by hand",
                       name, QU_READER_MAX_NESTING);
    question q = {.j = j,
                  .c = pdf ? &j->r->pdf : &j->r->children[depth],
                  .member = member,
                  .shown = name,
                  .bytes = n,
                  .hash = hash,
                  .depth = depth,
                  .err = err};
    qu_status st = ask(&q, pdf, bytes, &ended);
    if (!ended) stop_child(q.c); /* what it would still say is of no use */
    return st;
}

qu_status qu_reader_create(qu_reader **out, const qu_reader_options *options, qu_err *err)
{
    QU_TRY(qu_memory_take(out, 1, sizeof **out, err));
    qu_reader *r = *out;
    r->o = *options;
    if (r->o.seconds == 0) r->o.seconds = QU_READER_SECONDS;
    return QU_OK;
}

void qu_reader_free(qu_reader *r)
{
    if (!r) return;
    for (int i = 0; i <= QU_READER_MAX_NESTING; i++) stop_child(&r->children[i]);
    stop_child(&r->pdf);
    free(r);
}

qu_status qu_reader_parse(qu_reader *r, const void *bytes, int64_t n, const char *name,
                          const qu_reader_sink *sink, qu_err *err)
{
    job j = {.r = r,
             .sink = sink,
             .path = name ? name : "input",
             .packed = n,
             .left_ms = 1000.0 * ((double)r->o.seconds + (double)(n >> 20))};
    return read_any(&j, n ? bytes : "", n, NULL, qu_hash_bytes(n ? bytes : "", (size_t)n, 0), 0,
                    err);
}

qu_status qu_reader_read(qu_reader *r, const char *path, const qu_reader_sink *sink, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf raw = {0};
    QU_TRY(qu_os_read(&raw, path, QU_DOCUMENT_MAX_BYTES, err));
    return qu_reader_parse(r, raw.data, (int64_t)raw.len, path, sink, err);
}
