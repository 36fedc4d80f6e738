/* Stopping a long run cleanly: the first SIGINT, SIGTERM or SIGHUP asks for it, a second one ends
 * the process as usual; so does a limit of time.
 *
 *     qu_stop_catch(limit_seconds);            // once, first thing; 0 = no limit
 *     while (!qu_stop_asked()) work();
 *
 * One state for the process. The clock is the monotonic one: setting the date changes nothing.
 */
#ifndef QU_PIPELINES_STOP_H
#define QU_PIPELINES_STOP_H

#include <stdbool.h>

void qu_stop_catch(double limit_seconds);

/* Has a signal come or the time run out? */
bool qu_stop_asked(void);

#endif
