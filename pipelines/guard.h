/* What happens when a mapped file breaks under us.
 *
 *     qu_guard_install(store_dir, qu_out_is_json());
 *
 * Store and model are read through memory maps. Checksums find damage in our own records, but a
 * torn page of LMDB itself, or a file that is cut short while it is mapped, shows as SIGSEGV or
 * SIGBUS, or as an assertion of LMDB's. The guard makes of that one line on standard error, with
 * --json an error object, and exit 5. It cannot tell such damage from a fault of our own, and says
 * so; sanitizer builds leave the signals alone.
 */
#ifndef QU_PIPELINES_GUARD_H
#define QU_PIPELINES_GUARD_H

#include <stdbool.h>

/* Catch the signals from now on, in every thread. name (a store or a model) stands in the message;
 * it is copied. May be called again, for another name. */
void qu_guard_install(const char *name, bool json);

#endif
