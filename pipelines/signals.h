/* Signals, in two parts: a mapped file that breaks under us, and stopping a long run.
 *
 *     qu_signals_guard(store_dir, qu_out_is_json());
 *
 * Store and model are read through memory maps. Checksums find damage in our own records, but a
 * torn page of LMDB itself, or a file that is cut short while it is mapped, shows as SIGSEGV or
 * SIGBUS, or as an assertion of LMDB's. The guard makes of that one line on standard error, with
 * --json an error object, and exit 5. It cannot tell such damage from a fault of our own, and says
 * so; sanitizer builds leave the signals alone.
 */
#ifndef QU_PIPELINES_SIGNALS_H
#define QU_PIPELINES_SIGNALS_H

#include <stdbool.h>

/* Catch the signals from now on, in every thread. name (a store or a model) stands in the message;
 * it is copied. May be called again, for another name. */
void qu_signals_guard(const char *name, bool json);

/* Stopping a long run cleanly: the first SIGINT, SIGTERM or SIGHUP asks for it, a second one ends
 * the process as usual; so does a limit of time.
 *
 *     qu_signals_catch(limit_seconds);            // once, first thing; 0 = no limit
 *     while (!qu_signals_stop()) work();
 *
 * One state for the process. The clock is the monotonic one: setting the date changes nothing.
 */
void qu_signals_catch(double limit_seconds);

/* Has a signal come or the time run out? */
bool qu_signals_stop(void);

#endif
