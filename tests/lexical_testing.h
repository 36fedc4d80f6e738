/* For the tests of index/lexical.h: an index in a folder of its own, filled and asked in a line. */
#ifndef QU_TESTS_LEXICAL_TESTING_H
#define QU_TESTS_LEXICAL_TESTING_H

#include <sys/stat.h>

#include "index/lexical_int.h"
#include "tests/testing.h"

static char dir[64], file[128];

static inline int make_dir(void **state)
{
    (void)state;
    strcpy(dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/quire-lexical-XXXXXX"
                                              : "/tmp/quire-lexical-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(file, sizeof file, "%s/lexical.idx", dir);
    return 0;
}

static inline int remove_dir(void **state)
{
    (void)state;
    char cmd[256];
    snprintf(cmd, sizeof cmd, "chmod 700 '%s' && rm -rf '%s'", dir, dir);
    return system(cmd);
}

static uint64_t lexical_seed = 1;

static inline uint32_t next_random(uint32_t below)
{
    return (uint32_t)(test_random(&lexical_seed) % below);
}

static inline qu_lexical *open_as(unsigned flags)
{
    qu_lexical *lx;
    TEST_OK(qu_lexical_open(&lx, file, flags, err));
    return lx;
}

static inline qu_lexical *new_writer(void)
{
    unlink(file);
    return open_as(QU_LEXICAL_WRITE);
}

static inline void add(qu_lexical *lx, uint64_t doc, int32_t page, const char *title,
                       const char *text)
{
    TEST_OK(qu_lexical_add(lx, doc, page, title, text, strlen(text), err));
}

static inline void commit(qu_lexical *lx, uint64_t generation)
{
    TEST_OK(qu_lexical_commit(lx, generation, err));
}

static inline qu_lexical *commit_and_read(qu_lexical *lx)
{
    commit(lx, 1);
    qu_lexical_close(lx);
    return open_as(QU_LEXICAL_READ);
}

/* "doc.page doc.page", best first. */
static inline const char *ask(qu_lexical *lx, const char *q, int32_t max_per_doc, int32_t k)
{
    static char text[1024];
    qu_lexical_hit hits[64];
    qu_lexical_opts opts = {.max_per_doc = max_per_doc};
    int32_t n;
    TEST_OK(qu_lexical_search(lx, q, strlen(q), &opts, k, hits, &n, err));
    text[0] = 0;
    for (int32_t i = 0; i < n; i++) {
        assert_true(hits[i].score > 0);
        if (i > 0) assert_true(hits[i].score <= hits[i - 1].score);
        sprintf(text + strlen(text), "%s%llu.%d", i ? " " : "", (unsigned long long)hits[i].doc_id,
                hits[i].page);
    }
    return text;
}

#endif
