#include "pipelines/score.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

uint64_t qu_score_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u; /* SplitMix64 */
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static bool is_article(const char *word, size_t n)
{
    return (n == 1 && *word == 'a') || (n == 2 && memcmp(word, "an", 2) == 0) ||
           (n == 3 && memcmp(word, "the", 3) == 0);
}

/* Characters one by one; a word is dropped at its end if it was an article. */
qu_status qu_score_normalise(qu_buf *out, const char *answer, qu_err *err)
{
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)answer;
    utf8proc_ssize_t left = (utf8proc_ssize_t)strlen(answer);
    size_t begin = out->len, word = begin;
    for (bool more = true; more;) {
        utf8proc_int32_t c = ' ';
        utf8proc_uint8_t bytes[4];
        more = left > 0;
        utf8proc_ssize_t n = more ? utf8proc_iterate(p, left, &c) : 0;
        if (n < 0) { /* a byte that is no UTF-8 stands for itself */
            n = 1;
            c = 0xFFFD;
        }
        p += n;
        left -= n;
        if (c < 128 && ispunct(c)) continue;
        if (c < 128 ? !isspace(c) : c != 0xA0 && c != 0x3000) {
            utf8proc_ssize_t size = utf8proc_encode_char(utf8proc_tolower(c), bytes);
            QU_TRY(qu_buf_add(out, bytes, (size_t)size, err));
            continue;
        }
        if (is_article(out->data ? out->data + word : "", out->len - word)) out->len = word;
        if (out->len > word) QU_TRY(qu_buf_add(out, " ", 1, err));
        word = out->len;
    }
    if (out->len > begin) out->len--; /* the blank behind the last word */
    return qu_buf_add(out, "", 0, err);
}

static size_t next_word(const char **p)
{
    while (**p == ' ') ++*p;
    return strcspn(*p, " ");
}

/* Words that both have, each as often as in the rarer; b's are crossed out as they are found. */
static int32_t common_words(const char *a, char *b)
{
    int32_t same = 0;
    for (size_t n; (n = next_word(&a)) > 0; a += n)
        for (char *p = b; *p;) {
            size_t m = strcspn(p, " ");
            if (m == n && memcmp(p, a, n) == 0) {
                memset(p, 1, m);
                same++;
                break;
            }
            p += m + (p[m] == ' ');
        }
    return same;
}

static int32_t count_words(const char *a)
{
    int32_t count = 0;
    for (size_t n; (n = next_word(&a)) > 0; a += n) count++;
    return count;
}

/* Words are compared pair by pair. */
static void shorten(qu_buf *b)
{
    if (b->len <= QU_SCORE_MAX_BYTES) return;
    b->len = QU_SCORE_MAX_BYTES;
    b->data[b->len] = 0;
}

qu_status qu_score_answer(const char *answer, const json_t *golds, bool *exact, double *f1,
                          qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf a = {0}, b = {0};
    const json_t *gold;
    size_t i;
    QU_TRY(qu_score_normalise(&a, answer, err));
    shorten(&a);
    *exact = json_array_size(golds) == 0 && a.len == 0;
    *f1 = *exact;
    json_array_foreach(golds, i, gold)
    {
        if (!json_is_string(gold)) continue;
        b.len = 0;
        QU_TRY(qu_score_normalise(&b, json_string_value(gold), err));
        shorten(&b);
        *exact = *exact || (a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
        int32_t n = count_words(a.data) + count_words(b.data);
        int32_t same = common_words(a.data, b.data);
        double now = n > 0 ? 2.0 * same / n : 1;
        if (now > *f1) *f1 = now;
    }
    return QU_OK;
}

double qu_score_half_width(double sum, double squares, double n)
{
    double mean = sum / n, variance = squares / n - mean * mean;
    return variance > 0 ? 1.96 * sqrt(variance / n) : 0;
}

int qu_score_ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

json_t *qu_score_range(const double range[2])
{
    json_t *list = json_array();
    for (int i = 0; i < 2; i++)
        json_array_append_new(list, isfinite(range[i]) ? json_real(range[i]) : json_null());
    return list;
}

void qu_score_ratio(const double *a, const double *b, int64_t n, uint64_t seed, double *ratio,
                    double *low, double *high)
{
    enum { DRAWS = 2000 };
    double at[DRAWS], sa = 0, sb = 0;
    int32_t used = 0;
    for (int64_t i = 0; i < n; i++) sa += a[i], sb += b[i];
    *ratio = *low = *high = NAN;
    if (!(sb > 0)) return;
    *ratio = sa / sb;
    for (int32_t d = 0; d < DRAWS; d++) {
        sa = sb = 0;
        for (int64_t i = 0; i < n; i++) {
            int64_t k = (int64_t)(qu_score_random(&seed) % (uint64_t)n);
            sa += a[k], sb += b[k];
        }
        if (sb > 0) at[used++] = sa / sb;
    }
    if (used == 0) return;
    qsort(at, (size_t)used, sizeof *at, qu_score_ascending);
    *low = at[used / 40];
    *high = at[used - 1 - used / 40];
}
