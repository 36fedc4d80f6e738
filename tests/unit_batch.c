/* decode/batch.h: contexts that step side by side give what each gives alone. */
#include "pipeline_testing.h"

#include <pthread.h>

#include "decode/batch.h"

enum { SEATS = 5, STEPS = 12, TAIL = 40 };

typedef struct seat {
    px_session *p;
    qu_batch *batch; /* NULL: alone */
    qu_pool *pool;
    int number;
    int32_t ids[STEPS];
    float *logits; /* [V] of the last step */
    pthread_t thread;
} seat;

static int32_t best(const float *logits, int32_t n)
{
    int32_t b = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[b]) b = i;
    return b;
}

/* Pages, a prompt of its own length, then greedy tokens; one seat gives up early. */
static void *sit(void *ctx)
{
    seat *s = ctx;
    const qu_model *m = s->p->s.model;
    qu_context *c;
    int32_t page[100], tail[TAIL], n = 3 + 7 * s->number, steps = s->number == 2 ? 4 : STEPS;
    for (int i = 0; i < 100; i++) page[i] = 3 + (i * 7 + s->number) % 50;
    for (int i = 0; i < n; i++) tail[i] = 3 + (i * 5 + s->number) % 60;
    qu_page_tokens pages = {page, 100, 0};
    TEST_OK(qu_context_create(&c, m, s->pool, 1, err));
    TEST_OK(qu_context_prefill(c, &pages, 1, NULL, err));
    qu_context_batch(c, s->batch);
    if (s->batch) qu_batch_enter(s->batch);
    TEST_OK(qu_context_step(c, tail, n, 100, 1, s->logits, err));
    for (int32_t i = 0; i < steps; i++) {
        s->ids[i] = best(s->logits, m->vocab);
        TEST_OK(qu_context_step(c, &s->ids[i], 1, 100 + n + i, 1, s->logits, err));
        if (s->number == 3 && i == 5) usleep(2000); /* late: the others wait */
    }
    if (s->batch) qu_batch_leave(s->batch);
    qu_context_free(c);
    return NULL;
}

static void side_by_side_as_alone(void **state)
{
    (void)state;
    px_session p;
    seat alone[SEATS] = {{0}}, beside[SEATS] = {{0}};
    px_open(&p, NULL, "w1024.gguf", 0, 1);
    size_t bytes = (size_t)p.s.model->vocab * sizeof(float);
    for (int i = 0; i < SEATS; i++) {
        alone[i] = (seat){.p = &p, .pool = p.s.pool, .number = i, .logits = malloc(bytes)};
        sit(&alone[i]);
    }
    for (int round = 0; round < 10; round++) {
        qu_batch *b;
        TEST_OK(qu_batch_create(&b, round % 2 ? p.s.pool : NULL, err));
        for (int i = 0; i < SEATS; i++) {
            beside[i] = (seat){.p = &p, .batch = b, .number = i, .logits = malloc(bytes)};
            assert_int_equal(pthread_create(&beside[i].thread, NULL, sit, &beside[i]), 0);
        }
        for (int i = 0; i < SEATS; i++) {
            pthread_join(beside[i].thread, NULL);
            assert_memory_equal(beside[i].ids, alone[i].ids, sizeof alone[i].ids);
            assert_memory_equal(beside[i].logits, alone[i].logits, bytes);
            free(beside[i].logits);
        }
        qu_batch_free(b);
    }
    for (int i = 0; i < SEATS; i++) free(alone[i].logits);
    px_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(side_by_side_as_alone)};
    return cmocka_run_group_tests(tests, px_setup, px_teardown);
}
