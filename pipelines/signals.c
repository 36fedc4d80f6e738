#include "pipelines/signals.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "pipelines/output.h"

/* Made beforehand: a signal handler may only write and leave. */
static char plain[512], object[1024];

static void on_fault(int sig)
{
    (void)sig;
    if (*object && write(1, object, strlen(object)) < 0) _exit(QU_EXIT_DAMAGED);
    if (write(2, plain, strlen(plain)) < 0) _exit(QU_EXIT_DAMAGED);
    _exit(QU_EXIT_DAMAGED);
}

void qu_signals_guard(const char *name, bool json)
{
    qu_buf safe = {0};
    char text[400];
    if (qu_out_safe(&safe, name, strlen(name), false, NULL) != QU_OK) return;
    snprintf(
        text, sizeof text,
        "stopped while reading '%.200s': it is damaged (see quire check), or quire has a fault",
        safe.data ? safe.data : "");
    qu_buf_free(&safe);
    snprintf(plain, sizeof plain, "quire: %s\n", text);
    *object = 0;
    json_t *o = json ? json_pack("{s:i,s:{s:i,s:s,s:n}}", "schema", 1, "error", "code",
                                 QU_EXIT_DAMAGED, "message", text, "path")
                     : NULL;
    size_t n = o ? json_dumpb(o, object, sizeof object - 2, JSON_COMPACT) : 0;
    if (n > 0 && n < sizeof object - 2) memcpy(object + n, "\n", 2);
    else *object = 0;
    json_decref(o);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct sigaction a = {.sa_handler = on_fault};
    sigaction(SIGSEGV, &a, NULL);
    sigaction(SIGBUS, &a, NULL);
    sigaction(SIGABRT, &a, NULL);
#else
    (void)on_fault;
#endif
}

/* --- stopping --- */

static volatile sig_atomic_t interrupted;
static double deadline_ms; /* 0: none */

static void on_signal(int sig)
{
    (void)sig;
    interrupted = 1;
}

void qu_signals_catch(double limit_seconds)
{
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    sigaction(SIGHUP, &a, NULL);
    deadline_ms = limit_seconds > 0 ? qu_os_now_ms() + limit_seconds * 1e3 : 0;
}

bool qu_signals_stop(void)
{
    return interrupted != 0 || (deadline_ms > 0 && qu_os_now_ms() >= deadline_ms);
}
