/* What the program says: results on stdout, the rest on stderr, the same rules for every verb.
 *
 *     qu_err err = {0};
 *     if (open_store(..., &err)) return qu_out_error(&err, NULL); // prints, gives the exit code
 *     json_t *hit = json_pack("{s:i,s:f}", "rank", 1, "score", score);
 *     qu_out_path(hit, "path", path, &err);                       // "path", or "path_b64"
 *     QU_TRY(qu_out_json(hit, &err));                             // a line; takes the reference
 *
 * With --json a result is one object a line, {"schema":1,...}; an error is such a line too,
 * {"schema":1,"error":{"code","message","path"}}, in its place among the results, and the plain
 * message still goes to stderr, where cron and people look. A reader that closes the pipe (`quire
 * search ... | head -1`) ends the program quietly with exit 0; any other failed write is an error
 * with exit 4.
 *
 * One state for the process, set once by main. Not thread-safe: call from the main thread.
 */
#ifndef QU_PIPELINES_OUTPUT_H
#define QU_PIPELINES_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

/* Exit codes: pinned, scripts depend on them. */
enum {
    QU_EXIT_OK = 0,
    QU_EXIT_NOTHING = 1, /* nothing found; check: repairable; verify: failed */
    QU_EXIT_USAGE = 2,
    QU_EXIT_SOME = 3,    /* some files failed or the run was cut short; the rest is committed */
    QU_EXIT_MACHINE = 4, /* disk, memory, device */
    QU_EXIT_DAMAGED = 5, /* store or model damaged, foreign, mismatched or unsupported */
    QU_EXIT_LOCKED = 6,
};

/* The exit code of a status. QU_ERR_NOTFOUND is 2: what the user named is not there. "No answer" is
 * a result and no error: a command returns QU_EXIT_NOTHING itself. */
int qu_out_exit(qu_status status);

/* Make stdin, stdout and stderr safe to use (a closed one must not become a store's file), ignore
 * SIGPIPE, and note whether stderr is a terminal. Call first in main. */
void qu_out_init(void);

/* --json and --quiet. Quiet drops warnings, notes and progress, never errors. */
void qu_out_mode(bool json, bool quiet);
bool qu_out_is_json(void);

/* Write to stdout, buffered. A failure is remembered: later writes do nothing and return the same
 * status. Errors: QU_ERR_CANCELLED when the reader closed the pipe; QU_ERR_IO, QU_ERR_FULL. */
qu_status qu_out_write(const void *p, size_t n, qu_err *err);
qu_status qu_out_printf(qu_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
qu_status qu_out_flush(qu_err *err);

/* True once the reader of stdout closed the pipe: a long run can stop. */
bool qu_out_gone(void);

/* Print object as one line of compact JSON, members in insertion order, "schema":1 first, and
 * flush, so that a pipe sees each answer when it is ready. Takes the reference, also on error.
 * Errors: those of qu_out_write; QU_ERR_NOMEM (object NULL counts: a failed json_pack). */
qu_status qu_out_json(json_t *object, qu_err *err);

/* Print object: as qu_out_json does, or without --json its members for people, a line each, an
 * object of objects and a list of objects as a table. Takes the reference, also on error. Errors:
 * as qu_out_json. */
qu_status qu_out_result(json_t *object, qu_err *err);

/* Set members of object (NULL: of a new one) to numbers; names are parted by single blanks. A
 * number that is not finite becomes null. Returns the object: the first error shows when it is
 * printed. */
json_t *qu_out_ints(json_t *object, const char *names, const int64_t *values);
json_t *qu_out_reals(json_t *object, const char *names, const double *values);

/* Set object[key] to a path, or object[key_b64] to its base64 where it is not valid UTF-8 (or has a
 * NUL, which cannot be). Errors: QU_ERR_NOMEM. */
qu_status qu_out_path(json_t *object, const char *key, const char *path, qu_err *err);

/* Report an error: "quire: message" on stderr, and with --json the error object on stdout. path may
 * be NULL. Returns the exit code of err->status. A closed pipe is not reported. */
int qu_out_error(const qu_err *err, const char *path);

/* "quire: warning: ..." and "quire: ..." on stderr, unless quiet. One line each. */
void qu_out_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void qu_out_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Append n bytes of untrusted text made safe for a terminal: control characters (C0, DEL, C1),
 * bytes that are not UTF-8 and direction overrides become \xNN or \u{NNNN}. keep_lines keeps '\n'
 * and '\t' (for passages; not for names). Errors: QU_ERR_NOMEM. */
qu_status qu_out_safe(qu_buf *out, const char *text, size_t n, bool keep_lines, qu_err *err);

/* Print one line: what fmt gives, made safe as a name is, and a line end. Errors: as
 * qu_out_text. */
qu_status qu_out_line(qu_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Print untrusted text on stdout, made safe. Errors: those of qu_out_write; QU_ERR_NOMEM. */
qu_status qu_out_text(const char *text, size_t n, bool keep_lines, qu_err *err);

/* A progress line on stderr: `what done/total, rate, time left`. Shown only where stderr is a
 * terminal and --quiet was not given; redrawn at most ten times a second; wiped at the end and
 * before any message. total 0: unknown. unit "bytes" shows the counts in MB; any other word is
 * shown as it is ("pages"). */
void qu_out_progress(const char *what, int64_t done, int64_t total, const char *unit);
void qu_out_progress_end(void);

/* Write what is buffered and say how the program should end: code as given, QU_EXIT_OK when the
 * reader closed the pipe, QU_EXIT_MACHINE with a message when stdout could not be written. Call
 * last in main. */
int qu_out_finish(int code);

#endif
