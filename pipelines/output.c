#include "pipelines/output.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/os.h"

enum { REDRAW_MS = 100, FIRST_DRAW_MS = 500, MESSAGE_CAP = 1024 };

static struct {
    bool json, quiet, terminal, gone;
    bool told;         /* the failure was reported */
    qu_status failed;  /* of stdout: sticky */
    int failed_errno;
    bool drawn;        /* a progress line stands on the terminal */
    const char *what;  /* NULL: no progress running */
    double started_ms, drawn_ms;
    int columns; /* of the terminal; 0: the system knows */
} out;

int qu_out_exit(qu_status status)
{
    switch (status) {
    case QU_OK: return QU_EXIT_OK;
    case QU_ERR_ARG:
    case QU_ERR_LIMIT:
    case QU_ERR_NOTFOUND: return QU_EXIT_USAGE;
    case QU_ERR_CANCELLED: return QU_EXIT_SOME;
    case QU_ERR_NOMEM:
    case QU_ERR_IO:
    case QU_ERR_FULL:
    case QU_ERR_NOGPU:
    case QU_ERR_GPU: return QU_EXIT_MACHINE;
    case QU_ERR_FORMAT:
    case QU_ERR_UNSUPPORTED:
    case QU_ERR_MISMATCH:
    case QU_ERR_CORRUPT: return QU_EXIT_DAMAGED;
    case QU_ERR_LOCKED: return QU_EXIT_LOCKED;
    }
    return QU_EXIT_MACHINE;
}

void qu_out_init(void)
{
    /* A closed stdin, stdout or stderr would be handed to the next open(): the store's file. Hold
     * the place; opened the wrong way round for stdout, so that writing still fails and is
     * reported. */
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF &&
            open("/dev/null", fd == 1 ? O_RDONLY : O_RDWR) != fd)
            _exit(QU_EXIT_MACHINE);
    signal(SIGPIPE, SIG_IGN);
    const char *term = getenv("TERM");
    out.terminal = isatty(2) && !(term && strcmp(term, "dumb") == 0);
}

void qu_out_mode(bool json, bool quiet)
{
    out.json = json;
    out.quiet = quiet;
}

bool qu_out_is_json(void) { return out.json; }
bool qu_out_gone(void) { return out.gone; }

/* Note the errno of a failed write; the first one counts. */
static qu_status stdout_status(bool ok, qu_err *err)
{
    if (!ok && out.failed == QU_OK) {
        out.failed_errno = errno;
        out.gone = errno == EPIPE;
        out.failed = out.gone ? QU_ERR_CANCELLED : qu_os_status(errno);
    }
    if (out.failed == QU_OK) return QU_OK;
    return qu_fail(err, out.failed, "cannot write to standard output: %s",
                   strerror(out.failed_errno));
}

qu_status qu_out_write(const void *p, size_t n, qu_err *err)
{
    if (out.failed != QU_OK) return stdout_status(true, err);
    return stdout_status(n == 0 || fwrite(p, 1, n, stdout) == n, err);
}

qu_status qu_out_printf(qu_err *err, const char *fmt, ...)
{
    if (out.failed != QU_OK) return stdout_status(true, err);
    va_list ap;
    va_start(ap, fmt);
    int n = vfprintf(stdout, fmt, ap);
    va_end(ap);
    return stdout_status(n >= 0, err);
}

qu_status qu_out_flush(qu_err *err)
{
    if (out.failed != QU_OK) return stdout_status(true, err);
    return stdout_status(fflush(stdout) == 0, err);
}

qu_status qu_out_json(json_t *object, qu_err *err)
{
    json_auto_t *owned = object, *line = json_object();
    QU_OWN(qu_freep) char *text = NULL;
    if (!object || !line || json_object_set_new(line, "schema", json_integer(1)) != 0 ||
        json_object_update(line, object) != 0 ||
        !(text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(15))))
        return qu_fail(err, QU_ERR_NOMEM,
                       "cannot build a JSON line: out of memory or text that is not UTF-8");
    QU_TRY(qu_out_write(text, strlen(text), err));
    QU_TRY(qu_out_write("\n", 1, err));
    return qu_out_flush(err);
}

/* Member number i of names, of the object or NULL; sets v there. */
static const char *set_next(json_t *o, const char *names, json_t *v)
{
    size_t n = strcspn(names, " ");
    json_object_setn_new(o, names, n, v);
    return names + n + (names[n] == ' ');
}

json_t *qu_out_ints(json_t *o, const char *names, const int64_t *values)
{
    if (!o) o = json_object();
    while (*names) names = set_next(o, names, json_integer(*values++));
    return o;
}

json_t *qu_out_reals(json_t *o, const char *names, const double *values)
{
    if (!o) o = json_object();
    for (; *names; values++)
        names = set_next(o, names, isfinite(*values) ? json_real(*values) : json_null());
    return o;
}

/* --- results for people --- */

/* In one line: "a 1, b 2" for an object, "[1, 2]" for a list. */
static qu_status add_value(qu_buf *b, const json_t *v, qu_err *err)
{
    double x = json_number_value(v);
    const char *key, *joint = "";
    const json_t *one;
    size_t i;
    if (json_is_string(v))
        return qu_out_safe(b, json_string_value(v), json_string_length(v), false, err);
    if (json_is_number(v))
        return qu_buf_printf(b, err, json_is_integer(v) || fabs(x) >= 1000 ? "%.0f" : "%.4g", x);
    if (json_is_boolean(v)) return qu_buf_puts(b, json_is_true(v) ? "yes" : "no", err);
    json_array_foreach(v, i, one)
    {
        QU_TRY(qu_buf_puts(b, i ? ", " : "[", err));
        QU_TRY(add_value(b, one, err));
    }
    if (json_is_array(v)) return qu_buf_puts(b, i ? "]" : "[]", err);
    json_object_foreach((json_t *)v, key, one)
    {
        QU_TRY(qu_buf_printf(b, err, "%s%s ", joint, key));
        QU_TRY(add_value(b, one, err));
        joint = ", ";
    }
    return json_is_null(v) ? qu_buf_puts(b, "-", err) : QU_OK;
}

/* Row i of an object or list of objects, and its name. */
static json_t *row_at(json_t *table, size_t i, const char **name)
{
    *name = "";
    if (json_is_array(table)) return json_array_get(table, i);
    void *it = json_object_iter(table);
    while (it && i-- > 0) it = json_object_iter_next(table, it);
    if (it) *name = json_object_iter_key(it);
    return json_object_iter_value(it);
}

/* One column: its cells as wide as the widest; row 0 is the head. */
static qu_status add_column(qu_buf *lines, size_t n, const char *title, json_t *table, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf cell = {0};
    const char *name;
    size_t width = 0;
    bool first = lines[0].len == 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < n; i++) {
            const json_t *row = i ? row_at(table, i - 1, &name) : NULL;
            const json_t *v = json_object_get(row, title);
            cell.len = 0;
            QU_TRY(qu_buf_puts(&cell, !i ? title : first ? name : "", err));
            if (v && !first) QU_TRY(add_value(&cell, v, err));
            if (cell.len > width) width = cell.len;
            if (pass)
                QU_TRY(
                    qu_buf_printf(&lines[i], err, first ? "%-*s" : "  %*s", (int)width, cell.data));
        }
    return QU_OK;
}

static qu_status print_table(const char *title, json_t *table, qu_err *err)
{
    const char *column;
    size_t n = 1 + (json_is_array(table) ? json_array_size(table) : json_object_size(table));
    QU_OWN(qu_freep) qu_buf *lines = calloc(n, sizeof *lines);
    if (!lines) return qu_fail_nomem(err, (long long)(n * sizeof *lines));
    qu_status st = add_column(lines, n, title, table, err);
    for (void *it = json_object_iter(row_at(table, 0, &column)); it && st == QU_OK;
         it = json_object_iter_next(row_at(table, 0, &column), it))
        st = add_column(lines, n, json_object_iter_key(it), table, err);
    for (size_t i = 0; i < n; i++) {
        if (st == QU_OK) st = qu_out_printf(err, "%s\n", lines[i].data);
        qu_buf_free(&lines[i]);
    }
    return st;
}

static qu_status print_member(const char *name, json_t *v, qu_err *err)
{
    const char *row;
    if (json_is_object(row_at(v, 0, &row))) return print_table(name, v, err);
    QU_OWN(qu_buf_free) qu_buf b = {0};
    QU_TRY(add_value(&b, v, err));
    return qu_out_printf(err, "%-16s %s\n", name, b.data ? b.data : "");
}

qu_status qu_out_result(json_t *object, qu_err *err)
{
    qu_status st = QU_OK;
    const char *name;
    json_t *v;
    if (out.json || !object) return qu_out_json(object, err);
    json_object_foreach(object, name, v)
    {
        st = print_member(name, v, err);
        if (st != QU_OK) break;
    }
    json_decref(object);
    return st == QU_OK ? qu_out_flush(err) : st;
}

static qu_status base64(qu_buf *b, const unsigned char *p, size_t n, qu_err *err)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        unsigned v =
            (unsigned)p[i] << 16 | (left > 1 ? p[i + 1] : 0u) << 8 | (left > 2 ? p[i + 2] : 0u);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                        left > 2 ? digits[v & 63] : '='};
        QU_TRY(qu_buf_add(b, four, 4, err));
    }
    return QU_OK;
}

qu_status qu_out_path(json_t *object, const char *key, const char *path, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf name = {0}, text = {0};
    json_t *s = json_string(path); /* NULL unless UTF-8 */
    QU_TRY(qu_buf_printf(&name, err, s ? "%s" : "%s_b64", key));
    if (!s) QU_TRY(base64(&text, (const unsigned char *)path, strlen(path), err));
    if (!s) s = json_stringn(text.data, text.len);
    bool set = json_object_set_new(object, name.data, s) == 0;
    return set ? QU_OK : qu_fail_nomem(err, (long long)strlen(path));
}

/* Marks, embeddings, overrides and isolates that reorder what a terminal shows. */
static bool turns_direction(int32_t cp)
{
    return (cp >= 0x202A && cp <= 0x202E) || (cp >= 0x2066 && cp <= 0x2069) || cp == 0x200E ||
           cp == 0x200F;
}

qu_status qu_out_safe(qu_buf *b, const char *text, size_t n, bool keep_lines, qu_err *err)
{
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0; i < n;) {
        int32_t cp = 0;
        utf8proc_ssize_t got = utf8proc_iterate(p + i, (utf8proc_ssize_t)(n - i), &cp);
        size_t len = got > 0 ? (size_t)got : 0;
        bool kept = keep_lines && (cp == '\n' || cp == '\t');
        if (len == 0 || (len == 1 && (cp < 0x20 || cp == 0x7F) && !kept)) {
            QU_TRY(qu_buf_printf(b, err, "\\x%02x", p[i]));
            len = 1;
        } else if ((cp >= 0x80 && cp < 0xA0) || turns_direction(cp)) {
            QU_TRY(qu_buf_printf(b, err, "\\u{%04x}", (unsigned)cp));
        } else {
            QU_TRY(qu_buf_add(b, p + i, len, err));
        }
        i += len;
    }
    return QU_OK;
}

qu_status qu_out_text(const char *text, size_t n, bool keep_lines, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf b = {0};
    qu_status st = qu_out_safe(&b, text, n, keep_lines, NULL);
    errno = ENOMEM; /* what was not printed is as lost as what could not be written */
    st = st == QU_OK ? qu_out_write(b.data, b.len, err) : stdout_status(false, err);
    return st;
}

qu_status qu_out_line(qu_err *err, const char *fmt, ...)
{
    QU_OWN(qu_freep) char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0) text = NULL;
    if (n < 0) return qu_fail_nomem(err, 256);
    QU_TRY(qu_out_text(text, (size_t)n, false, err));
    return qu_out_write("\n", 1, err);
}

static void wipe_progress(void)
{
    if (out.drawn) fputs("\r\033[K", stderr);
    out.drawn = false;
}

/* One line on stderr, whatever the message holds. */
static void message(const char *kind, const char *text)
{
    qu_buf b = {0};
    wipe_progress();
    if (qu_out_safe(&b, text, strlen(text), false, NULL) == QU_OK)
        fprintf(stderr, "quire: %s%s\n", kind, b.data ? b.data : "");
    qu_buf_free(&b);
}

/* {"error":{...}} on stdout; failing to print it changes nothing, the exit code says the same. */
static void error_object(const qu_err *err, const char *path)
{
    qu_buf safe = {0};
    json_t *msg = json_string(err->msg);
    if (!msg && qu_out_safe(&safe, err->msg, strlen(err->msg), false, NULL) == QU_OK)
        msg = json_string(safe.data);
    json_t *e =
        json_pack("{s:i,s:o,s:n}", "code", qu_out_exit(err->status), "message", msg, "path");
    if (e && path) {
        json_object_del(e, "path");
        qu_out_path(e, "path", path, NULL);
    }
    qu_out_json(json_pack("{s:o}", "error", e), NULL);
    qu_buf_free(&safe);
}

int qu_out_error(const qu_err *err, const char *path)
{
    if (out.gone && err->status == QU_ERR_CANCELLED) return QU_EXIT_OK;
    if (out.failed != QU_OK && err->status == out.failed) out.told = true;
    /* A sentence that does not name the file gets the name in front. */
    if (path && !strstr(err->msg, path)) {
        char text[MESSAGE_CAP * 5];
        snprintf(text, sizeof text, "%s: %s", path, err->msg);
        message("", text);
    } else {
        message("", err->msg);
    }
    if (out.json) error_object(err, path);
    return qu_out_exit(err->status);
}

static void say(const char *kind, const char *fmt, va_list ap)
{
    char text[MESSAGE_CAP];
    if (out.quiet) return;
    vsnprintf(text, sizeof text, fmt, ap);
    message(kind, text);
}

void qu_out_warn(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say("warning: ", fmt, ap);
    va_end(ap);
}

void qu_out_note(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say("", fmt, ap);
    va_end(ap);
}

static void format_time(char *b, size_t cap, double seconds)
{
    long s = seconds < 359999 ? (long)(seconds + 0.5) : 359999;
    if (s >= 3600) snprintf(b, cap, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else if (s >= 60) snprintf(b, cap, "%ldm%02lds", s / 60, s % 60);
    else snprintf(b, cap, "%lds", s);
}

/* Of the terminal: a longer line could not be wiped. */
static int columns(void)
{
    struct winsize w;
    if (out.columns > 0) return out.columns;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 160;
}

void qu_out_progress(const char *what, int64_t done, int64_t total, const char *unit)
{
    if (!out.terminal || out.quiet) return;
    double now = qu_os_now_ms();
    if (!out.what || strcmp(out.what, what) != 0) {
        wipe_progress();
        out.what = what;
        out.started_ms = now;
        out.drawn_ms = now + FIRST_DRAW_MS - REDRAW_MS; /* what is done at once shows nothing */
    }
    if (now - out.drawn_ms < REDRAW_MS) return;
    double seconds = (now - out.started_ms) / 1e3, rate = seconds > 0 ? (double)done / seconds : 0;
    bool bytes = strcmp(unit, "bytes") == 0;
    double scale = bytes ? 1e-6 : 1;
    int digits = bytes, rate_digits = bytes || rate < 10;
    char of[32] = "", left[32] = "";
    if (total > 0) snprintf(of, sizeof of, "/%.*f", digits, (double)total * scale);
    if (total > 0 && rate > 0 && done <= total)
        format_time(left, sizeof left, (double)(total - done) / rate);
    char line[160];
    snprintf(line, sizeof line, "%.30s %.*f%s %s, %.*f %s/s%s%s", what, digits,
             (double)done * scale, of, bytes ? "MB" : unit, rate_digits, rate * scale,
             bytes ? "MB" : unit, *left ? ", left " : "", left);
    fprintf(stderr, "\r\033[K%.*s", columns() - 1, line);
    fflush(stderr);
    out.drawn = true;
    out.drawn_ms = now;
}

void qu_out_progress_end(void)
{
    wipe_progress();
    out.what = NULL;
}

int qu_out_finish(int code)
{
    qu_err err = {0};
    wipe_progress();
    qu_status st = qu_out_flush(&err);
    /* Some file systems report a full disk only at close. */
    if (st == QU_OK && fclose(stdout) != 0) st = stdout_status(false, &err);
    if (st == QU_OK) return code;
    if (out.gone) return QU_EXIT_OK;
    if (!out.told) message("", err.msg);
    return QU_EXIT_MACHINE;
}
