#include "decode/find.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/memory.h"
#include "base/os.h"

#define OLLAMA "ollama:"
#define REGISTRY "registry.ollama.ai"
#define WEIGHTS "application/vnd.ollama.image.model"

enum {
    /* folders below a place: HOST/SPACE/NAME/TAG and snapshots with folders */
    MAX_DEPTH = 6,
    MAX_ENTRIES = 100000,  /* of one walk */
    MAX_MANIFEST = 1 << 20,
    MAX_PARTS = 999,
};

/* --- walking --- */

typedef struct walk {
    qu_found_list *list;
    const char *source;
    const char *root;   /* the manifests; else NULL */
    const char *ollama; /* the folder above them */
    int left;           /* entries that may still be looked at */
    qu_err *err;
} walk;

/* "x-00002-of-00003.gguf" is part 2 of 3; 1 of 1 for other names. */
static int part_of(const char *path, int *n_parts)
{
    size_t n = strlen(path);
    int part, consumed = 0;
    *n_parts = 1;
    if (n < 20 || sscanf(path + n - 20, "-%5d-of-%5d%n", &part, n_parts, &consumed) != 2 ||
        consumed != 15 || part < 1 || *n_parts < 1 || *n_parts > MAX_PARTS) {
        *n_parts = 1;
        return 1;
    }
    return part;
}

/* Bytes of the file at path and of its other parts. */
static int64_t bytes_of(const char *path, int n_parts)
{
    int64_t sum = 0;
    struct stat sb;
    char digits[16];
    QU_OWN(qu_freep) char *name = strdup(path);
    for (int part = 1; name && part <= n_parts; part++) {
        snprintf(digits, sizeof digits, "%05d", part % 100000);
        if (n_parts > 1) memcpy(name + strlen(name) - 19, digits, 5);
        if (stat(name, &sb) == 0) sum += sb.st_size;
    }
    return sum;
}

static qu_status append(walk *w, const char *name, const char *path, const struct stat *sb)
{
    qu_found_list *l = w->list;
    int n_parts;
    if (part_of(path, &n_parts) != 1) return QU_OK;
    for (int64_t i = 0; i < l->n; i++)
        if (l->items[i].source == w->source && l->items[i].inode == (uint64_t)sb->st_ino &&
            l->items[i].device == (uint64_t)sb->st_dev)
            return QU_OK;
    QU_TRY(qu_memory_grow(&l->items, &l->cap, l->n + 1, sizeof *l->items, w->err));
    qu_found f = {.name = strdup(name),
                  .path = strdup(path),
                  .source = w->source,
                  .bytes = bytes_of(path, n_parts),
                  .device = (uint64_t)sb->st_dev,
                  .inode = (uint64_t)sb->st_ino};
    if (!f.name || !f.path) {
        free(f.name);
        free(f.path);
        return qu_fail_nomem(w->err, (long long)strlen(path));
    }
    l->items[l->n++] = f;
    return QU_OK;
}

/* --- Ollama --- */

/* "ollama:library/NAME:TAG" and the like for the manifest HOST/SPACE/NAME/TAG. */
static qu_status ollama_name(qu_buf *out, const char *relative, qu_err *err)
{
    const char *skip[] = {REGISTRY "/library/", REGISTRY "/"};
    const char *tag = strrchr(relative, '/');
    for (int i = 0; i < 2; i++)
        if (strncmp(relative, skip[i], strlen(skip[i])) == 0) {
            relative += strlen(skip[i]);
            break;
        }
    if (!tag || tag < relative) return QU_OK; /* a file that is no manifest */
    return qu_buf_printf(out, err, OLLAMA "%.*s:%s", (int)(tag - relative), relative, tag + 1);
}

/* The weights' blob that a manifest names. */
static qu_status read_manifest(char **path, const char *manifest, const char *ollama, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf text = {0}, blob = {0};
    json_t *layer;
    json_auto_t *root = NULL;
    const char *hex = NULL;
    size_t i;
    QU_TRY(qu_os_read(&text, manifest, MAX_MANIFEST, err));
    root = json_loadb(text.data ? text.data : "", text.len, 0, NULL);
    json_array_foreach(json_object_get(root, "layers"), i, layer) {
        const char *type = json_string_value(json_object_get(layer, "mediaType"));
        const char *digest = json_string_value(json_object_get(layer, "digest"));
        if (type && digest && strcmp(type, WEIGHTS) == 0 && strncmp(digest, "sha256:", 7) == 0 &&
            strlen(digest) == 71 && strspn(digest + 7, "0123456789abcdef") == 64)
            hex = digest + 7;
    }
    if (!hex) return qu_fail(err, QU_ERR_FORMAT, "manifest '%s' names no weights", manifest);
    QU_TRY(qu_buf_printf(&blob, err, "%s/blobs/sha256-%s", ollama, hex));
    *path = blob.data;
    blob = (qu_buf){0};
    return QU_OK;
}

static qu_status add_manifest(walk *w, const char *manifest)
{
    QU_OWN(qu_buf_free) qu_buf name = {0};
    QU_OWN(qu_freep) char *path = NULL;
    struct stat sb;
    qu_status st = read_manifest(&path, manifest, w->ollama, NULL);
    if (st == QU_OK && stat(path, &sb) == 0 && S_ISREG(sb.st_mode)) {
        st = ollama_name(&name, manifest + strlen(w->root) + 1, w->err);
        if (st == QU_OK && name.len > 0) st = append(w, name.data, path, &sb);
    }
    return st == QU_ERR_NOMEM ? st : QU_OK;
}

/* NAME[:TAG] as a path below manifests/. */
static qu_status ollama_manifest(qu_buf *out, const char *name, const char *ollama, qu_err *err)
{
    const char *slash = strrchr(name, '/'), *colon = strrchr(name, ':');
    if (colon && slash && colon < slash) colon = NULL; /* the port of a host */
    int n = (int)(colon ? (size_t)(colon - name) : strlen(name)), n_slashes = 0;
    for (int i = 0; i < n; i++) n_slashes += name[i] == '/';
    bool bad = n == 0 || (colon && !colon[1]);
    for (const char *p = name;; p++) { /* no part is empty or begins with a dot */
        bad = bad || !*p || strchr("./:", *p);
        p += strcspn(p, "/:");
        if (!*p) break;
    }
    if (bad)
        return qu_fail(err, QU_ERR_ARG, "'" OLLAMA "%s' is no name: use " OLLAMA "NAME[:TAG]",
                       name);
    const char *before = n_slashes == 0 ? REGISTRY "/library/" : n_slashes == 1 ? REGISTRY "/" : "";
    return qu_buf_printf(out, err, "%s/manifests/%s%.*s/%s", ollama, before, n, name,
                         colon ? colon + 1 : "latest");
}

static qu_status ollama_model(char **path, const char *name, const qu_find_places *p, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf manifest = {0};
    qu_status st = QU_OK;
    if (!p->ollama)
        return qu_fail(err, QU_ERR_NOTFOUND, "no Ollama model '%s': no Ollama folder is known",
                       name);
    QU_TRY(ollama_manifest(&manifest, name, p->ollama, err));
    st = read_manifest(path, manifest.data, p->ollama, err);
    if (st == QU_ERR_NOTFOUND)
        qu_fail(err, st, "no Ollama model '%s' below '%s'; `quire models` lists them", name,
                p->ollama);
    return st;
}

/* --- folders --- */

/* Every GGUF file below dir, or every manifest. What cannot be read is passed over. */
static qu_status walk_folder(walk *w, const char *dir, int depth)
{
    DIR *d = depth <= MAX_DEPTH ? opendir(dir) : NULL;
    QU_OWN(qu_buf_free) qu_buf path = {0};
    qu_status st = QU_OK;
    const struct dirent *e;
    while (d && st == QU_OK && (e = readdir(d)) != NULL && w->left-- > 0) {
        struct stat sb, link;
        const char *dot = strrchr(e->d_name, '.');
        if (e->d_name[0] == '.') continue;
        path.len = 0;
        st = qu_buf_printf(&path, w->err, "%s/%s", dir, e->d_name);
        if (st != QU_OK || lstat(path.data, &link) != 0 || stat(path.data, &sb) != 0) continue;
        if (S_ISDIR(link.st_mode)) /* a link to a folder could lead back */
            st = walk_folder(w, path.data, depth + 1);
        else if (S_ISREG(sb.st_mode) && w->root)
            st = add_manifest(w, path.data);
        else if (S_ISREG(sb.st_mode) && dot && strcasecmp(dot, ".gguf") == 0 &&
                 !strstr(e->d_name, "mmproj")) /* a vision tower's projector is no model */
            st = append(w, path.data, path.data, &sb);
    }
    if (d) closedir(d);
    return st;
}

static int by_name(const void *a, const void *b)
{
    const qu_found *x = a, *y = b;
    int source = strcmp(x->source, y->source);
    return source ? source : strcmp(x->name, y->name);
}

/* The snapshot of a Hugging Face repository that "main" names, else all of them. */
static qu_status snapshot_of(qu_buf *out, const char *dir, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf ref = {0}, name = {0};
    struct stat sb;
    QU_TRY(qu_buf_printf(out, err, "%s/snapshots", dir));
    if (stat(out->data, &sb) != 0 || !S_ISDIR(sb.st_mode)) {
        out->len = 0;
        return qu_buf_puts(out, dir, err);
    }
    QU_TRY(qu_buf_printf(&name, err, "%s/refs/main", dir));
    if (qu_os_read(&ref, name.data, 256, NULL) != QU_OK) return QU_OK;
    size_t n = strspn(ref.data ? ref.data : "", "0123456789abcdef");
    return n > 0 ? qu_buf_printf(out, err, "/%.*s", (int)n, ref.data) : QU_OK;
}

static qu_status folder_model(char **path, const char *dir, qu_err *err)
{
    QU_OWN(qu_found_free) qu_found_list list = {0};
    QU_OWN(qu_buf_free) qu_buf from = {0};
    qu_status st = QU_OK;
    walk w = {.list = &list, .source = "", .left = MAX_ENTRIES, .err = err};
    QU_TRY(snapshot_of(&from, dir, err));
    QU_TRY(walk_folder(&w, from.data, 0));
    if (list.n > 1) qsort(list.items, (size_t)list.n, sizeof *list.items, by_name);
    if (list.n == 0)
        st = qu_fail(err, QU_ERR_NOTFOUND, "no GGUF file in '%s'", from.data);
    else if (list.n > 1)
        st = qu_fail(err, QU_ERR_ARG, "%lld models in '%s': name one, such as '%s' or '%s'",
                     (long long)list.n, dir, list.items[0].path + from.len + 1,
                     list.items[1].path + from.len + 1);
    else if (!(*path = strdup(list.items[0].path)))
        st = qu_fail_nomem(err, (long long)strlen(list.items[0].path));
    return st;
}

qu_status qu_find_model(char **path, const char *spec, const qu_find_places *p, qu_err *err)
{
    struct stat sb;
    *path = NULL;
    if (strncmp(spec, OLLAMA, strlen(OLLAMA)) == 0)
        return ollama_model(path, spec + strlen(OLLAMA), p, err);
    if (stat(spec, &sb) == 0 && S_ISDIR(sb.st_mode)) return folder_model(path, spec, err);
    *path = strdup(spec);
    return *path ? QU_OK : qu_fail_nomem(err, (long long)strlen(spec));
}

qu_status qu_find_all(qu_found_list *list, const qu_find_places *p, qu_err *err)
{
    QU_OWN(qu_buf_free) qu_buf manifests = {0};
    walk hub = {.list = list, .source = "huggingface", .left = MAX_ENTRIES, .err = err};
    walk studio = {.list = list, .source = "lmstudio", .left = MAX_ENTRIES, .err = err};
    walk ollama = {.list = list, .source = "ollama", .left = MAX_ENTRIES, .err = err};
    if (p->huggingface) QU_TRY(walk_folder(&hub, p->huggingface, 0));
    if (p->lmstudio) QU_TRY(walk_folder(&studio, p->lmstudio, 0));
    if (p->ollama) {
        QU_TRY(qu_buf_printf(&manifests, err, "%s/manifests", p->ollama));
        ollama.root = manifests.data;
        ollama.ollama = p->ollama;
        QU_TRY(walk_folder(&ollama, manifests.data, 0));
    }
    if (list->n > 1) qsort(list->items, (size_t)list->n, sizeof *list->items, by_name);
    return QU_OK;
}

void qu_found_free(qu_found_list *list)
{
    for (int64_t i = 0; i < list->n; i++) {
        free(list->items[i].name);
        free(list->items[i].path);
    }
    free(list->items);
    memset(list, 0, sizeof *list);
}
