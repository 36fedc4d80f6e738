#include "pipelines/stop.h"

#include <signal.h>

#include "base/os.h"

static volatile sig_atomic_t interrupted;
static double deadline_ms; /* 0: none */

static void on_signal(int sig)
{
    (void)sig;
    interrupted = 1;
}

void qu_stop_catch(double limit_seconds)
{
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    sigaction(SIGHUP, &a, NULL);
    deadline_ms = limit_seconds > 0 ? qu_os_now_ms() + limit_seconds * 1e3 : 0;
}

bool qu_stop_asked(void)
{
    return interrupted != 0 || (deadline_ms > 0 && qu_os_now_ms() >= deadline_ms);
}
