#include "decode/batch.h"

#include <pthread.h>

#include "base/memory.h"
#include "decode/context_int.h"

enum { MOST_JOBS = 3 };

/* A product that a thread waits for; on its stack. */
typedef struct waiter {
    struct waiter *next;
    int32_t at;
    bool question;
    const qu_linear_job *jobs;
    int n_jobs;
    const float *x;
    int64_t ldx;
    int32_t n_rows;
    bool done;
    qu_status st;
    qu_err err;
} waiter;

struct qu_batch {
    pthread_mutex_t mu;
    pthread_cond_t moved;
    qu_pool *pool;
    int members, waiting;
    bool running;
    waiter *list;
    float *rows; /* gathered inputs and results */
    int64_t cap;
    qu_linear_scratch *scratch;
};

qu_status qu_batch_create(qu_batch **out, qu_pool *pool, qu_err *err)
{
    qu_batch *b = *out = calloc(1, sizeof *b);
    if (!b) return qu_fail_nomem(err, sizeof *b);
    pthread_mutex_init(&b->mu, NULL);
    pthread_cond_init(&b->moved, NULL);
    b->pool = pool;
    return QU_OK;
}

void qu_batch_free(qu_batch *b)
{
    if (!b) return;
    pthread_mutex_destroy(&b->mu);
    pthread_cond_destroy(&b->moved);
    free(b->rows);
    qu_linear_scratch_free(b->scratch);
    free(b);
}

void qu_batch_enter(qu_batch *b)
{
    pthread_mutex_lock(&b->mu);
    b->members++;
    pthread_mutex_unlock(&b->mu);
}

void qu_batch_leave(qu_batch *b)
{
    pthread_mutex_lock(&b->mu);
    b->members--;
    pthread_cond_broadcast(&b->moved); /* all the others may be waiting by now */
    pthread_mutex_unlock(&b->mu);
}

void qu_context_batch(qu_context *c, qu_batch *b)
{
    c->batch = b;
}

static qu_status run_one(qu_batch *b, bool question, const qu_linear_job *jobs, int n_jobs,
                         const float *x, int64_t ldx, int32_t n_rows, qu_err *err)
{
    if (question)
        return qu_linear_prompt(b->pool, &b->scratch, jobs, n_jobs, x, ldx, n_rows, err);
    qu_linear_question(b->pool, jobs, n_jobs, x, ldx, n_rows);
    return QU_OK;
}

/* The rows of a group one below the other, the products, and back; false where memory is short. */
static bool run_together(qu_batch *b, waiter *group)
{
    qu_linear_job jobs[MOST_JOBS];
    int64_t n_rows = 0, k = group->jobs[0].w->k, each = k;
    for (const waiter *w = group; w; w = w->next) n_rows += w->n_rows;
    for (int i = 0; i < group->n_jobs; i++) each += group->jobs[i].w->n;
    if (qu_memory_need(&b->rows, &b->cap, n_rows * each, sizeof *b->rows, NULL) != QU_OK)
        return false;
    float *at = b->rows, *y = b->rows + n_rows * k;
    for (const waiter *w = group; w; w = w->next)
        for (int32_t t = 0; t < w->n_rows; t++, at += k)
            memcpy(at, w->x + t * w->ldx, (size_t)k * sizeof *at);
    for (int i = 0; i < group->n_jobs; i++) {
        jobs[i] = group->jobs[i];
        jobs[i].y = y;
        jobs[i].ldy = jobs[i].w->n;
        y += n_rows * jobs[i].ldy;
    }
    if (run_one(b, group->question, jobs, group->n_jobs, b->rows, k, (int32_t)n_rows, NULL))
        return false;
    for (int i = 0; i < group->n_jobs; i++) {
        const float *from = jobs[i].y;
        for (const waiter *w = group; w; w = w->next)
            for (int32_t t = 0; t < w->n_rows; t++, from += jobs[i].ldy)
                memcpy(w->jobs[i].y + t * w->jobs[i].ldy, from,
                       (size_t)jobs[i].ldy * sizeof *from);
    }
    return true;
}

/* Take the waiters that are least far, and with them those of their phase at the same
 * weights, out of the list. */
static waiter *take_group(qu_batch *b)
{
    const waiter *least = b->list;
    waiter *group = NULL;
    for (const waiter *w = b->list; w; w = w->next)
        if (w->at < least->at) least = w;
    const qu_weight *weights = least->jobs[0].w;
    int32_t at = least->at;
    bool question = least->question;
    for (waiter **p = &b->list; *p;) {
        waiter *w = *p;
        if (w->at != at || w->question != question || w->jobs[0].w != weights) {
            p = &w->next;
            continue;
        }
        *p = w->next;
        w->next = group;
        group = w;
        b->waiting--;
    }
    return group;
}

static void run_group(qu_batch *b)
{
    waiter *group = take_group(b);
    b->running = true;
    pthread_mutex_unlock(&b->mu);
    if (!group->next || !run_together(b, group))
        for (waiter *w = group; w; w = w->next)
            w->st = run_one(b, w->question, w->jobs, w->n_jobs, w->x, w->ldx, w->n_rows, &w->err);
    pthread_mutex_lock(&b->mu);
    b->running = false;
    for (waiter *w = group, *next; w; w = next) {
        next = w->next; /* once done its thread may leave the stack */
        w->done = true;
    }
    pthread_cond_broadcast(&b->moved);
}

qu_status qu_batch_linear(qu_batch *b, int32_t at, bool question, const qu_linear_job *jobs,
                          int n_jobs, const float *x, int64_t ldx, int32_t n_rows, qu_err *err)
{
    waiter me = {.at = at, .question = question, .jobs = jobs, .n_jobs = n_jobs, .x = x, .ldx = ldx,
                 .n_rows = n_rows};
    pthread_mutex_lock(&b->mu);
    me.next = b->list;
    b->list = &me;
    b->waiting++;
    while (!me.done) {
        if (!b->running && b->waiting == b->members)
            run_group(b);
        else
            pthread_cond_wait(&b->moved, &b->mu);
    }
    pthread_mutex_unlock(&b->mu);
    if (me.st != QU_OK && err) *err = me.err;
    return me.st;
}
