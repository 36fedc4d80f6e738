/* decode/find.h: folders as Hugging Face, Ollama and LM Studio leave them, in a made-up home. */
#include "tests/testing.h"

#include <sys/stat.h>

#include "base/os.h"
#include "decode/find.h"

#define DIGEST(c) "sha256-" c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
#define HEX(c) "sha256:" c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c

static char home[64];

static const char *in_home(const char *relative)
{
    static char path[4][1024];
    static int turn;
    char *p = path[turn++ & 3];
    snprintf(p, sizeof path[0], "%s/%s", home, relative);
    return p;
}

static void put(const char *relative, const char *text)
{
    char dir[1024];
    snprintf(dir, sizeof dir, "%s", in_home(relative));
    *strrchr(dir, '/') = 0;
    TEST_OK(qu_os_mkdirs(dir, 0700, err));
    TEST_OK(qu_os_replace(in_home(relative), text, strlen(text), 0600, err));
}

static void put_link(const char *relative, const char *to)
{
    char dir[1024];
    snprintf(dir, sizeof dir, "%s", in_home(relative));
    *strrchr(dir, '/') = 0;
    TEST_OK(qu_os_mkdirs(dir, 0700, err));
    assert_int_equal(symlink(to, in_home(relative)), 0);
}

static void put_manifest(const char *relative, const char *digest)
{
    char text[600];
    snprintf(
        text, sizeof text,
        "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.license\",\"digest\":\"x\"},"
        "{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"%s\"}]}",
        digest);
    put(relative, text);
}

static int make_home(void **state)
{
    (void)state;
    snprintf(home, sizeof home, "/tmp/quire-find-%d", (int)getpid());
    /* A repository with two snapshots of the same file, one of them "main". */
    put("hub/models--a--one/blobs/b1", "12345");
    put("hub/models--a--one/blobs/b2", "1234567");
    put("hub/models--a--one/refs/main", "abc2");
    put_link("hub/models--a--one/snapshots/abc1/m.gguf", "../../blobs/b1");
    put_link("hub/models--a--one/snapshots/abc2/m.gguf", "../../blobs/b2");
    put_link("hub/models--a--one/snapshots/abc2/same.gguf", "../../blobs/b2");
    /* One of three parts, a projector, and links that lead in a circle. */
    put("hub/models--a--two/snapshots/f/q4/m-00001-of-00003.gguf", "1");
    put("hub/models--a--two/snapshots/f/q4/m-00002-of-00003.gguf", "22");
    put("hub/models--a--two/snapshots/f/q4/m-00003-of-00003.gguf", "333");
    put("hub/models--a--two/snapshots/f/mmproj-m.gguf", "x");
    put_link("hub/models--a--two/snapshots/f/loop", "../f");
    put_link("hub/models--a--two/snapshots/f/gone.gguf", "nowhere");
    put("ollama/blobs/" DIGEST("0a"), "12345678");
    put_manifest("ollama/manifests/registry.ollama.ai/library/qwen/0.5b", HEX("0a"));
    put_manifest("ollama/manifests/registry.ollama.ai/library/qwen/latest", HEX("0a"));
    put_manifest("ollama/manifests/registry.ollama.ai/me/mine/v1", HEX("0a"));
    put_manifest("ollama/manifests/hf.co/me/mine-GGUF/Q8_0", HEX("0a"));
    put_manifest("ollama/manifests/registry.ollama.ai/library/lost/latest", HEX("0b"));
    put_manifest("ollama/manifests/registry.ollama.ai/library/sly/latest",
                 "sha256:../../../etc/passwd");
    put("ollama/manifests/registry.ollama.ai/library/broken/latest", "{\"layers\":[{");
    put("studio/pub/model/m-Q4_K_M.gguf", "123");
    put("studio/pub/model/m-Q8_0.GGUF", "1234");
    put("studio/pub/empty/readme.md", "none");
    return 0;
}

static int remove_home(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", home);
    return system(command);
}

static qu_find_places places(void)
{
    static char hub[128], ollama[128], studio[128];
    snprintf(hub, sizeof hub, "%s", in_home("hub"));
    snprintf(ollama, sizeof ollama, "%s", in_home("ollama"));
    snprintf(studio, sizeof studio, "%s", in_home("studio"));
    return (qu_find_places){hub, ollama, studio};
}

static void all_are_listed_once(void **state)
{
    (void)state;
    static const struct {
        const char *source, *name;
        int64_t bytes;
    } want[] = {
        {"huggingface", "hub/models--a--one/snapshots/abc1/m.gguf", 5},
        {"huggingface", "hub/models--a--one/snapshots/abc2/", 7}, /* either name of the same file */
        {"huggingface", "hub/models--a--two/snapshots/f/q4/m-00001-of-00003.gguf", 6},
        {"lmstudio", "studio/pub/model/m-Q4_K_M.gguf", 3},
        {"lmstudio", "studio/pub/model/m-Q8_0.GGUF", 4},
        {"ollama", "ollama:", 8},
    };
    qu_found_list list = {0};
    const qu_find_places p = places(), none = {0}, absent = {"/no/a", "/no/b", "/no/c"};
    TEST_OK(qu_find_all(&list, &p, err));
    assert_int_equal(list.n, sizeof want / sizeof *want);
    for (int64_t i = 0; i < list.n; i++) {
        const qu_found *f = &list.items[i];
        const char *name =
            strncmp(want[i].name, "ollama:", 7) ? in_home(want[i].name) : want[i].name;
        assert_string_equal(f->source, want[i].source);
        if (strncmp(f->name, name, strlen(name)) != 0) fail_msg("%s is not %s", f->name, name);
        assert_int_equal(f->bytes, want[i].bytes);
        assert_int_equal(access(f->path, R_OK), 0);
    }
    qu_found_free(&list);
    TEST_OK(qu_find_all(&list, &none, err));
    TEST_OK(qu_find_all(&list, &absent, err));
    assert_int_equal(list.n, 0);
}

static void names_mean_files(void **state)
{
    (void)state;
    static const char blob[] = "ollama/blobs/" DIGEST("0a");
    static const struct {
        const char *spec, *path; /* below the home, but for ollama:... */
        qu_status st;
        const char *word;
    } rows[] = {
        {"ollama:qwen", blob, QU_OK, NULL},
        {"ollama:qwen:0.5b", blob, QU_OK, NULL},
        {"ollama:me/mine:v1", blob, QU_OK, NULL},
        {"ollama:hf.co/me/mine-GGUF:Q8_0", blob, QU_OK, NULL},
        {"ollama:qwen:7b", NULL, QU_ERR_NOTFOUND, "no Ollama model 'qwen:7b'"},
        {"ollama:", NULL, QU_ERR_ARG, "is no name"},
        {"ollama:../../x", NULL, QU_ERR_ARG, "is no name"},
        {"ollama:a//b", NULL, QU_ERR_ARG, "is no name"},
        {"ollama:a/", NULL, QU_ERR_ARG, "is no name"},
        {"ollama:/a", NULL, QU_ERR_ARG, "is no name"},
        {"ollama:a:", NULL, QU_ERR_ARG, "is no name"},
        {"ollama:a:..", NULL, QU_ERR_ARG, "is no name"},
        {"ollama:sly", NULL, QU_ERR_FORMAT, "names no weights"},
        {"ollama:broken", NULL, QU_ERR_FORMAT, "names no weights"},
        {"hub/models--a--one/", "hub/models--a--one//snapshots/abc2/", QU_OK, NULL},
        {"hub/models--a--one/snapshots/abc1", "hub/models--a--one/snapshots/abc1/m.gguf", QU_OK,
         NULL},
        {"hub/models--a--two", "hub/models--a--two/snapshots/f/q4/m-00001-of-00003.gguf", QU_OK,
         NULL},
        {"studio/pub/model", NULL, QU_ERR_ARG, "2 models"},
        {"studio/pub/model", NULL, QU_ERR_ARG, "m-Q8_0.GGUF"},
        {"studio/pub/empty", NULL, QU_ERR_NOTFOUND, "no GGUF file"},
        {"studio/pub/model/m-Q4_K_M.gguf", "studio/pub/model/m-Q4_K_M.gguf", QU_OK, NULL},
        {"not/there.gguf", "not/there.gguf", QU_OK, NULL},
    };
    const qu_find_places p = places();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool named = strncmp(rows[i].spec, "ollama:", 7) == 0;
        char *path = NULL;
        qu_err e = {0};
        qu_status st = qu_find_model(&path, named ? rows[i].spec : in_home(rows[i].spec), &p, &e);
        if (st != rows[i].st) fail_msg("%s: %s (%s)", rows[i].spec, qu_status_name(st), e.msg);
        if (rows[i].word && !strstr(e.msg, rows[i].word)) fail_msg("%s: %s", rows[i].spec, e.msg);
        if (rows[i].path) {
            const char *want = in_home(rows[i].path);
            if (strncmp(path, want, strlen(want)) != 0) fail_msg("%s is not %s", path, want);
        } else {
            assert_null(path);
        }
        free(path);
    }
    const qu_find_places none = {0};
    char *path = NULL;
    assert_int_equal(qu_find_model(&path, "ollama:qwen", &none, NULL), QU_ERR_NOTFOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_listed_once),
        cmocka_unit_test(names_mean_files),
    };
    return cmocka_run_group_tests(tests, make_home, remove_home);
}
