#include "ingest/charset.h"

#include <ctype.h>
#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <strings.h>
#include <uchardet.h>
#include <utf8proc.h>

enum {
    SNIFF_BYTES = 1 << 16,   /* what is looked at to tell binary from text */
    DECLARED_WITHIN = 16384, /* where a declaration may stand */
    DETECT_BYTES = 8,        /* beyond ASCII; fewer tell nothing */
    WINDOW = 64, /* bytes converted at a time: how exact positions are in converted text */
};

/* Converters, and the names each is read for, as browsers do it; in lower case, letters and digits
 * only. A fixed list, because some of iconv's own converters are unsafe on hostile input. */
/* clang-format off */
static const char *const known[][2] = {
    {"windows-1252", "windows1252 cp1252 ansix341968 ascii usascii iso88591 iso885911987 latin1 l1 "
                     "cp819 ibm819"},
    {"windows-1250", "windows1250 cp1250"}, {"windows-1251", "windows1251 cp1251"},
    {"windows-1253", "windows1253 cp1253"}, {"windows-1255", "windows1255 cp1255"},
    {"windows-1254", "windows1254 cp1254 iso88599 iso885991989 latin5 l5"},
    {"windows-1256", "windows1256 cp1256"}, {"windows-1257", "windows1257 cp1257"},
    {"windows-1258", "windows1258 cp1258"}, {"windows-874", "windows874 dos874 tis620 iso885911"},
    {"iso-8859-2", "iso88592 iso885921987 latin2 l2"}, {"iso-8859-3", "iso88593 latin3 l3"},
    {"iso-8859-4", "iso88594 latin4 l4"}, {"iso-8859-5", "iso88595 cyrillic"},
    {"iso-8859-6", "iso88596 arabic asmo708"}, {"iso-8859-7", "iso88597 greek greek8 ecma118"},
    {"iso-8859-8", "iso88598 hebrew visual iso88598i logical"},
    {"iso-8859-10", "iso885910 latin6 l6"},
    {"iso-8859-13", "iso885913"}, {"iso-8859-14", "iso885914"},
    {"iso-8859-15", "iso885915 latin9 l9"}, {"iso-8859-16", "iso885916"},
    {"koi8-r", "koi8r koi8 koi"}, {"koi8-u", "koi8u koi8ru"}, {"cp866", "cp866 ibm866 866"},
    {"macintosh", "macintosh mac xmacroman"}, {"mac-cyrillic", "maccyrillic xmaccyrillic"},
    {"gb18030", "gb18030 gbk gb2312 gb231280 chinese"}, {"big5", "big5 big5hkscs cnbig5 xxbig5"},
    {"cp932", "shiftjis sjis xsjis mskanji ms932 ms31j windows31j"}, {"euc-jp", "eucjp xeucjp"},
    {"cp949", "euckr korean ksc5601 ksc56011987 ksc56011989 windows949 uhc"},
    {"iso-2022-jp", "iso2022jp"},
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
        i = j + 1;
        if (j == n) break;
        QU_TRY(sink_anchor(k, j, err));
        QU_TRY(sink_bad(k, err));
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

#define BLANKS " \t\n\f\r"

/* The converter for a declared or detected name s[0, n), NULL if it is not known. */
static const char *find_known(const char *s, size_t n)
{
    char key[40];
    int64_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((uint8_t)s[i]) && !strchr("-_:." BLANKS, s[i])) return NULL;
        if (isalnum((uint8_t)s[i]) && m < (int64_t)sizeof key)
            key[m++] = (char)tolower((uint8_t)s[i]);
    }
    for (size_t k = 0; m > 0 && k < sizeof known / sizeof *known; k++)
        if (qu_is_listed(known[k][1], key, m)) return known[k][0];
    return NULL;
}

typedef struct span {
    const char *s;
    size_t n;
} span;

/* What follows '=' at p, without its quotes. *p moves behind it; false if a quote is not closed. */
static bool take_value(const char **p, span *value, const char *end)
{
    *p += strspn(*p, BLANKS);
    char quote[2] = {**p == '"' || **p == '\'' ? **p : 0, 0};
    value->s = *p + (*quote != 0);
    value->n = strcspn(value->s, *quote ? quote : end);
    *p = value->s + value->n + (*quote && value->s[value->n]);
    return !*quote || value->s[value->n];
}

/* One attribute of a tag at *p, read as browsers look for a declaration before they parse. False at
 * the end of the tag; **p is 0 where the text ends inside of it. */
static bool take_attribute(const char **p, span *name, span *value)
{
    *p += strspn(*p, BLANKS "/");
    *name = (span){*p, (**p == '=') + strcspn(*p + (**p == '='), BLANKS "/>=")};
    *value = (span){*p, 0};
    if (**p == '>' || !**p) return false;
    *p += name->n;
    const char *equals = *p + strspn(*p, BLANKS);
    if (*equals != '=') return **p != 0;
    *p = equals + 1;
    return take_value(p, value, BLANKS ">") && **p;
}

static bool is_word(span a, const char *word)
{
    return a.n == strlen(word) && strncasecmp(a.s, word, a.n) == 0;
}

/* The converter that a <meta> tells: charset=, or content= with http-equiv=content-type. *p stands
 * behind its name and moves to its end. */
static const char *meta_charset(const char **p)
{
    span name, value, found = {"", 0};
    bool pragma = false, needs_pragma = false;
    while (take_attribute(p, &name, &value)) {
        const char *c = is_word(name, "content") && !found.n ? value.s : NULL;
        pragma |= is_word(name, "http-equiv") && is_word(value, "content-type");
        if (is_word(name, "charset")) found = value;
        if (is_word(name, "charset")) needs_pragma = false;
        while (c && (c = strcasestr(c, "charset")) && c < value.s + value.n) {
            c += strlen("charset");
            c += strspn(c, BLANKS);
            if (*c++ != '=') continue;
            needs_pragma = take_value(&c, &found, BLANKS ";\"'") && c <= value.s + value.n;
            if (!needs_pragma) found.n = 0;
            break;
        }
    }
    return **p && (pragma || !needs_pragma) ? find_known(found.s, found.n) : NULL;
}

/* The converter that the markup declares, NULL if none that is known (UTF-8 declares nothing that
 * looking does not tell better). */
static const char *declared(const uint8_t *bytes, int64_t n)
{
    char head[DECLARED_WITHIN + 1];
    span name, value;
    size_t len = n < DECLARED_WITHIN ? (size_t)n : DECLARED_WITHIN;
    for (size_t i = 0; i < len; i++) head[i] = bytes[i] ? (char)bytes[i] : ' ';
    head[len] = 0;
    for (const char *p = head, *found; (p = strchr(p, '<')); p += *p != 0) {
        if (strncmp(p, "<!--", 4) == 0) {
            if (!(p = strstr(p + 2, "-->"))) break;
        } else if (strncasecmp(p, "<meta", 5) == 0 && strchr(BLANKS "/", p[5])) {
            p += 5;
            if ((found = meta_charset(&p))) return found;
        } else if (isalpha((uint8_t)p[1]) || strncasecmp(p, "<?xml", 5) == 0 ||
                   (p[1] == '/' && isalpha((uint8_t)p[2]))) {
            bool xml = p[1] == '?';
            p += strcspn(p, BLANKS ">");
            while (take_attribute(&p, &name, &value))
                if (xml && is_word(name, "encoding")) return find_known(value.s, value.n);
        } else if (p[1] && strchr("!/?", p[1])) {
            p += strcspn(p, ">");
        }
    }
    return NULL;
}

/* What the bytes look like by the statistics of languages, where there are enough of them. */
static const char *detect(const uint8_t *s, int64_t n)
{
    int64_t first = 0, high = 0;
    const char *found = NULL;
    while (first < n && s[first] < 0x80) first++;
    s += first;
    n = n - first < SNIFF_BYTES ? n - first : SNIFF_BYTES;
    for (int64_t i = 0; i < n; i++) high += s[i] >= 0x80;
    if (high >= DETECT_BYTES) {
        uchardet_t u = uchardet_new();
        if (u && uchardet_handle_data(u, (const char *)s, (size_t)n) == 0) {
            uchardet_data_end(u);
            const char *name = uchardet_get_charset(u);
            found = find_known(name, strlen(name));
        }
        if (u) uchardet_delete(u);
    }
    return found ? found : "windows-1252";
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

static void close_iconv(iconv_t *cd)
{
    if (*cd != (iconv_t)-1) iconv_close(*cd);
}

static qu_status convert(sink *k, const char *from_name, const uint8_t *s, int64_t from, int64_t n,
                         qu_err *err)
{
    int unit = strncmp(from_name, "utf-32", 6) == 0   ? 4
               : strncmp(from_name, "utf-16", 6) == 0 ? 2
                                                      : 1;
    QU_OWN(close_iconv) iconv_t cd = iconv_open("UTF-8", from_name);
    if (cd != (iconv_t)-1) return decode_iconv(k, cd, s, from, n, unit, err);
    return qu_fail(err, QU_ERR_UNSUPPORTED,
                   "cannot convert from '%s': the system has no such converter", from_name);
}

qu_status qu_charset_convert(qu_buf *out, const char *encoding, const void *bytes, int64_t n,
                             qu_err *err)
{
    qu_runs none = {.full = true};
    sink k = {.out = out, .runs = &none};
    const char *from = find_known(encoding, strlen(encoding));
    if (!from && strncasecmp(encoding, "utf-16", 6) == 0) from = "utf-16";
    if (!from) return qu_buf_add(out, bytes, (size_t)n, err);
    QU_TRY(convert(&k, from, bytes, 0, n, err));
    return flush_cr(&k, err);
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
        if (!from) from = mostly_utf8(bytes, n) ? "utf-8" : detect(bytes, n);
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
