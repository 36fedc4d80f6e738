/* A file as text: valid UTF-8 with a title, headings, ranked cut points and the way back to the
 * bytes.
 *
 *     qu_document doc;
 *     QU_TRY(qu_document_parse(&doc, bytes, n, "/docs/a.html", NULL, err));
 *     for (int64_t i = 0; i < doc.n_cuts; i++) use(doc.cuts[i].at, doc.cuts[i].rank);
 *     int64_t from, to;
 *     if (doc.has_source) qu_document_source_range(doc.runs, doc.n_runs, 100, 180, &from, &to);
 *     qu_document_free(&doc);
 *
 * Formats: here plain text, Markdown, source code (definitions are headings and where it is cut),
 * CSV, TSV and JSON Lines (a paragraph of "name: value" lines each record) and HTML;
 * ingest/expand.h reads all others into the same struct. The format comes from how the content
 * begins, else from the name's ending. Encodings: byte order marks, then the declaration in HTML or
 * XML, then UTF-8 if it is (nearly) valid, else what uchardet takes the bytes for, else
 * windows-1252.
 *
 *   raw bytes --decode--> UTF-8 --format--> text, cuts, headings, title
 *       '---------- source runs -------------'
 *
 * Input is hostile: time is linear in the input, and memory is a small multiple of it. All
 * functions may run in several threads at once, each on its own document.
 */
#ifndef QU_INGEST_DOCUMENT_H
#define QU_INGEST_DOCUMENT_H

#include "base/buf.h"
#include "base/cut.h"
#include "base/hash.h"
#include "base/status.h"

/* A heading's own characters are text[text_start, text_end), markers excluded; at is where its line
 * begins (a cut, unless the text begins there). level is 1..6; level 0 says that a page of a PDF
 * begins at at (every page has one, so that the n-th is page n), and has no characters. */
typedef struct qu_heading {
    int64_t at;
    int32_t level;
    int64_t text_start, text_end;
} qu_heading;

/* text[text_at, text_at + n) is the raw bytes [source_at, source_at + n), unchanged but for control
 * characters (blanks in the text, and '\r' alone is '\n'). n may be 0: then the two positions only
 * correspond. Sorted, disjoint on both sides. Text between runs (a decoded entity, a converted
 * character, a line break that stands for markup) comes from the raw bytes between those runs. */
typedef struct qu_source_run {
    int64_t text_at, source_at, n;
} qu_source_run;

/* What a file may cost. */
enum {
    QU_DOCUMENT_MAX_BYTES = 256 << 20,          /* as it is */
    QU_DOCUMENT_MAX_INFLATED_BYTES = 512 << 20, /* of all that is unpacked from it ... */
    QU_DOCUMENT_MAX_INFLATE_RATIO = 200,        /* ... and that by its size, but for the first */
    QU_DOCUMENT_FREE_INFLATED_BYTES = 16 << 20,
};

/* May so much be unpacked from a file of packed bytes? */
static inline bool qu_document_may_unpack(int64_t packed, int64_t unpacked)
{
    return unpacked <= QU_DOCUMENT_FREE_INFLATED_BYTES ||
           (unpacked <= QU_DOCUMENT_MAX_INFLATED_BYTES &&
            unpacked / QU_DOCUMENT_MAX_INFLATE_RATIO <= packed);
}

typedef struct qu_document {
    char *text;         /* valid UTF-8, no control characters but '\t' and '\n'; NUL follows */
    int64_t text_bytes; /* > 0 */
    char *title;        /* one trimmed line of at most 200 bytes; "" if none was found */
    qu_cut *cuts;       /* strictly increasing, 0 < at < text_bytes, at least 16 bytes apart */
    int64_t n_cuts;
    qu_heading *headings; /* in order; at most 2^20 */
    int64_t n_headings;
    qu_source_run *runs; /* n_runs is 0 when has_source is false */
    int64_t n_runs;
    bool has_source;      /* false: not the file's own bytes, or more runs than are worth keeping */
    char charset[32];     /* as decoded: "utf-8", "utf-16le", "windows-1252", ... */
    /* "text", "markdown", "code", "csv", "jsonl", "html", "pdf", "docx", "archive", ... */
    char format[16];
    qu_hash content_hash; /* of the raw bytes, seed 0 */
} qu_document;

/* Parse n bytes of text, Markdown or HTML in memory (borrowed during the call). name is used for
 * its ending and in messages; NULL = unnamed. *doc needs no initialisation; on error it is empty
 * and need not be freed. Errors name it and tell why a file was skipped: QU_ERR_UNSUPPORTED, binary
 * content; QU_ERR_LIMIT, a page too large; QU_ERR_FORMAT, no text in it; also QU_ERR_NOMEM. */
qu_status qu_document_parse(qu_document *doc, const void *bytes, int64_t n, const char *name,
                            qu_err *err);

/* Is it a page of HTML, by its name's ending or by how it begins? */
bool qu_document_is_html(const void *bytes, int64_t n, const char *name);

/* As qu_document_parse, for UTF-8 that was made from a file of another format (html: a page; else
 * plain text): the document has no way back to bytes, and no content hash. title NULL or empty:
 * found in the text. */
qu_status qu_document_derive(qu_document *doc, const qu_buf *text, bool html, const char *format,
                             const char *title, qu_err *err);

/* Are these what is promised above, for a text of so many bytes (and raw ones)? What comes from a
 * child or a store is not trusted. */
bool qu_document_map_fits(const qu_source_run *runs, int64_t n_runs, const qu_heading *headings,
                          int64_t n_headings, int64_t text_bytes, int64_t raw_bytes);

/* Release everything and zero the struct. A zeroed struct is fine. */
void qu_document_free(qu_document *doc);

/* The smallest raw range [*byte_start, *byte_end) that the runs can show to cover text [text_start,
 * text_end): its ends are exact inside runs; at text between runs the whole raw gap belongs to it.
 * A document's runs begin and end where its text does. n_runs 0, or text_end <= text_start: both 0.
 * O(log n_runs). */
void qu_document_source_range(const qu_source_run *runs, int64_t n_runs, int64_t text_start,
                              int64_t text_end, int64_t *byte_start, int64_t *byte_end);

#endif
