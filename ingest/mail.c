#include "ingest/mail.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "ingest/charset.h"

enum {
    MAX_DEPTH = 16, /* multiparts in each other */
    MAX_PARTS = 1000,
    MAX_HEADER = 1 << 16, /* bytes of one, unfolded */
    MAX_VALUE = 256,      /* bytes of a parameter */
};

/* A stretch of the message. */
typedef struct span {
    const char *s;
    int64_t n;
} span;

typedef struct mail {
    qu_buf *text;
    qu_member_fn *fn;
    void *ctx;
    int parts;
} mail;

/* --- lines and headers --- */

static int64_t line_end(span m, int64_t at)
{
    const char *nl = at < m.n ? memchr(m.s + at, '\n', (size_t)(m.n - at)) : NULL;
    return nl ? nl - m.s + 1 : m.n;
}

/* Where the body begins: behind the first empty line. */
static int64_t body_at(span m)
{
    for (int64_t at = 0, end; at < m.n; at = end) {
        end = line_end(m, at);
        if (m.s[at] == '\n' || (m.s[at] == '\r' && at + 1 < m.n && m.s[at + 1] == '\n')) return end;
    }
    return m.n;
}

/* The value of the first header of that name, its lines joined; empty where there is none. */
static qu_status header(span m, const char *name, qu_buf *out, qu_err *err)
{
    size_t len = strlen(name);
    bool in = false;
    m.n = body_at(m);
    out->len = 0;
    QU_TRY(qu_buf_puts(out, "", err));
    for (int64_t at = 0, end; at < m.n; at = end) {
        end = line_end(m, at);
        bool folded = m.s[at] == ' ' || m.s[at] == '\t';
        if (!folded && in) break;
        if (!folded) {
            in = end - at > (int64_t)len && m.s[at + (int64_t)len] == ':' &&
                 strncasecmp(m.s + at, name, len) == 0;
            at += (int64_t)len + 1;
        }
        if (!in || out->len > MAX_HEADER) continue;
        while (at < end && isspace((unsigned char)m.s[at])) at++;
        int64_t to = end;
        while (to > at && isspace((unsigned char)m.s[to - 1])) to--;
        if (out->len) QU_TRY(qu_buf_puts(out, " ", err));
        QU_TRY(qu_buf_add(out, m.s + at, (size_t)(to - at), err));
    }
    return QU_OK;
}

/* The byte that two hexadecimal digits at p tell, into *c. */
static bool take_hex(const char *p, char *c)
{
    if (!isxdigit((unsigned char)p[0]) || !isxdigit((unsigned char)p[1])) return false;
    *c = (char)strtol((char[]){p[0], p[1], 0}, NULL, 16);
    return true;
}

/* "; name=value" or "; name="value"" of a header. */
static bool parameter(const char *h, const char *name, char out[MAX_VALUE])
{
    size_t len = strlen(name), n = 0;
    *out = 0;
    for (const char *p = h; (p = strchr(p, ';'));) {
        p++;
        while (isspace((unsigned char)*p)) p++;
        if (strncasecmp(p, name, len) != 0) continue;
        const char *v = p + len;
        bool coded = *v == '*' && v[1] == '='; /* charset'language'percent-coded */
        if (coded) v++;
        if (*v != '=') continue;
        v++;
        bool quoted = *v == '"';
        if (quoted) v++;
        if (coded && strchr(v, '\'')) v = strrchr(v, '\'') + 1;
        for (; *v && n < MAX_VALUE - 1 && (quoted ? *v != '"' : !strchr("; \t", *v)); v++) {
            if (quoted && *v == '\\' && v[1]) v++;
            out[n] = *v;
            if (coded && *v == '%' && take_hex(v + 1, &out[n])) v += 2;
            n++;
        }
        out[n] = 0;
        return true;
    }
    return false;
}

/* --- encodings --- */

/* quoted-printable; in headers '_' is a blank. */
static qu_status unquote(span m, bool header_word, qu_buf *out, qu_err *err)
{
    QU_TRY(qu_buf_reserve(out, (size_t)m.n, err));
    for (int64_t i = 0; i < m.n; i++) {
        char c = m.s[i];
        if (c == '=') {
            int64_t end = i + 1;
            while (end < m.n && (m.s[end] == ' ' || m.s[end] == '\t' || m.s[end] == '\r')) end++;
            if (end < m.n && m.s[end] == '\n') { /* the line goes on */
                i = end;
                continue;
            }
            if (i + 2 < m.n && take_hex(m.s + i + 1, &c)) i += 2;
        } else if (c == '_' && header_word) {
            c = ' ';
        }
        out->data[out->len++] = c;
    }
    out->data[out->len] = 0;
    return QU_OK;
}

static qu_status unbase64(span m, qu_buf *out, qu_err *err)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int8_t value[256];
    uint32_t bits = 0, n_bits = 0;
    memset(value, -1, sizeof value);
    for (int i = 0; i < 64; i++) value[(uint8_t)digits[i]] = (int8_t)i;
    QU_TRY(qu_buf_reserve(out, (size_t)m.n * 3 / 4 + 4, err));
    for (int64_t i = 0; i < m.n && m.s[i] != '='; i++) {
        int8_t v = value[(uint8_t)m.s[i]];
        if (v < 0) continue;
        bits = bits << 6 | (uint32_t)v;
        n_bits += 6;
        if (n_bits < 8) continue;
        n_bits -= 8;
        out->data[out->len++] = (char)(bits >> n_bits);
    }
    out->data[out->len] = 0;
    return QU_OK;
}

static qu_status decode(span m, const char *encoding, qu_buf *out, qu_err *err)
{
    if (strcasecmp(encoding, "quoted-printable") == 0) return unquote(m, false, out, err);
    if (strcasecmp(encoding, "base64") == 0) return unbase64(m, out, err);
    return qu_buf_add(out, m.s, (size_t)m.n, err);
}

/* A header with its =?charset?Q or B?words?= decoded. Blanks between two such words are none. */
static qu_status put_words(qu_buf *out, const char *h, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf raw = {0};
    const char *from = h;
    for (const char *p = h; (p = strstr(p, "=?"));) {
        char charset[32];
        const char *a = strchr(p + 2, '?'),
                   *b = a && a[1] && a[2] == '?' ? strstr(a + 3, "?=") : NULL;
        if (!b || a - (p + 2) >= (int64_t)sizeof charset) {
            p += 2;
            continue;
        }
        snprintf(charset, sizeof charset, "%.*s", (int)(a - (p + 2)), p + 2);
        charset[strcspn(charset, "*")] = 0;
        bool blank = from > h;
        for (const char *q = from; q < p; q++) blank = blank && isspace((unsigned char)*q);
        if (!blank) QU_TRY(qu_buf_add(out, from, (size_t)(p - from), err));
        span word = {a + 3, b - (a + 3)};
        raw.len = 0;
        QU_TRY(toupper((unsigned char)a[1]) == 'B' ? unbase64(word, &raw, err)
                                                   : unquote(word, true, &raw, err));
        QU_TRY(qu_charset_convert(out, charset, raw.data, (int64_t)raw.len, err));
        from = p = b + 2;
    }
    return qu_buf_puts(out, from, err);
}

static qu_status put_header(qu_buf *out, span m, const char *name, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf h = {0};
    QU_TRY(header(m, name, &h, err));
    if (h.len == 0) return QU_OK;
    QU_TRY(qu_buf_printf(out, err, "%s: ", name));
    QU_TRY(put_words(out, h.data, err));
    return qu_buf_puts(out, "\n", err);
}

/* --- parts --- */

static qu_status put_part(mail *w, span m, int depth, bool *text, qu_err *err);

/* The parts between the boundary's lines. alternative: they say the same, so the first that gives
 * text is enough. */
static qu_status put_multipart(mail *w, span body, const char *boundary, bool alternative,
                               int depth, bool *text, qu_err *err)
{
    size_t len = strlen(boundary);
    int64_t from = -1;
    for (int64_t at = 0, end; at < body.n; at = end) {
        end = line_end(body, at);
        bool mark = end - at >= (int64_t)len + 2 && memcmp(body.s + at, "--", 2) == 0 &&
                    memcmp(body.s + at + 2, boundary, len) == 0;
        if (!mark && end < body.n) continue;
        int64_t to = mark ? at : end;
        if (from >= 0 && !(alternative && *text))
            QU_TRY(put_part(w, (span){body.s + from, to - from}, depth + 1, text, err));
        if (mark && memcmp(body.s + at + 2 + len, "--", 2) == 0) return QU_OK;
        if (mark) from = end;
    }
    return QU_OK;
}

static qu_status put_text(mail *w, span m, const char *charset, bool html, bool *text, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf utf8 = {0};
    QU_OWN(qu_document_free) qu_document d = {0};
    if (html) QU_TRY(qu_buf_puts(&utf8, "\xEF\xBB\xBF", err));
    QU_TRY(qu_charset_convert(&utf8, charset, m.s, m.n, err));
    if (html) { /* a page without text is no fault of the message */
        qu_status st = qu_document_parse(&d, utf8.data, (int64_t)utf8.len, "part.html", NULL);
        if (st == QU_ERR_NOMEM) return qu_fail_nomem(err, m.n);
    }
    const char *p = html ? d.text : utf8.data;
    size_t n = html ? (size_t)d.text_bytes : utf8.len;
    for (size_t i = 0; i < n && !*text; i++) *text = !isspace((unsigned char)p[i]);
    QU_TRY(qu_buf_puts(w->text, "\n", err));
    QU_TRY(qu_buf_add(w->text, p, n, err));
    return qu_buf_puts(w->text, "\n", err);
}

/* text: whether some text was found so far. */
static qu_status put_part(mail *w, span m, int depth, bool *text, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf type = {0}, place = {0}, encoding = {0}, data = {0}, shown = {0};
    char value[MAX_VALUE], name[MAX_VALUE];
    int64_t at = body_at(m);
    span body = {m.s + at, m.n - at};
    if (depth > MAX_DEPTH || ++w->parts > MAX_PARTS) return QU_OK;
    QU_TRY(header(m, "Content-Type", &type, err));
    QU_TRY(header(m, "Content-Disposition", &place, err));
    QU_TRY(header(m, "Content-Transfer-Encoding", &encoding, err));
    encoding.data[strcspn(encoding.data, "; \t")] = 0;
    bool named = parameter(place.data, "filename", name) || parameter(type.data, "name", name);
    bool html = strncasecmp(type.data, "text/html", 9) == 0, plain = type.len == 0;
    plain = plain || strncasecmp(type.data, "text/plain", 10) == 0;
    if (strncasecmp(type.data, "multipart/", 10) == 0 && parameter(type.data, "boundary", value) &&
        *value) {
        bool found = false, alternative = strncasecmp(type.data + 10, "alternative", 11) == 0;
        qu_status st = put_multipart(w, body, value, alternative, depth, &found, err);
        *text |= found;
        return st;
    }
    QU_TRY(decode(body, encoding.data, &data, err));
    if ((html || plain) && !(named && strncasecmp(place.data, "attachment", 10) == 0)) {
        parameter(type.data, "charset", value);
        return put_text(w, (span){data.data, (int64_t)data.len}, value, html, text, err);
    }
    if (!named && strncasecmp(type.data, "message/rfc822", 14) != 0) return QU_OK;
    if (!named) snprintf(name, sizeof name, "part-%d.eml", w->parts);
    QU_TRY(put_words(&shown, name, err));
    return w->fn(w->ctx, shown.data, data.data ? data.data : "", (int64_t)data.len, NULL, err);
}

/* --- messages and mailboxes --- */

static bool is_header(span m, int64_t at, int64_t end)
{
    int64_t i = at;
    while (i < end && (isalnum((unsigned char)m.s[i]) || m.s[i] == '-')) i++;
    return i > at && i < end && m.s[i] == ':';
}

bool qu_mail_is(const char *s, int64_t n)
{
    static const char usual[] = "received return-path from to date message-id mime-version subject "
                                "delivered-to";
    span m = {s, n < 65536 ? n : 65536};
    int found = 0;
    for (int64_t at = 0, end; at < m.n; at = end) {
        end = line_end(m, at);
        if (m.s[at] == '\n' || m.s[at] == '\r') break;
        if (at > 0 && (m.s[at] == ' ' || m.s[at] == '\t')) continue;
        if (!is_header(m, at, end)) return false;
        char name[16];
        int64_t k = 0;
        for (; k < 16 && m.s[at + k] != ':'; k++)
            name[k] = (char)tolower((unsigned char)m.s[at + k]);
        found += qu_is_listed(usual, name, k);
    }
    return found >= 3;
}

bool qu_mail_is_box(const char *s, int64_t n)
{
    span m = {s, n};
    int64_t second = line_end(m, 0);
    return n > 5 && memcmp(s, "From ", 5) == 0 && second < n &&
           is_header(m, second, line_end(m, second));
}

qu_status qu_mail_read(qu_buf *text, qu_buf *title, const char *s, int64_t n, qu_member_fn *fn,
                       void *ctx, qu_err *err)
{
    static const char *const shown[] = {"Subject", "From", "To", "Cc", "Date"};
    mail w = {text, fn, ctx, 0};
    QU_OWN(qu_buf_free) qu_buf subject = {0};
    bool found = false;
    span m = {s, n};
    QU_TRY(header(m, "Subject", &subject, err));
    QU_TRY(put_words(title, subject.data, err));
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        QU_TRY(put_header(text, m, shown[i], err));
    return put_part(&w, m, 0, &found, err);
}

qu_status qu_mail_split(qu_buf *text, const char *s, int64_t n, qu_member_fn *fn, void *ctx,
                        qu_err *err)
{
    span m = {s, n};
    int64_t from = -1;
    int count = 0;
    bool empty = true; /* the line before was */
    for (int64_t at = 0, end; at <= n; at = end) {
        end = line_end(m, at);
        bool begins = at < n && empty && n - at > 5 && memcmp(s + at, "From ", 5) == 0 &&
                      is_header(m, end, line_end(m, end));
        if ((begins || at == n) && from >= 0) {
            char name[24];
            span message = {s + from, at - from};
            snprintf(name, sizeof name, "%d.eml", ++count);
            QU_TRY(put_header(text, message, "Subject", err));
            QU_TRY(fn(ctx, name, message.s, message.n, NULL, err));
        }
        if (begins) from = end;
        if (at == n) break;
        empty = s[at] == '\n' || s[at] == '\r';
    }
    return QU_OK;
}
