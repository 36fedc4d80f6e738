#include "pipelines/places.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUNDLED "quire-reader.gguf"

char *qu_places_bundled(void)
{
    static const char *const places[] = {"models/" BUNDLED, "../models/" BUNDLED,
                                         "../share/quire/" BUNDLED};
    char exe[PATH_MAX], path[PATH_MAX + 64];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) return NULL;
    exe[n] = 0;
    char *slash = strrchr(exe, '/');
    if (slash) *slash = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s/%s", exe, places[i]);
        if (access(path, R_OK) == 0) return realpath(path, NULL);
    }
    return NULL;
}

/* The first place that exists; a variable's is taken as it is. */
typedef struct place {
    const char *variable, *below;
} place;

static const char *choose(char path[PATH_MAX], const place *p, int n)
{
    for (int i = 0; i < n; i++) {
        const char *base = p[i].variable ? getenv(p[i].variable) : "";
        if (!base || (p[i].variable && !*base)) continue;
        int len = snprintf(path, PATH_MAX, "%s%s", base, p[i].below);
        if (len > 0 && len < PATH_MAX && access(path, X_OK) == 0) return path;
    }
    return NULL;
}

typedef struct known {
    char huggingface[PATH_MAX], ollama[PATH_MAX], lmstudio[PATH_MAX];
} known;

static qu_find_places look(known *k)
{
    static const place hub[] = {{"HF_HUB_CACHE", ""},
                                {"HF_HOME", "/hub"},
                                {"XDG_CACHE_HOME", "/huggingface/hub"},
                                {"HOME", "/.cache/huggingface/hub"}};
    static const place ollama[] = {{"OLLAMA_MODELS", ""},
                                   {"HOME", "/.ollama/models"},
                                   {NULL, "/usr/share/ollama/.ollama/models"}};
    static const place studio[] = {{"HOME", "/.lmstudio/models"},
                                   {"HOME", "/.cache/lm-studio/models"}};
    return (qu_find_places){.huggingface = choose(k->huggingface, hub, 4),
                            .ollama = choose(k->ollama, ollama, 3),
                            .lmstudio = choose(k->lmstudio, studio, 2)};
}

qu_status qu_places_model(char **path, const char *spec, qu_err *err)
{
    known k;
    const qu_find_places p = look(&k);
    return qu_find_model(path, spec, &p, err);
}

qu_status qu_places_all(qu_found_list *list, qu_err *err)
{
    known k;
    const qu_find_places p = look(&k);
    return qu_find_all(list, &p, err);
}
