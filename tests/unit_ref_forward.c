/* The forward oracle against recorded runs of other programs: a real trained model (stories260K) and
 * random tiny models whose logits an independent implementation gave (tests/golden/README.md). */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* Every recorded logit within 1e-4 of the recorded logits' spread. */
static void check_logits(const float *got, const json_t *want, const char *what) {
    double low = INFINITY, high = -INFINITY, worst = 0;
    for (size_t i = 0; i < json_array_size(want); i++) {
        double w = json_number_value(json_array_get(want, i));
        low = fmin(low, w);
        high = fmax(high, w);
        worst = fmax(worst, fabs(got[i] - w));
    }
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories_greedy),
        cmocka_unit_test(test_stories_prompt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
