#include "ingest/charset.h"

#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

enum {
    SNIFF_BYTES = 1 << 16,  /* what is looked at to tell binary from text */
    DECLARED_WITHIN = 4096, /* where a declaration may stand */
    WINDOW = 64, /* bytes converted at a time: how exact positions are in converted text */
};

/* Declared names (lower case, letters and digits only) and the converter each stands for, as
 * browsers read them. A fixed list, because some of iconv's own converters are unsafe on hostile
 * input. */
/* clang-format off */
static const char *const known[][2] = {
    {"ascii", "windows-1252"}, {"usascii", "windows-1252"}, {"iso88591", "windows-1252"},
    {"latin1", "windows-1252"}, {"cp1252", "windows-1252"}, {"windows1252", "windows-1252"},
    {"iso88599", "windows-1254"}, {"windows1254", "windows-1254"}, {"windows1250", "windows-1250"},
    {"windows1251", "windows-1251"}, {"cp1251", "windows-1251"}, {"windows1253", "windows-1253"},
    {"windows1255", "windows-1255"}, {"windows1256", "windows-1256"},
    {"windows1257", "windows-1257"}, {"windows1258", "windows-1258"}, {"windows874", "windows-874"},
    {"tis620", "windows-874"}, {"iso88592", "iso-8859-2"}, {"latin2", "iso-8859-2"},
    {"iso88593", "iso-8859-3"}, {"iso88594", "iso-8859-4"}, {"iso88595", "iso-8859-5"},
    {"iso88596", "iso-8859-6"}, {"iso88597", "iso-8859-7"}, {"iso88598", "iso-8859-8"},
    {"iso885910", "iso-8859-10"}, {"iso885913", "iso-8859-13"}, {"iso885914", "iso-8859-14"},
    {"iso885915", "iso-8859-15"}, {"latin9", "iso-8859-15"}, {"iso885916", "iso-8859-16"},
    {"koi8r", "koi8-r"}, {"koi8u", "koi8-u"}, {"ibm866", "cp866"}, {"cp866", "cp866"},
    {"macintosh", "macintosh"}, {"gbk", "gb18030"}, {"gb2312", "gb18030"}, {"gb18030", "gb18030"},
    {"big5", "big5"}, {"shiftjis", "cp932"}, {"sjis", "cp932"}, {"xsjis", "cp932"},
    {"windows31j", "cp932"}, {"eucjp", "euc-jp"}, {"euckr", "cp949"}, {"ksc56011987", "cp949"},
    {"windows949", "cp949"}, {"iso2022jp", "iso-2022-jp"},
};
/* clang-format on */

/* Where clean text goes, and what a '\r' at the end of the last piece may turn out to be. */
typedef struct sink {
    qu_buf *out;
    qu_runs *runs;
    bool cr;
    int64_t cr_at;
} sink;

/* Append n bytes that are the raw bytes at source_at, or (source_at < 0) were converted. */
static qu_status emit(sink *k, const char *p, int64_t n, int64_t source_at, qu_err *err)
{
    if (source_at >= 0) QU_TRY(qu_runs_add(k->runs, (int64_t)k->out->len, source_at, n, err));
    return qu_buf_add(k->out, p, (size_t)n, err);
}

static qu_status flush_cr(sink *k, qu_err *err)
{
    if (!k->cr) return QU_OK;
    k->cr = false;
    return emit(k, "\n", 1, k->cr_at, err);
}

static bool is_control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\t' && c != '\n') || c == 0x7F;
}

/* Append valid UTF-8, cleaned. */
static qu_status sink_put(sink *k, const char *p, int64_t n, int64_t source_at, qu_err *err)
{
    for (int64_t i = 0; i < n;) {
        int64_t at = source_at < 0 ? -1 : source_at + i, j = i;
        if (k->cr && p[i] == '\n') k->cr = false; /* "\r\n": the '\n' stands for both */
        QU_TRY(flush_cr(k, err));
        while (j < n && !is_control(p[j])) j++;
        if (j > i) {
            QU_TRY(emit(k, p + i, j - i, at, err));
        } else if (p[j++] == '\r') {
            k->cr = true;
            k->cr_at = at;
        } else {
            QU_TRY(emit(k, " ", 1, at, err));
        }
        i = j;
    }
    return QU_OK;
}

/* The next text comes from raw bytes at source_at on. Not said while a '\r' waits: it comes first.
 */
static qu_status sink_anchor(sink *k, int64_t source_at, qu_err *err)
{
    if (k->cr) return QU_OK;
    return qu_runs_add(k->runs, (int64_t)k->out->len, source_at, 0, err);
}

static qu_status sink_bad(sink *k, qu_err *err)
{
    QU_TRY(flush_cr(k, err));
    return qu_buf_add(k->out, "\xEF\xBF\xBD", 3, err);
}

/* Bytes of the valid character at p, 0 if there is none. */
static int64_t utf8_length(const uint8_t *p, int64_t n)
{
    utf8proc_int32_t cp;
    if (*p < 0x80) return 1;
    int64_t len = utf8proc_iterate(p, n, &cp);
    return len > 0 ? len : 0;
}

static qu_status decode_utf8(sink *k, const uint8_t *s, int64_t from, int64_t n, qu_err *err)
{
    for (int64_t i = from; i < n;) {
        int64_t j = i, len;
        while (j < n && (len = utf8_length(s + j, n - j)) > 0) j += len;
        if (j > i) QU_TRY(sink_put(k, (const char *)s + i, j - i, i, err));
        while (j < n && utf8_length(s + j, n - j) == 0) {
            QU_TRY(sink_anchor(k, j, err));
            QU_TRY(sink_bad(k, err));
            j++;
        }
        i = j;
    }
    return QU_OK;
}

/* Bytes from i on that are all plain or all not, at most WINDOW: plain stretches come out unchanged
 * in most encodings and so keep exact positions. Encodings in units of 2 or 4 bytes have no such
 * bytes. */
static int64_t window_at(const uint8_t *s, int64_t i, int64_t n, int unit)
{
    int64_t j = i + 1, stop = n - i > WINDOW ? i + WINDOW : n;
    while (j < stop && (unit > 1 || (s[j] & 0x80) == (s[i] & 0x80))) j++;
    return unit > 1 ? stop - i : j - i;
}

static qu_status decode_iconv(sink *k, iconv_t cd, const uint8_t *s, int64_t from, int64_t n,
                              int unit, qu_err *err)
{
    char out[16 * WINDOW];
    int64_t want = 0;
    for (int64_t i = from; i < n;) {
        int64_t window = window_at(s, i, n, unit);
        if (window < want) window = want < n - i ? want : n - i;
        char *in = (char *)s + i, *to = out;
        size_t in_left = (size_t)window, out_left = sizeof out;
        bool failed = iconv(cd, &in, &in_left, &to, &out_left) == (size_t)-1;
        int64_t used = (char *)in - ((char *)s + i), made = to - out;
        bool same = used == made && memcmp(out, s + i, (size_t)used) == 0;
        if (used == 0 && failed && errno == EINVAL && window < n - i && window < 2 * WINDOW) {
            want = window + 8; /* a character that goes on behind the window */
            continue;
        }
        want = 0;
        QU_TRY(sink_anchor(k, i, err));
        QU_TRY(sink_put(k, out, made, same ? i : -1, err));
        i += used;
        if (used > 0) continue;
        QU_TRY(sink_bad(k, err));
        iconv(cd, NULL, NULL, NULL, NULL);
        i += unit < n - i ? unit : n - i;
    }
    return QU_OK;
}

/* Zero bytes in every second place only, and nothing else that text would not hold. */
static const char *guess_utf16(const uint8_t *s, int64_t n)
{
    int64_t zeros[2] = {0, 0};
    if (n > SNIFF_BYTES) n = SNIFF_BYTES;
    for (int64_t i = 0; i < n; i++) {
        if (is_control((char)s[i]) && s[i] && s[i] != '\r' && s[i] != '\f') return NULL;
        zeros[i & 1] += s[i] == 0;
    }
    if (zeros[0] == 0 && zeros[1] > n / 8) return "utf-16le";
    if (zeros[1] == 0 && zeros[0] > n / 8) return "utf-16be";
    return NULL;
}

/* NUL, or more than a tenth of control characters (and of U+FFFD after a conversion). */
static bool looks_binary(const char *s, int64_t n)
{
    int64_t odd = 0;
    if (n > SNIFF_BYTES) n = SNIFF_BYTES;
    for (int64_t i = 0; i < n; i++) {
        if (!s[i]) return true;
        odd += is_control(s[i]) && s[i] != '\r' && s[i] != '\f' && s[i] != '\b' && s[i] != 27;
    }
    return odd > n / 10;
}

static int64_t count_bad(const char *s, int64_t n)
{
    int64_t bad = 0;
    for (int64_t i = 0; i + 2 < n; i++) bad += memcmp(s + i, "\xEF\xBF\xBD", 3) == 0;
    return bad;
}

/* At least as many characters beyond ASCII as bytes that break them. */
static bool mostly_utf8(const uint8_t *s, int64_t n)
{
    int64_t good = 0, bad = 0;
    for (int64_t i = 0; i < n;) {
        int64_t len = utf8_length(s + i, n - i);
        good += len > 1;
        bad += len == 0;
        i += len ? len : 1;
    }
    return bad <= good;
}

/* The value after key= in s[0, n), as letters and digits in lower case. */
static bool declared_value(char out[32], const char *s, int64_t n, const char *key)
{
    int64_t len = (int64_t)strlen(key), m = 0;
    for (int64_t i = 0; i + len < n; i++) {
        if (strncasecmp(s + i, key, (size_t)len) != 0) continue;
        int64_t j = i + len;
        while (j < n && (s[j] == ' ' || s[j] == '\t')) j++;
        if (j == n || s[j++] != '=') continue;
        while (j < n && (s[j] == ' ' || s[j] == '"' || s[j] == '\'')) j++;
        for (; j < n && m < 31; j++) {
            char c = s[j] >= 'A' && s[j] <= 'Z' ? (char)(s[j] + 32) : s[j];
            bool kept = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
            if (kept)
                out[m++] = c;
            else if (c != '-' && c != '_' && c != ':' && c != '.')
                break;
        }
        out[m] = 0;
        return m > 0;
    }
    return false;
}

/* The converter that the markup declares, NULL if none that is known (UTF-8 declares nothing that
 * looking does not tell better). */
static const char *declared(const uint8_t *bytes, int64_t n)
{
    char value[32];
    const char *s = (const char *)bytes;
    if (n > DECLARED_WITHIN) n = DECLARED_WITHIN;
    for (int64_t i = 0; i + 5 < n; i++) {
        if (s[i] != '<') continue;
        const char *close = memchr(s + i, '>', (size_t)(n - i));
        const char *key = strncasecmp(s + i, "<meta", 5) == 0   ? "charset"
                          : strncasecmp(s + i, "<?xml", 5) == 0 ? "encoding"
                                                                : NULL;
        if (!key || !close || !declared_value(value, s + i, close - (s + i), key)) continue;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            if (strcmp(known[k][0], value) == 0) return known[k][1];
        return NULL;
    }
    return NULL;
}

/* The encoding that a byte order mark tells, NULL without one. *skip gets the mark's length. */
static const char *marked(const uint8_t *s, int64_t n, int64_t *skip)
{
    static const struct {
        const char *bytes, *name;
        int64_t n;
    } marks[] = {{"\xEF\xBB\xBF", "utf-8", 3},
                 {"\xFF\xFE\0\0", "utf-32le", 4},
                 {"\0\0\xFE\xFF", "utf-32be", 4},
                 {"\xFF\xFE", "utf-16le", 2},
                 {"\xFE\xFF", "utf-16be", 2}};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        if (n < marks[i].n || memcmp(s, marks[i].bytes, (size_t)marks[i].n) != 0) continue;
        *skip = marks[i].n;
        return marks[i].name;
    }
    return NULL;
}

static qu_status convert(sink *k, const char *from_name, const uint8_t *s, int64_t from, int64_t n,
                         qu_err *err)
{
    int unit = strncmp(from_name, "utf-32", 6) == 0   ? 4
               : strncmp(from_name, "utf-16", 6) == 0 ? 2
                                                      : 1;
    iconv_t cd = iconv_open("UTF-8", from_name);
    if (cd == (iconv_t)-1)
        return qu_fail(err, QU_ERR_UNSUPPORTED,
                       "cannot convert from '%s': the system has no such converter", from_name);
    qu_status st = decode_iconv(k, cd, s, from, n, unit, err);
    iconv_close(cd);
    return st;
}

qu_status qu_charset_decode(qu_buf *out, qu_runs *runs, char charset[32], const uint8_t *bytes,
                            int64_t n, bool markup, const char *name, qu_err *err)
{
    sink k = {.out = out, .runs = runs};
    int64_t skip = 0, start = (int64_t)out->len;
    const char *from = marked(bytes, n, &skip);
    if (!from) from = guess_utf16(bytes, n);
    bool wide = from && strcmp(from, "utf-8") != 0;
    bool binary = n >= 5 && memcmp(bytes, "%PDF-", 5) == 0;
    if (!wide) binary |= looks_binary((const char *)bytes, n);
    if (!binary) {
        if (!from && markup) from = declared(bytes, n);
        if (!from) from = mostly_utf8(bytes, n) ? "utf-8" : "windows-1252";
        snprintf(charset, 32, "%s", from);
        QU_TRY(sink_anchor(&k, skip, err));
        if (strcmp(from, "utf-8") == 0)
            QU_TRY(decode_utf8(&k, bytes, skip, n, err));
        else
            QU_TRY(convert(&k, from, bytes, skip, n, err));
        QU_TRY(flush_cr(&k, err));
        QU_TRY(sink_anchor(&k, n, err));
        int64_t got = (int64_t)out->len - start, head = got < SNIFF_BYTES ? got : SNIFF_BYTES;
        binary = wide && count_bad(out->data + start, head) > head / 10;
    }
    if (binary)
        return qu_fail(err, QU_ERR_UNSUPPORTED,
                       "file '%s' is binary: not a text format that is read", name);
    return QU_OK;
}
