#include "ingest/child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/os.h"
#include "ingest/expand.h"
#include "ingest/pdf.h"
#include "ingest/sandbox.h"

bool qu_child_asked(int argc, char **argv)
{
    return argc == 3 && strcmp(argv[1], QU_CHILD_ASKED) == 0;
}

/* Exactly n bytes; false at the end of the input. */
static bool get(void *p, int64_t n)
{
    return fread(p, 1, (size_t)n, stdin) == (size_t)n;
}

static qu_status put(const void *p, int64_t n, qu_err *err)
{
    if (n == 0 || fwrite(p, 1, (size_t)n, stdout) == (size_t)n) return QU_OK; /* p may be NULL */
    return qu_os_fail(err, errno, "write to", "the parent");
}

static qu_status put_frame(int type, qu_status status, const char *name, const void *p, int64_t n,
                           qu_err *err)
{
    qu_child_frame f = {type, status, (int64_t)strlen(name), n};
    QU_TRY(put(&f, sizeof f, err));
    QU_TRY(put(name, f.name_bytes, err));
    return put(p, n, err);
}

static qu_status put_member(void *ctx, const char *name, const void *p, int64_t n, const char *why,
                            qu_err *err)
{
    (void)ctx;
    if (!p) return put_frame(QU_CHILD_MEMBER, QU_ERR_FORMAT, name, why, (int64_t)strlen(why), err);
    return put_frame(QU_CHILD_MEMBER, QU_OK, name, p, n, err);
}

static qu_status put_document(const qu_document *d, qu_err *err)
{
    QU_TRY(put_frame(QU_CHILD_DOCUMENT, QU_OK, d->title, d, sizeof *d, err));
    QU_TRY(put(d->text, d->text_bytes, err));
    QU_TRY(put(d->cuts, d->n_cuts * (int64_t)sizeof *d->cuts, err));
    QU_TRY(put(d->headings, d->n_headings * (int64_t)sizeof *d->headings, err));
    return put(d->runs, d->n_runs * (int64_t)sizeof *d->runs, err);
}

/* One request; false when there is none. */
static bool serve(void)
{
    qu_child_request r;
    QU_OWN(qu_document_free) qu_document d = {0};
    QU_OWN(qu_freep) char *name = NULL, *bytes = NULL;
    qu_err err = {0}, broken = {0};
    if (!get(&r, sizeof r) || r.name_bytes < 0 || r.bytes < 0) return false;
    if (qu_memory_take(&name, r.name_bytes + 1, 1, NULL) != QU_OK || !get(name, r.name_bytes) ||
        qu_memory_take(&bytes, r.bytes + 1, 1, NULL) != QU_OK || !get(bytes, r.bytes))
        return false;
    qu_status st = qu_expand(&d, bytes, r.bytes, name, put_member, NULL, &err);
    if (st == QU_OK && d.text) put_document(&d, &broken);
    if (broken.status == QU_OK)
        put_frame(QU_CHILD_END, st, "", err.msg, (int64_t)strlen(err.msg), &broken);
    return broken.status == QU_OK && fflush(stdout) == 0;
}

int qu_child_main(const char *kind)
{
    const char *program = strcmp(kind, "pdf") == 0 ? qu_pdf_program() : NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    syscall(SYS_close_range, 3, ~0u, 0);
    if (qu_sandbox_enter(program, NULL) != QU_OK) return 4;
    while (serve()) {
    }
    return 0;
}
