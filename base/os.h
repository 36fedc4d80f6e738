/* The operating system behind a few calls, so that the rest of Quire stays plain C. */
#ifndef QU_BASE_OS_H
#define QU_BASE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/status.h"

/* A file mapped read-only. Borrowed views into data live until qu_os_unmap. */
typedef struct qu_map {
    const uint8_t *data;
    size_t len;
} qu_map;

/* Map a regular file. An empty file gives data NULL, len 0. Directories, FIFOs and devices are
 * refused without blocking. Errors: QU_ERR_IO, QU_ERR_NOTFOUND, each naming path. */
qu_status qu_os_map(qu_map *map, const char *path, qu_err *err);
void qu_os_unmap(qu_map *map);

/* Close a descriptor that is not below 0, and make it -1: for QU_OWN, or earlier by hand. */
void qu_os_closep(int *fd);

/* Read a whole regular file of at most max bytes into *out (appended). Refuses what qu_os_map
 * refuses. Errors: QU_ERR_IO, QU_ERR_NOTFOUND, QU_ERR_LIMIT, QU_ERR_NOMEM. */
qu_status qu_os_read(qu_buf *out, const char *path, size_t max, qu_err *err);

/* The same of what fd still holds, up to its end. path is for messages. */
qu_status qu_os_read_fd(qu_buf *out, int fd, const char *path, size_t max, qu_err *err);

/* Replace path by n bytes so that a crash leaves the old or the new file, whole: write a temporary
 * beside it, fsync, rename, fsync the directory. mode is the new file's. Errors: QU_ERR_IO,
 * QU_ERR_FULL. */
qu_status qu_os_replace(const char *path, const void *p, size_t n, int mode, qu_err *err);

/* All n bytes to fd. path is for messages. Errors: QU_ERR_IO, QU_ERR_FULL. */
qu_status qu_os_write(int fd, const void *p, size_t n, const char *path, qu_err *err);

/* Put the whole file tmp, open as fd, in the place of path, beside it: fsync, close, rename, fsync
 * the directory. fd is closed and tmp gone, on error too. Errors: QU_ERR_IO, QU_ERR_FULL: path is
 * the old one (the new one, if only its directory could not be synced). */
qu_status qu_os_publish(int fd, const char *tmp, const char *path, qu_err *err);

/* Make dir and its missing parents with the given mode. An existing directory is fine. */
qu_status qu_os_mkdirs(const char *dir, int mode, qu_err *err);

/* fsync a directory, so that renames and unlinks inside it last. */
qu_status qu_os_sync_dir(const char *dir, qu_err *err);

/* Monotonic and wall-clock milliseconds. */
double qu_os_now_ms(void);
int64_t qu_os_wall_ms(void);

/* Milliseconds since this process was started (exec), from the kernel's record; 0 if unknown. */
double qu_os_since_exec_ms(void);

/* Peak resident set of this process in bytes. */
int64_t qu_os_peak_rss_bytes(void);

/* Processors this process may run on, at least 1. */
int qu_os_n_cpus(void);

/* "cannot WHAT 'PATH': why", with the status below. Returns it. */
qu_status qu_os_fail(qu_err *err, int errnum, const char *what, const char *path);

/* Start program with in and out as its standard input and output, and errors (-1: ours) as its
 * standard error. group: in a process group of its own, so that an interrupt at the terminal is not
 * for it. env NULL: ours. Errors: QU_ERR_IO. */
qu_status qu_os_spawn(pid_t *pid, const char *program, char *const argv[], char *const env[],
                      const int fds[3], bool group, qu_err *err);

/* What an errno means, for messages, with a way on where there is one: "No space left on device:
 * make room ...". */
const char *qu_os_why(int errnum);

/* Status for an errno of a failed write or open: QU_ERR_FULL for ENOSPC and EDQUOT, QU_ERR_NOTFOUND
 * for ENOENT, QU_ERR_NOMEM for ENOMEM, else QU_ERR_IO. */
qu_status qu_os_status(int errnum);

#endif
