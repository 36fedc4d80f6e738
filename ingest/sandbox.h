/* What a process that parses hostile input gives up, for good and for all it starts.
 *
 *     QU_TRY(qu_sandbox_enter(NULL, err));                      // before the first byte is read
 *     QU_TRY(qu_sandbox_enter("/usr/bin/pdftotext", err));      // may start that program, too
 *
 * Afterwards the process and its children have no new privileges; at most QU_SANDBOX_MEMORY_BYTES
 * of address space and QU_SANDBOX_CPU_SECONDS of processor time; write no file; and of the
 * kernel's calls only those of a short table (seccomp): no sockets, no file opened for writing, no
 * signal to others, no debugging, and no exec unless a program was given. Where the kernel has
 * Landlock, files can be read below /usr and /lib and a few of /etc only, and only that program
 * started. What is open stays open.
 */
#ifndef QU_INGEST_SANDBOX_H
#define QU_INGEST_SANDBOX_H

#include "base/status.h"

#define QU_SANDBOX_MEMORY_BYTES (2ll << 30)
enum { QU_SANDBOX_CPU_SECONDS = 900 };

/* program NULL: none. For single-threaded processes. Errors: QU_ERR_UNSUPPORTED, the kernel has no
 * seccomp filters, or this processor's are not known; QU_ERR_IO. Part of it may then be in
 * force. */
qu_status qu_sandbox_enter(const char *program, qu_err *err);

#endif
