/* The text of a file as Quire's readers make it: what is indexed, cut and shown to a model. Nothing
 * is confined here, and members of archives are passed over.
 *
 *     text FILE [n]      its text to standard output; with n: read n times, MB/s to standard error
 *     text FILE n child  the same through a confined child, as indexing does; no text
 */
#include <stdio.h>
#include <stdlib.h>

#include <string.h>

#include "base/os.h"
#include "ingest/child.h"
#include "ingest/expand.h"
#include "ingest/reader.h"

static qu_status pass_over(void *ctx, const char *name, const void *p, int64_t n, const char *why,
                           qu_err *err)
{
    (void)ctx, (void)name, (void)p, (void)n, (void)why, (void)err;
    return QU_OK;
}

static qu_status count(void *ctx, const char *member, qu_document *doc)
{
    (void)member;
    *(int64_t *)ctx += doc->text_bytes;
    return QU_OK;
}

static qu_status no_fault(void *ctx, const char *member, const qu_err *why)
{
    (void)ctx, (void)member, (void)why;
    return QU_OK;
}

static int through_child(const char *path, const qu_buf *raw, int turns)
{
    qu_reader *r = NULL;
    qu_err err = {0};
    int64_t n = 0;
    const qu_reader_options o = {.program = "/proc/self/exe"};
    const qu_reader_sink sink = {count, no_fault, &n};
    qu_status st = qu_reader_create(&r, &o, &err);
    double start = qu_os_now_ms();
    for (int i = 0; i < turns && st == QU_OK; i++)
        st = qu_reader_parse(r, raw->data, (int64_t)raw->len, path, &sink, &err);
    double s = (qu_os_now_ms() - start) / 1e3;
    qu_reader_free(r);
    if (st != QU_OK) fprintf(stderr, "text: %s\n", err.msg);
    else fprintf(stderr, "%.1f MB/s\n", (double)raw->len * turns / 1e6 / s);
    return st == QU_OK ? 0 : 3;
}

int main(int argc, char **argv)
{
    if (qu_child_asked(argc, argv)) return qu_child_main(argv[2]);
    qu_document doc;
    qu_buf raw = {0};
    qu_err err = {0};
    int turns = argc > 2 ? atoi(argv[2]) : 0;
    if (argc < 2 || qu_os_read(&raw, argv[1], 1u << 30, &err) != QU_OK) {
        fprintf(stderr, "text: %s\n", argc < 2 ? "usage: text FILE [n]" : err.msg);
        return 2;
    }
    if (argc > 3 && strcmp(argv[3], "child") == 0) return through_child(argv[1], &raw, turns);
    double start = qu_os_now_ms();
    for (int i = 0;; i++) {
        if (qu_expand(&doc, raw.data, (int64_t)raw.len, argv[1], pass_over, NULL, &err) !=
            QU_OK) {
            fprintf(stderr, "text: %s\n", err.msg);
            return 3;
        }
        if (i + 1 >= turns) break;
        qu_document_free(&doc);
    }
    double s = (qu_os_now_ms() - start) / 1e3;
    if (argc > 3) printf("%s\n", doc.title);
    if (turns) fprintf(stderr, "%.1f MB/s\n", (double)raw.len * turns / 1e6 / s);
    if (doc.text) fwrite(doc.text, 1, (size_t)doc.text_bytes, stdout);
    qu_document_free(&doc);
    qu_buf_free(&raw);
    return fflush(stdout) ? 4 : 0;
}
