/* matvec: how fast stored weights are multiplied with one row (decoding), four and sixteen
 * (drafts).
 *
 *     build/release/matvec [MiB of weights, 512] [threads, all] [width, 4096]
 *
 * One line a type: GB/s of stored weights for one row, and multiplications, per second of one
 * thread's CPU time, so that other programs disturb little. The weights are any bytes, and larger
 * than the caches unless told otherwise.
 */
#include "base/os.h"
#include "base/pool.h"
#include "bench/bench.h"
#include "kernels/isa.h"
#include "kernels/linear.h"

enum { ROWS = 16, LEAST_MS = 500 };

static double run_ms(qu_pool *pool, const qu_linear_job *job, const float *x, int32_t rows)
{
    double start = cpu_ms(), end;
    int n = 0;
    do {
        qu_linear_question(pool, job, 1, x, job->w->k, rows);
        n++;
        end = cpu_ms();
    } while (end - start < LEAST_MS);
    return (end - start) / n;
}

int main(int argc, char **argv)
{
    int64_t mib = argc > 1 ? atoll(argv[1]) : 512;
    int threads = argc > 2 ? atoi(argv[2]) : qu_os_n_cpus();
    int32_t k = argc > 3 ? atoi(argv[3]) : 4096;
    qu_pool *pool = NULL;
    if (mib < 1 || mib > 1 << 20 || threads < 1 || k < 256 || k % 256 || k > 1 << 17 ||
        qu_pool_create(&pool, threads, NULL) != QU_OK) {
        fprintf(stderr, "usage: matvec [MiB] [threads] [width, a multiple of 256]\n");
        return 2;
    }
    int64_t bytes = mib << 20;
    uint8_t *data = need(malloc((size_t)bytes));
    float *x = need(calloc((size_t)k * ROWS, sizeof *x)),
          *y = need(malloc((size_t)bytes / 64 * ROWS));
    for (int64_t i = 0; i < bytes; i++) data[i] = (uint8_t)(i * 2654435761u >> 16);
    printf("%s, %d threads, %lld MiB, width %d\n", qu_isa_name(qu_isa_current()), threads,
           (long long)mib, k);
    printf("%-8s %12s %12s %12s %12s\n", "type", "1 row GB/s", "G mul/s", "4 rows", "16 rows");
    for (int type = 0; type < 64; type++) {
        if (!qu_type_name(type)) continue;
        int64_t row = qu_type_bytes(type, k);
        qu_weight w = {data, (qu_type)type, (int32_t)(bytes / row), k};
        qu_linear_job job = {&w, NULL, y, w.n};
        printf("%-8s", qu_type_name(type));
        for (int32_t rows = 1; rows <= ROWS; rows *= 4) {
            double ms = run_ms(pool, &job, x, rows);
            if (rows == 1) printf(" %12.1f", (double)w.n * (double)row / ms / 1e6);
            printf(" %12.1f", (double)w.n * k * rows / ms / 1e6);
        }
        printf("\n");
        fflush(stdout);
    }
    qu_pool_free(pool);
    free(data);
    free(x);
    free(y);
    return 0;
}
