#include "pipelines/input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "pipelines/output.h"

qu_status qu_input_line(FILE *f, qu_buf *line, size_t max, bool *more, qu_err *err)
{
    size_t total = 0;
    int c;
    line->len = 0;
    *more = false;
    QU_TRY(qu_buf_add(line, "", 0, err));
    while ((c = getc_unlocked(f)) != EOF && c != '\n')
        if (total++ < max) QU_TRY(qu_buf_add(line, &(char){(char)c}, 1, err));
    if (c == EOF && ferror(f))
        return qu_fail(err, QU_ERR_IO, "cannot read standard input: %s", strerror(errno));
    *more = c == '\n' || total > 0;
    if (total > max)
        return qu_fail(err, QU_ERR_LIMIT,
                       "a line of %zu bytes on standard input: at most %zu are possible", total,
                       max);
    return QU_OK;
}

qu_status qu_input_all(FILE *f, qu_buf *out, size_t max, qu_err *err)
{
    enum { STEP = 1 << 16 };
    QU_TRY(qu_buf_add(out, "", 0, err));
    for (size_t start = out->len;;) {
        QU_TRY(qu_buf_reserve(out, STEP, err));
        size_t n = fread(out->data + out->len, 1, STEP, f);
        out->len += n;
        out->data[out->len] = 0;
        if (out->len - start > max)
            return qu_fail(err, QU_ERR_LIMIT, "more than %zu bytes on standard input", max);
        if (n < STEP && ferror(f))
            return qu_fail(err, QU_ERR_IO, "cannot read standard input: %s", strerror(errno));
        if (n < STEP) return QU_OK;
    }
}

/* --- questions --- */

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static qu_status keep_text(qu_question *q, const char *text, size_t n, qu_err *err)
{
    while (n > 0 && is_blank(*text)) {
        text++;
        n--;
    }
    while (n > 0 && is_blank(text[n - 1])) n--;
    q->text = malloc(n + 1);
    if (!q->text) return qu_fail_nomem(err, (long long)n + 1);
    memcpy(q->text, text, n);
    q->text[n] = 0;
    q->n = n;
    return QU_OK;
}

qu_status qu_question_parse(qu_question *q, const char *line, size_t n, qu_err *err)
{
    json_error_t fault;
    size_t first = 0;
    memset(q, 0, sizeof *q);
    while (first < n && is_blank(line[first])) first++;
    if (first == n || line[first] != '{') return keep_text(q, line, n, err);
    json_auto_t *object = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &fault);
    if (!object)
        return qu_fail(err, QU_ERR_ARG, "a line that begins with '{' is no JSON object: %.100s",
                       fault.text);
    q->id = json_incref(json_object_get(object, "id"));
    json_t *text = json_object_get(object, "question");
    return json_is_string(text)
               ? keep_text(q, json_string_value(text), json_string_length(text), err)
               : qu_fail(err, QU_ERR_ARG, "a JSON line without the string 'question'");
}

void qu_question_free(qu_question *q)
{
    json_decref(q->id);
    free(q->text);
    memset(q, 0, sizeof *q);
}

int qu_input_questions(qu_status (*one)(void *ctx, const qu_question *q, qu_err *err), void *ctx)
{
    QU_OWN(qu_buf_free) qu_buf line = {0};
    int code = QU_EXIT_OK;
    for (bool more = true; more && !qu_out_gone();) {
        qu_err err = {0};
        qu_question q = {0};
        qu_status st = qu_input_line(stdin, &line, QU_INPUT_MAX_QUESTION, &more, &err);
        if (st == QU_OK && !more) break;
        if (st == QU_OK) st = qu_question_parse(&q, line.data, line.len, &err);
        if (st == QU_OK && q.n > 0) st = one(ctx, &q, &err);
        qu_question_free(&q);
        if (st == QU_OK) continue;
        bool ours = st == QU_ERR_ARG || st == QU_ERR_LIMIT; /* the line's own fault */
        int fault = qu_out_error(&err, NULL);
        if (!ours || code == QU_EXIT_OK) code = ours ? QU_EXIT_SOME : fault;
        if (st == QU_ERR_IO || st == QU_ERR_CORRUPT || st == QU_ERR_NOMEM) break;
    }
    return code;
}

static void close_file(FILE **f)
{
    if (*f && *f != stdin) fclose(*f);
}

qu_status qu_input_objects(json_t **list, const char *path, size_t max, qu_err *err)
{
    bool is_stdin = strcmp(path, "-") == 0, more = true;
    QU_OWN(close_file) FILE *f = is_stdin ? stdin : fopen(path, "re");
    QU_OWN(qu_buf_free) qu_buf line = {0};
    *list = json_array();
    if (!f) return qu_fail(err, qu_os_status(errno), "cannot open '%s': %s", path, strerror(errno));
    for (long long number = 1;; number++) {
        QU_TRY(qu_input_line(f, &line, max, &more, err));
        if (!more) break;
        size_t from = strspn(line.data, " \t\r"), n = line.len;
        while (n > from && is_blank(line.data[n - 1])) n--;
        if (n == from) continue;
        json_t *o = line.data[from] == '{'
                        ? json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES, NULL)
                        : json_pack("{s:s%}", "question", line.data + from, n - from);
        if (json_array_append_new(*list, o) != 0)
            return qu_fail(err, QU_ERR_ARG, "line %lld of '%s' is neither text nor a JSON object",
                           number, path);
    }
    return QU_OK;
}

const char *qu_input_text(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "";
}

/* --- numbers --- */

static bool parts(char c) { return c == ',' || is_blank(c); }

qu_status qu_input_numbers(int64_t **list, int64_t *n_list, const char *text, size_t n, int64_t min,
                           int64_t max, const char *what, qu_err *err)
{
    QU_OWN(qu_freep) int64_t *v = NULL;
    int64_t n_v = 0, cap = 0;
    *list = NULL;
    *n_list = 0;
    for (size_t i = 0; i < n;) {
        size_t start = i;
        char word[24], *end = word;
        while (i < n && !parts(text[i])) i++;
        if (i++ == start) continue;
        size_t len = i - 1 - start;
        snprintf(word, sizeof word, "%.*s", (int)(len < 20 ? len : 20), text + start);
        int64_t x = strtoll(word, &end, 10);
        bool whole = len <= 18 && strspn(word, "-0123456789") == len && end > word && !*end;
        if (!whole || x < min || x > max)
            return qu_fail(
                err, QU_ERR_ARG, "'%.*s' is no %s: whole numbers from %lld to %lld are possible",
                len < 40 ? (int)len : 40, text + start, what, (long long)min, (long long)max);
        QU_TRY(qu_memory_grow(&v, &cap, n_v + 1, sizeof *v, err));
        v[n_v++] = x;
    }
    *list = QU_TAKE(v);
    *n_list = n_v;
    return QU_OK;
}

qu_status qu_input_list(int64_t **list, int64_t *n_list, const qu_args *args, const char *option,
                        int64_t min, int64_t max, int64_t most, const char *what, qu_err *err)
{
    const char *text = qu_args_str(args, option);
    QU_TRY(qu_input_numbers(list, n_list, text, strlen(text), min, max, what, err));
    if (*n_list >= 1 && *n_list <= most) return QU_OK;
    return qu_fail(err, QU_ERR_ARG, "option '--%s' takes 1 to %lld numbers", option,
                   (long long)most);
}
