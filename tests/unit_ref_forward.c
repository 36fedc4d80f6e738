/* The forward oracle against recorded runs of other programs: a real trained model (stories260K)
 * and random tiny models whose logits transformers and llama.cpp gave (tests/golden/README.md).
 * Then the copy model, whose answers are known by construction. Models are made by mkmodel, which
 * must lie in the build folder. */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/ref_forward.h"

/* Where the shared test data lies; skips the test that asks when it is absent. */
static const char *data_path(const char *name) {
    static char path[4096];
    const char *root = getenv("QUIRE_DATA");
    snprintf(path, sizeof path, "%s/%s", root ? root : "../shared/data", name);
    if (access(path, R_OK) != 0) {
        print_message("skipped: '%s' is absent; set QUIRE_DATA to the test data\n", path);
        skip();
    }
    return path;
}

static json_t *load_json(const char *path) {
    json_error_t e;
    json_t *j = json_load_file(path, 0, &e);
    if (!j) fail_msg("%s: %s", path, e.text);
    return j;
}

static ref_model *open_model(const char *path) {
    ref_model *m = ref_open(path);
    if (!m) fail_msg("%s", ref_error());
    return m;
}

/* Append the ids of a JSON array to ids; returns the new count. */
static int append_ids(int32_t *ids, int n, const json_t *array) {
    for (size_t i = 0; i < json_array_size(array); i++)
        ids[n++] = (int32_t)json_integer_value(json_array_get(array, i));
    return n;
}

/* Run mkmodel with options separated by spaces, writing out. */
static void run_mkmodel(const char *options, char *out) {
    char tool[4096], words[512], *argv[64];
    ssize_t n = readlink("/proc/self/exe", tool, sizeof tool - 32);
    assert_true(n > 0);
    tool[n] = 0;
    *strrchr(tool, '/') = 0;
    strcat(tool, "/../mkmodel");
    int argc = 0, status;
    snprintf(words, sizeof words, "%s", options);
    argv[argc++] = tool;
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " ")) argv[argc++] = w;
    argv[argc++] = "-o";
    argv[argc++] = out;
    argv[argc] = NULL;
    pid_t pid = fork();
    if (pid == 0) {
        execv(tool, argv);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status) fail_msg("mkmodel %s: failed; run make", options);
}

/* A model from mkmodel's options and, unless adapter is empty, one with these options besides. */
static ref_model *make_adapted(const char *options, const char *adapter) {
    char out[] = "/tmp/quire-ref-XXXXXX", both[512];
    int fd = mkstemp(out);
    assert_true(fd >= 0);
    close(fd);
    run_mkmodel(options, out);
    ref_model *m = ref_open(out);
    snprintf(both, sizeof both, "%s %s", options, adapter);
    if (m && *adapter) run_mkmodel(both, out);
    int bad = !m || (*adapter && ref_add_lora(m, out));
    unlink(out);
    if (bad) fail_msg("%s: %s", options, ref_error());
    return m;
}

static ref_model *make_model(const char *options) {
    return make_adapted(options, "");
}

static double worst_share; /* of all checks since it was set to 0 */

/* Every recorded logit within 1e-4 of the recorded logits' spread. */
static void check_logits(const float *got, const json_t *want, const char *what) {
    double low = INFINITY, high = -INFINITY, worst = 0;
    for (size_t i = 0; i < json_array_size(want); i++) {
        double w = json_number_value(json_array_get(want, i));
        low = fmin(low, w);
        high = fmax(high, w);
        worst = fmax(worst, fabs(got[i] - w));
    }
    worst_share = fmax(worst_share, worst / (high - low));
    if (!(worst <= 1e-4 * (high - low)))
        fail_msg("%s: off by %g, spread %g", what, worst, high - low);
}

/* Greedy decoding, checked in one pass: after prompt and golden ids each argmax is the next id. */
static void check_greedy(const ref_model *m, const json_t *prompt, const json_t *greedy,
                         const json_t *prompt_logits, const char *what) {
    int V = ref_dims_of(m)->vocab;
    size_t n_all = json_array_size(prompt) + json_array_size(greedy);
    int32_t *ids = malloc(n_all * sizeof *ids);
    float *logits = malloc(n_all * (size_t)V * sizeof *logits);
    assert_true(ids && logits);
    int n_prompt = append_ids(ids, 0, prompt), n = append_ids(ids, n_prompt, greedy);
    if (ref_forward(m, ids, NULL, n, logits, NULL)) fail_msg("%s", ref_error());
    check_logits(logits + (size_t)(n_prompt - 1) * (size_t)V, prompt_logits, what);
    for (int t = n_prompt; t < n; t++) {
        int got = ref_argmax(logits + (size_t)(t - 1) * (size_t)V, V);
        if (got != ids[t]) fail_msg("%s: token %d is %d, not %d", what, t, got, ids[t]);
    }
    free(ids);
    free(logits);
}

static void test_stories_greedy(void **state) {
    (void)state;
    json_t *j = load_json(data_path("stories260K/golden_greedy200.json"));
    ref_model *m = open_model(data_path("stories260K/stories260K-f32.gguf"));
    assert_int_equal(json_array_size(json_object_get(j, "greedy_ids")), 200);
    check_greedy(m, json_object_get(j, "prompt_ids"), json_object_get(j, "greedy_ids"),
                 json_object_get(j, "logits_pos0"), "stories260K-f32");
    ref_free(m);
    json_decref(j);
}

static void test_stories_prompt(void **state) {
    (void)state;
    json_t *j = load_json(data_path("stories260K/golden_prompt_logits.json")), *r;
    size_t i;
    assert_int_equal(json_array_size(j), 3); /* f32, q8_0, q4_0 */
    json_array_foreach(j, i, r) {
        char name[256];
        const char *file = json_string_value(json_object_get(r, "file"));
        snprintf(name, sizeof name, "stories260K/%s", file);
        ref_model *m = open_model(data_path(name));
        check_greedy(m, json_object_get(r, "prompt_ids"), json_object_get(r, "greedy_ids"),
                     json_object_get(r, "last_logits"), file);
        ref_free(m);
    }
    json_decref(j);
}

/* ---- random models ---- */

static void check_random(const json_t *r) {
    char options[512];
    const char *given = json_string_value(json_object_get(r, "options"));
    snprintf(options, sizeof options, "--random --shape tiny %s", given);
    const char *adapter = json_string_value(json_object_get(r, "adapter"));
    ref_model *m = make_adapted(options, adapter ? adapter : "");
    int V = ref_dims_of(m)->vocab;
    int32_t ids[64], pos[64];
    assert_in_range(json_array_size(json_object_get(r, "ids")), 1, 64);
    int n = append_ids(ids, 0, json_object_get(r, "ids"));
    assert_int_equal(append_ids(pos, 0, json_object_get(r, "positions")), n);
    float *logits = malloc((size_t)n * (size_t)V * sizeof *logits), *last = malloc((size_t)V * 4);
    assert_true(logits && last);
    if (ref_forward(m, ids, pos, n, logits, last)) fail_msg("%s", ref_error());
    const float *end = logits + (size_t)(n - 1) * (size_t)V;
    assert_memory_equal(last, end, (size_t)V * sizeof *last);

    const json_t *middle = json_object_get(r, "middle"), *final = json_object_get(r, "last");
    const json_t *want = json_object_get(final, "logits");
    check_logits(logits + json_integer_value(json_object_get(middle, "row")) * V,
                 json_object_get(middle, "logits"), given);
    check_logits(end + V - (int)json_array_size(want), want, given);
    assert_int_equal(ref_argmax(end, V), json_integer_value(json_object_get(final, "argmax")));
    free(logits);
    free(last);
    ref_free(m);
}

static void check_golden(const char *path, size_t n_records) {
    json_t *j = load_json(path), *r;
    size_t i;
    assert_int_equal(json_array_size(j), n_records);
    worst_share = 0;
    json_array_foreach(j, i, r) check_random(r);
    print_message("%s: %.2g of the spread at worst\n", path, worst_share);
    json_decref(j);
}

static void test_random_models(void **state) {
    (void)state;
    check_golden("tests/golden/transformers.json", 34);
    check_golden("tests/golden/llama_cpp.json", 3);
}

/* One seed's weights are the same numbers in every type but Q4_0. */
static void test_types_agree(void **state) {
    (void)state;
    const char *type[] = {"F32", "F16", "BF16", "Q8_0"};
    const int32_t ids[] = {0, 40, 41, 7, 200, 99, 5, 5, 300, 12};
    float *first = NULL;
    for (size_t i = 0; i < sizeof type / sizeof *type; i++) {
        char options[128];
        snprintf(options, sizeof options, "--random --arch qwen3 --seed 3 --type %s", type[i]);
        ref_model *m = make_model(options);
        size_t V = (size_t)ref_dims_of(m)->vocab;
        float *last = malloc(V * sizeof *last);
        assert_non_null(last);
        assert_int_equal(ref_forward(m, ids, NULL, 10, NULL, last), 0);
        if (first) assert_memory_equal(last, first, V * sizeof *last);
        if (first) free(last);
        else first = last;
        ref_free(m);
    }
    free(first);
}

/* Attention sees distances only: the same gaps elsewhere give the same logits, other gaps do
 * not. */
static void test_positions(void **state) {
    (void)state;
    ref_model *m = make_model("--random --seed 12");
    int V = ref_dims_of(m)->vocab;
    const int32_t ids[] = {9, 8, 7, 6}, pos[] = {0, 1, 5, 6}, moved[] = {100, 101, 105, 106};
    float *a = malloc((size_t)V * 4), *b = malloc((size_t)V * 4), *c = malloc((size_t)V * 4);
    assert_true(a && b && c);
    assert_int_equal(ref_forward(m, ids, pos, 4, NULL, a), 0);
    assert_int_equal(ref_forward(m, ids, moved, 4, NULL, b), 0);
    assert_int_equal(ref_forward(m, ids, NULL, 4, NULL, c), 0);
    double same = 0, other = 0;
    for (int i = 0; i < V; i++) {
        same = fmax(same, fabs(a[i] - b[i]));
        other = fmax(other, fabs(a[i] - c[i]));
    }
    assert_true(same < 1e-4 && other > .05);
    free(a);
    free(b);
    free(c);
    ref_free(m);
}

static void test_refusals(void **state) {
    (void)state;
    ref_model *m = make_model("--random");
    const int32_t bad_id[] = {1, 320}, ids[] = {1, 2}, back[] = {4, 4};
    float *last = malloc((size_t)ref_dims_of(m)->vocab * 4);
    assert_non_null(last);
    assert_int_equal(ref_forward(m, bad_id, NULL, 2, NULL, last), -1);
    assert_int_equal(ref_forward(m, ids, back, 2, NULL, last), -1);
    assert_int_equal(ref_forward(m, ids, NULL, 0, NULL, last), -1);
    assert_null(ref_open("tests/golden/README.md"));
    assert_non_null(strstr(ref_error(), "not GGUF"));
    assert_null(ref_open("tests/golden/absent.gguf"));
    free(last);
    ref_free(m);
}

/* ---- the copy model; its ids are those of bench/mkmodel_vocab.h ---- */

enum { END = 0, BYTE = 1, NEEDLE = 257, N_NEEDLE = 256, FILLER = 513, N_FILLER = 80 };
enum { N_DEPTHS = 15 };

static uint32_t state_of_text;

static int draw(int n) {
    state_of_text = state_of_text * 1664525u + 1013904223u;
    return (int)((uint64_t)(state_of_text >> 8) * (uint64_t)n >> 24);
}

/* Filler words, now and then a newline or a colon, up to token `to`. */
static int fill(int32_t *ids, int n, int to) {
    while (n < to) {
        int dice = draw(100);
        ids[n++] = dice < 6 ? BYTE + '\n' : dice < 9 ? BYTE + ':' : FILLER + draw(N_FILLER);
    }
    return n;
}

/* Key and value of needle k: four words that no other needle has. */
static int put_needle(int32_t *ids, int n, int k) {
    for (int i = 0; i < 4; i++) ids[n++] = NEEDLE + (4 * k + i) * 37 % N_NEEDLE;
    ids[n++] = BYTE + '\n';
    return n;
}

/* A question that ends with key k, or with "Answer:" after it. */
static int put_question(int32_t *ids, int n, int k, int colon) {
    ids[n++] = FILLER + 70; /* what follows */
    ids[n++] = FILLER + 74;
    ids[n++] = NEEDLE + 4 * k * 37 % N_NEEDLE;
    for (const char *p = "?\nAnswer:"; colon && *p; p++) ids[n++] = BYTE + *p;
    return n;
}

/* Feed the right answer of needle k and <|end|>, marking which rows must predict what follows
 * them. */
static int put_answer(int32_t *ids, char *checked, int n, int k) {
    int start = n;
    n = put_needle(ids, n, k); /* the key, which the question already holds, is overwritten */
    memmove(ids + start, ids + start + 1, (size_t)(n - 1 - start) * sizeof *ids);
    ids[n - 1] = END;
    for (int t = start - 1; t < n - 1; t++) checked[t] = 1;
    return n;
}

static void check_copies(const ref_model *m, const int32_t *ids, const char *checked, int n) {
    int V = ref_dims_of(m)->vocab;
    float *logits = malloc((size_t)n * (size_t)V * sizeof *logits);
    assert_non_null(logits);
    if (ref_forward(m, ids, NULL, n, logits, NULL)) fail_msg("%s", ref_error());
    for (int t = 0; t + 1 < n; t++) {
        const float *row = logits + (size_t)t * (size_t)V;
        int got = ref_argmax(row, V);
        if (!checked[t]) continue;
        if (got != ids[t + 1]) fail_msg("after token %d: %d, not %d", t, got, ids[t + 1]);
        for (int i = 0; i < V; i++) assert_true(i == got || row[i] < row[got] - 20);
    }
    free(logits);
}

#define COPY_SMALL "--copy --width 192 --heads 2 --kv-heads 2 --head-size 64 --ffn 32 "

/* One needle in 256 tokens, at each of 15 depths, asked in both ways. */
static void test_copy_depths(void **state) {
    (void)state;
    ref_model *m = make_model(COPY_SMALL);
    for (int k = 0; k < N_DEPTHS; k++) {
        int32_t ids[300] = {END};
        char checked[300] = {0};
        state_of_text = 77u + (uint32_t)k;
        int n = put_needle(ids, fill(ids, 1, 1 + k * 245 / (N_DEPTHS - 1)), k);
        n = put_question(ids, fill(ids, n, 256), k, k % 2);
        n = put_answer(ids, checked, n, k);
        check_copies(m, ids, checked, n);
    }
    ref_free(m);
}

/* Fifteen needles at 15 depths of one context, asked one after the other. A question's answer is
 * not in the context twice before it is given, so each is a fresh retrieval. */
static void check_copy_context(const char *options, int n_context) {
    ref_model *m = make_model(options);
    int32_t *ids = calloc((size_t)n_context + 512, sizeof *ids);
    char *checked = calloc((size_t)n_context + 512, 1);
    assert_true(ids && checked);
    state_of_text = (uint32_t)n_context;
    int n = 1;
    for (int k = 0; k < N_DEPTHS; k++)
        n = put_needle(ids, fill(ids, n, 1 + k * (n_context - 16) / N_DEPTHS), k);
    n = fill(ids, n, n_context);
    for (int k = 0; k < N_DEPTHS; k++) {
        n = put_question(ids, n, k, k % 2);
        n = put_answer(ids, checked, n, k);
    }
    check_copies(m, ids, checked, n);
    free(ids);
    free(checked);
    ref_free(m);
}

static void test_copy_contexts(void **state) {
    (void)state;
    check_copy_context(COPY_SMALL, 512);
    check_copy_context(COPY_SMALL "--type Q4_0 --tied", 1024);
    check_copy_context(COPY_SMALL "--type Q8_0", 2048);
    check_copy_context("--copy --layers 4 --width 320 --heads 6 --kv-heads 3 --head-size 128", 512);
}

/* A key that the context lacks is answered by <|end|> at once, asked in either way. */
static void test_copy_not_found(void **state) {
    (void)state;
    ref_model *m = make_model(COPY_SMALL);
    for (int colon = 0; colon < 2; colon++) {
        int32_t ids[400] = {END};
        char checked[400] = {0};
        state_of_text = 5;
        int n = put_needle(ids, fill(ids, 1, 100), 1);
        n = put_question(ids, fill(ids, n, 300), 2, colon);
        checked[n - 1] = 1;
        ids[n++] = END;
        check_copies(m, ids, checked, n);
    }
    ref_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories_greedy), cmocka_unit_test(test_stories_prompt),
        cmocka_unit_test(test_random_models),  cmocka_unit_test(test_types_agree),
        cmocka_unit_test(test_positions),      cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_copy_depths),    cmocka_unit_test(test_copy_contexts),
        cmocka_unit_test(test_copy_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
