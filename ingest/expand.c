#include "ingest/expand.h"

#include "ingest/builder.h"
#include "ingest/mail.h"
#include "ingest/office.h"
#include "ingest/pdf.h"

enum { MAX_LISTED = 1000 };

qu_kind qu_expand_kind(const void *bytes, int64_t n, const char *name)
{
    static const struct {
        int64_t at;
        const char *magic;
        qu_kind kind;
    } known[] = {
        {0, "%PDF-", QU_KIND_PDF},
        {0, "PK\3\4", QU_KIND_ZIP},
        {0, "PK\5\6", QU_KIND_ZIP},
        {0, "\x1F\x8B\x08", QU_KIND_ARCHIVE},
        {0, "BZh", QU_KIND_ARCHIVE},
        {0, "\3757zXZ", QU_KIND_ARCHIVE},
        {0, "\x28\xB5\x2F\xFD", QU_KIND_ARCHIVE},
        {0, "7z\xBC\xAF\x27\x1C", QU_KIND_ARCHIVE},
        {0, "Rar!\x1A\7", QU_KIND_ARCHIVE},
        {257, "ustar", QU_KIND_ARCHIVE},
        {0, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", QU_KIND_OLD_OFFICE},
    };
    static const char *const xml[] = {".xml", NULL}, *const mail[] = {".eml", NULL};
    const char *s = bytes;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t len = strlen(known[i].magic);
        if (n >= known[i].at + (int64_t)len && memcmp(s + known[i].at, known[i].magic, len) == 0)
            return known[i].kind;
    }
    if (qu_document_is_html(s, n, name)) return QU_KIND_HTML;
    if ((n > 5 && memcmp(s, "<?xml", 5) == 0) || qu_name_ends(name, xml)) return QU_KIND_XML;
    if (qu_mail_is_box(s, n)) return QU_KIND_MAILBOX;
    if (qu_name_ends(name, mail) || qu_mail_is(s, n)) return QU_KIND_MAIL;
    /* In UTF-16 and UTF-32 a page of HTML is only known once it is decoded. */
    bool wide =
        n >= 2 && (!s[0] || !s[1] || !memcmp(s, "\xFF\xFE", 2) || !memcmp(s, "\xFE\xFF", 2));
    return wide ? QU_KIND_HTML : QU_KIND_TEXT;
}

/* An archive's members on their way, and the list of their names. */
typedef struct listing {
    qu_member_fn *fn;
    void *ctx;
    qu_buf *names;
    int64_t n;
    bool compressed; /* no archive: one nameless member */
} listing;

static qu_status list_member(void *ctx, const char *name, const void *p, int64_t n, const char *why,
                             qu_err *err)
{
    listing *l = ctx;
    l->compressed = !*name;
    if (l->n++ < MAX_LISTED && *name) QU_TRY(qu_buf_printf(l->names, err, "%s\n", name));
    return l->fn(l->ctx, name, p, n, why, err);
}

static qu_status read_archive(qu_document *doc, const void *bytes, int64_t n, const char *shown,
                              qu_member_fn *fn, void *ctx, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf names = {0}, text = {0};
    listing l = {.fn = fn, .ctx = ctx, .names = &names};
    QU_TRY(qu_archive_read(bytes, n, shown, NULL, list_member, &l, err));
    if (l.compressed) return QU_OK;
    QU_TRY(qu_buf_printf(&text, err, "Archive of %lld files:\n\n%s", (long long)l.n,
                         names.len ? names.data : ""));
    return qu_document_derive(doc, &text, false, "archive", NULL, err);
}

/* format NULL: XML by itself. */
static qu_status read_office(qu_document *doc, const void *bytes, int64_t n, const char *format,
                             const char *shown, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf html = {0};
    qu_status st = format ? qu_office_html(&html, bytes, n, format, shown, err)
                          : qu_xml_html(&html, bytes, n, err);
    bool made = st == QU_OK;
    if (made) st = qu_document_derive(doc, &html, true, format ? format : "xml", NULL, err);
    if (!made || st != QU_ERR_FORMAT) return st;
    if (format) return qu_fail(err, QU_ERR_UNSUPPORTED, "'%.100s' holds no text", shown);
    return qu_document_parse(doc, bytes, n, NULL, err); /* all in attributes */
}

static qu_status read_pdf(qu_document *doc, const void *bytes, int64_t n, const char *shown,
                          qu_err *err)
{
    QU_OWN(qu_pdf_free) qu_pdf pdf = {0};
    QU_TRY(qu_pdf_read(&pdf, bytes, n, shown, qu_pdf_program(), err));
    QU_TRY(qu_document_derive(doc, &pdf.text, false, "pdf", pdf.title.data, err));
    if (doc->text_bytes == (int64_t)pdf.text.len) { /* cleaning moved nothing */
        free(doc->headings);
        doc->headings = QU_TAKE(pdf.headings);
        doc->n_headings = pdf.n_headings;
    }
    return QU_OK;
}

static qu_status read_mail(qu_document *doc, const char *s, int64_t n, bool box, qu_member_fn *fn,
                           void *ctx, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf text = {0}, title = {0};
    QU_TRY(box ? qu_mail_split(&text, s, n, fn, ctx, err)
               : qu_mail_read(&text, &title, s, n, fn, ctx, err));
    if (box && text.len == 0) QU_TRY(qu_buf_puts(&text, "Mailbox", err));
    return qu_document_derive(doc, &text, false, box ? "mailbox" : "mail", title.data, err);
}

qu_status qu_expand(qu_document *doc, const void *bytes, int64_t n, const char *name,
                    qu_member_fn *fn, void *ctx, qu_err *err)
{
    const char *shown = name ? name : "input", *format;
    qu_kind kind = qu_expand_kind(bytes, n, name);
    memset(doc, 0, sizeof *doc);
    switch (kind) {
    case QU_KIND_PDF: return read_pdf(doc, bytes, n, shown, err);
    case QU_KIND_ZIP:
        format = qu_office_format(bytes, n);
        if (format) return read_office(doc, bytes, n, format, shown, err);
        return read_archive(doc, bytes, n, shown, fn, ctx, err);
    case QU_KIND_XML: return read_office(doc, bytes, n, NULL, shown, err);
    case QU_KIND_ARCHIVE: return read_archive(doc, bytes, n, shown, fn, ctx, err);
    case QU_KIND_MAIL:
    case QU_KIND_MAILBOX: return read_mail(doc, bytes, n, kind == QU_KIND_MAILBOX, fn, ctx, err);
    case QU_KIND_OLD_OFFICE:
        return qu_fail(
            err, QU_ERR_UNSUPPORTED,
            "'%.100s' is an office file of before 2007: save it as DOCX or give --filter, e.g. "
            "'doc=antiword \"$1\"'",
            shown);
    default: return qu_document_parse(doc, bytes, n, name, err);
    }
}
